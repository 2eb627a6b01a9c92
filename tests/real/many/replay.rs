//! A thousand gateways without wires: what their own code tells of a plan, as their own encoder writes it, sent to the stores.
//!
//! `LIFELINE_FLEET=10000` makes more of them, `LIFELINE_FLEET_MINUTES=60` a longer time; the larger runs go to the PromQL store alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use lifeline_gateway::clock::{Clock, SystemClock, Timestamp};
use lifeline_gateway::forward::line_protocol::Lines;
use lifeline_gateway::gateway::vigil::{Surroundings, Vigil};
use lifeline_gateway::point::{DeviceId, PointId};
use lifeline_gateway::reading::{Batch, Reading, Reason, Sample};
use lifeline_gateway::risk::coverage::{CLASS, Rung};
use lifeline_gateway::site::Site;

use crate::dashboards::grafana::Range;
use crate::dashboards::stores;
use crate::dashboards::world::until;
use crate::many::figures::Asked;
use crate::many::fleet::{Servers, checked};
use crate::many::sites::{Fate, Gateway, Hand, Seen, district, write_profiles};
use crate::server::get;

/// A gateway tells of itself and of its risk points so often.
const TOLD: Duration = Duration::from_secs(60);
/// And polls so often, as the sensors of a district in the field are.
const POLLED: Duration = Duration::from_secs(10);
const BODY_MAX: usize = 4_000_000;

/// One of the fleet.
struct Member<'a> {
    gateway: &'a Gateway,
    site: Site,
    vigil: Vigil,
    around: Surroundings,
    random: u64,
    /// Points that the gateway tells by itself beside coverage, with counts that grow.
    own: Vec<(DeviceId, Vec<(PointId, u32)>)>,
}

impl<'a> Member<'a> {
    fn new(gateway: &'a Gateway, folder: &Path, start: Timestamp) -> Self {
        std::fs::write(folder.join("site/site.toml"), gateway.document().replace("\"1s\"", "\"10s\""))
            .unwrap();
        let settings = format!(
            "[site]\nname = \"{}\"\ntimezone = \"Asia/Shanghai\"\n[[sink]]\nname = \"tsdb\"\nkind = \"influx\"\napi = \"v2\"\n\
             url = \"http://127.0.0.1:1\"\nbucket = \"telemetry\"\n[[sink]]\nname = \"broker\"\nkind = \"mqtt\"\n\
             url = \"mqtt://127.0.0.1:1\"\n",
            gateway.name
        );
        std::fs::write(folder.join("gateway.toml"), settings).unwrap();
        let site = checked(folder, folder.join("profiles"));
        let told =
            site.catalog.devices.iter().filter(|device| device.line.is_none() && device.class != CLASS);
        let points = |device: DeviceId| {
            let own = site.catalog.points.iter().filter(|point| point.device == device);
            own.map(|point| (point.id, 0)).collect()
        };
        let own = told.map(|device| (device.id, points(device.id))).collect();
        let around = Surroundings { proved: gateway.proved.then_some(start), ..Surroundings::default() };
        let random = u64::from_str_radix(&gateway.name[3..], 10).unwrap() + 1;
        Self { gateway, vigil: Vigil::new(&site), site, around, random, own }
    }

    /// SplitMix64.
    fn below(&mut self, most: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(most)).unwrap()
    }

    /// One poll of each device.
    fn poll(&mut self, now: Timestamp, lines: &mut Lines) {
        for spec in self.site.devices.clone() {
            let name = &self.site.catalog.device(spec.id).unwrap().name;
            let sensor = self.gateway.sensors.iter().find(|sensor| sensor.name == name).unwrap();
            let sample = match sensor.fate {
                Fate::Dead => Sample::Bad(Reason::Timeout),
                _ => Sample::Good(f64::from(2400 + self.below(60))),
            };
            let points = spec.points.iter().flatten();
            let readings =
                points.map(|point| Reading { point: *point, at: now, sample: sample.clone() }).collect();
            let batch = Batch { device: spec.id, start: now, end: now, readings };
            self.vigil.polled(&batch);
            self.write(&[batch], lines);
        }
    }

    /// What it tells of its risk points, and of itself.
    fn tell(&mut self, now: Timestamp, lines: &mut Lines) {
        let stands = self.vigil.standings(&self.around, now);
        let told = self.vigil.readings(&stands, now);
        self.write(&told, lines);
        for (device, points) in std::mem::take(&mut self.own) {
            let mut grown = Vec::new();
            for (point, count) in points {
                grown.push((point, count + self.below(3) * self.below(4)));
            }
            let reading = |(point, count): &(PointId, u32)| Reading {
                point: *point,
                at: now,
                sample: Sample::Good(f64::from(*count)),
            };
            let batch = Batch { device, start: now, end: now, readings: grown.iter().map(reading).collect() };
            self.write(&[batch], lines);
            self.own.push((device, grown));
        }
    }

    fn write(&self, batches: &[Batch], lines: &mut Lines) {
        for reading in batches.iter().flat_map(|batch| &batch.readings) {
            lines.reading(reading, &self.site.catalog).unwrap();
        }
    }

    fn seen(&self, number: usize, now: Timestamp) -> Vec<Seen> {
        let stands = self.vigil.standings(&self.around, now);
        let of = |(_, standing): &lifeline_gateway::gateway::vigil::Stand| {
            let code = standing.code.clone();
            let sensors = standing.sensors.iter().map(move |sensor| Seen {
                gateway: number,
                code: code.clone(),
                sensor: sensor.name.clone(),
                rung: Rung::number(sensor.rung),
            });
            sensors.collect::<Vec<_>>()
        };
        stands.iter().flat_map(of).collect()
    }
}

