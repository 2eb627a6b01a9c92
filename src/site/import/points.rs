//! A table of points from a spreadsheet: one row for each point, with the device that it belongs to.
//!
//! In: the table; its heads name columns, in Chinese or English. Out: devices with their points.
//! Invariant: a row is carried over whole, or said with its cell not to be.

use crate::profile::Kind;
use crate::profile::names::serial_format;
use crate::site::import::heads::{columns, from_heads};
use crate::site::import::names::{free, line_name, name_point, plain};
use crate::site::import::words::{self, COLUMNS, headed, kind, place, table};
use crate::site::import::{DeviceDraft, Draft, PointDraft, Wishes};
use crate::site::section::unit_help;
use crate::site::table::{Row, is_formula};
use crate::site::tree::{Document, Report};
use crate::unit::Unit;

/// How often a device is polled when no column says.
const EVERY: &str = "10s";
/// The format of a serial line when no column says.
const SPEED: &str = "9600 8N1";

/// Reads the table.
pub(crate) fn read(document: &Document, wishes: &Wishes, draft: &mut Draft, report: &Report) {
    let rows = from_heads(document, report);
    let Some((header, rows)) = rows.split_first() else { return };
    let columns = columns(document, header, rows, report);
    let mut units = header.cells.iter().filter_map(|cell| headed(&cell.text)?.1);
    let table = Points { document, report, wishes, columns, every_unit: units.next() };
    for key in ["register", "type"] {
        if table.index(key).is_none() {
            let names = COLUMNS.iter().find(|(ours, _)| *ours == key).map(|(_, names)| names.join(", "));
            let help = names.map(|names| format!("it is known as {names}"));
            let text = format!("there is no column for the {key} of a point");
            report.error(&document.place(header.span), "not-carried", text, help);
            return;
        }
    }
    for row in rows {
        table.row(row, draft);
    }
}

struct Points<'a> {
    document: &'a Document,
    report: &'a Report,
    wishes: &'a Wishes,
    columns: Vec<Option<&'static str>>,
    /// What the head of the intervals says: `采集周期(毫秒)`.
    every_unit: Option<&'static str>,
}

