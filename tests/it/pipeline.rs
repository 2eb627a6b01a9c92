//! Several requests at once to Modbus TCP devices whose profile allows it, polled by the task of the real gateway.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::port::{Opening, Port};
use lifeline_gateway::clock::SystemClock;
use lifeline_gateway::decode::Raw;
use lifeline_gateway::gateway::line::{LineTask, Orders, Polled, Ports};
use lifeline_gateway::site::{self, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio_modbus::prelude::*;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};

/// Eight points, each in a request of its own, of one device at `tcp`.
fn site(limits: &str, tcp: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let head = "[profile]\nname = \"probe\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n";
    let point = |at: u16| format!("[[point]]\nname = \"p{at}\"\nat = \"holding {at}\"\ntype = \"u16\"\n");
    let points: String = (1..9).map(|n| point(n * 100)).collect();
    let device = "[[device]]\nname = \"d\"\nline = \"a\"\nslave = 1\nprofile = \"probe\"\nevery = \"1s\"\n";
    std::fs::create_dir_all(path("site")).unwrap();
    std::fs::create_dir_all(path("profiles")).unwrap();
    std::fs::write(path("site/site.toml"), format!("[[line]]\nname = \"a\"\ntcp = \"{tcp}\"\n{device}"))
        .unwrap();
    std::fs::write(path("profiles/probe.toml"), format!("{head}[limits]\n{limits}\n{points}")).unwrap();
    let options =
        site::Options { site: path("site"), profiles: Some(path("profiles")), ..site::Options::default() };
    let (site, found, _) = site::load(&options);
    site.unwrap_or_else(|| panic!("{found:?}"))
}

fn task(site: &Site, master: Master) -> (LineTask, mpsc::Receiver<Polled>) {
    let (to, polled) = mpsc::channel(1000);
    let told = Orders::of(site);
    let (_, orders) = watch::channel(told.clone());
    let ports = Ports { clock: Arc::new(SystemClock::new()), polled: to, orders };
    (LineTask::over(master, &site.lines[0], &told.site, ports), polled)
}

/// How a device takes requests that come while it is at another.
#[derive(Clone, Copy)]
enum Habit {
    /// It collects what comes within 50 ms and answers the last one first.
    Backwards,
    /// It takes 50 ms for one and forgets what came meanwhile.
    Forgetful,
}

/// A Modbus TCP device in tokio's time that keeps how many requests it had at once.
#[derive(Clone)]
struct Device {
    habit: Habit,
    at_once: Arc<Mutex<Vec<usize>>>,
}

impl Device {
    fn new(habit: Habit) -> Self {
        Self { habit, at_once: Arc::default() }
    }

    async fn serve(self, mut stream: DuplexStream) {
        let mut bytes = vec![0; 1024];
        loop {
            let mut got = stream.read(&mut bytes).await.unwrap_or(0);
            if got == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            while let Ok(Ok(more)) =
                tokio::time::timeout(Duration::from_millis(1), stream.read(&mut bytes[got..])).await
            {
                got += more;
            }
            let mut answers: Vec<Vec<u8>> = bytes[..got].chunks(12).map(answer).collect();
            self.at_once.lock().unwrap().push(answers.len());
            match self.habit {
                Habit::Backwards => answers.reverse(),
                Habit::Forgetful => answers.truncate(1),
            }
            if stream.write_all(&answers.concat()).await.is_err() {
                return;
            }
        }
    }
}

/// The answer to a read of one register, which holds its own address.
fn answer(request: &[u8]) -> Vec<u8> {
    let &[high, low, 0, 0, 0, 6, unit, 3, a, b, 0, 1] = request else { panic!("{request:?}") };
    vec![high, low, 0, 0, 0, 5, unit, 3, 2, a, b]
}

impl Port for Device {
    fn open(&mut self) -> Opening<'_> {
        let (near, far) = tokio::io::duplex(4096);
        beside(self.clone().serve(far));
        Box::pin(std::future::ready(Ok(Box::new(near) as _)))
    }
}

