//! What a time-series store is told of the gateway's own work: classes of devices and their points.
//!
//! In: nothing. Out: names, for `site`, which makes the points, and `gateway`, which reads them.
//! Invariant: a class has the same points in every version of a site, in this order.

use crate::point::{Catalog, Device, Point};
use crate::risk::coverage::CLASS;

/// Class of the devices that tell of lines.
pub const LINE: &str = "line-health";
/// Class of the devices that tell of polled devices.
pub const POLLED: &str = "device-health";
/// Class of the devices that tell of sinks.
pub const SINK: &str = "sink-health";
/// Class of the device that tells of the journal.
pub const JOURNAL: &str = "journal-health";

/// Class of the device that tells of alarms.
pub const ALARMS: &str = "alarm-health";
/// Class of the devices that tell the limits of rules.
pub const LIMIT: &str = "rule-limit";

/// What a limit may be called: the severities, lowest first.
const SEVERITIES: &[(&str, &str)] = &[("blue", ""), ("yellow", ""), ("orange", ""), ("red", "")];

/// Whether the gateway made a device of this class by itself, to tell of its work or of risk points.
pub fn is_own(class: &str) -> bool {
    class == CLASS || !measures(class).is_empty()
}

/// The points of the documents: what the gateway tells of itself is none of them.
pub fn written(catalog: &Catalog) -> impl Iterator<Item = &Point> {
    let own = |device: &Device| device.line.is_none() && (device.name == "gateway" || is_own(&device.class));
    catalog.points.iter().filter(move |point| !catalog.device(point.device).is_some_and(own))
}

/// What a device of this class tells, each with its unit (empty: a number; a limit has the unit of its rule's point).
pub fn measures(class: &str) -> &'static [(&'static str, &'static str)] {
    match class {
        LINE | POLLED => &[
            ("requests", ""),
            ("replies", ""),
            ("timeouts", ""),
            ("bad-frames", ""),
            ("line-downs", ""),
            ("exceptions", ""),
            ("load", "%"),
            ("answer-p50", "s"),
            ("answer-p99", "s"),
        ],
        SINK => &[
            ("up", ""),
            ("readings", ""),
            ("alarms", ""),
            ("rejected", ""),
            ("backlog", ""),
            ("failures", ""),
            ("too-old", ""),
            ("quarantined", ""),
            ("held", ""),
        ],
        ALARMS => &[
            ("open", ""),
            ("unacknowledged", ""),
            ("active-red", ""),
            ("active-orange", ""),
            ("active-yellow", ""),
            ("active-blue", ""),
            ("raised", ""),
            ("cleared", ""),
        ],
        LIMIT => SEVERITIES,
        JOURNAL => &[("readings", ""), ("alarms", ""), ("waiting", ""), ("bytes", ""), ("lost", "")],
        _ => &[],
    }
}
