//! `serve` as a process: its start, its socket's protocol, signals, its end.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use crate::serving::{Peer, Serving, bearer, new_token};
use crate::support::{Dir, auditctl, count, eventually, open, options, records, skipped, types};

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;
/// Many events of one source.
const UNLIMITED: &str = "[rate_limit]\nenabled = false\n";

/// Exit code and stderr of a `serve` that does not start.
fn refused(dir: &Dir, args: &[&str]) -> (i32, String) {
    let mut all = vec!["serve"];
    all.extend(args);
    let output = auditctl(dir, &all).output().expect("serve");
    let stderr = String::from_utf8(output.stderr).expect("text");
    (output.status.code().expect("a code"), stderr)
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, UNLIMITED);
    let mut peer = collector.connect();
    let mut sender = peer.stream().try_clone().expect("clone");
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        for n in 0..3_000 {
            let line = match n % 10 {
                7 => "{}\n".to_owned(),
                8 => "{\"status\":{}}\n".to_owned(),
                _ => format!("{{\"event_type\":\"n{n}\"}}\n"),
            };
            sender.write_all(line.as_bytes()).expect("sent");
        }
    });
    let mut last_seq = 0;
    for n in 0..3_000 {
        let answer = peer.answer().expect("an answer");
        match n % 10 {
            7 => assert_eq!(answer["error"]["kind"], "invalid"),
            8 => assert!(answer["ok"]["status"]["next_seq"].is_u64(), "{answer}"),
            _ => {
                let seq = answer["ok"]["seq"].as_u64().expect("seq");
                assert!(seq > last_seq, "{seq} after {last_seq}");
                last_seq = seq;
            }
        }
    }
    sending.join().expect("sender");
    let stored = records(&dir.log());
    let stored: Vec<_> =
        stored.iter().filter_map(|(_, r)| r["event_type"].as_str()?.strip_prefix('n')).collect();
    let sent: Vec<_> =
        (0..3_000).filter(|n| !matches!(n % 10, 7 | 8)).map(|n| n.to_string()).collect();
    assert_eq!(stored, sent, "recorded in the order sent");
}

#[test]
fn hello_says_the_protocol_s_version_and_what_the_collector_can_do() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    for ask in [r#"{"hello":{}}"#, r#"{"hello":{"client":"auditctl-python/0.1"}}"#] {
        let hello = peer.ask(ask)["ok"]["hello"].clone();
        assert_eq!(hello["protocol"], auditctl::collector::PROTOCOL);
        assert_eq!(hello["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(hello["features"], json!(auditctl::collector::FEATURES));
        assert_eq!(hello["durability"], "commit");
        assert_eq!(hello["limits"], json!({ "line_bytes": 1 << 20, "in_flight": 16_384 }));
    }
}

/// E7: a later client is told so; it is not taken for one that sends bad events.
#[test]
fn a_request_of_a_later_version_is_answered_so_and_is_no_attack() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    let events = || std::fs::read_to_string(dir.log().join("security_events.log"));
    for _ in 0..200 {
        let error = peer.ask(r#"{"version":{}}"#)["error"].clone();
        assert_eq!(
            (&error["kind"], &error["request"]),
            (&json!("unknown_request"), &json!("version"))
        );
        assert!(error["message"].as_str().expect("why").contains("hello, status"), "{error}");
    }
    let status = peer.ask(r#"{"status":{}}"#);
    assert_eq!(status["ok"]["status"]["invalid"], 0, "{status}");
    assert!(!events().unwrap_or_default().contains("invalid"), "{:?}", events());
    // The same with an event's key, or without an object, is a bad event as before.
    for bad in [r#"{"version":1}"#, r#"{"details":{}}"#, r#"{"version":{},"actor":"x"}"#] {
        assert_eq!(peer.ask(bad)["error"]["kind"], "invalid", "{bad}");
    }
    let status = peer.ask(r#"{"status":{}}"#);
    assert_eq!(status["ok"]["status"]["invalid"], 3, "{status}");
}

#[test]
fn a_record_says_who_sent_it_as_the_kernel_attests() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let seq = collector.connect().ask(EVENT)["ok"]["seq"].as_u64().expect("seq");
    let (_, record) = records(&dir.log()).swap_remove(seq as usize);
    let origin = json!({
        "via": "socket",
        "uid": rustix::process::getuid().as_raw(),
        "pid": std::process::id(),
    });
    assert_eq!(record["origin"], origin);
}

#[test]
fn a_session_is_lenient_or_an_import_from_the_next_line_on() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 1\nburst = 1\n");
    let mut peer = collector.connect();
    let odd = r#"{"event_type":"login","shoe_size":44}"#;
    assert_eq!(peer.ask(odd)["error"]["kind"], "invalid");
    let ask = r#"{"session":{"import":true,"lenient":true}}"#;
    assert_eq!(peer.ask(ask)["ok"]["session"], json!({ "import": true, "lenient": true }));
    let mut last = 0;
    for _ in 0..20 {
        last = peer.ask(odd)["ok"]["seq"].as_u64().expect("not limited");
    }
    let (_, record) = records(&dir.log()).swap_remove(last as usize);
    assert_eq!(record["details"]["shoe_size"], 44);
    assert_eq!(record["origin"]["import"], true);
    assert!(peer.ask(r#"{"session":{"imports":true}}"#)["error"]["kind"].is_string());
}

#[test]
fn a_source_over_its_rate_is_told_when_to_come_again() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 2\nburst = 1\n");
    let mut peer = collector.connect();
    // Both at once: on a slow machine the second would be due if it came later.
    peer.send(&format!("{EVENT}\n{EVENT}\n"));
    assert!(peer.answer().expect("an answer")["ok"]["seq"].is_u64());
    let refusal = &peer.answer().expect("an answer")["error"];
    assert_eq!(refusal["kind"], "rate_limited");
    let wait = refusal["retry_after_ms"].as_u64().expect("when");
    assert!((1..=500).contains(&wait), "{wait}");
    std::thread::sleep(std::time::Duration::from_millis(wait));
    assert!(peer.ask(EVENT)["ok"]["seq"].is_u64(), "after waiting as told");
}

#[test]
fn a_last_line_without_its_end_counts_if_it_is_whole() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    for (text, ok) in [(EVENT, true), (&EVENT[..20], false)] {
        let mut peer = collector.connect();
        peer.send(text);
        peer.stream().shutdown(std::net::Shutdown::Write).expect("half closed");
        let answers = peer.rest();
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0]["ok"]["seq"].is_u64(), ok, "{text}: {answers:?}");
    }
}

