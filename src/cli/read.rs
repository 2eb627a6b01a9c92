//! `lifeline read`: one read, shown in every type and byte order; or all that a profile says of a device, be it in registers or in lines of text.
//!
//! In: a line, a slave, an address or a profile. Out: tables for people, or one JSON object.
//! Invariant: only reads go out; what is no number is never shown as one.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use crate::bus::{Failure, Read, Slave, Table as Cells};
use crate::cli::ask::{Ask, GOOD, NO, Refusal, USAGE, settle};
use crate::cli::probe::{Known, Probe};
use crate::cli::read_text;
use crate::cli::table::Table;
use crate::cli::target::{Target, leave_alone, unreachable};
use crate::decode::RawBatch;
use crate::decode::guess::{Guess, guesses};
use crate::normalize::fit::Fit;
use crate::profile::at::At;
use crate::profile::{Field, Profile};
use crate::reading::{Reason, Sample};
use crate::site::kit::Kit;

/// Arguments of `read`.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The device's Modbus address; of a sensor that speaks lines of text its own one, where that is not the factory's.
    #[arg(long, value_name = "N", required_unless_present = "profile")]
    slave: Option<u8>,
    /// First register: "holding 0x0002", "input 5", or a manual's literal such as 40003.
    #[arg(long, value_name = "AT", value_parser = At::parse, required_unless_present = "profile")]
    at: Option<At>,
    /// Registers, or coils.
    #[arg(long, default_value_t = 2)]
    count: u16,
    /// Read what this profile says, and show its points; one of lines of text is asked its command, or heard once.
    #[arg(long, value_name = "NAME", conflicts_with = "at")]
    profile: Option<String>,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads and shows. Exit code 1 when the device refuses or is silent, 3 when the line cannot be opened.
///
/// # Errors
/// The answer cannot be written.
pub(crate) async fn read(ask: &Ask, kit: &Kit, args: &ReadArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(read_of(ask, kit, args, out).await)
}

async fn read_of(ask: &Ask, kit: &Kit, args: &ReadArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let wanted = args.profile.as_deref().map(|name| profile(kit, name)).transpose()?;
    if let Some(profile) = wanted
        && let Some(format) = &profile.text
    {
        let line = args.target.of_text(kit)?;
        leave_alone(ask, &line).await?;
        let batch = read_text::poll(line, profile, format, args.slave, args.target.timeout).await?;
        return show(profile, &batch, args, out);
    }
    let number = args.slave.ok_or_else(|| Refusal::new(USAGE, "which device? --slave N".to_owned()))?;
    if number > 247 && number != 255 {
        return Err(Refusal::new(USAGE, format!("{number} is no Modbus address: 1 to 247")).into());
    }
    let line = args.target.settings(kit)?;
    leave_alone(ask, &line).await?;
    let timeout = args.target.timeout(&line);
    let mut probe =
        Probe::new(line, timeout, kit.profiles.iter().chain(kit.maps.iter().flatten().map(|(_, map)| map)));
    let slave = Slave(number);
    match (wanted, args.at) {
        (Some(profile), _) => {
            let batch = probe.poll(slave, profile, &mut Known::new()).await;
            let silent = batch.raws.iter().all(|(_, raw)| raw.is_err());
            if silent && probe.master.trouble().is_some() {
                return Err(unreachable(probe.master.trouble()).into());
            }
            if let Some(failure) = silence(&batch) {
                return Err(refused(&mut probe, number, failure).into());
            }
            show(profile, &batch, args, out)
        }
        (None, Some(at)) => {
            let read = Read { table: at.table, address: at.address, count: args.count };
            if !read.is_legal() {
                let text = format!(
                    "{} of {at} cannot be read at once: 1 to 125 registers or 2000 coils",
                    args.count
                );
                return Err(Refusal::new(USAGE, text).into());
            }
            match probe.read(slave, read).await {
                Ok(cells) => cells_out(at, &cells, args, out)?,
                Err(failure) => return Err(refused(&mut probe, number, failure).into()),
            }
            Ok(GOOD)
        }
        (None, None) => Err(Refusal::new(USAGE, "which register? --at \"holding 0x0002\"".to_owned()).into()),
    }
}

/// The points of one poll.
fn show(profile: &Profile, batch: &RawBatch, args: &ReadArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let fit = Fit::new(profile, batch);
    points(profile, &fit, args, out)?;
    Ok(if fit.good == 0 { NO } else { GOOD })
}

