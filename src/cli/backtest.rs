//! `lifeline backtest`: how well rules would have done on recorded data with labels.
//!
//! In: recorded files, labels, thresholds to try. Out: a table, CSV, and a plot: events met, lead, false alarms a month, time in alarm, for each rule and threshold.
//! Invariant: a threshold is chosen on one half of the data and scored on the other; what is told of the second half had no part in the choice.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::alarm::score::{Labels, Score, Span, spans};
use crate::alarm::{Condition, Level, Rule, RuleId};
use crate::cli::plot::{self, Point, short};
use crate::cli::recorded::{self, Mapping, Readings};
use crate::cli::table::Table;
use crate::cli::{duration, replay, spacing};
use crate::console::window;
use crate::gateway::replay::Replay;
use crate::site::{Site, table};
use crate::unit::rounded;

/// Thresholds of a sweep at most.
const SWEEP_MAX: usize = 200;

/// Arguments of `backtest`.
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// Recorded files (CSV or .lp); with several, the first half of them chooses and the second is scored.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Which column is which point, `depth_mm:mm=underpass-1.level`.
    #[arg(long = "map", value_name = "COLUMN[:UNIT]=POINT", value_parser = recorded::mapping)]
    maps: Vec<Mapping>,
    /// The column of times: `2026-11-23T08:00:00+08:00`, or `2026-11-23 08:00:00` without an offset for a time of the site's zone; labels alike.
    #[arg(long, default_value = "time", value_name = "COLUMN")]
    time: String,
    /// CSV of what happened: event_start, event_end, kind, and file when it is of several files.
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// Kinds of labels at which an alarm is due.
    #[arg(long, default_value = "hazard", value_delimiter = ',', value_name = "KINDS")]
    due: Vec<String>,
    /// Kinds of labels that are neither right nor wrong.
    #[arg(long, default_value = "unsure", value_delimiter = ',', value_name = "KINDS")]
    unsure: Vec<String>,
    /// Only these rules (all that look at the mapped points when none is named).
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
    /// Thresholds to try, in the unit that the table shows: `100..500/50`.
    #[arg(long, value_name = "FROM..TO/STEP", value_parser = sweep)]
    sweep: Option<Sweep>,
    /// An alarm this close to an event is not false.
    #[arg(long, default_value = "30m", value_parser = duration)]
    margin: Duration,
    /// An alarm that began this long before an event does not tell of it.
    #[arg(long, default_value = "24h", value_parser = duration)]
    early: Duration,
    /// Write all rows as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a plot of the first rule's sweep.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Thresholds to try.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep(Vec<f64>);

fn sweep(text: &str) -> Result<Sweep, String> {
    let usage = "write FROM..TO/STEP, such as 100..500/50";
    let (from, rest) = text.split_once("..").ok_or(usage)?;
    let (to, step) = rest.split_once('/').ok_or(usage)?;
    let number =
        |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite()).ok_or(usage);
    let (from, to, step) = (number(from)?, number(to)?, number(step)?);
    if step <= 0.0 || to < from {
        return Err(usage.to_owned());
    }
    let values: Vec<f64> = (0_u32..)
        .map(|index| from + f64::from(index) * step)
        .take_while(|value| *value <= to + step * 1e-6)
        .take(SWEEP_MAX + 1)
        .collect();
    if values.len() > SWEEP_MAX { Err(format!("at most {SWEEP_MAX} thresholds")) } else { Ok(Sweep(values)) }
}

/// A rule at one threshold, as its own rule of the replayed site.
struct Variant {
    /// Place in the list of written rules.
    of: usize,
    name: String,
    threshold: f64,
}

/// Scores of a variant on both halves.
#[derive(Default)]
struct Halves {
    chosen: Score,
    scored: Score,
}

