//! `/features`: what this server can do, by category.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;

use super::{Answer, envelope, respond};
use crate::state::Web;

/// Category → name → whether it is there and on.
type Features = BTreeMap<&'static str, BTreeMap<String, bool>>;

/// `/features`.
pub async fn features(State(web): State<Arc<Web>>) -> Answer {
    // Operators such as `<` are shown as they are: the one answer without HTML escapes.
    let data = serde_json::to_vec(&of(&web)).expect("names and booleans serialise into memory");
    Ok(respond(envelope(&data, &[], &[])))
}

fn of(web: &Web) -> Features {
    let options = &web.options;
    let on = |feature: &str| options.has_feature(feature);
    let language = web.engine.options().features;
    let mut all = Features::new();
    let mut add = |category, names: &[(&str, bool)]| {
        let names = names.iter().map(|&(name, on)| (name.to_owned(), on));
        all.entry(category).or_default().extend(names);
    };
    add(
        "api",
        &[
            ("admin", options.enable_admin_api),
            ("exclude_alerts", true),
            ("label_values_match", true),
            ("lifecycle", options.enable_lifecycle),
            ("openapi_3.1", true),
            ("openapi_3.2", true),
            ("otlp_write_receiver", options.enable_otlp_receiver),
            ("query_stats", true),
            ("query_warnings", true),
            ("remote_write_receiver", options.enable_remote_write_receiver),
            ("search", on("search-api")),
            ("search_fuzz_alg_jarowinkler", true),
            ("search_fuzz_alg_subsequence", true),
            ("time_range_labels", true),
            ("time_range_series", true),
        ],
    );
    add(
        "otlp_receiver",
        &[
            ("delta_conversion", on("otlp-deltatocumulative")),
            ("native_delta_ingestion", on("otlp-native-delta-ingestion")),
        ],
    );
    add(
        "prometheus",
        &[
            ("agent_mode", false),
            ("auto_reload_config", on("auto-reload-config") || options.flag("config.auto-reload") == "true"),
            ("server_mode", true),
            // Labels are packed into one string, as upstream's default build has them.
            ("stringlabels", true),
        ],
    );
    add(
        "promql",
        &[
            ("anchored", language.extended_range_selectors),
            ("at_modifier", true),
            ("bool", true),
            ("by", true),
            ("delayed_name_removal", on("promql-delayed-name-removal")),
            ("duration_expr", language.duration_expr),
            ("fill", language.binop_fill_modifiers),
            ("fill_left", language.binop_fill_modifiers),
            ("fill_right", language.binop_fill_modifiers),
            ("group_left", true),
            ("group_right", true),
            ("ignoring", true),
            ("negative_offset", true),
            ("offset", true),
            ("on", true),
            ("per_query_lookback_delta", true),
            ("per_step_stats", on("promql-per-step-stats")),
            ("smoothed", language.extended_range_selectors),
            ("subqueries", true),
            ("type_and_unit_labels", on("type-and-unit-labels")),
            ("without", true),
        ],
    );
    let functions: Vec<(&str, bool)> = promql::FUNCTIONS
        .iter()
        .map(|function| (function.name, !function.experimental || language.experimental_functions))
        .collect();
    add("promql_functions", &functions);
    #[rustfmt::skip]
    const OPERATORS: [&str; 33] = [
        "!=", "!~", "%", "*", "+", "-", "/", "<", "</", "<=", "==", "=~", ">", ">/", ">=", "@", "^", "and", "atan2",
        "avg", "bottomk", "count", "count_values", "group", "max", "min", "or", "quantile", "stddev", "stdvar", "sum",
        "topk", "unless",
    ];
    add("promql_operators", &OPERATORS.map(|name| (name, true)));
    let experimental = language.experimental_functions;
    add("promql_operators", &[("limit_ratio", experimental), ("limitk", experimental)]);
    add(
        "rules",
        &[
            ("concurrent_rule_eval", on("concurrent-rule-eval")),
            ("keep_firing_for", true),
            ("query_offset", true),
        ],
    );
    add(
        "scrape",
        &[
            ("extra_scrape_metrics", true),
            ("start_timestamp_zero_ingestion", on("created-timestamp-zero-ingestion")),
            ("type_and_unit_labels", on("type-and-unit-labels")),
        ],
    );
    if on("st-synthesis") {
        add("scrape", &[("st-synthesis", true)]);
    }
    #[rustfmt::skip]
    const DISCOVERY: [&str; 37] = [
        "aws", "azure", "consul", "digitalocean", "dns", "docker", "dockerswarm", "ec2", "ecs", "elasticache", "eureka",
        "file", "gce", "hetzner", "http", "ionos", "kubernetes", "kuma", "lightsail", "linode", "marathon", "msk",
        "nerve", "nomad", "oci", "openstack", "outscale", "ovhcloud", "puppetdb", "rds", "scaleway", "serverset",
        "stackit", "static", "triton", "uyuni", "vultr",
    ];
    add("service_discovery_providers", &DISCOVERY.map(|name| (name, true)));
    let templating: Vec<(&str, bool)> = template::function_names().map(|name| (name, true)).collect();
    add("templating_functions", &templating);
    add(
        "tsdb",
        &[
            ("delayed_compaction", on("delayed-compaction")),
            ("exemplar_storage", on("exemplar-storage")),
            ("histograms_st_encoding", on("histograms-st-encoding")),
            ("isolation", true),
            ("native_histograms", true),
            ("st_storage", on("st-storage")),
            ("use_uncached_io", on("use-uncached-io")),
            ("xor2_encoding", true),
        ],
    );
    if on("metadata-wal-records") {
        add("tsdb", &[("metadata_wal_records", true)]);
    }
    add("ui", &[("ui_v2", on("old-ui")), ("ui_v3", !on("old-ui"))]);
    all
}
