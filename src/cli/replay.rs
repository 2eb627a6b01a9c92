//! `lifeline replay`: recorded data through the same core, and what the rules make of it.
//!
//! In: a CSV, line protocol, or the folder of a journal. Out: each transition, and a fingerprint of all of them; of a journal also whether they are those that it
//! holds.
//! Invariant: the clock of the box has no part in it: the same file gives the same text.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::alarm::{Change, Transition};
use crate::cli::acts;
use crate::cli::recorded::{self, Mapping};
use crate::cli::spacing;
use crate::clock::Timestamp;
use crate::console::view::AlarmView;
use crate::gateway::core::Event;
use crate::gateway::replay::Replay;
use crate::journal::{Reader, Seq, Span, Stored};
use crate::point::{DeviceId, PointId};
use crate::reading::{Batch, Reading};
use crate::site::Site;

/// Readings held at once while a journal is replayed.
const PAGE: usize = 10_000;
/// The gateway reads its own points this often; what is longer apart was another run.
const OWN_EVERY: Duration = Duration::from_secs(5);

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A CSV file, line protocol (.lp), or the folder of a journal.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which column is which point, `depth_mm:mm=underpass-1.level`; our own exports need none.
    #[arg(long = "map", value_name = "COLUMN[:UNIT]=POINT", value_parser = recorded::mapping)]
    maps: Vec<Mapping>,
    /// The column of times: `2026-11-23T08:00:00+08:00`, or `2026-11-23 08:00:00` without an offset for a time of the site's zone.
    #[arg(long, default_value = "time", value_name = "COLUMN")]
    time: String,
    /// One JSON object per transition.
    #[arg(long)]
    json: bool,
}

/// A transition as told.
#[derive(Serialize)]
struct Told<'a> {
    time: String,
    change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(flatten)]
    alarm: AlarmView,
}

