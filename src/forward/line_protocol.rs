//! Writes readings and transitions as line protocol.
//!
//! In: commits with their catalog, transitions. Out: lines `measurement,tags fields time_ms`, each with its end.
//! Invariant: any name gives one well-formed line; the same record gives the same bytes, so that a repeat is harmless.
//! Source: InfluxDB line protocol v2; DESIGN section 9. Numbers for quality, reason and state, because VictoriaMetrics
//! reads text fields as 0.

use std::fmt::Write;

use crate::alarm::{Base, Kind, Severity};
use crate::clock::Timestamp;
use crate::forward::shape::{Template, of_device};
use crate::forward::sink::{Parcel, Told};
use crate::journal::Stored;
use crate::point::Catalog;
use crate::reading::{Doubt, Quality, Reading, Sample};

/// Lines and where each ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// All lines, each with its `\n`.
    pub text: String,
    /// For each line: one past its `\n`, and its time.
    pub ends: Vec<(usize, Timestamp)>,
    /// Readings that no line can be made of, because the catalog does not name their point.
    pub nameless: u64,
    /// What is written is not on disk.
    pub mark: bool,
    /// Tags of readings beside our own.
    pub tags: Vec<(String, Template)>,
}

impl Lines {
    /// The lines of a parcel of the gateway `site`.
    pub fn new(parcel: &Parcel, site: &str) -> Self {
        Self::tagged(parcel, site, &[])
    }

    /// The same; readings have these tags beside our own.
    pub fn tagged(parcel: &Parcel, site: &str, tags: &[(String, Template)]) -> Self {
        let mut lines = Self { tags: tags.to_vec(), ..Self::default() };
        match parcel {
            Parcel::Alarms(alarms) => alarms.iter().for_each(|told| lines.alarm(told, site)),
            Parcel::Readings { groups, .. } => groups.iter().for_each(|group| lines.group(group)),
            Parcel::Unjournaled { alarms, group } => {
                lines.mark = true;
                alarms.iter().for_each(|told| lines.alarm(told, site));
                lines.group(group);
            }
        }
        lines
    }

