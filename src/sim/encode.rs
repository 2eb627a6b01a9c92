//! Numbers into registers: what a device must send so that its profile decodes to a value. The inverse of `decode` and of the scaling.
//!
//! In: a field, a value in the profile's raw unit (or the name of a fault, or text). Out: the field's cells, other bits left as they were.
//! Invariant: never panics; a value beyond the type's span becomes its nearest end, as in a real sensor.
//! Source: DESIGN section 6 (`value = (raw + pre_offset) * scale / 10^decimals + offset`, then the current loop).

use crate::profile::depend::Conversion;
use crate::profile::{FaultMatch, Field, Kind, Order};

/// Numbers of other fields that this field's scaling depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Others {
    /// Number of the field named by `decimals_from`.
    pub decimals: f64,
    /// Number of the field named by `pre_offset_from`.
    pub pre_offset: f64,
    /// The factor that `scale_from` chooses.
    pub scale: f64,
    /// From the device's unit to the field's, as `unit_from` chooses.
    pub unit: Conversion,
}

impl Default for Others {
    fn default() -> Self {
        Self { decimals: 0.0, pre_offset: 0.0, scale: 1.0, unit: Conversion { factor: 1.0, offset: 0.0 } }
    }
}

/// The raw number that scales to `value` (in the profile's raw unit).
pub fn unscale(field: &Field, value: f64, others: Others) -> f64 {
    let before_loop = match field.current_loop {
        Some(span) => span.lo + (value - span.out_lo) * (span.hi - span.lo) / (span.out_hi - span.out_lo),
        None => value,
    };
    let scaled = (others.unit.undo(before_loop) - field.offset) * 10_f64.powf(others.decimals);
    let scale = field.scale * others.scale;
    let raw = if scale == 0.0 { 0.0 } else { scaled / scale };
    raw - others.pre_offset
}

/// Writes the raw number into `cells` (the field's own, exactly `field.count`); anything else is left untouched.
pub fn put_number(field: &Field, raw: f64, cells: &mut [u16]) {
    if cells.len() != usize::from(field.count) || !raw.is_finite() {
        return;
    }
    if field.kind == Kind::Ascii {
        return put_text(field, &raw.to_string(), cells);
    }
    put_bits(field, bits_of(field, raw), cells);
}

/// Writes the pattern of the fault called `means`; false when the profile has none of this name.
pub fn put_fault(field: &Field, means: &str, cells: &mut [u16]) -> bool {
    let Some(fault) = field.faults.iter().find(|fault| &*fault.means == means) else { return false };
    let wide = matches!(field.kind, Kind::F64);
    let bits = match (&fault.matches, wide) {
        (FaultMatch::Raw(bits), _) => *bits,
        (FaultMatch::Nan, true) => f64::NAN.to_bits(),
        (FaultMatch::PlusInf, true) => f64::INFINITY.to_bits(),
        (FaultMatch::MinusInf, true) => f64::NEG_INFINITY.to_bits(),
        (FaultMatch::Nan, false) => u64::from(f32::NAN.to_bits()),
        (FaultMatch::PlusInf, false) => u64::from(f32::INFINITY.to_bits()),
        (FaultMatch::Text(_) | FaultMatch::Exception(_), _) => return false,
        (FaultMatch::MinusInf, false) => u64::from(f32::NEG_INFINITY.to_bits()),
    };
    if cells.len() == usize::from(field.count) {
        put_bits(field, bits, cells);
    }
    true
}

/// Writes text, padded with NUL; what doesn't fit is cut.
pub fn put_text(field: &Field, text: &str, cells: &mut [u16]) {
    let mut bytes: Vec<u8> = text.bytes().take(cells.len() * 2).collect();
    bytes.resize(cells.len() * 2, 0);
    put_bytes(&field.order, &bytes, cells);
}

