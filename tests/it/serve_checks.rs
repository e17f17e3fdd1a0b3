//! HTTP as load balancers, curl and careless senders use it.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, count, eventually, missing};

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;
const LINES: &str = "application/x-ndjson";
const TOKENS: &str = "[collector]\ntoken_file = \"tokens\"\n";

fn metric(collector: &Serving, line: &str) -> u64 {
    let (_, _, text) = collector.get("/metrics", "");
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    value.expect(&text).trim().parse().expect("a number")
}

/// What `health` says of security events.
fn security(collector: &Serving) -> Value {
    let (_, _, text) = collector.get("/health", "");
    let health: Value = serde_json::from_str(&text).expect(&text);
    let checks = health["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["component"] == "security").expect("security").clone()
}

/// C7, G6.
#[test]
fn a_health_check_without_host_is_answered_and_is_no_security_event() {
    for settings in ["", TOKENS] {
        let dir = Dir::new();
        new_token(&dir, "web-1", &[]);
        let collector = Serving::start(&dir, settings);
        for _ in 0..12 {
            for (request, expected) in [
                ("GET /health HTTP/1.0\r\n\r\n", 200),
                ("GET /metrics HTTP/1.0\r\n\r\n", 200),
                ("OPTIONS / HTTP/1.0\r\n\r\n", 204),
                ("GET / HTTP/1.0\r\n\r\n", 200),
                // As kubelet asks, and what is behind a forwarded port.
                ("GET /health HTTP/1.1\r\nhost: 10.1.2.3:9750\r\nconnection: close\r\n\r\n", 200),
                ("GET /health HTTP/1.1\r\nhost: [2001:db8::1]\r\nconnection: close\r\n\r\n", 200),
                ("HEAD /health HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n", 200),
            ] {
                let (status, head, _) = collector.http(request);
                let fits = status == expected || (request.contains("/health") && status == 503);
                assert!(fits, "{settings}: {request}: {head}");
            }
        }
        let refused = "auditctl_http_requests_refused_total{reason=\"forbidden\"}";
        assert_eq!(metric(&collector, refused), 0);
        let security = security(&collector);
        assert_eq!(security["status"], "healthy", "{security}");
        assert_eq!(security["metrics"]["stranger_events_last_hour"], 0, "{security}");
    }
}

/// C7: what keeps web pages out stays.
#[test]
fn a_web_page_gets_no_health_even_by_an_address() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    for headers in [
        "host: evil.example\r\n",
        "host: localhost\r\nsec-fetch-site: cross-site\r\n",
        "host: 127.0.0.1\r\nsec-fetch-site: same-site\r\n",
        "host: 0.0.0.0:9750\r\norigin: http://evil.example\r\n",
        "origin: null\r\n",
    ] {
        for path in ["/health", "/metrics", "/"] {
            let request = format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
            let (status, _, body) = collector.http(&request);
            assert_eq!(status, 403, "{path} {headers}: {body}");
        }
    }
    let own = "GET /health HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: none\r\nconnection: close\r\n\r\n";
    assert!(matches!(collector.http(own).0, 200 | 503), "typed into a browser");
    // Nobody but a browser is refused, and that decides nothing.
    assert_eq!(security(&collector)["status"], "healthy");
}

