//! A document as a tree of values, each with its place.
//!
//! In: a file. Out: [`Node`]s, and every syntax error (the first five; later ones are echoes).
//! Invariant: a file over 4 MB, unreadable, or not UTF-8 is one clear finding and nothing else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::site::encoding;
use crate::site::schema::shape::Asked;
use crate::site::wide::{self, Wide, wide};

/// No document of a site is larger.
const BYTES_MAX: u64 = 4_000_000;
/// Syntax errors cascade; the first few say it all.
const SYNTAX_MAX: usize = 5;
/// How often a document is read again after lines with full-width characters were mended.
const MENDED_MAX: usize = 20;
/// Findings kept in one run; the rest is counted.
const FINDINGS_MAX: usize = 1000;

/// Where findings go while documents are read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: RefCell<Diagnostics>,
    /// What was told already: many devices can share one mistake of a template or a header.
    told: RefCell<BTreeSet<(Place, &'static str, String)>>,
    more: RefCell<usize>,
    /// Text that stands for many devices.
    shared: RefCell<Vec<Shared>>,
    /// What readers ask for, when somebody wants to know.
    asked: Option<RefCell<Asked>>,
}

/// A text from which one thing is made for each of these devices, and what was found there.
#[derive(Debug)]
struct Shared {
    place: Place,
    devices: BTreeSet<String>,
    /// For each finding but for the name of a device: how often it was found.
    found: BTreeMap<(Place, &'static str, String), (String, usize)>,
}

impl Shared {
    fn holds(&self, place: &Place) -> bool {
        self.place.file == place.file && self.place.span.0 <= place.span.0 && place.span.0 < self.place.span.1
    }

    /// The message as it would be of any of the devices.
    fn common(&self, message: &str) -> String {
        let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        let mut out = String::new();
        for token in message.split_inclusive(|letter| !word(letter)) {
            let (name, rest) = token.split_at(token.trim_end_matches(|letter| !word(letter)).len());
            let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
            let starts = || [0].into_iter().chain(name.match_indices('-').map(|(at, _)| at + 1));
            let spans = ends.flat_map(|to| starts().map(move |from| (from, to)));
            let is_device = |(from, to): &(usize, usize)| {
                name.get(*from..*to).is_some_and(|part| self.devices.contains(part))
            };
            match spans.filter(is_device).max_by_key(|(from, to)| to - from) {
                Some((from, to)) => {
                    out += name.get(..from).unwrap_or_default();
                    out += "{device}";
                    out += name.get(to..).unwrap_or_default();
                }
                None => out += name,
            }
            out += rest;
        }
        out
    }
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

    /// What is found at this place is one mistake of all these devices.
    pub(crate) fn share(&self, place: &Place, devices: BTreeSet<String>) {
        self.shared.borrow_mut().push(Shared { place: place.clone(), devices, found: BTreeMap::new() });
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
        let message = message.into();
        if self.room(place, code, &message) {
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
        let message = message.into();
        if self.room(place, code, &message) {
            self.found.borrow_mut().warning(place, code, message, help);
        }
    }

    fn room(&self, place: &Place, code: &'static str, message: &str) -> bool {
        if !self.told.borrow_mut().insert((place.clone(), code, message.to_owned())) {
            return false;
        }
        if let Some(shared) = self.shared.borrow_mut().iter_mut().find(|shared| shared.holds(place)) {
            let key = (place.clone(), code, shared.common(message));
            let (_, times) = shared.found.entry(key).or_insert_with(|| (message.to_owned(), 0));
            *times += 1;
            if *times > 1 {
                return false;
            }
        }
        let room = self.found.borrow().0.len() < FINDINGS_MAX;
        *self.more.borrow_mut() += usize::from(!room);
        room
    }

    /// Whether nothing was found yet.
    pub(crate) fn is_quiet(&self) -> bool {
        self.found.borrow().0.is_empty()
    }

    /// Whether no error was found yet.
    pub(crate) fn is_sound(&self) -> bool {
        self.found.borrow().errors() == 0
    }

    /// Everything found, by place.
    pub(crate) fn finish(self) -> Diagnostics {
        let mut found = self.found.into_inner();
        for shared in self.shared.into_inner() {
            for ((place, code, _), (message, times)) in shared.found.into_iter().filter(|(_, (_, n))| *n > 1)
            {
                let is_it =
                    |one: &&mut Diagnostic| one.place == place && one.code == code && one.message == message;
                if let Some(one) = found.0.iter_mut().find(is_it) {
                    one.message += &format!(", and so for {} more devices of this rule", times - 1);
                }
            }
        }
        found.0.sort_by(|a, b| (&a.place, a.code, &a.message).cmp(&(&b.place, b.code, &b.message)));
        let more = self.more.into_inner();
        if more > 0 {
            let text = format!("{more} more findings are not shown; mend these first");
            found.error(&Place::default(), "too-many-findings", text, None);
        }
        found
    }
}

/// A document's name and text; or several that are read as one, so that a table can have entries of more than one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
    starts: Vec<usize>,
    /// Documents that are put together here; none of a plain one.
    parts: Vec<Part>,
}

/// Where a document begins among those that were put together.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    byte: usize,
    line: usize,
}

