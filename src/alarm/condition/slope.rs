//! Landslides: the angle of the displacement curve, and the time of failure.
//!
//! In: displacement of one point. Out: the improved tangential angle in degrees; hours until `1/v` is zero.
//! Invariant: no angle without the speed of uniform creep; no prediction from velocities that are noise, that do not speed up, or that do not lie on a line.
//! Source: Xu Qiang et al. (2009): `alpha = atan(v_i / v)`, 45, 80 and 85 degrees (also EURASIP JWCN 2021, 10.1186/s13638-021-02033-y, table 1);
//! Fukuzono (1985): `1/v = a + b t`, failure at `-a/b`.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::condition::trail::Method;
use crate::alarm::condition::trend::Window;
use crate::alarm::condition::{Entry, ms};
use crate::clock::Timestamp;

/// The angle of a velocity against that of uniform creep, in degrees.
pub fn angle(velocity: f64, creep: f64) -> f64 {
    (velocity / creep).atan().to_degrees()
}

/// The tangential angle over a window.
#[derive(Clone, Debug)]
pub(crate) struct Tangential {
    pub(crate) window: Window,
    /// Speed of uniform creep, per minute.
    pub(crate) creep: f64,
    /// A number further than this from the one before is a new reference after maintenance.
    pub(crate) reset: f64,
    pub(crate) last: Option<f64>,
}

impl Tangential {
    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        if let Some((value, _)) = entry.number()
            && self.last.replace(value).is_some_and(|last| (value - last).abs() > self.reset)
        {
            self.window.restart();
        }
        match self.window.take(at, entry) {
            Ok((trail, may_clear)) => match trail.slope(Method::LeastSquares) {
                Some(slope) => Entry::made(angle(slope, self.creep), may_clear),
                None => Entry::Ignored,
            },
            Err(entry) => entry,
        }
    }
}

/// When velocities are believed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// One velocity is that of the displacement over this long.
    pub step: Duration,
    /// Slower than this per minute is noise.
    pub noise: f64,
    /// The line's coefficient of determination must be at least this.
    pub fit_min: f64,
    /// Later than this is no prediction.
    pub horizon: Duration,
}

/// Velocities that a line is laid through, at most and at least.
const POINTS_MAX: usize = 10;
const POINTS_MIN: usize = 5;
/// Lengths of the moving averages whose crossing is the onset, and how long it must last.
const SHORT: f64 = 7.0;
const LONG: f64 = 21.0;
const ONSET: u32 = 3;

/// A predicted failure, times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) at: f64,
    /// The earliest and the latest of the fits with the last 5, 7 and 10 velocities.
    pub(crate) between: (f64, f64),
    /// Coefficient of determination.
    pub(crate) fit: f64,
    pub(crate) points: usize,
}

/// Hours until failure; infinite without a prediction.
#[derive(Clone, Debug)]
pub(crate) struct InverseVelocity {
    rule: Failure,
    max_gap: Duration,
    /// Number of the step under way, with count and sum of its displacements and times.
    step: Option<(i64, f64, f64, f64)>,
    /// Mean time and displacement of the last whole step.
    whole: Option<(f64, f64)>,
    last: Option<Timestamp>,
    short: f64,
    long: f64,
    crossed: u32,
    /// Times and velocities per minute since the onset.
    velocities: VecDeque<(f64, f64)>,
    prediction: Option<Prediction>,
}

