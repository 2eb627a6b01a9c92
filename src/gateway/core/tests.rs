//! The core as a whole: polls, persons, clocks.

use super::*;
use crate::alarm::{Change, Condition, Direction, Kind, Level, Rule, RuleId};
use crate::decode::Raw;
use crate::derive::Settings;
use crate::point::{Device, Point};
use crate::profile::firmware::Firmware;
use crate::profile::{Field, Limits, Profile};
use crate::reading::{Doubt, Reason};
use crate::{bus, journal, profile};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

fn field() -> Field {
    Field {
        group: None,
        name: "level".into(),
        table: bus::Table::Holding,
        address: 0,
        count: 1,
        kind: profile::Kind::U16,
        order: profile::Order::default(),
        scale: 0.1,
        offset: 0.0,
        order_from: None,
        scale_from: None,
        unit_from: None,
        decimals_from: None,
        pre_offset_from: None,
        current_loop: None,
        unit: None,
        range: None,
        tolerance: 0.0,
        faults: vec![],
        invert: false,
        one_hot: false,
        states: vec![],
        valid_when: vec![],
        destructive: false,
        hidden: false,
        decimals: Some(1),
    }
}

fn rules() -> Vec<Rule> {
    let level = Level {
        severity: Severity::Orange,
        threshold: 15.0,
        on_delay: Duration::from_secs(10),
        off_delay: Duration::ZERO,
    };
    let high = Condition::Threshold {
        direction: Direction::Above,
        levels: vec![level],
        deadband: 2.0,
        max_gap: Duration::from_secs(30),
    };
    let points = vec![PointId(0)];
    let max_gap = Duration::from_secs(30);
    let stale =
        Condition::Stale { after: Duration::from_secs(60), severity: Severity::Yellow, points, max_gap };
    let rule = |id, name: &str, point, kind, condition| Rule {
        id: RuleId(id),
        name: name.into(),
        version: "1".into(),
        point: PointId(point),
        kind,
        condition,
        advice: String::new(),
        basis: String::new(),
        latched: false,
        guide: Default::default(),
        bonds: Default::default(),
    };
    vec![rule(0, "twice-high", 1, Kind::Process, high), rule(1, "gauge-stale", 0, Kind::Sensor, stale)]
}

fn catalog() -> Catalog {
    let point = |id: u32, name: &str, device: u32| Point {
        id: PointId(id),
        name: name.into(),
        short: name.into(),
        device: DeviceId(device),
        unit: None,
        decimals: 1,
        states: vec![],
        tags: std::collections::BTreeMap::new(),
    };
    let device = |id: u32, name: &str| Device {
        id: DeviceId(id),
        name: name.into(),
        line: None,
        class: "waterlogging".into(),
        risk_point: None,
        town: None,
        tags: std::collections::BTreeMap::new(),
    };
    Catalog {
        site: "test".into(),
        version: "1".into(),
        lines: vec![],
        devices: vec![device(0, "gauge"), device(1, "underpass")],
        points: vec![point(0, "gauge.level", 0), point(1, "underpass.twice", 1)],
    }
}

fn gauge() -> DeviceSpec {
    let profile = Profile {
        name: "gauge".into(),
        class: "waterlogging".into(),
        maker: String::new(),
        source: String::new(),
        about: std::sync::Arc::default(),
        serial: None,
        text: None,
        limits: Limits::default(),
        fields: vec![field()],
        triggers: Vec::new(),
        vectors: vec![],
    };
    DeviceSpec {
        id: DeviceId(0),
        slave: bus::Slave(1),
        profile: std::sync::Arc::new(profile),
        points: vec![Some(PointId(0))],
        every: Duration::from_secs(10),
        every_in_alarm: None,
        timeout: Duration::from_secs(1),
        calibration_due: Some(at(1000)),
        firmware: Firmware::default(),
        triggers: Vec::new(),
        withheld: Vec::new(),
    }
}

/// One polled gauge, and a derived point of another device that is twice its level.
fn site() -> Site {
    let derived = Settings {
        point: PointId(1),
        inputs: vec![("level".into(), PointId(0))],
        scales: Vec::new(),
        value: "level * 2.0".into(),
        factor: 1.0,
    };
    let journal = journal::Settings {
        path: "journal".into(),
        commit_every: Duration::from_secs(1),
        keep: Duration::ZERO,
        max_bytes: 0,
    };
    Site {
        catalog: Arc::new(catalog()),
        timezone: "Asia/Shanghai".into(),
        trust: crate::clock::Trust::Set,
        tell_every: Duration::from_secs(60),
        lines: vec![],
        devices: vec![gauge()],
        derived: vec![derived],
        rules: rules(),
        risk_points: vec![],
        sensors: vec![],
        journal,
        sinks: vec![],
        listen: ([127, 0, 0, 1], 0).into(),
        documents: vec![],
    }
}

fn polled(seconds: i64, raw: Result<Raw, Reason>) -> Event {
    let (start, end) = (at(seconds), at(seconds));
    Event::Polled(RawBatch { device: DeviceId(0), start, end, raws: vec![(end, raw)] })
}

