//! The questions that rules ask. Each is a pure state machine over (time, reading).
//!
//! In: samples with their time. Out: what they prove about the rule's levels: an [`Entry`].
//! Invariant: a sample without a number neither raises nor clears; memory is bounded; no number comes of a window that is not filled.
//! Source: each family names its own.
//!
//! A condition is a [`measure`] (the reading itself, a slope, a sum, an angle, seconds that a state has held ...) against the [`level`]s of the rule.

pub(crate) mod level;
pub(crate) mod stale;
pub mod trail;
pub(crate) mod trend;
pub mod rain;
pub mod slope;
pub mod sensor;
pub mod state;
pub(crate) mod vote;
pub mod pressure;
pub mod lift;
pub mod logic;
pub mod measure;
pub(crate) mod gauged;

use crate::alarm::Direction;
use crate::clock::Timestamp;
use crate::reading::{Doubt, Sample};

/// The number that a rule made of readings last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The time of the reading that made it.
    pub at: Timestamp,
    /// In the unit of the rule's alarms.
    pub value: f64,
    /// It may clear; a number with a doubt may only raise.
    pub whole: bool,
}

/// What a sample may do to a threshold alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Entry {
    /// Raise and clear.
    Whole(f64),
    /// Raise only.
    Raise(f64),
    /// Neither, and it says nothing of the alarm.
    Ignored,
    /// There is no number: all is kept as it is.
    Frozen,
}

impl Entry {
    /// What `sample` may do to a rule that looks this way.
    pub(crate) const fn of(sample: &Sample, direction: Direction) -> Self {
        match (sample, direction) {
            (Sample::Good(value) | Sample::Uncertain(value, Doubt::Clock | Doubt::Calibration), _) => {
                Self::Whole(*value)
            }
            (Sample::Uncertain(value, Doubt::OverRange), Direction::Above)
            | (Sample::Uncertain(value, Doubt::UnderRange), Direction::Below) => Self::Raise(*value),
            (Sample::Uncertain(_, Doubt::OverRange), Direction::Below)
            | (Sample::Uncertain(_, Doubt::UnderRange), Direction::Above)
            | (Sample::Uncertain(_, Doubt::Spike | Doubt::Step), _) => Self::Ignored,
            (Sample::Bad(_), _) => Self::Frozen,
        }
    }
}

impl Entry {
    /// What `sample` may do where there is no direction: a number at the end of its range says nothing.
    pub(crate) const fn plain(sample: &Sample) -> Self {
        match Self::of(sample, Direction::Above) {
            Self::Raise(_) => Self::Ignored,
            entry => entry,
        }
    }

    /// The number, and whether it may also clear.
    pub(crate) const fn number(self) -> Option<(f64, bool)> {
        match self {
            Self::Whole(value) => Some((value, true)),
            Self::Raise(value) => Some((value, false)),
            Self::Ignored | Self::Frozen => None,
        }
    }

    /// A number made of inputs of which some may only raise.
    pub(crate) const fn made(value: f64, may_clear: bool) -> Self {
        if may_clear { Self::Whole(value) } else { Self::Raise(value) }
    }
}

/// Milliseconds of a span, for sums and divisions.
pub(crate) fn ms(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;

    /// Worked numbers of the detection methods, recomputed by a script of their own.
    pub(crate) fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../tests/vectors/detection.json")).unwrap()
    }

    #[expect(clippy::cast_possible_truncation, reason = "tests count in whole milliseconds")]
    pub(crate) fn at(seconds: f64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + (seconds * 1000.0) as i64)
    }

    pub(crate) fn near(found: f64, want: f64, tolerance: f64) {
        assert!((found - want).abs() <= tolerance, "{found} is not {want}");
    }
}
