//! Which format a page is in, by what its target says.

use super::lexing::quote;

/// A format that a page can be read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain`.
    Text,
    /// `application/openmetrics-text`.
    OpenMetrics,
    /// `application/vnd.google.protobuf`.
    Protobuf,
}

impl Format {
    /// The media type, without parameters.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain",
            Format::OpenMetrics => "application/openmetrics-text",
            Format::Protobuf => "application/vnd.google.protobuf",
        }
    }

    fn from_media_type(media_type: &str) -> Option<Format> {
        match media_type {
            "text/plain" => Some(Format::Text),
            "application/openmetrics-text" => Some(Format::OpenMetrics),
            "application/vnd.google.protobuf" => Some(Format::Protobuf),
            _ => None,
        }
    }
}

/// A format, and why it is only the configured fallback where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The format to read the page in.
    pub format: Format,
    /// Why the page's own type was of no use.
    pub warning: Option<ContentTypeError>,
}

/// Why a `Content-Type` names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    /// The header is missing or empty.
    #[error("non-compliant scrape target sending blank Content-Type{}", advice_blank(*fallback))]
    Blank {
        /// What is used instead.
        fallback: Option<Format>,
    },
    /// The header is no media type.
    #[error("{}\nmime: {problem}", advice_malformed(content_type, *fallback))]
    Malformed {
        /// The header.
        content_type: String,
        /// What is wrong with it.
        problem: MediaTypeProblem,
        /// What is used instead.
        fallback: Option<Format>,
    },
    /// The media type is of something else.
    #[error("received unsupported Content-Type {}{}", quote(content_type.as_bytes()), advice_blank(*fallback))]
    Unsupported {
        /// The header.
        content_type: String,
        /// What is used instead.
        fallback: Option<Format>,
    },
}

fn advice_blank(fallback: Option<Format>) -> String {
    match fallback {
        None => " and no fallback_scrape_protocol specified for target".to_owned(),
        Some(format) => format!(", using fallback_scrape_protocol \"{}\"", format.media_type()),
    }
}

fn advice_malformed(content_type: &str, fallback: Option<Format>) -> String {
    let quoted = quote(content_type.as_bytes());
    match fallback {
        None => format!("cannot parse Content-Type {quoted} and no fallback_scrape_protocol for target"),
        Some(format) => format!(
            "could not parse received Content-Type {quoted}, using fallback_scrape_protocol \"{}\"",
            format.media_type()
        ),
    }
}

/// What is wrong with a media type, in Go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaTypeProblem {
    /// Nothing before the slash.
    #[error("no media type")]
    NoType,
    /// Nothing after the slash.
    #[error("expected token after slash")]
    NoSubtype,
    /// Something after type and subtype that is no parameter.
    #[error("unexpected content after media subtype")]
    AfterSubtype,
    /// Something after the only token.
    #[error("expected slash after first token")]
    NoSlash,
    /// A parameter that is none.
    #[error("invalid media parameter")]
    Parameter,
    /// A parameter that stands twice.
    #[error("duplicate parameter name")]
    DuplicateParameter,
}

/// The format of a page whose target says `content_type`.
///
/// # Errors
/// The type names no format and there is no fallback.
pub fn select_format(content_type: &str, fallback: Option<Format>) -> Result<Selected, ContentTypeError> {
    let content_type_owned = || content_type.to_owned();
    let problem = if content_type.is_empty() {
        ContentTypeError::Blank { fallback }
    } else {
        match media_type(content_type) {
            Err(problem) => {
                ContentTypeError::Malformed { content_type: content_type_owned(), problem, fallback }
            }
            Ok(media_type) => match Format::from_media_type(&media_type) {
                Some(format) => return Ok(Selected { format, warning: None }),
                None => ContentTypeError::Unsupported { content_type: content_type_owned(), fallback },
            },
        }
    };
    match fallback {
        Some(format) => Ok(Selected { format, warning: Some(problem) }),
        None => Err(problem),
    }
}

/// The media type of a header in small letters; its parameters are checked.
/// Source: Go `mime.ParseMediaType`.
fn media_type(header: &str) -> Result<String, MediaTypeProblem> {
    let (media_type, mut rest) = match header.find(';') {
        Some(at) => header.split_at(at),
        None => (header, ""),
    };
    let media_type = media_type.trim().to_lowercase();
    check_type(&media_type)?;
    let mut names: Vec<String> = Vec::new();
    while !rest.is_empty() {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        match parameter(rest) {
            Some((name, tail)) => {
                if names.contains(&name) {
                    return Err(MediaTypeProblem::DuplicateParameter);
                }
                names.push(name);
                rest = tail;
            }
            // A last semicolon without parameter is let through.
            None if rest.trim() == ";" => break,
            None => return Err(MediaTypeProblem::Parameter),
        }
    }
    Ok(media_type)
}

fn check_type(media_type: &str) -> Result<(), MediaTypeProblem> {
    let (first, rest) = take_token(media_type);
    if first.is_empty() {
        return Err(MediaTypeProblem::NoType);
    }
    if rest.is_empty() {
        return Ok(());
    }
    let after_slash = rest.strip_prefix('/').ok_or(MediaTypeProblem::NoSlash)?;
    let (subtype, rest) = take_token(after_slash);
    match (subtype.is_empty(), rest.is_empty()) {
        (true, _) => Err(MediaTypeProblem::NoSubtype),
        (false, false) => Err(MediaTypeProblem::AfterSubtype),
        (false, true) => Ok(()),
    }
}

/// `; name=value`: the name in small letters and what follows.
fn parameter(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix(';')?.trim_start();
    let (name, rest) = take_token(rest);
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    if name.is_empty() {
        return None;
    }
    let rest = match rest.strip_prefix('"') {
        None => {
            let (value, rest) = take_token(rest);
            if value.is_empty() {
                return None;
            }
            rest
        }
        Some(quoted) => after_quoted(quoted)?,
    };
    Some((name.to_lowercase(), rest))
}

fn after_quoted(quoted: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(&quoted[at + 1..]),
            b'\r' | b'\n' => return None,
            _ => {}
        }
    }
    None
}

fn take_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| {
        c.is_ascii_graphic()
            && !matches!(
                c,
                '(' | ')' | '<' | '>' | '@' | ',' | ';' | ':' | '\\' | '"' | '/' | '[' | ']' | '?' | '='
            )
    };
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}
