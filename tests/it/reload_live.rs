//! Documents that change under a real gateway: in process with sockets and a journal, and as a process with signals and kills.
//! These tests run in real time on loopback sockets.

#![expect(clippy::disallowed_methods, reason = "sockets and processes live in real time")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeline_gateway::alarm::Change;
use lifeline_gateway::clock::SystemClock;
use lifeline_gateway::gateway::board::{Board, Reload};
use lifeline_gateway::gateway::{ExtraTask, Loader, run_with};
use lifeline_gateway::journal::{Deed, Kept, Reader, Seq, Span};
use lifeline_gateway::loss::Loss;
use lifeline_gateway::site::{self, Site};
use tokio::sync::{oneshot, watch};
use tokio_modbus::prelude::*;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};

use crate::reload::Random;

/// Every register of slave n is 10 n; requests are counted by slave, connections too.
#[derive(Clone, Default)]
struct Field {
    requests: Arc<Mutex<BTreeMap<u8, u64>>>,
    connections: Arc<AtomicU32>,
}

impl tokio_modbus::server::Service for Field {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        *self.requests.lock().unwrap().entry(request.slave).or_default() += 1;
        let Request::ReadHoldingRegisters(_, count) = request.request else {
            return std::future::ready(Err(ExceptionCode::IllegalFunction));
        };
        let value = u16::from(request.slave) * 10;
        std::future::ready(Ok(Response::ReadHoldingRegisters(vec![value; usize::from(count)])))
    }
}

impl Field {
    fn serve(&self) -> SocketAddr {
        let (to, from) = std::sync::mpsc::channel();
        let field = self.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                to.send(listener.local_addr().unwrap()).unwrap();
                let on_connected = |stream, address| {
                    let field = field.clone();
                    field.connections.fetch_add(1, Ordering::Relaxed);
                    async move { accept_tcp_connection(stream, address, move |_| Ok(Some(field.clone()))) }
                };
                Server::new(listener).serve(&on_connected, |_| ()).await.unwrap();
            });
        });
        from.recv().unwrap()
    }
}

const PROFILE: &str = "[profile]\nname = \"probe\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n\
    [[point]]\nname = \"x\"\nat = \"holding 0\"\ntype = \"u16\"\n";

fn device(name: &str, line: &str, slave: u8, yellow: u32) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nline = \"{line}\"\nslave = {slave}\nprofile = \"probe\"\nevery = \"20ms\"\nstale_after = \"1h\"\n\
         [[rule]]\nname = \"{name}-high\"\npoint = \"{name}.x\"\nabove = {{ yellow = {yellow} }}\non_delay = \"100ms\"\nmax_gap = \"1h\"\nbasis = \"test\"\nadvice = \"none\"\n"
    )
}

fn line(name: &str, to: SocketAddr) -> String {
    format!("[[line]]\nname = \"{name}\"\ntcp = \"{to}\"\n")
}

/// Writes a gateway's documents; the console listens at `console`.
fn write(folder: &Path, console: u16, site: &str) {
    let settings = format!(
        "[site]\nname = \"live\"\n[journal]\npath = \"{}/journal\"\ncommit_every = \"20ms\"\n[console]\nlisten = \"127.0.0.1:{console}\"\n",
        folder.display()
    );
    std::fs::create_dir_all(folder.join("site")).unwrap();
    std::fs::create_dir_all(folder.join("profiles")).unwrap();
    std::fs::write(folder.join("profiles/probe.toml"), PROFILE).unwrap();
    std::fs::write(folder.join("site/site.toml"), site).unwrap();
    std::fs::write(folder.join("gateway.toml"), settings).unwrap();
}

fn load(folder: &Path) -> Site {
    let options = site::Options {
        config: Some(folder.join("gateway.toml")),
        site: folder.join("site"),
        profiles: Some(folder.join("profiles")),
        ..site::Options::default()
    };
    let (site, found, _) = site::load(&options);
    site.unwrap_or_else(|| panic!("{found:?}"))
}

/// Readings in the journal by point, each under the names of its own documents.
fn readings(folder: &Path) -> BTreeMap<String, u64> {
    let reader = Reader::open(&folder.join("journal")).unwrap();
    let last = reader.last().unwrap().map_or(0, |(seq, _)| seq.0);
    let (mut counts, mut from) = (BTreeMap::new(), Seq(1));
    while from.0 <= last {
        let (groups, next, damaged) = reader.groups(Span { from, to: Seq(last + 1) }, 5000).unwrap();
        assert_eq!(damaged, 0);
        for group in groups {
            for reading in group.batches.iter().flat_map(|batch| &batch.readings) {
                let name = group.catalog.point(reading.point).unwrap().name.clone();
                *counts.entry(name).or_default() += u64::from(reading.sample.value().is_some());
            }
        }
        from = next;
    }
    counts
}

