//! Whose turn it is on a line.
//!
//! In: periods and costs of the line's devices, outcomes, monotonic instants. Out: poll, probe, or wait.
//! Invariant: live devices go by earliest deadline. A dead device is probed in spare time: when nobody live is due before the probe would
//! end (with less patience, if that makes it end in time), or, after growing pauses, when every live device is still polled within its
//! period. Where there is none it waits, and then all dead devices together take at most a twentieth of the time that the live ones need.
//! A denser period takes slack alone.

use std::time::Duration;

use tokio::time::Instant;

use crate::poll::health::Health;
use crate::poll::schedule::{Demand, Slot, has_slack};

/// A dead device that found no spare time for so long after its pause is probed at the others' cost.
const PATIENCE: Duration = Duration::from_secs(10);
/// The share of the live devices' time that probes may take: one in so many.
const SHARE: u32 = 20;
/// Nobody is waited for any longer.
const FAR: Duration = Duration::from_secs(3600);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Poll this device; so many of its periods were missed before.
    Poll {
        /// Its place on the line.
        device: usize,
        /// Missed periods.
        missed: u64,
        /// Whether it is the first poll. With little patience, the first round of a line with many dead devices is over soon.
        first: bool,
    },
    /// Poll this dead device, its cheapest request first, and give up at the first silence.
    Probe {
        /// Its place on the line.
        device: usize,
        /// Missed periods.
        missed: u64,
        /// Whether a period of its own has begun since its last poll, so that there is something to tell.
        due: bool,
        /// What it takes from others.
        at: Price,
    },
    /// Nothing until then.
    Wait(Instant),
}

/// Whose time a probe takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Nobody's who would miss a period.
    Free,
    /// Nobody's, when it has given up by then.
    FreeUntil(Instant),
    /// The live devices': it is worked off before the next such probe.
    Charged,
}

/// What turns of a device cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// A poll.
    pub answered: Duration,
    /// A probe that nobody answers.
    pub silent: Duration,
    /// The same with the least patience that makes sense.
    pub brief: Duration,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device answered something.
    Answered,
    /// It answered nothing, and that is its own fault.
    Failed,
    /// The line was not there: that says nothing of the device.
    NoLine,
}

#[derive(Clone, Debug)]
struct Place {
    slot: Slot,
    health: Health,
    costs: Costs,
}

/// The turns of one line.
///
/// ```
/// use std::time::Duration;
/// use lifeline_gateway::poll::schedule::Demand;
/// use lifeline_gateway::poll::turn::{Outcome, Price, Turn, Turns};
///
/// # let now = tokio::time::Instant::from_std(std::time::Instant::now());
/// let demand = Demand { every: Duration::from_secs(10), cost: Duration::from_millis(50) };
/// let mut turns = Turns::new(&[demand], 7, now);
/// assert_eq!(turns.next(now), Turn::Poll { device: 0, missed: 0, first: true });
/// let ended = now + Duration::from_secs(1);
/// turns.ended(0, Outcome::Failed, None, ended);
/// assert!(turns.is_dead(0));
/// assert!(matches!(turns.next(ended), Turn::Probe { device: 0, at: Price::Free, .. }));
/// turns.ended(0, Outcome::Failed, Some(Price::Free), ended);
/// assert!(matches!(turns.next(ended), Turn::Wait(_)));
/// ```
#[derive(Clone, Debug)]
pub struct Turns {
    places: Vec<Place>,
    /// Time that probes took from the live devices and that is not worked off yet.
    debt: Duration,
}

impl Turns {
    /// The turns of devices with these demands; `seed`, another one for each line, feeds phases and the jitter of probes.
    pub fn new(demands: &[Demand], seed: u64, now: Instant) -> Self {
        let place = |(index, demand): (usize, &Demand)| Place {
            slot: Slot::new(*demand, (index, demands.len()), seed, now),
            health: Health::new(seed ^ u64::try_from(index).unwrap_or_default().rotate_left(32), now),
            costs: Costs { answered: demand.cost, silent: demand.cost, brief: demand.cost },
        };
        Self { places: demands.iter().enumerate().map(place).collect(), debt: Duration::ZERO }
    }

