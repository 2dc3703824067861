//! What an older server does otherwise: a line for each change.
//!
//! ```text
//! # a comment
//! headers vary allow
//! request part | difference part | why
//! ```
//!
//! Headers that are named are not compared. A difference is explained by the
//! first line whose parts its request and itself hold; an empty part is held by
//! all. Parts of a part that are divided by `&&` must all be held.

/// The changes of a file.
#[derive(Default)]
pub struct Changes {
    headers: Vec<String>,
    lines: Vec<Change>,
}

struct Change {
    request: Vec<String>,
    difference: Vec<String>,
    reason: String,
}

impl Changes {
    /// Reads a file.
    pub fn read(file: &str) -> Result<Changes, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        Changes::parse(&text).map_err(|line| format!("{file}: no change: {line}"))
    }

    fn parse(text: &str) -> Result<Changes, String> {
        let mut changes = Changes::default();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            if let Some(names) = line.strip_prefix("headers ") {
                changes.headers.extend(names.split_whitespace().map(str::to_owned));
                continue;
            }
            let parts = |text: &str| -> Vec<String> {
                text.split("&&").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
            };
            let mut columns = line.splitn(3, " | ");
            let (Some(request), Some(difference), Some(reason)) =
                (columns.next(), columns.next(), columns.next())
            else {
                return Err(line.to_owned());
            };
            changes.lines.push(Change {
                request: parts(request),
                difference: parts(difference),
                reason: reason.trim().to_owned(),
            });
        }
        Ok(changes)
    }

    /// Headers that are not compared.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.headers.is_empty()
    }

    /// Why a difference is there.
    pub fn reason(&self, request: &str, difference: &str) -> Option<&str> {
        let held = |parts: &[String], by: &str| parts.iter().all(|part| by.contains(part.as_str()));
        let found = self
            .lines
            .iter()
            .find(|change| held(&change.request, request) && held(&change.difference, difference));
        found.map(|change| change.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_known_by_parts_of_request_and_difference() {
        let text =
            "# x\nheaders vary allow\n/query && limit | 400 | limits are new\n | unknown field | new field\n";
        let changes = Changes::parse(text).unwrap();
        assert_eq!(changes.headers(), ["vary", "allow"]);
        assert_eq!(changes.reason("GET /query?limit=1", "200 / 400"), Some("limits are new"));
        assert_eq!(changes.reason("GET /query", "200 / 400"), None);
        assert_eq!(changes.reason("GET /x", "unknown field a"), Some("new field"));
        assert!(Changes::parse("nothing").is_err());
    }
}
