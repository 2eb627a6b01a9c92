//! Risk points as a table (一点一码): what a district keeps in a spreadsheet, checked row by row before anything of it is taken.
//!
//! In: text of a table, one row a point. Out: [`Row`]s and [`Finding`]s, each with its line.
//! Invariant: a table with an error gives no document; what a row does not say is not made up; the datum of a place is always the row's own.
//! Source: the keys of `[[risk_point]]`; heads in English or Chinese.

pub mod emit;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use crate::risk::datum::{self, Wgs84};
use crate::risk::{Asset, Place, code};
use crate::site::{columns, table};

/// The columns, with what Chinese spreadsheets call them. The first seven but `name` must be there.
pub const COLUMNS: [(&str, &str); 21] = [
    ("code", "编码"),
    ("name", "名称"),
    ("class", "类别"),
    ("grade", "等级"),
    ("town", "镇街"),
    ("supervisor", "监管单位"),
    ("kind", "类型"),
    ("lon", "经度"),
    ("lat", "纬度"),
    ("datum", "坐标系"),
    ("needs", "所需传感器"),
    ("sensors", "传感器"),
    ("plates", "标牌"),
    ("inspection_due", "检验有效期至"),
    ("from", "起始日期"),
    ("until", "终止日期"),
    ("predecessors", "原编码"),
    ("blind_after", "失联时限"),
    ("asset", "资产编码"),
    ("segment", "管段"),
    ("chainage_m", "里程"),
];

/// The columns that no table can do without.
const NEEDED: [&str; 5] = ["code", "class", "grade", "town", "supervisor"];

/// What parts a cell with several texts, and a plate; a backslash before one makes it a letter.
const PARTS: [char; 5] = ['|', '；', '、', ':', '：'];

/// A place farther from the middle of all others than this was mistyped.
const FAR_M: f64 = 50_000.0;

/// What is wrong with a row, or what a person should know of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Line of the table; 0 for all of it.
    pub line: usize,
    /// The table is not taken.
    pub is_error: bool,
    /// In words.
    pub text: String,
}

impl Finding {
    /// A mistake.
    pub fn error(line: usize, text: impl Into<String>) -> Self {
        Self { line, is_error: true, text: text.into() }
    }

    /// Something to know.
    pub fn note(line: usize, text: impl Into<String>) -> Self {
        Self { line, is_error: false, text: text.into() }
    }
}

/// A need as a cell says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeedCell {
    /// Sensor class.
    pub role: String,
    /// Classes that serve as well.
    pub or: Vec<String>,
    /// How many.
    pub min: u32,
    /// The first day, as `2026-09-01`.
    pub from: Option<String>,
    /// The first day on which it is over.
    pub until: Option<String>,
}

/// A point as its row says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Its line.
    pub line: usize,
    /// Its code in one spelling.
    pub code: String,
    /// Texts and words by key.
    pub texts: BTreeMap<&'static str, String>,
    /// 1 to 4.
    pub grade: u8,
    /// Where.
    pub place: Option<Place>,
    /// Required sensors.
    pub needs: Vec<NeedCell>,
    /// What a digital twin calls it: id, segment, and how far along that in m.
    pub asset: Option<Asset>,
    /// Devices that stand there, as the table says.
    pub sensors: Vec<String>,
    /// Place, state, day when it was seen.
    pub plates: Vec<(String, &'static str, Option<String>)>,
    /// Days as `2026-09-01`, by key.
    pub days: BTreeMap<&'static str, String>,
    /// Codes that it took over from.
    pub predecessors: Vec<String>,
}

/// The rectangle of a district: west, south, east, north, in WGS-84 degrees.
pub type District = (f64, f64, f64, f64);

/// Reads a table.
pub fn rows(text: &str, district: Option<District>) -> (Vec<Row>, Vec<Finding>) {
    let (table, wrong) = table::rows(text);
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    let mut found: Vec<Finding> =
        wrong.into_iter().map(|((from, _), why)| Finding::error(line(from), why)).collect();
    let Some((heads, body)) = table.split_first() else {
        found.push(Finding::error(0, "the table is empty: its first row names the columns"));
        return (Vec::new(), found);
    };
    let columns = columns(heads, line(heads.span.0), &mut found);
    if columns.is_empty() {
        return (Vec::new(), found);
    }
    let mut rows = Vec::new();
    for cells in body {
        let mut reader = read::Reader::new(line(cells.span.0), &columns, cells, &mut found);
        rows.extend(reader.row());
    }
    if body.is_empty() {
        found.push(Finding::error(0, "the table has no row below its heads"));
    }
    twice(&rows, &mut found);
    far(&rows, district, &mut found);
    found.sort();
    (rows, found)
}

