//! Request targets as people type them.
//!
//! Go's server takes `GET /api/v1/query?query=up{job="x"}>0` as it stands; the
//! HTTP library here refuses `"`, `<` and `>` as no part of a URL. So they are
//! percent-encoded on the way to it, which means the same. To find the request
//! lines, heads are followed and bodies skipped by their length; a connection
//! whose framing is not plain to see is left as it is from there on.
//!
//! ```text
//! socket ─ GET /q?x="1" HTTP/1.1 ─▶ here ─ GET /q?x=%221%22 HTTP/1.1 ─▶ hyper
//! ```

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection of HTTP/1 whose request targets are made fit for the library.
pub(super) struct Lenient<I> {
    inner: I,
    scan: Scan,
    /// What is rewritten and not handed on yet.
    held: Vec<u8>,
    handed: usize,
}

impl<I> Lenient<I> {
    pub(super) fn new(inner: I) -> Lenient<I> {
        Lenient { inner, scan: Scan::default(), held: Vec::new(), handed: 0 }
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.held[self.handed..];
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        self.handed += n;
        if self.handed == self.held.len() {
            (self.held, self.handed) = (Vec::new(), 0);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Lenient<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let Some(rewritten) = this.scan.rewrite(&buf.filled()[before..]) else {
                return Poll::Ready(Ok(()));
            };
            this.held = rewritten;
            buf.set_filled(before);
        }
        this.hand_on(buf);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Lenient<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Where in a stream of requests the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Method,
    Target,
    /// Behind the target, to the end of its line.
    Version,
    Header,
    /// So many bytes of body are to come.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk and its line end are to come.
    Chunk(u64),
    /// Lines behind the last chunk.
    Trailer,
    /// Nobody knows: nothing is touched any more.
    Lost,
}

/// Follows the requests of a connection.
#[derive(Debug)]
struct Scan {
    at: At,
    /// The line so far, where lines matter; cut at [`LINE_MAX`].
    line: Vec<u8>,
    length: Option<u64>,
    is_chunked: bool,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan { at: At::Method, line: Vec::new(), length: None, is_chunked: false }
    }
}

/// Headers that tell where a body ends are shorter than this.
const LINE_MAX: usize = 256;

