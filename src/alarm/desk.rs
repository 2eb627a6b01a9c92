//! The operator's desk: what persons do to alarms, by an alarm's id or a rule's name.
//!
//! In: an [`Act`] with who and when. Out: transitions in the engine's log, or why not.
//! Invariant: a refused act changes nothing.

use std::time::Duration;

use crate::alarm::Severity;
use crate::alarm::engine::Engine;
use crate::alarm::lifecycle::{Event, Refusal};
use crate::alarm::overlay::Permit;
use crate::alarm::watch::Cause;
use crate::clock::Timestamp;

/// What a person does to an alarm beside acknowledging it. A closed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ends a latched alarm, or a drill.
    Reset,
    /// Hides it for a while.
    Shelve {
        /// The severity that was seen.
        seen: Option<Severity>,
        /// How long.
        span: Duration,
    },
    /// Ends the shelf.
    Unshelve,
    /// Takes it out of service.
    TakeOut {
        /// Number of the permit.
        number: String,
        /// From then; now when there is none.
        from: Option<Timestamp>,
        /// Until then.
        to: Timestamp,
        /// The person responsible.
        responsible: String,
        /// What watches instead.
        substitute: Option<String>,
    },
    /// Puts it back into service.
    PutBack,
    /// Raises the severity (提级响应).
    Lift {
        /// To this.
        severity: Severity,
        /// How long.
        span: Duration,
    },
    /// Begins a drill (演练) of the rule.
    Drill {
        /// Of this severity.
        severity: Severity,
        /// How long.
        span: Duration,
    },
}

impl Engine {
    /// A person ends the latched alarm `id`.
    ///
    /// # Errors
    /// No open alarm has this id, its condition still holds, nobody has acknowledged it, it does not latch.
    pub fn reset(&mut self, id: &str, by: &str, now: Timestamp) -> Result<(), Refusal> {
        self.act(id, Act::Reset, by, None, now)
    }

    /// Does `act` to the alarm or rule `target`.
    ///
    /// # Errors
    /// Neither an open alarm nor a rule is called `target`, or the alarm's state does not allow it.
    pub fn act(
        &mut self,
        target: &str,
        act: Act,
        by: &str,
        note: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let from = self.out.len();
        let cause = Cause { by: Some(by), note, ..Cause::plain(now, now) };
        if let Some(name) = self.drills.find(target) {
            if act != Act::Reset {
                return Err(Refusal::NoSuchRule);
            }
            self.drills.end(&name, cause, &mut self.out);
            self.settle(from, now);
            return Ok(());
        }
        let id = self
            .watches
            .iter()
            .position(|watch| watch.alarm.as_ref().is_some_and(|alarm| alarm.id == target));
        let rule = || self.watches.iter().position(|watch| watch.rule.name == target);
        let Some(index) = id.or_else(rule) else {
            return Err(if act == Act::Reset { Refusal::NoSuchAlarm } else { Refusal::NoSuchRule });
        };
        let Some(watch) = self.watches.get_mut(index) else { return Err(Refusal::NoSuchRule) };
        let out = &mut self.out;
        let done = match act {
            Act::Reset => watch.feed(Event::Reset, cause, out),
            Act::Shelve { seen, span } => watch.shelve(seen, now.plus(span), cause, out),
            Act::Unshelve => watch.unshelve(cause, out),
            Act::TakeOut { number, from, to, responsible, substitute } => {
                let (from, by) = (from.unwrap_or(now), by.to_owned());
                watch.take_out(Permit { number, from, to, responsible, substitute, by }, cause, out)
            }
            Act::PutBack => watch.put_back(cause, out),
            Act::Lift { severity, span } => watch.lift(severity, now.plus(span), cause, out),
            Act::Drill { severity, span } => {
                self.drills.begin(&self.site, watch, severity, now.plus(span), cause, out)
            }
        };
        self.touched(index);
        self.settle(from, now);
        done
    }
}