/// What was replayed.
#[derive(Clone, Debug, Default)]
struct Sums {
    readings: usize,
    transitions: usize,
    digest: Sha256,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or says something wrong.
pub fn replay(site: Site, args: &ReplayArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    if args.file.is_dir() {
        return journal(site, &args.file, args.json, out);
    }
    let readings = recorded::read(&args.file, &args.maps, &args.time, &site)?;
    let fed = fed(&readings);
    let mut replay = Replay::new(site, Some(&fed));
    anyhow::ensure!(!replay.site().rules.is_empty(), "no rule of the site looks at the mapped points");
    spacing::warn(&replay.site().rules, &readings, &replay.site().catalog)?;
    let mut sums = Sums::default();
    for (at, readings) in &readings {
        replay.readings(*at, readings);
        sums.readings += readings.len();
        sums.seen(*at);
        tell(&mut replay, &mut sums, args.json, out)?;
    }
    finish(&replay, &sums, args.json, out)?;
    Ok(0)
}

impl Sums {
    fn seen(&mut self, at: Timestamp) {
        self.from = self.from.or(Some(at));
        self.to = Some(at);
    }
}

fn tell(
    replay: &mut Replay,
    sums: &mut Sums,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Vec<Transition>> {
    let transitions = replay.drain();
    for transition in &transitions {
        sums.transitions += 1;
        sums.digest.update(format!("{transition:?}"));
        let alarm = AlarmView::new(&transition.alarm);
        if json {
            let told = Told {
                time: transition.at.to_string(),
                change: transition.change,
                note: transition.note.as_deref(),
                alarm,
            };
            writeln!(out, "{}", serde_json::to_string(&told)?)?;
        } else {
            let unit = alarm.unit.as_deref().unwrap_or_default();
            let value = alarm.value.map(|value| format!(" {value:.3} {unit}")).unwrap_or_default();
            let note = transition.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
            let severity = format!("{:?}", alarm.tell.present.unwrap_or(alarm.severity)).to_lowercase();
            writeln!(
                out,
                "{} {:<10} {severity:<6} {}{value}{note}",
                transition.at,
                transition.change.name(),
                alarm.rule
            )?;
        }
    }
    Ok(transitions)
}

fn finish(replay: &Replay, sums: &Sums, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        return Ok(());
    }
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let hash: String =
        sums.digest.clone().finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    writeln!(
        out,
        "{} readings from {} to {} through {} rules: {} transitions, fingerprint {hash}",
        sums.readings,
        time(sums.from),
        time(sums.to),
        replay.site().rules.len(),
        sums.transitions
    )?;
    Ok(())
}

/// A journal's readings and persons' acts again, and its transitions beside those that come of them.
fn journal(site: Site, folder: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let reader = Reader::open(folder)?;
    let end = reader.last()?.map_or(Seq(1), |(seq, _)| Seq(seq.0 + 1));
    let mut held: Vec<Transition> = Vec::new();
    let mut after = 0;
    loop {
        let page = reader.transitions(after, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        held.extend(page.into_iter().map(|(_, transition)| transition));
    }
    let gateway = site.catalog.devices.iter().find(|device| device.name == "gateway").map(|device| device.id);
    let mut course =
        Course { replay: Replay::new(site, None), acts: acts::acts(&held).into(), gateway, own: None };
    let (mut sums, mut made, mut from) = (Sums::default(), Vec::new(), Seq(1));
    while from < end {
        let (groups, next, damaged) = reader.groups(Span { from, to: end }, PAGE)?;
        anyhow::ensure!(
            damaged == 0,
            "the journal has {damaged} damaged groups: its transitions cannot be told again"
        );
        for group in &groups {
            sums.readings += group.batches.iter().map(|batch| batch.readings.len()).sum::<usize>();
            sums.seen(group.now);
            course.group(group);
            made.extend(tell(&mut course.replay, &mut sums, json, out)?);
        }
        from = next;
    }
    finish(&course.replay, &sums, json, out)?;
    let differ = differences(&held, &made);
    for text in differ.iter().take(10) {
        writeln!(out, "{text}")?;
    }
    if !json {
        match differ.len() {
            0 => writeln!(out, "the journal holds the same {} transitions", held.len())?,
            count => {
                writeln!(out, "{count} rules differ from the {} transitions of the journal", held.len())?
            }
        }
    }
    Ok(u8::from(!differ.is_empty()))
}

/// A journal's course: its groups in order, with the persons' acts between them.
struct Course {
    replay: Replay,
    acts: VecDeque<(Timestamp, Event)>,
    gateway: Option<DeviceId>,
    /// When the gateway last read its own points.
    own: Option<Timestamp>,
}

impl Course {
    fn group(&mut self, group: &Stored) {
        let numbers = group.catalog.renumbered(&self.replay.site().catalog);
        for batch in &group.batches {
            let Some(device) = numbers.device(batch.device) else { continue };
            if Some(device) == self.gateway {
                self.own(batch.end);
            }
            self.act_until(batch.end);
            let reading =
                |reading: &Reading| Some(Reading { point: numbers.point(reading.point)?, ..reading.clone() });
            let readings = batch.readings.iter().filter_map(reading).collect();
            self.replay.batch(Batch { device, readings, ..batch.clone() }, batch.end);
        }
        self.act_until(group.now);
        self.replay.at(group.now);
    }

    fn act_until(&mut self, now: Timestamp) {
        while self.acts.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((at, act)) = self.acts.pop_front() {
                self.replay.act(act, at);
            }
        }
    }

    /// The gateway reads its own points at its start and then steadily: a longer gap was a stop.
    fn own(&mut self, at: Timestamp) {
        if self.own.replace(at).is_some_and(|last| at.since(last) > OWN_EVERY * 2) {
            self.replay.restart(at);
        }
    }
}

/// For each rule, where the transitions begin to differ. The core's time of a transition is the journal's to the length of a commit, so it is left out; the alarm's own
/// times are not.
fn differences(held: &[Transition], made: &[Transition]) -> Vec<String> {
    let by_rule = |transitions: &[Transition]| {
        let mut rules: BTreeMap<String, Vec<Transition>> = BTreeMap::new();
        for transition in transitions {
            let mut own = Transition { at: Timestamp::default(), ..transition.clone() };
            acts::forget_core_time(&mut own.alarm);
            rules.entry(transition.alarm.rule.clone()).or_default().push(own);
        }
        rules
    };
    let (held, made) = (by_rule(held), by_rule(made));
    let none = Vec::new();
    let rules: BTreeSet<&String> = held.keys().chain(made.keys()).collect();
    let differ = |rule: &&String| {
        let (was, is) = (held.get(*rule).unwrap_or(&none), made.get(*rule).unwrap_or(&none));
        let first = was.iter().zip(is).position(|(was, is)| was != is);
        let first = first.or((was.len() != is.len()).then_some(was.len().min(is.len())))?;
        let told = |list: &[Transition]| {
            list.get(first).map_or("nothing".to_owned(), |one| {
                format!(
                    "{} since {} ({:?}, {:?})",
                    one.change.name(),
                    one.alarm.since,
                    one.alarm.severity,
                    one.alarm.value
                )
            })
        };
        Some(format!(
            "{rule}: transition {} is {} in the journal and {} here",
            first + 1,
            told(was),
            told(is)
        ))
    };
    rules.iter().filter_map(differ).collect()
}

/// The points that recorded readings feed.
pub(crate) fn fed(readings: &recorded::Readings) -> BTreeSet<PointId> {
    readings.iter().flat_map(|(_, readings)| readings.iter().map(|reading| reading.point)).collect()
}
