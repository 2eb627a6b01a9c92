//! Engineering units and quantities, with exact conversion to the unit that readings are kept in.
//!
//! In: unit names as operators write them, `kPa`, `kgf/cm2`, `%LEL`. Out: [`Unit`], its quantity, its UCUM code, conversions.
//! Invariant: a conversion between two quantities does not exist; factors are kept as fractions, so that exact ones stay exact.
//! Source: UCUM; SI brochure; the definitions named beside the rows of [`table`].
//!
//! Lengths are one quantity, and so are flows and speeds: which unit people of a trade speak is decided by the sensor's class
//! ([`Unit::canonical_for`]): ponding water in cm, a crack in mm, a gauged channel in m.
//! Gauge and absolute pressure are two quantities: nothing but a barometer converts between them. Volume at 20 °C (`Sm3`), at 0 °C (`Nm3`)
//! and as it flows (`m3`) are never mixed. `mg` would be a milligram; the acceleration that sensors call mg is `milli-g`.
//!
//! ```
//! use lifeline_gateway::unit::Unit;
//! let (bar, mbar) = (Unit::parse("bar").unwrap(), Unit::parse("mbar").unwrap());
//! assert_eq!(mbar.convert(25.0, bar), Some(0.025));
//! assert_eq!(bar.canonical().name(), "kPa");
//! assert_eq!(Unit::parse("mm").unwrap().canonical_for("water-level").name(), "cm");
//! ```

pub mod spelling;
pub mod table;

use serde::{Deserialize, Serialize};

use crate::unit::table::{CANONICAL, Row, TABLE};

/// A unit by its short name as written in documents, `kPa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unit(u16);

impl Unit {
    /// The unit of this exact name (case counts: `mPa` is no unit, `MPa` is).
    pub fn parse(name: &str) -> Option<Self> {
        let index = TABLE.iter().position(|row| row.name == name)?;
        u16::try_from(index).ok().map(Self)
    }

    fn row(self) -> &'static Row {
        &TABLE[usize::from(self.0)]
    }

    /// The name in documents and outputs.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The UCUM code (case-sensitive; text in braces is an annotation).
    pub fn ucum(self) -> &'static str {
        self.row().ucum
    }

    /// The quantity's key, `pressure`.
    pub fn quantity(self) -> &'static str {
        self.row().quantity
    }

    /// The unit that readings of this quantity are kept in when the sensor's class has no word of its own.
    pub fn canonical(self) -> Self {
        let first = TABLE.iter().position(|row| row.quantity == self.quantity()).unwrap_or(0);
        Self(u16::try_from(first).unwrap_or(0))
    }

    /// The unit that readings of this quantity are kept in for sensors of `class`, `water-level`.
    pub fn canonical_for(self, class: &str) -> Self {
        CANONICAL
            .iter()
            .find(|(quantity, classes, _)| *quantity == self.quantity() && classes.contains(&class))
            .and_then(|(_, _, name)| Self::parse(name))
            .unwrap_or_else(|| self.canonical())
    }

    /// `(factor, offset)`: canonical = raw * factor + offset, canonical being [`Unit::canonical`].
    pub fn to_canonical(self) -> (f64, f64) {
        let row = self.row();
        (row.times / row.per, row.offset)
    }

    /// `(factor, offset)`: value in `to` = value in this unit * factor + offset; `None` for another quantity.
    pub fn to(self, to: Self) -> Option<(f64, f64)> {
        let (from, into) = (self.row(), to.row());
        let bridge = match (from.quantity, into.quantity) {
            (a, b) if a == b => 1.0,
            // By volume both, but sensors of toxic gases speak ppm and sensors of oxygen and methane percent.
            ("gas_vol", "gas_ppm") => 10_000.0,
            ("gas_ppm", "gas_vol") => 0.0001,
            _ => return None,
        };
        // A fraction: 4 mm/min is exactly 240 mm/h although neither is a whole number of m/s.
        let factor = bridge * (from.times * into.per) / (from.per * into.times);
        Some((factor, (from.offset - into.offset) * into.per / into.times))
    }

    /// `value` of this unit in `to`; `None` for another quantity.
    pub fn convert(self, value: f64, to: Self) -> Option<f64> {
        self.to(to).map(|(factor, offset)| value * factor + offset)
    }

    /// How many digits behind the point a number in `to` is shown with, that has `decimals` of them in this unit: a step of 0.1 m3/h is 0.0000278 m3/s,
    /// which five digits tell apart. At most 9.
    pub fn digits(self, decimals: u8, to: Self) -> u8 {
        let Some((factor, _)) = self.to(to) else { return decimals };
        let step = 0.1_f64.powi(decimals.into()) * factor;
        // A step of exactly 0.1 is one digit, whatever arithmetic leaves behind.
        let wanted = -step.abs().log10() - 1e-9;
        (0..9).find(|digits| f64::from(*digits) >= wanted).unwrap_or(9)
    }

    /// The same of a number whose digits nobody says: two of this unit, and two of `to` at least.
    pub fn usual_digits(self, to: Self) -> u8 {
        self.digits(2, to).max(2)
    }

    /// The unit of a change per minute, `kPa/min` for `kPa`: what `rate(...)` of a derived point gives. `None` when there is no such unit.
    pub fn per_minute(self) -> Option<Self> {
        Self::parse(&format!("{}/min", self.name()))
    }

    /// The unit of the integral over time, and the factor to it from this unit times minutes: m3 and 1/60 for m3/h, what `total(...)` of a derived point
    /// gives. `None` for a unit that is not per time.
    pub fn over_minutes(self) -> Option<(Self, f64)> {
        let (of, time) = self.name().rsplit_once('/')?;
        let factor = match time {
            "s" => 60.0,
            "min" => 1.0,
            "h" => 1.0 / 60.0,
            "d" => 1.0 / 1440.0,
            _ => return None,
        };
        Self::parse(of).map(|unit| (unit, factor))
    }

    /// All unit names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.name)
    }
}

