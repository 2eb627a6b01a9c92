//! What registers of an unknown device could mean: every type and byte order beside each other, for a person who tries.
//!
//! In: one, two or four registers. Out: a [`Guess`] for each type and order of that size.
//! Invariant: a guess decodes exactly as a profile with that type and order would.

use crate::bus::Table;
use crate::decode::{Raw, bits, decode};
use crate::profile::{Field, Kind, Order};

/// One way to read registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// The type.
    pub kind: Kind,
    /// The byte order by its letters, `CDAB`.
    pub order: &'static str,
    /// The number, or why these registers hold none (`nan`).
    pub raw: Raw,
    /// The number as a person writes it.
    pub text: String,
    /// It looks like a measurement: not zero, neither very small nor very large. Chance alone does so for one float of eight, and for
    /// one whole number of four thousand. Of 16 bits nothing can be said.
    pub plausible: bool,
}

const WORD: ([Kind; 4], &[&str]) = ([Kind::U16, Kind::I16, Kind::Sm16, Kind::Bcd], &["AB", "BA"]);
const DOUBLE: ([Kind; 4], &[&str]) =
    ([Kind::F32, Kind::I32, Kind::U32, Kind::M10k], &["ABCD", "CDAB", "BADC", "DCBA"]);
const QUAD: ([Kind; 3], &[&str]) =
    ([Kind::F64, Kind::I64, Kind::U64], &["ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA"]);

/// The guesses for `cells`: type after type, each in every order. None for other than 1, 2 or 4 registers.
///
/// ```
/// use lifeline_gateway::decode::guess::guesses;
/// let found = guesses(&[0x47AE, 0x3F81]);
/// let marked: Vec<_> = found.iter().filter(|guess| guess.plausible).collect();
/// // Two orders of these registers look like a measurement; a person who knows the sensor tells which is one.
/// assert_eq!((marked[0].order, marked[0].text.as_str()), ("ABCD", "89215.01"));
/// assert_eq!((marked[1].order, marked[1].text.as_str()), ("CDAB", "1.01"));
/// ```
pub fn guesses(cells: &[u16]) -> Vec<Guess> {
    let (kinds, orders) = match cells.len() {
        1 => (WORD.0.as_slice(), WORD.1),
        2 => (DOUBLE.0.as_slice(), DOUBLE.1),
        4 => (QUAD.0.as_slice(), QUAD.1),
        _ => return Vec::new(),
    };
    kinds.iter().flat_map(|kind| orders.iter().map(|order| guess(*kind, order, cells))).collect()
}

fn guess(kind: Kind, order: &'static str, cells: &[u16]) -> Guess {
    let count = u16::try_from(cells.len()).unwrap_or(0);
    let order_of = Order::parse(order).unwrap_or_default();
    let field = Field { count, order: order_of, ..Field::new("guess", Table::Holding, 0, kind) };
    let raw = decode(&field, cells);
    let text = match &raw {
        Raw::Number(number) => shown(&field, *number, cells),
        Raw::Fault(fault) => fault.to_string(),
        Raw::Unordered(_) => String::new(),
    };
    let plausible = matches!(raw, Raw::Number(number) if is_plausible(kind, number));
    Guess { kind, order, raw, text, plausible }
}

/// Floats at their own precision, in powers of ten when that's shorter.
fn shown(field: &Field, number: f64, cells: &[u16]) -> String {
    let long = number.abs() >= 1e9 || (number.abs() < 1e-4 && number.abs() > 0.0);
    match field.kind {
        Kind::F32 => {
            let bits = bits(field, cells).ok().and_then(|bits| u32::try_from(bits).ok()).unwrap_or(0);
            let single = f32::from_bits(bits);
            if long { format!("{single:e}") } else { single.to_string() }
        }
        // Whole numbers that a double doesn't hold exactly are shown as what they are: rounded.
        Kind::I64 | Kind::U64 if number.abs() < 9e15 => number.to_string(),
        Kind::F64 | Kind::I64 | Kind::U64 if long => format!("{number:e}"),
        _ => number.to_string(),
    }
}

fn is_plausible(kind: Kind, number: f64) -> bool {
    let size = number.abs();
    match kind {
        Kind::F32 | Kind::F64 => (1e-3..1e6).contains(&size),
        Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64 => (1.0..1e6).contains(&size),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marked(cells: &[u16]) -> Vec<String> {
        guesses(cells)
            .iter()
            .filter(|guess| guess.plausible)
            .map(|guess| format!("{} {} {}", guess.kind.name(), guess.order, guess.text))
            .collect()
    }

    #[test]
    fn the_right_order_of_a_float_is_marked() {
        for (cells, expected) in [
            ([0x3F81, 0x47AE], "f32 ABCD 1.01"),
            ([0x47AE, 0x3F81], "f32 CDAB 1.01"),
            ([0x813F, 0xAE47], "f32 BADC 1.01"),
            ([0xAE47, 0x813F], "f32 DCBA 1.01"),
        ] {
            assert!(marked(&cells).contains(&expected.to_owned()), "{:?}", marked(&cells));
        }
        assert_eq!(marked(&[0, 42]), ["i32 ABCD 42", "i32 BADC 10752", "u32 ABCD 42", "u32 BADC 10752"]);
        assert_eq!(marked(&[0xFFFF, 0xFFFE])[0], "i32 ABCD -2");
        assert_eq!(marked(&[0, 0]), Vec::<String>::new());
        let nan = guesses(&[0x7FC0, 0]);
        assert_eq!((nan[0].text.as_str(), nan[0].plausible), ("nan", false));
        assert_eq!(marked(&[0x4059, 0, 0, 0])[0], "f64 ABCDEFGH 100");
    }

    #[test]
    fn words_are_shown_and_never_marked() {
        let texts: Vec<String> = guesses(&[0x9012]).into_iter().map(|guess| guess.text).collect();
        assert_eq!(texts, ["36882", "4752", "-28654", "4752", "-4114", "4752", "9012", "1290"]);
        assert!(guesses(&[0x0012]).iter().all(|guess| !guess.plausible));
    }

    proptest! {
        #[test]
        fn a_measurement_is_always_marked(number in 0.01_f32..100_000.0, order in 0_usize..4) {
            let places = Order::parse(DOUBLE.1[order]).unwrap();
            let scattered = places.scatter(&number.to_be_bytes()).unwrap();
            let cells: Vec<u16> = scattered.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            let found = guesses(&cells);
            let right = found.iter().find(|guess| guess.kind == Kind::F32 && guess.order == DOUBLE.1[order]).unwrap();
            prop_assert!(right.plausible);
            prop_assert_eq!(right.text.parse::<f32>().unwrap().to_bits(), number.to_bits());
        }

        #[test]
        fn any_registers_have_guesses(cells in prop::collection::vec(any::<u16>(), 0..6)) {
            let expected = match cells.len() { 1 => 8, 2 => 16, 4 => 12, _ => 0 };
            prop_assert_eq!(guesses(&cells).len(), expected);
        }
    }
}
