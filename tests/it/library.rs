//! Every shipped profile on the wire: an independent Modbus server holds its vectors' registers, the whole gateway polls them over TCP and over
//! a pty, and values, units and faults are those of the vectors. Text sensors say their vectors' lines on a pty.
//! These tests run in real time.

#![expect(
    clippy::disallowed_methods,
    reason = "sockets and ptys live in real time, and the test serves both sides"
)]

#[path = "../library/mod.rs"]
mod shipped;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lifeline_gateway::bus::Table;
use lifeline_gateway::bus::text::Mode;
use lifeline_gateway::poll::plan::wanted;
use lifeline_gateway::profile::trigger::Act;
use lifeline_gateway::site::{self, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_modbus::prelude::*;
use tokio_modbus::server::{Service, rtu, tcp};
use tokio_serial::{SerialPort, SerialStream};

use shipped::{Case, Entry, lines, poll};

/// A device, as its model's manual says that it behaves.
struct Bench {
    cells: BTreeMap<(Table, u16), u16>,
    /// Writes that it waits for; until then its registers hold zeros.
    needs: Vec<Act>,
    /// Refuses the first read of each table with this.
    wakes: Vec<(Table, u8)>,
}

impl Bench {
    fn new(case: &Case) -> Self {
        let profile = &case.model.profile;
        let code = profile.limits.wake.and_then(|wake| wake.exception);
        let tables = [Table::Coil, Table::Discrete, Table::Input, Table::Holding];
        Self {
            cells: case.cells(),
            needs: profile.triggers.iter().map(|trigger| trigger.act.clone()).collect(),
            wakes: code.map(|code| tables.map(|table| (table, code)).to_vec()).unwrap_or_default(),
        }
    }

    /// Cells, or the exception: 2 where it has none.
    fn read(&mut self, table: Table, first: u16, count: u16) -> Result<Vec<u16>, u8> {
        let cell = |address| self.cells.get(&(table, address)).copied().ok_or(2);
        let cells: Vec<u16> =
            (first..=first.saturating_add(count - 1)).map(cell).collect::<Result<_, _>>()?;
        if let Some(place) = self.wakes.iter().position(|(sleeps, _)| *sleeps == table) {
            return Err(self.wakes.swap_remove(place).1);
        }
        Ok(if self.needs.is_empty() { cells } else { vec![0; cells.len()] })
    }

    /// Takes a write that a trigger of the model makes; any other is refused.
    fn write(&mut self, act: &Act) -> Result<(), u8> {
        let place = self.needs.iter().position(|need| need == act);
        place.map(|place| drop(self.needs.swap_remove(place))).ok_or(2)
    }
}

/// The devices of one line, by address.
#[derive(Clone)]
struct Line(Arc<Mutex<BTreeMap<u8, Bench>>>);

impl Line {
    fn new(cases: &[Case]) -> Self {
        let benches = cases.iter().map(|case| (case.slave, Bench::new(case)));
        Self(Arc::new(Mutex::new(benches.collect())))
    }

    fn answer(bench: &mut Bench, request: &Request<'_>) -> Result<Response, u8> {
        let bits = |cells: Vec<u16>| cells.into_iter().map(|cell| cell != 0).collect();
        Ok(match request {
            Request::ReadCoils(first, count) => {
                Response::ReadCoils(bits(bench.read(Table::Coil, *first, *count)?))
            }
            Request::ReadDiscreteInputs(first, count) => {
                Response::ReadDiscreteInputs(bits(bench.read(Table::Discrete, *first, *count)?))
            }
            Request::ReadInputRegisters(first, count) => {
                Response::ReadInputRegisters(bench.read(Table::Input, *first, *count)?)
            }
            Request::ReadHoldingRegisters(first, count) => {
                Response::ReadHoldingRegisters(bench.read(Table::Holding, *first, *count)?)
            }
            Request::WriteSingleCoil(address, on) => {
                bench.write(&Act::Coil { address: *address, on: *on })?;
                Response::WriteSingleCoil(*address, *on)
            }
            Request::WriteSingleRegister(address, value) => {
                bench.write(&Act::Register { address: *address, value: *value })?;
                Response::WriteSingleRegister(*address, *value)
            }
            Request::WriteMultipleRegisters(address, values) => {
                bench.write(&Act::Registers { address: *address, values: values.to_vec() })?;
                Response::WriteMultipleRegisters(*address, u16::try_from(values.len()).unwrap())
            }
            _ => return Err(1),
        })
    }
}

impl Service for Line {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let mut benches = self.0.lock().unwrap();
        let answer = benches.get_mut(&request.slave).map(|bench| Self::answer(bench, &request.request));
        std::future::ready(answer.transpose().map_err(ExceptionCode::new))
    }
}

