//! Documents that show each key once with a comment above it, read by the very readers that read a site.
//!
//! In: the embedded specimens. Out: what the readers asked for, the comment and the example of each key.
//! Invariant: a specimen has no fault but files that are elsewhere (certificates, secrets).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::clock::Timestamp;
use crate::diagnostic::{Diagnostics, Severity};
use crate::site::compile::Build;
use crate::site::expand::expand;
use crate::site::schema::Kind;
use crate::site::schema::shape::{Asked, path};
use crate::site::shelf::Shelf;
use crate::site::tree::{Document, Node, Report, Value};
use crate::site::{Options, profiles, settings};

/// Settings that set nothing: no key of these is needed.
const BARE: &str = "[site]\n[journal]\n[console]\n[profiles]\n";
const SITE: &str = concat!(include_str!("specimens/site.toml"), include_str!("specimens/rules.toml"));
const PROFILES: [&str; 3] = [
    include_str!("specimens/profile.toml"),
    include_str!("specimens/text-profile.toml"),
    include_str!("specimens/asked-profile.toml"),
];
const GATEWAYS: [&str; 2] = [include_str!("specimens/gateway.toml"), BARE];

/// Examples that are shown of one key.
const EXAMPLES_MAX: usize = 3;
/// Longer examples are no help.
const EXAMPLE_MAX: usize = 60;

/// The comment above a key, and values that it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described {
    pub(crate) text: String,
    /// As written, and as JSON.
    pub(crate) examples: Vec<(String, Json)>,
}

/// The specimens of one kind of document.
pub(crate) struct Specimens {
    documents: Vec<Document>,
    asked: Asked,
    found: Diagnostics,
    described: BTreeMap<String, Described>,
}

impl Specimens {
    /// Reads them.
    pub(crate) fn of(kind: Kind) -> Self {
        let texts: Vec<&str> = match kind {
            Kind::Site => vec![SITE],
            Kind::Profile => PROFILES.to_vec(),
            Kind::Gateway => GATEWAYS.to_vec(),
        };
        let document = |(number, text): (usize, &&str)| {
            Document::new(format!("{}-{number}", kind.name()), (*text).to_owned())
        };
        let documents: Vec<Document> = texts.iter().enumerate().map(document).collect();
        let report = Report::recording();
        read(kind, &documents, &report);
        let mut described = BTreeMap::new();
        for document in &documents {
            let root = document.parse(&Report::default());
            describe(document, "", &root, &mut described);
        }
        let (found, asked) = report.finish_recording();
        Self { documents, asked, found, described }
    }

    /// What the readers asked for.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.clone()
    }

    /// The comment and examples of a key of the table at `of`.
    pub(crate) fn described(&self, of: &str, key: &str) -> Described {
        self.described.get(&path(of, key)).cloned().unwrap_or_default()
    }

    /// The specimens that explain something.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.documents.iter().map(|document| document.text.as_str()).filter(|text| *text != BARE)
    }

    /// What a reader found wrong with them, beside files that are not here.
    pub(crate) fn faults(&self) -> Vec<String> {
        let counts = |code: &str| !["bad-certificate", "missing-secret"].contains(&code);
        let wrong =
            self.found.0.iter().filter(|found| found.severity == Severity::Error && counts(found.code));
        wrong.map(|found| format!("{}:{}: {}", found.place.file, found.place.line, found.message)).collect()
    }
}

fn read(kind: Kind, documents: &[Document], report: &Report) {
    match kind {
        Kind::Gateway => {
            for (number, document) in documents.iter().enumerate() {
                report.document(number);
                settings::read(document, &[], report);
            }
        }
        Kind::Profile => {
            for (number, document) in documents.iter().enumerate() {
                report.document(number);
                profiles::read(document, report);
            }
        }
        Kind::Site => {
            let quiet = Report::default();
            let models = PROFILES.iter().filter_map(|text| {
                let model = profiles::read(&Document::new("profile".to_owned(), (*text).to_owned()), &quiet)?;
                Some((model.profile.name.clone(), model))
            });
            // Before any calibration that a specimen has due.
            let options = Options { now: Timestamp::from_millis(0), ..Options::default() };
            let settings = settings::read(&Document::default(), &[], &quiet);
            let mut build = Build::new(&options, settings, report);
            let mut sources = Shelf::Held(&[]).site(report);
            for document in documents {
                sources.roots.push(document.parse(report));
                sources.documents.push(document.clone());
            }
            // One specimen needs no offset.
            sources.whole = Document::together(documents.iter()).0;
            expand(&mut sources, report);
            build.read(&sources, &models.collect());
        }
    }
}

/// Notes comment and value of each key of `node`, the table at `of`.
fn describe(document: &Document, of: &str, node: &Node, found: &mut BTreeMap<String, Described>) {
    let Value::Table(entries) = &node.value else { return };
    for (key, span, value) in entries {
        let at = path(of, key);
        let text = comment(&document.text, span.0);
        let one = found.entry(at.clone()).or_default();
        if one.text.is_empty() {
            one.text = text;
        }
        let written = document.text.get(value.span.0..value.span.1).unwrap_or_default().to_owned();
        let fits = written.len() <= EXAMPLE_MAX && !written.starts_with("[[") && !written.contains('\n');
        let json = json(value);
        if fits && one.examples.len() < EXAMPLES_MAX && !one.examples.iter().any(|(_, known)| *known == json)
        {
            one.examples.push((written, json));
        }
        match &value.value {
            Value::List(list) => list.iter().for_each(|node| describe(document, &at, node, found)),
            _ => describe(document, &at, value, found),
        }
    }
}

/// The comment lines directly above the line at this place.
fn comment(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let mut lines: Vec<&str> = before.lines().collect();
    // The part of the key's own line that stands before it: `[[`, or a table's opening.
    if !before.ends_with('\n') {
        lines.pop();
    }
    let comments = lines.iter().rev().map_while(|line| line.trim().strip_prefix('#')).map(str::trim);
    let mut comments: Vec<&str> = comments.collect();
    comments.reverse();
    comments.join(" ")
}

/// A value as JSON, as TOML language servers hand it to a validator.
pub(crate) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Text(text) | Value::Date(text) => json!(text),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Bool(holds) => json!(holds),
        Value::List(list) => Json::Array(list.iter().map(json).collect()),
        Value::Table(entries) => Json::Object(
            entries.iter().map(|(key, _, node)| (key.clone(), json(node))).collect::<Map<_, _>>(),
        ),
    }
}
