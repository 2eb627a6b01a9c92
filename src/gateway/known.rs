//! Which lines have shown how they are since the gateway started: before that nobody knows, and nothing is said.
//!
//! In: polls. Out: whether a line's own point may be read.
//! Invariant: a line that was down before a restart is neither down nor good until an attempt on it has come to something.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::line::Polled;
use crate::point::LineId;
use crate::reading::Reason;
use crate::site::Site;

/// A line that shows nothing for so long, as one of which nothing can be asked, is read as it seems.
const SEEMS: Duration = Duration::from_secs(120);

/// See the module.
pub(crate) struct KnownLines {
    begun: Instant,
    /// Lines that have shown it, or have nothing to show it by.
    lines: BTreeSet<LineId>,
    /// Lines of one device: nobody can say whether it is the device or the line that is silent.
    alone: BTreeSet<LineId>,
}

impl KnownLines {
    /// Nothing is known yet.
    pub(crate) fn of(site: &Site, begun: Instant) -> Self {
        let with = |devices: std::ops::Range<usize>| {
            let lines = site.lines.iter().filter(move |line| devices.contains(&line.devices.len()));
            lines.map(|line| line.id).collect()
        };
        Self { begun, lines: with(0..1), alone: with(1..2) }
    }

    /// Goes on for `old` after other documents; `renumbered` is a line's number now.
    pub(crate) fn succeed(&mut self, old: &Self, renumbered: impl Fn(LineId) -> Option<LineId>) {
        self.begun = old.begun;
        self.lines.extend(old.lines.iter().filter_map(|line| renumbered(*line)));
    }

    /// Takes a poll; whether its line is known from now on and was not before.
    pub(crate) fn polled(&mut self, polled: &Polled) -> bool {
        let shows = polled.trouble.is_some()
            || match &polled.failure {
                // Over an open line; whether any device answers there is seen when all have been asked.
                Some(Reason::Timeout) => self.alone.contains(&polled.line),
                Some(Reason::LineDown | Reason::NotPolled) => false,
                _ => true,
            };
        shows && self.lines.insert(polled.line)
    }

    /// Whether it is known how a line is.
    pub(crate) fn holds(&self, line: LineId, now: Instant) -> bool {
        self.lines.contains(&line) || SEEMS <= now.saturating_duration_since(self.begun)
    }
}