/// What goes to the stores, and how long that took.
struct Post<'a> {
    to: Vec<(u16, &'a str)>,
    lines: Lines,
    sent: u64,
    bytes: usize,
    took: BTreeMap<&'a str, Duration>,
}

impl Post<'_> {
    /// Sends what is there when it is enough, or all.
    fn send(&mut self, all: bool) {
        if self.lines.text.is_empty() || !all && self.lines.text.len() < BODY_MAX {
            return;
        }
        let clock = SystemClock::new();
        for (port, path) in &self.to {
            let begun = clock.instant();
            post(*port, path, self.lines.text.as_bytes());
            *self.took.entry(path).or_default() += clock.instant().saturating_duration_since(begun);
        }
        self.sent += u64::try_from(self.lines.ends.len()).unwrap();
        self.bytes += self.lines.text.len();
        self.lines = Lines::default();
    }
}

fn post(port: u16, path: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

const PROMQL: &str = "/api/v2/write?bucket=telemetry&precision=ms";
const INFLUXQL: &str = "/write?db=telemetry&precision=ms";

#[test]
fn a_thousand_gateways_make_one_district() {
    let Some(servers) = Servers::start() else { return };
    let (count, minutes) = (number("LIFELINE_FLEET", 1000), number("LIFELINE_FLEET_MINUTES", 1));
    let large = count * minutes > 1000;
    let clock = SystemClock::new();
    let begun = clock.instant();
    let end = clock.now();
    let steps = u64::try_from(minutes).unwrap() * (TOLD.as_secs() / POLLED.as_secs());
    let first = end.as_millis() - i64::try_from(steps).unwrap() * i64::try_from(POLLED.as_millis()).unwrap();
    let gateways = district(count);
    let folder = tempfile::tempdir().unwrap();
    write_profiles(&folder.path().join("profiles"));
    std::fs::create_dir(folder.path().join("site")).unwrap();
    let start = Timestamp::from_millis(first);
    let mut fleet: Vec<Member<'_>> =
        gateways.iter().map(|gateway| Member::new(gateway, folder.path(), start)).collect();
    let loaded = clock.instant();
    let mut to = vec![(servers.promql.port, PROMQL)];
    if !large {
        to.push((servers.influxql.port, INFLUXQL));
    }
    let mut post = Post { to, lines: Lines::default(), sent: 0, bytes: 0, took: BTreeMap::new() };
    for step in 0..=steps {
        let now = start.plus(POLLED * u32::try_from(step).unwrap());
        for member in &mut fleet {
            member.poll(now, &mut post.lines);
            if step.is_multiple_of(TOLD.as_secs() / POLLED.as_secs()) {
                member.tell(now, &mut post.lines);
            }
            post.send(false);
        }
    }
    post.send(true);
    let seen: Vec<Seen> = (0..).zip(&fleet).flat_map(|(number, member)| member.seen(number, end)).collect();
    until("all gateways in the store", || {
        let newest = stores::newest_of_each("promql", servers.promql.port, end.as_millis());
        (newest.len() == count).then_some(())
    });
    let since = |then| clock.instant().saturating_duration_since(then).as_secs_f64();
    println!(
        "{count} gateways, {minutes} min: {:.1} s, of that {:.1} s to load the sites",
        since(begun),
        since(begun) - since(loaded)
    );
    measure(&servers, &post, count);
    let hand = Hand { gateways: &gateways, seen: &seen };
    let range = Range { from: first, to: end.as_millis() };
    let mut wrong = Vec::new();
    let sets: &[&str] = if large { &["promql"] } else { &["promql", "influxql"] };
    for set in sets {
        let mut asked = Asked::new(set, servers.port(set), range);
        asked.all(&hand, false);
        println!("{set}: {} numbers compared", asked.numbers);
        for (title, took) in &asked.took {
            println!("{set}: {title}: {:.0} ms", took.as_secs_f64() * 1000.0);
        }
        wrong.append(&mut asked.wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Prints what the store says of its size.
fn measure(servers: &Servers, post: &Post<'_>, gateways: usize) {
    for (path, took) in &post.took {
        let rate = post.sent as f64 / took.as_secs_f64();
        println!(
            "{path}: {} readings of {} bytes each, {rate:.0} a second",
            post.sent,
            post.bytes / usize::try_from(post.sent).unwrap()
        );
    }
    let port = servers.promql.port;
    let status: serde_json::Value = serde_json::from_str(&get(port, "/api/v1/status/tsdb?topN=20")).unwrap();
    let mut text = String::new();
    for name in status["data"]["seriesCountByMetricName"].as_array().unwrap() {
        write!(text, " {} {}", name["name"].as_str().unwrap(), name["value"]).unwrap();
    }
    let series = status["data"]["totalSeries"].as_u64().unwrap();
    println!("{series} series, {:.1} of a gateway:{text}", series as f64 / gateways as f64);
    let sum = |metrics: &str, start: &str| -> f64 {
        let lines = metrics.lines().filter(|line| line.starts_with(start));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    get(port, "/internal/force_merge");
    let (mut data, mut index, mut rows) = (0.0, 0.0, 0.0);
    until("merged", || {
        let metrics = get(port, "/metrics");
        let before = data;
        data = sum(&metrics, "vm_data_size_bytes{type=\"storage/");
        index = sum(&metrics, "vm_data_size_bytes{type=\"indexdb/");
        rows = sum(&metrics, "vm_rows{type=\"storage/");
        let merging = sum(&metrics, "vm_active_merges{type=\"storage/");
        (before == data && merging == 0.0).then_some(())
    });
    println!(
        "{rows} values on disk, {:.2} bytes each; index {:.0} bytes a series",
        data / rows,
        index / series as f64
    );
}
