//! Rows of CSV files: readings and alarms apart.
//!
//! In: a parcel. Out: rows by day and ending of the file's name.
//! Invariant: no text breaks a row, and none is a formula to a spreadsheet.
//! Source: RFC 4180.

use std::fmt::Write as _;

use crate::forward::line_protocol::number;
use crate::forward::parts::{Days, day};
use crate::forward::sink::{Parcel, Told};
use crate::journal::Stored;
use crate::reading::{Quality, Sample};

/// Heads of CSV files by ending; a file of lines has none.
pub(crate) const fn head(ending: &str) -> &'static str {
    match ending.as_bytes() {
        b"csv" => "time,device,point,value,unit,quality,reason\n",
        b"alarms.csv" => "time,rule,point,severity,state,value,threshold,unit,seq,id\n",
        _ => "",
    }
}

/// The rows of a parcel, and how many readings have no name.
pub(crate) fn csv(parcel: &Parcel) -> (Days, u64) {
    let (mut days, mut nameless) = (Days::new(), 0_u64);
    let mut alarms = |alarms: &[Told]| {
        for told in alarms {
            days.entry((day(told.at), "alarms.csv")).or_default().push_str(&alarm_row(told));
        }
    };
    match parcel {
        Parcel::Alarms(told) | Parcel::Unjournaled { alarms: told, .. } => alarms(told),
        Parcel::Readings { .. } => {}
    }
    let groups = match parcel {
        Parcel::Alarms(_) => &[],
        Parcel::Readings { groups, .. } => groups.as_slice(),
        Parcel::Unjournaled { group, .. } => std::slice::from_ref(group),
    };
    for group in groups {
        nameless = nameless.saturating_add(rows(group, &mut days));
    }
    (days, nameless)
}

/// Writes the group's rows; how many readings have no name.
fn rows(group: &Stored, days: &mut Days) -> u64 {
    let mut nameless = 0_u64;
    for reading in group.batches.iter().flat_map(|batch| &batch.readings) {
        let point = group.catalog.point(reading.point);
        let named = point.and_then(|point| Some((point, group.catalog.device(point.device)?)));
        let Some((point, device)) = named else {
            nameless = nameless.saturating_add(1);
            continue;
        };
        let reason = match &reading.sample {
            Sample::Good(_) => String::new(),
            Sample::Uncertain(_, doubt) => doubt.name().to_owned(),
            Sample::Bad(reason) => reason.to_string(),
        };
        let quality = match reading.sample.quality() {
            Quality::Good => "good",
            Quality::Uncertain => "uncertain",
            Quality::Bad => "bad",
        };
        let unit = point.unit.map_or("", |unit| unit.name());
        let (value, time) = (value(reading.sample.value()), reading.at.to_string());
        let cells = [&time, &device.name, &point.short, &value, unit, quality, &reason];
        days.entry((day(reading.at), "csv")).or_default().push_str(&row(&cells));
    }
    nameless
}

fn alarm_row(told: &Told) -> String {
    let alarm = &told.transition.alarm;
    let severity = format!("{:?}", alarm.severity).to_lowercase();
    let state = alarm.state.name();
    let seq = if told.number == 0 { String::new() } else { told.number.to_string() };
    let unit = alarm.unit.as_deref().unwrap_or_default();
    let (reached, threshold) = (value(alarm.value), value(alarm.threshold));
    row(&[
        &told.at.to_string(),
        &alarm.rule,
        &alarm.point,
        &severity,
        state,
        &reached,
        &threshold,
        unit,
        &seq,
        &alarm.id,
    ])
}

fn value(value: Option<f64>) -> String {
    let mut text = String::new();
    if let Some(value) = value.filter(|value| value.is_finite()) {
        number(&mut text, value);
    }
    text
}

/// A row; a text that a spreadsheet would take for a formula gets an apostrophe, and no text breaks the line.
fn row(cells: &[&str]) -> String {
    let mut text = String::new();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let plain: String =
            cell.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let formula = plain.starts_with(['=', '+', '-', '@']) && plain.parse::<f64>().is_err();
        let mark = if formula { "'" } else { "" };
        // Writing to a `String` cannot fail.
        let _ = if plain.contains([',', '"']) {
            write!(text, "\"{mark}{}\"", plain.replace('"', "\"\""))
        } else {
            write!(text, "{mark}{plain}")
        };
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_breaks_no_row_and_is_no_formula() {
        assert_eq!(row(&["=1+1", "-3.5", "a,\"b\"\nc", "南坪"]), "'=1+1,-3.5,\"a,\"\"b\"\" c\",南坪\n");
    }
}
