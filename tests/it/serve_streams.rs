//! Bodies that are taken as they come: durable before they are acknowledged, judged
//! again as they go on, told of line by line or in runs.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::Duration;

use auditctl::audit::Options;
use auditctl::collector::harness::Harness;
use auditctl::fsio::fault::{Fault, How, Op};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::serving::{Serving, bearer, new_token};
use crate::support::{
    Dir, Moments, count, eventually, failing, open, options, records, run, skipped,
};

const EVENT: &str = "{\"event_type\":\"x\"}\n";
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const NO_RATE: &str = "[rate_limit]\nenabled = false\n";

/// A request in chunks, of which more follow.
fn begin(collector: &Serving, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(collector.http).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: {LINES}\r\ntransfer-encoding: chunked\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

fn chunk(stream: &mut TcpStream, text: &str) -> bool {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).is_ok()
}

fn answer(stream: &mut TcpStream) -> (u16, Value) {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect(&text);
    let status = head.split(' ').nth(1).expect(head).parse().expect("a status");
    (status, serde_json::from_str(body).expect(body))
}

/// Whether there is something to read by now.
fn is_answered(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("timeout");
    let answered = stream.peek(&mut [0]).is_ok();
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
    answered
}

/// Sends a line now and then, as one that does not end, until it is answered.
fn drip(stream: &mut TcpStream) {
    eventually("it is answered in the middle", || {
        std::thread::sleep(Duration::from_millis(50));
        is_answered(stream) || !chunk(stream, EVENT) || is_answered(stream)
    });
}

#[test]
fn a_revoked_token_stops_writing_in_the_middle_of_a_request() {
    let dir = Dir::new();
    let secret = new_token(&dir, "ci", &[]);
    let settings = format!("{NO_RATE}[collector]\ntoken_file = \"tokens\"\n");
    let collector = Serving::start(&dir, &settings);
    let mut stream = begin(&collector, &bearer(&secret));
    for _ in 0..5 {
        assert!(chunk(&mut stream, EVENT));
    }
    eventually("they are recorded", || count(&dir.log(), "x") == 5);
    assert_eq!(run(&dir, &["token", "revoke", "ci", "--token-file", "tokens"]).0, 0);
    drip(&mut stream);
    let (status, told) = answer(&mut stream);
    assert_eq!(
        (status, &told["stopped"]["error"]["kind"]),
        (401, &json!("unauthorized")),
        "{told}"
    );
    let recorded = told["recorded"].as_u64().expect("a count");
    assert!(recorded >= 5, "{told}");
    assert_eq!(told["stopped"]["line"], recorded + 1);
    // What it says is what there is, and what it says no more of is not there.
    assert_eq!(count(&dir.log(), "x") as u64, recorded);
    let seqs: Vec<u64> = told["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| result["seq"].as_u64().expect("seq"))
        .collect();
    let stored = records(&dir.log());
    assert!(seqs.iter().all(|seq| stored[*seq as usize].1["event_type"] == "x"));
    let events = std::fs::read_to_string(dir.log().join("security_events.log")).expect("read");
    assert!(events.contains("in the middle of a request"), "{events}");
}

#[test]
fn an_expired_token_stops_writing_in_the_middle_of_a_request() {
    let dir = Dir::new();
    let secret = new_token(&dir, "ci", &["--expires", "3s"]);
    let settings = format!("{NO_RATE}[collector]\ntoken_file = \"tokens\"\n");
    let collector = Serving::start(&dir, &settings);
    let mut stream = begin(&collector, &bearer(&secret));
    drip(&mut stream);
    let (status, told) = answer(&mut stream);
    assert_eq!(status, 401, "{told}");
    let recorded = told["recorded"].as_u64().unwrap_or(0);
    assert_eq!(count(&dir.log(), "x") as u64, recorded, "{told}");
}

#[test]
fn a_token_that_is_needed_since_a_reload_stops_who_began_without_one() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, NO_RATE);
    let mut stream = begin(&collector, "");
    assert!(chunk(&mut stream, EVENT));
    eventually("it is recorded", || count(&dir.log(), "x") == 1);
    new_token(&dir, "ci", &[]);
    let settings = format!("{NO_RATE}[collector]\ntoken_file = \"tokens\"\n");
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("written");
    collector.signal(Signal::HUP);
    drip(&mut stream);
    let (status, told) = answer(&mut stream);
    assert_eq!(
        (status, &told["stopped"]["error"]["kind"]),
        (401, &json!("unauthorized")),
        "{told}"
    );
}

