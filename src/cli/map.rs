//! `lifeline map`: the state of every risk point, worst first, or the risk map (风险图) as GeoJSON.
//!
//! In: a running gateway, or a journal on disk. Out: a table, JSON lines, or a FeatureCollection.
//! Invariant: colour in words; what ails sensors stands beside it and never in it.

use std::io::Write;

use crate::cli::answers::Zone;
use crate::cli::ask::{self, Ask, GOOD, NO, Refusal, Source, USAGE};
use crate::cli::table::Table;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::console::coverage::Question;
use crate::console::map::{self, MapView, Properties};
use crate::risk::joint::Joint;

/// What a person wants.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Which points and time.
    pub question: Question,
    /// A FeatureCollection instead of a table.
    pub geojson: bool,
}

/// Answers; exit code 1 when a point has a colour or nothing is known of it.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn map(args: &Ask, wanted: &Wanted, out: &mut dyn Write) -> anyhow::Result<u8> {
    ask::settle(answer(args, wanted, out).await)
}

async fn answer(args: &Ask, wanted: &Wanted, out: &mut dyn Write) -> anyhow::Result<u8> {
    let question = &wanted.question;
    let (mut view, zone) = match args.source().await? {
        Source::Gateway(client) => {
            let pairs = question.pairs();
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let view: MapView = client.query(&["api", "v1", "map"], &pairs).await?;
            (view, ask::zone_of(&client).await?.0)
        }
        Source::Disk(disk) => {
            let (site, zone) = disk.site();
            if !args.json && !wanted.geojson {
                disk.head(&zone, SystemClock::new().now(), out)?;
            }
            let last = disk.reader.last()?.map_or_else(Timestamp::default, |(_, at)| at);
            let question = question.clone().placed(&zone.name());
            let view = map::past(&disk.reader, &question, (&site, &zone.0), last);
            (view.map_err(|why| Refusal::new(USAGE, why))?, zone)
        }
    };
    let calm = view.features.iter().all(|feature| feature.properties.colour == "none");
    if wanted.geojson {
        ask::line(out, &view)?;
        return Ok(GOOD);
    }
    view.features.sort_by_key(|feature| {
        let properties = &feature.properties;
        (std::cmp::Reverse(properties.severity), properties.colour == "none", properties.code.clone())
    });
    if args.json {
        view.features.iter().try_for_each(|feature| ask::line(out, &feature.properties))?;
    } else {
        table(&view, &zone, out)?;
    }
    Ok(if calm { GOOD } else { NO })
}

fn table(view: &MapView, zone: &Zone, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "risk points at {}", zone.show(&view.at))?;
    if view.features.is_empty() {
        return Ok(writeln!(out, "no risk point of this class and grade")?);
    }
    let mut table = Table::new(&["colour", "risk point", "town", "since", "by", "watched"]);
    for feature in &view.features {
        let one = &feature.properties;
        let name = one.name.as_deref().unwrap_or_default();
        table.row(vec![
            colour(one),
            format!("{} {name}", one.code).trim().to_owned(),
            one.town.clone(),
            one.since.as_deref().map_or_else(String::new, |since| zone.show(since)),
            by(one),
            one.rung.map_or("not installed", crate::risk::coverage::Rung::name).to_owned(),
        ]);
    }
    table.emit(out)?;
    let mut notes = Table::new(&["risk point", "what a person should know"]);
    for feature in &view.features {
        let one = &feature.properties;
        let trouble = one.sensor_trouble.iter().map(|trouble| format!("sensor {trouble}"));
        let proposed = one.proposed.as_ref().map(|colour| {
            let (why, by) = (reason(&one.code, &one.proposed_by), one.proposed_by.join(", "));
            format!("{colour} is proposed, to be confirmed by a person: {why}: {by}")
        });
        let hidden = (one.hidden > 0).then(|| format!("{} of its alarms hidden", one.hidden));
        let waiting = (one.waiting > 0)
            .then(|| format!("{} of its alarms over and not acknowledged or reset", one.waiting));
        let nowhere = feature.geometry.is_none().then(|| one.place_note.clone()).flatten();
        let nowhere = nowhere.map(|why| format!("not on the map: {why}"));
        for note in proposed.into_iter().chain(trouble).chain(hidden).chain(waiting).chain(nowhere) {
            notes.row(vec![one.code.clone(), note]);
        }
    }
    if !notes.is_empty() {
        writeln!(out)?;
        notes.emit(out)?;
    }
    Ok(())
}

/// Why a higher colour is proposed: what comes together, and how near.
fn reason(code: &str, proposed_by: &[String]) -> String {
    let here = |by: &String| by.strip_prefix(code).is_some_and(|rest| rest.starts_with(' '));
    if proposed_by.iter().all(here) {
        return "several hazards at this point".to_owned();
    }
    let Joint { within_m, within, .. } = Joint::default();
    format!("hazards within {within_m:.0} m and {} min of each other", within.as_secs() / 60)
}

/// `red, unverified`.
fn colour(one: &Properties) -> String {
    let mark = if one.unverified { ", unverified" } else { "" };
    let unseen = if one.unseen { ", not acknowledged" } else { "" };
    format!("{}{mark}{unseen}", one.colour)
}

/// `underpass-1-level (1 of 2 sensors)`.
fn by(one: &Properties) -> String {
    if one.rules.is_empty() {
        return String::new();
    }
    format!("{} ({} of {} sensors)", one.rules.join(", "), one.votes, one.voters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposed_colour_says_why() {
        let by = |names: &[&str]| reason("P1", &names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(by(&["P1 gas-high", "P1 water-high"]), "several hazards at this point");
        assert_eq!(by(&["P1 gas-high", "P10 water-high"]), "hazards within 500 m and 30 min of each other");
    }
}
