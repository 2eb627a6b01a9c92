//! Firmware versions: which overlay of a profile a device's version falls under.
//!
//! In: the scheme that the profile declares, the overlay's `versions`, the device's version. Out: whether it falls under it.
//! Invariant: a version that the scheme can't read is an error and never "no".
//! Source: DESIGN section 6; Keller protocol series 30 v3.5 for `class.group-year.week`.

use std::cmp::Ordering;

/// The last week of a year.
const WEEK_MAX: u64 = 53;

/// How a maker counts versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `2.4` or `2.4.1`; missing places are zero.
    #[default]
    Semantic,
    /// `5.20-10.40`: class, group, year (two or four digits), week.
    ClassGroupYearWeek,
    /// One whole number.
    Number,
    /// Names without an order: only equality.
    Text,
}

impl Scheme {
    /// All schemes.
    pub const ALL: [Self; 4] = [Self::Semantic, Self::ClassGroupYearWeek, Self::Number, Self::Text];

    /// The name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Semantic => "semantic",
            Self::ClassGroupYearWeek => "class.group-year.week",
            Self::Number => "number",
            Self::Text => "text",
        }
    }

    /// The scheme of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }

    /// The version's places, most significant first (a text has none).
    fn places(self, version: &str) -> Option<Vec<u64>> {
        let whole = |text: &str| -> Option<u64> {
            (!text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()))
                .then(|| text.parse().ok())
                .flatten()
        };
        let pair = |text: &str| text.split_once('.').and_then(|(a, b)| Some((whole(a)?, whole(b)?)));
        match self {
            Self::Semantic => {
                let mut places = version
                    .strip_prefix(['v', 'V'])
                    .unwrap_or(version)
                    .split('.')
                    .map(whole)
                    .collect::<Option<Vec<_>>>()
                    .filter(|places| places.len() <= 3)?;
                places.resize(3, 0);
                Some(places)
            }
            Self::ClassGroupYearWeek => {
                let (kind, built) = version.split_once('-')?;
                let ((class, group), (year, week)) = (pair(kind)?, pair(built)?);
                // Sensors print 10.40, order sheets 2010.40.
                (week <= WEEK_MAX)
                    .then(|| vec![class, group, if year >= 2000 { year - 2000 } else { year }, week])
            }
            Self::Number => Some(vec![whole(version)?]),
            Self::Text => None,
        }
    }

    /// The lowest version; none among names without an order.
    const fn lowest(self) -> Option<&'static str> {
        match self {
            Self::Semantic => Some("0.0.0"),
            Self::ClassGroupYearWeek => Some("0.0-0.0"),
            Self::Number => Some("0"),
            Self::Text => None,
        }
    }

    /// The version with none between `version` and it.
    fn next(self, version: &str) -> Option<String> {
        let places = self.places(version)?;
        match (self, places.as_slice()) {
            (Self::Semantic, [major, minor, patch]) => {
                Some(format!("{major}.{minor}.{}", patch.checked_add(1)?))
            }
            (Self::ClassGroupYearWeek, [class, group, year, week]) => {
                let (year, week) =
                    if *week < WEEK_MAX { (*year, week + 1) } else { (year.checked_add(1)?, 0) };
                Some(format!("{class}.{group}-{year}.{week}"))
            }
            (Self::Number, [number]) => Some(number.checked_add(1)?.to_string()),
            _ => None,
        }
    }

    fn compare(self, a: &str, b: &str) -> Option<Ordering> {
        match self {
            Self::Text => (!a.is_empty() && !b.is_empty()).then(|| a.cmp(b)),
            _ => Some(self.places(a)?.cmp(&self.places(b)?)),
        }
    }
}

/// Whether `version` falls under `versions`: comparisons (`>=`, `<=`, `>`, `<`, `=` or none) joined by `,` for and, by `|` for or.
///
/// # Errors
/// Text for a person: a version that the scheme can't read; `<` or `>` between names without an order.
pub fn matches(scheme: Scheme, versions: &str, version: &str) -> Result<bool, String> {
    let mut any = false;
    for alternative in versions.split('|') {
        let mut all = true;
        for part in alternative.split(',') {
            all &= holds(scheme, part.trim(), version.trim())?;
        }
        any |= all;
    }
    Ok(any)
}

