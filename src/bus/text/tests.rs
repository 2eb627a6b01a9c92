use proptest::prelude::*;

use super::*;

const GAP: Duration = Duration::from_millis(100);

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn start() -> Instant {
    Instant::from_std(std::time::Instant::now())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn format(pattern: &str, checksum: Checksum) -> Format {
    Format {
        mode: Mode::Ask,
        command: "{slave}r3{check}\r\n".to_owned(),
        terminator: b"\r\n".to_vec(),
        pattern: pattern.to_owned(),
        checksum,
        gap: GAP,
        period: Duration::from_secs(1),
        slave: Slave(0),
    }
}

/// Feeds chunks, each `after` ms later than the one before; the lines as text.
fn lines(terminator: &str, chunks: &[(u64, &str)]) -> Vec<String> {
    let mut now = start();
    let mut receiver = Receiver::new(terminator.as_bytes(), GAP, now);
    let mut found = Vec::new();
    for (after, bytes) in chunks {
        now += ms(*after);
        let lines = receiver.step(bytes.as_bytes(), now, "line", &mut Losses::default());
        found.extend(lines.into_iter().map(|line| String::from_utf8(line.bytes).unwrap()));
    }
    found
}

#[test]
fn only_whole_lines_count() {
    for (story, chunks, wanted) in [
        ("opened in a quiet moment", vec![(150, "R1234\r")], vec!["R1234"]),
        ("opened inside a line", vec![(3, "234\rR1235\r")], vec!["R1235"]),
        ("in pieces", vec![(150, "R1"), (10, "23"), (10, "4\r")], vec!["R1234"]),
        ("a gap inside: bytes may be lost", vec![(150, "R12"), (150, "34\rR1235\r")], vec!["R1235"]),
        ("two cut lines are not one", vec![(150, "12"), (500, "34\r")], vec![]),
        ("noise, then a line at once", vec![(150, "~R1234\r")], vec!["~R1234"]),
        ("empty lines are none", vec![(150, "\r\r\rR1234\r\r")], vec!["R1234"]),
        ("a pause between lines is none", vec![(150, "R1234\r"), (9000, "R1235\r")], vec!["R1234", "R1235"]),
    ] {
        assert_eq!(lines("\r", &chunks), wanted, "{story}");
    }
}

#[test]
fn a_terminator_of_two_bytes_may_come_in_two_pieces() {
    assert_eq!(lines("\r\n", &[(150, "a\r"), (5, "\nb\r\r\n")]), ["a", "b\r"]);
    assert_eq!(lines("\r\n", &[(150, "a\r"), (150, "\nb\r\n")]), ["b"]);
}

#[test]
fn a_line_without_an_end_is_bounded_and_counted() {
    let (mut losses, now) = (Losses::default(), start());
    let mut receiver = Receiver::new(b"\r\n", GAP, now);
    let later = now + GAP;
    for _ in 0..100 {
        assert_eq!(receiver.step(&[b'x'; 1000], later, "line", &mut losses), []);
        assert!(receiver.held.len() <= LINE_MAX);
    }
    let found = receiver.step(b"tail\r\nnext\r\n", later, "line", &mut losses);
    assert_eq!(found.iter().map(|line| line.bytes.as_slice()).collect::<Vec<_>>(), [b"next"]);
    assert_eq!(losses.drain(), [(Loss::StrayBytes, "line".to_owned(), 100_004)]);
}

#[test]
fn asked_and_opened_anew() {
    let (mut losses, now) = (Losses::default(), start());
    let mut receiver = Receiver::new(b"\r", GAP, now);
    receiver.step(b"half", now, "line", &mut losses);
    receiver.asked("line", &mut losses);
    assert_eq!(receiver.step(b"whole\r", now, "line", &mut losses).len(), 1);
    receiver.reset(now, "line", &mut losses);
    assert_eq!(receiver.step(b"rest\r", now + ms(5), "line", &mut losses), []);
    assert_eq!(losses.drain(), [(Loss::StrayBytes, "line".to_owned(), 8)]);
}

#[test]
fn the_whole_line_or_nothing() {
    let dialect = Dialect::new(&format("^R(?P<level>\\d{4})$", Checksum::None), Slave(0)).unwrap();
    assert_eq!(dialect.read(b"R1234").unwrap().get("level"), Some("1234"));
    for line in
        ["", "R", "R123", "1234", "R12345", " R1234", "R1234 ", "R1234\n", "r1234", "RR1234", "R12\u{663}4"]
    {
        assert_eq!(dialect.read(line.as_bytes()), Err(Refused::Foreign), "{line:?}");
    }
    assert_eq!(dialect.read(b"R123\xFF"), Err(Refused::Foreign));
    let either = Dialect::new(&format("^a(?P<x>\\d)|b(?P<y>\\d)$", Checksum::None), Slave(0)).unwrap();
    assert_eq!(either.read(b"a1b"), Err(Refused::Foreign), "each branch is the whole line");
    let words = either.read(b"b2").unwrap();
    assert_eq!((words.get("x"), words.get("y"), words.get("z")), (None, Some("2"), None));
}

#[test]
fn an_address_in_command_and_pattern() {
    let format = format("^{slave}r3,Rc=(?P<rain>\\d+\\.\\d+)M$", Checksum::Crc16Sdi12);
    let (one, seven) = (Dialect::new(&format, Slave(0)).unwrap(), Dialect::new(&format, Slave(7)).unwrap());
    assert_eq!(one.command(), b"0r3Kid\r\n", "Vaisala M211840EN prints this one");
    let line = format!("0r3,Rc=0.25M{}", Checksum::Crc16Sdi12.of(b"0r3,Rc=0.25M"));
    assert_eq!(one.read(line.as_bytes()).unwrap().get("rain"), Some("0.25"));
    assert_eq!(seven.read(line.as_bytes()), Err(Refused::Foreign));
    assert_eq!(one.read(&line.as_bytes()[1..]), Err(Refused::Checksum));
}

#[test]
fn patterns_that_are_none() {
    for pattern in
        ["R(?P<x>\\d)", "^R(?P<x>\\d)", "R(?P<x>\\d)$", "^R(?P<x>\\d)\\$", "^($", "^(?P<x>[0-9]{900}){900}$"]
    {
        assert!(Dialect::new(&format(pattern, Checksum::None), Slave(0)).is_err(), "{pattern}");
    }
}

#[test]
fn an_echo_is_taken_off_and_an_answer_is_not() {
    let strip = |chunks: &[&str]| -> String {
        let mut echo = Echo::of(b"0r3Kid\r\n");
        chunks.iter().map(|chunk| String::from_utf8(echo.strip(chunk.as_bytes())).unwrap()).collect()
    };
    assert_eq!(strip(&["0r3Kid\r\n0r3,Rc\r\n"]), "0r3,Rc\r\n");
    assert_eq!(strip(&["0r3", "Kid\r", "\n0r3", ",Rc\r\n"]), "0r3,Rc\r\n");
    assert_eq!(strip(&["0r3", ",Rc\r\n0r3Kid\r\n"]), "0r3,Rc\r\n0r3Kid\r\n");
    assert_eq!(Echo::of(b"").strip(b"x"), b"x");
}

/// Bytes that make lines, cut lines and garbage likely.
fn noisy() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"R1234\r\n".to_vec()),
        Just(b"R0042\r\n".to_vec()),
        Just(b"R12".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
        Just(vec![b'z'; 700]),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_lines(
        bytes in noisy(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        after in 0_u64..200,
    ) {
        let opened = start();
        let now = opened + ms(after);
        let (mut whole, mut parts) = (Receiver::new(b"\r\n", GAP, opened), Receiver::new(b"\r\n", GAP, opened));
        let (mut losses, mut losses_of_parts) = (Losses::default(), Losses::default());
        let wanted = whole.step(&bytes, now, "line", &mut losses);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let mut found = Vec::new();
        for pair in places.windows(2) {
            found.extend(parts.step(&bytes[pair[0]..pair[1]], now, "line", &mut losses_of_parts));
        }
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(losses, losses_of_parts);
        prop_assert!(parts.held.len() <= LINE_MAX);
    }

    #[test]
    fn no_part_of_a_line_is_taken_for_one(
        numbers in prop::collection::vec(0_u32..10_000, 1..12),
        lost in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..9), 0..4),
    ) {
        // A stream of a sensor without a check sum, of which runs of bytes are lost; where bytes are lost time has passed.
        let text: Vec<u8> = numbers.iter().flat_map(|number| format!("R{number:04}\r").into_bytes()).collect();
        let mut kept = vec![true; text.len()];
        for (at, length) in &lost {
            let at = at.index(text.len());
            kept.iter_mut().skip(at).take(*length).for_each(|kept| *kept = false);
        }
        let dialect = Dialect::new(&format("^R(?P<level>\\d{4})$", Checksum::None), Slave(0)).unwrap();
        let opened = start();
        let (mut now, mut receiver) = (opened + GAP, Receiver::new(b"\r", GAP, opened));
        let mut found = Vec::new();
        for (byte, kept) in text.iter().zip(&kept) {
            now += if *kept { ms(1) } else { ms(150) };
            if *kept {
                found.extend(receiver.step(&[*byte], now, "line", &mut Losses::default()));
            }
        }
        for line in found {
            if let Ok(words) = dialect.read(&line.bytes) {
                let number: u32 = words.get("level").unwrap().parse().unwrap();
                prop_assert!(numbers.contains(&number), "{number} was never sent in {numbers:?}");
            }
        }
    }

    #[test]
    fn after_any_garbage_the_line_after_next_counts(garbage in prop::collection::vec(any::<u8>(), 0..3000), after in 0_u64..300) {
        let opened = start();
        let mut receiver = Receiver::new(b"\r\n", GAP, opened);
        let mut losses = Losses::default();
        receiver.step(&garbage, opened + ms(after), "line", &mut losses);
        receiver.step(b"R0001\r\n", opened + ms(after + 10), "line", &mut losses);
        let found = receiver.step(b"R0002\r\n", opened + ms(after + 20), "line", &mut losses);
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(found[0].bytes.as_slice(), b"R0002");
    }

    #[test]
    fn an_echo_in_any_pieces(answer in prop::collection::vec(any::<u8>(), 0..40), echoed in any::<bool>(), size in 1_usize..9) {
        let command = b"MEAS\r";
        prop_assume!(echoed || !answer.starts_with(&command[..1]));
        let mut sent = if echoed { command.to_vec() } else { Vec::new() };
        sent.extend(&answer);
        let mut echo = Echo::of(command);
        let found: Vec<u8> = sent.chunks(size).flat_map(|chunk| echo.strip(chunk)).collect();
        prop_assert_eq!(found, answer);
    }
}
