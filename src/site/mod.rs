//! Reads and checks all documents and makes every room's settings.
//!
//! In: `gateway.toml`, the environment, the site's documents, profiles. Out: a [`Site`], or every mistake at once.
//! Invariant: what loads is whole; no stage checks it again.

mod budget;
mod columns;
pub mod certificates;
mod compile;
mod derived;
mod devices;
pub mod encoding;
mod each;
mod expand;
pub mod diff;
pub mod health;
pub mod kit;
pub mod library;
mod dial_in;
mod firmware;
mod guide;
mod inputs;
pub mod import;
mod lines;
mod links;
pub mod outage;
mod plausible;
pub mod points;
mod profiles;
pub(crate) mod risk;
mod grades;
mod conditions;
mod rules;
pub mod schema;
mod section;
mod serial;
mod settings;
mod shelf;
pub mod table;
mod text;
mod tree;
mod wide;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::Rule;
use crate::bus::{LineSettings, Slave};
use crate::clock::{Timestamp, Trust};
use crate::diagnostic::Diagnostics;
use crate::point::{Catalog, DeviceId, LineId, PointId};
use crate::profile::Profile;
use crate::profile::firmware::Firmware;
use crate::profile::trigger::Allowed;
use crate::risk::{RiskPoint, Sensor};
use crate::{derive, forward, journal};

/// Which documents.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `gateway.toml`; `None`: built-in defaults and environment alone.
    pub config: Option<PathBuf>,
    /// Folder of site documents (`*.toml`, not its subfolders), and what they include.
    pub site: PathBuf,
    /// Folder of profiles instead of the configured one.
    pub profiles: Option<PathBuf>,
    /// Lines that lead elsewhere, `rs485-1 = /dev/pts/3` or `tcp-1 = 127.0.0.1:5502`; the kind of line stays.
    pub lines: Vec<(String, String)>,
    /// Environment (`LIFELINE__...` are settings, `{ env = "X" }` secrets are looked up when used).
    pub env: Vec<(String, String)>,
    /// Date for "calibration past due" warnings.
    pub now: Timestamp,
    /// Documents (name, text) that a journal holds, instead of all files.
    pub held: Option<Vec<(String, String)>>,
}

/// A line and the devices on it.
#[derive(Clone, Debug, PartialEq)]
pub struct LineSpec {
    /// Its number.
    pub id: LineId,
    /// For the master.
    pub settings: LineSettings,
    /// Its devices, as indexes into `Site::devices`.
    pub devices: Vec<usize>,
}

/// A polled device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSpec {
    /// Its number.
    pub id: DeviceId,
    /// Its address.
    pub slave: Slave,
    /// Its model: at the firmware that the site names; where the device tells it, with everything that any version has. When the device names
    /// points, the others are hidden.
    pub profile: Arc<Profile>,
    /// The point that each field feeds; `None` for hidden ones.
    pub points: Vec<Option<PointId>>,
    /// Poll period.
    pub every: Duration,
    /// Poll period while a rule on one of its points is active or near its threshold, as far as the line has time.
    pub every_in_alarm: Option<Duration>,
    /// The longest answer timeout; shorter ones are learnt.
    pub timeout: Duration,
    /// End of the calibration's validity.
    pub calibration_due: Option<Timestamp>,
    /// How its firmware is known, and what that changes of `profile`, whose fields stand in the firmware's layout.
    pub firmware: Firmware,
    /// The triggers that the site allows.
    pub triggers: Vec<Allowed>,
    /// Fields that are not polled, because they serve old values without a trigger that the site doesn't allow.
    pub withheld: Vec<usize>,
}

