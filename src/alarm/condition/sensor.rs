//! Trouble of a sensor itself: numbers that stand still, numbers it can't have, single numbers that are far off.
//!
//! In: samples of one point. Out: 1 while there is trouble, 0 while there is none.
//! Invariant: a gap is never taken for standing still; a standing point at its rest value is healthy; the filter takes three spikes of one direction for a true step.
//! Source: flat line: `max - min <= eps` over the window with enough numbers; Hampel filter: `|x - m| > t * 1.4826 * MAD`, with a floor, because with a MAD of 0
//! any change would be a spike.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::condition::Entry;
use crate::alarm::condition::trail::{Trail, median};
use crate::clock::Timestamp;
use crate::reading::{Reason, Sample};

/// A window of fewer numbers proves no standing still.
const NUMBERS_MIN: f64 = 4.0;

/// A point stands still.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    trail: Trail,
    span: Duration,
    max_gap: Duration,
    /// It may move this far and stand still.
    within: f64,
    /// At this value and this close to it the point is at rest.
    rest: Option<(f64, f64)>,
    last: Option<Timestamp>,
}

impl Stuck {
    pub(crate) fn new(span: Duration, within: f64, rest: Option<(f64, f64)>, max_gap: Duration) -> Self {
        Self { trail: Trail::new(span), span, max_gap, within, rest, last: None }
    }

    pub(crate) fn take(&mut self, at: Timestamp, sample: &Sample, entry: Entry) -> Entry {
        if *sample == Sample::Bad(Reason::Stuck) {
            return Entry::Whole(1.0);
        }
        let Some((value, _)) = entry.number() else { return entry };
        if self.last.replace(at).is_some_and(|last| at.since(last) > self.max_gap) {
            self.trail.clear();
        }
        if self.rest.is_some_and(|(rest, band)| (value - rest).abs() <= band) {
            self.trail.clear();
            return Entry::Whole(0.0);
        }
        self.trail.push(at, value, false, Duration::ZERO);
        if self.trail.max() - self.trail.min() > self.within {
            return Entry::Whole(0.0);
        }
        // The left end is excluded: of 30 min with a number every 5 min, 25 min are seen.
        let spacing = self.trail.reach().div_f64((self.trail.count() - 1.0).max(1.0));
        let filled = self.trail.count() >= NUMBERS_MIN && self.trail.reach() + spacing >= self.span;
        if filled { Entry::Whole(1.0) } else { Entry::Ignored }
    }
}

/// A number outside what the sensor can have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Outside {
    pub(crate) fn take(self, sample: &Sample, entry: Entry) -> Entry {
        if *sample == Sample::Bad(Reason::OutOfRange) {
            return Entry::Whole(1.0);
        }
        match entry {
            Entry::Whole(value) => {
                Entry::Whole(if (self.low..=self.high).contains(&value) { 0.0 } else { 1.0 })
            }
            other => other,
        }
    }
}

/// A filter before a rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spikes {
    /// Numbers looked at, the newest among them.
    pub samples: usize,
    /// How many scaled deviations from the median are a spike.
    pub times: f64,
    /// The least scaled deviation.
    pub floor: f64,
}

/// Samples that are looked at, at most.
pub const SPIKE_SAMPLES_MAX: usize = 31;
/// Spikes of one direction in a row that are a step.
const STEP: i32 = 3;

/// The Hampel filter over the last numbers.
#[derive(Clone, Debug)]
pub(crate) struct Hampel {
    rule: Spikes,
    numbers: [f64; SPIKE_SAMPLES_MAX],
    scratch: [f64; SPIKE_SAMPLES_MAX],
    filled: usize,
    next: usize,
    /// Spikes in a row, negative when they point down.
    row: i32,
}

impl Hampel {
    pub(crate) fn new(rule: Spikes) -> Self {
        let rule = Spikes { samples: rule.samples.clamp(3, SPIKE_SAMPLES_MAX), ..rule };
        let none = [0.0; SPIKE_SAMPLES_MAX];
        Self { rule, numbers: none, scratch: none, filled: 0, next: 0, row: 0 }
    }

    /// A spike is ignored; everything else passes.
    pub(crate) fn pass(&mut self, entry: Entry) -> Entry {
        let Some((value, _)) = entry.number() else { return entry };
        if let Some(place) = self.numbers.get_mut(self.next) {
            *place = value;
        }
        self.next = (self.next + 1) % self.rule.samples;
        self.filled = (self.filled + 1).min(self.rule.samples);
        if self.filled < 3 {
            return entry;
        }
        let Some((middle, limit)) = self.limit() else { return entry };
        let off = value - middle;
        if off.abs() <= limit {
            self.row = 0;
            return entry;
        }
        let way = if off > 0.0 { 1 } else { -1 };
        self.row = if self.row.signum() == way { self.row.saturating_add(way) } else { way };
        if self.row.abs() >= STEP { entry } else { Entry::Ignored }
    }

