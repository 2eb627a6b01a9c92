//! The packets that a publishing client needs, of MQTT 3.1.1 and 5: CONNECT, PUBLISH, PINGREQ, DISCONNECT out; CONNACK, PUBACK,
//! PINGRESP, DISCONNECT in.
//!
//! In: what to say; bytes of a broker. Out: bytes; packets, or what is wrong with the bytes.
//! Invariant: no bytes make it panic; a packet above [`PACKET_MAX`] is refused before its body is waited for.
//! Source: OASIS MQTT 3.1.1 and 5.0, chapters 2 and 3.

/// Bytes of an incoming packet at most; we subscribe to nothing, so that no large one has a reason.
pub const PACKET_MAX: usize = 256 * 1024;

/// Which MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1.
    V311,
    /// 5.0.
    V5,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    /// Which MQTT.
    pub version: Version,
    /// Client id.
    pub client_id: &'a str,
    /// Seconds.
    pub keep_alive_s: u16,
    /// User name, and password.
    pub user: Option<(&'a str, &'a str)>,
    /// Topic and payload of the last will.
    pub will: Option<(&'a str, &'a str)>,
    /// The will is retained.
    pub retain: bool,
}

/// A message on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Where to.
    pub topic: &'a str,
    /// What.
    pub payload: &'a str,
    /// Its packet id, not 0.
    pub id: u16,
    /// The broker keeps it.
    pub retain: bool,
}

/// What a broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Its answer to CONNECT.
    Connack(Connack),
    /// A message is taken, or not.
    Puback {
        /// Packet id.
        id: u16,
        /// 0 in 3.1.1.
        reason: u8,
        /// In the broker's words.
        text: String,
    },
    /// It is there.
    Pingresp,
    /// It ends the connection.
    Disconnect {
        /// Why.
        reason: u8,
        /// In the broker's words.
        text: String,
    },
    /// A packet that means nothing to a client that only publishes.
    Other(u8),
}

/// The answer to CONNECT, and what the broker allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// 0: accepted.
    pub code: u8,
    /// In the broker's words.
    pub text: String,
    /// Messages without an acknowledgement at most.
    pub receive_max: u16,
    /// Bytes of a packet at most.
    pub packet_max: usize,
    /// It takes QoS 1.
    pub qos: bool,
    /// It keeps retained messages.
    pub retain: bool,
    /// Its own keep-alive, in seconds.
    pub keep_alive_s: Option<u16>,
}

/// Bytes that are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the text says it")]
pub enum PacketError {
    #[error("the length of a packet does not end")]
    Length,
    #[error("a packet of {0} bytes")]
    Large(usize),
    #[error("a packet of type {0} that does not hold together")]
    Malformed(u8),
}

/// "I am still there."
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// The packet that begins a connection, always with a clean start.
pub fn connect(connect: &Connect<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    let v5 = connect.version == Version::V5;
    body.push(if v5 { 5 } else { 4 });
    let mut flags = 0x02;
    flags |= match connect.will {
        Some(_) if connect.retain => 0x2C,
        Some(_) => 0x0C,
        None => 0,
    };
    flags |= if connect.user.is_some() { 0xC0 } else { 0 };
    body.push(flags);
    body.extend(connect.keep_alive_s.to_be_bytes());
    if v5 {
        // Maximum packet size: what the other side should not even try.
        let most = u32::try_from(PACKET_MAX).unwrap_or(u32::MAX).to_be_bytes();
        body.extend([5, 0x27]);
        body.extend(most);
    }
    text(&mut body, connect.client_id);
    if let Some((topic, payload)) = connect.will {
        if v5 {
            body.push(0);
        }
        text(&mut body, topic);
        text(&mut body, payload);
    }
    if let Some((user, password)) = connect.user {
        text(&mut body, user);
        text(&mut body, password);
    }
    packet(0x10, &body)
}