/// The key of each column; nothing when the heads are wrong, which is told once.
fn columns(heads: &table::Row, line: usize, found: &mut Vec<Finding>) -> Vec<Option<&'static str>> {
    let of = |cell: &table::Cell| {
        let ours = columns::key(&cell.text, &COLUMNS)?;
        COLUMNS.iter().find(|(key, _)| *key == ours).map(|(key, _)| *key)
    };
    let known: Vec<Option<&str>> = heads.cells.iter().map(of).collect();
    let mut told: Vec<String> =
        columns::wrong(heads.cells.iter().map(|cell| cell.text.as_str()), &COLUMNS).into_iter().collect();
    let twice = known.iter().enumerate().filter(|(at, key)| key.is_some() && known[..*at].contains(key));
    told.extend(twice.filter_map(|(_, key)| Some(format!("the column `{}` stands twice", (*key)?))));
    let missing: Vec<&str> = NEEDED.into_iter().filter(|key| !known.contains(&Some(key))).collect();
    if !missing.is_empty() {
        told.push(format!("without {}", missing.join(", ")));
    }
    if told.is_empty() {
        return known;
    }
    let text =
        format!("its first row names columns: {}; they are {}", told.join("; "), columns::all(&COLUMNS));
    found.push(Finding::error(line, text));
    Vec::new()
}

/// A code, and a sensor at one point, stand once.
fn twice(rows: &[Row], found: &mut Vec<Finding>) {
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        if let Some(first) = codes.get(row.code.as_str()) {
            found.push(Finding::error(row.line, format!("{} stands in line {first} already", row.code)));
        } else {
            codes.insert(&row.code, row.line);
        }
        let mut names = BTreeSet::new();
        for sensor in row.sensors.iter().filter(|sensor| !names.insert(sensor.as_str())) {
            let text = format!("the sensor {sensor} is bound twice: it counts once at a point");
            found.push(Finding::error(row.line, text));
        }
    }
}

