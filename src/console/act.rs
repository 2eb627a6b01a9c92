//! What persons do to alarms and rules over HTTP, beside acknowledging: shelve, take out of service, raise by hand, reset, drill.
//!
//! In: `POST /api/v1/alarms/{alarm or rule}/{act}` with an [`ActView`]. Out: an act for the core, answered once it is committed.
//! Invariant: an act is answered with 200 only when the core says that it is done; a reason is never empty.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::oneshot;

use crate::alarm::desk::Act;
use crate::alarm::lifecycle::Refusal;
use crate::alarm::overlay::{Overlay, Permit};
use crate::alarm::{Alarm, Base};
use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::console::api::{CORE_MAX, NAME_MAX, NOTE_MAX, Refused, json, parse, refuse, text};
use crate::console::now;
use crate::console::state::Console;
use crate::console::view::{ActView, AlarmView, HiddenView, RefusalView, RuleView};
use crate::console::window::{nearest, placed};
use crate::gateway::board::{Command, Picture};
use crate::gateway::core::Event;
use crate::point::Device;

/// Long names are no names of ours.
const TARGET_MAX: usize = 200;

/// Rules over which something lies, whether they have an alarm or not.
pub(crate) async fn overlays(State(console): State<Arc<Console>>) -> Response {
    let rules = console.look(|picture| picture.overlays.clone());
    let views: Vec<RuleView> = rules.iter().map(|(rule, overlay)| RuleView::new(rule, overlay)).collect();
    json(StatusCode::OK, &views)
}

pub(crate) async fn act(
    State(console): State<Arc<Console>>,
    Path((target, what)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let checked = parse::<ActView>(body).and_then(|view| {
        let by = text("by", &view.by, NAME_MAX)?;
        let note = view.reason.as_deref().filter(|reason| !reason.trim().is_empty());
        let note = note.map(|note| text("reason", note, NOTE_MAX)).transpose()?;
        let act = wanted(&what, &view, &console.board.shown().timezone)?;
        let reasoned =
            matches!(act, Act::Shelve { .. } | Act::Lift { .. } | Act::Drill { .. } | Act::Maintain { .. });
        if reasoned && note.is_none() {
            return Err(wrong(format!("{what} needs a reason")));
        }
        Ok(Event::Act { target: target.clone(), act, by, note })
    });
    match checked {
        Ok(event) => send(&console, &target, event).await,
        Err(Refused(status, why)) => refuse(status, why),
    }
}

fn wrong(why: impl Into<String>) -> Refused {
    Refused(StatusCode::UNPROCESSABLE_ENTITY, why.into())
}

/// The act that `what` and its keys mean.
fn wanted(what: &str, view: &ActView, timezone: &str) -> Result<Act, Refused> {
    let span = || {
        let seconds = view.seconds.filter(|seconds| *seconds > 0);
        seconds.map(Duration::from_secs).ok_or_else(|| wrong(format!("{what} needs `seconds`, how long")))
    };
    let severity = || view.severity.ok_or_else(|| wrong(format!("{what} needs a severity")));
    let time = |key: &str, given: &str| {
        Timestamp::parse(given)
            .map_err(|_| wrong(format!("{key} is no time, such as 2026-11-23T18:00:00 (of the site's zone) or 2026-11-23T18:00:00+08:00")))
    };
    let named = |key: &str, given: &Option<String>| match given {
        Some(given) => text(key, given, NAME_MAX),
        None => Err(wrong(format!("{what} needs `{key}`"))),
    };
    let substitute =
        || view.substitute.as_deref().map(|given| text("substitute", given, NOTE_MAX)).transpose();
    Ok(match what {
        "reset" => Act::Reset,
        "shelve" => Act::Shelve { seen: view.severity, span: span()? },
        "unshelve" => Act::Unshelve,
        "out-of-service" => Act::TakeOut {
            number: named("permit", &view.permit)?,
            from: view.from.as_deref().map(|from| time("from", &placed(from, timezone))).transpose()?,
            to: time("to", &placed(&named("to", &view.to)?, timezone))?,
            responsible: named("responsible", &view.responsible)?,
            substitute: substitute()?,
        },
        "return" => Act::PutBack,
        "raise" => Act::Lift { severity: severity()?, span: span()? },
        "drill" => Act::Drill { severity: severity()?, span: span()? },
        "maintenance" => Act::Maintain {
            span: span()?,
            role: named("responsible", &view.responsible)?,
            substitute: substitute()?,
        },
        "maintained" => Act::Maintained,
        _ => {
            let why = format!(
                "there is no act `{what}`: ack, reset, shelve, unshelve, out-of-service, return, raise, drill, maintenance, maintained"
            );
            return Err(Refused(StatusCode::NOT_FOUND, why));
        }
    })
}

/// Gives `event` to the core and waits until it is on disk. The answer is the alarm as it is then, or what lies over the rule.
pub(crate) async fn send(console: &Console, target: &str, event: Event) -> Response {
    // What is done by a drill is an alarm of the drill's own.
    let drill = matches!(event, Event::Act { act: Act::Drill { .. }, .. }).then(|| format!("{target}.drill"));
    let drilled = || {
        let rule = drill.as_ref()?;
        console.look(|picture| picture.alarms.values().find(|alarm| alarm.rule == *rule).cloned())
    };
    let alarm = || {
        let mine = |picture: &crate::gateway::board::Picture| {
            let by_id = picture.alarms.get(target);
            by_id.or_else(|| picture.alarms.values().find(|alarm| alarm.rule == target)).cloned()
        };
        console.look(mine)
    };
    let device = |device: &Device| device.name == target && device.line.is_some();
    let shown = console.board.shown();
    let rule = shown.rules.iter().any(|rule| rule.name == target) || shown.catalog.devices.iter().any(device);
    let before = if target.len() > TARGET_MAX { None } else { alarm() };
    if before.is_none() && !rule {
        let shown: String = target.chars().take(TARGET_MAX).collect();
        let error = format!("no open alarm has the id {shown}, and no rule or device this name");
        return json(StatusCode::NOT_FOUND, &RefusalView { error, nearest: near(console, &shown) });
    }
    let (answer, answered) = oneshot::channel();
    if console.board.commands.try_send(Command { event, answer }).is_err() {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway takes no commands now; nothing was changed",
        );
    }
    match tokio::time::timeout(CORE_MAX, answered).await {
        // An alarm that is not there any more is over.
        Ok(Ok(None)) => {
            match drilled().or_else(alarm).or(before.map(|alarm| Alarm { state: Base::Normal, ..alarm })) {
                Some(alarm) => {
                    let now = console.look(now::now).remove(&alarm.id);
                    json(StatusCode::OK, &AlarmView::new(&alarm).with(now))
                }
                None => json(StatusCode::OK, &console.look(|picture| lies_over(picture, target))),
            }
        }
        Ok(Ok(Some(refused))) => {
            let zone = Zone::named(&shown.timezone);
            refuse(StatusCode::CONFLICT, remedy(&refused, alarm().as_ref(), &zone))
        }
        Ok(Err(_)) | Err(_) => {
            let error = "the gateway did not confirm it; look at the alarm's state before you try again";
            refuse(StatusCode::GATEWAY_TIMEOUT, error)
        }
    }
}

