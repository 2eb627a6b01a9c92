//! Registers to raw numbers; faults matched on the raw bits, then NaN and infinities.
//!
//! In: a profile's [`Field`] and the cells that a checked answer gave for it. Out: a finite number or a fault by name.
//! Invariant: no NaN and no infinity leaves this room; no field and no cells make it panic.
//! Source: order of work: bytes re-ordered, fault patterns on the bits, NaN/Inf, sign, inversion, one-hot, states. Scaling is `normalize`'s.
//!
//! ```
//! use lifeline_gateway::{bus::Table, decode::{Raw, decode}, profile::{Field, Kind, Order}};
//! let mut field = Field::new("level", Table::Holding, 4, Kind::F32);
//! field.order = Order::parse("CDAB").unwrap();
//! assert_eq!(decode(&field, &[0x0000, 0x3FC0]), Raw::Number(1.5));
//! assert_eq!(decode(&field, &[0x0000, 0x7FC0]), Raw::Fault("nan".into()));
//! ```

#![warn(clippy::indexing_slicing)]

pub mod guess;
pub mod words;

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
    /// Registers as they came, of a field whose byte order another field tells: that one may come in a later answer.
    Unordered(Vec<u16>),
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

/// The raw number in `cells` (exactly `field.count` of them; any other number is a fault, never a panic). The faults that are not the profile's:
/// `nan`, `+inf`, `-inf`, `not a bool`, `not bcd`, `not one-hot`, `not a number` (text), `unknown state N`, `wrong register count`, `wrong byte order`.
/// A field with `order_from` stays [`Raw::Unordered`]; `normalize` decodes it once the order is known.
pub fn decode(field: &Field, cells: &[u16]) -> Raw {
    if field.order_from.is_some() {
        return Raw::Unordered(cells.to_vec());
    }
    let number = match field.kind {
        Kind::Ascii => spelled(field, cells),
        _ => bits(field, cells).and_then(|bits| number(field, bits)),
    };
    match number.and_then(|number| known_state(field, number)) {
        Ok(number) => Raw::Number(number),
        Err(fault) => Raw::Fault(fault),
    }
}

/// The text in `cells`, for `ascii` fields (trailing blanks and NULs trimmed); `None` for another type, another count, or bytes that are no
/// printable ASCII.
pub fn text(field: &Field, cells: &[u16]) -> Option<String> {
    if field.kind != Kind::Ascii || cells.len() != usize::from(field.count) {
        return None;
    }
    let arrived: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
    let natural = String::from_utf8(field.order.restore(&arrived)?).ok()?;
    let trimmed = natural.trim_end_matches([' ', '\0']);
    trimmed.bytes().all(|byte| (0x20..0x7F).contains(&byte)).then(|| trimmed.to_owned())
}

/// The unsigned bits of a value after re-ordering, exact to the last of 64: what fault patterns are compared with. Of `u8h` and the like
/// the byte, of `bits` the group before inversion.
///
/// # Errors
/// `wrong register count`, `wrong byte order`.
pub fn bits(field: &Field, cells: &[u16]) -> Result<u64, Arc<str>> {
    let length = cells.len();
    if length != usize::from(field.count) || !(1..=4).contains(&length) {
        return Err("wrong register count".into());
    }
    let whole = reorder(&field.order.0, cells).ok_or("wrong byte order")?;
    let short = || Arc::from("wrong register count");
    match field.kind {
        Kind::U8h | Kind::I8h if length == 1 => Ok(whole >> 8),
        Kind::U8l | Kind::I8l if length == 1 => Ok(whole & 0xFF),
        Kind::U16 | Kind::I16 | Kind::Sm16 | Kind::Bool if length == 1 => Ok(whole),
        Kind::U32 | Kind::I32 | Kind::F32 | Kind::M10k if length == 2 => Ok(whole),
        Kind::U64 | Kind::I64 | Kind::F64 if length == 4 => Ok(whole),
        Kind::Bcd => Ok(whole),
        Kind::Bits { low, high } => group(whole, low, high).ok_or_else(short),
        _ => Err(short()),
    }
}

/// All bytes of `cells` as one number; `places[i]` says which byte (0 = most significant) arrived at place i.
fn reorder(places: &[u8], cells: &[u16]) -> Option<u64> {
    if places.is_empty() {
        return Some(cells.iter().fold(0, |bits, cell| bits << 16 | u64::from(*cell)));
    }
    let last = cells.len().checked_mul(2)?.checked_sub(1)?;
    if places.len() != last + 1 {
        return None;
    }
    let mut bits = 0;
    for (place, byte) in places.iter().zip(cells.iter().flat_map(|cell| cell.to_be_bytes())) {
        let shift = u32::try_from(last.checked_sub(usize::from(*place))?).ok()? * 8;
        bits |= u64::from(byte).checked_shl(shift)?;
    }
    Some(bits)
}