impl InverseVelocity {
    pub(crate) fn new(rule: Failure, max_gap: Duration) -> Self {
        Self {
            rule,
            max_gap: max_gap.max(rule.step * 3),
            step: None,
            whole: None,
            last: None,
            short: 0.0,
            long: 0.0,
            crossed: 0,
            velocities: VecDeque::with_capacity(POINTS_MAX + 1),
            prediction: None,
        }
    }

    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        let Some((value, may_clear)) = entry.number() else { return entry };
        if self.last.replace(at).is_some_and(|last| at.since(last) > self.max_gap) {
            *self = Self { last: Some(at), ..Self::new(self.rule, self.max_gap) };
        }
        let number = at.as_millis().div_euclid(ms(self.rule.step).max(1));
        let time = at.as_millis() as f64;
        match &mut self.step {
            Some((step, count, times, values)) if *step == number => {
                *count += 1.0;
                *times += time;
                *values += value;
            }
            step => {
                if let Some((_, count, times, values)) = step.replace((number, 1.0, time, value)) {
                    self.whole_step(times / count, values / count);
                }
            }
        }
        let hours = self.prediction.map_or(f64::INFINITY, |found| (found.at - time) / 3_600_000.0);
        Entry::made(hours.max(0.0), may_clear)
    }

    /// The displacement of a step is known: that gives a velocity.
    fn whole_step(&mut self, time: f64, value: f64) {
        let Some((before, last)) = self.whole.replace((time, value)) else { return };
        let velocity = (value - last) / (time - before) * 60_000.0;
        let fresh = self.short.abs() + self.long.abs() <= 0.0;
        let toward = |average: f64, length: f64| {
            if fresh { velocity } else { average + (velocity - average) * 2.0 / (length + 1.0) }
        };
        (self.short, self.long) = (toward(self.short, SHORT), toward(self.long, LONG));
        self.crossed = if self.short > self.long { self.crossed.saturating_add(1) } else { 0 };
        if self.crossed == 0 {
            self.velocities.clear();
        } else if velocity > self.rule.noise {
            if self.velocities.len() == POINTS_MAX {
                self.velocities.pop_front();
            }
            self.velocities.push_back((f64::midpoint(before, time), velocity));
        }
        let lasting = self.crossed >= ONSET;
        self.prediction = lasting.then(|| predict(self.rule, self.velocities.make_contiguous())).flatten();
    }

    /// The prediction for a person.
    pub(crate) fn says(&self) -> Option<String> {
        let found = self.prediction?;
        Some(format!(
            "failure between {} and {} by inverse velocity (R2 {:.2} over {} velocities)",
            moment(found.between.0),
            moment(found.between.1),
            found.fit,
            found.points
        ))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a predicted moment needs no more than whole milliseconds"
)]
fn moment(ms: f64) -> Timestamp {
    Timestamp::from_millis(ms as i64)
}

/// Intercept, slope and R2 of a line.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64, f64)> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let sums = points.iter().fold((0.0, 0.0, 0.0), |(xx, xy, yy), point| {
        let (dx, dy) = (point.0 - x, point.1 - y);
        (xx + dx * dx, xy + dx * dy, yy + dy * dy)
    });
    let (xx, xy, yy) = sums;
    if xx <= 0.0 || yy <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    Some((y - slope * x, slope, xy * xy / (xx * yy)))
}

