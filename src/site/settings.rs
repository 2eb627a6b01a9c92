//! `gateway.toml`: the gateway's own settings, in layers: built-in defaults, the file, the environment.
//!
//! In: the file's tree and `LIFELINE__SECTION__KEY` names. Out: [`Settings`].
//! Invariant: an unknown key or name is reported and never silently ignored; a secret is a name or a path, never its text.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Trust;
use crate::diagnostic::Place;
use crate::forward::backoff::Pace;
use crate::forward::file::{Files, Format};
use crate::forward::mqtt::Broker;
use crate::forward::mqtt::packet::Version;
use crate::forward::shape::{Field, Only, Template, Topics};
use crate::forward::tls::Tls;
use crate::forward::{self, Api, Secret, Target};
use crate::journal;
use crate::site::section::{Section, nearest};
use crate::site::tree::{Document, Node, Report, Value};

/// The settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) timezone: String,
    pub(crate) trust: Trust,
    pub(crate) tell_every: Duration,
    pub(crate) journal: journal::Settings,
    pub(crate) listen: SocketAddr,
    pub(crate) profiles: Option<PathBuf>,
    pub(crate) sinks: Vec<forward::Settings>,
    /// Where a document names no sink from which people are called, nor says that somebody watches the page.
    pub(crate) nobody: Option<Place>,
}

/// What the environment may set.
const NAMES: [&str; 10] = [
    "LIFELINE__SITE__NAME",
    "LIFELINE__SITE__TIMEZONE",
    "LIFELINE__SITE__CLOCK",
    "LIFELINE__SITE__TELL_EVERY",
    "LIFELINE__JOURNAL__PATH",
    "LIFELINE__JOURNAL__COMMIT_EVERY",
    "LIFELINE__JOURNAL__KEEP",
    "LIFELINE__JOURNAL__MAX_SIZE",
    "LIFELINE__CONSOLE__LISTEN",
    "LIFELINE__PROFILES__PATH",
];

/// Reads the settings of `document` (empty for none) under `env`.
pub(crate) fn read(document: &Document, env: &[(String, String)], report: &Report) -> Settings {
    let mut root = document.parse(report);
    overlay(&mut root, env, report);
    let top = Section::new(document, report, "gateway.toml", &root);
    let empty = Node { span: (0, 0), value: Value::Table(Vec::new()) };
    let part =
        |key: &'static str| top.section(key).unwrap_or_else(|| Section::new(document, report, key, &empty));
    let (site, store, console, profiles) = (part("site"), part("journal"), part("console"), part("profiles"));
    let name = if site.node("name").is_some() {
        site.name("name").unwrap_or_default()
    } else {
        "lifeline".to_owned()
    };
    let timezone = site.text("timezone").unwrap_or_else(|| "UTC".to_owned());
    if jiff::tz::TimeZone::get(&timezone).is_err() {
        site.error(
            "timezone",
            "unknown-timezone",
            format!("there is no time zone `{timezone}`"),
            Some("such as Asia/Shanghai".to_owned()),
        );
    }
    let trust = match site.word("clock", &["set", "synchronised"]) {
        Some("synchronised") => Trust::Synchronised,
        _ => Trust::Set,
    };
    let tell_every = tell_every(&site);
    let journal = journal::Settings {
        path: store.text("path").map_or_else(|| PathBuf::from("/var/lib/lifeline"), PathBuf::from),
        commit_every: store
            .duration("commit_every")
            .unwrap_or(Duration::from_secs(1))
            .max(Duration::from_millis(1)),
        keep: store.duration("keep").unwrap_or(Duration::from_secs(400 * 86_400)),
        max_bytes: store
            .text("max_size")
            .map_or(8_000_000_000, |text| size(&store, "max_size", &text, 10_000_000)),
    };
    let listen = listen(&console);
    let watched = console.flag("watched").unwrap_or(false);
    let folder = profiles.text("path").map(PathBuf::from);
    let sections = top.sections("sink");
    let sinks: Vec<forward::Settings> = sections.iter().filter_map(sink).collect();
    for (index, settings) in sinks.iter().enumerate() {
        if sinks.iter().take(index).any(|other| other.name == settings.name) {
            let message = format!("two sinks are called `{}`", settings.name);
            sections.get(index).inspect(|section| section.error("name", "duplicate-name", message, None));
        }
    }
    // A sink with a mistake may well be one that tells somebody.
    let none_tells = sinks.len() == sections.len() && sinks.iter().all(forward::Settings::tells_nobody);
    let reached = top.has("sink") && !none_tells;
    let nobody = (!document.name.is_empty() && !watched && !reached).then(|| top.place("sink"));
    for section in [&site, &store, &console, &profiles, &top] {
        section.finish();
    }
    Settings { name, timezone, trust, tell_every, journal, listen, profiles: folder, sinks, nobody }
}

