//! Alarms: worked examples, what bad data may not do, and what a restart keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeline_gateway::alarm::engine::{Engine, replay};
use lifeline_gateway::alarm::guide::Guide;
use lifeline_gateway::alarm::lifecycle::Refusal;
use lifeline_gateway::alarm::watch::alarm_id;
use lifeline_gateway::alarm::{
    Alarm, Base, Change, Condition, Direction, Kind, Level, Rule, RuleId, RuleState, Severity, Transition,
};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::diagnostic;
use lifeline_gateway::point::{Catalog, Device, DeviceId, Point, PointId};
use lifeline_gateway::reading::{Doubt, Reading, Reason, Sample};
use lifeline_gateway::site;
use lifeline_gateway::unit::Unit;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

const DOUBTS: [Doubt; 6] = Doubt::ALL;

/// Seconds after an arbitrary start.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn catalog() -> Catalog {
    let point = |id: u32| Point {
        id: PointId(id),
        name: format!("gauge.p{id}"),
        short: format!("p{id}"),
        device: DeviceId(0),
        unit: Unit::parse("kPa"),
        decimals: 1,
        states: vec![],
        tags: std::collections::BTreeMap::new(),
    };
    let device = Device {
        id: DeviceId(0),
        name: "gauge".into(),
        line: None,
        class: "gas-pressure".into(),
        risk_point: Some("500108-GA-0031-A".into()),
        town: Some("南坪街道".into()),
        tags: std::collections::BTreeMap::new(),
    };
    Catalog {
        site: "nanan-01".into(),
        version: "1".into(),
        lines: vec![],
        devices: vec![device],
        points: (0..3).map(point).collect(),
    }
}

pub(crate) fn rule(name: &str, point: u32, condition: Condition) -> Rule {
    Rule {
        id: RuleId(0),
        name: name.into(),
        version: "1".into(),
        point: PointId(point),
        kind: if matches!(condition, Condition::Stale { .. }) { Kind::Sensor } else { Kind::Process },
        condition,
        advice: "close V-3".into(),
        basis: String::new(),
        latched: false,
        guide: Default::default(),
        bonds: Default::default(),
    }
}

pub(crate) fn threshold(
    direction: Direction,
    levels: &[(Severity, f64, u64, u64)],
    deadband: f64,
) -> Condition {
    let level = |&(severity, threshold, on, off): &(Severity, f64, u64, u64)| Level {
        severity,
        threshold,
        on_delay: secs(on),
        off_delay: secs(off),
    };
    Condition::Threshold {
        direction,
        levels: levels.iter().map(level).collect(),
        deadband,
        max_gap: secs(30),
    }
}

pub(crate) fn stale(after: u64) -> Rule {
    let points = vec![PointId(0), PointId(1)];
    rule(
        "gauge-stale",
        0,
        Condition::Stale { after: secs(after), severity: Severity::Yellow, points, max_gap: secs(after) },
    )
}

/// Four colours at 1, 2, 3 and 4 kPa without delays.
pub(crate) fn colours() -> Rule {
    let levels = [
        (Severity::Blue, 1.0, 0, 0),
        (Severity::Yellow, 2.0, 0, 0),
        (Severity::Orange, 3.0, 0, 0),
        (Severity::Red, 4.0, 0, 0),
    ];
    rule("high", 0, threshold(Direction::Above, &levels, 0.5))
}

pub(crate) fn engine(rules: &[Rule]) -> Engine {
    Engine::new("nanan-01", rules.to_vec(), &catalog())
}

pub(crate) fn reading(point: u32, seconds: i64, sample: Sample) -> Reading {
    Reading { point: PointId(point), at: at(seconds), sample }
}

pub(crate) fn bad() -> Sample {
    Sample::Bad(Reason::Timeout)
}

/// Feeds one reading to point 0 at its own time and gives what changed.
pub(crate) fn feed(engine: &mut Engine, seconds: i64, sample: Sample) -> Vec<Change> {
    engine.tick(at(seconds));
    engine.reading(&reading(0, seconds, sample), at(seconds));
    engine.drain().iter().map(|transition| transition.change).collect()
}

pub(crate) fn only(engine: &Engine) -> Alarm {
    let alarms = engine.alarms();
    assert_eq!(alarms.len(), 1, "one open alarm");
    alarms[0].clone()
}

/// Runs `series` of `seconds:value` through one rule and gives the changes with their times.
fn worked(condition: Condition, series: &str) -> Vec<(i64, Change)> {
    let mut engine = engine(&[rule("worked", 0, condition)]);
    let mut changes = Vec::new();
    for item in series.split_whitespace() {
        let (seconds, value) = item.split_once(':').expect("seconds:value");
        let sample = value.parse().map_or(bad(), Sample::Good);
        let seconds: i64 = seconds.parse().expect("seconds");
        changes.extend(feed(&mut engine, seconds, sample).into_iter().map(|change| (seconds, change)));
    }
    changes
}

const RISE: &str = "0:14.9 10:15.0 20:15.2 30:14.8 40:15.1 50:15.3 60:15.6 70:15.5 80:14.0 90:13.0 100:12.9";

fn ponding() -> Condition {
    threshold(Direction::Above, &[(Severity::Blue, 15.0, 30, 60)], 2.0)
}

