//! Derived points of the site's documents.
//!
//! In: `[[derived]]` sections with the points that devices and derived points above them gave. Out: drafts.
//! Invariant: an expression that is handed out has passed a dry run, and its unit is of the quantity that the document says.

use std::time::Duration;

use crate::derive::{self, Derived, never};
use crate::point::PointId;
use crate::site::inputs::Inputs;
use crate::site::rules::Points;
use crate::site::section::{Section, kebab};
use crate::site::tree::Value;
use crate::unit::Unit;

/// A derived point as written: full name, unit, settings without its own number.
pub(crate) struct DerivedDraft {
    pub(crate) name: String,
    pub(crate) unit: Option<Unit>,
    pub(crate) settings: derive::Settings,
    pub(crate) every: Duration,
    /// The zero of its inputs, when they have one.
    pub(crate) datum: Option<String>,
    pub(crate) decimals: u8,
    pub(crate) states: Vec<(i64, String)>,
}

/// Reads one derived point.
pub(crate) fn derived(
    section: &Section<'_>,
    points: Points<'_>,
    class_of: impl Fn(&str) -> String,
) -> Option<DerivedDraft> {
    let name = section.need("name", section.text("name"));
    if let Some(name) = &name {
        let parts: Vec<&str> = name.split('.').collect();
        if parts.len() != 2 || parts.iter().any(|part| part.is_empty() || kebab(part) != **part) {
            section.error(
                "name",
                "bad-name",
                format!("`{name}` is not DEVICE.POINT in kebab-case"),
                Some("such as underpass-2.rise".to_owned()),
            );
        }
    }
    let inputs = Inputs::read(section, points);
    let whole = inputs.whole;
    let value = section.need("value", section.text("value"));
    let unit = section.unit("unit");
    let written = section.int("decimals", 0, 9);
    let states = section.section("states").map(|states| {
        let state = |(code, _, node): &crate::site::tree::Entry| match (&node.value, code.parse()) {
            (Value::Text(name), Ok(code)) => Some((code, name.clone())),
            _ => None,
        };
        states.all().iter().filter_map(state).collect()
    });
    section.finish();
    let value = value?;
    let class = class_of(name.as_deref().unwrap_or_default());
    let decimals = match (written, unit) {
        (Some(decimals), Some(unit)) => unit.digits(decimals, unit.canonical_for(&class)),
        (Some(decimals), None) => decimals,
        (None, Some(unit)) => unit.usual_digits(unit.canonical_for(&class)),
        (None, None) => 0,
    };
    let factor = derive::factor(&value, &inputs.units(), unit, &class);
    let factor = factor.unwrap_or_else(|why| {
        if whole {
            section.error("unit", "wrong-unit", why, None);
        }
        1.0
    });
    let (points, scales) = (inputs.points(), inputs.scales());
    let settings = derive::Settings { point: PointId(0), inputs: points, scales, value, factor };
    if let Some(why) = never::contradiction(&settings.value, &inputs.ranges()).filter(|_| whole) {
        section.warning("value", "never-true", why, None);
    }
    if let Err(why) = Derived::check(&settings)
        && (whole || derive::expression::parse(&settings.value).is_err())
    {
        section.error("value", "bad-expression", why, None);
    }
    if !whole {
        return None;
    }
    inputs.doubt(section, &settings.value, unit);
    let (every, datum) = (inputs.every(), inputs.datum());
    let states = states.unwrap_or_default();
    Some(DerivedDraft { name: name?, unit, settings, every, datum, decimals, states })
}
