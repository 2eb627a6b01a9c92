//! ASCII framing: finds the answer to the open request among the characters of a line.
//!
//! In: characters as they arrive. Out: the PDU of the answer.
//! Invariant: never holds more than 513 characters and a heartbeat; a colon always begins anew; only slave, function,
//! length and check sum together make an answer; any split of the characters gives the same outcome.
//! Source: Modbus over Serial Line V1.02, 2.5.2. Lower-case digits are taken as well; a carriage return and a line feed
//! end a frame, one alone doesn't. The check sum is a sum: swapped bytes pass it, as the standard has it.

use std::time::Duration;

use crate::bus::Slave;
use crate::bus::ask::Ask;
use crate::bus::transaction::{Late, Transaction};
use crate::loss::{Loss, Losses};

/// The longest frame in characters, from the colon to the line feed.
pub const FRAME_MAX: usize = 513;
/// So long two characters of one frame may be apart.
pub const GAP_MAX: Duration = Duration::from_secs(1);

/// The check sum of ASCII frames: what makes the sum of all bytes zero.
pub fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// Puts the request's frame into `to`, and nothing else.
pub fn emit(slave: Slave, ask: &Ask, to: &mut Vec<u8>) {
    let mut bytes = vec![slave.0];
    ask.emit(&mut bytes);
    bytes.push(lrc(&bytes));
    to.clear();
    to.push(b':');
    for byte in bytes {
        to.extend(
            [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'A' - 10 + digit }),
        );
    }
    to.extend_from_slice(b"\r\n");
}

/// The receive buffer of one line.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// From the colon on; empty outside a frame.
    buffer: Vec<u8>,
    /// The request that waits, and what came for it.
    pub open: Transaction,
    heartbeats: Vec<Vec<u8>>,
    buffer_max: usize,
}

/// Counts of one step, recorded together.
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
        }
    }

    /// Opens a transaction: its request goes onto the line as `frame`. When the answer repeats the request, a copy of it
    /// counts as the line's echo only where the line `echoes`.
    pub fn expect(&mut self, slave: Slave, ask: &Ask, frame: &[u8], echoes: bool) {
        self.open.begin(slave, ask, frame, echoes);
    }

    /// Closes the open transaction and gives up what is held.
    pub fn forget(&mut self, place: &str, losses: &mut Losses) {
        self.open.expected = None;
        self.give_up(place, losses);
        self.open.close();
    }

    /// Gives up half a frame: its next character is overdue.
    pub fn give_up(&mut self, place: &str, losses: &mut Losses) {
        losses.record(Loss::StrayBytes, place, u64::try_from(self.buffer.len()).unwrap_or(u64::MAX));
        self.open.damaged |= self.open.expected.is_some() && !self.buffer.is_empty();
        self.buffer.clear();
    }

    /// Whether a frame has begun and not ended.
    pub fn is_holding(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether a damaged frame went by and no other has begun.
    pub fn is_refuted(&self) -> bool {
        self.open.damaged && self.buffer.is_empty()
    }

    /// Takes `bytes` in; `true` when the answer is there. What is discarded is recorded under `place`.
    pub fn step(&mut self, bytes: &[u8], place: &str, losses: &mut Losses) -> bool {
        let (mut tally, mut found) = (Tally::default(), false);
        for byte in bytes {
            match byte {
                b':' => {
                    tally.stray += self.buffer.len();
                    self.buffer.clear();
                    self.buffer.push(b':');
                }
                _ if self.buffer.is_empty() => tally.stray += 1,
                _ if self.buffer.len() >= self.buffer_max => {
                    tally.damaged += 1;
                    self.open.damaged |= self.open.expected.is_some();
                    self.buffer.clear();
                }
                _ => {
                    self.buffer.push(*byte);
                    if self.is_whole() {
                        found |= self.end(&mut tally);
                        self.buffer.clear();
                    }
                }
            }
        }
        losses.record(Loss::StrayBytes, place, u64::try_from(tally.stray).unwrap_or(u64::MAX));
        losses.record(Loss::ForeignFrame, place, tally.foreign);
        losses.record(Loss::BadChecksum, place, tally.damaged);
        found
    }

    /// Whether the frame's end is there; a heartbeat may stand between its two characters.
    fn is_whole(&self) -> bool {
        self.buffer.strip_suffix(b"\n").is_some_and(|body| {
            body.ends_with(b"\r") || self.heartbeats.iter().any(|heartbeat| body.ends_with(heartbeat))
        })
    }

    /// Decides the whole frame in the buffer.
    fn end(&mut self, tally: &mut Tally) -> bool {
        let Some(expected) = &self.open.expected else {
            match frame(&self.buffer) {
                Some(bytes) => {
                    tally.foreign += 1;
                    self.open.passed(late(&bytes), false);
                }
                None => tally.damaged += 1,
            }
            return false;
        };
        if expected.echo && self.buffer == self.open.request {
            self.open.came_back();
            tally.stray += self.buffer.len();
            return false;
        }
        let Some(bytes) = frame(&self.buffer).or_else(|| interrupted(&self.buffer, &self.heartbeats)) else {
            tally.damaged += 1;
            self.open.damaged = true;
            return false;
        };
        match bytes.split_first() {
            Some((slave, pdu)) if *slave == expected.slave && expected.ask.parse(pdu).is_some() => {
                let first = self.open.answered(pdu.iter().copied());
                tally.foreign += u64::from(!first);
                true
            }
            other => {
                let ours = other.is_some_and(|(slave, pdu)| {
                    *slave == expected.slave && pdu.first() == Some(&expected.ask.function())
                });
                self.open.passed(late(&bytes), ours);
                tally.foreign += 1;
                false
            }
        }
    }
}

