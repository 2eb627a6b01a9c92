//! One rule at work: its gauge, its alarm, and the names that the alarm carries.
//!
//! In: what the gauge reached, what persons do, what became of the input. Out: [`Transition`]s.
//! Invariant: the alarm changes only together with a transition that holds it as it is then, so that a log of transitions gives the open alarms.
//! Source: the lifecycle decides each change; ids as in DESIGN section 7.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::alarm::condition::Entry;
use crate::alarm::condition::level::{Step, Threshold};
use crate::alarm::condition::measure::Gauged;
use crate::alarm::condition::stale::Stale;
use crate::alarm::lifecycle::{Event, Next, RERAISE_WINDOW, Refusal, next};
use crate::alarm::{Alarm, Base, Change, Condition, Rule, RuleState, Severity, Transition};
use crate::clock::Timestamp;
use crate::point::Catalog;
use crate::reading::Sample;

/// What a rule measures with.
#[derive(Clone, Debug)]
pub(crate) enum Gauge {
    Threshold(Threshold),
    Measured(Box<Gauged>),
    Stale(Stale),
}

/// Why something happens to an alarm, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause<'a> {
    /// The time of the reading or timer.
    pub(crate) at: Timestamp,
    /// The core's time.
    pub(crate) now: Timestamp,
    pub(crate) value: Option<f64>,
    pub(crate) by: Option<&'a str>,
    pub(crate) note: Option<&'a str>,
}

impl Cause<'_> {
    /// Neither a number nor a person.
    pub(crate) const fn plain(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now, value: None, by: None, note: None }
    }
}

/// One rule at work.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) rule: Rule,
    pub(crate) gauge: Gauge,
    pub(crate) alarm: Option<Alarm>,
    /// Its rule state has changed since it was last asked for.
    pub(crate) changed: bool,
    /// It stands in the engine's list of changed ones.
    pub(crate) listed: bool,
    site: String,
    point: String,
    risk_point: Option<String>,
    town: Option<String>,
    unit: Option<String>,
    /// When the condition of the open alarm went.
    returned: Option<Timestamp>,
}

