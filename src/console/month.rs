//! The coverage of a month over HTTP: hours on each rung for the site, its towns and classes, each point, and the plan's indicators of the same time.
//!
//! In: rungs, alarms and readings in the journal. Out: [`MonthView`].
//! Invariant: each moment's points are those of the documents that held then, unless another time of knowing is asked for; a month that is not over ends
//! with the last full hour. Hours are those that were watched, by the part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::console::api::json;
use crate::console::indicators::{self, IndicatorView, Sources};
use crate::console::query::{Asked, of_journal};
use crate::console::state::Console;
use crate::console::window::{moment, placed_some};
use crate::journal::Reader;
use crate::risk::coverage::{CLASS, Rung};
use crate::risk::month::{Group, HOLDS, Month};
use crate::risk::{PlateState, RiskPoint, registry};
use crate::site::carrier;

/// What is asked.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// `2026-11`.
    pub month: String,
    /// All hours with the documents of this time, instead of each with its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_at: Option<String>,
}

impl Question {
    /// With times of the site's zone where none is said.
    pub(crate) fn placed(self, timezone: &str) -> Self {
        Self { known_at: placed_some(self.known_at, timezone), ..self }
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MonthView {
    /// The gateway's name.
    pub site: String,
    /// `2026-11`.
    pub month: String,
    /// Time zone of its days.
    pub timezone: String,
    /// First moment.
    pub from: String,
    /// One past the last hour that is over.
    pub to: String,
    /// When this was made.
    pub made: String,
    /// Hours that are over.
    pub hours: f64,
    /// Those in which the gateway knew of any point, by the part; in the rest nothing was reached.
    pub observed: f64,
    /// Landslide points with two plates in order, of all of them.
    pub plates: (u32, u32),
    /// The site, the plan's target, towns, classes.
    pub rows: Vec<MonthRow>,
    /// Each point.
    pub points: Vec<MonthRow>,
    /// The plan's figures of the same time.
    pub indicators: Vec<IndicatorView>,
}

/// A group's month, or a point's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MonthRow {
    /// `site`, `target`, `town`, `class` or `point`.
    pub scope: String,
    /// Its name, a point's code.
    pub name: String,
    /// Of a point: name, town.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Points, each code once.
    pub points: u32,
    /// Hours of points, to the hundredth.
    pub hours: f64,
    /// Hours on each rung or above, rounded down.
    pub reached: BTreeMap<String, f64>,
    /// In percent, rounded down.
    pub percent: BTreeMap<String, String>,
}

impl MonthRow {
    /// Hours on a rung or above.
    pub fn on(&self, rung: Rung) -> f64 {
        self.reached.get(rung.name()).copied().unwrap_or_default()
    }

    /// Whether it was there for all of its hours: the percentage is 100.0 of nothing less.
    pub fn is_whole(&self, rung: Rung) -> bool {
        self.percent.get(rung.name()).is_some_and(|percent| percent == "100.0")
    }
}

pub(crate) async fn month(State(console): State<Arc<Console>>, Asked(question): Asked<Question>) -> Response {
    let (now, shown) = (console.look(|picture| picture.now), console.board.shown());
    let question = question.placed(&shown.timezone);
    let read = of_journal(&console, move |reader| {
        let sources = Sources { catalog: &shown.catalog, rules: &shown.rules, timezone: &shown.timezone };
        of(reader, &question, &sources, &shown.timezone, now)
    });
    read.await.map_or_else(|refusal| refusal, |view| json(StatusCode::OK, &view))
}

/// The month from the journal.
///
/// # Errors
/// A month that can't be understood or has not begun, a journal that can't be read or knows no documents.
pub fn of(
    reader: &Reader,
    question: &Question,
    sources: &Sources<'_>,
    timezone: &str,
    now: Timestamp,
) -> Result<MonthView, String> {
    let (from, end) = span(&question.month, timezone)?;
    // The hour that is not over is not counted.
    let hour = 3_600_000;
    let over = Timestamp::from_millis(now.as_millis().div_euclid(hour) * hour);
    let to = end.min(over);
    if to <= from {
        return Err(format!("no hour of {} is over yet", question.month));
    }
    let mut month = Month::new(from, to);
    let memories = reader.memories().map_err(|error| error.to_string())?;
    let known_at = question.known_at.as_deref();
    let known_at = known_at.map(|text| moment("known_at", text, now)).transpose();
    let versions = versions((from, to), &memories, known_at.map_err(|error| error.to_string())?)?;
    take(reader, sources, &memories, &mut month)?;
    let groups = month.groups(&versions);
    let newest: BTreeMap<&str, &RiskPoint> =
        versions.iter().flat_map(|(_, points)| points).map(|point| (point.code.as_str(), point)).collect();
    let (points, rows): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.scope == "point");
    let about = |group: &Group| {
        newest.get(group.name.as_str()).map_or_else(String::new, |point| {
            format!("{} {}", point.name.as_deref().unwrap_or_default(), point.town).trim().to_owned()
        })
    };
    let last = versions.last().map_or(&[][..], |(_, points)| points.as_slice());
    let within = indicators::Question { from: Some(from.to_string()), to: Some(to.to_string()) };
    Ok(MonthView {
        site: sources.catalog.site.clone(),
        month: question.month.clone(),
        timezone: timezone.to_owned(),
        from: from.to_string(),
        to: to.to_string(),
        made: now.to_string(),
        hours: hours(u64::try_from(to.as_millis() - from.as_millis()).unwrap_or_default()),
        observed: hours(month.observed_ms()),
        plates: plates(last, to),
        rows: rows.into_iter().map(|group| row(group, String::new())).collect(),
        points: points.into_iter().map(|group| row(group, about(group))).collect(),
        indicators: indicators::of(reader, &within, sources, now)?.rows,
    })
}

