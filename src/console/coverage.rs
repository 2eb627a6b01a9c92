//! Coverage over HTTP: how many risk points are really watched, now or at another time, and what keeps the others from it.
//!
//! In: the picture, or the rungs in the journal. Out: rows for each group, and every point with its weakest link.
//! Invariant: rungs of another time are those that were recorded then; only what the documents say of the points may be known later.
//! Source: DESIGN section 8 (shape), one object for each group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::console::api::{json, refuse};
use crate::console::query::{Asked, of_journal};
use crate::console::state::Console;
use crate::console::window::{moment, placed_some};
use crate::journal::{Reader, StoreError};
use crate::risk::coverage::{CLASS, Coverage, Rung, SENSOR};
use crate::risk::group::{By, groups};
use crate::risk::ladder::{self, Gap, SensorStanding, Standing};
use crate::risk::work::{Task, Work};
use crate::risk::{PlateState, RiskPoint, registry};

/// Rungs are told each minute; older ones say nothing of a moment.
const TOLD_WITHIN: Duration = Duration::from_secs(150);

/// What is asked.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Rows by town, class, grade, supervisor or grade-and-class, beside the site's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Only this hazard class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Only points of at least this grade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grade: Option<u8>,
    /// Another time than now: RFC 3339, or how long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// With the documents of this time: RFC 3339, or how long ago; the newest when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_at: Option<String>,
}

impl Question {
    /// Whether it is about this point.
    pub fn asks(&self, point: &RiskPoint) -> bool {
        self.class.as_ref().is_none_or(|class| *class == point.class)
            && self.grade.is_none_or(|grade| point.grade >= grade)
    }

    /// With times of the site's zone where none is said.
    pub(crate) fn placed(self, timezone: &str) -> Self {
        let (at, known_at) = (placed_some(self.at, timezone), placed_some(self.known_at, timezone));
        Self { at, known_at, ..self }
    }

    /// Its keys and values, as they stand in an address.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let grade = self.grade.map(|grade| grade.to_string());
        let all = [
            ("by", self.by.clone()),
            ("class", self.class.clone()),
            ("grade", grade),
            ("at", self.at.clone()),
            ("known_at", self.known_at.clone()),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoverageView {
    /// The moment that it tells of.
    pub at: String,
    /// Version of the documents that say what the points are.
    pub documents: String,
    /// The site first, then its groups.
    pub rows: Vec<RowView>,
    /// Every point.
    pub points: Vec<PointView>,
    /// What somebody has to do by a date, now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<WorkView>,
}

/// What somebody has to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkView {
    /// `test`, `calibrate`, `inspect` or `maintain`.
    pub task: Task,
    /// The sensor or the risk point; absent for the gateway.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// In words.
    pub text: String,
    /// By when; absent: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The date has passed.
    pub overdue: bool,
}

impl WorkView {
    /// The shape of an item.
    pub fn new(work: &Work) -> Self {
        Self {
            task: work.task,
            of: work.of.clone(),
            text: work.text.clone(),
            due: work.due.map(|due| due.to_string()),
            overdue: work.overdue,
        }
    }
}

/// The coverage of the site or of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowView {
    /// `site`, `town`, `class` ...
    pub scope: String,
    /// Name of the group.
    pub name: String,
    /// The hazard class asked for; absent when all count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Risk points, each code once.
    pub points: u32,
    /// Points on each rung or above.
    #[serde(flatten)]
    pub reached: BTreeMap<String, u32>,
    /// Points with sensors that nothing is known of yet.
    pub unknown: u32,
    /// Points that nobody said what watches them.
    pub unspecified: u32,
    /// Each rung in percent with one decimal, rounded down; `n/a` without points.
    pub percent: BTreeMap<String, String>,
}

/// A risk point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointView {
    /// 一点一码.
    pub code: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Hazard class.
    pub class: String,
    /// 镇街.
    pub town: String,
    /// Supervising body.
    pub supervisor: String,
    /// 1 to 4.
    pub grade: u8,
    /// The highest rung; absent below `installed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// Nothing valid comes from it.
    pub blind: bool,
    /// It is too early to say.
    pub unknown: bool,
    /// Nobody said what it needs.
    pub unspecified: bool,
    /// What its needs lack.
    pub missing: Vec<String>,
    /// Plates in order; absent when none is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plates_ok: Option<usize>,
    /// Its sensors.
    pub sensors: Vec<SensorView>,
}

