//! All rules of a site over their readings: states, timers, transitions.
//!
//! In: readings in time order per point, time, people's acts. Out: transitions, and rule states to keep.
//! Invariant: for each rule, the open alarm is the `alarm` of its last transition ([`replay`]); the same events give
//! the same transitions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::alarm::condition::Threshold;
use crate::alarm::lifecycle::{Refused, Step, next};
use crate::alarm::{Alarm, Base, Change, Condition, Rule, RuleState, Severity, Transition};
use crate::clock::Timestamp;
use crate::point::{Catalog, PointId};
use crate::reading::{Reading, Sample};

/// An alarm that comes back within this time is the same occurrence.
const SAME_OCCURRENCE: Duration = Duration::from_secs(600);

/// Names that an alarm carries.
#[derive(Clone, Debug)]
struct Names {
    point: String,
    risk_point: Option<String>,
    town: Option<String>,
    unit: Option<String>,
}

/// See the module.
pub struct Engine {
    site: String,
    rules: Vec<Rule>,
    names: Vec<Names>,
    states: Vec<RuleState>,
    /// Rules by point: thresholds, and the stale rules that a number of the point keeps quiet.
    by_point: Vec<Vec<usize>>,
    stale: Vec<usize>,
    changed: BTreeSet<usize>,
    out: Vec<Transition>,
}

