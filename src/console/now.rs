//! What an open alarm's rule judges at this moment, beside the value that raised it.
//!
//! In: the picture, or the newest reading of a journal. Out: [`NowView`], or nothing where there is no single number.
//! Invariant: the reading of another question is never shown: a rule that makes its own number (a rise, a sum, a vote) shows that one or none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alarm::{Alarm, Condition, Rule};
use crate::clock::Timestamp;
use crate::console::view::reason_of;
use crate::gateway::board::Picture;
use crate::point::Catalog;
use crate::reading::{Reading, Sample};

/// What a rule judges now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NowView {
    /// The time of the reading that made it, RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Number in `unit`; absent when bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Unit by its short name; absent for bare numbers and states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Name of the state that `value` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `good`, `uncertain` or `bad`.
    pub quality: String,
    /// The doubt or the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl NowView {
    /// The shape of a reading of the rule's own point; `None` for a point that the catalog does not know.
    pub fn of(catalog: &Catalog, reading: &Reading) -> Option<Self> {
        let point = catalog.point(reading.point)?;
        let value = reading.sample.value();
        let named = |value: f64| {
            let code = |number: i64| i32::try_from(number).map(f64::from);
            let same = |number: i64| code(number).is_ok_and(|number| number.total_cmp(&value).is_eq());
            point.states.iter().find(|(number, _)| same(*number)).map(|(_, name)| name.clone())
        };
        Some(Self {
            time: reading.at.to_string(),
            value,
            unit: point.unit.map(|unit| unit.name().to_owned()),
            state: value.and_then(named),
            quality: reading.sample.quality().name().to_owned(),
            reason: reason_of(catalog, &reading.sample),
        })
    }

    /// How old it is at `now`, in seconds.
    pub fn age_s(&self, now: Timestamp) -> Option<u64> {
        Timestamp::parse(&self.time).ok().map(|at| now.since(at).as_secs())
    }
}

/// What the rules of these alarms judge now, by alarm id.
pub fn now(picture: &Picture) -> BTreeMap<String, NowView> {
    let open = picture.alarms.values().filter(|alarm| !alarm.marks.drill);
    let open: BTreeMap<&str, &Alarm> = open.map(|alarm| (alarm.rule.as_str(), alarm)).collect();
    let rules = picture.shown.rules.iter();
    let views = rules.filter_map(|rule| {
        let alarm = open.get(rule.name.as_str())?;
        Some((alarm.id.clone(), of_rule(picture, rule)?))
    });
    views.collect()
}

fn of_rule(picture: &Picture, rule: &Rule) -> Option<NowView> {
    let catalog = &picture.shown.catalog;
    let latest = |point: crate::point::PointId| picture.latest.get(point.0 as usize)?.as_ref();
    if rule.is_of_readings() {
        return NowView::of(catalog, latest(rule.point)?);
    }
    let Condition::Measured { measured, .. } = &rule.condition else { return None };
    // An answer to a question over several conditions is no number.
    let asks = measured.measure.is_yes_or_no();
    if let Some(judged) = picture.judged.get(&rule.name).filter(|_| !asks) {
        return Some(NowView {
            time: judged.at.to_string(),
            value: Some(judged.value),
            // The alarm may have been raised in the unit of earlier documents.
            unit: measured.unit.clone(),
            state: None,
            quality: if judged.whole { "good" } else { "uncertain" }.to_owned(),
            reason: None,
        });
    }
    let inputs = rule.points().iter().filter_map(|point| latest(*point));
    let bad = inputs.into_iter().find(|reading| matches!(reading.sample, Sample::Bad(_)))?;
    NowView::of(catalog, bad).map(|view| NowView { unit: None, ..view })
}
