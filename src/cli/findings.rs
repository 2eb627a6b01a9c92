//! What a scan found, as text, JSON, and as lines to paste into the site.
//!
//! In: devices with their answers and the profiles that fit. Out: text.
//! Invariant: what is to be pasted is a document that `check` accepts.

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

/// A profile that fits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Match {
    pub(crate) profile: String,
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
    pub(crate) fn new(profile: &Profile, fit: &Fit, found: &Found) -> Self {
        let maker = if found.names(&profile.maker) { 10.0 } else { 0.0 };
        let shows = fit.readings.iter().filter(|(_, sample)| sample.value().is_some()).take(POINTS_MAX);
        let shown = |(index, sample): &(usize, _)| {
            let field = profile.fields.get(*index)?;
            Some(format!("{} {}", field.name, worded(profile, field, sample)))
        };
        Self {
            profile: profile.name.clone(),
            good: fit.good,
            points: fit.points,
            score: ((fit.score + maker) * 10.0).round() / 10.0,
            shows: shows.filter_map(shown).collect(),
        }
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
        writeln!(
            out,
            "  {profile}: {good} of {points} points fit, {evidence} evidence: {}",
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
    let best = |found: &Found| found.profiles.first().map(|fit| fit.profile.clone());
    if found.iter().all(|found| best(found).is_none()) {
        return Ok(());
    }
    writeln!(out, "\nfor the site's document (compare with the type plate first):\n")?;
    if with_line {
        let format = found.first().and_then(|found| found.format.clone());
        writeln!(out, "[[line]]\nname = \"{}\"\n{}\n", line.name, toml_address(&line.address, format))?;
    }
    for found in found {
        let Some(profile) = best(found) else { continue };
        let name = format!("{profile}-{}", found.slave);
        writeln!(
            out,
            "[[device]]\nname = \"{name}\"\nline = \"{}\"\nslave = {}\nprofile = \"{profile}\"\nevery = \"5s\"\n",
            line.name, found.slave
        )?;
    }
    Ok(())
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
