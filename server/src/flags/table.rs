//! Every flag of the server: name, default, mode, help.
//!
//! One table feeds the parser, `--help`, `--write-documentation` and
//! `/api/v1/status/flags`. Names, defaults and modes are upstream's (ledger
//! section FLAGS); the flags at the end are our own.

/// In which mode a flag may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Server only.
    Server,
    /// Agent only.
    Agent,
    /// Both.
    Both,
}

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--x` and `--no-x`.
    Bool,
    /// Any text.
    Text,
    /// Any text, may be given several times.
    Texts,
    /// Texts separated by commas, may be given several times.
    List,
    /// Messages of remote write; may be given several times, each once.
    Messages,
    /// A Prometheus duration such as `1h30m`.
    Duration,
    /// A Go duration such as `1.5s`.
    GoDuration,
    /// A signed whole number; what Go reads as a float is cut to one.
    Integer,
    /// A signed whole number, written as such.
    Whole,
    /// A number; scientific notation allowed.
    Number,
    /// Bytes with a unit, base 2, such as `512MB`.
    Bytes,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A severity of the log.
    LogLevel,
    /// A form of the log.
    LogFormat,
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name without dashes.
    pub name: &'static str,
    /// Its value where it is not given.
    pub default: &'static str,
    /// Where it may be set.
    pub mode: Mode,
    /// Left out of `--help`.
    pub hidden: bool,
    /// What its value is.
    pub kind: Kind,
    /// What it does.
    pub help: &'static str,
}

const fn flag(name: &'static str, default: &'static str, mode: Mode, kind: Kind, help: &'static str) -> Flag {
    Flag { name, default, mode, hidden: false, kind, help }
}

const fn hidden(
    name: &'static str,
    default: &'static str,
    mode: Mode,
    kind: Kind,
    help: &'static str,
) -> Flag {
    Flag { name, default, mode, hidden: true, kind, help }
}

use Kind::{
    Bool, Bytes, Duration, GoDuration, Integer, List, LogFormat, LogLevel, Messages, Number, OneOf, Text,
    Texts, Whole,
};
use Mode::{Agent, Both, Server};

const COMPRESSIONS: &[&str] = &["snappy", "zstd"];

/// All flags in the order of `--help`.
pub static FLAGS: &[Flag] = &[
    flag("config.file", "prometheus.yml", Both, Text, "The configuration file."),
    flag("config.auto-reload", "false", Both, Bool, "Reload the configuration whenever its files change."),
    flag(
        "config.auto-reload-interval",
        "30s",
        Both,
        Duration,
        "How often to look for changes of the configuration's files.",
    ),
    flag(
        "web.listen-address",
        "0.0.0.0:9090",
        Both,
        Texts,
        "Address to listen on for the UI, API and telemetry. May be repeated.",
    ),
    flag(
        "auto-gomaxprocs",
        "true",
        Both,
        Bool,
        "Use as many worker threads as the container's CPU quota allows.",
    ),
    flag(
        "auto-gomemlimit",
        "true",
        Both,
        Bool,
        "Derive the memory ceiling from the container's or the machine's memory.",
    ),
    flag(
        "auto-gomemlimit.ratio",
        "0.9",
        Both,
        Number,
        "Share of the detected memory that becomes the ceiling.",
    ),
    flag(
        "auto-gomemlimit.refresh-interval",
        "0s",
        Both,
        Duration,
        "How often to detect the memory anew; 0 detects it once.",
    ),
    flag("web.config.file", "", Both, Text, "File with TLS and authentication settings of the web server."),
    flag(
        "web.read-timeout",
        "5m",
        Both,
        Duration,
        "Longest time a request may take to be read; idle connections are closed after it.",
    ),
    flag(
        "web.max-connections",
        "512",
        Both,
        Integer,
        "Most connections at the same time, over all listeners.",
    ),
    flag(
        "web.max-notifications-subscribers",
        "16",
        Both,
        Integer,
        "Most subscribers of the live notifications.",
    ),
    flag(
        "web.external-url",
        "",
        Both,
        Text,
        "The URL under which the server is reached from outside, used for links back to it.",
    ),
    flag(
        "web.route-prefix",
        "",
        Both,
        Text,
        "Prefix of all routes; the path of web.external-url where it is not given.",
    ),
    flag("web.user-assets", "", Both, Text, "Folder of files to serve under /user."),
    flag("web.enable-lifecycle", "false", Both, Bool, "Allow reload and shutdown by HTTP request."),
    flag("web.enable-admin-api", "false", Both, Bool, "Allow the API calls that delete and snapshot data."),
    flag("web.enable-remote-write-receiver", "false", Both, Bool, "Accept remote-write requests."),
    flag(
        "web.remote-write-receiver.accepted-protobuf-messages",
        "prometheus.WriteRequest,io.prometheus.write.v2.Request",
        Both,
        Messages,
        "Remote-write messages to accept. May be repeated.",
    ),
    flag("web.enable-otlp-receiver", "false", Both, Bool, "Accept OTLP metrics."),
    flag(
        "web.console.templates",
        "consoles",
        Both,
        Text,
        "Folder of console templates, served at /consoles.",
    ),
    flag("web.console.libraries", "console_libraries", Both, Text, "Folder of console libraries."),
    flag(
        "web.page-title",
        "Prometheus Time Series Collection and Processing Server",
        Both,
        Text,
        "Title of the web pages.",
    ),
    flag("web.cors.origin", ".*", Both, Text, "Regex of origins that may read answers; fully anchored."),
    flag("web.search.max-limit", "10000", Server, Integer, "Most results of a search request; 0 for no cap."),
    flag("storage.tsdb.path", "data/", Server, Text, "Folder of the stored metrics."),
    flag(
        "storage.tsdb.retention.time",
        "",
        Server,
        Duration,
        "How long to keep samples. Deprecated: set it in the configuration file.",
    ),
    flag(
        "storage.tsdb.retention.size",
        "",
        Server,
        Bytes,
        "Most bytes of blocks to keep. Deprecated: set it in the configuration file.",
    ),
    flag("storage.tsdb.no-lockfile", "false", Server, Bool, "Make no lock file in the data folder."),
    flag(
        "storage.tsdb.head-chunks-write-queue-size",
        "0",
        Server,
        Integer,
        "Queue of head chunks waiting to be written; 0 writes at once.",
    ),
    flag(
        "storage.tsdb.delay-compact-file.path",
        "",
        Server,
        Text,
        "JSON file of uploaded blocks: others are not compacted yet.",
    ),
    hidden(
        "storage.tsdb.min-block-duration",
        "2h",
        Server,
        Duration,
        "Range of the blocks that the head is cut into.",
    ),
    hidden(
        "storage.tsdb.max-block-duration",
        "0s",
        Server,
        Duration,
        "Longest range of a compacted block; 0 derives it from the retention.",
    ),
    hidden(
        "storage.tsdb.max-block-chunk-segment-size",
        "0B",
        Server,
        Bytes,
        "Most bytes of a block's chunk file.",
    ),
    hidden(
        "storage.tsdb.wal-segment-size",
        "0B",
        Server,
        Bytes,
        "Bytes of a segment of the write-ahead log.",
    ),
    hidden("storage.tsdb.allow-overlapping-compaction", "true", Server, Bool, "Compact overlapping blocks."),
    hidden("storage.tsdb.wal-compression", "true", Server, Bool, "Compress the write-ahead log."),
    hidden(
        "storage.tsdb.wal-compression-type",
        "snappy",
        Server,
        OneOf(COMPRESSIONS),
        "How to compress the write-ahead log.",
    ),
    hidden("storage.tsdb.samples-per-chunk", "120", Server, Integer, "Samples a chunk aims at."),
    hidden(
        "storage.tsdb.delayed-compaction.max-percent",
        "10",
        Server,
        Integer,
        "Longest random delay of a head compaction, in percent of the block's range.",
    ),
    hidden("storage.tsdb.block-reload-interval", "1m", Server, Duration, "How often to look for blocks."),
    flag("storage.agent.path", "data-agent/", Agent, Text, "Folder of the agent's log."),
    hidden("storage.agent.wal-segment-size", "0B", Agent, Bytes, "Bytes of a segment of the agent's log."),
    flag("storage.agent.wal-compression", "true", Agent, Bool, "Compress the agent's log."),
    hidden(
        "storage.agent.wal-compression-type",
        "snappy",
        Agent,
        OneOf(COMPRESSIONS),
        "How to compress the agent's log.",
    ),
    hidden(
        "storage.agent.wal-truncate-frequency",
        "0s",
        Agent,
        Duration,
        "How often to cut the agent's log.",
    ),
    flag(
        "storage.agent.retention.min-time",
        "5m",
        Agent,
        Duration,
        "Samples younger than this are never dropped.",
    ),
    flag(
        "storage.agent.retention.max-time",
        "4h",
        Agent,
        Duration,
        "Samples older than this are dropped even if unsent.",
    ),
    flag(
        "storage.agent.checkpoint-from-in-memory-series",
        "false",
        Agent,
        Bool,
        "Write checkpoints from memory instead of the log.",
    ),
    flag(
        "storage.agent.checkpoint-batch-size",
        "1000",
        Agent,
        Integer,
        "Series a record of such a checkpoint.",
    ),
    flag("storage.agent.no-lockfile", "false", Agent, Bool, "Make no lock file in the agent's folder."),
    flag(
        "storage.remote.flush-deadline",
        "1m",
        Both,
        Duration,
        "How long to wait for remote write on shutdown and reload.",
    ),
    flag(
        "storage.remote.read-sample-limit",
        "5e7",
        Server,
        Number,
        "Most samples of a remote-read answer; 0 for no limit.",
    ),
    flag(
        "storage.remote.read-concurrent-limit",
        "10",
        Server,
        Integer,
        "Most remote-read requests at the same time; 0 for no limit.",
    ),
    flag(
        "storage.remote.read-max-bytes-in-frame",
        "1048576",
        Server,
        Integer,
        "Most bytes of a frame of a streamed remote-read answer.",
    ),
    flag(
        "rules.alert.for-outage-tolerance",
        "1h",
        Server,
        Duration,
        "Longest outage after which the `for` state of alerts is restored.",
    ),
    flag(
        "rules.alert.for-grace-period",
        "10m",
        Server,
        Duration,
        "Least time between restoring an alert's `for` state and its firing.",
    ),
    flag(
        "rules.alert.resend-delay",
        "1m",
        Server,
        Duration,
        "Least time between two notifications of an alert.",
    ),
    flag(
        "rules.max-concurrent-evals",
        "4",
        Server,
        Whole,
        "Most independent rules evaluated at the same time.",
    ),
    hidden("scrape.adjust-timestamps", "true", Both, Bool, "Align timestamps of scrapes to their schedule."),
    hidden(
        "scrape.timestamp-tolerance",
        "2ms",
        Both,
        GoDuration,
        "How far a scrape may be off its schedule to be aligned.",
    ),
    hidden(
        "scrape.discovery-reload-interval",
        "5s",
        Both,
        Duration,
        "Least time between two updates of the targets.",
    ),
    flag(
        "alertmanager.notification-queue-capacity",
        "10000",
        Server,
        Integer,
        "Alerts that may wait to be sent.",
    ),
    flag("alertmanager.notification-batch-size", "256", Server, Integer, "Most alerts of one request."),
    flag(
        "alertmanager.drain-notification-queue-on-shutdown",
        "true",
        Server,
        Bool,
        "Send waiting alerts before shutting down.",
    ),
    flag(
        "query.lookback-delta",
        "5m",
        Server,
        Duration,
        "How far back an instant selector looks for a sample.",
    ),
    flag("query.timeout", "2m", Server, Duration, "Longest time of a query."),
    flag("query.max-concurrency", "20", Server, Integer, "Most queries at the same time."),
    flag("query.max-samples", "50000000", Server, Integer, "Most samples a query may hold in memory."),
    flag("enable-feature", "", Both, List, "Features to switch on, separated by commas. May be repeated."),
    flag("agent", "false", Both, Bool, "Run as an agent."),
    flag(
        "log.level",
        "info",
        Both,
        LogLevel,
        "Least severity of what is logged: debug, info, warn or error.",
    ),
    flag("log.format", "logfmt", Both, LogFormat, "Form of the log: logfmt or json."),
    // Our own.
    flag(
        "memory.limit",
        "",
        Both,
        Bytes,
        "Ceiling of the process' memory; auto-gomemlimit.ratio of what is detected where it is not given.",
    ),
    flag(
        "allow-inactive",
        "",
        Both,
        List,
        "Sections of the configuration to accept though nothing acts on them yet.",
    ),
];

/// The flag of a name.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}
