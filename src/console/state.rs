//! What all requests of one console share, and the watch over the board's pulse.
//!
//! In: the board. Out: copies of its picture, free places for listeners and history readers, and the console's view of its health.
//! Invariant: the picture's lock is never held across an await.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::alarm::Condition;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::gateway::board::{Board, Picture};

/// Live listeners at once.
const LISTENERS_MAX: usize = 32;

/// History readers at once; each holds a connection to the journal.
const READERS_MAX: usize = 4;

/// A board that stands still for longer than this is not being fed any more.
const STILL_MAX: Duration = Duration::from_secs(60);

/// No site polls so seldom that nothing in it may be polled for this long, unless its `stale_after` says so.
const QUIET_MAX: Duration = Duration::from_secs(600);

/// Shared by all requests.
pub(crate) struct Console {
    pub(crate) board: Arc<Board>,
    pub(crate) token: String,
    /// Bound to loopback: reading needs no token, and foreign host names are turned away.
    pub(crate) loopback: bool,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) listeners: Arc<Semaphore>,
    pub(crate) readers: Arc<Semaphore>,
    /// Never stepped, so that differences of its times are monotonic.
    clock: SystemClock,
    pulse: Mutex<Pulse>,
}

/// When something last moved, on the console's own clock.
#[derive(Clone, Copy)]
struct Pulse {
    changed: Timestamp,
    polls: u64,
    polled: Timestamp,
}

impl Console {
    pub(crate) fn new(board: Arc<Board>, token: String, loopback: bool, stop: watch::Receiver<bool>) -> Self {
        let clock = SystemClock::new();
        let now = clock.now();
        let pulse = Pulse { changed: now, polls: 0, polled: now };
        Self {
            board,
            token,
            loopback,
            stop,
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            clock,
            pulse: Mutex::new(pulse),
        }
    }

    /// The console's clock.
    pub(crate) fn clock(&self) -> &SystemClock {
        &self.clock
    }

    /// Follows the board for ever.
    pub(crate) async fn watch(&self) {
        let mut changed = self.board.changed.subscribe();
        loop {
            self.feel();
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn feel(&self) {
        let polls = self.look(|picture| picture.devices.iter().map(|device| device.polls).sum());
        let now = self.clock.now();
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.changed = now;
        if pulse.polls != polls {
            pulse.polls = polls;
            pulse.polled = now;
        }
    }

    /// Looks at the picture; a writer that died left a whole picture, since it replaces parts.
    pub(crate) fn look<T>(&self, with: impl FnOnce(&Picture) -> T) -> T {
        with(&self.board.picture.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy of the picture.
    pub(crate) fn picture(&self) -> Picture {
        self.look(Picture::clone)
    }

    /// How long ago the board last changed.
    pub(crate) fn still_for(&self) -> Duration {
        let pulse = *self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        self.clock.now().since(pulse.changed)
    }

    /// What is wrong with the gateway as a whole, in words.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let (journal, devices) =
            self.look(|picture| (picture.journal.trouble.clone(), picture.devices.len()));
        let mut troubles = Vec::new();
        if let Some(trouble) = journal {
            troubles.push(format!("the journal refuses: {trouble}"));
        }
        let still = self.still_for();
        if still > STILL_MAX {
            troubles.push(format!("the gateway stands still: nothing has changed for {} s", still.as_secs()));
        }
        let pulse = *self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = self.clock.now().since(pulse.polled);
        if devices > 0 && quiet > self.quiet_max() {
            troubles.push(format!("polling stands still: no device was polled for {} s", quiet.as_secs()));
        }
        troubles
    }

    /// The longest time that a healthy site may pass without a single poll.
    fn quiet_max(&self) -> Duration {
        let shown = self.board.shown();
        let stale = shown.rules.iter().filter_map(|rule| match rule.condition {
            Condition::Stale { after, .. } => Some(after),
            Condition::Threshold { .. } | Condition::Measured { .. } => None,
        });
        stale.max().unwrap_or_default().max(QUIET_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use tokio::sync::mpsc;

    use super::*;
    use crate::gateway::board::DeviceStatus;

    fn console() -> Console {
        let picture = Picture { devices: vec![DeviceStatus::default()], ..Picture::default() };
        let board = Board {
            picture: RwLock::new(picture),
            changed: watch::channel(0).0,
            unjournaled: tokio::sync::broadcast::Sender::new(1),
            commands: mpsc::channel(1).0,
            reloads: mpsc::channel(1).0,
            journal: std::path::PathBuf::new(),
        };
        Console::new(Arc::new(board), String::new(), true, watch::channel(false).1)
    }

    async fn pass(console: &Console, polls: u64) -> Vec<String> {
        tokio::time::advance(Duration::from_secs(59)).await;
        console.board.picture.write().unwrap().devices[0].polls += polls;
        console.feel();
        console.troubles()
    }

    #[tokio::test(start_paused = true)]
    async fn a_board_that_nobody_feeds_is_a_trouble() {
        let console = console();
        assert_eq!(pass(&console, 1).await, Vec::<String>::new());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(console.troubles(), ["the gateway stands still: nothing has changed for 61 s"]);
        console.feel();
        assert_eq!(console.troubles(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_board_that_is_fed_without_polls_is_a_trouble() {
        let console = console();
        pass(&console, 1).await;
        for _ in 0..10 {
            assert_eq!(pass(&console, 0).await, Vec::<String>::new());
        }
        assert_eq!(pass(&console, 0).await, ["polling stands still: no device was polled for 649 s"]);
        assert_eq!(pass(&console, 1).await, Vec::<String>::new());
    }
}
