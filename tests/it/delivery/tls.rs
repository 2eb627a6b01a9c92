//! SK-22 to SK-28: TLS. Certificates are made here; the server is rustls over a loopback socket.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::forward::tls::Tls;
use lifeline_gateway::forward::trouble::Kind;
use lifeline_gateway::forward::{Api, Status, Target};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::http::request;
use super::{Desk, now};

/// An authority of the tests.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for `name`, valid in these years.
    pub(super) fn signed(&self, name: &str, (from, to): (i32, i32)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// How a server is set up.
pub(super) struct Setup<'a> {
    pub(super) identity: (String, String),
    /// Who may sign a client's certificate; it must show one then.
    pub(super) clients: Option<&'a Authority>,
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
}

impl<'a> Setup<'a> {
    pub(super) fn new(identity: (String, String)) -> Self {
        Self { identity, clients: None, versions: rustls::ALL_VERSIONS }
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let certificate = CertificateDer::from_pem_slice(self.identity.0.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.identity.1.as_bytes()).unwrap();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()))
    }
}

/// What a server with TLS saw: requests taken, and the certificates that clients showed.
#[derive(Default)]
struct Seen {
    taken: usize,
    attempts: usize,
    plain: usize,
    shown: Vec<Vec<u8>>,
}

/// Answers 204 inside TLS; `cut` ends the connection in the middle of an answer, without a word.
async fn serve(acceptor: TlsAcceptor, cut: usize, seen: Arc<Mutex<Seen>>, listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        seen.lock().unwrap().attempts += 1;
        let mut first = [0];
        let _ = stream.peek(&mut first).await;
        seen.lock().unwrap().plain += usize::from(first == *b"P");
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let shown =
            stream.get_ref().1.peer_certificates().and_then(|shown| shown.first()).map(|one| one.to_vec());
        seen.lock().unwrap().shown.extend(shown);
        // One request each, so that every delivery shakes hands anew.
        if request(&mut stream).await.is_none() {
            continue;
        }
        let number = seen.lock().unwrap().attempts;
        if number <= cut {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{").await;
            // Dropped without close_notify.
            continue;
        }
        seen.lock().unwrap().taken += 1;
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        let _ = stream.shutdown().await;
    }
}

/// A sink for a server that is set up so; the story's end is dropped with the server.
async fn meet<T>(
    setup: &Setup<'_>,
    (host, files, cut): (&str, Tls, usize),
    story: impl AsyncFnOnce(&mut Desk, &Arc<Mutex<Seen>>) -> T,
) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{host}:{}", listener.local_addr().unwrap().port());
    let seen = Arc::<Mutex<Seen>>::default();
    let mut desk = Desk::new();
    desk.commit(3);
    let api = Api::V1 { database: "t".into(), policy: String::new() };
    desk.start(Target::Influx { url, api, token: None, user: None, tls: files, tags: Vec::new() });
    let told = tokio::select! {
        told = story(&mut desk, &seen) => told,
        () = serve(setup.acceptor(), cut, Arc::clone(&seen), listener) => unreachable!(),
    };
    desk.stop().await;
    told
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn held(setup: &Setup<'_>, host: &str, files: Tls) -> Status {
    meet(setup, (host, files, 0), async |desk, seen| {
        let status = desk.until("held", |status| status.held && status.trouble.is_some()).await;
        let begun = now();
        tokio::time::sleep(Duration::from_millis(150)).await;
        let seen = seen.lock().unwrap();
        assert!(seen.attempts <= 5, "{} attempts in {:?}", seen.attempts, now() - begun);
        assert_eq!((seen.taken, seen.plain), (0, 0), "nothing in the clear, nothing unproven");
        assert_eq!(desk.status.lock().unwrap().readings, 0);
        status
    })
    .await
}