    /// Goes on for `old`: a device that stood at place `before[i]` keeps its grid and health at place i.
    pub fn succeed(&mut self, old: &Self, before: &[Option<usize>]) {
        self.debt = old.debt;
        for (place, before) in self.places.iter_mut().zip(before) {
            if let Some(old) = before.and_then(|before| old.places.get(before)) {
                *place = old.clone();
            }
        }
    }

    /// What turns of `device` cost from now on.
    pub fn costs(&mut self, device: usize, costs: Costs) {
        if let Some(place) = self.places.get_mut(device) {
            place.slot.costs(costs.answered);
            place.costs = costs;
        }
    }

    /// Polls `device` every `every` beside its own period, as far as there is time; `None` ends that.
    pub fn densify(&mut self, device: usize, every: Option<Duration>, now: Instant) {
        if let Some(place) = self.places.get_mut(device) {
            place.slot.densify(every, now);
        }
    }

    /// Whether `device` is only probed.
    pub fn is_dead(&self, device: usize) -> bool {
        self.places.get(device).is_some_and(|place| place.health.is_dead())
    }

    /// Whether the last poll of `device` was answered.
    pub fn is_well(&self, device: usize) -> bool {
        self.places.get(device).is_some_and(|place| place.health.is_well())
    }

    /// What to do at `now`; a device that is named has had its turn taken.
    pub fn next(&mut self, now: Instant) -> Turn {
        if let Some(device) = self.unfairly_kept(now) {
            return self.probe(device, Price::Charged, now);
        }
        let due = self.live().filter(|(_, place)| place.slot.due() <= now);
        let own = due.map(|(index, place)| (place.slot.deadline(), index)).min();
        let dense = self.live().filter_map(|(index, place)| {
            let (due, deadline) = place.slot.dense()?;
            (due <= now).then_some((deadline, index, place.slot.cost()))
        });
        let dense = dense.min().filter(|(deadline, index, cost)| {
            own.is_none_or(|(first, own)| deadline < &first && *index != own) && self.has_slack(*cost, now)
        });
        if let Some(device) = dense.map(|(_, index, _)| index).or(own.map(|(_, index)| index)) {
            let first = self.places.get(device).is_some_and(|place| place.health.is_new());
            let missed = self.places.get_mut(device).map_or(0, |place| place.slot.take(now));
            return Turn::Poll { device, missed, first };
        }
        match self.spared(now) {
            Some((device, at)) => self.probe(device, at, now),
            None => Turn::Wait(self.wake(now)),
        }
    }

    /// A turn of `device` ended at `now`; `at` is the price of a probe.
    pub fn ended(&mut self, device: usize, outcome: Outcome, at: Option<Price>, now: Instant) {
        let Some(place) = self.places.get_mut(device) else { return };
        match outcome {
            Outcome::NoLine => place.health.unheard(now),
            Outcome::Answered => {
                self.debt = self.debt.saturating_sub(place.slot.cost() / SHARE);
                if place.health.answered() {
                    for other in self.places.iter_mut().filter(|place| place.health.is_dead()) {
                        other.health.hope(now);
                    }
                }
            }
            Outcome::Failed => {
                let brief = place.health.is_new() || matches!(at, Some(Price::FreeUntil(_)));
                place.health.failed(place.slot.every(), brief, now);
                if at == Some(Price::Charged) {
                    self.debt += place.costs.silent;
                }
            }
        }
    }

    fn live(&self) -> impl Iterator<Item = (usize, &Place)> + Clone {
        self.places.iter().enumerate().filter(|(_, place)| !place.health.is_dead())
    }

    fn dead(&self) -> impl Iterator<Item = (usize, &Place)> {
        self.places.iter().enumerate().filter(|(_, place)| place.health.is_dead())
    }

    fn has_slack(&self, time: Duration, now: Instant) -> bool {
        has_slack(self.live().map(|(_, place)| &place.slot), time, now)
    }

    /// Whether a denser poll would be missed until `at`: what is in alarm goes before what is dead.
    fn is_hurried(&self, at: Instant) -> bool {
        self.live().filter_map(|(_, place)| place.slot.dense()).any(|(_, deadline)| deadline < at)
    }

