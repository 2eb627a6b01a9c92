//! Runs one sink: reads what the lanes ask for, hands it to the sink, and reports confirmed progress.
//!
//! In: commits, the journal, a [`Sink`]. Out: deliveries, progress at most twice a second, [`Status`].
//! Invariant: progress is reported only after the sink's receipt; at most one request of each lane is out.
//! Source: DESIGN section 9.

mod again;
mod urgent;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::alarm::Change;
use crate::forward::backoff::Pace;
use crate::forward::drive::again::Aside;
use crate::forward::lanes::{Job, Lane, Lanes, Outcome};
use crate::forward::shape::Only;
use crate::forward::sink::{Doubt, Parcel, Refusal, Refused, Sink, cut, told};
use crate::forward::trouble::Kind;
use crate::forward::{Ports, Status};
use crate::journal::{Reader, Seq, Span};
use crate::loss::Loss;

/// Transitions in one request at most.
const ALARMS_MAX: usize = 100;
/// Transitions before a page that are looked at, to give two in one millisecond the same times as ever.
const LOOK_BACK: u64 = 64;
/// Progress is reported this often at most.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Pause before a journal that cannot be opened is tried again.
const REOPEN_AFTER: Duration = Duration::from_secs(5);
/// The last report waits this long for room.
const LAST_WORD: Duration = Duration::from_millis(300);

/// Drills of which a sink remembers that it took them.
const DRILLS_MAX: usize = 100;

/// A request that has ended.
struct Flight {
    job: Job,
    outcome: Outcome,
    records: u64,
    damaged: u64,
    refused: Vec<Refused>,
    /// Numbers of the drills in it that the sink took.
    drills: Vec<u64>,
    /// How long the sink took.
    took: Duration,
}

type Slot<'a> = Option<Pin<Box<dyn Future<Output = Flight> + Send + 'a>>>;

/// Runs the sink until `ports.stop`; `batch_max` readings in one request at most.
pub async fn drive<S: Sink>(
    sink: &S,
    name: &str,
    (batch_max, only): (usize, Only),
    pace: Pace,
    mut ports: Ports,
) {
    let mut stop = ports.stop.clone();
    let mut committed = ports.committed.clone();
    // Itself and not another one, which would not have heard what was told since the gateway made it.
    let notices = std::mem::replace(&mut ports.unjournaled, broadcast::channel(1).1);
    let ports = &ports;
    // Beside the lanes, and also without them: while the journal cannot be read, notice goes out all the same.
    let mut keep = pin!(async {
        let urgent = urgent::tell(sink, name, (pace, &only), ports, notices, ports.committed.clone());
        let again = again::look(sink, name, pace.hold / 12, ports);
        futures_util::future::join3(sink.keep(), urgent, again).await
    });
    let reader = tokio::select! {
        biased;
        () = stopped(&mut stop) => return,
        reader = open(name, ports) => reader,
        _ = &mut keep => return,
    };
    let newest = newest(&reader, *committed.borrow_and_update());
    let mut lanes = Lanes::new(ports.progress.clone(), newest, pace, seed());
    let mut slots: [Slot<'_>; 3] = Default::default();
    let mut report_at = now();
    let mut aside = Aside::default();
    loop {
        while aside.has_room()
            && let Some(job) = lanes.take(now())
        {
            let max = if job.lane() == Lane::Alarms { ALARMS_MAX } else { batch_max };
            let (max, doubt) = (lanes.limit(job.lane(), max), lanes.doubt(job.lane(), now()));
            let flight = fly(sink, &reader, job, max, (doubt, &only));
            if let Some(slot) = slots.get_mut(job.lane().place()) {
                *slot = Some(Box::pin(flight));
            }
        }
        show(&lanes, batch_max, ports);
        aside.begin(name, ports);
        // What was set aside is on disk before progress passes it.
        let (wake, report) = (lanes.wake(now()), lanes.moved() && aside.is_empty());
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            () = sleep_until(report_at), if report => {
                report_at = now().checked_add(REPORT_EVERY).unwrap_or(report_at);
                hand_on(&mut lanes, name, ports);
            }
            () = aside.kept(name, ports), if aside.is_under_way() => {}
            flight = landed(&mut slots) => land(&mut lanes, flight, name, ports, &mut aside),
            newest = next_commit(&mut committed) => lanes.committed(newest),
            _ = &mut keep => {}
            () = sleep_until(wake.unwrap_or(report_at)), if wake.is_some() => {}
        }
    }
    let _ = timeout(LAST_WORD, goodbye(sink, keep)).await;
    if aside.is_empty()
        && let Some(progress) = lanes.take_moved()
    {
        // A full queue at the end costs a repeat after the next start, nothing else.
        let _ = timeout(LAST_WORD, ports.confirmed.send((name.to_owned(), progress))).await;
    }
}

