//! What a scan found, as text, JSON, and as lines to paste into the site.
//!
//! In: devices with their answers and the profiles that fit. Out: text.
//! Invariant: what is to be pasted is a document that `check` accepts.

use std::cmp::Ordering;
use std::io::Write;

use serde::Serialize;

use crate::bus::{Address, LineSettings};
use crate::cli::read::worded;
use crate::cli::table::plain;
use crate::normalize::fit::Fit;
use crate::profile::Profile;

/// Points shown beside a profile.
const POINTS_MAX: usize = 4;

/// A device that answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Found {
    pub(crate) slave: u8,
    /// The serial port's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    /// What it answered first, in words.
    pub(crate) answered: String,
    /// What it says of itself (FC 43/14), by name of the object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) identity: Vec<(String, String)>,
    /// Profiles that fit, the best first.
    pub(crate) profiles: Vec<Match>,
}

/// A profile, or one map of a profile whose versions have several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model<'a> {
    pub(crate) profile: &'a Profile,
    /// A version with this map.
    pub(crate) firmware: Option<&'a String>,
}

/// A profile that fits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Match {
    pub(crate) profile: String,
    /// A version with the map that fits, where the map depends on it and the device does not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) firmware: Option<String>,
    /// Versions whose maps fit just as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) also: Vec<String>,
    /// Of `points`, those with a legal number.
    pub(crate) good: usize,
    pub(crate) points: usize,
    /// How unlikely it is that another device answers so.
    pub(crate) score: f64,
    /// Some of its points with their values.
    pub(crate) shows: Vec<String>,
}

impl Found {
    pub(crate) const fn new(slave: u8, answered: String) -> Self {
        Self { slave, format: None, answered, identity: Vec::new(), profiles: Vec::new() }
    }

    /// Whether the device names this maker.
    fn names(&self, maker: &str) -> bool {
        let word = maker.split_whitespace().next().unwrap_or_default().to_lowercase();
        word.len() > 2 && self.identity.iter().any(|(_, text)| text.to_lowercase().contains(&word))
    }
}

impl Match {
    /// A device that names the profile's maker is most likely his.
    pub(crate) fn new(model: &Model<'_>, fit: &Fit, found: &Found) -> Self {
        let profile = model.profile;
        let maker = if found.names(&profile.maker) { 10.0 } else { 0.0 };
        let shows = fit.readings.iter().filter(|(_, sample)| sample.value().is_some()).take(POINTS_MAX);
        let shown = |(index, sample): &(usize, _)| {
            let field = profile.fields.get(*index)?;
            Some(format!("{} {}", field.name, worded(profile, field, sample)))
        };
        Self {
            profile: profile.name.clone(),
            firmware: model.firmware.cloned(),
            also: Vec::new(),
            good: fit.good,
            points: fit.points,
            score: ((fit.score + maker) * 10.0).round() / 10.0,
            shows: shows.filter_map(shown).collect(),
        }
    }
}

/// Adds a fit; of a profile's maps the best one stays, and is told which others fit as well.
pub(crate) fn add(all: &mut Vec<Match>, fit: Match) {
    let Some(known) = all.iter_mut().find(|known| known.profile == fit.profile) else {
        return all.push(fit);
    };
    match fit.score.total_cmp(&known.score) {
        Ordering::Greater => *known = fit,
        Ordering::Equal => known.also.extend(fit.firmware),
        Ordering::Less => {}
    }
}

impl Match {
    /// How much the fit says: a few small whole numbers would satisfy many profiles.
    fn evidence(&self) -> &'static str {
        match self.score {
            score if score >= 1.5 => "strong",
            score if score >= 0.5 => "fair",
            _ => "weak",
        }
    }
}

/// One device as lines of text.
pub(crate) fn emit(found: &Found, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "slave {} answers: {}", found.slave, plain(&found.answered))?;
    if !found.identity.is_empty() {
        let said: Vec<String> =
            found.identity.iter().map(|(object, text)| format!("{object} {}", plain(text))).collect();
        writeln!(out, "  says of itself: {}", said.join(", "))?;
    }
    for fit in &found.profiles {
        let Match { profile, good, points, shows, .. } = fit;
        let evidence = fit.evidence();
        let like =
            fit.firmware.as_ref().map_or_else(String::new, |version| format!(", firmware like {version}"));
        writeln!(
            out,
            "  {profile}{like}: {good} of {points} points fit, {evidence} evidence: {}",
            shows.join(", ")
        )?;
    }
    if found.profiles.is_empty() {
        writeln!(out, "  no profile fits; look at its registers with `lifeline read`")?;
    }
    Ok(())
}

/// The lines to paste; with a line of its own when the address came from the command line.
pub(crate) fn summary(
    found: &[Found],
    line: &LineSettings,
    with_line: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if found.iter().all(|found| found.profiles.is_empty()) {
        return Ok(());
    }
    writeln!(out, "\nfor the site's document (compare with the type plate first):\n")?;
    if with_line {
        let format = found.first().and_then(|found| found.format.clone());
        writeln!(out, "[[line]]\nname = \"{}\"\n{}\n", line.name, toml_address(&line.address, format))?;
    } else if let (Address::Serial { format: written, .. }, Some(speaks)) =
        (&line.address, found.first().and_then(|found| found.format.as_deref()))
        && written.to_string() != speaks
    {
        let name = &line.name;
        writeln!(
            out,
            "# first change the line {name}: it has speed = \"{written}\", and what answered speaks \"{speaks}\"\n"
        )?;
    }
    for found in found {
        let Some(fit @ Match { profile, .. }) = found.profiles.first() else { continue };
        let name = format!("{profile}-{}", found.slave);
        write!(
            out,
            "[[device]]\nname = \"{name}\"\nline = \"{}\"\nslave = {}\nprofile = \"{profile}\"\n",
            line.name, found.slave
        )?;
        if let Some(version) = &fit.firmware {
            writeln!(out, "firmware = {}    # {}", quoted(version), like(&fit.also))?;
        }
        writeln!(out, "every = \"5s\"\n")?;
    }
    Ok(())
}

/// What a proposed version is worth.
fn like(also: &[String]) -> String {
    let plate = "write the version of the type plate or the manual";
    if also.is_empty() {
        return format!("one with the registers that answered: {plate}");
    }
    let also: Vec<String> = also.iter().map(|version| quoted(version)).collect();
    format!("a guess, {} fits as well: {plate}", also.join(" or "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn toml_address(address: &Address, format_found: Option<String>) -> String {
    match address {
        Address::Tcp(to) => format!("tcp = \"{to}\""),
        Address::RtuOverTcp(to) => format!("rtu_over_tcp = \"{to}\""),
        Address::AsciiOverTcp(to) => format!("ascii_over_tcp = \"{to}\""),
        // The line of the site says more than its address: who dials in, which certificates.
        Address::Tls(_) | Address::DialIn(_) => "# address as in the site's document".to_owned(),
        Address::Serial { path, format, .. } => {
            let speed = format_found.unwrap_or_else(|| format.to_string());
            format!("serial = {{ path = \"{path}\", speed = \"{speed}\" }}")
        }
    }
}
