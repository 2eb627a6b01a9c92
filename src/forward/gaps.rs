//! Sets of commits as spans.
//!
//! In: spans. Out: the same commits as few spans, oldest first, disjoint, not touching.
//! Invariant: what is put in stays in until it is taken out; never more than [`GAPS_MAX`] spans.

use crate::journal::Span;

/// Gaps kept at most; beyond it the two nearest become one, which repeats what lies between them.
pub const GAPS_MAX: usize = 64;

/// Puts `span` into `gaps` (oldest first, disjoint), merging what touches; bounded by [`GAPS_MAX`].
pub fn add(gaps: &mut Vec<Span>, span: Span) {
    gaps.push(span);
    gaps.sort_by_key(|gap| gap.from);
    gaps.dedup_by(|later, earlier| {
        let touch = later.from <= earlier.to;
        if touch {
            earlier.to = earlier.to.max(later.to);
        }
        touch
    });
    while gaps.len() > GAPS_MAX {
        let holes = gaps.iter().zip(gaps.iter().skip(1)).map(|(a, b)| b.from.0.saturating_sub(a.to.0));
        let Some((nearest, _)) = holes.enumerate().min_by_key(|(_, hole)| *hole) else { return };
        let next = gaps.remove(nearest.saturating_add(1));
        if let Some(gap) = gaps.get_mut(nearest) {
            gap.to = next.to;
        }
    }
}

/// Takes `span` out of `gaps`.
pub fn remove(gaps: &mut Vec<Span>, span: Span) {
    let rest = std::mem::take(gaps).into_iter().flat_map(|gap| {
        let left = Span { from: gap.from, to: gap.to.min(span.from) };
        let right = Span { from: gap.from.max(span.to), to: gap.to };
        [left, right].into_iter().filter(|part| part.from < part.to)
    });
    *gaps = rest.collect();
}
