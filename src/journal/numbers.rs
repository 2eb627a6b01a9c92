//! Numbers as bytes: counts and steps of seven bits a byte, measured values as the decimals that they are.
//!
//! In: numbers. Out: the fewest bytes that give back every bit, and the numbers again.
//! Invariant: no byte string makes a reader panic or reserve more than its own length.

use std::sync::Arc;

/// Decimals by division, as a fixed-point register divided by its scale gives them.
const POWERS: [f64; 6] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5];
/// Decimals by multiplication: `2537 * 0.01` is not always the number nearest to 25.37.
const PARTS: [f64; 6] = [1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5];
const MULTIPLIED: u8 = 6;
const SINGLE: u8 = 12;
pub(crate) const DOUBLE: u8 = 13;
/// The forms of decimals, shortest first.
pub(crate) const FORMS: [u8; 12] = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11];

/// The whole number that gives back every bit of `value` in this form of decimals.
pub(crate) fn whole_of(form: u8, value: f64) -> Option<i32> {
    let power = POWERS.get(usize::from(form % MULTIPLIED))?;
    let whole = nearest(value * power);
    let back = number_of(form, f64::from(whole))?;
    (back.to_bits() == value.to_bits()).then_some(whole)
}

/// The value of a whole number in a form of decimals.
pub(crate) fn number_of(form: u8, whole: f64) -> Option<f64> {
    match form.checked_sub(MULTIPLIED) {
        None => POWERS.get(usize::from(form)).map(|power| whole / power),
        Some(form) => PARTS.get(usize::from(form)).map(|part| whole * part),
    }
}

/// Writes the number in its shortest form and returns the form.
pub(super) fn emit_number(value: f64, out: &mut Vec<u8>) -> u8 {
    for form in FORMS {
        if let Some(whole) = whole_of(form, value) {
            put_step(out, 0, i64::from(whole));
            return form;
        }
    }
    let single = narrow(value);
    if f64::from(single).to_bits() == value.to_bits() {
        out.extend_from_slice(&single.to_le_bytes());
        return SINGLE;
    }
    out.extend_from_slice(&value.to_le_bytes());
    DOUBLE
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates; the caller compares with the number it came from"
)]
fn nearest(value: f64) -> i32 {
    value.round() as i32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounds; the caller compares with the number it came from"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// LEB128: seven bits a byte, lowest first.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7F);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The difference with its sign folded into the lowest bit; wraps, so that any two times have one.
pub(super) fn put_step(out: &mut Vec<u8>, from: i64, to: i64) {
    let step = to.wrapping_sub(from);
    put(out, (step << 1 ^ step >> 63).cast_unsigned());
}

pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("no count in memory exceeds 64 bits")
}

/// What is not read yet.
pub(crate) struct Input<'a> {
    pub(super) rest: &'a [u8],
    /// Names met so far, by number.
    pub(super) names: Vec<Arc<str>>,
}

impl<'a> Input<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest, names: Vec::new() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(first)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*first)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A count of things that take a byte each at least, so never more than what is left.
    pub(crate) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= self.rest.len())
    }

    pub(super) fn step(&mut self, from: i64) -> Option<i64> {
        let folded = self.number()?;
        let step = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        Some(from.wrapping_add(step))
    }

    pub(super) fn value(&mut self, form: u8) -> Option<f64> {
        match form {
            SINGLE => self.array().map(|bytes| f64::from(f32::from_le_bytes(bytes))),
            DOUBLE => self.array().map(f64::from_le_bytes),
            _ => {
                let whole = f64::from(i32::try_from(self.step(0)?).ok()?);
                number_of(form, whole)
            }
        }
    }
}
