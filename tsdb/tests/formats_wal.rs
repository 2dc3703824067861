//! The log's records and framing against upstream's own bytes, and against damage.

mod formats_support;

use std::path::Path;

use formats_support::{bytes_of_hex, labels, stored_sample, value_text};
use model::{Metadata, MetricType, SeriesRef};
use serde_json::Value;
use testkit::{Rng, conformance_dir, json_lines};
use tsdb::chunk::StoredValue;
use tsdb::fs::RealFs;
use tsdb::wal::record::*;
use tsdb::wal::segment::{FRAGMENT_HEADER_LEN, PAGE_BYTES};
use tsdb::wal::{
    Compression, Compressor, Decompressor, LogReader, LogWriter, LogWriterOptions, Payload, ReadMode, Step,
    TailReader, WalPosition, list_segments, repair, segment_name,
};

fn series_of(item: &Value) -> SeriesRef {
    SeriesRef(item["ref"].as_u64().expect("a reference"))
}

fn number(item: &Value, key: &str) -> i64 {
    item[key].as_i64().unwrap_or_else(|| panic!("{key} in {item}"))
}

/// What a record says, one line an item; the same from JSON and from bytes.
fn json_items(kind: &str, items: &Value) -> Vec<String> {
    let items = items.as_array().expect("items");
    items
        .iter()
        .map(|item| {
            let series = series_of(item).0;
            match kind {
                "series" => format!("{series} {}", labels(&item["labels"])),
                "metadata" => format!(
                    "{series} {} {:?} {:?}",
                    item["type"].as_u64().expect("a type"),
                    item["unit"].as_str().expect("text"),
                    item["help"].as_str().expect("text")
                ),
                "tombstones" => format!("{series} {} {}", number(item, "mint"), number(item, "maxt")),
                "mmapmarkers" => format!("{series} {}", item["mmap_ref"].as_u64().expect("a reference")),
                "exemplars" => {
                    let sample = stored_sample(item);
                    format!(
                        "{series} {} {} {}",
                        sample.timestamp_ms,
                        value_text(&sample.value),
                        labels(&item["labels"])
                    )
                }
                _ => {
                    let sample = stored_sample(item);
                    sample_line(series, sample.timestamp_ms, sample.start_timestamp_ms, &sample.value)
                }
            }
        })
        .collect()
}

fn sample_line(series: u64, t: i64, st: i64, value: &StoredValue) -> String {
    let hint = match value {
        StoredValue::Float(_) => None,
        StoredValue::Histogram(h) => Some(h.counter_reset_hint),
        StoredValue::FloatHistogram(h) => Some(h.counter_reset_hint),
    };
    format!("{series} {t} st {st} {} {hint:?}", value_text(value))
}

fn record_items(record: &[u8]) -> Result<Vec<String>, tsdb::corruption::Damage> {
    let Some(kind) = RecordType::of(record) else { return Ok(vec!["unknown".to_owned()]) };
    Ok(match kind {
        RecordType::Series => {
            let mut all = Vec::new();
            decode_series(record, &mut all)?;
            all.iter().map(|s| format!("{} {}", s.series.0, s.labels)).collect()
        }
        RecordType::Metadata => {
            let mut all = Vec::new();
            decode_metadata(record, &mut all)?;
            all.iter()
                .map(|m| {
                    let RefMetadata { series, metadata } = m;
                    format!(
                        "{} {} {:?} {:?}",
                        series.0, metadata.metric_type as u8, metadata.unit, metadata.help
                    )
                })
                .collect()
        }
        RecordType::Tombstones => {
            let mut all = Vec::new();
            decode_tombstones(record, &mut all)?;
            all.iter().map(|s| format!("{} {} {}", s.series.0, s.min_ms, s.max_ms)).collect()
        }
        RecordType::MmapMarkers => {
            let mut all = Vec::new();
            decode_mmap_markers(record, &mut all)?;
            all.iter().map(|m| format!("{} {}", m.series.0, m.chunk)).collect()
        }
        RecordType::Exemplars => {
            let mut all = Vec::new();
            decode_exemplars(record, &mut all)?;
            all.iter()
                .map(|e| {
                    let value = value_text(&StoredValue::Float(e.value));
                    format!("{} {} {value} {}", e.series.0, e.timestamp_ms, e.labels)
                })
                .collect()
        }
        RecordType::Samples | RecordType::SamplesV2 => {
            let mut all = Vec::new();
            decode_samples(record, &mut all)?;
            all.iter()
                .map(|s| {
                    sample_line(
                        s.series.0,
                        s.timestamp_ms,
                        s.start_timestamp_ms,
                        &StoredValue::Float(s.value),
                    )
                })
                .collect()
        }
        RecordType::Histograms | RecordType::CustomHistograms | RecordType::HistogramsV2 => {
            let mut all = Vec::new();
            decode_histograms(record, &mut all)?;
            all.into_iter()
                .map(|h| {
                    let value = StoredValue::Histogram(h.histogram);
                    sample_line(h.series.0, h.timestamp_ms, h.start_timestamp_ms, &value)
                })
                .collect()
        }
        RecordType::FloatHistograms | RecordType::CustomFloatHistograms | RecordType::FloatHistogramsV2 => {
            let mut all = Vec::new();
            decode_float_histograms(record, &mut all)?;
            all.into_iter()
                .map(|h| {
                    let value = StoredValue::FloatHistogram(h.histogram);
                    sample_line(h.series.0, h.timestamp_ms, h.start_timestamp_ms, &value)
                })
                .collect()
        }
    })
}