#[test]
fn worked_a_one_bad_sample_inside_the_gap() {
    let series = format!("{RISE} 110:bad 120:12.8 130:12.7 140:12.7 150:12.6");
    let expected =
        [(70, Change::Raised), (110, Change::Unverified), (120, Change::Verified), (150, Change::Cleared)];
    assert_eq!(worked(ponding(), &series), expected);
}

#[test]
fn worked_b_a_long_gap_restarts_the_off_delay() {
    let series = format!(
        "{RISE} 110:bad 120:bad 130:bad 140:12.7 150:12.6 160:12.6 170:12.5 180:12.5 190:12.5 200:12.4"
    );
    let expected =
        [(70, Change::Raised), (110, Change::Unverified), (140, Change::Verified), (200, Change::Cleared)];
    assert_eq!(worked(ponding(), &series), expected);
}

#[test]
fn worked_c_low_with_a_limit_that_is_no_binary_number() {
    let low = threshold(Direction::Below, &[(Severity::Orange, 1.5, 20, 20)], 0.1);
    let series = "0:1.6 10:1.5 20:1.49 30:1.4 40:1.58 50:1.6 60:1.61 70:1.62";
    assert_eq!(worked(low, series), [(30, Change::Raised), (70, Change::Cleared)]);
}

#[test]
fn the_limit_itself_is_in_alarm_also_after_a_conversion() {
    let limit = |deadband| threshold(Direction::Above, &[(Severity::Red, 0.3, 0, 0)], deadband);
    assert_eq!(worked(limit(0.0), "0:0.29999999999999993"), [(0, Change::Raised)]);
    assert_eq!(worked(limit(0.0), "0:0.2999"), []);
    // 0.3 - 0.1 is 0.19999999999999998.
    assert_eq!(worked(limit(0.1), "0:0.3 1:0.2"), [(0, Change::Raised), (1, Change::Cleared)]);
    assert_eq!(
        worked(limit(0.0), "0:0.3 1:0.3"),
        [(0, Change::Raised)],
        "no deadband does not mean no alarm"
    );
}

#[test]
fn one_alarm_goes_through_four_colours() {
    let mut engine = engine(&[colours()]);
    assert_eq!(feed(&mut engine, 0, Sample::Good(1.0)), [Change::Raised]);
    let id = only(&engine).id;
    for (seconds, value, severity) in
        [(1, 2.0, Severity::Yellow), (2, 3.0, Severity::Orange), (3, 4.0, Severity::Red)]
    {
        let before = only(&engine);
        engine.ack(&before.id, before.severity, "duty", None, at(seconds)).unwrap();
        assert_eq!(only(&engine).state, Base::ActiveAcknowledged);
        assert_eq!(feed(&mut engine, seconds, Sample::Good(value)), [Change::Acknowledged, Change::Rose]);
        let after = only(&engine);
        assert_eq!((after.severity, after.threshold, after.value), (severity, Some(value), Some(value)));
        assert_eq!((after.state, after.acknowledged), (Base::ActiveUnacknowledged, None));
        assert_eq!((after.id, after.since), (id.clone(), at(0)));
    }
    assert_eq!(feed(&mut engine, 4, Sample::Good(3.6)), [], "inside red's deadband");
    assert_eq!(feed(&mut engine, 5, Sample::Good(2.9)), [Change::Fell]);
    assert_eq!((only(&engine).severity, only(&engine).present()), (Severity::Red, Severity::Orange));
    assert_eq!(feed(&mut engine, 6, Sample::Good(0.2)), [Change::Cleared]);
    let returned = only(&engine);
    assert_eq!((returned.state, returned.severity), (Base::ReturnedUnacknowledged, Severity::Red));
    assert_eq!(feed(&mut engine, 7, Sample::Good(9.0)), [Change::Reraised]);
    assert_eq!((only(&engine).severity, only(&engine).id), (Severity::Red, id));
}

#[test]
fn a_fall_keeps_the_acknowledgement() {
    let mut engine = engine(&[colours()]);
    feed(&mut engine, 0, Sample::Good(4.0));
    engine.ack(&only(&engine).id, Severity::Red, "duty", None, at(1)).unwrap();
    assert_eq!(feed(&mut engine, 2, Sample::Good(2.0)), [Change::Acknowledged, Change::Fell]);
    let fallen = only(&engine);
    assert_eq!((fallen.severity, fallen.state), (Severity::Yellow, Base::ActiveAcknowledged));
    assert_eq!(fallen.acknowledged, Some(("duty".into(), at(1))));
}

#[test]
fn an_alarm_waits_since_it_last_asked_for_a_person() {
    let mut engine = engine(&[Rule { latched: true, ..colours() }]);
    feed(&mut engine, 0, Sample::Good(1.0));
    feed(&mut engine, 10, Sample::Good(2.0));
    assert_eq!(only(&engine).waits_since(), Some(at(0)), "it rose, and nobody had answered");
    engine.ack(&only(&engine).id, Severity::Yellow, "duty", None, at(20)).unwrap();
    assert_eq!(only(&engine).waits_since(), None);
    feed(&mut engine, 30, Sample::Good(3.0));
    assert_eq!((only(&engine).waits_since(), only(&engine).since), (Some(at(30)), at(0)));
    feed(&mut engine, 40, Sample::Good(4.0));
    feed(&mut engine, 50, Sample::Good(0.0));
    assert_eq!(only(&engine).waits_since(), Some(at(30)), "gone, and still nobody");
    engine.ack(&only(&engine).id, Severity::Red, "duty", None, at(60)).unwrap();
    feed(&mut engine, 70, Sample::Good(1.0));
    assert_eq!(only(&engine).waits_since(), Some(at(70)));
}

