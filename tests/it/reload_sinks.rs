//! Sinks that change under a running gateway: another address, gone, back again.
//! These tests run in real time on loopback sockets.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::journal::Reader;

use crate::reload_live::{Field, Process, device, free_port, line, write};

/// A store that takes line protocol: the times it has of one device, and how many connections have ended.
#[derive(Clone)]
pub(crate) struct Store {
    of: &'static str,
    pub(crate) times: Arc<Mutex<BTreeSet<i64>>>,
    ended: Arc<Mutex<usize>>,
}

impl Store {
    pub(crate) fn of(device: &'static str) -> Self {
        Self { of: device, times: Arc::default(), ended: Arc::default() }
    }

    pub(crate) fn serve(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let store = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (store, stream) = (store.clone(), stream.unwrap());
                std::thread::spawn(move || {
                    store.answer(stream);
                    *store.ended.lock().unwrap() += 1;
                });
            }
        });
        port
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut input = BufReader::new(stream.try_clone().unwrap());
        loop {
            let (mut line, mut length) = (String::new(), 0);
            while input.read_line(&mut line).unwrap_or(0) > 0 && line.trim() != "" {
                if let Some((_, value)) = line.to_ascii_lowercase().split_once("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if length == 0 || input.read_exact(&mut body).is_err() {
                return;
            }
            let mut text = String::new();
            if body.starts_with(&[0x1F, 0x8B]) {
                flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
            } else {
                text = String::from_utf8(body).unwrap();
            }
            let times = text
                .lines()
                .filter(|line| line.contains(self.of))
                .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap());
            self.times.lock().unwrap().extend(times.collect::<Vec<i64>>());
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                return;
            }
        }
    }
}

const KEPT: &str = "device=kept-1";

pub(crate) fn sinks(folder: &Path, sinks: &[(&str, u16)]) {
    let file = folder.join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let head = text.split("[[sink]]").next().unwrap();
    let sinks = sinks.iter().map(|(name, port)| {
        format!("[[sink]]\nname = \"{name}\"\nkind = \"influx\"\nurl = \"http://127.0.0.1:{port}\"\napi = \"v2\"\norg = \"o\"\nbucket = \"b\"\ncalls_people = true\n")
    });
    std::fs::write(&file, format!("{head}{}", sinks.collect::<String>())).unwrap();
}

fn sink(status: &serde_json::Value, name: &str, key: &str) -> Option<u64> {
    let sinks = status["sinks"].as_array()?;
    sinks.iter().find(|one| one["name"] == name)?[key].as_u64()
}

/// Times of the kept device's readings in the journal up to `until`.
fn journaled(folder: &Path, until: i64) -> BTreeSet<i64> {
    let mut times = BTreeSet::new();
    let reader = Reader::open(&folder.join("journal")).unwrap();
    let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(until));
    reader
        .history(&["kept-1.x".to_owned()], from, to, &mut |_, reading| {
            times.insert(reading.at.as_millis());
            true
        })
        .unwrap();
    times
}

#[test]
fn a_sink_that_moves_goes_on_where_it_was_and_disturbs_no_other() {
    let (folder, field) = (tempfile::tempdir().unwrap(), Field::default());
    let (first, second, other) = (Store::of(KEPT), Store::of(KEPT), Store::of(KEPT));
    let (at_first, at_second, at_other) = (first.serve(), second.serve(), other.serve());
    let site = format!("{}{}", line("kept", field.serve()), device("kept-1", "kept", 1, 5));
    write(folder.path(), free_port(), &site);
    sinks(folder.path(), &[("moves", at_first), ("stays", at_other)]);
    let gateway = Process::start(folder.path(), &[]);
    gateway.until("delivered to both", |status| {
        let has = |name| sink(status, name, "readings") > Some(50);
        has("moves") && has("stays")
    });

    sinks(folder.path(), &[("moves", at_second), ("stays", at_other)]);
    let (code, text) = gateway.ask(&["reload"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("~ sink moves"), "{text}");
    let count = other.times.lock().unwrap().len();
    gateway.until("delivered to the new address", |_| {
        second.times.lock().unwrap().len() > 50 && other.times.lock().unwrap().len() > count + 50
    });
    assert_eq!(*other.ended.lock().unwrap(), 0, "the other sink keeps its connections");

    let end = *second.times.lock().unwrap().last().unwrap();
    let mut there: BTreeSet<i64> = first.times.lock().unwrap().clone();
    let twice = there.intersection(&second.times.lock().unwrap()).count();
    there.extend(second.times.lock().unwrap().iter());
    let missing: Vec<i64> = journaled(folder.path(), end).difference(&there).copied().collect();
    assert!(missing.is_empty(), "{} readings are at neither address", missing.len());
    assert!(twice < 100, "{twice} readings were sent to both: not from the beginning");
}

#[test]
fn a_sink_that_goes_says_what_it_does_not_have_and_gets_it_when_it_is_back() {
    let (folder, field) = (tempfile::tempdir().unwrap(), Field::default());
    let site = format!("{}{}", line("kept", field.serve()), device("kept-1", "kept", 1, 5));
    write(folder.path(), free_port(), &site);
    let nobody = free_port();
    sinks(folder.path(), &[("store", nobody)]);
    let gateway = Process::start(folder.path(), &[]);
    gateway.until("waiting", |status| sink(status, "store", "backlog") > Some(20));
    sinks(folder.path(), &[]);
    let (code, text) = gateway.ask(&["reload"]);
    assert_eq!(code, Some(0), "{text}");
    let told = text.lines().find(|line| line.contains("- sink store: it does not have "));
    let left =
        told.and_then(|line| line.split("does not have ").nth(1)?.split(' ').next()?.parse::<u64>().ok());
    assert!(left > Some(20), "{text}");

    let store = Store::of(KEPT);
    sinks(folder.path(), &[("store", store.serve())]);
    let (code, text) = gateway.ask(&["reload"]);
    assert_eq!(code, Some(0), "{text}");
    gateway.until("delivered", |status| {
        sink(status, "store", "backlog") < Some(5) && sink(status, "store", "readings") > Some(20)
    });
    let end = *store.times.lock().unwrap().last().unwrap();
    let all = journaled(folder.path(), end);
    let missing = all.difference(&store.times.lock().unwrap()).count();
    assert_eq!(missing, 0, "of {}", all.len());
}
