//! `lifeline history`: readings of one point. Of a running gateway, or of a journal on disk.
//!
//! In: a point and a span of time. Out: a line for each reading, as text or JSON, as it comes.
//! Invariant: no more than one line of the answer is held; a point without readings is told apart from one that is not there.
//! Source: DESIGN section 8 (shapes and exit codes).

use std::io::Write;

use clap::Args;

use crate::cli::answers;
use crate::cli::ask::{Ask, GOOD, Refusal, Source, USAGE, line, settle, zone_of};
use crate::cli::client::Client;
use crate::cli::disk::Disk;
use crate::cli::span::Span;
use crate::clock::{Clock, SystemClock};
use crate::console::status::PointView;
use crate::console::view::ReadingView;

/// Bytes of one line of history.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A question about one point's history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(mut_arg("since", |since| since.default_value("2h")))]
pub struct History {
    /// The point, such as `regulator-3.pressure`.
    pub point: String,
    /// From when to when.
    #[command(flatten)]
    pub span: Span,
    /// About so many rows that look like all of them: no extreme is lost.
    #[arg(long, value_name = "ROWS")]
    pub most: Option<u32>,
}

/// Readings of one point. Exit code 1 when there is no such point.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn history(args: &Ask, question: &History, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(history_of(args, question, out).await)
}

async fn history_of(args: &Ask, question: &History, out: &mut dyn Write) -> anyhow::Result<u8> {
    if question.point.is_empty() || question.point.contains(',') {
        return Err(Refusal::new(USAGE, "history takes the full name of one point".to_owned()).into());
    }
    match args.source().await? {
        Source::Gateway(client) => history_of_gateway(args, &client, question, out).await?,
        Source::Disk(disk) => history_of_disk(args, &disk, question, out)?,
    }
    Ok(GOOD)
}

async fn history_of_gateway(
    args: &Ask,
    client: &Client,
    question: &History,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut query = vec![("point", question.point.as_str())];
    query.extend(question.span.query());
    let most = question.most.map(|most| most.to_string());
    query.extend(most.as_deref().map(|most| ("most", most)));
    let path = ["api", "v1", "history"];
    if args.json {
        return client.stream(&path, &query, &mut |piece| Ok(out.write_all(piece)?)).await;
    }
    let (zone, points) = zone_of(client).await?;
    let point = points.into_iter().find(|point| point.name == question.point);
    let (mut rest, mut any) = (Vec::new(), false);
    client
        .stream(&path, &query, &mut |piece| {
            rest.extend_from_slice(piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let view: ReadingView = serde_json::from_slice(rest.get(..end).unwrap_or_default())?;
                rest.drain(..=end);
                any = true;
                answers::reading(&view, point.as_ref(), &zone, out)?;
            }
            anyhow::ensure!(rest.len() <= LINE_BYTES_MAX, "a line of the answer is too long");
            Ok(())
        })
        .await?;
    if any { Ok(()) } else { none(&question.point, out) }
}

fn history_of_disk(args: &Ask, disk: &Disk, question: &History, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = SystemClock::new().now();
    let zone = disk.site().1;
    let window = question.span.window(&zone, now)?;
    if !args.json {
        disk.head(&zone, now, out)?;
    }
    let mut any = false;
    let mut written = Ok(());
    let mut each = |catalog: &crate::point::Catalog, reading: &crate::reading::Reading| {
        any = true;
        let Some(view) = ReadingView::new(catalog, reading) else { return true };
        let point = catalog.point(reading.point).map(PointView::new);
        written =
            if args.json { line(out, &view) } else { answers::reading(&view, point.as_ref(), &zone, out) };
        written.is_ok()
    };
    match question.most {
        Some(most) => disk.drawn(&question.point, window, most, &mut each)?,
        None => disk.history(std::slice::from_ref(&question.point), window, &mut each)?,
    }
    written?;
    if any {
        return Ok(());
    }
    if let Some(refusal) = disk.unknown(&question.point)? {
        return Err(refusal.into());
    }
    if args.json { Ok(()) } else { none(&question.point, out) }
}

/// What stands instead of the readings where there are none.
fn none(point: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    Ok(writeln!(out, "{} has no reading in this time", crate::cli::table::plain(point))?)
}
