//! `lifeline quarantine`: records that sinks refused for good: look, export, send again, delete.
//!
//! In: the quarantine beside a journal, also while a gateway runs. Out: text for people, times in the zone of the journal's site; or JSON
//! with one object a line.
//! Invariant: nothing is deleted but by `--delete`; a running gateway sends what is marked within seconds, another one at its start.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::cli::answers::Zone;
use crate::cli::ask::{Ask, GOOD, NO, Refusal, settle};
use crate::cli::disk::{Disk, stranger};
use crate::cli::table::Table;
use crate::journal::quarantine::{Make, Quarantine, SetAside};

/// Records that are read at a time.
const PAGE: usize = 500;

/// The question.
#[derive(Debug, clap::Args)]
pub(crate) struct QuarantineArgs {
    /// Only of this sink.
    sink: Option<String>,
    /// Only this record, by its number.
    #[arg(long, value_name = "NUMBER")]
    id: Option<i64>,
    /// Have them sent again as they are.
    #[arg(long, conflicts_with = "delete")]
    send_again: bool,
    /// Delete them for good.
    #[arg(long)]
    delete: bool,
    /// The folder of the journal (default: that of the settings).
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// One JSON object per line, with the whole record: an export.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct View<'a> {
    id: i64,
    sink: &'a str,
    time: String,
    records: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    topic: &'a str,
    record: &'a str,
    why: &'a str,
    send_again: bool,
}

/// Shows the records, or acts on them. Exit code 1 when there is no such sink, or no record of the number.
///
/// # Errors
/// The quarantine cannot be read or written.
pub(crate) fn quarantine(ask: &Ask, args: &QuarantineArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(quarantine_of(ask, args, out))
}

fn quarantine_of(ask: &Ask, args: &QuarantineArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let folder = ask.journal.as_ref().unwrap_or(&ask.default_journal);
    let opened = Quarantine::open(folder, Make::No);
    let opened = opened.with_context(|| format!("cannot open the quarantine in {}", folder.display()))?;
    let Some(mut kept) = opened else {
        return none(folder, args, out);
    };
    let sink = args.sink.as_deref();
    if args.send_again || args.delete {
        let (count, what) = if args.delete {
            (kept.delete(sink, args.id)?, "deleted")
        } else {
            (kept.send_again(sink, args.id)?, "to be sent again")
        };
        if count == 0 {
            return none(folder, args, out);
        }
        writeln!(out, "{count} {what}")?;
        return Ok(GOOD);
    }
    // A journal that cannot be read does not keep its quarantine from a person.
    let zone = Disk::open(folder).map_or_else(|_| Zone::named("UTC"), |disk| disk.site().1);
    let mut table = Table::new(&["number", "time", "sink", "record", "why"]);
    let (mut after, mut found) = (0, false);
    loop {
        let page = kept.list(sink, after, PAGE)?;
        let is_last = page.len() < PAGE;
        for one in page {
            after = one.id;
            if args.id.is_some_and(|id| id != one.id) {
                continue;
            }
            found = true;
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&view(&one))?)?;
            } else {
                table.row(row(&one, &zone));
            }
        }
        if is_last {
            break;
        }
    }
    if !found {
        return none(folder, args, out);
    }
    if !args.json {
        table.emit(out)?;
    }
    Ok(GOOD)
}

/// Nothing is set aside of what was asked for: good, but for a record that a person named, a sink that there is not, and a folder without a journal.
fn none(folder: &Path, args: &QuarantineArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let sinks = Disk::open(folder)?.reader.progress().context("cannot read the names of the sinks")?;
    let sinks: Vec<String> = sinks.into_keys().collect();
    if let Some(refusal) =
        args.sink.as_ref().and_then(|sink| stranger("the journal knows no sink", sink, &sinks))
    {
        return Err(refusal.into());
    }
    if let Some(id) = args.id {
        return Err(Refusal::new(NO, format!("no record {id} is set aside")).into());
    }
    if !args.json {
        let of = args.sink.as_ref().map_or_else(String::new, |sink| format!(" of {sink}"));
        writeln!(out, "nothing{of} is set aside in {}", folder.display())?;
    }
    Ok(GOOD)
}

fn view(one: &SetAside) -> View<'_> {
    let SetAside { id, sink, at, records, place, what, why, again } = one;
    let time = at.to_string();
    View { id: *id, sink, time, records: *records, topic: place, record: what, why, send_again: *again }
}

/// Records come from outside: nothing of theirs may steer a terminal.
fn row(one: &SetAside, zone: &Zone) -> Vec<String> {
    let plain = |text: &str, most: usize| {
        let text: String =
            text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let cut: String = text.chars().take(most).collect();
        if cut.len() < text.len() { cut + "…" } else { cut }
    };
    let record = if one.place.is_empty() { one.what.clone() } else { format!("{} {}", one.place, one.what) };
    let why = if one.again { format!("{} (to be sent again)", one.why) } else { one.why.clone() };
    let at = zone.show(&one.at.to_string());
    vec![one.id.to_string(), at, one.sink.clone(), plain(&record, 80), plain(&why, 80)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::journal::{Group, Journal, Settings};
    use crate::point::Catalog;

    #[test]
    fn a_record_cannot_steer_the_terminal() {
        let (sink, place) = ("tsdb".to_owned(), String::new());
        let (what, why) = ("a\u{1b}[2Jb".to_owned(), "x".repeat(100));
        let one =
            SetAside { id: 3, sink, at: Timestamp::default(), records: 1, place, what, why, again: false };
        let row = row(&one, &Zone::named("UTC"));
        assert_eq!(row[3], "a [2Jb");
        assert!(row[4].ends_with('…') && row[4].chars().count() == 81);
    }

    #[test]
    fn times_stand_in_the_zone_of_the_site() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let at = Timestamp::parse("2026-11-23T20:00:00.123Z").unwrap();
        let listed = |json| {
            let ask = Ask { journal: Some(path.clone()), ..Ask::default() };
            let args = QuarantineArgs {
                sink: None,
                id: None,
                send_again: false,
                delete: false,
                journal: None,
                json,
            };
            let mut out = Vec::new();
            assert_eq!(quarantine(&ask, &args, &mut out).unwrap(), GOOD);
            String::from_utf8(out).unwrap()
        };
        let one = SetAside {
            id: 0,
            sink: "tsdb".to_owned(),
            at,
            records: 1,
            place: String::new(),
            what: "level=1".to_owned(),
            why: "no".to_owned(),
            again: false,
        };
        Quarantine::open(&path, Make::Yes).unwrap().unwrap().put("tsdb", &[one]).unwrap();
        assert!(listed(false).contains("  2026-11-23 20:00:00.123 +00:00  tsdb  "), "no journal, no zone");
        let settings = Settings {
            path: path.clone(),
            commit_every: std::time::Duration::from_secs(1),
            keep: std::time::Duration::from_secs(86_400),
            max_bytes: 1 << 20,
        };
        let site = "[site]\nname = \"nanan-01\"\ntimezone = \"Asia/Shanghai\"\n";
        let documents = [("site.toml".to_owned(), site.to_owned())];
        let mut journal = Journal::open(&settings).unwrap();
        journal.keep_site(&Catalog::default(), &documents, at).unwrap();
        journal.commit(&Group { now: at, ..Group::default() }).unwrap();
        assert!(listed(false).contains("  2026-11-24 04:00:00.123 +08:00  tsdb  "), "{}", listed(false));
        assert!(listed(true).contains("\"time\":\"2026-11-23T20:00:00.123Z\""), "programs read UTC");
    }
}
