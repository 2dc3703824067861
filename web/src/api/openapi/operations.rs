//! The operations of the API: paths, methods, parameters, answers.

use super::schemas::Kind;

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query string or the form.
    Query,
}

/// One parameter.
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub place: Place,
    pub about: &'static str,
}

/// What an operation answers.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// The envelope of a schema.
    Json(&'static str),
    /// Lines of JSON.
    Lines,
    /// Nothing: 204.
    Nothing,
    /// Server-sent events of a schema.
    Events(&'static str),
}

/// One path.
pub struct Operation {
    pub path: &'static str,
    /// Methods and the operation's id under each.
    pub methods: &'static [(&'static str, &'static str)],
    pub tag: &'static str,
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// The schema of the form that POST takes.
    pub form: Option<&'static str>,
    pub answer: Answer,
}

const fn query(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, kind, required: false, place: Place::Query, about }
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, kind, required: true, place: Place::Query, about }
}

const START: Parameter = query("start", Kind::Time, "Only what lies at or after this time.");
const END: Parameter = query("end", Kind::Time, "Only what lies at or before this time.");
const MATCH: Parameter = query("match[]", Kind::Texts, "Selectors: only series that match any of them.");
const LIMIT: Parameter = query("limit", Kind::Integer, "Most entries of the answer; 0 for all.");
const EXPR: Parameter = required("query", Kind::Text, "The PromQL expression.");
const TIMEOUT: Parameter =
    query("timeout", Kind::Duration, "How long the query may take, capped by --query.timeout.");
const LOOKBACK: Parameter =
    query("lookback_delta", Kind::Duration, "How far back instant selectors look, for this query.");
const STATS: Parameter =
    query("stats", Kind::Text, "Adds figures to the answer: true, or all for figures by step.");

macro_rules! search {
    ($($first:expr,)* ; $($extra:expr,)*) => {
        &[
            $($first,)*
            MATCH,
            query("search[]", Kind::Texts, "Terms: only names that match any of them."),
            query("fuzz_threshold", Kind::Integer, "The least score of a name that is only like a term, 0 to 100."),
            query("fuzz_alg", Kind::OneOf(&["subsequence", "jarowinkler"]), "How likeness is measured."),
            query("case_sensitive", Kind::Boolean, "Whether case counts."),
            query("sort_by", Kind::OneOf(&["alpha", "score"]), "The order of results."),
            query("sort_dir", Kind::OneOf(&["asc", "dsc"]), "The direction of alphabetical order."),
            query("include_score", Kind::Boolean, "Adds each result's score."),
            $($extra,)*
            START,
            END,
            LIMIT,
            query("batch_size", Kind::Integer, "Results a line."),
        ]
    };
}

const fn get(
    path: &'static str,
    id: &'static [(&'static str, &'static str)],
    tag: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    schema: &'static str,
) -> Operation {
    Operation { path, methods: id, tag, summary, parameters, form: None, answer: Answer::Json(schema) }
}

const fn with_form(operation: Operation, form: &'static str) -> Operation {
    Operation { form: Some(form), ..operation }
}

const fn answering(operation: Operation, answer: Answer) -> Operation {
    Operation { answer, ..operation }
}

