//! One task for each line: whose turn it is, transact, decode, hand the batch to the core.
//!
//! In: the line's devices, a master, which devices are to be polled denser. Out: one [`Polled`] for each poll, good or failed.
//! Invariant: one transaction at a time on the line; a dead device never takes more than its share ([`Turns`]); all time is monotonic, so
//! that a step of the wall clock neither stalls nor hurries a poll.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::bus::Exchange;
use crate::bus::master::Master;
use crate::bus::port::dial_in::door::Doors;
use crate::bus::tap::Listeners;
use crate::clock::Clock;
use crate::decode::RawBatch;
use crate::gateway::course::Step;
use crate::gateway::firmware::Known;
use crate::gateway::polling::{Patience, Polling};
use crate::journal::Audit;
use crate::loss::{Loss, Losses};
use crate::point::{DeviceId, LineId};
use crate::poll::schedule::Demand;
use crate::poll::stats::{Figures, Stats};
use crate::poll::turn::{Outcome, Price, Turn, Turns};
use crate::reading::Reason;
use crate::site::{LineSpec, Site};

#[path = "follow.rs"]
pub(crate) mod follow;

/// What one poll came to.
#[derive(Debug)]
pub struct Polled {
    /// The raw values, or why there are none.
    pub batch: RawBatch,
    /// The first failure of the poll.
    pub failure: Option<Reason>,
    /// The line.
    pub line: LineId,
    /// Why the line is down.
    pub trouble: Option<String>,
    /// What a person should know of the device.
    pub advice: Option<String>,
    /// Its firmware; `None` where that makes no difference.
    pub firmware: Option<Known>,
    /// Reads that were refused first and asked again.
    pub woken: u64,
    /// What was written to it, and what was learnt of its firmware.
    pub audits: Vec<Audit>,
    /// What was discarded since the last report.
    pub losses: Vec<(Loss, String, u64)>,
    /// Figures of the line and of the device.
    pub figures: (Figures, Figures),
    /// The documents that it was polled by; numbers are theirs.
    pub site: Arc<Site>,
}

/// What line tasks are told, all of it at once; they look between two polls.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The documents that hold.
    pub site: Arc<Site>,
    /// The devices, of any line, that are to be polled denser now.
    pub dense: BTreeSet<DeviceId>,
}

impl Orders {
    /// The orders for the documents of `site`, with nothing to be polled denser.
    pub fn of(site: &Site) -> Self {
        Self { site: Arc::new(site.clone()), dense: BTreeSet::new() }
    }
}

/// Where a line task reports to, and what it is told.
#[derive(Clone)]
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// To the core.
    pub polled: mpsc::Sender<Polled>,
    /// What holds now.
    pub orders: watch::Receiver<Orders>,
}

/// One line and all that hangs on it.
pub struct LineTask {
    id: LineId,
    site: Arc<Site>,
    pub(crate) name: String,
    master: Master,
    devices: Vec<Polling>,
    turns: Turns,
    ports: Ports,
    losses: Losses,
    stats: Stats,
    /// Whether anybody answered since the line was last down.
    was_up: bool,
    /// The line's trouble as it was last reported.
    told: Option<String>,
    denser: BTreeSet<DeviceId>,
    /// Polls that go on later.
    paused: Vec<(Instant, Asked)>,
    /// Another task is to follow after the present poll.
    pub(crate) stop: Option<watch::Receiver<bool>>,
}

impl LineTask {
    /// The task of one line of `site`; nothing is opened yet.
    pub fn new(spec: &LineSpec, site: &Arc<Site>, doors: &Doors, ports: Ports) -> Self {
        let master = Master::over(spec.settings.clone(), doors.port(&spec.settings));
        Self::over(master, spec, site, ports)
    }

    /// The same over a given master.
    pub fn over(master: Master, spec: &LineSpec, site: &Arc<Site>, ports: Ports) -> Self {
        let settings = &spec.settings;
        let specs = spec.devices.iter().filter_map(|index| site.devices.get(*index));
        let name = |id| site.catalog.device(id).map(|named| named.name.clone()).unwrap_or_default();
        let devices: Vec<Polling> =
            specs.map(|device| Polling::new(device, name(device.id), settings)).collect();
        let turns = turns(&devices, spec.id, ports.clock.instant());
        Self {
            id: spec.id,
            site: Arc::clone(site),
            name: settings.name.clone(),
            master,
            stats: Stats::new(devices.len()),
            devices,
            turns,
            ports,
            losses: Losses::default(),
            was_up: false,
            told: None,
            denser: BTreeSet::new(),
            paused: Vec::new(),
            stop: None,
        }
    }