fn group(bits: u64, low: u8, high: u8) -> Option<u64> {
    Some(bits.checked_shr(u32::from(low))? & ones(high.checked_sub(low)?)?)
}

/// The lowest `above` + 1 bits set.
fn ones(above: u8) -> Option<u64> {
    u64::MAX.checked_shr(63_u32.checked_sub(u32::from(above))?)
}

fn number(field: &Field, bits: u64) -> Result<f64, Arc<str>> {
    if let Some(fault) = field.faults.iter().find(|fault| fault.matches == FaultMatch::Raw(bits)) {
        return Err(fault.means.clone());
    }
    match field.kind {
        Kind::U8h | Kind::U8l | Kind::U16 | Kind::U32 | Kind::U64 => one_hot(field, bits),
        Kind::I8h | Kind::I8l => Ok(f64::from(u8::try_from(bits).map_or(0, u8::cast_signed))),
        Kind::I16 => Ok(f64::from(u16::try_from(bits).map_or(0, u16::cast_signed))),
        Kind::I32 => Ok(f64::from(u32::try_from(bits).map_or(0, u32::cast_signed))),
        Kind::I64 => Ok(signed(bits.cast_signed() < 0, bits.cast_signed().unsigned_abs())),
        Kind::F32 => finite(field, u32::try_from(bits).map_or(0.0, |bits| f64::from(f32::from_bits(bits)))),
        Kind::F64 => finite(field, f64::from_bits(bits)),
        Kind::Bool => match bits {
            0 => Ok(if field.invert { 1.0 } else { 0.0 }),
            1 | 0xFF00 => Ok(if field.invert { 0.0 } else { 1.0 }),
            _ => Err("not a bool".into()),
        },
        Kind::Bits { low, high } => {
            let mask = if field.invert { ones(high.saturating_sub(low)).unwrap_or(0) } else { 0 };
            one_hot(field, bits ^ mask)
        }
        Kind::Bcd => bcd(bits),
        Kind::M10k => Ok(unsigned((bits >> 16) * 10_000 + (bits & 0xFFFF))),
        Kind::Sm16 => Ok(signed(bits & 0x8000 != 0, bits & 0x7FFF)),
        Kind::Ascii => Err("not a number".into()),
    }
}

/// Nearest double: both halves are exact, so the sum is rounded once.
fn unsigned(bits: u64) -> f64 {
    let half = |part: u64| u32::try_from(part & 0xFFFF_FFFF).map_or(0.0, f64::from);
    half(bits >> 32) * 4_294_967_296.0 + half(bits)
}

fn signed(negative: bool, magnitude: u64) -> f64 {
    if negative { -unsigned(magnitude) } else { unsigned(magnitude) }
}

fn one_hot(field: &Field, bits: u64) -> Result<f64, Arc<str>> {
    match (field.one_hot, bits.is_power_of_two()) {
        (false, _) => Ok(unsigned(bits)),
        (true, true) => Ok(f64::from(bits.trailing_zeros())),
        (true, false) => Err("not one-hot".into()),
    }
}

fn bcd(bits: u64) -> Result<f64, Arc<str>> {
    (0..16)
        .rev()
        .map(|place| bits >> (place * 4) & 0xF)
        .try_fold(0_u64, |sum, digit| if digit > 9 { Err("not bcd".into()) } else { Ok(sum * 10 + digit) })
        .map(unsigned)
}

fn finite(field: &Field, number: f64) -> Result<f64, Arc<str>> {
    let (pattern, name) = if number.is_nan() {
        (FaultMatch::Nan, "nan")
    } else if number.is_finite() {
        return Ok(number);
    } else if number > 0.0 {
        (FaultMatch::PlusInf, "+inf")
    } else {
        (FaultMatch::MinusInf, "-inf")
    };
    let named = field.faults.iter().find(|fault| fault.matches == pattern);
    Err(named.map_or_else(|| name.into(), |fault| fault.means.clone()))
}

/// The number that a text spells; `nan`, `inf` and the like are words and no numbers.
fn spelled(field: &Field, cells: &[u16]) -> Result<f64, Arc<str>> {
    if cells.len() != usize::from(field.count) {
        return Err("wrong register count".into());
    }
    let text = text(field, cells).unwrap_or_default();
    let digits = text.trim();
    let number: Option<f64> = if digits.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E'))
    {
        None
    } else {
        digits.parse().ok()
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| "not a number".into())
}

/// A code that the profile has no name for is a fault: a state nobody foresaw must not look like a known one.
fn known_state(field: &Field, number: f64) -> Result<f64, Arc<str>> {
    if field.states.is_empty() || field.state(number).is_some() {
        return Ok(number);
    }
    Err(format!("unknown state {number}").into())
}

#[cfg(test)]
mod tests;
