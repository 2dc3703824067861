//! Inputs made from others by a seed: bytes flipped, set, moved, repeated, cut,
//! words of the language put in, two inputs joined.

use testkit::Rng;

/// No input grows beyond this.
const BYTES_MAX: usize = 1 << 16;

/// Numbers at which counts and lengths turn.
const EDGES: [u8; 10] = [0, 1, 0x7f, 0x80, 0x81, 0xff, 0xfe, 0x3f, 0x40, 0x10];

/// An input made from one of `corpus` in a few steps.
pub fn mutate(corpus: &[Vec<u8>], words: &[&str], rng: &mut Rng) -> Vec<u8> {
    let pick = |rng: &mut Rng| corpus[rng.below(corpus.len() as u64) as usize].clone();
    let mut bytes = if rng.one_in(30) { Vec::new() } else { pick(rng) };
    for _ in 0..1 + rng.below(1 + rng.clone().below(8)) {
        step(&mut bytes, words, rng, pick);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn step(bytes: &mut Vec<u8>, words: &[&str], rng: &mut Rng, pick: impl Fn(&mut Rng) -> Vec<u8>) {
    let len = bytes.len() as u64;
    let at = rng.below(len + 1) as usize;
    let until = at + rng.below(len - at as u64 + 1).min(64) as usize;
    match rng.below(if words.is_empty() { 10 } else { 16 }) {
        0 if len > 0 => {
            let at = rng.below(len) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
        1 if len > 0 => {
            let at = rng.below(len) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        2 if len > 0 => {
            let at = rng.below(len) as usize;
            bytes[at] = EDGES[rng.below(EDGES.len() as u64) as usize];
        }
        3 => bytes.insert(at, rng.next_u64() as u8),
        4 => drop(bytes.drain(at..until)),
        5 => bytes.truncate(at),
        6 => {
            let again: Vec<u8> = bytes[at..until].repeat(1 + rng.below(4) as usize);
            bytes.splice(at..at, again);
        }
        7 => {
            let other = pick(rng);
            let from = rng.below(other.len() as u64 + 1) as usize;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        8 => {
            // A wide number over what is there.
            let number = match rng.below(4) {
                0 => u64::MAX,
                1 => 1 << rng.below(64),
                2 => i64::MIN as u64,
                _ => rng.next_u64() >> rng.below(64),
            };
            let width = [1, 2, 4, 8][rng.below(4) as usize];
            for (place, byte) in bytes.iter_mut().skip(at).zip(&number.to_be_bytes()[8 - width..]) {
                *place = *byte;
            }
        }
        9 => {
            let run = vec![EDGES[rng.below(EDGES.len() as u64) as usize]; rng.below(12) as usize];
            bytes.splice(at..at, run);
        }
        _ if !words.is_empty() => {
            let word = words[rng.below(words.len() as u64) as usize];
            bytes.splice(at..if rng.one_in(2) { until } else { at }, word.bytes());
        }
        _ => {}
    }
}
