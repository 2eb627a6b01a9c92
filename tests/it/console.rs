//! The console over a real socket on loopback, in real time (nothing here waits longer than the kernel does).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use lifeline_gateway::alarm::desk::Act;
use lifeline_gateway::alarm::{Alarm, Base, Kind, Severity};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::console::rates::RatesView;
use lifeline_gateway::console::{rows::Format, serve};
use lifeline_gateway::forward;
use lifeline_gateway::gateway::board::{
    Board, Command, DeviceStatus, JournalStatus, Picture, Refused, Reload, Shown,
};
use lifeline_gateway::gateway::core::Event;
use lifeline_gateway::loss::Loss;
use lifeline_gateway::point::{Catalog, Device, DeviceId, Line, LineId, Point, PointId};
use lifeline_gateway::reading::{Doubt, Reading, Reason, Sample};
use lifeline_gateway::unit::Unit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const NOW: &str = "2026-11-23T08:00:10.000Z";

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub(crate) fn catalog() -> Catalog {
    let device = |id, name: &str, class: &str, town: Option<&str>| Device {
        id: DeviceId(id),
        name: name.to_owned(),
        line: Some(LineId(0)),
        class: class.to_owned(),
        risk_point: town.map(|_| "500108-GA-0031-A".to_owned()),
        town: town.map(str::to_owned),
        tags: std::collections::BTreeMap::new(),
    };
    let point = |id, device, name: &str, unit: Option<Unit>, states: &[(i64, &str)]| Point {
        id: PointId(id),
        name: name.to_owned(),
        short: name.split_once('.').unwrap().1.to_owned(),
        device: DeviceId(device),
        unit,
        decimals: 2,
        states: states.iter().map(|(value, name)| (*value, (*name).to_owned())).collect(),
        tags: std::collections::BTreeMap::new(),
    };
    Catalog {
        site: "nanan-01".to_owned(),
        version: "0011223344556677".to_owned(),
        lines: vec![Line { id: LineId(0), name: "rs485-1".to_owned() }],
        devices: vec![
            device(0, "regulator-3", "gas-pressure", Some("南坪街道")),
            device(1, "underpass-2", "water-level", None),
        ],
        points: vec![
            point(0, 0, "regulator-3.pressure", Unit::parse("kPa"), &[]),
            point(1, 0, "regulator-3.valve", None, &[(0, "open"), (1, "closed")]),
            point(2, 1, "underpass-2.level", None, &[]),
            point(3, 1, "underpass-2.rise", None, &[]),
        ],
    }
}

pub(crate) fn alarm(id: &str, severity: Severity, state: Base) -> Alarm {
    Alarm {
        id: id.to_owned(),
        kind: Kind::Process,
        rule: "outlet-pressure-high".to_owned(),
        rule_version: "aa".to_owned(),
        point: "regulator-3.pressure".to_owned(),
        risk_point: Some("500108-GA-0031-A".to_owned()),
        town: Some("南坪街道".to_owned()),
        severity,
        present: None,
        state,
        unverified: false,
        since: at("2026-11-23T08:00:00.000Z"),
        value: Some(3.31),
        threshold: Some(3.2),
        unit: Some("kPa".to_owned()),
        advice: "close valve V-3 <script>alert(1)</script>".to_owned(),
        acknowledged: None,
        overlay: Default::default(),
        guide: Default::default(),
        trend: None,
        marks: Default::default(),
    }
}