fn encode(kind: &str, items: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let items = items.as_array().expect("items");
    let place = |item: &Value| (series_of(item), number(item, "t"), item["st"].as_i64().unwrap_or(0));
    let floats = || {
        items.iter().map(|item| {
            let (series, timestamp_ms, start_timestamp_ms) = place(item);
            let StoredValue::Float(value) = stored_sample(item).value else { panic!("a float") };
            RefSample { series, timestamp_ms, start_timestamp_ms, value }
        })
    };
    let whole = || -> Vec<RefHistogram> {
        items
            .iter()
            .map(|item| {
                let (series, timestamp_ms, start_timestamp_ms) = place(item);
                let StoredValue::Histogram(histogram) = stored_sample(item).value else {
                    panic!("whole counts")
                };
                RefHistogram { series, timestamp_ms, start_timestamp_ms, histogram }
            })
            .collect()
    };
    let float_histograms = || -> Vec<RefFloatHistogram> {
        items
            .iter()
            .map(|item| {
                let (series, timestamp_ms, start_timestamp_ms) = place(item);
                let StoredValue::FloatHistogram(histogram) = stored_sample(item).value else {
                    panic!("floats")
                };
                RefFloatHistogram { series, timestamp_ms, start_timestamp_ms, histogram }
            })
            .collect()
    };
    match kind {
        "series" => {
            let sets: Vec<_> = items.iter().map(|item| (series_of(item), labels(&item["labels"]))).collect();
            put_series(&mut out, sets.iter().map(|(series, labels)| (*series, labels)));
        }
        "metadata" => {
            let all: Vec<_> = items
                .iter()
                .map(|item| {
                    let metadata = Metadata {
                        metric_type: MetricType::from_number(number(item, "type") as u8),
                        unit: item["unit"].as_str().expect("text").to_owned(),
                        help: item["help"].as_str().expect("text").to_owned(),
                    };
                    (series_of(item), metadata)
                })
                .collect();
            put_metadata(&mut out, all.iter().map(|(series, metadata)| (*series, metadata)));
        }
        "tombstones" => put_tombstones(
            &mut out,
            items.iter().map(|item| RefTombstone {
                series: series_of(item),
                min_ms: number(item, "mint"),
                max_ms: number(item, "maxt"),
            }),
        ),
        "mmapmarkers" => put_mmap_markers(
            &mut out,
            items.iter().map(|item| RefMmapMarker {
                series: series_of(item),
                chunk: item["mmap_ref"].as_u64().expect("a reference"),
            }),
        ),
        "exemplars" => {
            let all: Vec<_> = items
                .iter()
                .map(|item| {
                    let StoredValue::Float(value) = stored_sample(item).value else { panic!("a float") };
                    RefExemplar {
                        series: series_of(item),
                        timestamp_ms: number(item, "t"),
                        value,
                        labels: labels(&item["labels"]),
                    }
                })
                .collect();
            put_exemplars(&mut out, &all);
        }
        "samples" => put_samples(&mut out, floats()),
        "samples_v2" => put_samples_v2(&mut out, floats()),
        "histogram_samples" => assert!(put_histograms(&mut out, &whole())),
        "custom_buckets_histogram_samples" => assert!(put_custom_histograms(&mut out, &whole())),
        "float_histogram_samples" => assert!(put_float_histograms(&mut out, &float_histograms())),
        "custom_buckets_float_histogram_samples" => {
            assert!(put_custom_float_histograms(&mut out, &float_histograms()));
        }
        "histogram_samples_v2" => put_histograms_v2(&mut out, &whole()),
        "float_histogram_samples_v2" => put_float_histograms_v2(&mut out, &float_histograms()),
        other => panic!("no record type {other}"),
    }
    out
}