/// Runs the command.
///
/// # Errors
/// A file cannot be read or says something wrong; no rule is left.
pub fn backtest(site: &Site, args: &BacktestArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let labels = labels(args, &site.timezone)?;
    let mut files = Vec::new();
    for file in &args.files {
        files.push((file, recorded::read(file, &args.maps, &args.time, site)?));
    }
    let (rules, variants) = variants(site, args)?;
    let mut halves: Vec<Halves> = variants.iter().map(|_| Halves::default()).collect();
    for (index, (file, readings)) in files.iter().enumerate() {
        spacing::warn(&rules, readings, &site.catalog)?;
        let own = labels.get(&name_of(file)).or_else(|| labels.get("")).cloned().unwrap_or_default();
        let scores = run(site, &rules, &variants, readings, &own, (args.margin, args.early))?;
        for (half, (whole, (first, second))) in halves.iter_mut().zip(scores) {
            let (chosen, scored) = match (files.len(), index < files.len() / 2) {
                (1, _) => (first, second),
                (_, true) => (whole, Score::default()),
                (_, false) => (Score::default(), whole),
            };
            half.chosen = Score::sum([std::mem::take(&mut half.chosen), chosen]);
            half.scored = Score::sum([std::mem::take(&mut half.scored), scored]);
        }
    }
    report(args, &rules, &variants, &halves, out)
}

/// Every rule at every threshold, all at once in one site.
fn variants(site: &Site, args: &BacktestArgs) -> anyhow::Result<(Vec<Rule>, Vec<Variant>)> {
    let mapped = |rule: &Rule| {
        rule.points().iter().any(|point| {
            let known = site.catalog.point(*point).map(|point| point.name.as_str());
            args.maps.iter().any(|map| Some(map.point.as_str()) == known)
                || site.derived.iter().any(|derived| derived.point == *point)
        })
    };
    let (mut rules, mut variants) = (Vec::new(), Vec::new());
    for (of, rule) in site.rules.iter().enumerate() {
        let wanted = if args.rules.is_empty() { mapped(rule) } else { args.rules.contains(&rule.name) };
        let levels = match &rule.condition {
            Condition::Threshold { levels, .. } => levels,
            Condition::Measured { measured, .. } => &measured.levels,
            Condition::Stale { .. } => continue,
        };
        if !wanted {
            continue;
        }
        let thresholds = match &args.sweep {
            Some(sweep) => sweep.0.clone(),
            None => levels.iter().map(|level| level.threshold).collect(),
        };
        for (index, threshold) in thresholds.into_iter().enumerate() {
            let level = if args.sweep.is_some() { levels.first() } else { levels.get(index) };
            let Some(level) = level else { continue };
            let mut variant = rule.clone();
            variant.name = format!("{}@{}", rule.name, rounded(threshold));
            variant.id = RuleId(u32::try_from(rules.len()).unwrap_or(u32::MAX));
            variant.condition = at(&rule.condition, Level { threshold, ..*level });
            variants.push(Variant { of, name: variant.name.clone(), threshold });
            rules.push(variant);
        }
    }
    let unknown = args.rules.iter().find(|name| !site.rules.iter().any(|rule| rule.name == **name));
    if let Some(name) = unknown {
        anyhow::bail!("the site has no rule `{name}`");
    }
    anyhow::ensure!(!rules.is_empty(), "no rule of the site looks at the mapped points");
    Ok((rules, variants))
}

/// The condition with this one level.
fn at(condition: &Condition, level: Level) -> Condition {
    let mut condition = condition.clone();
    match &mut condition {
        Condition::Threshold { levels, .. } => *levels = vec![level],
        Condition::Measured { measured, .. } => measured.levels = vec![level],
        Condition::Stale { .. } => {}
    }
    condition
}

type Three = (Score, (Score, Score));

/// One series through all variants: the whole, and its halves in time.
fn run(
    site: &Site,
    rules: &[Rule],
    variants: &[Variant],
    readings: &Readings,
    labels: &Labels,
    tolerance: (Duration, Duration),
) -> anyhow::Result<Vec<Three>> {
    let fed = replay::fed(readings);
    let mut course = Replay::new(Site { rules: rules.to_vec(), ..site.clone() }, Some(&fed));
    let mut transitions = Vec::new();
    for (at, readings) in readings {
        course.readings(*at, readings);
        transitions.append(&mut course.drain());
    }
    let (from, to) =
        readings.first().zip(readings.last()).map(|(first, last)| (first.0, last.0)).context("no reading")?;
    let middle = from.plus(to.since(from) / 2);
    let end = to.plus(Duration::from_millis(1));
    Ok(variants
        .iter()
        .map(|variant| {
            let alarms: Vec<Span> = spans(&transitions, &variant.name, end);
            let score = |span| Score::of(&alarms, labels, tolerance, span);
            (score((from, end)), (score((from, middle)), score((middle, end))))
        })
        .collect())
}

