//! When each device of a line is due.
//!
//! In: periods, costs, monotonic instants. Out: who is due first by its deadline, how many periods were missed, how much time is left over.
//! Invariant: polls stay on the device's own grid, so that no delay is carried on; a denser period never takes time that a period of the
//! site's documents needs.
//! Source: earliest deadline first, Liu and Layland 1973; processor demand, Baruah, Rosier and Howell 1990.

use std::time::Duration;

use tokio::time::Instant;

/// A device's period and what a poll of it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Its period.
    pub every: Duration,
    /// Time on the line.
    pub cost: Duration,
}

/// One device's grid.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    every: Duration,
    cost: Duration,
    due: Instant,
    /// The denser grid, while there is one.
    dense: Option<(Instant, Duration)>,
    /// How far the grid is moved when it has been polled for the first time.
    phase: Option<Duration>,
}

impl Slot {
    /// The grid of device `index` of `count` on line `line`: due at once, and from the second poll on at its own phase, up to half a period
    /// earlier or later than a period after the first. Lines begin at other phases by the golden ratio, so that the box and whatever stands
    /// behind many lines are not asked everything at once.
    pub fn new(demand: Demand, (index, count): (usize, usize), line: u64, now: Instant) -> Self {
        let share = |part: usize| u32::try_from(part).unwrap_or(u32::MAX);
        let every = demand.every.max(Duration::from_millis(1));
        let own = every / share(count.max(1)) * share(index);
        let [.., a, b] = (line.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48).to_be_bytes();
        let lines = every / 0x1_0000 * u32::from(u16::from_be_bytes([a, b]));
        let within = if own + lines < every { own + lines } else { own + lines - every };
        let phase = within + every / 2;
        Self { every, cost: demand.cost, due: now, dense: None, phase: Some(phase) }
    }

    /// Its period.
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Time of a poll on the line.
    pub const fn cost(&self) -> Duration {
        self.cost
    }

    /// A poll costs this from now on.
    pub const fn costs(&mut self, cost: Duration) {
        self.cost = cost;
    }

    /// When it is due.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// By when it must have been polled.
    pub fn deadline(&self) -> Instant {
        self.due + self.every
    }

    /// When a denser poll is due, and its deadline.
    pub fn dense(&self) -> Option<(Instant, Instant)> {
        self.dense.map(|(due, every)| (due, due + every))
    }

    /// Polls every `every` beside the own period, beginning now; `None` ends that.
    pub fn densify(&mut self, every: Option<Duration>, now: Instant) {
        self.dense = match (every, self.dense) {
            (Some(every), Some((due, _))) => Some((due.min(now + every), every)),
            (Some(every), None) => Some((now, every)),
            (None, _) => None,
        };
    }

    /// Takes its turn at `now`; how many periods were missed before, of the denser ones too.
    pub fn take(&mut self, now: Instant) -> u64 {
        let mut missed = 0;
        if let Some((due, every)) = &mut self.dense
            && *due <= now
        {
            missed += advance(due, *every, now);
        }
        if self.due <= now {
            missed += match self.phase.take() {
                Some(phase) => {
                    self.due += phase;
                    if self.due <= now { advance(&mut self.due, self.every, now) } else { 0 }
                }
                None => advance(&mut self.due, self.every, now),
            };
        }
        missed
    }

    /// The demand of this slot's own period in the time up to `at`.
    fn demand(&self, at: Instant) -> Duration {
        let Some(after) = at.checked_duration_since(self.deadline()) else { return Duration::ZERO };
        let more = after.as_nanos() / self.every.as_nanos().max(1);
        self.cost.saturating_mul(u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1))
    }
}

/// Moves `due` to the first place on its grid after `now`; how many periods lay between.
fn advance(due: &mut Instant, every: Duration, now: Instant) -> u64 {
    let behind = now.saturating_duration_since(*due).as_nanos() / every.as_nanos().max(1);
    let missed = u32::try_from(behind).unwrap_or(u32::MAX);
    *due += every.saturating_mul(missed.saturating_add(1));
    u64::from(missed)
}

/// Whether the line may be busy from `now` on for `time` with something else, and all of `slots` are still polled by their deadlines, also
/// when each takes an eighth longer than it should.
pub fn has_slack<'a>(slots: impl Iterator<Item = &'a Slot> + Clone, time: Duration, now: Instant) -> bool {
    slots.clone().all(|slot| {
        let at = slot.deadline();
        let demand: Duration = slots.clone().map(|other| other.demand(at)).sum();
        now + time + demand + demand / 8 <= at
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::from_std(std::time::Instant::now())
    }

    fn slot(every_ms: u64, cost_ms: u64, now: Instant) -> Slot {
        Slot { phase: None, ..Slot::new(Demand { every: ms(every_ms), cost: ms(cost_ms) }, (0, 1), 0, now) }
    }

    #[test]
    fn no_drift_and_missed_periods_are_counted() {
        let now = start();
        let mut slot = slot(1000, 10, now);
        let mut take = |at: u64| (slot.take(now + ms(at)), (slot.due() - now).as_millis());
        assert_eq!(take(7), (0, 1000), "the delay of 7 ms is not carried on");
        assert_eq!(take(1003), (0, 2000));
        assert_eq!(take(5300), (3, 6000));
        assert_eq!(take(6000), (0, 7000));
    }

    #[test]
    fn phases_are_spread_over_the_period() {
        let now = start();
        let second = |index, line| {
            let mut slot = Slot::new(Demand { every: ms(8000), cost: ms(10) }, (index, 4), line, now);
            assert_eq!((slot.due(), slot.take(now)), (now, 0), "the first reading comes at once");
            (slot.due() - now).as_millis()
        };
        assert_eq!([0, 1, 2, 3].map(|index| second(index, 0)), [4000, 6000, 8000, 10_000]);
        let mut lines: Vec<u128> = (0..100).map(|line| second(0, line)).collect();
        lines.sort_unstable();
        let most = lines.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(most.is_some_and(|most| most <= 8000 / 50), "{lines:?}: no two neighbours are far apart");
        let mut late = Slot::new(Demand { every: ms(100), cost: ms(10) }, (0, 1), 0, now);
        assert_eq!((late.take(now + ms(420)), late.due()), (3, now + ms(450)), "never into the past");
    }

    #[test]
    fn a_denser_period_goes_beside_the_own_grid() {
        let now = start();
        let mut slot = slot(10_000, 10, now);
        slot.take(now);
        slot.densify(Some(ms(1000)), now + ms(2500));
        let mut polls = 0;
        for at in (2500..=20_000).step_by(100).map(|at| now + ms(at)) {
            if slot.due() <= at || slot.dense().is_some_and(|(due, _)| due <= at) {
                polls += 1;
                assert_eq!(slot.take(at), 0);
            }
        }
        assert_eq!(polls, 18 + 2);
        slot.densify(None, now);
        assert_eq!((slot.due(), slot.dense()), (now + ms(30_000), None));
    }

    #[test]
    fn slack_is_what_no_deadline_needs() {
        let now = start();
        let slots = [slot(1000, 300, now), slot(500, 100, now)];
        // By 500: 100 and an eighth; by 1000: 300 + 200 and an eighth.
        assert!(has_slack(slots.iter(), ms(387), now));
        assert!(!has_slack(slots.iter(), ms(388), now));
        assert!(has_slack([].iter(), ms(100_000), now));
        let full = [slot(1000, 600, now), slot(1000, 500, now)];
        assert!(!has_slack(full.iter(), ms(1), now));
    }
}
