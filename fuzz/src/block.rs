//! The files of a block, and head chunk files.

use std::path::Path;
use std::sync::Arc;

use model::query::ChunkEncoding;
use model::{BlockRange, Fs, SeriesRef, TimeRange};
use testkit::disk::SimDisk;
use tsdb::block::{
    BlockMeta, BlockWriter, BlockWriterOptions, ChunkFiles, ChunkToWrite, META_FILE_NAME, read_meta,
};
use tsdb::head_chunks::{HeadChunkFiles, HeadChunkOptions};
use tsdb::index::{BlockChunkRef, BlockSeriesRef, IndexReader, SERIES_ALIGNMENT};
use tsdb::tombstones::{self, Tombstones};
use ulid::Ulid;

fn disk_with(path: &str, bytes: &[u8]) -> Arc<SimDisk> {
    let disk = Arc::new(SimDisk::new());
    let path = Path::new(path);
    if let Some(dir) = path.parent() {
        disk.create_dir_all(dir).expect("an empty disk has room");
    }
    let mut file = disk.create(path).expect("an empty disk has room");
    file.write_all(bytes).expect("an empty disk has room");
    disk
}

/// Any bytes as an index: all of it is walked.
pub(crate) fn index(bytes: &[u8]) {
    let disk = disk_with("b/index", bytes);
    let Ok(index) = IndexReader::open(&*disk, Path::new("b/index")) else { return };
    assert!(index.heap_bytes() <= 64 * bytes.len() + 4096, "memory is bounded by the file");
    let _ = index.verify();
    let names: Vec<String> = index.label_names().map(str::to_owned).collect();
    assert!(names.len() <= bytes.len());
    let mut n = 0;
    for name in &names {
        assert!(index.num_label_values(name) <= bytes.len());
        let mut offsets = Vec::new();
        let _ = index.label_values(name, |value, offset| {
            offsets.push((value.to_owned(), offset));
            n += 1;
            n <= bytes.len()
        });
        for (value, offset) in offsets.iter().take(50) {
            if let Ok(list) = index.postings_at(*offset) {
                assert!(list.iter().count() <= bytes.len());
            }
            let _ = index.postings(name, value);
        }
    }
    for (_, text) in index.symbols().iter().take(bytes.len()) {
        let _ = index.symbols().find(text);
    }
    let (mut labels, mut chunks) = (Vec::new(), Vec::new());
    if let Ok(all) = index.all_postings() {
        for series in all.iter().take(bytes.len()) {
            if index.series(series, &mut labels, &mut chunks).is_ok() {
                let _ = index.labels(&labels);
            }
        }
    }
    for at in [0, 1, 7, u32::MAX] {
        let _ = index.series(BlockSeriesRef(at), &mut labels, &mut chunks);
    }
}

fn crc32c(bytes: &[u8]) -> [u8; 4] {
    tsdb::crc::crc32c(bytes).to_be_bytes()
}

/// A section of a length, its bytes and a checksum gets the right checksum.
fn seal_section(bytes: &mut [u8], at: u64) {
    let Some(at) =
        usize::try_from(at).ok().filter(|at| at.checked_add(8).is_some_and(|end| end <= bytes.len()))
    else {
        return;
    };
    let len = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let (Some(start), Some(end)) =
        (at.checked_add(4), at.checked_add(4).and_then(|start| start.checked_add(len)))
    else {
        return;
    };
    if end + 4 <= bytes.len() {
        let crc = crc32c(&bytes[start..end]);
        bytes[end..end + 4].copy_from_slice(&crc);
    }
}

