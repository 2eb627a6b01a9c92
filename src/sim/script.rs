//! The script of a simulation, `story.toml`: how points move and what breaks when.
//!
//! In: the text of the script. Out: a [`Script`], or all that is wrong with it, each with its place.
//! Invariant: what parses is whole: each signal has one shape, each moment and span is readable; names are checked against
//! the site when the simulation starts.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::sim::mistake::{Mistake, Source, Wrong, told};
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
    /// As it was written, so that a name which the site does not have is told with its place.
    pub source: Source,
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
    /// What is wrong in it, all of it: no TOML, an unknown key, something impossible, a name that the site does not have.
    #[error("{}", told(.0))]
    Mistakes(Vec<Mistake>),
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
        let text = std::fs::read_to_string(path).map_err(fail)?;
        Self::of(Source { file: path.display().to_string(), text })
    }

    /// The script that `text` says.
    ///
    /// # Errors
    /// All that is wrong in it, each with its place.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        Self::of(Source { file: "story.toml".to_owned(), text: text.to_owned() })
    }

    fn of(source: Source) -> Result<Self, ScriptError> {
        let document: Document = toml::from_str(&source.text).map_err(|error| {
            let span = error.span().map_or((0, 0), |span| (span.start, span.end));
            let text = error.message().to_owned();
            ScriptError::Mistakes(vec![Mistake { place: source.place(span), text }])
        })?;
        let mut wrong = Vec::new();
        let signals = entries(&source, "signal", &document.signal, signal, &mut wrong);
        let faults = entries(&source, "fault", &document.fault, fault, &mut wrong);
        let firmware = entries(&source, "firmware", &document.firmware, firmware, &mut wrong);
        if wrong.is_empty() {
            Ok(Self { seed: document.seed, signals, faults, firmware, source })
        } else {
            wrong.sort_by(|one, other| one.place.cmp(&other.place));
            Err(ScriptError::Mistakes(wrong))
        }
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

/// What can be read of the entries; what can't is among the mistakes.
fn entries<E, T>(
    source: &Source,
    entry: &str,
    list: &[E],
    make: impl Fn(&E) -> Result<T, Wrong>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<T> {
    let mut found = Vec::new();
    for (each, number) in list.iter().zip(1..) {
        match make(each) {
            Ok(one) => found.push(one),
            Err(wrong) => mistakes.push(source.mistake(entry, number, wrong)),
        }
    }
    found
}

fn firmware(entry: &FirmwareEntry) -> Result<(String, Duration, String), Wrong> {
    let at = entry.at.as_deref().map_or(Ok(Duration::ZERO), |at| span("at", at))?;
    Ok((entry.device.clone(), at, entry.version.clone()))
}

fn signal(entry: &SignalEntry) -> Result<Scripted, Wrong> {
    if !entry.point.contains('.') {
        return Err(("point", format!("point {} is not device.point", entry.point)));
    }
    let unit = match &entry.unit {
        Some(name) => {
            let wrong = || ("unit", format!("there is no unit {name}; docs/reference/units.md lists them"));
            Some(Unit::spelled(name).ok_or_else(wrong)?)
        }
        None => None,
    };
    let mut shapes = shapes(entry)?;
    let (Some(shape), None) = (shapes.pop(), shapes.pop()) else {
        return Err(("", "needs one of constant, line, steps, ramp, sine, accelerate".to_owned()));
    };
    if !entry.noise.is_finite() || entry.noise < 0.0 {
        return Err(("noise", format!("noise {} is not a number from 0 up", entry.noise)));
    }
    Ok(Scripted { point: entry.point.clone(), unit, shape, noise: entry.noise })
}

fn shapes(entry: &SignalEntry) -> Result<Vec<Shape>, Wrong> {
    let mut shapes = Vec::new();
    if let Some(number) = entry.constant {
        shapes.push(Shape::Constant(number));
    }
    if let Some(list) = &entry.line {
        shapes.push(Shape::Line(frames("line", list)?));
    }
    if let Some(list) = &entry.steps {
        shapes.push(Shape::Steps(frames("steps", list)?));
    }
    if let Some(ramp) = &entry.ramp {
        let (start, end) = (span("ramp", &ramp.start)?, span("ramp", &ramp.end)?);
        shapes.push(Shape::Line(ordered("ramp", vec![(start, ramp.from), (end, ramp.to)])?));
    }
    if let Some(Sine { mean, amplitude, period }) = &entry.sine {
        let period = span("sine", period)?;
        shapes.push(Shape::Sine { mean: *mean, amplitude: *amplitude, period });
    }
    if let Some(slide) = &entry.accelerate {
        let (from, by) = (slide.from, slide.by);
        let time = |text| span("accelerate", text);
        let (start, doubling, end) = (time(&slide.start)?, time(&slide.doubling)?, time(&slide.end)?);
        shapes.push(Shape::Accelerate { from, by, start, doubling, end });
    }
    Ok(shapes)
}

fn frames(key: &'static str, list: &[(String, f64)]) -> Result<Vec<(Duration, f64)>, Wrong> {
    let frame = |(at, number): &(String, f64)| Ok((span(key, at)?, *number));
    ordered(key, list.iter().map(frame).collect::<Result<_, Wrong>>()?)
}

fn ordered(key: &'static str, frames: Vec<(Duration, f64)>) -> Result<Vec<(Duration, f64)>, Wrong> {
    if frames.is_empty() {
        return Err((key, "has no moments; write [[\"0s\", 1], [\"9s\", 4]]".to_owned()));
    }
    if !frames.is_sorted_by(|(earlier, _), (later, _)| earlier < later) {
        return Err((key, "its moments must rise".to_owned()));
    }
    Ok(frames)
}

fn fault(entry: &FaultEntry) -> Result<Fault, Wrong> {
    let at = span("at", &entry.at)?;
    let until = at.saturating_add(span("for", &entry.span)?);
    let (device, trouble) = match (&entry.device, &entry.point) {
        (Some(device), None) => (device.clone(), device_trouble(entry)?),
        (None, Some(point)) => sensor_trouble(entry, point)?,
        _ => return Err(("point", "needs either device or point".to_owned())),
    };
    Ok(Fault { device, trouble, at, until })
}

fn sensor_trouble(entry: &FaultEntry, point: &str) -> Result<(String, Trouble), Wrong> {
    let wrong = || ("point", format!("point {point} is not device.point"));
    let (device, field) = point.split_once('.').ok_or_else(wrong)?;
    match (&entry.means, entry.kind.as_str()) {
        (Some(means), "sensor") => {
            Ok((device.to_owned(), Trouble::Sensor { field: field.to_owned(), means: means.clone() }))
        }
        _ => Err(("kind", "a point's fault has kind = \"sensor\" and means = \"...\"".to_owned())),
    }
}

fn device_trouble(entry: &FaultEntry) -> Result<Trouble, Wrong> {
    let wants = |key: &'static str, what: &str| (key, format!("kind {} needs {key}{what}", entry.kind));
    match entry.kind.as_str() {
        "dead" => Ok(Trouble::Dead),
        "echo" => Ok(Trouble::Echo),
        "exception" => entry.code.map(Trouble::Exception).ok_or_else(|| wants("code", ", such as 2")),
        "delay" => {
            let by = entry.by.as_ref().ok_or_else(|| wants("by", ", such as \"400ms\""))?;
            span("by", by).map(Trouble::Delay)
        }
        "cut" => {
            entry.bytes.map(Trouble::Cut).ok_or_else(|| wants("bytes", ", after so many an answer ends"))
        }
        "flip" => match entry.share {
            Some(share) if (0.0..=1.0).contains(&share) => Ok(Trouble::Flip(share)),
            _ => Err(wants("share", " from 0 to 1")),
        },
        "babble" => {
            let every = entry.every.as_ref().ok_or_else(|| wants("every", " of 10ms or more"))?;
            match span("every", every)? {
                every if every >= BABBLE_MIN => Ok(Trouble::Babble(every)),
                _ => Err(wants("every", " of 10ms or more")),
            }
        }
        "sensor" => Err((
            "kind",
            "kind sensor is of a point: write point = \"DEVICE.POINT\" instead of device".to_owned(),
        )),
        other => {
            let text =
                format!("kind {other} is not one of dead, exception, delay, cut, flip, babble, echo, sensor");
            Err(("kind", text))
        }
    }
}

/// Denser babble would leave the simulation no time for anything else.
const BABBLE_MIN: Duration = Duration::from_millis(10);

/// `250ms`, `8s`, `1.5m`, `2h`, `1d`.
fn span(key: &'static str, text: &str) -> Result<Duration, Wrong> {
    let parsed = || {
        let digits = text.find(|letter: char| letter.is_ascii_alphabetic())?;
        let (number, unit) = text.split_at_checked(digits)?;
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        let number: f64 = number.trim().parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    };
    parsed().ok_or_else(|| (key, format!("{text} is not a time such as 250ms, 8s, 1.5m, 2h or 1d")))
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
            (signal("constant = 1\nunit = \"furlong\""), "signal 1: there is no unit furlong"),
            (signal("constant = 1\nnoise = -1"), "signal 1: noise -1 is not"),
            (signal("konstant = 1"), "story.toml:3:1: unknown field `konstant`, expected one of"),
            (fault("device = \"a\"\nkind = \"died\""), "fault 1: kind died is not one of dead"),
            (fault("device = \"a\"\nkind = \"exception\""), "fault 1: kind exception needs code"),
            (fault("device = \"a\"\nkind = \"flip\"\nshare = 2"), "fault 1: kind flip needs share"),
            (fault("device = \"a\"\nkind = \"babble\"\nevery = \"1ms\""), "fault 1: kind babble needs every"),
            (fault("kind = \"dead\""), "fault 1: needs either device or point"),
            (fault("point = \"a.b\"\nkind = \"dead\""), "fault 1: a point's fault has kind"),
        ] {
            let error = Script::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}\n{error}");
            assert!(error.starts_with("story.toml:") && !error.contains('\n'), "{text}\n{error}");
        }
        let two = signal("noise = 1\nconstant = 1\nunit = \"furlong\"")
            + "\n"
            + &fault("device = \"a\"\nkind = \"died\"");
        let error = Script::parse(&two).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        let [head, unit, kind] = lines.as_slice() else { panic!("{error}") };
        assert_eq!(*head, "the story has 2 mistakes:");
        assert!(unit.starts_with("story.toml:5:1: signal 1: there is no unit furlong"), "{error}");
        assert!(kind.starts_with("story.toml:10:1: fault 1: kind died is not one of dead"), "{error}");
    }
}
