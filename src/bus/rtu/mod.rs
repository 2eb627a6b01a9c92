//! RTU framing: finds the answer to the open request among the bytes of a serial line.
//!
//! In: bytes as they arrive, and how much patience is left. Out: the PDU of the answer.
//! Invariant: never holds more than 256 bytes and a heartbeat; only slave, function, byte count and check sum together make an answer;
//! nothing inside a plausible answer is looked at before that answer is refuted by its check sum or by the deadline;
//! what stands at the front is decided by its own bytes alone, so any split of the bytes gives the same outcome.
//! Source: Modbus over Serial Line V1.02, 2.5.1.

use crate::bus::Slave;
use crate::bus::ask::Ask;
use crate::bus::rtu::head::{Head, late};
use crate::bus::transaction::Transaction;
use crate::loss::{Loss, Losses};

mod head;

/// The longest frame in bytes.
pub const FRAME_MAX: usize = 256;
/// The check sum of RTU frames (CRC-16/MODBUS); it goes onto the line low byte first.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        let [low, _] = crc.to_le_bytes();
        (crc >> 8) ^ entry(low ^ byte)
    })
}

#[expect(clippy::indexing_slicing, reason = "a table of 256 entries has one for each byte")]
const fn entry(index: u8) -> u16 {
    TABLE[index as usize]
}

static TABLE: [u16; 256] = table();

#[expect(clippy::indexing_slicing, reason = "computed when compiling, where a wrong index is an error")]
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
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

/// Puts the request's frame into `to`, and nothing else.
pub fn emit(slave: Slave, ask: &Ask, to: &mut Vec<u8>) {
    to.clear();
    to.push(slave.0);
    ask.emit(to);
    let sum = crc16(to).to_le_bytes();
    to.extend_from_slice(&sum);
}

/// How long the bytes at the front have been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// More may come at once.
    Fresh,
    /// The line was silent for a while: another device's frame would have ended.
    Silent,
    /// The deadline has passed.
    Over,
}

/// The receive buffer of one line.
#[derive(Clone, Debug)]
pub struct Receiver {
    buffer: Vec<u8>,
    /// The request that waits, and what came for it.
    pub open: Transaction,
    heartbeats: Vec<Vec<u8>>,
    buffer_max: usize,
    /// The front may still become our answer.
    holding: bool,
}

/// Counts of one scan, recorded together.
#[derive(Default)]
struct Tally {
    stray: usize,
    foreign: u64,
    damaged: u64,
}

impl Receiver {
    /// With nothing received. `heartbeats` are what a DTU says by itself, also in the middle of a frame.
    pub fn new(heartbeats: &[Vec<u8>]) -> Self {
        Self {
            buffer: Vec::with_capacity(FRAME_MAX),
            open: Transaction::default(),
            buffer_max: FRAME_MAX + heartbeats.iter().map(Vec::len).max().unwrap_or(0),
            heartbeats: heartbeats.iter().filter(|heartbeat| !heartbeat.is_empty()).cloned().collect(),
            holding: false,
        }
    }

    /// Opens a transaction: its request goes onto the line as `frame`. Whatever came before it is given up. When the
    /// answer repeats the request, a copy of it counts as the line's echo only where the line `echoes`.
    pub fn expect(&mut self, slave: Slave, ask: &Ask, frame: &[u8], echoes: bool) {
        self.open.begin(slave, ask, frame, echoes);
    }

    /// Closes the open transaction and gives up what is held.
    pub fn forget(&mut self, place: &str, losses: &mut Losses) {
        let mut tally = Tally::default();
        self.open.expected = None;
        self.scan(Patience::Over, &mut tally);
        tally.record(place, losses);
        self.open.close();
        self.holding = false;
    }

    /// Whether the front may still become an answer.
    pub fn is_holding(&self) -> bool {
        self.holding
    }

    /// Whether a damaged answer went by and nothing at the front can still become a sound one.
    pub fn is_refuted(&self) -> bool {
        self.open.damaged && !self.holding
    }

    /// Whether silence would decide something.
    pub fn is_unsettled(&self) -> bool {
        !self.holding && (self.open.damaged || !self.buffer.is_empty())
    }

    /// Takes `bytes` in; `true` when the answer is there. What is discarded is recorded under `place`.
    pub fn step(&mut self, mut bytes: &[u8], patience: Patience, place: &str, losses: &mut Losses) -> bool {
        let (mut tally, mut found) = (Tally::default(), false);
        loop {
            // No frame with a heartbeat in it is longer than the buffer, so a full one is always decided, and room comes.
            let room = self.buffer_max.saturating_sub(self.buffer.len()).min(bytes.len());
            let (first, later) = bytes.split_at(room);
            self.buffer.extend_from_slice(first);
            bytes = later;
            found |= self.scan(patience, &mut tally);
            if bytes.is_empty() {
                tally.record(place, losses);
                return found;
            }
        }
    }

    /// Decides the front of the buffer for as long as its bytes allow.
    fn scan(&mut self, patience: Patience, tally: &mut Tally) -> bool {
        let (mut at, mut found) = (0, false);
        self.holding = false;
        while let Some(window) = self.buffer.get(at..).filter(|window| !window.is_empty()) {
            let head = self.head(window, patience);
            match head {
                Head::Answer { length, cut } => {
                    // Between the address and the check sum.
                    let whole = window.iter().take(length + cut.len());
                    let kept = whole.enumerate().filter(|(place, _)| !cut.contains(place));
                    let first = self.open.answered(kept.map(|(_, byte)| *byte).skip(1).take(length - 3));
                    tally.foreign += u64::from(!first);
                    tally.stray += cut.len();
                    at += length + cut.len();
                    found = true;
                }
                Head::Echo => {
                    tally.stray += self.open.request.len();
                    at += self.open.request.len();
                    self.open.came_back();
                }
                Head::Heartbeat(length) => {
                    tally.stray += length;
                    at += length;
                }
                Head::Foreign { length, misfit } => {
                    tally.foreign += 1;
                    at += length;
                    self.open.passed(window.get(..length).and_then(late), misfit);
                }
                Head::Damaged => {
                    tally.damaged += 1;
                    self.open.damaged = true;
                    at += 1;
                }
                Head::Hold(until) if patience < until => {
                    self.holding = until == Patience::Over;
                    break;
                }
                Head::Hold(_) | Head::Junk => {
                    tally.stray += 1;
                    at += 1;
                }
            }
        }
        self.buffer.drain(..at);
        found
    }
}

impl Tally {
    fn record(self, place: &str, losses: &mut Losses) {
        losses.record(Loss::StrayBytes, place, u64::try_from(self.stray).unwrap_or(u64::MAX));
        losses.record(Loss::ForeignFrame, place, self.foreign);
        losses.record(Loss::BadChecksum, place, self.damaged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sum_is_the_standards() {
        assert_eq!(crc16(b"123456789"), 0x4B37);
        assert_eq!(crc16(&[1, 3, 0, 0, 0, 0x0A]).to_le_bytes(), [0xC5, 0xCD]);
        let bitwise = |bytes: &[u8]| {
            bytes.iter().fold(0xFFFF_u16, |crc, byte| {
                (0..8).fold(
                    crc ^ u16::from(*byte),
                    |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 },
                )
            })
        };
        for byte in 0..=255 {
            assert_eq!(crc16(&[byte, !byte]), bitwise(&[byte, !byte]));
        }
    }
}