#[test]
fn upstreams_records_decode_and_encode_alike() {
    let Some(dir) = conformance_dir("tsdb") else { return };
    let (mut passed, mut total) = (0, 0);
    for vector in json_lines(&dir.join("wal-records/vectors.jsonl")) {
        let kind = vector["type"].as_str().expect("a type");
        let record = bytes_of_hex(vector["hex"].as_str().expect("hex"));
        let decoded = record_items(&record).expect("a record");
        let good = decoded == json_items(kind, &vector["items"]) && encode(kind, &vector["items"]) == record;
        if !good {
            println!("{}: {decoded:?}", vector["name"]);
        }
        total += 1;
        passed += usize::from(good);
    }
    println!("wal-records: {passed} / {total}");
    assert_eq!(passed, total);
}

/// Reads a folder of segments to its end; the records in order and how it ended.
fn read_all(dir: &Path, mode: ReadMode) -> (Vec<(u64, Vec<u8>)>, Vec<String>) {
    let fs = RealFs::shared();
    let segments: Vec<u64> = list_segments(&*fs, dir).expect("a folder").iter().map(|s| s.number).collect();
    let mut reader = LogReader::new(fs, dir, segments, mode);
    let mut decompressor = Decompressor::new();
    let (mut records, mut ends) = (Vec::new(), Vec::new());
    loop {
        match reader.next().expect("a readable file") {
            Step::Record(raw) => {
                let record = decompressor.decompress(raw.payload).expect("a good payload");
                records.push((raw.start.segment, record.to_vec()));
            }
            Step::Torn { at, bytes } => ends.push(format!("torn {} {} {bytes}", at.segment, at.offset)),
            Step::Damage { at, corruption } => {
                ends.push(format!("damage {} {} {}", at.segment, at.offset, corruption.what));
            }
            Step::End => return (records, ends),
        }
    }
}

#[test]
fn upstreams_logs_read_record_by_record() {
    let Some(dir) = conformance_dir("tsdb/datadirs") else { return };
    let logs = [
        ("wal-none", "wal", "wal"),
        ("wal-snappy", "wal", "wal"),
        ("wal-zstd", "wal", "wal"),
        ("wal-start-timestamps", "wal", "wal"),
        ("wal-torn-tail", "wal", "wal"),
        ("wal-flipped-byte", "wal", "wal"),
        ("segments-and-head-chunks", "wal", "wal"),
        ("blocks-and-checkpoint", "wal", "wal"),
        ("blocks-and-checkpoint", "wal/checkpoint.00000002", "checkpoint.00000002"),
        ("memory-snapshot", "wal", "wal"),
        ("out-of-order", "wal", "wal"),
        ("out-of-order", "wbl", "wbl"),
    ];
    let (mut passed, mut total) = (0, 0);
    for (name, folder, list) in logs {
        let expected = json_lines(&dir.join(name).join(format!("{list}.records.jsonl")));
        let (records, ends) = read_all(&dir.join(name).join("data").join(folder), ReadMode::Strict);
        let broken = expected.iter().any(|line| line.get("error").is_some());
        let mut good = ends.is_empty() != broken;
        let expected: Vec<&Value> = expected.iter().filter(|line| line.get("error").is_none()).collect();
        good &= expected.len() == records.len();
        for (line, (segment, record)) in expected.iter().zip(&records) {
            let kind = line["type"].as_str().expect("a type");
            let same = record_items(record).expect("a record") == json_items(kind, &line["items"])
                && line["len"].as_u64() == Some(record.len() as u64)
                && line["segment"].as_u64() == Some(*segment)
                && encode(kind, &line["items"]) == *record;
            good &= same;
            total += 1;
            passed += usize::from(same);
        }
        println!("{name}/{folder}: {} records, ends {ends:?}, good: {good}", records.len());
        assert!(good, "{name}/{folder}");
    }
    println!("wal datadirs: {passed} / {total} records");
    assert_eq!(passed, total);
}

