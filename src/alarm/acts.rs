//! What persons, permits, timers and the site's own states do to one rule's alarm: the overlays at work.
//!
//! In: an act with its cause. Out: [`Transition`]s, each with who, when and why.
//! Invariant: the base state moves only when an overlay is left, and then only from seen to unseen; a shelf never covers a severity above its own, nor red.
//! Source: ISA-18.2-2016 and IEC 62682, suppression; leaving an overlay shows the alarm to a person again.

use std::time::Duration;

use crate::alarm::condition::measure::Measured;
use crate::alarm::guide::Suppress;
use crate::alarm::lifecycle::Refusal;
use crate::alarm::overlay::{HAND_MAX, Hand, PERMIT_MAX, Permit, SHELF_MAX, Shelf, Suppression};
use crate::alarm::watch::{Cause, Watch};
use crate::alarm::{Alarm, Base, Change, Condition, Kind, Severity, Transition};
use crate::clock::Timestamp;
use crate::reading::Sample;

/// An active alarm that is unverified for this long needs somebody to look.
pub(crate) const UNVERIFIABLE: Duration = Duration::from_secs(600);
/// How long an explained alarm stays below its cause after that is gone.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(60);

/// Whether it ends after it began, within its limit.
pub(crate) fn ends(
    (from, to): (Timestamp, Timestamp),
    max: Duration,
    limit: &'static str,
) -> Result<(), Refusal> {
    match to.since(from) {
        Duration::ZERO => Err(Refusal::NoSpan),
        span if span > max => Err(Refusal::TooLong(limit)),
        _ => Ok(()),
    }
}

impl Watch {
    /// Hides the alarm, or the rule before it has one, until a time.
    pub(crate) fn shelve(
        &mut self,
        seen: Option<Severity>,
        until: Timestamp,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let severity = match &self.alarm {
            Some(alarm) if seen.is_some_and(|seen| alarm.severity > seen) => return Err(Refusal::Changed),
            Some(alarm) => alarm.severity,
            None => self.lowest(),
        };
        if severity == Severity::Red {
            return Err(Refusal::RedStays);
        }
        ends((cause.now, until), SHELF_MAX, "a shelf lasts 8 h")?;
        self.shelved = self.shelved.saturating_add(1);
        let (by, reason) = words(cause);
        self.overlay.shelf = Some(Shelf { until, by, reason, severity, count: self.shelved });
        self.note(Change::Shelved, cause, out);
        Ok(())
    }

    /// Ends the shelf.
    pub(crate) fn unshelve(&mut self, cause: Cause<'_>, out: &mut Vec<Transition>) -> Result<(), Refusal> {
        if self.overlay.shelf.is_none() {
            return Err(Refusal::NotShelved);
        }
        self.leave(Change::Unshelved, cause, out, |watch| watch.overlay.shelf = None);
        Ok(())
    }

    /// Takes the rule out of service, now or when the permit begins.
    pub(crate) fn take_out(
        &mut self,
        permit: Permit,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        ends((permit.from, permit.to), PERMIT_MAX, "a permit lasts 24 h")?;
        if permit.to <= cause.now {
            return Err(Refusal::NoSpan);
        }
        if self.overlay.permit.as_ref().is_some_and(|old| old.number == permit.number) {
            return Err(Refusal::UnderPermit);
        }
        if permit.substitute.is_none() && self.rule.kind == Kind::Process && self.highest() == Severity::Red {
            return Err(Refusal::NeedsSubstitute);
        }
        let begins = permit.from <= cause.now;
        let note = format!("{}, {}", permit.number, permit.responsible);
        let cause = Cause { note: cause.note.or(Some(&note)), ..cause };
        if begins {
            self.overlay.permit = Some(permit);
            self.note(Change::OutOfService, cause, out);
        } else {
            self.overlay.planned = Some(permit);
            self.note(Change::Planned, cause, out);
        }
        Ok(())
    }

    /// Takes the rule out of service under this permit at once.
    pub(crate) fn under(&mut self, permit: Permit, cause: Cause<'_>, out: &mut Vec<Transition>) {
        self.overlay.permit = Some(permit);
        self.note(Change::OutOfService, cause, out);
    }

    /// Puts the rule back into service, or gives up a permit that waits.
    pub(crate) fn put_back(&mut self, cause: Cause<'_>, out: &mut Vec<Transition>) -> Result<(), Refusal> {
        if self.overlay.permit.is_none() && self.overlay.planned.is_none() {
            return Err(Refusal::InService);
        }
        self.leave(Change::InService, cause, out, |watch| {
            (watch.overlay.permit, watch.overlay.planned) = (None, None);
        });
        Ok(())
    }

