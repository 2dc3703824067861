//! The whole file.
//! Source: Prometheus `config/config.go`, `Config`.

use std::collections::HashMap;
use std::path::Path;

use model::names::ValidationScheme;

use crate::alerting::AlertingConfig;
use crate::block::{Block, Fields, block};
use crate::decode::{Step, Value, Walk};
use crate::defaults::Defaults;
use crate::global::{GlobalConfig, RuntimeConfig};
use crate::remote::{RemoteReadConfig, RemoteWriteConfig};
use crate::scrape::{ScrapeConfig, apply_global_to_all};
use crate::storage::{OtlpConfig, StorageConfig, TracingConfig, TranslationStrategy, TsdbConfig};
use crate::values::{join_dir, quoted};

block! {
    /// A configuration file, its defaults filled in.
    pub struct Config: "config.plain" {
        /// What holds for all jobs and rules that say nothing else.
        global: GlobalConfig => always "global",
        /// The process itself.
        runtime: RuntimeConfig => omit "runtime",
        /// Alerts and who gets them.
        alerting: AlertingConfig => omit "alerting",
        /// Patterns of rule files.
        rule_files: Vec<String> => omit "rule_files",
        /// Patterns of files with further jobs.
        scrape_config_files: Vec<String> => omit "scrape_config_files",
        /// The jobs of this file.
        scrape_configs: Vec<Option<ScrapeConfig>> => omit "scrape_configs",
        /// What is kept, how.
        storage: StorageConfig => omit "storage",
        /// Where the server's own traces go.
        tracing: TracingConfig => omit "tracing",
        /// Where samples are sent.
        remote_write: Vec<Option<RemoteWriteConfig>> => omit "remote_write",
        /// Where samples are read from.
        remote_read: Vec<Option<RemoteReadConfig>> => omit "remote_read",
        /// How OTLP data is taken in.
        otlp: OtlpConfig => omit "otlp",
    }
}

/// What an empty file means without any flag.
impl Default for Config {
    fn default() -> Config {
        Config::empty(&Defaults::default())
    }
}

fn empty_tsdb(defaults: &Defaults) -> TsdbConfig {
    TsdbConfig { retention: Some(defaults.retention.clone()), ..TsdbConfig::zeroed() }
}

/// `^[^*]*(\*[^/]*)?$`: a pattern has its first `*` in the last segment.
fn is_valid_pattern(path: &str) -> bool {
    path.split_once('*').is_none_or(|(_, after)| !after.contains('/'))
}

impl Block for Config {
    fn finish(&mut self, walk: &mut Walk) {
        if self.global.all_zero() {
            self.global = GlobalConfig::absent(&walk.defaults);
        }
        if self.runtime.all_zero() {
            self.runtime = RuntimeConfig { gogc: walk.defaults.gogc };
        }
        self.storage.tsdb.get_or_insert_with(|| empty_tsdb(&walk.defaults));
        check_patterns(&self.rule_files, "rule_files", "rule", walk);
        check_patterns(&self.scrape_config_files, "scrape_config_files", "scrape config", walk);
        apply_global_to_all(&mut self.scrape_configs, &self.global, walk);
        self.check_job_names(walk);
        self.alerting.check_rules(self.global.name_scheme(), walk);
        self.check_remote_write(walk);
        self.check_remote_read(walk);
        self.check_translation(walk);
    }
}

fn check_patterns(paths: &[String], field: &str, what: &str, walk: &mut Walk) {
    for (index, path) in paths.iter().enumerate() {
        if !is_valid_pattern(path) {
            walk.invalid_at(
                [field.into(), index.into()],
                format!("invalid {what} file path {}", quoted(path)),
            );
        }
    }
}

/// Refuses a name that an earlier item of the list has; empty names do not count.
fn check_unique<'a>(names: impl Iterator<Item = Option<&'a str>>, field: &str, what: &str, walk: &mut Walk) {
    let mut seen = std::collections::HashSet::new();
    for (index, name) in names.enumerate() {
        let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
        if !seen.insert(name) {
            let message = format!("found multiple {what} configs with job name {}", quoted(name));
            walk.invalid_at([field.into(), index.into()], message);
        }
    }
}

