//! One open request on one line: driven by bytes and instants, ends in exactly one verdict.
//!
//! In: a read, the bytes that arrive, the time. Out: the request's bytes, when to look again, the verdict.
//! Invariant: received bytes never extend the deadline; frames of other slaves, functions and transactions end nothing;
//! bytes outside a request answer nothing. RTU frames don't name their request: when the answer would also fit an earlier
//! unanswered request for other cells, it is held until the deadline, and discarded when a second one comes.
//! Source: Modbus over Serial Line V1.02, 2.4; Modbus Messaging on TCP/IP Implementation Guide V1.0b, 4.4.

use std::time::Duration;

use tokio::time::Instant;

use crate::bus::pdu::Answer;
use crate::bus::rtu::Patience;
use crate::bus::{Read, Slave, mbap, rtu};
use crate::loss::Losses;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The right device answered this request.
    Answer {
        /// What it said.
        answer: Answer,
        /// When its last byte came.
        at: Instant,
    },
    /// An answer came that is damaged, or may be that of an earlier request; the stream can go on.
    Damaged,
    /// The stream is out of step: close it.
    Broken,
    /// The deadline passed. `heard` is false when not one byte came.
    Expired {
        /// Whether any byte came since the request.
        heard: bool,
    },
}

#[derive(Clone, Debug)]
enum Receiver {
    Rtu { receiver: rtu::Receiver, silence: Duration },
    Mbap { receiver: mbap::Receiver, transaction: u16 },
}

#[derive(Clone, Debug)]
struct Open {
    deadline: Instant,
    last_byte: Option<Instant>,
    /// The first answer of a doubtful request, until the deadline has shown that no other comes.
    held: Option<(Answer, Instant)>,
}

/// An earlier request that got no answer: one may come yet.
#[derive(Clone, Copy, Debug)]
struct Debt {
    slave: Slave,
    read: Read,
    since: Instant,
}

/// So long an unanswered request makes others doubtful that its answer would fit.
const DEBT_MAX: Duration = Duration::from_secs(3);
/// Debts that are remembered; the oldest go first.
const DEBTS_MAX: usize = 16;

/// The framing of one line and its open request.
///
/// ```
/// use std::time::Duration;
/// use lifeline_gateway::bus::line::{Line, Verdict};
/// use lifeline_gateway::bus::pdu::Answer;
/// use lifeline_gateway::bus::{Read, Slave, Table};
/// use lifeline_gateway::loss::Losses;
///
/// # let sent = tokio::time::Instant::from_std(std::time::Instant::now());
/// let mut losses = Losses::default();
/// let mut line = Line::rtu("rs485-1", Duration::from_millis(20));
/// let read = Read { table: Table::Holding, address: 0, count: 2 };
/// assert_eq!(line.begin(Slave(17), read, &mut losses), [0x11, 3, 0, 0, 0, 2, 0xC6, 0x9B]);
/// line.sent(sent, Duration::from_millis(300));
/// let at = sent + Duration::from_millis(10);
/// let verdict = line.step(&[0x11, 3, 4, 0, 42, 1, 44, 0xCA, 0x77], at, &mut losses);
/// assert_eq!(verdict, Some(Verdict::Answer { answer: Answer::Cells(vec![42, 300]), at }));
/// ```
#[derive(Clone, Debug)]
pub struct Line {
    name: String,
    receiver: Receiver,
    request: Vec<u8>,
    asked: Option<(Slave, Read)>,
    open: Option<Open>,
    debts: Vec<Debt>,
}

impl Line {
    /// A line with RTU frames. After `silence` a damaged answer is given up and another device's frame counts as cut.
    pub fn rtu(name: &str, silence: Duration) -> Self {
        Self::new(name, Receiver::Rtu { receiver: rtu::Receiver::new(), silence })
    }

    /// A line with MBAP frames; the first transaction has the id after `transaction`.
    pub fn mbap(name: &str, transaction: u16) -> Self {
        Self::new(name, Receiver::Mbap { receiver: mbap::Receiver::new(), transaction })
    }

    fn new(name: &str, receiver: Receiver) -> Self {
        Self {
            name: name.to_owned(),
            receiver,
            request: Vec::with_capacity(12),
            asked: None,
            open: None,
            debts: Vec::new(),
        }
    }

    /// Opens a request, giving up one that is still open, and returns its frame. It waits for [`Self::sent`].
    pub fn begin(&mut self, slave: Slave, read: Read, losses: &mut Losses) -> &[u8] {
        if let Some(open) = self.open.take() {
            self.owe(open.deadline);
        }
        self.request.clear();
        match &mut self.receiver {
            Receiver::Rtu { receiver, .. } => {
                let frame = rtu::emit(slave, read);
                receiver.expect(slave, read, frame, &self.name, losses);
                self.request.extend_from_slice(&frame);
            }
            Receiver::Mbap { receiver, transaction } => {
                // Zero is never used: some device servers answer everything with it.
                *transaction = transaction.checked_add(1).unwrap_or(1);
                receiver.expect(*transaction, slave);
                self.request.extend_from_slice(&mbap::emit(*transaction, slave, read));
            }
        }
        self.asked = Some((slave, read));
        &self.request
    }

    /// The frame of the request that was opened last.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The request's last byte goes out at `at`; it is answered within `timeout` or not at all.
    pub fn sent(&mut self, at: Instant, timeout: Duration) {
        let Some((slave, read)) = self.asked else { return };
        self.open = Some(Open { deadline: at + timeout, last_byte: None, held: None });
        if let Receiver::Rtu { receiver, .. } = &mut self.receiver {
            self.debts.retain(|debt| at < debt.since + DEBT_MAX);
            if self.debts.iter().any(|debt| debt.fits(slave, read) && debt.read != read) {
                receiver.doubt();
            }
        }
    }

