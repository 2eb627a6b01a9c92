//! The dashboards of `config/grafana` against the stores that they are for. Real time.
//!
//! The shipped site with simulated devices, one of them overdue for calibration, fills a store of each kind through the program. Then every query of every panel is asked, as
//! Grafana expands it, with everything, with one choice and with several of each variable, and all its numbers are compared with what the
//! journal, `coverage`, `alarms`, `status` or `/metrics` says.

pub(crate) mod grafana;
mod panels;
pub(crate) mod stores;
mod truth;
pub(crate) mod world;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::dashboards::grafana::{Chosen, Dashboard, Panel, Range, SETS, TOLD_MS, dashboards, expand};
use crate::dashboards::stores::{Row, Span};
use crate::dashboards::truth::{Question, Said, Truth};
use crate::dashboards::world::{World, now, until};

/// What `until` waits for: the story has come to rest.
fn rests(said: &Said) -> bool {
    let alarm = |rule: &str, state: &str| {
        said.alarms.iter().any(|alarm| alarm["rule"] == rule && alarm["state"] == state)
    };
    let rungs = said.points.iter().flat_map(|point| point["sensors"].as_array().unwrap());
    let rungs: BTreeMap<&str, &str> = rungs
        .map(|sensor| (sensor["sensor"].as_str().unwrap(), sensor["rung"].as_str().unwrap_or_default()))
        .collect();
    let rung = |sensor: &str, rung: &str| rungs.get(sensor) == Some(&rung);
    alarm("underpass-1-level", "active-acknowledged")
        && alarm("slope-1-wet-and-moving", "returned-unacknowledged")
        && said.alarms.iter().all(|alarm| alarm["rule"] != "rain-1-hour")
        // What came while a store was away is there.
        && said.status["sinks"].as_array().unwrap().iter().all(|sink| sink["backlog"].as_u64() <= Some(2))
        && alarm("crack-2-stale", "active-unacknowledged")
        && rung("crack-2", "installed")
        && rung("tilt-1", "online")
        && rung("underpass-2", "fresh")
        && rung("leak-3", "valid")
        && rung("regulator-3", "calibrated")
}

/// Without what goes on although nothing happens.
fn still(said: &Said) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
    let mut alarms = said.alarms.clone();
    // A value that is worse than before is told, and no transition.
    for alarm in alarms.iter_mut().filter_map(|alarm| alarm.as_object_mut()) {
        alarm.remove("unverified");
        // What is measured now never rests.
        alarm.remove("now");
    }
    let mut sinks = said.status["sinks"].as_array().unwrap().clone();
    for sink in &mut sinks {
        for grows in ["readings", "alarms", "backlog"] {
            sink.as_object_mut().unwrap().remove(grows);
        }
    }
    let rungs = said.points.iter().map(|point| {
        let sensors = point["sensors"].as_array().unwrap().iter();
        let sensors = sensors.map(|sensor| serde_json::json!([sensor["sensor"], sensor["rung"]]));
        serde_json::json!([point["code"], point["rung"], point["blind"], sensors.collect::<Vec<_>>()])
    });
    (alarms, sinks, rungs.collect())
}

/// What the gateway says while everything that it tells the stores says the same, and the time of that.
fn at_rest(world: &World) -> (i64, Said) {
    // One is seen while it is active, and one when it is over, which closes it.
    for (rule, severity, state) in [
        ("underpass-1-level", "red", "active-unacknowledged"),
        ("rain-1-hour", "blue", "returned-unacknowledged"),
    ] {
        let id = until(rule, || {
            let alarms = world.said(&["alarms", "--json"]);
            let mut mine = alarms.into_iter().filter(|alarm| alarm["rule"] == rule);
            let alarm = mine.find(|alarm| alarm["severity"] == severity && alarm["state"] == state)?;
            Some(alarm["id"].as_str().unwrap().to_owned())
        });
        world.said(&["alarms", "ack", &id, "--severity", severity]);
    }
    let everywhere = |since: i64| {
        SETS.iter()
            .all(|set| stores::newest(set, world.port(set), now()).is_some_and(|newest| newest > since))
    };
    until("rest", || {
        let before = world.says().filter(rests)?;
        // Later than the last change by more than a step of a picture.
        let since = now();
        until("the next tellings", || everywhere(since + TOLD_MS).then_some(()));
        let (at, said) = (now(), world.says()?);
        if still(&before) != still(&said) {
            return None;
        }
        // Deliveries are in order: with what is told next, all that was read until then is there.
        until("the telling after it", || everywhere(at + 1000).then_some(()));
        Some((at, said))
    })
}

