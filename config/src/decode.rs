//! From tree to types: one walk that collects every fault with its place.
//!
//! [`Value`] is anything a field may hold. A null sets a field to the zero of
//! its type, not to its default, as upstream's decoder does; blocks
//! ([`crate::block`]) start from their defaults instead.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::defaults::Defaults;
use crate::error::{ConfigError, FaultKind};
use crate::scalar::{Resolved, resolve_scalar, tag_of};
use crate::tree::{Node, NodeKind, Position, Text};
use crate::yaml::Yaml;

/// Characters of a name cut short that are enough to tell which is meant.
const BEGUN_MIN: usize = 3;

/// A step from a node to one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Step {
        Step::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Step {
        Step::Index(index)
    }
}

/// What the walk carries: where it is, and what it found wrong.
#[derive(Debug)]
pub struct Walk {
    /// What flags put in place of built-in defaults.
    pub defaults: Defaults,
    root: Option<Rc<Node>>,
    path: Vec<Step>,
    errors: Vec<ConfigError>,
}

impl Walk {
    /// A walk that starts at a document's root.
    pub fn new(root: Option<Rc<Node>>) -> Walk {
        Walk { defaults: Defaults::default(), root, path: Vec::new(), errors: Vec::new() }
    }

    /// How many faults were found so far.
    pub fn n_errors(&self) -> usize {
        self.errors.len()
    }

    /// The faults in order of their place.
    pub fn into_errors(mut self) -> Vec<ConfigError> {
        self.errors.sort_by_key(|e| e.position);
        self.errors
    }

    /// Runs `inner` one step further down.
    pub fn within<T>(&mut self, step: impl Into<Step>, inner: impl FnOnce(&mut Walk) -> T) -> T {
        self.path.push(step.into());
        let out = inner(self);
        self.path.pop();
        out
    }

    /// Records a value that is not allowed, at the block being read.
    pub fn invalid(&mut self, message: impl Into<String>) {
        self.invalid_at([], message);
    }

    /// As [`Walk::invalid`], at a field below the block being read.
    pub fn invalid_at<const N: usize>(&mut self, below: [Step; N], message: impl Into<String>) {
        let mut path = self.path.clone();
        path.extend(below);
        let position = self.locate(&path);
        self.errors.push(ConfigError {
            kind: FaultKind::Invalid,
            position,
            field: path_text(&path),
            message: message.into(),
            suggestion: None,
        });
    }

    /// As [`Walk::invalid_at`], one key down.
    pub fn invalid_field(&mut self, field: &str, message: impl Into<String>) {
        self.invalid_at([Step::from(field)], message);
    }

    fn decoding(&mut self, position: Position, message: String, suggestion: Option<String>) {
        self.errors.push(ConfigError {
            kind: FaultKind::Decoding,
            position: Some(position),
            field: path_text(&self.path),
            message,
            suggestion,
        });
    }

    /// Records a value of the wrong type. Only what was asked to be a number or
    /// a boolean is quoted: anything else might be a misplaced secret.
    pub fn mistyped(&mut self, node: &Node, wanted: &str) {
        let tag = tag_of(node);
        let quote = match (&node.kind, wanted) {
            (NodeKind::Scalar(_), "bool" | "int" | "int64" | "uint" | "uint64" | "float64") => {
                node.text().map(|text| {
                    let short: String = text.chars().take(10).collect();
                    if short.len() < text.len() {
                        let head: String = short.chars().take(7).collect();
                        format!(" `{head}...`")
                    } else {
                        format!(" `{short}`")
                    }
                })
            }
            _ => None,
        };
        let message = format!("cannot unmarshal {tag}{} into {wanted}", quote.unwrap_or_default());
        self.decoding(node.position, message, None);
    }

    /// Records a field that the block does not have.
    pub fn unknown_field(&mut self, key: &Node, name: &str, block: &str, known: &[&str]) {
        let suggestion = nearest(name, known).map(str::to_owned);
        self.decoding(key.position, format!("field {name} not found in type {block}"), suggestion);
    }

    /// Records a field that stands twice in a block.
    pub fn repeated_field(&mut self, key: &Node, name: &str, block: &str) {
        self.decoding(key.position, format!("field {name} already set in type {block}"), None);
    }

    /// Records a label that stands twice in a label set.
    pub fn repeated_label(&mut self, key: &Node, name: &str) {
        self.repeated_key(key, name);
    }

    fn repeated_key(&mut self, key: &Node, name: &str) {
        self.decoding(
            key.position,
            format!("key {} already set in map", model::labels::go_quote(name)),
            None,
        );
    }

