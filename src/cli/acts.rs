//! What persons did, read back from a journal's transitions, so that a replay does it again.
//!
//! In: transitions in order. Out: events with the core's time of then.
//! Invariant: what a timer or a rule did is nobody's act: the replay comes to it by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::desk::Act;
use crate::alarm::load::FLOOD_RULE;
use crate::alarm::{Alarm, Base, Change, Transition};
use crate::clock::Timestamp;
use crate::gateway::core::Event;

/// What follows a rule's name in a drill's.
const DRILL: &str = ".drill";

/// What has to be known of earlier acts.
#[derive(Default)]
struct Past {
    /// Permits that were entered before they began, by rule and number.
    planned: BTreeSet<(String, String)>,
    /// The number of each rule's permit.
    permits: BTreeMap<String, String>,
    /// Maintenance of a sensor is one act upon many rules.
    maintained: BTreeSet<(String, Timestamp, bool)>,
}

/// All acts, in order.
pub(crate) fn acts(held: &[Transition]) -> Vec<(Timestamp, Event)> {
    let mut past = Past::default();
    held.iter().filter_map(|transition| Some((transition.at, past.event(transition)?))).collect()
}

impl Past {
    #[expect(clippy::too_many_lines, reason = "one flat match, an arm for each change")]
    fn event(&mut self, transition: &Transition) -> Option<Event> {
        let Transition { alarm, change, at, note, .. } = transition;
        let by = transition.by.clone();
        let act = |target: &str, act: Act, note: &Option<String>| {
            let (target, note) = (target.to_owned(), note.clone());
            by.clone().map(|by| Event::Act { target, act, by, note })
        };
        let target = if alarm.state == Base::Normal { &alarm.rule } else { &alarm.id };
        let overlay = &alarm.overlay;
        match change {
            Change::Acknowledged => {
                let (id, seen, note) = (alarm.id.clone(), alarm.severity, note.clone());
                by.map(|by| Event::Acknowledge { id, seen, by, note })
            }
            Change::Reset => act(&alarm.id, Act::Reset, note),
            Change::Closed if alarm.marks.drill => act(&alarm.id, Act::Reset, note),
            Change::Raised if alarm.marks.drill => {
                let span = overlay.hand.as_ref()?.until.since(*at);
                let rule = alarm.rule.strip_suffix(DRILL)?;
                act(rule, Act::Drill { severity: alarm.severity, span }, note)
            }
            Change::Shelved => {
                let span = overlay.shelf.as_ref()?.until.since(*at);
                act(target, Act::Shelve { seen: None, span }, note)
            }
            Change::Unshelved => act(target, Act::Unshelve, note),
            Change::Planned => {
                let permit = overlay.planned.as_ref()?;
                self.planned.insert((alarm.rule.clone(), permit.number.clone()));
                act(target, taken_out(permit), note)
            }
            Change::OutOfService => {
                let permit = overlay.permit.as_ref()?;
                self.permits.insert(alarm.rule.clone(), permit.number.clone());
                if self.planned.remove(&(alarm.rule.clone(), permit.number.clone())) {
                    return None;
                }
                let Some(sensor) = permit.maintained() else { return act(target, taken_out(permit), note) };
                let first = self.maintained.insert((sensor.to_owned(), *at, true));
                let maintain = Act::Maintain {
                    span: permit.to.since(*at),
                    role: permit.responsible.clone(),
                    substitute: permit.substitute.clone(),
                };
                first.then(|| act(sensor, maintain, &permit.reason)).flatten()
            }
            Change::InService => {
                let number = self.permits.remove(&alarm.rule).unwrap_or_default();
                let Some(sensor) = crate::alarm::overlay::maintained(&number) else {
                    return act(target, Act::PutBack, note);
                };
                by.as_ref()?;
                let first = self.maintained.insert((sensor.to_owned(), *at, false));
                first.then(|| act(sensor, Act::Maintained, note)).flatten()
            }
            Change::Lifted => {
                let hand = overlay.hand.as_ref()?;
                act(&alarm.id, Act::Lift { severity: hand.severity, span: hand.until.since(*at) }, note)
            }
            Change::Raised
            | Change::Reraised
            | Change::Rose
            | Change::Fell
            | Change::Cleared
            | Change::Closed => None,
            Change::Unverified | Change::Verified | Change::Unverifiable | Change::Lowered => None,
            Change::Suppressed | Change::Unsuppressed | Change::Chattering | Change::Quiet => None,
        }
    }
}

fn taken_out(permit: &crate::alarm::overlay::Permit) -> Act {
    Act::TakeOut {
        number: permit.number.clone(),
        from: Some(permit.from),
        to: permit.to,
        responsible: permit.responsible.clone(),
        substitute: permit.substitute.clone(),
    }
}

/// Leaves out what is the core's time and not the readings': the journal has that only to the length of a commit.
pub(crate) fn forget_core_time(alarm: &mut Alarm) {
    if let Some((_, at)) = &mut alarm.acknowledged {
        *at = Timestamp::default();
    }
    for one in [&mut alarm.overlay.design, &mut alarm.overlay.cause].into_iter().flatten() {
        one.since = Timestamp::default();
    }
    // The place in the log of a rule without an alarm, whose overlay a timer ended; and a flood, which begins with a transition.
    let calm = alarm.state == Base::Normal && alarm.value.is_none() && !alarm.marks.drill;
    if calm || alarm.rule == FLOOD_RULE {
        (alarm.since, alarm.id) = (Timestamp::default(), String::new());
    }
}
