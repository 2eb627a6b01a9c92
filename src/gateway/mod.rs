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
mod expiry;
pub mod firmware;
mod trigger;
pub mod board;
pub mod core;
pub mod replay;
pub mod keeper;
mod known;
pub mod line;
mod health;
mod notify;
mod outage;
mod own;
mod pending;
mod pipe;
mod polling;
mod picture;
pub mod proof;
pub mod recall;
mod refill;
mod seal;
mod seam;
mod start;
mod supervise;
mod task;
mod text_line;
mod times;
pub mod vigil;
mod writer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::clock::Clock;
use crate::gateway::board::Board;
use crate::gateway::line::Orders;
use crate::journal;
use crate::site::Site;

/// A task that lives beside the gateway: given the board and the stop signal, it runs until stop.
pub type ExtraTask =
    Box<dyn FnOnce(Arc<Board>, watch::Receiver<bool>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

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

/// Reads and checks the documents again, as at the start.
pub type Loader = Arc<dyn Fn() -> Result<(Site, String), board::Refused> + Send + Sync>;

/// Runs `site` until `stop` turns true; everything accepted by then is committed when it returns. Its documents stay what they are.
///
/// # Errors
/// The journal cannot be opened, or its thread cannot be started; nothing was polled then.
pub async fn run(
    site: Site,
    clock: Arc<dyn Clock>,
    extra: Vec<ExtraTask>,
    stop: watch::Receiver<bool>,
) -> Result<Arc<Board>, RunError> {
    run_with(site, None, clock, extra, stop).await
}

/// The same; `loader` reads the documents again when [`Board::reloads`] asks for it.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    site: Site,
    loader: Option<Loader>,
    clock: Arc<dyn Clock>,
    extra: Vec<ExtraTask>,
    mut stop: watch::Receiver<bool>,
) -> Result<Arc<Board>, RunError> {
    let site = Arc::new(site);
    let begun = start::begin(&site, &clock)?;
    let (commands_to, commands) = mpsc::channel(64);
    let (reloads_to, mut reloads) = mpsc::channel(4);
    let board = Arc::new(Board::new(&site, begun.core.alarms(), (commands_to, reloads_to), clock.now()));
    board.overlays(begun.core.overlays());
    board.proved(begun.proof.standing(|sink| site.calls_people(sink)).cloned());
    let (polled_to, polled) = mpsc::channel(1024);
    let (confirmed_to, confirmed) = mpsc::channel(256);
    let (seq_to, seq) = watch::channel(begun.last);
    let (asks_to, asks) = mpsc::channel(4);
    let orders = Orders { site: Arc::clone(&site), dense: begun.core.dense().clone() };
    let (orders_to, orders) = watch::channel(orders);

    let (sealing, watched) = ((orders.clone(), seq.clone()), orders.clone());
    let ports = supervise::Ports {
        board: Arc::clone(&board),
        clock: Arc::clone(&clock),
        polled: polled_to,
        confirmed: confirmed_to,
        committed: seq,
        orders,
        asks: asks_to,
    };
    let mut supervisor = supervise::Supervisor::new(Arc::clone(&site), loader, ports);
    supervisor.start(&begun.progress);
    let mut beside = JoinSet::new();
    for task in extra {
        spawn(&mut beside, task(Arc::clone(&board), stop.clone()));
    }

    spawn(&mut beside, expiry::watch(Arc::clone(&board), Arc::clone(&clock), watched));
    let _sealing = seal::start(sealing.0, sealing.1, Arc::clone(&begun.sealed), Arc::clone(&clock))?;
    let outlets = keeper::Outlets { committed: seq_to, orders: orders_to };
    let keeper = keeper::Keeper::new(Arc::clone(&site), begun, Arc::clone(&board), clock, outlets);
    let (last_to, last) = watch::channel(false);
    let mut keeper_task = JoinSet::new();
    spawn(&mut keeper_task, keeper.run(keeper::Inlets { polled, commands, confirmed, asks, stop: last }));
    notify::ready(&site.catalog.site, site.catalog.devices.len());

    loop {
        let reload = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(reload) = reloads.recv() => reload,
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = supervisor.reload(reload) => {}
        }
    }
    notify::stopping();
    supervisor.stop().await;
    let _ = last_to.send(true);
    while keeper_task.join_next().await.is_some() {}
    let _ = tokio::time::timeout(Duration::from_millis(300), async {
        while beside.join_next().await.is_some() {}
    })
    .await;
    beside.shutdown().await;
    Ok(board)
}

/// The one place where tasks are spawned.
fn spawn(set: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    set.spawn(task)
}