impl Watch {
    pub(crate) fn new(site: &str, rule: Rule, catalog: &Catalog) -> Self {
        let gauge = match &rule.condition {
            Condition::Threshold { direction, levels, deadband, max_gap } => {
                Gauge::Threshold(Threshold::new(*direction, levels, *deadband, *max_gap))
            }
            Condition::Measured { measured, inputs } => {
                Gauge::Measured(Box::new(Gauged::new(measured, inputs.len())))
            }
            Condition::Stale { after, severity, .. } => Gauge::Stale(Stale::new(*after, *severity)),
        };
        let point = catalog.point(rule.point);
        let device = point.and_then(|point| catalog.device(point.device));
        let unit = match &rule.condition {
            Condition::Threshold { .. } => {
                point.and_then(|point| point.unit).map(|unit| unit.name().to_owned())
            }
            Condition::Measured { measured, .. } => measured.unit.clone(),
            Condition::Stale { .. } => None,
        };
        Self {
            site: site.to_owned(),
            point: point.map(|point| point.name.clone()).unwrap_or_default(),
            risk_point: device.and_then(|device| device.risk_point.clone()),
            town: device.and_then(|device| device.town.clone()),
            unit,
            rule,
            gauge,
            alarm: None,
            returned: None,
            changed: false,
            listed: false,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.alarm.as_ref().is_some_and(|alarm| alarm.state.is_active())
    }

    /// Brings the alarm to where the gauge is.
    pub(crate) fn follow(&mut self, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let active = self.alarm.as_ref().filter(|alarm| alarm.state.is_active());
        let event = match (active.map(|alarm| alarm.severity), self.reached()) {
            (None, None) => return,
            (None, Some(_)) => Event::Raise { recent: self.returned_recently(cause.at) },
            (Some(_), None) => Event::Clear { latched: self.rule.latched },
            (Some(was), Some((is, _))) if is > was => Event::Escalate,
            (Some(was), Some((is, _))) if is < was => Event::Deescalate,
            (Some(_), Some(_)) => return,
        };
        // A gauge makes no person's event, so there is no refusal.
        let _ = self.feed(event, cause, out);
    }

    /// Takes a sample of the input `slot` into the measure, and follows it.
    pub(crate) fn measure(
        &mut self,
        slot: usize,
        sample: &Sample,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) {
        let Gauge::Measured(gauge) = &mut self.gauge else { return };
        if !gauge.is_newest(slot, cause.at) {
            return;
        }
        let at = gauge.time(cause.at);
        let entry = gauge.take(slot, at, sample);
        let Some((value, may_clear)) = entry.number() else {
            if entry == Entry::Frozen {
                self.changed |= gauge.gauge.freeze(at);
                self.verify(Event::Bad, Cause { at, value: None, ..cause }, out);
            }
            return;
        };
        let step = gauge.gauge.step(value, may_clear, at);
        if step == Step::Calm {
            return;
        }
        let (value, note) = (gauge.shown(value), gauge.says());
        let cause = Cause { at, value, note: note.as_deref(), ..cause };
        self.changed |= step == Step::Moved;
        self.verify(Event::Good, cause, out);
        self.follow(cause, out);
    }

    /// Marks an active alarm whose input is bad or silent, or takes the mark away.
    pub(crate) fn verify(&mut self, event: Event, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let marked = self.alarm.as_ref().is_some_and(|alarm| alarm.unverified);
        if self.is_active() && marked != (event == Event::Bad) {
            // The input's quality is never refused.
            let _ = self.feed(event, cause, out);
        }
    }

    /// A person has seen the alarm at the severity `seen`.
    pub(crate) fn acknowledge(
        &mut self,
        seen: Severity,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let Some(alarm) = &self.alarm else { return Err(Refusal::NoSuchAlarm) };
        if alarm.severity > seen {
            return Err(Refusal::Changed);
        }
        let before = alarm.acknowledged.as_ref().map(|(by, _)| by.as_str());
        if before.is_some() && before == cause.by {
            return Ok(());
        }
        self.feed(Event::Acknowledge, cause, out)
    }

    /// Feeds one event to the lifecycle and logs what it changes.
    pub(crate) fn feed(
        &mut self,
        event: Event,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        match next(self.alarm.as_ref().map(|alarm| alarm.state).unwrap_or_default(), event) {
            Next::Same => {}
            Next::Refused(refusal) => return Err(refusal),
            Next::New => {
                self.close("raised again", cause.now, out);
                self.alarm = self.occurrence(cause);
                self.log(Change::Raised, cause, out);
            }
            Next::To(state, change) => {
                self.turn(state, change, cause);
                self.log(change, cause, out);
            }
        }
        Ok(())
    }

    /// Ends an open alarm for a reason that is neither the condition nor a person.
    pub(crate) fn close(&mut self, note: &str, now: Timestamp, out: &mut Vec<Transition>) {
        if let Some(alarm) = &mut self.alarm {
            alarm.state = Base::Normal;
            self.log(Change::Closed, Cause { note: Some(note), ..Cause::plain(now, now) }, out);
        }
    }

    /// Takes back what an earlier run kept.
    pub(crate) fn restore(
        &mut self,
        state: RuleState,
        last: Option<Timestamp>,
        now: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        let version = state.alarm.as_ref().map_or("", |alarm| &alarm.rule_version);
        let same = if state.version.is_empty() { version } else { &state.version } == self.rule.version;
        self.alarm = state.alarm.clone().filter(|alarm| alarm.state != Base::Normal);
        self.returned = state.returned.filter(|&returned| returned <= now);
        self.changed |= state.version != self.rule.version && state != RuleState::default();
        let moved = self.alarm.as_ref().is_some_and(|alarm| alarm.point != self.point);
        if moved {
            self.close("the rule looks at another point", now, out);
        }
        let active = self.alarm.as_ref().filter(|alarm| alarm.state.is_active()).map(|alarm| alarm.severity);
        match &mut self.gauge {
            Gauge::Threshold(gauge) => gauge.restore(&state, active, same && !moved, last, now),
            Gauge::Measured(gauge) => gauge.restore(&state, active, same && !moved, last, now),
            Gauge::Stale(gauge) => gauge.raised = active.is_some(),
        }
        // What was given up here must not come back with the next restart.
        let saved = self.save();
        self.changed |=
            (saved.raising, saved.clearing, saved.reached) != (state.raising, state.clearing, state.reached);
    }

    /// Goes on for `old`, the rule of the same name in the documents before. The same question of the same point is the same rule at work, whatever else is
    /// written of it now. Another question keeps the alarm, and those delays whose thresholds are as they were.
    pub(crate) fn succeed(&mut self, old: Self, now: Timestamp, out: &mut Vec<Transition>) {
        if old.rule.version == self.rule.version && old.point == self.point {
            let new = std::mem::replace(self, old);
            self.rule = new.rule;
            (self.risk_point, self.town, self.unit) = (new.risk_point, new.town, new.unit);
            return;
        }
        self.restore(old.save(), Some(now), now, out);
        if old.point == self.point {
            match (&mut self.gauge, &old.gauge) {
                (Gauge::Threshold(gauge), Gauge::Threshold(old)) => gauge.succeed(old),
                (Gauge::Stale(gauge), Gauge::Stale(old)) => gauge.succeed(old),
                (Gauge::Measured(gauge), Gauge::Measured(old)) => gauge.succeed(old),
                _ => {}
            }
        }
        self.changed = true;
    }

    /// What is kept over a restart.
    pub(crate) fn save(&self) -> RuleState {
        let mut state = RuleState {
            alarm: self.alarm.clone(),
            returned: self.returned,
            version: self.rule.version.clone(),
            ..RuleState::default()
        };
        match &self.gauge {
            Gauge::Threshold(gauge) => gauge.save(&mut state),
            Gauge::Measured(gauge) => gauge.gauge.save(&mut state),
            Gauge::Stale(gauge) => gauge.save(&mut state),
        }
        state
    }

    /// Moves all times by a step of the wall clock; those in the alarm are history and stay.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        self.returned = self.returned.map(|at| at.shifted(by_ms));
        let busy = match &mut self.gauge {
            Gauge::Threshold(gauge) => {
                gauge.shift(by_ms);
                !gauge.is_calm()
            }
            Gauge::Measured(gauge) => {
                if let Condition::Measured { measured, .. } = &self.rule.condition {
                    gauge.shift(by_ms, measured);
                }
                !gauge.gauge.is_calm()
            }
            Gauge::Stale(gauge) => {
                gauge.shift(by_ms);
                gauge.raised
            }
        };
        self.changed |= busy || self.alarm.is_some();
    }

