//! All rules of a site at work: readings and time in, transitions and changed rule states out.
//!
//! In: readings in canonical units, `now`, persons' acts. Out: [`Transition`]s in order, rule states that changed.
//! Invariant: [`replay`] over all transitions gives [`Engine::alarms`]; the same calls give the same transitions; a reading without a number neither raises
//! nor clears. A reading that changes nothing costs no allocation and touches no timer.
//! Source: DESIGN sections 3 and 7.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use crate::alarm::condition::Entry;
use crate::alarm::condition::level::Step;
use crate::alarm::lifecycle::{Event, Refusal};
use crate::alarm::watch::{Cause, Gauge, Watch};
use crate::alarm::{Alarm, Base, Change, Condition, Rule, RuleState, Severity, Transition};
use crate::clock::Timestamp;
use crate::point::{Catalog, PointId};
use crate::reading::Reading;

/// A reading stamped further ahead than this is taken at the time of its arrival.
const AHEAD_MAX: Duration = Duration::from_secs(120);

/// All rules of a site at work.
///
/// ```
/// use std::time::Duration;
/// use lifeline_gateway::alarm::{Change, Condition, Kind, Rule, RuleId, Severity, engine::Engine};
/// use lifeline_gateway::{clock::Timestamp, point::{Catalog, PointId}};
/// let condition = Condition::Stale { after: Duration::from_secs(45), severity: Severity::Yellow, points: vec![PointId(0)] };
/// let rule = Rule { id: RuleId(0), name: "pump-stale".into(), version: "1".into(), point: PointId(0), kind: Kind::Sensor, condition,
///     advice: String::new(), basis: String::new(), latched: false };
/// let mut engine = Engine::new("nanan-01", vec![rule], &Catalog::default());
/// engine.tick(Timestamp::from_millis(0));
/// engine.tick(Timestamp::from_millis(45_001));
/// assert_eq!(engine.drain()[0].change, Change::Raised);
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    site: String,
    watches: Vec<Watch>,
    /// The watches that look at each point, by point number, each with the number of the point among the watch's inputs.
    routes: Vec<Vec<(usize, usize)>>,
    /// When to look at which silent device; a number that is heard moves nothing here, the timer looks again when it fires.
    timers: BinaryHeap<Reverse<(Timestamp, usize)>>,
    started: bool,
    out: Vec<Transition>,
    /// Watches whose rule state changed.
    changed: Vec<usize>,
    /// Names of rules that are gone and whose states are to be emptied.
    gone: Vec<String>,
}

