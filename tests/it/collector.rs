//! The collector against peers that are slow, hostile, or not allowed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use auditctl::collector::client::{Answer, Client, ClientError};

use crate::support::{Collector, Dir, count, eventually, records, root_agrees, run};

fn connect(dir: &Dir) -> UnixStream {
    let stream = UnixStream::connect(dir.log().join("audit.sock")).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    stream
}

fn settings(dir: &Dir, text: &str) {
    std::fs::write(dir.path().join("auditctl.toml"), text).expect("settings");
}

/// An honest sender is served, whatever others do.
fn honest_is_served(dir: &Dir) {
    let mut client = Client::connect(&dir.log().join("audit.sock")).expect("connected");
    let answers = client.send(&[b"{\"event_type\":\"honest\"}"]).expect("answered");
    assert!(matches!(answers[..], [Answer::Recorded(_)]), "{answers:?}");
}

/// What the collector said before it closed the connection.
fn last_words(mut stream: UnixStream) -> String {
    let mut said = String::new();
    // Reset instead of closed: what was said came before.
    let _ = stream.read_to_string(&mut said);
    said
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let dir = Dir::new();
    let _collector = Collector::start(&dir, &["--http", "off"]);
    let mut stream = connect(&dir);
    let request = b"{\"event_type\":\"a\"}\nnonsense\n{\"status\":{}}\n{\"event_type\":\"b\"}\n{\"query\":{}}\n{\"event_type\":\"c\"}";
    stream.write_all(request).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let answers: Vec<serde_json::Value> = BufReader::new(stream)
        .lines()
        .map(|line| serde_json::from_str(&line.expect("line")).expect("json"))
        .collect();
    assert_eq!(answers[0]["ok"]["seq"], 2);
    assert_eq!(answers[1]["error"]["kind"], "malformed");
    assert!(answers[2]["ok"]["status"]["pid"].is_u64());
    assert_eq!(answers[3]["ok"]["seq"], 3);
    assert_eq!(answers[4]["error"]["kind"], "unsupported");
    assert_eq!(answers[5]["ok"]["seq"], 4);
    assert_eq!(answers.len(), 6);
}

#[test]
fn p9_a_hundred_megabytes_without_a_line_end_are_cut_off() {
    let dir = Dir::new();
    let _collector = Collector::start(&dir, &["--http", "off"]);
    let mut stream = connect(&dir);
    let block = vec![b'x'; 1 << 20];
    let sent = (0..100).take_while(|_| stream.write_all(&block).is_ok()).count();
    assert!(sent < 100, "it was cut off");
    assert!(last_words(stream).contains("too_large"));
    honest_is_served(&dir);
}

#[test]
fn p9_garbage_is_answered_and_then_the_peer_is_closed() {
    let dir = Dir::new();
    let _collector = Collector::start(&dir, &["--http", "off"]);
    let mut stream = connect(&dir);
    let garbage = "\u{1b}[2J\0{{{{\n".repeat(500);
    let _ = stream.write_all(garbage.as_bytes());
    let said = last_words(stream);
    assert!(said.contains("malformed") && said.contains("a hundred lines in a row"), "{said}");
    honest_is_served(&dir);
    let log = dir.log().join("security_events.log");
    eventually("it is in the security log", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"malformed\""))
    });
}

#[test]
fn p9_a_peer_that_never_reads_its_answers_is_closed_and_stops_nobody() {
    let dir = Dir::new();
    settings(&dir, "[collector]\nwrite_timeout = \"1s\"\n[rate_limit]\nenabled = false\n");
    let _collector = Collector::start(&dir, &["--http", "off"]);
    let mut stream = connect(&dir);
    stream.set_write_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let lines = "{\"event_type\":\"flood\"}\n".repeat(10_000);
    // Until the collector reads no more, and then closes.
    let begun = std::time::Instant::now();
    while stream.write_all(lines.as_bytes()).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never stopped");
    }
    honest_is_served(&dir);
    eventually("closed", || stream.write_all(b"\n").is_err());
    honest_is_served(&dir);
}

#[test]
fn p9_a_line_begun_and_not_finished_is_timed_out() {
    let dir = Dir::new();
    settings(&dir, "[collector]\nread_timeout = \"1s\"\n");
    let _collector = Collector::start(&dir, &["--http", "off"]);
    let mut stream = connect(&dir);
    stream.write_all(b"{\"event_type\":").expect("sent");
    let said = last_words(stream);
    assert!(said.contains("\"timeout\""), "{said}");
}

