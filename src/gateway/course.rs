//! The course of one poll: who the device is, what makes it measure, what it is asked; with pauses in which the line serves others.
//!
//! In: a device, a master. Out: [`Step`]s, until the poll is done.
//! Invariant: a point behind a trigger is read only after that trigger, in the same course, and its wait; when the trigger failed it is bad
//! with that failure; what a refused first read costs is a pause and a count, never a reading.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::bus::master::Master;
use crate::bus::{Exchange, Failure, Read, Table};
use crate::clock::Clock;
use crate::decode::RawBatch;
use crate::gateway::polling::{Patience, Polling, Said, reason_of};
use crate::gateway::trigger::fire;
use crate::loss::Losses;
use crate::poll::divide::Divisions;
use crate::poll::plan::{Plan, PlannedRead};
use crate::profile::Wake;
use crate::reading::Reason;

/// How far a poll has come.
pub(crate) enum Step {
    /// It is over.
    Done(Said),
    /// It goes on then; the line is free meanwhile. Whether the device answered anything so far.
    Later(Instant, bool),
}

/// A request with the division that it came from.
pub(crate) type Asked = (PlannedRead, Option<usize>);

/// A poll under way.
pub(crate) struct Course {
    pub(crate) said: Said,
    pub(crate) patience: Patience,
    pub(crate) silences_left: u32,
    pub(crate) divisions: Divisions,
    /// Requests that nobody answered.
    pub(crate) silent: Vec<Read>,
    /// Requests that are still to be asked, each with the division that it came from; `None` before the first.
    pub(crate) open: Option<VecDeque<Asked>>,
    /// How often the present request was asked again.
    pub(crate) tries: u32,
    /// Each request goes alone from here on.
    pub(crate) alone: bool,
    /// Fields that are not read, because their trigger failed.
    pub(crate) withheld: Vec<usize>,
}

impl Polling {
    /// Goes on with the poll under way, or begins one. After too many silences the rest is not tried.
    pub(crate) async fn poll(
        &mut self,
        master: &mut Master,
        patience: Patience,
        clock: &dyn Clock,
        losses: &mut Losses,
        record: &mut (dyn FnMut(&Exchange) + Send),
    ) -> Step {
        self.tell_fences(master);
        let mut course = match self.course.take() {
            Some(course) => *course,
            None => {
                let mut course = self.begin(patience, clock);
                if let Some(at) = self.approach(&mut course, master, clock, losses).await {
                    return self.pause(course, at);
                }
                course
            }
        };
        let mut open = course.open.take().unwrap_or_else(|| self.open(&course));
        while !open.is_empty() {
            if course.silences_left == 0 {
                let reason = course.said.failure.clone().unwrap_or(Reason::Timeout);
                for (planned, _) in open.drain(..) {
                    self.place(&mut course.said, &planned, clock.now(), &Err(reason.clone()));
                }
                break;
            }
            let together = self.together(&course, master, open.len());
            if together > 1 {
                let asked = open.drain(..together).collect();
                self.ask_together(asked, &mut open, &mut course, master, clock, losses, record).await;
                continue;
            }
            let Some((planned, parent)) = open.pop_front() else { break };
            let wait = self.wait(planned.read, course.patience, course.said.answered, clock);
            let exchange = master.read(self.slave, planned.read, wait, losses).await;
            master.take_fenced().iter().for_each(&mut *record);
            record(&exchange);
            course.said.answered |= self.hear(&planned, &exchange, exchange.sent, course.patience);
            if let Some(wake) = self.asleep(&course, &exchange) {
                (course.tries, course.said.woken) = (course.tries + 1, course.said.woken + 1);
                open.push_front((planned, parent));
                if exchange.outcome == Err(Failure::Timeout) {
                    // What wakes now would sleep again while others are asked.
                    tokio::time::sleep(wake.wait).await;
                    continue;
                }
                course.open = Some(open);
                return self.pause(course, exchange.ended + wake.wait);
            }
            course.tries = 0;
            if exchange.outcome == Err(Failure::Timeout) {
                course.silences_left -= 1;
            }
            self.take((planned, parent), exchange, &mut open, &mut course, clock);
        }
        Step::Done(self.finish(course, clock))
    }

    /// What one exchange, whose silence is counted already, says of its fields and of what is still to be asked.
    pub(crate) fn take(
        &self,
        (planned, parent): Asked,
        exchange: Exchange,
        open: &mut VecDeque<Asked>,
        course: &mut Course,
        clock: &dyn Clock,
    ) {
        match exchange.outcome {
            Ok(_) => {
                course.divisions.answered(parent);
                course.silences_left = course.silences_left.max(2);
            }
            Err(Failure::Exception(_) | Failure::BadFrame) => {}
            Err(Failure::Timeout) => course.silent.push(planned.read),
            Err(Failure::LineDown) => course.silences_left = 0,
        }
        let parts = self.divided(&planned, &exchange, &mut course.divisions, parent);
        if !parts.is_empty() {
            parts.into_iter().rev().for_each(|part| open.push_front(part));
            return;
        }
        let outcome = exchange.outcome.map_err(reason_of);
        self.place(&mut course.said, &planned, clock.at(exchange.ended), &outcome);
    }

    fn pause(&mut self, course: Course, at: Instant) -> Step {
        let answered = course.said.answered;
        self.course = Some(Box::new(course));
        Step::Later(at, answered)
    }

    fn finish(&mut self, mut course: Course, clock: &dyn Clock) -> Said {
        course.said.batch.end = clock.now();
        if self.plan.0.is_empty() && course.withheld.is_empty() && !course.said.answered {
            // Nothing was asked, and nobody may take that for an answer.
            course.said.failure.get_or_insert(Reason::NotPolled);
        }
        if course.said.answered {
            course.silent.into_iter().for_each(|read| self.hushed.silent(read));
        } else {
            self.identity.silent();
        }
        self.learn(course.divisions);
        course.said
    }

