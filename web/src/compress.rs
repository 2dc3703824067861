//! Compression of answers: the first of gzip and deflate that the client names.
//!
//! Pieces are compressed as they are taken; each piece is flushed only at the
//! end, so small pieces share a block.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::Next;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http_body::Frame;

/// The encodings that are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Deflate,
}

/// The first encoding of `Accept-Encoding` that is offered. A name with a
/// weight is not known, as upstream has it.
fn negotiate(headers: &HeaderMap) -> Option<Encoding> {
    let accepted = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    accepted.split(',').find_map(|name| match name.trim() {
        "gzip" => Some(Encoding::Gzip),
        "deflate" => Some(Encoding::Deflate),
        _ => None,
    })
}

/// Whether gzip is accepted, with a weight or without.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|range| {
        let (name, weight) = range.split_once(';').unwrap_or((range, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), |weight| weight.trim().parse::<f64>());
        name.trim() == "gzip" && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// Compresses what the handler answers.
pub async fn compress(request: Request, next: Next) -> Response<Body> {
    let encoding = negotiate(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    encoded(response, encoding)
}

/// Compresses the page of own metrics, as upstream's client library does.
pub async fn compress_page(request: Request, next: Next) -> Response<Body> {
    let encoding = accepts_gzip(request.headers()).then_some(Encoding::Gzip);
    encoded(next.run(request).await, encoding)
}

fn encoded(mut response: Response<Body>, encoding: Option<Encoding>) -> Response<Body> {
    let bodiless = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let Some(encoding) =
        encoding.filter(|_| !bodiless && !response.headers().contains_key(header::CONTENT_ENCODING))
    else {
        return response;
    };
    let name = match encoding {
        Encoding::Gzip => "gzip",
        Encoding::Deflate => "deflate",
    };
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.map(|body| Body::new(Compressed { body, encoder: Some(Encoder::new(encoding)) }))
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(encoding: Encoding) -> Encoder {
        match encoding {
            Encoding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            Encoding::Deflate => Encoder::Deflate(ZlibEncoder::new(Vec::new(), Compression::default())),
        }
    }

    /// Takes a piece in and yields what is ready.
    fn push(&mut self, piece: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Encoder::Gzip(encoder) => encoder.write_all(piece).map(|()| std::mem::take(encoder.get_mut())),
            Encoder::Deflate(encoder) => encoder.write_all(piece).map(|()| std::mem::take(encoder.get_mut())),
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Deflate(encoder) => encoder.finish(),
        }
    }
}

struct Compressed {
    body: Body,
    /// Gone once the end is written.
    encoder: Option<Encoder>,
}

impl http_body::Body for Compressed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if self.encoder.is_none() {
                return Poll::Ready(None);
            }
            // Trailers are dropped: none of our handlers has any.
            let encoded = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => self.encoder.as_mut().map_or(Ok(Vec::new()), |encoder| encoder.push(&piece)),
                    Err(_) => Ok(Vec::new()),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.encoder.take().map_or(Ok(Vec::new()), Encoder::finish),
            };
            match encoded {
                Ok(encoded) if encoded.is_empty() => {}
                Ok(encoded) => return Poll::Ready(Some(Ok(Frame::data(Bytes::from(encoded))))),
                Err(error) => return Poll::Ready(Some(Err(axum::Error::new(error)))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_encoding_is_taken() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            negotiate(&headers)
        };
        assert_eq!(of("br, deflate, gzip"), Some(Encoding::Deflate));
        assert_eq!(of("gzip;q=0.1, deflate"), Some(Encoding::Deflate));
        assert_eq!(of("gzip,deflate"), Some(Encoding::Gzip));
        assert_eq!(of("identity"), None);
        assert_eq!(negotiate(&HeaderMap::new()), None);
        let page = |text: &'static str| {
            accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(text))]))
        };
        assert!(page("deflate, gzip;q=0.5") && page("gzip"));
        assert!(!page("gzip;q=0, deflate") && !page("gzip;q=x") && !page(""));
    }
}
