//! Modbus ASCII in front of a server that speaks RTU: `tokio-modbus` has no ASCII.
//!
//! In: a byte stream of ASCII frames. Out: the same frames as RTU to whoever reads, and RTU answers as ASCII to the stream.
//! Invariant: a frame with a wrong check sum is never passed on; hexadecimal and LRC are made here once more, so that both sides cannot
//! share a mistake; at most one frame in each direction is held.
//! Source: Modbus over Serial Line V1.02, 2.5.2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bus::rtu::crc16;

/// The longest frame: colon, 255 bytes in hexadecimal, check sum, line end.
const FRAME_MAX: usize = 1 + 2 * 256 + 2;

/// A stream of ASCII frames, as one of RTU frames.
pub(crate) struct Ascii<T> {
    inner: T,
    /// Characters of the frame that is coming in.
    coming: Vec<u8>,
    /// RTU bytes for the reader.
    ready: Vec<u8>,
    /// RTU bytes of the answer so far.
    answer: Vec<u8>,
    /// Characters that wait to go out.
    going: Vec<u8>,
}

impl<T> Ascii<T> {
    /// Around the stream that leads to the gateway.
    pub(crate) const fn new(inner: T) -> Self {
        Self { inner, coming: Vec::new(), ready: Vec::new(), answer: Vec::new(), going: Vec::new() }
    }

    fn take(&mut self, characters: &[u8]) {
        for character in characters {
            if *character == b':' || FRAME_MAX < self.coming.len() {
                self.coming.clear();
            }
            self.coming.push(*character);
            if self.coming.ends_with(b"\r\n") {
                let body = body_of(&std::mem::take(&mut self.coming));
                self.ready.extend(body.into_iter().flat_map(sealed));
            }
        }
    }

    /// Takes bytes of an answer; whole frames go out.
    fn answer(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.answer.push(*byte);
            if let Some((body, sum)) = self.answer.split_last_chunk::<2>()
                && 3 <= body.len()
                && crc16(body) == u16::from_le_bytes(*sum)
            {
                self.going.extend(characters(body));
                self.answer.clear();
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> Ascii<T> {
    fn push_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.going.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(context, &self.going))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => drop(self.going.drain(..count)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Ascii<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.ready.is_empty() {
            let mut chunk = [0; 256];
            let mut buffer = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.take(buffer.filled());
        }
        let count = self.ready.len().min(into.remaining());
        into.put_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Ascii<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.push_out(context))?;
        self.answer(bytes);
        // What does not go out now goes out with the next write or flush.
        if let Poll::Ready(Err(error)) = self.push_out(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.push_out(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.push_out(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// Slave and PDU of a frame; `None` for one that is damaged.
fn body_of(frame: &[u8]) -> Option<Vec<u8>> {
    let digits = frame.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let mut bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes.pop();
    (sum == 0 && 2 <= bytes.len()).then_some(bytes)
}

fn characters(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    let digits: String = body.iter().chain([&sum]).map(|byte| format!("{byte:02X}")).collect();
    format!(":{digits}\r\n").into_bytes()
}

fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let sum = crc16(&body);
    body.extend(sum.to_le_bytes());
    body
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn frames_pass_both_ways_and_damaged_ones_do_not() {
        let (near, mut far) = tokio::io::duplex(256);
        let mut ascii = Ascii::new(near);
        // The second one is Modbus over Serial Line V1.02's way of writing 17, function 3; the first one is damaged.
        far.write_all(b"x:110300000001EC\r\n:1103006B00037E\r\n").await.unwrap();
        let mut request = [0; 8];
        ascii.read_exact(&mut request).await.unwrap();
        assert_eq!(request, [0x11, 3, 0, 0x6B, 0, 3, 0x76, 0x87]);
        let answer = sealed(vec![0x11, 3, 2, 0x02, 0x2B]);
        let (head, tail) = answer.split_at(3);
        ascii.write_all(head).await.unwrap();
        ascii.write_all(tail).await.unwrap();
        ascii.flush().await.unwrap();
        let mut said = [0; 15];
        far.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b":110302022BBD\r\n");
    }
}
