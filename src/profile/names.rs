//! What types, byte orders, fault patterns and serial formats are called in documents.
//!
//! In: words of a document. Out: the types of this room, and the words back.
//! Invariant: `parse(name(x)) == x`; an order is a permutation of 2, 4 or 8 letters.
//! Source: register fact files' schema; Modbus over Serial Line V1.02, 2.5.1 (8N1 and the like).

use crate::bus::{Parity, SerialFormat};
use crate::profile::{FaultMatch, Kind, Order};

const KINDS: [(&str, Kind); 18] = [
    ("u8h", Kind::U8h),
    ("u8l", Kind::U8l),
    ("i8h", Kind::I8h),
    ("i8l", Kind::I8l),
    ("u16", Kind::U16),
    ("i16", Kind::I16),
    ("u32", Kind::U32),
    ("i32", Kind::I32),
    ("u64", Kind::U64),
    ("i64", Kind::I64),
    ("f32", Kind::F32),
    ("f64", Kind::F64),
    ("bool", Kind::Bool),
    ("bits", Kind::Bits { low: 0, high: 15 }),
    ("ascii", Kind::Ascii),
    ("bcd", Kind::Bcd),
    ("m10k", Kind::M10k),
    ("sm16", Kind::Sm16),
];

impl Kind {
    /// The type names of documents.
    pub fn words() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(word, _)| *word)
    }

    /// The type of this name; `bits` is the whole register until the key `bits` narrows it.
    pub fn parse(word: &str) -> Option<Self> {
        KINDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind)
    }

    /// The name in documents.
    pub fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(_, kind)| std::mem::discriminant(kind) == std::mem::discriminant(&self))
            .map_or("bits", |(word, _)| word)
    }

    /// Registers that a value of this type takes (of `ascii`, `bcd` and `bits` the least).
    pub const fn cells(self) -> u16 {
        match self {
            Self::U64 | Self::I64 | Self::F64 => 4,
            Self::U32 | Self::I32 | Self::F32 | Self::M10k => 2,
            Self::U8h | Self::U8l | Self::I8h | Self::I8l | Self::U16 | Self::I16 | Self::Sm16 => 1,
            Self::Bool | Self::Bits { .. } | Self::Ascii | Self::Bcd => 1,
        }
    }

    /// Whether a field of this type may have `count` cells.
    pub fn fits(self, count: u16) -> bool {
        match self {
            Self::Ascii => (1..=125).contains(&count),
            Self::Bcd => (1..=4).contains(&count),
            Self::Bits { low, high } => {
                (1..=4).contains(&count) && low <= high && u16::from(high) < count * 16
            }
            _ => count == self.cells(),
        }
    }
}

impl Order {
    /// The order of these letters, `CDAB`: A is the most significant byte, letters stand as the bytes arrive. `None` unless it has 2, 4 or 8
    /// letters and each of them once.
    pub fn parse(letters: &str) -> Option<Self> {
        let places: Vec<u8> =
            letters.bytes().map(|letter| letter.checked_sub(b'A')).collect::<Option<_>>()?;
        let known = matches!(places.len(), 2 | 4 | 8);
        let permutation =
            (0..places.len()).all(|want| places.iter().any(|place| usize::from(*place) == want));
        (known && permutation).then_some(Self(places))
    }

    /// The letters; empty for the natural order.
    pub fn letters(&self) -> String {
        self.0.iter().map(|place| char::from(b'A'.saturating_add(*place))).collect()
    }

    /// Bytes as they arrived, put in natural order; an order shorter than the value repeats (text). `None` when it doesn't fit.
    pub fn restore(&self, arrived: &[u8]) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return Some(arrived.to_vec());
        }
        if !arrived.len().is_multiple_of(self.0.len()) {
            return None;
        }
        let mut natural = vec![0; arrived.len()];
        for (into, from) in natural.chunks_exact_mut(self.0.len()).zip(arrived.chunks_exact(self.0.len())) {
            for (place, byte) in self.0.iter().zip(from) {
                *into.get_mut(usize::from(*place))? = *byte;
            }
        }
        Some(natural)
    }

    /// The opposite of [`Order::restore`]: bytes in natural order, as a device with this order sends them.
    pub fn scatter(&self, natural: &[u8]) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return Some(natural.to_vec());
        }
        if !natural.len().is_multiple_of(self.0.len()) {
            return None;
        }
        let mut sent = Vec::with_capacity(natural.len());
        for chunk in natural.chunks_exact(self.0.len()) {
            for place in &self.0 {
                sent.push(*chunk.get(usize::from(*place))?);
            }
        }
        Some(sent)
    }
}

impl FaultMatch {
    /// The pattern behind `is`: `nan`, `+inf`, `-inf`.
    pub fn parse_is(word: &str) -> Option<Self> {
        match word {
            "nan" => Some(Self::Nan),
            "+inf" => Some(Self::PlusInf),
            "-inf" => Some(Self::MinusInf),
            _ => None,
        }
    }

    /// The pattern behind `raw`: `0x7FFF` or `32767`.
    pub fn parse_raw(text: &str) -> Option<Self> {
        number(text).map(Self::Raw)
    }
}

