//! One open request on one line: driven by bytes and instants, ends in exactly one verdict.
//!
//! In: a read, the bytes that arrive, the time. Out: the request's bytes, when to look again, the verdict.
//! Invariant: received bytes never extend the deadline; frames of other slaves, functions and transactions end nothing;
//! bytes outside a request answer nothing. RTU and ASCII frames don't name their request, so the line remembers what is
//! still owed ([`Debts`]), which says whether an answer could be mistaken, and what to ask first. Where nothing can be
//! asked, an answer that would also fit an earlier request for other cells is held until the deadline, and discarded when
//! a second one comes.
//! Source: Modbus over Serial Line V1.02, 2.4; Modbus Messaging on TCP/IP Implementation Guide V1.0b, 4.4.

use std::time::Duration;

use tokio::time::Instant;

use crate::bus::ask::Ask;
use crate::bus::debts::Debts;
use crate::bus::pdu::Answer;
use crate::bus::rtu::Patience;
use crate::bus::transaction::{Late, Transaction};
use crate::bus::{Framing, LineSettings, Read, Slave, ascii, mbap, rtu};
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
    Ascii { receiver: ascii::Receiver, silence: Duration },
    Mbap { receiver: mbap::Receiver, transaction: u16 },
}

impl Receiver {
    /// The transaction of a serial framing; on Modbus TCP each answer says which it belongs to.
    fn open(&mut self) -> Option<&mut Transaction> {
        match self {
            Self::Rtu { receiver, .. } => Some(&mut receiver.open),
            Self::Ascii { receiver, .. } => Some(&mut receiver.open),
            Self::Mbap { .. } => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Open {
    deadline: Instant,
    last_byte: Option<Instant>,
    /// The first answer of a doubtful request, until the deadline has shown that no other comes.
    held: Option<(Answer, Instant)>,
}

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
/// assert_eq!(line.begin(Slave(17), &read.into(), &mut losses), [0x11, 3, 0, 0, 0, 2, 0xC6, 0x9B]);
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
    asked: Option<(Slave, Ask)>,
    timeout: Duration,
    open: Option<Open>,
    /// What devices still owe; the open request is none of it.
    pub debts: Debts,
    any_unit: Vec<Slave>,
    /// The line hears what it says.
    echoes: bool,
}

impl Line {
    /// The line that `settings` describe. After `silence` a damaged answer is given up and another device's frame counts
    /// as cut; where frames name their request, the first transaction has the id after `transaction`.
    pub fn of(settings: &LineSettings, silence: Duration, transaction: u16) -> Self {
        let heartbeats = &settings.heartbeats;
        let receiver = match settings.address.framing() {
            Framing::Rtu => Receiver::Rtu { receiver: rtu::Receiver::new(heartbeats), silence },
            Framing::Ascii => Receiver::Ascii { receiver: ascii::Receiver::new(heartbeats), silence },
            Framing::Mbap => Receiver::Mbap { receiver: mbap::Receiver::new(heartbeats), transaction },
        };
        Self { any_unit: settings.any_unit.clone(), ..Self::new(&settings.name, receiver) }
    }

    /// A plain line with RTU frames; see [`Self::of`].
    pub fn rtu(name: &str, silence: Duration) -> Self {
        Self::new(name, Receiver::Rtu { receiver: rtu::Receiver::new(&[]), silence })
    }

    /// A plain line with MBAP frames; see [`Self::of`].
    pub fn mbap(name: &str, transaction: u16) -> Self {
        Self::new(name, Receiver::Mbap { receiver: mbap::Receiver::new(&[]), transaction })
    }

    fn new(name: &str, receiver: Receiver) -> Self {
        Self {
            name: name.to_owned(),
            receiver,
            request: Vec::with_capacity(12),
            asked: None,
            timeout: Duration::ZERO,
            open: None,
            debts: Debts::default(),
            any_unit: Vec::new(),
            echoes: false,
        }
    }

    /// Opens a request, giving up one that is still open, and returns its frame. It waits for [`Self::sent`].
    pub fn begin(&mut self, slave: Slave, ask: &Ask, losses: &mut Losses) -> &[u8] {
        if let Some(open) = self.open.take() {
            self.owe(open.deadline);
        }
        match &mut self.receiver {
            Receiver::Rtu { receiver, .. } => {
                receiver.forget(&self.name, losses);
                rtu::emit(slave, ask, &mut self.request);
                receiver.expect(slave, ask, &self.request, self.echoes);
            }
            Receiver::Ascii { receiver, .. } => {
                receiver.forget(&self.name, losses);
                ascii::emit(slave, ask, &mut self.request);
                receiver.expect(slave, ask, &self.request, self.echoes);
            }
            Receiver::Mbap { receiver, transaction } => {
                // Zero is never used: some device servers answer everything with it.
                *transaction = transaction.checked_add(1).unwrap_or(1);
                receiver.expect(*transaction, Some(slave).filter(|slave| !self.any_unit.contains(slave)));
                mbap::emit(*transaction, slave, ask, &mut self.request);
            }
        }
        self.asked = Some((slave, ask.clone()));
        &self.request
    }

    /// Opens several requests at once where frames name their request; their transaction ids, in order. Elsewhere none
    /// is opened. All frames stand in [`Self::request`].
    pub fn begin_many(&mut self, reads: &[(Slave, Read)]) -> Vec<u16> {
        self.request.clear();
        let Receiver::Mbap { receiver, transaction } = &mut self.receiver else { return Vec::new() };
        receiver.forget();
        let mut frame = Vec::new();
        let mut begin = |(slave, read): &(Slave, Read)| {
            *transaction = transaction.checked_add(1).unwrap_or(1);
            receiver.expect_also(*transaction, Some(*slave).filter(|slave| !self.any_unit.contains(slave)));
            mbap::emit(*transaction, *slave, &(*read).into(), &mut frame);
            self.request.extend_from_slice(&frame);
            *transaction
        };
        reads.iter().map(&mut begin).collect()
    }

    /// Takes in bytes for [`Self::begin_many`]: the PDUs that answer, by transaction id. `None` when the stream is out of
    /// step and must be closed.
    pub fn step_many(&mut self, bytes: &[u8], losses: &mut Losses) -> Option<Vec<(u16, Vec<u8>)>> {
        let Receiver::Mbap { receiver, .. } = &mut self.receiver else { return None };
        let found = receiver.step(bytes, &self.name, losses);
        (found != Some(mbap::Found::Broken)).then(|| receiver.take_answers())
    }

    /// The frame of the request that was opened last.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The request's last byte goes out at `at`; it is answered within `timeout` or not at all.
    pub fn sent(&mut self, at: Instant, timeout: Duration) {
        let Some((slave, ask)) = &self.asked else { return };
        self.timeout = timeout;
        self.open = Some(Open { deadline: at + timeout, last_byte: None, held: None });
        if self.debts.make_doubtful(*slave, ask, at) {
            self.receiver.open().into_iter().for_each(Transaction::doubt);
        }
    }

    /// The request has no answer: it went to all devices.
    pub fn close(&mut self, losses: &mut Losses) {
        self.open = None;
        self.forget(losses);
    }

    /// Takes in bytes that came at `now`; the verdict, once there is one. Without an open request they are discarded.
    pub fn step(&mut self, bytes: &[u8], now: Instant, losses: &mut Losses) -> Option<Verdict> {
        let last_byte = self.open.as_mut().and_then(|open| open.last_byte.replace(now));
        let answered = match &mut self.receiver {
            Receiver::Rtu { receiver, .. } => receiver.step(bytes, Patience::Fresh, &self.name, losses),
            Receiver::Ascii { receiver, .. } => {
                if last_byte.is_some_and(|last| last + ascii::GAP_MAX <= now) {
                    receiver.give_up(&self.name, losses);
                }
                receiver.step(bytes, &self.name, losses)
            }
            Receiver::Mbap { receiver, .. } => match receiver.step(bytes, &self.name, losses) {
                Some(mbap::Found::Broken) => {
                    return self.open.take().map(|_| Verdict::Broken);
                }
                found => found == Some(mbap::Found::Answer),
            },
        };
        let [before, after] = self.take_late();
        self.pay_late(before);
        let verdict = if answered { self.answered(now, losses) } else { None };
        self.pay_late(after);
        verdict.or_else(|| self.elapse(now, losses))
    }

    /// Lets the time pass to `now`; the verdict, once there is one.
    pub fn elapse(&mut self, now: Instant, losses: &mut Losses) -> Option<Verdict> {
        let open = self.open.as_ref()?;
        let (over, held) = (open.deadline <= now, open.held.is_some());
        let silent = |silence: Duration| open.last_byte.is_some_and(|last| last + silence <= now);
        match &mut self.receiver {
            Receiver::Rtu { receiver, silence } => {
                let patience = match (over, silent(*silence)) {
                    (true, _) => Patience::Over,
                    (false, true) => Patience::Silent,
                    (false, false) => return None,
                };
                // Half a second answer is as bad as a whole one.
                let doubled = over && held && receiver.is_holding();
                let answered = receiver.step(&[], patience, &self.name, losses);
                let failed = doubled || receiver.is_refuted() || (over && receiver.open.saw_damage());
                let [before, after] = self.take_late();
                self.pay_late(before);
                let verdict = if answered { self.answered(now, losses) } else { None };
                self.pay_late(after);
                if answered {
                    return verdict;
                }
                if failed {
                    self.fail(now, losses);
                    return Some(Verdict::Damaged);
                }
            }
            Receiver::Ascii { receiver, silence } => {
                if silent(ascii::GAP_MAX) {
                    receiver.give_up(&self.name, losses);
                }
                let doubled = over && held && receiver.is_holding();
                let refuted = silent(*silence) && receiver.is_refuted();
                if doubled || refuted || (over && receiver.open.saw_damage()) {
                    self.fail(now, losses);
                    return Some(Verdict::Damaged);
                }
            }
            Receiver::Mbap { .. } => {}
        }
        if !over {
            return None;
        }
        let (held, heard) =
            self.open.take().map_or((None, false), |open| (open.held, open.last_byte.is_some()));
        if let Some((answer, at)) = held {
            // Nothing else came for the whole timeout: no earlier request is answered any more.
            self.pay(&answer, now);
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
            (Receiver::Ascii { receiver, .. }, Some(last)) if receiver.is_holding() => {
                Some(open.deadline.min(last + ascii::GAP_MAX))
            }
            (Receiver::Ascii { receiver, silence }, Some(last)) if receiver.is_refuted() => {
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
            Receiver::Ascii { receiver, .. } => receiver.forget(&self.name, losses),
            Receiver::Mbap { receiver, .. } => receiver.reset(&self.name, losses),
        }
    }

    /// The receiver found what fits the open request.
    fn answered(&mut self, now: Instant, losses: &mut Losses) -> Option<Verdict> {
        let (Some(open), Some((_, ask))) = (&mut self.open, &self.asked) else { return None };
        let (pdu, doubtful, answers, echoed) = match &self.receiver {
            Receiver::Rtu { receiver: rtu::Receiver { open, .. }, .. }
            | Receiver::Ascii { receiver: ascii::Receiver { open, .. }, .. } => {
                (open.answer(), open.is_doubtful(), open.answers(), open.heard_echo())
            }
            Receiver::Mbap { receiver, .. } => (receiver.answer(), false, 1, false),
        };
        let answer = ask.parse(pdu).filter(|_| answers == 1);
        if !ask.is_echoed() {
            self.echoes = echoed;
        }
        match answer {
            Some(answer) if doubtful && now < open.deadline => {
                open.held = Some((answer, now));
                None
            }
            Some(answer) => {
                self.open = None;
                self.pay(&answer, now);
                Some(Verdict::Answer { answer, at: now })
            }
            None => {
                self.fail(now, losses);
                Some(Verdict::Damaged)
            }
        }
    }

    /// Ends the open request without an answer. What was taken for a damaged one may have been noise before the answer, which may
    /// come as late after the deadline as after a silence.
    fn fail(&mut self, now: Instant, losses: &mut Losses) {
        let since = self.open.take().map_or(now, |open| open.deadline.max(now));
        self.owe(since);
        self.forget(losses);
    }

    /// Answers of other requests, before the open request's own and after it: the order is what they say.
    fn take_late(&mut self) -> [Vec<Late>; 2] {
        self.receiver.open().map(Transaction::take_late).unwrap_or_default()
    }

    /// Answers that are not the open request's pay what is owed.
    fn pay_late(&mut self, late: Vec<Late>) {
        for (slave, shape) in late {
            self.debts.late(slave, shape);
        }
    }

    /// What an answer says of the debts of its device.
    fn pay(&mut self, answer: &Answer, now: Instant) {
        let Some((slave, ask)) = &self.asked else { return };
        if self.debts.pay(*slave, ask, answer) {
            self.owe(now);
        }
    }

    fn owe(&mut self, since: Instant) {
        let Some((slave, ask)) = self.asked.clone() else { return };
        if !matches!(self.receiver, Receiver::Mbap { .. }) {
            self.debts.owe(slave, ask, since, self.timeout);
        }
    }

    fn forget(&mut self, losses: &mut Losses) {
        match &mut self.receiver {
            Receiver::Rtu { receiver, .. } => receiver.forget(&self.name, losses),
            Receiver::Ascii { receiver, .. } => receiver.forget(&self.name, losses),
            Receiver::Mbap { receiver, .. } => receiver.forget(),
        }
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
