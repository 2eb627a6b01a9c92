//! What of the journal a sink gets, and under which topics and tags: filters and templates.
//!
//! In: patterns and templates of the documents, names of devices and points. Out: parcels with less in them, texts.
//! Invariant: a name put into a template can never change its structure: in a topic it is one level without wildcards, in a tag it is
//! escaped by the writer of lines.
//! Source: MQTT 5.0, 4.7 (topic names); InfluxDB line protocol v2.

use crate::forward::payload::level;
use crate::forward::sink::Parcel;
use crate::journal::Stored;
use crate::point::{Catalog, Device};

/// What a sink gets. Empty lists let everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Names of devices, with `*` for any letters.
    pub devices: Vec<String>,
    /// Classes of devices, likewise.
    pub classes: Vec<String>,
    /// `false`: no alarms.
    pub no_alarms: bool,
    /// `false`: no readings.
    pub no_readings: bool,
}

impl Only {
    /// Takes out of `parcel` what the sink does not get.
    pub fn strain(&self, parcel: &mut Parcel) {
        match parcel {
            Parcel::Alarms(alarms) if self.no_alarms => alarms.clear(),
            Parcel::Alarms(_) => {}
            Parcel::Readings { groups, .. } => groups.iter_mut().for_each(|group| self.strain_group(group)),
            Parcel::Unjournaled { alarms, group } => {
                if self.no_alarms {
                    alarms.clear();
                }
                self.strain_group(group);
            }
        }
    }

    fn strain_group(&self, group: &mut Stored) {
        if self.no_readings {
            return group.batches.clear();
        }
        if self.devices.is_empty() && self.classes.is_empty() {
            return;
        }
        let catalog = &group.catalog;
        // A device that the catalog does not name is told as such by the sink.
        group.batches.retain(|batch| catalog.device(batch.device).is_none_or(|device| self.takes(device)));
    }

    fn takes(&self, device: &Device) -> bool {
        let any = |patterns: &[String], name: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
        };
        any(&self.devices, &device.name) && any(&self.classes, &device.class)
    }
}

/// Whether `name` is as `pattern` says; `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(tail)
}

/// What a template may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The gateway.
    Site,
    /// The device.
    Device,
    /// Its class.
    Class,
    /// The code of its risk point.
    RiskPoint,
    /// Its town.
    Town,
    /// `reading` or `backlog`.
    Lane,
    /// The rule of an alarm.
    Rule,
}

impl Field {
    const ALL: [(&'static str, Self); 7] = [
        ("site", Self::Site),
        ("device", Self::Device),
        ("class", Self::Class),
        ("risk_point", Self::RiskPoint),
        ("town", Self::Town),
        ("lane", Self::Lane),
        ("rule", Self::Rule),
    ];
}

/// A text with names in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Result<String, Field>>,
}

impl Template {
    /// Reads `city/{site}/{device}`.
    ///
    /// # Errors
    /// In words: a brace without its other one, a name that is none or not one of `allowed`.
    pub fn parse(text: &str, allowed: &[Field]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((plain, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(|| "a `{` without its `}`".to_owned())?;
            let names = || {
                let names = Field::ALL.iter().filter(|(_, field)| allowed.contains(field));
                names.map(|(name, _)| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
            };
            let field = Field::ALL.iter().find(|(known, field)| *known == name && allowed.contains(field));
            let (_, field) = field.ok_or_else(|| format!("`{{{name}}}` is not one of {}", names()))?;
            parts.extend([Ok(plain.to_owned()), Err(*field)]);
            rest = behind;
        }
        parts.push(Ok(rest.to_owned()));
        if parts.iter().flatten().any(|plain| plain.contains('}')) {
            return Err("a `}` without its `{`".to_owned());
        }
        parts.retain(|part| part.as_ref() != Ok(&String::new()));
        Ok(Self { parts })
    }

    /// A topic; every name is one level of it, without wildcards, however it is spelt.
    ///
    /// # Errors
    /// In words: what MQTT does not allow in a topic.
    pub fn topic(text: &str, allowed: &[Field]) -> Result<Self, String> {
        let bad = text.chars().find(|letter| matches!(letter, '+' | '#') || letter.is_control());
        if let Some(bad) = bad {
            return Err(format!("a topic to publish to holds no {bad:?}"));
        }
        if text.starts_with('$') || text.is_empty() || text.split('/').any(str::is_empty) {
            return Err("a topic has levels that are not empty, and does not begin with $".to_owned());
        }
        Self::parse(text, allowed)
    }

    /// Whether `field` stands in it.
    pub fn names(&self, field: Field) -> bool {
        self.parts.iter().any(|part| part.as_ref() == Err(&field))
    }

    /// The text with `value` of each name.
    pub fn fill<'v>(&self, value: impl Fn(Field) -> &'v str) -> String {
        let text =
            |part: &Result<String, Field>| part.clone().unwrap_or_else(|field| value(field).to_owned());
        self.parts.iter().map(text).collect()
    }

    /// The topic with `value` of each name as one level, `_` for none.
    pub fn fill_topic<'v>(&self, value: impl Fn(Field) -> &'v str) -> String {
        let text = |part: &Result<String, Field>| {
            part.clone().unwrap_or_else(|field| match value(field) {
                "" => "_".to_owned(),
                name => level(name),
            })
        };
        self.parts.iter().map(text).collect()
    }
}

