//! Engineering units and quantities, with exact conversion to the quantity's canonical unit.

use serde::{Deserialize, Serialize};

/// A unit by its short name as written in documents, `kPa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unit(u16);

struct Row { name: &'static str, quantity: &'static str, ucum: &'static str, factor: f64, offset: f64 }

/// Rows of one quantity stand together, its canonical unit first; canonical = raw * factor + offset.
static TABLE: &[Row] = &[
    Row { name: "kPa", quantity: "pressure", ucum: "kPa", factor: 1.0, offset: 0.0 },
    Row { name: "bar", quantity: "pressure", ucum: "bar", factor: 100.0, offset: 0.0 },
];

impl Unit {
    /// The unit of this exact name.
    pub fn parse(name: &str) -> Option<Self> {
        let index = TABLE.iter().position(|row| row.name == name)?;
        u16::try_from(index).ok().map(Self)
    }
    fn row(self) -> &'static Row { &TABLE[self.0 as usize] }
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
