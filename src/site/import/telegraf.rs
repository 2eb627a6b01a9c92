//! A Telegraf configuration with `[[inputs.modbus]]`, in its styles `register` and `request`.
//!
//! In: the document. Out: devices with their points. Invariant: a type or order is carried over as Telegraf decodes it, or not at all; each key that has no
//! place here is told.
//! Source: Telegraf, plugins/inputs/modbus, README and configuration_*.go.

use std::collections::BTreeMap;

use crate::bus::Table;
use crate::diagnostic::Place;
use crate::profile::Kind;
use crate::profile::at::At;
use crate::profile::names::serial_format;
use crate::site::import::names::{free, line_name, name_point, plain};
use crate::site::import::types::{of_registers, of_request, order_of};
use crate::site::import::{DeviceDraft, Draft, PointDraft, Wishes, endpoint, text};
use crate::site::section::Section;
use crate::site::settings::tag_key;
use crate::site::tree::{Document, Report, Value};

/// Telegraf's own default of `[agent] interval`.
const EVERY: &str = "10s";
/// The lists of the style `register`.
const LISTS: [(&str, Table); 4] = [
    ("coils", Table::Coil),
    ("discrete_inputs", Table::Discrete),
    ("holding_registers", Table::Holding),
    ("input_registers", Table::Input),
];

/// Reads the document.
pub(crate) fn read(document: &Document, wishes: &Wishes, draft: &mut Draft, report: &Report) {
    let root = document.parse(report);
    let top = Section::new(document, report, "the configuration", &root);
    let agent = top.section("agent").and_then(|agent| agent.text("interval"));
    let Some(inputs) = top.section("inputs") else { return };
    for input in inputs.sections("modbus") {
        Input { section: &input, report, wishes, agent: agent.as_deref() }.read(draft);
    }
    for (of, section) in [("", &top), ("inputs.", &inputs)] {
        for (name, place) in section.others() {
            let help = name.contains("output").then(|| "write a [[sink]] into gateway.toml".to_owned());
            report.error(&place, "not-carried", format!("`{of}{name}` is not carried over"), help);
        }
    }
}

struct Input<'a> {
    section: &'a Section<'a>,
    report: &'a Report,
    wishes: &'a Wishes,
    agent: Option<&'a str>,
}

