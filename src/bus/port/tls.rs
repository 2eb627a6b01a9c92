//! Modbus/TCP Security: a connection that we open, inside TLS, with certificates on both sides.
//!
//! In: `host:port`, the files of our certificates. Out: an encrypted stream, or a plain sentence why there is none.
//! Invariant: files are read anew at each connection, so renewed certificates need no restart; nothing is sent before the other
//! side has proved itself.
//! Source: MODBUS/TCP Security Protocol Specification V36 (2021), 5 and 8: TLS 1.2 or later, port 802.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bus::port::{OpenError, Stream, plain, tcp};
use crate::clock::{Clock, SystemClock, certificate};

/// The port of Modbus/TCP Security.
pub const PORT: u16 = 802;
/// So long before its end the other side's certificate is told of.
const AHEAD: Duration = Duration::from_secs(30 * 86_400);

/// Where to, and with which files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// `host:port`.
    pub to: String,
    /// Certificates (PEM) of those who may sign the other side's certificate.
    pub ca: PathBuf,
    /// Our certificate and its key (PEM); `None` where the other side wants none.
    pub identity: Option<Identity>,
    /// The name in the other side's certificate.
    pub name: String,
}

/// Files that say who we are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Our certificate, with those that lead to its signer.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is wrong with a file or a name.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {}", path.display(), plain(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{} holds no {wanted} in PEM form", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What should stand there.
        wanted: &'static str,
    },
    /// What stands there cannot be used.
    #[error("cannot use {}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why, in the library's words.
        why: String,
    },
    /// Not a name that a certificate can have.
    #[error("`{0}` is not the name of a host")]
    Name(String),
}

impl Settings {
    /// Reads the files, and checks that they fit together.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(&self) -> Result<(ClientConfig, ServerName<'static>), FileError> {
        let name = ServerName::try_from(self.name.clone()).map_err(|_| FileError::Name(self.name.clone()))?;
        let unusable = |path: &Path, why: &dyn std::fmt::Display| FileError::Unusable {
            path: path.to_owned(),
            why: why.to_string(),
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|error| unusable(&self.ca, &error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&self.ca, &error))?
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| unusable(key, &error))?,
        };
        Ok((config, name))
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// All certificates of a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(path)?).collect();
    let found = found.unwrap_or_default();
    if found.is_empty() {
        return Err(FileError::Empty { path: path.to_owned(), wanted: "certificate" });
    }
    Ok(found)
}

/// The first private key of a PEM file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&bytes(path)?)
        .map_err(|_| FileError::Empty { path: path.to_owned(), wanted: "private key" })
}

/// Connects and shakes hands, each within [`tcp::CONNECT_MAX`].
pub(crate) async fn open(settings: &Settings) -> Result<Box<dyn Stream>, OpenError> {
    let to = || settings.to.clone();
    let (config, name) = settings.read().map_err(|source| OpenError::Tls { to: to(), source })?;
    let stream = tcp::connect(&settings.to).await?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout(tcp::CONNECT_MAX, shaken).await {
        Ok(Ok(stream)) => {
            warn_of_end(settings, &stream);
            Ok(Box::new(Plain { stream, ca: settings.ca.clone() }))
        }
        Ok(Err(error)) => Err(OpenError::Untrusted { to: to(), why: sentence(&error, &settings.ca) }),
        Err(_) => {
            let seconds = tcp::CONNECT_MAX.as_secs();
            let why = format!("it does not speak TLS within {seconds} s (is it plain Modbus TCP?)");
            Err(OpenError::Untrusted { to: to(), why })
        }
    }
}

/// The other side's certificate can be seen only here.
fn warn_of_end(settings: &Settings, stream: &TlsStream<TcpStream>) {
    let theirs = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let Some(ends) = theirs.and_then(|der| certificate::ends(der)) else { return };
    if ends <= SystemClock::new().now().plus(AHEAD) {
        tracing::warn!(to = %settings.to, %ends, "the certificate of the other side is about to end");
    }
}

/// A TLS failure in words for a person who sets certificates up.
fn sentence(error: &io::Error, ca: &Path) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else { return plain(error) };
    match inner {
        // The second one: by another authority of the same name, such as an earlier one.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            format!("its certificate is not signed by one of {}", ca.display())
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired (or our clock is wrong)".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet (or our clock is wrong)".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name (set `name`)".to_owned(),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a client certificate (set `certificate` and `key`)".to_owned()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => format!("it refuses our certificate ({alert:?})"),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => other.to_string(),
    }
}

/// A stream whose trouble is told in words: in TLS 1.3 a refusal of our certificate comes with the first answer.
struct Plain {
    stream: TlsStream<TcpStream>,
    ca: PathBuf,
}

impl Plain {
    fn told<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        polled.map_err(|error| io::Error::new(error.kind(), sentence(&error, &self.ca)))
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        self.told(polled)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.told(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.told(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.told(polled)
    }
}
