//! Wall time for stamps and monotonic time for durations, in one line of milliseconds.
//!
//! In: the system's wall clock (once at start and at each check) and tokio's monotonic clock. Out: [`Timestamp`]s
//! that run evenly between two checks, and the size of each step of the wall clock.
//! Invariant: between two `step` calls the difference of two timestamps is monotonic time.
//! Source: DESIGN promise 8, "time is an argument".

pub mod certificate;
mod kernel;
pub mod zone;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A wall clock before this moment (2024-01-01) was never set: the box has no battery for its clock.
const TRUSTED_FROM: Timestamp = Timestamp(1_704_067_200_000);

impl Timestamp {
    /// The moment `ms` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment and `span` later; saturates.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment and `span` earlier; saturates.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This moment moved by `ms` (a step of the wall clock).
    pub const fn shifted(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// RFC 3339 in UTC with milliseconds, `2026-11-23T08:00:00.123Z`.
    ///
    /// # Errors
    /// A text that is not an RFC 3339 time with an offset.
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(|at| Self(at.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// When the box was started, as its clock has it now: monotonic time of the box counts from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's name for this start of the box; empty where there is none.
    pub id: Arc<str>,
    /// The moment of the start; a step of the clock moves it.
    pub at: Timestamp,
}

/// What makes the wall clock trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// It was set: it shows a time after 2024. For a box with a battery for its clock, or one that nobody synchronises.
    #[default]
    Set,
    /// The kernel says that it is synchronised (NTP, PTP); for a box without a battery, whose clock may start at any time.
    Synchronised,
}

/// Where time comes from; the real one is [`SystemClock`], tests and replays bring their own.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Now, for durations: no step of the wall clock moves it.
    #[expect(clippy::disallowed_methods, reason = "this is the port to the clocks")]
    fn instant(&self) -> Instant {
        Instant::now()
    }
    /// The moment of a monotonic instant.
    fn at(&self, instant: Instant) -> Timestamp;
    /// Whether the wall clock has ever been set.
    fn trusted(&self) -> bool;
    /// The start of the box.
    fn boot(&self) -> Boot {
        Boot { id: "".into(), at: Timestamp::default() }
    }
    /// Follows the wall clock: the milliseconds that it was stepped by since the last call, if by half a second or more.
    fn step(&self) -> Option<i64>;
}

/// The clock of the box: wall time at start, carried on by monotonic time.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
    origin_ms: AtomicI64,
    trust: Trust,
    /// The kernel has said once that the clock is synchronised; a network that is gone does not unset it.
    synchronised: AtomicBool,
    boot: Arc<str>,
    /// How long the box had been up at `origin`.
    up: Duration,
}

impl SystemClock {
    /// A clock that starts from the wall time of this call, trusted once it is set.
    pub fn new() -> Self {
        Self::trusting(Trust::Set)
    }

    /// A clock that starts from the wall time of this call.
    #[expect(clippy::disallowed_methods, reason = "this is the port to the clocks")]
    pub fn trusting(trust: Trust) -> Self {
        Self {
            origin: Instant::now(),
            origin_ms: AtomicI64::new(wall_ms()),
            trust,
            synchronised: AtomicBool::new(false),
            boot: kernel::boot(),
            up: kernel::up(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port to the clocks")]
    fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    fn at(&self, instant: Instant) -> Timestamp {
        let origin = Timestamp(self.origin_ms.load(Ordering::Relaxed));
        match instant.checked_duration_since(self.origin) {
            Some(after) => origin.plus(after),
            None => origin.minus(self.origin.duration_since(instant)),
        }
    }

    fn trusted(&self) -> bool {
        if self.now() < TRUSTED_FROM {
            return false;
        }
        match self.trust {
            Trust::Set => true,
            Trust::Synchronised => {
                self.synchronised.load(Ordering::Relaxed) || {
                    let is = kernel::synchronised();
                    self.synchronised.store(is, Ordering::Relaxed);
                    is
                }
            }
        }
    }

    fn boot(&self) -> Boot {
        let origin = Timestamp(self.origin_ms.load(Ordering::Relaxed));
        Boot { id: Arc::clone(&self.boot), at: origin.minus(self.up) }
    }

    fn step(&self) -> Option<i64> {
        let by = wall_ms().saturating_sub(self.now().as_millis());
        if by.abs() < 500 {
            return None;
        }
        self.origin_ms.fetch_add(by, Ordering::Relaxed);
        Some(by)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the port to the clocks")]
fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let at = Timestamp::parse("2026-11-23T08:00:00.123Z").unwrap();
        assert_eq!(at.to_string(), "2026-11-23T08:00:00.123Z");
        assert_eq!(Timestamp::parse("2026-11-23T16:00:00.123+08:00").unwrap(), at);
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn runs_with_tokio_time() {
        let clock = SystemClock::new();
        let start = clock.now();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().since(start), Duration::from_secs(3600));
    }
}