/// `value` for a person, without what arithmetic leaves behind: 12 digits that count. 0.29 m are 29 cm and not 28.999999999999996.
pub fn rounded(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

impl Serialize for Unit {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown unit {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, from: &str, to: &str, want: f64) {
        let (from, to) = (Unit::parse(from).unwrap(), Unit::parse(to).unwrap());
        let got = from.convert(value, to).unwrap();
        assert!(
            (got - want).abs() <= want.abs() * 1e-12,
            "{value} {} = {got} {}, not {want}",
            from.name(),
            to.name()
        );
    }

    #[test]
    fn the_worked_numbers() {
        for (unit, want) in
            [("kPa", 200.0), ("bar", 2.0), ("psi", 29.007_547_546_041_84), ("mmH2O", 20_394.324_259_558_5)]
        {
            check(0.2, "MPa", unit, want);
        }
        check(2.5, "kPa", "mbar", 25.0);
        check(2.5, "kPa", "mmH2O", 254.929_053_244_482);
        check(1.0, "inH2O", "Pa", 249.088_91);
        check(1.0, "kgf/cm2", "MPa", 0.098_066_5);
        check(1.0, "kgf/cm2", "kPa", 98.066_5);
        check(1.0, "mH2O", "kPa", 9.806_65);
        check(1.0, "mmHg", "Pa", 133.322_387_415);
        check(1.0, "atm", "kPa", 101.325);
        check(1.0, "psi", "kPa", 6.894_757_293_168_361);
        check(1.0, "kPa", "psi", 0.145_037_737_730_209_2);
        check(12_500.0, "ppm", "%VOL", 1.25);
        check(1.25, "%VOL", "ppm", 12_500.0);
        check(0.5, "deg", "mrad", 8.726_646_259_971_648);
        check(1.0, "mrad", "deg", 0.057_295_779_513_082_3);
        check(4.0, "mm/min", "mm/h", 240.0);
        check(2.0, "mm/d", "m/s", 2.0 / 86_400_000.0);
        check(1.0, "L/s", "m3/h", 3.6);
        check(1.0, "Nm3/h", "Sm3/h", 293.15 / 273.15);
        check(1.0, "g", "m/s2", 9.806_65);
        check(12.0, "in", "ft", 1.0);
        check(235.0, "mm", "cm", 23.5);
        check(212.0, "degF", "degC", 100.0);
        check(-40.0, "degC", "degF", -40.0);
        check(25.0, "degC", "K", 298.15);
        check(0.0, "K", "degF", -459.67);
    }

    #[test]
    fn a_person_sees_no_rest_of_arithmetic() {
        for (value, want) in [
            (28.999_999_999_999_996, "29"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 36_000.0, "0.0000277777777778"),
            (-1.5, "-1.5"),
            (0.0, "0"),
            (123_456_789_012.0, "123456789012"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(rounded(value).to_string(), want);
        }
    }

    #[test]
    fn decimals_are_converted_with_the_unit() {
        for (unit, decimals, kept, want) in [
            ("m3/h", 1, "m3/s", 5),
            ("m3/h", 0, "m3/s", 4),
            ("m", 3, "cm", 1),
            ("m", 3, "mm", 0),
            ("m", 1, "cm", 0),
            ("mm", 0, "cm", 1),
            ("cm", 1, "cm", 1),
            ("kPa", 2, "kPa", 2),
            ("Pa", 1, "kPa", 4),
            ("bar", 3, "kPa", 1),
            ("bar", 1, "kPa", 0),
            ("mA", 3, "A", 6),
            ("mA", 9, "A", 9),
            ("A", 2, "mA", 0),
            ("degF", 1, "degC", 2),
            ("K", 1, "degC", 1),
            ("%VOL", 2, "kPa", 2),
        ] {
            let (from, to) = (Unit::parse(unit).unwrap(), Unit::parse(kept).unwrap());
            assert_eq!(from.digits(decimals, to), want, "{decimals} of {unit} in {kept}");
        }
    }

    #[test]
    fn conversions_that_do_not_exist() {
        for (from, to) in [
            ("kPa", "kPa-abs"),
            ("%LEL", "%VOL"),
            ("m3/h", "Nm3/h"),
            ("mm", "mm/h"),
            ("mg/m3", "ppm"),
            ("milli-g", "kg"),
        ] {
            assert_eq!(
                Unit::parse(from).unwrap().convert(1.0, Unit::parse(to).unwrap()),
                None,
                "{from} to {to}"
            );
        }
        assert_eq!(Unit::parse("mg"), None, "milligram or milli-g: nobody knows");
        assert_eq!(Unit::parse("KPA"), None);
    }

    #[test]
    fn each_name_stands_once_and_each_first_row_is_canonical() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(
                Unit::parse(row.name),
                Some(Unit(u16::try_from(index).unwrap())),
                "{} stands twice",
                row.name
            );
            assert!(!row.ucum.is_empty() && row.times > 0.0 && row.per > 0.0, "{}", row.name);
            let unit = Unit::parse(row.name).unwrap();
            assert_eq!(unit.canonical().to_canonical(), (1.0, 0.0), "{}", row.name);
            assert_eq!(unit.canonical().canonical(), unit.canonical());
        }
        let mut quantities: Vec<_> = TABLE.iter().map(|row| row.quantity).collect();
        quantities.dedup();
        let count = quantities.len();
        quantities.sort_unstable();
        quantities.dedup();
        assert_eq!(quantities.len(), count, "rows of one quantity stand together");
    }

    #[test]
    fn the_class_chooses_the_unit() {
        for (unit, class, want) in [
            ("mm", "water-level", "cm"),
            ("m", "water-level", "cm"),
            ("m", "water-flow", "m"),
            ("cm", "displacement", "mm"),
            ("m", "crack", "mm"),
            ("in", "rain", "mm"),
            ("mm/min", "rain", "mm/h"),
            ("mm/h", "displacement", "mm/d"),
            ("m/s", "water-level", "cm/min"),
            ("mm/s", "elevator", "m/s"),
            ("L/s", "water-flow", "m3/s"),
            ("L/s", "gas-flow", "m3/h"),
            ("bar", "gas-pressure", "kPa"),
            ("mA", "power", "A"),
            ("degF", "climate", "degC"),
            ("cm", "no-such-class", "mm"),
        ] {
            assert_eq!(Unit::parse(unit).unwrap().canonical_for(class).name(), want, "{unit} of {class}");
        }
        for (quantity, _, name) in CANONICAL {
            assert_eq!(Unit::parse(name).unwrap().quantity(), *quantity);
        }
    }

    #[test]
    fn there_and_back() {
        for from in Unit::names().filter_map(Unit::parse) {
            for to in Unit::names().filter_map(Unit::parse) {
                if let Some(there) = from.convert(7.25, to) {
                    let back = to.convert(there, from).unwrap();
                    assert!((back - 7.25).abs() < 1e-9, "{} to {} and back: {back}", from.name(), to.name());
                }
            }
        }
    }
}
