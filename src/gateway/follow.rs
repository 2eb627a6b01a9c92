//! How a line's task follows new orders over the connection that it has: other documents, other devices to be polled denser.
//!
//! In: what the task is at, and [`Orders`]. Out: the task by the new orders, or that another task must take its place.
//! Invariant: a device that is polled as before keeps its turn, health, figures and what it waits for; without a change nothing moves.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use crate::gateway::line::{Asked, LineTask, Orders, turns};
use crate::gateway::polling::Polling;
use crate::gateway::text_line;
use crate::point::DeviceId;
use crate::site::{LineSpec, Site, diff};

impl LineTask {
    /// Takes new orders; whether this task is the one to follow them.
    pub(crate) fn obey(&mut self, now: Instant) -> bool {
        if self.stop.as_ref().is_some_and(|stop| *stop.borrow()) {
            return false;
        }
        if !self.ports.orders.has_changed().unwrap_or(false) {
            return true;
        }
        let Orders { site, dense } = self.ports.orders.borrow_and_update().clone();
        if !Arc::ptr_eq(&site, &self.site) && !self.turn_to(site, now) {
            return false;
        }
        self.densify(dense, now);
        true
    }

    /// Goes on by other documents over the same connection: a device that is polled as before keeps all it is at. Whether that is possible.
    fn turn_to(&mut self, site: Arc<Site>, now: Instant) -> bool {
        let Some((was, is)) = kept(&self.site, &site, &self.name) else { return false };
        let old = |polling: &Polling| {
            was.devices
                .iter()
                .filter_map(|place| self.site.devices.get(*place))
                .find(|spec| spec.id == polling.id)
        };
        let mut before: Vec<Option<Polling>> =
            std::mem::take(&mut self.devices).into_iter().map(Some).collect();
        let mut places = Vec::new();
        let mut named = Vec::new();
        let mut denser = BTreeSet::new();
        for spec in is.devices.iter().filter_map(|place| site.devices.get(*place)) {
            let name = site.catalog.device(spec.id).map(|named| named.name.clone()).unwrap_or_default();
            let place = before
                .iter()
                .position(|polling| polling.as_ref().is_some_and(|polling| polling.name == name));
            named.push(place);
            let same = |place: &usize| {
                let polling = before.get(*place).and_then(Option::as_ref);
                polling.and_then(old).is_some_and(|old| diff::same_device(old, spec))
            };
            let place = place.filter(same);
            let kept = place.and_then(|place| before.get_mut(place)?.take());
            if kept.as_ref().is_some_and(|kept| self.denser.contains(&kept.id)) {
                denser.insert(spec.id);
            }
            places.push(place.filter(|_| kept.is_some()));
            self.devices.push(match kept {
                Some(mut polling) => {
                    polling.renumber(spec.id);
                    polling
                }
                None => Polling::new(spec, name, &is.settings),
            });
        }
        let mut turns = turns(&self.devices, is.id, now);
        turns.succeed(&self.turns, &places);
        (self.turns, self.stats) = (turns, self.stats.rearranged(&named));
        let moved = |(at, asked): (Instant, Asked)| {
            let device = places.iter().position(|place| *place == Some(asked.device))?;
            Some((at, Asked { device, ..asked }))
        };
        self.paused = std::mem::take(&mut self.paused).into_iter().filter_map(moved).collect();
        (self.id, self.denser) = (is.id, denser);
        self.site = site;
        true
    }

    /// Takes the command which devices are polled denser.
    fn densify(&mut self, wanted: BTreeSet<DeviceId>, now: Instant) {
        for (index, device) in self.devices.iter().enumerate() {
            let Some(every) = device.every_in_alarm else { continue };
            let dense = wanted.contains(&device.id);
            if dense == self.denser.contains(&device.id) {
                continue;
            }
            tracing::info!(device = %device.name, dense, every_ms = every.as_millis(), "denser polling");
            self.turns.densify(index, dense.then_some(every), now);
        }
        self.denser = wanted;
    }
}

/// Whether the task of a line goes on by itself when `new` holds after `old`.
pub(crate) fn goes_on(old: &Site, new: &Site, name: &str) -> bool {
    let Some((was, is)) = diff::named(old, name).zip(diff::named(new, name)) else { return false };
    let same = diff::same_connection(old, new, name);
    match (text_line::speaks(old, was), text_line::speaks(new, is)) {
        (false, false) => same,
        (true, true) => same && text_line::same_speakers((old, was), (new, is)),
        _ => false,
    }
}

/// A line of Modbus devices that goes on over its connection: as it was and as it is.
fn kept<'a>(old: &'a Site, new: &'a Site, name: &str) -> Option<(&'a LineSpec, &'a LineSpec)> {
    let (was, is) = diff::named(old, name).zip(diff::named(new, name))?;
    (!text_line::speaks(new, is) && diff::same_connection(old, new, name)).then_some((was, is))
}
