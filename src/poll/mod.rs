//! Which registers in one request, when, and whom to leave alone.
//!
//! In: fields and limits of a profile, periods, outcomes of polls. Out: requests, the next device, whether it is held back.
//! Invariant: a plan reads every wanted field once and nothing that changes the device by being read.

pub mod stats;

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
    /// Packs `wanted` fields (indexes into `fields`) into requests within `limits`; holes up to `limits.gap` cells are read over, never
    /// across a field that reading changes.
    pub fn new(fields: &[Field], wanted: &[usize], limits: &Limits) -> Self {
        let mut sorted: Vec<(usize, &Field)> =
            wanted.iter().filter_map(|index| Some((*index, fields.get(*index)?))).collect();
        sorted.sort_by_key(|(index, field)| (field.table, field.address, *index));
        let mut plan: Vec<PlannedRead> = Vec::new();
        for (index, field) in sorted {
            match plan.last_mut().filter(|last| joins(last, field, fields, limits)) {
                Some(last) => {
                    let offset = field.address - last.read.address;
                    last.read.count = last.read.count.max(offset + field.count);
                    last.fields.push((index, usize::from(offset)));
                }
                None => plan.push(PlannedRead {
                    read: Read { table: field.table, address: field.address, count: field.count },
                    fields: vec![(index, 0)],
                }),
            }
        }
        Self(plan)
    }
}

fn joins(last: &PlannedRead, field: &Field, fields: &[Field], limits: &Limits) -> bool {
    if last.read.table != field.table {
        return false;
    }
    let end = u32::from(last.read.address) + u32::from(last.read.count);
    let (from, to) = (u32::from(field.address), u32::from(field.address) + u32::from(field.count));
    let same = from == u32::from(last.read.address) && to == end;
    if limits.single_register {
        return same;
    }
    let bits = matches!(field.table, Table::Coil | Table::Discrete);
    let most = u32::from(if bits { BITS_MAX } else { limits.registers_per_read });
    let hole = |other: &Field| {
        other.table == field.table
            && end <= u32::from(other.address)
            && u32::from(other.address) + u32::from(other.count) <= from
    };
    let destructive = fields.iter().any(|other| other.destructive && hole(other));
    from.saturating_sub(end) <= u32::from(limits.gap)
        && to.max(end) - u32::from(last.read.address) <= most
        && !destructive
}

/// When each device of a line is due: earliest deadline first, phases spread, no drift, missed periods counted.
#[derive(Clone, Debug)]
pub struct Schedule(Vec<(Timestamp, Duration)>);

impl Schedule {
    /// `periods[i]` is the period of the line's device i; phases are spread over the first second from `now`.
    pub fn new(periods: &[Duration], now: Timestamp) -> Self {
        let count = u32::try_from(periods.len().max(1)).unwrap_or(u32::MAX);
        let phase =
            |index: u32, period: Duration| now.plus(period.min(Duration::from_secs(1)) * index / count);
        Self((0..).zip(periods).map(|(index, period)| (phase(index, *period), *period)).collect())
    }

    /// The device to poll at `now` and how many of its periods were missed before, or when to look again.
    ///
    /// # Errors
    /// Nobody is due; look again at that time.
    pub fn next(&mut self, now: Timestamp) -> Result<(usize, u64), Timestamp> {
        let later = now.plus(Duration::from_secs(3600));
        // A wall clock that was set back must not silence the line for as long as it was set back.
        for (due, period) in &mut self.0 {
            if now.plus(*period * 2) < *due {
                *due = now;
            }
        }
        let first = self.0.iter_mut().enumerate().min_by_key(|(_, (due, period))| due.plus(*period));
        let Some((index, (due, period))) = first else { return Err(later) };
        if now < *due {
            let soonest = self.0.iter().enumerate().min_by_key(|(_, (due, _))| *due);
            let Some((soonest, (due, _))) = soonest.map(|(index, slot)| (index, *slot)) else {
                return Err(later);
            };
            return if now < due { Err(due) } else { Ok(self.take(soonest, now)) };
        }
        let _ = period;
        Ok(self.take(index, now))
    }

