//! The planning rules as tables: which blocks become one.

use super::*;

/// Blocks named by their place: (min, max).
fn blocks(ranges: &[(i64, i64)]) -> Vec<Candidate> {
    let block = |(i, &(min, max)): (usize, &(i64, i64))| Candidate {
        ulid: Ulid::from(i as u128),
        range: BlockRange::new(min, max),
        failed: false,
        num_series: 0,
        num_tombstones: 0,
        class: Class::Ordinary,
    };
    ranges.iter().enumerate().map(block).collect()
}

fn planner() -> Planner {
    Planner { ranges: vec![20, 60, 180, 540, 1620], overlapping: true }
}

fn planned(blocks: &[Candidate]) -> Vec<usize> {
    planner().plan(blocks).into_iter().map(|ulid| u128::from(ulid) as usize).collect()
}

#[test]
fn ranges_triple_up_to_the_longest() {
    let hour = 3_600_000;
    let hours = |all: Vec<i64>| all.into_iter().map(|ms| ms / hour).collect::<Vec<_>>();
    assert_eq!(hours(ranges(2 * hour, 36 * hour)), [2, 6, 18]);
    assert_eq!(hours(ranges(2 * hour, 2 * hour)), [2]);
    assert_eq!(hours(ranges(2 * hour, hour)), [2], "there is always one");
    assert_eq!(ranges(2 * hour, i64::MAX).len(), 10);
}

#[test]
fn levels() {
    // (what it shows, blocks, the plan)
    type Case<'a> = (&'a str, &'a [(i64, i64)], &'a [usize]);
    let cases: &[Case<'_>] = &[
        ("nothing", &[], &[]),
        ("one block", &[(0, 20)], &[]),
        ("the newest does not count", &[(0, 20), (20, 40), (40, 60)], &[]),
        ("a range is full", &[(0, 20), (20, 40), (40, 60), (60, 80)], &[0, 1, 2]),
        ("the newest lies far ahead", &[(0, 20), (20, 40), (40, 60), (120, 140)], &[0, 1, 2]),
        ("a gap inside a range that is over", &[(0, 20), (40, 60), (60, 80), (80, 100)], &[0, 1]),
        ("a gap at its end, and later blocks", &[(0, 20), (20, 40), (60, 80), (80, 100)], &[0, 1]),
        ("a gap at its end, no later block", &[(0, 20), (20, 40), (60, 80)], &[]),
        ("from 20 on the range is not full yet", &[(20, 40), (40, 60), (60, 80)], &[]),
        ("… but is over", &[(20, 40), (40, 60), (60, 80), (80, 100)], &[0, 1]),
        (
            "the shorter range first",
            &[(0, 60), (60, 120), (120, 140), (140, 160), (160, 180), (180, 200)],
            &[2, 3, 4],
        ),
        ("then the longer one", &[(0, 60), (60, 120), (120, 180), (180, 200)], &[0, 1, 2]),
        (
            "a block across the bounds is in no group",
            &[(0, 20), (20, 40), (50, 70), (70, 90), (90, 110), (110, 120), (120, 140), (180, 200)],
            &[0, 1],
        ),
        ("each alone in its range", &[(0, 20), (60, 80), (120, 140), (180, 200)], &[]),
        ("… of which three fill a longer one", &[(0, 20), (60, 80), (160, 180), (180, 200)], &[0, 1, 2]),
        ("negative times align too", &[(-60, -40), (-40, -20), (-20, 0), (0, 20)], &[0, 1, 2]),
        ("out of order of time", &[(60, 80), (0, 20), (40, 60), (20, 40)], &[1, 3, 2]),
    ];
    for (what, ranges, want) in cases {
        assert_eq!(planned(&blocks(ranges)), *want, "{what}");
    }
}

