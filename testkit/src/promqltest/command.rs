//! From a script's lines to commands.

use std::fmt;

use model::Labels;
use model::matcher::GoRegex;
use model::time::parse_duration_ms;
use promql::{Features, SequenceValue, parse_series_description};

use super::ScriptError;
use super::load::{Load, StartTimestamps};

/// One command.
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// A text that is expected.
#[derive(Debug)]
pub(super) enum Text {
    Any,
    Equal(String),
    Matching(GoRegex),
}

impl Text {
    pub(super) fn accepts(&self, text: &str) -> bool {
        match self {
            Text::Any => true,
            Text::Equal(expected) => expected == text,
            Text::Matching(regex) => regex.is_match(text),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Any => f.write_str("of any kind"),
            Text::Equal(text) => write!(f, "matching {text:?}"),
            Text::Matching(regex) => write!(f, "matching pattern {:?}", regex.as_str()),
        }
    }
}

/// What is said of annotations of one kind.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// At least one must be there; nothing is said of the text.
    pub(super) some: bool,
    pub(super) none: bool,
    /// Each must match one, and each one must match any of these.
    pub(super) texts: Vec<Text>,
}

/// The value that is expected.
pub(super) enum Expectation {
    /// Series, in the order listed.
    Series(Vec<(Labels, Vec<SequenceValue>)>),
    Scalar(f64),
    String(String),
    RangeVector {
        series: Vec<(Labels, Vec<SequenceValue>)>,
        start_ms: i64,
        step_ms: i64,
    },
}

/// One evaluation.
pub(super) struct Eval {
    pub(super) text: String,
    pub(super) instant: bool,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) step_ms: i64,
    pub(super) ordered: bool,
    pub(super) fail: Option<Text>,
    pub(super) warn: Annotations,
    pub(super) info: Annotations,
    pub(super) expected: Expectation,
}

/// Parses a script: commands with the number of their first line.
pub(super) fn parse(script: &str, features: Features) -> Result<Vec<(usize, Command)>, ScriptError> {
    let lines: Vec<&str> =
        script.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        let line = lines[at];
        at += 1;
        if line.is_empty() {
            continue;
        }
        let word = line.split_whitespace().next().unwrap_or("").to_lowercase();
        let mut block = Block { lines: &lines, at };
        let command = match word.as_str() {
            "clear" => Ok(Command::Clear),
            word if word.starts_with("load") => load(line, &mut block).map(Command::Load),
            word if word.starts_with("eval") => {
                eval(line, &mut block, features).map(|eval| Command::Eval(Box::new(eval)))
            }
            _ => Err(format!("invalid command {line:?}")),
        };
        at = block.at;
        let command = command.map_err(|message| ScriptError { line: block.at.max(first + 1), message })?;
        commands.push((first + 1, command));
    }
    Ok(commands)
}

/// The lines of a command up to the next empty one.
struct Block<'a> {
    lines: &'a [&'a str],
    at: usize,
}

impl<'a> Block<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at).copied().filter(|line| !line.is_empty())?;
        self.at += 1;
        Some(line)
    }

    fn skip(&mut self) {
        while self.next().is_some() {}
    }
}

fn load(line: &str, block: &mut Block<'_>) -> Result<Load, String> {
    let mut words = line.splitn(2, char::is_whitespace);
    let with_nhcb = match words.next() {
        Some("load") => false,
        Some("load_with_nhcb") => true,
        _ => return Err(format!("invalid load command: {line:?}")),
    };
    let step = words.next().map(str::trim).unwrap_or("");
    let step_ms =
        parse_duration_ms(step).map_err(|error| format!("invalid step definition {step:?}: {error}"))?;
    let mut load = Load { step_ms, with_nhcb, series: Vec::new() };
    let mut starts: Option<(Labels, StartTimestamps)> = None;
    while let Some(line) = block.next() {
        if let Some((metric, items)) = split_start_timestamps(line) {
            if starts.is_some() {
                return Err(format!("start timestamps {line:?} follow start timestamps"));
            }
            let (labels, _) = parse_series_description(metric).map_err(|error| error.to_string())?;
            starts = Some((labels, StartTimestamps::parse(items)?));
            continue;
        }
        let (labels, values) = series(line)?;
        let starts = match starts.take() {
            None => None,
            Some((for_labels, starts)) => {
                if for_labels != labels || starts.len() != values.len() {
                    return Err(format!("start timestamps before {line:?} do not fit"));
                }
                Some(starts)
            }
        };
        load.add(labels, values, starts);
    }
    if starts.is_some() {
        return Err("start timestamps without series".to_owned());
    }
    Ok(load)
}

