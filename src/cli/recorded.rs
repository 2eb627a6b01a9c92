//! Recorded readings in files: CSV, our own exports, line protocol.
//!
//! In: a file, and which of its columns is which point. Out: readings in canonical units, by time.
//! Invariant: nothing is filled in: an empty cell is no reading. All mistakes are told at once with their place, and nothing is replayed then.
//! Source: InfluxDB line protocol; tables are read by `site::table`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use crate::clock::Timestamp;
use crate::console::window;
use crate::point::{Catalog, PointId};
use crate::reading::{Doubt, Reading, Reason, Sample};
use crate::site::Site;
use crate::site::table::{Cell, Rows};
use crate::unit::Unit;

/// Mistakes told of one file; the rest is counted.
const TOLD_MAX: usize = 20;

/// Which column is which point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Name of the column, or `measurement.field` of line protocol.
    pub(crate) column: String,
    /// The unit of its numbers; the point's own when none is given.
    pub(crate) unit: Option<Unit>,
    /// Name of the point.
    pub(crate) point: String,
}

/// Parses `column=point` and `column:unit=point`.
pub(crate) fn mapping(text: &str) -> Result<Mapping, String> {
    let usage = "write COLUMN=POINT or COLUMN:UNIT=POINT, such as depth_mm:mm=underpass-1.level";
    let (column, point) = text.split_once('=').ok_or(usage)?;
    let (column, unit) = match column.rsplit_once(':') {
        None => (column, None),
        Some((column, unit)) => {
            (column, Some(Unit::spelled(unit).ok_or_else(|| format!("there is no unit `{unit}`"))?))
        }
    };
    if column.is_empty() || point.is_empty() {
        return Err(usage.to_owned());
    }
    Ok(Mapping { column: column.to_owned(), unit, point: point.to_owned() })
}

/// A mapping with its point found and its conversion known.
struct Column {
    name: String,
    point: PointId,
    factor: f64,
    offset: f64,
}

/// Readings of one file by time, in the order of the file within a time.
pub(crate) type Readings = Vec<(Timestamp, Vec<Reading>)>;

struct Mistakes {
    file: String,
    found: Vec<String>,
    more: usize,
}

impl Mistakes {
    fn at(&mut self, (line, column): (usize, usize), text: &str) {
        self.add(line, column, text);
    }

    fn add(&mut self, line: usize, column: usize, text: &str) {
        if self.found.len() < TOLD_MAX {
            self.found.push(format!("{}:{line}:{column}: {text}", self.file));
        } else {
            self.more += 1;
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let more = if self.more > 0 { format!("\nand {} more", self.more) } else { String::new() };
        anyhow::bail!("nothing was replayed:\n{}{more}", self.found.join("\n"))
    }
}

/// Reads a file of recorded readings.
pub(crate) fn read(file: &Path, map: &[Mapping], time: &str, site: &Site) -> anyhow::Result<Readings> {
    let catalog = &*site.catalog;
    let columns = columns(map, catalog)?;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut mistakes = Mistakes { file: file.display().to_string(), found: Vec::new(), more: 0 };
    let line_protocol = file.extension().is_some_and(|extension| extension == "lp");
    let mut readings = if line_protocol {
        lines(&text, &columns, catalog, &mut mistakes)
    } else {
        csv(&text, &columns, time, site, &mut mistakes)?
    };
    mistakes.finish()?;
    // Exports hold one point after the other; a time is one time for all of them.
    readings.sort_by_key(|reading| reading.at);
    let mut by_time: Readings = Vec::new();
    for reading in readings {
        match by_time.last_mut().filter(|(at, _)| *at == reading.at) {
            Some((_, readings)) => readings.push(reading),
            None => by_time.push((reading.at, vec![reading])),
        }
    }
    anyhow::ensure!(!by_time.is_empty(), "{} holds no reading of a mapped point", file.display());
    Ok(by_time)
}

fn columns(map: &[Mapping], catalog: &Catalog) -> anyhow::Result<Vec<Column>> {
    let column = |mapping: &Mapping| {
        let Some(point) = catalog.find(&mapping.point) else {
            anyhow::bail!("the site has no point `{}`", mapping.point)
        };
        let (factor, offset) = match (mapping.unit, point.unit) {
            (None, _) => (1.0, 0.0),
            (Some(from), Some(to)) => from.to(to).with_context(|| {
                format!("{} does not convert to {}, the unit of {}", from.name(), to.name(), point.name)
            })?,
            (Some(_), None) => anyhow::bail!("{} has no unit", point.name),
        };
        Ok(Column { name: mapping.column.clone(), point: point.id, factor, offset })
    };
    map.iter().map(column).collect()
}

fn csv(
    text: &str,
    columns: &[Column],
    time: &str,
    site: &Site,
    mistakes: &mut Mistakes,
) -> anyhow::Result<Vec<Reading>> {
    let text = text.trim_start_matches('\u{feff}');
    let mut rows = Rows::new(text);
    let head = rows.next().and_then(Result::ok).map(|row| row.cells).unwrap_or_default();
    let head: Vec<String> = head.into_iter().map(|cell| cell.text).collect();
    let place = |name: &str| head.iter().position(|known| known == name);
    let of_time = place(time).with_context(|| {
        format!("{} has no column `{time}`; its columns are {}", mistakes.file, head.join(", "))
    })?;
    let long = place("point").zip(place("value")).zip(place("quality"));
    let mut found = Vec::new();
    let mut wanted = Vec::new();
    for column in columns {
        let at = place(&column.name).with_context(|| {
            format!("{} has no column `{}`; its columns are {}", mistakes.file, column.name, head.join(", "))
        })?;
        wanted.push((at, column));
    }
    anyhow::ensure!(
        long.is_some() || !wanted.is_empty(),
        "say which column is which point: --map COLUMN=POINT"
    );
    let mut lines = Lines { text, begin: 0, line: 1 };
    for row in rows {
        let row = match row {
            Ok(row) => Row { lines: lines.to(row.span.0), cells: row.cells },
            Err(wrong) => {
                for ((at, _), why) in wrong {
                    mistakes.at(lines.to(at).place(at), why);
                }
                continue;
            }
        };
        let (at, text) = row.cell(of_time);
        match window::time(text, &site.timezone) {
            None => mistakes.at(row.place(at), &no_time(text, &site.timezone)),
            Some(at) if wanted.is_empty() => {
                if let Some(((point, value), quality)) = long {
                    let reason = place("reason").map_or("", |place| row.cell(place).1);
                    row.long(at, (point, value, quality), reason, &site.catalog, mistakes, &mut found);
                }
            }
            Some(at) => row.wide(at, &wanted, mistakes, &mut found),
        }
    }
    Ok(found)
}

/// What to write instead of `text`.
pub(crate) fn no_time(text: &str, timezone: &str) -> String {
    format!(
        "`{text}` is no time; write 2026-11-23T08:00:00+08:00, or 2026-11-23 08:00:00 for a time of the site's zone, {timezone}"
    )
}

/// Counts the lines of a text up to a row, for the places of mistakes.
#[derive(Clone, Copy)]
struct Lines<'t> {
    text: &'t str,
    /// Where a line begins.
    begin: usize,
    /// Its number, from 1.
    line: usize,
}

