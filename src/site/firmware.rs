//! Firmware and triggers in a profile document: `[version]`, `[[firmware]]`, `[[trigger]]`, `wake`.
//!
//! In: sections of a profile. Out: [`Telling`], [`Overlay`]s, [`Trigger`]s.
//! Invariant: overlays and triggers name points that are there; a point keeps quantity and states in every version, because a site's
//! points are fixed when the documents are read.

use std::time::Duration;

use crate::bus::Table;
use crate::profile::at::At;
use crate::profile::firmware::{Firmware, Form, Overlay, Telling, Told};
use crate::profile::names::number as raw_number;
use crate::profile::trigger::{Act, Trigger};
use crate::profile::version;
use crate::profile::{Field, Kind, Limits, Never, Wake};
use crate::site::profiles::{fields, limits, place_of};
use crate::site::section::{Section, kebab, nearest};
use crate::site::tree::Value;

/// Types that a version may have in registers.
const VERSION_TYPES: [&str; 7] = ["u16", "u32", "u64", "u8h", "u8l", "bcd", "ascii"];
/// The longest wait before an answer counts, behind a trigger or a refused read.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Where a device tells its version.
pub(crate) fn telling(section: &Section<'_>) -> Option<Telling> {
    let identity = section.int::<u8>("identity", 0, 255);
    let at = place_of(section, "at");
    let kind = section.word("type", &VERSION_TYPES).and_then(Kind::parse);
    let refused = section.text("refused");
    let format = section.text("format");
    let form = Form::parse(format.as_deref().unwrap_or("{n}"));
    if form.is_none() {
        let help = Some("such as \"{A}.{B}\", \"{n}\" or \"{n/100}.{n%100}\"".to_owned());
        section.error("format", "bad-format", "this spells no version", help);
    }
    let mut own = Field::new("version", Table::Holding, 0, kind.unwrap_or(Kind::U16));
    if let Some(at) = at {
        (own.table, own.address) = (at.table, at.address);
    }
    let (count, order) = (section.int::<u16>("count", 1, 125), section.text("order"));
    crate::site::profiles::shape(section, &mut own, count, order.as_deref());
    section.node("note");
    section.finish();
    let bytes = usize::from(own.count) * 2;
    if form.as_ref().is_some_and(|form| form.bytes() > bytes) {
        let text = format!("`format` names a byte that {bytes} bytes don't have");
        section.error("format", "bad-format", text, None);
    }
    let from = match (identity, at, kind) {
        (Some(object), None, None) => Told::Identity(object),
        (None, Some(_), Some(_)) => Told::Cells(Box::new(own), form?),
        _ => {
            let help = Some("at = \"holding 0x0010\", type = \"u16\", or identity = 2".to_owned());
            section.error(
                "at",
                "version-place",
                "a version stands in registers (`at` and `type`) or in an object of the identity",
                help,
            );
            return None;
        }
    };
    Some(Telling { from, refused })
}

/// One overlay.
pub(crate) fn overlay(section: &Section<'_>, base: &Limits) -> Overlay {
    let versions = section.need("versions", section.text("versions")).unwrap_or_default();
    let limits = section.section("limits").map_or_else(|| base.clone(), |section| limits(&section, base));
    let without = section.texts("without").into_iter().map(|(name, _)| kebab(&name)).collect();
    let fields = section.sections("point").iter().flat_map(fields).collect();
    section.node("note");
    section.finish();
    Overlay { versions, limits, without, fields }
}

