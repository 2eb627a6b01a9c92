//! One rule for many devices: `each` names them, and `{device}` stands for the name of each in all texts of the rule.
//!
//! In: documents whose devices are written out. Out: the same with one `[[rule]]` for each device that `each` names.
//! Invariant: what comes out is read by the same reader as a rule that is written out; the marks of templates are gone; a mistake of all is told once.

use crate::site::section::Section;
use crate::site::shelf::Sources;
use crate::site::tree::{Entry, Node, Report, Value};

/// The template that a device was made from, while rules are looking for it.
pub(crate) const MARK: &str = "(template)";
const PLACEHOLDER: &str = "{device}";

/// Writes the rules out.
pub(crate) fn expand(sources: &Sources, roots: &mut [Node], report: &Report) {
    let devices: Vec<Node> = roots.iter().flat_map(|root| list(root, "device").to_vec()).collect();
    for root in roots {
        let Value::Table(entries) = &mut root.value else { continue };
        for (key, _, node) in entries {
            let Value::List(items) = &mut node.value else { continue };
            match key.as_str() {
                "rule" => {
                    *items = items.drain(..).flat_map(|rule| of(sources, rule, &devices, report)).collect()
                }
                "device" => items.iter_mut().for_each(unmark),
                _ => {}
            }
        }
    }
}

fn list<'n>(root: &'n Node, key: &str) -> &'n [Node] {
    match root.entry(key) {
        Some(Node { value: Value::List(list), .. }) => list,
        _ => &[],
    }
}

fn unmark(device: &mut Node) {
    if let Value::Table(entries) = &mut device.value {
        entries.retain(|(key, ..)| key != MARK);
    }
}

/// The rules that one rule stands for.
fn of(sources: &Sources, mut rule: Node, devices: &[Node], report: &Report) -> Vec<Node> {
    let whole = extent(&rule);
    let Value::Table(entries) = &mut rule.value else { return vec![rule] };
    let Some(at) = entries.iter().position(|(key, ..)| key == "each") else { return vec![rule] };
    let (_, span, each) = entries.remove(at);
    let wrong = |text: &str| {
        report.error(&sources.whole.place(span), "bad-each", text, None);
        Vec::new()
    };
    if !ask(&Section::of_rule(&sources.whole, report, "each", &each)) {
        return Vec::new();
    }
    let Value::Table(wanted) = &each.value else { return Vec::new() };
    if wanted.is_empty() {
        return wrong("`each` names no devices: by `device`, `template` or `tags`");
    }
    let counts = matches!(rule.entry("name"), Some(Node { value: Value::Text(name), .. }) if name.contains(PLACEHOLDER));
    if !counts {
        return wrong("the rules of all devices would have one name: write `{device}` in it");
    }
    let names: Vec<&str> = devices
        .iter()
        .filter(|device| is_meant(device, wanted))
        .filter_map(|device| text(device, "name"))
        .collect();
    if names.is_empty() {
        return wrong("no device is among those that `each` names");
    }
    report.share(&sources.whole.place(whole), names.iter().map(|name| (*name).to_owned()).collect());
    let own = |name: &&str| {
        let mut own = rule.clone();
        fill(&mut own, name);
        own
    };
    names.iter().map(own).collect()
}

/// Asks for what `each` may say; whether it can be used.
fn ask(each: &Section<'_>) -> bool {
    let known = ["device", "template"].map(|key| each.text(key).is_some() || !each.has(key));
    let tags = each.section("tags");
    let texts = tags.iter().flat_map(|tags| tags.all()).map(|(tag, span, node)| {
        let is_text = matches!(node.value, Value::Text(_));
        if !is_text {
            let text = format!("the tag `{tag}` must be a text, and this is {}", node.value.kind());
            each.report.error(&each.document.place(*span), "wrong-type", text, None);
        }
        is_text
    });
    let texts: Vec<bool> = texts.collect();
    each.finish();
    each.is_table() && each.others().is_empty() && known.iter().chain(&texts).all(|fits| *fits)
}

/// From the first byte of what a node holds to its last one: the span of a `[[rule]]` is its head alone.
fn extent(node: &Node) -> (usize, usize) {
    let join = |(from, to): (usize, usize), (other_from, other_to): (usize, usize)| {
        (from.min(other_from), to.max(other_to))
    };
    match &node.value {
        Value::Table(entries) => {
            entries.iter().fold(node.span, |whole, (_, span, node)| join(join(whole, *span), extent(node)))
        }
        Value::List(list) => list.iter().fold(node.span, |whole, node| join(whole, extent(node))),
        _ => node.span,
    }
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match node.entry(key) {
        Some(Node { value: Value::Text(text), .. }) => Some(text),
        _ => None,
    }
}

/// Whether all that `each` says holds of the device.
fn is_meant(device: &Node, wanted: &[Entry]) -> bool {
    wanted.iter().all(|(key, _, node)| match (key.as_str(), &node.value) {
        ("device", Value::Text(pattern)) => text(device, "name").is_some_and(|name| matches(pattern, name)),
        ("template", Value::Text(name)) => {
            [MARK, "template"].iter().any(|key| text(device, key) == Some(name))
        }
        ("tags", Value::Table(tags)) => tags.iter().all(|(tag, _, node)| match &node.value {
            Value::Text(value) => device.entry("tags").and_then(|tags| text(tags, tag)) == Some(value),
            _ => false,
        }),
        _ => false,
    })
}

/// Whether a name is like the pattern, whose `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(front) else { return false };
    (0..=name.len()).filter_map(|at| name.get(at..)).any(|behind| matches(rest, behind))
}

fn fill(node: &mut Node, device: &str) {
    match &mut node.value {
        Value::Text(text) if text.contains(PLACEHOLDER) => *text = text.replace(PLACEHOLDER, device),
        Value::List(list) => list.iter_mut().for_each(|node| fill(node, device)),
        Value::Table(entries) => entries.iter_mut().for_each(|(.., node)| fill(node, device)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_names() {
        for (pattern, name, is) in [
            ("meter-*", "meter-12", true),
            ("meter-*", "pump-12", false),
            ("*-2", "meter-2", true),
            ("m*r-*2", "meter-12", true),
            ("meter", "meter-1", false),
            ("*", "any", true),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
