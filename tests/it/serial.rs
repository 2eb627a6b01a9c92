//! Serial ports of the real kind: an adapter that is pulled out and comes back, two names of one port, a port that is held.
//! These tests run in real time on ptys.

#![expect(clippy::disallowed_methods, reason = "ptys live in real time")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::{
    Address, Failure, Framing, LineSettings, Parity, Read, SerialFormat, Slave, Table,
};
use lifeline_gateway::loss::Losses;
use lifeline_gateway::site;
use rustix::io::FdFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_serial::{SerialPort, SerialStream};

const FORMAT: SerialFormat = SerialFormat { baud: 19_200, data_bits: 8, parity: Parity::None, stop_bits: 1 };
/// Slave 17, holding register 0, one cell; and 42 as its answer. Source: check sums by hand, as in the standard's appendix.
const REQUEST: [u8; 8] = [0x11, 3, 0, 0, 0, 1, 0x86, 0x9A];
const ANSWER: [u8; 7] = [0x11, 3, 2, 0, 42, 0xF8, 0x58];

/// An adapter with a device behind it, reachable by `link` until `pull` comes.
async fn plugged(link: &Path, pull: tokio::sync::oneshot::Receiver<()>) -> SerialStream {
    let (mut near, far) = SerialStream::pair().unwrap();
    keep_from_children(&near);
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(far.name().unwrap(), link).unwrap();
    let serve = async {
        let mut request = [0; 8];
        loop {
            near.read_exact(&mut request).await.unwrap();
            assert_eq!(request, REQUEST);
            near.write_all(&ANSWER).await.unwrap();
        }
    };
    tokio::select! {
        _ = pull => {}
        () = serve => {}
    }
    let _ = std::fs::remove_file(link);
    near
}

/// The library's pty is inherited by every process that another test starts meanwhile, and as long as one of them lives nobody hangs up.
#[expect(unsafe_code, reason = "the library's stream has no safe way to lend its descriptor")]
fn keep_from_children(near: &SerialStream) {
    // SAFETY: the descriptor is open for as long as `near` is borrowed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(near.as_raw_fd()) };
    rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC).unwrap();
}

async fn ask(master: &mut Master) -> Result<Vec<u16>, Failure> {
    let read = Read { table: Table::Holding, address: 0, count: 1 };
    master.read(Slave(17), read, Duration::from_millis(300), &mut Losses::default()).await.outcome
}

/// Asks until the line answers; how long that took.
async fn recover(master: &mut Master) -> Duration {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        match ask(master).await {
            Ok(cells) => {
                assert_eq!(cells, [42]);
                return begun.elapsed();
            }
            Err(failure) => assert!(matches!(failure, Failure::LineDown | Failure::Timeout), "{failure:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the line never came back: {:?}", master.trouble());
}

#[tokio::test]
async fn an_adapter_that_is_pulled_out_is_found_again_by_its_stable_path() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("usb-FTDI_FT232R_A50285BI-if00-port0");
    let address = Address::Serial {
        path: link.display().to_string(),
        format: FORMAT,
        framing: Framing::Rtu,
        rs485: None,
    };
    let settings =
        LineSettings { timeout: Duration::from_millis(300), ..LineSettings::plain("line", address) };
    let mut master = Master::new(settings);
    let mut last_port = None;
    for round in 0..3 {
        let (pull, pulled) = tokio::sync::oneshot::channel();
        let before = ask(&mut master);
        assert_eq!(before.await, Err(Failure::LineDown), "round {round}: nothing is plugged in");
        let why = master.trouble().unwrap().to_owned();
        assert!(why.contains("No such file or directory"), "{why}");
        let adapter = plugged(&link, pulled);
        let works = async {
            recover(&mut master).await;
            assert_eq!(ask(&mut master).await, Ok(vec![42]));
            assert_eq!(master.trouble(), None);
            pull.send(()).unwrap();
        };
        let (near, ()) = tokio::join!(adapter, works);
        let port = std::fs::read_link(&link).ok();
        assert_eq!(port, None);
        drop(near);
        // The first question after it finds the stream ended, and says so.
        let gone = ask(&mut master).await;
        assert_eq!(gone, Err(Failure::LineDown), "round {round}");
        // Another pty keeps the kernel from giving the same number again.
        last_port = Some(SerialStream::pair().unwrap());
    }
    drop(last_port);
}

#[tokio::test]
async fn two_names_of_one_port_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_near, far) = SerialStream::pair().unwrap();
    let path = far.name().unwrap();
    let link = folder.path().join("by-id");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let line = |name: &str, path: &str| {
        format!("[[line]]\nname = \"{name}\"\nserial = {{ path = \"{path}\", speed = \"9600 8N1\" }}\n")
    };
    std::fs::create_dir(folder.path().join("site")).unwrap();
    let text = line("a", &path) + &line("b", &link.display().to_string());
    std::fs::write(folder.path().join("site/site.toml"), text).unwrap();
    let options = site::Options {
        site: folder.path().join("site"),
        profiles: Some("firmware-profiles".into()),
        ..site::Options::default()
    };
    let (loaded, found, _) = site::load(&options);
    let wrong = found.0.iter().find(|finding| finding.code == "duplicate-port").unwrap();
    assert!(loaded.is_none() && wrong.message.contains("are one device"), "{wrong:?}");
}
