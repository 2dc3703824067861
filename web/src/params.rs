//! Parameters of requests: query string and form body merged, repeated keys
//! kept, times and durations in upstream's forms.

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use model::Matcher;
use model::time::TimeRange;

use crate::error::ApiError;

/// The earliest and the latest time that clients may name as text.
/// Source: Prometheus `web/api/v1`, `MinTime` and `MaxTime`.
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// What those texts mean, in ms.
pub const MIN_TIME_MS: i64 = i64::MIN / 1000;
/// See [`MIN_TIME_MS`].
pub const MAX_TIME_MS: i64 = i64::MAX / 1000;

/// Most bytes of a form body, as Go's.
pub const FORM_BYTES_MAX: usize = 10 << 20;

/// The parameters of one request in their order, those of the body first.
#[derive(Clone, Debug, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
    /// What was malformed first; the pair it stood in is left out.
    fault: Option<FormError>,
}

/// Why a form, or a query string, is malformed. Source: Go's `net/url`, `ParseQuery`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A `%` without two hexadecimal digits after it.
    #[error("invalid URL escape {}", model::labels::go_quote(.0))]
    Escape(String),
    /// Semicolons once separated pairs; browsers and proxies disagree on them.
    #[error("invalid semicolon separator in query")]
    Semicolon,
}

impl Params {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// The body is too large, broken off, or no form.
    pub async fn read(request: Request<Body>) -> Result<Params, ApiError> {
        let (parts, body) = request.into_parts();
        let mut params = Params::default();
        let form = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(
            |kind| {
                kind.split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .eq_ignore_ascii_case("application/x-www-form-urlencoded")
            },
        );
        if parts.method != Method::GET && parts.method != Method::HEAD && form {
            let body = to_bytes(body, FORM_BYTES_MAX)
                .await
                .map_err(|error| ApiError::bad_data(format!("error parsing form values: {error}")))?;
            params.add(&body);
        }
        params.add(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(params)
    }

    /// The parameters of a query string alone.
    pub fn from_query(query: &str) -> Params {
        let mut params = Params::default();
        params.add(query.as_bytes());
        params
    }

    fn add(&mut self, encoded: &[u8]) {
        for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            match parse_pair(pair) {
                Ok(pair) => self.pairs.push(pair),
                Err(fault) => {
                    self.fault.get_or_insert(fault);
                }
            }
        }
    }

    /// All parameters in their order.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// What was malformed first.
    pub(crate) fn fault(&self) -> Option<&FormError> {
        self.fault.as_ref()
    }

    /// Refuses a request with a malformed pair. Most endpoints look past such
    /// pairs, as upstream's do; those that do not call this.
    ///
    /// # Errors
    /// There was one.
    pub fn well_formed(&self) -> Result<(), ApiError> {
        match &self.fault {
            None => Ok(()),
            Some(fault) => Err(ApiError::bad_data(format!("error parsing form values: {fault}"))),
        }
    }

    /// The first value of a parameter, empty where it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// A time, `default_ms` where it is missing.
    ///
    /// # Errors
    /// It is no time.
    pub fn time_ms(&self, name: &str, default_ms: i64) -> Result<i64, ApiError> {
        self.unnamed_time_ms(name, default_ms).map_err(|error| ApiError::parameter(name, error.message))
    }

    /// As [`Params::time_ms`], without the parameter's name in front of faults.
    ///
    /// # Errors
    /// It is no time.
    pub fn unnamed_time_ms(&self, name: &str, default_ms: i64) -> Result<i64, ApiError> {
        match self.get(name) {
            "" => Ok(default_ms),
            text => parse_time_ms(text).ok_or_else(|| {
                let text = model::labels::go_quote(text);
                ApiError::bad_data(format!(
                    "invalid time value for '{name}': cannot parse {text} to a valid timestamp"
                ))
            }),
        }
    }