/// Why nothing at all came of a poll; `None` when something did.
fn silence(batch: &RawBatch) -> Option<Failure> {
    let mut failure = None;
    for (_, raw) in &batch.raws {
        match raw {
            Err(Reason::NotPolled) => {}
            Err(Reason::Timeout) => failure = failure.or(Some(Failure::Timeout)),
            Err(Reason::BadFrame) => failure = Some(Failure::BadFrame),
            _ => return None,
        }
    }
    failure
}

/// Where a field stands: `holding 0x0002`, or the group of a line of text.
fn place(field: &Field) -> String {
    let cells = || At { table: field.table, address: field.address }.to_string();
    field.group.as_ref().map_or_else(cells, |group| format!("text {group}"))
}

fn profile<'a>(kit: &'a Kit, name: &str) -> Result<&'a Profile, Refusal> {
    kit.profiles.iter().find(|profile| profile.name == name).ok_or_else(|| {
        let nearest = kit.profiles.iter().min_by_key(|known| strsim::damerau_levenshtein(&known.name, name));
        let hint = nearest.map(|known| format!("; did you mean {}?", known.name)).unwrap_or_default();
        Refusal::new(USAGE, format!("there is no profile `{name}`{hint}"))
    })
}

/// Why there are no cells.
fn refused(probe: &mut Probe, slave: u8, failure: Failure) -> Refusal {
    if failure == Failure::LineDown {
        return unreachable(probe.master.trouble());
    }
    let discarded = probe.discarded();
    let seen = if discarded.is_empty() {
        "not one byte came".to_owned()
    } else {
        format!("discarded: {}", discarded.join(", "))
    };
    let text = match failure {
        Failure::Timeout => format!(
            "slave {slave} does not answer ({seen}): check its address, the speed and the wires, or search with `lifeline scan`"
        ),
        Failure::BadFrame => format!(
            "the answer of slave {slave} is damaged ({seen}): another speed, or two devices with one address"
        ),
        other => format!("slave {slave} refuses: {}", other.words()),
    };
    Refusal::new(NO, text)
}

#[derive(Serialize)]
struct CellsView<'a> {
    slave: Option<u8>,
    at: String,
    cells: &'a [u16],
    guesses: Vec<GuessView>,
}

#[derive(Serialize)]
struct GuessView {
    at: String,
    registers: usize,
    #[serde(rename = "type")]
    kind: &'static str,
    order: &'static str,
    text: String,
    plausible: bool,
}

/// Windows of `size` registers, one after the other, with the address of the first.
fn windows(at: At, cells: &[u16], size: usize) -> Vec<(At, Vec<Guess>)> {
    let addresses = (0..).step_by(size).map(|offset| At { address: at.address.saturating_add(offset), ..at });
    addresses.zip(cells.chunks_exact(size)).map(|(at, window)| (at, guesses(window))).collect()
}

fn cells_out(at: At, cells: &[u16], args: &ReadArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let bits = matches!(at.table, Cells::Coil | Cells::Discrete);
    let sizes: &[usize] = if bits { &[] } else { &[1, 2, 4] };
    if args.json {
        let mut views = Vec::new();
        for size in sizes {
            for (at, found) in windows(at, cells, *size) {
                views.extend(found.into_iter().map(|guess| GuessView {
                    at: at.to_string(),
                    registers: *size,
                    kind: guess.kind.name(),
                    order: guess.order,
                    text: guess.text,
                    plausible: guess.plausible,
                }));
            }
        }
        let view = CellsView { slave: args.slave, at: at.to_string(), cells, guesses: views };
        return Ok(writeln!(out, "{}", serde_json::to_string(&view)?)?);
    }
    words(at, cells, out)?;
    let mut any = false;
    for size in sizes.iter().skip(1) {
        for (at, found) in windows(at, cells, *size) {
            any |= found.iter().any(|guess| guess.plausible);
            side_by_side(at, *size, &found, out)?;
        }
    }
    if cells.iter().all(|cell| *cell == 0) && !bits {
        writeln!(
            out,
            "\nall zero: this says nothing about type and order; let the sensor measure something"
        )?;
    } else if any {
        writeln!(out, "\n* plausible as a measurement")?;
    }
    Ok(())
}

