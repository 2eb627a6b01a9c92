//! The figures of the district's plan, from counts of [`crate::risk::indicators`].
//!
//! In: rules, risk points, transitions, times above levels. Out: one [`Figure`] each.
//! Invariant: a figure that nothing measures says so and is neither 0 nor good; a target is compared on integers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::alarm::condition::measure::Measure;
use crate::alarm::condition::rain::Counting;
use crate::alarm::{Condition, Level, Rule, Severity, Transition};
use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::point::{self, Catalog, Point};
use crate::reading::{Doubt, Sample};
use crate::risk::RiskPoint;
use crate::risk::coverage::{meets, percent};
use crate::risk::indicators::{
    Above, Entrapment, Entrapments, below_half_percent, hundredths, median_and_longest,
};
use crate::unit::{Unit, rounded};

/// One figure with its definition, its denominator and what was not measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// For programs: `entrapment-rate-a`.
    pub indicator: String,
    /// In Chinese.
    pub chinese: String,
    /// What it is of: the site, a point's code with its name, a sensor's point.
    pub of: String,
    /// The figure; absent when it is not measured.
    pub value: Option<String>,
    /// Its unit.
    pub unit: String,
    /// What is counted.
    pub part: Option<u32>,
    /// Of how many.
    pub whole: Option<u32>,
    /// `< 0.5 %`.
    pub target: Option<String>,
    /// Whether it meets the target.
    pub met: Option<bool>,
    /// The target is of a year, less than a year is known, and it is not failed yet.
    pub too_early: bool,
    /// What was not measured, or not all of the time.
    pub not_measured: Option<String>,
    /// What the figure is.
    pub definition: String,
}

/// What the documents and the log say of lifts.
pub struct Lifts<'a> {
    /// Those that are registered.
    registered: usize,
    /// Those of which a rule sees entrapments.
    measured: u32,
    /// Rules that see entrapments, each with the code of its lift.
    of_rule: BTreeMap<&'a str, &'a str>,
    found: Entrapments,
}

impl<'a> Lifts<'a> {
    /// The lifts of `points`, and the rules that see who is shut in there.
    pub fn new(catalog: &'a Catalog, rules: &'a [Rule], points: &[RiskPoint]) -> Self {
        let mut seeing: BTreeMap<String, Severity> = BTreeMap::new();
        let mut of_rule: BTreeMap<&str, &str> = BTreeMap::new();
        let lifts: Vec<&RiskPoint> = points.iter().filter(|point| point.class == "elevator").collect();
        for rule in rules {
            let Condition::Measured { measured, .. } = &rule.condition else { continue };
            let code = code(catalog, rule).filter(|code| lifts.iter().any(|lift| lift.code == *code));
            let (Measure::Entrapment { .. }, Some(code)) = (&measured.measure, code) else { continue };
            let worst = measured.levels.last().map_or(Severity::Red, |level| level.severity);
            seeing.insert(rule.name.clone(), worst);
            of_rule.insert(&rule.name, code);
        }
        let measured = of_rule.values().collect::<BTreeSet<_>>().len();
        Self { registered: lifts.len(), measured: count(measured), of_rule, found: Entrapments::new(seeing) }
    }

    /// Takes one transition.
    pub fn take(&mut self, transition: &Transition) {
        self.found.take(transition);
    }

    /// Entrapments that began in a time, each with the code of its lift.
    fn events(&self, (from, to): (Timestamp, Timestamp)) -> Vec<(&'a str, &Entrapment)> {
        let events = self.found.within(from, to).into_iter();
        events.filter_map(|one| Some((*self.of_rule.get(one.rule.as_str())?, one))).collect()
    }

