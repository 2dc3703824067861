//! Profiles as pprof's protobuf message, packed with gzip.
//! Source: `github.com/google/pprof/proto/profile.proto`.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Frame, Stack};
use crate::protobuf::{bytes, message, number, varint};

/// Fields of the message.
const SAMPLE_TYPE: u64 = 1;
const SAMPLE: u64 = 2;
const LOCATION: u64 = 4;
const FUNCTION: u64 = 5;
const STRING: u64 = 6;
const TIME_NS: u64 = 9;
const DURATION_NS: u64 = 10;
const PERIOD_TYPE: u64 = 11;
const PERIOD: u64 = 12;

/// A profile under way.
pub struct Profile {
    out: Vec<u8>,
    strings: HashMap<String, u64>,
    /// Of each frame the number of its location, which is that of its function.
    locations: HashMap<Frame, u64>,
}

impl Profile {
    /// A profile whose samples have so many values: what each counts, and its unit.
    pub fn new(values: &[(&str, &str)], time_ms: i64) -> Profile {
        let mut profile = Profile { out: Vec::new(), strings: HashMap::new(), locations: HashMap::new() };
        // The first text must be empty.
        profile.string("");
        for kind in values {
            profile.value_type(SAMPLE_TYPE, *kind);
        }
        number(&mut profile.out, TIME_NS, time_ms.saturating_mul(1_000_000) as u64);
        profile
    }

    /// What is counted once in which time.
    pub fn period(&mut self, kind: (&str, &str), period: u64, duration: Duration) {
        self.value_type(PERIOD_TYPE, kind);
        number(&mut self.out, PERIOD, period);
        number(&mut self.out, DURATION_NS, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a stack with its values.
    pub fn add(&mut self, stack: &Stack, values: &[u64]) {
        let locations: Vec<u64> = stack.frames.iter().map(|frame| self.location(frame)).collect();
        message(&mut self.out, SAMPLE, |out| {
            packed(out, 1, &locations);
            packed(out, 2, values);
        });
    }

    /// The message, packed.
    pub fn packed(&self) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(&self.out).and_then(|()| encoder.finish());
        written.expect("memory takes all that is written")
    }

    fn value_type(&mut self, field: u64, (kind, unit): (&str, &str)) {
        let (kind, unit) = (self.string(kind), self.string(unit));
        message(&mut self.out, field, |out| {
            number(out, 1, kind);
            number(out, 2, unit);
        });
    }

    fn string(&mut self, text: &str) -> u64 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let at = self.strings.len() as u64;
        self.strings.insert(text.to_owned(), at);
        bytes(&mut self.out, STRING, text.as_bytes());
        at
    }

    fn location(&mut self, frame: &Frame) -> u64 {
        if let Some(at) = self.locations.get(frame) {
            return *at;
        }
        // Zero is no number of a location.
        let at = self.locations.len() as u64 + 1;
        self.locations.insert(frame.clone(), at);
        let (name, file) = (self.string(&frame.function), self.string(&frame.file));
        message(&mut self.out, FUNCTION, |out| {
            number(out, 1, at);
            number(out, 2, name);
            number(out, 3, name);
            number(out, 4, file);
        });
        message(&mut self.out, LOCATION, |out| {
            number(out, 1, at);
            message(out, 4, |out| {
                number(out, 1, at);
                number(out, 2, u64::from(frame.line));
            });
        });
        at
    }
}

fn packed(out: &mut Vec<u8>, field: u64, numbers: &[u64]) {
    let mut content = Vec::new();
    numbers.iter().for_each(|n| varint(&mut content, *n));
    bytes(out, field, &content);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_text_and_a_frame_are_written_once() {
        let frame =
            |function: &str| Frame { function: function.to_owned(), file: "a.rs".to_owned(), line: 3 };
        let mut profile = Profile::new(&[("samples", "count")], 1);
        profile.add(&Stack { frames: vec![frame("inner"), frame("outer")], count: 2 }, &[2]);
        profile.add(&Stack { frames: vec![frame("outer")], count: 1 }, &[300]);
        let mut message = Vec::new();
        flate2::read::GzDecoder::new(&profile.packed()[..]).read_to_end(&mut message).unwrap();
        let count = |part: &[u8]| message.windows(part.len()).filter(|window| *window == part).count();
        assert_eq!((count(b"inner"), count(b"outer"), count(b"a.rs")), (1, 1, 1));
        // Samples: locations 1 and 2 with 2, location 2 with 300.
        assert_eq!(count(&[0x12, 7, 0x0a, 2, 1, 2, 0x12, 1, 2]), 1);
        assert_eq!(count(&[0x12, 7, 0x0a, 1, 2, 0x12, 2, 0xac, 2]), 1);
    }
}
