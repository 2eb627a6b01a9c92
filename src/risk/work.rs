//! Work items: what somebody has to do by a date, so that nothing falls off the ladder unseen. They open and close by themselves.
//!
//! In: sensors, risk points, maintenance, the last proof, the time. Out: [`Work`], the most urgent first.
//! Invariant: pure: an item is there exactly while its reason is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::risk::{RiskPoint, Sensor, Windows};

/// A calibration or an inspection is announced so long before it is due.
const SOON: Duration = Duration::from_secs(30 * 86_400);
/// A test of the way of notices is announced so long before the last one is too old.
const TEST_SOON: Duration = Duration::from_secs(14 * 86_400);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Prove that notices get out: `lifeline alarms test`.
    Test,
    /// Have a sensor calibrated.
    Calibrate,
    /// Have a risk point inspected (检验).
    Inspect,
    /// End the maintenance of a sensor.
    Maintain,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Work {
    /// The date has passed.
    pub overdue: bool,
    /// By when; `None`: at once.
    pub due: Option<Timestamp>,
    /// What.
    pub task: Task,
    /// The sensor or the risk point; empty for the gateway.
    pub of: String,
    /// In words.
    pub text: String,
}

/// All items at `now`.
pub fn work<'a>(
    sensors: impl Iterator<Item = &'a Sensor>,
    points: impl Iterator<Item = &'a RiskPoint>,
    maintenance: &BTreeMap<String, (String, Timestamp)>,
    (proved, windows): (Option<Timestamp>, &Windows),
    now: Timestamp,
) -> Vec<Work> {
    let mut found = Vec::new();
    let mut by_date = |task, of: &str, due: Option<Timestamp>, soon: Duration, text: String| {
        if due.is_none_or(|due| due.minus(soon) <= now) {
            let overdue = due.is_none_or(|due| due <= now);
            found.push(Work { overdue, due, task, of: of.to_owned(), text });
        }
    };
    for sensor in sensors.filter(|sensor| sensor.span.holds(now)) {
        if let Some(due) = sensor.calibration_due {
            by_date(Task::Calibrate, &sensor.name, Some(due), SOON, format!("calibrate {}", sensor.name));
        }
    }
    let mut any = false;
    for point in points.filter(|point| point.span.holds(now)) {
        any = true;
        if let Some(due) = point.inspection_due {
            by_date(Task::Inspect, &point.code, Some(due), SOON, format!("have {} inspected", point.code));
        }
    }
    for (sensor, (why, until)) in maintenance {
        by_date(Task::Maintain, sensor, Some(*until), Duration::MAX, format!("in maintenance, {why}"));
    }
    if any {
        let due = proved.map(|proved| proved.plus(windows.proof));
        by_date(
            Task::Test,
            "",
            due,
            TEST_SOON,
            "prove that notices get out: lifeline alarms test".to_owned(),
        );
    }
    // A sensor at several points is calibrated once. What is overdue comes first, then by date.
    found.sort_by(|a, b| b.overdue.cmp(&a.overdue).then_with(|| a.cmp(b)));
    found.dedup();
    found
}
