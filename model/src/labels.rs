//! Label sets: the identity of a series.
//!
//! A [`Labels`] is one shared allocation of packed text, sorted by name:
//!
//! ```text
//! ┌──────────┬──────┬───────────┬───────┬──────────┬─ …
//! │ len name │ name │ len value │ value │ len name │
//! └──────────┴──────┴───────────┴───────┴──────────┴─ …
//! len    one byte below 127; or 127 and five of seven bits, the lowest first
//! ```
//!
//! Lengths are ASCII too, so that the whole is text and its parts are cut out
//! without being checked again; those below 127 bytes are as the logs have them.
//! Cloning costs one reference count; equality and table hashing work on the
//! bytes; the order and the stable hash are upstream's.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh64::Xxh64;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";
/// The label that holds the metric's type where type labels are in use.
pub const METRIC_TYPE: &str = "__type__";
/// The label that holds the metric's unit where unit labels are in use.
pub const METRIC_UNIT: &str = "__unit__";
/// The label of a classic histogram's bucket bound.
pub const BUCKET_LABEL: &str = "le";

static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

/// Stands before the length of a text that is as long or longer.
const LONG: u8 = 0x7f;
/// Bytes of such a length, seven bits each.
const LONG_BYTES: usize = 5;

/// One name and value of a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    /// The label's name.
    pub name: &'a str,
    /// The label's value, never empty inside a [`Labels`].
    pub value: &'a str,
}

/// A sorted set of labels with unique names and without empty values.
#[derive(Clone)]
pub struct Labels {
    packed: Arc<str>,
}

impl Labels {
    /// The label set without labels.
    pub fn empty() -> Labels {
        Labels { packed: EMPTY.clone() }
    }

    /// Builds a set from pairs in any order: empty values are left out, and of
    /// pairs with the same name the last one stays.
    ///
    /// ```
    /// # use model::Labels;
    /// let labels = Labels::from_pairs([("job", "node"), ("__name__", "up"), ("gone", "")]);
    /// assert_eq!(labels.to_string(), r#"{__name__="up", job="node"}"#);
    /// ```
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Labels {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.labels()
    }

    /// Builds a set from pairs that are sorted by name, unique and without
    /// empty values already.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let mut packed = String::with_capacity(128);
        let mut last: Option<&str> = None;
        for (name, value) in pairs {
            debug_assert!(last.is_none_or(|last| last < name), "labels must be sorted by name and unique");
            last = Some(name);
            push_str(&mut packed, name);
            push_str(&mut packed, value);
        }
        if packed.is_empty() { Labels::empty() } else { Labels { packed: packed.into() } }
    }

    /// Takes over text that is packed already, as records of logs are while no
    /// name or value has 127 bytes: each behind its length in one byte. `None`
    /// where it is not, or not sorted by name, or has an empty value.
    ///
    /// ```
    /// # use model::Labels;
    /// let labels = Labels::from_packed("\u{8}__name__\u{2}up").unwrap();
    /// assert_eq!(labels, Labels::from_pairs([("__name__", "up")]));
    /// assert!(Labels::from_packed("\u{8}__name__\u{3}up").is_none());
    /// ```
    pub fn from_packed(packed: &str) -> Option<Labels> {
        let mut rest = packed;
        let mut last: Option<&str> = None;
        let mut take = || {
            let (len, text) = rest.split_at_checked(1)?;
            let len = len.as_bytes()[0];
            let (text, behind) = text.split_at_checked(usize::from(len)).filter(|_| len < LONG)?;
            rest = behind;
            Some((text, rest.is_empty()))
        };
        while !packed.is_empty() {
            let (name, _) = take()?;
            let (value, at_end) = take()?;
            if value.is_empty() || last.is_some_and(|last| last >= name) {
                return None;
            }
            last = Some(name);
            if at_end {
                return Some(Labels { packed: packed.into() });
            }
        }
        Some(Labels::empty())
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.packed }
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The value of a label, `None` where the set lacks it.
    pub fn get(&self, name: &str) -> Option<&str> {
        for label in self.iter() {
            match label.name.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(label.value),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The value of a label, empty where the set lacks it: what a matcher sees.
    pub fn value_or_empty(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// The metric's name, empty where there is none.
    pub fn metric_name(&self) -> &str {
        self.value_or_empty(METRIC_NAME)
    }

    /// Whether the set has a label of that name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A builder that starts from this set.
    pub fn to_builder(&self) -> LabelsBuilder {
        let mut builder = LabelsBuilder::new();
        builder.reset(self);
        builder
    }

    /// This set without the metric's name.
    pub fn without_name(&self) -> Labels {
        self.filter(|name| name != METRIC_NAME)
    }

    /// The labels whose name the predicate keeps.
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Labels {
        Labels::from_sorted(self.iter().filter(|l| keep(l.name)).map(|l| (l.name, l.value)))
    }

    /// The hash that must not change between versions and processes: XXH64 with
    /// seed 0 over name, `0xff`, value, `0xff` of each label in order.
    /// Source: Prometheus `model/labels`, `StableHash`.
    pub fn stable_hash(&self) -> u64 {
        stable_hash(self.iter())
    }

    /// The packed bytes: equal for equal sets, the key of hash tables.
    pub fn as_bytes(&self) -> &[u8] {
        self.packed.as_bytes()
    }

    /// Bytes on the heap that this set holds (shared between its clones).
    pub fn heap_bytes(&self) -> usize {
        self.packed.len() + 16
    }

    /// The first name that stands twice, where any does. A set built by
    /// [`Labels::from_pairs`] has none.
    pub fn duplicate_name(&self) -> Option<&str> {
        let mut last: Option<&str> = None;
        for label in self.iter() {
            if last == Some(label.name) {
                return last;
            }
            last = Some(label.name);
        }
        None
    }
}

/// [`Labels::stable_hash`] over any labels in order of their names.
pub fn stable_hash<'a>(labels: impl Iterator<Item = Label<'a>>) -> u64 {
    let mut hash = Xxh64::new(0);
    for label in labels {
        hash.update(label.name.as_bytes());
        hash.update(&[0xff]);
        hash.update(label.value.as_bytes());
        hash.update(&[0xff]);
    }
    hash.digest()
}

fn push_str(packed: &mut String, text: &str) {
    if text.len() < usize::from(LONG) {
        packed.push(char::from(text.len() as u8));
    } else {
        packed.push(char::from(LONG));
        for i in 0..LONG_BYTES {
            packed.push(char::from((text.len() >> (7 * i)) as u8 & 0x7f));
        }
    }
    packed.push_str(text);
}

#[inline]
fn take_str<'a>(rest: &mut &'a str) -> &'a str {
    let (at, len) = match rest.as_bytes()[0] {
        LONG => long_len(rest.as_bytes()),
        len => (1, usize::from(len)),
    };
    let (text, tail) = rest[at..].split_at(len);
    *rest = tail;
    text
}

