//! The command line as a user types it; codes and phrases are upstream's.

use super::value::{format_bytes, parse_go_duration_ms};
use super::*;

fn parse_all(args: &[&str]) -> Result<Invocation, UsageError> {
    parse("prometheus", args.iter().map(|&arg| arg.to_owned()))
}

fn run(args: &[&str]) -> Flags {
    match parse_all(args) {
        Ok(Invocation::Run(flags)) => flags,
        other => panic!("{args:?} must run, got {other:?}"),
    }
}

fn refused(args: &[&str]) -> UsageError {
    parse_all(args).expect_err("must be refused")
}

#[test]
fn defaults_hold_where_nothing_is_given() {
    let flags = run(&[]);
    assert_eq!(flags.text("config.file"), "prometheus.yml");
    assert_eq!(flags.texts("web.listen-address"), ["0.0.0.0:9090"]);
    assert_eq!(flags.texts("web.remote-write-receiver.accepted-protobuf-messages").len(), 2);
    assert_eq!(flags.duration_ms("query.timeout"), 120_000);
    assert_eq!(flags.duration_ms("scrape.timestamp-tolerance"), 2);
    assert_eq!(flags.number("storage.remote.read-sample-limit"), 5e7);
    assert!(flags.bool("auto-gomemlimit") && !flags.bool("agent"));
    assert_eq!(flags.all().len(), FLAGS.len() + 1);
}

#[test]
fn values_follow_an_equals_sign_or_a_space_and_booleans_can_be_negated() {
    let flags = run(&[
        "--config.file=a.yml",
        "--query.timeout",
        "30s",
        "--web.enable-lifecycle",
        "--no-scrape.adjust-timestamps",
    ]);
    assert_eq!(flags.text("config.file"), "a.yml");
    assert_eq!(flags.duration_ms("query.timeout"), 30_000);
    assert!(flags.bool("web.enable-lifecycle"));
    assert!(!flags.bool("scrape.adjust-timestamps"));
}

#[test]
fn features_are_split_at_commas_and_addresses_are_not() {
    let flags = run(&["--enable-feature=exemplar-storage,native-histograms", "--enable-feature=search-api"]);
    assert_eq!(flags.features(), ["exemplar-storage", "native-histograms", "search-api"]);
    assert!(flags.has_feature("search-api"));
    let flags = run(&["--web.listen-address=:1", "--web.listen-address=:2"]);
    assert_eq!(flags.texts("web.listen-address"), [":1", ":2"]);
}

#[test]
fn shown_values_have_one_form_each() {
    let all = run(&[
        "--query.timeout=120s",
        "--query.max-samples=5e7",
        "--storage.tsdb.retention.size=1536MB",
        "--enable-feature=a,b",
        "--enable-feature=c",
    ])
    .all();
    for (name, value) in [
        ("query.timeout", "2m"),
        ("query.max-samples", "50000000"),
        ("storage.tsdb.retention.size", "1GiB512MiB"),
        ("storage.remote.read-sample-limit", "50000000"),
        ("enable-feature", "a,b,c"),
        (
            "web.remote-write-receiver.accepted-protobuf-messages",
            "prometheus.WriteRequest,io.prometheus.write.v2.Request",
        ),
        ("write-documentation", "false"),
    ] {
        assert_eq!(all[name], value, "{name}");
    }
}

