//! A document as a tree of values, each with its place.
//!
//! In: a file. Out: [`Node`]s, and every syntax error (the first five; later ones are echoes).
//! Invariant: a file over 4 MB, unreadable, or not UTF-8 is one clear finding and nothing else.

use std::cell::RefCell;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostics, Place};
use crate::site::schema::shape::Asked;

/// No document of a site is larger.
const BYTES_MAX: u64 = 4_000_000;
/// Syntax errors cascade; the first few say it all.
const SYNTAX_MAX: usize = 5;
/// Findings kept in one run; the rest is counted.
const FINDINGS_MAX: usize = 1000;

/// Where findings go while documents are read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: RefCell<Diagnostics>,
    more: RefCell<usize>,
    /// What readers ask for, when somebody wants to know.
    asked: Option<RefCell<Asked>>,
}

impl Report {
    /// A report that also writes down what the readers ask for.
    pub(crate) fn recording() -> Self {
        Self { asked: Some(RefCell::default()), ..Self::default() }
    }

    /// Whether it writes down.
    pub(crate) fn records(&self) -> bool {
        self.asked.is_some()
    }

    /// Writes down.
    pub(crate) fn note(&self, what: impl FnOnce(&mut Asked)) {
        if let Some(asked) = &self.asked {
            what(&mut asked.borrow_mut());
        }
    }

    /// The next of several documents of one kind is read.
    pub(crate) fn document(&self, number: usize) {
        self.note(|asked| asked.document = number);
    }

    /// Everything found, and everything asked for.
    pub(crate) fn finish_recording(mut self) -> (Diagnostics, Asked) {
        let asked = self.asked.take().map(RefCell::into_inner).unwrap_or_default();
        (self.finish(), asked)
    }

    pub(crate) fn error(
        &self,
        place: &Place,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        if self.room() {
            self.found.borrow_mut().error(place, code, message, help);
        }
    }

    pub(crate) fn warning(
        &self,
        place: &Place,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        if self.room() {
            self.found.borrow_mut().warning(place, code, message, help);
        }
    }

    fn room(&self) -> bool {
        let room = self.found.borrow().0.len() < FINDINGS_MAX;
        *self.more.borrow_mut() += usize::from(!room);
        room
    }

    /// Everything found, by place.
    pub(crate) fn finish(self) -> Diagnostics {
        let mut found = self.found.into_inner();
        found.0.sort_by(|a, b| (&a.place, a.code, &a.message).cmp(&(&b.place, b.code, &b.message)));
        found.0.dedup();
        let more = self.more.into_inner();
        if more > 0 {
            let text = format!("{more} more findings are not shown; mend these first");
            found.error(&Place::default(), "too-many-findings", text, None);
        }
        found
    }
}

/// A document's name and text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
    starts: Vec<usize>,
}

impl Document {
    pub(crate) fn new(name: String, text: String) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, starts }
    }

    /// Reads a file; `None` after saying why not.
    pub(crate) fn read(path: &Path, report: &Report) -> Option<Self> {
        let name = path.display().to_string();
        let place = Place { file: name.clone(), ..Place::default() };
        let size = std::fs::metadata(path).map(|file| file.len());
        if size.as_ref().is_ok_and(|size| BYTES_MAX < *size) {
            let help = Some("split it into several files of the site's folder".to_owned());
            report.error(&place, "too-large", "the document is larger than 4 MB", help);
            return None;
        }
        let bytes = match size.and_then(|_| std::fs::read(path)) {
            Ok(bytes) => bytes,
            Err(error) => {
                report.error(&place, "unreadable", format!("cannot read this document: {error}"), None);
                return None;
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(Self::new(name, text)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let line = error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
                let place = Place { line, column: 1, ..place };
                let help = Some("save it as UTF-8 (GBK text is not read)".to_owned());
                report.error(&place, "not-utf-8", format!("byte {at} of this document is not UTF-8"), help);
                None
            }
        }
    }

    /// The place of a byte range.
    pub(crate) fn place(&self, span: (usize, usize)) -> Place {
        let line = self.starts.partition_point(|start| *start <= span.0).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..span.0).map_or(1, |before| before.chars().count() + 1);
        Place { file: self.name.clone(), line, column, span }
    }

    /// The document's table; what can't be read is reported and left out.
    pub(crate) fn parse(&self, report: &Report) -> Node {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        for error in errors.iter().take(SYNTAX_MAX) {
            let span = error.span().map_or((0, 0), |span| (span.start, span.end));
            report.error(&self.place(span), "syntax", error.message().to_owned(), None);
        }
        let span = (table.span().start, table.span().end);
        Node { span, value: Value::Table(entries(table.get_ref())) }
    }
}

/// A value with its byte range.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: (usize, usize),
    pub(crate) value: Value,
}

/// A key, its byte range, and its value.
pub(crate) type Entry = (String, (usize, usize), Node);

/// The values that documents are made of.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Date(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

impl Value {
    /// What it is, for a person.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
        (key.get_ref().to_string(), (key.span().start, key.span().end), node(value))
    };
    let mut entries: Vec<Entry> = table.iter().map(entry).collect();
    entries.sort_by_key(|(_, span, _)| *span);
    entries
}

fn node(value: &toml::Spanned<DeValue<'_>>) -> Node {
    let span = (value.span().start, value.span().end);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Text(number.as_str().to_owned()), Value::Int),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::Text(number.as_str().to_owned()), Value::Float)
        }
        DeValue::Boolean(holds) => Value::Bool(*holds),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => Value::List(list.iter().map(node).collect()),
        DeValue::Table(table) => Value::Table(entries(table)),
    };
    Node { span, value }
}
