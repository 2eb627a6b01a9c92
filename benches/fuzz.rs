//! Every decoder of the field's bytes against mutated real ones: nothing panics, nothing grows, nothing hangs.
//!
//! `cargo bench --bench fuzz -- 10000000`: so many inputs for each decoder. Deterministic and without coverage feedback:
//! inputs are the bytes of `tests/faults/modbus_faults.json`, cut, joined, flipped and repeated.

#![expect(clippy::unwrap_used, reason = "a bench panics when it is wrong")]

use std::time::{Duration, Instant};

use lifeline_gateway::bus::ask::{Ask, Extent, PDU_MAX, Write};
use lifeline_gateway::bus::pdu::Answer;
use lifeline_gateway::bus::rtu::Patience;
use lifeline_gateway::bus::{Read, Slave, Table, ascii, mbap, rtu};
use lifeline_gateway::loss::Losses;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((word ^ (word >> 31)) % u64::try_from(below.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        [0, 1, 3, 17, 0x2B, 0x0E, 0x7F, 0x83, 0xFF, b':', b'\r', b'\n'][self.roll(12)]
    }
}

/// All bytes that the scripted slaves say, by transport.
fn seeds(transports: &[&str]) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string("tests/faults/modbus_faults.json").unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut seeds = vec![
        [17, 0x2B, 0x0E, 2, 0x82, 0xFF, 4, 2, 0, 3, b'A', b'B', b'C', 1, 2, b'D', b'E'].to_vec(),
        Vec::new(),
    ];
    for case in document["cases"].as_array().unwrap() {
        if !transports.contains(&case["transport"].as_str().unwrap()) {
            continue;
        }
        for chunk in
            case["steps"].as_array().unwrap().iter().flat_map(|step| step["slave"].as_array().unwrap())
        {
            let hex = chunk["hex"].as_str().unwrap();
            let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            seeds.push(bytes.collect());
        }
    }
    seeds
}

fn mutate(seeds: &[Vec<u8>], dice: &mut Dice, input: &mut Vec<u8>) {
    input.clear();
    for _ in 0..=dice.roll(3) {
        input.extend_from_slice(&seeds[dice.roll(seeds.len())]);
    }
    for _ in 0..dice.roll(6) {
        let place = dice.roll(input.len() + 1);
        match dice.roll(6) {
            0 => input.truncate(place),
            1 => input.insert(place, dice.byte()),
            2 if place < input.len() => drop(input.remove(place)),
            3 if place < input.len() => input[place] ^= 1 << dice.roll(8),
            4 if place < input.len() => input[place] = dice.byte(),
            _ => {
                let from = dice.roll(place + 1);
                let copied = input[from..place].to_vec();
                input.extend_from_slice(&copied);
            }
        }
    }
    input.truncate(1024);
}

fn asks() -> Vec<Ask> {
    let read = |table, count| Ask::Read(Read { table, address: 0, count });
    vec![
        read(Table::Holding, 2),
        read(Table::Holding, 125),
        read(Table::Coil, 10),
        Ask::Identity { level: 2, object: 0 },
        Ask::Write(Write::Coil { address: 0xAC, on: true }),
        Ask::Write(Write::Registers { address: 1, values: vec![10, 258] }),
    ]
}

fn check(ask: &Ask, answer: &[u8]) {
    if let Some(Answer::Cells(cells)) = ask.parse(answer) {
        let Ask::Read(read) = ask else { panic!("cells for {ask:?}") };
        assert_eq!(cells.len(), usize::from(read.count));
    }
}

fn fuzz(name: &str, count: u64, transports: &[&str], mut run: impl FnMut(&Ask, &[u8], usize)) {
    let (seeds, asks, mut dice, mut input) = (seeds(transports), asks(), Dice(1), Vec::new());
    #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
    let begun = Instant::now();
    for _ in 0..count {
        mutate(&seeds, &mut dice, &mut input);
        let cut = dice.roll(input.len() + 1);
        run(&asks[dice.roll(asks.len())], &input, cut);
    }
    let took: Duration = begun.elapsed();
    println!(
        "fuzz: {name}: {count} inputs from {} seeds, {:.1} s, no crash",
        seeds.len(),
        took.as_secs_f64()
    );
}

fn main() {
    let count = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    let heartbeats = [b"heartbeat".to_vec(), vec![0xFE]];
    let mut losses = Losses::default();

    let mut receiver = rtu::Receiver::new(&heartbeats);
    fuzz("rtu", count, &["rtu", "rtu_over_tcp"], |ask, input, cut| {
        let mut request = Vec::new();
        rtu::emit(Slave(17), ask, &mut request);
        receiver.forget("fuzz", &mut losses);
        receiver.expect(Slave(17), ask, &request, cut % 2 == 0);
        let (first, second) = input.split_at(cut);
        for (bytes, patience) in [(first, Patience::Fresh), (second, Patience::Silent), (&[], Patience::Over)]
        {
            if receiver.step(bytes, patience, "fuzz", &mut losses) {
                check(ask, receiver.open.answer());
            }
        }
    });
    let mut receiver = ascii::Receiver::new(&heartbeats);
    fuzz("ascii", count, &["ascii"], |ask, input, cut| {
        let mut request = Vec::new();
        ascii::emit(Slave(17), ask, &mut request);
        receiver.forget("fuzz", &mut losses);
        receiver.expect(Slave(17), ask, &request, cut % 2 == 0);
        let (first, second) = input.split_at(cut);
        for bytes in [first, second] {
            if receiver.step(bytes, "fuzz", &mut losses) {
                check(ask, receiver.open.answer());
            }
        }
    });
    let mut receiver = mbap::Receiver::new(&heartbeats);
    fuzz("mbap", count, &["tcp"], |ask, input, cut| {
        receiver.reset("fuzz", &mut losses);
        receiver.expect(1, Some(Slave(17)));
        receiver.expect_also(2, None);
        let (first, second) = input.split_at(cut);
        for bytes in [first, second] {
            if receiver.step(bytes, "fuzz", &mut losses) == Some(mbap::Found::Answer) {
                check(ask, receiver.answer());
            }
        }
        receiver.take_answers().iter().for_each(|(_, pdu)| check(ask, pdu));
    });
    fuzz("pdu", count, &["rtu", "tcp"], |ask, input, cut| {
        let pdu = input.get(cut..).unwrap_or_default();
        check(ask, pdu);
        if let Extent::Whole(length) = ask.extent(pdu) {
            assert!(length <= PDU_MAX);
        }
    });
    let identity = Ask::Identity { level: 2, object: 0 };
    fuzz("identity", count, &["rtu"], |_, input, cut| {
        let pdu = [&[0x2B, 0x0E, 2], input.get(cut..).unwrap_or_default()].concat();
        let whole = identity.extent(&pdu) == Extent::Whole(pdu.len());
        assert_eq!(identity.parse(&pdu).is_some(), whole);
    });
}
