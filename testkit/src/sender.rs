//! A sender of remote write for tests and measurements: requests as Prometheus makes them,
//! over one connection that is kept.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// Which message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`
    One,
    /// `io.prometheus.write.v2.Request`
    Two,
}

/// A sample of a series that is named by its pairs of labels.
pub struct Entry<'a> {
    /// Names and values, sorted by name.
    pub labels: &'a [(String, String)],
    /// Its time.
    pub timestamp_ms: i64,
    /// Its value.
    pub value: f64,
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn sample(out: &mut Vec<u8>, value: f64, timestamp_ms: i64) {
    out.push(1 << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
    out.push(2 << 3);
    varint(out, timestamp_ms as u64);
}

/// One request with one sample for each entry, packed.
pub fn request(version: Version, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut message = Vec::new();
    let (mut series, mut part) = (Vec::new(), Vec::new());
    match version {
        Version::One => {
            for entry in entries {
                series_labels(&mut series, &mut part, entry.labels);
                part.clear();
                sample(&mut part, entry.value, entry.timestamp_ms);
                bytes(&mut series, 2, &part);
                bytes(&mut message, 1, &series);
            }
        }
        Version::Two => {
            let mut symbols: Vec<&str> = vec![""];
            let mut places: std::collections::HashMap<&str, u64> = [("", 0)].into();
            let mut all = Vec::new();
            for entry in entries {
                series.clear();
                part.clear();
                for text in entry.labels.iter().flat_map(|(name, value)| [name, value]) {
                    let place = *places.entry(text).or_insert_with(|| {
                        symbols.push(text);
                        symbols.len() as u64 - 1
                    });
                    varint(&mut part, place);
                }
                bytes(&mut series, 1, &part);
                part.clear();
                sample(&mut part, entry.value, entry.timestamp_ms);
                bytes(&mut series, 2, &part);
                // Metadata: a counter.
                bytes(&mut series, 5, &[1 << 3, 1]);
                bytes(&mut all, 5, &series);
            }
            for symbol in symbols {
                bytes(&mut message, 4, symbol.as_bytes());
            }
            message.extend_from_slice(&all);
        }
    }
    snap::raw::Encoder::new().compress_vec(&message).expect("messages are far below snappy's limit")
}

/// A native histogram of a series: schema 0, counts of the buckets from (0.5, 1] on.
pub struct HistogramEntry<'a> {
    /// Names and values, sorted by name.
    pub labels: &'a [(String, String)],
    /// Its time.
    pub timestamp_ms: i64,
    /// What the observations sum up to.
    pub sum: f64,
    /// How many lie in each bucket.
    pub buckets: &'a [u64],
}

/// Begins a series of version 1 with its labels; `part` is room to work in.
fn series_labels(series: &mut Vec<u8>, part: &mut Vec<u8>, labels: &[(String, String)]) {
    series.clear();
    for (name, value) in labels {
        part.clear();
        bytes(part, 1, name.as_bytes());
        bytes(part, 2, value.as_bytes());
        bytes(series, 1, part);
    }
}

/// One request of version 1 with one histogram for each entry, packed.
pub fn histogram_request(entries: &[HistogramEntry<'_>]) -> Vec<u8> {
    let zigzag = |n: i64| (n << 1 ^ n >> 63) as u64;
    let (mut message, mut series, mut part) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        series_labels(&mut series, &mut part, entry.labels);
        part.clear();
        part.push(1 << 3);
        varint(&mut part, entry.buckets.iter().sum());
        part.push(3 << 3 | 1);
        part.extend_from_slice(&entry.sum.to_le_bytes());
        part.push(5 << 3 | 1);
        part.extend_from_slice(&0.001f64.to_le_bytes());
        // No observation is zero; one span of buckets.
        part.extend_from_slice(&[6 << 3, 0]);
        let mut span = vec![2 << 3];
        varint(&mut span, entry.buckets.len() as u64);
        bytes(&mut part, 11, &span);
        let mut deltas = Vec::new();
        let mut before = 0;
        for &count in entry.buckets {
            varint(&mut deltas, zigzag(count as i64 - before));
            before = count as i64;
        }
        bytes(&mut part, 12, &deltas);
        part.push(15 << 3);
        varint(&mut part, entry.timestamp_ms as u64);
        bytes(&mut series, 4, &part);
        bytes(&mut message, 1, &series);
    }
    snap::raw::Encoder::new().compress_vec(&message).expect("messages are far below snappy's limit")
}

/// A connection to a receiver.
pub struct Sender {
    stream: BufReader<TcpStream>,
    path: String,
    port: u16,
}

impl Sender {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(port: u16, path: &str) -> io::Result<Sender> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Sender { stream: BufReader::new(stream), path: path.to_owned(), port })
    }

    /// Sends a request and answers its status and text.
    ///
    /// # Errors
    /// The connection fails.
    pub fn send(&mut self, version: Version, body: &[u8]) -> io::Result<(u16, String)> {
        let (kind, number) = match version {
            Version::One => ("application/x-protobuf", "0.1.0"),
            Version::Two => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: {kind}\r\nContent-Encoding: snappy\r\n\
             X-Prometheus-Remote-Write-Version: {number}\r\nContent-Length: {}\r\n\r\n",
            self.path,
            self.port,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text)?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }
}
