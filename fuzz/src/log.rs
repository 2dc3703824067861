//! The log: records, segments, compression, and the records of snapshots.

use std::path::Path;
use std::sync::Arc;

use model::query::ChunkEncoding;
use model::{Fs, HistogramValue, Labels, Metadata, MetricType, SeriesRef, TimeRange};
use testkit::Rng;
use testkit::disk::SimDisk;
use tsdb::chunk::StoredValue;
use tsdb::snapshot_format::{self, SnapshotChunk, SnapshotRecord};
use tsdb::tombstones::Tombstones;
use tsdb::wal::record::{
    self, RefExemplar, RefFloatHistogram, RefHistogram, RefMmapMarker, RefSample, RefTombstone,
};
use tsdb::wal::{
    Compression, Compressor, Decompressor, LogReader, LogWriter, LogWriterOptions, Payload, ReadMode,
    RecordType, Step, TailReader, WalPosition,
};

use crate::chunk::sample_values;

/// What was read is read again after it was written, and what precedes damage is kept.
macro_rules! round_trip {
    ($bytes:expr, $decode:expr, $put:expr) => {{
        let mut all = Vec::new();
        if $decode($bytes, &mut all).is_ok() {
            let mut out = Vec::new();
            $put(&mut out, &all);
            let mut again = Vec::new();
            $decode(&out, &mut again).expect("what was written is a record");
            assert_eq!(format!("{again:?}"), format!("{all:?}"));
        }
        assert!(all.len() <= $bytes.len(), "a byte is no two entries");
    }};
}

/// Any bytes as a record of the log.
pub(crate) fn record(bytes: &[u8]) {
    match RecordType::of(bytes) {
        None => {}
        Some(RecordType::Series) => {
            round_trip!(bytes, record::decode_series, |out: &mut Vec<u8>, all: &[record::RefSeries]| {
                record::put_series(out, all.iter().map(|entry| (entry.series, &entry.labels)));
            })
        }
        Some(RecordType::Samples | RecordType::SamplesV2) => {
            round_trip!(bytes, record::decode_samples, |out: &mut Vec<u8>, all: &[RefSample]| {
                record::put_samples_v2(out, all.iter().copied());
            });
        }
        Some(RecordType::Tombstones) => {
            round_trip!(bytes, record::decode_tombstones, |out: &mut Vec<u8>, all: &[RefTombstone]| {
                record::put_tombstones(out, all.iter().copied());
            });
        }
        Some(RecordType::Exemplars) => {
            round_trip!(bytes, record::decode_exemplars, |out: &mut Vec<u8>, all: &[RefExemplar]| {
                record::put_exemplars(out, all);
            });
        }
        Some(RecordType::MmapMarkers) => {
            round_trip!(bytes, record::decode_mmap_markers, |out: &mut Vec<u8>, all: &[RefMmapMarker]| {
                record::put_mmap_markers(out, all.iter().copied());
            });
        }
        Some(RecordType::Metadata) => {
            round_trip!(bytes, record::decode_metadata, |out: &mut Vec<u8>, all: &[record::RefMetadata]| {
                record::put_metadata(out, all.iter().map(|entry| (entry.series, &entry.metadata)));
            });
        }
        Some(RecordType::Histograms | RecordType::CustomHistograms | RecordType::HistogramsV2) => {
            round_trip!(bytes, record::decode_histograms, |out: &mut Vec<u8>, all: &[RefHistogram]| {
                record::put_histograms_v2(out, all);
            });
        }
        Some(
            RecordType::FloatHistograms | RecordType::CustomFloatHistograms | RecordType::FloatHistogramsV2,
        ) => {
            round_trip!(
                bytes,
                record::decode_float_histograms,
                |out: &mut Vec<u8>, all: &[RefFloatHistogram]| {
                    record::put_float_histograms_v2(out, all);
                }
            );
        }
    }
}

fn labels(n: u64) -> Labels {
    Labels::from_pairs([
        ("__name__", "metric".to_owned()),
        ("n", n.to_string()),
        ("ü", "\u{1f525}".to_owned()),
    ])
}

