//! Alarms that come and go: chattering and fleeting ones, named and slowed down.
//!
//! In: times at which one alarm became active or its condition went. Out: whether it chatters, and how long a return is held back.
//! Invariant: nothing is dropped, and a hold never raises or clears by itself: a held alarm clears with a good reading after the hold.
//! Source: ISA-18.2-2016 and EEMUA 191: three transitions to active within a minute are chatter; an alarm that ends by itself within a minute is fleeting.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::Severity;
use crate::clock::Timestamp;

/// Three times active within this time, half-open `(t - 60 s, t]`, is chatter.
pub const CHATTER_WINDOW: Duration = Duration::from_secs(60);
/// Active for less than this, and gone before anybody saw it, is fleeting.
pub const FLEETING: Duration = Duration::from_secs(60);
/// So long without becoming active, and the chatter is over; also the longest hold.
pub const QUIET: Duration = Duration::from_secs(600);
/// The hold of a rule without an off-delay is doubled from here.
const HOLD_MIN: Duration = Duration::from_secs(5);

/// One rule's coming and going.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chatter {
    /// The last times it became active, oldest first, at most three.
    recent: Vec<Timestamp>,
    /// By how much the off-delay is longer now; 0 while it does not chatter.
    factor: u32,
    /// Since when the condition is gone while the alarm is held.
    gone: Option<Timestamp>,
}

impl Chatter {
    /// Whether it chatters.
    pub const fn is_on(&self) -> bool {
        self.factor > 0
    }

    /// Nothing is remembered.
    pub const fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.factor == 0 && self.gone.is_none()
    }

    /// The condition became true; whether that makes it chatter, having not done so before.
    pub(crate) fn active(&mut self, at: Timestamp) -> bool {
        self.gone = None;
        if self.recent.len() == 3 {
            self.recent.remove(0);
        }
        self.recent.push(at);
        let begins = match self.recent.as_slice() {
            [first, _, last] => last.since(*first) < CHATTER_WINDOW && first <= last,
            _ => false,
        };
        let was = self.is_on();
        if begins {
            self.factor = self.factor.saturating_mul(2).clamp(2, 128);
            // The next doubling needs three more.
            self.recent.drain(..2);
        }
        begins && !was
    }

    /// The condition is gone at `at`; whether the alarm may clear now.
    pub(crate) fn may_clear(&mut self, severity: Severity, off_delay: Duration, at: Timestamp) -> bool {
        if !self.is_on() {
            return true;
        }
        let hold = match severity {
            Severity::Red => QUIET,
            _ => (off_delay.max(HOLD_MIN) * self.factor).min(QUIET),
        };
        at.since(*self.gone.get_or_insert(at)) >= hold
    }

    /// The condition is back before the alarm was let go: a coming that nobody hears of.
    pub(crate) fn back(&mut self, at: Timestamp) {
        if self.gone.take().is_some() {
            self.active(at);
        }
    }

    /// The alarm is held although its condition is gone.
    pub(crate) const fn holds(&self) -> bool {
        self.gone.is_some()
    }

    /// Whether an alarm that ends at `at` was too short to be acted upon.
    pub(crate) fn was_fleeting(&self, at: Timestamp) -> bool {
        self.recent.last().is_some_and(|&last| at.since(last) < FLEETING)
    }

    /// When the chatter is over, if it does not come again.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.recent.last().filter(|_| self.is_on()).map(|last| last.plus(QUIET))
    }

    /// The chatter is over.
    pub(crate) fn quiet(&mut self) {
        self.factor = 0;
    }

    /// Moves all times by a step of the wall clock.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        self.recent.iter_mut().for_each(|at| *at = at.shifted(by_ms));
        self.gone = self.gone.map(|at| at.shifted(by_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn worked_three_within_a_half_open_minute() {
        for (times, chatters) in
            [([0, 20, 59], true), ([0, 30, 60], false), ([0, 30, 61], false), ([5, 5, 5], true)]
        {
            let mut chatter = Chatter::default();
            let began: Vec<bool> = times.iter().map(|&seconds| chatter.active(at(seconds))).collect();
            assert_eq!(began, [false, false, chatters], "{times:?}");
            assert_eq!(chatter.is_on(), chatters);
        }
    }

    #[test]
    fn the_hold_doubles_up_to_ten_minutes_and_red_is_steady() {
        let mut chatter = Chatter::default();
        let hold = |chatter: &Chatter, severity, off_delay| {
            let mut tried = chatter.clone();
            assert!(!tried.may_clear(severity, Duration::from_secs(off_delay), at(0)));
            (1..).find(|&second| tried.may_clear(severity, Duration::from_secs(off_delay), at(second)))
        };
        for second in 0..3 {
            chatter.active(at(second));
        }
        assert_eq!(hold(&chatter, Severity::Blue, 30), Some(60));
        assert_eq!(hold(&chatter, Severity::Blue, 0), Some(10));
        assert_eq!(hold(&chatter, Severity::Red, 0), Some(600));
        for second in 3..5 {
            chatter.active(at(second));
        }
        assert_eq!(hold(&chatter, Severity::Blue, 30), Some(120));
        for second in 5..60 {
            chatter.active(at(second));
        }
        assert_eq!(hold(&chatter, Severity::Blue, 30), Some(600));
        assert_eq!(chatter.due(), Some(at(59 + 600)));
        chatter.quiet();
        assert!(chatter.may_clear(Severity::Red, Duration::ZERO, at(700)));
    }
}
