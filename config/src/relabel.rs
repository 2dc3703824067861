//! One relabelling rule as the file writes it. What it does to labels, and
//! which rules are valid, is `model::relabel`'s.

use model::matcher::GoRegex;
use model::names::ValidationScheme;
use model::relabel::{RelabelAction, RelabelConfig, RelabelParams};

use crate::block::{Block, Fields, block};
use crate::decode::{Choice, Chosen, Value, Walk};
use crate::tree::{Node, NodeKind};
use crate::values::quoted;
use crate::yaml::Yaml;

impl Choice for RelabelAction {
    fn parse(text: &str) -> Result<RelabelAction, String> {
        RelabelAction::from_name(text).map_err(|error| error.to_string())
    }

    fn text(&self) -> &'static str {
        self.as_str()
    }
}

/// The labels a rule reads; `None` where the field is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLabels(pub Option<Vec<String>>);

impl Value for SourceLabels {
    fn zero() -> SourceLabels {
        SourceLabels(None)
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<SourceLabels> {
        let names: Vec<String> = Value::decode(node, walk)?;
        // Null is taken for the empty name, which may not be written.
        let is_empty = |item: &Node| !item.is_null() && item.text() == Some("");
        if matches!(&node.kind, NodeKind::Seq(items) if items.iter().any(|item| is_empty(item))) {
            walk.invalid(format!("{} is not a valid label name", quoted("")));
            return None;
        }
        Some(SourceLabels(Some(names)))
    }

    fn encode(&self) -> Yaml {
        self.0.as_ref().map_or(Yaml::Null, Value::encode)
    }

    fn is_zero(&self) -> bool {
        self.0.as_ref().is_none_or(Vec::is_empty)
    }
}

/// What a rule matches; `None` where the field is absent, empty where it is null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulePattern(pub Option<String>);

impl Value for RulePattern {
    fn zero() -> RulePattern {
        RulePattern(Some(String::new()))
    }

    fn decode(node: &Node, walk: &mut Walk) -> Option<RulePattern> {
        let pattern = String::decode(node, walk)?;
        match GoRegex::anchored(&pattern) {
            Ok(_) => Some(RulePattern(Some(pattern))),
            Err(error) => {
                walk.invalid(error.to_string());
                None
            }
        }
    }

    fn encode(&self) -> Yaml {
        Yaml::Str(self.0.clone().unwrap_or_default())
    }

    fn is_zero(&self) -> bool {
        self.0.is_none()
    }
}

block! {
    /// One relabelling rule.
    pub struct RelabelRule: "relabel.plain" {
        /// The labels whose values are joined to the source.
        source_labels: SourceLabels => flow "source_labels",
        /// What is put between the values.
        separator: String => always "separator",
        /// What the source, or a label's name, must match.
        regex: RulePattern => omit "regex",
        /// The modulus of `hashmod`.
        modulus: u64 => omit "modulus",
        /// The label that is set or compared.
        target_label: String => omit "target_label",
        /// What the target label is set to.
        replacement: String => always "replacement",
        /// What the rule does.
        action: Chosen<RelabelAction> => omit "action",
        /// The rule compiled; set once loaded.
        compiled: Option<RelabelConfig> => skip,
    }
}

impl Default for RelabelRule {
    fn default() -> RelabelRule {
        let params = RelabelParams::default();
        RelabelRule {
            separator: params.separator,
            regex: RulePattern(None),
            replacement: params.replacement,
            action: Chosen::some(RelabelAction::Replace),
            ..RelabelRule::zeroed()
        }
    }
}

impl Block for RelabelRule {}

impl RelabelRule {
    /// Checks and compiles the rule.
    ///
    /// # Errors
    /// The fields do not go together, in upstream's words.
    pub fn check(&mut self, scheme: ValidationScheme) -> Result<(), String> {
        let params = RelabelParams {
            source_labels: self.source_labels.0.clone(),
            separator: self.separator.clone(),
            regex: self.regex.0.clone(),
            modulus: self.modulus,
            target_label: self.target_label.clone(),
            replacement: self.replacement.clone(),
            action: self.action.0.map_or("", RelabelAction::as_str).to_owned(),
        };
        let compiled = RelabelConfig::new(params, scheme).map_err(|error| error.to_string())?;
        self.compiled = Some(compiled);
        Ok(())
    }
}

/// The rules of a loaded list, compiled.
pub(crate) fn compiled(rules: &[Option<RelabelRule>]) -> Vec<RelabelConfig> {
    rules.iter().flatten().filter_map(|rule| rule.compiled.clone()).collect()
}

/// Checks the rules of a list, null items included; `what` names the list in
/// the fault of a null item.
pub(crate) fn check_present(rules: &[Option<RelabelRule>], field: &str, what: &str, walk: &mut Walk) {
    for (index, rule) in rules.iter().enumerate() {
        if rule.is_none() {
            walk.invalid_at([field.into(), index.into()], format!("empty or null {what}"));
        }
    }
}

/// Checks each rule of a list by the name scheme of the block around it.
pub(crate) fn check_rules(
    rules: &mut [Option<RelabelRule>],
    field: &str,
    scheme: ValidationScheme,
    walk: &mut Walk,
) {
    for (index, rule) in rules.iter_mut().enumerate() {
        if let Some(rule) = rule
            && let Err(fault) = rule.check(scheme)
        {
            walk.invalid_at([field.into(), index.into()], fault);
        }
    }
}
