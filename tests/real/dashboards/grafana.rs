//! Dashboards as Grafana reads them: variables, panels, and the queries with everything expanded that Grafana expands.

use std::collections::BTreeMap;
use std::path::Path;

use lifeline_gateway::site::duration;
use serde_json::Value;

/// The two sets, and the kind of store each asks.
pub(crate) const SETS: [&str; 2] = ["promql", "influxql"];

/// What the data source is set to: told so often.
pub(crate) const TOLD_MS: i64 = 5000;
/// Four times that, as Grafana computes it.
pub(crate) const RATE_MS: i64 = 4 * TOLD_MS;

pub(crate) struct Dashboard {
    pub(crate) name: String,
    /// Name and query.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) panels: Vec<Panel>,
}

pub(crate) struct Panel {
    pub(crate) id: u64,
    pub(crate) title: String,
    /// A range of its own that ends where the dashboard's does.
    last_ms: Option<i64>,
    pub(crate) targets: Vec<Target>,
}

pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) instant: bool,
}

/// A range of time, both ends in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// What a person chose of each variable; all of it when it is not here.
pub(crate) type Chosen = BTreeMap<&'static str, Vec<&'static str>>;

/// All dashboards of a set.
pub(crate) fn dashboards(set: &str) -> Vec<Dashboard> {
    let folder = Path::new("config/grafana").join(set);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| dashboard(&serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn dashboard(json: &Value) -> Dashboard {
    let variables = json["templating"]["list"].as_array().unwrap().iter();
    let asked = variables.filter(|variable| variable["type"] == "query");
    let query = |variable: &Value| {
        let query = &variable["query"];
        (text(&variable["name"]), text(if query.is_object() { &query["query"] } else { query }))
    };
    Dashboard {
        name: text(&json["title"]),
        variables: asked.map(query).collect(),
        panels: json["panels"].as_array().unwrap().iter().map(panel).collect(),
    }
}

fn panel(json: &Value) -> Panel {
    let target = |target: &Value| Target {
        name: text(&target["refId"]),
        query: text(target.get("expr").unwrap_or(&target["query"])),
        instant: target["instant"] == true,
    };
    let last = json["timeFrom"].as_str().map(|span| duration(span).unwrap().as_millis());
    Panel {
        id: json["id"].as_u64().unwrap(),
        title: text(&json["title"]),
        last_ms: last.map(|ms| i64::try_from(ms).unwrap()),
        targets: json["targets"].as_array().unwrap().iter().map(target).collect(),
    }
}

impl Panel {
    /// The range that it shows in a dashboard of this one.
    pub(crate) fn range(&self, range: Range) -> Range {
        Range { from: self.last_ms.map_or(range.from, |ms| range.to - ms), ..range }
    }
}

/// A query as it goes to the store.
pub(crate) fn expand(query: &str, range: Range, names: &[String], chosen: &Chosen) -> String {
    let span = range.to - range.from;
    let mut words: Vec<(String, String)> = [
        ("timeFilter", format!("time >= {}ms and time <= {}ms", range.from, range.to)),
        ("__interval", format!("{TOLD_MS}ms")),
        ("__interval_ms", TOLD_MS.to_string()),
        ("__rate_interval", format!("{RATE_MS}ms")),
        ("__range", format!("{}s", span.div_euclid(1000))),
        ("__range_s", span.div_euclid(1000).to_string()),
        ("__range_ms", span.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    // `All` stands for its `allValue`, one choice for itself, several for a group; nothing in these names means more in a pattern.
    let value = |name: &String| match chosen.get(name.as_str()).map(Vec::as_slice) {
        None => ".*".to_owned(),
        Some([one]) => (*one).to_owned(),
        Some(several) => format!("({})", several.join("|")),
    };
    words.extend(names.iter().map(|name| (name.clone(), value(name))));
    words.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let mut text = query.to_owned();
    for (name, value) in &words {
        text = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    let left = text.match_indices('$').find(|(at, _)| {
        text[at + 1..].starts_with(|next: char| next.is_ascii_alphabetic() || next == '_' || next == '{')
    });
    assert!(left.is_none(), "a variable that nobody knows: {text}");
    text
}
