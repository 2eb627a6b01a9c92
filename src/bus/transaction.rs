//! The open request of a serial framing, and what has come for it.
//!
//! In: the request, and what the framing found on the line. Out: the answer, and what else went by.
//! Invariant: the first answer counts; another one is looked for only while an earlier request may still be answered by a frame that fits.

use crate::bus::Slave;
use crate::bus::ask::Ask;

/// More answers than this of other requests are not remembered at a time.
const LATE_MAX: usize = 16;

/// An answer of another request than the open one: who said it, its function and how many data bytes it has.
pub type Late = (Slave, (u8, usize));

/// What makes an answer of the open request.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) slave: u8,
    pub(crate) ask: Ask,
    /// The request may come back once: two-wire adapters hear themselves.
    pub(crate) echo: bool,
    /// Go on after the first answer: a second one shows that either may be late.
    doubtful: bool,
}

/// The request that waits, its frame, and what came since it was sent.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub(crate) expected: Option<Expected>,
    /// As it went onto the line.
    pub(crate) request: Vec<u8>,
    answer: Vec<u8>,
    answers: u32,
    /// The request came back.
    echoed: bool,
    /// What was meant as an answer went by with a wrong check sum.
    pub(crate) damaged: bool,
    /// A sound frame of our slave and function with another length went by.
    misfit: bool,
    /// Sound answers that are not the open request's.
    late: Vec<Late>,
    /// How many of them came before the answer.
    late_before: Option<usize>,
}

impl Transaction {
    /// Opens a transaction: its request goes onto the line as `frame`. When the answer repeats the request, a copy of it
    /// counts as the line's echo only where the line `echoes`.
    pub(crate) fn begin(&mut self, slave: Slave, ask: &Ask, frame: &[u8], echoes: bool) {
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

    /// No request waits any more; answers of other ones that went by are still to be taken.
    pub(crate) fn close(&mut self) {
        self.expected = None;
        self.answers = 0;
        (self.damaged, self.misfit, self.echoed) = (false, false, false);
    }

    /// Our answer came, with these bytes between address and check sum; `false` for another one after it.
    pub(crate) fn answered(&mut self, pdu: impl Iterator<Item = u8>) -> bool {
        let first = self.answers == 0;
        if first {
            self.late_before = Some(self.late.len());
            self.answer.clear();
            self.answer.extend(pdu);
        }
        self.answers = self.answers.saturating_add(1);
        self.expected = self.expected.take().filter(|expected| expected.doubtful);
        first
    }

    /// The request came back.
    pub(crate) fn came_back(&mut self) {
        self.echoed = true;
        if let Some(expected) = &mut self.expected {
            expected.echo = false;
        }
    }

    /// A sound frame went by that is not our answer.
    pub(crate) fn passed(&mut self, late: Option<Late>, misfit: bool) {
        self.misfit |= misfit;
        self.late.extend(late.filter(|_| self.late.len() < LATE_MAX));
    }

    /// The PDU of the first answer, once there is one.
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

    /// Whether anything that was meant as an answer went by.
    pub fn saw_damage(&self) -> bool {
        self.damaged || self.misfit
    }
}
