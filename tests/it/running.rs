//! The whole gateway as a process: it is killed at random moments under load, and it is stopped.
//! These tests run in real time on loopback sockets.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lifeline_gateway::alarm::engine::replay;
use lifeline_gateway::clock::{Clock, SystemClock, Timestamp};
use lifeline_gateway::journal::{Reader, Seq, Span};
use lifeline_gateway::reading::digest;
use lifeline_gateway::reading::{Doubt, Sample};
use tokio_modbus::prelude::*;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};

const KILLS: u32 = 50;
/// How many kills instead.
const KILLS_SET: &str = "LIFELINE_GATEWAY_KILLS";

/// Holding register n is a sawtooth of the calls so far, so that a threshold is crossed again and again.
#[derive(Clone)]
struct Sawtooth(std::sync::Arc<std::sync::atomic::AtomicU16>);

impl tokio_modbus::server::Service for Sawtooth {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let calls = self.0.fetch_add(7, std::sync::atomic::Ordering::Relaxed);
        std::future::ready(match request.request {
            Request::ReadHoldingRegisters(_, count) => {
                Ok(Response::ReadHoldingRegisters((0..count).map(|n| (calls + n) % 1000).collect()))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

pub(crate) fn serve() -> std::net::SocketAddr {
    let (to, from) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            to.send(listener.local_addr().unwrap()).unwrap();
            let service = Sawtooth(std::sync::Arc::default());
            let on_connected = |stream, address| {
                let service = service.clone();
                async move { accept_tcp_connection(stream, address, move |_| Ok(Some(service.clone()))) }
            };
            Server::new(listener).serve(&on_connected, |_| ()).await.unwrap();
        });
    });
    from.recv().unwrap()
}

pub(crate) fn documents(folder: &Path, server: std::net::SocketAddr) {
    let profile = "[profile]\nname = \"saw\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n[[point]]\nname = \"x\"\nat = \"holding 0\"\ntype = \"u16\"\n[[point]]\nname = \"y\"\nat = \"holding 1\"\ntype = \"u16\"\n";
    let mut site = String::new();
    for n in 0..4 {
        site += &format!(
            "[[line]]\nname = \"l{n}\"\ntcp = \"{server}\"\n[[device]]\nname = \"d{n}\"\nline = \"l{n}\"\nslave = 1\nprofile = \"saw\"\nevery = \"10ms\"\n[[rule]]\nname = \"r{n}\"\npoint = \"d{n}.x\"\nabove = {{ yellow = 300, red = 700 }}\ndeadband = 50\nbasis = \"test\"\nadvice = \"none\"\n"
        );
    }
    let settings = format!(
        "[site]\nname = \"kill\"\n[journal]\npath = \"{}/journal\"\ncommit_every = \"20ms\"\n[console]\nlisten = \"127.0.0.1:0\"\n",
        folder.display()
    );
    std::fs::create_dir_all(folder.join("site")).unwrap();
    std::fs::create_dir_all(folder.join("profiles")).unwrap();
    std::fs::write(folder.join("profiles/saw.toml"), profile).unwrap();
    std::fs::write(folder.join("site/site.toml"), site).unwrap();
    std::fs::write(folder.join("gateway.toml"), settings).unwrap();
}

/// Starts the gateway; announced commits come out of the channel.
fn start(folder: &Path) -> (Child, mpsc::Receiver<(u64, String)>) {
    start_as(folder, Command::new(env!("CARGO_BIN_EXE_lifeline")))
}

/// The same through another program, which runs the gateway with the arguments that follow.
fn start_as(folder: &Path, mut command: Command) -> (Child, mpsc::Receiver<(u64, String)>) {
    let mut child = command
        .args(["run", "--log", "json", "--log-filter", "lifeline_gateway=debug"])
        .args(["--config", "gateway.toml", "--site", "site", "--profiles", "profiles"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = child.stderr.take().unwrap();
    let (to, from) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let Ok(object) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            if object["message"] == "committed" {
                let digest = object["digest"].as_str().unwrap().to_owned();
                let _ = to.send((object["seq"].as_u64().unwrap(), digest));
            }
        }
    });
    (child, from)
}

