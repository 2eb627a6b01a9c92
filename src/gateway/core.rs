//! The core: `apply(event, now) -> effects`, pure.
//!
//! In: one [`Event`] and the time. Out: [`Effects`]: what to journal, what to tell, why a person was refused.
//! Invariant: every timer due by `now` fires before the event, in order of (due, rule); the same events give the same effects.
//! Source: DESIGN section 3.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::condition::measure::Measure;
use crate::alarm::desk::Act;
use crate::alarm::engine::Engine;
use crate::alarm::lifecycle::Refusal;
use crate::alarm::load;
use crate::alarm::overlay::Overlay;
use crate::alarm::recall::Recall;
use crate::alarm::{Alarm, Condition, Rule, RuleState, Severity, Transition};
use crate::clock::Timestamp;
use crate::decode::RawBatch;
use crate::derive::Derived;
use crate::gateway::attention::Attention;
use crate::gateway::times::Times;
use crate::gateway::vigil::{Stand, Surroundings, Vigil};
use crate::normalize::Normalizer;
use crate::point::{Catalog, DeviceId, PointId};
use crate::reading::{Batch, Reading, Sample};
use crate::risk::work::Work;
use crate::site::{DeviceSpec, Site, diff};

/// The last number of an input that is no device's counts for so long after a restart.
const LATEST: Duration = Duration::from_secs(3600);

/// All that can happen to the core. A closed list.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A device was polled.
    Polled(RawBatch),
    /// From now on the polls of a device are read as its model at this version, or at an unknown one.
    Identified {
        /// Which device.
        device: DeviceId,
        /// Its firmware's version.
        version: Option<String>,
    },
    /// Readings that are already normalized: the gateway's own points, or a replay.
    Read(Batch),
    /// A person acknowledges the alarm of this id, having seen this severity.
    Acknowledge {
        /// Alarm id.
        id: String,
        /// Severity seen.
        seen: Severity,
        /// Who.
        by: String,
        /// Note.
        note: Option<String>,
    },
    /// A person does something else to an alarm or a rule.
    Act {
        /// Alarm id or name of a rule.
        target: String,
        /// What.
        act: Act,
        /// Who.
        by: String,
        /// Why.
        note: Option<String>,
    },
    /// Other documents hold from now on. Names are the identity: alarms, delays, silences, windows and what was told go on under them, and what is gone
    /// closes. The firmware of devices is to be told anew, [`Event::Identified`], before their next poll.
    Reloaded(Arc<Site>),
    /// The wall clock was stepped by this many milliseconds; `now` is already the new time.
    ClockStepped(i64),
    /// Time passed.
    Tick,
}

/// What the event leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Readings to journal.
    pub batches: Vec<Batch>,
    /// Transitions to journal and to tell.
    pub transitions: Vec<Transition>,
    /// Rule states that changed.
    pub states: Vec<(String, RuleState)>,
    /// Why a person's act was refused.
    pub refused: Option<String>,
    /// The devices to be polled denser from now on, when they are others than before.
    pub dense: Option<BTreeSet<DeviceId>>,
}

/// The pure middle of the gateway.
pub struct Core {
    catalog: Arc<Catalog>,
    devices: BTreeMap<DeviceId, Polled>,
    derived: Derived,
    engine: Engine,
    attention: Attention,
    vigil: Vigil,
    times: Times,
    /// The rules that look at a polled device, by its name.
    looks: BTreeMap<String, Vec<String>>,
    /// The gateway's point that says whether there is a flood, and its device.
    flood_point: Option<(PointId, DeviceId)>,
    /// What that point said last.
    flood: bool,
    /// When that was told last: its point's time never goes back.
    flood_told: Option<Timestamp>,
}

/// What turns raw numbers of a device into readings.
struct Polled {
    spec: DeviceSpec,
    normalizer: Normalizer,
}

