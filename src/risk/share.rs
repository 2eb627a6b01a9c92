//! How many of a day's expected samples were good.
//!
//! In: samples with their time. Out: good and expected ones of the last 24 hours.
//! Invariant: bounded memory; a sample polled denser than its period never counts for two; time without the gateway counts as expected.
//! Source: the ladder's rung `valid`: at least 90 % of the expected samples of 24 hours.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Samples are counted by this much time.
const BUCKET_MS: i64 = 900_000;

/// A day of them.
const BUCKETS: i64 = 96;

/// Counts of good samples, by quarter of an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Since when this sensor is counted.
    since: Option<Timestamp>,
    /// How often the sensor is asked, in milliseconds, when its good samples are those of such polls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_ms: Option<i64>,
    /// Quarter hours since 1970 with their good samples, oldest first; those without one are left out.
    good: VecDeque<(i64, u32)>,
}

impl Share {
    /// The sensor is asked each `every` from now on: what was good before is the same part of what was asked then, counted as polls of now.
    pub fn asked_each(&mut self, every: Duration) {
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
        let before = self.every_ms.replace(every_ms).filter(|before| *before != every_ms);
        let Some(before) = before.and_then(|before| u64::try_from(before).ok()) else { return };
        let now = every_ms.unsigned_abs();
        for (_, count) in &mut self.good {
            let scaled = (u64::from(*count).saturating_mul(before).saturating_add(now / 2)) / now;
            *count = u32::try_from(scaled).unwrap_or(u32::MAX);
        }
    }

    /// Counts one sample. One that comes late (a backlog of the device) counts in its own time.
    pub fn record(&mut self, at: Timestamp, good: bool) {
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
        let bucket = at.as_millis().div_euclid(BUCKET_MS);
        if good {
            match self.good.binary_search_by_key(&bucket, |(number, _)| *number) {
                Ok(place) => {
                    if let Some((_, count)) = self.good.get_mut(place) {
                        *count = count.saturating_add(1);
                    }
                }
                Err(place) => self.good.insert(place, (bucket, 1)),
            }
        }
        let newest = self.good.back().map_or(bucket, |(number, _)| *number);
        while self.good.front().is_some_and(|(number, _)| *number < newest - BUCKETS) {
            self.good.pop_front();
        }
    }

    /// Good and expected samples of the 24 hours before `now`, for a sensor that is asked each `every`.
    pub fn of_day(&self, every: Duration, now: Timestamp) -> (u32, u32) {
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
        let Some(since) = self.since else { return (0, 0) };
        // Whole quarter hours only: the day is up to a quarter hour short.
        let first = (now.as_millis() - BUCKETS * BUCKET_MS).div_euclid(BUCKET_MS) + 1;
        let from = since.as_millis().max(first * BUCKET_MS);
        let expected = (now.as_millis() - from).max(0) / every_ms;
        // A quarter hour holds at most what was asked in it; the one in progress only what it could hold so far.
        let most = |number: i64| {
            let begin = (number * BUCKET_MS).max(from);
            let end = ((number + 1) * BUCKET_MS).min(now.as_millis());
            (end - begin).max(0) / every_ms + 1
        };
        let good: i64 = self
            .good
            .iter()
            .filter(|(number, _)| first <= *number && number * BUCKET_MS <= now.as_millis())
            .map(|(number, count)| i64::from(*count).min(most(*number)))
            .sum();
        let count = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        (count(good.min(expected)), count(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTES_5: Duration = Duration::from_secs(300);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_751_241_600_000 + seconds * 1000)
    }

    #[test]
    fn a_day_of_288_samples() {
        let mut share = Share::default();
        for sample in 0..=400 {
            share.record(at(sample * 300), !(200..208).contains(&sample));
        }
        let (good, expected) = share.of_day(MINUTES_5, at(400 * 300));
        assert!((285..=288).contains(&expected), "{expected}");
        // The newest sample is there already, and its time is not over.
        assert_eq!(expected + 1 - good, 8);
    }

    #[test]
    fn a_gateway_that_was_off_has_no_samples_of_that_time() {
        let mut share = Share::default();
        for sample in 0..=100 {
            share.record(at(sample * 300), true);
        }
        let (good, expected) = share.of_day(MINUTES_5, at(200 * 300));
        assert_eq!((good, expected), (101, 200));
        assert_eq!(Share::default().of_day(MINUTES_5, at(0)), (0, 0));
    }

    /// A sensor of one poll a minute that lost 5 % is asked every ten seconds, or every five minutes, from now on.
    #[test]
    fn another_period_keeps_the_share_of_the_day() {
        // Three polls in a quarter hour can only tell thirds.
        for (every, most) in [(10, 96.0), (60, 96.0), (300, 100.0)] {
            let mut share = Share::default();
            share.asked_each(Duration::from_secs(60));
            for minute in 0..1440 {
                share.record(at(minute * 60), minute % 20 != 0);
            }
            share.asked_each(Duration::from_secs(every));
            let (good, expected) = share.of_day(Duration::from_secs(every), at(1440 * 60));
            let percent = f64::from(good) / f64::from(expected) * 100.0;
            assert!((94.0..=most).contains(&percent), "every {every} s: {good} of {expected}");
        }
    }

    #[test]
    fn denser_samples_do_not_make_up_for_missing_ones() {
        let mut share = Share::default();
        share.record(at(0), true);
        for second in 0..900 {
            share.record(at(second), true);
        }
        let (good, expected) = share.of_day(MINUTES_5, at(3600));
        assert_eq!((good, expected), (4, 12));
    }

    proptest! {
        #[test]
        fn never_more_good_than_expected(
            samples in prop::collection::vec((0i64..200_000, any::<bool>()), 0..400),
            every in 1u64..4000,
            now in 0i64..300_000,
        ) {
            let mut share = Share::default();
            samples.iter().for_each(|(second, good)| share.record(at(*second), *good));
            let (good, expected) = share.of_day(Duration::from_secs(every), at(now));
            prop_assert!(good <= expected);
            prop_assert!(share.good.len() <= 98);
        }
    }
}
