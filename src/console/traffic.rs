//! The shape of a line's or a device's traffic, and its metrics.
//!
//! In: [`Figures`]. Out: a plain struct for JSON, samples for Prometheus.
//! Invariant: a shape changes only by growing; answer times are absent until something answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::console::metrics::Page;
use crate::gateway::board::Picture;
use crate::poll::stats::Figures;

/// What requests came to since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficView {
    /// Requests that ended.
    pub requests: u64,
    /// Answers with the cells asked for.
    pub replies: u64,
    /// Requests without a reply, by kind; a kind that never came is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultView>,
    /// How long answers took; absent until one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswersView>,
    /// Share of the last minute in which a request was under way, 0 to 1; absent for a device, for a line that is not open
    /// and for the first ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Bytes sent; absent for a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Bytes received; absent for a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
}

/// A kind of fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultView {
    /// `timeout`, `bad-frame`, `line-down` or `exception-N`.
    pub fault: String,
    /// How many.
    pub count: u64,
}

/// Answer times in milliseconds: percentiles at most an eighth too large, the largest exact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswersView {
    /// Median.
    pub ms_p50: f64,
    /// Nine of ten are within this.
    pub ms_p90: f64,
    /// 99 of 100 are within this.
    pub ms_p99: f64,
    /// The slowest.
    pub ms_max: f64,
}

/// A load of less time than this says nothing.
const LOAD_OVER: Duration = Duration::from_secs(10);

impl TrafficView {
    /// The shape of a device's figures.
    pub fn of_device(figures: &Figures) -> Self {
        let fault = |(fault, count)| FaultView { fault, count };
        let times = figures.answers;
        let answers = AnswersView {
            ms_p50: ms(times.p50),
            ms_p90: ms(times.p90),
            ms_p99: ms(times.p99),
            ms_max: ms(times.max),
        };
        Self {
            requests: figures.requests,
            replies: figures.replies,
            faults: figures.by_fault().into_iter().map(fault).collect(),
            answers: (times.count > 0).then_some(answers),
            ..Self::default()
        }
    }

    /// The shape of a line's figures.
    pub fn of_line(figures: &Figures) -> Self {
        Self {
            load: (LOAD_OVER <= figures.load_over).then(|| (figures.load * 1000.0).round() / 1000.0),
            bytes_sent: Some(figures.bytes_sent),
            bytes_received: Some(figures.bytes_received),
            ..Self::of_device(figures)
        }
    }
}

/// To the microsecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Lines' and devices' figures.
pub(crate) fn emit(page: &mut Page, picture: &Picture) {
    let catalog = &picture.shown.catalog;
    let named = catalog.devices.iter().zip(&picture.devices);
    let devices: Vec<(&str, &str, &Figures)> = named
        .filter_map(|(device, status)| {
            let line = catalog.lines.iter().find(|line| Some(line.id) == device.line)?;
            Some((line.name.as_str(), device.name.as_str(), &status.figures))
        })
        .collect();
    let mut family = |name, help, figure: fn(&Figures) -> u64| {
        page.family(name, "counter", help);
        for (line, device, figures) in &devices {
            page.sample(&[("line", line), ("device", device)], figure(figures));
        }
    };
    family("lifeline_requests_total", "Requests that ended, since start.", |figures| figures.requests);
    family("lifeline_replies_total", "Requests answered with the cells asked for, since start.", |figures| {
        figures.replies
    });
    page.family("lifeline_request_faults_total", "counter", "Requests without a reply since start, by kind.");
    for (line, device, figures) in &devices {
        for (fault, count) in figures.by_fault() {
            page.sample(&[("line", line), ("device", device), ("fault", &fault)], count);
        }
    }
    answer_times(page, &devices);
    lines(page, picture);
}

fn answer_times(page: &mut Page, devices: &[(&str, &str, &Figures)]) {
    let name = "lifeline_answer_seconds";
    page.family(name, "summary", "Answer times since start; quantiles at most an eighth too large.");
    for (line, device, figures) in devices {
        let times = figures.answers;
        if times.count > 0 {
            for (quantile, time) in
                [("0.5", times.p50), ("0.9", times.p90), ("0.99", times.p99), ("1", times.max)]
            {
                let labels = [("line", *line), ("device", *device), ("quantile", quantile)];
                page.sample(&labels, time.as_secs_f64());
            }
        }
        page.part("_sum", &[("line", line), ("device", device)], times.sum.as_secs_f64());
        page.part("_count", &[("line", line), ("device", device)], times.count);
    }
}

fn lines(page: &mut Page, picture: &Picture) {
    let lines: Vec<_> = picture.shown.catalog.lines.iter().zip(&picture.traffic).collect();
    page.family(
        "lifeline_line_busy_seconds_total",
        "counter",
        "Time in which a request was under way, since start.",
    );
    for (line, figures) in &lines {
        page.sample(&[("line", &line.name)], figures.busy.as_secs_f64());
    }
    page.family("lifeline_line_load_ratio", "gauge", "Share of the last minute that was busy.");
    for (line, figures) in &lines {
        page.sample(&[("line", &line.name)], figures.load);
    }
    page.family("lifeline_line_sent_bytes_total", "counter", "Bytes sent on the line since start.");
    for (line, figures) in &lines {
        page.sample(&[("line", &line.name)], figures.bytes_sent);
    }
    page.family("lifeline_line_received_bytes_total", "counter", "Bytes received on the line since start.");
    for (line, figures) in &lines {
        page.sample(&[("line", &line.name)], figures.bytes_received);
    }
}