/// Appends a PUBLISH at QoS 1.
pub fn publish(out: &mut Vec<u8>, version: Version, publish: &Publish<'_>) {
    let mut body =
        Vec::with_capacity(publish.topic.len().saturating_add(publish.payload.len()).saturating_add(5));
    text(&mut body, publish.topic);
    body.extend(publish.id.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(publish.payload.as_bytes());
    out.extend(packet(if publish.retain { 0x33 } else { 0x32 }, &body));
}

/// The packet of an orderly end: the broker forgets the last will.
pub const fn disconnect() -> [u8; 2] {
    [0xE0, 0]
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len().saturating_add(5));
    out.push(head);
    let mut left = body.len();
    loop {
        let digit = u8::try_from(left % 128).unwrap_or(0);
        left /= 128;
        out.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

/// A text with its length; one that is too long for MQTT is cut.
fn text(out: &mut Vec<u8>, text: &str) {
    let most = text.len().min(usize::from(u16::MAX));
    let text = (0..=most).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    out.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend(text.as_bytes());
}

/// The first packet in `bytes` and its length; `None` while it is not whole.
///
/// # Errors
/// The bytes are no MQTT, or the packet is too large.
pub fn parse(version: Version, bytes: &[u8]) -> Result<Option<(Incoming, usize)>, PacketError> {
    let Some((&head, rest)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0_usize;
    let mut digits = 0_usize;
    loop {
        let Some(&digit) = rest.get(digits) else {
            return if digits < 4 { Ok(None) } else { Err(PacketError::Length) };
        };
        length |= usize::from(digit & 0x7F) << (7 * digits);
        digits += 1;
        if digit & 0x80 == 0 {
            break;
        }
        if digits == 4 {
            return Err(PacketError::Length);
        }
    }
    if length > PACKET_MAX {
        return Err(PacketError::Large(length));
    }
    let Some(body) = rest.get(digits..digits.saturating_add(length)) else { return Ok(None) };
    let kind = head >> 4;
    let incoming = match kind {
        2 => connack(version, body),
        4 => puback(version, body),
        13 => Some(Incoming::Pingresp),
        14 => disconnected(body),
        0 | 15 => None,
        other => Some(Incoming::Other(other)),
    };
    let incoming = incoming.ok_or(PacketError::Malformed(kind))?;
    Ok(Some((incoming, length.saturating_add(digits).saturating_add(1))))
}

fn connack(version: Version, body: &[u8]) -> Option<Incoming> {
    let (&[_, code], rest) = body.split_first_chunk::<2>()?;
    let mut connack = Connack {
        code,
        text: String::new(),
        receive_max: u16::MAX,
        packet_max: usize::MAX,
        qos: true,
        retain: true,
        keep_alive_s: None,
    };
    if version == Version::V5 {
        for (id, value) in properties(rest)? {
            match (id, value) {
                (0x13, Value::Number(seconds)) => connack.keep_alive_s = u16::try_from(seconds).ok(),
                (0x1F, Value::Text(text)) => connack.text = text,
                (0x21, Value::Number(most)) => connack.receive_max = u16::try_from(most).ok()?.max(1),
                (0x24, Value::Number(most)) => connack.qos = most > 0,
                (0x25, Value::Number(keeps)) => connack.retain = keeps > 0,
                (0x27, Value::Number(most)) => connack.packet_max = usize::try_from(most).ok()?,
                _ => {}
            }
        }
    }
    Some(Incoming::Connack(connack))
}

fn puback(version: Version, body: &[u8]) -> Option<Incoming> {
    let (id, rest) = body.split_first_chunk::<2>()?;
    let id = u16::from_be_bytes(*id);
    let (reason, text) = if version == Version::V5 { reasoned(rest)? } else { (0, String::new()) };
    Some(Incoming::Puback { id, reason, text })
}

fn disconnected(body: &[u8]) -> Option<Incoming> {
    let (reason, text) = reasoned(body)?;
    Some(Incoming::Disconnect { reason, text })
}

/// A reason, 0 when it is left out, and its words.
fn reasoned(body: &[u8]) -> Option<(u8, String)> {
    let Some((&reason, rest)) = body.split_first() else { return Some((0, String::new())) };
    let found = if rest.is_empty() { Vec::new() } else { properties(rest)? };
    let text = found.into_iter().find_map(|property| match property {
        (0x1F, Value::Text(text)) => Some(text),
        _ => None,
    });
    Some((reason, text.unwrap_or_default()))
}

enum Value {
    Number(u32),
    Text(String),
    Other,
}

fn properties(bytes: &[u8]) -> Option<Vec<(u8, Value)>> {
    let (length, rest) = varint(bytes)?;
    let mut rest = rest.get(..length)?;
    let mut found = Vec::new();
    while let Some((&id, after)) = rest.split_first() {
        let (value, left) = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => {
                let (&number, left) = after.split_first()?;
                (Value::Number(u32::from(number)), left)
            }
            0x13 | 0x21 | 0x22 | 0x23 => {
                let (number, left) = after.split_first_chunk::<2>()?;
                (Value::Number(u32::from(u16::from_be_bytes(*number))), left)
            }
            0x02 | 0x11 | 0x18 | 0x27 => {
                let (number, left) = after.split_first_chunk::<4>()?;
                (Value::Number(u32::from_be_bytes(*number)), left)
            }
            0x0B => (Value::Other, varint(after)?.1),
            0x26 => (Value::Other, string(string(after)?.1)?.1),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
                let (text, left) = string(after)?;
                (Value::Text(String::from_utf8_lossy(text).into_owned()), left)
            }
            _ => return None,
        };
        found.push((id, value));
        rest = left;
    }
    Some(found)
}

fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for digits in 0..4 {
        let digit = *bytes.get(digits)?;
        value |= usize::from(digit & 0x7F) << (7 * digits);
        if digit & 0x80 == 0 {
            return Some((value, bytes.get(digits.saturating_add(1)..)?));
        }
    }
    None
}

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// A reason code in words; those of CONNACK in 3.1.1 are 1 to 5.
pub const fn words(reason: u8) -> &'static str {
    match reason {
        0x01 => "unacceptable protocol version",
        0x02 | 0x85 => "client identifier not valid",
        0x03 | 0x88 => "server unavailable",
        0x04 | 0x86 => "bad user name or password",
        0x05 | 0x87 => "not authorized",
        0x10 => "no matching subscribers",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x89 => "server busy",
        0x8A => "banned",
        0x8B => "server shutting down",
        0x8C => "bad authentication method",
        0x8D => "keep alive timeout",
        0x8E => "session taken over",
        0x90 => "topic name invalid",
        0x93 => "receive maximum exceeded",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9A => "retain not supported",
        0x9B => "QoS not supported",
        0x9C => "use another server",
        0x9D => "server moved",
        0x9F => "connection rate exceeded",
        _ => "unspecified",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::v5 as five;

    use super::*;

    /// An independent client's codec reads what we write.
    #[test]
    fn another_codec_reads_our_packets() {
        let hello = Connect {
            version: Version::V5,
            client_id: "lifeline-nanan-01",
            keep_alive_s: 15,
            user: Some(("nanan-01", "secret")),
            will: Some(("lifeline/nanan-01/status", "{}")),
            retain: true,
        };
        let mut bytes = bytes::BytesMut::from(connect(&hello).as_slice());
        let five::Packet::Connect(read, will, login) = five::Packet::read(&mut bytes, None).unwrap() else {
            panic!("no CONNECT")
        };
        assert_eq!(
            (read.client_id.as_str(), read.keep_alive, read.clean_start),
            ("lifeline-nanan-01", 15, true)
        );
        assert_eq!(read.properties.unwrap().max_packet_size, Some(262_144));
        let will = will.unwrap();
        assert_eq!(
            (will.topic.as_ref(), will.message.as_ref(), will.retain),
            (&b"lifeline/nanan-01/status"[..], &b"{}"[..], true)
        );
        let login = login.unwrap();
        assert_eq!((login.username.as_str(), login.password.as_str()), ("nanan-01", "secret"));
        let mut out = Vec::new();
        publish(
            &mut out,
            Version::V5,
            &Publish { topic: "a/b", payload: &"x".repeat(300), id: 7, retain: true },
        );
        let five::Packet::Publish(read) =
            five::Packet::read(&mut bytes::BytesMut::from(out.as_slice()), None).unwrap()
        else {
            panic!("no PUBLISH")
        };
        assert_eq!(
            (read.topic.as_ref(), read.payload.len(), read.pkid, read.retain),
            (&b"a/b"[..], 300, 7, true)
        );
    }

    #[test]
    fn what_a_broker_says() {
        let connack = [0x20, 15, 1, 0, 12, 0x13, 0, 5, 0x21, 0, 10, 0x24, 0, 0x25, 0, 0x2A, 1];
        let (Incoming::Connack(read), length) = parse(Version::V5, &connack).unwrap().unwrap() else {
            panic!()
        };
        assert_eq!(length, 17);
        assert_eq!(
            (read.code, read.receive_max, read.qos, read.retain, read.keep_alive_s),
            (0, 10, false, false, Some(5))
        );
        let ack = [0x40, 2, 0, 9, 0xD0, 0];
        let expected = Incoming::Puback { id: 9, reason: 0, text: String::new() };
        assert_eq!(parse(Version::V311, &ack).unwrap(), Some((expected.clone(), 4)));
        assert_eq!(parse(Version::V5, &ack).unwrap(), Some((expected, 4)));
        assert_eq!(parse(Version::V5, &ack[4..]).unwrap(), Some((Incoming::Pingresp, 2)));
        let ack = [0x40, 9, 0, 9, 0x87, 5, 0x1F, 0, 2, b'n', b'o'];
        let expected = Incoming::Puback { id: 9, reason: 0x87, text: "no".to_owned() };
        assert_eq!(parse(Version::V5, &ack).unwrap(), Some((expected, 11)));
        assert_eq!(parse(Version::V5, &ack[..7]).unwrap(), None);
        assert_eq!(
            parse(Version::V5, &[0xE0, 0]).unwrap().unwrap().0,
            Incoming::Disconnect { reason: 0, text: String::new() }
        );
        assert_eq!(parse(Version::V5, &[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Err(PacketError::Length));
        assert_eq!(parse(Version::V5, &[0x30, 0x80, 0x80, 0x80, 0x7F]), Err(PacketError::Large(127 << 21)));
        assert_eq!(parse(Version::V5, &[0x40, 1, 9]), Err(PacketError::Malformed(4)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, five: bool) {
            let version = if five { Version::V5 } else { Version::V311 };
            if let Ok(Some((_, length))) = parse(version, &bytes) {
                prop_assert!(length <= bytes.len() && length >= 2);
            }
        }

        /// What comes in parts is read as what comes at once.
        #[test]
        fn half_a_packet_is_waited_for(id in 1_u16.., cut in 0_usize..3) {
            let [high, low] = id.to_be_bytes();
            let bytes = [0x40, 2, high, low];
            prop_assert_eq!(parse(Version::V5, &bytes[..cut]).unwrap(), None);
        }
    }
}
