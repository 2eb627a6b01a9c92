//! Starts a server on a free loopback port, and ends it by its handle.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A server that may be killed and started again on the same port and data.
pub(crate) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    pub(crate) port: u16,
    child: Option<Child>,
    _folder: TempDir,
}

impl Server {
    /// `arguments` gets the port and an own folder. `None`: not installed.
    pub(crate) fn new(name: &str, arguments: impl FnOnce(u16, &Path) -> Vec<String>) -> Option<Self> {
        let Some(program) = find(name) else {
            assert!(
                std::env::var("LIFELINE_REQUIRE_SERVERS").is_err(),
                "{name} is required and not installed"
            );
            println!("skipped: {name} not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let arguments = arguments(port, folder.path());
        Some(Self { program, arguments, port, child: None, _folder: folder })
    }

    /// Starts it and waits until its port answers.
    pub(crate) fn start(&mut self) {
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        for _ in 0..200 {
            if TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_ok() {
                return;
            }
            pause(Duration::from_millis(50));
        }
        panic!("{} does not answer on {address}", self.program.display());
    }

    /// kill -9: nothing is written out, nobody is told.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Server {
    /// SIGTERM: it writes out what it holds.
    pub(crate) fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/bin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[expect(clippy::disallowed_methods, reason = "a real server has no other clock")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// GET over a plain socket; the body. Bounded to what a test asks for.
pub(crate) fn get(port: u16, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 ") || head.contains(" 204 "), "{head} {body}");
    body.to_owned()
}
