//! What becomes of the windows of rules (sums, slopes, trends, states over a time) that other documents change or bring.
//!
//! In: the difference between two sites. Out: the same difference, in which the items of those rules say it.
//! Invariant: it is said exactly of the rules whose readings a reload looks for in the journal, as after a restart.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::{Condition, Rule};
use crate::point::PointId;
use crate::site::Site;
use crate::site::diff::ends::Voice;
use crate::site::diff::{Diff, Item, Sign, unmoved_points};

/// Says of each rule in `found` with a window whether the journal fills it, or why it begins anew.
pub(crate) fn tell(found: &mut Diff, (old, new): (&Site, &Site), voice: Voice) {
    let rules: BTreeMap<&str, &Rule> = new.rules.iter().map(|rule| (rule.name.as_str(), rule)).collect();
    let before: BTreeMap<&str, &str> =
        old.rules.iter().map(|rule| (rule.name.as_str(), rule.version.as_str())).collect();
    let asks = |item: &&mut Item| item.kind == "rule" && item.sign != Sign::Removed;
    let known: BTreeSet<PointId> = unmoved_points(old, new).into_iter().flatten().collect();
    for item in found.items.iter_mut().filter(asks) {
        let rule = rules.get(item.name.as_str());
        let Some(rule) = rule.filter(|rule| before.get(rule.name.as_str()) != Some(&rule.version.as_str()))
        else {
            continue;
        };
        let Condition::Measured { measured, inputs } = &rule.condition else { continue };
        let window = measured.measure.memory();
        if window.is_zero() {
            continue;
        }
        item.what.push(match inputs.iter().find(|input| !known.contains(input)) {
            None => format!("{} its window of {window:?} from the journal", voice.fills()),
            Some(input) => {
                let point = new.catalog.point(*input).map(|point| point.name.as_str()).unwrap_or_default();
                format!(
                    "{} its window of {window:?} anew, for {point} has no earlier readings of this meaning",
                    voice.begins()
                )
            }
        });
    }
}

/// Whether two rules make the same number of the same readings; what they compare it with may differ.
pub(crate) fn same((old, was): (&Site, &Rule), (new, is): (&Site, &Rule)) -> bool {
    let (
        Condition::Measured { measured: one, inputs: before },
        Condition::Measured { measured: other, inputs },
    ) = (&was.condition, &is.condition)
    else {
        return false;
    };
    let name =
        |site: &Site, id: PointId| site.catalog.point(id).map(|point| (point.name.clone(), point.unit));
    let of = |site: &Site, ids: &[PointId]| ids.iter().map(|id| name(site, *id)).collect::<Vec<_>>();
    one.measure == other.measure
        && one.spikes == other.spikes
        && one.factor.total_cmp(&other.factor).is_eq()
        && one.unit == other.unit
        && of(old, before) == of(new, inputs)
}