/// Reports overlays that speak of points or versions that can't be.
pub(crate) fn check(sections: &[Section<'_>], firmware: &Firmware) {
    for (section, overlay) in sections.iter().zip(&firmware.overlays) {
        if let Some(Err(why)) =
            section.text("versions").map(|versions| version::check(firmware.scheme, &versions))
        {
            section.error("versions", "bad-firmware", why, None);
        }
        for (name, place) in section.texts("without") {
            if !firmware.fields.iter().any(|field| field.name == kebab(&name)) {
                let help = nearest(&kebab(&name), firmware.fields.iter().map(|field| field.name.as_str()));
                let text = format!("this profile has no point `{name}`");
                section.report.error(&place, "unknown-point", text, help);
            }
        }
        for own in &overlay.fields {
            let Some(known) = firmware.layout().into_iter().find(|known| known.name == own.name) else {
                continue;
            };
            let quantity = |field: &Field| field.unit.map(crate::unit::Unit::quantity);
            if quantity(own) != quantity(&known) || own.states != known.states {
                let text = format!(
                    "the point `{}` has another quantity or other states in these versions",
                    own.name
                );
                let help =
                    Some("give it another name: a site's points are fixed, whatever the firmware".to_owned());
                section.error("point", "changed-point", text, help);
            }
        }
    }
}

/// Reports a `refused` that is no version.
pub(crate) fn check_telling(section: &Section<'_>, firmware: &Firmware) {
    let refused = firmware.telling.as_ref().and_then(|telling| telling.refused.as_deref());
    if let Some(Err(why)) = refused.map(|version| version::check(firmware.scheme, version)) {
        section.error("refused", "bad-firmware", why, None);
    }
}

/// One trigger; its points are looked up in `fields`.
pub(crate) fn trigger(section: &Section<'_>, fields: &[Field]) -> Option<Trigger> {
    let name = section.name("name");
    let act = section.need("write", section.section("write")).and_then(|write| act(&write));
    let wait = section.need("wait", bounded(section, "wait"));
    let names = section.need("before", Some(section.texts("before")).filter(|names| !names.is_empty()));
    let mut before = Vec::new();
    for (point, place) in names.unwrap_or_default() {
        match fields.iter().position(|field| field.name == kebab(&point)) {
            Some(index) => before.push(index),
            None => {
                let help = nearest(&kebab(&point), fields.iter().map(|field| field.name.as_str()));
                let text = format!("this profile has no point `{point}`");
                section.report.error(&place, "unknown-point", text, help);
            }
        }
    }
    section.node("note");
    section.finish();
    Some(Trigger { name: name?, act: act?, wait: wait?, before })
}

/// Cells that nobody may write by chance.
pub(crate) fn never(section: &Section<'_>) -> Option<Never> {
    let at = section.need("write", place_of(section, "write"));
    let count = section.int("count", 1, 0x1_0000).unwrap_or(1);
    let why = section.need("why", section.text("why"));
    section.finish();
    let At { table, address } = at?;
    if matches!(table, Table::Input | Table::Discrete) {
        section.error("write", "bad-place", "only coils and holding registers can be written", None);
    }
    Some(Never { table, address, count, why: why? })
}

/// Reports triggers that write what must not be written.
pub(crate) fn spare(sections: &[Section<'_>], triggers: &[Trigger], never: &[Never]) {
    for section in sections {
        let name = section.text("name");
        let Some(trigger) = triggers.iter().find(|trigger| Some(&trigger.name) == name.as_ref()) else {
            continue;
        };
        for spared in never.iter().filter(|spared| trigger.act.touches(spared)) {
            let text = format!("`{}` writes what must never be written: {}", trigger.name, spared.why);
            section.error("write", "never-written", text, None);
        }
    }
}

fn act(write: &Section<'_>) -> Option<Act> {
    let cell = |key: &'static str| {
        let node = write.node(key)?;
        let number = match &node.value {
            Value::Int(value) => u16::try_from(*value).ok(),
            Value::Text(text) => raw_number(text).and_then(|value| u16::try_from(value).ok()),
            _ => None,
        };
        if number.is_none() {
            write.error(key, "bad-trigger", format!("`{key}` must be 0 to 65535"), None);
        }
        number
    };
    let (register, coil, value, on) = (cell("register"), cell("coil"), cell("value"), write.flag("on"));
    let values: Option<Vec<u16>> = write.node("values").map(|_| {
        let number = |node: &crate::site::tree::Node| match node.value {
            Value::Int(value) => u16::try_from(value).ok(),
            _ => None,
        };
        write.list("values").iter().map_while(number).collect()
    });
    write.finish();
    if [register, coil, value]
        .into_iter()
        .zip(["register", "coil", "value"])
        .any(|(found, key)| found.is_none() && write.node(key).is_some())
    {
        return None;
    }
    let found = match (register, coil, value, values, on) {
        (Some(address), None, Some(value), None, None) => Some(Act::Register { address, value }),
        (Some(address), None, None, Some(values), None)
            if (1..=123).contains(&values.len())
                && values.len() == write.list("values").len()
                && usize::from(address) + values.len() <= 0x1_0000 =>
        {
            Some(Act::Registers { address, values })
        }
        (None, Some(address), None, None, Some(on)) => Some(Act::Coil { address, on }),
        _ => None,
    };
    if found.is_none() {
        let help = Some(
            "{ register = 0x0118, value = 1 }, { register = 0x0118, values = [1, 2] } or { coil = 3, on = true }"
                .to_owned(),
        );
        write.error("register", "bad-trigger", "this says no write", help);
    }
    found
}

/// A device whose first answer is none yet.
pub(crate) fn wake(section: &Section<'_>) -> Option<Wake> {
    let exception = section.int("exception", 1, 255);
    let silence = section.flag("silence").unwrap_or(false);
    let wait = section.need("wait", bounded(section, "wait"));
    let tries = section.int("tries", 1, 100).unwrap_or(1);
    if exception.is_none() && !silence {
        let help = Some("exception = 5, or silence = true".to_owned());
        section.error("exception", "bad-wake", "`wake` says by what a refused first read is known", help);
    }
    section.finish();
    Some(Wake { exception, silence, wait: wait?, tries })
}

/// A wait that isn't longer than a person would bear.
fn bounded(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    let found = section.duration(key)?;
    if found > WAIT_MAX {
        section.error(key, "bad-duration", format!("`{key}` is 60 s at most"), None);
    }
    Some(found)
}
