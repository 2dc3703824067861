//! Requests as lines of text.
//!
//! ```text
//! # a comment
//! GET /api/v1/query?query=rate(up[5m])&time=$T
//! POST /api/v1/labels -d match[]=up -H 'Accept-Encoding: gzip'
//!     mask /data/*/lastScrape
//! ```
//!
//! Characters that no address may hold are escaped; `%`, `&`, `=`, `+` and `?`
//! stand for themselves. `$T`, `$T-60` and `$T+60` are times in seconds. A body
//! is a form unless a header says otherwise. Indented lines are rules of the
//! request above, see [`Rule`].

/// One request and how its answers are compared.
pub struct Request {
    /// As in the file.
    pub line: String,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub rules: Vec<Rule>,
}

impl Request {
    /// Why the answers differ, where they do on purpose.
    pub fn reason(&self) -> Option<&str> {
        self.rules.iter().find_map(|rule| match rule {
            Rule::Differs(reason) => Some(reason.as_str()),
            _ => None,
        })
    }
}

/// How answers are compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// `mask POINTER`: of these values only the kind is compared.
    Mask(Vec<String>),
    /// `only POINTER`: nothing else of the body is compared.
    Only(Vec<String>),
    /// `order`: lists of objects have an order here.
    Order,
    /// `unordered POINTER`: the keys of this object have no order.
    Unordered(Vec<String>),
    /// `lines PREFIX`: of a text, only lines that start so, sorted.
    Lines(String),
    /// `kind`: status and headers alone.
    Kind,
    /// `near`: numbers may differ in their last digits.
    Near,
    /// `stream`: the answer has no end; what comes within a second is compared.
    Stream,
    /// `differs REASON`: not equal, and this is why.
    Differs(String),
}

/// The requests of a file.
pub fn parse(text: &str, time: i64) -> Result<Vec<Request>, String> {
    let mut requests: Vec<Request> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fault = |what: &str| format!("line {}: {what}", number + 1);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_prefix("    ") {
            Some(rule) => {
                let rule = parse_rule(rule.trim()).ok_or_else(|| fault("no such rule"))?;
                requests.last_mut().ok_or_else(|| fault("a rule before any request"))?.rules.push(rule);
            }
            None => requests.push(parse_request(&with_times(line, time)).ok_or_else(|| fault("no request"))?),
        }
    }
    Ok(requests)
}

fn parse_rule(text: &str) -> Option<Rule> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let pointer = || rest.split('/').skip(1).map(str::to_owned).collect();
    Some(match name {
        "mask" => Rule::Mask(pointer()),
        "only" => Rule::Only(pointer()),
        "order" => Rule::Order,
        "unordered" => Rule::Unordered(pointer()),
        "lines" => Rule::Lines(rest.to_owned()),
        "kind" => Rule::Kind,
        "near" => Rule::Near,
        "stream" => Rule::Stream,
        "differs" => Rule::Differs(rest.to_owned()),
        _ => return None,
    })
}

/// Puts times in the place of `$T`.
fn with_times(line: &str, time: i64) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("$T") {
        out.push_str(&rest[..at]);
        rest = &rest[at + 2..];
        let sign = rest.chars().next().filter(|c| matches!(c, '+' | '-'));
        let digits: String =
            rest.chars().skip(1).take_while(char::is_ascii_digit).filter(|_| sign.is_some()).collect();
        let offset: i64 = digits.parse().unwrap_or(0);
        out.push_str(&(if sign == Some('-') { time - offset } else { time + offset }).to_string());
        if !digits.is_empty() {
            rest = &rest[1 + digits.len()..];
        }
    }
    out + rest
}

fn parse_request(line: &str) -> Option<Request> {
    let (method, rest) = line.split_once(' ')?;
    let (target, options) = match rest.find(" -d ").into_iter().chain(rest.find(" -H ")).min() {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, ""),
    };
    let mut headers = Vec::new();
    let mut body = Vec::new();
    let mut options = options.trim_start();
    while let Some((option, after)) = options.split_once(' ') {
        let (value, rest) = word(after);
        match option {
            "-d" => body = value.into_bytes(),
            "-H" => {
                let (name, value) = value.split_once(':')?;
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            _ => return None,
        }
        options = rest.trim_start();
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
    }
    let body = match headers.iter().any(|(_, value)| value.contains("form-urlencoded")) {
        true => escaped(&String::from_utf8(body).ok()?).into_bytes(),
        false => body,
    };
    Some(Request {
        line: line.to_owned(),
        method: method.to_owned(),
        target: escaped(target.trim()),
        headers,
        body,
        rules: Vec::new(),
    })
}

/// The next word, which may stand between single quotes, and what follows it.
fn word(text: &str) -> (String, &str) {
    match text.strip_prefix('\'').and_then(|quoted| quoted.split_once('\'')) {
        Some((word, rest)) => (word.to_owned(), rest),
        None => {
            let end = text.find(" -").unwrap_or(text.len());
            (text[..end].trim_end().to_owned(), &text[end..])
        }
    }
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'!' | b'$'..=b'_' | b'a'..=b'z' | b'~' if !b"<>\\^\"[]".contains(&b) => (b as char).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_request_and_indented_lines_are_its_rules() {
        let text = "# x\nPOST /l?a={b=\"c\"}&t=$T-60 -d match[]=up -H 'Accept: a, b'\n    mask /data/*/x\n    order\n";
        let [request] = parse(text, 100).unwrap().try_into().ok().unwrap();
        assert_eq!(request.target, "/l?a=%7Bb=%22c%22%7D&t=40");
        assert_eq!(request.body, b"match%5B%5D=up");
        assert_eq!(request.headers[0], ("Accept".to_owned(), "a, b".to_owned()));
        assert_eq!(request.rules, [Rule::Mask(vec!["data".into(), "*".into(), "x".into()]), Rule::Order]);
        assert!(parse("    order", 0).is_err());
        assert!(parse("GET /\n    nonsense", 0).is_err());
    }
}
