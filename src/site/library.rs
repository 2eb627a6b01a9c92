//! The shipped profiles for people: what a profile says beside its numbers, and the page that lists them all.
//!
//! In: the head of a profile document; a folder of profiles. Out: [`About`]; `docs/reference/profiles.md`.
//! Invariant: the page says what the documents say and nothing else; the same folder gives the same page.

use std::fmt::Write as _;
use std::path::Path;

use crate::bus::text::Mode;
use crate::diagnostic::Diagnostics;
use crate::profile::at::At;
use crate::profile::depend::Holds;
use crate::profile::firmware::{Firmware, Told};
use crate::profile::{About, Field, Kind, Limits, Profile};
use crate::site::compile::folder_documents;
use crate::site::profiles::{self, Model};
use crate::site::section::Section;
use crate::site::tree::Report;

/// What the head of a profile document says to people.
pub(crate) fn about(head: &Section<'_>) -> About {
    let sentences = |key| head.texts(key).into_iter().map(|(sentence, _)| sentence).collect();
    About {
        model: head.text("model").unwrap_or_default(),
        slave: head.int("slave", 0, 255),
        note: head.text("note").unwrap_or_default(),
        quirks: sentences("quirks"),
        uncertain: sentences("uncertain"),
        never: Vec::new(),
    }
}

/// Where a class of sensors is used: heading and classes.
const USES: [(&str, &[&str]); 5] = [
    ("Gas", &["gas-pressure", "gas-concentration", "gas-flow"]),
    ("Waterlogging", &["water-level", "rain", "water-flow"]),
    ("Landslide", &["displacement", "crack", "tilt", "soil", "vibration"]),
    ("Elevator", &["elevator"]),
    ("Inputs, power and climate", &["power", "io", "climate"]),
];

const FRONT: &str = "# Device profiles

Generated from the documents in `firmware-profiles/`: `UPDATE=1 cargo test reference` writes it anew.

A vector is registers in and readings out, run whenever a profile is read.
*Maker* counts those whose values the source prints, *worked* those that were computed from its map: they prove the reader, not the map.
What a map leaves open stands under *Not proved*; try such points on the device before a rule depends on them.

";

