//! Numbers for names: lines, devices and points, in the order of the documents.
//!
//! In: the drafts that were read. Out: the catalog's entries, the devices' settings, what rules may know of each point.
//! Invariant: a number is the place in the catalog; a derived point comes after all that it can name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::point::{Device, DeviceId, Line, LineId, Point, PointId};
use crate::site::compile::{Build, Names};
use crate::site::rules::Known;
use crate::site::section::Section;
use crate::site::{DeviceSpec, derived};

impl Build<'_> {
    pub(crate) fn number_lines_and_devices(&mut self) {
        for (index, line) in (0..).zip(&self.lines) {
            self.catalog.lines.push(Line { id: LineId(index), name: line.settings.name.clone() });
        }
        let drafts = std::mem::take(&mut self.drafts);
        for draft in &drafts {
            let line = u32::try_from(draft.line).ok().map(LineId);
            let own = draft.binding.codes.first().map(|(code, _)| code);
            let device = self.device(&draft.name, &draft.profile.class, line, own);
            self.tag_device(&draft.tags);
            let mut points = Vec::new();
            for field in &draft.profile.fields {
                let unit = field.unit.map(|unit| unit.canonical_for(&draft.profile.class));
                points.push((!field.hidden).then(|| {
                    let id = self.point(
                        device,
                        &draft.name,
                        &field.name,
                        unit,
                        field.digits(unit),
                        field.states.clone(),
                    );
                    let to = field.unit.zip(unit).and_then(|(from, to)| from.to(to)).unwrap_or((1.0, 0.0));
                    let range = field.range.map(|(low, high)| (low * to.0 + to.1, high * to.0 + to.1));
                    self.know(id, (draft.every, field.unit), range, draft.datum.clone());
                    id
                }));
            }
            self.devices.push(DeviceSpec {
                id: device,
                slave: draft.slave,
                profile: Arc::clone(&draft.profile),
                points,
                every: draft.every,
                every_in_alarm: draft.every_in_alarm,
                timeout: draft.timeout,
                calibration_due: draft.calibration_due,
                firmware: draft.firmware.clone(),
                triggers: draft.triggers.clone(),
                withheld: draft.withheld.clone(),
            });
        }
        self.drafts = drafts;
    }

    pub(crate) fn device(
        &mut self,
        name: &str,
        class: &str,
        line: Option<LineId>,
        risk_point: Option<&String>,
    ) -> DeviceId {
        let id = DeviceId(u32::try_from(self.catalog.devices.len()).unwrap_or(u32::MAX));
        let town = risk_point
            .and_then(|code| self.risk_points.get(*self.risk_numbers.get(code)?))
            .map(|point| point.town.clone());
        let (name, class) = (name.to_owned(), class.to_owned());
        self.catalog.devices.push(Device {
            id,
            name,
            line,
            class,
            risk_point: risk_point.cloned(),
            town,
            tags: std::collections::BTreeMap::new(),
        });
        id
    }

    /// The tags of the device that was made last.
    pub(crate) fn tag_device(&mut self, tags: &BTreeMap<String, String>) {
        if let Some(device) = self.catalog.devices.last_mut() {
            device.tags.clone_from(tags);
        }
    }

    pub(crate) fn point(
        &mut self,
        device: DeviceId,
        device_name: &str,
        short: &str,
        unit: Option<crate::unit::Unit>,
        decimals: u8,
        states: Vec<(i64, String)>,
    ) -> PointId {
        let id = PointId(u32::try_from(self.catalog.points.len()).unwrap_or(u32::MAX));
        let name = format!("{device_name}.{short}");
        self.catalog.points.push(Point {
            id,
            name,
            short: short.to_owned(),
            device,
            unit,
            decimals,
            states,
            tags: std::collections::BTreeMap::new(),
        });
        id
    }

    pub(crate) fn know(
        &mut self,
        id: PointId,
        (every, written): (Duration, Option<crate::unit::Unit>),
        range: Option<(f64, f64)>,
        datum: Option<String>,
    ) {
        let Some(point) = self.catalog.point(id) else { return };
        let datum = datum.filter(|_| point.unit.is_some_and(|unit| unit.quantity() == "length"));
        let (name, unit, states) = (point.name.clone(), point.unit, point.states.clone());
        let class = self.catalog.device(point.device).map(|device| device.class.clone()).unwrap_or_default();
        self.known.push(Known { id, name, unit, written, every, range, datum, states, class });
    }

    pub(crate) fn derived(&mut self, section: &Section<'_>, names: &mut Names) {
        let devices = &self.catalog.devices;
        let class_of = |name: &str| {
            let device =
                name.split('.').next().and_then(|name| devices.iter().find(|device| device.name == name));
            device.map_or_else(|| "derived".to_owned(), |device| device.class.clone())
        };
        let Some(mut draft) = derived::derived(section, self.points(), class_of) else {
            self.broken.extend(section.text("name"));
            return;
        };
        let class = class_of(&draft.name);
        let place = section.place("name");
        if self.known.iter().any(|point| point.name == draft.name) {
            let text = format!("the point `{}` stands twice", draft.name);
            self.report.error(&place, "duplicate-name", text, None);
        }
        let Some((device_name, short)) = draft.name.split_once('.') else { return };
        let known =
            self.catalog.devices.iter().find(|device| device.name == device_name).map(|device| device.id);
        let device = known.unwrap_or_else(|| {
            names.take("device", device_name, &place, self.report);
            self.device(device_name, "derived", None, None)
        });
        let unit = draft.unit.map(|unit| unit.canonical_for(&class));
        let id = self.point(device, device_name, short, unit, draft.decimals, draft.states);
        draft.settings.point = id;
        self.know(id, (draft.every, draft.unit), None, draft.datum);
        self.derived.push(draft.settings);
    }
}
