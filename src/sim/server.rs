//! Serves simulated devices on real bytes: a pty for each serial line, a loopback port for each TCP line, a DTU for each line that dials in.
//!
//! In: a site, a script, which devices are switched off. Out: futures that serve, and the address that each line now leads to.
//! Invariant: framing and check sums come from `tokio-modbus`, an implementation that is not ours, so that both sides cannot share a mistake;
//! an absent or dead slave gives no answer at all.
//!
//! On a serial line the bytes go gateway, pty, [`Wire`], second pty, server: the server of the library takes a serial port and nothing else.

use std::future::Ready;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject, ReadCode, ReadDeviceIdentificationResponse};
use tokio_modbus::server::{Service, rtu, rtu_over_tcp, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_serial::{SerialPort, SerialStream};

use crate::bus::{Address, Framing, Read, Slave, Table};
use crate::profile::firmware::Told;
use crate::profile::trigger::Act;
use crate::sim::ascii::Ascii;
use crate::sim::cast::devices;
use crate::sim::device::{Answer, Control, Memory, SimDevice};
use crate::sim::dtu;
use crate::sim::script::Script;
use crate::sim::text;
use crate::sim::wire::{Habits, SharedHabits, Wire, character_time};
use crate::site::{LineSpec, Site};

/// A sensor needs this long to begin its answer on a serial line.
const TURNAROUND: Duration = Duration::from_millis(10);
/// After a failure of its port a server begins anew this much later.
pub(crate) const AGAIN: Duration = Duration::from_millis(200);

/// Where a line is served instead of a free loopback port; serial lines always get a pty.
pub type Listen = Vec<(String, SocketAddr)>;

/// Prepares a simulated device for each device of `site`. Pushes the futures that serve them onto `tasks` and returns, by line name,
/// the address to reach it by (`/dev/pts/3` or `127.0.0.1:40123`), as `site::Options::lines` takes it. The story begins now.
///
/// # Errors
/// A pty or port that cannot be opened; a name in the script that the site doesn't have (a [`ScriptError`](crate::sim::script::ScriptError) inside).
pub async fn start(
    site: &Site,
    script: &Script,
    control: &Arc<Control>,
    listen: &Listen,
    tasks: &mut Vec<BoxFuture<'static, ()>>,
) -> io::Result<Vec<(String, String)>> {
    let devices =
        devices(site, script).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let begin = now();
    let mut addresses = Vec::new();
    for (spec, seed) in site.lines.iter().zip(script.seed..) {
        let own: Vec<SimDevice> =
            spec.devices.iter().filter_map(|index| devices.get(*index)).cloned().collect();
        if let Some(hall) = text::Hall::new(&own, control, begin) {
            let (address, task) = text::serve(spec, hall, seed, listen).await?;
            addresses.push((spec.settings.name.clone(), address));
            tasks.push(task);
            continue;
        }
        let turnaround =
            if matches!(spec.settings.address, Address::Serial { .. }) { TURNAROUND } else { Duration::ZERO };
        let own: Vec<SimDevice> = own;
        let memories = Mutex::new(vec![Memory::default(); own.len()]);
        let line = Arc::new(Line { devices: own, control: Arc::clone(control), begin, turnaround, memories });
        let (address, task) = serve(spec, line, seed, listen).await?;
        addresses.extend(address.map(|address| (spec.settings.name.clone(), address)));
        tasks.push(task);
    }
    Ok(addresses)
}

#[expect(clippy::disallowed_methods, reason = "the story runs in real time from its start")]
fn now() -> Instant {
    Instant::now()
}

/// The devices of one line.
struct Line {
    devices: Vec<SimDevice>,
    control: Arc<Control>,
    begin: Instant,
    turnaround: Duration,
    /// What each device remembers.
    memories: Mutex<Vec<Memory>>,
}

impl Line {
    /// What `ask` comes to for the device of this address, at the time of the story and with its memory, and the habits of the line.
    fn answer(
        &self,
        slave: u8,
        ask: impl FnOnce(&SimDevice, Duration, &mut Memory) -> Answer,
    ) -> (Answer, Habits) {
        let time = now().saturating_duration_since(self.begin);
        let live = |device: &&SimDevice| !self.control.killed(&device.name);
        let place = self.devices.iter().position(|device| live(&device) && device.slave == Slave(slave));
        let asked = place.and_then(|place| self.devices.get(place));
        let mut habits = asked.map(|device| device.habits(time)).unwrap_or_default();
        habits.delay += self.turnaround;
        // Echo and babble are on the line whoever is asked.
        for other in self.devices.iter().filter(live).map(|device| device.habits(time)) {
            habits.echo |= other.echo;
            habits.babble = habits.babble.or(other.babble);
        }
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = place.and_then(|place| memories.get_mut(place));
        let answer = asked.zip(memory).map(|(device, memory)| ask(device, time, memory));
        (answer.unwrap_or(Answer::Silence), habits)
    }

    /// A write to the device of this address.
    fn write(&self, slave: u8, act: &Act) -> (Answer, Habits) {
        self.answer(slave, |device, time, memory| {
            device.write(act, time, memory).err().unwrap_or(Answer::Cells(Vec::new()))
        })
    }
}

/// What the server of the library asks for each request.
struct Answerer {
    line: Arc<Line>,
    habits: SharedHabits,
}

impl Service for Answerer {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, asked: SlaveRequest<'static>) -> Self::Future {
        let slave = asked.slave;
        let (table, address, count) = match asked.request {
            Request::ReadCoils(address, count) => (Table::Coil, address, count),
            Request::ReadDiscreteInputs(address, count) => (Table::Discrete, address, count),
            Request::ReadHoldingRegisters(address, count) => (Table::Holding, address, count),
            Request::ReadInputRegisters(address, count) => (Table::Input, address, count),
            Request::WriteSingleCoil(address, on) => {
                let answered = self.line.write(slave, &Act::Coil { address, on });
                return self.finish(answered, |_| Response::WriteSingleCoil(address, on));
            }
            Request::WriteSingleRegister(address, value) => {
                let answered = self.line.write(slave, &Act::Register { address, value });
                return self.finish(answered, |_| Response::WriteSingleRegister(address, value));
            }
            Request::WriteMultipleRegisters(address, values) => {
                let count = u16::try_from(values.len()).unwrap_or(u16::MAX);
                let act = Act::Registers { address, values: values.into_owned() };
                let answered = self.line.write(slave, &act);
                return self.finish(answered, |_| Response::WriteMultipleRegisters(address, count));
            }
            Request::ReadDeviceIdentification(code, _) => return self.identify(slave, code),
            _ => return std::future::ready(Err(ExceptionCode::IllegalFunction)),
        };
        let most = if matches!(table, Table::Coil | Table::Discrete) { 2000 } else { 125 };
        if !(1..=most).contains(&count) {
            return std::future::ready(Err(ExceptionCode::IllegalDataValue));
        }
        let read = Read { table, address, count };
        let answered = self.line.answer(slave, |device, time, memory| device.remembered(read, time, memory));
        self.finish(answered, |cells| response(table, cells))
    }
}