impl Core {
    /// A core for these documents.
    pub fn new(site: &Site) -> Self {
        let device = |device: &DeviceSpec| {
            let normalizer = Normalizer::new(device.id, &device.profile, &device.points);
            (device.id, Polled { spec: device.clone(), normalizer })
        };
        Self {
            catalog: Arc::clone(&site.catalog),
            devices: site.devices.iter().map(device).collect(),
            derived: Derived::new(site.derived.clone(), &site.catalog),
            engine: Engine::new(&site.catalog.site, site.rules.clone(), &site.catalog),
            attention: Attention::new(site),
            vigil: Vigil::new(site),
            times: Times::default(),
            looks: looks(site),
            flood_point: site.catalog.find("gateway.flood").map(|point| (point.id, point.device)),
            flood: false,
            flood_told: None,
        }
    }

    /// Takes rule states of an earlier run; `last` is the time of its last commit (`None`: unknown, counts as a long gap). What changes by it (alarms of rules that
    /// are gone) comes with the effects of the next event.
    pub fn restore(&mut self, states: Vec<(String, RuleState)>, last: Option<Timestamp>, now: Timestamp) {
        self.engine.restore(states, last, now);
        let open = self.engine.alarms();
        open.iter().for_each(|alarm| self.attention.alarm(alarm));
        self.attention.changed();
    }

    /// How far back [`Self::recall`] needs the readings of each point.
    pub fn recalls(&self) -> BTreeMap<PointId, Recall> {
        let mut spans = self.engine.recalls();
        for (point, span) in self.derived.recalls() {
            let silent = self.catalog.point(point).and_then(|point| self.devices.get(&point.device));
            // The last number of an input counts for as long as its device may be silent; a counter's first step needs the number before.
            let span = span + silent.map_or(LATEST, |device| (device.spec.every * 4).max(LATEST));
            let known = spans.entry(point).or_default();
            *known = known.and(Recall { span, together: false });
        }
        spans
    }

    /// Takes a reading of an earlier run, in the order of that run, after [`Self::restore`]. Nothing follows from it.
    pub fn recall(&mut self, reading: &Reading, now: Timestamp) {
        // What stands in the history and in the log is taken once.
        if !self.times.recall(reading) {
            return;
        }
        self.derived.recall(reading);
        self.engine.recall(reading, now);
        self.attention.reading(reading);
    }

    /// The same of all that one device said in one poll.
    pub fn recall_batch(&mut self, batch: &Batch, now: Timestamp) {
        self.vigil.recall(batch);
        batch.readings.iter().for_each(|reading| self.recall(reading, now));
    }

    /// All of the earlier run is recalled; its last commit was at `last`.
    pub fn recalled(&mut self, last: Timestamp, now: Timestamp) {
        self.engine.recalled(last, now);
        self.attention.changed();
    }

    /// The gateway was off from `last` to `now`; this core knows what a new one would be given back by [`Self::restore`] and [`Self::recall`].
    pub fn restarted(&mut self, last: Timestamp, now: Timestamp) {
        self.engine.restarted(last, now);
    }

