//! Firmware: what a device's version changes of its model, and where the device tells its version.
//!
//! In: a model's fields and overlays, a version or none. Out: a [`Variant`]: the fields and limits of that version.
//! Invariant: all variants of a model have the same fields at the same places (what one of them lacks is absent there), so that points are
//! fixed when the documents are read. Without a version only what all variants agree on is there, with the most careful limits.
//! Source: DESIGN section 6; KELLER protocol series 30 v3.5 (a model whose largest read, faults and addresses change with its version).

use std::sync::Arc;
use std::time::Duration;

use crate::profile::version::{Scheme, matches};
use crate::profile::{Field, Limits, Profile, Wake};

/// What some versions change.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlay {
    /// Which versions, as [`matches`] reads it.
    pub versions: String,
    /// Their limits, whole.
    pub limits: Limits,
    /// Names of points that they don't have.
    pub without: Vec<String>,
    /// Points that they have instead (same name) or beside.
    pub fields: Vec<Field>,
}

/// A device is asked for its version this often at least: one that was exchanged between two polls would be taken for the old one no longer.
pub const ASKED_EVERY: Duration = Duration::from_secs(600);

/// Where a device tells its version.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// In registers.
    Cells(Box<Field>, Form),
    /// In this object of its identity (FC 43/14), as text; 2 is the standard's place.
    Identity(u8),
}

/// Where a device tells its version, and what it means when it can't.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// Where.
    pub from: Told,
    /// The version of a device that refuses this request.
    pub refused: Option<String>,
}

/// How the number in registers spells a version.
///
/// ```
/// use lifeline_gateway::profile::firmware::Form;
/// assert_eq!(Form::parse("{n/100}.{n%100}").unwrap().emit(204, 2), "2.4");
/// assert_eq!(Form::parse("{A}.{B}-{C}.{D}").unwrap().emit(0x0514_0C1C, 4), "5.20-12.28");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(String),
    /// The byte of this letter, A (0) the most significant.
    Byte(u8),
    Whole,
    Quotient(u64),
    Remainder(u64),
}

/// The model as its documents say, and what its versions change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Firmware {
    /// How the maker counts versions.
    pub scheme: Scheme,
    /// Where a device tells its version; `None`: nowhere, a site names it.
    pub telling: Option<Telling>,
    /// The version that the site's document names.
    pub named: Option<String>,
    /// Limits before any overlay.
    pub limits: Limits,
    /// Fields before any overlay; shared by all devices of the model.
    pub fields: Arc<Vec<Field>>,
    /// In the order of the document; later ones win.
    pub overlays: Vec<Overlay>,
}

/// A model at one version, or at an unknown one.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Limits on the line.
    pub limits: Limits,
    /// All fields of all variants; an absent one as another variant has it.
    pub fields: Vec<Field>,
    /// For each field whether this variant lacks it.
    pub absent: Vec<bool>,
}

impl Form {
    /// The form of a document's text: `{A}` to `{H}` a byte, `{n}` the number, `{n/100}` and `{n%100}` its quotient and remainder.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((plain, behind)) = rest.split_once('{') {
            let (inside, after) = behind.split_once('}')?;
            if !plain.is_empty() {
                pieces.push(Piece::Plain(plain.to_owned()));
            }
            pieces.push(Piece::parse(inside)?);
            rest = after;
        }
        if pieces.is_empty() || rest.contains('}') {
            return None;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Plain(rest.to_owned()));
        }
        Some(Self(pieces))
    }

    /// The version that `number`, which came in `bytes` bytes (1 to 8), spells.
    pub fn emit(&self, number: u64, bytes: usize) -> String {
        let all = number.to_be_bytes();
        let own = all.get(all.len().saturating_sub(bytes)..).unwrap_or_default();
        let spell = |piece: &Piece| match piece {
            Piece::Plain(text) => text.clone(),
            Piece::Byte(letter) => own.get(usize::from(*letter)).map_or_else(String::new, u8::to_string),
            Piece::Whole => number.to_string(),
            Piece::Quotient(by) => (number / by).to_string(),
            Piece::Remainder(by) => (number % by).to_string(),
        };
        self.0.iter().map(spell).collect()
    }

    /// The number, in `bytes` bytes, that spells `version`: the inverse of [`Self::emit`].
    pub fn number(&self, version: &str, bytes: usize) -> Option<u64> {
        let mut own = vec![0_u8; bytes.min(8)];
        let (mut whole, mut by_bytes, mut rest) = (0_u64, false, version);
        for piece in &self.0 {
            if let Piece::Plain(text) = piece {
                rest = rest.strip_prefix(text.as_str())?;
                continue;
            }
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, after) = rest.split_at_checked(end)?;
            let number: u64 = digits.parse().ok()?;
            rest = after;
            match piece {
                Piece::Byte(letter) => {
                    *own.get_mut(usize::from(*letter))? = u8::try_from(number).ok()?;
                    by_bytes = true;
                }
                Piece::Quotient(by) => whole = whole.checked_add(number.checked_mul(*by)?)?,
                Piece::Whole | Piece::Remainder(_) => whole = whole.checked_add(number)?,
                Piece::Plain(_) => {}
            }
        }
        let of_bytes = own.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        rest.is_empty().then_some(if by_bytes { of_bytes } else { whole })
    }

    /// The bytes that it needs, 0 for a form of the number alone.
    pub fn bytes(&self) -> usize {
        let letter =
            |piece: &Piece| if let Piece::Byte(letter) = piece { usize::from(*letter) + 1 } else { 0 };
        self.0.iter().map(letter).max().unwrap_or(0)
    }
}

