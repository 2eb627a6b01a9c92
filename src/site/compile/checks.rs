//! What only all documents together can tell: places that are taken twice, and names that nobody has.
//!
//! In: the site while it is put together. Out: findings. Invariant: nothing is changed here.

use std::collections::{BTreeMap, HashMap};

use crate::alarm::{Condition, Direction, Kind, Level, Rule};
use crate::bus::Address;
use crate::diagnostic::Place;
use crate::forward::{self, Target};
use crate::point::{Device, PointId};
use crate::site::compile::Build;
use crate::site::compile::implicit::IMPLICIT;
use crate::site::devices::DeviceDraft;
use crate::site::health::is_own;
use crate::site::profiles::Model;
use crate::site::risk::Binding;
use crate::site::section::{Section, nearest};
use crate::site::{certificates, serial, text};

impl Build<'_> {
    /// `--line NAME=ADDRESS` for a line that isn't there would leave the real device polled.
    pub(crate) fn check_elsewhere(&self, lines: &[Section<'_>]) {
        let names: Vec<String> = lines.iter().filter_map(|line| line.text("name")).collect();
        for (name, to) in self.options.lines.iter().filter(|(name, _)| !names.contains(name)) {
            let place = Place { file: format!("--line {name}={to}"), ..Place::default() };
            let help = nearest(name, names.iter().map(String::as_str));
            self.report.error(&place, "unknown-line", format!("there is no line `{name}`"), help);
        }
    }

    /// A rule of the documents may not be called like one that the gateway has of its own.
    pub(crate) fn check_reserved(&self, written: &[Section<'_>]) {
        let own = |name: &str| self.rules.iter().any(|rule| rule.basis == IMPLICIT && rule.name == name);
        for section in written {
            if section.text("name").is_some_and(|name| own(&name)) {
                let help = Some("use another name".to_owned());
                section.error(
                    "name",
                    "reserved-name",
                    "the gateway has a rule of its own of this name",
                    help,
                );
            }
        }
    }

    /// A device of the documents, or one that a derived point makes, may not be called like one that the gateway makes by itself.
    pub(crate) fn check_own(&self, written: &[Section<'_>]) {
        let made =
            self.catalog.devices.iter().filter(|device| device.line.is_none() && is_own(&device.class));
        let own: HashMap<&str, &Device> = made.map(|device| (device.name.as_str(), device)).collect();
        for section in written {
            let name = section.text("name").unwrap_or_default();
            let name = name.split('.').next().unwrap_or_default();
            if let Some(device) = own.get(name) {
                let help =
                    Some(format!("use another name, one that does not begin with `{}-`", device.class));
                let text = format!("the gateway has a device of its own of the name `{name}`");
                section.error("name", "reserved-name", text, help);
            }
        }
    }

    pub(crate) fn check_risk_point(&self, binding: &Binding) {
        for (code, place) in &binding.codes {
            if !self.risk_numbers.contains_key(code) {
                let help = nearest(code, self.risk_points.iter().map(|point| point.code.as_str()));
                let text = format!("there is no risk point `{code}`");
                self.report.error(place, "unknown-risk-point", text, help);
            }
        }
    }

    /// Certificates that have expired or soon will.
    pub(crate) fn check_certificates(&self, settings: &str) {
        let now = self.options.now;
        let tell = |place: &Place, held: Vec<certificates::Held>| {
            for ending in held.iter().filter_map(|held| certificates::ending(held, now)) {
                self.report.warning(place, ending.code, ending.text, Some("renew the file".to_owned()));
            }
        };
        for line in &self.lines {
            tell(&line.place, certificates::of_line(&line.settings));
        }
        let place = Place { file: settings.to_owned(), ..Place::default() };
        for sink in &self.settings.sinks {
            tell(&place, certificates::of_sink(sink));
        }
    }

    /// A site that polls nothing; one that lost its devices by a mistake is told of that.
    pub(crate) fn check_any(&self) {
        if self.drafts.is_empty() && self.is_whole() && self.report.is_sound() {
            let place = Place { file: self.options.site.display().to_string(), ..Place::default() };
            let help = "write a [[device]], or see `lifeline new device` and `lifeline import`".to_owned();
            let text = "the site has no device: nothing is polled, and nothing raises an alarm";
            self.report.warning(&place, "no-device", text, Some(help));
        }
    }

    pub(crate) fn check_slaves(&self) {
        let mut taken: HashMap<(usize, u8), &DeviceDraft> = HashMap::new();
        for draft in &self.drafts {
            let other = *taken.entry((draft.line, draft.slave.0)).or_insert(draft);
            if std::ptr::eq(other, draft) {
                continue;
            }
            let text =
                format!("{} has slave {} on the same line as {}", draft.name, draft.slave.0, other.name);
            let Place { file, line, .. } = &other.place;
            let help = format!(
                "each device of a line needs its own address; {} stands at {file}:{line}",
                other.name
            );
            self.report.error(&draft.place, "duplicate-slave", text, Some(help));
        }
    }

    /// Risk points without the sensors that they need.
    pub(crate) fn check_needs(&self) {
        let mut at: HashMap<&str, Vec<&str>> = HashMap::new();
        for draft in &self.drafts {
            for (code, _) in &draft.binding.codes {
                at.entry(code).or_default().push(&draft.profile.class);
            }
        }
        for (point, place) in self.risk_points.iter().zip(&self.risk_places) {
            let Some(classes) = at.get(point.code.as_str()) else {
                // A device that cannot be read may be the one.
                if self.is_whole() {
                    let text = format!("the risk point {} has no sensor", point.code);
                    self.report.warning(place, "blind-risk-point", text, None);
                }
                continue;
            };
            for need in &point.needs {
                let there = classes.iter().filter(|class| need.takes(class)).count();
                if there < usize::try_from(need.min).unwrap_or(usize::MAX) && self.is_whole() {
                    let text = format!(
                        "the risk point {} needs {} of class {}, and has {there}",
                        point.code, need.min, need.role
                    );
                    self.report.warning(place, "unmet-need", text, None);
                }
            }
        }
    }

    /// Rules on one point that say one thing twice, or leave no value without an alarm.
    pub(crate) fn check_pairs(&self) {
        let mut of_point: HashMap<PointId, Vec<(&Rule, &Place)>> = HashMap::new();
        for (rule, place) in self.rules.iter().zip(&self.rule_places) {
            let before = of_point.entry(rule.point).or_default();
            for (other, _) in before.iter() {
                self.check_pair(other, rule, place);
            }
            before.push((rule, place));
        }
    }

    fn check_pair(&self, first: &Rule, rule: &Rule, place: &Place) {
        let (
            Condition::Threshold { direction, levels, .. },
            Condition::Threshold { direction: other, levels: before, .. },
        ) = (&rule.condition, &first.condition)
        else {
            return;
        };
        let same = |level: &&Level| {
            before.iter().any(|known| {
                known.severity == level.severity && known.threshold.total_cmp(&level.threshold).is_eq()
            })
        };
        if direction == other && rule.kind == first.kind && levels.iter().any(|level| same(&level)) {
            let text = format!("{} and {} tell of one threshold twice", first.name, rule.name);
            self.report.warning(place, "duplicate-rule", text, None);
        }
        // The first level of a rule is the one that is reached first.
        let edge = |levels: &[Level]| levels.first().map_or(f64::NAN, |level| level.threshold);
        let (above, below) = match (direction, other) {
            (Direction::Above, Direction::Below) => (edge(levels), edge(before)),
            (Direction::Below, Direction::Above) => (edge(before), edge(levels)),
            _ => return,
        };
        if above <= below {
            let text = format!("one of {} and {} is active whatever the value is", first.name, rule.name);
            self.report.warning(place, "always-in-alarm", text, None);
        }
    }

    /// Alarms of which no person is told.
    pub(crate) fn check_told(&self) {
        let rules = self.rules.iter().filter(|rule| rule.kind == Kind::Process).count();
        if let Some(place) = self.settings.nobody.as_ref().filter(|_| 0 < rules) {
            let sinks = &self.settings.sinks;
            let named = |why: &dyn Fn(&forward::Settings) -> bool| {
                let names = sinks.iter().filter(|sink| why(sink)).map(|sink| sink.name.as_str());
                Some(names.collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty())
            };
            let strained = named(&|sink| sink.only.no_alarms);
            let files = named(&|sink| !sink.only.no_alarms && matches!(sink.target, Target::File(_)));
            let stores = named(&|sink| !sink.only.no_alarms && !matches!(sink.target, Target::File(_)));
            let because = [
                strained.map(|names| format!("`only` keeps alarms from {names}")),
                stores.map(|names| format!("{names} stores them (`calls_people` says otherwise)")),
                files.map(|names| format!("a file reaches nobody ({names})")),
            ];
            let because = because.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let text = if sinks.is_empty() {
                format!("{rules} rules and no sink: alarms stand on the page and in `lifeline alarms` alone")
            } else {
                format!(
                    "{rules} rules and no sink from which people are called: {because}; so no risk point can become effective"
                )
            };
            let help = "write a [[sink]] of kind mqtt that gets alarms; `calls_people = true` in one of kind influx, if its alerts call people; or `watched = true` under [console], if somebody always sits before the page";
            self.report.warning(place, "no-sink", text, Some(help.to_owned()));
        }
    }

    /// Profiles of the site's own folder (the documents called `own`) that no device names.
    pub(crate) fn check_unused(&self, models: &BTreeMap<String, Model>, own: &[&str]) {
        if !self.is_whole() {
            return;
        }
        for (name, model) in models {
            let used = || self.drafts.iter().any(|draft| draft.profile.name == *name);
            if own.contains(&model.place.file.as_str()) && !used() {
                let text = format!("no device has the profile `{name}`");
                self.report.warning(&model.place, "unused-profile", text, None);
            }
        }
    }

    /// DTUs and people cannot come in by the same port.
    pub(crate) fn check_listen(&self) {
        for line in &self.lines {
            if let Address::DialIn(dtu) = &line.settings.address
                && dtu.listen.port() == self.settings.listen.port()
            {
                let text =
                    format!("{} dials in on the port of the console ({})", dtu.name, self.settings.listen);
                self.report.error(&line.place, "port-in-use", text, Some("use another port".to_owned()));
            }
        }
    }

    pub(crate) fn check_lines(&self) {
        let speaks_rtu: Vec<bool> = (0..self.lines.len())
            .map(|index| self.drafts.iter().any(|draft| draft.line == index && draft.profile.text.is_none()))
            .collect();
        serial::check(&self.lines, &speaks_rtu, self.report);
        text::check_lines(&self.lines, &self.drafts, self.report);
    }

    /// A denser period that no rule can ever ask for.
    pub(crate) fn check_denser(&self) {
        let feeds = |point: PointId, own: &[Option<PointId>]| own.contains(&Some(point));
        let denser = self.drafts.iter().zip(&self.devices);
        for (draft, spec) in denser.filter(|(draft, _)| draft.every_in_alarm.is_some()) {
            let direct =
                self.rules.iter().any(|rule| rule.points().iter().any(|point| feeds(*point, &spec.points)));
            let mut inputs = self.derived.iter().flat_map(|derived| &derived.inputs);
            if !direct && !inputs.any(|(_, point)| feeds(*point, &spec.points)) {
                let text = format!("{} has `every_in_alarm`, and no rule looks at its points", draft.name);
                let help = Some("write a rule, or leave the key out".to_owned());
                self.report.warning(&draft.place, "no-rule", text, help);
            }
        }
    }
}
