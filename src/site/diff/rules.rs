//! What differs between two sites' rules, by name.
//!
//! In: the running site and another one. Out: one item for each rule that is new, gone or asks, tells or hides otherwise.
//! Invariant: numbers of points and rules don't matter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::alarm::{Condition, Rule, RuleId, Severity};
use crate::site::Site;
use crate::site::compile::implicit::IMPLICIT;
use crate::site::diff::written::Written;
use crate::site::diff::{Item, Sign, compare, key, name};
use crate::unit::rounded;

pub(crate) fn rules(old: &Site, new: &Site, out: &mut Vec<Item>) {
    let of = |site: &Site| -> BTreeMap<String, Named> {
        site.rules.iter().map(|rule| (rule.name.clone(), Named::new(site, rule))).collect()
    };
    let (was, is) = (of(old), of(new));
    let mut found = Vec::new();
    let (text_was, text_is) = (Written::of(old, "rule"), Written::of(new, "rule"));
    let rule = |old: &Named, new: &Named| {
        let mut what = rule(old, new)?;
        let written = text_was.differ(&text_is, &new.rule.name);
        if what.is_empty() {
            what = written;
        } else if asks_otherwise(&old.rule, &new.rule) {
            // A measure has too many keys to be told but in the words of the documents.
            let told = |key: &str| what.iter().any(|what| what.split(' ').next() == Some(key));
            let more = written
                .into_iter()
                .filter(|line| line != "settings" && line.split(' ').next().is_some_and(|key| !told(key)));
            let more: Vec<String> = more.collect();
            what.splice(0..0, more);
        }
        Some(what)
    };
    compare("rule", &was, &is, rule, &mut found);
    // The gateway's own rules come and go with devices and lines, which tell it.
    let own = |item: &Item| {
        let rules = if item.sign == Sign::Added { &is } else { &was };
        item.sign != Sign::Changed && rules.get(&item.name).is_some_and(|named| named.rule.basis == IMPLICIT)
    };
    out.extend(found.into_iter().filter(|item| !own(item)));
}

/// Whether both compare what they make of readings, and not in the same way; the numbers of inputs don't matter.
fn asks_otherwise(old: &Rule, new: &Rule) -> bool {
    match (&old.condition, &new.condition) {
        (Condition::Measured { measured: was, .. }, Condition::Measured { measured: is, .. }) => was != is,
        _ => false,
    }
}

/// A rule with the names of what it refers to.
struct Named {
    rule: Rule,
    point: String,
    suppress: Option<(String, Severity, Duration)>,
    causes: BTreeSet<String>,
}

impl Named {
    fn new(site: &Site, rule: &Rule) -> Self {
        let point = |id| site.catalog.point(id).map(|point| point.name.clone()).unwrap_or_default();
        let named = |id: &RuleId| site.rules.iter().find(|rule| rule.id == *id).map(|rule| rule.name.clone());
        let suppress = rule.bonds.suppress.as_ref();
        Self {
            point: point(rule.point),
            suppress: suppress.map(|one| (point(one.point), one.up_to, one.off_delay)),
            causes: rule.bonds.causes.iter().filter_map(named).collect(),
            rule: rule.clone(),
        }
    }
}

/// What is other in a rule; nothing when it is something that only the documents name.
fn rule(was: &Named, is: &Named) -> Option<Vec<String>> {
    let (old, new) = (&was.rule, &is.rule);
    let mut what = Vec::new();
    name(&mut what, "point", Some(&was.point), Some(&is.point));
    match (&old.condition, &new.condition) {
        (
            Condition::Threshold { direction: way, levels, deadband, max_gap },
            Condition::Threshold {
                direction: new_way,
                levels: new_levels,
                deadband: new_deadband,
                max_gap: new_gap,
            },
        ) => {
            key(&mut what, "direction", way, new_way);
            let of = |levels: &[crate::alarm::Level]| -> BTreeMap<String, (f64, Duration, Duration)> {
                let level = |level: &crate::alarm::Level| {
                    let colour = format!("{:?}", level.severity).to_lowercase();
                    (colour, (level.threshold, level.on_delay, level.off_delay))
                };
                levels.iter().map(level).collect()
            };
            levels_differ(&mut what, &of(levels), &of(new_levels));
            key(&mut what, "deadband", &rounded(*deadband), &rounded(*new_deadband));
            key(&mut what, "max_gap", max_gap, new_gap);
        }
        (
            Condition::Stale { after, severity, .. },
            Condition::Stale { after: new_after, severity: new_severity, .. },
        ) => {
            key(&mut what, "stale_after", after, new_after);
            key(&mut what, "severity", severity, new_severity);
        }
        // A measure and its inputs are told by the rule's version, and in the words of the documents.
        (Condition::Measured { .. }, Condition::Measured { .. }) => {}
        _ => what.push("condition".to_owned()),
    }
    key(&mut what, "kind", &old.kind, &new.kind);
    key(&mut what, "latched", &old.latched, &new.latched);
    for (key, differ) in [
        ("latch_from", old.bonds.latch_from != new.bonds.latch_from),
        ("suppress", was.suppress != is.suppress),
        ("explained by", was.causes != is.causes),
        ("guide", old.guide != new.guide && old.basis == new.basis),
    ] {
        if differ {
            what.push(key.to_owned());
        }
    }
    for (key, old, new) in [("advice", &old.advice, &new.advice), ("basis", &old.basis, &new.basis)] {
        if old != new {
            what.push(key.to_owned());
        }
    }
    (!what.is_empty() || old.version != new.version).then_some(what)
}

fn levels_differ(
    what: &mut Vec<String>,
    old: &BTreeMap<String, (f64, Duration, Duration)>,
    new: &BTreeMap<String, (f64, Duration, Duration)>,
) {
    let zero = Duration::ZERO;
    for colour in ["blue", "yellow", "orange", "red"] {
        let (was, is) = (old.get(colour), new.get(colour));
        name(what, colour, was.map(|level| rounded(level.0)), is.map(|level| rounded(level.0)));
        if let (Some((_, on, off)), Some((_, new_on, new_off))) = (was, is) {
            key(what, &format!("{colour} on_delay"), on, new_on);
            key(what, &format!("{colour} off_delay"), off, new_off);
        } else if let Some((_, on, off)) = is.filter(|(_, on, off)| *on > zero || *off > zero) {
            what.push(format!("{colour} on_delay {on:?}, off_delay {off:?}"));
        }
    }
}
