//! The state of a risk point: the worst colour of what its sensors say, and beside it, never mixed in, what ails the sensors.
//!
//! In: risk points with how they stand, open alarms. Out: a [`State`] for each point.
//! Invariant: sensor trouble never makes a colour and never takes one away: a colour whose sensors went bad is kept, unverified.
//! Source: severity of a point is the highest of its alarms that hold and are not hidden; grey when nothing is known; never an average.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::{Alarm, Base, Kind, Severity};
use crate::clock::Timestamp;
use crate::risk::RiskPoint;
use crate::risk::coverage::{CLASS, Rung};
use crate::risk::joint::{self, Heat, Joint, Proposal};
use crate::risk::ladder::{Gap, SensorStanding, Standing};

/// How a risk point is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Its code: the id that a digital twin knows it by.
    pub code: String,
    /// The worst severity of the process alarms that hold and that nothing hides; drills don't count.
    pub colour: Option<Severity>,
    /// Since when the oldest alarm of that colour holds.
    pub since: Option<Timestamp>,
    /// The rules that make the colour.
    pub rules: Vec<String>,
    /// Its sensors that vote for this colour or a worse one, and those whose newest sample is fresh and good.
    pub votes: (u32, u32),
    /// The colour is kept, and no sensor behind it can be believed right now.
    pub unverified: bool,
    /// Nobody has acknowledged one of the alarms that make the colour.
    pub unseen: bool,
    /// One of its alarms, of whatever colour, holds and cannot be verified.
    pub any_unverified: bool,
    /// One of its alarms, of whatever colour or back to normal, waits for an acknowledgement.
    pub any_unseen: bool,
    /// Process alarms that hold and are hidden: shelved, suppressed, out of service.
    pub hidden: u32,
    /// Alarms whose condition went and that still wait for a person.
    pub waiting: u32,
    /// No sensor has a fresh and good sample, and no alarm holds: grey 无数据.
    pub no_data: bool,
    /// What ails its sensors, in words.
    pub trouble: Vec<String>,
    /// A higher colour that several hazards together speak for; a person decides.
    pub proposal: Option<Proposal>,
}

impl State {
    /// 0 for no colour, 1 for blue to 4 for red: the number in a time series.
    pub fn ordinal(&self) -> u8 {
        self.colour.map_or(0, Severity::ordinal)
    }

    /// The word for a map: `red` to `blue`, `none`, `no-data`.
    pub fn word(&self) -> &'static str {
        match self.colour {
            Some(colour) => colour.colour().1,
            None if self.no_data => "no-data",
            None => "none",
        }
    }
}

/// The states of all points, in their order.
pub fn states<'a>(
    stands: impl IntoIterator<Item = (&'a RiskPoint, &'a Standing)>,
    alarms: impl IntoIterator<Item = &'a Alarm>,
    joint: &Joint,
) -> Vec<State> {
    let mut by_device: BTreeMap<&str, Vec<&Alarm>> = BTreeMap::new();
    let mut by_code: BTreeMap<&str, Vec<&Alarm>> = BTreeMap::new();
    for alarm in alarms.into_iter().filter(|alarm| !alarm.marks.drill) {
        by_device.entry(device(alarm)).or_default().push(alarm);
        if let Some(code) = &alarm.risk_point {
            by_code.entry(code).or_default().push(alarm);
        }
    }
    let mut states = Vec::new();
    let mut heats = Vec::new();
    for (point, standing) in stands {
        let own = by_code.get(point.code.as_str()).into_iter().flatten();
        let shared = standing.sensors.iter().filter(|sensor| sensor.rung.is_some());
        let shared = shared.filter_map(|sensor| by_device.get(sensor.name.as_str())).flatten();
        let mut ids = BTreeSet::new();
        let found: Vec<&Alarm> =
            own.chain(shared).copied().filter(|alarm| ids.insert(alarm.id.as_str())).collect();
        let speaks = |alarm: &&&Alarm| {
            alarm.kind == Kind::Process && alarm.state.is_active() && alarm.hidden().is_none()
        };
        let speaking = found.iter().filter(speaks).map(|alarm| Heat::of(states.len(), point, alarm));
        heats.extend(speaking);
        let mut state = state(point, standing, &found);
        if !point.joint.is_empty() {
            let here: Vec<&Heat> = heats.iter().filter(|heat| heat.index == states.len()).collect();
            joint::propose(point, &here, &mut state.proposal);
        }
        states.push(state);
    }
    for (index, proposal) in joint::proposals(&heats, joint) {
        if let Some(state) = states.get_mut(index) {
            let own = state.proposal.take();
            state.proposal = Some(proposal.with(own));
        }
    }
    states
}

