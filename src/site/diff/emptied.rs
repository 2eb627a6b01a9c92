//! Documents that leave a running gateway nothing to poll: a file that was cut to nothing, more often than a wish.
//!
//! In: the running site and another one. Out: the finding, at the document where the devices stood.
//! Invariant: a gateway that never had a device may stay without one.

use toml::Table;

use crate::diagnostic::{Diagnostics, Place};
use crate::site::Site;

/// What to do about it.
const REMEDY: &str = "to empty a site on purpose, stop the gateway and start it";

/// Why `new` is not taken while `old` runs: its last device would go.
pub fn emptied(old: &Site, new: &Site) -> Option<Diagnostics> {
    if old.devices.is_empty() || !new.devices.is_empty() {
        return None;
    }
    let count = old.devices.len();
    let devices = match count {
        1 => "the only device".to_owned(),
        2 => "both devices".to_owned(),
        _ => format!("all {count} devices"),
    };
    let message = format!("{devices} of the running gateway would go, and with them every alarm");
    let mut found = Diagnostics::default();
    found.error(&place(old), "no-device", message, Some(REMEDY.to_owned()));
    Some(found)
}

/// The first document in which devices stood, as a whole: it may be gone, or have no text left to point at.
fn place(old: &Site) -> Place {
    let lists = |text: &str| {
        let table = text.parse::<Table>().unwrap_or_default();
        ["device", "devices_csv"].iter().any(|key| table.contains_key(*key))
    };
    let named = old.documents.iter().find(|(name, text)| name.ends_with(".toml") && lists(text));
    let file = named.map_or_else(|| "site".to_owned(), |(name, _)| name.clone());
    Place { file, ..Place::default() }
}
