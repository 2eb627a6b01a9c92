//! Risk points: places the district counts, one code each (一点一码), and which of them are really watched.
//!
//! In: risk points and sensors from the site's documents, what their polls came to. Out: [`ladder::Standing`]s, [`coverage::Coverage`], groups.
//! Invariant: a code is opaque text and the only key; counts are of codes, never of sensors; every span of time is half-open.
//! Source: DESIGN section 8 (coverage), district rules for 高风险点感知设备.

pub mod code;
pub mod coverage;
pub mod datum;
pub mod figures;
pub mod group;
pub mod indicators;
pub mod joint;
pub mod ladder;
pub mod month;
pub mod registry;
pub mod seen;
pub mod share;
pub mod state;
pub mod work;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::Severity;
use crate::clock::Timestamp;

/// From one moment to another, the second one outside; an end that is left out is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first moment inside.
    pub from: Option<Timestamp>,
    /// The first moment after it.
    pub until: Option<Timestamp>,
}

impl Span {
    /// Whether `at` is inside.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Whether no moment is inside.
    pub fn is_empty(&self) -> bool {
        self.from.zip(self.until).is_some_and(|(from, until)| until <= from)
    }
}

/// Sensors that a risk point needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Sensor class, `gas-pressure`.
    pub role: String,
    /// Classes that serve as well.
    pub or: Vec<String>,
    /// How many at least.
    pub min: u32,
    /// When it is needed.
    pub span: Span,
}

impl Need {
    /// Whether a sensor of this class serves it.
    pub fn takes(&self, role: &str) -> bool {
        self.role == role || self.or.iter().any(|other| other == role)
    }
}

/// What a risk point is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// 隐患点.
    #[default]
    Point,
    /// 风险区.
    Zone,
    /// A lift, a regulator, a piece of pipe.
    Asset,
}

/// Degrees, and the datum that they are in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Degrees east.
    pub lon: f64,
    /// Degrees north.
    pub lat: f64,
    /// CGCS2000, WGS84 or GCJ-02: they differ by up to some hundred metres.
    pub datum: String,
}

/// What a digital twin calls the same thing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// Its id there.
    pub id: String,
    /// The piece of pipe, road or slope that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// How far along that, in m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chainage_m: Option<f64>,
}

/// How a plate with the code is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlateState {
    /// There and readable.
    #[default]
    Ok,
    /// Not readable.
    Damaged,
    /// Not there.
    Missing,
}

/// A plate with the code at the place (a slope has two).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plate {
    /// Where it stands, for people.
    pub place: String,
    /// Its state.
    pub state: PlateState,
    /// When a person last saw it.
    pub seen: Option<Timestamp>,
}

/// A place the district counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiskPoint {
    /// 一点一码, `500108-GA-0031-A`.
    pub code: String,
    /// Name for people.
    pub name: Option<String>,
    /// Hazard class: gas, waterlogging, landslide, elevator.
    pub class: String,
    /// Point, zone or asset.
    pub kind: Kind,
    /// 镇街.
    pub town: String,
    /// Supervising body.
    pub supervisor: String,
    /// 1..=4, 4 the highest.
    pub grade: u8,
    /// Where.
    pub place: Option<Place>,
    /// How long nothing valid may come from it before people are told.
    pub blind_after: Duration,
    /// Required sensors; none: nobody said what watches it.
    pub needs: Vec<Need>,
    /// When the district counts it.
    pub span: Span,
    /// Plates with its code.
    pub plates: Vec<Plate>,
    /// End of the statutory inspection's validity (检验).
    pub inspection_due: Option<Timestamp>,
    /// The codes that it took over from, after a split or a merger.
    pub predecessors: Vec<String>,
    /// What a digital twin calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<Asset>,
    /// What its sensors say together (联合研判), beside what holds for all places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<Together>,
}

/// Alarms of several sensor classes at one place that together are more than each alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    /// Sensor classes; of each an alarm must hold.
    pub of: Vec<String>,
    /// The least severity of each of these alarms.
    pub from: Severity,
    /// The severity that is proposed then; a person decides.
    pub propose: Severity,
}

impl RiskPoint {
    /// The needs at `at`.
    pub fn needs_at(&self, at: Timestamp) -> impl Iterator<Item = &Need> {
        self.needs.iter().filter(move |need| need.span.holds(at))
    }
}

/// How long nothing valid may come from a point before people are told: the higher the grade, the shorter.
///
/// A default of ours (the district's plan gives no figure): 30 minutes for grade 4, then 1, 4 and 24 hours.
pub const fn blind_after(grade: u8) -> Duration {
    Duration::from_secs(match grade {
        4.. => 1800,
        3 => 3600,
        2 => 4 * 3600,
        _ => 24 * 3600,
    })
}

/// A sensor at a risk point: one device, bound for a span of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensor {
    /// The device's name.
    pub name: String,
    /// Its class.
    pub role: String,
    /// Code of the risk point.
    pub code: String,
    /// When it stands there.
    pub span: Span,
    /// Time between two samples.
    pub every: Duration,
    /// A newest sample older than this is not fresh.
    pub stale_after: Duration,
    /// End of the calibration's validity; `None`: none is required.
    pub calibration_due: Option<Timestamp>,
    /// It has a way of its own to say that it is there (a DTU's session), also when its sensor is silent.
    pub has_session: bool,
}

/// How long each rung may look back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// Any exchange within this time is online; never less than twice the sensor's period.
    pub online: Duration,
    /// Percent of a day's samples that must be good.
    pub good_percent: u32,
    /// A proof that notices reach people is good for this long.
    pub proof: Duration,
}

impl Default for Windows {
    fn default() -> Self {
        Self { online: Duration::from_secs(900), good_percent: 90, proof: Duration::from_secs(90 * 86_400) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_before_its_end() {
        let at = Timestamp::from_millis;
        let span = Span { from: Some(at(10)), until: Some(at(20)) };
        assert_eq!([9, 10, 19, 20].map(|ms| span.holds(at(ms))), [false, true, true, false]);
        assert!(Span::default().holds(at(0)) && !Span::default().is_empty());
        assert!(Span { from: Some(at(10)), until: Some(at(10)) }.is_empty());
    }
}