/// What is on disk: digests by number, which must be without holes; and the alarm states must be the replay of the log.
fn on_disk(folder: &Path) -> BTreeMap<u64, String> {
    let reader = Reader::open(&folder.join("journal")).unwrap();
    let last = reader.last().unwrap().map_or(0, |(seq, _)| seq.0);
    let mut found = BTreeMap::new();
    let mut from = Seq(1);
    while from.0 <= last {
        let (groups, next, damaged) = reader.groups(Span { from, to: Seq(last + 1) }, 5000).unwrap();
        assert_eq!(damaged, 0);
        for group in groups {
            assert!(
                found.insert(group.seq.0, digest(&group.batches)).is_none(),
                "commit {} stands twice",
                group.seq.0
            );
        }
        from = next;
    }
    let mut log = Vec::new();
    let mut after = 0;
    loop {
        let page = reader.transitions(after, 500).unwrap();
        let Some((id, _)) = page.last() else { break };
        after = *id;
        log.extend(page.into_iter().map(|(_, transition)| transition));
    }
    let states = reader.states().unwrap().into_iter().filter_map(|(rule, state)| Some((rule, state.alarm?)));
    assert_eq!(states.collect::<BTreeMap<_, _>>(), replay(&log), "alarm state is the replay of the log");
    found
}

#[test]
fn killed_again_and_again_it_keeps_what_it_announced() {
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), serve());
    let mut announced: BTreeMap<u64, String> = BTreeMap::new();
    let mut random = 0x9E37_79B9_u64;
    let kills = std::env::var(KILLS_SET).map_or(KILLS, |kills| kills.parse().unwrap());
    for kill in 0..kills {
        let (mut child, commits) = start(folder.path());
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let until = Instant::now() + Duration::from_millis(60 + (random >> 33) % 250);
        while let Ok((seq, digest)) = commits.recv_timeout(until.saturating_duration_since(Instant::now())) {
            assert!(announced.insert(seq, digest).is_none(), "kill {kill}: number {seq} was used twice");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for (seq, digest) in commits {
            announced.insert(seq, digest);
        }
        let disk = on_disk(folder.path());
        for (seq, told) in &announced {
            let empty = told == &digest(&[]);
            assert!(
                empty || disk.get(seq) == Some(told),
                "kill {kill}: commit {seq} was announced and is not there as it was: {:?}",
                disk.get(seq)
            );
        }
    }
    assert!(announced.len() > 100, "{} commits were announced", announced.len());
    let reader = Reader::open(&folder.path().join("journal")).unwrap();
    assert!(!reader.transitions(0, 10).unwrap().is_empty(), "the load raised alarms");
}

#[test]
fn sigterm_ends_it_within_two_seconds_with_everything_committed() {
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), serve());
    let (mut child, commits) = start(folder.path());
    let first = commits.recv_timeout(Duration::from_secs(20)).unwrap();
    let asked = Instant::now();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let status = child.wait().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(status.success(), "{status}");
    let last = commits.iter().last().unwrap_or(first);
    assert_eq!(on_disk(folder.path()).last_key_value().map(|(seq, _)| *seq), Some(last.0));
}

/// Whether a program is there; where all are required it must be.
fn there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    assert!(there || std::env::var_os("LIFELINE_REQUIRE_SERVERS").is_none(), "{program} is not installed");
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

