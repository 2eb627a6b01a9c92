//! Risk points of the site's documents, and which device stands at which of them, from when until when.
//!
//! In: `[[risk_point]]` sections and the keys of a device that bind it. Out: [`RiskPoint`]s and [`Binding`]s.
//! Invariant: dates are days of the site's calendar; a span starts with its first day and ends before its last one begins.

use jiff::tz::TimeZone;

use crate::alarm::Severity;
use crate::clock::Timestamp;
use crate::diagnostic::Place as Spot;
use crate::profile::CLASSES;
use crate::risk::{Asset, Kind, Need, Place, Plate, PlateState, RiskPoint, Span, Together, code};
use crate::site::grades::COLOURS;
use crate::site::section::Section;

/// The hazards that a risk point can be of.
pub(crate) const HAZARDS: [&str; 4] = ["gas", "waterlogging", "landslide", "elevator"];

/// The site's calendar and the date of reading.
pub(crate) struct Calendar {
    pub(crate) now: Timestamp,
    zone: TimeZone,
}

impl Calendar {
    /// Days of this IANA time zone (UTC when there is none of this name, which is reported elsewhere).
    pub(crate) fn new(zone: &str, now: Timestamp) -> Self {
        Self { now, zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC) }
    }

    /// The first moment of a day.
    pub(crate) fn begins(&self, section: &Section<'_>, key: &'static str) -> Option<Timestamp> {
        section.date(key).and_then(|midnight| self.local(midnight, 0))
    }

    /// The first moment after a day.
    pub(crate) fn ends(&self, section: &Section<'_>, key: &'static str) -> Option<Timestamp> {
        section.date(key).and_then(|midnight| self.local(midnight, 1))
    }

    fn local(&self, midnight: Timestamp, days: i64) -> Option<Timestamp> {
        let utc = jiff::Timestamp::from_millisecond(midnight.as_millis()).ok()?;
        let day = TimeZone::UTC.to_datetime(utc).date().checked_add(jiff::Span::new().days(days)).ok()?;
        let moment = self.zone.to_timestamp(day.at(0, 0, 0, 0)).ok()?;
        Some(Timestamp::from_millis(moment.as_millisecond()))
    }

    fn span(&self, section: &Section<'_>, from: &'static str, until: &'static str) -> Span {
        let span = Span { from: self.begins(section, from), until: self.begins(section, until) };
        if span.is_empty() {
            let text = format!("`{until}` is not after `{from}`: no day is left");
            let help = "the first day that no longer counts stands there, or leave it out".to_owned();
            section.error(until, "empty-span", text, Some(help));
        }
        span
    }
}

/// Where a device stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Binding {
    /// Codes of its risk points, its own first, with their places in the document.
    pub(crate) codes: Vec<(String, Spot)>,
    /// When it stands there.
    pub(crate) span: Span,
}

/// Reads the keys of a device that bind it to risk points.
pub(crate) fn binding(section: &Section<'_>, calendar: &Calendar) -> Binding {
    let own = section.text("risk_point").map(|code| (code, section.place("risk_point")));
    let mut codes: Vec<(String, Spot)> = Vec::new();
    for (code, place) in own.into_iter().chain(section.texts("also_at")) {
        let code = code::normal(&code);
        if codes.iter().any(|(known, _)| *known == code) {
            let text = format!("{code} stands twice: a sensor counts once at a risk point");
            section.report.error(&place, "bound-twice", text, Some("leave one out".to_owned()));
        } else {
            codes.push((code, place));
        }
    }
    Binding { codes, span: calendar.span(section, "installed", "removed") }
}