/// An unsigned number in hexadecimal (`0x7FFF`) or decimal.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None => text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten(),
    }
}

/// The speeds of serial ports, in bits per second.
pub const SPEEDS: [u32; 14] =
    [300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600];

/// A serial format, `9600 8N1`; `None` unless the speed is one of [`SPEEDS`] and the rest makes sense.
pub fn serial_format(text: &str) -> Option<SerialFormat> {
    let (baud, frame) = text.trim().split_once(' ')?;
    let baud = baud.parse().ok().filter(|baud| SPEEDS.contains(baud))?;
    let [data, parity, stop] = frame.trim().as_bytes() else { return None };
    let data_bits = data.checked_sub(b'0').filter(|bits| matches!(bits, 7 | 8))?;
    let stop_bits = stop.checked_sub(b'0').filter(|bits| matches!(bits, 1 | 2))?;
    let parity = match parity {
        b'N' => Parity::None,
        b'E' => Parity::Even,
        b'O' => Parity::Odd,
        _ => return None,
    };
    Some(SerialFormat { baud, data_bits, parity, stop_bits })
}

/// What is wrong with a text that is no serial format, and what to write instead.
pub fn serial_fault(text: &str) -> (String, String) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let example = "speed, data bits, parity (N, E, O) and stop bits, such as \"9600 8N1\"".to_owned();
    let baud = words.first().and_then(|word| word.parse::<u32>().ok());
    match (baud, words.as_slice()) {
        (Some(baud), [_, _]) if !SPEEDS.contains(&baud) => {
            let list: Vec<String> = SPEEDS.iter().map(u32::to_string).collect();
            (format!("{baud} is no speed of a serial port"), format!("one of {}", list.join(", ")))
        }
        _ => (format!("`{text}` is not a serial format"), example),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn type_names_and_back() {
        for word in Kind::words() {
            assert_eq!(Kind::parse(word).unwrap().name(), word);
        }
        assert_eq!(Kind::Bits { low: 3, high: 7 }.name(), "bits");
        assert_eq!(Kind::parse("float"), None);
    }

    #[test]
    fn sizes() {
        assert!(Kind::F32.fits(2) && !Kind::F32.fits(1));
        assert!(Kind::Bits { low: 0, high: 31 }.fits(2) && !Kind::Bits { low: 0, high: 16 }.fits(1));
        assert!(!Kind::Bits { low: 5, high: 4 }.fits(1));
        assert!(Kind::Ascii.fits(16) && !Kind::Ascii.fits(0));
    }

    #[test]
    fn orders_that_are_none() {
        for letters in ["", "A", "ABC", "ABCE", "AABB", "abcd", "ABCDEF", "AB CD", "@A"] {
            assert_eq!(Order::parse(letters), None, "{letters:?}");
        }
        assert_eq!(Order::parse("CDAB"), Some(Order(vec![2, 3, 0, 1])));
        assert_eq!(Order::parse("CDAB").unwrap().letters(), "CDAB");
    }

    #[test]
    fn serial_formats() {
        let format = serial_format("19200 8E1").unwrap();
        assert_eq!(
            (format.baud, format.data_bits, format.parity, format.stop_bits),
            (19_200, 8, Parity::Even, 1)
        );
        for text in
            ["9600", "9600 8X1", "9600 9N1", "9600 8N3", "0 8N1", "9600 8N1 x", "9600-8N1", "9601 8N1"]
        {
            assert_eq!(serial_format(text), None, "{text}");
        }
        for baud in SPEEDS {
            for frame in ["8N1", "8E1", "8O1", "8N2", "7E1", "7O1", "7N2"] {
                assert_eq!(serial_format(&format!("{baud} {frame}")).map(|format| format.baud), Some(baud));
            }
        }
        assert!(serial_fault("250000 8N1").0.starts_with("250000 is no speed"));
        assert_eq!(serial_fault("9600 8X1").0, "`9600 8X1` is not a serial format");
    }

    #[test]
    fn raw_patterns() {
        assert_eq!(FaultMatch::parse_raw("0x7FFF"), Some(FaultMatch::Raw(0x7FFF)));
        assert_eq!(FaultMatch::parse_raw("65535"), Some(FaultMatch::Raw(65_535)));
        for text in ["", "-1", "0x", "0x+1", "+1", "7F"] {
            assert_eq!(FaultMatch::parse_raw(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn restore_undoes_scatter(
            places in prop_oneof![Just(2u8), Just(4), Just(8)].prop_flat_map(|n| Just((0..n).collect::<Vec<u8>>()).prop_shuffle()),
            natural in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            let order = Order(places);
            prop_assert_eq!(Order::parse(&order.letters()), Some(order.clone()));
            if let Some(sent) = order.scatter(&natural) {
                prop_assert_eq!(order.restore(&sent), Some(natural));
            }
        }

        #[test]
        fn any_order_and_any_bytes_are_no_panic(places in prop::collection::vec(any::<u8>(), 0..10), bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let order = Order(places);
            let _ = (order.restore(&bytes), order.scatter(&bytes), order.letters());
        }
    }
}