    /// The range of `start` and `end`, all of time where they are missing.
    ///
    /// # Errors
    /// Either is no time.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        let start_ms = self.time_ms("start", MIN_TIME_MS)?;
        let end_ms = self.time_ms("end", MAX_TIME_MS)?;
        Ok(TimeRange::new(start_ms, end_ms))
    }

    /// A non-negative whole number, 0 where it is missing.
    ///
    /// # Errors
    /// It is none.
    pub fn limit(&self) -> Result<usize, ApiError> {
        match self.get("limit") {
            "" => Ok(0),
            text => match text.parse::<i64>() {
                Ok(limit) if limit >= 0 => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
                Ok(_) => Err(ApiError::parameter("limit", "limit must be non-negative")),
                Err(error) => {
                    let reason = int_reason(error.kind());
                    let text = model::labels::go_quote(text);
                    Err(ApiError::parameter("limit", format_args!("strconv.Atoi: parsing {text}: {reason}")))
                }
            },
        }
    }
}

/// Takes escapes of a path away; what is no escape is left.
pub fn unescape_path(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let hex = |at: usize| rest.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = match (first, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                &after[2..]
            }
            (byte, ..) => {
                out.push(*byte);
                after
            }
        };
    }
    out
}

/// What Go says of a text that is no whole number.
pub fn int_reason(kind: &std::num::IntErrorKind) -> &'static str {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match kind {
        PosOverflow | NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

fn parse_pair(pair: &[u8]) -> Result<(String, String), FormError> {
    if pair.contains(&b';') {
        return Err(FormError::Semicolon);
    }
    let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    Ok((unescape(&pair[..at])?, unescape(pair.get(at + 1..).unwrap_or_default())?))
}

/// Takes escapes away; what is no UTF-8 after that becomes U+FFFD.
fn unescape(text: &[u8]) -> Result<String, FormError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let hex = |at: usize| rest.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = match (first, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                &after[2..]
            }
            (b'%', ..) => {
                let shown = &rest[..rest.len().min(3)];
                return Err(FormError::Escape(String::from_utf8_lossy(shown).into_owned()));
            }
            (b'+', ..) => {
                out.push(b' ');
                after
            }
            (byte, ..) => {
                out.push(*byte);
                after
            }
        };
    }
    Ok(String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The matchers of a series selector; no feature changes their syntax.
///
/// # Errors
/// It is none.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, promql::ParseErrors> {
    promql::parse_selector(text, promql::Features::default())
}

/// Milliseconds of a time: seconds as a number, or RFC 3339.
///
/// ```
/// assert_eq!(web::params::parse_time_ms("1435781451.781"), Some(1_435_781_451_781));
/// assert_eq!(web::params::parse_time_ms("2015-07-01T20:10:51.781Z"), Some(1_435_781_451_781));
/// assert_eq!(web::params::parse_time_ms("yesterday"), None);
/// ```
pub fn parse_time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = model::float::parse(text) {
        if seconds.is_nan() {
            return None;
        }
        let (whole, fraction) = (seconds.trunc(), seconds.fract());
        // Times that no clock will show are the last that there is.
        let ms = if seconds.is_finite() { whole * 1000.0 + (fraction * 1000.0).round() } else { seconds };
        return Some((ms as i64).clamp(MIN_TIME_MS, MAX_TIME_MS));
    }
    match text {
        MIN_TIME_TEXT => return Some(MIN_TIME_MS),
        MAX_TIME_TEXT => return Some(MAX_TIME_MS),
        _ => {}
    }
    // RFC 3339 alone: the parser also takes forms without a time or a zone.
    let strict = text.len() >= 20
        && text.as_bytes().get(10) == Some(&b'T')
        && text.get(17..19).is_some_and(|seconds| seconds < "60")
        && (text.ends_with('Z')
            || text.as_bytes().get(text.len().wrapping_sub(6)).is_some_and(|b| matches!(b, b'+' | b'-')))
        && !text.contains('[');
    if !strict {
        return None;
    }
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_nanosecond().div_euclid(1_000_000) as i64)
}

