//! Recorded data through the same core: the transitions of a live run come again from its journal, and again from its exports; a backtest scores them.
//! The live run is a real process on loopback sockets.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lifeline_gateway::alarm::{Change, Kind, Transition};
use lifeline_gateway::clock::{Clock, SystemClock};
use lifeline_gateway::journal::Reader;
use tokio_modbus::prelude::*;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};

/// Holding register n is a sawtooth of the calls so far.
#[derive(Clone)]
struct Sawtooth(std::sync::Arc<std::sync::atomic::AtomicU16>);

impl tokio_modbus::server::Service for Sawtooth {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let calls = self.0.fetch_add(37, std::sync::atomic::Ordering::Relaxed);
        std::future::ready(match request.request {
            Request::ReadHoldingRegisters(_, count) => {
                Ok(Response::ReadHoldingRegisters((0..count).map(|n| (calls + n) % 1000).collect()))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

fn serve() -> std::net::SocketAddr {
    let (to, from) = std::sync::mpsc::channel();
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

const RULES: &str = "
[[derived]]
name = \"d0.twice\"
inputs = { x = \"d0.x\" }
value = \"x * 2.0\"
[[rule]]
name = \"high\"
point = \"d0.x\"
above = { yellow = 300, red = 700 }
deadband = 50
basis = \"test\"
advice = \"none\"
[[rule]]
name = \"twice-high\"
point = \"d0.twice\"
above = { orange = 1200 }
on_delay = \"30ms\"
basis = \"test\"
advice = \"none\"
[[rule]]
name = \"grows\"
point = \"d0.y\"
change_over = \"200ms\"
above = { yellow = 60 }
basis = \"test\"
advice = \"none\"
[[rule]]
name = \"both\"
holds = \"x && y\"
severity = \"yellow\"
basis = \"test\"
advice = \"none\"
[rule.conditions.x]
point = \"d0.x\"
above = 400
[rule.conditions.y]
point = \"d0.y\"
above = 500
";

fn documents(folder: &Path, server: std::net::SocketAddr) {
    let profile = "[profile]\nname = \"saw\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n[[point]]\nname = \"x\"\nat = \"holding 0\"\ntype = \"u16\"\n[[point]]\nname = \"y\"\nat = \"holding 1\"\ntype = \"u16\"\n";
    let site = format!(
        "[[line]]\nname = \"l0\"\ntcp = \"{server}\"\n[[device]]\nname = \"d0\"\nline = \"l0\"\nslave = 1\nprofile = \"saw\"\nevery = \"20ms\"\n{RULES}"
    );
    let settings = format!(
        "[site]\nname = \"replay\"\n[journal]\npath = \"{}/journal\"\ncommit_every = \"50ms\"\n[console]\nlisten = \"127.0.0.1:{}\"\n",
        folder.display(),
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    );
    std::fs::create_dir_all(folder.join("site")).unwrap();
    std::fs::create_dir_all(folder.join("profiles")).unwrap();
    std::fs::write(folder.join("profiles/saw.toml"), profile).unwrap();
    std::fs::write(folder.join("site/site.toml"), site).unwrap();
    std::fs::write(folder.join("gateway.toml"), settings).unwrap();
}

fn lifeline(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(args)
        .args(["--config", "gateway.toml", "--site", "site", "--profiles", "profiles"])
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs the gateway until its journal holds this many transitions and persons have acted; all that it holds then.
fn live(folder: &Path, transitions: usize, acts: impl FnOnce()) -> Vec<Transition> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args([
            "run",
            "--log-filter",
            "error",
            "--config",
            "gateway.toml",
            "--site",
            "site",
            "--profiles",
            "profiles",
        ])
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let held = || {
        let reader = Reader::open(&folder.join("journal")).ok()?;
        Some(
            reader
                .transitions(0, 10_000)
                .ok()?
                .into_iter()
                .map(|(_, transition)| transition)
                .collect::<Vec<_>>(),
        )
    };
    acts();
    while held().is_none_or(|held| held.len() < transitions) {
        assert!(begun.elapsed() < Duration::from_secs(60), "not enough transitions within 60 s");
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    held().unwrap()
}

/// What happened to which occurrence, of rules of the process.
fn told(lines: &str) -> Vec<(String, String)> {
    let one = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |key: &str| object[key].as_str().unwrap().to_owned();
        (word("kind") == "process").then(|| (word("id"), word("change")))
    };
    lines.lines().filter_map(one).collect()
}

#[test]
fn a_journal_gives_its_transitions_again_and_so_do_its_exports() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    documents(folder, serve());
    let held = live(folder, 60, || ());
    let rules: std::collections::BTreeSet<&str> = held.iter().map(|one| one.alarm.rule.as_str()).collect();
    for rule in ["high", "twice-high", "grows", "both"] {
        assert!(rules.contains(rule), "no {rule} in {rules:?}");
    }
    assert!(held.iter().any(|one| one.change == Change::Rose));

    let first = text(&lifeline(folder, &["replay", "journal"]));
    assert!(first.contains(&format!("the journal holds the same {} transitions", held.len())), "{first}");
    assert_eq!(first, text(&lifeline(folder, &["replay", "journal"])), "run after run");

    let process = held.iter().filter(|one| one.alarm.kind == Kind::Process);
    let want: Vec<(String, String)> =
        process.map(|one| (one.alarm.id.clone(), one.change.name().to_owned())).collect();
    for format in ["csv", "lp"] {
        let file = format!("export.{format}");
        let export =
            ["export", "--journal", "journal", "--since", "1h", "--format", format, "--output", &file];
        text(&lifeline(folder, &export));
        let found = told(&text(&lifeline(folder, &["replay", &file, "--json"])));
        assert_eq!(found, want, "{format}");
    }
}

/// Whatever is active now gets a higher severity, and the drill ends.
fn lift_and_end(folder: &Path) {
    crate::recall::until(folder, &["alarms", "--json"], |output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = || text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let active = lines().find(|one| {
            one["state"] == "active-unacknowledged"
                && one["kind"] == "process"
                && one["drill"] == false
                && one["severity"] != "red"
        });
        let lifted = active.is_some_and(|one| {
            let id = one["id"].as_str().unwrap();
            let raise =
                ["alarms", "raise", id, "--severity", "red", "--for", "1h", "--by", "li", "--reason", "test"];
            lifeline(folder, &raise).status.success()
        });
        let drill =
            lines().find(|one| one["drill"] == true).and_then(|one| one["id"].as_str().map(str::to_owned));
        if let (true, Some(drill)) = (lifted, drill) {
            return lifeline(folder, &["alarms", "reset", &drill, "--by", "li"]).status.success();
        }
        false
    });
}

#[test]
fn what_persons_did_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    documents(folder, serve());
    let act = |args: &[&str]| {
        let args = [&["alarms"], args, &["--by", "li", "--reason", "test"]].concat();
        crate::recall::until(folder, &args, |output| output.status.success());
    };
    let to = SystemClock::new().now().plus(Duration::from_secs(6 * 3600)).to_string();
    let acts = || {
        act(&["shelve", "twice-high", "--for", "1h"]);
        act(&["out-of-service", "grows", "--permit", "W-1", "--responsible", "wang", "--to", &to]);
        act(&["drill", "both", "--severity", "red", "--for", "10m"]);
        act(&["unshelve", "twice-high"]);
        act(&["shelve", "both", "--for", "1s"]);
        act(&["return", "grows"]);
        let maintain =
            ["maintenance", "d0", "--for", "1h", "--role", "gas company", "--reason", "test", "--by", "li"];
        crate::recall::until(folder, &maintain, |output| output.status.success());
        let end = ["maintenance", "d0", "--end", "--by", "li"];
        crate::recall::until(folder, &end, |output| output.status.success());
        lift_and_end(folder);
    };
    let held = live(folder, 60, acts);
    let made = held.iter().filter(|one| one.by.is_some()).map(|one| one.change).collect::<Vec<_>>();
    for change in [
        Change::Shelved,
        Change::Unshelved,
        Change::OutOfService,
        Change::InService,
        Change::Lifted,
        Change::Raised,
        Change::Closed,
    ] {
        assert!(made.contains(&change), "{change:?} in {made:?}");
    }
    let replayed = lifeline(folder, &["replay", "journal"]);
    let told = String::from_utf8_lossy(&replayed.stdout);
    let end: Vec<&str> = told.lines().rev().take(12).collect();
    assert!(told.contains(&format!("the journal holds the same {} transitions", held.len())), "{end:#?}");
}

#[test]
fn mistakes_of_a_recorded_file_are_told_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    documents(folder, "127.0.0.1:1".parse().unwrap());
    let file = "time,a,b\n2026-01-01T00:00:00Z,1,2\nyesterday,1,2\n2026-01-01T00:00:02Z,,wet\n";
    std::fs::write(folder.join("data.csv"), file).unwrap();
    let run = |args: &[&str]| {
        let output = lifeline(folder, args);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let told = run(&["replay", "data.csv", "--map", "a=d0.x", "--map", "b=d0.y"]);
    assert!(told.contains("data.csv:3:1: `yesterday` is no time"), "{told}");
    assert!(told.contains("data.csv:4:23: `wet` is no number"), "{told}");
    // As a spreadsheet saves it: a mark at the front, semicolons, quotes, and a cell of two lines.
    let file = "\u{feff}time;note;a\r\n\"2026-01-01T00:00:00Z\";\"pump; \"\"A\"\"\n on\";1\r\n2026-01-01T00:00:01Z;温;dry\r\n2026-01-01T00:00:02Z;\"on;2\r\n";
    std::fs::write(folder.join("sheet.csv"), file).unwrap();
    let told = run(&["replay", "sheet.csv", "--map", "a=d0.x"]);
    assert!(told.contains("sheet.csv:4:24: `dry` is no number"), "{told}");
    assert!(told.contains("sheet.csv:5:22: this quote is never closed"), "{told}");
    assert_eq!(told.matches("sheet.csv:").count(), 2, "{told}");
    assert!(
        run(&["replay", "data.csv", "--map", "c=d0.x"])
            .contains("has no column `c`; its columns are time, a, b")
    );
    assert!(run(&["replay", "data.csv", "--map", "a=d0.z"]).contains("the site has no point `d0.z`"));
    assert!(run(&["replay", "data.csv", "--map", "a:mm=d0.x"]).contains("d0.x has no unit"));
    assert!(run(&["replay", "data.csv"]).contains("--map COLUMN=POINT"));
}

#[test]
fn recorded_times_are_taken_as_the_other_commands_take_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    documents(folder, "127.0.0.1:1".parse().unwrap());
    let settings = std::fs::read_to_string(folder.join("gateway.toml")).unwrap();
    let zoned = settings.replace("[journal]", "timezone = \"Asia/Shanghai\"\n[journal]");
    std::fs::write(folder.join("gateway.toml"), zoned).unwrap();
    let file = "time,a\n2026-11-01 00:00:00,1\n2026-11-01 00:00:01+08:00,800\n2026-10-31T16:00:02Z,1\n2026-11-01T00:00:03,1\n";
    std::fs::write(folder.join("data.csv"), file).unwrap();
    let told = text(&lifeline(folder, &["replay", "data.csv", "--map", "a=d0.x"]));
    assert!(told.contains("4 readings from 2026-10-31T16:00:00.000Z to 2026-10-31T16:00:03.000Z"), "{told}");
    std::fs::write(
        folder.join("labels.csv"),
        "event_start,event_end,kind\n2026-11-01 00:00:01,soon,hazard\n",
    )
    .unwrap();
    let output = lifeline(folder, &["backtest", "data.csv", "--map", "a=d0.x", "--labels", "labels.csv"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("labels.csv:2: `soon` is no time; write "), "{told}");
    assert!(told.contains("of the site's zone, Asia/Shanghai"), "{told}");
}

#[test]
fn a_sweep_chooses_on_one_half_and_scores_on_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    documents(folder, "127.0.0.1:1".parse().unwrap());
    // Every ten minutes a hump: to 600 in real events, to 350 in others.
    let mut rows = "time,x\n".to_owned();
    let mut labels = "event_start;event_end;\"kind\"\r\n".to_owned();
    let at = |minute: u32| format!("2026-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
    for minute in 0..1200_u32 {
        let (event, within) = (minute / 10, minute % 10);
        let height = if event % 3 == 0 { 600 } else { 350 };
        rows += &format!("{},{}\n", at(minute), if (3..6).contains(&within) { height } else { 0 });
        if within == 3 && event % 3 == 0 {
            labels += &format!("{};{};\"hazard\"\r\n", at(minute), at(minute + 2));
        }
    }
    std::fs::write(folder.join("data.csv"), rows).unwrap();
    std::fs::write(folder.join("labels.csv"), labels).unwrap();
    let args = [
        "backtest",
        "data.csv",
        "--map",
        "x=d0.x",
        "--labels",
        "labels.csv",
        "--rule",
        "high",
        "--sweep",
        "100..900/200",
        "--margin",
        "1m",
        "--csv",
        "out.csv",
        "--svg",
        "out.svg",
    ];
    let table = text(&lifeline(folder, &args));
    assert!(table.contains("500 *"), "{table}");
    let csv = std::fs::read_to_string(folder.join("out.csv")).unwrap();
    let row = |threshold: &str| {
        csv.lines().find(|line| line.starts_with(&format!("high,{threshold},scored"))).unwrap().to_owned()
    };
    assert!(row("500").starts_with("high,500,scored,20,20,0,0,0.0000,"), "{}", row("500"));
    assert!(row("300").starts_with("high,300,scored,20,20,0,40,"), "{}", row("300"));
    assert!(row("700").starts_with("high,700,scored,20,0,,0,"), "{}", row("700"));
    assert!(std::fs::read_to_string(folder.join("out.svg")).unwrap().contains("<polyline"));
}
