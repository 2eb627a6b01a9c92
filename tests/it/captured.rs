//! Real Modbus TCP traffic: each request that we could make is made the same to the byte, each answer is taken for what
//! it is, and nobody's answer is made up for a request that had none.

use std::fs;

use lifeline_gateway::bus::ask::{Ask, Write};
use lifeline_gateway::bus::mbap::{self, Found};
use lifeline_gateway::bus::pdu::Answer;
use lifeline_gateway::bus::{Read, Slave, Table};
use lifeline_gateway::loss::Losses;

use crate::shared::shared;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// What a captured request asks; `None` for what the gateway never does.
fn ask(pdu: &[u8]) -> Option<Ask> {
    let word = |at: usize| Some(u16::from_be_bytes([*pdu.get(at)?, *pdu.get(at + 1)?]));
    let (address, value) = (word(1)?, word(3)?);
    let read = |table| Ask::Read(Read { table, address, count: value });
    let ask = match pdu[0] {
        1 => read(Table::Coil),
        2 => read(Table::Discrete),
        3 => read(Table::Holding),
        4 => read(Table::Input),
        5 => Ask::Write(Write::Coil { address, on: value == 0xFF00 }),
        6 => Ask::Write(Write::Register { address, value }),
        15 => {
            let on = (0..usize::from(value)).map(|bit| Some(pdu.get(6 + bit / 8)? >> (bit % 8) & 1 == 1));
            Ask::Write(Write::Coils { address, on: on.collect::<Option<_>>()? })
        }
        16 => {
            let values = (0..usize::from(value)).map(|cell| word(6 + 2 * cell));
            Ask::Write(Write::Registers { address, values: values.collect::<Option<_>>()? })
        }
        _ => return None,
    };
    let mut same = Vec::new();
    ask.emit(&mut same);
    // Spare bits of a last byte, and what fuzzers send, are not made by us.
    (ask.is_legal() && same == pdu).then_some(ask)
}

#[test]
fn captured_pairs_are_taken_for_what_they_are() {
    let Some(file) = shared("data/modbus_frames.csv") else { return };
    let text = fs::read_to_string(file).unwrap();
    let (mut asked, mut values, mut refusals, mut unanswered, mut crossed) = (0, 0, 0, 0, 0);
    let mut stale = Vec::new();
    for row in text.lines().skip(1) {
        let columns: Vec<&str> = row.split(',').collect();
        let (request, response, result) = (bytes(columns[3]), bytes(columns[4]), columns[6]);
        let Some(ask) = request.get(7..).filter(|pdu| !pdu.is_empty()).and_then(ask) else { continue };
        asked += 1;
        let (id, slave) = (u16::from_be_bytes([request[0], request[1]]), Slave(request[6]));
        let mut ours = Vec::new();
        mbap::emit(id, slave, &ask, &mut ours);
        assert_eq!(ours, request);

        let (mut receiver, mut losses) = (mbap::Receiver::new(&[]), Losses::default());
        receiver.expect(id, Some(slave));
        // The answer to another request goes by first.
        let foreign: &[u8] =
            if stale[..].first_chunk::<2>() == Some(&id.to_be_bytes()) { &[] } else { &stale };
        assert_eq!(receiver.step(foreign, "capture", &mut losses), None, "{row}");
        let found = receiver.step(&response, "capture", &mut losses);
        let answer = (found == Some(Found::Answer)).then(|| ask.parse(receiver.answer())).flatten();
        match (result, &answer) {
            ("unanswered", None) => unanswered += 1,
            ("ok", Some(Answer::Cells(cells))) => {
                let Ask::Read(read) = ask else { panic!("cells for a write: {row}") };
                assert_eq!(cells.len(), usize::from(read.count));
                values += 1;
            }
            ("ok", Some(Answer::Written)) => values += 1,
            (_, Some(Answer::Exception(code))) if result == format!("exception {code}") => refusals += 1,
            // One device confirms the write before this one, under an id that was used twice.
            ("ok", None) if matches!(ask, Ask::Write(_)) => crossed += 1,
            _ => panic!("{answer:?} from {row}"),
        }
        if !response.is_empty() {
            stale = response;
        }
    }
    println!(
        "{asked} requests: {values} answered, {refusals} refused, {unanswered} unanswered, {crossed} crossed"
    );
    assert!(crossed <= 1);
    assert!(asked > 5_700 && values > 4_800 && unanswered > 800, "{asked} {values} {unanswered}");
}