#[test]
fn on_a_disk_without_any_room_it_starts_and_mends_itself() {
    if !there("prlimit") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), serve());
    let (mut child, commits) = start(folder.path());
    let mut announced: BTreeMap<u64, String> = commits.iter().take(30).collect();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    child.wait().unwrap();
    announced.extend(commits);
    // The second start on a full disk: what was kept for the first one is used up, and no file can grow by a byte.
    std::fs::remove_file(folder.path().join("journal/reserve")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -S -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_lifeline")]);
    let (mut child, commits) = start_as(folder.path(), shell);
    let none = commits.recv_timeout(Duration::from_millis(1500));
    assert!(none.is_err(), "nothing can be committed: {none:?}");
    assert_eq!(child.try_wait().unwrap(), None, "it runs");
    let room = ["--pid", &child.id().to_string(), "--fsize=unlimited:unlimited"];
    assert!(Command::new("prlimit").args(room).status().unwrap().success());
    let first =
        commits.recv_timeout(Duration::from_secs(20)).expect("it commits by itself when there is room");
    assert!(announced.keys().all(|seq| *seq < first.0), "no number twice");
    announced.insert(first.0, first.1);
    announced.extend(commits.iter().take(20));
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let disk = on_disk(folder.path());
    let empty = digest(&[]);
    for (seq, told) in announced {
        assert!(told == empty || disk.get(&seq) == Some(&told), "commit {seq}");
    }
    let reader = Reader::open(&folder.path().join("journal")).unwrap();
    let log = reader.transitions(0, 10_000).unwrap();
    let disk = log.iter().find(|(_, transition)| transition.alarm.rule == "gateway-disk");
    assert!(disk.is_some(), "a person is told");
}

/// The library that shows a program another time; where all servers are required it must be there.
fn faketime() -> Option<std::path::PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"];
    let mut files = folders.iter().map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1"));
    let found = files.find(|file| file.exists());
    assert!(
        found.is_some() || std::env::var_os("LIFELINE_REQUIRE_SERVERS").is_none(),
        "faketime is not installed"
    );
    if found.is_none() {
        eprintln!("skipped: faketime is not installed");
    }
    found
}

#[test]
fn a_box_that_boots_in_1970_puts_its_readings_right() {
    let Some(faketime) = faketime() else { return };
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), serve());
    let begin = SystemClock::new().now();
    let time = folder.path().join("time");
    std::fs::write(&time, "@1970-01-01 00:05:00").unwrap();
    let mut faked = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    faked.env("LD_PRELOAD", faketime).env("FAKETIME_TIMESTAMP_FILE", &time).env("FAKETIME_NO_CACHE", "1");
    faked.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    let (mut child, commits) = start_as(folder.path(), faked);
    let held = commits.iter().take(40).last().unwrap().0;
    let journal = folder.path().join("journal");
    let reader = Reader::open(&journal).unwrap();
    let (early, ..) = reader.groups(Span { from: Seq(1), to: Seq(held + 1) }, usize::MAX).unwrap();
    assert!(early.is_empty(), "nothing goes out before its time is known");
    // Now the clock is set.
    std::fs::write(&time, "+0").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut found = Vec::new();
    while found.len() < 60 && Instant::now() < deadline {
        assert!(commits.recv_timeout(Duration::from_secs(20)).is_ok());
        (found, ..) = reader.groups(Span { from: Seq(1), to: Seq(u64::MAX) }, usize::MAX).unwrap();
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    child.wait().unwrap();
    let end = SystemClock::new().now();
    (found, ..) = reader.groups(Span { from: Seq(1), to: Seq(u64::MAX) }, usize::MAX).unwrap();
    let mut times: BTreeMap<u32, Vec<Timestamp>> = BTreeMap::new();
    for reading in found.iter().flat_map(|stored| &stored.batches).flat_map(|batch| &batch.readings) {
        let (from, to) = (begin.minus(Duration::from_secs(2)), end.plus(Duration::from_secs(2)));
        assert!(from <= reading.at && reading.at <= to, "{} is not between {from} and {to}", reading.at);
        assert!(!matches!(reading.sample, Sample::Uncertain(_, Doubt::Clock)), "its time is known");
        times.entry(reading.point.0).or_default().push(reading.at);
    }
    assert!(times.len() > 4, "points of all devices");
    for (point, mut times) in times {
        times.sort();
        let count = times.len();
        times.dedup();
        assert_eq!(times.len(), count, "a time of point {point} stands twice");
    }
}

