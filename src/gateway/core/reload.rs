//! Other documents from one poll to the next.
//!
//! In: the new site. Out: the same core under its names.
//! Invariant: names are the identity; what reads the same goes on, what is gone closes.

use crate::alarm::recall::Primed;
use crate::clock::Timestamp;
use crate::derive::Derived;
use crate::gateway::core::Core;
use crate::gateway::vigil::Vigil;
use crate::point::PointId;
use crate::reading::Reading;
use crate::site::{Site, diff};

impl Core {
    /// Gives rules that ask something else since the documents turned what `primed` knows, and the readings `since`, in order of time and under the present
    /// numbers. Nothing follows from it.
    pub fn refill(&mut self, primed: Primed, since: &[Reading], now: Timestamp) {
        self.engine.refill(primed, since, now);
    }

    /// Goes on with the documents of `site`.
    pub(super) fn reloaded(&mut self, site: &Site, now: Timestamp) {
        let mut fresh = Self::new(site);
        let numbers = self.catalog.renumbered(&site.catalog);
        let kept = |point: PointId| {
            let to = numbers.point(point)?;
            let (was, is) = (self.catalog.point(point)?, site.catalog.point(to)?);
            let same = match (self.devices.get(&was.device), fresh.devices.get(&is.device)) {
                // A derived point may bear a polled device's name.
                (Some(old), Some(new)) => {
                    !old.spec.points.contains(&Some(point)) || diff::reads_the_same(&old.spec, &new.spec)
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            (same && was.unit == is.unit).then_some(to)
        };
        let derived = std::mem::replace(&mut self.derived, Derived::new(Vec::new(), &site.catalog));
        fresh.derived.succeed(derived, kept, |point| numbers.point(point));
        fresh.attention.succeed(&self.attention);
        fresh.vigil.succeed(std::mem::replace(&mut self.vigil, Vigil::new(site)));
        self.times.renumber(|point| numbers.point(point));
        self.engine.reload(site.rules.clone(), &site.catalog, now);
        let open = self.engine.alarms();
        open.iter().for_each(|alarm| fresh.attention.alarm(alarm));
        (self.catalog, self.devices) = (fresh.catalog, fresh.devices);
        (self.derived, self.attention) = (fresh.derived, fresh.attention);
        self.vigil = fresh.vigil;
        (self.flood_point, self.looks) = (fresh.flood_point, fresh.looks);
    }
}
