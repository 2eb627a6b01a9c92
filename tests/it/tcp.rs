//! Lines over TCP and TLS against real sockets, with a server that is not ours where the server answers right.
//! These tests run in real time on loopback.

#![expect(clippy::disallowed_methods, reason = "sockets live in real time, and the test serves both sides")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::port::tls;
use lifeline_gateway::bus::{Address, Exchange, Failure, LineSettings, Read, Slave, Table};
use lifeline_gateway::loss::Losses;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::prelude::*;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_rustls::TlsAcceptor;

const READ: Read = Read { table: Table::Holding, address: 2, count: 2 };
const TIMEOUT: Duration = Duration::from_millis(500);

fn master(address: Address) -> Master {
    Master::new(LineSettings { timeout: TIMEOUT, ..LineSettings::plain("line", address) })
}

async fn ask(master: &mut Master, slave: u8) -> Exchange {
    master.read(Slave(slave), READ, TIMEOUT, &mut Losses::default()).await
}

/// Holding register n of unit u holds 100 u + n; unit 10 and 11 are refused as a gateway does.
#[derive(Clone)]
struct Plc;

impl Service for Plc {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let unit = request.slave;
        std::future::ready(match request.request {
            _ if unit == 10 => Err(ExceptionCode::GatewayPathUnavailable),
            _ if unit == 11 => Err(ExceptionCode::GatewayTargetDevice),
            Request::ReadHoldingRegisters(first, count) => Ok(Response::ReadHoldingRegisters(
                (first..first + count).map(|n| u16::from(unit) * 100 + n).collect(),
            )),
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// A server on this address that counts its connections.
async fn plc(at: &str) -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let connected = |stream: TcpStream, _| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            std::future::ready(Ok(Some((Plc, stream))))
        };
        Server::new(listener).serve(&connected, |_| ()).await.unwrap();
    });
    (address, connections)
}

#[tokio::test]
async fn the_units_of_one_endpoint_share_one_connection() {
    let (address, connections) = plc("127.0.0.1:0").await;
    let mut master = master(Address::Tcp(address.to_string()));
    for unit in [1, 7, 2, 10, 11, 1] {
        let outcome = ask(&mut master, unit).await.outcome;
        let wanted = match unit {
            10 | 11 => Err(Failure::Exception(unit)),
            _ => Ok(vec![u16::from(unit) * 100 + 2, u16::from(unit) * 100 + 3]),
        };
        assert_eq!(outcome, wanted);
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn ipv6_and_host_names_lead_to_a_device() {
    let (six, _) = plc("[::1]:0").await;
    let (four, _) = plc("127.0.0.1:0").await;
    for to in [six.to_string(), four.to_string(), format!("localhost:{}", four.port())] {
        let outcome = ask(&mut master(Address::Tcp(to.clone())), 3).await.outcome;
        assert_eq!(outcome, Ok(vec![302, 303]), "{to}");
    }
}

/// Answers the first request of a connection with `bytes` behind its transaction id, then ends as `abort` says.
async fn breaking(bytes: &'static [u8], abort: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut first = true;
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 12];
            while socket.read_exact(&mut request).await.is_ok() {
                let answer: &[u8] = if first { bytes } else { &[0, 0, 0, 7, 1, 3, 4, 0, 102, 0, 103] };
                socket.write_all(&[&request[..2], answer].concat()).await.unwrap();
                if first {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    break;
                }
            }
            if first && abort {
                socket.set_zero_linger().unwrap();
            }
            first = false;
        }
    });
    address
}

#[tokio::test]
async fn an_end_in_the_middle_of_an_answer_is_a_lost_line_and_the_next_request_succeeds() {
    for abort in [false, true] {
        let address = breaking(&[0, 0, 0, 7, 1, 3, 4, 0], abort).await;
        let mut master = master(Address::Tcp(address.to_string()));
        let begun = tokio::time::Instant::now();
        assert_eq!(ask(&mut master, 1).await.outcome, Err(Failure::LineDown), "abort {abort}");
        assert!(begun.elapsed() < TIMEOUT, "it is known at once");
        let trouble = master.trouble().unwrap();
        let why = if abort { "Connection reset by peer" } else { "the other side closed" };
        assert!(trouble.ends_with(why), "{trouble}");
        assert_eq!(ask(&mut master, 1).await.outcome, Ok(vec![102, 103]), "abort {abort}");
    }
}

#[tokio::test]
async fn a_half_open_connection_is_given_up_after_three_timeouts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut master = master(Address::Tcp(listener.local_addr().unwrap().to_string()));
    let served = tokio::spawn(async move {
        let (_silent, _) = listener.accept().await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 12];
        socket.read_exact(&mut request).await.unwrap();
        socket.write_all(&[&request[..2], &[0, 0, 0, 7, 1, 3, 4, 0, 1, 0, 2]].concat()).await.unwrap();
        socket
    });
    for _ in 0..3 {
        assert_eq!(ask(&mut master, 1).await.outcome, Err(Failure::Timeout));
    }
    assert_eq!(ask(&mut master, 1).await.outcome, Ok(vec![1, 2]));
    drop(served.await.unwrap());
}