    /// The place of the deepest part of the path that the document has: the key
    /// for a field, the item for a list element.
    fn locate(&self, path: &[Step]) -> Option<Position> {
        let mut node: &Node = self.root.as_ref()?;
        let mut found = node.position;
        for step in path {
            match step {
                Step::Key(name) => match node.entry(name) {
                    Some((key, value)) => {
                        found = key.position;
                        node = value;
                    }
                    None => break,
                },
                Step::Index(index) => match &node.kind {
                    NodeKind::Seq(items) if *index < items.len() => {
                        node = &items[*index];
                        found = node.position;
                    }
                    _ => break,
                },
            }
        }
        Some(found)
    }
}

fn path_text(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

/// The known name that differs least, or else the shortest that begins so: `pass`
/// for `password`.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let misspelt = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    let begun =
        known.iter().copied().filter(|candidate| name.len() >= BEGUN_MIN && candidate.starts_with(name));
    misspelt.or_else(|| begun.min_by_key(|candidate| candidate.len()))
}

/// Anything a field may hold.
pub trait Value: Sized {
    /// What a null makes of it.
    fn zero() -> Self;

    /// Reads a node that is not null; `None` where a fault was recorded.
    fn decode(node: &Node, walk: &mut Walk) -> Option<Self>;

    /// The value as it is printed back.
    fn encode(&self) -> Yaml;

    /// Whether a field that may be omitted vanishes from the printed form.
    fn is_zero(&self) -> bool;
}

/// Reads a node, null included.
pub fn read<T: Value>(node: &Node, walk: &mut Walk) -> Option<T> {
    if node.is_null() { Some(T::zero()) } else { T::decode(node, walk) }
}

/// The entries of a mapping with merge keys (`<<`) expanded in place; the flag
/// tells whether an entry was written in the mapping itself.
pub fn entries(node: &Node, wanted: &str, walk: &mut Walk) -> Option<Vec<(Rc<Node>, Rc<Node>, bool)>> {
    let NodeKind::Map(_) = &node.kind else {
        walk.mistyped(node, wanted);
        return None;
    };
    let mut out = Vec::new();
    collect_entries(node, true, 0, &mut out, walk);
    Some(out)
}

const MERGE_DEPTH_MAX: u32 = 50;

fn collect_entries(
    node: &Node,
    own: bool,
    depth: u32,
    out: &mut Vec<(Rc<Node>, Rc<Node>, bool)>,
    walk: &mut Walk,
) {
    let NodeKind::Map(pairs) = &node.kind else {
        let message = "map merge requires map or sequence of maps as the value".to_owned();
        walk.decoding(node.position, message, None);
        return;
    };
    if depth > MERGE_DEPTH_MAX {
        walk.decoding(node.position, "map merges are nested too deeply".to_owned(), None);
        return;
    }
    for (key, value) in pairs {
        if !is_merge(key) {
            out.push((Rc::clone(key), Rc::clone(value), own));
            continue;
        }
        match &value.kind {
            // The first of several wins, so the last is applied first.
            NodeKind::Seq(items) => {
                for item in items.iter().rev() {
                    collect_entries(item, false, depth + 1, out, walk);
                }
            }
            _ => collect_entries(value, false, depth + 1, out, walk),
        }
    }
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, NodeKind::Scalar(s) if s.plain && s.tag.is_none()) && key.text() == Some("<<")
}

