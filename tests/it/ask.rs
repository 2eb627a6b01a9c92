//! The asking commands, of a served console (real sockets on loopback) and of a journal on disk: the same question gets the same answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeline_gateway::alarm::desk::Act;
use lifeline_gateway::alarm::{Alarm, Base, RuleState, Severity};
use lifeline_gateway::cli::ask::{self, Ack, Ask, GOOD, NO, UNREACHABLE, USAGE};
use lifeline_gateway::cli::export::{self, Export};
use lifeline_gateway::cli::history::{self, History};
use lifeline_gateway::cli::span::Span;
use lifeline_gateway::console::rows::Format;
use lifeline_gateway::gateway::core::Event;
use lifeline_gateway::journal::{Group, Journal, Progress, Seq, Settings};
use lifeline_gateway::point::{DeviceId, PointId};
use lifeline_gateway::reading::{Batch, Reading, Reason, Sample};

use crate::console::{NOW, Served, TOKEN, alarm, at, catalog, core_answers, get, served_on};

/// Two readings a second of `regulator-3`, one of them bad, for `seconds` up to now.
fn journal_of(folder: &Path, seconds: u64) {
    let open = [
        alarm("0000000000000001", Severity::Yellow, Base::ActiveUnacknowledged),
        alarm("0000000000000002", Severity::Red, Base::ActiveUnacknowledged),
    ];
    journal_with(folder, seconds, open.into());
}

/// The same with these open alarms.
fn journal_with(folder: &Path, seconds: u64, open: Vec<Alarm>) {
    let path = folder.to_owned();
    let keep = Duration::from_secs(400 * 86_400);
    let settings = Settings { path, commit_every: Duration::from_secs(1), keep, max_bytes: 1 << 30 };
    let mut journal = Journal::open(&settings).unwrap();
    let catalog = catalog();
    let start = at(NOW).minus(Duration::from_secs(seconds));
    journal.keep_site(&catalog, &[], start).unwrap();
    for first in (0..seconds).step_by(100) {
        let batches = (first..seconds.min(first + 100)).map(|second| {
            let now = start.plus(Duration::from_secs(second));
            let value = f64::from(u32::try_from(second).unwrap());
            let readings = vec![
                Reading { point: PointId(0), at: now, sample: Sample::Good(value / 4.0) },
                Reading { point: PointId(1), at: now, sample: Sample::Bad(Reason::Timeout) },
            ];
            Batch { device: DeviceId(0), start: now, end: now, readings }
        });
        let group = Group {
            now: at(NOW),
            version: catalog.version.clone(),
            batches: batches.collect(),
            ..Group::default()
        };
        journal.commit(&group).unwrap();
    }
    let state = |alarm: Alarm| (alarm.id.clone(), RuleState { alarm: Some(alarm), ..RuleState::default() });
    let states = open.into_iter().map(state).collect();
    let progress = vec![("tsdb".to_owned(), Progress { live: Seq(1), ..Progress::default() })];
    let group = Group { now: at(NOW), version: catalog.version, states, progress, ..Group::default() };
    journal.commit(&group).unwrap();
}

/// A folder with a journal and a token, and a console that serves them.
struct House {
    folder: tempfile::TempDir,
    served: Served,
}

impl House {
    async fn new(seconds: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        journal_of(folder.path(), seconds);
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        let served = served_on("127.0.0.1:0", folder.path().to_owned()).await;
        Self { folder, served }
    }

    fn gateway(&self) -> Ask {
        let url = Some(format!("http://{}", self.served.address));
        Ask { url, token_file: Some(self.folder.path().join("token")), json: true, ..Ask::default() }
    }

    fn disk(&self) -> Ask {
        Ask { journal: Some(self.folder.path().to_owned()), json: true, ..Ask::default() }
    }
}