    /// Lets others see what passes on the line.
    pub(crate) fn tell(&mut self, listeners: &Listeners) {
        self.master.tell(listeners);
    }

    /// Goes on with the counts of the task that the line had before.
    pub(crate) fn inherit(&mut self, before: Left) {
        let names = self.devices.iter().map(|device| device.name.as_str());
        (self.stats, (self.master.tap.bytes_sent, self.master.tap.bytes_received)) = before.taken(names);
    }

    /// What its successor goes on with.
    pub(crate) fn leave(self) -> Left {
        let bytes = (self.master.tap.bytes_sent, self.master.tap.bytes_received);
        let devices = self.devices.into_iter().map(|device| device.name).collect();
        Left { stats: self.stats, devices, bytes }
    }

    /// Polls until the core is gone, or the line is to be polled in another way.
    pub async fn run(&mut self) {
        loop {
            let now = self.ports.clock.instant();
            if !self.obey(now) {
                return;
            }
            if let Some(place) = self.paused.iter().position(|(at, _)| *at <= now) {
                let (_, asked) = self.paused.swap_remove(place);
                if self.poll(Asked { missed: 0, ..asked }).await.is_err() {
                    return;
                }
                continue;
            }
            let resumed = self.paused.iter().map(|(at, _)| *at).min();
            let asked = match self.turns.next(now) {
                Turn::Wait(until) => {
                    self.wait(resumed.map_or(until, |at| at.min(until))).await;
                    continue;
                }
                Turn::Poll { device, missed, .. } if self.is_paused(device) => {
                    self.missed(device, missed + 1);
                    continue;
                }
                Turn::Probe { device, missed, .. } if self.is_paused(device) => {
                    self.missed(device, missed);
                    let soon = now + LOOK_AGAIN;
                    self.wait(resumed.map_or(soon, |at| at.min(soon))).await;
                    continue;
                }
                Turn::Poll { device, missed, first } => {
                    let patience = match self.turns.is_well(device) {
                        true => Patience::Well,
                        false if first => Patience::Until(now),
                        false => Patience::Doubtful,
                    };
                    Asked { device, missed, patience, due: true, at: None }
                }
                Turn::Probe { device, missed, due, at } => {
                    let patience = match at {
                        Price::Free | Price::Charged => Patience::Probe,
                        Price::FreeUntil(end) => Patience::Until(end),
                    };
                    Asked { device, missed, patience, due, at: Some(at) }
                }
            };
            if self.poll(asked).await.is_err() {
                return;
            }
        }
    }

    fn is_paused(&self, device: usize) -> bool {
        self.paused.iter().any(|(_, asked)| asked.device == device)
    }

    fn missed(&mut self, device: usize, count: u64) {
        if let Some(device) = self.devices.get(device) {
            self.losses.record(Loss::MissedPoll, &device.name, count);
        }
    }

