//! A simulated line inside TLS.
//!
//! In: the line's `tls` table, a certificate for its devices. Out: connections whose client has proved itself where the table says with what.
//! Invariant: nothing is served before the handshake, which is bounded in time; who fails it ends nobody else's connection.
//! Source: MODBUS/TCP Security Protocol Specification V36 (2021), 5 and 8: both sides show certificates.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::server::tcp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::bus::port::tls::{FileError, Identity, Settings, certificates, private_key};
use crate::sim::line::Line;
use crate::sim::server::{AGAIN, connect, log_connection};

/// A client that says nothing keeps others waiting for so long at most.
const HANDSHAKE_MAX: Duration = Duration::from_secs(2);

/// The devices' side of the line: they show `identity`, and take clients that the line's `ca` has signed, or any where the gateway shows
/// nothing.
///
/// # Errors
/// A file that cannot be read or used.
pub(crate) fn acceptor(line: &Settings, identity: &Identity) -> Result<TlsAcceptor, FileError> {
    let unusable = |path: &Path, why: &dyn std::fmt::Display| FileError::Unusable {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&identity.certificate, &error))?;
    let builder = if line.identity.is_none() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&line.ca)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.map_err(|error| unusable(&line.ca, &error))?)
    };
    let config = builder
        .with_single_cert(certificates(&identity.certificate)?, private_key(&identity.key)?)
        .map_err(|error| unusable(&identity.key, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves the line for ever.
pub(crate) async fn serve(line: Arc<Line>, listener: TcpListener, acceptor: TlsAcceptor, seed: u64) {
    let server = tcp::Server::new(listener);
    let connected = |stream: TcpStream, from: SocketAddr| {
        let (line, acceptor) = (Arc::clone(&line), acceptor.clone());
        async move { Ok(shaken(&acceptor, stream).await.map(|stream| connect(&line, stream, from, seed))) }
    };
    loop {
        if let Err(error) = server.serve(&connected, log_connection).await {
            tracing::debug!(%error, "simulated TLS line begins anew");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The stream inside TLS; `None` when there is none, which the client is told in TLS itself.
async fn shaken(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let shaking = async {
        stream.set_nodelay(true)?;
        acceptor.accept(stream).await
    };
    let shaken = tokio::time::timeout(HANDSHAKE_MAX, shaking).await;
    let shaken: io::Result<_> = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    shaken.map_err(log_connection).ok()
}
