//! Requests that a device leaves unanswered although it answers others: some devices are silent where they should refuse.
//!
//! In: what each poll of a device that answers came to. Out: which requests to leave out of a poll.
//! Invariant: such a request costs its line at most one timeout in 32 polls after a while, is never given up, and one answer ends all.

use std::collections::BTreeMap;

use crate::bus::{Read, Table};

/// Silences in a row before a request is left out.
const FREE: u32 = 3;
/// Polls that a request is left out for at most: two to this power, less one.
const DOUBLINGS: u32 = 5;

/// How one device takes its requests.
#[derive(Clone, Debug, Default)]
pub struct Hushed(BTreeMap<(Table, u16, u16), Hush>);

#[derive(Clone, Copy, Debug, Default)]
struct Hush {
    answered: bool,
    silences: u32,
    left_out: u32,
}

impl Hushed {
    /// Whether to ask `read` in the poll that begins.
    pub fn is_due(&mut self, read: Read) -> bool {
        match self.0.get_mut(&key(read)) {
            Some(hush) if hush.left_out > 0 => {
                hush.left_out -= 1;
                false
            }
            Some(_) | None => true,
        }
    }

    /// How often in a row `read` was not answered.
    pub fn silences(&self, read: Read) -> u32 {
        self.0.get(&key(read)).map_or(0, |hush| hush.silences)
    }

    /// Whether `read` was silent so often that it is about to be left out.
    pub fn is_suspect(&self, read: Read) -> bool {
        self.silences(read) + 1 >= FREE
    }

    /// `read` was answered.
    pub fn answered(&mut self, read: Read) {
        self.0.insert(key(read), Hush { answered: true, silences: 0, left_out: 0 });
    }

    /// Whether `read` was ever answered.
    pub fn is_proven(&self, read: Read) -> bool {
        self.0.get(&key(read)).is_some_and(|hush| hush.answered)
    }

    /// `read` was not answered in a poll in which others were.
    pub fn silent(&mut self, read: Read) {
        let hush = self.0.entry(key(read)).or_default();
        hush.silences = hush.silences.saturating_add(1);
        if let Some(doublings) = hush.silences.checked_sub(FREE) {
            hush.left_out = (2 << doublings.min(DOUBLINGS - 1)) - 1;
        }
    }

    /// Whether any request is left out of polls.
    pub fn is_any(&self) -> bool {
        self.0.values().any(|hush| hush.silences >= FREE)
    }
}

const fn key(read: Read) -> (Table, u16, u16) {
    (read.table, read.address, read.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_request_is_asked_less_and_less_often() {
        let read = Read { table: Table::Holding, address: 0, count: 2 };
        let mut hushed = Hushed::default();
        let mut asked = Vec::new();
        for poll in 0..200 {
            if hushed.is_due(read) {
                asked.push(poll);
                hushed.silent(read);
            }
        }
        assert_eq!(asked, [0, 1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192]);
        assert!(hushed.is_any());
        hushed.answered(read);
        assert!(
            !hushed.is_any() && hushed.is_due(read) && !hushed.is_suspect(read) && hushed.is_proven(read)
        );
    }
}