    /// The median, and how far from it is still no spike.
    fn limit(&mut self) -> Option<(f64, f64)> {
        let (numbers, scratch) = (self.numbers.get(..self.filled)?, self.scratch.get_mut(..self.filled)?);
        scratch.copy_from_slice(numbers);
        let middle = median(scratch)?;
        for (place, number) in scratch.iter_mut().zip(numbers) {
            *place = (number - middle).abs();
        }
        Some((middle, self.rule.times * (1.4826 * median(scratch)?).max(self.rule.floor)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::condition::tests::{at, vectors};

    const MINUTE: Duration = Duration::from_secs(60);

    fn stuck(samples: &[(f64, f64)], rest: Option<(f64, f64)>) -> Entry {
        let mut stuck = Stuck::new(MINUTE * 30, 0.0, rest, MINUTE * 15);
        let mut last = Entry::Frozen;
        for (minute, value) in samples {
            last = stuck.take(at(minute * 60.0), &Sample::Good(*value), Entry::Whole(*value));
        }
        last
    }

    #[test]
    fn a_flat_line() {
        let flat: Vec<(f64, f64)> = (0..6).map(|n| (f64::from(n) * 5.0, 101.3)).collect();
        assert_eq!(stuck(&flat, None), Entry::Whole(1.0));
        let mut moved = flat.clone();
        moved[3].1 = 101.4;
        assert_eq!(stuck(&moved, None), Entry::Whole(0.0));
        let dry: Vec<(f64, f64)> = (0..72).map(|n| (f64::from(n) * 10.0, 0.0)).collect();
        assert_eq!(stuck(&dry, Some((0.0, 0.1))), Entry::Whole(0.0), "a dry gauge is healthy");
        let mut one = Stuck::new(MINUTE, 0.0, None, MINUTE);
        assert_eq!(one.take(at(0.0), &Sample::Bad(Reason::Stuck), Entry::Frozen), Entry::Whole(1.0));
    }

    #[test]
    fn out_of_range_is_told_by_number_and_by_reason() {
        let outside = Outside { low: 0.0, high: 100.0 };
        let take = |sample: Sample, entry| outside.take(&sample, entry);
        assert_eq!(take(Sample::Good(100.0), Entry::Whole(100.0)), Entry::Whole(0.0));
        assert_eq!(take(Sample::Good(100.1), Entry::Whole(100.1)), Entry::Whole(1.0));
        assert_eq!(take(Sample::Bad(Reason::OutOfRange), Entry::Frozen), Entry::Whole(1.0));
        assert_eq!(take(Sample::Bad(Reason::Timeout), Entry::Frozen), Entry::Frozen);
    }

    #[test]
    fn spikes() {
        for case in vectors()["hampel"].as_array().unwrap() {
            let test = case["test"].as_f64().unwrap();
            let mut numbers: Vec<f64> =
                case["window"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
            // The filter is causal: the number under test comes last.
            numbers.retain(|number| (number - test).abs() > 1e-9);
            let floor = case["floor"].as_f64().unwrap();
            let mut filter = Hampel::new(Spikes { samples: 7, times: 3.0, floor });
            for number in &numbers {
                filter.pass(Entry::Whole(*number));
            }
            let spike = filter.pass(Entry::Whole(test)) == Entry::Ignored;
            assert_eq!(spike, case["spike"].as_bool().unwrap(), "{case}");
        }
    }

    #[test]
    fn three_in_a_row_are_a_step() {
        let mut filter = Hampel::new(Spikes { samples: 7, times: 3.0, floor: 0.1 });
        for _ in 0..7 {
            filter.pass(Entry::Whole(5.0));
        }
        let passed = [9.0, 9.0, 9.0].map(|value| filter.pass(Entry::Whole(value)));
        assert_eq!(passed, [Entry::Ignored, Entry::Ignored, Entry::Whole(9.0)]);
    }

    proptest! {
        /// Whatever came before a gap, what stands after it was not seen standing for long enough.
        #[test]
        fn a_gap_is_never_standing_still(before in 1..40_u32, gap in 15.1..10_000.0_f64, after in 1..6_u32) {
            let mut samples: Vec<(f64, f64)> = (0..before).map(|n| (f64::from(n) * 5.0, 7.0)).collect();
            let from = f64::from(before - 1) * 5.0 + gap;
            samples.extend((0..after).map(|n| (from + f64::from(n) * 5.0, 7.0)));
            prop_assume!(after < 6);
            prop_assert_ne!(stuck(&samples, None), Entry::Whole(1.0));
        }

        /// The filter never makes a number of none, and never changes one.
        #[test]
        fn what_passes_is_what_came(values in prop::collection::vec(-1e6..1e6_f64, 1..60)) {
            let mut filter = Hampel::new(Spikes { samples: 7, times: 3.0, floor: 0.0 });
            for value in values {
                let passed = filter.pass(Entry::Whole(value));
                prop_assert!(passed == Entry::Whole(value) || passed == Entry::Ignored);
                prop_assert_eq!(filter.pass(Entry::Frozen), Entry::Frozen);
            }
        }
    }
}
