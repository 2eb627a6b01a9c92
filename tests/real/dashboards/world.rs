//! Two stores, simulated devices, and the gateway itself: the program as a person runs it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lifeline_gateway::clock::{Clock, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

use crate::dashboards::grafana::Range;
use crate::dashboards::stores;
use crate::dashboards::truth::Said;
use crate::server::{Server, free_port, get, pause};
use crate::{influxdb, victoria_metrics};

/// How long the story may take to come to rest, and each wait after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends in this order: gateway, devices, stores.
pub(crate) struct World {
    _gateway: Running,
    _devices: Running,
    promql: Server,
    influxql: Server,
    console: u16,
    folder: TempDir,
}

impl World {
    /// `None`: a store is not installed.
    pub(crate) fn start() -> Option<Self> {
        let (mut promql, mut influxql) = (victoria_metrics::server()?, influxdb::server()?);
        promql.start();
        influxql.start();
        influxdb::query(influxql.port, "", "CREATE DATABASE telemetry");
        // It is away when the gateway starts, so that there are failures and a backlog to show.
        influxql.terminate();
        let (folder, console) = (tempfile::tempdir().unwrap(), free_port());
        let settings = format!(
            "[site]\nname = \"nanan-01\"\ntimezone = \"Asia/Shanghai\"\ntell_every = \"5s\"\n\
             [journal]\npath = \"{}\"\ncommit_every = \"200ms\"\n[console]\nlisten = \"127.0.0.1:{console}\"\n\
             [[sink]]\nname = \"promql\"\nkind = \"influx\"\napi = \"v2\"\nurl = \"http://127.0.0.1:{}\"\nbucket = \"telemetry\"\n\
             [[sink]]\nname = \"influxql\"\nkind = \"influx\"\napi = \"v1\"\nurl = \"http://127.0.0.1:{}\"\ndatabase = \"telemetry\"\n",
            folder.path().join("journal").display(),
            promql.port,
            influxql.port
        );
        std::fs::write(folder.path().join("gateway.toml"), settings).unwrap();
        let documents = documents(&folder.path().join("site"));
        let story = ["--script", "tests/real/dashboards/story.toml"];
        let mut devices = spawn(lifeline("simulate").args(&documents).args(story));
        // The shipped site has four lines.
        let told = BufReader::new(devices.0.stdout.take().unwrap()).lines().take(4);
        let lines: Vec<String> = told.map(Result::unwrap).collect();
        let lines = lines.iter().flat_map(|line| line.split_once(' ').map(|(flag, line)| [flag, line]));
        let config = folder.path().join("gateway.toml");
        let gateway =
            spawn(lifeline("run").arg("--config").arg(config).args(&documents).args(lines.flatten()));
        let mut world = Self { _gateway: gateway, _devices: devices, promql, influxql, console, folder };
        until("a backlog that the other store is told of", || {
            let backlog = "sink_health_value{of=\"influxql\",point=\"backlog\"} > 0";
            let rows = stores::instant(world.promql.port, "A", backlog, Range { from: 0, to: now() });
            (!rows.is_empty()).then_some(())
        });
        world.influxql.start();
        Some(world)
    }

    pub(crate) fn port(&self, set: &str) -> u16 {
        if set == "promql" { self.promql.port } else { self.influxql.port }
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// What a command says, a JSON object a line; nothing while the gateway is not there yet.
    pub(crate) fn said(&self, command: &[&str]) -> Vec<Value> {
        let config = self.folder.path().join("gateway.toml");
        let done = lifeline(command[0]).args(&command[1..]).arg("--config").arg(config).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Everything that the commands say now; `None` while the gateway is not there yet.
    pub(crate) fn says(&self) -> Option<Said> {
        let mut points = self.said(&["coverage", "--json"]);
        let whole = points.iter().position(|row| row["scope"] == "site").map(|place| points.remove(place))?;
        // Work items come behind the points.
        points.retain(|row| row["sensors"].is_array());
        Some(Said {
            points,
            whole,
            alarms: self.said(&["alarms", "--json"]),
            status: self.said(&["status", "--json"]).pop()?,
            metrics: get(self.console, "/metrics"),
        })
    }
}

fn lifeline(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    program.arg(command).stdin(Stdio::null());
    program
}

/// The shipped site, in which the calibration of `leak-3` is overdue.
fn documents(site: &Path) -> [PathBuf; 4] {
    std::fs::create_dir(site).unwrap();
    for entry in std::fs::read_dir("devices").unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let mut text = std::fs::read_to_string(entry.path()).unwrap();
            if let Some(at) = text.find("\nname = \"leak-3\"") {
                let rest = text.split_off(at).replacen("calibration_due = 2027", "calibration_due = 2020", 1);
                text.push_str(&rest);
            }
            std::fs::write(site.join(entry.file_name()), text).unwrap();
        }
    }
    ["--site".into(), site.to_owned(), "--profiles".into(), "firmware-profiles".into()]
}

fn spawn(command: &mut Command) -> Running {
    Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

/// Now, in ms.
pub(crate) fn now() -> i64 {
    SystemClock::new().now().as_millis()
}

/// Asks again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = now() + i64::try_from(PATIENCE.as_millis()).unwrap();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(now() < end, "{what} takes too long");
        pause(Duration::from_millis(100));
    }
}
