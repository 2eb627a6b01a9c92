//! Conditions over readings, and the lifecycle of the alarms that they raise (ISA-18.2).
//!
//! In: readings in the point's canonical unit, time, acknowledgements. Out: [`Transition`]s.
//! Invariant: output follows from rules, states, readings and `now` alone; a reading without a number neither raises nor clears.

mod acts;
pub mod chatter;
pub mod condition;
pub mod desk;
pub mod drill;
pub mod engine;
mod follow;
pub mod guide;
mod keep;
pub mod lifecycle;
pub mod load;
pub mod overlay;
pub mod recall;
pub mod reference;
pub mod score;
mod settle;
mod succession;
pub mod tell;
pub mod trend;
pub mod watch;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::chatter::Chatter;
use crate::alarm::condition::measure::Measured;
use crate::alarm::guide::{Bonds, Guide};
use crate::alarm::overlay::{Hidden, Overlay};
use crate::clock::Timestamp;
use crate::point::PointId;

/// The number of a rule in the compiled site (implicit `stale` rules have numbers too).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleId(pub u32);

/// Grade of an alarm; the ordinal is 1 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// 蓝 Ⅳ.
    Blue = 1,
    /// 黄 Ⅲ.
    Yellow = 2,
    /// 橙 Ⅱ.
    Orange = 3,
    /// 红 Ⅰ.
    Red = 4,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The process.
    Process,
    /// A sensor's own trouble.
    Sensor,
    /// The gateway's own trouble: disk, line, clock.
    System,
}

/// Which way a threshold looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// `>=`.
    Above,
    /// `<=`.
    Below,
}

/// A level of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Its colour.
    pub severity: Severity,
    /// Its threshold, in the point's canonical unit.
    pub threshold: f64,
    /// Its own on-delay.
    pub on_delay: Duration,
    /// Its own off-delay.
    pub off_delay: Duration,
}

/// The question a rule asks. A closed list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// Levels in rising severity.
    Threshold {
        /// Above or below.
        direction: Direction,
        /// Lowest severity first.
        levels: Vec<Level>,
        /// Distance back over a threshold before it clears, in the canonical unit.
        deadband: f64,
        /// A gap between two good readings longer than this restarts on- and off-delays.
        max_gap: Duration,
    },
    /// A number made of readings against levels in rising severity. Point = the first input.
    Measured {
        /// What is compared with what.
        measured: Measured,
        /// What it is made of, in the measure's order.
        inputs: Vec<PointId>,
    },
    /// No reading with a number for this long, or numbers only now and then: more time in gaps than between them, by this much. Point = the
    /// device's first point; `Kind::Sensor`.
    Stale {
        /// `stale_after` of the device.
        after: Duration,
        /// Colour of the alarm.
        severity: Severity,
        /// All points of the device: a number from any of them is a sign of life.
        points: Vec<PointId>,
        /// A gap between two numbers longer than this is a missing one.
        max_gap: Duration,
    },
}

impl Rule {
    /// The points that the rule looks at, in the order of its condition's inputs.
    pub fn points(&self) -> &[PointId] {
        match &self.condition {
            Condition::Threshold { .. } => std::slice::from_ref(&self.point),
            Condition::Measured { inputs, .. } => inputs,
            Condition::Stale { points, .. } => points,
        }
    }

    /// Whether what it judges is the reading of its point as it is, and no number that is made of readings.
    pub const fn is_of_readings(&self) -> bool {
        match &self.condition {
            Condition::Threshold { .. } | Condition::Stale { .. } => true,
            Condition::Measured { measured, .. } => measured.measure.is_reading(),
        }
    }
}

/// A compiled rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its number.
    pub id: RuleId,
    /// Kebab-case name; implicit ones are `DEVICE-stale`.
    pub name: String,
    /// Hash of its settings.
    pub version: String,
    /// The point it looks at.
    pub point: PointId,
    /// Process or sensor.
    pub kind: Kind,
    /// The question.
    pub condition: Condition,
    /// What the operator should do.
    pub advice: String,
    /// Where the thresholds come from.
    pub basis: String,
    /// Stays until acknowledged and reset.
    pub latched: bool,
    /// What it tells people.
    pub guide: Guide,
    /// What hides it, and what explains it.
    pub bonds: Bonds,
}

