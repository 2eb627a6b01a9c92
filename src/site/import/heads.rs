//! The heads of a table: in which row they stand, and what each column is.
//!
//! In: the text of a table, in which a title may stand above the heads. Out: its rows from the heads on, our name of each column.
//! Invariant: what stands above the heads is told; a table whose heads nobody knows begins with its first row.

use crate::site::import::words::{COLUMNS, headed};
use crate::site::section::nearest;
use crate::site::table::{Row, SEPARATORS, rows_parted_by, separator};
use crate::site::tree::{Document, Report};

/// Rows in which the heads are looked for.
const TITLE_MAX: usize = 12;

/// How much a row looks like heads: whether one names a register, and how many are known.
fn looks(row: &Row) -> (bool, usize) {
    let known = row.cells.iter().filter_map(|cell| headed(&cell.text)).map(|(ours, _)| ours);
    let known: std::collections::BTreeSet<&str> = known.collect();
    (known.contains("register") && known.len() > 1, known.len())
}

/// The rows from the heads on; what cannot be read, and what stands above the heads, is told.
pub(crate) fn from_heads(document: &Document, report: &Report) -> Vec<Row> {
    let mut best = (0, (false, 1), rows_parted_by(&document.text, separator(&document.text)));
    // A title may have another separator, or none.
    for separator in SEPARATORS {
        let table = rows_parted_by(&document.text, separator);
        for (index, row) in table.0.iter().enumerate().take(TITLE_MAX) {
            if looks(row) > best.1 {
                best = (index, looks(row), table.clone());
            }
        }
    }
    let (skipped, _, (mut rows, wrong)) = best;
    for (span, why) in wrong {
        report.error(&document.place(span), "not-carried", why, None);
    }
    let rest = rows.split_off(skipped.min(rows.len()));
    if let (Some(first), Some(heads)) = (rows.first(), rest.first()) {
        let said = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.text.as_str());
        let said: Vec<&str> = said.filter(|text| !text.is_empty()).collect();
        let text = format!(
            "the heads are in line {}; what stands above is skipped: `{}`",
            document.place(heads.span).line,
            said.join(" ")
        );
        report.warning(&document.place(first.span), "assumed", text, None);
    }
    rest
}

/// Our name of each column.
pub(crate) fn columns(
    document: &Document,
    header: &Row,
    rows: &[Row],
    report: &Report,
) -> Vec<Option<&'static str>> {
    let mut found: Vec<Option<&'static str>> = Vec::new();
    for (index, cell) in header.cells.iter().enumerate() {
        let mut ours = headed(&cell.text).map(|(ours, _)| ours);
        // `unit` is an address to some people, and mm to others: the cells tell.
        if cell.text.eq_ignore_ascii_case("unit") {
            let mut cells =
                rows.iter().filter_map(|row| row.cells.get(index)).filter(|cell| !cell.text.is_empty());
            ours = Some(if cells.all(|cell| cell.text.parse::<u8>().is_ok()) { "slave" } else { "unit" });
        }
        if ours.is_some() && found.contains(&ours) {
            let text = format!("`{}` is a second column of the same meaning", cell.text);
            report.error(&document.place(cell.span), "not-carried", text, None);
            ours = None;
        } else if ours.is_none() && !cell.text.is_empty() {
            let names = COLUMNS.iter().flat_map(|(_, names)| names.iter().copied());
            let help = nearest(&cell.text, names);
            let text = format!("the column `{}` is not carried over", cell.text);
            report.error(&document.place(cell.span), "not-carried", text, help);
        }
        found.push(ours);
    }
    // A port by itself is the whole line; beside a host it is a number.
    if !found.contains(&Some("address")) && !found.contains(&Some("line")) {
        found.iter_mut().filter(|ours| **ours == Some("port")).for_each(|ours| *ours = Some("line"));
    }
    found
}