/// `metric{labels}@st items`, cut in two.
fn split_start_timestamps(line: &str) -> Option<(&str, &str)> {
    let mut quoted: Option<char> = None;
    let mut escaped = false;
    for (i, c) in line.char_indices() {
        match quoted {
            Some(_) if escaped => escaped = false,
            Some(q) if c == '\\' && q != '`' => escaped = true,
            Some(q) if c == q => quoted = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => quoted = Some(c),
            None if c == '@' => {
                let rest = line[i..].strip_prefix("@st")?;
                return Some((&line[..i], rest.trim()));
            }
            None if c == ' ' && !line[..i].contains('{') => return None,
            None => {}
        }
    }
    None
}

fn series(line: &str) -> Result<(Labels, Vec<SequenceValue>), String> {
    parse_series_description(line).map_err(|error| error.to_string())
}

fn duration(text: &str, what: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    parse_duration_ms(digits)
        .map(|ms| sign * ms)
        .map_err(|error| format!("invalid {what} definition {text:?}: {error}"))
}

fn eval(line: &str, block: &mut Block<'_>, features: Features) -> Result<Eval, String> {
    let invalid = || format!("invalid evaluation command: {line:?}");
    let (word, rest) = line.split_once(char::is_whitespace).ok_or_else(invalid)?;
    let mode = match word {
        "eval" => "",
        _ => word.strip_prefix("eval_").ok_or_else(invalid)?,
    };
    if !matches!(mode, "" | "fail" | "warn" | "info" | "ordered") {
        return Err(invalid());
    }
    let (kind, rest) = rest.trim_start().split_once(char::is_whitespace).ok_or_else(invalid)?;
    let mut eval = Eval {
        text: String::new(),
        instant: kind == "instant",
        start_ms: 0,
        end_ms: 0,
        step_ms: 0,
        ordered: mode == "ordered",
        fail: (mode == "fail").then_some(Text::Any),
        warn: Annotations { some: mode == "warn", ..Annotations::default() },
        info: Annotations { some: mode == "info", ..Annotations::default() },
        expected: Expectation::Series(Vec::new()),
    };
    let mut rest = rest.trim_start();
    let mut take = |keyword: &str, what: &str| -> Result<i64, String> {
        let after = rest.strip_prefix(keyword).ok_or_else(invalid)?.trim_start();
        let (time, tail) = after.split_once(char::is_whitespace).ok_or_else(invalid)?;
        rest = tail.trim_start();
        duration(time, what)
    };
    match kind {
        "instant" => {
            eval.start_ms = take("at ", "timestamp")?;
            eval.end_ms = eval.start_ms;
        }
        "range" if mode != "ordered" => {
            eval.start_ms = take("from ", "start timestamp")?;
            eval.end_ms = take("to ", "end timestamp")?;
            eval.step_ms = take("step ", "step")?;
            if eval.end_ms < eval.start_ms {
                return Err("invalid test definition, end timestamp is before start timestamp".to_owned());
            }
        }
        _ => return Err(invalid()),
    }
    eval.text = rest.to_owned();
    if let Err(errors) = promql::parse(&eval.text, features) {
        return Err(errors.to_string());
    }
    expectations(&mut eval, block)?;
    Ok(eval)
}