/// Base state of the lifecycle (`N UA AA UR LU LA` of the alarm page).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// No alarm.
    #[default]
    Normal,
    /// Active, nobody has seen it.
    ActiveUnacknowledged,
    /// Active and seen.
    ActiveAcknowledged,
    /// Condition gone, nobody has seen it.
    ReturnedUnacknowledged,
    /// Latched, condition gone, not seen.
    LatchedUnacknowledged,
    /// Latched, condition gone, seen, waits for a reset.
    LatchedAcknowledged,
}

/// One occurrence of an alarm, with the names that were true when it was raised. Numbers are in `unit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// First 16 hexadecimal digits of SHA-256 over `site NUL rule NUL point NUL raised_ms`.
    pub id: String,
    /// Process, sensor or system.
    pub kind: Kind,
    /// Name of the rule.
    pub rule: String,
    /// Version of the rule.
    pub rule_version: String,
    /// Full name of the point.
    pub point: String,
    /// Code of the risk point.
    pub risk_point: Option<String>,
    /// Its town.
    pub town: Option<String>,
    /// What people see and acknowledge: the highest severity since it was raised or last acknowledged, of one that latches until it is reset.
    pub severity: Severity,
    /// The severity that is measured now, while that is lower; see [`Alarm::present`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<Severity>,
    /// Base state.
    pub state: Base,
    /// The input is bad or silent: the state is kept and cannot be verified.
    pub unverified: bool,
    /// When it was raised.
    pub since: Timestamp,
    /// The value that made the last change of severity or the return.
    pub value: Option<f64>,
    /// The threshold of the present severity.
    pub threshold: Option<f64>,
    /// Name of the unit of value and threshold.
    pub unit: Option<String>,
    /// What the operator should do.
    pub advice: String,
    /// Who acknowledged, and when.
    pub acknowledged: Option<(String, Timestamp)>,
    /// What lies over it.
    #[serde(default, skip_serializing_if = "Overlay::is_empty")]
    pub overlay: Overlay,
    /// What it tells people.
    #[serde(default)]
    pub guide: Guide,
    /// How the value moved before the last change, in its unit per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trend: Option<f64>,
    /// What is known of its coming and going.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
}

/// What is known of an alarm beside its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// 演练: an exercise, of which no figure knows.
    pub drill: bool,
    /// It comes and goes.
    pub chattering: bool,
    /// It ended by itself before anybody could act.
    pub fleeting: bool,
    /// It waits for a reset once its condition is gone.
    pub latching: bool,
    /// It has been unverified for so long that somebody must look.
    pub unverifiable: bool,
    /// What its rule judges is the reading of its point as it is.
    #[serde(skip_serializing_if = "is_false")]
    pub of_readings: bool,
    /// When it asked for a person again, after an acknowledgement that is void or from below an overlay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Marks {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Alarm {
    /// The severity that is measured now; of one whose condition is gone the last that is shown.
    pub fn present(&self) -> Severity {
        self.present.unwrap_or(self.severity)
    }

    /// Takes the severity that is measured now. A higher one that nobody has acknowledged yet stays in sight, and of one that latches until the reset.
    pub(crate) fn measures(&mut self, present: Severity) {
        let unseen = matches!(
            self.state,
            Base::ActiveUnacknowledged | Base::ReturnedUnacknowledged | Base::LatchedUnacknowledged
        );
        let keeps = unseen || self.marks.latching;
        self.severity = if keeps { self.severity.max(present) } else { present };
        self.present = (present < self.severity).then_some(present);
    }

    /// Since when it waits for an acknowledgement; nothing when somebody has seen it.
    pub fn waits_since(&self) -> Option<Timestamp> {
        self.state.is_unseen().then(|| self.marks.again.unwrap_or(self.since))
    }

    /// Takes away the acknowledgement; of one that waits already the wait goes on.
    pub(crate) fn asks_again(&mut self, at: Timestamp) {
        if self.acknowledged.take().is_some() {
            self.marks.again = Some(at);
        }
    }

    /// What hides it from the list of those that need a person.
    pub fn hidden(&self) -> Option<Hidden> {
        self.overlay.hides(self.severity)
    }
}

