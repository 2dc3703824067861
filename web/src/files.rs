//! Files of operators, as Go's file server answers them: index pages, listings,
//! conditions by time, one range of bytes.
//!
//! ```text
//! path ─▶ below the folder? ─▶ folder: index page or listing
//!                             └▶ file: conditions ─▶ range ─▶ streamed
//! ```
//!
//! A request for several ranges is answered with the whole file, which RFC 9110
//! allows and Go does not do.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::ops::{error, not_found};

/// Bytes that tell what a file is whose name does not.
const SNIFFED_BYTES: usize = 512;
/// Entries of a folder that are listed.
const LISTED_MAX: usize = 10_000;

/// What lies below a folder at a path, which begins with a slash.
pub(crate) async fn serve(
    folder: &Path,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Response<Body> {
    let go_to = |place: String| redirect(&place, query);
    if path.ends_with("/index.html") {
        return go_to("./".to_owned());
    }
    let Some(mut file) = below(folder, path) else { return not_found() };
    let Ok(mut metadata) = tokio::fs::metadata(&file).await else { return not_found() };
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if metadata.is_dir() {
        if !path.ends_with('/') {
            return go_to(format!("{last}/"));
        }
        let index = file.join("index.html");
        match tokio::fs::metadata(&index).await {
            Ok(found) if found.is_file() => (file, metadata) = (index, found),
            _ => return listing(&file, metadata.mtime(), headers).await,
        }
    } else if path.ends_with('/') {
        return go_to(format!("../{last}"));
    }
    if !metadata.is_file() {
        return not_found();
    }
    match File::open(&file).await {
        Ok(opened) => content(opened, &file, metadata.len(), metadata.mtime(), headers).await,
        Err(fault) if fault.kind() == std::io::ErrorKind::PermissionDenied => {
            error(StatusCode::FORBIDDEN, "403 Forbidden\n")
        }
        Err(_) => not_found(),
    }
}

/// A path below a folder; `None` for one that would lead out of it.
pub(crate) fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut file = folder.to_path_buf();
    for part in Path::new(path.trim_start_matches('/')).components() {
        match part {
            Component::Normal(name) => file.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!path.contains('\0')).then_some(file)
}

/// To a place told from here, with the same query and no text.
fn redirect(place: &str, query: Option<&str>) -> Response<Body> {
    let place = match query {
        Some(query) => format!("{place}?{query}"),
        None => place.to_owned(),
    };
    let mut response = empty(StatusCode::MOVED_PERMANENTLY);
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A time as HTTP writes it; `None` at the epoch, which means unknown.
fn http_date(seconds: i64) -> Option<HeaderValue> {
    let time = Timestamp::from_second(seconds).ok().filter(|_| seconds != 0)?;
    HeaderValue::from_str(&DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()?).ok()
}

/// The time that a header holds, in seconds.
fn date_of(headers: &HeaderMap, name: HeaderName) -> Option<i64> {
    let text = headers.get(name)?.to_str().ok()?;
    // Go does not mind a wrong day of the week.
    let parser = DateTimeParser::new().relaxed_weekday(true);
    Some(parser.parse_timestamp(text).ok()?.as_second())
}

/// The status that conditions of a request ask for in place of the content.
/// Nothing here has an entity tag.
fn condition(headers: &HeaderMap, modified: i64) -> Option<StatusCode> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_before = |name| date_of(headers, name).is_some_and(|limit| modified > limit);
    let failed = match text(header::IF_MATCH) {
        Some(tags) => tags.trim() != "*",
        None => is_before(header::IF_UNMODIFIED_SINCE),
    };
    if failed {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let unchanged = match text(header::IF_NONE_MATCH) {
        Some(tags) => tags.trim() == "*",
        None => date_of(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| modified <= since),
    };
    unchanged.then_some(StatusCode::NOT_MODIFIED)
}

/// What part of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// From here, so many bytes.
    Range(u64, u64),
    /// Malformed, or beyond the file: the text of the answer.
    Refused(&'static str),
}

fn part(headers: &HeaderMap, size: u64, modified: i64) -> Part {
    const INVALID: Part = Part::Refused("invalid range\n");
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Part::Whole;
    };
    // A range of an older state would not fit.
    if headers.contains_key(header::IF_RANGE) && date_of(headers, header::IF_RANGE) != Some(modified) {
        return Part::Whole;
    }
    let Some(ranges) = range.strip_prefix("bytes=") else { return INVALID };
    let mut wanted = ranges.split(',').map(str::trim).filter(|one| !one.is_empty());
    let (Some(one), None) = (wanted.next(), wanted.next()) else { return Part::Whole };
    let Some((from, to)) = one.split_once('-') else { return INVALID };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    if from.is_empty() {
        return match number(to) {
            Some(last) => Part::Range(size - last.min(size), last.min(size)),
            None => INVALID,
        };
    }
    let Some(from) = number(from) else { return INVALID };
    if from >= size {
        return Part::Refused("invalid range: failed to overlap\n");
    }
    match (to.is_empty(), number(to)) {
        (true, _) => Part::Range(from, size - from),
        (false, Some(to)) if to >= from => Part::Range(from, to.min(size - 1) - from + 1),
        _ => INVALID,
    }
}

async fn content(
    mut file: File,
    path: &Path,
    size: u64,
    modified: i64,
    headers: &HeaderMap,
) -> Response<Body> {
    let date = http_date(modified);
    if let Some(status) = condition(headers, modified) {
        let mut response = empty(status);
        response.headers_mut().extend(date.map(|date| (header::LAST_MODIFIED, date)));
        return response;
    }
    let kind = match kind_of(path) {
        Some(kind) => kind,
        None => sniff(&mut file).await,
    };
    let (from, length, status) = match part(headers, size, modified) {
        Part::Whole => (0, size, StatusCode::OK),
        Part::Range(from, length) if size > 0 => (from, length, StatusCode::PARTIAL_CONTENT),
        Part::Range(..) => (0, size, StatusCode::OK),
        Part::Refused(text) => {
            let mut response = error(StatusCode::RANGE_NOT_SATISFIABLE, text);
            if text.contains("overlap")
                && let Ok(size) = HeaderValue::from_str(&format!("bytes */{size}"))
            {
                response.headers_mut().insert(header::CONTENT_RANGE, size);
            }
            return response;
        }
    };
    if file.seek(SeekFrom::Start(from)).await.is_err() {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "seeker can't seek\n");
    }
    let mut response = Response::new(Body::from_stream(ReaderStream::new(file.take(length))));
    *response.status_mut() = status;
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    answer.extend(date.map(|date| (header::LAST_MODIFIED, date)));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{size}", from + length.max(1) - 1);
        answer.extend(HeaderValue::from_str(&range).map(|range| (header::CONTENT_RANGE, range)));
    }
    response
}

