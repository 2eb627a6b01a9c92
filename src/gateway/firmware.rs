//! Which firmware a device of a line has: asked from the device, named by the site, or not known.
//!
//! In: the device's model with its versions, what the device tells. Out: the profile to poll by, what to show, what to journal.
//! Invariant: while the version is open, only what all versions agree on is polled; a version that the site names wins, and a device that
//! tells another one is told of, never silently; a device is asked at the first contact, after each silence, and now and then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::master::Master;
use crate::bus::{Failure, Read, Slave};
use crate::clock::Timestamp;
use crate::decode::{Raw, bits, decode, text};
use crate::journal::{Audit, Deed};
use crate::loss::Losses;
use crate::profile::firmware::{ASKED_EVERY, Firmware, Form, Told};
use crate::profile::version::matches;
use crate::profile::{Field, Kind, Profile};
use crate::site::DeviceSpec;

/// Refusals that say nothing of the request: the device, or a gateway on the way, is busy or away.
const NOT_NOW: [u8; 4] = [5, 6, 10, 11];
/// Characters of a version that are kept.
const LONGEST: usize = 64;

/// How a version is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The site's document names it.
    Site,
    /// The device tells it in registers.
    Register,
    /// The device tells it in its identity.
    Identity,
    /// The device refuses to tell, and that says it.
    Refusal,
    /// It isn't.
    Unknown,
}

/// What is known of a device's firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The version that its polls are read at; `None`: what all versions agree on.
    pub applied: Option<String>,
    /// The version that the device told.
    pub told: Option<String>,
    /// How `applied` is known.
    pub by: By,
    /// What a person should know of it.
    pub note: Option<String>,
}

/// The firmware of one device.
pub(crate) struct Identity {
    name: String,
    firmware: Firmware,
    /// The device's profile in the layout of all versions, where another version may still come.
    profile: Option<Arc<Profile>>,
    withheld: Vec<usize>,
    known: Known,
    /// When the device last told, or refused to; `None`: it has to be asked.
    heard: Option<Instant>,
    /// Whether it was ever heard.
    met: bool,
}

impl By {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Register => "register",
            Self::Identity => "identity",
            Self::Refusal => "refusal",
            Self::Unknown => "unknown",
        }
    }
}

impl Identity {
    pub(crate) fn new(spec: &DeviceSpec, name: &str) -> Self {
        let firmware = spec.firmware.clone();
        let by = if firmware.named.is_some() { By::Site } else { By::Unknown };
        let unnamed = by == By::Unknown && firmware.telling.is_none();
        let note = unnamed.then(|| {
            "its versions differ, and it can't tell its own: name it, firmware = \"...\"".to_owned()
        });
        Self {
            name: name.to_owned(),
            known: Known { applied: firmware.named.clone(), told: None, by, note },
            profile: firmware.is_open().then(|| Arc::clone(&spec.profile)),
            firmware,
            withheld: spec.withheld.clone(),
            heard: None,
            met: false,
        }
    }

    /// The profile to poll by: what its version has and the site allows is visible, all else hidden. `whole` is the device's own, in the
    /// layout of all versions.
    pub(crate) fn profile(&self, whole: &Arc<Profile>) -> Arc<Profile> {
        let whole = self.profile.as_ref().unwrap_or(whole);
        let at = self.firmware.is_open().then(|| self.firmware.apply(whole, self.known.applied.as_deref()));
        let mut profile = at.and_then(Result::ok).map_or_else(|| Arc::clone(whole), Arc::new);
        for index in &self.withheld {
            let seen = profile.fields.get(*index).is_some_and(|field| !field.hidden);
            if seen && let Some(field) = Arc::make_mut(&mut profile).fields.get_mut(*index) {
                field.hidden = true;
            }
        }
        profile
    }

    /// What to show; `None` for a model whose versions make no difference and that tells none.
    pub(crate) fn known(&self) -> Option<Known> {
        let matters = self.firmware.telling.is_some()
            || self.firmware.named.is_some()
            || !self.firmware.overlays.is_empty();
        matters.then(|| self.known.clone())
    }

