//! Slow and hostile peers of the socket: they are closed with an error, counted,
//! and cost nobody else anything.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::serving::{Peer, Serving};
use crate::support::{Dir, eventually};

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;
const SHORT: &str = "[rate_limit]\nenabled = false\n[collector]\nread_timeout = \"300ms\"\n\
                     write_timeout = \"300ms\"\n";

fn works(collector: &Serving) {
    assert!(collector.connect().ask(EVENT)["ok"]["seq"].is_u64(), "others are served");
}

/// The security events of a kind, by their log.
fn reported(dir: &Dir, kind: &str) -> bool {
    let text = std::fs::read_to_string(dir.log().join("security_events.log")).unwrap_or_default();
    text.lines().any(|line| {
        let line: Value = serde_json::from_str(line).expect(line);
        line["kind"] == kind
    })
}

/// Writes as long as the collector takes it; whether it hung up.
fn flood(peer: &mut Peer, bytes: &[u8], most: usize) -> bool {
    peer.stream().set_write_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let mut sent = 0;
    while sent < most {
        match peer.stream().write_all(bytes) {
            Ok(()) => sent += bytes.len(),
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                return true;
            }
            Err(error) => panic!("neither taken nor closed: {error}"),
        }
    }
    false
}

#[test]
fn a_peer_that_never_reads_its_answers_stops_only_itself() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, SHORT);
    let mut deaf = collector.connect();
    let lines = format!("{EVENT}\n").repeat(500);
    let flooding = std::thread::spawn(move || flood(&mut deaf, lines.as_bytes(), 1 << 30));
    for _ in 0..20 {
        works(&collector);
    }
    assert!(flooding.join().expect("flood"), "it is closed");
    eventually("it is reported", || reported(&dir, "hostile_peer"));
    works(&collector);
}

#[test]
fn a_hundred_megabytes_without_a_line_feed_end_the_connection() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, SHORT);
    let mut peer = collector.connect();
    assert!(flood(&mut peer, &[b'a'; 64 * 1024], 100 << 20), "closed long before");
    let answers = peer.rest();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0]["error"]["kind"], "too_large");
    eventually("it is reported", || reported(&dir, "oversize"));
    works(&collector);
}

#[test]
fn ten_thousand_connections_hurt_nobody() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut early = collector.connect();
    early.ask(EVENT);
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..10_000 {
        let mut peer = collector.connect();
        if held.len() < 63 {
            peer.ask(r#"{"status":{}}"#);
            held.push(peer);
            continue;
        }
        let answers = peer.rest();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0]["error"]["kind"], "too_many_connections");
        refused += 1;
    }
    assert_eq!(refused, 10_000 - 63);
    let status = &early.ask(r#"{"status":{}}"#)["ok"]["status"];
    assert_eq!(status["connections"], 64, "those who were in are served");
    drop(held);
    eventually("there is room again", || {
        early.ask(r#"{"status":{}}"#)["ok"]["status"]["connections"] == 1
    });
    works(&collector);
    assert!(matches!(collector.get("/health", "").0, 200 | 503), "health answers");
}

#[test]
fn http_connections_take_no_place_from_the_sockets_peers() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[collector]\nmax_connections = 4\n");
    let held: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(collector.http).expect("connect");
            // A request begun; the last ones are hung up on.
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\n");
            stream
        })
        .collect();
    for _ in 0..3 {
        works(&collector);
    }
    drop(held);
}

#[test]
fn garbage_gets_an_error_a_line_and_after_a_hundred_the_end() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    // Some good ones in between: the count begins anew.
    for _ in 0..3 {
        for _ in 0..99 {
            assert_eq!(peer.ask("\u{1}\u{2}garbage")["error"]["kind"], "malformed");
        }
        assert!(peer.ask(EVENT)["ok"]["seq"].is_u64());
    }
    peer.send(&"GET / HTTP/1.1\n".repeat(150));
    let answers = peer.rest();
    assert!((100..=101).contains(&answers.len()), "{}", answers.len());
    assert!(answers.iter().all(|answer| answer["error"]["kind"] == "malformed"));
    eventually("it is reported", || reported(&dir, "hostile_peer"));
    works(&collector);
}

#[test]
fn binary_rubbish_of_every_kind_is_survived() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..200 {
        let mut bytes = Vec::with_capacity(4096);
        for _ in 0..512 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        let mut stream = UnixStream::connect(&collector.socket).expect("connect");
        let _ = stream.write_all(&bytes);
    }
    eventually("it is reported", || reported(&dir, "malformed"));
    eventually("others are served", || {
        // Until the last of them has gone there may be no room.
        collector.connect().ask(EVENT)["ok"]["seq"].is_u64()
    });
}

#[test]
fn a_line_begun_and_not_ended_is_not_waited_for() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, SHORT);
    let mut peer = collector.connect();
    assert!(peer.ask(EVENT)["ok"]["seq"].is_u64());
    // A byte now and then does not help.
    let mut dripping = peer.stream().try_clone().expect("clone");
    let drip = std::thread::spawn(move || {
        while dripping.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let answers = peer.rest();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0]["error"]["kind"], "timeout");
    drip.join().expect("drip");
    works(&collector);
}

#[test]
fn a_sender_that_leaves_at_once_is_still_heard() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    let mut stream = UnixStream::connect(&collector.socket).expect("connect");
    stream.write_all(format!("{EVENT}\n").repeat(5_000).as_bytes()).expect("sent");
    drop(stream);
    let mut other = collector.connect();
    eventually("all of it is recorded", || {
        let status = other.ask(r#"{"status":{}}"#);
        status["ok"]["status"]["accepted"].as_u64().expect("a number") >= 5_000
    });
}
