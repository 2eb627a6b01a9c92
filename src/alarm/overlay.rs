//! What lies over an alarm: shelved by a person, out of service under a permit, suppressed by design, and a grade raised by hand.
//!
//! In: what a person or a rule asks for. Out: plain facts that are kept with the rule and copied into each alarm.
//! Invariant: an overlay hides and never moves the base state: below it the lifecycle runs on, so that leaving it shows the truth. A red alarm is never shelved.
//! Source: ISA-18.2-2016 and IEC 62682, suppression (shelved, suppressed by design, out of service).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::Severity;
use crate::clock::Timestamp;

/// A shelf lasts at most this long.
pub const SHELF_MAX: Duration = Duration::from_secs(8 * 3600);
/// A permit lasts at most this long; then it is renewed.
pub const PERMIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// A grade raised by hand ends at the latest after this long.
pub const HAND_MAX: Duration = Duration::from_secs(24 * 3600);

/// Hidden by a person for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelf {
    /// When it ends by itself.
    pub until: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The severity that was shelved: a higher one ends it.
    pub severity: Severity,
    /// How often the rule has been shelved.
    pub count: u32,
}

/// Taken out of service for work on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// Number of the permit.
    pub number: String,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// The person responsible.
    pub responsible: String,
    /// What watches instead; needed where the rule has a red level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute: Option<String>,
    /// Who entered it.
    pub by: String,
    /// Why, of a sensor's maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What stands before the sensor's name in the number of the permit that maintenance of it is.
const MAINTENANCE: &str = "maintenance ";

impl Permit {
    /// The number of the maintenance of `sensor`.
    pub fn maintenance(sensor: &str) -> String {
        format!("{MAINTENANCE}{sensor}")
    }

    /// Who works on it: the person responsible, and of a sensor's maintenance the person with the role.
    pub fn who(&self) -> String {
        who(&self.number, &self.by, &self.responsible)
    }

    /// The sensor whose maintenance this is.
    pub fn maintained(&self) -> Option<&str> {
        maintained(&self.number)
    }
}

/// [`Permit::who`] of a permit's parts: `li (gas company)`.
pub fn who(number: &str, by: &str, responsible: &str) -> String {
    if maintained(number).is_some() && by != responsible {
        format!("{by} ({responsible})")
    } else {
        responsible.to_owned()
    }
}

/// The sensor of which a permit of this number is the maintenance.
pub fn maintained(number: &str) -> Option<&str> {
    number.strip_prefix(MAINTENANCE)
}

/// Hidden because of another alarm or of a state of the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// The rule that explains it, or the point that says so.
    pub by: String,
    /// Id of the alarm that explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// The highest severity that is hidden.
    pub up_to: Severity,
    /// Since when.
    pub since: Timestamp,
    /// When it ends, once its reason is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

/// A grade raised by a person (提级响应).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hand {
    /// The grade.
    pub severity: Severity,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: Timestamp,
    /// The severity that was shown before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Severity>,
}

/// Everything that lies over one rule's alarm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overlay {
    /// Shelved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shelf: Option<Shelf>,
    /// Out of service now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permit: Option<Permit>,
    /// Out of service later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<Permit>,
    /// Suppressed by a state of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub design: Option<Suppression>,
    /// Explained by another alarm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Suppression>,
    /// Raised by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand: Option<Hand>,
}

/// The overlay that is shown, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hidden {
    /// Out of service.
    OutOfService,
    /// Suppressed by design, or explained by another alarm.
    Suppressed,
    /// Shelved.
    Shelved,
}

impl Overlay {
    /// Nothing lies over it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it hides an alarm of this severity by design or below another one.
    pub fn suppresses(&self, severity: Severity) -> bool {
        [&self.design, &self.cause].into_iter().flatten().any(|one| severity <= one.up_to)
    }

    /// What hides an alarm of this severity: out of service before suppressed before shelved.
    pub fn hides(&self, severity: Severity) -> Option<Hidden> {
        if self.permit.is_some() {
            Some(Hidden::OutOfService)
        } else if self.suppresses(severity) {
            Some(Hidden::Suppressed)
        } else {
            self.shelf.as_ref().map(|_| Hidden::Shelved)
        }
    }

    /// The copy that an alarm carries: when a suppression ends is the rule's business.
    pub fn shown(&self) -> Self {
        let mut shown = self.clone();
        for one in [&mut shown.design, &mut shown.cause].into_iter().flatten() {
            one.ends = None;
        }
        shown
    }

    /// When something here begins or ends by itself.
    pub fn due(&self) -> Option<Timestamp> {
        let ends = |one: &Option<Suppression>| one.as_ref().and_then(|one| one.ends);
        let times = [
            self.shelf.as_ref().map(|shelf| shelf.until),
            self.permit.as_ref().map(|permit| permit.to),
            self.planned.as_ref().map(|permit| permit.from),
            ends(&self.design),
            ends(&self.cause),
            self.hand.as_ref().map(|hand| hand.until),
        ];
        times.into_iter().flatten().min()
    }

    /// Moves lengths of time by a step of the wall clock. A permit names times of day and stays.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        if let Some(shelf) = &mut self.shelf {
            shelf.until = shelf.until.shifted(by_ms);
        }
        if let Some(hand) = &mut self.hand {
            hand.until = hand.until.shifted(by_ms);
        }
        for one in [&mut self.design, &mut self.cause].into_iter().flatten() {
            one.since = one.since.shifted(by_ms);
            one.ends = one.ends.map(|at| at.shifted(by_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_overlay_is_shown() {
        let at = Timestamp::from_millis;
        let shelf =
            Shelf { until: at(9), by: "a".into(), reason: "b".into(), severity: Severity::Blue, count: 1 };
        let design = |up_to| Suppression { by: "p".into(), alarm: None, up_to, since: at(0), ends: None };
        let permit = Permit {
            number: "7".into(),
            from: at(0),
            to: at(5),
            responsible: "c".into(),
            substitute: None,
            by: "d".into(),
            reason: None,
        };
        let mut overlay = Overlay { shelf: Some(shelf), ..Overlay::default() };
        assert_eq!((overlay.hides(Severity::Blue), overlay.due()), (Some(Hidden::Shelved), Some(at(9))));
        overlay.design = Some(design(Severity::Yellow));
        assert_eq!(overlay.hides(Severity::Yellow), Some(Hidden::Suppressed));
        assert_eq!(overlay.hides(Severity::Orange), Some(Hidden::Shelved), "only a lower one is suppressed");
        overlay.permit = Some(permit);
        assert_eq!((overlay.hides(Severity::Red), overlay.due()), (Some(Hidden::OutOfService), Some(at(5))));
        let json = serde_json::to_value(Overlay::default()).unwrap();
        assert_eq!(json, serde_json::json!({}));
    }
}