fn lifeline(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lifeline")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn bad_input_gets_a_sentence_and_a_code() {
    let (code, text) = lifeline(&["dance"]);
    assert!(code == Some(2) && text.contains("dance"), "{text}");
    let (code, text) = lifeline(&["run", "--config", "/nowhere/gateway.toml", "--site", "/nowhere"]);
    assert!(code == Some(1) && text.contains("/nowhere"), "{text}");
    let (code, text) = lifeline(&["status", "--journal", "/nowhere"]);
    assert!(code.is_some_and(|code| code != 0) && text.contains("/nowhere"), "{text}");
    let (code, text) = lifeline(&["status", "--url", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(3), "{text}");
}

#[test]
fn a_second_instance_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), serve());
    let (mut first, commits) = start(folder.path());
    commits.recv_timeout(Duration::from_secs(20)).unwrap();
    let second = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["run", "--config", "gateway.toml", "--site", "site", "--profiles", "profiles"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(1) && text.contains("another"), "{text}");
    commits.recv_timeout(Duration::from_secs(5)).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
}

/// What is gone, and how.
type Damage = (&'static str, fn(&Path));

/// What a failing card or a power cut leaves of the journal's file.
fn damages() -> Vec<Damage> {
    fn overwrite(file: &Path, from: usize, length: usize) {
        let mut bytes = std::fs::read(file).unwrap();
        let end = bytes.len().min(from + length);
        bytes[from..end].iter_mut().enumerate().for_each(|(n, byte)| *byte = (n * 151 + 7).to_le_bytes()[0]);
        std::fs::write(file, bytes).unwrap();
    }
    vec![
        ("its head", |file| overwrite(file, 0, 200)),
        ("its first pages", |file| overwrite(file, 100, 8 * 4096)),
        ("all but its first page", |file| overwrite(file, 4096, usize::MAX / 2)),
        ("its second half", |file| {
            let length = file.metadata().unwrap().len();
            std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length / 2).unwrap();
        }),
        ("everything: it is a folder", |file| {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        }),
    ]
}

#[test]
fn a_damaged_journal_is_moved_aside_and_the_gateway_starts() {
    for (what, damage) in damages() {
        let folder = tempfile::tempdir().unwrap();
        documents(folder.path(), serve());
        let journal = folder.path().join("journal");
        let file = journal.join("journal.db");
        let (mut child, commits) = start(folder.path());
        assert!(commits.iter().take(60).count() == 60);
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        child.wait().unwrap();
        // Into the file with all that still stands in the write-ahead log, which would heal it.
        rusqlite::Connection::open(&file).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        damage(&file);
        std::fs::write(journal.join("token"), "").unwrap();

        let (mut child, commits) = start(folder.path());
        let again = commits.recv_timeout(Duration::from_secs(20));
        assert!(again.is_ok(), "with {what} gone the gateway does not start");
        let _ = commits.iter().take(3).count();
        child.kill().unwrap();
        child.wait().unwrap();
        let aside = std::fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().file_name());
        let aside = aside.filter(|name| name.to_string_lossy().starts_with("damaged-")).count();
        // Damage that hides some commits and nothing that a start needs leaves the journal in its place.
        assert!(aside == 1 || what == "its second half", "with {what} gone {aside} journals stand aside");
        assert_eq!(std::fs::read_to_string(journal.join("token")).unwrap().trim().len(), 64);
        if aside == 1 {
            on_disk(folder.path());
        }
        let told = Reader::open(&journal).unwrap().transitions(0, 1000).unwrap();
        let told = told.iter().any(|(_, transition)| transition.alarm.rule == "gateway-journal");
        assert!(told || aside == 0, "with {what} gone nobody is told");
    }
}
