//! The shapes on the wire, converted by hand from the types of the flow; `cli` reads the same shapes back.
//!
//! In: pictures, readings, alarms. Out: plain structs for JSON.
//! Invariant: a shape changes only by growing; a reading without a number has no `value` key.
//! Source: DESIGN section 8.

use serde::{Deserialize, Serialize};

use crate::alarm::overlay::Overlay;
use crate::alarm::tell::{OverlayView, Tell};
use crate::alarm::{Alarm, Base, Kind, Severity};
use crate::console::now::NowView;
use crate::point::Catalog;
use crate::reading::{Reading, Reason, Sample};

/// One reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadingView {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Full name of the point.
    pub point: String,
    /// Number in `unit`; absent when bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Unit by its short name; absent for bare numbers and states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// `good`, `uncertain` or `bad`.
    pub quality: String,
    /// The doubt or the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadingView {
    /// The shape of `reading`; `None` for a point that the catalog does not know.
    pub fn new(catalog: &Catalog, reading: &Reading) -> Option<Self> {
        let point = catalog.point(reading.point)?;
        Some(Self {
            time: reading.at.to_string(),
            point: point.name.clone(),
            value: reading.sample.value(),
            unit: point.unit.map(|unit| unit.name().to_owned()),
            quality: reading.sample.quality().name().to_owned(),
            reason: reason_of(catalog, &reading.sample),
        })
    }
}

/// Latest readings in the order of the catalog.
pub fn points(catalog: &Catalog, latest: &[Option<Reading>]) -> Vec<ReadingView> {
    latest.iter().flatten().filter_map(|reading| ReadingView::new(catalog, reading)).collect()
}

/// The doubt about a value, or the reason why there is none; an input goes by its point's name.
pub fn reason_of(catalog: &Catalog, sample: &Sample) -> Option<String> {
    match sample {
        Sample::Good(_) => None,
        Sample::Uncertain(_, doubt) => Some(doubt.name().to_owned()),
        Sample::Bad(Reason::Input(input)) => {
            let name = catalog.point(*input).map_or_else(|| input.0.to_string(), |point| point.name.clone());
            Some(format!("input: {name}"))
        }
        Sample::Bad(reason) => Some(reason.to_string()),
    }
}

/// One alarm that is not closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmView {
    /// Its id.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_point: Option<String>,
    /// Its town.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub town: Option<String>,
    /// The highest severity since it was raised or last acknowledged, of one that latches until the reset; `present` is what is measured now.
    pub severity: Severity,
    /// State of the lifecycle.
    pub state: Base,
    /// What lies over it.
    #[serde(flatten)]
    pub overlay: OverlayView,
    /// The input is bad or silent: the state is kept and cannot be verified.
    pub unverified: bool,
    /// When it was raised.
    pub since: String,
    /// The value that made the last change, in `unit`; `now` is the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The threshold of the present severity, in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Unit of value and threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What the operator should do.
    pub advice: String,
    /// Who acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<String>,
    /// Since when nobody has answered it: later than `since` where it came back after an acknowledgement, or from below what hid it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered_since: Option<String>,
    /// What it tells a person.
    #[serde(flatten)]
    pub tell: Tell,
    /// What its rule judges now; absent where that is no single number, and where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<NowView>,
}

impl AlarmView {
    /// The shape of `alarm`.
    pub fn new(alarm: &Alarm) -> Self {
        let (by, at) = alarm.acknowledged.clone().unzip();
        Self {
            id: alarm.id.clone(),
            kind: alarm.kind,
            rule: alarm.rule.clone(),
            rule_version: alarm.rule_version.clone(),
            point: alarm.point.clone(),
            risk_point: alarm.risk_point.clone(),
            town: alarm.town.clone(),
            severity: alarm.severity,
            state: alarm.state,
            overlay: OverlayView::of(alarm),
            unverified: alarm.unverified,
            since: alarm.since.to_string(),
            value: alarm.value,
            threshold: alarm.threshold,
            unit: alarm.unit.clone(),
            advice: alarm.advice.clone(),
            acknowledged_by: by,
            acknowledged_at: at.map(|at| at.to_string()),
            unanswered_since: alarm.waits_since().map(|since| since.to_string()),
            tell: Tell::new(alarm),
            now: None,
        }
    }

    /// The same with what its rule judges now.
    pub fn with(self, now: Option<NowView>) -> Self {
        Self { now, ..self }
    }
}

/// The open alarms, worst first: unseen before seen, active before returned, red before blue, then the oldest. `now` says what the rule of an alarm
/// judges at this moment.
pub fn alarms(
    open: impl Iterator<Item = Alarm>,
    mut now: impl FnMut(&Alarm) -> Option<NowView>,
) -> Vec<AlarmView> {
    let mut open: Vec<Alarm> = open.filter(|alarm| alarm.state != Base::Normal).collect();
    open.sort_by_key(|alarm| {
        (
            alarm.hidden().is_some(),
            !is_active(alarm.state),
            std::cmp::Reverse(alarm.severity),
            !is_unseen(alarm.state),
            alarm.since,
        )
    });
    open.iter().map(|alarm| AlarmView::new(alarm).with(now(alarm))).collect()
}

/// The condition holds.
pub fn is_active(state: Base) -> bool {
    matches!(state, Base::ActiveUnacknowledged | Base::ActiveAcknowledged)
}

/// Nobody has acknowledged it.
pub fn is_unseen(state: Base) -> bool {
    matches!(state, Base::ActiveUnacknowledged | Base::ReturnedUnacknowledged | Base::LatchedUnacknowledged)
}

/// An acknowledgement, as a person sends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckView {
    /// The severity that the person saw.
    pub severity: Severity,
    /// Who.
    pub by: String,
    /// A note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Any other act on an alarm or a rule, as a person sends it; which keys an act takes stands in `docs/reference/alarm.md`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActView {
    /// Who.
    pub by: String,
    /// Why: needed for `shelve`, `raise` and `drill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The severity seen (`shelve`) or wanted (`raise`, `drill`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How long, for `shelve`, `raise` and `drill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Number of the permit, for `out-of-service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
    /// RFC 3339; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The person responsible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responsible: Option<String>,
    /// What watches instead, for `out-of-service` and `maintenance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute: Option<String>,
}

/// A rule over which something lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its name.
    pub rule: String,
    /// What lies over it.
    #[serde(flatten)]
    pub overlay: OverlayView,
    /// The open alarms that the maintenance of a sensor hides, worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<HiddenView>,
}

/// An open alarm that nobody is told of for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenView {
    /// Its id.
    pub id: String,
    /// Its rule.
    pub rule: String,
    /// What people would see.
    pub severity: Severity,
    /// Whether its condition holds, and whether somebody acknowledged it.
    pub state: Base,
}

impl HiddenView {
    /// The shape of `alarm`.
    pub fn new(alarm: &Alarm) -> Self {
        let Alarm { id, rule, severity, state, .. } = alarm;
        Self { id: id.clone(), rule: rule.clone(), severity: *severity, state: *state }
    }
}

impl RuleView {
    /// The shape of a rule with this overlay.
    pub fn new(rule: &str, overlay: &Overlay) -> Self {
        let suppressed = overlay.design.is_some() || overlay.cause.is_some();
        let overlay = OverlayView::new(overlay, suppressed);
        Self { rule: rule.to_owned(), overlay, hides: Vec::new() }
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalView {
    /// In words.
    pub error: String,
    /// The nearest known name, for an unknown one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}