/// Two kept devices on a line with others that come and go, and a line that comes and goes.
fn variant(random: &mut Random, kept: SocketAddr, other: SocketAddr) -> String {
    let mut devices = vec![device("kept-1", "kept", 1, 15), device("kept-2", "kept", 2, 15)];
    let mut lines = vec![line("kept", kept)];
    if random.below(3) > 0 {
        lines.insert(usize::try_from(random.below(2)).unwrap(), line("other", other));
        devices.insert(0, device("far", "other", 7, 60 + u32::try_from(random.below(20)).unwrap()));
    }
    for slave in 3..6 {
        if random.below(2) == 0 {
            let place = usize::try_from(random.below(devices.len() as u64 + 1)).unwrap();
            devices.insert(place, device(&format!("guest-{slave}"), "kept", slave, 10));
        }
    }
    lines.concat() + &devices.concat()
}

#[tokio::test]
async fn reloads_under_load_lose_no_poll_and_move_no_alarm_of_what_is_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (near, far) = (Field::default(), Field::default());
    let (kept, other) = (near.serve(), far.serve());
    let mut random = Random(11);
    let sites: Vec<Site> = (0..20)
        .map(|_| {
            write(folder.path(), 0, &variant(&mut random, kept, other));
            load(folder.path())
        })
        .collect();
    let first = sites[0].clone();
    let random = Mutex::new(random);
    let loader: Loader = Arc::new(move || {
        let number = random.lock().unwrap().below(sites.len() as u64);
        Ok((sites[usize::try_from(number).unwrap()].clone(), String::new()))
    });
    let (board_to, board) = oneshot::channel::<Arc<Board>>();
    let look: ExtraTask = Box::new(move |board, _| {
        Box::pin(async move {
            let _ = board_to.send(board);
        })
    });
    let (stop, stopped) = watch::channel(false);
    let running = run_with(first, Some(loader), Arc::new(SystemClock::new()), vec![look], stopped);
    let reloading = async {
        let board = board.await.unwrap();
        let wait = async || {
            while board.look().raised == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait()).await.unwrap();
        for _ in 0..200 {
            let (answer, done) = oneshot::channel();
            board.reloads.send(Reload { by: "test".to_owned(), answer }).await.unwrap();
            done.await.unwrap().unwrap();
        }
        stop.send(true).unwrap();
        board
    };
    let (ran, board) = tokio::join!(running, reloading);
    ran.unwrap();
    let lost = |(loss, place): &(Loss, String)| *loss == Loss::OutdatedPoll && place.starts_with("kept-");
    let losses = board.look().losses;
    assert!(!losses.keys().any(lost), "{losses:?}");
    let (journaled, requests) = (readings(folder.path()), near.requests.lock().unwrap().clone());
    for slave in [1, 2] {
        let (asked, kept) = (requests[&slave], journaled[&format!("kept-{slave}.x")]);
        // One may be under way when everything ends.
        assert!(kept == asked || kept + 1 == asked, "kept-{slave}: asked {asked} times, journaled {kept}");
    }
    assert_eq!(near.connections.load(Ordering::Relaxed), 1, "the kept line's connection stayed");
    let reader = Reader::open(&folder.path().join("journal")).unwrap();
    let transitions = reader.transitions(0, 10_000).unwrap();
    let kept: Vec<_> = transitions.iter().filter(|(_, one)| one.alarm.rule.starts_with("kept-")).collect();
    assert!(kept.len() == 1 && kept[0].1.change == Change::Raised, "{kept:?}");
    let audits = reader.audits(0, 10_000).unwrap();
    assert!(audits.iter().filter(|(_, audit)| matches!(audit.deed, Deed::Reload { .. })).count() == 200);
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A gateway as a process, ended when this goes.
struct Process<'a>(Child, &'a Path);

