//! TLS to a sink: whom to trust and who we are, from files that may change while we run.
//!
//! In: paths. Out: a client's configuration, and a stamp that tells when the files are others.
//! Invariant: a connection is never made without checking the server, and there is no setting for it.
//! Source: RFC 8446; DESIGN section 9.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

/// Files of one sink's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates (PEM) of those who may sign the server's; without it, those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Our certificate (with those that lead to its signer) and its private key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// When the files were last written, and how long they are.
pub type Stamp = Vec<Option<(SystemTime, u64)>>;

impl Tls {
    /// Tells whether a file is another one than before.
    pub fn stamp(&self) -> Stamp {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let of = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        self.ca.iter().chain(identity).map(of).collect()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// In words: which file, and what is wrong with it.
    pub fn read(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &self.ca {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder
                .with_platform_verifier()
                .map_err(|error| format!("the system's certificates: {error}"))?,
        };
        let Some((certificate, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let unusable = |error: rustls::Error| {
            format!("cannot use {} with {}: {error}", key.display(), certificate.display())
        };
        builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?).map_err(unusable)
    }
}

/// A configuration that trusts nobody, for a client that will not use it.
///
/// # Errors
/// In words: the library has no version in common with itself.
pub fn untrusting() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(path)?).collect();
    let found = found.unwrap_or_default();
    if found.is_empty() {
        Err(format!("{} holds no certificate in PEM form", path.display()))
    } else {
        Ok(found)
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&bytes(path)?)
        .map_err(|_| format!("{} holds no private key in PEM form", path.display()))
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("cannot use {}: {error}", path.display()))?;
    }
    Ok(roots)
}