#[test]
fn every_query_of_every_panel_shows_what_the_gateway_says() {
    let started = now();
    let Some(world) = World::start() else { return };
    let (at, said) = at_rest(&world);
    let range = Range { from: at - ((at - started) / 1000 + 5) * 1000, to: at };
    let truth = Truth::new(&world.journal(), at, said);
    let one: Chosen = [
        ("town", vec!["南坪街道"]),
        ("class", vec!["waterlogging"]),
        ("device", vec!["underpass-1"]),
        ("line", vec!["rs485-1"]),
        ("sink", vec!["influxql"]),
        ("site", vec!["nanan-01"]),
    ]
    .into();
    let some: Chosen = [
        ("town", vec!["南山街道", "海棠溪街道"]),
        ("class", vec!["landslide", "gas"]),
        ("device", vec!["regulator-3", "crack-1", "crack-2"]),
        ("line", vec!["tcp-gas", "radio-slope"]),
        ("sink", vec!["promql", "influxql"]),
    ]
    .into();
    let (mut numbers, mut queries, mut wrong) = (0, 0, Vec::new());
    for set in SETS {
        for dashboard in dashboards(set) {
            wrong.extend(offers(set, &world, &truth, &dashboard, range));
            for panel in &dashboard.panels {
                for chosen in [&Chosen::new(), &one, &some] {
                    queries += panel.targets.len();
                    match compared(set, &world, &truth, &dashboard, panel, chosen, range) {
                        Ok(count) => numbers += count,
                        Err(why) => wrong.push(format!(
                            "{set}, {}, {} ({}) with {chosen:?}: {why}",
                            dashboard.name, panel.title, panel.id
                        )),
                    }
                }
            }
        }
    }
    println!("{queries} queries, {numbers} numbers compared in {} s", (now() - started) / 1000);
    assert!(wrong.is_empty(), "{} of {queries} queries:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each variable offers what the journal has under that name.
fn offers(set: &str, world: &World, truth: &Truth, dashboard: &Dashboard, range: Range) -> Vec<String> {
    let names: Vec<String> = dashboard.variables.iter().map(|(name, _)| name.clone()).collect();
    let mut wrong = Vec::new();
    for (name, query) in &dashboard.variables {
        let text = expand(query, range, &names, &Chosen::new());
        let found: BTreeSet<String> =
            stores::values(set, world.port(set), &text, range).into_iter().collect();
        let (class, label) = match name.as_str() {
            "site" => ("journal-health", "site"),
            "town" | "class" => ("coverage", name.as_str()),
            "device" => ("device-health", "of"),
            "line" => ("line-health", "of"),
            "sink" => ("sink-health", "of"),
            _ => ("", ""),
        };
        let known = truth.series.iter().filter(|series| series.class == class);
        let known: BTreeSet<String> = known.map(|series| series.label(label).to_owned()).collect();
        if found != known || found.is_empty() {
            wrong.push(format!("{set}, {}: {name} offers {found:?} instead of {known:?}", dashboard.name));
        }
    }
    wrong
}

/// How many numbers of a panel were compared; what differs.
fn compared(
    set: &str,
    world: &World,
    truth: &Truth,
    dashboard: &Dashboard,
    panel: &Panel,
    chosen: &Chosen,
    range: Range,
) -> Result<usize, String> {
    let range = panel.range(range);
    let names: Vec<String> = dashboard.variables.iter().map(|(name, _)| name.clone()).collect();
    let mut answers: BTreeMap<(String, Span), Vec<Row>> = BTreeMap::new();
    let mut count = 0;
    for target in &panel.targets {
        let query = expand(&target.query, range, &names, chosen);
        let rows = stores::ask(set, world.port(set), target, &query, range);
        if rows.is_empty() {
            // Right only where the gateway has nothing to show either, and with everything chosen it always has.
            let span = Span { after: range.from, to: range.to, buckets: None };
            let question = Question { column: &target.name, span, chosen };
            let expected = panels::expected(panel.id, truth, &question);
            if chosen.is_empty() || expected.is_some_and(|expected| !expected.numbers.is_empty()) {
                return Err(format!("no data: {query}"));
            }
        }
        for row in rows {
            answers.entry((row.column.clone(), row.span)).or_default().push(row);
        }
    }
    for ((column, span), rows) in &answers {
        let question = Question { column, span: *span, chosen };
        let expected = panels::expected(panel.id, truth, &question);
        let expected = expected.ok_or_else(|| format!("no comparison for {column}"))?;
        let mut found = BTreeMap::new();
        for row in rows {
            let label = |name: &&str| row.labels.get(*name).cloned().unwrap_or_default();
            let key: Vec<String> = expected.by.iter().map(label).collect();
            if found.insert(key.clone(), row.value).is_some() {
                return Err(format!("two numbers of {key:?}"));
            }
        }
        let near = |(one, other): (&f64, &f64)| (one - other).abs() <= 1e-9 * one.abs().max(1.0);
        let same = found.keys().eq(expected.numbers.keys())
            && found.values().zip(expected.numbers.values()).all(near);
        if !same {
            return Err(format!("{column} at {span:?}\n  shows {found:?}\n  is    {:?}", expected.numbers));
        }
        count += found.len();
    }
    Ok(count)
}
