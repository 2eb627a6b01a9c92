//! A door in virtual time, with connections in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

use super::door::{Door, Doors};
use super::*;
use crate::bus::master::Master;
use crate::bus::{Address, Exchange, Failure, LineSettings, Read, Slave, Table};
use crate::loss::{Loss, Losses};

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 64, 0, 17));
const READ: Read = Read { table: Table::Holding, address: 0, count: 2 };
const TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST: &str = "010300000002C40B";
const REPLY: &str = "01030400C801907A31";

fn dtu(name: &str, id: &str, manner: Manner) -> LineSettings {
    let dtu = Dtu {
        name: name.to_owned(),
        listen: SocketAddr::from(([0, 0, 0, 0], 5020)),
        framing: Framing::Rtu,
        id: id.as_bytes().to_vec(),
        manner,
        lively: Duration::from_secs(20),
        idle: Duration::from_secs(600),
    };
    LineSettings { timeout: TIMEOUT, ..LineSettings::plain(name, Address::DialIn(Box::new(dtu))) }
}

fn manner() -> Manner {
    Manner { heartbeat: b"HEART".to_vec(), reply: Reply::Echo, ..Manner::default() }
}

/// A door with the line `dtu-17`, and that line's master.
fn site(manner: Manner) -> (Arc<Door>, Master) {
    let line = dtu("dtu-17", "LOGIN:1001", manner);
    let doors = Doors::new([&line].into_iter());
    let master = Master::over(line.clone(), doors.port(&line));
    (doors.all().next().unwrap(), master)
}

/// A connection, and the future that serves it.
fn connect(door: &Arc<Door>) -> (DuplexStream, impl Future<Output = ()>) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let door = Arc::clone(door);
    (ours, async move { door.welcome(theirs, SOURCE).await })
}

#[expect(clippy::disallowed_methods, reason = "virtual time")]
fn now() -> Instant {
    Instant::now()
}

async fn send(socket: &mut DuplexStream, text: &str) {
    socket.write_all(&hex(text).unwrap()).await.unwrap();
}

/// Waits for a whole request.
async fn asked(socket: &mut DuplexStream) {
    let mut request = [0; 8];
    socket.read_exact(&mut request).await.unwrap();
    assert_eq!(request.as_slice(), hex(REQUEST).unwrap());
}

async fn ask(master: &mut Master) -> Exchange {
    master.read(Slave(1), READ, TIMEOUT, &mut Losses::default()).await
}

