use super::*;
use crate::bus::debts::{Approach, DEBT_MAX};
use crate::bus::{Address, Parity, SerialFormat, Table};

const TIMEOUT: Duration = Duration::from_millis(300);

#[expect(clippy::disallowed_methods, reason = "the time of a test starts anywhere")]
fn start() -> Instant {
    Instant::now()
}

fn line(framing: Framing) -> Line {
    let format = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let address = Address::Serial { path: String::new(), format, framing, rs485: None };
    Line::of(&LineSettings::plain("line", address), Duration::from_millis(20), 0)
}

fn read(address: u16, count: u16) -> Ask {
    Read { table: Table::Holding, address, count }.into()
}

fn ask(line: &mut Line, slave: u8, ask: &Ask, at: Instant) {
    line.begin(Slave(slave), ask, &mut Losses::default());
    line.sent(at, TIMEOUT);
}

/// Asks, and lets the deadline pass; when that is.
fn ask_in_vain(line: &mut Line, slave: u8, wanted: &Ask, at: Instant) -> Instant {
    ask(line, slave, wanted, at);
    let over = at + TIMEOUT;
    assert_eq!(line.elapse(over, &mut Losses::default()), Some(Verdict::Expired { heard: false }));
    over
}

/// What `slave` answers: `count` cells of 7.
fn answer(slave: u8, count: u8) -> Vec<u8> {
    let cells = std::iter::repeat_n([0, 7], usize::from(count)).flatten();
    let body: Vec<u8> = [slave, 3, 2 * count].into_iter().chain(cells).collect();
    let sum = rtu::crc16(&body).to_le_bytes();
    [body, sum.to_vec()].concat()
}

fn refusal(slave: u8) -> Vec<u8> {
    let body = [slave, 0x83, 4];
    [body.to_vec(), rtu::crc16(&body).to_le_bytes().to_vec()].concat()
}

fn fence(count: u16, address: u16) -> Approach {
    Approach::Fence(Read { table: Table::Holding, address, count })
}

#[test]
fn a_device_that_owes_an_answer_is_asked_for_another_length_first() {
    let (mut line, mut losses) = (line(Framing::Rtu), Losses::default());
    let at = ask_in_vain(&mut line, 17, &read(0, 3), start());
    assert_eq!(line.debts.approach(Slave(17), &read(32, 3), at), fence(1, 32), "the shortest");
    assert_eq!(line.debts.approach(Slave(17), &read(32, 4), at), Approach::Plain, "another length");
    assert_eq!(line.debts.approach(Slave(19), &read(32, 3), at), Approach::Plain, "another device");
    ask(&mut line, 17, &read(32, 1), at);
    assert_eq!(line.step(&answer(17, 3), at, &mut losses), None, "the late answer is foreign");
    assert!(matches!(line.step(&answer(17, 1), at, &mut losses), Some(Verdict::Answer { .. })));
    assert_eq!(line.debts.approach(Slave(17), &read(32, 3), at), Approach::Plain, "devices answer in order");
}

#[test]
fn a_fence_of_an_owed_length_pays_the_oldest_debt_of_that_length() {
    let (mut line, mut losses) = (line(Framing::Rtu), Losses::default());
    let at = ask_in_vain(&mut line, 17, &read(0, 2), start());
    assert_eq!(line.debts.approach(Slave(17), &read(0, 2), at), fence(1, 0));
    let at = ask_in_vain(&mut line, 17, &read(0, 1), at);
    assert_eq!(line.debts.approach(Slave(17), &read(0, 2), at), fence(1, 0), "no other length is left");
    ask(&mut line, 17, &read(0, 1), at);
    assert!(matches!(line.step(&answer(17, 1), at, &mut losses), Some(Verdict::Answer { .. })));
    assert_eq!(
        line.debts.approach(Slave(17), &read(0, 2), at),
        Approach::Plain,
        "what was before it is paid, too"
    );
    let (from, guard) = (at, TIMEOUT);
    assert_eq!(
        line.debts.approach(Slave(17), &read(9, 1), at),
        Approach::Drain { from, guard },
        "it is owed itself"
    );
    line.debts.quiet(Slave(17), &read(9, 1));
    assert_eq!(line.debts.approach(Slave(17), &read(9, 1), at), Approach::Plain);
}

#[test]
fn a_refusal_may_be_that_of_an_earlier_request() {
    let (mut line, mut losses) = (line(Framing::Rtu), Losses::default());
    let at = ask_in_vain(&mut line, 17, &read(0, 3), start());
    ask(&mut line, 17, &read(0, 2), at);
    assert!(matches!(line.step(&refusal(17), at, &mut losses), Some(Verdict::Answer { .. })));
    assert_eq!(
        line.debts.approach(Slave(17), &read(0, 3), at),
        Approach::Plain,
        "either way this one is paid"
    );
    assert_eq!(line.debts.approach(Slave(17), &read(0, 2), at), fence(1, 0), "this one may come yet");
}

#[test]
fn an_old_debt_is_forgiven() {
    let mut line = line(Framing::Rtu);
    let at = ask_in_vain(&mut line, 17, &read(0, 3), start());
    assert_eq!(line.debts.approach(Slave(17), &read(0, 3), at + DEBT_MAX), Approach::Plain);
}

#[test]
fn frames_that_name_their_request_need_no_fence() {
    let mut line = Line::mbap("line", 7);
    let at = ask_in_vain(&mut line, 17, &read(0, 3), start());
    assert_eq!(line.debts.approach(Slave(17), &read(0, 3), at), Approach::Plain);
}

