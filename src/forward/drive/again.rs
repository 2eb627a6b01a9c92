//! Records set aside: put on disk before progress passes them, and sent again when a person wants it.
//!
//! In: what a sink refused; marks in the quarantine. Out: the same records on disk; repeats.
//! Invariant: a record leaves the quarantine only when the sink has taken it, or by a person's hand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::Timestamp;
use crate::forward::Ports;
use crate::forward::drive::{now, status};
use crate::forward::sink::{Refused, Sink};
use crate::journal::StoreError;
use crate::journal::quarantine::{Make, Quarantine, SetAside, count};
use crate::loss::Loss;

/// Records that wait to be set aside before no more is asked of the sink.
const ASIDE_MAX: usize = 1000;
/// Pause when the disk refuses.
const PAUSE: Duration = Duration::from_secs(5);
/// Records sent again in one go.
const PAGE: usize = 50;

/// How many old ones had to go, and how many are there.
type Kept = Result<(u64, u64), StoreError>;

/// Records that are being set aside.
#[derive(Default)]
pub(super) struct Aside {
    pub(super) waiting: Vec<Refused>,
    /// The first so many of `waiting` are being put on disk.
    under_way: Option<(usize, JoinHandle<Kept>)>,
    /// Not before this: the disk refused.
    pause: Option<Instant>,
}

impl Aside {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ASIDE_MAX
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some() || !self.waiting.is_empty()
    }

    pub(super) fn begin(&mut self, name: &str, ports: &Ports) {
        if self.under_way.is_some()
            || self.waiting.is_empty()
            || self.pause.is_some_and(|pause| now() < pause)
        {
            return;
        }
        let (folder, name, at, records) =
            (ports.journal.clone(), name.to_owned(), ports.clock.now(), self.waiting.clone());
        let count = records.len();
        let work = move || keep(&folder, &name, at, &records);
        self.under_way = Some((count, tokio::task::spawn_blocking(work)));
    }

    /// Waits until what is under way is on disk, or for the end of a pause.
    pub(super) async fn kept(&mut self, name: &str, ports: &Ports) {
        let Some((count, work)) = &mut self.under_way else {
            sleep_until(self.pause.unwrap_or_else(now)).await;
            return;
        };
        let kept = work
            .await
            .map_err(|error| error.to_string())
            .and_then(|kept| kept.map_err(|error| error.to_string()));
        let count = *count;
        self.under_way = None;
        match kept {
            Ok((gone, quarantined)) => {
                self.pause = None;
                self.waiting.drain(..count);
                status(ports).quarantined = quarantined;
                if gone > 0 {
                    tracing::error!(
                        sink = name,
                        loss = Loss::RejectedRecord.name(),
                        count = gone,
                        "the oldest records set aside had to go"
                    );
                }
            }
            Err(why) => {
                tracing::error!(
                    sink = name,
                    why,
                    "refused records cannot be set aside; progress waits for them"
                );
                self.pause = now().checked_add(PAUSE);
            }
        }
    }
}

/// Puts `refused` into the quarantine of `folder`; how many old ones had to go, and how many are there.
pub(super) fn keep(folder: &Path, sink: &str, at: Timestamp, refused: &[Refused]) -> Kept {
    let Some(mut kept) = Quarantine::open(folder, Make::Yes)? else { return Ok((0, 0)) };
    let set_aside = |one: &Refused| SetAside {
        id: 0,
        sink: sink.to_owned(),
        at,
        records: one.records,
        place: one.place.clone(),
        what: one.what.clone(),
        why: one.why.clone(),
        again: false,
    };
    let records: Vec<_> = refused.iter().map(set_aside).collect();
    Ok((kept.put(sink, &records)?, kept.count(sink)?))
}

/// Looks, every now and then, how much is set aside and what is to be sent again; never ends.
pub(super) async fn look<S: Sink>(sink: &S, name: &str, every: Duration, ports: &Ports) {
    loop {
        if let Err(why) = turn(sink, name, ports).await {
            tracing::warn!(sink = name, why, "the quarantine cannot be looked at");
        }
        sleep(every).await;
    }
}

async fn turn<S: Sink>(sink: &S, name: &str, ports: &Ports) -> Result<(), String> {
    let (folder, of): (PathBuf, String) = (ports.journal.clone(), name.to_owned());
    let up = status(ports).up;
    let look = move || -> Result<(u64, Vec<SetAside>), StoreError> {
        let due = match Quarantine::open(&folder, Make::No)? {
            Some(kept) if up => kept.due(&of, PAGE)?,
            _ => Vec::new(),
        };
        Ok((count(&folder, &of)?, due))
    };
    let (found, due) = on_disk(look).await?;
    status(ports).quarantined = found;
    if due.is_empty() {
        return Ok(());
    }
    let refused = |one: &SetAside| Refused::message(one.records, &one.place, &one.what, &one.why);
    let receipt = match sink.again(due.iter().map(refused).collect()).await {
        Ok(receipt) => receipt,
        Err(refusal) => return Err(format!("{refusal:?}")),
    };
    let why = |one: &SetAside| {
        let found =
            receipt.refused.iter().find(|refused| refused.what == one.what && refused.place == one.place);
        found.map(|refused| refused.why.clone())
    };
    let (mut taken, mut still) = (Vec::new(), Vec::new());
    for one in &due {
        match why(one) {
            None => taken.push(one.id),
            Some(why) => still.push((one.id, why)),
        }
    }
    tracing::info!(
        sink = name,
        taken = taken.len(),
        refused = still.len(),
        "records set aside were sent again"
    );
    let (folder, of) = (ports.journal.clone(), name.to_owned());
    let settle = move || -> Result<u64, StoreError> {
        if let Some(mut kept) = Quarantine::open(&folder, Make::No)? {
            kept.settle(&taken, &still)?;
        }
        count(&folder, &of)
    };
    status(ports).quarantined = on_disk(settle).await?;
    Ok(())
}

/// On a blocking thread: a slow disk must not hold up what polls devices.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}
