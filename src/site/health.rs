//! What a time-series store is told of the gateway's own work: classes of devices and their points.
//!
//! In: nothing. Out: names, for `site`, which makes the points, and `gateway`, which reads them.
//! Invariant: a class has the same points in every version of a site, in this order.

/// Class of the devices that tell of lines.
pub const LINE: &str = "line-health";
/// Class of the devices that tell of polled devices.
pub const POLLED: &str = "device-health";
/// Class of the devices that tell of sinks.
pub const SINK: &str = "sink-health";
/// Class of the device that tells of the journal.
pub const JOURNAL: &str = "journal-health";

/// What a device of this class tells, each with its unit (empty: a number).
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
            ("answer-p50", "ms"),
            ("answer-p99", "ms"),
        ],
        SINK => &[
            ("up", ""),
            ("readings", ""),
            ("alarms", ""),
            ("rejected", ""),
            ("backlog", ""),
            ("failures", ""),
        ],
        JOURNAL => &[("readings", ""), ("alarms", ""), ("waiting", ""), ("bytes", ""), ("lost", "")],
        _ => &[],
    }
}