// ---- Modbus/TCP Security

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// A certificate for `name` and its key, as files.
    pub(crate) fn sign(&self, folder: &Path, name: &str) -> tls::Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |ending: &str, text: String| {
            let path = folder.join(format!("{name}.{ending}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        tls::Identity { certificate: write("pem", certificate.pem()), key: write("key", key.serialize_pem()) }
    }

    pub(crate) fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.issuer.pem()).unwrap();
        path
    }
}

/// What passed inside TLS: bytes to the device, and from it.
pub(crate) type Passed = Arc<Mutex<[Vec<u8>; 2]>>;

/// A device behind TLS that wants certificates of `authority`.
pub(crate) async fn secure_plc(authority: &Path, identity: &tls::Identity) -> (SocketAddr, Passed) {
    let passed = Passed::default();
    let read =
        |path: &Path| CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read(authority));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(read(&identity.certificate), PrivateKeyDer::from_pem_file(&identity.key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (plain, _) = plc("127.0.0.1:0").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = Arc::clone(&passed);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, passed) = (acceptor.clone(), Arc::clone(&kept));
            tokio::spawn(async move {
                let Ok(outer) = acceptor.accept(socket).await else { return };
                let (from, to) = tokio::io::split(outer);
                let (inner_from, inner_to) = TcpStream::connect(plain).await.unwrap().into_split();
                tokio::select! {
                    () = carry(from, inner_to, &passed, 0) => {}
                    () = carry(inner_from, to, &passed, 1) => {}
                }
            });
        }
    });
    (address, passed)
}

/// Carries bytes until one side ends, and keeps them.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &Passed,
    way: usize,
) {
    let mut piece = [0; 512];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        passed.lock().unwrap()[way].extend_from_slice(&piece[..count]);
        if to.write_all(&piece[..count]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_secure_line_trusts_and_is_trusted_by_certificates_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (ca, other_ca) = (ours.write(folder, "ca.pem"), other.write(folder, "other.pem"));
    // As after the authority was set up anew.
    let namesake_ca = Authority::new("ours").write(folder, "namesake.pem");
    let to = secure_plc(&ca, &ours.sign(folder, "plc-1")).await.0.to_string();
    let settings = tls::Settings {
        to: to.clone(),
        ca,
        identity: Some(ours.sign(folder, "gateway")),
        name: "plc-1".to_owned(),
    };
    let line = |settings: tls::Settings| master(Address::Tls(Box::new(settings)));

    assert_eq!(ask(&mut line(settings.clone()), 3).await.outcome, Ok(vec![302, 303]));

    let cannot = format!("cannot speak TLS with {to}: ");
    let refusals = [
        (
            tls::Settings { ca: other_ca.clone(), ..settings.clone() },
            format!("{cannot}its certificate is not signed by one of {}", other_ca.display()),
        ),
        (
            tls::Settings { ca: namesake_ca.clone(), ..settings.clone() },
            format!("{cannot}its certificate is not signed by one of {}", namesake_ca.display()),
        ),
        (
            tls::Settings { name: "plc-2".to_owned(), ..settings.clone() },
            format!("{cannot}its certificate is for another name (set `name`)"),
        ),
        (
            tls::Settings { identity: None, ..settings.clone() },
            format!("{to}: it wants a client certificate (set `certificate` and `key`)"),
        ),
        (
            tls::Settings { identity: Some(other.sign(folder, "stranger")), ..settings.clone() },
            format!("{to}: it refuses our certificate (UnknownCA)"),
        ),
    ];
    for (settings, wanted) in refusals {
        let mut master = line(settings);
        assert_eq!(ask(&mut master, 3).await.outcome, Err(Failure::LineDown), "{wanted}");
        assert_eq!(master.trouble().unwrap(), wanted);
    }
    let (plain, _) = plc("127.0.0.1:0").await;
    let mut master = line(tls::Settings { to: plain.to_string(), ..settings });
    assert_eq!(ask(&mut master, 3).await.outcome, Err(Failure::LineDown));
    assert!(master.trouble().unwrap().starts_with("cannot speak TLS with "), "{:?}", master.trouble());
}

#[test]
fn files_that_do_not_fit_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("ours");
    let ca = authority.write(folder, "ca.pem");
    let identity = authority.sign(folder, "gateway");
    let other = authority.sign(folder, "other");
    let settings = |ca: &Path, certificate: &Path, key: &Path| tls::Settings {
        to: "10.0.0.5:802".to_owned(),
        ca: ca.to_owned(),
        identity: Some(tls::Identity { certificate: certificate.to_owned(), key: key.to_owned() }),
        name: "10.0.0.5".to_owned(),
    };
    let (certificate, key) = (identity.certificate.as_path(), identity.key.as_path());
    settings(&ca, certificate, key).read().unwrap();
    let why = |settings: tls::Settings| settings.read().unwrap_err().to_string();
    let missing = folder.join("missing.pem");
    assert_eq!(
        why(settings(&missing, certificate, key)),
        format!("cannot read {}: No such file or directory", missing.display())
    );
    assert_eq!(
        why(settings(key, certificate, key)),
        format!("{} holds no certificate in PEM form", key.display())
    );
    assert_eq!(
        why(settings(&ca, certificate, certificate)),
        format!("{} holds no private key in PEM form", certificate.display())
    );
    let mixed = why(settings(&ca, certificate, &other.key));
    assert!(mixed.starts_with(&format!("cannot use {}: ", other.key.display())), "{mixed}");
}
