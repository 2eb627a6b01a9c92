//! Lines and devices of the site's documents.
//!
//! In: `[[line]]`, `[[device]]` and `[[risk_point]]` sections with the models that profiles gave. Out: drafts with places.
//! Invariant: every name is used once; a device names a line, a profile and a risk point that are there.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bus::{Address, Framing, LateAnswers, LineSettings, Slave};
use crate::clock::Timestamp;
use crate::diagnostic::Place;
use crate::profile::names::serial_format;
use crate::profile::{CLASSES, Profile};
use crate::risk::{Need, RiskPoint};
use crate::site::profiles::{Model, TIMEOUT};
use crate::site::section::{Section, kebab, nearest};

/// A line as written.
pub(crate) struct LineDraft {
    pub(crate) settings: LineSettings,
    pub(crate) place: Place,
}

/// A device as written.
pub(crate) struct DeviceDraft {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) slave: Slave,
    pub(crate) profile: Profile,
    pub(crate) every: Duration,
    pub(crate) every_in_alarm: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) stale_after: Duration,
    pub(crate) risk_point: Option<String>,
    pub(crate) calibration_due: Option<Timestamp>,
    pub(crate) place: Place,
}

/// Reads one line; `elsewhere` leads lines by name to another address of the same kind.
pub(crate) fn line(section: &Section<'_>, elsewhere: &[(String, String)]) -> Option<LineDraft> {
    let name = section.name("name");
    let serial = section.section("serial").and_then(|serial| {
        let path = serial.need("path", serial.text("path"));
        let speed = serial.text("speed").unwrap_or_else(|| "9600 8N1".to_owned());
        let format = serial_format(&speed);
        if format.is_none() {
            serial.error(
                "speed",
                "bad-serial",
                format!("`{speed}` is not a serial format"),
                Some("such as \"9600 8N1\"".to_owned()),
            );
        }
        let framing = match serial.word("framing", &["rtu", "ascii"]) {
            Some("ascii") => Framing::Ascii,
            _ => Framing::Rtu,
        };
        serial.finish();
        Some(Address::Serial { path: path?, format: format?, framing })
    });
    let tcp = host_port(section, "tcp").map(Address::Tcp);
    let rtu_over_tcp = host_port(section, "rtu_over_tcp").map(Address::RtuOverTcp);
    let ascii_over_tcp = host_port(section, "ascii_over_tcp").map(Address::AsciiOverTcp);
    let ways = ["serial", "tcp", "rtu_over_tcp", "ascii_over_tcp"]
        .iter()
        .filter(|key| section.place(key) != section.place(""))
        .count();
    if ways != 1 {
        let help = Some("serial = { path = \"/dev/ttyUSB0\", speed = \"9600 8N1\" }, tcp = \"10.0.0.5:502\" or rtu_over_tcp = \"...\"".to_owned());
        section.error(
            "name",
            "line-address",
            "a line needs exactly one of serial, tcp, rtu_over_tcp and ascii_over_tcp",
            help,
        );
    }
    let timeout = section.duration("timeout").unwrap_or(TIMEOUT);
    let quiet = section.duration("quiet").unwrap_or_default();
    let late_answers = match section.word("late_answers", &["fence", "drain"]) {
        Some("drain") => LateAnswers::Drain,
        _ => LateAnswers::Fence,
    };
    section.finish();
    let (name, address) = (name?, serial.or(tcp).or(rtu_over_tcp).or(ascii_over_tcp)?);
    let moved = elsewhere.iter().find(|(line, _)| *line == name).map(|(_, to)| to.clone());
    let address = match (address, moved) {
        (Address::Tcp(_), Some(to)) => Address::Tcp(to),
        (Address::RtuOverTcp(_), Some(to)) => Address::RtuOverTcp(to),
        (Address::AsciiOverTcp(_), Some(to)) => Address::AsciiOverTcp(to),
        (Address::Serial { format, framing, .. }, Some(path)) => Address::Serial { path, format, framing },
        (address, None) => address,
    };
    let settings = LineSettings { timeout, quiet, late_answers, ..LineSettings::plain(&name, address) };
    Some(LineDraft { settings, place: section.place("name") })
}

fn host_port(section: &Section<'_>, key: &'static str) -> Option<String> {
    let text = section.text(key)?;
    let port = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port == 0) {
        section.error(
            key,
            "bad-address",
            format!("`{text}` is not host and port"),
            Some("such as 10.0.0.5:502".to_owned()),
        );
    }
    Some(text)
}

