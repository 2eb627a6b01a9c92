//! Lines and devices with a mistake: what can still be said of them.
//!
//! In: their sections. Out: names and points, so that what names them is looked at, too.
//! Invariant: nothing of them is ever started: a site with a mistake does not load.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::profile::Profile;
use crate::site::compile::Build;
use crate::site::profiles::Model;
use crate::site::risk::Calendar;
use crate::site::section::Section;
use crate::site::{devices, lines};

impl Build<'_> {
    pub(crate) fn line(&mut self, section: &Section<'_>) {
        match lines::line(section, &self.options.lines) {
            Some(line) => self.lines.push(line),
            None => {
                let serial = section.has("serial");
                self.dim_lines.extend(section.text("name").map(|name| (name, serial)));
            }
        }
    }

    pub(crate) fn draft(
        &mut self,
        section: &Section<'_>,
        models: &BTreeMap<String, Model>,
        calendar: &Calendar,
    ) {
        match devices::device(section, (&self.lines, &self.dim_lines), models, calendar) {
            Ok(mut draft) => {
                self.check_risk_point(&draft.binding);
                self.share(&mut draft.profile);
                self.drafts.push(draft);
            }
            Err(dim) => {
                self.check_risk_point(&dim.binding);
                self.dim.push(*dim);
            }
        }
    }

    /// Devices that are polled alike keep one profile together: thousands of them are of few kinds.
    fn share(&mut self, profile: &mut Arc<Profile>) {
        match self.profiles.iter().find(|known| known.name == profile.name && *known == profile) {
            Some(known) => *profile = Arc::clone(known),
            None => self.profiles.push(Arc::clone(profile)),
        }
    }

    /// The points of devices with a mistake, so that what names them is looked at, too; nothing of them is ever started.
    pub(crate) fn know_dim(&mut self) {
        let dim = std::mem::take(&mut self.dim);
        for device in &dim {
            let Some(name) = &device.name else { continue };
            let Some(profile) = &device.profile else {
                self.broken.insert(name.clone());
                continue;
            };
            let id = self.device(name, &profile.class, None, None);
            for field in profile.fields.iter().filter(|field| !field.hidden) {
                let unit = field.unit.map(|unit| unit.canonical_for(&profile.class));
                let point = self.point(id, name, &field.name, unit, field.digits(unit), field.states.clone());
                let to = field.unit.zip(unit).and_then(|(from, to)| from.to(to)).unwrap_or((1.0, 0.0));
                let range = field.range.map(|(low, high)| (low * to.0 + to.1, high * to.0 + to.1));
                self.know(point, (device.every, field.unit), range, device.datum.clone());
            }
        }
        self.dim = dim;
    }

    /// Every device and derived point could be read.
    pub(crate) fn is_whole(&self) -> bool {
        self.broken.is_empty() && self.dim.is_empty()
    }
}