/// What a transition is. It names what happened; the occurrence is over exactly when the alarm's state is `normal` after it, be it by `cleared`, `acknowledged`,
/// `reset` or `closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A new occurrence.
    Raised,
    /// The same occurrence active again.
    Reraised,
    /// Severity went up: an acknowledgement is void.
    Rose,
    /// Severity went down.
    Fell,
    /// A person has seen it. A returned alarm that does not latch is over then.
    Acknowledged,
    /// Condition gone. An acknowledged alarm that does not latch is over then.
    Cleared,
    /// Occurrence over for another reason: its rule is gone or looks at another point, or the condition came back late.
    Closed,
    /// Input went bad.
    Unverified,
    /// Input is good again.
    Verified,
    /// A latched alarm was reset by a person.
    Reset,
    /// A person raised its severity: an acknowledgement is void.
    Lifted,
    /// A person's severity ended: the measured one counts again.
    Lowered,
    /// A person shelved it.
    Shelved,
    /// The shelf ended: by its timer, a person or a rise in severity.
    Unshelved,
    /// A state of the site or another alarm hides it.
    Suppressed,
    /// That is over.
    Unsuppressed,
    /// A permit to work on it was entered for later.
    Planned,
    /// Taken out of service under a permit.
    OutOfService,
    /// Back in service.
    InService,
    /// Active and unverified for so long that somebody must look.
    Unverifiable,
    /// It comes and goes.
    Chattering,
    /// It does so no longer.
    Quiet,
}

/// One change of one alarm; the state after it stands in `alarm`, so that the log alone gives all states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The alarm after the change.
    pub alarm: Alarm,
    /// What happened.
    pub change: Change,
    /// When (the core's `now`).
    pub at: Timestamp,
    /// Who, for a person's act.
    pub by: Option<String>,
    /// A person's note, or why the gateway did it.
    pub note: Option<String>,
}

impl Transition {
    /// Whether a person is to be told now. A hidden alarm tells nobody; one that comes out from below an overlay tells like a new one.
    pub fn notifies(&self) -> bool {
        use Change as C;
        let alarm = &self.alarm;
        let unseen = alarm.state == Base::ActiveUnacknowledged && alarm.hidden().is_none();
        match self.change {
            C::Raised | C::Reraised | C::Rose | C::Lifted => unseen,
            C::Unshelved | C::Unsuppressed | C::InService => unseen,
            C::Unverifiable => alarm.hidden().is_none(),
            C::Fell | C::Acknowledged | C::Cleared | C::Closed | C::Unverified | C::Verified | C::Reset => {
                false
            }
            C::Lowered
            | C::Shelved
            | C::Suppressed
            | C::Planned
            | C::OutOfService
            | C::Chattering
            | C::Quiet => false,
        }
    }
}

/// What a rule carries over a restart: its alarm and the delays in progress. Kept under the rule's name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// The occurrence that is not closed.
    pub alarm: Option<Alarm>,
    /// For each level: since when its condition to raise holds.
    pub raising: Vec<Option<Timestamp>>,
    /// For each level: since when its condition to clear holds.
    pub clearing: Vec<Option<Timestamp>>,
    /// For each level: whether it is reached (on-delay over, not yet cleared).
    pub reached: Vec<bool>,
    /// The newest reading of the rule's point when this was written.
    pub last: Option<Timestamp>,
    /// When the condition of the open alarm went.
    #[serde(default)]
    pub returned: Option<Timestamp>,
    /// Version of the rule that this was written under; empty when unknown.
    #[serde(default)]
    pub version: String,
    /// What lies over its alarm, open or not.
    #[serde(default, skip_serializing_if = "Overlay::is_empty")]
    pub overlay: Overlay,
    /// Its coming and going.
    #[serde(default, skip_serializing_if = "Chatter::is_empty")]
    pub chatter: Chatter,
    /// Since when an active alarm cannot be verified, until that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified: Option<Timestamp>,
    /// How often it was shelved.
    #[serde(default)]
    pub shelved: u32,
    /// Time that a device lost in gaps, less what it made good.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub lost: Duration,
}