/// What lies over a rule without an alarm, or over the rules of a sensor in maintenance.
fn lies_over(picture: &Picture, target: &str) -> RuleView {
    let of = |overlay: &&Overlay| overlay.permit.as_ref().and_then(Permit::maintained) == Some(target);
    let overlay = picture.overlays.get(target).or_else(|| picture.overlays.values().find(of)).cloned();
    RuleView { hides: hidden(picture, target), ..RuleView::new(target, &overlay.unwrap_or_default()) }
}

/// The open alarms that the maintenance of `sensor` hides, worst first.
fn hidden(picture: &Picture, sensor: &str) -> Vec<HiddenView> {
    let of = |alarm: &&Alarm| alarm.overlay.permit.as_ref().and_then(Permit::maintained) == Some(sensor);
    let mut open: Vec<&Alarm> = picture.alarms.values().filter(of).collect();
    open.sort_by_key(|alarm| (!alarm.state.is_active(), Reverse(alarm.severity), &alarm.rule));
    open.into_iter().map(HiddenView::new).collect()
}

/// The rule or device that `name` was probably meant to be.
fn near(console: &Console, name: &str) -> Option<String> {
    let site = console.board.shown();
    let rules = site.rules.iter().map(|rule| rule.name.as_str());
    let devices = site.catalog.devices.iter().filter(|device| device.line.is_some());
    nearest(name, rules.chain(devices.map(|device| device.name.as_str()))).map(str::to_owned)
}

/// A refusal with what a person can do about it, and what the alarm is now.
fn remedy(refused: &str, alarm: Option<&Alarm>, zone: &Zone) -> String {
    let is = |refusal: Refusal| refused == refusal.to_string();
    let more = match alarm {
        Some(alarm) if is(Refusal::Changed) => {
            let severity = format!("{:?}", alarm.severity).to_lowercase();
            format!(": {} is {severity} now; look at it again, then say that severity", alarm.rule)
        }
        Some(Alarm { acknowledged: Some((by, at)), .. }) if is(Refusal::AlreadyAcknowledged) => {
            format!(" by {by} at {}", zone.tell(*at))
        }
        _ if is(Refusal::RedStays) => "; a permit takes its rule out of service (out-of-service)".to_owned(),
        _ if is(Refusal::StillActive) => "; it can be reset once its condition is gone".to_owned(),
        _ if is(Refusal::NoSuchAlarm) => "; the list of alarms has the ids".to_owned(),
        _ if is(Refusal::NotShelved) || is(Refusal::InService) => ": nothing had to be done".to_owned(),
        _ if is(Refusal::NeedsSubstitute) || refused.ends_with(&Refusal::HidesRed.to_string()) => {
            " (`substitute`, on the command line --substitute)".to_owned()
        }
        _ if is(Refusal::UnderPermit) => "; end that one first (return)".to_owned(),
        _ => String::new(),
    };
    format!("{refused}{more}")
}