/// As [`index`], with every checksum put right first: what lies behind them.
pub(crate) fn index_sealed(bytes: &[u8]) {
    const TOC_LEN: usize = 52;
    let mut bytes = bytes.to_vec();
    let Some(toc_at) = bytes.len().checked_sub(TOC_LEN).filter(|at| *at >= 5) else { return };
    let field = |bytes: &[u8], n: usize| {
        u64::from_be_bytes(bytes[toc_at + n * 8..][..8].try_into().expect("eight bytes"))
    };
    let [symbols, series, _, _, postings, table] = [0, 1, 2, 3, 4, 5].map(|n| field(&bytes, n));
    // Lists of postings follow each other, each on a multiple of four.
    let mut at = postings;
    while at < table.min(bytes.len() as u64).saturating_sub(8) {
        let start = at as usize;
        let len = u32::from_be_bytes(bytes[start..start + 4].try_into().expect("four bytes"));
        seal_section(&mut bytes, at);
        at = (at + 8 + u64::from(len)).next_multiple_of(4);
    }
    let mut at = (series as usize).checked_next_multiple_of(SERIES_ALIGNMENT).unwrap_or(usize::MAX);
    while at < toc_at {
        // A length of one or two bytes, the entry, its checksum.
        let (len, width) = match bytes[at] {
            small @ 0..=0x7f => (usize::from(small), 1),
            low => (usize::from(low & 0x7f) | usize::from(bytes[at + 1] & 0x7f) << 7, 2),
        };
        let end = at + width + len;
        if end + 4 > toc_at {
            break;
        }
        let crc = crc32c(&bytes[at + width..end]);
        bytes[end..end + 4].copy_from_slice(&crc);
        at = (end + 4).next_multiple_of(SERIES_ALIGNMENT);
    }
    seal_section(&mut bytes, symbols);
    seal_section(&mut bytes, table);
    let crc = crc32c(&bytes[toc_at..toc_at + 48]);
    bytes[toc_at + 48..].copy_from_slice(&crc);
    index(&bytes);
}

/// A block's files on a disk.
fn block() -> (Arc<SimDisk>, std::path::PathBuf) {
    let disk = Arc::new(SimDisk::new());
    disk.create_dir_all(Path::new("data")).expect("an empty disk has room");
    let names = ["", "__name__", "a", "b", "c", "metric", "n", "x"];
    let options = BlockWriterOptions::default();
    let mut writer = BlockWriter::create(disk.clone(), Path::new("data"), Ulid::from(7u128), names, options)
        .expect("a block");
    let chunks = crate::chunk::xor_corpus();
    for value in ["a", "b", "c"] {
        let symbol = |text: &str| writer.symbol(text).expect("it is one of the names");
        let labels = [(symbol("__name__"), symbol("metric")), (symbol("n"), symbol(value))];
        let written: Vec<ChunkToWrite<'_>> = chunks
            .iter()
            .enumerate()
            .map(|(n, bytes)| ChunkToWrite {
                min_ms: n as i64 * 100,
                max_ms: n as i64 * 100 + 99,
                encoding: ChunkEncoding::Xor,
                bytes,
            })
            .collect();
        writer.add_series(&labels, &written).expect("series in order");
    }
    let dir = writer.finish(BlockMeta::new(Ulid::from(7u128), BlockRange::new(0, 10_000))).expect("a block");
    (disk, dir)
}

pub(crate) fn index_corpus() -> Vec<Vec<u8>> {
    let (disk, dir) = block();
    let mut all = crate::finds::of("index");
    all.extend(crate::finds::of("index_sealed"));
    all.push(disk.read(&dir.join("index")).expect("it was written"));
    all
}

/// Any bytes as a chunk file, read at every place.
pub(crate) fn chunks(bytes: &[u8]) {
    let disk = disk_with("chunks/000001", bytes);
    let Ok(files) = ChunkFiles::open(&*disk, Path::new("chunks")) else { return };
    for offset in (0..bytes.len().min(2000) as u32).chain([u32::MAX, u32::MAX - 3]) {
        if let Ok(chunk) = files.chunk(BlockChunkRef::new(0, offset)) {
            assert!(chunk.bytes.len() <= bytes.len());
            let _ = tsdb::chunk::time_bounds(chunk.encoding, chunk.bytes);
        }
    }
    assert!(files.chunk(BlockChunkRef::new(1, 8)).is_err(), "there is one file");
}

pub(crate) fn chunks_corpus() -> Vec<Vec<u8>> {
    let (disk, dir) = block();
    let mut all = crate::finds::of("block_chunks");
    all.push(disk.read(&dir.join("chunks/000001")).expect("it was written"));
    all
}

