//! What differs between two sites, by name: for a person before a reload, and for the gateway during one.
//!
//! In: the running site and another one. Out: [`Diff`], and whether a device or a line is as it was.
//! Invariant: pure; numbers of points, devices and lines don't matter; no difference is found exactly when nothing would run otherwise.

mod emptied;
pub mod ends;
mod rules;
mod windows;
mod written;

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::net::SocketAddr;

use crate::bus::{Address, LineSettings};
use crate::point::{Catalog, Device, DeviceId, LineId, Point, PointId};
use crate::profile::Profile;
use crate::site::diff::written::Written;
use crate::site::health::measures;
use crate::site::{DeviceSpec, LineSpec, Site};

pub use crate::site::diff::emptied::emptied;

/// What became of a thing. The signs are those of [`Display`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// `+`: it is new.
    Added,
    /// `~`: it is there as before, and differs.
    Changed,
    /// `-`: it is gone.
    Removed,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// `line`, `device`, `point`, `derived`, `rule`, `risk_point`, `sensor`, `sink` or `setting`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// New, other or gone.
    pub sign: Sign,
    /// What is other, `every 5s -> 10s`; empty when the sign says it all.
    pub what: Vec<String>,
}

/// All differences, and those that a running gateway cannot take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the order of kinds, then of names.
    pub items: Vec<Item>,
    /// Why only a restart can take the new documents; empty when a reload can.
    pub restart: Vec<String>,
}

impl Sign {
    /// `+`, `~` or `-`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "+",
            Self::Changed => "~",
            Self::Removed => "-",
        }
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.sign.name(), self.kind, self.name)?;
        if self.what.is_empty() { Ok(()) } else { write!(f, ": {}", self.what.join(", ")) }
    }
}

impl Diff {
    /// Whether nothing would run otherwise.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.restart.is_empty()
    }

    /// How many are new, other and gone: `1 added, 2 changed, 0 removed`.
    pub fn sums(&self) -> String {
        let count = |sign| self.items.iter().filter(|item| item.sign == sign).count();
        let (added, changed) = (count(Sign::Added), count(Sign::Changed));
        format!("{added} added, {changed} changed, {} removed", count(Sign::Removed))
    }
}

impl Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.iter().try_for_each(|item| writeln!(f, "{item}"))
    }
}

/// What is other in `new` than in `old`.
pub fn diff(old: &Site, new: &Site) -> Diff {
    let mut out = Diff::default();
    settings(old, new, &mut out);
    let of = |site: &Site| -> BTreeMap<String, LineSettings> {
        site.lines.iter().map(|line| (line.settings.name.clone(), line.settings.clone())).collect()
    };
    let (was, is) = (Written::of(old, "line"), Written::of(new, "line"));
    let line = |old: &LineSettings, new: &LineSettings| {
        line(old, new).map(|what| if what.is_empty() { was.differ(&is, &new.name) } else { what })
    };
    compare("line", &of(old), &of(new), line, &mut out.items);
    let sinks = |site: &Site| -> BTreeMap<String, crate::forward::Settings> {
        site.sinks.iter().map(|sink| (sink.name.clone(), sink.clone())).collect()
    };
    let (was, is) = (Written::of(old, "sink"), Written::of(new, "sink"));
    let sink = |old: &crate::forward::Settings, new: &crate::forward::Settings| {
        (old != new).then(|| was.differ(&is, &new.name))
    };
    compare("sink", &sinks(old), &sinks(new), sink, &mut out.items);
    devices(old, new, &mut out.items);
    rules::rules(old, new, &mut out.items);
    let risks = |site: &Site| -> BTreeMap<String, crate::risk::RiskPoint> {
        site.risk_points.iter().map(|point| (point.code.clone(), point.clone())).collect()
    };
    compare("risk_point", &risks(old), &risks(new), |a, b| (a != b).then(Vec::new), &mut out.items);
    let bound = |site: &Site| -> BTreeMap<String, crate::risk::Sensor> {
        let named =
            |sensor: &crate::risk::Sensor| (format!("{} at {}", sensor.name, sensor.code), sensor.clone());
        site.sensors.iter().map(named).collect()
    };
    compare("sensor", &bound(old), &bound(new), |a, b| (a.span != b.span).then(Vec::new), &mut out.items);
    out.items.sort();
    out
}