impl Points<'_> {
    fn index(&self, key: &str) -> Option<usize> {
        self.columns.iter().position(|column| *column == Some(key))
    }

    fn cell<'r>(&self, row: &'r Row, key: &str) -> Option<&'r str> {
        let cell = row.cells.get(self.index(key)?)?;
        (!cell.text.is_empty()).then_some(cell.text.as_str())
    }

    /// Says why a row is left out.
    fn refuse<T>(&self, row: &Row, key: &str, why: impl Into<String>) -> Option<T> {
        let cell = self.index(key).and_then(|index| row.cells.get(index));
        let span = cell.map_or(row.span, |cell| cell.span);
        self.report.error(
            &self.document.place(span),
            "not-carried",
            format!("this row is left out: {}", why.into()),
            None,
        );
        None
    }

    /// A number of a cell; `None` also where there is no cell.
    fn number(&self, row: &Row, key: &str) -> Result<Option<f64>, ()> {
        let Some(text) = self.cell(row, key) else { return Ok(None) };
        number(text).map(Some).map_err(|why| {
            let _: Option<()> = self.refuse(row, key, format!("`{text}` {why}"));
        })
    }

    fn row(&self, row: &Row, draft: &mut Draft) -> Option<()> {
        if let Some(cell) = row.cells.iter().find(|cell| is_formula(&cell.text)) {
            let text = format!("this row is left out: `{}` is a formula and no value", cell.text);
            self.report.error(&self.document.place(cell.span), "not-carried", text, None);
            return None;
        }
        let point = self.point(row)?;
        let device = self.device(row, draft)?;
        let points = &mut draft.devices.get_mut(device)?.points;
        let wanted = self.cell(row, "name").unwrap_or_default();
        let (name, own) = name_point(wanted, point.at, points);
        let said = [own, self.cell(row, "note").map(str::to_owned)];
        let note = said.into_iter().flatten().reduce(|one, other| format!("{one}; {other}"));
        if points.iter().any(|other| other.at == point.at && other.kind == point.kind) {
            return self.refuse(row, "register", "another row of this device has the same register and type");
        }
        points.push(PointDraft { name, note, ..point });
        Some(())
    }

    /// The point of a row, without its name.
    fn point(&self, row: &Row) -> Option<PointDraft> {
        let table = match self.cell(row, "table") {
            Some(text) => match table(text) {
                Some(table) => Some(table),
                None => return self.refuse(row, "table", format!("`{text}` is no function code or table")),
            },
            None => None,
        };
        let Some(text) = self.cell(row, "register") else {
            return self.refuse(row, "register", "it has no register");
        };
        let Some((at, assumed)) = place(text, table) else {
            return self.refuse(row, "register", format!("`{text}` is no register"));
        };
        if assumed && let Some(index) = self.index("register") {
            let span = row.cells.get(index).map_or(row.span, |cell| cell.span);
            let text =
                format!("`{text}` is taken for the wire address {at}; write 4xxxx for a manual's number");
            self.report.warning(&self.document.place(span), "assumed", text, None);
        }
        let is_bit = matches!(at.table, crate::bus::Table::Coil | crate::bus::Table::Discrete);
        let (kind, behind) = match self.cell(row, "type") {
            None if is_bit => (Kind::Bool, None),
            None => return self.refuse(row, "type", "it has no type"),
            Some(text) => match kind(text) {
                Some(found) => found,
                None => return self.refuse(row, "type", format!("there is no type `{text}`")),
            },
        };
        let order = self.cell(row, "order").map(str::to_uppercase).or(behind);
        if let Some(order) = &order
            && order.len() != usize::from(kind.cells()) * 2
        {
            return self.refuse(row, "order", format!("`{order}` is no byte order of a {}", kind.name()));
        }
        let (scale, offset) = (self.number(row, "scale").ok()?, self.number(row, "offset").ok()?);
        let unit = match self.cell(row, "unit") {
            None => None,
            Some(text) => {
                let found = Unit::spelled(text).or_else(|| Unit::spelled(super::units(text)));
                if found.is_none() {
                    let help = unit_help(text);
                    let span = self
                        .index("unit")
                        .and_then(|index| row.cells.get(index))
                        .map_or(row.span, |cell| cell.span);
                    let text = format!("there is no unit `{text}`: the point is carried over without one");
                    self.report.error(&self.document.place(span), "not-carried", text, help);
                }
                found.map(Unit::name)
            }
        };
        Some(PointDraft { name: String::new(), at, kind, order, scale, offset, unit, note: None })
    }

    /// The device of a row, as an index; a new one is made with its line.
    fn device(&self, row: &Row, draft: &mut Draft) -> Option<usize> {
        let slave = match self.cell(row, "slave") {
            None => 1,
            Some(text) => match text.parse::<u8>() {
                Ok(slave) if slave <= 247 => slave,
                _ => return self.refuse(row, "slave", format!("`{text}` is no address of a device")),
            },
        };
        let line = self.line(row, draft)?;
        let every = self.every(row)?;
        let wanted = self.cell(row, "device").unwrap_or_default();
        if let Some(index) =
            draft.devices.iter().position(|device| device.line == line && device.slave == slave)
        {
            let known = draft.devices.get(index)?;
            if let Some(every) = every
                && crate::site::duration(&every) != crate::site::duration(&known.every)
            {
                let text = format!("`{}` is polled every {}, as a row above says", known.name, known.every);
                self.tell(row, "every", &format!("{text}: {every} is not carried over"));
            }
            let first = &known.called;
            if *first != wanted {
                let span = self.index("device").and_then(|index| row.cells.get(index));
                let span = span.map_or(row.span, |cell| cell.span);
                let text = format!(
                    "`{wanted}` has the same line and slave as `{first}`: its point is carried over to that device"
                );
                self.report.warning(&self.document.place(span), "assumed", text, None);
            }
            return Some(index);
        }
        let name = plain(wanted, &format!("{line}-slave-{slave}"));
        let name = if name == "gateway" { "gateway-2".to_owned() } else { name };
        let name = free(&name, |name| draft.devices.iter().any(|device| device.name == name));
        if !wanted.is_empty() && !wanted.is_ascii() {
            let span = self
                .index("device")
                .and_then(|index| row.cells.get(index))
                .map_or(row.span, |cell| cell.span);
            let text =
                format!("names have letters a-z: `{wanted}` is called `{name}`, and has the name as a tag");
            self.report.warning(&self.document.place(span), "assumed", text, None);
        }
        let tags = Some(wanted).filter(|wanted| !wanted.is_ascii());
        let tags = tags.map(|wanted| ("name".to_owned(), wanted.to_owned())).into_iter().collect();
        draft.devices.push(DeviceDraft {
            name,
            called: wanted.to_owned(),
            line,
            slave,
            every: every.unwrap_or_else(|| EVERY.to_owned()),
            tags,
            points: Vec::new(),
        });
        Some(draft.devices.len() - 1)
    }

    /// Says what of a row that is carried over is not.
    fn tell(&self, row: &Row, key: &str, text: &str) {
        let cell = self.index(key).and_then(|index| row.cells.get(index));
        let span = cell.map_or(row.span, |cell| cell.span);
        self.report.error(&self.document.place(span), "not-carried", text, None);
    }

    /// The interval of a row; inside `None` where it says none.
    fn every(&self, row: &Row) -> Option<Option<String>> {
        let Some(text) = self.cell(row, "every") else { return Some(None) };
        match words::every(text, self.every_unit) {
            Some(every) => Some(Some(every)),
            None => self.refuse(row, "every", format!("`{text}` is no duration")),
        }
    }

    /// A host with the port of the column beside it, 502 where the cell is empty.
    fn with_port(&self, row: &Row, host: &str) -> Option<String> {
        let port = self.cell(row, "port").filter(|port| *port != host);
        let whole = host.starts_with("/dev/") || host.contains(':');
        match port {
            None if whole || self.index("port").is_none() => Some(host.to_owned()),
            Some(port) if host.ends_with(&format!(":{port}")) => Some(host.to_owned()),
            Some(port) if whole => self.refuse(row, "port", format!("`{port}` is no port of `{host}`")),
            _ => match port.unwrap_or("502").parse::<u16>() {
                Ok(number) if number > 0 => Some(format!("{host}:{number}")),
                _ => self.refuse(row, "port", format!("`{}` is no TCP port", port.unwrap_or_default())),
            },
        }
    }

    fn line(&self, row: &Row, draft: &mut Draft) -> Option<String> {
        let named = self.cell(row, "line");
        let host = self.cell(row, "address").or(named).or(self.cell(row, "port"));
        let Some(host) = host else { return self.refuse(row, "line", "it has no line") };
        let known_as = named.unwrap_or(host);
        let told = self.wishes.lines.iter().find(|(line, _)| line == known_as);
        let to = match told {
            Some((_, to)) => to.clone(),
            None => self.with_port(row, host)?,
        };
        let to = to.as_str();
        let (address, place) = if to.starts_with("/dev/") {
            let speed = self.cell(row, "speed").unwrap_or(SPEED);
            let speed = if speed.contains(' ') { speed.to_owned() } else { format!("{speed} 8N1") };
            if serial_format(&speed).is_none() {
                return self.refuse(row, "speed", format!("`{speed}` is no serial format, such as 9600 8N1"));
            }
            let port = format!("serial = {{ path = {}, ", super::text(to));
            let address = format!("{port}speed = \"{speed}\" }}");
            // A port has one speed, and many rows leave it to the first.
            if let Some(known) = draft.lines.iter().find(|line| line.address.starts_with(&port)) {
                if known.address != address && self.cell(row, "speed").is_some() {
                    let text = format!(
                        "the line `{}` has the speed of a row above: {speed} is not carried over",
                        known.name
                    );
                    self.tell(row, "speed", &text);
                }
                return Some(known.name.clone());
            }
            (address, line_name(to))
        } else if let Some(to) = super::endpoint(to) {
            (format!("tcp = {}", super::text(&to)), line_name(&to))
        } else {
            return self.refuse(row, "line", format!("nothing says where `{known_as}` leads: give --line {known_as}=10.0.0.5:502 or --line {known_as}=/dev/ttyUSB0"));
        };
        // What is only a host says too little: another of its ports is another line.
        let is_own = |name: &&str| told.is_some() || (*name != to && *name != host);
        let wanted = named.filter(is_own).unwrap_or(&place);
        let known = draft.lines.len();
        let name = draft.line(wanted, &place, &address, None);
        if draft.lines.len() > known && !wanted.is_ascii() {
            let span =
                self.index("line").and_then(|index| row.cells.get(index)).map_or(row.span, |cell| cell.span);
            let text = format!(
                "names have letters a-z: the line `{wanted}` is called `{name}`, and has the name above it"
            );
            self.report.warning(&self.document.place(span), "assumed", text, None);
        }
        Some(name)
    }
}

