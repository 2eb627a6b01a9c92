//! Profiles of device models as documents.
//!
//! In: the files of a profile folder. Out: [`Model`]s, and the profile of one device with its firmware's overlay applied.
//! Invariant: a profile that is handed out has passed its own vectors.

use std::sync::Arc;
use std::time::Duration;

use crate::bus::Table;
use crate::normalize::vectors::verify;
use crate::profile::at::At;
use crate::profile::names::{number as raw_number, serial_fault, serial_format};
use crate::profile::version::{Scheme, matches};
use crate::profile::{CLASSES, Expect, Fault, FaultMatch, Field, Kind, Limits, Loop, Order, Profile, Vector};
use crate::site::section::{Section, kebab, nearest, number};
use crate::site::text;
use crate::site::tree::{Document, Report, Value};

/// A device model with its firmware overlays.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) profile: Profile,
    scheme: Scheme,
    overlays: Vec<Overlay>,
}

#[derive(Clone, Debug)]
struct Overlay {
    versions: String,
    limits: Limits,
    without: Vec<String>,
    fields: Vec<Field>,
}

impl Model {
    /// The profile of a device with this firmware. Without one: the strictest limits of all overlays.
    pub(crate) fn of(&self, firmware: Option<&str>) -> Result<Profile, String> {
        let mut profile = self.profile.clone();
        for overlay in &self.overlays {
            let Some(version) = firmware else {
                let strictest = profile.limits.registers_per_read.min(overlay.limits.registers_per_read);
                profile.limits.registers_per_read = strictest;
                continue;
            };
            if matches(self.scheme, &overlay.versions, version)? {
                profile.limits = overlay.limits.clone();
                for field in profile.fields.iter_mut().filter(|field| overlay.without.contains(&field.name)) {
                    field.hidden = true;
                }
                for field in &overlay.fields {
                    match profile.fields.iter_mut().find(|known| known.name == field.name) {
                        Some(known) => *known = field.clone(),
                        None => profile.fields.push(field.clone()),
                    }
                }
            }
        }
        Ok(profile)
    }
}

/// Reads one profile document; `None` when it has no usable head.
pub(crate) fn read(document: &Document, report: &Report) -> Option<Model> {
    let root = document.parse(report);
    let top = Section::new(document, report, "a profile document", &root);
    let head = top.need("profile", top.section("profile"))?;
    let name = head.name("name");
    let class = head.need("class", head.word("class", &CLASSES)).unwrap_or("io");
    let maker = head.need("maker", head.text("maker")).unwrap_or_default();
    let source = head.need("source", head.text("source")).unwrap_or_default();
    let serial = head.text("serial").and_then(|text| {
        let format = serial_format(&text);
        if format.is_none() {
            let (wrong, help) = serial_fault(&text);
            head.error("serial", "bad-serial", wrong, Some(help));
        }
        format
    });
    let schemes: Vec<&'static str> = Scheme::ALL.iter().map(|scheme| scheme.name()).collect();
    let scheme = head.word("versions", &schemes).and_then(Scheme::parse).unwrap_or(Scheme::Semantic);
    let slave = head.int("slave", 0, 255);
    for ignored in ["model", "note"] {
        head.node(ignored);
    }
    head.finish();
    let mut limits =
        top.section("limits").map_or_else(Limits::default, |section| limits(&section, &Limits::default()));
    let format = top.section("text").and_then(|section| text::format(&section, slave));
    limits.timeout = format.as_ref().and_then(|(_, timeout)| *timeout).or(limits.timeout);
    let sections = top.sections("point");
    let mut fields: Vec<Field> = sections.iter().filter_map(field).collect();
    links(&sections, &mut fields);
    duplicates(&sections, &fields);
    let vectors = top.sections("vector").iter().map(vector).collect();
    let overlays = top.sections("firmware").iter().map(|section| overlay(section, &limits)).collect();
    top.finish();
    let profile = Profile {
        name: name?,
        class: class.to_owned(),
        maker,
        source,
        serial,
        text: format.map(|(format, _)| format),
        limits,
        fields,
        vectors,
    };
    text::check(&top, &profile);
    for wrong in verify(&profile) {
        let places = top.sections("vector");
        let place = places.get(wrong.vector).map(|section| section.place("expect")).unwrap_or_default();
        report.error(
            &place,
            "vector-failed",
            format!("vector {}, {}: {}", wrong.vector + 1, wrong.field, wrong.text),
            None,
        );
    }
    Some(Model { profile, scheme, overlays })
}

fn limits(section: &Section<'_>, base: &Limits) -> Limits {
    let found = Limits {
        registers_per_read: section.int("registers_per_read", 1, 125).unwrap_or(base.registers_per_read),
        gap: section.int("gap", 0, 124).unwrap_or(base.gap),
        quiet: section.duration("quiet").unwrap_or(base.quiet),
        timeout: section.duration("timeout").or(base.timeout),
        single_register: section.flag("single_register").unwrap_or(base.single_register),
        any_unit: section.flag("any_unit").unwrap_or(base.any_unit),
    };
    section.finish();
    found
}

