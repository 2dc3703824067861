//! Bodies of answers that are made piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::Frame;
use tokio::sync::mpsc;

/// Answers up to so many bytes leave whole, with their length told; more are sent
/// in chunks, as Go's server does.
const WHOLE_BYTES: usize = 2048;

/// A body of the pieces that an iterator yields, made as they are taken.
pub fn from_iterator(mut pieces: impl Iterator<Item = Bytes> + Send + Unpin + 'static) -> Body {
    let mut first = Vec::new();
    loop {
        match pieces.next() {
            None => return Body::from(first),
            Some(piece) if first.is_empty() && piece.len() > WHOLE_BYTES => {
                return Body::new(Pieces(std::iter::once(piece).chain(pieces)));
            }
            Some(piece) => first.extend_from_slice(&piece),
        }
        if first.len() > WHOLE_BYTES {
            return Body::new(Pieces(std::iter::once(Bytes::from(first)).chain(pieces)));
        }
    }
}

/// Pieces leave when they have about so many bytes.
pub const PIECE_BYTES: usize = 64 * 1024;

/// A list as JSON, made piece by piece: a head, elements with commas between
/// them, a tail. An element is never cut in two.
pub struct List<W> {
    head: Vec<u8>,
    tail: Vec<u8>,
    len: usize,
    next: usize,
    ended: bool,
    write: W,
}

impl<W: FnMut(&mut Vec<u8>, usize)> List<W> {
    /// A list of `len` elements; `write` appends one of them.
    pub fn new(head: impl Into<Vec<u8>>, len: usize, tail: impl Into<Vec<u8>>, write: W) -> List<W> {
        List { head: head.into(), tail: tail.into(), len, next: 0, ended: false, write }
    }
}

impl<W: FnMut(&mut Vec<u8>, usize)> Iterator for List<W> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = std::mem::take(&mut self.head);
        while self.next < self.len && out.len() < PIECE_BYTES {
            if self.next > 0 {
                out.push(b',');
            }
            (self.write)(&mut out, self.next);
            self.next += 1;
        }
        if self.next == self.len {
            self.ended = true;
            out.append(&mut self.tail);
        }
        Some(Bytes::from(out))
    }
}

/// A body of the pieces that are sent into a channel; it ends with the sender.
pub fn from_channel(pieces: mpsc::Receiver<Bytes>) -> Body {
    Body::new(Channel(pieces))
}

struct Pieces<I>(I);

impl<I: Iterator<Item = Bytes> + Unpin> http_body::Body for Pieces<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }
}

struct Channel(mpsc::Receiver<Bytes>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_answers_tell_their_length() {
        for (len, exact) in [(0, Some(2)), (3, Some(7)), (5000, None)] {
            let list = List::new("[", len, "]", |out: &mut Vec<u8>, _| out.push(b'1'));
            let body = from_iterator(list);
            assert_eq!(http_body::Body::size_hint(&body).exact(), exact, "{len} elements");
        }
    }

    #[test]
    fn a_list_leaves_in_pieces_and_is_whole() {
        for len in [0, 1, 30_000] {
            let list =
                List::new("[", len, "]", |out, i| out.extend_from_slice(format!("\"item {i}\"").as_bytes()));
            let pieces: Vec<Bytes> = list.collect();
            assert!(pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 100));
            assert_eq!(pieces.len() > 1, len == 30_000);
            let items: Vec<String> = serde_json::from_slice(&pieces.concat()).unwrap();
            assert_eq!(items.len(), len);
            assert!(items.iter().enumerate().all(|(i, item)| *item == format!("item {i}")));
        }
    }
}
