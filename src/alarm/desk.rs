//! The operator's desk: what persons do to alarms, by an alarm's id or a rule's name.
//!
//! In: an [`Act`] with who and when. Out: transitions in the engine's log, or why not.
//! Invariant: a refused act changes nothing.

use std::time::Duration;

use crate::alarm::Severity;
use crate::alarm::acts::ends;
use crate::alarm::engine::Engine;
use crate::alarm::lifecycle::{Event, Refusal};
use crate::alarm::overlay::Permit;
use crate::alarm::watch::{Cause, Watch};
use crate::clock::Timestamp;

/// The longest maintenance of a sensor: it may be sent away to be calibrated.
const MAINTENANCE_MAX: Duration = Duration::from_secs(30 * 86_400);

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
    /// Takes a sensor into maintenance: what looks at it pages nobody. The target is a device.
    Maintain {
        /// How long.
        span: Duration,
        /// The role of the person who works on it.
        role: String,
        /// What watches instead; needed where that hides an active red alarm.
        substitute: Option<String>,
    },
    /// Ends the maintenance of a sensor. The target is a device.
    Maintained,
    /// Begins a drill (演练) of the rule.
    Drill {
        /// Of this severity.
        severity: Severity,
        /// How long.
        span: Duration,
    },
}

/// The maintenance of a sensor.
#[derive(Clone, Copy, Debug)]
pub struct Maintenance<'a> {
    /// Until then.
    pub to: Timestamp,
    /// The role of the person who works on it.
    pub role: &'a str,
    /// What watches instead.
    pub substitute: Option<&'a str>,
}

impl Engine {
    /// The rules among `rules` whose active red alarm the maintenance of `sensor` would hide, with nothing said that watches instead.
    pub fn reds(&self, (sensor, rules): (&str, &[String])) -> Vec<&str> {
        let number = Permit::maintenance(sensor);
        let red = |watch: &&Watch| {
            let alarm = watch.alarm.as_ref().filter(|alarm| alarm.state.is_active());
            alarm.is_some_and(|alarm| alarm.severity == Severity::Red)
                && rules.contains(&watch.rule.name)
                && match &watch.overlay.permit {
                    // A permit of its own lasts.
                    Some(permit) => permit.number == number && permit.substitute.is_none(),
                    None => true,
                }
        };
        self.watches.iter().filter(red).map(|watch| watch.rule.name.as_str()).collect()
    }

    /// Takes the rules that look at `sensor` out of service for its maintenance, or puts them back (`None`).
    ///
    /// # Errors
    /// It lasts too long, it hides an active red alarm and nothing watches instead, or there is none.
    pub fn maintain(
        &mut self,
        (sensor, rules): (&str, &[String]),
        work: Option<Maintenance<'_>>,
        (by, reason): (&str, Option<&str>),
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if let Some(work) = work {
            ends((now, work.to), MAINTENANCE_MAX, "maintenance lasts 30 days")?;
            if work.substitute.is_none() && !self.reds((sensor, rules)).is_empty() {
                return Err(Refusal::HidesRed);
            }
        }
        let (from, number) = (self.out.len(), Permit::maintenance(sensor));
        let cause = Cause { by: Some(by), note: reason, ..Cause::plain(now, now) };
        let mut any = false;
        for index in 0..self.watches.len() {
            let Some(watch) = self.watches.get_mut(index).filter(|watch| rules.contains(&watch.rule.name))
            else {
                continue;
            };
            let own = watch.overlay.permit.as_ref().is_some_and(|permit| permit.number == number);
            match work {
                Some(work) if own || watch.overlay.permit.is_none() => {
                    let before = watch.overlay.permit.as_ref().and_then(|permit| permit.substitute.clone());
                    let substitute = work.substitute.map(str::to_owned).or(before);
                    let (responsible, by) = (work.role.to_owned(), by.to_owned());
                    let (number, reason) = (number.clone(), reason.map(str::to_owned));
                    let permit =
                        Permit { number, from: now, to: work.to, responsible, substitute, by, reason };
                    watch.under(permit, cause, &mut self.out);
                }
                None if own => watch.put_back(cause, &mut self.out)?,
                // A permit of its own lasts.
                Some(_) | None => continue,
            }
            any = true;
            self.touched(index);
        }
        self.settle(from, now);
        if any { Ok(()) } else { Err(Refusal::NotMaintained) }
    }

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
                watch.take_out(
                    Permit { number, from, to, responsible, substitute, by, reason: None },
                    cause,
                    out,
                )
            }
            Act::PutBack => watch.put_back(cause, out),
            Act::Lift { severity, span } => watch.lift(severity, now.plus(span), cause, out),
            Act::Maintain { .. } | Act::Maintained => Err(Refusal::NoSuchSensor),
            Act::Drill { severity, span } => {
                self.drills.begin(&self.site, watch, severity, now.plus(span), cause, out)
            }
        };
        self.touched(index);
        self.settle(from, now);
        done
    }
}