impl Document {
    pub(crate) fn new(name: String, text: String) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, starts, parts: Vec::new() }
    }

    /// Documents as one, each with the offset at which its bytes lie there.
    pub(crate) fn together<'d>(documents: impl Iterator<Item = &'d Self>) -> (Self, Vec<usize>) {
        let (mut text, mut parts, mut line) = (String::new(), Vec::new(), 0);
        for document in documents {
            parts.push(Part { name: document.name.clone(), byte: text.len(), line });
            text.push_str(&document.text);
            text.push('\n');
            line += document.starts.len();
        }
        let offsets = parts.iter().map(|part| part.byte).collect();
        (Self { parts, ..Self::new(String::new(), text) }, offsets)
    }

    /// Reads a file; `None` after saying why not.
    pub(crate) fn read(path: &Path, report: &Report) -> Option<Self> {
        let name = path.display().to_string();
        let place = Place { file: name.clone(), ..Place::default() };
        match String::from_utf8(bytes(path, report)?) {
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

    /// Reads a table that a spreadsheet saved, in whatever encoding it has; `None` after saying why not.
    pub(crate) fn read_table(path: &Path, report: &Report) -> Option<Self> {
        let name = path.display().to_string();
        let text = encoding::decode(&bytes(path, report)?);
        if text.is_none() {
            let place = Place { file: name.clone(), ..Place::default() };
            let help = Some("save it as \"CSV UTF-8\"".to_owned());
            report.error(&place, "not-utf-8", "this table is neither UTF-8 nor GBK", help);
        }
        text.map(|text| Self::new(name, text))
    }

    /// The place of a byte range.
    pub(crate) fn place(&self, span: (usize, usize)) -> Place {
        let line = self.starts.partition_point(|start| *start <= span.0).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..span.0).map_or(1, |before| before.chars().count() + 1);
        let part = self.parts.partition_point(|part| part.byte <= span.0);
        match part.checked_sub(1).and_then(|part| self.parts.get(part)) {
            Some(part) => {
                let span = (span.0 - part.byte, span.1.saturating_sub(part.byte));
                Place { file: part.name.clone(), line: line - part.line, column, span }
            }
            None => Place { file: self.name.clone(), line, column, span },
        }
    }

    /// The document's table; what can't be read is reported and left out.
    pub(crate) fn parse(&self, report: &Report) -> Node {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let mended = if errors.is_empty() { None } else { self.mended(report) };
        let (table, errors) = match &mended {
            Some(text) => DeTable::parse_recoverable(text),
            None => (table, errors),
        };
        for error in errors.iter().take(SYNTAX_MAX) {
            let span = error.span().map_or((0, 0), |span| (span.start, span.end));
            report.error(&self.place(span), "syntax", error.message().to_owned(), None);
        }
        let span = (table.span().start, table.span().end);
        Node { span, value: Value::Table(entries(table.get_ref())) }
    }

    /// The text with what was meant by full-width characters in lines with a syntax error, each line told once: what follows from them is
    /// no finding. `None` when there are none.
    fn mended(&self, report: &Report) -> Option<String> {
        let mut text: Option<String> = None;
        for _ in 0..MENDED_MAX {
            let now = text.as_deref().unwrap_or(&self.text);
            let (_, errors) = DeTable::parse_recoverable(now);
            let line = |at: usize| self.starts.partition_point(|start| *start <= at).max(1) - 1;
            let lines: BTreeSet<usize> =
                errors.iter().filter_map(|error| Some(line(error.span()?.start))).collect();
            let starts = lines.iter().filter_map(|line| self.starts.get(*line).copied());
            let row = |start: usize| now.get(start..)?.split('\n').next();
            let wrong: Vec<(usize, String)> = starts
                .filter_map(|start| Some((start, row(start).filter(|row| !wide(row).is_empty())?.to_owned())))
                .collect();
            if wrong.is_empty() {
                break;
            }
            let mut next = now.to_owned();
            for (start, row) in wrong {
                self.tell_wide(start, &row, report);
                next.replace_range(start..start + row.len(), &wide::mended(&row));
            }
            text = Some(next);
        }
        text
    }

    /// One finding for the full-width characters of the line that begins here.
    fn tell_wide(&self, start: usize, row: &str, report: &Report) {
        let found = wide(row);
        let Some(first) = found.first() else { return };
        let tell = |Wide { column, letter, plain, .. }: &Wide| {
            format!("full-width `{letter}` at column {column}: write `{plain}`")
        };
        let told: Vec<String> = found.iter().map(tell).collect();
        let span = (start + first.at, start + first.at + first.letter.len_utf8());
        let help = "switch the input method to half-width for all but texts in quotes".to_owned();
        report.error(&self.place(span), "syntax", told.join("; "), Some(help));
    }
}

/// The bytes of a file, if it is not too large.
fn bytes(path: &Path, report: &Report) -> Option<Vec<u8>> {
    let place = Place { file: path.display().to_string(), ..Place::default() };
    let size = std::fs::metadata(path).map(|file| file.len());
    if size.as_ref().is_ok_and(|size| BYTES_MAX < *size) {
        let help = Some("split it into several files of the site's folder".to_owned());
        report.error(&place, "too-large", "the document is larger than 4 MB", help);
        return None;
    }
    match size.and_then(|_| std::fs::read(path)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            report.error(&place, "unreadable", format!("cannot read this document: {error}"), None);
            None
        }
    }
}

/// A value with its byte range.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: (usize, usize),
    pub(crate) value: Value,
}

impl Node {
    /// The same value in a document that lies `by` bytes further on.
    pub(crate) fn shift(&mut self, by: usize) {
        self.span = (self.span.0 + by, self.span.1 + by);
        match &mut self.value {
            Value::List(list) => list.iter_mut().for_each(|node| node.shift(by)),
            Value::Table(entries) => {
                for (_, span, node) in entries {
                    *span = (span.0 + by, span.1 + by);
                    node.shift(by);
                }
            }
            _ => {}
        }
    }

    /// The value of `key`, in a table.
    pub(crate) fn entry(&self, key: &str) -> Option<&Self> {
        let Value::Table(entries) = &self.value else { return None };
        entries.iter().find(|(name, ..)| name == key).map(|(.., node)| node)
    }
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
