//! A kind of document as a reference page: each table with its keys, then the specimens whole.
//!
//! In: what the readers asked for, the specimens. Out: Markdown. Invariant: the same code gives the same page.

use crate::derive::functions;
use crate::site::schema::Kind;
use crate::site::schema::shape::{Asked, Key, Shape, Table, path};
use crate::site::schema::specimen::Specimens;

/// The page.
pub(crate) fn page(kind: Kind, asked: &Asked, specimens: &Specimens) -> String {
    let name = kind.name();
    let mut page = format!(
        "# The {name} document\n\n\
         {}.\n\
         `lifeline schema {name}` prints its JSON Schema; with `#:schema FILE` on a document's first line a TOML language server (taplo) checks and completes it.\n\
         Generated from the readers and `src/site/schema/specimens/`: `UPDATE=1 cargo test reference` writes it anew.\n\n\
         Durations are a number and `ms`, `s`, `m`, `h` or `d`. Units are listed in [units](units.md), findings in [diagnostics](diagnostics.md).\n",
        kind.title()
    );
    let mut paths = Vec::new();
    collect(asked, "", &mut paths);
    for (at, list) in paths {
        let Some(table) = asked.table(&at) else { continue };
        page += &section(asked, specimens, &at, list, table);
        if at == "derived" {
            page += &functions::reference();
        }
    }
    page += "\n## A whole document\n";
    for text in specimens.texts() {
        page += &format!("\n```toml\n{}\n```\n", text.trim_end());
    }
    page
}

/// Paths of tables in the order in which the readers ask for them, and whether each stands in a list.
fn collect(asked: &Asked, of: &str, paths: &mut Vec<(String, bool)>) {
    let Some(table) = asked.table(of) else { return };
    for key in &table.keys {
        let at = path(of, &key.name);
        let list = key.shapes().contains(&Shape::Tables);
        let is_table = list || key.shapes().contains(&Shape::Table);
        if is_table && !paths.iter().any(|(known, _)| *known == at) {
            paths.push((at.clone(), list));
            collect(asked, &at, paths);
        }
    }
}

fn section(asked: &Asked, specimens: &Specimens, at: &str, list: bool, table: &Table) -> String {
    let (of, own) = at.rsplit_once('.').unwrap_or(("", at));
    let head = if list { format!("[[{at}]]") } else { format!("[{at}]") };
    let mut text = format!("\n## {head}\n{}\n\n", sentence(&specimens.described(of, own).text));
    if !table.one_of.is_empty() {
        let keys: Vec<String> = table.one_of.iter().map(|key| format!("`{key}`")).collect();
        text += &format!("Exactly one of {}.\n\n", keys.join(", "));
    }
    if let Some(like) = table.like {
        text += &format!(
            "Its keys are names, and each is a table with keys of [{like}](#{like}), none of them needed.\n"
        );
        return text;
    }
    if let Some(key) = table.unless {
        text += &format!("What `{key}` brings need not be written.\n\n");
    }
    if table.keys.is_empty() {
        text += "Its keys are names.\n";
        return text;
    }
    text += "| key | takes | meaning | example |\n| --- | --- | --- | --- |\n";
    for key in &table.keys {
        let described = specimens.described(at, &key.name);
        let needed = if table.needs(key) { " **needed**" } else { "" };
        let plain = described
            .examples
            .first()
            .filter(|(written, _)| !written.starts_with('[') || !is_table_of_its_own(key));
        let example = plain.map(|(written, _)| format!("`{}`", cell(written)));
        text += &format!(
            "| `{}`{needed} | {} | {} | {} |\n",
            key.name,
            cell(&takes(asked, at, key)),
            cell(&described.text),
            example.unwrap_or_default()
        );
    }
    if table.open.is_some() {
        text += "\nBeside these its keys are names.\n";
    }
    text
}

/// Whether what stands in a document is the head of a table.
fn is_table_of_its_own(key: &Key) -> bool {
    key.shapes().iter().any(|shape| matches!(shape, Shape::Table | Shape::Tables))
}

fn takes(asked: &Asked, of: &str, key: &Key) -> String {
    let at = path(of, &key.name);
    let anchor: String = at.chars().filter(|letter| *letter != '.').collect();
    let open = asked.table(&at).is_some_and(|table| table.keys.is_empty());
    let words: Vec<String> = key
        .shapes()
        .iter()
        .map(|shape| match shape {
            Shape::Table if open => "table of names".to_owned(),
            Shape::Table => format!("[table](#{anchor})"),
            Shape::Tables => format!("[tables](#{anchor})"),
            other => word(other),
        })
        .collect();
    words.join(", or ")
}

fn word(shape: &Shape) -> String {
    let several = |shapes: &[Shape]| shapes.iter().map(word).collect::<Vec<_>>().join(" or ");
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Name => "kebab-case name".to_owned(),
        Shape::Duration => "duration".to_owned(),
        Shape::Date => "date".to_owned(),
        Shape::Unit => "unit".to_owned(),
        Shape::Number => "number".to_owned(),
        Shape::Int(i64::MIN, i64::MAX) => "integer".to_owned(),
        Shape::Int(low, high) => format!("{low} to {high}"),
        Shape::Flag => "true or false".to_owned(),
        Shape::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::List(items) => format!("list: {}", several(items)),
        Shape::Map(values) => format!("table of names: {}", several(values)),
        Shape::Table | Shape::Tables => "table".to_owned(),
    }
}

fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
