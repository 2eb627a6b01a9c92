//! Supervision: which lines, doors and sinks run, and what a reload starts, ends and leaves alone.
//!
//! In: the documents that hold, wishes to read them again. Out: tasks, the difference between two versions or why there is none.
//! Invariant: faulty documents change nothing; what is as before is not touched; a successor begins when its predecessor has let go.
//! Source: `docs/decisions/0008-live-reload.md`.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::alarm::recall::Primed;
use crate::alarm::tell::OverlayView;
use crate::bus::LineSettings;
use crate::bus::port::dial_in::door::{Door, Doors};
use crate::clock::{Clock, Timestamp};
use crate::forward;
use crate::gateway::board::{Board, Refused, Reload, Reloaded};
use crate::gateway::line::{self, Left, LineTask, Orders, Polled};
use crate::gateway::task::{self, Task};
use crate::gateway::text_line::TextTask;
use crate::gateway::{Loader, refill, spawn};
use crate::journal::{Progress, Seq};
use crate::reading::Sample;
use crate::site::diff::ends::{self, Open, OpenAlarm, Voice};
use crate::site::diff::{self, Diff};
use crate::site::{LineSpec, Site};

/// How long sinks may take to finish after the stop signal.
const SINKS_STOP: Duration = Duration::from_millis(900);
/// How long a line may take to end its poll before its successor takes the port from it.
const LINE_ENDS: Duration = Duration::from_secs(90);
/// How long the journal may take to make a reload durable before it is answered without.
const DURABLE: Duration = Duration::from_secs(8);

/// What the supervisor asks of the keeper.
pub(crate) enum Ask {
    /// Keep what is read from now on, until the next reload.
    Listen {
        /// Answered when all that was read before is on disk, or with why it is not.
        durable: oneshot::Sender<Option<String>>,
    },
    /// These documents hold from now on.
    Reload {
        site: Arc<Site>,
        by: String,
        changes: Vec<String>,
        /// Changed rules with what the journal had of their points when [`Ask::Listen`] was answered.
        before: Option<Box<Primed>>,
        /// Answered when core, board and orders have turned.
        turned: oneshot::Sender<()>,
        /// Answered when the first commit under them is durable, or at once when the disk refuses.
        durable: oneshot::Sender<Option<String>>,
    },
    /// Documents were refused.
    Unapplied { by: String, why: String },
    /// What a sink has confirmed so far.
    Progress(String, oneshot::Sender<Progress>),
}

/// What tasks are connected to.
pub(crate) struct Ports {
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) polled: mpsc::Sender<Polled>,
    pub(crate) confirmed: mpsc::Sender<(String, Progress)>,
    pub(crate) committed: watch::Receiver<Seq>,
    pub(crate) orders: watch::Receiver<Orders>,
    pub(crate) asks: mpsc::Sender<Ask>,
}

/// A task: its stop, and what it leaves when it has ended.
struct Running<T> {
    stop: watch::Sender<bool>,
    abort: AbortHandle,
    left: oneshot::Receiver<T>,
}

impl<T> Running<T> {
    /// What it left, once it has ended; nothing when it had to be ended.
    async fn ended(self, within: Duration) -> Option<T> {
        let Self { abort, mut left, .. } = self;
        match tokio::time::timeout(within, &mut left).await {
            Ok(left) => left.ok(),
            Err(_) => {
                abort.abort();
                left.await.ok()
            }
        }
    }
}

/// See the module.
pub(crate) struct Supervisor {
    site: Arc<Site>,
    loader: Option<Loader>,
    ports: Ports,
    doors: Doors,
    tasks: JoinSet<()>,
    sink_tasks: JoinSet<()>,
    lines: BTreeMap<String, Running<Left>>,
    open: BTreeMap<SocketAddr, Running<()>>,
    sinks: BTreeMap<String, Running<()>>,
    /// Since when points mean what they mean, of those that a reload brought or changed.
    since: BTreeMap<String, Timestamp>,
}

