//! Between the core and the writer's thread: what is handed over, and what becomes of it.
//!
//! In: what waits, outcomes. Out: groups, the board, answers to those who wait for the disk.
//! Invariant: one group is on its way at most; while the disk refuses people hear of alarms without it.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::gateway::keeper::{DISK_PATIENCE, Keeper, RETRY};
use crate::gateway::pending::Job;
use crate::gateway::seam::Seam;
use crate::gateway::writer::Written;
use crate::journal::date::put_right;
use crate::journal::{Audit, Deed};
use crate::loss::Loss;
use crate::reading::digest;
use crate::site::Site;

impl Keeper {
    /// Gives the open group to the writer when it is due and the writer is free.
    pub(crate) fn hand_over(&mut self) {
        let now = self.clock.now();
        self.board.losses(&mut self.losses);
        if self.in_flight || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        let due = self
            .pending
            .since
            .is_some_and(|since| self.pending.urgent || self.site.journal.commit_every <= now.since(since));
        if !due {
            if self.answers.is_empty() || self.pending.since.is_some() {
                return;
            }
            // A person's act that changed nothing (already acknowledged) has nothing to wait for.
            for answer in self.answers.drain(..) {
                let _ = answer.send(None);
            }
            return;
        }
        let undated = (!self.clock.trusted()).then(|| self.clock.boot());
        let Some(job) = self.pending.take(now, undated) else { return };
        (self.handed, self.handed_transitions) = (now, job.group.transitions.clone());
        // Who waits for an answer waits for what is behind a sealed group.
        let last = self.pending.since.is_none();
        match self.writer.groups.try_send(job) {
            Ok(()) => {
                self.in_flight = true;
                if last {
                    self.answers_in_flight.append(&mut self.answers);
                }
            }
            Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) => {
                self.refused(job, "the journal's thread is gone".to_owned());
            }
        }
    }

    pub(crate) fn written(&mut self, written: Written) {
        self.in_flight = false;
        self.alive.written = self.clock.now();
        self.losses.record(Loss::DamagedRecord, "journal", written.damaged);
        for (sink, count) in &written.cut {
            tracing::error!(%sink, readings = count, "removed from the journal before the sink had them");
            self.losses.record(Loss::CutBeforeSent, sink, *count);
            let deed = Deed::Cut { sink: sink.clone(), readings: *count };
            let audit = Audit { at: self.clock.now(), device: "gateway".to_owned(), deed };
            self.pending.audit(vec![audit], self.clock.now());
        }
        self.board.judged(self.core.judged());
        self.board.measured(written.figures, written.wear, written.bytes_to_disk);
        match written.outcome {
            Ok(seq) => {
                self.retry_at = None;
                if self.disk_refuses {
                    tracing::info!("the journal's disk takes writes again");
                    self.disk_refuses = false;
                    self.read_own_soon();
                }
                let Job { group, site } = &written.job;
                if tracing::enabled!(tracing::Level::DEBUG) {
                    tracing::debug!(seq = seq.0, digest = %digest(&group.batches), "committed");
                }
                let seam = self.seam(site);
                self.board.committed(seq, (group, seam.as_ref()), self.pending.waiting());
                self.proof.journaled(&group.transitions, written.numbered);
                // Before people are answered: what they did is to be seen then.
                if !(group.transitions.is_empty() && self.answers_in_flight.is_empty()) {
                    self.look_now();
                }
                // A commit of progress alone has nothing for a sink: waking it would make the next such commit.
                if !group.batches.is_empty() || !group.transitions.is_empty() {
                    let _ = self.outlets.committed.send(seq);
                }
                for answer in self.answers_in_flight.drain(..) {
                    let _ = answer.send(None);
                }
            }
            Err(error) => self.refused(written.job, error.to_string()),
        }
    }

    /// The disk takes too long: people hear of alarms without it.
    pub(crate) fn slow(&mut self) {
        let trouble = format!("the disk takes more than {} s", DISK_PATIENCE.as_secs());
        tracing::error!(%trouble, "the journal waits for its disk; polling and alarming go on");
        self.board.slow(&trouble, self.pending.waiting());
        self.disk_refuses = true;
        let (batches, newer) = self.pending.copy();
        let mut transitions = std::mem::take(&mut self.handed_transitions);
        transitions.extend(newer);
        if !(batches.is_empty() && transitions.is_empty()) {
            self.tell_unjournaled(batches, transitions);
        }
        self.read_own_soon();
    }

    /// From the numbers of an earlier version of the documents to those that hold.
    fn seam(&self, site: &Arc<Site>) -> Option<Seam> {
        (!Arc::ptr_eq(site, &self.site)).then(|| Seam::new(site, &self.site))
    }

    fn refused(&mut self, mut job: Job, trouble: String) {
        if let Some(boot) = &job.group.undated {
            // Taken on a clock that was stepped meanwhile, like what waits.
            let by = self.clock.boot().at.as_millis().saturating_sub(boot.at.as_millis());
            put_right(&mut job.group.batches, by, self.clock.trusted());
        }
        self.retry_at = Some(self.clock.now().plus(RETRY));
        self.answers.append(&mut self.answers_in_flight);
        let seam = self.seam(&job.site);
        let refused: usize = job.group.batches.iter().map(|batch| batch.readings.len()).sum();
        let waiting = self.pending.waiting().saturating_add(refused);
        self.board.refused((&job.group, seam.as_ref()), &trouble, waiting);
        let first = !self.disk_refuses;
        if first {
            tracing::error!(%trouble, "the journal cannot be written; polling and alarming go on");
        }
        let turned = !job.group.transitions.is_empty();
        self.pending.put_back(job);
        if turned {
            self.look_now();
        }
        if first {
            let (batches, transitions) = self.pending.copy();
            self.tell_unjournaled(batches, transitions);
            self.disk_refuses = true;
            self.read_own_soon();
        }
    }
}
