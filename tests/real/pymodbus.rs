//! Our master against pymodbus: another people's reading of the standard, over TCP, RTU over TCP and a pty.
//! What both sides got wrong in the same way would show here, and nowhere else.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::{
    Address, Failure, Framing, LineSettings, Parity, Read, SerialFormat, Slave, Table,
};
use lifeline_gateway::loss::Losses;
use tokio_serial::{SerialPort, SerialStream};

use crate::server::free_port;

const SLAVE: Slave = Slave(17);
const TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Pymodbus(Child);

impl Drop for Pymodbus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with the arguments of `pymodbus_server.py`. `None`: pymodbus is not installed.
pub(crate) fn start(arguments: &[String]) -> Option<Pymodbus> {
    let known =
        Command::new("python3").args(["-c", "import pymodbus, serial"]).stderr(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        assert!(std::env::var("LIFELINE_REQUIRE_SERVERS").is_err(), "pymodbus is required and not installed");
        println!("skipped: pymodbus not installed");
        return None;
    }
    let mut child = Command::new("python3")
        .arg("tests/real/pymodbus_server.py")
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let server = Pymodbus(child);
    assert_eq!(line, "ready\n");
    Some(server)
}

#[tokio::test]
async fn pymodbus_is_read_as_it_means_it() {
    let (mut near, far) = SerialStream::pair().unwrap();
    let (mut our_near, our_far) = SerialStream::pair().unwrap();
    let (tcp, rtu_over_tcp) = (free_port(), free_port());
    let Some(_server) = start(&[tcp.to_string(), rtu_over_tcp.to_string(), far.name().unwrap()]) else {
        return;
    };
    let format = SerialFormat { baud: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let addresses = [
        Address::Tcp(format!("127.0.0.1:{tcp}")),
        Address::RtuOverTcp(format!("127.0.0.1:{rtu_over_tcp}")),
        Address::Serial { path: our_far.name().unwrap(), format, framing: Framing::Rtu, rs485: None },
    ];
    let reads = async {
        for address in addresses {
            read_all(address).await;
        }
    };
    // Two pty pairs back to back are the cable between the two sides.
    tokio::select! {
        () = reads => {}
        ended = tokio::io::copy_bidirectional(&mut near, &mut our_near) => panic!("the cable ended: {ended:?}"),
    }
}

async fn read_all(address: Address) {
    let place = format!("{address:?}");
    let settings = LineSettings { timeout: TIMEOUT, ..LineSettings::plain("line", address) };
    let (mut master, mut losses) = (Master::new(settings), Losses::default());
    for (table, address, count) in [
        (Table::Holding, 0, 1),
        (Table::Holding, 3, 2),
        (Table::Holding, 100, 125),
        (Table::Input, 0, 10),
        (Table::Coil, 1, 17),
        (Table::Discrete, 5, 200),
        (Table::Coil, 0, 8),
    ] {
        let read = Read { table, address, count };
        let exchange = master.read(SLAVE, read, TIMEOUT, &mut losses).await;
        let cells: Vec<u16> = (address..address + count).map(|n| cell(table, n)).collect();
        assert_eq!(exchange.outcome, Ok(cells), "{place} {read:?}");
    }
    let past = Read { table: Table::Holding, address: 290, count: 20 };
    let refused = master.read(SLAVE, past, TIMEOUT, &mut losses).await.outcome;
    assert_eq!(refused, Err(Failure::Exception(2)), "{place}: past the end");
    let other = Read { table: Table::Holding, address: 0, count: 1 };
    let outcome = master.read(Slave(18), other, Duration::from_millis(300), &mut losses).await.outcome;
    assert!(
        matches!(outcome, Err(Failure::Timeout | Failure::Exception(_))),
        "{place}: no such slave, {outcome:?}"
    );
    let again = master.read(SLAVE, other, TIMEOUT, &mut losses).await.outcome;
    assert_eq!(again, Ok(vec![cell(Table::Holding, 0)]), "{place}: after a silence");
    assert!(losses.drain().is_empty(), "{place}: a clean line loses nothing");
}

/// What `pymodbus_server.py` holds in this cell.
fn cell(table: Table, n: u16) -> u16 {
    match table {
        Table::Holding => 65_000_u16.wrapping_add(11 * n),
        Table::Input => 257_u16.wrapping_mul(n).wrapping_add(7),
        Table::Coil => u16::from(n.is_multiple_of(2)),
        Table::Discrete => u16::from(n.is_multiple_of(3)),
    }
}
