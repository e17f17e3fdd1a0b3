//! The doors of the collector's page: who gets in and with what, what another page's requests
//! get, and what it may cost. With real processes, some of another user, which only root can
//! start.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, auditctl, eventually, records, run, skipped};

const NOBODY: u32 = 65_534;
const JSON: &str = "application/json";
const HTML: &str = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
const FREE: &str = "[rate_limit]\nenabled = false\n";

/// What a session is begun with.
struct Opened {
    token: String,
    role: String,
    url: String,
}

fn opened(answer: &Value) -> Opened {
    let opened = &answer["ok"]["open"];
    let text = |key: &str| opened[key].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    Opened { token: text("token"), role: text("role"), url: text("url") }
}

fn open(collector: &Serving) -> Opened {
    opened(&collector.connect().ask(r#"{"open":{}}"#))
}

/// Asks in a session: status and document.
fn ask(collector: &Serving, token: &str, path: &str) -> (u16, Value) {
    let (status, _, body) = collector.get(path, &bearer(token));
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn is_root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        skipped("only root can become another user");
    }
    root
}

/// A directory that others may enter, with the socket in it.
fn open_dir() -> Dir {
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    dir
}

/// What another user's program is answered that sends a line to the socket.
fn as_nobody(collector: &Serving, line: &str) -> Value {
    const ASK: &str = "
import socket, sys
peer = socket.socket(socket.AF_UNIX)
try:
    peer.connect(sys.argv[1])
    peer.sendall(sys.argv[2].encode() + b'\\n')
except PermissionError:
    print('{\"error\":{\"kind\":\"forbidden\"}}')
    sys.exit()
except OSError:
    pass
print(peer.makefile().readline())
";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", ASK]).arg(&collector.socket).arg(line).current_dir("/").env_clear();
    let output = command.uid(NOBODY).gid(NOBODY).output().expect("python3");
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr))
    })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines();
    lines.filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, v)| v)
}

#[test]
fn a_browser_gets_the_page_and_programs_what_they_got_before() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let (status, head, page) = collector.get("/", HTML);
    assert_eq!(status, 200, "{page}");
    assert!(page.to_ascii_lowercase().contains("<!doctype html>"), "{page}");
    assert_eq!(header(&head, "content-type"), Some("text/html; charset=utf-8"));
    let policy = header(&head, "content-security-policy").expect("a policy");
    for rule in
        ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
    {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "deny"),
        ("cache-control", "no-cache"),
        ("vary", "accept"),
    ] {
        assert_eq!(header(&head, name), Some(value), "{name}: {head}");
    }
    assert!(header(&head, "set-cookie").is_none());
    for (accept, kind) in [
        ("", "text/plain; charset=utf-8"),
        ("accept: */*\r\n", "text/plain; charset=utf-8"),
        ("accept: application/json\r\n", "application/json"),
    ] {
        let (status, head, body) = collector.get("/", accept);
        assert_eq!((status, header(&head, "content-type")), (200, Some(kind)), "{accept}");
        assert!(body.contains("/v1/status") && !body.contains("/page/"), "{body}");
    }
}

#[test]
fn a_file_of_the_page_is_sent_once_and_nothing_but_its_files() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let (status, head, page) = collector.get("/page/index.html", "");
    assert_eq!(status, 200);
    let tag = header(&head, "etag").expect("a tag").to_owned();
    let (status, head, body) =
        collector.get("/page/index.html", &format!("if-none-match: {tag}\r\n"));
    assert_eq!((status, &*body, header(&head, "etag")), (304, "", Some(&*tag)));
    let (status, head, body) = collector
        .http("HEAD /page/index.html HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!((status, &*body), (200, ""));
    assert_eq!(header(&head, "content-length"), Some(&*page.len().to_string()));
    for path in [
        "/page/nothing.js",
        "/page/..%2f..%2fmod.rs",
        "/page/mod.rs",
        "/page/%2fetc%2fpasswd",
        "/page/",
        "/page/a/b.js",
    ] {
        let (status, head, _) = collector.get(path, "");
        assert_eq!((status, header(&head, "content-type")), (404, Some(JSON)), "{path}");
    }
}

