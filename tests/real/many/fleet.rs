//! Gateways as a person runs them, each with simulated devices, one broker and two stores.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use lifeline_gateway::clock::{Clock, SystemClock};
use lifeline_gateway::sim::device::Control;
use lifeline_gateway::sim::script::Script;
use lifeline_gateway::sim::server as devices;
use lifeline_gateway::site::{Options, Site, load};
use serde_json::Value;
use tempfile::TempDir;

use crate::many::sites::{Fate, Gateway, Seen, write_profiles};
use crate::server::{Server, free_port};
use crate::{influxdb, victoria_metrics};

/// One process, which ends with the test.
struct Member {
    child: Child,
    config: PathBuf,
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends in this order: gateways, servers.
pub(crate) struct Fleet {
    members: Vec<Member>,
    pub(crate) servers: Servers,
    _folder: TempDir,
}

pub(crate) struct Servers {
    pub(crate) broker: Server,
    pub(crate) promql: Server,
    pub(crate) influxql: Server,
}

impl Servers {
    /// `None`: one is not installed.
    pub(crate) fn start() -> Option<Self> {
        let (broker, promql, influxql) = (broker()?, victoria_metrics::server()?, influxdb::server()?);
        let mut servers = Self { broker, promql, influxql };
        servers.broker.start();
        servers.promql.start();
        servers.influxql.start();
        influxdb::query(servers.influxql.port, "", "CREATE DATABASE telemetry");
        Some(servers)
    }

    pub(crate) fn port(&self, set: &str) -> u16 {
        if set == "promql" { self.promql.port } else { self.influxql.port }
    }
}

fn broker() -> Option<Server> {
    let arguments = |port, folder: &std::path::Path| {
        let path = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        );
        std::fs::write(&path, text).unwrap();
        vec!["-c".to_owned(), path.display().to_string()]
    };
    Server::new("mosquitto", arguments)
}

/// The checked site of a gateway whose settings are in `folder`.
pub(crate) fn checked(folder: &std::path::Path, profiles: PathBuf) -> Site {
    let options = Options {
        config: Some(folder.join("gateway.toml")),
        site: folder.join("site"),
        profiles: Some(profiles),
        now: SystemClock::new().now(),
        ..Options::default()
    };
    let (site, found, texts) = load(&options);
    site.unwrap_or_else(|| panic!("{}", lifeline_gateway::diagnostic::render(&found, &texts)))
}

impl Fleet {
    /// Starts the devices on this runtime, and the gateways.
    pub(crate) async fn start(servers: Servers, gateways: &[Gateway]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let profiles = folder.path().join("profiles");
        write_profiles(&profiles);
        let mut members = Vec::new();
        for gateway in gateways {
            let own = folder.path().join(&gateway.name);
            std::fs::create_dir_all(own.join("site")).unwrap();
            std::fs::write(own.join("site/site.toml"), gateway.document()).unwrap();
            std::fs::write(own.join("gateway.toml"), settings(&servers, gateway, &own)).unwrap();
            let site = checked(&own, profiles.clone());
            let control = Arc::new(Control::new());
            for sensor in gateway.sensors.iter().filter(|sensor| sensor.fate == Fate::Dead) {
                control.kill(sensor.name);
            }
            let mut tasks = Vec::new();
            let script = Script::parse("").unwrap();
            let lines = devices::start(&site, &script, &control, None, &mut tasks).await.unwrap();
            #[expect(clippy::disallowed_methods, reason = "devices serve beside the test")]
            tasks.into_iter().for_each(|task| drop(tokio::spawn(task)));
            let mut program = Command::new(env!("CARGO_BIN_EXE_lifeline"));
            let config = own.join("gateway.toml");
            program.arg("run").arg("--config").arg(&config).arg("--site").arg(own.join("site"));
            program.arg("--profiles").arg(&profiles);
            lines.iter().for_each(|(line, address)| {
                program.arg("--line").arg(format!("{line}={address}"));
            });
            let child =
                program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            members.push(Member { child, config });
        }
        Self { members, servers, _folder: folder }
    }

    /// What a command of the gateway of this number says, a JSON object a line; nothing while it is not there.
    pub(crate) fn said(&self, gateway: usize, command: &[&str]) -> Vec<Value> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_lifeline"));
        program.args(command).arg("--config").arg(&self.members[gateway].config).stdin(Stdio::null());
        let text = String::from_utf8(program.output().unwrap().stdout).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Failed attempts of all gateways at the sink of this name.
    pub(crate) fn failures(&self, sink: &str) -> u64 {
        let of = |gateway| {
            let said = self.said(gateway, &["status", "--json"]);
            let found = said[0]["sinks"].as_array().unwrap().iter().find(|one| one["name"] == sink);
            found.and_then(|found| found["failures"].as_u64()).unwrap()
        };
        (0..self.members.len()).map(of).sum()
    }

    /// What `lifeline coverage --json` of each gateway says of its sensors; `None` while one of them is not known.
    pub(crate) fn seen(&self) -> Option<Vec<Seen>> {
        let mut all = Vec::new();
        for gateway in 0..self.members.len() {
            let rows = self.said(gateway, &["coverage", "--json"]);
            let points: Vec<&Value> = rows.iter().filter(|row| row["sensors"].is_array()).collect();
            if points.is_empty() {
                return None;
            }
            for point in points {
                if point["unknown"] == true {
                    return None;
                }
                all.extend(sensors(gateway, point));
            }
        }
        all.sort();
        Some(all)
    }
}

fn sensors(gateway: usize, point: &Value) -> impl Iterator<Item = Seen> {
    let names = ["installed", "online", "fresh", "valid", "calibrated", "effective"];
    point["sensors"].as_array().unwrap().iter().map(move |sensor| {
        let place = names.iter().position(|name| sensor["rung"] == *name);
        Seen {
            gateway,
            code: point["code"].as_str().unwrap().to_owned(),
            sensor: sensor["sensor"].as_str().unwrap().to_owned(),
            rung: place.map_or(0, |place| u8::try_from(place + 1).unwrap()),
        }
    })
}

fn settings(servers: &Servers, gateway: &Gateway, folder: &std::path::Path) -> String {
    format!(
        "[site]\nname = \"{}\"\ntimezone = \"Asia/Shanghai\"\ntell_every = \"5s\"\n\
         [journal]\npath = \"{}\"\ncommit_every = \"500ms\"\n[console]\nlisten = \"127.0.0.1:{}\"\n\
         [[sink]]\nname = \"promql\"\nkind = \"influx\"\napi = \"v2\"\nurl = \"http://127.0.0.1:{}\"\nbucket = \"telemetry\"\n\
         [[sink]]\nname = \"influxql\"\nkind = \"influx\"\napi = \"v1\"\nurl = \"http://127.0.0.1:{}\"\ndatabase = \"telemetry\"\n\
         [[sink]]\nname = \"broker\"\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n",
        gateway.name,
        folder.join("journal").display(),
        free_port(),
        servers.promql.port,
        servers.influxql.port,
        servers.broker.port
    )
}
