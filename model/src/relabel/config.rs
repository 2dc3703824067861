//! One relabelling rule, checked and compiled.

use std::fmt;

use crate::labels::go_quote;
use crate::matcher::{GoRegex, RegexError};
use crate::names::ValidationScheme;

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RelabelAction {
    /// Sets the target label where the regex matches.
    #[default]
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops unless the source equals the target label's value.
    KeepEqual,
    /// Drops if the source equals the target label's value.
    DropEqual,
    /// Sets the target label to a hash of the source modulo a number.
    HashMod,
    /// Copies the labels whose names match to other names.
    LabelMap,
    /// Deletes the labels whose names match.
    LabelDrop,
    /// Deletes the labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl RelabelAction {
    /// All of them.
    pub const ALL: [RelabelAction; 11] = [
        RelabelAction::Replace,
        RelabelAction::Keep,
        RelabelAction::Drop,
        RelabelAction::KeepEqual,
        RelabelAction::DropEqual,
        RelabelAction::HashMod,
        RelabelAction::LabelMap,
        RelabelAction::LabelDrop,
        RelabelAction::LabelKeep,
        RelabelAction::Lowercase,
        RelabelAction::Uppercase,
    ];

    /// The action's name in a configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            RelabelAction::Replace => "replace",
            RelabelAction::Keep => "keep",
            RelabelAction::Drop => "drop",
            RelabelAction::KeepEqual => "keepequal",
            RelabelAction::DropEqual => "dropequal",
            RelabelAction::HashMod => "hashmod",
            RelabelAction::LabelMap => "labelmap",
            RelabelAction::LabelDrop => "labeldrop",
            RelabelAction::LabelKeep => "labelkeep",
            RelabelAction::Lowercase => "lowercase",
            RelabelAction::Uppercase => "uppercase",
        }
    }

    /// The action of that name, in any case.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn from_name(name: &str) -> Result<RelabelAction, RelabelError> {
        let lower = super::to_lower(name);
        let found = RelabelAction::ALL.into_iter().find(|action| action.as_str() == lower);
        found.ok_or_else(|| RelabelError::UnknownAction(name.to_owned()))
    }

    fn needs_target(self) -> bool {
        self.writes_fixed_target() || self == RelabelAction::Replace
    }

    /// Whether the target label is taken as it is, without variables.
    fn writes_fixed_target(self) -> bool {
        matches!(self, RelabelAction::HashMod) || self.ignores_replacement()
    }

    fn ignores_replacement(self) -> bool {
        matches!(
            self,
            RelabelAction::Lowercase
                | RelabelAction::Uppercase
                | RelabelAction::KeepEqual
                | RelabelAction::DropEqual
        )
    }
}

impl fmt::Display for RelabelAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a rule is refused, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// There is no such action.
    #[error("unknown relabel action {}", go_quote(.0))]
    UnknownAction(String),
    /// The action is the empty text.
    #[error("relabel action cannot be empty")]
    EmptyAction,
    /// The regular expression does not compile.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// A hash modulo zero.
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    ZeroModulus,
    /// The action has nowhere to write to.
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    MissingTarget(RelabelAction),
    /// The target is no label name, nor becomes one.
    #[error("{} is invalid 'target_label' for {action} action", go_quote(.target))]
    InvalidTarget {
        /// What the rule does.
        action: RelabelAction,
        /// The target label as given.
        target: String,
    },
    /// The action has no use for a replacement.
    #[error("'replacement' can not be set for {0} action")]
    NeedlessReplacement(RelabelAction),
    /// The replacement is no label name, nor becomes one.
    #[error("{} is invalid 'replacement' for {action} action", go_quote(.replacement))]
    InvalidReplacement {
        /// What the rule does.
        action: RelabelAction,
        /// The replacement as given.
        replacement: String,
    },
    /// More is set than the comparison needs.
    #[error("{0} action requires only 'source_labels' and `target_label`, and no other fields")]
    OnlySourceAndTarget(RelabelAction),
    /// More is set than the regex.
    #[error("{0} action requires only 'regex', and no other fields")]
    OnlyRegex(RelabelAction),
}

/// A rule as written, not yet trusted.
///
/// `None` means that a field was not given: some actions refuse even the
/// default, when it is spelled out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelabelParams {
    /// Names of the labels whose values are joined.
    pub source_labels: Option<Vec<String>>,
    /// What stands between the values.
    pub separator: String,
    /// What the joined value, or a label's name, is matched with; a null in the
    /// file is the empty pattern.
    pub regex: Option<String>,
    /// For `hashmod`.
    pub modulus: u64,
    /// The label to write to; `replace` fills in `$1` and the like.
    pub target_label: String,
    /// What is written; `$1` and the like are filled in.
    pub replacement: String,
    /// The name of the action, in any case.
    pub action: String,
}

impl Default for RelabelParams {
    fn default() -> RelabelParams {
        RelabelParams {
            source_labels: None,
            separator: DEFAULT_SEPARATOR.to_owned(),
            regex: None,
            modulus: 0,
            target_label: String::new(),
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: RelabelAction::Replace.as_str().to_owned(),
        }
    }
}