#[test]
fn p10_a_session_reads_and_nothing_else_does_and_it_never_writes() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, FREE);
    let Opened { token, role, url } = open(&collector);
    assert_eq!((&*role, &*url), ("read", &*format!("http://{}/", collector.http)));
    for path in ["/v1/events", "/v1/summary", "/v1/records/0"] {
        let (status, answer) = ask(&collector, &token, path);
        assert_eq!(status, 200, "{path}: {answer}");
        let (status, _, body) = collector.get(path, "");
        assert_eq!(status, 403, "without: {body}");
        assert!(body.contains("auditctl open"), "{body}");
        let (_, head, _) = collector.get(path, &bearer(&token));
        assert_eq!(header(&head, "cache-control"), Some("no-store"), "{path}: {head}");
    }
    let (status, answer) = ask(&collector, &token, "/v1/status");
    assert_eq!(
        (status, &answer["session"]["uid"]),
        (200, &json!(rustix::process::getuid().as_raw()))
    );
    let event = r#"{"event_type":"login"}"#;
    let (status, _, answer) = collector.post(JSON, &bearer(&token), event);
    assert_eq!((status, &answer["error"]["kind"]), (403, &json!("forbidden")), "{answer}");
    // Nobody can tell from outside that it is none: a guess is one among 2^256.
    let shown = [
        format!("{}x", &token[..token.len() - 1]),
        token[..20].to_owned(),
        new_token(&dir, "other", &["--role", "read"]),
    ];
    for shown in shown {
        let (status, answer) = ask(&collector, &shown, "/v1/events");
        assert_eq!((status, &answer["error"]["kind"]), (401, &json!("unauthorized")), "{answer}");
    }
    let said = collector.stderr();
    collector.terminate();
    let mut texts = vec![said];
    for entry in std::fs::read_dir(dir.log()).expect("listed") {
        let bytes = std::fs::read(entry.expect("one").path()).expect("read");
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    assert!(texts.iter().all(|text| !text.contains(&token)), "the token is in no file or message");
}

#[test]
fn p10_a_session_ends_with_the_collector_and_guesses_are_slowed_down() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let before = open(&collector).token;
    collector.terminate();
    let collector = Serving::start(&dir, "");
    let own = open(&collector).token;
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(ask(&collector, &before, "/v1/events").0);
    }
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(ask(&collector, &own, "/v1/events").0, 200, "who has one gets in all the same");
}

#[test]
fn p10_a_session_is_used_by_the_collectors_own_page_alone() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let token = open(&collector).token;
    let own = format!("http://{}", collector.http);
    let asked = |host: &str, more: &str| {
        let shown = bearer(&token);
        let text = format!(
            "GET /v1/events HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{shown}{more}\r\n"
        );
        collector.http(&text).0
    };
    let host = collector.http.to_string();
    for fine in [
        String::new(),
        "sec-fetch-site: same-origin\r\n".to_owned(),
        "sec-fetch-site: none\r\n".to_owned(),
        format!("origin: {own}\r\nsec-fetch-site: same-origin\r\n"),
    ] {
        assert_eq!(asked(&host, &fine), 200, "{fine}");
    }
    for other in [
        "origin: http://evil.example\r\n",
        "origin: null\r\n",
        "origin: \r\n",
        "origin: http://127.0.0.1\r\n",
        "origin: http://127.0.0.1:1\r\n",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
    ] {
        assert_eq!(asked(&host, other), 403, "{other}");
    }
    assert_eq!(asked(&host, &format!("origin: {own}\r\norigin: http://evil.example\r\n")), 403);
    // A name that somebody's DNS points here, and whose page names itself as its origin.
    for host in ["evil.example", "evil.example:9750", "10.0.0.1", "localhost.evil.example"] {
        assert_eq!(asked(host, ""), 403, "{host}");
        assert_eq!(asked(host, &format!("origin: http://{host}\r\n")), 403, "{host}");
    }
    // Preflights are answered without a word that would allow anything.
    let (_, head, _) = collector.http(&format!(
        "OPTIONS /v1/events HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         access-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n\r\n"
    ));
    assert!(!head.contains("access-control"), "{head}");
}