#[test]
fn a_peer_removed_on_reload_is_cut_off() {
    if !rustix::process::getuid().is_root() {
        return skipped("only root can become another user");
    }
    use std::os::unix::process::CommandExt;
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    let allowed = format!("{NO_RATE}[collector]\nallowed_uids = [65534]\n");
    let collector = Serving::start_with(&dir, &allowed, &["--socket", "a.sock"], &[]);
    // One connection, a line now and then, as long as it is answered.
    let script = "import socket,sys,time\ns=socket.socket(socket.AF_UNIX)\ns.settimeout(10)\ns.connect(sys.argv[1])\n\
                  f=s.makefile()\n\
                  try:\n\
                  \x20for n in range(1500):\n\
                  \x20 s.sendall(b'{\"event_type\":\"x\"}\\n')\n\
                  \x20 a=f.readline()\n\
                  \x20 print(a,end='')\n\
                  \x20 if 'seq' not in a: break\n\
                  \x20 time.sleep(.01)\n\
                  \x20print('closed' if f.readline()=='' else 'open')\n\
                  except TimeoutError: print('open')\n\
                  except OSError: print('closed')";
    let child = std::process::Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(&collector.socket)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    eventually("it records", || count(&dir.log(), "x") > 3);
    std::fs::write(dir.path().join("auditctl.toml"), NO_RATE).expect("written");
    collector.signal(Signal::HUP);
    let output = child.wait_with_output().expect("ends");
    let text = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<&str> = text.lines().collect();
    let [recorded @ .., refused, closed] = &answers[..] else { panic!("{text}") };
    assert!(refused.contains("forbidden") && *closed == "closed", "{refused} {closed}");
    assert!(recorded.iter().all(|line| line.contains("\"seq\"")));
    assert_eq!(count(&dir.log(), "x"), recorded.len(), "what was refused is not there");
}

#[test]
fn what_a_listener_has_read_and_the_log_takes_no_more_is_counted() {
    let lines: &[u8] = b"{\"type\":\"request\"}\n{\"type\":\"response\"}\n{\"type\":";
    for (is_closed, lost) in [(false, 0), (true, 3)] {
        let dir = Dir::new();
        let (options, _fs) = failing(&dir);
        let log = open(options);
        let harness = Harness::new(log.clone(), None).expect("a collector");
        let close = || {
            if is_closed {
                log.close().expect("closed");
            }
        };
        assert_eq!(harness.listener("vault", close, &[lines]).expect("a listener"), lost);
    }
}

#[test]
fn http_answers_201_only_after_the_last_event_is_durable() {
    for (kind, body, status) in [(JSON, EVENT.to_owned(), 201), (LINES, EVENT.repeat(3), 200)] {
        let dir = Dir::new();
        let (options, fs) = failing(&dir);
        // No trouble is told meanwhile: only durability can end the wait.
        let options = Options { overflow_timeout: Duration::from_secs(600), ..options };
        let log = open(options);
        let harness = Harness::new(log.clone(), None).expect("a collector");
        fs.plan(Fault {
            op: Op::SyncData,
            name_contains: "audit.log".to_owned(),
            after: 0,
            times: u64::MAX,
            how: How::Hang,
        });
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| harness.http(&[request.as_bytes()]).expect("an answer"));
            eventually("it is synced", || fs.hits() > 0);
            // As long as nothing is durable there is no answer, however long it takes.
            std::thread::sleep(Duration::from_millis(300));
            assert!(!asked.is_finished(), "answered before it was durable");
            fs.heal();
            let text = String::from_utf8(asked.join().expect("asked")).expect("text");
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        });
        log.close().expect("closed");
    }
}

