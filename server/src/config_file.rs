//! The configuration file: which one, loaded how, and what of it nothing acts on.

use std::path::{Path, PathBuf};

use config::{Config, ConfigErrors, Defaults, LoadOptions, ScrapeConfig};

use crate::environment::Environment;
use crate::flags::Flags;
use crate::settings::{self, listen_port};

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file.
    File(PathBuf),
    /// The one inside the binary: the server scrapes itself.
    Embedded(String),
}

/// A configuration, checked, with the jobs of all files it names.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The file.
    pub config: Config,
    /// Its jobs and those of `scrape_config_files`.
    pub jobs: Vec<ScrapeConfig>,
    /// Sections and mechanisms that are accepted though nothing acts on them.
    pub inactive: Vec<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// It has faults.
    Faults {
        /// The file.
        file: String,
        /// All of them.
        errors: ConfigErrors,
    },
    /// It asks for what does not exist yet.
    Inactive {
        /// The file.
        file: String,
        /// The sections and mechanisms.
        names: Vec<String>,
    },
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (LoadError::Faults { file, .. } | LoadError::Inactive { file, .. }) = self;
        let file = model::labels::go_quote(file);
        write!(f, "couldn't load configuration (--config.file={file}): {}", self.fault())
    }
}

impl std::error::Error for LoadError {}

impl LoadError {
    /// The fault alone, for a start that has named the file already.
    pub fn fault(&self) -> String {
        match self {
            LoadError::Faults { errors, .. } => errors.to_string(),
            LoadError::Inactive { names, .. } => format!(
                "nothing acts on {} yet; remove it, or accept it without effect with --allow-inactive={}",
                names.join(", "),
                names.join(",")
            ),
        }
    }

    /// The faults' lines as a compiler shows them, empty where there are none.
    pub fn excerpts(&self) -> &str {
        match self {
            LoadError::Faults { errors, .. } => &errors.excerpts,
            LoadError::Inactive { .. } => "",
        }
    }
}

impl ConfigSource {
    /// The embedded configuration serves only a program called `narthex` that is
    /// given no file and finds none where it runs.
    pub fn choose(program: &str, flags: &Flags, environment: &Environment) -> ConfigSource {
        let file = PathBuf::from(flags.text("config.file"));
        let here = Path::new(&environment.working_directory).join(&file).exists();
        if program == "narthex" && !flags.is_given("config.file") && !here {
            let port = listen_port(&flags.texts("web.listen-address")[0]).to_owned();
            return ConfigSource::Embedded(embedded(&port));
        }
        ConfigSource::File(file)
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            ConfigSource::File(path) => path.display().to_string(),
            ConfigSource::Embedded(_) => "embedded".to_owned(),
        }
    }

    /// Loads and checks it; nothing is applied.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, flags: &Flags, environment: &Environment) -> Result<LoadedConfig, LoadError> {
        let lookup = |name: &str| environment.variables.get(name).cloned();
        let options = LoadOptions {
            agent_mode: flags.bool("agent"),
            lookup: &lookup,
            defaults: defaults(flags, environment),
        };
        let faults = |errors| LoadError::Faults { file: self.name(), errors };
        let loaded = match self {
            ConfigSource::File(path) => Config::load_file(path, &options),
            ConfigSource::Embedded(text) => Config::load(text, Path::new(""), &options),
        };
        let loaded = loaded.map_err(faults)?;
        for name in &loaded.empty_variables {
            tracing::warn!(name, "Empty environment variable");
        }
        let jobs = loaded.config.all_scrape_configs().map_err(faults)?;
        let allowed = flags.texts("allow-inactive");
        let (inactive, names): (Vec<String>, Vec<String>) =
            inactive(&loaded.config, &jobs).into_iter().partition(|name| allowed.contains(name));
        if !names.is_empty() {
            return Err(LoadError::Inactive { file: self.name(), names });
        }
        Ok(LoadedConfig { config: loaded.config, jobs, inactive })
    }
}

