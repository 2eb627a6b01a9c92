//! The time of a point never repeats and never goes back while the gateway runs.
//!
//! In: readings in the order in which they were taken, steps of the clock. Out: the same, a time that would repeat or go back being one
//! millisecond after the last one, with the doubt of the clock when the clock itself went back.
//! Invariant: for each point, times rise strictly.
//! Source: DESIGN promise 8; faults ST-44, ST-46. A point and a time are the key of a reading at every sink: the second one under a key would
//! take the place of the first.

use crate::clock::Timestamp;
use crate::point::PointId;
use crate::reading::{Doubt, Reading, Sample};

/// A clock that is less than this behind was slewed or read by two devices at once: no doubt.
const SLEW_MS: i64 = 500;

/// The last time of each point, by point number.
#[derive(Debug, Default)]
pub(crate) struct Times {
    last: Vec<Option<Timestamp>>,
    /// Whether the clock was trusted at the last event.
    pub(crate) trusted: bool,
}

impl Times {
    /// The clock was stepped. What was read before anybody trusted it moves along, on disk as here.
    pub(crate) fn stepped(&mut self, by_ms: i64) {
        if !self.trusted {
            self.last.iter_mut().flatten().for_each(|last| *last = last.shifted(by_ms));
        }
    }

    /// Points have other numbers from now on; `None` for one that is gone.
    pub(crate) fn renumber(&mut self, number: impl Fn(PointId) -> Option<PointId>) {
        for (place, last) in std::mem::take(&mut self.last).into_iter().enumerate() {
            let point = u32::try_from(place).ok().and_then(|point| number(PointId(point)));
            if let (Some(PointId(point)), Some(last)) = (point, last) {
                *self.of(point) = Some(last);
            }
        }
    }

    /// The last time of a point.
    fn of(&mut self, point: u32) -> &mut Option<Timestamp> {
        let place = usize::try_from(point).expect("a point's number fits this machine's memory");
        if self.last.len() <= place {
            // Numbers of points are dense: a catalog counts them from 0.
            self.last.resize(place.saturating_add(1), None);
        }
        self.last.get_mut(place).expect("the list was made long enough")
    }

    /// Takes the time of a reading of an earlier run; whether it is newer than those before.
    pub(crate) fn recall(&mut self, reading: &Reading) -> bool {
        let last = self.of(reading.point.0);
        let newer = last.is_none_or(|last| last < reading.at);
        if newer {
            *last = Some(reading.at);
        }
        newer
    }

    /// Keeps the invariant.
    pub(crate) fn keep(&mut self, readings: &mut [Reading]) {
        for reading in readings {
            let last = self.of(reading.point.0);
            if let Some(last) = *last
                && reading.at <= last
            {
                let behind = last.as_millis().saturating_sub(reading.at.as_millis());
                reading.at = last.shifted(1);
                if let Sample::Good(value) = reading.sample
                    && SLEW_MS <= behind
                {
                    reading.sample = Sample::Uncertain(value, Doubt::Clock);
                }
            }
            *last = Some(reading.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(times: &mut Times, ms: i64) -> (i64, bool) {
        let at = Timestamp::from_millis(ms);
        let mut readings = [Reading { point: PointId(1), at, sample: Sample::Good(1.0) }];
        times.keep(&mut readings);
        (readings[0].at.as_millis(), readings[0].sample == Sample::Good(1.0))
    }

    #[test]
    fn times_rise_strictly() {
        let mut times = Times { trusted: true, ..Times::default() };
        assert_eq!(keep(&mut times, 1000), (1000, true));
        assert_eq!(keep(&mut times, 1000), (1001, true), "two in a millisecond");
        assert_eq!(keep(&mut times, 900), (1002, true), "slewed");
        times.stepped(-5000);
        assert_eq!(keep(&mut times, -4000), (1003, false), "a trusted clock that goes back");
        assert_eq!(keep(&mut times, 1003), (1004, true));
        assert_eq!(keep(&mut times, 9000), (9000, true));
    }

    #[test]
    fn a_point_keeps_its_time_under_another_number() {
        let mut times = Times { trusted: true, ..Times::default() };
        keep(&mut times, 5000);
        times.renumber(|point| Some(PointId(point.0 + 3)));
        assert_eq!(*times.of(4), Some(Timestamp::from_millis(5000)));
        assert_eq!(keep(&mut times, 4000), (4000, true), "another point has that number now");
    }

    #[test]
    fn what_nobody_trusted_moves_with_the_step() {
        let mut times = Times::default();
        assert_eq!(keep(&mut times, 2_000_000), (2_000_000, true));
        times.stepped(-1_000_000);
        assert_eq!(keep(&mut times, 1_000_500), (1_000_500, true));
    }
}
