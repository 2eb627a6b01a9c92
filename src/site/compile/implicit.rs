//! The points and rules that a site has without writing them: silence of devices, and the gateway's own troubles.
//!
//! In: devices and lines. Out: the device `gateway` with its points, and rules of kind `sensor` and `system`.
//! Invariant: every device has a rule for its silence.

use std::collections::HashSet;
use std::time::Duration;

use crate::alarm::guide::{Bonds, Guide};
use crate::alarm::{Condition, Direction, Kind, Level, Rule, RuleId, Severity};
use crate::point::PointId;
use crate::site::compile::Build;
use crate::site::outage;
use crate::site::rules::hash;

impl Build<'_> {
    /// Stale rules of devices, and the gateway's own points and rules.
    pub(crate) fn implicit(&mut self) {
        for (draft, spec) in self.drafts.iter().zip(&self.devices) {
            let points: Vec<PointId> = spec.points.iter().flatten().copied().collect();
            let Some(first) = points.first().copied() else { continue };
            let (severity, max_gap) = (Severity::Yellow, draft.every * 3);
            let condition = Condition::Stale { after: draft.stale_after, severity, points, max_gap };
            let advice = "检查设备供电、接线和地址 check power, wiring and address of the device";
            self.rules.push(implicit_rule(
                format!("{}-stale", draft.name),
                first,
                Kind::Sensor,
                condition,
                advice,
            ));
        }
        let device = self.device("gateway", "gateway", None, None);
        let own = self.own();
        for (short, severity, advice) in own {
            let states = vec![(0, "ok".to_owned()), (1, "trouble".to_owned())];
            let point = self.point(device, "gateway", &short, None, 0, states);
            let at_once = matches!(short.as_str(), "disk" | "journal" | "documents" | "flood");
            // What explains the lines' alarms is there before them.
            let on_delay = match at_once {
                true => 0,
                false if short.starts_with("dial-in-") => 5,
                false => 10,
            };
            let on_delay = Duration::from_secs(on_delay);
            let levels = vec![Level { severity, threshold: 1.0, on_delay, off_delay: Duration::ZERO }];
            let max_gap = Duration::from_secs(30);
            let condition =
                Condition::Threshold { direction: Direction::Above, levels, deadband: 0.5, max_gap };
            self.rules.push(implicit_rule(
                format!("gateway-{short}"),
                point,
                Kind::System,
                condition,
                advice,
            ));
        }
    }

    /// Puts the lines of a port where DTUs dial in, and their devices, below the alarm that most of them are gone.
    pub(crate) fn bind_dial_in(&mut self) {
        for (listen, short) in outage::groups_of(self.lines.iter().map(|line| &line.settings)) {
            let name = format!("gateway-{short}");
            let Some(cause) = self.rules.iter().find(|rule| rule.name == name).map(|rule| rule.id) else {
                continue;
            };
            let here = |index: &usize| {
                let line = self.lines.get(*index);
                line.is_some_and(|line| line.settings.address.dials_in_at() == Some(listen))
            };
            let devices = self.drafts.iter().filter(|draft| here(&draft.line));
            let stale = devices.map(|draft| format!("{}-stale", draft.name));
            let lines = self.lines.iter().enumerate().filter(|(index, _)| here(index));
            let lines = lines.map(|(_, line)| format!("gateway-line-{}", line.settings.name));
            let below: HashSet<String> = stale.chain(lines).collect();
            let own = self.rules.iter_mut().filter(|rule| rule.basis == IMPLICIT);
            own.filter(|rule| below.contains(&rule.name)).for_each(|rule| rule.bonds.causes.push(cause));
        }
    }

    /// The gateway's own points: name, severity of their trouble, advice.
    fn own(&self) -> Vec<(String, Severity, &'static str)> {
        let mut own = vec![
            ("disk".to_owned(), Severity::Orange, "检查存储盘 free space or replace the disk"),
            (
                "journal".to_owned(),
                Severity::Orange,
                "旧记录已移到 damaged-* 目录，检查存储盘 the damaged journal stands in damaged-*; check the disk",
            ),
            (
                "documents".to_owned(),
                Severity::Yellow,
                "配置未生效，运行 lifeline status 查看原因 changed documents were refused: lifeline status says why",
            ),
            ("clock".to_owned(), Severity::Yellow, "校时 set the box's clock (NTP)"),
            (
                "flood".to_owned(),
                Severity::Yellow,
                "报警泛滥：先处理红色，再按点位处理 alarm flood: red ones first, then point by point",
            ),
        ];
        for sink in &self.settings.sinks {
            own.push((
                format!("sink-{}", sink.name),
                Severity::Yellow,
                "转发停止：lifeline status 写明原因 forwarding waits for a person: lifeline status says why",
            ));
        }
        for (_, short) in outage::groups_of(self.lines.iter().map(|line| &line.settings)) {
            own.push((
                short,
                Severity::Orange,
                "多台 DTU 同时离线：先查运营商、专网和本机网络 most DTUs of this port are gone at once: ask the carrier, check the private network and this box's own link",
            ));
        }
        for line in &self.lines {
            own.push((
                format!("line-{}", line.settings.name),
                Severity::Yellow,
                "检查线路、转换器与设备供电 check the port, cable or serial server, and the power of its devices",
            ));
        }
        own
    }
}

/// The basis of the gateway's own rules.
pub(crate) const IMPLICIT: &str = "implicit";

pub(crate) fn implicit_rule(
    name: String,
    point: PointId,
    kind: Kind,
    condition: Condition,
    advice: &str,
) -> Rule {
    // The numbers of points are no part of the question: they change with documents that have nothing to do with it.
    let version = match &condition {
        Condition::Stale { after, severity, .. } => hash(&format!("{name} {after:?} {severity:?}")),
        Condition::Threshold { .. } | Condition::Measured { .. } => hash(&format!("{name} {condition:?}")),
    };
    let (advice, basis) = (advice.to_owned(), IMPLICIT.to_owned());
    let (guide, bonds) = (Guide::default(), Bonds::default());
    Rule { id: RuleId(0), name, version, point, kind, condition, advice, basis, latched: false, guide, bonds }
}
