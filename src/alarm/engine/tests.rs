use proptest::prelude::*;

use super::*;
use crate::alarm::{Direction, Kind, Level, RuleId};
use crate::point::{Device, DeviceId, Point};
use crate::reading::Reason;

fn at(s: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + s * 1000)
}

fn catalog() -> Catalog {
    let device = Device {
        id: DeviceId(0),
        name: "u-1".to_owned(),
        line: None,
        class: "water-level".to_owned(),
        risk_point: Some("P1".to_owned()),
        town: None,
    };
    let point = Point {
        id: PointId(0),
        name: "u-1.level".to_owned(),
        short: "level".to_owned(),
        device: DeviceId(0),
        unit: crate::unit::Unit::parse("cm"),
        decimals: 1,
        states: Vec::new(),
    };
    Catalog {
        site: "s".to_owned(),
        version: "v".to_owned(),
        lines: Vec::new(),
        devices: vec![device],
        points: vec![point],
    }
}

fn rule(id: u32, name: &str, kind: Kind, condition: Condition) -> Rule {
    Rule {
        id: RuleId(id),
        name: name.to_owned(),
        version: "1".to_owned(),
        point: PointId(0),
        kind,
        condition,
        advice: "close the underpass".to_owned(),
        basis: "test".to_owned(),
        latched: false,
    }
}

fn engine(on_s: u64, off_s: u64) -> Engine {
    let colours =
        [(Severity::Blue, 10.0), (Severity::Yellow, 20.0), (Severity::Orange, 30.0), (Severity::Red, 40.0)];
    let level = |(severity, threshold)| Level {
        severity,
        threshold,
        on_delay: Duration::from_secs(on_s),
        off_delay: Duration::from_secs(off_s),
    };
    let levels = colours.map(level).to_vec();
    let max_gap = Duration::from_secs(30);
    let high = Condition::Threshold { direction: Direction::Above, levels, deadband: 2.0, max_gap };
    let stale = Condition::Stale {
        after: Duration::from_secs(33),
        severity: Severity::Yellow,
        points: vec![PointId(0)],
    };
    let rules = vec![rule(0, "level-high", Kind::Process, high), rule(1, "u-1-stale", Kind::Sensor, stale)];
    Engine::new("s", rules, &catalog())
}

fn read(engine: &mut Engine, s: i64, sample: Sample) -> Vec<(Change, Severity)> {
    engine.tick(at(s));
    engine.reading(&Reading { point: PointId(0), at: at(s), sample }, at(s));
    changes(engine)
}

fn changes(engine: &mut Engine) -> Vec<(Change, Severity)> {
    engine.drain().iter().map(|transition| (transition.change, transition.alarm.severity)).collect()
}

#[test]
fn four_colours_up_and_down() {
    let mut engine = engine(0, 0);
    assert_eq!(read(&mut engine, 0, Sample::Good(12.0)), [(Change::Raised, Severity::Blue)]);
    assert_eq!(read(&mut engine, 1, Sample::Good(45.0)), [(Change::Rose, Severity::Red)]);
    assert_eq!(read(&mut engine, 2, Sample::Good(39.0)), []);
    assert_eq!(read(&mut engine, 3, Sample::Good(35.0)), [(Change::Fell, Severity::Orange)]);
    assert_eq!(read(&mut engine, 4, Sample::Good(0.0)), [(Change::Cleared, Severity::Orange)]);
    assert_eq!(engine.alarms()[0].state, Base::ReturnedUnacknowledged);
}

#[test]
fn bad_data_neither_raises_nor_clears_and_is_marked() {
    let mut engine = engine(0, 0);
    assert_eq!(read(&mut engine, 0, Sample::Bad(Reason::Timeout)), []);
    read(&mut engine, 1, Sample::Good(25.0));
    assert_eq!(read(&mut engine, 2, Sample::Bad(Reason::Timeout)), [(Change::Unverified, Severity::Yellow)]);
    assert!(engine.alarms()[0].unverified);
    assert_eq!(read(&mut engine, 3, Sample::Good(25.0)), [(Change::Verified, Severity::Yellow)]);
}

#[test]
fn silence_is_an_alarm_of_its_own() {
    let mut engine = engine(0, 0);
    read(&mut engine, 0, Sample::Good(1.0));
    assert_eq!(engine.next_due(), Some(Timestamp::from_millis(at(33).as_millis() + 1)));
    assert_eq!(read(&mut engine, 33, Sample::Bad(Reason::Timeout)), []);
    assert_eq!(read(&mut engine, 34, Sample::Bad(Reason::Timeout)), [(Change::Raised, Severity::Yellow)]);
    assert_eq!(engine.next_due(), None);
    assert_eq!(read(&mut engine, 35, Sample::Good(1.0)), [(Change::Cleared, Severity::Yellow)]);
}