    /// Fires every timer due by `now` in order of (due, rule), then takes the event. A step of the clock is taken before the timers, so that none fires for
    /// time that never passed.
    pub fn apply(&mut self, event: Event, now: Timestamp, clock_trusted: bool) -> Effects {
        if let Event::ClockStepped(by_ms) = event {
            self.engine.shifted(by_ms);
            self.vigil.shifted(by_ms);
            self.times.stepped(by_ms);
        }
        self.times.trusted = clock_trusted;
        self.engine.tick(now);
        let mut effects = Effects::default();
        // A flood begins with the reading that brings it: what is recorded tells no other time.
        let heard = match &event {
            Event::Polled(raw) => raw.end.min(now),
            Event::Read(batch) => batch.end.min(now),
            _ => now,
        };
        let done = match event {
            Event::Polled(raw) => {
                effects.batches = self.polled(&raw, now, clock_trusted);
                Ok(())
            }
            Event::Identified { device, version } => {
                self.identified(device, version.as_deref());
                Ok(())
            }
            Event::Read(batch) => {
                effects.batches = self.read(batch, now);
                Ok(())
            }
            Event::Acknowledge { id, seen, by, note } => {
                self.engine.ack(&id, seen, &by, note.as_deref(), now)
            }
            Event::Reloaded(site) => {
                self.reloaded(&site, now);
                effects.dense = Some(BTreeSet::new());
                Ok(())
            }
            Event::Act { target, act: Act::Maintain { span, role }, by, note } => {
                self.maintain(&target, Some((now.plus(span), &role)), (&by, note.as_deref()), now)
            }
            Event::Act { target, act: Act::Maintained, by, note } => {
                self.maintain(&target, None, (&by, note.as_deref()), now)
            }
            Event::Act { target, act, by, note } => self.engine.act(&target, act, &by, note.as_deref(), now),
            Event::ClockStepped(_) | Event::Tick => Ok(()),
        };
        effects.batches.extend(self.flood(heard, now));
        effects.refused = done.err().map(|refusal: Refusal| refusal.to_string());
        effects.transitions = self.engine.drain();
        effects.states = self.engine.dirty();
        effects.transitions.iter().for_each(|transition| self.attention.alarm(&transition.alarm));
        if self.attention.changed() || effects.dense.is_some() {
            effects.dense = Some(self.attention.dense().clone());
        }
        effects
    }

