//! One table of a document, read key by key with the type that each key needs.
//!
//! In: a [`Node`]. Out: typed values. Invariant: a wrong type, a missing key and an unknown key are each reported once with
//! place and remedy, and reading goes on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::diagnostic::Place;
use crate::site::schema::shape::{self, Shape};
use crate::site::tree::{Document, Entry, Node, Report, Value};
use crate::unit::Unit;

/// A table under reading.
pub(crate) struct Section<'a> {
    pub(crate) document: &'a Document,
    pub(crate) report: &'a Report,
    what: String,
    /// Where in the kind of document it stands, when what is asked is written down.
    path: Option<String>,
    span: (usize, usize),
    entries: &'a [Entry],
    known: RefCell<BTreeSet<&'static str>>,
    is_table: bool,
    /// A mistake leaves the rest unread: no key is told to be unknown.
    excused: Cell<bool>,
}

impl<'a> Section<'a> {
    /// `node` as a table called `what`; anything else is reported and read as empty.
    pub(crate) fn new(document: &'a Document, report: &'a Report, what: &str, node: &'a Node) -> Self {
        Self::under(document, report, what, node, report.records().then(String::new))
    }

    /// The table under `key` of a rule, before there is a section of the rule itself.
    pub(crate) fn of_rule(
        document: &'a Document,
        report: &'a Report,
        key: &'static str,
        node: &'a Node,
    ) -> Self {
        report.note(|asked| asked.key("rule", key, Some(Shape::Table), None));
        Self::under(
            document,
            report,
            &format!("`{key}`"),
            node,
            report.records().then(|| format!("rule.{key}")),
        )
    }

    pub(crate) fn under(
        document: &'a Document,
        report: &'a Report,
        what: &str,
        node: &'a Node,
        path: Option<String>,
    ) -> Self {
        if let Some(path) = &path {
            report.note(|asked| asked.visit(path, node.span));
        }
        let entries: &[Entry] = if let Value::Table(entries) = &node.value {
            entries
        } else {
            let place = document.place(node.span);
            report.error(
                &place,
                "wrong-type",
                format!("{what} must be a table, and this is {}", node.value.kind()),
                None,
            );
            &[]
        };
        let what = what.to_owned();
        Self {
            document,
            report,
            what,
            path,
            span: node.span,
            entries,
            known: RefCell::default(),
            is_table: matches!(node.value, Value::Table(_)),
            excused: Cell::default(),
        }
    }