impl Input<'_> {
    fn left_out(&self, place: &Place, why: impl Into<String>) {
        self.report.error(place, "not-carried", why, None);
    }

    fn read(&self, draft: &mut Draft) {
        let section = self.section;
        let name = section.text("name").unwrap_or_else(|| "device".to_owned());
        let every = self.every();
        let tags = self.tags(section);
        let style = section.text("configuration_type").unwrap_or_else(|| "register".to_owned());
        let Some(line) = self.line(draft) else { return };
        match style.as_str() {
            "register" => {
                let slave = section.need("slave_id", section.int("slave_id", 0, 255));
                let mut points = Vec::new();
                for (key, table) in LISTS {
                    for field in section.sections(key) {
                        self.register(&field, table, &mut points);
                    }
                }
                if let Some(slave) = slave {
                    self.add(
                        draft,
                        DeviceDraft { called: name.clone(), name, line, slave, every, tags, points },
                    );
                }
            }
            "request" => self.requests(
                draft,
                &DeviceDraft { called: name.clone(), name, line, slave: 0, every, tags, points: Vec::new() },
            ),
            other => {
                let text = format!(
                    "this input is left out: its style is `{other}`, and register and request are known"
                );
                return self.left_out(&section.place("configuration_type"), text);
            }
        }
        self.told_others(section);
    }

    /// Each key that nobody asked for.
    fn told_others(&self, section: &Section<'_>) {
        for (name, place) in section.others() {
            self.left_out(&place, format!("`{name}` is not carried over"));
        }
    }

    fn every(&self) -> String {
        let own = self.section.text("interval");
        let text = own.as_deref().or(self.agent).unwrap_or(EVERY);
        if crate::site::duration(text).is_some() {
            return text.to_owned();
        }
        self.left_out(
            &self.section.place("interval"),
            format!("the interval `{text}` is not carried over: every = \"{EVERY}\" is written"),
        );
        EVERY.to_owned()
    }

    fn tags(&self, section: &Section<'_>) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let Some(table) = section.section("tags") else { return found };
        for (key, span, node) in table.all() {
            match (&node.value, tag_key(key)) {
                (Value::Text(value), Ok(())) => {
                    found.insert(key.clone(), value.clone());
                }
                (_, Err(why)) => self.left_out(
                    &section.document.place(*span),
                    format!("the tag `{key}` is not carried over: {why}"),
                ),
                (_, Ok(())) => {
                    self.left_out(&section.document.place(*span), format!("the tag `{key}` is no text"))
                }
            }
        }
        found
    }

    /// The name of the line that `controller` means.
    fn line(&self, draft: &mut Draft) -> Option<String> {
        let section = self.section;
        let controller = section.need("controller", section.text("controller"))?;
        let mode = section.text("transmission_mode").unwrap_or_else(|| "auto".to_owned());
        let timeout = section.text("timeout").filter(|text| crate::site::duration(text).is_some());
        let told = self.wishes.lines.iter().find(|(name, _)| *name == controller).map(|(_, to)| to.clone());
        let to = told.unwrap_or_else(|| controller.clone());
        let to = to.strip_prefix("tcp://").or(to.strip_prefix("file://")).unwrap_or(&to);
        let address = if to.starts_with("/dev/") {
            let framing = match mode.as_str() {
                "RTU" | "auto" => "",
                "ASCII" => ", framing = \"ascii\"",
                _ => {
                    return self.no_line(&format!("the transmission mode `{mode}` is none of a serial port"));
                }
            };
            let number = |key, usual: i64| section.int(key, 1, 4_000_000).unwrap_or(usual);
            let parity = section.text("parity").unwrap_or_else(|| "N".to_owned());
            let speed = format!(
                "{} {}{parity}{}",
                number("baud_rate", 9600),
                number("data_bits", 8),
                number("stop_bits", 1)
            );
            if serial_format(&speed).is_none() {
                return self.no_line(&format!("`{speed}` is no serial format here"));
            }
            format!("serial = {{ path = {}, speed = \"{speed}\"{framing} }}", text(to))
        } else if let Some(to) = endpoint(to) {
            let way = match mode.as_str() {
                "TCP" | "auto" => "tcp",
                "RTUoverTCP" => "rtu_over_tcp",
                "ASCIIoverTCP" => "ascii_over_tcp",
                _ => {
                    return self
                        .no_line(&format!("the transmission mode `{mode}` is none of a TCP connection"));
                }
            };
            format!("{way} = {}", text(&to))
        } else {
            return self.no_line(&format!("nothing says where `{controller}` leads: give --line {controller}=10.0.0.5:502 or =/dev/ttyUSB0"));
        };
        let name = line_name(to);
        Some(draft.line(&name, &name, &address, timeout))
    }

    fn no_line(&self, why: &str) -> Option<String> {
        self.left_out(&self.section.place("controller"), format!("this input is left out: {why}"));
        None
    }

    /// A field of the style `register`.
    fn register(&self, field: &Section<'_>, table: Table, points: &mut Vec<PointDraft>) {
        let name = field.text("name").unwrap_or_default();
        let addresses: Vec<u16> = field
            .list("address")
            .iter()
            .filter_map(|node| match node.value {
                Value::Int(number) => u16::try_from(number).ok(),
                _ => None,
            })
            .collect();
        let (kind, order) = (field.text("data_type"), field.text("byte_order"));
        let scale = field.float("scale");
        self.told_others(field);
        let Some(address) = addresses.first().copied() else {
            return self.left_out(
                &field.place("name"),
                format!("the field `{name}` is left out: it has no address"),
            );
        };
        let in_a_row = addresses.iter().zip(address..).all(|(address, wanted)| *address == wanted);
        let kind = match table {
            Table::Coil | Table::Discrete => Some(Kind::Bool),
            Table::Holding | Table::Input => {
                kind.as_deref().and_then(|kind| of_registers(kind, addresses.len()))
            }
        };
        let Some(kind) = kind.filter(|kind| in_a_row && usize::from(kind.cells()) == addresses.len()) else {
            return self.left_out(
                &field.place("data_type"),
                format!("the field `{name}` is left out: its type or addresses have no counterpart here"),
            );
        };
        self.push(points, &name, At { table, address }, kind, order, scale);
    }

    fn push(
        &self,
        points: &mut Vec<PointDraft>,
        name: &str,
        at: At,
        kind: Kind,
        order: Option<String>,
        scale: Option<f64>,
    ) {
        let natural = |order: &String| order.bytes().is_sorted();
        let order = order.filter(|order| !natural(order) && kind != Kind::Bool);
        let (name, note) = name_point(name, at, points);
        let scale = scale.filter(|scale| (scale - 1.0).abs() > 0.0);
        points.push(PointDraft { name, at, kind, order, scale, offset: None, unit: None, note });
    }

    /// The style `request`: one device for each slave.
    fn requests(&self, draft: &mut Draft, base: &DeviceDraft) {
        let mut devices: Vec<(DeviceDraft, Place)> = Vec::new();
        for request in self.section.sections("request") {
            let Some(slave) = request.need("slave_id", request.int("slave_id", 0, 255)) else { continue };
            let mut tags = base.tags.clone();
            tags.extend(self.tags(&request));
            let index = devices.iter().position(|(device, _)| device.slave == slave).unwrap_or_else(|| {
                devices.push((
                    DeviceDraft { slave, tags: tags.clone(), ..base.clone() },
                    request.place("slave_id"),
                ));
                devices.len() - 1
            });
            let Some((device, _)) = devices.get_mut(index) else { continue };
            if device.tags != tags {
                self.left_out(
                    &request.place("tags"),
                    format!("these tags are not carried over: slave {slave} has others in a request above"),
                );
            }
            self.fields(&request, &mut device.points);
        }
        let several = devices.len() > 1;
        for (mut device, _) in devices {
            if several {
                device.name = format!("{}-{}", device.name, device.slave);
            }
            self.add(draft, device);
        }
    }

    fn fields(&self, request: &Section<'_>, points: &mut Vec<PointDraft>) {
        let order = request.text("byte_order").unwrap_or_else(|| "ABCD".to_owned());
        let register = request.text("register").unwrap_or_else(|| "holding".to_owned());
        let table = match register.as_str() {
            "coil" => Table::Coil,
            "discrete" => Table::Discrete,
            "input" => Table::Input,
            "holding" => Table::Holding,
            _ => {
                return self.left_out(
                    &request.place("register"),
                    format!("this request is left out: there is no table `{register}`"),
                );
            }
        };
        for field in request.sections("fields") {
            let (name, kind) = (field.text("name").unwrap_or_default(), field.text("type"));
            let (address, scale) = (field.int::<u16>("address", 0, 65535), field.float("scale"));
            let bit = field.int::<u8>("bit", 0, 15);
            // Readings here are numbers with a unit, whatever a field becomes there.
            field.node("output");
            let omitted = field.flag("omit") == Some(true);
            self.told_others(&field);
            if omitted {
                continue;
            }
            let kind = match (table, kind.as_deref()) {
                (Table::Coil | Table::Discrete, _) => Some(Kind::Bool),
                (_, Some("BIT")) => bit.map(|bit| Kind::Bits { low: bit, high: bit }),
                (_, Some(kind)) => of_request(kind),
                (_, None) => None,
            };
            let (Some(kind), Some(address)) = (kind, address) else {
                self.left_out(
                    &field.place("type"),
                    format!("the field `{name}` is left out: its type or address has no counterpart here"),
                );
                continue;
            };
            let Some(order) = order_of(&order, kind.cells()) else {
                self.left_out(
                    &request.place("byte_order"),
                    format!("the field `{name}` is left out: there is no byte order `{order}`"),
                );
                continue;
            };
            self.push(points, &name, At { table, address }, kind, Some(order.to_owned()), scale);
        }
        self.told_others(request);
    }

    /// Adds a device; its name is free, and its address on the line is its own.
    fn add(&self, draft: &mut Draft, device: DeviceDraft) {
        let place = self.section.place("slave_id");
        if device.points.is_empty() {
            return self.left_out(
                &place,
                format!("slave {} is left out: no field of it could be carried over", device.slave),
            );
        }
        let same = |other: &&mut DeviceDraft| other.line == device.line && other.slave == device.slave;
        if let Some(other) = draft.devices.iter_mut().find(same) {
            self.join(other, &device);
            let text = format!(
                "slave {} of {} stands in two inputs: it is one device, `{}`",
                device.slave, device.line, other.name
            );
            self.report.warning(&place, "assumed", text, None);
            return;
        }
        let name = plain(&device.name, &format!("{}-slave-{}", device.line, device.slave));
        let name = if name == "gateway" { "gateway-2".to_owned() } else { name };
        let name = free(&name, |name| draft.devices.iter().any(|known| known.name == name));
        draft.devices.push(DeviceDraft { name, ..device });
    }

    /// Adds the points of another input for the same slave; what the device has in another way already is told.
    fn join(&self, to: &mut DeviceDraft, more: &DeviceDraft) {
        let (slave, device) = (more.slave, to.name.clone());
        let tell = |key, what: String| {
            self.left_out(&self.section.place(key), format!("{what} is not carried over"))
        };
        if crate::site::duration(&to.every) != crate::site::duration(&more.every) {
            tell(
                "interval",
                format!("`{device}` is polled every {}: {} for slave {slave}", to.every, more.every),
            );
        }
        for (key, value) in more.tags.iter().filter(|(key, value)| to.tags.get(*key) != Some(*value)) {
            tell("tags", format!("the tag {key} = {} of slave {slave}", text(value)));
        }
        for point in &more.points {
            let known = to.points.iter().find(|known| known.at == point.at && known.kind == point.kind);
            match known {
                Some(known) if (known.scale, &known.order) != (point.scale, &point.order) => {
                    let same =
                        format!("`{}` has the same register and type in another scale or order", known.name);
                    tell("slave_id", format!("{same}: the field `{}` of slave {slave}", point.name));
                }
                Some(known) if known.name != point.name => {
                    let same = format!("`{}` is the same reading", known.name);
                    tell("slave_id", format!("{same}: the name `{}` of slave {slave}", point.name));
                }
                Some(_) => {}
                None => {
                    let name = free(&point.name, |name| to.points.iter().any(|known| known.name == name));
                    to.points.push(PointDraft { name, ..point.clone() });
                }
            }
        }
    }
}
