//! Bodies of remote write.

use std::sync::Arc;

use model::metrics::Registry;
use remote::body::{Encoding, unpack};
use remote::{Message, Receiver, ReceiverOptions, V2Options};
use testkit::{MemoryStore, TestClock};

fn receive(message: Message, bytes: &[u8], v2: V2Options) {
    let options = ReceiverOptions { accepted: vec![Message::V1, Message::V2], v2, cache_bytes: 1 << 16 };
    let clock = Arc::new(TestClock::new(1_700_000_000_000));
    let receiver = Receiver::new(options, Arc::new(MemoryStore::new()), clock, &Registry::new());
    let body = snap::raw::Encoder::new().compress_vec(bytes).expect("any bytes can be compressed");
    // Twice: the second time through the cache of known series.
    for _ in 0..2 {
        let reply = receiver.receive(message, Encoding::Snappy, &body);
        assert!(matches!(reply.status, 200 | 204 | 400), "{}: {}", reply.status, reply.body);
    }
}

pub(crate) fn v1(bytes: &[u8]) {
    receive(Message::V1, bytes, V2Options::default());
}

pub(crate) fn v2(bytes: &[u8]) {
    receive(Message::V2, bytes, V2Options::default());
    let all =
        V2Options { metadata: true, type_and_unit_labels: true, start_zero: true, start_timestamps: true };
    receive(Message::V2, bytes, all);
}

/// The first byte is the encoding, the others are packed.
pub(crate) fn body(bytes: &[u8]) {
    let Some((&encoding, bytes)) = bytes.split_first() else { return };
    let encoding = if encoding % 2 == 0 { Encoding::Snappy } else { Encoding::Zstd };
    if let Ok(unpacked) = unpack(encoding, bytes, &mut Vec::new()) {
        assert!(unpacked.len() <= remote::body::DECODED_BYTES_MAX);
    }
}

pub(crate) fn body_corpus() -> Vec<Vec<u8>> {
    let mut all = crate::finds::of("remote_body");
    let packed = snap::raw::Encoder::new().compress_vec(&[b'x'; 3000]).expect("bytes can be compressed");
    all.push([&[0u8][..], &packed].concat());
    // A frame of zstd: magic, single segment, one raw block, one repeated.
    all.push(vec![1, 0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x05, 0x29, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o']);
    all.push(vec![1, 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x03, 0x00, 0x08, b'x']);
    all
}

/// Protobuf, as far as the inputs need it.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn varint(mut self, field: u64, n: u64) -> Wire {
        self.number(field << 3);
        self.number(n);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Wire {
        self.number(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Wire {
        self.number(field << 3 | 2);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(self, field: u64, message: Wire) -> Wire {
        self.bytes(field, &message.0)
    }
}

fn histogram(float: bool) -> Wire {
    let span = |offset: u64, length: u64| Wire::default().varint(1, offset).varint(2, length);
    let head = if float { Wire::default().double(2, 6.0) } else { Wire::default().varint(1, 6) };
    let head = head.double(3, 1.5).varint(4, 4).double(5, 0.001);
    let head = if float { head.double(7, 1.0) } else { head.varint(6, 1) };
    let spans = head.message(11, span(0, 2)).message(11, span(2, 1));
    let packed: Vec<u8> = [1.0f64, 2.0, 2.0].iter().flat_map(|count| count.to_le_bytes()).collect();
    let counts = if float { spans.bytes(13, &packed) } else { spans.bytes(12, &[2, 2, 0]) };
    counts.varint(15, 1_699_999_999_000)
}

pub(crate) fn v1_corpus() -> Vec<Vec<u8>> {
    let label =
        |name: &str, value: &str| Wire::default().bytes(1, name.as_bytes()).bytes(2, value.as_bytes());
    let sample = |value: f64, t: u64| Wire::default().double(1, value).varint(2, t);
    let series = || Wire::default().message(1, label("__name__", "up")).message(1, label("job", "a"));
    let floats =
        series().message(2, sample(1.0, 1_699_999_999_000)).message(2, sample(2.0, 1_700_000_000_000));
    let exemplar =
        Wire::default().message(1, label("trace", "x")).double(2, 0.5).varint(3, 1_700_000_000_000);
    let request = Wire::default()
        .message(1, floats.message(3, exemplar))
        .message(1, series().message(4, histogram(false)).message(4, histogram(true)))
        .message(3, Wire::default().varint(1, 1).bytes(2, b"up").bytes(4, b"Help.").bytes(5, b"s"));
    let mut all = crate::finds::of("remote_write_v1");
    all.extend([request.0, Vec::new()]);
    all
}

pub(crate) fn v2_corpus() -> Vec<Vec<u8>> {
    let mut request = Wire::default();
    for symbol in ["", "__name__", "up", "job", "a", "trace", "x", "Help.", "seconds"] {
        request = request.bytes(4, symbol.as_bytes());
    }
    let sample = |value: f64, t: u64| Wire::default().double(1, value).varint(2, t).varint(3, t - 1000);
    let exemplar = Wire::default().bytes(1, &[5, 6]).double(2, 0.5).varint(3, 1_700_000_000_000);
    let metadata = Wire::default().varint(1, 1).varint(3, 7).varint(4, 8);
    let floats = Wire::default().bytes(1, &[1, 2, 3, 4]).message(2, sample(1.0, 1_700_000_000_000));
    let floats = floats.message(4, exemplar).message(5, metadata);
    let histograms =
        Wire::default().bytes(1, &[1, 2]).message(3, histogram(false)).message(3, histogram(true));
    let request = request.message(5, floats).message(5, histograms);
    let mut all = crate::finds::of("remote_write_v2");
    all.push(request.0);
    all
}
