//! A disk that refuses or stalls under the running gateway: polls and alarms go on, people hear of it, and it mends itself.
//! Runs in real time on loopback sockets.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lifeline_gateway::alarm::Transition;
use lifeline_gateway::clock::SystemClock;
use lifeline_gateway::forward::Unjournaled;
use lifeline_gateway::gateway::board::{Board, Picture};
use lifeline_gateway::gateway::{self, ExtraTask};
use lifeline_gateway::journal::Reader;
use lifeline_gateway::loss::Loss;
use lifeline_gateway::site;
use tokio::sync::broadcast::Receiver;
use tokio::sync::{oneshot, watch};

use crate::reload_sinks::{Store, sinks};
use crate::running::{documents, serve};
use crate::vfs::{Disk, Fault, Plan, forget};

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the gateway on a disk that can fail, and `act` beside it.
fn with_gateway<F: Future<Output = Vec<Transition>>>(act: impl FnOnce(Arc<Board>, Arc<Disk>, Store) -> F) {
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), serve());
    let store = Store::of("device=d1");
    sinks(folder.path(), &[("store", store.serve())]);
    let journal = folder.path().join("journal");
    std::fs::create_dir_all(&journal).unwrap();
    let disk = Disk::under(&journal);
    let path = |name: &str| folder.path().join(name);
    let env = vec![("LIFELINE__JOURNAL__PATH".to_owned(), journal.display().to_string())];
    let options = site::Options {
        config: Some(path("gateway.toml")),
        site: path("site"),
        profiles: Some(path("profiles")),
        env,
        ..site::Options::default()
    };
    let (site, found, _) = site::load(&options);
    let site = site.unwrap_or_else(|| panic!("{found:?}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let told = runtime.block_on(async {
        let (board_to, board) = oneshot::channel();
        let take: ExtraTask = Box::new(move |board, _| {
            let _ = board_to.send(board);
            Box::pin(std::future::pending())
        });
        let (stop_to, stop) = watch::channel(false);
        let mut running = pin!(gateway::run(site, Arc::new(SystemClock::new()), vec![take], stop));
        let told = tokio::select! {
            ended = &mut running => panic!("it ended: {:?}", ended.err()),
            told = async { act(board.await.unwrap(), Arc::clone(&disk), store).await } => told,
        };
        stop_to.send(true).unwrap();
        running.await.unwrap();
        told
    });
    // What people heard of is in the log, once, and the log is in order.
    let log: Vec<Transition> = Reader::open(&journal)
        .unwrap()
        .transitions(0, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|(_, one)| one)
        .collect();
    for heard in &told {
        assert_eq!(log.iter().filter(|one| *one == heard).count(), 1, "{heard:?}");
    }
    forget(&disk);
}

/// Waits until the picture is as `is` says.
async fn until(board: &Board, what: &str, is: impl Fn(&Picture) -> bool) {
    let mut changed = board.changed.subscribe();
    let wait = async {
        while !is(&board.look()) {
            changed.changed().await.unwrap();
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}: {:?}", board.look().journal);
}

/// Notices until there were readings and transitions.
async fn listen(notices: &mut Receiver<Arc<Unjournaled>>) -> Vec<Transition> {
    let (mut told, mut readings) = (Vec::new(), 0);
    while told.len() < 5 || readings < 100 {
        let notice =
            tokio::time::timeout(PATIENCE, notices.recv()).await.expect("people hear of it").unwrap();
        assert!(!notice.trouble.is_empty());
        told.extend(notice.transitions.clone());
        readings += notice.batches.iter().map(|batch| batch.readings.len()).sum::<usize>();
    }
    told
}

fn open(picture: &Picture) -> bool {
    picture.alarms.values().any(|alarm| alarm.rule == "gateway-disk")
}

#[test]
fn a_full_disk_stops_neither_polls_nor_alarms_and_mends_itself() {
    with_gateway(|board, disk, store| async move {
        until(&board, "it commits", |picture| picture.journal.seq > 5).await;
        let mut notices = board.unjournaled.subscribe();
        disk.plan(Some(Plan { fault: Fault::Full, at: 0, for_ever: true }));
        until(&board, "it says so", |picture| picture.journal.trouble.as_deref() == Some("the disk is full"))
            .await;
        let told = listen(&mut notices).await;
        until(&board, "the trouble is an alarm", open).await;
        let polls = |picture: &Picture| picture.devices.iter().map(|device| device.polls).sum::<u64>();
        let before = polls(&board.look());
        until(&board, "it polls", |picture| polls(picture) > before + 50).await;
        until(&board, "it says what waits", |picture| picture.journal.waiting >= 50).await;
        let last = store.times.lock().unwrap().last().copied();
        until(&board, "live readings go out", |_| {
            let times = store.times.lock().unwrap();
            times.range(last.unwrap_or(0) + 1..).count() > 2
        })
        .await;
        let left = board.look().journal.trouble;
        assert_eq!(left.as_deref(), Some("the disk is full"), "and it still is");
        disk.plan(None);
        until(&board, "it mends itself", |picture| picture.journal.trouble.is_none()).await;
        let seq = board.look().journal.seq;
        until(&board, "it commits", |picture| picture.journal.seq > seq + 5).await;
        let losses = board.look().losses;
        assert!(losses.keys().all(|(loss, _)| *loss == Loss::MissedPoll), "nothing was lost: {losses:?}");
        told
    });
}

#[test]
fn a_disk_that_stalls_holds_up_no_notice() {
    with_gateway(|board, disk, _| async move {
        until(&board, "it commits", |picture| picture.journal.seq > 5).await;
        let mut notices = board.unjournaled.subscribe();
        disk.plan(Some(Plan { fault: Fault::Stall, at: 0, for_ever: false }));
        until(&board, "it says so", |picture| {
            picture.journal.trouble.as_deref() == Some("the disk takes more than 2 s")
        })
        .await;
        let told = listen(&mut notices).await;
        disk.go_on();
        until(&board, "it goes on", |picture| picture.journal.trouble.is_none()).await;
        told
    });
}
