//! `lifeline new device`: a correct entry for the site's document.
//!
//! In: profile, line, address and name. Out: the entry, printed or appended to the site's document.
//! Invariant: what is printed or written passes the check together with the site that is there; otherwise the findings are.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::bus::Address;
use crate::cli::whole;
use crate::diagnostic::{self, Diagnostic, Diagnostics, Severity};
use crate::profile::Profile;
use crate::profile::firmware::Firmware;
use crate::site::kit::{Kit, kit};
use crate::site::{self, Options};

/// Names that are shown when there is no such profile.
const NEAREST: usize = 3;

/// What is made.
#[derive(Debug, Subcommand)]
pub enum New {
    /// A `[[device]]` entry for the line of `--line NAME`; `--line NAME=ADDRESS` makes the line, too (`dial-in:PORT,ID` for a DTU).
    Device(Device),
}

/// Arguments of `new device`.
#[derive(Debug, Args)]
pub struct Device {
    /// Its model, by the name of a profile.
    #[arg(long, value_name = "ID")]
    profile: String,
    /// Its Modbus address; the one that the model leaves the factory with when left out.
    #[arg(long, visible_alias = "unit", value_name = "N")]
    slave: Option<u8>,
    /// Its name: small letters, digits and `-`.
    #[arg(long)]
    name: String,
    /// How often it is polled.
    #[arg(long, default_value = "10s")]
    every: String,
    /// Its firmware, where the model's register map depends on it.
    #[arg(long)]
    firmware: Option<String>,
    /// Append it to the site's document instead of printing it.
    #[arg(long)]
    write: bool,
}

/// Makes the entry.
///
/// # Errors
/// No such profile or line; the entry does not pass the check.
pub fn new(options: &Options, what: &New, out: &mut dyn Write) -> anyhow::Result<u8> {
    let New::Device(wanted) = what;
    let [(line, to)] = options.lines.as_slice() else {
        anyhow::bail!(
            "name the line that it hangs on: --line rs485-1, or --line rs485-1=/dev/ttyUSB0 for a new one, or --line dtu-17=dial-in:5020,LOGIN:1001 for a DTU that dials in"
        );
    };
    // Lines lead nowhere else here.
    let options = Options { lines: Vec::new(), ..options.clone() };
    let kit = kit(&options);
    let plain = site::plain_name(&wanted.name);
    anyhow::ensure!(
        plain == wanted.name && !plain.is_empty(),
        "`{}` is no name of a device: small letters, digits and `-`{}",
        wanted.name,
        if plain.is_empty() { String::new() } else { format!(", such as --name {plain}") }
    );
    let found = kit.profiles.iter().zip(&kit.firmware).find(|(profile, _)| profile.name == wanted.profile);
    let (profile, firmware) = found.with_context(|| unknown(&wanted.profile, &kit))?;
    let entry = entry(wanted, line, to, profile, firmware, &kit)?;
    let (target, before) = target(&options, wanted)?;
    let after = if before.is_empty() { entry.clone() } else { format!("{}\n\n{entry}", before.trim_end()) };
    let (fresh, texts) = fresh(&options, &target, &after);
    if fresh.errors() > 0 {
        anyhow::bail!(
            "this entry does not pass the check; nothing was written\n\n{}",
            diagnostic::render(&fresh, &texts)
        );
    }
    if wanted.write {
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        whole::write(&target, &after)?;
        writeln!(out, "appended to {}:\n", target.display())?;
    }
    write!(out, "{entry}")?;
    for Diagnostic { message, help, .. } in &fresh.0 {
        let help = help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        writeln!(std::io::stderr(), "note: {message}{help}")?;
    }
    Ok(0)
}

/// The profiles that are meant most likely.
fn unknown(wanted: &str, kit: &Kit) -> String {
    let mut names: Vec<&str> = kit.profiles.iter().map(|profile| profile.name.as_str()).collect();
    let far = |name: &str| {
        let begins = name.split('-').zip(wanted.split('-')).take_while(|(one, other)| one == other).count();
        (!name.contains(wanted), std::cmp::Reverse(begins), strsim::damerau_levenshtein(name, wanted))
    };
    names.sort_by_key(|name| far(name));
    names.truncate(NEAREST);
    match names.as_slice() {
        [] => format!("there is no profile `{wanted}`, and no other; give --profiles DIR"),
        near => format!("there is no profile `{wanted}`; the nearest ones are {}", near.join(", ")),
    }
}