/// All of them.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    with_form(get("/query", &[("get", "query"), ("post", "query-post")], "query", "Evaluates an expression at one time",
        &[LIMIT, query("time", Kind::Time, "The time; now where it is missing."), EXPR, TIMEOUT, LOOKBACK, STATS], "QueryOutputBody"), "QueryPostInputBody"),
    with_form(get("/query_range", &[("get", "query-range"), ("post", "query-range-post")], "query", "Evaluates an expression at every step of a range",
        &[LIMIT, required("start", Kind::Time, "The first step."), required("end", Kind::Time, "The last step, at most."),
          required("step", Kind::Duration, "The time between steps."), EXPR, TIMEOUT, LOOKBACK, STATS], "QueryRangeOutputBody"), "QueryRangePostInputBody"),
    with_form(get("/query_exemplars", &[("get", "query-exemplars"), ("post", "query-exemplars-post")], "query", "Exemplars of the series that an expression selects",
        &[START, END, EXPR], "QueryExemplarsOutputBody"), "QueryExemplarsPostInputBody"),
    with_form(get("/format_query", &[("get", "format-query"), ("post", "format-query-post")], "query", "Lays an expression out over lines", &[EXPR], "FormatQueryOutputBody"), "FormatQueryPostInputBody"),
    with_form(get("/parse_query", &[("get", "parse-query"), ("post", "parse-query-post")], "query", "The syntax tree of an expression", &[EXPR], "ParseQueryOutputBody"), "ParseQueryPostInputBody"),
    get("/narthex/explain", &[("get", "narthex-explain"), ("post", "narthex-explain-post")], "query", "What each operator of a query did (an extension of Narthex)", &[EXPR, query("time", Kind::Time, "The time of an instant query; now where it is missing."), query("start", Kind::Time, "Where the range begins; with step alone."), query("end", Kind::Time, "Where the range ends; with step alone."), query("step", Kind::Duration, "The distance of points; asks for a range query."), TIMEOUT, LOOKBACK], "NarthexExplainOutputBody"),
    get("/narthex/queries", &[("get", "narthex-queries")], "query", "The queries that run (an extension of Narthex)", &[], "NarthexQueriesOutputBody"),
    get("/narthex/queries/cancel", &[("put", "narthex-queries-cancel-put"), ("post", "narthex-queries-cancel")], "admin", "Stops a query (an extension of Narthex)", &[required("id", Kind::Integer, "Its number in the list of those that run.")], "NarthexQueriesCancelOutputBody"),
    with_form(get("/labels", &[("get", "labels"), ("post", "labels-post")], "labels", "Names of labels", &[START, END, MATCH, LIMIT], "LabelsOutputBody"), "LabelsPostInputBody"),
    get("/label/{name}/values", &[("get", "label-values")], "labels", "Values of one label",
        &[Parameter { name: "name", kind: Kind::Text, required: true, place: Place::Path, about: "The label's name, escaped with U__ where need be." }, START, END, MATCH, LIMIT], "LabelValuesOutputBody"),
    answering(with_form(get("/search/metric_names", &[("get", "search-metric-names"), ("post", "search-metric-names-post")], "metadata", "Searches names of metrics",
        search![; query("include_metadata", Kind::Boolean, "Adds each metric's type, help and unit."),], ""), "SearchMetricNamesPostInputBody"), Answer::Lines),
    answering(with_form(get("/search/label_names", &[("get", "search-label-names"), ("post", "search-label-names-post")], "labels", "Searches names of labels", search![;], ""), "SearchLabelNamesPostInputBody"), Answer::Lines),
    answering(with_form(get("/search/label_values", &[("get", "search-label-values"), ("post", "search-label-values-post")], "labels", "Searches values of one label",
        search![required("label", Kind::Text, "The label."), ;], ""), "SearchLabelValuesPostInputBody"), Answer::Lines),
    with_form(get("/series", &[("get", "series"), ("post", "series-post")], "series", "Label sets of series",
        &[START, END, required("match[]", Kind::Texts, "Selectors: series that match any of them."), LIMIT], "SeriesOutputBody"), "SeriesPostInputBody"),
    get("/metadata", &[("get", "get-metadata")], "metadata", "What targets say about metrics",
        &[LIMIT, query("limit_per_metric", Kind::Integer, "Most entries of a metric."), query("metric", Kind::Text, "Only this metric.")], "MetadataOutputBody"),
    get("/scrape_pools", &[("get", "get-scrape-pools")], "targets", "Names of jobs", &[], "ScrapePoolsOutputBody"),
    get("/scrape_pools/config", &[("get", "get-scrape-pool-config")], "targets", "The effective configuration of a job", &[required("scrapePool", Kind::Text, "The job.")], "ScrapePoolConfigOutputBody"),
    get("/targets", &[("get", "get-targets")], "targets", "Targets and how they are",
        &[query("scrapePool", Kind::Text, "Only this job."), query("state", Kind::OneOf(&["active", "dropped", "any"]), "Only targets of this state.")], "TargetsOutputBody"),
    get("/targets/metadata", &[("get", "get-targets-metadata")], "targets", "What each target says about metrics",
        &[query("match_target", Kind::Text, "A selector over targets' labels."), query("metric", Kind::Text, "Only this metric."), LIMIT], "TargetMetadataOutputBody"),
    get("/targets/relabel_steps", &[("get", "get-targets-relabel-steps")], "targets", "What each rule makes of a label set",
        &[required("scrapePool", Kind::Text, "The job whose rules are applied."), required("labels", Kind::Text, "The labels, a JSON object.")], "TargetRelabelStepsOutputBody"),
    get("/rules", &[("get", "rules")], "rules", "Rules by group",
        &[query("type", Kind::OneOf(&["alert", "record"]), "Only rules of this type."), query("rule_name[]", Kind::Texts, "Only rules of these names."),
          query("rule_group[]", Kind::Texts, "Only groups of these names."), query("file[]", Kind::Texts, "Only groups of these files."), MATCH,
          query("exclude_alerts", Kind::Text, "Leaves alerts out."), query("group_limit", Kind::Integer, "Most groups of the answer."),
          query("group_next_token", Kind::Text, "Where the last answer ended.")], "RulesOutputBody"),
    get("/alerts", &[("get", "alerts")], "alerts", "Alerts that are pending or firing", &[], "AlertsOutputBody"),
    get("/alertmanagers", &[("get", "alertmanagers")], "alerts", "Who alerts are sent to", &[], "AlertmanagersOutputBody"),
    get("/status/config", &[("get", "get-status-config")], "status", "The configuration in force", &[], "StatusConfigOutputBody"),
    get("/status/runtimeinfo", &[("get", "get-status-runtimeinfo")], "status", "The running process", &[], "StatusRuntimeInfoOutputBody"),
    get("/status/buildinfo", &[("get", "get-status-buildinfo")], "status", "How the program was built", &[], "StatusBuildInfoOutputBody"),
    get("/status/flags", &[("get", "get-status-flags")], "status", "Flags and their values", &[], "StatusFlagsOutputBody"),
    get("/status/tsdb", &[("get", "status-tsdb")], "status", "Cardinality of the head", &[LIMIT], "StatusTSDBOutputBody"),
    get("/status/tsdb/blocks", &[("get", "status-tsdb-blocks")], "status", "Blocks on disk", &[], "StatusTSDBBlocksOutputBody"),
    get("/status/walreplay", &[("get", "get-status-walreplay")], "status", "How far the replay of the log is", &[], "StatusWALReplayOutputBody"),
    get("/status/self_metrics", &[("get", "get-status-self-metrics")], "status", "Own metrics",
        &[query("metric_name_pattern", Kind::Text, "Only metrics whose whole name this regular expression matches.")], "StatusSelfMetricsOutputBody"),
    get("/admin/tsdb/delete_series", &[("put", "deleteSeriesPut"), ("post", "deleteSeriesPost")], "admin", "Deletes samples of series",
        &[required("match[]", Kind::Texts, "Selectors: series that match any of them."), START, END], "DeleteSeriesOutputBody"),
    get("/admin/tsdb/clean_tombstones", &[("put", "cleanTombstonesPut"), ("post", "cleanTombstonesPost")], "admin", "Frees the space of what was deleted", &[], "CleanTombstonesOutputBody"),
    get("/admin/tsdb/snapshot", &[("put", "snapshotPut"), ("post", "snapshotPost")], "admin", "Writes a snapshot",
        &[query("skip_head", Kind::Text, "Leaves out what is in no block yet.")], "SnapshotOutputBody"),
    answering(get("/read", &[("post", "remoteRead")], "remote", "Remote read", &[], ""), Answer::Nothing),
    answering(get("/write", &[("post", "remoteWrite")], "remote", "Remote write", &[], ""), Answer::Nothing),
    answering(get("/otlp/v1/metrics", &[("post", "otlpWrite")], "otlp", "Metrics of OpenTelemetry", &[], ""), Answer::Nothing),
    get("/notifications", &[("get", "get-notifications")], "notifications", "What the operator shall know", &[], "NotificationsOutputBody"),
    answering(get("/notifications/live", &[("get", "notifications-live")], "notifications", "The same, as it changes", &[], ""), Answer::Events("Notification")),
    get("/features", &[("get", "get-features")], "features", "What this server can do", &[], "FeaturesOutputBody"),
];

/// Groups of operations.
pub const TAGS: &[(&str, &str)] = &[
    ("query", "PromQL."),
    ("metadata", "What metrics are."),
    ("labels", "Names and values of labels."),
    ("series", "Series."),
    ("targets", "What is scraped."),
    ("rules", "Recording and alerting rules."),
    ("alerts", "Alerts and who gets them."),
    ("status", "The server itself."),
    ("admin", "Administration of the store."),
    ("features", "What the server can do."),
    ("remote", "Remote read and write."),
    ("otlp", "OpenTelemetry."),
    ("notifications", "What the operator shall know."),
];