impl Engine {
    /// Rules at rest. Silence is counted from the first call that brings a time.
    pub fn new(site: &str, rules: Vec<Rule>, catalog: &Catalog) -> Self {
        let mut routes = vec![Vec::new(); catalog.points.len()];
        for (index, rule) in rules.iter().enumerate() {
            for (slot, &point) in rule.points().iter().enumerate() {
                if let Some(route) = route_mut(&mut routes, point) {
                    route.push((index, slot));
                }
            }
        }
        let watches = rules.into_iter().map(|rule| Watch::new(site, rule, catalog)).collect();
        Self {
            site: site.to_owned(),
            watches,
            routes,
            timers: BinaryHeap::new(),
            started: false,
            out: Vec::new(),
            changed: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Takes back rule states of an earlier run, by rule name. Alarms neither rise again nor disappear; a rule that is gone closes its alarm; silence is counted
    /// from `now`. Delays under way go on when the next reading comes within `max_gap` of `last`, the time of that run's last commit
    /// (`None`: unknown, counts as a long gap).
    pub fn restore(&mut self, states: Vec<(String, RuleState)>, last: Option<Timestamp>, now: Timestamp) {
        let names: BTreeMap<String, usize> =
            self.watches.iter().enumerate().map(|(index, watch)| (watch.rule.name.clone(), index)).collect();
        for (name, state) in states {
            match names.get(&name).and_then(|&index| Some((index, self.watches.get_mut(index)?))) {
                Some((index, watch)) => {
                    watch.restore(state, last, now, &mut self.out);
                    list(&mut self.changed, index, watch);
                }
                None if state == RuleState::default() => {}
                None => {
                    self.out.extend(state.alarm.and_then(|alarm| removed(alarm, now)));
                    self.gone.push(name);
                }
            }
        }
        self.start(now);
    }

    /// Takes the rules of other documents. A rule that asks the same of the same point goes on as it is, delays under way and all; one that asks something else
    /// keeps its alarm; one that is gone closes its alarm; a new one begins at rest, with silence counted from `now`.
    pub fn reload(&mut self, rules: Vec<Rule>, catalog: &Catalog, now: Timestamp) {
        let fresh = Self::new(&self.site, rules, catalog);
        let watches = std::mem::replace(&mut self.watches, fresh.watches);
        self.routes = fresh.routes;
        let mut before: BTreeMap<String, Watch> =
            watches.into_iter().map(|watch| (watch.rule.name.clone(), watch)).collect();
        self.changed.clear();
        self.timers.clear();
        let Self { watches, timers, out, changed, started, .. } = self;
        for (index, watch) in watches.iter_mut().enumerate() {
            match before.remove(&watch.rule.name) {
                Some(old) => watch.succeed(old, now, out),
                None => {
                    if let Gauge::Stale(stale) = &mut watch.gauge {
                        stale.restart(now);
                    }
                }
            }
            watch.listed = false;
            list(changed, index, watch);
            if let Gauge::Stale(stale) = &watch.gauge
                && *started
                && !stale.raised
            {
                timers.push(Reverse((stale.due(), index)));
            }
        }
        for (name, watch) in before {
            let state = watch.save();
            self.out.extend(state.alarm.and_then(|alarm| removed(alarm, now)));
            self.gone.push(name);
        }
    }

    /// Takes one reading.
    pub fn reading(&mut self, reading: &Reading, now: Timestamp) {
        if !self.started {
            self.start(now);
        }
        let at = if reading.at > now.plus(AHEAD_MAX) { now } else { reading.at };
        let Self { watches, routes, timers, out, changed, .. } = self;
        for &(index, slot) in route(routes, reading.point) {
            let Some(watch) = watches.get_mut(index) else { continue };
            let cause = Cause { value: reading.sample.value(), ..Cause::plain(at, now) };
            match &mut watch.gauge {
                Gauge::Stale(stale) => {
                    if cause.value.is_some() && stale.hear(at, now) {
                        timers.push(Reverse((stale.due(), index)));
                        watch.follow(Cause::plain(at, now), out);
                        list(changed, index, watch);
                    }
                }
                Gauge::Threshold(gauge) => {
                    if !gauge.is_newest(at) {
                        continue;
                    }
                    match Entry::of(&reading.sample, gauge.direction) {
                        Entry::Whole(value) => {
                            let step = gauge.step(value, true, at);
                            measured(watch, step, cause, out);
                        }
                        Entry::Raise(value) => {
                            let step = gauge.step(value, false, at);
                            measured(watch, step, cause, out);
                        }
                        Entry::Ignored => {}
                        Entry::Frozen => {
                            watch.changed |= gauge.freeze(at);
                            watch.verify(Event::Bad, cause, out);
                        }
                    }
                    list(changed, index, watch);
                }
                Gauge::Measured(_) => {
                    watch.measure(slot, &reading.sample, cause, out);
                    list(changed, index, watch);
                }
            }
        }
    }

    /// Takes a reading of an earlier run into the memory of measures, oldest first; nothing is raised or cleared by it.
    pub fn recall(&mut self, reading: &Reading) {
        let Self { watches, routes, .. } = self;
        for &(index, slot) in route(routes, reading.point) {
            if let Some(Gauge::Measured(gauge)) = watches.get_mut(index).map(|watch| &mut watch.gauge) {
                gauge.recall(slot, reading.at, &reading.sample);
            }
        }
    }

    /// Fires every timer due by `now`, in order of (due, rule).
    pub fn tick(&mut self, now: Timestamp) {
        if !self.started {
            self.start(now);
        }
        while let Some(&Reverse((due, index))) = self.timers.peek() {
            if due > now {
                return;
            }
            self.timers.pop();
            let Some(watch) = self.watches.get_mut(index) else { continue };
            let Gauge::Stale(stale) = &mut watch.gauge else { continue };
            if stale.due() > due {
                self.timers.push(Reverse((stale.due(), index)));
                continue;
            }
            stale.raised = true;
            watch.follow(Cause::plain(due, now), &mut self.out);
            list(&mut self.changed, index, watch);
            self.silence(index, Cause::plain(due, now));
        }
    }

    /// When to call [`Engine::tick`] next; it may find that nothing is due yet. Before the first call with a time: at once.
    pub fn next_due(&self) -> Option<Timestamp> {
        if !self.started {
            return Some(Timestamp::default());
        }
        self.timers.peek().map(|&Reverse((due, _))| due)
    }

    /// A person has seen the alarm `id` at severity `seen`. The same person may say so twice.
    ///
    /// # Errors
    /// No open alarm has this id, its severity has risen since, somebody else was first.
    pub fn ack(
        &mut self,
        id: &str,
        seen: Severity,
        by: &str,
        note: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let (index, watch) = find(&mut self.watches, id).ok_or(Refusal::NoSuchAlarm)?;
        let cause = Cause { by: Some(by), note, ..Cause::plain(now, now) };
        let done = watch.acknowledge(seen, cause, &mut self.out);
        list(&mut self.changed, index, watch);
        done
    }

    /// A person ends the latched alarm `id`.
    ///
    /// # Errors
    /// No open alarm has this id, its condition still holds, nobody has acknowledged it, it does not latch.
    pub fn reset(&mut self, id: &str, by: &str, now: Timestamp) -> Result<(), Refusal> {
        let (index, watch) = find(&mut self.watches, id).ok_or(Refusal::NoSuchAlarm)?;
        let done = watch.feed(Event::Reset, Cause { by: Some(by), ..Cause::plain(now, now) }, &mut self.out);
        list(&mut self.changed, index, watch);
        done
    }

    /// The wall clock was stepped: all times under way move with it, so that delays and silences keep their length.
    pub fn shifted(&mut self, by_ms: i64) {
        for (index, watch) in self.watches.iter_mut().enumerate() {
            watch.shift(by_ms);
            list(&mut self.changed, index, watch);
        }
        let moved = |Reverse((due, index)): Reverse<(Timestamp, usize)>| Reverse((due.shifted(by_ms), index));
        self.timers = std::mem::take(&mut self.timers).into_iter().map(moved).collect();
    }

    /// Takes the transitions since the last call, in order.
    pub fn drain(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.out)
    }

    /// Takes the rule states that changed since the last call: the alarm, a delay or a reached level. A rule that is gone has the default state.
    pub fn dirty(&mut self) -> Vec<(String, RuleState)> {
        let mut states = Vec::with_capacity(self.changed.len() + self.gone.len());
        for index in self.changed.drain(..) {
            if let Some(watch) = self.watches.get_mut(index) {
                watch.changed = false;
                watch.listed = false;
                states.push((watch.rule.name.clone(), watch.save()));
            }
        }
        states.extend(self.gone.drain(..).map(|name| (name, RuleState::default())));
        states
    }

    /// The state of every rule, for a new engine after a reload.
    pub fn states(&self) -> Vec<(String, RuleState)> {
        self.watches.iter().map(|watch| (watch.rule.name.clone(), watch.save())).collect()
    }

    /// Alarms that are not closed, in the order of their rules.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.watches.iter().filter_map(|watch| watch.alarm.clone()).collect()
    }