    /// The highest level reached and its threshold.
    fn reached(&self) -> Option<(Severity, Option<f64>)> {
        match &self.gauge {
            Gauge::Threshold(gauge) => {
                gauge.reached().map(|(severity, threshold)| (severity, Some(threshold)))
            }
            Gauge::Measured(gauge) => gauge.reached(),
            Gauge::Stale(gauge) => gauge.raised.then_some((gauge.severity, None)),
        }
    }

    fn returned_recently(&self, at: Timestamp) -> bool {
        self.returned.is_some_and(|returned| at.since(returned) <= RERAISE_WINDOW)
    }

    fn occurrence(&self, cause: Cause<'_>) -> Option<Alarm> {
        let (severity, threshold) = self.reached()?;
        Some(Alarm {
            id: alarm_id(&self.site, &self.rule.name, &self.point, cause.at),
            kind: self.rule.kind,
            rule: self.rule.name.clone(),
            rule_version: self.rule.version.clone(),
            point: self.point.clone(),
            risk_point: self.risk_point.clone(),
            town: self.town.clone(),
            severity,
            state: Base::ActiveUnacknowledged,
            unverified: false,
            since: cause.at,
            value: cause.value,
            threshold,
            unit: self.unit.clone(),
            advice: self.rule.advice.clone(),
            acknowledged: None,
        })
    }

    /// Makes the change in the open alarm.
    fn turn(&mut self, state: Base, change: Change, cause: Cause<'_>) {
        let reached = self.reached();
        let Some(alarm) = &mut self.alarm else { return };
        alarm.state = state;
        match change {
            Change::Reraised | Change::Rose | Change::Fell => {
                if let Some((severity, threshold)) = reached {
                    (alarm.severity, alarm.threshold) = (severity, threshold);
                }
                alarm.value = cause.value;
                alarm.rule_version.clone_from(&self.rule.version);
                if change != Change::Fell {
                    alarm.acknowledged = None;
                }
                self.returned = None;
            }
            Change::Cleared => {
                alarm.value = cause.value;
                self.returned = Some(cause.at);
            }
            Change::Acknowledged => {
                alarm.acknowledged = cause.by.map(|by| (by.to_owned(), cause.now));
            }
            Change::Unverified => alarm.unverified = true,
            Change::Verified => alarm.unverified = false,
            Change::Raised | Change::Closed | Change::Reset => {}
        }
    }

    /// Logs the alarm as it is now; one that is over is let go.
    fn log(&mut self, change: Change, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let Some(alarm) = self.alarm.clone() else { return };
        if alarm.state == Base::Normal {
            (self.alarm, self.returned) = (None, None);
        }
        let (by, note) = (cause.by.map(str::to_owned), cause.note.map(str::to_owned));
        out.push(Transition { alarm, change, at: cause.now, by, note });
        self.changed = true;
    }
}

/// The id of an occurrence: the first 16 hexadecimal digits of SHA-256 over `site NUL rule NUL point NUL raised_ms`. A replay and a second gateway
/// come to the same.
pub fn alarm_id(site: &str, rule: &str, point: &str, raised: Timestamp) -> String {
    let text = format!("{site}\0{rule}\0{point}\0{}", raised.as_millis());
    let mut id = String::with_capacity(16);
    for byte in Sha256::digest(text.as_bytes()).iter().take(8) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}