    /// The text of the lines `from..to`.
    pub fn slice(&self, from: usize, to: usize) -> &str {
        let start = from.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(end, _)| *end);
        let end = to.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |(end, _)| *end);
        self.text.get(start..end).unwrap_or_default()
    }

    fn end(&mut self, at: Timestamp) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, " {}", at.as_millis());
        self.ends.push((self.text.len(), at));
    }

    fn group(&mut self, group: &Stored) {
        for reading in group.batches.iter().flat_map(|batch| &batch.readings) {
            if self.reading(reading, &group.catalog).is_none() {
                self.nameless = self.nameless.saturating_add(1);
            }
        }
    }

    /// Appends the line of one reading; `None` when the catalog does not name its point.
    pub fn reading(&mut self, reading: &Reading, catalog: &Catalog) -> Option<()> {
        let point = catalog.point(reading.point)?;
        let device = catalog.device(point.device)?;
        measurement(&mut self.text, &device.class);
        // Sorted by key, which spares the server the sorting.
        tag(&mut self.text, "device", &device.name);
        tag(&mut self.text, "point", &point.short);
        tag(&mut self.text, "risk_point", device.risk_point.as_deref().unwrap_or_default());
        tag(&mut self.text, "site", &catalog.site);
        tag(&mut self.text, "unit", point.unit.map_or("", |unit| unit.name()));
        device.tags.iter().chain(&point.tags).for_each(|(key, value)| tag(&mut self.text, key, value));
        for (key, template) in &self.tags {
            if device.tags.contains_key(key) || point.tags.contains_key(key) {
                continue;
            }
            tag(&mut self.text, key, &template.fill(|field| of_device(field, catalog, Some(device))));
        }
        let quality = match reading.sample.quality() {
            Quality::Good => 0,
            Quality::Uncertain => 1,
            Quality::Bad => 2,
        };
        let _ = write!(self.text, " quality={quality}i");
        if let Some(reason) = reason(&reading.sample) {
            let _ = write!(self.text, ",reason={reason}i");
        }
        if self.mark {
            self.text.push_str(",unjournaled=1i");
        }
        field(&mut self.text, "value", reading.sample.value());
        self.end(reading.at);
        Some(())
    }

    fn alarm(&mut self, told: &Told, site: &str) {
        let alarm = &told.transition.alarm;
        self.text.push_str("alarm");
        tag(&mut self.text, "kind", kind(alarm.kind));
        tag(&mut self.text, "point", &alarm.point);
        tag(&mut self.text, "risk_point", alarm.risk_point.as_deref().unwrap_or_default());
        tag(&mut self.text, "rule", &alarm.rule);
        tag(&mut self.text, "site", site);
        tag(&mut self.text, "town", alarm.town.as_deref().unwrap_or_default());
        let state = state(alarm.state);
        let severity = if alarm.state == Base::Normal { 0 } else { grade(alarm.severity) };
        let present = if alarm.state == Base::Normal { 0 } else { grade(alarm.present()) };
        let _ = write!(self.text, " present={present}i,severity={severity}i,state={state}i");
        let hidden = alarm.overlay.suppresses(alarm.severity);
        let flags = [
            ("drill", alarm.marks.drill),
            ("out_of_service", alarm.overlay.permit.is_some()),
            ("shelved", alarm.overlay.shelf.is_some()),
            ("suppressed", hidden),
            // Always there, so that the repeat from the journal takes the mark away.
            ("unjournaled", self.mark),
            ("unverified", alarm.unverified),
        ];
        for (key, flag) in flags {
            let _ = write!(self.text, ",{key}={}i", u8::from(flag));
        }
        field(&mut self.text, "threshold", alarm.threshold);
        field(&mut self.text, "value", alarm.value);
        self.end(told.at);
    }
}

/// The number of a base state, in the order of its declaration.
pub const fn state(base: Base) -> u8 {
    match base {
        Base::Normal => 0,
        Base::ActiveUnacknowledged => 1,
        Base::ActiveAcknowledged => 2,
        Base::ReturnedUnacknowledged => 3,
        Base::LatchedUnacknowledged => 4,
        Base::LatchedAcknowledged => 5,
    }
}

/// 1 to 4.
const fn grade(severity: Severity) -> u8 {
    match severity {
        Severity::Blue => 1,
        Severity::Yellow => 2,
        Severity::Orange => 3,
        Severity::Red => 4,
    }
}

/// `process`, `sensor` or `system`.
pub const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Process => "process",
        Kind::Sensor => "sensor",
        Kind::System => "system",
    }
}

/// Doubts are 1 to 6, reasons as [`crate::reading::Reason::code`].
fn reason(sample: &Sample) -> Option<u16> {
    match sample {
        Sample::Good(_) => None,
        Sample::Uncertain(_, doubt) => {
            let place = Doubt::ALL.iter().position(|known| known == doubt)?;
            u16::try_from(place.saturating_add(1)).ok()
        }
        Sample::Bad(reason) => Some(reason.code()),
    }
}

fn field(text: &mut String, key: &str, value: Option<f64>) {
    if let Some(value) = value.filter(|value| value.is_finite()) {
        let _ = write!(text, ",{key}=");
        number(text, value);
    }
}

/// The shortest text that reads back as `value`; -0 is 0.
pub fn number(text: &mut String, value: f64) {
    let size = value.abs();
    let _ = if size == 0.0 {
        text.write_char('0')
    } else if (1e-5..1e16).contains(&size) {
        write!(text, "{value}")
    } else {
        write!(text, "{value:e}")
    };
}

fn measurement(text: &mut String, class: &str) {
    if class.is_empty() {
        text.push('_');
    }
    for letter in class.chars() {
        match letter {
            '-' => text.push('_'),
            ',' | ' ' => text.extend(['\\', letter]),
            _ => text.push(plain(letter)),
        }
    }
}