/// Where the console listens.
fn listen(console: &Section<'_>) -> SocketAddr {
    let listen = console.text("listen").unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    listen.parse().unwrap_or_else(|_| {
        console.error(
            "listen",
            "bad-address",
            format!("`{listen}` is not an address and port"),
            Some("such as 127.0.0.1:8080".to_owned()),
        );
        SocketAddr::from(([127, 0, 0, 1], 8080))
    })
}

/// The gateway's own points are read every 5 s, and who asks for another time counts on a minute at most.
fn tell_every(site: &Section<'_>) -> Duration {
    let (least, most) = (Duration::from_secs(5), Duration::from_secs(60));
    let every = site.duration("tell_every").unwrap_or(most);
    if !(least..=most).contains(&every) {
        let help = Some("write \"5s\" to \"60s\", or leave it out".to_owned());
        site.error("tell_every", "bad-duration", "`tell_every` is 5 s to 1 m", help);
    }
    every.clamp(least, most)
}

/// Puts the environment's values over the file's.
fn overlay(root: &mut Node, env: &[(String, String)], report: &Report) {
    for (name, text) in env {
        let place = Place { file: format!("env {name}"), ..Place::default() };
        if !NAMES.contains(&name.as_str()) {
            let help = nearest(name, NAMES.into_iter());
            report.error(
                &place,
                "unknown-setting",
                format!("the environment sets `{name}`, which is no setting"),
                help,
            );
            continue;
        }
        if text.is_empty() {
            let help = Some("give it a value, or unset it".to_owned());
            report.error(&place, "empty-text", format!("the environment sets `{name}` to nothing"), help);
            continue;
        }
        let mut path = name.split("__").skip(1).map(str::to_lowercase);
        let (Some(section), Some(key)) = (path.next(), path.next()) else { continue };
        let Value::Table(entries) = &mut root.value else { continue };
        let node = Node { span: (0, 0), value: Value::Text(text.clone()) };
        if !entries.iter().any(|(name, ..)| *name == section) {
            entries.push((section.clone(), (0, 0), Node { span: (0, 0), value: Value::Table(Vec::new()) }));
        }
        let table = entries.iter_mut().find(|(name, ..)| *name == section).map(|(.., node)| &mut node.value);
        if let Some(Value::Table(keys)) = table {
            keys.retain(|(name, ..)| *name != key);
            keys.push((key, (0, 0), node));
        }
    }
}

fn size(section: &Section<'_>, key: &'static str, text: &str, least: u64) -> u64 {
    let parsed = text.split_once(' ').and_then(|(number, unit)| {
        let number: u64 = number.parse().ok()?;
        let factor = match unit {
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return None,
        };
        number.checked_mul(factor)
    });
    parsed.filter(|bytes| least <= *bytes).unwrap_or_else(|| {
        section.error(
            key,
            "bad-size",
            format!("`{text}` is not a size of at least {} MB", least / 1_000_000),
            Some("such as \"8 GB\"".to_owned()),
        );
        8_000_000_000
    })
}

fn sink(section: &Section<'_>) -> Option<forward::Settings> {
    let name = section.name("name");
    let kind = section.need("kind", section.word("kind", &["influx", "mqtt", "file"]));
    let batch_max = section.int("batch_max", 1, 100_000).unwrap_or(5000);
    let target = match kind {
        Some("influx") => influx(section),
        Some("mqtt") => mqtt(section),
        Some("file") => file(section),
        _ => {
            unknown_kind(section);
            return None;
        }
    };
    let only = only(section);
    let calls_people = section.flag("calls_people");
    let cannot = match kind {
        Some("file") => Some("a file reaches nobody"),
        _ if only.no_alarms => Some("`only` keeps alarms from it"),
        _ => None,
    };
    if let (Some(true), Some(why)) = (calls_people, cannot) {
        let help = Some("leave `calls_people` out".to_owned());
        section.error(
            "calls_people",
            "calls-nobody",
            format!("`calls_people` of a sink that can call nobody: {why}"),
            help,
        );
    }
    section.finish();
    let target = target?;
    let calls_people = calls_people.unwrap_or_else(|| target.calls_people());
    Some(forward::Settings { name: name?, target, calls_people, batch_max, pace: Pace::default(), only })
}

