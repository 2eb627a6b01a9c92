//! All documents together: names become numbers, settings become every room's own.
//!
//! In: [`Options`]. Out: a [`Site`] when no error was found. Invariant: numbers follow the order of the documents, so the same
//! documents give the same site.

mod checks;
mod dim;
mod health;
pub(crate) mod implicit;
mod numbers;
pub(crate) mod watched;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::{Kind, Rule, RuleId};
use crate::bus::Address;
use crate::diagnostic::{Diagnostics, Place};
use crate::point::{Catalog, LineId};
use crate::profile::Profile;
use crate::risk::RiskPoint;
use crate::site::devices::{DeviceDraft, Dim};
use crate::site::expand::{ask, expand};
use crate::site::guide;
use crate::site::lines::LineDraft;
use crate::site::profiles::{self, Model};
use crate::site::risk::{self, Calendar};
use crate::site::rules::{self, Known, hash_of};
use crate::site::section::Section;
use crate::site::shelf::{Shelf, Sources};
use crate::site::tree::{Document, Report};
use crate::site::{DeviceSpec, LineSpec, Options, Site, budget, dial_in, settings};

pub(crate) fn load(options: &Options) -> (Option<Site>, Diagnostics, Vec<(String, String)>) {
    let report = Report::default();
    let shelf = Shelf::of(options);
    let gateway = shelf.gateway(&report);
    let settings = settings::read(&gateway, &options.env, &report);
    let named = options.profiles.clone().or_else(|| settings.profiles.clone());
    let (profile_documents, shipped) = shelf.profiles(named, &report);
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    for document in &profile_documents {
        let Some(model) = profiles::read(document, &report) else { continue };
        let name = model.profile.name.clone();
        if models.insert(name.clone(), model).is_some() {
            let place = Place { file: document.name.clone(), ..Place::default() };
            let help = Some("each document of the folder needs a name of its own".to_owned());
            report.error(&place, "duplicate-name", format!("another profile is called `{name}` too"), help);
        }
    }
    let mut sources = shelf.site(&report);
    expand(&mut sources, &report);
    let mut build = Build::new(options, settings, &report);
    build.read(&sources, &models);
    build.check_certificates(&gateway.name);
    let own = profile_documents.iter().skip(shipped).map(|document| document.name.as_str());
    build.check_unused(&models, &own.collect::<Vec<_>>());
    let mut documents: Vec<Document> = vec![gateway];
    documents.extend(sources.documents);
    documents.extend(sources.tables.into_values().map(|(table, _)| table));
    let used: BTreeSet<String> = build.drafts.iter().map(|draft| draft.profile.name.clone()).collect();
    let used = |document: &&Document| used.iter().any(|name| document.text.contains(&format!("\"{name}\"")));
    let kept: Vec<(String, String)> = documents
        .iter()
        .chain(profile_documents.iter().filter(used))
        .filter(|document| !document.text.is_empty())
        .map(|document| (document.name.clone(), document.text.clone()))
        .collect();
    let site = build.finish(kept);
    let texts = documents
        .into_iter()
        .chain(profile_documents)
        .map(|document| (document.name, document.text))
        .collect();
    let found = report.finish();
    (Some(site).filter(|_| found.errors() == 0), found, texts)
}

/// Profiles of the site's own, in the folder `profiles` beside its documents.
pub(crate) fn own_profiles(site: &Path, library: &Path, report: &Report) -> Vec<Document> {
    let own = site.join("profiles");
    let same = || own.canonicalize().ok() == library.canonicalize().ok();
    if own.is_dir() && !same() { folder_documents(&own, "profiles", report) } else { Vec::new() }
}

/// The documents of a folder by name; its subfolders are not looked at.
pub(crate) fn folder_documents(folder: &Path, what: &str, report: &Report) -> Vec<Document> {
    let place = Place { file: folder.display().to_string(), ..Place::default() };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let otherwise = match what {
                "site" => {
                    "; without it that is `site` beside the file of --config, `devices` in the folder where lifeline starts, or /etc/lifeline/site"
                }
                _ => "",
            };
            let help = Some(format!("name the {what} folder with --{what} DIR{otherwise}"));
            let text = format!("cannot read the {what} folder {}: {error}", folder.display());
            report.error(&place, "missing-folder", text, help);
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    if paths.is_empty() {
        report.error(&place, "empty-folder", format!("the {what} folder holds no .toml document"), None);
    }
    paths.iter().filter_map(|path| Document::read(path, report)).collect()
}