/// Where a text starts whose length is a long one, and that length.
#[cold]
fn long_len(bytes: &[u8]) -> (usize, usize) {
    let len = bytes[1..=LONG_BYTES].iter().rev().fold(0, |len, &byte| len << 7 | usize::from(byte));
    (1 + LONG_BYTES, len)
}

/// Walks a [`Labels`] in order of names.
#[derive(Clone)]
pub struct LabelsIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = Label<'a>;

    #[inline]
    fn next(&mut self) -> Option<Label<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_str(&mut self.rest);
        let value = take_str(&mut self.rest);
        Some(Label { name, value })
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = Label<'a>;
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

impl Default for Labels {
    fn default() -> Labels {
        Labels::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Labels) -> bool {
        Arc::ptr_eq(&self.packed, &other.packed) || self.packed == other.packed
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.packed.hash(state);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Upstream's order: label by label, name before value, the shorter set first.
impl Ord for Labels {
    fn cmp(&self, other: &Labels) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `{a="b", c="d"}`, names quoted where they need it.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_braces(f, self.iter())
    }
}

fn write_braces<'a>(f: &mut fmt::Formatter<'_>, labels: impl Iterator<Item = Label<'a>>) -> fmt::Result {
    f.write_str("{")?;
    for (i, label) in labels.enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        if crate::names::is_legacy_label_name(label.name) {
            f.write_str(label.name)?;
        } else {
            f.write_str(&go_quote(label.name))?;
        }
        write!(f, "={}", go_quote(label.value))?;
    }
    f.write_str("}")
}

/// Text in double quotes, escaped as Go's `strconv.Quote` does.
///
/// ```
/// assert_eq!(model::labels::go_quote("a\"b\n\u{7f}é"), r#""a\"b\n\x7fé""#);
/// ```
pub fn go_quote(text: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    // Most text is plain, and copied as it is up to the first character that is not.
    let plain = text.bytes().take_while(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\')).count();
    out.push_str(&text[..plain]);
    for c in text[plain..].chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if crate::matcher::is_print(c) => out.push(c),
            c if (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    Cow::Owned(out)
}

/// The character at the start of `bytes` and its width, as Go reads strings: what is
/// no UTF-8 reads as the replacement character, one byte wide. `None` at the end.
pub fn decode_char(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((char::from(first), 1));
    }
    let width = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Some((char::REPLACEMENT_CHARACTER, 1)),
    };
    let decoded = bytes.get(..width).and_then(|b| std::str::from_utf8(b).ok()).and_then(|s| s.chars().next());
    Some(decoded.map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, width)))
}

/// Collects labels in any order and yields a sorted set.
///
/// Setting an empty value deletes the label, as upstream's builder does.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, unique, no empty values.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// A builder without labels.
    pub fn new() -> LabelsBuilder {
        LabelsBuilder::default()
    }

    /// Drops what was collected and starts from `base`.
    pub fn reset(&mut self, base: &Labels) {
        self.pairs.clear();
        self.pairs.extend(base.iter().map(|l| (l.name.to_owned(), l.value.to_owned())));
    }

    /// Sets a label; an empty value deletes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut LabelsBuilder {
        match self.find(name) {
            Ok(i) if value.is_empty() => {
                self.pairs.remove(i);
            }
            Ok(i) => {
                self.pairs[i].1.clear();
                self.pairs[i].1.push_str(value);
            }
            Err(_) if value.is_empty() => {}
            Err(i) => self.pairs.insert(i, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Deletes a label.
    pub fn del(&mut self, name: &str) -> &mut LabelsBuilder {
        if let Ok(i) = self.find(name) {
            self.pairs.remove(i);
        }
        self
    }

    /// Keeps only the labels whose name the predicate accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut LabelsBuilder {
        self.pairs.retain(|(name, _)| keep(name));
        self
    }

    /// The value of a label, `None` where it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).ok().map(|i| self.pairs[i].1.as_str())
    }

    /// The labels collected so far, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = Label<'_>> {
        self.pairs.iter().map(|(name, value)| Label { name, value })
    }

    /// How many labels are set.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether no label is set.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The label set.
    pub fn labels(&self) -> Labels {
        Labels::from_sorted(self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(have, _)| have.as_str().cmp(name))
    }
}
