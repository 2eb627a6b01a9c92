//! What a rule compares with its levels: a number made of readings. A closed list.
//!
//! In: samples of the rule's inputs, by the order in which the rule names them. Out: an [`Entry`] in the rule's unit.
//! Invariant: as of the families; a sample that is not newer than the last of its input changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::condition::lift::Contact;
use crate::alarm::condition::logic::Op;
use crate::alarm::condition::rain::{Antecedent, Counting, Curve};
use crate::alarm::condition::sensor::Spikes;
use crate::alarm::condition::slope::Failure;
use crate::alarm::condition::state::Wanted;
use crate::alarm::condition::trail::Method;
use crate::alarm::{Direction, Level};

/// A trend and a filter look at so many numbers, each at most the longest gap after the one before.
pub(crate) const READINGS: u32 = 8;

/// What is made of the readings. Numbers are in the canonical unit of the first input, slopes per minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are named as in the documents")]
pub enum Measure {
    /// The reading itself.
    Value,
    /// Slope over a window.
    Rate { window: Duration, method: Method },
    /// The newest reading less the oldest of a window.
    Change { window: Duration },
    /// Minutes until the reading is at a threshold.
    Arrival { window: Duration, threshold: f64, slowest: f64, falling: bool },
    /// Sum of a window.
    Sum { window: Duration, counting: Counting },
    /// Largest share of an intensity-duration curve.
    Intensity { curve: Curve, counting: Counting },
    /// Effective antecedent rain.
    Antecedent { rule: Antecedent, counting: Counting },
    /// Tangential angle in degrees.
    Tangential { window: Duration, creep: f64, reset: f64 },
    /// Hours until failure by inverse velocity.
    Failure { rule: Failure },
    /// 1 while the reading stands still.
    Stuck { window: Duration, within: f64, rest: Option<(f64, f64)> },
    /// 1 while the reading is outside.
    Outside { low: f64, high: f64 },
    /// 1 in a state.
    State { wanted: Wanted },
    /// Entries into a state within a window.
    Repeats { wanted: Wanted, window: Duration },
    /// Percent of a window in a state.
    Share { wanted: Wanted, window: Duration },
    /// The level that sensors agree on; the rule's levels and deadband are each sensor's.
    Votes { need: usize, within: Duration },
    /// Corrected drop of a closed section in kPa; inputs pressure, temperature, barometer, flow.
    LeakDown { window: Duration, barometer: bool, flow_max: Option<f64> },
    /// Outlet while nobody draws gas; inputs outlet, flow.
    LockUp { flow_max: f64 },
    /// Seconds that somebody has been shut in.
    Entrapment { contacts: Vec<Contact> },
    /// 1 while an expression over other conditions holds.
    Combined { parts: Vec<Part>, holds: Vec<Op> },
}

/// One condition of a combined one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What is made of its inputs.
    pub measured: Measured,
    /// The number of its first input among the rule's.
    pub first: usize,
    /// How many inputs it has.
    pub inputs: usize,
}

/// A measure against levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What is compared.
    pub measure: Measure,
    /// A filter on the first input.
    pub spikes: Option<Spikes>,
    /// Factor from the measure's own unit to the rule's.
    pub factor: f64,
    /// Name of the rule's unit.
    pub unit: Option<String>,
    /// Which way the levels look.
    pub direction: Direction,
    /// Levels in the rule's unit, in rising severity.
    pub levels: Vec<Level>,
    /// Deadband in the rule's unit.
    pub deadband: f64,
    /// A gap longer than this restarts windows and delays.
    pub max_gap: Duration,
}

impl Measured {
    /// How far back readings must be known for the measure to be as if the gateway had never stopped.
    pub fn recalls(&self) -> Duration {
        const DAY: Duration = Duration::from_secs(86_400);
        let least = if self.measure.lingers() { DAY } else { Duration::ZERO };
        (self.measure.memory() + self.max_gap * READINGS).max(least)
    }
}

impl Measure {
    /// Whether it answers by 1 or 0.
    pub const fn is_yes_or_no(&self) -> bool {
        matches!(self, Self::Stuck { .. } | Self::Outside { .. } | Self::State { .. } | Self::Combined { .. })
    }

    /// Whether what is judged is the reading of one point as it is.
    pub const fn is_reading(&self) -> bool {
        matches!(self, Self::Value | Self::Stuck { .. } | Self::Outside { .. } | Self::State { .. })
    }

    /// Whether what its inputs said stays with it beyond its window: a hysteresis, a run, a state.
    const fn lingers(&self) -> bool {
        matches!(
            self,
            Self::Votes { .. }
                | Self::Combined { .. }
                | Self::Tangential { .. }
                | Self::Failure { .. }
                | Self::Entrapment { .. }
                | Self::LockUp { .. }
                | Self::LeakDown { .. }
        )
    }

    /// How far back the measure remembers.
    pub fn memory(&self) -> Duration {
        const DAY: Duration = Duration::from_secs(86_400);
        match self {
            Self::Value | Self::Outside { .. } | Self::State { .. } | Self::LockUp { .. } => Duration::ZERO,
            Self::Rate { window, .. }
            | Self::Change { window }
            | Self::Arrival { window, .. }
            | Self::Sum { window, .. }
            | Self::Tangential { window, .. }
            | Self::Stuck { window, .. }
            | Self::Repeats { window, .. }
            | Self::Share { window, .. }
            | Self::LeakDown { window, .. } => *window,
            Self::Intensity { curve, .. } => curve.durations.iter().max().copied().unwrap_or_default(),
            Self::Antecedent { rule, .. } => DAY * u32::try_from(rule.days + 1).unwrap_or(u32::MAX),
            Self::Failure { rule } => rule.step * 60,
            Self::Votes { within, .. } => *within,
            Self::Entrapment { .. } => Duration::from_secs(6 * 3600),
            Self::Combined { parts, .. } => {
                parts.iter().map(|part| part.measured.measure.memory()).max().unwrap_or_default()
            }
        }
    }
}