    /// The value of `key`, which is a known key from now on.
    pub(crate) fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().insert(key);
        let found = self.entries.iter().find(|(name, ..)| name == key).map(|(.., node)| node);
        if let Some(path) = &self.path {
            self.report.note(|asked| asked.key(path, key, None, found));
        }
        found
    }

    /// Writes down what `key` takes.
    pub(crate) fn takes(&self, key: &'static str, shape: impl FnOnce() -> Shape) {
        if let Some(path) = &self.path {
            self.report.note(|asked| asked.key(path, key, Some(shape()), None));
        }
    }

    /// How many of these keys, of which a table has exactly one, it has.
    pub(crate) fn ways(&self, keys: &[&'static str]) -> usize {
        if let Some(path) = &self.path {
            self.report.note(|asked| asked.one_of(path, keys));
        }
        keys.iter().filter(|key| self.node(key).is_some()).count()
    }

    /// Whether `key` is written; that makes it no known key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, ..)| name == key)
    }

    /// Whether it is a table at all; what is none was told.
    pub(crate) fn is_table(&self) -> bool {
        self.is_table
    }

    /// Whether this is a whole rule, and no condition of one.
    pub(crate) fn is_rule(&self) -> bool {
        self.what == "[[rule]]"
    }

    /// The rest cannot be read for a mistake that was told.
    pub(crate) fn excuse(&self) {
        self.excused.set(true);
    }

    /// All entries, for tables whose keys are names; all are known then.
    pub(crate) fn all(&self) -> &'a [Entry] {
        if let Some(path) = &self.path {
            let known = self.known.borrow();
            let names = self.entries.iter().filter(|(name, ..)| !known.contains(name.as_str()));
            self.report.note(|asked| asked.open(path, names.map(|(.., node)| node)));
        }
        self.entries
    }

    /// The place of `key`'s value, or of the table.
    pub(crate) fn place(&self, key: &str) -> Place {
        let found = self.entries.iter().find(|(name, ..)| name == key);
        self.document.place(found.map_or((self.span.0, self.span.0), |(.., node)| node.span))
    }

    pub(crate) fn error(
        &self,
        key: &str,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report.error(&self.place(key), code, message, help);
    }

    pub(crate) fn warning(
        &self,
        key: &str,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report.warning(&self.place(key), code, message, help);
    }

    fn wrong<T>(&self, key: &str, node: &Node, wanted: &str) -> Option<T> {
        let found = match &node.value {
            Value::Text(text) => format!("`{text}`"),
            Value::Float(number) if !number.is_finite() => format!("{number}"),
            other => other.kind().to_owned(),
        };
        self.error(key, "wrong-type", format!("`{key}` must be {wanted}, and this is {found}"), None);
        None
    }

    /// Reports that `key` is missing when there is nothing.
    pub(crate) fn need<T>(&self, key: &'static str, value: Option<T>) -> Option<T> {
        if let Some(path) = &self.path {
            self.report.note(|asked| asked.need(path, key, self.span));
        }
        if value.is_none() && self.node(key).is_none() {
            self.error(key, "missing-key", format!("{} needs `{key}`", self.what), None);
        }
        value
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<String> {
        self.takes(key, || Shape::Text);
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => self.wrong(key, node, "a text"),
        }
    }

    pub(crate) fn float(&self, key: &'static str) -> Option<f64> {
        self.takes(key, || Shape::Number);
        let node = self.node(key)?;
        number(node).or_else(|| self.wrong(key, node, "a number"))
    }

    pub(crate) fn flag(&self, key: &'static str) -> Option<bool> {
        self.takes(key, || Shape::Flag);
        let node = self.node(key)?;
        match node.value {
            Value::Bool(holds) => Some(holds),
            _ => self.wrong(key, node, "true or false"),
        }
    }

    /// An integer of a range.
    pub(crate) fn int<T: TryFrom<i64>>(&self, key: &'static str, low: i64, high: i64) -> Option<T> {
        self.takes(key, || Shape::Int(low, high));
        let node = self.node(key)?;
        let Value::Int(value) = node.value else { return self.wrong(key, node, "an integer") };
        let inside = (low..=high).contains(&value).then(|| T::try_from(value).ok()).flatten();
        if inside.is_none() {
            self.error(
                key,
                "out-of-range",
                format!("`{key}` must be {low} to {high}, and this is {value}"),
                None,
            );
        }
        inside
    }

    pub(crate) fn duration(&self, key: &'static str) -> Option<Duration> {
        self.takes(key, || Shape::Duration);
        if let Some(node) = self.node(key).filter(|node| !matches!(node.value, Value::Text(_))) {
            let such = if let Value::Int(number @ 0..) = node.value { number } else { 5 };
            let text = format!("`{key}` must be a time with its unit, and this is {}", node.value.kind());
            self.error(key, "wrong-type", text, Some(format!("write \"{such}s\", or ms, m, h or d")));
            return None;
        }
        let text = self.text(key)?;
        let found = crate::site::duration(&text);
        if found.is_none() {
            let help = Some("write a number and ms, s, m, h or d: \"5s\", \"2h\"".to_owned());
            self.error(key, "bad-duration", format!("`{text}` is not a duration"), help);
        }
        found
    }

    /// A TOML date as the moment of its midnight in UTC.
    pub(crate) fn date(&self, key: &'static str) -> Option<Timestamp> {
        self.takes(key, || Shape::Date);
        let node = self.node(key)?;
        let text = match &node.value {
            Value::Date(text) | Value::Text(text) => text,
            _ => return self.wrong(key, node, "a date (2027-03-01)"),
        };
        let day = text.get(..10).and_then(|day| Timestamp::parse(&format!("{day}T00:00:00Z")).ok());
        day.or_else(|| self.wrong(key, node, "a date (2027-03-01)"))
    }

    pub(crate) fn unit(&self, key: &'static str) -> Option<Unit> {
        self.takes(key, || Shape::Unit);
        let text = self.text(key)?;
        let unit = Unit::spelled(&text);
        if unit.is_none() {
            self.error(key, "unknown-unit", format!("there is no unit `{text}`"), unit_help(&text));
        }
        unit
    }

    /// A kebab-case name.
    pub(crate) fn name(&self, key: &'static str) -> Option<String> {
        self.takes(key, || Shape::Name);
        let text = self.need(key, self.text(key))?;
        let kebab = kebab(&text);
        if kebab != text || text.is_empty() {
            // A letter that is left of a name in another script is none.
            let some = kebab.len() > 1 || (kebab.len() == 1 && text.chars().count() == 1);
            let help = some.then(|| format!("write `{kebab}`"));
            self.error(key, "bad-name", format!("`{text}` is not a kebab-case name (a-z, 0-9, -)"), help);
        }
        Some(text)
    }

    /// One of the words of a closed list.
    pub(crate) fn word(&self, key: &'static str, words: &[&'static str]) -> Option<&'static str> {
        self.takes(key, || Shape::Word(words.to_vec()));
        let text = self.text(key)?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let help = nearest(&text, words.iter().copied())
                .or_else(|| Some(format!("one of {}", words.join(", "))));
            self.error(key, "unknown-word", format!("`{key}` cannot be `{text}`"), help);
        }
        found
    }

    pub(crate) fn list(&self, key: &'static str) -> &'a [Node] {
        match self.node(key) {
            None => &[],
            Some(Node { value: Value::List(list), .. }) => list,
            Some(node) => self.wrong::<&[Node]>(key, node, "a list").unwrap_or(&[]),
        }
    }

    pub(crate) fn texts(&self, key: &'static str) -> Vec<(String, Place)> {
        self.takes(key, || Shape::List(vec![Shape::Text]));
        let text = |node: &Node| match &node.value {
            Value::Text(text) => Some((text.clone(), self.document.place(node.span))),
            _ => self.wrong(key, node, "a list of texts"),
        };
        self.list(key).iter().filter_map(text).collect()
    }

    /// A text, or a list of texts.
    pub(crate) fn one_or_more(&self, key: &'static str) -> Vec<(String, Place)> {
        self.takes(key, || Shape::Text);
        self.takes(key, || Shape::List(vec![Shape::Text]));
        match self.node(key) {
            Some(Node { value: Value::Text(text), span }) => vec![(text.clone(), self.document.place(*span))],
            _ => self.texts(key),
        }
    }

    /// A table, or a list of tables; a text alone is none of these, and no mistake.
    pub(crate) fn one_or_more_tables(&self, key: &'static str) -> Vec<Section<'a>> {
        self.takes(key, || Shape::Text);
        self.takes(key, || Shape::Table);
        self.takes(key, || Shape::Tables);
        match self.node(key).map(|node| &node.value) {
            Some(Value::Text(_)) => Vec::new(),
            Some(Value::Table(_)) => self.section(key).into_iter().collect(),
            _ => self.sections(key),
        }
    }

    /// A table of tables by name, each like those of `like` with none of their keys needed.
    pub(crate) fn maps(&self, key: &'static str, like: &'static str) {
        let Some(of) = self.section(key) else { return };
        if let Some(path) = &of.path {
            self.report.note(|asked| asked.alike(path, like));
        }
        for (_, _, node) in of.all() {
            Section::under(self.document, self.report, &format!("an entry of `{key}`"), node, None);
        }
    }

    /// The tables of this one by name; they have keys of the table at `like`.
    pub(crate) fn alike(&self, like: &'static str, what: &str) -> Vec<(&'a String, Self)> {
        if let Some(path) = &self.path {
            self.report.note(|asked| asked.alike(path, like));
        }
        let section =
            |(name, _, node): &'a Entry| (name, Self::under(self.document, self.report, what, node, None));
        self.entries.iter().map(section).collect()
    }

    /// A table that has this key can do without those that are needed otherwise.
    pub(crate) fn unless(&self, key: &'static str) {
        if let Some(path) = &self.path {
            self.report.note(|asked| asked.unless(path, key));
        }
    }

    /// The table under `key`.
    pub(crate) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        self.takes(key, || Shape::Table);
        let node = self.node(key)?;
        let path = self.path.as_ref().map(|path| shape::path(path, key));
        Some(Section::under(self.document, self.report, &format!("`{key}`"), node, path))
    }

    /// The tables of the list under `key`.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        self.takes(key, || Shape::Tables);
        let what = format!("[[{key}]]");
        let path = self.path.as_ref().map(|path| shape::path(path, key));
        let section = |node| Section::under(self.document, self.report, &what, node, path.clone());
        self.list(key).iter().map(section).collect()
    }

    /// The keys that nobody asked for.
    pub(crate) fn others(&self) -> Vec<(String, Place)> {
        let known = self.known.borrow();
        let others = self.entries.iter().filter(|(name, ..)| !known.contains(name.as_str()));
        others.map(|(name, span, _)| (name.clone(), self.document.place(*span))).collect()
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        if self.excused.get() {
            return;
        }
        for (name, span, _) in self.entries {
            if !known.contains(name.as_str()) {
                let help = nearest(name, known.iter().copied()).or_else(|| {
                    let all: Vec<&str> = known.iter().copied().collect();
                    Some(format!("known keys: {}", all.join(", ")))
                });
                let message = format!("{} has no key `{name}`", self.what);
                self.report.error(&self.document.place(*span), "unknown-key", message, help);
            }
        }
    }
}

