//! Bit patterns: byte order, and the number that a pattern is in each type.
//!
//! In: cells as they arrived. Out: the unsigned pattern with its bytes in order, and its number.
//! Invariant: never panics for any order, kind or number of cells up to four.

use crate::decode::Raw;
use crate::profile::{Field, Kind, Order};

/// The unsigned pattern of up to four cells with the bytes put in order.
pub(crate) fn ordered(order: &Order, cells: &[u16]) -> u64 {
    let arrived = cells.iter().take(4).flat_map(|cell| cell.to_be_bytes());
    if order.0.len() != cells.len() * 2 {
        return arrived.fold(0, |pattern, byte| (pattern << 8) | u64::from(byte));
    }
    let width = order.0.len();
    arrived.zip(&order.0).fold(0, |pattern, (byte, letter)| {
        let place = width.saturating_sub(1 + usize::from(*letter)).min(7);
        pattern | (u64::from(byte) << (8 * place))
    })
}

/// The number of a pattern; the error names what is wrong with it.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "the kind decides how many low bits of the pattern count; f64 takes the nearest")]
pub(crate) fn number(field: &Field, pattern: u64, cells: &[u16]) -> Result<f64, &'static str> {
    let low = pattern as u16;
    Ok(match field.kind {
        Kind::U8h => f64::from(low >> 8),
        Kind::U8l => f64::from(low & 0xFF),
        Kind::I8h => f64::from((low >> 8) as u8 as i8),
        Kind::I8l => f64::from(low as u8 as i8),
        Kind::U16 if field.one_hot => one_hot(pattern)?,
        Kind::U16 => f64::from(low),
        Kind::I16 => f64::from(low as i16),
        Kind::U32 => f64::from(pattern as u32),
        Kind::I32 => f64::from(pattern as u32 as i32),
        Kind::U64 => pattern as f64,
        Kind::I64 => pattern as i64 as f64,
        Kind::F32 => f64::from(f32::from_bits(pattern as u32)),
        Kind::F64 => f64::from_bits(pattern),
        Kind::Bool => f64::from(u8::from((pattern != 0) != field.invert)),
        Kind::Bits { low, high } => bit_span(pattern, low, high, field.invert),
        Kind::Ascii => crate::decode::text(field, cells).and_then(|text| text.trim().parse().ok()).ok_or("not a number")?,
        Kind::Bcd => bcd(pattern, cells.len())?,
        Kind::M10k => f64::from((pattern >> 16) as u16) * 10_000.0 + f64::from(low),
        Kind::Sm16 if low & 0x8000 != 0 => -f64::from(low & 0x7FFF),
        Kind::Sm16 => f64::from(low),
    })
}

fn one_hot(pattern: u64) -> Result<f64, &'static str> {
    if pattern.count_ones() == 1 { Ok(f64::from(pattern.trailing_zeros())) } else { Err("not one-hot") }
}

#[expect(clippy::cast_precision_loss, reason = "the nearest number is meant")]
fn bit_span(pattern: u64, low: u8, high: u8, invert: bool) -> f64 {
    let width = high.saturating_sub(low).saturating_add(1);
    let mask = 1_u64.checked_shl(u32::from(width)).map_or(u64::MAX, |bit| bit - 1);
    let bits = pattern.checked_shr(u32::from(low)).unwrap_or(0) & mask;
    (if invert { !bits & mask } else { bits }) as f64
}

fn bcd(pattern: u64, cells: usize) -> Result<f64, &'static str> {
    (0..cells * 4).rev().try_fold(0.0, |sum, place| {
        let digit = u8::try_from((pattern >> (4 * place)) & 0xF).unwrap_or(u8::MAX);
        if digit <= 9 { Ok(sum * 10.0 + f64::from(digit)) } else { Err("not bcd") }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::decode;
    use crate::profile::words::parse_at;

    fn field(kind: Kind, order: Order, count: u16) -> Field {
        let (table, address) = parse_at("holding 0").unwrap();
        Field { kind, order, count, ..Field::plain("x", table, address, kind) }
    }

    proptest! {
        #[test]
        fn any_cells_are_a_finite_number_or_a_fault(kind in 0..18_usize, letters in prop::collection::vec(0_u8..8, 0..9), cells in prop::collection::vec(any::<u16>(), 0..6), count in 0_u16..6) {
            match decode(&field(Kind::NAMES[kind].1, Order(letters), count), &cells) {
                Raw::Number(number) => prop_assert!(number.is_finite()),
                Raw::Fault(name) => prop_assert!(!name.is_empty()),
            }
        }

        #[test]
        fn an_order_only_moves_bytes(pattern in any::<u32>(), order in Just(vec![0_u8, 1, 2, 3]).prop_shuffle()) {
            let bytes = pattern.to_be_bytes();
            let arrived: Vec<u8> = order.iter().map(|letter| bytes[usize::from(*letter)]).collect();
            let cells = [u16::from_be_bytes([arrived[0], arrived[1]]), u16::from_be_bytes([arrived[2], arrived[3]])];
            prop_assert_eq!(ordered(&Order(order), &cells), u64::from(pattern));
        }
    }
}
