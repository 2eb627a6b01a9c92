//! What is not on disk because the disk refuses or takes too long: told all the same, marked.
//!
//! In: notices of the gateway. Out: deliveries beside the lanes. Progress never moves by them.
//! Invariant: transitions are told in their order, and of readings the newest of each device; nothing is given up before it is either
//! delivered or committed, and then the lanes deliver it.
//! Source: DESIGN promise 3.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use crate::forward::backoff::Pace;
use crate::forward::drive::{now, status};
use crate::forward::shape::Only;
use crate::forward::sink::{Doubt, Parcel, Refusal, Sink, told};
use crate::forward::{Ports, Unjournaled};
use crate::journal::{Seq, Stored};
use crate::point::Catalog;
use crate::reading::Batch;

/// Transitions that wait for the sink at most; the oldest go, and are told when they are committed.
const WAITING_MAX: usize = 10_000;

/// What waits to be told.
#[derive(Default)]
struct Waiting {
    transitions: Vec<crate::alarm::Transition>,
    batches: BTreeMap<u32, Batch>,
    catalog: Arc<Catalog>,
    trouble: String,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.transitions.is_empty() && self.batches.is_empty()
    }

    fn add(&mut self, notice: &Unjournaled) {
        if !Arc::ptr_eq(&self.catalog, &notice.catalog) {
            // Numbers mean something else now; what waited is committed when the disk is back.
            self.batches.clear();
            self.catalog = Arc::clone(&notice.catalog);
        }
        self.transitions.extend(notice.transitions.iter().cloned());
        let over = self.transitions.len().saturating_sub(WAITING_MAX);
        self.transitions.drain(..over);
        self.batches.extend(notice.batches.iter().map(|batch| (batch.device.0, batch.clone())));
        self.trouble.clone_from(&notice.trouble);
    }

    fn parcel(&self) -> Parcel {
        let transitions = self.transitions.iter().cloned().map(|transition| (0, transition));
        let now = self.batches.values().map(|batch| batch.end).max().unwrap_or_default();
        let batches = self.batches.values().cloned().collect();
        let group = Stored { seq: Seq(0), now, catalog: Arc::clone(&self.catalog), batches };
        Parcel::Unjournaled { alarms: told(transitions.collect()), group }
    }
}

/// Tells what is not on disk; never ends.
pub(super) async fn tell<S: Sink>(
    sink: &S,
    name: &str,
    (pace, only): (Pace, &Only),
    ports: &Ports,
    mut notices: broadcast::Receiver<Arc<Unjournaled>>,
    mut committed: watch::Receiver<Seq>,
) {
    let mut waiting = Waiting::default();
    let mut at: Instant = now();
    loop {
        let heard = tokio::select! {
            biased;
            // The disk takes it again: the lanes tell it, with its number.
            Ok(()) = committed.changed(), if !waiting.is_empty() => { waiting = Waiting::default(); continue }
            notice = notices.recv() => notice,
            () = sleep_until(at), if !waiting.is_empty() => {
                at = deliver(sink, name, (pace, only), ports, &mut waiting).await;
                continue;
            }
        };
        match heard {
            Ok(notice) => {
                committed.mark_unchanged();
                waiting.add(&notice);
            }
            Err(broadcast::error::RecvError::Lagged(count)) => {
                tracing::warn!(
                    sink = name,
                    count,
                    "notices of what is not on disk were missed; it is told when it is committed"
                );
            }
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// When to try again.
async fn deliver<S: Sink>(
    sink: &S,
    name: &str,
    (pace, only): (Pace, &Only),
    ports: &Ports,
    waiting: &mut Waiting,
) -> Instant {
    let mut parcel = waiting.parcel();
    only.strain(&mut parcel);
    let (records, alarms) = (parcel.records(), waiting.transitions.len());
    let answer = if records == 0 { Ok(Default::default()) } else { sink.deliver(parcel, Doubt::None).await };
    let pause = match answer {
        Ok(receipt) => {
            let refused = receipt.refused.iter().fold(0_u64, |sum, one| sum.saturating_add(one.records));
            tracing::warn!(
                sink = name,
                records,
                alarms,
                refused,
                trouble = waiting.trouble,
                "told without the journal"
            );
            let mut status = status(ports);
            status.unjournaled = status.unjournaled.saturating_add(records);
            *waiting = Waiting { catalog: Arc::clone(&waiting.catalog), ..Waiting::default() };
            Duration::ZERO
        }
        Err(refusal) => {
            tracing::warn!(sink = name, ?refusal, "not told, and not on disk");
            match refusal {
                Refusal::Busy { after, .. } => after.unwrap_or(pace.knock).min(pace.ask),
                Refusal::Denied { .. } | Refusal::Unfit { .. } => pace.hold,
                Refusal::Unreachable { .. } => pace.knock,
            }
        }
    };
    now().checked_add(pause).unwrap_or_else(now)
}
