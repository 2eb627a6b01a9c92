//! `coverage`, `map`, `indicators`: what a person types about risk points, and whom it goes to.
//!
//! In: arguments. Out: the command's exit code.
//! Invariant: questions stay texts here; what answers them reads them.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::{
    Documents, Purpose, Where, asked, coverage, indicators, map, month, one_thread, options, points,
};
use crate::console;
use crate::console::coverage::Question;
use crate::site::points::District;
use crate::site::risk::HAZARDS;

/// Which risk points, and of what time.
#[derive(Debug, Args)]
struct Which {
    /// Only this hazard class: gas, waterlogging, landslide or elevator.
    #[arg(long, value_parser = HAZARDS)]
    class: Option<String>,
    /// Only points of at least this grade, 1 to 4.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=4))]
    grade: Option<u8>,
    /// Another time than now: a date or time (of the site's zone without an offset), or how long ago (`2h`).
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// With what the documents said at this time; the newest ones when left out.
    #[arg(long, value_name = "TIME")]
    known_at: Option<String>,
}

impl Which {
    fn question(self, by: Option<String>) -> Question {
        let Self { class, grade, at, known_at } = self;
        Question { by, class, grade, at, known_at }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CoverageArgs {
    #[command(flatten)]
    place: Where,
    /// Rows by town, class, grade, supervisor or grade-and-class.
    #[arg(long, value_name = "GROUP")]
    by: Option<String>,
    #[command(flatten)]
    which: Which,
    /// Comma separated instead of a table.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(subcommand)]
    act: Option<CoverageAct>,
}

#[derive(Debug, Subcommand)]
enum CoverageAct {
    /// The coverage of a month: hours on each rung, as a table, CSV or a page to print.
    Report(ReportArgs),
    /// Take the district's table of risk points (CSV, UTF-8 or GBK) as the document `risk-points.toml`, all of it or nothing.
    Import(ImportArgs),
    /// Write the risk points of the documents as such a table.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// The table; its columns stand in `docs/coverage.md`.
    table: PathBuf,
    /// Only check it.
    #[arg(long)]
    check: bool,
    /// Places outside this rectangle are mistakes, in WGS-84 degrees.
    #[arg(long, value_name = "WEST,SOUTH,EAST,NORTH", value_parser = district)]
    district: Option<District>,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// For old spreadsheets, instead of UTF-8.
    #[arg(long)]
    gbk: bool,
    /// Write here instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn district(text: &str) -> Result<District, String> {
    let numbers: Vec<f64> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    match numbers.as_slice() {
        [west, south, east, north] if west < east && south < north => Ok((*west, *south, *east, *north)),
        _ => Err("write WEST,SOUTH,EAST,NORTH in degrees, like 106.4,29.4,106.8,29.7".to_owned()),
    }
}

#[derive(Debug, Args)]
struct ReportArgs {
    #[command(flatten)]
    place: Where,
    /// The month, like 2026-11.
    #[arg(long, value_name = "MONTH")]
    month: String,
    /// Comma separated instead of a table.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// One page to print on A4, in Chinese and English.
    #[arg(long, conflicts_with_all = ["json", "csv"])]
    html: bool,
    /// All hours with what the documents said at this time, instead of each with its own.
    #[arg(long, value_name = "TIME")]
    known_at: Option<String>,
    /// Write here instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MapArgs {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    which: Which,
    /// A FeatureCollection (RFC 7946, WGS-84) instead of a table.
    #[arg(long, conflicts_with = "json")]
    geojson: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IndicatorsArgs {
    #[command(flatten)]
    place: Where,
    /// From: a date or time (of the site's zone without an offset), or a duration back from now; 困人率 is a figure of a year (`365d`).
    #[arg(long, default_value = "30d", value_name = "TIME")]
    from: String,
    /// Until: a date or time, or a duration back from now.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Comma separated instead of a table.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

pub(crate) fn coverage(documents: &Documents, args: CoverageArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let own = || options(documents, Purpose::Run);
    match args.act {
        Some(CoverageAct::Report(args)) => return report(documents, args, out),
        Some(CoverageAct::Import(ImportArgs { table, check, district })) => {
            return points::import(&own(), &points::Import { table, check, district }, out);
        }
        Some(CoverageAct::Export(args)) => {
            return points::export(&own(), args.gbk, args.output.as_deref(), out);
        }
        None => {}
    }
    let place = asked(documents, &args.place)?;
    let CoverageArgs { by, which, csv, .. } = args;
    let question = which.question(by);
    one_thread()?.block_on(coverage::coverage(&place, &coverage::Wanted { question, csv }, out))
}

fn report(documents: &Documents, args: ReportArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let place = asked(documents, &args.place)?;
    let ReportArgs { month, csv, html, known_at, output, .. } = args;
    let shape = match (csv, html) {
        (true, _) => month::Shape::Csv,
        (_, true) => month::Shape::Html,
        _ => month::Shape::Table,
    };
    let wanted = month::Wanted { question: console::month::Question { month, known_at }, shape, output };
    one_thread()?.block_on(month::report(&place, &wanted, &options(documents, Purpose::Run), out))
}

pub(crate) fn map(documents: &Documents, args: MapArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let place = asked(documents, &args.place)?;
    let MapArgs { which, geojson, .. } = args;
    let question = which.question(None);
    one_thread()?.block_on(map::map(&place, &map::Wanted { question, geojson }, out))
}

pub(crate) fn indicators(
    documents: &Documents,
    args: IndicatorsArgs,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let place = asked(documents, &args.place)?;
    let question = console::indicators::Question { from: Some(args.from), to: args.to };
    let wanted = indicators::Wanted { question, csv: args.csv };
    one_thread()?.block_on(indicators::indicators(&place, &wanted, &options(documents, Purpose::Run), out))
}
