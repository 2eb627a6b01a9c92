//! A simulated DTU: dials in at the gateway, says who it is, and passes the bytes of its devices both ways.
//!
//! In: the DTU as its line names it, the address where its devices are served. Out: bytes on a connection that it opens, again and again.
//! Invariant: the vendors' formats are written here once more, so that both sides cannot share a mistake; it holds a bounded number of bytes.
//! Source: vendors' manuals (Hongdian DDP, Four-Faith PROT, InHand, Alotcer).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Interval, interval, sleep};

use crate::bus::port::dial_in::{Dtu, Kind, Reply};

/// After a lost or refused connection it dials again this much later.
const REDIAL: Duration = Duration::from_secs(1);
/// A sign of life this often.
const BEAT: Duration = Duration::from_secs(2);
/// More than this without a whole frame is nothing that a gateway sends.
const HELD_MAX: usize = 4096;

/// Dials in for ever. `devices` is where its serial line is served.
pub(crate) async fn live(dtu: Dtu, devices: SocketAddr) {
    let to = reached(dtu.listen);
    loop {
        if let Err(error) = pass(&dtu, to, devices).await {
            tracing::debug!(line = %dtu.name, %error, "a simulated DTU dials again");
        }
        sleep(REDIAL).await;
    }
}

/// Where a gateway on this box is reached that listens there.
pub(crate) fn reached(listen: SocketAddr) -> SocketAddr {
    let ip = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    SocketAddr::new(ip, listen.port())
}

async fn pass(dtu: &Dtu, to: SocketAddr, devices: SocketAddr) -> io::Result<()> {
    let mut gateway = TcpStream::connect(to).await?;
    let mut serial = TcpStream::connect(devices).await?;
    gateway.set_nodelay(true)?;
    serial.set_nodelay(true)?;
    gateway.write_all(&registration(dtu)).await?;
    let mut beats: Interval = interval(BEAT);
    beats.tick().await;
    let (mut held, mut down, mut up) = (Vec::new(), [0; 512], [0; 512]);
    loop {
        tokio::select! {
            got = gateway.read(&mut down) => {
                let count = got?;
                if count == 0 || HELD_MAX < held.len() {
                    return Ok(());
                }
                held.extend_from_slice(&down[..count]);
                serial.write_all(&requests(dtu, &mut held)).await?;
            }
            got = serial.read(&mut up) => {
                let count = got?;
                if count == 0 {
                    return Ok(());
                }
                gateway.write_all(&answer(dtu, &up[..count])).await?;
            }
            _ = beats.tick() => gateway.write_all(&heartbeat(dtu)).await?,
        }
    }
}

fn registration(dtu: &Dtu) -> Vec<u8> {
    match dtu.manner.kind {
        Kind::Plain => dtu.id.clone(),
        Kind::Source => Vec::new(),
        Kind::Ddp { .. } => ddp(0x01, &dtu.id, &[10, 0, 0, 5, 0x13, 0x89]),
        Kind::FourFaith => [&[0x78, 0x56, 0x34, 0x12], dtu.id.as_slice(), &[0, 192, 168, 1, 66, 0]].concat(),
        Kind::InHand => [&[0xAA, 1], dtu.id.as_slice(), &[0x0D]].concat(),
        Kind::Alotcer => alotcer(0x31, &dtu.id, b"10.0.0.5,5020"),
    }
}

fn heartbeat(dtu: &Dtu) -> Vec<u8> {
    match dtu.manner.kind {
        Kind::Plain | Kind::Source | Kind::InHand => dtu.manner.heartbeat.clone(),
        Kind::Ddp { .. } => registration(dtu),
        Kind::FourFaith => vec![0xFE],
        Kind::Alotcer => alotcer(0x30, &dtu.id, b"HEARTBEAT"),
    }
}

/// What its devices say, as it sends it.
fn answer(dtu: &Dtu, bytes: &[u8]) -> Vec<u8> {
    match dtu.manner.kind {
        Kind::Plain if dtu.manner.prefix_every => [dtu.id.as_slice(), bytes].concat(),
        Kind::Plain | Kind::Source | Kind::InHand => bytes.to_vec(),
        Kind::Ddp { after: false } => ddp(0x09, &dtu.id, bytes),
        Kind::Ddp { after: true } => [ddp(0x09, &dtu.id, &[]), bytes.to_vec()].concat(),
        Kind::FourFaith => escaped(bytes),
        Kind::Alotcer => alotcer(0x32, &dtu.id, bytes),
    }
}

