//! What is wrong with an answer's head, in Go's words.
//! Source: Go `net/http/response.go`, `net/textproto/reader.go`.

use model::labels::go_quote;

/// Bytes of a line that an error shows at most.
const SHOWN_BYTES: usize = 1024;

/// What is wrong with the bytes of a head that could not be read; `None` where
/// this finds nothing. With `is_end` no more bytes follow.
pub(super) fn fault(bytes: &[u8], is_end: bool) -> Option<String> {
    let mut lines = Lines { rest: bytes, is_end };
    let first = lines.next()?;
    if let Some(fault) = status_line_fault(first) {
        return Some(fault);
    }
    let mut is_initial = true;
    for line in lines {
        if line.is_empty() {
            return None;
        }
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if is_initial && continues {
            return Some(format!("malformed MIME header initial line: {}", quoted(line)));
        }
        is_initial = false;
        if continues {
            continue;
        }
        match cut(line, b':') {
            None => return Some(format!("malformed MIME header: missing colon: {}", quoted(line))),
            Some((name, value)) => {
                let is_name = !name.is_empty()
                    && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~ ".contains(b));
                let is_value = value.iter().all(|b| (*b >= b' ' && *b != 0x7f) || *b == b'\t');
                if !is_name || !is_value {
                    return Some(format!("malformed MIME header line: {}", quoted(line)));
                }
            }
        }
    }
    is_end.then(|| "unexpected EOF".to_owned())
}

/// What is wrong with the length that a head says its body has.
pub(super) fn content_length_fault(bytes: &[u8]) -> Option<String> {
    let lines = Lines { rest: bytes, is_end: false }.skip(1).take_while(|line| !line.is_empty());
    let lengths: Vec<&[u8]> = lines
        .filter_map(|line| {
            let (name, value) = cut(line, b':')?;
            name.eq_ignore_ascii_case(b"content-length").then(|| value.trim_ascii())
        })
        .collect();
    let first = lengths.first()?;
    if lengths.iter().any(|length| length != first) {
        let all: Vec<String> = lengths.iter().map(|length| quoted(length)).collect();
        let all = all.join(" ");
        return Some(format!("http: message cannot contain multiple Content-Length headers; got [{all}]"));
    }
    if first.is_empty() {
        return Some("invalid empty Content-Length \"\"".to_owned());
    }
    let is_number = first.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(first).is_ok_and(|digits| digits.parse::<i64>().is_ok());
    (!is_number).then(|| format!("bad Content-Length {}", quoted(first)))
}

/// Lines without their ends; one that has none counts where no more follows.
struct Lines<'a> {
    rest: &'a [u8],
    is_end: bool,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (line, rest) = match self.rest.iter().position(|b| *b == b'\n') {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None if self.is_end && !self.rest.is_empty() => (self.rest, &self.rest[..0]),
            None => return None,
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn status_line_fault(line: &[u8]) -> Option<String> {
    let Some((protocol, status)) = cut(line, b' ') else {
        return Some(format!("malformed HTTP response {}", quoted(line)));
    };
    let start = status.iter().position(|b| *b != b' ').unwrap_or(status.len());
    let code = status[start..].split(|b| *b == b' ').next().unwrap_or_default();
    if code.len() != 3 || !code.iter().all(u8::is_ascii_digit) {
        return Some(format!("malformed HTTP status code {}", quoted(code)));
    }
    match protocol.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => None,
        _ => Some(format!("malformed HTTP version {}", quoted(protocol))),
    }
}

/// What stands before and behind a sign.
fn cut(line: &[u8], sign: u8) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|b| *b == sign)?;
    Some((&line[..at], &line[at + 1..]))
}

/// In quotes, as Go prints bytes that need not be text.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes[..bytes.len().min(SHOWN_BYTES)].utf8_chunks() {
        let text = go_quote(chunk.valid());
        out.push_str(&text[1..text.len() - 1]);
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_gos_words() {
        for (bytes, is_end, wanted) in [
            ("SSH-2.0-x\r\n", false, "malformed HTTP response \"SSH-2.0-x\""),
            ("HTTP/1.1\r\n", false, "malformed HTTP response \"HTTP/1.1\""),
            ("HTTP/1.1 abc OK\r\n", false, "malformed HTTP status code \"abc\""),
            ("HTTP/1.1 20 OK\r\n", false, "malformed HTTP status code \"20\""),
            ("HTP/1.1 200 OK\r\n", false, "malformed HTTP version \"HTP/1.1\""),
            ("HTTP/1.1 200 OK\r\nbad\r\n\r\n", false, "malformed MIME header: missing colon: \"bad\""),
            ("HTTP/1.1 200 OK\r\n: v\r\n", false, "malformed MIME header line: \": v\""),
            ("HTTP/1.1 200 OK\r\n v\r\n", false, "malformed MIME header initial line: \" v\""),
            ("HTTP/1.1 200 OK\r\nA: \x01\r\n", false, "malformed MIME header line: \"A: \\x01\""),
            ("HTTP/1.1 200", true, "unexpected EOF"),
            ("HTT", true, "malformed HTTP response \"HTT\""),
            ("HTTP/1.1 200 OK\r\nContent-Ty", true, "malformed MIME header: missing colon: \"Content-Ty\""),
        ] {
            assert_eq!(fault(bytes.as_bytes(), is_end).as_deref(), Some(wanted), "{bytes}");
        }
        for (headers, wanted) in [
            ("Content-Length: abc", "bad Content-Length \"abc\""),
            ("content-length: -1\r\nA: b", "bad Content-Length \"-1\""),
            ("Content-Length: ", "invalid empty Content-Length \"\""),
            (
                "Content-Length: 1\r\nContent-Length: 2",
                "http: message cannot contain multiple Content-Length headers; got [\"1\" \"2\"]",
            ),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nContent-Length: body");
            assert_eq!(content_length_fault(head.as_bytes()).as_deref(), Some(wanted), "{headers}");
        }
        assert_eq!(content_length_fault(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), None);
        assert_eq!(fault(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", false), None);
        assert_eq!(fault(b"HTT", false), None);
        let noise = fault(b"\x80a\"\xc3\xa9\xff\n", false);
        assert_eq!(noise.as_deref(), Some("malformed HTTP response \"\\x80a\\\"\u{e9}\\xff\""));
    }
}
