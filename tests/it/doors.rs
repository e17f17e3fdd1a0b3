//! Every door of the collector against every way to misuse it: what it may cost in
//! memory, that others are served meanwhile, that nothing acknowledged is lost and
//! that SIGTERM still ends it.
//!
//! One row is one case. What another file tests already is named in the table of
//! `docs/doors.md`. To add a door, add rows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, PATIENCE, auditctl, eventually, measured};

/// What the engine may hold beyond what a collector has at rest: the write buffer, the
/// query cache, the blocks that queries read.
const ENGINE: u64 = 10 << 20;
/// `collector.max_memory` in the rows.
const BUDGET: u64 = 48 << 20;

const SETTINGS: &str = "[rate_limit]\nenabled = false\n[collector]\nmax_memory = \"48MiB\"\n\
                        read_timeout = \"2s\"\nwrite_timeout = \"2s\"\n";
const EVENT: &str = "{\"event_type\":\"x\"}\n";

/// How a door is misused.
struct Row {
    name: &'static str,
    /// Settings behind [`SETTINGS`], which end in `[collector]`.
    settings: &'static str,
    misuse: fn(&Serving, &Dir),
    /// The most memory that it may take beyond what it has at rest, in bytes.
    peak: u64,
}

const ROWS: &[Row] = &[
    Row {
        name: "http: too much: bodies of the smallest events",
        settings: "",
        misuse: |collector, _| {
            at_once(4, || {
                let (status, text) = post(collector, &EVENT.repeat(60_000));
                assert!(matches!(status, 200 | 503), "{status}: {text:.300}");
            });
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "http: too much: bodies of which every other line is refused",
        settings: "",
        misuse: |collector, _| {
            let lines = format!("{EVENT}{{}}\n").repeat(40_000);
            at_once(6, || {
                let (status, text) = post(collector, &lines);
                let told: Value = serde_json::from_str(&text).expect(&text);
                assert_eq!(status, 422, "{told}");
                // The answer is bounded, and says where to go on.
                assert!(text.len() < 4 << 20, "{}", text.len());
                let (recorded, rejected) = (&told["recorded"], &told["rejected"]);
                assert_eq!((recorded, rejected), (&2_048.into(), &2_048.into()), "{text:.300}");
                assert_eq!(told["stopped"]["line"], 4_097);
                assert_eq!(told["stopped"]["error"]["kind"], "too_many_refusals");
            });
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "http: too much: arrays of the smallest events, and of nothing",
        settings: "",
        misuse: |collector, _| {
            let events = format!("[{}{}]", format!("{},", EVENT.trim()).repeat(60_000), EVENT);
            let nothing = format!("[{}]", ",".repeat(2_000_000));
            at_once(2, || {
                let (status, text) = post(collector, &events);
                assert!(matches!(status, 200 | 503), "{status}: {text:.300}");
                let (status, text) = post(collector, &nothing);
                // All the same refusal: one run.
                assert!(matches!(status, 400 | 503), "{status}: {text:.300}");
                assert!(text.len() < 4_096, "{}", text.len());
            });
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "http: never ends: arrays of one element",
        settings: "",
        misuse: |collector, _| {
            let begun: Vec<TcpStream> = (0..24)
                .map(|nth| {
                    let headers = "content-length: 8000000\r\n";
                    let mut stream = begin_of(collector, "application/json", headers);
                    let inside = if nth % 2 == 0 { b"[" } else { b"," };
                    let _ = stream.write_all(b"[{\"event_type\":\"");
                    let _ = stream.write_all(&inside.repeat(7_000_000));
                    stream
                })
                .collect();
            for stream in begun {
                let (status, text) = answer(stream);
                assert!(matches!(status, 408 | 503), "{status}: {text}");
            }
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "http: never ends: bodies that are one line",
        settings: "",
        misuse: |collector, _| {
            let begun: Vec<TcpStream> = (0..48)
                .map(|_| {
                    let mut stream = begin(collector, "content-length: 8000000\r\n");
                    let _ = stream.write_all(&vec![b'a'; 7_000_000]);
                    stream
                })
                .collect();
            for stream in begun {
                // The end never comes: it is told so, or that there was no room.
                let (status, text) = answer(stream);
                assert!(matches!(status, 408 | 503), "{status}: {text}");
            }
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "http: never ends: a body in chunks without a last one",
        settings: "max_body = \"1MiB\"\n",
        misuse: |collector, _| {
            let mut stream = begin(collector, "transfer-encoding: chunked\r\n");
            let lines = EVENT.repeat(500);
            for _ in 0..1_000 {
                if chunk(&mut stream, &lines).is_err() {
                    break;
                }
            }
            // What came before the bound is recorded, and said to be.
            let (status, text) = answer(stream);
            let told: Value = serde_json::from_str(&text).expect(&text);
            assert_eq!(
                (status, told["stopped"]["error"]["kind"].as_str()),
                (413, Some("too_large"))
            );
            let recorded = told["recorded"].as_u64().expect("a count");
            assert!((40_000..=60_000).contains(&recorded), "{recorded}");
            assert_eq!(told["stopped"]["line"].as_u64(), Some(recorded + 1));
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "http: too slow: a byte now and then",
        settings: "",
        misuse: |collector, _| {
            let mut stream = begin(collector, "content-length: 100000\r\n");
            stream.write_all(EVENT.repeat(3).as_bytes()).expect("sent");
            let mut dripping = stream.try_clone().expect("clone");
            let drip = std::thread::spawn(move || {
                while dripping.write_all(b" ").is_ok() {
                    sleep(Duration::from_millis(100));
                }
            });
            let (status, text) = answer(stream);
            let told: Value = serde_json::from_str(&text).expect(&text);
            assert_eq!((status, told["recorded"].as_u64()), (408, Some(3)), "{told}");
            assert_eq!(told["stopped"]["line"], 4, "{told}");
            drip.join().expect("drip");
        },
        peak: ENGINE,
    },
    Row {
        name: "http: lies: a body shorter than it says",
        settings: "",
        misuse: |collector, _| {
            let mut stream = begin(collector, "content-length: 5000\r\n");
            // The last line is whole by its text, and not by the sender's word.
            stream.write_all(format!("{EVENT}{}", EVENT.trim_end()).as_bytes()).expect("sent");
            stream.shutdown(Shutdown::Write).expect("shut down");
            let (status, text) = answer(stream);
            let told: Value = serde_json::from_str(&text).expect(&text);
            assert_eq!((status, &told["recorded"]), (400, &1.into()), "{told}");
            assert_eq!(told["stopped"]["line"], 2, "{told}");
            assert_eq!(count(collector), 1, "the other is not recorded");
        },
        peak: ENGINE,
    },
    Row {
        name: "http: lies: a packed body that is a bomb, is not packed, or is packed otherwise",
        settings: "",
        misuse: |collector, _| {
            let send = |coding: &str, body: &[u8]| {
                let mut stream = begin(
                    collector,
                    &format!("content-encoding: {coding}\r\ncontent-length: {}\r\n", body.len()),
                );
                let _ = stream.write_all(body);
                answer(stream)
            };
            // Sixteen megabytes in a few kilobytes, as one line and as lines; a hundred times.
            for line in [&b"x"[..], EVENT.as_bytes()] {
                let text = line.repeat((16 << 20) / line.len());
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(&text).expect("packed");
                let gzip = gzip.finish().expect("packed");
                let zstd = zstd::encode_all(&text[..], 1).expect("packed");
                for (coding, bomb) in [("gzip", gzip), ("zstd", zstd)] {
                    assert!(bomb.len() < 200 << 10, "{} bytes", bomb.len());
                    let (status, text) = send(coding, &bomb.repeat(10));
                    assert_eq!(status, 413, "{coding}: {text:.300}");
                }
            }
            for coding in ["gzip", "zstd"] {
                let (status, text) = send(coding, EVENT.as_bytes());
                assert_eq!(status, 400, "{text}");
                assert!(text.contains("Content-Encoding"), "{text}");
            }
            for coding in ["br", "deflate", "gzip, zstd"] {
                let (status, text) = send(coding, b"");
                assert_eq!(status, 415, "{text}");
                assert!(text.contains("Content-Encoding"), "{text}");
            }
            let stream = begin(collector, "content-encoding: identity\r\ncontent-length: 0\r\n");
            assert_eq!(answer(stream).0, 400, "no event, and nothing else is wrong");
        },
        // A window of zstd.
        peak: ENGINE + (9 << 20),
    },
    Row {
        name: "http: hangs up in the middle, again and again",
        settings: "",
        misuse: |collector, _| {
            for _ in 0..50 {
                let mut stream = begin(collector, "content-length: 8000000\r\n");
                let _ = stream.write_all(EVENT.repeat(2_000).as_bytes());
            }
            eventually("nobody is there any more", || connections(collector) <= 3);
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "http: answers that nobody reads",
        settings: "token_file = \"tokens\"\nread_uids = [0]\n",
        misuse: |collector, dir| {
            let secret = std::fs::read_to_string(dir.path().join("secret")).expect("the secret");
            fill(collector);
            let deaf: Vec<TcpStream> = (0..60)
                .map(|_| {
                    let mut stream = TcpStream::connect(collector.http).expect("connect");
                    let request = format!(
                        "GET /v1/events?limit=0 HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
                        bearer(&secret)
                    );
                    // More than one answer each.
                    stream.write_all(request.repeat(20).as_bytes()).expect("asked");
                    stream
                })
                .collect();
            eventually("they are given up", || connections(collector) <= 3);
            drop(deaf);
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "http: a flood of questions about health",
        settings: "",
        misuse: |collector, _| {
            at_once(40, || {
                for _ in 0..25 {
                    let (status, ..) = collector.get("/metrics", "");
                    assert_eq!(status, 200);
                }
            });
        },
        peak: ENGINE,
    },
    Row {
        name: "socket: too much: long lines without their end",
        settings: "",
        misuse: |collector, _| {
            let begun: Vec<UnixStream> = (0..60)
                .map(|_| {
                    let mut stream = UnixStream::connect(&collector.socket).expect("connect");
                    stream.set_write_timeout(Some(Duration::from_millis(50))).expect("timeout");
                    // As far as it is taken.
                    let _ = stream.write_all(&vec![b' '; (1 << 20) - 10]);
                    stream
                })
                .collect();
            eventually("they are given up", || connections(collector) <= 3);
            drop(begun);
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "socket: answers that nobody reads",
        settings: "",
        misuse: |collector, _| {
            fill(collector);
            let deaf: Vec<UnixStream> = (0..60)
                .map(|_| {
                    let mut stream = UnixStream::connect(&collector.socket).expect("connect");
                    stream.set_write_timeout(Some(Duration::from_millis(50))).expect("timeout");
                    let _ = stream.write_all("{\"query\":{\"limit\":0}}\n".repeat(4).as_bytes());
                    stream
                })
                .collect();
            // Who was answered shortly may stay; what the others hold is given back.
            sleep(Duration::from_secs(3));
            assert!(ask(collector, "{\"query\":{\"limit\":0}}")["ok"].is_object());
            drop(deaf);
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "socket: refusals behind an answer that takes its time",
        settings: "",
        misuse: |collector, _| {
            fill(collector);
            let line = format!("{{\"{}\":1}}\n", "k".repeat(64));
            at_once(16, || {
                let mut stream = UnixStream::connect(&collector.socket).expect("connect");
                stream.set_write_timeout(Some(Duration::from_millis(500))).expect("timeout");
                let where_ = r#"{"query":{"where":["details.x = 1"],"count":true}}"#;
                let _ = stream.write_all(format!("{where_}\n").as_bytes());
                let _ = stream.write_all(line.repeat(200_000).as_bytes());
            });
            eventually("they are given up", || connections(collector) <= 3);
        },
        peak: ENGINE + BUDGET,
    },
    Row {
        name: "socket: groups with long names",
        settings: "",
        misuse: |collector, _| {
            let mut peer = collector.connect();
            for nth in 0..400 {
                let name = "\\u0001".repeat(8_000);
                let line =
                    format!("{{\"event_type\":\"x\",\"details\":{{\"x\":\"{nth}{name}\"}}}}");
                assert!(peer.ask(&line)["ok"]["seq"].is_u64());
            }
            at_once(8, || {
                let told = ask(collector, r#"{"query":{"group_by":"details.x"}}"#);
                assert_eq!(told["ok"]["query"]["partial"], true, "{:.300}", told.to_string());
            });
        },
        peak: ENGINE + BUDGET,
    },
];

/// One case; the rest of the file is what the rows do.
fn holds(row: &Row) {
    let dir = Dir::new();
    let secret = new_token(&dir, "reader", &["--role", "read"]);
    std::fs::write(dir.path().join("secret"), &secret).expect("written");
    let collector = Serving::start(&dir, &format!("{SETTINGS}{}", row.settings));
    let before = collector.connect().ask("{\"event_type\":\"before\"}");
    other(&collector, false);
    // Each build and each machine has its own.
    let at_rest = memory(&collector, "VmHWM:");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                other(&collector, row.name.starts_with("socket"));
                served += 1;
                sleep(Duration::from_millis(20));
            }
            served
        });
        {
            // Also when the row fails: nobody waits for the others then.
            let _done = Done(&done);
            (row.misuse)(&collector, &dir);
        }
        assert!(others.join().expect("others") > 0, "{}", row.name);
    });
    let peak = memory(&collector, "VmHWM:");
    let rest = memory(&collector, "VmRSS:");
    measured(&format!("{}: peak {} MiB, then {} MiB", row.name, peak >> 20, rest >> 20));
    let most = at_rest + row.peak;
    assert!(peak <= most, "{}: {peak} bytes of {most}, {at_rest} at rest", row.name);
    let acknowledged = before["ok"]["seq"].as_u64().expect("seq") as usize;
    let begun = Instant::now();
    collector.terminate();
    measured(&format!("  ended after {:?}", begun.elapsed()));
    let stored = crate::support::records(&dir.log());
    assert_eq!(stored[acknowledged].0, acknowledged as u64, "nothing is lost");
    assert_eq!(stored.last().expect("records").1["event_type"], "audit.closed");
}

/// Ends the others when it goes.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn door(begin: &str) {
    let mut rows = 0;
    for row in ROWS.iter().filter(|row| row.name.starts_with(begin)) {
        measured(row.name);
        holds(row);
        rows += 1;
    }
    assert!(rows > 0, "{begin}");
}

#[test]
fn http_that_is_sent_too_much_costs_no_more_than_its_bound() {
    door("http: too much");
}

#[test]
fn http_that_never_ends_or_is_too_slow_costs_no_more_than_its_bound() {
    door("http: never ends");
    door("http: too slow");
}

#[test]
fn http_that_lies_or_hangs_up_costs_no_more_than_its_bound() {
    door("http: lies");
    door("http: hangs up");
}

#[test]
fn http_whose_answers_nobody_reads_costs_no_more_than_its_bound() {
    door("http: answers");
    door("http: a flood");
}

#[test]
fn the_socket_costs_no_more_than_its_bound_whatever_is_sent() {
    door("socket: too much");
    door("socket: refusals");
    door("socket: groups");
}

#[test]
fn the_socket_costs_no_more_than_its_bound_when_nobody_reads() {
    door("socket: answers");
}

#[test]
fn a_budget_that_one_peer_fills_still_has_room_for_another_and_refusals_are_counted() {
    let dir = Dir::new();
    let settings = SETTINGS.replace("read_timeout = \"2s\"", "");
    let collector = Serving::start(&dir, &format!("overflow_timeout = \"1s\"\n{settings}"));
    // As many requests of one address as find room, each with the longest of lines begun.
    let begun: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = begin(&collector, "content-length: 8000000\r\n");
            stream.write_all(&vec![b' '; 1 << 20]).expect("sent");
            stream
        })
        .collect();
    let refused = begun.into_iter().map(answer).find(|(status, _)| *status == 503);
    let (_, text) = refused.expect("not all of them find room");
    let told: Value = serde_json::from_str(&text).expect(&text);
    assert_eq!(
        (&told["error"]["kind"], &told["error"]["retry_after_ms"]),
        (&"busy".into(), &1000.into())
    );
    // At the socket it is another who asks.
    assert!(ask(&collector, EVENT)["ok"]["seq"].is_u64());
    let (_, _, metrics) = collector.get("/metrics", "");
    let counted =
        metrics.lines().find_map(|line| line.strip_prefix("auditctl_requests_without_room_total "));
    assert!(counted.expect(&metrics).parse::<u64>().expect("a number") > 0);
    collector.terminate();
}

#[test]
fn sigterm_in_the_middle_of_a_body_is_heeded_and_what_was_recorded_is_told() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    let mut stream = begin(&collector, "content-length: 8000000\r\n");
    stream.write_all(EVENT.repeat(5).as_bytes()).expect("sent");
    eventually("they are there", || count(&collector) == 5);
    collector.terminate();
    let (status, text) = answer(stream);
    let told: Value = serde_json::from_str(&text).expect(&text);
    assert_eq!((status, &told["recorded"], &told["stopped"]["line"]), (503, &5.into(), &6.into()));
    assert_eq!(told["stopped"]["error"]["kind"], "closed");
    assert_eq!(crate::support::count(&dir.log(), "x"), 5);
}

#[test]
fn a_line_without_end_at_the_input_of_record_costs_no_more_than_a_line() {
    for through in [true, false] {
        let dir = Dir::new();
        let _collector = through.then(|| Serving::start(&dir, ""));
        let mut command = auditctl(&dir, &["record", "--file", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("record starts");
        let mut stdin = child.stdin.take().expect("piped");
        let part = vec![b'a'; 1 << 20];
        let mut peak = 0;
        for _ in 0..200 {
            if stdin.write_all(&part).is_err() {
                break;
            }
            peak = peak.max(memory_of(child.id(), "VmHWM:").unwrap_or(0));
        }
        drop(stdin);
        assert_ne!(child.wait().expect("ends").code(), Some(0));
        measured(&format!("record --file - of a line without end: peak {} MiB", peak >> 20));
        assert!(peak > 0 && peak < 80 << 20, "{peak}");
    }
}

#[test]
fn record_that_waits_at_its_input_for_ever_ends_when_it_is_told_to() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut command = auditctl(&dir, &["record", "--file", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("record starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(EVENT.as_bytes()).expect("sent");
    eventually("it is recorded", || count(&collector) == 1);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
    eventually("it ends", || child.try_wait().expect("wait").is_some());
    assert_eq!(count(&collector), 1);
    drop(stdin);
}

/// Runs the same in so many threads.
fn at_once(threads: usize, what: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&what);
        }
    });
}

/// A request with NDJSON whose body follows.
fn begin(collector: &Serving, headers: &str) -> TcpStream {
    begin_of(collector, "application/x-ndjson", headers)
}

fn begin_of(collector: &Serving, content_type: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(collector.http).expect("connect");
    let timeout = Some(PATIENCE);
    stream.set_read_timeout(timeout).expect("timeout");
    stream.set_write_timeout(timeout).expect("timeout");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: {content_type}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}

/// The answer: its status and body.
fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    // Hung up on in the middle of sending: what came before counts.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).expect(head).parse().expect("a status");
    (status, body.to_owned())
}

fn post(collector: &Serving, body: &str) -> (u16, String) {
    let kind = if body.starts_with('[') { "application/json" } else { "application/x-ndjson" };
    let mut stream = begin_of(collector, kind, &format!("content-length: {}\r\n", body.len()));
    let _ = stream.write_all(body.as_bytes());
    answer(stream)
}

/// Another peer than the one that a row is about: a share of the budget is its own.
fn other(collector: &Serving, over_http: bool) {
    if over_http {
        let (status, _, told) =
            collector.post("application/json", "", "{\"event_type\":\"other\"}");
        assert_eq!(status, 201, "others are served: {told}");
    } else {
        let told = collector.connect().ask("{\"event_type\":\"other\"}");
        assert!(told["ok"]["seq"].is_u64(), "others are served: {told}");
    }
}

/// One line to the socket, on a connection of its own; again while all places are taken
/// or the row itself holds all that its user may.
fn ask(collector: &Serving, line: &str) -> Value {
    let mut told = Value::Null;
    eventually("there is room", || {
        let mut peer = collector.connect();
        // One too many may be hung up on before it has sent all, or read why.
        let _ = writeln!(peer.stream(), "{}", line.trim_end());
        let Some(answer) = peer.answer() else { return false };
        told = answer;
        !matches!(told["error"]["kind"].as_str(), Some("too_many_connections" | "busy"))
    });
    told
}

/// Records of the type that the rows send.
fn count(collector: &Serving) -> u64 {
    let told = ask(collector, r#"{"query":{"type":"x","count":true}}"#);
    told["ok"]["query"]["count"].as_u64().unwrap_or(0)
}

/// Connections: this one, and those of the others that are served, among them.
fn connections(collector: &Serving) -> u64 {
    let told = ask(collector, "{\"status\":{}}");
    told["ok"]["status"]["connections"].as_u64().expect("a number")
}

/// Some megabytes of records, to be asked for.
fn fill(collector: &Serving) {
    let text = "y".repeat(40_000);
    let mut peer = collector.connect();
    for _ in 0..150 {
        let line = format!("{{\"event_type\":\"filling\",\"details\":{{\"text\":\"{text}\"}}}}");
        assert!(peer.ask(&line)["ok"]["seq"].is_u64());
    }
}

fn memory(collector: &Serving, key: &str) -> u64 {
    memory_of(collector.pid(), key).expect("it runs")
}

/// `VmHWM:`, the most memory that a process has had, or `VmRSS:`, in bytes.
fn memory_of(pid: u32, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
