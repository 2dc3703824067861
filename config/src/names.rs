//! Label sets, and the fields that say which names are valid.

use std::collections::BTreeMap;
use std::rc::Rc;

use model::names::{EscapingScheme, ValidationScheme};

use crate::decode::{Choice, Value, Walk, entries, read};
use crate::tree::{Node, NodeKind, Text};
use crate::values::quoted;
use crate::yaml::Yaml;

impl Choice for ValidationScheme {
    const EMPTY_IS_NONE: bool = true;

    fn parse(text: &str) -> Result<ValidationScheme, String> {
        ValidationScheme::from_name(text).map_err(|error| error.to_string())
    }

    fn text(&self) -> &'static str {
        self.as_str()
    }
}

impl Choice for EscapingScheme {
    const EMPTY_IS_NONE: bool = true;

    fn parse(text: &str) -> Result<EscapingScheme, String> {
        EscapingScheme::from_name(text).map_err(|_| {
            format!(
                "unknown name escaping method specified, must be one of 'allow-utf-8', 'underscores', \
                 'dots', or 'values', got {}",
                quoted(text)
            )
        })
    }

    fn text(&self) -> &'static str {
        self.as_str()
    }
}

/// Labels of a file: names to values, in order of names. Empty values stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSet(pub BTreeMap<String, String>);

impl LabelSet {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a label set; labels with empty values are left out.
    pub fn to_labels(&self) -> model::Labels {
        let mut builder = model::LabelsBuilder::new();
        for (name, value) in self.iter() {
            builder.set(name, value);
        }
        builder.labels()
    }
}

impl Value for LabelSet {
    fn zero() -> LabelSet {
        LabelSet::default()
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<LabelSet> {
        let mut out = BTreeMap::new();
        let mut seen: std::collections::HashSet<String> = std::collections::HashSet::new();
        for (key, value, own) in entries(node, "a map of labels", walk)? {
            let Some(name) = label_text(&key, "label name", walk) else { continue };
            if name.is_empty() {
                walk.invalid("\"\" is not a valid label name");
                continue;
            }
            if own && !seen.insert(name.clone()) {
                walk.repeated_label(&key, &name);
                continue;
            }
            let value = walk.within(name.as_str(), |walk| match value.is_null() {
                true => read(&value, walk),
                false => label_text(&value, "label value", walk),
            });
            if let Some(value) = value {
                out.insert(name, value);
            }
        }
        Some(LabelSet(out))
    }

    fn encode(&self) -> Yaml {
        Yaml::sorted_map(self.0.iter().map(|(name, value)| (name.clone(), Yaml::Str(value.clone()))))
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text of a label's name or value, `what` saying which.
fn label_text(node: &Rc<Node>, what: &str, walk: &mut Walk) -> Option<String> {
    if let NodeKind::Scalar(scalar) = &node.kind
        && let Text::Bytes(bytes) = &scalar.text
    {
        walk.invalid(format!("\"{}\" is not a valid {what}", escape_bytes(bytes)));
        return None;
    }
    String::decode(node, walk)
}

/// Bytes as Go quotes them: `\xff` for what is no text.
fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        let quoted = quoted(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}