/// The name of the device that an alarm's point belongs to.
fn device(alarm: &Alarm) -> &str {
    alarm.point.rsplit_once('.').map_or(alarm.point.as_str(), |(device, _)| device)
}

fn state(point: &RiskPoint, standing: &Standing, alarms: &[&Alarm]) -> State {
    let process = || alarms.iter().filter(|alarm| alarm.kind == Kind::Process);
    let (hidden, seen): (Vec<&Alarm>, Vec<&Alarm>) =
        process().filter(|alarm| alarm.state.is_active()).partition(|alarm| alarm.hidden().is_some());
    let colour = seen.iter().map(|alarm| alarm.severity).max();
    let leading: Vec<&&Alarm> = seen.iter().filter(|alarm| Some(alarm.severity) == colour).collect();
    let speaking: BTreeSet<&str> =
        standing.sensors.iter().filter(|sensor| speaks(sensor)).map(|sensor| sensor.name.as_str()).collect();
    let known = |name: &str| standing.sensors.iter().any(|sensor| sensor.name == name);
    let unseen = |alarm: &Alarm| {
        use Base::{ActiveUnacknowledged, LatchedUnacknowledged, ReturnedUnacknowledged};
        matches!(alarm.state, ActiveUnacknowledged | ReturnedUnacknowledged | LatchedUnacknowledged)
    };
    let believed =
        |alarm: &Alarm| !alarm.unverified && (speaking.contains(device(alarm)) || !known(device(alarm)));
    let voting: BTreeSet<&str> = leading
        .iter()
        .filter(|alarm| believed(alarm))
        .map(|alarm| device(alarm))
        .filter(|device| speaking.contains(device))
        .collect();
    let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    State {
        code: point.code.clone(),
        colour,
        since: leading.iter().map(|alarm| alarm.since).min(),
        rules: leading.iter().map(|alarm| alarm.rule.clone()).collect(),
        votes: (count(voting.len()), count(speaking.len())),
        unverified: colour.is_some() && !leading.iter().any(|alarm| believed(alarm)),
        unseen: leading.iter().any(|alarm| unseen(alarm)),
        any_unverified: seen.iter().any(|alarm| !believed(alarm)),
        any_unseen: process().any(|alarm| unseen(alarm) && alarm.hidden().is_none()),
        hidden: count(hidden.len()),
        waiting: count(process().filter(|alarm| !alarm.state.is_active()).count()),
        no_data: colour.is_none() && speaking.is_empty(),
        trouble: trouble(standing, alarms),
        proposal: None,
    }
}

/// Its newest sample is fresh and good, however few of the day's were.
fn speaks(sensor: &SensorStanding) -> bool {
    let wrong = |gap: &Gap| gap.missed == Rung::Valid && gap.since.is_some();
    sensor.rung >= Some(Rung::Fresh) && !sensor.gap.as_ref().is_some_and(wrong)
}

/// What ails the sensors: what keeps them from being valid, and the alarms about themselves that say more.
fn trouble(standing: &Standing, alarms: &[&Alarm]) -> Vec<String> {
    let ails = |missed: Rung| (Rung::Online..=Rung::Valid).contains(&missed);
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for sensor in standing.sensors.iter().filter(|sensor| !sensor.unknown) {
        if let Some(gap) = sensor.gap.as_ref().filter(|gap| ails(gap.missed)) {
            told.insert(sensor.name.as_str());
            found.push(format!("{}: {}", sensor.name, gap.why));
        }
    }
    let own = |alarm: &&&Alarm| {
        let device = device(alarm);
        let carrier = device.strip_prefix(CLASS).is_some_and(|rest| rest.starts_with('-'));
        alarm.kind == Kind::Sensor && alarm.state.is_active() && !carrier && !told.contains(device)
    };
    found.extend(alarms.iter().filter(own).map(|alarm| format!("{}: {}", device(alarm), alarm.rule)));
    found
}