    fn take(&mut self, index: usize, now: Timestamp) -> (usize, u64) {
        let Some((due, period)) = self.0.get_mut(index) else { return (index, 0) };
        let behind = now.since(*due).as_millis() / period.as_millis().max(1);
        let missed = u32::try_from(behind).unwrap_or(u32::MAX);
        *due = due.plus(period.saturating_mul(missed.saturating_add(1)));
        (index, u64::from(missed))
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
    pub fn ready(&self, now: Timestamp) -> bool {
        // A pause that ends more than two minutes from now comes from a clock that was set back since.
        self.until.is_none_or(|until| until <= now || now.plus(Duration::from_secs(120)) < until)
    }

    /// Records the outcome of a poll that ended at `now`. `seed` feeds the jitter.
    pub fn step(&mut self, answered: bool, now: Timestamp, seed: u64) {
        if answered {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if FAILURES_FREE <= self.failures {
            let doubled = 1_u64 << (self.failures - FAILURES_FREE).min(6);
            let pause_ms = doubled.min(60) * 1000;
            let jitter_ms = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (pause_ms / 4);
            self.until = Some(now.plus(Duration::from_millis(pause_ms - jitter_ms)));
        }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::Kind;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn field(address: u16, kind: Kind) -> Field {
        Field::new("f", Table::Holding, address, kind)
    }

    fn reads(plan: &Plan) -> Vec<(u16, u16)> {
        plan.0.iter().map(|planned| (planned.read.address, planned.read.count)).collect()
    }

    #[test]
    fn holes_are_read_over_but_nothing_that_reading_changes() {
        let mut fields =
            vec![field(0, Kind::F32), field(2, Kind::U16), field(6, Kind::U16), field(30, Kind::U16)];
        let limits = Limits { gap: 8, ..Limits::default() };
        assert_eq!(reads(&Plan::new(&fields, &[0, 1, 2, 3], &limits)), [(0, 7), (30, 1)]);
        fields.push(Field { destructive: true, ..field(4, Kind::U16) });
        assert_eq!(reads(&Plan::new(&fields, &[0, 1, 2], &limits)), [(0, 3), (6, 1)]);
        let single = Limits { single_register: true, ..limits };
        assert_eq!(reads(&Plan::new(&fields, &[0, 1], &single)), [(0, 2), (2, 1)]);
    }

    proptest! {
        #[test]
        fn every_field_is_read_once_within_the_limits(places in prop::collection::btree_set(0_u16..300, 1..40), most in 4_u16..126, gap in 0_u16..20) {
            let fields: Vec<Field> = places.iter().map(|place| field(place * 4, Kind::F64)).collect();
            let wanted: Vec<usize> = (0..fields.len()).collect();
            let plan = Plan::new(&fields, &wanted, &Limits { registers_per_read: most, gap, ..Limits::default() });
            let mut seen: Vec<usize> = Vec::new();
            for planned in &plan.0 {
                prop_assert!(planned.read.count <= most);
                for (index, offset) in &planned.fields {
                    prop_assert_eq!(usize::from(fields[*index].address), usize::from(planned.read.address) + offset);
                    prop_assert!(offset + 4 <= usize::from(planned.read.count));
                    seen.push(*index);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, wanted);
        }
    }

    #[test]
    fn no_drift_and_missed_periods_are_counted() {
        let mut schedule = Schedule::new(&[Duration::from_secs(1)], at(0));
        assert_eq!(schedule.next(at(0)), Ok((0, 0)));
        assert_eq!(schedule.next(at(10)), Err(at(1000)));
        assert_eq!(schedule.next(at(1007)), Ok((0, 0)));
        assert_eq!(schedule.next(at(1010)), Err(at(2000)), "the delay of 7 ms is not carried on");
        assert_eq!(schedule.next(at(5300)), Ok((0, 3)));
        assert_eq!(schedule.next(at(5301)), Err(at(6000)));
    }

    #[test]
    fn the_earliest_deadline_goes_first_and_nobody_starves() {
        let periods = [Duration::from_secs(10), Duration::from_secs(1)];
        let mut schedule = Schedule::new(&periods, at(0));
        let mut polled = [0, 0];
        for ms in (0..20_000).step_by(100) {
            if let Ok((index, _)) = schedule.next(at(ms)) {
                polled[index] += 1;
            }
        }
        assert_eq!(polled, [2, 20]);
    }

    #[test]
    fn a_device_that_fails_is_held_back_for_growing_pauses() {
        let mut health = Health::default();
        for _ in 0..2 {
            health.step(false, at(0), 1);
            assert!(health.ready(at(0)));
        }
        health.step(false, at(0), 1);
        assert!(!health.ready(at(700)));
        assert!(health.ready(at(1000)));
        for _ in 0..20 {
            health.step(false, at(0), 1);
        }
        assert!(!health.ready(at(44_000)));
        assert!(health.ready(at(60_000)));
        health.step(true, at(60_000), 1);
        assert!(health.ready(at(60_000)) && health.failures() == 0);
    }
}
