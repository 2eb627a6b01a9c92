//! Lines and profiles alone, for a person whose site is not written yet.
//!
//! In: [`Options`]. Out: the lines that can be read, and all profiles.
//! Invariant: mistakes elsewhere in the documents don't matter here; `check` names them.

use crate::bus::LineSettings;
use crate::profile::Profile;
use crate::profile::firmware::Firmware;
use crate::site::section::Section;
use crate::site::shelf::Shelf;
use crate::site::tree::Report;
use crate::site::{Options, devices, profiles, settings};

/// What a tool for the installer needs.
#[derive(Clone, Debug, Default)]
pub struct Kit {
    /// Lines of the site; none without a site folder.
    pub lines: Vec<LineSettings>,
    /// Profiles by name, each with the strictest limits of its firmware versions.
    pub profiles: Vec<Profile>,
    /// What versions change, for each of these.
    pub firmware: Vec<Firmware>,
}

/// Reads what there is.
pub fn kit(options: &Options) -> Kit {
    let report = Report::default();
    let shelf = Shelf::of(options);
    let gateway = shelf.gateway(&report);
    let settings = settings::read(&gateway, &options.env, &report);
    let (models, _) = shelf.profiles(options.profiles.clone().or(settings.profiles), &report);
    let models = models.iter().filter_map(|document| profiles::read(document, &report));
    let mut models: Vec<(Profile, Firmware)> =
        models.map(|model| model.of(None).unwrap_or((model.profile, model.firmware))).collect();
    models.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    let (profiles, firmware) = models.into_iter().unzip();
    let sources = shelf.site(&report);
    let mut lines = Vec::new();
    for root in &sources.roots {
        let top = Section::new(&sources.whole, &report, "a site document", root);
        let drafts = top.sections("line");
        lines.extend(drafts.iter().filter_map(|draft| devices::line(draft, &options.lines)));
    }
    Kit { lines: lines.into_iter().map(|draft| draft.settings).collect(), profiles, firmware }
}
