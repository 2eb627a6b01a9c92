//! Engineering units and quantities, with exact conversion to the quantity's canonical unit.
//!
//! In: unit names of documents. Out: factors, and the unit that readings of a sensor class are kept in.
//! Invariant: only units of one quantity convert into each other; an unknown name is never guessed.
//! Source: SI brochure, NIST SP 811 (factors are exact by definition unless they are rational).

use serde::{Deserialize, Serialize};

/// A unit by its short name as written in documents, `kPa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unit(u16);

struct Row { name: &'static str, quantity: &'static str, ucum: &'static str, factor: f64, offset: f64 }

/// Rows of one quantity stand together, its canonical unit first; canonical = raw * factor + offset.
static TABLE: &[Row] = &[
    Row { name: "kPa", quantity: "pressure", ucum: "kPa", factor: 1.0, offset: 0.0 },
    Row { name: "Pa", quantity: "pressure", ucum: "Pa", factor: 0.001, offset: 0.0 },
    Row { name: "bar", quantity: "pressure", ucum: "bar", factor: 100.0, offset: 0.0 },
    Row { name: "mbar", quantity: "pressure", ucum: "mbar", factor: 0.1, offset: 0.0 },
    Row { name: "hPa", quantity: "pressure", ucum: "hPa", factor: 0.1, offset: 0.0 },
    Row { name: "MPa", quantity: "pressure", ucum: "MPa", factor: 1000.0, offset: 0.0 },
    Row { name: "psi", quantity: "pressure", ucum: "[psi]", factor: 6.894757293168361, offset: 0.0 },
    Row { name: "mmH2O", quantity: "pressure", ucum: "mm[H2O]", factor: 0.00980665, offset: 0.0 },
    Row { name: "mH2O", quantity: "pressure", ucum: "m[H2O]", factor: 9.80665, offset: 0.0 },
    Row { name: "inH2O", quantity: "pressure", ucum: "[in_i'H2O]", factor: 0.24908891, offset: 0.0 },
    Row { name: "kgf/cm2", quantity: "pressure", ucum: "kgf/cm2", factor: 98.0665, offset: 0.0 },
    Row { name: "atm", quantity: "pressure", ucum: "atm", factor: 101.325, offset: 0.0 },
    Row { name: "mm", quantity: "length", ucum: "mm", factor: 1.0, offset: 0.0 },
    Row { name: "cm", quantity: "length", ucum: "cm", factor: 10.0, offset: 0.0 },
    Row { name: "m", quantity: "length", ucum: "m", factor: 1000.0, offset: 0.0 },
    Row { name: "in", quantity: "length", ucum: "[in_i]", factor: 25.4, offset: 0.0 },
    Row { name: "ft", quantity: "length", ucum: "[ft_i]", factor: 304.8, offset: 0.0 },
    Row { name: "mm/h", quantity: "length-rate", ucum: "mm/h", factor: 1.0, offset: 0.0 },
    Row { name: "mm/min", quantity: "length-rate", ucum: "mm/min", factor: 60.0, offset: 0.0 },
    Row { name: "cm/min", quantity: "length-rate", ucum: "cm/min", factor: 600.0, offset: 0.0 },
    Row { name: "cm/h", quantity: "length-rate", ucum: "cm/h", factor: 10.0, offset: 0.0 },
    Row { name: "mm/d", quantity: "length-rate", ucum: "mm/d", factor: 0.041666666666666664, offset: 0.0 },
    Row { name: "kPa/min", quantity: "pressure-rate", ucum: "kPa/min", factor: 1.0, offset: 0.0 },
    Row { name: "degC", quantity: "temperature", ucum: "Cel", factor: 1.0, offset: 0.0 },
    Row { name: "K", quantity: "temperature", ucum: "K", factor: 1.0, offset: -273.15 },
    Row { name: "degF", quantity: "temperature", ucum: "[degF]", factor: 0.5555555555555556, offset: -17.77777777777778 },
    Row { name: "deg", quantity: "angle", ucum: "deg", factor: 1.0, offset: 0.0 },
    Row { name: "mrad", quantity: "angle", ucum: "mrad", factor: 0.0572957795130823, offset: 0.0 },
    Row { name: "%LEL", quantity: "gas-lel", ucum: "%{LEL}", factor: 1.0, offset: 0.0 },
    Row { name: "ppm", quantity: "gas-ppm", ucum: "[ppm]", factor: 1.0, offset: 0.0 },
    Row { name: "%VOL", quantity: "gas-ppm", ucum: "%{vol}", factor: 10000.0, offset: 0.0 },
    Row { name: "mg/m3", quantity: "gas-mass", ucum: "mg/m3", factor: 1.0, offset: 0.0 },
    Row { name: "m3/h", quantity: "flow", ucum: "m3/h", factor: 1.0, offset: 0.0 },
    Row { name: "L/s", quantity: "flow", ucum: "L/s", factor: 3.6, offset: 0.0 },
    Row { name: "m3/s", quantity: "flow", ucum: "m3/s", factor: 3600.0, offset: 0.0 },
    Row { name: "m3", quantity: "volume", ucum: "m3", factor: 1.0, offset: 0.0 },
    Row { name: "L", quantity: "volume", ucum: "L", factor: 0.001, offset: 0.0 },
    Row { name: "m/s", quantity: "speed", ucum: "m/s", factor: 1.0, offset: 0.0 },
    Row { name: "milli-g", quantity: "acceleration", ucum: "m[g]", factor: 1.0, offset: 0.0 },
    Row { name: "g", quantity: "acceleration", ucum: "[g]", factor: 1000.0, offset: 0.0 },
    Row { name: "%", quantity: "share", ucum: "%", factor: 1.0, offset: 0.0 },
    Row { name: "mA", quantity: "current", ucum: "mA", factor: 1.0, offset: 0.0 },
    Row { name: "A", quantity: "current", ucum: "A", factor: 1000.0, offset: 0.0 },
    Row { name: "V", quantity: "voltage", ucum: "V", factor: 1.0, offset: 0.0 },
    Row { name: "mV", quantity: "voltage", ucum: "mV", factor: 0.001, offset: 0.0 },
    Row { name: "W", quantity: "power", ucum: "W", factor: 1.0, offset: 0.0 },
    Row { name: "kW", quantity: "power", ucum: "kW", factor: 1000.0, offset: 0.0 },
    Row { name: "kWh", quantity: "energy", ucum: "kW.h", factor: 1.0, offset: 0.0 },
    Row { name: "Hz", quantity: "frequency", ucum: "Hz", factor: 1.0, offset: 0.0 },
    Row { name: "dBm", quantity: "level", ucum: "dB{mW}", factor: 1.0, offset: 0.0 },
    Row { name: "dB", quantity: "ratio", ucum: "dB", factor: 1.0, offset: 0.0 },
    Row { name: "s", quantity: "time", ucum: "s", factor: 1.0, offset: 0.0 },
    Row { name: "min", quantity: "time", ucum: "min", factor: 60.0, offset: 0.0 },
    Row { name: "h", quantity: "time", ucum: "h", factor: 3600.0, offset: 0.0 },
    Row { name: "ms", quantity: "time", ucum: "ms", factor: 0.001, offset: 0.0 },
];

impl Unit {
    /// The unit of this exact name.
    pub fn parse(name: &str) -> Option<Self> {
        let index = TABLE.iter().position(|row| row.name == name)?;
        u16::try_from(index).ok().map(Self)
    }
    fn row(self) -> &'static Row { &TABLE[usize::from(self.0)] }
    /// The name in documents and outputs.
    pub fn name(self) -> &'static str { self.row().name }
    /// The UCUM code.
    pub fn ucum(self) -> &'static str { self.row().ucum }
    /// The quantity's key, `pressure`.
    pub fn quantity(self) -> &'static str { self.row().quantity }
    /// The unit that readings of this quantity are kept in.
    pub fn canonical(self) -> Self {
        let first = TABLE.iter().position(|row| row.quantity == self.quantity()).unwrap_or(0);
        Self(u16::try_from(first).unwrap_or(0))
    }
    /// The unit that readings of this quantity are kept in for a sensor class: water depth in cm, everything else as [`Unit::canonical`].
    pub fn canonical_for(self, class: &str) -> Self {
        let depth = class == "water-level" && self.quantity() == "length";
        if depth { Self::parse("cm").unwrap_or(self) } else { self.canonical() }
    }
    /// `(factor, offset)`: canonical = raw * factor + offset.
    pub fn to_canonical(self) -> (f64, f64) { (self.row().factor, self.row().offset) }
    /// `value` of this unit in `to`; `None` for another quantity.
    pub fn convert(self, value: f64, to: Self) -> Option<f64> {
        (self.quantity() == to.quantity()).then(|| (value * self.row().factor + self.row().offset - to.row().offset) / to.row().factor)
    }
    /// All unit names.
    pub fn names() -> impl Iterator<Item = &'static str> { TABLE.iter().map(|row| row.name) }
}

impl Serialize for Unit {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(self.name()) }
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

