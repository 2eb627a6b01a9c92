//! Risk points: places the district counts, one code each (一点一码), and which of them are watched.

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
