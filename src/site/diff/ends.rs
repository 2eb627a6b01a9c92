//! What documents end that are taken now: open alarms of rules that are gone or that ask something else, and what persons laid over rules.
//!
//! In: the difference between two sites, and what is open. Out: the same difference, in which the items of those rules and devices say it.
//! Invariant: of a changed rule only what the next readings do for certain is told: a plain threshold that the present value is back over.

use std::collections::BTreeMap;

use crate::alarm::condition::level::Threshold;
use crate::alarm::overlay::maintained;
use crate::alarm::tell::OverlayView;
use crate::alarm::{Condition, Rule, Severity};
use crate::site::Site;
use crate::site::diff::{Diff, Item, Sign};

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
    let Condition::Threshold { direction, levels, deadband, max_gap } = &is.condition else { return None };
    let gauge = Threshold::new(*direction, levels, *deadband, *max_gap);
    let value = alarm.now.filter(|value| alarm.active && was.is_of_readings() && gauge.is_over(*value))?;
    let point = new.catalog.point(is.point)?;
    let (unit, digits) = (point.unit.map(|unit| unit.name()), usize::from(point.decimals));
    let delay =
        if levels.iter().any(|level| !level.off_delay.is_zero()) { " after its off_delay" } else { "" };
    let at = format!("{value:.digits$} {}", unit.unwrap_or_default());
    Some(format!("{} its {alarm_is}{delay}, at {}", voice.clears(), at.trim_end()))
}

/// `open red alarm (not acknowledged)`.
fn told(alarm: OpenAlarm) -> String {
    let seen = if alarm.unseen { "not acknowledged" } else { "acknowledged" };
    format!("open {} alarm ({seen})", format!("{:?}", alarm.severity).to_lowercase())
}