impl Engine {
    /// All rules quiet. Stale rules count from the first `restore` or `tick`.
    pub fn new(site: &str, rules: Vec<Rule>, catalog: &Catalog) -> Self {
        let mut by_point = vec![Vec::new(); catalog.points.len()];
        let mut stale = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let points: &[PointId] = match &rule.condition {
                Condition::Threshold { .. } => std::slice::from_ref(&rule.point),
                Condition::Stale { points, .. } => {
                    stale.push(index);
                    points
                }
            };
            for point in points {
                if let Some(list) = by_point.get_mut(usize::try_from(point.0).unwrap_or(usize::MAX)) {
                    list.push(index);
                }
            }
        }
        let names = rules.iter().map(|rule| names(rule, catalog)).collect();
        let states = vec![RuleState::default(); rules.len()];
        Self {
            site: site.to_owned(),
            rules,
            names,
            states,
            by_point,
            stale,
            changed: BTreeSet::new(),
            out: Vec::new(),
        }
    }

    /// Takes the states of an earlier run. Delays in progress go on only if the next reading comes within the rule's `max_gap` of `last`
    /// (the time of the last commit; `None` counts as a long gap). An alarm whose rule is gone is closed.
    pub fn restore(&mut self, states: Vec<(String, RuleState)>, last: Option<Timestamp>, now: Timestamp) {
        for (name, mut state) in states {
            let Some(index) = self.rules.iter().position(|rule| rule.name == name) else {
                if let Some(mut alarm) = state.alarm {
                    alarm.state = Base::Normal;
                    let note = Some("the rule was removed".to_owned());
                    self.out.push(Transition { alarm, change: Change::Closed, at: now, by: None, note });
                }
                continue;
            };
            match last {
                Some(last) => state.last = state.last.map(|_| last),
                None => {
                    state.raising.fill(None);
                    state.clearing.fill(None);
                }
            }
            if let Some(slot) = self.states.get_mut(index) {
                *slot = state;
            }
        }
        for index in self.stale.clone() {
            if let Some(state) = self.states.get_mut(index) {
                state.last = Some(now);
            }
        }
    }

    /// Takes one reading in.
    pub fn reading(&mut self, reading: &Reading, now: Timestamp) {
        let place = usize::try_from(reading.point.0).unwrap_or(usize::MAX);
        let Some(rules) = self.by_point.get_mut(place) else { return };
        let rules = std::mem::take(rules);
        for index in &rules {
            self.rule_reading(*index, reading, now);
        }
        if let Some(slot) = self.by_point.get_mut(place) {
            *slot = rules;
        }
    }

    fn rule_reading(&mut self, index: usize, reading: &Reading, now: Timestamp) {
        let (Some(rule), Some(state)) = (self.rules.get(index), self.states.get_mut(index)) else { return };
        match &rule.condition {
            Condition::Threshold { direction, levels, deadband, max_gap } => {
                let threshold =
                    Threshold { direction: *direction, levels, deadband: *deadband, max_gap: *max_gap };
                let bad = matches!(reading.sample, Sample::Bad(_));
                if let Some(alarm) = state.alarm.as_mut().filter(|alarm| alarm.unverified != bad) {
                    alarm.unverified = bad;
                    let change = if bad { Change::Unverified } else { Change::Verified };
                    self.out.push(Transition { alarm: alarm.clone(), change, at: now, by: None, note: None });
                    self.changed.insert(index);
                }
                if threshold.step(state, &reading.sample, reading.at) {
                    let severity = threshold.severity(state);
                    self.changed.insert(index);
                    self.settle(index, severity, reading.sample.value(), now);
                }
            }
            Condition::Stale { .. } => {
                if reading.sample.value().is_some() {
                    state.last = state.last.max(Some(reading.at));
                    if state.reached.first() == Some(&true) {
                        state.reached = vec![false];
                        self.changed.insert(index);
                        self.settle(index, None, None, now);
                    }
                }
            }
        }
    }

    /// Fires every timer due by `now`, in order of (due, rule).
    pub fn tick(&mut self, now: Timestamp) {
        let mut due: Vec<(Timestamp, usize)> = Vec::new();
        for index in &self.stale {
            let Some(state) = self.states.get_mut(*index) else { continue };
            let last = *state.last.get_or_insert(now);
            if let Some(at) = stale_due(self.rules.get(*index), state, last).filter(|at| *at <= now) {
                due.push((at, *index));
            }
        }
        due.sort_unstable();
        for (_, index) in due {
            let (Some(rule), Some(state)) = (self.rules.get(index), self.states.get_mut(index)) else {
                continue;
            };
            let Condition::Stale { severity, .. } = rule.condition else { continue };
            state.reached = vec![true];
            self.changed.insert(index);
            self.settle(index, Some((severity, f64::NAN)), None, now);
        }
    }

    /// When the next timer is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = |index: &usize| {
            let state = self.states.get(*index)?;
            stale_due(self.rules.get(*index), state, state.last?)
        };
        self.stale.iter().filter_map(due).min()
    }

    /// A person acknowledges the alarm `id`, having seen `seen`.
    ///
    /// # Errors
    /// A sentence for that person: no such alarm, its severity rose since, nothing to acknowledge.
    pub fn ack(
        &mut self,
        id: &str,
        seen: Severity,
        by: &str,
        note: Option<&str>,
        now: Timestamp,
    ) -> Result<(), String> {
        let index = self.open(id)?;
        let alarm = self.states.get(index).and_then(|state| state.alarm.as_ref()).ok_or("no such alarm")?;
        if seen < alarm.severity {
            return Err(format!(
                "changed: the alarm is {:?} now, and you saw {seen:?}; look again",
                alarm.severity
            ));
        }
        if alarm.acknowledged.as_ref().is_some_and(|(who, _)| who == by) {
            return Ok(());
        }
        self.act(index, Step::Acknowledge, by, note, now)
    }

    /// A person resets the latched alarm `id`.
    ///
    /// # Errors
    /// A sentence for that person: no such alarm, still active, not acknowledged.
    pub fn reset(&mut self, id: &str, by: &str, now: Timestamp) -> Result<(), String> {
        let index = self.open(id)?;
        self.act(index, Step::Reset, by, None, now)
    }

    fn open(&self, id: &str) -> Result<usize, String> {
        let is = |state: &RuleState| state.alarm.as_ref().is_some_and(|alarm| alarm.id == id);
        self.states.iter().position(is).ok_or_else(|| format!("no open alarm has the id `{id}`"))
    }

    fn act(
        &mut self,
        index: usize,
        step: Step,
        by: &str,
        note: Option<&str>,
        now: Timestamp,
    ) -> Result<(), String> {
        let latched = self.rules.get(index).is_some_and(|rule| rule.latched);
        let state = self.states.get_mut(index).ok_or("no such alarm")?;
        let alarm = state.alarm.as_mut().ok_or("no such alarm")?;
        let (to, change) = next(alarm.state, step, latched).map_err(|refused| match refused {
            Refused::Nothing => "there is nothing to acknowledge".to_owned(),
            Refused::Already => "it is acknowledged already".to_owned(),
            Refused::Active => "its condition still holds".to_owned(),
            Refused::AcknowledgeFirst => "acknowledge it first".to_owned(),
        })?;
        alarm.state = to;
        if step == Step::Acknowledge {
            alarm.acknowledged = Some((by.to_owned(), now));
        }
        if let Some(change) = change {
            let note = note.map(str::to_owned);
            self.out.push(Transition {
                alarm: alarm.clone(),
                change,
                at: now,
                by: Some(by.to_owned()),
                note,
            });
        }
        // A returned alarm is kept through the window of the same occurrence only while nobody has seen it.
        if to == Base::Normal {
            state.alarm = None;
        }
        self.changed.insert(index);
        Ok(())
    }

    /// Brings the alarm of a rule to the level that its condition has reached.
    fn settle(&mut self, index: usize, level: Option<(Severity, f64)>, value: Option<f64>, now: Timestamp) {
        let (Some(rule), Some(names), Some(state)) =
            (self.rules.get(index), self.names.get(index), self.states.get_mut(index))
        else {
            return;
        };
        let threshold = |limit: f64| (!limit.is_nan()).then_some(limit);
        let active =
            |alarm: &Alarm| matches!(alarm.state, Base::ActiveUnacknowledged | Base::ActiveAcknowledged);
        if let Some((severity, limit)) = level {
            let fresh = state
                .alarm
                .as_ref()
                .is_none_or(|alarm| !active(alarm) && SAME_OCCURRENCE < now.since(alarm.since));
            if fresh {
                state.alarm = Some(new_alarm(&self.site, rule, names, severity, now));
            }
            let Some(alarm) = state.alarm.as_mut() else { return };
            let step = match (active(alarm), alarm.severity.cmp(&severity)) {
                (false, _) => Step::Raise,
                (true, std::cmp::Ordering::Less) => Step::Rise,
                (true, std::cmp::Ordering::Greater) => Step::Fall,
                (true, std::cmp::Ordering::Equal) => return,
            };
            (alarm.severity, alarm.threshold, alarm.value) = (severity, threshold(limit), value);
            if matches!(step, Step::Raise | Step::Rise) {
                alarm.acknowledged = None;
            }
            advance(state, step, rule.latched, now, &mut self.out);
        } else if let Some(alarm) = state.alarm.as_mut().filter(|alarm| active(alarm)) {
            alarm.value = value;
            advance(state, Step::Clear, rule.latched, now, &mut self.out);
        }
    }

    /// The wall clock was stepped: every moment in progress moves with it.
    pub fn shifted(&mut self, by_ms: i64) {
        let shift = |at: &mut Option<Timestamp>| *at = at.map(|at| at.shifted(by_ms));
        for state in &mut self.states {
            shift(&mut state.last);
            state.raising.iter_mut().chain(&mut state.clearing).for_each(shift);
        }
    }

    /// Transitions since the last call.
    pub fn drain(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.out)
    }

    /// States of the rules whose alarm, delay in progress or reached level changed since the last call.
    pub fn dirty(&mut self) -> Vec<(String, RuleState)> {
        let changed = std::mem::take(&mut self.changed);
        let of = |index: usize| Some((self.rules.get(index)?.name.clone(), self.states.get(index)?.clone()));
        changed.into_iter().filter_map(of).collect()
    }

    /// Alarms that are not closed.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.states.iter().filter_map(|state| state.alarm.clone()).collect()
    }
}