    /// Whether the device has to be asked now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.firmware.telling.is_some() && self.heard.is_none_or(|heard| heard + ASKED_EVERY <= now)
    }

    /// The device was silent, or its line away: another one may stand there when it answers again.
    pub(crate) fn silent(&mut self) {
        self.heard = None;
    }

    /// Asks the device for its version.
    ///
    /// # Errors
    /// Nobody answered, or not now; ask again.
    pub(crate) async fn ask(
        &self,
        master: &mut Master,
        slave: Slave,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Result<Answer, Failure> {
        let Some(telling) = &self.firmware.telling else { return Err(Failure::Timeout) };
        let refused = |code: u8| match &telling.refused {
            Some(version) => Answer { told: Ok(version.clone()), by: By::Refusal },
            None => Answer {
                told: Err(format!("it refuses to tell its version (exception {code})")),
                by: By::Unknown,
            },
        };
        let (said, by) = match &telling.from {
            Told::Cells(field, form) => {
                let read = Read { table: field.table, address: field.address, count: field.count };
                let exchange = master.read(slave, read, timeout, losses).await;
                (exchange.outcome.map(|cells| spell(field, form, &cells)), By::Register)
            }
            Told::Identity(object) => {
                let objects = master.identify(slave, timeout, losses).await;
                (objects.map(|objects| printable(&objects, *object)), By::Identity)
            }
        };
        match said {
            Ok(told) => Ok(Answer { told, by }),
            Err(Failure::Exception(code)) if !NOT_NOW.contains(&code) => Ok(refused(code)),
            Err(failure) => Err(failure),
        }
    }

    /// Takes what the device told. Whether another profile is to be polled by from now on, and what to journal.
    pub(crate) fn learn(&mut self, answer: Answer, now: Instant, at: Timestamp) -> (bool, Option<Audit>) {
        self.heard = Some(now);
        let legible = answer.told.and_then(|told| self.firmware.variant(Some(&told)).map(|_| told));
        let (told, trouble) = match legible {
            Ok(told) => (Some(told), None),
            Err(why) => (None, Some(why)),
        };
        let known = self.judge(told, answer.by, trouble);
        let before = std::mem::replace(&mut self.known, known);
        let first = !std::mem::replace(&mut self.met, true);
        if !first && before.told == self.known.told && before.note == self.known.note {
            return (false, None);
        }
        let Known { told, note, by, .. } = &self.known;
        if before.told.is_some() && before.told != *told {
            tracing::warn!(device = %self.name, was = ?before.told, is = ?told, "another firmware: was the device exchanged?");
        } else if note.is_some() {
            tracing::warn!(device = %self.name, is = ?told, note = ?note, "firmware");
        } else {
            tracing::info!(device = %self.name, is = ?told, by = by.name(), "firmware");
        }
        let deed = Deed::Firmware { was: before.told, is: told.clone(), note: note.clone() };
        let audit = Audit { at, device: self.name.clone(), deed };
        (before.applied != self.known.applied, Some(audit))
    }

    fn judge(&self, told: Option<String>, by: By, trouble: Option<String>) -> Known {
        if let Some(named) = &self.firmware.named {
            let same = |told: &String| matches(self.firmware.scheme, named, told) == Ok(true);
            let note = told
                .as_ref()
                .filter(|told| !same(told))
                .map(|told| format!("the site's document says {named}, the device says {told}"));
            return Known { applied: Some(named.clone()), told, by: By::Site, note };
        }
        let by = if told.is_some() { by } else { By::Unknown };
        let note = match trouble {
            Some(why) => Some(format!("{why}: only what all versions agree on is polled")),
            None => self.lacks(told.as_deref()),
        };
        Known { applied: told.clone(), told, by, note }
    }

    /// The points of the site that this version doesn't have.
    fn lacks(&self, version: Option<&str>) -> Option<String> {
        let absent = self.firmware.variant(version).ok()?.absent;
        let names: Vec<&str> = self
            .profile
            .as_ref()?
            .fields
            .iter()
            .zip(absent)
            .filter(|(field, absent)| *absent && !field.hidden)
            .map(|(field, _)| field.name.as_str())
            .collect();
        (!names.is_empty()).then(|| format!("this version has no {}", names.join(", ")))
    }
}

/// What a device told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its version, or why that can't be read.
    pub(crate) told: Result<String, String>,
    pub(crate) by: By,
}

/// The version in registers.
fn spell(field: &Field, form: &Form, cells: &[u16]) -> Result<String, String> {
    let illegible = || "its version can't be read".to_owned();
    match field.kind {
        Kind::Ascii => text(field, cells).filter(|text| !text.is_empty()).ok_or_else(illegible),
        Kind::Bcd => match decode(field, cells) {
            // The shortest decimal text of a whole number has its digits alone.
            Raw::Number(number) => {
                number.to_string().parse().map(|number| form.emit(number, 8)).map_err(|_| illegible())
            }
            Raw::Fault(why) => Err(format!("its version can't be read ({why})")),
            Raw::Unordered(_) => Err(illegible()),
        },
        _ => {
            let bytes =
                if matches!(field.kind, Kind::U8h | Kind::U8l) { 1 } else { usize::from(field.count) * 2 };
            bits(field, cells).map(|number| form.emit(number, bytes)).map_err(|why| why.to_string())
        }
    }
}

/// The text of an object, as far as it is one.
fn printable(objects: &[(u8, Vec<u8>)], wanted: u8) -> Result<String, String> {
    let found = objects.iter().find(|(number, _)| *number == wanted).map(|(_, bytes)| bytes);
    let Some(bytes) = found else { return Err(format!("its identity has no object {wanted}")) };
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\0').trim();
    let legible = !text.is_empty() && text.bytes().all(|byte| (0x20..0x7F).contains(&byte));
    legible.then(|| text.chars().take(LONGEST).collect()).ok_or_else(|| "its version is no text".to_owned())
}
