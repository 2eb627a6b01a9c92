//! `lifeline indicators`: figures of the district's plan, each with its definition and what was not measured.
//!
//! In: a running gateway, or a journal on disk with its own documents. Out: a table, CSV, or JSON lines.
//! Invariant: what was not measured never looks like 0; a cell of CSV never starts a formula.

use std::fmt::Write as _;
use std::io::Write;

use crate::cli::answers::Zone;
use crate::cli::ask::{self, Ask, GOOD, NO, Refusal, Source, USAGE};
use crate::cli::coverage::cell;
use crate::cli::differ;
use crate::cli::table::Table;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::console::indicators::{self, IndicatorView, IndicatorsView, Question, Sources};
use crate::site::Options;

/// What a person wants.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Which time.
    pub question: Question,
    /// Comma separated instead of a table.
    pub csv: bool,
}

/// Answers; exit code 1 when a target is not met or can't be told.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn indicators(
    args: &Ask,
    wanted: &Wanted,
    options: &Options,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    ask::settle(answer(args, wanted, options, out).await)
}

async fn answer(args: &Ask, wanted: &Wanted, options: &Options, out: &mut dyn Write) -> anyhow::Result<u8> {
    let question = &wanted.question;
    let (view, zone) = match args.source().await? {
        Source::Gateway(client) => {
            let pairs = [("from", question.from.as_deref()), ("to", question.to.as_deref())];
            let pairs: Vec<_> = pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            let view: IndicatorsView = client.query(&["api", "v1", "indicators"], &pairs).await?;
            (view, ask::zone_of(&client).await?.0)
        }
        Source::Disk(disk) => {
            let last = disk.reader.last()?.map_or_else(Timestamp::default, |(_, at)| at);
            let none = || Refusal::new(USAGE, "the journal has no documents".to_owned());
            let site = differ::compile(&disk.documents()?.ok_or_else(none)?.documents, options)?;
            let sources = Sources { catalog: &site.catalog, rules: &site.rules, timezone: &site.timezone };
            let view = indicators::of(&disk.reader, &question.clone().placed(&site.timezone), &sources, last);
            let (view, zone) = (view.map_err(|why| Refusal::new(USAGE, why))?, disk.site().1);
            if !args.json && !wanted.csv {
                disk.head(&zone, SystemClock::new().now(), out)?;
            }
            (view, zone)
        }
    };
    if args.json {
        view.rows.iter().try_for_each(|row| ask::line(out, row))?;
    } else if wanted.csv {
        out.write_all(csv(&view).as_bytes())?;
    } else {
        table(&view, &zone, out)?;
    }
    let good = view.rows.iter().filter(|row| row.target.is_some()).all(|row| row.met == Some(true));
    Ok(if good { GOOD } else { NO })
}

fn table(view: &IndicatorsView, zone: &Zone, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "indicators from {} to {}", zone.show(&view.from), zone.show(&view.to))?;
    let mut table = Table::new(&["indicator", "of", "value", "target", "not measured"]);
    for row in &view.rows {
        table.row(vec![
            format!("{} {}", row.indicator, row.chinese),
            row.of.clone(),
            value(row),
            target(row),
            row.not_measured.clone().unwrap_or_default(),
        ]);
    }
    table.emit(out)?;
    writeln!(out)?;
    let mut told = Vec::new();
    for row in &view.rows {
        // The same words for each place stand once.
        if !told.contains(&(&row.indicator, &row.definition)) {
            told.push((&row.indicator, &row.definition));
            writeln!(out, "{}: {}", row.indicator, crate::cli::table::plain(&row.definition))?;
        }
    }
    Ok(())
}

/// `1/200 0.50 %`, `12.5 min (2x)`, `-`.
fn value(row: &IndicatorView) -> String {
    let Some(value) = &row.value else { return "-".to_owned() };
    match (row.part, row.whole) {
        (Some(part), Some(whole)) => format!("{part}/{whole} {value} {}", row.unit),
        (Some(times), None) => format!("{value} {} ({times}x)", row.unit),
        _ => format!("{value} {}", row.unit),
    }
}

fn target(row: &IndicatorView) -> String {
    let met = match row.met {
        Some(true) => "met",
        Some(false) => "NOT met",
        None if row.too_early => "too early to say",
        None if row.value.is_none() => "not measured",
        None => "can't be told",
    };
    row.target.as_ref().map_or_else(String::new, |target| format!("{target}: {met}"))
}

fn csv(view: &IndicatorsView) -> String {
    let mut text =
        "indicator,chinese,of,from,to,value,unit,part,whole,target,met,not_measured,definition\n".to_owned();
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    for row in &view.rows {
        let cells = [
            row.indicator.clone(),
            row.chinese.clone(),
            row.of.clone(),
            view.from.clone(),
            view.to.clone(),
            row.value.clone().unwrap_or_default(),
            row.unit.clone(),
            number(row.part),
            number(row.whole),
            row.target.clone().unwrap_or_default(),
            row.met.map_or_else(String::new, |met| met.to_string()),
            row.not_measured.clone().unwrap_or_default(),
            row.definition.clone(),
        ];
        let _ = writeln!(text, "{}", cells.map(|one| cell(&one)).join(","));
    }
    text
}
