//! Many DTUs of one port gone at once: the carrier or the network has failed, not each of them.
//!
//! In: which lines are down, with each poll. Out: for each port, whether more than half of its DTUs were lost together.
//! Invariant: pure; a port with fewer than [`crate::site::outage::LINES_MIN`] DTUs has none of this. It ends when no more than half of them are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::point::{LineId, PointId};
use crate::site::outage::groups;
use crate::site::{LineSpec, Site};

/// DTUs lost within this are lost together.
const TOGETHER: Duration = Duration::from_secs(60);
/// A connection without an answer is given up after so many polls.
const POLLS: u32 = 3;

/// All ports where DTUs dial in.
#[derive(Debug, Default)]
pub(crate) struct Outages(Vec<Port>);

#[derive(Debug)]
struct Port {
    listen: SocketAddr,
    point: PointId,
    lines: BTreeSet<LineId>,
    /// Losses this far apart count as together: a minute, and the polls by which they are seen.
    within: Duration,
    lost: BTreeMap<LineId, Timestamp>,
    active: bool,
}

impl Outages {
    /// The ports of `site`; nothing is lost yet.
    pub(crate) fn of(site: &Site) -> Self {
        let port = |(listen, short): (SocketAddr, String)| {
            let point = site.catalog.find(&format!("gateway.{short}"))?.id;
            let lines = site.lines.iter().filter(|line| line.settings.address.dials_in_at() == Some(listen));
            let every = |line: &LineSpec| {
                let devices = line.devices.iter().filter_map(|place| site.devices.get(*place));
                devices.map(|device| device.every).max().unwrap_or_default()
            };
            let within = TOGETHER + lines.clone().map(every).max().unwrap_or_default() * POLLS;
            let lines = lines.map(|line| line.id).collect();
            Some(Port { listen, point, lines, within, lost: BTreeMap::new(), active: false })
        };
        Self(groups(&site.lines).into_iter().filter_map(port).collect())
    }

    /// Goes on for `old` after other documents; `renumbered` is a line's number now.
    pub(crate) fn succeed(&mut self, old: Self, renumbered: impl Fn(LineId) -> Option<LineId>) {
        for before in old.0 {
            let Some(port) = self.0.iter_mut().find(|port| port.listen == before.listen) else { continue };
            port.active = before.active;
            port.lost = before
                .lost
                .into_iter()
                .filter_map(|(line, at)| Some((renumbered(line)?, at)))
                .filter(|(line, _)| port.lines.contains(line))
                .collect();
        }
    }

    /// A line was polled.
    pub(crate) fn polled(&mut self, line: LineId, is_down: bool, now: Timestamp) {
        let Some(port) = self.0.iter_mut().find(|port| port.lines.contains(&line)) else { return };
        if is_down {
            port.lost.entry(line).or_insert(now);
        } else {
            port.lost.remove(&line);
        }
        port.judge();
    }

    /// Each port's point, and whether its DTUs are gone together; not before it is `known` of each how it is.
    pub(crate) fn states(&self, known: impl Fn(LineId) -> bool) -> impl Iterator<Item = (PointId, bool)> {
        let told = self.0.iter().filter(move |port| port.lines.iter().all(|line| known(*line)));
        told.map(|port| (port.point, port.active))
    }
}

impl Port {
    /// Lost together: within the span before the newest loss. Once it is so, it stays so while more than half are gone.
    fn judge(&mut self) {
        let Some(newest) = self.lost.values().max().copied() else {
            self.active = false;
            return;
        };
        let together = self.lost.values().filter(|at| newest.since(**at) <= self.within).count();
        let half = |count: usize| self.lines.len() < count * 2;
        self.active = half(together) || (self.active && half(self.lost.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outages(count: u32) -> Outages {
        let port = Port {
            listen: SocketAddr::from(([0, 0, 0, 0], 5020)),
            point: PointId(7),
            lines: (0..count).map(LineId).collect(),
            within: TOGETHER,
            lost: BTreeMap::new(),
            active: false,
        };
        Outages(vec![port])
    }

    /// Whether it is an outage after each of these polls: second, line, down.
    fn judged(count: u32, polls: &[(i64, u32, bool)]) -> Vec<bool> {
        let mut outages = outages(count);
        let judge = |(second, line, down): &(i64, u32, bool)| {
            outages.polled(LineId(*line), *down, Timestamp::from_millis(second * 1000));
            outages.states(|_| true).all(|state| state == (PointId(7), true))
        };
        polls.iter().map(judge).collect()
    }

    #[test]
    fn more_than_half_within_a_minute_is_one_outage() {
        let polls = [(0, 0, true), (5, 1, true), (30, 2, true), (31, 2, true), (90, 0, false), (95, 3, true)];
        // The fourth is lost 65 s after the third: of those lost together it is alone.
        assert_eq!(judged(4, &polls), [false, false, true, true, false, false]);
    }

    #[test]
    fn one_after_the_other_is_none() {
        let polls = [(0, 0, true), (100, 1, true), (200, 2, true), (300, 3, true)];
        assert_eq!(judged(4, &polls), [false; 4]);
        let late =
            [(0, 0, true), (10, 1, true), (20, 2, true), (500, 3, true), (600, 0, false), (601, 1, false)];
        assert_eq!(judged(4, &late), [false, false, true, true, true, false], "it lasts while most are gone");
    }
}