#[test]
fn a_higher_level_holds_the_lower_one() {
    let levels = [(Severity::Yellow, 2.0, 60, 0), (Severity::Red, 4.0, 0, 20)];
    let mut engine = engine(&[rule("high", 0, threshold(Direction::Above, &levels, 0.0))]);
    assert_eq!(feed(&mut engine, 0, Sample::Good(4.0)), [Change::Raised]);
    assert_eq!(feed(&mut engine, 10, Sample::Good(3.0)), [], "red waits for its off-delay");
    assert_eq!(
        feed(&mut engine, 30, Sample::Good(3.0)),
        [Change::Fell],
        "yellow needs no on-delay under red"
    );
    assert_eq!(feed(&mut engine, 40, Sample::Good(1.0)), [Change::Cleared]);
}

#[test]
fn bad_data_freezes_and_the_first_number_verifies() {
    let mut engine = engine(&[colours()]);
    assert_eq!(feed(&mut engine, 0, bad()), []);
    feed(&mut engine, 10, Sample::Good(2.0));
    assert_eq!(feed(&mut engine, 20, bad()), [Change::Unverified]);
    assert_eq!(feed(&mut engine, 30, bad()), [], "marked once");
    let frozen = only(&engine);
    assert!(frozen.unverified);
    assert_eq!((frozen.state, frozen.value), (Base::ActiveUnacknowledged, Some(2.0)));
    assert_eq!(feed(&mut engine, 40, Sample::Uncertain(0.0, Doubt::Spike)), []);
    assert_eq!(feed(&mut engine, 50, Sample::Good(2.0)), [Change::Verified]);
    assert!(!only(&engine).unverified);
}

#[test]
fn what_each_doubt_may_do() {
    for (doubt, raises_above, raises_below, clears) in [
        (Doubt::Clock, true, true, true),
        (Doubt::Calibration, true, true, true),
        (Doubt::OverRange, true, false, false),
        (Doubt::UnderRange, false, true, false),
        (Doubt::Spike, false, false, false),
        (Doubt::Step, false, false, false),
    ] {
        for (direction, raises) in [(Direction::Above, raises_above), (Direction::Below, raises_below)] {
            let (inside, outside) = if direction == Direction::Above { (9.0, 1.0) } else { (1.0, 9.0) };
            let one = rule("r", 0, threshold(direction, &[(Severity::Red, 5.0, 0, 0)], 0.0));
            let mut fresh = engine(std::slice::from_ref(&one));
            let raised = feed(&mut fresh, 0, Sample::Uncertain(inside, doubt)) == [Change::Raised];
            assert_eq!(raised, raises, "{} raises {direction:?}", doubt.name());
            let mut active = engine(&[one]);
            feed(&mut active, 0, Sample::Good(inside));
            let cleared = feed(&mut active, 1, Sample::Uncertain(outside, doubt)) == [Change::Cleared];
            assert_eq!(cleared, clears, "{} clears {direction:?}", doubt.name());
        }
    }
}

#[test]
fn late_readings_do_not_enter() {
    let mut engine = engine(&[colours()]);
    feed(&mut engine, 100, Sample::Good(0.0));
    engine.reading(&reading(0, 90, Sample::Good(9.0)), at(100));
    engine.reading(&reading(0, 100, Sample::Good(9.0)), at(100));
    assert!(engine.alarms().is_empty());
    // A stamp from far ahead does not shut out the readings after it.
    engine.reading(&reading(0, 100_000, Sample::Good(0.0)), at(110));
    assert_eq!(feed(&mut engine, 120, Sample::Good(9.0)), [Change::Raised]);
}

#[test]
fn a_return_within_ten_minutes_is_the_same_occurrence() {
    for (pause, expected) in [(600, &[Change::Reraised][..]), (601, &[Change::Closed, Change::Raised][..])] {
        let mut engine = engine(&[colours()]);
        feed(&mut engine, 0, Sample::Good(1.0));
        let first = only(&engine).id;
        assert_eq!(feed(&mut engine, 10, Sample::Good(0.0)), [Change::Cleared]);
        assert_eq!(feed(&mut engine, 10 + pause, Sample::Good(1.0)), expected);
        assert_eq!(only(&engine).id == first, pause == 600);
    }
}