    /// A dead device that found no spare time for too long, once what probes took before is worked off.
    fn unfairly_kept(&self, now: Instant) -> Option<usize> {
        if !self.debt.is_zero() {
            return None;
        }
        let kept = self.dead().filter(|(_, place)| place.health.probe_from() + PATIENCE <= now);
        kept.min_by_key(|(_, place)| place.health.probe_from()).map(|(index, _)| index)
    }

    /// A dead device that may be probed without harm, when nobody live is due now.
    fn spared(&self, now: Instant) -> Option<(usize, Price)> {
        let next = self.next_due();
        let idle = |time: Duration| next.is_none_or(|next| now + time <= next);
        let mut waiting: Vec<(usize, &Place)> = self.dead().collect();
        waiting.sort_by_key(|(index, place)| (place.health.probe_from(), *index));
        // Who waits longest for a patient probe takes the slack before others take what is left for brief ones.
        let patient = || waiting.iter().filter(|(_, place)| place.health.probe_from() <= now);
        let slack = |(_, place): &&(usize, &Place)| {
            let time = place.costs.silent;
            self.has_slack(time, now) && !self.is_hurried(now + time)
        };
        // Slack takes long to compute on a line of hundreds: it is looked for twice and not for everybody.
        let longest_and_cheapest =
            patient().next().into_iter().chain(patient().min_by_key(|(_, place)| place.costs.silent));
        let found = patient()
            .find(|(_, place)| idle(place.costs.silent))
            .or_else(|| longest_and_cheapest.into_iter().find(slack));
        if let Some((index, _)) = found {
            return Some((*index, Price::Free));
        }
        waiting.retain(|(_, place)| place.health.spare_from() <= now);
        waiting.sort_by_key(|(index, place)| (place.health.spare_from(), *index));
        waiting.iter().find_map(|(index, place)| {
            let brief = || next.filter(|_| idle(place.costs.brief)).map(Price::FreeUntil);
            let price = if idle(place.costs.silent) { Some(Price::Free) } else { brief() };
            Some((*index, price?))
        })
    }

    fn probe(&mut self, device: usize, at: Price, now: Instant) -> Turn {
        let (due, missed) = self.places.get_mut(device).map_or((false, 0), |place| {
            let due = place.slot.due() <= now;
            (due, place.slot.take(now))
        });
        Turn::Probe { device, missed, due, at }
    }

    /// When the next live device is due.
    fn next_due(&self) -> Option<Instant> {
        let own = self.live().map(|(_, place)| place.slot.due());
        let dense = self.live().filter_map(|(_, place)| place.slot.dense()).map(|(due, _)| due);
        own.chain(dense).min()
    }

    /// When something may be different, later than `now`.
    fn wake(&self, now: Instant) -> Instant {
        let live = self.live().flat_map(|(_, place)| {
            [Some(place.slot.due()), place.slot.dense().map(|(due, _)| due)].into_iter().flatten()
        });
        let dead = self.dead().flat_map(|(_, place)| {
            let probe = place.health.probe_from();
            [place.health.spare_from(), probe, probe + PATIENCE]
        });
        live.chain(dead).filter(|at| now < *at).min().unwrap_or(now + FAR)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::from_std(std::time::Instant::now())
    }

    /// What became of each device on a simulated line.
    #[derive(Debug, Default)]
    struct Tally {
        polls: Vec<u64>,
        missed: Vec<u64>,
        probes: Vec<u64>,
        live: Duration,
        charged: Duration,
    }