/// A number with a point or a decimal comma; a comma that may as well part thousands is no guess of ours.
fn number(text: &str) -> Result<f64, &'static str> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = match text.split_once(',') {
        None => text.to_owned(),
        Some((front, behind)) if digits(behind) => {
            let whole = front.trim_start_matches(['+', '-']);
            if behind.len() == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0') {
                return Err(
                    "may have a decimal comma or one between thousands: write it with a point, or without a comma",
                );
            }
            format!("{front}.{behind}")
        }
        Some(_) => return Err("is no number"),
    };
    plain.parse().ok().filter(|number: &f64| number.is_finite()).ok_or("is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_is_decimal_only_when_it_cannot_part_thousands() {
        for (text, wanted) in
            [("0,1", 0.1), ("-2,50", -2.5), ("0,001", 0.001), ("1234,567", 1234.567), ("1000", 1000.0)]
        {
            assert_eq!(number(text), Ok(wanted), "{text}");
        }
        for text in ["1,000", "-12,500", "100,000"] {
            assert!(number(text).is_err_and(|why| why.contains("thousands")), "{text}");
        }
        for text in ["1,000,000", "1,000.5", "1,0e3", "nan", "inf", "一", ","] {
            assert_eq!(number(text), Err("is no number"), "{text}");
        }
    }
}
