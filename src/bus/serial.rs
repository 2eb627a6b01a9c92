//! The serial port of a line: opened alone, told what its driver can do, and its troubles in words.
//!
//! In: a path, speed and format. Out: an open stream, or why there is none and who can help.
//! Invariant: nobody else has the port while it is open here; what the driver can't do is noted once and never stops the line.
//! Source: Modbus over Serial Line V1.02, 2.5 and 3.4 (two-wire RS-485); Linux `tty_ioctl(2)`.
//!
//! An adapter that is pulled out reads zero bytes or gives EIO: the end of the stream. Named by `/dev/serial/by-id/...` it is found again when
//! it comes back, because the path is looked up at each opening.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_serial::{DataBits, ErrorKind, SerialPort, SerialStream, StopBits};

use crate::bus::port::{OpenError, Stream};
use crate::bus::{Parity, SerialFormat, serial_driver};

/// How the driver turns a two-wire transceiver round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rs485 {
    /// RTS is high while sending (and low otherwise); `false`: the other way round.
    pub rts_on_send: bool,
    /// From RTS to the first byte; whole milliseconds.
    pub delay_before: Duration,
    /// From the last byte to RTS; whole milliseconds.
    pub delay_after: Duration,
}

/// Opens the port for this process alone.
///
/// # Errors
/// No such device, no permission (the sentence names the group to join), held by another program.
pub(crate) fn open(
    path: &str,
    format: SerialFormat,
    rs485: Option<Rs485>,
) -> Result<Box<dyn Stream>, OpenError> {
    let settings = tokio_serial::new(path, format.baud)
        .data_bits(if format.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
        .stop_bits(if format.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .parity(match format.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })
        .exclusive(true);
    let failed = |source| OpenError::Serial { path: path.to_owned(), source };
    let stream = SerialStream::open(&settings).map_err(|error| failed(explained(path, error)))?;
    let port = serial_driver::descriptor(&stream);
    if let Err(error) = serial_driver::low_latency(port)
        && is_first("latency", path)
    {
        tracing::debug!(path, %error, "the driver of this port has no low latency; answers may come up to 16 ms later");
    }
    if let Some(wanted) = rs485
        && let Err(error) = serial_driver::rs485(port, wanted)
        && is_first("rs485", path)
    {
        tracing::info!(path, %error, "the driver of this port cannot turn an RS-485 transceiver round; most adapters do it by themselves");
    }
    // What came before this moment answers nothing of ours; what slips through is drained before the first request.
    let _ = stream.clear(tokio_serial::ClearBuffer::Input);
    Ok(Box::new(stream))
}

/// Whether this is the first time that `what` is said of `path`.
fn is_first(what: &'static str, path: &str) -> bool {
    static SAID: Mutex<BTreeSet<(&str, String)>> = Mutex::new(BTreeSet::new());
    SAID.lock().unwrap_or_else(PoisonError::into_inner).insert((what, path.to_owned()))
}

/// The failure in words that say what to do.
fn explained(path: &str, error: tokio_serial::Error) -> io::Error {
    match error.kind {
        // The lock of another process, by `TIOCEXCL` or `flock`: the serial crate calls both so.
        ErrorKind::NoDevice => {
            let words = format!(
                "another program holds it; `fuser -v {path}` names it (often a second lifeline, ModemManager, brltty, gpsd or a terminal)"
            );
            io::Error::new(io::ErrorKind::ResourceBusy, words)
        }
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => {
            io::Error::new(io::ErrorKind::PermissionDenied, permission(path))
        }
        _ => error.into(),
    }
}

/// Which group the user has to join.
fn permission(path: &str) -> String {
    let Ok(found) = std::fs::metadata(path) else { return "permission denied".to_owned() };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    advice(found.mode(), found.gid(), uid.and_then(|uid| named(&users, uid)), &groups)
}

/// What helps with a file of this mode and group; `user` is who we are.
fn advice(mode: u32, gid: u32, user: Option<&str>, groups: &str) -> String {
    const GROUP_MAY: u32 = 0o060;
    let gid = gid.to_string();
    let group = named(groups, &gid).unwrap_or(&gid);
    let user = user.unwrap_or("lifeline");
    if mode & GROUP_MAY != GROUP_MAY || gid == "0" {
        return format!(
            "permission denied; its group {group} may not help: give it to the group dialout by a udev rule, GROUP=\"dialout\", MODE=\"0660\""
        );
    }
    format!(
        "permission denied; add the user {user} to the group {group}: usermod -aG {group} {user}, then start lifeline anew"
    )
}

/// The name of a number in the lines of `/etc/passwd` or `/etc/group`.
fn named<'a>(lines: &'a str, number: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == number).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: SerialFormat =
        SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    const GROUPS: &str = "root:x:0:\ntty:x:5:\ndialout:x:20:anna\n";

    #[test]
    fn permission_names_the_group_to_join() {
        let users = "root:x:0:0:root:/root:/bin/sh\nlifeline:x:998:998::/:/bin/false\n";
        assert_eq!(named(users, "998"), Some("lifeline"));
        let text = advice(0o100_660, 20, named(users, "998"), GROUPS);
        assert_eq!(
            text,
            "permission denied; add the user lifeline to the group dialout: usermod -aG dialout lifeline, then start lifeline anew"
        );
        assert!(advice(0o100_660, 77, Some("x"), GROUPS).contains("group 77: usermod -aG 77 x"));
        assert!(advice(0o100_600, 0, Some("x"), GROUPS).contains("udev rule"));
        assert!(advice(0o100_640, 20, Some("x"), GROUPS).contains("udev rule"));
    }

    #[tokio::test]
    async fn a_held_port_says_who_may_hold_it() {
        let (_near, far) = SerialStream::pair().unwrap();
        let path = far.name().unwrap();
        let held = open(&path, FORMAT, None).unwrap();
        let refused = open(&path, FORMAT, None).err().unwrap().sentence();
        assert!(
            refused.starts_with(&format!("cannot open {path}: another program holds it; `fuser -v {path}`")),
            "{refused}"
        );
        drop(held);
        assert!(open(&path, FORMAT, None).is_ok(), "the lock ends with the port");
    }

    #[tokio::test]
    async fn all_formats_open_on_a_port() {
        for text in ["8N1", "8E1", "8O1", "8N2", "7E1", "7O1", "7N2"] {
            let (_near, far) = SerialStream::pair().unwrap();
            let [data, parity, stop] = *text.as_bytes() else { panic!("{text}") };
            let format = SerialFormat {
                baud: 19_200,
                data_bits: data - b'0',
                parity: match parity {
                    b'E' => Parity::Even,
                    b'O' => Parity::Odd,
                    _ => Parity::None,
                },
                stop_bits: stop - b'0',
            };
            open(&far.name().unwrap(), format, None).map(drop).unwrap_or_else(|error| {
                panic!("{text}: {}", error.sentence());
            });
        }
    }
}
