//! Findings as SARIF, which code forges show beside the changed lines of a site's repository.
//!
//! In: [`Diagnostics`]. Out: one JSON document.
//! Invariant: each result names a rule of the same document; addresses of files are URI references, whatever letters their names have.
//! Source: SARIF 2.1.0 (OASIS, 2020), 3.13 (log), 3.14 (run), 3.27 (result), 3.30 (region; lines and columns from 1).

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Diagnostics, codes};

/// The log of one run.
pub fn emit(found: &Diagnostics) -> String {
    let mut names: Vec<&'static str> = found.0.iter().map(|finding| finding.code).collect();
    names.sort_unstable();
    names.dedup();
    let results: Vec<Value> = found.0.iter().map(|finding| result(finding, &names)).collect();
    let rules: Vec<Value> = names.iter().map(|name| rule(name)).collect();
    let driver = json!({ "name": "lifeline", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    let run = json!({ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results });
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    });
    format!("{log:#}\n")
}

fn rule(name: &str) -> Value {
    let Some(code) = codes::find(name) else { return json!({ "id": name }) };
    let help = format!("{} See {}.", code.remedy, codes::link(name));
    json!({ "id": name, "shortDescription": { "text": code.means }, "help": { "text": help } })
}

fn result(finding: &Diagnostic, names: &[&str]) -> Value {
    let text = match finding.remedy() {
        Some(remedy) => format!("{}\n{remedy}", finding.message),
        None => finding.message.clone(),
    };
    let mut result = json!({
        "ruleId": finding.code,
        "ruleIndex": names.iter().position(|name| *name == finding.code),
        "level": finding.severity.word(),
        "message": { "text": text },
    });
    let place = &finding.place;
    if !place.file.is_empty() {
        let mut physical = json!({ "artifactLocation": { "uri": uri(&place.file) } });
        if place.line > 0 {
            physical["region"] = json!({ "startLine": place.line, "startColumn": place.column.max(1) });
        }
        result["locations"] = json!([{ "physicalLocation": physical }]);
    }
    result
}

/// A path as a URI reference (RFC 3986): relative as it stands, absolute behind `file://`.
fn uri(path: &str) -> String {
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uri_references() {
        for (path, want) in [
            ("devices/gas.toml", "devices/gas.toml"),
            ("./site/a b.toml", "site/a%20b.toml"),
            ("/etc/lifeline/水位.toml", "file:///etc/lifeline/%E6%B0%B4%E4%BD%8D.toml"),
            ("env LIFELINE__X", "env%20LIFELINE__X"),
        ] {
            assert_eq!(uri(path), want);
        }
    }
}
