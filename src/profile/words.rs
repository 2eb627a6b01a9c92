//! The words of profile documents: register places, types, byte orders, serial formats.
//!
//! In: text of a document. Out: the value it stands for, or `None`.
//! Invariant: never panics; what is accepted is exactly what the reference lists.

use crate::bus::{Parity, SerialFormat, Table};
use crate::profile::{Kind, Order};

impl Kind {
    /// The type of this document name; `bits` is given its bit span by the caller.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Document names.
    pub const NAMES: [(&'static str, Self); 18] = [
        ("u8h", Self::U8h),
        ("u8l", Self::U8l),
        ("i8h", Self::I8h),
        ("i8l", Self::I8l),
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
        ("bool", Self::Bool),
        ("bits", Self::Bits { low: 0, high: 15 }),
        ("ascii", Self::Ascii),
        ("bcd", Self::Bcd),
        ("m10k", Self::M10k),
        ("sm16", Self::Sm16),
    ];

    /// Cells that a value of this kind takes when the document names no count.
    pub const fn words(self) -> u16 {
        match self {
            Self::U8h | Self::U8l | Self::I8h | Self::I8l | Self::U16 | Self::I16 | Self::Bool => 1,
            Self::Bits { .. } | Self::Ascii | Self::Bcd | Self::Sm16 => 1,
            Self::U32 | Self::I32 | Self::F32 | Self::M10k => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

impl Order {
    /// `CDAB` and the like: a permutation of the first 2, 4 or 8 letters.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: Vec<u8> = text.bytes().map(|letter| letter.wrapping_sub(b'A')).collect();
        let all = (0..letters.len()).all(|index| letters.iter().any(|letter| usize::from(*letter) == index));
        (matches!(letters.len(), 2 | 4 | 8) && all).then_some(Self(letters))
    }
}

/// The table and wire address of `holding 0x0002`, `input 5`, or of a manual's literal such as `40003` (holding 2) or `30001` (input 0).
pub fn parse_at(text: &str) -> Option<(Table, u16)> {
    let number = |digits: &str| match digits.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    };
    if let Some((table, address)) = text.split_once(' ') {
        let table = match table {
            "coil" => Table::Coil,
            "discrete" => Table::Discrete,
            "holding" => Table::Holding,
            "input" => Table::Input,
            _ => return None,
        };
        return Some((table, number(address.trim())?));
    }
    let literal: u32 = text.parse().ok()?;
    if !matches!(text.len(), 5 | 6) {
        return None;
    }
    let base = if text.len() == 5 { 10_000 } else { 100_000 };
    let table = match literal / base {
        0 => Table::Coil,
        1 => Table::Discrete,
        3 => Table::Input,
        4 => Table::Holding,
        _ => return None,
    };
    u16::try_from((literal % base).checked_sub(1)?).ok().map(|address| (table, address))
}

/// `9600 8N1`.
pub fn parse_format(text: &str) -> Option<SerialFormat> {
    let (baud, frame) = text.split_once(' ')?;
    let baud = baud.parse().ok().filter(|baud| (300..=1_000_000).contains(baud))?;
    let [data, parity, stop] = frame.as_bytes() else { return None };
    let parity = match parity {
        b'N' => Parity::None,
        b'E' => Parity::Even,
        b'O' => Parity::Odd,
        _ => return None,
    };
    let (data_bits, stop_bits) = (data.wrapping_sub(b'0'), stop.wrapping_sub(b'0'));
    (matches!(data_bits, 7 | 8) && matches!(stop_bits, 1 | 2)).then_some(SerialFormat { baud, data_bits, parity, stop_bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(parse_at("holding 0x0002"), Some((Table::Holding, 2)));
        assert_eq!(parse_at("input 5"), Some((Table::Input, 5)));
        assert_eq!(parse_at("40003"), Some((Table::Holding, 2)));
        assert_eq!(parse_at("30001"), Some((Table::Input, 0)));
        assert_eq!(parse_at("465536"), Some((Table::Holding, 65535)));
        for wrong in ["", "40000", "90001", "holding", "holding 65536", "register 1", "3"] {
            assert_eq!(parse_at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn orders_and_formats() {
        assert_eq!(Order::parse("CDAB"), Some(Order(vec![2, 3, 0, 1])));
        assert_eq!(Order::parse("CDAA"), None);
        assert_eq!(Order::parse("XYZ"), None);
        let format = parse_format("19200 8E1").unwrap();
        assert_eq!((format.baud, format.parity, format.stop_bits), (19200, Parity::Even, 1));
        assert_eq!(parse_format("9600"), None);
        assert_eq!(parse_format("9600 9N1"), None);
    }
}