struct Haproxy {
    child: Child,
    stats: std::path::PathBuf,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Haproxy {
    /// What it found out about a backend's server: `UP` or `DOWN`, and by which answer.
    fn check(&self, backend: &str) -> Option<(String, String)> {
        let mut stream = UnixStream::connect(&self.stats).ok()?;
        stream.write_all(b"show stat\n").ok()?;
        let text = std::io::read_to_string(stream).ok()?;
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next()?.trim_start_matches("# ").split(',').collect();
        let column = |name: &str| names.iter().position(|found| *found == name);
        let (status, check) = (column("status")?, column("check_status")?);
        let fields: Vec<&str> = lines
            .map(|line| line.split(',').collect::<Vec<_>>())
            .find(|fields| fields[..2] == [backend, "auditctl"])?;
        Some((fields[status].to_owned(), fields[check].to_owned()))
    }
}

/// C7.
#[test]
fn real_haproxy_finds_the_collector_up_by_its_default_check_and_by_health() {
    let dir = Dir::new();
    let token = bearer(&new_token(&dir, "web-1", &[]));
    let with_tokens = Dir::new();
    std::fs::copy(dir.path().join("tokens"), with_tokens.path().join("tokens")).expect("tokens");
    let plain = Serving::start(&dir, "");
    let guarded = Serving::start(&with_tokens, TOKENS);
    let stats = dir.path().join("haproxy.sock");
    let mut config = format!(
        "global\n  stats socket {} mode 600\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  \
         timeout server 5s\nfrontend unused\n  bind unix@{}\n  default_backend default-plain\n",
        stats.display(),
        dir.path().join("front.sock").display(),
    );
    let checks = [
        ("default", "option httpchk"),
        ("get", "option httpchk GET /health"),
        (
            "host",
            "option httpchk\n  http-check send meth GET uri /health ver HTTP/1.1 hdr Host 10.0.0.1",
        ),
    ];
    for (name, check) in checks {
        for (which, collector) in [("plain", &plain), ("guarded", &guarded)] {
            config += &format!(
                "backend {name}-{which}\n  {check}\n  server auditctl {} check inter 200ms fall 1 rise 2\n",
                collector.http
            );
        }
    }
    let path = dir.path().join("haproxy.cfg");
    std::fs::write(&path, &config).expect("settings");
    let Ok(child) = Command::new("/usr/sbin/haproxy")
        .args(["-db", "-f"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        missing("haproxy");
        return;
    };
    let haproxy = Haproxy { child, stats };
    for (name, _) in checks {
        for which in ["plain", "guarded"] {
            let backend = format!("{name}-{which}");
            let mut last = None;
            eventually(&format!("{backend} was checked\n{config}"), || {
                last = haproxy.check(&backend);
                matches!(&last, Some((status, check)) if status == "UP" && check == "L7OK")
            });
        }
    }
    assert_eq!(security(&plain)["status"], "healthy");
    assert_eq!(metric(&plain, "auditctl_http_requests_refused_total{reason=\"forbidden\"}"), 0);
    assert_eq!(guarded.post("application/json", &token, EVENT).0, 201);
}

fn retry_after(head: &str) -> u64 {
    let value = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    value.expect(head).parse().expect("seconds")
}

/// C10.
#[test]
fn a_batch_of_which_a_part_was_refused_is_207_and_says_when_the_rest_may_come() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 100\nburst = 34\n");
    let (status, head, told) = collector.post(LINES, "", &format!("{EVENT}\n").repeat(1_000));
    assert_eq!(status, 207, "{told}");
    let recorded = told["recorded"].as_u64().expect("a number");
    let rejected = told["rejected"].as_u64().expect("a number");
    assert!(recorded >= 34 && recorded + rejected == 1_000, "{told}");
    let results = told["results"].as_array().expect("a result a line");
    assert_eq!(results.len(), 1_000);
    // Each of them takes a hundredth of a second, less what the bucket may hold by then.
    let (needed, held) = (rejected * 10, 34 * 10);
    for refused in results.iter().filter(|result| result["seq"].is_null()) {
        let wait = refused["error"]["retry_after_ms"].as_u64().expect("a time");
        assert!(wait <= needed && wait + held >= needed, "{wait} of {needed}: {refused}");
        let said = refused["error"]["message"].as_str().expect("text");
        assert!(said.contains(&format!("{wait} ms")), "{said}");
    }
    let wait = results.iter().find_map(|result| result["error"]["retry_after_ms"].as_u64());
    assert_eq!(retry_after(&head), wait.expect("a time").div_ceil(1_000), "{head}");
    assert_eq!(count(&dir.log(), "login") as u64, recorded);
}

/// C10.
#[test]
fn a_batch_of_which_nothing_came_in_has_the_status_of_why() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 1\nburst = 1\n");
    // Where one takes a second another may be due: the next will not.
    let with_none_recorded = |body: &str| {
        let mut answers = (0..50).map(|_| collector.post(LINES, "", body));
        answers.find(|(_, _, told)| told["recorded"] == 0).expect("none came in")
    };
    let (status, head, told) = with_none_recorded(&format!("{EVENT}\n").repeat(5));
    assert_eq!(status, 429, "{told}");
    assert!((4..=5).contains(&retry_after(&head)), "five of them: {head}");
    // For several reasons: which of them holds for which line is in the results.
    let (status, _, told) = with_none_recorded(&format!("{EVENT}\n{{}}\n"));
    assert_eq!(status, 207, "{told}");
    let (status, _, told) = collector.post(LINES, "", "{}\n{\"event_type\":\"\"}\n");
    assert_eq!(status, 422, "{told}");
}

fn post_bytes(collector: &Serving, kind: &str, coding: &str, body: &[u8]) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(collector.http).expect("connect");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         content-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    let text = std::io::read_to_string(stream).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect(&text);
    let status = head.split(' ').nth(1).expect(head).parse().expect("status");
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).expect(body))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("packed");
    encoder.finish().expect("packed")
}