#[test]
fn salvage_keeps_what_lies_behind_a_flipped_byte() {
    let Some(dir) = conformance_dir("tsdb/datadirs") else { return };
    let whole = read_all(&dir.join("wal-none/data/wal"), ReadMode::Strict).0;
    let (strict, ends) = read_all(&dir.join("wal-flipped-byte/data/wal"), ReadMode::Strict);
    assert_eq!(ends.len(), 1);
    let (salvaged, ends) = read_all(&dir.join("wal-flipped-byte/data/wal"), ReadMode::Salvage);
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(
        ends[0].starts_with("damage 0 30007 checksum mismatch") || ends[0].starts_with("damage 0 "),
        "{ends:?}"
    );
    assert!(salvaged.len() > strict.len());
    assert_eq!(salvaged[..strict.len()], whole[..strict.len()]);
    let behind = &salvaged[strict.len()..];
    assert_eq!(behind, &whole[whole.len() - behind.len()..]);
    println!("kept {} of {} records, upstream {}", salvaged.len(), whole.len(), strict.len());
    let (_, ends) = read_all(&dir.join("wal-torn-tail/data/wal"), ReadMode::Salvage);
    assert_eq!(ends.len(), 1);
    assert!(ends[0].starts_with("torn 0 "), "{ends:?}");
}

fn random_record(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(8) {
        0 => 0,
        1 => rng.below(100_000),
        2 => PAGE_BYTES as u64 - FRAGMENT_HEADER_LEN as u64 + rng.below(9) - 4,
        _ => rng.below(3_000),
    };
    let noisy = rng.one_in(2);
    (0..len).map(|i| if noisy { rng.next_u64() as u8 } else { (i / 40) as u8 }).collect()
}

fn write_log(dir: &Path, records: &[Vec<u8>], compression: Compression, rng: &mut Rng) {
    let options = LogWriterOptions { segment_bytes: 8 * PAGE_BYTES as u64 };
    let mut writer = LogWriter::open(RealFs::shared(), dir, options).expect("a folder");
    let mut compressor = Compressor::new(compression);
    let mut rest = records;
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at((1 + rng.below(5) as usize).min(rest.len()));
        rest = behind;
        let owned: Vec<(Compression, Vec<u8>)> = batch
            .iter()
            .map(|record| {
                let payload = compressor.compress(record);
                (payload.compression, payload.bytes.to_vec())
            })
            .collect();
        let payloads = owned.iter().map(|(compression, bytes)| Payload { compression: *compression, bytes });
        let end = writer.log(payloads).expect("a log");
        assert_eq!(end, writer.position());
    }
    writer.sync().expect("a sync");
}

#[test]
fn what_was_logged_is_read_back_across_pages_and_segments() {
    for (seed, compression) in [(21, Compression::None), (22, Compression::Snappy), (23, Compression::Zstd)] {
        let mut rng = Rng::new(seed);
        let dir = tempfile::tempdir().expect("a folder");
        let mut records: Vec<Vec<u8>> = (0..400).map(|_| random_record(&mut rng)).collect();
        write_log(dir.path(), &records[..200], compression, &mut rng);
        // A second start goes on in a new segment.
        write_log(dir.path(), &records[200..], compression, &mut rng);
        let (read, ends) = read_all(dir.path(), ReadMode::Strict);
        assert!(ends.is_empty(), "{ends:?}");
        assert!(read.iter().map(|(segment, _)| segment).max() > Some(&2));
        let read: Vec<Vec<u8>> = read.into_iter().map(|(_, record)| record).collect();
        assert_eq!(read.len(), records.len());
        assert!(read == records);
        records.clear();
        for segment in list_segments(&*RealFs::shared(), dir.path()).expect("a folder") {
            assert!(segment.len <= 8 * PAGE_BYTES as u64);
        }
    }
}

