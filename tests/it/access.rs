//! Who may do what over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, auditctl, eventually, missing, records, run, skipped};

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const TOKENS: &str = "[collector]\ntoken_file = \"tokens\"\n";

fn ask(collector: &Serving, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let (content, body) = match method {
        "POST" => ("content-type: application/json\r\n", EVENT),
        _ => ("", ""),
    };
    collector.http(&format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{content}\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    ))
}

/// The lines of the security log that hold a text.
fn reported(dir: &Dir, text: &str) -> usize {
    let path = dir.log().join("security_events.log");
    let lines = std::fs::read_to_string(path).unwrap_or_default();
    lines.lines().filter(|line| line.contains(text)).count()
}

fn metric(collector: &Serving, line: &str) -> u64 {
    let (_, _, text) = collector.get("/metrics", "");
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    value.expect(&text).trim().parse().expect("a number")
}

/// Every route and method for every kind of caller.
#[test]
fn each_role_may_what_it_is_for_and_nothing_else() {
    let dir = Dir::new();
    let mut callers: Vec<(&str, String)> = Vec::new();
    for role in ["write", "read", "read-write", "monitor"] {
        callers.push((role, bearer(&new_token(&dir, role, &["--role", role]))));
    }
    let revoked = new_token(&dir, "revoked", &["--role", "read-write"]);
    assert_eq!(run(&dir, &["token", "revoke", "revoked", "--token-file", "tokens"]).0, 0);
    let unknown = new_token(&Dir::new(), "other", &[]);
    callers.push(("nobody", String::new()));
    callers.push(("revoked", bearer(&revoked)));
    callers.push(("unknown", bearer(&unknown)));
    callers.push(("mistyped", bearer(&unknown[..40])));
    callers.push(("basic", "authorization: Basic YTpi\r\n".to_owned()));
    let collector = Serving::start(&dir, TOKENS);
    // Statuses of: write, read, read-write, monitor, and of all who have no valid token.
    let table = [
        ("POST", "/v1/events", [201, 403, 201, 403], [401; 5]),
        ("GET", "/v1/events", [403, 200, 200, 403], [401; 5]),
        ("HEAD", "/v1/events", [403, 200, 200, 403], [401; 5]),
        ("GET", "/v1/events?type=login", [403, 200, 200, 403], [401; 5]),
        ("GET", "/v1/checkpoint", [403, 200, 200, 200], [401; 5]),
        // From this machine, without a token; not with one that is wrong.
        ("GET", "/health", [200; 4], [200, 401, 401, 401, 200]),
        ("GET", "/metrics", [200; 4], [200, 401, 401, 401, 200]),
        ("HEAD", "/metrics", [200; 4], [200, 401, 401, 401, 200]),
        ("DELETE", "/v1/events", [405; 4], [401; 5]),
        ("PUT", "/v1/checkpoint", [405; 4], [401; 5]),
        ("POST", "/health", [405; 4], [401; 5]),
        // What there is to ask, and whether anybody is there.
        ("GET", "/", [200; 4], [200, 401, 401, 401, 200]),
        ("OPTIONS", "/", [204; 4], [204, 401, 401, 401, 204]),
        ("OPTIONS", "/v1/events", [204; 4], [204, 401, 401, 401, 204]),
        ("GET", "/v1/events/", [404; 4], [401; 5]),
        ("GET", "//v1/events", [404; 4], [401; 5]),
        ("GET", "/V1/events", [404; 4], [401; 5]),
        ("GET", "/v1/%65vents", [404; 4], [401; 5]),
        ("GET", "/nowhere", [404; 4], [401; 5]),
    ];
    for (method, path, with_role, without) in table {
        let expected = with_role.into_iter().chain(without);
        for ((who, headers), expected) in callers.iter().zip(expected) {
            let (status, _, body) = ask(&collector, method, path, headers);
            // Whoever fails too often is told so instead.
            let fits = status == expected || (expected == 401 && status == 429);
            let is_health = path == "/health" && expected == 200 && status == 503;
            assert!(fits || is_health, "{who}: {method} {path}: {status}: {body}");
        }
    }
}

