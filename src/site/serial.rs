//! Serial lines of the site's documents, and what is suspicious about them.
//!
//! In: `serial = { path = "/dev/ttyUSB0", speed = "9600 8N1", rs485 = { ... } }`, and all lines when they are read. Out: addresses; findings.
//! Invariant: no two lines open the same device, whatever its path is called.
//! Source: Modbus over Serial Line V1.02, 2.5.1 (RTU has 8 data bits), 2.5.2 (ASCII has 7), 3.2 (speeds).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bus::serial::Rs485;
use crate::bus::{Address, Framing, SerialFormat};
use crate::profile::names::{serial_fault, serial_format};
use crate::site::lines::LineDraft;
use crate::site::section::Section;
use crate::site::tree::Report;

/// The speeds that the standard names; 57,600 and 115,200 are its `56K, 115K`.
const MODBUS_SPEEDS: [u32; 8] = [1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200];
/// The kernel cuts longer delays of a transceiver.
const DELAY_MAX: Duration = Duration::from_millis(100);

/// Reads the table `serial` of a line.
pub(crate) fn address(serial: &Section<'_>) -> Option<Address> {
    let path = serial.need("path", serial.text("path"));
    let format = speed(serial, &serial.text("speed").unwrap_or_else(|| "9600 8N1".to_owned()));
    let framing = match serial.word("framing", &["rtu", "ascii"]) {
        Some("ascii") => Framing::Ascii,
        _ => Framing::Rtu,
    };
    let rs485 = serial.section("rs485").map(|table| rs485(&table));
    serial.finish();
    Some(Address::Serial { path: path?, format: format?, framing, rs485 })
}

fn speed(section: &Section<'_>, text: &str) -> Option<SerialFormat> {
    let format = serial_format(text);
    if format.is_none() {
        let (wrong, help) = serial_fault(text);
        section.error("speed", "bad-serial", wrong, Some(help));
    }
    format
}

/// The `speed` of a line that leads to a wire behind a serial server or a DTU.
pub(crate) fn behind(line: &Section<'_>) -> Option<SerialFormat> {
    let text = line.text("speed")?;
    let leads = |key| line.place(key) != line.place("");
    if leads("serial") {
        let help = "serial = { path = \"...\", speed = \"9600 8N1\" }".to_owned();
        line.error("speed", "misplaced-speed", "the speed of a serial port stands in its table", Some(help));
    } else if leads("tcp") || leads("tls") {
        let help =
            "leave `speed` out; it is for rtu_over_tcp, ascii_over_tcp, text_over_tcp and dial_in".to_owned();
        line.error("speed", "misplaced-speed", "frames of Modbus TCP have no serial speed", Some(help));
    }
    speed(line, &text)
}

fn rs485(table: &Section<'_>) -> Rs485 {
    let delay = |key| {
        let found = table.duration(key).unwrap_or_default();
        if found > DELAY_MAX {
            table.error(key, "out-of-range", format!("`{key}` is 100 ms at most"), None);
        }
        found
    };
    let found = Rs485 {
        rts_on_send: table.flag("rts_on_send").unwrap_or(true),
        delay_before: delay("delay_before"),
        delay_after: delay("delay_after"),
    };
    table.finish();
    found
}

/// Two lines on one device; formats that Modbus RTU does not have. `speaks_rtu` says it of each line.
pub(crate) fn check(lines: &[LineDraft], speaks_rtu: &[bool], report: &Report) {
    let serial = |line: &LineDraft| match &line.settings.address {
        Address::Serial { path, format, .. } => Some((path.clone(), *format)),
        _ => None,
    };
    let mut taken: Vec<(PathBuf, &LineDraft, String)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((path, format)) = serial(line) else { continue };
        let device = std::fs::canonicalize(&path).unwrap_or_else(|_| Path::new(&path).to_owned());
        // A line that stands twice by name is reported as that.
        let twice = |known: &PathBuf, other: &LineDraft| {
            *known == device && other.settings.name != line.settings.name
        };
        if let Some((_, first, other)) = taken.iter().find(|(known, other, _)| twice(known, other)) {
            let same =
                if *other == path { String::new() } else { format!(" ({path} and {other} are one device)") };
            let text =
                format!("the lines {} and {} use one port{same}", first.settings.name, line.settings.name);
            let help = "put their devices on one line, or give each line a port of its own".to_owned();
            report.error(&line.place, "duplicate-port", text, Some(help));
        }
        taken.push((device, line, path));
        if !speaks_rtu.get(index).is_some_and(|rtu| *rtu) {
            continue;
        }
        if format.data_bits == 7 && line.settings.address.framing() == Framing::Rtu {
            let text = format!(
                "line {} has 7 data bits, and Modbus RTU needs 8: nothing will be understood",
                line.settings.name
            );
            report.warning(
                &line.place,
                "seven-bits",
                text,
                Some("write 8 data bits, such as \"9600 8N1\"".to_owned()),
            );
        }
        if !MODBUS_SPEEDS.contains(&format.baud) {
            let text = format!(
                "{} baud of line {} is no speed that the Modbus standard names",
                format.baud, line.settings.name
            );
            let help = "1200, 2400, 4800, 9600, 19200, 38400, 57600 or 115200, if the devices can".to_owned();
            report.warning(&line.place, "unusual-speed", text, Some(help));
        }
    }
}