#[test]
fn a_link_leads_to_the_page_and_nothing_else_of_another_site_does() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let followed = "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n\
                    sec-fetch-dest: document\r\n";
    assert_eq!(collector.get("/", &format!("{HTML}{followed}")).0, 200);
    for path in ["/v1/status", "/v1/checkpoint", "/metrics", "/page/index.html", "/v1/events"] {
        assert_eq!(collector.get(path, followed).0, 403, "{path}");
    }
    for other in [
        "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: iframe\r\n",
        "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: script\r\n",
        "sec-fetch-site: cross-site\r\nsec-fetch-mode: cors\r\nsec-fetch-dest: empty\r\n",
        "origin: null\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n\
         sec-fetch-dest: document\r\n",
    ] {
        assert_eq!(collector.get("/", &format!("{HTML}{other}")).0, 403, "{other}");
    }
    // Browsers name the origin of scripts that are modules.
    let module = |origin: &str| {
        let more =
            format!("origin: {origin}\r\nsec-fetch-site: same-origin\r\nsec-fetch-mode: cors\r\n");
        collector.get("/page/index.html", &more).0
    };
    assert_eq!((module("http://localhost"), module("http://evil.example")), (200, 403));
    let shown = format!("{followed}{}", bearer(&open(&collector).token));
    assert_eq!(collector.get("/v1/events", &shown).0, 403);
}

#[test]
fn a_session_is_good_where_there_are_tokens_too_and_files_need_none() {
    let dir = Dir::new();
    new_token(&dir, "web-1", &[]);
    let settings = "[collector]\ntoken_file = \"tokens\"\nallow_plain_http = true\n";
    let collector = Serving::start_with(&dir, settings, &["--http", "0.0.0.0:0"], &[]);
    let Opened { token, url, .. } = open(&collector);
    assert_eq!(url, format!("http://127.0.0.1:{}/", collector.http.port()));
    let named = |path: &str, more: &str| {
        let text = format!(
            "GET {path} HTTP/1.1\r\nhost: audit.example\r\nconnection: close\r\n{more}\r\n"
        );
        collector.http(&text).0
    };
    assert_eq!(named("/v1/events", &bearer(&token)), 200);
    let own = "origin: https://audit.example\r\nsec-fetch-site: same-origin\r\n";
    assert_eq!(named("/v1/events", &format!("{}{own}", bearer(&token))), 200, "behind a proxy");
    let other = "origin: https://evil.example\r\n";
    assert_eq!(named("/v1/events", &format!("{}{other}", bearer(&token))), 403);
    for path in ["/v1/events", "/v1/summary", "/v1/records/0", "/v1/status", "/v1/checkpoint"] {
        assert_eq!(named(path, ""), 401, "{path}");
    }
    for _ in 0..60 {
        assert_eq!(named("/page/index.html", ""), 200, "a page is many files");
    }
}

