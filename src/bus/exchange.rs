//! One request of any kind, after what keeps a late answer from being taken for its own.
//!
//! In: an ask. Out: its exchange.
//! Invariant: where an answer that a device still owes would look the same, the device is asked for fewer cells first, or
//! the line falls quiet; only then the request goes out.
//! Source: Modbus over Serial Line V1.02, 2.4.1.

use std::time::Duration;

use crate::bus::ask::{Ask, Write};
use crate::bus::debts::Approach;
use crate::bus::master::{Master, TIMEOUT_MAX, now};
use crate::bus::pdu::Answer;
use crate::bus::{Exchange, Failure, LateAnswers, Read, Slave};
use crate::loss::Losses;

/// Every device has done what was asked of all, so much later.
const TURNAROUND: Duration = Duration::from_millis(100);
/// Fences in a row before one request; each one pays a debt.
const FENCES_MAX: usize = 16;

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether the device confirmed it.
    pub outcome: Result<(), Failure>,
    /// Any of it was sent, so the device may have done it; false when the line was down, or what had to be asked before it failed.
    pub went_out: bool,
}

impl Master {
    /// Writes, and waits for the device to confirm exactly that. Slave 0 means all devices of a serial line: none of
    /// them answers, and they are left alone for 100 ms. For triggers that a profile declares and the site allows by
    /// name; nothing else writes.
    ///
    /// It fails as [`Self::read`] does; also when the confirmation is of another write.
    pub async fn write(
        &mut self,
        slave: Slave,
        write: &Write,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Written {
        let (exchange, went_out) = self.approached(slave, &Ask::Write(write.clone()), timeout, losses).await;
        Written { outcome: exchange.outcome.map(|_| ()), went_out }
    }

    /// Lets `slave` be asked these reads, which its profile allows, where that tells a late answer apart: without them only fewer cells of the
    /// read itself do.
    pub fn allow(&mut self, slave: Slave, reads: &[Read]) {
        self.line.debts.allow(slave, reads);
    }

    /// The answered requests since the last call that only told late answers apart, without their cells: the line's figures count them.
    pub fn take_fenced(&mut self) -> Vec<Exchange> {
        std::mem::take(&mut self.fenced)
    }

    /// One request of any kind, after what its [`Approach`] needs.
    pub(crate) async fn ask(
        &mut self,
        slave: Slave,
        ask: &Ask,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Exchange<Answer> {
        self.approached(slave, ask, timeout, losses).await.0
    }

    /// The same, and whether any of the request itself went out.
    async fn approached(
        &mut self,
        slave: Slave,
        ask: &Ask,
        timeout: Duration,
        losses: &mut Losses,
    ) -> (Exchange<Answer>, bool) {
        // Whoever does not ask for them has no use for them.
        self.fenced.truncate(FENCES_MAX);
        for _ in 0..FENCES_MAX {
            let approach = match self.late_answers {
                LateAnswers::Fence => self.line.debts.approach(slave, ask, now()),
                LateAnswers::Drain => Approach::Plain,
            };
            let Approach::Fence(fence) = approach else {
                return self.exchange(slave, ask, approach, timeout, losses).await;
            };
            let (fenced, _) = self.exchange(slave, &fence.into(), Approach::Plain, timeout, losses).await;
            // A refusal is an answer, too.
            let answered = matches!(fenced.outcome, Ok(_) | Err(Failure::Exception(_)));
            self.line.debts.fenced(slave, fence, answered);
            if !answered {
                return (fenced, false);
            }
            let (sent, ended) = (fenced.sent, fenced.ended);
            self.fenced.push(Exchange { outcome: fenced.outcome.map(|_| Vec::new()), sent, ended });
        }
        (Exchange { outcome: Err(Failure::Timeout), sent: now(), ended: now() }, false)
    }

    async fn exchange(
        &mut self,
        slave: Slave,
        ask: &Ask,
        approach: Approach,
        timeout: Duration,
        losses: &mut Losses,
    ) -> (Exchange<Answer>, bool) {
        let begun = now();
        let failed = |failure, ended| Exchange { outcome: Err(failure), sent: begun, ended };
        if !ask.is_legal() {
            return (failed(Failure::Exception(3), begun), false);
        }
        if !self.prepare(approach, losses).await {
            return (self.told(failed(Failure::LineDown, now())), false);
        }
        if self.late_answers == LateAnswers::Drain || matches!(approach, Approach::Drain { .. }) {
            self.line.debts.quiet(slave, ask);
        }
        let timeout = timeout.min(TIMEOUT_MAX);
        let Some(sent) = self.send(slave, ask, timeout, losses).await else {
            return (self.told(failed(Failure::LineDown, now())), true);
        };
        let written = sent + self.time_on_line(self.line.request().len());
        if slave.0 == 0 && matches!(ask, Ask::Write(_)) && !self.has_transactions() {
            self.line.close(losses);
            self.suspect = None;
            self.rest_until = Some(written + TURNAROUND);
            return (Exchange { outcome: Ok(Answer::Written), sent, ended: written }, true);
        }
        let deadline = written + timeout;
        let (outcome, at) = self.receive(deadline, losses).await;
        let ended = if outcome == Err(Failure::Timeout) { deadline } else { at };
        (self.told(Exchange { outcome, sent, ended }), true)
    }

    /// The same, once whoever listens knows how it ended.
    fn told(&self, exchange: Exchange<Answer>) -> Exchange<Answer> {
        self.tap.ended(&exchange.outcome, self.trouble(), exchange.ended);
        exchange
    }
}
