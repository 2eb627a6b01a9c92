//! Devices of the site's documents.
//!
//! In: `[[device]]` sections with the models that profiles gave. Out: drafts with places.
//! Invariant: every name is used once; a device names a line, a profile and a risk point that are there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::text::Format;
use crate::bus::{Framing, Slave};
use crate::clock::Timestamp;
use crate::diagnostic::Place;
use crate::profile::firmware::Firmware;
use crate::profile::trigger::Allowed;
use crate::profile::{CLASSES, Profile};
use crate::site::lines::LineDraft;
use crate::site::profiles::{Model, TIMEOUT};
use crate::site::risk::{self, Binding, Calendar};
use crate::site::section::{Section, kebab, nearest};
use crate::site::tree::Value;
use crate::site::{settings, text};

/// A device as written.
pub(crate) struct DeviceDraft {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) slave: Slave,
    pub(crate) profile: Arc<Profile>,
    pub(crate) firmware: Firmware,
    pub(crate) triggers: Vec<Allowed>,
    pub(crate) withheld: Vec<usize>,
    pub(crate) every: Duration,
    pub(crate) every_in_alarm: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) stale_after: Duration,
    pub(crate) binding: Binding,
    pub(crate) calibration_due: Option<Timestamp>,
    /// The zero that its levels are counted from.
    pub(crate) datum: Option<String>,
    /// What a time-series store gets beside the names.
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) place: Place,
}

/// What can still be said of a device with a mistake: its points, when its model is known.
pub(crate) struct Dim {
    pub(crate) name: Option<String>,
    pub(crate) profile: Option<Profile>,
    pub(crate) every: Duration,
    pub(crate) binding: Binding,
    pub(crate) datum: Option<String>,
}

/// The line that a device names, and whether that is serial, if there is one of the name; one with a mistake is there, too.
fn line_of(
    section: &Section<'_>,
    lines: &[LineDraft],
    dim: &BTreeMap<String, bool>,
) -> (Option<usize>, Option<bool>) {
    let Some(wanted) = section.need("line", section.text("line")) else { return (None, None) };
    let found = lines.iter().position(|line| line.settings.name == wanted);
    if let Some(line) = found.and_then(|found| lines.get(found)) {
        return (found, Some(line.settings.address.framing() != Framing::Mbap));
    }
    let serial = dim.get(&wanted).copied();
    if serial.is_none() {
        let names = lines.iter().map(|line| &line.settings.name).chain(dim.keys());
        let help = nearest(&wanted, names.map(String::as_str));
        section.error("line", "unknown-line", format!("there is no line `{wanted}`"), help);
    }
    (None, serial)
}

