//! Risk points as a document of the site, and as the table that a district keeps.
//!
//! In: rows of a table, or compiled points. Out: TOML, or CSV of the same columns.
//! Invariant: what is written is read back as the same points.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::risk::{Kind, Plate, PlateState, RiskPoint, Sensor};
use crate::site::points::{COLUMNS, PARTS, Row};

/// The document; `from`: the name of the table.
pub fn document(rows: &[Row], from: &str) -> String {
    let mut text =
        format!("# Written by `lifeline coverage import {from}`: change the table and import it again.\n");
    for row in rows {
        let _ = writeln!(text, "\n[[risk_point]]\ncode = {}", quoted(&row.code));
        for (key, value) in &row.texts {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
        let _ = writeln!(text, "grade = {}", row.grade);
        if let Some(place) = &row.place {
            let (lon, lat) = (place.lon, place.lat);
            let _ = writeln!(
                text,
                "place = {{ lon = {lon:?}, lat = {lat:?}, datum = {} }}",
                quoted(&place.datum)
            );
        }
        for (key, day) in &row.days {
            let _ = writeln!(text, "{key} = {day}");
        }
        if let Some(asset) = &row.asset {
            let segment = asset.segment.as_ref().map(|text| format!(", segment = {}", quoted(text)));
            let chainage = asset.chainage_m.map(|metres| format!(", chainage_m = {metres:?}"));
            let more: String = segment.into_iter().chain(chainage).collect();
            let _ = writeln!(text, "asset = {{ id = {}{more} }}", quoted(&asset.id));
        }
        let needs = row.needs.iter().map(|need| {
            let or = (!need.or.is_empty()).then(|| format!(", or = [{}]", list(&need.or)));
            let from = need.from.as_ref().map(|day| format!(", from = {day}"));
            let until = need.until.as_ref().map(|day| format!(", until = {day}"));
            let more: String = [or, from, until].into_iter().flatten().collect();
            format!("{{ role = {}, min = {}{more} }}", quoted(&need.role), need.min)
        });
        array(&mut text, "needs", needs.collect());
        let plates = row.plates.iter().map(|(place, state, seen)| {
            let seen = seen.as_ref().map_or_else(String::new, |seen| format!(", seen = {seen}"));
            format!("{{ place = {}, state = \"{state}\"{seen} }}", quoted(place))
        });
        array(&mut text, "plates", plates.collect());
        array(&mut text, "predecessors", row.predecessors.iter().map(|code| quoted(code)).collect());
    }
    text
}

fn array(text: &mut String, key: &str, items: Vec<String>) {
    if !items.is_empty() {
        let _ = writeln!(text, "{key} = [{}]", items.join(", "));
    }
}

fn list(texts: &[String]) -> String {
    texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The cells of the table, heads first.
pub fn cells(points: &[RiskPoint], sensors: &[Sensor], timezone: &str) -> Vec<Vec<String>> {
    let zone = TimeZone::get(timezone).unwrap_or(TimeZone::UTC);
    let mut rows = vec![COLUMNS.iter().map(|(key, _)| (*key).to_owned()).collect()];
    rows.extend(points.iter().map(|point| {
        let own = sensors.iter().filter(|sensor| sensor.code == point.code).map(|sensor| sensor.name.clone());
        let own: Vec<String> = own.collect();
        COLUMNS.iter().map(|(key, _)| value(key, point, &own, &zone)).collect()
    }));
    rows
}

fn joined(texts: &[String]) -> String {
    texts.iter().map(|text| inner(text)).collect::<Vec<_>>().join("|")
}

fn value(key: &str, point: &RiskPoint, sensors: &[String], zone: &TimeZone) -> String {
    let (place, asset) = (point.place.as_ref(), point.asset.as_ref());
    let day = |at: Option<Timestamp>| at.map_or_else(String::new, |at| day(at, zone));
    match key {
        "code" => point.code.clone(),
        "name" => point.name.clone().unwrap_or_default(),
        "class" => point.class.clone(),
        "grade" => point.grade.to_string(),
        "town" => point.town.clone(),
        "supervisor" => point.supervisor.clone(),
        "kind" => match point.kind {
            Kind::Point => "point".to_owned(),
            Kind::Zone => "zone".to_owned(),
            Kind::Asset => "asset".to_owned(),
        },
        "lon" => place.map_or_else(String::new, |place| place.lon.to_string()),
        "lat" => place.map_or_else(String::new, |place| place.lat.to_string()),
        "datum" => place.map_or_else(String::new, |place| place.datum.clone()),
        "needs" => {
            let each = point.needs.iter().map(|need| {
                let roles: Vec<&str> =
                    std::iter::once(&need.role).chain(&need.or).map(String::as_str).collect();
                let span = match (day(need.span.from), day(need.span.until)) {
                    (from, until) if from.is_empty() && until.is_empty() => String::new(),
                    (from, until) => format!("@{from}..{until}"),
                };
                format!("{}*{}{span}", roles.join("/"), need.min)
            });
            each.collect::<Vec<_>>().join("|")
        }
        "sensors" => joined(sensors),
        "plates" => point.plates.iter().map(|one| plate(one, zone)).collect::<Vec<_>>().join("|"),
        // It holds until the end of its day.
        "inspection_due" => day(point.inspection_due.map(|due| Timestamp::from_millis(due.as_millis() - 1))),
        "from" => day(point.span.from),
        "until" => day(point.span.until),
        "predecessors" => joined(&point.predecessors),
        "blind_after" => span(point.blind_after),
        "asset" => asset.map_or_else(String::new, |asset| asset.id.clone()),
        "segment" => asset.and_then(|asset| asset.segment.clone()).unwrap_or_default(),
        "chainage_m" => {
            asset.and_then(|asset| asset.chainage_m).map_or_else(String::new, |metres| metres.to_string())
        }
        _ => String::new(),
    }
}

/// A duration in the largest unit that it is a whole number of: `30m`, `2h`, `90s`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    let unit = units.into_iter().find(|(_, of)| seconds > 0 && seconds.is_multiple_of(*of));
    let (unit, of) = unit.unwrap_or(("s", 1));
    format!("{}{unit}", seconds / of)
}

/// A text inside a cell with several: what would part it there gets a backslash.
fn inner(text: &str) -> String {
    let parts = |letter: char| PARTS.contains(&letter) || letter == '\\';
    text.chars().flat_map(|letter| parts(letter).then_some('\\').into_iter().chain([letter])).collect()
}

fn plate(plate: &Plate, zone: &TimeZone) -> String {
    let state = match plate.state {
        PlateState::Ok => "ok",
        PlateState::Damaged => "damaged",
        PlateState::Missing => "missing",
    };
    let seen = plate.seen.map_or_else(String::new, |seen| format!(":{}", day(seen, zone)));
    format!("{}:{state}{seen}", inner(&plate.place))
}

fn day(at: Timestamp, zone: &TimeZone) -> String {
    let moment = jiff::Timestamp::from_millisecond(at.as_millis());
    moment.map_or_else(|_| String::new(), |moment| zone.to_datetime(moment).date().to_string())
}