/// The page of all profiles in `folder`.
///
/// # Errors
/// All mistakes in the documents.
pub fn reference(folder: &Path) -> Result<String, Diagnostics> {
    let models = models(folder)?;
    let mut page = FRONT.to_owned();
    let _ = writeln!(page, "{} profiles.\n", models.len());
    for (heading, classes) in USES {
        let own = || models.iter().filter(|model| classes.contains(&model.profile.class.as_str()));
        if own().next().is_none() {
            continue;
        }
        let _ = writeln!(page, "## {heading}\n");
        page += "| profile | class | device | points | serial | slave | vectors: maker, worked |\n| --- | --- | --- | --- | --- | --- | --- |\n";
        own().for_each(|model| row(&mut page, &model.profile));
        page.push('\n');
        own().for_each(|model| entry(&mut page, model));
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    Ok(page)
}

/// The profiles in `folder` by name, each before any overlay, with what its versions change. All vectors hold.
///
/// # Errors
/// All mistakes in the documents.
pub fn profiles(folder: &Path) -> Result<Vec<(Profile, Firmware)>, Diagnostics> {
    Ok(models(folder)?.into_iter().map(|model| (model.profile, model.firmware)).collect())
}

fn models(folder: &Path) -> Result<Vec<Model>, Diagnostics> {
    let report = Report::default();
    let documents = folder_documents(folder, "profiles", &report);
    let mut models: Vec<Model> =
        documents.iter().filter_map(|document| profiles::read(document, &report)).collect();
    let found = report.finish();
    if found.errors() > 0 {
        return Err(found);
    }
    models.sort_by(|one, other| one.profile.name.cmp(&other.profile.name));
    Ok(models)
}

fn row(page: &mut String, profile: &Profile) {
    let makers = profile.vectors.iter().filter(|vector| vector.from_maker).count();
    let worked = profile.vectors.len() - makers;
    let slave = profile.about.slave.map_or_else(String::new, |slave| slave.to_string());
    let cells = [
        &format!("[{0}](#{0})", profile.name),
        &profile.class,
        &format!("{} {}", profile.maker, profile.about.model),
        &profile.fields.iter().filter(|field| !field.hidden).count().to_string(),
        &profile.serial.map_or_else(String::new, |format| format.to_string()),
        &slave,
        &format!("{makers}, {worked}"),
    ];
    line(page, cells);
}

/// One row of a table.
fn line<'t>(page: &mut String, cells: impl IntoIterator<Item = &'t String>) {
    let cells: Vec<String> = cells.into_iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn entry(page: &mut String, model: &Model) {
    let profile = &model.profile;
    let _ = writeln!(page, "### {}\n", profile.name);
    let _ = writeln!(page, "{} {}.", profile.maker, profile.about.model);
    let _ = writeln!(page, "Source: {}.\n", profile.source.trim_end_matches('.'));
    page.push_str("| point | unit | where | type | meaning |\n| --- | --- | --- | --- | --- |\n");
    let seen: Vec<&Field> = profile.fields.iter().filter(|field| !field.hidden).collect();
    for alike in seen.chunk_by(|one, next| stem(&one.name) == stem(&next.name) && one.kind == next.kind) {
        let (few, last) = match alike {
            [first, .., last] if alike.len() > 3 => (std::slice::from_ref(first), Some(*last)),
            few => (few, None),
        };
        few.iter().for_each(|field| point(page, field, &profile.fields));
        if let Some(last) = last {
            let at = At { table: last.table, address: last.address };
            let name = format!("... `{}`", last.name);
            line(page, [&name, &String::new(), &at.to_string(), &String::new(), &"as above".to_owned()]);
        }
    }
    page.push('\n');
    let mut remarks = behaviour(profile);
    remarks.extend(versions(&model.firmware));
    let note = Some(&profile.about.note).filter(|note| !note.is_empty());
    remarks.extend(note.into_iter().chain(&profile.about.quirks).map(|text| sentence(text)));
    remarks.extend(profile.about.never.iter().map(|never| {
        let at = At { table: never.table, address: never.address };
        let more =
            if never.count > 1 { format!(" and the {} behind it", never.count - 1) } else { String::new() };
        format!("**Never written:** {at}{more}: {}", sentence(&never.why))
    }));
    remarks.extend(profile.about.uncertain.iter().map(|text| format!("*Not proved:* {}", sentence(text))));
    for remark in &remarks {
        let _ = writeln!(page, "- {remark}");
    }
    page.push_str(if remarks.is_empty() { "" } else { "\n" });
}

/// A name without its numbers: what the points of a row of channels have in common.
fn stem(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn sentence(text: &str) -> String {
    let end = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    let (first, rest) = text.split_at_checked(1).unwrap_or((text, ""));
    format!("{}{rest}{end}", first.to_uppercase())
}

fn point(page: &mut String, field: &Field, fields: &[Field]) {
    let place = match &field.group {
        Some(group) => format!("text `{group}`"),
        None => At { table: field.table, address: field.address }.to_string(),
    };
    let kind = match (&field.group, field.kind) {
        (Some(_), _) => String::new(),
        (None, Kind::Bits { low, high }) if low == high => format!("bit {low}"),
        (None, Kind::Bits { low, high }) => format!("bits {low} to {high}"),
        (None, kind) => format!("{} {}", kind.name(), field.order.letters()).trim_end().to_owned(),
    };
    let unit = field.unit.map_or_else(String::new, |unit| unit.name().to_owned());
    line(page, [&format!("`{}`", field.name), &unit, &place, &kind, &meaning(field, fields)]);
}

/// Range, states, faults and dependence of a point, in words.
fn meaning(field: &Field, fields: &[Field]) -> String {
    let name = |index: usize| fields.get(index).map_or("", |field| field.name.as_str());
    let mut said = Vec::new();
    if field.destructive {
        said.push("**reading it changes the device**: read only where a site names it".to_owned());
    }
    if let Some((low, high)) = field.range {
        said.push(format!("{low} to {high}"));
    }
    if let Some(span) = field.current_loop {
        let unit = field.unit.map_or("", crate::unit::Unit::name);
        said.push(format!("{} to {} is {} to {} {unit}", span.lo, span.hi, span.out_lo, span.out_hi));
    }
    if !field.states.is_empty() {
        let states: Vec<String> = field.states.iter().map(|(code, name)| format!("{code} {name}")).collect();
        said.push(states.join(", "));
    }
    for fault in &field.faults {
        said.push(format!("fault {}", fault.means));
    }
    for gate in &field.valid_when {
        said.push(format!("valid while `{}` is {}", name(gate.field), holds(&gate.holds)));
    }
    if let Some(choice) = &field.order_from {
        let orders: Vec<String> =
            choice.cases.iter().map(|(code, order)| format!("{code} {}", order.letters())).collect();
        said.push(format!("byte order by `{}`: {}", name(choice.field), orders.join(", ")));
    }
    if let Some(choice) = &field.scale_from {
        let scales: Vec<String> =
            choice.cases.iter().map(|(code, scale)| format!("{code} {scale}")).collect();
        said.push(format!("scale by `{}`: {}", name(choice.field), scales.join(", ")));
    }
    if let Some(choice) = &field.unit_from {
        said.push(format!("unit by `{}`, {} of them known", name(choice.field), choice.cases.len()));
    }
    if let Some(index) = field.decimals_from {
        said.push(format!("decimals from `{}`", name(index)));
    }
    if let Some(index) = field.pre_offset_from {
        said.push(format!("plus `{}`", name(index)));
    }
    said.join("; ").trim_end().to_owned()
}

fn holds(holds: &Holds) -> String {
    match holds {
        Holds::Is(numbers) => numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" or "),
        Holds::Within(low, high) if low.is_infinite() => format!("{high} at most"),
        Holds::Within(low, high) if high.is_infinite() => format!("{low} at least"),
        Holds::Within(low, high) => format!("{low} to {high}"),
    }
}

/// What the device needs on its line, and what it needs written.
fn behaviour(profile: &Profile) -> Vec<String> {
    let mut said: Vec<String> = limits(&profile.limits, &Limits::default());
    if let Some(format) = &profile.text {
        said.push(match format.mode {
            Mode::Ask => "It speaks text when it is asked.".to_owned(),
            Mode::Stream => format!("It speaks text by itself, every {} ms.", format.period.as_millis()),
        });
    }
    for trigger in &profile.triggers {
        let points: Vec<String> = trigger
            .before
            .iter()
            .filter_map(|index| profile.fields.get(*index))
            .map(|field| format!("`{}`", field.name))
            .collect();
        said.push(format!(
            "Without `allow = [\"{}\"]` in the site these points are not polled: {}. It writes {} and waits {} ms.",
            trigger.name,
            points.join(", "),
            trigger.act,
            trigger.wait.as_millis()
        ));
    }
    said
}

/// Limits that are not `usual`, one sentence each.
fn limits(own: &Limits, usual: &Limits) -> Vec<String> {
    let mut said = Vec::new();
    if own.registers_per_read != usual.registers_per_read {
        said.push(format!("At most {} registers in one read.", own.registers_per_read));
    }
    if own.single_register {
        said.push("One value for each request.".to_owned());
    }
    if own.quiet != usual.quiet {
        said.push(format!("The line is silent for {} ms before a request.", own.quiet.as_millis()));
    }
    if let Some(timeout) = own.timeout.filter(|_| own.timeout != usual.timeout) {
        said.push(format!("It may take {} ms to answer.", timeout.as_millis()));
    }
    if own.any_unit {
        said.push("Over Modbus TCP it may answer with another unit.".to_owned());
    }
    if let Some(wake) = own.wake {
        let by = match wake.exception {
            Some(code) => format!("is refused with exception {code}"),
            None => "gets no answer".to_owned(),
        };
        let wait_ms = wake.wait.as_millis();
        said.push(format!(
            "A first read that {by} is asked again after {wait_ms} ms, {} times at most.",
            wake.tries
        ));
    }
    said
}

/// What versions of the firmware change.
fn versions(firmware: &Firmware) -> Vec<String> {
    let mut said = Vec::new();
    match firmware.telling.as_ref().map(|telling| &telling.from) {
        Some(Told::Identity(object)) => {
            said.push(format!("It tells its firmware in object {object} of its identity."));
        }
        Some(Told::Cells(field, _)) => {
            let at = At { table: field.table, address: field.address };
            said.push(format!("It tells its firmware in {at}."));
        }
        None => {}
    }
    for overlay in &firmware.overlays {
        let mut changes = limits(&overlay.limits, &firmware.limits);
        let names =
            |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if !overlay.without.is_empty() {
            changes.push(format!("Without {}.", names(overlay.without.iter().map(String::as_str).collect())));
        }
        if !overlay.fields.is_empty() {
            let own: Vec<String> = overlay
                .fields
                .iter()
                .map(|field| {
                    format!("`{}` at {}", field.name, At { table: field.table, address: field.address })
                })
                .collect();
            changes.push(format!("{}.", own.join(", ")));
        }
        let changes = if changes.is_empty() { "As above.".to_owned() } else { changes.join(" ") };
        said.push(format!("Firmware {}: {changes}", overlay.versions));
    }
    said
}