fn picture() -> Picture {
    let reading = |point, time: &str, sample| Some(Reading { point: PointId(point), at: at(time), sample });
    let alarms = [
        alarm("0000000000000001", Severity::Yellow, Base::ActiveUnacknowledged),
        alarm("0000000000000002", Severity::Red, Base::ActiveUnacknowledged),
        alarm("0000000000000003", Severity::Red, Base::ReturnedUnacknowledged),
    ];
    Picture {
        overlays: BTreeMap::new(),
        proved: None,
        work: Default::default(),
        load: Default::default(),
        started: at("2026-11-23T06:00:00.000Z"),
        now: at(NOW),
        latest: vec![
            reading(0, "2026-11-23T08:00:00.123Z", Sample::Good(2.63)),
            reading(1, "2026-11-23T08:00:00.123Z", Sample::Bad(Reason::Timeout)),
            reading(2, "2026-11-23T08:00:02.125Z", Sample::Uncertain(3.1, Doubt::Spike)),
            reading(3, "2026-11-23T08:00:02.125Z", Sample::Bad(Reason::Input(PointId(2)))),
        ],
        alarms: alarms.into_iter().map(|alarm| (alarm.id.clone(), alarm)).collect(),
        raised: 7,
        cleared: 4,
        devices: vec![
            DeviceStatus {
                advice: None,
                polls: 10,
                failed: 1,
                trouble: None,
                answered: Some(at("2026-11-23T08:00:00.123Z")),
                ..DeviceStatus::default()
            },
            DeviceStatus {
                polls: 9,
                failed: 9,
                trouble: Some("timeout".to_owned()),
                answered: None,
                ..DeviceStatus::default()
            },
        ],
        lines: vec![None],
        traffic: Vec::new(),
        stands: Arc::default(),
        journal: JournalStatus {
            seq: 42,
            readings: 400,
            transitions: 11,
            bytes: 81_920,
            trouble: None,
            waiting: 0,
            ..JournalStatus::default()
        },
        losses: BTreeMap::from([((Loss::StrayBytes, "rs485-\"1\"".to_owned()), 5)]),
        ..Picture::default()
    }
}

/// A served console, with the receiving end of its commands.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) board: Arc<Board>,
    pub(crate) commands: mpsc::Receiver<Command>,
    reloads: mpsc::Receiver<Reload>,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

#[expect(clippy::disallowed_methods, reason = "the test stands in for the gateway, which spawns")]
pub(crate) async fn served_on(bind: &str, journal: PathBuf) -> Served {
    let listener = TcpListener::bind(bind).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (to_core, commands) = mpsc::channel(4);
    let (to_supervisor, reloads) = mpsc::channel(4);
    let sink = forward::Status { up: true, readings: 300, backlog: 3, ..forward::Status::default() };
    let shown = Shown {
        catalog: Arc::new(catalog()),
        sinks: vec![("tsdb".to_owned(), Arc::new(Mutex::new(sink)))],
        timezone: "Asia/Shanghai".to_owned(),
        ..Shown::default()
    };
    let board = Arc::new(Board {
        picture: RwLock::new(Picture { shown: Arc::new(shown), ..picture() }),
        changed: watch::channel(0).0,
        unjournaled: tokio::sync::broadcast::Sender::new(1),
        commands: to_core,
        reloads: to_supervisor,
        journal,
    });
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(serve(listener, Arc::clone(&board), TOKEN.to_owned(), stopped));
    Served {
        address: SocketAddr::from(([127, 0, 0, 1], address.port())),
        board,
        commands,
        reloads,
        stop,
        serving,
    }
}

fn no_journal() -> PathBuf {
    std::env::temp_dir().join("lifeline-no-journal-here")
}

async fn served() -> Served {
    served_on("127.0.0.1:0", no_journal()).await
}

/// One request as bytes; status line, headers and body as text. The body of a chunked answer still has its chunk lengths.
async fn raw(served: &Served, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

pub(crate) async fn get(served: &Served, path: &str) -> (u16, String, String) {
    raw(served, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
}

async fn post(served: &Served, path: &str, token: Option<&str>, body: &str) -> (u16, serde_json::Value) {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}Content-Length: {length}\r\n\r\n"
    );
    let (status, _, body) = raw(served, &(head + body)).await;
    (status, serde_json::from_str(&body).unwrap())
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn health_says_ok_and_then_what_is_wrong() {
    let served = served().await;
    assert_eq!(get(&served, "/healthz").await.0, 200);
    served.board.picture.write().unwrap().journal.trouble = Some("the disk is full".to_owned());
    let (status, _, body) = get(&served, "/healthz").await;
    assert_eq!((status, body.as_str()), (503, "the journal refuses: the disk is full\n"));
}

#[tokio::test]
async fn points_have_the_promised_shape() {
    let served = served().await;
    let (status, head, body) = get(&served, "/api/v1/points").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let golden = r#"[{"time":"2026-11-23T08:00:00.123Z","point":"regulator-3.pressure","value":2.63,"unit":"kPa","quality":"good"},
        {"time":"2026-11-23T08:00:00.123Z","point":"regulator-3.valve","quality":"bad","reason":"timeout"},
        {"time":"2026-11-23T08:00:02.125Z","point":"underpass-2.level","value":3.1,"quality":"uncertain","reason":"spike"},
        {"time":"2026-11-23T08:00:02.125Z","point":"underpass-2.rise","quality":"bad","reason":"input: underpass-2.level"}]"#;
    assert_eq!(body, golden.replace("\n        ", ""));
}

