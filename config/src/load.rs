//! From text and files to checked configurations.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::block::{Block, decode_over};
use crate::config::Config;
use crate::decode::{Walk, read};
use crate::defaults::Defaults;
use crate::error::{ConfigError, ConfigErrors, FaultKind};
use crate::scrape::{ScrapeConfig, ScrapeConfigFile, apply_global_to_all};
use crate::tree;
use crate::values::{clean_path, quoted};

/// What loading depends on beside the text.
pub struct LoadOptions<'a> {
    /// Whether the server runs as an agent.
    pub agent_mode: bool,
    /// The variables that external labels may name.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// What flags put in place of built-in defaults.
    pub defaults: Defaults,
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadOptions").field("agent_mode", &self.agent_mode).finish_non_exhaustive()
    }
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        LoadOptions { agent_mode: false, lookup: &|_| None, defaults: Defaults::default() }
    }
}

/// A loaded configuration and what its reader should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Environment variables that external labels name and that are empty or not set.
    pub empty_variables: Vec<String>,
}

impl Config {
    /// Loads a text; relative paths in it are joined with `base_dir`.
    ///
    /// # Errors
    /// All faults found.
    pub fn load(text: &str, base_dir: &Path, options: &LoadOptions<'_>) -> Result<Loaded, ConfigErrors> {
        let (root, mut walk) = open(text)?;
        walk.defaults = options.defaults.clone();
        let mut config = Config::empty(&options.defaults);
        if let Some(root) = root.filter(|root| !root.is_null()) {
            decode_over(&mut config, &root, &mut walk);
        }
        let mut config = finish(Some(config), walk)?;
        let mut empty_variables = Vec::new();
        config.expand_external_labels(options.lookup, &mut |name| {
            empty_variables.push(name.to_owned());
        });
        if options.agent_mode {
            config.check_agent_mode()?;
        }
        config.set_directory(base_dir);
        Ok(Loaded { config, empty_variables })
    }

    /// Loads a file; relative paths in it are joined with its folder.
    ///
    /// # Errors
    /// The file cannot be read, or all faults found.
    pub fn load_file(path: &Path, options: &LoadOptions<'_>) -> Result<Loaded, ConfigErrors> {
        let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        let prefix = format!("parsing YAML file {}: ", path.display());
        let text = utf8(&bytes).map_err(|errors| errors.with_prefix(prefix.as_str()))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Config::load(text, dir, options).map_err(|errors| match errors.errors.as_slice() {
            // Upstream refuses these after parsing, without a prefix.
            [one] if one.message.ends_with("is not allowed in agent mode") => errors,
            _ => errors.with_excerpts(path, text).with_prefix(prefix),
        })
    }

    fn check_agent_mode(&self) -> Result<(), ConfigErrors> {
        let refused = [
            ("alerting", !self.alerting.is_empty()),
            ("rule_files", !self.rule_files.is_empty()),
            ("remote_read", !self.remote_read.is_empty()),
        ];
        let errors: Vec<ConfigError> = refused
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(field, _)| ConfigError::whole(format!("field {field} is not allowed in agent mode")))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors::of(errors)) }
    }

    /// The jobs of this file and of those that `scrape_config_files` name, which
    /// are read now.
    ///
    /// # Errors
    /// A pattern is malformed, a file cannot be read or has faults, or a job's
    /// name is taken.
    pub fn all_scrape_configs(&self) -> Result<Vec<ScrapeConfig>, ConfigErrors> {
        let mut jobs: Vec<ScrapeConfig> = self.jobs().cloned().collect();
        let mut origins = self.job_origins();
        for pattern in &self.scrape_config_files {
            let files = glob_files(pattern).map_err(|fault| {
                let text = quoted(pattern);
                ConfigErrors::single(format!("error retrieving scrape config files for {text}: {fault}"))
            })?;
            for file in files {
                let prefix = format!("{}: ", quoted(&absolute(&file)));
                let found = self.jobs_of_file(&file, &mut origins);
                jobs.extend(found.map_err(|errors| errors.with_prefix(prefix))?);
            }
        }
        Ok(jobs)
    }

    fn jobs_of_file(
        &self,
        path: &Path,
        origins: &mut HashMap<String, String>,
    ) -> Result<Vec<ScrapeConfig>, ConfigErrors> {
        let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        let text = utf8(&bytes)?;
        let (root, mut walk) = open(text)?;
        let file: Option<ScrapeConfigFile> = match &root {
            Some(root) if !root.is_null() => read(root, &mut walk),
            _ => Some(ScrapeConfigFile::default()),
        };
        let mut file = file.unwrap_or_default();
        if walk.n_errors() == 0 {
            apply_global_to_all(&mut file.scrape_configs, &self.global, &mut walk);
        }
        let dir = path.parent().unwrap_or(Path::new(""));
        let mut jobs = Vec::new();
        for (index, mut job) in file.scrape_configs.into_iter().enumerate() {
            let Some(mut job) = job.take() else { continue };
            let name = job.job_name.clone();
            if let Some(first) = origins.get(&name) {
                let text = quoted(&name);
                walk.invalid_at(
                    ["scrape_configs".into(), index.into()],
                    format!("found multiple scrape configs with job name {text}, first found in {first}"),
                );
            }
            origins.insert(name, quoted(&absolute(path)));
            job.set_directory(dir);
            jobs.push(job);
        }
        finish(Some(jobs), walk).map_err(|errors| errors.with_excerpts(path, text))
    }

    /// The rule files that the patterns name now, in order; missing ones yield
    /// nothing.
    ///
    /// # Errors
    /// A pattern is malformed.
    pub fn rule_file_paths(&self) -> Result<Vec<PathBuf>, ConfigErrors> {
        let mut out = Vec::new();
        for pattern in &self.rule_files {
            let files = glob_files(pattern).map_err(|fault| {
                let text = quoted(pattern);
                ConfigErrors::single(format!("error retrieving rule files for {text}: {fault}"))
            })?;
            out.extend(files);
        }
        Ok(out)
    }
}

