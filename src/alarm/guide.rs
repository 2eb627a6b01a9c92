//! What an alarm tells a person besides its number: hazard, place, plan, phase and layer, and the words of its grade.
//!
//! In: a rule's document. Out: plain text that is kept with each alarm, as it was true when it was raised.
//! Invariant: only ordinals are compared; a word of a class is text for people.
//! Source: the four colours and Ⅳ to Ⅰ are the statutory order (渝府发〔2026〕6号, art. 6). GB/T 50493-2019 5.5.2: of gas the *first* level (一级) is the lower one.
//! River stages: 设防, 警戒, 保证. Landslides: 注意级, 警示级, 警戒级, 警报级.

use serde::{Deserialize, Serialize};

use crate::alarm::{RuleId, Severity};

/// What goes with a rule besides its question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guide {
    /// Hazard class of the risk point (`gas`), or the class of the sensor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hazard: String,
    /// Class of the sensor that the rule looks at, for a rule of the process: the words of a grade go by it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Name of the risk point for people, or what its device is called (its tag `place` or `name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Where the thresholds come from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub basis: String,
    /// Who set the thresholds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Version of the thresholds as their author counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// 预案: the plan to follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// 分段: the phase, such as `imminent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// 分层: the layer that acts, such as 镇街.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
}

/// What hides a rule's alarm, and from which severity on it latches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bonds {
    /// With `latched`: only an occurrence that reached this severity latches.
    pub latch_from: Option<Severity>,
    /// A state of the site that hides it.
    pub suppress: Option<Suppress>,
    /// The rules whose alarms explain this one: it stands below them while they are active.
    pub causes: Vec<RuleId>,
}

/// A state of the site in which an alarm means nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suppress {
    /// The point that says so: any number but 0 hides.
    pub point: crate::point::PointId,
    /// The highest severity that is hidden; never red.
    pub up_to: Severity,
    /// How long the state must be gone.
    pub off_delay: std::time::Duration,
}

impl Severity {
    /// All, from low to high.
    pub const ALL: [Self; 4] = [Self::Blue, Self::Yellow, Self::Orange, Self::Red];

    /// 1 to 4, 4 the highest.
    pub const fn ordinal(self) -> u8 {
        match self {
            Self::Blue => 1,
            Self::Yellow => 2,
            Self::Orange => 3,
            Self::Red => 4,
        }
    }

    /// The colour in Chinese and English.
    pub const fn colour(self) -> (&'static str, &'static str) {
        match self {
            Self::Blue => ("蓝", "blue"),
            Self::Yellow => ("黄", "yellow"),
            Self::Orange => ("橙", "orange"),
            Self::Red => ("红", "red"),
        }
    }

    /// The grade: `Ⅰ级 特别重大`, extremely serious.
    pub const fn grade(self) -> (&'static str, &'static str) {
        match self {
            Self::Blue => ("Ⅳ级 一般", "general"),
            Self::Yellow => ("Ⅲ级 较大", "relatively serious"),
            Self::Orange => ("Ⅱ级 重大", "serious"),
            Self::Red => ("Ⅰ级 特别重大", "extremely serious"),
        }
    }

    /// What people of the trade call this severity of a sensor class, in Chinese and English; `None` where they use the colour alone: the pressure of gas has
    /// no first and second level, and rain no stages.
    pub fn word(self, class: &str) -> Option<(&'static str, &'static str)> {
        let words = match class {
            "gas-concentration" => [
                None,
                None,
                Some(("一级报警", "first level, the lower one")),
                Some(("二级报警", "second level, the higher one")),
            ],
            "water-level" => [
                None,
                Some(("设防", "defence stage")),
                Some(("警戒", "warning stage")),
                Some(("保证", "guaranteed stage")),
            ],
            "displacement" | "tilt" => [
                Some(("注意级", "attention")),
                Some(("警示级", "caution")),
                Some(("警戒级", "warning")),
                Some(("警报级", "alarm")),
            ],
            _ => [None; 4],
        };
        words.get(usize::from(self.ordinal()).saturating_sub(1)).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_follows_the_ordinal_and_never_the_other_way() {
        assert!(Severity::ALL.is_sorted());
        let word = |severity: Severity, class| severity.word(class).map(|(chinese, _)| chinese);
        // The trap: the first level of gas is the lower one, the first grade is the highest.
        assert_eq!(word(Severity::Orange, "gas-concentration"), Some("一级报警"));
        assert_eq!(word(Severity::Red, "gas-concentration"), Some("二级报警"));
        assert!(Severity::Red.grade().0.starts_with('Ⅰ'));
        let stages = Severity::ALL.map(|severity| word(severity, "displacement").unwrap());
        assert_eq!(stages, ["注意级", "警示级", "警戒级", "警报级"]);
        assert_eq!(word(Severity::Orange, "water-level"), Some("警戒"));
        assert_eq!(word(Severity::Red, "water-level"), Some("保证"));
        for other in ["elevator", "gas-pressure", "gas-flow", "rain", "gas", ""] {
            assert_eq!(word(Severity::Red, other), None, "{other} has no words of its own");
        }
    }
}
