//! JSON bodies and topics of MQTT messages.
//!
//! In: a parcel and the broker's largest message. Out: messages in order, each no larger than that.
//! Invariant: what no split can make small enough is named as refused; nothing is left out silently.
//! Source: DESIGN sections 8 and 9.

use serde::Serialize;

use crate::alarm::tell::{OverlayView, Tell};
use crate::alarm::{Base, Change, Severity};
use crate::forward::line_protocol::kind;
use crate::forward::shape::{Field, Topics, of_device};
use crate::forward::sink::{Parcel, Refused, Told};
use crate::journal::Stored;
use crate::point::Catalog;
use crate::reading::{Batch, Reading, Reason, Sample};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub topic: String,
    /// JSON.
    pub payload: String,
    /// The broker keeps it as the topic's state.
    pub retain: bool,
    /// Readings or transitions in it.
    pub records: u64,
}

impl Message {
    /// Bytes of its PUBLISH packet at QoS 1 at most: fixed header 5, topic and its length, packet id 2, no properties 1.
    pub fn size(&self) -> usize {
        self.topic.len().saturating_add(self.payload.len()).saturating_add(5 + 2 + 2 + 1)
    }
}

/// One level of a topic: what is not `[A-Za-z0-9_-]` is `_`.
pub fn level(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    name.chars().map(plain).collect()
}

/// Topic of the gateway's own presence.
pub fn status_topic(site: &str) -> String {
    format!("lifeline/{}/status", level(site))
}

/// The messages of a parcel, and what does not fit into `limit` bytes.
pub fn messages(parcel: &Parcel, site: &str, topics: &Topics, limit: usize) -> (Vec<Message>, Vec<Refused>) {
    let mut sheet = Sheet { site, topics, limit, messages: Vec::new(), refused: Vec::new() };
    match parcel {
        Parcel::Alarms(alarms) => alarms.iter().for_each(|told| sheet.alarm(told)),
        Parcel::Readings { late, groups } => {
            for group in groups {
                group.batches.iter().for_each(|batch| sheet.batch(group, batch, *late));
            }
        }
        Parcel::Unjournaled { alarms, group } => {
            alarms.iter().for_each(|told| sheet.alarm(told));
            group.batches.iter().for_each(|batch| sheet.batch(group, batch, false));
        }
    }
    (sheet.messages, sheet.refused)
}

struct Sheet<'a> {
    site: &'a str,
    topics: &'a Topics,
    limit: usize,
    messages: Vec<Message>,
    refused: Vec<Refused>,
}

impl Sheet<'_> {
    fn alarm(&mut self, told: &Told) {
        let alarm = &told.transition.alarm;
        let topic = self.topics.alarm.fill_topic(|field| match field {
            Field::Site => self.site,
            Field::Rule => &alarm.rule,
            Field::RiskPoint => alarm.risk_point.as_deref().unwrap_or_default(),
            Field::Town => alarm.town.as_deref().unwrap_or_default(),
            Field::Device | Field::Class | Field::Lane => "",
        });
        let message = Message { topic, payload: json(&alarm_view(told)), retain: true, records: 1 };
        if let Err(message) = self.put(message) {
            self.refuse(&message);
        }
    }

    fn batch(&mut self, group: &Stored, batch: &Batch, late: bool) {
        let device = group.catalog.device(batch.device);
        let lane = if late { "backlog" } else { "reading" };
        let topic = self.topics.reading.fill_topic(|field| match field {
            Field::Site => self.site,
            Field::Lane => lane,
            field => of_device(field, &group.catalog, device),
        });
        let mut parts = vec![batch.readings.as_slice()];
        while let Some(part) = parts.pop() {
            let views: Vec<_> =
                part.iter().filter_map(|reading| reading_view(reading, &group.catalog)).collect();
            let nameless = u64::try_from(part.len().saturating_sub(views.len())).unwrap_or(u64::MAX);
            let (seq, unjournaled) = numbered(group.seq.0);
            let time = batch.end.to_string();
            let view = BatchView { seq, unjournaled, time, readings: views };
            let records = u64::try_from(part.len()).unwrap_or(u64::MAX).saturating_sub(nameless);
            let message = Message { topic: topic.clone(), payload: json(&view), retain: false, records };
            match self.put(message) {
                Ok(()) => {}
                Err(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    continue;
                }
                Err(message) => self.refuse(&message),
            }
            if nameless > 0 {
                self.refused.push(Refused::new(nameless, &topic, "the catalog does not name the point"));
            }
        }
    }

    fn put(&mut self, message: Message) -> Result<(), Message> {
        if message.size() > self.limit {
            return Err(message);
        }
        if message.records > 0 {
            self.messages.push(message);
        }
        Ok(())
    }

    fn refuse(&mut self, message: &Message) {
        let why = format!("{} bytes, the broker takes {}", message.size(), self.limit);
        self.refused.push(Refused::message(message.records, &message.topic, &message.payload, &why));
    }
}