/// The site while it is put together.
pub(crate) struct Build<'a> {
    options: &'a Options,
    settings: settings::Settings,
    report: &'a Report,
    lines: Vec<LineDraft>,
    drafts: Vec<DeviceDraft>,
    /// What the drafts are polled by, each once.
    profiles: Vec<Arc<Profile>>,
    catalog: Catalog,
    devices: Vec<DeviceSpec>,
    derived: Vec<crate::derive::Settings>,
    rules: Vec<Rule>,
    risk_points: Vec<RiskPoint>,
    /// The place of each code among them; of a code that stands twice the first.
    risk_numbers: HashMap<String, usize>,
    /// Where the code of each risk point stands.
    risk_places: Vec<Place>,
    /// Where the name of each written rule stands.
    rule_places: Vec<Place>,
    known: Vec<Known>,
    /// Devices and derived points that are named and whose points nobody knows.
    broken: BTreeSet<String>,
    /// Devices with a mistake.
    dim: Vec<Dim>,
    /// Names of lines with a mistake, and whether they are serial.
    dim_lines: BTreeMap<String, bool>,
    /// All derived points that are named.
    derivable: BTreeSet<String>,
}

impl<'a> Build<'a> {
    pub(crate) fn new(options: &'a Options, settings: settings::Settings, report: &'a Report) -> Self {
        let catalog = Catalog { site: settings.name.clone(), ..Catalog::default() };
        Self {
            options,
            settings,
            report,
            lines: Vec::new(),
            drafts: Vec::new(),
            profiles: Vec::new(),
            catalog,
            devices: Vec::new(),
            derived: Vec::new(),
            rules: Vec::new(),
            risk_points: Vec::new(),
            risk_numbers: HashMap::new(),
            risk_places: Vec::new(),
            rule_places: Vec::new(),
            known: Vec::new(),
            broken: BTreeSet::new(),
            dim: Vec::new(),
            dim_lines: BTreeMap::new(),
            derivable: BTreeSet::new(),
        }
    }

    pub(crate) fn read(&mut self, sources: &Sources, models: &BTreeMap<String, Model>) {
        let top = |root| Section::new(&sources.whole, self.report, "a site document", root);
        let tops: Vec<Section<'_>> = sources.roots.iter().map(top).collect();
        tops.iter().for_each(ask);
        let each = |key: &'static str| tops.iter().flat_map(|top| top.sections(key)).collect::<Vec<_>>();
        let mut names = Names::default();
        let calendar = Calendar::new(&self.settings.timezone, self.options.now);
        for section in each("line") {
            names.named("line", &section);
            self.line(&section);
        }
        self.check_elsewhere(&each("line"));
        for section in each("risk_point") {
            if let Some((point, place)) = risk::risk_point(&section, &calendar) {
                names.take("risk point", &point.code, &place, self.report);
                self.risk_numbers.entry(point.code.clone()).or_insert(self.risk_points.len());
                self.risk_points.push(point);
                self.risk_places.push(place);
            }
        }
        for section in each("device") {
            names.named("device", &section);
            self.draft(&section, models, &calendar);
        }
        self.check_any();
        self.check_slaves();
        self.check_needs();
        dial_in::check_shared(&self.lines, self.report);
        self.check_listen();
        self.check_lines();
        self.number_lines_and_devices();
        self.know_dim();
        budget::check(&self.lines, &self.drafts, self.report);
        self.derivable = each("derived").iter().filter_map(|section| section.text("name")).collect();
        for section in each("derived") {
            self.derived(&section, &mut names);
        }
        for section in each("rule") {
            names.named("rule", &section);
            if let Some(rule) = rules::rule(&section, self.points()) {
                self.rules.push(rule);
                self.rule_places.push(section.place("name"));
            }
        }
        self.check_pairs();
        self.check_told();
        self.check_denser();
        self.implicit();
        self.watch_risk_points();
        self.tell_of_work();
        self.bind(&each("rule"));
        self.check_reserved(&each("rule"));
        self.check_own(&each("device"));
        self.check_own(&each("derived"));
        for top in &tops {
            top.finish();
        }
    }

