//! Text sensors in documents: the `[text]` table of a profile, its points and vectors, and the lines that such devices share.
//!
//! In: sections of profiles; lines and devices when they are read. Out: [`Format`]s; findings.
//! Invariant: a pattern that loads is anchored, and without a check sum no vector of the profile fits it when its front is cut off.

use std::time::Duration;

use crate::bus::checksum::Checksum;
use crate::bus::text::{Dialect, Format, Mode};
use crate::bus::{Address, SerialFormat, Slave};
use crate::decode::words::hear;
use crate::diagnostic::Place;
use crate::profile::Profile;
use crate::site::devices::DeviceDraft;
use crate::site::lines::LineDraft;
use crate::site::section::{Section, nearest};
use crate::site::tree::Report;

/// Keys that say how a number lies in registers.
const OF_REGISTERS: [&str; 7] = ["type", "count", "order", "bits", "invert", "one_hot", "destructive"];
/// No terminator is longer.
const TERMINATOR_MAX: usize = 4;

/// Reads the table `[text]`; `slave` is the model's factory address. Also the time an answer may take.
pub(crate) fn format(section: &Section<'_>, slave: Option<u8>) -> Option<(Format, Option<Duration>)> {
    let mode = match section.need("mode", section.word("mode", &["ask", "stream"])) {
        Some("ask") => Some(Mode::Ask),
        Some(_) => Some(Mode::Stream),
        None => None,
    };
    let command = section.text("command");
    match (mode, &command) {
        (Some(Mode::Ask), None) => {
            let help = Some("such as command = \"MEAS\\r\"".to_owned());
            section.error("mode", "missing-key", "a sensor that is asked needs `command`", help);
        }
        (Some(Mode::Stream), Some(_)) => {
            section.error("command", "unknown-key", "a sensor that speaks by itself is sent nothing", None);
        }
        _ => {}
    }
    let terminator = section.text("terminator").unwrap_or_else(|| "\r\n".to_owned());
    if !(1..=TERMINATOR_MAX).contains(&terminator.len()) {
        section.error(
            "terminator",
            "bad-terminator",
            "a terminator has 1 to 4 bytes",
            Some("such as \"\\r\\n\"".to_owned()),
        );
    }
    let names: Vec<&'static str> = Checksum::ALL.iter().map(|checksum| checksum.name()).collect();
    let checksum = section.word("checksum", &names);
    let checksum = Checksum::ALL.into_iter().find(|known| Some(known.name()) == checksum).unwrap_or_default();
    let pattern = section.need("pattern", section.text("pattern"));
    let found = Format {
        mode: mode.unwrap_or(Mode::Stream),
        command: command.unwrap_or_default(),
        terminator: terminator.into_bytes(),
        pattern: pattern.clone().unwrap_or_else(|| "^$".to_owned()),
        checksum,
        gap: section.duration("gap").unwrap_or(Duration::from_millis(100)),
        period: section.duration("period").unwrap_or(Duration::from_secs(1)),
        slave: Slave(slave.unwrap_or(0)),
    };
    if found.period.is_zero() {
        section.error("period", "bad-duration", "a sensor does not speak all the time", None);
    }
    let timeout = section.duration("timeout");
    section.finish();
    if let Err(why) = Dialect::new(&found, found.slave) {
        section.error("pattern", "bad-pattern", why, Some("such as '^R(?P<level>\\d{4})$'".to_owned()));
        return None;
    }
    (mode.is_some() && pattern.is_some()).then_some((found, timeout))
}

/// The group that a point's `at = "text level"` names; `None` for a point in registers.
pub(crate) fn group(section: &Section<'_>) -> Option<String> {
    let text = section.text("at")?;
    let group = text.strip_prefix("text ")?.trim().to_owned();
    for key in OF_REGISTERS {
        if section.node(key).is_some() {
            section.error(
                key,
                "text-point",
                format!("a word of a text has no `{key}`"),
                Some("leave it out".to_owned()),
            );
        }
    }
    Some(group)
}

/// What a profile's points, vectors and pattern say to each other.
pub(crate) fn check(top: &Section<'_>, profile: &Profile) {
    let points = top.sections("point");
    if profile.text.is_none() && top.section("text").is_some() {
        // A broken table is reported as that.
        return;
    }
    let dialect = profile.text.as_ref().and_then(|format| Dialect::new(format, format.slave).ok());
    for (section, field) in points.iter().zip(&profile.fields) {
        let groups = dialect.as_ref().map(Dialect::groups).unwrap_or_default();
        match &field.group {
            Some(group) if !groups.contains(group) => {
                let help = nearest(group, groups.iter().map(String::as_str))
                    .or_else(|| Some("name the group in the pattern, (?P<name>...)".to_owned()));
                section.error("at", "unknown-group", format!("the pattern has no group `{group}`"), help);
            }
            None if profile.text.is_some() => {
                let help = Some("write at = \"text GROUP\"".to_owned());
                section.error("at", "text-point", "this profile speaks text and has no registers", help);
            }
            _ => {}
        }
    }
    if let Some(section) = top.section("text") {
        ambiguous(&section, profile);
    }
}