impl Piece {
    fn parse(inside: &str) -> Option<Self> {
        let by = |digits: &str| digits.parse::<u64>().ok().filter(|by| *by > 0);
        match inside.as_bytes() {
            [letter @ b'A'..=b'H'] => Some(Self::Byte(letter - b'A')),
            b"n" => Some(Self::Whole),
            [b'n', b'/', ..] => by(inside.get(2..)?).map(Self::Quotient),
            [b'n', b'%', ..] => by(inside.get(2..)?).map(Self::Remainder),
            _ => None,
        }
    }
}

impl Firmware {
    /// All fields of all variants, each as the first one has it: the model's own, then those that overlays add.
    pub fn layout(&self) -> Vec<Field> {
        let mut fields = self.fields.to_vec();
        for field in self.overlays.iter().flat_map(|overlay| &overlay.fields) {
            if !fields.iter().any(|known| known.name == field.name) {
                fields.push(field.clone());
            }
        }
        fields
    }

    /// The model at this version; without one, what all versions agree on.
    ///
    /// # Errors
    /// Text for a person: the maker's scheme can't read the version.
    pub fn variant(&self, version: Option<&str>) -> Result<Variant, String> {
        let Some(version) = version else { return Ok(self.careful()) };
        let fields = self.layout();
        let absent = (0..fields.len()).map(|index| index >= self.fields.len()).collect();
        let mut variant = Variant { limits: self.limits.clone(), fields, absent };
        for overlay in &self.overlays {
            if matches(self.scheme, &overlay.versions, version)? {
                variant.limits = overlay.limits.clone();
                variant.take(overlay);
            }
        }
        Ok(variant)
    }

    fn careful(&self) -> Variant {
        let fields = self.layout();
        let differs = |field: &Field| {
            let own = self.fields.iter().find(|own| own.name == field.name);
            let other = |overlay: &Overlay| {
                overlay.without.contains(&field.name)
                    || overlay.fields.iter().any(|other| other.name == field.name && Some(other) != own)
            };
            own.is_none() || self.overlays.iter().any(other)
        };
        let absent = fields.iter().map(differs).collect();
        Variant { limits: self.careful_limits(), fields, absent }
    }

    /// Limits that suit every version.
    pub fn careful_limits(&self) -> Limits {
        let all = self.overlays.iter().map(|overlay| &overlay.limits);
        all.fold(self.limits.clone(), |careful, other| careful.careful(other))
    }

    /// Whether the version is still to be asked from the device.
    pub fn is_open(&self) -> bool {
        self.named.is_none() && self.telling.is_some()
    }

    /// `profile`, whose fields stand in this layout, at this version: limits and fields are the variant's, and what it lacks is hidden.
    ///
    /// # Errors
    /// The maker's scheme can't read the version.
    pub fn apply(&self, profile: &Profile, version: Option<&str>) -> Result<Profile, String> {
        let variant = self.variant(version)?;
        let mut found = Profile { limits: variant.limits, ..profile.clone() };
        for ((field, of), absent) in found.fields.iter_mut().zip(variant.fields).zip(variant.absent) {
            let hidden = field.hidden || absent;
            *field = Field { hidden, ..of };
        }
        Ok(found)
    }
}

impl Variant {
    fn take(&mut self, overlay: &Overlay) {
        for ((field, absent), _) in self.fields.iter_mut().zip(&mut self.absent).zip(0..) {
            if let Some(own) = overlay.fields.iter().find(|own| own.name == field.name) {
                *field = own.clone();
                *absent = false;
            } else if overlay.without.contains(&field.name) {
                *absent = true;
            }
        }
    }
}

