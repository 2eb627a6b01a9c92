//! Overlays, chatter and floods: what hides an alarm, how it comes out again, and what must never happen.

use std::collections::BTreeMap;

use lifeline_gateway::alarm::desk::Act;
use lifeline_gateway::alarm::engine::{Engine, replay};
use lifeline_gateway::alarm::guide::{Bonds, Suppress};
use lifeline_gateway::alarm::lifecycle::Refusal;
use lifeline_gateway::alarm::load::{FLOOD_OVER, Load};
use lifeline_gateway::alarm::overlay::Hidden;
use lifeline_gateway::alarm::{
    Alarm, Base, Change, Direction, Kind, Rule, RuleId, RuleState, Severity, Transition,
};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::point::PointId;
use lifeline_gateway::reading::Sample;
use proptest::prelude::*;

use crate::alarm::{at, bad, colours, engine, feed, only, reading, rule, secs, stale, threshold};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// What changed since the last look, with whether a person is told.
fn told(engine: &mut Engine) -> Vec<(Change, bool)> {
    engine.drain().iter().map(|transition| (transition.change, transition.notifies())).collect()
}

fn act(engine: &mut Engine, target: &str, act: Act, seconds: i64) -> Result<(), Refusal> {
    engine.tick(at(seconds));
    engine.act(target, act, "duty", Some("because"), at(seconds))
}

fn shelve(minutes: u64) -> Act {
    Act::Shelve { seen: None, span: secs(minutes * 60) }
}

fn permit(number: &str, from: Option<i64>, to: i64) -> Act {
    let (number, from, to) = (number.to_owned(), from.map(at), at(to));
    Act::TakeOut { number, from, to, responsible: "Chen".into(), substitute: Some("patrol hourly".into()) }
}

/// An engine whose alarm is active at `value` since second 0.
fn active(value: f64) -> (Engine, String) {
    let mut engine = engine(&[colours()]);
    assert_eq!(feed(&mut engine, 0, Sample::Good(value)), [Change::Raised]);
    let id = only(&engine).id;
    (engine, id)
}

#[test]
fn a_shelf_hides_and_its_end_tells_people_again() {
    let (mut engine, id) = active(2.0);
    engine.ack(&id, Severity::Yellow, "duty", None, at(1)).unwrap();
    act(&mut engine, &id, shelve(30), 2).unwrap();
    assert_eq!(told(&mut engine), [(Change::Acknowledged, false), (Change::Shelved, false)]);
    let hidden = only(&engine);
    assert_eq!((hidden.state, hidden.hidden()), (Base::ActiveAcknowledged, Some(Hidden::Shelved)));
    let shelf = hidden.overlay.shelf.unwrap();
    assert_eq!((shelf.by.as_str(), shelf.reason.as_str(), shelf.count), ("duty", "because", 1));
    assert_eq!(engine.next_due(), Some(at(2 + 30 * MINUTE)));
    engine.tick(at(2 + 30 * MINUTE));
    assert_eq!(told(&mut engine), [(Change::Unshelved, true)]);
    let shown = only(&engine);
    assert_eq!((shown.state, shown.acknowledged), (Base::ActiveUnacknowledged, None));
}

#[test]
fn below_a_shelf_the_base_machine_runs_silently() {
    let (mut engine, id) = active(2.0);
    act(&mut engine, &id, shelve(60), 1).unwrap();
    engine.drain();
    feed(&mut engine, 10, Sample::Good(0.0));
    feed(&mut engine, 20, Sample::Good(1.0));
    assert_eq!(only(&engine).state, Base::ActiveUnacknowledged);
    feed(&mut engine, 30, Sample::Good(0.0));
    engine.drain();
    engine.tick(at(HOUR + 10));
    assert_eq!(told(&mut engine), [(Change::Unshelved, false)], "returned: shown without sound");
    assert_eq!(only(&engine).state, Base::ReturnedUnacknowledged);

    let mut rule_alone = crate::alarm::engine(&[colours()]);
    act(&mut rule_alone, "high", shelve(60), 0).unwrap();
    rule_alone.reading(&reading(0, 10, Sample::Good(1.0)), at(10));
    assert_eq!(told(&mut rule_alone), [(Change::Shelved, false), (Change::Raised, false)]);
}