impl Lines<'_> {
    /// On to the line that holds this byte.
    fn to(&mut self, at: usize) -> Self {
        let passed = self.text.get(self.begin..at).unwrap_or_default();
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
        self.begin += passed.rfind('\n').map_or(0, |end| end + 1);
        *self
    }

    /// Line and column of a byte behind the line's beginning, both from 1, the column in characters.
    fn place(mut self, at: usize) -> (usize, usize) {
        let begin = self.to(at).begin;
        (self.line, self.text.get(begin..at).unwrap_or_default().chars().count() + 1)
    }
}

/// A row of a CSV file.
struct Row<'t> {
    lines: Lines<'t>,
    cells: Vec<Cell>,
}

impl Row<'_> {
    /// Where a cell begins, and its text; nothing where a row is too short.
    fn cell(&self, index: usize) -> (usize, &str) {
        let begin = self.cells.first().map_or(self.lines.begin, |cell| cell.span.0);
        self.cells.get(index).map_or((begin, ""), |cell| (cell.span.0, &cell.text))
    }

    fn place(&self, at: usize) -> (usize, usize) {
        self.lines.place(at)
    }

    /// A time with a number in each column.
    fn wide(
        &self,
        at: Timestamp,
        wanted: &[(usize, &Column)],
        mistakes: &mut Mistakes,
        found: &mut Vec<Reading>,
    ) {
        for (place, own) in wanted {
            let (at_byte, text) = self.cell(*place);
            if text.is_empty() {
                continue;
            }
            match text.parse::<f64>().ok().filter(|value| value.is_finite()) {
                Some(value) => {
                    let sample = Sample::Good(value * own.factor + own.offset);
                    found.push(Reading { point: own.point, at, sample });
                }
                None => mistakes.at(self.place(at_byte), &format!("`{text}` is no number")),
            }
        }
    }

    /// A time with one point, as our own exports write it; the places are of point, value and quality.
    fn long(
        &self,
        at: Timestamp,
        (point, value, quality): (usize, usize, usize),
        reason: &str,
        catalog: &Catalog,
        mistakes: &mut Mistakes,
        found: &mut Vec<Reading>,
    ) {
        let (at_byte, name) = self.cell(point);
        match (catalog.find(name), sample(self.cell(value).1, self.cell(quality).1, reason)) {
            (Some(point), Some(sample)) => found.push(Reading { point: point.id, at, sample }),
            (None, _) => mistakes.at(self.place(at_byte), &format!("the site has no point `{name}`")),
            (_, None) => {
                let place = self.place(self.cell(value).0);
                mistakes.at(place, "a value, or a reason without one, is missing");
            }
        }
    }
}

