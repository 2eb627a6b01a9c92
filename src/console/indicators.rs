//! Indicators of the district's plan over HTTP, each with its definition, its denominator and what was not measured.
//!
//! In: the journal's alarms and readings of a time, rules and risk points. Out: one row for each figure.
//! Invariant: the figures are those of [`crate::risk::figures`]; here the journal is read for them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::alarm::{Condition, Direction, Rule};
use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::console::api::json;
use crate::console::query::{Asked, of_journal};
use crate::console::state::Console;
use crate::console::window::{moment, placed_some};
use crate::journal::Reader;
use crate::point::{Catalog, Point};
use crate::risk::figures::{self, Figure, Lifts};
use crate::risk::indicators::Above;
use crate::risk::{RiskPoint, registry};

/// Transitions read at once.
const PAGE: usize = 10_000;
/// The time of the plan's target of 困人率.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// A rain gauge's numbers farther apart say nothing of the time between them.
const RAIN_GAP: Duration = Duration::from_secs(600);

/// What is asked.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// From: RFC 3339, or how long ago; 30 days when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Until: RFC 3339, or how long ago; now when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl Question {
    /// With times of the site's zone where none is said.
    pub(crate) fn placed(self, timezone: &str) -> Self {
        Self { from: placed_some(self.from, timezone), to: placed_some(self.to, timezone) }
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IndicatorsView {
    /// First moment.
    pub from: String,
    /// One past the last moment.
    pub to: String,
    /// The figures.
    pub rows: Vec<IndicatorView>,
}

/// One figure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IndicatorView {
    /// For programs: `entrapment-rate-a`.
    pub indicator: String,
    /// In Chinese.
    pub chinese: String,
    /// What it is of: the site, a point's code with its name, a sensor's point.
    pub of: String,
    /// The figure; absent when it is not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its unit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// What is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// Of how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<u32>,
    /// `< 0.5 %`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether it meets the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// The target is of a year, less than a year is known, and it is not failed yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub too_early: bool,
    /// What was not measured, or not all of the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_measured: Option<String>,
    /// What the figure is.
    pub definition: String,
}

impl From<Figure> for IndicatorView {
    fn from(figure: Figure) -> Self {
        Self {
            indicator: figure.indicator,
            chinese: figure.chinese,
            of: figure.of,
            value: figure.value,
            unit: figure.unit,
            part: figure.part,
            whole: figure.whole,
            target: figure.target,
            met: figure.met,
            too_early: figure.too_early,
            not_measured: figure.not_measured,
            definition: figure.definition,
        }
    }
}

/// The documents that say what is measured.
pub struct Sources<'a> {
    /// Names.
    pub catalog: &'a Catalog,
    /// Rules.
    pub rules: &'a [Rule],
    /// IANA time zone, in which sentences tell times.
    pub timezone: &'a str,
}

pub(crate) async fn indicators(
    State(console): State<Arc<Console>>,
    Asked(question): Asked<Question>,
) -> Response {
    let (now, shown) = (console.look(|picture| picture.now), console.board.shown());
    let question = question.placed(&shown.timezone);
    let read = of_journal(&console, move |reader| {
        let sources = Sources { catalog: &shown.catalog, rules: &shown.rules, timezone: &shown.timezone };
        of(reader, &question, &sources, now)
    });
    read.await.map_or_else(|refusal| refusal, |view| json(StatusCode::OK, &view))
}