impl Answerer {
    fn finish(
        &self,
        (answer, habits): (Answer, Habits),
        response: impl FnOnce(Vec<u16>) -> Response,
    ) -> Ready<Result<Option<Response>, ExceptionCode>> {
        *self.habits.lock().unwrap_or_else(PoisonError::into_inner) = habits;
        std::future::ready(match answer {
            Answer::Cells(cells) => Ok(Some(response(cells))),
            Answer::Exception(code) => Err(ExceptionCode::new(code)),
            Answer::Silence => Ok(None),
        })
    }

    /// Maker, model and version of a device whose profile says that it tells them.
    fn identify(&self, slave: u8, code: ReadCode) -> Ready<Result<Option<Response>, ExceptionCode>> {
        let mut texts = Vec::new();
        let answered = self.line.answer(slave, |device, time, _| {
            let telling = device.firmware.telling.as_ref().map(|telling| &telling.from);
            let Some(Told::Identity(object)) = telling else { return Answer::Exception(1) };
            texts = vec![
                (0, device.profile.maker.clone()),
                (1, device.profile.name.clone()),
                (*object, device.version(time)),
            ];
            Answer::Cells(Vec::new())
        });
        self.finish(answered, |_| {
            let object = |(id, text): (u8, String)| DeviceIdObject { id, value: text.into_bytes().into() };
            Response::ReadDeviceIdentification(ReadDeviceIdentificationResponse {
                read_code: code,
                conformity_level: ConformityLevel::BasicIdentificationStreamOnly,
                more_follows: false,
                next_object_id: 0,
                device_id_objects: texts.into_iter().map(object).collect(),
            })
        })
    }
}

fn response(table: Table, cells: Vec<u16>) -> Response {
    let bits = |cells: Vec<u16>| cells.into_iter().map(|cell| cell != 0).collect();
    match table {
        Table::Coil => Response::ReadCoils(bits(cells)),
        Table::Discrete => Response::ReadDiscreteInputs(bits(cells)),
        Table::Holding => Response::ReadHoldingRegisters(cells),
        Table::Input => Response::ReadInputRegisters(cells),
    }
}

