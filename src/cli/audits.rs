//! `lifeline audits`: what the gateway wrote to devices, what it learnt of their firmware, which documents it took, and what sinks will never get.
//!
//! In: a journal on disk, also while a gateway writes it. Out: text for people, or JSON with one object a line.
//! Invariant: only reads; each audit is shown once, oldest first.
//! Source: DESIGN promise 6 (each write is an audit).

use std::io::Write;

use anyhow::Context;

use crate::cli::Where;
use crate::cli::ask::{Ask, GOOD, Refusal, Source, settle, zone_of};
use crate::cli::client::Client;
use crate::cli::disk::{Disk, stranger};
use crate::cli::span::Span;
use crate::cli::table::Table;
use crate::clock::{Clock, SystemClock};
use crate::console::audits::{AuditView, AuditsView, PAGE_MAX, Wanted};
use crate::console::window::Window;
use crate::journal::Deed;

/// The question.
#[derive(Debug, clap::Args)]
#[command(mut_arg("since", |since| since.default_value("1d")))]
pub(crate) struct AuditsArgs {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Only of this device.
    device: Option<String>,
    #[command(flatten)]
    span: Span,
}

/// Shows the audits. Exit code 1 when there is no such device.
///
/// # Errors
/// There is no gateway and no journal, or it cannot be read.
pub(crate) async fn audits(ask: &Ask, args: &AuditsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(audits_of(ask, args, out).await)
}

async fn audits_of(ask: &Ask, args: &AuditsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    // Read here once, so that a faulty time is told in one way whoever is asked.
    let source = ask.source().await?;
    let (zone, points) = match &source {
        Source::Gateway(client) => {
            let (zone, points) = zone_of(client).await?;
            (zone, points.into_iter().map(|point| point.name).collect())
        }
        Source::Disk(disk) => (disk.site().1, disk.names()?),
    };
    let window = args.span.window(&zone, SystemClock::new().now())?;
    let mut table = Table::new(&["time", "device", "what", "came of it"]);
    let (mut next, mut found) = (Some(0), false);
    while let Some(after) = next {
        let page = match &source {
            Source::Gateway(client) => page_of_gateway(client, args, &window, after).await?,
            Source::Disk(disk) => page_of_disk(disk, args, &window, after)?,
        };
        next = page.next;
        for AuditView { audit, .. } in page.audits {
            found = true;
            if ask.json {
                writeln!(out, "{}", serde_json::to_string(&audit)?)?;
            } else {
                let [what, came] = words(&audit.deed);
                table.row(vec![zone.show(&audit.at.to_string()), audit.device, what, came]);
            }
        }
    }
    table.emit(out)?;
    if found {
        return Ok(GOOD);
    }
    let since = zone.show(&window.from.to_string());
    let none = match &args.device {
        Some(device) => {
            // One of other times may have audits; one that has none must be a device of now.
            if let Some(refusal) = stranger_of(device, &points) {
                return Err(refusal.into());
            }
            format!("nothing was written to {device} or learnt of its firmware since {since}")
        }
        None => format!(
            "nothing was written to a device or learnt of its firmware, and no documents taken, since {since}"
        ),
    };
    if !ask.json {
        writeln!(out, "{none}")?;
    }
    Ok(GOOD)
}

/// The refusal for a device of which the site has no point.
fn stranger_of(device: &str, points: &[String]) -> Option<Refusal> {
    let devices = points.iter().filter_map(|point| point.split_once('.'));
    let mut devices: Vec<String> = devices.map(|(device, _)| device.to_owned()).collect();
    if devices.is_empty() {
        return None;
    }
    devices.push("gateway".to_owned());
    stranger("there is no device", device, &devices)
}

fn page_of_disk(disk: &Disk, args: &AuditsArgs, window: &Window, after: u64) -> anyhow::Result<AuditsView> {
    let device = args.device.clone();
    let wanted = Wanted { window: *window, device, after, limit: PAGE_MAX };
    wanted.of(&disk.reader).context("cannot read the audits")
}

async fn page_of_gateway(
    client: &Client,
    args: &AuditsArgs,
    window: &Window,
    after: u64,
) -> anyhow::Result<AuditsView> {
    let (since, until) = (window.from.to_string(), window.to.to_string());
    let (after, limit) = (after.to_string(), PAGE_MAX.to_string());
    let mut query = vec![("since", since.as_str()), ("after", &after), ("limit", &limit)];
    // An open end is no time that can be written.
    query.extend(args.span.until.is_some().then_some(("until", until.as_str())));
    query.extend(args.device.as_deref().map(|device| ("device", device)));
    client.query(&["api", "v1", "audits"], &query).await
}

