//! A trace as a pcap file that Wireshark and tshark decode.
//!
//! In: [`TraceView`]s in order. Out: bytes of a pcap file: Ethernet, IPv4, TCP for Modbus TCP (also what passed inside TLS) and UDP for all else.
//! Invariant: every byte that passed on the line is in the file (what a DTU says for itself is not the line's), in its order and direction; sequence numbers and check sums are right.
//! Source: libpcap file format 2.4 (microseconds, link type 1); RFC 791, 793, 768, 1071.
//!
//! The hosts are made up: 10.0.0.1 is the gateway, 10.0.0.2 the line. A stream has port 502 as Modbus TCP does. RTU frames have no stream of
//! their own, so each piece is one datagram, port 5020, and a reader must be told: `tshark -r FILE -d udp.port==5020,mbrtu`. Modbus ASCII and text sensors have port 5021:
//! no reader decodes them, and their bytes are text.

use crate::clock::Timestamp;
use crate::console::trace::TraceView;

/// What stands before the first packet.
pub(crate) fn head() -> Vec<u8> {
    let words: [u32; 6] = [0xA1B2_C3D4, 0x0004_0002, 0, 0, 65_535, 1];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Port of a Modbus TCP server.
const TCP_PORT: u16 = 502;
/// Port that stands for an RTU line.
const RTU_PORT: u16 = 5020;
/// Port that stands for a line of text: Modbus ASCII, or a text sensor.
const TEXT_PORT: u16 = 5021;
/// Port of the gateway's side.
const OWN_PORT: u16 = 49_502;
const OWN_HOST: [u8; 4] = [10, 0, 0, 1];
const LINE_HOST: [u8; 4] = [10, 0, 0, 2];

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 2;
const ACK: u8 = 16;
const PUSH_ACK: u8 = 24;

/// Writes packets; holds where both directions of the stream are.
#[derive(Debug, Default)]
pub(crate) struct Pcap {
    begun: bool,
    /// Next sequence number of the gateway's side and of the line's.
    next: [u32; 2],
    id: u16,
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Gateway,
    Line,
}

impl Pcap {
    /// The packets of one entry; none for an entry without bytes.
    pub(crate) fn emit(&mut self, view: &TraceView) -> Vec<u8> {
        let bytes: Option<Vec<u8>> =
            view.hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        let is_lines = !matches!(view.kind.as_str(), "heard" | "told");
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty() && is_lines) else { return Vec::new() };
        let at = Timestamp::parse(&view.time).unwrap_or_default();
        let from = if view.kind == "request" { From::Gateway } else { From::Line };
        if view.framing == "mbap" {
            let mut packets = self.handshake(at);
            packets.extend(self.segment(from, PUSH_ACK, &bytes, at));
            packets
        } else {
            let port = if view.framing == "rtu" { RTU_PORT } else { TEXT_PORT };
            self.datagram(from, port, &bytes, at)
        }
    }

    /// The stream's begin, before its first bytes.
    fn handshake(&mut self, at: Timestamp) -> Vec<u8> {
        if std::mem::replace(&mut self.begun, true) {
            return Vec::new();
        }
        let mut packets = self.segment(From::Gateway, SYN, &[], at);
        packets.extend(self.segment(From::Line, SYN | ACK, &[], at));
        packets.extend(self.segment(From::Gateway, ACK, &[], at));
        packets
    }

    fn segment(&mut self, from: From, flags: u8, bytes: &[u8], at: Timestamp) -> Vec<u8> {
        let [gateway, line] = self.next;
        let (sequence, other) = if from == From::Gateway { (gateway, line) } else { (line, gateway) };
        let acknowledged = if flags & ACK == 0 { 0 } else { other };
        let (source, target) = ports(from, TCP_PORT);
        let mut segment = Vec::new();
        segment.extend(source.to_be_bytes());
        segment.extend(target.to_be_bytes());
        segment.extend(sequence.to_be_bytes());
        segment.extend(acknowledged.to_be_bytes());
        segment.extend([0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
        segment.extend(bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(0) + u32::from(flags & SYN != 0);
        let moved = sequence.wrapping_add(length);
        self.next = if from == From::Gateway { [moved, line] } else { [gateway, moved] };
        self.packet(from, TCP, &segment, 16, at)
    }

    fn datagram(&mut self, from: From, port: u16, bytes: &[u8], at: Timestamp) -> Vec<u8> {
        let (source, target) = ports(from, port);
        let mut datagram = Vec::new();
        datagram.extend(source.to_be_bytes());
        datagram.extend(target.to_be_bytes());
        datagram.extend(u16::try_from(bytes.len() + 8).unwrap_or(u16::MAX).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(bytes);
        self.packet(from, UDP, &datagram, 6, at)
    }

    /// Ethernet and IPv4 around `payload`, whose check sum stands at `sum_at`.
    fn packet(&mut self, from: From, protocol: u8, payload: &[u8], sum_at: usize, at: Timestamp) -> Vec<u8> {
        let (source, target) =
            if from == From::Gateway { (OWN_HOST, LINE_HOST) } else { (LINE_HOST, OWN_HOST) };
        let length = u16::try_from(payload.len()).unwrap_or(0);
        let mut pseudo = [source, target].concat();
        pseudo.extend([0, protocol]);
        pseudo.extend(length.to_be_bytes());
        pseudo.extend(payload);
        let mut payload = payload.to_vec();
        put(&mut payload, sum_at, sum(&pseudo));
        self.id = self.id.wrapping_add(1);
        let mut ip = vec![0x45, 0];
        ip.extend((length + 20).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend([0x40, 0, 64, protocol, 0, 0]);
        ip.extend(source);
        ip.extend(target);
        let check = sum(&ip);
        put(&mut ip, 10, check);
        let hosts: [u8; 12] = if from == From::Gateway {
            [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]
        } else {
            [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]
        };
        let frame = [hosts.as_slice(), &[8, 0], &ip, &payload].concat();
        let ms = u64::try_from(at.as_millis()).unwrap_or(0);
        let size = u32::try_from(frame.len()).unwrap_or(0);
        let word = |number: u64| u32::try_from(number).unwrap_or(0);
        let record = [word(ms / 1000), word(ms % 1000 * 1000), size, size];
        record.iter().flat_map(|word| word.to_le_bytes()).chain(frame).collect()
    }
}

const fn ports(from: From, line: u16) -> (u16, u16) {
    match from {
        From::Gateway => (OWN_PORT, line),
        From::Line => (line, OWN_PORT),
    }
}

fn put(bytes: &mut [u8], at: usize, number: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

/// The Internet check sum; of UDP zero would mean that there is none.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut total: u32 = words.sum();
    while total > 0xFFFF {
        total = (total & 0xFFFF) + (total >> 16);
    }
    match u16::try_from(total) {
        Ok(folded) if folded != 0xFFFF => !folded,
        _ => 0xFFFF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(kind: &str, framing: &str, hex: &str) -> TraceView {
        TraceView {
            time: "2026-11-23T08:00:00.123Z".to_owned(),
            framing: framing.to_owned(),
            kind: kind.to_owned(),
            hex: hex.to_owned(),
            ..TraceView::default()
        }
    }

    #[test]
    fn the_internet_check_sum_is_the_rfc_s() {
        // RFC 1071, 3.
        assert_eq!(sum(&[0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]), !0xDDF2);
        assert_eq!(sum(&[0xFF, 0xFF]), 0xFFFF);
        assert_eq!(sum(&[0x12]), !0x1200);
    }

    #[test]
    fn a_stream_begins_once_and_counts_its_bytes() {
        let mut pcap = Pcap::default();
        let first = pcap.emit(&view("request", "mbap", "00 01 00 00 00 06 11 03 00 00 00 01"));
        // Three packets of the handshake, one with 12 bytes; 70 bytes around each.
        assert_eq!(first.len(), 70 * 4 + 12);
        let second = pcap.emit(&view("answer", "mbap", "00 01 00 00 00 05 11 03 02 00 06"));
        assert_eq!((second.len(), pcap.next), (81, [13, 12]));
        assert!(pcap.emit(&view("failed", "mbap", "")).is_empty());
        let datagram = pcap.emit(&view("discarded", "rtu", "00 FF"));
        assert_eq!(datagram.len(), 16 + 14 + 20 + 8 + 2);
        // The port of the line's side, behind record, Ethernet, IPv4 and our own port.
        let mut port =
            |framing| pcap.emit(&view("request", framing, "3A 31"))[16 + 14 + 20 + 2..][..2].to_vec();
        assert_eq!(
            ["rtu", "ascii", "text"].map(&mut port),
            [RTU_PORT, TEXT_PORT, TEXT_PORT].map(|port| port.to_be_bytes().to_vec())
        );
        assert!(pcap.emit(&view("heard", "mbap", "3A 31")).is_empty(), "not the line's own");
    }
}