/// Any bytes as a tombstones file, also with its checksum put right.
pub(crate) fn tombstones(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    if let Some(end) = sealed.len().checked_sub(4).filter(|end| *end >= 5) {
        let crc = crc32c(&sealed[5..end]);
        sealed[end..].copy_from_slice(&crc);
    }
    for bytes in [bytes, &sealed] {
        let disk = disk_with("b/tombstones", bytes);
        if let Ok(found) = tombstones::read_tombstones(&*disk, Path::new("b")) {
            for (_, ranges) in found.iter() {
                assert!(ranges.windows(2).all(|pair| pair[0].end_ms < pair[1].start_ms), "ranges ascend");
            }
            let disk = disk_with("b/tombstones", &tombstones::encode(&found));
            assert_eq!(tombstones::read_tombstones(&*disk, Path::new("b")).ok(), Some(found));
        }
    }
}

pub(crate) fn tombstones_corpus() -> Vec<Vec<u8>> {
    let mut all = crate::finds::of("tombstones");
    let mut some = Tombstones::new();
    for n in 0..5u64 {
        some.add(n, TimeRange::new(n as i64 * 10, n as i64 * 10 + 5));
        some.add(n, TimeRange::new(i64::MAX - 100, i64::MAX));
    }
    all.extend([tombstones::encode(&Tombstones::new()), tombstones::encode(&some)]);
    all
}

pub(crate) const META_WORDS: &[&str] = &[
    "\"ulid\"",
    "\"minTime\"",
    "\"maxTime\"",
    "\"stats\"",
    "\"compaction\"",
    "\"level\"",
    "\"sources\"",
    "\"version\"",
    "\"parents\"",
    "\"hints\"",
    "\"deletable\"",
    "null",
    "true",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "1e400",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"00000000000000000000000007\"",
    "\"\\u0000\"",
];

/// Any bytes as a block's `meta.json`.
pub(crate) fn meta(bytes: &[u8]) {
    let disk = disk_with("b/meta.json", bytes);
    let Ok(found) = read_meta(&*disk, Path::new("b")) else { return };
    let disk = disk_with("b/meta.json", &found.encode());
    assert_eq!(read_meta(&*disk, Path::new("b")).ok(), Some(found));
}

pub(crate) fn meta_corpus() -> Vec<Vec<u8>> {
    let (disk, dir) = block();
    let mut all = crate::finds::of("meta_json");
    all.push(disk.read(&dir.join(META_FILE_NAME)).expect("it was written"));
    all
}

/// Any bytes as the only head chunk file.
pub(crate) fn head_chunks(bytes: &[u8]) {
    let disk = disk_with("chunks_head/000001", bytes);
    let Ok(files) = HeadChunkFiles::open(disk, Path::new("chunks_head"), HeadChunkOptions::default()) else {
        return;
    };
    let mut found = Vec::new();
    let damage = files.for_each(|chunk, data| found.push((chunk, data.to_vec())));
    assert!(found.len() <= bytes.len());
    for (chunk, data) in &found {
        let read = files.read(chunk.chunk).expect("what was listed can be read");
        assert_eq!(&*read, data.as_slice());
        let _ = tsdb::chunk::time_bounds(chunk.encoding, data);
    }
    if damage.is_none() {
        // What is written now is found behind it.
        let place =
            files.write(SeriesRef(9), (1, 2), ChunkEncoding::Xor, false, &[0, 0]).expect("there is room");
        files.flush().expect("there is room");
        assert_eq!(&*files.read(place).expect("it was written"), [0, 0]);
    }
}

pub(crate) fn head_chunks_corpus() -> Vec<Vec<u8>> {
    let disk = Arc::new(SimDisk::new());
    let dir = Path::new("chunks_head");
    let files =
        HeadChunkFiles::open(disk.clone(), dir, HeadChunkOptions::default()).expect("an empty folder");
    for (n, bytes) in crate::chunk::xor2_corpus().iter().enumerate() {
        let times = (n as i64 * 10, n as i64 * 10 + 9);
        files
            .write(SeriesRef(n as u64), times, ChunkEncoding::Xor2, n % 2 == 1, bytes)
            .expect("there is room");
    }
    files.sync().expect("there is room");
    let mut all = crate::finds::of("head_chunks");
    all.push(disk.read(&dir.join("000001")).expect("it was written"));
    all
}