#[test]
fn a_latched_alarm_waits_for_ack_and_reset() {
    let mut engine = engine(&[Rule { latched: true, ..colours() }]);
    feed(&mut engine, 0, Sample::Good(4.0));
    let id = only(&engine).id;
    assert_eq!(engine.reset(&id, "duty", at(1)), Err(Refusal::StillActive));
    assert_eq!(feed(&mut engine, 2, Sample::Good(0.0)), [Change::Cleared]);
    assert_eq!(engine.reset(&id, "duty", at(3)), Err(Refusal::AcknowledgeFirst));
    engine.ack(&id, Severity::Red, "duty", None, at(4)).unwrap();
    assert_eq!(only(&engine).state, Base::LatchedAcknowledged);
    engine.reset(&id, "chief", at(5)).unwrap();
    assert!(engine.alarms().is_empty());
    let last = engine.drain().pop().unwrap();
    assert_eq!(
        (last.change, last.alarm.state, last.by.as_deref()),
        (Change::Reset, Base::Normal, Some("chief"))
    );
    assert_eq!(engine.reset(&id, "chief", at(6)), Err(Refusal::NoSuchAlarm));
}

#[test]
fn an_acknowledgement_names_what_was_seen() {
    let mut engine = engine(&[colours()]);
    feed(&mut engine, 0, Sample::Good(2.0));
    let id = only(&engine).id;
    feed(&mut engine, 1, Sample::Good(4.0));
    assert_eq!(engine.ack(&id, Severity::Yellow, "duty", None, at(2)), Err(Refusal::Changed));
    assert_eq!(only(&engine).state, Base::ActiveUnacknowledged);
    engine.ack(&id, Severity::Red, "duty", Some("on my way"), at(3)).unwrap();
    let done = engine.drain().pop().unwrap();
    assert_eq!((done.by.as_deref(), done.note.as_deref()), (Some("duty"), Some("on my way")));
    assert_eq!(only(&engine).acknowledged, Some(("duty".into(), at(3))));
    engine.ack(&id, Severity::Red, "duty", None, at(4)).unwrap();
    assert!(engine.drain().is_empty(), "the same person again changes nothing");
    let other = engine.ack(&id, Severity::Red, "chief", None, at(5));
    assert_eq!(other, Err(Refusal::AlreadyAcknowledged));
    assert_eq!(engine.ack("ffff", Severity::Red, "duty", None, at(6)), Err(Refusal::NoSuchAlarm));
    assert_eq!(feed(&mut engine, 7, Sample::Good(0.0)), [Change::Cleared]);
    assert!(engine.alarms().is_empty(), "seen and gone is over");
}

#[test]
fn a_silent_device_raises_and_the_first_number_clears() {
    let mut engine = engine(&[stale(930), colours()]);
    engine.tick(at(0));
    assert!(engine.next_due().is_some_and(|due| due > at(930)), "a number of exactly that age is fresh");
    feed(&mut engine, 0, Sample::Good(1.0));
    engine.reading(&reading(1, 300, Sample::Good(0.0)), at(300));
    assert_eq!(feed(&mut engine, 600, bad()), [Change::Unverified], "no number, no sign of life");
    engine.tick(at(1230));
    let told: Vec<Change> = engine.drain().iter().map(|transition| transition.change).collect();
    assert_eq!(
        told,
        [Change::Unverifiable],
        "ten minutes without a number; the other point of the device counts too"
    );
    let due = engine.next_due().unwrap();
    engine.tick(at(1231));
    let raised = engine.drain().remove(0);
    assert_eq!((raised.change, raised.alarm.kind), (Change::Raised, Kind::Sensor));
    assert_eq!((raised.alarm.since, raised.at, raised.alarm.value), (due, at(1231), None));
    engine.tick(at(9999));
    assert!(engine.drain().is_empty(), "raised once");
    engine.reading(&reading(1, 100, Sample::Good(0.0)), at(9999));
    assert!(engine.drain().is_empty(), "an old number is no sign of life");
    engine.reading(&reading(1, 10_000, Sample::Uncertain(0.0, Doubt::Spike)), at(10_000));
    assert_eq!(engine.drain()[0].change, Change::Cleared);
    engine.tick(at(10_931));
    assert_eq!(engine.drain()[0].change, Change::Closed, "more than ten minutes later it is another one");
}

/// Delays begin anew after each gap, so nothing else would ever be raised for such a device.
#[test]
fn a_device_that_speaks_only_now_and_then_counts_as_silent() {
    let points = vec![PointId(0), PointId(1)];
    let patchy = Condition::Stale { after: secs(45), severity: Severity::Yellow, points, max_gap: secs(15) };
    let mut engine = engine(&[rule("gauge-stale", 0, patchy)]);
    engine.tick(at(0));
    for t in (0..600).step_by(10) {
        assert!(feed(&mut engine, t, Sample::Good(1.0)).is_empty(), "{t}: one poll of two is missing");
    }
    let mut raised = None;
    for t in (610..900).step_by(20) {
        let changes = feed(&mut engine, t, Sample::Good(1.0));
        if changes == [Change::Raised] {
            raised = raised.or(Some(t));
        } else {
            assert!(changes.is_empty(), "{t} {changes:?}");
        }
    }
    assert_eq!(raised, Some(650), "one poll in four, and 45 s of them lost");
    let note = only(&engine);
    assert_eq!((note.rule.as_str(), note.severity), ("gauge-stale", Severity::Yellow));
    let mut cleared = None;
    for t in (895..960).step_by(5) {
        engine.tick(at(t));
        if feed(&mut engine, t, Sample::Good(1.0)) == [Change::Cleared] {
            cleared = cleared.or(Some(t));
        }
    }
    assert_eq!(cleared, Some(915), "half of it is made good");
    engine.tick(at(1010));
    assert_eq!(engine.drain()[0].change, Change::Reraised, "and the silence is watched as ever");
}