impl Limits {
    /// Limits that suit devices of both.
    pub fn careful(&self, other: &Self) -> Self {
        Self {
            registers_per_read: self.registers_per_read.min(other.registers_per_read),
            gap: self.gap.min(other.gap),
            quiet: self.quiet.max(other.quiet),
            timeout: self.timeout.max(other.timeout),
            single_register: self.single_register || other.single_register,
            pipeline: self.pipeline.min(other.pipeline),
            any_unit: self.any_unit || other.any_unit,
            wake: careful_wake(self.wake, other.wake),
        }
    }
}

/// The more patient of two.
fn careful_wake(one: Option<Wake>, other: Option<Wake>) -> Option<Wake> {
    let patience = |wake: &Wake| (wake.wait.saturating_mul(wake.tries), wake.exception);
    [one, other].into_iter().flatten().max_by_key(patience)
}

impl Wake {
    /// How long all its waits take.
    pub fn longest(self) -> Duration {
        self.wait.saturating_mul(self.tries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Table;
    use crate::profile::Kind;

    fn field(name: &str, address: u16) -> Field {
        Field::new(name, Table::Holding, address, Kind::U16)
    }

    fn limits(registers_per_read: u16, gap: u16) -> Limits {
        Limits { registers_per_read, gap, ..Limits::default() }
    }

    /// Three points; old versions have `a` elsewhere and no `b`, new ones `d` beside.
    fn model() -> Firmware {
        let overlay = |versions: &str, limits, without: &[&str], fields| Overlay {
            versions: versions.to_owned(),
            limits,
            without: without.iter().map(|name| (*name).to_owned()).collect(),
            fields,
        };
        Firmware {
            limits: limits(8, 4),
            fields: vec![field("a", 0), field("b", 1), field("c", 2)].into(),
            overlays: vec![
                overlay("<2.0", limits(2, 9), &["b"], vec![field("a", 90)]),
                overlay(">=3.0", limits(80, 0), &[], vec![field("d", 3)]),
            ],
            ..Firmware::default()
        }
    }

    /// Name and address of what a variant has, and its largest read and gap.
    fn seen(version: Option<&str>) -> (Vec<(String, u16)>, u16, u16) {
        let Variant { limits, fields, absent } = model().variant(version).unwrap();
        let there = fields.iter().zip(&absent).filter(|(_, absent)| !**absent);
        (there.map(|(f, _)| (f.name.clone(), f.address)).collect(), limits.registers_per_read, limits.gap)
    }

    fn named(fields: &[(&str, u16)]) -> Vec<(String, u16)> {
        fields.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect()
    }

    #[test]
    fn a_version_replaces_removes_and_adds() {
        assert_eq!(seen(Some("1.9")), (named(&[("a", 90), ("c", 2)]), 2, 9));
        assert_eq!(seen(Some("2.5")), (named(&[("a", 0), ("b", 1), ("c", 2)]), 8, 4));
        assert_eq!(seen(Some("3.0")), (named(&[("a", 0), ("b", 1), ("c", 2), ("d", 3)]), 80, 0));
        assert!(model().variant(Some("soon")).is_err());
    }

    #[test]
    fn without_a_version_only_what_all_agree_on_is_there() {
        assert_eq!(seen(None), (named(&[("c", 2)]), 2, 0));
    }

    #[test]
    fn every_variant_has_the_same_names_at_the_same_places() {
        let names = |version| -> Vec<String> {
            model().variant(version).unwrap().fields.into_iter().map(|field| field.name).collect()
        };
        for version in [None, Some("1.0"), Some("2.0"), Some("9.9")] {
            assert_eq!(names(version), ["a", "b", "c", "d"]);
        }
    }

    #[test]
    fn forms_spell_versions() {
        for (form, number, bytes, want) in [
            ("{n}", 17, 2, "17"),
            ("v{n/10}.{n%10}", 24, 2, "v2.4"),
            ("{A}.{B}", 0x0203, 2, "2.3"),
            ("{B}.{A}", 0x0203, 2, "3.2"),
            ("{A}.{B}.{D}", 0x0102_0304, 4, "1.2.4"),
        ] {
            let form = Form::parse(form).unwrap();
            assert_eq!(form.emit(number, bytes), want);
            let back = form.number(want, bytes).unwrap();
            assert_eq!(form.emit(back, bytes), want, "a byte that isn't named may be any");
        }
        for wrong in ["", "2.0", "{I}", "{n/0}", "{n/x}", "{A", "A}", "{}", "{A}}"] {
            assert_eq!(Form::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Form::parse("{n/100}.{n%100}").unwrap().number("2.4", 2), Some(204));
        assert_eq!(Form::parse("{A}.{B}").unwrap().number("2.x", 2), None);
        assert_eq!(Form::parse("{A}.{B}").unwrap().number("2.300", 2), None);
        assert_eq!(Form::parse("{A}.{D}").unwrap().bytes(), 4);
        assert_eq!(Form::parse("{n%7}").unwrap().bytes(), 0);
    }
}
