//! Votes of several sensors of one place.
//!
//! In: samples of each sensor. Out: the level that they agree on, and how well it is confirmed.
//! Invariant: a bad or silent sensor neither votes nor helps to clear; with none left, all is kept as it is.
//! Source: 2-of-3 with degradation: all good and too few votes is one grade lower and unconfirmed; with a sensor lost, one vote keeps its grade (the safe side).

use std::time::Duration;

use crate::alarm::condition::Entry;
use crate::alarm::condition::level::Threshold;
use crate::alarm::{Direction, Level};
use crate::clock::Timestamp;
use crate::reading::Sample;

#[derive(Clone, Debug)]
struct Sensor {
    gauge: Threshold,
    /// Time and number of the last sample that entered.
    last: Option<(Timestamp, f64)>,
}

/// The outcome is the number of the level from 1 on, 0 for none.
#[derive(Clone, Debug)]
pub(crate) struct Votes {
    need: usize,
    /// A number older than this does not vote.
    within: Duration,
    sensors: Vec<Sensor>,
    /// The number of the sensor that decides.
    pub(crate) value: Option<f64>,
    good: usize,
    /// Sensors at the outcome's level, or over it.
    agree: usize,
}

impl Votes {
    pub(crate) fn new(
        need: usize,
        sensors: usize,
        within: Duration,
        direction: Direction,
        levels: &[Level],
        deadband: f64,
        max_gap: Duration,
    ) -> Self {
        let sensor = Sensor { gauge: Threshold::new(direction, levels, deadband, max_gap), last: None };
        Self { need: need.max(1), within, sensors: vec![sensor; sensors], value: None, good: 0, agree: 0 }
    }

    pub(crate) fn take(&mut self, slot: usize, at: Timestamp, sample: &Sample) -> Entry {
        let Some(sensor) = self.sensors.get_mut(slot) else { return Entry::Ignored };
        match Entry::of(sample, sensor.gauge.direction) {
            Entry::Frozen => {
                sensor.gauge.freeze(at);
                sensor.last = None;
            }
            Entry::Ignored => return Entry::Ignored,
            entry => {
                let Some((value, may_clear)) = entry.number() else { return entry };
                sensor.gauge.step(value, may_clear, at);
                sensor.last = Some((at, value));
            }
        }
        self.count(at)
    }

    fn count(&mut self, at: Timestamp) -> Entry {
        let Self { need, within, sensors, .. } = self;
        let votes = |sensor: &Sensor| {
            let (_, value) = sensor.last.filter(|(last, _)| at.since(*last) <= *within)?;
            Some((sensor.gauge.height(), value))
        };
        let over = |height: usize| sensors.iter().filter_map(votes).filter(|(own, _)| *own >= height).count();
        let good = over(0);
        let highest = sensors.iter().filter_map(votes).map(|(own, _)| own).max();
        let Some(highest) = highest else { return Entry::Frozen };
        let confirmed = (0..=highest).rev().find(|height| over(*height) >= *need).unwrap_or(0);
        let outcome = if good == sensors.len() && highest > confirmed {
            confirmed.max(highest.saturating_sub(1)).max(1)
        } else {
            highest
        };
        let deciding = sensors.iter().filter_map(votes).find(|(own, _)| *own == highest);
        (self.value, self.good, self.agree) = (deciding.map(|(_, value)| value), good, over(outcome));
        Entry::made(f64::from(u8::try_from(outcome).unwrap_or(u8::MAX)), good >= self.need)
    }

    /// How well the outcome is confirmed.
    pub(crate) fn says(&self) -> String {
        let word = if self.agree >= self.need { "confirmed" } else { "unconfirmed" };
        let degraded = if self.good < self.sensors.len() { ", degraded" } else { "" };
        format!("{word}{degraded}: {} of {} good sensors", self.agree, self.good)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::Severity;
    use crate::alarm::condition::tests::at;
    use crate::reading::Reason;

    fn votes() -> Votes {
        let level = |severity, threshold| Level {
            severity,
            threshold,
            on_delay: Duration::ZERO,
            off_delay: Duration::ZERO,
        };
        let levels = [level(Severity::Orange, 25.0), level(Severity::Red, 50.0)];
        let minute = Duration::from_secs(60);
        Votes::new(2, 3, minute, Direction::Above, &levels, 5.0, minute)
    }

    fn bad() -> Sample {
        Sample::Bad(Reason::Timeout)
    }

    fn outcome(samples: [Sample; 3]) -> (Entry, String) {
        let mut votes = votes();
        let mut last = Entry::Frozen;
        for (slot, sample) in samples.iter().enumerate() {
            last = votes.take(slot, at(slot as f64), sample);
        }
        (last, votes.says())
    }

    #[test]
    fn two_of_three() {
        use Sample::Good;
        for (samples, want, says) in [
            ([Good(28.0), Good(3.0), Good(4.0)], Entry::Whole(1.0), "unconfirmed: 1 of 3"),
            ([Good(28.0), Good(27.0), bad()], Entry::Whole(1.0), "confirmed, degraded: 2 of 2"),
            ([Good(28.0), bad(), bad()], Entry::Raise(1.0), "unconfirmed, degraded: 1 of 1"),
            ([Good(60.0), Good(55.0), Good(1.0)], Entry::Whole(2.0), "confirmed: 2 of 3"),
            ([Good(60.0), Good(1.0), Good(1.0)], Entry::Whole(1.0), "unconfirmed: 1 of 3"),
            ([Good(60.0), Good(1.0), bad()], Entry::Whole(2.0), "unconfirmed, degraded: 1 of 2"),
            ([Good(1.0), bad(), bad()], Entry::Raise(0.0), "unconfirmed, degraded: 1 of 1"),
        ] {
            let (entry, found) = outcome(samples.clone());
            assert_eq!(entry, want, "{samples:?}");
            assert!(found.starts_with(says), "{samples:?}: {found}");
        }
        assert_eq!(outcome([bad(), bad(), bad()]).0, Entry::Frozen);
    }

    #[test]
    fn a_silent_sensor_has_no_vote() {
        let mut votes = votes();
        votes.take(0, at(0.0), &Sample::Good(60.0));
        votes.take(1, at(0.0), &Sample::Good(1.0));
        assert_eq!(votes.take(2, at(61.0), &Sample::Good(1.0)), Entry::Raise(0.0));
    }

    proptest! {
        /// Losing sensors never makes an outcome lower than all of those that are left say.
        #[test]
        fn a_lost_sensor_never_hides_what_the_others_see(levels in prop::collection::vec(0.0..80.0_f64, 3), lost in 0..3_usize) {
            let mut votes = votes();
            let mut last = Entry::Frozen;
            for (slot, level) in levels.iter().enumerate() {
                let sample = if slot == lost { bad() } else { Sample::Good(*level) };
                last = votes.take(slot, at(slot as f64), &sample);
            }
            let left = levels.iter().enumerate().filter(|(slot, _)| *slot != lost).map(|(_, level)| *level);
            let highest = left.fold(0.0, f64::max);
            let want = if highest >= 50.0 { 2.0 } else if highest >= 25.0 { 1.0 } else { 0.0 };
            prop_assert_eq!(last, Entry::Whole(want));
        }
    }
}
