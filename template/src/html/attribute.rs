//! Attributes: what kind of text each holds.

use super::escaper::FAILSAFE;
use crate::text;

/// What an attribute's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Plain,
    Url,
    Css,
    Script,
    Srcset,
    Html,
    /// It changes how others are read.
    Unsafe,
}

const URLS: &[&str] = &[
    "action",
    "archive",
    "background",
    "cite",
    "classid",
    "codebase",
    "data",
    "formaction",
    "href",
    "icon",
    "longdesc",
    "manifest",
    "poster",
    "profile",
    "src",
    "usemap",
    "xmlns",
];

const UNSAFE: &[&str] = &[
    "accept-charset",
    "async",
    "challenge",
    "charset",
    "content",
    "crossorigin",
    "defer",
    "enctype",
    "form",
    "formenctype",
    "formmethod",
    "formnovalidate",
    "http-equiv",
    "keytype",
    "language",
    "method",
    "novalidate",
    "pattern",
    "rel",
    "sandbox",
    "type",
    "value",
];

/// Names that would else be taken for URLs or handlers by their spelling.
const PLAIN: &[&str] = &["srclang"];

/// What an attribute of the (lower-case) name holds; unknown ones are guessed
/// with care.
pub(super) fn content(name: &str) -> Content {
    let name = match (name.strip_prefix("data-"), name.split_once(':')) {
        (Some(rest), _) => rest,
        (None, Some(("xmlns", _))) => return Content::Url,
        (None, Some((_, rest))) => rest,
        (None, None) => name,
    };
    match name {
        "style" => return Content::Css,
        "srcset" => return Content::Srcset,
        "srcdoc" => return Content::Html,
        name if URLS.contains(&name) => return Content::Url,
        name if UNSAFE.contains(&name) => return Content::Unsafe,
        name if PLAIN.contains(&name) => return Content::Plain,
        _ => {}
    }
    if name.starts_with("on") {
        Content::Script
    } else if ["src", "uri", "url"].iter().any(|part| name.contains(part)) {
        Content::Url
    } else {
        Content::Plain
    }
}

/// A value as an attribute's name, if the attribute is harmless.
pub(super) fn name(text: &[u8]) -> Vec<u8> {
    let name = model::relabel::to_lower(&text::lossy(text));
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    if plain && content(&name) == Content::Plain { name.into_bytes() } else { FAILSAFE.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_told_apart() {
        for (name, kind) in [
            ("title", Content::Plain),
            ("href", Content::Url),
            ("xlink:href", Content::Url),
            ("xmlns:x", Content::Url),
            ("data-action", Content::Url),
            ("data-imageurl", Content::Url),
            ("onclick", Content::Script),
            ("data-onx", Content::Script),
            ("style", Content::Css),
            ("value", Content::Unsafe),
            ("srclang", Content::Plain),
            ("open", Content::Plain),
        ] {
            assert_eq!(content(name), kind, "{name}");
        }
        assert_eq!(name(b"Title"), b"title");
        assert_eq!(name(b"onclick"), b"ZgotmplZ");
        assert_eq!(name(b"a-b"), b"ZgotmplZ");
    }
}
