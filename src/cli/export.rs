//! Export: history as CSV, JSON lines or line protocol, into a file or a pipe, in bounded memory.
//!
//! In: points, a window, a format. Out: rows; on a terminal also how far it is.
//! Invariant: a file under the asked name is whole; what was cut stays under `NAME.part` or is removed.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::cli::ask::{Ask, GOOD, Source, settle};
use crate::cli::client::Client;
use crate::cli::disk::Disk;
use crate::cli::format;
use crate::cli::span::Span;
use crate::cli::table::count;
use crate::clock::{Clock, SystemClock};
use crate::console::rows::Format;

/// Rows are gathered to pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

/// Progress is shown each time that this much was written.
const SHOW_EVERY_BYTES: u64 = 4 * 1024 * 1024;

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(mut_arg("since", |since| since.default_value("24h")))]
pub struct Export {
    /// csv, jsonl or lp.
    #[arg(long, default_value = "csv", value_parser = format)]
    pub format: Format,
    /// Only these points (all when none is named).
    #[arg(long = "point", value_name = "POINT")]
    pub points: Vec<String>,
    /// From when to when.
    #[command(flatten)]
    pub span: Span,
    /// Write here instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Exports readings. Exit code 1 when there is no such point.
///
/// # Errors
/// The history cannot be read, or the rows cannot be written.
pub async fn export(args: &Ask, what: &Export, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(export_to(args, what, out).await)
}

async fn export_to(args: &Ask, what: &Export, out: &mut dyn Write) -> anyhow::Result<u8> {
    let source = args.source().await?;
    let Some(path) = &what.output else {
        let mut meter = Meter::new(out);
        rows(&source, what, &mut meter).await?;
        meter.out.flush()?;
        meter.done("stdout");
        return Ok(GOOD);
    };
    let draft = draft_of(path);
    let file = File::create(&draft).with_context(|| format!("cannot write {}", draft.display()))?;
    let mut file = BufWriter::new(file);
    let mut meter = Meter::new(&mut file);
    let done = rows(&source, what, &mut meter).await;
    if done.is_err() {
        // A part of an export must not be taken for one.
        let _ = std::fs::remove_file(&draft);
        done?;
    }
    meter.done(&path.display().to_string());
    let file = file.into_inner().context("cannot write the last rows")?;
    file.sync_all().context("cannot write the last rows")?;
    std::fs::rename(&draft, path).with_context(|| format!("cannot name {}", path.display()))?;
    Ok(GOOD)
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

async fn rows(source: &Source, what: &Export, meter: &mut Meter<'_>) -> anyhow::Result<()> {
    match source {
        Source::Gateway(client) => rows_of_gateway(client, what, meter).await,
        Source::Disk(disk) => rows_of_disk(disk, what, meter),
    }
}

async fn rows_of_gateway(client: &Client, what: &Export, meter: &mut Meter<'_>) -> anyhow::Result<()> {
    let points = what.points.join(",");
    let mut query = vec![("format", what.format.name())];
    query.extend(what.span.query());
    if !points.is_empty() {
        query.push(("point", &points));
    }
    client.stream(&["api", "v1", "history"], &query, &mut |piece| Ok(meter.write(piece)?)).await
}

fn rows_of_disk(disk: &Disk, what: &Export, meter: &mut Meter<'_>) -> anyhow::Result<()> {
    let window = what.span.window(&disk.site().1, SystemClock::new().now())?;
    let mut piece = what.format.head().as_bytes().to_vec();
    let mut any = false;
    let mut written = Ok(());
    disk.history(&what.points, window, &mut |catalog, reading| {
        any = true;
        what.format.emit(catalog, reading, &mut piece);
        if piece.len() >= PIECE_BYTES {
            written = meter.write(&piece);
            piece.clear();
        }
        written.is_ok()
    })?;
    written?;
    if !any
        && let Some(point) = what.points.first()
        && let Some(refusal) = disk.unknown(point)?
    {
        return Err(refusal.into());
    }
    Ok(meter.write(&piece)?)
}

/// Writes through and counts rows; on a terminal it shows how far it is.
struct Meter<'a> {
    out: &'a mut dyn Write,
    rows: u64,
    bytes: u64,
    shown: u64,
    terminal: bool,
}

impl<'a> Meter<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self { out, rows: 0, bytes: 0, shown: 0, terminal: io::stderr().is_terminal() }
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.out.write_all(piece)?;
        let ends = piece.iter().filter(|byte| **byte == b'\n').count();
        self.rows = self.rows.saturating_add(u64::try_from(ends).unwrap_or(u64::MAX));
        self.bytes = self.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.terminal && self.bytes - self.shown >= SHOW_EVERY_BYTES {
            self.shown = self.bytes;
            eprint!("\r{} lines", count(self.rows));
        }
        Ok(())
    }

    fn done(&self, name: &str) {
        let start = if self.terminal { "\r" } else { "" };
        eprintln!("{start}{} lines written to {name}", count(self.rows));
    }
}
