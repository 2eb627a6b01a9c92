//! The thread that moves committed readings into the history: about once an hour where there are many, seldom where there are few.
//!
//! In: the number of the last commit. Out: the number up to which the history has everything, for retention.
//! Invariant: nothing waits for it; what it cannot do now it does the next time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::gateway::line::Orders;
use crate::journal::chunks::Sealer;
use crate::journal::{Seq, StoreError};

/// The thread looks this often whether there is something to do.
const LOOK: Duration = Duration::from_secs(60);
/// It looks this often whether what waits is worth a sealing.
const EVERY: Duration = Duration::from_secs(3600);
/// Slices of old chunks that one look removes.
const SLICES: u32 = 50;

/// Starts the thread; it ends soon after the sender that comes back is dropped.
pub(crate) fn start(
    orders: watch::Receiver<Orders>,
    committed: watch::Receiver<Seq>,
    sealed: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
) -> std::io::Result<Sender<()>> {
    let (guard, stop) = channel();
    let mut desk = Desk { orders, committed, sealed, clock, sealer: None, due: None };
    std::thread::Builder::new().name("history".to_owned()).spawn(move || desk.run(&stop))?;
    Ok(guard)
}

struct Desk {
    /// For the journal's settings, which a reload may change.
    orders: watch::Receiver<Orders>,
    committed: watch::Receiver<Seq>,
    sealed: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    sealer: Option<Sealer>,
    due: Option<Instant>,
}

impl Desk {
    fn run(&mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let now = self.clock.instant();
            if self.due.is_some_and(|due| now < due) {
                continue;
            }
            self.due = now.checked_add(EVERY);
            if let Err(error) = self.work(stop) {
                tracing::warn!(%error, "the history waits; the journal keeps what it needs");
                // Opened anew the next time, which finds out what is wrong with it.
                (self.sealer, self.due) = (None, None);
            }
        }
    }

    fn work(&mut self, stop: &Receiver<()>) -> Result<(), StoreError> {
        let (settings, points) = {
            let orders = self.orders.borrow_and_update();
            (orders.site.journal.clone(), orders.site.catalog.points.len())
        };
        let sealer = match &mut self.sealer {
            Some(sealer) => sealer,
            none => none.insert(Sealer::open(&settings.path)?),
        };
        let to = *self.committed.borrow_and_update();
        self.sealed.store(sealer.sealed()?.0, Ordering::Relaxed);
        let worth = sealer.is_worth(to, points, &settings, self.clock.now())?;
        while worth && stop.try_recv() == Err(TryRecvError::Empty) {
            let readings = sealer.seal(to)?;
            self.sealed.store(sealer.sealed()?.0, Ordering::Relaxed);
            if readings == 0 {
                break;
            }
            tracing::debug!(readings, "sealed in the history");
        }
        let cutoff = self.clock.trusted().then(|| self.clock.now().minus(settings.keep));
        for _ in 0..SLICES {
            if sealer.trim(cutoff, settings.max_bytes / 2)? == 0 {
                break;
            }
        }
        Ok(())
    }
}