/// The names in a folder, as links.
async fn listing(folder: &Path, modified: i64, headers: &HeaderMap) -> Response<Body> {
    let date = http_date(modified);
    let since = date_of(headers, header::IF_MODIFIED_SINCE);
    if since.is_some_and(|since| modified <= since) {
        return empty(StatusCode::NOT_MODIFIED);
    }
    let fault = || error(StatusCode::INTERNAL_SERVER_ERROR, "Error reading directory\n");
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else { return fault() };
    let mut names = Vec::new();
    while names.len() < LISTED_MAX {
        let Ok(entry) = entries.next_entry().await else { return fault() };
        let Some(entry) = entry else { break };
        let is_dir = entry.file_type().await.is_ok_and(|kind| kind.is_dir());
        let slash = if is_dir { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let lines: String = names
        .iter()
        .map(|name| format!("<a href=\"{}\">{}</a>\n", link(name), crate::pages::escaped(name)))
        .collect();
    let text = format!(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{lines}</pre>\n"
    );
    let mut response = Response::new(Body::from(text));
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer.extend(date.map(|date| (header::LAST_MODIFIED, date)));
    response
}

/// A name as a link: what a URL may not hold is escaped.
fn link(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/;=@".contains(&byte);
    name.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The type of a file by the end of its name.
fn kind_of(file: &Path) -> Option<&'static str> {
    Some(match file.extension().and_then(|ending| ending.to_str())? {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => "text/xml; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "pdf" => "application/pdf",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        _ => return None,
    })
}

/// The type of a file by its first bytes.
async fn sniff(file: &mut File) -> &'static str {
    let mut start = Vec::with_capacity(SNIFFED_BYTES);
    let mut begin = file.take(SNIFFED_BYTES as u64);
    // What cannot be read now fails again when it is sent.
    let _ = begin.read_to_end(&mut start).await;
    kind_of_bytes(&start)
}

pub(crate) fn kind_of_bytes(bytes: &[u8]) -> &'static str {
    const MARKS: &[(&[u8], &str)] = &[
        (b"%PDF-", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1f\x8b\x08", "application/x-gzip"),
        (b"\0asm", "application/wasm"),
    ];
    const TAGS: &[&str] =
        &["<!doctype html", "<html", "<head", "<script", "<body", "<h1", "<div", "<p", "<!--"];
    if let Some((_, kind)) = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return kind;
    }
    let text = String::from_utf8_lossy(bytes.trim_ascii_start()).to_lowercase();
    let is_tag = |tag: &str| {
        let rest = text.strip_prefix(tag);
        rest.is_some_and(|rest| rest.starts_with([' ', '>']) || tag == "<!--")
    };
    if TAGS.iter().any(|tag| is_tag(tag)) {
        return "text/html; charset=utf-8";
    }
    if text.starts_with("<?xml") {
        return "text/xml; charset=utf-8";
    }
    let is_binary = |byte: &u8| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if bytes.iter().any(is_binary) { "application/octet-stream" } else { "text/plain; charset=utf-8" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let folder = Path::new("/srv/assets");
        assert_eq!(below(folder, "/a/./b.html"), Some(PathBuf::from("/srv/assets/a/b.html")));
        assert_eq!(below(folder, "//etc/passwd"), Some(PathBuf::from("/srv/assets/etc/passwd")));
        for bad in ["/../x", "/a/../../x", "/a\0b"] {
            assert_eq!(below(folder, bad), None, "{bad:?}");
        }
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_range_is_cut_to_the_file_or_refused() {
        let refused = |text| Part::Refused(text);
        for (range, expected) in [
            ("bytes=0-1", Part::Range(0, 2)),
            ("bytes=3-", Part::Range(3, 7)),
            ("bytes=-4", Part::Range(6, 4)),
            ("bytes=-40", Part::Range(0, 10)),
            ("bytes=8-99", Part::Range(8, 2)),
            ("bytes=10-", refused("invalid range: failed to overlap\n")),
            ("bytes=4-3", refused("invalid range\n")),
            ("bytes=x-", refused("invalid range\n")),
            ("bits=0-1", refused("invalid range\n")),
            ("bytes=0-0,2-3", Part::Whole),
        ] {
            assert_eq!(part(&headers(&[(header::RANGE, range)]), 10, 0), expected, "{range}");
        }
        let date = "Sun, 29 Nov 2026 14:00:00 GMT";
        let asked = headers(&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, date)]);
        assert_eq!(part(&asked, 10, 1_795_960_800), Part::Range(0, 2));
        assert_eq!(part(&asked, 10, 1_795_960_801), Part::Whole, "it has changed since");
    }

    #[test]
    fn conditions_are_judged_by_time() {
        let date = "Sun, 29 Nov 2026 14:00:00 GMT";
        let at = 1_795_960_800;
        assert_eq!(http_date(at).unwrap(), date);
        for (name, modified, expected) in [
            (header::IF_MODIFIED_SINCE, at, Some(StatusCode::NOT_MODIFIED)),
            (header::IF_MODIFIED_SINCE, at + 1, None),
            (header::IF_UNMODIFIED_SINCE, at, None),
            (header::IF_UNMODIFIED_SINCE, at + 1, Some(StatusCode::PRECONDITION_FAILED)),
        ] {
            assert_eq!(condition(&headers(&[(name.clone(), date)]), modified), expected, "{name} {modified}");
        }
    }

    #[test]
    fn bytes_tell_a_type_where_the_name_does_not() {
        for (bytes, kind) in [
            (&b"plain"[..], "text/plain; charset=utf-8"),
            (b"  <HTML>", "text/html; charset=utf-8"),
            (b"\x89PNG\r\n\x1a\n...", "image/png"),
            (b"a\0b", "application/octet-stream"),
            (b"", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(kind_of_bytes(bytes), kind);
        }
    }
}
