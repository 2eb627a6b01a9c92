//! Comma separated tables, with the place of each cell.
//!
//! In: text as RFC 4180 and spreadsheets write it; the separator is the comma, semicolon or tab that the first row has. Out: rows of cells, and what is wrong.
//! Invariant: any text gives rows; the cells of a row lie inside it, in order; a row without any text is none.

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its bytes in the text, quotes included.
    pub span: (usize, usize),
    /// What it says, without quotes and blanks around it.
    pub text: String,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its bytes in the text, without the line's end.
    pub span: (usize, usize),
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// What parts the cells of a row.
pub(crate) const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// A cell that cannot be read as one, by its bytes, and why.
pub type Wrong = ((usize, usize), &'static str);

/// All rows of a table but those with a cell that cannot be read.
pub fn rows(text: &str) -> (Vec<Row>, Vec<Wrong>) {
    rows_parted_by(text, separator(text))
}

/// The same of a table with this separator, whatever its first row has.
pub(crate) fn rows_parted_by(text: &str, separator: u8) -> (Vec<Row>, Vec<Wrong>) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for row in (Rows { text, separator, at: 0 }) {
        match row {
            Ok(row) => rows.push(row),
            Err(found) => wrong.extend(found),
        }
    }
    (rows, wrong)
}

/// The rows of a table one after the other, for one that is long: a row, or what is wrong in it.
#[derive(Clone, Debug)]
pub struct Rows<'t> {
    text: &'t str,
    separator: u8,
    at: usize,
}

impl<'t> Rows<'t> {
    /// From the first row on.
    pub fn new(text: &'t str) -> Self {
        Self { text, separator: separator(text), at: 0 }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, Vec<Wrong>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.text.len() {
            let mut wrong = Vec::new();
            let (row, next) = row(self.text, self.at, self.separator, &mut wrong);
            self.at = next;
            if !wrong.is_empty() {
                return Some(Err(wrong));
            }
            if row.cells.iter().any(|cell| !cell.text.is_empty()) {
                return Some(Ok(row));
            }
        }
        None
    }
}

/// Whether a spreadsheet would take this text for a formula: it begins like one, and is no number.
pub fn is_formula(text: &str) -> bool {
    let begins = text.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    begins && text.parse::<f64>().is_err()
}

/// The separator of the first row: the one that it has most of.
pub(crate) fn separator(text: &str) -> u8 {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |separator: u8| first.bytes().filter(|byte| *byte == separator).count();
    let [comma, others @ ..] = SEPARATORS;
    let (mut best, mut most) = (comma, count(comma));
    for other in others {
        if count(other) > most {
            (best, most) = (other, count(other));
        }
    }
    best
}

/// The row that begins here, and where the next one does.
fn row(text: &str, from: usize, separator: u8, wrong: &mut Vec<Wrong>) -> (Row, usize) {
    let (mut cells, mut at) = (Vec::new(), from);
    loop {
        let (cell, end) = cell(text, at, separator, wrong);
        cells.push(cell);
        match text.as_bytes().get(end) {
            Some(byte) if *byte == separator => at = end + 1,
            Some(b'\r') if text.as_bytes().get(end + 1) == Some(&b'\n') => {
                return (Row { span: (from, end), cells }, end + 2);
            }
            _ => return (Row { span: (from, end), cells }, end + 1),
        }
    }
}

/// The cell that begins here, and the byte that ends it.
fn cell(text: &str, from: usize, separator: u8, wrong: &mut Vec<Wrong>) -> (Cell, usize) {
    let rest = text.get(from..).unwrap_or_default();
    let ends = |byte: u8| byte == separator || byte == b'\n' || byte == b'\r';
    if !rest.starts_with('"') {
        let end = rest.bytes().position(ends).map_or(text.len(), |length| from + length);
        let text = text.get(from..end).unwrap_or_default().trim().to_owned();
        return (Cell { span: (from, end), text }, end);
    }
    let (mut inner, mut at) = (String::new(), 1);
    loop {
        let part = rest.get(at..).unwrap_or_default();
        let Some(length) = part.find('"') else {
            wrong.push(((from, from + 1), "this quote is never closed"));
            inner.push_str(part);
            return (Cell { span: (from, text.len()), text: inner.trim().to_owned() }, text.len());
        };
        inner.push_str(part.get(..length).unwrap_or_default());
        at += length + 1;
        if rest.as_bytes().get(at) != Some(&b'"') {
            break;
        }
        inner.push('"');
        at += 1;
    }
    let behind = rest.get(at..).unwrap_or_default();
    let length = behind.bytes().position(ends).unwrap_or(behind.len());
    if !behind.get(..length).unwrap_or_default().trim().is_empty() {
        wrong.push(((from + at, from + at + length), "there is text behind the closing quote"));
    }
    let end = from + at + length;
    (Cell { span: (from, end), text: inner.trim().to_owned() }, end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<Vec<String>> {
        let (rows, wrong) = rows(text);
        assert_eq!(wrong, []);
        rows.into_iter().map(|row| row.cells.into_iter().map(|cell| cell.text).collect()).collect()
    }

    #[test]
    fn tables_of_spreadsheets() {
        assert_eq!(texts("a,b\r\n1, 2 \r\n\r\n,\r\n"), [["a", "b"], ["1", "2"]]);
        assert_eq!(texts("a;b\n\"x;\"\"y\"\"\";2"), [["a", "b"], ["x;\"y\"", "2"]]);
        assert_eq!(texts("a\tb\n\"two\nlines\"\t2\n"), [["a", "b"], ["two\nlines", "2"]]);
        assert_eq!(rows("a\n\"b").1, [((2, 3), "this quote is never closed")]);
        assert_eq!(rows("a\n\"b\"c").1, [((5, 6), "there is text behind the closing quote")]);
    }

    #[test]
    fn formulas() {
        for (text, is) in [
            ("=1+1", true),
            ("@SUM(A1)", true),
            ("-2+3", true),
            ("＝A1", true),
            ("-2.5", false),
            ("+7", false),
            ("a=b", false),
            ("", false),
        ] {
            assert_eq!(is_formula(text), is, "{text}");
        }
    }

    proptest! {
        /// Any text gives rows whose cells lie in order.
        #[test]
        fn any_text_gives_rows(text in "[a\",;\r\n\t =中]{0,60}") {
            for row in rows(&text).0 {
                let mut at = row.span.0;
                for cell in &row.cells {
                    prop_assert!(at <= cell.span.0 && cell.span.1 <= row.span.1);
                    prop_assert!(text.get(cell.span.0..cell.span.1).is_some());
                    at = cell.span.1;
                }
            }
        }

        /// What another program writes is read as it was meant.
        #[test]
        fn it_reads_what_the_csv_crate_writes(table in prop::collection::vec(prop::collection::vec("[a\",\r\n中]{1,8}z", 3), 1..6)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["a", "b", "c"]).unwrap();
            for row in &table {
                writer.write_record(row).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let trimmed: Vec<Vec<String>> =
                table.iter().map(|row| row.iter().map(|cell| cell.trim().to_owned()).collect()).collect();
            prop_assert_eq!(&texts(&text)[1..], &trimmed[..]);
        }
    }
}