/// An address on which nobody listens: it was just given back.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn history(ask: &Ask, point: &str, since: &str) -> (u8, String) {
    let mut out = Vec::new();
    let question = History {
        point: point.to_owned(),
        span: Span { since: Some(since.to_owned()), until: None },
        most: None,
    };
    let code = history::history(ask, &question, &mut out).await.unwrap();
    (code, String::from_utf8(out).unwrap())
}

async fn exported(ask: &Ask, format: Format, points: &[&str], output: Option<PathBuf>) -> (u8, String) {
    let mut out = Vec::new();
    let points = points.iter().map(|point| (*point).to_owned()).collect();
    let what = Export { format, points, span: Span::default(), output };
    let code = export::export(ask, &what, &mut out).await.unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn history_is_the_same_from_gateway_and_disk() {
    let house = House::new(10).await;
    let since = "2026-11-23T08:00:08.000Z";
    let expected = "{\"time\":\"2026-11-23T08:00:08.000Z\",\"point\":\"regulator-3.pressure\",\"value\":2.0,\"unit\":\"kPa\",\"quality\":\"good\"}\n\
                    {\"time\":\"2026-11-23T08:00:09.000Z\",\"point\":\"regulator-3.pressure\",\"value\":2.25,\"unit\":\"kPa\",\"quality\":\"good\"}\n";
    for ask in [house.gateway(), house.disk()] {
        assert_eq!(history(&ask, "regulator-3.pressure", since).await, (GOOD, expected.to_owned()));
        let text = Ask { json: false, ..ask };
        let (code, words) = history(&text, "regulator-3.valve", since).await;
        assert_eq!((code, words.lines().count()), (GOOD, 2), "{words}");
        assert!(words.lines().all(|line| line.ends_with("bad (timeout)")), "{words}");
    }
    let text = Ask { json: false, ..house.gateway() };
    let (_, words) = history(&text, "regulator-3.pressure", since).await;
    assert!(words.starts_with("2026-11-23 16:00:08.000 +08:00            2.00 kPa     good\n"), "{words}");
}

#[tokio::test]
async fn an_unknown_point_or_time_is_refused_with_its_own_code() {
    let house = House::new(10).await;
    for ask in [house.gateway(), house.disk()] {
        assert_eq!(history(&ask, "regulater-3.pressure", "all").await, (NO, String::new()));
        assert_eq!(history(&ask, "regulator-3.pressure", "yesterday").await, (USAGE, String::new()));
        assert_eq!(history(&ask, "", "all").await, (USAGE, String::new()));
    }
    let (status, _, body) = get(&house.served, "/api/v1/history?since=all&point=regulater-3.pressure").await;
    assert_eq!(status, 404);
    let expected = r#"{"error":"there is no point regulater-3.pressure","nearest":"regulator-3.pressure"}"#;
    assert_eq!(body, expected);
}

#[tokio::test]
async fn export_streams_the_same_rows_from_gateway_and_disk() {
    let house = House::new(3000).await;
    for format in [Format::Csv, Format::JsonLines] {
        let (code, from_gateway) = exported(&house.gateway(), format, &[], None).await;
        assert_eq!(code, GOOD);
        assert_eq!(from_gateway.lines().count(), 6000 + format.head().lines().count());
        assert!(from_gateway == exported(&house.disk(), format, &[], None).await.1, "the two differ");
    }
    let (_, csv) = exported(&house.disk(), Format::Csv, &["regulator-3.valve"], None).await;
    let mut rows = csv.split("\r\n");
    assert_eq!(rows.next(), Some("time,point,value,unit,quality,reason"));
    assert_eq!(rows.next(), Some("2026-11-23T07:10:10.000Z,regulator-3.valve,,,bad,timeout"));
}

#[tokio::test]
async fn an_exported_file_is_whole_or_not_there() {
    let house = House::new(10).await;
    let file = house.folder.path().join("out.csv");
    let (code, out) =
        exported(&house.gateway(), Format::Csv, &["regulator-3.pressure"], Some(file.clone())).await;
    assert_eq!((code, out.as_str()), (GOOD, ""));
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 11);

    let other = house.folder.path().join("other.csv");
    let (code, _) = exported(&house.disk(), Format::Csv, &["nobody.nothing"], Some(other.clone())).await;
    assert_eq!(code, NO);
    let left = std::fs::read_dir(house.folder.path()).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with("other")));
}

