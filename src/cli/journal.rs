//! `lifeline journal`: check, figures, copy and repair of a journal on disk.
//!
//! In: the journal's folder. Out: text, or one JSON object with `--json`; exit code 1 when something is damaged.
//! Invariant: only `repair` writes, and only where no gateway runs.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::ask::{GOOD, NO};
use crate::cli::disk::Disk;
use crate::cli::table::many;
use crate::cli::words::{bytes, count};
use crate::clock::{Clock, SystemClock};
use crate::journal::care::{self, Health};
use crate::journal::{Content, Seq, Settings};

/// Arguments of `journal`.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// Folder of the journal (default: the settings').
    #[arg(long, value_name = "DIR", global = true)]
    pub journal: Option<PathBuf>,
    /// One JSON object.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub act: Act,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum Act {
    /// Read all commits and compare them with their check sums; beside a running gateway too.
    Check,
    /// How much is in it, and how far each sink is.
    Stats,
    /// Copy it into a new folder, beside a running gateway too; `--journal FOLDER` reads the copy.
    Backup {
        /// The new folder.
        folder: PathBuf,
    },
    /// Make a sound journal of everything that is whole; the old files stay beside it. Stop the gateway first.
    Repair,
}

/// Runs the command.
///
/// # Errors
/// No journal, one that another program holds, no room.
pub fn journal(settings: &Settings, args: &JournalArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut settings = settings.clone();
    if let Some(path) = &args.journal {
        settings.path.clone_from(path);
    }
    let path = &settings.path;
    match &args.act {
        Act::Check => {
            let health = looked(path)?;
            say(&health, args.json, out)
        }
        Act::Stats => stats(path, args.json, out),
        Act::Backup { folder } => {
            let size = care::backup(path, folder)?;
            if args.json {
                writeln!(out, "{}", json!({ "folder": folder, "bytes": size }))?;
            } else {
                writeln!(out, "{} copied to {}", bytes(size), folder.display())?;
            }
            Ok(GOOD)
        }
        Act::Repair => {
            if let Ok(health) = looked(path)
                && health.is_sound()
            {
                writeln!(out, "nothing to repair: {} readings, all whole", count(health.readings))?;
                return Ok(GOOD);
            }
            let (aside, health) = care::repair(&settings, SystemClock::new().now())?;
            if !args.json {
                writeln!(out, "a new journal was made; the old files are in {}", aside.display())?;
            }
            say(&health, args.json, out)?;
            Ok(GOOD)
        }
    }
}

/// A check that shows how far it is on a terminal.
fn looked(path: &Path) -> anyhow::Result<Health> {
    let terminal = std::io::stderr().is_terminal();
    let mut shown = 0;
    let mut each = |at: Seq, of: Seq| {
        let percent = at.0.saturating_mul(100) / of.0.max(1);
        if terminal && percent > shown {
            shown = percent;
            eprint!("\r{percent} %");
        }
    };
    let health = care::check(path, &mut each)?;
    if terminal {
        eprint!("\r");
    }
    Ok(health)
}

fn say(health: &Health, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    if as_json {
        let line = json!({
            "sound": health.is_sound(), "groups": health.groups, "readings": health.readings,
            "transitions": health.transitions, "audits": health.audits, "damaged": health.damaged,
            "structure": health.structure,
        });
        writeln!(out, "{line}")?;
    } else {
        let Health { groups, readings, transitions, audits, damaged, structure } = health;
        writeln!(
            out,
            "{} in {}, {}, {} are whole",
            many(*readings, "reading"),
            many(*groups, "commit"),
            many(*transitions, "transition"),
            many(*audits, "audit")
        )?;
        if *damaged > 0 {
            writeln!(out, "{} records are damaged and left out", count(*damaged))?;
        }
        for line in structure {
            writeln!(out, "structure: {line}")?;
        }
        if !health.is_sound() {
            writeln!(
                out,
                "the gateway serves the rest; `lifeline journal repair` makes a sound journal of it"
            )?;
        }
    }
    Ok(if health.is_sound() { GOOD } else { NO })
}

fn stats(path: &Path, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let disk = Disk::open(path)?;
    let (status, content) = (disk.status()?, disk.reader.content()?);
    if as_json {
        let mut line = serde_json::to_value(&status)?;
        line["commits"] = json!(content.commits);
        line["commits_with_readings"] = json!(content.with_readings);
        line["readings_in_commits"] = json!(content.in_commits);
        line["readings"] = json!(content.readings);
        line["oldest"] = json!(content.oldest.map(|at| at.to_string()));
        writeln!(out, "{line}")?;
        return Ok(GOOD);
    }
    writeln!(out, "{} in {}", bytes(status.bytes), path.display())?;
    let tenths = (status.bytes * 10).checked_div(content.readings);
    let each = tenths.map_or(String::new(), |each| format!(", {}.{} bytes each", each / 10, each % 10));
    let Content { commits, with_readings, in_commits, readings, .. } = content;
    let bare = commits.saturating_sub(with_readings);
    writeln!(out, "{}{each}", many(readings, "reading"))?;
    writeln!(
        out,
        "{} in {} (what `journal check` reads); {} without readings; the last is commit {}",
        many(in_commits, "reading"),
        many(with_readings, "commit"),
        many(bare, "commit"),
        count(status.seq)
    )?;
    if let (Some(oldest), Some(newest)) = (content.oldest, &status.as_of) {
        let zone = disk.site().1;
        writeln!(out, "from {} to {}", zone.show(&oldest.to_string()), zone.show(newest))?;
    }
    writeln!(out, "{} open alarms", status.alarms_open)?;
    for sink in &status.sinks {
        writeln!(out, "sink {}: {} not delivered", sink.name, many(sink.backlog, "commit"))?;
    }
    Ok(GOOD)
}
