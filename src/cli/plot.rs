//! The curve of a backtest as SVG: for each threshold, what is met, what is false, how long before.
//!
//! In: rows of a sweep. Out: an SVG document that needs nothing else.
//! Invariant: the same rows give the same bytes.

use std::fmt::Write;

/// One threshold of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) threshold: f64,
    /// Percent of events met.
    pub(crate) met: f64,
    pub(crate) false_per_month: f64,
    /// Median lead in minutes.
    pub(crate) lead_min: Option<f64>,
}

const WIDTH: f64 = 720.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const GAP: f64 = 40.0;

/// Three panels over the threshold; the chosen one is marked.
pub(crate) fn svg(title: &str, unit: &str, points: &[Point], chosen: Option<f64>) -> String {
    let height = TOP + 3.0 * (PANEL + GAP) + 10.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    // Writing to a string cannot fail.
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>", escape(title));
    let series: [(&str, Vec<(f64, f64)>); 3] = [
        ("events met, %", points.iter().map(|point| (point.threshold, point.met)).collect()),
        (
            "false alarms a month",
            points.iter().map(|point| (point.threshold, point.false_per_month)).collect(),
        ),
        (
            "median lead, min",
            points.iter().filter_map(|point| Some((point.threshold, point.lead_min?))).collect(),
        ),
    ];
    let ends = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), one| (low.min(one), high.max(one)))
    };
    let x = ends(&mut points.iter().map(|point| point.threshold));
    for (index, (name, line)) in (0_u8..).zip(&series) {
        let top = TOP + f64::from(index) * (PANEL + GAP);
        let (low, high) = ends(&mut line.iter().map(|(_, y)| *y).chain([0.0]));
        panel(&mut out, name, line, top, x, (low, if high > low { high } else { low + 1.0 }), chosen);
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">threshold, {}</text>",
        WIDTH - 20.0,
        height - 8.0,
        escape(unit)
    );
    out.push_str("</svg>\n");
    out
}

fn panel(
    out: &mut String,
    name: &str,
    line: &[(f64, f64)],
    top: f64,
    (left, right): (f64, f64),
    (low, high): (f64, f64),
    chosen: Option<f64>,
) {
    let wide = WIDTH - LEFT - 20.0;
    let at_x = |value: f64| LEFT + wide * if right > left { (value - left) / (right - left) } else { 0.5 };
    let at_y = |value: f64| top + PANEL * (1.0 - (value - low) / (high - low));
    let _ = writeln!(
        out,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{wide}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#999\"/><text x=\"{LEFT}\" y=\"{:.1}\">{name}</text>",
        top - 5.0
    );
    for (value, y) in [(low, at_y(low)), (high, at_y(high))] {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 5.0,
            y + 4.0,
            short(value)
        );
    }
    for value in [left, right] {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            at_x(value),
            top + PANEL + 15.0,
            short(value)
        );
    }
    if let Some(chosen) = chosen {
        let x = at_x(chosen);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{}\" stroke=\"#d60\" stroke-dasharray=\"4\"/>",
            top + PANEL
        );
    }
    let path: Vec<String> = line.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"1.5\"/>",
        path.join(" ")
    );
}

/// A number with as many digits as a person reads.
pub(crate) fn short(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_well_formed_and_escaped() {
        let point = |threshold: f64| Point {
            threshold,
            met: 100.0 - threshold,
            false_per_month: 0.0,
            lead_min: None,
        };
        let text = svg("a < b & c", "mm", &[point(1.0), point(2.0)], Some(2.0));
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
        assert!(text.contains("a &lt; b &amp; c") && !text.contains("NaN") && !text.contains("inf"));
        assert_eq!(text.matches("<polyline").count(), 3);
        assert_eq!([0.5, 12.0, 1234.5, -0.0].map(short), ["0.5", "12", "1234", "-0"]);
    }
}