/// Reads one device.
pub(crate) fn device(
    section: &Section<'_>,
    (lines, dim): (&[LineDraft], &BTreeMap<String, bool>),
    models: &BTreeMap<String, Model>,
    calendar: &Calendar,
) -> Result<DeviceDraft, Box<Dim>> {
    let name = section.name("name");
    section.unless("template");
    // What could be written out has neither: why the others could not has been told.
    if section.text("template").is_some() || section.text("slaves").is_some() {
        let (every, binding) = (Duration::ZERO, Binding::default());
        return Err(Box::new(Dim { name, profile: None, every, binding, datum: None }));
    }
    let (line, serial) = line_of(section, lines, dim);
    let found =
        section.need("profile", section.text("profile")).and_then(|wanted| model(section, &wanted, models));
    let (mut profile, firmware) = found.unzip();
    let every = section.need("every", section.duration("every"));
    let format = profile.as_ref().and_then(|profile| profile.text.as_ref());
    let slave = slave(section, format, every, serial);
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
    let calibration_due = calibration(section, calendar);
    own(section, profile.as_mut());
    let (triggers, withheld) = profile.as_ref().map(|profile| triggers(section, profile)).unwrap_or_default();
    let binding = risk::binding(section, calendar);
    let datum = section.text("datum");
    let tags = tags(section);
    section.finish();
    let (Some(name), Some(line), Some(slave), Some(profile), Some(firmware), Some(every)) =
        (&name, line, slave, &profile, firmware, every)
    else {
        // An unknown period is short: no finding comes from it.
        let every = every.unwrap_or_default();
        return Err(Box::new(Dim { name, profile, every, binding, datum }));
    };
    Ok(DeviceDraft {
        name: name.clone(),
        line,
        slave: Slave(slave),
        profile: Arc::new(profile.clone()),
        firmware,
        triggers,
        withheld,
        every,
        every_in_alarm,
        timeout: timeout.unwrap_or(TIMEOUT),
        stale_after,
        binding,
        calibration_due,
        datum,
        tags,
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

/// Tags that a store gets with each reading of the device.
fn tags(section: &Section<'_>) -> BTreeMap<String, String> {
    let Some(table) = section.section("tags") else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for (key, span, node) in table.all() {
        let place = section.document.place(*span);
        match (settings::tag_key(key), &node.value) {
            (Ok(()), Value::Text(text)) => {
                found.insert(key.clone(), text.clone());
            }
            (Ok(()), other) => {
                let text = format!("the tag `{key}` must be a text, and this is {}", other.kind());
                section.report.error(&section.document.place(node.span), "wrong-type", text, None);
            }
            (Err(why), _) => section.report.error(&place, "bad-tag", why, None),
        }
    }
    found
}

/// The end of the calibration's validity: it holds until the end of its day.
fn calibration(section: &Section<'_>, calendar: &Calendar) -> Option<Timestamp> {
    let calibration_due = calendar.ends(section, "calibration_due");
    if calibration_due.is_some_and(|due| due <= calendar.now) {
        section.warning(
            "calibration_due",
            "calibration-overdue",
            "the calibration is past due: every reading is marked uncertain",
            None,
        );
    }
    calibration_due
}

/// The device's address on its line.
fn slave(
    section: &Section<'_>,
    format: Option<&Format>,
    every: Option<Duration>,
    serial: Option<bool>,
) -> Option<u8> {
    if let Some(format) = format {
        text::check_period(section, format, every.unwrap_or(format.period));
        return text::slave(section, format);
    }
    let Some(serial) = serial else { return section.need("slave", slave_of_no_line(section)) };
    section.need("slave", section.int("slave", i64::from(serial), if serial { 247 } else { 255 }))
}

/// Which addresses there are is the line's business: where there is no such line, only what fits none is a mistake.
fn slave_of_no_line(section: &Section<'_>) -> Option<u8> {
    let number: i64 = section.int("slave", i64::MIN, i64::MAX)?;
    let slave = u8::try_from(number).ok();
    if slave.is_none() {
        let text = format!("`slave` must be 1 to 247, or 0 to 255 on Modbus TCP, and this is {number}");
        section.error("slave", "out-of-range", text, None);
    }
    slave
}

fn model(
    section: &Section<'_>,
    wanted: &str,
    models: &BTreeMap<String, Model>,
) -> Option<(Profile, Firmware)> {
    // Without any profile their folder is the mistake, and that has been told.
    if models.is_empty() && !section.report.is_quiet() {
        keys_of_a_profile(section);
        return None;
    }
    let Some(model) = models.get(wanted) else {
        keys_of_a_profile(section);
        let help = nearest(wanted, models.keys().map(String::as_str)).or_else(|| {
            let known: Vec<&str> = models.keys().map(String::as_str).collect();
            Some(format!("known profiles: {}", known.join(", ")))
        });
        section.error("profile", "unknown-profile", format!("there is no profile `{wanted}`"), help);
        return None;
    };
    match model.of(section.text("firmware").as_deref()) {
        Ok(found) => {
            unknown_firmware(section, &found.1);
            Some(found)
        }
        Err(why) => {
            keys_of_a_profile(section);
            section.error("firmware", "bad-firmware", why, None);
            None
        }
    }
}

/// Keys that only a profile asks for are none of the mistakes of a device without one.
fn keys_of_a_profile(section: &Section<'_>) {
    for key in ["firmware", "points", "allow"] {
        section.node(key);
    }
}

/// Versions change the registers, the device tells none, and the site names none.
fn unknown_firmware(section: &Section<'_>, firmware: &Firmware) {
    if firmware.overlays.is_empty() || firmware.telling.is_some() || firmware.named.is_some() {
        return;
    }
    let versions: Vec<&str> = firmware.overlays.iter().map(|overlay| overlay.versions.as_str()).collect();
    let help =
        format!("firmware = \"...\" as its type plate says; the map differs in {}", versions.join("; "));
    let text = "the registers of this model depend on its firmware, and none is given";
    section.warning("profile", "firmware-not-given", text, Some(help));
}

/// The triggers that `allow = [...]` names, and the fields that are not polled for want of one.
fn triggers(section: &Section<'_>, profile: &Profile) -> (Vec<Allowed>, Vec<usize>) {
    let allow = section.texts("allow");
    for (name, place) in &allow {
        if !profile.triggers.iter().any(|trigger| trigger.name == *name) {
            let names = || profile.triggers.iter().map(|trigger| trigger.name.as_str());
            let help = nearest(name, names())
                .or_else(|| Some(format!("its triggers: {}", names().collect::<Vec<_>>().join(", "))))
                .filter(|_| !profile.triggers.is_empty());
            let text = format!("the profile {} has no trigger `{name}`", profile.name);
            section.report.error(place, "unknown-trigger", text, help);
        }
    }
    let allow: Vec<String> = allow.into_iter().map(|(name, _)| name).collect();
    let (mut allowed, mut withheld) = (Vec::new(), Vec::new());
    for trigger in &profile.triggers {
        let behind = trigger.behind(&profile.fields);
        let seen = |index: &&usize| profile.fields.get(**index).is_some_and(|field| !field.hidden);
        let points: Vec<&str> = behind
            .iter()
            .filter(seen)
            .filter_map(|index| profile.fields.get(*index))
            .map(|field| field.name.as_str())
            .collect();
        match trigger.allowed(&allow) {
            Some(trigger) => allowed.push(trigger),
            None if points.is_empty() => {}
            None => {
                let text = format!(
                    "without the trigger `{}` the device serves old values of {}: they are not polled",
                    trigger.name,
                    points.join(", ")
                );
                let help = format!(
                    "allow = [\"{}\"] lets the gateway write {} before each poll",
                    trigger.name, trigger.act
                );
                section.warning("profile", "trigger-not-allowed", text, Some(help));
                withheld.extend(behind);
            }
        }
    }
    withheld.sort_unstable();
    withheld.dedup();
    (allowed, withheld)
}

/// Class and points that the device has instead of its profile's.
fn own(section: &Section<'_>, profile: Option<&mut Profile>) {
    let class = section.word("class", &CLASSES);
    let Some(profile) = profile else { return };
    if let Some(class) = class {
        class.clone_into(&mut profile.class);
    }
    only(section, profile);
}

/// Hides the points that `points = [...]` leaves out; what others need stays hidden. Without it those are hidden whose read changes the device.
fn only(section: &Section<'_>, profile: &mut Profile) {
    let wanted = section.texts("points");
    if wanted.is_empty() {
        profile.fields.iter_mut().for_each(|field| field.hidden |= field.destructive);
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
