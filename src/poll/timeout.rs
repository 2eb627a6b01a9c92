//! How long to wait for a device: learnt from its answers, within bounds.
//!
//! In: how much later than the bytes on the wire explain each answer came, silences. Out: a timeout for each request; a doubt about the
//! configured one.
//! Invariant: never more than the configured timeout; never less than three times the p99 of the recent answers, nor than the floor, unless
//! the configured one is less; each silence of a dead device doubles it, so that one that has become slow is heard again.

use std::collections::VecDeque;
use std::time::Duration;

/// Answers that are remembered.
const RECENT: usize = 128;
/// Answers before anything is learnt from them.
const ENOUGH: usize = 16;
/// The least timeout on a wire: an adapter or a busy box may hold bytes back for tens of milliseconds.
pub const FLOOR_SERIAL: Duration = Duration::from_millis(100);
/// The least timeout through a network.
pub const FLOOR_TCP: Duration = Duration::from_millis(300);
/// A timeout is this many times the p99.
const MARGIN: u32 = 3;
/// A configured timeout below this many times the p99 gives up answers that are on their way.
const MARGIN_LEAST: u32 = 2;

/// What is known of a device's answer times.
#[derive(Clone, Debug)]
pub struct Timeout {
    configured: Duration,
    floor: Duration,
    /// Delays of the recent answers beside their bytes' time on the wire.
    recent: VecDeque<Duration>,
    p99: Option<Duration>,
    p50: Option<Duration>,
    silences: u32,
}

impl Timeout {
    /// Nothing is known yet. `configured` is the most, `floor` the least that is waited.
    pub fn new(configured: Duration, floor: Duration) -> Self {
        Self { configured, floor, recent: VecDeque::with_capacity(RECENT), p99: None, p50: None, silences: 0 }
    }

    /// An answer came, `delay` later than its bytes and the request's take.
    pub fn answered(&mut self, delay: Duration) {
        self.silences = 0;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(delay);
        // Sorting 128 numbers for each answer would be most of the work of a poll.
        let due = self.recent.len() == ENOUGH
            || self.recent.len().is_multiple_of(8)
            || self.p99.is_some_and(|p99| p99 < delay);
        if self.recent.len() >= ENOUGH && due {
            let mut sorted: Vec<Duration> = self.recent.iter().copied().collect();
            sorted.sort_unstable();
            let share = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1));
            (self.p50, self.p99) = (share(50).copied(), share(99).copied());
        }
    }

    /// The device said something that has no time of its own: a refusal.
    pub const fn heard(&mut self) {
        self.silences = 0;
    }

    /// No answer came.
    pub fn silent(&mut self) {
        self.silences = self.silences.saturating_add(1);
    }

    /// How long to wait for an answer whose bytes take `wire` on the line.
    pub fn of(&self, wire: Duration) -> Duration {
        let Some(p99) = self.p99 else { return self.configured };
        let learnt = ((p99 + wire) * MARGIN).max(self.floor);
        learnt.saturating_mul(1 << self.silences.min(10)).min(self.configured)
    }

    /// The least patience that makes sense for a device that has been silent: most answer within this.
    pub fn brief(&self, wire: Duration) -> Duration {
        (wire * MARGIN).max(self.floor).min(self.of(wire))
    }

    /// The half of the recent answers came at least this fast; `None` until enough came.
    pub const fn median(&self) -> Option<Duration> {
        self.p50
    }

    /// The p99 of the answer time to a request whose answer takes `wire`, when the configured timeout is less than twice that.
    pub fn too_short(&self, wire: Duration) -> Option<Duration> {
        let p99 = self.p99? + wire;
        (self.configured < p99 * MARGIN_LEAST).then_some(p99)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_timeout_follows_the_answers_and_grows_with_silence() {
        let mut timeout = Timeout::new(ms(1000), ms(100));
        for _ in 0..15 {
            timeout.answered(ms(40));
            assert_eq!(timeout.of(ms(20)), ms(1000), "too little is known");
        }
        timeout.answered(ms(40));
        assert_eq!(timeout.of(ms(20)), ms(180));
        assert_eq!(timeout.of(ms(500)), ms(1000), "a long answer has its time");
        for wait in [360, 720, 1000, 1000] {
            timeout.silent();
            assert_eq!(timeout.of(ms(20)), ms(wait));
        }
        timeout.answered(ms(400));
        assert_eq!(timeout.of(ms(20)), ms(1000), "one slow answer counts at once");
        for _ in 0..RECENT {
            timeout.answered(ms(5));
        }
        assert_eq!(timeout.of(ms(20)), ms(100), "the floor");
    }

    #[test]
    fn a_configured_timeout_that_gives_up_answers_is_told() {
        let mut timeout = Timeout::new(ms(100), ms(100));
        for _ in 0..64 {
            timeout.answered(ms(45));
        }
        assert_eq!(timeout.too_short(ms(5)), None);
        assert_eq!(timeout.too_short(ms(6)), Some(ms(51)));
        assert_eq!(timeout.of(ms(6)), ms(100), "it is kept all the same");
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(steps in prop::collection::vec(prop::option::weighted(0.9, 0_u64..3_000), 0..300), configured in 1_u64..2_000, wire in 0_u64..400) {
            let mut timeout = Timeout::new(ms(configured), ms(100));
            for step in steps {
                match step {
                    Some(delay) => timeout.answered(ms(delay)),
                    None => timeout.silent(),
                }
                let wait = timeout.of(ms(wire));
                prop_assert!(wait <= ms(configured) && wait >= ms(100.min(configured)));
                if let Some(p99) = timeout.p99 {
                    prop_assert!(wait >= ((p99 + ms(wire)) * 2).min(ms(configured)));
                }
            }
        }
    }
}
