//! Relabelling: rules that rewrite the labels of a target or a series, or drop it.
//!
//! ```text
//! source_labels ─join with separator─▶ value ─regex─▶ groups
//!                                                       ├─▶ target_label (may hold $1)
//!                                                       └─▶ replacement  (may hold $1)
//! ```
//!
//! Rules are applied in order, each to what the one before left.
//! Source: Prometheus `model/relabel`.

mod case;
mod config;

use std::borrow::Cow;

use md5::{Digest, Md5};

pub use case::{to_lower, to_upper};
pub use config::{RelabelAction, RelabelConfig, RelabelError, RelabelParams};

use crate::labels::LabelsBuilder;

/// Applies the rules in order; `false`: a rule drops the target or series, and
/// what is in the builder then means nothing.
#[must_use]
pub fn process(labels: &mut LabelsBuilder, configs: &[RelabelConfig]) -> bool {
    configs.iter().all(|config| apply(labels, config))
}

fn apply(labels: &mut LabelsBuilder, config: &RelabelConfig) -> bool {
    match config.action() {
        RelabelAction::Keep => return config.regex().is_match(&source_value(labels, config)),
        RelabelAction::Drop => return !config.regex().is_match(&source_value(labels, config)),
        RelabelAction::KeepEqual => return source_equals_target(labels, config),
        RelabelAction::DropEqual => return !source_equals_target(labels, config),
        RelabelAction::Replace => replace(labels, config),
        RelabelAction::Lowercase => {
            let lower = to_lower(&source_value(labels, config));
            labels.set(config.target_label(), &lower);
        }
        RelabelAction::Uppercase => {
            let upper = to_upper(&source_value(labels, config));
            labels.set(config.target_label(), &upper);
        }
        RelabelAction::HashMod => {
            let bucket = hash_mod(&source_value(labels, config), config.modulus());
            labels.set(config.target_label(), &bucket.to_string());
        }
        RelabelAction::LabelMap => label_map(labels, config),
        RelabelAction::LabelDrop => {
            labels.retain(|name| !config.regex().is_match(name));
        }
        RelabelAction::LabelKeep => {
            labels.retain(|name| config.regex().is_match(name));
        }
    }
    true
}

/// The values of the source labels, joined; a missing label counts as empty.
fn source_value<'l>(labels: &'l LabelsBuilder, config: &RelabelConfig) -> Cow<'l, str> {
    let value = |name: &String| labels.get(name).unwrap_or("");
    match config.source_labels() {
        [] => Cow::Borrowed(""),
        [only] => Cow::Borrowed(value(only)),
        [first, others @ ..] => {
            let mut joined = value(first).to_owned();
            for name in others {
                joined.push_str(config.separator());
                joined.push_str(value(name));
            }
            Cow::Owned(joined)
        }
    }
}

fn source_equals_target(labels: &LabelsBuilder, config: &RelabelConfig) -> bool {
    labels.get(config.target_label()).unwrap_or("") == source_value(labels, config)
}

/// Nothing changes where the regex does not match or the target is no valid name.
fn replace(labels: &mut LabelsBuilder, config: &RelabelConfig) {
    let value = source_value(labels, config);
    if !config.uses_groups() {
        if config.regex().is_match(&value) && config.scheme().is_valid_label_name(config.target_label()) {
            labels.set(config.target_label(), config.replacement());
        }
        return;
    }
    let Some(groups) = config.regex().captures(&value) else { return };
    let target = groups.expand(config.target_label());
    if !config.scheme().is_valid_label_name(&target) {
        return;
    }
    let replacement = groups.expand(config.replacement());
    labels.set(&target, &replacement);
}

fn label_map(labels: &mut LabelsBuilder, config: &RelabelConfig) {
    let matching = labels.iter().filter(|label| config.regex().is_match(label.name));
    let mapped: Vec<(String, String)> = matching
        .map(|label| (config.regex().replace_all(label.name, config.replacement()), label.value.to_owned()))
        .collect();
    for (name, value) in mapped {
        labels.set(&name, &value);
    }
}

/// The last eight bytes of the MD5 sum, big-endian, modulo `modulus`.
fn hash_mod(value: &str, modulus: u64) -> u64 {
    let sum = Md5::digest(value.as_bytes());
    let (_, last) = sum.split_at(8);
    last.iter().fold(0u64, |hash, byte| hash << 8 | u64::from(*byte)) % modulus
}
