//! Reading from a device that may be anything.
//!
//! In: reads and profiles. Out: cells, polls, identities.
//! Invariant: only reads go out, and never one that touches a register of which any known profile says that reading changes the device.

use std::time::Duration;

use crate::bus::master::Master;
use crate::bus::says::{object_name, printable};
use crate::bus::{Failure, LineSettings, Read, Slave};
use crate::clock::{Clock, SystemClock};
use crate::decode::{RawBatch, decode};
use crate::loss::Losses;
use crate::point::DeviceId;
use crate::poll::cost::Cost;
use crate::poll::plan::{Cuts, Plan};
use crate::profile::{Limits, Profile};
use crate::reading::Reason;

/// What a device answered to each read so far: a second profile that wants the same doesn't ask again.
pub(crate) type Known = Vec<(Read, Result<Vec<u16>, Failure>)>;

/// A master with a person behind it.
pub(crate) struct Probe {
    pub(crate) master: Master,
    pub(crate) timeout: Duration,
    losses: Losses,
    clock: SystemClock,
    cost: Cost,
    /// Reads that change some device.
    destructive: Vec<Read>,
}

impl Probe {
    pub(crate) fn new<'p>(
        line: LineSettings,
        timeout: Duration,
        profiles: impl IntoIterator<Item = &'p Profile>,
    ) -> Self {
        let fields =
            profiles.into_iter().flat_map(|profile| &profile.fields).filter(|field| field.destructive);
        let read = |field: &crate::profile::Field| Read {
            table: field.table,
            address: field.address,
            count: field.count,
        };
        Self {
            cost: Cost::new(&line, line.quiet),
            master: Master::new(line),
            timeout,
            losses: Losses::default(),
            clock: SystemClock::new(),
            destructive: fields.map(read).collect(),
        }
    }

    /// One read.
    pub(crate) async fn read(&mut self, slave: Slave, read: Read) -> Result<Vec<u16>, Failure> {
        self.master.read(slave, read, self.timeout, &mut self.losses).await.outcome
    }

    /// What the device says of itself, by name of the object; nothing when it does not know how.
    pub(crate) async fn identify(&mut self, slave: Slave) -> Vec<(String, String)> {
        let said = self.master.identify(slave, self.timeout, &mut self.losses).await.unwrap_or_default();
        said.iter().map(|(object, text)| (object_name(*object), printable(text))).collect()
    }

    /// What was discarded so far, `bad_checksum 3`.
    pub(crate) fn discarded(&mut self) -> Vec<String> {
        self.losses.drain().into_iter().map(|(loss, _, count)| format!("{} {count}", loss.name())).collect()
    }

    /// Whether reading this may change a device that we know.
    pub(crate) fn may_change(&self, read: Read) -> bool {
        let end = |read: &Read| u32::from(read.address) + u32::from(read.count);
        self.destructive.iter().any(|other| {
            other.table == read.table && other.address < end_of(read) && u32::from(read.address) < end(other)
        })
    }

    /// Reads all that `profile` wants, except for registers that may change a device. After a silence the rest is not tried.
    pub(crate) async fn poll(&mut self, slave: Slave, profile: &Profile, known: &mut Known) -> RawBatch {
        let start = self.clock.now();
        let mut raws = vec![(start, Err(Reason::NotPolled)); profile.fields.len()];
        let mut silent = false;
        for planned in plan(profile, &self.cost).0 {
            if silent || self.may_change(planned.read) {
                continue;
            }
            let before =
                known.iter().find(|(read, _)| *read == planned.read).map(|(_, outcome)| outcome.clone());
            let outcome = match before {
                Some(outcome) => outcome,
                None => {
                    let mut outcome = self.read(slave, planned.read).await;
                    if outcome == Err(Failure::Timeout) {
                        // Some adapters and devices are deaf for a moment after a function that they don't know.
                        outcome = self.read(slave, planned.read).await;
                    }
                    known.push((planned.read, outcome.clone()));
                    outcome
                }
            };
            silent = matches!(outcome, Err(Failure::Timeout | Failure::LineDown));
            let at = self.clock.now();
            for (index, offset) in &planned.fields {
                let (Some(field), Some(slot)) = (profile.fields.get(*index), raws.get_mut(*index)) else {
                    continue;
                };
                let cells =
                    outcome.as_ref().map(|cells| cells.get(*offset..*offset + usize::from(field.count)));
                *slot = match cells {
                    Ok(Some(cells)) => (at, Ok(decode(field, cells))),
                    Ok(None) => (at, Err(Reason::BadFrame)),
                    Err(failure) => (at, Err(reason_of(*failure))),
                };
            }
        }
        RawBatch { device: DeviceId(0), start, end: self.clock.now(), raws }
    }
}

/// All requests that a profile needs. Holes are not read over: a device that refuses one would seem to refuse its points.
pub(crate) fn plan(profile: &Profile, cost: &Cost) -> Plan {
    let wanted: Vec<usize> = (0..profile.fields.len()).collect();
    let limits = Limits { gap: 0, ..profile.limits.clone() };
    Plan::new(&profile.fields, &wanted, &limits, cost, &Cuts::new())
}

fn end_of(read: Read) -> u16 {
    read.address.saturating_add(read.count)
}

fn reason_of(failure: Failure) -> Reason {
    match failure {
        Failure::Timeout => Reason::Timeout,
        Failure::BadFrame => Reason::BadFrame,
        Failure::Exception(code) => Reason::Exception(code),
        Failure::LineDown => Reason::LineDown,
    }
}