#[test]
fn a_rise_ends_a_shelf_and_red_is_never_shelved() {
    let (mut engine, id) = active(1.0);
    act(&mut engine, &id, shelve(60), 1).unwrap();
    engine.drain();
    engine.reading(&reading(0, 10, Sample::Good(4.0)), at(10));
    assert_eq!(told(&mut engine), [(Change::Unshelved, true), (Change::Rose, true)]);
    assert_eq!(only(&engine).severity, Severity::Red);
    assert_eq!(act(&mut engine, &id, shelve(60), 11), Err(Refusal::RedStays));
    assert!(engine.drain().is_empty(), "a refused act changes nothing");
}

#[test]
fn shelves_have_limits() {
    let (mut engine, id) = active(2.0);
    assert_eq!(act(&mut engine, &id, shelve(8 * 60 + 1), 1), Err(Refusal::TooLong("a shelf lasts 8 h")));
    assert_eq!(act(&mut engine, &id, shelve(0), 1), Err(Refusal::NoSpan));
    assert_eq!(act(&mut engine, &id, Act::Unshelve, 1), Err(Refusal::NotShelved));
    assert_eq!(act(&mut engine, "nobody", shelve(1), 1), Err(Refusal::NoSuchRule));
    let seen = Act::Shelve { seen: Some(Severity::Blue), span: secs(60) };
    assert_eq!(act(&mut engine, &id, seen, 1), Err(Refusal::Changed));
    act(&mut engine, &id, shelve(8 * 60), 1).unwrap();
    act(&mut engine, &id, shelve(1), 2).unwrap();
    assert_eq!(only(&engine).overlay.shelf.unwrap().count, 2, "shelved again is counted");
    act(&mut engine, &id, Act::Unshelve, 3).unwrap();
    assert_eq!(only(&engine).state, Base::ActiveUnacknowledged);
}

#[test]
fn out_of_service_has_a_permit_a_person_and_an_end() {
    let (mut engine, id) = active(4.0);
    assert_eq!(
        act(&mut engine, &id, permit("7", None, 24 * HOUR + 2), 1),
        Err(Refusal::TooLong("a permit lasts 24 h"))
    );
    let bare = Act::TakeOut {
        number: "7".into(),
        from: None,
        to: at(HOUR),
        responsible: "Chen".into(),
        substitute: None,
    };
    assert_eq!(act(&mut engine, &id, bare, 1), Err(Refusal::NeedsSubstitute));
    engine.drain();
    act(&mut engine, &id, permit("7", None, HOUR), 1).unwrap();
    assert_eq!(only(&engine).hidden(), Some(Hidden::OutOfService));
    assert_eq!(act(&mut engine, &id, permit("7", None, HOUR), 2), Err(Refusal::UnderPermit));
    engine.tick(at(HOUR));
    assert_eq!(told(&mut engine), [(Change::OutOfService, false), (Change::InService, true)]);

    act(&mut engine, "high", permit("8", Some(2 * HOUR), 3 * HOUR), HOUR + 1).unwrap();
    assert_eq!(only(&engine).hidden(), None, "not yet");
    engine.tick(at(2 * HOUR));
    assert_eq!(only(&engine).hidden(), Some(Hidden::OutOfService));
    act(&mut engine, "high", Act::PutBack, 2 * HOUR + 5).unwrap();
    assert_eq!(
        told(&mut engine),
        [(Change::Planned, false), (Change::OutOfService, false), (Change::InService, true)]
    );
    assert_eq!(act(&mut engine, "high", Act::PutBack, 2 * HOUR + 6), Err(Refusal::InService));
}

/// A rule that a point suppresses up to yellow.
fn suppressed() -> Rule {
    let suppress = Suppress { point: PointId(2), up_to: Severity::Yellow, off_delay: secs(30) };
    Rule { bonds: Bonds { suppress: Some(suppress), ..Bonds::default() }, ..colours() }
}

