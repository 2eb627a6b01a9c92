//! Answers as text for people.
//!
//! In: the shapes of status, readings and journals. Out: aligned text, times in the site's zone.
//! Invariant: text from outside steers no terminal.

use std::io::Write;

use crate::cli::coverage;
use crate::cli::disk::DiskView;
use crate::cli::rates;
use crate::cli::table::{Table, count, plain};
use crate::cli::words;
use crate::clock::{Timestamp, zone};
use crate::console::status::{PointView, StatusView};
use crate::console::traffic::AnswersView;
use crate::console::view::ReadingView;

/// The zone that times are shown in.
pub(crate) struct Zone(pub(crate) zone::Zone);

impl Zone {
    /// The zone of this IANA name; UTC when this box does not know it.
    pub(crate) fn named(name: &str) -> Self {
        Self(zone::Zone::named(name))
    }

    /// Its IANA name; UTC for one without.
    pub(crate) fn name(&self) -> String {
        self.0.name().to_owned()
    }

    /// The zone of this box.
    pub(crate) fn of_box() -> Self {
        Self(zone::Zone::of_box())
    }

    /// `2026-11-23 16:00:00.123 +08:00`.
    pub(crate) fn show(&self, time: &str) -> String {
        self.form(time, "%Y-%m-%d %H:%M:%S.%3f %:z")
    }

    /// `16:00:00.123`.
    pub(crate) fn time_of_day(&self, time: &str) -> String {
        self.form(time, "%H:%M:%S.%3f")
    }

    fn form(&self, time: &str, form: &str) -> String {
        let at = Timestamp::parse(time).ok().and_then(|at| self.0.form(at, form));
        at.unwrap_or_else(|| plain(time))
    }
}

/// A gateway's status.
pub(crate) fn status(view: &StatusView, out: &mut dyn Write) -> anyhow::Result<()> {
    let zone = Zone::named(&view.timezone);
    let site = plain(&view.site);
    let well = if view.troubles.is_empty() { "running" } else { "in trouble" };
    writeln!(
        out,
        "{site} is {well}: lifeline {}, up {}, documents {}",
        view.version,
        long(view.uptime_s),
        view.documents
    )?;
    for trouble in view.troubles.iter().chain(&view.notices) {
        writeln!(out, "! {}", plain(trouble))?;
    }
    if let Some(why) = &view.unapplied {
        writeln!(out, "! changed documents were refused at {}", plain(why))?;
    }
    writeln!(out, "alarms open: {}; {}", view.alarms_open, rates::summary(&view.rates))?;
    if view.rates.figures.flood_since.is_some() {
        writeln!(out, "! a flood of alarms: lifeline alarms --rates")?;
    }
    let mut devices = Table::new(&["device", "line", "polls", "failed", "last answer", "trouble"]);
    for device in view.devices.iter().filter(|device| device.line.is_some()) {
        let answered = device.answered.as_deref().map_or_else(|| "never".to_owned(), |at| zone.show(at));
        let line = device.line.clone().unwrap_or_default();
        let trouble = device.trouble.clone().or_else(|| device.advice.clone()).unwrap_or_default();
        devices.row(vec![
            device.name.clone(),
            line,
            count(device.polls),
            count(device.failed),
            answered,
            trouble,
        ]);
    }
    section(&devices, out)?;
    firmware(view, out)?;
    traffic(view, out)?;
    sinks(view, out)?;
    let journal = &view.journal;
    let state = journal.trouble.as_deref().map_or_else(|| "good".to_owned(), plain);
    let (seq, readings) = (count(journal.seq), count(journal.readings));
    write!(
        out,
        "\njournal: {state}, commit {seq}, {readings} readings since start, {}",
        bytes(journal.bytes)
    )?;
    writeln!(out, ", {} waiting", count(journal.waiting))?;
    // A disk that refuses has room for nothing, whatever the limit says.
    if let Some(hours) = journal.hours_left.filter(|_| journal.trouble.is_none()) {
        writeln!(out, "room for {} of readings that a sink does not take", span(hours))?;
    }
    // What a start writes says nothing of an hour.
    if journal.syncs_per_hour > 0.0 && view.uptime_s >= 600 {
        let written = bytes(whole(journal.written_per_hour));
        writeln!(out, "to the disk in an hour: {written}, {} syncs", count(whole(journal.syncs_per_hour)))?;
    }
    let mut losses = Table::new(&["loss", "place", "count"]);
    for loss in &view.losses {
        losses.row(vec![loss.reason.clone(), loss.place.clone(), count(loss.count)]);
    }
    section(&losses, out)?;
    coverage::work(&view.work, &|time| zone.show(time), out)
}