#[expect(clippy::disallowed_methods, reason = "the devices of a test run beside their master")]
fn beside(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Polls of `device` by the gateway's task in `time`.
async fn polls(device: &Device, limits: &str, time: Duration) -> Vec<Polled> {
    let site = site(limits, "10.0.0.5:502");
    let master = Master::over(site.lines[0].settings.clone(), Box::new(device.clone()));
    let (mut task, mut polled) = task(&site, master);
    assert!(tokio::time::timeout(time, task.run()).await.is_err());
    std::iter::from_fn(|| polled.try_recv().ok()).collect()
}

/// The numbers that a poll gave; a point that holds its own address is right.
fn numbers(polled: &Polled) -> Vec<f64> {
    let number = |raw: &_| if let Ok(Raw::Number(number)) = raw { *number } else { f64::NAN };
    polled.batch.raws.iter().map(|(_, raw)| number(raw)).collect()
}

const RIGHT: [f64; 8] = [100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0];

#[tokio::test(start_paused = true)]
async fn answers_out_of_order_come_to_their_points_and_a_poll_takes_less_time() {
    let device = Device::new(Habit::Backwards);
    let polled = polls(&device, "pipeline = 4", Duration::from_secs(60)).await;
    assert!(polled.len() > 50);
    for one in &polled {
        assert_eq!(numbers(one), RIGHT);
    }
    let at_once = device.at_once.lock().unwrap().clone();
    assert_eq!(at_once[..3], [1, 4, 3], "nobody knows a new device: it is asked one thing first");
    assert!(at_once[60..].iter().all(|count| *count == 4), "{at_once:?}");
    let last = &polled.last().unwrap().batch;
    assert!(last.end.as_millis() - last.start.as_millis() <= 104, "two times 51 ms");
}

#[tokio::test(start_paused = true)]
async fn without_the_key_there_is_never_a_second_request_under_way() {
    let device = Device::new(Habit::Forgetful);
    let polled = polls(&device, "", Duration::from_secs(20)).await;
    assert!(polled.len() > 15 && polled.iter().all(|one| numbers(one) == RIGHT));
    assert!(device.at_once.lock().unwrap().iter().all(|count| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_forgets_what_comes_together_loses_no_reading_and_is_told() {
    let device = Device::new(Habit::Forgetful);
    let polled = polls(&device, "pipeline = 4\ntimeout = \"400ms\"", Duration::from_secs(60)).await;
    assert!(polled.iter().all(|one| numbers(one) == RIGHT));
    let at_once = device.at_once.lock().unwrap().clone();
    assert_eq!(at_once.iter().filter(|count| **count > 1).count(), 3, "then it is believed");
    let advice = polled.last().unwrap().advice.clone().unwrap();
    assert!(advice.contains("one request at a time"), "{advice}");
}

/// Holding register n holds n; counts its requests.
#[derive(Clone)]
struct Registers(Arc<AtomicUsize>);

impl tokio_modbus::server::Service for Registers {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::ready(match request.request {
            Request::ReadHoldingRegisters(first, count) => {
                Ok(Response::ReadHoldingRegisters((first..first + count).collect()))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

#[tokio::test]
async fn a_server_that_is_not_ours_answers_what_comes_together() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    beside(async move {
        let connected = |stream, address| {
            let service = Registers(Arc::clone(&counted));
            async move { accept_tcp_connection(stream, address, |_| Ok(Some(service.clone()))) }
        };
        Server::new(listener).serve(&connected, |_| ()).await.unwrap();
    });
    let site = site("pipeline = 8", &address);
    let (mut task, mut polled) = task(&site, Master::new(site.lines[0].settings.clone()));
    for _ in 0..3 {
        let one = tokio::select! {
            () = task.run() => panic!("the line task ends with the test"),
            one = polled.recv() => one.unwrap(),
        };
        assert_eq!(numbers(&one), RIGHT);
        assert_eq!(one.failure, None);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 24);
}
