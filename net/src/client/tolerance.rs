//! What Go takes in an answer's head and the parser here does not: any version
//! of HTTP in its line of status, and spaces in the names of headers.
//!
//! ```text
//! HTTP/9.9 200 OK       ─▶  HTTP/1.1 200 OK
//! Content Type: a b     ─▶  Content|Type: a b      (no name that anybody looks for)
//! ```
//! Source: Go `net/http.ParseHTTPVersion`, `net/textproto.canonicalMIMEHeaderKey`.

/// What Go takes for a space in a name: a sign that names may have, and none has.
const SPACE: u8 = b'|';
const PROTOCOL: &[u8; 5] = b"HTTP/";

/// Rewrites a head, piece by piece, without changing its length.
#[derive(Debug)]
pub(super) struct Tolerance {
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many bytes into the line of status; the major version, once it came.
    Version {
        at: usize,
        major: u8,
    },
    LineStart,
    Name,
    /// A value, or what else lasts to the end of its line.
    Rest,
    /// Behind the head.
    Body,
}

impl Tolerance {
    pub(super) fn new() -> Tolerance {
        Tolerance { place: Place::Version { at: 0, major: 0 } }
    }

    pub(super) fn rewrite(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.place = match (self.place, *byte) {
                (Place::Body, _) => return,
                (Place::Version { at, major }, _) => version(at, major, byte),
                (Place::LineStart, b'\n') => Place::Body,
                (Place::LineStart, b'\r') => Place::LineStart,
                (Place::LineStart, b' ' | b'\t') | (Place::LineStart | Place::Name, b':') => Place::Rest,
                (Place::Name | Place::Rest, b'\n') => Place::LineStart,
                (Place::Name, b' ') => {
                    *byte = SPACE;
                    Place::Name
                }
                (Place::LineStart | Place::Name, _) => Place::Name,
                (Place::Rest, _) => Place::Rest,
            };
        }
    }
}

/// One byte of the line of status.
fn version(at: usize, major: u8, byte: &mut u8) -> Place {
    let next = |major| Place::Version { at: at + 1, major };
    match (at, *byte) {
        (_, b'\n') => Place::LineStart,
        (0..5, sign) if sign == PROTOCOL[at] => next(major),
        (5, digit) if digit.is_ascii_digit() => {
            *byte = b'1';
            next(digit)
        }
        (6, b'.') => next(major),
        (7, digit) if digit.is_ascii_digit() => {
            // Connections end with their answers before 1.1.
            *byte = if major == b'0' || (major, digit) == (b'1', b'0') { b'0' } else { b'1' };
            Place::Rest
        }
        _ => Place::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_is_made_to_what_the_parser_takes() {
        for (head, wanted) in [
            ("HTTP/1.1 200 O K\r\nA: b c\r\n\r\nB C: d", "HTTP/1.1 200 O K\r\nA: b c\r\n\r\nB C: d"),
            ("HTTP/9.9 200 OK\nA B : c\n d e\n\n", "HTTP/1.1 200 OK\nA|B|: c\n d e\n\n"),
            ("HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"),
            ("HTTP/0.9 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"),
            ("HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
            ("SSH-2.0 x y\r\nz z: 1", "SSH-2.0 x y\r\nz|z: 1"),
        ] {
            // However it is cut.
            for cut in 0..head.len() {
                let mut bytes = head.as_bytes().to_vec();
                let mut tolerance = Tolerance::new();
                let (first, second) = bytes.split_at_mut(cut);
                tolerance.rewrite(first);
                tolerance.rewrite(second);
                assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
            }
        }
    }
}
