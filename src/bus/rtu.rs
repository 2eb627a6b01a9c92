//! RTU framing: finds the answer to one request among the bytes of a serial line.
//!
//! In: bytes that arrived since the request. Out: the answer, damage, or "wait".
//! Invariant: never holds more than 512 bytes; only slave, function, byte count and check sum together make an answer.
//! Source: Modbus over Serial Line V1.02, 2.5.1.

use crate::bus::pdu::Answer;
use crate::bus::{Read, Slave};
use crate::loss::{Loss, Losses};

/// More bytes than this are noise, whatever they are.
const HELD_MAX: usize = 512;

/// Check sum of Modbus RTU (CRC-16/MODBUS), to be sent low byte first.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        let index = usize::from((crc ^ u16::from(*byte)) & 0xFF);
        (crc >> 8) ^ TABLE.get(index).copied().unwrap_or(0)
    })
}

static TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0_u16; 256];
    let mut index = 0_u16;
    while index < 256 {
        let mut crc = index;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[index as usize] = crc;
        index += 1;
    }
    table
}

/// The request as bytes on the line.
pub fn emit(slave: Slave, read: Read) -> [u8; 8] {
    let [f, a, b, c, d] = read.emit();
    let [low, high] = crc16(&[slave.0, f, a, b, c, d]).to_le_bytes();
    [slave.0, f, a, b, c, d, low, high]
}

/// What the bytes so far come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The answer.
    Answer(Answer),
    /// A whole frame's worth of bytes with a wrong check sum stands where the answer should.
    Damaged,
    /// Nothing yet.
    Wait,
}

/// The bytes that arrived since one request.
#[derive(Clone, Debug)]
pub struct Search {
    slave: Slave,
    read: Read,
    echo: Option<[u8; 8]>,
    held: Vec<u8>,
}

impl Search {
    /// For the answer of `slave` to `read`.
    pub fn new(slave: Slave, read: Read) -> Self {
        Self { slave, read, echo: Some(emit(slave, read)), held: Vec::with_capacity(64) }
    }

    /// Takes bytes in and says what they come to.
    pub fn step(&mut self, bytes: &[u8], line: &str, losses: &mut Losses) -> Found {
        self.held.extend_from_slice(bytes);
        if let Some(over) = self.held.len().checked_sub(HELD_MAX) {
            self.held.drain(..over);
            losses.record(Loss::StrayBytes, line, u64::try_from(over).unwrap_or(0));
        }
        self.drop_echo();
        self.look(line, losses)
    }

    /// Two-wire adapters send the request back; an answer is never the same bytes with the same length.
    fn drop_echo(&mut self) {
        let Some(echo) = self.echo else { return };
        if self.held.starts_with(&echo) {
            self.held.drain(..echo.len());
            self.echo = None;
        }
    }

    fn look(&mut self, line: &str, losses: &mut Losses) -> Found {
        let mut damaged = false;
        for start in 0..self.held.len() {
            let Some(rest) = self.held.get(start..) else { break };
            if !self.plausible(rest) {
                continue;
            }
            let length = if rest.get(1) == Some(&(self.read.function() | 0x80)) {
                5
            } else {
                3 + self.read.data_bytes() + 2
            };
            let Some(frame) = rest.get(..length) else {
                // A plausible answer that is not whole: nothing inside it is looked at before it is refuted.
                return Found::Wait;
            };
            if let Some(answer) = checked(frame, self.read) {
                losses.record(Loss::StrayBytes, line, u64::try_from(start).unwrap_or(0));
                self.held.clear();
                return Found::Answer(answer);
            }
            damaged = true;
        }
        if damaged { Found::Damaged } else { Found::Wait }
    }

    /// Whether `bytes` begin as the answer would.
    fn plausible(&self, bytes: &[u8]) -> bool {
        let function = self.read.function();
        match bytes {
            [slave] => *slave == self.slave.0,
            [slave, f] => *slave == self.slave.0 && (*f == function || *f == function | 0x80),
            [slave, f, count, ..] if *slave == self.slave.0 => {
                *f == function | 0x80 || (*f == function && usize::from(*count) == self.read.data_bytes())
            }
            _ => false,
        }
    }

