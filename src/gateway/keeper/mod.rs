//! The task around the core: takes events in, hands groups to the writer, and shows what is committed.
//!
//! In: polls, people's acts, confirmed progress, time. Out: groups, the board, the number of the last commit.
//! Invariant: nothing is told before it is committed; while the disk refuses the board is marked and goes on.

mod commit;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::alarm::Transition;
use crate::clock::{Clock, Timestamp};
use crate::forward::Unjournaled;
use crate::gateway::board::{Board, Command};
use crate::gateway::core::{Core, Effects, Event};
use crate::gateway::firmware::Known;
use crate::gateway::health::Health;
use crate::gateway::known::KnownLines;
use crate::gateway::line::{Orders, Polled};
use crate::gateway::notify::{Alive, watchdog};
use crate::gateway::outage::Outages;
use crate::gateway::own::{Own, renumbered};
use crate::gateway::pending::Pending;
use crate::gateway::proof::{Proof, Proved};
use crate::gateway::start::Begun;
use crate::gateway::supervise::Ask;
use crate::gateway::writer::Writer;
use crate::journal::{Progress, Seq};
use crate::loss::Losses;
use crate::point::{DeviceId, LineId};
use crate::reading::Batch;
use crate::site::Site;

/// The gateway's own points are read this often.
const OWN_EVERY: Duration = Duration::from_secs(5);
/// A refused group is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// What polls change in how risk points stand is shown after this: the first polls come in a row.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// Looks at risk points take no more than one part of this many of the time, however many points and alarms there are.
const LOOK_SHARE: u32 = 10;
/// The last commit may take this long at stop.
const LAST_COMMIT: Duration = Duration::from_millis(700);
/// A disk that takes longer than this counts as one that refuses: notice goes out without it.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// Where events come from.
pub(crate) struct Inlets {
    pub(crate) polled: mpsc::Receiver<Polled>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) confirmed: mpsc::Receiver<(String, Progress)>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Where the keeper tells what others act on.
pub(crate) struct Outlets {
    /// To the sinks: the last commit.
    pub(crate) committed: watch::Sender<Seq>,
    /// To the line tasks: the documents that hold, and devices that are to be polled denser.
    pub(crate) orders: watch::Sender<Orders>,
}

/// See the module.
pub(crate) struct Keeper {
    core: Core,
    site: Arc<Site>,
    proof: Proof,
    writer: Writer,
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
    outlets: Outlets,
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
    outages: Outages,
    known: KnownLines,
    health: Health,
    own_at: Timestamp,
    own_read: Option<Timestamp>,
    /// When the risk points are to be looked at before the gateway's own points are read, and not before when.
    look_at: Option<Timestamp>,
    look_from: Timestamp,
    /// A damaged journal was moved aside, and nobody was told yet.
    set_aside: bool,
    troubles: BTreeMap<LineId, String>,
    /// The version that the core reads each device's polls at, where it was told.
    firmware: BTreeMap<DeviceId, Option<String>>,
    disk_refuses: bool,
    /// What was read since somebody looks at the journal for a reload.
    heard: Option<Vec<Batch>>,
    /// The documents on disk were refused.
    unapplied: bool,
    /// What each sink confirmed last.
    progress: BTreeMap<String, Progress>,
    alive: Alive,
}

