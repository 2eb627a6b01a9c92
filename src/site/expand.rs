//! Many devices from few lines: templates, ranges of slaves, tables from a spreadsheet.
//!
//! In: [`Sources`]. Out: the same documents with one `[[device]]` for each device, every value still at the place where a person wrote it.
//! Invariant: what comes out is read by the same reader as a device that is written out; a table whose heads are wrong gives one finding, and
//! its devices stay known by name alone.

use std::collections::BTreeMap;

use crate::diagnostic::Place;
use crate::site::columns::{self, DAYS, DEVICE};
use crate::site::each;
use crate::site::section::{Section, nearest};
use crate::site::shelf::{Sources, beside};
use crate::site::table::{Cell, Row, is_formula, rows};
use crate::site::tree::{Document, Entry, Node, Report, Value};

/// Keys of a device whose cells are lists, their items parted by `;`.
const LISTS: [&str; 3] = ["points", "allow", "also_at"];
/// The only key of a device that takes a whole number.
const SLAVE: &str = "slave";

/// The keys of a document that are answered here, for the reader of the others.
pub(crate) fn ask(top: &Section<'_>) {
    top.one_or_more("include");
    top.maps("template", "device");
    for table in top.one_or_more_tables("devices_csv") {
        table.need("file", table.text("file"));
        table.text("template");
        table.finish();
    }
}

/// Writes each device out.
pub(crate) fn expand(sources: &mut Sources, report: &Report) {
    let mut roots = std::mem::take(&mut sources.roots);
    let expansion = Expansion::new(sources, &roots, report);
    let (mut used, mut added) = (Vec::new(), Vec::new());
    for (document, root) in sources.documents.iter().zip(&roots) {
        let mut devices = expansion.written(root, &mut used);
        devices.extend(expansion.listed(document, root, &mut used));
        added.push(devices);
    }
    expansion.check_used(&used);
    for (root, devices) in roots.iter_mut().zip(added) {
        replace(root, devices);
    }
    each::expand(sources, &mut roots, report);
    sources.roots = roots;
}

/// Puts the devices where those of the document stood.
fn replace(root: &mut Node, devices: Vec<Node>) {
    let Value::Table(entries) = &mut root.value else { return };
    match entries.iter_mut().find(|(key, ..)| key == "device") {
        Some((.., node)) if matches!(node.value, Value::List(_)) => node.value = Value::List(devices),
        Some(_) => {}
        None if devices.is_empty() => {}
        None => {
            entries.push((
                "device".to_owned(),
                root.span,
                Node { span: root.span, value: Value::List(devices) },
            ));
        }
    }
}

struct Expansion<'s> {
    sources: &'s Sources,
    report: &'s Report,
    /// Templates by name: place of the name, keys.
    templates: BTreeMap<&'s str, ((usize, usize), &'s [Entry])>,
}

impl<'s> Expansion<'s> {
    fn new(sources: &'s Sources, roots: &'s [Node], report: &'s Report) -> Self {
        let mut templates: BTreeMap<&str, ((usize, usize), &[Entry])> = BTreeMap::new();
        for root in roots {
            let Some(Node { value: Value::Table(found), .. }) = root.entry("template") else { continue };
            for (name, span, node) in found {
                let Value::Table(keys) = &node.value else { continue };
                if let Some((first, _)) = templates.insert(name, (*span, keys)) {
                    let first = sources.whole.place(first);
                    let help = Some(format!("the first one stands at {}:{}", first.file, first.line));
                    let text = format!("two of this kind (template) are called `{name}`");
                    report.error(&sources.whole.place(*span), "duplicate-name", text, help);
                }
            }
        }
        Self { sources, report, templates }
    }

    fn place(&self, span: (usize, usize)) -> Place {
        self.sources.whole.place(span)
    }

    fn error(&self, span: (usize, usize), code: &'static str, text: impl Into<String>, help: Option<&str>) {
        self.report.error(&self.place(span), code, text, help.map(str::to_owned));
    }

    /// The devices that a document writes itself.
    fn written(&self, root: &'s Node, used: &mut Vec<&'s str>) -> Vec<Node> {
        let Some(Node { value: Value::List(list), .. }) = root.entry("device") else { return Vec::new() };
        list.iter().flat_map(|node| self.device(node.clone(), None, used)).collect()
    }

