//! Risk points: places the district counts, one code each (一点一码), and which of them are watched.
//!
//! In: risk points from the site's documents, plain [`coverage::Facts`] of their sensors. Out: [`coverage::Coverage`].
//! Invariant: a code is opaque text and the only key; counts are of codes, never of sensors.
//! Source: DESIGN section 8 (coverage), district rules for 高风险点感知设备.

pub mod coverage;

use serde::{Deserialize, Serialize};

/// Sensors that a risk point needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Sensor class, `gas-pressure`.
    pub role: String,
    /// How many at least.
    pub min: u32,
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
    /// 镇街.
    pub town: String,
    /// Supervising body.
    pub supervisor: String,
    /// 1..=4, 4 the highest.
    pub grade: u8,
    /// Degrees and datum.
    pub place: Option<(f64, f64, String)>,
    /// Required sensors.
    pub needs: Vec<Need>,
}