fn json(view: &impl Serialize) -> String {
    serde_json::to_string(view).expect("views hold strings and finite numbers only")
}

/// The number of what is in the journal; without one it is not there yet, and is marked.
const fn numbered(seq: u64) -> (Option<u64>, bool) {
    if seq == 0 { (None, true) } else { (Some(seq), false) }
}

#[derive(Serialize)]
struct BatchView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unjournaled: bool,
    time: String,
    readings: Vec<ReadingView<'a>>,
}

#[derive(Serialize)]
struct ReadingView<'a> {
    time: String,
    point: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    quality: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct AlarmView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unjournaled: bool,
    id: &'a str,
    kind: &'static str,
    rule: &'a str,
    rule_version: &'a str,
    point: &'a str,
    risk_point: Option<&'a str>,
    town: Option<&'a str>,
    severity: Severity,
    state: Base,
    #[serde(flatten)]
    overlay: OverlayView,
    unverified: bool,
    since: String,
    value: Option<f64>,
    threshold: Option<f64>,
    unit: Option<&'a str>,
    advice: &'a str,
    change: Change,
    at: String,
    by: Option<&'a str>,
    note: Option<&'a str>,
    notify: bool,
    #[serde(flatten)]
    tell: Tell,
}

fn reading_view<'a>(reading: &Reading, catalog: &'a Catalog) -> Option<ReadingView<'a>> {
    let point = catalog.point(reading.point)?;
    let reason = match &reading.sample {
        Sample::Good(_) => None,
        Sample::Uncertain(_, doubt) => Some(doubt.name().to_owned()),
        Sample::Bad(Reason::Input(id)) => {
            Some(format!("input: {}", catalog.point(*id).map_or("", |input| &input.name)))
        }
        Sample::Bad(reason) => Some(reason.to_string()),
    };
    Some(ReadingView {
        time: reading.at.to_string(),
        point: &point.name,
        value: reading.sample.value().and_then(finite),
        unit: point.unit.map(|unit| unit.name()),
        quality: reading.sample.quality().name(),
        reason,
    })
}

fn alarm_view(told: &Told) -> AlarmView<'_> {
    let transition = &told.transition;
    let alarm = &transition.alarm;
    let (seq, unjournaled) = numbered(told.number);
    AlarmView {
        seq,
        unjournaled,
        id: &alarm.id,
        kind: kind(alarm.kind),
        rule: &alarm.rule,
        rule_version: &alarm.rule_version,
        point: &alarm.point,
        risk_point: alarm.risk_point.as_deref(),
        town: alarm.town.as_deref(),
        severity: alarm.severity,
        state: alarm.state,
        overlay: OverlayView::of(alarm),
        unverified: alarm.unverified,
        since: alarm.since.to_string(),
        value: alarm.value.and_then(finite),
        threshold: alarm.threshold.and_then(finite),
        unit: alarm.unit.as_deref(),
        advice: &alarm.advice,
        change: transition.change,
        at: transition.at.to_string(),
        by: transition.by.as_deref(),
        note: transition.note.as_deref(),
        notify: transition.notifies(),
        tell: Tell::new(alarm),
    }
}

/// -0 is 0; not a number is no value.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value + 0.0)
}

#[cfg(test)]
mod tests;
