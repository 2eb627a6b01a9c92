//! Recordings that are too coarse for a rule: between any two of their readings lies more than the rule's `max_gap`, so its delays never end.
//!
//! In: rules and recorded readings. Out: sentences. Invariant: none for a rule without delays.
//! Source: a gap longer than `max_gap` starts on- and off-delays anew (DESIGN section 7).

use std::io::Write;
use std::time::Duration;

use crate::alarm::{Condition, Level, Rule};
use crate::cli::recorded::Readings;
use crate::clock::Timestamp;
use crate::point::{Catalog, PointId};

/// Tells, once for each rule, that its delays cannot end on this recording.
pub(crate) fn warn(rules: &[Rule], readings: &Readings, catalog: &Catalog) -> std::io::Result<()> {
    let mut told = std::io::stderr();
    for text in coarse(rules, readings, catalog) {
        writeln!(told, "warning: {text}")?;
    }
    Ok(())
}

fn coarse(rules: &[Rule], readings: &Readings, catalog: &Catalog) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for rule in rules {
        let (levels, max_gap): (&[Level], Duration) = match &rule.condition {
            Condition::Threshold { levels, max_gap, .. } => (levels, *max_gap),
            Condition::Measured { .. } | Condition::Stale { .. } => continue,
        };
        let delayed = levels.iter().any(|level| !level.on_delay.is_zero());
        let apart = usual(readings, rule.point).filter(|apart| delayed && *apart > max_gap);
        let Some(apart) = apart else { continue };
        let point = catalog.point(rule.point).map_or("", |point| &point.name);
        let name = rule.name.split('@').next().unwrap_or_default();
        let text = format!(
            "{name}: the readings of {point} come every {apart:?} here, and its max_gap is {max_gap:?}: each one starts its delays anew, so it can \
             raise nothing; give the rule a max_gap of that recording, or record finer"
        );
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// The median time between two numbers of a point.
fn usual(readings: &Readings, point: PointId) -> Option<Duration> {
    let of_point = |(_, batch): &(Timestamp, Vec<crate::reading::Reading>)| {
        let mut own =
            batch.iter().filter(|reading| reading.point == point && reading.sample.value().is_some());
        own.next().map(|reading| reading.at)
    };
    let times: Vec<Timestamp> = readings.iter().filter_map(of_point).collect();
    let mut gaps: Vec<Duration> =
        times.windows(2).filter_map(|pair| Some(pair.last()?.since(*pair.first()?))).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::guide::{Bonds, Guide};
    use crate::alarm::{Direction, Kind, RuleId, Severity};
    use crate::reading::{Reading, Sample};

    #[test]
    fn a_recording_coarser_than_the_gap_is_told_of() {
        let secs = Duration::from_secs;
        let rule = |on_delay| {
            let level = Level { severity: Severity::Red, threshold: 3.0, on_delay, off_delay: secs(0) };
            let condition = Condition::Threshold {
                direction: Direction::Above,
                levels: vec![level],
                deadband: 0.0,
                max_gap: secs(3),
            };
            Rule {
                id: RuleId(0),
                name: "high@3".to_owned(),
                version: String::new(),
                point: PointId(0),
                kind: Kind::Process,
                condition,
                advice: String::new(),
                basis: String::new(),
                latched: false,
                guide: Guide::default(),
                bonds: Bonds::default(),
            }
        };
        let readings = |step: i64| -> Readings {
            let at = |nth: i64| Timestamp::from_millis(nth * step * 1000);
            let reading = |nth| Reading { point: PointId(0), at: at(nth), sample: Sample::Good(3.5) };
            (0..10).map(|nth| (at(nth), vec![reading(nth)])).collect()
        };
        let catalog = Catalog::default();
        let found = coarse(&[rule(secs(3)), rule(secs(3))], &readings(10), &catalog);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("high: the readings of ") && found[0].contains("every 10s"),
            "{found:?}"
        );
        assert!(coarse(&[rule(secs(3))], &readings(3), &catalog).is_empty(), "as fine as the polls");
        assert!(coarse(&[rule(secs(0))], &readings(10), &catalog).is_empty(), "nothing is delayed");
    }
}
