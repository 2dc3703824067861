//! What differs between two answers, after the rules of their request.

use crate::client::Answer;
use crate::json::Json;
use crate::script::Rule;

/// Headers that clients act on.
const HEADERS: [&str; 14] = [
    "content-type",
    "content-encoding",
    "vary",
    "allow",
    "location",
    "cache-control",
    "www-authenticate",
    "x-content-type-options",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "x-prometheus-stopping",
    "x-prometheus-remote-write-samples-written",
];

/// Numbers that are near differ by so little of their size.
const NEAR: f64 = 1e-12;

/// The first difference, headers of these names left out; `None` where there is none.
pub fn difference(a: &Answer, b: &Answer, rules: &[Rule], left_out: &[String]) -> Option<String> {
    if a.status != b.status {
        return Some(format!("{} / {}", a.short(), b.short()));
    }
    for name in HEADERS.iter().filter(|name| !left_out.iter().any(|out| out == *name)) {
        let (of_a, of_b) = (words(&a.header(name)), words(&b.header(name)));
        if of_a != of_b {
            return Some(format!("{name}: {:?} / {:?}", a.header(name), b.header(name)));
        }
    }
    if rules.contains(&Rule::Kind) {
        return None;
    }
    let (text_a, text_b) = (String::from_utf8_lossy(&a.body), String::from_utf8_lossy(&b.body));
    if rules.iter().any(|rule| matches!(rule, Rule::Lines(_))) {
        return lines(&text_a, &text_b, rules);
    }
    match (prepared(&text_a, rules), prepared(&text_b, rules)) {
        (Some(a), Some(b)) => differ(&a, &b, rules.contains(&Rule::Near), ""),
        _ => lines(&text_a, &text_b, rules),
    }
}

/// The words of a list of words, which has no order.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
    words.sort();
    words
}

/// A body with its lists sorted and what is masked masked.
fn prepared(text: &str, rules: &[Rule]) -> Option<Json> {
    let mut json = Json::parse(text)?;
    for rule in rules {
        match rule {
            Rule::Mask(pointer) => {
                json.at(pointer, &mut |value| *value = Json::Plain(format!("<{}>", value.kind())));
            }
            Rule::Unordered(pointer) => json.at(pointer, &mut |value| {
                if let Json::Object(pairs) = value {
                    pairs.sort();
                }
            }),
            _ => {}
        }
    }
    let only = rules.iter().find_map(|rule| match rule {
        Rule::Only(pointer) => Some(pointer),
        _ => None,
    });
    if let Some(pointer) = only {
        let mut chosen = Vec::new();
        json.at(pointer, &mut |value| chosen.push(value.clone()));
        json = Json::List(chosen);
    }
    if !rules.contains(&Rule::Order) {
        json.sort_objects();
    }
    Some(json)
}

fn differ(a: &Json, b: &Json, near: bool, path: &str) -> Option<String> {
    match (a, b) {
        (Json::List(x), Json::List(y)) => {
            if x.len() != y.len() {
                let extra = x.iter().find(|item| !y.contains(item)).map(short).unwrap_or_default();
                let missing = y.iter().find(|item| !x.contains(item)).map(short).unwrap_or_default();
                return Some(format!(
                    "{path}: {} / {} items; only first: {extra}; only second: {missing}",
                    x.len(),
                    y.len()
                ));
            }
            x.iter().zip(y).enumerate().find_map(|(i, (x, y))| differ(x, y, near, &format!("{path}/{i}")))
        }
        (Json::Object(x), Json::Object(y)) => {
            let keys =
                |pairs: &[(String, Json)]| pairs.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
            let (keys_x, keys_y) = (keys(x), keys(y));
            if keys_x != keys_y {
                let only_x: Vec<_> = keys_x.iter().filter(|key| !keys_y.contains(key)).take(5).collect();
                let only_y: Vec<_> = keys_y.iter().filter(|key| !keys_x.contains(key)).take(5).collect();
                return Some(format!(
                    "{path}: keys only in the first {only_x:?}, only in the second {only_y:?}"
                ));
            }
            x.iter().zip(y).find_map(|((key, x), (_, y))| differ(x, y, near, &format!("{path}/{key}")))
        }
        (a, b) if a == b => None,
        (Json::Plain(x), Json::Plain(y)) if near => {
            let number = |text: &str| text.trim_matches('"').parse::<f64>().ok();
            match (number(x), number(y)) {
                (Some(x), Some(y)) if (x - y).abs() <= NEAR * x.abs().max(y.abs()) => None,
                _ => Some(format!("{path}: {} / {}", short(a), short(b))),
            }
        }
        (a, b) => Some(format!("{path}: {} / {}", short(a), short(b))),
    }
}

fn lines(a: &str, b: &str, rules: &[Rule]) -> Option<String> {
    let prefix = rules.iter().find_map(|rule| match rule {
        Rule::Lines(prefix) => Some(prefix.as_str()),
        _ => None,
    });
    let chosen = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if let Some(prefix) = prefix {
            lines.retain(|line| line.starts_with(prefix));
            lines.sort();
        }
        lines
    };
    let (lines_a, lines_b) = (chosen(a), chosen(b));
    if lines_a == lines_b && (prefix.is_some() || a == b) {
        return None;
    }
    let only = |of: &[String], other: &[String]| -> String {
        of.iter().filter(|line| !other.contains(line)).take(3).cloned().collect::<Vec<_>>().join("⏎")
    };
    Some(format!(
        "only first: {:.600} / only second: {:.600}",
        only(&lines_a, &lines_b),
        only(&lines_b, &lines_a)
    ))
}

fn short(json: &Json) -> String {
    json.to_string().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn only_what_has_no_order_is_sorted() {
        let differs =
            |a: &str, b: &str, rules: &[Rule]| difference(&answer(a), &answer(b), rules, &[]).is_some();
        assert!(!differs(r#"[{"a":1},{"b":2}]"#, r#"[{"b":2},{"a":1}]"#, &[]));
        assert!(differs(r#"[{"a":1},{"b":2}]"#, r#"[{"b":2},{"a":1}]"#, &[Rule::Order]));
        assert!(differs(r#"["a","b"]"#, r#"["b","a"]"#, &[]));
        assert!(differs(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, &[]));
        assert!(differs(r#"["\u003c"]"#, r#"["<"]"#, &[]));
        assert!(differs("1.50", "1.5", &[]));
        let mask = Rule::Mask(vec!["a".to_owned()]);
        assert!(!differs(r#"{"a":1}"#, r#"{"a":2}"#, std::slice::from_ref(&mask)));
        assert!(differs(r#"{"a":1}"#, r#"{"a":"1"}"#, &[mask]));
        assert!(differs("x\ny", "x\nz", &[]));
        assert!(!differs("x\ny", "x\nz", &[Rule::Lines("x".to_owned())]));
    }
}
