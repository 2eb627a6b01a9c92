//! The dashboards of `config/grafana` as documents: two sets with the same panels, whole and in two languages.
//! Their queries are run in `tests/real/dashboards`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lifeline_gateway::point::PointId;
use lifeline_gateway::reading::Reason;
use serde_json::Value;

const SETS: [&str; 2] = ["promql", "influxql"];

/// Dashboards by their file's name.
fn set(name: &str) -> BTreeMap<String, Value> {
    let entries = std::fs::read_dir(Path::new("config/grafana").join(name)).unwrap();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), serde_json::from_str(&text).unwrap())
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn queries(panel: &Value) -> impl Iterator<Item = &str> {
    list(&panel["targets"]).iter().map(|target| text(target.get("expr").unwrap_or(&target["query"])))
}

fn is_bilingual(title: &str) -> bool {
    title.chars().any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter))
        && title
            .split_once("· ")
            .is_some_and(|(_, english)| english.starts_with(|letter: char| letter.is_ascii_uppercase()))
}

#[test]
fn both_sets_have_the_same_panels() {
    // Whatever is not a query or a column's name.
    let shape = |panel: &Value| {
        let fields = ["id", "title", "type", "description", "gridPos"].map(|key| panel[key].clone());
        (fields, panel["fieldConfig"]["defaults"].clone())
    };
    let shapes = |dashboard: &Value| {
        let variables = list(&dashboard["templating"]["list"]).iter();
        let variables: Vec<_> =
            variables.map(|known| (known["name"].clone(), known["label"].clone())).collect();
        (
            dashboard["title"].clone(),
            variables,
            list(&dashboard["panels"]).iter().map(shape).collect::<Vec<_>>(),
        )
    };
    let [promql, influxql] = SETS.map(set);
    assert_eq!(promql.keys().collect::<Vec<_>>(), influxql.keys().collect::<Vec<_>>());
    assert_eq!(promql.len(), 5);
    let manual = std::fs::read_to_string("config/grafana/README.md").unwrap();
    for (file, dashboard) in &promql {
        assert_eq!(shapes(dashboard), shapes(&influxql[file]), "{file}");
        assert!(manual.contains(&format!("`{file}`")), "{file} is not in the README");
    }
}

#[test]
fn numbers_of_panels_and_names_of_dashboards_are_unique() {
    let mut uids = BTreeSet::new();
    for name in SETS {
        let mut ids = BTreeSet::new();
        for (file, dashboard) in set(name) {
            assert!(uids.insert(text(&dashboard["uid"]).to_owned()), "{name}/{file}");
            assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{name}/{file}");
            for panel in list(&dashboard["panels"]) {
                assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}/{file}: {}", panel["title"]);
                let targets = list(&panel["targets"]);
                let names: BTreeSet<_> = targets.iter().map(|target| text(&target["refId"])).collect();
                assert!(
                    !targets.is_empty() && names.len() == targets.len(),
                    "{name}/{file}: {}",
                    panel["title"]
                );
            }
        }
    }
}

#[test]
fn titles_are_chinese_with_english_beside() {
    for (file, dashboard) in SETS.into_iter().flat_map(set) {
        let mut titles = vec![&dashboard["title"]];
        titles.extend(list(&dashboard["templating"]["list"]).iter().map(|variable| &variable["label"]));
        for panel in list(&dashboard["panels"]) {
            titles.push(&panel["title"]);
            titles.extend(panel.get("description"));
        }
        let other: Vec<_> = titles.into_iter().filter(|title| !is_bilingual(text(title))).collect();
        assert!(other.is_empty(), "{file}: {other:?}");
    }
}

/// Each variable that a query names is there, each that is there is named, and all ask the store that a person chose.
#[test]
fn variables_and_queries_fit() {
    let own = ["timeFilter", "__interval", "__rate_interval", "__range"];
    for (file, dashboard) in SETS.into_iter().flat_map(set) {
        let names = list(&dashboard["templating"]["list"]).iter().map(|variable| text(&variable["name"]));
        let names: BTreeSet<&str> = names.filter(|name| *name != "datasource").collect();
        let mut used = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let sources =
                list(&panel["targets"]).iter().chain([panel]).map(|asked| &asked["datasource"]["uid"]);
            assert!(sources.into_iter().all(|uid| uid == "${datasource}"), "{file}: {}", panel["title"]);
            for query in queries(panel) {
                for rest in query.split('$').skip(1) {
                    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                    let name = rest.get(..end.unwrap_or(rest.len())).unwrap();
                    // The end of a pattern is no variable.
                    if !name.is_empty() && !own.contains(&name) {
                        used.insert(name.to_owned());
                    }
                }
                assert!(query.contains("$site"), "{file}, {}: of any gateway", panel["title"]);
            }
        }
        assert!(used.iter().map(String::as_str).eq(names.iter().copied()), "{file}: {used:?} and {names:?}");
    }
}

#[test]
fn panels_do_not_lie_on_each_other() {
    for (file, dashboard) in SETS.into_iter().flat_map(set) {
        let mut cells = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= 24, "{file}: {}", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{file}: {}", panel["title"]);
            }
        }
    }
}

/// The table of points without a number says the reason in words.
#[test]
fn every_reason_has_its_words() {
    let plain = [
        Reason::Timeout,
        Reason::LineDown,
        Reason::BadFrame,
        Reason::SensorFault("".into()),
        Reason::OutOfRange,
        Reason::Stuck,
        Reason::NotPolled,
        Reason::Input(PointId(0)),
    ];
    let reasons = plain.into_iter().chain([1, 2, 3, 4, 6, 10, 11].map(Reason::Exception));
    let words = reasons.map(|reason| {
        let name = reason.to_string().split(':').next().unwrap().to_owned();
        (reason.code().to_string(), name)
    });
    let words: BTreeMap<String, String> = words.collect();
    for name in SETS {
        let site = &set(name)["site.json"];
        let panel = list(&site["panels"]).iter().find(|panel| panel["id"] == 18).unwrap();
        let column = list(&panel["fieldConfig"]["overrides"]).iter();
        let mut column = column.filter(|known| known["matcher"]["options"] == "原因 · reason");
        let options = &column.next().unwrap()["properties"][0]["value"][0]["options"];
        let said = options.as_object().unwrap().iter().map(|(code, option)| {
            (code.clone(), text(&option["text"]).split_once("· ").unwrap().1.to_owned())
        });
        assert_eq!(said.collect::<BTreeMap<_, _>>(), words, "{name}");
    }
}
