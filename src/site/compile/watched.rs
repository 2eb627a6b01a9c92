//! What watches the risk points: the sensors bound to them, and a device of class `coverage` for each with its rungs.
//!
//! In: risk points and devices. Out: [`Sensor`]s; points `rung`, `blind`, `colour`, `unverified`, `trouble` and one for each sensor; a rule for each point that goes blind.
//! Invariant: a risk point never goes unmonitored in silence.

use std::collections::HashMap;
use std::time::Duration;

use crate::alarm::{Condition, Direction, Kind, Level, Severity};
use crate::bus::Address;
use crate::point::PointId;
use crate::risk::coverage::{ALSO, CLASS, NEED, Rung, SENSOR};
use crate::risk::{Need, RiskPoint, Sensor};
use crate::site::compile::Build;
use crate::site::compile::implicit::implicit_rule;
use crate::site::section::kebab;

/// Readings of rungs come each minute; a gap longer than this starts the deadline of a blind point anew.
const GAP_MAX: Duration = Duration::from_secs(300);

/// Name of the device that carries a risk point's rungs. A code without a plain letter goes by its place in the list.
pub(crate) fn carrier(point: &RiskPoint, number: usize) -> String {
    let plain = kebab(&point.code);
    let plain = plain.trim_matches('-');
    if plain.is_empty() { format!("coverage-{}", number + 1) } else { format!("coverage-{plain}") }
}

impl Build<'_> {
    /// The sensors of all risk points, one for each binding.
    pub(crate) fn sensors(&self) -> Vec<Sensor> {
        let each = |draft: &crate::site::devices::DeviceDraft| {
            let line = self.lines.get(draft.line);
            let has_session = line.is_some_and(|line| matches!(line.settings.address, Address::DialIn(_)));
            let sensor = Sensor {
                name: draft.name.clone(),
                role: draft.profile.class.clone(),
                code: String::new(),
                span: draft.binding.span,
                every: draft.every,
                stale_after: draft.stale_after,
                calibration_due: draft.calibration_due,
                has_session,
            };
            let codes: Vec<String> = draft.binding.codes.iter().map(|(code, _)| code.clone()).collect();
            codes.into_iter().map(move |code| Sensor { code, ..sensor.clone() })
        };
        self.drafts.iter().flat_map(each).collect()
    }

    fn tag(&mut self, id: PointId, tags: [(&str, Option<String>); 2]) {
        let Some(point) = self.catalog.points.get_mut(id.0 as usize) else { return };
        point.tags = tags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    }

    /// The devices that carry rungs, and the rules of points that go blind.
    pub(crate) fn watch_risk_points(&mut self) {
        let sensors = self.sensors();
        let mut of_point: HashMap<&str, Vec<&Sensor>> = HashMap::new();
        for sensor in &sensors {
            of_point.entry(&sensor.code).or_default().push(sensor);
        }
        for (number, point) in self.risk_points.clone().iter().enumerate() {
            let name = carrier(point, number);
            let device = self.device(&name, CLASS, None, Some(&point.code));
            if let Some(device) = self.catalog.devices.last_mut() {
                let tags = [
                    ("class", &point.class),
                    ("grade", &point.grade.to_string()),
                    ("supervisor", &point.supervisor),
                    ("town", &point.town),
                ];
                device.tags = tags.map(|(key, value)| (key.to_owned(), value.clone())).into();
            }
            let rungs: Vec<(i64, String)> = std::iter::once((0, "none".to_owned()))
                .chain(Rung::ALL.map(|rung| (i64::from(Rung::number(Some(rung))), rung.name().to_owned())))
                .collect();
            self.point(device, &name, "rung", None, 0, rungs.clone());
            let states = vec![(0, "watched".to_owned()), (1, "blind".to_owned())];
            let blind = self.point(device, &name, "blind", None, 0, states);
            let colours =
                Severity::ALL.map(|severity| (i64::from(severity.ordinal()), severity.colour().1.to_owned()));
            let colours = std::iter::once((0, "none".to_owned())).chain(colours).collect();
            self.point(device, &name, "colour", None, 0, colours);
            let states = vec![(0, "verified".to_owned()), (1, "unverified".to_owned())];
            self.point(device, &name, "unverified", None, 0, states);
            self.point(device, &name, "trouble", None, 0, Vec::new());
            for sensor in of_point.get(point.code.as_str()).into_iter().flatten() {
                let told =
                    self.point(device, &name, &format!("{SENSOR}{}", sensor.name), None, 0, rungs.clone());
                let takes = |(_, need): &(usize, &Need)| need.takes(&sensor.role);
                let mut needs =
                    point.needs.iter().enumerate().filter(takes).map(|(need, _)| need.to_string());
                self.tag(told, [("sensor", Some(sensor.name.clone())), ("need", needs.next())]);
                // A series has one need: a sensor that serves several is counted for each.
                for need in needs {
                    let also = format!("{ALSO}{need}-{}", sensor.name);
                    let told = self.point(device, &name, &also, None, 0, rungs.clone());
                    self.tag(told, [("sensor", Some(sensor.name.clone())), ("need", Some(need))]);
                }
            }
            for (number, need) in point.needs.iter().enumerate() {
                let told = self.point(device, &name, &format!("{NEED}{number}"), None, 0, Vec::new());
                self.tag(told, [("role", Some(need.role.clone())), ("need", Some(number.to_string()))]);
            }
            let severity = if point.grade >= 3 { Severity::Orange } else { Severity::Yellow };
            let on_delay = point.blind_after;
            let levels = vec![Level { severity, threshold: 1.0, on_delay, off_delay: Duration::ZERO }];
            let condition =
                Condition::Threshold { direction: Direction::Above, levels, deadband: 0.5, max_gap: GAP_MAX };
            let advice = "该点无有效监测：派人现场值守，检修传感器 nothing valid comes from this point: send somebody, mend the sensor";
            let rule = implicit_rule(format!("{name}-blind"), blind, Kind::Sensor, condition, advice);
            self.rules.push(rule);
        }
    }
}