#[test]
fn a_record_and_a_query_name_the_token() {
    let dir = Dir::new();
    let sender = bearer(&new_token(&dir, "web-1", &[]));
    let auditor = bearer(&new_token(&dir, "auditor", &["--role", "read"]));
    let collector = Serving::start(&dir, &format!("audit_reads = true\n{TOKENS}"));
    let forged = r#"{"event_type":"login","details":{"origin":{"token":"root"}}}"#;
    let (status, _, body) = collector.post(JSON, &sender, forged);
    assert_eq!(status, 201, "{body}");
    let seq = body["seq"].as_u64().expect("seq") as usize;
    let (_, record) = records(&dir.log()).swap_remove(seq);
    assert_eq!(record["origin"], json!({ "via": "http", "token": "web-1" }));
    assert_eq!(collector.get("/v1/events?type=login", &auditor).0, 200);
    let (_, record) = records(&dir.log()).pop().expect("a record");
    assert_eq!(
        (&record["event_type"], &record["details"]["token"]),
        (&"audit.query".into(), &"auditor".into())
    );
}

#[test]
fn a_revoked_token_is_refused_at_once_on_open_connections_too_and_that_is_recorded() {
    let dir = Dir::new();
    let secret = new_token(&dir, "ci", &[]);
    let collector = Serving::start(&dir, TOKENS);
    let stream = TcpStream::connect(collector.http).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let mut open = BufReader::new(stream);
    let mut post = || {
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\n\
             content-length: {}\r\n{}\r\n{EVENT}",
            EVENT.len(),
            bearer(&secret)
        );
        open.get_mut().write_all(request.as_bytes()).expect("sent");
        let (mut line, mut length, mut status) = (String::new(), 0, 0);
        while open.read_line(&mut line).expect("read") > 2 {
            if status == 0 {
                status = line.split(' ').nth(1).expect("status").parse().expect("a number");
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        open.read_exact(&mut body).expect("the body");
        status
    };
    assert_eq!(post(), 201);
    assert_eq!(run(&dir, &["token", "revoke", "ci", "--token-file", "tokens"]).0, 0);
    eventually("it is refused on the connection that is open", || post() == 401);
    eventually("that is reported", || reported(&dir, "\\\"ci\\\" is revoked") > 0);
    eventually("it is recorded", || {
        records(&dir.log()).iter().any(|(_, record)| {
            let change = &record["details"]["changes"][0];
            change["key"] == "token:ci" && change["to"].to_string().contains("revoked")
        })
    });
    eventually("it is said", || collector.stderr().contains("token:ci"));
}

#[test]
fn an_expired_token_is_told_apart_from_an_unknown_one_only_to_the_operator() {
    let dir = Dir::new();
    let expired = new_token(&dir, "brief", &["--expires", "1s"]);
    let unknown = new_token(&Dir::new(), "other", &[]);
    let collector = Serving::start(&dir, &format!("{TOKENS}token_requests = 10000\n"));
    let of = |secret: &str| collector.get("/health", &bearer(secret));
    eventually("it expires", || of(&expired).0 == 401);
    let (status, head, body) = of(&unknown);
    assert_eq!(status, 401, "{body}");
    assert_eq!(of(&expired), (status, head, body), "to the last byte");
    eventually("it is reported", || reported(&dir, "\\\"brief\\\" is expired") > 0);
    assert!(reported(&dir, "an unknown token") > 0);
}

#[test]
fn a_token_added_while_it_runs_counts_and_a_broken_file_changes_nothing() {
    let dir = Dir::new();
    let first = bearer(&new_token(&dir, "first", &[]));
    let collector = Serving::start(&dir, TOKENS);
    let second = bearer(&new_token(&dir, "second", &[]));
    eventually("the new one counts", || collector.post(JSON, &second, EVENT).0 == 201);
    let file = dir.path().join("tokens");
    let good = std::fs::read(&file).expect("the file");
    let mut warned = 0;
    for broken in ["{\"name\":\"half", "0123456789abcdef\n"] {
        std::fs::write(&file, broken).expect("written");
        warned += 1;
        eventually("it is said", || {
            collector.stderr().matches("the old ones stay").count() == warned
        });
        assert_eq!(collector.post(JSON, &first, EVENT).0, 201);
    }
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("mode");
    collector.signal(Signal::HUP);
    warned += 1;
    eventually("it is said", || collector.stderr().matches("the old ones stay").count() == warned);
    eventually("and what to do", || collector.stderr().contains("chmod 600"));
    std::fs::remove_file(&file).expect("removed");
    warned += 1;
    eventually("it is said", || collector.stderr().matches("the old ones stay").count() == warned);
    assert_eq!(collector.post(JSON, &second, EVENT).0, 201);
    std::fs::write(&file, good).expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("mode");
    collector.signal(Signal::HUP);
    assert_eq!(run(&dir, &["token", "revoke", "first", "--token-file", "tokens"]).0, 0);
    eventually("it is read again", || collector.post(JSON, &first, EVENT).0 == 401);
}

#[test]
fn a_token_is_held_to_its_rate_whatever_its_events_say_and_that_is_recorded() {
    let dir = Dir::new();
    let slow = bearer(&new_token(&dir, "slow", &["--rate", "1"]));
    let other = bearer(&new_token(&dir, "other", &[]));
    let collector = Serving::start(&dir, TOKENS);
    // Another source each: that limit does not help.
    let lines: String =
        (0..6).map(|n| format!("{{\"event_type\":\"x\",\"source\":\"s{n}\"}}\n")).collect();
    let (status, head, body) = collector.post(LINES, &slow, &lines);
    assert_eq!((status, &body["recorded"], &body["rejected"]), (207, &2.into(), &4.into()));
    assert!(head.contains("retry-after: "), "{head}");
    let error = &body["results"][5]["error"];
    assert_eq!(error["kind"], "rate_limited");
    assert!(error["message"].to_string().contains("token:slow"), "{error}");
    assert_eq!(collector.post(JSON, &other, EVENT).0, 201, "others are not held up");
    eventually("the burst is in the log", || {
        records(&dir.log()).iter().any(|(_, record)| {
            record["event_type"] == "audit.rate_limited"
                && record["details"]["source"] == "token:slow"
                && record["details"]["refused"] == 4
        })
    });
    assert_eq!(metric(&collector, "auditctl_events_refused_total{reason=\"rate_limited\"}"), 4);
}

#[test]
fn a_rate_of_its_own_is_a_tokens_only_limit() {
    let dir = Dir::new();
    let fast = bearer(&new_token(&dir, "fast", &["--rate", "5000"]));
    let plain = bearer(&new_token(&dir, "plain", &[]));
    let settings = format!("[rate_limit]\nper_second = 1\nburst = 1\n{TOKENS}");
    let collector = Serving::start(&dir, &settings);
    let lines = format!("{EVENT}\n").repeat(500);
    assert_eq!(collector.post(LINES, &fast, &lines).2["recorded"], 500);
    assert_eq!(collector.post(LINES, &plain, &lines).2["recorded"], 1, "the source's limit");
}

#[test]
fn too_many_requests_of_a_token_are_refused_with_when_to_come_again() {
    let dir = Dir::new();
    let secret = bearer(&new_token(&dir, "busy", &["--role", "read"]));
    let collector = Serving::start(&dir, &format!("{TOKENS}token_requests = 1\n"));
    let get = || collector.get("/v1/checkpoint", &secret);
    assert_eq!((get().0, get().0), (200, 200));
    // Where two take a second a third may, too.
    let refused = (0..50).map(|_| get()).find(|(status, ..)| *status != 200);
    let (status, head, body) = refused.expect("too many");
    assert_eq!(status, 429, "{body}");
    assert!(head.contains("retry-after: 1"), "{head}");
    assert_eq!(
        metric(&collector, "auditctl_http_requests_refused_total{reason=\"rate_limited\"}"),
        1
    );
    eventually("it is reported", || reported(&dir, "token:busy (requests)") > 0);
}

#[test]
fn who_keeps_failing_is_slowed_down_and_who_has_a_token_is_not() {
    let dir = Dir::new();
    let right = bearer(&new_token(&dir, "right", &[]));
    let wrong = bearer(&new_token(&Dir::new(), "wrong", &[]));
    let collector = Serving::start(&dir, TOKENS);
    let answers: Vec<(u16, String, Value)> =
        (0..30).map(|_| collector.post(JSON, &wrong, EVENT)).collect();
    assert!(answers[..10].iter().all(|(status, ..)| *status == 401));
    let (_, head, body) = answers.iter().find(|(status, ..)| *status == 429).expect("too many");
    assert!(head.contains("retry-after: ") && head.contains("connection: close"), "{head}");
    assert_eq!(body["error"]["kind"], "rate_limited");
    assert_eq!(collector.post(JSON, &right, EVENT).0, 201);
    let refused = "auditctl_http_requests_refused_total";
    assert_eq!(metric(&collector, &format!("{refused}{{reason=\"unauthenticated\"}}")), 30);
    assert!(metric(&collector, &format!("{refused}{{reason=\"throttled\"}}")) >= 1);
    // A flood of failures is no flood of lines.
    eventually("it is reported", || reported(&dir, "an unknown token") > 0);
    assert!(reported(&dir, "an unknown token") < 25);
    assert_eq!(metric(&collector, "auditctl_security_events_total{kind=\"unauthorized\"}"), 30);
}

/// An address of this machine that is not loopback.
fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent; a documentation address (RFC 5737).
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn beyond_loopback_a_stranger_learns_only_whether_all_is_well() {
    let dir = Dir::new();
    let sender = bearer(&new_token(&dir, "web-1", &[]));
    let settings = format!("{TOKENS}allow_plain_http = true\n");
    let mut collector = Serving::start_with(&dir, &settings, &["--http", "0.0.0.0:0"], &[]);
    let (status, _, body) = collector.get("/health", "accept: text/plain\r\n");
    assert!(matches!(status, 200 | 503));
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let keys: Vec<&String> = document.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["status"], "{body}");
    assert!(document["status"].is_string(), "{body}");
    assert_eq!(collector.get("/metrics", "").0, 401);
    let (_, _, body) = collector.get("/health", &sender);
    assert!(body.contains("\"checks\""), "{body}");
    let statuses: Vec<u16> = (0..40).map(|_| collector.get("/health", "").0).collect();
    assert!(statuses.contains(&429), "not as often as they like: {statuses:?}");
    let Some(address) = other_address() else { return skipped("only loopback here") };
    collector.http = SocketAddr::new(address, collector.http.port());
    let (status, _, body) = collector.post(JSON, &sender, EVENT);
    assert_eq!(status, 201, "{body}");
    let seq = body["seq"].as_u64().expect("seq") as usize;
    let (_, record) = records(&dir.log()).swap_remove(seq);
    assert_eq!(record["origin"]["peer"], address.to_string());
}