/// What it keeps is still kept while it says goodbye.
async fn goodbye<S: Sink, T>(sink: &S, mut keep: Pin<&mut impl Future<Output = T>>) {
    tokio::select! {
        biased;
        () = sink.close() => {}
        _ = &mut keep => {}
    }
}

/// Resolves when `stop` turns true or its owner is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next commit; never, when there will be none.
async fn next_commit(committed: &mut watch::Receiver<Seq>) -> Seq {
    match committed.changed().await {
        Ok(()) => *committed.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

async fn open(name: &str, ports: &Ports) -> Arc<Reader> {
    loop {
        match Reader::open(&ports.journal) {
            Ok(reader) => return Arc::new(reader),
            Err(error) => {
                let why = format!("cannot read the journal: {error}");
                tracing::error!(sink = name, why);
                status(ports).trouble = Some(why);
            }
        }
        tokio::time::sleep(REOPEN_AFTER).await;
    }
}

fn newest(reader: &Reader, told: Seq) -> Seq {
    reader.last().ok().flatten().map_or(told, |(seq, _)| seq.max(told))
}

/// The first of the slots whose flight has ended; alarms are looked at first.
async fn landed(slots: &mut [Slot<'_>; 3]) -> Flight {
    poll_fn(|context| {
        for slot in slots.iter_mut() {
            if let Some(flight) = slot
                && let Poll::Ready(flight) = flight.as_mut().poll(context)
            {
                *slot = None;
                return Poll::Ready(flight);
            }
        }
        Poll::Pending
    })
    .await
}

fn land(lanes: &mut Lanes, flight: Flight, name: &str, ports: &Ports, aside: &mut Aside) {
    let lane = flight.job.lane();
    let failed = matches!(flight.outcome, Outcome::Failed(_));
    if flight.records > 0 {
        lanes.took(lane, flight.took);
    }
    let moved = lanes.done(flight.job, flight.outcome, now());
    if !moved {
        let why = lanes.trouble().unwrap_or_default();
        tracing::warn!(sink = name, lane = lane.name(), failed, why, "not delivered");
        return;
    }
    for refused in &flight.refused {
        let loss = if refused.too_old { "too_old" } else { Loss::RejectedRecord.name() };
        let (record, why) = (cut(&refused.what), &refused.why);
        tracing::error!(sink = name, loss, count = refused.records, record, why);
    }
    if flight.damaged > 0 {
        tracing::error!(sink = name, loss = Loss::DamagedRecord.name(), count = flight.damaged);
    }
    let count = |old: bool| {
        let of = flight.refused.iter().filter(|refused| refused.too_old == old);
        of.fold(0_u64, |sum, refused| sum.saturating_add(refused.records))
    };
    let (rejected, too_old) = (count(false), count(true));
    let delivered = flight.records.saturating_sub(rejected).saturating_sub(too_old);
    aside
        .waiting
        .extend(flight.refused.into_iter().filter(|refused| !refused.too_old && !refused.what.is_empty()));
    let mut status = status(ports);
    status.up |= flight.records > 0;
    status.drills.extend(flight.drills);
    while status.drills.len() > DRILLS_MAX {
        status.drills.pop_first();
    }
    status.rejected = status.rejected.saturating_add(rejected);
    status.too_old = status.too_old.saturating_add(too_old);
    let count = if lane == Lane::Alarms { &mut status.alarms } else { &mut status.readings };
    *count = count.saturating_add(delivered);
}

fn show(lanes: &Lanes, batch_max: usize, ports: &Ports) {
    let mut status = status(ports);
    status.up &= lanes.up();
    status.trouble = lanes.trouble();
    status.backlog = lanes.backlog();
    status.failures = lanes.kinds().values().fold(0, |sum, count| sum.saturating_add(*count));
    if status.kinds != *lanes.kinds() {
        status.kinds.clone_from(lanes.kinds());
    }
    // Of a sink that begins anew what was seen before holds until it shows how it is.
    if lanes.shown() {
        (status.held, status.shown) = (lanes.held(), true);
    }
    status.batch = lanes.limit(Lane::Backlog, batch_max);
}

fn status(ports: &Ports) -> std::sync::MutexGuard<'_, Status> {
    // Plain counters: a viewer that panicked has not broken them.
    ports.status.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hand_on(lanes: &mut Lanes, name: &str, ports: &Ports) {
    if let Some(progress) = lanes.take_moved()
        && ports.confirmed.try_send((name.to_owned(), progress)).is_err()
    {
        lanes.keep_moved();
    }
}

/// Reads the job's page and delivers it.
async fn fly<S: Sink>(
    sink: &S,
    reader: &Arc<Reader>,
    job: Job,
    max: usize,
    (doubt, only): (Doubt, &Only),
) -> Flight {
    let page = match page(Arc::clone(reader), job, max).await {
        Ok(page) => page,
        Err(why) => {
            let outcome = Outcome::Failed(Refusal::new(Kind::Disk, why));
            return Flight {
                job,
                outcome,
                records: 0,
                damaged: 0,
                refused: Vec::new(),
                drills: Vec::new(),
                took: Duration::ZERO,
            };
        }
    };
    let Page { mut parcel, reached, more, damaged } = page;
    let whole = parcel.records();
    only.strain(&mut parcel);
    let records = parcel.records();
    let drills = drills(&parcel);
    let sent = now();
    let answer = if records == 0 { Ok(Default::default()) } else { sink.deliver(parcel, doubt).await };
    let took = now().saturating_duration_since(sent);
    let (outcome, refused) = match answer {
        Ok(receipt) => {
            let poison = receipt.refused.iter().filter(|one| !one.too_old);
            let refused = poison.fold(0_u64, |sum, one| sum.saturating_add(one.records));
            let passed = whole > records;
            (Outcome::Done { reached, more, records, refused, passed }, receipt.refused)
        }
        Err(refusal) => (Outcome::Failed(refusal), Vec::new()),
    };
    // Which record was refused is not always known: then none is believed to have got out.
    let drills = if refused.is_empty() { drills } else { Vec::new() };
    Flight { job, outcome, records, damaged, refused, drills, took }
}

/// Numbers of the drills that begin in a parcel.
fn drills(parcel: &Parcel) -> Vec<u64> {
    let Parcel::Alarms(told) = parcel else { return Vec::new() };
    let begins = |told: &&crate::forward::sink::Told| {
        told.transition.alarm.marks.drill && told.transition.change == Change::Raised
    };
    told.iter().filter(begins).map(|told| told.number).collect()
}

struct Page {
    parcel: Parcel,
    reached: u64,
    more: bool,
    damaged: u64,
}

/// Reads on a blocking thread: a slow disk must not hold up what polls devices.
async fn page(reader: Arc<Reader>, job: Job, max: usize) -> Result<Page, String> {
    let read = move || match job {
        Job::Alarms { after } => alarms(&reader, after, max),
        Job::Live(span) => readings(&reader, span, max, false),
        Job::Backlog(span) => readings(&reader, span, max, true),
    };
    let page = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    page.map_err(|error| format!("cannot read the journal: {error}"))
}

fn alarms(reader: &Reader, after: u64, max: usize) -> Result<Page, crate::journal::StoreError> {
    let back = after.min(LOOK_BACK);
    let most = usize::try_from(back).unwrap_or(0).saturating_add(max);
    let page = reader.transitions(after.saturating_sub(back), most)?;
    let more = page.len() >= most;
    let mut alarms = told(page);
    alarms.retain(|told| told.number > after);
    let reached = alarms.last().map_or(after, |told| told.number);
    Ok(Page { parcel: Parcel::Alarms(alarms), reached, more, damaged: 0 })
}

fn readings(reader: &Reader, span: Span, max: usize, late: bool) -> Result<Page, crate::journal::StoreError> {
    let (groups, next, damaged) = reader.groups(span, max)?;
    // The reader looks at one commit at least; anything else would turn for ever.
    let reached = next.0.max(span.from.0.saturating_add(1));
    Ok(Page { parcel: Parcel::Readings { late, groups }, reached, more: false, damaged })
}

/// Monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the port: pauses are monotonic time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Feeds the jitter; a box without randomness still works, in step with others.
fn seed() -> u64 {
    getrandom::u64().unwrap_or(1)
}

#[cfg(test)]
mod tests;
