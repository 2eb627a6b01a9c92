//! The running gateway: core, live board, supervision, shutdown. It alone spawns.
//!
//! In: a checked [`Site`] and extra tasks (console, terminal view, simulation). Out: a journal, sinks that follow it, and a
//! board that shows what is committed.
//! Invariant: readings flow line task -> core -> writer -> board and sinks; the core never waits for the disk, and a
//! task that panics is started again and named in the log.
//!
//! ```text
//! line tasks ──Polled──▶ keeper (core, pure) ──Group──▶ writer thread (journal) ──Committed──▶ keeper ──▶ board, sinks
//! ```

mod attention;
mod course;
pub mod firmware;
mod trigger;
pub mod board;
pub mod core;
pub mod replay;
pub mod keeper;
pub mod line;
mod health;
mod notify;
mod own;
mod pending;
mod pipe;
mod polling;
mod seal;
mod start;
mod text_line;
mod times;
pub mod vigil;
mod writer;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::bus::port::dial_in::door::Doors;
use crate::clock::Clock;
use crate::gateway::board::Board;
use crate::point::DeviceId;
use crate::site::Site;
use crate::{forward, journal};

/// A task that lives beside the gateway: given the board and the stop signal, it runs until stop.
pub type ExtraTask =
    Box<dyn FnOnce(Arc<Board>, watch::Receiver<bool>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// How long sinks may take to finish after the stop signal.
const SINKS_STOP: Duration = Duration::from_millis(900);

/// What stopped the gateway before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// The journal was opened and cannot be read or written.
    #[error("cannot start from the journal")]
    Store(#[from] journal::StoreError),
    /// The writer thread cannot be started.
    #[error("cannot start the journal's thread")]
    Thread(#[from] std::io::Error),
}

impl RunError {
    fn is_damage(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_damage(),
            Self::Store(error) => error.is_damage(),
            Self::Thread(_) => false,
        }
    }

    fn is_lack_of_room(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_lack_of_room(),
            Self::Store(error) => !error.is_damage(),
            Self::Thread(_) => false,
        }
    }
}

/// Runs `site` until `stop` turns true; everything accepted by then is committed when it returns.
///
/// # Errors
/// The journal cannot be opened, or its thread cannot be started; nothing was polled then.
pub async fn run(
    site: Site,
    clock: Arc<dyn Clock>,
    extra: Vec<ExtraTask>,
    mut stop: watch::Receiver<bool>,
) -> Result<Arc<Board>, RunError> {
    let begun = start::begin(&site, &clock)?;
    let (commands_to, commands) = mpsc::channel(64);
    let board = Arc::new(Board::new(&site, begun.core.alarms(), commands_to, clock.now()));
    board.overlays(begun.core.overlays());
    let (polled_to, polled) = mpsc::channel(1024);
    let (confirmed_to, confirmed) = mpsc::channel(256);
    let (seq_to, seq) = watch::channel(begun.last);
    let (lines_stop_to, lines_stop) = watch::channel(false);
    let (dense_to, dense) = watch::channel(begun.core.dense().clone());

    let mut lines = JoinSet::new();
    spawn_lines(&mut lines, &site, &board, (&clock, polled_to, dense), &lines_stop);
    let mut sinks = JoinSet::new();
    for (settings, (name, status)) in site.sinks.iter().zip(&board.sinks) {
        let ports = forward::Ports {
            site: site.catalog.site.clone(),
            journal: site.journal.path.clone(),
            progress: begun.progress.get(name).cloned().unwrap_or_default(),
            committed: seq.clone(),
            confirmed: confirmed_to.clone(),
            status: Arc::clone(status),
            clock: Arc::clone(&clock),
            stop: lines_stop.clone(),
        };
        spawn(&mut sinks, forward::run(settings.clone(), ports));
    }
    drop(confirmed_to);
    let mut beside = JoinSet::new();
    for task in extra {
        spawn(&mut beside, task(Arc::clone(&board), stop.clone()));
    }

    let _sealing = seal::start(&site.journal, seq, Arc::clone(&begun.sealed), Arc::clone(&clock))?;
    let outlets = keeper::Outlets { committed: seq_to, dense: dense_to };
    let keeper = keeper::Keeper::new(&site, begun, Arc::clone(&board), Arc::clone(&clock), outlets);
    let (last_to, last) = watch::channel(false);
    let mut keeper_task = JoinSet::new();
    spawn(&mut keeper_task, keeper.run(keeper::Inlets { polled, commands, confirmed, stop: last }));
    notify::ready(&board, site.catalog.devices.len());

    let _ = stop.wait_for(|stop| *stop).await;
    notify::stopping();
    let _ = lines_stop_to.send(true);
    lines.shutdown().await;
    let _ = tokio::time::timeout(SINKS_STOP, async { while sinks.join_next().await.is_some() {} }).await;
    sinks.shutdown().await;
    let _ = last_to.send(true);
    while keeper_task.join_next().await.is_some() {}
    let _ = tokio::time::timeout(Duration::from_millis(300), async {
        while beside.join_next().await.is_some() {}
    })
    .await;
    beside.shutdown().await;
    Ok(board)
}

/// Starts the doors that DTUs dial in at, and a task for each line.
fn spawn_lines(
    lines: &mut JoinSet<()>,
    site: &Site,
    board: &Arc<Board>,
    (clock, polled, mut dense): (
        &Arc<dyn Clock>,
        mpsc::Sender<line::Polled>,
        watch::Receiver<BTreeSet<DeviceId>>,
    ),
    stop: &watch::Receiver<bool>,
) {
    let doors = Doors::new(site.lines.iter().map(|line| &line.settings));
    for door in doors.all() {
        spawn(lines, line::attend(door, Arc::clone(board), stop.clone()));
    }
    // What was near its threshold when the last run ended is told to the new tasks, too.
    dense.mark_changed();
    for (spec, (_, listeners)) in site.lines.iter().zip(&board.taps) {
        let ports = || line::Ports { clock: Arc::clone(clock), polled: polled.clone(), dense: dense.clone() };
        let task = match text_line::TextTask::new(spec, site, ports()) {
            Some(task) => line::Task::Text(Box::new(task)),
            None => {
                let mut task = line::LineTask::new(spec, site, &doors, ports());
                task.tell(listeners);
                line::Task::Modbus(Box::new(task))
            }
        };
        spawn(lines, line::supervise(task, stop.clone()));
    }
}

/// The one place where tasks are spawned.
fn spawn(set: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
    set.spawn(task);
}
