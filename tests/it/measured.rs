//! Real water levels of whole years through the alarm engine: each labelled storm raises, no single spike does.

use std::fs;
use std::time::Duration;

use lifeline_gateway::alarm::engine::Engine;
use lifeline_gateway::alarm::{Change, Condition, Direction, Kind, Level, Rule, RuleId, Severity};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::point::{Catalog, Device, DeviceId, Point, PointId};
use lifeline_gateway::reading::{Reading, Sample};
use lifeline_gateway::unit::Unit;

use crate::shared::shared;

/// Two samples of the 10-minute series: one alone is a spike.
const ON_DELAY: Duration = Duration::from_secs(15 * 60);

type Sounding = (Timestamp, f64);

/// What the publisher's data say of a station: storms with their peaks, and single wrong samples.
struct Labels {
    storms: Vec<(Timestamp, Timestamp)>,
    spikes: Vec<Timestamp>,
}

#[test]
fn every_storm_raises_and_no_spike_does() {
    for (station, threshold_mm) in [("008a-arb048", 1_100.0), ("019a-arb028", 600.0), ("021a-det015", 900.0)]
    {
        let file = format!("flood-klab-{station}.csv");
        let (Some(data), Some(events)) = (shared(&format!("data/{file}")), shared("data/events.csv")) else {
            return;
        };
        let series = series(&fs::read_to_string(data).unwrap());
        let labels = labels(&fs::read_to_string(events).unwrap(), &file);
        let alarms = alarms(&series, threshold_mm);
        let over = |from: Timestamp, to: Timestamp| {
            series.iter().filter(move |(at, _)| from <= *at && *at <= to).map(|(_, level)| *level)
        };
        let strong = |(from, to): &&(Timestamp, Timestamp)| {
            over(*from, *to).filter(|level| *level >= threshold_mm).count() >= 6
        };
        let strong: Vec<_> = labels.storms.iter().filter(strong).collect();
        assert!(strong.len() >= 3, "{station}: only {} storms reach the threshold", strong.len());
        for (from, to) in &strong {
            let met = alarms.iter().any(|(raised, cleared)| raised <= to && from <= cleared);
            assert!(met, "{station}: no alarm in the storm from {from} to {to}");
        }
        for (raised, _) in &alarms {
            let before = over(raised.minus(ON_DELAY), *raised);
            assert!(
                before.fold(f64::MAX, f64::min) >= threshold_mm,
                "{station}: raised at {raised} on less than the delay"
            );
            let spike = labels.spikes.iter().find(|spike| *spike == raised);
            assert!(spike.is_none(), "{station}: a spike raised at {raised}");
        }
        println!(
            "{station}: {} samples, {} storms over {threshold_mm} mm, {} alarms, {} single spikes",
            series.len(),
            strong.len(),
            alarms.len(),
            labels.spikes.len()
        );
    }
}

fn series(text: &str) -> Vec<Sounding> {
    let row = |line: &str| {
        let (at, level) = line.split_once(',')?;
        Some((Timestamp::parse(at).ok()?, level.parse().ok()?))
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn labels(text: &str, file: &str) -> Labels {
    let mut labels = Labels { storms: Vec::new(), spikes: Vec::new() };
    for line in text.lines().filter(|line| line.starts_with(file)) {
        let columns: Vec<&str> = line.splitn(7, ',').collect();
        let (from, to) = (Timestamp::parse(columns[1]).unwrap(), Timestamp::parse(columns[2]).unwrap());
        match columns[5] {
            "hazard" => labels.storms.push((from, to)),
            "sensor_fault" if from == to => labels.spikes.push(from),
            _ => {}
        }
    }
    labels
}

/// When the alarm was raised and cleared; one that is still active ends with the series.
fn alarms(series: &[Sounding], threshold_mm: f64) -> Vec<(Timestamp, Timestamp)> {
    let mut engine = Engine::new("measured", vec![rule(threshold_mm)], &catalog());
    let (mut alarms, mut raised) = (Vec::new(), None);
    for (at, level_mm) in series {
        engine.tick(*at);
        engine.reading(&Reading { point: PointId(0), at: *at, sample: Sample::Good(*level_mm) }, *at);
        for transition in engine.drain() {
            match transition.change {
                Change::Raised => raised = Some(transition.at),
                Change::Cleared => alarms.extend(raised.take().map(|from| (from, transition.at))),
                _ => {}
            }
        }
    }
    let end = series.last().unwrap().0;
    alarms.extend(raised.map(|from| (from, end)));
    alarms
}

fn rule(threshold: f64) -> Rule {
    let level = Level {
        severity: Severity::Yellow,
        threshold,
        on_delay: ON_DELAY,
        off_delay: Duration::from_secs(3600),
    };
    Rule {
        id: RuleId(0),
        name: "level-high".into(),
        version: "1".into(),
        point: PointId(0),
        kind: Kind::Process,
        condition: Condition::Threshold {
            direction: Direction::Above,
            levels: vec![level],
            deadband: 50.0,
            max_gap: Duration::from_secs(3600),
        },
        advice: String::new(),
        basis: String::new(),
        latched: false,
        guide: Default::default(),
        bonds: Default::default(),
    }
}

fn catalog() -> Catalog {
    let point = Point {
        id: PointId(0),
        name: "bridge.level".into(),
        short: "level".into(),
        device: DeviceId(0),
        unit: Unit::parse("mm"),
        decimals: 0,
        states: vec![],
        tags: std::collections::BTreeMap::new(),
    };
    let device = Device {
        id: DeviceId(0),
        name: "bridge".into(),
        line: None,
        class: "water-level".into(),
        risk_point: None,
        town: None,
        tags: std::collections::BTreeMap::new(),
    };
    Catalog { site: "measured".into(), devices: vec![device], points: vec![point], ..Catalog::default() }
}
