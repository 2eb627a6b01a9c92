//! The gateway's own points: what it knows of its disk, clock, journal, documents, lines and sinks.
//!
//! In: a site. Out: the numbers of those points. Invariant: none for a site without the device `gateway`.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::gateway::line::Polled;
use crate::loss::{Loss, Losses};
use crate::point::{DeviceId, LineId, PointId};
use crate::reading::{Batch, Reading, Sample};
use crate::site::{Site, diff};

/// The gateway's own points.
pub(crate) struct Own {
    pub(crate) device: DeviceId,
    pub(crate) disk: Option<PointId>,
    pub(crate) clock: Option<PointId>,
    pub(crate) journal: Option<PointId>,
    pub(crate) documents: Option<PointId>,
    pub(crate) lines: Vec<(LineId, PointId)>,
    /// Sinks by name.
    pub(crate) sinks: Vec<(String, PointId)>,
}

impl Own {
    /// The points of the device `gateway`.
    pub(crate) fn of(site: &Site) -> Option<Self> {
        let catalog = &site.catalog;
        let device =
            catalog.devices.iter().find(|device| device.name == "gateway" && device.line.is_none())?;
        let point = |name: &str| catalog.find(&format!("gateway.{name}")).map(|point| point.id);
        let lines =
            catalog.lines.iter().filter_map(|line| Some((line.id, point(&format!("line-{}", line.name))?)));
        let sinks = site
            .sinks
            .iter()
            .filter_map(|sink| Some((sink.name.clone(), point(&format!("sink-{}", sink.name))?)));
        Some(Self {
            device: device.id,
            disk: point("disk"),
            clock: point("clock"),
            journal: point("journal"),
            documents: point("documents"),
            lines: lines.collect(),
            sinks: sinks.collect(),
        })
    }

    /// A reading of each: true is trouble. `lines`: for each line that is known whether it is in trouble.
    pub(crate) fn read(
        &self,
        now: Timestamp,
        states: Vec<(Option<PointId>, bool)>,
        lines: impl Fn(LineId) -> Option<bool>,
    ) -> Batch {
        let reading = |(point, bad): (PointId, bool)| {
            let sample = Sample::Good(if bad { 1.0 } else { 0.0 });
            Reading { point, at: now, sample }
        };
        let states = states.into_iter().filter_map(|(point, bad)| Some((point?, bad)));
        let lines = self.lines.iter().filter_map(|(line, point)| Some((*point, lines(*line)?)));
        let readings = states.chain(lines).map(reading).collect();
        Batch { device: self.device, start: now, end: now, readings }
    }
}

/// The poll under the numbers that hold now; `None`, and counted, when its device is polled in another way by now.
pub(crate) fn renumbered(mut polled: Polled, site: &Arc<Site>, losses: &mut Losses) -> Option<Polled> {
    if Arc::ptr_eq(&polled.site, site) {
        return Some(polled);
    }
    for (loss, place, count) in std::mem::take(&mut polled.losses) {
        losses.record(loss, &place, count);
    }
    let found = diff::same_polled(&polled.site, site, polled.batch.device);
    let Some((device, line)) = found else {
        let named = polled.site.catalog.device(polled.batch.device);
        let name = named.map_or("", |named| named.name.as_str());
        losses.record(Loss::OutdatedPoll, name, 1);
        return None;
    };
    (polled.batch.device, polled.line) = (device, line);
    Some(polled)
}