#[tokio::test]
async fn alarms_come_one_a_line_and_worst_first() {
    let house = House::new(1).await;
    for (ask, count) in [(house.gateway(), 3), (house.disk(), 2)] {
        let mut out = Vec::new();
        assert_eq!(ask::alarms(&ask, &mut out).await.unwrap(), GOOD);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().count(), count);
        assert!(out.starts_with("{\"id\":\"0000000000000002\",\"kind\":\"process\","), "{out}");

        let mut out = Vec::new();
        assert_eq!(ask::alarms(&Ask { json: false, ..ask }, &mut out).await.unwrap(), GOOD);
        let out = String::from_utf8(out).unwrap();
        let first = out.lines().nth(1).unwrap();
        assert!(first.starts_with("0000000000000002  红 red"), "{out}");
        // Value and limit have the two digits of their point, as its readings.
        assert!(first.contains("  3.31   3.20  kPa  "), "{out}");
        assert!(out.lines().next().unwrap().contains("  unit  now "), "{out}");
    }
}

#[tokio::test]
async fn what_a_rule_judges_now_comes_from_the_gateway_and_with_its_age_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let mut open = alarm("0000000000000002", Severity::Red, Base::ActiveUnacknowledged);
    open.marks.of_readings = true;
    open.guide.place = Some("海棠溪调压站".to_owned());
    let rise = alarm("0000000000000001", Severity::Yellow, Base::ActiveUnacknowledged);
    journal_with(folder.path(), 8, vec![open, rise]);
    let disk = Ask { journal: Some(folder.path().to_owned()), ..Ask::default() };
    let mut out = Vec::new();
    assert_eq!(ask::alarms(&Ask { json: true, ..disk.clone() }, &mut out).await.unwrap(), GOOD);
    let lines: Vec<serde_json::Value> =
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["value"], &lines[0]["now"]["value"]), (&3.31.into(), &1.75.into()));
    assert_eq!(lines[0]["now"]["time"], "2026-11-23T08:00:09.000Z");
    assert_eq!(lines[1].get("now"), None, "a rule that makes its own number has none on disk");
    let mut out = Vec::new();
    assert_eq!(ask::alarms(&disk, &mut out).await.unwrap(), GOOD);
    let out = String::from_utf8(out).unwrap();
    let row = out.lines().nth(1).unwrap();
    assert!(row.contains("  3.31   3.20  kPa   1.75 kPa, "), "{out}");
    assert!(row.contains("  海棠溪调压站  "), "{out}");
    assert!(row.contains(" ago  close valve V-3"), "{out}");
}

