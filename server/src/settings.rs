//! From flags to the settings of each part.

use std::path::PathBuf;
use std::time::Duration;

use config::storage::RetentionConfig;
use config::{ByteSize, Config};
use model::admin::RuntimeSettings;
use model::query::ChunkEncoding;
use model::time::PromDuration;
use net::go_url::GoUrl;

use crate::environment::{self, Environment};
use crate::flags::Flags;

/// Memory is bounded by this much where nothing says otherwise and the machine
/// does not tell how much it has.
const MEMORY_FALLBACK_BYTES: u64 = 4 << 30;

/// Settings that cannot be used; the process ends with the code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SettingsError {
    /// What is wrong.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

fn fatal(code: u8, message: impl Into<String>) -> SettingsError {
    SettingsError { message: message.into(), code }
}

/// The ceiling of memory in bytes: the flag, else a share of what the container
/// or the machine has.
///
/// # Errors
/// The share is none.
pub fn memory_limit(flags: &Flags, environment: &Environment) -> Result<u64, SettingsError> {
    let ratio = flags.number("auto-gomemlimit.ratio");
    if !(ratio > 0.0 && ratio <= 1.0) {
        return Err(fatal(1, "--auto-gomemlimit.ratio must be greater than 0 and less than or equal to 1."));
    }
    if let Some(bytes) = flags.bytes("memory.limit") {
        return Ok(bytes);
    }
    if !flags.bool("auto-gomemlimit") {
        return Ok(u64::MAX);
    }
    Ok((environment.memory_bytes.unwrap_or(MEMORY_FALLBACK_BYTES) as f64 * ratio) as u64)
}

/// Where the server is reached from outside: (URL, route prefix).
///
/// A URL may lack scheme and host: `/prometheus` is a prefix behind a proxy.
///
/// # Errors
/// The flag is no URL.
pub fn external_url(flags: &Flags, environment: &Environment) -> Result<(String, String), SettingsError> {
    let given = flags.text("web.external-url");
    let unusable =
        |why: String| fatal(2, format!("parse external URL {}: {why}", model::labels::go_quote(given)));
    let url = match given {
        "" => {
            let addresses = flags.texts("web.listen-address");
            let address = addresses.first().map_or("", String::as_str);
            let fault = |what: &str| match address {
                "" => unusable(what.to_owned()),
                address => unusable(format!("address {address}: {what}")),
            };
            let (host, port) = address.rsplit_once(':').ok_or_else(|| fault("missing port in address"))?;
            if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
                return Err(fault("too many colons in address"));
            }
            format!("http://{}:{port}/", environment.hostname)
        }
        url => url.to_owned(),
    };
    let quoted = |c: char| c == '"' || c == '\'';
    if url.starts_with(quoted) || url.ends_with(quoted) {
        return Err(unusable("URL must not begin or end with quotes".to_owned()));
    }
    let path = GoUrl::parse(&url)
        .map_err(|why| unusable(format!("parse {}: {why}", model::labels::go_quote(&url))))?
        .plain_path()
        .trim_end_matches('/')
        .to_owned();
    let prefix = match flags.text("web.route-prefix") {
        "" => path,
        prefix => prefix.to_owned(),
    };
    Ok((url.trim_end_matches('/').to_owned(), format!("/{}", prefix.trim_matches('/'))))
}

/// Checks what the command line alone decides, before anything is started.
///
/// # Errors
/// A value that no server can run with.
pub fn check(flags: &Flags) -> Result<(), SettingsError> {
    let limit = flags.integer("web.search.max-limit");
    if limit < 0 {
        return Err(fatal(
            1,
            format!("--web.search.max-limit must be non-negative; got {limit} (use 0 to disable the cap)"),
        ));
    }
    if flags.bool("agent") && flags.integer("storage.agent.checkpoint-batch-size") <= 0 {
        return Err(fatal(1, "--storage.agent.checkpoint-batch-size must be greater than 0."));
    }
    let origin = flags.text("web.cors.origin");
    if let Err(error) = model::matcher::GoRegex::anchored(origin) {
        let origin = model::labels::go_quote(origin).into_owned();
        return Err(fatal(2, format!("could not compile CORS regex string {origin}: {error}")));
    }
    Ok(())
}

