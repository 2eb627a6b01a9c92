//! Scripted signals: what a simulated sensor would measure at a time.
//!
//! In: a shape and the time since the start. Out: a number in the signal's own unit.
//! Invariant: a pure function of time; the same script gives the same numbers at each run.

use std::time::Duration;

/// How a measured quantity moves.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Always this number.
    Constant(f64),
    /// Straight lines between these moments; before the first and after the last one it stands still.
    Line(Vec<(Duration, f64)>),
    /// Jumps to each number at its moment; before the first one it has the first number.
    Steps(Vec<(Duration, f64)>),
    /// A sine around `mean`.
    Sine {
        /// Middle.
        mean: f64,
        /// Half the height.
        amplitude: f64,
        /// One turn.
        period: Duration,
    },
    /// Stands at `from`, then leaves it by `by` doubled each `doubling`, as a slope that begins to slide; stands still after `end`.
    Accelerate {
        /// Number before the start.
        from: f64,
        /// Distance gained in the first `doubling`.
        by: f64,
        /// When it begins to move.
        start: Duration,
        /// Time in which its speed doubles.
        doubling: Duration,
        /// When it stops.
        end: Duration,
    },
}

impl Shape {
    /// The number at `time` after the start.
    pub fn at(&self, time: Duration) -> f64 {
        match self {
            Self::Constant(number) => *number,
            Self::Line(frames) => line(frames, time),
            Self::Steps(frames) => steps(frames, time),
            Self::Sine { mean, amplitude, period } => {
                mean + amplitude * (std::f64::consts::TAU * ratio(time, *period)).sin()
            }
            Self::Accelerate { from, by, start, doubling, end } => {
                let moving = time.min(*end).saturating_sub(*start);
                from + by * (ratio(moving, *doubling).exp2() - 1.0)
            }
        }
    }
}

/// A shape with noise on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// How it moves.
    pub shape: Shape,
    /// Half the width of evenly spread noise, in the signal's unit.
    pub noise: f64,
    /// Makes this signal's noise another one than its neighbour's.
    pub seed: u64,
}

/// The noise is another one in each of these steps, shorter than any poll period.
const NOISE_STEP_MS: u128 = 100;

impl Signal {
    /// A signal that never moves.
    pub const fn constant(number: f64) -> Self {
        Self { shape: Shape::Constant(number), noise: 0.0, seed: 0 }
    }

    /// The number at `time` after the start.
    pub fn at(&self, time: Duration) -> f64 {
        let step = u64::try_from(time.as_millis() / NOISE_STEP_MS).unwrap_or(u64::MAX);
        let noise = 2.0 * Random::new(self.seed ^ step.wrapping_mul(0x9E37_79B9_7F4A_7C15)).unit() - 1.0;
        self.shape.at(time) + self.noise * noise
    }
}

/// A small seeded generator (SplitMix64), so that a run can be repeated.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// The next number from 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(0);
        f64::from(bits) / 4_294_967_296.0
    }

    /// The next number from 0 to `below` (excluded); 0 when `below` is 0.
    pub const fn below(&mut self, below: u64) -> u64 {
        if below == 0 { 0 } else { self.next() % below }
    }
}

/// `part` over `whole`; 0 for an empty whole.
fn ratio(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

fn line(frames: &[(Duration, f64)], time: Duration) -> f64 {
    let next = frames.partition_point(|(at, _)| *at <= time);
    match (next.checked_sub(1).and_then(|last| frames.get(last)), frames.get(next)) {
        (Some((from_at, from)), Some((to_at, to))) => {
            from + (to - from) * ratio(time.saturating_sub(*from_at), to_at.saturating_sub(*from_at))
        }
        (Some((_, number)), None) | (None, Some((_, number))) => *number,
        (None, None) => 0.0,
    }
}

fn steps(frames: &[(Duration, f64)], time: Duration) -> f64 {
    let next = frames.partition_point(|(at, _)| *at <= time);
    frames.get(next.saturating_sub(1)).map_or(0.0, |(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &Shape, expected: &[(u64, f64)]) {
        for (ms, number) in expected {
            let got = shape.at(Duration::from_millis(*ms));
            assert!((got - number).abs() < 1e-9, "{shape:?} at {ms} ms is {got}, not {number}");
        }
    }

    #[test]
    fn shapes_move_as_they_say() {
        let second = Duration::from_secs;
        let frames = vec![(second(2), 10.0), (second(4), 20.0), (second(5), 0.0)];
        check(
            &Shape::Line(frames.clone()),
            &[(0, 10.0), (2000, 10.0), (3000, 15.0), (4500, 10.0), (9000, 0.0)],
        );
        check(&Shape::Steps(frames), &[(0, 10.0), (3999, 10.0), (4000, 20.0), (4999, 20.0), (5000, 0.0)]);
        check(
            &Shape::Sine { mean: 1.0, amplitude: 2.0, period: second(4) },
            &[(0, 1.0), (1000, 3.0), (3000, -1.0)],
        );
        let slide =
            Shape::Accelerate { from: 5.0, by: 1.0, start: second(10), doubling: second(2), end: second(16) };
        check(
            &slide,
            &[(0, 5.0), (10_000, 5.0), (12_000, 6.0), (14_000, 8.0), (16_000, 12.0), (60_000, 12.0)],
        );
        check(&Shape::Line(Vec::new()), &[(0, 0.0)]);
        check(&Shape::Steps(Vec::new()), &[(0, 0.0)]);
    }

    #[test]
    fn noise_repeats_and_stays_inside_its_width() {
        let signal = Signal { shape: Shape::Constant(3.0), noise: 0.5, seed: 7 };
        let numbers: Vec<f64> = (0..500).map(|step| signal.at(Duration::from_millis(step * 100))).collect();
        let again: Vec<f64> = (0..500).map(|step| signal.at(Duration::from_millis(step * 100))).collect();
        assert_eq!(numbers, again);
        assert!(numbers.iter().all(|number| (2.5..=3.5).contains(number)));
        assert!(numbers.iter().any(|number| *number < 2.7) && numbers.iter().any(|number| *number > 3.3));
    }
}