#[test]
fn an_address_has_no_more_connections_than_its_share() {
    let Some(address) = other_address() else { return skipped("only loopback here") };
    let dir = Dir::new();
    new_token(&dir, "a", &[]);
    let settings = format!("{TOKENS}allow_plain_http = true\nmax_connections_per_address = 2\n");
    let collector = Serving::start_with(&dir, &settings, &["--http", "0.0.0.0:0"], &[]);
    let there = SocketAddr::new(address, collector.http.port());
    let connect = || {
        let stream = TcpStream::connect(there).expect("connect");
        stream.set_read_timeout(Some(Duration::from_millis(10))).expect("timeout");
        stream
    };
    // A third takes the place of its own first, once that has had its moment to ask.
    let (mut first, _second) = (connect(), connect());
    eventually("the first is hung up on", || {
        let _third = connect();
        first.read(&mut [0]).is_ok_and(|read| read == 0)
    });
    assert!(matches!(collector.get("/health", "").0, 200 | 503), "others are served");
}

#[test]
fn on_loopback_a_web_page_reads_neither_health_nor_metrics() {
    let dir = Dir::new();
    let secret = bearer(&new_token(&dir, "a", &["--role", "monitor"]));
    let collector = Serving::start(&dir, TOKENS);
    for path in ["/health", "/metrics"] {
        let get = |headers: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
            collector.http(&request).0
        };
        assert_eq!(get("host: evil.example\r\n"), 403, "{path}");
        assert_eq!(get("host: localhost\r\norigin: http://evil.example\r\n"), 403, "{path}");
        assert_eq!(get(&format!("host: audit.example\r\n{secret}")), 200, "{path}: behind a proxy");
    }
}

