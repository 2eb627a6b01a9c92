//! Protocol data units of the four reads.
//!
//! In: a read, or the bytes of an answer. Out: request bytes, or exactly the cells asked for.
//! Invariant: an answer with another function or byte count than the request's is not an answer.
//! Source: Modbus Application Protocol V1.1b3, sections 6.1 to 6.4 and 7.

use crate::bus::{Read, Table};

/// What the bytes after the address say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The cells.
    Cells(Vec<u16>),
    /// The device refused.
    Exception(u8),
}

impl Read {
    /// Function code 1 to 4.
    pub const fn function(self) -> u8 {
        match self.table {
            Table::Coil => 1,
            Table::Discrete => 2,
            Table::Holding => 3,
            Table::Input => 4,
        }
    }

    /// Bytes of the request's PDU.
    pub const fn emit(self) -> [u8; 5] {
        let [high, low] = self.address.to_be_bytes();
        let [count_high, count_low] = self.count.to_be_bytes();
        [self.function(), high, low, count_high, count_low]
    }

    /// Data bytes of the right answer.
    pub fn data_bytes(self) -> usize {
        match self.table {
            Table::Coil | Table::Discrete => usize::from(self.count).div_ceil(8),
            Table::Holding | Table::Input => usize::from(self.count) * 2,
        }
    }

    /// Bytes of the right answer's PDU.
    pub fn answer_bytes(self) -> usize {
        2 + self.data_bytes()
    }

    /// What the PDU `bytes` answer; `None` when they do not answer this request.
    pub fn parse(self, bytes: &[u8]) -> Option<Answer> {
        match bytes {
            [function, code] if *function == self.function() | 0x80 => Some(Answer::Exception(*code)),
            [function, count, data @ ..] if *function == self.function() => {
                let right = data.len() == self.data_bytes() && usize::from(*count) == data.len();
                right.then(|| Answer::Cells(self.cells(data)))
            }
            _ => None,
        }
    }

    fn cells(self, data: &[u8]) -> Vec<u16> {
        match self.table {
            Table::Holding | Table::Input => {
                data.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
            }
            Table::Coil | Table::Discrete => {
                let bits = data.iter().flat_map(|byte| (0..8).map(move |bit| u16::from(byte >> bit & 1)));
                bits.take(usize::from(self.count)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes() {
        let read = Read { table: Table::Holding, address: 0x006B, count: 3 };
        assert_eq!(read.emit(), [0x03, 0x00, 0x6B, 0x00, 0x03]);
        let answer = [0x03, 0x06, 0x02, 0x2B, 0x00, 0x00, 0x00, 0x64];
        assert_eq!(read.parse(&answer), Some(Answer::Cells(vec![0x022B, 0, 0x64])));
        assert_eq!(read.parse(&[0x83, 0x02]), Some(Answer::Exception(2)));
        let coils = Read { table: Table::Coil, address: 0x13, count: 19 };
        let Some(Answer::Cells(cells)) = coils.parse(&[0x01, 0x03, 0xCD, 0x6B, 0x05]) else {
            panic!("no answer")
        };
        assert_eq!(cells.len(), 19);
        assert_eq!(cells[..8], [1, 0, 1, 1, 0, 0, 1, 1]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_the_asked_count_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..260), count in 1_u16..126, table in 0..4_usize) {
            let table = [Table::Coil, Table::Discrete, Table::Holding, Table::Input][table];
            let read = Read { table, address: 0, count };
            if let Some(Answer::Cells(cells)) = read.parse(&bytes) {
                prop_assert_eq!(cells.len(), usize::from(count));
            }
        }
    }
}
