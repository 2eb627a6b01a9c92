//! `lifeline alarms --rates` for people.
//!
//! In: the figures. Out: text.
//! Invariant: a rate never stands without what is acceptable.

use std::io::Write;

use crate::cli::answers::Zone;
use crate::cli::table::Table;
use crate::console::rates::RatesView;

/// One line: how many, and whether that can be lived with.
pub(crate) fn summary(view: &RatesView) -> String {
    let figures = &view.figures;
    format!(
        "{} new in the last hour ({:.1} in 10 min: {}; up to {:.0} is acceptable, {:.0} manageable), {} in the last day",
        figures.hour, figures.rate, figures.verdict, view.acceptable, view.manageable, figures.day
    )
}

/// Everything.
pub(crate) fn rates(view: &RatesView, zone: &Zone, out: &mut dyn Write) -> anyhow::Result<()> {
    let figures = &view.figures;
    writeln!(out, "{}", summary(view))?;
    match figures.flood_since {
        Some(since) => writeln!(
            out,
            "a flood since {}: {} new in the last 10 min",
            zone.show(&since.to_string()),
            figures.ten_minutes
        )?,
        None => writeln!(out, "no flood: {} new in the last 10 min", figures.ten_minutes)?,
    }
    let [blue, yellow, orange, red] = view.by_severity;
    writeln!(
        out,
        "active: {} (red {red}, orange {orange}, yellow {yellow}, blue {blue}), hidden: {}, chattering: {}",
        view.active,
        view.hidden,
        if view.chattering.is_empty() { "none".to_owned() } else { view.chattering.join(", ") }
    )?;
    let mut standing = Table::new(&["standing for more than a day", "since"]);
    for one in &view.standing {
        standing.row(vec![one.rule.clone(), zone.show(&one.since)]);
    }
    if !standing.is_empty() {
        writeln!(out)?;
        standing.emit(out)?;
    }
    let mut top = Table::new(&["rules that talk most", "raised in a day", "fleeting"]);
    for talker in &figures.top {
        top.row(vec![talker.rule.clone(), talker.raised.to_string(), talker.fleeting.to_string()]);
    }
    if !top.is_empty() {
        writeln!(out)?;
        top.emit(out)?;
        writeln!(out, "these are {:.0} % of all", figures.top_share)?;
    }
    Ok(())
}
