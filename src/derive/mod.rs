//! Points computed from points: an expression over inputs, quality carried through.

use crate::clock::Timestamp;
use crate::point::{Catalog, PointId};
use crate::reading::{Batch, Reading};

/// One derived point as `site` compiled it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The point that it makes.
    pub point: PointId,
    /// Name in the expression and the point it stands for.
    pub inputs: Vec<(String, PointId)>,
    /// The expression, `presence == 1.0 && moving == 0.0` or `rate(level, '5m')`; a bool result is 0 or 1.
    pub value: String,
    /// Factor from the expression's unit to the point's canonical unit.
    pub factor: f64,
}

/// All derived points of a site.
pub struct Derived {}

impl Derived {
    /// Compiles and dry-runs one expression; the error is text for a person.
    ///
    /// # Errors
    /// Syntax, unknown names, macros, wrong result type.
    pub fn check(_settings: &Settings) -> Result<(), String> {
        todo!()
    }
    /// Derived points that passed [`Derived::check`].
    pub fn new(_settings: Vec<Settings>, _catalog: &Catalog) -> Self {
        todo!()
    }
    /// Takes the readings of `batch` in and returns a reading for each derived point that one of them feeds.
    pub fn apply(&mut self, _batch: &Batch, _now: Timestamp) -> Vec<Reading> {
        todo!()
    }
}
