//! The silence of a device or a point.
//!
//! In: the times of numbers. Out: whether it has been silent for too long, and when to look again.
//! Invariant: a number of exactly the allowed age is still fresh.
//! Source: fresh while `now - time <= after`; an interval of 300 s with three missed and 30 s of jitter is fresh at 930 s and stale at 931 s.

use std::time::Duration;

use crate::alarm::{RuleState, Severity};
use crate::clock::Timestamp;

/// The silence of a device.
#[derive(Clone, Debug)]
pub(crate) struct Stale {
    pub(crate) after: Duration,
    pub(crate) severity: Severity,
    /// The last number of any of its points, or the start.
    seen: Timestamp,
    /// It is silent; otherwise a timer is under way.
    pub(crate) raised: bool,
    /// The last number that an earlier run heard, or the moment from which that run counted.
    known: Option<Timestamp>,
}

impl Stale {
    /// A device that nothing was heard of.
    pub(crate) fn new(after: Duration, severity: Severity) -> Self {
        Self { after, severity, seen: Timestamp::default(), raised: false, known: None }
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
        self.seen = old.seen;
        self.raised = old.raised;
    }

    /// A number of this time was heard; whether that ends the silence.
    pub(crate) fn hear(&mut self, at: Timestamp, now: Timestamp) -> bool {
        self.seen = self.seen.max(at);
        let ends = self.raised && self.due() > now;
        self.raised &= !ends;
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
        state.reached = vec![self.raised];
        state.last = Some(self.seen);
    }
}