#[test]
fn the_tail_follows_the_writer_through_segments() {
    let mut rng = Rng::new(31);
    let dir = tempfile::tempdir().expect("a folder");
    let options = LogWriterOptions { segment_bytes: 4 * PAGE_BYTES as u64 };
    let mut writer = LogWriter::open(RealFs::shared(), dir.path(), options).expect("a folder");
    let mut tail = TailReader::open(RealFs::shared(), dir.path(), WalPosition::default()).expect("a segment");
    let mut position = WalPosition::default();
    for _ in 0..300 {
        assert!(tail.next_record().expect("readable").is_none());
        let batch: Vec<Vec<u8>> = (0..rng.below(4)).map(|_| random_record(&mut rng)).collect();
        writer.log(batch.iter().map(|record| Payload::plain(record))).expect("a log");
        for record in &batch {
            let read = tail.next_record().expect("readable").expect("a record");
            assert!(read.payload.bytes == record.as_slice());
            assert!(read.end > position);
            position = read.end;
        }
        // Somebody who starts at the position reads on from there.
        if rng.one_in(10) {
            tail = TailReader::open(RealFs::shared(), dir.path(), position).expect("a segment");
        }
    }
    assert!(position.segment > 5);
    assert!(tail.take_damage().is_none());
}

#[test]
fn any_flipped_byte_costs_its_own_record_and_in_a_header_its_page() {
    let mut rng = Rng::new(41);
    let dir = tempfile::tempdir().expect("a folder");
    let records: Vec<Vec<u8>> = (0..150u32)
        .map(|i| {
            let mut r = i.to_be_bytes().to_vec();
            r.resize(4 + rng.below(900) as usize, 7);
            r
        })
        .collect();
    write_log(dir.path(), &records, Compression::None, &mut rng);
    let path = dir.path().join(segment_name(0));
    let whole = std::fs::read(&path).expect("a segment");
    let mut single = 0;
    for _ in 0..300 {
        let mut damaged = whole.clone();
        let at = rng.below(damaged.len() as u64) as usize;
        damaged[at] ^= 1 << rng.below(8);
        std::fs::write(&path, &damaged).expect("a file");
        let (read, ends) = read_all(dir.path(), ReadMode::Salvage);
        assert!(ends.len() <= 1, "byte {at}: {ends:?}");
        // What is read was written, in order; at most one page is missing, and one
        // record where the damage is in the data.
        let mut next = 0;
        for (_, record) in &read {
            let found = records[next..].iter().position(|r| r == record).expect("a record that was written");
            next += found + 1;
        }
        let lost = records.len() - read.len();
        assert!(lost <= 2 + PAGE_BYTES / 300, "byte {at}: {lost} lost");
        if lost <= 1 {
            single += 1;
        }
    }
    assert!(single > 280, "most bytes are data: {single} of 300 cost one record at most");
}

#[test]
fn a_segment_cut_anywhere_is_torn_and_nothing_else() {
    let mut rng = Rng::new(42);
    let dir = tempfile::tempdir().expect("a folder");
    let records: Vec<Vec<u8>> = (0..20).map(|_| vec![5; 1 + rng.below(9_000) as usize]).collect();
    write_log(dir.path(), &records, Compression::None, &mut rng);
    let path = dir.path().join(segment_name(0));
    let whole = std::fs::read(&path).expect("a segment");
    let mut last = 0;
    for len in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..len]).expect("a file");
        let (read, ends) = read_all(dir.path(), ReadMode::Strict);
        assert!(ends.iter().all(|end| end.starts_with("torn")), "{len}: {ends:?}");
        assert!(read.len() >= last);
        last = read.len();
        assert!(read.iter().zip(&records).all(|((_, a), b)| a == b));
    }
}

#[test]
fn no_bytes_make_a_record_decoder_panic() {
    let mut rng = Rng::new(43);
    for _ in 0..60_000 {
        let len = rng.below(60) as usize;
        let mut bytes: Vec<u8> =
            (0..len).map(|_| if rng.one_in(3) { rng.next_u64() as u8 } else { rng.below(6) as u8 }).collect();
        if let Some(first) = bytes.first_mut() {
            *first = 1 + rng.below(14) as u8;
        }
        let _ = record_items(&bytes);
    }
}

#[test]
fn upstreams_records_cut_or_flipped_anywhere_are_errors_or_records() {
    let Some(dir) = conformance_dir("tsdb") else { return };
    for vector in json_lines(&dir.join("wal-records/vectors.jsonl")) {
        let record = bytes_of_hex(vector["hex"].as_str().expect("hex"));
        let whole = record_items(&record).expect("a record");
        for cut in 1..record.len() {
            // A cut between entries leaves a shorter record, elsewhere an error.
            if let Ok(items) = record_items(&record[..cut]) {
                assert_eq!(items[..], whole[..items.len()], "{} cut at {cut}", vector["name"]);
            }
        }
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = record_items(&flipped);
        }
    }
}

