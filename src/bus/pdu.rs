//! The protocol data units of the four reads.
//!
//! In: a read, or the bytes of an answer. Out: request bytes, or exactly the cells asked for.
//! Invariant: an answer with another function, byte count or length than the request's is not an answer.
//! Source: Modbus Application Protocol V1.1b3, 6.1 to 6.4 and 7.

use crate::bus::identity::Page;
use crate::bus::{Read, Table};

/// What a PDU says to its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The cells, one `u16` each; bits are 0 or 1. Exactly as many as asked for.
    Cells(Vec<u16>),
    /// The device refused with this code; any code, also one that the standard doesn't know.
    Exception(u8),
    /// A page of the device's identity.
    Identity(Page),
    /// The write was done.
    Written,
}

impl Read {
    /// The function code, 1 to 4.
    pub const fn function(self) -> u8 {
        match self.table {
            Table::Coil => 1,
            Table::Discrete => 2,
            Table::Holding => 3,
            Table::Input => 4,
        }
    }

    /// Whether a device may be asked this: 1 to 125 registers or 1 to 2000 bits, inside the table.
    pub fn is_legal(self) -> bool {
        let most = match self.table {
            Table::Coil | Table::Discrete => 2000,
            Table::Holding | Table::Input => 125,
        };
        (1..=most).contains(&self.count) && u32::from(self.address) + u32::from(self.count) <= 0x1_0000
    }

    /// The request's PDU.
    pub const fn emit(self) -> [u8; 5] {
        let [address_high, address_low] = self.address.to_be_bytes();
        let [count_high, count_low] = self.count.to_be_bytes();
        [self.function(), address_high, address_low, count_high, count_low]
    }

    /// Data bytes of the right answer: at most 250 for a legal read.
    pub fn data_bytes(self) -> usize {
        match self.table {
            Table::Coil | Table::Discrete => usize::from(self.count).div_ceil(8),
            Table::Holding | Table::Input => usize::from(self.count) * 2,
        }
    }

    /// What `pdu` says to this read; `None` when it isn't an answer to it.
    pub fn parse(self, pdu: &[u8]) -> Option<Answer> {
        match pdu {
            [function, code] if *function == self.function() | 0x80 => Some(Answer::Exception(*code)),
            [function, count, data @ ..] if *function == self.function() => {
                let exact = data.len() == self.data_bytes() && data.len() == usize::from(*count);
                exact.then(|| Answer::Cells(self.cells(data)))
            }
            _ => None,
        }
    }

    fn cells(self, data: &[u8]) -> Vec<u16> {
        match self.table {
            Table::Holding | Table::Input => {
                data.as_chunks::<2>().0.iter().map(|word| u16::from_be_bytes(*word)).collect()
            }
            // The first cell is the lowest bit of the first byte; the last byte's spare bits may be anything.
            Table::Coil | Table::Discrete => data
                .iter()
                .flat_map(|byte| (0..8).map(move |bit| u16::from((byte >> bit) & 1)))
                .take(usize::from(self.count))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_read() -> impl Strategy<Value = Read> {
        let table = prop::sample::select(vec![Table::Coil, Table::Discrete, Table::Holding, Table::Input]);
        (table, any::<u16>(), 1..=2000_u16).prop_map(|(table, address, count)| {
            let registers = matches!(table, Table::Holding | Table::Input);
            Read { table, address, count: if registers { count % 125 + 1 } else { count } }
        })
    }

    /// The PDU that a right device answers with.
    fn answer(read: Read, cells: &[u16]) -> Vec<u8> {
        let data: Vec<u8> = match read.table {
            Table::Holding | Table::Input => cells.iter().flat_map(|cell| cell.to_be_bytes()).collect(),
            Table::Coil | Table::Discrete => cells
                .chunks(8)
                .map(|bits| bits.iter().rev().fold(0, |byte, bit| (byte << 1) | u8::try_from(*bit).unwrap()))
                .collect(),
        };
        [vec![read.function(), u8::try_from(data.len()).unwrap()], data].concat()
    }

    fn cells_of(read: Read, seed: u64) -> Vec<u16> {
        let most = if matches!(read.table, Table::Coil | Table::Discrete) { 2 } else { 0x1_0000 };
        (0..u64::from(read.count))
            .map(|cell| u16::try_from(seed.wrapping_mul(cell + 7).rotate_left(17) % most).unwrap())
            .collect()
    }

    #[test]
    fn legal_reads_fit_the_standard() {
        let legal = |table, address, count| Read { table, address, count }.is_legal();
        assert!(legal(Table::Holding, 0, 125));
        assert!(!legal(Table::Holding, 0, 126));
        assert!(legal(Table::Coil, 0, 2000));
        assert!(!legal(Table::Discrete, 0, 2001));
        assert!(!legal(Table::Input, 0, 0));
        assert!(legal(Table::Input, 0xFFFF, 1));
        assert!(!legal(Table::Input, 0xFFFF, 2), "over the end of the table");
    }

    #[test]
    fn an_exception_is_two_bytes() {
        let read = Read { table: Table::Holding, address: 0, count: 1 };
        assert_eq!(read.parse(&[0x83, 0]), Some(Answer::Exception(0)));
        assert_eq!(read.parse(&[0x83]), None);
        assert_eq!(read.parse(&[0x83, 2, 0]), None);
        assert_eq!(read.parse(&[0x84, 2]), None);
        assert_eq!(read.parse(&[]), None);
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_the_same(read in any_read(), seed in any::<u64>()) {
            let cells = cells_of(read, seed);
            prop_assert_eq!(read.parse(&answer(read, &cells)), Some(Answer::Cells(cells)));
        }

        #[test]
        fn another_count_is_not_an_answer(read in any_read(), other in any_read(), seed in any::<u64>()) {
            let pdu = answer(other, &cells_of(other, seed));
            let fits = other.function() == read.function() && other.data_bytes() == read.data_bytes();
            prop_assert_eq!(read.parse(&pdu).is_some(), fits);
        }

        #[test]
        fn any_bytes_give_the_asked_count_or_nothing(
            read in any_read(),
            pdu in prop::collection::vec(any::<u8>(), 0..260),
        ) {
            if let Some(Answer::Cells(cells)) = read.parse(&pdu) {
                prop_assert_eq!(cells.len(), usize::from(read.count));
            }
        }
    }
}
