//! One value or its absence, of one point at one time, with its quality.
//!
//! In: nothing. Out: the types that flow from `normalize` to every sink.
//! Invariant: a sample is a finite number, a finite number with a named doubt, or a reason without a number.
//! Source: DESIGN promise 1 and section 7 (closed lists of doubts and reasons).

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::point::{DeviceId, PointId};

/// Why a value may not be what it seems. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// The box's or the sensor's time is not trusted.
    Clock,
    /// The sensor's calibration is overdue.
    Calibration,
    /// Above the range, inside the tolerance band.
    OverRange,
    /// Below the range, inside the tolerance band.
    UnderRange,
    /// A single value far from its neighbours.
    Spike,
    /// A jump faster than the process can move.
    Step,
}

impl Doubt {
    /// All doubts, in the order of their codes (1, 2, ...).
    pub const ALL: [Self; 6] =
        [Self::Clock, Self::Calibration, Self::OverRange, Self::UnderRange, Self::Spike, Self::Step];

    /// The kebab-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Calibration => "calibration",
            Self::OverRange => "over-range",
            Self::UnderRange => "under-range",
            Self::Spike => "spike",
            Self::Step => "step",
        }
    }
}

/// Why there is no value. A closed list; a sensor's own fault carries its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The device did not answer in time.
    Timeout,
    /// The line itself is not there: no port, no connection.
    LineDown,
    /// An answer came and was damaged.
    BadFrame,
    /// The device refused with this exception code.
    Exception(u8),
    /// The sensor says of itself that it has no value.
    SensorFault(Arc<str>),
    /// Outside the sensor's range and its tolerance band.
    OutOfRange,
    /// Unchanged for longer than the process can stand still.
    Stuck,
    /// The poll was left out (device held back after failures).
    NotPolled,
    /// An input of this derived point has no value.
    Input(PointId),
}

impl Reason {
    /// The number that stands for this reason in line protocol. Doubts are 1-6, reasons from 20, exceptions 100 + code.
    pub fn code(&self) -> u16 {
        match self {
            Self::Timeout => 20,
            Self::LineDown => 21,
            Self::BadFrame => 22,
            Self::SensorFault(_) => 23,
            Self::OutOfRange => 24,
            Self::Stuck => 25,
            Self::NotPolled => 26,
            Self::Input(_) => 27,
            Self::Exception(code) => 100 + u16::from(*code),
        }
    }
}

impl Reason {
    /// The name, for an exception with what it means; the last two tell a gateway's own trouble from its device's.
    ///
    /// Source: Modbus Application Protocol V1.1b3, 7.
    pub fn words(&self) -> String {
        let Self::Exception(code) = self else { return self.to_string() };
        let meaning = match code {
            1 => "the device does not know this function",
            2 => "the device has no such register",
            3 => "the device does not allow such a request",
            4 => "the device has failed",
            5 => "the device needs more time",
            6 => "the device is busy",
            8 => "the device's memory is damaged",
            10 => "the gateway in between has no way to the device",
            11 => "the device behind the gateway in between does not answer",
            _ => return self.to_string(),
        };
        format!("{self} ({meaning})")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::LineDown => f.write_str("line-down"),
            Self::BadFrame => f.write_str("bad-frame"),
            Self::Exception(code) => write!(f, "exception-{code}"),
            Self::SensorFault(fault) => write!(f, "sensor-fault: {fault}"),
            Self::OutOfRange => f.write_str("out-of-range"),
            Self::Stuck => f.write_str("stuck"),
            Self::NotPolled => f.write_str("not-polled"),
            Self::Input(point) => write!(f, "input: {}", point.0),
        }
    }
}

/// What one exchange says of one point.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A number.
    Good(f64),
    /// A number and the doubt about it.
    Uncertain(f64, Doubt),
    /// No number, and why.
    Bad(Reason),
}

/// The quality of a sample, derived and never stored beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// 0 on the wire.
    Good,
    /// 1 on the wire.
    Uncertain,
    /// 2 on the wire.
    Bad,
}

impl Quality {
    /// `good`, `uncertain` or `bad`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }
}

impl Sample {
    /// Its quality.
    pub const fn quality(&self) -> Quality {
        match self {
            Self::Good(_) => Quality::Good,
            Self::Uncertain(..) => Quality::Uncertain,
            Self::Bad(_) => Quality::Bad,
        }
    }

    /// Its number, when there is one.
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Good(value) | Self::Uncertain(value, _) => Some(*value),
            Self::Bad(_) => None,
        }
    }
}

/// One point at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which point.
    pub point: PointId,
    /// The end of its own exchange; for a failed one its deadline.
    pub at: Timestamp,
    /// The value, in the point's canonical unit, or its absence.
    pub sample: Sample,
}

/// What one device said in one poll, normalized.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Which device.
    pub device: DeviceId,
    /// Begin of the poll's first exchange.
    pub start: Timestamp,
    /// End of its last one.
    pub end: Timestamp,
    /// One reading for each point of the poll.
    pub readings: Vec<Reading>,
}

/// A fingerprint of a commit's readings, for logs and for comparing what was announced with what is on disk.
pub fn digest(batches: &[Batch]) -> String {
    use sha2::{Digest, Sha256};
    let text = format!("{batches:?}");
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_trouble_is_told_from_its_devices() {
        let words = |code| Reason::Exception(code).words();
        assert_eq!(words(10), "exception-10 (the gateway in between has no way to the device)");
        assert_eq!(words(11), "exception-11 (the device behind the gateway in between does not answer)");
        assert_eq!(words(200), "exception-200");
        assert_eq!(Reason::Timeout.words(), "timeout");
    }
}
