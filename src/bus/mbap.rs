//! MBAP framing: finds the frame with the open transaction id among the bytes of a connection.
//!
//! In: bytes as they arrive. Out: the PDU of the answer, or that the stream is out of step and must be closed.
//! Invariant: never holds more than 260 bytes; a frame of another transaction or unit is passed over, and after an
//! impossible header nothing of the stream is believed.
//! Source: Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3.

use crate::bus::Slave;
use crate::bus::ask::Ask;
use crate::loss::{Loss, Losses};

/// The longest frame in bytes.
pub const FRAME_MAX: usize = 260;

/// Puts the request's frame into `to`, and nothing else.
pub fn emit(transaction: u16, slave: Slave, ask: &Ask, to: &mut Vec<u8>) {
    to.clear();
    to.extend_from_slice(&transaction.to_be_bytes());
    to.extend_from_slice(&[0, 0, 0, 0, slave.0]);
    ask.emit(to);
    // A PDU has 253 bytes at most.
    let after = u16::try_from(to.len().saturating_sub(6)).unwrap_or(u16::MAX);
    if let Some(length) = to.get_mut(4..6) {
        length.copy_from_slice(&after.to_be_bytes());
    }
}

/// The open transaction's frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its PDU is in [`Receiver::answer`].
    Answer,
    /// An impossible header: close the connection.
    Broken,
}

/// The receive buffer of one connection.
#[derive(Clone, Debug)]
pub struct Receiver {
    buffer: Vec<u8>,
    /// The open transaction and the unit that answers it; `None` where any may.
    expected: Option<(u16, Option<Slave>)>,
    heartbeats: Vec<Vec<u8>>,
    /// Further open transactions, and their answers' PDUs.
    piped: Vec<(u16, Option<Slave>)>,
    piped_answers: Vec<(u16, Vec<u8>)>,
    answer: Vec<u8>,
    broken: bool,
}

impl Receiver {
    /// Of a fresh connection. `heartbeats` are what a DTU says by itself between frames.
    pub fn new(heartbeats: &[Vec<u8>]) -> Self {
        Self {
            buffer: Vec::with_capacity(FRAME_MAX),
            expected: None,
            heartbeats: heartbeats.iter().filter(|heartbeat| !heartbeat.is_empty()).cloned().collect(),
            piped: Vec::new(),
            piped_answers: Vec::new(),
            answer: Vec::with_capacity(FRAME_MAX),
            broken: false,
        }
    }

    /// Opens a transaction that `slave` answers, or any unit. What the buffer holds of a frame stays: it belongs to the
    /// stream.
    pub fn expect(&mut self, transaction: u16, slave: Option<Slave>) {
        self.expected = Some((transaction, slave));
    }

    /// Opens one transaction more beside those that are open; its answer comes from [`Self::take_answers`].
    pub fn expect_also(&mut self, transaction: u16, slave: Option<Slave>) {
        self.piped.push((transaction, slave));
    }

    /// The PDUs that answer transactions opened by [`Self::expect_also`], in order of arrival.
    pub fn take_answers(&mut self) -> Vec<(u16, Vec<u8>)> {
        std::mem::take(&mut self.piped_answers)
    }

    /// Closes the open transactions: their answers are foreign from now on.
    pub fn forget(&mut self) {
        self.expected = None;
        self.piped.clear();
        self.piped_answers.clear();
    }

    /// Whether half a frame or an impossible header stands in the stream.
    pub fn is_torn(&self) -> bool {
        let heartbeat = || self.heartbeats.contains(&self.buffer);
        self.broken || (!self.buffer.is_empty() && !heartbeat())
    }

    /// The PDU after [`Found::Answer`].
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Starts anew with a new connection; what was held is lost.
    pub fn reset(&mut self, place: &str, losses: &mut Losses) {
        losses.record(Loss::StrayBytes, place, length(self.buffer.len()));
        self.buffer.clear();
        self.forget();
        self.broken = false;
    }