    /// Waits until then, or until other devices are to be polled denser.
    async fn wait(&mut self, until: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = commanded(&mut self.ports.orders) => {}
            () = stopped(self.stop.as_mut()) => {}
        }
    }

    /// What is wrong with the line: it is down, or it is open and none of its devices answers. Of one device alone nobody can say which of the two is it.
    fn trouble(&self) -> Option<String> {
        let dead = (0..self.devices.len()).filter(|&device| self.turns.is_dead(device)).count();
        let silent =
            (1 < dead && dead == self.devices.len()).then(|| format!("none of its {dead} devices answers"));
        self.master.trouble().map(str::to_owned).or(silent)
    }

    async fn poll(&mut self, asked: Asked) -> Result<(), mpsc::error::SendError<Polled>> {
        let Some(device) = self.devices.get_mut(asked.device) else { return Ok(()) };
        self.losses.record(Loss::MissedPoll, &device.name, asked.missed);
        let clock = self.ports.clock.as_ref();
        let mut record = |exchange: &Exchange| self.stats.record(asked.device, exchange);
        let step = device.poll(&mut self.master, asked.patience, clock, &mut self.losses, &mut record).await;
        let said = match step {
            Step::Done(said) => said,
            Step::Later(at, answered) => {
                if answered {
                    self.was_up = true;
                    self.turns.ended(asked.device, Outcome::Answered, asked.at, clock.instant());
                }
                self.paused.push((at, asked));
                return Ok(());
            }
        };
        let outcome = match &said.failure {
            _ if said.answered => Outcome::Answered,
            // A device may be what brings its line down, but not one that was down before.
            Some(Reason::LineDown) if !self.was_up => Outcome::NoLine,
            // Nothing was asked: no trigger is allowed, or no firmware known.
            Some(Reason::NotPolled) => Outcome::Answered,
            _ => Outcome::Failed,
        };
        self.was_up = match outcome {
            Outcome::Answered => said.answered || self.was_up,
            Outcome::NoLine => false,
            Outcome::Failed => self.was_up && said.failure != Some(Reason::LineDown),
        };
        let was_dead = self.turns.is_dead(asked.device);
        self.turns.ended(asked.device, outcome, asked.at, clock.instant());
        self.turns.costs(asked.device, device.costs());
        let (advice, firmware) = (device.advice(), device.identity.known());
        if was_dead != self.turns.is_dead(asked.device) {
            tracing::info!(line = %self.name, device = %device.name, dead = !was_dead, "a device's health changed");
        }
        let trouble = self.trouble();
        // Probes between two periods of a dead device tell nothing new; the journal is spared.
        let news = said.answered || asked.due || trouble != self.told || !said.audits.is_empty();
        if !news {
            return Ok(());
        }
        self.told.clone_from(&trouble);
        let (now, tap) = (clock.instant(), &self.master.tap);
        let (bytes_sent, bytes_received) = (tap.bytes_sent, tap.bytes_received);
        let line = Figures { bytes_sent, bytes_received, ..self.stats.line(now) };
        let figures = (line, self.stats.device(asked.device, now));
        let polled = Polled {
            batch: said.batch,
            failure: said.failure,
            line: self.id,
            trouble,
            advice,
            firmware,
            woken: said.woken,
            audits: said.audits,
            losses: self.losses.drain(),
            figures,
            site: Arc::clone(&self.site),
        };
        self.ports.polled.send(polled).await
    }
}

/// What a line's task leaves to its successor.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) stats: Stats,
    pub(crate) devices: Vec<String>,
    /// Sent and received.
    pub(crate) bytes: (u64, u64),
}

impl Left {
    /// The counts for a line of these devices, and its bytes.
    pub(crate) fn taken<'a>(&self, devices: impl Iterator<Item = &'a str>) -> (Stats, (u64, u64)) {
        let places: Vec<_> =
            devices.map(|name| self.devices.iter().position(|known| known == name)).collect();
        (self.stats.rearranged(&places), self.bytes)
    }
}

fn turns(devices: &[Polling], line: LineId, now: Instant) -> Turns {
    let demand = |device: &Polling| Demand { every: device.every, cost: device.costs().answered };
    let demands: Vec<Demand> = devices.iter().map(demand).collect();
    let mut turns = Turns::new(&demands, u64::from(line.0), now);
    for (index, device) in devices.iter().enumerate() {
        turns.costs(index, device.costs());
    }
    turns
}

/// A dead device that waits for its values is not probed beside that; the line looks again so much later.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A turn that polls.
#[derive(Clone, Copy)]
struct Asked {
    device: usize,
    missed: u64,
    patience: Patience,
    /// Whether a period of its own has begun.
    due: bool,
    /// The price of a probe.
    at: Option<Price>,
}

/// Waits for new orders; the news stays to be taken.
pub(crate) async fn commanded(orders: &mut watch::Receiver<Orders>) {
    if orders.changed().await.is_err() {
        // Nobody commands any more.
        std::future::pending::<()>().await;
    }
    orders.mark_changed();
}

/// Waits until another task is to follow.
pub(crate) async fn stopped(stop: Option<&mut watch::Receiver<bool>>) {
    match stop {
        Some(stop) => drop(stop.wait_for(|stop| *stop).await),
        None => std::future::pending().await,
    }
}
