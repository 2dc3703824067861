//! The receiver: which message a request carries, and what it is answered.

use std::sync::Arc;

use model::append::{AppendError, Appendable, Durability, SeriesHandle};
use model::metrics::{Counter, Registry};
use model::series_cache::{SeriesCache, SeriesKey};
use model::{Clock, StorageError};

use crate::body::{self, Buffers, COMPRESSED_BYTES_MAX, Encoding};
use crate::series::REQUEST_LABEL_BYTES_MAX;
use crate::wire::WireError;
use crate::{v1, v2};

/// The messages of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

impl Message {
    /// The message's full name.
    pub fn as_str(self) -> &'static str {
        match self {
            Message::V1 => "prometheus.WriteRequest",
            Message::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// The message of a full name.
    pub fn from_name(name: &str) -> Option<Message> {
        [Message::V1, Message::V2].into_iter().find(|message| message.as_str() == name)
    }
}

/// What was stored of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Float samples.
    pub samples: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// What became of a request that was decoded.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// What was stored.
    pub stats: Stats,
    /// What was not stored, and why; `None` where all was.
    pub fault: Option<String>,
    /// Series (version 1) or samples (version 2) with unusable labels, as upstream counts them.
    pub invalid_labels: u64,
    /// Samples whose series came without metadata.
    pub without_metadata_samples: u64,
    /// To be remembered once the batch is committed.
    pub new_series: Vec<(SeriesKey, SeriesHandle)>,
}

/// Why a request was not, or not wholly, stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The bytes are no such message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A sample was refused.
    #[error("{0}")]
    Refused(String),
    /// A series could not be made.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Its series have more bytes of labels than one request may bring.
    #[error("labels of new series are over the limit of {REQUEST_LABEL_BYTES_MAX} bytes a request")]
    TooManyLabels,
    /// Its table has more symbols than one without repetition could have.
    #[error("more symbols than different ones have room in the request")]
    TooManySymbols,
    /// The samples are in memory, but could not be logged: a crash would lose
    /// them, so the sender shall keep them.
    #[error("the write-ahead log cannot be written: samples are not durable yet, send them again")]
    NotDurable,
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl WriteError {
    fn status(&self) -> u16 {
        match self {
            WriteError::Wire(_)
            | WriteError::Refused(_)
            | WriteError::TooManyLabels
            | WriteError::TooManySymbols => 400,
            WriteError::Append(AppendError::EmptyLabels | AppendError::DuplicateLabel(_)) => 400,
            // The sender shall keep the request and try again.
            WriteError::Append(AppendError::Refused(_)) | WriteError::NotDurable => 503,
            WriteError::Append(AppendError::Storage(error)) | WriteError::Storage(error) => match error {
                StorageError::NotReady | StorageError::Memory(_) | StorageError::Io { .. } => 503,
                _ => 500,
            },
        }
    }
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The text, empty on success.
    pub body: String,
    /// What the `…-Written` headers say, on every answer to version 2.
    pub stats: Option<Stats>,
}

impl Reply {
    fn refused(status: u16, body: impl Into<String>) -> Reply {
        Reply { status, body: body.into(), stats: None }
    }
}

/// Settings of the receiver.
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// Messages that are accepted, in the order in which they are named.
    pub accepted: Vec<Message>,
    /// How version 2 is treated.
    pub v2: v2::Options,
    /// Bytes of the cache of known series.
    pub cache_bytes: usize,
}

/// Receives remote write into a store.
pub struct Receiver {
    options: ReceiverOptions,
    store: Arc<dyn Appendable>,
    clock: Arc<dyn Clock>,
    cache: SeriesCache,
    buffers: Buffers,
    invalid_labels: Counter,
    without_metadata: Counter,
}

