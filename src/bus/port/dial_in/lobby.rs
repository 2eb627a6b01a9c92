//! Connections that have not said who they are: how many there may be, and what is remembered of strangers.
//!
//! In: source addresses that come and go, ids of strangers with the time. Out: whether to let in, whether to log.
//! Invariant: whatever the world sends, memory and log stay bounded.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Unregistered connections of one port.
pub const ALL_MAX: usize = 256;
/// Unregistered connections of one source address, where the port's lines name no other number.
pub const SOURCE_MAX: usize = 8;
/// Strangers that are remembered.
const STRANGERS_MAX: usize = 1000;
/// One stranger is logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(3600);
/// Lines of log about strangers within [`LOG_SPAN`].
const LOGS_MAX: u32 = 10;
const LOG_SPAN: Duration = Duration::from_secs(60);

/// Who waits at one port.
#[derive(Clone, Debug, Default)]
pub struct Lobby(BTreeMap<IpAddr, usize>);

impl Lobby {
    /// Whether one more from `source`, which may have `most`, may wait; then it has to [`Self::leave`] again.
    pub fn enter(&mut self, source: IpAddr, most: usize) -> bool {
        let all: usize = self.0.values().sum();
        let own = self.0.get(&source).copied().unwrap_or(0);
        let room = all < ALL_MAX && own < most;
        if room {
            self.0.insert(source, own + 1);
        }
        room
    }

    /// One from `source` waits no more.
    pub fn leave(&mut self, source: IpAddr) {
        match self.0.get_mut(&source) {
            Some(own) if 1 < *own => *own -= 1,
            _ => {
                self.0.remove(&source);
            }
        }
    }
}

/// Ids that no line has.
#[derive(Clone, Debug, Default)]
pub struct Strangers {
    logged: BTreeMap<Vec<u8>, Instant>,
    lines: u32,
    since: Option<Instant>,
}

impl Strangers {
    /// Whether this one is worth a line in the log.
    pub fn is_news(&mut self, id: &[u8], now: Instant) -> bool {
        if self.since.is_none_or(|since| since + LOG_SPAN <= now) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.logged.get(id).is_some_and(|at| now < *at + LOG_EVERY) || self.lines >= LOGS_MAX {
            return false;
        }
        if self.logged.len() >= STRANGERS_MAX {
            self.logged.retain(|_, at| now < *at + LOG_EVERY);
        }
        if self.logged.len() < STRANGERS_MAX {
            self.logged.insert(id.to_vec(), now);
        }
        self.lines += 1;
        true
    }
}

/// An id for log and screen: printable ASCII as it is, all else as `\x0A`; at most 64 bytes of it.
pub fn escaped(id: &[u8]) -> String {
    let mut text = String::new();
    for byte in id.iter().take(64) {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7E => text.push(char::from(*byte)),
            // A String takes all that is written.
            _ => drop(write!(text, "\\x{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lobby_lets_nobody_in() {
        let mut lobby = Lobby::default();
        let source = |host: usize| IpAddr::from([10, 0, 0, u8::try_from(host).unwrap()]);
        let entered =
            (0..40).flat_map(|host| [host; 10]).filter(|host| lobby.enter(source(*host), SOURCE_MAX)).count();
        assert_eq!(entered, ALL_MAX);
        assert!(!lobby.enter(source(255), SOURCE_MAX));
        lobby.leave(source(0));
        assert!(lobby.enter(source(255), SOURCE_MAX));
        for host in (0..40).flat_map(|host| [host; 10]) {
            lobby.leave(source(host));
        }
        lobby.leave(source(255));
        assert!(lobby.0.is_empty());
        assert_eq!((0..10).filter(|_| lobby.enter(source(1), SOURCE_MAX)).count(), SOURCE_MAX);
        assert_eq!((0..500).filter(|_| lobby.enter(source(2), 200)).count(), 200, "a carrier's one address");
    }

    #[test]
    fn the_log_of_strangers_is_bounded() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let begin = Instant::from_std(std::time::Instant::now());
        let mut strangers = Strangers::default();
        assert!(strangers.is_news(b"A", begin));
        assert!(!strangers.is_news(b"A", begin));
        let mut lines = 0;
        for second in 0..1200_u32 {
            for other in 0..50_u32 {
                let id = (second * 50 + other).to_be_bytes();
                lines += u32::from(strangers.is_news(&id, begin + Duration::from_secs(second.into())));
            }
        }
        assert_eq!(lines, 9 + 19 * 10);
        assert!(strangers.logged.len() <= STRANGERS_MAX);
        assert!(strangers.is_news(b"A", begin + Duration::from_secs(7200)));
    }

    #[test]
    fn ids_cannot_write_into_the_log() {
        assert_eq!(escaped(b"LOGIN:1\r\n\x1b[2J\\"), "LOGIN:1\\x0D\\x0A\\x1B[2J\\\\");
        assert_eq!(escaped(&[b'a'; 500]).len(), 64);
    }
}