/// The figures of a time from the journal.
///
/// # Errors
/// A question that can't be understood, or a journal that can't be read.
pub fn of(
    reader: &Reader,
    question: &Question,
    sources: &Sources<'_>,
    now: Timestamp,
) -> Result<IndicatorsView, String> {
    let time = |key, text: &str| moment(key, text, now).map_err(|error| error.to_string());
    let from = time("from", question.from.as_deref().unwrap_or("30d"))?;
    let to = question.to.as_deref().map_or(Ok(now), |to| time("to", to))?;
    if to <= from {
        let zone = Zone::named(sources.timezone);
        return Err(format!("from {} is not before to {}", zone.tell(from), zone.tell(to)));
    }
    let memories = reader.memories().map_err(|error| error.to_string())?;
    let (_, points) = registry::known(&memories, None)?;
    let points: Vec<RiskPoint> = points.into_iter().filter(|point| point.span.holds(to)).collect();
    let window = (from, to);
    let lifts = lifts(reader, sources, &points)?;
    let whole = YEAR <= to.since(from) && registry::held(&memories, Some(from)).is_some();
    let mut rows: Vec<Figure> = lifts.rates(window, whole).into_iter().chain(lifts.rescues(window)).collect();
    rows.push(figures::inspections(
        &points,
        to,
        "gas-pressure",
        ("regulator-inspection", "燃气调压装置法定检验率", Some(90)),
    ));
    rows.push(figures::inspections(&points, to, "elevator", ("lift-inspection", "电梯检验率", None)));
    rows.extend(ponding(reader, sources, &points, window)?);
    rows.extend(rain(reader, sources, window)?);
    let rows = rows.into_iter().map(IndicatorView::from).collect();
    Ok(IndicatorsView { from: from.to_string(), to: to.to_string(), rows })
}

/// The lifts, with all that the log says of them.
fn lifts<'a>(reader: &Reader, sources: &'a Sources<'_>, points: &[RiskPoint]) -> Result<Lifts<'a>, String> {
    let mut lifts = Lifts::new(sources.catalog, sources.rules, points);
    let mut after = 0;
    loop {
        let page = reader.transitions(after, PAGE).map_err(|error| error.to_string())?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        page.iter().for_each(|(_, transition)| lifts.take(transition));
    }
    Ok(lifts)
}

fn measure(
    reader: &Reader,
    point: &Point,
    (levels, gap): (&[f64], Duration),
    (from, to): (Timestamp, Timestamp),
) -> Result<Above, String> {
    let mut above = Above::new(levels, gap);
    let mut each = |_: &Catalog, reading: &crate::reading::Reading| {
        above.take(reading.at, figures::believed(&reading.sample));
        true
    };
    let name = std::slice::from_ref(&point.name);
    reader.history(name, from, to, &mut each).map_err(|error| error.to_string())?;
    Ok(above)
}

fn ponding(
    reader: &Reader,
    sources: &Sources<'_>,
    points: &[RiskPoint],
    window: (Timestamp, Timestamp),
) -> Result<Vec<Figure>, String> {
    let mut rows = Vec::new();
    for place in points.iter().filter(|point| point.class == "waterlogging") {
        let of = format!("{} {}", place.code, place.name.as_deref().unwrap_or_default()).trim().to_owned();
        let rules =
            sources.rules.iter().filter(|rule| figures::code(sources.catalog, rule) == Some(&place.code));
        let mut any = false;
        for rule in rules {
            let Condition::Threshold { direction: Direction::Above, levels, max_gap, .. } = &rule.condition
            else {
                continue;
            };
            let Some(point) = sources.catalog.point(rule.point) else { continue };
            let is_level =
                sources.catalog.device(point.device).is_some_and(|device| device.class == "water-level");
            let Some(unit) = point.unit.filter(|unit| is_level && unit.quantity() == "length") else {
                continue;
            };
            any = true;
            let thresholds: Vec<f64> = levels.iter().map(|level| level.threshold).collect();
            let above = measure(reader, point, (&thresholds, *max_gap), window)?;
            rows.extend(figures::ponding(&of, (point, unit), (levels, &above), window));
        }
        if !any {
            rows.push(figures::ponding_unseen(of));
        }
    }
    Ok(rows)
}

fn rain(
    reader: &Reader,
    sources: &Sources<'_>,
    window: (Timestamp, Timestamp),
) -> Result<Vec<Figure>, String> {
    let (mut rows, zone) = (Vec::new(), Zone::named(sources.timezone));
    for point in &sources.catalog.points {
        let gauge = sources.catalog.device(point.device).is_some_and(|device| device.class == "rain");
        if !gauge || point.unit.is_none_or(|unit| unit.name() != "mm") {
            continue;
        }
        if figures::is_running_total(point, sources.rules) {
            rows.push(figures::rain_total(point));
            continue;
        }
        let above = measure(reader, point, (&[], RAIN_GAP), window)?;
        rows.push(figures::rain(point, &above, &zone, window));
    }
    Ok(rows)
}