fn expectations(eval: &mut Eval, block: &mut Block<'_>) -> Result<(), String> {
    let mut fails = 0;
    let mut series_lines: Vec<(Labels, Vec<SequenceValue>)> = Vec::new();
    let mut range: Option<(i64, i64, i64)> = None;
    while let Some(line) = block.next() {
        if let Some(message) = line.strip_prefix("expected_fail_message") {
            only_when_failing(eval, "expected_fail_message")?;
            eval.fail = Some(Text::Equal(message.trim().to_owned()));
            block.skip();
            break;
        }
        if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            only_when_failing(eval, "expected_fail_regexp")?;
            eval.fail = Some(regex(pattern.trim(), "expected_fail_regexp")?);
            block.skip();
            break;
        }
        if line.starts_with("expect ") {
            if let Some(rest) = line.strip_prefix("expect range vector") {
                range = Some(range_vector(rest.trim(), line)?);
                continue;
            }
            if let Some(rest) = line.strip_prefix("expect string") {
                eval.expected = Expectation::String(unquoted(rest.trim())?);
                continue;
            }
            expect(eval, line, &mut fails)?;
            continue;
        }
        if let Ok(number) = model::float::parse(line)
            && series_lines.is_empty()
        {
            eval.expected = Expectation::Scalar(number);
            block.skip();
            break;
        }
        let (labels, values) = series(line)?;
        if eval.instant && range.is_none() && values.len() > 1 {
            return Err("expecting multiple values in instant evaluation not allowed".to_owned());
        }
        series_lines.push((labels, values));
    }
    for (annotations, name) in [(&eval.warn, "warn"), (&eval.info, "info")] {
        if annotations.none && (annotations.some || !annotations.texts.is_empty()) {
            return Err(format!("invalid expect lines, {name} and no_{name} cannot be used together"));
        }
    }
    if let Some((start_ms, end_ms, step_ms)) = range {
        // Such a query is evaluated at the last point.
        (eval.start_ms, eval.end_ms) = (end_ms, end_ms);
        eval.expected = Expectation::RangeVector { series: series_lines, start_ms, step_ms };
    } else if let Expectation::Series(series) = &mut eval.expected {
        if !eval.instant {
            let points = (eval.end_ms - eval.start_ms) / eval.step_ms.max(1) + 1;
            for (labels, values) in &series_lines {
                if values.len() as i64 > points {
                    return Err(format!(
                        "expected {} points for {labels}, but query time range cannot return this many points",
                        values.len()
                    ));
                }
            }
        }
        *series = series_lines;
    }
    Ok(())
}

fn only_when_failing(eval: &Eval, what: &str) -> Result<(), String> {
    if eval.fail.is_none() {
        return Err(format!("{what} is only allowed with eval_fail"));
    }
    Ok(())
}

fn regex(pattern: &str, what: &str) -> Result<Text, String> {
    GoRegex::new(pattern)
        .map(Text::Matching)
        .map_err(|error| format!("invalid regexp '{pattern}' for {what}: {error}"))
}

fn expect(eval: &mut Eval, line: &str, fails: &mut usize) -> Result<(), String> {
    let invalid =
        || "invalid expect statement, must match `expect <type> <match_type>: <string>` format".to_owned();
    let rest = line["expect ".len()..].trim_start();
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim_start();
    let text = if let Some(message) = rest.strip_prefix("msg:") {
        Text::Equal(message.trim().to_owned())
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        regex(pattern.trim(), "expect")?
    } else if rest.is_empty() {
        Text::Any
    } else {
        return Err(invalid());
    };
    match kind {
        "ordered" if eval.instant => eval.ordered = true,
        "fail" => {
            *fails += 1;
            if *fails > 1 {
                return Err("invalid expect lines, multiple expect fail lines are not allowed".to_owned());
            }
            eval.fail = Some(text);
        }
        "warn" => eval.warn.texts.push(text),
        "no_warn" => eval.warn.none = true,
        "info" => eval.info.texts.push(text),
        "no_info" => eval.info.none = true,
        _ => return Err(invalid()),
    }
    Ok(())
}

fn range_vector(rest: &str, line: &str) -> Result<(i64, i64, i64), String> {
    let invalid = || format!("invalid range vector definition {line:?}");
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ["from", from, "to", to, "step", step] = words[..] else { return Err(invalid()) };
    let (start, end) = (duration(from, "start timestamp")?, duration(to, "end timestamp")?);
    if end < start {
        return Err("invalid test definition, end timestamp is before start timestamp".to_owned());
    }
    Ok((start, end, duration(step, "step")?))
}

/// A text in double or back quotes.
fn unquoted(text: &str) -> Result<String, String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '`' | '\''));
    if quote.is_none() {
        return Err("expected string literal not valid - a quoted string literal is required".to_owned());
    }
    match promql::parse(text, Features::all()) {
        Ok(promql::Expr::String(literal)) => Ok(literal.value),
        _ => Err("expected string literal not valid - check that the string is correctly quoted".to_owned()),
    }
}
