//! `load DIR HTTP`: full load on the collector in DIR, for benches/peers/soak.py, until standard input ends.
//!
//! Two clients pipeline events over the socket, one sends one event after another, one posts batches to HTTP. Each
//! line of standard input is the most events a second from then on, 0 for no limit. Each second a line of JSON says
//! what was acknowledged, and how long that took; the last one, in all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::serving::line;

const PIPELINED: usize = 2;
/// Lines in one write, and writes without an answer.
const CHUNK: usize = 250;
const AHEAD: usize = 16;
const HTTP_BATCH: usize = 100;
/// The two that wait for each answer do not do so without a pause: they are there to measure.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Counts {
    socket: AtomicU64,
    http: AtomicU64,
    refused: AtomicU64,
    /// The most a second over the socket; 0: no limit.
    limit: AtomicU64,
    over: AtomicBool,
    /// How long one event over the socket took, and one batch over HTTP.
    waits: [Mutex<Vec<Duration>>; 2],
}

pub(crate) fn run(dir: &Path, http: &str) {
    let counts = Counts::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..PIPELINED {
            let counts = &counts;
            let stream = UnixStream::connect(dir.join("logs/audit.sock")).unwrap();
            scope.spawn(move || pipeline(&stream, client, counts));
        }
        let stream = UnixStream::connect(dir.join("logs/audit.sock")).unwrap();
        let counts = &counts;
        scope.spawn(move || one_by_one(&stream, counts));
        scope.spawn(move || batches(http, counts));
        scope.spawn(move || tell(begun, counts));
        for line in std::io::stdin().lock().lines() {
            counts.limit.store(line.unwrap().trim().parse().unwrap(), Relaxed);
        }
        counts.over.store(true, Relaxed);
    });
    let [socket, http, refused] =
        [&counts.socket, &counts.http, &counts.refused].map(|count| count.load(Relaxed));
    println!("{}", json!({ "socket": socket, "http": http, "refused": refused }));
}

/// Each second, what happened in it.
fn tell(begun: Instant, counts: &Counts) {
    let mut before = [0; 3];
    for second in 1.. {
        let due = begun + Duration::from_secs(second);
        while Instant::now() < due {
            if counts.over.load(Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let now = [&counts.socket, &counts.http, &counts.refused].map(|count| count.load(Relaxed));
        let of_waits = |at: usize| -> Value {
            let mut waits = std::mem::take(&mut *counts.waits[at].lock().unwrap());
            if waits.is_empty() {
                return Value::Null;
            }
            waits.sort();
            let at = |part| waits[((waits.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
            json!({ "p50": at(0.5), "p99": at(0.99) })
        };
        println!(
            "{}",
            json!({
                "second": second, "socket": now[0] - before[0], "http": now[1] - before[1],
                "refused": now[2] - before[2], "socket_ms": of_waits(0), "http_ms": of_waits(1),
            })
        );
        before = now;
    }
}

fn pipeline(stream: &UnixStream, client: usize, counts: &Counts) {
    let (ahead, done) = crossbeam_channel::bounded::<()>(AHEAD);
    std::thread::scope(|scope| {
        let answers = stream.try_clone().unwrap();
        scope.spawn(move || {
            let mut answers = BufReader::with_capacity(64 << 10, answers);
            let mut answer = String::new();
            while done.recv().is_ok() {
                let mut taken = 0;
                for _ in 0..CHUNK {
                    answer.clear();
                    assert!(answers.read_line(&mut answer).unwrap() > 0, "the collector hung up");
                    taken += u64::from(answer.starts_with("{\"ok\""));
                }
                counts.socket.fetch_add(taken, Relaxed);
                counts.refused.fetch_add(CHUNK as u64 - taken, Relaxed);
            }
        });
        let (mut stream, mut n) = (stream, client);
        let (begun, mut owed) = (Instant::now(), 0.0_f64);
        let mut last = begun;
        while !counts.over.load(Relaxed) {
            let limit = counts.limit.load(Relaxed);
            let now = Instant::now();
            if limit > 0 {
                // What was not sent within a second is not made up for.
                let each = limit as f64 / PIPELINED as f64;
                owed = (owed + now.duration_since(last).as_secs_f64() * each).min(each);
                last = now;
                if owed < CHUNK as f64 {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                owed -= CHUNK as f64;
            } else {
                last = now;
            }
            let text: String = (0..CHUNK).map(|more| line(n + more * PIPELINED)).collect();
            n += CHUNK * PIPELINED;
            // First the place, then the lines: whoever reads knows what is on its way.
            ahead.send(()).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        }
        drop(ahead);
    });
}

fn one_by_one(stream: &UnixStream, counts: &Counts) {
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let (mut stream, mut answer, mut n) = (stream, String::new(), 0);
    let mut alarmed = Instant::now();
    while !counts.over.load(Relaxed) {
        // Now and then one that an alert is about.
        let text = if alarmed.elapsed() > Duration::from_secs(1) {
            alarmed = Instant::now();
            line(n).replacen("data_access", "soak.alarm", 1).replacen("success", "failure", 1)
        } else {
            line(n)
        };
        let begun = Instant::now();
        stream.write_all(text.as_bytes()).unwrap();
        answer.clear();
        assert!(answers.read_line(&mut answer).unwrap() > 0, "the collector hung up");
        counts.waits[0].lock().unwrap().push(begun.elapsed());
        let count = if answer.starts_with("{\"ok\"") { &counts.socket } else { &counts.refused };
        count.fetch_add(1, Relaxed);
        n += 1;
        std::thread::sleep(PAUSE);
    }
}

fn batches(http: &str, counts: &Counts) {
    let stream = TcpStream::connect(http).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let (mut stream, mut n) = (&stream, 0);
    while !counts.over.load(Relaxed) {
        let body: String = (n..n + HTTP_BATCH).map(line).collect();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: {http}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let begun = Instant::now();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let answer = read_answer(&mut answers);
        counts.waits[1].lock().unwrap().push(begun.elapsed());
        counts.http.fetch_add(answer["recorded"].as_u64().unwrap_or(0), Relaxed);
        counts.refused.fetch_add(answer["rejected"].as_u64().unwrap_or(0), Relaxed);
        n += HTTP_BATCH;
        std::thread::sleep(PAUSE);
    }
}

/// One response of a connection that stays open.
fn read_answer(answers: &mut BufReader<TcpStream>) -> Value {
    let (mut length, mut head) = (0, String::new());
    loop {
        head.clear();
        assert!(answers.read_line(&mut head).unwrap() > 0, "the collector hung up");
        let line = head.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}