/// Whether the scheme can read all of `versions`.
///
/// # Errors
/// Text for a person: what it can't read.
pub fn check(scheme: Scheme, versions: &str) -> Result<(), String> {
    for part in versions.split(['|', ',']).map(str::trim) {
        holds(scheme, part, part.trim_start_matches(['<', '>', '=']).trim())?;
    }
    Ok(())
}

/// Versions of which every part of the order that `versions` and other bounds of these cut out has one: for a maker's `>=2.0, <2.4` the bounds, what comes
/// before and after them as makers count, and last the very next and the lowest version that the scheme knows, for intervals as `>2.0, <2.1`.
///
/// ```
/// use lifeline_gateway::profile::version::{Scheme, samples};
/// assert_eq!(samples(Scheme::Semantic, "<2.0"), ["2.0", "1.0", "2.1", "2.0.1", "0.0.0"]);
/// assert_eq!(samples(Scheme::Text, "tenths"), ["tenths"]);
/// ```
pub fn samples(scheme: Scheme, versions: &str) -> Vec<String> {
    let parts = versions.split(['|', ',']);
    let bounds = parts.map(|part| part.trim().trim_start_matches(['<', '>', '=']).trim());
    let bounds: Vec<&str> = bounds.filter(|bound| scheme.compare(bound, bound).is_some()).collect();
    let mut near: Vec<String> = Vec::new();
    for bound in &bounds {
        near.push((*bound).to_owned());
        if scheme != Scheme::Text {
            near.extend(beside(bound, |number| number.checked_sub(1)));
            near.extend(beside(bound, |number| number.checked_add(1)));
        }
    }
    // What lies between two bounds begins at one of them, right behind one, or at the very beginning.
    near.extend(bounds.iter().filter_map(|bound| scheme.next(bound)));
    near.extend(scheme.lowest().filter(|_| !near.is_empty()).map(str::to_owned));
    let mut found: Vec<String> = Vec::new();
    for version in near.into_iter().filter(|version| scheme.compare(version, version).is_some()) {
        if !found.iter().any(|known| scheme.compare(known, &version) == Some(Ordering::Equal)) {
            found.push(version);
        }
    }
    found
}

/// The version with its last number that `step` can change changed.
fn beside(version: &str, step: impl Fn(u64) -> Option<u64>) -> Option<String> {
    let mut end = version.len();
    while let Some(last) = version.get(..end)?.rfind(|letter: char| letter.is_ascii_digit()) {
        let head = version.get(..=last)?;
        let from = head.rfind(|letter: char| !letter.is_ascii_digit()).map_or(0, |at| at + 1);
        if let Some(number) = head.get(from..)?.parse().ok().and_then(&step) {
            return Some(format!("{}{number}{}", version.get(..from)?, version.get(last + 1..)?));
        }
        end = from;
    }
    None
}

