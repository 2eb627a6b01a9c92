//! The silence of a device or a point.
//!
//! In: the times of numbers. Out: whether it has been silent for too long, and when to look again.
//! Invariant: a number of exactly the allowed age is still fresh; who speaks only now and then counts as silent, too, because the delays of
//! rules begin anew after each gap, so that such a device would never raise anything.
//! Source: fresh while `now - time <= after`; an interval of 300 s with three missed and 30 s of jitter is fresh at 930 s and stale at 931 s.

use std::time::Duration;

use crate::alarm::{RuleState, Severity};
use crate::clock::Timestamp;

/// The silence of a device.
#[derive(Clone, Debug)]
pub(crate) struct Stale {
    pub(crate) after: Duration,
    pub(crate) severity: Severity,
    /// A gap between two numbers longer than this is a missing one.
    max_gap: Duration,
    /// The last number of any of its points, or the start.
    seen: Timestamp,
    /// It is silent; otherwise a timer is under way.
    pub(crate) silent: bool,
    /// Time in gaps, less the time between numbers that came as they should; at most `after`.
    lost: Duration,
    /// So much was lost that it counts as silent; over when half of that is made good.
    patchy: bool,
    /// The last number that an earlier run heard, or the moment from which that run counted.
    known: Option<Timestamp>,
}

impl Stale {
    /// A device that nothing was heard of.
    pub(crate) fn new(after: Duration, severity: Severity, max_gap: Duration) -> Self {
        let (seen, lost) = (Timestamp::default(), Duration::ZERO);
        Self { after, severity, max_gap, seen, silent: false, lost, patchy: false, known: None }
    }

    /// Whether it is silent, or speaks only now and then.
    pub(crate) const fn raised(&self) -> bool {
        self.silent || self.patchy
    }

    /// Counts from `now` on.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.seen = now;
    }

    /// Takes what an earlier run heard.
    pub(crate) fn recall(&mut self, at: Timestamp) {
        self.known = self.known.max(Some(at));
    }

    /// Goes on with the silence that an earlier run counted; the gateway was off from `last` to `now`, and nobody could hear anything then.
    pub(crate) fn resume(&mut self, last: Timestamp, now: Timestamp) {
        if let Some(known) = self.known.take().filter(|&known| known <= last && last <= now) {
            self.seen = now.minus(last.since(known));
        }
    }

    /// The last number, or the start.
    pub(crate) const fn seen(&self) -> Timestamp {
        self.seen
    }

    /// Goes on where `old` was.
    pub(crate) fn succeed(&mut self, old: &Self) {
        (self.seen, self.silent, self.lost, self.patchy) = (old.seen, old.silent, old.lost, old.patchy);
    }

    /// What was lost in gaps.
    pub(crate) const fn lost(&self) -> Duration {
        self.lost
    }

    /// Goes on where an earlier run wrote `state` down; `active`: its alarm is.
    pub(crate) fn restore(&mut self, state: &RuleState, active: bool) {
        let [silent, patchy] = [0, 1].map(|place| state.reached.get(place) == Some(&true));
        self.patchy = active && patchy;
        self.silent = active && (silent || !patchy);
        self.lost = state.lost;
        state.last.into_iter().for_each(|known| self.recall(known));
    }

    /// A number of this time was heard; whether that ends a silence, so that a timer is wanted again.
    pub(crate) fn hear(&mut self, at: Timestamp, now: Timestamp) -> bool {
        if at > self.seen {
            let gap = at.since(self.seen);
            self.lost = match () {
                // A silence has an alarm of its own.
                () if self.silent || gap > self.after => Duration::ZERO,
                () if gap > self.max_gap => (self.lost + gap).min(self.after),
                () => self.lost.saturating_sub(gap),
            };
            let enough = if self.patchy { self.after / 2 } else { self.after };
            self.patchy = self.lost >= enough && !self.lost.is_zero();
            self.seen = at;
        }
        let ends = self.silent && self.due() > now;
        self.silent &= !ends;
        ends
    }

    /// The first moment at which the last number is older than `after`: a number of exactly that age is still fresh.
    pub(crate) fn due(&self) -> Timestamp {
        self.seen.plus(self.after).shifted(1)
    }

    /// Moves all times by a step of the wall clock.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        self.seen = self.seen.shifted(by_ms);
    }

    /// Writes the flag down.
    pub(crate) fn save(&self, state: &mut RuleState) {
        state.reached = vec![self.silent];
        state.reached.extend(self.patchy.then_some(true));
        state.lost = self.lost;
        state.last = Some(self.seen);
    }
}