#[test]
fn suppression_by_design_hides_low_severities_and_never_on_bad_data() {
    let mut engine = engine(&[suppressed()]);
    let isolated = |engine: &mut Engine, seconds, sample| {
        engine.tick(at(seconds));
        engine.reading(&reading(2, seconds, sample), at(seconds));
        told(engine)
    };
    assert_eq!(isolated(&mut engine, 0, bad()), []);
    assert_eq!(isolated(&mut engine, 1, Sample::Good(1.0)), [(Change::Suppressed, false)]);
    assert_eq!(feed(&mut engine, 2, Sample::Good(2.0)), [Change::Raised]);
    assert_eq!(only(&engine).hidden(), Some(Hidden::Suppressed));
    engine.reading(&reading(0, 3, Sample::Good(3.0)), at(3));
    assert_eq!(told(&mut engine), [(Change::Rose, true)], "orange is over what is suppressed");
    engine.reading(&reading(0, 4, Sample::Good(2.0)), at(4));
    assert_eq!(told(&mut engine), [(Change::Fell, false)]);
    assert_eq!(only(&engine).hidden(), None, "nobody has seen that it was orange");
    engine.ack(&only(&engine).id, Severity::Orange, "duty", None, at(5)).unwrap();
    assert_eq!(told(&mut engine), [(Change::Acknowledged, false)]);
    assert_eq!(only(&engine).hidden(), Some(Hidden::Suppressed));
    // The state is gone, comes back within the off-delay, and is gone for good.
    assert_eq!(isolated(&mut engine, 10, Sample::Good(0.0)), []);
    assert_eq!(isolated(&mut engine, 30, Sample::Good(1.0)), []);
    assert_eq!(isolated(&mut engine, 50, bad()), []);
    engine.tick(at(79));
    assert_eq!(told(&mut engine), []);
    engine.tick(at(80));
    assert_eq!(told(&mut engine), [(Change::Unsuppressed, true)]);
}

#[test]
fn the_strongest_overlay_keeps_an_alarm_hidden_until_the_last_is_gone() {
    let (mut engine, id) = active(2.0);
    act(&mut engine, &id, shelve(10), 1).unwrap();
    act(&mut engine, &id, permit("7", None, HOUR), 2).unwrap();
    engine.drain();
    engine.tick(at(HOUR - 1));
    assert_eq!(told(&mut engine), [(Change::Unshelved, false)], "still out of service");
    engine.tick(at(HOUR));
    assert_eq!(told(&mut engine), [(Change::InService, true)]);
}

#[test]
fn a_person_raises_the_severity_until_an_end() {
    let (mut engine, id) = active(2.0);
    let lift = |severity, minutes: u64| Act::Lift { severity, span: secs(minutes * 60) };
    assert_eq!(act(&mut engine, &id, lift(Severity::Yellow, 5), 1), Err(Refusal::NotHigher));
    engine.ack(&id, Severity::Yellow, "duty", None, at(1)).unwrap();
    engine.drain();
    act(&mut engine, &id, lift(Severity::Red, 5), 2).unwrap();
    assert_eq!(told(&mut engine), [(Change::Lifted, true)]);
    assert_eq!((only(&engine).severity, only(&engine).state), (Severity::Red, Base::ActiveUnacknowledged));
    assert_eq!(engine.ack(&id, Severity::Yellow, "duty", None, at(3)), Err(Refusal::Changed));
    assert_eq!(feed(&mut engine, 10, Sample::Good(3.0)), [], "orange below a raised red is no news");
    assert_eq!(act(&mut engine, &id, shelve(5), 11), Err(Refusal::RedStays));
    engine.tick(at(2 + 5 * MINUTE));
    assert_eq!(told(&mut engine), [(Change::Lowered, false)]);
    assert_eq!(only(&engine).severity, Severity::Orange, "what is measured counts again");
    feed(&mut engine, 400, Sample::Good(0.0));
    assert_eq!(act(&mut engine, &id, lift(Severity::Red, 5), 401), Err(Refusal::NotActive));
}