    /// When the next timer is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.engine.next_due()
    }

    /// Alarms that are not closed.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.engine.alarms()
    }

    /// What lies over rules, by rule name.
    pub fn overlays(&self) -> BTreeMap<String, Overlay> {
        let states = self.engine.states().into_iter().map(|(rule, state)| (rule, state.overlay));
        states.filter(|(_, overlay)| !overlay.is_empty()).collect()
    }

    /// What decides who hears of a sensor; `proved`: when a notice was last proved to get out.
    pub fn surroundings(&self, proved: Option<Timestamp>) -> Surroundings {
        let mut around = Surroundings { proved, ..Surroundings::default() };
        for (rule, overlay) in self.overlays() {
            if let Some(permit) = &overlay.permit {
                if let Some(sensor) = permit.maintained() {
                    let why =
                        format!("{}: {}", permit.responsible, permit.reason.as_deref().unwrap_or_default());
                    around.maintenance.insert(sensor.to_owned(), (why, permit.to));
                }
                let why = format!("{rule} is out of service until {} ({})", permit.to, permit.number);
                around.hidden.insert(rule, why);
            } else if let Some(shelf) = &overlay.shelf {
                let why =
                    format!("{rule} is shelved until {} by {}: {}", shelf.until, shelf.by, shelf.reason);
                around.hidden.insert(rule, why);
            }
        }
        around
    }

    fn maintain(
        &mut self,
        sensor: &str,
        to: Option<(Timestamp, &str)>,
        who: (&str, Option<&str>),
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let rules = self.looks.get(sensor).cloned().ok_or(Refusal::NoSuchSensor)?;
        self.engine.maintain((sensor, &rules), to, who, now)
    }

    /// How many alarms reach a person.
    pub fn load(&self, now: Timestamp) -> load::Figures {
        self.engine.load().figures(now)
    }

    /// Counts the transitions of the last day, as the journal has them. A flood that was told and is over is told to be over with the next event.
    pub fn recount(&mut self, transitions: &[Transition], now: Timestamp) {
        self.engine.recount(transitions, now);
        let told = |alarm: &Alarm| alarm.rule == load::FLOOD_RULE && alarm.state.is_active();
        self.flood = self.engine.alarms().iter().any(told);
    }

    /// The devices that are to be polled denser.
    pub const fn dense(&self) -> &BTreeSet<DeviceId> {
        self.attention.dense()
    }

    /// How every risk point stands.
    pub fn stands(&self, around: &Surroundings, now: Timestamp) -> Vec<Stand> {
        self.vigil.standings(around, now)
    }

    /// What somebody has to do by a date.
    pub fn work(&self, around: &Surroundings, now: Timestamp) -> Vec<Work> {
        self.vigil.work(around, now)
    }

    /// The part that watches risk points.
    pub const fn vigil(&mut self) -> &mut Vigil {
        &mut self.vigil
    }

    /// The state of every rule.
    pub fn states(&self) -> Vec<(String, RuleState)> {
        self.engine.states()
    }

    /// Goes on with the documents of `site`.
    fn reloaded(&mut self, site: &Site, now: Timestamp) {
        let mut fresh = Self::new(site);
        let numbers = self.catalog.renumbered(&site.catalog);
        let kept = |point: PointId| {
            let to = numbers.point(point)?;
            let (was, is) = (self.catalog.point(point)?, site.catalog.point(to)?);
            let same = match (self.devices.get(&was.device), fresh.devices.get(&is.device)) {
                // A derived point may bear a polled device's name.
                (Some(old), Some(new)) => {
                    !old.spec.points.contains(&Some(point)) || diff::reads_the_same(&old.spec, &new.spec)
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            (same && was.unit == is.unit).then_some(to)
        };
        let derived = std::mem::replace(&mut self.derived, Derived::new(Vec::new(), &site.catalog));
        fresh.derived.succeed(derived, kept, |point| numbers.point(point));
        fresh.attention.succeed(&self.attention);
        fresh.vigil.succeed(std::mem::replace(&mut self.vigil, Vigil::new(site)));
        self.times.renumber(|point| numbers.point(point));
        self.engine.reload(site.rules.clone(), &site.catalog, now);
        let open = self.engine.alarms();
        open.iter().for_each(|alarm| fresh.attention.alarm(alarm));
        (self.catalog, self.devices) = (fresh.catalog, fresh.devices);
        (self.derived, self.attention) = (fresh.derived, fresh.attention);
        self.vigil = fresh.vigil;
        (self.flood_point, self.looks) = (fresh.flood_point, fresh.looks);
    }

    /// A reading of the flood's own point when a flood begins or ends.
    fn flood(&mut self, heard: Timestamp, now: Timestamp) -> Vec<Batch> {
        let is = self.engine.load().flood().is_some();
        let Some((point, device)) = self.flood_point.filter(|_| is != self.flood) else { return Vec::new() };
        self.flood = is;
        let at = self.flood_told.map_or(heard, |told| heard.max(told.plus(Duration::from_millis(1))));
        self.flood_told = Some(at);
        let sample = Sample::Good(f64::from(u8::from(is)));
        let readings = vec![Reading { point, at, sample }];
        self.read(Batch { device, start: at, end: at, readings }, now)
    }

    /// Readings of one poll; none for a device that these documents do not have.
    fn polled(&mut self, raw: &RawBatch, now: Timestamp, clock_trusted: bool) -> Vec<Batch> {
        let Some(device) = self.devices.get(&raw.device) else { return Vec::new() };
        let overdue = device.spec.calibration_due.is_some_and(|due| due <= now);
        let batch = device.normalizer.normalize(raw, overdue, !clock_trusted);
        self.vigil.polled(&batch);
        self.read(batch, now)
    }

    /// Another version of a device's model from the next poll on; a version that the model can't read counts as unknown.
    fn identified(&mut self, device: DeviceId, version: Option<&str>) {
        let Some(device) = self.devices.get_mut(&device) else { return };
        let spec = &device.spec;
        let at = spec.firmware.apply(&spec.profile, version);
        if let Ok(profile) = at.or_else(|_| spec.firmware.apply(&spec.profile, None)) {
            // What this version lacks is never polled, so its points say that; all others are read as this version has them.
            device.normalizer = Normalizer::new(spec.id, &profile, &spec.points);
        }
    }

    /// Adds what is derived from the batch, and asks the rules.
    fn read(&mut self, mut batch: Batch, now: Timestamp) -> Vec<Batch> {
        self.times.keep(&mut batch.readings);
        let mut derived = self.derived.apply(&batch, now);
        self.times.keep(&mut derived);
        let batches = gather(batch, derived, &self.catalog);
        for reading in batches.iter().flat_map(|batch| &batch.readings) {
            self.engine.reading(reading, now);
            self.attention.reading(reading);
        }
        batches
    }
}

/// The rules that look at each polled device, at what is derived of it too. A vote of several devices looks on without one of them.
fn looks(site: &Site) -> BTreeMap<String, Vec<String>> {
    let mut looks = BTreeMap::new();
    for device in &site.devices {
        let own: BTreeSet<PointId> = device.points.iter().flatten().copied().collect();
        let derived = |point: PointId| {
            let mut found = site.derived.iter().filter(|derived| derived.point == point);
            found.any(|derived| derived.inputs.iter().any(|(_, input)| own.contains(input)))
        };
        let votes = |rule: &Rule| match &rule.condition {
            Condition::Measured { measured, inputs } => {
                matches!(measured.measure, Measure::Votes { .. })
                    && !inputs.iter().all(|input| own.contains(input))
            }
            Condition::Threshold { .. } | Condition::Stale { .. } => false,
        };
        let of = |rule: &&Rule| (own.contains(&rule.point) || derived(rule.point)) && !votes(rule);
        let rules = site.rules.iter().filter(of).map(|rule| rule.name.clone());
        if let Some(known) = site.catalog.device(device.id) {
            looks.insert(known.name.clone(), rules.collect());
        }
    }
    looks
}

/// The batch and what was derived from it, one batch for each device, in the order in which they came.
fn gather(batch: Batch, derived: Vec<Reading>, catalog: &Catalog) -> Vec<Batch> {
    let (device, start, end) = (batch.device, batch.start, batch.end);
    let mut batches = vec![batch];
    for reading in derived {
        let home = catalog.point(reading.point).map_or(device, |point| point.device);
        match batches.iter_mut().find(|batch| batch.device == home) {
            Some(batch) => batch.readings.push(reading),
            None => batches.push(Batch { device: home, start, end, readings: vec![reading] }),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::{Change, Direction, Kind, Level, RuleId};
    use crate::decode::Raw;
    use crate::derive::Settings;
    use crate::point::{Device, Point};
    use crate::profile::firmware::Firmware;
    use crate::profile::{Field, Limits, Profile};
    use crate::reading::{Doubt, Reason};
    use crate::{bus, journal, profile};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    fn field() -> Field {
        Field {
            group: None,
            name: "level".into(),
            table: bus::Table::Holding,
            address: 0,
            count: 1,
            kind: profile::Kind::U16,
            order: profile::Order::default(),
            scale: 0.1,
            offset: 0.0,
            order_from: None,
            scale_from: None,
            unit_from: None,
            decimals_from: None,
            pre_offset_from: None,
            current_loop: None,
            unit: None,
            range: None,
            tolerance: 0.0,
            faults: vec![],
            invert: false,
            one_hot: false,
            states: vec![],
            valid_when: vec![],
            destructive: false,
            hidden: false,
            decimals: 1,
        }
    }

    fn rules() -> Vec<Rule> {
        let level = Level {
            severity: Severity::Orange,
            threshold: 15.0,
            on_delay: Duration::from_secs(10),
            off_delay: Duration::ZERO,
        };
        let high = Condition::Threshold {
            direction: Direction::Above,
            levels: vec![level],
            deadband: 2.0,
            max_gap: Duration::from_secs(30),
        };
        let points = vec![PointId(0)];
        let stale = Condition::Stale { after: Duration::from_secs(60), severity: Severity::Yellow, points };
        let rule = |id, name: &str, point, kind, condition| Rule {
            id: RuleId(id),
            name: name.into(),
            version: "1".into(),
            point: PointId(point),
            kind,
            condition,
            advice: String::new(),
            basis: String::new(),
            latched: false,
            guide: Default::default(),
            bonds: Default::default(),
        };
        vec![rule(0, "twice-high", 1, Kind::Process, high), rule(1, "gauge-stale", 0, Kind::Sensor, stale)]
    }

    fn catalog() -> Catalog {
        let point = |id: u32, name: &str, device: u32| Point {
            id: PointId(id),
            name: name.into(),
            short: name.into(),
            device: DeviceId(device),
            unit: None,
            decimals: 1,
            states: vec![],
            tags: std::collections::BTreeMap::new(),
        };
        let device = |id: u32, name: &str| Device {
            id: DeviceId(id),
            name: name.into(),
            line: None,
            class: "waterlogging".into(),
            risk_point: None,
            town: None,
            tags: std::collections::BTreeMap::new(),
        };
        Catalog {
            site: "test".into(),
            version: "1".into(),
            lines: vec![],
            devices: vec![device(0, "gauge"), device(1, "underpass")],
            points: vec![point(0, "gauge.level", 0), point(1, "underpass.twice", 1)],
        }
    }

    fn gauge() -> DeviceSpec {
        let profile = Profile {
            name: "gauge".into(),
            class: "waterlogging".into(),
            maker: String::new(),
            source: String::new(),
            about: std::sync::Arc::default(),
            serial: None,
            text: None,
            limits: Limits::default(),
            fields: vec![field()],
            triggers: Vec::new(),
            vectors: vec![],
        };
        DeviceSpec {
            id: DeviceId(0),
            slave: bus::Slave(1),
            profile,
            points: vec![Some(PointId(0))],
            every: Duration::from_secs(10),
            every_in_alarm: None,
            timeout: Duration::from_secs(1),
            calibration_due: Some(at(1000)),
            firmware: Firmware::default(),
            triggers: Vec::new(),
            withheld: Vec::new(),
        }
    }

    /// One polled gauge, and a derived point of another device that is twice its level.
    fn site() -> Site {
        let derived = Settings {
            point: PointId(1),
            inputs: vec![("level".into(), PointId(0))],
            value: "level * 2.0".into(),
            factor: 1.0,
        };
        let journal = journal::Settings {
            path: "journal".into(),
            commit_every: Duration::from_secs(1),
            keep: Duration::ZERO,
            max_bytes: 0,
        };
        Site {
            catalog: Arc::new(catalog()),
            timezone: "Asia/Shanghai".into(),
            trust: crate::clock::Trust::Set,
            lines: vec![],
            devices: vec![gauge()],
            derived: vec![derived],
            rules: rules(),
            risk_points: vec![],
            sensors: vec![],
            journal,
            sinks: vec![],
            listen: ([127, 0, 0, 1], 0).into(),
            documents: vec![],
        }
    }

    fn polled(seconds: i64, raw: Result<Raw, Reason>) -> Event {
        let (start, end) = (at(seconds), at(seconds));
        Event::Polled(RawBatch { device: DeviceId(0), start, end, raws: vec![(end, raw)] })
    }

    #[test]
    fn a_poll_becomes_readings_derived_ones_and_an_alarm() {
        let mut core = Core::new(&site());
        core.restore(Vec::new(), None, at(0));
        let effects = core.apply(polled(10, Ok(Raw::Number(80.0))), at(10), true);
        let seen: Vec<_> = effects.batches.iter().map(|b| (b.device, b.readings[0].sample.clone())).collect();
        assert_eq!(seen, [(DeviceId(0), Sample::Good(8.0)), (DeviceId(1), Sample::Good(16.0))]);
        assert!(effects.transitions.is_empty());
        assert!(
            effects.states.iter().any(|(_, state)| state.raising == [Some(at(10))]),
            "a delay under way is kept"
        );

        let effects = core.apply(polled(20, Ok(Raw::Number(80.0))), at(20), false);
        assert_eq!(effects.batches[0].readings[0].sample, Sample::Uncertain(8.0, Doubt::Clock));
        assert_eq!(effects.transitions[0].change, Change::Raised);
        assert_eq!(effects.transitions[0].alarm.point, "underpass.twice");
        assert_eq!(core.alarms().len(), 1);
    }

    #[test]
    fn overdue_calibration_is_a_doubt_from_its_day_on() {
        let mut core = Core::new(&site());
        let mut doubt = |seconds| {
            let effects = core.apply(polled(seconds, Ok(Raw::Number(1.0))), at(seconds), true);
            effects.batches[0].readings[0].sample.clone()
        };
        assert_eq!(doubt(999), Sample::Good(0.1));
        assert_eq!(doubt(1000), Sample::Uncertain(0.1, Doubt::Calibration));
    }

    #[test]
    fn persons_are_answered() {
        let mut core = Core::new(&site());
        core.apply(Event::Tick, at(0), true);
        assert_eq!(core.next_due(), Some(at(60).plus(Duration::from_millis(1))));
        let raised = core.apply(Event::Tick, at(61), true).transitions.remove(0).alarm;
        let ack = |seen| Event::Acknowledge { id: raised.id.clone(), seen, by: "duty".into(), note: None };
        let refused = core.apply(ack(Severity::Blue), at(62), true).refused;
        assert_eq!(refused.as_deref(), Some("changed: the severity has risen since"));
        let effects = core.apply(ack(Severity::Yellow), at(63), true);
        assert_eq!((effects.refused, effects.transitions.len()), (None, 1));
        let reset = Event::Act { target: raised.id, act: Act::Reset, by: "duty".into(), note: None };
        assert!(core.apply(reset, at(64), true).refused.is_some());
    }

    #[test]
    fn a_step_of_the_clock_is_no_silence() {
        let mut core = Core::new(&site());
        core.apply(polled(0, Ok(Raw::Number(1.0))), at(0), true);
        let hour = 3_600;
        let effects = core.apply(Event::ClockStepped(hour * 1000), at(hour + 1), true);
        assert!(effects.transitions.is_empty());
        assert!(core.apply(Event::Tick, at(hour + 60), true).transitions.is_empty());
        assert_eq!(core.apply(Event::Tick, at(hour + 61), true).transitions.len(), 1);
    }

    #[test]
    fn a_device_is_polled_denser_while_a_rule_on_its_points_is_near_or_active() {
        let mut site = site();
        site.devices[0].every_in_alarm = Some(Duration::from_secs(1));
        let mut core = Core::new(&site);
        core.restore(Vec::new(), None, at(0));
        let mut dense = |seconds, raw: Result<Raw, Reason>| {
            core.apply(polled(seconds, raw), at(seconds), true).dense.map(|set| set.len())
        };
        // The rule looks at twice the level, is active at 15, and its deadband of 2 is more than a tenth.
        assert_eq!(dense(0, Ok(Raw::Number(64.0))), None);
        assert_eq!(dense(10, Ok(Raw::Number(65.0))), Some(1), "one deadband from the threshold");
        assert_eq!(dense(11, Ok(Raw::Number(80.0))), None, "still");
        assert_eq!(dense(12, Err(Reason::Timeout)), None, "no number says nothing");
        assert_eq!(dense(30, Ok(Raw::Number(80.0))), None, "active by now");
        let states = core.states();
        let effects = core.apply(polled(31, Ok(Raw::Number(1.0))), at(31), true);
        assert_eq!(effects.dense, Some(BTreeSet::new()));
        let mut later = Core::new(&site);
        later.restore(states, Some(at(30)), at(32));
        assert_eq!(
            later.dense(),
            &BTreeSet::from([DeviceId(0)]),
            "an alarm that is open after a restart counts"
        );

        let mut plain = Core::new(&self::site());
        assert_eq!(plain.apply(polled(0, Ok(Raw::Number(80.0))), at(0), true).dense, None);
    }

    #[test]
    fn a_poll_of_an_unknown_device_is_nothing() {
        let mut core = Core::new(&site());
        let raws = vec![(at(0), Err(Reason::Timeout))];
        let raw = RawBatch { device: DeviceId(7), start: at(0), end: at(0), raws };
        assert_eq!(core.apply(Event::Polled(raw), at(0), true), Effects::default());
    }

    #[test]
    fn the_core_can_live_in_a_task() {
        fn goes_between_threads<T: Send>(_: &T) {}
        goes_between_threads(&Core::new(&site()));
    }
}
