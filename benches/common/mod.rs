//! What the benches of the running gateway share: a generated site, a server for it, and the child's figures.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_modbus::prelude::*;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};

/// When each connection's requests arrived.
pub type Arrivals = Arc<Mutex<Vec<Vec<Instant>>>>;

/// Answers every holding-register read with register = address, and keeps when that was for its connection.
#[derive(Clone)]
pub struct Registers {
    watch: Option<(Arrivals, usize)>,
}

impl tokio_modbus::server::Service for Registers {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        if let Some((arrivals, connection)) = &self.watch {
            arrivals.lock().unwrap()[*connection].push(Instant::now());
        }
        std::future::ready(match request.request {
            Request::ReadHoldingRegisters(address, count) => {
                Ok(Response::ReadHoldingRegisters((address..address + count).collect()))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// Serves [`Registers`] on a loopback port, on a thread of its own.
pub fn serve() -> SocketAddr {
    serve_as(None)
}

/// The same, and keeps the time of each request by connection.
pub fn serve_watched(arrivals: Arrivals) -> SocketAddr {
    serve_as(Some(arrivals))
}

fn serve_as(arrivals: Option<Arrivals>) -> SocketAddr {
    let (to, from) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            to.send(listener.local_addr().unwrap()).unwrap();
            let server = Server::new(listener);
            let on_connected = |stream: tokio::net::TcpStream, address| {
                let watch = arrivals.as_ref().map(|arrivals| {
                    let mut connections = arrivals.lock().unwrap();
                    connections.push(Vec::new());
                    (Arc::clone(arrivals), connections.len() - 1)
                });
                async move {
                    stream.set_nodelay(true)?;
                    accept_tcp_connection(stream, address, |_| Ok(Some(Registers { watch: watch.clone() })))
                }
            };
            server.serve(&on_connected, |error| eprintln!("{error}")).await.unwrap();
        });
    });
    from.recv().unwrap()
}

/// Writes a site of `devices` TCP devices with `points` points each, polled every second.
pub fn write_site(folder: &Path, server: SocketAddr, devices: usize, points: usize, commit_every: &str) {
    let mut profile = String::from(
        "[profile]\nname = \"bench\"\nclass = \"io\"\nmaker = \"bench\"\nsource = \"made for the bench\"\n",
    );
    for point in 0..points {
        write!(profile, "[[point]]\nname = \"p{point}\"\nat = \"holding {point}\"\ntype = \"u16\"\nscale = 0.1\nunit = \"kPa\"\n").unwrap();
    }
    let mut site = String::new();
    for device in 0..devices {
        write!(site, "[[line]]\nname = \"l{device}\"\ntcp = \"{server}\"\n[[device]]\nname = \"d{device}\"\nline = \"l{device}\"\nslave = 1\nprofile = \"bench\"\nevery = \"1s\"\n").unwrap();
    }
    std::fs::create_dir_all(folder.join("profiles")).unwrap();
    std::fs::create_dir_all(folder.join("site")).unwrap();
    std::fs::write(folder.join("profiles/bench.toml"), profile).unwrap();
    std::fs::write(folder.join("site/site.toml"), site).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = format!(
        "[site]\nname = \"bench\"\n[journal]\npath = \"{0}/journal\"\ncommit_every = \"{commit_every}\"\nmax_size = \"40 GB\"\n[console]\nlisten = \"{free}\"\n[profiles]\npath = \"{0}/profiles\"\n",
        folder.display()
    );
    std::fs::write(folder.join("gateway.toml"), settings).unwrap();
    std::fs::write(folder.join("listen"), free.to_string()).unwrap();
}

/// A running `lifeline run` of the site in `folder`; killed when dropped.
pub struct Gateway {
    child: Child,
    listen: String,
    started: Instant,
}

impl Gateway {
    pub fn start(folder: &Path) -> Self {
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_lifeline"))
            .args(["run", "--log-filter", "error", "--config"])
            .arg(folder.join("gateway.toml"))
            .arg("--site")
            .arg(folder.join("site"))
            .arg("--profiles")
            .arg(folder.join("profiles"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, listen: std::fs::read_to_string(folder.join("listen")).unwrap(), started }
    }

    /// The value of one metric, when the console answers.
    pub fn metric(&self, name: &str) -> Option<f64> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.listen).ok()?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.listen);
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let line = answer.lines().find(|line| line.starts_with(name) && !line.starts_with('#'))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Time from start until the first reading is committed.
    pub fn first_reading(&self) -> Duration {
        while self.metric("lifeline_readings_total").unwrap_or(0.0) < 1.0 {
            assert!(self.started.elapsed() < Duration::from_secs(20), "no reading within 20 s");
            std::thread::sleep(Duration::from_millis(2));
        }
        self.started.elapsed()
    }

    /// User and system seconds used so far.
    pub fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }

    /// Resident memory now and at most, in MB (10^6 bytes).
    pub fn memory_mb(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let of = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
        };
        (of("VmRSS:"), of("VmHWM:"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