/// Reads one device.
pub(crate) fn device(
    section: &Section<'_>,
    lines: &[LineDraft],
    models: &BTreeMap<String, Model>,
    now: Timestamp,
) -> Option<DeviceDraft> {
    let name = section.name("name");
    let line = section.need("line", section.text("line")).and_then(|wanted| {
        let found = lines.iter().position(|line| line.settings.name == wanted);
        if found.is_none() {
            let help = nearest(&wanted, lines.iter().map(|line| line.settings.name.as_str()));
            section.error("line", "unknown-line", format!("there is no line `{wanted}`"), help);
        }
        found
    });
    let serial = line
        .and_then(|line| lines.get(line))
        .is_some_and(|line| !matches!(line.settings.address, Address::Tcp(_)));
    let slave =
        section.need("slave", section.int("slave", i64::from(serial), if serial { 247 } else { 255 }));
    let mut profile =
        section.need("profile", section.text("profile")).and_then(|wanted| model(section, &wanted, models));
    let every = section.need("every", section.duration("every"));
    let line_timeout = line.and_then(|line| lines.get(line)).map(|line| line.settings.timeout);
    let timeout = section
        .duration("timeout")
        .or(profile.as_ref().and_then(|profile| profile.limits.timeout))
        .or(line_timeout);
    let period = every.unwrap_or(Duration::from_secs(1));
    if period < Duration::from_millis(10) {
        section.error("every", "bad-duration", "a device is polled every 10 ms at most", None);
    }
    let every_in_alarm = denser(section, period);
    let stale_after = section.duration("stale_after").unwrap_or(period * 3 + Duration::from_secs(30));
    let calibration_due = section.date("calibration_due");
    if calibration_due.is_some_and(|due| due < now) {
        section.warning(
            "calibration_due",
            "calibration-overdue",
            "the calibration is past due: every reading is marked uncertain",
            None,
        );
    }
    if let (Some(class), Some(profile)) = (section.word("class", &CLASSES), profile.as_mut()) {
        class.clone_into(&mut profile.class);
    }
    if let Some(profile) = profile.as_mut() {
        only(section, profile);
    }
    let risk_point = section.text("risk_point");
    section.finish();
    Some(DeviceDraft {
        name: name?,
        line: line?,
        slave: Slave(slave?),
        profile: profile?,
        every: every?,
        every_in_alarm,
        timeout: timeout.unwrap_or(TIMEOUT),
        stale_after,
        risk_point,
        calibration_due,
        place: section.place("name"),
    })
}

/// The period while a rule is active or near: shorter than the own one.
fn denser(section: &Section<'_>, period: Duration) -> Option<Duration> {
    let every = section.duration("every_in_alarm")?;
    if every < Duration::from_millis(10) {
        section.error("every_in_alarm", "bad-duration", "a device is polled every 10 ms at most", None);
    } else if every >= period {
        let text = "`every_in_alarm` is not shorter than `every`";
        section.error(
            "every_in_alarm",
            "bad-duration",
            text,
            Some("make it shorter, or leave it out".to_owned()),
        );
    }
    Some(every)
}

fn model(section: &Section<'_>, wanted: &str, models: &BTreeMap<String, Model>) -> Option<Profile> {
    let Some(model) = models.get(wanted) else {
        let help = nearest(wanted, models.keys().map(String::as_str)).or_else(|| {
            let known: Vec<&str> = models.keys().map(String::as_str).collect();
            Some(format!("known profiles: {}", known.join(", ")))
        });
        section.error("profile", "unknown-profile", format!("there is no profile `{wanted}`"), help);
        return None;
    };
    match model.of(section.text("firmware").as_deref()) {
        Ok(profile) => Some(profile),
        Err(why) => {
            section.error("firmware", "bad-firmware", why, None);
            None
        }
    }
}

/// Hides the points that `points = [...]` leaves out; what others need stays hidden.
fn only(section: &Section<'_>, profile: &mut Profile) {
    let wanted = section.texts("points");
    if wanted.is_empty() {
        return;
    }
    for (name, place) in &wanted {
        if !profile.fields.iter().any(|field| field.name == kebab(name) && !field.hidden) {
            let help = nearest(&kebab(name), profile.fields.iter().map(|field| field.name.as_str()));
            section.report.error(
                place,
                "unknown-point",
                format!("the profile {} has no point `{name}`", profile.name),
                help,
            );
        }
    }
    for field in &mut profile.fields {
        field.hidden |= !wanted.iter().any(|(name, _)| kebab(name) == field.name);
    }
}

/// Reads one risk point.
pub(crate) fn risk_point(section: &Section<'_>) -> Option<(RiskPoint, Place)> {
    let code = section.need("code", section.text("code"));
    let class =
        section.need("class", section.word("class", &["gas", "waterlogging", "landslide", "elevator"]));
    let town = section.need("town", section.text("town"));
    let supervisor = section.need("supervisor", section.text("supervisor"));
    let grade = section.need("grade", section.int("grade", 1, 4));
    let place = section.section("place").and_then(|place| {
        let degrees = |key, most: f64| {
            let value = place.need(key, place.float(key))?;
            if value.abs() > most {
                place.error(key, "out-of-range", format!("`{key}` is in degrees, and {value} is not"), None);
            }
            Some(value)
        };
        let (lon, lat) = (degrees("lon", 180.0), degrees("lat", 90.0));
        let datum = place.need("datum", place.word("datum", &["CGCS2000", "WGS84", "GCJ-02"]));
        place.finish();
        Some((lon?, lat?, datum?.to_owned()))
    });
    let need = |need: &Section<'_>| {
        let (role, min) = (need.need("role", need.word("role", &CLASSES)), need.int("min", 1, 1000));
        need.finish();
        Some(Need { role: role?.to_owned(), min: min.unwrap_or(1) })
    };
    let needs = section.sections("needs").iter().filter_map(need).collect();
    let name = section.text("name");
    section.date("from");
    section.finish();
    let class = class?.to_owned();
    let point = RiskPoint {
        code: code?,
        name,
        class,
        town: town?,
        supervisor: supervisor?,
        grade: grade?,
        place,
        needs,
    };
    Some((point, section.place("code")))
}
