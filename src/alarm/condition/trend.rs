//! How fast and how far a number moves, and when it will be at a threshold.
//!
//! In: numbers of one point. Out: slope per minute, change over a window, minutes to a threshold.
//! Invariant: no result of fewer than five numbers or of less than half a window; a gap of more than `max_gap` empties the window, so that
//! what happened in it is never taken for a rate.
//! Source: ordinary least squares (end points and Theil-Sen on request); time to threshold `(L - h) / r` from the last value, which is earlier and so
//! safer than the fitted one while the rise grows.

use std::time::Duration;

use crate::alarm::condition::Entry;
use crate::alarm::condition::trail::{Method, Trail};
use crate::clock::Timestamp;

/// A slope through fewer numbers is noise.
const NUMBERS_MIN: f64 = 5.0;

/// A window that a gap empties.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    trail: Trail,
    span: Duration,
    max_gap: Duration,
    last: Option<Timestamp>,
}

impl Window {
    pub(crate) fn new(span: Duration, max_gap: Duration) -> Self {
        Self { trail: Trail::new(span), span, max_gap, last: None }
    }

    /// Takes what a sample gives; the window, when it is filled, and whether it may clear.
    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Result<(&Trail, bool), Entry> {
        let (value, may_clear) = entry.number().ok_or(entry)?;
        if self.last.is_some_and(|last| at.since(last) > self.max_gap) {
            self.trail.clear();
        }
        self.last = Some(at);
        self.trail.push(at, value, !may_clear, Duration::ZERO);
        let filled = self.trail.count() >= NUMBERS_MIN && self.trail.reach() >= self.span / 2;
        if filled { Ok((&self.trail, !self.trail.bound())) } else { Err(Entry::Ignored) }
    }

    /// The next number begins a new window.
    pub(crate) fn restart(&mut self) {
        self.trail.clear();
        self.last = None;
    }
}

/// Slope per minute.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    pub(crate) window: Window,
    pub(crate) method: Method,
}

impl Rate {
    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        match self.window.take(at, entry) {
            Ok((trail, may_clear)) => {
                trail.slope(self.method).map_or(Entry::Ignored, |slope| Entry::made(slope, may_clear))
            }
            Err(entry) => entry,
        }
    }
}

/// The newest number less the oldest of the window.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) window: Window,
}

impl Change {
    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        match self.window.take(at, entry) {
            Ok((trail, may_clear)) => match (trail.first(), trail.last()) {
                (Some(first), Some(last)) => Entry::made(last - first, may_clear),
                _ => Entry::Ignored,
            },
            Err(entry) => entry,
        }
    }
}

/// Minutes until the number is at `threshold`; infinite while it does not move there.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) window: Window,
    pub(crate) threshold: f64,
    /// Slower than this per minute is standing.
    pub(crate) slowest: f64,
    /// The threshold lies below.
    pub(crate) falling: bool,
}

impl Arrival {
    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        let sign = if self.falling { -1.0 } else { 1.0 };
        let way = entry.number().map(|(value, may_clear)| ((self.threshold - value) * sign, may_clear));
        let slope = match self.window.take(at, entry) {
            Ok((trail, may_clear)) => Ok((trail.slope(Method::LeastSquares), may_clear)),
            Err(entry) => Err(entry),
        };
        match (way, slope) {
            // It is there: that needs no window.
            (Some((way, may_clear)), _) if way <= 0.0 => Entry::made(0.0, may_clear),
            (Some((way, _)), Ok((Some(slope), may_clear))) => {
                Entry::made(minutes(way, slope * sign, self.slowest), may_clear)
            }
            (_, Ok(_)) => Entry::Ignored,
            (_, Err(entry)) => entry,
        }
    }
}

/// Minutes for `way` at `slope` per minute.
fn minutes(way: f64, slope: f64, slowest: f64) -> f64 {
    if slope > slowest { way / slope } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::condition::tests::{at, near, vectors};

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_time_to_a_closed_underpass() {
        let vectors = vectors();
        let ponding = &vectors["ponding"];
        let mut trail = Trail::new(MINUTE * 30);
        for (t, h) in ponding["t_min"].as_array().unwrap().iter().zip(ponding["cm"].as_array().unwrap()) {
            trail.push(at(t.as_f64().unwrap() * 60.0), h.as_f64().unwrap(), false, Duration::ZERO);
        }
        let slope = trail.slope(Method::LeastSquares).unwrap();
        near(slope, ponding["slope"].as_f64().unwrap(), 1e-9);
        near(minutes(27.0 - 20.0, slope, 0.05), ponding["to_27_from_last"].as_f64().unwrap(), 1e-9);
        assert!(minutes(7.0, 0.05, 0.05).is_infinite(), "standing water never arrives");
    }

    #[test]
    fn what_is_there_has_arrived_without_a_window() {
        let window = Window::new(MINUTE * 10, MINUTE * 3);
        let mut arrival = Arrival { window, threshold: 27.0, slowest: 0.05, falling: false };
        assert_eq!(arrival.take(at(0.0), Entry::Whole(20.0)), Entry::Ignored);
        assert_eq!(arrival.take(at(60.0), Entry::Whole(27.0)), Entry::Whole(0.0));
        assert_eq!(arrival.take(at(70.0), Entry::Frozen), Entry::Frozen);
    }

    proptest! {
        /// A level that stands still before and after a gap in which it jumped has no rate.
        #[test]
        fn a_gap_is_never_a_rate(before in -50.0..50.0_f64, after in -50.0..50.0_f64, gap in 181.0..100_000.0_f64) {
            let mut rate = Rate { window: Window::new(MINUTE * 10, MINUTE * 3), method: Method::LeastSquares };
            for minute in 0..20 {
                let entry = rate.take(at(f64::from(minute) * 60.0), Entry::Whole(before));
                prop_assert!(entry.number().is_none_or(|(slope, _)| slope.abs() < 1e-9));
            }
            for minute in 0..20 {
                let entry = rate.take(at(19.0 * 60.0 + gap + f64::from(minute) * 60.0), Entry::Whole(after));
                prop_assert!(entry.number().is_none_or(|(slope, _)| slope.abs() < 1e-9), "{entry:?}");
            }
        }

        /// What is not a number gives none, and a bound in the window keeps it from clearing.
        #[test]
        fn doubt_stays_while_it_is_in_the_window(values in prop::collection::vec(-10.0..10.0_f64, 12), bound in 0..12_usize) {
            let mut change = Change { window: Window::new(MINUTE * 20, MINUTE * 3) };
            for (index, value) in values.iter().enumerate() {
                let entry = if index == bound { Entry::Raise(*value) } else { Entry::Whole(*value) };
                let time = at(60.0 * index as f64);
                let made = change.take(time, entry);
                prop_assert!(!(index >= bound && matches!(made, Entry::Whole(_))), "{made:?}");
                prop_assert_eq!(change.take(time, Entry::Frozen), Entry::Frozen);
            }
        }
    }
}
