//! When a port may be opened again.
//!
//! In: what became of each opening, the time. Out: whether to try now.
//! Invariant: a line that worked is reopened at once; a port that can't be opened, or a connection that ends before it
//! gave one answer, is tried less and less often, every 30 s at the latest.

use std::time::Duration;

use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses of one line.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    until: Option<Instant>,
    random: u64,
}

impl Backoff {
    /// Without a pause; `seed` feeds the jitter, so that many gateways don't knock together.
    pub const fn new(seed: u64) -> Self {
        Self { failures: 0, until: None, random: seed }
    }

    /// Whether to try at `now`.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// The line answered.
    pub fn answered(&mut self) {
        self.failures = 0;
        self.until = None;
    }

    /// The port could not be opened.
    pub fn refused(&mut self, now: Instant) {
        self.failures = self.failures.max(1);
        self.lost(now);
    }

    /// An open port ended. The first time after an answer it's opened again at once.
    pub fn lost(&mut self, now: Instant) {
        let doublings = self.failures.checked_sub(1);
        self.until = doublings.map(|doublings| now + self.pause(doublings));
        self.failures = self.failures.saturating_add(1);
    }

    /// Three quarters of the doubled pause to the whole of it.
    fn pause(&mut self, doublings: u32) -> Duration {
        let pause = SHORTEST.saturating_mul(1 << doublings.min(6)).min(LONGEST);
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let share = u32::from((mixed >> 32).to_le_bytes()[0]);
        pause - pause / 4 * share / 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(mut backoff: Backoff, mut end: impl FnMut(&mut Backoff, Instant), count: usize) -> Vec<u128> {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::from_std(std::time::Instant::now());
        (0..count)
            .map(|_| {
                end(&mut backoff, now);
                backoff.until.map_or(0, |until| (until - now).as_millis())
            })
            .collect()
    }

    #[test]
    fn a_port_that_cannot_be_opened_is_tried_less_and_less_often() {
        for seed in 0..50 {
            let found = pauses(Backoff::new(seed), Backoff::refused, 9);
            let most = [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000];
            for (pause, most) in found.iter().zip(most) {
                assert!((most * 3 / 4..=most).contains(pause), "{pause} of {most}, seed {seed}");
            }
        }
        assert_ne!(
            pauses(Backoff::new(1), Backoff::refused, 9),
            pauses(Backoff::new(2), Backoff::refused, 9)
        );
    }

    #[test]
    fn a_line_that_worked_is_reopened_at_once() {
        let found = pauses(Backoff::new(7), Backoff::lost, 3);
        assert_eq!(found[0], 0);
        assert!(found[1] > 0 && found[2] > found[1], "{found:?}");
        let answered = |backoff: &mut Backoff, now| {
            backoff.answered();
            backoff.lost(now);
        };
        assert_eq!(pauses(Backoff::new(7), answered, 3), [0, 0, 0]);
    }
}