    /// Raises the severity by hand.
    pub(crate) fn lift(
        &mut self,
        severity: Severity,
        until: Timestamp,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let Some(alarm) = self.alarm.as_ref().filter(|alarm| alarm.state.is_active()) else {
            return Err(Refusal::NotActive);
        };
        if severity <= alarm.severity {
            return Err(Refusal::NotHigher);
        }
        ends((cause.now, until), HAND_MAX, "a raised severity lasts 24 h")?;
        let (by, reason) = words(cause);
        // What nobody has seen, or waits for a reset, comes back into sight after it.
        let before = (alarm.acknowledged.is_none() || alarm.marks.latching).then_some(alarm.severity);
        self.uncover(severity, cause, out);
        self.overlay.hand = Some(Hand { severity, by, reason, until, before });
        if let Some(alarm) = &mut self.alarm {
            alarm.asks_again(cause.now);
            (alarm.state, alarm.severity, alarm.present) = (Base::ActiveUnacknowledged, severity, None);
        }
        self.note(Change::Lifted, cause, out);
        Ok(())
    }

    /// A reading of the point that says whether the alarm means something now. Without a number nothing is hidden.
    pub(crate) fn hide(&mut self, sample: &Sample, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let Some(Suppress { up_to, off_delay, .. }) = self.rule.bonds.suppress else { return };
        let holds = matches!(sample, Sample::Good(value) if value.abs() > 0.0);
        match (&mut self.overlay.design, holds) {
            (Some(design), true) => self.changed |= design.ends.take().is_some(),
            (Some(design), false) if design.ends.is_none() => {
                design.ends = Some(cause.now.plus(off_delay));
                self.changed = true;
            }
            (Some(_) | None, false) => {}
            (None, true) => {
                let by = self.suppressor.clone();
                self.overlay.design =
                    Some(Suppression { by: by.clone(), alarm: None, up_to, since: cause.now, ends: None });
                self.note(Change::Suppressed, Cause { note: Some(&by), ..cause }, out);
            }
        }
    }

    /// An alarm that explains this one is active (`Some`), or no such alarm is (`None`).
    pub(crate) fn explain(&mut self, parent: Option<&Alarm>, cause: Cause<'_>, out: &mut Vec<Transition>) {
        match (&mut self.overlay.cause, parent) {
            (Some(known), Some(parent)) => {
                let is = (Some(&parent.id), parent.severity);
                let news = (known.alarm.as_ref(), known.up_to) != (is.0, is.1);
                if news || known.ends.is_some() {
                    (known.alarm, known.up_to, known.ends) = (Some(parent.id.clone()), parent.severity, None);
                    known.by.clone_from(&parent.rule);
                    self.changed = true;
                }
                if news && self.alarm.is_some() {
                    self.note(Change::Suppressed, Cause { note: Some(&parent.rule), ..cause }, out);
                }
            }
            (Some(known), None) => {
                if known.ends.is_none() {
                    known.ends = Some(cause.now.plus(AFTERMATH));
                    self.changed = true;
                }
            }
            (None, Some(parent)) => {
                let (by, alarm) = (parent.rule.clone(), Some(parent.id.clone()));
                let (up_to, since) = (parent.severity, cause.now);
                self.overlay.cause = Some(Suppression { by, alarm, up_to, since, ends: None });
                self.changed = true;
                // Below a cause a calm rule says nothing: a line has many devices.
                if self.alarm.is_some() {
                    self.note(Change::Suppressed, Cause { note: Some(&parent.rule), ..cause }, out);
                }
            }
            (None, None) => {}
        }
    }