/// Whether the readings of a device mean what they meant: the same map, the same versions.
pub fn reads_the_same(old: &DeviceSpec, new: &DeviceSpec) -> bool {
    let shown = |points: &[Option<PointId>]| points.iter().map(Option::is_some).collect::<Vec<_>>();
    let Profile { class, fields, text, .. } = &*old.profile;
    *class == new.profile.class
        && *fields == new.profile.fields
        && *text == new.profile.text
        && old.firmware == new.firmware
        && shown(&old.points) == shown(&new.points)
}

/// Whether a device is polled as it was, whatever its numbers.
pub fn same_device(old: &DeviceSpec, new: &DeviceSpec) -> bool {
    reads_the_same(old, new) && device_keys(old, new).is_empty()
}

/// Whether the task of the line `name` can go on over its connection: all that the master was made of is as it was, and for one that dials in all who
/// dial in at the same port.
pub fn same_connection(old: &Site, new: &Site, name: &str) -> bool {
    let (Some(was), Some(is)) = (named(old, name), named(new, name)) else { return false };
    let door = |site: &Site, listen| -> Vec<LineSettings> {
        let lines = site.lines.iter().map(|line| &line.settings);
        let mut same: Vec<_> = lines.filter(|line| listens_at(line) == Some(listen)).cloned().collect();
        same.sort_by(|a, b| a.name.cmp(&b.name));
        same
    };
    was.settings == is.settings
        && listens_at(&is.settings).is_none_or(|listen| door(old, listen) == door(new, listen))
}

/// The numbers in `new` of a device of `old` and of its line, when it is polled there as before.
pub fn same_polled(old: &Site, new: &Site, device: DeviceId) -> Option<(DeviceId, LineId)> {
    let was = old.catalog.device(device)?;
    let is = new.catalog.devices.iter().find(|named| named.name == was.name)?;
    let line = |site: &Site, id: LineId| site.catalog.lines.get(id.0 as usize).map(|line| line.name.clone());
    let (from, to) = (line(old, was.line?)?, line(new, is.line?)?);
    let spec = |site: &Site, id: DeviceId| site.devices.iter().find(|spec| spec.id == id).cloned();
    let same = from == to && same_device(&spec(old, device)?, &spec(new, is.id)?);
    same.then_some((is.id, is.line?))
}

/// The line of this name.
pub fn named<'a>(site: &'a Site, name: &str) -> Option<&'a LineSpec> {
    site.lines.iter().find(|line| line.settings.name == name)
}

/// Where the DTU of a line dials in.
pub fn listens_at(line: &LineSettings) -> Option<SocketAddr> {
    if let Address::DialIn(dtu) = &line.address { Some(dtu.listen) } else { None }
}

/// For each point of `old` its number in `new`, when it is there and its readings mean what they meant.
pub fn kept_points(old: &Site, new: &Site) -> Vec<Option<PointId>> {
    let numbers = old.catalog.renumbered(&new.catalog);
    let same: BTreeMap<DeviceId, bool> = old
        .devices
        .iter()
        .map(|spec| {
            let is = numbers.device(spec.id).and_then(|id| new.devices.iter().find(|new| new.id == id));
            (spec.id, is.is_some_and(|is| reads_the_same(spec, is)))
        })
        .collect();
    let kept = |point: &Point| {
        let to = numbers.point(point.id)?;
        let unit = new.catalog.point(to).is_some_and(|new| new.unit == point.unit);
        (unit && same.get(&point.device).copied().unwrap_or(true)).then_some(to)
    };
    old.catalog.points.iter().map(kept).collect()
}

/// The same, without derived points that are made otherwise, or of what is not the same.
pub fn unmoved_points(old: &Site, new: &Site) -> Vec<Option<PointId>> {
    let mut kept = kept_points(old, new);
    let (was, is) = (formulas(old), formulas(new));
    let place = |point: PointId| usize::try_from(point.0).unwrap_or(usize::MAX);
    let other = |derived: &&crate::derive::Settings| {
        let name = old.catalog.point(derived.point).map(|point| &point.name);
        name.is_none_or(|name| was.get(name) != is.get(name))
    };
    for derived in old.derived.iter().filter(other) {
        if let Some(kept) = kept.get_mut(place(derived.point)) {
            *kept = None;
        }
    }
    // A derived point may be made of derived ones: what is not the same spreads until nothing changes.
    loop {
        let gone = |point: &PointId| kept.get(place(*point)).copied().flatten().is_none();
        let spoilt = old
            .derived
            .iter()
            .find(|derived| !gone(&derived.point) && derived.inputs.iter().any(|(_, input)| gone(input)));
        match spoilt.and_then(|derived| kept.get_mut(place(derived.point))) {
            Some(kept) => *kept = None,
            None => return kept,
        }
    }
}