/// The unsigned bits that stand for the raw number, before ordering.
fn bits_of(field: &Field, raw: f64) -> u64 {
    let whole = whole(raw);
    match field.kind {
        Kind::U8h | Kind::U8l => one_hot(field, unsigned(whole, 8)),
        Kind::I8h | Kind::I8l => signed(whole, 8),
        Kind::U16 => one_hot(field, unsigned(whole, 16)),
        Kind::I16 => signed(whole, 16),
        Kind::U32 => one_hot(field, unsigned(whole, 32)),
        Kind::I32 => signed(whole, 32),
        Kind::U64 => one_hot(field, unsigned(whole, 64)),
        Kind::I64 => signed(whole, 64),
        Kind::F32 => u64::from(single(raw).to_bits()),
        Kind::F64 => raw.to_bits(),
        Kind::Bool => u64::from((raw != 0.0) != field.invert),
        Kind::Bits { low, high } => {
            let width = u32::from(high.saturating_sub(low)) + 1;
            let bits = one_hot(field, unsigned(whole, width));
            if field.invert { bits ^ unsigned(i128::MAX, width) } else { bits }
        }
        Kind::Bcd => decimal_digits(unsigned(whole, 64), field.count),
        Kind::M10k => {
            let number = unsigned(whole.min(65_535 * 10_000 + 9_999), 64);
            ((number / 10_000) << 16) | (number % 10_000)
        }
        Kind::Sm16 => u64::from(whole < 0) << 15 | unsigned(whole.saturating_abs(), 15),
        // Text has no bits of its own.
        Kind::Ascii => 0,
    }
}