/// What a device's template may say of it.
pub fn of_device<'c>(field: Field, catalog: &'c Catalog, device: Option<&'c Device>) -> &'c str {
    let Some(device) = device else {
        return match field {
            Field::Site => &catalog.site,
            Field::Device => "unknown",
            _ => "",
        };
    };
    match field {
        Field::Site => &catalog.site,
        Field::Device => &device.name,
        Field::Class => &device.class,
        Field::RiskPoint => device.risk_point.as_deref().unwrap_or_default(),
        Field::Town => device.town.as_deref().unwrap_or_default(),
        Field::Lane | Field::Rule => "",
    }
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Of a device's readings; names `{device}` and `{lane}`.
    pub reading: Template,
    /// Of an alarm's state; names `{rule}`.
    pub alarm: Template,
}

impl Topics {
    /// What a topic of readings may name.
    pub const READING: [Field; 6] =
        [Field::Site, Field::Device, Field::Class, Field::RiskPoint, Field::Town, Field::Lane];
    /// What a topic of alarms may name.
    pub const ALARM: [Field; 4] = [Field::Site, Field::RiskPoint, Field::Town, Field::Rule];
    /// What a tag may name.
    pub const TAG: [Field; 5] = [Field::Site, Field::Device, Field::Class, Field::RiskPoint, Field::Town];
    /// The topic of readings by default.
    pub const READING_TEXT: &str = "lifeline/{site}/{device}/{lane}";
    /// The topic of alarms by default.
    pub const ALARM_TEXT: &str = "lifeline/{site}/alarm/{rule}";
}

impl Default for Topics {
    fn default() -> Self {
        let reading = Template::topic(Self::READING_TEXT, &Self::READING);
        let alarm = Template::topic(Self::ALARM_TEXT, &Self::ALARM);
        Self { reading: reading.expect("a topic"), alarm: alarm.expect("a topic") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        let table = [
            ("regulator-3", "regulator-3", true),
            ("regulator-3", "regulator-30", false),
            ("*", "", true),
            ("regulator-*", "regulator-3", true),
            ("*-3", "regulator-3", true),
            ("r*-*3", "regulator-13", true),
            ("r*x*3", "regulator-13", false),
            ("ab*ba", "aba", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn mistakes_in_templates_are_told() {
        for (text, words) in [
            ("a/{device", "without its `}`"),
            ("a}/b", "without its `{`"),
            ("a/{devcie}", "{device}"),
            ("a/{rule}", "not one of"),
            ("a/+/b", "'+'"),
            ("a//b", "not empty"),
            ("$SYS/a", "begin with $"),
            ("", "not empty"),
        ] {
            let why = Template::topic(text, &Topics::READING).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    proptest! {
        /// No name of a device, town or risk point changes how many levels a topic has, or makes it a filter.
        #[test]
        fn no_name_gets_out_of_its_level(name in "\\PC{0,20}|[/+#$\\{\\}\\x00 ]{0,9}") {
            let template = Template::topic("city/{site}/{town}/{device}/{lane}", &Topics::READING).unwrap();
            let topic = template.fill_topic(|_| &name);
            prop_assert_eq!(topic.matches('/').count(), 4);
            let forbidden = |letter: char| matches!(letter, '+' | '#' | '\0') || letter.is_control();
            prop_assert!(!topic.contains(forbidden) && topic.split('/').all(|level| !level.is_empty()));
        }
    }
}