    /// The devices of the tables that a document names.
    fn listed(&self, document: &Document, root: &'s Node, used: &mut Vec<&'s str>) -> Vec<Node> {
        let list = match root.entry("devices_csv") {
            Some(Node { value: Value::List(list), .. }) => list.as_slice(),
            Some(node) => std::slice::from_ref(node),
            None => &[],
        };
        let mut found = Vec::new();
        for node in list {
            let file = node.entry("file").unwrap_or(node);
            let Value::Text(name) = &file.value else { continue };
            let Some((table, offset)) = self.sources.tables.get(&beside(document, name)) else { continue };
            match self.rows(table, *offset, node.entry("template")) {
                Ok(rows) => {
                    let devices = rows.into_iter().zip(1..);
                    found.extend(devices.flat_map(|(device, n)| self.device(device, Some(n), used)));
                }
                Err(named) => found.extend(named),
            }
        }
        found
    }

    /// The rows of a table as devices.
    ///
    /// # Errors
    /// Heads that are told: the devices with their names alone, and a `template` that keeps the reader from the rest.
    fn rows(&self, table: &Document, offset: usize, template: Option<&Node>) -> Result<Vec<Node>, Vec<Node>> {
        let at = |span: (usize, usize)| (span.0 + offset, span.1 + offset);
        let (rows, wrong) = rows(&table.text);
        for (span, why) in wrong {
            self.error(at(span), "bad-table", why, Some("write two quotes for one inside a quoted cell"));
        }
        let Some((header, rows)) = rows.split_first() else {
            let place = Place { file: table.name.clone(), ..Place::default() };
            let help = Some("its first row names keys of a device: name,line,slave,profile,every".to_owned());
            self.report.error(&place, "bad-table", "this table has no row", help);
            return Ok(Vec::new());
        };
        if let Some(text) = columns::wrong(header.cells.iter().map(|cell| cell.text.as_str()), &DEVICE) {
            let help = format!("its first row names columns: {}, tags.ANY", columns::all(&DEVICE));
            self.error(at(header.span), "bad-table", text, Some(&help));
            return Err(named(header, rows, at));
        }
        for (index, cell) in header.cells.iter().enumerate() {
            let before = header.cells.iter().take(index);
            if !cell.text.is_empty() && before.clone().any(|other| other.text == cell.text) {
                let text = format!("two columns are called `{}`", cell.text);
                self.error(at(cell.span), "bad-table", text, Some("leave one of them out"));
            }
        }
        Ok(rows.iter().filter_map(|row| self.row(header, row, at, template)).collect())
    }