    fn check(value: f64, from: &str, to: &str, expected: f64) {
        let got = Unit::parse(from).unwrap().convert(value, Unit::parse(to).unwrap()).unwrap();
        assert!((got - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{value} {from} = {got} {to}, not {expected}");
    }

    #[test]
    fn worked_numbers() {
        check(0.2, "MPa", "kPa", 200.0);
        check(0.2, "MPa", "psi", 29.007_547_546_041_84);
        check(0.2, "MPa", "mmH2O", 20_394.324_259_558_5);
        check(2.5, "kPa", "mbar", 25.0);
        check(1.0, "inH2O", "Pa", 249.088_91);
        check(1.0, "kgf/cm2", "MPa", 0.098_066_5);
        check(1.25, "%VOL", "ppm", 12_500.0);
        check(0.5, "deg", "mrad", 8.726_646_259_971_648);
        check(4.0, "mm/min", "mm/h", 240.0);
        check(32.0, "degF", "degC", 0.0);
        check(0.0, "degC", "K", 273.15);
    }

    #[test]
    fn other_quantities_do_not_convert() {
        let unit = |name| Unit::parse(name).unwrap();
        assert_eq!(unit("mm").convert(1.0, unit("kPa")), None);
        assert_eq!(Unit::parse("公斤"), None);
        assert_eq!(unit("m").canonical_for("water-level"), unit("cm"));
        assert_eq!(unit("m").canonical_for("crack"), unit("mm"));
    }
}
