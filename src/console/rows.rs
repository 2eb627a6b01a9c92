//! Readings as text, one after the other: CSV, JSON lines, line protocol. Serves history over HTTP and export from disk alike.
//!
//! In: readings. Out: bytes, whole rows only.
//! Invariant: a row never depends on the row before it.
//! Source: RFC 4180 (CSV), DESIGN section 8 (JSON), section 9 (line protocol).

use crate::console::view::ReadingView;
use crate::forward::line_protocol::Lines;
use crate::point::Catalog;
use crate::reading::Reading;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns time, point, value, unit, quality, reason; CRLF line ends; a first row of names.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Line protocol as the sinks get it, times in ms.
    LineProtocol,
}

impl Format {
    /// The format of this short name (`csv`, `jsonl`, `lp`).
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "csv" => Some(Self::Csv),
            "jsonl" => Some(Self::JsonLines),
            "lp" => Some(Self::LineProtocol),
            _ => None,
        }
    }

    /// Its short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::LineProtocol => "lp",
        }
    }

    /// Media type for HTTP.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::JsonLines => "application/x-ndjson",
            Self::LineProtocol => "text/plain; charset=utf-8",
        }
    }

    /// What stands before the first row.
    pub const fn head(self) -> &'static str {
        match self {
            Self::Csv => "time,point,value,unit,quality,reason\r\n",
            Self::JsonLines | Self::LineProtocol => "",
        }
    }

    /// Appends the row of `reading` to `out`; nothing for a point that the catalog does not know.
    pub fn emit(self, catalog: &Catalog, reading: &Reading, out: &mut Vec<u8>) {
        match self {
            Self::LineProtocol => emit_line(catalog, reading, out),
            Self::Csv | Self::JsonLines => {
                if let Some(view) = ReadingView::new(catalog, reading) {
                    self.emit_view(&view, out);
                }
            }
        }
    }

    fn emit_view(self, view: &ReadingView, out: &mut Vec<u8>) {
        if self == Self::Csv {
            return emit_csv(view, out);
        }
        let start = out.len();
        match serde_json::to_writer(&mut *out, view) {
            Ok(()) => out.push(b'\n'),
            Err(_) => out.truncate(start),
        }
    }
}

/// The line that the sinks of `forward::line_protocol` would send for this reading.
fn emit_line(catalog: &Catalog, reading: &Reading, out: &mut Vec<u8>) {
    let mut lines = Lines::default();
    // A reading whose point the catalog does not name has no line.
    let _ = lines.reading(reading, catalog);
    out.extend_from_slice(lines.text.as_bytes());
}

fn emit_csv(view: &ReadingView, out: &mut Vec<u8>) {
    let value = view.value.map(|value| value.to_string()).unwrap_or_default();
    let unit = view.unit.as_deref().unwrap_or_default();
    let reason = view.reason.as_deref().unwrap_or_default();
    let cells = [&view.time, &view.point, &value, unit, &view.quality, reason];
    for (column, cell) in cells.into_iter().enumerate() {
        if column > 0 {
            out.push(b',');
        }
        emit_cell(cell, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 4180, 2.6 and 2.7: quoted when it must be, quotes doubled.
fn emit_cell(cell: &str, out: &mut Vec<u8>) {
    if cell.contains([',', '"', '\r', '\n']) {
        let quoted = format!("\"{}\"", cell.replace('"', "\"\""));
        return out.extend_from_slice(quoted.as_bytes());
    }
    out.extend_from_slice(cell.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(value: Option<f64>, reason: Option<&str>) -> ReadingView {
        ReadingView {
            time: "2026-11-23T08:00:00.123Z".to_owned(),
            point: "regulator-3.pressure".to_owned(),
            value,
            unit: Some("kPa".to_owned()),
            quality: "good".to_owned(),
            reason: reason.map(str::to_owned),
        }
    }

    fn row(format: Format, view: &ReadingView) -> String {
        let mut out = Vec::new();
        format.emit_view(view, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_quotes_only_what_it_must() {
        let check = |value, reason, text: &str| assert_eq!(row(Format::Csv, &view(value, reason)), text);
        check(Some(2.63), None, "2026-11-23T08:00:00.123Z,regulator-3.pressure,2.63,kPa,good,\r\n");
        check(
            None,
            Some("a,\"b\""),
            "2026-11-23T08:00:00.123Z,regulator-3.pressure,,kPa,good,\"a,\"\"b\"\"\"\r\n",
        );
    }

    #[test]
    fn a_missing_value_has_no_key_in_json() {
        let text = row(Format::JsonLines, &view(None, Some("timeout")));
        assert!(!text.contains("value"), "{text}");
        assert!(text.ends_with("\"reason\":\"timeout\"}\n"), "{text}");
    }

    #[test]
    fn names_and_formats_agree() {
        for format in [Format::Csv, Format::JsonLines, Format::LineProtocol] {
            assert_eq!(Format::parse(format.name()), Some(format));
        }
        assert_eq!(Format::parse("xml"), None);
    }
}