/// What each derived point is made by, by its name.
fn formulas(site: &Site) -> BTreeMap<String, String> {
    let name = |id: PointId| site.catalog.point(id).map(|point| point.name.clone()).unwrap_or_default();
    let text = |derived: &crate::derive::Settings| {
        let inputs: Vec<_> = derived.inputs.iter().map(|(key, id)| (key, name(*id))).collect();
        (
            name(derived.point),
            format!("{} of {inputs:?} {:?} times {}", derived.value, derived.scales, derived.factor),
        )
    };
    site.derived.iter().map(text).collect()
}

fn compare<T>(
    kind: &'static str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    differ: impl Fn(&T, &T) -> Option<Vec<String>>,
    out: &mut Vec<Item>,
) {
    let item = |name: &String, sign, what| Item { kind, name: name.clone(), sign, what };
    for (name, was) in old {
        match new.get(name) {
            None => out.push(item(name, Sign::Removed, Vec::new())),
            Some(is) => out.extend(differ(was, is).map(|what| item(name, Sign::Changed, what))),
        }
    }
    let fresh = new.keys().filter(|name| !old.contains_key(*name));
    out.extend(fresh.map(|name| item(name, Sign::Added, Vec::new())));
}

/// `key old -> new` when they differ.
fn key<T: PartialEq + Debug>(what: &mut Vec<String>, key: &str, old: &T, new: &T) {
    if old != new {
        // A duration of nothing is `0ns` otherwise.
        let shown = |value: &T| {
            Some(format!("{value:?}")).filter(|text| text != "0ns").unwrap_or_else(|| "0s".to_owned())
        };
        what.push(format!("{key} {} -> {}", shown(old), shown(new)));
    }
}

fn name<T: PartialEq + Display>(what: &mut Vec<String>, key: &str, old: Option<T>, new: Option<T>) {
    let shown = |value: &Option<T>| value.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    if old != new {
        what.push(format!("{key} {} -> {}", shown(&old), shown(&new)));
    }
}

fn settings(old: &Site, new: &Site, out: &mut Diff) {
    let mut fixed = |key: &str, old: &str, new: &str| {
        if old != new {
            out.restart.push(format!("{key} {old} -> {new}"));
        }
    };
    fixed("site.name", &old.catalog.site, &new.catalog.site);
    let path = |site: &Site| site.journal.path.display().to_string();
    fixed("journal.path", &path(old), &path(new));
    fixed("clock", &format!("{:?}", old.trust), &format!("{:?}", new.trust));
    fixed("console.listen", &old.listen.to_string(), &new.listen.to_string());
    if emptied(old, new).is_some() {
        out.restart.push(format!("devices {} -> none", old.devices.len()));
    }
    let mut setting = |name: &str, what: Vec<String>| {
        if !what.is_empty() {
            out.items.push(Item { kind: "setting", name: name.to_owned(), sign: Sign::Changed, what });
        }
    };
    let mut what = Vec::new();
    key(&mut what, "commit_every", &old.journal.commit_every, &new.journal.commit_every);
    key(&mut what, "keep", &old.journal.keep, &new.journal.keep);
    key(&mut what, "max_size", &old.journal.max_bytes, &new.journal.max_bytes);
    setting("journal", what);
    let mut what = Vec::new();
    name(&mut what, "timezone", Some(&old.timezone), Some(&new.timezone));
    key(&mut what, "tell_every", &old.tell_every, &new.tell_every);
    setting("site", what);
}

/// What is other in a line; nothing when it is something that only the documents name.
fn line(old: &LineSettings, new: &LineSettings) -> Option<Vec<String>> {
    let mut what = Vec::new();
    name(&mut what, "address", Some(old.address.place()), Some(new.address.place()));
    key(&mut what, "timeout", &old.timeout, &new.timeout);
    key(&mut what, "quiet", &old.quiet, &new.quiet);
    key(&mut what, "late_answers", &old.late_answers, &new.late_answers);
    (old != new).then_some(what)
}

/// A device of the documents with all that is written of it.
#[derive(Clone, Copy)]
struct Whole<'a> {
    catalog: &'a Catalog,
    named: &'a Device,
    spec: Option<&'a DeviceSpec>,
}