/// Reads one risk point.
pub(crate) fn risk_point(section: &Section<'_>, calendar: &Calendar) -> Option<(RiskPoint, Spot)> {
    let code = section.need("code", section.text("code")).map(|code| code::normal(&code));
    if let Some(right) = code.as_deref().and_then(code::mistyped) {
        let text = format!("the check character of this code would be {right}");
        let help = "correct the code; a code of the city's own is written as the city writes it".to_owned();
        section.warning("code", "code-check", text, Some(help));
    }
    let class = section.need("class", section.word("class", &HAZARDS));
    let kind = match section.word("kind", &["point", "zone", "asset"]) {
        Some("zone") => Kind::Zone,
        Some("asset") => Kind::Asset,
        _ => Kind::Point,
    };
    let town = section.need("town", section.text("town"));
    let supervisor = section.need("supervisor", section.text("supervisor"));
    let grade = section.need("grade", section.int("grade", 1, 4));
    let blind_after = section.duration("blind_after");
    let place = section.section("place").and_then(|table| place(&table));
    let needs = section.sections("needs").iter().filter_map(|table| need(table, calendar)).collect();
    let plates = section.sections("plates").iter().filter_map(|table| plate(table, calendar)).collect();
    let name = section.text("name");
    let span = calendar.span(section, "from", "until");
    let inspection_due = calendar.ends(section, "inspection_due");
    let predecessors =
        section.texts("predecessors").into_iter().map(|(code, _)| code::normal(&code)).collect();
    let asset = section.section("asset").and_then(|table| asset(&table));
    let joint = section.sections("joint").iter().filter_map(together).collect();
    section.finish();
    let point = RiskPoint {
        code: code?,
        name,
        class: class?.to_owned(),
        kind,
        town: town?,
        supervisor: supervisor?,
        grade: grade?,
        blind_after: blind_after.unwrap_or_else(|| crate::risk::blind_after(grade.unwrap_or_default())),
        place,
        needs,
        span,
        plates,
        inspection_due,
        predecessors,
        asset,
        joint,
    };
    Some((point, section.place("code")))
}

fn place(table: &Section<'_>) -> Option<Place> {
    let degrees = |key, other, most: f64| {
        let value = table.need(key, table.float(key))?;
        if value.abs() > most {
            let text = format!("`{key}` is -{most} to {most} degrees, and this is {value}");
            let swapped = value.abs() <= 180.0 && table.float(other).is_some_and(|other| other.abs() <= most);
            let help = swapped.then(|| "`lon` and `lat` look swapped".to_owned());
            table.error(key, "out-of-range", text, help);
        }
        Some(value)
    };
    let (lon, lat) = (degrees("lon", "lat", 180.0), degrees("lat", "lon", 90.0));
    let datum = table.need("datum", table.word("datum", &["CGCS2000", "WGS84", "GCJ-02"]));
    table.finish();
    Some(Place { lon: lon?, lat: lat?, datum: datum?.to_owned() })
}

fn asset(table: &Section<'_>) -> Option<Asset> {
    let id = table.need("id", table.text("id"));
    let (segment, chainage_m) = (table.text("segment"), table.float("chainage_m"));
    table.finish();
    Some(Asset { id: id?, segment, chainage_m })
}

/// `{ of = ["rain", "displacement", "water-level"], from = "yellow", propose = "red" }`.
fn together(table: &Section<'_>) -> Option<Together> {
    let written = table.texts("of");
    for (class, place) in &written {
        if !CLASSES.contains(&class.as_str()) {
            let help = crate::site::section::nearest(class, CLASSES.into_iter());
            table.report.error(place, "unknown-word", format!("there is no sensor class `{class}`"), help);
        }
    }
    let mut of: Vec<String> = written.into_iter().map(|(class, _)| class).collect();
    of.sort();
    of.dedup();
    if of.len() < 2 {
        let help = "name two sensor classes at least, each once".to_owned();
        table.error("of", "out-of-range", "one class alone is nothing together".to_owned(), Some(help));
    }
    let severity = |word: &str| COLOURS.iter().find(|(colour, _)| *colour == word).map(|(_, is)| *is);
    let words = ["blue", "yellow", "orange", "red"];
    let from = table.word("from", &words).map_or(Some(Severity::Yellow), severity);
    let propose = table.need("propose", table.word("propose", &words)).and_then(severity);
    table.finish();
    Some(Together { of, from: from?, propose: propose? })
}

fn need(table: &Section<'_>, calendar: &Calendar) -> Option<Need> {
    let role = table.need("role", table.word("role", &CLASSES));
    let or = table.texts("or");
    for (other, place) in &or {
        if !CLASSES.contains(&other.as_str()) {
            let help = crate::site::section::nearest(other, CLASSES.into_iter());
            let text = format!("there is no sensor class `{other}`");
            table.report.error(place, "unknown-word", text, help);
        }
    }
    let or = or.into_iter().map(|(other, _)| other).collect();
    let min = table.int("min", 1, 1000).unwrap_or(1);
    let span = calendar.span(table, "from", "until");
    table.finish();
    Some(Need { role: role?.to_owned(), or, min, span })
}

fn plate(table: &Section<'_>, calendar: &Calendar) -> Option<Plate> {
    let place = table.need("place", table.text("place"));
    let state = match table.word("state", &["ok", "damaged", "missing"]) {
        Some("damaged") => PlateState::Damaged,
        Some("missing") => PlateState::Missing,
        _ => PlateState::Ok,
    };
    let seen = calendar.begins(table, "seen");
    table.finish();
    Some(Plate { place: place?, state, seen })
}
