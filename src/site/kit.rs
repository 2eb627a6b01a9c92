//! Lines and profiles alone, for a person whose site is not written yet.
//!
//! In: [`Options`]. Out: the lines that can be read, and all profiles.
//! Invariant: mistakes elsewhere in the documents don't matter here; `check` names them.

use std::collections::BTreeSet;

use crate::bus::LineSettings;
use crate::profile::Profile;
use crate::profile::firmware::Firmware;
use crate::profile::version::{Scheme, samples};
use crate::site::expand::expand;
use crate::site::profiles::Model;
use crate::site::section::Section;
use crate::site::shelf::Shelf;
use crate::site::tree::Report;
use crate::site::{Options, lines, profiles, settings};

/// What a tool for the installer needs.
#[derive(Clone, Debug, Default)]
pub struct Kit {
    /// Lines of the site; none without a site folder.
    pub lines: Vec<LineSettings>,
    /// Names of those that carry lines of text and no Modbus.
    pub text_lines: BTreeSet<String>,
    /// Profiles by name, each with the strictest limits of its firmware versions.
    pub profiles: Vec<Profile>,
    /// What versions change, for each of these.
    pub firmware: Vec<Firmware>,
    /// For each of these that tells no version itself, its maps: a version that has it, and the profile as of that version.
    pub maps: Vec<Vec<(String, Profile)>>,
}

/// A version for names without an order that none of them is.
const STANDARD: &str = "standard";

/// Reads what there is.
pub fn kit(options: &Options) -> Kit {
    let report = Report::default();
    let shelf = Shelf::of(options);
    let gateway = shelf.gateway(&report);
    let settings = settings::read(&gateway, &options.env, &report);
    let (models, _) = shelf.profiles(options.profiles.clone().or(settings.profiles), &report);
    let models = models.iter().filter_map(|document| profiles::read(document, &report));
    let mut models: Vec<Model> = models.collect();
    models.sort_by(|one, other| one.profile.name.cmp(&other.profile.name));
    let maps = models.iter().map(maps).collect();
    let models = models.into_iter().map(|model| model.of(None).unwrap_or((model.profile, model.firmware)));
    let (profiles, firmware): (Vec<Profile>, Vec<Firmware>) = models.unzip();
    let mut sources = shelf.site(&report);
    expand(&mut sources, &report);
    let text = |name: String| profiles.iter().any(|profile| profile.name == name && profile.text.is_some());
    let (mut lines, mut text_lines) = (Vec::new(), BTreeSet::new());
    for root in &sources.roots {
        let top = Section::new(&sources.whole, &report, "a site document", root);
        let drafts = top.sections("line");
        lines.extend(drafts.iter().filter_map(|draft| lines::line(draft, &options.lines)));
        let devices = top.sections("device").into_iter();
        let speaks = devices.filter(|device| device.text("profile").is_some_and(text));
        text_lines.extend(speaks.filter_map(|device| device.text("line")));
    }
    let over_tcp = lines.iter().filter(|draft| draft.text_over_tcp);
    text_lines.extend(over_tcp.map(|draft| draft.settings.name.clone()));
    let lines = lines.into_iter().map(|draft| draft.settings).collect();
    Kit { lines, text_lines, profiles, firmware, maps }
}

/// The maps of a model of which the site must say the version; of versions that differ in limits alone the one with the most careful.
fn maps(model: &Model) -> Vec<(String, Profile)> {
    let firmware = &model.firmware;
    if firmware.overlays.is_empty() || firmware.telling.is_some() {
        return Vec::new();
    }
    let mut versions: Vec<String> = Vec::new();
    if firmware.scheme == Scheme::Text {
        versions.push(STANDARD.to_owned());
    }
    versions.extend(firmware.overlays.iter().flat_map(|overlay| samples(firmware.scheme, &overlay.versions)));
    let mut maps: Vec<(String, Profile)> = Vec::new();
    for version in versions {
        let Ok((profile, _)) = model.of(Some(&version)) else { continue };
        match maps.iter_mut().find(|(_, known)| known.fields == profile.fields) {
            Some((_, known)) if known.limits.registers_per_read <= profile.limits.registers_per_read => {}
            Some(known) => *known = (version, profile),
            None => maps.push((version, profile)),
        }
    }
    maps
}