    /// Takes `bytes` in. What is discarded is recorded under `place`.
    pub fn step(&mut self, mut bytes: &[u8], place: &str, losses: &mut Losses) -> Option<Found> {
        let (mut found, mut foreign, mut stray) = (None, 0, 0);
        while !bytes.is_empty() && !self.broken {
            let room = FRAME_MAX.saturating_sub(self.buffer.len()).min(bytes.len());
            let (first, later) = bytes.split_at(room);
            self.buffer.extend_from_slice(first);
            bytes = later;
            found = self.scan(&mut foreign, &mut stray).or(found);
        }
        losses.record(Loss::ForeignFrame, place, foreign);
        if self.broken {
            stray += bytes.len() + self.buffer.len();
            self.buffer.clear();
        }
        losses.record(Loss::StrayBytes, place, length(stray));
        found
    }

    /// Cuts whole frames off the front of the buffer; what is left is shorter than one.
    fn scan(&mut self, foreign: &mut u64, stray: &mut usize) -> Option<Found> {
        let (mut at, mut found) = (0, None);
        while let Some(window) = self.buffer.get(at..) {
            match self.cut(window) {
                Cut::Heartbeat(length) => {
                    *stray += length;
                    at += length;
                }
                Cut::Frame { transaction, slave, pdu } => {
                    let ours = |(id, unit): (u16, Option<Slave>)| {
                        id == transaction && unit.is_none_or(|unit| unit == slave)
                    };
                    if self.expected.is_some_and(ours) {
                        self.expected = None;
                        self.answer.clear();
                        self.answer.extend_from_slice(pdu);
                        found = Some(Found::Answer);
                    } else if let Some(place) = self.piped.iter().position(|piped| ours(*piped)) {
                        let (id, _) = self.piped.swap_remove(place);
                        self.piped_answers.push((id, pdu.to_vec()));
                    } else {
                        *foreign += 1;
                    }
                    at += 7 + pdu.len();
                }
                Cut::Partial => break,
                Cut::Broken => {
                    self.broken = true;
                    found = found.or(Some(Found::Broken));
                    break;
                }
            }
        }
        self.buffer.drain(..at);
        found
    }

    /// What stands at the front of `window`: a heartbeat only where no header can be.
    fn cut<'a>(&self, window: &'a [u8]) -> Cut<'a> {
        let heartbeat = || self.heartbeats.iter().find(|heartbeat| window.starts_with(heartbeat));
        let partial = || self.heartbeats.iter().any(|heartbeat| heartbeat.starts_with(window));
        match cut(window) {
            Cut::Broken => match heartbeat() {
                Some(heartbeat) => Cut::Heartbeat(heartbeat.len()),
                None if partial() => Cut::Partial,
                None => Cut::Broken,
            },
            cut => cut,
        }
    }
}

enum Cut<'a> {
    Frame { transaction: u16, slave: Slave, pdu: &'a [u8] },
    Partial,
    Heartbeat(usize),
    Broken,
}