#[test]
fn interval_durability_acknowledges_before_the_disk_does() {
    let dir = Dir::new();
    let settings = "durability = \"interval\"\nwrite_flush_interval = \"60s\"\n\
                    write_queue_capacity = 200000\nwrite_buffer_size = 100000\n";
    let collector = Serving::start(&dir, settings);
    let mut peer = collector.connect();
    let before = peer.ask(r#"{"status":{}}"#)["ok"]["status"]["durable_seq"].clone();
    for _ in 0..50 {
        assert!(peer.ask(EVENT)["ok"]["seq"].is_u64());
    }
    let after = peer.ask(r#"{"status":{}}"#)["ok"]["status"]["durable_seq"].clone();
    assert_eq!(before, after, "an acknowledgement asks for no sync");
}

#[test]
fn sigterm_answers_what_was_read_closes_the_log_and_removes_the_socket() {
    let dir = Dir::new();
    let mut collector = Serving::start(&dir, UNLIMITED);
    let mut peer = collector.connect();
    peer.send(&format!("{EVENT}\n").repeat(500));
    assert!(peer.answer().is_some());
    collector.signal(Signal::TERM);
    let answered = 1 + peer.rest().iter().filter(|a| a["ok"]["seq"].is_u64()).count();
    assert_eq!(collector.wait().code(), Some(0), "{}", collector.stderr());
    assert!(!collector.socket.exists());
    let types = types(&dir.log());
    assert_eq!(types.last().map(String::as_str), Some("audit.closed"));
    assert_eq!(types.iter().filter(|t| *t == "login").count(), answered);
}

#[test]
fn with_nobody_connected_it_ends_without_waiting_for_connections_to_end() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, UNLIMITED);
    let begun = std::time::Instant::now();
    collector.terminate();
    // Whoever is connected has ten seconds.
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(9), "{took:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let dir = Dir::new();
    let mut collector = Serving::start(&dir, UNLIMITED);
    // A peer that does not read its answers keeps the first from ending it.
    let mut peer = collector.connect();
    peer.stream().set_nonblocking(true).expect("nonblocking");
    let lines = "{\"status\":{}}\n".repeat(1_000);
    eventually("the peer's answers pile up", || {
        use std::io::Write;
        let written = peer.stream().write_all(lines.as_bytes());
        written.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    });
    collector.signal(Signal::TERM);
    eventually("it no longer accepts", || {
        std::os::unix::net::UnixStream::connect(&collector.socket).is_err()
    });
    // Within half a second it would count as the first.
    std::thread::sleep(std::time::Duration::from_millis(700));
    collector.signal(Signal::TERM);
    assert_eq!(collector.wait().code(), Some(130), "without waiting for the peer");
    assert_ne!(types(&dir.log()).last().map(String::as_str), Some("audit.closed"));
}