/// The port of a listen address.
pub fn listen_port(address: &str) -> &str {
    address.rsplit_once(':').map_or("9090", |(_, port)| port)
}

/// How long samples are kept where nothing says otherwise.
pub const RETENTION_MS: i64 = 15 * 24 * 3_600_000;

/// Exemplars that are kept where the configuration does not say.
pub const EXEMPLARS_MAX: i64 = 100_000;

/// What the deprecated retention flags say, fifteen days where they say nothing;
/// the file's own block replaces all of it, so that an empty one keeps for ever.
pub fn retention_flags(flags: &Flags) -> RetentionConfig {
    let time_ms = flags.duration_ms("storage.tsdb.retention.time");
    let size = flags.bytes("storage.tsdb.retention.size").and_then(|bytes| i64::try_from(bytes).ok());
    let size = size.unwrap_or(0);
    let time_ms = if time_ms == 0 && size == 0 { RETENTION_MS } else { time_ms };
    RetentionConfig { time: PromDuration(time_ms), size: ByteSize(size), ..RetentionConfig::default() }
}

/// Settings of the store that a reload may change.
///
/// # Errors
/// A value passes its range.
pub fn runtime_settings(flags: &Flags, config: &Config) -> Result<RuntimeSettings, SettingsError> {
    let tsdb = config.storage.tsdb.as_ref();
    let retention = tsdb.and_then(|tsdb| tsdb.retention.clone()).unwrap_or_else(|| retention_flags(flags));
    let size = Some(retention.size.0).filter(|&bytes| bytes > 0);
    let percentage = Some(retention.percentage).filter(|&p| p > 0.0);
    const YEARS_100_MS: i64 = 100 * 365 * 24 * 3_600_000;
    // An overflow has made it negative.
    let time_ms = if retention.time.0 < 0 { YEARS_100_MS } else { retention.time.0 };
    let millis = |ms: i64| Duration::from_millis(ms.max(0).unsigned_abs());
    let exemplars =
        config.storage.exemplars.as_ref().map_or(EXEMPLARS_MAX, |exemplars| exemplars.max_exemplars);
    let exemplars = if flags.has_feature("exemplar-storage") { exemplars } else { 0 };
    let float_encoding = match tsdb.map_or("", |tsdb| tsdb.chunk_encoding.floats.as_str()) {
        "xor2" => ChunkEncoding::Xor2,
        "" if flags.has_feature("xor2-encoding") => ChunkEncoding::Xor2,
        // As upstream, which would not start on what was written here otherwise.
        _ if flags.has_feature("st-storage") => {
            return Err(fatal(
                1,
                "opening storage failed: float chunk encoding \"xor\" is incompatible with start-timestamp \
                 storage (--enable-feature=st-storage): set storage.tsdb.chunk_encoding.floats to \"xor2\"",
            ));
        }
        _ => ChunkEncoding::Xor,
    };
    Ok(RuntimeSettings {
        retention_time: (time_ms > 0).then(|| millis(time_ms)),
        retention_bytes: size.and_then(|bytes| u64::try_from(bytes).ok()),
        retention_percentage: percentage,
        out_of_order_window: millis(tsdb.map_or(0, |tsdb| tsdb.out_of_order_time_window.0)),
        max_exemplars: usize::try_from(exemplars).unwrap_or(0),
        stale_series_compaction_threshold: tsdb.map_or(0.0, |tsdb| tsdb.stale_series_compaction_threshold),
        float_encoding,
    })
}

/// How long and how much is kept, as the log tells it: duration, size, percentage.
pub fn retention_facts(settings: &RuntimeSettings) -> [String; 3] {
    let millis =
        settings.retention_time.map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    [
        model::time::format_duration_ms(millis),
        crate::flags::format_bytes(settings.retention_bytes.unwrap_or(0)),
        settings.retention_percentage.unwrap_or(0.0).to_string(),
    ]
}