#[test]
fn p10_what_a_session_may_do_is_what_its_user_may_at_the_socket_now() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    let settings = |more: &str| format!("[collector]\nsocket = \"s.sock\"\n{more}");
    let collector = Serving::start(&dir, &settings(""));
    let refused = as_nobody(&collector, r#"{"open":{}}"#);
    assert_eq!(refused["error"]["kind"], "forbidden", "{refused}");
    let reload = |more: &str| {
        std::fs::write(dir.path().join("auditctl.toml"), settings(more)).expect("settings");
        let before = collector.stderr().matches("settings reloaded").count();
        collector.signal(Signal::HUP);
        eventually("the settings are read", || {
            collector.stderr().matches("settings reloaded").count() > before
        });
    };
    let asked = |token: &str| {
        ["/v1/events", "/v1/summary", "/v1/status", "/v1/checkpoint"]
            .map(|path| collector.get(path, &bearer(token)).0)
    };
    let begin = |role: &str| {
        // Who may connect is told after the settings were read.
        let mut told = Value::Null;
        eventually("it is let in", || {
            told = as_nobody(&collector, r#"{"open":{}}"#);
            told["ok"]["open"]["role"] == role
        });
        opened(&told).token
    };
    reload("allowed_uids = [65534]\n");
    let writer = begin("monitor");
    assert_eq!(asked(&writer), [403, 403, 200, 200]);
    reload("allowed_uids = [65534]\nread_uids = [65534]\n");
    let reader = begin("read");
    assert_eq!(asked(&reader), [200, 200, 200, 200]);
    assert_eq!(asked(&writer), [403, 403, 200, 200], "it is no more than it was given");
    let status = ask(&collector, &reader, "/v1/status").1;
    assert_eq!(
        (&status["session"]["user"], &status["session"]["uid"]),
        (&json!("nobody"), &json!(NOBODY))
    );
    reload("allowed_uids = [65534]\n");
    eventually("it reads no more", || asked(&reader) == [403, 403, 200, 200]);
    reload("");
    eventually("nor anything else", || asked(&reader) == [403; 4]);
}

#[test]
fn a_flood_of_sessions_costs_its_user_the_oldest_and_is_refused_at_last() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    let mut tokens = Vec::new();
    let mut busy = 0;
    for _ in 0..60 {
        let answer = peer.ask(r#"{"open":{}}"#);
        match answer["error"]["kind"].as_str() {
            None => tokens.push(opened(&answer).token),
            Some("busy") => {
                assert!(answer["error"]["retry_after_ms"].is_u64(), "{answer}");
                busy += 1;
            }
            Some(_) => panic!("{answer}"),
        }
    }
    assert!(busy > 0 && tokens.len() >= 30, "{busy} {}", tokens.len());
    let (over, open) = tokens.split_at(tokens.len() - 8);
    assert!(open.iter().all(|token| ask(&collector, token, "/v1/events?count").0 == 200));
    let (status, answer) = ask(&collector, &over[over.len() - 1], "/v1/events");
    assert_eq!((status, &answer["error"]["kind"]), (401, &json!("session_ended")), "{answer}");
}

#[test]
fn who_signs_out_leaves_no_token_behind_that_opens_anything() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let token = open(&collector).token;
    let sign_out = |more: &str| {
        let head = "DELETE /v1/session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
        collector.http(&format!("{head}{more}\r\n")).0
    };
    let shown = bearer(&token);
    assert_eq!(sign_out(&format!("{shown}origin: http://evil.example\r\n")), 403);
    assert_eq!(sign_out(""), 401);
    assert_eq!(ask(&collector, &token, "/v1/events").0, 200);
    assert_eq!(sign_out(&format!("{shown}origin: http://localhost\r\n")), 204);
    let (status, answer) = ask(&collector, &token, "/v1/events");
    assert_eq!((status, &answer["error"]["kind"]), (401, &json!("session_ended")), "{answer}");
    assert_eq!(sign_out(&shown), 401);
}

/// The records of who has read.
fn reads(dir: &Dir) -> Vec<Value> {
    let all = records(&dir.log()).into_iter().map(|(_, record)| record);
    all.filter(|record| record["event_type"] == "audit.query")
        .map(|record| record["details"].clone())
        .collect()
}

#[test]
fn what_the_page_reads_of_the_records_is_recorded_with_the_person() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, &format!("audit_reads = true\n{FREE}"));
    for nth in 0..9 {
        let event = format!(r#"{{"event_type":"login","actor":"a{nth}"}}"#);
        assert_eq!(collector.post(JSON, "", &event).0, 201);
    }
    let token = open(&collector).token;
    for path in [
        "/v1/events?actor=a1",
        "/v1/events?actor=a1&format=csv",
        "/v1/summary?by=actor",
        "/v1/records/4?around=2",
        "/v1/status",
        "/page/index.html",
    ] {
        assert_eq!(collector.get(path, &bearer(&token)).0, 200, "{path}");
    }
    assert_eq!(ask(&collector, &token, "/v1/records/400").0, 404);
    let reads = reads(&dir);
    assert_eq!(reads.len(), 4, "{reads:?}");
    let uid = rustix::process::getuid().as_raw();
    let name = nix_user(uid);
    for read in &reads {
        assert_eq!((&read["via"], &read["uid"]), (&json!("http"), &json!(uid)), "{read}");
        assert_eq!(read["user"].as_str(), name.as_deref(), "{read}");
        assert!(read.get("token").is_none(), "{read}");
    }
    assert_eq!(reads[2]["query"]["by"], json!(["actor"]), "{}", reads[2]);
    let record = &reads[3];
    assert_eq!((&record["what"], &record["records"]), (&json!("record"), &json!(5)), "{record}");
    assert_eq!(record["query"]["seq"], "2..7", "{record}");
}