/// All documents, checked whole and compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Names. Beside the documents' devices it holds the device `gateway` with the points `disk` (1: the disk refuses), `clock` (1: not trusted) and
    /// `line-NAME` (1: the line is down), each with an implicit system rule.
    pub catalog: Arc<Catalog>,
    /// IANA time zone for display.
    pub timezone: String,
    /// What makes the box's clock trusted.
    pub trust: Trust,
    /// How often stores are told of the gateway's own work, of risk points and of limits; 5 s to a minute.
    pub tell_every: Duration,
    /// Lines.
    pub lines: Vec<LineSpec>,
    /// Polled devices.
    pub devices: Vec<DeviceSpec>,
    /// Derived points.
    pub derived: Vec<derive::Settings>,
    /// Rules, numbered by position; the implicit `stale` and system ones last.
    pub rules: Vec<Rule>,
    /// Risk points.
    pub risk_points: Vec<RiskPoint>,
    /// Devices that stand at risk points, once for each point.
    pub sensors: Vec<Sensor>,
    /// For the journal.
    pub journal: journal::Settings,
    /// Sinks.
    pub sinks: Vec<forward::Settings>,
    /// Console's address.
    pub listen: SocketAddr,
    /// Documents as read: name and text.
    pub documents: Vec<(String, String)>,
}

impl Site {
    /// Whether people hear of alarms by the sink of this name.
    pub fn calls_people(&self, sink: &str) -> bool {
        self.sinks.iter().any(|known| known.name == sink && !known.tells_nobody())
    }
}

impl Default for Site {
    /// A site without anything, whose journal stands in the present folder.
    fn default() -> Self {
        let journal = journal::Settings {
            path: PathBuf::new(),
            commit_every: Duration::from_secs(1),
            keep: Duration::ZERO,
            max_bytes: 0,
        };
        Self {
            catalog: Arc::default(),
            timezone: "UTC".to_owned(),
            trust: Trust::Set,
            tell_every: Duration::from_secs(60),
            lines: Vec::new(),
            devices: Vec::new(),
            derived: Vec::new(),
            rules: Vec::new(),
            risk_points: Vec::new(),
            sensors: Vec::new(),
            journal,
            sinks: Vec::new(),
            listen: ([127, 0, 0, 1], 0).into(),
            documents: Vec::new(),
        }
    }
}

/// Name of the device that tells how the risk point with this place in the list stands.
pub fn carrier(point: &RiskPoint, number: usize) -> String {
    compile::watched::carrier(point, number)
}

/// Reads everything. `None` when there is an error among the findings; the source texts come back for rendering.
pub fn load(options: &Options) -> (Option<Site>, Diagnostics, Vec<(String, String)>) {
    compile::load(options)
}

/// Paths, and patterns with `*`, of the documents and tables that a site's documents name beside those of its folder.
pub fn named(options: &Options) -> Vec<PathBuf> {
    shelf::named(options)
}

/// The files that such a pattern names now.
pub fn matching(pattern: &Path) -> Vec<PathBuf> {
    shelf::files(pattern)
}

/// Where a running gateway listens and where its journal is, for the commands that ask: what the settings say, read leniently.
///
/// # Errors
/// A settings file that is named and has mistakes.
pub fn console_and_journal(options: &Options) -> Result<(String, PathBuf, Option<String>), String> {
    let settings = leniently(options)?;
    let name = options.config.is_some().then_some(settings.name);
    Ok((format!("http://{}", settings.listen), settings.journal.path, name))
}

/// The journal's settings, read leniently, for the commands that care for it.
///
/// # Errors
/// A settings file that is named and has mistakes.
pub fn journal_settings(options: &Options) -> Result<journal::Settings, String> {
    leniently(options).map(|settings| settings.journal)
}

fn leniently(options: &Options) -> Result<settings::Settings, String> {
    let report = tree::Report::default();
    let document =
        options.config.as_ref().map(|path| tree::Document::read(path, &report).unwrap_or_default());
    let settings = settings::read(&document.unwrap_or_default(), &options.env, &report);
    let found = report.finish();
    if let Some(first) = found.0.first().filter(|_| found.errors() > 0) {
        return Err(format!("{}:{}: {}", first.place.file, first.place.line, first.message));
    }
    Ok(settings)
}

/// The kebab-case name (a-z, 0-9, -) that is nearest to a text; empty when no letter or digit of it is one of these.
pub fn plain_name(text: &str) -> String {
    section::kebab(text)
}

/// A duration as documents write it: a number and `ms`, `s`, `m`, `h` or `d`; at most ten years.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = number.parse::<u64>().ok()?.checked_mul(ms)?;
    (total <= 3_650 * 86_400_000).then(|| Duration::from_millis(total))
}
