//! Fewer readings of one point that look the same: of each span of time the first, the least, the greatest and the last.
//!
//! In: readings in order of time. Out: at most four, and the first one without a number, of each span.
//! Invariant: no extreme is lost, and nothing is made up: what comes out is what went in.
//! Source: minimum and maximum per pixel column, as M4 (Jugel et al., VLDB 2014) proves to draw the same line.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::reading::Reading;

/// Gathers readings by spans of time.
#[derive(Debug)]
pub struct Extremes {
    span_ms: i64,
    span: Option<i64>,
    first: Option<Reading>,
    least: Option<Reading>,
    greatest: Option<Reading>,
    last: Option<Reading>,
    bad: Option<Reading>,
}

impl Extremes {
    /// For spans of this length.
    pub fn new(span: Duration) -> Self {
        let span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX).max(1);
        Self { span_ms, span: None, first: None, least: None, greatest: None, last: None, bad: None }
    }

    /// Spans for about `rows` rows between two moments.
    pub fn rows(from: Timestamp, to: Timestamp, rows: u32) -> Self {
        Self::new(to.since(from) / (rows / 4).max(1))
    }

    /// Takes a reading; what is complete comes out, in order of time.
    pub fn push(&mut self, reading: &Reading) -> Vec<Reading> {
        let span = reading.at.as_millis().div_euclid(self.span_ms);
        let out = if self.span == Some(span) { Vec::new() } else { self.finish() };
        self.span = Some(span);
        let Some(value) = reading.sample.value() else {
            self.bad.get_or_insert_with(|| reading.clone());
            return out;
        };
        let of = |held: &Option<Reading>| held.as_ref().and_then(|held| held.sample.value());
        if of(&self.least).is_none_or(|least| value < least) {
            self.least = Some(reading.clone());
        }
        if of(&self.greatest).is_none_or(|greatest| value > greatest) {
            self.greatest = Some(reading.clone());
        }
        self.first.get_or_insert_with(|| reading.clone());
        self.last = Some(reading.clone());
        out
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Vec<Reading> {
        let held =
            [self.first.take(), self.least.take(), self.greatest.take(), self.last.take(), self.bad.take()];
        let mut out: Vec<Reading> = held.into_iter().flatten().collect();
        out.sort_by_key(|reading| reading.at);
        out.dedup();
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::point::PointId;
    use crate::reading::{Reason, Sample};

    proptest! {
        #[test]
        fn no_extreme_is_lost(values in prop::collection::vec(prop::option::of(-100_i32..100), 1..300), span in 1_u64..60) {
            let readings: Vec<Reading> = values.iter().zip(0..).map(|(value, n)| {
                let sample = value.map_or(Sample::Bad(Reason::Timeout), |value| Sample::Good(f64::from(value)));
                Reading { point: PointId(0), at: Timestamp::from_millis(n * 1000), sample }
            }).collect();
            let mut extremes = Extremes::new(Duration::from_secs(span));
            let mut out: Vec<Reading> = readings.iter().flat_map(|reading| extremes.push(reading)).collect();
            out.extend(extremes.finish());
            prop_assert!(out.is_sorted_by_key(|reading| reading.at));
            prop_assert!(out.iter().all(|reading| readings.contains(reading)), "nothing is made up");
            let spans = readings.len() / usize::try_from(span).unwrap() + 1;
            prop_assert!(out.len() <= 5 * spans);
            for part in readings.chunks(usize::try_from(span).unwrap()) {
                let of = |all: &[Reading], least: bool| {
                    let inside = all.iter().filter(|one| part[0].at <= one.at && one.at <= part[part.len() - 1].at);
                    let values = inside.filter_map(|one| one.sample.value());
                    values.reduce(if least { f64::min } else { f64::max })
                };
                prop_assert_eq!(of(&out, true), of(part, true));
                prop_assert_eq!(of(&out, false), of(part, false));
            }
        }
    }
}