#[test]
fn silence_marks_the_devices_alarms() {
    let mut engine = engine(&[stale(60), colours()]);
    feed(&mut engine, 0, Sample::Good(2.0));
    engine.tick(at(61));
    let changes: Vec<_> = engine.drain().into_iter().map(|t| (t.alarm.rule, t.change)).collect();
    assert_eq!(changes, [("gauge-stale".into(), Change::Raised), ("high".into(), Change::Unverified)]);
}

#[test]
fn timers_fire_in_order_of_due_and_rule() {
    let silent = |name: &str, after, point: u32| Rule {
        condition: Condition::Stale {
            after: secs(after),
            severity: Severity::Blue,
            points: vec![PointId(point)],
            max_gap: secs(after),
        },
        ..rule(name, point, ponding())
    };
    let mut engine = engine(&[silent("late", 60, 0), silent("same-a", 30, 1), silent("same-b", 30, 1)]);
    engine.tick(at(0));
    engine.tick(at(100));
    let names: Vec<_> = engine.drain().into_iter().map(|transition| transition.alarm.rule).collect();
    assert_eq!(names, ["same-a", "same-b", "late"]);
}

#[test]
fn ids_are_derived() {
    // printf 'nanan-01\0outlet-pressure-high\0regulator-3.pressure\x001795392000000' | sha256sum
    let raised = Timestamp::from_millis(1_795_392_000_000);
    let id = alarm_id("nanan-01", "outlet-pressure-high", "regulator-3.pressure", raised);
    assert_eq!(id, "d97a033b929eecc0");
    let mut engine = engine(&[colours()]);
    feed(&mut engine, 0, Sample::Good(1.0));
    assert_eq!(only(&engine).id, alarm_id("nanan-01", "high", "gauge.p0", at(0)));
}

#[test]
fn an_alarm_carries_the_names_of_its_time() {
    let mut engine = engine(&[colours()]);
    feed(&mut engine, 0, Sample::Good(1.0));
    let alarm = only(&engine);
    assert_eq!(alarm.risk_point.as_deref(), Some("500108-GA-0031-A"));
    assert_eq!((alarm.town.as_deref(), alarm.unit.as_deref()), (Some("南坪街道"), Some("kPa")));
    assert_eq!((alarm.point.as_str(), alarm.advice.as_str()), ("gauge.p0", "close V-3"));
}

/// A new engine for `rules` that takes over the states of `old`.
fn restarted(old: &Engine, rules: &[Rule], last: Option<i64>, now: i64) -> Engine {
    let mut new = engine(rules);
    new.restore(old.states(), last.map(at), at(now));
    new
}

#[test]
fn a_restart_neither_raises_again_nor_loses() {
    let rules = [stale(60), colours()];
    let mut old = engine(&rules);
    feed(&mut old, 0, Sample::Good(3.0));
    let before = old.alarms();
    let mut new = restarted(&old, &rules, Some(1), 500);
    assert_eq!(new.alarms(), before);
    assert_eq!(feed(&mut new, 510, Sample::Good(3.0)), []);
    assert_eq!(feed(&mut new, 511, Sample::Good(2.6)), [], "red's and orange's deadbands are kept");
    assert_eq!(feed(&mut new, 512, Sample::Good(0.0)), [Change::Cleared]);
    let mut again = restarted(&new, &rules, Some(512), 700);
    assert_eq!(feed(&mut again, 710, Sample::Good(3.0)), [Change::Reraised], "the return is remembered");
    again.tick(at(771));
    assert_eq!(again.drain()[0].alarm.rule, "gauge-stale", "silence is counted from the restart on");
}

#[test]
fn a_restart_keeps_a_delay_only_over_a_short_gap() {
    let rules = [rule("ponding", 0, ponding())];
    for (last, now, first, raised) in [
        (Some(10), 30, 40, true),
        (Some(10), 30, 41, false),
        (Some(10), 41, 41, false),
        (None, 30, 35, false),
        (Some(99), 30, 35, false),
    ] {
        let mut old = engine(&rules);
        feed(&mut old, 0, Sample::Good(16.0));
        feed(&mut old, 10, Sample::Good(16.0));
        let mut new = restarted(&old, &rules, last, now);
        let changes = feed(&mut new, first, Sample::Good(16.0));
        assert_eq!(changes == [Change::Raised], raised, "last {last:?}, now {now}, first {first}");
    }
}

#[test]
fn a_delay_given_up_at_a_restart_does_not_come_back_with_the_next_one() {
    let rules = [rule("ponding", 0, ponding())];
    let mut old = engine(&rules);
    feed(&mut old, 0, Sample::Good(16.0));
    let mut states: BTreeMap<_, _> = old.dirty().into_iter().collect();
    for (last, now) in [(10, 500), (500, 501)] {
        let mut new = engine(&rules);
        new.restore(states.clone().into_iter().collect(), Some(at(last)), at(now));
        states.extend(new.dirty());
        old = new;
    }
    assert_eq!(feed(&mut old, 502, Sample::Good(16.0)), []);
}

