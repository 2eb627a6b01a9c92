//! The district dashboard's figures, asked of a store, beside those by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeline_gateway::clock::{Clock, SystemClock};

use crate::dashboards::grafana::{Chosen, Dashboard, Panel, Range, dashboards, expand};
use crate::dashboards::stores::{self, Row};
use crate::many::sites::{CLASSES, Hand, TOWNS};

const RUNGS: [&str; 6] = ["installed", "online", "fresh", "valid", "calibrated", "effective"];
const VALID: u8 = 4;

/// The district dashboard of one kind of store.
pub(crate) struct Asked {
    set: &'static str,
    port: u16,
    dashboard: Dashboard,
    range: Range,
    /// Numbers compared.
    pub(crate) numbers: usize,
    pub(crate) wrong: Vec<String>,
    /// How long each panel's queries took with everything chosen.
    pub(crate) took: Vec<(String, Duration)>,
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

impl Asked {
    pub(crate) fn new(set: &'static str, port: u16, range: Range) -> Self {
        let mut all = dashboards(set);
        let place = all.iter().position(|known| known.panels.iter().any(|panel| panel.id == 2)).unwrap();
        let dashboard = all.swap_remove(place);
        Self { set, port, dashboard, range, numbers: 0, wrong: Vec::new(), took: Vec::new() }
    }

    fn panel(&self, id: u64) -> &Panel {
        self.dashboard.panels.iter().find(|panel| panel.id == id).unwrap()
    }

    /// Rows of all targets of a panel.
    fn rows(&mut self, id: u64, chosen: &Chosen) -> Vec<Row> {
        let names: Vec<String> = self.dashboard.variables.iter().map(|(name, _)| name.clone()).collect();
        let (clock, panel) = (SystemClock::new(), self.panel(id));
        let (range, begun) = (panel.range(self.range), clock.instant());
        let ask = |target| {
            stores::ask(self.set, self.port, target, &expand(&target.query, range, &names, chosen), range)
        };
        let rows = panel.targets.iter().flat_map(ask).collect();
        let took = clock.instant().saturating_duration_since(begun);
        let title = panel.title.clone();
        if chosen.is_empty() {
            self.took.push((title, took));
        }
        rows
    }

    fn same(&mut self, what: &str, found: &BTreeMap<String, f64>, expected: &BTreeMap<String, f64>) {
        let near = |(one, other): (&f64, &f64)| (one - other).abs() < 1e-6;
        self.numbers += expected.len();
        if !found.keys().eq(expected.keys()) || !found.values().zip(expected.values()).all(near) {
            let differ = |key: &&String| found.get(*key) != expected.get(*key);
            let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
            let differ: Vec<String> = keys
                .iter()
                .filter(|key| differ(key))
                .take(20)
                .map(|key| format!("{key}: shows {:?}, is {:?}", found.get(*key), expected.get(*key)))
                .collect();
            self.wrong.push(format!("{}, {what}: {}", self.set, differ.join("; ")));
        }
    }

    fn compare(&mut self, id: u64, chosen: &Chosen, by: &[&str], expected: &BTreeMap<String, f64>) {
        let key = |row: &Row| {
            let labels = by.iter().map(|label| row.labels.get(*label).cloned().unwrap_or_default());
            labels.collect::<Vec<_>>().join(" ")
        };
        let rows = self.rows(id, chosen);
        let found: BTreeMap<String, f64> = rows.iter().map(|row| (key(row), row.value)).collect();
        if found.len() != rows.len() {
            self.wrong.push(format!("{}, panel {id}: several rows under one name", self.set));
        }
        self.same(&format!("panel {id} with {chosen:?}"), &found, expected);
    }

    /// Counts of points: all, on each rung, and blind.
    fn counts(&mut self, hand: &Hand<'_, '_>, towns: &[&'static str], classes: &[&'static str]) {
        let mut chosen = Chosen::new();
        for (name, values) in [("town", towns), ("class", classes)] {
            if !values.is_empty() {
                chosen.insert(name, values.to_vec());
            }
        }
        let codes = hand.codes(towns, classes);
        let town = self.view(towns.first().copied());
        let rungs = hand.rungs(town);
        let one = |value: f64| BTreeMap::from([(String::new(), value)]);
        self.compare(1, &chosen, &[], &one(number(codes.len())));
        let found: BTreeMap<String, f64> =
            self.rows(2, &chosen).into_iter().map(|row| (row.column, row.value)).collect();
        let on = |least: u8| number(codes.iter().filter(|code| rungs[**code] >= least).count());
        let expected = (1..).zip(RUNGS).map(|(least, name)| (name.to_owned(), on(least))).collect();
        self.same(&format!("points by state with {chosen:?}"), &found, &expected);
        if town.is_none() {
            self.compare(3, &chosen, &[], &one(number(hand.blind(&codes))));
        }
    }

    /// InfluxQL joins nothing: of a point that two towns list, a town's figures see the sensors of its own gateways alone.
    fn view<'a>(&self, town: Option<&'a str>) -> Option<&'a str> {
        town.filter(|_| self.set == "influxql")
    }

    /// The figures with everything chosen, and with the first so many towns and classes.
    pub(crate) fn all(&mut self, hand: &Hand<'_, '_>, choices: usize) {
        self.counts(hand, &[], &[]);
        for town in TOWNS.into_iter().take(choices) {
            self.counts(hand, &[town], &[]);
        }
        for class in CLASSES.into_iter().take(choices) {
            self.counts(hand, &[], &[class]);
        }
        let share = |town: &&str| {
            let (codes, rungs) = (hand.codes(&[town], &[]), hand.rungs(self.view(Some(town))));
            let valid = codes.iter().filter(|code| rungs[**code] >= VALID).count();
            ((*town).to_owned(), 100.0 * number(valid) / number(codes.len()))
        };
        let shares = TOWNS.iter().map(share).collect();
        self.compare(4, &Chosen::new(), &["town"], &shares);
        let below = hand.seen.iter().filter(|seen| seen.rung < VALID).map(|seen| {
            let gateway = &hand.gateways[seen.gateway];
            let key = [seen.code.as_str(), gateway.places[&seen.code].town, &gateway.name, &seen.sensor];
            (key.join(" "), f64::from(seen.rung))
        });
        self.compare(7, &Chosen::new(), &["risk_point", "town", "site", "sensor"], &below.collect());
    }

    /// The last that the timeline draws of each point; in InfluxQL what each gateway alone has.
    pub(crate) fn timeline(&mut self, hand: &Hand<'_, '_>) {
        let mut rows = self.rows(5, &Chosen::new());
        rows.sort_by_key(|row| row.span.to);
        let name = |row: &Row| {
            let label = |key: &str| row.labels.get(key).cloned().unwrap_or_default();
            if self.set == "promql" {
                label("risk_point")
            } else {
                label("risk_point") + " " + &label("site")
            }
        };
        let found = rows.iter().map(|row| (name(row), row.value)).collect();
        let expected = if self.set == "promql" {
            hand.rungs(None).into_iter().map(|(code, rung)| (code.to_owned(), f64::from(rung))).collect()
        } else {
            let alone = hand.alone().into_iter();
            alone.map(|(code, site, rung)| (format!("{code} {site}"), f64::from(rung))).collect()
        };
        self.same("the end of the timeline", &found, &expected);
    }
}
