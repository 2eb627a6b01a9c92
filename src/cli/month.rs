//! `lifeline coverage report`: the coverage of a month as a table, CSV, or one page to print.
//!
//! In: a running gateway, or a journal on disk. Out: text, CSV that no spreadsheet takes for formulas, or self-contained HTML for A4.
//! Invariant: a percentage never stands without its parts; nothing in the page is fetched from elsewhere.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::cli::ask::{self, Ask, GOOD, NO, Refusal, Source, USAGE};
use crate::cli::coverage::cell;
use crate::cli::table::Table;
use crate::cli::{differ, month_page};
use crate::clock::Timestamp;
use crate::console::indicators::Sources;
use crate::console::month::{self, MonthRow, MonthView, Question};
use crate::risk::coverage::Rung;
use crate::site::Options;

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// For a terminal.
    #[default]
    Table,
    /// Comma separated.
    Csv,
    /// To print.
    Html,
}

/// What a person wants.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Which month.
    pub question: Question,
    /// How it is written.
    pub shape: Shape,
    /// Into this file instead of standard output.
    pub output: Option<PathBuf>,
}

/// Answers; exit code 1 when not every hour of every point was effectively watched.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn report(
    args: &Ask,
    wanted: &Wanted,
    options: &Options,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    ask::settle(answer(args, wanted, options, out).await)
}

async fn answer(args: &Ask, wanted: &Wanted, options: &Options, out: &mut dyn Write) -> anyhow::Result<u8> {
    let question = &wanted.question;
    let view = match args.source().await? {
        Source::Gateway(client) => {
            let pairs =
                [("month", Some(question.month.as_str())), ("known_at", question.known_at.as_deref())];
            let pairs: Vec<_> = pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            client.query(&["api", "v1", "coverage", "month"], &pairs).await?
        }
        Source::Disk(disk) => {
            let last = disk.reader.last()?.map_or_else(Timestamp::default, |(_, at)| at);
            let none = || Refusal::new(USAGE, "the journal has no documents".to_owned());
            let site = differ::compile(&disk.documents()?.ok_or_else(none)?.documents, options)?;
            let sources = Sources { catalog: &site.catalog, rules: &site.rules, timezone: &site.timezone };
            let view = month::of(
                &disk.reader,
                &question.clone().placed(&site.timezone),
                &sources,
                &site.timezone,
                last,
            );
            view.map_err(|why| Refusal::new(USAGE, why))?
        }
    };
    let mut text = Vec::new();
    match wanted.shape {
        _ if args.json => ask::line(&mut text, &view)?,
        Shape::Csv => text.extend_from_slice(csv(&view).as_bytes()),
        Shape::Html => text.extend_from_slice(month_page::page(&view).as_bytes()),
        Shape::Table => table(&view, &mut text)?,
    }
    match &wanted.output {
        Some(path) => {
            std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
            writeln!(out, "{} bytes in {}", text.len(), path.display())?;
        }
        None => out.write_all(&text)?,
    }
    let effective = |row: &MonthRow| row.is_whole(Rung::Effective);
    Ok(if view.rows.first().is_some_and(effective) { GOOD } else { NO })
}

fn share(row: &MonthRow, rung: Rung) -> String {
    let percent = row.percent.get(rung.name()).map_or("n/a", String::as_str);
    format!("{} h {percent} %", row.on(rung))
}

fn table(view: &MonthView, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "coverage of {} ({}), {} of {} hours observed; hours of points on each rung",
        view.month, view.timezone, view.observed, view.hours
    )?;
    let mut heads = vec!["scope", "name", "points", "hours"];
    heads.extend(Rung::ALL.map(Rung::name));
    let mut table = Table::new(&heads);
    for row in view.rows.iter().chain(&view.points) {
        let name = if row.scope == "site" { &view.site } else { &row.name };
        let mut cells = vec![row.scope.clone(), name.clone(), row.points.to_string(), row.hours.to_string()];
        cells.extend(Rung::ALL.map(|rung| share(row, rung)));
        table.row(cells);
    }
    table.emit(out)?;
    writeln!(out, "\nplates: {} of {} landslide points have two in order", view.plates.0, view.plates.1)?;
    Ok(())
}

/// A BOM first, so that spreadsheets read the Chinese as UTF-8.
fn csv(view: &MonthView) -> String {
    let mut text =
        "\u{feff}month,timezone,hours_observed,hours_over,scope,name,about,points,hours".to_owned();
    for rung in Rung::ALL {
        let _ = write!(text, ",{0}_hours,{0}_percent", rung.name());
    }
    text.push('\n');
    for row in view.rows.iter().chain(&view.points) {
        let name = if row.scope == "site" { &view.site } else { &row.name };
        let mut cells = vec![
            view.month.clone(),
            view.timezone.clone(),
            view.observed.to_string(),
            view.hours.to_string(),
            row.scope.clone(),
            name.clone(),
            row.about.clone(),
            row.points.to_string(),
            row.hours.to_string(),
        ];
        for rung in Rung::ALL {
            cells.push(row.on(rung).to_string());
            cells.push(row.percent.get(rung.name()).cloned().unwrap_or_default());
        }
        let cells: Vec<String> = cells.iter().map(|one| cell(one)).collect();
        let _ = writeln!(text, "{}", cells.join(","));
    }
    text
}