/// SK-22, SK-23, SK-24, SK-25, SK-26: each is told apart, names the remedy, and is held: there is no way around the check.
#[tokio::test]
async fn a_server_that_proves_nothing_gets_nothing_and_the_words_name_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ours = Tls { ca: Some(write(folder.path(), "ca.pem", &authority.pem)), identity: None };
    let good = (2020, 4000);
    let cases = [
        (
            "SK-22",
            Setup::new(authority.signed("localhost", (2001, 2002))),
            ours.clone(),
            Kind::TlsExpired,
            "2002-01-01",
        ),
        (
            "SK-23",
            Setup::new(authority.signed("tsdb.example", good)),
            ours.clone(),
            Kind::TlsName,
            "tsdb.example",
        ),
        (
            "SK-24",
            Setup::new(Authority::new().signed("localhost", good)),
            ours.clone(),
            Kind::TlsIssuer,
            "tls.ca",
        ),
        ("SK-24", Setup::new(authority.signed("localhost", good)), Tls::default(), Kind::TlsIssuer, "tls.ca"),
        (
            "SK-25",
            Setup::new(authority.signed("localhost", (3000, 4000))),
            ours.clone(),
            Kind::TlsClock,
            "set the clock",
        ),
        (
            "SK-26",
            Setup { clients: Some(&authority), ..Setup::new(authority.signed("localhost", good)) },
            ours.clone(),
            Kind::Tls,
            "tls.certificate",
        ),
        (
            "SK-28",
            Setup::new(authority.signed("localhost", good)),
            Tls { ca: Some(folder.path().join("nowhere")), identity: None },
            Kind::Settings,
            "cannot read",
        ),
    ];
    for (row, setup, files, kind, words) in &cases {
        let status = held(setup, "localhost", files.clone()).await;
        assert!(status.kinds.contains_key(kind) && status.kinds.len() == 1, "{row}: {status:?}");
        let why = status.trouble.unwrap();
        assert!(why.contains(words), "{row}: {why}");
    }
}

/// SK-26: only TLS 1.0. A server that cannot be had any more is played: it answers the greeting with the alert of RFC 5246.
#[tokio::test]
async fn an_old_server_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let mut desk = Desk::new();
    desk.commit(1);
    desk.start(Target::influx(&url, Api::V1 { database: "t".into(), policy: String::new() }));
    let old = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 512];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut hello).await;
            let _ = stream.write_all(&[0x15, 3, 1, 0, 2, 2, 70]).await;
        }
    };
    let status = tokio::select! {
        status = desk.until("held", |status| status.held && status.trouble.is_some()) => status,
        () = old => unreachable!(),
    };
    assert!(status.trouble.as_ref().is_some_and(|why| why.contains("TLS 1.2")), "{status:?}");
    desk.stop().await;
}

/// SK-27: an answer that is cut off in TLS is none.
#[tokio::test]
async fn a_cut_answer_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let files = Tls { ca: Some(write(folder.path(), "ca.pem", &authority.pem)), identity: None };
    let setup = Setup::new(authority.signed("localhost", (2020, 4000)));
    meet(&setup, ("localhost", files, 2), async |desk, _| {
        let status = desk.drained().await;
        assert_eq!(status.kinds.get(&Kind::LostAck), Some(&2), "{status:?}");
    })
    .await;
}

/// SK-28: a client's certificate is renewed in its files, and the next connection shows the new one; half-written files cost nothing.
#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (old, new) = (authority.signed("gateway", (2020, 4000)), authority.signed("gateway", (2020, 4000)));
    let (certificate, key) = (write(folder.path(), "c.pem", &old.0), write(folder.path(), "k.pem", &old.1));
    let ca = Some(write(folder.path(), "ca.pem", &authority.pem));
    let files = Tls { ca, identity: Some((certificate, key)) };
    let setup =
        Setup { clients: Some(&authority), ..Setup::new(authority.signed("localhost", (2020, 4000))) };
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    meet(&setup, ("localhost", files, 0), async |desk, seen| {
        desk.drained().await;
        assert_eq!(seen.lock().unwrap().shown.last(), Some(&der(&old.0)));
        write(folder.path(), "c.pem", &new.0);
        desk.commit(1);
        desk.drained().await;
        assert_eq!(seen.lock().unwrap().shown.last(), Some(&der(&old.0)), "the key does not fit yet");
        write(folder.path(), "k.pem", &new.1);
        desk.commit(1);
        let status = desk.drained().await;
        assert_eq!(seen.lock().unwrap().shown.last(), Some(&der(&new.0)));
        assert_eq!(status.failures, 0);
    })
    .await;
}