fn holds(scheme: Scheme, part: &str, version: &str) -> Result<bool, String> {
    let (sign, bound) = ["==", ">=", "<=", ">", "<", "="]
        .into_iter()
        .find_map(|sign| part.strip_prefix(sign).map(|bound| (sign, bound.trim())))
        .unwrap_or(("=", part));
    if scheme == Scheme::Text && sign.contains(['<', '>']) {
        return Err(format!("versions of scheme text have no order: {part}"));
    }
    let order = scheme.compare(version, bound).ok_or_else(|| {
        let wrong = if scheme.compare(bound, bound).is_none() { bound } else { version };
        format!("not a version of scheme {}: {wrong:?}", scheme.name())
    })?;
    Ok(match sign {
        ">=" => order.is_ge(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        "<" => order.is_lt(),
        _ => order.is_eq(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let keller = Scheme::ClassGroupYearWeek;
        for (scheme, versions, version, want) in [
            (Scheme::Semantic, ">=2.0, <2.4", "2.2", true),
            (Scheme::Semantic, ">=2.0, <2.4", "2.4", false),
            (Scheme::Semantic, ">=2.0, <2.4", "2.3.9", true),
            (Scheme::Semantic, "<2.10", "v2.9", true),
            (Scheme::Semantic, "1.0 | 3.0", "3", true),
            (keller, "<5.20-10.40", "5.20-5.50", true),
            (keller, ">=5.20-10.40, <5.20-12.28", "5.20-2012.27", true),
            (keller, ">=5.20-10.40, <5.20-12.28", "5.20-12.28", false),
            (keller, ">=5.21-0.0", "5.21-13.2", true),
            (Scheme::Number, ">=7", "10", true),
            (Scheme::Text, "LX-80 | LX-81", "LX-81", true),
            (Scheme::Text, "= B", "A", false),
        ] {
            assert_eq!(matches(scheme, versions, version), Ok(want), "{versions} and {version}");
        }
    }

    #[test]
    fn samples_fall_on_both_sides_of_each_bound() {
        let all = "<5.20-10.40 | >=5.20-10.40, <5.21-0.0 | >=5.21-0.0";
        let samples = samples(Scheme::ClassGroupYearWeek, all);
        for versions in all.split('|').map(str::trim) {
            let met = |version: &String| matches(Scheme::ClassGroupYearWeek, versions, version) == Ok(true);
            assert!(samples.iter().any(met), "{versions}: {samples:?}");
        }
        assert_eq!(super::samples(Scheme::Number, ">7, <=9"), ["7", "6", "8", "9", "10", "0"]);
        assert_eq!(
            super::samples(Scheme::ClassGroupYearWeek, "1.1-1.53"),
            ["1.1-1.53", "1.1-1.52", "1.1-2.0", "0.0-0.0"]
        );
        assert_eq!(
            super::samples(Scheme::Semantic, "v2.0 | 2.0.0"),
            ["v2.0", "v1.0", "v2.1", "2.0.1", "0.0.0"]
        );
        assert_eq!(super::samples(Scheme::Number, "<x"), Vec::<String>::new());
    }

    #[test]
    fn an_interval_that_has_a_version_has_a_sample() {
        let semantic = |number: u64| format!("{}.{}.{}", number / 9, number / 3 % 3, number % 3);
        let weeks = |number: u64| {
            let (year, week) = (number / 3 % 3, [0, 1, WEEK_MAX][usize::try_from(number % 3).unwrap()]);
            format!("{}.0-{year}.{week}", number / 9)
        };
        let spelled: [(Scheme, &dyn Fn(u64) -> String); 3] = [
            (Scheme::Semantic, &semantic),
            (Scheme::ClassGroupYearWeek, &weeks),
            (Scheme::Number, &|number| number.to_string()),
        ];
        for (scheme, version) in spelled {
            let all: Vec<String> = (0..27).map(version).collect();
            let met = |versions: &str, version: &String| matches(scheme, versions, version) == Ok(true);
            for (low, high) in all.iter().flat_map(|low| all.iter().map(move |high| (low, high))) {
                for (from, to) in [(">", "<"), (">=", "<"), (">", "<="), (">=", "<=")] {
                    let versions = format!("{from}{low}, {to}{high}");
                    if all.iter().any(|version| met(&versions, version)) {
                        let samples = super::samples(scheme, &versions);
                        assert!(
                            samples.iter().any(|version| met(&versions, version)),
                            "{versions}: {samples:?}"
                        );
                    }
                }
            }
        }
        let open = super::samples(Scheme::Semantic, ">2.0, <2.1");
        assert!(
            open.iter().any(|version| matches(Scheme::Semantic, ">2.0, <2.1", version) == Ok(true)),
            "{open:?}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for (scheme, versions, version) in [
            (Scheme::Semantic, ">=2.0", "5.20-10.40"),
            (Scheme::Semantic, ">=x", "2.0"),
            (Scheme::Semantic, "", "2.0"),
            (Scheme::ClassGroupYearWeek, ">=5.20-10.40", "10.40"),
            (Scheme::ClassGroupYearWeek, ">=5.20-10.40", "5.20-10.54"),
            (Scheme::Number, ">=1", "1.5"),
            (Scheme::Text, ">= A", "A"),
        ] {
            assert!(matches(scheme, versions, version).is_err(), "{versions} and {version}");
        }
        assert_eq!(check(Scheme::Semantic, ">=2.0, <2.4 | 3"), Ok(()));
        for (scheme, versions) in
            [(Scheme::Semantic, ">=2.0, <x"), (Scheme::Number, ""), (Scheme::Text, ">= A")]
        {
            assert!(check(scheme, versions).is_err(), "{versions}");
        }
        assert!(matches(Scheme::Semantic, ">=x", "2.0").unwrap_err().ends_with("\"x\""));
    }
}
