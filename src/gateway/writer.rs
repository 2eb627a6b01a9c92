//! The journal's own thread: the only place that waits for the disk.
//!
//! In: one group at a time, with the documents it refers to, which are kept first. Out: the same group back, with its number or the refusal.
//! Invariant: at most one group is on its way, so the keeper knows exactly what is not durable yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::gateway::pending::Job;
use crate::journal::{Figures, Journal, Seq, StoreError, Wear};
use crate::site::Site;

/// Old records are removed this often.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// What became of a group.
pub(crate) struct Written {
    /// The group, as handed in.
    pub(crate) job: Job,
    /// Its number, or why the disk refused.
    pub(crate) outcome: Result<Seq, StoreError>,
    /// The journal's number of the group's last transition; 0 when it has none.
    pub(crate) numbered: u64,
    /// Records found damaged.
    pub(crate) damaged: u64,
    /// Readings removed before a sink confirmed them, by sink.
    pub(crate) cut: BTreeMap<String, u64>,
    /// Figures, when just taken.
    pub(crate) figures: Option<Figures>,
    /// What was written since the start.
    pub(crate) wear: Wear,
    /// Bytes that the gateway sent to the disk, as the kernel counts them; 0 where it does not.
    pub(crate) bytes_to_disk: u64,
}

/// Opens the journal later.
type Open = Box<dyn FnMut() -> Result<Journal, StoreError> + Send>;

/// The journal, or the way to it.
pub(crate) enum Store {
    /// Open.
    Open(Box<Journal>),
    /// There was no room to open it; tried again with each group.
    Closed(Open),
}

/// The two ends of the writer's thread.
pub(crate) struct Writer {
    /// Groups go in; capacity 1.
    pub(crate) groups: mpsc::Sender<Job>,
    /// Outcomes come out.
    pub(crate) written: mpsc::Receiver<Written>,
}

/// Starts the thread; it ends when `groups` is dropped.
pub(crate) fn start(store: Store, clock: Arc<dyn Clock>, kept: Arc<Site>) -> std::io::Result<Writer> {
    let (groups, groups_in) = mpsc::channel(1);
    let (written_to, written) = mpsc::channel(4);
    let mut desk = Desk { store, clock, kept, trimmed: None };
    let body = move || desk.write(groups_in, &written_to);
    std::thread::Builder::new().name("journal".to_owned()).spawn(body)?;
    Ok(Writer { groups, written })
}

/// What the thread works with.
struct Desk {
    store: Store,
    clock: Arc<dyn Clock>,
    /// The documents that the journal was told of last.
    kept: Arc<Site>,
    trimmed: Option<Instant>,
}

impl Desk {
    fn write(&mut self, mut groups: mpsc::Receiver<Job>, written: &mpsc::Sender<Written>) {
        while let Some(job) = groups.blocking_recv() {
            if written.blocking_send(self.commit(job)).is_err() {
                return;
            }
        }
    }

    fn commit(&mut self, job: Job) -> Written {
        let clock = Arc::clone(&self.clock);
        let mut written = Written {
            job,
            outcome: Err(StoreError::Full),
            numbered: 0,
            damaged: 0,
            cut: BTreeMap::new(),
            figures: None,
            wear: Wear::default(),
            bytes_to_disk: 0,
        };
        let kept = Arc::clone(&self.kept);
        let journal = match self.open() {
            Ok(journal) => journal,
            Err(error) => {
                written.outcome = Err(error);
                return written;
            }
        };
        let kept_now = keep(journal, &kept, &written.job);
        written.outcome = kept_now.and_then(|()| journal.commit(&written.job.group));
        if written.outcome.is_ok() {
            if !written.job.group.transitions.is_empty() {
                written.numbered = journal.last_transition().unwrap_or_default();
            }
            // Readings that waited for their time become commits beside the new ones.
            let boot = clock.trusted().then(|| clock.boot());
            match journal.date(boot.as_ref()) {
                Ok(Some(last)) => written.outcome = Ok(last),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "readings still wait for their time"),
            }
        }
        written.damaged = journal.take_damaged();
        written.wear = journal.wear();
        let pressed = journal.has_grown() || matches!(written.outcome, Err(StoreError::Full));
        if written.outcome.is_ok() {
            self.kept = Arc::clone(&written.job.site);
        }
        written.bytes_to_disk = bytes_to_disk();
        let now = clock.instant();
        let due = self.trimmed.is_none_or(|at| TRIM_EVERY <= now.saturating_duration_since(at));
        if !due && !pressed {
            return written;
        }
        self.trimmed = Some(now);
        if let Store::Open(journal) = &mut self.store {
            match journal.trim(clock.now()) {
                Ok(lost) => written.cut = lost,
                Err(error) => tracing::warn!(%error, "cannot remove old records from the journal"),
            }
            written.figures = journal.figures().ok();
        }
        written
    }

    fn open(&mut self) -> Result<&mut Journal, StoreError> {
        if let Store::Closed(open) = &mut self.store {
            self.store = Store::Open(Box::new(open()?));
            tracing::info!("there is room again; the journal is open");
        }
        match &mut self.store {
            Store::Open(journal) => Ok(journal),
            Store::Closed(_) => Err(StoreError::Full),
        }
    }
}

/// Keeps the documents of a group that is the first to refer to them.
fn keep(journal: &mut Journal, kept: &Arc<Site>, job: &Job) -> Result<(), StoreError> {
    let site = &job.site;
    if !Arc::ptr_eq(site, kept) {
        journal.keep_site(&site.catalog, &site.documents, job.group.now)?;
        let names: Vec<String> = site.sinks.iter().map(|sink| sink.name.clone()).collect();
        journal.keep_sinks(&names)?;
        journal.resettle(&site.journal);
    }
    Ok(())
}

/// What the gateway sent to the disk (journal, history, files of sinks), from the kernel's own count.
fn bytes_to_disk() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}
