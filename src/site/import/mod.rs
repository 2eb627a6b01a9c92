//! Other people's documents as ours: a table of points from a spreadsheet, a Telegraf configuration.
//!
//! In: a text. Out: documents of a site with its profiles, and a remark for each thing that could not be carried over, with its line.
//! Invariant: what is written passes the check, or nothing is written; nothing is left out in silence.

mod heads;
mod names;
mod points;
mod telegraf;
mod types;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::diagnostic::{Diagnostics, Place};
use crate::profile::at::At;
use crate::profile::{CLASSES, Kind};
use crate::site::import::names::{free, plain};
use crate::site::tree::{Document, Report};

/// What the person says beside the text.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Addresses of lines by the name that the text gives them: `10.0.0.5:502` or `/dev/ttyUSB0`.
    pub lines: Vec<(String, String)>,
    /// What the devices measure; `io` when nobody says.
    pub class: Option<String>,
}

/// Documents that were made.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Paths inside the site's folder, and texts; none when nothing could be carried over.
    pub documents: Vec<(String, String)>,
    /// Things that were not carried over (errors), and things that a person should look at (warnings).
    pub remarks: Diagnostics,
    /// Devices and their points.
    pub devices: usize,
    /// All points of all devices.
    pub points: usize,
}

/// A table of points, or a Telegraf configuration: what the text looks like.
pub fn import(name: &str, text: String, wishes: &Wishes) -> Imported {
    let report = Report::default();
    let document = Document::new(name.to_owned(), text);
    let mut draft = Draft::default();
    if document.text.contains("[[inputs.modbus]]") {
        telegraf::read(&document, wishes, &mut draft, &report);
    } else {
        points::read(&document, wishes, &mut draft, &report);
    }
    if draft.devices.is_empty() && report.is_quiet() {
        let place = Place { file: name.to_owned(), ..Place::default() };
        let text = "neither a table of points nor a Telegraf configuration with [[inputs.modbus]]";
        report.error(&place, "not-carried", text, None);
    }
    let class = wishes.class.as_deref().filter(|class| CLASSES.contains(class)).unwrap_or("io");
    let documents = draft.documents(name, class);
    let points = draft.devices.iter().map(|device| device.points.len()).sum();
    Imported { documents, remarks: report.finish(), devices: draft.devices.len(), points }
}

/// Names of lines and devices of the document `before` that have another address in `after`: their history would go on with another device's.
pub fn readdressed(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (addresses(before), addresses(after));
    let changed = |(name, old): (String, String)| {
        let new = after.get(&name).filter(|new| **new != old)?;
        Some(format!("the {name} was at {old} and is now at {new}"))
    };
    before.into_iter().filter_map(changed).collect()
}

/// The address of each line and device of a document, by `line \`NAME\`` and `device \`NAME\``.
fn addresses(document: &str) -> BTreeMap<String, String> {
    let document: toml::Table = toml::from_str(document).unwrap_or_default();
    let all = |key: &str| document.get(key).and_then(toml::Value::as_array).into_iter().flatten();
    let name = |entry: &toml::Value, key: &str| Some(entry.get(key)?.as_str()?.to_owned());
    let port = |entry: &toml::Value| match entry.get("serial") {
        Some(serial) => name(serial, "path"),
        None => name(entry, "tcp"),
    };
    let ports: BTreeMap<String, String> =
        all("line").filter_map(|line| Some((name(line, "name")?, port(line)?))).collect();
    let device = |device: &toml::Value| {
        let (port, slave) = (ports.get(&name(device, "line")?)?, device.get("slave")?);
        Some((format!("device `{}`", name(device, "name")?), format!("{port} slave {slave}")))
    };
    let lines = ports.iter().map(|(name, port)| (format!("line `{name}`"), port.clone()));
    lines.chain(all("device").filter_map(device)).collect()
}

/// A site while it is carried over.
#[derive(Debug, Default)]
struct Draft {
    lines: Vec<LineDraft>,
    devices: Vec<DeviceDraft>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
struct LineDraft {
    name: String,
    /// Its name as it was.
    called: String,
    /// `tcp = "10.0.0.5:502"`.
    address: String,
    timeout: Option<String>,
}

/// A device with its own points.
#[derive(Clone, Debug)]
struct DeviceDraft {
    name: String,
    /// Its name as it was.
    called: String,
    line: String,
    slave: u8,
    every: String,
    tags: BTreeMap<String, String>,
    points: Vec<PointDraft>,
}

/// A point of a profile.
#[derive(Clone, Debug, PartialEq)]
struct PointDraft {
    name: String,
    at: At,
    kind: Kind,
    order: Option<String>,
    scale: Option<f64>,
    offset: Option<f64>,
    unit: Option<&'static str>,
    note: Option<String>,
}

impl DeviceDraft {
    /// Its points by place.
    fn sorted(&self) -> Vec<PointDraft> {
        let mut points = self.points.clone();
        points.sort_by(|one, other| {
            (one.at.table, one.at.address, &one.name).cmp(&(other.at.table, other.at.address, &other.name))
        });
        points
    }
}

impl Draft {
    /// The line with this address, which gets a free name near the wanted one, or goes by where it leads.
    fn line(&mut self, wanted: &str, place: &str, address: &str, timeout: Option<String>) -> String {
        if let Some(line) = self.lines.iter().find(|line| line.address == address) {
            return line.name.clone();
        }
        let taken = |name: &str| self.lines.iter().any(|line| line.name == name);
        let near = Some(plain(wanted, place)).filter(|near| !taken(near));
        let name = near.unwrap_or_else(|| free(place, taken));
        let called = wanted.to_owned();
        self.lines.push(LineDraft { name: name.clone(), called, address: address.to_owned(), timeout });
        name
    }

