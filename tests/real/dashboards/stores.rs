//! Asks the stores as Grafana's data sources do; their answers become rows of one shape.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dashboards::grafana::{RATE_MS, Range, TOLD_MS, Target};
use crate::server::get;

/// One number of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The column of an answer with several, otherwise the target's name.
    pub(crate) column: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) span: Span,
    pub(crate) value: f64,
}

/// The time that a number tells of: after `after`, up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) after: i64,
    pub(crate) to: i64,
    /// The range's first moment, where the answer is one of buckets with edges at multiples of [`TOLD_MS`].
    pub(crate) buckets: Option<i64>,
}

/// What a target gives; `query` has everything expanded.
pub(crate) fn ask(set: &str, port: u16, target: &Target, query: &str, range: Range) -> Vec<Row> {
    match (set, target.instant) {
        ("promql", true) => instant(port, &target.name, query, range),
        ("promql", false) => over_time(port, &target.name, query, range),
        _ => influx(port, &target.name, query, range),
    }
}

/// The values that a variable offers.
pub(crate) fn values(set: &str, port: u16, query: &str, range: Range) -> Vec<String> {
    if set == "promql" {
        let inner = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (metric, label) = inner.rsplit_once(", ").unwrap();
        let Range { from, to } = range;
        let path = format!(
            "/api/v1/label/{label}/values?match[]={}&start={}&end={}",
            encoded(metric),
            seconds(from),
            seconds(to)
        );
        let answer: Value = serde_json::from_str(&get(port, &path)).unwrap();
        return answer["data"].as_array().unwrap().iter().map(text).collect();
    }
    let answer = influx_answer(port, query);
    let series = answer["results"][0]["series"].as_array().unwrap();
    series.iter().flat_map(|series| series["values"].as_array().unwrap()).map(|row| text(&row[1])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The time of the newest reading of the journal's size, which is told with everything else.
pub(crate) fn newest(set: &str, port: u16, now: i64) -> Option<i64> {
    newest_of_each(set, port, now).first().copied()
}

/// The same of each gateway.
pub(crate) fn newest_of_each(set: &str, port: u16, now: i64) -> Vec<i64> {
    if set == "promql" {
        get(port, "/internal/force_flush");
        let answer = promql(port, "query", "timestamp(journal_health_value{point=\"bytes\"})", &at(now));
        let rows = answer["data"]["result"].as_array().unwrap().iter();
        // Whole seconds are enough, rounded down by cutting the text.
        return rows
            .map(|row| text(&row["value"][1]).split('.').next().unwrap().parse::<i64>().unwrap() * 1000)
            .collect();
    }
    let query = "SELECT last(\"value\") FROM \"journal_health\" WHERE \"point\" = 'bytes' GROUP BY \"site\"";
    let answer = influx_answer(port, query);
    let series = answer["results"][0]["series"].as_array().into_iter().flatten();
    series.map(|series| series["values"][0][0].as_i64().unwrap()).collect()
}

fn at(ms: i64) -> String {
    format!("time={}", seconds(ms))
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

fn promql(port: u16, api: &str, query: &str, when: &str) -> Value {
    let path = format!("/api/v1/{api}?query={}&{when}&nocache=1", encoded(query));
    serde_json::from_str(&get(port, &path)).unwrap()
}

fn labels(metric: &Value) -> BTreeMap<String, String> {
    metric.as_object().unwrap().iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

pub(crate) fn instant(port: u16, column: &str, query: &str, range: Range) -> Vec<Row> {
    let answer = promql(port, "query", query, &at(range.to));
    let span = Span { after: range.from - 1, to: range.to, buckets: None };
    let row = |result: &Value| Row {
        column: column.to_owned(),
        labels: labels(&result["metric"]),
        span,
        value: text(&result["value"][1]).parse().unwrap(),
    };
    answer["data"]["result"].as_array().unwrap().iter().map(row).collect()
}

fn over_time(port: u16, column: &str, query: &str, range: Range) -> Vec<Row> {
    // Grafana rounds both ends to whole steps.
    let whole = |ms: i64| ms.div_euclid(TOLD_MS) * TOLD_MS;
    let when =
        format!("start={}&end={}&step={}ms", seconds(whole(range.from)), seconds(whole(range.to)), TOLD_MS);
    let window = if query.contains(&format!("[{RATE_MS}ms]")) { RATE_MS } else { TOLD_MS };
    let answer = promql(port, "query_range", query, &when);
    let mut rows = Vec::new();
    for result in answer["data"]["result"].as_array().unwrap() {
        for pair in result["values"].as_array().unwrap() {
            let to = pair[0].as_i64().unwrap() * 1000;
            rows.push(Row {
                column: column.to_owned(),
                labels: labels(&result["metric"]),
                span: Span { after: to - window, to, buckets: None },
                value: text(&pair[1]).parse().unwrap(),
            });
        }
    }
    rows
}

fn influx_answer(port: u16, query: &str) -> Value {
    let text = get(port, &format!("/query?db=telemetry&epoch=ms&q={}", encoded(query)));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert!(
        answer["results"][0].get("error").is_none() && answer.get("error").is_none(),
        "{query}: {answer}"
    );
    answer
}

fn influx(port: u16, target: &str, query: &str, range: Range) -> Vec<Row> {
    let answer = influx_answer(port, query);
    let buckets = query.contains("GROUP BY time(");
    let whole = Span { after: range.from - 1, to: range.to, buckets: None };
    let bucket = |start: i64| Span {
        after: start.max(range.from) - 1,
        to: (start + TOLD_MS - 1).min(range.to),
        buckets: Some(range.from),
    };
    let mut rows = Vec::new();
    for series in answer["results"][0]["series"].as_array().into_iter().flatten() {
        let columns: Vec<String> = series["columns"].as_array().unwrap().iter().map(text).collect();
        let tags = series.get("tags").map(labels).unwrap_or_default();
        for values in series["values"].as_array().unwrap() {
            let span = if buckets { bucket(values[0].as_i64().unwrap()) } else { whole };
            for (index, name) in columns.iter().enumerate().skip(1) {
                let Some(value) = values[index].as_f64() else { continue };
                let column = if columns.len() > 2 { name } else { target };
                rows.push(Row { column: column.to_owned(), labels: tags.clone(), span, value });
            }
        }
    }
    rows
}

/// Percent-encoded, all but letters and digits.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
