//! A site's time zone, for sentences that people read; stored times are UTC.
//!
//! In: an IANA name, moments. Out: text. Invariant: a name that this box does not know is UTC, and each text has its offset.

use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// The zone in which times are told.
///
/// ```
/// use lifeline_gateway::clock::{Timestamp, zone::Zone};
/// let at = Timestamp::parse("2026-11-23T08:00:00Z").unwrap();
/// assert_eq!(Zone::named("Asia/Shanghai").tell(at), "2026-11-23 16:00:00 +08:00");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone of this IANA name.
    pub fn named(name: &str) -> Self {
        TimeZone::get(name).map_or_else(|_| Self::default(), Self)
    }

    /// The zone of this box.
    pub fn of_box() -> Self {
        Self(TimeZone::system())
    }

    /// Its IANA name; UTC for one without.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// `2026-11-23 16:00:00 +08:00`.
    pub fn tell(&self, at: Timestamp) -> String {
        self.form(at, "%Y-%m-%d %H:%M:%S %:z").unwrap_or_else(|| at.to_string())
    }

    /// The time in a form of `strftime`; `None` beyond the years that a calendar has.
    pub fn form(&self, at: Timestamp, form: &str) -> Option<String> {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
        Some(at.to_zoned_datetime(self.0.clone()).strftime(form).to_string())
    }
}