/// The sample of an exported row.
fn sample(value: &str, quality: &str, reason: &str) -> Option<Sample> {
    let value = value.parse::<f64>().ok().filter(|value| value.is_finite());
    match (quality, value) {
        ("good", Some(value)) => Some(Sample::Good(value)),
        ("uncertain", Some(value)) => {
            let doubt = Doubt::ALL.into_iter().find(|doubt| doubt.name() == reason)?;
            Some(Sample::Uncertain(value, doubt))
        }
        ("bad", _) => Some(Sample::Bad(match reason {
            "out-of-range" => Reason::OutOfRange,
            "stuck" => Reason::Stuck,
            "not-polled" => Reason::NotPolled,
            "line-down" => Reason::LineDown,
            _ => Reason::Timeout,
        })),
        _ => None,
    }
}

/// `measurement,device=d,point=p value=1.5,quality=0i 1700000000000`: by the tags device and point, or by a mapping of `measurement.field`.
fn lines(text: &str, columns: &[Column], catalog: &Catalog, mistakes: &mut Mistakes) -> Vec<Reading> {
    let mut found = Vec::new();
    for (number, line) in
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let parts: Vec<&str> = line.split(' ').collect();
        let [series, fields, time] = parts.as_slice() else {
            mistakes.add(number + 1, 1, "no line protocol: measurement,tags fields time");
            continue;
        };
        let Some(at) = time.parse().ok().map(time_of) else {
            mistakes.add(number + 1, series.len() + fields.len() + 3, &format!("`{time}` is no time"));
            continue;
        };
        let (measurement, tags) = series.split_once(',').unwrap_or((series, ""));
        let pairs = |text: &str| -> BTreeMap<String, String> {
            text.split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        };
        let (tags, fields) = (pairs(tags), pairs(fields));
        let number_of =
            |key: &str| fields.get(key).and_then(|text| text.trim_end_matches('i').parse::<f64>().ok());
        for column in columns {
            let own = column.name.strip_prefix(measurement).and_then(|rest| rest.strip_prefix('.'));
            if let Some(value) = own.and_then(number_of) {
                found.push(Reading {
                    point: column.point,
                    at,
                    sample: Sample::Good(value * column.factor + column.offset),
                });
            }
        }
        let named = tags.get("device").zip(tags.get("point")).filter(|_| columns.is_empty());
        if let Some(point) = named.and_then(|(device, point)| catalog.find(&format!("{device}.{point}"))) {
            let sample = match number_of("value") {
                Some(value) => match number_of("reason").and_then(|code| Doubt::ALL.get(index(code)?)) {
                    Some(doubt) => Sample::Uncertain(value, *doubt),
                    None => Sample::Good(value),
                },
                None => Sample::Bad(Reason::Timeout),
            };
            found.push(Reading { point: point.id, at, sample });
        }
    }
    found
}

/// The place of a doubt of this code; doubts count from 1.
fn index(code: f64) -> Option<usize> {
    (1_u8..=6).position(|known| (f64::from(known) - code).abs() < 0.5)
}

/// A time of line protocol in s, ms, us or ns, told by its size.
fn time_of(number: i64) -> Timestamp {
    let ms = match number.unsigned_abs() {
        0..100_000_000_000 => number.saturating_mul(1000),
        100_000_000_000..100_000_000_000_000 => number,
        100_000_000_000_000..100_000_000_000_000_000 => number / 1000,
        _ => number / 1_000_000,
    };
    Timestamp::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        let found = mapping("depth_mm:mm=u.level").unwrap();
        assert_eq!(
            (found.column.as_str(), found.unit, found.point.as_str()),
            ("depth_mm", Unit::parse("mm"), "u.level")
        );
        assert_eq!(mapping("x=u.level").unwrap().unit, None);
        assert!(mapping("x:furlong=u.level").unwrap_err().contains("furlong"));
        assert!(mapping("level").is_err() && mapping("=p").is_err());
    }

    #[test]
    fn a_place_is_counted_over_the_lines_of_cells() {
        let text = "time,a\n1,\"two\nlines\"\n温,3";
        let mut lines = Lines { text, begin: 0, line: 1 };
        let at = |wanted: &str| text.find(wanted).unwrap();
        assert_eq!(lines.to(at("1,")).place(at("\"two")), (2, 3));
        assert_eq!(lines.place(at("lines")), (3, 1));
        assert_eq!(lines.to(at("温")).place(at("3")), (4, 3));
    }

    #[test]
    fn times_of_line_protocol_by_their_size() {
        let ms = 1_800_000_000_123;
        for number in [ms, ms * 1000, ms * 1_000_000] {
            assert_eq!(time_of(number), Timestamp::from_millis(ms));
        }
        assert_eq!(time_of(1_800_000_000), Timestamp::from_millis(1_800_000_000_000));
    }

    #[test]
    fn exported_samples() {
        assert_eq!(sample("1.5", "good", ""), Some(Sample::Good(1.5)));
        assert_eq!(sample("1.5", "uncertain", "spike"), Some(Sample::Uncertain(1.5, Doubt::Spike)));
        assert_eq!(sample("", "bad", "stuck"), Some(Sample::Bad(Reason::Stuck)));
        assert_eq!(sample("", "good", ""), None);
    }
}