#[test]
fn a_drill_is_an_occurrence_of_its_own_and_is_never_counted() {
    let mut engine = engine(&[colours()]);
    let drill = Act::Drill { severity: Severity::Red, span: secs(600) };
    act(&mut engine, "high", drill.clone(), 0).unwrap();
    assert_eq!(act(&mut engine, "high", drill, 1), Err(Refusal::DrillUnderWay));
    let exercise = only(&engine);
    assert!(exercise.marks.drill);
    assert_eq!(exercise.rule, "high.drill");
    assert_eq!(feed(&mut engine, 2, Sample::Good(1.0)), [Change::Raised, Change::Raised]);
    assert_eq!(engine.alarms().len(), 2, "a drill masks nothing");
    engine.ack(&exercise.id, Severity::Red, "duty", None, at(3)).unwrap();
    assert_eq!(engine.load().figures(at(3)).day, 1, "only the real one");
    let mut named = crate::alarm::engine(&[colours()]);
    named.restore(engine.states(), Some(at(3)), at(4));
    act(&mut named, "high.drill", Act::Reset, 5).unwrap();
    assert_eq!(named.alarms().len(), 1, "ended by the name that the list shows");
    let states = engine.states();
    let mut later = crate::alarm::engine(&[colours()]);
    later.restore(states, Some(at(3)), at(4));
    assert_eq!(later.alarms().len(), 2);
    later.tick(at(600));
    let last = later.drain().pop().unwrap();
    assert_eq!((last.alarm.rule.as_str(), last.change), ("high.drill", Change::Closed));
    assert_eq!(only(&later).rule, "high");
}

#[test]
fn an_active_alarm_that_cannot_be_verified_is_told_once() {
    let (mut engine, _) = active(2.0);
    assert_eq!(feed(&mut engine, 10, bad()), [Change::Unverified]);
    assert_eq!(feed(&mut engine, 609, bad()), []);
    engine.tick(at(610));
    assert_eq!(told(&mut engine), [(Change::Unverifiable, true)]);
    let frozen = only(&engine);
    assert!(frozen.marks.unverifiable && frozen.state == Base::ActiveUnacknowledged);
    assert_eq!(feed(&mut engine, 2000, bad()), []);
    assert_eq!(feed(&mut engine, 2001, Sample::Good(2.0)), [Change::Verified]);
    assert!(!only(&engine).marks.unverifiable);
}

/// A rule that latches from red on.
#[test]
fn latching_may_begin_at_a_severity() {
    let bonds = Bonds { latch_from: Some(Severity::Red), ..Bonds::default() };
    let latched = Rule { latched: true, bonds, ..colours() };
    for (peak, expected) in [(3.0, Base::ReturnedUnacknowledged), (4.0, Base::LatchedUnacknowledged)] {
        let mut engine = engine(std::slice::from_ref(&latched));
        feed(&mut engine, 0, Sample::Good(peak));
        feed(&mut engine, 1, Sample::Good(1.0));
        feed(&mut engine, 2, Sample::Good(0.0));
        assert_eq!(only(&engine).state, expected, "after {peak}");
    }
}

fn flicker(engine: &mut Engine, seconds: i64, value: f64) -> Vec<Change> {
    feed(engine, seconds, Sample::Good(value))
}

#[test]
fn worked_chatter_is_named_held_and_over_after_ten_quiet_minutes() {
    for (times, chatters) in [([0, 20, 59], true), ([0, 30, 61], false)] {
        let mut engine = engine(&[colours()]);
        let mut seen = Vec::new();
        for seconds in times {
            seen.extend(flicker(&mut engine, seconds, 1.0));
            if seconds < 59 {
                flicker(&mut engine, seconds + 1, 0.0);
            }
        }
        assert_eq!(seen.contains(&Change::Chattering), chatters, "{times:?}");
        assert_eq!(only(&engine).marks.chattering, chatters);
    }
    let mut engine = engine(&[colours()]);
    for seconds in [0, 20, 40] {
        flicker(&mut engine, seconds, 1.0);
        flicker(&mut engine, seconds + 10, 0.0);
    }
    assert!(only(&engine).state.is_active(), "held: the condition went at 50");
    assert_eq!(flicker(&mut engine, 59, 0.0), []);
    assert_eq!(feed(&mut engine, 61, bad()), [Change::Unverified], "bad data never clears a held alarm");
    assert_eq!(flicker(&mut engine, 70, 0.0), [Change::Verified, Change::Cleared]);
    engine.tick(at(639));
    assert!(engine.drain().is_empty());
    engine.tick(at(640));
    assert_eq!(told(&mut engine), [(Change::Quiet, false)]);
    assert!(!only(&engine).marks.chattering);
}

