//! What each panel must show: a panel that is not here is one that nobody compares, and fails the test.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dashboards::truth::{Expected, Join, Question, Reduce, Series, Truth, by, one, severity, state};
use lifeline_gateway::reading::Quality;

const RUNGS: [&str; 6] = ["installed", "online", "fresh", "valid", "calibrated", "effective"];
const VALID: f64 = 4.0;
const FAULTS: [&str; 4] = ["timeouts", "bad-frames", "line-downs", "exceptions"];
const ONE: (Reduce, Join) = (Reduce::Latest, Join::One);
const SUM: (Reduce, Join) = (Reduce::Latest, Join::Sum);
const RATE: (Reduce, Join) = (Reduce::PerMinute, Join::One);

/// The numbers that the panel of this number must show.
pub(crate) fn expected(panel: u64, truth: &Truth, question: &Question<'_>) -> Option<Expected> {
    match panel {
        1..=7 => district(panel, truth, question),
        11..=18 => site(panel, truth, question),
        21..=27 => lines(panel, truth, question),
        31..=37 => deliveries(panel, truth, question),
        41..=47 => alarms(panel, truth, question),
        _ => None,
    }
}

fn count(items: impl Iterator) -> f64 {
    f64::from(u32::try_from(items.count()).unwrap())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// 0 for none to 6 for effective, of a point or a sensor of `coverage --json`.
fn rung(of: &Value) -> f64 {
    let place = RUNGS.iter().position(|name| of["rung"] == **name);
    place.map_or(0.0, |place| f64::from(u32::try_from(place).unwrap() + 1))
}

fn table<'a>(by: &[&'static str], rows: impl Iterator<Item = (Vec<&'a str>, f64)>) -> Expected {
    let row = |(key, number): (Vec<&str>, f64)| (key.into_iter().map(str::to_owned).collect(), number);
    Expected { by: by.to_vec(), numbers: rows.map(row).collect() }
}

fn district(panel: u64, truth: &Truth, question: &Question<'_>) -> Option<Expected> {
    let said = &truth.said;
    let chosen = |point: &&Value| {
        question.takes("town", text(point, "town")) && question.takes("class", text(point, "class"))
    };
    let points = || said.points.iter().filter(chosen);
    let told = |series: &Series| {
        question.takes("town", series.label("town")) && question.takes("class", series.label("class"))
    };
    let rungs = || truth.told("coverage", &["rung"], told);
    Some(match panel {
        1 => one(count(points())),
        2 => {
            let place = RUNGS.iter().position(|name| *name == question.column)?;
            let least = f64::from(u32::try_from(place).unwrap() + 1);
            let on = count(points().filter(|point| rung(point) >= least));
            // The command's own row says the same of all points.
            assert!(!question.chosen.is_empty() || said.whole[question.column].as_f64() == Some(on));
            one(on)
        }
        3 => one(count(points().filter(|point| {
            point["blind"] == true && point["unknown"] == false && point["unspecified"] == false
        }))),
        4 => {
            let mut towns: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
            for point in points() {
                let (all, valid) = towns.entry(text(point, "town")).or_default();
                *all += 1.0;
                *valid += f64::from(u8::from(rung(point) >= VALID));
            }
            let share = |(town, (all, valid))| (vec![town], 100.0 * valid / all);
            table(&["town"], towns.into_iter().map(share))
        }
        5 => by(&["risk_point"], rungs(), question.span, ONE),
        6 => {
            let sensors = truth.series.iter().filter(|series| {
                series.class == "coverage" && series.label("point").starts_with("sensor-") && told(series)
            });
            return changed(|| sensors.clone(), question);
        }
        7 => {
            let mut rows = Vec::new();
            for point in points() {
                for sensor in point["sensors"].as_array().unwrap() {
                    let key = vec![text(point, "code"), text(point, "town"), text(sensor, "sensor")];
                    rows.push((key, rung(sensor)));
                }
            }
            table(&["risk_point", "town", "sensor"], rows.into_iter().filter(|(_, rung)| *rung < VALID))
        }
        _ => return None,
    })
}

