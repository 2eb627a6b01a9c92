//! What the console tells, in the shapes that it promised: JSON, the text of metrics, rows of an export.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use lifeline_gateway::alarm::condition::Judged;
use lifeline_gateway::alarm::condition::measure::{Measure, Measured};
use lifeline_gateway::alarm::{Base, Condition, Direction, Kind, Rule, RuleId};
use lifeline_gateway::console::now;
use lifeline_gateway::console::rates::RatesView;
use lifeline_gateway::console::rows::Format;
use lifeline_gateway::gateway::board::Shown;
use lifeline_gateway::point::{Point, PointId};
use lifeline_gateway::reading::{Reading, Reason, Sample};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::console::{NOW, Served, at, catalog, get, json, picture, served};

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

/// The rule of the picture's alarms, asking `condition` of the point of this number.
fn rule(condition: Condition, point: u32) -> Rule {
    Rule {
        id: RuleId(0),
        name: "outlet-pressure-high".to_owned(),
        version: "aa".to_owned(),
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

fn measured(measure: Measure, inputs: &[u32]) -> Condition {
    let measured = Measured {
        measure,
        spikes: None,
        factor: 1.0,
        unit: Some("kPa".to_owned()),
        direction: Direction::Above,
        levels: Vec::new(),
        deadband: 0.0,
        max_gap: Duration::from_secs(60),
    };
    Condition::Measured { measured, inputs: inputs.iter().map(|input| PointId(*input)).collect() }
}

#[test]
fn an_open_alarm_says_what_its_rule_judges_now() {
    let mut picture = picture();
    let mut check = |condition: Condition, point: u32, judged: Option<(f64, bool)>, want: &str| {
        let shown =
            Shown { catalog: Arc::new(catalog()), rules: vec![rule(condition, point)], ..Shown::default() };
        picture.shown = Arc::new(shown);
        let judged = judged.map(|(value, whole)| Judged { at: at(NOW), value, whole });
        picture.judged =
            judged.map(|judged| ("outlet-pressure-high".to_owned(), judged)).into_iter().collect();
        let view = now::now(&picture).remove("0000000000000003");
        let text = view.map_or_else(String::new, |view| serde_json::to_string(&view).unwrap());
        assert_eq!(text, want);
    };
    let plain = || Condition::Threshold {
        direction: Direction::Above,
        levels: Vec::new(),
        deadband: 0.0,
        max_gap: Duration::from_secs(60),
    };
    let good = r#"{"time":"2026-11-23T08:00:00.123Z","value":2.63,"unit":"kPa","quality":"good"}"#;
    check(plain(), 0, Some((9.0, true)), good);
    let spike = r#"{"time":"2026-11-23T08:00:02.125Z","value":3.1,"quality":"uncertain","reason":"spike"}"#;
    check(plain(), 2, None, spike);
    let silent = r#"{"time":"2026-11-23T08:00:00.123Z","quality":"bad","reason":"timeout"}"#;
    check(plain(), 1, None, silent);
    let rise = || measured(Measure::Change { window: Duration::from_secs(600) }, &[0]);
    let made = r#"{"time":"2026-11-23T08:00:10.000Z","value":0.4,"unit":"kPa","quality":"good"}"#;
    check(rise(), 0, Some((0.4, true)), made);
    check(rise(), 0, Some((0.4, false)), &made.replace("good", "uncertain"));
    let Condition::Measured { measured: mut corrected, inputs } = rise() else { panic!() };
    corrected.unit = Some("Pa".to_owned());
    let corrected = Condition::Measured { measured: corrected, inputs };
    check(corrected, 0, Some((0.4, true)), &made.replace("kPa", "Pa"));
    check(rise(), 0, None, "");
    let votes = || measured(Measure::Votes { need: 2, within: Duration::from_secs(10) }, &[0, 1, 2]);
    check(votes(), 0, Some((0.4, true)), made);
    check(votes(), 0, None, silent);
    let both = measured(Measure::Combined { parts: Vec::new(), holds: Vec::new() }, &[0, 2]);
    check(both, 0, Some((1.0, true)), "");
}

/// The page of the addresses names each of them, and each key of an alarm.
#[test]
fn the_page_of_the_addresses_is_whole() {
    let page = include_str!("../../../docs/reference/api.md");
    let routes = include_str!("../../../src/console/mod.rs").split(".route(\"").skip(1);
    let routes: Vec<&str> = routes.filter_map(|rest| rest.split('"').next()).collect();
    assert!(routes.len() > 15, "{routes:?}");
    for route in routes {
        assert!(page.contains(&format!("`{route}`")), "{route} is not in docs/reference/api.md");
    }
    let tell = include_str!("../../../src/alarm/tell.rs");
    let shapes = [
        (tell, "pub struct Tell {"),
        (tell, "pub struct OverlayView {"),
        (include_str!("../../../src/console/view.rs"), "pub struct AlarmView {"),
        (include_str!("../../../src/forward/payload/mod.rs"), "struct AlarmView<'a> {"),
    ];
    for (source, head) in shapes {
        let body = source.split_once(head).unwrap().1.split_once("\n}").unwrap().0;
        let fields = body.lines().map(str::trim).filter(|line| !line.starts_with(['/', '#']));
        let keys: Vec<&str> = fields
            .filter_map(|line| line.strip_prefix("pub ").unwrap_or(line).split_once(':'))
            .map(|(key, _)| key)
            .collect();
        assert!(keys.len() > 8, "{head} {keys:?}");
        // Those two are flattened.
        for key in keys.into_iter().filter(|key| !["tell", "overlay"].contains(key)) {
            assert!(page.contains(&format!("`{key}`")), "{key} is not in docs/reference/api.md");
        }
    }
}

/// Head and body of an answer to a client that takes gzip.
async fn packed(served: &Served, path: &str, more: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase(), bytes[end + 4..].to_vec())
}

#[tokio::test]
async fn what_a_page_of_two_thousand_points_fetches_is_packed() {
    let served = served().await;
    let mut many = catalog();
    let one = many.points[0].clone();
    many.points = (0..2000)
        .map(|id| {
            let short = format!("point-{}", id % 20);
            Point { id: PointId(id), name: format!("house-{}.{short}", id / 20), short, ..one.clone() }
        })
        .collect();
    {
        let mut picture = served.board.picture.write().unwrap();
        picture.shown = Arc::new(Shown { catalog: Arc::new(many), ..Shown::default() });
        let reading = |id: u32| Reading {
            point: PointId(id),
            at: at(NOW).shifted(-i64::from(id / 20 * 37)),
            sample: Sample::Good(f64::from(id).sin() * 40.0),
        };
        picture.latest = (0..2000).map(|id| Some(reading(id))).collect();
    }
    for path in ["/api/v1/points", "/page.js"] {
        let (head, plain) = packed(&served, path, "").await;
        assert!(!head.contains("content-encoding") && head.contains("vary: accept-encoding"), "{head}");
        let (head, small) = packed(&served, path, "Accept-Encoding: gzip, deflate\r\n").await;
        assert!(head.contains("content-encoding: gzip"), "{head}");
        assert!(head.contains(&format!("content-length: {}", small.len())), "{head}");
        let mut whole = Vec::new();
        flate2::read::GzDecoder::new(&small[..]).read_to_end(&mut whole).unwrap();
        assert!(whole == plain, "{path}");
        assert!(small.len() * 2 < plain.len(), "{path}: {} of {}", small.len(), plain.len());
    }
    let (head, _) = packed(&served, "/healthz", "Accept-Encoding: gzip\r\n").await;
    assert!(!head.contains("content-encoding"), "{head}");
}

#[tokio::test]
async fn an_alarm_says_since_when_nobody_has_answered() {
    let served = served().await;
    {
        let mut picture = served.board.picture.write().unwrap();
        let mut alarms = picture.alarms.values_mut();
        alarms.next().unwrap().state = Base::ActiveAcknowledged;
        alarms.next().unwrap().marks.again = Some(at(NOW));
    }
    let alarms = json(&get(&served, "/api/v1/alarms").await.2);
    let told = alarms.as_array().unwrap().iter().map(|alarm| (&alarm["id"], &alarm["unanswered_since"]));
    let told: Vec<_> = told.map(|(id, since)| (id.as_str().unwrap(), since.as_str())).collect();
    let want = [
        ("0000000000000002", Some(NOW)),
        ("0000000000000001", None),
        ("0000000000000003", Some("2026-11-23T08:00:00.000Z")),
    ];
    assert_eq!(told, want);
}