async fn status(ask: Ask) -> (u8, String) {
    let mut out = Vec::new();
    let code = ask::status(&ask, &mut out).await.unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn status_tells_gateway_and_disk_apart() {
    let house = House::new(250).await;
    let (code, out) = status(house.gateway()).await;
    assert_eq!(code, GOOD);
    let view: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((view["site"].as_str(), view["journal"]["seq"].as_u64()), (Some("nanan-01"), Some(42)));

    let (code, out) = status(house.disk()).await;
    assert_eq!(code, GOOD);
    let view: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((view["seq"].as_u64(), view["alarms_open"].as_u64()), (Some(4), Some(2)));
    assert_eq!(view["sinks"], serde_json::json!([{ "name": "tsdb", "backlog": 3 }]));

    house.served.board.picture.write().unwrap().journal.trouble = Some("the disk is full".to_owned());
    let (code, out) = status(Ask { json: false, ..house.gateway() }).await;
    assert_eq!(code, NO);
    assert!(out.contains("nanan-01 is in trouble"), "{out}");
    assert!(out.contains("! the journal refuses: the disk is full\n"), "{out}");
}

#[tokio::test]
async fn an_acknowledgement_needs_a_gateway_and_its_token() {
    let mut house = House::new(1).await;
    let ack =
        Ack {
            id: "0000000000000002".to_owned(), severity: Severity::Red, by: "李雷".to_owned(), note: None
        };
    let mut out = Vec::new();
    let without = Ask { token_file: None, ..house.gateway() };
    assert_eq!(
        ask::ack(&without, &ack, &mut out).await.unwrap(),
        NO,
        "no token is sent to an address that was named"
    );
    assert_eq!(ask::ack(&house.disk(), &ack, &mut out).await.unwrap(), UNREACHABLE);
    let other = Ack { id: "../../status".to_owned(), ..ack.clone() };
    assert_eq!(ask::ack(&house.gateway(), &other, &mut out).await.unwrap(), NO);
    assert!(house.served.commands.try_recv().is_err(), "the core heard nothing");

    let by_default = Ask {
        default_url: format!("http://{}", house.served.address),
        default_journal: house.folder.path().to_owned(),
        ..Ask::default()
    };
    let mut commands = std::mem::replace(&mut house.served.commands, tokio::sync::mpsc::channel(1).1);
    let (_, code) = tokio::join!(core_answers(&mut commands, None), ask::ack(&by_default, &ack, &mut out));
    assert_eq!(code.unwrap(), GOOD);
    let refused = Some("it has risen since");
    let (_, code) = tokio::join!(core_answers(&mut commands, refused), ask::ack(&by_default, &ack, &mut out));
    assert_eq!(code.unwrap(), NO);
}

#[tokio::test]
async fn without_a_gateway_the_journal_answers_and_without_both_nobody() {
    let house = House::new(10).await;
    let journal = house.folder.path().to_owned();
    let fallback = Ask { default_url: nobody(), default_journal: journal, json: true, ..Ask::default() };
    let (code, out) = history(&fallback, "regulator-3.pressure", "2026-11-23T08:00:09.000Z").await;
    assert_eq!((code, out.lines().count()), (GOOD, 1));

    let (code, out) = status(fallback.clone()).await;
    let view: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, view["running"].as_bool()), (UNREACHABLE, Some(false)));
    assert_eq!(view["as_of"], "2026-11-23T08:00:10.000Z");
    let text = Ask { json: false, ..fallback };
    let (code, out) = status(text.clone()).await;
    assert!(code == UNREACHABLE && out.starts_with("as of 2026-11-23 "), "{out}");
    let first = out.lines().next().unwrap();
    assert!(first.ends_with(" s ago; the gateway is not running"), "{out}");
    let mut out = Vec::new();
    assert_eq!(ask::alarms(&text, &mut out).await.unwrap(), GOOD);
    assert!(String::from_utf8(out).unwrap().starts_with("as of 2026-11-23 "));

    let nowhere = house.folder.path().join("nowhere");
    let mut out = Vec::new();
    for ask in [
        Ask { default_url: nobody(), default_journal: nowhere.clone(), ..Ask::default() },
        Ask { url: Some(nobody()), ..Ask::default() },
        Ask { journal: Some(nowhere), ..Ask::default() },
    ] {
        assert_eq!(ask::status(&ask, &mut out).await.unwrap(), UNREACHABLE, "{ask:?}");
    }
    let both = Ask { url: Some(nobody()), ..house.disk() };
    assert_eq!(ask::status(&both, &mut out).await.unwrap(), USAGE);
    let nonsense = Ask { url: Some("not an address".to_owned()), ..Ask::default() };
    assert_eq!(ask::status(&nonsense, &mut out).await.unwrap(), USAGE);
    assert!(out.is_empty(), "refusals go to stderr");
}

