//! Methods and fields of values.

use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram, Span};

use crate::builtin::query_escaped;
use crate::error::CallError;
use crate::function::{Param, Signature};
use crate::text;
use crate::time::{self, Duration, Location, Time};
use crate::value::{IntType, Map, MapType, Slice, SliceType, Struct, Value};

/// A method that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) signature: Signature,
}

const fn faulty(fault: &'static str) -> Signature {
    Signature { params: &[], variadic: false, fault: Some(fault) }
}

const THREE: Signature = faulty("function {} has 3 return values; should be 1 or 2");
const SECOND_INT: Signature =
    faulty("invalid function signature for {}: second return value should be error; is int");
const NO_RESULT: &str = "function {} has 0 return values; should be 1 or 2";

/// A method of the value by name.
pub(crate) fn find(receiver: &Value, name: &[u8]) -> Option<Method> {
    let signature = match receiver {
        Value::Time(_) | Value::TimePointer(_) => of_time(name)?,
        Value::Int(IntType::Duration, _) | Value::DurationPointer(_) => of_duration(name)?,
        Value::Int(IntType::Month | IntType::Weekday, _) | Value::Location(_) if name == b"String" => {
            Signature::of(&[])
        }
        Value::Map(map) if map.kind == MapType::UrlValues => of_url_values(name)?,
        Value::Histogram(_) => match name {
            b"String" | b"TestExpression" | b"UsesCustomBuckets" | b"Copy" | b"HasOverflow" => {
                Signature::of(&[])
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Method { signature })
}

fn of_time(name: &[u8]) -> Option<Signature> {
    use Param as P;
    Some(match name {
        b"Unix" | b"UnixMilli" | b"UnixMicro" | b"UnixNano" | b"Year" | b"Month" | b"Day" | b"Hour"
        | b"Minute" | b"Second" | b"Nanosecond" | b"Weekday" | b"YearDay" | b"UTC" | b"Local"
        | b"Location" | b"IsZero" | b"IsDST" | b"String" | b"GoString" => Signature::of(&[]),
        b"Format" => Signature::of(&[P::Str]),
        b"Add" | b"Round" | b"Truncate" => Signature::of(&[P::Duration]),
        b"AddDate" => Signature::of(&[P::Int, P::Int, P::Int]),
        b"Sub" | b"Equal" | b"Before" | b"After" | b"Compare" => Signature::of(&[P::Time]),
        b"In" => Signature::of(&[P::Location]),
        b"Date" | b"Clock" => THREE,
        b"Zone" | b"ISOWeek" => SECOND_INT,
        _ => return None,
    })
}

fn of_duration(name: &[u8]) -> Option<Signature> {
    Some(match name {
        b"String" | b"Seconds" | b"Minutes" | b"Hours" | b"Milliseconds" | b"Microseconds"
        | b"Nanoseconds" | b"Abs" => Signature::of(&[]),
        b"Round" | b"Truncate" => Signature::of(&[Param::Duration]),
        _ => return None,
    })
}

fn of_url_values(name: &[u8]) -> Option<Signature> {
    Some(match name {
        b"Get" | b"Has" => Signature::of(&[Param::Str]),
        b"Encode" | b"Clone" => Signature::of(&[]),
        b"Set" | b"Add" => {
            Signature { params: &[Param::Str, Param::Str], variadic: false, fault: Some(NO_RESULT) }
        }
        b"Del" => Signature { params: &[Param::Str], variadic: false, fault: Some(NO_RESULT) },
        _ => return None,
    })
}

/// Calls a method that [`find`] has found.
pub(crate) fn call(receiver: &Value, name: &[u8], args: &[Value]) -> Result<Value, CallError> {
    if let (b"In", [Value::Nothing]) = (name, args) {
        return Err(CallError::new("time: missing Location in call to Time.In"));
    }
    let result = match receiver {
        Value::Time(time) | Value::TimePointer(time) => time_method(*time, name, args),
        Value::Int(IntType::Duration, nanos) => duration_method(Duration(*nanos), name, args),
        Value::DurationPointer(duration) => duration_method(*duration, name, args),
        Value::Int(kind, number) => time::int_name(*kind, *number).map(Value::text),
        Value::Location(location) => Some(Value::text(location.to_string())),
        Value::Map(map) => url_values_method(map, name, args),
        Value::Histogram(histogram) => histogram_method(histogram, name),
        _ => None,
    };
    result.ok_or_else(|| CallError::new(format!("{} cannot be called", text::lossy(name))))
}

fn time_method(time: Time, name: &[u8], args: &[Value]) -> Option<Value> {
    let date = time.date();
    let second = time.second_of_day();
    let int64 = |value: i64| Value::Int(IntType::Int64, value);
    Some(match (name, args) {
        (b"Unix", []) => int64(time.seconds),
        (b"UnixMilli", []) => {
            int64(time.seconds.wrapping_mul(1000).wrapping_add(i64::from(time.nanos / 1_000_000)))
        }
        (b"UnixMicro", []) => {
            int64(time.seconds.wrapping_mul(1_000_000).wrapping_add(i64::from(time.nanos / 1000)))
        }
        (b"UnixNano", []) => int64(time.unix_nanos()),
        (b"Year", []) => Value::int(date.year),
        (b"Month", []) => Value::Int(IntType::Month, i64::from(date.month)),
        (b"Day", []) => Value::int(i64::from(date.day)),
        (b"YearDay", []) => Value::int(i64::from(date.year_day)),
        (b"Weekday", []) => Value::Int(IntType::Weekday, i64::from(time.weekday())),
        (b"Hour", []) => Value::int(second / 3600),
        (b"Minute", []) => Value::int(second / 60 % 60),
        (b"Second", []) => Value::int(second % 60),
        (b"Nanosecond", []) => Value::int(i64::from(time.nanos)),
        (b"UTC", []) => Value::Time(Time { location: Location::Utc, ..time }),
        (b"Local", []) => Value::Time(Time { location: Location::Local, ..time }),
        (b"In", [Value::Location(location)]) => Value::Time(Time { location: *location, ..time }),
        (b"Location", []) => Value::Location(time.location),
        (b"IsZero", []) => Value::Bool(time.is_zero()),
        (b"IsDST", []) => Value::Bool(false),
        (b"String", []) => Value::text(time.to_string()),
        (b"GoString", []) => Value::text(time.go_syntax()),
        (b"Format", [Value::Str(_, layout)]) => Value::text(time.format(layout)),
        (b"Add", [Value::Int(_, nanos)]) => Value::Time(time.add(Duration(*nanos))),
        (b"Round", [Value::Int(_, nanos)]) => Value::Time(time.round(Duration(*nanos))),
        (b"Truncate", [Value::Int(_, nanos)]) => Value::Time(time.truncate(Duration(*nanos))),
        (b"AddDate", [Value::Int(_, years), Value::Int(_, months), Value::Int(_, days)]) => {
            Value::Time(time.add_date(*years, *months, *days))
        }
        (b"Sub", [Value::Time(other)]) => Value::Int(IntType::Duration, time.sub(*other).0),
        (b"Equal", [Value::Time(other)]) => Value::Bool(time.instant() == other.instant()),
        (b"Before", [Value::Time(other)]) => Value::Bool(time.instant() < other.instant()),
        (b"After", [Value::Time(other)]) => Value::Bool(time.instant() > other.instant()),
        (b"Compare", [Value::Time(other)]) => Value::int(time.instant().cmp(&other.instant()) as i64),
        _ => return None,
    })
}

fn duration_method(duration: Duration, name: &[u8], args: &[Value]) -> Option<Value> {
    let int64 = |value: i64| Value::Int(IntType::Int64, value);
    let of = |duration: Duration| Value::Int(IntType::Duration, duration.0);
    Some(match (name, args) {
        (b"String", []) => Value::text(duration.to_string()),
        (b"Seconds", []) => Value::Float(duration.in_units(1_000_000_000)),
        (b"Minutes", []) => Value::Float(duration.in_units(60_000_000_000)),
        (b"Hours", []) => Value::Float(duration.in_units(3_600_000_000_000)),
        (b"Milliseconds", []) => int64(duration.0 / 1_000_000),
        (b"Microseconds", []) => int64(duration.0 / 1_000),
        (b"Nanoseconds", []) => int64(duration.0),
        (b"Abs", []) => of(Duration(duration.0.saturating_abs())),
        (b"Round", [Value::Int(_, unit)]) => of(duration.round(Duration(*unit))),
        (b"Truncate", [Value::Int(_, unit)]) => of(duration.truncate(Duration(*unit))),
        _ => return None,
    })
}

fn url_values_method(map: &Map, name: &[u8], args: &[Value]) -> Option<Value> {
    match (name, args) {
        (b"Get", [Value::Str(_, key)]) => match map.get(key) {
            Value::Slice(list) => Some(list.get(0).unwrap_or_else(|| Value::text(""))),
            _ => None,
        },
        (b"Has", [Value::Str(_, key)]) => Some(Value::Bool(map.entries.contains_key(key))),
        (b"Encode", []) => {
            let mut pairs = Vec::new();
            for (key, list) in map.entries.iter() {
                let Value::Slice(list) = list else { continue };
                for value in list.iter() {
                    let Value::Str(_, value) = value else { continue };
                    pairs.push([query_escaped(key), query_escaped(&value)].join(&b'='));
                }
            }
            Some(Value::text(pairs.join(&b'&')))
        }
        (b"Clone", []) => Some(Value::Map(map.clone())),
        _ => None,
    }
}

fn histogram_method(histogram: &Arc<FloatHistogram>, name: &[u8]) -> Option<Value> {
    Some(match name {
        b"String" => Value::text(histogram.to_string()),
        b"TestExpression" => Value::text(histogram.test_expression()),
        b"UsesCustomBuckets" => Value::Bool(histogram.uses_custom_buckets()),
        b"HasOverflow" => Value::Bool(histogram.has_overflow()),
        b"Copy" => Value::Histogram(histogram.clone()),
        _ => return None,
    })
}

/// A field of a struct, or of what a pointer points to.
pub(crate) fn struct_field(receiver: &Value, name: &[u8]) -> Option<Value> {
    match receiver {
        Value::Struct(of) => of.get(name).cloned(),
        Value::Sample(Some(sample)) => match name {
            b"Labels" => Some(Value::Map(sample.labels.clone())),
            b"Value" => Some(Value::any(sample.value.clone())),
            _ => None,
        },
        Value::Histogram(histogram) => histogram_struct(histogram).get(name).cloned(),
        _ => None,
    }
}

/// Whether the type has such a field and keeps it to itself.
pub(crate) fn is_hidden_field(receiver: &Value, name: &[u8]) -> bool {
    matches!(receiver, Value::Time(_) | Value::TimePointer(_)) && matches!(name, b"wall" | b"ext" | b"loc")
}

/// A histogram's fields as Go has them.
pub(crate) fn histogram_struct(histogram: &FloatHistogram) -> Struct {
    let list = |kind: SliceType, items: Vec<Value>| {
        Value::Slice(if items.is_empty() { Slice::nil(kind) } else { Slice::new(kind, items) })
    };
    let floats =
        |values: &[f64]| list(SliceType::Floats, values.iter().map(|value| Value::Float(*value)).collect());
    let spans = |spans: &[Span]| {
        let spans = spans.iter().map(|span| {
            Value::Struct(Arc::new(Struct {
                type_name: "histogram.Span".to_owned(),
                fields: vec![
                    ("Offset", Value::Int(IntType::Int32, i64::from(span.offset))),
                    ("Length", Value::Int(IntType::Uint32, i64::from(span.length))),
                ],
            }))
        });
        list(SliceType::Spans, spans.collect())
    };
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    };
    Struct {
        type_name: "histogram.FloatHistogram".to_owned(),
        fields: vec![
            ("CounterResetHint", Value::Int(IntType::ResetHint, hint)),
            ("Schema", Value::Int(IntType::Int32, i64::from(histogram.schema))),
            ("ZeroThreshold", Value::Float(histogram.zero_threshold)),
            ("ZeroCount", Value::Float(histogram.zero_count)),
            ("Count", Value::Float(histogram.count)),
            ("Sum", Value::Float(histogram.sum)),
            ("PositiveSpans", spans(&histogram.positive_spans)),
            ("NegativeSpans", spans(&histogram.negative_spans)),
            ("PositiveBuckets", floats(&histogram.positive_buckets)),
            ("NegativeBuckets", floats(&histogram.negative_buckets)),
            ("CustomValues", floats(&histogram.custom_values)),
        ],
    }
}
