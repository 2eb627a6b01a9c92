//! What a serial driver is told beside speed and format: low latency, and the direction of an RS-485 transceiver.
//!
//! In: an open port. Out: whether its driver took it; a pty and many USB adapters know neither.
//! Invariant: the only unsafe code of this room: these calls have no safe wrapper. A refusal leaves the port as it was.
//! Source: Linux `include/uapi/linux/serial.h` (`serial_struct`, `serial_rs485`) and `asm-generic/ioctls.h`.

use std::io;
use std::os::fd::BorrowedFd;

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64"
))]
use rustix::ioctl::{Opcode, Updater, ioctl};

use crate::bus::serial::Rs485;

/// `struct serial_struct`: as the driver gives it; only `flags` is changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Settings {
    kind: i32,
    line: i32,
    port: u32,
    irq: i32,
    flags: u32,
    xmit_fifo_size: i32,
    custom_divisor: i32,
    baud_base: i32,
    close_delay: u16,
    io_type: u8,
    reserved: u8,
    hub6: i32,
    closing_wait: [u16; 2],
    iomem_base: usize,
    iomem_reg_shift: u16,
    port_high: u32,
    iomap_base: usize,
}

/// `struct serial_rs485`: delays in milliseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    flags: u32,
    delay_before_ms: u32,
    delay_after_ms: u32,
    padding: [u32; 5],
}

/// `ASYNC_LOW_LATENCY`: received bytes are handed up at once (FTDI: after 1 ms instead of 16 ms).
const LOW_LATENCY: u32 = 1 << 13;
const RS485_ENABLED: u32 = 1;
const RTS_ON_SEND: u32 = 1 << 1;
const RTS_AFTER_SEND: u32 = 1 << 2;

/// Asks the driver to hand up received bytes at once.
///
/// # Errors
/// The driver has no such setting, or refuses it.
pub(crate) fn low_latency(port: BorrowedFd<'_>) -> io::Result<()> {
    let mut settings = Settings::default();
    update(Call::GetSettings, port, &mut settings)?;
    if settings.flags & LOW_LATENCY != 0 {
        return Ok(());
    }
    settings.flags |= LOW_LATENCY;
    update(Call::SetSettings, port, &mut settings)
}

/// Lets the driver turn the transceiver round with RTS.
///
/// # Errors
/// The driver has no such setting, or refuses it.
pub(crate) fn rs485(port: BorrowedFd<'_>, wanted: Rs485) -> io::Result<()> {
    let ms = |span: std::time::Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    let active = if wanted.rts_on_send { RTS_ON_SEND } else { RTS_AFTER_SEND };
    let mut direction = Direction {
        flags: RS485_ENABLED | active,
        delay_before_ms: ms(wanted.delay_before),
        delay_after_ms: ms(wanted.delay_after),
        padding: [0; 5],
    };
    update(Call::SetDirection, port, &mut direction)
}

#[derive(Clone, Copy)]
enum Call {
    GetSettings,
    SetSettings,
    SetDirection,
}

/// Types that a driver reads and writes behind the pointer of its call.
trait Plain {}
impl Plain for Settings {}
impl Plain for Direction {}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm", target_arch = "riscv64"))]
fn update<T: Plain>(call: Call, port: BorrowedFd<'_>, value: &mut T) -> io::Result<()> {
    const GET_SETTINGS: Opcode = 0x541E;
    const SET_SETTINGS: Opcode = 0x541F;
    const SET_DIRECTION: Opcode = 0x542F;
    #[expect(unsafe_code, reason = "serial ioctls have no safe wrapper")]
    // SAFETY: `T` is one of the two structures above, laid out as the kernel's header has them; each call is paired with its own in the
    // functions above, and the kernel reads and writes at most that structure.
    let done = unsafe {
        match call {
            Call::GetSettings => ioctl(port, Updater::<GET_SETTINGS, T>::new(value)),
            Call::SetSettings => ioctl(port, Updater::<SET_SETTINGS, T>::new(value)),
            Call::SetDirection => ioctl(port, Updater::<SET_DIRECTION, T>::new(value)),
        }
    };
    done.map_err(io::Error::from)
}

/// Elsewhere these calls have other numbers.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64"
)))]
fn update<T: Plain>(_: Call, _: BorrowedFd<'_>, _: &mut T) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The descriptor of an open port.
pub(crate) fn descriptor<T: std::os::fd::AsRawFd>(port: &T) -> BorrowedFd<'_> {
    #[expect(unsafe_code, reason = "the serial crate lends its descriptor only as a number")]
    // SAFETY: the port is open and borrowed for as long as the descriptor.
    unsafe {
        BorrowedFd::borrow_raw(port.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_serial::SerialStream;

    use super::*;

    #[test]
    fn the_structures_are_as_large_as_the_kernels() {
        let pointers = 2 * size_of::<usize>();
        assert_eq!(size_of::<Settings>(), if pointers == 16 { 72 } else { 60 });
        assert_eq!(size_of::<Direction>(), 32);
    }

    #[tokio::test]
    async fn a_pty_refuses_and_stays_usable() {
        let (_near, far) = SerialStream::pair().unwrap();
        let wanted =
            Rs485 { rts_on_send: true, delay_before: Duration::ZERO, delay_after: Duration::from_millis(1) };
        assert!(rs485(descriptor(&far), wanted).is_err());
        // Linux answers the question on a pty with ENOTTY as well.
        assert!(low_latency(descriptor(&far)).is_err());
    }
}