#[test]
fn a_poll_becomes_readings_derived_ones_and_an_alarm() {
    let mut core = Core::new(&site());
    core.restore(Vec::new(), None, at(0));
    let effects = core.apply(polled(10, Ok(Raw::Number(80.0))), at(10), true);
    let seen: Vec<_> = effects.batches.iter().map(|b| (b.device, b.readings[0].sample.clone())).collect();
    assert_eq!(seen, [(DeviceId(0), Sample::Good(8.0)), (DeviceId(1), Sample::Good(16.0))]);
    assert!(effects.transitions.is_empty());
    assert!(
        effects.states.iter().any(|(_, state)| state.raising == [Some(at(10))]),
        "a delay under way is kept"
    );

    let effects = core.apply(polled(20, Ok(Raw::Number(80.0))), at(20), false);
    assert_eq!(effects.batches[0].readings[0].sample, Sample::Uncertain(8.0, Doubt::Clock));
    assert_eq!(effects.transitions[0].change, Change::Raised);
    assert_eq!(effects.transitions[0].alarm.point, "underpass.twice");
    assert_eq!(core.alarms().len(), 1);
}

#[test]
fn overdue_calibration_is_a_doubt_from_its_day_on() {
    let mut core = Core::new(&site());
    let mut doubt = |seconds| {
        let effects = core.apply(polled(seconds, Ok(Raw::Number(1.0))), at(seconds), true);
        effects.batches[0].readings[0].sample.clone()
    };
    assert_eq!(doubt(999), Sample::Good(0.1));
    assert_eq!(doubt(1000), Sample::Uncertain(0.1, Doubt::Calibration));
}

#[test]
fn persons_are_answered() {
    let mut core = Core::new(&site());
    core.apply(Event::Tick, at(0), true);
    assert_eq!(core.next_due(), Some(at(60).plus(Duration::from_millis(1))));
    let raised = core.apply(Event::Tick, at(61), true).transitions.remove(0).alarm;
    let ack = |seen| Event::Acknowledge { id: raised.id.clone(), seen, by: "duty".into(), note: None };
    let refused = core.apply(ack(Severity::Blue), at(62), true).refused;
    assert_eq!(refused.as_deref(), Some("changed: the severity has risen since"));
    let effects = core.apply(ack(Severity::Yellow), at(63), true);
    assert_eq!((effects.refused, effects.transitions.len()), (None, 1));
    let reset = Event::Act { target: raised.id, act: Act::Reset, by: "duty".into(), note: None };
    assert!(core.apply(reset, at(64), true).refused.is_some());
}

#[test]
fn a_step_of_the_clock_is_no_silence() {
    let mut core = Core::new(&site());
    core.apply(polled(0, Ok(Raw::Number(1.0))), at(0), true);
    let hour = 3_600;
    let effects = core.apply(Event::ClockStepped(hour * 1000), at(hour + 1), true);
    assert!(effects.transitions.is_empty());
    assert!(core.apply(Event::Tick, at(hour + 60), true).transitions.is_empty());
    assert_eq!(core.apply(Event::Tick, at(hour + 61), true).transitions.len(), 1);
}

#[test]
fn a_device_is_polled_denser_while_a_rule_on_its_points_is_near_or_active() {
    let mut site = site();
    site.devices[0].every_in_alarm = Some(Duration::from_secs(1));
    let mut core = Core::new(&site);
    core.restore(Vec::new(), None, at(0));
    let mut dense = |seconds, raw: Result<Raw, Reason>| {
        core.apply(polled(seconds, raw), at(seconds), true).dense.map(|set| set.len())
    };
    // The rule looks at twice the level, is active at 15, and its deadband of 2 is more than a tenth.
    assert_eq!(dense(0, Ok(Raw::Number(64.0))), None);
    assert_eq!(dense(10, Ok(Raw::Number(65.0))), Some(1), "one deadband from the threshold");
    assert_eq!(dense(11, Ok(Raw::Number(80.0))), None, "still");
    assert_eq!(dense(12, Err(Reason::Timeout)), None, "no number says nothing");
    assert_eq!(dense(30, Ok(Raw::Number(80.0))), None, "active by now");
    let states = core.states();
    let effects = core.apply(polled(31, Ok(Raw::Number(1.0))), at(31), true);
    assert_eq!(effects.dense, Some(BTreeSet::new()));
    let mut later = Core::new(&site);
    later.restore(states, Some(at(30)), at(32));
    assert_eq!(later.dense(), &BTreeSet::from([DeviceId(0)]), "an alarm that is open after a restart counts");

    let mut plain = Core::new(&self::site());
    assert_eq!(plain.apply(polled(0, Ok(Raw::Number(80.0))), at(0), true).dense, None);
}

#[test]
fn a_poll_of_an_unknown_device_is_nothing() {
    let mut core = Core::new(&site());
    let raws = vec![(at(0), Err(Reason::Timeout))];
    let raw = RawBatch { device: DeviceId(7), start: at(0), end: at(0), raws };
    assert_eq!(core.apply(Event::Polled(raw), at(0), true), Effects::default());
}

#[test]
fn the_core_can_live_in_a_task() {
    fn goes_between_threads<T: Send>(_: &T) {}
    goes_between_threads(&Core::new(&site()));
}
