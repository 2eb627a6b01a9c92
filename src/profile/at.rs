//! Where a point stands: a table and a wire address, or the literal that a manual prints.
//!
//! In: `holding 0x0002`, `input 5`, `40003`, `465536`. Out: [`At`], which shows both forms back.
//! Invariant: everything below this file is 0-based as on the wire; a word names the table of a wire address, bare digits are a literal.
//! Source: Modbus Application Protocol V1.1b3, 4.4 (data model); "Modicon" 5- and 6-digit references.

use std::fmt;

use crate::bus::Table;
use crate::profile::names::number;

/// A table and a 0-based wire address. Its text shows wire address and literal: `holding 0x0002 (40003)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// Which table.
    pub table: Table,
    /// 0-based wire address.
    pub address: u16,
}

const TABLES: [(Table, &str, u32); 4] = [
    (Table::Coil, "coil", 0),
    (Table::Discrete, "discrete", 1),
    (Table::Input, "input", 3),
    (Table::Holding, "holding", 4),
];

impl At {
    /// Table and address of a document's text.
    ///
    /// # Errors
    /// Text for a person: no such table, no such address, a literal of zero (literals count from 1).
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some((word, address)) = text.split_once(char::is_whitespace) {
            let table = TABLES
                .iter()
                .find(|(_, known, _)| *known == word)
                .map(|(table, _, _)| *table)
                .ok_or_else(|| format!("no table {word}: coil, discrete, input or holding"))?;
            let address =
                number(address).and_then(|address| u16::try_from(address).ok()).ok_or_else(|| {
                    format!("no wire address {}: 0 to 65535, or 0x0000 to 0xFFFF", address.trim())
                })?;
            return Ok(Self { table, address });
        }
        literal(text)
    }
}

/// A manual's literal: first digit the table, then 4 or 5 digits counting from 1.
fn literal(text: &str) -> Result<At, String> {
    let wrong =
        || format!("no address {text}: write \"holding 0x0002\", or a manual's literal such as \"40003\"");
    if !matches!(text.len(), 5 | 6) || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let (first, rest) = text.split_at_checked(1).ok_or_else(wrong)?;
    let first: u32 = first.parse().map_err(|_| wrong())?;
    let table =
        TABLES.iter().find(|(_, _, digit)| *digit == first).map(|(table, _, _)| *table).ok_or_else(wrong)?;
    let place: u32 = rest.parse().map_err(|_| wrong())?;
    let address = place.checked_sub(1).ok_or_else(|| format!("no literal {text}: literals count from 1"))?;
    let address =
        u16::try_from(address).map_err(|_| format!("no literal {text}: the last one is {first}65536"))?;
    Ok(At { table, address })
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, digit) = TABLES
            .iter()
            .find(|(table, _, _)| *table == self.table)
            .map_or(("holding", 4), |(_, word, digit)| (*word, *digit));
        let place = u32::from(self.address) + 1;
        let width = if place > 9_999 { 5 } else { 4 };
        write!(f, "{word} 0x{:04X} ({digit}{place:0width$})", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_literals() {
        for (text, table, address, shown) in [
            ("holding 0x0002", Table::Holding, 2, "holding 0x0002 (40003)"),
            ("40003", Table::Holding, 2, "holding 0x0002 (40003)"),
            ("30001", Table::Input, 0, "input 0x0000 (30001)"),
            ("input 5", Table::Input, 5, "input 0x0005 (30006)"),
            ("10016", Table::Discrete, 15, "discrete 0x000F (10016)"),
            ("00001", Table::Coil, 0, "coil 0x0000 (00001)"),
            ("coil  7", Table::Coil, 7, "coil 0x0007 (00008)"),
            ("400003", Table::Holding, 2, "holding 0x0002 (40003)"),
            ("465536", Table::Holding, 65_535, "holding 0xFFFF (465536)"),
            ("holding 40020", Table::Holding, 40_020, "holding 0x9C54 (440021)"),
        ] {
            let at = At::parse(text).unwrap();
            assert_eq!((at.table, at.address), (table, address), "{text}");
            assert_eq!(at.to_string(), shown);
            assert_eq!(At::parse(shown.split_once('(').unwrap().1.trim_end_matches(')')), Ok(at));
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "2",
            "0x0002",
            "40000",
            "20001",
            "50001",
            "465537",
            "holding",
            "holding 65536",
            "holding -1",
            "register 2",
            "4000x",
            "４0001",
        ] {
            assert!(At::parse(text).is_err(), "{text}");
        }
    }
}