async fn serve(
    spec: &LineSpec,
    line: Arc<Line>,
    seed: u64,
    listen: &Listen,
) -> io::Result<(Option<String>, BoxFuture<'static, ()>)> {
    let name = &spec.settings.name;
    let wanted = listen.iter().find(|(line, _)| line == name).map(|(_, address)| *address);
    let open = || TcpListener::bind(wanted.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))));
    match &spec.settings.address {
        Address::Serial { format, framing, .. } => {
            // Neither end is locked: the gateway opens `far` a second time, and alone.
            let (near, far) = SerialStream::pair()?;
            let path = far.name().ok_or_else(|| io::Error::other("the pty has no name"))?;
            let character = character_time(format);
            Ok((Some(path), Box::pin(serve_serial(line, (near, *framing), far, character, seed))))
        }
        Address::Tcp(_) => {
            let listener = open().await?;
            let address = listener.local_addr()?.to_string();
            Ok((Some(address), serve_framed(line, listener, seed, Framing::Mbap)))
        }
        Address::RtuOverTcp(_) | Address::AsciiOverTcp(_) => {
            let listener = open().await?;
            let address = listener.local_addr()?.to_string();
            Ok((Some(address), serve_framed(line, listener, seed, spec.settings.address.framing())))
        }
        Address::DialIn(dtu) => {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
            let devices = listener.local_addr()?;
            let (dtu, served) = (dtu.as_ref().clone(), serve_framed(line, listener, seed, dtu.framing));
            Ok((
                None,
                Box::pin(async move {
                    tokio::join!(dtu::live(dtu, devices), served);
                }),
            ))
        }
        Address::Tls(_) => Err(io::Error::other("lines with TLS are not simulated")),
    }
}

/// Serves a line behind a port.
fn serve_framed(
    line: Arc<Line>,
    listener: TcpListener,
    seed: u64,
    framing: Framing,
) -> BoxFuture<'static, ()> {
    match framing {
        Framing::Mbap => Box::pin(serve_tcp(line, listener, seed)),
        Framing::Rtu => Box::pin(serve_rtu_over_tcp(line, listener, seed, |wire| wire)),
        Framing::Ascii => Box::pin(serve_rtu_over_tcp(line, listener, seed, Ascii::new)),
    }
}

/// `near` is ours, `far` the end that the gateway opens by its path: held open here, so that the gateway may close and open it again.
async fn serve_serial(
    line: Arc<Line>,
    (mut near, framing): (SerialStream, Framing),
    far: SerialStream,
    character: Duration,
    seed: u64,
) {
    let habits = SharedHabits::default();
    loop {
        if let Err(error) = serve_pty(&line, (&mut near, framing), character, &habits, seed).await {
            tracing::debug!(%error, "simulated serial line begins anew");
        }
        tokio::time::sleep(AGAIN).await;
        drop_waiting(&far);
    }
}

/// Bytes that nobody fetched are gone when a port is opened anew.
pub(crate) fn drop_waiting(far: &SerialStream) {
    if let Err(error) = far.clear(tokio_serial::ClearBuffer::All) {
        tracing::debug!(%error, "cannot clear the simulated serial line");
    }
}

async fn serve_pty(
    line: &Arc<Line>,
    (near, framing): (&mut SerialStream, Framing),
    character: Duration,
    habits: &SharedHabits,
    seed: u64,
) -> io::Result<()> {
    let (mut inside, served) = SerialStream::pair()?;
    let service = Answerer { line: Arc::clone(line), habits: Arc::clone(habits) };
    let mut wire = Wire::new(near, Some(character), Arc::clone(habits), seed);
    let copied = async {
        match framing {
            Framing::Ascii => tokio::io::copy_bidirectional(&mut Ascii::new(wire), &mut inside).await,
            _ => tokio::io::copy_bidirectional(&mut wire, &mut inside).await,
        }
    };
    tokio::select! {
        ended = rtu::Server::new(served).serve_forever(service) => ended,
        ended = copied => ended.map(|_| ()),
    }
}

async fn serve_tcp(line: Arc<Line>, listener: TcpListener, seed: u64) {
    let server = tcp::Server::new(listener);
    let connected = |stream, from| std::future::ready(connect(&line, stream, from, seed));
    loop {
        if let Err(error) = server.serve(&connected, log_connection).await {
            tracing::debug!(%error, "simulated TCP line begins anew");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn serve_rtu_over_tcp<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    line: Arc<Line>,
    listener: TcpListener,
    seed: u64,
    framed: fn(Wire<TcpStream>) -> T,
) {
    let server = rtu_over_tcp::Server::new(listener);
    let connected = |stream, from| {
        let connection = connect(&line, stream, from, seed);
        let framed = connection.map(|made| made.map(|(service, wire)| (service, framed(wire))));
        std::future::ready(framed)
    };
    loop {
        if let Err(error) = server.serve(&connected, log_connection).await {
            tracing::debug!(%error, "simulated RTU over TCP line begins anew");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

type Connection = (Answerer, Wire<TcpStream>);

/// Each connection has a wire of its own; the port of its client makes its flips other ones.
fn connect(
    line: &Arc<Line>,
    stream: TcpStream,
    from: SocketAddr,
    seed: u64,
) -> io::Result<Option<Connection>> {
    stream.set_nodelay(true)?;
    let habits = SharedHabits::default();
    let service = Answerer { line: Arc::clone(line), habits: Arc::clone(&habits) };
    Ok(Some((service, Wire::new(stream, None, habits, seed ^ u64::from(from.port())))))
}

fn log_connection(error: io::Error) {
    tracing::debug!(%error, "simulated connection ended");
}