/// C12.
#[test]
fn packed_bodies_are_unpacked_whole_and_cut_ones_up_to_the_last_whole_line() {
    let dir = Dir::new();
    let settings = "[rate_limit]\nenabled = false\n[collector]\nmax_body = \"1MiB\"\n";
    let collector = Serving::start(&dir, settings);
    let mut expected = 0;
    let lines: String = (0..2_000)
        .map(|n| format!("{{\"event_type\":\"packed\",\"target\":\"{}\"}}\n", n * 7_919))
        .collect();
    let part = lines.lines().take(10).map(|line| format!("{line}\n")).collect::<String>();
    for (coding, body) in [
        ("gzip", [gzip(&lines), gzip(&part)].concat()),
        ("X-GZIP", [gzip(&lines), gzip(&part)].concat()),
        (
            "zstd",
            [zstd::encode_all(lines.as_bytes(), 3), zstd::encode_all(part.as_bytes(), 3)]
                .map(|packed| packed.expect("packed"))
                .concat(),
        ),
    ] {
        let (status, _, told) = post_bytes(&collector, LINES, coding, &body);
        assert_eq!((status, &told["recorded"]), (200, &json!(2_010)), "{coding}: {told}");
        expected += 2_010;
        let cut = &body[..body.len() - 3];
        let (status, _, told) = post_bytes(&collector, LINES, coding, cut);
        assert_eq!(status, 400, "{told}");
        assert_eq!(told["stopped"]["error"]["kind"], "malformed", "{told}");
        expected += told["recorded"].as_u64().expect("a number") as usize;
    }
    let one = gzip("{\"event_type\":\"packed\"}");
    assert_eq!(post_bytes(&collector, "application/json", "gzip", &one).0, 201);
    assert_eq!(count(&dir.log(), "packed"), expected + 1);
    // What it unpacks to counts.
    let (status, _, told) = post_bytes(&collector, LINES, "gzip", &gzip(&lines.repeat(20)));
    assert_eq!(status, 413, "{told}");
    let (status, head, told) = post_bytes(&collector, LINES, "br", b"x");
    assert_eq!((status, &told["error"]["kind"]), (415, &json!("unsupported_media_type")), "{told}");
    assert!(head.contains("accept-encoding: gzip, zstd"), "{head}");
}

/// D's sentence on P9, and G6.
#[test]
fn every_refused_request_moves_a_counter_and_none_of_them_makes_health_worse() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let rejected = "auditctl_http_requests_refused_total{reason=\"rejected\"}";
    let malformed = "auditctl_security_events_total{kind=\"malformed\"}";
    let mut expected = 0;
    for _ in 0..15 {
        for (request, status) in [
            ("GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", 404),
            ("DELETE /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", 405),
            (
                "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 content-type: text/plain\r\ncontent-length: 0\r\n\r\n",
                415,
            ),
        ] {
            let (found, head, body) = collector.http(request);
            assert_eq!(found, status, "{body}");
            assert!(status != 405 || head.contains("allow: "), "{head}");
            expected += 1;
        }
    }
    // What is no request at all, and is answered before the router sees it.
    let (status, _, _) = collector.http("GET /he alth HTTP/9.9\r\n\r\n");
    assert_eq!(status, 400);
    expected += 1;
    eventually("it is counted", || metric(&collector, rejected) == expected);
    assert_eq!(metric(&collector, malformed), expected);
    let security = security(&collector);
    assert_eq!(security["status"], "healthy", "{security}");
    assert_eq!(security["metrics"]["stranger_events_last_hour"], expected, "{security}");
}

/// C17.
#[test]
fn what_curl_sends_by_itself_is_told_the_header_that_is_missing_and_with_it_gets_in() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let url = format!("http://{}/v1/events", collector.http);
    let curl = |args: &[&str]| {
        let output = Command::new("curl").args(["-sS", "-m", "20"]).args(args).output().ok()?;
        Some(String::from_utf8(output.stdout).expect("text"))
    };
    let Some(said) = curl(&["-d", EVENT, &url]) else {
        missing("curl");
        return;
    };
    let said: Value = serde_json::from_str(&said).expect(&said);
    let message = said["error"]["message"].as_str().expect("a message");
    assert_eq!(said["error"]["kind"], "unsupported_media_type");
    let (_, header) = message.split_once("add the header `").expect(message);
    let (header, _) = header.split_once('`').expect(message);
    let done = curl(&["-d", EVENT, "-H", header, &url]).expect("curl");
    assert!(done.contains("\"seq\":"), "{done}");
}

/// C17.
#[test]
fn the_first_page_says_what_there_is_to_ask_as_text_or_json() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let (status, head, text) = collector.get("/", "");
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; charset=utf-8"), "{head}");
    let (_, head, page) = collector.get("/", "accept: application/json\r\n");
    assert!(head.contains("application/json"), "{head}");
    let page: Value = serde_json::from_str(&page).expect(&page);
    for endpoint in page["endpoints"].as_array().expect("endpoints") {
        let path = endpoint["path"].as_str().expect("a path");
        assert!(text.contains(path), "{text}");
        let path = path.replace("{name}", "cloudtrail");
        let request = format!(
            "{} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            endpoint["method"].as_str().expect("a method")
        );
        let status = collector.http(&request).0;
        assert!(!matches!(status, 404 | 405), "{path}: {status}");
    }
}