impl Keeper {
    pub(crate) fn new(
        site: Arc<Site>,
        begun: Begun,
        board: Arc<Board>,
        clock: Arc<dyn Clock>,
        outlets: Outlets,
    ) -> Self {
        let now = clock.now();
        Self {
            core: begun.core,
            proof: begun.proof,
            writer: begun.writer,
            board,
            outlets,
            pending: Pending::new(Arc::clone(&site)),
            in_flight: false,
            handed: now,
            handed_transitions: Vec::new(),
            trusted: clock.trusted(),
            retry_at: None,
            answers: Vec::new(),
            answers_in_flight: Vec::new(),
            losses: Losses::default(),
            own: Own::of(&site),
            outages: Outages::of(&site),
            known: KnownLines::of(&site, clock.instant()),
            health: Health::of(&site),
            own_at: now,
            own_read: None,
            look_at: None,
            look_from: now,
            set_aside: begun.set_aside,
            troubles: BTreeMap::new(),
            firmware: BTreeMap::new(),
            disk_refuses: false,
            unapplied: false,
            heard: None,
            progress: begun.progress,
            alive: Alive { polled: polls(&site).then_some(now), written: now },
            site,
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
            self.look_if_due();
            self.hand_over();
            let wake = self.wake_after(self.clock.now());
            tokio::select! {
                biased;
                _ = inlets.stop.wait_for(|stop| *stop) => break,
                Some(written) = self.writer.written.recv() => self.written(written),
                Some(command) = inlets.commands.recv() => self.command(command),
                Some(ask) = inlets.asks.recv() => self.ask(ask, &mut inlets.confirmed),
                Some(polled) = inlets.polled.recv() => self.polled(polled),
                Some((sink, progress)) = inlets.confirmed.recv() => self.confirmed(sink, progress),
                () = tokio::time::sleep(wake) => self.tick(),
            }
        }
        while let Ok(polled) = inlets.polled.try_recv() {
            self.polled(polled);
        }
        while let Ok((sink, progress)) = inlets.confirmed.try_recv() {
            self.confirmed(sink, progress);
        }
        if tokio::time::timeout(LAST_COMMIT, self.finish()).await.is_err() {
            tracing::error!(
                readings = self.pending.waiting(),
                "the disk did not take the last readings in time"
            );
        }
    }

    /// Takes what a sink has confirmed.
    fn confirmed(&mut self, sink: String, progress: Progress) {
        let now = self.clock.now();
        self.progress.insert(sink.clone(), progress.clone());
        let status = self.board.sink(&sink).filter(|_| self.site.calls_people(&sink));
        let taken = status.map(|status| status.drills).unwrap_or_default();
        if let Some(memory) = self.proof.confirmed(&sink, &taken, now) {
            self.pending.remember(vec![memory], now);
            self.pending.urgent = true;
            self.board.proved(self.proved().cloned());
            self.look_at_risk_points(now);
        }
        self.pending.confirm(sink, progress, now);
    }

