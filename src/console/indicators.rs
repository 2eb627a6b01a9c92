//! Indicators of the district's plan over HTTP, each with its definition, its denominator and what was not measured.
//!
//! In: the journal's alarms and readings of a time, rules and risk points. Out: one row for each figure.
//! Invariant: a figure that nothing measures says so and is neither 0 nor good; a target is compared on integers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::alarm::condition::measure::Measure;
use crate::alarm::{Condition, Direction, Rule, Severity};
use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::console::api::json;
use crate::console::query::{Asked, of_journal};
use crate::console::state::Console;
use crate::console::window::{moment, placed_some};
use crate::journal::Reader;
use crate::point::{Catalog, Point};
use crate::reading::{Doubt, Sample};
use crate::risk::coverage::{meets, percent};
use crate::risk::indicators::{
    Above, Entrapment, Entrapments, below_half_percent, hundredths, median_and_longest,
};
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
    let lifts = Lifts::of(reader, sources, &points, (from, to))?;
    let whole = YEAR <= to.since(from) && registry::held(&memories, Some(from)).is_some();
    let days = to.since(from).as_secs() / 86_400;
    let mut rows: Vec<IndicatorView> = lifts.rates(days, whole).into_iter().chain(lifts.rescues()).collect();
    rows.push(inspections(
        &points,
        to,
        "gas-pressure",
        ("regulator-inspection", "燃气调压装置法定检验率", Some(90)),
    ));
    rows.push(inspections(&points, to, "elevator", ("lift-inspection", "电梯检验率", None)));
    rows.extend(ponding(reader, sources, &points, (from, to))?);
    rows.extend(rain(reader, sources, (from, to))?);
    Ok(IndicatorsView { from: from.to_string(), to: to.to_string(), rows })
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// The risk point of the device that a rule looks at.
fn code<'a>(catalog: &'a Catalog, rule: &Rule) -> Option<&'a str> {
    let point = catalog.point(rule.point)?;
    catalog.device(point.device)?.risk_point.as_deref()
}

/// What the documents and the log say of lifts in a time.
struct Lifts<'a> {
    /// Those that are registered.
    registered: usize,
    /// Those of which a rule sees entrapments.
    measured: u32,
    /// Entrapments, each with the code of its lift.
    events: Vec<(&'a str, Entrapment)>,
}

