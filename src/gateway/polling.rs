//! One device of a line: what it is asked, and what its answers teach.
//!
//! In: a master, the device's plan. Out: one [`RawBatch`] for each poll, whether the device answered at all.
//! Invariant: a failed request drops only its own fields; a refused one is divided at once, so that its other fields are still read in the same
//! poll. A device that says nothing costs one timeout, or two when it was well and they are learnt, short ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::master::Master;
use crate::bus::{Exchange, Failure, LineSettings, Read, Slave};
use crate::clock::{Clock, Timestamp};
use crate::decode::{Raw, RawBatch, decode};
use crate::gateway::course::Course;
use crate::gateway::firmware::Identity;
use crate::gateway::pipe::Pipe;
use crate::journal::Audit;
use crate::point::DeviceId;
use crate::poll::cost::Cost;
use crate::poll::divide::{Divisions, Refusals};
use crate::poll::fence::fences;
use crate::poll::hush::Hushed;
use crate::poll::plan::{Plan, PlannedRead, wanted};
use crate::poll::timeout::{FLOOR_SERIAL, FLOOR_TCP, Timeout};
use crate::poll::turn::Costs;
use crate::profile::Profile;
use crate::profile::trigger::Allowed;
use crate::reading::Reason;
use crate::site::DeviceSpec;

/// A gateway on the way says that its device is silent.
const SILENT_BEHIND: [u8; 2] = [10, 11];
/// So many polls lie between two looks at the turnaround that the plan was made for.
const LOOK_EVERY: u64 = 64;

/// How a device is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It was well: one silence may be an accident of the line, and costs little once its answer time is known.
    Well,
    /// It was silent before: the first silence ends the poll.
    Doubtful,
    /// It is dead: the cheapest request goes first, too.
    Probe,
    /// The same, and it should be over by then, as far as that leaves time for a quick answer.
    Until(Instant),
}

/// What a poll came to.
pub(crate) struct Said {
    pub(crate) batch: RawBatch,
    /// The first failure.
    pub(crate) failure: Option<Reason>,
    /// Whether the device said anything.
    pub(crate) answered: bool,
    /// What was written, and what was learnt of its firmware.
    pub(crate) audits: Vec<Audit>,
    /// Reads that were refused first and asked again.
    pub(crate) woken: u64,
}

/// One device of a line.
pub(crate) struct Polling {
    pub(crate) id: DeviceId,
    pub(crate) name: String,
    pub(crate) every: Duration,
    pub(crate) every_in_alarm: Option<Duration>,
    pub(crate) slave: Slave,
    pub(crate) identity: Identity,
    /// The triggers that it needs and may have.
    pub(crate) triggers: Vec<Allowed>,
    pub(crate) course: Option<Box<Course>>,
    pub(crate) profile: Arc<Profile>,
    pub(crate) wanted: Vec<usize>,
    pub(crate) plan: Plan,
    /// What may be asked to tell late answers apart, and whether the master knows it.
    fences: Vec<Read>,
    told: bool,
    pub(crate) cost: Cost,
    pub(crate) refusals: Refusals,
    pub(crate) timeout: Timeout,
    pub(crate) hushed: Hushed,
    pub(crate) pipe: Pipe,
    polls: u64,
}

impl Polling {
    pub(crate) fn new(spec: &DeviceSpec, name: String, line: &LineSettings) -> Self {
        let identity = Identity::new(spec, &name);
        let profile = identity.profile(&spec.profile);
        let wanted = wanted(&profile.fields);
        let mut device = Self {
            id: spec.id,
            name,
            every: spec.every,
            every_in_alarm: spec.every_in_alarm,
            slave: spec.slave,
            wanted,
            plan: Plan::default(),
            fences: Vec::new(),
            told: false,
            cost: Cost::new(line, line.quiet),
            refusals: Refusals::default(),
            timeout: Timeout::new(
                spec.timeout,
                if line.address.is_serial() { FLOOR_SERIAL } else { FLOOR_TCP },
            ),
            hushed: Hushed::default(),
            pipe: Pipe::default(),
            identity,
            triggers: spec.triggers.clone(),
            course: None,
            profile,
            polls: 0,
        };
        device.plan();
        device
    }

