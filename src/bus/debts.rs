//! What the devices of a line still owe: requests that got no answer, where frames don't name their request.
//!
//! In: failed and answered requests, frames that were foreign, the time. Out: what to do before a request, so that a late answer can't be
//! taken for its own.
//! Invariant: a debt goes only when an answer shows that nothing before it can come any more, or after ten minutes; memory is bounded for
//! each device, so that a dead one never makes the line forget what another owes. What it builds on: a device answers in the order it was
//! asked, and each request once.
//! Source: Modbus over Serial Line V1.02, 2.4.1.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::ask::Ask;
use crate::bus::pdu::Answer;
use crate::bus::{Read, Slave};

/// The longest quiet that an unanswered request asks of its line.
pub const GUARD_MAX: Duration = Duration::from_secs(3);
/// So long a device may still owe an answer: mobile modems deliver what they held back minutes later.
pub(crate) const DEBT_MAX: Duration = Duration::from_secs(600);
/// So long, after the line was quiet, an unanswered request makes others doubtful that its answer would fit.
const DOUBT_MAX: Duration = Duration::from_secs(3);
/// Debts of one device that are remembered; the oldest go first.
const DEBTS_MAX: usize = 64;
/// A fence that was never answered is not tried more often.
const FENCE_TRIES: u8 = 2;
/// Exceptions that promise or allow a later real answer: acknowledge, and a gateway that gave up on its device.
pub const EXCEPTIONS_BEFORE_ANSWER: [u8; 2] = [5, 11];

/// What to do before a request, so that an answer that a device still owes can't be taken for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approach {
    /// Nothing: no answer that is owed looks like its own.
    Plain,
    /// Ask this of the device, and then look again: its answer is told apart by its length, and after it no earlier one
    /// can come. Its cells are of no use.
    Fence(Read),
    /// Let the line be quiet for `guard`, counted from `from`, and from its last byte.
    Drain {
        /// When the last answer that looks the same was due.
        from: Instant,
        /// The longest timeout of such a request.
        guard: Duration,
    },
}

/// An earlier request that got no answer: one may come yet.
#[derive(Clone, Debug)]
struct Debt {
    slave: Slave,
    ask: Ask,
    since: Instant,
    /// The timeout that the request had, 3 s at most.
    guard: Duration,
    /// The line was quiet for `guard`: nothing but a buffer on the way pays it yet.
    drained: bool,
}

/// A read that a device may be asked at any time.
#[derive(Clone, Copy, Debug)]
struct Fence {
    read: Read,
    answered: bool,
    silences: u8,
}

/// The debts of one line's devices, oldest first, and what each may be asked instead of waiting.
#[derive(Clone, Debug, Default)]
pub struct Debts {
    debts: Vec<Debt>,
    fences: BTreeMap<Slave, Vec<Fence>>,
}

impl Debts {
    /// From now on `slave` may be asked these, beside fewer cells of any read, to find out what it still owes.
    pub fn allow(&mut self, slave: Slave, reads: &[Read]) {
        let fence = |read: &Read| Fence { read: *read, answered: false, silences: 0 };
        self.fences.insert(slave, reads.iter().map(fence).collect());
    }

    /// What to do before `ask` goes to `slave`.
    pub fn approach(&self, slave: Slave, ask: &Ask, now: Instant) -> Approach {
        let owed = || self.debts.iter().filter(|debt| debt.slave == slave && now < debt.since + DEBT_MAX);
        let alike = || owed().filter(|debt| debt.ask.shape() == ask.shape());
        if alike().next().is_none() {
            return Approach::Plain;
        }
        let owed: Vec<(u8, usize)> = owed().map(|debt| debt.ask.shape()).collect();
        // A length that is not owed decides at once. Else an answer pays at least the oldest debt of its length, and
        // those before it: the later that one, the better.
        let paid = |fence: &Read| {
            let shape = Ask::from(*fence).shape();
            owed.iter().position(|owed| *owed == shape).unwrap_or(owed.len())
        };
        let shorter = shorter(ask).filter(|shorter| Ask::from(*shorter).shape() != ask.shape());
        if let Some(fence) = self.allowed(slave, ask).chain(shorter).max_by_key(paid) {
            return Approach::Fence(fence);
        }
        let undrained = || alike().filter(|debt| !debt.drained);
        let from = undrained().map(|debt| debt.since).max();
        let guard = undrained().map(|debt| debt.guard).max();
        from.zip(guard).map_or(Approach::Plain, |(from, guard)| Approach::Drain { from, guard })
    }

