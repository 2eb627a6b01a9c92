//! What stands at the front of received bytes: the open request's answer, its echo, a heartbeat, another's frame, or nothing.
//!
//! In: the bytes from some place on, and how much patience is left. Out: one [`Head`].
//! Invariant: only slave, function, byte count and check sum together make an answer; the same bytes and patience give the same head.
//! Source: Modbus over Serial Line V1.02, 2.5.1.

use std::ops::Range;

use crate::bus::ask::Extent;
use crate::bus::rtu::{FRAME_MAX, Patience, Receiver, crc16};
use crate::bus::transaction::{Expected, Late};
use crate::bus::{Slave, identity};

/// What stands at the front of some bytes.
pub(crate) enum Head {
    /// Our answer, of this many bytes beside those that stand in its middle and aren't its own.
    Answer { length: usize, cut: Range<usize> },
    /// Our own request.
    Echo,
    /// What a DTU says by itself, of this many bytes.
    Heartbeat(usize),
    /// A sound frame that isn't our answer; `misfit` when it comes from our slave with our function.
    Foreign { length: usize, misfit: bool },
    /// Our answer with a wrong check sum; one byte of it is passed over.
    Damaged,
    /// A byte that begins no frame.
    Junk,
    /// Too short to tell, and worth waiting for until patience has reached this.
    Hold(Patience),
}

impl Receiver {
    pub(crate) fn head(&self, window: &[u8], patience: Patience) -> Head {
        let own = self.echo(window, patience).or_else(|| {
            let expected = self.open.expected.as_ref()?;
            match expected.own(window) {
                refuted @ (None | Some(Head::Damaged)) => {
                    expected.interrupted(window, &self.heartbeats).or(refuted)
                }
                own => own,
            }
        });
        match own {
            None | Some(Head::Damaged) => self.heartbeat(window, patience).or(own),
            _ => own,
        }
        .unwrap_or_else(|| foreign(window, self.open.expected.as_ref()))
    }

    fn echo(&self, window: &[u8], patience: Patience) -> Option<Head> {
        self.open.expected.as_ref().filter(|expected| expected.echo)?;
        if window.starts_with(&self.open.request) {
            return Some(Head::Echo);
        }
        (patience < Patience::Over && self.open.request.starts_with(window))
            .then_some(Head::Hold(Patience::Over))
    }

    fn heartbeat(&self, window: &[u8], patience: Patience) -> Option<Head> {
        let whole = self.heartbeats.iter().find(|heartbeat| window.starts_with(heartbeat));
        let partial = || self.heartbeats.iter().any(|heartbeat| heartbeat.starts_with(window));
        match whole {
            Some(heartbeat) => Some(Head::Heartbeat(heartbeat.len())),
            None => (patience < Patience::Silent && partial()).then_some(Head::Hold(Patience::Silent)),
        }
    }
}

impl Expected {
    /// `None` when the window doesn't begin as our answer would.
    fn own(&self, window: &[u8]) -> Option<Head> {
        let (slave, pdu) = window.split_first()?;
        if *slave != self.slave {
            return None;
        }
        let length = match self.ask.extent(pdu) {
            Extent::Whole(pdu) => pdu + 3,
            Extent::Open => return Some(Head::Hold(Patience::Over)),
            Extent::Never => return None,
        };
        Some(match window.get(..length) {
            None => Head::Hold(Patience::Over),
            Some(frame) if is_sound(frame) => Head::Answer { length, cut: 0..0 },
            Some(_) => Head::Damaged,
        })
    }

    /// Our answer with one heartbeat in its middle, tried at each place where one stands: only a sound check sum and
    /// the right length make it an answer.
    fn interrupted(&self, window: &[u8], heartbeats: &[Vec<u8>]) -> Option<Head> {
        let mut hold = false;
        for at in 1..window.len().min(FRAME_MAX) {
            let (before, rest) = window.split_at(at);
            for heartbeat in heartbeats {
                let own = match rest.strip_prefix(heartbeat.as_slice()) {
                    Some(after) => self.own(&[before, after].concat()),
                    None if heartbeat.starts_with(rest) => self.own(before),
                    None => continue,
                };
                match own {
                    Some(Head::Answer { length, .. }) if at < length => {
                        return Some(Head::Answer { length, cut: at..at + heartbeat.len() });
                    }
                    Some(Head::Hold(_)) => hold = true,
                    _ => {}
                }
            }
        }
        hold.then_some(Head::Hold(Patience::Over))
    }
}

/// A frame of anybody's, request or answer, is passed over whole: its data may look like our answer. It's waited for
/// through a short silence only, because noise begins such frames, too.
fn foreign(window: &[u8], expected: Option<&Expected>) -> Head {
    let hold = Head::Hold(Patience::Silent);
    let (short, long) = match *window {
        [1..=247] | [1..=247, 1..=4] => return hold,
        [1..=247, 0x81..=0x86 | 0x8F | 0x90 | 0xAB, ..] => (5, 5),
        [1..=247, 1..=4, count @ 1..=250, ..] => {
            let answer = 5 + usize::from(count);
            (answer.min(8), answer.max(8))
        }
        [1..=247, 1..=6, ..] => (8, 8),
        [1..=247, 15 | 16, _, _, _, _, count @ 1..=246, ..] => (8, 9 + usize::from(count)),
        [1..=247, 15 | 16, ..] => (8, 8),
        [1..=247, ref pdu @ ..] => match identity::extent(pdu, None) {
            Extent::Whole(length) => (7.min(length + 3), length + 3),
            Extent::Open => return hold,
            Extent::Never => return Head::Junk,
        },
        _ => return Head::Junk,
    };
    for length in [short, long] {
        match window.get(..length) {
            None => return hold,
            Some(frame) if is_sound(frame) => {
                let misfit = expected
                    .is_some_and(|expected| frame.starts_with(&[expected.slave, expected.ask.function()]));
                return Head::Foreign { length, misfit };
            }
            Some(_) => {}
        }
    }
    Head::Junk
}

/// What a sound frame says if it is the answer to a read. A frame as long as a request may be one.
pub(crate) fn late(frame: &[u8]) -> Option<Late> {
    match *frame {
        [slave, function @ 1..=4, count, ..] if frame.len() == 5 + usize::from(count) && frame.len() != 8 => {
            Some((Slave(slave), (function, usize::from(count))))
        }
        _ => None,
    }
}

fn is_sound(frame: &[u8]) -> bool {
    frame.split_last_chunk::<2>().is_some_and(|(body, sum)| crc16(body) == u16::from_le_bytes(*sum))
}
