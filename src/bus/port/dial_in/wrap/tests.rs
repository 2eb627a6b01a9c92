//! Golden bytes of the vendors, and the same result for any split.

use proptest::prelude::*;

use super::*;
use crate::bus::port::dial_in::hex;

const ID: &[u8] = b"13800138000";
const REPLY: &str = "01030400C801907A31";

fn wrapping(kind: Kind) -> Wrapping {
    let manner = Manner { kind, heartbeat: b"HEART".to_vec(), ..Manner::default() };
    Wrapping::new(manner, ID.to_vec())
}

fn up(wrapping: &mut Wrapping, bytes: &str) -> Up {
    let mut up = Up::default();
    wrapping.up(&hex(bytes).unwrap(), &mut up);
    up
}

fn payload(bytes: &str) -> Up {
    Up { payload: hex(bytes).unwrap(), ..Up::default() }
}

#[test]
fn a_transparent_connection_loses_heartbeats_in_front_only() {
    let mut plain = wrapping(Kind::Plain);
    let found = up(&mut plain, "484541525401030400C801907A31");
    assert_eq!(found, Up { heartbeats: 1, ..payload(REPLY) });
    // In the middle of a message only its check sum can tell.
    assert_eq!(up(&mut plain, "4845415254"), payload("4845415254"));
    plain.begin();
    assert_eq!(up(&mut plain, "484541"), Up::default());
    assert_eq!(up(&mut plain, "5254"), Up { heartbeats: 1, ..Up::default() });
    assert_eq!(up(&mut plain, "48"), Up::default());
    assert!(plain.holds());
    let mut flushed = Up::default();
    plain.flush(&mut flushed);
    assert_eq!(flushed, payload("48"), "slave 72 begins to answer");
    assert_eq!(plain.down(&[1, 3, 0]), [1, 3, 0]);
}

#[test]
fn heartbeats_are_answered_as_configured() {
    for (reply, wanted) in [
        (Reply::None, b"".as_slice()),
        (Reply::Echo, b"HEART".as_slice()),
        (Reply::Fixed(b"OK".to_vec()), b"OK".as_slice()),
    ] {
        let manner = Manner { heartbeat: b"HEART".to_vec(), reply, ..Manner::default() };
        let found = up(&mut Wrapping::new(manner, ID.to_vec()), "4845415254");
        assert_eq!((found.reply.as_slice(), found.heartbeats), (wanted, 1));
    }
}

#[test]
fn a_registration_in_front_of_every_packet_is_taken_off_where_it_is_configured() {
    let manner = Manner { prefix_every: true, heartbeat: vec![0xFE], ..Manner::default() };
    let mut plain = Wrapping::new(manner, b"LOGIN:1001".to_vec());
    let found = up(&mut plain, &format!("FE4C4F47494E3A31303031{REPLY}"));
    assert_eq!(found, Up { heartbeats: 1, ..payload(REPLY) });
    let mut other = wrapping(Kind::Plain);
    let bytes = format!("3133383030313338303030{REPLY}");
    assert_eq!(up(&mut other, &bytes), payload(&bytes), "not configured");
}

#[test]
fn ddp_frames_carry_data_and_are_acknowledged() {
    let mut ddp = wrapping(Kind::Ddp { after: false });
    assert_eq!(ddp.greeting(), hex("7B81001031333830303133383030307B").unwrap());
    let data = format!("7B09001931333830303133383030{REPLY}", REPLY = format_args!("30{REPLY}7B"));
    let acknowledged = hex("7B85001031333830303133383030307B").unwrap();
    assert_eq!(up(&mut ddp, &data), Up { reply: acknowledged.clone(), ..payload(REPLY) });
    // Two frames at once, the second one a registration that is repeated as a sign of life.
    let both = format!("{data}7B01001631333830303133383030300A00000513897B");
    let replies = [acknowledged, hex("7B81001031333830303133383030307B").unwrap()].concat();
    assert_eq!(up(&mut ddp, &both), Up { reply: replies, heartbeats: 1, ..payload(REPLY) });
    assert_eq!(
        ddp.down(&hex("010300000002C40B").unwrap()),
        hex("7B89001831333830303133383030 30010300000002C40B7B").unwrap()
    );
    let out = up(&mut ddp, "7B02001031333830303133383030307B");
    assert!(out.ended && out.reply == hex("7B82001031333830303133383030307B").unwrap());
    let stranger = up(&mut ddp, "7B05001031333830303133383030317B");
    assert_eq!(
        (stranger.junk, stranger.payload.len()),
        (15, 0),
        "a frame of another id; its end may be a beginning"
    );
    let after = up(&mut ddp, &data);
    assert_eq!((after.junk, after.payload), (1, hex(REPLY).unwrap()), "in step again");
}

