//! Target groups: targets that share labels and come from one source.

use std::collections::BTreeMap;

use config::discovery::StaticConfig;
use model::Labels;
use serde_json::Value;

/// The label that holds a target's host and port.
pub const ADDRESS_LABEL: &str = "__address__";

/// Targets that share labels, as one source names them now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Tells this group from the mechanism's others: a later group of the same
    /// source takes its place, an empty one removes it.
    pub source: String,
    /// Labels of all its targets.
    pub labels: Labels,
    /// Labels of each target; `__address__` is always among them.
    pub targets: Vec<Labels>,
}

impl TargetGroup {
    /// A group that is written in a file.
    pub(crate) fn written(group: &StaticConfig, source: String) -> TargetGroup {
        let target = |address: &String| Labels::from_pairs([(ADDRESS_LABEL, address)]);
        TargetGroup {
            source,
            labels: group.labels.to_labels(),
            targets: group.targets.iter().map(target).collect(),
        }
    }

    /// The source as the mechanism names it, without what its manager puts
    /// before: `kind/number/source`.
    pub fn own_source(&self) -> &str {
        self.source.splitn(3, '/').nth(2).unwrap_or(&self.source)
    }
}

/// A document that is no list of target groups.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// An item is null.
    #[error("nil target group item found (index {0})")]
    Null(usize),
    /// Something is not of the form `[{"targets": […], "labels": {…}}]`.
    #[error("target group {index}: {what}")]
    Malformed {
        /// Which item.
        index: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The document is no list.
    #[error("cannot unmarshal a document that is no list of target groups")]
    NoList,
}

/// The groups of a file or an HTTP answer; sources are `prefix:0`, `prefix:1` …
///
/// # Errors
/// The document is malformed: none of its groups may be used then.
pub fn parse_groups(document: &Value, prefix: &str) -> Result<Vec<TargetGroup>, GroupError> {
    let items = match document {
        Value::Array(items) => items.as_slice(),
        // An empty file holds no group.
        Value::Null => &[],
        _ => return Err(GroupError::NoList),
    };
    items.iter().enumerate().map(|(index, item)| one_group(item, index, prefix)).collect()
}

fn one_group(item: &Value, index: usize, prefix: &str) -> Result<TargetGroup, GroupError> {
    let malformed = |what: String| GroupError::Malformed { index, what };
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err(GroupError::Null(index)),
        _ => return Err(malformed("not a mapping".to_owned())),
    };
    // As programs in Go read names.
    let field =
        |name: &str| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let is_known = |key: &String| ["targets", "labels"].iter().any(|name| key.eq_ignore_ascii_case(name));
    if let Some(unknown) = map.keys().find(|key| !is_known(key)) {
        return Err(malformed(format!("json: unknown field {}", model::labels::go_quote(unknown))));
    }
    let targets = match field("targets") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(targets)) => targets
            .iter()
            .map(|target| match target {
                Value::String(address) => Ok(Labels::from_pairs([(ADDRESS_LABEL, address)])),
                _ => Err(malformed("a target is no text".to_owned())),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(malformed("targets are no list".to_owned())),
    };
    let mut labels = BTreeMap::new();
    match field("labels") {
        None | Some(Value::Null) => {}
        Some(Value::Object(pairs)) => {
            for (name, value) in pairs {
                let value = match value {
                    Value::String(value) => value.clone(),
                    Value::Null => String::new(),
                    _ => return Err(malformed(format!("the value of label {name} is no text"))),
                };
                if name.is_empty() {
                    return Err(malformed("\"\" is not a valid label name".to_owned()));
                }
                labels.insert(name.clone(), value);
            }
        }
        Some(_) => return Err(malformed("labels are no mapping".to_owned())),
    }
    Ok(TargetGroup { source: format!("{prefix}:{index}"), labels: Labels::from_pairs(labels), targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_groups_is_read_and_numbered() {
        let document =
            serde_json::json!([{"targets": ["a:1", "b:2"], "labels": {"x": "y"}}, {"targets": []}]);
        let groups = parse_groups(&document, "f.json").unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].source, "f.json:0");
        assert_eq!(groups[0].labels.get("x"), Some("y"));
        assert_eq!(groups[0].targets[1].get(ADDRESS_LABEL), Some("b:2"));
        let document = serde_json::json!([{"Targets": ["a:1"], "LABELS": {"x": "y"}}]);
        let groups = parse_groups(&document, "f.json").unwrap();
        assert_eq!((groups[0].targets.len(), groups[0].labels.get("x")), (1, Some("y")));
    }

    #[test]
    fn a_source_is_told_from_its_manager_s_number() {
        let group = |source: &str| TargetGroup { source: source.to_owned(), ..TargetGroup::default() };
        assert_eq!(group("file/3/dir/a.json:0").own_source(), "dir/a.json:0");
        assert_eq!(group("plain").own_source(), "plain");
    }

    #[test]
    fn malformed_documents_are_refused_whole() {
        for document in [
            serde_json::json!({"targets": []}),
            serde_json::json!([null]),
            serde_json::json!([{"targets": [1]}]),
            serde_json::json!([{"targets": [], "port": 80}]),
            serde_json::json!([{"targets": "a:1"}]),
        ] {
            assert!(parse_groups(&document, "f").is_err(), "{document}");
        }
        assert_eq!(parse_groups(&serde_json::Value::Null, "f"), Ok(Vec::new()));
    }
}