/// Folds a log into the open alarms, by rule name.
pub fn replay<'a>(log: impl IntoIterator<Item = &'a Transition>) -> BTreeMap<String, Alarm> {
    let mut open = BTreeMap::new();
    for transition in log {
        let alarm = &transition.alarm;
        if alarm.state == Base::Normal {
            open.remove(&alarm.rule);
        } else {
            open.insert(alarm.rule.clone(), alarm.clone());
        }
    }
    open
}

fn advance(state: &mut RuleState, step: Step, latched: bool, now: Timestamp, out: &mut Vec<Transition>) {
    let Some(alarm) = state.alarm.as_mut() else { return };
    let Ok((to, Some(change))) = next(alarm.state, step, latched) else { return };
    alarm.state = to;
    out.push(Transition { alarm: alarm.clone(), change, at: now, by: None, note: None });
    if to == Base::Normal {
        state.alarm = None;
    }
}

fn stale_due(rule: Option<&Rule>, state: &RuleState, last: Timestamp) -> Option<Timestamp> {
    let Condition::Stale { after, .. } = rule?.condition else { return None };
    (state.reached.first() != Some(&true)).then(|| last.plus(after).plus(Duration::from_millis(1)))
}

fn names(rule: &Rule, catalog: &Catalog) -> Names {
    let point = catalog.point(rule.point);
    let device = point.and_then(|point| catalog.device(point.device));
    let stale = matches!(rule.condition, Condition::Stale { .. });
    Names {
        point: point.map(|point| point.name.clone()).unwrap_or_default(),
        risk_point: device.and_then(|device| device.risk_point.clone()),
        town: device.and_then(|device| device.town.clone()),
        unit: point.and_then(|point| point.unit).filter(|_| !stale).map(|unit| unit.name().to_owned()),
    }
}

fn new_alarm(site: &str, rule: &Rule, names: &Names, severity: Severity, now: Timestamp) -> Alarm {
    Alarm {
        id: id(site, &rule.name, &names.point, now),
        kind: rule.kind,
        rule: rule.name.clone(),
        rule_version: rule.version.clone(),
        point: names.point.clone(),
        risk_point: names.risk_point.clone(),
        town: names.town.clone(),
        severity,
        state: Base::Normal,
        unverified: false,
        since: now,
        value: None,
        threshold: None,
        unit: names.unit.clone(),
        advice: rule.advice.clone(),
        acknowledged: None,
    }
}

/// An occurrence's id: a replay and a second gateway derive the same one.
fn id(site: &str, rule: &str, point: &str, raised: Timestamp) -> String {
    let text = format!("{site}\0{rule}\0{point}\0{}", raised.as_millis());
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
