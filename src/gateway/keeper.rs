//! The task around the core: takes events in, hands groups to the writer, and shows what is committed.
//!
//! In: polls, people's acts, confirmed progress, time. Out: groups, the board, the number of the last commit.
//! Invariant: nothing is told before it is committed; while the disk refuses the board is marked and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::alarm::Transition;
use crate::clock::{Clock, Timestamp};
use crate::gateway::board::{Board, Command, Unjournaled};
use crate::gateway::core::{Core, Effects, Event};
use crate::gateway::firmware::Known;
use crate::gateway::health::Health;
use crate::gateway::line::Polled;
use crate::gateway::notify::{Alive, watchdog};
use crate::gateway::own::{Own, own_points};
use crate::gateway::pending::Pending;
use crate::gateway::start::Begun;
use crate::gateway::vigil::Surroundings;
use crate::gateway::writer::{Writer, Written};
use crate::journal::date::put_right;
use crate::journal::{Audit, Deed, Group, Progress, Seq};
use crate::loss::{Loss, Losses};
use crate::point::{DeviceId, LineId, PointId};
use crate::reading::{Batch, Reading, Sample};
use crate::site::Site;

/// The gateway's own points are read this often.
const OWN_EVERY: Duration = Duration::from_secs(5);
/// A refused group is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// The last commit may take this long at stop.
const LAST_COMMIT: Duration = Duration::from_millis(700);
/// A disk that takes longer than this counts as one that refuses: notice goes out without it.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// Where events come from.
pub(crate) struct Inlets {
    pub(crate) polled: mpsc::Receiver<Polled>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) confirmed: mpsc::Receiver<(String, Progress)>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Where the keeper tells what others act on.
pub(crate) struct Outlets {
    /// To the sinks: the last commit.
    pub(crate) committed: watch::Sender<Seq>,
    /// To the line tasks: devices that are to be polled denser.
    pub(crate) dense: watch::Sender<BTreeSet<DeviceId>>,
}

/// See the module.
pub(crate) struct Keeper {
    core: Core,
    writer: Writer,
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
    outlets: Outlets,
    commit_every: Duration,
    pending: Pending,
    in_flight: bool,
    /// When the group on its way was handed over, and its transitions until they are told without the disk.
    handed: Timestamp,
    handed_transitions: Vec<Transition>,
    /// Whether the clock was trusted when it was last looked at, and the start of the box in its time.
    trusted: bool,
    retry_at: Option<Timestamp>,
    answers: Vec<oneshot::Sender<Option<String>>>,
    answers_in_flight: Vec<oneshot::Sender<Option<String>>>,
    losses: Losses,
    own: Option<Own>,
    health: Health,
    own_at: Timestamp,
    own_read: Option<Timestamp>,
    /// A damaged journal was moved aside, and nobody was told yet.
    set_aside: bool,
    troubles: BTreeMap<LineId, String>,
    /// The version that the core reads each device's polls at, where it was told.
    firmware: BTreeMap<DeviceId, Option<String>>,
    disk_refuses: bool,
    alive: Alive,
}

impl Keeper {
    pub(crate) fn new(
        site: &Site,
        begun: Begun,
        board: Arc<Board>,
        clock: Arc<dyn Clock>,
        outlets: Outlets,
    ) -> Self {
        let now = clock.now();
        let polls = site.lines.iter().any(|line| !line.devices.is_empty());
        Self {
            core: begun.core,
            writer: begun.writer,
            board,
            outlets,
            commit_every: site.journal.commit_every,
            pending: Pending::default(),
            in_flight: false,
            handed: now,
            handed_transitions: Vec::new(),
            trusted: clock.trusted(),
            retry_at: None,
            answers: Vec::new(),
            answers_in_flight: Vec::new(),
            losses: Losses::default(),
            own: own_points(site),
            health: Health::of(site),
            own_at: now,
            own_read: None,
            set_aside: begun.set_aside,
            troubles: BTreeMap::new(),
            firmware: BTreeMap::new(),
            disk_refuses: false,
            alive: Alive { polled: polls.then_some(now), written: now },
            clock,
        }
    }