#[test]
fn sighup_takes_over_what_may_change_and_names_the_rest() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 1\nburst = 1\n");
    let mut peer = collector.connect();
    // Three at once, of which one may be due.
    let limited = |peer: &mut Peer| {
        peer.send(&format!("{EVENT}\n").repeat(3));
        let answers: Vec<_> = (0..3).map(|_| peer.answer().expect("an answer")).collect();
        answers[2]["error"]["kind"] == "rate_limited"
    };
    assert!(limited(&mut peer));
    let settings = dir.path().join("auditctl.toml");
    std::fs::write(&settings, "[rate_limit]\nenabled = \"maybe\"\n").expect("write");
    collector.signal(Signal::HUP);
    eventually("the mistake is said", || collector.stderr().contains("rate_limit.enabled"));
    assert!(limited(&mut peer), "the old settings stay");
    std::fs::write(&settings, "durability = \"interval\"\n[rate_limit]\nenabled = false\n")
        .expect("write");
    collector.signal(Signal::HUP);
    eventually("the limit is gone", || !limited(&mut peer));
    eventually("it is recorded", || count(&dir.log(), "audit.config_changed") == 1);
    eventually("the rest is named", || collector.stderr().contains("durability"));
}

#[test]
fn sighup_never_takes_the_tokens_away_from_an_address_that_others_reach() {
    let dir = Dir::new();
    let first = new_token(&dir, "first", &["--role", "read"]);
    let settings = "[collector]\ntoken_file = \"tokens\"\nallow_plain_http = true\n";
    let collector = Serving::start_with(&dir, settings, &["--http", "0.0.0.0:0"], &[]);
    let get = |token: &str| collector.get("/v1/checkpoint", &bearer(token)).0;
    assert_eq!(get(&first), 200);
    std::fs::write(dir.path().join("auditctl.toml"), "").expect("write");
    let before = collector.stderr().len();
    collector.signal(Signal::HUP);
    eventually("it is refused", || collector.stderr()[before..].contains("token"));
    assert_eq!(get("none"), 401);
    assert_eq!(get(&first), 200, "the old one stays");
    // Another file of tokens, by another setting.
    std::fs::rename(dir.path().join("tokens"), dir.path().join("old")).expect("renamed");
    let second = new_token(&dir, "second", &["--role", "read"]);
    std::fs::rename(dir.path().join("tokens"), dir.path().join("new")).expect("renamed");
    let settings = settings.replace("\"tokens\"", "\"new\"");
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("write");
    collector.signal(Signal::HUP);
    eventually("the new token counts", || get(&second) == 200);
    assert_eq!(get(&first), 401);
}

#[test]
fn systemd_is_told_of_the_start_the_writers_life_and_the_end() {
    let dir = Dir::new();
    let path = dir.path().join("notify.sock");
    let notify = UnixDatagram::bind(&path).expect("bind");
    notify.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("timeout");
    let env = [("NOTIFY_SOCKET", path.to_str().expect("utf-8")), ("WATCHDOG_USEC", "600000")];
    let mut collector = Serving::start_with(&dir, "", &[], &env);
    let next = |wanted: &str| loop {
        let mut buffer = [0; 4096];
        let count = notify.recv(&mut buffer).expect(wanted);
        if std::str::from_utf8(&buffer[..count]).expect("text").contains(wanted) {
            return;
        }
    };
    next("READY=1");
    next("WATCHDOG=1");
    next("WATCHDOG=1");
    collector.signal(Signal::TERM);
    next("STOPPING=1");
    assert_eq!(collector.wait().code(), Some(0));
}

