//! What the gateway itself says: its journal, `coverage`, `alarms` and `status`.

use std::collections::BTreeMap;

use lifeline_gateway::alarm::Transition;
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::forward::line_protocol;
use lifeline_gateway::forward::sink::told;
use lifeline_gateway::journal::Reader;
use lifeline_gateway::point::{Catalog, Point};
use lifeline_gateway::reading::{Quality, Sample};
use serde_json::Value;

use crate::dashboards::grafana::{Chosen, TOLD_MS};
use crate::dashboards::stores::Span;

/// Everything, at one time.
pub(crate) struct Truth {
    pub(crate) series: Vec<Series>,
    /// Each transition with its time in the stores.
    pub(crate) transitions: Vec<(i64, Transition)>,
    pub(crate) said: Said,
}

/// What the commands answer, and `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// `coverage --json`, the risk points alone, and the row of the whole site.
    pub(crate) points: Vec<Value>,
    pub(crate) whole: Value,
    /// `alarms --json`.
    pub(crate) alarms: Vec<Value>,
    /// `status --json`.
    pub(crate) status: Value,
    pub(crate) metrics: String,
}

/// A point's readings in the journal, under the names that a store knows it by.
pub(crate) struct Series {
    pub(crate) class: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Times in ms, oldest first.
    readings: Vec<(i64, Sample)>,
}

/// What becomes of a point's readings in a span.
#[derive(Clone, Copy)]
pub(crate) enum Reduce {
    Latest,
    Mean,
    Lowest,
    Highest,
    /// What a count grows by in a minute.
    PerMinute,
}

/// What becomes of several points under one name.
#[derive(Clone, Copy)]
pub(crate) enum Join {
    /// There is one alone.
    One,
    Sum,
}

/// Numbers by the labels named.
#[derive(Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) by: Vec<&'static str>,
    pub(crate) numbers: BTreeMap<Vec<String>, f64>,
}

/// A question about one column of a panel.
pub(crate) struct Question<'a> {
    pub(crate) column: &'a str,
    pub(crate) span: Span,
    pub(crate) chosen: &'a Chosen,
}

impl Question<'_> {
    /// Whether a person's choice of the variable `name` takes `value`.
    pub(crate) fn takes(&self, name: &str, value: &str) -> bool {
        self.chosen.get(name).is_none_or(|chosen| chosen.contains(&value))
    }
}

impl Truth {
    /// Reads the journal up to `to`.
    pub(crate) fn new(journal: &std::path::Path, to: i64, said: Said) -> Self {
        let reader = Reader::open(journal).unwrap();
        let mut found: BTreeMap<String, Series> = BTreeMap::new();
        let end = Timestamp::from_millis(to + 1);
        reader
            .history(&[], Timestamp::from_millis(0), end, &mut |catalog, reading| {
                let point = catalog.point(reading.point).unwrap();
                let series = found.entry(point.name.clone()).or_insert_with(|| series(catalog, point));
                series.readings.push((reading.at.as_millis(), reading.sample.clone()));
                true
            })
            .unwrap();
        let transitions = told(reader.transitions(0, 10_000).unwrap());
        let transitions = transitions.into_iter().map(|told| (told.at.as_millis(), told.transition));
        let transitions = transitions.filter(|(at, _)| *at <= to).collect();
        Self { series: found.into_values().collect(), transitions, said }
    }

    /// The points of a class whose short names are these, as far as `chosen` goes.
    pub(crate) fn told<'a>(
        &'a self,
        class: &'a str,
        points: &'a [&'a str],
        chosen: impl Fn(&Series) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Series> {
        let named = move |series: &&Series| series.class == class && points.contains(&series.label("point"));
        self.series.iter().filter(named).filter(move |series| chosen(series))
    }
}

fn series(catalog: &Catalog, point: &Point) -> Series {
    let device = catalog.device(point.device).unwrap();
    let unit = point.unit.map_or("", |unit| unit.name());
    let own =
        [("device", device.name.as_str()), ("point", &point.short), ("unit", unit), ("site", &catalog.site)];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let place = device.risk_point.iter().map(|code| ("risk_point".to_owned(), code.clone()));
    let tags = device.tags.iter().chain(&point.tags).map(|(key, value)| (key.clone(), value.clone()));
    Series {
        class: device.class.clone(),
        labels: own.chain(place).chain(tags).collect(),
        readings: Vec::new(),
    }
}

