//! What a rule's document says besides its question: plan, phase and layer, latching, what hides its alarm and what it explains.
//!
//! In: a `[[rule]]` section. Out: its [`Guide`] and [`Bonds`].
//! Invariant: red is never suppressed by design; a rule explains devices and lines that exist.

use std::time::Duration;

use crate::alarm::guide::{Bonds, Guide, Suppress};
use crate::alarm::{Rule, Severity};
use crate::site::grades::COLOURS;
use crate::site::rules::{Known, Points};
use crate::site::section::{Section, nearest};
use crate::site::tree::Value;

/// The phases of 分段, from early to late.
const PHASES: [&str; 4] = ["before", "imminent", "during", "after"];
/// The layers of 分层, from the city down.
const LAYERS: [&str; 5] = ["city", "district", "town", "village", "grid"];
/// Points whose alarms latch whatever their colour: what they say is a fact that a person has to go and look at.
const LATCHING: [&str; 3] = ["slam-shut", "rock-fall", "rockfall"];
/// Points whose red alarms latch: somebody is in there.
const LATCHING_RED: [&str; 3] = ["trapped", "entrapment", "entrapped"];

/// What the rule tells people.
pub(crate) fn guide(section: &Section<'_>, basis: &str) -> Guide {
    let words = |key| section.text(key).filter(|text| !text.trim().is_empty());
    Guide {
        basis: basis.to_owned(),
        author: words("author"),
        revision: words("revision"),
        plan: words("plan"),
        phase: section.word("phase", &PHASES).map(str::to_owned),
        layer: section.word("layer", &LAYERS).map(str::to_owned),
        ..Guide::default()
    }
}

/// Whether the rule latches, what suppresses it; and the keys that only all documents together can answer are known.
pub(crate) fn bonds(
    section: &Section<'_>,
    points: Points<'_>,
    of: Option<&Known>,
    red: bool,
) -> (bool, Bonds) {
    section.texts("explains");
    let (latched, latch_from) = latch(section, of, red);
    (latched, Bonds { latch_from, suppress: suppress(section, points), causes: Vec::new() })
}

/// `latched = true`, `false`, or the colour from which on; without the key: red of a gas concentration, red of an entrapment, a slam-shut valve and
/// a rock-fall switch.
fn latch(section: &Section<'_>, of: Option<&Known>, red: bool) -> (bool, Option<Severity>) {
    match section.node("latched").map(|node| &node.value) {
        Some(Value::Text(_)) => {
            let colours = COLOURS.map(|(colour, _)| colour);
            let from = section.word("latched", &colours);
            let from =
                COLOURS.iter().find(|(colour, _)| Some(*colour) == from).map(|(_, severity)| *severity);
            (from.is_some(), from)
        }
        Some(_) => (section.flag("latched").unwrap_or(false), None),
        None => {
            let short = of.and_then(|known| known.name.split('.').nth(1)).unwrap_or_default();
            let class = of.map_or("", |known| known.class.as_str());
            if LATCHING.iter().any(|word| short.contains(word)) {
                (true, None)
            } else if red
                && (class == "gas-concentration"
                    || section.has("entrapment")
                    || LATCHING_RED.iter().any(|word| short.contains(word)))
            {
                (true, Some(Severity::Red))
            } else {
                (false, None)
            }
        }
    }
}

/// `suppress = { point = "station.isolated", up_to = "yellow", off_delay = "30s" }`.
fn suppress(section: &Section<'_>, points: Points<'_>) -> Option<Suppress> {
    let table = section.section("suppress")?;
    let point = table.need("point", table.text("point"));
    let point = point.and_then(|name| points.find(&table, "point", &name));
    let up_to = table.word("up_to", &["blue", "yellow", "orange", "red"]).unwrap_or("yellow");
    let off_delay = table.duration("off_delay").unwrap_or(Duration::from_secs(30));
    table.finish();
    if up_to == "red" {
        let help = Some("blue, yellow or orange".to_owned());
        table.error("up_to", "red-suppressed", "a red alarm is never suppressed", help);
    }
    let up_to = COLOURS.iter().find(|(colour, _)| *colour == up_to).map(|(_, severity)| *severity)?;
    Some(Suppress { point: point?.id, up_to, off_delay })
}

/// Puts the rules of what each rule explains below it: `explains` names devices and lines.
pub(crate) fn causes(written: &[Section<'_>], rules: &mut [Rule], lines: &[(String, Vec<String>)]) {
    for section in written {
        let Some(name) = section.text("name") else { continue };
        let Some(id) = rules.iter().find(|rule| rule.name == name).map(|rule| rule.id) else { continue };
        for (thing, place) in section.texts("explains") {
            let line = lines.iter().find(|(line, _)| *line == thing);
            let device = lines.iter().any(|(_, devices)| devices.contains(&thing));
            let below: Vec<String> = match line {
                Some((line, devices)) => {
                    let stale = devices.iter().map(|device| format!("{device}-stale"));
                    stale.chain([format!("gateway-line-{line}")]).collect()
                }
                None if device => vec![format!("{thing}-stale")],
                None => {
                    let names = lines.iter().flat_map(|(line, devices)| devices.iter().chain([line]));
                    let help = nearest(&thing, names.map(String::as_str).filter(|name| !name.is_empty()));
                    let text = format!("there is no device or line `{thing}`");
                    section.report.error(&place, "unknown-device", text, help);
                    continue;
                }
            };
            let below = |rule: &&mut Rule| below.contains(&rule.name) && rule.id != id;
            rules.iter_mut().filter(below).for_each(|rule| rule.bonds.causes.push(id));
        }
    }
}
