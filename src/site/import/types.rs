//! Telegraf's names of types and byte orders.
//!
//! In: `data_type`, `type`, `byte_order` as a configuration writes them. Out: ours.
//! Invariant: a type is what Telegraf decodes, whatever it is called; one without a counterpart is none.
//! Source: Telegraf, plugins/inputs/modbus, README and type_conversions*.go.

use crate::profile::Kind;

/// A type of the style `register`; FLOAT32, FIXED and UFIXED are whole numbers with a scale there.
pub(crate) fn of_registers(kind: &str, count: usize) -> Option<Kind> {
    match (kind, count) {
        ("FIXED", 1) => Some(Kind::I16),
        ("FIXED", 2) => Some(Kind::I32),
        ("FIXED", 4) => Some(Kind::I64),
        ("FLOAT32" | "UFIXED", 1) => Some(Kind::U16),
        ("FLOAT32" | "UFIXED", 2) => Some(Kind::U32),
        ("FLOAT32" | "UFIXED", 4) => Some(Kind::U64),
        ("FLOAT32-IEEE", _) => Some(Kind::F32),
        ("FLOAT64-IEEE", _) => Some(Kind::F64),
        ("FLOAT64", _) => None,
        _ => of_request(kind),
    }
}

/// A type of the style `request`.
pub(crate) fn of_request(kind: &str) -> Option<Kind> {
    match kind {
        "INT8H" => Some(Kind::I8h),
        "INT8L" => Some(Kind::I8l),
        "UINT8H" => Some(Kind::U8h),
        "UINT8L" => Some(Kind::U8l),
        "INT16" => Some(Kind::I16),
        "UINT16" => Some(Kind::U16),
        "INT32" => Some(Kind::I32),
        "UINT32" => Some(Kind::U32),
        "INT64" => Some(Kind::I64),
        "UINT64" => Some(Kind::U64),
        "FLOAT32" => Some(Kind::F32),
        "FLOAT64" => Some(Kind::F64),
        _ => None,
    }
}

/// The order of a request for a type of so many registers.
pub(crate) fn order_of(order: &str, cells: u16) -> Option<&'static str> {
    let orders = match order {
        "ABCD" | "MSW-BE" => ["AB", "ABCD", "ABCDEFGH"],
        "DCBA" | "LSW-LE" => ["BA", "DCBA", "HGFEDCBA"],
        "BADC" | "MSW-LE" => ["BA", "BADC", "BADCFEHG"],
        "CDAB" | "LSW-BE" => ["AB", "CDAB", "GHEFCDAB"],
        _ => return None,
    };
    orders.into_iter().find(|letters| letters.len() == usize::from(cells) * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_that_are_called_floats() {
        assert_eq!(of_registers("FLOAT32", 1), Some(Kind::U16));
        assert_eq!(of_registers("FIXED", 2), Some(Kind::I32));
        assert_eq!(of_registers("FLOAT32-IEEE", 2), Some(Kind::F32));
        assert_eq!(of_request("FLOAT32"), Some(Kind::F32));
        assert_eq!(of_request("FLOAT16"), None);
    }

    #[test]
    fn orders_of_requests() {
        assert_eq!(order_of("CDAB", 1), Some("AB"));
        assert_eq!(order_of("BADC", 1), Some("BA"));
        assert_eq!(order_of("CDAB", 4), Some("GHEFCDAB"));
        assert_eq!(order_of("LSW-LE", 2), Some("DCBA"));
        assert_eq!(order_of("XYZ", 2), None);
    }
}
