//! What the gateway tells a time-series store of its own work: a device for each line, polled device and sink, one for the journal, one for
//! alarms, and one for each rule that compares a point with limits.
//!
//! In: lines, devices, sinks, rules. Out: devices of the classes in [`measures`], each with the points named there.
//! Invariant: no rule looks at them; the tag `of` names what each tells of.

use crate::alarm::{Condition, Kind};
use crate::point::DeviceId;
use crate::site::compile::Build;
use crate::site::health::{ALARMS, JOURNAL, LIMIT, LINE, POLLED, SINK, measures};
use crate::unit::Unit;

impl Build<'_> {
    /// The devices that tell of the gateway's work.
    pub(crate) fn tell_of_work(&mut self) {
        let lines: Vec<String> = self.lines.iter().map(|line| line.settings.name.clone()).collect();
        let line_of = |index: usize| lines.get(index).cloned().unwrap_or_default();
        let polled: Vec<(String, String)> =
            self.drafts.iter().map(|draft| (draft.name.clone(), line_of(draft.line))).collect();
        let sinks: Vec<String> = self.settings.sinks.iter().map(|sink| sink.name.clone()).collect();
        for name in &lines {
            self.health(LINE, name, &[("line", name)]);
        }
        for (name, line) in &polled {
            self.health(POLLED, name, &[("line", line)]);
        }
        for name in &sinks {
            self.health(SINK, name, &[]);
        }
        self.health(JOURNAL, "journal", &[]);
        self.health(ALARMS, "alarms", &[]);
        self.limits();
    }

    fn health(&mut self, class: &str, of: &str, tags: &[(&str, &str)]) {
        let name = format!("{class}-{of}");
        let device = self.teller(&name, class, of, tags);
        for (short, unit) in measures(class) {
            let decimals = if *unit == "s" { 4 } else { 0 };
            self.point(device, &name, short, Unit::parse(unit), decimals, Vec::new());
        }
    }

    /// The limits of the site's own rules above and below, beside which a store draws the readings.
    fn limits(&mut self) {
        for rule in self.rules.clone() {
            let Condition::Threshold { levels, .. } = &rule.condition else { continue };
            let Some(point) = self.catalog.point(rule.point).filter(|_| rule.kind == Kind::Process) else {
                continue;
            };
            let (short, unit, decimals) = (point.short.clone(), point.unit, point.decimals);
            let Some(measured) = self.catalog.device(point.device) else { continue };
            let (of, class) = (measured.name.clone(), measured.class.clone());
            let name = format!("{LIMIT}-{}", rule.name);
            let tags = [("class", class.as_str()), ("of_point", &short), ("rule", &rule.name)];
            let device = self.teller(&name, LIMIT, &of, &tags);
            for level in levels {
                let severity = format!("{:?}", level.severity).to_lowercase();
                self.point(device, &name, &severity, unit, decimals, Vec::new());
            }
        }
    }

    fn teller(&mut self, name: &str, class: &str, of: &str, tags: &[(&str, &str)]) -> DeviceId {
        let device = self.device(name, class, None, None);
        if let Some(device) = self.catalog.devices.last_mut() {
            let tags = tags.iter().copied().chain([("of", of)]);
            device.tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        }
        device
    }
}