/// A rule that is valid under a name validation scheme.
///
/// ```
/// # use model::relabel::{process, RelabelConfig, RelabelParams};
/// # use model::{Labels, names::ValidationScheme};
/// let params = RelabelParams {
///     source_labels: Some(vec!["__address__".into()]),
///     regex: Some("([^:]+):.*".into()),
///     target_label: "host".into(),
///     ..RelabelParams::default()
/// };
/// let rule = RelabelConfig::new(params, ValidationScheme::Utf8)?;
/// let mut labels = Labels::from_pairs([("__address__", "db1:9104")]).to_builder();
/// assert!(process(&mut labels, &[rule]));
/// assert_eq!(labels.get("host"), Some("db1"));
/// # Ok::<(), model::relabel::RelabelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RelabelConfig {
    params: RelabelParams,
    action: RelabelAction,
    regex: GoRegex,
    scheme: ValidationScheme,
    uses_groups: bool,
}

impl RelabelConfig {
    /// Checks and compiles a rule.
    ///
    /// # Errors
    /// The first thing that is wrong with it, in upstream's order and words.
    pub fn new(params: RelabelParams, scheme: ValidationScheme) -> Result<RelabelConfig, RelabelError> {
        let regex = GoRegex::anchored(params.regex.as_deref().unwrap_or(DEFAULT_REGEX))?;
        if params.action.is_empty() {
            return Err(RelabelError::EmptyAction);
        }
        let action = RelabelAction::from_name(&params.action)?;
        validate(&params, action, scheme)?;
        let uses_groups = has_variable(&params.target_label) || has_variable(&params.replacement);
        Ok(RelabelConfig { params, action, regex, scheme, uses_groups })
    }

    /// The rule as written.
    pub fn params(&self) -> &RelabelParams {
        &self.params
    }

    /// What it does.
    pub fn action(&self) -> RelabelAction {
        self.action
    }

    /// Names of the labels whose values are joined.
    pub fn source_labels(&self) -> &[String] {
        self.params.source_labels.as_deref().unwrap_or(&[])
    }

    /// What stands between the values.
    pub fn separator(&self) -> &str {
        &self.params.separator
    }

    /// What the joined value, or a label's name, must match as a whole.
    pub fn regex(&self) -> &GoRegex {
        &self.regex
    }

    /// The divisor of `hashmod`, there not zero.
    pub fn modulus(&self) -> u64 {
        self.params.modulus
    }

    /// The label to write to, for `replace` a template.
    pub fn target_label(&self) -> &str {
        &self.params.target_label
    }

    /// The template of what is written.
    pub fn replacement(&self) -> &str {
        &self.params.replacement
    }

    /// Which label names are valid.
    pub fn scheme(&self) -> ValidationScheme {
        self.scheme
    }

    /// Whether target or replacement name groups of the regex.
    pub(super) fn uses_groups(&self) -> bool {
        self.uses_groups
    }
}

/// Two rules are equal if they are as written.
impl PartialEq for RelabelConfig {
    fn eq(&self, other: &RelabelConfig) -> bool {
        self.params == other.params && self.scheme == other.scheme
    }
}

impl Eq for RelabelConfig {}

fn validate(
    params: &RelabelParams,
    action: RelabelAction,
    scheme: ValidationScheme,
) -> Result<(), RelabelError> {
    let target = params.target_label.as_str();
    if action == RelabelAction::HashMod && params.modulus == 0 {
        return Err(RelabelError::ZeroModulus);
    }
    if action.needs_target() && target.is_empty() {
        return Err(RelabelError::MissingTarget(action));
    }
    let template_allowed = action == RelabelAction::Replace && has_variable(target);
    let target_valid = match template_allowed {
        true => is_name_template(target, scheme),
        false => scheme.is_valid_label_name(target),
    };
    if action.needs_target() && !target_valid {
        return Err(RelabelError::InvalidTarget { action, target: target.to_owned() });
    }
    let default_replacement = params.replacement == DEFAULT_REPLACEMENT;
    if action.ignores_replacement() && !default_replacement {
        return Err(RelabelError::NeedlessReplacement(action));
    }
    if action == RelabelAction::LabelMap && !is_name_template(&params.replacement, scheme) {
        return Err(RelabelError::InvalidReplacement { action, replacement: params.replacement.clone() });
    }
    let defaults = params.modulus == 0 && params.separator == DEFAULT_SEPARATOR && default_replacement;
    match action {
        RelabelAction::KeepEqual | RelabelAction::DropEqual if !defaults || params.regex.is_some() => {
            Err(RelabelError::OnlySourceAndTarget(action))
        }
        RelabelAction::LabelDrop | RelabelAction::LabelKeep
            if !defaults || params.source_labels.is_some() || !target.is_empty() =>
        {
            Err(RelabelError::OnlyRegex(action))
        }
        _ => Ok(()),
    }
}

fn has_variable(template: &str) -> bool {
    template.contains('$')
}

/// Whether a template may become a label name. Under the older character set it
/// starts with a letter, an underscore or a variable and goes on with these or
/// digits; a variable is `$name` or `${name}`.
fn is_name_template(template: &str, scheme: ValidationScheme) -> bool {
    if scheme == ValidationScheme::Utf8 {
        return scheme.is_valid_label_name(template);
    }
    let word_len = |text: &str| text.bytes().take_while(|b| *b == b'_' || b.is_ascii_alphanumeric()).count();
    let mut rest = template;
    while let Some(first) = rest.bytes().next() {
        let len = match first {
            b'0'..=b'9' if rest.len() == template.len() => return false,
            b'$' if rest[1..].starts_with('{') => {
                let name_len = word_len(&rest[2..]);
                if name_len == 0 || !rest[2 + name_len..].starts_with('}') {
                    return false;
                }
                name_len + 3
            }
            b'$' => 1 + word_len(&rest[1..]),
            _ => word_len(rest),
        };
        if len == 0 || (first == b'$' && len == 1) {
            return false;
        }
        rest = &rest[len..];
    }
    !template.is_empty()
}