#[test]
fn ddp_data_behind_the_frame_end_at_the_next_frame() {
    let mut ddp = wrapping(Kind::Ddp { after: true });
    let head = "7B09001031333830303133383030307B";
    let found = up(&mut ddp, &format!("{head}{REPLY}{head}{REPLY}"));
    assert_eq!(found.payload, hex(&format!("{REPLY}{REPLY}")).unwrap());
    let mut found = up(&mut ddp, "01037B");
    assert_eq!(found.payload, [1, 3], "the last byte may begin a frame");
    ddp.flush(&mut found);
    assert_eq!(found.payload, [1, 3, 0x7B]);
    assert_eq!(ddp.down(&[1, 2]), hex(&format!("{}0102", head.replace("7B09", "7B89"))).unwrap());
}

#[test]
fn four_faith_escapes_both_ways() {
    let mut protocol = wrapping(Kind::FourFaith);
    let found = up(&mut protocol, "FE010304FDED02FDEE102BF3FE");
    assert_eq!(found, Up { heartbeats: 2, ..payload("010304FD02FE102BF3") });
    assert_eq!(protocol.down(&hex("010304FD02FE102BF3").unwrap()), hex("010304FDED02FDEE102BF3").unwrap());
    let found = up(&mut protocol, "01FD02");
    assert_eq!((found.payload, found.junk), (vec![1, 2], 1));
}

#[test]
fn alotcer_heartbeats_are_echoed() {
    let mut alotcer = wrapping(Kind::Alotcer);
    let heartbeat = "7B3015003133383030313338303030 484541525442454154 7D";
    let found = up(&mut alotcer, heartbeat);
    assert_eq!(found, Up { heartbeats: 1, reply: hex(heartbeat).unwrap(), ..Up::default() });
    let data = format!("7B3215003133383030313338303030{REPLY}7D");
    assert_eq!(up(&mut alotcer, &data), payload(REPLY));
    assert_eq!(alotcer.down(&hex(REPLY).unwrap()), hex(&data).unwrap());
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Plain,
        Kind::InHand,
        Kind::Ddp { after: false },
        Kind::Ddp { after: true },
        Kind::FourFaith,
        Kind::Alotcer,
    ])
}

/// What connections of all vendors are made of.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let data = format!("7B3215003133383030313338303030{REPLY}7D");
    let known = [
        REPLY,
        "4845415254",
        "48454152",
        "FE",
        "FD",
        "FDED",
        "7B",
        "7B09001031333830303133383030307B",
        "7B01001631333830303133383030300A00000513897B",
        "7B0500103133383030313338303030",
        &data,
    ];
    let known = known.map(|text| hex(text).unwrap()).to_vec();
    let noise = prop::collection::vec(any::<u8>(), 0..20);
    let part = prop_oneof![4 => prop::sample::select(known), 1 => noise];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same(kind in any_kind(), bytes in stream(), size in 1_usize..9) {
        let mut whole = (wrapping(kind), Up::default());
        whole.0.up(&bytes, &mut whole.1);
        let mut split = (wrapping(kind), Up::default());
        for part in bytes.chunks(size) {
            split.0.up(part, &mut split.1);
        }
        for (wrapping, up) in [&mut whole, &mut split] {
            wrapping.flush(up);
        }
        prop_assert_eq!(whole.1, split.1);
    }

    #[test]
    fn what_is_put_on_comes_off(bytes in prop::collection::vec(any::<u8>(), 1..260)) {
        // Down and up frames differ in their kind alone.
        let four_faith = wrapping(Kind::FourFaith);
        let mut found = Up::default();
        wrapping(Kind::FourFaith).up(&four_faith.down(&bytes), &mut found);
        prop_assert_eq!(&found.payload, &bytes);
        for (kind, server, device) in [(Kind::Ddp { after: false }, 0x89, 0x09), (Kind::Alotcer, 0x32, 0x32)] {
            let mut framed = wrapping(kind).down(&bytes);
            prop_assert_eq!(framed[1], server);
            framed[1] = device;
            let mut found = Up::default();
            wrapping(kind).up(&framed, &mut found);
            prop_assert_eq!(&found.payload, &bytes);
        }
    }
}
