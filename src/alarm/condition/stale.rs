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
}

impl Stale {
    /// A device that nothing was heard of.
    pub(crate) fn new(after: Duration, severity: Severity) -> Self {
        Self { after, severity, seen: Timestamp::default(), raised: false }
    }

    /// Counts from `now` on.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.seen = now;
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
