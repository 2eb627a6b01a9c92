//! `lifeline coverage import` and `export`: the district's table of risk points (一点一码), checked whole before a word of it is taken.
//!
//! In: a table in UTF-8 or GBK and the site's documents. Out: `risk-points.toml` in the site's folder, or a report by line and no change at all.
//! Invariant: the document is written under another name and renamed, and only when all documents compile with it; a code that was there stays there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::ask::{GOOD, NO};
use crate::cli::coverage::cell;
use crate::cli::table::{Table, many_of, plain};
use crate::cli::whole;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::risk::{RiskPoint, datum};
use crate::site::points::{self, District, Finding, Row, emit};
use crate::site::{self, Options, Site, encoding};

/// The document that an import writes.
const DOCUMENT: &str = "risk-points.toml";
/// Findings about files that are not there, or are none of ours.
const UNREAD: [&str; 5] = ["missing-folder", "missing-include", "not-utf-8", "too-large", "unreadable"];
/// Two places nearer than this are one.
const SAME_M: f64 = 30.0;

/// What a person wants.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The table.
    pub table: PathBuf,
    /// Only look.
    pub check: bool,
    /// Places outside are mistakes.
    pub district: Option<District>,
}

/// Takes a table, or says why not; exit code 1 when nothing was taken.
///
/// # Errors
/// Files that can't be read or written.
pub fn import(options: &Options, wanted: &Import, out: &mut dyn Write) -> anyhow::Result<u8> {
    let bytes =
        std::fs::read(&wanted.table).with_context(|| format!("cannot read {}", wanted.table.display()))?;
    let name = wanted.table.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let Some(text) = encoding::decode(&bytes) else {
        let why = "it is neither UTF-8 nor GBK: save it from the spreadsheet as \"CSV UTF-8\"";
        return tell(&name, &[Finding::error(0, why)], out);
    };
    let (rows, mut found) = points::rows(&text, wanted.district);
    if found.iter().any(|one| one.is_error) {
        return tell(&name, &found, out);
    }
    // Documents that only lack these points don't compile yet; whatever else is wrong with them is told below.
    let (old, before, mut held) = site::load(options);
    let old = old.unwrap_or_default();
    let target = options.site.join(DOCUMENT);
    let place = target.display().to_string();
    let unread = Diagnostics(before.0.into_iter().filter(|one| is_unread(one, &place)).collect());
    if unread.errors() > 0 {
        return refuse(&crate::diagnostic::render(&unread, &held), out);
    }
    let written = std::fs::read_to_string(options.site.join(DOCUMENT)).unwrap_or_default();
    let all = rows.len();
    let rows = without_same(rows, &old, &written);
    if rows.len() < all {
        let text = format!(
            "{} points stand in other documents just as they do here: they stay there",
            all - rows.len()
        );
        found.push(Finding::note(0, text));
    }
    let document = emit::document(&rows, &name);
    found.extend(by_hand(&rows, &old, &written));
    found.extend(lost(&rows, &old, &written));
    if found.iter().any(|one| one.is_error) {
        return tell(&name, &found, out);
    }
    held.retain(|(known, _)| *known != place);
    held.push((place, document.clone()));
    let (new, report) = load(&Options { held: Some(held), ..options.clone() });
    let Some(new) = new else { return refuse(&report, out) };
    found.extend(moves(&rows, &old));
    found.extend(bound(&rows, &new));
    found.sort();
    let code = tell(&name, &found, out)?;
    if code != GOOD {
        return Ok(code);
    }
    let (fresh, changed, same) = counted(&rows, &old, &new);
    let counts = format!("{all} points: {fresh} new, {changed} changed, {same} as before");
    if wanted.check {
        writeln!(out, "{counts}; only checked, nothing was written")?;
        return Ok(GOOD);
    }
    whole::write(&target, &document)?;
    writeln!(out, "{counts}; written to {}; `lifeline reload` takes it", target.display())?;
    Ok(GOOD)
}

