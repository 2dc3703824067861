//! Head chunk files: upstream's read, ours survive what a crash leaves.

mod formats_support;

use std::path::Path;

use model::SeriesRef;
use model::query::ChunkEncoding;
use testkit::{Rng, conformance_dir, json_lines};
use tsdb::chunk::{decode, num_samples};
use tsdb::fs::RealFs;
use tsdb::head_chunks::{HeadChunk, HeadChunkFiles, HeadChunkOptions, HeadChunkRef};

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let bytes = std::fs::read(entry.path()).expect("a file");
        std::fs::write(to.join(entry.file_name()), bytes).expect("a file");
    }
}

fn all(files: &HeadChunkFiles) -> Vec<(HeadChunk, Vec<u8>)> {
    let mut all = Vec::new();
    let damage = files.for_each(|chunk, bytes| all.push((chunk, bytes.to_vec())));
    assert!(damage.is_none(), "{damage:?}");
    all
}

#[test]
fn upstreams_files_list_their_chunks() {
    let Some(dir) = conformance_dir("tsdb/datadirs") else { return };
    let (mut passed, mut total) = (0, 0);
    for name in ["segments-and-head-chunks", "blocks-and-checkpoint", "memory-snapshot", "out-of-order"] {
        let copy = tempfile::tempdir().expect("a folder");
        copy_dir(&dir.join(name).join("data/chunks_head"), copy.path());
        let files =
            HeadChunkFiles::open(RealFs::shared(), copy.path(), HeadChunkOptions::default()).expect("files");
        let expected = json_lines(&dir.join(name).join("chunks_head.jsonl"));
        let chunks = all(&files);
        assert_eq!(chunks.len(), expected.len(), "{name}");
        for ((chunk, bytes), want) in chunks.iter().zip(&expected) {
            let encoding = match want["encoding"].as_str().expect("text") {
                "XOR" => ChunkEncoding::Xor,
                "XOR2" => ChunkEncoding::Xor2,
                "histogram" => ChunkEncoding::Histogram,
                "floathistogram" => ChunkEncoding::FloatHistogram,
                other => panic!("no encoding {other}"),
            };
            let mut columns = model::Columns::default();
            let decoded =
                decode(chunk.encoding, bytes, model::TimeRange::ALL, Default::default(), &mut columns)
                    .is_ok();
            let good = decoded
                && chunk.chunk.0 == want["chunk_ref"].as_u64().expect("a number")
                && chunk.series.0 == want["series_ref"].as_u64().expect("a number")
                && chunk.min_ms == want["min_time"].as_i64().expect("a number")
                && chunk.max_ms == want["max_time"].as_i64().expect("a number")
                && u64::from(chunk.num_samples) == want["num_samples"].as_u64().expect("a number")
                && chunk.out_of_order == want["out_of_order"].as_bool().expect("a flag")
                && chunk.encoding == encoding
                && columns.timestamps_ms.first() == Some(&chunk.min_ms)
                && columns.timestamps_ms.last() == Some(&chunk.max_ms);
            let read = files.read(chunk.chunk).expect("a chunk");
            assert_eq!(read.chunk, *chunk);
            assert_eq!(&read[..], &bytes[..]);
            total += 1;
            passed += usize::from(good);
        }
        // Written again, they are the same bytes.
        let again = tempfile::tempdir().expect("a folder");
        let ours =
            HeadChunkFiles::open(RealFs::shared(), again.path(), HeadChunkOptions::default()).expect("files");
        for (chunk, bytes) in &chunks {
            let times = (chunk.min_ms, chunk.max_ms);
            let place =
                ours.write(chunk.series, times, chunk.encoding, chunk.out_of_order, bytes).expect("a write");
            assert_eq!(place, chunk.chunk);
        }
        ours.sync().expect("a sync");
        let ours = std::fs::read(again.path().join("000001")).expect("a file");
        let theirs = std::fs::read(copy.path().join("000001")).expect("a file");
        assert_eq!(ours, theirs[..ours.len()]);
        assert!(theirs[ours.len()..].iter().all(|&byte| byte == 0));
    }
    println!("head chunks: {passed} / {total}");
    assert_eq!(passed, total);
}

