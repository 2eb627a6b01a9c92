//! The journal's own thread: the only place that waits for the disk.
//!
//! In: one group at a time. Out: the same group back, with its number or the refusal.
//! Invariant: at most one group is on its way, so the keeper knows exactly what is not durable yet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::journal::{Group, Journal, Reader, Seq, StoreError};

/// Old records are removed this often.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// What became of a group.
pub(crate) struct Written {
    /// The group, as handed in.
    pub(crate) group: Group,
    /// Its number, or why the disk refused.
    pub(crate) outcome: Result<Seq, StoreError>,
    /// Readings removed before a sink confirmed them, by sink.
    pub(crate) cut: BTreeMap<String, u64>,
    /// Bytes on disk, when just measured.
    pub(crate) bytes: Option<u64>,
}

/// The two ends of the writer's thread.
pub(crate) struct Writer {
    /// Groups go in; capacity 1.
    pub(crate) groups: mpsc::Sender<Group>,
    /// Outcomes come out.
    pub(crate) written: mpsc::Receiver<Written>,
}

/// Starts the thread; it ends when `groups` is dropped.
pub(crate) fn start(journal: Journal, clock: Arc<dyn Clock>, path: PathBuf) -> std::io::Result<Writer> {
    let (groups, groups_in) = mpsc::channel(1);
    let (written_to, written) = mpsc::channel(4);
    let body = move || write(journal, clock.as_ref(), &path, groups_in, &written_to);
    std::thread::Builder::new().name("journal".to_owned()).spawn(body)?;
    Ok(Writer { groups, written })
}

fn write(
    mut journal: Journal,
    clock: &dyn Clock,
    path: &std::path::Path,
    mut groups: mpsc::Receiver<Group>,
    written: &mpsc::Sender<Written>,
) {
    let reader = Reader::open(path).ok();
    let mut trimmed = None;
    while let Some(group) = groups.blocking_recv() {
        let outcome = journal.commit(&group);
        let now = clock.now();
        let due = trimmed.is_none_or(|at| TRIM_EVERY <= now.since(at) || now < at);
        let mut cut = BTreeMap::new();
        let mut bytes = None;
        if due {
            trimmed = Some(now);
            match journal.trim(now) {
                Ok(lost) => cut = lost,
                Err(error) => tracing::warn!(error = %error, "cannot remove old records from the journal"),
            }
            bytes = reader.as_ref().map(Reader::bytes);
        }
        if written.blocking_send(Written { group, outcome, cut, bytes }).is_err() {
            return;
        }
    }
}