    /// The wake that this device's refusal or silence asks for.
    fn asleep(&self, course: &Course, exchange: &Exchange) -> Option<Wake> {
        let wake = self.profile.limits.wake.filter(|wake| course.tries < wake.tries)?;
        let asleep = match exchange.outcome {
            Err(Failure::Exception(code)) => wake.exception == Some(code),
            Err(Failure::Timeout) => wake.silence && !course.said.answered,
            Ok(_) | Err(Failure::BadFrame | Failure::LineDown) => false,
        };
        asleep.then_some(wake)
    }

    /// The requests to ask instead of one that was refused, or that is left unanswered again and again.
    fn divided(
        &self,
        planned: &PlannedRead,
        exchange: &Exchange,
        divisions: &mut Divisions,
        parent: Option<usize>,
    ) -> Vec<Asked> {
        let code = match exchange.outcome {
            Err(Failure::Exception(code)) => code,
            Err(Failure::Timeout) if self.hushed.is_suspect(planned.read) => 0,
            Ok(_) | Err(Failure::Timeout | Failure::BadFrame | Failure::LineDown) => return Vec::new(),
        };
        let (number, parts) = self.refusals.divide(planned, code, &self.profile.fields, divisions, parent);
        parts.into_iter().map(|part| (part, Some(number))).collect()
    }

    /// A poll that begins now.
    pub(crate) fn begin(&self, patience: Patience, clock: &dyn Clock) -> Course {
        let start = clock.now();
        // Only of one whose answer time is known is a first silence an accident.
        let spare = patience == Patience::Well && self.timeout.median().is_some();
        let raws = vec![(start, Err(Reason::NotPolled)); self.profile.fields.len()];
        Course {
            said: Said {
                batch: RawBatch { device: self.id, start, end: start, raws },
                failure: None,
                answered: false,
                audits: Vec::new(),
                woken: 0,
            },
            patience,
            silences_left: if spare { 2 } else { 1 },
            divisions: Divisions::default(),
            silent: Vec::new(),
            open: None,
            tries: 0,
            alone: false,
            withheld: Vec::new(),
        }
    }

    /// What comes before the first read of a poll. The moment at which it may be read, when that is later.
    pub(crate) async fn approach(
        &mut self,
        course: &mut Course,
        master: &mut Master,
        clock: &dyn Clock,
        losses: &mut Losses,
    ) -> Option<Instant> {
        self.identify(course, master, clock, losses).await;
        let mut ready = None;
        for allowed in self.triggers.clone() {
            let behind = allowed.trigger().behind(&self.profile.fields);
            if course.silences_left == 0 || !behind.iter().any(|index| self.wanted.contains(index)) {
                continue;
            }
            let patience = self.wait(a_register(), course.patience, course.said.answered, clock);
            let device = (self.slave, self.name.as_str());
            let (written, audit) = fire(&allowed, device, patience, master, clock, losses).await;
            course.said.audits.extend(audit);
            match written {
                Ok(at) => {
                    course.said.answered = true;
                    ready = ready.max(Some(at + allowed.trigger().wait));
                }
                Err(failure) => self.untriggered(course, &behind, failure, clock),
            }
        }
        ready
    }

    /// The requests of this course: the plan, or one for what is left of it.
    pub(crate) fn open(&mut self, course: &Course) -> VecDeque<Asked> {
        if course.withheld.is_empty() {
            return self.requests(course.patience);
        }
        let left: Vec<usize> =
            self.wanted.iter().copied().filter(|index| !course.withheld.contains(index)).collect();
        let plan =
            Plan::new(&self.profile.fields, &left, &self.profile.limits, &self.cost, self.refusals.cuts());
        plan.0.into_iter().map(|planned| (planned, None)).collect()
    }

    async fn identify(
        &mut self,
        course: &mut Course,
        master: &mut Master,
        clock: &dyn Clock,
        losses: &mut Losses,
    ) {
        if !self.identity.is_due(clock.instant()) {
            return;
        }
        let patience = self.wait(a_register(), course.patience, course.said.answered, clock);
        match self.identity.ask(master, self.slave, patience, losses).await {
            Ok(answer) => {
                course.said.answered = true;
                let (other, audit) = self.identity.learn(answer, clock.instant(), clock.now());
                course.said.audits.extend(audit);
                if other {
                    self.become_other();
                }
            }
            Err(failure) => course.fail(failure),
        }
    }

    fn untriggered(&self, course: &mut Course, behind: &[usize], failure: Failure, clock: &dyn Clock) {
        course.fail(failure);
        let at = clock.now();
        for index in behind.iter().filter(|index| self.wanted.contains(index)) {
            if let Some(slot) = course.said.batch.raws.get_mut(*index) {
                *slot = (at, Err(reason_of(failure)));
            }
        }
        course.withheld.extend(behind);
    }
}

impl Course {
    /// Something that had to come before the reads failed.
    fn fail(&mut self, failure: Failure) {
        self.said.failure.get_or_insert_with(|| reason_of(failure));
        match failure {
            Failure::Timeout => self.silences_left = self.silences_left.saturating_sub(1),
            Failure::LineDown => self.silences_left = 0,
            Failure::Exception(code) => self.said.answered |= !matches!(code, 10 | 11),
            Failure::BadFrame => {}
        }
    }
}

/// A request as short as there is, for the time that its answer takes.
const fn a_register() -> Read {
    Read { table: Table::Holding, address: 0, count: 1 }
}
