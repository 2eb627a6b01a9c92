//! MBAP framing: finds the answer with the right transaction id among the bytes of a connection.
//!
//! In: bytes of a connection. Out: the answer, "wait", or that the stream is out of step and must be closed.
//! Invariant: never holds more than one frame and what follows it, at most 1,024 bytes; a frame of an older transaction is
//! passed over, and any impossible header ends the connection.
//! Source: Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3.

use crate::bus::pdu::Answer;
use crate::bus::{Read, Slave};
use crate::loss::{Loss, Losses};

/// The request as bytes on the connection.
pub fn emit(transaction: u16, slave: Slave, read: Read) -> [u8; 12] {
    let [high, low] = transaction.to_be_bytes();
    let [f, a, b, c, d] = read.emit();
    [high, low, 0, 0, 0, 6, slave.0, f, a, b, c, d]
}

/// What the bytes so far come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The answer.
    Answer(Answer),
    /// An answer to our transaction that does not fit the request.
    Damaged,
    /// The stream is out of step; close it.
    Broken,
    /// Nothing yet.
    Wait,
}

/// Looks for the answer at the front of `held` and removes what was looked at.
pub fn look(
    held: &mut Vec<u8>,
    transaction: u16,
    slave: Slave,
    read: Read,
    line: &str,
    losses: &mut Losses,
) -> Found {
    loop {
        let Some((header, rest)) = held.split_first_chunk::<7>() else { return Found::Wait };
        let [id_high, id_low, protocol_high, protocol_low, length_high, length_low, unit] = *header;
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if (protocol_high, protocol_low) != (0, 0) || !(3..=254).contains(&length) {
            return Found::Broken;
        }
        let Some(pdu) = rest.get(..length - 1) else { return Found::Wait };
        let ours = u16::from_be_bytes([id_high, id_low]) == transaction && unit == slave.0;
        let answer = if ours { read.parse(pdu) } else { None };
        held.drain(..length + 6);
        match answer {
            Some(answer) => return Found::Answer(answer),
            None if ours => {
                losses.record(Loss::ForeignFrame, line, 1);
                return Found::Damaged;
            }
            None => losses.record(Loss::ForeignFrame, line, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::Table;

    const READ: Read = Read { table: Table::Holding, address: 0, count: 1 };

    fn found(bytes: &[u8]) -> Found {
        look(&mut bytes.to_vec(), 5, Slave(1), READ, "l", &mut Losses::default())
    }

    #[test]
    fn late_answers_are_passed_over_and_bad_headers_end_the_connection() {
        let late = [0, 4, 0, 0, 0, 5, 1, 3, 2, 0, 9];
        let good = [0, 5, 0, 0, 0, 5, 1, 3, 2, 0, 7];
        assert_eq!(found(&[late, good].concat()), Found::Answer(Answer::Cells(vec![7])));
        assert_eq!(found(&late), Found::Wait);
        assert_eq!(found(&[0, 5, 0, 0, 0, 5, 2, 3, 2, 0, 7]), Found::Wait, "another unit");
        assert_eq!(found(&[0, 5, 0, 0, 0, 7, 1, 3, 4, 0, 7, 0, 8]), Found::Damaged, "another length");
        assert_eq!(found(&[0, 5, 0, 1, 0, 5, 1]), Found::Broken);
        assert_eq!(found(&[0, 5, 0, 0, 0, 0, 1]), Found::Broken);
        assert_eq!(found(&good[..8]), Found::Wait);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = found(&bytes);
        }
    }
}