/// The program with these arguments, asking `house`: its exit code and both its outputs.
async fn program(house: &House, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"));
    command.args(args).args(["--url", &format!("http://{}", house.served.address)]);
    command.arg("--token-file").arg(house.folder.path().join("token")).current_dir(house.folder.path());
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[tokio::test]
async fn a_missing_token_is_told_with_the_file_that_was_tried() {
    let house = House::new(1).await;
    let folder = house.folder.path();
    let settings = format!(
        "[site]\nname = \"nanan-01\"\n[journal]\npath = \"{}/own\"\n[console]\nlisten = \"{}\"\n",
        folder.display(),
        house.served.address
    );
    std::fs::write(folder.join("gateway.toml"), settings).unwrap();
    std::fs::write(folder.join("other"), "0123456789abcdef0123").unwrap();
    let acted = async |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"));
        command.args(["alarms", "reset", "x"]).args(more).current_dir(folder);
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, told) = acted(&["--config", "gateway.toml"]).await;
    let own = folder.join("own/token");
    assert!(code == Some(1) && told.contains(&format!("none can be read in {};", own.display())), "{told}");
    let url = format!("http://{}", house.served.address);
    let (_, told) = acted(&["--url", &url, "--token-file", "other"]).await;
    assert!(told.contains("does not take the token in other;"), "{told}");
    let (_, told) = acted(&["--url", &url]).await;
    assert!(told.contains("`token` in its journal's folder"), "{told}");
}

#[tokio::test]
async fn a_gateway_of_another_site_is_told_and_wants_its_own_token() {
    let mut house = House::new(1).await;
    let folder = house.folder.path().to_owned();
    let settings = |name: &str| {
        let (journal, listen) = (folder.display(), house.served.address);
        format!(
            "[site]\nname = \"{name}\"\n[journal]\npath = \"{journal}\"\n[console]\nlisten = \"{listen}\"\n"
        )
    };
    std::fs::write(folder.join("own.toml"), settings("nanan-01")).unwrap();
    std::fs::write(folder.join("g2.toml"), settings("south")).unwrap();
    // As it is in the field: the other gateway has a journal and a token of its own.
    let apart = folder.join("south");
    std::fs::create_dir(&apart).unwrap();
    std::fs::write(apart.join("token"), "of-south").unwrap();
    let own = settings("south")
        .replace(&format!("path = \"{}\"", folder.display()), &format!("path = \"{}\"", apart.display()));
    std::fs::write(folder.join("g3.toml"), own).unwrap();
    let run = async |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"));
        command.args(args).current_dir(&folder);
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let stranger = "is that of site nanan-01, and the settings are of south";
    let url = format!("http://{}", house.served.address);
    for args in [&["alarms"][..], &["alarms", "hidden"], &["history", "regulator-3.pressure"]] {
        let (code, out, told) = run(&[args, &["--config", "own.toml"]].concat()).await;
        assert!(told.is_empty(), "{args:?}: {told}");
        let (other, same, told) = run(&[args, &["--config", "g2.toml"]].concat()).await;
        assert!(other == code && same == out && told.contains(stranger), "{args:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        let (_, _, told) = run(&[args, &["--config", "g2.toml", "--url", &url]].concat()).await;
        assert!(told.is_empty(), "{args:?}: {told}");
    }
    let id = "0000000000000002";
    for args in [
        &["alarms", "ack", id, "--severity", "red"][..],
        &["alarms", "shelve", id, "--for", "1h", "--reason", "work"],
        &["maintenance", "regulator-3", "--end"],
        &["reload"],
    ] {
        let (code, out, told) = run(&[args, &["--config", "g3.toml"]].concat()).await;
        assert!(code == Some(1) && out.is_empty() && told.contains(stranger), "{args:?}: {told}");
        assert!(told.contains("token"), "{told}");
    }
    assert!(house.served.commands.try_recv().is_err(), "the core heard nothing");
    let (code, _, told) = run(&["alarms", "shelve", id, "--for", "1h", "--config", "own.toml"]).await;
    assert!(code == Some(2) && told.contains("shelve needs a reason: --reason"), "{told}");
    assert!(run(&["alarms", "ack", "--help"]).await.1.contains("or its rule's name"));
}

#[tokio::test]
async fn a_permit_begins_in_the_zone_of_the_site() {
    let mut house = House::new(1).await;
    let mut commands = std::mem::replace(&mut house.served.commands, tokio::sync::mpsc::channel(1).1);
    let permit = |from: &'static str| {
        let who = ["--permit", "P-7", "--responsible", "li", "--by", "wang", "--reason", "works"];
        [&["alarms", "out-of-service", "0000000000000002", "--from", from, "--for", "2h"], &who[..]].concat()
    };
    for from in ["2027-01-01T08:00", "2027-01-01 08:00:00", "2027-01-01T00:00:00Z"] {
        let args = permit(from);
        let (event, (code, _, error)) =
            tokio::join!(core_answers(&mut commands, None), program(&house, &args));
        assert_eq!(code, Some(0), "{error}");
        let Event::Act { act: Act::TakeOut { from, to, .. }, .. } = event else { panic!("{event:?}") };
        let times = (from.unwrap().to_string(), to.to_string());
        assert_eq!(times, ("2027-01-01T00:00:00.000Z".to_owned(), "2027-01-01T02:00:00.000Z".to_owned()));
    }
    let (code, _, error) = program(&house, &permit("tomorrow")).await;
    assert_eq!(code, Some(2));
    assert!(error.contains("of the site's zone, Asia/Shanghai"), "{error}");
}