/// What a sound frame says if it is the answer to a read. A frame as long as a request may be one.
fn late(bytes: &[u8]) -> Option<Late> {
    match *bytes {
        [slave, function @ 1..=4, count, ..] if bytes.len() == 3 + usize::from(count) && bytes.len() != 6 => {
            Some((Slave(slave), (function, usize::from(count))))
        }
        _ => None,
    }
}

/// The bytes between colon and check sum of a sound frame.
fn frame(characters: &[u8]) -> Option<Vec<u8>> {
    let digits = characters.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let mut bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect::<Option<Vec<u8>>>()?;
    if characters.len() > FRAME_MAX || bytes.len() < 3 || lrc(&bytes) != 0 {
        return None;
    }
    bytes.pop();
    Some(bytes)
}

/// A sound frame with one heartbeat in its middle, tried at each place where one stands.
fn interrupted(characters: &[u8], heartbeats: &[Vec<u8>]) -> Option<Vec<u8>> {
    (1..characters.len()).find_map(|at| {
        let (before, rest) = characters.split_at(at);
        heartbeats
            .iter()
            .filter_map(|heartbeat| rest.strip_prefix(heartbeat.as_slice()))
            .find_map(|after| frame(&[before, after].concat()))
    })
}

/// The value of a hexadecimal digit; a character with its eighth bit set is none: a 7-bit line read with 8 bits shows so
/// in its parity.
const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'A'..=b'F' => Some(character - b'A' + 10),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::pdu::Answer;
    use crate::bus::{Read, Table};

    const GOOD: &[u8] = b":110304002A012C91\r\n";

    fn read() -> Ask {
        Read { table: Table::Holding, address: 0, count: 2 }.into()
    }

    fn receiver() -> Receiver {
        let mut receiver = Receiver::new(&[b"HB".to_vec(), vec![0xFE]]);
        let mut request = Vec::new();
        emit(Slave(17), &read(), &mut request);
        receiver.expect(Slave(17), &read(), &request, false);
        receiver
    }

    fn run(chunks: &[&[u8]]) -> (Option<Vec<u16>>, Receiver, Losses) {
        let (mut receiver, mut losses) = (receiver(), Losses::default());
        let mut found = false;
        for chunk in chunks {
            found |= receiver.step(chunk, "line", &mut losses);
        }
        let answer = found.then(|| read().parse(receiver.open.answer()));
        let cells = match answer {
            Some(Some(Answer::Cells(cells))) => Some(cells),
            _ => None,
        };
        (cells, receiver, losses)
    }

    #[test]
    fn a_request_is_the_standards() {
        let mut request = Vec::new();
        emit(Slave(17), &read(), &mut request);
        assert_eq!(request, b":110300000002EA\r\n");
    }

    #[test]
    fn an_answer_is_found() {
        let check = |characters: &[u8], right: bool| {
            let (cells, ..) = run(&[characters]);
            assert_eq!(cells, right.then(|| vec![42, 300]), "{}", characters.escape_ascii());
        };
        check(GOOD, true);
        check(b":110304002a012c91\r\n", true);
        check(b"\0*:1103:110304002A012C91\r\n", true);
        check(b":110300000002EA\r\n:110304002A012C91\r\n", true);
        check(b":110304002A012C92\r\n", false);
        check(b":110304002A012C91\n", false);
        check(b":110304002A012C91\r", false);
        check(b":11030400\xB2A012C91\r\n", false);
        check(b":110304002A012C9\r\n", false);
        check(b":\r\n", false);
    }

    #[test]
    fn a_heartbeat_in_the_middle_is_cut_out() {
        for at in 0..=GOOD.len() {
            for heartbeat in [b"HB".as_slice(), &[0xFE]] {
                let (before, after) = GOOD.split_at(at);
                let (cells, ..) = run(&[before, heartbeat, after]);
                assert_eq!(cells, Some(vec![42, 300]), "at {at}");
            }
        }
    }

    #[test]
    fn an_endless_frame_is_bounded() {
        let mut receiver = receiver();
        let mut losses = Losses::default();
        assert!(!receiver.step(b":", "line", &mut losses));
        for _ in 0..10_000 {
            assert!(!receiver.step(b"5", "line", &mut losses));
            assert!(receiver.buffer.len() <= FRAME_MAX + 2);
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            parts in prop::collection::vec(
                prop_oneof![
                    Just(GOOD.to_vec()),
                    Just(GOOD[..9].to_vec()),
                    Just(b":110300000002EA\r\n".to_vec()),
                    prop::collection::vec(any::<u8>(), 0..9),
                ],
                0..5,
            ),
            at in any::<prop::sample::Index>(),
        ) {
            let bytes = parts.concat();
            let (first, second) = bytes.split_at(at.index(bytes.len() + 1));
            let (cells, receiver, losses) = run(&[first, second]);
            let (whole, receiver_whole, losses_whole) = run(&[&bytes]);
            prop_assert_eq!(cells, whole);
            prop_assert_eq!(receiver.buffer, receiver_whole.buffer);
            prop_assert_eq!(losses, losses_whole);
        }
    }
}