/// Why a duration parameter is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Neither a number nor a duration.
    #[error("cannot parse {} to a valid duration", model::labels::go_quote(.0))]
    Invalid(String),
    /// Beyond 64-bit nanoseconds.
    #[error("cannot parse {} to a valid duration. It overflows int64", model::labels::go_quote(.0))]
    Overflow(String),
}

/// Milliseconds of a duration: seconds as a number, or `1h30m`.
///
/// # Errors
/// It is neither, or too long.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    if let Ok(seconds) = model::float::parse(text) {
        let ns = seconds * 1e9;
        if ns > i64::MAX as f64 || ns < i64::MIN as f64 {
            return Err(DurationError::Overflow(text.to_owned()));
        }
        // Not a number is the least of all durations, as upstream's conversion has it.
        return Ok(if ns.is_nan() { i64::MIN / 1_000_000 } else { (ns / 1e6) as i64 });
    }
    model::time::parse_duration_ms(text).map_err(|_| DurationError::Invalid(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(parse_time_ms("0"), Some(0));
        assert_eq!(parse_time_ms("-1.5"), Some(-1500));
        assert_eq!(parse_time_ms("1e3"), Some(1_000_000));
        assert_eq!(parse_time_ms("2015-06-03T14:21:58.555+01:00"), Some(1_433_337_718_555));
        assert_eq!(parse_time_ms(MIN_TIME_TEXT), Some(MIN_TIME_MS));
        for bad in ["", "foo", "30s", "2015-06-03", "2015-06-03T14:21", "NaN", "2015-06-03t14:21:00z"] {
            assert_eq!(parse_time_ms(bad), None, "{bad}");
        }
        assert_eq!(parse_time_ms("2015-06-03T14:21:60Z"), None);
        assert_eq!(parse_time_ms("1e300"), Some(MAX_TIME_MS));
        assert_eq!(parse_time_ms("-Inf"), Some(MIN_TIME_MS));
    }

    #[test]
    fn durations_are_seconds_or_units() {
        assert_eq!(parse_duration_ms("5"), Ok(5000));
        assert_eq!(parse_duration_ms("0.25"), Ok(250));
        assert_eq!(parse_duration_ms("1h30m"), Ok(5_400_000));
        assert!(matches!(parse_duration_ms("soon"), Err(DurationError::Invalid(_))));
        assert!(matches!(parse_duration_ms("1e300"), Err(DurationError::Overflow(_))));
        assert!(matches!(parse_duration_ms("1e400"), Err(DurationError::Invalid(_))));
        assert!(parse_duration_ms("NaN").is_ok_and(|ms| ms < 0));
    }

    #[test]
    fn repeated_keys_are_all_kept() {
        let params = Params::from_query("match%5B%5D=up&match[]=down&limit=3&x=%C3%A9");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["up", "down"]);
        assert_eq!(params.limit(), Ok(3));
        assert_eq!(params.get("x"), "é");
        assert!(Params::from_query("limit=-1").limit().is_err());
        assert!(Params::from_query("limit=x").limit().is_err());
    }

    #[test]
    fn malformed_pairs_are_left_out_and_remembered() {
        let params = Params::from_query("a=1&b=%ZZ&c=x;d=2&&=&e=%ff+%2B&f&%41=9");
        assert_eq!(params.get("a"), "1");
        assert_eq!((params.get("b"), params.get("c"), params.get("d")), ("", "", ""));
        assert_eq!((params.get("e"), params.get("f"), params.get("A")), ("\u{fffd} +", "", "9"));
        assert_eq!(params.fault, Some(FormError::Escape("%ZZ".to_owned())));
        assert_eq!(Params::from_query("a;b").fault, Some(FormError::Semicolon));
        assert!(Params::from_query("a=%4").well_formed().is_err());
        assert!(Params::from_query("a=1").well_formed().is_ok());
    }
}
