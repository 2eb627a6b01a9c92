//! What the readers of documents ask for, written down while they read: the one truth that schemas and reference pages are made of.
//!
//! In: each question a reader puts to a table. Out: tables by path, their keys in the order of asking, what each key takes.
//! Invariant: nothing is written down unless a [`Report`](crate::site::tree::Report) was made to; reading is the same either way.

use std::collections::{BTreeMap, BTreeSet};

use crate::site::tree::{Node, Value};

/// What a key takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    Text,
    /// A kebab-case name.
    Name,
    Duration,
    Date,
    Unit,
    Number,
    Int(i64, i64),
    Flag,
    /// One of a few words.
    Word(Vec<&'static str>),
    /// A table of its own, under its own path.
    Table,
    /// A list of such tables.
    Tables,
    /// A list of values.
    List(Vec<Shape>),
    /// A table whose keys are names.
    Map(Vec<Shape>),
}

impl Shape {
    /// The kind of a value that no reader described.
    fn of(value: &Value) -> Self {
        match value {
            Value::Text(_) => Self::Text,
            Value::Int(_) => Self::Int(i64::MIN, i64::MAX),
            Value::Float(_) => Self::Number,
            Value::Bool(_) => Self::Flag,
            Value::Date(_) => Self::Date,
            Value::List(list) => Self::List(distinct(list.iter().map(|node| match &node.value {
                Value::Int(_) => Self::Number,
                other => Self::of(other),
            }))),
            Value::Table(entries) => {
                Self::Map(distinct(entries.iter().map(|(.., node)| Self::of(&node.value))))
            }
        }
    }

    /// Whether a value of this kind is described already.
    fn covers(&self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Text | Self::Name | Self::Duration | Self::Unit | Self::Word(_), Value::Text(_))
                | (Self::Date, Value::Date(_) | Value::Text(_))
                | (Self::Number, Value::Int(_) | Value::Float(_))
                | (Self::Int(..), Value::Int(_))
                | (Self::Flag, Value::Bool(_))
                | (Self::Table | Self::Map(_), Value::Table(_))
                | (Self::Tables | Self::List(_), Value::List(_))
        )
    }
}

fn distinct(shapes: impl Iterator<Item = Shape>) -> Vec<Shape> {
    shapes.collect::<BTreeSet<_>>().into_iter().collect()
}

/// One key of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key {
    pub(crate) name: String,
    shapes: Vec<Shape>,
    /// Tables (by their place) that did not do without it.
    needed: BTreeSet<(usize, (usize, usize))>,
}

/// One table by its path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) keys: Vec<Key>,
    /// Where such tables stood, by document.
    visits: BTreeSet<(usize, (usize, usize))>,
    /// Beside its keys it takes any name, with such a value.
    pub(crate) open: Option<Vec<Shape>>,
    /// The table whose keys its own tables have, by name.
    pub(crate) like: Option<&'static str>,
    /// With this key it needs no other.
    pub(crate) unless: Option<&'static str>,
    /// Of these keys exactly one.
    pub(crate) one_of: Vec<&'static str>,
}

/// Everything that was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    tables: BTreeMap<String, Table>,
    /// Which of several specimens is read.
    pub(crate) document: usize,
}

/// Tables that are the same wherever they stand.
const SAME: [(&str, &str); 2] = [("firmware.point", "point"), ("firmware.limits", "limits")];

/// The path of a table under `parent`.
pub(crate) fn path(parent: &str, key: &str) -> String {
    let path = if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
    SAME.iter().find(|(one, _)| *one == path).map_or(path, |(_, same)| (*same).to_owned())
}

impl Asked {
    /// The table at this path.
    pub(crate) fn table(&self, path: &str) -> Option<&Table> {
        self.tables.get(path)
    }