#[test]
fn one_byte_over_max_body_is_413() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[collector]\nmax_body = \"4KiB\"\n");
    let body = |bytes: usize| {
        let frame = r#"{"event_type":"x","actor":"a","details":{"t":""}}"#;
        frame.replace(":\"\"}", &format!(":\"{}\"}}", "y".repeat(bytes - frame.len())))
    };
    for (bytes, one, lines) in [(4095, 201, 200), (4096, 201, 200), (4097, 413, 413)] {
        let text = body(bytes);
        assert_eq!(text.len(), bytes);
        assert_eq!(collector.post(JSON, "", &text).0, one, "{bytes}");
        assert_eq!(collector.post(LINES, "", &text).0, lines, "{bytes}");
        // Without a length that says so before.
        let mut stream = begin(&collector, "");
        let (first, second) = text.split_at(4_000);
        assert!(chunk(&mut stream, first) && chunk(&mut stream, second));
        stream.write_all(b"0\r\n\r\n").expect("sent");
        assert_eq!(answer(&mut stream).0, lines, "{bytes} in chunks");
    }
    assert_eq!(count(&dir.log(), "x"), 6);
}

#[test]
fn a_line_may_come_in_any_pieces_and_one_that_is_too_long_spoils_no_other() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, NO_RATE);
    let mut stream = begin(&collector, "");
    for byte in EVENT.chars() {
        assert!(chunk(&mut stream, &byte.to_string()));
    }
    let long = "y".repeat(700_000);
    assert!(chunk(&mut stream, &long) && chunk(&mut stream, &format!("{long}\n{EVENT}\r\n")));
    // The last one's end may be missing.
    assert!(chunk(&mut stream, EVENT.trim_end()));
    stream.write_all(b"0\r\n\r\n").expect("sent");
    let (status, told) = answer(&mut stream);
    assert_eq!(
        (status, &told["recorded"], &told["rejected"]),
        (207, &json!(3), &json!(1)),
        "{told}"
    );
    let refused = &told["results"][1];
    assert_eq!((&refused["line"], &refused["error"]["kind"]), (&json!(2), &json!("too_large")));
    assert!(
        refused["error"]["message"].as_str().expect("text").contains("1400000 bytes"),
        "{refused}"
    );
}

#[test]
fn a_thousand_lines_are_told_one_by_one_and_more_of_them_in_runs() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, NO_RATE);
    let (_, _, told) = collector.post(LINES, "", &EVENT.repeat(1_000));
    assert_eq!(told["results"].as_array().map(Vec::len), Some(1_000));
    assert!(told["runs"].is_null());
    let body = format!("{}{{}}\n{}", EVENT.repeat(600), EVENT.repeat(400));
    let (status, _, told) = collector.post(LINES, "", &body);
    assert_eq!((status, &told["recorded"], &told["rejected"]), (207, &json!(1_000), &json!(1)));
    let runs = told["runs"].as_array().expect("runs");
    let refused = runs.iter().find(|run| run["error"].is_object()).expect("one");
    assert_eq!((&refused["line"], &refused["lines"]), (&json!(601), &json!(1)), "{told}");
    // Every line is in one run, and each recorded one where it is said to be.
    let stored = records(&dir.log());
    let mut next = 1;
    for run in runs {
        assert_eq!(run["line"], next, "{told}");
        let lines = run["lines"].as_u64().expect("a number");
        next += lines;
        if let Some(seq) = run["seq"].as_u64() {
            assert!((seq..seq + lines).all(|seq| stored[seq as usize].1["event_type"] == "x"));
        }
    }
    assert_eq!(next, 1_002);
}