pub(crate) fn exemplars() -> Vec<RefExemplar> {
    (0..3)
        .map(|n| RefExemplar {
            series: SeriesRef(n),
            timestamp_ms: 1_000 + n as i64,
            value: 0.5,
            labels: labels(n),
        })
        .collect()
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut add = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        put(&mut out);
        all.push(out);
    };
    let names: Vec<Labels> = (0..4).map(labels).collect();
    add(&|out| {
        record::put_series(out, names.iter().enumerate().map(|(n, labels)| (SeriesRef(n as u64), labels)))
    });
    let samples = || {
        (0..20u64).map(|n| RefSample {
            series: SeriesRef(n % 4),
            timestamp_ms: 1_700_000_000_000 + n as i64 * 15_000,
            start_timestamp_ms: if n.is_multiple_of(3) { 0 } else { 1_699_999_000_000 + (n / 6) as i64 },
            value: n as f64 / 3.0,
        })
    };
    add(&|out| record::put_samples(out, samples()));
    add(&|out| record::put_samples_v2(out, samples()));
    add(&|out| {
        let stones = (0..3).map(|n| RefTombstone { series: SeriesRef(n), min_ms: -5, max_ms: 1 << (20 * n) });
        record::put_tombstones(out, stones);
    });
    add(&|out| record::put_exemplars(out, &exemplars()));
    add(&|out| {
        let markers = (0..3).map(|n| RefMmapMarker { series: SeriesRef(n), chunk: n << 32 | 8 });
        record::put_mmap_markers(out, markers);
    });
    let metadata =
        Metadata { metric_type: MetricType::Counter, unit: "s".to_owned(), help: "Help.".to_owned() };
    add(&|out| record::put_metadata(out, (0..3).map(|n| (SeriesRef(n), &metadata))));
    let values = sample_values(3);
    let integers: Vec<RefHistogram> = values
        .iter()
        .filter_map(|value| match value {
            HistogramValue::Integer(histogram) => Some(RefHistogram {
                series: SeriesRef(1),
                timestamp_ms: 1_700_000_000_000,
                start_timestamp_ms: 0,
                histogram: histogram.clone(),
            }),
            HistogramValue::Float(_) => None,
        })
        .collect();
    let floats: Vec<RefFloatHistogram> = values
        .iter()
        .map(|value| RefFloatHistogram {
            series: SeriesRef(1),
            timestamp_ms: 1_700_000_000_000,
            start_timestamp_ms: 5,
            histogram: value.to_float(),
        })
        .collect();
    add(&|out| {
        let _ = record::put_histograms(out, &integers);
    });
    add(&|out| {
        let _ = record::put_custom_histograms(out, &integers);
    });
    add(&|out| record::put_histograms_v2(out, &integers));
    add(&|out| {
        let _ = record::put_float_histograms(out, &floats);
    });
    add(&|out| {
        let _ = record::put_custom_float_histograms(out, &floats);
    });
    add(&|out| record::put_float_histograms_v2(out, &floats));
    all
}

pub(crate) fn record_corpus() -> Vec<Vec<u8>> {
    records().into_iter().chain(crate::finds::of("wal_record")).collect()
}

const LOG: &str = "wal";

fn disk_with_segment(bytes: &[u8]) -> Arc<SimDisk> {
    let disk = Arc::new(SimDisk::new());
    disk.create_dir_all(Path::new(LOG)).expect("an empty disk has room");
    let mut file = disk.create(Path::new("wal/00000000")).expect("an empty disk has room");
    file.write_all(bytes).expect("an empty disk has room");
    disk
}

/// Records by place and bytes, and whether anything was wrong.
fn read_log(disk: &Arc<SimDisk>, mode: ReadMode, size: usize) -> (Vec<(WalPosition, Vec<u8>)>, bool) {
    let mut reader = LogReader::new(disk.clone(), LOG, [0], mode);
    let (mut found, mut wrong) = (Vec::new(), false);
    // Every step takes bytes.
    for _ in 0..size + 2 {
        match reader.next().expect("the disk can be read") {
            Step::Record(raw) => {
                assert!(raw.start < raw.end && raw.end.offset as usize <= size, "a record lies in the file");
                found.push((raw.start, raw.payload.bytes.to_vec()));
            }
            Step::Torn { at, bytes } => {
                assert!(at.offset + bytes <= size as u64);
                wrong = true;
            }
            Step::Damage { at, .. } => {
                assert!(at.offset as usize <= size);
                wrong = true;
            }
            Step::End => return (found, wrong),
        }
    }
    panic!("a reader comes to an end");
}

/// Any bytes as a segment.
pub(crate) fn segment(bytes: &[u8]) {
    let disk = disk_with_segment(bytes);
    let (strict, _) = read_log(&disk, ReadMode::Strict, bytes.len());
    let (salvaged, wrong) = read_log(&disk, ReadMode::Salvage, bytes.len());
    assert!(salvaged.starts_with(&strict), "salvage reads what a strict reader does, and maybe more");
    assert!(wrong || salvaged == strict);
    assert!(salvaged.windows(2).all(|pair| pair[0].0 < pair[1].0), "records ascend");
    for (_, bytes) in &salvaged {
        record(bytes);
    }
    let mut tail = TailReader::open(disk, Path::new(LOG), WalPosition { segment: 0, offset: 0 });
    if let Ok(tail) = &mut tail {
        let mut n = 0;
        while let Ok(Some(_)) = tail.next_record() {
            n += 1;
            assert!(n <= bytes.len());
        }
    }
}