/// What was done or learnt, and what came of it.
fn words(deed: &Deed) -> [String; 2] {
    match deed {
        Deed::Trigger { name, write, failure } => {
            [format!("trigger {name}: {write}"), failure.clone().unwrap_or_else(|| "confirmed".to_owned())]
        }
        Deed::Cut { sink, readings } => {
            [format!("{readings} readings removed before {sink} had them"), "lost to that sink".to_owned()]
        }
        Deed::Firmware { was, is, note } => {
            let name = |version: &Option<String>| version.clone().unwrap_or_else(|| "unknown".to_owned());
            [format!("firmware {}, before {}", name(is), name(was)), note.clone().unwrap_or_default()]
        }
        Deed::Reload { is, by, changes, .. } => [format!("documents {is}, by {by}"), changes.join("; ")],
        Deed::Unapplied { by, why } => [format!("documents refused, by {by}"), why.clone()],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::{Audit, Group, Journal, Settings};

    #[tokio::test]
    async fn what_was_written_is_told_by_device_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let settings =
            Settings { path: folder.path().into(), commit_every: hour, keep: hour * 100, max_bytes: 1 << 30 };
        let now = SystemClock::new().now();
        let audit = |device: &str, ago: Duration, failure: Option<&str>| Audit {
            at: now.minus(ago),
            device: device.to_owned(),
            deed: Deed::Trigger {
                name: "measure".to_owned(),
                write: "holding 0x0118 = 1".to_owned(),
                failure: failure.map(str::to_owned),
            },
        };
        let is = Deed::Firmware { was: None, is: Some("2.4".to_owned()), note: None };
        let audits = vec![
            audit("tilt-1", hour * 30, None),
            audit("tilt-1", hour, Some("timeout")),
            audit("tilt-2", hour, None),
            Audit { at: now.minus(hour), device: "tilt-1".to_owned(), deed: is },
        ];
        Journal::open(&settings).unwrap().commit(&Group { now, audits, ..Group::default() }).unwrap();
        let journal: Option<std::path::PathBuf> = Some(folder.path().into());
        let shown = async |device: Option<&str>, since: &str, until: Option<&str>, json| {
            let place = Where { url: None, journal: journal.clone(), token_file: None, json };
            let ask = Ask { journal: journal.clone(), json, ..Ask::default() };
            let (device, until) = (device.map(str::to_owned), until.map(str::to_owned));
            let args = AuditsArgs { place, device, span: Span { since: Some(since.to_owned()), until } };
            let mut out = Vec::new();
            let code = super::audits(&ask, &args, &mut out).await.unwrap();
            (code, String::from_utf8(out).unwrap())
        };
        let (code, text) = shown(Some("tilt-1"), "1d", None, false).await;
        assert_eq!(code, GOOD);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains(" +00:00 "), "the zone of the site, which has none here: {text}");
        assert!(text.contains("timeout") && text.contains("firmware 2.4, before unknown"), "{text}");
        let (_, text) = shown(None, "all", None, true).await;
        assert_eq!(text.lines().count(), 4);
        assert!(text.lines().all(|line| line.starts_with('{') && line.contains("\"deed\":")), "{text}");
        let (_, text) = shown(None, "all", Some("10h"), true).await;
        assert_eq!(text.lines().count(), 1, "{text}");
        let (code, text) = shown(Some("tilt-3"), "all", None, false).await;
        assert!(code == GOOD && text.starts_with("nothing was written to tilt-3 "), "{text}");
        assert_eq!(shown(Some("tilt-3"), "all", None, true).await, (GOOD, String::new()));
    }

    #[test]
    fn a_device_that_the_site_does_not_have_is_told() {
        let points = ["tilt-1.x".to_owned(), "crack-1.opening".to_owned()];
        let told = |device| stranger_of(device, &points).map(|refusal| refusal.to_string());
        assert_eq!(told("tilt-2").as_deref(), Some("there is no device tilt-2; did you mean tilt-1?"));
        assert_eq!((told("tilt-1"), told("gateway")), (None, None));
        assert!(stranger_of("tilt-2", &[]).is_none(), "nothing is known of a journal without readings");
    }
}