#[test]
fn a_token_that_was_shown_is_in_no_file_no_message_and_no_argument() {
    let dir = Dir::new();
    let good = new_token(&dir, "good", &["--role", "read-write"]);
    let revoked = new_token(&dir, "revoked", &[]);
    let unknown = new_token(&Dir::new(), "unknown", &[]);
    let mistyped = format!("{}x", &unknown[..53]);
    assert_eq!(run(&dir, &["token", "revoke", "revoked", "--token-file", "tokens"]).0, 0);
    let settings = format!("audit_reads = true\n{TOKENS}token_requests = 3\n");
    let collector = Serving::start_with(&dir, &settings, &["--verbose"], &[]);
    let secrets = [good, revoked, unknown, mistyped];
    for secret in &secrets {
        for _ in 0..8 {
            collector.post(JSON, &bearer(secret), EVENT);
            collector.get("/v1/events", &bearer(secret));
            collector.get(&format!("/v1/events?actor={secret}"), "");
        }
    }
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", collector.pid())).expect("Linux");
    eventually("it is reported", || reported(&dir, "revoked") > 0);
    let stderr = collector.stderr();
    collector.terminate();
    let mut seen = vec![("arguments".to_owned(), cmdline), ("stderr".to_owned(), stderr.into())];
    let mut folders = vec![dir.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let content = std::fs::read(&path).expect("readable");
                seen.push((path.display().to_string(), content));
            }
        }
    }
    assert!(seen.len() > 6, "files were read");
    for (name, content) in seen {
        for secret in &secrets {
            // The random part alone would do.
            let found = memchr::memmem::find(&content, &secret.as_bytes()[5..48]).is_some();
            assert!(!found, "{name}");
        }
    }
}