#[test]
fn a_box_that_starts_in_the_past_still_alarms() {
    let mut old = engine(&[colours()]);
    feed(&mut old, 1000, Sample::Good(0.0));
    let mut new = restarted(&old, &[colours()], Some(1000), 0);
    assert_eq!(feed(&mut new, 1, Sample::Good(4.0)), [Change::Raised]);
}

#[test]
fn a_rule_that_is_gone_closes_its_alarm() {
    let mut old = engine(&[colours(), stale(60)]);
    feed(&mut old, 0, Sample::Good(3.0));
    let mut log = Vec::new();
    let mut new = restarted(&old, &[stale(60)], Some(0), 10);
    log.extend(new.drain());
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].change, log[0].note.as_deref()), (Change::Closed, Some("rule removed")));
    assert_eq!(log[0].alarm.state, Base::Normal);
    assert!(new.dirty().contains(&("high".to_owned(), RuleState::default())), "and is not closed again");
}

#[test]
fn a_changed_rule_keeps_its_alarm_until_a_reading_decides() {
    let raise = |rule: &Rule| {
        let mut old = engine(std::slice::from_ref(rule));
        feed(&mut old, 0, Sample::Good(3.0));
        old
    };
    let levels = [(Severity::Yellow, 2.5, 0, 0), (Severity::Red, 3.0, 0, 0)];
    let changed = Rule { version: "2".into(), ..rule("high", 0, threshold(Direction::Above, &levels, 0.5)) };
    let mut new = restarted(&raise(&colours()), std::slice::from_ref(&changed), Some(0), 5);
    assert_eq!(only(&new).severity, Severity::Orange, "kept as it was");
    assert_eq!(feed(&mut new, 10, Sample::Good(3.0)), [Change::Rose]);
    assert_eq!((only(&new).rule_version.as_str(), only(&new).threshold), ("2", Some(3.0)));

    let red_only = threshold(Direction::Above, &[(Severity::Red, 9.0, 0, 0)], 0.5);
    let changed = Rule { version: "3".into(), ..rule("high", 0, red_only) };
    let mut new = restarted(&raise(&colours()), &[changed], Some(0), 5);
    assert_eq!(feed(&mut new, 6, bad()), [Change::Unverified]);
    assert_eq!(feed(&mut new, 10, Sample::Good(3.0)), [Change::Verified, Change::Cleared]);

    let moved = Rule { point: PointId(1), version: "4".into(), ..colours() };
    let mut new = restarted(&raise(&colours()), &[moved], Some(0), 5);
    assert_eq!(new.drain()[0].change, Change::Closed);
    assert!(new.alarms().is_empty());
}

#[test]
fn the_log_alone_restores_an_alarm() {
    let mut old = engine(&[colours()]);
    feed(&mut old, 0, Sample::Good(3.0));
    let alarm = Some(only(&old));
    let mut new = engine(&[colours()]);
    new.restore(vec![("high".into(), RuleState { alarm, ..RuleState::default() })], None, at(100));
    assert_eq!(feed(&mut new, 110, Sample::Good(3.0)), []);
    assert_eq!(feed(&mut new, 120, Sample::Good(0.0)), [Change::Cleared]);
}

#[test]
fn a_step_of_the_clock_changes_no_length() {
    for hours in [5, -5] {
        let step = hours * 3600;
        let mut engine = engine(&[rule("ponding", 0, ponding()), stale(60)]);
        feed(&mut engine, 0, Sample::Good(16.0));
        feed(&mut engine, 20, Sample::Good(16.0));
        engine.shifted(step * 1000);
        assert_eq!(feed(&mut engine, step + 29, Sample::Good(16.0)), []);
        assert_eq!(feed(&mut engine, step + 30, Sample::Good(16.0)), [Change::Raised]);
        engine.tick(at(step + 90));
        assert!(engine.drain().is_empty());
        engine.tick(at(step + 91));
        assert_eq!(engine.drain()[0].alarm.rule, "gauge-stale");
    }
}

#[test]
fn rule_states_are_told_only_when_they_change() {
    let mut engine = engine(&[rule("ponding", 0, ponding())]);
    let mut changes = |seconds, value| {
        feed(&mut engine, seconds, Sample::Good(value));
        engine.dirty().len()
    };
    assert_eq!([changes(0, 1.0), changes(10, 1.0)], [0, 0]);
    assert_eq!([changes(20, 16.0), changes(30, 16.0)], [1, 0], "a delay begins, and goes on");
    assert_eq!([changes(50, 16.0), changes(60, 16.0)], [1, 0], "raised, and stays");
    assert_eq!([changes(70, 14.0), changes(80, 1.0), changes(90, 1.0)], [0, 1, 0]);
}

/// What can happen in a random life.
#[derive(Clone, Debug)]
enum Act {
    Reading { point: u32, sample: Sample },
    Ack { seen: Severity, by: bool },
    Reset,
    Wait,
    Restart { commit_known: bool, changed: bool },
    Step(i64),
}