    /// Runs until `inlets.stop`, then commits what waits.
    pub(crate) async fn run(mut self, mut inlets: Inlets) {
        // What the gateway knows of itself, such as a journal that was moved aside, is in its first commit.
        self.tick();
        loop {
            // A stream of polls never keeps the clock's own work waiting.
            if self.own_at.min(self.core.next_due().unwrap_or(self.own_at)) <= self.clock.now() {
                self.tick();
            }
            self.hand_over();
            let wake = self.wake_after(self.clock.now());
            tokio::select! {
                biased;
                _ = inlets.stop.wait_for(|stop| *stop) => break,
                Some(written) = self.writer.written.recv() => self.written(written),
                Some(command) = inlets.commands.recv() => self.command(command),
                Some(polled) = inlets.polled.recv() => self.polled(polled),
                Some((sink, progress)) = inlets.confirmed.recv() => self.pending.confirm(sink, progress, self.clock.now()),
                () = tokio::time::sleep(wake) => self.tick(),
            }
        }
        while let Ok(polled) = inlets.polled.try_recv() {
            self.polled(polled);
        }
        while let Ok((sink, progress)) = inlets.confirmed.try_recv() {
            self.pending.confirm(sink, progress, self.clock.now());
        }
        if tokio::time::timeout(LAST_COMMIT, self.finish()).await.is_err() {
            tracing::error!(
                readings = self.pending.waiting(),
                "the disk did not take the last readings in time"
            );
        }
    }

    /// Commits everything that waits; a refusal is tried again until the caller's patience ends.
    async fn finish(&mut self) {
        let now = self.clock.now();
        let memories = self.core.vigil().memories(now, true);
        self.pending.remember(memories, now);
        self.pending.urgent = true;
        loop {
            self.retry_at = None;
            self.hand_over();
            if !self.in_flight {
                return;
            }
            let Some(written) = self.writer.written.recv().await else { return };
            self.written(written);
            self.pending.urgent = true;
        }
    }

    fn apply(&mut self, event: Event) -> Option<String> {
        let now = self.clock.now();
        let mut effects: Effects = self.core.apply(event, now, self.clock.trusted());
        let refused = effects.refused.take();
        if let Some(dense) = effects.dense.take() {
            self.outlets.dense.send_replace(dense);
        }
        if !effects.transitions.is_empty() {
            self.board.load(self.core.load(now));
        }
        for transition in &effects.transitions {
            let alarm = &transition.alarm;
            let severity = format!("{:?}", alarm.severity).to_lowercase();
            let change = transition.change.name();
            tracing::info!(rule = %alarm.rule, point = %alarm.point, severity, change, value = alarm.value, "alarm");
        }
        if self.disk_refuses && !(effects.batches.is_empty() && effects.transitions.is_empty()) {
            self.tell_unjournaled(effects.batches.clone(), effects.transitions.clone());
        }
        self.pending.add(effects, now);
        self.pending.bound(now, &mut self.losses);
        refused
    }

    /// Notice of what is not on disk, for sinks that can't wait for it.
    fn tell_unjournaled(&self, batches: Vec<Batch>, transitions: Vec<Transition>) {
        let trouble = self.board.journal_trouble().unwrap_or_default();
        // Without a listener nobody is told, and nothing is lost: it is journaled when the disk is back.
        let _ = self.board.unjournaled.send(Arc::new(Unjournaled { batches, transitions, trouble }));
    }

    fn polled(&mut self, polled: Polled) {
        let now = self.clock.now();
        self.alive.polled = Some(now);
        self.board.polled(&polled);
        for (loss, place, count) in polled.losses {
            self.losses.record(loss, &place, count);
        }
        let changed = match (polled.trouble, self.troubles.contains_key(&polled.line)) {
            (Some(trouble), known) => {
                if !known {
                    tracing::warn!(line = self.line_name(polled.line), %trouble, "line down");
                }
                self.troubles.insert(polled.line, trouble);
                !known
            }
            (None, known) => {
                if known {
                    tracing::info!(line = self.line_name(polled.line), "line up again");
                }
                self.troubles.remove(&polled.line);
                known
            }
        };
        self.identify(polled.batch.device, polled.firmware);
        self.pending.audit(polled.audits, now);
        self.apply(Event::Polled(polled.batch));
        if changed {
            self.read_own_soon();
        }
    }