    /// Takes in bytes that came at `now`; the verdict, once there is one. Without an open request they are discarded.
    pub fn step(&mut self, bytes: &[u8], now: Instant, losses: &mut Losses) -> Option<Verdict> {
        if let Some(open) = &mut self.open {
            open.last_byte = Some(now);
        }
        let answered = match &mut self.receiver {
            Receiver::Rtu { receiver, .. } => receiver.step(bytes, Patience::Fresh, &self.name, losses),
            Receiver::Mbap { receiver, .. } => match receiver.step(bytes, &self.name, losses) {
                Some(mbap::Found::Broken) => {
                    return self.open.take().map(|_| Verdict::Broken);
                }
                found => found == Some(mbap::Found::Answer),
            },
        };
        let verdict = if answered { self.answered(now, losses) } else { None };
        verdict.or_else(|| self.elapse(now, losses))
    }

    /// Lets the time pass to `now`; the verdict, once there is one.
    pub fn elapse(&mut self, now: Instant, losses: &mut Losses) -> Option<Verdict> {
        let open = self.open.as_ref()?;
        let over = open.deadline <= now;
        if let Receiver::Rtu { receiver, silence } = &mut self.receiver {
            let silent = open.last_byte.is_some_and(|last| last + *silence <= now);
            let patience = match (over, silent) {
                (true, _) => Patience::Over,
                (false, true) => Patience::Silent,
                (false, false) => return None,
            };
            // Half a second answer is as bad as a whole one.
            let doubled = over && open.held.is_some() && receiver.is_holding();
            if receiver.step(&[], patience, &self.name, losses) {
                return self.answered(now, losses);
            }
            if doubled || receiver.is_refuted() || (over && receiver.saw_damage()) {
                self.fail(now, losses);
                return Some(Verdict::Damaged);
            }
        }
        if !over {
            return None;
        }
        let (held, heard) =
            self.open.take().map_or((None, false), |open| (open.held, open.last_byte.is_some()));
        if let Some((answer, at)) = held {
            // Nothing else came for the whole timeout: no earlier request is answered any more.
            let asked = self.asked;
            self.debts.retain(|debt| asked.is_none_or(|(slave, read)| !debt.fits(slave, read)));
            self.forget(losses);
            return Some(Verdict::Answer { answer, at });
        }
        self.fail(now, losses);
        Some(Verdict::Expired { heard })
    }

    /// When [`Self::elapse`] has something to decide; `None` without an open request.
    pub fn wake(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        match (&self.receiver, open.last_byte) {
            (Receiver::Rtu { receiver, silence }, Some(last)) if receiver.is_unsettled() => {
                Some(open.deadline.min(last + *silence))
            }
            _ => Some(open.deadline),
        }
    }

    /// Whether half a frame stands in the stream, so that nothing can be asked on it.
    pub fn is_torn(&self) -> bool {
        matches!(&self.receiver, Receiver::Mbap { receiver, .. } if receiver.is_torn())
    }

    /// The stream ended: gives up the open request and what is held. Transaction ids go on.
    pub fn reset(&mut self, losses: &mut Losses) {
        if let Some(open) = self.open.take() {
            self.owe(open.deadline);
        }
        match &mut self.receiver {
            Receiver::Rtu { receiver, .. } => receiver.forget(&self.name, losses),
            Receiver::Mbap { receiver, .. } => receiver.reset(&self.name, losses),
        }
    }

    /// The receiver found what fits the open request.
    fn answered(&mut self, now: Instant, losses: &mut Losses) -> Option<Verdict> {
        let (Some(open), Some((_, read))) = (&mut self.open, self.asked) else { return None };
        let (pdu, doubtful, answers) = match &self.receiver {
            Receiver::Rtu { receiver, .. } => (receiver.answer(), receiver.is_doubtful(), receiver.answers()),
            Receiver::Mbap { receiver, .. } => (receiver.answer(), false, 1),
        };
        let answer = read.parse(pdu).filter(|_| answers == 1);
        match answer {
            Some(answer) if doubtful && now < open.deadline => {
                open.held = Some((answer, now));
                None
            }
            Some(answer) => {
                self.open = None;
                Some(Verdict::Answer { answer, at: now })
            }
            None => {
                self.fail(now, losses);
                Some(Verdict::Damaged)
            }
        }
    }

    /// Ends the open request without an answer.
    fn fail(&mut self, now: Instant, losses: &mut Losses) {
        self.open = None;
        self.owe(now);
        self.forget(losses);
    }

    fn owe(&mut self, since: Instant) {
        let (Some((slave, read)), Receiver::Rtu { .. }) = (self.asked, &self.receiver) else { return };
        self.debts.retain(|debt| debt.slave != slave || debt.read != read);
        if self.debts.len() >= DEBTS_MAX {
            self.debts.remove(0);
        }
        self.debts.push(Debt { slave, read, since });
    }

    fn forget(&mut self, losses: &mut Losses) {
        match &mut self.receiver {
            Receiver::Rtu { receiver, .. } => receiver.forget(&self.name, losses),
            Receiver::Mbap { receiver, .. } => receiver.forget(),
        }
    }
}

impl Debt {
    /// Whether its answer would look like one to this read of `slave`.
    fn fits(&self, slave: Slave, read: Read) -> bool {
        let shape = |read: Read| (read.table, read.data_bytes());
        self.slave == slave && shape(self.read) == shape(read)
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