    /// One row as a device, unless a cell is refused; the table's template counts where the row names none.
    fn row(
        &self,
        header: &Row,
        row: &Row,
        at: impl Fn((usize, usize)) -> (usize, usize),
        template: Option<&Node>,
    ) -> Option<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut refused = false;
        for (index, cell) in row.cells.iter().enumerate().filter(|(_, cell)| !cell.text.is_empty()) {
            let Some(key) = header.cells.get(index).filter(|key| !key.text.is_empty()) else {
                let text = format!("`{}` stands below no name of a column", cell.text);
                self.error(
                    at(cell.span),
                    "bad-table",
                    text,
                    Some("put a text with a comma in it into quotes"),
                );
                refused = true;
                continue;
            };
            if is_formula(&cell.text) {
                let text = format!("`{}` is a formula and no value", cell.text);
                self.error(at(cell.span), "formula-cell", text, None);
                refused = true;
                continue;
            }
            let ours = columns::key(&key.text, &DEVICE).unwrap_or_default();
            let (of, name) = ours.split_once('.').unwrap_or(("", &ours));
            let value = Node { span: at(cell.span), value: value(name, cell, &at) };
            let entry = (name.to_owned(), at(key.span), value);
            if of.is_empty() {
                entries.push(entry);
            } else if let Some((.., Node { value: Value::Table(inner), .. })) =
                entries.iter_mut().find(|(known, ..)| known == of)
            {
                inner.push(entry);
            } else {
                let inner = Node { span: at(cell.span), value: Value::Table(vec![entry]) };
                entries.push((of.to_owned(), at(key.span), inner));
            }
        }
        if let Some(template) = template
            && !entries.iter().any(|(key, ..)| key == "template")
        {
            entries.push(("template".to_owned(), template.span, template.clone()));
        }
        (!refused).then(|| Node { span: at(row.span), value: Value::Table(entries) })
    }

    /// The devices that one entry stands for; `n` is the number of its row in a table. What cannot be written out keeps `template` or `slaves`.
    fn device(&self, mut node: Node, n: Option<usize>, used: &mut Vec<&'s str>) -> Vec<Node> {
        let Value::Table(entries) = &mut node.value else { return vec![node] };
        let template = take(entries, "template");
        let has_template = template.is_some();
        let mark = template.as_ref().map(|name| (each::MARK.to_owned(), name.span, name.clone()));
        if let Some(template) = template
            && !self.lay_under(entries, &template, used)
        {
            entries.push(("template".to_owned(), template.span, template));
            return vec![node];
        }
        entries.extend(mark);
        let slaves = take(entries, "slaves");
        match slaves {
            Some(slaves) => self.range(node, &slaves),
            None if has_template || n.is_some() => {
                let slave = match node.entry(SLAVE) {
                    Some(Node { value: Value::Int(slave), .. }) => Some(*slave),
                    _ => None,
                };
                self.fill(&mut node, slave, n);
                vec![node]
            }
            None => vec![node],
        }
    }

    /// Takes from the template what the device doesn't say itself; whether there is one.
    fn lay_under(&self, entries: &mut Vec<Entry>, template: &Node, used: &mut Vec<&'s str>) -> bool {
        let Value::Text(name) = &template.value else {
            let text = format!("`template` must be a text, and this is {}", template.value.kind());
            self.error(template.span, "wrong-type", text, None);
            return false;
        };
        let Some((name, (_, keys))) = self.templates.get_key_value(name.as_str()) else {
            let help = nearest(name, self.templates.keys().copied())
                .unwrap_or_else(|| format!("write its keys under [template.{name}]"));
            let text = format!("there is no template `{name}`");
            self.error(template.span, "unknown-template", text, Some(&help));
            return false;
        };
        used.push(name);
        let says = |entries: &[Entry], key: &str| entries.iter().any(|(known, ..)| known == key);
        let addressed = says(entries, SLAVE) || says(entries, "slaves");
        for (key, span, node) in *keys {
            let own = entries.iter_mut().find(|(known, ..)| known == key).map(|(.., node)| &mut node.value);
            match (own, &node.value) {
                (Some(Value::Table(own)), Value::Table(under)) => {
                    let more = under.iter().filter(|(key, ..)| !says(own, key)).cloned();
                    let more: Vec<Entry> = more.collect();
                    own.extend(more);
                }
                (Some(_), _) => {}
                (None, _) if addressed && (key == SLAVE || key == "slaves") => {}
                (None, _) => entries.push((key.clone(), *span, node.clone())),
            }
        }
        true
    }

    /// One device for each slave of a range.
    fn range(&self, mut node: Node, slaves: &Node) -> Vec<Node> {
        let numbers = match &slaves.value {
            Value::Text(text) => numbers(text),
            _ => None,
        };
        let Some(numbers) = numbers else {
            let help = Some("such as slaves = \"1-20\" or \"1-8, 11, 21-30\"");
            self.error(
                slaves.span,
                "bad-slaves",
                "`slaves` must be numbers and ranges of them, 0 to 255",
                help,
            );
            if let Value::Table(entries) = &mut node.value {
                entries.push(("slaves".to_owned(), slaves.span, slaves.clone()));
            }
            return vec![node];
        };
        if let Some(slave) = node.entry(SLAVE) {
            self.error(slave.span, "bad-slaves", "a device has `slave` or `slaves`, and not both", None);
        }
        let counts = |text: &str| text.contains("{slave}") || text.contains("{n}");
        if let Some(Node { span, value: Value::Text(name) }) = node.entry("name")
            && numbers.len() > 1
            && !counts(name)
        {
            let help = format!("name = \"{name}-{{slave}}\"");
            let text = format!("{} devices would be called `{name}`", numbers.len());
            self.error(*span, "bad-slaves", text, Some(&help));
            return Vec::new();
        }
        if let Value::Table(entries) = &mut node.value {
            entries.retain(|(key, ..)| key != SLAVE);
        }
        let one = |(n, slave): (usize, u8)| {
            let mut own = node.clone();
            if let Value::Table(entries) = &mut own.value {
                let number = Node { span: slaves.span, value: Value::Int(slave.into()) };
                entries.push((SLAVE.to_owned(), slaves.span, number));
            }
            self.fill(&mut own, Some(slave.into()), Some(n));
            own
        };
        (1..).zip(numbers).map(one).collect()
    }

    /// Puts numbers for `{slave}` and `{n}` into all texts.
    fn fill(&self, node: &mut Node, slave: Option<i64>, n: Option<usize>) {
        match &mut node.value {
            Value::List(list) => list.iter_mut().for_each(|node| self.fill(node, slave, n)),
            Value::Table(entries) => entries.iter_mut().for_each(|(.., node)| self.fill(node, slave, n)),
            Value::Text(text) if text.contains('{') => {
                let mut filled = text.clone();
                if let Some(slave) = slave {
                    filled = filled.replace("{slave}", &slave.to_string());
                }
                if let Some(n) = n {
                    filled = filled.replace("{n}", &n.to_string());
                }
                if filled.contains('{') {
                    let help = match n {
                        Some(_) => "{slave} is the device's address, {n} counts the range or the rows",
                        None => {
                            "{slave} is the device's address; {n} counts where there is a range or a table"
                        }
                    };
                    let text = format!("`{text}` has a placeholder that stands for nothing here");
                    self.error(node.span, "unknown-placeholder", text, Some(help));
                }
                *text = filled.replace(['{', '}'], "");
            }
            _ => {}
        }
    }

    /// Templates that no device takes; their mistakes would stay unseen.
    fn check_used(&self, used: &[&str]) {
        for (name, (span, _)) in self.templates.iter().filter(|(name, _)| !used.contains(name)) {
            let text = format!("no device has the template `{name}`");
            self.report.warning(&self.place(*span), "unused-template", text, None);
        }
    }
}

