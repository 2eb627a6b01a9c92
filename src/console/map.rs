//! The risk map (风险图) over HTTP: every risk point with its colour, its sensors' trouble and how well it is watched, as GeoJSON.
//!
//! In: the picture, or alarms and rungs in the journal. Out: a FeatureCollection; places in WGS-84, longitude first.
//! Invariant: a place whose datum we can't convert has no geometry and says why; colour and sensor trouble are never mixed.
//! Source: RFC 7946 (GeoJSON); what stands beside `features` is a foreign member as its section 6.1 allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::alarm::{Alarm, Base};
use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::console::api::refuse;
use crate::console::coverage::{Question, recalled};
use crate::console::query::{Asked, of_journal};
use crate::console::state::Console;
use crate::journal::Reader;
use crate::risk::coverage::Rung;
use crate::risk::joint::Joint;
use crate::risk::ladder::Standing;
use crate::risk::state::{State, states};
use crate::risk::{Asset, Kind, RiskPoint, datum};

/// Transitions read at once.
const PAGE: usize = 10_000;

/// A FeatureCollection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapView {
    /// `FeatureCollection`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The moment that it tells of.
    pub at: String,
    /// The gateway's name.
    pub site: String,
    /// Version of the documents that say what the points are.
    pub documents: String,
    /// A feature for each risk point.
    pub features: Vec<Feature>,
}

/// A risk point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// `Feature`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its code: the stable id.
    pub id: String,
    /// Where; null when nobody knows.
    pub geometry: Option<Geometry>,
    /// What it is and how it is.
    pub properties: Properties,
}

/// A point in WGS-84.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// `Point`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Longitude and latitude in degrees.
    pub coordinates: [f64; 2],
}

/// What a risk point is and how it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Properties {
    /// 一点一码.
    pub code: String,
    /// Its name.
    pub name: Option<String>,
    /// Hazard class.
    pub class: String,
    /// Point, zone or asset.
    pub kind: Kind,
    /// 1 to 4, 4 the highest.
    pub grade: u8,
    /// 镇街.
    pub town: String,
    /// Supervising body.
    pub supervisor: String,
    /// What a digital twin calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<Asset>,
    /// `red`, `orange`, `yellow`, `blue`, `none`, or `no-data` (grey).
    pub colour: String,
    /// 0 for no colour to 4 for red.
    pub severity: u8,
    /// The colour is kept, and no sensor behind it can be believed right now.
    pub unverified: bool,
    /// An alarm that makes the colour waits for an acknowledgement.
    pub unseen: bool,
    /// An alarm of whatever colour holds and cannot be verified.
    #[serde(default)]
    pub any_unverified: bool,
    /// An alarm of whatever colour, or back to normal, waits for an acknowledgement.
    #[serde(default)]
    pub any_unseen: bool,
    /// Since when; absent without a colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The rules that make the colour.
    pub rules: Vec<String>,
    /// Sensors that vote for the colour.
    pub votes: u32,
    /// Sensors that can vote.
    pub voters: u32,
    /// Alarms that hold and are hidden.
    pub hidden: u32,
    /// Alarms whose condition went and that wait for a person.
    pub waiting: u32,
    /// What ails its sensors.
    pub sensor_trouble: Vec<String>,
    /// A higher colour that several hazards together speak for; a person decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<String>,
    /// The alarms that speak for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proposed_by: Vec<String>,
    /// The highest rung of coverage; null below `installed`.
    pub rung: Option<Rung>,
    /// Each rung, and whether the point is on it.
    pub coverage: BTreeMap<String, bool>,
    /// Nothing valid comes from it.
    pub blind: bool,
    /// What keeps it from its next rung; null at the top.
    pub weakest: Option<String>,
    /// The datum of the documents; the geometry is in WGS-84.
    pub place_datum: Option<String>,
    /// How the geometry came about, or why there is none.
    pub place_note: Option<String>,
}

impl MapView {
    /// The map of these points, in the order of their states.
    pub fn new(
        site: &str,
        documents: &str,
        at: Timestamp,
        points: impl Iterator<Item = (RiskPoint, Standing, State)>,
    ) -> Self {
        Self {
            kind: "FeatureCollection".to_owned(),
            at: at.to_string(),
            site: site.to_owned(),
            documents: documents.to_owned(),
            features: points.map(|(point, standing, state)| feature(&point, &standing, &state)).collect(),
        }
    }
}

/// The media type of RFC 7946.
pub(crate) const MEDIA_TYPE: &str = "application/geo+json";