impl Config {
    /// What an empty file means.
    pub fn empty(defaults: &Defaults) -> Config {
        Config {
            global: GlobalConfig::absent(defaults),
            runtime: RuntimeConfig { gogc: defaults.gogc },
            storage: StorageConfig { tsdb: Some(empty_tsdb(defaults)), ..StorageConfig::zeroed() },
            otlp: OtlpConfig::default(),
            ..Config::zeroed()
        }
    }

    fn check_job_names(&self, walk: &mut Walk) {
        let names = self.scrape_configs.iter().map(|job| job.as_ref().map(|job| job.job_name.as_str()));
        check_unique(names, "scrape_configs", "scrape", walk);
    }

    fn check_remote_write(&mut self, walk: &mut Walk) {
        let scheme = self.global.name_scheme();
        for (index, remote) in self.remote_write.iter_mut().enumerate() {
            let at = [Step::from("remote_write"), Step::from(index)];
            match remote {
                None => walk.invalid_at(at, "empty or null remote write config section"),
                Some(remote) => walk.within("remote_write", |walk| {
                    walk.within(index, |walk| {
                        let rules = &mut remote.write_relabel_configs;
                        crate::relabel::check_rules(rules, "write_relabel_configs", scheme, walk);
                    });
                }),
            }
        }
        let names = self.remote_write.iter().map(|remote| remote.as_ref().map(|remote| remote.name.as_str()));
        check_unique(names, "remote_write", "remote write", walk);
    }

    fn check_remote_read(&self, walk: &mut Walk) {
        for (index, _) in self.remote_read.iter().enumerate().filter(|(_, remote)| remote.is_none()) {
            let at = [Step::from("remote_read"), Step::from(index)];
            walk.invalid_at(at, "empty or null remote read config section");
        }
        let names = self.remote_read.iter().map(|remote| remote.as_ref().map(|remote| remote.name.as_str()));
        check_unique(names, "remote_read", "remote read", walk);
    }

    fn check_translation(&self, walk: &mut Walk) {
        let strategy = &self.otlp.translation_strategy;
        let name = quoted(strategy.name());
        let at = [Step::from("otlp"), Step::from("translation_strategy")];
        match strategy {
            TranslationStrategy::Unknown(text) if !text.is_empty() => {
                walk.invalid_at(at, format!("unsupported OTLP translation strategy {name}"));
            }
            strategy if strategy.keeps_utf8() && self.global.name_scheme() == ValidationScheme::Legacy => {
                let message =
                    format!("OTLP translation strategy {name} is not allowed when UTF8 is disabled");
                walk.invalid_at(at, message);
            }
            _ => {}
        }
    }

    /// The jobs of this file; [`crate::Config::all_scrape_configs`] adds those of
    /// other files.
    pub fn jobs(&self) -> impl Iterator<Item = &ScrapeConfig> {
        self.scrape_configs.iter().flatten()
    }

    /// The places that samples are sent to.
    pub fn remote_writes(&self) -> impl Iterator<Item = &RemoteWriteConfig> {
        self.remote_write.iter().flatten()
    }

    /// The places that samples are read from.
    pub fn remote_reads(&self) -> impl Iterator<Item = &RemoteReadConfig> {
        self.remote_read.iter().flatten()
    }

    /// The file as upstream prints it: defaults filled in, secrets hidden.
    pub fn to_yaml(&self) -> String {
        self.encode().to_text()
    }

    /// The sections that some subsystem must serve: what the file asks for
    /// beyond scraping and storing.
    pub fn sections_in_use(&self) -> Vec<Section> {
        [
            (Section::RuleFiles, !self.rule_files.is_empty()),
            (Section::Alerting, !self.alerting.is_empty()),
            (Section::RemoteWrite, !self.remote_write.is_empty()),
            (Section::RemoteRead, !self.remote_read.is_empty()),
            (Section::Tracing, !self.tracing.endpoint.is_empty()),
        ]
        .into_iter()
        .filter_map(|(section, in_use)| in_use.then_some(section))
        .collect()
    }

