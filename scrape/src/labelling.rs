//! From what a target exposes to what is stored: target labels, relabelling,
//! names and limits. Runs once for each new series.

use model::labels::{METRIC_NAME, go_quote};
use model::names::ValidationScheme;
use model::{Labels, LabelsBuilder, relabel};

use crate::exposition::LabelBuf;
use crate::job::Job;
use crate::target::Target;

const EXPORTED_PREFIX: &str = "exported_";
/// Characters of a name or value that an error shows at most.
const SHOWN_CHARS: usize = 50;

/// Why a series fails its whole scrape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Relabelling or the target left the series without name.
    #[error("missing metric name (__name__ label)")]
    MissingName,
    /// A name is not valid.
    #[error("invalid metric name or label names: {0}")]
    InvalidName(String),
    /// A label stands twice.
    #[error("label name {} is not unique: invalid sample", go_quote(.0))]
    DuplicateLabel(String),
    /// Too many labels.
    #[error("label_limit exceeded (metric: {metric}, number of labels: {have}, limit: {limit})")]
    TooMany {
        /// The metric, cut.
        metric: String,
        /// Labels that it has.
        have: u64,
        /// Labels that are allowed.
        limit: u64,
    },
    /// A name is too long.
    #[error(
        "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {have}, limit: {limit})"
    )]
    NameTooLong {
        /// The metric, cut.
        metric: String,
        /// The label, cut.
        name: String,
        /// Its length in bytes.
        have: u64,
        /// The length that is allowed.
        limit: u64,
    },
    /// A value is too long.
    #[error(
        "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {}, length: {have}, limit: {limit})",
        go_quote(value)
    )]
    ValueTooLong {
        /// The metric, cut.
        metric: String,
        /// The label, cut.
        name: String,
        /// Its value, cut.
        value: String,
        /// The value's length in bytes.
        have: u64,
        /// The length that is allowed.
        limit: u64,
    },
}

impl LabelError {
    /// Whether a configured limit was passed.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(
            self,
            LabelError::TooMany { .. } | LabelError::NameTooLong { .. } | LabelError::ValueTooLong { .. }
        )
    }
}

/// The labels under which an exposed series is stored, `None` where a rule
/// drops it.
///
/// # Errors
/// The series fails its scrape.
pub(crate) fn stored_labels(
    exposed: &LabelBuf,
    target: &Target,
    job: &Job,
    builder: &mut LabelsBuilder,
) -> Result<Option<Labels>, LabelError> {
    builder.reset(&Labels::empty());
    for (name, value) in exposed.iter() {
        builder.set(name, value);
    }
    if job.config.honor_labels {
        // An exposed label wins even without a value: so a target says that it has none.
        for label in target.public_labels() {
            if exposed.get(label.name).is_none() {
                builder.set(label.name, label.value);
            }
        }
    } else {
        add_target_labels(builder, target);
    }
    if !relabel::process(builder, &job.metric_relabel_rules) || builder.is_empty() {
        return Ok(None);
    }
    let labels = builder.labels();
    if !labels.has(METRIC_NAME) {
        return Err(LabelError::MissingName);
    }
    if exposed.has_invalid_name() || !names_are_valid(&labels, job.config.name_scheme()) {
        return Err(LabelError::InvalidName(labels.to_string()));
    }
    if let Some(name) = exposed.duplicate_name()
        && labels.has(name)
    {
        return Err(LabelError::DuplicateLabel(name.to_owned()));
    }
    check_limits(&labels, job)?;
    Ok(Some(labels))
}

/// The labels of a series about a scrape: the target's labels win, as upstream
/// even over a label that makes room for another.
pub(crate) fn report_labels(name: &str, target: &Target) -> Labels {
    let mut builder = LabelsBuilder::new();
    builder.set(METRIC_NAME, name);
    for label in target.public_labels() {
        builder.set(&format!("{EXPORTED_PREFIX}{}", label.name), "");
        builder.set(label.name, label.value);
    }
    builder.labels()
}

/// Target labels win; what was exposed under their names moves aside.
fn add_target_labels(builder: &mut LabelsBuilder, target: &Target) {
    let mut conflicting: Vec<(String, String)> = Vec::new();
    for label in target.public_labels() {
        if let Some(exposed) = builder.get(label.name) {
            conflicting.push((label.name.to_owned(), exposed.to_owned()));
        }
        builder.set(label.name, label.value);
    }
    conflicting.sort_by_key(|(name, _)| name.len());
    for (mut name, value) in conflicting {
        while builder.get(&name).is_some() {
            name.insert_str(0, EXPORTED_PREFIX);
        }
        builder.set(&name, &value);
    }
}

fn names_are_valid(labels: &Labels, scheme: ValidationScheme) -> bool {
    labels.iter().all(|label| match label.name {
        METRIC_NAME => scheme.is_valid_metric_name(label.value),
        name => scheme.is_valid_label_name(name),
    })
}