/// Whether a line that lost bytes would still be taken for a whole one.
fn ambiguous(section: &Section<'_>, profile: &Profile) {
    if profile.text.as_ref().is_none_or(|format| format.checksum != Checksum::None) {
        return;
    }
    let lines = profile.vectors.iter().filter_map(|vector| vector.text.as_ref());
    if lines.clone().next().is_none() {
        let help = Some("add a [[vector]] with text = \"...\", a line of the manual".to_owned());
        section.warning("pattern", "unproved-pattern", "no vector shows a line of this sensor", help);
    }
    for line in lines.filter(|line| line.is_ascii() && hear(profile, line).is_ok()) {
        let fits = |part: &&str| !part.is_empty() && hear(profile, part).is_ok();
        let fronts = (1..line.len()).filter_map(|at| line.get(at..));
        if let Some(cut) = fronts.rev().find(fits) {
            let text = format!("without its front, as `{cut}`, the line `{line}` would still be a reading");
            let help =
                "let the pattern fix the number of digits or a mark in front, or use the sensor's check sum"
                    .to_owned();
            section.error("pattern", "ambiguous-pattern", text, Some(help));
            return;
        }
        if let Some(cut) = (1..line.len()).filter_map(|at| line.get(..at)).find(fits) {
            let text = format!("without its end, as `{cut}`, the line `{line}` would still be a reading");
            let help = "let the pattern fix the number of digits or a mark at the end".to_owned();
            section.warning("pattern", "ambiguous-pattern", text, Some(help));
            return;
        }
    }
}

/// The devices of one line speak the same: all text of one kind, or all Modbus.
pub(crate) fn check_lines(lines: &[LineDraft], drafts: &[DeviceDraft], report: &Report) {
    for (index, line) in lines.iter().enumerate() {
        let mut own = drafts.iter().filter(|draft| draft.line == index);
        let Some(first) = own.next() else { continue };
        wrong_way(line, first, report);
        for other in own {
            let why = match (&first.profile.text, &other.profile.text) {
                (None, None) => continue,
                (Some(one), Some(two)) if one.mode != two.mode => {
                    "one is asked and the other speaks by itself"
                }
                (Some(one), Some(two)) if one.terminator != two.terminator => "their lines end differently",
                (Some(_), Some(_)) => continue,
                _ => "one speaks text and the other Modbus",
            };
            let text =
                format!("{} and {} cannot share line {}: {why}", first.name, other.name, line.settings.name);
            report.error(&other.place, "mixed-line", text, Some("give them lines of their own".to_owned()));
        }
    }
}

/// Seconds on a serial line for one poll of a text sensor; of one that speaks by itself, its lines between two polls.
pub(crate) fn cost_s(draft: &DeviceDraft, format: &Format, port: SerialFormat) -> f64 {
    let texts = draft.profile.vectors.iter().filter_map(|vector| vector.text.as_ref());
    let longest = texts.map(String::len).max().unwrap_or(0);
    let bytes = longest + format.terminator.len() + format.command.len();
    let time_s = (port.character() * u32::try_from(bytes).unwrap_or(u32::MAX)).as_secs_f64();
    match format.mode {
        Mode::Ask => time_s + format.gap.as_secs_f64(),
        Mode::Stream => time_s * draft.every.as_secs_f64() / format.period.as_secs_f64().max(0.001),
    }
}

/// A text sensor behind a way that carries Modbus, or the other way round.
fn wrong_way(line: &LineDraft, device: &DeviceDraft, report: &Report) {
    let name = &line.settings.name;
    let wrong = |place: &Place, text: String, help: &str| {
        report.error(place, "mixed-line", text, Some(help.to_owned()));
    };
    match (&line.settings.address, device.profile.text.is_some()) {
        (Address::Serial { .. }, _) => {}
        (_, true) if !line.text_over_tcp => {
            let text = format!("{} speaks text, and line {name} carries Modbus", device.name);
            wrong(
                &device.place,
                text,
                "lead the line with serial = { ... } or text_over_tcp = \"host:port\"",
            );
        }
        (_, false) if line.text_over_tcp => {
            let text = format!("{} speaks Modbus, and line {name} carries text", device.name);
            wrong(&device.place, text, "lead the line with rtu_over_tcp or tcp");
        }
        _ => {}
    }
}

/// The address of a text sensor: needed only where it is said on the line, 0 to 255 as the sensor has it.
pub(crate) fn slave(section: &Section<'_>, format: &Format) -> Option<u8> {
    let said = format.command.contains("{slave}") || format.pattern.contains("{slave}");
    let found = section.int("slave", 0, 255);
    if said { section.need("slave", found) } else { found.or(Some(format.slave.0)) }
}

/// A period that the sensor cannot keep.
pub(crate) fn check_period(section: &Section<'_>, format: &Format, every: Duration) {
    if format.mode == Mode::Stream && every < format.period {
        let text = format!(
            "it speaks every {} ms and is polled every {} ms",
            format.period.as_millis(),
            every.as_millis()
        );
        let help = format!("write every = \"{}ms\" or more", format.period.as_millis());
        section.warning("every", "unreachable-period", text, Some(help));
    }
}