impl<'a> Process<'a> {
    fn start(folder: &'a Path, more: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_lifeline"))
            .args(["run", "--config", "gateway.toml", "--site", "site", "--profiles", "profiles"])
            .args(more)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child, folder)
    }

    /// Exit code and output of another command with the same documents.
    fn ask(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_lifeline"))
            .args(arguments)
            .args(["--config", "gateway.toml", "--site", "site", "--profiles", "profiles"])
            .current_dir(self.1)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Asks for the status until it says so.
    fn until(&self, what: &str, says: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let (_, text) = self.ask(&["status", "--json"]);
            if let Ok(status) = serde_json::from_str::<serde_json::Value>(&text)
                && status["documents"].is_string()
                && says(&status)
            {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "never {what}: {text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn polls(status: &serde_json::Value, device: &str) -> Option<u64> {
    let devices = status["devices"].as_array()?;
    devices.iter().find(|one| one["name"] == device)?["polls"].as_u64()
}

#[test]
fn a_process_takes_changed_documents_refuses_faulty_ones_and_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let field = Field::default();
    let (server, console) = (field.serve(), free_port());
    let base = line("kept", server) + &device("kept-1", "kept", 1, 15);
    write(folder.path(), console, &base);
    let mut gateway = Process::start(folder.path(), &[]);
    let before = gateway.until("polled", |status| polls(status, "kept-1").is_some_and(|polls| polls > 3));

    // A device more: shown beforehand, and taken.
    let site = |text: &str| std::fs::write(folder.path().join("site/site.toml"), text).unwrap();
    let more = format!("{}{base}", device("guest", "kept", 3, 10)).replace("yellow = 15", "yellow = 18");
    let more = format!("{}{}", line("kept", server), more.replace(&line("kept", server), ""));
    site(&more);
    let (code, text) = gateway.ask(&["check", "--diff"]);
    assert!(code == Some(0) && text.contains("+ device guest\n"), "{text}");
    assert!(
        text.contains("~ rule kept-1-high: yellow 15 -> 18\n") && text.contains("the running gateway"),
        "{text}"
    );
    let (code, text) = gateway.ask(&["reload", "--by", "installer"]);
    assert!(code == Some(0) && text.contains("+ device guest\n") && text.contains("reloaded: "), "{text}");
    let after = gateway.until("two devices", |status| polls(status, "guest").is_some_and(|polls| polls > 3));
    assert!(polls(&after, "kept-1") > polls(&before, "kept-1"), "counters go on");
    assert_eq!(field.connections.load(Ordering::Relaxed), 1, "the connection stays");
    assert_ne!(after["documents"], before["documents"]);

    // A fault changes nothing, and is told everywhere.
    site(&more.replace("slave = 3", "slave = 300"));
    let (code, text) = gateway.ask(&["reload"]);
    assert!(code == Some(1) && text.contains("site.toml:") && text.contains("nothing was changed"), "{text}");
    let refused = gateway.until("an alarm", |status| status["alarms_open"].as_u64() > Some(1));
    assert!(refused["unapplied"].as_str().unwrap().contains("slave"), "{refused}");
    assert_eq!(refused["documents"], after["documents"]);
    let (_, text) = gateway.ask(&["alarms"]);
    assert!(text.contains("gateway-documents"), "{text}");
    // What only a restart can take is refused whole.
    write(folder.path(), free_port(), &more);
    let (code, text) = gateway.ask(&[
        "reload",
        "--url",
        &format!("http://127.0.0.1:{console}"),
        "--token-file",
        "journal/token",
    ]);
    assert!(code == Some(1) && text.contains("only a restart can take this: console.listen"), "{text}");
    write(folder.path(), console, &more);

    // A signal, too.
    site(&base);
    let asked = Command::new("kill").args(["-HUP", &gateway.0.id().to_string()]).status().unwrap();
    assert!(asked.success());
    gateway
        .until("one device", |status| polls(status, "guest").is_none() && status.get("unapplied").is_none());

    // Killed right after it was told that the documents hold.
    site(&more);
    assert_eq!(gateway.ask(&["reload"]).0, Some(0));
    gateway.0.kill().unwrap();
    gateway.0.wait().unwrap();
    let reader = Reader::open(&folder.path().join("journal")).unwrap();
    let Kept { version, documents: texts } = reader.documents().unwrap().unwrap();
    assert!(texts.iter().any(|(name, text)| name.ends_with("site.toml") && *text == more), "{version}");
    let audits = reader.audits(0, 100).unwrap();
    let last = audits.iter().filter_map(|(_, audit)| match &audit.deed {
        Deed::Reload { is, changes, .. } => Some((is.clone(), changes.clone())),
        _ => None,
    });
    let (is, changes) = last.last().unwrap();
    assert!(is == version && changes.contains(&"+ device guest".to_owned()), "{changes:?}");
    drop(reader);
    let (code, text) = gateway.ask(&["check", "--diff"]);
    assert!(
        code == Some(0)
            && text.contains("against the journal")
            && text.contains("0 added, 0 changed, 0 removed"),
        "{text}"
    );
    let again = Process::start(folder.path(), &["--watch"]);
    again.until("both devices", |status| {
        polls(status, "guest").is_some() && polls(status, "kept-1").is_some()
    });

    // And files that are watched.
    site(&base);
    again.until("one device, by the files", |status| polls(status, "guest").is_none());
    let counts = readings(folder.path());
    assert!(counts["guest.x"] > 0 && counts["kept-1.x"] > 0, "{counts:?}");
}