impl Series {
    /// Empty when there is none.
    pub(crate) fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    /// Quality and the number of its reason, of the latest reading.
    pub(crate) fn quality(&self, span: Span) -> Option<(Quality, Option<u16>)> {
        let (_, sample) = self.readings.iter().rfind(|(at, _)| *at <= span.to)?;
        let reason = if let Sample::Bad(reason) = sample { Some(reason.code()) } else { None };
        Some((sample.quality(), reason))
    }

    fn numbers(&self, after: i64, to: i64) -> impl DoubleEndedIterator<Item = (i64, f64)> {
        let within = self.readings.iter().filter(move |(at, _)| after < *at && *at <= to);
        within.filter_map(|(at, sample)| Some((*at, sample.value()?)))
    }

    pub(crate) fn reduced(&self, reduce: Reduce, span: Span) -> Option<f64> {
        let Span { after, to, .. } = span;
        let within = || self.numbers(after, to).map(|(_, value)| value);
        match reduce {
            Reduce::Latest => Some(self.numbers(i64::MIN, to).next_back()?.1),
            Reduce::Lowest => within().reduce(f64::min),
            Reduce::Highest => within().reduce(f64::max),
            Reduce::Mean => {
                let (count, sum) =
                    within().fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
                (count > 0).then(|| sum / f64::from(count))
            }
            Reduce::PerMinute => self.per_minute(span),
        }
    }

    fn per_minute(&self, span: Span) -> Option<f64> {
        let last = self.numbers(span.after, span.to).next_back()?;
        let (was, spent) = match span.buckets {
            // From the last number before the span, or the first one in it.
            None => {
                let before = self.numbers(i64::MIN, span.after).next_back();
                let first = before.or_else(|| self.numbers(span.after, span.to).next())?;
                (first.1, last.0 - first.0)
            }
            // From bucket to bucket, by their edges.
            Some(first) => {
                let edge = |at: i64| at.div_euclid(TOLD_MS) * TOLD_MS;
                let before = self.numbers(first - 1, edge(last.0) - 1).next_back()?;
                (before.1, edge(last.0) - edge(before.0))
            }
        };
        let spent = f64::from(i32::try_from(spent).unwrap());
        (spent > 0.0 && last.1 >= was).then(|| (last.1 - was) / spent * 60_000.0)
    }
}

/// The numbers of `series` by these labels.
pub(crate) fn by<'a>(
    by: &[&'static str],
    series: impl Iterator<Item = &'a Series>,
    span: Span,
    (reduce, join): (Reduce, Join),
) -> Expected {
    let mut numbers: BTreeMap<Vec<String>, f64> = BTreeMap::new();
    for series in series {
        let Some(number) = series.reduced(reduce, span) else { continue };
        let key = by.iter().map(|label| series.label(label).to_owned()).collect();
        let sum = numbers.get(&key).map(|sum| sum + number);
        assert!(sum.is_none() || matches!(join, Join::Sum), "two of {key:?}");
        numbers.insert(key, sum.unwrap_or(number));
    }
    Expected { by: by.to_vec(), numbers }
}

/// One number without a name.
pub(crate) fn one(number: f64) -> Expected {
    Expected { by: Vec::new(), numbers: BTreeMap::from([(Vec::new(), number)]) }
}

/// The severity of a transition as stores have it.
pub(crate) fn severity(transition: &Transition) -> f64 {
    use lifeline_gateway::alarm::{Base, Severity};
    let alarm = &transition.alarm;
    if alarm.state == Base::Normal {
        return 0.0;
    }
    match alarm.severity {
        Severity::Blue => 1.0,
        Severity::Yellow => 2.0,
        Severity::Orange => 3.0,
        Severity::Red => 4.0,
    }
}

/// A state's number by its name in `alarms --json`.
pub(crate) fn state(name: &Value) -> f64 {
    let base = serde_json::from_value(name.clone()).unwrap();
    f64::from(line_protocol::state(base))
}
