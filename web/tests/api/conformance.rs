//! The API's own description, and what it says it can do.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::server::{Server, defaults};

#[tokio::test]
async fn features_of_default_flags_are_upstreams() {
    let Some(dir) = testkit::conformance_dir("http-api") else { return };
    let wanted: BTreeMap<String, BTreeMap<String, bool>> =
        serde_json::from_str(&std::fs::read_to_string(dir.join("features.json")).unwrap()).unwrap();
    let reply = Server::new(defaults()).get("/api/v1/features").await;
    let have: BTreeMap<String, BTreeMap<String, bool>> =
        serde_json::from_value(reply.json()["data"].clone()).unwrap();
    let flat = |all: &BTreeMap<String, BTreeMap<String, bool>>| -> BTreeSet<(String, String, bool)> {
        all.iter()
            .flat_map(|(c, names)| names.iter().map(move |(n, on)| (c.clone(), n.clone(), *on)))
            .collect()
    };
    let (have, wanted) = (flat(&have), flat(&wanted));
    println!("features: {} / {}", have.intersection(&wanted).count(), wanted.len());
    assert_eq!(have.symmetric_difference(&wanted).collect::<Vec<_>>(), Vec::<&(String, String, bool)>::new());
}

/// Paths with methods, operation ids and parameters; names of schemas and their fields.
fn outline(text: &str) -> (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) {
    let document: Value = serde_yaml::from_str(text).unwrap();
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let mut parameters: Vec<String> = parameters
                .iter()
                .map(|p| {
                    format!("{} {} {}", p["name"].as_str().unwrap(), p["in"].as_str().unwrap(), p["required"])
                })
                .collect();
            parameters.sort();
            let (id, tags) = (&operation["operationId"], &operation["tags"]);
            operations.insert(format!("{method} {path} {id} {tags} {}", parameters.join(", ")));
        }
    }
    let schemas = document["components"]["schemas"].as_object().unwrap().iter().map(|(name, schema)| {
        let fields = schema["properties"].as_object();
        (name.clone(), fields.into_iter().flatten().map(|(field, _)| field.clone()).collect())
    });
    (operations, schemas.collect())
}

#[tokio::test]
async fn the_description_has_upstreams_operations_and_schemas() {
    let Some(dir) = testkit::conformance_dir("http-api") else { return };
    let server = Server::new(defaults());
    for version in ["3.1", "3.2"] {
        let golden = std::fs::read_to_string(dir.join(format!("openapi_{version}_golden.yaml"))).unwrap();
        let ours = server.get(&format!("/api/v1/openapi.yaml?openapi_version={version}")).await.text();
        let ((have, have_schemas), (wanted, wanted_schemas)) = (outline(&ours), outline(&golden));
        let same = have.intersection(&wanted).count();
        let same_schemas = wanted_schemas.iter().filter(|(n, f)| have_schemas.get(*n) == Some(f)).count();
        println!(
            "openapi {version}: operations {same} / {}, schemas {same_schemas} / {}",
            wanted.len(),
            wanted_schemas.len()
        );
        for missing in wanted.difference(&have).chain(have.difference(&wanted)) {
            println!("  {missing}");
        }
        for (name, fields) in &wanted_schemas {
            if have_schemas.get(name) != Some(fields) {
                println!("  {name}: {:?}, wanted {fields:?}", have_schemas.get(name));
            }
        }
        assert_eq!((same, same_schemas), (wanted.len(), wanted_schemas.len()));
    }
}
