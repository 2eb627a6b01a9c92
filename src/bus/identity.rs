//! The identity that a device tells of itself (FC 43/14): maker, model, version and more.
//!
//! In: the PDU of an answer; a slave. Out: objects by number, in rising order.
//! Invariant: a page counts only whole; following pages is bounded and always goes up.
//! Source: Modbus Application Protocol V1.1b3, 6.21.

use std::time::Duration;

use crate::bus::ask::{Ask, Extent, PDU_MAX};
use crate::bus::master::Master;
use crate::bus::pdu::Answer;
use crate::bus::{Failure, Slave};
use crate::loss::Losses;

/// Encapsulated interface transport.
pub const FUNCTION: u8 = 0x2B;
/// Read device identification, the kind of transport.
pub const KIND: u8 = 0x0E;
/// An identity of more pages than this is not followed further.
const PAGES_MAX: usize = 16;

/// One page of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Number and bytes (mostly ASCII) of each object: 0 maker, 1 product code, 2 version, 3 URL, 4 product name,
    /// 5 model, 6 user's name, 0x80 and above the maker's own.
    pub objects: Vec<(u8, Vec<u8>)>,
    /// The next page's first object.
    pub next: Option<u8>,
}

/// How long a page is that begins with `pdu`; of any level without `level`.
pub(crate) fn extent(pdu: &[u8], level: Option<u8>) -> Extent {
    let (head, mut rest) = match pdu.split_first_chunk::<7>() {
        Some((head, rest)) => (head.as_slice(), rest),
        None => (pdu, [].as_slice()),
    };
    let wanted = [Some(FUNCTION), Some(KIND), level];
    if head.iter().zip(wanted).any(|(byte, wanted)| wanted.is_some_and(|wanted| wanted != *byte)) {
        return Extent::Never;
    }
    let Some(objects) = head.get(6) else { return Extent::Open };
    let mut length = 7;
    for _ in 0..*objects {
        let bytes = rest.get(1).map_or(0, |bytes| usize::from(*bytes));
        length += 2 + bytes;
        match rest.get(2 + bytes..) {
            _ if length > PDU_MAX => return Extent::Never,
            Some(later) => rest = later,
            None => return Extent::Open,
        }
    }
    Extent::Whole(length)
}

/// The page that `pdu` is.
pub(crate) fn parse(pdu: &[u8], level: u8) -> Option<Page> {
    let [FUNCTION, KIND, code, _conformity, more, next, count, rest @ ..] = pdu else { return None };
    if *code != level || extent(pdu, Some(level)) != Extent::Whole(pdu.len()) {
        return None;
    }
    let (mut objects, mut rest) = (Vec::new(), rest);
    for _ in 0..*count {
        let [number, bytes, later @ ..] = rest else { return None };
        let (value, later) = later.split_at_checked(usize::from(*bytes))?;
        objects.push((*number, value.to_vec()));
        rest = later;
    }
    Some(Page { objects, next: (*more == 0xFF).then_some(*next) })
}

impl Master {
    /// Asks for all that a device says of itself, by number in rising order: the regular identity, or the basic one of
    /// a device that refuses more. `timeout` holds for each page.
    ///
    /// # Errors
    /// The failure of the first page that didn't come; most devices refuse with exception 1.
    pub async fn identify(
        &mut self,
        slave: Slave,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Result<Vec<(u8, Vec<u8>)>, Failure> {
        match self.identity(slave, 2, timeout, losses).await {
            // Illegal function is final; other refusals mean this level.
            Err(Failure::Exception(code)) if code != 1 => self.identity(slave, 1, timeout, losses).await,
            found => found,
        }
    }

    async fn identity(
        &mut self,
        slave: Slave,
        level: u8,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Result<Vec<(u8, Vec<u8>)>, Failure> {
        let (mut objects, mut object) = (Vec::new(), 0);
        for _ in 0..PAGES_MAX {
            let asked = self.ask(slave, &Ask::Identity { level, object }, timeout, losses).await;
            let Answer::Identity(page) = asked.outcome? else { return Err(Failure::BadFrame) };
            objects.extend(page.objects);
            match page.next {
                Some(next) if next > object => object = next,
                _ => break,
            }
        }
        objects.sort();
        objects.dedup_by_key(|(number, _)| *number);
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of 6.21: three objects in one page.
    fn example() -> Vec<u8> {
        let mut pdu = vec![0x2B, 0x0E, 1, 1, 0, 0, 3];
        for (number, text) in [(0, "Company identification"), (1, "Product code XX"), (2, "V2.11")] {
            pdu.extend([number, u8::try_from(text.len()).unwrap()]);
            pdu.extend(text.as_bytes());
        }
        pdu
    }

    #[test]
    fn a_page_is_read_whole_or_not_at_all() {
        let pdu = example();
        let page = parse(&pdu, 1).unwrap();
        assert_eq!(page.next, None);
        assert_eq!(page.objects[0], (0, b"Company identification".to_vec()));
        assert_eq!(page.objects[2], (2, b"V2.11".to_vec()));
        assert_eq!(parse(&pdu, 2), None, "another level");
        assert_eq!(parse(&[pdu.clone(), vec![0]].concat(), 1), None);
        for length in 0..pdu.len() {
            assert_eq!(extent(&pdu[..length], Some(1)), Extent::Open, "{length}");
            assert_eq!(parse(&pdu[..length], 1), None);
        }
        assert_eq!(extent(&pdu, Some(1)), Extent::Whole(pdu.len()));
    }

    #[test]
    fn a_page_is_bounded() {
        let huge = [&[0x2B, 0x0E, 1, 1, 0, 0, 2, 0, 250], [0x20; 250].as_slice()].concat();
        assert_eq!(extent(&huge, Some(1)), Extent::Never);
        assert_eq!(extent(&[0x2B, 0x0D], None), Extent::Never);
    }

    #[test]
    fn more_follows_names_the_next_object() {
        let pdu = [0x2B, 0x0E, 2, 0x82, 0xFF, 4, 1, 3, 1, b'u'];
        let page = parse(&pdu, 2).unwrap();
        assert_eq!((page.next, page.objects), (Some(4), vec![(3, b"u".to_vec())]));
    }
}
