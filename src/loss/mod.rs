//! Counts of what is discarded, by what and where.
//!
//! In: one call `record` at the place where something is given up. Out: a drained list for log and metrics.
//! Invariant: nothing else counts or logs a loss.

use std::collections::BTreeMap;

/// What was given up. The name is the metric's `reason` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Bytes on a line that belong to no frame of ours.
    StrayBytes,
    /// Frames with a wrong check sum.
    BadChecksum,
    /// Frames that answer another request (late, foreign slave, wrong function or length).
    ForeignFrame,
    /// Polls that were due and not made because the line was busy or the device held back.
    MissedPoll,
    /// Polls that were under way while the documents said something else of their device.
    OutdatedPoll,
    /// Readings that were never journaled because the disk refused for too long.
    UnjournaledReading,
    /// Readings removed by the disk limit before a sink confirmed them.
    CutBeforeSent,
    /// Records that a sink refused for good.
    RejectedRecord,
    /// Records on disk that no longer match their check sum.
    DamagedRecord,
    /// Updates that a slow live listener did not get.
    SlowListener,
    /// Connections of DTUs that no line names.
    UnknownDialIn,
    /// Connections that were closed because they registered too late, wrongly, in too great a number, or made noise.
    RefusedDialIn,
    /// Connections of a DTU that were given up for a newer one.
    ReplacedSession,
    /// Connections of a DTU that came while another one answered.
    DuplicateSession,
}

impl Loss {
    /// Whether readings or alarms are gone with it, and not just bytes or turns.
    pub const fn is_data(self) -> bool {
        matches!(
            self,
            Self::UnjournaledReading | Self::CutBeforeSent | Self::RejectedRecord | Self::DamagedRecord
        )
    }

    /// The snake_case name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StrayBytes => "stray_bytes",
            Self::BadChecksum => "bad_checksum",
            Self::ForeignFrame => "foreign_frame",
            Self::MissedPoll => "missed_poll",
            Self::OutdatedPoll => "outdated_poll",
            Self::UnjournaledReading => "unjournaled_reading",
            Self::CutBeforeSent => "cut_before_sent",
            Self::RejectedRecord => "rejected_record",
            Self::DamagedRecord => "damaged_record",
            Self::SlowListener => "slow_listener",
            Self::UnknownDialIn => "unknown_dial_in",
            Self::RefusedDialIn => "refused_dial_in",
            Self::ReplacedSession => "replaced_session",
            Self::DuplicateSession => "duplicate_session",
        }
    }
}

/// Losses not yet drained, by kind and place (device, line or sink name).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<(Loss, String), u64>);

impl Losses {
    /// Adds `count` losses at `place`; zero is no loss.
    pub fn record(&mut self, loss: Loss, place: &str, count: u64) {
        if count == 0 {
            return;
        }
        if let Some(sum) = self.0.get_mut(&(loss, place.to_owned())) {
            *sum = sum.saturating_add(count);
        } else {
            self.0.insert((loss, place.to_owned()), count);
        }
    }

    /// Takes everything recorded since the last call.
    pub fn drain(&mut self) -> Vec<(Loss, String, u64)> {
        std::mem::take(&mut self.0).into_iter().map(|((loss, place), count)| (loss, place, count)).collect()
    }

    /// Whether nothing was lost since the last drain.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