/// A user's name, as the system has it.
fn nix_user(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|user| user.get(2).is_some_and(|found| *found == uid.to_string()))?;
    Some(user[0].to_owned())
}

#[test]
fn of_what_is_followed_the_beginning_is_recorded_and_whatever_goes_back() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, &format!("audit_reads = true\n{FREE}"));
    let send = |actor: &str| {
        let event = format!(r#"{{"event_type":"login","actor":"{actor}"}}"#);
        assert_eq!(collector.post(JSON, "", &event).0, 201);
    };
    (0..5).for_each(|_| send("alice"));
    let token = open(&collector).token;
    let follow = |seq: &str| {
        let path = format!("/v1/events?type=login&follow=true&order=oldest&limit=0{seq}");
        let (status, answer) = ask(&collector, &token, &path);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let mut end = follow("&seq=4..")["end"].as_u64().expect("an end");
    assert_eq!(reads(&dir).len(), 1);
    for _ in 0..3 {
        send("bob");
        let answer = follow(&format!("&seq={end}.."));
        assert_eq!(answer["records"].as_array().map(Vec::len), Some(1), "{answer}");
        end = answer["end"].as_u64().expect("an end");
    }
    assert_eq!(reads(&dir).len(), 1, "what goes on is not recorded again");
    follow("&seq=0..");
    follow("&seq=4..");
    assert_eq!(reads(&dir).len(), 3, "what goes back is");
    // A small beginning opens nothing that was there already.
    let small = |seq: &str, limit: u64| {
        let path =
            format!("/v1/events?actor=alice&follow=true&order=oldest&limit={limit}&seq={seq}");
        assert_eq!(ask(&collector, &token, &path).0, 200);
    };
    small("0..", 1);
    small("1..", 0);
    assert_eq!(reads(&dir).len(), 5);

    // The same at the socket.
    let mut peer = collector.connect();
    let mut ask = |seq: &str| {
        let line =
            format!(r#"{{"query":{{"follow":true,"type":"login","seq":"{seq}","limit":0}}}}"#);
        let answer = peer.ask(&line);
        answer["ok"]["query"]["end"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    };
    let end = ask("900..");
    assert_eq!(reads(&dir).len(), 6);
    assert_eq!(ask(&format!("{}..", end + 1)), end + 1, "its own record came in between");
    assert_eq!(reads(&dir).len(), 6);
    ask("0..");
    assert_eq!(reads(&dir).len(), 7);
}

#[test]
fn a_record_comes_as_it_is_stored_with_its_neighbours_or_says_why_not() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, FREE);
    for nth in 0..20 {
        let event =
            format!(r#"{{"event_type":"e","details":{{"n":{nth}.00,"html":"<b>\u202e"}}}}"#);
        assert_eq!(collector.post(JSON, "", &event).0, 201);
    }
    let token = open(&collector).token;
    let stored = crate::support::all_lines(&dir.log());
    let (_, _, body) = collector.get("/v1/records/9?around=3", &bearer(&token));
    for line in &stored[6..=12] {
        assert!(body.contains(&**line), "{line} is not in {body}");
    }
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let seqs = |key: &str| -> Vec<u64> {
        answer[key].as_array().expect(key).iter().filter_map(|r| r["seq"].as_u64()).collect()
    };
    assert_eq!((seqs("before"), answer["record"]["seq"].as_u64()), (vec![6, 7, 8], Some(9)));
    assert_eq!(seqs("after"), [10, 11, 12]);
    let first = ask(&collector, &token, "/v1/records/0").1;
    assert_eq!(first["before"], json!([]), "{first}");
    let alone = ask(&collector, &token, "/v1/records/9?around=0").1;
    assert_eq!((&alone["before"], &alone["after"]), (&json!([]), &json!([])));
    for seq in ["9999", "18446744073709551615"] {
        let (status, answer) = ask(&collector, &token, &format!("/v1/records/{seq}"));
        assert_eq!((status, &answer["error"]["reason"]), (404, &json!("not_yet")), "{answer}");
    }
    for bad in [
        "/v1/records/x",
        "/v1/records/-1",
        "/v1/records/+1",
        "/v1/records/18446744073709551616",
        "/v1/records/1?around=51",
        "/v1/records/1?around=-1",
        "/v1/records/1?arround=1",
    ] {
        let (status, answer) = ask(&collector, &token, bad);
        assert_eq!((status, &answer["error"]["kind"]), (400, &json!("usage")), "{bad}: {answer}");
    }
}

#[test]
fn a_summary_counts_over_time_and_by_several_fields_and_is_bounded() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, FREE);
    for nth in 0..30 {
        let event = format!(
            r#"{{"event_type":"login","actor":"a{}","outcome":"{}"}}"#,
            nth % 7,
            if nth % 3 == 0 { "failure" } else { "success" }
        );
        assert_eq!(collector.post(JSON, "", &event).0, 201);
    }
    let token = open(&collector).token;
    let path = "/v1/summary?type=login&by=actor&by=outcome&top=3&buckets=20";
    let (status, answer) = ask(&collector, &token, path);
    assert_eq!((status, &answer["total"], &answer["complete"]), (200, &json!(30), &json!(true)));
    let counts = answer["histogram"]["counts"].as_array().expect("counts");
    assert!(counts.len() <= 20, "{answer}");
    assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), 30, "{answer}");
    let actors = &answer["by"]["actor"];
    assert_eq!(actors["values"].as_array().map(Vec::len), Some(3), "{answer}");
    let listed: u64 = actors["values"]
        .as_array()
        .expect("values")
        .iter()
        .filter_map(|v| v["count"].as_u64())
        .sum();
    assert_eq!(
        (listed + actors["other"].as_u64().expect("other"), &actors["distinct"]),
        (30, &json!(7))
    );
    let outcomes = answer["by"]["outcome"]["values"].as_array().expect("values");
    assert_eq!((&outcomes[0]["value"], &outcomes[0]["count"]), (&json!("success"), &json!(20)));
    for bad in [
        "buckets=0",
        "buckets=1001",
        "buckets=-1",
        "buckets=x",
        "top=101",
        "by=colour",
        "limit=1",
        "count=true",
        "group_by=actor",
        "format=csv",
        "follow=true",
        "by=actor&by=type&by=source&by=target&by=outcome&by=details.a&by=details.b&by=details.c&by=details.d",
    ] {
        let (status, answer) = ask(&collector, &token, &format!("/v1/summary?{bad}"));
        assert_eq!((status, &answer["error"]["kind"]), (400, &json!("usage")), "{bad}: {answer}");
    }
}

