//! The shapes of answers and forms.

use config::yaml::Yaml;

use super::operations::{OPERATIONS, Place};
use super::{map, reference, text};

/// The kinds of parameters.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// Any number of texts.
    Texts,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// Seconds or RFC 3339.
    Time,
    /// Seconds, or a number with units.
    Duration,
    /// One of these texts.
    OneOf(&'static [&'static str]),
}

fn plain(kind: &str) -> Yaml {
    map(vec![("type", text(kind))])
}

fn list(of: Yaml) -> Yaml {
    map(vec![("type", text("array")), ("items", of)])
}

fn dictionary(of: Yaml) -> Yaml {
    map(vec![("type", text("object")), ("additionalProperties", of)])
}

/// The schema of a parameter.
pub fn of(kind: Kind) -> Yaml {
    let either = |a: &str, b: &str| map(vec![("oneOf", Yaml::Seq(vec![plain(a), plain(b)]))]);
    match kind {
        Kind::Text => plain("string"),
        Kind::Texts => list(plain("string")),
        Kind::Integer => plain("integer"),
        Kind::Boolean => plain("boolean"),
        Kind::Time | Kind::Duration => either("string", "number"),
        Kind::OneOf(names) => {
            let names = names.iter().map(|name| text(name)).collect();
            map(vec![("type", text("string")), ("enum", Yaml::Seq(names))])
        }
    }
}

/// A field's type in the tables below: `s` text, `i` whole number, `n` number,
/// `b` boolean, `*` anything, `Name` a schema, `[x]` a list, `{x}` a dictionary.
fn field(kind: &str) -> Yaml {
    let inner = |open: char, close: char| kind.strip_prefix(open).and_then(|kind| kind.strip_suffix(close));
    match kind {
        "s" => plain("string"),
        "i" => plain("integer"),
        "n" => plain("number"),
        "b" => plain("boolean"),
        "*" => Yaml::Map(vec![("description".to_owned(), text("Of any kind."))]),
        _ => match (inner('[', ']'), inner('{', '}')) {
            (Some(of), _) => list(field(of)),
            (_, Some(of)) => dictionary(field(of)),
            _ => reference(kind),
        },
    }
}

/// Objects: their fields as `name:type`, `name?:type` for those that may be missing.
#[rustfmt::skip]
const OBJECTS: &[(&str, &str)] = &[
    ("Error", "status:s errorType:s error:s"),
    ("QueryStats", "timings:{n} samples:{*}"),
    ("FloatSample", "metric:Labels value:[*]"),
    ("HistogramSample", "metric:Labels histogram:[*]"),
    ("FloatSeries", "metric:Labels values:[[*]]"),
    ("HistogramSeries", "metric:Labels histograms:[[*]]"),
    ("HistogramValue", "count:s sum:s buckets?:[[*]]"),
    ("Metadata", "type:s help:s unit:s"),
    ("MetricMetadata", "target:Labels metric?:s type:s help:s unit:s"),
    ("Target", "discoveredLabels:Labels labels:Labels scrapePool:s scrapeUrl:s globalUrl:s lastError:s lastScrape:s lastScrapeDuration:n health:s scrapeInterval:s scrapeTimeout:s"),
    ("DroppedTarget", "discoveredLabels:Labels scrapePool:s"),
    ("TargetDiscovery", "activeTargets:[Target] droppedTargets:[DroppedTarget] droppedTargetCounts:{i}"),
    ("ScrapePoolsDiscovery", "scrapePools:[s]"),
    ("ScrapePoolConfigData", "yaml:s"),
    ("Config", "source_labels?:[s] separator?:s regex?:s modulus?:i target_label?:s replacement?:s action?:s"),
    ("RelabelStep", "rule:Config output:Labels keep:b"),
    ("RelabelStepsResponse", "steps:[RelabelStep]"),
    ("RuleGroup", "name:s file:s rules:[*] interval:n limit:i evaluationTime:n lastEvaluation:s"),
    ("RuleDiscovery", "groups:[RuleGroup] groupNextToken?:s"),
    ("Alert", "labels:Labels annotations:Labels state:s activeAt?:s keepFiringSince?:s value:s"),
    ("AlertDiscovery", "alerts:[Alert]"),
    ("AlertmanagerTarget", "url:s"),
    ("AlertmanagerDiscovery", "activeAlertmanagers:[AlertmanagerTarget] droppedAlertmanagers:[AlertmanagerTarget]"),
    ("StatusConfigData", "yaml:s"),
    ("RuntimeInfo", "startTime:s CWD:s hostname:s serverTime:s reloadConfigSuccess:b lastConfigTime:s corruptionCount:i goroutineCount:i GOMAXPROCS:i GOMEMLIMIT:i GOGC:s GODEBUG:s storageRetention:s"),
    ("PrometheusVersion", "version:s revision:s branch:s buildUser:s buildDate:s goVersion:s"),
    ("HeadStats", "numSeries:i numLabelPairs:i chunkCount:i minTime:i maxTime:i"),
    ("TSDBStat", "name:s value:i"),
    ("TSDBStatus", "headStats:HeadStats seriesCountByMetricName:[TSDBStat] labelValueCountByLabelName:[TSDBStat] memoryInBytesByLabelName:[TSDBStat] seriesCountByLabelValuePair:[TSDBStat]"),
    ("BlockDesc", "ulid:s minTime:i maxTime:i"),
    ("BlockStats", "numSamples?:i numSeries?:i numChunks?:i numTombstones?:i numFloatSamples?:i numHistogramSamples?:i"),
    ("BlockMetaCompaction", "level:i sources?:[s] parents?:[BlockDesc] failed?:b deletable?:b hints?:[s]"),
    ("BlockMeta", "ulid:s minTime:i maxTime:i stats?:BlockStats compaction:BlockMetaCompaction version:i"),
    ("StatusTSDBBlocksData", "blocks:[BlockMeta]"),
    ("StatusWALReplayData", "min:i max:i current:i"),
    ("DataStruct", "name:s"),
    ("Notification", "text:s date:s active:b"),
];

