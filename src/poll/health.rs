//! Whether a device of a line answers, and when to ask a silent one again.
//!
//! In: outcomes of its polls, monotonic instants. Out: live or dead; from when on a probe may cost something, and from when on it may use
//! time that nobody else wants.
//! Invariant: a device that never answered is dead after one failure, another after three in a row; pauses grow to a minute, are jittered, and
//! one answer ends them.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row before a device that has answered counts as dead.
const FAILURES_MAX: u32 = 3;
/// The first and the longest pause between probes that keep others waiting.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The shortest and longest pause between probes in time that nobody else wants; in between, half the device's period.
const SPARE_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Health of one device.
#[derive(Clone, Debug)]
pub struct Health {
    answered: bool,
    failures: u32,
    /// Probes since it died.
    probes: u32,
    probe: Instant,
    spare: Instant,
    random: u64,
}

impl Health {
    /// Nothing is known yet; `seed` feeds the jitter.
    pub const fn new(seed: u64, now: Instant) -> Self {
        Self { answered: false, failures: 0, probes: 0, probe: now, spare: now, random: seed }
    }

    /// Whether it is only probed.
    pub const fn is_dead(&self) -> bool {
        self.failures >= if self.answered { FAILURES_MAX } else { 1 }
    }

    /// Whether it was never polled.
    pub const fn is_new(&self) -> bool {
        !self.answered && self.failures == 0
    }

    /// Whether its last poll was answered.
    pub const fn is_well(&self) -> bool {
        self.answered && self.failures == 0
    }

    /// From when on a dead device may be probed although others wait.
    pub const fn probe_from(&self) -> Instant {
        self.probe
    }

    /// From when on a dead device may be probed in spare time.
    pub const fn spare_from(&self) -> Instant {
        self.spare
    }

    /// It answered a poll; whether it was dead before.
    pub const fn answered(&mut self) -> bool {
        let was_dead = self.is_dead();
        (self.answered, self.failures, self.probes) = (true, 0, 0);
        was_dead
    }

    /// It answered nothing of a poll that ended at `now`. A `brief` one had little patience and says little: it makes nobody dead who has answered
    /// before, and puts off no patient probe.
    pub fn failed(&mut self, period: Duration, brief: bool, now: Instant) {
        let new = self.is_new();
        self.failures = self.failures.saturating_add(u32::from(!brief || new));
        if self.is_dead() && !new {
            self.spare = now + self.jittered((period / 2).clamp(SPARE_PAUSE.0, SPARE_PAUSE.1));
        }
        if self.is_dead() && !brief {
            let pause = PAUSE.0.saturating_mul(1 << self.probes.min(6)).min(PAUSE.1);
            self.probes = self.probes.saturating_add(1);
            self.probe = now + self.jittered(pause);
        }
    }

    /// The line was not there at `now`, so that a probe of it said nothing.
    pub fn unheard(&mut self, now: Instant) {
        let pause = self.jittered(SPARE_PAUSE.0);
        self.probe = self.probe.max(now + pause);
        self.spare = self.spare.max(now + pause);
    }

    /// Another device of the line is back: what silenced both may be over.
    pub fn hope(&mut self, now: Instant) {
        self.probes = 0;
        self.probe = self.probe.min(now);
        self.spare = self.spare.min(now);
    }

    /// Three quarters of `pause` to the whole of it.
    fn jittered(&mut self, pause: Duration) -> Duration {
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

    const PERIOD: Duration = Duration::from_secs(10);

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::from_std(std::time::Instant::now())
    }

    #[test]
    fn a_device_that_fails_is_probed_after_growing_jittered_pauses() {
        let now = start();
        let mut seen = Vec::new();
        for seed in 0..50 {
            let mut health = Health::new(seed, now);
            health.answered();
            health.failed(PERIOD, false, now);
            health.failed(PERIOD, false, now);
            assert!(!health.is_dead(), "two lost polls are no death");
            for most_s in [2_u64, 4, 8, 16, 32, 60, 60] {
                health.failed(PERIOD, false, now);
                assert!(health.is_dead());
                let pause = (health.probe_from() - now).as_millis();
                let most = u128::from(most_s) * 1000;
                assert!((most * 3 / 4..=most).contains(&pause), "{pause} of {most}, seed {seed}");
                let spare = health.spare_from() - now;
                assert!(spare <= SPARE_PAUSE.1 && spare * 4 >= SPARE_PAUSE.1 * 3);
                seen.push(pause);
            }
            assert!(health.answered() && !health.is_dead());
        }
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 200, "{} different pauses", seen.len());
    }

    #[test]
    fn a_device_that_never_answered_is_given_up_at_once() {
        let now = start();
        let mut health = Health::new(1, now);
        health.failed(PERIOD, true, now);
        assert!(health.is_dead() && health.probe_from() == now, "a patient probe follows a brief first poll");
        health.failed(PERIOD, false, now);
        let full = health.probe_from();
        health.failed(PERIOD, true, now);
        assert_eq!(health.probe_from(), full, "a brief probe doesn't put off a patient one");
        health.hope(now);
        assert_eq!((health.probe_from(), health.spare_from()), (now, now));
        health.unheard(now);
        assert!(
            health.probe_from() > now && health.spare_from() > now,
            "a line that is down is not asked without end"
        );
    }
}
