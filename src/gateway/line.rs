//! One task for each line: plan, transact, decode, hand the batch to the core.
//!
//! In: the line's devices with their plans. Out: one [`Polled`] for each poll, good or failed.
//! Invariant: one transaction at a time on the line; a device that fails is held back and never keeps the others waiting
//! for more than one timeout of each of its probes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::bus::master::Master;
use crate::bus::port::dial_in::door::{Door, Doors};
use crate::bus::{Failure, Slave};
use crate::clock::{Clock, Timestamp};
use crate::decode::{RawBatch, decode};
use crate::gateway::board::Board;
use crate::loss::{Loss, Losses};
use crate::point::{DeviceId, LineId};
use crate::poll::{Health, Plan, Schedule};
use crate::profile::Profile;
use crate::reading::Reason;
use crate::site::{LineSpec, Site};

/// What one poll came to.
#[derive(Debug)]
pub(crate) struct Polled {
    /// The raw values, or why there are none.
    pub(crate) batch: RawBatch,
    /// The first failure of the poll.
    pub(crate) failure: Option<Reason>,
    /// The line.
    pub(crate) line: LineId,
    /// Why the line is down.
    pub(crate) trouble: Option<String>,
    /// What was discarded since the last report.
    pub(crate) losses: Vec<(Loss, String, u64)>,
}

struct Polling {
    id: DeviceId,
    name: String,
    slave: Slave,
    profile: Profile,
    plan: Plan,
    timeout: Duration,
    health: Health,
}

/// One line and all that hangs on it.
pub(crate) struct LineTask {
    id: LineId,
    name: String,
    master: Master,
    devices: Vec<Polling>,
    schedule: Schedule,
    clock: Arc<dyn Clock>,
    polled: mpsc::Sender<Polled>,
    losses: Losses,
    polls: u64,
}

impl LineTask {
    pub(crate) fn new(
        spec: &LineSpec,
        site: &Site,
        doors: &Doors,
        clock: Arc<dyn Clock>,
        polled: mpsc::Sender<Polled>,
    ) -> Self {
        let specs = || spec.devices.iter().filter_map(|index| site.devices.get(*index));
        let devices = specs().map(|device| {
            let wanted: Vec<usize> = (0..device.profile.fields.len()).collect();
            Polling {
                id: device.id,
                name: site.catalog.device(device.id).map(|named| named.name.clone()).unwrap_or_default(),
                slave: device.slave,
                plan: Plan::new(&device.profile.fields, &wanted, &device.profile.limits),
                profile: device.profile.clone(),
                timeout: device.timeout,
                health: Health::default(),
            }
        });
        let periods: Vec<Duration> = specs().map(|device| device.every).collect();
        Self {
            id: spec.id,
            name: spec.settings.name.clone(),
            master: Master::over(spec.settings.clone(), doors.port(&spec.settings)),
            devices: devices.collect(),
            schedule: Schedule::new(&periods, clock.now()),
            clock,
            polled,
            losses: Losses::default(),
            polls: 0,
        }
    }

    /// Polls until the core is gone.
    async fn run(&mut self) {
        if self.devices.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let now = self.clock.now();
            match self.schedule.next(now) {
                Err(at) => tokio::time::sleep(at.since(now).max(Duration::from_millis(1))).await,
                Ok((index, missed)) => {
                    let Some(device) = self.devices.get(index) else { continue };
                    self.losses.record(Loss::MissedPoll, &device.name, missed);
                    if !device.health.ready(now) {
                        self.losses.record(Loss::MissedPoll, &device.name, 1);
                    } else if self.poll(index).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn poll(&mut self, index: usize) -> Result<(), mpsc::error::SendError<Polled>> {
        let Some(device) = self.devices.get_mut(index) else { return Ok(()) };
        let (batch, failure) =
            poll_device(device, &mut self.master, self.clock.as_ref(), &mut self.losses).await;
        self.polls = self.polls.wrapping_add(1);
        let answered = !matches!(failure, Some(Reason::Timeout | Reason::LineDown | Reason::BadFrame));
        device.health.step(answered, batch.end, self.polls ^ (u64::from(device.id.0) << 32));
        let trouble = self.master.trouble().map(str::to_owned);
        let polled = Polled { batch, failure, line: self.id, trouble, losses: self.losses.drain() };
        self.polled.send(polled).await
    }
}

/// Reads a device's plan. After a silence the rest of the plan is not tried: one dead device costs one timeout.
async fn poll_device(
    device: &Polling,
    master: &mut Master,
    clock: &dyn Clock,
    losses: &mut Losses,
) -> (RawBatch, Option<Reason>) {
    let start = clock.now();
    let mut raws = vec![(start, Err(Reason::NotPolled)); device.profile.fields.len()];
    let mut failure: Option<Reason> = None;
    for planned in &device.plan.0 {
        let silent = failure.clone().filter(|reason| matches!(reason, Reason::Timeout | Reason::LineDown));
        let (at, outcome) = match silent {
            Some(reason) => (clock.now(), Err(reason)),
            None => {
                let exchange = master.read(device.slave, planned.read, device.timeout, losses).await;
                (clock.at(exchange.ended), exchange.outcome.map_err(reason_of))
            }
        };
        if let Err(reason) = &outcome {
            failure.get_or_insert_with(|| reason.clone());
        }
        for (field, offset) in &planned.fields {
            place(&mut raws, device, *field, *offset, at, &outcome);
        }
    }
    (RawBatch { device: device.id, start, end: clock.now(), raws }, failure)
}

/// Puts what one answer says of one field into its place.
fn place(
    raws: &mut [(Timestamp, Result<crate::decode::Raw, Reason>)],
    device: &Polling,
    index: usize,
    offset: usize,
    at: Timestamp,
    outcome: &Result<Vec<u16>, Reason>,
) {
    let (Some(field), Some(slot)) = (device.profile.fields.get(index), raws.get_mut(index)) else { return };
    let raw = match outcome {
        Ok(cells) => match cells.get(offset..offset + usize::from(field.count)) {
            Some(cells) => Ok(decode(field, cells)),
            None => Err(Reason::BadFrame),
        },
        Err(reason) => Err(reason.clone()),
    };
    *slot = (at, raw);
}

fn reason_of(failure: Failure) -> Reason {
    match failure {
        Failure::Timeout => Reason::Timeout,
        Failure::BadFrame => Reason::BadFrame,
        Failure::Exception(code) => Reason::Exception(code),
        Failure::LineDown => Reason::LineDown,
    }
}

/// Runs the line until `stop`; a panic ends the poll it happened in, is logged, and the line goes on.
pub(crate) async fn supervise(mut task: LineTask, mut stop: watch::Receiver<bool>) {
    use futures_util::FutureExt;
    loop {
        let body = std::panic::AssertUnwindSafe(task.run()).catch_unwind();
        let ended = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            ended = body => ended,
        };
        match ended {
            Ok(()) => return,
            Err(_) => {
                tracing::error!(line = %task.name, "polling this line failed by a fault of ours; going on in 1 s")
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Serves a port where DTUs dial in until `stop`; a panic ends all its connections, is logged, and the port is opened again.
pub(crate) async fn attend(door: Arc<Door>, board: Arc<Board>, mut stop: watch::Receiver<bool>) {
    use futures_util::FutureExt;
    loop {
        let served = door.run(|losses| board.losses(losses));
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = std::panic::AssertUnwindSafe(served).catch_unwind() => {}
        }
        tracing::error!(listen = %door.listen, "the port for dial-in failed by a fault of ours; going on in 1 s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