fn sample() -> impl Strategy<Value = Sample> {
    let value = (0..12_i32).prop_map(|half| f64::from(half) / 2.0);
    prop_oneof![
        4 => value.clone().prop_map(Sample::Good),
        2 => (value, 0..DOUBTS.len()).prop_map(|(value, doubt)| Sample::Uncertain(value, DOUBTS[doubt])),
        2 => Just(bad()),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let severity = prop_oneof![Just(Severity::Blue), Just(Severity::Red)];
    prop_oneof![
        12 => (0..3_u32, sample()).prop_map(|(point, sample)| Act::Reading { point, sample }),
        2 => (severity, any::<bool>()).prop_map(|(seen, by)| Act::Ack { seen, by }),
        1 => Just(Act::Reset),
        2 => Just(Act::Wait),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(commit_known, changed)| Act::Restart { commit_known, changed }),
        1 => (-5000..5000_i64).prop_map(Act::Step),
    ]
}

fn life_rules(changed: bool) -> Vec<Rule> {
    let slow = [(Severity::Yellow, 2.0, 20, 5), (Severity::Orange, 3.0, 0, 40), (Severity::Red, 4.0, 10, 0)];
    let mut rules = vec![
        rule("slow", 0, threshold(Direction::Above, &slow, 0.5)),
        Rule {
            latched: true,
            ..rule("low", 1, threshold(Direction::Below, &[(Severity::Red, 1.0, 0, 0)], 0.5))
        },
        Rule { point: PointId(2), ..colours() },
        stale(40),
    ];
    if changed {
        rules.remove(0);
        rules[1].version = "2".into();
    }
    rules
}

/// An engine, the log of its transitions and its last rule states, as a journal keeps them.
struct Life {
    engine: Engine,
    log: Vec<Transition>,
    states: BTreeMap<String, RuleState>,
    now: Timestamp,
    changed: bool,
}

impl Life {
    fn new() -> Self {
        let engine = engine(&life_rules(false));
        Self { engine, log: Vec::new(), states: BTreeMap::new(), now: at(0), changed: false }
    }

    fn act(&mut self, act: &Act) {
        self.engine.tick(self.now);
        let first = self.engine.alarms().first().map(|alarm| alarm.id.clone());
        let id = first.unwrap_or_default();
        match act {
            Act::Reading { point, sample } => {
                let reading = Reading { point: PointId(*point), at: self.now, sample: sample.clone() };
                self.engine.reading(&reading, self.now);
            }
            Act::Ack { seen, by } => {
                let by = if *by { "duty" } else { "chief" };
                let _ = self.engine.ack(&id, *seen, by, None, self.now);
            }
            Act::Reset => {
                let _ = self.engine.reset(&id, "duty", self.now);
            }
            Act::Wait => self.now = self.now.plus(secs(45)),
            Act::Restart { commit_known, changed } => {
                self.changed = *changed;
                let states = self.states.clone().into_iter().collect();
                self.engine = engine(&life_rules(self.changed));
                self.engine.restore(states, commit_known.then_some(self.now), self.now);
            }
            Act::Step(by) => {
                self.now = self.now.shifted(by * 1000);
                self.engine.shifted(by * 1000);
            }
        }
        self.log.extend(self.engine.drain());
        self.states.extend(self.engine.dirty());
        self.now = self.now.plus(secs(5));
    }

    /// Log, rule states and engine tell of the same alarms.
    fn check(&self) -> TestCaseResult {
        let open = replay(&self.log);
        let mut alarms: Vec<Alarm> = self.engine.alarms();
        for (rule, state) in self.engine.states() {
            let first_out = state.reached.iter().position(|reached| !reached).unwrap_or(state.reached.len());
            prop_assert!(!state.reached[first_out..].contains(&true), "{} reached {:?}", rule, state.reached);
        }
        alarms.sort_by(|a, b| a.rule.cmp(&b.rule));
        prop_assert_eq!(open.values().cloned().collect::<Vec<_>>(), alarms);
        let kept = self.states.iter().filter_map(|(rule, state)| Some((rule.clone(), state.alarm.clone()?)));
        prop_assert_eq!(kept.collect::<BTreeMap<_, _>>(), open);
        Ok(())
    }
}

