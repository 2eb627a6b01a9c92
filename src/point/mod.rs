//! Names of the things we measure, numbered by the compiled site.
//!
//! In: what `site` compiled. Out: a [`Catalog`] that every room below reads names, units and tags from.
//! Invariant: `catalog.points[i].id == PointId(i)` and the same for devices and lines; a catalog never changes, a reload
//! makes a new one with another `version`, and the journal keeps each version that its records refer to.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::unit::Unit;

/// The number of a point in its [`Catalog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PointId(pub u32);

/// The number of a device in its [`Catalog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId(pub u32);

/// The number of a line in its [`Catalog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineId(pub u32);

/// A measured thing, such as `regulator-3.pressure`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its number.
    pub id: PointId,
    /// The full name, `device.point`.
    pub name: String,
    /// The last part of the name.
    pub short: String,
    /// The device that it belongs to (for a derived point: the device its name starts with).
    pub device: DeviceId,
    /// The unit of its readings: the canonical unit of its quantity. `None` for a bare number or a state.
    pub unit: Option<Unit>,
    /// Digits after the point that the sensor resolves, for display.
    pub decimals: u8,
    /// Names of states by value, for a point that is a state (`[(0, "open"), (1, "closed")]`).
    pub states: Vec<(i64, String)>,
    /// What a time-series store gets beside the names, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Whether the name says that a reading is a total (`rain-total`), of whatever time.
pub fn is_total(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    ["total", "accum", "cumul", "leiji", "累计", "累积"].iter().any(|word| last.contains(word))
}

/// Whether the name says that a reading is a total that only grows; `rain-total-1h` and `rain-total-day` are of a time.
///
/// ```
/// use lifeline_gateway::point::is_running_total;
/// assert!(is_running_total("roof-1.rain-total") && !is_running_total("roof-1.rain-total-24h"));
/// ```
pub fn is_running_total(name: &str) -> bool {
    const SPANS: [&str; 5] = ["minute", "hour", "day", "week", "month"];
    let last = name.rsplit('.').next().unwrap_or(name);
    let of_a_time = |part: &str| {
        let number = part.trim_end_matches(['s', 'm', 'h', 'd']);
        let short = number != part && number.parse::<u32>().is_ok();
        short
            || part == "daily"
            || SPANS.iter().any(|span| part.trim_end_matches("ly").trim_end_matches('s') == *span)
    };
    is_total(last) && !last.split('-').any(of_a_time)
}

/// A field device, or the group of points that a derived point's name starts with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its number.
    pub id: DeviceId,
    /// The kebab-case name.
    pub name: String,
    /// The line that it hangs on; `None` for a device of derived points only.
    pub line: Option<LineId>,
    /// Sensor class in kebab-case, `gas-pressure`.
    pub class: String,
    /// Code of the risk point that it stands at.
    pub risk_point: Option<String>,
    /// Town of that risk point.
    pub town: Option<String>,
    /// What a time-series store gets beside the names, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A line by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its number.
    pub id: LineId,
    /// The kebab-case name.
    pub name: String,
}

/// All names of one version of the site's documents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// The gateway's name, in every topic and tag.
    pub site: String,
    /// Hash of the documents that this was compiled from (16 hexadecimal digits).
    pub version: String,
    /// Lines by number.
    pub lines: Vec<Line>,
    /// Devices by number.
    pub devices: Vec<Device>,
    /// Points by number.
    pub points: Vec<Point>,
}

/// Where the numbers of one catalog went in another: names are the identity, numbers are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renumbering {
    points: Vec<Option<PointId>>,
    devices: Vec<Option<DeviceId>>,
    lines: Vec<Option<LineId>>,
}

impl Renumbering {
    /// The number of the point of the same name; `None` when there is none.
    pub fn point(&self, id: PointId) -> Option<PointId> {
        self.points.get(id.0 as usize).copied().flatten()
    }

    /// The number of the device of the same name.
    pub fn device(&self, id: DeviceId) -> Option<DeviceId> {
        self.devices.get(id.0 as usize).copied().flatten()
    }

    /// The number of the line of the same name.
    pub fn line(&self, id: LineId) -> Option<LineId> {
        self.lines.get(id.0 as usize).copied().flatten()
    }
}

/// For each of `from` the number of the same name in `to`.
fn matched<'a, I: Copy>(
    from: impl Iterator<Item = &'a str>,
    to: impl Iterator<Item = (&'a str, I)>,
) -> Vec<Option<I>> {
    let numbers: HashMap<&str, I> = to.collect();
    from.map(|name| numbers.get(name).copied()).collect()
}

impl Catalog {
    /// Where the numbers of this catalog went in `to`.
    ///
    /// ```
    /// use lifeline_gateway::point::{Catalog, Line, LineId};
    /// let line = |id, name: &str| Line { id: LineId(id), name: name.to_owned() };
    /// let before = Catalog { lines: vec![line(0, "east"), line(1, "west")], ..Catalog::default() };
    /// let after = Catalog { lines: vec![line(0, "west")], ..Catalog::default() };
    /// let numbers = before.renumbered(&after);
    /// assert_eq!((numbers.line(LineId(0)), numbers.line(LineId(1))), (None, Some(LineId(0))));
    /// ```
    pub fn renumbered(&self, to: &Self) -> Renumbering {
        Renumbering {
            points: matched(
                self.points.iter().map(|point| point.name.as_str()),
                to.points.iter().map(|point| (point.name.as_str(), point.id)),
            ),
            devices: matched(
                self.devices.iter().map(|device| device.name.as_str()),
                to.devices.iter().map(|device| (device.name.as_str(), device.id)),
            ),
            lines: matched(
                self.lines.iter().map(|line| line.name.as_str()),
                to.lines.iter().map(|line| (line.name.as_str(), line.id)),
            ),
        }
    }

    /// The point of this number.
    pub fn point(&self, id: PointId) -> Option<&Point> {
        self.points.get(id.0 as usize)
    }

    /// The device of this number.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(id.0 as usize)
    }

    /// The point of this full name.
    pub fn find(&self, name: &str) -> Option<&Point> {
        self.points.iter().find(|point| point.name == name)
    }
}
