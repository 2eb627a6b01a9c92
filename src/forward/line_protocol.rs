//! Line protocol of InfluxDB.

use crate::point::Catalog;
use crate::reading::Reading;

/// Appends the line of `reading`, with its line end, to `out`.
pub fn reading(_catalog: &Catalog, _reading: &Reading, _out: &mut String) {
    todo!()
}