#[test]
fn records_and_groups_come_as_a_table() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, FREE);
    let event = r#"{"event_type":"login","actor":"a,\"b\"\n=1+1","details":{"ip":"::1"}}"#;
    assert_eq!(collector.post(JSON, "", event).0, 201);
    let token = open(&collector).token;
    let table = |path: &str, more: &str| collector.get(path, &format!("{}{more}", bearer(&token)));
    let expected = "seq,actor,details.ip\n2,\"a,\"\"b\"\"\u{fffd}=1+1\",::1\n";
    let path = "/v1/events?type=login&fields=seq,actor,details.ip";
    for (path, more) in [(path, "accept: text/csv\r\n"), (&*format!("{path}&format=csv"), "")] {
        let (status, head, body) = table(path, more);
        assert_eq!((status, &*body), (200, expected));
        assert!(header(&head, "content-type").is_some_and(|kind| kind.starts_with("text/csv")));
    }
    let (_, _, body) = table("/v1/events?type=login&group_by=outcome&format=csv", "");
    assert_eq!(body, "group,records,type\n,1,missing\n");
    let many: Vec<String> = (0..65).map(|nth| format!("details.a{nth}")).collect();
    for bad in [
        "count=true&format=csv",
        "fields=seq&format=json",
        "fields=nothing",
        "format=tsv",
        "format=csv&fields=seq,actor,seq",
        &format!("format=csv&fields={}", many.join(",")),
        &format!("format=csv&fields=details{}", ",details".repeat(2_000)),
    ] {
        assert_eq!(table(&format!("/v1/events?{bad}"), "").0, 400, "{bad}");
    }
}

