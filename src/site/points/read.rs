//! One row of a table of risk points.
//!
//! In: its cells and the key of each column. Out: a [`Row`], and what is wrong with it.
//! Invariant: a row with a mistake gives all its mistakes at once.

use std::collections::BTreeMap;

use crate::profile::CLASSES;
use crate::risk::{Asset, Place, code};
use crate::site::columns;
use crate::site::points::{Finding, NEEDED, NeedCell, PARTS, Row, mistyped};
use crate::site::table;

/// Words of the documents, and those of Chinese spreadsheets.
const HAZARDS: [(&str, &[&str]); 4] = [
    ("gas", &["燃气"]),
    ("waterlogging", &["内涝", "积水"]),
    ("landslide", &["地灾", "滑坡", "地质灾害"]),
    ("elevator", &["电梯"]),
];
const KINDS: [(&str, &[&str]); 3] = [("point", &["隐患点"]), ("zone", &["风险区"]), ("asset", &["设施"])];
const DATUMS: [(&str, &[&str]); 3] =
    [("CGCS2000", &["2000"]), ("WGS84", &["WGS-84"]), ("GCJ-02", &["GCJ02"])];
const STATES: [(&str, &[&str]); 3] = [("ok", &["完好"]), ("damaged", &["损坏"]), ("missing", &["缺失"])];

