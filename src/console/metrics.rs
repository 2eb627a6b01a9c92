//! Figures about the gateway in Prometheus' text format; readings themselves stay out (they go to the sinks).
//!
//! In: the picture and the sinks' status. Out: one text.
//! Invariant: each family stands once, with HELP and TYPE before its samples; labels are escaped.
//! Source: Prometheus exposition formats, text format 0.0.4.

use std::fmt::{Display, Write};

use crate::alarm::{Base, Severity};
use crate::console::status;
use crate::console::traffic;
use crate::console::view::{is_active, is_unseen};
use crate::gateway::board::{DeviceStatus, Picture};
use crate::risk::coverage::{Coverage, Rung};

/// All figures.
pub(crate) fn emit(picture: &Picture) -> String {
    let mut page = Page::default();
    page.family(
        "lifeline_build_info",
        "gauge",
        "Version of the program and of the site's documents; always 1.",
    );
    let catalog = &picture.shown.catalog;
    let version = env!("CARGO_PKG_VERSION");
    page.sample(&[("version", version), ("site", &catalog.site), ("documents", &catalog.version)], 1);
    page.family("lifeline_start_time_seconds", "gauge", "Start of the gateway, seconds since 1970.");
    page.sample(&[], seconds(picture.started.as_millis()));
    page.family(
        "lifeline_picture_time_seconds",
        "gauge",
        "Time of the picture these figures come from, seconds since 1970.",
    );
    page.sample(&[], seconds(picture.now.as_millis()));
    devices(&mut page, picture);
    traffic::emit(&mut page, picture);
    alarms(&mut page, picture);
    risk_points(&mut page, picture);
    journal(&mut page, picture);
    sinks(&mut page, picture);
    page.family("lifeline_losses_total", "counter", "What was given up since start, by reason and place.");
    for ((loss, place), count) in &picture.losses {
        page.sample(&[("reason", loss.name()), ("place", place)], count);
    }
    page.text
}

fn devices(page: &mut Page, picture: &Picture) {
    let none = DeviceStatus::default();
    let status = picture.devices.iter().chain(std::iter::repeat(&none));
    // Devices of derived points hang on no line and are not polled.
    let polled: Vec<_> = picture
        .shown
        .catalog
        .devices
        .iter()
        .zip(status)
        .filter(|(device, _)| device.line.is_some())
        .collect();
    page.family("lifeline_polls_total", "counter", "Polls made since start.");
    for (device, status) in &polled {
        page.sample(&[("device", &device.name)], status.polls);
    }
    page.family(
        "lifeline_poll_failures_total",
        "counter",
        "Polls with at least one failed exchange since start.",
    );
    for (device, status) in &polled {
        page.sample(&[("device", &device.name)], status.failed);
    }
    page.family(
        "lifeline_device_up",
        "gauge",
        "1 when the device has answered and its last poll did not fail.",
    );
    for (device, status) in &polled {
        page.sample(&[("device", &device.name)], flag(status.answered.is_some() && status.trouble.is_none()));
    }
    page.family(
        "lifeline_woken_total",
        "counter",
        "Reads that were refused first and asked again, since start.",
    );
    for (device, status) in &polled {
        page.sample(&[("device", &device.name)], status.woken);
    }
    page.family(
        "lifeline_firmware_info",
        "gauge",
        "The firmware that a device is read by, and how it is known; always 1. Only models whose firmware makes a difference.",
    );
    for (device, status) in &polled {
        let Some(known) = &status.firmware else { continue };
        let version = known.applied.as_deref().unwrap_or_default();
        page.sample(&[("device", &device.name), ("version", version), ("by", known.by.name())], 1);
    }
    page.family("lifeline_line_up", "gauge", "1 when the line has no trouble.");
    for line in status::lines(picture) {
        page.sample(&[("line", &line.name)], flag(line.trouble.is_none()));
    }
}

fn alarms(page: &mut Page, picture: &Picture) {
    let grades = [
        (Severity::Red, "red"),
        (Severity::Orange, "orange"),
        (Severity::Yellow, "yellow"),
        (Severity::Blue, "blue"),
    ];
    let mut count = |name, help, counts: fn(Base) -> bool| {
        page.family(name, "gauge", help);
        for (severity, label) in grades {
            let counted =
                picture.alarms.values().filter(|alarm| alarm.severity == severity && counts(alarm.state));
            page.sample(&[("severity", label)], counted.count());
        }
    };
    count("lifeline_alarms_active", "Alarms whose condition holds.", is_active);
    count("lifeline_alarms_unacknowledged", "Open alarms that nobody has acknowledged.", is_unseen);
    page.family("lifeline_alarms_raised_total", "counter", "Alarms raised since start.");
    page.sample(&[], picture.raised);
    page.family("lifeline_alarms_cleared_total", "counter", "Alarms cleared since start.");
    page.sample(&[], picture.cleared);
}