/// A sensor at a risk point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorView {
    /// The device's name.
    pub sensor: String,
    /// Its class.
    pub role: String,
    /// Its highest rung.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// The rung that it misses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Rung>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

pub(crate) async fn coverage(
    State(console): State<Arc<Console>>,
    Asked(question): Asked<Question>,
) -> Response {
    let question = question.placed(&console.board.shown().timezone);
    let (now, stands) = console.look(|picture| (picture.now, Arc::clone(&picture.stands)));
    let site = console.board.shown().catalog.site.clone();
    if question.at.is_none() && question.known_at.is_none() {
        let stands: Vec<_> =
            stands.iter().map(|(point, standing)| (point.as_ref().clone(), standing.clone())).collect();
        let documents = console.board.shown().catalog.version.clone();
        let work = console.look(|picture| picture.work.iter().map(WorkView::new).collect());
        return match view(&question, &site, &documents, &stands, now) {
            Ok(view) => json(StatusCode::OK, &CoverageView { work, ..view }),
            Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, error),
        };
    }
    let zone = Zone::named(&console.board.shown().timezone);
    let read = of_journal(&console, move |reader| past(reader, &question, (&site, &zone), now)).await;
    read.map_or_else(|refusal| refusal, |view| json(StatusCode::OK, &view))
}

/// The answer from what the journal recorded.
///
/// # Errors
/// A question that can't be understood, a journal that can't be read, or one that has no documents of that time.
pub fn past(
    reader: &Reader,
    question: &Question,
    (site, zone): (&str, &Zone),
    now: Timestamp,
) -> Result<CoverageView, String> {
    let past = recalled(reader, (question.at.as_deref(), question.known_at.as_deref()), (now, zone))?;
    view(question, site, &past.documents, &past.stands, past.at)
}

/// How the points stood at another time.
pub(crate) struct Past {
    pub(crate) at: Timestamp,
    /// Version of the documents that say what the points are.
    pub(crate) documents: String,
    pub(crate) stands: Vec<(RiskPoint, Standing)>,
}

/// What the journal recorded of `at` (now when left out), with the documents of `known_at` (the newest ones when left out).
pub(crate) fn recalled(
    reader: &Reader,
    (at, known_at): (Option<&str>, Option<&str>),
    (now, zone): (Timestamp, &Zone),
) -> Result<Past, String> {
    let time = |key, text: Option<&str>| {
        text.map(|text| moment(key, text, now)).transpose().map_err(|error| error.to_string())
    };
    let at = time("at", at)?.unwrap_or(now);
    let known_at = time("known_at", known_at)?;
    let said = |error: StoreError| error.to_string();
    let oldest = reader.content().map_err(said)?.oldest;
    if let Some(oldest) = oldest.filter(|oldest| at < *oldest) {
        let (at, oldest) = (zone.tell(at), zone.tell(oldest));
        return Err(format!("nothing was recorded at {at}: the first record is of {oldest}"));
    }
    let (documents, points) = registry::known(&reader.memories().map_err(said)?, known_at)?;
    let mut recorded = recorded(reader, at).map_err(said)?;
    let stands = points
        .into_iter()
        .filter(|point| point.span.holds(at))
        .map(|point| {
            let sensors = recorded.remove(&point.code).unwrap_or_default();
            let standing = ladder::point(&point, sensors, at);
            (point, standing)
        })
        .collect();
    Ok(Past { at, documents, stands })
}