/// How many points are new, changed and as before.
fn counted(rows: &[Row], old: &Site, new: &Site) -> (usize, usize, usize) {
    let known: BTreeMap<&str, &RiskPoint> =
        old.risk_points.iter().map(|point| (point.code.as_str(), point)).collect();
    let taken = new.risk_points.iter().filter(|point| rows.iter().any(|row| row.code == point.code));
    let (mut fresh, mut changed, mut same) = (0, 0, 0);
    for point in taken {
        match known.get(point.code.as_str()) {
            None => fresh += 1,
            Some(before) if *before == point => same += 1,
            Some(_) => changed += 1,
        }
    }
    (fresh, changed, same)
}

fn load(options: &Options) -> (Option<Site>, String) {
    let (site, found, texts) = site::load(options);
    let report = if site.is_some() { String::new() } else { crate::diagnostic::render(&found, &texts) };
    (site, report)
}

fn refuse(report: &str, out: &mut dyn Write) -> anyhow::Result<u8> {
    write!(out, "{report}")?;
    writeln!(out, "nothing was taken")?;
    Ok(NO)
}

/// Whether something beside the import's own document could not be read: documents in hand don't show that it is not there.
fn is_unread(finding: &Diagnostic, own: &str) -> bool {
    UNREAD.contains(&finding.code) && finding.place.file != own
}

fn tell(name: &str, found: &[Finding], out: &mut dyn Write) -> anyhow::Result<u8> {
    for one in found {
        let place = if one.line == 0 { name.to_owned() } else { format!("{name}:{}", one.line) };
        let word = if one.is_error { "error" } else { "note" };
        writeln!(out, "{word}: {}: {}", plain(&place), plain(&one.text))?;
    }
    let errors: Vec<_> = found.iter().filter(|one| one.is_error).collect();
    if !errors.is_empty() {
        writeln!(out, "{}: nothing was taken", many_of(&errors, "error"))?;
    }
    Ok(if !errors.is_empty() { NO } else { GOOD })
}

/// The rows but those of points that another document has, and says the same of: an export comes back whole.
fn without_same(mut rows: Vec<Row>, old: &Site, written: &str) -> Vec<Row> {
    let imported = imported(written);
    let cells = emit::cells(&old.risk_points, &old.sensors, &old.timezone);
    let text: Vec<String> =
        cells.iter().map(|row| row.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",")).collect();
    let (known, _) = points::rows(&text.join("\n"), None);
    rows.retain(|row| {
        imported.contains(&row.code) || !known.iter().any(|one| Row { line: row.line, ..one.clone() } == *row)
    });
    rows
}

/// Rows of points that another document has: one of the two must go.
fn by_hand(rows: &[Row], old: &Site, written: &str) -> Vec<Finding> {
    let imported = imported(written);
    let twice = |row: &&Row| {
        !imported.contains(&row.code) && old.risk_points.iter().any(|point| point.code == row.code)
    };
    let text = |row: &Row| {
        format!(
            "{} stands in a document already; take its [[risk_point]] out there, or this row out here",
            row.code
        )
    };
    rows.iter().filter(twice).map(|row| Finding::error(row.line, text(row))).collect()
}

/// The codes of the document of an earlier import.
fn imported(written: &str) -> BTreeSet<String> {
    let table: toml::Table = toml::from_str(written).unwrap_or_default();
    let points = table.get("risk_point").and_then(toml::Value::as_array).into_iter().flatten();
    points.filter_map(|point| Some(point.get("code")?.as_str()?.to_owned())).collect()
}

/// Codes of an earlier import that went away or changed.
fn lost(rows: &[Row], old: &Site, written: &str) -> Vec<Finding> {
    let of = |code: &str| old.risk_points.iter().find(|point| point.code == code);
    let mut found = Vec::new();
    for code in imported(written).into_iter().filter(|code| rows.iter().all(|row| row.code != *code)) {
        let mut fresh = rows.iter().filter(|row| of(&row.code).is_none());
        let other = of(&code).and_then(|before| fresh.find(|row| is_same(before, row)));
        found.push(match other {
            Some(row) => Finding::error(
                row.line,
                format!(
                    "{} seems to be {code} under a changed code; a code never changes: keep the old row with `until`, and name it in `predecessors`",
                    row.code
                ),
            ),
            None => Finding::error(0, gone(&code)),
        });
    }
    found
}

