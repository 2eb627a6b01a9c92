//! Schemas and reference pages of the documents that people write.
//!
//! In: the readers of documents, and specimens that show each key with a comment. Out: JSON Schema (draft 2020-12), pages.
//! Invariant: what a key takes, and whether a table can do without it, is what the reader asked for while it read the specimens; a comment above
//! a key is its description, its value an example. So a key that the reader knows and the specimens don't is a failing test, and never a gap.

mod page;
pub(crate) mod shape;
mod specimen;

use serde_json::{Map, Value, json};

use crate::site::schema::shape::{Asked, Shape, path};
use crate::site::schema::specimen::Specimens;
use crate::unit::Unit;

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A site's document, `devices/*.toml`.
    Site,
    /// A device model, `firmware-profiles/*.toml`.
    Profile,
    /// `gateway.toml`.
    Gateway,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Site, Self::Profile, Self::Gateway];

    /// `site`, `profile` or `gateway`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Profile => "profile",
            Self::Gateway => "gateway",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Site => "A site of lifeline: lines, devices, risk points, rules",
            Self::Profile => "A device model of lifeline",
            Self::Gateway => "The settings of a lifeline gateway",
        }
    }
}

/// Asked for only to say that it stands in the wrong place.
const MISPLACED: &str = "line.speed";
/// Names that may stand for many, and what counts or names them there.
const PATTERNS: [(&str, &str); 2] = [
    ("device.name", "^([a-z0-9]|\\{slave\\}|\\{n\\})+(-([a-z0-9]|\\{slave\\}|\\{n\\})+)*$"),
    ("rule.name", "^([a-z0-9]|\\{device\\})+(-([a-z0-9]|\\{device\\})+)*$"),
];
/// Keys of a whole rule, which none of its conditions has.
const WHOLE: [&str; 18] = [
    "name",
    "each",
    "silent_for",
    "holds",
    "conditions",
    "latched",
    "kind",
    "basis",
    "advice",
    "explains",
    "suppress",
    "datum",
    "author",
    "revision",
    "plan",
    "phase",
    "layer",
    "severity",
];

/// The JSON Schema of a kind of document, for editors with a TOML language server.
pub fn schema(kind: Kind) -> Value {
    let specimens = Specimens::of(kind);
    let asked = specimens.asked();
    let mut root = table(&asked, &specimens, "");
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.title(),
        "$defs": { "unit": unit() },
    });
    if let (Some(root), Value::Object(head)) = (root.as_object_mut(), head) {
        root.extend(head);
    }
    root
}

/// A unit by its name, or spelled with signs of print, which [`Unit::spelled`] reads.
fn unit() -> Value {
    let names: Vec<&str> = Unit::names().collect();
    json!({ "anyOf": [{ "type": "string", "enum": names }, { "type": "string", "pattern": "[²³\u{b5}\u{3bc}°º℃℉Ω\u{2126}]" }] })
}

/// The reference page of a kind of document.
pub fn page(kind: Kind) -> String {
    let specimens = Specimens::of(kind);
    page::page(kind, &specimens.asked(), &specimens)
}

/// What stands against the pages being whole: keys that no specimen describes or shows, faults of the specimens themselves.
pub fn gaps(kind: Kind) -> Vec<String> {
    let specimens = Specimens::of(kind);
    let asked = specimens.asked();
    let mut gaps = specimens.faults();
    for (of, table) in asked.tables() {
        for key in &table.keys {
            let at = path(of, &key.name);
            if at == MISPLACED {
                continue;
            }
            let described = specimens.described(of, &key.name);
            let tables = key.shapes().iter().any(|shape| matches!(shape, Shape::Table | Shape::Tables));
            if key.shapes().is_empty() {
                gaps.push(format!("nobody knows what `{at}` takes: no {} specimen shows it", kind.name()));
            } else if described.text.is_empty() {
                gaps.push(format!("`{at}` stands in no {} specimen with a comment above it", kind.name()));
            } else if tables
                && asked
                    .table(&at)
                    .is_none_or(|table| table.keys.is_empty() && table.open.is_none() && table.like.is_none())
            {
                gaps.push(format!("`{at}` is a table, and no {} specimen shows its keys", kind.name()));
            }
        }
    }
    gaps
}