pub(crate) fn written_segment(compression: Compression, repeat: usize) -> Vec<u8> {
    let disk = Arc::new(SimDisk::new());
    let options = LogWriterOptions { segment_bytes: 1 << 20 };
    let mut writer = LogWriter::open(disk.clone(), Path::new(LOG), options).expect("an empty disk has room");
    let mut compressor = Compressor::new(compression);
    for _ in 0..repeat {
        for record in records() {
            writer.log([compressor.compress(&record)]).expect("an empty disk has room");
        }
    }
    writer.sync().expect("an empty disk has room");
    disk.read(Path::new("wal/00000000")).expect("it was written")
}

pub(crate) fn segment_corpus() -> Vec<Vec<u8>> {
    let small = [Compression::None, Compression::Snappy, Compression::Zstd].map(|c| written_segment(c, 1));
    let pages = written_segment(Compression::None, 12);
    small.into_iter().chain([pages]).chain(crate::finds::of("wal_segment")).collect()
}

/// The first byte is the method, the others are a payload.
pub(crate) fn compression(bytes: &[u8]) {
    let Some((&method, bytes)) = bytes.split_first() else { return };
    let compression = [Compression::None, Compression::Snappy, Compression::Zstd][usize::from(method % 3)];
    let mut decompressor = Decompressor::new();
    if let Ok(record) = decompressor.decompress(Payload { compression, bytes }) {
        let record = record.to_vec();
        let mut compressor = Compressor::new(compression);
        let payload = compressor.compress(&record);
        assert!(payload.bytes.len() <= record.len(), "compressing never makes longer");
        assert_eq!(Decompressor::new().decompress(payload), Ok(record.as_slice()));
    }
}

pub(crate) fn compression_corpus() -> Vec<Vec<u8>> {
    let mut all = crate::finds::of("wal_compression");
    for (method, compression) in [(1, Compression::Snappy), (2, Compression::Zstd)] {
        let mut compressor = Compressor::new(compression);
        for record in records() {
            let mut input = vec![method];
            input.extend_from_slice(compressor.compress(&record.repeat(3)).bytes);
            all.push(input);
        }
    }
    all
}

/// Any bytes as a record of a snapshot.
pub(crate) fn snapshot(bytes: &[u8]) {
    let Ok(found) = snapshot_format::decode(bytes) else { return };
    let mut out = Vec::new();
    match &found {
        SnapshotRecord::Series(series) => {
            snapshot_format::put_series(&mut out, series.series, &series.labels, series.chunk.as_ref());
            if let Some(chunk) = &series.chunk {
                // A chunk in it is as untrusted as one anywhere.
                let _ = tsdb::chunk::time_bounds(chunk.encoding, &chunk.bytes);
            }
        }
        SnapshotRecord::Tombstones(tombstones) => snapshot_format::put_tombstones(&mut out, tombstones),
        SnapshotRecord::Exemplars(exemplars) => snapshot_format::put_exemplars(&mut out, exemplars),
    }
    let again = snapshot_format::decode(&out).expect("what was written is a record");
    assert_eq!(format!("{again:?}"), format!("{found:?}"));
}

pub(crate) fn snapshot_corpus() -> Vec<Vec<u8>> {
    let mut all = crate::finds::of("snapshot_record");
    let mut rng = Rng::new(5);
    let histogram = crate::chunk::sample_histogram(&mut rng, 4, 4);
    let lasts = [
        (ChunkEncoding::Xor, StoredValue::Float(1.5), crate::chunk::xor_corpus()),
        (ChunkEncoding::Xor2, StoredValue::Float(1.5), crate::chunk::xor2_corpus()),
        (
            ChunkEncoding::Histogram,
            StoredValue::Histogram(histogram.clone()),
            crate::chunk::histogram_corpus(),
        ),
        (
            ChunkEncoding::FloatHistogram,
            StoredValue::FloatHistogram(histogram.to_float()),
            crate::chunk::float_histogram_corpus(),
        ),
    ];
    for (encoding, last, mut chunks) in lasts {
        let chunk = SnapshotChunk { min_ms: 1, max_ms: 9, encoding, bytes: chunks.swap_remove(0), last };
        let mut out = Vec::new();
        snapshot_format::put_series(&mut out, SeriesRef(7), &labels(1), Some(&chunk));
        all.push(out);
    }
    let mut out = Vec::new();
    snapshot_format::put_series(&mut out, SeriesRef(7), &labels(1), None);
    all.push(out);
    let mut tombstones = Tombstones::new();
    tombstones.add(3, TimeRange::new(1, 5));
    let mut out = Vec::new();
    snapshot_format::put_tombstones(&mut out, &tombstones);
    all.push(out);
    let mut out = Vec::new();
    snapshot_format::put_exemplars(&mut out, &exemplars());
    all.push(out);
    all
}