impl Supervisor {
    /// Nothing runs yet.
    pub(crate) fn new(site: Arc<Site>, loader: Option<Loader>, ports: Ports) -> Self {
        Self {
            doors: Doors::new(site.lines.iter().map(|line| &line.settings)),
            site,
            loader,
            ports,
            tasks: JoinSet::new(),
            sink_tasks: JoinSet::new(),
            lines: BTreeMap::new(),
            open: BTreeMap::new(),
            sinks: BTreeMap::new(),
            since: BTreeMap::new(),
        }
    }

    /// Starts everything.
    pub(crate) fn start(&mut self, progress: &BTreeMap<String, Progress>) {
        let site = Arc::clone(&self.site);
        let doors: Vec<_> = self.doors.all().collect();
        for door in doors {
            self.open(door, None);
        }
        for line in &site.lines {
            self.line(line, None);
        }
        for settings in &site.sinks {
            let progress = progress.get(&settings.name).cloned().unwrap_or_default();
            self.sink(settings, async move { progress });
        }
    }

    /// Ends everything; sinks may finish what they are at.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
        for sink in self.sinks.values() {
            let _ = sink.stop.send(true);
        }
        let sinks = &mut self.sink_tasks;
        let _ = tokio::time::timeout(SINKS_STOP, async { while sinks.join_next().await.is_some() {} }).await;
        sinks.shutdown().await;
    }

    /// Reads the documents again, and goes on by them when they are whole.
    pub(crate) async fn reload(&mut self, reload: Reload) {
        let Reload { by, answer } = reload;
        let outcome = self.take(&by).await;
        match &outcome {
            Ok(taken) => {
                tracing::info!(by, version = %taken.version, changes = %taken.diff.sums(), "reloaded")
            }
            Err(refused) => {
                tracing::error!(by, why = %refused.why, "the documents were not reloaded; nothing was changed");
                let ask = Ask::Unapplied { by: by.clone(), why: refused.why.clone() };
                let _ = self.ports.asks.send(ask).await;
            }
        }
        let _ = answer.send(outcome);
        while self.tasks.try_join_next().is_some() {}
        while self.sink_tasks.try_join_next().is_some() {}
    }

    async fn take(&mut self, by: &str) -> Result<Reloaded, Refused> {
        let plain = |why: &str| Refused { why: why.to_owned(), report: String::new() };
        let Some(loader) = self.loader.clone() else {
            return Err(plain("this gateway does not read its documents again; start it anew"));
        };
        let loaded = tokio::task::spawn_blocking(move || loader()).await;
        let (site, warnings) =
            loaded.map_err(|_| plain("reading the documents failed by a fault of ours"))??;
        if let Some(emptied) = diff::emptied(&self.site, &site) {
            return Err(Refused::new(&emptied, &site.documents));
        }
        let mut found = diff::diff(&self.site, &site);
        self.tell_left(&mut found);
        self.tell_ended(&mut found, &site);
        if !found.restart.is_empty() {
            return Err(plain(&format!("only a restart can take this: {}", found.restart.join(", "))));
        }
        let site = Arc::new(site);
        let before = self.before(&site).await;
        let changes = found.items.iter().map(ToString::to_string).collect();
        let (turned_to, turned) = oneshot::channel();
        let (durable_to, durable) = oneshot::channel();
        let (by, site_to) = (by.to_owned(), Arc::clone(&site));
        let ask = Ask::Reload { site: site_to, by, changes, before, turned: turned_to, durable: durable_to };
        // A new task must never find orders that are older than its own documents.
        if self.ports.asks.send(ask).await.is_err() || turned.await.is_err() {
            return Err(plain("the gateway is stopping"));
        }
        let old = std::mem::replace(&mut self.site, Arc::clone(&site));
        refill::note(&mut self.since, (&old, &site), self.ports.clock.now());
        self.turn(&old, &site, &found);
        let _ = tokio::time::timeout(DURABLE, durable).await;
        Ok(Reloaded { version: site.catalog.version.clone(), diff: found, warnings })
    }

    /// What the journal has for the windows of rules that ask something else in `new`.
    async fn before(&self, new: &Arc<Site>) -> Option<Box<Primed>> {
        let rules = refill::changed(&self.site, new);
        if rules.is_empty() {
            return None;
        }
        let (durable_to, durable) = oneshot::channel();
        self.ports.asks.send(Ask::Listen { durable: durable_to }).await.ok()?;
        let None = tokio::time::timeout(DURABLE, durable).await.ok()?.ok()? else { return None };
        let (new, now) = (Arc::clone(new), self.ports.clock.now());
        let (folder, since) = (self.site.journal.path.clone(), self.since.clone());
        let primed = tokio::task::spawn_blocking(move || refill::primed(&folder, &new, (rules, &since), now));
        let Ok(primed) = tokio::time::timeout(DURABLE, primed).await else {
            tracing::warn!("the journal took too long; windows of changed rules begin anew");
            return None;
        };
        primed.ok()?.map(Box::new)
    }

    /// Says of each sink that goes how much it does not have yet.
    fn tell_left(&self, found: &mut Diff) {
        let gone = |item: &&mut diff::Item| item.kind == "sink" && item.sign == diff::Sign::Removed;
        for item in found.items.iter_mut().filter(gone) {
            let left = self.ports.board.sink(&item.name).map_or(0, |status| status.backlog);
            if left > 0 {
                let commits = if left == 1 { "commit" } else { "commits" };
                item.what.push(format!(
                    "it does not have {left} {commits}; they stay as long as there is room, and it gets them when it comes back under this name"
                ));
            }
        }
    }

    /// Says which alarms end, and what persons laid over rules.
    fn tell_ended(&self, found: &mut Diff, new: &Site) {
        let picture = self.ports.board.picture.read().unwrap_or_else(PoisonError::into_inner);
        let alarms: BTreeMap<&str, _> =
            picture.alarms.values().map(|alarm| (alarm.rule.as_str(), alarm)).collect();
        let open = |rule: &str| {
            let alarm = alarms.get(rule);
            let overlay = picture.overlays.get(rule).cloned().unwrap_or_default();
            Open {
                alarm: alarm.map(|alarm| OpenAlarm {
                    severity: alarm.severity,
                    unseen: alarm.state.is_unseen(),
                    active: alarm.state.is_active(),
                    now: self.site.catalog.find(&alarm.point).and_then(|point| {
                        match picture.latest.get(point.id.0 as usize)?.as_ref()?.sample {
                            Sample::Good(value) => Some(value),
                            _ => None,
                        }
                    }),
                    judged: picture.judged.get(rule).filter(|one| one.whole).map(|one| one.value),
                }),
                overlay: OverlayView::new(&overlay, false),
            }
        };
        ends::tell(found, (&self.site, new), open, Voice::Taken);
    }

    /// Ends and starts what is other in `new`. Tasks of lines see for themselves what they are to do.
    fn turn(&mut self, old: &Site, new: &Arc<Site>, found: &Diff) {
        for item in &found.items {
            tracing::info!(change = %item, "reload");
        }
        self.turn_doors(old, new);
        for line in &old.lines {
            let name = &line.settings.name;
            if !line::follow::goes_on(old, new, name)
                && let Some(running) = self.lines.get(name)
            {
                let _ = running.stop.send(true);
            }
        }
        for line in &new.lines {
            let name = &line.settings.name;
            if !line::follow::goes_on(old, new, name) {
                let before = self.lines.remove(name);
                self.line(line, before);
            }
        }
        for sink in &old.sinks {
            if !new.sinks.contains(sink)
                && let Some(running) = self.sinks.get(&sink.name)
            {
                let _ = running.stop.send(true);
            }
        }
        for sink in &new.sinks {
            if old.sinks.contains(sink) {
                continue;
            }
            let before = self.sinks.remove(&sink.name);
            let (asks, name) = (self.ports.asks.clone(), sink.name.clone());
            self.sink(sink, async move {
                if let Some(before) = before {
                    before.ended(SINKS_STOP).await;
                }
                let (answer, progress) = oneshot::channel();
                let _ = asks.send(Ask::Progress(name, answer)).await;
                progress.await.unwrap_or_default()
            });
        }
    }

    /// Opens the doors anew where other DTUs may dial in; the lines behind them begin anew, too.
    fn turn_doors(&mut self, old: &Site, new: &Site) {
        let at = |site: &Site, listen: SocketAddr| -> Vec<LineSettings> {
            let lines = site.lines.iter().map(|line| line.settings.clone());
            let mut lines: Vec<_> = lines.filter(|line| diff::listens_at(line) == Some(listen)).collect();
            lines.sort_by(|a, b| a.name.cmp(&b.name));
            lines
        };
        let fresh = Doors::new(new.lines.iter().map(|line| &line.settings));
        let mut doors = BTreeMap::new();
        for door in self.doors.all() {
            if !at(old, door.listen).is_empty() && at(old, door.listen) == at(new, door.listen) {
                doors.insert(door.listen, door);
            } else if let Some(running) = self.open.get(&door.listen) {
                running.abort.abort();
            }
        }
        let changed: Vec<_> = fresh.all().filter(|door| !doors.contains_key(&door.listen)).collect();
        for door in changed {
            doors.insert(door.listen, Arc::clone(&door));
            let before = self.open.remove(&door.listen);
            self.open(door, before);
        }
        self.open.retain(|listen, _| doors.contains_key(listen));
        self.doors = Doors::of(doors.into_values());
    }

    fn open(&mut self, door: Arc<Door>, before: Option<Running<()>>) {
        let (listen, board) = (door.listen, Arc::clone(&self.ports.board));
        let running = begin(&mut self.tasks, |stop| async move {
            if let Some(before) = before {
                before.ended(Duration::ZERO).await;
            }
            task::attend(door, board, stop).await;
        });
        self.open.insert(listen, running);
    }

    fn line(&mut self, spec: &LineSpec, before: Option<Running<Left>>) {
        let (site, doors, ports) = (Arc::clone(&self.site), self.doors.clone(), self.line_ports());
        let tap = self.ports.board.shown().taps.get(spec.id.0 as usize).map(|tap| tap.listeners.clone());
        let name = spec.settings.name.clone();
        let spec = spec.clone();
        let running = begin(&mut self.tasks, |stop| async move {
            let left = match before {
                Some(before) => before.ended(LINE_ENDS).await,
                None => None,
            };
            let mut task = match TextTask::new(&spec, &site, ports.clone()) {
                Some(task) => Task::Text(Box::new(task)),
                None => Task::Modbus(Box::new(LineTask::new(&spec, &site, &doors, ports))),
            };
            tap.iter().for_each(|tap| task.tell(tap));
            left.into_iter().for_each(|left| task.inherit(left));
            task::supervise(task, stop).await
        });
        self.lines.insert(name, running);
    }

    fn line_ports(&self) -> line::Ports {
        let mut orders = self.ports.orders.clone();
        // What was near its threshold before is told to the new task, too.
        orders.mark_changed();
        line::Ports { clock: Arc::clone(&self.ports.clock), polled: self.ports.polled.clone(), orders }
    }

    /// Starts a sink once it is known what it has confirmed.
    fn sink(
        &mut self,
        settings: &forward::Settings,
        progress: impl Future<Output = Progress> + Send + 'static,
    ) {
        let shown = self.ports.board.shown();
        let status = shown.sinks.iter().find(|(name, _)| *name == settings.name);
        let status = status.map(|(_, status)| Arc::clone(status)).unwrap_or_default();
        let (site, journal) = (self.site.catalog.site.clone(), self.site.journal.path.clone());
        let (committed, confirmed) = (self.ports.committed.clone(), self.ports.confirmed.clone());
        let clock = Arc::clone(&self.ports.clock);
        let unjournaled = self.ports.board.unjournaled.subscribe();
        let settings = settings.clone();
        let name = settings.name.clone();
        let running = begin(&mut self.sink_tasks, |stop| async move {
            let progress = progress.await;
            let ports = forward::Ports {
                site,
                journal,
                progress,
                committed,
                confirmed,
                status,
                clock,
                unjournaled,
                stop,
            };
            forward::run(settings, ports).await;
        });
        self.sinks.insert(name, running);
    }
}

/// Spawns a task with a stop of its own, which leaves what it comes to.
fn begin<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    set: &mut JoinSet<()>,
    task: impl FnOnce(watch::Receiver<bool>) -> F,
) -> Running<T> {
    let (stop, stopped) = watch::channel(false);
    let (left_to, left) = oneshot::channel();
    let task = task(stopped);
    let abort = spawn(set, async move {
        // Nobody may wait for it.
        let _ = left_to.send(task.await);
    });
    Running { stop, abort, left }
}