    /// Counts what is left when the request is given up.
    pub fn give_up(&mut self, damaged: bool, line: &str, losses: &mut Losses) {
        let left = u64::try_from(self.held.len()).unwrap_or(0);
        let loss = if damaged { Loss::BadChecksum } else { Loss::StrayBytes };
        losses.record(loss, line, if damaged { 1 } else { left });
        self.held.clear();
    }
}

fn checked(frame: &[u8], read: Read) -> Option<Answer> {
    let (body, sum) = frame.split_last_chunk::<2>()?;
    let (_, pdu) = body.split_first()?;
    (u16::from_le_bytes(*sum) == crc16(body)).then(|| read.parse(pdu)).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::Table;

    const READ: Read = Read { table: Table::Holding, address: 0, count: 2 };

    fn frame(slave: u8, pdu: &[u8]) -> Vec<u8> {
        let mut frame = vec![slave];
        frame.extend_from_slice(pdu);
        frame.extend_from_slice(&crc16(&frame).to_le_bytes());
        frame
    }

    fn search(bytes: &[u8]) -> Found {
        Search::new(Slave(1), READ).step(bytes, "l", &mut Losses::default())
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(emit(Slave(1), READ), [0x01, 0x03, 0x00, 0x00, 0x00, 0x02, 0xC4, 0x0B]);
        let answer = [0x01, 0x03, 0x04, 0x41, 0xC8, 0x00, 0x00, 0x6F, 0xF1];
        assert_eq!(search(&answer), Found::Answer(Answer::Cells(vec![0x41C8, 0])));
        assert_eq!(crc16(b"123456789"), 0x4B37);
    }

    #[test]
    fn noise_echo_and_foreigners_are_passed_over() {
        let good = frame(1, &[3, 4, 0, 7, 0, 8]);
        let wanted = Found::Answer(Answer::Cells(vec![7, 8]));
        let with = |before: &[u8]| search(&[before, &good].concat());
        assert_eq!(with(&[0xFF, 0x00, 0x01]), wanted);
        assert_eq!(with(&emit(Slave(1), READ)), wanted, "echo");
        assert_eq!(with(&frame(2, &[3, 4, 0, 1, 0, 2])), wanted, "another slave");
        assert_eq!(with(&frame(1, &[3, 2, 0, 1])), wanted, "another length");
        assert_eq!(search(&frame(1, &[0x83, 2])), Found::Answer(Answer::Exception(2)));
        let mut bad = good.clone();
        bad[4] ^= 1;
        assert_eq!(search(&bad), Found::Damaged);
    }

    proptest! {
        #[test]
        fn a_damaged_frame_is_never_an_answer(words: [u16; 2], place in 0..9_usize, flip in 1_u8..) {
            let [a, b] = words.map(u16::to_be_bytes);
            let mut bytes = frame(1, &[3, 4, a[0], a[1], b[0], b[1]]);
            bytes[place] ^= flip;
            prop_assert!(!matches!(search(&bytes), Found::Answer(Answer::Cells(_))));
        }

        #[test]
        fn any_split_gives_the_same(noise in prop::collection::vec(any::<u8>(), 0..20), cut in 0..30_usize) {
            let bytes = [noise, frame(1, &[3, 4, 0, 7, 0, 8])].concat();
            let cut = cut.min(bytes.len());
            let mut search = Search::new(Slave(1), READ);
            let mut losses = Losses::default();
            let first = search.step(&bytes[..cut], "l", &mut losses);
            let second = if matches!(first, Found::Answer(_)) { first } else { search.step(&bytes[cut..], "l", &mut losses) };
            let whole = Search::new(Slave(1), READ).step(&bytes, "l", &mut losses);
            prop_assert_eq!(second, whole);
        }
    }
}
