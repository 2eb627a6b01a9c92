//! From the numbers of one version of the documents to those of another.
//!
//! In: two sites. Out: a reading, or what is kept by number, at its new place.
//! Invariant: what means something else by now, or is gone, has no new place.

use crate::point::{PointId, Renumbering};
use crate::reading::{Reading, Reason, Sample};
use crate::site::{Site, diff};

/// From the numbers of one version of the documents to those of another.
pub(crate) struct Seam {
    kept: Vec<Option<PointId>>,
    pub(crate) numbers: Renumbering,
}

impl Seam {
    pub(crate) fn new(old: &Site, new: &Site) -> Self {
        Self { kept: diff::kept_points(old, new), numbers: old.catalog.renumbered(&new.catalog) }
    }

    /// A reading under its point's new number, when that still means the same; the input that it names has a new one, too.
    pub(crate) fn carry(&self, reading: Reading) -> Option<Reading> {
        let point = self.kept.get(reading.point.0 as usize).copied().flatten()?;
        let sample = match reading.sample {
            Sample::Bad(Reason::Input(input)) => {
                Sample::Bad(self.numbers.point(input).map_or(Reason::NotPolled, Reason::Input))
            }
            sample => sample,
        };
        Some(Reading { point, sample, ..reading })
    }
}

/// Each of `from` at its new place among `count`; new ones are empty.
pub(crate) fn moved<T: Clone + Default>(
    from: &[T],
    count: usize,
    place: impl Fn(u32) -> Option<u32>,
) -> Vec<T> {
    let mut to = vec![T::default(); count];
    for (id, value) in (0..).zip(from) {
        if let Some(slot) = place(id).and_then(|place| to.get_mut(place as usize)) {
            slot.clone_from(value);
        }
    }
    to
}