#[tokio::test]
async fn an_empty_list_is_good_and_says_so() {
    let house = House::new(10).await;
    let journal = house.folder.path().to_str().unwrap();
    for (asked, told) in [
        (&["audits"][..], "nothing was written to a device or learnt of its firmware"),
        (&["audits", "regulator-3"], "nothing was written to regulator-3 or learnt of its firmware"),
        (&["alarms", "hidden"], "no rule is shelved, out of service or suppressed"),
        (
            &["history", "regulator-3.pressure", "--since", "2020-01-01", "--until", "2020-01-02"],
            "regulator-3.pressure has no reading in this time",
        ),
        (&["map", "--class", "elevator", "--grade", "4"], "no risk point of this class and grade"),
    ] {
        let (code, out, error) = program(&house, asked).await;
        assert!(code == Some(0) && out.contains(told) && error.is_empty(), "{asked:?}: {out}{error}");
        let (code, out, error) = program(&house, &[asked, &["--json"]].concat()).await;
        assert_eq!((code, out.as_str(), error.as_str()), (Some(0), "", ""), "{asked:?}");
    }
    let local = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"));
        let done = command.args(args).current_dir(journal).output().unwrap();
        let text = [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        (done.status.code(), text)
    };
    for (asked, code, told) in [
        (&["quarantine"][..], 0, "nothing is set aside in "),
        (&["quarantine", "tsdb"], 0, "nothing of tsdb is set aside in "),
        (&["quarantine", "--delete"], 0, "nothing is set aside in "),
        (&["quarantine", "tsbd"], 1, "the journal knows no sink tsbd; did you mean tsdb?"),
        (&["quarantine", "--id", "7", "--send-again"], 1, "no record 7 is set aside"),
        (&["audits", "regulator-9"], 1, "there is no device regulator-9; did you mean regulator-3?"),
        (
            &["history", "regulator-3.pressure", "--since", "2020-01-01", "--until", "2020-01-02"],
            0,
            "regulator-3.pressure has no reading in this time",
        ),
        (&["history", "regulator-3.presure"], 1, "did you mean regulator-3.pressure?"),
    ] {
        let (got, text) = local(&[asked, &["--journal", journal]].concat());
        assert!(got == Some(code) && text.contains(told), "{asked:?}: {got:?} {text}");
    }
    assert_eq!(local(&["quarantine", "--json", "--journal", journal]), (Some(0), String::new()));
    let (code, text) = local(&["quarantine", "--journal", "nowhere"]);
    assert!(code == Some(3) && text.contains("/nowhere (`nowhere` counts from the folder"), "{text}");
}