pub(crate) struct Reader<'a> {
    line: usize,
    cells: BTreeMap<&'static str, String>,
    found: &'a mut Vec<Finding>,
    good: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        line: usize,
        columns: &[Option<&'static str>],
        row: &table::Row,
        found: &'a mut Vec<Finding>,
    ) -> Self {
        let mut reader = Self { line, cells: BTreeMap::new(), found, good: true };
        for (cell, key) in row.cells.iter().zip(columns) {
            if table::is_formula(&cell.text) {
                reader.wrong(format!("`{}` would be a formula in a spreadsheet", cell.text));
            }
            // What our own export put before a text that looks like a formula.
            let text = cell.text.strip_prefix('\'').filter(|text| table::is_formula(text));
            let text = text.unwrap_or(&cell.text);
            if let Some(key) = key.filter(|_| !text.is_empty()) {
                reader.cells.insert(key, text.to_owned());
            }
        }
        if row.cells.len() > columns.len() {
            reader.wrong(format!("it has {} cells, and the heads are {}", row.cells.len(), columns.len()));
        }
        reader
    }

    fn wrong(&mut self, text: String) {
        self.good = false;
        self.found.push(Finding::error(self.line, text));
    }

    fn word(&mut self, key: &str, text: &str, words: &[(&'static str, &[&str])]) -> Option<&'static str> {
        let found = words.iter().find(|(word, others)| {
            word.eq_ignore_ascii_case(text) || others.iter().any(|other| other.eq_ignore_ascii_case(text))
        });
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(format!("{key} is `{text}`; it is one of {}", all.join(", ")));
        }
        found.map(|(word, _)| *word)
    }

    fn list(&self, key: &str) -> Vec<String> {
        let text = self.cells.get(key).map_or("", String::as_str);
        pieces(text, &PARTS[..3], usize::MAX).into_iter().filter(|part| !part.is_empty()).collect()
    }

    /// The point; `None`, and told why, when something is wrong with it.
    pub(crate) fn row(&mut self) -> Option<Row> {
        for needed in NEEDED {
            if !self.cells.contains_key(needed) {
                self.wrong(format!("{needed} is empty"));
            }
        }
        let mut row = Row { line: self.line, ..Row::default() };
        row.code = code::normal(self.cells.get("code").map_or("", String::as_str));
        if let Some(why) = mistyped(&row.code) {
            self.wrong(why);
        }
        for key in ["name", "town", "supervisor", "blind_after"] {
            row.texts.extend(self.cells.get(key).map(|text| (key, text.clone())));
        }
        for (key, words) in [("class", &HAZARDS[..]), ("kind", &KINDS[..])] {
            if let Some(text) = self.cells.get(key).cloned() {
                row.texts.extend(self.word(key, &text, words).map(|word| (key, word.to_owned())));
            }
        }
        if let Some(text) = self.cells.get("grade").cloned() {
            match text.parse() {
                Ok(grade @ 1..=4) => row.grade = grade,
                _ => self.wrong(format!("grade is `{text}`; it is 1 to 4, 4 the highest")),
            }
        }
        row.place = self.place();
        row.asset = self.asset();
        row.needs = self.list("needs").iter().filter_map(|text| self.need(text)).collect();
        row.plates = self.list("plates").iter().filter_map(|text| self.plate(text)).collect();
        for key in ["inspection_due", "from", "until"] {
            if let Some(text) = self.cells.get(key).cloned() {
                row.days.extend(self.day(key, &text).map(|day| (key, day)));
            }
        }
        if row.days.get("until").zip(row.days.get("from")).is_some_and(|(until, from)| until <= from) {
            self.wrong("until is not after from: no day is left".to_owned());
        }
        row.sensors = self.list("sensors").iter().map(|text| whole(text)).collect();
        row.predecessors = self.list("predecessors").iter().map(|code| code::normal(&whole(code))).collect();
        self.good.then_some(row)
    }

    fn place(&mut self) -> Option<Place> {
        let given = ["lon", "lat", "datum"].map(|key| self.cells.get(key).cloned());
        if given.iter().all(Option::is_none) {
            return None;
        }
        let [Some(lon), Some(lat), Some(datum)] = given else {
            self.wrong("a place is lon, lat and datum, all three".to_owned());
            return None;
        };
        let datum = self.word("datum", &datum, &DATUMS);
        let mut degrees = |key: &str, text: &str, most: f64| {
            let number = text.parse().ok().filter(|number: &f64| number.abs() <= most);
            if number.is_none() {
                self.wrong(format!("{key} is `{text}`; it is in degrees, up to {most}"));
            }
            number
        };
        let (lon, lat) = (degrees("lon", &lon, 180.0), degrees("lat", &lat, 90.0));
        Some(Place { lon: lon?, lat: lat?, datum: datum?.to_owned() })
    }

    fn asset(&mut self) -> Option<Asset> {
        let [id, segment, chainage] =
            ["asset", "segment", "chainage_m"].map(|key| self.cells.get(key).cloned());
        let chainage_m =
            chainage.as_ref().map(|text| text.parse().ok().filter(|number: &f64| number.is_finite()));
        if chainage_m == Some(None) {
            self.wrong(format!("chainage_m is `{}`; it is a number in m", chainage.unwrap_or_default()));
        }
        if id.is_none() && (segment.is_some() || chainage_m.is_some()) {
            self.wrong("a segment and chainage_m belong to an asset: write its id, too".to_owned());
        }
        Some(Asset { id: id?, segment, chainage_m: chainage_m.flatten() })
    }

    /// `gas-pressure/gas-concentration*2@2025-06-01..2027-01-01`.
    fn need(&mut self, text: &str) -> Option<NeedCell> {
        let (what, span) = text.split_once('@').map_or((text, None), |(what, span)| (what, Some(span)));
        let (roles, min) = what.rsplit_once('*').unwrap_or((what, "1"));
        let mut roles: Vec<String> = roles.split('/').map(|role| role.trim().to_owned()).collect();
        for role in roles.iter().filter(|role| !CLASSES.contains(&role.as_str())).cloned().collect::<Vec<_>>()
        {
            self.wrong(format!("there is no sensor class `{role}`; needs are like gas-pressure*2|tilt"));
        }
        let Some(min) = min.trim().parse().ok().filter(|min| (1..=1000).contains(min)) else {
            self.wrong(format!("`{text}` does not say how many; write gas-pressure*2"));
            return None;
        };
        let (from, until) = match span.map(|span| span.split_once("..")) {
            None => (None, None),
            Some(Some((from, until))) => (self.end(from), self.end(until)),
            Some(None) => {
                self.wrong(format!("`{text}` does not say when; write gas-pressure*2@2025-06-01..2027-01-01, or one of the days"));
                return None;
            }
        };
        if from.as_ref().zip(until.as_ref()).is_some_and(|(from, until)| until <= from) {
            self.wrong(format!("`{text}` is over before it begins: no day is left"));
        }
        Some(NeedCell { role: roles.remove(0), or: roles, min, from, until })
    }

    /// A day of a need; an empty one is none.
    fn end(&mut self, text: &str) -> Option<String> {
        let text = text.trim();
        if text.is_empty() { None } else { self.day("needs", text) }
    }

    /// `东门:ok:2026-09-01`.
    fn plate(&mut self, text: &str) -> Option<(String, &'static str, Option<String>)> {
        let mut parts = pieces(text, &PARTS[3..], 3).into_iter();
        let place = whole(&parts.next().unwrap_or_default());
        let state = parts.next().map_or(Some("ok"), |state| self.word("plate", &state, &STATES));
        let seen = parts.next().and_then(|day| self.day("plate", &day));
        Some((place, state?, seen))
    }

    /// `2026-09-01`, `2026/9/1`, `2026年9月1日`.
    fn day(&mut self, key: &str, text: &str) -> Option<String> {
        let date = columns::day(text);
        if date.is_none() {
            self.wrong(format!("{key} is `{text}`; write a day like 2026-09-01"));
        }
        date
    }
}

/// The parts of a text, `most` at most, without blanks around them; a separator behind a backslash parts nothing, and keeps the backslash.
fn pieces(text: &str, separators: &[char], most: usize) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        if separators.contains(&letter) && !escaped && found.len() < most {
            found.push(String::new());
        } else if let Some(last) = found.last_mut() {
            last.push(letter);
        }
        escaped = letter == '\\' && !escaped;
    }
    found.into_iter().map(|part| part.trim().to_owned()).collect()
}

/// A part without the backslashes.
fn whole(part: &str) -> String {
    let (mut text, mut letters) = (String::new(), part.chars());
    while let Some(letter) = letters.next() {
        text.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
    }
    text
}
