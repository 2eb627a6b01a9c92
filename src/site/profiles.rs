//! Profiles of device models as documents.
//!
//! In: the files of a profile folder. Out: [`Model`]s, and the profile of one device with its firmware's overlay applied.
//! Invariant: a profile that is handed out has passed its own vectors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::Table;
use crate::diagnostic::Place;
use crate::normalize::vectors::verify;
use crate::profile::at::At;
use crate::profile::firmware::{Firmware, Overlay};
use crate::profile::names::{number as raw_number, serial_fault, serial_format};
use crate::profile::version::Scheme;
use crate::profile::{CLASSES, Expect, Fault, FaultMatch, Field, Kind, Limits, Loop, Order, Profile, Vector};
use crate::site::firmware;
use crate::site::library;
use crate::site::links::{self, links, own_names};
use crate::site::section::{Section, kebab, number};
use crate::site::text;
use crate::site::tree::{Document, Report, Value};

/// A device model with its firmware overlays.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) profile: Profile,
    /// Where its name stands.
    pub(crate) place: Place,
    pub(crate) firmware: Firmware,
}

impl Model {
    /// The profile of a device, its fields in the layout of all versions, and what its version changes. With a version that the site
    /// names: what this version has. Without one, when the device tells it: what any version has. Otherwise: the model before any overlay.
    pub(crate) fn of(&self, named: Option<&str>) -> Result<(Profile, Firmware), String> {
        let firmware = Firmware { named: named.map(str::to_owned), ..self.firmware.clone() };
        let mut profile = Profile { fields: firmware.layout(), ..self.profile.clone() };
        if named.is_some() {
            return Ok((firmware.apply(&profile, named)?, firmware));
        }
        profile.limits = firmware.careful_limits();
        let added = self.profile.fields.len();
        for (index, field) in profile.fields.iter_mut().enumerate() {
            let of_any = |overlay: &Overlay| {
                overlay.fields.iter().any(|other| other.name == field.name && !other.hidden)
            };
            let seen = if firmware.is_open() {
                (index < added && !field.hidden) || firmware.overlays.iter().any(of_any)
            } else {
                index < added && !field.hidden
            };
            field.hidden = !seen;
        }
        Ok((profile, firmware))
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
    let mut about = library::about(&head);
    about.never = top.sections("never").iter().filter_map(firmware::never).collect();
    head.finish();
    let mut limits =
        top.section("limits").map_or_else(Limits::default, |section| limits(&section, &Limits::default()));
    let format = top.section("text").and_then(|section| text::format(&section, about.slave));
    limits.timeout = format.as_ref().and_then(|(_, timeout)| *timeout).or(limits.timeout);
    let sections = top.sections("point");
    let fields: Vec<Field> = sections.iter().flat_map(fields).collect();
    duplicates(&sections);
    let firmware = versions(&top, scheme, limits, fields);
    let layout = firmware.layout();
    let acts = top.sections("trigger");
    let triggers: Vec<_> = acts.iter().filter_map(|section| firmware::trigger(section, &layout)).collect();
    firmware::spare(&acts, &triggers, &about.never);
    let vectors = top.sections("vector").iter().map(vector).collect();
    top.finish();
    let (limits, fields) = (firmware.limits.clone(), firmware.fields.to_vec());
    let profile = Profile {
        name: name?,
        class: class.to_owned(),
        maker,
        source,
        about: Arc::new(about),
        serial,
        text: format.map(|(format, _)| format),
        limits,
        fields,
        triggers,
        vectors,
    };
    text::check(&top, &profile);
    prove(&top.sections("vector"), &profile, &firmware);
    Some(Model { profile, place: head.place("name"), firmware })
}

/// The model with what its versions change.
fn versions(top: &Section<'_>, scheme: Scheme, limits: Limits, fields: Vec<Field>) -> Firmware {
    let sections = top.sections("point");
    let versions = top.sections("firmware");
    let overlays = versions.iter().map(|section| firmware::overlay(section, &limits)).collect();
    let version = top.section("version");
    let telling = version.as_ref().and_then(firmware::telling);
    let mut firmware = Firmware { scheme, telling, named: None, limits, fields: Arc::new(fields), overlays };
    let names: Vec<String> = firmware.layout().into_iter().map(|field| field.name).collect();
    links(&sections, &names, Arc::<Vec<Field>>::make_mut(&mut firmware.fields));
    for (section, overlay) in versions.iter().zip(&mut firmware.overlays) {
        links(&section.sections("point"), &names, &mut overlay.fields);
    }
    firmware::check(&versions, &firmware);
    if let Some(section) = &version {
        firmware::check_telling(section, &firmware);
    }
    firmware
}

/// Runs each vector against the model, or the version that it names.
fn prove(sections: &[Section<'_>], profile: &Profile, firmware: &Firmware) {
    for (number, (section, vector)) in (1..).zip(sections.iter().zip(&profile.vectors)) {
        let mut own = profile.clone();
        if let Some(version) = &vector.firmware {
            own.fields = firmware.layout();
            match firmware.apply(&own, Some(version)) {
                Ok(at) => own = at,
                Err(why) => {
                    section.error("firmware", "bad-firmware", why, None);
                    continue;
                }
            }
        }
        own.vectors = vec![vector.clone()];
        for wrong in verify(&own) {
            let text = format!("vector {number}, {}: {}", wrong.field, wrong.text);
            section.error("expect", "vector-failed", text, None);
        }
    }
}

/// Limits that differ from `base` where the section says so.
pub(crate) fn limits(section: &Section<'_>, base: &Limits) -> Limits {
    let found = Limits {
        registers_per_read: section.int("registers_per_read", 1, 125).unwrap_or(base.registers_per_read),
        gap: section.int("gap", 0, 124).unwrap_or(base.gap),
        quiet: section.duration("quiet").unwrap_or(base.quiet),
        timeout: section.duration("timeout").or(base.timeout),
        single_register: section.flag("single_register").unwrap_or(base.single_register),
        pipeline: section.int("pipeline", 1, 16).unwrap_or(base.pipeline),
        any_unit: section.flag("any_unit").unwrap_or(base.any_unit),
        wake: section.section("wake").map_or(base.wake, |section| firmware::wake(&section)),
    };
    if found.pipeline > 1 && !found.quiet.is_zero() {
        let help = "leave `pipeline` out, or `quiet`".to_owned();
        section.error(
            "pipeline",
            "bad-limits",
            "`quiet` keeps requests apart that `pipeline` sends together",
            Some(help),
        );
    }
    section.finish();
    found
}

/// Table and address of `key`.
pub(crate) fn place_of(section: &Section<'_>, key: &'static str) -> Option<At> {
    let text = section.text(key)?;
    let at = At::parse(&text);
    if let Err(why) = &at {
        let help = Some("such as \"holding 0x0002\" or \"40003\"".to_owned());
        section.error(key, "bad-place", why.clone(), help);
    }
    at.ok()
}

/// The points of one section: one, or many with `repeat`.
pub(crate) fn fields(section: &Section<'_>) -> Vec<Field> {
    let repeat = links::repeat(section);
    let Some(field) = field(section) else { return Vec::new() };
    let Some(repeat) = repeat else { return vec![Field { name: kebab(&field.name), ..field }] };
    if !field.name.contains("{n}") {
        let help = Some(format!("name = \"{}-{{n}}\"", field.name));
        section.error("name", "bad-repeat", "the name of a point that repeats needs `{n}`", help);
    }
    let mut found = Vec::new();
    for n in repeat.numbers() {
        let name = kebab(&links::count(&field.name, Some(n)));
        let Some(address) = repeat.address(field.address, n) else {
            section.error("repeat", "past-the-end", format!("`{name}` is past the end of the table"), None);
            break;
        };
        let own = Field { name, address, ..field.clone() };
        past_the_end(section, &own);
        found.push(own);
    }
    found
}

fn past_the_end(section: &Section<'_>, field: &Field) {
    let end = u32::from(field.address) + u32::from(field.count);
    if end > 0x1_0000 {
        let text = format!("register {} is past the end of the table (65535)", end - 1);
        section.error("at", "past-the-end", text, None);
    }
}

/// One point, its name as written.
fn field(section: &Section<'_>) -> Option<Field> {
    let name = section.need("name", section.text("name"));
    let group = text::group(section);
    let at = match &group {
        Some(_) => None,
        None => section.need("at", place_of(section, "at")),
    };
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
    for later in
        ["decimals_from", "pre_offset_from", "valid_when", "order_from", "scale_from", "unit_from", "note"]
    {
        section.node(later);
    }
    section.finish();
    past_the_end(section, &field);
    (name.is_some() && placed && kind.is_some()).then_some(field)
}

/// Count and order of a field.
pub(crate) fn shape(section: &Section<'_>, field: &mut Field, count: Option<u16>, order: Option<&str>) {
    if let Some(count) = count {
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
    if let Some(text) = order {
        match Order::parse(text)
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
}

fn scaling(section: &Section<'_>, field: &mut Field) {
    let (count, order) = (section.int::<u16>("count", 1, 125), section.text("order"));
    shape(section, field, count, order.as_deref());
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
        let refused = found.int("exception", 1, 255).map(|code| Some(FaultMatch::Exception(code)));
        match is.or(raw).or(word).or(refused).flatten() {
            Some(matches) => field.faults.push(Fault { matches, means: Arc::from(means.as_str()) }),
            None => section.error(
                "faults",
                "bad-fault",
                "a fault needs `is` (nan, +inf, -inf), `raw` (\"0x7FFF\"), `exception` (2) or `text` (\"ERR\")",
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
    }
    field.decimals = section.int("decimals", 0, 9);
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

fn duplicates(sections: &[Section<'_>]) {
    let mut seen = BTreeSet::new();
    for section in sections {
        for (_, name) in own_names(section) {
            if !seen.insert(name.clone()) {
                let text = format!("the point `{name}` stands twice in this profile");
                section.error("name", "duplicate-name", text, None);
            }
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
    let firmware = section.text("firmware");
    section.text("note");
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
    Vector { text, cells, expect, from_maker, firmware }
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
