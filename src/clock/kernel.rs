//! What the kernel knows of time: which start of the box this is, how long ago it was, and whether the clock is synchronised.
//!
//! In: `/proc` and `adjtimex(2)`. Out: plain values.
//! Invariant: only asks; nothing is set.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// The kernel's name for this start of the box; empty where it has none.
pub(crate) fn boot() -> Arc<str> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}

/// How long ago the box was started, to a hundredth of a second; zero where nobody knows.
pub(crate) fn up() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Whether the kernel says that a time source disciplines its clock. Source: `adjtimex(2)`, TIME_ERROR and STA_UNSYNC.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the state of the clock has no safe wrapper")]
pub(crate) fn synchronised() -> bool {
    // SAFETY: all zeros is a valid `timex` that sets nothing; the kernel fills it and keeps no pointer.
    let (state, status) = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut clock), clock.status)
    };
    (0..libc::TIME_ERROR).contains(&state) && status & libc::STA_UNSYNC == 0
}

/// Nobody to ask.
#[cfg(not(target_os = "linux"))]
pub(crate) fn synchronised() -> bool {
    false
}
