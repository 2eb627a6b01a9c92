//! The ladder of one sensor and of one risk point, with the weakest link: which rung is missed, since when, why, and what to do.
//!
//! In: sensors, what was [`Seen`] of them, who watches them, and the time. Out: [`Standing`].
//! Invariant: each rung holds only when all below it hold; a point is on a rung when each of its needs has enough sensors on it.
//! Source: installed > online > fresh > valid > calibrated > effective; windows are settings.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::risk::coverage::Rung;
use crate::risk::seen::Seen;
use crate::risk::{RiskPoint, Sensor, Windows};

/// Whether a person would hear of this sensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// A rule looks at it and is neither shelved nor out of service.
    pub ruled: bool,
    /// The rules that would, and why they don't.
    pub hidden: Vec<String>,
    /// When a notice was last proved to get out.
    pub proved: Option<Timestamp>,
    /// In maintenance: why, and until when.
    pub maintenance: Option<(String, Timestamp)>,
}

/// Why a sensor is not on a rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The lowest rung that it is not on.
    pub missed: Rung,
    /// Since when, as far as known.
    pub since: Option<Timestamp>,
    /// What is wrong.
    pub why: String,
    /// What to do.
    pub remedy: &'static str,
}

/// How one sensor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorStanding {
    /// The device's name.
    pub name: String,
    /// Its class.
    pub role: String,
    /// The highest rung that it is on.
    pub rung: Option<Rung>,
    /// Nothing was heard yet, and it is too early to say that this is a fault.
    pub unknown: bool,
    /// Why it is not on the next one; `None` at the top.
    pub gap: Option<Gap>,
    /// Good and expected samples of the last day.
    pub share: (u32, u32),
    /// Somebody works on it.
    pub maintenance: bool,
    /// Its newest sample is fresh and good, however many of the last day were not.
    pub sees: bool,
}

/// How a risk point stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its code.
    pub code: String,
    /// The highest rung that all needs are on.
    pub rung: Option<Rung>,
    /// It has no need: nobody said what watches it.
    pub unspecified: bool,
    /// Some of its sensors are not known of yet.
    pub unknown: bool,
    /// Nothing valid comes from any of its sensors now.
    pub blind: bool,
    /// Its sensors.
    pub sensors: Vec<SensorStanding>,
    /// Needs without enough sensors installed: `2 gas-concentration needed, 1 installed`.
    pub missing: Vec<String>,
}

impl Standing {
    /// The sensors that keep the point from its next rung, lowest first.
    pub fn weakest(&self) -> Vec<(&SensorStanding, &Gap)> {
        let next = Rung::ALL.into_iter().find(|rung| Some(*rung) > self.rung);
        let short = |sensor: &&SensorStanding| next.is_some_and(|next| sensor.rung < Some(next));
        let mut found: Vec<_> = self
            .sensors
            .iter()
            .filter(short)
            .filter_map(|sensor| sensor.gap.as_ref().map(|gap| (sensor, gap)))
            .collect();
        found.sort_by_key(|(sensor, _)| sensor.rung);
        found
    }
}

/// How a sensor stands at `now`; what it says of times is in `zone`.
pub fn sensor(
    sensor: &Sensor,
    seen: &Seen,
    guard: &Guard,
    windows: &Windows,
    (now, zone): (Timestamp, &Zone),
) -> SensorStanding {
    let share = seen.share.of_day(sensor.every, now);
    let mut gap = gap(sensor, seen, guard, windows, share, (now, zone));
    let rung = match &gap {
        None => Some(Rung::Effective),
        Some(gap) => Rung::ALL.into_iter().take_while(|rung| *rung < gap.missed).last(),
    };
    // A sensor that was never asked before gets the time of one fresh sample to show itself.
    let early = seen.since.is_none_or(|since| now.since(since) <= sensor.stale_after);
    let unknown = rung == Some(Rung::Installed) && seen.heard.is_none() && early;
    // That somebody works on it is known.
    if let Some(gap) = gap.as_mut().filter(|_| unknown && guard.maintenance.is_none()) {
        "unknown: nothing heard yet".clone_into(&mut gap.why);
        gap.remedy = "wait for its first samples";
    }
    let maintenance = guard.maintenance.is_some();
    let sees = gap
        .as_ref()
        .is_none_or(|gap| gap.missed > Rung::Valid || (gap.missed == Rung::Valid && seen.wrong.is_none()));
    SensorStanding {
        name: sensor.name.clone(),
        role: sensor.role.clone(),
        rung,
        unknown,
        gap,
        share,
        maintenance,
        sees,
    }
}

