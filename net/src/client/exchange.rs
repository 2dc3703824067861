//! One request and its answer. Whoever waits for the answer, and then whoever
//! reads its body, drives the connection: there is no task in between.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, Uri, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::gate::HeadGate;
use super::head;
use super::pool::{Http2Sender, Pool};
use super::stream::{Ends, Stream};
use crate::error::{BodyError, Fault, IoFault, io_text};

/// Go's limit of the bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 10 << 20;
/// Headers of an answer.
const HEADERS_MAX: usize = 1024;
/// So much of a body that nobody wants is read to save its connection.
const DISCARDED_BYTES_MAX: u64 = 64 << 10;

type Http1 = http1::Connection<TokioIo<HeadGate>, Full<Bytes>>;

/// A connection under an exchange.
struct Held {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: Http1,
    pool: Arc<Pool>,
    key: String,
}

/// The body of an answer.
///
/// Reading it drives its connection. Once it is read to its end the connection
/// can serve again; a body that is dropped before ends it.
pub struct Body {
    incoming: Incoming,
    held: Option<Box<Held>>,
    ends: Ends,
    is_http2: bool,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("size_hint", &self.incoming.size_hint()).finish_non_exhaustive()
    }
}

/// Sends a request over a connection of its own and waits for the head of the answer.
pub(super) async fn over_http1(
    stream: Stream,
    mut request: Request<Full<Bytes>>,
    pool: &Arc<Pool>,
    key: String,
) -> Result<Response<Body>, Fault> {
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    if !stream.is_through_proxy() {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    let ends = stream.ends();
    let begun = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(HeadGate::new(stream, HEAD_BYTES_MAX)))
        .await;
    let (mut sender, mut connection) = begun.map_err(|error| Fault::Exchange(error.to_string()))?;
    let mut is_over = false;
    let answered = {
        let mut answer = pin!(sender.send_request(request));
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            let driven = if is_over { Poll::Pending } else { connection.poll_without_shutdown(cx) };
            is_over |= driven.is_ready();
            match (answer.as_mut().poll(cx), driven) {
                // What broke after the answer does not take it back.
                (Poll::Ready(outcome), _) => Poll::Ready(outcome),
                (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (Poll::Pending, _) => Poll::Pending,
            }
        })
        .await
    };
    let response = match answered {
        Ok(response) => response,
        Err(error) => return Err(fault_of(&error, connection, ends)),
    };
    if let Some(encoding) = unknown_transfer_encoding(&response) {
        return Err(Fault::Broken(format!("unsupported transfer encoding: {encoding}")));
    }
    // A connection that is over has handed the whole body on.
    let held = (!is_over).then(|| Box::new(Held { sender, connection, pool: Arc::clone(pool), key }));
    let mut response = response.map(|incoming| Body { incoming, held, ends, is_http2: false });
    if response.body().incoming.is_end_stream() {
        let body = response.body_mut();
        poll_fn(|cx| {
            body.release(cx);
            Poll::Ready(())
        })
        .await;
    }
    Ok(response)
}

/// Sends a request over a shared connection and waits for the head of the answer.
pub(super) async fn over_http2(
    mut sender: Http2Sender,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Body>, Fault> {
    *request.version_mut() = Version::HTTP_2;
    if let Err(error) = sender.ready().await {
        return Err(http2_fault(&error));
    }
    let response = sender.send_request(request).await.map_err(|error| http2_fault(&error))?;
    Ok(response.map(|incoming| Body { incoming, held: None, ends: None, is_http2: true }))
}

fn http2_fault(error: &hyper::Error) -> Fault {
    if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
        return Fault::Closed;
    }
    match io_cause(error) {
        Some(cause) => Fault::Exchange(io_text(cause)),
        None => Fault::Exchange(deepest_text(error)),
    }
}

/// Why no answer came over a connection.
fn fault_of(error: &hyper::Error, connection: Http1, ends: Ends) -> Fault {
    let parts = connection.into_parts();
    if error.is_parse_too_large() {
        return Fault::Broken(format!(
            "net/http: server response headers exceeded {HEAD_BYTES_MAX} bytes; aborted"
        ));
    }
    if let Some(cause) = io_cause(error) {
        return match cause.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Closed,
            _ => io_fault(cause, ends).into(),
        };
    }
    let is_end = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    if is_end && parts.read_buf.is_empty() {
        return Fault::Closed;
    }
    let gate = parts.io.into_inner();
    if error.to_string().contains("content-length") {
        let fault = head::content_length_fault(gate.head());
        return Fault::Broken(fault.unwrap_or_else(|| "bad Content-Length".to_owned()));
    }
    if is_end || error.is_parse() {
        // Rather as it came than as the parser was given it.
        let came = gate.head();
        let bytes = if came.len() == parts.read_buf.len() { came } else { &parts.read_buf };
        let is_line = bytes.contains(&b'\n');
        let fault = head::fault(bytes, is_end || !is_line);
        return Fault::Broken(fault.unwrap_or_else(|| deepest_text(error)));
    }
    Fault::Exchange(deepest_text(error))
}

fn io_fault(cause: &io::Error, ends: Ends) -> IoFault {
    let what = if cause.kind() == io::ErrorKind::BrokenPipe { "write" } else { "read" };
    IoFault { what, ends: ends.map(Box::new), why: io_text(cause) }
}

fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>())
}

fn deepest_text(error: &hyper::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// An encoding that the answer's body would have to be freed of.
fn unknown_transfer_encoding<B>(response: &Response<B>) -> Option<String> {
    let value = response.headers().get(TRANSFER_ENCODING)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    (!text.eq_ignore_ascii_case("chunked")).then(|| model::labels::go_quote(&text).into_owned())
}

impl Body {
    /// Reads what is left if it is little, so that the connection can serve again.
    pub async fn discard(mut self) {
        let mut left = DISCARDED_BYTES_MAX;
        if self.incoming.size_hint().lower() > left {
            return;
        }
        while let Some(Ok(frame)) = self.frame().await {
            let read = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }

    /// Gives the connection back if it can serve again.
    fn release(&mut self, cx: &mut Context<'_>) {
        let Some(mut held) = self.held.take() else { return };
        // The connection may not know yet that the exchange is over.
        for _ in 0..2 {
            match held.sender.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    let Held { connection, pool, key, .. } = *held;
                    let parts = connection.into_parts();
                    if parts.read_buf.is_empty()
                        && let Some(stream) = parts.io.into_inner().into_stream()
                    {
                        pool.put_back(key, stream);
                    }
                    return;
                }
                Poll::Ready(Err(_)) => return,
                Poll::Pending => {
                    if held.connection.poll_without_shutdown(cx).is_ready() {
                        return;
                    }
                }
            }
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some(held) = &mut self.held else { return Poll::Pending };
        if held.connection.poll_without_shutdown(cx).is_ready() {
            // It is over: what the body has by now is all that it will have.
            self.held = None;
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn error(&self, error: &hyper::Error) -> BodyError {
        let Some(cause) = io_cause(error) else {
            return if self.is_http2 { BodyError::Stream(deepest_text(error)) } else { BodyError::Cut };
        };
        match cause.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => BodyError::ChunkLength,
            io::ErrorKind::UnexpectedEof => BodyError::Cut,
            _ => io_fault(cause, self.ends).into(),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(self.poll_incoming(cx)) {
            Some(Ok(frame)) => {
                if self.incoming.is_end_stream() {
                    self.release(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let error = self.error(&error);
                self.held = None;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.release(cx);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