fn risk_points(page: &mut Page, picture: &Picture) {
    if picture.stands.is_empty() {
        return;
    }
    let mut classes: Vec<&str> = picture.stands.iter().map(|(point, _)| point.class.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    let of = |class: &str| {
        let mine = picture.stands.iter().filter(move |(point, _)| point.class == class);
        mine.map(|(_, standing)| standing).collect::<Vec<_>>()
    };
    page.family("lifeline_risk_points", "gauge", "Risk points, by hazard class.");
    for class in &classes {
        page.sample(&[("class", class)], of(class).len());
    }
    page.family(
        "lifeline_risk_points_reached",
        "gauge",
        "Risk points on this rung of the ladder or above, from installed to effective.",
    );
    for class in &classes {
        let coverage = Coverage::of(of(class));
        for rung in Rung::ALL {
            page.sample(&[("class", class), ("rung", rung.name())], coverage.on(rung));
        }
    }
    page.family("lifeline_risk_points_blind", "gauge", "Risk points that nothing valid comes from.");
    for class in &classes {
        let blind = of(class).into_iter().filter(|standing| standing.blind && !standing.unknown);
        page.sample(&[("class", class)], blind.count());
    }
}

fn journal(page: &mut Page, picture: &Picture) {
    let journal = &picture.journal;
    page.family("lifeline_readings_total", "counter", "Readings committed to the journal since start.");
    page.sample(&[], journal.readings);
    page.family(
        "lifeline_transitions_total",
        "counter",
        "Alarm transitions committed to the journal since start.",
    );
    page.sample(&[], journal.transitions);
    page.family("lifeline_journal_up", "gauge", "1 when the journal's disk takes commits.");
    page.sample(&[], flag(journal.trouble.is_none()));
    page.family("lifeline_journal_seq", "gauge", "Number of the last commit.");
    page.sample(&[], journal.seq);
    page.family("lifeline_journal_bytes", "gauge", "Bytes of the journal on disk.");
    page.sample(&[], journal.bytes);
    page.family("lifeline_journal_bytes_max", "gauge", "Bytes that the journal may take.");
    page.sample(&[], journal.bytes_max);
    if let Some(hours) = journal.hours_left {
        let help = "Hours until readings that a sink does not have must go, if it takes nothing from now on.";
        page.family("lifeline_journal_hours_left", "gauge", help);
        page.sample(&[], format!("{hours:.1}"));
    }
    page.family("lifeline_journal_encoded_bytes_total", "counter", "Bytes of readings since start, encoded.");
    page.sample(&[], journal.encoded);
    page.family(
        "lifeline_journal_written_bytes_total",
        "counter",
        "Bytes that the gateway sent to the disk since start.",
    );
    page.sample(&[], journal.written);
    page.family("lifeline_journal_syncs_total", "counter", "Syncs of the disk since start.");
    page.sample(&[], journal.syncs);
    page.family("lifeline_journal_waiting_readings", "gauge", "Readings that wait for the disk.");
    page.sample(&[], journal.waiting);
}

fn sinks(page: &mut Page, picture: &Picture) {
    let sinks: Vec<_> =
        picture.shown.sinks.iter().map(|(name, state)| (name.as_str(), status::lock(state))).collect();
    let mut family = |name, kind, help, figure: fn(&crate::forward::Status) -> u64| {
        page.family(name, kind, help);
        for (sink, status) in &sinks {
            page.sample(&[("sink", sink)], figure(status));
        }
    };
    family("lifeline_sink_up", "gauge", "1 when the last delivery worked.", |status| u64::from(status.up));
    family("lifeline_sink_readings_total", "counter", "Readings delivered since start.", |status| {
        status.readings
    });
    family(
        "lifeline_sink_transitions_total",
        "counter",
        "Alarm transitions delivered since start.",
        |status| status.alarms,
    );
    family("lifeline_sink_backlog_commits", "gauge", "Commits not delivered yet.", |status| status.backlog);
    family("lifeline_sink_rejected_total", "counter", "Records that the sink refused for good.", |status| {
        status.rejected
    });
    family("lifeline_sink_failures_total", "counter", "Failed attempts since start.", |status| {
        status.failures
    });
    family(
        "lifeline_sink_too_old_total",
        "counter",
        "Readings older than the sink keeps anything.",
        |status| status.too_old,
    );
    family("lifeline_sink_quarantined", "gauge", "Records set aside.", |status| status.quarantined);
    family("lifeline_sink_unjournaled_total", "counter", "Records told without the journal.", |status| {
        status.unjournaled
    });
    family("lifeline_sink_held", "gauge", "1 while a person has to change something.", |status| {
        u64::from(status.held)
    });
    family("lifeline_sink_batch_max", "gauge", "Readings in one request of the backlog at most.", |status| {
        u64::try_from(status.batch).unwrap_or(u64::MAX)
    });
    page.family("lifeline_sink_errors_total", "counter", "Failed attempts since start, by kind.");
    for (sink, status) in &sinks {
        for (kind, count) in &status.kinds {
            page.sample(&[("sink", sink), ("kind", kind.name())], count);
        }
    }
}

fn flag(on: bool) -> u8 {
    u8::from(on)
}

/// Whole and thousandth seconds, without a detour over floating point.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

/// The text so far, and the family that samples belong to now.
#[derive(Default)]
pub(crate) struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    pub(crate) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    /// A sample of the family under its name with this ending.
    pub(crate) fn part(&mut self, ending: &str, labels: &[(&str, &str)], value: impl Display) {
        let name = format!("{}{ending}", self.family);
        if labels.is_empty() {
            return self.line(format_args!("{name} {value}"));
        }
        let labels: Vec<_> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escape(text))).collect();
        self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.family("x", "counter", "Help.");
        page.sample(&[("place", "a\"b\\c\nd")], 3);
        assert_eq!(page.text, "# HELP x Help.\n# TYPE x counter\nx{place=\"a\\\"b\\\\c\\nd\"} 3\n");
    }

    #[test]
    fn seconds_keep_their_thousandths() {
        assert_eq!(seconds(1_795_420_800_123), "1795420800.123");
        assert_eq!(seconds(-1), "-0.001");
        assert_eq!(seconds(0), "0.000");
    }
}
