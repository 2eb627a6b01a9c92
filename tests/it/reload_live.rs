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
use lifeline_gateway::risk::registry;
use lifeline_gateway::site::{self, Site};
use tokio::sync::{oneshot, watch};
use tokio_modbus::prelude::*;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};

use crate::reload::Random;

const RELOADS: usize = 1000;

/// Every register of slave n is 10 n; requests are counted by slave, connections too.
#[derive(Clone, Default)]
pub(crate) struct Field {
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
    pub(crate) fn serve(&self) -> SocketAddr {
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

pub(crate) fn device(name: &str, line: &str, slave: u8, yellow: u32) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nline = \"{line}\"\nslave = {slave}\nprofile = \"probe\"\nevery = \"20ms\"\nstale_after = \"1h\"\n\
         [[rule]]\nname = \"{name}-high\"\npoint = \"{name}.x\"\nabove = {{ yellow = {yellow} }}\non_delay = \"100ms\"\nmax_gap = \"1h\"\nbasis = \"test\"\nadvice = \"none\"\n"
    )
}

pub(crate) fn line(name: &str, to: SocketAddr) -> String {
    format!("[[line]]\nname = \"{name}\"\ntcp = \"{to}\"\n")
}

/// Writes a gateway's documents; the console listens at `console`.
pub(crate) fn write(folder: &Path, console: u16, site: &str) {
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
        for _ in 0..RELOADS {
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
    assert!(journaled["line-health-kept.requests"] <= 2, "each minute, however often documents change");
    assert_eq!(near.connections.load(Ordering::Relaxed), 1, "the kept line's connection stayed");
    let reader = Reader::open(&folder.path().join("journal")).unwrap();
    let transitions = reader.transitions(0, 10_000).unwrap();
    let kept: Vec<_> = transitions.iter().filter(|(_, one)| one.alarm.rule.starts_with("kept-")).collect();
    assert!(kept.len() == 1 && kept[0].1.change == Change::Raised, "{kept:?}");
    let audits = reader.audits(0, 10_000).unwrap();
    assert!(audits.iter().filter(|(_, audit)| matches!(audit.deed, Deed::Reload { .. })).count() == RELOADS);
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A gateway as a process, ended when this goes.
pub(crate) struct Process<'a>(pub(crate) Child, &'a Path);

impl<'a> Process<'a> {
    pub(crate) fn start(folder: &'a Path, more: &[&str]) -> Self {
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
    pub(crate) fn ask(&self, arguments: &[&str]) -> (Option<i32>, String) {
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
    pub(crate) fn until(&self, what: &str, says: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
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

pub(crate) fn polls(status: &serde_json::Value, device: &str) -> Option<u64> {
    let devices = status["devices"].as_array()?;
    devices.iter().find(|one| one["name"] == device)?["polls"].as_u64()
}

/// The kept device's alarm, which lies on its shelf.
fn shelved(gateway: &Process) -> String {
    let (_, text) = gateway.ask(&["alarms", "--json"]);
    let alarms = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let known: Vec<_> = alarms.filter(|alarm| alarm["rule"] == "kept-1-high").collect();
    assert!(known.len() == 1 && known[0]["shelved"] == true, "{text}");
    known[0]["id"].to_string()
}

/// One gateway's documents: as they are at first, and with a device more and another threshold.
pub(crate) struct Trial {
    pub(crate) folder: tempfile::TempDir,
    field: Field,
    console: u16,
    pub(crate) base: String,
    pub(crate) more: String,
}

impl Trial {
    pub(crate) fn new() -> Self {
        let (folder, field, console) = (tempfile::tempdir().unwrap(), Field::default(), free_port());
        let line = line("kept", field.serve());
        let kept = |yellow| device("kept-1", "kept", 1, yellow);
        let base = format!("{line}{}", kept(5));
        let more = format!("{line}{}{}", device("guest", "kept", 3, 10), kept(8));
        write(folder.path(), console, &base);
        Self { folder, field, console, base, more }
    }

    pub(crate) fn site(&self, text: &str) {
        std::fs::write(self.folder.path().join("site/site.toml"), text).unwrap();
    }
}

#[test]
fn a_process_takes_changed_documents_and_a_shelf_stays() {
    let trial = Trial::new();
    let gateway = Process::start(trial.folder.path(), &[]);
    let before = gateway.until("polled", |status| {
        polls(status, "kept-1").is_some_and(|polls| polls > 3) && status["alarms_open"] == 1
    });
    let shelf = ["kept-1-high", "--for", "2h", "--by", "duty", "--reason", "known"];
    let (code, text) = gateway.ask(&[&["alarms", "shelve"], &shelf[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    let alarm = shelved(&gateway);

    trial.site(&trial.more);
    let (code, text) = gateway.ask(&["check", "--diff"]);
    assert!(code == Some(0) && text.contains("against the running gateway"), "{text}");
    assert!(
        text.contains("+ device guest\n") && text.contains("~ rule kept-1-high: yellow 5 -> 8\n"),
        "{text}"
    );
    let (code, text) = gateway.ask(&["reload", "--by", "installer"]);
    assert!(code == Some(0) && text.contains("+ device guest\n") && text.contains("reloaded: "), "{text}");
    let after = gateway.until("two devices", |status| polls(status, "guest").is_some_and(|polls| polls > 3));
    assert!(polls(&after, "kept-1") > polls(&before, "kept-1"), "counters go on");
    assert_eq!(trial.field.connections.load(Ordering::Relaxed), 1, "the connection stays");
    assert_ne!(after["documents"], before["documents"]);
    assert_eq!(shelved(&gateway), alarm, "the same alarm, on its shelf, under another threshold");

    trial.site(&trial.base);
    let asked = Command::new("kill").args(["-HUP", &gateway.0.id().to_string()]).status().unwrap();
    assert!(asked.success());
    gateway.until("one device, by a signal", |status| polls(status, "guest").is_none());
    assert_eq!(shelved(&gateway), alarm);

    trial.site(&trial.base.replace("yellow = 5", "yellow = 500"));
    let (code, text) = gateway.ask(&["check", "--diff"]);
    let told =
        "~ rule kept-1-high: yellow 5 -> 500, would clear its open yellow alarm (not acknowledged), at 10\n";
    assert!(code == Some(0) && text.contains(told), "{text}");
    trial.site(&trial.more.replace("point = \"kept-1.x\"", "point = \"guest.x\""));
    let (_, text) = gateway.ask(&["check", "--diff"]);
    let told = "would end its open yellow alarm (not acknowledged), for it looks at another point\n";
    assert!(text.contains(told), "{text}");

    let (rules, line) = (trial.base.find("[[rule]]").unwrap(), trial.base.clone());
    trial.site(&line[..rules]);
    let (code, text) = gateway.ask(&["check", "--diff"]);
    let told = "- rule kept-1-high: would end its open yellow alarm (not acknowledged), its shelf\n";
    assert!(code == Some(0) && text.contains(told), "{text}");
    let (code, text) = gateway.ask(&["reload", "--by", "installer"]);
    let told = "- rule kept-1-high: ends its open yellow alarm (not acknowledged), its shelf\n";
    assert!(code == Some(0) && text.contains(told), "{text}");
}

#[test]
fn what_a_change_would_end_is_told_from_the_journal_and_of_a_device_that_goes() {
    let trial = Trial::new();
    let gateway = Process::start(trial.folder.path(), &[]);
    gateway.until("in alarm", |status| status["alarms_open"] == 1);
    drop(gateway);
    let asks = Process(Command::new("true").spawn().unwrap(), trial.folder.path());
    trial.site(&trial.base.replace("yellow = 5", "yellow = 500"));
    let (_, text) = asks.ask(&["check", "--diff"]);
    let told = "would clear its open yellow alarm (not acknowledged), at 10\nagainst the journal";
    assert!(text.contains(told), "{text}");
    let kept = device("kept-1", "kept", 1, 5);
    trial.site(&trial.base.replace(&kept, &kept.replace("kept-1", "other-1")));
    let (_, text) = asks.ask(&["check", "--diff"]);
    assert!(
        text.contains("- rule kept-1-high: would end its open yellow alarm (not acknowledged)\n"),
        "{text}"
    );
}

#[test]
fn the_log_after_a_kill_says_how_many_open_alarms_go_on() {
    let trial = Trial::new();
    let gateway = Process::start(trial.folder.path(), &[]);
    gateway.until("in alarm", |status| status["alarms_open"] == 1);
    drop(gateway);
    let log = trial.folder.path().join("log");
    let child = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["run", "--config", "gateway.toml", "--site", "site", "--profiles", "profiles"])
        .current_dir(trial.folder.path())
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::fs::File::options().append(true).create(true).open(&log).unwrap())
        .spawn()
        .unwrap();
    let gateway = Process(child, trial.folder.path());
    gateway.until("up again", |status| status["alarms_open"] == 1);
    let text = std::fs::read_to_string(&log).unwrap();
    let told = text.lines().find(|line| line.contains("open alarms are taken over from the journal"));
    let told = told.unwrap_or_else(|| panic!("{text}"));
    assert!(told.contains("alarms=1") && told.contains("not_acknowledged=1"), "{told}");
}

#[test]
fn a_faulty_reload_changes_nothing_and_is_told_everywhere() {
    let trial = Trial::new();
    let gateway = Process::start(trial.folder.path(), &[]);
    let before = gateway.until("polled", |status| status["alarms_open"] == 1);
    trial.site(&trial.more.replace("slave = 3", "slave = 300"));
    let (code, text) = gateway.ask(&["reload"]);
    assert!(code == Some(1) && text.contains("site.toml:") && text.contains("nothing was changed"), "{text}");
    let refused = gateway.until("an alarm of it", |status| status["alarms_open"] == 2);
    assert!(refused["unapplied"].as_str().unwrap().contains("slave"), "{refused}");
    assert_eq!(refused["documents"], before["documents"]);
    let (_, text) = gateway.ask(&["alarms"]);
    assert!(text.contains("gateway.documents"), "{text}");
    let (_, text) = gateway.ask(&["audits"]);
    assert!(text.contains("documents refused, by ") && text.contains("slave"), "{text}");

    // What only a restart can take is refused whole.
    write(trial.folder.path(), free_port(), &trial.more);
    let url = format!("http://127.0.0.1:{}", trial.console);
    let (code, text) = gateway.ask(&["reload", "--url", &url, "--token-file", "journal/token"]);
    assert!(code == Some(1) && text.contains("only a restart can take this: console.listen"), "{text}");

    write(trial.folder.path(), trial.console, &trial.more);
    assert_eq!(gateway.ask(&["reload"]).0, Some(0));
    let after = gateway.until("taken", |status| polls(status, "guest").is_some());
    assert!(after.get("unapplied").is_none(), "{after}");
}

#[test]
fn what_a_reload_has_answered_survives_a_kill() {
    let trial = Trial::new();
    let folder = trial.folder.path();
    let mut gateway = Process::start(folder, &[]);
    gateway.until("polled", |status| polls(status, "kept-1").is_some_and(|polls| polls > 3));
    trial.site(&trial.more);
    assert_eq!(gateway.ask(&["reload"]).0, Some(0));
    gateway.0.kill().unwrap();
    gateway.0.wait().unwrap();
    let reader = Reader::open(&folder.join("journal")).unwrap();
    let Kept { version, documents } = reader.documents().unwrap().unwrap();
    let holds = |(name, text): &(String, String)| name.ends_with("site.toml") && *text == trial.more;
    assert!(documents.iter().any(holds), "{version}");
    let audits = reader.audits(0, 100).unwrap();
    let told = audits.iter().any(|(_, audit)| match &audit.deed {
        Deed::Reload { is, changes, .. } => *is == version && changes.contains(&"+ device guest".to_owned()),
        _ => false,
    });
    assert!(told, "{audits:?}");
    let (held, _) = registry::known(&reader.memories().unwrap(), None).unwrap();
    assert_eq!(held, version, "questions about another day know it, too");
    drop(reader);
    let (code, text) = gateway.ask(&["check", "--diff"]);
    assert!(code == Some(0) && text.contains("against the journal"), "{text}");
    assert!(text.contains("0 added, 0 changed, 0 removed"), "{text}");

    // The next run watches the files.
    let again = Process::start(folder, &["--watch"]);
    again.until("both", |status| polls(status, "guest").is_some() && polls(status, "kept-1").is_some());
    trial.site(&trial.base);
    again.until("one device, by the files", |status| polls(status, "guest").is_none());
    let counts = readings(folder);
    assert!(counts["guest.x"] > 0 && counts["kept-1.x"] > 0, "{counts:?}");
}