/// Checks what flags and configuration together say of the store, before it is
/// opened; what is corrected is warned of.
///
/// # Errors
/// The share of a file system is wanted whose size cannot be known.
pub fn check_storage(flags: &Flags, config: &Config) -> Result<(), SettingsError> {
    let settings = runtime_settings(flags, config)?;
    if flags.duration_ms("storage.tsdb.block-reload-interval") < 1000 {
        tracing::warn!(
            "The option --storage.tsdb.block-reload-interval is set to a value less than 1s. Setting it to 1s to avoid overload."
        );
    }
    let time_ms = config.storage.tsdb.as_ref().and_then(|tsdb| tsdb.retention.as_ref()).map(|it| it.time.0);
    if time_ms.is_some_and(|ms| ms < 0) {
        tracing::warn!("Time retention value is too high. Limiting to: 100y");
    }
    let percent = flags.integer("storage.tsdb.delayed-compaction.max-percent");
    if flags.has_feature("delayed-compaction") && !(1..=100).contains(&percent) {
        tracing::warn!(
            default = 10,
            "The --storage.tsdb.delayed-compaction.max-percent should have a value between 1 and 100. Using default"
        );
    }
    let Some(percentage) = settings.retention_percentage else { return Ok(()) };
    if settings.retention_bytes.is_some() {
        tracing::warn!(
            "storage.tsdb.retention.size is ignored, because storage.tsdb.retention.percentage is specified"
        );
    }
    let dir = data_dir(flags);
    match environment::file_system_bytes(&dir) {
        Some(_) => Ok(()),
        None => Err(fatal(
            2,
            format!(
                "unable to detect total capacity of metric storage at {}, please disable retention percentage ({percentage}%)",
                dir.display()
            ),
        )),
    }
}

/// Notes in the flags what came of those that only state a wish.
pub fn note_effective(flags: &mut Flags, config: &Config, route_prefix: &str) {
    flags.set_effective("web.route-prefix", route_prefix.to_owned());
    if let Ok(settings) = runtime_settings(flags, config) {
        let [time, size, _] = retention_facts(&settings);
        flags.set_effective("storage.tsdb.retention.time", time);
        flags.set_effective("storage.tsdb.retention.size", size);
        let longest = max_block_duration_ms(flags, &settings);
        flags.set_effective("storage.tsdb.max-block-duration", model::time::format_duration_ms(longest));
    }
}

/// The longest range of a block: the flag, else a tenth of the retention, at
/// most 31 days.
pub fn max_block_duration_ms(flags: &Flags, settings: &RuntimeSettings) -> i64 {
    const MONTH_MS: i64 = 31 * 24 * 3_600_000;
    let kept_ms = settings.retention_time.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    match flags.duration_ms("storage.tsdb.max-block-duration") {
        0 => kept_ms.map_or(MONTH_MS, |kept| (kept / 10).min(MONTH_MS)),
        given => given,
    }
}

/// How often the configuration's files are looked at; `None` where they are not.
pub fn auto_reload_interval(flags: &Flags) -> Option<Duration> {
    let on = flags.bool("config.auto-reload") || flags.has_feature("auto-reload-config");
    let interval_ms = flags.duration_ms("config.auto-reload-interval").max(1000);
    on.then(|| Duration::from_millis(interval_ms.unsigned_abs()))
}

/// How many threads do the work: as many processors as the container's share
/// is worth, or all.
pub fn worker_threads(flags: &Flags) -> usize {
    match flags.bool("auto-gomaxprocs") {
        true => std::thread::available_parallelism().map_or(1, usize::from),
        false => environment::processors(),
    }
}

/// Where samples are kept.
pub fn data_dir(flags: &Flags) -> PathBuf {
    PathBuf::from(flags.text("storage.tsdb.path"))
}