/// Each register or coil by itself.
fn words(at: At, cells: &[u16], out: &mut dyn Write) -> anyhow::Result<()> {
    let bits = matches!(at.table, Cells::Coil | Cells::Discrete);
    let mut table = if bits {
        Table::new(&["at", "value"])
    } else {
        Table::new(&["at", "hex", "u16", "i16", "bytes swapped", "bits", "text"])
    };
    for (offset, cell) in (0..).zip(cells) {
        let at = At { address: at.address.saturating_add(offset), ..at }.to_string();
        if bits {
            table.row(vec![at, cell.to_string()]);
            continue;
        }
        let [high, low] = cell.to_be_bytes();
        let letter = |byte: u8| if (0x20..0x7F).contains(&byte) { char::from(byte) } else { '.' };
        table.row(vec![
            at,
            format!("0x{cell:04X}"),
            cell.to_string(),
            cell.cast_signed().to_string(),
            cell.swap_bytes().to_string(),
            format!("{high:08b} {low:08b}"),
            format!("{}{}", letter(high), letter(low)),
        ]);
    }
    Ok(table.emit(out)?)
}

/// Types as rows, orders as columns; plausible numbers with a star.
fn side_by_side(at: At, size: usize, found: &[Guess], out: &mut dyn Write) -> anyhow::Result<()> {
    let mut orders: Vec<&str> = found.iter().map(|guess| guess.order).collect();
    orders.dedup();
    let columns = orders.len().min(4);
    let heading = format!("{at}, {size} registers");
    let heads: Vec<&str> =
        std::iter::once(heading.as_str()).chain(orders.into_iter().take(columns)).collect();
    let mut table = Table::new(&heads);
    for row in found.chunks(columns) {
        let name = row.first().map(|guess| guess.kind.name().to_owned()).unwrap_or_default();
        let cell = |guess: &Guess| format!("{}{}", guess.text, if guess.plausible { " *" } else { "" });
        table.row(std::iter::once(name).chain(row.iter().map(cell)).collect());
    }
    writeln!(out)?;
    Ok(table.emit(out)?)
}

#[derive(Serialize)]
struct PointsView {
    #[serde(skip_serializing_if = "Option::is_none")]
    slave: Option<u8>,
    profile: String,
    good: usize,
    points: Vec<PointView>,
}

#[derive(Serialize)]
struct PointView {
    name: String,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    quality: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl PointView {
    fn new(profile: &Profile, field: &Field, sample: &Sample) -> Self {
        let reason = match sample {
            Sample::Good(_) => None,
            Sample::Uncertain(_, doubt) => Some(doubt.name().to_owned()),
            Sample::Bad(reason) => Some(reason.to_string()),
        };
        Self {
            name: field.name.clone(),
            at: place(field),
            value: sample.value(),
            unit: field.unit.map(|unit| unit.canonical_for(&profile.class).name().to_owned()),
            quality: sample.quality().name(),
            reason,
        }
    }
}

/// `0.96 bar`, `closed`, or why there is no number.
pub(crate) fn worded(profile: &Profile, field: &Field, sample: &Sample) -> String {
    let view = PointView::new(profile, field, sample);
    let Some(value) = view.value else { return view.reason.unwrap_or_default() };
    let number = match field.state(value) {
        Some(state) => state.to_owned(),
        None => {
            let kept = field.unit.map(|unit| unit.canonical_for(&profile.class));
            format!("{value:.*}", usize::from(field.digits(kept)))
        }
    };
    let unit = view.unit.map(|unit| format!(" {unit}")).unwrap_or_default();
    let doubt = view.reason.map(|doubt| format!(" ({doubt}?)")).unwrap_or_default();
    format!("{number}{unit}{doubt}")
}

fn points(profile: &Profile, fit: &Fit, args: &ReadArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let fields =
        || fit.readings.iter().filter_map(|(index, sample)| Some((profile.fields.get(*index)?, sample)));
    if args.json {
        let points = fields().map(|(field, sample)| PointView::new(profile, field, sample)).collect();
        let view = PointsView { slave: args.slave, profile: profile.name.clone(), good: fit.good, points };
        return Ok(writeln!(out, "{}", serde_json::to_string(&view)?)?);
    }
    let mut table = Table::new(&["point", "at", "quality", "value"]);
    for (field, sample) in fields() {
        let quality = sample.quality().name().to_owned();
        table.row(vec![field.name.clone(), place(field), quality, worded(profile, field, sample)]);
    }
    table.emit(out)?;
    Ok(writeln!(out, "\n{} of {} points fit {}", fit.good, fit.points, profile.name)?)
}
