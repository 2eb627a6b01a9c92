//! States, bits, how often they come, and the share of time that they hold.
//!
//! In: codes of one point. Out: 1 or 0; entries into the state within a window; percent of a window.
//! Invariant: a gap counts as no entry and as no time in either state.
//! Source: availability `(T - T_down) / T`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::condition::Entry;
use crate::alarm::condition::trail::Trail;
use crate::clock::Timestamp;

/// Less of a window known than this, and a share of it proves nothing.
const KNOWN_MIN: f64 = 0.5;

/// What a code must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// One of these codes.
    Codes(Vec<i64>),
    /// A code with this bit, counted from 0.
    Bit(u32),
}

impl Wanted {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and no code is that large")]
    fn holds(&self, value: f64) -> bool {
        let code = value.round() as i64;
        match self {
            Self::Codes(codes) => codes.contains(&code),
            Self::Bit(bit) => code.cast_unsigned().checked_shr(*bit).unwrap_or(0) & 1 == 1,
        }
    }
}

/// 1 while the point is in the state.
#[derive(Clone, Debug)]
pub(crate) struct InState(pub(crate) Wanted);

impl InState {
    pub(crate) fn take(&self, entry: Entry) -> Entry {
        match entry {
            Entry::Whole(value) => Entry::Whole(f64::from(u8::from(self.0.holds(value)))),
            // A saturated code is no code.
            Entry::Raise(_) => Entry::Ignored,
            other => other,
        }
    }
}

/// How often the state was entered within a window.
#[derive(Clone, Debug)]
pub(crate) struct Repeats {
    wanted: InState,
    trail: Trail,
    holds: Option<bool>,
}

impl Repeats {
    pub(crate) fn new(wanted: Wanted, span: Duration) -> Self {
        Self { wanted: InState(wanted), trail: Trail::new(span), holds: None }
    }

    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        let Entry::Whole(value) = self.wanted.take(entry) else { return entry };
        let holds = value > 0.0;
        // What it was before the first number is not known.
        if self.holds.replace(holds) == Some(false) && holds {
            self.trail.push(at, 1.0, false, Duration::ZERO);
        }
        self.trail.age(at);
        Entry::Whole(self.trail.sum())
    }
}

/// Percent of a window in the state.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    wanted: InState,
    trail: Trail,
    max_gap: Duration,
    before: Option<(Timestamp, bool)>,
}

impl Share {
    pub(crate) fn new(wanted: Wanted, span: Duration, max_gap: Duration) -> Self {
        Self { wanted: InState(wanted), trail: Trail::new(span), max_gap, before: None }
    }

    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        let Entry::Whole(value) = self.wanted.take(entry) else {
            self.before = None;
            return entry;
        };
        let before = self.before.replace((at, value > 0.0));
        if let Some((last, held)) = before.filter(|(last, _)| at.since(*last) <= self.max_gap) {
            let passed = at.since(last);
            let good = if held { passed.as_secs_f64() * 1000.0 } else { 0.0 };
            self.trail.push(at, good, false, passed);
        }
        self.trail.age(at);
        let known = self.trail.covered();
        let (good, all) = self.trail.sum_since(at, Duration::MAX);
        if known < KNOWN_MIN { Entry::Ignored } else { Entry::Whole(100.0 * (good / all).min(1.0)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::condition::tests::{at, near};

    #[test]
    fn codes_and_bits() {
        let codes = InState(Wanted::Codes(vec![2, 3]));
        assert_eq!(
            [2.0, 3.0, 4.0].map(|code| codes.take(Entry::Whole(code))),
            [1.0, 1.0, 0.0].map(Entry::Whole)
        );
        assert_eq!(codes.take(Entry::Raise(2.0)), Entry::Ignored);
        let bit = InState(Wanted::Bit(3));
        assert_eq!(
            [8.0, 7.0, 12.0].map(|code| bit.take(Entry::Whole(code))),
            [1.0, 0.0, 1.0].map(Entry::Whole)
        );
    }

    #[test]
    fn a_door_that_opens_again_and_again() {
        let mut repeats = Repeats::new(Wanted::Codes(vec![1]), Duration::from_secs(600));
        let mut last = Entry::Frozen;
        for second in 0..120 {
            last = repeats.take(at(f64::from(second)), Entry::Whole(f64::from(second / 10 % 2)));
        }
        assert_eq!(last, Entry::Whole(6.0));
        assert_eq!(repeats.take(at(121.0), Entry::Frozen), Entry::Frozen);
        assert_eq!(
            repeats.take(at(800.0), Entry::Whole(1.0)),
            Entry::Whole(0.0),
            "it was open before the gap"
        );
    }

    #[test]
    fn a_lift_that_was_down_for_three_and_a_half_hours_of_a_month() {
        let hour = 3600.0;
        let mut share =
            Share::new(Wanted::Codes(vec![1]), Duration::from_secs(720 * 3600), Duration::from_secs(3600));
        let mut last = Entry::Frozen;
        for half in 0..=1440 {
            let up = !(400..407).contains(&half);
            last = share.take(at(f64::from(half) * hour / 2.0), Entry::Whole(f64::from(u8::from(up))));
        }
        near(last.number().unwrap().0, 99.513_888_888_89, 1e-6);
    }

    proptest! {
        #[test]
        fn a_share_is_a_share(codes in prop::collection::vec(0..3_i32, 1..200), gaps in prop::collection::vec(1.0..5000.0_f64, 200)) {
            let mut share = Share::new(Wanted::Codes(vec![1]), Duration::from_secs(7200), Duration::from_secs(3600));
            let mut time = 0.0;
            for (code, gap) in codes.iter().zip(gaps) {
                time += gap;
                if let Some((percent, _)) = share.take(at(time), Entry::Whole(f64::from(*code))).number() {
                    prop_assert!((0.0..=100.0).contains(&percent), "{percent}");
                }
            }
        }
    }
}
