//! How long a failing sink is left alone.
//!
//! In: failures in a row. Out: a pause with full jitter.
//! Invariant: never below the base, never above the cap.
//! Source: DESIGN section 9, "jittered backoff": gateways that lost one server must not come back together.

use std::time::Duration;

/// How fast a failing sink is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Shortest pause after a failure, and the first upper bound of the jitter.
    pub base: Duration,
    /// Longest pause of our own.
    pub cap: Duration,
    /// Longest pause after a connection that was refused at once: asking again costs the server nothing, and fresh readings must
    /// not wait when it is back.
    pub knock: Duration,
    /// Longest pause that the server may ask for.
    pub ask: Duration,
    /// Pause while a person has to change something (credentials, database, schema).
    pub hold: Duration,
    /// A connection is there within this time.
    pub connect: Duration,
    /// A request is answered within this time.
    pub request: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            knock: Duration::from_secs(2),
            ask: Duration::from_secs(600),
            hold: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
        }
    }
}

/// Pauses, and the dice for their jitter.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The bounds.
    pub pace: Pace,
    dice: u64,
}

impl Backoff {
    /// A backoff whose jitter follows from `seed`.
    pub const fn new(pace: Pace, seed: u64) -> Self {
        Self { pace, dice: seed | 1 }
    }

    /// The pause after the failure number `attempts` (from 0): anything between the base and a bound that doubles up to `cap`.
    pub fn pause(&mut self, attempts: u32, cap: Duration) -> Duration {
        let Pace { base, .. } = self.pace;
        let factor = 1_u32.checked_shl(attempts.saturating_add(1).min(16)).unwrap_or(u32::MAX);
        let bound = base.saturating_mul(factor).min(cap).max(base);
        base.saturating_add(self.jitter(bound.saturating_sub(base)))
    }

    /// Anything from nothing to `most`.
    pub fn jitter(&mut self, most: Duration) -> Duration {
        let room = most.as_millis();
        // xorshift64: the state is never 0, because the seed is odd.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let part = u128::from(self.dice) % room.saturating_add(1);
        Duration::from_millis(u64::try_from(part).unwrap_or(0))
    }
}
