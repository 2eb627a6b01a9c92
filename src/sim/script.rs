//! The script of a simulation, `story.toml`: how points move and what breaks when.
//!
//! In: the text of the script. Out: a [`Script`], or why it is none, naming the entry.
//! Invariant: what parses is whole: each signal has one shape, each moment and span is readable; names are checked against
//! the site when the simulation starts.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::sim::signal::Shape;
use crate::unit::Unit;

/// How points move and what breaks when, times counted from the start of the simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// Makes noise, flips and babble repeatable.
    pub seed: u64,
    /// Points that move; all others stand still.
    pub signals: Vec<Scripted>,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// Which firmware devices have, and when they are exchanged: device, from when on, version.
    pub firmware: Vec<(String, Duration, String)>,
}

/// One moving point.
#[derive(Clone, Debug, PartialEq)]
pub struct Scripted {
    /// `device.field`; hidden fields can be named too.
    pub point: String,
    /// Unit of the shape's numbers; `None`: the raw unit of the profile.
    pub unit: Option<Unit>,
    /// How it moves.
    pub shape: Shape,
    /// Half the width of the noise, in the same unit.
    pub noise: f64,
}

/// One thing that breaks for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Whose.
    pub device: String,
    /// What breaks.
    pub trouble: Trouble,
    /// When it breaks.
    pub at: Duration,
    /// When it works again.
    pub until: Duration,
}

/// What can break.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The sensor itself reports this fault (a name of the profile's `means`) for this field.
    Sensor {
        /// Field of the profile.
        field: String,
        /// Name of the fault.
        means: String,
    },
    /// No answer at all.
    Dead,
    /// Every request is refused with this code.
    Exception(u8),
    /// Answers come this much later.
    Delay(Duration),
    /// Answers stop after this many bytes.
    Cut(usize),
    /// Each byte of an answer has one bit turned with this probability.
    Flip(f64),
    /// Sends bytes nobody asked for, about this far apart.
    Babble(Duration),
    /// What the master sends comes back to it, as from a two-wire adapter.
    Echo,
}

/// Why a script cannot be used.
#[derive(Debug, Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key or a wrong type.
    #[error("the script does not parse")]
    Parse(#[from] toml::de::Error),
    /// An entry that says something impossible.
    #[error("{entry} {number}: {why}")]
    Entry {
        /// `signal`, `fault` or `firmware`.
        entry: &'static str,
        /// Which one, from 1.
        number: usize,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// A name that the site does not have.
    #[error("{entry} {name} is not in the site{}", nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// `point`, `device`, `line` or `fault`.
        entry: &'static str,
        /// The name in the script.
        name: String,
        /// The nearest name of the site.
        nearest: Option<String>,
    },
}

/// A script longer than this is no script.
const BYTES_MAX: u64 = 1 << 20;