/// Writes `,key=value`; an empty value would not be a line.
fn tag(text: &mut String, key: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let _ = write!(text, ",{key}=");
    for letter in value.chars() {
        if matches!(letter, ',' | '=' | ' ') {
            text.push('\\');
        }
        text.push(plain(letter));
    }
}

/// Line breaks end a line whatever stands before them, and a backslash swallows what follows: neither can be escaped everywhere.
const fn plain(letter: char) -> char {
    if letter.is_ascii_control() || letter == '\\' { '_' } else { letter }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::alarm::{Alarm, Change, Transition};
    use crate::forward::sink::told;
    use crate::journal::Seq;
    use crate::point::{Device, DeviceId, Point, PointId};
    use crate::reading::{Batch, Reason};
    use crate::unit::Unit;

    fn catalog(device: &str, class: &str, short: &str) -> Arc<Catalog> {
        let risk_point = Some("500108-GA-0031-A".to_owned());
        let (id, town) = (DeviceId(0), Some("南坪街道".to_owned()));
        let device = Device {
            id,
            name: device.into(),
            line: None,
            class: class.into(),
            risk_point,
            town,
            tags: std::collections::BTreeMap::new(),
        };
        let point = Point {
            id: PointId(0),
            name: format!("{}.{short}", device.name),
            short: short.into(),
            device: device.id,
            unit: Unit::parse("kPa"),
            decimals: 2,
            states: Vec::new(),
            tags: std::collections::BTreeMap::new(),
        };
        let (devices, points) = (vec![device], vec![point]);
        Arc::new(Catalog { site: "nanan-01".into(), devices, points, ..Catalog::default() })
    }

    fn lines(catalog: &Arc<Catalog>, samples: &[Sample]) -> Lines {
        let at = Timestamp::from_millis(1_795_420_800_123);
        let readings = samples.iter().map(|sample| Reading { point: PointId(0), at, sample: sample.clone() });
        let batches = vec![Batch { device: DeviceId(0), start: at, end: at, readings: readings.collect() }];
        let group = Stored { seq: Seq(1), now: at, catalog: Arc::clone(catalog), batches };
        Lines::new(&Parcel::Readings { late: false, groups: vec![group] }, "nanan-01")
    }

    #[test]
    fn golden_readings() {
        let samples = [
            Sample::Good(2.63),
            Sample::Good(-0.0),
            Sample::Uncertain(3.1, Doubt::Spike),
            Sample::Bad(Reason::Timeout),
            Sample::Bad(Reason::Exception(2)),
        ];
        let lines = lines(&catalog("regulator-3", "gas-pressure", "pressure"), &samples);
        let head = "gas_pressure,device=regulator-3,point=pressure,risk_point=500108-GA-0031-A,site=nanan-01,unit=kPa";
        let expected = [
            "quality=0i,value=2.63",
            "quality=0i,value=0",
            "quality=1i,reason=5i,value=3.1",
            "quality=2i,reason=20i",
            "quality=2i,reason=102i",
        ];
        let expected: String =
            expected.iter().map(|fields| format!("{head} {fields} 1795420800123\n")).collect();
        assert_eq!(lines.text, expected);
        assert_eq!(lines.slice(1, 2), format!("{head} quality=0i,value=0 1795420800123\n"));
        assert_eq!(lines.slice(0, 5), lines.text);
    }

    #[test]
    fn golden_alarms_keep_transitions_of_one_millisecond_apart() {
        let at = Timestamp::from_millis(1_795_420_800_000);
        let alarm = |rule: &str, state| Alarm {
            id: "0123456789abcdef".into(),
            kind: Kind::Process,
            rule: rule.into(),
            rule_version: "1".into(),
            point: "regulator-3.pressure".into(),
            risk_point: None,
            town: Some("南坪 街道".into()),
            severity: Severity::Red,
            present: None,
            state,
            unverified: false,
            since: at,
            value: Some(3.31),
            threshold: Some(3.2),
            unit: Some("kPa".into()),
            advice: String::new(),
            acknowledged: None,
            overlay: Default::default(),
            guide: Default::default(),
            trend: None,
            marks: Default::default(),
        };
        let transition = |rule: &str, state, ms| Transition {
            alarm: alarm(rule, state),
            change: Change::Raised,
            at: at.shifted(ms),
            by: None,
            note: None,
        };
        let log = vec![
            (7, transition("high", Base::ActiveUnacknowledged, 0)),
            (8, transition("low", Base::ActiveUnacknowledged, 0)),
            (9, transition("high", Base::Normal, 0)),
            (10, transition("high", Base::ActiveUnacknowledged, 1)),
            (11, transition("high", Base::ActiveAcknowledged, -3_600_000)),
        ];
        let times: Vec<_> =
            told(log.clone()).iter().map(|told| told.at.as_millis() - at.as_millis()).collect();
        assert_eq!(times, [0, 0, 1, 2, -3_600_000]);
        let lines = Lines::new(&Parcel::Alarms(told(log)), "nanan-01");
        let first = "alarm,kind=process,point=regulator-3.pressure,rule=high,site=nanan-01,town=南坪\\ 街道 \
                     present=4i,severity=4i,state=1i,drill=0i,out_of_service=0i,shelved=0i,suppressed=0i,unjournaled=0i,unverified=0i,threshold=3.2,value=3.31 1795420800000\n";
        assert_eq!(lines.slice(0, 1), first);
        let third = "alarm,kind=process,point=regulator-3.pressure,rule=high,site=nanan-01,town=南坪\\ 街道 \
                     present=0i,severity=0i,state=0i,drill=0i,out_of_service=0i,shelved=0i,suppressed=0i,unjournaled=0i,unverified=0i,threshold=3.2,value=3.31 1795420800001\n";
        assert_eq!(lines.slice(2, 3), third);
    }

    #[test]
    fn a_reading_without_a_name_is_counted() {
        let nowhere = Arc::new(Catalog::default());
        let lines = lines(&nowhere, &[Sample::Good(1.0)]);
        assert_eq!((lines.nameless, lines.text.as_str()), (1, ""));
    }

    proptest! {
        #[test]
        fn numbers_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let mut text = String::new();
            number(&mut text, value);
            // Bit for bit, but for the sign of 0.
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), (value + 0.0).to_bits());
            prop_assert!(text.len() <= 25, "{}", text);
        }

        /// An independent reading of the line: unescaped spaces part it in three, and every tag comes back.
        #[test]
        fn any_name_gives_one_line(device in "\\PC{1,12}|[,= \\\\\n\"]{1,6}", class in "[a-z-]{1,9}|[, =\\\\\r\n]{1,4}") {
            let lines = lines(&catalog(&device, &class, "p"), &[Sample::Good(1.5)]);
            prop_assert_eq!(lines.text.matches('\n').count(), 1);
            let (mut parts, mut escaped) = (vec![String::new()], false);
            for letter in lines.text.trim_end_matches('\n').chars() {
                match letter {
                    '\\' if !escaped => escaped = true,
                    ' ' if !escaped => parts.push(String::new()),
                    // An unescaped comma parts the tags.
                    ',' if !escaped => parts.last_mut().unwrap().push('\0'),
                    _ => { escaped = false; parts.last_mut().unwrap().push(letter) }
                }
            }
            prop_assert_eq!(parts.len(), 3);
            let tags: Vec<_> = parts[0].split('\0').skip(1).collect();
            let plain: String = device.chars().map(plain).collect();
            prop_assert_eq!(tags[0], format!("device={plain}"));
            prop_assert_eq!(tags.len(), 5);
            prop_assert_eq!(&parts[1], "quality=0i\0value=1.5");
        }
    }
}