#[test]
fn the_status_is_healths_verdict_and_many_pages_are_one_look() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, FREE);
    for _ in 0..10 {
        assert_eq!(collector.post(JSON, "", r#"{"event_type":"e"}"#).0, 201);
    }
    let (status, _, body) = collector.get("/v1/status", "");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 200);
    let (_, health) = crate::support::json(&dir, &["health"]);
    assert_eq!(answer["verdict"]["status"], health["status"], "{answer}");
    let names = |checks: &Value| -> Vec<String> {
        let checks = checks.as_array().expect("checks").iter();
        checks.map(|check| check["component"].to_string()).collect()
    };
    assert_eq!(names(&answer["checks"]), names(&health["checks"]));
    assert_eq!((&answer["session"], &answer["log"]["next"]), (&Value::Null, &json!(12)));
    assert_eq!(answer["rates"], json!({"minute": null, "hour": null, "day": null}), "just begun");
    assert_eq!(answer["sample"]["writer"]["state"], "running");
    let begun = std::time::Instant::now();
    let mut looks = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let (_, _, body) = collector.get("/v1/status", "");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        looks.insert(answer["sample"]["timestamp"].to_string());
    }
    let seconds = begun.elapsed().as_secs() as usize + 1;
    assert!(looks.len() <= seconds + 1, "{} looks in {seconds} s", looks.len());
}

