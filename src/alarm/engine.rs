//! All rules of a site at work: readings and time in, transitions and changed rule states out.
//!
//! In: readings in canonical units, `now`, persons' acts. Out: [`Transition`]s in order, rule states that changed.
//! Invariant: [`replay`] over all transitions gives [`Engine::alarms`]; the same calls give the same transitions; a reading without a number neither raises
//! nor clears. A reading that changes nothing costs no allocation and touches no timer.
//! Source: DESIGN sections 3 and 7.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use crate::alarm::condition::level::Step;
use crate::alarm::condition::{Entry, Judged};
use crate::alarm::drill::Drills;
use crate::alarm::lifecycle::{Event, Refusal};
use crate::alarm::load::Load;
use crate::alarm::settle::{Deadlines, list};
use crate::alarm::watch::{Cause, Gauge, Watch};
use crate::alarm::{Alarm, Base, Condition, Rule, RuleState, Severity, Transition};
use crate::clock::Timestamp;
use crate::point::{Catalog, PointId};
use crate::reading::{Reading, Sample};

/// A reading stamped further ahead than this is taken at the time of its arrival.
pub(crate) const AHEAD_MAX: Duration = Duration::from_secs(120);

/// All rules of a site at work.
///
/// ```
/// use std::time::Duration;
/// use lifeline_gateway::alarm::{Change, Condition, Kind, Rule, RuleId, Severity, engine::Engine};
/// use lifeline_gateway::{clock::Timestamp, point::{Catalog, PointId}};
/// let condition = Condition::Stale { after: Duration::from_secs(45), severity: Severity::Yellow, points: vec![PointId(0)], max_gap: Duration::from_secs(15) };
/// let rule = Rule { id: RuleId(0), name: "pump-stale".into(), version: "1".into(), point: PointId(0), kind: Kind::Sensor, condition,
///     advice: String::new(), basis: String::new(), latched: false, guide: Default::default(), bonds: Default::default() };
/// let mut engine = Engine::new("nanan-01", vec![rule], &Catalog::default());
/// engine.tick(Timestamp::from_millis(0));
/// engine.tick(Timestamp::from_millis(45_001));
/// assert_eq!(engine.drain()[0].change, Change::Raised);
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) site: String,
    pub(crate) watches: Vec<Watch>,
    /// The watches that look at each point, by point number, each with the number of the point among the watch's inputs.
    pub(crate) routes: Vec<Vec<(usize, usize)>>,
    /// When to look at which silent device; a number that is heard moves nothing here, the timer looks again when it fires.
    pub(crate) timers: BinaryHeap<Reverse<(Timestamp, usize)>>,
    pub(crate) started: bool,
    pub(crate) out: Vec<Transition>,
    /// Watches whose rule state changed.
    pub(crate) changed: Vec<usize>,
    /// Names of rules that are gone and whose states are to be emptied.
    pub(crate) gone: Vec<String>,
    /// When to look at which overlay, chatter or doubt; an entry that is not the watch's registered one is void.
    pub(crate) deadlines: Deadlines,
    /// The watches that a rule's alarm explains, by rule name.
    pub(crate) explains: BTreeMap<String, Vec<usize>>,
    /// The watches that a point may suppress.
    pub(crate) hides: BTreeMap<PointId, Vec<usize>>,
    pub(crate) drills: Drills,
    pub(crate) load: Load,
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
        let mut explains: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut hides: BTreeMap<PointId, Vec<usize>> = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            for cause in rule.bonds.causes.iter().filter_map(|id| rules.iter().find(|rule| rule.id == *id)) {
                explains.entry(cause.name.clone()).or_default().push(index);
            }
            if let Some(suppress) = &rule.bonds.suppress {
                hides.entry(suppress.point).or_default().push(index);
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
            deadlines: BinaryHeap::new(),
            explains,
            hides,
            drills: Drills::default(),
            load: Load::default(),
        }
    }

    /// Takes one reading.
    pub fn reading(&mut self, reading: &Reading, now: Timestamp) {
        if !self.started {
            self.start(now);
        }
        let from = self.out.len();
        let at = if reading.at > now.plus(AHEAD_MAX) { now } else { reading.at };
        if !self.hides.is_empty() {
            self.hide(reading, Cause::plain(at, now));
        }
        let Self { watches, routes, timers, out, changed, deadlines, .. } = self;
        for &(index, slot) in route(routes, reading.point) {
            let Some(watch) = watches.get_mut(index) else { continue };
            let cause = Cause { value: reading.sample.value(), ..Cause::plain(at, now) };
            match &mut watch.gauge {
                Gauge::Stale(_) => {
                    let due = cause.value.and_then(|_| watch.hear(at, now, out));
                    timers.extend(due.map(|due| Reverse((due, index))));
                    list(changed, deadlines, index, watch);
                }
                Gauge::Threshold(gauge) => {
                    if !gauge.is_newest(at) {
                        continue;
                    }
                    if let Sample::Good(value) = &reading.sample {
                        watch.trend.push(at, *value);
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
                    list(changed, deadlines, index, watch);
                }
                Gauge::Measured(_) => {
                    watch.measure(slot, &reading.sample, cause, out);
                    list(changed, deadlines, index, watch);
                }
            }
        }
        if from < self.out.len() {
            self.settle(from, now);
        }
    }

    /// Fires every timer due by `now`, in order of (due, rule).
    pub fn tick(&mut self, now: Timestamp) {
        if !self.started {
            self.start(now);
        }
        let from = self.out.len();
        loop {
            let silent = self.timers.peek().map(|&Reverse((due, index))| (due, index, false));
            let other = self.deadlines.peek().map(|&Reverse((due, index))| (due, index, true));
            let first = [silent, other].into_iter().flatten().min();
            match first.filter(|(due, ..)| *due <= now) {
                Some((due, index, false)) => self.silent(due, index, now),
                Some((due, index, true)) => self.fire(due, index, now),
                None => break,
            }
        }
        while let Some((_, name)) = self.drills.due().filter(|(due, _)| *due <= now) {
            let note = Some("the drill is over");
            self.drills.end(&name, Cause { note, ..Cause::plain(now, now) }, &mut self.out);
        }
        if self.load.due().is_some_and(|due| due <= now) {
            self.load.look(now);
        }
        self.settle(from, now);
    }

    /// Looks at a device that may be silent.
    fn silent(&mut self, due: Timestamp, index: usize, now: Timestamp) {
        self.timers.pop();
        let Some(watch) = self.watches.get_mut(index) else { return };
        let Gauge::Stale(stale) = &mut watch.gauge else { return };
        if stale.due() > due {
            self.timers.push(Reverse((stale.due(), index)));
            return;
        }
        stale.silent = true;
        // Who spoke only now and then has its alarm already.
        watch.changed = true;
        let from = self.out.len();
        watch.follow(Cause::plain(due, now), &mut self.out);
        list(&mut self.changed, &mut self.deadlines, index, watch);
        self.silence(index, Cause::plain(due, now));
        self.spread(from, now);
    }

    /// Lets a watch do what is due.
    fn fire(&mut self, due: Timestamp, index: usize, now: Timestamp) {
        self.deadlines.pop();
        let Some(watch) = self.watches.get_mut(index).filter(|watch| watch.registered == Some(due)) else {
            return;
        };
        watch.registered = None;
        watch.fire(now, &mut self.out);
        self.touched(index);
    }

    /// When to call [`Engine::tick`] next; it may find that nothing is due yet. Before the first call with a time: at once.
    pub fn next_due(&self) -> Option<Timestamp> {
        if !self.started {
            return Some(Timestamp::default());
        }
        let heads = [&self.timers, &self.deadlines].map(|heap| heap.peek().map(|&Reverse((due, _))| due));
        let drill = self.drills.due().map(|(due, _)| due);
        heads.into_iter().chain([drill, self.load.due()]).flatten().min()
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
        let from = self.out.len();
        let cause = Cause { by: Some(by), note, ..Cause::plain(now, now) };
        if let Some(drill) = self.drills.find(id) {
            return self.drills.acknowledge(&drill, seen, cause, &mut self.out);
        }
        let (index, watch) = find(&mut self.watches, id).ok_or(Refusal::NoSuchAlarm)?;
        let done = watch.acknowledge(seen, cause, &mut self.out);
        list(&mut self.changed, &mut self.deadlines, index, watch);
        self.settle(from, now);
        done
    }

    /// The wall clock was stepped: all times under way move with it, so that delays and silences keep their length.
    pub fn shifted(&mut self, by_ms: i64) {
        for (index, watch) in self.watches.iter_mut().enumerate() {
            watch.shift(by_ms);
            list(&mut self.changed, &mut self.deadlines, index, watch);
        }
        let moved = |Reverse((due, index)): Reverse<(Timestamp, usize)>| Reverse((due.shifted(by_ms), index));
        self.timers = std::mem::take(&mut self.timers).into_iter().map(moved).collect();
        self.deadlines.clear();
        self.watches.iter_mut().for_each(|watch| watch.registered = None);
        (0..self.watches.len()).for_each(|index| self.touched(index));
        self.load.shift(by_ms);
        self.drills.shift(by_ms);
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
        states.extend(self.drills.dirty());
        states.extend(self.gone.drain(..).map(|name| (name, RuleState::default())));
        states
    }

    /// The state of every rule, for a new engine after a reload.
    pub fn states(&self) -> Vec<(String, RuleState)> {
        let rules = self.watches.iter().map(|watch| (watch.rule.name.clone(), watch.save()));
        rules.chain(self.drills.states()).collect()
    }

    /// Alarms that are not closed, in the order of their rules.
    pub fn alarms(&self) -> Vec<Alarm> {
        let real = self.watches.iter().filter_map(|watch| watch.alarm.as_ref());
        real.chain(self.drills.alarms()).cloned().collect()
    }

    /// What rules with an open alarm made of their readings last, by rule name.
    pub fn judged(&self) -> BTreeMap<String, Judged> {
        let open = self.watches.iter().filter(|watch| watch.alarm.is_some());
        open.filter_map(|watch| Some((watch.rule.name.clone(), watch.judged?))).collect()
    }

    /// The gateway's name, as it stands in alarm ids.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Counts all silence from `now`.
    pub(crate) fn start(&mut self, now: Timestamp) {
        self.started = true;
        self.timers.clear();
        for (index, watch) in self.watches.iter_mut().enumerate() {
            if let Gauge::Stale(stale) = &mut watch.gauge {
                stale.restart(now);
                if !stale.silent {
                    self.timers.push(Reverse((stale.due(), index)));
                }
            }
        }
    }

    /// Alarms on the points of a silent device cannot be verified.
    fn silence(&mut self, index: usize, cause: Cause<'_>) {
        let Self { watches, routes, out, changed, deadlines, .. } = self;
        let points = match watches.get(index).map(|watch| &watch.rule.condition) {
            Some(Condition::Stale { points, .. }) => points.clone(),
            Some(Condition::Threshold { .. } | Condition::Measured { .. }) | None => return,
        };
        for &(other, _) in points.iter().flat_map(|&point| route(routes, point)) {
            let Some(watch) = watches.get_mut(other) else { continue };
            if !matches!(watch.gauge, Gauge::Stale(_)) {
                watch.verify(Event::Bad, cause, out);
                list(changed, deadlines, other, watch);
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

pub(crate) fn route(routes: &[Vec<(usize, usize)>], point: PointId) -> &[(usize, usize)] {
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
    if step == Step::Calm && !watch.chatter.holds() {
        return;
    }
    watch.changed |= step == Step::Moved;
    watch.verify(Event::Good, cause, out);
    watch.follow(cause, out);
}