/// The single bit at position `number`, for a field whose value is such a position.
fn one_hot(field: &Field, number: u64) -> u64 {
    if !field.one_hot {
        return number;
    }
    1_u64.checked_shl(u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(0)
}

/// Writes unsigned bits in the field's order; a part of a register leaves its other bits alone.
fn put_bits(field: &Field, bits: u64, cells: &mut [u16]) {
    match field.kind {
        Kind::U8h | Kind::I8h => put_part(field, bits, 8, 8, cells),
        Kind::U8l | Kind::I8l => put_part(field, bits, 0, 8, cells),
        Kind::Bits { low, high } => {
            put_part(field, bits, u32::from(low), u32::from(high.saturating_sub(low)) + 1, cells);
        }
        _ => put_whole(&field.order, bits, cells),
    }
}

fn put_part(field: &Field, bits: u64, low: u32, width: u32, cells: &mut [u16]) {
    let ones = unsigned(i128::MAX, width);
    let mask = ones.checked_shl(low).unwrap_or(0);
    let part = (bits & ones).checked_shl(low).unwrap_or(0);
    let kept = whole_bits(&field.order, cells) & !mask;
    put_whole(&field.order, kept | part, cells);
}

/// All cells as one number in natural order.
fn whole_bits(order: &Order, cells: &[u16]) -> u64 {
    let arrived: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
    let natural = order.restore(&arrived).unwrap_or(arrived);
    natural.iter().rev().take(8).rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

fn put_whole(order: &Order, bits: u64, cells: &mut [u16]) {
    let all = bits.to_be_bytes();
    let wanted = cells.len() * 2;
    let mut natural = vec![0; wanted.saturating_sub(all.len())];
    natural.extend(all.iter().skip(all.len().saturating_sub(wanted)));
    put_bytes(order, &natural, cells);
}

fn put_bytes(order: &Order, natural: &[u8], cells: &mut [u16]) {
    let sent = order.scatter(natural).unwrap_or_else(|| natural.to_vec());
    for (cell, pair) in cells.iter_mut().zip(sent.chunks_exact(2)) {
        if let [high, low] = pair {
            *cell = u16::from_be_bytes([*high, *low]);
        }
    }
}

/// `number` as `width` unsigned bits, the nearest end when it is outside.
fn unsigned(number: i128, width: u32) -> u64 {
    let largest = (1_i128 << width.min(64)) - 1;
    u64::try_from(number.clamp(0, largest)).unwrap_or(u64::MAX)
}

/// `number` in two's complement of `width` bits, the nearest end when it is outside.
fn signed(number: i128, width: u32) -> u64 {
    let half = 1_i128 << (width.min(64) - 1);
    let inside = number.clamp(-half, half - 1);
    u64::try_from(inside.rem_euclid(half * 2)).unwrap_or(u64::MAX)
}

/// Four bits for each decimal digit, as many as `count` registers hold.
fn decimal_digits(number: u64, count: u16) -> u64 {
    let places = u32::from(count).saturating_mul(4).min(16);
    let largest = 10_u64.checked_pow(places).map_or(u64::MAX, |all| all - 1);
    let mut rest = number.min(largest);
    (0..places).fold(0, |bits, place| {
        let digit = rest % 10;
        rest /= 10;
        bits | digit << (4 * place)
    })
}

#[expect(clippy::cast_possible_truncation, reason = "rounded first; the cast saturates, and NaN is 0")]
fn whole(raw: f64) -> i128 {
    raw.round() as i128
}

#[expect(clippy::cast_possible_truncation, reason = "a sensor with a 32-bit float rounds just so")]
fn single(raw: f64) -> f32 {
    raw as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Table;

    fn field(kind: Kind, order: &str) -> Field {
        let mut field = Field::new("x", Table::Holding, 0, kind);
        field.order = Order::parse(order).unwrap_or_default();
        field
    }

    fn check(field: &Field, raw: f64, expected: &[u16]) {
        let mut cells = vec![0; expected.len()];
        put_number(field, raw, &mut cells);
        assert_eq!(cells, expected, "{:?} {raw}", field.kind);
    }

    #[test]
    fn numbers_become_the_printed_registers() {
        check(&field(Kind::F32, "ABCD"), 1.0, &[0x3F80, 0]);
        check(&field(Kind::F32, "CDAB"), -123.45, &[0xE666, 0xC2F6]);
        check(&field(Kind::I32, "CDAB"), -123_456.0, &[0x1DC0, 0xFFFE]);
        check(&field(Kind::U32, "DCBA"), f64::from(0x1234_5678), &[0x7856, 0x3412]);
        check(&field(Kind::I16, "AB"), -1.0, &[0xFFFF]);
        check(&field(Kind::Sm16, ""), -100.0, &[0x8064]);
        check(&field(Kind::M10k, ""), 34_567.0, &[3, 0x11D7]);
        check(&Field { count: 2, ..field(Kind::Bcd, "ABCD") }, 12_345_678.0, &[0x1234, 0x5678]);
        check(&Field { one_hot: true, ..field(Kind::U16, "AB") }, 3.0, &[8]);
        check(&Field { invert: true, ..field(Kind::Bool, "") }, 1.0, &[0]);
        check(&field(Kind::U64, ""), 1e30, &[0xFFFF; 4]);
        check(&field(Kind::I8h, ""), -300.0, &[0x8000]);
    }

    #[test]
    fn parts_of_a_register_leave_the_rest_alone() {
        let mut cells = [0x5CA8];
        put_number(&field(Kind::Bits { low: 4, high: 7 }, ""), 3.0, &mut cells);
        assert_eq!(cells, [0x5C38]);
        put_number(&field(Kind::U8h, ""), 1.0, &mut cells);
        assert_eq!(cells, [0x0138]);
        put_number(&field(Kind::U8l, ""), 255.0, &mut cells);
        assert_eq!(cells, [0x01FF]);
    }

    #[test]
    fn scaling_is_undone() {
        let scaled = Field { scale: 0.01, offset: -40.0, ..field(Kind::U16, "") };
        assert!((unscale(&scaled, 22.76, Others::default()) - 6276.0).abs() < 1e-6);
        let others = Others { decimals: 2.0, pre_offset: 5.0, ..Others::default() };
        assert!((unscale(&field(Kind::U16, ""), 1.23, others) - 118.0).abs() < 1e-9);
    }

    #[test]
    fn text_is_padded_and_cut() {
        let mut cells = [0xFFFF; 3];
        put_text(&field(Kind::Ascii, ""), "SS-RG", &mut cells);
        assert_eq!(cells, [0x5353, 0x2D52, 0x4700]);
        put_text(&field(Kind::Ascii, ""), "LONGER THAN IT", &mut cells);
        assert_eq!(cells, [0x4C4F, 0x4E47, 0x4552]);
    }
}
