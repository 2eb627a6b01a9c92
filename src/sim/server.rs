//! Serves simulated devices on real bytes: a pty for each serial line, a loopback port for each TCP line, a DTU for each line that dials in.
//!
//! In: a site, a script, which devices are switched off, what those inside TLS show. Out: futures that serve, and the address that each line now leads to.
//! Invariant: framing and check sums come from `tokio-modbus`, an implementation that is not ours, so that both sides cannot share a mistake.
//!
//! On a serial line the bytes go gateway, pty, [`Wire`], second pty, server: the server of the library takes a serial port and nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::server::{rtu, rtu_over_tcp, tcp};
use tokio_serial::{SerialPort, SerialStream};

use crate::bus::port::tls::Identity;
use crate::bus::{Address, Framing};
use crate::sim::ascii::Ascii;
use crate::sim::cast::devices;
use crate::sim::device::{Control, SimDevice};
use crate::sim::dtu;
use crate::sim::line::{Answerer, Line, now};
use crate::sim::script::Script;
use crate::sim::secure;
use crate::sim::text;
use crate::sim::wire::{SharedHabits, Wire, character_time};
use crate::site::{LineSpec, Site};

/// A sensor needs this long to begin its answer on a serial line.
const TURNAROUND: Duration = Duration::from_millis(10);
/// After a failure of its port a server begins anew this much later.
pub(crate) const AGAIN: Duration = Duration::from_millis(200);

/// Prepares a simulated device for each device of `site`. Pushes the futures that serve them onto `tasks` and returns, by line name,
/// the address to reach it by (`/dev/pts/3` or `127.0.0.1:40123`), as `site::Options::lines` takes it. The story begins now.
/// Devices of lines inside TLS show `certificate`.
///
/// # Errors
/// A pty or port that cannot be opened; a line inside TLS without a certificate that can be used; a name in the script that the site
/// doesn't have (a [`ScriptError`](crate::sim::script::ScriptError) inside).
pub async fn start(
    site: &Site,
    script: &Script,
    control: &Arc<Control>,
    certificate: Option<&Identity>,
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
            let (address, task) = text::serve(spec, hall, seed).await?;
            addresses.push((spec.settings.name.clone(), address));
            tasks.push(task);
            continue;
        }
        let turnaround =
            if matches!(spec.settings.address, Address::Serial { .. }) { TURNAROUND } else { Duration::ZERO };
        let line = Arc::new(Line::new(own, control, begin, turnaround));
        let (address, task) = serve(spec, line, seed, certificate).await?;
        addresses.extend(address.map(|address| (spec.settings.name.clone(), address)));
        tasks.push(task);
    }
    Ok(addresses)
}

async fn serve(
    spec: &LineSpec,
    line: Arc<Line>,
    seed: u64,
    certificate: Option<&Identity>,
) -> io::Result<(Option<String>, BoxFuture<'static, ()>)> {
    match &spec.settings.address {
        Address::Serial { format, framing, .. } => {
            // Neither end is locked: the gateway opens `far` a second time, and alone.
            let (near, far) = SerialStream::pair()?;
            let path = far.name().ok_or_else(|| io::Error::other("the pty has no name"))?;
            let character = character_time(format);
            Ok((Some(path), Box::pin(serve_serial(line, (near, *framing), far, character, seed))))
        }
        Address::Tcp(_) => {
            let (listener, address) = open().await?;
            Ok((Some(address.to_string()), serve_framed(line, listener, seed, Framing::Mbap)))
        }
        Address::RtuOverTcp(_) | Address::AsciiOverTcp(_) => {
            let (listener, address) = open().await?;
            let served = serve_framed(line, listener, seed, spec.settings.address.framing());
            Ok((Some(address.to_string()), served))
        }
        Address::DialIn(dtu) => {
            let (listener, devices) = open().await?;
            let (dtu, served) = (dtu.as_ref().clone(), serve_framed(line, listener, seed, dtu.framing));
            Ok((
                None,
                Box::pin(async move {
                    tokio::join!(dtu::live(dtu, devices), served);
                }),
            ))
        }
        Address::Tls(settings) => {
            let name = &spec.settings.name;
            let Some(identity) = certificate else {
                let why = format!("line {name} is inside TLS: its devices need --certificate and --key");
                return Err(io::Error::other(why));
            };
            let acceptor =
                secure::acceptor(settings, identity).map_err(|error| io::Error::other(error.to_string()))?;
            let (listener, address) = open().await?;
            Ok((Some(address.to_string()), Box::pin(secure::serve(line, listener, acceptor, seed))))
        }
    }
}

/// A free port of this box.
pub(crate) async fn open() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
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
    let connected = |stream, from| std::future::ready(plain(&line, stream, from, seed).map(Some));
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
        let connection = plain(&line, stream, from, seed);
        std::future::ready(connection.map(|(service, wire)| Some((service, framed(wire)))))
    };
    loop {
        if let Err(error) = server.serve(&connected, log_connection).await {
            tracing::debug!(%error, "simulated RTU over TCP line begins anew");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Who answers, and the stream that it answers on.
pub(crate) type Connection<T> = (Answerer, Wire<T>);

fn plain(
    line: &Arc<Line>,
    stream: TcpStream,
    from: SocketAddr,
    seed: u64,
) -> io::Result<Connection<TcpStream>> {
    stream.set_nodelay(true)?;
    Ok(connect(line, stream, from, seed))
}

/// Each connection has a wire of its own; the port of its client makes its flips other ones.
pub(crate) fn connect<T>(line: &Arc<Line>, stream: T, from: SocketAddr, seed: u64) -> Connection<T> {
    let habits = SharedHabits::default();
    let service = Answerer { line: Arc::clone(line), habits: Arc::clone(&habits) };
    (service, Wire::new(stream, None, habits, seed ^ u64::from(from.port())))
}

pub(crate) fn log_connection(error: io::Error) {
    tracing::debug!(%error, "simulated connection ended");
}