#[test]
fn a_chattering_red_stays_until_ten_quiet_minutes() {
    let mut engine = engine(&[colours()]);
    for seconds in [0, 10, 20] {
        flicker(&mut engine, seconds, 4.0);
        flicker(&mut engine, seconds + 5, 0.0);
    }
    for seconds in (30..620).step_by(20) {
        flicker(&mut engine, seconds, 0.0);
        assert!(only(&engine).state.is_active(), "at {seconds}");
    }
    assert_eq!(flicker(&mut engine, 626, 0.0), [Change::Quiet, Change::Cleared]);
}

#[test]
fn an_alarm_that_ends_by_itself_within_a_minute_is_fleeting() {
    for (length, seen, fleeting) in [(59, false, true), (60, false, false), (59, true, false)] {
        let (mut engine, id) = active(2.0);
        if seen {
            engine.ack(&id, Severity::Yellow, "duty", None, at(1)).unwrap();
        }
        engine.tick(at(length));
        engine.reading(&reading(0, length, Sample::Good(0.0)), at(length));
        let cleared = engine.drain().pop().unwrap();
        assert_eq!((cleared.change, cleared.alarm.marks.fleeting), (Change::Cleared, fleeting));
        assert_eq!(engine.load().figures(at(length)).top[0].fleeting, u32::from(fleeting));
    }
}

fn raised(minute: i64) -> Transition {
    let (engine, _) = active(1.0);
    let alarm = Alarm { rule: format!("rule-{minute}"), ..only(&engine) };
    Transition { alarm, change: Change::Raised, at: at(minute * MINUTE), by: None, note: None }
}

