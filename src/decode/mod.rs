//! Registers to raw numbers; faults matched on the raw bits, then NaN and infinities.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::point::DeviceId;
use crate::profile::Field;
use crate::reading::Reason;

/// What the registers of one field say, before scaling.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// A finite raw number.
    Number(f64),
    /// The sensor's own fault, by name.
    Fault(Arc<str>),
}

/// One poll of one device as the line task hands it to the core: one entry for each field of the profile, in the profile's order
/// (hidden fields too, because others need them).
#[derive(Clone, Debug, PartialEq)]
pub struct RawBatch {
    /// Which device.
    pub device: DeviceId,
    /// Begin of the first exchange.
    pub start: Timestamp,
    /// End of the last one.
    pub end: Timestamp,
    /// For each field: end of its exchange, and what it said or why not.
    pub raws: Vec<(Timestamp, Result<Raw, Reason>)>,
}

/// The raw number in `cells` (exactly `field.count` of them; any other number is a fault, never a panic).
pub fn decode(_field: &Field, _cells: &[u16]) -> Raw { todo!() }

/// The text in `cells`, for `ascii` fields (trailing blanks and NULs trimmed).
pub fn text(_field: &Field, _cells: &[u16]) -> Option<String> { todo!() }