/// Places outside the district, or far from all others.
fn far(rows: &[Row], district: Option<District>, found: &mut Vec<Finding>) {
    let places: Vec<(usize, Wgs84)> =
        rows.iter().filter_map(|row| Some((row.line, datum::wgs84(row.place.as_ref()?).ok()?))).collect();
    let middle = |pick: fn(&Wgs84) -> f64| {
        let mut all: Vec<f64> = places.iter().map(|(_, place)| pick(place)).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let middle = Wgs84 { lon: middle(|place| place.lon), lat: middle(|place| place.lat), within_m: None };
    for (line, place) in &places {
        let away = datum::metres(*place, middle);
        if let Some((west, south, east, north)) = district {
            if !(west..=east).contains(&place.lon) || !(south..=north).contains(&place.lat) {
                let text = format!("the place {}, {} (WGS-84) is outside the district", place.lon, place.lat);
                found.push(Finding::error(*line, text));
            }
        } else if places.len() > 2 && away > FAR_M {
            let text = format!("the place is {:.0} km from the middle of all places", away / 1000.0);
            found.push(Finding::error(*line, text));
        }
    }
    let datums: BTreeSet<&str> =
        rows.iter().filter_map(|row| row.place.as_ref()).map(|place| place.datum.as_str()).collect();
    if datums.len() > 1 {
        let all: Vec<&str> = datums.into_iter().collect();
        found.push(Finding::note(
            0,
            format!("places are in several datums, each kept as it is: {}", all.join(", ")),
        ));
    }
}

/// What the check character says of a code; `None` when nothing is wrong.
fn mistyped(text: &str) -> Option<String> {
    let right = code::mistyped(text)?;
    Some(format!("the check character of {text} would be {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: &str = "code,name,class,grade,town,supervisor,lon,lat,datum,needs,sensors,plates,from\n";

    fn check(rows_text: &str) -> (Vec<Row>, Vec<(usize, String)>) {
        let (rows, found) = rows(&format!("{HEADS}{rows_text}"), Some((106.4, 29.4, 106.8, 29.7)));
        (rows, found.into_iter().map(|one| (one.line, one.text)).collect())
    }

    #[test]
    fn a_row_is_a_point() {
        let (rows, found) = check(
            "５００１０８-gd-0001-z,老君洞,地灾,4,南山街道,区规划自然资源局,106.61,29.55,CGCS2000,displacement*2@2025/6/1..|tilt/displacement,tilt-1|crack-1,东门:ok:2026/9/1|西门:damaged,2025-06-01\n",
        );
        assert_eq!(found, []);
        let row = &rows[0];
        assert_eq!((row.code.as_str(), row.grade, row.line), ("500108-GD-0001-Z", 4, 2));
        assert_eq!(row.texts["class"], "landslide");
        let need = |role: &str, min| NeedCell { role: role.into(), min, ..NeedCell::default() };
        let displacement = NeedCell { from: Some("2025-06-01".into()), ..need("displacement", 2) };
        let tilt = NeedCell { or: vec!["displacement".into()], ..need("tilt", 1) };
        assert_eq!(row.needs, [displacement, tilt]);
        let plates = [("东门".into(), "ok", Some("2026-09-01".into())), ("西门".into(), "damaged", None)];
        assert_eq!(row.plates, plates);
        assert_eq!((row.sensors.len(), row.days["from"].as_str()), (2, "2025-06-01"));
    }

    #[test]
    fn each_mistake_has_its_line() {
        let good = "P1,,gas,3,t,s,106.5,29.5,WGS84,gas-pressure,,,\n";
        let cases = [
            ("P1,,gas,3,t,s,,,,,,,\n", "P1 stands in line 2 already"),
            ("500108-GD-0001-X,,gas,3,t,s,,,,,,,\n", "check character of 500108-GD-0001-X would be Z"),
            ("P2,\"=HYPERLINK(\"\"x\"\")\",gas,3,t,s,,,,,,,\n", "would be a formula"),
            ("P2,,gas,3,t,s,107.9,29.5,WGS84,,,,\n", "outside the district"),
            ("P2,,gas,3,t,s,29.5,106.5,WGS84,,,,\n", "lat"),
            ("P2,,gas,3,t,s,106.5,29.5,,,,,\n", "datum"),
            ("P2,,gas,3,t,s,106.5,29.5,Beijing54,,,,\n", "Beijing54"),
            ("P2,,gas,3,t,s,,,,,a|a,,\n", "the sensor a is bound twice"),
            ("P2,,gas,5,t,s,,,,,,,\n", "grade"),
            ("P2,,fire,3,t,s,,,,,,,\n", "fire"),
            ("P2,,gas,3,,s,,,,,,,\n", "town"),
            ("P2,,gas,3,t,s,,,,smell*2,,,\n", "smell"),
            ("P2,,gas,3,t,s,,,,tilt*2@2026-01-01,,,\n", "2026-01-01"),
            ("P2,,gas,3,t,s,,,,tilt*2@2026-01-01..2025-01-01,,,\n", "no day is left"),
            ("P2,,gas,3,t,s,,,,,,,2026-02-30\n", "2026-02-30"),
            ("P2,,gas,3,t,s,,,,,,东门:gone,\n", "gone"),
            ("P2,,gas,3,t\n", "supervisor"),
        ];
        for (row, want) in cases {
            let (_, found) = check(&format!("{good}{row}"));
            assert!(found.len() == 1 && found[0].0 == 3 && found[0].1.contains(want), "{row}: {found:?}");
        }
        assert_eq!(check(good).1, []);
        let (_, found) = rows("code,colour\nP,red\n", None);
        assert_eq!((found.len(), found[0].line), (1, 1), "{found:?}");
        let want = "its first row names columns: there is no column `colour`; without class, grade, town, supervisor; they are code 编码,";
        assert!(found[0].text.starts_with(want), "{found:?}");
        assert!(rows("", None).1[0].is_error);
    }
}