    /// One profile for all devices with the same points, called after the first of them by name: whatever the order of the rows.
    fn profiles(&self, stem: &str) -> Vec<(String, Vec<PointDraft>)> {
        let mut devices: Vec<&DeviceDraft> = self.devices.iter().collect();
        devices.sort_by(|one, other| one.name.cmp(&other.name));
        let mut profiles: Vec<(String, Vec<PointDraft>)> = Vec::new();
        for device in devices {
            let points = device.sorted();
            if !profiles.iter().any(|(_, known)| *known == points) {
                profiles.push((format!("{stem}-{}", device.name), points));
            }
        }
        profiles
    }

    fn documents(&self, source: &str, class: &str) -> Vec<(String, String)> {
        if self.devices.is_empty() {
            return Vec::new();
        }
        let file = source.rsplit(['/', '\\']).next().unwrap_or(source);
        let stem = &plain(file.split('.').next().unwrap_or(file), "imported");
        let profiles = self.profiles(stem);
        let mut site = format!("# Carried over from {}; compare it with the type plates.\n", one_line(file));
        let used = |line: &&LineDraft| self.devices.iter().any(|device| device.line == line.name);
        for line in self.lines.iter().filter(used) {
            let called = if line.called.is_ascii() {
                String::new()
            } else {
                format!("# {}\n", one_line(&line.called))
            };
            let _ = write!(site, "\n{called}[[line]]\nname = {}\n{}\n", text(&line.name), line.address);
            if let Some(timeout) = &line.timeout {
                let _ = writeln!(site, "timeout = {}", text(timeout));
            }
        }
        for device in &self.devices {
            let DeviceDraft { name, line, slave, every, tags, .. } = device;
            let points = device.sorted();
            let profile = profiles.iter().find(|(_, known)| *known == points).map_or("", |(name, _)| name);
            let _ = write!(
                site,
                "\n[[device]]\nname = {}\nline = {}\nslave = {slave}\nprofile = {}\nevery = {}\n",
                text(name),
                text(line),
                text(profile),
                text(every)
            );
            if !tags.is_empty() {
                let tags: Vec<String> =
                    tags.iter().map(|(key, value)| format!("{key} = {}", text(value))).collect();
                let _ = writeln!(site, "tags = {{ {} }}", tags.join(", "));
            }
        }
        let mut documents = vec![("site.toml".to_owned(), site)];
        for (name, points) in profiles {
            documents.push((format!("profiles/{name}.toml"), profile(&name, &points, file, class)));
        }
        documents
    }
}

/// A profile document.
fn profile(name: &str, points: &[PointDraft], source: &str, class: &str) -> String {
    let mut out = format!(
        "[profile]\nname = {}\nclass = {}\nmaker = \"unknown\"\nsource = {}\n",
        text(name),
        text(class),
        text(&format!("carried over from {}", one_line(source)))
    );
    for point in points {
        let word = match point.at.to_string().split_once(" (") {
            Some((wire, _)) => wire.to_owned(),
            None => point.at.to_string(),
        };
        let _ = write!(
            out,
            "\n[[point]]\nname = {}\nat = {}\ntype = {}\n",
            text(&point.name),
            text(&word),
            text(point.kind.name())
        );
        if let Kind::Bits { low, high } = point.kind {
            let _ = writeln!(out, "bits = [{low}, {high}]");
        }
        for (key, value) in
            [("order", &point.order), ("note", &point.note), ("unit", &point.unit.map(str::to_owned))]
        {
            if let Some(value) = value {
                let _ = writeln!(out, "{key} = {}", text(value));
            }
        }
        for (key, value) in [("scale", point.scale), ("offset", point.offset)] {
            if let Some(value) = value {
                let _ = writeln!(out, "{key} = {value:?}");
            }
        }
    }
    out
}

/// A text as TOML writes it.
fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Units as people write them who have never seen ours.
fn units(text: &str) -> &str {
    match text.trim() {
        "℃" | "°C" | "C" | "摄氏度" => "degC",
        "千帕" | "KPa" | "KPA" | "kpa" => "kPa",
        "兆帕" | "Mpa" | "MPA" => "MPa",
        "帕" | "pa" => "Pa",
        "毫米" | "MM" => "mm",
        "厘米" => "cm",
        "米" => "m",
        "伏" | "v" => "V",
        "安" | "a" => "A",
        "瓦" => "W",
        "千瓦" | "KW" | "kw" => "kW",
        "赫兹" | "hz" | "HZ" => "Hz",
        "％" | "百分比" => "%",
        other => other,
    }
}

/// Host and port, 502 when none is written.
fn endpoint(text: &str) -> Option<String> {
    let is_host = |host: &str| {
        host.contains('.')
            && host.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-".contains(letter))
    };
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "502"));
    let known = is_host(host) || host == "localhost";
    (known && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| format!("{host}:{port}"))
}
