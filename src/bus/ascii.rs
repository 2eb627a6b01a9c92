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
use crate::bus::rtu::{LATE_MAX, Late};
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

#[derive(Clone, Debug)]
struct Expected {
    slave: u8,
    ask: Ask,
    /// The request may come back once: two-wire adapters hear themselves.
    echo: bool,
    /// Go on after the first answer: a second one shows that either may be late.
    doubtful: bool,
}

/// The receive buffer of one line.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// From the colon on; empty outside a frame.
    buffer: Vec<u8>,
    expected: Option<Expected>,
    request: Vec<u8>,
    heartbeats: Vec<Vec<u8>>,
    buffer_max: usize,
    answer: Vec<u8>,
    answers: u32,
    echoed: bool,
    /// What was meant as a frame went by damaged.
    damaged: bool,
    /// A sound frame of our slave and function with another length went by.
    misfit: bool,
    /// Sound answers that are not the open request's.
    late: Vec<Late>,
    /// How many of them came before the answer.
    late_before: Option<usize>,
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
            expected: None,
            request: Vec::new(),
            buffer_max: FRAME_MAX + heartbeats.iter().map(Vec::len).max().unwrap_or(0),
            heartbeats: heartbeats.iter().filter(|heartbeat| !heartbeat.is_empty()).cloned().collect(),
            answer: Vec::new(),
            answers: 0,
            echoed: false,
            damaged: false,
            misfit: false,
            late: Vec::new(),
            late_before: None,
        }
    }

    /// Opens a transaction: its request goes onto the line as `frame`. When the answer repeats the request, a copy of it
    /// counts as the line's echo only where the line `echoes`.
    pub fn expect(&mut self, slave: Slave, ask: &Ask, frame: &[u8], echoes: bool) {
        self.request.clear();
        self.request.extend_from_slice(frame);
        let echo = echoes || !ask.is_echoed();
        self.expected = Some(Expected { slave: slave.0, ask: ask.clone(), echo, doubtful: false });
    }

    /// An earlier request may still be answered by a frame that fits this one: see [`Self::answers`].
    pub fn doubt(&mut self) {
        if let Some(expected) = &mut self.expected {
            expected.doubtful = true;
        }
    }

    /// Closes the open transaction and gives up what is held.
    pub fn forget(&mut self, place: &str, losses: &mut Losses) {
        self.expected = None;
        self.give_up(place, losses);
        self.answers = 0;
        (self.echoed, self.damaged, self.misfit) = (false, false, false);
    }

    /// Gives up half a frame: its next character is overdue.
    pub fn give_up(&mut self, place: &str, losses: &mut Losses) {
        losses.record(Loss::StrayBytes, place, u64::try_from(self.buffer.len()).unwrap_or(u64::MAX));
        self.damaged |= self.expected.is_some() && !self.buffer.is_empty();
        self.buffer.clear();
    }

    /// The PDU of the first answer, after [`Self::step`] said that there is one.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// How many answers came: at most one, unless the request is doubtful.
    pub fn answers(&self) -> u32 {
        self.answers
    }

    /// Answers of other requests that went by since this was last called: before the open request's own, and after it.
    pub fn take_late(&mut self) -> [Vec<Late>; 2] {
        let mut before = std::mem::take(&mut self.late);
        let after = before.split_off(self.late_before.take().unwrap_or(before.len()).min(before.len()));
        [before, after]
    }

    /// Whether the open request goes on after its first answer.
    pub fn is_doubtful(&self) -> bool {
        self.expected.as_ref().is_some_and(|expected| expected.doubtful)
    }

    /// Whether the open request came back.
    pub fn heard_echo(&self) -> bool {
        self.echoed
    }

    /// Whether a frame has begun and not ended.
    pub fn is_holding(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether a damaged frame went by and no other has begun.
    pub fn is_refuted(&self) -> bool {
        self.damaged && self.buffer.is_empty()
    }

    /// Whether anything that was meant as an answer went by.
    pub fn saw_damage(&self) -> bool {
        self.damaged || self.misfit
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
                    self.damaged |= self.expected.is_some();
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
        let Some(expected) = &mut self.expected else {
            match frame(&self.buffer) {
                Some(bytes) => {
                    tally.foreign += 1;
                    self.late.extend(late(&bytes).filter(|_| self.late.len() < LATE_MAX));
                }
                None => tally.damaged += 1,
            }
            return false;
        };
        if expected.echo && self.buffer == self.request {
            (expected.echo, self.echoed) = (false, true);
            tally.stray += self.buffer.len();
            return false;
        }
        let Some(bytes) = frame(&self.buffer).or_else(|| interrupted(&self.buffer, &self.heartbeats)) else {
            tally.damaged += 1;
            self.damaged = true;
            return false;
        };
        match bytes.split_first() {
            Some((slave, pdu)) if *slave == expected.slave && expected.ask.parse(pdu).is_some() => {
                self.answers = self.answers.saturating_add(1);
                if self.answers == 1 {
                    self.late_before = Some(self.late.len());
                    self.answer = pdu.to_vec();
                } else {
                    tally.foreign += 1;
                }
                self.expected = self.expected.take().filter(|expected| expected.doubtful);
                true
            }
            other => {
                let ours = other.is_some_and(|(slave, pdu)| {
                    *slave == expected.slave && pdu.first() == Some(&expected.ask.function())
                });
                self.misfit |= ours;
                self.late.extend(late(&bytes).filter(|_| self.late.len() < LATE_MAX));
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
        let answer = found.then(|| read().parse(receiver.answer()));
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