/// What can be said of a sink whose kind is unknown: its secrets are none of the document's in any kind.
fn unknown_kind(section: &Section<'_>) {
    for key in ["token", "password"] {
        let _ = secret(section, key);
    }
    if section.node("url").is_some() {
        let _ = url(section);
    }
}

/// The address of a sink, without a user and password in it.
fn url(section: &Section<'_>) -> Option<String> {
    let url = section.need("url", section.text("url"))?;
    let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    if host.split('/').next().is_some_and(|host| host.contains('@')) {
        let help =
            "write user = \"...\" and the password as { file = \"...\" } or { env = \"NAME\" }".to_owned();
        section.error("url", "secret-in-document", "an address holds no user and password", Some(help));
    }
    Some(url)
}

fn influx(section: &Section<'_>) -> Option<Target> {
    let url = url(section)?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        section.error(
            "url",
            "bad-url",
            format!("`{url}` is not an http address"),
            Some("such as http://127.0.0.1:8086".to_owned()),
        );
    }
    let v1 = section.word("api", &["v1", "v2"]) == Some("v1");
    let (token, user) = (secret(section, "token"), section.text("user"));
    let api = if v1 {
        Api::V1 {
            database: section.need("database", section.text("database"))?,
            policy: section.text("policy").unwrap_or_default(),
        }
    } else {
        Api::V2 {
            org: section.text("org").unwrap_or_default(),
            bucket: section.need("bucket", section.text("bucket"))?,
        }
    };
    let tls = tls(section).unwrap_or_default();
    Some(Target::Influx {
        url: url.trim_end_matches('/').to_owned(),
        api,
        token,
        user,
        tls,
        tags: tags(section),
    })
}

fn mqtt(section: &Section<'_>) -> Option<Target> {
    let url = url(section)?;
    let secure = url.strip_prefix("mqtts://");
    let address = secure.or(url.strip_prefix("mqtt://")).unwrap_or(&url).to_owned();
    if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        section.error(
            "url",
            "bad-url",
            format!("`{url}` is not host and port"),
            Some("such as mqtt://127.0.0.1:1883, or mqtts://broker.example:8883 with TLS".to_owned()),
        );
    }
    let client_id = section.text("client_id").unwrap_or_default();
    let version = match section.word("version", &["5", "3.1.1"]) {
        Some("3.1.1") => Version::V311,
        _ => Version::V5,
    };
    let files = tls(section);
    if files.is_some() && secure.is_none() {
        let help = Some("write mqtts://HOST:8883".to_owned());
        section.error("url", "bad-url", "`tls` is set and the address is one without TLS", help);
    }
    Some(Target::Mqtt(Broker {
        address,
        version,
        client_id,
        user: section.text("user"),
        password: secret(section, "password"),
        tls: secure.map(|_| files.unwrap_or_default()),
        topics: topics(section),
    }))
}

fn file(section: &Section<'_>) -> Option<Target> {
    let path = section.need("path", section.text("path"))?;
    let format = match section.word("format", &["lp", "csv"]) {
        Some("csv") => Format::Csv,
        _ => Format::Lines,
    };
    let rotate = section.text("rotate").map(|text| size(section, "rotate", &text, 1_000_000));
    let keep = section.duration("keep");
    Some(Target::File(Files { path: PathBuf::from(path), format, rotate, keep }))
}

/// What of the journal a sink gets.
fn only(section: &Section<'_>) -> Only {
    let Some(found) = section.section("only") else { return Only::default() };
    let texts = |key| found.texts(key).into_iter().map(|(text, _)| text).collect();
    let no = |key| found.flag(key) == Some(false);
    let only = Only {
        devices: texts("devices"),
        classes: texts("classes"),
        no_alarms: no("alarms"),
        no_readings: no("readings"),
    };
    if only.no_alarms && only.no_readings {
        let help = Some("remove the sink, or one of the two".to_owned());
        found.error("alarms", "bad-template", "neither alarms nor readings: the sink gets nothing", help);
    }
    found.finish();
    only
}

