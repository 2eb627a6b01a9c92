//! Which risk points are really watched, right now: keeps what polls say of their sensors, and tells rungs as readings.
//!
//! In: batches of the core, alarms that are hidden, when a notice was proved. Out: [`Standing`]s, and readings of the devices of class `coverage`.
//! Invariant: pure; the memory of a sensor goes by its name, so that it outlives a reload and, journaled, a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::Kind;
use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::point::{DeviceId, PointId};
use crate::reading::{Batch, Reading, Sample};
use crate::risk::coverage::{ALSO, CLASS, NEED, Rung, SENSOR};
use crate::risk::ladder::{self, Guard, Standing};
use crate::risk::seen::{self, Seen};
use crate::risk::state::State;
use crate::risk::work::{self, Work};
use crate::risk::{RiskPoint, Sensor, Windows};
use crate::site::Site;

/// What was seen is kept on disk this often, so that a restart loses little of a day's share.
const KEPT_EVERY: Duration = Duration::from_secs(300);

/// A risk point and how it stands.
pub type Stand = (Arc<RiskPoint>, Standing);

/// What is outside the polls and decides who hears of a sensor.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Rules that are there and don't speak, with why: `outlet-high is shelved until ...`.
    pub hidden: BTreeMap<String, String>,
    /// When a notice was last proved to get out.
    pub proved: Option<Timestamp>,
    /// Devices in maintenance: why, and until when.
    pub maintenance: BTreeMap<String, (String, Timestamp)>,
}

/// All risk points of the site.
pub struct Vigil {
    /// By code.
    places: BTreeMap<String, Watched>,
    members: BTreeMap<DeviceId, Member>,
    windows: Windows,
    /// The site's zone, in which its sentences tell times.
    zone: Zone,
    /// A rung that did not change is told again after this long, so that it never looks stale.
    every: Duration,
    told: Option<Timestamp>,
    kept: Option<Timestamp>,
    /// A sensor was heard again or for the first time, went wrong or got well since somebody asked.
    turned: bool,
}

struct Watched {
    point: Arc<RiskPoint>,
    carrier: DeviceId,
    rung: PointId,
    blind: PointId,
    /// Colour, whether it is unverified, and how many sensors are in trouble.
    state: [PointId; 3],
    sensors: Vec<(Sensor, DeviceId, PointId)>,
    /// Sensors that serve another need beside their first.
    also: Vec<(String, PointId)>,
    /// How many sensors each need asks for.
    needs: Vec<(usize, PointId)>,
    /// Numbers told last: rung, blind, sensors.
    last: Vec<u8>,
}

impl Watched {
    /// The numbers that changed, or all.
    fn readings(
        &mut self,
        standing: &Standing,
        state: Option<&State>,
        all: bool,
        now: Timestamp,
    ) -> Vec<Reading> {
        let rung_of = |name: &str| {
            standing.sensors.iter().find(|sensor| sensor.name == name).and_then(|sensor| sensor.rung)
        };
        // Too early to say is not blind.
        let blind = standing.blind && !standing.unknown && !standing.unspecified;
        let mut numbers = vec![(self.rung, Rung::number(standing.rung)), (self.blind, u8::from(blind))];
        if let Some(state) = state {
            let trouble = u8::try_from(state.trouble.len()).unwrap_or(u8::MAX);
            let told = [state.ordinal(), u8::from(state.unverified), trouble];
            numbers.extend(self.state.into_iter().zip(told));
        }
        numbers.extend(
            self.sensors.iter().map(|(sensor, _, point)| (*point, Rung::number(rung_of(&sensor.name)))),
        );
        numbers.extend(self.also.iter().map(|(name, point)| (*point, Rung::number(rung_of(name)))));
        numbers.extend(self.needs.iter().map(|(index, point)| {
            let need = self.point.needs.get(*index).filter(|need| need.span.holds(now));
            (*point, need.map_or(0, |need| u8::try_from(need.min).unwrap_or(u8::MAX)))
        }));
        let last = std::mem::replace(&mut self.last, numbers.iter().map(|(_, number)| *number).collect());
        numbers
            .into_iter()
            .enumerate()
            .filter(|(index, (_, number))| all || last.get(*index) != Some(number))
            .map(|(_, (point, number))| Reading { point, at: now, sample: Sample::Good(f64::from(number)) })
            .collect()
    }
}

/// A polled device that stands at a risk point.
struct Member {
    name: String,
    /// The points that a rule looks at; all when no rule does.
    counted: BTreeSet<PointId>,
    /// Rules of kind process on its points, or on what is derived from them.
    rules: Vec<String>,
    has_session: bool,
    every: Duration,
    seen: Seen,
}

impl Member {
    /// Nothing is seen of it yet.
    fn new(sensor: &Sensor) -> Self {
        let mut member = Self {
            name: sensor.name.clone(),
            counted: BTreeSet::new(),
            rules: Vec::new(),
            has_session: sensor.has_session,
            every: sensor.every,
            seen: Seen::default(),
        };
        member.remember(Seen::default());
        member
    }