/// The entry, with its line when that has to be made.
fn entry(
    wanted: &Device,
    line: &str,
    to: &str,
    profile: &Profile,
    firmware: &Firmware,
    kit: &Kit,
) -> anyhow::Result<String> {
    let mut text = line_entry(line, to, profile, kit)?;
    let known = kit.lines.iter().find(|known| known.name == line);
    let _ = writeln!(text, "# {} {}{}", profile.maker, profile.about.model, leaves(profile));
    if let (Some(Address::Serial { format, .. }), Some(own)) =
        (known.map(|line| &line.address), profile.serial)
        && *format != own
    {
        let _ = writeln!(
            text,
            "# The line runs at {format}: set the device to that first, or give it a line of its own."
        );
    }
    let _ = writeln!(text, "[[device]]\nname = {}\nline = {}", quoted(&wanted.name), quoted(line));
    match wanted.slave.or(profile.about.slave) {
        Some(slave) => {
            let _ = writeln!(text, "slave = {slave}");
        }
        None if profile.text.is_some() => {}
        None => anyhow::bail!("the profile {} names no factory address: give --slave N", profile.name),
    }
    let _ = writeln!(text, "profile = {}", quoted(&profile.name));
    match &wanted.firmware {
        Some(version) => {
            let _ = writeln!(text, "firmware = {}", quoted(version));
        }
        None if !firmware.overlays.is_empty() && firmware.telling.is_none() => {
            let versions: Vec<&str> =
                firmware.overlays.iter().map(|overlay| overlay.versions.as_str()).collect();
            let _ =
                writeln!(text, "# firmware = \"...\"    # its registers differ in {}", versions.join("; "));
        }
        None => {}
    }
    let _ = writeln!(text, "every = {}", quoted(&wanted.every));
    for trigger in &profile.triggers {
        let _ = writeln!(
            text,
            "# allow = [{}]    # lets the gateway write {} before each poll",
            quoted(&trigger.name),
            trigger.act
        );
    }
    Ok(text)
}

/// The line, when it has to be made.
fn line_entry(line: &str, to: &str, profile: &Profile, kit: &Kit) -> anyhow::Result<String> {
    let mut text = String::new();
    let known = kit.lines.iter().find(|known| known.name == line);
    let names: Vec<&str> = kit.lines.iter().map(|line| line.name.as_str()).collect();
    match (known, to) {
        (Some(_), "") => {}
        (Some(_), to) => anyhow::bail!("there is a line `{line}` already: leave `={to}` out"),
        (None, "") if names.is_empty() => anyhow::bail!(
            "the site has no line yet: give its address, --line {line}=/dev/ttyUSB0 or --line {line}=10.0.0.5:502"
        ),
        (None, "") => anyhow::bail!("there is no line `{line}`; the site has {}", names.join(", ")),
        (None, to) => {
            let speed = profile.serial.map_or_else(|| "9600 8N1".to_owned(), |format| format.to_string());
            let dial_in = to.strip_prefix("dial-in:").and_then(|rest| rest.split_once(','));
            if let Some((port, id)) = dial_in {
                let listen = quoted(&format!("0.0.0.0:{port}"));
                let address = format!("dial_in = {{ listen = {listen}, id = {} }}", quoted(id));
                let _ = writeln!(text, "[[line]]\nname = {}\n{address}\n", quoted(line));
                return Ok(text);
            }
            anyhow::ensure!(
                !to.starts_with("dial-in"),
                "a DTU's line is dial-in:PORT,ID: the port that it dials and what it says of itself"
            );
            let address = match (to.starts_with('/'), profile.text.is_some()) {
                (true, _) => format!("serial = {{ path = {}, speed = \"{speed}\" }}", quoted(to)),
                (false, true) => format!("text_over_tcp = {}", quoted(to)),
                (false, false) => format!("tcp = {}", quoted(to)),
            };
            let _ = writeln!(text, "[[line]]\nname = {}\n{address}\n", quoted(line));
        }
    }
    Ok(text)
}

/// How the model leaves the factory.
fn leaves(profile: &Profile) -> String {
    let format = profile.serial.map(|format| format.to_string());
    let said: Vec<String> =
        format.into_iter().chain(profile.about.slave.map(|slave| format!("slave {slave}"))).collect();
    if said.is_empty() { String::new() } else { format!(", leaves the factory with {}", said.join(", ")) }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The document that gets the entry, and what is in it. One that has its devices in a list cannot get another table: a new one is begun.
fn target(options: &Options, wanted: &Device) -> anyhow::Result<(PathBuf, String)> {
    let own = options.site.join(format!("{}.toml", wanted.name));
    let main = options.site.join("site.toml");
    let mut others: Vec<PathBuf> = std::fs::read_dir(&options.site)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    others.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let target = match others.as_slice() {
        [only] => only.clone(),
        _ => main,
    };
    if !target.exists() {
        return Ok((target, String::new()));
    }
    let text =
        std::fs::read_to_string(&target).with_context(|| format!("cannot read {}", target.display()))?;
    let is_list = |line: &str| {
        ["device", "line"]
            .iter()
            .any(|key| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')))
    };
    // Keys of the document itself stand before its first table; a device's own `line` is none of them.
    if !text.lines().take_while(|line| !line.starts_with('[')).any(is_list) {
        return Ok((target, text));
    }
    anyhow::ensure!(!own.exists(), "{} is there already", own.display());
    Ok((own, String::new()))
}

/// What the check finds with the document as it will be, and did not find before.
fn fresh(options: &Options, target: &std::path::Path, after: &str) -> (Diagnostics, Vec<(String, String)>) {
    let (_, before, mut held) = site::load(options);
    let name = target.display().to_string();
    held.retain(|(known, _)| *known != name);
    held.push((name, after.to_owned()));
    let (_, found, texts) = site::load(&Options { held: Some(held), ..options.clone() });
    let told = |finding: &Diagnostic| {
        before.0.iter().any(|known| {
            (known.code, &known.message, &known.place.file)
                == (finding.code, &finding.message, &finding.place.file)
        })
    };
    let fresh = found.0.into_iter().filter(|finding| !told(finding) && relevant(finding));
    (Diagnostics(fresh.collect()), texts)
}

/// Held documents carry no profile of their own folder, so unused ones are no news.
fn relevant(finding: &Diagnostic) -> bool {
    finding.severity == Severity::Error || finding.code != "unused-profile"
}
