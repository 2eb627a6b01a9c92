//! Drills (演练): alarms that a person makes for an exercise, beside the real ones.
//!
//! In: a person's wish. Out: an alarm of the rule `NAME.drill` with the mark `drill`.
//! Invariant: a drill has an occurrence of its own; it never hides, changes, counts as or ends a real alarm.

use std::collections::BTreeMap;

use crate::alarm::acts::ends;
use crate::alarm::lifecycle::{Event, Next, Refusal, next};
use crate::alarm::overlay::{HAND_MAX, Hand};
use crate::alarm::watch::{Cause, Watch, alarm_id};
use crate::alarm::{Alarm, Base, Change, Marks, RuleState, Severity, Transition};
use crate::clock::Timestamp;

/// What follows the rule's name in a drill's; no rule's own name has a dot.
pub(crate) const SUFFIX: &str = ".drill";

/// All drills that are under way, by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drills {
    open: BTreeMap<String, Alarm>,
    changed: Vec<String>,
}

impl Drills {
    /// Begins a drill of the rule of `watch`.
    pub(crate) fn begin(
        &mut self,
        site: &str,
        watch: &Watch,
        severity: Severity,
        until: Timestamp,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let name = format!("{}{SUFFIX}", watch.rule.name);
        if self.open.contains_key(&name) {
            return Err(Refusal::DrillUnderWay);
        }
        ends((cause.now, until), HAND_MAX, "a drill lasts 24 h")?;
        let mut alarm = watch.calm(cause);
        let words = |text: Option<&str>| text.unwrap_or_default().to_owned();
        alarm.id = alarm_id(site, &name, &alarm.point, cause.now);
        (alarm.rule, alarm.severity, alarm.state) = (name.clone(), severity, Base::ActiveUnacknowledged);
        alarm.marks = Marks { drill: true, ..Marks::default() };
        alarm.overlay = Default::default();
        alarm.overlay.hand =
            Some(Hand { severity, by: words(cause.by), reason: words(cause.note), until, before: None });
        self.open.insert(name.clone(), alarm);
        self.log(&name, Change::Raised, cause, out);
        Ok(())
    }

    /// The name of the drill that is called so, or whose alarm has this id.
    pub(crate) fn find(&self, target: &str) -> Option<String> {
        self.open
            .iter()
            .find(|(name, alarm)| *name == target || alarm.id == target)
            .map(|(name, _)| name.clone())
    }

    /// Somebody has seen it.
    pub(crate) fn acknowledge(
        &mut self,
        name: &str,
        seen: Severity,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let alarm = self.open.get_mut(name).ok_or(Refusal::NoSuchAlarm)?;
        if alarm.severity > seen {
            return Err(Refusal::Changed);
        }
        match next(alarm.state, Event::Acknowledge) {
            Next::To(state, change) => {
                (alarm.state, alarm.acknowledged) = (state, cause.by.map(|by| (by.to_owned(), cause.now)));
                self.log(name, change, cause, out);
                Ok(())
            }
            Next::Refused(refusal) => Err(refusal),
            Next::Same | Next::New => Ok(()),
        }
    }

    /// Ends one.
    pub(crate) fn end(&mut self, name: &str, cause: Cause<'_>, out: &mut Vec<Transition>) {
        if let Some(alarm) = self.open.get_mut(name) {
            alarm.state = Base::Normal;
            self.log(name, Change::Closed, cause, out);
            self.open.remove(name);
        }
    }

    /// Ends those whose rule is gone.
    pub(crate) fn keep(&mut self, known: impl Fn(&str) -> bool, now: Timestamp, out: &mut Vec<Transition>) {
        let gone = |name: &&String| !name.strip_suffix(SUFFIX).is_some_and(&known);
        let gone: Vec<String> = self.open.keys().filter(gone).cloned().collect();
        for name in gone {
            self.end(&name, Cause { note: Some("rule removed"), ..Cause::plain(now, now) }, out);
        }
    }

    /// Moves the ends by a step of the wall clock.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        for (name, alarm) in &mut self.open {
            if let Some(hand) = &mut alarm.overlay.hand {
                hand.until = hand.until.shifted(by_ms);
                self.changed.push(name.clone());
            }
        }
        self.changed.sort();
        self.changed.dedup();
    }

    /// The first end, and whose.
    pub(crate) fn due(&self) -> Option<(Timestamp, String)> {
        let end = |(name, alarm): (&String, &Alarm)| Some((alarm.overlay.hand.as_ref()?.until, name.clone()));
        self.open.iter().filter_map(end).min()
    }

    /// Takes one of an earlier run back.
    pub(crate) fn restore(&mut self, name: String, state: RuleState) {
        if let Some(alarm) = state.alarm {
            self.open.insert(name, alarm);
        }
    }

    pub(crate) fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.open.values()
    }

    /// States of all.
    pub(crate) fn states(&self) -> Vec<(String, RuleState)> {
        self.open.keys().map(|name| (name.clone(), self.state(name))).collect()
    }

    /// States that changed since the last call.
    pub(crate) fn dirty(&mut self) -> Vec<(String, RuleState)> {
        let names = std::mem::take(&mut self.changed);
        names.into_iter().map(|name| (name.clone(), self.state(&name))).collect()
    }

    fn state(&self, name: &str) -> RuleState {
        RuleState { alarm: self.open.get(name).cloned(), ..RuleState::default() }
    }

    fn log(&mut self, name: &str, change: Change, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let Some(alarm) = self.open.get(name).cloned() else { return };
        let (by, note) = (cause.by.map(str::to_owned), cause.note.map(str::to_owned));
        out.push(Transition { alarm, change, at: cause.now, by, note });
        if !self.changed.iter().any(|known| known == name) {
            self.changed.push(name.to_owned());
        }
    }
}