    /// All tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, &Table)> {
        self.tables.iter().map(|(path, table)| (path.as_str(), table))
    }

    /// A table is read.
    pub(crate) fn visit(&mut self, path: &str, span: (usize, usize)) {
        let document = self.document;
        self.tables.entry(path.to_owned()).or_default().visits.insert((document, span));
    }

    /// A key is asked for; what the document has there is described as it is, unless a shape covers it.
    pub(crate) fn key(&mut self, path: &str, name: &str, shape: Option<Shape>, found: Option<&Node>) {
        let key = self.tables.entry(path.to_owned()).or_default().named(name);
        if let Some(shape) = shape
            && !key.shapes.contains(&shape)
        {
            key.shapes.push(shape);
        }
        if let Some(node) = found
            && !key.shapes.iter().any(|shape| shape.covers(&node.value))
        {
            key.shapes.push(Shape::of(&node.value));
        }
    }

    /// A table is not read without this key.
    pub(crate) fn need(&mut self, path: &str, name: &str, span: (usize, usize)) {
        let document = self.document;
        self.tables.entry(path.to_owned()).or_default().named(name).needed.insert((document, span));
    }

    /// All keys of a table are names.
    pub(crate) fn open<'n>(&mut self, path: &str, values: impl Iterator<Item = &'n Node>) {
        let table = self.tables.entry(path.to_owned()).or_default();
        let shapes = distinct(values.map(|node| Shape::of(&node.value)));
        let known = table.open.get_or_insert_default();
        known.extend(shapes);
        known.sort();
        known.dedup();
    }

    /// The entries of a table are tables like those at `like`.
    pub(crate) fn alike(&mut self, path: &str, like: &'static str) {
        self.tables.entry(path.to_owned()).or_default().like = Some(like);
    }

    /// With this key a table needs no other.
    pub(crate) fn unless(&mut self, path: &str, key: &'static str) {
        self.tables.entry(path.to_owned()).or_default().unless = Some(key);
    }

    /// A table has exactly one of these keys.
    pub(crate) fn one_of(&mut self, path: &str, keys: &[&'static str]) {
        self.tables.entry(path.to_owned()).or_default().one_of = keys.to_vec();
    }
}

impl Table {
    fn named(&mut self, name: &str) -> &mut Key {
        let index = self.keys.iter().position(|key| key.name == name).unwrap_or_else(|| {
            self.keys.push(Key { name: name.to_owned(), ..Key::default() });
            self.keys.len() - 1
        });
        &mut self.keys[index]
    }

    /// Whether no such table does without this key.
    pub(crate) fn needs(&self, key: &Key) -> bool {
        !self.visits.is_empty() && self.visits.is_subset(&key.needed)
    }
}

impl Key {
    /// What it takes: the narrowest descriptions, integers of several readers put together.
    pub(crate) fn shapes(&self) -> Vec<Shape> {
        let narrow =
            |shape: &Shape| matches!(shape, Shape::Name | Shape::Duration | Shape::Unit | Shape::Word(_));
        let texts = self.shapes.iter().any(narrow) || self.shapes.contains(&Shape::Date);
        let ints = self.shapes.iter().filter_map(|shape| match shape {
            Shape::Int(low, high) => Some((*low, *high)),
            _ => None,
        });
        let number = self.shapes.contains(&Shape::Number);
        let described = |shape: &&Shape| match shape {
            Shape::Text => !texts,
            Shape::Int(..) => false,
            Shape::Map(_) => !self.shapes.contains(&Shape::Table),
            Shape::List(_) => !self.shapes.contains(&Shape::Tables),
            _ => true,
        };
        let mut found: Vec<Shape> = self.shapes.iter().filter(described).cloned().collect();
        let span =
            ints.reduce(|(low, high), (other_low, other_high)| (low.min(other_low), high.max(other_high)));
        found.extend(span.filter(|_| !number).map(|(low, high)| Shape::Int(low, high)));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_needed_everywhere() {
        let mut asked = Asked::default();
        for (span, needs) in [((0, 5), true), ((6, 9), false)] {
            asked.visit("line", span);
            asked.key("line", "name", Some(Shape::Name), None);
            asked.need("line", "name", span);
            asked.key("line", "url", Some(Shape::Text), None);
            if needs {
                asked.need("line", "url", span);
            }
        }
        let table = asked.table("line").unwrap();
        let needed: Vec<&str> =
            table.keys.iter().filter(|key| table.needs(key)).map(|key| key.name.as_str()).collect();
        assert_eq!(needed, ["name"]);
    }

    #[test]
    fn the_narrowest_description_counts() {
        let mut asked = Asked::default();
        for shape in [Shape::Text, Shape::Duration, Shape::Int(1, 247), Shape::Int(0, 200)] {
            asked.key("t", "k", Some(shape), None);
        }
        let node = Node { span: (0, 1), value: Value::Bool(true) };
        asked.key("t", "k", None, Some(&node));
        let want = [Shape::Duration, Shape::Flag, Shape::Int(0, 247)];
        assert_eq!(asked.table("t").unwrap().keys[0].shapes(), want);
    }
}
