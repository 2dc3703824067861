//! Holds an answer's head back until it is whole.
//!
//! ```text
//! socket ─▶ first bytes ────────────▶ parser      (mostly the whole head)
//!           then, until a line is empty: kept ──▶ parser, all at once
//!           then everything ────────▶ parser
//! ```
//!
//! The parser of heads begins anew with each piece that it is given. A target
//! that sends a large head in many small pieces would cost the square of its
//! size; so the parser sees the beginning, and then the rest in one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;
use super::tolerance::Tolerance;

/// So much of a head is kept to tell what is wrong with it.
const KEPT_BYTES_MAX: usize = 4 << 10;
/// So much is read at a time while the head is held back.
const PIECE_BYTES: usize = 4 << 10;

/// A connection whose next head is held back.
pub(super) struct HeadGate {
    stream: Stream,
    /// A head that is larger goes on as it comes: it is refused for its size.
    bytes_max: usize,
    state: State,
    ends: LineEnds,
    tolerance: Tolerance,
    /// The beginning of the head, as it came.
    head: Vec<u8>,
    /// What was read and is not handed on yet.
    kept: Vec<u8>,
    handed_on: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come.
    Begin,
    /// The head's rest is kept.
    Keep,
    /// What was kept is handed on.
    HandOn,
    /// Nothing is held back.
    Open,
}

/// Looks for an empty line.
#[derive(Default)]
struct LineEnds {
    /// The line so far is empty, but for a carriage return.
    is_empty: bool,
}

impl LineEnds {
    /// Whether an empty line ends in these bytes.
    fn find(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                b'\n' if self.is_empty => return true,
                b'\n' => self.is_empty = true,
                b'\r' => {}
                _ => self.is_empty = false,
            }
        }
        false
    }
}

impl HeadGate {
    pub(super) fn new(stream: Stream, bytes_max: usize) -> HeadGate {
        HeadGate {
            stream,
            bytes_max,
            state: State::Begin,
            ends: LineEnds::default(),
            tolerance: Tolerance::new(),
            head: Vec::new(),
            kept: Vec::new(),
            handed_on: 0,
        }
    }

    /// The connection, unless something of the answer is still kept.
    pub(super) fn into_stream(self) -> Option<Stream> {
        (self.handed_on == self.kept.len()).then_some(self.stream)
    }

    /// The beginning of the head that came, with what may follow it.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    fn take_note(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES_MAX.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
    }

    /// Reads until the head is whole, the connection ends, or it is too much.
    fn poll_keep(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE_BYTES];
        loop {
            let mut buf = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let read = buf.filled_mut();
            self.take_note(read);
            let is_whole = self.ends.find(read);
            self.tolerance.rewrite(read);
            self.kept.extend_from_slice(read);
            if is_whole || read.is_empty() || self.kept.len() > self.bytes_max {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for HeadGate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match this.state {
                State::Open => return Pin::new(&mut this.stream).poll_read(cx, buf),
                State::Begin => {
                    let before = buf.filled().len();
                    ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                    let read = &mut buf.filled_mut()[before..];
                    let is_whole = this.ends.find(read);
                    this.take_note(read);
                    this.tolerance.rewrite(read);
                    this.state = if is_whole || read.is_empty() { State::Open } else { State::Keep };
                    return Poll::Ready(Ok(()));
                }
                State::Keep => {
                    ready!(this.poll_keep(cx))?;
                    this.state = State::HandOn;
                }
                State::HandOn => {
                    let left = &this.kept[this.handed_on..];
                    let count = left.len().min(buf.remaining());
                    buf.put_slice(&left[..count]);
                    this.handed_on += count;
                    if this.handed_on == this.kept.len() {
                        (this.kept, this.handed_on) = (Vec::new(), 0);
                        this.state = State::Open;
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for HeadGate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_is_found_across_pieces() {
        let found = |pieces: &[&str]| {
            let mut ends = LineEnds::default();
            pieces.iter().position(|piece| ends.find(piece.as_bytes()))
        };
        assert_eq!(found(&["HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"]), Some(0));
        assert_eq!(found(&["HTTP/1.1 200 OK\r\n", "\r", "\nbody"]), Some(2));
        assert_eq!(found(&["HTTP/1.1 200 OK\nA: b\n", "\n"]), Some(1));
        assert_eq!(found(&["HTTP/1.1 200 OK\r\nA: b\r\n", "C: d\r\n"]), None);
    }
}