    fn line_name(&self, id: LineId) -> &str {
        let named = self.board.catalog.lines.iter().find(|line| line.id == id);
        named.map_or("", |line| line.name.as_str())
    }

    /// Tells the core when the polls of a device come from another firmware than before.
    fn identify(&mut self, device: DeviceId, known: Option<Known>) {
        let Some(version) = known.map(|known| known.applied) else { return };
        if self.firmware.get(&device) != Some(&version) {
            self.firmware.insert(device, version.clone());
            self.apply(Event::Identified { device, version });
        }
    }

    fn command(&mut self, command: Command) {
        let refused = self.apply(command.event);
        if refused.is_some() {
            let _ = command.answer.send(refused);
        } else {
            self.pending.urgent = true;
            self.answers.push(command.answer);
        }
    }

    /// How long until something is to be done without an event.
    fn wake_after(&self, now: Timestamp) -> Duration {
        let mut at = self.own_at;
        if self.in_flight && !self.disk_refuses {
            at = at.min(self.handed.plus(DISK_PATIENCE));
        }
        if !self.in_flight {
            let due = self.pending.since.map(|since| since.plus(self.commit_every));
            at = due.map_or(at, |due| at.min(due.max(self.retry_at.unwrap_or(due))));
        }
        if let Some(due) = self.core.next_due() {
            at = at.min(due);
        }
        at.since(now).max(Duration::from_millis(1))
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        if let Some(by) = self.clock.step() {
            tracing::warn!(by_ms = by, "the wall clock was stepped");
            self.alive.written = self.alive.written.shifted(by);
            self.alive.polled = self.alive.polled.map(|at| at.shifted(by));
            self.own_at = self.own_at.shifted(by);
            self.own_read = self.own_read.map(|at| at.shifted(by));
            self.pending.since = self.pending.since.map(|at| at.shifted(by));
            self.retry_at = self.retry_at.map(|at| at.shifted(by));
            self.handed = self.handed.shifted(by);
            if !self.trusted {
                self.pending.put_right(by, self.clock.trusted());
            }
            self.apply(Event::ClockStepped(by));
        }
        if self.in_flight && !self.disk_refuses && DISK_PATIENCE <= now.since(self.handed) {
            self.slow();
        }
        if self.clock.trusted() != self.trusted {
            self.trusted = !self.trusted;
            tracing::info!(trusted = self.trusted, "the clock");
            self.read_own_soon();
        }
        if self.own_at <= now {
            self.read_own();
            if !self.in_flight {
                self.alive.written = now;
            }
            if !watchdog(self.alive, now) {
                tracing::error!("no progress for two minutes: the watchdog is not fed");
            }
        } else if self.core.next_due().is_some_and(|due| due <= now) {
            self.apply(Event::Tick);
        }
    }

    /// Reads the gateway's own points as soon as their last reading is older than this millisecond: one point never has two values
    /// at one time, also when several lines go down together.
    fn read_own_soon(&mut self) {
        let now = self.clock.now();
        self.own_at = self.own_read.map_or(now, |last| now.max(last.plus(Duration::from_millis(1))));
    }

    /// Reads the gateway's own points.
    fn read_own(&mut self) {
        let now = self.clock.now();
        self.own_at = now.plus(OWN_EVERY);
        self.own_read = Some(now);
        self.board.load(self.core.load(now));
        let Some(own) = &self.own else { return };
        let reading = |point: PointId, bad: bool| {
            let sample = Sample::Good(if bad { 1.0 } else { 0.0 });
            Reading { point, at: now, sample }
        };
        let mut readings = Vec::new();
        readings.extend(own.disk.map(|point| reading(point, self.disk_refuses)));
        readings.extend(own.clock.map(|point| reading(point, !self.clock.trusted())));
        // Told once: the alarm stays in the list until a person has seen it.
        readings.extend(own.journal.map(|point| reading(point, std::mem::take(&mut self.set_aside))));
        readings
            .extend(own.lines.iter().map(|(line, point)| reading(*point, self.troubles.contains_key(line))));
        let batch = Batch { device: own.device, start: now, end: now, readings };
        self.apply(Event::Read(batch));
        self.look_at_risk_points(now);
        for batch in self.health.readings(&self.board.look(), |name| self.board.sink(name), now) {
            self.apply(Event::Read(batch));
        }
    }

