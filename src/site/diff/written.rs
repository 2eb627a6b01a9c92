//! What differs between two tables as a person wrote them, key by key.
//!
//! In: the documents of two sites. Out: `key old -> new` in the words of the documents.
//! Invariant: keys that no comparison of compiled settings names are told all the same; a table made from a template has none of its own.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::site::Site;

/// Longer texts are told by their key alone.
const SHOWN_MAX: usize = 60;

/// The tables of one kind by name.
pub(crate) struct Written(BTreeMap<String, Table>);

impl Written {
    /// All `[[kind]]` of a site's documents.
    pub(crate) fn of(site: &Site, kind: &str) -> Self {
        let documents = site.documents.iter().filter(|(name, _)| name.ends_with(".toml"));
        let parsed = documents.filter_map(|(_, text)| text.parse::<Table>().ok());
        let listed = parsed.flat_map(|mut document| match document.remove(kind) {
            Some(Value::Array(tables)) => tables,
            _ => Vec::new(),
        });
        let named = listed.filter_map(|table| match table {
            Value::Table(table) => Some((table.get("name")?.as_str()?.to_owned(), table)),
            _ => None,
        });
        Self(named.collect())
    }

    /// What is other in the table `name` of `new`; `settings` when the documents do not say.
    pub(crate) fn differ(&self, new: &Self, name: &str) -> Vec<String> {
        let mut what = Vec::new();
        if let Some((was, is)) = self.0.get(name).zip(new.0.get(name)) {
            tables(&mut what, "", was, is);
        }
        if what.is_empty() {
            what.push("settings".to_owned());
        }
        what
    }
}

fn tables(what: &mut Vec<String>, above: &str, old: &Table, new: &Table) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let path = format!("{above}{key}");
        match (old.get(key), new.get(key)) {
            (Some(Value::Table(was)), Some(Value::Table(is))) => tables(what, &format!("{path}."), was, is),
            (was, is) if was == is => {}
            (was, is) => match shown(was).zip(shown(is)) {
                Some((was, is)) => what.push(format!("{path} {was} -> {is}")),
                None => what.push(path),
            },
        }
    }
}

fn shown(value: Option<&Value>) -> Option<String> {
    let text = match value {
        None => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    Some(text).filter(|text| text.len() <= SHOWN_MAX && !text.contains('\n'))
}