/// An integer or a float.
pub(crate) fn number(node: &Node) -> Option<f64> {
    match node.value {
        #[expect(clippy::cast_precision_loss, reason = "documents hold small integers")]
        Value::Int(value) => Some(value as f64),
        Value::Float(value) if value.is_finite() => Some(value),
        _ => None,
    }
}

/// `did you mean` for the nearest of `known`.
pub(crate) fn nearest<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    let score =
        |name: &'k str| (strsim::damerau_levenshtein(&text.to_lowercase(), &name.to_lowercase()), name);
    let (distance, name) = known.map(score).min()?;
    let most = (text.chars().count() / 3).clamp(1, 4);
    (distance <= most).then(|| format!("did you mean `{name}`?"))
}

/// What to write instead of a unit that there is not.
pub(crate) fn unit_help(text: &str) -> Option<String> {
    // Of standard cubic metres people say 标方 whatever the temperature: the two differ by 7 %.
    if text.contains('标') {
        let text = "write `Sm3/h` or `Sm3` for volumes at 20 °C, `Nm3/h` or `Nm3` for those at 0 °C: the device's manual says which";
        return Some(text.to_owned());
    }
    // A prefix is never guessed, nor what else has letters in common with a unit that there is not.
    let units = || Unit::names().filter_map(Unit::parse);
    if units().any(|unit| unit.differs_in_prefix(text)) {
        let same = |unit: &Unit| unit.name().eq_ignore_ascii_case(text) && !unit.differs_in_prefix(text);
        return units().find(same).map(|unit| format!("did you mean `{}`?", unit.name()));
    }
    nearest(text, Unit::names())
}

/// The kebab-case form of a name.
pub(crate) fn kebab(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            'a'..='z' | '0'..='9' => out.push(letter),
            'A'..='Z' => out.push(letter.to_ascii_lowercase()),
            _ if !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    out.trim_matches('-').to_owned()
}