    /// What was proved last of the way that notices take by the documents that hold.
    pub(crate) fn proved(&self) -> Option<&Proved> {
        self.proof.standing(|sink| self.site.calls_people(sink))
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
            let site = Arc::clone(&self.site);
            self.outlets.orders.send_replace(Orders { site, dense });
        }
        if !effects.transitions.is_empty() {
            self.board.load(self.core.load(now));
        }
        for transition in &effects.transitions {
            let alarm = &transition.alarm;
            let severity = format!("{:?}", alarm.present()).to_lowercase();
            let change = transition.change.name();
            tracing::info!(rule = %alarm.rule, point = %alarm.point, severity, change, value = alarm.value, "alarm");
        }
        if self.disk_refuses && !(effects.batches.is_empty() && effects.transitions.is_empty()) {
            self.tell_unjournaled(effects.batches.clone(), effects.transitions.clone());
        }
        self.hear(&effects.batches);
        self.pending.add(effects, now);
        self.pending.bound(now, &mut self.losses);
        refused
    }

    /// Notice of what is not on disk, for sinks that can't wait for it.
    fn tell_unjournaled(&self, batches: Vec<Batch>, transitions: Vec<Transition>) {
        let trouble = self.board.journal_trouble().unwrap_or_default();
        // Without a listener nobody is told, and nothing is lost: it is journaled when the disk is back.
        let catalog = Arc::clone(&self.site.catalog);
        let _ = self.board.unjournaled.send(Arc::new(Unjournaled { catalog, batches, transitions, trouble }));
    }

    fn polled(&mut self, polled: Polled) {
        let now = self.clock.now();
        self.alive.polled = Some(now);
        let Some(polled) = renumbered(polled, &self.site, &mut self.losses) else { return };
        self.board.polled(&polled);
        let shown = self.known.polled(&polled);
        for (loss, place, count) in polled.losses {
            self.losses.record(loss, &place, count);
        }
        self.outages.polled(polled.line, polled.trouble.is_some(), now);
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
        if self.core.vigil().turned() {
            self.look_at.get_or_insert(now.plus(LOOK_AFTER));
        }
        if changed || shown {
            self.read_own_soon();
        }
    }

    fn line_name(&self, id: LineId) -> &str {
        let named = self.site.catalog.lines.iter().find(|line| line.id == id);
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
            let due = self.pending.since.map(|since| since.plus(self.site.journal.commit_every));
            at = due.map_or(at, |due| at.min(due.max(self.retry_at.unwrap_or(due))));
        }
        if let Some(due) = self.core.next_due() {
            at = at.min(due);
        }
        if let Some(due) = self.look_at {
            at = at.min(due.max(self.look_from));
        }
        at.since(now).max(Duration::from_millis(1))
    }

    fn tick(&mut self) {
        if let Some(by) = self.clock.step() {
            tracing::warn!(by_ms = by, "the wall clock was stepped");
            self.alive.written = self.alive.written.shifted(by);
            self.alive.polled = self.alive.polled.map(|at| at.shifted(by));
            self.own_at = self.own_at.shifted(by);
            self.own_read = self.own_read.map(|at| at.shifted(by));
            self.look_at = self.look_at.map(|at| at.shifted(by));
            self.look_from = self.look_from.shifted(by);
            self.pending.since = self.pending.since.map(|at| at.shifted(by));
            self.retry_at = self.retry_at.map(|at| at.shifted(by));
            self.handed = self.handed.shifted(by);
            self.heard = None;
            if !self.trusted {
                self.pending.put_right(by, self.clock.trusted());
            }
            self.apply(Event::ClockStepped(by));
        }
        // After the step: what was shifted by it is compared with the time as it is now.
        let now = self.clock.now();
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
        let mut states = vec![
            (own.disk, self.disk_refuses),
            (own.clock, !self.clock.trusted()),
            // Told once: the alarm stays in the list until a person has seen it.
            (own.journal, std::mem::take(&mut self.set_aside)),
            (own.documents, self.unapplied),
        ];
        let held = |name: &str| self.board.sink(name).filter(|status| status.shown).map(|status| status.held);
        states.extend(own.sinks.iter().filter_map(|(name, point)| Some((Some(*point), held(name)?))));
        let instant = self.clock.instant();
        let known = |line| self.known.holds(line, instant);
        states.extend(self.outages.states(known).map(|(point, gone)| (Some(point), gone)));
        let batch = own.read(now, states, |line| known(line).then(|| self.troubles.contains_key(&line)));
        self.apply(Event::Read(batch));
        self.look_at_risk_points(now);
        for batch in self.health.readings(&self.board.look(), |name| self.board.sink(name), now) {
            self.apply(Event::Read(batch));
        }
    }

    /// Alarms or what lies over rules changed: map and coverage are to agree with them now.
    fn look_now(&mut self) {
        self.look_at = Some(self.clock.now());
        self.look_if_due();
    }

    fn look_if_due(&mut self) {
        let now = self.clock.now();
        if self.look_at.is_some_and(|at| at.max(self.look_from) <= now) {
            self.look_at_risk_points(now);
        }
    }

    /// Tells how the risk points stand.
    fn look_at_risk_points(&mut self, now: Timestamp) {
        let begun = self.clock.instant();
        let around = self.core.surroundings(self.proved().map(|proved| proved.at));
        let stands = self.core.stands(&around, now);
        let states = self.core.conditions(&stands);
        for batch in self.core.vigil().readings(&stands, &states, now) {
            self.apply(Event::Read(batch));
        }
        self.board.stand(stands, states, self.core.work(&around, now));
        let memories = self.core.vigil().memories(now, false);
        self.pending.remember(memories, now);
        self.look_at = None;
        // By a clock that is never stepped: a step would count as a look of that length.
        self.look_from = now.plus(self.clock.instant().duration_since(begun) * LOOK_SHARE);
    }
}

/// Whether anything is polled.
fn polls(site: &Site) -> bool {
    site.lines.iter().any(|line| !line.devices.is_empty())
}

#[cfg(test)]
mod tests;