/// The failure that times (ms) and velocities lead to, when it can be believed.
fn predict(rule: Failure, velocities: &[(f64, f64)]) -> Option<Prediction> {
    let mean = velocities.iter().map(|(_, v)| v).sum::<f64>() / velocities.len() as f64;
    let (origin, (last, newest)) = (velocities.first()?.0, *velocities.last()?);
    let inverse: Vec<(f64, f64)> = velocities.iter().map(|(at, v)| (at - origin, 1.0 / v)).collect();
    let zero = |points: &[(f64, f64)]| {
        let (a, b, fit) = line(points)?;
        (b < 0.0).then(|| (origin - a / b, fit))
    };
    let (at, fit) = zero(&inverse)?;
    let believed = velocities.len() >= POINTS_MIN
        && fit >= rule.fit_min
        && newest > mean
        && last < at
        && at - last <= ms(rule.horizon) as f64;
    if !believed {
        return None;
    }
    let tail = |length: usize| inverse.get(inverse.len().checked_sub(length)?..).and_then(zero);
    let fits = [5, 7, 10].into_iter().filter_map(tail).map(|(at, _)| at).filter(|at| *at > last);
    let between = fits.fold((at, at), |(low, high), at| (low.min(at), high.max(at)));
    Some(Prediction { at, between, fit, points: velocities.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::condition::tests::{at, near, vectors};

    const HOUR: Duration = Duration::from_secs(3600);
    const RULE: Failure =
        Failure { step: HOUR, noise: 0.0, fit_min: 0.8, horizon: Duration::from_secs(14 * 86_400) };

    #[test]
    fn angles() {
        let vectors = vectors();
        let tangential = &vectors["tangential"];
        for (v, degrees) in tangential["deg"].as_object().unwrap() {
            near(angle(v.parse().unwrap(), 2.0), degrees.as_f64().unwrap(), 1e-9);
        }
        near(angle(tangential["v_at_80"].as_f64().unwrap(), 2.0), 80.0, 1e-9);
        near(angle(tangential["v_at_85"].as_f64().unwrap(), 2.0), 85.0, 1e-9);
        assert!(angle(-1.0, 2.0) < 0.0);
    }

    #[test]
    fn inverse_velocities() {
        for case in vectors()["inverse_velocity"].as_array().unwrap() {
            let numbers = |key: &str| -> Vec<f64> {
                case.get(key).and_then(|list| list.as_array()).map_or_else(Vec::new, |list| {
                    list.iter().map(|number| number.as_f64().unwrap()).collect()
                })
            };
            let inverse = numbers("inv").into_iter().chain(numbers("v").into_iter().map(f64::recip));
            let points: Vec<(f64, f64)> = numbers("t").into_iter().zip(inverse).collect();
            let (a, b, fit) = line(&points).unwrap();
            near(a, case["a"].as_f64().unwrap(), 1e-9);
            near(b, case["b"].as_f64().unwrap(), 1e-9);
            near(fit, case["r2"].as_f64().unwrap(), 1e-9);
            let velocities: Vec<(f64, f64)> =
                points.iter().map(|(t, inverse)| (t * 3_600_000.0, 1.0 / inverse)).collect();
            let found = predict(RULE, &velocities);
            match case.get("tf") {
                Some(tf) => near(found.unwrap().at / 3_600_000.0, tf.as_f64().unwrap(), 1e-6),
                None => assert_eq!(found, None, "a slide that slows down has no end"),
            }
        }
    }

    #[test]
    fn a_slide_that_speeds_up_is_predicted_and_a_creep_is_not() {
        // 1/v = 0.01 (100 h - t): displacement is -100 ln(1 - t/100 h) mm, after a creep of 0.5 mm/h.
        let mut meter = InverseVelocity::new(RULE, HOUR);
        let mut displacement = 0.0;
        for tick in 0..(120 * 6) {
            displacement += 0.5 / 6.0;
            let entry = meter.take(at(f64::from(tick) * 600.0), Entry::Whole(displacement));
            assert_eq!(entry, Entry::Whole(f64::INFINITY), "uniform creep has no end, at tick {tick}");
        }
        let base = displacement;
        let mut last = 0.0;
        for tick in 0..(94 * 6) {
            let t = f64::from(tick) / 6.0;
            let grown = base - 100.0 * (1.0 - t / 100.0).ln();
            last = meter.take(at(f64::from(120 * 6 + tick) * 600.0), Entry::Whole(grown)).number().unwrap().0;
        }
        // Hourly means see the last hour's velocity late, so the answer is a little early or late.
        assert!((4.0..9.0).contains(&last), "{last} h of 6.2 h left");
        assert!(meter.says().unwrap().starts_with("failure between "));
    }

    proptest! {
        /// Scatter around a standing point predicts nothing, whatever it looks like: its velocities are noise.
        #[test]
        fn noise_is_no_failure(values in prop::collection::vec(-1.0..1.0_f64, 60)) {
            let rule = Failure { noise: 2.0 / 60.0, ..RULE };
            let mut meter = InverseVelocity::new(rule, HOUR);
            for (hour, value) in values.iter().enumerate() {
                let entry = meter.take(at(hour as f64 * 3600.0), Entry::Whole(*value));
                prop_assert_eq!(entry, Entry::Whole(f64::INFINITY));
            }
        }
    }
}