    /// The gateway's name, as it stands in alarm ids.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Counts all silence from `now`.
    fn start(&mut self, now: Timestamp) {
        self.started = true;
        self.timers.clear();
        for (index, watch) in self.watches.iter_mut().enumerate() {
            if let Gauge::Stale(stale) = &mut watch.gauge {
                stale.restart(now);
                if !stale.raised {
                    self.timers.push(Reverse((stale.due(), index)));
                }
            }
        }
    }

    /// Alarms on the points of a silent device cannot be verified.
    fn silence(&mut self, index: usize, cause: Cause<'_>) {
        let Self { watches, routes, out, changed, .. } = self;
        let points = match watches.get(index).map(|watch| &watch.rule.condition) {
            Some(Condition::Stale { points, .. }) => points.clone(),
            Some(Condition::Threshold { .. } | Condition::Measured { .. }) | None => return,
        };
        for &(other, _) in points.iter().flat_map(|&point| route(routes, point)) {
            let Some(watch) = watches.get_mut(other) else { continue };
            if !matches!(watch.gauge, Gauge::Stale(_)) {
                watch.verify(Event::Bad, cause, out);
                list(changed, other, watch);
            }
        }
    }
}

/// Folds a log of transitions into the alarms that are open after it, by rule name: the alarm of each rule's last transition, unless its state is `normal`. Whatever
/// the change is called, an alarm is over exactly when its state is `normal`.
pub fn replay<'a>(transitions: impl IntoIterator<Item = &'a Transition>) -> BTreeMap<String, Alarm> {
    let mut open = BTreeMap::new();
    for Transition { alarm, .. } in transitions {
        if alarm.state == Base::Normal {
            open.remove(&alarm.rule);
        } else {
            open.insert(alarm.rule.clone(), alarm.clone());
        }
    }
    open
}

fn route(routes: &[Vec<(usize, usize)>], point: PointId) -> &[(usize, usize)] {
    usize::try_from(point.0).ok().and_then(|index| routes.get(index)).map_or(&[], Vec::as_slice)
}

fn route_mut(routes: &mut [Vec<(usize, usize)>], point: PointId) -> Option<&mut Vec<(usize, usize)>> {
    routes.get_mut(usize::try_from(point.0).ok()?)
}

fn find<'a>(watches: &'a mut [Watch], id: &str) -> Option<(usize, &'a mut Watch)> {
    let has = |watch: &Watch| watch.alarm.as_ref().is_some_and(|alarm| alarm.id == id);
    watches.iter_mut().enumerate().find(|(_, watch)| has(watch))
}

/// What follows from a number that entered.
fn measured(watch: &mut Watch, step: Step, cause: Cause<'_>, out: &mut Vec<Transition>) {
    if step == Step::Calm {
        return;
    }
    watch.changed |= step == Step::Moved;
    watch.verify(Event::Good, cause, out);
    watch.follow(cause, out);
}

fn list(changed: &mut Vec<usize>, index: usize, watch: &mut Watch) {
    if watch.changed && !watch.listed {
        watch.listed = true;
        changed.push(index);
    }
}

fn removed(alarm: Alarm, now: Timestamp) -> Option<Transition> {
    let open = alarm.state != Base::Normal;
    let alarm = Alarm { state: Base::Normal, ..alarm };
    let note = Some("rule removed".to_owned());
    open.then_some(Transition { alarm, change: Change::Closed, at: now, by: None, note })
}