/// What stands at the front of `window`. A header is refused as soon as its wrong field is there: nobody waits for
/// 65,535 bytes that were never meant.
fn cut(window: &[u8]) -> Cut<'_> {
    match *window {
        [_, _, high, low, ..] if (high, low) != (0, 0) => Cut::Broken,
        [id_high, id_low, _, _, high, low, ref rest @ ..] => {
            let announced = u16::from_be_bytes([high, low]);
            if !(2..=254).contains(&announced) {
                return Cut::Broken;
            }
            match rest.get(..usize::from(announced)) {
                Some([unit, pdu @ ..]) => {
                    let transaction = u16::from_be_bytes([id_high, id_low]);
                    Cut::Frame { transaction, slave: Slave(*unit), pdu }
                }
                _ => Cut::Partial,
            }
        }
        _ => Cut::Partial,
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: [u8; 11] = [0, 5, 0, 0, 0, 5, 1, 3, 2, 0, 7];
    const LATE: [u8; 11] = [0, 4, 0, 0, 0, 5, 1, 3, 2, 0, 9];

    fn run(chunks: &[&[u8]]) -> (Option<Found>, Receiver, Losses) {
        let (mut receiver, mut losses) = (Receiver::new(&[b"HELLO".to_vec()]), Losses::default());
        receiver.expect(5, Some(Slave(1)));
        let mut found = None;
        for chunk in chunks {
            found = found.or(receiver.step(chunk, "line", &mut losses));
        }
        (found, receiver, losses)
    }

    #[test]
    fn frames_of_other_transactions_and_units_are_passed_over() {
        let other_unit = [0, 5, 0, 0, 0, 5, 2, 3, 2, 0, 9];
        let (found, receiver, mut losses) = run(&[&LATE, &other_unit, &GOOD]);
        assert_eq!(found, Some(Found::Answer));
        assert_eq!(receiver.answer(), [3, 2, 0, 7]);
        assert!(!receiver.is_torn());
        assert_eq!(losses.drain(), [(Loss::ForeignFrame, "line".to_owned(), 2)]);
    }

    #[test]
    fn an_impossible_header_breaks_the_stream() {
        for header in [[0, 5, 0, 1], [0, 5, 1, 0], [0, 5, 0xFF, 0xFF]] {
            assert_eq!(run(&[&header]).0, Some(Found::Broken), "protocol id {header:?}");
        }
        for length in [[0, 0], [0, 1], [0, 255], [0xFF, 0xFF]] {
            let header = [[0, 5, 0, 0].as_slice(), &length].concat();
            assert_eq!(run(&[&header]).0, Some(Found::Broken), "length {length:?}");
        }
        let (found, mut receiver, mut losses) = run(&[&[0, 5, 0, 1], &GOOD]);
        assert_eq!(found, Some(Found::Broken), "nothing after it is believed");
        assert!(receiver.is_torn());
        receiver.reset("line", &mut losses);
        assert!(!receiver.is_torn());
    }

    #[test]
    fn what_follows_the_answer_is_seen_before_the_next_request() {
        let (found, receiver, mut losses) = run(&[&[GOOD, GOOD].concat()]);
        assert_eq!((found, receiver.is_torn()), (Some(Found::Answer), false));
        assert_eq!(losses.drain(), [(Loss::ForeignFrame, "line".to_owned(), 1)], "a copy answers nothing");
        let (found, receiver, _) = run(&[&[GOOD.as_slice(), &[0, 0]].concat()]);
        assert_eq!((found, receiver.is_torn()), (Some(Found::Answer), true));
    }

    #[test]
    fn heartbeats_between_frames_are_passed_over() {
        let (found, receiver, mut losses) = run(&[b"HEL", b"LO", &LATE, b"HELLO", &GOOD, b"HELLO"]);
        assert_eq!((found, receiver.is_torn()), (Some(Found::Answer), false));
        assert_eq!(
            losses.drain(),
            [(Loss::StrayBytes, "line".to_owned(), 15), (Loss::ForeignFrame, "line".to_owned(), 1)]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_stay_bounded(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let (_, receiver, _) = run(&[&bytes]);
            prop_assert!(receiver.buffer.len() < FRAME_MAX);
        }

        #[test]
        fn any_split_gives_the_same(
            frames in prop::collection::vec(
                prop_oneof![
                    Just(GOOD.to_vec()),
                    Just(LATE.to_vec()),
                    Just(GOOD[..4].to_vec()),
                    prop::collection::vec(0..6_u8, 0..9),
                ],
                0..5,
            ),
            cuts in prop::collection::vec(1..20_usize, 0..40),
        ) {
            let bytes = frames.concat();
            let mut chunks = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (chunk, later) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = later;
            }
            chunks.push(rest);
            let (found, receiver, losses) = run(&chunks);
            let (whole, receiver_whole, losses_whole) = run(&[&bytes]);
            prop_assert_eq!(found, whole);
            prop_assert_eq!(receiver.answer(), receiver_whole.answer());
            prop_assert_eq!(receiver.is_torn(), receiver_whole.is_torn());
            if !receiver.broken {
                prop_assert_eq!(losses, losses_whole);
            }
        }
    }
}