    /// 困人率 in both readings. `year`: a whole one is known. More time only adds entrapments, so a target may be failed before, and never met.
    pub fn rates(&self, (from, to): (Timestamp, Timestamp), year: bool) -> [Figure; 2] {
        let (asked, events) = (stretch(to.since(from)), self.events((from, to)));
        let missing = self.registered.saturating_sub(self.measured as usize);
        let not_measured = match (self.registered, missing) {
            (0, _) => Some("no lift is registered".to_owned()),
            (_, 0) => None,
            (all, missing) => Some(format!("{missing} of {all} lifts have no rule that sees an entrapment")),
        };
        let whole = self.measured;
        let rate = |indicator: &str, part, definition: String| Figure {
            indicator: indicator.to_owned(),
            chinese: "电梯故障困人率".to_owned(),
            of: "site".to_owned(),
            value: (whole > 0).then(|| hundredths(part, whole)),
            unit: "%".to_owned(),
            part: Some(part),
            whole: Some(whole),
            target: Some("< 0.5 %".to_owned()),
            met: below_half_percent(part, whole).filter(|below| !below || (year && missing == 0)),
            too_early: !year && below_half_percent(part, whole) == Some(true),
            not_measured: not_measured.clone(),
            definition,
        };
        let all = if events.len() == 1 {
            "1 entrapment".to_owned()
        } else {
            format!("{} entrapments", events.len())
        };
        let faults = events.iter().filter(|(_, one)| one.cause.is_fault()).count();
        let hit = events.iter().map(|(lift, _)| *lift).collect::<BTreeSet<_>>().len();
        let a = format!(
            "entrapments by faults (cause equipment, or not said) in {asked} / lifts in use with a rule that sees them; the target is of a year; {all} of any cause"
        );
        let b = format!(
            "lifts with an entrapment of any cause in {asked} / lifts in use with a rule that sees them"
        );
        [rate("entrapment-rate-a", count(faults), a), rate("entrapment-rate-b", count(hit), b)]
    }

    /// The time until people were out.
    pub fn rescues(&self, window: (Timestamp, Timestamp)) -> [Figure; 2] {
        let events = self.events(window);
        let times: Vec<Duration> =
            events.iter().filter_map(|(_, one)| Some(one.rescued?.since(one.since))).collect();
        let (over, all) = (times.len(), events.len());
        let not_measured = match (over, all - over) {
            (0, 0) => Some("nobody was shut in".to_owned()),
            (_, 0) => None,
            (_, open) => Some(format!("{open} not over yet")),
        };
        let (median, longest) = median_and_longest(times).unzip();
        let row = |indicator: &str, chinese: &str, value: Option<Duration>| Figure {
            indicator: indicator.to_owned(),
            chinese: chinese.to_owned(),
            of: "site".to_owned(),
            value: value.map(minutes),
            unit: "min".to_owned(),
            part: Some(count(over)),
            whole: Some(count(all)),
            not_measured: not_measured.clone(),
            definition: "from the first moment of the entrapment until the door opened at a floor".to_owned(),
            ..Figure::default()
        };
        [row("rescue-median", "救援时间中位数", median), row("rescue-longest", "最长救援时间", longest)]
    }
}

/// 检验率: how many of the points that need `role` are inspected at `at`.
pub fn inspections(
    points: &[RiskPoint],
    at: Timestamp,
    role: &str,
    (indicator, chinese, target): (&str, &str, Option<u32>),
) -> Figure {
    let of_role = |point: &&RiskPoint| point.needs_at(at).any(|need| need.takes(role));
    let all: Vec<&RiskPoint> = points.iter().filter(of_role).collect();
    let good = all.iter().filter(|point| point.inspection_due.is_some_and(|due| at < due)).count();
    let undated = all.iter().filter(|point| point.inspection_due.is_none()).count();
    let (part, whole) = (count(good), count(all.len()));
    // Nobody wrote any date: that is no rate of nought.
    let known = undated < all.len();
    let not_measured = match (all.len(), undated) {
        (0, _) => Some("none is registered".to_owned()),
        (_, 0) => None,
        (all, _) if !known => Some(format!("none of {all} has an `inspection_due`")),
        (all, undated) => {
            Some(format!("{undated} of {all} have no `inspection_due`; they count as not inspected"))
        }
    };
    Figure {
        indicator: indicator.to_owned(),
        chinese: chinese.to_owned(),
        of: "site".to_owned(),
        value: known.then(|| percent(part, whole)),
        unit: "%".to_owned(),
        part: known.then_some(part),
        whole: known.then_some(whole),
        target: target.map(|target| format!(">= {target} %")),
        met: target.and_then(|target| meets(part, whole, target)).filter(|_| known),
        too_early: false,
        not_measured,
        definition: format!(
            "risk points that need {role} whose `inspection_due` is not over at the end / all of them"
        ),
    }
}

