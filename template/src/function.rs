//! The functions that a template may call: their names and what they take.
//!
//! Go's own functions take values of any type and look at them themselves; those
//! of Prometheus have parameters of fixed types, which the executor checks.

use crate::value::{IntType, SliceType, StrType, Type};

/// A parameter's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// Any value, without its `interface {}`.
    Reflected,
    /// `interface {}`
    Any,
    Str,
    Sample,
    QueryResult,
    Int,
    Duration,
    Time,
    Location,
}

impl Param {
    pub(crate) fn type_of(self) -> Type {
        match self {
            Param::Reflected => Type::Reflected,
            Param::Any => Type::Any,
            Param::Str => Type::Str(StrType::Plain),
            Param::Sample => Type::Sample,
            Param::QueryResult => Type::Slice(SliceType::QueryResult),
            Param::Int => Type::Int(IntType::Int),
            Param::Duration => Type::Int(IntType::Duration),
            Param::Time => Type::Time,
            Param::Location => Type::Location,
        }
    }
}

/// What a function takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature {
    pub(crate) params: &'static [Param],
    /// The last parameter may be given any number of times.
    pub(crate) variadic: bool,
    /// Why templates cannot call it: its results are not one value, or one and an error.
    pub(crate) fault: Option<&'static str>,
}

impl Signature {
    pub(crate) const fn of(params: &'static [Param]) -> Signature {
        Signature { params, variadic: false, fault: None }
    }

    const fn variadic(params: &'static [Param]) -> Signature {
        Signature { params, variadic: true, fault: None }
    }
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    // Go's.
    And,
    Call,
    Html,
    Index,
    Slice,
    Js,
    Len,
    Not,
    Or,
    Print,
    Printf,
    Println,
    UrlQuery,
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
    Ne,
    // Prometheus's.
    Query,
    First,
    Label,
    Value,
    StrValue,
    Args,
    ReReplaceAll,
    SafeHtml,
    Match,
    Title,
    ToUpper,
    ToLower,
    GraphLink,
    TableLink,
    SortByLabel,
    StripPort,
    StripDomain,
    Humanize,
    Humanize1024,
    HumanizeDuration,
    HumanizePercentage,
    HumanizeTimestamp,
    ToTime,
    ToDuration,
    Now,
    PathPrefix,
    ExternalUrl,
    ParseDuration,
    UrlQueryEscape,
    /// Runs a template by a name that is a value; in pages only.
    Tmpl,
    /// What the escaping of pages puts into pipelines.
    Escape(crate::html::Escaper),
}

/// The functions of Prometheus by name.
const OURS: &[(&str, Function)] = &[
    ("args", Function::Args),
    ("externalURL", Function::ExternalUrl),
    ("first", Function::First),
    ("graphLink", Function::GraphLink),
    ("humanize", Function::Humanize),
    ("humanize1024", Function::Humanize1024),
    ("humanizeDuration", Function::HumanizeDuration),
    ("humanizePercentage", Function::HumanizePercentage),
    ("humanizeTimestamp", Function::HumanizeTimestamp),
    ("label", Function::Label),
    ("match", Function::Match),
    ("now", Function::Now),
    ("parseDuration", Function::ParseDuration),
    ("pathPrefix", Function::PathPrefix),
    ("query", Function::Query),
    ("reReplaceAll", Function::ReReplaceAll),
    ("safeHtml", Function::SafeHtml),
    ("sortByLabel", Function::SortByLabel),
    ("stripDomain", Function::StripDomain),
    ("stripPort", Function::StripPort),
    ("strvalue", Function::StrValue),
    ("tableLink", Function::TableLink),
    ("title", Function::Title),
    ("toDuration", Function::ToDuration),
    ("toLower", Function::ToLower),
    ("toTime", Function::ToTime),
    ("toUpper", Function::ToUpper),
    ("urlQueryEscape", Function::UrlQueryEscape),
    ("value", Function::Value),
];

/// Go's functions by name.
const GO: &[(&str, Function)] = &[
    ("and", Function::And),
    ("call", Function::Call),
    ("eq", Function::Eq),
    ("ge", Function::Ge),
    ("gt", Function::Gt),
    ("html", Function::Html),
    ("index", Function::Index),
    ("js", Function::Js),
    ("le", Function::Le),
    ("len", Function::Len),
    ("lt", Function::Lt),
    ("ne", Function::Ne),
    ("not", Function::Not),
    ("or", Function::Or),
    ("print", Function::Print),
    ("printf", Function::Printf),
    ("println", Function::Println),
    ("slice", Function::Slice),
    ("urlquery", Function::UrlQuery),
];

/// The names of the functions that Prometheus adds to Go's, sorted.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    OURS.iter().map(|(name, _)| *name)
}

impl Function {
    /// A function that a text may name.
    pub(crate) fn by_name(name: &[u8], in_page: bool) -> Option<Function> {
        if name == b"tmpl" {
            return in_page.then_some(Function::Tmpl);
        }
        let known = OURS.iter().chain(GO).find(|(have, _)| have.as_bytes() == name);
        known.map(|(_, function)| *function)
    }

    pub(crate) fn signature(self) -> Signature {
        use Function as F;
        use Param::{Any, QueryResult, Reflected, Sample, Str};
        match self {
            F::And | F::Or | F::Call | F::Index | F::Slice | F::Eq => {
                Signature::variadic(&[Reflected, Reflected])
            }
            F::Len | F::Not => Signature::of(&[Reflected]),
            F::Ne | F::Lt | F::Le | F::Gt | F::Ge => Signature::of(&[Reflected, Reflected]),
            F::Html | F::Js | F::UrlQuery | F::Print | F::Println | F::Args | F::Escape(_) => {
                Signature::variadic(&[Any])
            }
            F::Printf => Signature::variadic(&[Str, Any]),
            F::First => Signature::of(&[QueryResult]),
            F::Label => Signature::of(&[Str, Sample]),
            F::Value | F::StrValue => Signature::of(&[Sample]),
            F::ReReplaceAll => Signature::of(&[Str, Str, Str]),
            F::Match => Signature::of(&[Str, Str]),
            F::SortByLabel => Signature::of(&[Str, QueryResult]),
            F::Humanize
            | F::Humanize1024
            | F::HumanizeDuration
            | F::HumanizePercentage
            | F::HumanizeTimestamp
            | F::ToTime
            | F::ToDuration => Signature::of(&[Any]),
            F::Now | F::PathPrefix | F::ExternalUrl => Signature::of(&[]),
            F::Tmpl => Signature::of(&[Str, Any]),
            F::Query
            | F::SafeHtml
            | F::Title
            | F::ToUpper
            | F::ToLower
            | F::GraphLink
            | F::TableLink
            | F::StripPort
            | F::StripDomain
            | F::ParseDuration
            | F::UrlQueryEscape => Signature::of(&[Str]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(OURS.is_sorted_by_key(|(name, _)| *name));
        assert!(GO.is_sorted_by_key(|(name, _)| *name));
        assert_eq!(function_names().count(), 29);
        assert_eq!(Function::by_name(b"humanize", false), Some(Function::Humanize));
        assert_eq!(Function::by_name(b"tmpl", false), None);
        assert_eq!(Function::by_name(b"tmpl", true), Some(Function::Tmpl));
    }
}