#[test]
fn worked_flood_begins_with_the_eleventh() {
    let mut load = Load::default();
    let minutes = [0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    for (count, minute) in (1..).zip(minutes) {
        load.take(&raised(minute));
        assert_eq!(load.flood().is_some(), count > FLOOD_OVER, "at the {count}th");
    }
    let figures = load.figures(at(9 * MINUTE));
    assert_eq!((figures.ten_minutes, figures.hour, figures.flood_since), (11, 11, Some(at(9 * MINUTE))));
    assert_eq!((figures.verdict.as_str(), figures.top.len(), figures.top[0].raised), ("manageable", 10, 2));
    // Five within ten minutes at minute 14, four at minute 15.
    assert_eq!(load.due(), Some(at(15 * MINUTE)));
    load.look(at(15 * MINUTE - 1));
    assert!(load.flood().is_some());
    load.look(at(15 * MINUTE));
    assert!(load.flood().is_none() && load.due().is_none());
}

/// A line's rule and the silences of two devices on it.
fn line() -> Vec<Rule> {
    let down = threshold(Direction::Above, &[(Severity::Yellow, 1.0, 0, 0)], 0.5);
    let cause = Rule { kind: Kind::System, ..rule("gateway-line-rs485-1", 2, down) };
    let bonds = Bonds { causes: vec![RuleId(0)], ..Bonds::default() };
    vec![cause, Rule { id: RuleId(1), bonds, ..stale(60) }]
}

#[test]
fn one_cause_is_one_alarm_with_its_children_below() {
    let mut engine = engine(&line());
    engine.tick(at(0));
    let down = |engine: &mut Engine, seconds, value| {
        engine.tick(at(seconds));
        engine.reading(&reading(2, seconds, Sample::Good(value)), at(seconds));
        told(engine)
    };
    assert_eq!(down(&mut engine, 10, 1.0), [(Change::Raised, true)]);
    engine.tick(at(61));
    assert_eq!(told(&mut engine), [(Change::Raised, false)], "the silence is explained");
    let parent = engine.alarms()[0].id.clone();
    let child = engine.alarms()[1].clone();
    assert_eq!(child.overlay.cause.as_ref().unwrap().alarm.as_ref(), Some(&parent));
    assert_eq!(engine.load().figures(at(61)).day, 1, "one alarm for a person");
    // The line is up again; a device that still says nothing is a fault of its own.
    assert_eq!(down(&mut engine, 100, 0.0), [(Change::Cleared, false)]);
    engine.tick(at(159));
    assert_eq!(told(&mut engine), []);
    engine.tick(at(160));
    assert_eq!(told(&mut engine), [(Change::Unsuppressed, true)]);
}

#[test]
fn children_that_came_first_go_below_their_cause_too() {
    let mut engine = engine(&line());
    engine.tick(at(0));
    engine.tick(at(61));
    assert_eq!(told(&mut engine), [(Change::Raised, true)]);
    engine.reading(&reading(2, 70, Sample::Good(1.0)), at(70));
    assert_eq!(told(&mut engine), [(Change::Raised, true), (Change::Suppressed, false)]);
    assert_eq!(engine.alarms()[1].hidden(), Some(Hidden::Suppressed));
}

#[test]
fn deadlines_that_passed_while_the_gateway_was_off_fire_at_once() {
    let (mut old, id) = active(2.0);
    act(&mut old, &id, shelve(30), 1).unwrap();
    act(&mut old, "high", permit("9", Some(2 * HOUR), 3 * HOUR), 2).unwrap();
    let states = old.states();
    for (hours, expected) in [
        (1, &[(Change::Unshelved, true)][..]),
        (2, &[(Change::Unshelved, true), (Change::OutOfService, false)][..]),
        (4, &[(Change::Unshelved, true), (Change::InService, true)][..]),
    ] {
        let mut new = engine(&[colours()]);
        new.restore(states.clone(), Some(at(2)), at(hours * HOUR));
        new.tick(at(hours * HOUR));
        assert_eq!(told(&mut new), expected, "after {hours} h");
    }
}

/// What can happen in a random life with overlays.
#[derive(Clone, Debug)]
enum Step {
    Reading(u32, Sample),
    Ack(Severity),
    Act(Act),
    Wait(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let severity = prop::sample::select(Severity::ALL.to_vec());
    let sample = prop_oneof![
        5 => (0..12_i32).prop_map(|half| Sample::Good(f64::from(half) / 2.0)),
        2 => Just(bad()),
    ];
    let span = (1..1200_u64).prop_map(secs);
    let acts = prop_oneof![
        1 => Just(Act::Reset),
        3 => span.clone().prop_map(|span| Act::Shelve { seen: None, span }),
        1 => Just(Act::Unshelve),
        2 => (0..2000_i64, 1..3000_i64).prop_map(|(from, long)| permit("7", Some(from), from + long)),
        1 => Just(Act::PutBack),
        2 => (severity.clone(), span.clone()).prop_map(|(severity, span)| Act::Lift { severity, span }),
        1 => (severity.clone(), span).prop_map(|(severity, span)| Act::Drill { severity, span }),
    ];
    prop_oneof![
        10 => (0..3_u32, sample).prop_map(|(point, sample)| Step::Reading(point, sample)),
        2 => severity.prop_map(Step::Ack),
        4 => acts.prop_map(Step::Act),
        2 => (1..900_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

fn life_rules() -> Vec<Rule> {
    let down = threshold(Direction::Above, &[(Severity::Yellow, 5.0, 0, 0)], 0.5);
    let causes = Bonds { causes: vec![RuleId(2)], ..Bonds::default() };
    vec![
        Rule { latched: true, ..suppressed() },
        Rule { id: RuleId(1), bonds: causes, ..stale(300) },
        Rule { id: RuleId(2), kind: Kind::System, ..rule("cause", 1, down) },
    ]
}

struct Life {
    engine: Engine,
    log: Vec<Transition>,
    states: BTreeMap<String, RuleState>,
    now: Timestamp,
}

impl Life {
    fn new() -> Self {
        Self { engine: engine(&life_rules()), log: Vec::new(), states: BTreeMap::new(), now: at(0) }
    }

    fn step(&mut self, step: &Step, restarts: bool) {
        self.now = self.now.plus(secs(5));
        self.engine.tick(self.now);
        let target = self.engine.alarms().first().map_or("high".to_owned(), |alarm| alarm.id.clone());
        match step {
            Step::Reading(point, sample) => {
                let reading = lifeline_gateway::reading::Reading {
                    point: PointId(*point),
                    at: self.now,
                    sample: sample.clone(),
                };
                self.engine.reading(&reading, self.now);
            }
            Step::Ack(seen) => drop(self.engine.ack(&target, *seen, "duty", None, self.now)),
            Step::Act(act) => {
                let target = if matches!(act, Act::Drill { .. }) { "high" } else { &target };
                let _ = self.engine.act(target, act.clone(), "duty", Some("why"), self.now);
            }
            Step::Wait(seconds) => {
                self.now = self.now.plus(secs(*seconds));
                self.engine.tick(self.now);
            }
            Step::Restart => {}
        }
        self.log.extend(self.engine.drain());
        self.states.extend(self.engine.dirty());
        if restarts && matches!(step, Step::Restart) {
            self.engine = engine(&life_rules());
            self.engine.restore(self.states.clone().into_iter().collect(), Some(self.now), self.now);
            self.log.extend(self.engine.drain());
            self.states.extend(self.engine.dirty());
        }
    }
}

fn seen(state: Base) -> bool {
    matches!(state, Base::Normal | Base::ActiveAcknowledged | Base::LatchedAcknowledged)
}

proptest! {
    /// What must never happen, whatever persons, sensors and power cuts do.
    #[test]
    fn never(steps in prop::collection::vec(step(), 1..150)) {
        let mut life = Life::new();
        let mut before: BTreeMap<String, Alarm> = BTreeMap::new();
        for step in &steps {
            let from = life.log.len();
            life.step(step, true);
            for Transition { alarm, change, by, at: time, .. } in &life.log[from..] {
                prop_assert!(
                    alarm.overlay.shelf.is_none() || alarm.severity < Severity::Red || alarm.state == Base::Normal,
                    "a shelved red: {:?}", alarm
                );
                let was = before.get(&alarm.rule).map_or(Base::Normal, |alarm| alarm.state);
                if *change == Change::Cleared {
                    let good = matches!(step, Step::Reading(_, Sample::Good(_)));
                    prop_assert!(good, "{:?} cleared by {:?}", alarm.rule, step);
                }
                if *change == Change::Acknowledged {
                    prop_assert_eq!(alarm.state.is_active(), was.is_active(), "an acknowledgement cleared");
                }
                if seen(alarm.state) && !seen(was) && !alarm.marks.drill {
                    let over = [Change::Acknowledged, Change::Closed].contains(change);
                    prop_assert!(over, "seen by {:?}", change);
                }
                let person = [Change::Acknowledged, Change::Shelved, Change::Lifted, Change::Planned];
                prop_assert!(by.is_some() || !person.contains(change), "nobody did {:?}", change);
                prop_assert!(*time <= life.now);
                before.insert(alarm.rule.clone(), alarm.clone());
            }
            for (rule, state) in life.engine.states() {
                let copied = state.alarm.as_ref().is_none_or(|alarm| alarm.marks.drill || alarm.overlay == state.overlay.shown());
                prop_assert!(copied, "{} shows another overlay than it has", rule);
                if let Some(shelf) = &state.overlay.shelf {
                    prop_assert!(shelf.severity < Severity::Red && life.now < shelf.until);
                }
            }
            let open = replay(&life.log);
            let mut alarms = life.engine.alarms();
            alarms.sort_by(|a, b| a.rule.cmp(&b.rule));
            let states: Vec<Base> = open.values().map(|alarm| alarm.state).collect();
            prop_assert_eq!(states, alarms.iter().map(|alarm| alarm.state).collect::<Vec<_>>());
        }
    }
}

/// The severity that is shown and the one that is measured now.
fn grades(engine: &Engine) -> (Severity, Severity) {
    let alarm = only(engine);
    (alarm.severity, alarm.present())
}

#[test]
fn the_highest_severity_stays_in_sight_until_it_is_acknowledged() {
    use Severity::{Orange, Red, Yellow};
    let (mut engine, id) = active(4.0);
    assert_eq!(feed(&mut engine, 10, Sample::Good(2.0)), [Change::Fell]);
    assert_eq!(grades(&engine), (Red, Yellow), "nobody has seen that it was red");
    assert_eq!(engine.ack(&id, Yellow, "duty", None, at(11)), Err(Refusal::Changed));
    assert_eq!(act(&mut engine, &id, shelve(30), 12), Err(Refusal::RedStays));
    // Over a restart it is the same, and the level below does not come back as red.
    let mut after = crate::alarm::engine(&[colours()]);
    after.restore(engine.states(), Some(at(12)), at(13));
    after.drain();
    assert_eq!(grades(&after), (Red, Yellow));
    assert_eq!(feed(&mut after, 14, Sample::Good(2.0)), [], "nothing moved");
    assert_eq!(feed(&mut after, 15, Sample::Good(3.0)), [Change::Rose]);
    assert_eq!(grades(&after), (Red, Orange));
    after.ack(&id, Red, "duty", None, at(16)).unwrap();
    assert_eq!(grades(&after), (Orange, Orange), "seen: now it is what is measured");
    feed(&mut after, 17, Sample::Good(2.0));
    assert_eq!(grades(&after), (Yellow, Yellow));
    assert_eq!(feed(&mut after, 18, Sample::Good(3.0)), [Change::Rose]);
    assert_eq!(feed(&mut after, 19, Sample::Good(0.0)), [Change::Cleared]);
    assert_eq!(grades(&after), (Orange, Orange), "returned, and not seen as orange");
    // Within its window the same occurrence comes back, lower.
    assert_eq!(feed(&mut after, 20, Sample::Good(2.0)), [Change::Reraised]);
    assert_eq!(grades(&after), (Orange, Yellow));
}

#[test]
fn a_latched_alarm_keeps_its_highest_severity_until_the_reset() {
    use Severity::{Orange, Red};
    let bonds = Bonds { latch_from: Some(Red), ..Bonds::default() };
    let mut engine = engine(&[Rule { latched: true, bonds, ..colours() }]);
    feed(&mut engine, 0, Sample::Good(4.0));
    feed(&mut engine, 1, Sample::Good(3.0));
    let id = only(&engine).id;
    engine.ack(&id, Red, "duty", None, at(2)).unwrap();
    assert_eq!(grades(&engine), (Red, Orange), "seen, and it waits for a reset");
    feed(&mut engine, 3, Sample::Good(0.0));
    assert_eq!((only(&engine).state, grades(&engine).0), (Base::LatchedAcknowledged, Red));
    act(&mut engine, &id, Act::Reset, 4).unwrap();
    assert!(engine.alarms().is_empty());
}

#[test]
fn a_severity_raised_by_hand_gives_way_to_the_highest_that_nobody_has_seen() {
    use Severity::{Orange, Red, Yellow};
    let (mut engine, id) = active(3.0);
    feed(&mut engine, 1, Sample::Good(2.0));
    let lift = |severity| Act::Lift { severity, span: secs(600) };
    assert_eq!(act(&mut engine, &id, lift(Orange), 2), Err(Refusal::NotHigher), "orange is shown");
    act(&mut engine, &id, lift(Red), 3).unwrap();
    assert_eq!(grades(&engine), (Red, Red));
    engine.tick(at(700));
    assert_eq!(grades(&engine), (Orange, Yellow));
}

proptest! {
    /// Whatever comes: what is shown is never below what is measured, and while nobody has seen it, it never falls.
    #[test]
    fn what_is_shown_never_hides_what_was(values in prop::collection::vec((0_u8..5, any::<bool>()), 1..60)) {
        let mut engine = engine(&[colours()]);
        let mut before: Option<Alarm> = None;
        for (second, (value, seen)) in (0..).zip(values) {
            feed(&mut engine, second, Sample::Good(f64::from(value)));
            let open = engine.alarms().first().cloned();
            if let (Some(was), Some(is)) = (&before, &open) && was.id == is.id {
                prop_assert!(is.present() <= is.severity);
                prop_assert!(was.acknowledged.is_some() || was.severity <= is.severity, "{was:?} {is:?}");
            }
            if let Some(alarm) = open.filter(|_| seen) {
                let _ = engine.ack(&alarm.id, alarm.severity, "duty", None, at(second));
            }
            before = engine.alarms().first().cloned();
        }
    }
}