/// Where messages go.
fn topics(section: &Section<'_>) -> Topics {
    let mut topics = Topics::default();
    let read = |key: &'static str, allowed: &[Field], needed: &[(Field, &str)]| {
        let text = section.text(key)?;
        let template = Template::topic(&text, allowed).and_then(|template| {
            match needed.iter().find(|(field, _)| !template.names(*field)) {
                Some((_, name)) => {
                    Err(format!("without `{{{name}}}` one topic would stand for several things"))
                }
                None => Ok(template),
            }
        });
        template.map_err(|why| section.error(key, "bad-template", format!("`{text}`: {why}"), None)).ok()
    };
    if let Some(found) = read("topic", &Topics::READING, &[(Field::Device, "device"), (Field::Lane, "lane")])
    {
        topics.reading = found;
    }
    if let Some(found) = read("alarm_topic", &Topics::ALARM, &[(Field::Rule, "rule")]) {
        topics.alarm = found;
    }
    topics
}

/// Whether a tag can be called so.
pub(crate) fn tag_key(key: &str) -> Result<(), String> {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    if key.is_empty() || !key.chars().all(plain) || key.starts_with('_') {
        return Err(format!("`{key}` is not a key of small letters, digits and `_`"));
    }
    if ["device", "point", "risk_point", "site", "unit", "time"].contains(&key) {
        return Err(format!("`{key}` is one of our own tags"));
    }
    Ok(())
}

/// Tags beside our own, each as `key = template`.
fn tags(section: &Section<'_>) -> Vec<(String, Template)> {
    let mut tags = Vec::new();
    for (text, place) in section.texts("tags") {
        let read = text.split_once('=').ok_or_else(|| "write it as `key={town}`".to_owned());
        let read = read.and_then(|(key, template)| {
            let key = key.trim();
            tag_key(key)?;
            Ok((key.to_owned(), Template::parse(template.trim(), &Topics::TAG)?))
        });
        match read {
            Ok(read) => tags.push(read),
            Err(why) => {
                let help = Some("such as \"town={town}\"".to_owned());
                section.report.error(&place, "bad-template", format!("`{text}`: {why}"), help);
            }
        }
    }
    tags
}

/// Whom to trust, and who we are.
fn tls(section: &Section<'_>) -> Option<Tls> {
    let found = section.section("tls")?;
    let path = |key| found.text(key).map(PathBuf::from);
    let ca = path("ca");
    let identity = match (path("certificate"), path("key")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            let missing = if certificate.is_some() { "key" } else { "certificate" };
            let help = Some("a certificate and its private key belong together, each a PEM file".to_owned());
            found.error(missing, "missing-key", format!("`{missing}` is missing"), help);
            None
        }
    };
    let identity_files =
        identity.iter().flat_map(|(certificate, key)| [("certificate", certificate), ("key", key)]);
    for (key, file) in ca.iter().map(|file| ("ca", file)).chain(identity_files) {
        if !file.exists() {
            let text =
                format!("there is no file {} here; it must be there when the gateway starts", file.display());
            found.warning(key, "missing-secret", text, None);
        }
    }
    found.finish();
    Some(Tls { ca, identity })
}

fn secret(section: &Section<'_>, key: &'static str) -> Option<Secret> {
    let node = section.node(key)?;
    if matches!(node.value, Value::Text(_)) {
        let help = format!("write {key} = {{ file = \"/etc/lifeline/{key}\" }} or {{ env = \"NAME\" }}");
        section.error(key, "secret-in-document", "a secret does not belong into a document", Some(help));
        return None;
    }
    let found = section.section(key)?;
    let secret = found
        .text("env")
        .map(Secret::Env)
        .or_else(|| found.text("file").map(|path| Secret::File(PathBuf::from(path))));
    found.finish();
    match &secret {
        Some(Secret::File(path)) if !path.exists() => {
            let text =
                format!("there is no file {} here; it must be there when the gateway starts", path.display());
            section.warning(key, "missing-secret", text, None);
        }
        Some(Secret::Env(name)) if std::env::var_os(name).is_none() => {
            let text = format!("the variable {name} is not set here; it must be when the gateway starts");
            section.warning(key, "missing-secret", text, None);
        }
        _ => {}
    }
    if secret.is_none() && found.ways(&["env", "file"]) == 0 {
        let help = Some("{ file = \"/etc/lifeline/NAME\" } or { env = \"NAME\" }".to_owned());
        section.error(key, "missing-key", format!("`{key}` needs `file` or `env`"), help);
    }
    secret
}