/// Answers: the envelope around data of a type, empty for none.
const ENVELOPES: &[(&str, &str)] = &[
    ("QueryOutputBody", "QueryData"),
    ("QueryRangeOutputBody", "QueryData"),
    ("QueryExemplarsOutputBody", "*"),
    ("FormatQueryOutputBody", "s"),
    ("ParseQueryOutputBody", "*"),
    ("NarthexExplainOutputBody", "*"),
    ("NarthexQueriesOutputBody", "*"),
    ("NarthexQueriesCancelOutputBody", ""),
    ("LabelsOutputBody", "[s]"),
    ("LabelValuesOutputBody", "[s]"),
    ("SeriesOutputBody", "[Labels]"),
    ("MetadataOutputBody", "{[Metadata]}"),
    ("TargetsOutputBody", "TargetDiscovery"),
    ("TargetMetadataOutputBody", "[MetricMetadata]"),
    ("ScrapePoolsOutputBody", "ScrapePoolsDiscovery"),
    ("ScrapePoolConfigOutputBody", "ScrapePoolConfigData"),
    ("TargetRelabelStepsOutputBody", "RelabelStepsResponse"),
    ("RulesOutputBody", "RuleDiscovery"),
    ("AlertsOutputBody", "AlertDiscovery"),
    ("AlertmanagersOutputBody", "AlertmanagerDiscovery"),
    ("StatusConfigOutputBody", "StatusConfigData"),
    ("StatusRuntimeInfoOutputBody", "RuntimeInfo"),
    ("StatusBuildInfoOutputBody", "PrometheusVersion"),
    ("StatusFlagsOutputBody", "{s}"),
    ("StatusTSDBOutputBody", "TSDBStatus"),
    ("StatusTSDBBlocksOutputBody", "StatusTSDBBlocksData"),
    ("StatusWALReplayOutputBody", "StatusWALReplayData"),
    ("StatusSelfMetricsOutputBody", "[*]"),
    ("DeleteSeriesOutputBody", ""),
    ("CleanTombstonesOutputBody", ""),
    ("SnapshotOutputBody", "DataStruct"),
    ("NotificationsOutputBody", "[Notification]"),
    ("FeaturesOutputBody", "{{b}}"),
];

/// An object of fields, each with whether it must be there.
fn object(fields: Vec<(&str, Yaml, bool)>) -> Yaml {
    let required: Vec<Yaml> =
        fields.iter().filter(|(_, _, required)| *required).map(|(name, ..)| text(name)).collect();
    let properties = fields.into_iter().map(|(name, schema, _)| (name, schema)).collect();
    let mut entries = vec![("type", text("object")), ("properties", map(properties))];
    if !required.is_empty() {
        entries.push(("required", Yaml::Seq(required)));
    }
    map(entries)
}

/// The value of a query: each type of result with what it holds.
fn query_data() -> Yaml {
    let of_type = |name: &str, result: &str| {
        let kind = map(vec![("type", text("string")), ("const", text(name))]);
        let fields = vec![
            ("resultType", kind, true),
            ("result", field(result), true),
            ("stats", reference("QueryStats"), false),
        ];
        object(fields)
    };
    let types = [("vector", "[*]"), ("matrix", "[*]"), ("scalar", "[*]"), ("string", "[*]")];
    map(vec![("anyOf", Yaml::Seq(types.map(|(name, result)| of_type(name, result)).to_vec()))])
}

/// All schemas by name.
pub fn all() -> Yaml {
    let mut schemas =
        vec![("Labels".to_owned(), dictionary(plain("string"))), ("QueryData".to_owned(), query_data())];
    for (name, fields) in OBJECTS {
        let fields = fields.split(' ').filter_map(|field| field.split_once(':')).map(|(name, kind)| {
            let optional = name.strip_suffix('?');
            (optional.unwrap_or(name), field(kind), optional.is_none())
        });
        schemas.push(((*name).to_owned(), object(fields.collect())));
    }
    for (name, data) in ENVELOPES {
        let mut fields = vec![("status", of(Kind::OneOf(&["success", "error"])), true)];
        if !data.is_empty() {
            fields.push(("data", field(data), true));
        }
        fields.push(("warnings", list(plain("string")), false));
        fields.push(("infos", list(plain("string")), false));
        schemas.push(((*name).to_owned(), object(fields)));
    }
    for operation in OPERATIONS {
        let Some(form) = operation.form else { continue };
        let fields = operation.parameters.iter().filter(|parameter| parameter.place == Place::Query);
        let fields = fields.map(|parameter| (parameter.name, of(parameter.kind), parameter.required));
        schemas.push((form.to_owned(), object(fields.collect())));
    }
    Yaml::Map(schemas)
}