#[test]
fn p9_ten_thousand_connections_hurt_nobody_who_is_already_there() {
    let dir = Dir::new();
    settings(&dir, "[collector]\nmax_connections_per_uid = 20\n");
    let _collector = Collector::start(&dir, &["--http", "off"]);
    let mut early = Client::connect(&dir.log().join("audit.sock")).expect("connected");
    let mut refused = 0;
    let mut held = Vec::new();
    for _ in 0..10_000 {
        let stream = UnixStream::connect(dir.log().join("audit.sock"));
        if let Ok(stream) = stream {
            if held.len() < 200 {
                held.push(stream);
            } else {
                refused += 1;
            }
        }
    }
    let answers = early.send(&[b"{\"event_type\":\"honest\"}"]).expect("still served");
    assert!(matches!(answers[..], [Answer::Recorded(_)]));
    assert!(refused > 0);
    let told = held.pop().map(last_words).expect("one of them");
    assert!(told.contains("too_many_connections"), "{told}");
    drop(held);
    eventually("there is room again", || {
        let client = Client::connect(&dir.log().join("audit.sock"));
        client.is_ok_and(|mut client| {
            !matches!(
                client.send(&[b"{\"event_type\":\"later\"}"]),
                Err(ClientError::Refused { .. }) | Err(ClientError::Lost { .. })
            )
        })
    });
}

#[test]
fn p10_another_user_may_only_write_when_allowed() {
    if !rustix::process::getuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let dir = Dir::new();
    let socket = format!("/tmp/auditctl-test-{}.sock", std::process::id());
    for (allowed, answer) in
        [("allowed_uids = [4242]", "\"seq\""), ("allowed_uids = [1]", "forbidden")]
    {
        settings(&dir, &format!("[collector]\nsocket = \"{socket}\"\n{allowed}\n"));
        let mut collector = Collector::start(&dir, &["--http", "off"]);
        let script = format!(
            "import os,socket\nos.setgid(4242);os.setuid(4242)\n\
             s=socket.socket(socket.AF_UNIX);s.connect('{socket}')\n\
             s.sendall(b'{{\"session\":{{\"import\":true}}}}\\n{{\"event_type\":\"x\"}}\\n')\n\
             f=s.makefile();print(f.readline(),f.readline())"
        );
        let output =
            std::process::Command::new("python3").args(["-c", &script]).output().expect("python3");
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(answer) || failed.contains("Broken pipe"), "{said}{failed}");
        if allowed.contains("4242") {
            assert!(said.contains("forbidden"), "an import is not for them: {said}");
        }
        collector.signal("-TERM");
        assert_eq!(collector.wait(), Some(0));
    }
    let stored = records(&dir.log());
    let written: Vec<_> = stored.iter().filter(|(_, r)| r["event_type"] == "x").collect();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].1["origin"]["uid"], 4242, "attested by the kernel");
}

/// One HTTP request; status code and body.
fn http(collector: &Collector, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(collector.http.expect("http")).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    let code = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (code, body)
}

fn get(collector: &Collector, path: &str, headers: &str) -> (u16, String) {
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    http(collector, &head)
}

fn post(collector: &Collector, kind: &str, headers: &str, body: &str) -> (u16, String) {
    http(
        collector,
        &format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ),
    )
}