fn overlay(section: &Section<'_>, base: &Limits) -> Overlay {
    let versions = section.need("versions", section.text("versions")).unwrap_or_default();
    let limits = section.section("limits").map_or_else(|| base.clone(), |section| limits(&section, base));
    let without = section.texts("without").into_iter().map(|(name, _)| kebab(&name)).collect();
    let fields = section.sections("point").iter().filter_map(field).collect();
    section.node("note");
    section.finish();
    Overlay { versions, limits, without, fields }
}

fn field(section: &Section<'_>) -> Option<Field> {
    let name = section.need("name", section.text("name")).map(|name| kebab(&name));
    let group = text::group(section);
    let at = section.need("at", section.text("at")).filter(|_| group.is_none()).and_then(|text| {
        let at = At::parse(&text);
        if let Err(why) = &at {
            section.error(
                "at",
                "bad-place",
                why.clone(),
                Some("such as \"holding 0x0002\" or \"40003\"".to_owned()),
            );
        }
        at.ok()
    });
    let words: Vec<&'static str> = Kind::words().collect();
    let kind = match &group {
        Some(_) => Some(Kind::F64),
        None => section.need("type", section.word("type", &words)).and_then(Kind::parse),
    };
    let mut field = Field::new(name.as_deref().unwrap_or("?"), Table::Holding, 0, kind.unwrap_or(Kind::U16));
    if let Some(at) = at {
        (field.table, field.address) = (at.table, at.address);
    }
    let placed = at.is_some() || group.is_some();
    field.group = group;
    scaling(section, &mut field);
    meaning(section, &mut field);
    for later in ["decimals_from", "pre_offset_from", "valid_when", "note"] {
        section.node(later);
    }
    section.finish();
    if u32::from(field.address) + u32::from(field.count) > 0x1_0000 {
        let end = u32::from(field.address) + u32::from(field.count) - 1;
        section.error(
            "at",
            "past-the-end",
            format!("register {end} is past the end of the table (65535)"),
            None,
        );
    }
    (name.is_some() && placed && kind.is_some()).then_some(field)
}

fn scaling(section: &Section<'_>, field: &mut Field) {
    if let Some(count) = section.int::<u16>("count", 1, 125) {
        if field.kind.fits(count) {
            field.count = count;
        } else {
            section.error(
                "count",
                "bad-count",
                format!("a {} does not take {count} registers", field.kind.name()),
                None,
            );
        }
    }
    if let Some(text) = section.text("order") {
        match Order::parse(&text)
            .filter(|order| order.0.len() == usize::from(field.count) * 2 || field.kind == Kind::Ascii)
        {
            Some(order) => field.order = order,
            None => section.error(
                "order",
                "bad-order",
                format!("`{text}` is no byte order of {} registers", field.count),
                Some("such as ABCD, CDAB, BADC, DCBA".to_owned()),
            ),
        }
    }
    field.scale = section.float("scale").unwrap_or(1.0);
    field.offset = section.float("offset").unwrap_or(0.0);
    field.unit = section.unit("unit");
    field.tolerance = section.float("tolerance").unwrap_or(0.0);
    if let Some([low, high]) = pair(section, "range") {
        field.range = Some((low, high));
        if high <= low {
            section.error("range", "bad-range", "the range's first number must be the lower one", None);
        }
    }
    if let Some(found) = section.section("loop") {
        let need = |key| found.need(key, found.float(key)).unwrap_or(0.0);
        field.current_loop =
            Some(Loop { lo: need("lo"), hi: need("hi"), out_lo: need("out_lo"), out_hi: need("out_hi") });
        found.finish();
    }
    if let Some([low, high]) = pair(section, "bits") {
        let bit = |value: f64| (0_u8..64).find(|bit| (f64::from(*bit) - value).abs() < 0.1);
        match (bit(low), bit(high)) {
            (Some(low), Some(high)) if low <= high && matches!(field.kind, Kind::Bits { .. }) => {
                field.kind = Kind::Bits { low, high }
            }
            _ => section.error(
                "bits",
                "bad-bits",
                "`bits` is [low, high] with bit 0 the lowest, on type = \"bits\"",
                None,
            ),
        }
    }
}

fn meaning(section: &Section<'_>, field: &mut Field) {
    field.invert = section.flag("invert").unwrap_or(false);
    field.one_hot = section.flag("one_hot").unwrap_or(false);
    field.destructive = section.flag("destructive").unwrap_or(false);
    field.hidden = section.flag("hidden").unwrap_or(false);
    for found in section.sections("faults") {
        let means = found.need("means", found.text("means")).unwrap_or_default();
        let is = found.text("is").map(|word| FaultMatch::parse_is(&word));
        let raw = found.node("raw").map(|node| match &node.value {
            Value::Text(text) => FaultMatch::parse_raw(text),
            Value::Int(value) => u64::try_from(*value).ok().map(FaultMatch::Raw),
            _ => None,
        });
        let word = found.text("text").map(|word| Some(FaultMatch::Text(word)));
        match is.or(raw).or(word).flatten() {
            Some(matches) => field.faults.push(Fault { matches, means: Arc::from(means.as_str()) }),
            None => section.error(
                "faults",
                "bad-fault",
                "a fault needs `is` (nan, +inf, -inf), `raw` (\"0x7FFF\") or `text` (\"ERR\")",
                None,
            ),
        }
        found.finish();
    }
    if let Some(states) = section.section("states") {
        for (code, span, node) in states.all() {
            match (code.parse(), &node.value) {
                (Ok(code), Value::Text(name)) => field.states.push((code, name.clone())),
                _ => section.report.error(
                    &section.document.place(*span),
                    "bad-state",
                    "a state is a number and a text, \"0\" = \"open\"",
                    None,
                ),
            }
        }
        field.decimals = 0;
    }
    field.decimals = section.int("decimals", 0, 9).unwrap_or(field.decimals);
}