/// What the gateway asks its devices, taken out of `held`; half a frame stays.
fn requests(dtu: &Dtu, held: &mut Vec<u8>) -> Vec<u8> {
    match dtu.manner.kind {
        Kind::Plain | Kind::Source | Kind::InHand => {
            let reply = match &dtu.manner.reply {
                Reply::None => &[],
                Reply::Echo => dtu.manner.heartbeat.as_slice(),
                Reply::Fixed(bytes) => bytes,
            };
            while !reply.is_empty() && held.starts_with(reply) {
                held.drain(..reply.len());
            }
            std::mem::take(held)
        }
        Kind::Ddp { .. } | Kind::Alotcer => framed(dtu, held),
        Kind::FourFaith => unescaped(held),
    }
}

/// Frames of a vendor; behind a DDP frame data may stand bare.
fn framed(dtu: &Dtu, held: &mut Vec<u8>) -> Vec<u8> {
    let mut data = Vec::new();
    while !held.is_empty() {
        let length = match (dtu.manner.kind, held.as_slice()) {
            (Kind::Ddp { .. }, [0x7B, 0x80..=0xFF, high, low, ..]) => {
                usize::from(u16::from_be_bytes([*high, *low]))
            }
            (Kind::Alotcer, [0x7B, 0x30..=0x33, low, high, ..]) => {
                4 + usize::from(u16::from_le_bytes([*low, *high]))
            }
            (_, [0x7B] | [0x7B, _] | [0x7B, _, _]) => break,
            _ => 0,
        };
        if length < 16 {
            data.append(held);
        } else if held.len() < length {
            break;
        } else {
            let frame: Vec<u8> = held.drain(..length).collect();
            if let [_, 0x89 | 0x32, ..] = frame.as_slice() {
                data.extend_from_slice(&frame[15..length - 1]);
            }
        }
    }
    data
}

/// `7B`, kind, length of the whole (big endian), 11 digits, data, `7B`.
fn ddp(kind: u8, id: &[u8], data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + data.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[0x7B, kind], length.as_slice(), id, data, &[0x7B]].concat()
}

/// `7B`, kind, length of what follows (little endian), 11 digits, data, `7D`.
fn alotcer(kind: u8, id: &[u8], data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + data.len()).unwrap_or(u16::MAX).to_le_bytes();
    [&[0x7B, kind], length.as_slice(), id, data, &[0x7D]].concat()
}

fn escaped(bytes: &[u8]) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        0xFD => vec![0xFD, 0xED],
        0xFE => vec![0xFD, 0xEE],
        _ => vec![*byte],
    };
    bytes.iter().flat_map(one).collect()
}

fn unescaped(held: &mut Vec<u8>) -> Vec<u8> {
    let (mut data, mut bytes) = (Vec::new(), std::mem::take(held).into_iter());
    while let Some(byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (0xFD, None) => held.push(byte),
            (0xFD, Some(next)) => {
                data.push(next ^ 0x10);
                bytes.next();
            }
            _ => data.push(byte),
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Framing;
    use crate::bus::port::dial_in::Manner;
    use crate::bus::port::dial_in::wrap::{Up, Wrapping};

    #[test]
    fn what_the_gateway_wraps_is_unwrapped_and_the_other_way_round() {
        let kinds = [
            Kind::Plain,
            Kind::Source,
            Kind::Ddp { after: false },
            Kind::Ddp { after: true },
            Kind::FourFaith,
            Kind::InHand,
            Kind::Alotcer,
        ];
        for kind in kinds {
            let manner = Manner { kind, ..Manner::default() };
            let (id, name) = (b"13800138000".to_vec(), "dtu".to_owned());
            let listen = SocketAddr::from(([0, 0, 0, 0], 5020));
            let times = Duration::from_secs(1);
            let dtu = Dtu { name, listen, framing: Framing::Rtu, id, manner, lively: times, idle: times };
            let mut wrapping = Wrapping::new(dtu.manner.clone(), dtu.id.clone());
            let request = [1, 3, 0xFD, 0xFE, 0, 2, 0x7B, 0x7D];
            let mut wrapped = wrapping.down(&request);
            assert_eq!(requests(&dtu, &mut wrapped), request, "{kind:?}");
            assert!(wrapped.is_empty());
            let mut up = Up::default();
            wrapping.up(&answer(&dtu, &request), &mut up);
            wrapping.flush(&mut up);
            assert_eq!((up.payload.as_slice(), up.junk), (request.as_slice(), 0), "{kind:?}");
            if !matches!(kind, Kind::Plain | Kind::Source | Kind::InHand) {
                let mut up = Up::default();
                wrapping.up(&heartbeat(&dtu), &mut up);
                assert_eq!((up.heartbeats, up.payload.len(), up.junk), (1, 0, 0), "{kind:?}");
            }
        }
        assert_eq!(reached(SocketAddr::from(([0, 0, 0, 0], 7))), SocketAddr::from(([127, 0, 0, 1], 7)));
    }
}
