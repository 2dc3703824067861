//! One row an endpoint and case: the request, its status, and what its answer
//! must hold.

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use crate::server::{NOW_MS, Reply, Server, all_on, defaults};

/// What an answer must be.
enum Want {
    /// This body, to the byte.
    Exact(&'static str),
    /// A body that starts so.
    Starts(&'static str),
    /// A JSON error of this type and text.
    Error(&'static str, &'static str),
    /// At this JSON pointer, this value.
    At(&'static str, &'static str),
    /// At this JSON pointer, an object with exactly these keys in this order.
    Keys(&'static str, &'static str),
    /// A header with this value.
    Header(&'static str, &'static str),
}

use Want::{At, Error, Exact, Header, Keys, Starts};

/// Method and path, form or none, status, and what is wanted.
type Row = (&'static str, &'static str, u16, &'static [Want]);

const NOT_FOUND: &[Want] = &[
    Exact("404 page not found\n"),
    Header("content-type", "text/plain; charset=utf-8"),
    Header("x-content-type-options", "nosniff"),
];
const WRONG_METHOD: &[Want] = &[Exact("Method Not Allowed\n")];

/// Cases of a server with everything on.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Queries.
    ("GET /api/v1/query?query=up", "", 200, &[Header("content-type", "application/json"), At("/status", r#""success""#), At("/data/resultType", r#""vector""#), At("/data/result/0/value", r#"[1700000000,"40"]"#)]),
    ("POST /api/v1/query", "query=1%2B1&time=0", 200, &[Exact(r#"{"status":"success","data":{"resultType":"scalar","result":[0,"2"]}}"#)]),
    ("GET /api/v1/query?query=%22a%3Cb%22&time=1.5", "", 200, &[Exact(r#"{"status":"success","data":{"resultType":"string","result":[1.5,"a\u003cb"]}}"#)]),
    ("GET /api/v1/query?query=vector(1)/0&time=1", "", 200, &[Exact(r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"+Inf"]}]}}"#)]),
    ("GET /api/v1/query?query=up%7Bjob=%22a%22%7D%5B20s%5D", "", 200, &[At("/data/resultType", r#""matrix""#), At("/data/result/0/values", r#"[[1699999985,"39"],[1700000000,"40"]]"#)]),
    ("GET /api/v1/query?query=latency", "", 200, &[At("/data/result/0/histogram/1", r#"{"buckets":[[3,"-0.001","0.001","1"],[0,"0.5","1","2"],[0,"1","2","3"]],"count":"6","sum":"9.5"}"#)]),
    ("GET /api/v1/query?query=up&limit=1", "", 200, &[At("/data/result/1", "null"), At("/warnings", r#"["results truncated due to limit"]"#)]),
    ("GET /api/v1/query?query=up&stats=true", "", 200, &[Keys("/data", "resultType result stats"), Keys("/data/stats", "timings samples"), Keys("/data/stats/timings", "evalTotalTime resultSortTime queryPreparationTime innerEvalTime execQueueTime execTotalTime"), Keys("/data/stats/samples", "totalQueryableSamples samplesRead peakSamples")]),
    ("GET /api/v1/query?query=up&stats=x", "", 200, &[Keys("/data", "resultType result stats"), At("/warnings", r#"["value \"x\" for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""]"#)]),
    ("GET /api/v1/query", "", 400, &[Error("bad_data", "invalid parameter \"query\": unknown position: parse error: no expression found in input")]),
    ("GET /api/v1/query?query=up&time=foo", "", 400, &[Error("bad_data", "invalid parameter \"time\": invalid time value for 'time': cannot parse \"foo\" to a valid timestamp")]),
    ("GET /api/v1/query?query=up&timeout=foo", "", 400, &[Error("bad_data", "invalid parameter \"timeout\": cannot parse \"foo\" to a valid duration")]),
    ("GET /api/v1/query?query=up&limit=x", "", 400, &[Error("bad_data", "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax")]),
    ("GET /api/v1/query?query=up&limit=-1", "", 400, &[Error("bad_data", "invalid parameter \"limit\": limit must be non-negative")]),
    ("GET /api/v1/query?query=up&lookback_delta=x&timeout=y", "", 400, &[Error("bad_data", "invalid parameter \"timeout\": cannot parse \"y\" to a valid duration")]),
    ("GET /api/v1/query?query=up&lookback_delta=x", "", 400, &[Error("bad_data", "error parsing lookback delta duration: cannot parse \"x\" to a valid duration")]),
    ("GET /api/v1/query?query=up&timeout=0", "", 503, &[Keys("", "status errorType error"), At("/errorType", r#""timeout""#)]),
    ("GET /api/v1/query?query=label_replace(up,%22a%22,%22b%22,%22c%22,%22(%22)", "", 422, &[At("/errorType", r#""execution""#)]),
    ("GET /api/v1/query?query=up%20%2B%20on(x)%20up", "", 422, &[At("/errorType", r#""execution""#)]),
    ("DELETE /api/v1/query", "", 405, WRONG_METHOD),
    ("HEAD /api/v1/query?query=up", "", 405, &[Header("allow", "GET, OPTIONS, POST")]),
    ("PATCH /api/v1/query", "query=up", 405, &[Header("allow", "GET, OPTIONS, POST"), Exact("Method Not Allowed\n")]),
    ("POST /api/v1/query?query=up&time=1", "query=1", 200, &[At("/data/result", r#"[1,"1"]"#)]),
    ("GET /api/v1/query?query=1&query=2&time=1", "", 200, &[At("/data/result", r#"[1,"1"]"#)]),
    ("GET /api/v1/query?query=1&time=1&x=%ZZ", "", 200, &[At("/data/result", r#"[1,"1"]"#)]),
    ("GET /api/v1/query?query=%ZZ", "", 400, &[Error("bad_data", "invalid parameter \"query\": unknown position: parse error: no expression found in input")]),
    ("GET /api/v1/query?query=%22%FF%22&time=1", "", 400, &[Error("bad_data", "invalid parameter \"query\": 1:1: parse error: invalid UTF-8 rune")]),
    ("GET /api/v1/query?query=1&time=0x10", "", 400, &[Error("bad_data", "invalid parameter \"time\": invalid time value for 'time': cannot parse \"0x10\" to a valid timestamp")]),
    ("GET /api/v1/query?query=1&time=NaN", "", 400, &[Error("bad_data", "invalid parameter \"time\": invalid time value for 'time': cannot parse \"NaN\" to a valid timestamp")]),
    ("GET /api/v1/query?query=1&time=1700000000000", "", 200, &[Exact(r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000000,"1"]}}"#)]),
    ("GET /api/v1/query?query=up&time=1e300", "", 200, &[At("/data/result", "[]")]),
    ("GET /api/v1/query?query=1&time=-292273086-05-16T16:47:06Z", "", 200, &[At("/data/resultType", r#""scalar""#)]),
    ("GET /api/v1/query?query=vector(1e-7)&time=1.5", "", 200, &[At("/data/result/0/value", r#"[1.5,"1e-07"]"#), Starts("{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[1.500,")]),
    ("GET /api/v1/query?query=vector(1e21)&time=0", "", 200, &[At("/data/result/0/value", r#"[0,"1e+21"]"#)]),
    ("GET /api/v1/query?query=1e21&time=0", "", 200, &[Exact(r#"{"status":"success","data":{"resultType":"scalar","result":[0,"1000000000000000000000"]}}"#)]),
    ("GET /api/v1/query?query=-2.5e-9&time=0", "", 200, &[Exact(r#"{"status":"success","data":{"resultType":"scalar","result":[0,"-0.0000000025"]}}"#)]),
    ("GET /api/v1/query?query=1&time=0&limit=1", "", 200, &[Exact(r#"{"status":"success","data":{"resultType":"scalar","result":[0,"1"]}}"#)]),
    ("GET /api/v1/query?query=up&lookback_delta=1e30", "", 400, &[Error("bad_data", "error parsing lookback delta duration: cannot parse \"1e30\" to a valid duration. It overflows int64")]),
    ("GET /api/v1/query?query=up&lookback_delta=1ms&time=1699999999", "", 200, &[At("/data/result", "[]")]),
    ("GET /api/v1/query_range?query=up%7Bjob=%22a%22%7D&start=1699999970&end=1700000000&step=15", "", 200, &[At("/data/resultType", r#""matrix""#), At("/data/result/0/values", r#"[[1699999970,"38"],[1699999985,"39"],[1700000000,"40"]]"#)]),
    ("POST /api/v1/query_range", "query=up&start=2023-11-14T22:13:00Z&end=1700000000&step=10s", 200, &[At("/data/resultType", r#""matrix""#)]),
    ("GET /api/v1/query_range?query=up&end=1&step=1", "", 400, &[Error("bad_data", "invalid parameter \"start\": cannot parse \"\" to a valid timestamp")]),
    ("GET /api/v1/query_range?query=up&start=2&end=1&step=1", "", 400, &[Error("bad_data", "invalid parameter \"end\": end timestamp must not be before start time")]),
    ("GET /api/v1/query_range?query=up&start=1&end=2&step=0", "", 400, &[Error("bad_data", "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer")]),
    ("GET /api/v1/query_range?query=up&start=0&end=11001&step=1", "", 400, &[Error("bad_data", "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)")]),
    ("GET /api/v1/query_range?query=up&start=0&end=1&step=1e30", "", 400, &[Error("bad_data", "invalid parameter \"step\": cannot parse \"1e30\" to a valid duration. It overflows int64")]),
    ("GET /api/v1/query_range?query=up&start=1&end=2&step=NaN", "", 400, &[Error("bad_data", "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer")]),
    ("GET /api/v1/query_range?query=up&start=1&end=2&step=1e400", "", 400, &[Error("bad_data", "invalid parameter \"step\": cannot parse \"1e400\" to a valid duration")]),
    ("GET /api/v1/query_range?query=up&start=1700000000000&end=1700000060000&step=15000", "", 200, &[At("/data/result", "[]")]),
    ("GET /api/v1/query_range?query=1&start=0&end=1&step=1&limit=0&stats=all", "", 200, &[Keys("/data", "resultType result stats")]),
    ("GET /api/v1/query_range?query=up%5B1m%5D&start=0&end=1&step=1", "", 400, &[Error("bad_data", "invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector")]),
    ("GET /api/v1/query_exemplars?query=test&start=1700000000000&end=1700000060000", "", 200, &[Exact(r#"{"status":"success","data":[]}"#)]),
    ("GET /api/v1/query_exemplars?query=http_requests_total%7Bjob=%22a%22%7D", "", 200, &[Exact(r#"{"status":"success","data":[{"seriesLabels":{"__name__":"http_requests_total","job":"a","path":"/<x>&"},"exemplars":[{"labels":{"trace_id":"<abc>"},"value":"0.5","timestamp":1699999998.500}]}]}"#)]),
    ("GET /api/v1/query_exemplars?query=1", "", 204, &[Exact("")]),
    ("POST /api/v1/query_exemplars", "query=up&start=2&end=1", 400, &[Error("bad_data", "end timestamp must not be before start timestamp")]),
    ("GET /api/v1/query_exemplars?query=(", "", 400, &[Starts(r#"{"status":"error","errorType":"bad_data","error":"1:2: parse error"#)]),
    ("GET /api/v1/format_query?query=foo/bar", "", 200, &[Exact(r#"{"status":"success","data":"foo / bar"}"#)]),
    ("POST /api/v1/format_query", "query=sum(a<1)", 200, &[Exact(r#"{"status":"success","data":"sum(a \u003c 1)"}"#)]),
    ("GET /api/v1/format_query?query=foo/", "", 400, &[At("/errorType", r#""bad_data""#)]),
    ("GET /api/v1/parse_query?query=1%3C2", "", 400, &[At("/errorType", r#""bad_data""#)]),
    ("GET /api/v1/parse_query?query=a%3C1", "", 200, &[At("/data/type", r#""binaryExpr""#), At("/data/op", r#""<""#), Starts(r#"{"status":"success","data":{"bool":false,"lhs":"#)]),
    ("GET /api/v1/narthex/explain?query=sum(up)", "", 200, &[Keys("/data", "plan stats"), Keys("/data/plan", "operator detail series points samples chunks bytes nanoseconds children"), At("/data/plan/children/0/series", "2")]),
    ("POST /api/v1/narthex/explain", "query=up&start=1&end=2&step=1", 200, &[At("/status", r#""success""#)]),
    ("GET /api/v1/narthex/explain?query=(", "", 400, &[At("/errorType", r#""bad_data""#)]),
    ("GET /api/v1/narthex/queries", "", 200, &[Exact(r#"{"status":"success","data":[]}"#)]),
    ("POST /api/v1/narthex/queries", "", 405, WRONG_METHOD),
    ("POST /api/v1/narthex/queries/cancel?id=7", "", 404, &[Error("not_found", "no query runs under the number 7")]),
    ("PUT /api/v1/narthex/queries/cancel", "id=x", 400, &[Error("bad_data", "invalid parameter \"id\": \"x\" is no number of a query")]),
    ("GET /api/v1/narthex/queries/cancel?id=7", "", 405, WRONG_METHOD),
    // Labels and series.
    ("GET /api/v1/labels", "", 200, &[Exact(r#"{"status":"success","data":["__name__","instance","job","my.label","path","region"]}"#)]),
    ("POST /api/v1/labels", "match[]=up&limit=2", 200, &[Exact(r#"{"status":"success","data":["__name__","instance"],"warnings":["results truncated due to limit"]}"#)]),
    ("GET /api/v1/labels?match%5B%5D=nothing", "", 200, &[Exact(r#"{"status":"success","data":[]}"#)]),
    ("GET /api/v1/labels?match%5B%5D=%7B%7D", "", 400, &[Error("bad_data", "match[] must contain at least one non-empty matcher")]),
    ("GET /api/v1/labels?start=x", "", 400, &[Error("bad_data", "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp")]),
    ("GET /api/v1/label/job/values", "", 200, &[Exact(r#"{"status":"success","data":["a","b"]}"#)]),
    ("GET /api/v1/label/U__my_2e_label/values", "", 200, &[Exact(r#"{"status":"success","data":["v"]}"#)]),
    ("GET /api/v1/label/my.label/values", "", 200, &[Exact(r#"{"status":"success","data":["v"]}"#)]),
    ("GET /api/v1/label/%FF/values", "", 400, &[Error("bad_data", "invalid label name: \"\\xff\"")]),
    ("GET /api/v1/label/job/values?limit=1", "", 200, &[Exact(r#"{"status":"success","data":["a"],"warnings":["results truncated due to limit"]}"#)]),
    ("GET /api/v1/label/job/values?match%5B%5D=nothing&match%5B%5D=none", "", 200, &[Exact(r#"{"status":"success","data":[]}"#)]),
    ("POST /api/v1/label/job/values", "", 405, WRONG_METHOD),
    ("GET /api/v1/series?match%5B%5D=up&match%5B%5D=%7Bjob=%22b%22%7D", "", 200, &[Exact(r#"{"status":"success","data":[{"__name__":"http_requests_total","job":"b","region":"own"},{"__name__":"up","instance":"one","job":"a"},{"__name__":"up","job":"b"}]}"#)]),
    ("POST /api/v1/series", "match[]=up&limit=1", 200, &[At("/data", r#"[{"__name__":"up","instance":"one","job":"a"}]"#), At("/warnings/0", r#""results truncated due to limit""#)]),
    ("GET /api/v1/series?match%5B%5D=up&x=1;2", "", 400, &[Error("bad_data", "error parsing form values: invalid semicolon separator in query")]),
    ("GET /api/v1/series?match%5B%5D=http_requests_total%7Bjob=%22a%22%7D", "", 200, &[Exact(r#"{"status":"success","data":[{"__name__":"http_requests_total","job":"a","path":"/<x>&"}]}"#)]),
    ("GET /api/v1/series", "", 400, &[Error("bad_data", "no match[] parameter provided")]),
    ("GET /api/v1/series?match%5B%5D=%7Ba=~%22.*%22%7D", "", 400, &[Error("bad_data", "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher")]),
    ("DELETE /api/v1/series", "", 405, &[Header("allow", "GET, OPTIONS, POST"), Exact("Method Not Allowed\n")]),
    // Search.
    ("GET /api/v1/search/metric_names?search%5B%5D=up&include_score=true", "", 200, &[Exact("{\"results\":[{\"name\":\"up\",\"score\":1}]}\n{\"status\":\"success\",\"has_more\":false}\n"), Header("content-type", "application/x-ndjson; charset=utf-8")]),
    ("POST /api/v1/search/label_names", "limit=1&sort_by=alpha&sort_dir=dsc", 200, &[Exact("{\"results\":[{\"name\":\"region\"}]}\n{\"status\":\"success\",\"has_more\":true}\n")]),
    ("GET /api/v1/search/label_values?label=job&batch_size=1", "", 200, &[Exact("{\"results\":[{\"value\":\"a\"}]}\n{\"results\":[{\"value\":\"b\"}]}\n{\"status\":\"success\",\"has_more\":false}\n")]),
    ("GET /api/v1/search/label_values?label=job&search%5B%5D=zzz", "", 200, &[Exact("{\"results\":[]}\n{\"status\":\"success\",\"has_more\":false}\n")]),
    ("GET /api/v1/search/label_values", "", 400, &[Error("bad_data", "missing required parameter \"label\"")]),
    ("GET /api/v1/search/metric_names?sort_by=score", "", 400, &[Error("bad_data", "sort_by=score requires search[] to be set")]),
    ("GET /api/v1/search/metric_names?fuzz_threshold=101", "", 400, &[Error("bad_data", "invalid fuzz_threshold \"101\": must be 0-100")]),
    ("GET /api/v1/search/metric_names?limit=1001", "", 400, &[Error("bad_data", "limit 1001 exceeds the configured maximum (1000, see --web.search.max-limit)")]),
    ("GET /api/v1/search/metric_names?limit=0", "", 400, &[Error("bad_data", "invalid limit \"0\": must be a positive integer")]),
    ("GET /api/v1/search/metric_names?sort_by=x", "", 400, &[Error("bad_data", "invalid sort_by \"x\" for metric_names: must be \"alpha\" or \"score\"")]),
    ("GET /api/v1/search/metric_names?sort_dir=asc", "", 400, &[Error("bad_data", "sort_dir is only valid when sort_by is set")]),
    ("GET /api/v1/search/metric_names?sort_by=score&search%5B%5D=a&sort_dir=asc", "", 400, &[Error("bad_data", "sort_dir is not supported for sort_by=score")]),
    ("GET /api/v1/search/label_names?start=x", "", 400, &[Error("bad_data", "invalid time value for 'start': cannot parse \"x\" to a valid timestamp")]),
    ("GET /api/v1/search/label_names?fuzz_alg=x", "", 400, &[Error("bad_data", "unsupported fuzz_alg \"x\": must be one of [subsequence jarowinkler]")]),
    ("GET /api/v1/search/label_names?case_sensitive=x", "", 400, &[Error("bad_data", "invalid case_sensitive \"x\": must be boolean")]),
    // Targets.
    ("GET /api/v1/scrape_pools", "", 200, &[Exact(r#"{"status":"success","data":{"scrapePools":["node","other"]}}"#)]),
    ("GET /api/v1/scrape_pools/config?scrapePool=node", "", 200, &[Starts(r#"{"status":"success","data":{"yaml":"job_name: node\n"#)]),
    ("GET /api/v1/scrape_pools/config", "", 400, &[At("/errorType", r#""bad_data""#)]),
    ("GET /api/v1/scrape_pools/config?scrapePool=x", "", 400, &[Error("bad_data", "error retrieving scrape config: scrape pool \"x\" not found")]),
    ("GET /api/v1/targets", "", 200, &[Keys("/data", "activeTargets droppedTargets droppedTargetCounts"), Keys("/data/activeTargets/0", "discoveredLabels labels scrapePool scrapeUrl globalUrl lastError lastScrape lastScrapeDuration health scrapeInterval scrapeTimeout"), Keys("/data/droppedTargets/0", "discoveredLabels scrapePool"), At("/data/droppedTargetCounts", r#"{"node":1,"other":0}"#), At("/data/activeTargets/0/globalUrl", r#""http://prom.example.org:9100/metrics""#), At("/data/activeTargets/1/globalUrl", r#""http://prom.example.org/metrics""#), At("/data/activeTargets/0/lastScrape", r#""0001-01-01T00:00:00Z""#), At("/data/activeTargets/0/health", r#""unknown""#)]),
    ("GET /api/v1/targets?state=ACTIVE&scrapePool=other", "", 200, &[At("/data/activeTargets/0/scrapePool", r#""other""#), At("/data/droppedTargets", "[]"), At("/data/droppedTargetCounts", "null")]),
    ("GET /api/v1/targets?scrapePool=other", "", 200, &[At("/data/droppedTargets", "[]"), At("/data/droppedTargetCounts", r#"{"node":1,"other":0}"#)]),
    ("GET /api/v1/targets?state=dropped", "", 200, &[At("/data/activeTargets", "[]"), At("/data/droppedTargets/0/scrapePool", r#""node""#)]),
    ("GET /api/v1/targets?state=x", "", 200, &[Exact(r#"{"status":"success","data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":null}}"#)]),
    ("POST /api/v1/targets", "", 405, WRONG_METHOD),
    ("GET /api/v1/targets/metadata", "", 200, &[Exact(r#"{"status":"success","data":[]}"#)]),
    ("GET /api/v1/targets/metadata?limit=x", "", 400, &[Error("bad_data", "limit must be a number")]),
    ("GET /api/v1/targets/metadata?match_target=%7B", "", 400, &[Starts(r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"match_target\": "#)]),
    ("GET /api/v1/targets/relabel_steps?scrapePool=node&labels=%7B%22__address__%22:%22h:1%22%7D", "", 200, &[At("/data/steps/1", r#"{"keep":true,"output":{"__address__":"h:1","host":"h:1"},"rule":{"action":"replace","regex":"(.*)","replacement":"$1","separator":";","source_labels":["__address__"],"target_label":"host"}}"#)]),
    ("GET /api/v1/targets/relabel_steps?scrapePool=node&labels=%7B%22drop_me%22:%22yes%22%7D", "", 200, &[At("/data/steps/0/keep", "false"), At("/data/steps/1/keep", "false"), At("/data/steps/1/output", "{}")]),
    ("GET /api/v1/targets/relabel_steps?labels=%7B%7D", "", 400, &[At("/errorType", r#""bad_data""#)]),
    ("GET /api/v1/targets/relabel_steps?scrapePool=node&labels=x", "", 400, &[At("/errorType", r#""bad_data""#)]),
    ("GET /api/v1/metadata", "", 200, &[Exact(r#"{"status":"success","data":{}}"#)]),
    ("GET /api/v1/metadata?limit=x", "", 400, &[Error("bad_data", "limit must be a number")]),
    ("GET /api/v1/metadata?limit_per_metric=x", "", 400, &[Error("bad_data", "limit_per_metric must be a number")]),
    // Rules and alerts.
    ("GET /api/v1/rules", "", 200, &[Exact(r#"{"status":"success","data":{"groups":[]}}"#)]),
    ("GET /api/v1/rules?type=x", "", 400, &[Error("bad_data", "invalid parameter \"type\": not supported value \"x\"")]),
    ("GET /api/v1/rules?match%5B%5D=%7B%7D&type=x", "", 400, &[Error("bad_data", "match[] must contain at least one non-empty matcher")]),
    ("GET /api/v1/rules?type=Alert&exclude_alerts=tRuE&group_limit=3&rule_name%5B%5D=a&rule_group%5B%5D=b&file%5B%5D=c", "", 200, &[Exact(r#"{"status":"success","data":{"groups":[]}}"#)]),
    ("GET /api/v1/rules?exclude_alerts=X", "", 400, &[Error("bad_data", "invalid parameter \"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"x\": invalid syntax")]),
    ("GET /api/v1/rules?group_limit=0", "", 400, &[Error("bad_data", "invalid parameter \"group_limit\": group_limit needs to be greater than 0")]),
    ("GET /api/v1/rules?group_limit=99999999999", "", 400, &[Error("bad_data", "invalid parameter \"group_limit\": group_limit needs to be a valid number: strconv.ParseInt: parsing \"99999999999\": value out of range")]),
    ("GET /api/v1/rules?group_next_token=x", "", 400, &[Error("bad_data", "invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups")]),
    ("GET /api/v1/rules?group_next_token=x&group_limit=2", "", 400, &[Error("bad_data", "invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?")]),
    ("GET /api/v1/alerts", "", 200, &[Exact(r#"{"status":"success","data":{"alerts":[]}}"#)]),
    ("GET /api/v1/alertmanagers", "", 200, &[Exact(r#"{"status":"success","data":{"activeAlertmanagers":[],"droppedAlertmanagers":[]}}"#)]),
    // Status.
    ("GET /api/v1/status/config", "", 200, &[Exact(r#"{"status":"success","data":{"yaml":"global: {}\n"}}"#)]),
    ("GET /api/v1/status/flags", "", 200, &[Exact(r#"{"status":"success","data":{"web.max-notifications-subscribers":"2"}}"#)]),
    ("GET /api/v1/status/runtimeinfo", "", 200, &[Keys("/data", "startTime CWD hostname serverTime reloadConfigSuccess lastConfigTime corruptionCount goroutineCount GOMAXPROCS GOMEMLIMIT GOGC GODEBUG storageRetention"), At("/data/startTime", r#""2023-11-14T22:13:15Z""#), At("/data/lastConfigTime", r#""0001-01-01T00:00:00Z""#), At("/data/storageRetention", r#""15d""#)]),
    ("GET /api/v1/status/buildinfo", "", 200, &[Exact(r#"{"status":"success","data":{"version":"3.14.0","revision":"abc"}}"#)]),
    ("GET /api/v1/status/tsdb?limit=1", "", 200, &[Keys("/data", "headStats seriesCountByMetricName labelValueCountByLabelName memoryInBytesByLabelName seriesCountByLabelValuePair"), Keys("/data/headStats", "numSeries numLabelPairs chunkCount minTime maxTime"), At("/data/seriesCountByMetricName", r#"[{"name":"up","value":2}]"#)]),
    ("GET /api/v1/status/tsdb?limit=0", "", 400, &[Error("bad_data", "limit must be a positive number")]),
    ("GET /api/v1/status/tsdb?limit=10001", "", 400, &[Error("bad_data", "limit must not exceed 10000")]),
    ("GET /api/v1/status/tsdb/blocks", "", 200, &[Exact(r#"{"status":"success","data":{"blocks":[{"ulid":"01HF7YAT31J3RM6TQ3PM2P0000","version":1}]}}"#)]),
    ("GET /api/v1/status/walreplay", "", 200, &[Exact(r#"{"status":"success","data":{"min":1,"max":7,"current":3}}"#)]),
    ("GET /api/v1/status/self_metrics?metric_name_pattern=prometheus_web_federation_e.*", "", 200, &[Exact(r#"{"status":"success","data":[{"name":"prometheus_web_federation_errors_total","help":"Total number of errors that occurred while sending federation responses.","type":"COUNTER","metric":[{"counter":{"value":0}}]}]}"#)]),
    ("GET /api/v1/status/self_metrics?metric_name_pattern=(", "", 400, &[Error("bad_data", "invalid metric_name_pattern: error parsing regexp: missing closing ): `^(?:()$`")]),
    ("GET /api/v1/features", "", 200, &[Starts(r#"{"status":"success","data":{"api":{"admin":true,"#), At("/data/promql_operators/<", "true"), At("/data/api/search", "true")]),
    ("GET /api/v1/notifications", "", 200, &[Exact(r#"{"status":"success","data":[]}"#)]),
    ("GET /api/v1/openapi.yaml", "", 200, &[Starts("openapi: 3.1.0\n"), Header("content-type", "application/yaml; charset=utf-8")]),
    ("GET /api/v1/openapi.yaml?openapi_version=3.2", "", 200, &[Starts("openapi: 3.2.0\n")]),
    // Administration.
    ("POST /api/v1/admin/tsdb/delete_series?match%5B%5D=up", "", 204, &[Exact("")]),
    ("PUT /api/v1/admin/tsdb/delete_series?match%5B%5D=up&start=1&end=2", "", 204, &[Exact("")]),
    ("POST /api/v1/admin/tsdb/delete_series", "", 400, &[Error("bad_data", "no match[] parameter provided")]),
    ("GET /api/v1/admin/tsdb/delete_series", "", 405, WRONG_METHOD),
    ("POST /api/v1/admin/tsdb/clean_tombstones", "", 204, &[Exact("")]),
    ("POST /api/v1/admin/tsdb/snapshot?skip_head=true", "", 200, &[Exact(r#"{"status":"success","data":{"name":"20231114T221320Z-0000000000000001"}}"#)]),
    ("PUT /api/v1/admin/tsdb/snapshot?skip_head=x", "", 400, &[Error("bad_data", "invalid parameter \"skip_head\": unable to parse boolean: strconv.ParseBool: parsing \"x\": invalid syntax")]),
    // Receiving.
    ("GET /api/v1/write", "", 405, &[Header("allow", "OPTIONS, POST")]),
    ("POST /api/v1/read", "", 404, &[Exact("this server does not answer remote read yet\n")]),
    ("POST /api/v1/write", "junk", 415, &[Exact("expected application/x-protobuf as the first (media) part, got application/x-www-form-urlencoded content-type\n")]),
    ("POST /api/v1/otlp/v1/metrics", "", 404, &[Exact("otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n")]),
    // Beside the API.
    ("OPTIONS /api/v1/query", "", 204, &[Exact(""), Header("vary", "Origin")]),
    ("OPTIONS /metrics", "", 200, &[Exact(""), Header("allow", "GET, OPTIONS")]),
    ("OPTIONS /-/ready", "", 200, &[Exact(""), Header("allow", "GET, HEAD, OPTIONS")]),
    ("OPTIONS /nothing", "", 404, NOT_FOUND),
    ("OPTIONS /api/v1/any/thing", "", 204, &[Exact("")]),
    ("GET /api/v1/nothing", "", 404, NOT_FOUND),
    ("GET /nothing", "", 404, NOT_FOUND),
    ("GET /api/v1/query/?query=1", "", 301, &[Header("location", "/api/v1/query?query=1"), Exact("<a href=\"/api/v1/query?query=1\">Moved Permanently</a>.\n\n")]),
    ("POST /api/v1/query/?query=1", "", 307, &[Header("location", "/api/v1/query?query=1"), Exact("")]),
    ("GET /api/v1/label/job/values/", "", 301, &[Header("location", "/api/v1/label/job/values")]),
    ("GET //api/v1/query?query=1", "", 307, &[Header("location", "/api/v1/query?query=1")]),
    ("GET /api/v1/x/../query?query=1", "", 307, &[Header("location", "/api/v1/query?query=1")]),
    ("GET /-/healthy", "", 200, &[Exact("Prometheus Server is Healthy.\n")]),
    ("HEAD /-/healthy", "", 200, &[]),
    ("GET /-/ready", "", 200, &[Exact("Prometheus Server is Ready.\n")]),
    ("HEAD /-/ready", "", 200, &[]),
    ("GET /-/reload", "", 405, &[Exact("Only POST or PUT requests allowed")]),
    ("DELETE /-/reload", "", 405, &[Exact("Method Not Allowed\n"), Header("allow", "GET, OPTIONS, POST, PUT")]),
    ("HEAD /-/reload", "", 405, &[Header("allow", "GET, OPTIONS, POST, PUT")]),
    ("GET /-/quit", "", 405, &[Exact("Only POST or PUT requests allowed")]),
    ("GET /metrics", "", 200, &[Header("content-type", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores")]),
    ("HEAD /metrics", "", 405, &[]),
    ("GET /version", "", 200, &[Header("content-type", "text/plain; charset=utf-8"), Exact("{\"version\":\"3.14.0\",\"revision\":\"abc\"}\n")]),
    ("GET /federate", "", 200, &[Exact("")]),
    ("GET /federate?match%5B%5D=%7B%7D", "", 200, &[Exact("")]),
    ("GET /federate?match%5B%5D=up&x=%ZZ", "", 400, &[Exact("error parsing form values: invalid URL escape \"%ZZ\"\n"), Header("x-content-type-options", "nosniff")]),
    ("POST /federate", "match[]=up", 405, &[Header("allow", "GET, OPTIONS")]),
    ("GET /", "", 302, &[Header("location", "/base/query")]),
    ("GET /graph", "", 302, &[Header("location", "/base/query?")]),
    ("GET /graph?g0.expr=up", "", 302, &[Header("location", "/base/query?g0.expr=up")]),
    ("GET /query", "", 200, &[Starts("<!doctype html>"), Header("content-type", "text/html; charset=utf-8")]),
    ("GET /tsdb-status", "", 200, &[Starts("<!doctype html>")]),
    ("GET /assets/app.js", "", 200, &[Header("content-type", "text/javascript; charset=utf-8")]),
    ("GET /assets/x.js", "", 404, NOT_FOUND),
    ("GET /user/x", "", 404, NOT_FOUND),
    ("GET /consoles/index.html", "", 404, &[]),
    ("GET /debug/pprof", "", 301, &[Header("location", "/debug/pprof/")]),
    ("GET /debug/pprof/", "", 200, &[Starts("<!doctype html>"), Header("content-type", "text/html; charset=utf-8")]),
    ("GET /debug/pprof/heap", "", 200, &[Header("content-type", "application/octet-stream"), Header("content-disposition", "attachment; filename=\"inuse_space\"")]),
    ("GET /debug/pprof/allocs?debug=1", "", 200, &[Header("content-type", "text/plain; charset=utf-8")]),
    ("GET /debug/pprof/cmdline", "", 200, &[Exact("narthex\0--web.listen-address=:9090")]),
    ("GET /debug/pprof/profile?seconds=1", "", 404, &[Exact("this server was built without a profiler\n")]),
    ("GET /debug/pprof/trace", "", 404, &[Exact("execution traces exist in the Go runtime alone\n")]),
    ("GET /debug/pprof/mutex", "", 200, &[Header("content-disposition", "attachment; filename=\"mutex\"")]),
    ("GET /debug/pprof/x", "", 404, &[Exact("Unknown profile\n")]),
    ("GET /debug/x", "", 404, NOT_FOUND),
];

/// Cases of a server with upstream's defaults.
#[rustfmt::skip]
const DEFAULT_ROWS: &[Row] = &[
    ("POST /api/v1/admin/tsdb/delete_series?match%5B%5D=up", "", 500, &[Error("unavailable", "admin APIs disabled")]),
    ("POST /api/v1/admin/tsdb/clean_tombstones", "", 500, &[Error("unavailable", "admin APIs disabled")]),
    ("POST /api/v1/narthex/queries/cancel?id=7", "", 500, &[Error("unavailable", "admin APIs disabled")]),
    ("PUT /api/v1/admin/tsdb/snapshot", "", 500, &[Error("unavailable", "admin APIs disabled")]),
    ("GET /api/v1/search/metric_names", "", 500, &[Error("unavailable", "search API disabled")]),
    ("POST /api/v1/write", "", 404, &[Exact("remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n")]),
    ("POST /-/reload", "", 403, &[Exact("Lifecycle API is not enabled.")]),
    ("PUT /-/quit", "", 403, &[Exact("Lifecycle API is not enabled.")]),
    ("GET /-/quit", "", 405, &[Exact("Only POST or PUT requests allowed")]),
];

/// Cases of a server that is not ready.
#[rustfmt::skip]
const STARTING_ROWS: &[Row] = &[
    ("GET /api/v1/query?query=up", "", 503, &[Exact("Service Unavailable"), Header("x-prometheus-stopping", "false")]),
    ("GET /api/v1/status/config", "", 503, &[Exact("Service Unavailable")]),
    ("OPTIONS /api/v1/query", "", 503, &[Exact("Service Unavailable")]),
    ("GET /federate?match%5B%5D=up", "", 503, &[Exact("Service Unavailable")]),
    ("POST /api/v1/write", "", 503, &[Exact("Service Unavailable")]),
    ("GET /api/v1/openapi.yaml", "", 503, &[Exact("Service Unavailable")]),
    ("GET /-/ready", "", 503, &[Exact("Service Unavailable")]),
    ("HEAD /-/ready", "", 503, &[]),
    ("GET /-/healthy", "", 200, &[]),
    ("GET /metrics", "", 200, &[]),
    ("GET /version", "", 200, &[]),
    ("GET /query", "", 200, &[]),
    ("GET /api/v1/status/walreplay", "", 200, &[At("/data/current", "3")]),
    ("GET /api/v1/notifications", "", 200, &[At("/data/0/text", r#""Prometheus is starting and replaying the write-ahead log (WAL).""#), Keys("/data/0", "text date active")]),
];

fn check(reply: &Reply, want: &Want) -> Result<(), String> {
    let show = || reply.text().chars().take(600).collect::<String>();
    let same = |have: String, want: &str| {
        if have == want { Ok(()) } else { Err(format!("{have:?}, wanted {want:?}; {}", show())) }
    };
    match want {
        Exact(text) => same(reply.text(), text),
        Starts(text) if reply.text().starts_with(text) => Ok(()),
        Starts(text) => Err(format!("{}, wanted {text} …", show())),
        Error(kind, text) => {
            let json = reply.json();
            same(json["errorType"].to_string(), &Value::from(*kind).to_string())?;
            same(json["error"].to_string(), &Value::from(*text).to_string())
        }
        At(pointer, value) => {
            let json = reply.json();
            same(json.pointer(pointer).unwrap_or(&Value::Null).to_string(), value)
        }
        Keys(pointer, names) => {
            let json = reply.json();
            let mut have: Vec<&String> =
                json.pointer(pointer).and_then(Value::as_object).unwrap().keys().collect();
            // The order is that of the text: parsing sorts.
            let text = reply.text();
            have.sort_by_key(|name| text.find(&format!("\"{name}\":")));
            same(have.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "), names)
        }
        Header(name, value) => same(reply.header(name).to_owned(), value),
    }
}

async fn run(server: &Server, rows: &[Row], passed: &mut usize) {
    for (line, form, status, wants) in rows {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !form.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let reply = server.send(request.body(Body::from(*form)).unwrap()).await;
        let mut faults = Vec::new();
        if reply.status.as_u16() != *status {
            faults.push(format!("status {}, wanted {status}; {}", reply.status, reply.text()));
        }
        faults.extend(wants.iter().filter_map(|want| check(&reply, want).err()));
        match faults.as_slice() {
            [] => *passed += 1,
            faults => println!("{line}: {}", faults.join("\n    ")),
        }
    }
}

#[tokio::test]
async fn every_endpoint_answers_as_the_ledger_says() {
    assert_eq!(NOW_MS % 15_000, 5_000, "rows name times on the grid of the samples");
    let mut passed = 0;
    run(&Server::new(all_on()).with_targets().await, ROWS, &mut passed).await;
    run(&Server::new(defaults()), DEFAULT_ROWS, &mut passed).await;
    run(&Server::starting(all_on()), STARTING_ROWS, &mut passed).await;
    let total = ROWS.len() + DEFAULT_ROWS.len() + STARTING_ROWS.len();
    println!("api table: {passed} / {total}");
    assert_eq!(passed, total);
}