fn wholes(site: &Site) -> BTreeMap<String, Whole<'_>> {
    let specs: BTreeMap<_, &DeviceSpec> = site.devices.iter().map(|spec| (spec.id, spec)).collect();
    // What tells of the gateway and of its work comes and goes with what it tells of.
    let written = |named: &&Device| {
        named.line.is_some() || (named.name != "gateway" && measures(&named.class).is_empty())
    };
    let whole = |named: &Device| (named.id, named.name.clone());
    let names: Vec<_> = site.catalog.devices.iter().filter(written).map(whole).collect();
    let found = names.into_iter().filter_map(|(id, name)| {
        let named = site.catalog.device(id)?;
        Some((name, Whole { catalog: &site.catalog, named, spec: specs.get(&id).copied() }))
    });
    found.collect()
}

fn devices(old: &Site, new: &Site, out: &mut Vec<Item>) {
    let (was, is) = (wholes(old), wholes(new));
    compare("device", &was, &is, device, out);
    // Points of devices that come or go whole are not told one by one.
    let both = |name: &str| was.contains_key(name) && is.contains_key(name);
    let points = |site: &Site, devices: &BTreeMap<String, Whole<'_>>| -> BTreeMap<String, Point> {
        let numbers: BTreeMap<_, bool> =
            devices.iter().map(|(name, whole)| (whole.named.id, both(name))).collect();
        let kept = |point: &&Point| numbers.get(&point.device).copied().unwrap_or(false);
        site.catalog.points.iter().filter(kept).map(|point| (point.name.clone(), point.clone())).collect()
    };
    compare("point", &points(old, &was), &points(new, &is), point, out);
    let differ = |old: &String, new: &String| (old != new).then(|| vec!["formula".to_owned()]);
    let mut made = Vec::new();
    compare("derived", &formulas(old), &formulas(new), differ, &mut made);
    out.extend(made.into_iter().filter(|item| item.sign == Sign::Changed));
}

fn device(old: &Whole<'_>, new: &Whole<'_>) -> Option<Vec<String>> {
    let mut what = Vec::new();
    let line = |whole: &Whole<'_>| {
        let id = whole.named.line?;
        whole.catalog.lines.get(id.0 as usize).map(|line| line.name.clone())
    };
    name(&mut what, "line", line(old), line(new));
    name(&mut what, "risk_point", old.named.risk_point.as_ref(), new.named.risk_point.as_ref());
    name(&mut what, "town", old.named.town.as_ref(), new.named.town.as_ref());
    if let (Some(was), Some(is)) = (old.spec, new.spec) {
        what.extend(device_keys(was, is));
        name(&mut what, "profile", Some(&was.profile.name), Some(&is.profile.name));
        if was.profile.name == is.profile.name && !reads_the_same(was, is) {
            what.push(format!("profile {} is another one", is.profile.name));
        }
    }
    (!what.is_empty()).then_some(what)
}

/// What is other in how a device is polled; what its registers mean is not looked at.
fn device_keys(old: &DeviceSpec, new: &DeviceSpec) -> Vec<String> {
    let DeviceSpec {
        id: _,
        slave,
        profile,
        points: _,
        every,
        every_in_alarm,
        timeout,
        calibration_due,
        firmware: _,
        triggers,
        withheld,
    } = old;
    let mut what = Vec::new();
    key(&mut what, "slave", &slave.0, &new.slave.0);
    key(&mut what, "every", every, &new.every);
    key(&mut what, "every_in_alarm", every_in_alarm, &new.every_in_alarm);
    key(&mut what, "timeout", timeout, &new.timeout);
    let day = |due: &Option<crate::clock::Timestamp>| {
        due.map(|due| due.to_string().get(..10).unwrap_or_default().to_owned())
    };
    name(&mut what, "calibration_due", day(calibration_due), day(&new.calibration_due));
    if *triggers != new.triggers || *withheld != new.withheld {
        what.push("allow".to_owned());
    }
    if profile.limits != new.profile.limits {
        what.push("limits".to_owned());
    }
    what
}

fn point(old: &Point, new: &Point) -> Option<Vec<String>> {
    let mut what = Vec::new();
    name(&mut what, "unit", old.unit.map(|unit| unit.name()), new.unit.map(|unit| unit.name()));
    key(&mut what, "decimals", &old.decimals, &new.decimals);
    if old.states != new.states {
        what.push("states".to_owned());
    }
    (!what.is_empty()).then_some(what)
}
