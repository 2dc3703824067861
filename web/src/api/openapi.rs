//! `/openapi.yaml`: this API described in OpenAPI, from the tables beside.

mod operations;
mod schemas;

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{HeaderValue, Response, header};
use config::yaml::Yaml;

use self::operations::{Answer, OPERATIONS, Operation, Parameter, Place, TAGS};
use crate::params::Params;

/// The document of version 3.1, and that of 3.2, which can describe event streams.
static DOCUMENTS: LazyLock<[String; 2]> = LazyLock::new(|| [build(false).to_text(), build(true).to_text()]);

/// The document; `openapi_version=3.2` asks for the newer form.
pub async fn document(RawQuery(query): RawQuery) -> Response<Body> {
    let newer = matches!(
        Params::from_query(query.as_deref().unwrap_or_default()).get("openapi_version"),
        "3.2" | "3.2.0"
    );
    let mut response = Response::new(Body::from(DOCUMENTS[usize::from(newer)].as_str()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    response
}

fn text(text: &str) -> Yaml {
    Yaml::Str(text.to_owned())
}

fn map(entries: Vec<(&str, Yaml)>) -> Yaml {
    Yaml::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn reference(schema: &str) -> Yaml {
    map(vec![("$ref", Yaml::Str(format!("#/components/schemas/{schema}")))])
}

fn build(newer: bool) -> Yaml {
    let mut paths: Vec<(String, Yaml)> = Vec::new();
    for operation in
        OPERATIONS.iter().filter(|operation| newer || !matches!(operation.answer, Answer::Events(_)))
    {
        let methods = operation
            .methods
            .iter()
            .map(|&(method, id)| (method.to_owned(), describe(operation, method, id)));
        paths.push((operation.path.to_owned(), Yaml::Map(methods.collect())));
    }
    let tags =
        TAGS.iter().map(|&(name, about)| map(vec![("name", text(name)), ("description", text(about))]));
    map(vec![
        ("openapi", text(if newer { "3.2.0" } else { "3.1.0" })),
        (
            "info",
            map(vec![
                ("title", text("Prometheus API")),
                ("description", text("The HTTP API that Narthex shares with Prometheus, below /api/v1.")),
                ("version", text(env!("CARGO_PKG_VERSION"))),
            ]),
        ),
        ("servers", Yaml::Seq(vec![map(vec![("url", text("/api/v1"))])])),
        ("paths", Yaml::Map(paths)),
        ("components", map(vec![("schemas", schemas::all())])),
        ("tags", Yaml::Seq(tags.collect())),
    ])
}

fn describe(operation: &Operation, method: &str, id: &str) -> Yaml {
    let mut entries = vec![
        ("tags", Yaml::Seq(vec![text(operation.tag)])),
        ("summary", text(operation.summary)),
        ("operationId", text(id)),
    ];
    // A form holds what a query string holds otherwise.
    match operation.form.filter(|_| method == "post") {
        Some(form) => {
            let content =
                map(vec![("application/x-www-form-urlencoded", map(vec![("schema", reference(form))]))]);
            entries.push(("requestBody", map(vec![("required", Yaml::Bool(true)), ("content", content)])));
        }
        None if !operation.parameters.is_empty() => {
            entries.push(("parameters", Yaml::Seq(operation.parameters.iter().map(parameter).collect())));
        }
        None => {}
    }
    let success = match operation.answer {
        Answer::Json(schema) => {
            ("200", map(vec![("description", text("Done.")), ("content", json(reference(schema)))]))
        }
        Answer::Lines => {
            let content = map(vec![(
                "application/x-ndjson",
                map(vec![("schema", map(vec![("type", text("string"))]))]),
            )]);
            (
                "200",
                map(vec![
                    ("description", text("Results, a line a batch, then a line that ends them.")),
                    ("content", content),
                ]),
            )
        }
        Answer::Nothing => ("204", map(vec![("description", text("Taken."))])),
        Answer::Events(schema) => {
            let data = map(vec![
                ("type", text("string")),
                ("contentMediaType", text("application/json")),
                ("contentSchema", reference(schema)),
            ]);
            let event = map(vec![
                ("type", text("object")),
                ("properties", map(vec![("data", data)])),
                ("required", Yaml::Seq(vec![text("data")])),
            ]);
            let content = map(vec![("text/event-stream", map(vec![("itemSchema", event)]))]);
            ("200", map(vec![("description", text("Events until the client leaves.")), ("content", content)]))
        }
    };
    let failure =
        map(vec![("description", text("Refused or failed.")), ("content", json(reference("Error")))]);
    entries.push(("responses", map(vec![success, ("default", failure)])));
    map(entries)
}

fn json(schema: Yaml) -> Yaml {
    map(vec![("application/json", map(vec![("schema", schema)]))])
}

fn parameter(parameter: &Parameter) -> Yaml {
    map(vec![
        ("name", text(parameter.name)),
        ("in", text(if parameter.place == Place::Path { "path" } else { "query" })),
        ("description", text(parameter.about)),
        ("required", Yaml::Bool(parameter.required)),
        ("schema", schemas::of(parameter.kind)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document = build(true).to_text();
        let names = document.match_indices("#/components/schemas/").map(|(at, prefix)| {
            let rest = &document[at + prefix.len()..];
            rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
        });
        for name in names {
            assert!(document.contains(&format!("\n    {name}:\n")), "{name}");
        }
    }

    #[test]
    fn only_the_newer_form_has_streams() {
        assert!(!build(false).to_text().contains("/notifications/live"));
        assert!(build(true).to_text().contains("/notifications/live"));
    }
}