#[test]
fn an_acknowledgement_of_a_lower_colour_is_refused_after_a_rise() {
    let mut engine = engine(0, 0);
    read(&mut engine, 0, Sample::Good(25.0));
    let id = engine.alarms()[0].id.clone();
    engine.ack(&id, Severity::Yellow, "li", None, at(1)).unwrap();
    assert_eq!(engine.alarms()[0].state, Base::ActiveAcknowledged);
    engine.ack(&id, Severity::Yellow, "li", None, at(1)).unwrap();
    assert_eq!(
        changes(&mut engine),
        [(Change::Acknowledged, Severity::Yellow)],
        "repeating it records nothing"
    );
    assert_eq!(read(&mut engine, 2, Sample::Good(41.0)), [(Change::Rose, Severity::Red)]);
    assert_eq!(engine.alarms()[0].state, Base::ActiveUnacknowledged);
    assert!(engine.ack(&id, Severity::Yellow, "li", None, at(3)).unwrap_err().contains("changed"));
    assert!(engine.ack("nobody", Severity::Red, "li", None, at(3)).is_err());
    engine.ack(&id, Severity::Red, "li", Some("seen"), at(4)).unwrap();
    assert_eq!(read(&mut engine, 5, Sample::Good(0.0)).last().unwrap().0, Change::Cleared);
    assert!(engine.alarms().is_empty(), "seen and gone is over");
}

#[test]
fn a_restart_in_the_middle_keeps_alarm_and_delay() {
    let mut first = engine(10, 10);
    read(&mut first, 0, Sample::Good(25.0));
    read(&mut first, 8, Sample::Good(25.0));
    let kept = first.dirty();
    let mut second = engine(10, 10);
    second.restore(kept.clone(), Some(at(8)), at(9));
    assert_eq!(read(&mut second, 10, Sample::Good(25.0)).first().unwrap().0, Change::Raised);
    let alarm = second.alarms()[0].clone();
    let mut third = engine(10, 10);
    third.restore(second.dirty(), Some(at(10)), at(11));
    assert_eq!(third.alarms(), [alarm]);
    assert_eq!(read(&mut third, 12, Sample::Good(25.0)), [], "it neither re-raises nor disappears");
    let mut late = engine(10, 10);
    late.restore(kept, Some(at(8)), at(500));
    assert_eq!(read(&mut late, 500, Sample::Good(25.0)), [], "a long gap restarts the delay");
}

#[test]
fn a_clock_step_moves_delays_with_it() {
    let mut engine = engine(10, 0);
    read(&mut engine, 0, Sample::Good(25.0));
    engine.shifted(3_600_000);
    assert_eq!(read(&mut engine, 3605, Sample::Good(25.0)), [], "an hour forward is not an hour of delay");
    assert_eq!(read(&mut engine, 3610, Sample::Good(25.0)).len(), 1);
}

#[test]
fn ids_are_derived() {
    assert_eq!(id("s", "r", "p", at(0)), id("s", "r", "p", at(0)));
    assert_ne!(id("s", "r", "p", at(0)), id("s", "r", "p", at(1)));
    assert_eq!(id("s", "r", "p", at(0)).len(), 16);
}

proptest! {
    #[test]
    fn the_log_gives_the_open_alarms(steps in prop::collection::vec((0_i64..60, -10.0_f64..60.0, 0_u8..6), 0..80)) {
        let (mut one, mut two) = (engine(3, 3), engine(3, 3));
        let mut log = Vec::new();
        let mut s = 0;
        for (wait, value, kind) in steps {
            s += wait;
            let sample = match kind {
                0 => Sample::Bad(Reason::Timeout),
                1 => Sample::Uncertain(value, crate::reading::Doubt::Spike),
                _ => Sample::Good(value),
            };
            let process = |transitions: &[Transition]| transitions.iter().any(|t| t.alarm.kind == Kind::Process && matches!(t.change, Change::Raised | Change::Cleared | Change::Rose | Change::Fell));
            for engine in [&mut one, &mut two] {
                engine.tick(at(s));
                engine.reading(&Reading { point: PointId(0), at: at(s), sample: sample.clone() }, at(s));
                if let Some(alarm) = engine.alarms().first().filter(|_| kind == 5) {
                    let _ = engine.ack(&alarm.id, Severity::Red, "li", None, at(s));
                }
            }
            let (first, second) = (one.drain(), two.drain());
            prop_assert_eq!(&first, &second, "the same events give the same transitions");
            prop_assert!(kind > 1 || !process(&first), "bad data moved a process alarm");
            log.extend(first);
        }
        let open: Vec<Alarm> = replay(&log).into_values().collect();
        let mut alarms = one.alarms();
        alarms.sort_by(|a, b| a.rule.cmp(&b.rule));
        prop_assert_eq!(open, alarms);
    }
}
