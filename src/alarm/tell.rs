//! What an alarm tells a person, in words and times that need no table: one shape for the API, the page and every message.
//!
//! In: an [`Alarm`]. Out: [`OverlayView`] and [`Tell`], parts of every JSON form of an alarm.
//! Invariant: the three overlay flags are always there; everything else is left out when there is nothing to say.
//! Source: DESIGN section 8; colours and words as in [`crate::alarm::guide`].

use serde::{Deserialize, Serialize};

use crate::alarm::overlay::{Overlay, Permit, Suppression};
use crate::alarm::{Alarm, Base, Severity};

/// A shelf for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShelfView {
    /// End, RFC 3339.
    pub until: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// How often the rule has been shelved.
    pub count: u32,
}

/// A permit for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitView {
    /// Its number.
    pub permit: String,
    /// RFC 3339.
    pub from: String,
    /// RFC 3339.
    pub to: String,
    /// The person responsible.
    pub responsible: String,
    /// What watches instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute: Option<String>,
    /// Who entered it.
    pub by: String,
    /// Why, of a sensor's maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What hides an alarm by design, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseView {
    /// The rule or the point.
    pub by: String,
    /// Id of the alarm that explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// RFC 3339.
    pub since: String,
}

/// A severity raised by hand, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandView {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// End, RFC 3339.
    pub until: String,
}

/// What lies over a rule, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverlayView {
    /// Hidden by a person until a time.
    pub shelved: bool,
    /// Hidden by a rule or below another alarm.
    pub suppressed: bool,
    /// Taken out of service.
    pub out_of_service: bool,
    /// The shelf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shelf: Option<ShelfView>,
    /// The permit in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permit: Option<PermitView>,
    /// A permit that begins later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<PermitView>,
    /// What hides it by design.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed_by: Option<CauseView>,
    /// The alarm below which it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseView>,
    /// The severity raised by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted: Option<HandView>,
}

/// What an alarm tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tell {
    /// 1 to 4, 4 the highest: what programs compare.
    pub ordinal: u8,
    /// The severity that is measured now, while a higher one waits for an acknowledgement or a reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<Severity>,
    /// 蓝 黄 橙 红.
    pub colour: String,
    /// `Ⅰ级 特别重大`.
    pub grade: String,
    /// The word of its class, `二级报警`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// Hazard class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hazard: String,
    /// Name of the risk point, or what its device is called (its tag `place` or `name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// How the value moves, in its unit per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend: Option<f64>,
    /// Where the thresholds come from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub basis: String,
    /// Who set them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Their version as the author counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// 预案.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// 分段.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// 分层.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// 演练.
    pub drill: bool,
    /// It comes and goes.
    #[serde(skip_serializing_if = "not")]
    pub chattering: bool,
    /// It ended by itself before anybody could act.
    #[serde(skip_serializing_if = "not")]
    pub fleeting: bool,
    /// Somebody must look: no good reading for a long time.
    #[serde(skip_serializing_if = "not")]
    pub unverifiable: bool,
    /// It waits for a reset once its condition is gone.
    #[serde(skip_serializing_if = "not")]
    pub latching: bool,
}

impl OverlayView {
    /// What lies over `alarm`.
    pub fn of(alarm: &Alarm) -> Self {
        Self::new(&alarm.overlay, alarm.overlay.suppresses(alarm.severity))
    }

    /// The shape of `overlay`; `suppressed` says whether it hides an alarm of this severity.
    pub fn new(overlay: &Overlay, suppressed: bool) -> Self {
        let permit = |permit: &Permit| PermitView {
            permit: permit.number.clone(),
            from: permit.from.to_string(),
            to: permit.to.to_string(),
            responsible: permit.responsible.clone(),
            substitute: permit.substitute.clone(),
            by: permit.by.clone(),
            reason: permit.reason.clone(),
        };
        let cause = |one: &Suppression| CauseView {
            by: one.by.clone(),
            alarm: one.alarm.clone(),
            since: one.since.to_string(),
        };
        Self {
            shelved: overlay.shelf.is_some(),
            suppressed,
            out_of_service: overlay.permit.is_some(),
            shelf: overlay.shelf.as_ref().map(|shelf| ShelfView {
                until: shelf.until.to_string(),
                by: shelf.by.clone(),
                reason: shelf.reason.clone(),
                count: shelf.count,
            }),
            permit: overlay.permit.as_ref().map(permit),
            planned: overlay.planned.as_ref().map(permit),
            suppressed_by: overlay.design.as_ref().map(cause),
            cause: overlay.cause.as_ref().map(cause),
            lifted: overlay.hand.as_ref().map(|hand| HandView {
                by: hand.by.clone(),
                reason: hand.reason.clone(),
                until: hand.until.to_string(),
            }),
        }
    }
}

impl Tell {
    /// What `alarm` tells.
    pub fn new(alarm: &Alarm) -> Self {
        let (guide, marks) = (&alarm.guide, alarm.marks);
        let open = alarm.state != Base::Normal;
        let finite = |value: f64| value.is_finite().then_some(value + 0.0);
        let word = alarm.severity.word(&guide.class).filter(|_| open);
        Self {
            ordinal: if open { alarm.severity.ordinal() } else { 0 },
            present: alarm.present,
            colour: alarm.severity.colour().0.to_owned(),
            grade: alarm.severity.grade().0.to_owned(),
            word: word.map(|(chinese, _)| chinese.to_owned()),
            hazard: guide.hazard.clone(),
            place: guide.place.clone(),
            trend: alarm.trend.and_then(finite),
            basis: guide.basis.clone(),
            author: guide.author.clone(),
            revision: guide.revision.clone(),
            plan: guide.plan.clone(),
            phase: guide.phase.clone(),
            layer: guide.layer.clone(),
            drill: marks.drill,
            chattering: marks.chattering,
            fleeting: marks.fleeting,
            unverifiable: marks.unverifiable,
            latching: marks.latching,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn not(flag: &bool) -> bool {
    !*flag
}