fn check_limits(labels: &Labels, job: &Job) -> Result<(), LabelError> {
    let config = &job.config;
    let metric = || shortened(labels.metric_name());
    let (limit, have) = (config.label_limit, labels.len() as u64);
    if limit > 0 && have > limit {
        return Err(LabelError::TooMany { metric: metric(), have, limit });
    }
    let (name_limit, value_limit) = (config.label_name_length_limit, config.label_value_length_limit);
    if name_limit == 0 && value_limit == 0 {
        return Ok(());
    }
    for label in labels {
        let have = label.name.len() as u64;
        if name_limit > 0 && have > name_limit {
            return Err(LabelError::NameTooLong {
                metric: metric(),
                name: shortened(label.name),
                have,
                limit: name_limit,
            });
        }
        let have = label.value.len() as u64;
        if value_limit > 0 && have > value_limit {
            let (name, value) = (shortened(label.name), shortened(label.value));
            return Err(LabelError::ValueTooLong { metric: metric(), name, value, have, limit: value_limit });
        }
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn stored(config: config::ScrapeConfig, exposed: &[(&str, &str)]) -> Result<Option<String>, LabelError> {
        let job = Job::new(Arc::new(config));
        let target = Target::new(
            &job,
            Labels::from_pairs([("__address__", "a:1"), ("job", "j"), ("instance", "a:1")]),
            None,
        );
        let mut buf = LabelBuf::new();
        for (name, value) in exposed {
            buf.push(name, value);
        }
        buf.sort();
        let labels = stored_labels(&buf, &target, &job, &mut LabelsBuilder::new())?;
        Ok(labels.map(|labels| labels.to_string()))
    }

    #[test]
    fn conflicting_labels_are_exported_until_free() {
        let exposed = [("__name__", "m"), ("job", "own"), ("exported_job", "older"), ("instance", "")];
        assert_eq!(
            stored(config::ScrapeConfig::default(), &exposed).unwrap().unwrap(),
            r#"{__name__="m", exported_exported_job="own", exported_job="older", instance="a:1", job="j"}"#
        );
        let honoring = config::ScrapeConfig { honor_labels: true, ..config::ScrapeConfig::default() };
        assert_eq!(
            stored(honoring, &exposed).unwrap().unwrap(),
            r#"{__name__="m", exported_job="older", job="own"}"#,
            "an exposed empty label keeps the target's away"
        );
    }

    #[test]
    fn labels_that_make_room_for_another_make_room_in_turn() {
        let job = Job::new(Arc::new(config::ScrapeConfig::default()));
        let labelled = |of_target: &[(&str, &str)], exposed: &[(&str, &str)]| {
            let target = Target::new(&job, Labels::from_pairs(of_target.iter().copied()), None);
            let mut buf = LabelBuf::new();
            buf.push("__name__", "m");
            for (name, value) in exposed {
                buf.push(name, value);
            }
            buf.sort();
            stored_labels(&buf, &target, &job, &mut LabelsBuilder::new()).unwrap().unwrap().to_string()
        };
        assert_eq!(
            labelled(&[("foo", "3"), ("exported_foo", "4")], &[("foo", "1"), ("exported_foo", "2")]),
            r#"{__name__="m", exported_exported_exported_foo="2", exported_exported_foo="1", exported_foo="4", foo="3"}"#
        );
        assert_eq!(
            labelled(
                &[("foo", "0"), ("exported_exported_foo", "1"), ("exported_exported_exported_foo", "2")],
                &[("foo", "3"), ("exported_foo", "4"), ("exported_exported_exported_foo", "5")]
            ),
            r#"{__name__="m", exported_exported_exported_exported_exported_foo="5", exported_exported_exported_exported_foo="3", exported_exported_exported_foo="2", exported_exported_foo="1", exported_foo="4", foo="0"}"#
        );
        assert_eq!(labelled(&[("own", "t")], &[("n", "")]), r#"{__name__="m", own="t"}"#);
    }

    #[test]
    fn limits_count_what_is_stored() {
        let config = |label_limit, label_name_length_limit, label_value_length_limit| config::ScrapeConfig {
            label_limit,
            label_name_length_limit,
            label_value_length_limit,
            ..config::ScrapeConfig::default()
        };
        let exposed = [("__name__", "m"), ("a", "0123456789")];
        assert!(stored(config(4, 8, 10), &exposed).is_ok());
        let text = |limits| stored(limits, &exposed).unwrap_err().to_string();
        assert_eq!(text(config(3, 0, 0)), "label_limit exceeded (metric: m, number of labels: 4, limit: 3)");
        assert_eq!(
            text(config(0, 7, 0)),
            "label_name_length_limit exceeded (metric: m, label name: __name__, length: 8, limit: 7)"
        );
        assert_eq!(
            text(config(0, 0, 9)),
            "label_value_length_limit exceeded (metric: m, label name: a, value: \"0123456789\", length: 10, limit: 9)"
        );
    }

    #[test]
    fn a_series_needs_a_valid_name() {
        assert_eq!(stored(config::ScrapeConfig::default(), &[("a", "b")]), Err(LabelError::MissingName));
        let twice = [("__name__", "m"), ("a", "1"), ("a", "2")];
        assert!(matches!(
            stored(config::ScrapeConfig::default(), &twice),
            Err(LabelError::DuplicateLabel(_))
        ));
        let legacy = config::ScrapeConfig {
            metric_name_validation_scheme: config::decode::Chosen(Some(ValidationScheme::Legacy)),
            ..config::ScrapeConfig::default()
        };
        assert!(matches!(stored(legacy, &[("__name__", "a.b")]), Err(LabelError::InvalidName(_))));
    }
}