/// Every kind of fault: arguments, exit code, what upstream says on standard error.
const FAULTS: &[(&[&str], u8, &str)] = &[
    (&["--zzz"], 1, "unknown long flag '--zzz'"),
    (&["--zzz=1"], 1, "unknown long flag '--zzz'"),
    (&["--web.listen-adress=:1"], 1, "unknown long flag '--web.listen-adress'"),
    (&["-x"], 1, "unknown short flag '-x'"),
    (&["-config.file=x"], 1, "unknown short flag '-c'"),
    (&["stray"], 1, "unexpected stray"),
    (&["--", "--agent"], 1, "unexpected --agent"),
    (&["--config.file"], 1, "expected argument for flag '--config.file'"),
    (&["--query.timeout", "--agent"], 1, "expected argument for flag '--query.timeout'"),
    (&["--agent=true"], 1, "unexpected true"),
    (&["--no-config.file=x"], 1, "unknown long flag '--no-config.file'"),
    (&["@missing"], 1, "failed to open arguments file \"missing\": open missing: no such file or directory"),
    (&["--query.timeout=soon"], 2, "not a valid duration string: \"soon\""),
    (&["--query.timeout=1.5m"], 2, "unknown unit \".\" in duration \"1.5m\""),
    (&["--query.timeout="], 2, "empty duration string"),
    (&["--query.lookback-delta=-5m"], 2, "not a valid duration string: \"-5m\""),
    (&["--query.max-samples=many"], 2, "strconv.ParseFloat: parsing \"many\": invalid syntax"),
    (&["--rules.max-concurrent-evals=x"], 2, "strconv.ParseInt: parsing \"x\": invalid syntax"),
    (&["--storage.tsdb.retention.size=5"], 2, "units: unknown unit  in 5"),
    (&["--storage.tsdb.retention.size=5XB"], 2, "units: unknown unit XB in 5XB"),
    (&["--storage.tsdb.retention.size=abc"], 2, "units: invalid abc"),
    (&["--log.level=loud"], 2, "unrecognized log level loud"),
    (&["--log.format=xml"], 2, "unrecognized log format xml"),
    (&["--log.level=info", "--log.level=warn"], 2, "flag 'log.level' cannot be repeated"),
    (&["--agent", "--no-agent"], 2, "flag 'agent' cannot be repeated"),
    (&["--storage.tsdb.wal-compression-type=lz4"], 2, "enum value must be one of snappy,zstd, got 'lz4'"),
    (
        &["--web.remote-write-receiver.accepted-protobuf-messages=x"],
        2,
        "unknown type for remote write protobuf message x, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
    ),
    (
        &[
            "--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest",
            "--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest",
        ],
        2,
        "duplicated prometheus.WriteRequest flag value, got prometheus.WriteRequest already",
    ),
    (
        &["--agent", "--storage.tsdb.path=x", "--query.timeout=1s"],
        3,
        "The following flag(s) can not be used in agent mode: [\"--storage.tsdb.path\" \"--query.timeout\"]",
    ),
    (
        &["--storage.agent.path=x"],
        3,
        "The following flag(s) can only be used in agent mode: [\"--storage.agent.path\"]",
    ),
];

#[test]
fn every_fault_has_upstreams_code_and_words() {
    for (args, code, phrase) in FAULTS {
        let error = refused(args);
        assert_eq!(error.code, *code, "{args:?}: {}", error.message);
        assert!(error.message.contains(phrase), "{args:?}: {}", error.message);
        assert_eq!(!error.usage.is_empty(), *code == 2, "the usage is for malformed values: {args:?}");
        if *code < 3 {
            assert!(error.message.starts_with("Error parsing command line arguments: "));
        }
    }
}

#[test]
fn an_unknown_flag_names_its_nearest_neighbour_and_a_malformed_value_its_flag() {
    let error = refused(&["--web.listen-adress=:1"]);
    assert!(error.message.contains("(did you mean '--web.listen-address'?)"), "{}", error.message);
    let error = refused(&["--query.timeout=soon"]);
    assert!(error.message.contains("(--query.timeout)"), "{}", error.message);
}

#[test]
fn sizes_and_go_durations_parse() {
    assert_eq!(parse_bytes("512MB"), Ok(512 << 20));
    assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
    assert_eq!(parse_bytes("1.5KB"), Ok(1536));
    assert_eq!(parse_bytes("0B"), Ok(0));
    assert_eq!([0, 512 << 20, 1536].map(format_bytes), ["0B", "512MiB", "1KiB512B"]);
    assert_eq!(parse_go_duration_ms("1.5s"), Some(1500));
    assert_eq!(parse_go_duration_ms("1h2m"), Some(3_720_000));
    assert_eq!(parse_go_duration_ms("1d"), Some(86_400_000));
    assert_eq!(parse_go_duration_ms("1y"), None);
}

#[test]
fn help_version_and_documentation_are_printed_even_before_a_fault() {
    for (args, part) in [
        (&["--help"][..], "--[no-]web.enable-lifecycle"),
        (&["-h"], "--config.file=\"prometheus.yml\""),
        (&["--help-long"], "--storage.tsdb.wal-segment-size"),
        (&["--help-man"], ".TH prometheus 1"),
        (&["--version", "--zzz"], "prometheus, version 3."),
        (&["--agent", "--version"], "  platform:         linux/"),
        (&["--write-documentation"], "| Flag | Description | Default |"),
    ] {
        match parse_all(args) {
            Ok(Invocation::Print(text)) => {
                assert!(text.contains(part), "{args:?}: {text}");
                if !args[0].ends_with('n') {
                    let hidden = text.contains("--storage.tsdb.wal-segment-size");
                    assert_eq!(hidden, args[0] == "--help-long", "{args:?}");
                }
            }
            other => panic!("{args:?}: {other:?}"),
        }
    }
}

#[test]
fn an_argument_file_stands_for_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("args");
    std::fs::write(&file, "--config.file=b.yml\n# comment\n\n--query.timeout\n7s\n").unwrap();
    let flags = run(&[&format!("@{}", file.display())]);
    assert_eq!(flags.text("config.file"), "b.yml");
    assert_eq!(flags.duration_ms("query.timeout"), 7000);
    std::fs::write(&file, format!("@{}\n", file.display())).unwrap();
    assert_eq!(refused(&[&format!("@{}", file.display())]).code, 1, "a file that names itself ends");
}