    /// Takes what was seen before, maybe with another period.
    fn remember(&mut self, seen: Seen) {
        self.seen = seen;
        self.seen.share.asked_each(self.every);
    }
}

impl Vigil {
    /// Nothing is seen yet.
    pub fn new(site: &Site) -> Self {
        let polled = site.catalog.devices.iter().filter(|device| device.line.is_some());
        let devices: BTreeMap<&str, DeviceId> =
            polled.map(|device| (device.name.as_str(), device.id)).collect();
        let mut members = BTreeMap::new();
        for sensor in &site.sensors {
            if let Some(device) = devices.get(sensor.name.as_str()) {
                members.entry(*device).or_insert_with(|| Member::new(sensor));
            }
        }
        rule(site, &mut members);
        let places = site.risk_points.iter().filter_map(|point| {
            let carrier =
                site.catalog.devices.iter().find(|device| {
                    device.class == CLASS && device.risk_point.as_ref() == Some(&point.code)
                })?;
            let of = |short: &str| {
                let found = site
                    .catalog
                    .points
                    .iter()
                    .find(|known| known.device == carrier.id && known.short == short);
                found.map(|point| point.id)
            };
            let sensors = site.sensors.iter().filter(|sensor| sensor.code == point.code);
            let also = sensors.clone().flat_map(|sensor| {
                let told =
                    (1..point.needs.len()).filter_map(|need| of(&format!("{ALSO}{need}-{}", sensor.name)));
                told.map(|told| (sensor.name.clone(), told)).collect::<Vec<_>>()
            });
            let also = also.collect();
            let sensors = sensors.filter_map(|sensor| {
                let told = of(&format!("{SENSOR}{}", sensor.name))?;
                Some((sensor.clone(), *devices.get(sensor.name.as_str())?, told))
            });
            let watched = Watched {
                point: Arc::new(point.clone()),
                carrier: carrier.id,
                rung: of("rung")?,
                blind: of("blind")?,
                state: [of("colour")?, of("unverified")?, of("trouble")?],
                sensors: sensors.collect(),
                also,
                needs: (0..point.needs.len())
                    .filter_map(|index| Some((index, of(&format!("{NEED}{index}"))?)))
                    .collect(),
                last: Vec::new(),
            };
            Some((point.code.clone(), watched))
        });
        let (windows, every) = (Windows::default(), site.tell_every);
        let zone = Zone::named(&site.timezone);
        let places = places.collect();
        Self { places, members, windows, zone, every, told: None, kept: None, turned: false }
    }

    /// Takes what an earlier run kept; what can't be read is as if it never was.
    pub fn restore(&mut self, memories: &BTreeMap<String, String>) {
        for member in self.members.values_mut() {
            let kept = memories.get(&memory(&member.name));
            if let Some(seen) = kept.and_then(|text| serde_json::from_str(text).ok()) {
                member.remember(seen);
            }
        }
    }

    /// Takes what was seen under other documents.
    pub fn succeed(&mut self, old: Self) {
        let mut seen: BTreeMap<String, Seen> =
            old.members.into_values().map(|member| (member.name, member.seen)).collect();
        for member in self.members.values_mut() {
            if let Some(seen) = seen.remove(&member.name) {
                member.remember(seen);
            }
        }
        self.kept = old.kept;
    }

    /// Takes one poll.
    pub fn polled(&mut self, batch: &Batch) {
        let Some(member) = self.members.get_mut(&batch.device) else { return };
        let counts =
            |reading: &&Reading| member.counted.is_empty() || member.counted.contains(&reading.point);
        if let Some(told) = seen::told(batch.readings.iter().filter(counts), member.has_session) {
            let online = self.windows.online;
            let state = |seen: &Seen| {
                let heard = seen.heard.is_some_and(|at| batch.end.since(at) <= online);
                (heard, seen.wrong.is_some())
            };
            let before = state(&member.seen);
            member.seen.take(told, batch.end);
            self.turned |= before != state(&member.seen);
        }
    }

    /// Whether polls since the last call changed what is known of a sensor: a later look would tell something else.
    pub const fn turned(&mut self) -> bool {
        std::mem::replace(&mut self.turned, false)
    }

    /// The newest poll of a device that is known here; `None` when no sensor is that device.
    pub fn seen_until(&self, device: DeviceId) -> Option<Timestamp> {
        let member = self.members.get(&device)?;
        Some(member.seen.last.unwrap_or(Timestamp::from_millis(i64::MIN)))
    }

    /// Takes a poll of an earlier run, unless it is in what that run kept.
    pub fn recall(&mut self, batch: &Batch) {
        let Some(member) = self.members.get(&batch.device) else { return };
        if member.seen.last.is_none_or(|last| last < batch.end) {
            self.polled(batch);
        }
    }

    /// The wall clock was stepped.
    pub fn shifted(&mut self, ms: i64) {
        self.members.values_mut().for_each(|member| member.seen.shifted(ms));
        self.told = self.told.map(|at| at.shifted(ms));
        self.kept = self.kept.map(|at| at.shifted(ms));
    }