pub(crate) async fn map(Shared(console): Shared<Arc<Console>>, Asked(question): Asked<Question>) -> Response {
    let question = question.placed(&console.board.shown().timezone);
    let site = console.board.shown().catalog.site.clone();
    if question.by.is_some() {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "a map has no groups: leave `by` out");
    }
    let view = if question.at.is_none() && question.known_at.is_none() {
        let (now, stands, states) =
            console.look(|picture| (picture.now, Arc::clone(&picture.stands), Arc::clone(&picture.states)));
        let documents = console.board.shown().catalog.version.clone();
        let points = stands.iter().zip(states.iter()).filter(|((point, _), _)| question.asks(point));
        let points = points
            .map(|((point, standing), state)| (point.as_ref().clone(), standing.clone(), state.clone()));
        MapView::new(&site, &documents, now, points)
    } else {
        let now = console.look(|picture| picture.now);
        let zone = Zone::named(&console.board.shown().timezone);
        match of_journal(&console, move |reader| past(reader, &question, (&site, &zone), now)).await {
            Ok(view) => view,
            Err(refusal) => return refusal,
        }
    };
    match serde_json::to_vec(&view) {
        Ok(bytes) => (StatusCode::OK, [(header::CONTENT_TYPE, MEDIA_TYPE)], bytes).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// The map from what the journal recorded.
///
/// # Errors
/// A question that can't be understood, a journal that can't be read, or one that has no documents of that time.
pub fn past(
    reader: &Reader,
    question: &Question,
    (site, zone): (&str, &Zone),
    now: Timestamp,
) -> Result<MapView, String> {
    let past = recalled(reader, (question.at.as_deref(), question.known_at.as_deref()), (now, zone))?;
    let alarms = open_at(reader, past.at)?;
    let stands: Vec<(RiskPoint, Standing)> =
        past.stands.into_iter().filter(|(point, _)| question.asks(point)).collect();
    let pairs = stands.iter().map(|(point, standing)| (point, standing));
    let states = states(pairs, alarms.values(), &Joint::default());
    let points = stands.into_iter().zip(states).map(|((point, standing), state)| (point, standing, state));
    Ok(MapView::new(site, &past.documents, past.at, points))
}

/// The alarms that were open at a time, by id.
fn open_at(reader: &Reader, at: Timestamp) -> Result<BTreeMap<String, Alarm>, String> {
    let mut open = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = reader.transitions(after, PAGE).map_err(|error| error.to_string())?;
        let Some((last, _)) = page.last() else { return Ok(open) };
        after = *last;
        for (_, transition) in page.into_iter().filter(|(_, transition)| transition.at <= at) {
            let alarm = transition.alarm;
            if alarm.state == Base::Normal {
                open.remove(&alarm.id);
            } else {
                open.insert(alarm.id.clone(), alarm);
            }
        }
    }
}

fn feature(point: &RiskPoint, standing: &Standing, state: &State) -> Feature {
    let (geometry, place_note) = match point.place.as_ref().map(datum::wgs84) {
        None => (None, Some("the documents don't say where it is".to_owned())),
        Some(Err(why)) => (None, Some(why)),
        Some(Ok(place)) => {
            // Seven decimals are a centimetre.
            let round = |degrees: f64| (degrees * 1e7).round() / 1e7;
            let coordinates = [round(place.lon), round(place.lat)];
            let note = place.within_m.map(|metres| format!("converted to WGS-84, within {metres} m"));
            (Some(Geometry { kind: "Point".to_owned(), coordinates }), note)
        }
    };
    let weakest = standing.missing.first().cloned().or_else(|| {
        let (sensor, gap) = *standing.weakest().first()?;
        Some(format!("{}: not {}: {}; {}", sensor.name, gap.missed.name(), gap.why, gap.remedy))
    });
    let unspecified = || "nobody said what it needs; write its needs".to_owned();
    let proposal = state.proposal.as_ref();
    let proposal = proposal.filter(|proposal| Some(proposal.severity) > state.colour);
    let properties = Properties {
        code: point.code.clone(),
        name: point.name.clone(),
        class: point.class.clone(),
        kind: point.kind,
        grade: point.grade,
        town: point.town.clone(),
        supervisor: point.supervisor.clone(),
        asset: point.asset.clone(),
        colour: state.word().to_owned(),
        severity: state.ordinal(),
        unverified: state.unverified,
        unseen: state.unseen,
        any_unverified: state.any_unverified,
        any_unseen: state.any_unseen,
        since: state.since.map(|since| since.to_string()),
        rules: state.rules.clone(),
        votes: state.votes.0,
        voters: state.votes.1,
        hidden: state.hidden,
        waiting: state.waiting,
        sensor_trouble: state.trouble.clone(),
        proposed: proposal.map(|proposal| proposal.severity.colour().1.to_owned()),
        proposed_by: proposal.map(|proposal| proposal.with.clone()).unwrap_or_default(),
        rung: standing.rung,
        coverage: Rung::ALL
            .map(|rung| (rung.name().to_owned(), standing.rung >= Some(rung)))
            .into_iter()
            .collect(),
        blind: standing.blind,
        weakest: if standing.unspecified { Some(unspecified()) } else { weakest },
        place_datum: point.place.as_ref().map(|place| place.datum.clone()),
        place_note,
    };
    Feature { kind: "Feature".to_owned(), id: point.code.clone(), geometry, properties }
}
