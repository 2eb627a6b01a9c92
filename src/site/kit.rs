//! Lines and profiles alone, for a person whose site is not written yet.
//!
//! In: [`Options`]. Out: the lines that can be read, and all profiles.
//! Invariant: mistakes elsewhere in the documents don't matter here; `check` names them.

use std::path::PathBuf;

use crate::bus::LineSettings;
use crate::profile::Profile;
use crate::site::compile::{folder_documents, own_profiles};
use crate::site::section::Section;
use crate::site::tree::{Document, Node, Report};
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
    let gateway = options.config.as_ref().and_then(|path| Document::read(path, &report)).unwrap_or_default();
    let settings = settings::read(&gateway, &options.env, &report);
    let folder = options.profiles.clone().or(settings.profiles);
    let folder = folder.unwrap_or_else(|| PathBuf::from("/usr/share/lifeline/firmware-profiles"));
    let mut models = folder_documents(&folder, "profiles", &report);
    models.extend(own_profiles(&options.site, &folder, &report));
    let models = models.iter().filter_map(|document| profiles::read(document, &report));
    let mut profiles: Vec<Profile> =
        models.map(|model| model.of(None).map_or(model.profile, |(profile, _)| profile)).collect();
    profiles.sort_by(|one, other| one.name.cmp(&other.name));
    let documents = folder_documents(&options.site, "site", &report);
    let roots: Vec<Node> = documents.iter().map(|document| document.parse(&report)).collect();
    let mut lines = Vec::new();
    for (document, root) in documents.iter().zip(&roots) {
        let top = Section::new(document, &report, "a site document", root);
        let drafts = top.sections("line");
        lines.extend(drafts.iter().filter_map(|draft| devices::line(draft, &options.lines)));
    }
    Kit { lines: lines.into_iter().map(|draft| draft.settings).collect(), profiles }
}