impl<'a> Lifts<'a> {
    fn of(
        reader: &Reader,
        sources: &'a Sources<'_>,
        points: &[RiskPoint],
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Self, String> {
        let mut seeing: BTreeMap<String, Severity> = BTreeMap::new();
        let mut of_rule: BTreeMap<&str, &str> = BTreeMap::new();
        let lifts: Vec<&RiskPoint> = points.iter().filter(|point| point.class == "elevator").collect();
        for rule in sources.rules {
            let Condition::Measured { measured, .. } = &rule.condition else { continue };
            let code = code(sources.catalog, rule).filter(|code| lifts.iter().any(|lift| lift.code == *code));
            let (Measure::Entrapment { .. }, Some(code)) = (&measured.measure, code) else { continue };
            let worst = measured.levels.last().map_or(Severity::Red, |level| level.severity);
            seeing.insert(rule.name.clone(), worst);
            of_rule.insert(&rule.name, code);
        }
        let measured = of_rule.values().collect::<BTreeSet<_>>().len();
        let mut found = Entrapments::new(seeing);
        let mut after = 0;
        loop {
            let page = reader.transitions(after, PAGE).map_err(|error| error.to_string())?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            page.iter().for_each(|(_, transition)| found.take(transition));
        }
        let events = found.within(from, to).into_iter();
        let events = events.filter_map(|one| Some((*of_rule.get(one.rule.as_str())?, one.clone())));
        Ok(Self { registered: lifts.len(), measured: count(measured), events: events.collect() })
    }

    /// 困人率 in both readings. `year`: a whole one is known. More time only adds entrapments, so a target may be failed before, and never met.
    fn rates(&self, days: u64, year: bool) -> [IndicatorView; 2] {
        let missing = self.registered.saturating_sub(self.measured as usize);
        let not_measured = match (self.registered, missing) {
            (0, _) => Some("no lift is registered".to_owned()),
            (_, 0) => None,
            (all, missing) => Some(format!("{missing} of {all} lifts have no rule that sees an entrapment")),
        };
        let whole = self.measured;
        let rate = |indicator: &str, part, definition: String| IndicatorView {
            indicator: indicator.to_owned(),
            chinese: "电梯故障困人率".to_owned(),
            of: "site".to_owned(),
            value: (whole > 0).then(|| hundredths(part, whole)),
            unit: "%".to_owned(),
            part: Some(part),
            whole: Some(whole),
            target: Some("< 0.5 %".to_owned()),
            met: below_half_percent(part, whole).filter(|below| !below || (year && missing == 0)),
            too_early: !year && below_half_percent(part, whole) == Some(true),
            not_measured: not_measured.clone(),
            definition,
        };
        let all = self.events.len();
        let faults = self.events.iter().filter(|(_, one)| one.cause.is_fault()).count();
        let hit = self.events.iter().map(|(lift, _)| *lift).collect::<BTreeSet<_>>().len();
        let a = format!(
            "entrapments by faults (cause equipment, or not said) in {days} d / lifts in use with a rule that sees them; the target is of a year; {all} entrapments of any cause"
        );
        let b = format!(
            "lifts with an entrapment of any cause in {days} d / lifts in use with a rule that sees them"
        );
        [rate("entrapment-rate-a", count(faults), a), rate("entrapment-rate-b", count(hit), b)]
    }

    /// The time until people were out.
    fn rescues(&self) -> [IndicatorView; 2] {
        let times: Vec<Duration> =
            self.events.iter().filter_map(|(_, one)| Some(one.rescued?.since(one.since))).collect();
        let (over, all) = (times.len(), self.events.len());
        let not_measured = match (over, all - over) {
            (0, 0) => Some("nobody was shut in".to_owned()),
            (_, 0) => None,
            (_, open) => Some(format!("{open} not over yet")),
        };
        let (median, longest) = median_and_longest(times).unzip();
        let row = |indicator: &str, chinese: &str, value: Option<Duration>| IndicatorView {
            indicator: indicator.to_owned(),
            chinese: chinese.to_owned(),
            of: "site".to_owned(),
            value: value.map(minutes),
            unit: "min".to_owned(),
            part: Some(count(over)),
            whole: Some(count(all)),
            not_measured: not_measured.clone(),
            definition: "from the first moment of the entrapment until the door opened at a floor".to_owned(),
            ..IndicatorView::default()
        };
        [row("rescue-median", "救援时间中位数", median), row("rescue-longest", "最长救援时间", longest)]
    }
}

/// Minutes with one decimal.
fn minutes(time: Duration) -> String {
    format!("{}.{}", time.as_secs() / 60, time.as_secs() % 60 / 6)
}

fn inspections(
    points: &[RiskPoint],
    at: Timestamp,
    role: &str,
    (indicator, chinese, target): (&str, &str, Option<u32>),
) -> IndicatorView {
    let of_role = |point: &&RiskPoint| point.needs_at(at).any(|need| need.takes(role));
    let all: Vec<&RiskPoint> = points.iter().filter(of_role).collect();
    let good = all.iter().filter(|point| point.inspection_due.is_some_and(|due| at < due)).count();
    let undated = all.iter().filter(|point| point.inspection_due.is_none()).count();
    let (part, whole) = (count(good), count(all.len()));
    // Nobody wrote any date: that is no rate of nought.
    let known = undated < all.len();
    let not_measured = match (all.len(), undated) {
        (0, _) => Some("none is registered".to_owned()),
        (_, 0) => None,
        (all, _) if !known => Some(format!("none of {all} has an `inspection_due`")),
        (all, undated) => {
            Some(format!("{undated} of {all} have no `inspection_due`; they count as not inspected"))
        }
    };
    IndicatorView {
        indicator: indicator.to_owned(),
        chinese: chinese.to_owned(),
        of: "site".to_owned(),
        value: known.then(|| percent(part, whole)),
        unit: "%".to_owned(),
        part: known.then_some(part),
        whole: known.then_some(whole),
        target: target.map(|target| format!(">= {target} %")),
        met: target.and_then(|target| meets(part, whole, target)).filter(|_| known),
        too_early: false,
        not_measured,
        definition: format!(
            "risk points that need {role} whose `inspection_due` is not over at the end / all of them"
        ),
    }
}

/// A number that can be believed, for a level.
fn believed(sample: &Sample) -> Option<f64> {
    match sample {
        Sample::Uncertain(_, Doubt::Spike | Doubt::Step) => None,
        sample => sample.value(),
    }
}

fn measure(
    reader: &Reader,
    point: &Point,
    (levels, gap): (&[f64], Duration),
    (from, to): (Timestamp, Timestamp),
) -> Result<Above, String> {
    let mut above = Above::new(levels, gap);
    let mut each = |_: &Catalog, reading: &crate::reading::Reading| {
        above.take(reading.at, believed(&reading.sample));
        true
    };
    let name = std::slice::from_ref(&point.name);
    reader.history(name, from, to, &mut each).map_err(|error| error.to_string())?;
    Ok(above)
}

/// How much of a time something is known of; `None` when of all of it.
fn unmeasured(above: &Above, (from, to): (Timestamp, Timestamp)) -> Option<String> {
    let whole = to.since(from);
    let tenths = above.measured.as_millis() * 1000 / whole.as_millis().max(1);
    (tenths < 990).then(|| format!("measured {}.{} % of the time", tenths / 10, tenths % 10))
}

fn ponding(
    reader: &Reader,
    sources: &Sources<'_>,
    points: &[RiskPoint],
    window: (Timestamp, Timestamp),
) -> Result<Vec<IndicatorView>, String> {
    let mut rows = Vec::new();
    for place in points.iter().filter(|point| point.class == "waterlogging") {
        let of = format!("{} {}", place.code, place.name.as_deref().unwrap_or_default()).trim().to_owned();
        let rules = sources.rules.iter().filter(|rule| code(sources.catalog, rule) == Some(&place.code));
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
            for (level, (threshold, time, times)) in levels.iter().zip(&above.levels) {
                let (chinese, _) = level.severity.colour();
                rows.push(IndicatorView {
                    indicator: "ponding-above".to_owned(),
                    chinese: format!("积水{chinese}色以上时长"),
                    of: format!("{of}, {} >= {threshold} {}", point.name, unit.name()),
                    value: (above.measured > Duration::ZERO).then(|| minutes(*time)),
                    unit: "min".to_owned(),
                    part: Some(*times),
                    not_measured: unmeasured(&above, window),
                    definition: "time that the reading was at or above the level of the rule; part: how often it was reached".to_owned(),
                    ..IndicatorView::default()
                });
            }
        }
        if !any {
            rows.push(IndicatorView {
                indicator: "ponding-above".to_owned(),
                chinese: "积水时长".to_owned(),
                of,
                unit: "min".to_owned(),
                not_measured: Some("no rule has levels for the depth of its water".to_owned()),
                definition: "time that the reading was at or above each level of the rule".to_owned(),
                ..IndicatorView::default()
            });
        }
    }
    Ok(rows)
}

fn rain(
    reader: &Reader,
    sources: &Sources<'_>,
    window: (Timestamp, Timestamp),
) -> Result<Vec<IndicatorView>, String> {
    let (mut rows, zone) = (Vec::new(), Zone::named(sources.timezone));
    for point in &sources.catalog.points {
        let gauge = sources.catalog.device(point.device).is_some_and(|device| device.class == "rain");
        if !gauge || point.unit.is_none_or(|unit| unit.name() != "mm") {
            continue;
        }
        let above = measure(reader, point, (&[], RAIN_GAP), window)?;
        let (value, when) = above.highest.unzip();
        let when = when.map_or_else(String::new, |at| format!(", at {}", zone.tell(at)));
        rows.push(IndicatorView {
            indicator: "rain-highest".to_owned(),
            chinese: "最大雨量".to_owned(),
            of: point.name.clone(),
            value: value.map(|value| format!("{value:.1}")),
            unit: "mm".to_owned(),
            not_measured: unmeasured(&above, window),
            definition: format!("highest reading of this sum of rain{when}"),
            ..IndicatorView::default()
        });
    }
    Ok(rows)
}
