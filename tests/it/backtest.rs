//! The page of backtests tells what the command tells: each row of `docs/backtest.md` is computed anew by its own command, from the measured series.
//! A row is computed at its threshold alone, in some seconds; `UPDATE=1` tries all thresholds of its sweep and writes the choice and its figures anew.

use std::path::Path;
use std::process::Command;

use crate::shared::shared;

const PAGE: &str = "docs/backtest.md";
/// Columns of the page before the chosen threshold, the border's left side with them.
const NAMES: usize = 4;

#[test]
fn the_page_of_backtests_is_what_the_command_tells() {
    let Some(labels) = shared("data/events.csv") else { return };
    let data = labels.parent().unwrap().to_str().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = std::fs::read_to_string(&path).unwrap();
    let update = std::env::var_os("UPDATE").is_some();
    let mut commands = text.lines().filter_map(|line| line.strip_prefix("lifeline "));
    let (mut written, mut differ) = (String::new(), Vec::new());
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(rule) = cells.get(3).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`')) else {
            written += &format!("{line}\n");
            continue;
        };
        let command = commands.next().unwrap_or_else(|| panic!("{PAGE} has no command for: {line}"));
        assert!(command.contains(&format!(" --rule {rule} ")), "{line}\nis not the row of\n{command}");
        let (chosen, unit) = cells[NAMES].split_once(' ').unwrap();
        let only = (!update).then_some(chosen);
        let mut figures = scored(&arguments(command, data, only));
        figures[0] += &format!(" {unit}");
        let new = format!("{} | {} |", cells[..NAMES].join(" | ").trim_start(), figures.join(" | "));
        if new != line {
            differ.push(format!("- {line}\n+ {new}"));
        }
        written += &format!("{new}\n");
    }
    assert_eq!(commands.next(), None, "a command without a row");
    if update {
        std::fs::write(path, written).unwrap();
    } else {
        let told = differ.join("\n");
        assert!(told.is_empty(), "{PAGE} is not what the command tells; UPDATE=1 writes it anew\n{told}");
    }
}

/// What follows `lifeline` in a command of the page, with its sweep or with this threshold only.
fn arguments(command: &str, data: &str, only: Option<&str>) -> Vec<String> {
    let docs = "--site docs/backtest --profiles docs/backtest/profiles --labels $data/events.csv";
    let command = command.replace("$docs", docs);
    let mut args: Vec<String> = command.split(' ').map(|word| word.replace("$data", data)).collect();
    if let Some(threshold) = only {
        *args.last_mut().unwrap() = format!("{threshold}..{threshold}/1");
    }
    args
}

/// The chosen threshold, and how the half that had no part in the choice scores it, as the table of the command has them.
fn scored(args: &[String]) -> [String; 5] {
    let output = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    let row = table.lines().find(|row| row.contains(" * ") && row.contains(" scored ")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    let [_, threshold, _, _, met, events, lead @ .., _, month, alarm, _] = words.as_slice() else {
        panic!("no row of a backtest: {row}")
    };
    [
        (*threshold).to_owned(),
        format!("{met} of {events}"),
        lead.join(" "),
        (*month).to_owned(),
        format!("{alarm} %"),
    ]
}
