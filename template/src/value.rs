//! Values with the types that Go gives them.
//!
//! What a template can hold is a small part of Go, but that part must carry its
//! types: whether a number prints as `1` or `1e+06`, what may be compared, and
//! what a message calls a value all depend on them. `Any` stands for a variable
//! of type `interface {}` with a value in it: a function that returns one, or an
//! element of a map of such.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::FloatHistogram;
use parking_lot::Mutex;

use crate::time::{Duration, Location, Time};

/// A Go string: any bytes.
pub type Bytes = Arc<[u8]>;

/// A value and its type.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value at all: nil without a type, a field of nothing.
    Nothing,
    /// A value behind `interface {}`, or nil behind it.
    Any(Option<Arc<Value>>),
    /// `bool`
    Bool(bool),
    /// An integer; unsigned ones by their bits.
    Int(IntType, i64),
    /// `float64`
    Float(f64),
    /// `complex128`
    Complex(f64, f64),
    /// Text.
    Str(StrType, Bytes),
    /// A map from text.
    Map(Map),
    /// A slice.
    Slice(Slice),
    /// A pointer to a sample of a query's answer.
    Sample(Option<Arc<Sample>>),
    /// `time.Time`
    Time(Time),
    /// `*time.Time`
    TimePointer(Time),
    /// `*time.Duration`
    DurationPointer(Duration),
    /// `*time.Location`
    Location(Location),
    /// `*histogram.FloatHistogram`
    Histogram(Arc<FloatHistogram>),
    /// Named fields: the data of a template, a span of a histogram's buckets.
    Struct(Arc<Struct>),
}