#[test]
fn a_drained_line_holds_an_answer_that_an_earlier_request_would_fit() {
    let (mut line, mut losses) = (line(Framing::Rtu), Losses::default());
    let at = ask_in_vain(&mut line, 17, &read(0, 2), start());
    line.debts.quiet(Slave(17), &read(32, 2));
    ask(&mut line, 17, &read(32, 2), at);
    assert_eq!(line.step(&answer(17, 2), at, &mut losses), None, "held");
    assert_eq!(line.step(&answer(17, 2), at, &mut losses), Some(Verdict::Damaged), "two are one too many");
}

#[test]
fn an_ascii_frame_may_pause_for_a_second_and_no_longer() {
    let late = |gap: Duration| {
        let (mut line, mut losses, at) = (line(Framing::Ascii), Losses::default(), start());
        line.begin(Slave(17), &read(0, 2), &mut losses);
        line.sent(at, Duration::from_secs(3));
        assert_eq!(line.step(b":110304", at, &mut losses), None);
        assert_eq!(line.wake(), Some(at + ascii::GAP_MAX));
        line.step(b"002A012C91\r\n", at + gap, &mut losses)
    };
    assert!(matches!(late(Duration::from_millis(999)), Some(Verdict::Answer { .. })));
    assert!(!matches!(late(Duration::from_secs(1)), Some(Verdict::Answer { .. })));
}

#[test]
fn an_echo_of_a_write_is_told_from_its_answer_once_a_read_was_echoed() {
    let (mut line, mut losses, at) = (line(Framing::Rtu), Losses::default(), start());
    let write = Ask::Write(crate::bus::ask::Write::Register { address: 1, value: 3 });
    ask(&mut line, 17, &read(0, 2), at);
    let echoed = [line.request().to_vec(), answer(17, 2)].concat();
    assert!(matches!(line.step(&echoed, at, &mut losses), Some(Verdict::Answer { .. })));
    ask(&mut line, 17, &write, at);
    let frame = line.request().to_vec();
    assert_eq!(line.step(&frame, at, &mut losses), None, "its own voice");
    let written = Verdict::Answer { answer: Answer::Written, at };
    assert_eq!(line.step(&frame, at, &mut losses), Some(written));
}

#[test]
fn a_single_register_is_fenced_by_what_the_device_may_be_asked_beside_it() {
    let (mut line, mut losses) = (line(Framing::Rtu), Losses::default());
    let longer = Read { table: Table::Holding, address: 9, count: 2 };
    line.debts.allow(Slave(17), &[longer]);
    let at = ask_in_vain(&mut line, 17, &read(9, 1), start());
    assert_eq!(line.debts.approach(Slave(17), &read(9, 1), at), Approach::Fence(longer));
    ask(&mut line, 17, &longer.into(), at);
    assert_eq!(line.step(&answer(17, 1), at, &mut losses), None, "the late answer is foreign");
    assert!(matches!(line.step(&refusal(17), at, &mut losses), Some(Verdict::Answer { .. })));
    assert_eq!(line.debts.approach(Slave(17), &read(9, 1), at), Approach::Plain, "a refusal is an answer");
}

#[test]
fn a_fence_that_is_never_answered_is_given_up() {
    let mut line = line(Framing::Rtu);
    let longer = Read { table: Table::Holding, address: 9, count: 2 };
    line.debts.allow(Slave(17), &[longer]);
    let at = ask_in_vain(&mut line, 17, &read(9, 1), start());
    let fenced = |line: &Line| line.debts.approach(Slave(17), &read(9, 1), at) == Approach::Fence(longer);
    line.debts.fenced(Slave(17), longer, false);
    assert!(fenced(&line));
    line.debts.fenced(Slave(17), longer, false);
    assert!(!fenced(&line), "a device that is silent on it would be deaf for ten minutes");
    line.debts.allow(Slave(17), &[longer]);
    line.debts.fenced(Slave(17), longer, true);
    (0..9).for_each(|_| line.debts.fenced(Slave(17), longer, false));
    assert!(fenced(&line), "one that was answered shows a dead device");
}

#[test]
fn a_late_answer_pays_its_debt_whenever_it_comes() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        let (mut line, mut losses) = (line(framing), Losses::default());
        let said = |count| match framing {
            Framing::Ascii => {
                let bytes = answer(17, count);
                let body = &bytes[..bytes.len() - 2];
                let all = [body, &[ascii::lrc(body)]].concat();
                let digits: String = all.iter().map(|byte| format!("{byte:02X}")).collect();
                format!(":{digits}\r\n").into_bytes()
            }
            _ => answer(17, count),
        };
        let at = ask_in_vain(&mut line, 17, &read(0, 3), start());
        let at = ask_in_vain(&mut line, 17, &read(0, 4), at);
        ask(&mut line, 19, &read(0, 3), at);
        assert_eq!(line.step(&said(3), at, &mut losses), None, "while another device is asked");
        assert_eq!(line.debts.approach(Slave(17), &read(0, 3), at), Approach::Plain);
        assert_eq!(line.debts.approach(Slave(17), &read(0, 4), at), fence(1, 0), "the later one is open");
        line.elapse(at + TIMEOUT, &mut losses);
        line.step(&said(4), at + TIMEOUT, &mut losses);
        assert_eq!(line.debts.approach(Slave(17), &read(0, 4), at), Approach::Plain, "between requests");
        assert_eq!(line.debts.approach(Slave(19), &read(0, 3), at + TIMEOUT), fence(1, 0), "another's");
    }
}

#[test]
fn a_dead_device_never_makes_the_line_forget_what_another_owes() {
    let mut line = line(Framing::Rtu);
    let mut at = ask_in_vain(&mut line, 19, &read(0, 3), start());
    for _ in 0..1000 {
        at = ask_in_vain(&mut line, 17, &read(0, 2), at);
    }
    assert_eq!(line.debts.approach(Slave(19), &read(0, 3), at), fence(1, 0));
}
