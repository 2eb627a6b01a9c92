//! The console over a real socket on loopback, in real time (nothing here waits longer than the kernel does).

mod acts;
mod doors;
mod shapes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use lifeline_gateway::alarm::{Alarm, Base, Kind, Severity};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::console::serve;
use lifeline_gateway::forward;
use lifeline_gateway::gateway::board::{Board, Command, DeviceStatus, JournalStatus, Picture, Reload, Shown};
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

/// Answers one command as the core would, and returns its event.
pub(crate) async fn core_answers(commands: &mut mpsc::Receiver<Command>, answer: Option<&str>) -> Event {
    let command = commands.recv().await.unwrap();
    command.answer.send(answer.map(str::to_owned)).unwrap();
    command.event
}
