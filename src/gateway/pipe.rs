//! Several requests to one device at once, where its profile allows that and frames name their request.
//!
//! In: the requests that come next. Out: the same as when each goes alone, sooner.
//! Invariant: a device that was not well is asked one thing first; one that answers only some of what it was asked at once is asked for
//! the others alone in the same poll, so that no reading is lost by it, and after three such polls in a row only so.
//! Source: Modbus Messaging on TCP/IP Implementation Guide V1.0b, 4.4.2 (`NumberMaxOfServerTransaction`).

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::bus::master::Master;
use crate::bus::{Exchange, Failure, Read, Slave};
use crate::clock::Clock;
use crate::gateway::course::{Asked, Course};
use crate::gateway::polling::{Patience, Polling};
use crate::loss::Losses;

/// Polls in a row in which a device answered only some of what it was asked at once, before it is believed.
const SHORT_MAX: u32 = 3;

/// How one device takes several requests at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pipe {
    short: u32,
}

impl Pipe {
    /// Whether the device has shown that it takes one request at a time.
    pub(crate) const fn is_given_up(self) -> bool {
        self.short >= SHORT_MAX
    }
}

impl Polling {
    /// How many of the `open` requests go out together.
    pub(crate) fn together(&self, course: &Course, master: &Master, open: usize) -> usize {
        let limits = &self.profile.limits;
        let known = course.patience == Patience::Well && self.timeout.median().is_some();
        let may = master.has_transactions() && limits.wake.is_none() && !course.alone;
        if may && (known || course.said.answered) && !self.pipe.is_given_up() {
            open.min(usize::from(limits.pipeline))
        } else {
            1
        }
    }

    /// Asks all at once; what is to be asked again alone goes back to the front of `open`.
    #[expect(clippy::too_many_arguments, reason = "what a poll asks with")]
    pub(crate) async fn ask_together(
        &mut self,
        asked: Vec<Asked>,
        open: &mut VecDeque<Asked>,
        course: &mut Course,
        master: &mut Master,
        clock: &dyn Clock,
        losses: &mut Losses,
        record: &mut (dyn FnMut(&Exchange) + Send),
    ) {
        let reads: Vec<(Slave, Read)> = asked.iter().map(|(planned, _)| (self.slave, planned.read)).collect();
        let waits =
            reads.iter().map(|(_, read)| self.wait(*read, course.patience, course.said.answered, clock));
        let Some(wait) = waits.max() else { return };
        let exchanges = master.read_many(&reads, wait, losses).await;
        master.take_fenced().iter().for_each(&mut *record);
        let ends: Vec<Instant> = exchanges.iter().map(|exchange| exchange.ended).collect();
        let any_answer = exchanges.iter().any(|exchange| exchange.outcome.is_ok());
        let any_silence = exchanges.iter().any(|exchange| exchange.outcome == Err(Failure::Timeout));
        let is_short = any_answer && any_silence;
        self.pipe.short = if is_short { self.pipe.short + 1 } else { 0 };
        course.alone |= is_short;
        if any_silence && !any_answer {
            // However many were asked, it was one wait.
            course.silences_left -= 1;
        }
        for (one, exchange) in asked.into_iter().zip(exchanges) {
            record(&exchange);
            course.said.answered |= self.hear(&one.0, &exchange, begun(&exchange, &ends), course.patience);
            if is_short && exchange.outcome == Err(Failure::Timeout) {
                open.push_front(one);
            } else {
                self.take(one, exchange, open, course, clock);
            }
        }
    }
}

/// When the device turned to this request: after the answer before it, because most devices do one thing at a time.
fn begun(exchange: &Exchange, ends: &[Instant]) -> Instant {
    let before = ends.iter().filter(|end| **end < exchange.ended);
    before.max().map_or(exchange.sent, |before| exchange.sent.max(*before))
}
