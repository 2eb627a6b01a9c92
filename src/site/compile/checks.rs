//! What only all documents together can tell: places that are taken twice, and names that nobody has.
//!
//! In: the site while it is put together. Out: findings. Invariant: nothing is changed here.

use crate::bus::Address;
use crate::diagnostic::Place;
use crate::point::PointId;
use crate::site::compile::Build;
use crate::site::compile::implicit::IMPLICIT;
use crate::site::devices::DeviceDraft;
use crate::site::section::{Section, nearest};
use crate::site::{serial, text};

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

    pub(crate) fn check_risk_point(&self, section: &Section<'_>, draft: &DeviceDraft) {
        let Some(code) = &draft.risk_point else { return };
        if !self.risk_points.iter().any(|point| point.code == *code) {
            let help = nearest(code, self.risk_points.iter().map(|point| point.code.as_str()));
            section.error(
                "risk_point",
                "unknown-risk-point",
                format!("there is no risk point `{code}`"),
                help,
            );
        }
    }

    pub(crate) fn check_slaves(&self) {
        for (index, draft) in self.drafts.iter().enumerate() {
            let same = |other: &&DeviceDraft| other.line == draft.line && other.slave == draft.slave;
            if let Some(other) = self.drafts.iter().take(index).find(same) {
                let text =
                    format!("{} has slave {} on the same line as {}", draft.name, draft.slave.0, other.name);
                self.report.error(
                    &draft.place,
                    "duplicate-slave",
                    text,
                    Some("each device of a line needs its own address".to_owned()),
                );
            }
        }
        for point in &self.risk_points {
            if !self.drafts.iter().any(|draft| draft.risk_point.as_ref() == Some(&point.code)) {
                let text = format!("the risk point {} has no sensor", point.code);
                self.report.warning(&Place::default(), "blind-risk-point", text, None);
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
        for (draft, spec) in self.drafts.iter().zip(&self.devices) {
            let direct =
                self.rules.iter().any(|rule| rule.points().iter().any(|point| feeds(*point, &spec.points)));
            let mut inputs = self.derived.iter().flat_map(|derived| &derived.inputs);
            if draft.every_in_alarm.is_some()
                && !direct
                && !inputs.any(|(_, point)| feeds(*point, &spec.points))
            {
                let text = format!("{} has `every_in_alarm`, and no rule looks at its points", draft.name);
                let help = Some("write a rule, or leave the key out".to_owned());
                self.report.warning(&draft.place, "no-rule", text, help);
            }
        }
    }
}
