//! What the gateway tells a time-series store of its own work: a device for each line, polled device and sink, and one for the journal.
//!
//! In: lines, devices, sinks. Out: devices of the classes in [`measures`], each with the points named there.
//! Invariant: no rule looks at them; the tag `of` names what each tells of.

use std::collections::BTreeMap;

use crate::site::compile::Build;
use crate::site::health::{JOURNAL, LINE, POLLED, SINK, measures};
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
            self.health(LINE, name, name);
        }
        for (name, line) in &polled {
            self.health(POLLED, name, line);
        }
        for name in &sinks {
            self.health(SINK, name, "");
        }
        self.health(JOURNAL, "journal", "");
    }

    fn health(&mut self, class: &str, of: &str, line: &str) {
        let name = format!("{class}-{of}");
        let device = self.device(&name, class, None, None);
        let tags = [("of", of), ("line", line)].into_iter().filter(|(_, value)| !value.is_empty());
        let tags: BTreeMap<String, String> =
            tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        if let Some(device) = self.catalog.devices.last_mut() {
            device.tags = tags;
        }
        for (short, unit) in measures(class) {
            self.point(device, &name, short, Unit::parse(unit), 0, Vec::new());
        }
    }
}