    /// The mechanisms that jobs and Alertmanagers use, sorted by name.
    pub fn mechanisms_in_use(&self) -> Vec<&'static str> {
        let jobs = self.jobs().map(|job| &job.discovery);
        let groups = self.alerting.alertmanagers.iter().flatten().map(|group| &group.discovery);
        let mut names: Vec<&str> =
            jobs.chain(groups).flat_map(|blocks| blocks.in_use()).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Joins relative paths with the folder of the file they stand in.
    pub fn set_directory(&mut self, dir: &Path) {
        self.global.set_directory(dir);
        self.alerting.set_directory(dir);
        self.tracing.set_directory(dir);
        self.rule_files.iter_mut().for_each(|path| join_dir(dir, path));
        self.scrape_config_files.iter_mut().for_each(|path| join_dir(dir, path));
        self.scrape_configs.iter_mut().flatten().for_each(|job| job.set_directory(dir));
        self.remote_write.iter_mut().flatten().for_each(|remote| remote.set_directory(dir));
        self.remote_read.iter_mut().flatten().for_each(|remote| remote.set_directory(dir));
    }

    /// Expands `$X`, `${X}` and `$$` in the values of external labels. Unset
    /// variables become empty and are reported to `warn` by name.
    pub fn expand_external_labels(
        &mut self,
        lookup: &dyn Fn(&str) -> Option<String>,
        warn: &mut dyn FnMut(&str),
    ) {
        for value in self.global.external_labels.0.values_mut() {
            *value = expand(value, lookup, warn);
        }
    }

    /// The job names of this file, each with what is said of where it stands.
    pub(crate) fn job_origins(&self) -> HashMap<String, String> {
        self.jobs().map(|job| (job.job_name.clone(), "main config file".to_owned())).collect()
    }
}

/// A section that some subsystem must serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// `rule_files`
    RuleFiles,
    /// `alerting`
    Alerting,
    /// `remote_write`
    RemoteWrite,
    /// `remote_read`
    RemoteRead,
    /// `tracing`
    Tracing,
}

impl Section {
    /// The section's name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Section::RuleFiles => "rule_files",
            Section::Alerting => "alerting",
            Section::RemoteWrite => "remote_write",
            Section::RemoteRead => "remote_read",
            Section::Tracing => "tracing",
        }
    }
}

/// Go's `os.Expand`: `${name}`, `$name`, `$` before one of `*#$@!?-0-9`.
fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>, warn: &mut dyn FnMut(&str)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let (name, tail) = match variable(&rest[at + 1..]) {
            Variable::Named(name, tail) => (name, tail),
            Variable::Swallowed(tail) => {
                rest = tail;
                continue;
            }
            Variable::None => {
                out.push('$');
                rest = &rest[at + 1..];
                continue;
            }
        };
        rest = tail;
        if name == "$" {
            out.push('$');
            continue;
        }
        match lookup(name).filter(|value| !value.is_empty()) {
            Some(value) => out.push_str(&value),
            None => warn(name),
        }
    }
    out.push_str(rest);
    out
}

enum Variable<'a> {
    /// A name and what follows it.
    Named(&'a str, &'a str),
    /// Bad syntax: these characters vanish.
    Swallowed(&'a str),
    /// The dollar stands for itself.
    None,
}

/// What stands behind a dollar.
fn variable(text: &str) -> Variable<'_> {
    let is_special = |c: char| "*#$@!?-".contains(c) || c.is_ascii_digit();
    if let Some(inner) = text.strip_prefix('{') {
        let mut chars = inner.chars();
        if let (Some(first), Some('}')) = (chars.next(), chars.next())
            && is_special(first)
        {
            return Variable::Named(&inner[..1], &inner[2..]);
        }
        return match inner.find('}') {
            Some(0) => Variable::Swallowed(&inner[1..]),
            Some(end) => Variable::Named(&inner[..end], &inner[end + 1..]),
            None => Variable::Swallowed(inner),
        };
    }
    if text.starts_with(is_special) {
        return Variable::Named(&text[..1], &text[1..]);
    }
    let len = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    if len == 0 { Variable::None } else { Variable::Named(&text[..len], &text[len..]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_labels_expand_as_go_does() {
        let lookup = |name: &str| (name == "X").then(|| "x".to_owned());
        let mut unset = Vec::new();
        for (text, expanded) in [
            ("$X", "x"),
            ("a${X}b", "axb"),
            ("$$X", "$X"),
            ("${Y}", ""),
            ("a$", "a$"),
            ("$/", "$/"),
            ("${}a", "a"),
            ("${X", "X"),
            ("$1", ""),
        ] {
            assert_eq!(expand(text, &lookup, &mut |name| unset.push(name.to_owned())), expanded, "{text}");
        }
        assert_eq!(unset, ["Y", "1"]);
    }
}
