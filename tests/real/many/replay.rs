//! A thousand gateways without wires: what their own code tells of a plan, as their own encoder writes it, sent to the stores.
//! After the first ones they are copies with other names.
//!
//! Without more, they tell what the district's figures are made of. With `LIFELINE_FLEET=1000`, so many of them tell everything, of
//! themselves too, and the sizes are printed; `LIFELINE_FLEET_MINUTES=60` is for how long. Only the PromQL store gets that.

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
use lifeline_gateway::risk::joint::Joint;
use lifeline_gateway::risk::state;
use lifeline_gateway::site::Site;

use crate::dashboards::grafana::Range;
use crate::dashboards::stores;
use crate::dashboards::world::until;
use crate::many::figures::Asked;
use crate::many::fleet::{Servers, checked};
use crate::many::sites::{Fate, Gateway, Hand, PERIOD, Seen, district, renamed, write_profiles};
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
    fn new(gateway: &'a Gateway, folder: &Path, start: Timestamp, everything: bool) -> Self {
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
        let told = site.catalog.devices.iter().filter(|device| {
            device.line.is_none() && device.class != CLASS && (everything || device.class == "journal-health")
        });
        let points = |device: DeviceId| {
            let own = site.catalog.points.iter().filter(|point| point.device == device);
            own.map(|point| (point.id, 0)).collect()
        };
        let own = told.map(|device| (device.id, points(device.id))).collect();
        let around = Surroundings { proved: gateway.proved.then_some(start), ..Surroundings::default() };
        let random = gateway.name[3..].parse::<u64>().unwrap() + 1;
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
        let points = stands.iter().map(|(point, standing)| (point.as_ref(), standing));
        let states = state::states(points, &[], &Joint::default());
        let told = self.vigil.readings(&stands, &states, now);
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
    text: String,
    lines: u64,
    sent: u64,
    bytes: usize,
    took: BTreeMap<&'a str, Duration>,
}