/// Tables by name, each like those at `like`: nothing is needed in them.
fn named(asked: &Asked, specimens: &Specimens, like: &str) -> Value {
    let without: &[&str] = if like == "rule" { &WHOLE } else { &[] };
    let mut inner = table_without(asked, specimens, like, without);
    if let Some(inner) = inner.as_object_mut() {
        inner.remove("required");
        inner.remove("anyOf");
    }
    json!({ "type": "object", "additionalProperties": inner })
}

fn table(asked: &Asked, specimens: &Specimens, of: &str) -> Value {
    table_without(asked, specimens, of, &[])
}

fn table_without(asked: &Asked, specimens: &Specimens, of: &str, without: &[&str]) -> Value {
    let Some(table) = asked.table(of) else { return json!({ "type": "object" }) };
    if let Some(like) = table.like {
        return named(asked, specimens, like);
    }
    let mut properties = Map::new();
    for key in table.keys.iter().filter(|key| !without.contains(&key.name.as_str())) {
        let shapes: Vec<Value> =
            key.shapes().iter().map(|shape| emit(asked, specimens, shape, &path(of, &key.name))).collect();
        let mut one = match <[Value; 1]>::try_from(shapes) {
            Ok([only]) => only,
            Err(several) => json!({ "anyOf": several }),
        };
        let described = specimens.described(of, &key.name);
        if let Some(one) = one.as_object_mut() {
            one.insert("description".to_owned(), json!(described.text));
            let examples: Vec<&Value> = described.examples.iter().map(|(_, value)| value).collect();
            if !examples.is_empty() && !one.contains_key("items") && !one.contains_key("properties") {
                one.insert("examples".to_owned(), json!(examples));
            }
        }
        properties.insert(key.name.clone(), one);
    }
    let required: Vec<&str> =
        table.keys.iter().filter(|key| table.needs(key)).map(|key| key.name.as_str()).collect();
    let others = table.open.as_ref().map_or(Value::Bool(false), |shapes| any_of(asked, specimens, shapes));
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": others });
    match table.unless {
        Some(key) => object["anyOf"] = json!([{ "required": [key] }, { "required": required }]),
        None => object["required"] = json!(required),
    }
    if !table.one_of.is_empty() {
        let ways: Vec<Value> = table.one_of.iter().map(|key| json!({ "required": [key] })).collect();
        object["oneOf"] = json!(ways);
    }
    object
}

fn emit(asked: &Asked, specimens: &Specimens, shape: &Shape, at: &str) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Name => {
            let own = PATTERNS.iter().find(|(of, _)| *of == at).map(|(_, pattern)| *pattern);
            json!({ "type": "string", "pattern": own.unwrap_or("^[a-z0-9]+(-[a-z0-9]+)*$") })
        }
        Shape::Duration => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        // A TOML date reaches a validator as text.
        Shape::Date => json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}" }),
        Shape::Unit => json!({ "$ref": "#/$defs/unit" }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Int(i64::MIN, i64::MAX) => json!({ "type": "integer" }),
        Shape::Int(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::Table => table(asked, specimens, at),
        Shape::Tables => json!({ "type": "array", "items": table(asked, specimens, at) }),
        Shape::List(items) => json!({ "type": "array", "items": any_of(asked, specimens, items) }),
        Shape::Map(values) => {
            json!({ "type": "object", "additionalProperties": any_of(asked, specimens, values) })
        }
    }
}

fn any_of(asked: &Asked, specimens: &Specimens, shapes: &[Shape]) -> Value {
    let mut found: Vec<Value> = shapes.iter().map(|shape| emit(asked, specimens, shape, "")).collect();
    match found.len() {
        0 => Value::Bool(true),
        1 => found.remove(0),
        _ => json!({ "anyOf": found }),
    }
}
