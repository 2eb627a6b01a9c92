//! How many alarms reach a person, against the figures of ISA-18.2: rates, floods, who talks most, what stands.
//!
//! In: the picture. Out: [`RatesView`].
//! Invariant: counted is what tells a person; drills and hidden alarms are not.
//! Source: ISA-18.2-2016 and EEMUA 191: one alarm in 10 min is acceptable, two are manageable; an alarm that is active for a day is standing.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::alarm::load::{Figures, RATE};
use crate::alarm::{Alarm, Severity};
use crate::clock::Timestamp;
use crate::console::api::json;
use crate::console::state::Console;
use crate::gateway::board::Picture;

/// Active for longer than this is standing.
const STANDING: Duration = Duration::from_secs(86_400);

/// The figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RatesView {
    /// What reached a person.
    #[serde(flatten)]
    pub figures: Figures,
    /// Alarms in 10 min that are acceptable, and at most manageable.
    pub acceptable: f64,
    /// See `acceptable`.
    pub manageable: f64,
    /// Alarms that are active now, without hidden ones and drills.
    pub active: usize,
    /// Those of each severity, blue to red.
    pub by_severity: [usize; 4],
    /// Those that come and go.
    pub chattering: Vec<String>,
    /// Those that have been active for more than a day, the longest first.
    pub standing: Vec<StandingView>,
    /// Open alarms that something hides.
    pub hidden: usize,
}

/// An alarm that stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StandingView {
    /// Since when.
    pub since: String,
    /// Its rule.
    pub rule: String,
    /// Its id.
    pub id: String,
}

impl RatesView {
    /// The figures of `picture`.
    pub fn new(picture: &Picture) -> Self {
        let real = || picture.alarms.values().filter(|alarm| !alarm.marks.drill);
        let seen = || real().filter(|alarm| alarm.hidden().is_none());
        let active = || seen().filter(|alarm| alarm.state.is_active());
        let standing = |alarm: &&Alarm| STANDING <= picture.now.since(alarm.since);
        let of = |severity: Severity| active().filter(|alarm| alarm.severity == severity).count();
        let mut stands: Vec<(Timestamp, &Alarm)> =
            active().filter(standing).map(|alarm| (alarm.since, alarm)).collect();
        stands.sort_by_key(|(since, _)| *since);
        Self {
            figures: picture.load.clone(),
            acceptable: RATE.0,
            manageable: RATE.1,
            active: active().count(),
            by_severity: Severity::ALL.map(of),
            chattering: real()
                .filter(|alarm| alarm.marks.chattering)
                .map(|alarm| alarm.rule.clone())
                .collect(),
            standing: stands
                .into_iter()
                .map(|(since, alarm)| StandingView {
                    since: since.to_string(),
                    rule: alarm.rule.clone(),
                    id: alarm.id.clone(),
                })
                .collect(),
            hidden: real().count() - seen().count(),
        }
    }
}

pub(crate) async fn rates(State(console): State<Arc<Console>>) -> Response {
    json(StatusCode::OK, &RatesView::new(&console.picture()))
}