impl Script {
    /// Reads a script file.
    ///
    /// # Errors
    /// The file cannot be read, or [`Script::parse`] refuses it.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let fail = |source| ScriptError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(fail)?.len() > BYTES_MAX {
            return Err(fail(std::io::Error::other("longer than 1 MiB")));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(fail)?)
    }

    /// The script that `text` says.
    ///
    /// # Errors
    /// Not TOML, unknown keys, or an entry that says something impossible (named by its number).
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let document: Document = toml::from_str(text)?;
        let signals = entries("signal", &document.signal, signal)?;
        let faults = entries("fault", &document.fault, fault)?;
        let version = |entry: &FirmwareEntry| {
            Ok((
                entry.device.clone(),
                entry.at.as_deref().map_or(Ok(Duration::ZERO), span)?,
                entry.version.clone(),
            ))
        };
        let firmware = entries("firmware", &document.firmware, version)?;
        Ok(Self { seed: document.seed, signals, faults, firmware })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    signal: Vec<SignalEntry>,
    #[serde(default)]
    fault: Vec<FaultEntry>,
    #[serde(default)]
    firmware: Vec<FirmwareEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirmwareEntry {
    device: String,
    at: Option<String>,
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalEntry {
    point: String,
    unit: Option<String>,
    constant: Option<f64>,
    line: Option<Vec<(String, f64)>>,
    steps: Option<Vec<(String, f64)>>,
    ramp: Option<Ramp>,
    sine: Option<Sine>,
    accelerate: Option<Accelerate>,
    #[serde(default)]
    noise: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ramp {
    from: f64,
    to: f64,
    start: String,
    end: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sine {
    mean: f64,
    amplitude: f64,
    period: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accelerate {
    from: f64,
    by: f64,
    start: String,
    doubling: String,
    end: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultEntry {
    device: Option<String>,
    point: Option<String>,
    kind: String,
    at: String,
    #[serde(rename = "for")]
    span: String,
    means: Option<String>,
    code: Option<u8>,
    by: Option<String>,
    bytes: Option<usize>,
    share: Option<f64>,
    every: Option<String>,
}

fn entries<E, T>(
    entry: &'static str,
    list: &[E],
    make: impl Fn(&E) -> Result<T, String>,
) -> Result<Vec<T>, ScriptError> {
    let numbered = list.iter().zip(1..);
    numbered
        .map(|(each, number)| make(each).map_err(|why| ScriptError::Entry { entry, number, why }))
        .collect()
}

fn signal(entry: &SignalEntry) -> Result<Scripted, String> {
    if !entry.point.contains('.') {
        return Err(format!("point {} is not device.point", entry.point));
    }
    let unit = match &entry.unit {
        Some(name) => Some(Unit::parse(name).ok_or_else(|| format!("unit {name} is not known"))?),
        None => None,
    };
    let mut shapes = shapes(entry)?;
    let (Some(shape), None) = (shapes.pop(), shapes.pop()) else {
        return Err("needs one of constant, line, steps, ramp, sine, accelerate".to_owned());
    };
    if !entry.noise.is_finite() || entry.noise < 0.0 {
        return Err(format!("noise {} is not a number from 0 up", entry.noise));
    }
    Ok(Scripted { point: entry.point.clone(), unit, shape, noise: entry.noise })
}

fn shapes(entry: &SignalEntry) -> Result<Vec<Shape>, String> {
    let mut shapes = Vec::new();
    if let Some(number) = entry.constant {
        shapes.push(Shape::Constant(number));
    }
    if let Some(list) = &entry.line {
        shapes.push(Shape::Line(frames(list)?));
    }
    if let Some(list) = &entry.steps {
        shapes.push(Shape::Steps(frames(list)?));
    }
    if let Some(ramp) = &entry.ramp {
        let (start, end) = (span(&ramp.start)?, span(&ramp.end)?);
        shapes.push(Shape::Line(ordered(vec![(start, ramp.from), (end, ramp.to)])?));
    }
    if let Some(Sine { mean, amplitude, period }) = &entry.sine {
        shapes.push(Shape::Sine { mean: *mean, amplitude: *amplitude, period: span(period)? });
    }
    if let Some(slide) = &entry.accelerate {
        let (from, by) = (slide.from, slide.by);
        let (start, doubling, end) = (span(&slide.start)?, span(&slide.doubling)?, span(&slide.end)?);
        shapes.push(Shape::Accelerate { from, by, start, doubling, end });
    }
    Ok(shapes)
}

fn frames(list: &[(String, f64)]) -> Result<Vec<(Duration, f64)>, String> {
    ordered(list.iter().map(|(at, number)| Ok((span(at)?, *number))).collect::<Result<_, String>>()?)
}

fn ordered(frames: Vec<(Duration, f64)>) -> Result<Vec<(Duration, f64)>, String> {
    if frames.is_empty() {
        return Err("has no moments".to_owned());
    }
    if !frames.is_sorted_by(|(earlier, _), (later, _)| earlier < later) {
        return Err("its moments must rise".to_owned());
    }
    Ok(frames)
}

fn fault(entry: &FaultEntry) -> Result<Fault, String> {
    let at = span(&entry.at)?;
    let until = at.saturating_add(span(&entry.span)?);
    let (device, trouble) = match (&entry.device, &entry.point) {
        (Some(device), None) => (device.clone(), device_trouble(entry)?),
        (None, Some(point)) => sensor_trouble(entry, point)?,
        _ => return Err("needs either device or point".to_owned()),
    };
    Ok(Fault { device, trouble, at, until })
}

fn sensor_trouble(entry: &FaultEntry, point: &str) -> Result<(String, Trouble), String> {
    let (device, field) =
        point.split_once('.').ok_or_else(|| format!("point {point} is not device.point"))?;
    match (&entry.means, entry.kind.as_str()) {
        (Some(means), "sensor") => {
            Ok((device.to_owned(), Trouble::Sensor { field: field.to_owned(), means: means.clone() }))
        }
        _ => Err("a point's fault has kind = \"sensor\" and means = \"...\"".to_owned()),
    }
}

fn device_trouble(entry: &FaultEntry) -> Result<Trouble, String> {
    let wants = |key: &str| format!("kind {} needs {key}", entry.kind);
    match entry.kind.as_str() {
        "dead" => Ok(Trouble::Dead),
        "echo" => Ok(Trouble::Echo),
        "exception" => entry.code.map(Trouble::Exception).ok_or_else(|| wants("code")),
        "delay" => span(entry.by.as_ref().ok_or_else(|| wants("by"))?).map(Trouble::Delay),
        "cut" => entry.bytes.map(Trouble::Cut).ok_or_else(|| wants("bytes")),
        "flip" => match entry.share {
            Some(share) if (0.0..=1.0).contains(&share) => Ok(Trouble::Flip(share)),
            _ => Err(wants("share from 0 to 1")),
        },
        "babble" => match span(entry.every.as_ref().ok_or_else(|| wants("every"))?)? {
            every if every >= BABBLE_MIN => Ok(Trouble::Babble(every)),
            _ => Err(wants("every of 10ms or more")),
        },
        other => {
            Err(format!("kind {other} is not one of dead, exception, delay, cut, flip, babble, echo, sensor"))
        }
    }
}

/// Denser babble would leave the simulation no time for anything else.
const BABBLE_MIN: Duration = Duration::from_millis(10);

/// `250ms`, `8s`, `1.5m`, `2h`, `1d`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is not a time such as 250ms, 8s, 1.5m, 2h or 1d");
    let digits = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_shapes_and_faults() {
        let script = Script::parse(
            r#"
            seed = 3
            [[signal]]
            point = "underpass-1.level"
            line = [["0s", 2.0], ["1.5m", 30]]
            noise = 0.1
            [[signal]]
            point = "slope-1.crack"
            accelerate = { from = 12.0, by = 0.5, start = "10s", doubling = "6s", end = "45s" }
            [[fault]]
            device = "gauge-1"
            kind = "dead"
            at = "30s"
            for = "15s"
            [[fault]]
            point = "regulator-3.p1"
            kind = "sensor"
            means = "overflow"
            at = "250ms"
            for = "1h"
            "#,
        )
        .unwrap();
        assert_eq!(script.seed, 3);
        let rise = vec![(Duration::ZERO, 2.0), (Duration::from_secs(90), 30.0)];
        assert_eq!(script.signals[0].shape, Shape::Line(rise));
        assert_eq!(script.faults[0].until, Duration::from_secs(45));
        let means = Trouble::Sensor { field: "p1".to_owned(), means: "overflow".to_owned() };
        assert_eq!((script.faults[1].device.as_str(), &script.faults[1].trouble), ("regulator-3", &means));
    }

    #[test]
    fn mistakes_are_named() {
        let signal = |body: &str| format!("[[signal]]\npoint = \"a.b\"\n{body}");
        let fault = |body: &str| format!("[[fault]]\nat = \"1s\"\nfor = \"1s\"\n{body}");
        for (text, expected) in [
            (signal(""), "signal 1: needs one of constant"),
            (signal("constant = 1\nsteps = [[\"0s\", 1]]"), "signal 1: needs one of constant"),
            (signal("line = [[\"8\", 1]]"), "signal 1: 8 is not a time"),
            (signal("line = [[\"-8s\", 1]]"), "signal 1: -8s is not a time"),
            (signal("steps = [[\"2s\", 1], [\"1s\", 2]]"), "signal 1: its moments must rise"),
            (signal("constant = 1\nunit = \"furlong\""), "signal 1: unit furlong is not known"),
            (signal("constant = 1\nnoise = -1"), "signal 1: noise -1 is not"),
            (signal("konstant = 1"), "does not parse"),
            (fault("device = \"a\"\nkind = \"died\""), "fault 1: kind died is not one of dead"),
            (fault("device = \"a\"\nkind = \"exception\""), "fault 1: kind exception needs code"),
            (fault("device = \"a\"\nkind = \"flip\"\nshare = 2"), "fault 1: kind flip needs share"),
            (fault("device = \"a\"\nkind = \"babble\"\nevery = \"1ms\""), "fault 1: kind babble needs every"),
            (fault("kind = \"dead\""), "fault 1: needs either device or point"),
            (fault("point = \"a.b\"\nkind = \"dead\""), "fault 1: a point's fault has kind"),
        ] {
            let error = Script::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}\n{error}");
        }
    }
}