/// Lines of Modbus devices.
fn modbus() -> impl Iterator<Item = Vec<Case>> {
    lines().into_iter().filter(|cases| cases[0].model.profile.text.is_none())
}

#[tokio::test]
async fn every_modbus_profile_over_tcp() {
    let mut served = Vec::new();
    for cases in modbus() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = format!("tcp = \"{}\"", listener.local_addr().unwrap());
        let line = Line::new(&cases);
        tokio::spawn(async move {
            let connected = |stream, _| std::future::ready(Ok(Some((line.clone(), stream))));
            tcp::Server::new(listener).serve(&connected, |_| ()).await.unwrap();
        });
        served.push((cases, way));
    }
    assert!(served.len() > 15);
    poll(&served).await;
}

/// A pty whose one end the gateway opens, as the profile says that its port is set; and the other end.
fn port(cases: &[Case]) -> (String, SerialStream, SerialStream) {
    let (near, far) = SerialStream::pair().unwrap();
    let speed =
        cases[0].model.profile.serial.map_or_else(|| "9600 8N1".to_owned(), |format| format.to_string());
    let way = format!("serial = {{ path = \"{}\", speed = \"{speed}\" }}", far.name().unwrap());
    (way, near, far)
}

#[tokio::test]
async fn every_modbus_profile_over_a_pty() {
    let (mut served, mut far_ends) = (Vec::new(), Vec::new());
    for cases in modbus() {
        let (way, near, far) = port(&cases);
        far_ends.push(far);
        tokio::spawn(rtu::Server::new(near).serve_forever(Line::new(&cases)));
        served.push((cases, way));
    }
    poll(&served).await;
}

#[tokio::test]
async fn every_text_sensor_over_a_pty() {
    let (mut served, mut far_ends) = (Vec::new(), Vec::new());
    for cases in lines().into_iter().filter(|cases| cases[0].model.profile.text.is_some()) {
        let (way, near, far) = port(&cases);
        far_ends.push(far);
        tokio::spawn(say(near, Arc::clone(&cases[0].model), cases[0].vector.text.clone().unwrap()));
        served.push((cases, way));
    }
    assert!(!served.is_empty());
    poll(&served).await;
}

/// Says the line again and again, or whenever a command came to its end.
async fn say(mut near: SerialStream, model: Arc<Entry>, line: String) {
    let format = model.profile.text.as_ref().unwrap();
    let said = [line.as_bytes(), &format.terminator].concat();
    loop {
        match format.mode {
            Mode::Stream => tokio::time::sleep(format.period).await,
            Mode::Ask => while near.read_u8().await.unwrap() != *format.command.as_bytes().last().unwrap() {},
        }
        near.write_all(&said).await.unwrap();
    }
}

#[test]
fn a_point_whose_read_changes_the_device_is_read_only_by_name() {
    let names = |points: &str| -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let line = "[[line]]\nname = \"a\"\ntcp = \"10.0.0.5:502\"\n";
        let device = "[[device]]\nname = \"roof\"\nline = \"a\"\nslave = 3\nprofile = \"lambrecht-raine\"\nevery = \"10s\"\n";
        std::fs::write(folder.path().join("site.toml"), format!("{line}{device}{points}")).unwrap();
        let options = Options {
            site: folder.path().to_path_buf(),
            profiles: Some("firmware-profiles".into()),
            ..Options::default()
        };
        let (site, found, _) = site::load(&options);
        let site = site.unwrap_or_else(|| panic!("{found:?}"));
        let device = &site.devices[0];
        let read = wanted(&device.profile.fields);
        assert_eq!(read.len(), device.points.iter().flatten().count());
        read.into_iter().map(|index| device.profile.fields[index].name.clone()).collect()
    };
    assert!(!names("").contains(&"rain-since-read".to_owned()), "{:?}", names(""));
    assert_eq!(names("points = [\"rain-since-read\"]\n"), ["rain-since-read"]);
}
