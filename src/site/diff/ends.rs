//! What documents end that are taken now: open alarms of rules that are gone or that ask something else, and what persons laid over rules; and what
//! becomes of windows.
//!
//! In: the difference between two sites, and what is open. Out: the same difference, in which the items of those rules and devices say it.
//! Invariant: of a changed rule only what the next readings do for certain is told: the present value is back over all levels of a plain threshold, or of
//! a measure that is made as before.

use std::collections::BTreeMap;

use crate::alarm::condition::level::Threshold;
use crate::alarm::condition::measure::{Measure, Measured};
use crate::alarm::overlay::maintained;
use crate::alarm::tell::OverlayView;
use crate::alarm::{Condition, Rule, Severity};
use crate::site::Site;
use crate::site::diff::{Diff, Item, Sign, windows};

/// What is open of a rule.
#[derive(Clone, Debug, Default)]
pub struct Open {
    /// Its alarm.
    pub alarm: Option<OpenAlarm>,
    /// What lies over it.
    pub overlay: OverlayView,
}

/// An alarm that is not closed.
#[derive(Clone, Copy, Debug)]
pub struct OpenAlarm {
    /// What people see.
    pub severity: Severity,
    /// Nobody has acknowledged it.
    pub unseen: bool,
    /// Its condition holds.
    pub active: bool,
    /// The good reading of its point, in the canonical unit.
    pub now: Option<f64>,
    /// What the rule itself made last of its readings, in the unit of the alarm, where that may clear.
    pub judged: Option<f64>,
}

/// How it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// `ends`: the documents are taken.
    Taken,
    /// `would end`: they are only looked at.
    Asked,
}

impl Voice {
    pub(crate) const fn fills(self) -> &'static str {
        if matches!(self, Self::Taken) { "fills" } else { "would fill" }
    }

    pub(crate) const fn begins(self) -> &'static str {
        if matches!(self, Self::Taken) { "begins" } else { "would begin" }
    }

    const fn ends(self) -> &'static str {
        if matches!(self, Self::Taken) { "ends" } else { "would end" }
    }

    const fn clears(self) -> &'static str {
        if matches!(self, Self::Taken) { "clears" } else { "would clear" }
    }
}

/// Says of each rule in `found` what ends with its change; `open` knows what is open of a rule.
pub fn tell(found: &mut Diff, (old, new): (&Site, &Site), open: impl Fn(&str) -> Open, voice: Voice) {
    let rules: BTreeMap<&str, &Rule> = new.rules.iter().map(|rule| (rule.name.as_str(), rule)).collect();
    let items = found.items.iter().enumerate().filter(|(_, item)| item.kind == "rule");
    let items: BTreeMap<String, usize> = items.map(|(place, item)| (item.name.clone(), place)).collect();
    for was in &old.rules {
        let Some(is) = rules.get(was.name.as_str()) else {
            gone(found, (old, was), &open(&was.name), voice);
            continue;
        };
        let item = items.get(&was.name).and_then(|place| found.items.get_mut(*place));
        if let Some(item) = item.filter(|item| item.sign == Sign::Changed)
            && let Some(alarm) = open(&was.name).alarm
        {
            item.what.extend(changed((old, was), (new, is), alarm, voice));
        }
    }
    windows::tell(found, (old, new), voice);
}

/// A rule that is gone has an item of its own, or goes with its device.
fn gone(found: &mut Diff, (old, rule): (&Site, &Rule), open: &Open, voice: Voice) {
    let mut things: Vec<String> = open.alarm.iter().map(|alarm| format!("its {}", told(*alarm))).collect();
    let over = &open.overlay;
    things.extend(over.shelf.iter().map(|_| "its shelf".to_owned()));
    for permit in [&over.permit, &over.planned].into_iter().flatten() {
        things.push(match maintained(&permit.permit) {
            Some(sensor) => format!("its part in the maintenance of {sensor}"),
            None => format!("its permit {}", permit.permit),
        });
    }
    if things.is_empty() {
        return;
    }
    let removed = |item: &&mut Item, kind: &str, name: &str| {
        item.kind == kind && item.sign == Sign::Removed && item.name == name
    };
    let device = old.catalog.point(rule.point).and_then(|point| old.catalog.device(point.device));
    if let Some(item) = found.items.iter_mut().find(|item| removed(item, "rule", &rule.name)) {
        item.what.push(format!("{} {}", voice.ends(), things.join(", ")));
    } else if let Some(device) = device
        && let Some(item) = found.items.iter_mut().find(|item| removed(item, "device", &device.name))
    {
        item.what.push(format!("{} {} of {}", voice.ends(), things.join(", "), rule.name));
    }
}

fn changed(
    (old, was): (&Site, &Rule),
    (new, is): (&Site, &Rule),
    alarm: OpenAlarm,
    voice: Voice,
) -> Option<String> {
    let name = |site: &Site, rule: &Rule| site.catalog.point(rule.point).map(|point| point.name.clone());
    let alarm_is = told(alarm);
    if name(old, was) != name(new, is) {
        return Some(format!("{} its {alarm_is}, for it looks at another point", voice.ends()));
    }
    let (gauge, levels) = match &is.condition {
        Condition::Threshold { direction, levels, deadband, max_gap } => {
            (Threshold::new(*direction, levels, *deadband, *max_gap), levels)
        }
        Condition::Measured { measured: Measured { direction, levels, deadband, max_gap, .. }, .. } => {
            (Threshold::new(*direction, levels, *deadband, *max_gap), levels)
        }
        Condition::Stale { .. } => return None,
    };
    let (value, at) = present((old, was), (new, is), alarm)?;
    if !alarm.active || !gauge.is_over(value) {
        return None;
    }
    let delay =
        if levels.iter().any(|level| !level.off_delay.is_zero()) { " after its off_delay" } else { "" };
    Some(format!("{} its {alarm_is}{delay}, at {}", voice.clears(), at.trim_end()))
}

/// The number that the levels of the changed rule meet next, and how it is written: what the reading is, or what the same measure made of its readings.
fn present((old, was): (&Site, &Rule), (new, is): (&Site, &Rule), alarm: OpenAlarm) -> Option<(f64, String)> {
    match (&was.condition, &is.condition) {
        (_, Condition::Threshold { .. }) => {
            let value = alarm.now.filter(|_| was.is_of_readings())?;
            let point = new.catalog.point(is.point)?;
            let (unit, digits) = (point.unit.map(|unit| unit.name()), usize::from(point.decimals));
            Some((value, format!("{value:.digits$} {}", unit.unwrap_or_default())))
        }
        (Condition::Measured { measured: one, .. }, Condition::Measured { measured: other, .. }) => {
            let measure = &one.measure;
            // An answer is no number, and the levels of votes are those of each sensor.
            let compares =
                !measure.is_reading() && !measure.is_yes_or_no() && !matches!(measure, Measure::Votes { .. });
            let value = alarm.judged.filter(|_| compares && windows::same((old, was), (new, is)))?;
            let brief: f64 = format!("{value:.3e}").parse().unwrap_or(value);
            Some((value, format!("{brief} {}", other.unit.as_deref().unwrap_or_default())))
        }
        _ => None,
    }
}

/// `open red alarm (not acknowledged)`.
fn told(alarm: OpenAlarm) -> String {
    let seen = if alarm.unseen { "not acknowledged" } else { "acknowledged" };
    format!("open {} alarm ({seen})", format!("{:?}", alarm.severity).to_lowercase())
}