fn name_of(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Labels by the name of the file they are of; of all files under the empty name.
fn labels(args: &BacktestArgs, timezone: &str) -> anyhow::Result<BTreeMap<String, Labels>> {
    let shown = args.labels.display();
    let text = std::fs::read_to_string(&args.labels).with_context(|| format!("cannot read {shown}"))?;
    let text = text.trim_start_matches('\u{feff}');
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    let (rows, wrong) = table::rows(text);
    if let Some(((at, _), why)) = wrong.first() {
        anyhow::bail!("{shown}:{}: {why}", line(*at));
    }
    let (head, rows) = rows.split_first().with_context(|| format!("{shown} is empty"))?;
    let place = |name: &str| head.cells.iter().position(|known| known.text == name);
    let need = |name: &str| place(name).with_context(|| format!("{shown}:1:1: no column `{name}`"));
    let (start, stop, kind) = (need("event_start")?, need("event_end")?, need("kind")?);
    let mut labels: BTreeMap<String, Labels> = BTreeMap::new();
    for row in rows {
        let cell = |at: usize| row.cells.get(at).map_or("", |cell| cell.text.as_str());
        let time = |at: usize| {
            window::time(cell(at), timezone).with_context(|| {
                format!("{shown}:{}: {}", line(row.span.0), recorded::no_time(cell(at), timezone))
            })
        };
        let own = labels.entry(place("file").map(cell).unwrap_or_default().to_owned()).or_default();
        let span = (time(start)?, time(stop)?);
        if args.due.iter().any(|due| due == cell(kind)) {
            own.events.push(span);
        } else if args.unsure.iter().any(|unsure| unsure == cell(kind)) {
            own.unsure.push(span);
        }
    }
    Ok(labels)
}

fn lead(score: &Score) -> String {
    score.lead_s().map_or("-".to_owned(), |seconds| {
        if seconds.abs() < 5940.0 {
            format!("{:.1} min", seconds / 60.0)
        } else {
            format!("{:.1} h", seconds / 3600.0)
        }
    })
}

fn percent(score: &Score) -> f64 {
    if score.events == 0 { 0.0 } else { 100.0 * score.met as f64 / score.events as f64 }
}

const HEADS: [&str; 10] =
    ["RULE", "THRESHOLD", "HALF", "MET", "EVENTS", "LEAD", "FALSE", "FALSE/MONTH", "IN ALARM %", "F1"];
const COLUMNS: &str =
    "rule,threshold,half,events,met,median_lead_s,false_alarms,false_per_month,in_alarm_percent,f1\n";

/// Of the places `own`, the one with the best F1 on the choosing half, then the fewer false alarms, then the longer lead; of equals the first.
fn best(own: &[usize], halves: &[Halves]) -> Option<usize> {
    let worth = |index: usize| {
        let score = halves.get(index).map(|half| &half.chosen);
        score.map_or([0.0; 3], |score| {
            [score.f1(), -score.false_per_month(), score.lead_s().unwrap_or(f64::MIN)]
        })
    };
    let better = |one: [f64; 3], other: [f64; 3]| {
        one.iter().zip(&other).map(|(one, other)| one.total_cmp(other)).find(|order| order.is_ne())
            == Some(std::cmp::Ordering::Greater)
    };
    let first = own
        .iter()
        .copied()
        .reduce(|best, index| if better(worth(index), worth(best)) { index } else { best });
    // Of thresholds that meet nothing none is better than another.
    first.filter(|index| worth(*index).first().is_some_and(|f1| *f1 > 0.0))
}

fn row(name: &str, threshold: &str, which: &str, score: &Score) -> Vec<String> {
    vec![
        name.to_owned(),
        threshold.to_owned(),
        which.to_owned(),
        score.met.to_string(),
        score.events.to_string(),
        lead(score),
        score.false_alarms.to_string(),
        format!("{:.2}", score.false_per_month()),
        format!("{:.2}", score.in_alarm_percent()),
        format!("{:.3}", score.f1()),
    ]
}

fn csv_row(name: &str, threshold: f64, which: &str, score: &Score) -> String {
    format!(
        "{name},{threshold},{which},{},{},{},{},{:.4},{:.4},{:.4}\n",
        score.events,
        score.met,
        score.lead_s().map(|lead| lead.to_string()).unwrap_or_default(),
        score.false_alarms,
        score.false_per_month(),
        score.in_alarm_percent(),
        score.f1()
    )
}

/// The plot of a rule's sweep over both halves.
fn plot(name: &str, own: &[usize], variants: &[Variant], halves: &[Halves], best: Option<usize>) -> String {
    let point = |index: &usize| {
        let (variant, half) = (variants.get(*index)?, halves.get(*index)?);
        let all = Score::sum([half.chosen.clone(), half.scored.clone()]);
        Some(Point {
            threshold: variant.threshold,
            met: percent(&all),
            false_per_month: all.false_per_month(),
            lead_min: all.lead_s().map(|lead| lead / 60.0),
        })
    };
    let points: Vec<Point> = own.iter().filter_map(point).collect();
    let chosen = best.and_then(|best| variants.get(best)).map(|variant| variant.threshold);
    plot::svg(name, "as in the table", &points, chosen)
}

/// Tells all rows, and for each rule the threshold that the first half chooses.
fn report(
    args: &BacktestArgs,
    rules: &[Rule],
    variants: &[Variant],
    halves: &[Halves],
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let (mut table, mut csv, mut svg) = (Table::new(&HEADS), COLUMNS.to_owned(), None);
    let mut found = false;
    let mut groups: Vec<usize> = variants.iter().map(|variant| variant.of).collect();
    groups.dedup();
    for of in groups {
        let own: Vec<usize> = variants
            .iter()
            .enumerate()
            .filter(|(_, variant)| variant.of == of)
            .map(|(index, _)| index)
            .collect();
        let best = best(&own, halves);
        found |= best.is_some();
        let name = own.first().and_then(|first| rules.get(*first)).map_or("", |rule| written(&rule.name));
        for index in &own {
            let Some((variant, half)) = variants.get(*index).zip(halves.get(*index)) else { continue };
            let mark = if best == Some(*index) { " *" } else { "" };
            let threshold = format!("{}{mark}", short(variant.threshold));
            for (which, score) in [("chooses", &half.chosen), ("scored", &half.scored)] {
                table.row(row(name, &threshold, which, score));
                csv += &csv_row(name, variant.threshold, which, score);
            }
        }
        svg = svg.or_else(|| Some(plot(name, &own, variants, halves, best)));
    }
    table.emit(out)?;
    let told = match found {
        true => "* chosen on the first half by F1; what the other half says of it is the estimate",
        false => "no threshold met an event of the first half, so none is chosen",
    };
    writeln!(out, "{told}")?;
    for (file, text) in [(&args.csv, Some(csv)), (&args.svg, svg)] {
        if let Some((file, text)) = file.as_ref().zip(text) {
            std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(0)
}

/// The name of the rule that a variant is of.
fn written(name: &str) -> &str {
    name.split('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps() {
        assert_eq!(sweep("1..2/0.5"), Ok(Sweep(vec![1.0, 1.5, 2.0])));
        for wrong in ["1..2", "2..1/1", "1..2/0", "1..1000/1", "a..b/c"] {
            assert!(sweep(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        let half = |met: usize, false_alarms: usize| Halves {
            chosen: Score {
                events: 2,
                met,
                false_alarms,
                alarms: met + false_alarms,
                span_s: 1e6,
                ..Score::default()
            },
            scored: Score { met: 9, ..Score::default() },
        };
        let halves = [half(1, 0), half(2, 1), half(2, 0), half(2, 0)];
        assert_eq!(best(&[0, 1, 2, 3], &halves), Some(2));
        assert_eq!(best(&[], &halves), None);
    }
}