#[test]
fn http_records_answers_health_metrics_and_the_checkpoint() {
    let dir = Dir::new();
    let mut collector = Collector::start(&dir, &["--http", "127.0.0.1:0"]);
    let (code, body) = post(&collector, "application/json", "", "{\"event_type\":\"one\"}");
    assert_eq!((code, body.trim()), (201, "{\"seq\":2}"));
    let lines = "{\"event_type\":\"two\"}\nbad\n{\"event_type\":\"three\"}\n";
    let (code, body) = post(&collector, "application/x-ndjson", "", lines);
    let document: serde_json::Value = serde_json::from_str(&body).expect("json");
    assert_eq!(code, 200);
    assert_eq!((&document["recorded"], &document["rejected"]), (&2.into(), &1.into()));
    assert_eq!(document["results"][1]["line"], 2);
    assert_eq!(post(&collector, "application/json", "", "{\"event_type\":7}").0, 422);
    assert_eq!(post(&collector, "application/json", "", "nonsense").0, 400);
    let (code, body) = get(&collector, "/health", "");
    assert_eq!(code, 200);
    assert!(body.contains("\"status\": \"healthy\""), "{body}");
    let (_, body) = get(&collector, "/health", "Accept: text/plain;version=0.0.4\r\n");
    assert!(body.contains("auditctl_events_total 3"), "{body}");
    let (_, body) = get(&collector, "/metrics", "");
    assert!(body.contains("# TYPE auditctl_sync_duration_seconds histogram"), "{body}");
    eventually("a checkpoint covers all", || {
        get(&collector, "/v1/checkpoint", "").1.lines().nth(1) == Some("5")
    });
    assert_eq!(get(&collector, "/v1/events", "").0, 501);
    assert_eq!(get(&collector, "/nothing", "").0, 404);
    collector.signal("-TERM");
    assert_eq!(collector.wait(), Some(0));
    assert_eq!(count(&dir.log(), "two"), 1);
    root_agrees(&dir.log());
}

#[test]
fn p10_http_is_for_local_programs_or_for_who_has_the_token() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let collector = Collector::start(&dir, &["--http", "127.0.0.1:0"]);
    let rebound = "GET /v1/checkpoint HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(http(&collector, rebound).0, 403);
    let page = "Origin: https://evil.example\r\n";
    assert_eq!(post(&collector, "application/json", page, "{\"event_type\":\"x\"}").0, 403);
    drop(collector);

    let token = dir.path().join("token");
    std::fs::write(&token, "correct-horse-battery\n").expect("token");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).expect("mode");
    settings(&dir, "[collector]\ntoken_file = \"token\"\n");
    let collector = Collector::start(&dir, &["--http", "127.0.0.1:0"]);
    let event = "{\"event_type\":\"x\"}";
    assert_eq!(post(&collector, "application/json", "", event).0, 401);
    let wrong = "Authorization: Bearer wrong-horse-battery\r\n";
    assert_eq!(post(&collector, "application/json", wrong, event).0, 401);
    let right = "Authorization: Bearer correct-horse-battery\r\n";
    assert_eq!(post(&collector, "application/json", right, event).0, 201);
    assert_eq!(get(&collector, "/metrics", "").0, 200);
    drop(collector);

    settings(&dir, "");
    let (code, _, stderr) = run(&dir, &["serve", "--http", "0.0.0.0:0"]);
    assert_ne!(code, 0);
    assert!(stderr.contains("token"), "{stderr}");
}

#[test]
fn sighup_reads_the_settings_again_and_records_what_changed() {
    let dir = Dir::new();
    settings(&dir, "[rate_limit]\nper_second = 1\nburst = 1\n");
    let mut collector = Collector::start(&dir, &["--http", "off"]);
    let mut client = Client::connect(&dir.log().join("audit.sock")).expect("connected");
    let event: &[u8] = b"{\"event_type\":\"e\",\"source\":\"s\"}";
    let answers = client.send(&[event; 3]).expect("answered");
    assert!(matches!(&answers[2], Answer::Refused { kind, .. } if kind == "rate_limited"));
    settings(&dir, "[rate_limit]\nper_second = 100000\nburst = 100000\n");
    collector.signal("-HUP");
    eventually("the new limit holds", || {
        client
            .send(&[event; 3])
            .is_ok_and(|answers| answers.iter().all(|answer| matches!(answer, Answer::Recorded(_))))
    });
    settings(&dir, "nonsense = 1\n");
    collector.signal("-HUP");
    honest_is_served(&dir);
    collector.signal("-TERM");
    assert_eq!(collector.wait(), Some(0));
    assert_eq!(count(&dir.log(), "audit.config_changed"), 1);
    assert!(count(&dir.log(), "audit.rate_limited") >= 1, "the burst is in the log itself");
}

#[test]
fn a_second_collector_on_the_same_log_is_refused() {
    let dir = Dir::new();
    let _first = Collector::start(&dir, &["--http", "off"]);
    let (code, _, stderr) = run(&dir, &["serve", "--http", "off"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("locked"), "{stderr}");
}