#[tokio::test]
async fn alarms_have_the_promised_shape_and_the_worst_first() {
    let served = served().await;
    let (_, _, body) = get(&served, "/api/v1/alarms").await;
    let alarms = json(&body);
    let ids: Vec<_> = alarms.as_array().unwrap().iter().map(|alarm| alarm["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        ["0000000000000002", "0000000000000001", "0000000000000003"],
        "active before returned, red first"
    );
    let golden = r#"{"id":"0000000000000002","kind":"process","rule":"outlet-pressure-high","rule_version":"aa",
        "point":"regulator-3.pressure","risk_point":"500108-GA-0031-A","town":"南坪街道","severity":"red",
        "state":"active-unacknowledged","shelved":false,"suppressed":false,"out_of_service":false,"unverified":false,
        "since":"2026-11-23T08:00:00.000Z","value":3.31,"threshold":3.2,"unit":"kPa","advice":"close valve V-3 <script>alert(1)</script>","#;
    assert!(body.starts_with(&format!("[{}", golden.replace("\n        ", ""))), "{body}");
}

#[tokio::test]
async fn status_shows_devices_lines_sinks_and_losses() {
    let served = served().await;
    let status = json(&get(&served, "/api/v1/status").await.2);
    assert_eq!(status["site"], "nanan-01");
    assert_eq!(status["uptime_s"], 7210);
    assert_eq!(status["alarms_open"], 3);
    assert_eq!(status["lines"], json(r#"[{"name":"rs485-1","traffic":{"requests":0,"replies":0}}]"#));
    assert_eq!(status["devices"][1]["trouble"], "timeout");
    assert_eq!(status["devices"][0]["points"][1]["states"], json(r#"[[0,"open"],[1,"closed"]]"#));
    assert_eq!(status["devices"][0]["points"][0]["ucum"], "kPa");
    assert_eq!(status["sinks"][0]["backlog"], 3);
    assert_eq!(status["losses"], json(r#"[{"reason":"stray_bytes","place":"rs485-\"1\"","count":5}]"#));
}

/// Splits a sample line into name, labels and value, as strictly as the format asks.
fn sample(line: &str) -> (&str, &str, f64) {
    let (left, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) =
        left.split_once('{').map_or((left, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap()));
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
    (name, labels, value.parse().unwrap())
}

#[tokio::test]
async fn metrics_follow_the_text_format() {
    let served = served().await;
    let (status, head, body) = get(&served, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let (mut family, mut summary) = ("", false);
    let mut families = Vec::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let kind;
            (family, kind) = rest.split_once(' ').unwrap();
            summary = kind == "summary";
            families.push(family);
        } else if !line.starts_with("# HELP ") {
            let name = sample(line).0;
            let part =
                summary && name.strip_prefix(family).is_some_and(|rest| rest == "_sum" || rest == "_count");
            assert!(name == family || part, "a sample stands under its own TYPE: {line}");
        }
    }
    let mut once = families.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), families.len(), "each family stands once");
    for line in [
        "lifeline_polls_total{device=\"regulator-3\"} 10",
        "lifeline_poll_failures_total{device=\"underpass-2\"} 9",
        "lifeline_alarms_active{severity=\"red\"} 1",
        "lifeline_alarms_unacknowledged{severity=\"red\"} 2",
        "lifeline_alarms_raised_total 7",
        "lifeline_journal_seq 42",
        "lifeline_sink_backlog_commits{sink=\"tsdb\"} 3",
        "lifeline_losses_total{reason=\"stray_bytes\",place=\"rs485-\\\"1\\\"\"} 5",
        "lifeline_start_time_seconds 1795413600.000",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is missing in\n{body}");
    }
}

/// Answers one command as the core would, and returns its event.
pub(crate) async fn core_answers(commands: &mut mpsc::Receiver<Command>, answer: Option<&str>) -> Event {
    let command = commands.recv().await.unwrap();
    command.answer.send(answer.map(str::to_owned)).unwrap();
    command.event
}

const ACK: &str = r#"{"severity":"red","by":"李雷","note":"called the gas company"}"#;

#[tokio::test]
async fn an_acknowledgement_goes_to_the_core_and_back() {
    let mut served = served().await;
    let mut commands = std::mem::replace(&mut served.commands, mpsc::channel(1).1);
    let path = "/api/v1/alarms/0000000000000002/ack";
    let (event, (status, body)) =
        tokio::join!(core_answers(&mut commands, None), post(&served, path, Some(TOKEN), ACK));
    assert_eq!((status, body["id"].as_str()), (200, Some("0000000000000002")));
    let (id, by, note) =
        ("0000000000000002".to_owned(), "李雷".to_owned(), Some("called the gas company".to_owned()));
    assert_eq!(event, Event::Acknowledge { id, seen: Severity::Red, by, note });

    let refused = Some("it has risen to red since");
    let (_, (status, body)) =
        tokio::join!(core_answers(&mut commands, refused), post(&served, path, Some(TOKEN), ACK));
    assert_eq!((status, body["error"].as_str()), (409, refused));

    let path = "/api/v1/alarms/0000000000000002/reset";
    let (event, (status, _)) =
        tokio::join!(core_answers(&mut commands, None), post(&served, path, Some(TOKEN), r#"{"by":"x"}"#));
    assert_eq!(status, 200);
    assert_eq!(
        event,
        Event::Act { target: "0000000000000002".to_owned(), act: Act::Reset, by: "x".to_owned(), note: None }
    );
}

/// What each refusal of the core comes to for the person: what is so now, and what to do.
#[tokio::test]
async fn a_refusal_says_what_to_do() {
    use lifeline_gateway::alarm::lifecycle::Refusal;
    let mut served = served().await;
    let mut commands = std::mem::replace(&mut served.commands, mpsc::channel(1).1);
    let seen = Some(("王芳".to_owned(), at("2026-11-23T08:01:00.000Z")));
    let alarms = &mut served.board.picture.write().unwrap().alarms.clone();
    alarms.get_mut("0000000000000002").unwrap().acknowledged = seen;
    served.board.picture.write().unwrap().alarms = alarms.clone();
    let path = |act: &str| format!("/api/v1/alarms/0000000000000002/{act}");
    let work = r#"{"by":"x","reason":"y","seconds":60,"responsible":"z"}"#;
    for (act, body, refusal, told) in [
        (
            "ack",
            ACK,
            Refusal::AlreadyAcknowledged,
            "already acknowledged by 王芳 at 2026-11-23 16:01:00 +08:00",
        ),
        (
            "ack",
            ACK,
            Refusal::Changed,
            "changed: the severity has risen since: outlet-pressure-high is red now; look at it again, then say that severity",
        ),
        ("ack", ACK, Refusal::NothingToAcknowledge, "nothing to acknowledge"),
        ("ack", ACK, Refusal::NoSuchAlarm, "no such alarm is open; the list of alarms has the ids"),
        (
            "shelve",
            work,
            Refusal::RedStays,
            "a red alarm cannot be shelved; a permit takes its rule out of service (out-of-service)",
        ),
        (
            "reset",
            work,
            Refusal::StillActive,
            "the alarm is still active; it can be reset once its condition is gone",
        ),
        ("unshelve", work, Refusal::NotShelved, "it is not shelved: nothing had to be done"),
        ("return", work, Refusal::InService, "it is in service, and no permit waits: nothing had to be done"),
        ("maintenance", work, Refusal::NoSuchSensor, "no sensor of this name"),
        (
            "maintenance",
            work,
            Refusal::UnderPermit,
            "it is under a permit already; end that one first (return)",
        ),
    ] {
        let refused = refusal.to_string();
        let path = path(act);
        let (_, (status, answer)) = tokio::join!(
            core_answers(&mut commands, Some(&refused)),
            post(&served, &path, Some(TOKEN), body)
        );
        assert_eq!((status, answer["error"].as_str()), (409, Some(told)), "{act}");
    }
}

#[tokio::test]
async fn maintenance_says_what_it_needs() {
    let served = served().await;
    let path = "/api/v1/alarms/0000000000000002/maintenance";
    for (body, told) in [
        (r#"{"by":"x","seconds":60,"responsible":"z"}"#, "maintenance needs a reason"),
        (r#"{"by":"x","reason":"y","seconds":60}"#, "maintenance needs `responsible`"),
        (r#"{"by":"x","reason":"y","responsible":"z"}"#, "maintenance needs `seconds`, how long"),
    ] {
        let (status, answer) = post(&served, path, Some(TOKEN), body).await;
        assert_eq!((status, answer["error"].as_str()), (422, Some(told)));
    }
}

#[tokio::test]
async fn acts_that_are_not_in_order_never_reach_the_core() {
    let mut served = served().await;
    let path = "/api/v1/alarms/0000000000000002/ack";
    let long = format!(r#"{{"severity":"red","by":"{}"}}"#, "x".repeat(65));
    let huge = format!(r#"{{"severity":"red","by":"x","note":"{}"}}"#, "x".repeat(70_000));
    for (path, token, body, expected) in [
        (path, None, ACK, 401),
        (path, Some("wrong"), ACK, 401),
        (path, Some(&TOKEN[1..]), ACK, 401),
        ("/api/v1/alarms/nobody/ack", Some(TOKEN), ACK, 404),
        ("/api/v1/alarms/0000000000000002/silence", Some(TOKEN), r#"{"by":"x"}"#, 404),
        ("/api/v1/alarms/nobody/shelve", Some(TOKEN), r#"{"by":"x","reason":"y","seconds":60}"#, 404),
        ("/api/v1/alarms/0000000000000002/shelve", Some(TOKEN), r#"{"by":"x","seconds":60}"#, 422),
        ("/api/v1/alarms/0000000000000002/shelve", Some(TOKEN), r#"{"by":"x","reason":"y"}"#, 422),
        ("/api/v1/alarms/0000000000000002/raise", Some(TOKEN), r#"{"by":"x","reason":"y","seconds":9}"#, 422),
        (
            "/api/v1/alarms/0000000000000002/out-of-service",
            Some(TOKEN),
            r#"{"by":"x","permit":"7","to":"soon","responsible":"z"}"#,
            422,
        ),
        ("/api/v1/status", Some(TOKEN), ACK, 405),
        (path, Some(TOKEN), "{", 422),
        (path, Some(TOKEN), r#"{"severity":"red"}"#, 422),
        (path, Some(TOKEN), r#"{"severity":"purple","by":"x"}"#, 422),
        (path, Some(TOKEN), r#"{"severity":"red","by":"  "}"#, 422),
        (path, Some(TOKEN), r#"{"severity":"red","by":"a\u001b[2J"}"#, 422),
        (path, Some(TOKEN), &long, 422),
        (path, Some(TOKEN), &huge, 413),
    ] {
        let (status, answer) = post(&served, path, token, body).await;
        assert_eq!(status, expected, "{path} {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert!(served.commands.try_recv().is_err(), "the core heard nothing");
}

#[tokio::test]
async fn a_core_that_is_gone_is_said_so() {
    let mut served = served().await;
    served.commands.close();
    let (status, _) = post(&served, "/api/v1/alarms/0000000000000002/ack", Some(TOKEN), ACK).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn foreign_host_names_are_turned_away_on_loopback() {
    let served = served().await;
    let ask = async |host: &str| {
        raw(&served, &format!("GET /api/v1/points HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).await.0
    };
    assert_eq!(ask("Host: rebound.example\r\n").await, 421);
    assert_eq!(ask("").await, 421);
    assert_eq!(ask(&format!("Host: {}\r\n", served.address)).await, 200);
}

#[tokio::test]
async fn beyond_loopback_data_needs_the_token_and_health_does_not() {
    let served = served_on("0.0.0.0:0", no_journal()).await;
    let ask = async |path: &str, more: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: gateway.example\r\n{more}Connection: close\r\n\r\n");
        raw(&served, &request).await.0
    };
    for path in ["/", "/page.js", "/healthz"] {
        assert_eq!(ask(path, "").await, 200, "{path}");
    }
    for path in ["/metrics", "/api/v1/status", "/api/v1/points", "/api/v1/history", "/api/v1/events"] {
        assert_eq!(ask(path, "").await, 401, "{path}");
    }
    assert_eq!(ask("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).await, 200);
}

#[tokio::test]
async fn the_page_needs_nothing_from_outside_and_makes_no_markup_of_data() {
    let served = served().await;
    for path in ["/", "/page.css", "/page.js"] {
        let (status, head, body) = get(&served, path).await;
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        for word in [
            "http:",
            "https:",
            "//cdn",
            "@import",
            "url(",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!body.contains(word), "{path} contains {word}");
        }
        for word in ["<style", " style=", " onclick=", "<script>"] {
            assert!(path != "/" || !body.contains(word), "inline {word} is against the page's own policy");
        }
    }
}

#[tokio::test]
async fn listeners_hear_changes_and_the_33rd_is_turned_away() {
    let served = served().await;
    let request = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut listeners = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start[..], b"HTTP/1.1 200");
        listeners.push(stream);
    }
    assert_eq!(get(&served, "/api/v1/events").await.0, 503);

    served.board.changed.send_replace(77);
    let mut heard = String::new();
    while !heard.contains("data: {\"change\":77}\n\n") {
        let mut piece = [0; 1024];
        let count = listeners[31].read(&mut piece).await.unwrap();
        assert!(count > 0, "ended after {heard}");
        heard.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
}

#[tokio::test]
async fn stop_ends_listeners_and_the_server() {
    let served = served().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    served.stop.send(true).unwrap();
    served.serving.await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn bad_questions_about_history_are_explained() {
    let served = served().await;
    for (query, word) in [
        ("since=yesterday", "since is \\\"yesterday\\\""),
        (
            "since=1h&until=2h",
            "the window is empty: since 2026-11-23 15:00:10 +08:00 is not before until 2026-11-23 14:00:10 +08:00",
        ),
        ("format=xml", "write csv, jsonl or lp"),
        ("points=x", "there is no parameter"),
        ("limit=-1", "limit"),
    ] {
        let (status, _, body) = get(&served, &format!("/api/v1/history?{query}")).await;
        assert_eq!(status, 422, "{query} {body}");
        assert!(body.contains(word), "{query} {body}");
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_is_an_answer() {
    let served = served().await;
    let (status, _, body) = get(&served, "/api/v1/history").await;
    assert_eq!(status, 503, "{body}");
}

#[test]
fn rows_of_a_reading_in_csv_and_json() {
    let catalog = catalog();
    let reading = Reading {
        point: PointId(3),
        at: at(NOW),
        sample: Sample::Bad(Reason::SensorFault("over, heated".into())),
    };
    let check = |format: Format, expected: &str| {
        let mut out = Vec::new();
        format.emit(&catalog, &reading, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    };
    check(Format::Csv, "2026-11-23T08:00:10.000Z,underpass-2.rise,,,bad,\"sensor-fault: over, heated\"\r\n");
    let line = r#"{"time":"2026-11-23T08:00:10.000Z","point":"underpass-2.rise","quality":"bad","reason":"sensor-fault: over, heated"}"#;
    check(Format::JsonLines, &format!("{line}\n"));
}

#[tokio::test]
async fn a_reload_needs_the_token_and_says_what_became_of_it() {
    let mut served = served().await;
    let (status, _) = post(&served, "/api/v1/reload", None, r#"{"by":"x"}"#).await;
    assert_eq!(status, 401);
    let (status, _, _) = get(&served, "/api/v1/documents").await;
    assert_eq!(status, 401, "documents are not for everybody on this box");
    let (_, mut reloads) = (&mut served, mpsc::channel(1).1);
    std::mem::swap(&mut served.reloads, &mut reloads);
    let refuse = async {
        let reload = reloads.recv().await.unwrap();
        assert_eq!(reload.by, "x");
        let refused = Refused { why: "site.toml:3:1: no".into(), report: "error[no]\n".into() };
        reload.answer.send(Err(refused)).unwrap();
    };
    let body = r#"{"by":"x"}"#;
    let ((), (status, answer)) = tokio::join!(refuse, post(&served, "/api/v1/reload", Some(TOKEN), body));
    assert!(status == 200 && answer["refused"] == "site.toml:3:1: no", "{answer}");
}

#[test]
fn rates_stand_beside_what_is_acceptable() {
    let mut picture = picture();
    let view = RatesView::new(&picture);
    assert_eq!((view.active, view.by_severity, view.hidden), (2, [0, 1, 0, 1], 0));
    assert_eq!((view.acceptable, view.manageable), (1.0, 2.0));
    let before = view.standing.len();
    picture.now = picture.now.plus(Duration::from_secs(2 * 86_400));
    assert_eq!((before, RatesView::new(&picture).standing.len()), (0, 2), "active for more than a day");
    let drill = picture.alarms.values_mut().next().unwrap();
    drill.marks.drill = true;
    assert_eq!(RatesView::new(&picture).active, 1, "a drill is counted nowhere");
}