/// The first moment of a month and the one after its last, by the calendar of the site.
fn span(month: &str, timezone: &str) -> Result<(Timestamp, Timestamp), String> {
    let unclear = || format!("month is \"{month}\"; write it like 2026-11");
    let first: Date = format!("{month}-01").parse().map_err(|_| unclear())?;
    if month.len() != 7 {
        return Err(unclear());
    }
    let next = first.checked_add(jiff::Span::new().months(1)).map_err(|_| unclear())?;
    let zone = TimeZone::get(timezone).unwrap_or(TimeZone::UTC);
    let begins = |day: Date| {
        let moment = zone.to_timestamp(day.at(0, 0, 0, 0)).map_err(|_| unclear())?;
        Ok::<_, String>(Timestamp::from_millis(moment.as_millisecond()))
    };
    Ok((begins(first)?, begins(next)?))
}

/// Reads the rungs that were told of points, also of those that have left the documents since.
fn take(
    reader: &Reader,
    sources: &Sources<'_>,
    memories: &BTreeMap<String, String>,
    month: &mut Month,
) -> Result<(), String> {
    let carriers = sources.catalog.devices.iter().filter(|device| device.class == CLASS);
    let mut names: BTreeSet<String> = carriers.map(|device| format!("{}.rung", device.name)).collect();
    let (from, to) = month.span();
    for (_, version) in held((from, to), memories) {
        let points = registry::points(memories, version).unwrap_or_default();
        let carriers = points.iter().enumerate().map(|(number, point)| carrier(point, number));
        names.extend(carriers.map(|name| format!("{name}.rung")));
    }
    let names: Vec<String> = names.into_iter().collect();
    if names.is_empty() {
        return Ok(());
    }
    // What was told just before the month holds into it.
    let read = reader.history(&names, from.minus(HOLDS), to, &mut |catalog, reading| {
        let code = catalog
            .point(reading.point)
            .and_then(|point| catalog.device(point.device))
            .and_then(|device| device.risk_point.as_deref());
        let number = (0..=6_u8).find(|number| reading.sample.value() == Some(f64::from(*number)));
        if let Some((code, number)) = code.zip(number) {
            month.take(code, reading.at, number);
        }
        true
    });
    read.map_err(|error| error.to_string())
}

/// The versions of the documents that held within a time, each from its moment on.
fn held(
    (from, to): (Timestamp, Timestamp),
    memories: &BTreeMap<String, String>,
) -> impl Iterator<Item = (Timestamp, &str)> {
    let first = registry::held(memories, Some(from)).map(|version| (from, version));
    let later = registry::changes(memories).filter(move |(at, _)| from < *at && *at < to);
    first.into_iter().chain(later)
}

/// The risk points of each stretch under the same documents. What came before the first documents goes with those.
fn versions(
    (from, to): (Timestamp, Timestamp),
    memories: &BTreeMap<String, String>,
    known_at: Option<Timestamp>,
) -> Result<Vec<(Timestamp, Vec<RiskPoint>)>, String> {
    if known_at.is_some() {
        return Ok(vec![(from, registry::known(memories, known_at)?.1)]);
    }
    let stretch = |(at, _): (Timestamp, &str)| Ok((at, registry::known(memories, Some(at))?.1));
    let mut found: Vec<_> = held((from, to), memories).map(stretch).collect::<Result<_, &str>>()?;
    match found.first_mut() {
        Some((first, _)) => *first = from,
        None => found.push((from, registry::known(memories, None)?.1)),
    }
    Ok(found)
}

/// Landslide points with two plates in order.
fn plates(points: &[RiskPoint], at: Timestamp) -> (u32, u32) {
    let slopes = || points.iter().filter(|point| point.class == "landslide" && point.span.holds(at));
    let good =
        |point: &&RiskPoint| 2 <= point.plates.iter().filter(|plate| plate.state == PlateState::Ok).count();
    let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    (count(slopes().filter(good).count()), count(slopes().count()))
}

fn row(group: &Group, about: String) -> MonthRow {
    let each = Rung::ALL.into_iter();
    MonthRow {
        scope: group.scope.to_owned(),
        name: group.name.clone(),
        about,
        points: u32::try_from(group.codes.len()).unwrap_or(u32::MAX),
        hours: hours(group.ms),
        reached: each.clone().map(|rung| (rung.name().to_owned(), hours(group.on(rung)))).collect(),
        percent: each.map(|rung| (rung.name().to_owned(), group.percent(rung))).collect(),
    }
}

/// Hours to the hundredth, rounded down.
fn hours(ms: u64) -> f64 {
    f64::from(u32::try_from(ms / 36_000).unwrap_or(u32::MAX)) / 100.0
}