    /// When something ends or begins by itself.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let unverified = self.unverified.map(|since| since.plus(UNVERIFIABLE));
        [self.overlay.due(), unverified, self.chatter.due()].into_iter().flatten().min()
    }

    /// Does everything that is due by `now`.
    pub(crate) fn fire(&mut self, now: Timestamp, out: &mut Vec<Transition>) {
        let timer = |note| Cause { note: Some(note), ..Cause::plain(now, now) };
        let over = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if over(self.unverified.map(|since| since.plus(UNVERIFIABLE))) {
            self.unverified = None;
            self.mark(Change::Unverifiable, timer("no good reading for 10 min"), out);
        }
        if over(self.chatter.due()) {
            self.chatter.quiet();
            self.changed = true;
            self.mark(Change::Quiet, timer("quiet for 10 min"), out);
        }
        if over(self.overlay.hand.as_ref().map(|hand| hand.until)) {
            self.lower(timer("the raised severity ended"), out);
        }
        if over(self.overlay.shelf.as_ref().map(|shelf| shelf.until)) {
            let _ = self.unshelve(timer("the shelf ended"), out);
        }
        if over(self.overlay.permit.as_ref().map(|permit| permit.to)) {
            self.leave(Change::InService, timer("the permit ended"), out, |watch| {
                watch.overlay.permit = None
            });
        }
        if over(self.overlay.planned.as_ref().map(|permit| permit.from)) {
            self.begin_permit(now, out);
        }
        if over(self.overlay.design.as_ref().and_then(|one| one.ends)) {
            let note = timer("the state of the site that hid it is over");
            self.leave(Change::Unsuppressed, note, out, |watch| watch.overlay.design = None);
        }
        if over(self.overlay.cause.as_ref().and_then(|one| one.ends)) {
            self.changed = true;
            if self.alarm.is_some() {
                let note = timer("its cause is over, and it is not");
                self.leave(Change::Unsuppressed, note, out, |watch| watch.overlay.cause = None);
            } else {
                self.overlay.cause = None;
            }
        }
    }

    /// Ends the shelf before the alarm takes on a severity above it.
    pub(crate) fn uncover(&mut self, severity: Severity, cause: Cause<'_>, out: &mut Vec<Transition>) {
        if self.overlay.shelf.as_ref().is_some_and(|shelf| shelf.severity < severity) {
            let note = Some("the severity rises");
            let _ = self.unshelve(Cause { note, by: None, ..cause }, out);
        }
    }

    /// The open alarm gets the overlay that the rule has.
    pub(crate) fn copy_overlay(&mut self) {
        if let Some(alarm) = &mut self.alarm {
            alarm.overlay = self.overlay.shown();
        }
    }

    /// The highest severity that the rule can reach.
    pub(crate) fn highest(&self) -> Severity {
        match &self.rule.condition {
            Condition::Threshold { levels, .. }
            | Condition::Measured { measured: Measured { levels, .. }, .. } => {
                levels.last().map_or(Severity::Blue, |level| level.severity)
            }
            Condition::Stale { severity, .. } => *severity,
        }
    }

    fn lowest(&self) -> Severity {
        match &self.rule.condition {
            Condition::Threshold { levels, .. }
            | Condition::Measured { measured: Measured { levels, .. }, .. } => {
                levels.first().map_or(Severity::Blue, |level| level.severity)
            }
            Condition::Stale { severity, .. } => *severity,
        }
    }

    fn begin_permit(&mut self, now: Timestamp, out: &mut Vec<Transition>) {
        let Some(permit) = self.overlay.planned.take() else { return };
        self.changed = true;
        // The gateway was off for the whole of it.
        if permit.to <= now {
            self.note(
                Change::InService,
                Cause { note: Some("the permit ended"), ..Cause::plain(now, now) },
                out,
            );
            return;
        }
        let (by, note) = (permit.by.clone(), format!("{}, {}", permit.number, permit.responsible));
        self.overlay.permit = Some(permit);
        let cause = Cause { by: Some(&by), note: Some(&note), ..Cause::plain(now, now) };
        self.note(Change::OutOfService, cause, out);
    }

    /// The severity raised by hand is over.
    fn lower(&mut self, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let before = self.overlay.hand.take().and_then(|hand| hand.before);
        self.changed = true;
        let measured = self.reached();
        let Some(alarm) = self.alarm.as_mut().filter(|alarm| alarm.state.is_active()) else {
            self.copy_overlay();
            return;
        };
        if let Some((severity, threshold)) = measured {
            // What was measured before the hand came, and is still to be seen, is in sight again.
            alarm.severity = before.unwrap_or(severity);
            alarm.measures(severity);
            alarm.threshold = threshold;
        }
        self.note(Change::Lowered, cause, out);
    }

    /// Takes an overlay away; what was hidden, is active and is not hidden any more has to be seen anew.
    fn leave(
        &mut self,
        change: Change,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
        take: impl FnOnce(&mut Self),
    ) {
        let was_hidden =
            self.alarm.as_ref().is_some_and(|alarm| self.overlay.hides(alarm.severity).is_some());
        take(self);
        if let Some(alarm) = self.alarm.as_mut()
            && was_hidden
            && alarm.state.is_active()
            && self.overlay.hides(alarm.severity).is_none()
        {
            (alarm.state, alarm.acknowledged, alarm.marks.again) =
                (Base::ActiveUnacknowledged, None, Some(cause.now));
        }
        self.note(change, cause, out);
    }

    /// Logs a mark of the open alarm; a rule without one has nothing to mark.
    pub(crate) fn mark(&mut self, change: Change, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let Some(alarm) = &mut self.alarm else { return };
        match change {
            Change::Unverifiable => alarm.marks.unverifiable = true,
            Change::Chattering => alarm.marks.chattering = true,
            Change::Quiet => alarm.marks.chattering = false,
            _ => {}
        }
        self.log(change, cause, out);
    }

    /// Logs a change of the overlay, also of a rule that has no alarm now.
    fn note(&mut self, change: Change, cause: Cause<'_>, out: &mut Vec<Transition>) {
        self.changed = true;
        self.copy_overlay();
        if self.alarm.is_some() {
            self.log(change, cause, out);
            return;
        }
        let alarm = self.calm(cause);
        let (by, note) = (cause.by.map(str::to_owned), cause.note.map(str::to_owned));
        out.push(Transition { alarm, change, at: cause.now, by, note });
    }
}

fn words(cause: Cause<'_>) -> (String, String) {
    (cause.by.unwrap_or_default().to_owned(), cause.note.unwrap_or_default().to_owned())
}