impl Post<'_> {
    /// The lines of one gateway and of its copies.
    fn add(&mut self, lines: &Lines, copies: usize) {
        for periods in 0..copies {
            self.text.push_str(&renamed(&lines.text, periods));
            self.lines += u64::try_from(lines.ends.len()).unwrap();
            if self.text.len() > BODY_MAX {
                self.send();
            }
        }
    }

    fn send(&mut self) {
        let clock = SystemClock::new();
        for (port, path) in &self.to {
            let begun = clock.instant();
            post(*port, path, self.text.as_bytes());
            *self.took.entry(path).or_default() += clock.instant().saturating_duration_since(begun);
        }
        self.sent += std::mem::take(&mut self.lines);
        self.bytes += std::mem::take(&mut self.text).len();
    }

    /// Prints the rates, and begins to count anew.
    fn rates(&mut self, what: &str) {
        for (path, took) in std::mem::take(&mut self.took) {
            let rate = self.sent as f64 / took.as_secs_f64();
            let bytes = self.bytes as f64 / self.sent as f64;
            println!("{what}, {path}: {} readings of {bytes:.0} bytes each, {rate:.0} a second", self.sent);
        }
        (self.sent, self.bytes) = (0, 0);
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

/// How many gateways of `count` are as the one of this number.
fn copies(count: usize, number: usize) -> usize {
    (count - number).div_ceil(PERIOD)
}

/// All are polled, and tell when it is time for that.
fn pass(fleet: &mut [Member<'_>], count: usize, now: Timestamp, tells: bool, post: &mut Post<'_>) {
    for (number, member) in fleet.iter_mut().enumerate() {
        let mut lines = Lines::default();
        member.poll(now, &mut lines);
        if tells {
            member.tell(now, &mut lines);
        }
        post.add(&lines, copies(count, number));
    }
}

/// What all say of their sensors.
fn seen(fleet: &[Member<'_>], count: usize, now: Timestamp) -> Vec<Seen> {
    let mut all = Vec::new();
    for (number, member) in fleet.iter().enumerate() {
        let alike = member.seen(number, now);
        let copy = |periods: usize| {
            let alike = alike.iter().cloned();
            alike.map(move |seen| Seen {
                gateway: seen.gateway + periods * PERIOD,
                code: renamed(&seen.code, periods),
                ..seen
            })
        };
        all.extend((0..copies(count, number)).flat_map(copy));
    }
    all
}

#[test]
fn a_thousand_gateways_make_one_district() {
    let Some(servers) = Servers::start() else { return };
    let (count, minutes) = (number("LIFELINE_FLEET", 1000), number("LIFELINE_FLEET_MINUTES", 1));
    let large = std::env::var("LIFELINE_FLEET").is_ok();
    let clock = SystemClock::new();
    let begun = clock.instant();
    let a_minute = usize::try_from(TOLD.as_secs() / POLLED.as_secs()).unwrap();
    let (end, steps) = (clock.now(), minutes * a_minute);
    let before = POLLED * u32::try_from(steps).unwrap();
    let first = end.as_millis() - i64::try_from(before.as_millis()).unwrap();
    let gateways = district(count);
    let folder = tempfile::tempdir().unwrap();
    write_profiles(&folder.path().join("profiles"));
    std::fs::create_dir(folder.path().join("site")).unwrap();
    let start = Timestamp::from_millis(first);
    let alike = gateways.iter().take(PERIOD);
    let mut fleet: Vec<Member<'_>> =
        alike.map(|gateway| Member::new(gateway, folder.path(), start, large)).collect();
    for (number, gateway) in gateways.iter().enumerate() {
        let first = &gateways[number % PERIOD];
        assert_eq!(gateway.document(), renamed(&first.document(), number / PERIOD), "a copy by name alone");
    }
    let mut to = vec![(servers.promql.port, PROMQL)];
    if !large {
        to.push((servers.influxql.port, INFLUXQL));
    }
    let mut post = Post { to, text: String::new(), lines: 0, sent: 0, bytes: 0, took: BTreeMap::new() };
    for step in 0..=steps {
        let now = start.plus(POLLED * u32::try_from(step).unwrap());
        pass(&mut fleet, count, now, step.is_multiple_of(a_minute), &mut post);
        if step == 0 {
            post.send();
            post.rates("new series");
        }
    }
    post.send();
    post.rates("known series");
    let seen = seen(&fleet, count, end);
    until("all gateways in the store", || {
        let newest = stores::newest_of_each("promql", servers.promql.port, end.as_millis());
        (newest.len() == count).then_some(())
    });
    let spent = clock.instant().saturating_duration_since(begun).as_secs_f64();
    println!("{count} gateways, {minutes} min, sent after {spent:.1} s");
    measure(&servers, count);
    let hand = Hand { gateways: &gateways, seen: &seen };
    let range = Range { from: first, to: end.as_millis() };
    let mut wrong = Vec::new();
    let sets: &[&str] = if large { &["promql"] } else { &["promql", "influxql"] };
    for set in sets {
        let mut asked = Asked::new(set, servers.port(set), range);
        asked.all(&hand, 1);
        println!("{set}: {} numbers compared", asked.numbers);
        for (title, took) in &asked.took {
            println!("{set}: {title}: {:.0} ms", took.as_secs_f64() * 1000.0);
        }
        wrong.append(&mut asked.wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Prints what the store says of its size.
fn measure(servers: &Servers, gateways: usize) {
    let port = servers.promql.port;
    let status: serde_json::Value = serde_json::from_str(&get(port, "/api/v1/status/tsdb?topN=20")).unwrap();
    let mut text = String::new();
    for name in status["data"]["seriesCountByMetricName"].as_array().unwrap() {
        write!(text, " {} {}", name["name"].as_str().unwrap(), name["value"]).unwrap();
    }
    let series = status["data"]["totalSeries"].as_u64().unwrap();
    println!("{series} series, {:.1} of a gateway:{text}", series as f64 / gateways as f64);
    let sum = |metrics: &str, start: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.starts_with(start));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    get(port, "/internal/force_merge");
    let (mut data, mut index, mut rows) = (0, 0, 0);
    until("merged", || {
        let metrics = get(port, "/metrics");
        let before = data;
        data = sum(&metrics, "vm_data_size_bytes{type=\"storage/");
        index = sum(&metrics, "vm_data_size_bytes{type=\"indexdb");
        rows = sum(&metrics, "vm_rows{type=\"storage/");
        let merging = sum(&metrics, "vm_active_merges{type=\"storage/");
        (before == data && merging == 0).then_some(())
    });
    println!(
        "{rows} values on disk, {:.2} bytes each; index {:.0} bytes a series",
        data as f64 / rows as f64,
        index as f64 / series as f64
    );
}