/// A pattern of file names that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct PatternFault;

/// The files of a pattern as Go's `filepath.Glob` finds them, sorted.
///
/// # Errors
/// A bracket or an escape of the pattern does not end.
pub fn glob_files(pattern: &str) -> Result<Vec<PathBuf>, PatternFault> {
    if !pattern.contains(['*', '?', '[', '\\']) {
        let path = PathBuf::from(pattern);
        return Ok(if path.symlink_metadata().is_ok() { vec![path] } else { Vec::new() });
    }
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let translated = go_pattern(pattern)?;
    let paths = glob::glob_with(&translated, options).map_err(|_| PatternFault)?;
    Ok(paths.filter_map(Result::ok).collect())
}

/// A pattern of Go in the `glob` crate's syntax: `[^a]` is `[!a]`, a backslash
/// escapes, `**` is `*`.
fn go_pattern(pattern: &str) -> Result<String, PatternFault> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next().ok_or(PatternFault)?;
                out.push_str(&glob::Pattern::escape(escaped.encode_utf8(&mut [0; 4])));
            }
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                out.push('*');
            }
            '[' => {
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('!');
                }
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    clean_path(&absolute.to_string_lossy())
}

/// Why a file cannot be read, in Go's words: a folder opens, but has no text.
fn unreadable(path: &Path, error: &std::io::Error) -> ConfigErrors {
    let verb = if error.kind() == std::io::ErrorKind::IsADirectory { "read" } else { "open" };
    ConfigErrors::single(format!("{verb} {}: {}", path.display(), io_text(error)))
}

/// An I/O error as Go says it: without the number.
fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = plain.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn utf8(bytes: &[u8]) -> Result<&str, ConfigErrors> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        ConfigErrors::of(vec![ConfigError {
            kind: FaultKind::Syntax,
            position: Some(tree::Position { line, column }),
            field: String::new(),
            message: "invalid UTF-8".to_owned(),
            suggestion: None,
        }])
    })
}

/// A tree and the walk through it.
pub(crate) fn open(text: &str) -> Result<(Option<Rc<tree::Node>>, Walk), ConfigErrors> {
    let root = tree::parse(text).map_err(|error| {
        let (kind, message) = match error.in_value {
            true => (FaultKind::Invalid, format!("yaml: {}", error.message)),
            false => (FaultKind::Syntax, error.message),
        };
        let position = Some(error.position);
        let fault = ConfigError { kind, position, field: String::new(), message, suggestion: None };
        ConfigErrors::of(vec![fault])
    })?;
    Ok((root.clone(), Walk::new(root)))
}

/// Reads a document that is one block; an empty one yields its defaults.
pub(crate) fn block_from_text<T: Block>(text: &str) -> Result<T, ConfigErrors> {
    let (root, mut walk) = open(text)?;
    let block = match root {
        Some(root) if !root.is_null() => read(&root, &mut walk),
        _ => Some(T::default()),
    };
    finish(block, walk)
}

/// The value, or all faults.
pub(crate) fn finish<T>(value: Option<T>, walk: Walk) -> Result<T, ConfigErrors> {
    match value {
        Some(value) if walk.n_errors() == 0 => Ok(value),
        _ => Err(ConfigErrors::of(walk.into_errors())),
    }
}