#[test]
fn overlaps_come_first() {
    type Case<'a> = (&'a str, &'a [(i64, i64)], &'a [usize]);
    let cases: &[Case<'_>] = &[
        ("two, the newest among them", &[(0, 20), (19, 40)], &[0, 1]),
        ("equal", &[(0, 20), (20, 40), (20, 40), (40, 60)], &[1, 2]),
        ("touching is not overlapping", &[(0, 20), (20, 40)], &[]),
        ("a chain", &[(0, 20), (20, 40), (30, 50), (45, 60), (60, 80)], &[1, 2, 3]),
        ("one over all", &[(0, 360), (0, 20), (20, 40), (100, 120), (360, 380)], &[0, 1, 2, 3]),
        ("inside an earlier one", &[(0, 100), (20, 40), (60, 80)], &[0, 1, 2]),
        ("only the first run", &[(0, 20), (10, 30), (40, 60), (50, 70)], &[0, 1]),
        ("before full ranges", &[(0, 20), (20, 40), (40, 60), (60, 80), (70, 90)], &[3, 4]),
    ];
    for (what, ranges, want) in cases {
        assert_eq!(planned(&blocks(ranges)), *want, "{what}");
    }
    let off = Planner { overlapping: false, ..planner() };
    assert!(off.plan(&blocks(&[(0, 20), (19, 40)])).is_empty());
}

#[test]
fn a_group_with_a_failed_block_is_left_alone() {
    let mut all = blocks(&[(0, 20), (20, 40), (40, 60), (60, 80), (80, 100), (100, 120), (120, 140)]);
    all[1].failed = true;
    assert_eq!(planned(&all), [3, 4, 5]);
    all[4].failed = true;
    assert_eq!(planned(&all), [0; 0]);
}

#[test]
fn blocks_of_which_much_was_deleted_are_rewritten() {
    let with = |deleted: &[(usize, u64, u64)], ranges: &[(i64, i64)]| {
        let mut all = blocks(ranges);
        for &(i, tombstones, series) in deleted {
            (all[i].num_tombstones, all[i].num_series) = (tombstones, series);
        }
        planned(&all)
    };
    let ranges = [(0, 540), (540, 1080), (1080, 1100), (1100, 1120)];
    assert_eq!(with(&[(0, 10, 100)], &ranges[..2]), [0], "the middle range or longer, over 5 %");
    assert_eq!(with(&[(0, 5, 100)], &ranges[..2]), [0; 0], "5 of 101 is not over 5 %");
    assert_eq!(
        with(&[(0, 10, 100), (1, 10, 100)], &[ranges[0], ranges[1], (1620, 2160)]),
        [1],
        "the newest first"
    );
    assert_eq!(
        with(&[(0, 10, 100)], &[ranges[0], (540, 560), (560, 580)]),
        [0; 0],
        "a short one ends the search"
    );
    assert_eq!(with(&[(2, 10, 10)], &ranges), [2], "a short one of which all was deleted");
    assert_eq!(with(&[(3, 10, 10)], &ranges), [0; 0], "the newest is left alone");
}

#[test]
fn classes_do_not_mix() {
    let mut all = blocks(&[(0, 20), (20, 40), (40, 60), (60, 80), (0, 20), (10, 30), (5, 25), (6, 26)]);
    all[4].class = Class::Stale;
    all[5].class = Class::Stale;
    all[6].class = Class::Selected;
    all[7].class = Class::Selected;
    assert_eq!(planned(&all), [0, 1, 2], "ordinary blocks first");
    assert_eq!(planned(&all[3..]), [4, 5], "then the others, apart");
    all[5].class = Class::Selected;
    assert_eq!(planned(&all[4..]), [6, 7, 5]);
}

#[test]
fn hints_decide_the_class() {
    let mut meta = BlockMeta::new(Ulid::nil(), BlockRange::new(0, 20));
    assert_eq!(Candidate::of(&meta).class, Class::Ordinary);
    meta.compaction.add_hint(BlockHint::FromOutOfOrder);
    assert_eq!(Candidate::of(&meta).class, Class::Ordinary);
    meta.compaction.add_hint(BlockHint::FromStaleSeries);
    assert_eq!(Candidate::of(&meta).class, Class::Stale);
}