/// Sensors whose rung changed: the lowest and the highest one, and where they stand now.
fn changed<'a, Sensors: Iterator<Item = &'a Series>>(
    sensors: impl Fn() -> Sensors,
    question: &Question<'_>,
) -> Option<Expected> {
    let labels = ["risk_point", "town", "site", "sensor"];
    let reduced = |reduce| by(&labels, sensors(), question.span, (reduce, Join::One));
    let (lowest, highest) = (reduced(Reduce::Lowest), reduced(Reduce::Highest));
    let changed = |key: &Vec<String>| lowest.numbers.get(key) < highest.numbers.get(key);
    let all = match question.column {
        "low" => &lowest,
        "high" => &highest,
        "now" => &reduced(Reduce::Latest),
        _ => return None,
    };
    let numbers = all.numbers.clone().into_iter().filter(|(key, _)| changed(key)).collect();
    Some(Expected { by: labels.to_vec(), numbers })
}

fn site(panel: u64, truth: &Truth, question: &Question<'_>) -> Option<Expected> {
    let (class, unit, only) = match panel {
        11 => ("gas-pressure", "kPa", ""),
        12 => ("gas-concentration", "%LEL", ""),
        13 => ("water-level", "cm", "level"),
        14 => ("rain", "mm", ""),
        15 => ("displacement", "mm", "opening"),
        16 => ("tilt", "deg", ""),
        17 | 18 => ("elevator", "", ""),
        _ => return None,
    };
    let drawn = |point: &str| only.is_empty() || only == point;
    let mine = |series: &&Series| question.takes("device", series.label("device"));
    let chosen = truth.series.iter().filter(mine);
    let (reading, span) = (["device", "point"], question.span);
    Some(match (panel, question.column) {
        (17, _) => by(&reading, chosen.filter(|series| series.class == class), span, ONE),
        (18, "quality" | "reason") => {
            let bad = chosen.filter_map(|series| {
                let (quality, reason) = series.quality(span)?;
                let number = if question.column == "quality" { 2.0 } else { f64::from(reason?) };
                (quality == Quality::Bad).then(|| (reading.map(|label| series.label(label)).into(), number))
            });
            table(&reading, bad)
        }
        (_, "value") => {
            let values = chosen.filter(|series| {
                series.class == class && series.label("unit") == unit && drawn(series.label("point"))
            });
            by(&reading, values, span, (Reduce::Mean, Join::One))
        }
        (_, "limit") => {
            let limits = truth.series.iter().filter(|series| {
                series.class == "rule-limit"
                    && (series.label("class"), series.label("unit")) == (class, unit)
                    && drawn(series.label("of_point"))
                    && question.takes("device", series.label("of"))
            });
            by(&["rule", "point"], limits, span, ONE)
        }
        _ => return None,
    })
}

fn lines(panel: u64, truth: &Truth, question: &Question<'_>) -> Option<Expected> {
    let told =
        |class, points| truth.told(class, points, move |series| question.takes("line", series.label("line")));
    let span = question.span;
    Some(match panel {
        21 => by(&["of"], told("line-health", &["load"]), span, ONE),
        22 => by(&["of", "point"], told("line-health", &["answer-p50", "answer-p99"]), span, ONE),
        23 => by(&["point"], told("line-health", &FAULTS), span, (Reduce::PerMinute, Join::Sum)),
        24 => {
            let all = ["requests", "replies", "timeouts", "bad-frames", "line-downs", "exceptions"];
            let numbers = by(&["of", "point"], told("device-health", &all), span, ONE);
            numbers.numbers.iter().for_each(|(key, number)| within_status(truth, key, *number));
            numbers
        }
        25 => {
            let numbers = by(&["of"], told("device-health", &["answer-p99"]), span, ONE);
            numbers.numbers.iter().for_each(|(key, number)| seconds_of_status(truth, key, *number));
            numbers
        }
        26 => by(&["of"], told("device-health", &["load"]), span, ONE),
        27 => by(&["of"], told("device-health", &FAULTS), span, SUM),
        _ => return None,
    })
}

/// A device's count is not above the one that `status` gave later, and of one that answers not far below it.
fn within_status(truth: &Truth, key: &[String], told: f64) {
    let devices = truth.said.status["devices"].as_array().unwrap();
    let traffic = &devices.iter().find(|device| device["name"] == key[0]).unwrap()["traffic"];
    if let Some(now) = traffic[&key[1]].as_f64() {
        assert!(told <= now && told >= now / 2.0, "{key:?}: {told} told, {now} now");
    }
}