/// Holds one thread of a process, as a device that does not answer would.
const HOLD: &str = "
import ctypes, glob, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
threads = glob.glob('/proc/%s/task/*/comm' % sys.argv[1])
held = [int(path.split('/')[4]) for path in threads if open(path).read().strip() == 'audit-writer']
for thread in held:
    if libc.ptrace(0x4206, thread, 0, 0) != 0 or libc.ptrace(0x4207, thread, 0, 0) != 0:
        print('no ptrace', os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()
    os.waitpid(thread, 0x40000000)
print('held', len(held), flush=True)
sys.stdin.read()
";

#[test]
fn p6_the_status_says_that_the_writer_hangs_and_goes_on_answering() {
    let dir = Dir::new();
    let settings = format!("{FREE}[health]\nhung_after = \"1s\"\n");
    let collector = Serving::start(&dir, &settings);
    let mut holder = Command::new("/usr/bin/python3");
    holder.args(["-c", HOLD, &collector.pid().to_string()]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let mut said = String::new();
    let mut lines = std::io::BufReader::new(holder.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut lines, &mut said).expect("said");
    if said.trim() != "held 1" {
        assert!(said.starts_with("no ptrace"), "{said}");
        holder.wait().expect("ended");
        return skipped("a thread cannot be held here");
    }
    let status =
        || -> Value { serde_json::from_str(&collector.get("/v1/status", "").2).expect("JSON") };
    eventually("it is told", || status()["sample"]["writer"]["state"] == "hung");
    let told = status();
    assert_eq!(told["verdict"]["status"], "critical", "{told}");
    assert!(
        told["verdict"]["sentence"].as_str().is_some_and(|text| text.contains("hung")),
        "{told}"
    );
    assert!(told["verdict"]["remedy"].is_string(), "{told}");
    drop(holder.stdin.take());
    holder.wait().expect("ended");
    eventually("it runs again", || status()["sample"]["writer"]["state"] == "running");
}

#[test]
fn the_command_prints_an_address_that_lets_in_and_says_why_where_it_cannot() {
    let dir = Dir::new();
    let (code, out, err) = run(&dir, &["open"]);
    assert_eq!((code, &*out), (3, ""), "nobody runs: {err}");
    assert!(err.contains("no collector"), "{err}");
    let collector = Serving::start(&dir, "");
    let (code, out, err) = run(&dir, &["open"]);
    assert_eq!(code, 0, "{err}");
    let (address, token) = out.trim_end().split_once("#token=").expect(&out);
    assert_eq!(address, format!("http://{}/", collector.http));
    assert_eq!(ask(&collector, token, "/v1/events").0, 200);
    assert!(!err.contains(token) && err.contains("role read"), "{err}");
    let (code, answer) = crate::support::json(&dir, &["open"]);
    assert_eq!((code, &answer["role"]), (0, &json!("read")), "{answer}");
    let token = answer["token"].as_str().expect("a token");
    assert_eq!(answer["url"], format!("{address}#token={token}"));
    collector.terminate();
    let collector = Serving::start_with(&dir, "", &["--http", "off"], &[]);
    let (code, _, err) = run(&dir, &["open"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("collector.http"), "{err}");
    let (code, answer) = crate::support::json(&dir, &["open"]);
    assert_eq!((code, &answer["error"]["kind"]), (2, &json!("no_http")), "{answer}");
    collector.terminate();
}

/// A terminal of another user's, in which the program is run.
const TERMINAL: &str = "
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
";
/// What is opened: its arguments, and the file that they name.
const XDG_OPEN: &str = "#!/bin/sh\n\
{ printf '%s\\n' \"$0\" \"$@\"; stat -c %a \"$1\"; cat \"$1\"; } > \"$HOME/opened\"\n";

#[test]
fn p10_a_browser_is_told_of_a_private_file_and_no_argument_holds_the_token() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    let settings = "[collector]\nsocket = \"s.sock\"\nread_uids = [65534]\n";
    let collector = Serving::start(&dir, settings);
    let home = dir.path().join("home");
    let runtime = home.join("run");
    std::fs::create_dir_all(&runtime).expect("made");
    for (path, mode) in [(&home, 0o755), (&runtime, 0o700)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
    }
    let opener = dir.path().join("xdg-open");
    std::fs::write(&opener, XDG_OPEN).expect("written");
    std::fs::set_permissions(&opener, PermissionsExt::from_mode(0o755)).expect("mode");
    let run = |display: &str| {
        let program = auditctl(&dir, &["open"]);
        let mut command = Command::new("/usr/bin/python3");
        command.env_clear().current_dir(dir.path()).args(["-c", TERMINAL]);
        command.arg(program.get_program()).arg("open").uid(NOBODY).gid(NOBODY);
        command.env("HOME", &home).env("XDG_RUNTIME_DIR", &runtime).env("TERM", "xterm");
        command.env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()));
        command.env("DISPLAY", display).stdin(Stdio::null());
        let output = command.output().expect("python3");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let opened = home.join("opened");
    let said = run("");
    assert!(said.contains("#token=actl_") && said.contains("no display"), "{said}");
    assert!(!opened.exists(), "without a display nothing is opened");
    let said = run(":0");
    let (_, rest) = said.split_once("#token=").expect(&said);
    let token: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    let token = if token == "actl" { rest[..54].to_owned() } else { token };
    assert_eq!(ask(&collector, &token, "/v1/events").0, 200, "{said}");
    let told = std::fs::read_to_string(&opened).expect("it was opened");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[2], "600", "{told}");
    assert!(lines[1].starts_with(&*runtime.to_string_lossy()), "{told}");
    assert!(!lines[..3].concat().contains(&token), "in no argument: {told}");
    assert!(lines[3..].concat().contains(&format!("#token={token}")), "{told}");
    assert_eq!(std::fs::read_dir(&runtime).expect("listed").count(), 0, "the file is gone");
}