fn chunk_of(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0u8, 1];
    bytes.extend((0..rng.below(300)).map(|_| rng.next_u64() as u8));
    bytes
}

#[test]
fn chunks_are_readable_at_once_and_after_a_restart() {
    let mut rng = Rng::new(51);
    let dir = tempfile::tempdir().expect("a folder");
    let options = HeadChunkOptions { file_bytes: 20_000, buffer_bytes: 1_000 };
    let mut written: Vec<(HeadChunkRef, Vec<u8>)> = Vec::new();
    for round in 0..3 {
        let files = HeadChunkFiles::open(RealFs::shared(), dir.path(), options).expect("files");
        assert_eq!(all(&files).len(), written.len());
        for i in 0..200u64 {
            let bytes = chunk_of(&mut rng);
            let place = files
                .write(SeriesRef(i + 1), (i as i64, i as i64 + 5), ChunkEncoding::Xor, i % 3 == 0, &bytes)
                .expect("a write");
            written.push((place, bytes));
            let (place, bytes) = &written[rng.below(written.len() as u64) as usize];
            assert_eq!(&files.read(*place).expect("a chunk")[..], &bytes[..]);
            assert_eq!(
                &files.read(written[written.len() - 1].0).expect("a chunk")[..],
                &written[written.len() - 1].1[..]
            );
        }
        files.flush().expect("a write");
        assert!(files.newest_file() > round * 2);
    }
    let files = HeadChunkFiles::open(RealFs::shared(), dir.path(), options).expect("files");
    for (place, bytes) in &written {
        assert_eq!(&files.read(*place).expect("a chunk")[..], &bytes[..]);
    }
    let middle = written[300].0.file();
    let held = files.read(written[0].0).expect("a chunk");
    files.truncate(middle).expect("a removal");
    assert_eq!(&held[..], &written[0].1[..]);
    assert!(files.read(written[0].0).is_err());
    assert_eq!(all(&files).len(), written.iter().filter(|(place, _)| place.file() >= middle).count());
    files.remove_from(middle + 1).expect("a removal");
    let place = files.write(SeriesRef(1), (0, 1), ChunkEncoding::Xor2, false, &[0, 1, 0]).expect("a write");
    assert_eq!(place.file(), middle + 1);
}

#[test]
fn a_cut_tail_is_repaired_and_damage_is_reported() {
    let mut rng = Rng::new(52);
    let dir = tempfile::tempdir().expect("a folder");
    let files =
        HeadChunkFiles::open(RealFs::shared(), dir.path(), HeadChunkOptions::default()).expect("files");
    for i in 0..20u64 {
        let bytes = chunk_of(&mut rng);
        files.write(SeriesRef(i + 1), (0, 5), ChunkEncoding::Xor, false, &bytes).expect("a write");
    }
    files.sync().expect("a sync");
    drop(files);
    let path = dir.path().join("000001");
    let whole = std::fs::read(&path).expect("a file");
    for len in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..len]).expect("a file");
        let files =
            HeadChunkFiles::open(RealFs::shared(), dir.path(), HeadChunkOptions::default()).expect("files");
        let chunks = all(&files);
        assert!(chunks.len() <= 20);
        assert!(chunks.iter().all(|(chunk, bytes)| num_samples(chunk.encoding, bytes) == Ok(1)));
    }
    for _ in 0..200 {
        let mut damaged = whole.clone();
        let at = rng.below(whole.len() as u64) as usize;
        damaged[at] ^= 1 << rng.below(8);
        std::fs::write(&path, &damaged).expect("a file");
        // A length that was made longer looks like a cut tail; nothing else does.
        if let Ok(files) = HeadChunkFiles::open(RealFs::shared(), dir.path(), HeadChunkOptions::default()) {
            let mut count = 0;
            let damage = files.for_each(|_, _| count += 1);
            assert!(damage.is_some() || count < 20 || (5..8).contains(&at), "byte {at}");
        }
    }
}
