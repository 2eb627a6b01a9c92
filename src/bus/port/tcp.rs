//! A connection that we open.
//!
//! In: `host:port`. Out: a connection that notices by itself when the other side is gone.
//! Invariant: names are resolved anew each time, and every address of a name is tried; all of it within [`CONNECT_MAX`].
//! Source: RFC 8305, 5 (the next address is tried beside a slow one); RFC 5482 (user timeout).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::bus::port::OpenError;

/// A connection that takes longer to come up is of no use to a poll.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(3);
/// So long one address is tried alone.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Silence after which the other side is asked for a sign of life, how often then, and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);
/// Bytes that nobody acknowledges for this long end the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(90);

/// Connects to the first address of `to` that answers.
pub(crate) async fn connect(to: &str) -> Result<TcpStream, OpenError> {
    connect_by(to, async { Ok(tokio::net::lookup_host(to).await?.collect()) }).await
}

/// The same with another way to resolve the name.
async fn connect_by(
    to: &str,
    resolve: impl Future<Output = io::Result<Vec<SocketAddr>>>,
) -> Result<TcpStream, OpenError> {
    let first = async { race(resolve.await?).await };
    let stream = match timeout(CONNECT_MAX, first).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(OpenError::Connect { to: to.to_owned(), source }),
        Err(_) => return Err(OpenError::Silent { to: to.to_owned() }),
    };
    watch(&stream);
    Ok(stream)
}

/// The first of the connections that comes up; they begin one after the other, at once when the one before has failed.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut open = FuturesUnordered::new();
    let mut trouble = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    open.extend(waiting.next().map(TcpStream::connect));
    loop {
        let next = async {
            match waiting.len() {
                0 => std::future::pending().await,
                _ => sleep(NEXT_ADDRESS).await,
            }
        };
        tokio::select! {
            ended = open.next() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => trouble = error,
                None => return Err(trouble),
            },
            () = next => {}
        }
        open.extend(waiting.next().map(TcpStream::connect));
    }
}

/// Lets the system notice a peer that vanished. A connection works without it, so failures are passed over.
pub(crate) fn watch(stream: &TcpStream) {
    // Without it a request may wait 40 ms for the acknowledgement of the last one.
    let _ = stream.set_nodelay(true);
    let (after, every, times) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(after).with_interval(every).with_retries(times);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Nobody listens there.
    async fn closed() -> SocketAddr {
        listen().await.1
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        let (_listener, good) = listen().await;
        let addresses = vec![closed().await, closed().await, good];
        let stream = connect_by("plc:502", async { Ok(addresses) }).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn ipv6_and_names_are_connected_to() {
        let (_listener, good) = listen().await;
        let stream = connect(&format!("localhost:{}", good.port())).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), good.port());
        let six = TcpListener::bind("[::1]:0").await.unwrap();
        let to = six.local_addr().unwrap().to_string();
        assert!(to.starts_with("[::1]:"), "{to}");
        assert_eq!(connect(&to).await.unwrap().peer_addr().unwrap().to_string(), to);
    }

    #[tokio::test]
    async fn trouble_names_its_kind() {
        let none = connect_by("plc:502", async { Ok(Vec::new()) }).await.unwrap_err();
        assert_eq!(none.sentence(), "cannot connect to plc:502: the name has no address");
        let unknown = connect("plc.invalid:502").await.unwrap_err().sentence();
        assert!(unknown.starts_with("cannot connect to plc.invalid:502: "), "{unknown}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_that_is_silent_costs_no_more_than_a_device_that_is() {
        let silent = connect_by("plc:502", std::future::pending()).await.unwrap_err();
        assert_eq!(silent.sentence(), "cannot connect to plc:502: no answer within 3 s");
    }

    #[tokio::test]
    async fn the_system_watches_the_connection() {
        let (_listener, address) = listen().await;
        let stream = connect(&address.to_string()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(15));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