/// Closed by the gateway within this time, and when.
async fn closed(socket: &mut DuplexStream, within: Duration) -> bool {
    timeout(within, async { while socket.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {} })
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn half_a_registration_counts_until_its_deadline_and_no_longer() {
    for (pause_ms, in_time) in [(9_900, true), (10_100, false)] {
        let (door, mut master) = site(manner());
        let (mut socket, served) = connect(&door);
        let device = async {
            socket.write_all(b"LOG").await.unwrap();
            sleep(Duration::from_millis(pause_ms)).await;
            let written = socket.write_all(b"IN:1001").await;
            if in_time {
                asked(&mut socket).await;
                send(&mut socket, REPLY).await;
            } else {
                assert!(written.is_err() || closed(&mut socket, Duration::ZERO).await);
            }
        };
        let line = async {
            sleep(Duration::from_millis(pause_ms + 1_500)).await;
            ask(&mut master).await.outcome
        };
        let work = join(device, line);
        let outcome = tokio::select! {
            ((), outcome) = work => outcome,
            () = async { served.await; std::future::pending().await } => unreachable!(),
        };
        assert_eq!(outcome, if in_time { Ok(vec![200, 400]) } else { Err(Failure::LineDown) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_drip_does_not_extend_the_deadline() {
    let (door, _) = site(manner());
    let (mut socket, served) = connect(&door);
    let begun = now();
    let drip = async {
        for byte in b"HEARTHEARTHEART" {
            if socket.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    join(served, drip).await;
    assert!(now() < begun + Duration::from_secs(12));
}

#[tokio::test(start_paused = true)]
async fn strangers_are_closed_and_counted() {
    let (door, _) = site(manner());
    let noise = [0x55_u8; 200];
    for bytes in [b"LOGIN:1002".as_slice(), b"\r\nX", &noise, &b"HEART".repeat(30)] {
        let (mut socket, served) = connect(&door);
        socket.write_all(bytes).await.unwrap();
        timeout(Duration::from_millis(1), served).await.expect("closed at once");
    }
    let counted = door.losses();
    assert_eq!(
        counted,
        [
            (Loss::UnknownDialIn, "0.0.0.0:5020".to_owned(), 3),
            (Loss::RefusedDialIn, "0.0.0.0:5020".to_owned(), 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_stood_in_a_buffer_is_never_a_value() {
    let (door, mut master) = site(manner());
    let (mut socket, served) = connect(&door);
    let device = async {
        socket.write_all(b"LOGIN:1001").await.unwrap();
        for _ in 0..3 {
            // Another value than the true one, 800 ms apart.
            send(&mut socket, "01030400010002 2A32").await;
            sleep(Duration::from_millis(800)).await;
        }
        asked(&mut socket).await;
        send(&mut socket, &format!("4845415254{REPLY}")).await;
        let mut echo = [0; 5];
        socket.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"HEART", "its heartbeat is answered");
    };
    let line = async {
        let mut outcomes = Vec::new();
        while outcomes.last().is_none_or(Result::is_err) {
            outcomes.push(ask(&mut master).await.outcome);
            sleep(Duration::from_millis(100)).await;
        }
        outcomes
    };
    let outcomes = tokio::select! {
        ((), outcomes) = join(device, line) => outcomes,
        () = served => unreachable!("it stays open"),
    };
    assert_eq!(outcomes.last(), Some(&Ok(vec![200, 400])));
    assert!(outcomes.iter().rev().skip(1).all(|outcome| *outcome == Err(Failure::LineDown)), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_line_says_plainly_who_is_missing() {
    let (_door, mut master) = site(manner());
    let begun = now();
    assert_eq!(ask(&mut master).await.outcome, Err(Failure::LineDown));
    assert_eq!(master.trouble(), Some("dtu-17 has not dialled in on 0.0.0.0:5020"));
    assert_eq!(now() - begun, Duration::from_secs(1), "waiting is bounded");
    assert_eq!(ask(&mut master).await.outcome, Err(Failure::LineDown));
    assert_eq!(now() - begun, Duration::from_secs(1), "and not repeated at once");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_makes_noise_or_says_nothing_is_closed() {
    let (door, _) = site(manner());
    let (mut socket, served) = connect(&door);
    let noise = async {
        socket.write_all(b"LOGIN:1001").await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let mut sent = 0;
        while socket.write_all(&[0x55; 100]).await.is_ok() {
            sent += 100;
            sleep(Duration::from_millis(200)).await;
        }
        sent
    };
    let ((), sent) = join(served, noise).await;
    assert!((1000..1400).contains(&sent), "{sent} bytes");

    let (mut socket, served) = connect(&door);
    let begun = now();
    let ((), ()) = join(served, async { socket.write_all(b"LOGIN:1001").await.unwrap() }).await;
    assert_eq!((now() - begun).as_secs(), 600, "idle");

    let (mut socket, served) = connect(&door);
    let beating = async {
        socket.write_all(b"LOGIN:1001").await.unwrap();
        for _ in 0..100 {
            socket.write_all(b"HEART").await.unwrap();
            sleep(Duration::from_secs(60)).await;
        }
    };
    tokio::select! {
        () = served => unreachable!("heartbeats keep it open"),
        () = beating => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_gives_way_to_its_successor_within_one_timeout() {
    let (door, mut master) = site(manner());
    let (mut old, served_old) = connect(&door);
    let (mut new, served_new) = connect(&door);
    let devices = async {
        old.write_all(b"LOGIN:1001").await.unwrap();
        asked(&mut old).await;
        send(&mut old, REPLY).await;
        // The radio link is lost, and a new connection is made; nobody closed the old one.
        sleep(Duration::from_secs(1)).await;
        new.write_all(b"LOGIN:1001").await.unwrap();
        asked(&mut old).await;
        // The late answer to that one is told apart by the length of this one.
        let mut shorter = [0; 8];
        new.read_exact(&mut shorter).await.unwrap();
        assert_eq!(shorter, [1, 3, 0, 0, 0, 1, 0x84, 0x0A]);
        send(&mut new, "0103020001 7984").await;
        asked(&mut new).await;
        send(&mut new, "01030400010002 2A32").await;
        assert!(closed(&mut old, Duration::from_secs(1)).await);
    };
    let line = async {
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(ask(&mut master).await.outcome, Ok(vec![200, 400]));
        sleep(Duration::from_secs(3)).await;
        assert_eq!(ask(&mut master).await.outcome, Err(Failure::Timeout));
        assert_eq!(ask(&mut master).await.outcome, Ok(vec![1, 2]));
    };
    tokio::select! {
        _ = join(devices, line) => {}
        _ = join(served_old, served_new) => unreachable!("the new one stays"),
    }
    let counted = door.losses();
    assert!(counted.contains(&(Loss::ReplacedSession, "dtu-17".to_owned(), 1)), "{counted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_of_a_device_that_answers_is_closed() {
    let (door, mut master) = site(manner());
    let (mut old, served_old) = connect(&door);
    let (mut new, served_new) = connect(&door);
    let device = async {
        old.write_all(b"LOGIN:1001").await.unwrap();
        for _ in 0..2 {
            asked(&mut old).await;
            send(&mut old, REPLY).await;
        }
        std::future::pending::<()>().await;
    };
    let line = async {
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(ask(&mut master).await.outcome, Ok(vec![200, 400]));
        new.write_all(b"LOGIN:1001").await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(ask(&mut master).await.outcome, Ok(vec![200, 400]));
        assert!(closed(&mut new, Duration::from_secs(1)).await, "the duplicate");
    };
    tokio::select! {
        () = line => {}
        () = device => {}
        _ = join(served_old, served_new) => unreachable!("the old one stays"),
    }
}

#[tokio::test(start_paused = true)]
async fn three_unanswered_requests_without_a_byte_end_a_half_open_connection() {
    let (door, mut master) = site(manner());
    let (mut socket, served) = connect(&door);
    let line = async {
        socket.write_all(b"LOGIN:1001").await.unwrap();
        sleep(Duration::from_millis(1500)).await;
        for _ in 0..3 {
            assert_eq!(ask(&mut master).await.outcome, Err(Failure::Timeout));
        }
        assert_eq!(ask(&mut master).await.outcome, Err(Failure::LineDown));
    };
    let begun = now();
    let ((), ()) = join(served, line).await;
    assert!(now() - begun < Duration::from_secs(20));
}
