//! Which registers in one request, when, and whom to leave alone.
//!
//! In: fields and limits of a profile, periods, outcomes of polls. Out: requests, the next device, whether it is held back.
//! Invariant: a plan reads every wanted field once and nothing that changes the device by being read.

use std::time::Duration;

use crate::bus::{Read, Table};
use crate::clock::Timestamp;
use crate::profile::{Field, Limits};

/// One request of a plan and the fields that its answer holds: `(field index, offset of its first cell)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRead {
    /// The request.
    pub read: Read,
    /// Fields inside.
    pub fields: Vec<(usize, usize)>,
}

/// The requests for one device, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(pub Vec<PlannedRead>);

/// Most bits of one read.
const BITS_MAX: u16 = 2000;

impl Plan {
    /// Packs `wanted` fields (indexes into `fields`) into requests within `limits`; holes up to `limits.gap` registers are read over, never
    /// across a destructive field.
    pub fn new(_fields: &[Field], _wanted: &[usize], _limits: &Limits) -> Self {
        todo!()
    }
}

/// When each device of a line is due: earliest deadline first, phases spread, no drift, missed periods counted.
#[derive(Clone, Debug)]
pub struct Schedule(Vec<(Timestamp, Duration)>);

impl Schedule {
    /// `periods[i]` is the period of the line's device i; phases are spread from `now`.
    pub fn new(_periods: &[Duration], _now: Timestamp) -> Self {
        todo!()
    }
    /// The device to poll at `now` (and how many of its periods were missed before), or when to look again.
    pub fn next(&mut self, _now: Timestamp) -> Result<(usize, u64), Timestamp> {
        todo!()
    }
}

/// Failures in a row before a device is held back.
const FAILURES_FREE: u32 = 3;

/// Health of one device: held back after failures, with growing jittered pauses.
#[derive(Clone, Debug, Default)]
pub struct Health {
    failures: u32,
    until: Option<Timestamp>,
}

impl Health {
    /// Whether to poll it at `now`; `false` while it is held back.
    pub fn ready(&self, _now: Timestamp) -> bool {
        todo!()
    }
    /// Records the outcome of a poll that ended at `now`. `seed` feeds the jitter.
    pub fn step(&mut self, _answered: bool, _now: Timestamp, _seed: u64) {
        todo!()
    }
    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        todo!()
    }
}
