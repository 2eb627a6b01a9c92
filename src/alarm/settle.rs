//! What follows from a change: figures, alarms below the one that explains them, and when to look again.
//!
//! In: the engine after its watches took something. Out: more transitions in its log, deadlines, the list of changed watches.
//! Invariant: settling twice changes nothing the second time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::alarm::Transition;
use crate::alarm::engine::Engine;
use crate::alarm::load::Load;
use crate::alarm::watch::{Cause, Watch};
use crate::clock::Timestamp;
use crate::reading::Reading;

/// When to look at which watch.
pub(crate) type Deadlines = BinaryHeap<Reverse<(Timestamp, usize)>>;

impl Engine {
    /// How many alarms reach a person.
    pub const fn load(&self) -> &Load {
        &self.load
    }

    /// Counts transitions of the last day anew, as the journal has them.
    pub fn recount<'a>(&mut self, transitions: impl IntoIterator<Item = &'a Transition>, now: Timestamp) {
        self.load = Load::default();
        transitions.into_iter().for_each(|transition| self.load.take(transition));
        self.load.look(now);
    }

    /// What follows from the transitions since `from`: figures, and alarms that others explain.
    pub(crate) fn settle(&mut self, from: usize, now: Timestamp) {
        self.spread(from, now);
        let Self { out, load, .. } = self;
        out.iter().skip(from).for_each(|transition| load.take(transition));
    }

    /// Puts alarms below the one that explains them, and lets them come out.
    pub(crate) fn spread(&mut self, from: usize, now: Timestamp) {
        if self.explains.is_empty() {
            return;
        }
        let moved = self.out.iter().skip(from).map(|transition| &transition.alarm.rule);
        let causes: BTreeSet<String> =
            moved.filter(|rule| self.explains.contains_key(*rule)).cloned().collect();
        causes.iter().for_each(|rule| self.explain(rule, now));
    }

    fn explain(&mut self, rule: &str, now: Timestamp) {
        for index in self.explains.get(rule).cloned().unwrap_or_default() {
            let active = |watch: &&Watch| watch.is_active();
            let causes =
                self.watches.get(index).map(|watch| watch.rule.bonds.causes.clone()).unwrap_or_default();
            let parent = causes
                .iter()
                .filter_map(|id| self.watches.iter().find(|watch| watch.rule.id == *id))
                .find(active)
                .and_then(|watch| watch.alarm.clone());
            if let Some(watch) = self.watches.get_mut(index) {
                watch.explain(parent.as_ref(), Cause::plain(now, now), &mut self.out);
            }
            self.touched(index);
        }
    }

    pub(crate) fn hide(&mut self, reading: &Reading, cause: Cause<'_>) {
        for &index in self.hides.get(&reading.point).map_or(&[][..], Vec::as_slice) {
            let Some(watch) = self.watches.get_mut(index) else { continue };
            watch.hide(&reading.sample, cause, &mut self.out);
            list(&mut self.changed, &mut self.deadlines, index, watch);
        }
    }

    /// Lists a watch that may have changed, and looks when it wants to be called.
    pub(crate) fn touched(&mut self, index: usize) {
        if let Some(watch) = self.watches.get_mut(index) {
            register(&mut self.deadlines, index, watch);
            list(&mut self.changed, &mut self.deadlines, index, watch);
        }
    }

    pub(crate) fn explain_all(&mut self, now: Timestamp) {
        let causes: Vec<String> = self.explains.keys().cloned().collect();
        causes.iter().for_each(|rule| self.explain(rule, now));
    }
}

/// Puts a changed watch on the list, once, and looks when it wants to be called.
pub(crate) fn list(changed: &mut Vec<usize>, deadlines: &mut Deadlines, index: usize, watch: &mut Watch) {
    if !watch.changed {
        return;
    }
    register(deadlines, index, watch);
    if !watch.listed {
        watch.listed = true;
        changed.push(index);
    }
}

/// Notes when a watch wants to be called.
pub(crate) fn register(deadlines: &mut Deadlines, index: usize, watch: &mut Watch) {
    let due = watch.due();
    if due != watch.registered {
        watch.registered = due;
        deadlines.extend(due.map(|due| Reverse((due, index))));
    }
}
