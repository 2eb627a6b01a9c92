//! `lifeline coverage`: how many risk points are really watched, and what keeps the others from it.
//!
//! In: a running gateway, or a journal on disk. Out: a table and the weakest links, CSV, or JSON lines.
//! Invariant: a cell of CSV never starts a formula.

use std::fmt::Write as _;
use std::io::Write;

use crate::cli::answers::Zone;
use crate::cli::ask::{self, Ask, GOOD, NO, Refusal, Source, USAGE};
use crate::cli::table::Table;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::console::coverage::{self, CoverageView, PointView, Question, RowView, SensorView, WorkView};
use crate::risk::coverage::Rung;
use crate::site::table::is_formula;

/// What a person wants.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Which groups, points and time.
    pub question: Question,
    /// Comma separated instead of a table.
    pub csv: bool,
}

/// Answers; exit code 1 when a point is not effectively watched.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn coverage(args: &Ask, wanted: &Wanted, out: &mut dyn Write) -> anyhow::Result<u8> {
    ask::settle(answer(args, wanted, out).await)
}

async fn answer(args: &Ask, wanted: &Wanted, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (view, zone) = match args.source().await? {
        Source::Gateway(client) => {
            let pairs = wanted.question.pairs();
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let view: CoverageView = client.query(&["api", "v1", "coverage"], &pairs).await?;
            (view, ask::zone_of(&client).await?.0)
        }
        Source::Disk(disk) => {
            let (site, zone) = disk.site();
            if !args.json && !wanted.csv {
                disk.head(&zone, SystemClock::new().now(), out)?;
            }
            let last = disk.reader.last()?.map_or_else(Timestamp::default, |(_, at)| at);
            let question = wanted.question.clone().placed(&zone.name());
            let view = coverage::past(&disk.reader, &question, (&site, &zone.0), last);
            (view.map_err(|why| Refusal::new(USAGE, why))?, zone)
        }
    };
    if args.json {
        view.rows.iter().try_for_each(|row| ask::line(out, row))?;
        view.points.iter().try_for_each(|point| ask::line(out, point))?;
        view.work.iter().try_for_each(|work| ask::line(out, work))?;
    } else if wanted.csv {
        out.write_all(csv(&view).as_bytes())?;
    } else {
        table(&view, &zone, out)?;
    }
    let whole = view.rows.first();
    let all = whole.is_some_and(|row| row.reached.get("effective") == Some(&row.points));
    Ok(if all { GOOD } else { NO })
}

fn table(view: &CoverageView, zone: &Zone, out: &mut dyn Write) -> anyhow::Result<()> {
    let time = |text: &str| zone.show(text);
    let mut table = Table::new(&[
        "scope",
        "name",
        "points",
        "installed",
        "online",
        "fresh",
        "valid",
        "calibrated",
        "effective",
    ]);
    for row in &view.rows {
        let mut cells = vec![row.scope.clone(), row.name.clone(), row.points.to_string()];
        cells.extend(Rung::ALL.map(|rung| share(row, rung)));
        table.row(cells);
    }
    writeln!(out, "risk points at {}", time(&view.at))?;
    table.emit(out)?;
    let mut gaps = Table::new(&["risk point", "sensor", "not", "since", "why and what to do"]);
    for point in &view.points {
        for (sensor, missed, since, why) in weakest(point) {
            let name = point.name.as_deref().unwrap_or_default();
            let since = since.map_or_else(String::new, |since| time(&since));
            gaps.row(vec![format!("{} {name}", point.code).trim().to_owned(), sensor, missed, since, why]);
        }
    }
    if !gaps.is_empty() {
        writeln!(out)?;
        gaps.emit(out)?;
    }
    work(&view.work, &time, out)
}

/// What somebody has to do by a date; nothing when there is none.
pub(crate) fn work(
    items: &[WorkView],
    time: &dyn Fn(&str) -> String,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut work = Table::new(&["to do", "by", "what"]);
    for item in items {
        let what = if item.overdue { format!("{} (overdue)", item.text) } else { item.text.clone() };
        let by = item.due.as_deref().map_or_else(|| "now".to_owned(), time);
        let task = format!("{:?} {}", item.task, item.of).to_lowercase().trim().to_owned();
        work.row(vec![task, by, what]);
    }
    if !work.is_empty() {
        writeln!(out)?;
        work.emit(out)?;
    }
    Ok(())
}

/// `5/6 83.3 %`: the figure never stands without its parts.
fn share(row: &RowView, rung: Rung) -> String {
    let reached = row.reached.get(rung.name()).copied().unwrap_or_default();
    let percent = row.percent.get(rung.name()).map_or("n/a", String::as_str);
    let sign = if percent == "n/a" { "" } else { " %" };
    format!("{reached}/{} {percent}{sign}", row.points)
}

/// What keeps a point from its next rung: sensor, rung, since, why and what to do.
fn weakest(point: &PointView) -> Vec<(String, String, Option<String>, String)> {
    let mut found = Vec::new();
    if point.unspecified {
        let why = "nobody said what it needs; write its needs".to_owned();
        found.push((String::new(), Rung::Installed.name().to_owned(), None, why));
    }
    for lack in &point.missing {
        found.push((String::new(), Rung::Installed.name().to_owned(), None, lack.clone()));
    }
    let short = |sensor: &&SensorView| sensor.rung <= point.rung && sensor.missed.is_some();
    for sensor in point.sensors.iter().filter(short) {
        let why = sensor.why.clone().unwrap_or_default();
        let remedy = sensor.remedy.clone().unwrap_or_default();
        let missed = sensor.missed.map_or("", Rung::name).to_owned();
        found.push((sensor.sensor.clone(), missed, sensor.since.clone(), format!("{why}; {remedy}")));
    }
    found
}

fn csv(view: &CoverageView) -> String {
    let mut text =
        "scope,name,at,points,installed,online,fresh,valid,calibrated,effective,unknown,unspecified\n"
            .to_owned();
    for row in &view.rows {
        let reached =
            Rung::ALL.map(|rung| row.reached.get(rung.name()).copied().unwrap_or_default().to_string());
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{}",
            row.scope,
            cell(&row.name),
            view.at,
            row.points,
            reached.join(","),
            row.unknown,
            row.unspecified
        );
    }
    text
}

/// A text as a cell: quoted where it must be, and never a formula for a spreadsheet; a number stays one.
pub(crate) fn cell(text: &str) -> String {
    let formula = is_formula(text) || text.starts_with(['\t', '\r']);
    let safe = if formula { format!("'{text}") } else { text.to_owned() };
    if safe.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for (text, wanted) in [
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("-1+2", "'-1+2"),
            ("@x", "'@x"),
            ("＝A1", "'＝A1"),
            ("－1＋2", "'－1＋2"),
            ("-0.1278", "-0.1278"),
            ("+86", "+86"),
            ("南坪", "南坪"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
        ] {
            assert_eq!(cell(text), wanted);
        }
    }
}