#[test]
fn a_file_that_is_no_socket_is_never_removed() {
    let dir = Dir::new();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "mine").expect("write");
    let (code, stderr) = refused(&dir, &["--http", "off", "--socket", "notes.txt"]);
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "mine");
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("notes.txt") && stderr.contains("not a socket"), "{stderr}");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = Dir::new();
    let path = dir.path().join("a.sock");
    drop(UnixListener::bind(&path).expect("stale"));
    let collector = Serving::start_with(&dir, "", &["--socket", "a.sock"], &[]);
    assert!(collector.connect().ask(EVENT)["ok"]["seq"].is_u64());
    let mode = std::fs::metadata(&path).expect("meta").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = ["--http", "off", "--socket", "a.sock", "--log-dir", "other"];
    let (code, stderr) = refused(&dir, &other);
    assert_eq!(code, 4, "{stderr}");
    assert!(collector.connect().ask(EVENT)["ok"]["seq"].is_u64(), "the first is unharmed");
}

#[test]
fn the_socket_of_a_successor_is_left_alone() {
    let dir = Dir::new();
    let mut collector = Serving::start(&dir, "");
    std::fs::remove_file(&collector.socket).expect("removed by somebody");
    let _successor = UnixListener::bind(&collector.socket).expect("bound by another");
    collector.signal(Signal::TERM);
    assert_eq!(collector.wait().code(), Some(0));
    assert!(collector.socket.exists(), "it belongs to another");
}

#[test]
fn what_cannot_work_is_refused_before_the_log_is_touched() {
    let dir = Dir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let long = format!("/tmp/{}/audit.sock", "x".repeat(100));
    for (args, code, says) in [
        (&["--http", "0.0.0.0:0"][..], 2, "token"),
        (&["--http", "off", "--socket", &long], 2, "107"),
        (&["--http", &address], 4, "--http"),
    ] {
        let (found, stderr) = refused(&dir, args);
        assert_eq!(found, code, "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
        assert!(!dir.log().join("audit.log").exists(), "{args:?}: no log was made");
    }
}

#[test]
fn a_log_that_another_process_has_is_refused() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let (code, stderr) = refused(&dir, &["--http", "off"]);
    assert_eq!(code, 4, "{stderr}");
    log.close().expect("close");
}

/// The user that is nobody, as Debian numbers it.
const NOBODY: u32 = 65_534;

/// A collector to which that user may write.
fn open_to_nobody() -> (Dir, Serving) {
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    let allowed = format!("[collector]\nallowed_uids = [{NOBODY}]\n");
    let collector = Serving::start_with(&dir, &allowed, &["--socket", "a.sock"], &[]);
    (dir, collector)
}

/// What a script prints to which `s` is a connection of that user.
fn as_nobody(collector: &Serving, script: &str) -> String {
    use std::os::unix::process::CommandExt;
    let connect = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n";
    let output = std::process::Command::new("/usr/bin/python3")
        .args(["-c", &format!("{connect}{script}")])
        .arg(&collector.socket)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .output()
        .expect("python3");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn others_may_write_only_when_allowed() {
    if !rustix::process::getuid().is_root() {
        skipped("only root can become another user");
        return;
    }
    let (dir, collector) = open_to_nobody();
    let record = |collector: &Serving| {
        let script = "try: s.sendall(b'{\"event_type\":\"x\"}\\n')\nexcept OSError: pass\n\
                      print(s.recv(4096).decode())";
        as_nobody(collector, script)
    };
    assert!(record(&collector).contains("\"seq\""));
    std::fs::write(dir.path().join("auditctl.toml"), "").expect("write");
    collector.signal(Signal::HUP);
    eventually("that user is shut out", || !record(&collector).contains("\"seq\""));
    // By the mode of the socket, and by its credentials where it could connect.
    std::fs::set_permissions(&collector.socket, PermissionsExt::from_mode(0o666)).expect("mode");
    assert!(record(&collector).contains("forbidden"));
}

#[test]
fn the_signing_key_is_not_changed_by_who_may_only_write() {
    if !rustix::process::getuid().is_root() {
        skipped("only root can become another user");
        return;
    }
    let (dir, collector) = open_to_nobody();
    let before = std::fs::read(dir.log().join("audit.pub")).expect("read");
    let script = "s.sendall(b'{\"key_rotate\":{}}\\n{\"event_type\":\"x\"}\\n')\n\
                  f=s.makefile()\nprint(f.readline(),f.readline())";
    let text = as_nobody(&collector, script);
    assert!(text.contains("forbidden") && text.contains("\"seq\""), "{text}");
    assert_eq!(std::fs::read(dir.log().join("audit.pub")).expect("read"), before);
    collector.terminate();
    assert_eq!(crate::support::count(&dir.log(), "audit.key_rotated"), 0);
    let events = std::fs::read_to_string(dir.log().join("security_events.log")).expect("read");
    assert!(events.contains("may change the signing key"), "{events}");
}