fn gap(
    sensor: &Sensor,
    seen: &Seen,
    guard: &Guard,
    windows: &Windows,
    share: (u32, u32),
    (now, zone): (Timestamp, &Zone),
) -> Option<Gap> {
    let miss = |missed, since, why: String, remedy| Some(Gap { missed, since, why, remedy });
    let wrong = || seen.wrong.as_ref().map_or("silent", |(why, _)| why.as_str());
    if !sensor.span.holds(now) {
        let since = sensor.span.until.filter(|until| *until <= now);
        return miss(Rung::Installed, since, "not installed".to_owned(), "install it, or correct its dates");
    }
    if let Some((why, until)) = &guard.maintenance {
        let why = format!("in maintenance until {}: {why}", zone.tell(*until));
        return miss(Rung::Online, None, why, "end the maintenance when the work is done");
    }
    let within = |at: Option<Timestamp>, span: Duration| at.is_some_and(|at| now.since(at) <= span);
    if !within(seen.heard, windows.online.max(sensor.every * 2)) {
        let why = format!("nothing heard ({})", wrong());
        return miss(Rung::Online, seen.heard.or(seen.since), why, "check power, line and address");
    }
    if !within(seen.sampled, sensor.stale_after) {
        let why = format!("no sample ({})", wrong());
        return miss(Rung::Fresh, seen.sampled.or(seen.since), why, "check the sensor and its wiring");
    }
    if let Some((why, since)) = &seen.wrong {
        return miss(Rung::Valid, Some(*since), why.clone(), "check the sensor and its wiring");
    }
    let (good, expected) = share;
    if u64::from(good) * 100 < u64::from(expected) * u64::from(windows.good_percent) {
        let why = format!("{good} of {expected} samples of the last day were good");
        return miss(Rung::Valid, None, why, "look for faults on its line");
    }
    if let Some(due) = sensor.calibration_due.filter(|due| *due <= now) {
        let days = now.since(due).as_secs() / 86_400 + 1;
        let why = format!("calibration overdue by {days} d");
        return miss(Rung::Calibrated, Some(due), why, "have it calibrated");
    }
    if !guard.ruled {
        let why = match guard.hidden.as_slice() {
            [] => "no rule looks at it".to_owned(),
            hidden => hidden.join(", "),
        };
        return miss(Rung::Effective, None, why, "write a rule, or bring it back");
    }
    match guard.proved {
        Some(proved) if now.since(proved) <= windows.proof => None,
        proved => {
            let why = "no notice was proved to reach a person".to_owned();
            miss(Rung::Effective, proved, why, "prove it by `lifeline alarms test`")
        }
    }
}

/// How a point stands, from its sensors.
pub fn point(point: &RiskPoint, sensors: Vec<SensorStanding>, now: Timestamp) -> Standing {
    let on = |need: &crate::risk::Need, rung: Option<Rung>| {
        sensors.iter().filter(|sensor| need.takes(&sensor.role) && sensor.rung >= rung).count()
    };
    let enough = |need: &crate::risk::Need, rung| {
        u32::try_from(on(need, Some(rung))).is_ok_and(|there| there >= need.min.max(1))
    };
    let needs: Vec<_> = point.needs_at(now).collect();
    let highest = |need: &&crate::risk::Need| Rung::ALL.into_iter().rev().find(|rung| enough(need, *rung));
    let rung = needs.iter().map(highest).min().flatten();
    let missing = needs.iter().filter(|need| !enough(need, Rung::Installed)).map(|need| {
        format!("{} {} needed, {} installed", need.min.max(1), need.role, on(need, Some(Rung::Installed)))
    });
    let missing = missing.collect();
    Standing {
        code: point.code.clone(),
        rung,
        unspecified: needs.is_empty(),
        unknown: sensors.iter().any(|sensor| sensor.unknown),
        // That somebody works on the last of its sensors is known, and is no surprise at night.
        blind: !sensors.iter().any(|sensor| sensor.sees || sensor.maintenance),
        missing,
        sensors,
    }
}