/// MUTANTS: what a cleanup says of itself is not taken for who it is.
#[test]
fn backup_removed_records_the_kernels_uid() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let zeros = "0".repeat(64);
    let mut told = json!({
        "backup": "b", "place": "p", "first_seq": 0, "tree_size": 1, "root_hash": zeros,
        "sha256": zeros, "reason": "keep", "uid": 4_242
    });
    let mut answered = collector.connect().ask(&json!({ "backup_removed": told }).to_string());
    if answered["error"].is_object() {
        // A word that the caller may not have at all is as good.
        told.as_object_mut().expect("an object").remove("uid");
        answered = collector.connect().ask(&json!({ "backup_removed": told }).to_string());
    }
    let seq = answered["ok"]["seq"].as_u64().unwrap_or_else(|| panic!("{answered}"));
    let (_, record) = records(&dir.log()).swap_remove(seq as usize);
    assert_eq!(record["event_type"], "audit.backup_removed");
    assert_eq!(record["details"]["uid"], rustix::process::getuid().as_raw(), "{record}");
}

#[test]
fn p1_what_http_acknowledged_survives_kill_nine_at_any_moment() {
    let mut moments = Moments::up_to(Duration::from_millis(40), 0x51ed_270b);
    let dir = Dir::new();
    let settings =
        format!("max_segment_size = \"64KiB\"\ncheckpoint_interval = \"100ms\"\n{NO_RATE}");
    let acknowledged: Mutex<HashMap<String, u64>> = Mutex::default();
    for round in 0..20 {
        let collector = Serving::start(&dir, &settings);
        let before = acknowledged.lock().expect("lock").len();
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (http, acknowledged) = (collector.http, &acknowledged);
                scope.spawn(move || post_until_gone(http, (round, worker), acknowledged));
            }
            std::thread::sleep(moments.next());
            collector.kill_nine();
        });
        let acknowledged = acknowledged.lock().expect("lock");
        moments.happened(acknowledged.len() > before);
        let log = open(options(&dir));
        log.close().expect("closed");
        let stored: HashMap<u64, Value> = records(&dir.log()).into_iter().collect();
        let mut seen: HashMap<String, u64> = HashMap::new();
        for record in stored.values() {
            if let Some(name) = record["actor"].as_str() {
                *seen.entry(name.to_owned()).or_default() += 1;
            }
        }
        for (name, seq) in acknowledged.iter() {
            assert_eq!(stored[seq]["actor"], name.as_str(), "under the seq that was said");
            assert_eq!(seen[name], 1, "{name}, once");
        }
    }
    let all = acknowledged.lock().expect("lock").len();
    println!("{all} events acknowledged over HTTP");
    assert!(all > 0, "some were acknowledged");
}

/// Batches of different sizes, some larger than one answer tells of line by line.
fn post_until_gone(
    http: std::net::SocketAddr,
    (round, worker): (u32, u32),
    acknowledged: &Mutex<HashMap<String, u64>>,
) {
    for batch in 0.. {
        let lines = [1, 3, 1_200][batch % 3];
        let name = |line: usize| format!("{round}-{worker}-{batch}-{line}");
        let body: String = (0..lines)
            .map(|line| format!("{{\"event_type\":\"k\",\"actor\":\"{}\"}}\n", name(line)))
            .collect();
        let Ok(mut stream) = TcpStream::connect(http) else { return };
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: {LINES}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut text = String::new();
        if stream.write_all(request.as_bytes()).is_err()
            || stream.read_to_string(&mut text).is_err()
        {
            return;
        }
        // Cut off in the middle: not an acknowledgement.
        let Some((_, body)) = text.split_once("\r\n\r\n") else { return };
        let Ok(told) = serde_json::from_str::<Value>(body) else { return };
        let mut acknowledged = acknowledged.lock().expect("lock");
        let results = told["results"].as_array().into_iter().flatten().enumerate();
        for (line, result) in results {
            if let Some(seq) = result["seq"].as_u64() {
                acknowledged.insert(name(line), seq);
            }
        }
        let runs = told["runs"].as_array().into_iter().flatten();
        for run in runs.filter(|run| run["error"].is_null()) {
            let (first, lines) = (run["line"].as_u64(), run["lines"].as_u64());
            if let (Some(seq), Some(first), Some(lines)) = (run["seq"].as_u64(), first, lines) {
                for nth in 0..lines {
                    acknowledged.insert(name((first - 1 + nth) as usize), seq + nth);
                }
            }
        }
    }
}