    /// How every point stands that the district counts at `now`.
    pub fn standings(&self, around: &Surroundings, now: Timestamp) -> Vec<Stand> {
        let counted = self.places.values().filter(|place| place.point.span.holds(now));
        counted.map(|place| (Arc::clone(&place.point), self.standing(place, around, now))).collect()
    }

    /// The zone in which the site's times are told.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// What somebody has to do by a date.
    pub fn work(&self, around: &Surroundings, now: Timestamp) -> Vec<Work> {
        let sensors = self.places.values().flat_map(|place| place.sensors.iter().map(|(sensor, ..)| sensor));
        let points = self.places.values().map(|place| place.point.as_ref());
        work::work(sensors, points, &around.maintenance, (around.proved, &self.windows), now)
    }

    fn standing(&self, place: &Watched, around: &Surroundings, now: Timestamp) -> Standing {
        let nothing = Seen::default();
        let each = place.sensors.iter().map(|(sensor, device, _)| {
            let member = self.members.get(device);
            let seen = member.map_or(&nothing, |member| &member.seen);
            let rules = member.map_or(&[][..], |member| member.rules.as_slice());
            let hidden: Vec<String> =
                rules.iter().filter_map(|rule| around.hidden.get(rule).cloned()).collect();
            let guard = Guard {
                ruled: hidden.len() < rules.len(),
                hidden,
                proved: around.proved,
                maintenance: around.maintenance.get(&sensor.name).cloned(),
            };
            ladder::sensor(sensor, seen, &guard, &self.windows, (now, &self.zone))
        });
        ladder::point(&place.point, each.collect(), now)
    }

    /// Readings of what changed since the last time, and of everything each minute (`site.tell_every`).
    ///
    /// `states` belong to `stands`, in their order.
    pub fn readings(&mut self, stands: &[Stand], states: &[State], now: Timestamp) -> Vec<Batch> {
        // A sensor that no poll ever tells of is waited for from the first look on, and not for ever.
        for member in self.members.values_mut() {
            member.seen.since.get_or_insert(now);
        }
        let all = self.told.is_none_or(|told| now.since(told) >= self.every);
        if all {
            self.told = Some(now);
        }
        let mut batches = Vec::new();
        for (number, (point, standing)) in stands.iter().enumerate() {
            let Some(place) = self.places.get_mut(&point.code) else { continue };
            let readings = place.readings(standing, states.get(number), all, now);
            if !readings.is_empty() {
                batches.push(Batch { device: place.carrier, start: now, end: now, readings });
            }
        }
        batches
    }

    /// What is to be kept on disk, when it is time for that; `last`: the gateway ends.
    pub fn memories(&mut self, now: Timestamp, last: bool) -> Vec<(String, String)> {
        if !last && self.kept.is_some_and(|kept| now.since(kept) < KEPT_EVERY) {
            return Vec::new();
        }
        self.kept = Some(now);
        let text = |member: &Member| Some((memory(&member.name), serde_json::to_string(&member.seen).ok()?));
        self.members.values().filter_map(text).collect()
    }
}

/// The key that a sensor's memory is kept under.
fn memory(name: &str) -> String {
    format!("seen/{name}")
}

/// The polled devices behind each point.
#[derive(Default)]
pub(crate) struct Sources {
    own: BTreeMap<PointId, BTreeSet<DeviceId>>,
    /// Also what is derived of them.
    all: BTreeMap<PointId, BTreeSet<DeviceId>>,
}

impl Sources {
    /// Those of a site.
    pub(crate) fn of(site: &Site) -> Self {
        let mut own: BTreeMap<PointId, BTreeSet<DeviceId>> = BTreeMap::new();
        for device in &site.devices {
            for point in device.points.iter().flatten() {
                own.entry(*point).or_default().insert(device.id);
            }
        }
        let mut all = own.clone();
        for derived in &site.derived {
            let inputs = derived.inputs.iter().filter_map(|(_, input)| own.get(input)).flatten();
            all.entry(derived.point).or_default().extend(inputs);
        }
        Self { own, all }
    }

    /// The devices that a point is of, or is derived of.
    pub(crate) fn behind(&self, point: PointId) -> impl Iterator<Item = &DeviceId> {
        self.all.get(&point).into_iter().flatten()
    }

    /// Whether a device itself gives a point.
    pub(crate) fn owns(&self, device: DeviceId, point: PointId) -> bool {
        self.own.get(&point).is_some_and(|devices| devices.contains(&device))
    }
}

/// Gives members the process rules that look at them: one pass, however many devices there are.
fn rule(site: &Site, members: &mut BTreeMap<DeviceId, Member>) {
    let sources = Sources::of(site);
    for rule in site.rules.iter().filter(|rule| rule.kind == Kind::Process) {
        for device in sources.behind(rule.point) {
            let Some(member) = members.get_mut(device) else { continue };
            member.rules.push(rule.name.clone());
            if sources.owns(*device, rule.point) {
                member.counted.insert(rule.point);
            }
        }
    }
}
