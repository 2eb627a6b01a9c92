//! `lifeline audits`: what the gateway wrote to devices, what it learnt of their firmware, which documents it took, and what sinks will never get.
//!
//! In: a journal on disk, also while a gateway writes it. Out: text for people, or JSON with one object a line.
//! Invariant: only reads; each audit is shown once, oldest first.
//! Source: DESIGN promise 6 (each write is an audit).

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::cli::ask::{Ask, GOOD, NO, Refusal};
use crate::cli::disk::Disk;
use crate::cli::table::Table;
use crate::clock::{Clock, SystemClock};
use crate::console::window::Window;
use crate::journal::{Audit, Deed};

/// Audits that are read at a time.
const PAGE: usize = 1000;

/// The question.
#[derive(Debug, clap::Args)]
pub(crate) struct AuditsArgs {
    /// Only of this device.
    device: Option<String>,
    /// The folder of the journal (default: that of the settings).
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// From: RFC 3339, a duration back from now, or `all`.
    #[arg(long, default_value = "1d")]
    since: String,
    /// One JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Shows the audits. Exit code 1 when there are none.
///
/// # Errors
/// There is no journal, or it cannot be read.
pub(crate) fn audits(ask: &Ask, args: &AuditsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let disk = Disk::open(ask.journal.as_ref().unwrap_or(&ask.default_journal))?;
    let window = Window::parse(Some(&args.since), None, SystemClock::new().now(), "1d")?;
    let is_wanted = |audit: &Audit| {
        window.from <= audit.at && args.device.as_ref().is_none_or(|device| *device == audit.device)
    };
    let mut table = Table::new(&["time (UTC)", "device", "what", "came of it"]);
    let mut after = 0;
    let mut found = false;
    loop {
        let page = disk.reader.audits(after, PAGE).context("cannot read the audits")?;
        let is_last = page.len() < PAGE;
        for (id, audit) in page {
            after = id;
            if !is_wanted(&audit) {
                continue;
            }
            found = true;
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&audit)?)?;
            } else {
                let [what, came] = words(&audit.deed);
                table.row(vec![audit.at.to_string(), audit.device, what, came]);
            }
        }
        if is_last {
            break;
        }
    }
    table.emit(out)?;
    if found {
        return Ok(GOOD);
    }
    let text = format!(
        "nothing was written to a device or learnt of its firmware, and no documents taken, since {}",
        window.from
    );
    Err(Refusal::new(NO, text).into())
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
    use crate::journal::{Group, Journal, Settings};

    #[test]
    fn what_was_written_is_told_by_device_and_time() {
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
        let ask = Ask { journal: Some(folder.path().into()), ..Ask::default() };
        let shown = |device: Option<&str>, since: &str, json| {
            let device = device.map(str::to_owned);
            let args = AuditsArgs { device, journal: None, since: since.to_owned(), json };
            let mut out = Vec::new();
            let code = super::audits(&ask, &args, &mut out);
            (code.ok(), String::from_utf8(out).unwrap())
        };
        let (code, text) = shown(Some("tilt-1"), "1d", false);
        assert_eq!(code, Some(GOOD));
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("timeout") && text.contains("firmware 2.4, before unknown"), "{text}");
        let (_, text) = shown(None, "all", true);
        assert_eq!(text.lines().count(), 4);
        assert!(text.lines().all(|line| line.starts_with('{') && line.contains("\"deed\":")), "{text}");
        assert_eq!(shown(Some("tilt-3"), "all", false).0, None);
    }
}
