//! That there is no line, told so that a person sees why and nothing else scrolls away.
//!
//! In: each request that found none, and why. Out: an [`Entry`] when a request was under way, and else once a second.
//! Invariant: another reason is told at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::bus::Failure;
use crate::bus::says::Says;
use crate::bus::trace::{Entry, Kind};

/// Each device of a line asks in vain.
const EVERY: Duration = Duration::from_secs(1);

/// What was told last, and when.
#[derive(Clone, Debug)]
pub(crate) struct Down(Option<(Instant, String)>);

impl Down {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// The entry for `why`, unless it was just told; `slave` had been asked when the line went down.
    pub(crate) fn entry(&mut self, at: Instant, slave: Option<u8>, why: &str) -> Option<Entry> {
        let is_told = |(told, what): &(Instant, String)| at < *told + EVERY && what == why;
        if slave.is_none() && self.0.as_ref().is_some_and(is_told) {
            return None;
        }
        self.0 = Some((at, why.to_owned()));
        let says = Says::Trouble(why.to_owned());
        Some(Entry { at, kind: Kind::Failed(Failure::LineDown), slave, says, bytes: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_stays_down_says_so_once_a_second() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::from_std(std::time::Instant::now());
        let mut down = Down::new();
        let mut is_told =
            |ms, slave, why| down.entry(start + Duration::from_millis(ms), slave, why).is_some();
        assert!(is_told(0, Some(7), "it closed"));
        assert!(!is_told(10, None, "it closed"));
        assert!(is_told(20, None, "it refuses"), "another reason");
        assert!(!is_told(1019, None, "it refuses"));
        assert!(is_told(1020, None, "it refuses"));
        assert!(is_told(1030, Some(7), "it refuses"), "a request was under way");
    }
}