proptest! {
    #[test]
    fn log_states_and_engine_agree(acts in prop::collection::vec(act(), 1..120)) {
        let mut life = Life::new();
        for act in &acts {
            life.act(act);
            life.check()?;
        }
        // The saved state of every rule, whether told or not, makes the same engine.
        let told: BTreeMap<_, _> = life.engine.states().into_iter().map(|(rule, state)| (rule, state.alarm)).collect();
        for (rule, alarm) in told {
            prop_assert_eq!(life.states.get(&rule).and_then(|state| state.alarm.clone()), alarm);
        }
    }

    #[test]
    fn the_same_life_gives_the_same_transitions(acts in prop::collection::vec(act(), 1..80)) {
        let live = || {
            let mut life = Life::new();
            acts.iter().for_each(|act| life.act(act));
            (life.log, life.states)
        };
        prop_assert_eq!(live(), live());
    }

    #[test]
    fn bad_readings_neither_raise_nor_clear_a_threshold(acts in prop::collection::vec(act(), 1..120)) {
        let mut life = Life::new();
        for act in &acts {
            life.engine.tick(life.now);
            life.log.extend(life.engine.drain());
            let before = life.log.len();
            life.act(act);
            if matches!(act, Act::Reading { sample: Sample::Bad(_), .. }) {
                prop_assert!(life.log[before..].iter().all(|transition| transition.change == Change::Unverified));
            }
        }
    }

    /// Against a second telling of the rules R1 to R5 that looks at the whole past each time.
    #[test]
    fn delays_follow_the_runs_of_good_readings(
        steps in prop::collection::vec((1..40_i64, prop::option::weighted(0.8, 0..7_i32)), 1..120),
        below: bool,
    ) {
        let (direction, sign) = if below { (Direction::Below, -1.0) } else { (Direction::Above, 1.0) };
        let levels = [(Severity::Red, sign * 4.0, 25, 35)];
        let mut engine = engine(&[rule("r", 0, threshold(direction, &levels, 2.0))]);
        let mut past: Vec<(i64, f64)> = Vec::new();
        let (mut now, mut active) = (0, false);
        for (wait, value) in steps {
            now += wait;
            let Some(value) = value.map(f64::from) else {
                feed(&mut engine, now, bad());
                continue;
            };
            past.push((now, value));
            feed(&mut engine, now, Sample::Good(sign * value));
            let holds = |value: f64| if active { value <= 2.0 } else { value >= 4.0 };
            let mut since = None;
            let mut later = now;
            for &(time, value) in past.iter().rev() {
                if !holds(value) || later - time > 30 {
                    break;
                }
                (since, later) = (Some(time), time);
            }
            if since.is_some_and(|since| now - since >= if active { 35 } else { 25 }) {
                active = !active;
            }
            let seen = engine.alarms().iter().any(|alarm| alarm.state.is_active());
            prop_assert_eq!(seen, active, "at {} after {:?}", now, past);
        }
    }
}

/// The words of a grade go by what is measured, not by the place: the pressure at a gas station has no first and second level.
#[test]
fn the_demo_says_what_to_do_in_the_words_of_each_sensor() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (site, profiles) = (root.join("devices"), Some(root.join("firmware-profiles")));
    let options = site::Options { site, profiles, ..site::Options::default() };
    let (site, diagnostics, texts) = site::load(&options);
    let site = site.unwrap_or_else(|| panic!("{}", diagnostic::render(&diagnostics, &texts)));
    let word = |name: &str, severity: Severity| {
        let rule = site.rules.iter().find(|rule| rule.name == name).unwrap();
        severity.word(&rule.guide.class).map(|(chinese, _)| chinese)
    };
    assert_eq!(word("leak-3-methane", Severity::Orange), Some("一级报警"));
    assert_eq!(word("regulator-3-outlet-high", Severity::Red), None);
    assert_eq!(word("crack-1-opening", Severity::Red), Some("警报级"));
    assert_eq!(word("leak-3-stale", Severity::Orange), None, "silence is no level of a concentration");
    for rule in site.rules.iter().filter(|rule| rule.kind == Kind::Process && rule.basis != "implicit") {
        let Guide { plan, phase, layer, .. } = &rule.guide;
        assert!(
            plan.is_some() && phase.is_some() && layer.is_some() && !rule.advice.is_empty(),
            "{}",
            rule.name
        );
    }
}

#[test]
fn an_alarm_names_its_place_as_people_call_it() {
    let folder = tempfile::tempdir().unwrap();
    let device = |name: &str, slave: u8, more: &str| {
        format!(
            "[[device]]\nname = \"{name}\"\nline = \"tcp-1\"\nprofile = \"generic-submersible485\"\nslave = {slave}\nevery = \"5s\"\n{more}\n"
        )
    };
    let devices = [
        device("a", 1, "risk_point = \"500108-WL-0001-P\"\ntags = { name = \"1号水位计\" }"),
        device("b", 2, "tags = { name = \"1号水位计\" }"),
        device("c", 3, "tags = { name = \"1号水位计\", place = \"泵站\" }"),
        device("d", 4, ""),
    ];
    let text = format!(
        "[[line]]\nname = \"tcp-1\"\ntcp = \"127.0.0.1:1502\"\n
        [[risk_point]]\ncode = \"500108-WL-0001-P\"\nname = \"南坪下穿道\"\nclass = \"waterlogging\"\ntown = \"南坪街道\"\nsupervisor = \"区城市管理局\"\ngrade = 4\nfrom = 2026-01-01\nneeds = [{{ role = \"water-level\" }}]\n{}",
        devices.concat()
    );
    std::fs::write(folder.path().join("site.toml"), text).unwrap();
    let profiles = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
    let options = site::Options {
        site: folder.path().to_owned(),
        profiles: Some(profiles),
        ..site::Options::default()
    };
    let (site, diagnostics, texts) = site::load(&options);
    let site = site.unwrap_or_else(|| panic!("{}", diagnostic::render(&diagnostics, &texts)));
    let place = |name: &str| site.rules.iter().find(|rule| rule.name == name).unwrap().guide.place.as_deref();
    let names = ["a-stale", "b-stale", "c-stale", "d-stale"];
    assert_eq!(names.map(place), [Some("南坪下穿道"), Some("1号水位计"), Some("泵站"), None]);
}
