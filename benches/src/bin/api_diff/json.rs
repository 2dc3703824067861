//! JSON as it is written: texts keep their escapes, numbers their digits,
//! objects the order of their keys.

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Json {
    /// A number, a text with its quotes, `true`, `false` or `null`, as written.
    Plain(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The value of a text; `None` where it is no JSON. A text of several
    /// lines with a value each is a list of them.
    pub fn parse(text: &str) -> Option<Json> {
        let mut rest = text.trim();
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (value, after) = value(rest)?;
            values.push(value);
            rest = after.trim_start();
        }
        match values.len() {
            0 => None,
            1 => values.pop(),
            _ => Some(Json::List(values)),
        }
    }

    /// What kind of value this is.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::List(_) => "list",
            Json::Object(_) => "object",
            Json::Plain(text) => match text.as_bytes()[0] {
                b'"' => "text",
                b't' | b'f' => "boolean",
                b'n' => "null",
                _ => "number",
            },
        }
    }

    /// Calls `act` with every value that a pointer leads to; `*` is any step.
    pub fn at(&mut self, pointer: &[String], act: &mut dyn FnMut(&mut Json)) {
        let Some((step, rest)) = pointer.split_first() else {
            act(self);
            return;
        };
        match self {
            Json::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    if step == "*" || *step == i.to_string() {
                        item.at(rest, act);
                    }
                }
            }
            Json::Object(pairs) => {
                for (key, value) in pairs {
                    if step == "*" || step == key {
                        value.at(rest, act);
                    }
                }
            }
            Json::Plain(_) => {}
        }
    }

    /// Sorts every list of objects.
    pub fn sort_objects(&mut self) {
        match self {
            Json::List(items) => {
                items.iter_mut().for_each(Json::sort_objects);
                if items.iter().all(|item| matches!(item, Json::Object(_))) {
                    items.sort();
                }
            }
            Json::Object(pairs) => pairs.iter_mut().for_each(|(_, value)| value.sort_objects()),
            Json::Plain(_) => {}
        }
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Json::Plain(text) => f.write_str(text),
            Json::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Json::Object(pairs) => {
                f.write_str("{")?;
                for (i, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}\"{key}\":{value}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

fn value(text: &str) -> Option<(Json, &str)> {
    match text.as_bytes().first()? {
        b'{' => {
            let mut pairs = Vec::new();
            let mut rest = text[1..].trim_start();
            while !rest.starts_with('}') {
                let (key, after) = quoted(rest)?;
                let (value, after) = value(after.trim_start().strip_prefix(':')?.trim_start())?;
                pairs.push((key[1..key.len() - 1].to_owned(), value));
                rest = after.trim_start();
                if let Some(after) = rest.strip_prefix(',') {
                    rest = after.trim_start();
                }
            }
            Some((Json::Object(pairs), &rest[1..]))
        }
        b'[' => {
            let mut items = Vec::new();
            let mut rest = text[1..].trim_start();
            while !rest.starts_with(']') {
                let (item, after) = value(rest)?;
                items.push(item);
                rest = after.trim_start();
                if let Some(after) = rest.strip_prefix(',') {
                    rest = after.trim_start();
                }
            }
            Some((Json::List(items), &rest[1..]))
        }
        b'"' => quoted(text).map(|(word, rest)| (Json::Plain(word.to_owned()), rest)),
        _ => {
            let end =
                text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(text.len());
            (end > 0).then(|| (Json::Plain(text[..end].to_owned()), &text[end..]))
        }
    }
}

/// A text with its quotes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('"') {
        return None;
    }
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(text.split_at(at + 1)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_kept() {
        let text = r#"{"b":[1.50,"\u003c\"",{"x":null}],"a":true}"#;
        let mut json = Json::parse(text).unwrap();
        assert_eq!(json.to_string(), text);
        json.at(&["b".into(), "*".into()], &mut |value| *value = Json::Plain(value.kind().to_owned()));
        assert_eq!(json.to_string(), r#"{"b":[number,text,object],"a":true}"#);
        assert_eq!(Json::parse("{\"a\":1}\n{\"b\":2}\n").unwrap().kind(), "list");
        for bad in ["", "{", "[1", "\"x", "{1}"] {
            assert_eq!(Json::parse(bad), None, "{bad}");
        }
    }
}
