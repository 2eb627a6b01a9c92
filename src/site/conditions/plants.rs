//! Questions of several inputs: a section under test, a regulator, a lift.
//!
//! In: the keys of a section. Out: a measure with its levels. Invariant: each input is of the quantity that the method needs.

use crate::alarm::condition::lift::CONTACTS;
use crate::alarm::condition::measure::{Measure, Measured};
use crate::alarm::condition::pressure::lock_up_pressure;
use crate::alarm::{Direction, Kind};
use crate::site::conditions::{Asked, Common, max_gap, named, spikes};
use crate::site::grades;
use crate::site::rules::{Known, Points};
use crate::site::section::Section;

impl Common<'_> {
    /// Another input of a question, by name.
    pub(crate) fn beside<'p>(
        &self,
        table: &Section<'_>,
        key: &'static str,
        points: Points<'p>,
    ) -> Option<&'p Known> {
        points.find(table, key, &table.text(key)?)
    }

    pub(crate) fn asked(&self, measured: Measured, others: &[&Known]) -> Asked {
        let inputs: Vec<&Known> = std::iter::once(self.point).chain(others.iter().copied()).collect();
        let max_gap = max_gap(self.section, &inputs);
        let spikes = spikes(self.section);
        let inputs = inputs.into_iter().map(|point| point.id).collect();
        Asked { measured: Measured { max_gap, spikes, ..measured }, inputs, kind: Kind::Process }
    }

    pub(crate) fn leak_down(&self, points: Points<'_>) -> Option<Asked> {
        let (factor, levels) = (self.factor(), self.levels());
        let table = self.section.section("leak_down")?;
        let over = table.need("over", table.duration("over"));
        table.need("temperature", table.text("temperature"));
        let temperature = self.beside(&table, "temperature", points);
        let barometer = self.beside(&table, "barometer", points);
        let flow = self.beside(&table, "flow", points);
        let flow_max = table.float("flow_max");
        table.finish();
        let quantity = |point: &Known, wanted: &str| point.unit.is_some_and(|unit| unit.quantity() == wanted);
        for (key, point, wanted) in
            [("temperature", temperature, "temperature"), ("barometer", barometer, "pressure_abs")]
        {
            if let Some(point) = point.filter(|point| !quantity(point, wanted)) {
                table.error(key, "wrong-unit", format!("{} is no {wanted}", point.name), None);
                return None;
            }
        }
        if flow.is_some() != flow_max.is_some() {
            let help = Some("flow = POINT with flow_max = NUMBER, in the point's unit".to_owned());
            table.error("flow", "missing-key", "a flow and the most that is none go together", help);
        }
        let ((factor, unit), (direction, levels)) = (factor?, levels?);
        let measure = Measure::LeakDown { window: over?, barometer: barometer.is_some(), flow_max };
        let measured = named(self.measured(measure, direction, levels), factor, unit);
        let others: Vec<&Known> = [Some(temperature?), barometer, flow].into_iter().flatten().collect();
        Some(self.asked(measured, &others))
    }

    pub(crate) fn lock_up(&self, points: Points<'_>) -> Option<Asked> {
        let factor = self.factor();
        let table = self.section.section("lock_up")?;
        let set_point = table.need("set_point", table.float("set_point"));
        let class = table.need("class", table.float("class"));
        table.need("flow", table.text("flow"));
        let flow = self.beside(&table, "flow", points);
        let flow_max = table.float("flow_max").unwrap_or(0.0);
        table.finish();
        let (set_point, class, (factor, unit)) = (set_point?, class?, factor?);
        let levels = grades::single(self.section, lock_up_pressure(set_point, class), &self.delays);
        let measured = self.measured(Measure::LockUp { flow_max }, Direction::Above, levels);
        Some(self.asked(named(measured, factor, unit), &[flow?]))
    }

    pub(crate) fn entrapment(&self, points: Points<'_>) -> Option<Asked> {
        const KEYS: [&str; 6] = ["presence", "moving", "zone", "closed", "button", "maintenance"];
        let table = self.section.section("entrapment")?;
        let mut found = Vec::new();
        for (index, (key, contact)) in KEYS.into_iter().zip(CONTACTS).enumerate() {
            if index < 4 {
                table.need(key, table.text(key));
            }
            found.extend(self.beside(&table, key, points).map(|point| (contact, point)));
        }
        table.finish();
        let levels = grades::spans(self.section, "after", Direction::Above, 1.0, &self.delays)?;
        let contacts: Vec<_> = found.iter().map(|(contact, _)| *contact).collect();
        if contacts.iter().take(4).ne(CONTACTS.iter().take(4)) {
            return None;
        }
        let measured = self.measured(Measure::Entrapment { contacts }, Direction::Above, levels);
        let measured = Measured { unit: Some("s".to_owned()), ..measured };
        let others: Vec<&Known> = found.iter().skip(1).map(|(_, point)| *point).collect();
        Some(self.asked(measured, &others))
    }
}