/// The firmware of devices where it makes a difference, and reads that had to be asked again.
fn firmware(view: &StatusView, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut devices = Table::new(&["device", "firmware", "known by", "asked again", "note"]);
    for device in view.devices.iter().filter(|device| device.firmware.is_some() || device.woken > 0) {
        let known = device.firmware.as_ref();
        let version = known.and_then(|known| known.version.clone()).unwrap_or_else(|| "-".to_owned());
        let by = known.map(|known| known.by.clone()).unwrap_or_default();
        let note = known.and_then(|known| known.note.clone()).unwrap_or_default();
        devices.row(vec![device.name.clone(), version, by, count(device.woken), note]);
    }
    section(&devices, out)
}

/// What the requests of lines and devices came to.
fn traffic(view: &StatusView, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut lines = Table::new(&["line", "load", "requests", "replies", "sent", "received", "state"]);
    for line in &view.lines {
        let traffic = &line.traffic;
        lines.row(vec![
            line.name.clone(),
            load(traffic.load, line.trouble.is_some()),
            count(traffic.requests),
            count(traffic.replies),
            bytes(traffic.bytes_sent.unwrap_or(0)),
            bytes(traffic.bytes_received.unwrap_or(0)),
            line.trouble.clone().unwrap_or_else(|| "good".to_owned()),
        ]);
    }
    section(&lines, out)?;
    if !lines.is_empty() {
        writeln!(
            out,
            "load: share of the last minute in which a request was under way, from ten seconds on"
        )?;
    }
    let mut devices = Table::new(&["device", "requests", "replies", "ms p50", "p90", "p99", "max", "faults"]);
    for device in &view.devices {
        let Some(traffic) = &device.traffic else { continue };
        let time = |time: fn(&AnswersView) -> f64| {
            traffic.answers.as_ref().map_or_else(|| "-".to_owned(), |answers| format!("{:.1}", time(answers)))
        };
        let faults = traffic.faults.iter().map(|fault| format!("{} {}", fault.fault, count(fault.count)));
        devices.row(vec![
            device.name.clone(),
            count(traffic.requests),
            count(traffic.replies),
            time(|answers| answers.ms_p50),
            time(|answers| answers.ms_p90),
            time(|answers| answers.ms_p99),
            time(|answers| answers.ms_max),
            faults.collect::<Vec<_>>().join(", "),
        ]);
    }
    section(&devices, out)
}

/// The load of a line in words: one that is not open has none, and one that has just begun none yet.
fn load(share: Option<f64>, in_trouble: bool) -> String {
    match share {
        Some(share) => format!("{:.1} %", share * 100.0),
        None if in_trouble => "not open".to_owned(),
        None => "not yet".to_owned(),
    }
}

/// The table with an empty line before it; nothing for an empty one.
pub(crate) fn section(table: &Table, out: &mut dyn Write) -> anyhow::Result<()> {
    if !table.is_empty() {
        writeln!(out)?;
    }
    Ok(table.emit(out)?)
}

fn sinks(view: &StatusView, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut sinks =
        Table::new(&["sink", "state", "readings", "alarms", "backlog", "set aside", "failures", "trouble"]);
    for sink in &view.sinks {
        sinks.row(vec![
            sink.name.clone(),
            if sink.up { "up" } else { "down" }.to_owned(),
            count(sink.readings),
            count(sink.alarms),
            count(sink.backlog),
            count(sink.quarantined),
            count(sink.failures),
            sink.trouble.clone().unwrap_or_default(),
        ]);
    }
    section(&sinks, out)
}

/// A journal on disk.
pub(crate) fn disk(view: &DiskView, zone: &Zone, out: &mut dyn Write) -> anyhow::Result<()> {
    let last = view
        .as_of
        .as_deref()
        .map_or_else(|| "empty".to_owned(), |now| format!("last commit {}", zone.show(now)));
    writeln!(
        out,
        "journal {}: {last}, number {}, {}",
        plain(&view.journal),
        count(view.seq),
        bytes(view.bytes)
    )?;
    writeln!(out, "alarms open: {}", view.alarms_open)?;
    let mut sinks = Table::new(&["sink", "backlog (commits)"]);
    for sink in &view.sinks {
        sinks.row(vec![sink.name.clone(), count(sink.backlog)]);
    }
    Ok(sinks.emit(out)?)
}