    /// Numbers the rules, puts alarms below the ones that explain them, and tells each rule its place.
    fn bind(&mut self, written: &[Section<'_>]) {
        for (index, rule) in (0..).zip(&mut self.rules) {
            rule.id = RuleId(index);
        }
        let devices = |index: usize| self.drafts.iter().filter(move |draft| draft.line == index);
        let names = |index| devices(index).map(|draft| draft.name.clone()).collect::<Vec<_>>();
        let lines =
            self.lines.iter().enumerate().map(|(index, line)| (line.settings.name.clone(), names(index)));
        let mut lines: Vec<(String, Vec<String>)> = lines.collect();
        lines.extend(self.dim_lines.keys().map(|line| (line.clone(), Vec::new())));
        let dim = self.dim.iter().filter_map(|device| device.name.clone());
        lines.push((String::new(), dim.collect()));
        let id = |rules: &[Rule], name: &str| rules.iter().find(|rule| rule.name == name).map(|rule| rule.id);
        let mut cause_of: HashMap<&str, RuleId> = HashMap::new();
        for (line, devices) in &lines {
            let Some(cause) = id(&self.rules, &format!("gateway-line-{line}")) else { continue };
            cause_of.extend(devices.iter().map(|device| (device.as_str(), cause)));
        }
        for rule in self.rules.iter_mut().filter(|rule| rule.basis == implicit::IMPLICIT) {
            let device = rule.name.strip_suffix("-stale");
            rule.bonds.causes.extend(device.and_then(|device| cause_of.get(device)));
        }
        self.bind_dial_in();
        guide::causes(written, &mut self.rules, &lines);
        for rule in &mut self.rules {
            let device = self.catalog.point(rule.point).and_then(|point| self.catalog.device(point.device));
            let Some(device) = device else { continue };
            let place = device.risk_point.as_ref();
            let place = place.and_then(|code| self.risk_points.get(*self.risk_numbers.get(code)?));
            rule.guide.hazard = place.map_or_else(|| device.class.clone(), |place| place.class.clone());
            // A silent sensor is no level of what it measures.
            rule.guide.class = if rule.kind == Kind::Process { device.class.clone() } else { String::new() };
            // In the words of those who know the place: the risk point's name, or what its device is called.
            let called = ["place", "name"].iter().find_map(|key| device.tags.get(*key));
            rule.guide.place = place.and_then(|place| place.name.as_ref()).or(called).cloned();
            rule.guide.basis.clone_from(&rule.basis);
        }
    }

    fn points(&self) -> rules::Points<'_> {
        rules::Points { known: &self.known, broken: &self.broken, derived: &self.derivable }
    }

    fn finish(mut self, documents: Vec<(String, String)>) -> Site {
        let text: String = documents.iter().map(|(name, text)| format!("{name}\0{text}\0")).collect();
        self.catalog.version = hash_of(format_args!("{text}{:?}{:?}", self.catalog, self.options.lines));
        let lines = self.lines.iter().enumerate().map(|(index, line)| {
            let mut settings = line.settings.clone();
            let own = || self.drafts.iter().enumerate().filter(move |(_, draft)| draft.line == index);
            settings.quiet =
                own().map(|(_, draft)| draft.profile.limits.quiet).fold(settings.quiet, Duration::max);
            settings.any_unit = own()
                .filter(|(_, draft)| draft.profile.limits.any_unit)
                .map(|(_, draft)| draft.slave)
                .collect();
            if let Address::DialIn(dtu) = &mut settings.address {
                let fastest = own().map(|(_, draft)| draft.every + draft.timeout).min().unwrap_or_default();
                let slowest = own().map(|(_, draft)| draft.every).max().unwrap_or_default();
                dtu.lively = fastest * 2;
                dtu.idle = dtu.idle.max(slowest * 3);
            }
            LineSpec {
                id: LineId(u32::try_from(index).unwrap_or(u32::MAX)),
                settings,
                devices: own().map(|(place, _)| place).collect(),
            }
        });
        let sensors = self.sensors();
        Site {
            lines: lines.collect(),
            catalog: Arc::new(self.catalog),
            timezone: self.settings.timezone,
            trust: self.settings.trust,
            tell_every: self.settings.tell_every,
            devices: self.devices,
            derived: self.derived,
            rules: self.rules,
            sensors,
            risk_points: self.risk_points,
            journal: self.settings.journal,
            sinks: self.settings.sinks,
            listen: self.settings.listen,
            documents,
        }
    }
}

/// Names in use, by kind.
#[derive(Default)]
pub(crate) struct Names(BTreeMap<(&'static str, String), Place>);

impl Names {
    /// Takes the name of a section, also of one that is broken otherwise.
    fn named(&mut self, kind: &'static str, section: &Section<'_>) {
        if let Some(name) = section.text("name") {
            self.take(kind, &name, &section.place("name"), section.report);
        }
    }

    pub(crate) fn take(&mut self, kind: &'static str, name: &str, place: &Place, report: &Report) {
        if kind == "device" && name == "gateway" {
            report.error(
                place,
                "reserved-name",
                "`gateway` is the gateway's own device",
                Some("use another name".to_owned()),
            );
        }
        match self.0.get(&(kind, name.to_owned())) {
            Some(first) => {
                let help = Some(format!("the first one stands at {}:{}", first.file, first.line));
                report.error(
                    place,
                    "duplicate-name",
                    format!("two of this kind ({kind}) are called `{name}`"),
                    help,
                );
            }
            None => {
                self.0.insert((kind, name.to_owned()), place.clone());
            }
        }
    }
}
