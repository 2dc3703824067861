//! The command line as a user types it.

use super::value::parse_go_duration_ms;
use super::*;

fn run(args: &[&str]) -> Flags {
    match parse("prometheus", args.iter().map(|&a| a.to_owned())) {
        Ok(Invocation::Run(flags)) => flags,
        other => panic!("{args:?} must run, got {other:?}"),
    }
}

fn refused(args: &[&str]) -> UsageError {
    parse("prometheus", args.iter().map(|&a| a.to_owned())).expect_err("must be refused")
}

#[test]
fn defaults_hold_where_nothing_is_given() {
    let flags = run(&[]);
    assert_eq!(flags.text("config.file"), "prometheus.yml");
    assert_eq!(flags.texts("web.listen-address"), ["0.0.0.0:9090"]);
    assert_eq!(flags.duration_ms("query.timeout"), 120_000);
    assert_eq!(flags.duration_ms("scrape.timestamp-tolerance"), 2);
    assert_eq!(flags.number("storage.remote.read-sample-limit"), 5e7);
    assert!(flags.bool("auto-gomemlimit") && !flags.bool("agent"));
    assert_eq!(flags.all()["storage.remote.read-sample-limit"], "50000000");
    assert_eq!(flags.all().len(), FLAGS.len());
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
fn lists_may_be_repeated_and_split_at_commas() {
    let flags = run(&["--enable-feature=exemplar-storage,native-histograms", "--enable-feature=search-api"]);
    assert_eq!(flags.features(), ["exemplar-storage", "native-histograms", "search-api"]);
    assert!(flags.has_feature("search-api"));
    let flags = run(&["--web.listen-address=:1", "--web.listen-address=:2"]);
    assert_eq!(flags.texts("web.listen-address"), [":1", ":2"]);
}

#[test]
fn an_unknown_flag_names_its_nearest_neighbour() {
    let error = refused(&["--web.listen-adress=:1"]);
    assert_eq!(error.code, 2);
    assert_eq!(
        error.message,
        "Error parsing command line arguments: unknown long flag '--web.listen-adress' (did you mean \
         '--web.listen-address'?)"
    );
    assert!(refused(&["--zzz"]).message.ends_with("unknown long flag '--zzz'"));
    assert!(refused(&["-config.file=x"]).message.contains("unknown short flag '-config.file'"));
}

#[test]
fn malformed_values_are_refused_with_the_flag_named() {
    for (arg, part) in [
        ("--query.timeout=soon", "--query.timeout"),
        ("--query.max-samples=many", "--query.max-samples"),
        ("--storage.tsdb.retention.size=5", "unknown unit"),
        ("--log.level=loud", "enum value must be one of debug,info,warn,error, got 'loud'"),
        ("--config.file", "--config.file"),
    ] {
        let error = refused(&[arg]);
        assert!(error.message.contains(part), "{arg}: {}", error.message);
        assert_eq!(error.code, 2);
    }
    assert!(refused(&["--log.level=info", "--log.level=warn"]).message.contains("repeated"));
    assert!(refused(&["stray"]).message.contains("unexpected argument 'stray'"));
}

#[test]
fn flags_of_the_other_mode_exit_with_3() {
    let error = refused(&["--agent", "--storage.tsdb.path=x", "--query.timeout=1s"]);
    assert_eq!(error.code, 3);
    assert!(error.message.ends_with("\"--storage.tsdb.path\", \"--query.timeout\""), "{}", error.message);
    assert_eq!(refused(&["--storage.agent.path=x"]).code, 3);
}

#[test]
fn sizes_and_go_durations_parse() {
    assert_eq!(parse_bytes("512MB"), Some(512 << 20));
    assert_eq!(parse_bytes("1GiB"), Some(1 << 30));
    assert_eq!(parse_bytes("0B"), Some(0));
    assert_eq!(parse_bytes("7"), None);
    assert_eq!(parse_go_duration_ms("1.5s"), Some(1500));
    assert_eq!(parse_go_duration_ms("1h2m"), Some(3_720_000));
    assert_eq!(parse_go_duration_ms("1d"), None);
}

#[test]
fn help_version_and_documentation_are_printed() {
    for (arg, part) in [
        ("--help", "--web.listen-address"),
        ("-h", "--config.file"),
        ("--version", "prometheus, version"),
        ("--write-documentation", "| Flag |"),
    ] {
        match parse("prometheus", [arg.to_owned()]) {
            Ok(Invocation::Print(text)) => assert!(text.contains(part), "{arg}: {text}"),
            other => panic!("{arg}: {other:?}"),
        }
    }
}

#[test]
fn an_argument_file_stands_for_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("args");
    std::fs::write(&file, "--config.file=b.yml\n# comment\n--agent\n").unwrap();
    let flags = run(&[&format!("@{}", file.display())]);
    assert_eq!(flags.text("config.file"), "b.yml");
    assert!(flags.bool("agent"));
}