/// Points that move to another town.
fn moves(rows: &[Row], old: &Site) -> Vec<Finding> {
    let moved = |row: &Row| {
        let before = old.risk_points.iter().find(|point| point.code == row.code)?;
        let town = row.texts.get("town").filter(|town| **town != before.town)?;
        let text = format!(
            "{} moves from {} to {town}: from the reload on; the hours before stay where they were",
            row.code, before.town
        );
        Some(Finding::note(row.line, text))
    };
    rows.iter().filter_map(moved).collect()
}

fn gone(code: &str) -> String {
    format!("{code} is gone from the table; a point that is over keeps its row, with `until`")
}

/// The same class at the same place, or under the same name in the same town.
fn is_same(one: &RiskPoint, row: &Row) -> bool {
    let places = one.place.as_ref().zip(row.place.as_ref());
    let metres = places.and_then(|(a, b)| Some(datum::metres(datum::wgs84(a).ok()?, datum::wgs84(b).ok()?)));
    let near = metres.is_some_and(|metres| metres <= SAME_M);
    let text = |key: &str| row.texts.get(key).map(String::as_str);
    let named =
        one.name.is_some() && one.name.as_deref() == text("name") && Some(one.town.as_str()) == text("town");
    Some(one.class.as_str()) == text("class") && (near || named)
}

/// What the table says of sensors, against the devices of the documents.
fn bound(rows: &[Row], new: &Site) -> Vec<Finding> {
    let mut found = Vec::new();
    for row in rows.iter().filter(|row| !row.sensors.is_empty()) {
        let there: BTreeSet<&str> = new
            .sensors
            .iter()
            .filter(|sensor| sensor.code == row.code)
            .map(|sensor| sensor.name.as_str())
            .collect();
        for name in &row.sensors {
            if there.contains(name.as_str()) {
                continue;
            }
            let elsewhere: Vec<&str> = new
                .sensors
                .iter()
                .filter(|sensor| sensor.name == *name)
                .map(|sensor| sensor.code.as_str())
                .collect();
            let text = match elsewhere.as_slice() {
                [] => format!(
                    "no device `{name}` is bound to a risk point; write risk_point = \"{}\" in its section",
                    row.code
                ),
                codes => format!(
                    "the sensor {name} is bound to {}; write also_at = [\"{}\"] if it serves both",
                    codes.join(", "),
                    row.code
                ),
            };
            found.push(Finding::error(row.line, text));
        }
        for name in there.into_iter().filter(|name| !row.sensors.iter().any(|one| one == name)) {
            found.push(Finding::note(row.line, format!("the device {name} stands there too")));
        }
    }
    found
}

/// Writes the risk points of the documents as a table.
///
/// # Errors
/// Documents with mistakes; a file that can't be written; a letter that GBK does not have.
pub fn export(
    options: &Options,
    gbk: bool,
    output: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let (site, report) = load(options);
    let Some(site) = site else { anyhow::bail!("the documents have mistakes\n{report}") };
    let mut text = if gbk { String::new() } else { "\u{feff}".to_owned() };
    for row in emit::cells(&site.risk_points, &site.sensors, &site.timezone) {
        text += &row.iter().map(|one| cell(one)).collect::<Vec<_>>().join(",");
        text += "\r\n";
    }
    let bytes = if gbk {
        encoding::gbk(&text).context("a letter of the documents is not in GBK; export as UTF-8")?
    } else {
        text.into_bytes()
    };
    match output {
        Some(path) => {
            std::fs::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
            let mut table = Table::new(&["points", "written to"]);
            table.row(vec![site.risk_points.len().to_string(), path.display().to_string()]);
            table.emit(out)?;
        }
        None => out.write_all(&bytes)?,
    }
    Ok(GOOD)
}
