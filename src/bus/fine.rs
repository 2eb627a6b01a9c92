//! Waiting to a fraction of a millisecond: the runtime's own timers have a grain of 1 ms, half of the silence between two frames.
//!
//! In: a time to wait. Out: a wake-up about a tenth of a millisecond after it.
//! Invariant: never early; it keeps real time, so it is only for ports of the real world.
//! Source: Linux `timerfd_create(2)`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// One timer of the kernel.
#[derive(Debug)]
pub(crate) struct Fine(AsyncFd<OwnedFd>);

impl Fine {
    /// A timer that waits for nothing yet.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "an `OwnedFd` is one descriptor for as long as it lives, which is all that `register` asks for"
        )]
        AsyncFd::new(timer).map(Self)
    }

    /// Waits for `time`. A wait that is dropped is forgotten.
    ///
    /// # Errors
    /// The kernel refused; nothing was waited for.
    pub(crate) async fn sleep(&self, time: Duration) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            // Zero would stop the timer.
            tv_nsec: time.subsec_nanos().max(1).into(),
        };
        timerfd_settime(
            &self.0,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value: value },
        )?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?)) {
                Ok(read) => return read.map(|_| ()),
                // An older wait had ended; its count was taken back when the timer was set.
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the timer keeps real time")]
    async fn it_is_never_early_also_after_a_wait_that_was_dropped() {
        let fine = Fine::new().unwrap();
        for _ in 0..20 {
            let dropped = tokio::time::timeout(Duration::from_millis(1), fine.sleep(Duration::from_secs(60)));
            assert!(dropped.await.is_err());
            let begun = std::time::Instant::now();
            fine.sleep(Duration::from_micros(1_750)).await.unwrap();
            assert!(begun.elapsed() >= Duration::from_micros(1_750));
        }
    }
}
