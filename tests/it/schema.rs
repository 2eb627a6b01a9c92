//! JSON Schemas of the documents: whole, and held against an independent validator.

use std::path::{Path, PathBuf};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::diagnostic::{Diagnostic, Severity};
use lifeline_gateway::site::{self, schema};
use schema::Kind;
use serde_json::Value;

/// What a schema can know; other findings need more than one document, or arithmetic.
const STRUCTURAL: [&str; 7] =
    ["unknown-key", "wrong-type", "missing-key", "unknown-word", "bad-name", "unknown-unit", "line-address"];

/// Keys that a table needs or not, as other keys or documents say.
const CONDITIONAL: [&str; 11] =
    ["unit", "point", "slave", "command", "bucket", "url", "path", "database", "registers", "at", "type"];

fn is_structural(finding: &Diagnostic) -> bool {
    let conditional = |key: &str| finding.message.contains(&format!("needs `{key}`"));
    STRUCTURAL.contains(&finding.code) && !CONDITIONAL.iter().any(|key| conditional(key))
}

fn validator(kind: Kind) -> jsonschema::Validator {
    jsonschema::validator_for(&schema::schema(kind)).unwrap()
}

/// A document as a TOML language server hands it to a validator: dates as text. `None` when it is no TOML.
fn document(path: &Path) -> Option<Value> {
    fn json(value: &toml::Value) -> Value {
        match value {
            toml::Value::Datetime(date) => Value::String(date.to_string()),
            toml::Value::Array(list) => list.iter().map(json).collect(),
            toml::Value::Table(table) => {
                Value::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
            }
            plain => serde_json::to_value(plain).unwrap(),
        }
    }
    let table: toml::Table = std::fs::read_to_string(path).ok()?.parse().ok()?;
    Some(json(&toml::Value::Table(table)))
}

fn documents(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    found.sort();
    found
}

fn faults(validator: &jsonschema::Validator, path: &Path) -> Vec<String> {
    let Some(document) = document(path) else { return Vec::new() };
    validator
        .iter_errors(&document)
        .map(|error| format!("{}: {} {error}", path.display(), error.instance_path()))
        .collect()
}

#[test]
fn specimens_show_and_explain_each_key_that_the_readers_know() {
    for kind in Kind::ALL {
        let gaps = schema::gaps(kind);
        assert!(gaps.is_empty(), "src/site/schema/specimens:\n{}", gaps.join("\n"));
    }
}

#[test]
fn all_shipped_documents_are_valid() {
    let mut count = 0;
    for (kind, folder) in
        [(Kind::Site, "devices"), (Kind::Profile, "firmware-profiles"), (Kind::Gateway, "config")]
    {
        let validator = validator(kind);
        for path in documents(Path::new(folder)) {
            assert_eq!(faults(&validator, &path), Vec::<String>::new());
            count += 1;
        }
    }
    assert!(count >= 20, "{count}");
}

/// The schema and the reader agree on every broken document: structural faults fail in both, and what is whole for the reader is so for the schema.
#[test]
fn broken_documents_fail_where_structure_is_broken() {
    let (site, profile, gateway) =
        (validator(Kind::Site), validator(Kind::Profile), validator(Kind::Gateway));
    let mut broken = 0;
    for folder in std::fs::read_dir("tests/documents").unwrap().map(|entry| entry.unwrap().path()) {
        let config = folder.join("gateway.toml");
        let options = site::Options {
            config: config.exists().then(|| config.clone()),
            site: folder.join("site"),
            profiles: Some(folder.join("profiles")),
            now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
            ..site::Options::default()
        };
        let (_, found, _) = site::load(&options);
        let all = [
            (vec![config], &gateway),
            (documents(&folder.join("site")), &site),
            (documents(&folder.join("profiles")), &profile),
        ];
        for (paths, validator) in all {
            for path in paths.iter().filter(|path| document(path).is_some()) {
                let name = path.display().to_string();
                let own = || found.0.iter().filter(|finding| finding.place.file == name);
                let told: Vec<&str> =
                    own().filter(|finding| is_structural(finding)).map(|finding| finding.code).collect();
                let faults = faults(validator, path);
                let errors = own().filter(|finding| finding.severity == Severity::Error);
                assert!(
                    told.is_empty() || !faults.is_empty(),
                    "{name}: the reader says {told:?}, the schema nothing"
                );
                assert!(
                    faults.is_empty() || errors.count() > 0,
                    "{name}: the reader says nothing, the schema {faults:?}"
                );
                broken += usize::from(!told.is_empty());
            }
        }
    }
    assert!(broken >= 10, "{broken} documents with broken structure");
}

#[test]
fn the_program_prints_them() {
    for kind in Kind::ALL {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
            .args(["schema", kind.name()])
            .output()
            .unwrap();
        assert!(done.status.success());
        assert_eq!(serde_json::from_slice::<Value>(&done.stdout).unwrap(), schema::schema(kind));
    }
}