/// Types whose values are integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntType {
    /// `int`
    Int,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint8`
    Uint8,
    /// `uint32`
    Uint32,
    /// `time.Month`
    Month,
    /// `time.Weekday`
    Weekday,
    /// `time.Duration`
    Duration,
    /// `histogram.CounterResetHint`
    ResetHint,
}

impl IntType {
    pub(crate) fn is_signed(self) -> bool {
        !matches!(self, IntType::Uint8 | IntType::Uint32 | IntType::ResetHint)
    }
}

/// Types whose values are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrType {
    /// `string`
    Plain,
    /// `template.HTML`: goes into a page as it is.
    Html,
}

/// A sample of a query's answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The labels by name.
    pub labels: Map,
    /// A float or a histogram.
    pub value: Value,
}

/// Types of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// `map[string]string`
    Strings,
    /// `map[string]interface {}`
    Any,
    /// `url.Values`
    UrlValues,
}

/// A map from text, in the order of its keys.
#[derive(Clone, Debug)]
pub struct Map {
    pub(crate) kind: MapType,
    pub(crate) entries: Arc<BTreeMap<Bytes, Value>>,
    /// How deep maps made by `args` hold each other here.
    pub(crate) depth: usize,
}

/// Types of slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceType {
    /// `[]string`
    Strings,
    /// `[]float64`
    Floats,
    /// `[]uint8`
    Octets,
    /// `[]histogram.Span`
    Spans,
    /// `template.queryResult`
    QueryResult,
}

/// A part of a list that others may share: sorting one sorts all.
#[derive(Clone, Debug)]
pub struct Slice {
    pub(crate) kind: SliceType,
    items: Arc<Mutex<Vec<Value>>>,
    start: usize,
    len: usize,
    is_nil: bool,
}

/// A value of several named fields.
#[derive(Debug)]
pub struct Struct {
    /// The type as Go names it.
    pub type_name: String,
    /// The fields in order.
    pub fields: Vec<(&'static str, Value)>,
}

/// A type, to be named or compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Any,
    Bool,
    Int(IntType),
    Float,
    Complex,
    Str(StrType),
    Map(MapType),
    Slice(SliceType),
    Sample,
    Time,
    TimePointer,
    DurationPointer,
    Location,
    Histogram,
    Struct(String),
    /// What Go's own template functions take: any value, unwrapped.
    Reflected,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Any => "interface {}",
            Type::Bool => "bool",
            Type::Int(kind) => match kind {
                IntType::Int => "int",
                IntType::Int32 => "int32",
                IntType::Int64 => "int64",
                IntType::Uint8 => "uint8",
                IntType::Uint32 => "uint32",
                IntType::Month => "time.Month",
                IntType::Weekday => "time.Weekday",
                IntType::Duration => "time.Duration",
                IntType::ResetHint => "histogram.CounterResetHint",
            },
            Type::Float => "float64",
            Type::Complex => "complex128",
            Type::Str(StrType::Plain) => "string",
            Type::Str(StrType::Html) => "template.HTML",
            Type::Map(MapType::Strings) => "map[string]string",
            Type::Map(MapType::Any) => "map[string]interface {}",
            Type::Map(MapType::UrlValues) => "url.Values",
            Type::Slice(SliceType::Strings) => "[]string",
            Type::Slice(SliceType::Floats) => "[]float64",
            Type::Slice(SliceType::Octets) => "[]uint8",
            Type::Slice(SliceType::Spans) => "[]histogram.Span",
            Type::Slice(SliceType::QueryResult) => "template.queryResult",
            Type::Sample => "*template.sample",
            Type::Time => "time.Time",
            Type::TimePointer => "*time.Time",
            Type::DurationPointer => "*time.Duration",
            Type::Location => "*time.Location",
            Type::Histogram => "*histogram.FloatHistogram",
            Type::Struct(name) => name,
            Type::Reflected => "reflect.Value",
        })
    }
}

impl Type {
    /// Whether nil without a type may stand for a value of the type.
    pub(crate) fn can_be_nil(&self) -> bool {
        matches!(
            self,
            Type::Any
                | Type::Map(_)
                | Type::Slice(_)
                | Type::Sample
                | Type::TimePointer
                | Type::DurationPointer
                | Type::Location
                | Type::Histogram
                | Type::Reflected
        )
    }

    /// The value that a type's variables start with, for those that can be nil.
    pub(crate) fn nil(&self) -> Value {
        match self {
            Type::Any => Value::Any(None),
            Type::Map(kind) => Value::Map(Map::new(*kind, BTreeMap::new())),
            Type::Slice(kind) => Value::Slice(Slice::nil(*kind)),
            Type::Sample => Value::Sample(None),
            _ => Value::Nothing,
        }
    }
}

impl Value {
    /// Text of type `string`.
    pub fn text(text: impl AsRef<[u8]>) -> Value {
        Value::Str(StrType::Plain, text.as_ref().into())
    }

    /// An integer of type `int`.
    pub(crate) fn int(value: i64) -> Value {
        Value::Int(IntType::Int, value)
    }

    /// The value behind an `interface {}`.
    pub fn any(value: Value) -> Value {
        match value {
            Value::Nothing => Value::Any(None),
            Value::Any(inner) => Value::Any(inner),
            value => Value::Any(Some(Arc::new(value))),
        }
    }

    /// The value inside an `interface {}`; others are as they are.
    pub(crate) fn opened(self) -> Value {
        match self {
            Value::Any(None) => Value::Nothing,
            Value::Any(Some(inner)) => (*inner).clone(),
            value => value,
        }
    }

    /// The type; of nothing there is none.
    pub(crate) fn type_of(&self) -> Option<Type> {
        Some(match self {
            Value::Nothing => return None,
            Value::Any(_) => Type::Any,
            Value::Bool(_) => Type::Bool,
            Value::Int(kind, _) => Type::Int(*kind),
            Value::Float(_) => Type::Float,
            Value::Complex(..) => Type::Complex,
            Value::Str(kind, _) => Type::Str(*kind),
            Value::Map(map) => Type::Map(map.kind),
            Value::Slice(slice) => Type::Slice(slice.kind),
            Value::Sample(_) => Type::Sample,
            Value::Time(_) => Type::Time,
            Value::TimePointer(_) => Type::TimePointer,
            Value::DurationPointer(_) => Type::DurationPointer,
            Value::Location(_) => Type::Location,
            Value::Histogram(_) => Type::Histogram,
            Value::Struct(of) => Type::Struct(of.type_name.clone()),
        })
    }

    /// The type's name, as messages have it.
    pub(crate) fn type_name(&self) -> String {
        self.type_of().map_or_else(|| "<nil>".to_owned(), |of| of.to_string())
    }

    /// Whether a condition takes the value for true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Nothing | Value::Any(None) | Value::Sample(None) => false,
            Value::Any(Some(inner)) => inner.is_true(),
            Value::Bool(value) => *value,
            Value::Int(_, value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Value::Str(_, text) => !text.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Slice(slice) => slice.len > 0,
            Value::Sample(Some(_))
            | Value::Time(_)
            | Value::TimePointer(_)
            | Value::DurationPointer(_)
            | Value::Location(_)
            | Value::Histogram(_)
            | Value::Struct(_) => true,
        }
    }

    /// Whether the value is nil, with or without a type.
    pub(crate) fn is_nil(&self) -> bool {
        match self {
            Value::Nothing | Value::Any(None) | Value::Sample(None) => true,
            Value::Slice(slice) => slice.is_nil,
            _ => false,
        }
    }
}

impl Map {
    pub(crate) fn new(kind: MapType, entries: BTreeMap<Bytes, Value>) -> Map {
        Map { kind, entries: Arc::new(entries), depth: 0 }
    }

    /// A `map[string]string`; of equal keys the last stays.
    pub fn of_strings<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Map {
        let entries = pairs.into_iter().map(|(name, value)| (name.as_bytes().into(), Value::text(value)));
        Map::new(MapType::Strings, entries.collect())
    }

    /// A `url.Values`: each key's values in order.
    pub fn of_url_values(pairs: &[(Vec<u8>, Vec<u8>)]) -> Map {
        let mut lists: BTreeMap<Bytes, Vec<Value>> = BTreeMap::new();
        for (name, value) in pairs {
            lists.entry(name.as_slice().into()).or_default().push(Value::text(value));
        }
        let entries =
            lists.into_iter().map(|(name, list)| (name, Value::Slice(Slice::new(SliceType::Strings, list))));
        Map::new(MapType::UrlValues, entries.collect())
    }

    /// An element, or what a missing one reads as.
    pub(crate) fn get(&self, key: &[u8]) -> Value {
        self.entries.get(key).cloned().unwrap_or_else(|| match self.kind {
            MapType::Strings => Value::text(""),
            MapType::Any => Value::Any(None),
            MapType::UrlValues => Value::Slice(Slice::nil(SliceType::Strings)),
        })
    }
}

impl Slice {
    pub(crate) fn new(kind: SliceType, items: Vec<Value>) -> Slice {
        let len = items.len();
        Slice { kind, items: Arc::new(Mutex::new(items)), start: 0, len, is_nil: false }
    }

    pub(crate) fn nil(kind: SliceType) -> Slice {
        Slice { is_nil: true, ..Slice::new(kind, Vec::new()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How far the slice could reach over its list.
    pub(crate) fn capacity(&self) -> usize {
        self.items.lock().len() - self.start
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value> {
        if index >= self.len {
            return None;
        }
        self.items.lock().get(self.start + index).cloned()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.len).filter_map(|index| self.get(index))
    }

    /// The part from `from` to `to`, which the caller has checked.
    pub(crate) fn part(&self, from: usize, to: usize) -> Slice {
        Slice { start: self.start + from, len: to - from, ..self.clone() }
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.is_nil
    }

    /// Sorts the list that all copies share, equal ones in their order.
    pub(crate) fn sort_by_key<K: Ord>(&self, key: impl Fn(&Value) -> K) {
        self.items.lock()[self.start..self.start + self.len].sort_by_cached_key(key);
    }
}

impl Sample {
    /// A sample as `query` returns it.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: Value) -> Sample {
        Sample { labels: Map::of_strings(labels), value }
    }
}

impl Struct {
    /// A struct without a name, whose fields are named `fields`.
    pub(crate) fn anonymous(fields: Vec<(&'static str, Value)>) -> Struct {
        let list: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name} {}", value.type_name())).collect();
        Struct { type_name: format!("struct {{ {} }}", list.join("; ")), fields }
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Value> {
        self.fields.iter().find(|(have, _)| have.as_bytes() == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_go_names() {
        assert_eq!(Value::int(1).type_name(), "int");
        assert_eq!(Value::Any(None).type_name(), "interface {}");
        let data = Struct::anonymous(vec![("A", Value::text("")), ("B", Value::Any(None))]);
        assert_eq!(data.type_name, "struct { A string; B interface {} }");
    }

    #[test]
    fn missing_elements_are_zero() {
        let map = Map::of_strings([("a", "b")]);
        assert!(matches!(map.get(b"x"), Value::Str(StrType::Plain, text) if text.is_empty()));
        assert!(Map::new(MapType::Any, BTreeMap::new()).get(b"x").is_nil());
    }

    #[test]
    fn sorting_a_slice_sorts_its_copies() {
        let slice = Slice::new(SliceType::Strings, vec![Value::text("b"), Value::text("a")]);
        let copy = slice.clone();
        slice.sort_by_key(|value| match value {
            Value::Str(_, text) => text.clone(),
            _ => Arc::from([]),
        });
        assert!(matches!(copy.get(0), Some(Value::Str(_, text)) if &*text == b"a"));
        assert!(copy.get(2).is_none());
        assert_eq!(copy.part(1, 2).capacity(), 1);
    }
}