#[test]
fn a_repaired_log_reads_strictly_and_the_original_is_kept() {
    let mut rng = Rng::new(44);
    let root = tempfile::tempdir().expect("a folder");
    let (dir, keep) = (root.path().join("wal"), root.path().join("wal_damaged"));
    let fs = RealFs::shared();
    let records: Vec<Vec<u8>> = (0..200).map(|_| random_record(&mut rng)).collect();
    write_log(&dir, &records, Compression::Snappy, &mut rng);
    let segments: Vec<u64> = list_segments(&*fs, &dir).expect("a folder").iter().map(|s| s.number).collect();
    assert!(segments.len() > 3);
    // The second one is damaged, the third one torn.
    let second = dir.join(segment_name(1));
    let mut bytes = std::fs::read(&second).expect("a segment");
    let at = bytes.len() / 2 + 100;
    bytes[at] ^= 0x40;
    std::fs::write(&second, &bytes).expect("a file");
    let third = dir.join(segment_name(2));
    let whole = std::fs::read(&third).expect("a segment");
    std::fs::write(&third, &whole[..whole.len() - PAGE_BYTES / 2]).expect("a file");

    let (salvaged, _) = read_all(&dir, ReadMode::Salvage);
    let result = repair::rewrite_segment(&fs, &dir, 1, &keep, |_| repair::Verdict::Keep).expect("a repair");
    assert!(result.faults >= 1 && result.kept > 5, "{result:?}");
    assert_eq!(std::fs::read(keep.join(segment_name(1))).expect("the original"), bytes);
    let mut reader = LogReader::new(fs.clone(), &dir, [2], ReadMode::Strict);
    let torn = loop {
        match reader.next().expect("a readable file") {
            Step::Record(_) => {}
            Step::Torn { at, .. } => break Some(at),
            Step::Damage { .. } | Step::End => break None,
        }
    };
    if let Some(at) = torn {
        repair::cut_segment(&*fs, &dir, at).expect("a cut");
    }
    let (strict, ends) = read_all(&dir, ReadMode::Strict);
    assert!(ends.is_empty(), "{ends:?}");
    assert!(strict == salvaged);
    assert_eq!(std::fs::read_dir(&keep).expect("a folder").count(), 1);
    // A second repair keeps both originals.
    repair::rewrite_segment(&fs, &dir, 1, &keep, |_| repair::Verdict::Replace(Vec::new())).expect("a repair");
    assert_eq!(std::fs::read_dir(&keep).expect("a folder").count(), 2);
}

/// A later version may have schemas that nobody knows yet: the entry goes, the record
/// stays; those that are reserved are brought down to the finest that is used.
#[test]
fn histograms_of_unknown_schemas_are_passed_over() {
    let of_schema = |schema: i32| model::Histogram {
        schema,
        count: 3,
        positive_spans: [model::Span { offset: 1, length: 2 }].as_slice().into(),
        positive_buckets: vec![1, 1],
        ..model::Histogram::default()
    };
    let schemas = [0, 53, 9, -10, 52, 100, -53, -4];
    let entries = |all: &[i32]| -> Vec<RefHistogram> {
        let entry = |(n, &schema): (usize, &i32)| RefHistogram {
            series: SeriesRef(n as u64 + 1),
            timestamp_ms: 1000 + n as i64,
            start_timestamp_ms: 0,
            histogram: of_schema(schema),
        };
        all.iter().enumerate().map(entry).collect()
    };
    let mut v2 = Vec::new();
    put_histograms_v2(&mut v2, &entries(&schemas));
    let mut found = Vec::new();
    assert_eq!(decode_histograms(&v2, &mut found).expect("a record"), 3);
    let kept: Vec<(u64, i32)> = found.iter().map(|entry| (entry.series.0, entry.histogram.schema)).collect();
    assert_eq!(kept, [(1, 0), (3, 8), (5, 8), (7, -53), (8, -4)]);
    let mut v1 = Vec::new();
    assert!(put_histograms(&mut v1, &entries(&[0, 53, 9, -10, 52, 100, -4])));
    found.clear();
    assert_eq!(decode_histograms(&v1, &mut found).expect("a record"), 3);
    assert_eq!(found.len(), 4);
}