    /// Gives it another number; the poll under way has it, too.
    pub(crate) fn renumber(&mut self, id: DeviceId) {
        self.id = id;
        if let Some(course) = &mut self.course {
            course.said.batch.device = id;
        }
    }

    fn plan(&mut self) {
        let Profile { fields, limits, .. } = &*self.profile;
        self.plan = Plan::new(fields, &self.wanted, limits, &self.cost, self.refusals.cuts());
        self.fences = fences(&self.plan, fields, limits, self.refusals.cuts());
        self.told = false;
    }

    /// Whether a late answer to `read` is told from a later one without a drain.
    fn is_fenced(&self, read: Read) -> bool {
        let bytes = |count| Read { count, ..read }.data_bytes();
        let shape = |read: &Read| (read.table, read.data_bytes());
        bytes(1) < read.data_bytes() || self.fences.iter().any(|fence| shape(fence) != shape(&read))
    }

    /// Tells the master what the device may be asked to tell late answers apart.
    pub(crate) fn tell_fences(&mut self, master: &mut Master) {
        if !std::mem::replace(&mut self.told, true) {
            master.allow(self.slave, &self.fences);
        }
    }

    /// What its polls and probes cost.
    pub(crate) fn costs(&self) -> Costs {
        let first = self.first().and_then(|index| self.plan.0.get(index));
        let wire = first.map_or(Duration::ZERO, |planned| self.cost.answer(planned.read));
        // What is measured says it better than what the plan was made for.
        let turnaround = self.timeout.median().unwrap_or(self.cost.turnaround);
        // One that may sleep is asked so often before it counts as silent, with waits between.
        let sleeper = self.profile.limits.wake.filter(|wake| wake.silence);
        let (asked, waits) = sleeper.map_or((1, Duration::ZERO), |wake| (1 + wake.tries, wake.longest()));
        let fenced = first.is_some_and(|planned| self.is_fenced(planned.read));
        let silent = |wait| self.cost.silent(wait, fenced).saturating_mul(asked) + waits;
        Costs {
            answered: self.plan.time(&Cost { turnaround, ..self.cost }),
            silent: silent(self.timeout.of(wire)),
            brief: silent(self.timeout.brief(wire)),
        }
    }

    /// What a person should know of the device: a timeout that gives up answers, blocks that it refuses.
    pub(crate) fn advice(&self) -> Option<String> {
        let longest = self.plan.0.iter().map(|planned| self.cost.answer(planned.read)).max()?;
        if let Some(p99) = self.timeout.too_short(longest) {
            return Some(format!(
                "its timeout is below twice the time of its answers ({} ms for 99 %): raise `timeout`",
                p99.as_millis()
            ));
        }
        if self.hushed.is_any() {
            return Some("it leaves some requests unanswered: they are asked less often".to_owned());
        }
        if self.pipe.is_given_up() {
            return Some("it answers one request at a time, although its profile allows more: `pipeline` has no effect".to_owned());
        }
        let cuts = self.refusals.cuts().len();
        let requests = self.plan.0.len();
        (cuts > 0).then(|| format!("it refuses larger blocks: {requests} requests in each poll"))
    }

    /// Plans anew for the version that the device now has.
    pub(crate) fn become_other(&mut self) {
        self.profile = self.identity.profile(&self.profile);
        self.wanted = wanted(&self.profile.fields);
        self.refusals = Refusals::default();
        self.hushed = Hushed::default();
        self.pipe = Pipe::default();
        self.plan();
    }

    /// The requests of the plan, those last that the device was silent on; for a probe all of them, the cheapest one first.
    pub(crate) fn requests(&mut self, patience: Patience) -> VecDeque<(PlannedRead, Option<usize>)> {
        let mut open: VecDeque<_> = self.plan.0.iter().map(|planned| (planned.clone(), None)).collect();
        open.make_contiguous().sort_by_key(|(planned, _)| self.hushed.silences(planned.read));
        if matches!(patience, Patience::Well | Patience::Doubtful) {
            open.retain(|(planned, _)| self.hushed.is_due(planned.read));
        } else if let Some(first) = self.first().and_then(|first| open.remove(first)) {
            open.push_front(first);
        }
        open
    }

