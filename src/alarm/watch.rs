//! One rule at work: its gauge, its alarm, and the names that the alarm carries.
//!
//! In: what the gauge reached, what persons do, what became of the input. Out: [`Transition`]s.
//! Invariant: the alarm changes only together with a transition that holds it as it is then, so that a log of transitions gives the open alarms.
//! Source: the lifecycle decides each change; ids as in DESIGN section 7.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::alarm::chatter::Chatter;
use crate::alarm::condition::Judged;
use crate::alarm::condition::gauged::Gauged;
use crate::alarm::condition::level::Threshold;
use crate::alarm::condition::stale::Stale;
use crate::alarm::lifecycle::{Event, Next, RERAISE_WINDOW, Refusal, next};
use crate::alarm::overlay::Overlay;
use crate::alarm::trend::Trend;
use crate::alarm::{Alarm, Base, Change, Condition, Marks, Rule, Severity, Transition};
use crate::clock::Timestamp;
use crate::point::Catalog;

/// What a rule measures with.
#[derive(Clone, Debug)]
pub(crate) enum Gauge {
    Threshold(Threshold),
    Measured(Box<Gauged>),
    Stale(Stale),
}

/// Why something happens to an alarm, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause<'a> {
    /// The time of the reading or timer.
    pub(crate) at: Timestamp,
    /// The core's time.
    pub(crate) now: Timestamp,
    pub(crate) value: Option<f64>,
    pub(crate) by: Option<&'a str>,
    pub(crate) note: Option<&'a str>,
}

impl Cause<'_> {
    /// Neither a number nor a person.
    pub(crate) const fn plain(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now, value: None, by: None, note: None }
    }
}

/// One rule at work.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) rule: Rule,
    pub(crate) gauge: Gauge,
    pub(crate) alarm: Option<Alarm>,
    /// Its rule state has changed since it was last asked for.
    pub(crate) changed: bool,
    /// It stands in the engine's list of changed ones.
    pub(crate) listed: bool,
    pub(crate) site: String,
    pub(crate) point: String,
    pub(crate) risk_point: Option<String>,
    pub(crate) town: Option<String>,
    pub(crate) unit: Option<String>,
    /// When the condition of the open alarm went.
    pub(crate) returned: Option<Timestamp>,
    /// What lies over the alarm, open or not.
    pub(crate) overlay: Overlay,
    pub(crate) chatter: Chatter,
    /// Since when the active alarm cannot be verified, until that was told.
    pub(crate) unverified: Option<Timestamp>,
    /// How often it was shelved.
    pub(crate) shelved: u32,
    pub(crate) trend: Trend,
    /// What the measure made last; none while it makes nothing.
    pub(crate) judged: Option<Judged>,
    /// Its measure began with these documents, and knows nothing of what was before.
    pub(crate) fresh: bool,
    /// Name of the point that suppresses it.
    pub(crate) suppressor: String,
    /// The moment that the engine will look at it next.
    pub(crate) registered: Option<Timestamp>,
}

