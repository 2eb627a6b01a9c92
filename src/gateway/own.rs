//! The points of the gateway itself: its disk, its clock, its journal, its lines.
//!
//! In: the site. Out: which points they are; `keeper` reads them.

use crate::point::{DeviceId, LineId, PointId};
use crate::site::Site;

/// The gateway's own points.
pub(crate) struct Own {
    pub(crate) device: DeviceId,
    pub(crate) disk: Option<PointId>,
    pub(crate) clock: Option<PointId>,
    pub(crate) journal: Option<PointId>,
    pub(crate) lines: Vec<(LineId, PointId)>,
}

/// The points of the device `gateway`.
pub(crate) fn own_points(site: &Site) -> Option<Own> {
    let catalog = &site.catalog;
    let device = catalog.devices.iter().find(|device| device.name == "gateway" && device.line.is_none())?;
    let point = |name: &str| catalog.find(&format!("gateway.{name}")).map(|point| point.id);
    let lines =
        catalog.lines.iter().filter_map(|line| Some((line.id, point(&format!("line-{}", line.name))?)));
    Some(Own {
        device: device.id,
        disk: point("disk"),
        clock: point("clock"),
        journal: point("journal"),
        lines: lines.collect(),
    })
}