    /// The request that a probe begins with: the cheapest of those that were ever answered; until one was, each in its turn, because a device
    /// may be silent on some.
    fn first(&self) -> Option<usize> {
        let proven = |planned: &&PlannedRead| self.hushed.is_proven(planned.read);
        let cheapest =
            self.plan.0.iter().filter(proven).min_by_key(|planned| self.cost.answered(planned.read));
        let turn = usize::try_from(self.polls % 0x1_0000).unwrap_or_default().checked_rem(self.plan.0.len());
        cheapest.and_then(|cheapest| self.plan.0.iter().position(|planned| planned == cheapest)).or(turn)
    }

    /// How long to wait for the answer to `read`.
    pub(crate) fn wait(&self, read: Read, patience: Patience, answered: bool, clock: &dyn Clock) -> Duration {
        let wire = self.cost.answer(read);
        match patience {
            // Once it has answered it is live.
            Patience::Until(end) if !answered => {
                let left = end.saturating_duration_since(clock.instant());
                self.cost
                    .patience(left, self.is_fenced(read))
                    .clamp(self.timeout.brief(wire), self.timeout.of(wire))
            }
            _ => self.timeout.of(wire),
        }
    }

    /// Learns the device's answer time, which began at `since`; whether it said anything.
    pub(crate) fn hear(
        &mut self,
        planned: &PlannedRead,
        exchange: &Exchange,
        since: Instant,
        patience: Patience,
    ) -> bool {
        match exchange.outcome {
            Ok(_) => {
                let took = exchange.ended.saturating_duration_since(since);
                self.timeout.answered(took.saturating_sub(self.cost.wire(planned.read)));
                self.hushed.answered(planned.read);
                true
            }
            Err(Failure::Exception(code)) if !SILENT_BEHIND.contains(&code) => {
                self.timeout.heard();
                true
            }
            Err(Failure::Timeout) => {
                // Only a dead device is waited for longer and longer: while many die at once, each costs little.
                if patience == Patience::Probe {
                    self.timeout.silent();
                }
                false
            }
            Err(Failure::Exception(_) | Failure::BadFrame | Failure::LineDown) => false,
        }
    }

    /// Makes the plan anew where blocks were refused, or where the device's turnaround is another than the plan was made for.
    pub(crate) fn learn(&mut self, divisions: Divisions) {
        self.polls = self.polls.wrapping_add(1);
        let divided = self.refusals.learn(divisions);
        let measured = self.timeout.median().filter(|_| self.polls.is_multiple_of(LOOK_EVERY));
        let differs = measured.filter(|measured| {
            let (less, more) = (self.cost.turnaround.min(*measured), self.cost.turnaround.max(*measured));
            more >= less * 2 && more - less >= Duration::from_millis(2)
        });
        if let Some(turnaround) = differs {
            self.cost.turnaround = turnaround;
        }
        if divided || differs.is_some() {
            self.plan();
            tracing::info!(
                device = %self.name,
                requests = self.plan.0.len(),
                divided,
                turnaround_ms = self.cost.turnaround.as_millis(),
                "another plan"
            );
        }
    }

    /// Puts what one answer says of its fields into their places.
    pub(crate) fn place(
        &self,
        said: &mut Said,
        planned: &PlannedRead,
        at: Timestamp,
        outcome: &Result<Vec<u16>, Reason>,
    ) {
        if let Err(reason) = outcome {
            said.failure.get_or_insert_with(|| reason.clone());
        }
        for (index, offset) in &planned.fields {
            let raws = &mut said.batch.raws;
            let (Some(field), Some(slot)) = (self.profile.fields.get(*index), raws.get_mut(*index)) else {
                continue;
            };
            let cells = |cells: &Vec<u16>| -> Option<Raw> {
                Some(decode(field, cells.get(*offset..offset + usize::from(field.count))?))
            };
            let raw = match outcome {
                Ok(all) => cells(all).ok_or(Reason::BadFrame),
                Err(reason) => Err(reason.clone()),
            };
            *slot = (at, raw);
        }
    }
}

/// The reason that a failure gives a reading.
pub(crate) fn reason_of(failure: Failure) -> Reason {
    match failure {
        Failure::Timeout => Reason::Timeout,
        Failure::BadFrame => Reason::BadFrame,
        Failure::Exception(code) => Reason::Exception(code),
        Failure::LineDown => Reason::LineDown,
    }
}