#[test]
fn serve_refuses_token_files_that_it_cannot_trust() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), TOKENS).expect("settings");
    let file = dir.path().join("tokens");
    let refused = |says: &[&str]| {
        let output = auditctl(&dir, &["serve"]).output().expect("runs");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(says.iter().all(|part| stderr.contains(part)), "{says:?}: {stderr}");
        assert!(!dir.log().exists(), "no log was made");
    };
    refused(&["no token file tokens", "auditctl token new"]);
    std::fs::write(&file, "0123456789abcdef0123\n").expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("mode");
    refused(&["plain token", "auditctl token new"]);
    std::fs::remove_file(&file).expect("removed");
    new_token(&dir, "a", &[]);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("mode");
    if rustix::process::getuid().is_root() {
        // Root's file may be its group's to read, so that a service gets it.
        std::os::unix::fs::chown(&file, Some(65534), None).expect("given away");
    }
    refused(&["0640", "chmod 600"]);
}

/// As a service would: curl, the token from a file that only its user reads.
#[test]
fn curl_sends_with_a_token_that_is_in_no_argument() {
    if Command::new("curl").arg("--version").output().is_err() {
        return missing("curl");
    }
    let dir = Dir::new();
    let secret = new_token(&dir, "web-1", &[]);
    let collector = Serving::start(&dir, TOKENS);
    std::fs::write(dir.path().join("h"), format!("Authorization: Bearer {secret}\n"))
        .expect("written");
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "-H", "@h", "--json", EVENT])
        .arg(format!("http://{}/v1/events", collector.http))
        .current_dir(dir.path())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\"seq\""), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// What is missing is said before the log is touched, with what to do.
#[cfg(not(feature = "tls"))]
#[test]
fn without_the_feature_tls_a_certificate_is_refused() {
    let dir = Dir::new();
    let settings = "[collector]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
    let (code, _, stderr) = run(&dir, &["serve"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("without the feature `tls`") && stderr.contains("hint: "), "{stderr}");
    assert!(!dir.log().exists(), "no log was made");
}
