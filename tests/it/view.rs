//! The terminal view, drawn from a board made by hand.

#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use lifeline_gateway::alarm::{Alarm, Base, Condition, Direction, Kind, Level, Rule, RuleId, Severity};
use lifeline_gateway::cli::screen::{Shown, draw};
use lifeline_gateway::cli::view::{alarm_lines, figure_line, summary};
use lifeline_gateway::cli::words;
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::forward::Status;
use lifeline_gateway::gateway::board::{self, Board, DeviceStatus, JournalStatus, Picture};
use lifeline_gateway::loss::Loss;
use lifeline_gateway::point::{Catalog, Device, DeviceId, Line, LineId, Point, PointId};
use lifeline_gateway::reading::{Doubt, Reading, Reason, Sample};
use lifeline_gateway::unit::Unit;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::sync::{mpsc, watch};
use unicode_width::UnicodeWidthStr;

const NAMES: [(&str, &str, &str); 5] = [
    ("underpass-1", "南坪街道", "water-level"),
    ("underpass-2", "涂山镇", "water-level"),
    ("regulator-3", "海棠溪街道", "gas-pressure"),
    ("lift-1", "南坪街道", "elevator"),
    ("gateway", "", "system"),
];

fn at(second: i64) -> Timestamp {
    Timestamp::parse("2026-11-23T00:00:00Z").unwrap().shifted(second * 1000)
}

fn point(id: u32, device: u32, short: &str, unit: Option<&str>, decimals: u8) -> Point {
    let name = NAMES[usize::try_from(device).unwrap()].0;
    Point {
        id: PointId(id),
        name: format!("{name}.{short}"),
        short: short.to_owned(),
        device: DeviceId(device),
        unit: unit.map(|unit| Unit::parse(unit).unwrap()),
        decimals,
        states: Vec::new(),
        tags: std::collections::BTreeMap::new(),
    }
}

fn catalog() -> Catalog {
    let devices = NAMES.iter().zip(0..).map(|((name, town, class), id)| Device {
        id: DeviceId(id),
        name: (*name).to_owned(),
        line: Some(LineId(0)),
        class: (*class).to_owned(),
        risk_point: None,
        town: Some((*town).to_owned()).filter(|town| !town.is_empty()),
        tags: std::collections::BTreeMap::new(),
    });
    let door = Point {
        states: vec![(0, "open".to_owned()), (1, "closed".to_owned())],
        ..point(3, 3, "door", None, 0)
    };
    Catalog {
        site: "nanan-01".to_owned(),
        version: "v".to_owned(),
        lines: vec![Line { id: LineId(0), name: "rs485-1".to_owned() }],
        devices: devices.collect(),
        points: vec![
            point(0, 0, "level", Some("cm"), 1),
            point(1, 1, "level", Some("cm"), 1),
            point(2, 2, "p1", Some("kPa"), 2),
            door,
            point(4, 3, "trapped", None, 0),
        ],
    }
}

fn alarm(rule: &str, point: &str, severity: Severity, value: Option<f64>, threshold: Option<f64>) -> Alarm {
    Alarm {
        id: rule.to_owned(),
        kind: Kind::Process,
        rule: rule.to_owned(),
        rule_version: String::new(),
        point: point.to_owned(),
        risk_point: None,
        town: Some("南坪街道".to_owned()),
        severity,
        present: None,
        state: Base::ActiveUnacknowledged,
        unverified: false,
        since: at(12),
        value,
        threshold,
        unit: Some("cm".to_owned()),
        advice: "封闭下穿道，交巡警双向拦车".to_owned(),
        acknowledged: None,
        overlay: Default::default(),
        guide: Default::default(),
        trend: None,
        marks: Default::default(),
    }
}

fn rule(name: &str, point: u32, condition: Condition) -> Rule {
    Rule {
        id: RuleId(0),
        name: name.to_owned(),
        version: String::new(),
        point: PointId(point),
        kind: Kind::Process,
        condition,
        advice: String::new(),
        basis: String::new(),
        latched: false,
        guide: Default::default(),
        bonds: Default::default(),
    }
}

fn rules() -> Vec<Rule> {
    let threshold = |direction| Condition::Threshold {
        direction,
        levels: vec![Level {
            severity: Severity::Red,
            threshold: 30.0,
            on_delay: Duration::ZERO,
            off_delay: Duration::ZERO,
        }],
        deadband: 0.0,
        max_gap: Duration::from_secs(3),
    };
    let stale = Condition::Stale {
        after: Duration::from_secs(8),
        severity: Severity::Yellow,
        points: vec![PointId(1)],
        max_gap: Duration::from_secs(3),
    };
    vec![
        rule("underpass-1-level", 0, threshold(Direction::Above)),
        rule("regulator-3-outlet-low", 2, threshold(Direction::Below)),
        rule("underpass-2-stale", 1, stale),
    ]
}

