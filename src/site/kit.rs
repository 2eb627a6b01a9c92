//! Lines and profiles alone, for a person whose site is not written yet.
//!
//! In: [`Options`]. Out: the lines that can be read, and all profiles.
//! Invariant: mistakes elsewhere in the documents don't matter here; `check` names them.

use std::path::PathBuf;

use crate::bus::LineSettings;
use crate::profile::Profile;
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
}

/// Reads what there is.
pub fn kit(options: &Options) -> Kit {
    let report = Report::default();
    let shelf = Shelf::of(options);
    let gateway = shelf.gateway(&report);
    let settings = settings::read(&gateway, &options.env, &report);
    let folder = options.profiles.clone().or(settings.profiles);
    let folder = folder.unwrap_or_else(|| PathBuf::from("/usr/share/lifeline/firmware-profiles"));
    let (models, _) = shelf.profiles(&folder, &report);
    let models = models.iter().filter_map(|document| profiles::read(document, &report));
    let mut profiles: Vec<Profile> =
        models.map(|model| model.of(None).map_or(model.profile, |(profile, _)| profile)).collect();
    profiles.sort_by(|one, other| one.name.cmp(&other.name));
    let sources = shelf.site(&report);
    let mut lines = Vec::new();
    for root in &sources.roots {
        let top = Section::new(&sources.whole, &report, "a site document", root);
        let drafts = top.sections("line");
        lines.extend(drafts.iter().filter_map(|draft| devices::line(draft, &options.lines)));
    }
    Kit { lines: lines.into_iter().map(|draft| draft.settings).collect(), profiles }
}
