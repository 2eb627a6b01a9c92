//! How a rule at work follows its gauge: what readings and silences make of its alarm.
//!
//! In: the time of a number, a sample of an input, what the gauge reached. Out: [`Transition`]s.
//! Invariant: a reading that changes nothing in the gauge changes nothing in the alarm.
//! Source: the lifecycle decides each change.

use std::cmp::Ordering;

use crate::alarm::condition::level::Step;
use crate::alarm::condition::measure::Measured;
use crate::alarm::condition::{Entry, Judged};
use crate::alarm::lifecycle::Event;
use crate::alarm::watch::{Cause, Gauge, Watch};
use crate::alarm::{Alarm, Condition, Kind, Severity, Transition};
use crate::clock::Timestamp;
use crate::reading::Sample;

/// Why a device is silent that was heard just now.
const PATCHY: &str = "numbers come only now and then: more time lies in gaps than between them, and delays begin anew after each gap";

impl Watch {
    /// Brings the alarm to where the gauge is.
    pub(crate) fn follow(&mut self, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let active = self.alarm.as_ref().filter(|alarm| alarm.state.is_active());
        let event = match (active.map(Alarm::present), self.target()) {
            (None, None) => return,
            (None, Some(_)) => Event::Raise { recent: self.returned_recently(cause.at) },
            (Some(was), None) => {
                if !self.lets_go(was, cause.at) {
                    return;
                }
                Event::Clear { latched: self.latches(was) }
            }
            (Some(was), Some((is, _))) => {
                self.changed |= self.chatter.holds();
                self.chatter.back(cause.at);
                match is.cmp(&was) {
                    Ordering::Greater => Event::Escalate,
                    Ordering::Less => Event::Deescalate,
                    Ordering::Equal => return,
                }
            }
        };
        // A gauge makes no person's event, so there is no refusal.
        let _ = self.feed(event, cause, out);
    }

    /// Takes the time of a number of a device whose silence is watched, and follows it; when to look at it again, if nobody does yet.
    pub(crate) fn hear(
        &mut self,
        at: Timestamp,
        now: Timestamp,
        out: &mut Vec<Transition>,
    ) -> Option<Timestamp> {
        let Gauge::Stale(stale) = &mut self.gauge else { return None };
        let (was, lost) = (stale.raised(), stale.lost());
        let due = stale.hear(at, now).then(|| stale.due());
        let (is, moved) = (stale.raised(), lost != stale.lost());
        self.changed |= moved;
        if was != is {
            self.follow(Cause { note: is.then_some(PATCHY), ..Cause::plain(at, now) }, out);
        }
        due
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
            // A doubtful reading that proves nothing leaves the number as it was.
            if entry == Entry::Frozen || matches!(sample, Sample::Good(_)) {
                self.judged = None;
            }
            if entry == Entry::Frozen {
                self.changed |= gauge.gauge.freeze(at);
                self.verify(Event::Bad, Cause { at, value: None, ..cause }, out);
            }
            return;
        };
        let step = gauge.gauge.step(value, may_clear, at);
        let value = gauge.shown(value);
        if let Some(value) = value {
            self.trend.push(at, value);
        }
        self.judged = value.map(|value| Judged { at, value, whole: may_clear });
        if step == Step::Calm && !self.chatter.holds() {
            return;
        }
        let note = gauge.says();
        let cause = Cause { at, value, note: note.as_deref(), ..cause };
        self.changed |= step == Step::Moved;
        self.verify(Event::Good, cause, out);
        self.follow(cause, out);
    }

    fn is_told_at_once(&self) -> bool {
        matches!(&self.rule.condition, Condition::Threshold { levels, .. } if levels.iter().all(|level| level.on_delay.is_zero()))
    }

    /// Whether an alarm whose condition is gone may clear: one that chatters is held a while.
    fn lets_go(&mut self, severity: Severity, at: Timestamp) -> bool {
        let off_delay = match &self.rule.condition {
            Condition::Threshold { levels, .. }
            | Condition::Measured { measured: Measured { levels, .. }, .. } => {
                levels.iter().find(|level| level.severity == severity).map(|level| level.off_delay)
            }
            Condition::Stale { .. } => return true,
        };
        // What the gateway tells of itself at once is over when the gateway says so: a person ended it.
        if self.rule.kind == Kind::System && self.is_told_at_once() {
            return true;
        }
        let held = self.chatter.holds();
        let may = self.chatter.may_clear(severity, off_delay.unwrap_or_default(), at);
        self.changed |= self.chatter.holds() != held;
        may
    }

    /// Marks an active alarm whose input is bad or silent, or takes the mark away.
    pub(crate) fn verify(&mut self, event: Event, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let marked = self.alarm.as_ref().is_some_and(|alarm| alarm.unverified);
        if self.is_active() && marked != (event == Event::Bad) {
            self.unverified = (event == Event::Bad).then_some(cause.now);
            // The input's quality is never refused.
            let _ = self.feed(event, cause, out);
        }
    }
}
