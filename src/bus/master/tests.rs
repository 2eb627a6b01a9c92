use tokio::io::DuplexStream;

use super::*;
use crate::bus::Table;

const FORMAT: crate::bus::SerialFormat =
    crate::bus::SerialFormat { baud: 9600, data_bits: 8, parity: crate::bus::Parity::None, stop_bits: 1 };
const TIMEOUT: Duration = Duration::from_millis(500);

fn line(address: Address) -> (Master, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let settings = LineSettings { name: "l".to_owned(), address, timeout: TIMEOUT, quiet: Duration::ZERO };
    (Master::on(settings, Box::new(ours)), theirs)
}

fn rtu_line() -> (Master, DuplexStream) {
    line(Address::Serial { path: "test".to_owned(), format: FORMAT })
}

fn tcp_line() -> (Master, DuplexStream) {
    line(Address::Tcp("test".to_owned()))
}

fn holding(address: u16, count: u16) -> Read {
    Read { table: Table::Holding, address, count }
}

fn frame(slave: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = vec![slave];
    frame.extend_from_slice(pdu);
    frame.extend_from_slice(&rtu::crc16(&frame).to_le_bytes());
    frame
}

/// A slave that waits for each request and answers after the given time with the given bytes.
async fn answer(mut line: DuplexStream, script: Vec<(u64, Vec<u8>)>) {
    let mut request = [0_u8; 12];
    for (wait_ms, bytes) in script {
        let _ = line.read(&mut request).await;
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let _ = line.write_all(&bytes).await;
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
}

async fn outcomes(
    mut master: Master,
    theirs: DuplexStream,
    script: Vec<(u64, Vec<u8>)>,
    reads: &[Read],
) -> Vec<Result<Vec<u16>, Failure>> {
    let asking = async {
        let mut found = Vec::new();
        let mut losses = Losses::default();
        for read in reads {
            found.push(master.read(Slave(1), *read, TIMEOUT, &mut losses).await.outcome);
        }
        found
    };
    tokio::select! {
        found = asking => found,
        () = answer(theirs, script) => panic!("the slave ended first"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_rtu_answer_never_meets_the_next_request() {
    let (master, theirs) = rtu_line();
    let late = frame(1, &[3, 2, 0, 1]);
    let right = frame(1, &[3, 2, 0, 2]);
    let found =
        outcomes(master, theirs, vec![(700, late), (10, right)], &[holding(0, 1), holding(5, 1)]).await;
    assert_eq!(found, [Err(Failure::Timeout), Ok(vec![2])]);
}

#[tokio::test(start_paused = true)]
async fn a_late_tcp_answer_is_passed_over_by_its_transaction() {
    let (master, theirs) = tcp_line();
    let both = vec![0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 1, 0, 2, 0, 0, 0, 5, 1, 3, 2, 0, 2];
    let found =
        outcomes(master, theirs, vec![(0, vec![]), (10, both)], &[holding(0, 1), holding(0, 1)]).await;
    assert_eq!(found, [Err(Failure::Timeout), Ok(vec![2])]);
}

#[tokio::test(start_paused = true)]
async fn damage_refusal_and_silence_have_their_names() {
    let (master, theirs) = rtu_line();
    let mut damaged = frame(1, &[3, 2, 0, 1]);
    damaged[3] ^= 0x40;
    let script = vec![
        (10, damaged),
        (10, frame(1, &[0x83, 2])),
        (10, frame(2, &[3, 2, 0, 9])),
        (10, frame(1, &[3, 2, 0, 7])),
    ];
    let found = outcomes(master, theirs, script, &[holding(0, 1); 4]).await;
    assert_eq!(
        found,
        [Err(Failure::BadFrame), Err(Failure::Exception(2)), Err(Failure::Timeout), Ok(vec![7])]
    );
}

#[tokio::test(start_paused = true)]
async fn a_babbling_line_costs_a_bounded_time() {
    let (mut master, mut theirs) = rtu_line();
    let babble = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if theirs.write_all(&[0x55; 7]).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut losses = Losses::default();
    let exchange = tokio::select! {
        exchange = master.read(Slave(1), holding(0, 1), TIMEOUT, &mut losses) => exchange,
        () = babble => unreachable!(),
    };
    assert_eq!(exchange.outcome, Err(Failure::Timeout));
    assert!(
        exchange.ended - exchange.sent < Duration::from_millis(600),
        "received bytes never extend the deadline"
    );
    assert!(!losses.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_port_that_cannot_be_opened_is_reported_and_tried_again_later() {
    let settings = LineSettings {
        name: "l".to_owned(),
        address: Address::Serial { path: "/nowhere/tty".to_owned(), format: FORMAT },
        timeout: TIMEOUT,
        quiet: Duration::ZERO,
    };
    let mut master = Master::new(settings);
    let mut losses = Losses::default();
    assert_eq!(
        master.read(Slave(1), holding(0, 1), TIMEOUT, &mut losses).await.outcome,
        Err(Failure::LineDown)
    );
    assert!(master.trouble().unwrap().contains("/nowhere/tty"), "{:?}", master.trouble());
}