impl Receiver {
    /// A receiver into `store`.
    pub fn new(
        options: ReceiverOptions,
        store: Arc<dyn Appendable>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Receiver {
        Receiver {
            cache: SeriesCache::new(options.cache_bytes),
            buffers: Buffers::default(),
            options,
            store,
            clock,
            invalid_labels: registry.counter(
                "prometheus_api_remote_write_invalid_labels_samples_total",
                "The total number of received remote write samples and histogram samples which were rejected due to invalid labels.",
            ),
            without_metadata: registry.counter(
                "prometheus_api_remote_write_without_metadata_appended_samples_total",
                "The total number of received remote write samples (and histogram samples) which were ingested without corresponding metadata.",
            ),
        }
    }

    /// Forgets which series senders name: each is looked up again when it comes.
    pub fn forget_series(&self) {
        self.cache.clear();
        self.buffers.clear();
    }

    /// Which message and encoding the headers name.
    ///
    /// # Errors
    /// The reply to give: 415.
    pub fn negotiate(
        &self,
        content_type: &str,
        content_encoding: &str,
    ) -> Result<(Message, Encoding), Reply> {
        let message = message_of(content_type).map_err(|reason| Reply::refused(415, reason))?;
        if !self.options.accepted.contains(&message) {
            let accepted: Vec<&str> = self.options.accepted.iter().map(|message| message.as_str()).collect();
            let text = format!(
                "{} protobuf message is not accepted by this server; only accepts {}",
                message.as_str(),
                accepted.join(", ")
            );
            return Err(Reply::refused(415, text));
        }
        let encoding = Encoding::from_header(content_encoding).ok_or_else(|| {
            let text = format!(
                "{content_encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
            );
            Reply::refused(415, text)
        })?;
        Ok((message, encoding))
    }

    /// Stores a request's body.
    pub fn receive(&self, message: Message, encoding: Encoding, body: &[u8]) -> Reply {
        let reply = self.store_body(message, encoding, body);
        match message {
            Message::V1 => Reply { stats: None, ..reply },
            Message::V2 => Reply { stats: Some(reply.stats.unwrap_or_default()), ..reply },
        }
    }

    fn store_body(&self, message: Message, encoding: Encoding, body: &[u8]) -> Reply {
        if body.len() > COMPRESSED_BYTES_MAX {
            return Reply::refused(413, "http: request body too large");
        }
        let mut buffer = self.buffers.take();
        let reply = match body::unpack(encoding, body, &mut buffer) {
            Ok(decoded) => self.store(message, decoded),
            Err(error) => Reply::refused(400, error.to_string()),
        };
        self.buffers.put(buffer);
        reply
    }

    fn store(&self, message: Message, decoded: &[u8]) -> Reply {
        let mut appender = match self.store.appender() {
            Ok(appender) => appender,
            Err(error) => return Reply::refused(503, error.to_string()),
        };
        let now_ms = self.clock.now_ms();
        let outcome = match message {
            Message::V1 => v1::write(decoded, &mut *appender, &self.cache, now_ms),
            Message::V2 => v2::write(decoded, &mut *appender, &self.cache, self.options.v2, now_ms),
        };
        let written = match outcome {
            Ok(written) => written,
            Err(error) => {
                appender.rollback();
                return Reply::refused(error.status(), error.to_string());
            }
        };
        match appender.commit() {
            Ok(Durability::Logged) => {}
            Ok(Durability::MemoryOnly) => {
                return Reply::refused(WriteError::NotDurable.status(), WriteError::NotDurable.to_string());
            }
            Err(error) => {
                let error = WriteError::Storage(error);
                return Reply::refused(error.status(), error.to_string());
            }
        }
        for (key, handle) in written.new_series {
            self.cache.insert(key, handle);
        }
        self.invalid_labels.add(written.invalid_labels);
        self.without_metadata.add(written.without_metadata_samples);
        match written.fault {
            None => Reply { status: 204, body: String::new(), stats: Some(written.stats) },
            Some(body) => Reply { status: 400, body, stats: Some(written.stats) },
        }
    }
}

/// The message of a `Content-Type`; none at all means version 1.
fn message_of(content_type: &str) -> Result<Message, String> {
    let mut parts = content_type.trim().split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    if kind.is_empty() {
        return Ok(Message::V1);
    }
    if !kind.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!(
            "expected application/x-protobuf as the first (media) part, got {content_type} content-type"
        ));
    }
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            return Err(format!(
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {part} in {content_type} content-type"
            ));
        };
        if name.trim() == "proto" {
            let value = value.trim();
            return Message::from_name(value).ok_or_else(|| {
                format!("got {content_type} content type; unknown type for remote write protobuf message {value}, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request")
            });
        }
    }
    Ok(Message::V1)
}