/// One reading as a line of columns that are the same for every line, so that history can be written as it comes.
pub(crate) fn reading(
    view: &ReadingView,
    point: Option<&PointView>,
    zone: &Zone,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let value = view.value.map_or_else(|| "-".to_owned(), |value| shown(value, point));
    let unit = view.unit.as_deref().unwrap_or_default();
    let reason = view.reason.as_deref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
    let line = format!("{}  {value:>14} {unit:<7} {}{reason}", zone.show(&view.time), plain(&view.quality));
    Ok(writeln!(out, "{}", line.trim_end())?)
}

/// The name of the state, or the number with the digits that the sensor resolves.
fn shown(value: f64, point: Option<&PointView>) -> String {
    let Some(point) = point else { return words::number(value) };
    let number = format!("{value:.*}", usize::from(point.decimals));
    let named = point.states.iter().find(|(state, _)| number.parse() == Ok(*state));
    named.map_or(number, |(_, name)| plain(name))
}

/// `3d 4h`, `2h 5m`, `7m 3s`.
pub(crate) fn long(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m {}s", seconds % 60),
        (0, hours) => format!("{hours}h {minutes}m"),
        (days, hours) => format!("{days}d {hours}h"),
    }
}

/// With three digits at most, in steps of a thousand.
fn bytes(bytes: u64) -> String {
    let (mut whole, mut tenth) = (bytes, 0);
    for unit in ["B", "kB", "MB", "GB"] {
        if whole < 1000 {
            return if unit == "B" || whole >= 100 {
                format!("{whole} {unit}")
            } else {
                format!("{whole}.{tenth} {unit}")
            };
        }
        (whole, tenth) = (whole / 1000, whole % 1000 / 100);
    }
    format!("{whole}.{tenth} TB")
}

/// Hours as people say them.
fn span(hours: f64) -> String {
    if hours < 72.0 { format!("{hours:.1} hours") } else { format!("{:.0} days", hours / 24.0) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; a rate is not negative"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gateway::board::Picture;

    #[test]
    fn times_stand_in_the_zone_of_the_site() {
        let zone = Zone::named("Asia/Shanghai");
        assert_eq!(zone.show("2026-11-23T08:00:00.123Z"), "2026-11-23 16:00:00.123 +08:00");
        assert_eq!(
            Zone::named("Nowhere/At-All").show("2026-11-23T08:00:00.000Z"),
            "2026-11-23 08:00:00.000 +00:00"
        );
        assert_eq!(zone.show("soon\u{1b}"), "soon\u{fffd}");
    }

    #[test]
    fn what_a_start_writes_is_no_rate() {
        let told = |seconds| {
            let mut picture = Picture::default();
            picture.now = picture.started.plus(Duration::from_secs(seconds));
            (picture.journal.written, picture.journal.syncs) = (1_000_000, 60);
            let (view, mut text) = (StatusView::new(&picture, Duration::ZERO, Vec::new()), Vec::new());
            status(&view, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert!(!told(599).contains("to the disk"));
        assert!(told(600).contains("to the disk in an hour: 6.0 MB, 360 syncs"), "{}", told(600));
    }

    #[test]
    fn a_line_without_a_load_says_why() {
        assert_eq!(load(Some(0.2214), false), "22.1 %");
        assert_eq!(load(Some(1.0), true), "100.0 %", "nobody answers on an open line");
        assert_eq!(load(None, true), "not open");
        assert_eq!(load(None, false), "not yet");
    }

    #[test]
    fn values_have_the_digits_of_their_sensor_and_states_their_names() {
        let point = |decimals, states: &[(i64, &str)]| PointView {
            name: "a.b".to_owned(),
            short: "b".to_owned(),
            unit: None,
            ucum: None,
            decimals,
            states: states.iter().map(|(state, name)| (*state, (*name).to_owned())).collect(),
        };
        assert_eq!(shown(2.630_000_000_000_000_3, Some(&point(2, &[]))), "2.63");
        assert_eq!(shown(1.0, Some(&point(0, &[(0, "open"), (1, "closed")]))), "closed");
        assert_eq!(shown(7.0, Some(&point(0, &[(0, "open")]))), "7");
        assert_eq!(shown(2.5, None), "2.5");
        assert_eq!(shown(0.1 + 0.2, None), "0.3");
        assert_eq!(shown(1_234_567.25, None), "1234567.25");
    }

    #[test]
    fn long_spans_and_sizes_are_short_to_read() {
        for (seconds, text) in [(0, "0m 0s"), (423, "7m 3s"), (7_500, "2h 5m"), (273_600, "3d 4h")] {
            assert_eq!(long(seconds), text);
        }
        for (size, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (81_920, "81.9 kB"), (812_345_678, "812 MB")]
        {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(bytes(u64::MAX), "18446744.0 TB");
    }
}