/// Facts of the build for the API, in upstream's order.
pub fn build_facts() -> Vec<(&'static str, String)> {
    let build = crate::build::INFO;
    vec![
        ("version", build.version.to_owned()),
        ("revision", build.revision.to_owned()),
        ("branch", build.branch.to_owned()),
        ("buildUser", build.user.to_owned()),
        ("buildDate", build.date.to_owned()),
        ("goVersion", build.compiler.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Invocation, parse};

    fn flags(args: &[&str]) -> Flags {
        match parse("prometheus", args.iter().map(|&arg| arg.to_owned())) {
            Ok(Invocation::Run(flags)) => flags,
            other => panic!("{other:?}"),
        }
    }

    fn url(args: &[&str]) -> Result<(String, String), String> {
        let flags = flags(args);
        let environment = Environment { hostname: "host".to_owned(), ..Environment::default() };
        external_url(&flags, &environment).map_err(|error| {
            assert_eq!(error.code, 2);
            error.message
        })
    }

    #[test]
    fn the_external_url_gives_the_prefix_and_may_be_a_path_alone() {
        for (args, external, prefix) in [
            (&[][..], "http://host:9090", "/"),
            (&["--web.listen-address=[::1]:80"], "http://host:80", "/"),
            (&["--web.external-url=https://a.example/prom/"], "https://a.example/prom", "/prom"),
            (&["--web.external-url=/prom/"], "/prom", "/prom"),
            (&["--web.external-url=prom"], "prom", "/prom"),
            (&["--web.external-url=http://a/%61%20b"], "http://a/%61%20b", "/a b"),
            (&["--web.external-url=a.example:9090/x"], "a.example:9090/x", "/"),
            (&["--web.external-url=//a.example/x"], "//a.example/x", "/x"),
            (&["--web.external-url=http://a:1/x", "--web.route-prefix=/"], "http://a:1/x", "/"),
            (&["--web.route-prefix=y/z/"], "http://host:9090", "/y/z"),
        ] {
            assert_eq!(url(args).unwrap(), (external.to_owned(), prefix.to_owned()), "{args:?}");
        }
    }

    #[test]
    fn a_retention_block_replaces_the_flags_and_may_keep_for_ever() {
        const DAY: Duration = Duration::from_secs(86_400);
        for (args, text, time, bytes) in [
            (&[][..], "", Some(15 * DAY), None),
            (&[], "storage: {tsdb: {out_of_order_time_window: 1m}}", Some(15 * DAY), None),
            (&[], "storage: {tsdb: {retention: {time: 0s}}}", None, None),
            (&[], "storage: {tsdb: {retention: {size: 0B}}}", None, None),
            (&[], "storage: {tsdb: {retention: {}}}", None, None),
            (&[], "storage: {tsdb: {retention: {time: 2d}}}", Some(2 * DAY), None),
            (&[], "storage: {tsdb: {retention: {size: 1GB}}}", None, Some(1 << 30)),
            (&["--storage.tsdb.retention.time=3d"], "", Some(3 * DAY), None),
            (&["--storage.tsdb.retention.time=0s"], "", Some(15 * DAY), None),
            (&["--storage.tsdb.retention.size=1GB"], "", None, Some(1 << 30)),
            (&["--storage.tsdb.retention.size=1GB"], "storage: {tsdb: {retention: {}}}", None, None),
        ] {
            let flags = flags(args);
            let defaults = config::Defaults { retention: retention_flags(&flags), ..Default::default() };
            let lookup = |_: &str| None;
            let options = config::LoadOptions { agent_mode: false, lookup: &lookup, defaults };
            let loaded = Config::load(text, std::path::Path::new(""), &options).unwrap();
            let settings = runtime_settings(&flags, &loaded.config).unwrap();
            assert_eq!((settings.retention_time, settings.retention_bytes), (time, bytes), "{args:?} {text}");
        }
    }

    #[test]
    fn what_is_no_url_is_told_in_upstreams_words() {
        for (arg, message) in [
            ("%zz", r#"parse external URL "%zz": parse "%zz": invalid URL escape "%zz""#),
            (":80", r#"parse external URL ":80": parse ":80": missing protocol scheme"#),
            ("'x'", r#"parse external URL "'x'": URL must not begin or end with quotes"#),
            (
                "http://a:b/",
                r#"parse external URL "http://a:b/": parse "http://a:b/": invalid port ":b" after host"#,
            ),
        ] {
            assert_eq!(url(&[&format!("--web.external-url={arg}")]).unwrap_err(), message);
        }
        for (address, message) in [
            ("nope", "address nope: missing port in address"),
            ("", "missing port in address"),
            ("1.2.3.4:1:2", "address 1.2.3.4:1:2: too many colons in address"),
        ] {
            let error = url(&[&format!("--web.listen-address={address}")]).unwrap_err();
            assert_eq!(error, format!("parse external URL \"\": {message}"));
        }
    }
}