fn picture() -> Picture {
    let reading = |point, sample| Some(Reading { point: PointId(point), at: at(14), sample });
    let alarms = [
        Alarm {
            state: Base::ReturnedUnacknowledged,
            ..alarm("regulator-3-outlet-low", "regulator-3.p1", Severity::Orange, Some(1.4), Some(1.5))
        },
        alarm("underpass-1-level", "underpass-1.level", Severity::Red, Some(31.04), Some(30.0)),
        Alarm {
            kind: Kind::Sensor,
            ..alarm("underpass-2-stale", "underpass-2.level", Severity::Yellow, None, None)
        },
    ];
    let trouble = DeviceStatus {
        polls: 15,
        failed: 4,
        trouble: Some("timeout".to_owned()),
        answered: None,
        ..DeviceStatus::default()
    };
    let fine = DeviceStatus { polls: 15, ..DeviceStatus::default() };
    Picture {
        overlays: BTreeMap::new(),
        proved: None,
        work: Default::default(),
        load: Default::default(),
        started: at(0),
        now: at(15),
        latest: vec![
            reading(0, Sample::Good(31.04)),
            reading(1, Sample::Bad(Reason::Timeout)),
            reading(2, Sample::Uncertain(2.6, Doubt::Spike)),
            reading(3, Sample::Good(1.0)),
            reading(4, Sample::Bad(Reason::Input(PointId(3)))),
        ],
        alarms: alarms.into_iter().map(|alarm| (alarm.id.clone(), alarm)).collect(),
        raised: 3,
        cleared: 1,
        devices: vec![fine.clone(), trouble, fine.clone(), fine, DeviceStatus::default()],
        lines: vec![None],
        traffic: Vec::new(),
        stands: Arc::default(),
        journal: JournalStatus {
            seq: 15,
            readings: 1234,
            transitions: 4,
            bytes: 45_678,
            trouble: None,
            waiting: 0,
            ..JournalStatus::default()
        },
        losses: BTreeMap::from([((Loss::StrayBytes, "rs485-1".to_owned()), 34)]),
        ..Picture::default()
    }
}

fn board() -> Board {
    let status = Status { up: true, readings: 1234, alarms: 4, backlog: 2, ..Status::default() };
    let documents = board::Shown {
        catalog: Arc::new(catalog()),
        sinks: vec![("tsdb".to_owned(), Arc::new(Mutex::new(status)))],
        rules: rules(),
        timezone: "Asia/Shanghai".to_owned(),
        ..board::Shown::default()
    };
    Board {
        picture: RwLock::new(Picture { shown: Arc::new(documents), ..picture() }),
        changed: watch::Sender::new(0),
        unjournaled: tokio::sync::broadcast::Sender::new(1),
        commands: mpsc::channel(1).0,
        reloads: mpsc::channel(1).0,
        journal: "unused".into(),
    }
}

/// The screen's rows as text. A wide character takes two columns, the second of which is empty.
fn drawn(width: u16, height: u16) -> Vec<String> {
    let board = board();
    let documents = board.shown();
    let (picture, zone) = (picture(), words::zone(&documents.timezone));
    let sinks = vec![("tsdb".to_owned(), documents.sinks[0].1.lock().unwrap().clone())];
    let shown = Shown {
        catalog: &documents.catalog,
        picture: &picture,
        sinks: &sinks,
        rules: &documents.rules,
        zone: &zone,
        address: "http://127.0.0.1:8080/",
        token: Some(std::path::Path::new("/tmp/lifeline-demo-12345/token")),
        left: Some(Duration::from_secs(45)),
        killed: &["lift-1".to_owned()],
        can_kill: true,
        selected: 1,
    };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, &shown)).unwrap();
    let buffer = terminal.backend().buffer();
    (0..height)
        .map(|row| {
            let mut text = String::new();
            let mut column = 0;
            while column < width {
                let symbol = buffer[(column, row)].symbol();
                text.push_str(symbol);
                column += u16::try_from(symbol.width().max(1)).unwrap();
            }
            text
        })
        .collect()
}

fn row<'a>(rows: &'a [String], with: &str) -> &'a str {
    rows.iter().find(|row| row.contains(with)).unwrap_or_else(|| panic!("no {with} in\n{}", rows.join("\n")))
}

