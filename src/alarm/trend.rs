//! Which way a value goes: the slope of its last few numbers.
//!
//! In: numbers with their times, in order. Out: least-squares slope in the value's unit per minute.
//! Invariant: a fixed piece of memory, no allocation; fewer than three numbers have no trend.
//! Source: ordinary least squares.

use crate::clock::Timestamp;

const COUNT: usize = 8;

/// The last numbers of one point.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trend {
    /// A ring; `next` is written next.
    samples: [(i64, f64); COUNT],
    next: u8,
    held: u8,
}

impl Trend {
    pub(crate) fn push(&mut self, at: Timestamp, value: f64) {
        if let Some(slot) = self.samples.get_mut(usize::from(self.next)) {
            *slot = (at.as_millis(), value);
        }
        self.next = (self.next + 1) % 8;
        self.held = (self.held + 1).min(8);
    }

    /// Unit per minute.
    pub(crate) fn per_minute(&self) -> Option<f64> {
        let held = self.samples.get(..usize::from(self.held)).filter(|held| held.len() >= 3)?;
        // Oldest first, so that the sum rounds the same wherever in the ring the numbers came to stand.
        let (newer, older) = held.split_at_checked(usize::from(self.next))?;
        let held = || older.iter().chain(newer);
        let first = held().map(|(at, _)| *at).min()?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds between a few readings")]
        let minutes = |at: i64| at.saturating_sub(first) as f64 / 60_000.0;
        let count = f64::from(self.held);
        let (time, value) = held().fold((0.0, 0.0), |sum, (at, v)| (sum.0 + minutes(*at), sum.1 + v));
        let (time, value) = (time / count, value / count);
        let (mut square, mut product) = (0.0, 0.0);
        for (at, v) in held() {
            let dt = minutes(*at) - time;
            square += dt * dt;
            product += dt * (v - value);
        }
        let slope = product / square;
        slope.is_finite().then_some(slope)
    }

    /// A step of the wall clock: the numbers before it are not comparable.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_make_a_slope_and_old_ones_go() {
        let mut trend = Trend::default();
        let mut push = |seconds: i64, value: f64| {
            trend.push(Timestamp::from_millis(1_800_000_000_000 + seconds * 1000), value);
            trend.per_minute()
        };
        assert_eq!((push(0, 9.0), push(30, 9.0)), (None, None));
        assert_eq!(push(60, 9.0), Some(0.0));
        for minute in 2..10 {
            push(minute * 60, 2.0 * f64::from(u8::try_from(minute).unwrap()));
        }
        let slope = push(600, 20.0).unwrap();
        assert!((slope - 2.0).abs() < 1e-9, "{slope}");
        let at_once: Vec<_> = (0..8).map(|_| push(700, 1.0)).collect();
        assert_eq!(at_once.last(), Some(&None), "no time, no slope");
    }
}