    /// Tells how the risk points stand.
    fn look_at_risk_points(&mut self, now: Timestamp) {
        let stands = self.core.stands(&Surroundings::default(), now);
        for batch in self.core.vigil().readings(&stands, now) {
            self.apply(Event::Read(batch));
        }
        self.board.stand(stands);
        let memories = self.core.vigil().memories(now, false);
        self.pending.remember(memories, now);
    }

    /// Gives the open group to the writer when it is due and the writer is free.
    fn hand_over(&mut self) {
        let now = self.clock.now();
        self.board.losses(&mut self.losses);
        if self.in_flight || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        let due = self
            .pending
            .since
            .is_some_and(|since| self.pending.urgent || self.commit_every <= now.since(since));
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
        let Some(group) = self.pending.take(now, &self.board.catalog.version, undated) else { return };
        (self.handed, self.handed_transitions) = (now, group.transitions.clone());
        match self.writer.groups.try_send(group) {
            Ok(()) => {
                self.in_flight = true;
                self.answers_in_flight.append(&mut self.answers);
            }
            Err(mpsc::error::TrySendError::Full(group) | mpsc::error::TrySendError::Closed(group)) => {
                self.refused(group, "the journal's thread is gone".to_owned());
            }
        }
    }

    fn written(&mut self, written: Written) {
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
        self.board.measured(written.figures, written.wear, written.bytes_to_disk);
        match written.outcome {
            Ok(seq) => {
                self.retry_at = None;
                if self.disk_refuses {
                    tracing::info!("the journal's disk takes writes again");
                    self.disk_refuses = false;
                    self.read_own_soon();
                }
                if tracing::enabled!(tracing::Level::DEBUG) {
                    tracing::debug!(seq = seq.0, digest = %digest(&written.group.batches), "committed");
                }
                self.board.committed(seq, &written.group, self.pending.waiting());
                // A commit of progress alone has nothing for a sink: waking it would make the next such commit.
                if !written.group.batches.is_empty() || !written.group.transitions.is_empty() {
                    let _ = self.outlets.committed.send(seq);
                }
                for answer in self.answers_in_flight.drain(..) {
                    let _ = answer.send(None);
                }
            }
            Err(error) => self.refused(written.group, error.to_string()),
        }
    }

    /// The disk takes too long: people hear of alarms without it.
    fn slow(&mut self) {
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

    fn refused(&mut self, mut group: Group, trouble: String) {
        if let Some(boot) = &group.undated {
            // Taken on a clock that was stepped meanwhile, like what waits.
            let by = self.clock.boot().at.as_millis().saturating_sub(boot.at.as_millis());
            put_right(&mut group.batches, by, self.clock.trusted());
        }
        self.retry_at = Some(self.clock.now().plus(RETRY));
        self.answers.append(&mut self.answers_in_flight);
        self.board.refused(&group, &trouble, self.pending.waiting());
        let first = !self.disk_refuses;
        if first {
            tracing::error!(%trouble, "the journal cannot be written; polling and alarming go on");
        }
        self.pending.put_back(group);
        if first {
            let (batches, transitions) = self.pending.copy();
            self.tell_unjournaled(batches, transitions);
            self.disk_refuses = true;
            self.read_own_soon();
        }
    }
}

/// A fingerprint of a commit's readings, for logs and for comparing what was announced with what is on disk.
pub fn digest(batches: &[Batch]) -> String {
    use sha2::{Digest, Sha256};
    let text = format!("{batches:?}");
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
