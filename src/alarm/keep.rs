//! What a rule at work carries over: a restart, other documents, a step of the wall clock.
//!
//! In: a [`RuleState`], or the watch before it. Out: a watch that goes on.
//! Invariant: nothing here raises or clears; an alarm is closed only when its rule looks at another point.
//! Source: DESIGN section 7, after a restart.

use std::time::Duration;

use crate::alarm::condition::Entry;
use crate::alarm::condition::measure::READINGS;
use crate::alarm::watch::{Gauge, Watch};
use crate::alarm::{Alarm, Base, Condition, RuleState, Transition};
use crate::clock::Timestamp;
use crate::reading::Sample;

impl Watch {
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
        self.overlay = state.overlay.clone();
        self.chatter = state.chatter.clone();
        self.unverified = state.unverified.filter(|_| self.is_active());
        self.shelved = state.shelved;
        self.release(now);
        self.changed |= state.version != self.rule.version && state != RuleState::default();
        let moved = self.alarm.as_ref().is_some_and(|alarm| alarm.point != self.point);
        if moved {
            self.close("the rule looks at another point", now, out);
        }
        let active = self.alarm.as_ref().filter(|alarm| alarm.state.is_active()).map(Alarm::present);
        match &mut self.gauge {
            Gauge::Threshold(gauge) => gauge.restore(&state, active, same && !moved, last, now),
            Gauge::Measured(gauge) => gauge.restore(&state, active, same && !moved, last, now),
            Gauge::Stale(gauge) => gauge.restore(&state, active.is_some()),
        }
        // What was given up here must not come back with the next restart.
        let saved = self.save();
        self.changed |=
            (saved.raising, saved.clearing, saved.reached) != (state.raising, state.clearing, state.reached);
    }

    /// Takes a reading of an earlier run, oldest first, after [`Self::restore`]; nothing is raised or cleared by it.
    pub(crate) fn recall(&mut self, slot: usize, at: Timestamp, sample: &Sample) {
        match &mut self.gauge {
            Gauge::Threshold(gauge) => {
                let enters = Entry::of(sample, gauge.direction).number().is_some();
                if let (true, Sample::Good(value)) = (gauge.recall(at, enters), sample) {
                    self.trend.push(at, *value);
                }
            }
            Gauge::Measured(gauge) => {
                if let Some(judged) = gauge.recall(slot, at, sample) {
                    self.trend.push(judged.at, judged.value);
                    self.judged = Some(judged);
                }
            }
            Gauge::Stale(gauge) => {
                if sample.value().is_some() {
                    gauge.recall(at);
                }
            }
        }
    }

    /// Takes the memory of `ready`, which was given readings from before; levels and delays stay as they are.
    pub(crate) fn prime(&mut self, ready: Self) {
        if let (Gauge::Measured(gauge), Gauge::Measured(known)) = (&mut self.gauge, ready.gauge)
            && self.rule.version == ready.rule.version
        {
            gauge.prime(*known);
            (self.trend, self.judged) = (ready.trend, ready.judged);
        }
    }

    /// The gateway was off from `last` to `now`, and this watch knows what it knew: as [`Self::restore`] and [`Self::recall`] of all readings before.
    pub(crate) fn restarted(&mut self, last: Timestamp, now: Timestamp) {
        let active = self.alarm.as_ref().filter(|alarm| alarm.state.is_active()).map(Alarm::present);
        self.release(now);
        match &mut self.gauge {
            Gauge::Threshold(gauge) => gauge.restarted(active, last, now),
            Gauge::Measured(gauge) => gauge.gauge.restarted(active, last, now),
            Gauge::Stale(gauge) => gauge.recall(gauge.seen()),
        }
        self.registered = None;
    }

    /// How far back readings must be known for [`Self::recall`].
    pub(crate) fn recalls(&self) -> Duration {
        match &self.rule.condition {
            Condition::Threshold { max_gap, .. } => *max_gap * READINGS,
            Condition::Measured { measured, .. } => measured.recalls(),
            Condition::Stale { after, .. } => *after,
        }
    }

    /// Goes on for `old`, the rule of the same name in the documents before. The same question of the same point is the same rule at work, whatever else is
    /// written of it now. Another question keeps the alarm, and those delays whose thresholds are as they were.
    pub(crate) fn succeed(&mut self, old: Self, now: Timestamp, out: &mut Vec<Transition>) {
        if old.rule.version == self.rule.version && old.point == self.point {
            let new = std::mem::replace(self, old);
            (self.rule, self.fresh) = (new.rule, false);
            (self.risk_point, self.town, self.unit) = (new.risk_point, new.town, new.unit);
            (self.suppressor, self.registered) = (new.suppressor, None);
            self.release(now);
            return;
        }
        self.restore(old.save(), Some(now), now, out);
        if let Gauge::Stale(gauge) = &mut self.gauge {
            // Nobody was ever heard under another point's name: that silence begins now.
            gauge.restart(now);
        }
        if old.point == self.point {
            match (&mut self.gauge, &old.gauge) {
                (Gauge::Threshold(gauge), Gauge::Threshold(old)) => gauge.succeed(old),
                (Gauge::Stale(gauge), Gauge::Stale(old)) => gauge.succeed(old),
                (Gauge::Measured(gauge), Gauge::Measured(old)) => self.fresh = !gauge.succeed(old),
                _ => {}
            }
        }
        self.changed = true;
    }

    /// Ends what hides the alarm and stands in no document any more.
    fn release(&mut self, now: Timestamp) {
        let bonds = &self.rule.bonds;
        let other = self.overlay.design.as_ref().is_some_and(|design| design.by != self.suppressor);
        let gone = [
            (&mut self.overlay.design, other || bonds.suppress.is_none()),
            (&mut self.overlay.cause, bonds.causes.is_empty()),
        ];
        for (one, _) in gone.into_iter().filter(|(_, gone)| *gone) {
            if let Some(one) = one {
                one.ends.get_or_insert(now);
            }
        }
    }

    /// What is kept over a restart.
    pub(crate) fn save(&self) -> RuleState {
        let mut state = RuleState {
            alarm: self.alarm.clone(),
            returned: self.returned,
            version: self.rule.version.clone(),
            overlay: self.overlay.clone(),
            chatter: self.chatter.clone(),
            unverified: self.unverified,
            shelved: self.shelved,
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
        self.unverified = self.unverified.map(|at| at.shifted(by_ms));
        self.overlay.shift(by_ms);
        self.chatter.shift(by_ms);
        self.trend.forget();
        self.judged = None;
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
                gauge.raised()
            }
        };
        self.changed |= busy || self.alarm.is_some() || !self.overlay.is_empty() || !self.chatter.is_empty();
    }
}