/// What flags and variables put in place of built-in defaults.
fn defaults(flags: &Flags, environment: &Environment) -> Defaults {
    let plain = Defaults::default();
    let gogc = match environment.variables.get("GOGC").map(String::as_str) {
        Some("off") => -1,
        Some(text) => text.parse().unwrap_or(plain.gogc),
        None => plain.gogc,
    };
    Defaults {
        proto_first: flags.has_feature("created-timestamp-zero-ingestion") || flags.has_feature("st-storage"),
        extra_scrape_metrics: flags.has_feature("extra-scrape-metrics"),
        gogc,
        retention: settings::retention_flags(flags),
    }
}

/// The configuration of a server that was given none: it scrapes itself.
fn embedded(port: &str) -> String {
    format!(
        "global:\n  scrape_interval: 5s\n  scrape_timeout: 5s\nscrape_configs:\n  - job_name: prometheus\n    \
         static_configs:\n      - targets: [\"localhost:{port}\"]\n"
    )
}

/// What the configuration asks for that nothing acts on.
fn inactive(config: &Config, jobs: &[ScrapeConfig]) -> Vec<String> {
    let mut names: Vec<String> =
        config.sections_in_use().into_iter().map(|section| section.name().to_owned()).collect();
    for job in jobs {
        let mechanisms = discovery::without_effect(&job.discovery);
        names.extend(mechanisms.into_iter().map(|name| format!("{name}_sd_configs")));
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Invocation, parse};

    fn flags(args: &[&str]) -> Flags {
        match parse("narthex", args.iter().map(|&a| a.to_owned())) {
            Ok(Invocation::Run(flags)) => flags,
            other => panic!("{other:?}"),
        }
    }

    fn here(dir: &Path) -> Environment {
        Environment { working_directory: dir.display().to_string(), ..Environment::default() }
    }

    #[test]
    fn the_embedded_configuration_serves_only_where_nothing_else_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let embedded = |program: &str, args: &[&str]| {
            matches!(
                ConfigSource::choose(program, &flags(args), &here(dir.path())),
                ConfigSource::Embedded(_)
            )
        };
        assert!(embedded("narthex", &[]));
        assert!(!embedded("prometheus", &[]));
        assert!(!embedded("narthex", &["--config.file=prometheus.yml"]));
        std::fs::write(dir.path().join("prometheus.yml"), "").unwrap();
        assert!(!embedded("narthex", &[]));
    }

    #[test]
    fn the_embedded_configuration_scrapes_the_port_that_is_listened_on() {
        let dir = tempfile::tempdir().unwrap();
        let flags = flags(&["--web.listen-address=:9191"]);
        let source = ConfigSource::choose("narthex", &flags, &here(dir.path()));
        let loaded = source.load(&flags, &here(dir.path())).unwrap();
        assert_eq!(loaded.jobs.len(), 1);
        assert_eq!(loaded.jobs[0].job_name, "prometheus");
        assert_eq!(loaded.jobs[0].scrape_interval.0, 5000);
        let group = loaded.jobs[0].discovery.static_groups().next().unwrap();
        assert_eq!(group.targets, ["localhost:9191"]);
    }

    #[test]
    fn sections_without_effect_are_refused_by_name_unless_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.yml");
        std::fs::write(&file, "rule_files: [r.yml]\nremote_write:\n  - url: http://x/\n").unwrap();
        let source = ConfigSource::File(file);
        let error = source.load(&flags(&[]), &here(dir.path())).unwrap_err().to_string();
        assert!(error.contains("nothing acts on remote_write, rule_files yet"), "{error}");
        let allowed = flags(&["--allow-inactive=rule_files,remote_write"]);
        let loaded = source.load(&allowed, &here(dir.path())).unwrap();
        assert_eq!(loaded.inactive, ["remote_write", "rule_files"]);
    }
}
