//! Lines and profiles alone, for a person whose site is not written yet.
//!
//! In: [`Options`]. Out: the lines that can be read, and all profiles.
//! Invariant: mistakes elsewhere in the documents don't matter here; `check` names them.

use std::collections::BTreeSet;

use crate::bus::LineSettings;
use crate::profile::Profile;
use crate::profile::firmware::Firmware;
use crate::site::expand::expand;
use crate::site::section::Section;
use crate::site::shelf::Shelf;
use crate::site::tree::Report;
use crate::site::{Options, devices, profiles, settings};

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
    let (profiles, firmware): (Vec<Profile>, Vec<Firmware>) = models.into_iter().unzip();
    let mut sources = shelf.site(&report);
    expand(&mut sources, &report);
    let text = |name: String| profiles.iter().any(|profile| profile.name == name && profile.text.is_some());
    let (mut lines, mut text_lines) = (Vec::new(), BTreeSet::new());
    for root in &sources.roots {
        let top = Section::new(&sources.whole, &report, "a site document", root);
        let drafts = top.sections("line");
        lines.extend(drafts.iter().filter_map(|draft| devices::line(draft, &options.lines)));
        let devices = top.sections("device").into_iter();
        let speaks = devices.filter(|device| device.text("profile").is_some_and(text));
        text_lines.extend(speaks.filter_map(|device| device.text("line")));
    }
    let over_tcp = lines.iter().filter(|draft| draft.text_over_tcp);
    text_lines.extend(over_tcp.map(|draft| draft.settings.name.clone()));
    let lines = lines.into_iter().map(|draft| draft.settings).collect();
    Kit { lines, text_lines, profiles, firmware }
}