    fn allowed(&self, slave: Slave, ask: &Ask) -> impl Iterator<Item = Read> {
        let shape = ask.shape();
        let useful = move |fence: &&Fence| {
            Ask::from(fence.read).shape() != shape && (fence.answered || fence.silences < FENCE_TRIES)
        };
        self.fences.get(&slave).into_iter().flatten().filter(useful).map(|fence| fence.read)
    }

    /// Whether `fence` was answered: one that a device never answers is given up.
    pub fn fenced(&mut self, slave: Slave, fence: Read, answered: bool) {
        let fences = self.fences.get_mut(&slave).into_iter().flatten();
        for known in fences.filter(|known| known.read == fence) {
            known.answered |= answered;
            known.silences = if answered { 0 } else { known.silences.saturating_add(1) };
        }
    }

    /// The line has been quiet for as long as [`Approach::Drain`] says, and `ask` goes to `slave` next: late answers that
    /// look like its own did not come.
    pub fn quiet(&mut self, slave: Slave, ask: &Ask) {
        for debt in self.debts.iter_mut().filter(|debt| debt.fits(slave, ask)) {
            debt.drained = true;
        }
    }

    /// Whether an answer to `ask`, which goes to `slave` at `at`, may as well be that of an earlier request; what is too old is forgiven.
    pub fn make_doubtful(&mut self, slave: Slave, ask: &Ask, at: Instant) -> bool {
        self.debts.retain(|debt| at < debt.since + DEBT_MAX);
        let fitting = || self.debts.iter().filter(|debt| debt.fits(slave, ask));
        // An undrained debt makes a fence of this request: its answer pays, and says nothing else.
        let recent = |debt: &Debt| debt.drained && at < debt.since + DOUBT_MAX && debt.ask != *ask;
        fitting().all(|debt| debt.drained) && fitting().any(recent)
    }

    /// What an answer to `ask` says of the debts of `slave`, which answers in order: earlier ones will not be paid. An answer that also fits
    /// a debt may be that debt's; `true` then, because its own request is still open.
    pub fn pay(&mut self, slave: Slave, ask: &Ask, answer: &Answer) -> bool {
        let refusal = matches!(answer, Answer::Exception(_));
        if let (Ask::Read(read), false) = (ask, refusal) {
            self.fenced(slave, *read, true);
        }
        let pays = |debt: &Debt| {
            debt.slave == slave
                && !debt.drained
                && if refusal { debt.ask.function() == ask.function() } else { debt.fits(slave, ask) }
        };
        let fitting = self.debts.iter().position(pays);
        self.settle(slave, fitting.map_or(self.debts.len(), |place| place + 1));
        let promises = matches!(answer, Answer::Exception(code) if EXCEPTIONS_BEFORE_ANSWER.contains(code));
        fitting.is_some() || promises
    }

    /// A sound answer of `slave` came that answers nothing that is open: it is that of the oldest request it fits, or of a later one.
    pub fn late(&mut self, slave: Slave, shape: (u8, usize)) {
        let fits = |debt: &Debt| debt.slave == slave && debt.ask.shape() == shape;
        if let Some(place) = self.debts.iter().position(fits) {
            self.settle(slave, place + 1);
        }
    }

    /// Forgets what `slave` owes among the first `count` debts.
    fn settle(&mut self, slave: Slave, count: usize) {
        let mut place = 0;
        self.debts.retain(|debt| {
            place += 1;
            debt.slave != slave || place > count
        });
    }

    /// `ask` was due at `since` and is not answered.
    pub fn owe(&mut self, slave: Slave, ask: Ask, since: Instant, timeout: Duration) {
        let mut own = self.debts.iter().enumerate().filter(|(_, debt)| debt.slave == slave);
        let oldest = own.next().map(|(place, _)| place);
        if let Some(oldest) = oldest.filter(|_| own.count() + 1 >= DEBTS_MAX) {
            self.debts.remove(oldest);
        }
        self.debts.push(Debt { slave, ask, since, guard: timeout.min(GUARD_MAX), drained: false });
    }
}

/// Fewer of the same cells, the fewest last.
fn shorter(ask: &Ask) -> impl Iterator<Item = Read> {
    let read = if let Ask::Read(read) = ask { Some(*read) } else { None };
    read.into_iter().flat_map(|read| (1..read.count).rev().map(move |count| Read { count, ..read }))
}

impl Debt {
    /// Whether its answer would look like one to this request of `slave`.
    fn fits(&self, slave: Slave, ask: &Ask) -> bool {
        self.slave == slave && self.ask.shape() == ask.shape()
    }
}