impl Watch {
    pub(crate) fn new(site: &str, rule: Rule, catalog: &Catalog) -> Self {
        let gauge = match &rule.condition {
            Condition::Threshold { direction, levels, deadband, max_gap } => {
                Gauge::Threshold(Threshold::new(*direction, levels, *deadband, *max_gap))
            }
            Condition::Measured { measured, inputs } => {
                Gauge::Measured(Box::new(Gauged::new(measured, inputs.len())))
            }
            Condition::Stale { after, severity, max_gap, .. } => {
                Gauge::Stale(Stale::new(*after, *severity, *max_gap))
            }
        };
        let point = catalog.point(rule.point);
        let device = point.and_then(|point| catalog.device(point.device));
        let unit = match &rule.condition {
            Condition::Threshold { .. } => {
                point.and_then(|point| point.unit).map(|unit| unit.name().to_owned())
            }
            Condition::Measured { measured, .. } => measured.unit.clone(),
            Condition::Stale { .. } => None,
        };
        Self {
            site: site.to_owned(),
            point: point.map(|point| point.name.clone()).unwrap_or_default(),
            risk_point: device.and_then(|device| device.risk_point.clone()),
            town: device.and_then(|device| device.town.clone()),
            unit,
            suppressor: rule
                .bonds
                .suppress
                .as_ref()
                .and_then(|suppress| catalog.point(suppress.point))
                .map(|point| point.name.clone())
                .unwrap_or_default(),
            rule,
            gauge,
            alarm: None,
            returned: None,
            overlay: Overlay::default(),
            chatter: Chatter::default(),
            unverified: None,
            shelved: 0,
            trend: Trend::default(),
            judged: None,
            fresh: true,
            registered: None,
            changed: false,
            listed: false,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.alarm.as_ref().is_some_and(|alarm| alarm.state.is_active())
    }

    /// Whether the open alarm waits for a reset once its condition is gone.
    pub(crate) fn latches(&self, severity: Severity) -> bool {
        let from = self.rule.bonds.latch_from.unwrap_or(Severity::Blue);
        let marked = self.alarm.as_ref().is_some_and(|alarm| alarm.marks.latching);
        self.rule.latched && (marked || from <= severity)
    }

    /// A person has seen the alarm at the severity `seen`.
    pub(crate) fn acknowledge(
        &mut self,
        seen: Severity,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let Some(alarm) = &self.alarm else { return Err(Refusal::NoSuchAlarm) };
        if alarm.severity > seen {
            return Err(Refusal::Changed);
        }
        let before = alarm.acknowledged.as_ref().map(|(by, _)| by.as_str());
        if before.is_some() && before == cause.by {
            return Ok(());
        }
        self.feed(Event::Acknowledge, cause, out)
    }

    /// Feeds one event to the lifecycle and logs what it changes.
    pub(crate) fn feed(
        &mut self,
        event: Event,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        match next(self.alarm.as_ref().map(|alarm| alarm.state).unwrap_or_default(), event) {
            Next::Same => {}
            Next::Refused(refusal) => return Err(refusal),
            Next::New => {
                self.close("raised again", cause.now, out);
                self.rise(cause, out);
                let begins = self.chatter.active(cause.at);
                self.alarm = self.occurrence(cause);
                self.log(Change::Raised, cause, out);
                self.chatters(begins, cause, out);
            }
            Next::To(state, change) => {
                if matches!(change, Change::Reraised | Change::Rose) {
                    self.rise(cause, out);
                }
                let begins = change == Change::Reraised && self.chatter.active(cause.at);
                self.turn(state, change, cause);
                self.log(change, cause, out);
                self.chatters(begins, cause, out);
            }
        }
        Ok(())
    }

    /// A shelf ends before its alarm takes on a severity above it.
    fn rise(&mut self, cause: Cause<'_>, out: &mut Vec<Transition>) {
        if let Some((severity, _)) = self.target() {
            self.uncover(severity, cause, out);
        }
    }

    fn chatters(&mut self, begins: bool, cause: Cause<'_>, out: &mut Vec<Transition>) {
        if begins {
            let note = Some("three times active within a minute");
            self.mark(Change::Chattering, Cause { note, by: None, ..cause }, out);
        }
    }

    /// Ends an open alarm for a reason that is neither the condition nor a person.
    pub(crate) fn close(&mut self, note: &str, now: Timestamp, out: &mut Vec<Transition>) {
        if let Some(alarm) = &mut self.alarm {
            alarm.state = Base::Normal;
            self.log(Change::Closed, Cause { note: Some(note), ..Cause::plain(now, now) }, out);
        }
    }

    /// The severity that the alarm is to have: what is measured, or what a person raised it to.
    pub(crate) fn target(&self) -> Option<(Severity, Option<f64>)> {
        let (severity, threshold) = self.reached()?;
        let hand = self.overlay.hand.as_ref().map_or(severity, |hand| hand.severity);
        Some((severity.max(hand), threshold))
    }

    /// The highest level reached and its threshold.
    pub(crate) fn reached(&self) -> Option<(Severity, Option<f64>)> {
        match &self.gauge {
            Gauge::Threshold(gauge) => {
                gauge.reached().map(|(severity, threshold)| (severity, Some(threshold)))
            }
            Gauge::Measured(gauge) => gauge.reached(),
            Gauge::Stale(gauge) => gauge.raised().then_some((gauge.severity, None)),
        }
    }

    pub(crate) fn returned_recently(&self, at: Timestamp) -> bool {
        self.returned.is_some_and(|returned| at.since(returned) <= RERAISE_WINDOW)
    }

    fn occurrence(&self, cause: Cause<'_>) -> Option<Alarm> {
        let (severity, threshold) = self.target()?;
        let latching = self.latches(severity);
        let of_readings = self.rule.is_of_readings();
        let marks = Marks { chattering: self.chatter.is_on(), latching, of_readings, ..Marks::default() };
        Some(Alarm {
            id: alarm_id(&self.site, &self.rule.name, &self.point, cause.at),
            severity,
            state: Base::ActiveUnacknowledged,
            since: cause.at,
            value: cause.value,
            threshold,
            trend: self.trend.per_minute(),
            marks,
            ..self.calm(cause)
        })
    }

    /// What stands in the log for a rule without an alarm: the state is normal.
    pub(crate) fn calm(&self, cause: Cause<'_>) -> Alarm {
        Alarm {
            id: alarm_id(&self.site, &self.rule.name, &self.point, cause.now),
            kind: self.rule.kind,
            rule: self.rule.name.clone(),
            rule_version: self.rule.version.clone(),
            point: self.point.clone(),
            risk_point: self.risk_point.clone(),
            town: self.town.clone(),
            severity: self.highest(),
            present: None,
            state: Base::Normal,
            unverified: false,
            since: cause.now,
            value: None,
            threshold: None,
            unit: self.unit.clone(),
            advice: self.rule.advice.clone(),
            acknowledged: None,
            overlay: self.overlay.shown(),
            guide: self.rule.guide.clone(),
            trend: None,
            marks: Marks::default(),
        }
    }

    /// Makes the change in the open alarm.
    fn turn(&mut self, state: Base, change: Change, cause: Cause<'_>) {
        let (target, trend) = (self.target(), self.trend.per_minute());
        let fleeting = self.chatter.was_fleeting(cause.at);
        let latching = target.is_some_and(|(severity, _)| self.latches(severity));
        let Some(alarm) = &mut self.alarm else { return };
        alarm.state = state;
        match change {
            Change::Reraised | Change::Rose | Change::Fell => {
                alarm.marks.latching |= latching;
                if let Some((severity, threshold)) = target {
                    alarm.measures(severity);
                    alarm.threshold = threshold;
                }
                (alarm.value, alarm.trend) = (cause.value, trend);
                // Other documents may have another one; what was told before stands in the old one.
                alarm.unit.clone_from(&self.unit);
                alarm.rule_version.clone_from(&self.rule.version);
                alarm.marks.of_readings = self.rule.is_of_readings();
                alarm.guide.clone_from(&self.rule.guide);
                if change != Change::Fell {
                    alarm.asks_again(cause.at);
                }
                if change == Change::Reraised {
                    alarm.marks.fleeting = false;
                }
                self.returned = None;
            }
            Change::Cleared => {
                (alarm.value, alarm.trend, alarm.present) = (cause.value, trend, None);
                if alarm.unit != self.unit {
                    (alarm.unit, alarm.threshold) = (self.unit.clone(), None);
                }
                alarm.marks.fleeting = fleeting && alarm.acknowledged.is_none();
                self.returned = Some(cause.at);
            }
            Change::Acknowledged => {
                alarm.acknowledged = cause.by.map(|by| (by.to_owned(), cause.now));
                if state.is_active() {
                    alarm.measures(alarm.present());
                }
            }
            Change::Unverified => alarm.unverified = true,
            Change::Verified => (alarm.unverified, alarm.marks.unverifiable) = (false, false),
            Change::Raised | Change::Closed | Change::Reset => {}
            // These are made in `acts`.
            Change::Lifted | Change::Lowered | Change::Shelved | Change::Unshelved | Change::Planned => {}
            Change::Suppressed | Change::Unsuppressed | Change::OutOfService | Change::InService => {}
            Change::Unverifiable | Change::Chattering | Change::Quiet => {}
        }
        if !state.is_active() {
            self.unverified = None;
        }
    }

    /// Logs the alarm as it is now; one that is over is let go.
    pub(crate) fn log(&mut self, change: Change, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let Some(mut alarm) = self.alarm.clone() else { return };
        if alarm.state == Base::Normal {
            (self.alarm, self.returned, self.unverified) = (None, None, None);
            self.overlay.hand = None;
        }
        alarm.overlay = self.overlay.shown();
        self.copy_overlay();
        let (by, note) = (cause.by.map(str::to_owned), cause.note.map(str::to_owned));
        out.push(Transition { alarm, change, at: cause.now, by, note });
        self.changed = true;
    }
}

/// The id of an occurrence: the first 16 hexadecimal digits of SHA-256 over `site NUL rule NUL point NUL raised_ms`. A replay and a second gateway
/// come to the same.
pub fn alarm_id(site: &str, rule: &str, point: &str, raised: Timestamp) -> String {
    let text = format!("{site}\0{rule}\0{point}\0{}", raised.as_millis());
    let mut id = String::with_capacity(16);
    for byte in Sha256::digest(text.as_bytes()).iter().take(8) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}