#[test]
fn a_small_screen_shows_devices_alarms_and_figures() {
    let rows = drawn(80, 24);
    assert!(rows.iter().all(|row| row.width() == 80), "{}", rows.join("\n"));
    assert!(row(&rows, "lifeline  nanan-01").contains("08:00:15  15 of 60 s"));
    assert!(row(&rows, "http://127.0.0.1:8080/").contains("q quit"));
    assert!(row(&rows, "lifeline  nanan-01").contains("token /tmp/lifeline-demo-12345/token"));
    let level = row(&rows, "南坪街道");
    assert!(
        level.contains("underpass-1") && level.contains("level 31.0 cm") && level.contains("good"),
        "{level}"
    );
    let silent = row(&rows, "涂山镇");
    assert!(
        silent.contains("▸underpass-2")
            && silent.contains("level timeout")
            && silent.contains("bad: timeout")
    );
    assert!(!silent.contains("cm"), "no number where there is none: {silent}");
    assert!(row(&rows, "海棠溪街道").contains("p1 2.60 kPa (spike?)"));
    assert!(row(&rows, "lift-1").contains("door closed  trapped no lift-1.door"));
    assert!(row(&rows, "lift-1").contains("killed by you"));
    let red = row(&rows, "红 red");
    assert!(
        red.contains("08:00:12") && red.contains("31.0 cm >= 30.0 cm") && red.contains("active, not seen"),
        "{red}"
    );
    assert!(row(&rows, "黄 yellow").contains("no number for 8 s"));
    assert!(row(&rows, "橙 orange").contains("1.40 kPa <= 1.50 kPa"));
    assert!(row(&rows, "alarms:").contains("red 1, yellow 1  raised 3, cleared 1"));
    assert!(row(&rows, "journal").contains("1,234 readings, 4 transitions; on disk 45.6 kB in 15 commits "));
    assert!(row(&rows, "sinks").contains("tsdb up, 1,234 readings, 4 transitions, 2 commits behind"));
    assert!(row(&rows, "losses").contains("rs485-1 stray_bytes 34"));
    assert!(!rows.iter().any(|row| row.contains("gateway")), "the gateway is no field device");
}

#[test]
fn a_large_screen_has_room_for_advice_and_active_alarms_come_first() {
    let rows = drawn(120, 40);
    assert!(rows.iter().all(|row| row.width() == 120), "{}", rows.join("\n"));
    assert!(row(&rows, "红 red").contains("封闭下穿道"));
    let place = |word: &str| rows.iter().position(|row| row.contains(word)).unwrap();
    assert!(place("红 red") < place("黄 yellow") && place("黄 yellow") < place("橙 orange"));
}

#[test]
fn no_size_makes_it_panic() {
    for (width, height) in [(1, 1), (3, 40), (200, 2), (11, 7), (79, 9)] {
        drawn(width, height);
    }
}

#[test]
fn a_pipe_gets_a_line_for_each_alarm_change() {
    let (board, zone) = (board(), words::zone("Asia/Shanghai"));
    let mut now = board.look();
    now.alarms.retain(|id, _| id == "underpass-1-level");
    let first = alarm_lines(&BTreeMap::new(), &now, &zone);
    assert_eq!(
        first,
        ["08:00:15 ALARM red underpass-1-level raised 31.0 cm >= 30.0 cm  封闭下穿道，交巡警双向拦车"]
    );
    assert!(alarm_lines(&now.alarms, &now, &zone).is_empty(), "nothing changed");

    let mut next = now.clone();
    let alarm = next.alarms.get_mut("underpass-1-level").unwrap();
    (alarm.severity, alarm.value) = (Severity::Orange, Some(24.0));
    let fell = alarm_lines(&now.alarms, &next, &zone);
    assert_eq!(fell, ["08:00:15 ALARM orange underpass-1-level fell from red, 24.0 cm (limit 30.0 cm)"]);

    let mut last = next.clone();
    last.alarms.get_mut("underpass-1-level").unwrap().state = Base::ReturnedUnacknowledged;
    let gone = alarm_lines(&next.alarms, &last, &zone);
    assert_eq!(gone, ["08:00:15 ALARM orange underpass-1-level is gone, not seen, 24.0 cm (limit 30.0 cm)"]);
    let before = std::mem::take(&mut last.alarms);
    assert_eq!(
        alarm_lines(&before, &last, &zone),
        ["08:00:15 ALARM orange underpass-1-level closed, last 24.0 cm (limit 30.0 cm)"]
    );
}

#[test]
fn figures_and_summary_add_up() {
    let board = board();
    let sinks = vec![(
        "file".to_owned(),
        Status { up: false, trouble: Some("disk full".into()), ..Status::default() },
    )];
    assert_eq!(
        figure_line(&picture(), &sinks, &words::zone("Asia/Shanghai")),
        "08:00:15 polls 60 (4 failed)  readings 1234 in 15 commits  active alarms: red 1, yellow 1  \
         losses: rs485-1 stray_bytes 34  sinks: file down, 0 readings, 0 transitions (disk full)"
    );
    assert_eq!(
        summary(&board),
        "ran      15 s\n\
         polls    60, 4 failed\n\
         readings 1,234 journaled\n\
         alarms   3 raised, 1 cleared, now active: red 1, yellow 1\n\
         journal  45.6 kB on disk in 15 commits\n\
         losses   rs485-1 stray_bytes 34\n\
         sink     tsdb up, 1,234 readings, 4 transitions, 2 commits behind"
    );
}

#[test]
fn the_demo_says_how_to_act_on_its_alarms() {
    let folder = tempfile::tempdir().unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["demo", "--for", "1s", "--journal"])
        .arg(folder.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    let mut lines = out.lines();
    let first = lines.next().unwrap();
    let address = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let token = folder.path().join("token");
    let wanted = format!(
        "to act: lifeline alarms ack RULE --severity COLOUR --url {} --token-file {}",
        address.trim_end_matches('/'),
        token.display()
    );
    assert!(lines.next().unwrap().starts_with(&wanted) && token.is_file(), "{out}");
}