impl Value for String {
    fn zero() -> String {
        String::new()
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<String> {
        match &node.kind {
            NodeKind::Scalar(scalar) => match &scalar.text {
                Text::Utf8(text) => Some(text.clone()),
                Text::Bytes(_) => {
                    walk.decoding(node.position, "value is not valid UTF-8".to_owned(), None);
                    None
                }
            },
            _ => {
                walk.mistyped(node, "string");
                None
            }
        }
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.clone())
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl Value for bool {
    fn zero() -> bool {
        false
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<bool> {
        if let NodeKind::Scalar(scalar) = &node.kind
            && let Resolved::Bool(value) = resolve_scalar(scalar)
        {
            return Some(value);
        }
        walk.mistyped(node, "bool");
        None
    }

    fn encode(&self) -> Yaml {
        Yaml::Bool(*self)
    }

    fn is_zero(&self) -> bool {
        !*self
    }
}

/// Whole numbers; a fraction is cut off, as upstream's decoder does.
fn decode_int(node: &Node) -> Option<i128> {
    let NodeKind::Scalar(scalar) = &node.kind else { return None };
    match resolve_scalar(scalar) {
        Resolved::Int(number) => Some(number),
        Resolved::Float(number) if number.is_finite() && number.abs() < 9.3e18 => Some(number as i128),
        _ => None,
    }
}

macro_rules! whole_number {
    ($ty:ty, $wanted:literal) => {
        impl Value for $ty {
            fn zero() -> $ty {
                0
            }

            fn decode(node: &Node, walk: &mut Walk) -> Option<$ty> {
                let number = decode_int(node).and_then(|n| <$ty>::try_from(n).ok());
                if number.is_none() {
                    walk.mistyped(node, $wanted);
                }
                number
            }

            fn encode(&self) -> Yaml {
                Yaml::Int(i128::from(*self))
            }

            fn is_zero(&self) -> bool {
                *self == 0
            }
        }
    };
}

whole_number!(i64, "int");
whole_number!(u64, "uint");

impl Value for f64 {
    fn zero() -> f64 {
        0.0
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<f64> {
        if let NodeKind::Scalar(scalar) = &node.kind {
            match resolve_scalar(scalar) {
                Resolved::Int(number) => return Some(number as f64),
                Resolved::Float(number) => return Some(number),
                _ => {}
            }
        }
        walk.mistyped(node, "float64");
        None
    }

    fn encode(&self) -> Yaml {
        Yaml::Float(*self)
    }

    fn is_zero(&self) -> bool {
        *self == 0.0
    }
}

impl<T: Value> Value for Option<T> {
    fn zero() -> Option<T> {
        None
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<Option<T>> {
        T::decode(node, walk).map(Some)
    }

    fn encode(&self) -> Yaml {
        self.as_ref().map_or(Yaml::Null, Value::encode)
    }

    fn is_zero(&self) -> bool {
        self.is_none()
    }
}

/// A list. Faulty items are left out (their faults are recorded). As upstream's
/// decoder, a list is asked for: a single value is no list of one.
impl<T: Value> Value for Vec<T> {
    fn zero() -> Vec<T> {
        Vec::new()
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<Vec<T>> {
        let NodeKind::Seq(items) = &node.kind else {
            walk.mistyped(node, "a list");
            return None;
        };
        let read_item = |(index, item): (usize, &Rc<Node>)| walk.within(index, |walk| read(item, walk));
        Some(items.iter().enumerate().filter_map(read_item).collect())
    }

    fn encode(&self) -> Yaml {
        Yaml::Seq(self.iter().map(Value::encode).collect())
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

/// A mapping with free keys, printed in yaml.v2's order.
impl<T: Value> Value for BTreeMap<String, T> {
    fn zero() -> BTreeMap<String, T> {
        BTreeMap::new()
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<BTreeMap<String, T>> {
        decode_map(node, walk, |_, _| true)
    }

    fn encode(&self) -> Yaml {
        Yaml::sorted_map(self.iter().map(|(key, value)| (key.clone(), value.encode())))
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

/// Reads a mapping from text to values; `check_key` may refuse a key after
/// recording why.
pub fn decode_map<T: Value>(
    node: &Node,
    walk: &mut Walk,
    check_key: impl Fn(&str, &mut Walk) -> bool,
) -> Option<BTreeMap<String, T>> {
    let mut out = BTreeMap::new();
    let mut own_keys = std::collections::HashSet::new();
    for (key, value, own) in entries(node, "a map", walk)? {
        let Some(name) = String::decode(&key, walk) else { continue };
        if own && !own_keys.insert(name.clone()) {
            walk.repeated_key(&key, &name);
            continue;
        }
        if !check_key(&name, walk) {
            continue;
        }
        if let Some(value) = walk.within(name.as_str(), |walk| read(&value, walk)) {
            out.insert(name, value);
        }
    }
    Some(out)
}

/// One of a few texts; written by `choice!`. Fields hold it as
/// `Option<T>`, `None` meaning that none was given.
pub trait Choice: Sized {
    /// Whether the empty text means that none was given.
    const EMPTY_IS_NONE: bool = false;

    /// The value of that text, or what is wrong with it.
    ///
    /// # Errors
    /// The text names no value.
    fn parse(text: &str) -> Result<Self, String>;

    /// The text of a value.
    fn text(&self) -> &'static str;
}

/// A choice as a field holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chosen<T>(pub Option<T>);

impl<T> Chosen<T> {
    /// Nothing was given.
    pub const NONE: Chosen<T> = Chosen(None);

    /// A given value.
    pub const fn some(value: T) -> Chosen<T> {
        Chosen(Some(value))
    }
}

impl<T> Default for Chosen<T> {
    fn default() -> Chosen<T> {
        Chosen(None)
    }
}

impl<T: PartialEq> PartialEq<T> for Chosen<T> {
    fn eq(&self, other: &T) -> bool {
        self.0.as_ref() == Some(other)
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Chosen<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl<T: Choice> Value for Chosen<T> {
    fn zero() -> Chosen<T> {
        Chosen(None)
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<Chosen<T>> {
        let text = String::decode(node, walk)?;
        if T::EMPTY_IS_NONE && text.is_empty() {
            return Some(Chosen(None));
        }
        match T::parse(&text) {
            Ok(value) => Some(Chosen(Some(value))),
            Err(message) => {
                walk.invalid(message);
                None
            }
        }
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.0.as_ref().map_or("", Choice::text).to_owned())
    }

    fn is_zero(&self) -> bool {
        self.0.is_none()
    }
}