fn pair(section: &Section<'_>, key: &'static str) -> Option<[f64; 2]> {
    section.node(key)?;
    let numbers: Vec<f64> = section.list(key).iter().filter_map(number).collect();
    let pair = <[f64; 2]>::try_from(numbers).ok();
    if pair.is_none() {
        section.error(key, "wrong-type", format!("`{key}` must be a list of two numbers"), None);
    }
    pair
}

/// Connects fields that need each other, by name.
fn links(sections: &[Section<'_>], fields: &mut [Field]) {
    let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    let find = |section: &Section<'_>, key: &'static str, name: &str| {
        let found = names.iter().position(|known| *known == kebab(name));
        if found.is_none() {
            let help = nearest(&kebab(name), names.iter().map(String::as_str));
            section.error(key, "unknown-point", format!("this profile has no point `{name}`"), help);
        }
        found
    };
    for section in sections {
        let own = section.text("name").map(|name| kebab(&name));
        let Some(index) = names.iter().position(|name| Some(name) == own.as_ref()) else { continue };
        let decimals = section.text("decimals_from").and_then(|name| find(section, "decimals_from", &name));
        let before = section.text("pre_offset_from").and_then(|name| find(section, "pre_offset_from", &name));
        let valid = section.section("valid_when").and_then(|when| {
            let point = when.need("point", when.text("point"))?;
            let is = when.need("is", when.float("is"))?;
            when.finish();
            find(section, "valid_when", &point).map(|place| (place, is))
        });
        if let Some(field) = fields.get_mut(index) {
            (field.decimals_from, field.pre_offset_from, field.valid_when) = (decimals, before, valid);
        }
    }
}

fn duplicates(sections: &[Section<'_>], fields: &[Field]) {
    for (index, field) in fields.iter().enumerate() {
        let twice = fields.iter().take(index).any(|other| other.name == field.name);
        if let Some(section) = sections.get(index).filter(|_| twice) {
            let text = format!("the point `{}` stands twice in this profile", field.name);
            section.error("name", "duplicate-name", text, None);
        }
    }
}

fn vector(section: &Section<'_>) -> Vector {
    let text = section.text("text");
    let mut cells = Vec::new();
    let registers = section.section("registers");
    let registers = if text.is_some() { registers } else { section.need("registers", registers) };
    if let Some(registers) = registers {
        for (place, span, node) in registers.all() {
            let words: Option<Vec<u16>> = match &node.value {
                Value::List(list) => list.iter().map(word).collect(),
                _ => None,
            };
            match (At::parse(place), words) {
                (Ok(at), Some(words)) => cells.push((at.table, at.address, words)),
                _ => section.report.error(
                    &section.document.place(*span),
                    "bad-vector",
                    "write \"holding 0x0100\" = [\"0x3F75\", \"0xE3D2\"]",
                    None,
                ),
            }
        }
    }
    let tolerance = section.float("tol");
    let from_maker = section.word("from", &["maker", "worked"]) == Some("maker");
    section.node("note");
    let mut expect = Vec::new();
    for key in ["expect", "expect_state", "expect_fault"] {
        let Some(found) = section.section(key) else { continue };
        for (name, span, node) in found.all() {
            let wanted = match (&node.value, key) {
                (Value::Text(text), "expect_state") => Some(Expect::State(text.clone())),
                (Value::Text(text), "expect_fault") => Some(Expect::Fault(text.clone())),
                (_, "expect") => number(node)
                    .map(|value| Expect::Number(value, tolerance.unwrap_or(1e-9 * value.abs().max(1.0)))),
                _ => None,
            };
            match wanted {
                Some(wanted) => expect.push((kebab(name), wanted)),
                None => section.report.error(
                    &section.document.place(*span),
                    "bad-vector",
                    format!("`{key}` of `{name}` has the wrong type"),
                    None,
                ),
            }
        }
    }
    section.finish();
    Vector { text, cells, expect, from_maker }
}

fn word(node: &crate::site::tree::Node) -> Option<u16> {
    match &node.value {
        Value::Int(value) => u16::try_from(*value).ok(),
        Value::Text(text) => raw_number(text).and_then(|value| u16::try_from(value).ok()),
        _ => None,
    }
}

/// The answer time that a device without one of its own gets.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
