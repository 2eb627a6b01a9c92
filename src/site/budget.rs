//! What the polls of each line take of its time, before anything is wired.
//!
//! In: lines and devices as written. Out: findings that name the devices that don't fit, and the periods that would.
//! Invariant: the figures are those of the planner that polls ([`Cost`]); a line whose speed nobody knows is judged at
//! an assumed one, and only warned of.

use std::time::Duration;

use crate::bus::{Framing, Read, SerialFormat, Table};
use crate::poll::cost::Cost;
use crate::poll::plan::{Cuts, Plan, wanted};
use crate::profile::firmware::{ASKED_EVERY, Told};
use crate::profile::trigger::{Act, Allowed};
use crate::site::devices::DeviceDraft;
use crate::site::lines::LineDraft;
use crate::site::text;
use crate::site::tree::Report;

/// A line that is busier than this delays everybody when one device is slow.
const FULL: f64 = 0.8;
/// Devices that are named in one finding.
const NAMED_MAX: usize = 5;

/// A device's part of its line's time.
struct Part<'a> {
    draft: &'a DeviceDraft,
    /// Seconds on the line for one poll.
    cost_s: f64,
}

impl Part<'_> {
    fn load(&self) -> f64 {
        self.cost_s / self.draft.every.as_secs_f64().max(0.001)
    }

    /// The load while everything that can is polled denser.
    fn load_in_alarm(&self) -> f64 {
        let every = self.draft.every_in_alarm.map_or(self.draft.every, |dense| dense.min(self.draft.every));
        self.cost_s / every.as_secs_f64().max(0.001)
    }
}

/// Judges the load of every line.
pub(crate) fn check(lines: &[LineDraft], drafts: &[DeviceDraft], report: &Report) {
    for (index, line) in lines.iter().enumerate() {
        let Some(format) = line.settings.format() else {
            through_a_network(line, index, drafts, report);
            continue;
        };
        let own = || drafts.iter().filter(|draft| draft.line == index);
        let quiet = own().map(|draft| draft.profile.limits.quiet).fold(line.settings.quiet, Duration::max);
        let cost = Cost::new(&line.settings, quiet);
        let parts: Vec<Part<'_>> =
            own().map(|draft| Part { draft, cost_s: cost_s(draft, &cost, format) }).collect();
        let load: f64 = parts.iter().map(Part::load).sum();
        let in_alarm: f64 = parts.iter().map(Part::load_in_alarm).sum();
        let (name, percent) = (&line.settings.name, 100.0 * load);
        if load > 1.0 {
            let (names, periods) = too_much(&parts);
            let text = format!(
                "the polls of line {name} need {percent:.0} % of its time at {} baud: no room for {names}",
                format.baud
            );
            let help = Some(format!("{periods}; or use more lines, or a higher speed"));
            report.error(&line.place, "unreachable-period", text, help);
        } else if load > FULL {
            let text = format!(
                "the polls of line {name} need {percent:.0} % of its time: one slow device delays all"
            );
            report.warning(&line.place, "full-line", text, Some(too_much(&parts).1));
        } else if in_alarm > 1.0 {
            let text = format!(
                "with every device in alarm the polls of line {name} need {:.0} % of its time",
                100.0 * in_alarm
            );
            let help = "`every_in_alarm` takes only the time that the other polls leave: make it longer";
            report.warning(&line.place, "full-line-in-alarm", text, Some(help.to_owned()));
        }
    }
}

/// A line whose speed nobody knows: whether it fits is known only when its devices are measured.
fn through_a_network(line: &LineDraft, index: usize, drafts: &[DeviceDraft], report: &Report) {
    let own = || drafts.iter().filter(|draft| draft.line == index && draft.profile.text.is_none());
    let quiet = own().map(|draft| draft.profile.limits.quiet).fold(line.settings.quiet, Duration::max);
    let cost = Cost::new(&line.settings, quiet);
    let pipeline = |draft: &DeviceDraft| match line.settings.address.framing() {
        Framing::Mbap => f64::from(draft.profile.limits.pipeline),
        Framing::Rtu | Framing::Ascii => 1.0,
    };
    let parts: Vec<Part<'_>> =
        own().map(|draft| Part { draft, cost_s: modbus_s(draft, &cost) / pipeline(draft) }).collect();
    let load: f64 = parts.iter().map(Part::load).sum();
    if load <= 1.0 {
        return;
    }
    let assumed = match line.settings.address.framing() {
        Framing::Mbap => String::new(),
        Framing::Rtu | Framing::Ascii => " at 9600 baud".to_owned(),
    };
    let text = format!(
        "the polls of line {} would need {:.0} % of its time{assumed} when each answer takes {} ms",
        line.settings.name,
        100.0 * load,
        cost.turnaround.as_millis()
    );
    let (_, periods) = too_much(&parts);
    report.warning(
        &line.place,
        "full-line",
        text,
        Some(format!("{periods}; `status` shows the measured load")),
    );
}