    /// Runs a line for `time`: `(period, cost)` of each device in ms, `dead` ones answer nothing.
    fn run(devices: &[(u64, u64)], dead: &[usize], silent: Duration, time: Duration) -> Tally {
        let begin = start();
        let demand = |(every, cost): &(u64, u64)| Demand { every: ms(*every), cost: ms(*cost) };
        let demands: Vec<Demand> = devices.iter().map(demand).collect();
        let mut turns = Turns::new(&demands, 1, begin);
        for (index, demand) in demands.iter().enumerate() {
            turns.costs(index, Costs { answered: demand.cost, silent, brief: silent / 4 });
        }
        let zeros = || vec![0; devices.len()];
        let mut tally = Tally { polls: zeros(), missed: zeros(), probes: zeros(), ..Tally::default() };
        let mut now = begin;
        while now < begin + time {
            let turn = turns.next(now);
            let (device, price) = match turn {
                Turn::Wait(until) => {
                    assert!(now < until, "it goes on");
                    now = until;
                    continue;
                }
                Turn::Poll { device, missed, .. } => {
                    assert!(!turns.is_dead(device));
                    tally.missed[device] += missed;
                    (device, None)
                }
                Turn::Probe { device, at, .. } => {
                    assert!(turns.is_dead(device));
                    tally.probes[device] += 1;
                    (device, Some(at))
                }
            };
            if dead.contains(&device) {
                now += if let Some(Price::FreeUntil(_)) = price { silent / 4 } else { silent };
                tally.charged += if price == Some(Price::Charged) { silent } else { Duration::ZERO };
                turns.ended(device, Outcome::Failed, price, now);
            } else {
                now += demands[device].cost;
                tally.polls[device] += 1;
                tally.live += demands[device].cost;
                turns.ended(device, Outcome::Answered, price, now);
            }
        }
        tally
    }

    #[test]
    fn the_earliest_deadline_goes_first_and_nobody_starves() {
        let tally = run(&[(10_000, 100), (1000, 100), (5000, 3000)], &[], ms(2000), ms(200_000));
        assert_eq!(tally.missed.iter().sum::<u64>(), tally.missed[1], "{tally:?}");
        assert!(tally.polls[0] >= 20 && tally.polls[2] >= 39, "{tally:?}");
    }

    #[test]
    fn a_full_line_with_dead_devices_gives_them_a_twentieth() {
        let mut devices = vec![(1000, 100); 20];
        devices.extend([(1000, 100); 4]);
        let tally = run(&devices, &[20, 21, 22, 23], ms(2000), ms(4_000_000));
        assert!(tally.charged <= tally.live / SHARE + ms(2000), "{tally:?}");
        assert!(tally.charged >= tally.live / 25, "{tally:?}");
        assert!((20..24).all(|index| tally.probes[index] >= 20), "each has its turn: {tally:?}");
        let (least, most) =
            (tally.polls[..20].iter().min().unwrap(), tally.polls[..20].iter().max().unwrap());
        assert!(least * 10 >= most * 9, "{tally:?}");
    }

    #[test]
    fn an_idle_line_probes_its_dead_devices_without_end() {
        let tally = run(&[(2000, 50); 8], &[0, 1, 2, 3, 4, 5, 6, 7], ms(1000), ms(600_000));
        assert!(tally.probes.iter().sum::<u64>() >= 590, "all of the spare time: {tally:?}");
        assert!(tally.probes.iter().all(|probes| *probes >= 60), "{tally:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_line_with_room_misses_nothing_for_its_dead_devices(
            devices in prop::collection::vec((1_u64..20, 5_u64..60), 1..12),
            (dead, silent) in (0_usize..4, 100_u64..3000),
        ) {
            let mut devices: Vec<(u64, u64)> = devices.iter().map(|(every, cost)| (every * 500, *cost)).collect();
            let load: f64 = devices.iter().map(|(every, cost)| *cost as f64 / *every as f64).sum();
            prop_assume!(load < 0.6 && devices.iter().all(|(every, cost)| cost * 4 < *every));
            let live = devices.len();
            devices.extend(vec![(1000, 20); dead]);
            let dead: Vec<usize> = (live..devices.len()).collect();
            let tally = run(&devices, &dead, ms(silent), ms(600_000));
            // Only charged probes may cost periods, and no more than they took; the first silence of each device is nobody's fault.
            let stolen = tally.charged + ms(silent) * u32::try_from(dead.len()).unwrap();
            for (index, (every, _)) in devices[..live].iter().enumerate() {
                let most = stolen.as_millis() / u128::from(*every) + 1 + u128::try_from(dead.len()).unwrap();
                prop_assert!(u128::from(tally.missed[index]) <= most, "{} of {most}: {tally:?}", tally.missed[index]);
            }
        }
    }
}