/// The rungs told last before `at`, by code of the risk point.
fn recorded(reader: &Reader, at: Timestamp) -> Result<BTreeMap<String, Vec<SensorStanding>>, StoreError> {
    let mut last: BTreeMap<(String, String), (String, u8)> = BTreeMap::new();
    reader.history(
        &[],
        at.minus(TOLD_WITHIN),
        at.plus(Duration::from_millis(1)),
        &mut |catalog, reading| {
            let told = catalog.point(reading.point).and_then(|point| {
                let sensor = point.short.strip_prefix(SENSOR)?;
                let carrier = catalog.device(point.device).filter(|device| device.class == CLASS)?;
                let role = catalog.devices.iter().find(|device| device.name == sensor)?.class.clone();
                Some((carrier.risk_point.clone()?, sensor.to_owned(), role))
            });
            if let Some((code, sensor, role)) = told {
                let number = reading.sample.value().filter(|value| (0.0..=6.0).contains(value));
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a small whole number, as the filter says"
                )]
                let number = number.map_or(0, |value| value as u8);
                last.insert((code, sensor), (role, number));
            }
            true
        },
    )?;
    let mut found: BTreeMap<String, Vec<SensorStanding>> = BTreeMap::new();
    for ((code, name), (role, number)) in last {
        let rung = Rung::ALL.into_iter().find(|rung| Rung::number(Some(*rung)) == number);
        let missed = Rung::ALL.into_iter().find(|next| Some(*next) > rung);
        let gap = missed.map(|missed| Gap {
            missed,
            since: None,
            why: format!("recorded as not {}", missed.name()),
            remedy: "look into the history of its points",
        });
        let sees = rung >= Some(Rung::Valid);
        let sensor =
            SensorStanding { name, role, rung, unknown: false, gap, share: (0, 0), maintenance: false, sees };
        found.entry(code).or_default().push(sensor);
    }
    Ok(found)
}

/// The answer from points and how they stand.
///
/// # Errors
/// A group that there is none of.
pub fn view(
    question: &Question,
    site: &str,
    documents: &str,
    stands: &[(RiskPoint, Standing)],
    at: Timestamp,
) -> Result<CoverageView, String> {
    let by = match question.by.as_deref() {
        None => None,
        Some(name) => {
            let names: Vec<&str> = By::ALL.iter().map(|by| by.name()).collect();
            let unknown = || format!("by is \"{name}\"; write one of {}", names.join(", "));
            Some(By::parse(name).ok_or_else(unknown)?)
        }
    };
    let pairs: Vec<(&RiskPoint, &Standing)> = stands
        .iter()
        .filter(|(point, _)| question.asks(point))
        .map(|(point, standing)| (point, standing))
        .collect();
    let row = |scope: &str, name: String, coverage: Coverage| row(question, scope, name, coverage);
    let whole = Coverage::of(pairs.iter().map(|(_, standing)| *standing));
    let mut rows = vec![row("site", site.to_owned(), whole)];
    if let Some(by) = by {
        rows.extend(groups(by, &pairs).into_iter().map(|(name, coverage)| row(by.name(), name, coverage)));
    }
    let points = pairs.iter().map(|(point, standing)| point_view(point, standing)).collect();
    Ok(CoverageView { at: at.to_string(), documents: documents.to_owned(), rows, points, work: Vec::new() })
}

fn row(question: &Question, scope: &str, name: String, coverage: Coverage) -> RowView {
    let each = Rung::ALL.into_iter();
    RowView {
        scope: scope.to_owned(),
        name,
        class: question.class.clone(),
        points: coverage.points,
        reached: each.clone().map(|rung| (rung.name().to_owned(), coverage.on(rung))).collect(),
        unknown: coverage.unknown,
        unspecified: coverage.unspecified,
        percent: each.map(|rung| (rung.name().to_owned(), coverage.percent(rung))).collect(),
    }
}

fn point_view(point: &RiskPoint, standing: &Standing) -> PointView {
    let sensor = |sensor: &SensorStanding| {
        let gap = sensor.gap.as_ref();
        SensorView {
            sensor: sensor.name.clone(),
            role: sensor.role.clone(),
            rung: sensor.rung,
            missed: gap.map(|gap| gap.missed),
            why: gap.map(|gap| gap.why.clone()),
            since: gap.and_then(|gap| gap.since).map(|since| since.to_string()),
            remedy: gap.map(|gap| gap.remedy.to_owned()),
        }
    };
    let in_order = || point.plates.iter().filter(|plate| plate.state == PlateState::Ok).count();
    PointView {
        code: point.code.clone(),
        name: point.name.clone(),
        class: point.class.clone(),
        town: point.town.clone(),
        supervisor: point.supervisor.clone(),
        grade: point.grade,
        rung: standing.rung,
        blind: standing.blind,
        unknown: standing.unknown,
        unspecified: standing.unspecified,
        missing: standing.missing.clone(),
        plates_ok: (!point.plates.is_empty()).then(in_order),
        sensors: standing.sensors.iter().map(sensor).collect(),
    }
}