fn cost_s(draft: &DeviceDraft, cost: &Cost, port: SerialFormat) -> f64 {
    if let Some(format) = &draft.profile.text {
        return text::cost_s(draft, format, port);
    }
    modbus_s(draft, cost)
}

/// Seconds of one poll with Modbus.
fn modbus_s(draft: &DeviceDraft, cost: &Cost) -> f64 {
    let fields = &draft.profile.fields;
    let wanted = wanted(fields);
    let plan = Plan::new(fields, &wanted, &draft.profile.limits, cost, &Cuts::new());
    plan.time(cost).as_secs_f64() + writes_s(draft, cost, &wanted) + version_s(draft, cost)
}

/// The triggers of one poll; while a device measures, others have the line.
fn writes_s(draft: &DeviceDraft, cost: &Cost, wanted: &[usize]) -> f64 {
    let triggers = draft.triggers.iter().map(Allowed::trigger);
    let fired = triggers
        .filter(|trigger| trigger.behind(&draft.profile.fields).iter().any(|index| wanted.contains(index)));
    let extra_bytes = |act: &Act| match act {
        Act::Coil { .. } | Act::Register { .. } => 0,
        Act::Registers { values, .. } => u32::try_from(1 + 2 * values.len()).unwrap_or(u32::MAX),
    };
    fired.map(|trigger| cost.written(extra_bytes(&trigger.act)).as_secs_f64()).sum()
}

/// The part of one poll in asking for the firmware's version now and then.
fn version_s(draft: &DeviceDraft, cost: &Cost) -> f64 {
    let telling = draft.firmware.telling.as_ref();
    let asked = telling.map_or(Duration::ZERO, |telling| match &telling.from {
        Told::Cells(field, _) => {
            cost.answered(Read { table: field.table, address: field.address, count: field.count })
        }
        // A page of three texts: about as long as 30 registers.
        Told::Identity(_) => cost.answered(Read { table: Table::Holding, address: 0, count: 30 }),
    });
    asked.as_secs_f64() * (draft.every.as_secs_f64() / ASKED_EVERY.as_secs_f64()).min(1.0)
}

/// The devices whose load is above the fair share of a line that is not full, and the periods that would bring them there. The fair share is
/// the largest that all may have: what the small ones leave goes to the large ones.
fn too_much(parts: &[Part<'_>]) -> (String, String) {
    let mut loads: Vec<f64> = parts.iter().map(Part::load).collect();
    loads.sort_by(f64::total_cmp);
    let (mut left, mut share) = (FULL, FULL);
    for (count, load) in (1..=u32::try_from(loads.len()).unwrap_or(u32::MAX)).rev().zip(loads) {
        share = left / f64::from(count);
        if load > share {
            break;
        }
        left -= load;
    }
    let over: Vec<&Part<'_>> = parts.iter().filter(|part| part.load() > share).collect();
    let named = |say: &dyn Fn(&Part<'_>) -> String| {
        let mut text: Vec<String> = over.iter().take(NAMED_MAX).map(|part| say(part)).collect();
        if over.len() > NAMED_MAX {
            text.push(format!("{} more", over.len() - NAMED_MAX));
        }
        text.join(", ")
    };
    let period = |part: &Part<'_>| rounded_up(part.cost_s / share);
    let periods = named(&|part| format!("{} every {}", part.draft.name, period(part)));
    (named(&|part| part.draft.name.clone()), format!("poll {periods}"))
}

/// Seconds as a document writes them, with two digits that count.
fn rounded_up(seconds: f64) -> String {
    let mut unit_s = 0.01;
    while seconds > unit_s * 100.0 {
        unit_s *= 10.0;
    }
    let rounded = (seconds / unit_s - 1e-9).ceil() * unit_s;
    if rounded < 1.0 {
        format!("{:.0}ms", rounded * 1000.0)
    } else if (rounded - rounded.round()).abs() < 1e-6 {
        format!("{rounded:.0}s")
    } else {
        format!("{:.0}ms", rounded * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_written_as_documents_write_them() {
        let cases = [
            (0.0123, "20ms"),
            (0.5, "500ms"),
            (1.234, "1300ms"),
            (2.0, "2s"),
            (9.91, "10s"),
            (123.4, "130s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(rounded_up(seconds), text, "{seconds}");
        }
    }
}
