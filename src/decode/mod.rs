//! Registers to raw numbers; faults matched on the raw bits, then NaN and infinities.
//!
//! In: a field of a profile and the cells of its answer. Out: [`Raw`]: a finite number, or the sensor's own fault by name.
//! Invariant: never panics; faults are matched after the bytes are put in order and before sign, scale and offset.

mod bits;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::point::DeviceId;
use crate::profile::{FaultMatch, Field, Kind};
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

/// The raw number in `cells`; another number of cells than the field's is a fault.
pub fn decode(field: &Field, cells: &[u16]) -> Raw {
    if let (Kind::U16, [word], [], true, false) = (field.kind, cells, &field.faults[..], field.order.0.is_empty(), field.one_hot) {
        if field.states.is_empty() {
            return Raw::Number(f64::from(*word));
        }
    }
    if cells.len() != usize::from(field.count) || cells.len() > 4 && field.kind != Kind::Ascii {
        return fault("wrong number of registers");
    }
    let pattern = bits::ordered(&field.order, cells);
    if let Some(known) = field.faults.iter().find(|known| known.matches == FaultMatch::Raw(pattern)) {
        return Raw::Fault(Arc::clone(&known.means));
    }
    match bits::number(field, pattern, cells) {
        Err(what) => fault(what),
        Ok(number) if number.is_nan() => special(field, &FaultMatch::Nan, "nan"),
        Ok(number) if number.is_infinite() && number > 0.0 => special(field, &FaultMatch::PlusInf, "+inf"),
        Ok(number) if number.is_infinite() => special(field, &FaultMatch::MinusInf, "-inf"),
        Ok(number) => known_state(field, number),
    }
}

/// The text in `cells`, for `ascii` fields: trailing blanks and NULs trimmed; `None` for other kinds and for bytes that are not ASCII.
pub fn text(field: &Field, cells: &[u16]) -> Option<String> {
    if field.kind != Kind::Ascii {
        return None;
    }
    let swapped = field.order.0.starts_with(&[1, 0]);
    let bytes = cells.iter().flat_map(|cell| if swapped { cell.to_le_bytes() } else { cell.to_be_bytes() });
    let text: String = bytes.map(char::from).collect();
    text.is_ascii().then(|| text.trim_end_matches([' ', '\0']).to_owned())
}

fn special(field: &Field, pattern: &FaultMatch, name: &str) -> Raw {
    let known = field.faults.iter().find(|known| known.matches == *pattern);
    known.map_or_else(|| fault(name), |known| Raw::Fault(Arc::clone(&known.means)))
}

fn fault(what: &str) -> Raw {
    Raw::Fault(Arc::from(what))
}

/// A code that the profile's list of states does not know is no value.
fn known_state(field: &Field, number: f64) -> Raw {
    #[expect(clippy::cast_precision_loss, reason = "state codes are small")]
    let known = field.states.is_empty() || field.states.iter().any(|(code, _)| (*code as f64 - number).abs() < 0.5);
    if known { Raw::Number(number + 0.0) } else { Raw::Fault(Arc::from(format!("unknown state {number}"))) }
}
