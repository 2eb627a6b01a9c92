//! Rules that go on: over a restart of the gateway, and over other documents.
//!
//! In: rule states of an earlier run, or the rules of other documents. Out: an engine in which each rule that is still there goes on under its name.
//! Invariant: no alarm rises again or disappears; a rule that is gone closes its alarm.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::alarm::drill;
use crate::alarm::engine::Engine;
use crate::alarm::settle::{list, register};
use crate::alarm::watch::{Gauge, Watch};
use crate::alarm::{Alarm, Base, Change, Rule, RuleState, Transition};
use crate::clock::Timestamp;
use crate::point::Catalog;

impl Engine {
    /// Takes back rule states of an earlier run, by rule name. Alarms neither rise again nor disappear; a rule that is gone closes its alarm; silence is counted
    /// from `now`. Delays under way go on when the next reading comes within `max_gap` of `last`, the time of that run's last commit
    /// (`None`: unknown, counts as a long gap).
    pub fn restore(&mut self, states: Vec<(String, RuleState)>, last: Option<Timestamp>, now: Timestamp) {
        let names: BTreeMap<String, usize> =
            self.watches.iter().enumerate().map(|(index, watch)| (watch.rule.name.clone(), index)).collect();
        for (name, state) in states {
            match names.get(&name).and_then(|&index| Some((index, self.watches.get_mut(index)?))) {
                Some((index, watch)) => {
                    watch.restore(state, last, now, &mut self.out);
                    list(&mut self.changed, &mut self.deadlines, index, watch);
                }
                None if state == RuleState::default() => {}
                None if name.strip_suffix(drill::SUFFIX).is_some_and(|rule| names.contains_key(rule)) => {
                    self.drills.restore(name, state);
                }
                None => {
                    self.out.extend(state.alarm.and_then(|alarm| removed(alarm, now)));
                    self.gone.push(name);
                }
            }
        }
        self.begin_anew(now);
    }

    /// Timers, deadlines and causes after a start.
    pub(crate) fn begin_anew(&mut self, now: Timestamp) {
        self.start(now);
        self.deadlines.clear();
        for watch in &mut self.watches {
            watch.registered = None;
            // Since when silence is counted goes to the disk: a gateway that is killed again and again still finds out who is silent.
            watch.changed |= matches!(watch.gauge, Gauge::Stale(_));
        }
        (0..self.watches.len()).for_each(|index| self.touched(index));
        self.explain_all(now);
        self.settle(0, now);
    }

    /// Takes the rules of other documents. A rule that asks the same of the same point goes on as it is, delays under way and all; one that asks something else
    /// keeps its alarm; one that is gone closes its alarm; a new one begins at rest, with silence counted from `now`.
    pub fn reload(&mut self, rules: Vec<Rule>, catalog: &Catalog, now: Timestamp) {
        let fresh = Self::new(&self.site, rules, catalog);
        let watches = std::mem::replace(&mut self.watches, fresh.watches);
        (self.routes, self.explains, self.hides) = (fresh.routes, fresh.explains, fresh.hides);
        let mut before: BTreeMap<String, Watch> =
            watches.into_iter().map(|watch| (watch.rule.name.clone(), watch)).collect();
        self.changed.clear();
        self.timers.clear();
        self.deadlines.clear();
        let from = self.out.len();
        let Self { watches, timers, out, changed, started, deadlines, .. } = self;
        for (index, watch) in watches.iter_mut().enumerate() {
            match before.remove(&watch.rule.name) {
                Some(old) => watch.succeed(old, now, out),
                None => {
                    if let Gauge::Stale(stale) = &mut watch.gauge {
                        stale.restart(now);
                    }
                }
            }
            watch.listed = false;
            list(changed, deadlines, index, watch);
            register(deadlines, index, watch);
            if let Gauge::Stale(stale) = &watch.gauge
                && *started
                && !stale.silent
            {
                timers.push(Reverse((stale.due(), index)));
            }
        }
        for (name, watch) in before {
            let state = watch.save();
            self.out.extend(state.alarm.and_then(|alarm| removed(alarm, now)));
            self.gone.push(name);
        }
        self.drills.keep(|rule| self.watches.iter().any(|watch| watch.rule.name == rule), now, &mut self.out);
        self.explain_all(now);
        self.settle(from, now);
    }
}

fn removed(alarm: Alarm, now: Timestamp) -> Option<Transition> {
    let open = alarm.state != Base::Normal;
    let alarm = Alarm { state: Base::Normal, ..alarm };
    let note = Some("rule removed".to_owned());
    open.then_some(Transition { alarm, change: Change::Closed, at: now, by: None, note })
}
