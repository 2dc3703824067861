//! One request over one connection, its answer read to the end.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::script::{Request, Rule};

/// An answer, its body unpacked.
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// All values of a header.
    pub fn header(&self, name: &str) -> String {
        let values = self.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str());
        values.collect::<Vec<_>>().join(", ")
    }

    /// The beginning, on one line.
    pub fn short(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(300).collect();
        format!("{} {}", self.status, body.replace('\n', "⏎"))
    }
}

/// Sends a request to a loopback port.
pub fn send(port: u16, request: &Request) -> std::io::Result<Answer> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    let streams = request.rules.contains(&Rule::Stream);
    connection.set_read_timeout(Some(Duration::from_secs(if streams { 1 } else { 60 })))?;
    let mut head =
        format!("{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT") {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    head.push_str("\r\n");
    connection.write_all(head.as_bytes())?;
    connection.write_all(&request.body)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if streams && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            // A server that leaves a body unread resets the connection after its answer.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    parse(&bytes, request.method == "HEAD")
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

fn parse(bytes: &[u8], head_only: bool) -> std::io::Result<Answer> {
    let end =
        bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| broken("no HTTP answer"))?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status: status.ok_or_else(|| broken("no status"))?, headers, body: Vec::new() };
    if head_only {
        return Ok(answer);
    }
    let raw = &bytes[end + 4..];
    let body = match answer.header("transfer-encoding").as_str() {
        "chunked" => dechunked(raw)?,
        _ => raw.to_vec(),
    };
    answer.body = match answer.header("content-encoding").as_str() {
        "gzip" => unpacked(flate2::read::MultiGzDecoder::new(&body[..]))?,
        "deflate" => unpacked(flate2::read::ZlibDecoder::new(&body[..]))?,
        _ => body,
    };
    Ok(answer)
}

fn unpacked(mut reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok(body)
}

fn dechunked(mut raw: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&raw[..end]);
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| broken("no size of a chunk"))?;
        let from = end + 2;
        let chunk = raw.get(from..from + size).ok_or_else(|| broken("a chunk is cut off"))?;
        body.extend_from_slice(chunk);
        raw = raw.get(from + size + 2..).unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    Ok(body)
}