/// An answer time is in seconds: no thousand times the milliseconds of `status`, which gave them at another moment and load. None yet is 0.
fn seconds_of_status(truth: &Truth, key: &[String], told: f64) {
    let devices = truth.said.status["devices"].as_array().unwrap();
    let traffic = &devices.iter().find(|device| device["name"] == key[0]).unwrap()["traffic"];
    let now = traffic["answers"]["ms_p99"].as_f64().unwrap_or_default() / 1000.0;
    assert!(
        told == 0.0 || (now / 300.0..=now * 300.0).contains(&told),
        "{key:?}: {told} s told, {now} s now"
    );
}

fn deliveries(panel: u64, truth: &Truth, question: &Question<'_>) -> Option<Expected> {
    let told =
        |points| truth.told("sink-health", points, move |series| question.takes("sink", series.label("of")));
    let journal = |points| truth.told("journal-health", points, |_| true);
    let sinks = || {
        let all = truth.said.status["sinks"].as_array().unwrap().iter();
        all.filter(|sink| question.takes("sink", text(sink, "name")))
    };
    let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|on| f64::from(u8::from(on))));
    let span = question.span;
    Some(match panel {
        31 => table(&["of"], sinks().map(|sink| (vec![text(sink, "name")], number(&sink["up"]).unwrap()))),
        32 => by(&["of"], told(&["backlog"]), span, ONE),
        33 => by(&["of"], told(&["readings"]), span, RATE),
        34 => {
            let kinds = ["rejected", "too-old", "quarantined", "failures", "held"];
            let of = |sink| {
                kinds.map(|kind| {
                    (vec![text(sink, "name"), kind], number(&sink[kind.replace('-', "_")]).unwrap())
                })
            };
            table(&["of", "point"], sinks().flat_map(of))
        }
        35 => by(&["site", "point"], journal(&["lost", "waiting"]), span, ONE),
        36 => by(&["site"], journal(&["bytes"]), span, ONE),
        37 => by(&["site"], journal(&["readings"]), span, RATE),
        _ => return None,
    })
}

fn alarms(panel: u64, truth: &Truth, question: &Question<'_>) -> Option<Expected> {
    let said = &truth.said.alarms;
    let in_state = |alarm: &Value, states: &[&str]| states.contains(&text(alarm, "state"));
    let open = || said.iter().filter(|alarm| question.takes("town", text(alarm, "town")));
    const ACTIVE: [&str; 4] = ["active-red", "active-orange", "active-yellow", "active-blue"];
    Some(match panel {
        41 => table(
            &["point"],
            ACTIVE.into_iter().map(|name| {
                let active = said.iter().filter(|alarm| {
                    name.ends_with(text(alarm, "severity"))
                        && in_state(alarm, &["active-unacknowledged", "active-acknowledged"])
                });
                (vec![name], count(active))
            }),
        ),
        42 => {
            let unseen = said.iter().filter(|alarm| text(alarm, "state").ends_with("-unacknowledged"));
            let rows = [("open", count(said.iter())), ("unacknowledged", count(unseen))];
            table(&["point"], rows.into_iter().map(|(name, number)| (vec![name], number)))
        }
        43 => {
            let rows = open().filter_map(|alarm| {
                let number = match question.column {
                    "severity" => alarm["ordinal"].as_f64()?,
                    "state" => state(&alarm["state"]),
                    "value" | "threshold" => alarm[question.column].as_f64()?,
                    _ => return None,
                };
                Some((vec![text(alarm, "rule"), text(alarm, "point"), text(alarm, "town")], number))
            });
            table(&["rule", "point", "town"], rows)
        }
        44 => by(&["point"], truth.told("alarm-health", &ACTIVE, |_| true), question.span, SUM),
        45 => table(
            &["point"],
            ["raised", "cleared"].into_iter().map(|name| {
                let line = format!("lifeline_alarms_{name}_total ");
                let number = truth.said.metrics.lines().find_map(|text| text.strip_prefix(&line));
                (vec![name], number.unwrap().parse().unwrap())
            }),
        ),
        46 => {
            let mut towns: BTreeMap<&str, f64> = BTreeMap::new();
            open().for_each(|alarm| *towns.entry(text(alarm, "town")).or_default() += 1.0);
            table(&["town"], towns.into_iter().map(|(town, number)| (vec![town], number)))
        }
        47 => {
            let told = truth.transitions.iter().filter(|(at, transition)| {
                *at <= question.span.to
                    && question.takes("town", transition.alarm.town.as_deref().unwrap_or_default())
            });
            table(
                &["rule"],
                told.map(|(_, transition)| (vec![transition.alarm.rule.as_str()], severity(transition))),
            )
        }
        _ => return None,
    })
}