/// What the library refuses, cuts off or needs to be UTF-8, and Go takes.
fn is_refused(byte: u8) -> bool {
    matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`' | 0x7f..)
}

impl Scan {
    /// The bytes with their targets encoded; `None` where they may stay as they are.
    fn rewrite(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        let mut i = 0;
        while i < bytes.len() {
            let rest = &bytes[i..];
            let taken = match self.at {
                At::Lost => rest.len(),
                At::Body(left) => self.skip(left, rest.len(), At::Body, At::Method),
                At::Chunk(left) => self.skip(left, rest.len(), At::Chunk, At::ChunkSize),
                At::Method | At::Target => {
                    let byte = rest[0];
                    if self.at == At::Target && is_refused(byte) {
                        const HEX: &[u8; 16] = b"0123456789ABCDEF";
                        let escape = [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                        out.get_or_insert_with(|| bytes[..i].to_vec()).extend_from_slice(&escape);
                        i += 1;
                        continue;
                    }
                    self.at = match (self.at, byte) {
                        (_, b'\n') if self.at == At::Target => At::Header,
                        (At::Method, b' ') => At::Target,
                        (At::Target, b' ') => At::Version,
                        (at, _) => at,
                    };
                    1
                }
                At::Version | At::Header | At::ChunkSize | At::Trailer => self.take_line(rest),
            };
            if let Some(out) = &mut out {
                out.extend_from_slice(&rest[..taken]);
            }
            i += taken;
        }
        out
    }

    fn skip(&mut self, left: u64, have: usize, still: fn(u64) -> At, then: At) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(have);
        let left = left - taken as u64;
        self.at = if left == 0 { then } else { still(left) };
        taken
    }

    /// Takes a line, or what there is of it.
    fn take_line(&mut self, rest: &[u8]) -> usize {
        let end = rest.iter().position(|&b| b == b'\n');
        let taken = end.map_or(rest.len(), |end| end + 1);
        let room = LINE_MAX - self.line.len();
        self.line.extend_from_slice(&rest[..taken.min(room)]);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.end_line(line.trim_ascii_end());
        }
        taken
    }

    fn end_line(&mut self, line: &[u8]) {
        self.at = match self.at {
            At::Version => At::Header,
            At::Header if line.is_empty() => self.end_head(),
            At::Header => self.header(line),
            At::Trailer if line.is_empty() => At::Method,
            At::ChunkSize => match chunk_size(line) {
                Some(0) => At::Trailer,
                Some(size) => At::Chunk(size + 2),
                None => At::Lost,
            },
            at => at,
        };
    }

    fn header(&mut self, line: &[u8]) -> At {
        let Some(colon) = line.iter().position(|&b| b == b':') else { return At::Header };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            if length.is_none() || self.length.is_some_and(|before| Some(before) != length) {
                return At::Lost;
            }
            self.length = length;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return At::Lost;
            }
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            return At::Lost;
        }
        At::Header
    }

    fn end_head(&mut self) -> At {
        let (length, is_chunked) = (self.length.take(), std::mem::take(&mut self.is_chunked));
        match (length, is_chunked) {
            (Some(_), true) => At::Lost,
            (None, true) => At::ChunkSize,
            (None | Some(0), false) => At::Method,
            (Some(length), false) => At::Body(length),
        }
    }
}

/// The size at the start of a chunk's line, before its extensions.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&b| b == b';').next()?.trim_ascii();
    // Sixteen digits could pass 64 bits with the line end that is added.
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when the bytes arrive in pieces of a size.
    fn through(bytes: &[u8], piece: usize) -> (Vec<u8>, At) {
        let mut scan = Scan::default();
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            match scan.rewrite(piece) {
                Some(rewritten) => out.extend_from_slice(&rewritten),
                None => out.extend_from_slice(piece),
            }
        }
        (out, scan.at)
    }

    fn check(given: &str, expected: &str, at: At) {
        for piece in [1, 2, 3, 7, 4096] {
            let (out, end) = through(given.as_bytes(), piece);
            assert_eq!(String::from_utf8_lossy(&out), expected, "in pieces of {piece}");
            assert_eq!(end, at, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_go_takes_in_a_target_is_encoded() {
        check(
            "GET /q?query=up{job=\"x\"}>0<é`#c HTTP/1.1\r\nHost: \"h\"\r\n\r\n",
            "GET /q?query=up{job=%22x%22}%3E0%3C%C3%A9%60%23c HTTP/1.1\r\nHost: \"h\"\r\n\r\n",
            At::Method,
        );
    }

    #[test]
    fn bodies_are_not_touched_and_the_request_behind_them_is_found() {
        check(
            "POST /w HTTP/1.1\r\ncontent-length: 12\r\n\r\nGET /\"a\" <>\nGET /\"b\" HTTP/1.1\r\n\r\n",
            "POST /w HTTP/1.1\r\ncontent-length: 12\r\n\r\nGET /\"a\" <>\nGET /%22b%22 HTTP/1.1\r\n\r\n",
            At::Method,
        );
        check(
            "POST /w HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=\"1\"\r\n\"a\" >\r\n1\r\n<\r\n0\r\nT: \"\r\n\r\nGET /< HTTP/1.1\r\n\r\n",
            "POST /w HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=\"1\"\r\n\"a\" >\r\n1\r\n<\r\n0\r\nT: \"\r\n\r\nGET /%3C HTTP/1.1\r\n\r\n",
            At::Method,
        );
    }

    #[test]
    fn where_framing_is_in_doubt_nothing_is_touched_any_more() {
        for head in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: x\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\n\r\nnothing\r\n",
            "Upgrade: h2c\r\n",
        ] {
            let text = format!("POST /a HTTP/1.1\r\n{head}GET /\"b\" HTTP/1.1\r\n\r\n");
            check(&text, &text, At::Lost);
        }
    }

    #[test]
    fn any_bytes_keep_their_number_of_refused_ones_outside_of_targets() {
        // Nothing is lost and nothing moves, whatever comes.
        let mut state = 1u64;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    b"GET /\"<>\r\n: 0;1a\xff"[(state >> 33) as usize % 17]
                })
                .collect();
            let (out, _) = through(&bytes, 5);
            let mut decoded = Vec::new();
            let mut rest = &out[..];
            while let Some((&byte, after)) = rest.split_first() {
                let escape = rest.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok());
                match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| byte == b'%') {
                    Some(escaped) => {
                        decoded.push(escaped);
                        rest = &rest[3..];
                    }
                    None => {
                        decoded.push(byte);
                        rest = after;
                    }
                }
            }
            assert_eq!(decoded, bytes);
        }
    }
}