/// How long the water of a place stood at or above each level of a rule.
pub fn ponding<'a>(
    of: &'a str,
    (point, unit): (&'a Point, Unit),
    (levels, above): (&'a [Level], &'a Above),
    window: (Timestamp, Timestamp),
) -> impl Iterator<Item = Figure> + 'a {
    levels.iter().zip(&above.levels).map(move |(level, (threshold, time, times))| {
        let (chinese, _) = level.severity.colour();
        Figure {
            indicator: "ponding-above".to_owned(),
            chinese: format!("积水{chinese}色以上时长"),
            of: format!("{of}, {} >= {} {}", point.name, rounded(*threshold), unit.name()),
            value: (above.measured > Duration::ZERO).then(|| minutes(*time)),
            unit: "min".to_owned(),
            part: Some(*times),
            not_measured: unmeasured(above, window),
            definition:
                "time that the reading was at or above the level of the rule; part: how often it was reached"
                    .to_owned(),
            ..Figure::default()
        }
    })
}

/// A place of which no rule tells how deep its water is.
pub fn ponding_unseen(of: String) -> Figure {
    Figure {
        indicator: "ponding-above".to_owned(),
        chinese: "积水时长".to_owned(),
        of,
        unit: "min".to_owned(),
        not_measured: Some("no rule has levels for the depth of its water".to_owned()),
        definition: "time that the reading was at or above each level of the rule".to_owned(),
        ..Figure::default()
    }
}

/// The highest reading of a sum of rain.
pub fn rain(point: &Point, above: &Above, zone: &Zone, window: (Timestamp, Timestamp)) -> Figure {
    let (value, when) = above.highest.unzip();
    let when = when.map_or_else(String::new, |at| format!(", at {}", zone.tell(at)));
    Figure {
        value: value.map(|value| format!("{value:.1}")),
        not_measured: unmeasured(above, window),
        definition: format!("highest reading of this sum of rain{when}"),
        ..rain_figure(point)
    }
}

/// A gauge's total that only grows: its highest reading is no rain of any time.
pub fn rain_total(point: &Point) -> Figure {
    Figure {
        not_measured: Some("a running total".to_owned()),
        definition: "highest reading of a sum of rain; this one only grows".to_owned(),
        ..rain_figure(point)
    }
}

fn rain_figure(point: &Point) -> Figure {
    Figure {
        indicator: "rain-highest".to_owned(),
        chinese: "最大雨量".to_owned(),
        of: point.name.clone(),
        unit: "mm".to_owned(),
        ..Figure::default()
    }
}

/// Whether a point's readings are a total that only grows: by its name, or because a rule counts it so.
pub fn is_running_total(point: &Point, rules: &[Rule]) -> bool {
    let counted = |rule: &Rule| match &rule.condition {
        Condition::Measured { measured, .. } if rule.point == point.id => matches!(
            measured.measure,
            Measure::Sum { counting: Counting::Total { .. }, .. }
                | Measure::Intensity { counting: Counting::Total { .. }, .. }
                | Measure::Antecedent { counting: Counting::Total { .. }, .. }
        ),
        _ => false,
    };
    point::is_running_total(&point.name) || rules.iter().any(counted)
}

/// The risk point of the device that a rule looks at.
pub fn code<'a>(catalog: &'a Catalog, rule: &Rule) -> Option<&'a str> {
    let point = catalog.point(rule.point)?;
    catalog.device(point.device)?.risk_point.as_deref()
}

/// A number that can be believed, for a level.
pub fn believed(sample: &Sample) -> Option<f64> {
    match sample {
        Sample::Uncertain(_, Doubt::Spike | Doubt::Step) => None,
        sample => sample.value(),
    }
}

/// How much of a time something is known of; `None` when of all of it.
fn unmeasured(above: &Above, (from, to): (Timestamp, Timestamp)) -> Option<String> {
    let whole = to.since(from);
    let tenths = above.measured.as_millis() * 1000 / whole.as_millis().max(1);
    (tenths < 990).then(|| format!("measured {}.{} % of the time", tenths / 10, tenths % 10))
}

/// Minutes with one decimal.
fn minutes(time: Duration) -> String {
    format!("{}.{}", time.as_secs() / 60, time.as_secs() % 60 / 6)
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// A time that was asked for: days from two on, else hours or minutes.
fn stretch(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        2880.. => format!("{} d", minutes / 1440),
        120.. => format!("{} h", minutes / 60),
        _ => format!("{minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_never_no_time() {
        let told =
            [3600, 86_400, 2 * 86_400, 365 * 86_400].map(|seconds| stretch(Duration::from_secs(seconds)));
        assert_eq!(told, ["60 min", "24 h", "2 d", "365 d"]);
    }
}
