//! Counters that wrap: how far one moved between two readings.
//!
//! In: two readings of an unsigned counter and its width. Out: the way it moved, or that it was set back.
//! Invariant: a step is never negative, and never more than the caller's limit.
//! Source: a wrap is a short way over the top; a long one is a reset (power cut, service), because a counter rarely runs half its width between polls.

use std::time::Duration;

/// What a counter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// It counted this many, over the top or not.
    By(u64),
    /// It was set back: how many were counted since is not known.
    Reset,
    /// It grew by more than it can: another counter, or a damaged one.
    Implausible,
}

/// What a counter of `width` bits (1..=64) did between `before` and `after`; a way longer than `step_max` is a reset when it went down, and
/// implausible when it went up.
pub fn advance(before: u64, after: u64, width: u32, step_max: u64) -> Advance {
    let mask = u64::MAX.checked_shr(64_u32.saturating_sub(width)).unwrap_or(0);
    let way = after.wrapping_sub(before) & mask;
    match (way <= step_max, after < before) {
        (true, _) => Advance::By(way),
        (false, true) => Advance::Reset,
        (false, false) => Advance::Implausible,
    }
}

/// What a counter's readings are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Its width, 1 to 64 bits.
    pub bits: u32,
    /// More than this in a minute is no counting.
    pub per_minute: u32,
}

impl Counter {
    /// How many were counted between two readings that lie `apart`: over the top within what it can count, from nothing after a reset.
    /// `None`: more than it can have counted.
    /// Source: step limit `max(1, per_minute x minutes)`; after a reset at least what it shows now was counted.
    pub fn counted(self, before: u64, after: u64, apart: Duration) -> Option<u64> {
        let limit = f64::from(self.per_minute) * apart.as_secs_f64() / 60.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; a float saturates"
        )]
        let limit = (limit as u64).max(1);
        match advance(before, after, self.bits, limit) {
            Advance::By(count) => Some(count),
            Advance::Reset => Some(after),
            Advance::Implausible => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_and_reset() {
        for (before, after, width, want) in [
            (65_530, 4, 16, Advance::By(10)),
            (4_294_967_290, 10, 32, Advance::By(16)),
            (500, 3, 16, Advance::Reset),
            (7, 7, 16, Advance::By(0)),
            (u64::MAX, 0, 64, Advance::By(1)),
            (0, 1_001, 32, Advance::Implausible),
            (9, 3, 16, Advance::Reset),
        ] {
            assert_eq!(advance(before, after, width, 1_000), want, "{before} to {after}");
        }
    }
}