/// What a table with wrong heads tells of its devices.
fn named(header: &Row, rows: &[Row], at: impl Fn((usize, usize)) -> (usize, usize)) -> Vec<Node> {
    let is_name = |cell: &Cell| columns::key(&cell.text, &DEVICE).is_some_and(|key| key == "name");
    // Most tables begin with it, also those that call it otherwise.
    let column = header.cells.iter().position(is_name).unwrap_or_default();
    let cells = rows.iter().filter_map(|row| row.cells.get(column)).filter(|cell| !cell.text.is_empty());
    let entry = |key: &str, cell: &Cell| {
        (key.to_owned(), at(cell.span), Node { span: at(cell.span), value: Value::Text(cell.text.clone()) })
    };
    let device = |cell: &Cell| {
        let entries = vec![entry("name", cell), entry("template", cell)];
        Node { span: at(cell.span), value: Value::Table(entries) }
    };
    cells.map(device).collect()
}

fn take(entries: &mut Vec<Entry>, key: &str) -> Option<Node> {
    let at = entries.iter().position(|(known, ..)| known == key)?;
    Some(entries.remove(at).2)
}

/// A cell as the value that its key takes.
fn value(key: &str, cell: &Cell, at: &impl Fn((usize, usize)) -> (usize, usize)) -> Value {
    let text = || Value::Text(cell.text.clone());
    if key == SLAVE {
        return cell.text.parse().map_or_else(|_| text(), Value::Int);
    }
    if LISTS.contains(&key) {
        let items = cell.text.split(';').map(str::trim).filter(|item| !item.is_empty());
        let item = |item: &str| Node { span: at(cell.span), value: Value::Text(item.to_owned()) };
        return Value::List(items.map(item).collect());
    }
    if let Some(day) = columns::day(&cell.text).filter(|_| DAYS.contains(&key)) {
        return Value::Text(day);
    }
    text()
}

/// The numbers of `1-20, 25`, each once, in their order.
fn numbers(text: &str) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u8>().ok()?, last.trim().parse::<u8>().ok()?);
        if last < first || (first..=last).any(|number| found.contains(&number)) {
            return None;
        }
        found.extend(first..=last);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, wanted) in [
            ("1-3", Some(vec![1, 2, 3])),
            ("7", Some(vec![7])),
            ("1 - 2, 9,11-12", Some(vec![1, 2, 9, 11, 12])),
            ("3-1", None),
            ("1-3,2", None),
            ("1-256", None),
            ("", None),
            ("a", None),
            ("1-", None),
        ] {
            assert_eq!(numbers(text), wanted, "{text}");
        }
    }
}
