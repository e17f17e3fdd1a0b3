//! Who is who at the collector's doors: whose server is sent to, whose events are taken,
//! who is muted, who is kept out, and what strangers bring about. With real processes
//! of another user, which only root can start.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, eventually, missing, records, run, skipped};

const NOBODY: u32 = 65_534;
const EVENT: &str = r#"{"event_type":"login","source":"billing"}"#;
const JSON: &str = "application/json";
const ALLOWED: &str = "[collector]\nsocket = \"s.sock\"\nallowed_uids = [65534]\n";
const FORBIDDEN: &str = "[collector]\nsocket = \"s.sock\"\n";

fn is_root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        skipped("only root can become another user");
    }
    root
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
}

/// A directory that others may enter.
fn open_dir() -> Dir {
    let dir = Dir::new();
    mode(dir.path(), 0o755);
    dir
}

/// A Python program of another user's, ended when dropped.
struct Other(Child);

impl Other {
    /// With `args` in `sys.argv[1:]`; returns once it has printed a line.
    fn start(script: &str, args: &[&str]) -> Self {
        let mut child = Self::python(script, args).spawn().expect("python3");
        let mut first = [0];
        child.stdout.as_mut().expect("piped").read_exact(&mut first).expect("it is ready");
        Self(child)
    }

    fn python(script: &str, args: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script]).args(args).current_dir("/").env_clear();
        command.uid(NOBODY).gid(NOBODY).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Runs one to its end; what it printed.
    fn run(script: &str, args: &[&str]) -> String {
        let output = Self::python(script, args).output().expect("python3");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What it prints until its input ends.
    fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let mut said = String::new();
        self.0.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
        said
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Listens at the path, says yes to everything, and prints what it was sent when its
/// input ends.
const FAKE: &str = "
import socket, sys, threading
got = []
def serve(peer):
    for line in peer.makefile('rb'):
        got.append(line)
        peer.sendall(b'{\"ok\":{\"seq\":1}}\\n')
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
import os
os.chmod(sys.argv[1], 0o777)
print('.', end='', flush=True)
sys.stdin.read()
print(b''.join(got).decode(), end='')
";

#[test]
fn no_command_hands_anything_to_a_program_of_another_user() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), FORBIDDEN).expect("settings");
    assert_eq!(run(&dir, &["record", "--type", "first"]).0, 0);
    let before = records(&dir.log()).len();
    mode(dir.path(), 0o777);
    let socket = dir.path().join("s.sock");
    let fake = Other::start(FAKE, &[socket.to_str().expect("utf-8")]);
    std::fs::write(dir.path().join("events"), format!("{EVENT}\n")).expect("events");
    for command in [
        &["record", "--type", "secret"][..],
        &["record", "--file", "events"],
        &["record", "--format", "python-audit", "--file", "events"],
        &["record", "--format", "python-audit", "--resume", "--file", "events"],
        &["query", "--type", "secret"],
        &["key", "rotate", "--reason", "secret"],
    ] {
        let (code, stdout, stderr) = run(&dir, command);
        assert_eq!(code, 3, "{command:?}: {stdout}{stderr}");
        assert!(stderr.contains("user 65534"), "whose it is: {stderr}");
        assert!(stderr.contains("sent nothing to it"), "{stderr}");
        assert!(stderr.contains("collector.trusted_uids"), "what to do: {stderr}");
    }
    let (_, stdout, _) = run(&dir, &["record", "--type", "secret", "--json"]);
    let error: Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!(error["error"]["kind"], "foreign_collector");
    assert!(error["error"]["path"].as_str().expect("a path").ends_with("s.sock"));
    // A backup is one without the log's record of it; that it is not recorded is said.
    let (_, stdout, stderr) = run(&dir, &["backup", "--output-dir", "B"]);
    assert!(stderr.contains("user 65534") || stdout.contains("user 65534"), "{stdout}{stderr}");
    // Where the log directory says nothing, the socket's own directory may, not this one.
    let elsewhere = ["--log-dir", "nowhere", "record", "--type", "secret"];
    let (code, _, stderr) = run(&dir, &elsewhere);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("others can change"), "{stderr}");
    assert!(!dir.path().join("nowhere").exists(), "nothing was made");
    assert_eq!(fake.end(), "", "not a byte");
    assert_eq!(records(&dir.log()).len(), before, "nor was the log written around it");
    // Who is named is trusted, on whoever's word that is.
    let trusting = format!("{FORBIDDEN}trusted_uids = [65534]\n");
    std::fs::write(dir.path().join("auditctl.toml"), trusting).expect("settings");
    std::fs::remove_file(&socket).expect("removed");
    let fake = Other::start(FAKE, &[socket.to_str().expect("utf-8")]);
    assert_eq!(run(&dir, &["record", "--type", "known"]).0, 0);
    assert!(fake.end().contains("known"));
}

#[test]
fn the_log_owner_s_collector_is_sent_to_by_root_wherever_its_socket_is() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if !Command::new(nobody[0]).arg("--version").output().is_ok_and(|out| out.status.success()) {
        return missing("setpriv");
    }
    let collector = Serving::start_under(&dir, FORBIDDEN, &nobody);
    // `logs` is whatever this is run beside: nobody said that it is the log.
    let (code, stdout, stderr) = run(&dir, &["record", "--type", "of root"]);
    assert_eq!(code, 3, "{stdout}{stderr}");
    let named = ["record", "--type", "of root", "--log-dir", "logs"];
    let (code, stdout, stderr) = run(&dir, &named);
    assert_eq!(code, 0, "{stdout}{stderr}");
    collector.terminate();
    let (_, record) = records(&dir.log())
        .into_iter()
        .find(|(_, record)| record["event_type"] == "of root")
        .expect("it was recorded");
    assert_eq!((&record["origin"]["via"], &record["origin"]["uid"]), (&"socket".into(), &0.into()));
}

/// Sends so many events of a source over the socket; prints how many were refused.
const FLOOD: &str = "
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
count = int(sys.argv[2])
peer.sendall(b'{\"event_type\":\"x\",\"source\":\"billing\"}\\n' * count)
answers = peer.makefile()
print(sum('rate_limited' in answers.readline() for _ in range(count)))
";

#[test]
fn who_floods_a_source_mutes_nobody_else_who_uses_its_name() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    let settings = format!("[rate_limit]\nper_second = 1\nburst = 20\n{ALLOWED}");
    let collector = Serving::start(&dir, &settings);
    let refused = Other::run(FLOOD, &[collector.socket.to_str().expect("utf-8"), "500"]);
    let refused: u64 = refused.trim().parse().expect("a number");
    assert!(refused >= 400, "{refused}");
    let mut peer = collector.connect();
    for nth in 0..20 {
        assert!(peer.ask(EVENT)["ok"]["seq"].is_u64(), "root's event {nth} of 20");
    }
    // Root is one sender, through whichever door.
    let statuses: Vec<u16> = (0..30).map(|_| collector.post(JSON, "", EVENT).0).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    let of_nobody = || {
        let found = records(&dir.log()).into_iter().filter(|(_, record)| {
            record["event_type"] == "audit.rate_limited"
                && record["details"]["sender"] == "uid:65534"
                && record["details"]["source"] == "billing"
        });
        found
            .map(|(_, record)| record["details"]["refused"].as_u64().expect("a count"))
            .sum::<u64>()
    };
    eventually("its burst is recorded, and no other's with it", || of_nobody() == refused);
    eventually("and root's apart", || {
        records(&dir.log()).iter().any(|(_, record)| {
            record["event_type"] == "audit.rate_limited" && record["details"]["sender"] == "uid:0"
        })
    });
    let (_, _, health) = collector.get("/health", "");
    assert!(health.contains("most of billing from uid:65534"), "{health}");
}

/// Sends a request to the address; prints the status, and the body behind a space. The
/// status is 0 when it is hung up on.
const ASK: &str = "
import http.client, sys
host, port = sys.argv[1].rsplit(':', 1)
peer = http.client.HTTPConnection(host.strip('[]'), int(port), timeout=20)
kind = {'content-type': 'application/json', 'host': 'localhost'}
try:
    peer.request(sys.argv[2], sys.argv[3], '{\"event_type\":\"x\"}' if sys.argv[2] == 'POST' else None, kind)
    answer = peer.getresponse()
    print(answer.status, answer.read().decode())
except (OSError, http.client.HTTPException) as error:
    print(0, error)
";

fn as_nobody(collector: &Serving, method: &str, path: &str) -> (u16, String) {
    let said = Other::run(ASK, &[&collector.http.to_string(), method, path]);
    let (status, body) = said.split_once(' ').expect(&said);
    (status.parse().expect("a status"), body.to_owned())
}

#[test]
fn p10_over_http_who_may_send_at_the_socket_may_send_and_the_record_says_who() {
    if !is_root() {
        return;
    }
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let dir = open_dir();
        if std::net::TcpListener::bind(address).is_err() {
            skipped("no IPv6 here");
            continue;
        }
        let collector = Serving::start_with(&dir, FORBIDDEN, &["--http", address], &[]);
        let (status, body) = as_nobody(&collector, "POST", "/v1/events");
        assert_eq!(status, 403, "{body}");
        for said in ["user 65534", "collector.allowed_uids", "collector.token_file"] {
            assert!(body.contains(said), "{body}");
        }
        assert_eq!(as_nobody(&collector, "GET", "/metrics").0, 200);
        assert!(matches!(as_nobody(&collector, "GET", "/health").0, 200 | 503));
        assert_eq!(as_nobody(&collector, "GET", "/v1/events").0, 403, "queries need a token");
        let (status, _, body) = collector.post(JSON, "", EVENT);
        assert_eq!(status, 201, "{body}");
        let of_root = body["seq"].as_u64().expect("seq") as usize;
        for more in ["allowed_uids = [65534]\n", "allowed_gids = [65534]\n", ""] {
            let settings = format!("{FORBIDDEN}{more}");
            std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
            collector.signal(Signal::HUP);
            let expected = if more.is_empty() { 403 } else { 201 };
            eventually("the settings are read again", || {
                as_nobody(&collector, "POST", "/v1/events").0 == expected
            });
            // Of both lists one has let it in by now.
            if expected == 201 {
                std::fs::write(dir.path().join("auditctl.toml"), FORBIDDEN).expect("settings");
                collector.signal(Signal::HUP);
                eventually("and shut out again", || {
                    as_nobody(&collector, "POST", "/v1/events").0 == 403
                });
            }
        }
        let records = records(&dir.log());
        assert_eq!(records[of_root].1["origin"], serde_json::json!({"via": "http", "uid": 0}));
        let of_nobody: Vec<_> =
            records.iter().filter(|(_, record)| record["event_type"] == "x").collect();
        assert!(of_nobody.len() >= 2, "{of_nobody:?}");
        for (_, record) in of_nobody {
            assert_eq!(record["origin"], serde_json::json!({"via": "http", "uid": NOBODY}));
        }
        eventually("it is reported", || reported(&dir, "events of user 65534"));
    }
}

fn reported(dir: &Dir, text: &str) -> bool {
    let path = dir.log().join("security_events.log");
    std::fs::read_to_string(path).unwrap_or_default().contains(text)
}

/// Sends a whole event, and leaves at once: its socket is nobody's then.
const LEAVE: &str = "
import socket, struct, sys
host, port = sys.argv[1].rsplit(':', 1)
for reset in (False, True):
    peer = socket.create_connection((host, int(port)))
    body = b'{\"event_type\":\"x\"}'
    peer.sendall(b'POST /v1/events HTTP/1.1\\r\\nhost: localhost\\r\\ncontent-type: application/json\\r\\n'
                 b'content-length: %d\\r\\n\\r\\n' % len(body) + body)
    if reset:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    peer.close()
";

#[test]
fn a_sender_that_has_gone_before_it_was_known_is_not_taken_for_root() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    let collector = Serving::start(&dir, FORBIDDEN);
    // The kernel completes the connections; the collector sees them when all is over.
    collector.signal(Signal::STOP);
    Other::run(LEAVE, &[&collector.http.to_string()]);
    collector.signal(Signal::CONT);
    eventually("it is reported", || reported(&dir, "events of an unknown user"));
    assert_eq!(collector.post(JSON, "", EVENT).0, 201, "those after it are served");
    let records = records(&dir.log());
    assert!(records.iter().all(|(_, record)| record["event_type"] != "x"), "{records:?}");
}

/// Holds so many connections, on each of which a beginning was sent; `peer` by `peer`
/// what came back is printed when the input ends.
const HOLD: &str = "
import select, socket, sys
host, port = sys.argv[1].rsplit(':', 1)
held = []
for _ in range(int(sys.argv[2])):
    peer = socket.create_connection((host, int(port)), timeout=20)
    peer.sendall(sys.argv[3].encode())
    held.append(peer)
print('.', end='', flush=True)
sys.stdin.read()
";

fn hold(collector: &Serving, count: u32, begun: &str) -> Other {
    Other::start(HOLD, &[&collector.http.to_string(), &count.to_string(), begun])
}

/// A request that is in flight until its body has come.
const HALF: &str = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\n\
                    content-type: application/json\r\ncontent-length: 100\r\n\r\n{";

#[test]
fn idle_connections_of_one_user_keep_nobody_out() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    // Nobody waits for them to be closed for their silence.
    let collector = Serving::start(&dir, &format!("{FORBIDDEN}read_timeout = \"5m\"\n"));
    let idle = hold(&collector, 400, "");
    let half_a_head = hold(&collector, 400, "GET /health HTTP/1.1\r\nhost: loc");
    eventually("nor itself, once they have had their moment", || {
        as_nobody(&collector, "GET", "/metrics").0 == 200
    });
    for _ in 0..20 {
        assert_eq!(collector.post(JSON, "", EVENT).0, 201);
        assert!(matches!(collector.get("/health", "").0, 200 | 503));
        assert_eq!(collector.get("/metrics", "").0, 200);
        assert_eq!(as_nobody(&collector, "GET", "/metrics").0, 200);
    }
    drop((idle, half_a_head));
}

#[test]
fn when_every_place_is_at_work_health_and_metrics_still_answer() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    let settings = format!(
        "{ALLOWED}max_connections = 8\nmax_connections_per_uid = 6\nread_timeout = \"5m\"\n"
    );
    let collector = Serving::start(&dir, &settings);
    let mut busy = vec![hold(&collector, 6, HALF)];
    // Of its own share nothing is left, of the others' there is.
    eventually("its share is taken", || as_nobody(&collector, "POST", "/v1/events").0 == 503);
    let (status, body) = as_nobody(&collector, "POST", "/v1/events");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("too_many_connections"), "{body}");
    assert_eq!(as_nobody(&collector, "GET", "/metrics").0, 200);
    assert_eq!(collector.post(JSON, "", EVENT).0, 201);
    let mut held: Vec<TcpStream> = Vec::new();
    eventually("every place is taken", || {
        let mut stream = TcpStream::connect(collector.http).expect("connect");
        stream.write_all(HALF.as_bytes()).expect("sent");
        held.push(stream);
        collector.post(JSON, "", EVENT).0 == 503
    });
    for _ in 0..20 {
        assert_eq!(collector.get("/metrics", "").0, 200);
        assert!(matches!(collector.get("/health", "").0, 200 | 503));
        assert_eq!(as_nobody(&collector, "GET", "/metrics").0, 200);
    }
    let (status, head, body) = collector.post(JSON, "", EVENT);
    assert_eq!((status, body["error"]["kind"].as_str()), (503, Some("too_many_connections")));
    assert!(head.contains("retry-after: ") && head.contains("connection: close"), "{head}");
    // Nor do idle ones in the places that are kept for them.
    busy.push(hold(&collector, 40, ""));
    for _ in 0..20 {
        assert_eq!(collector.get("/metrics", "").0, 200);
    }
    drop((busy, held));
    eventually("there is room again", || collector.post(JSON, "", EVENT).0 == 201);
}

#[test]
fn a_connection_that_is_asked_on_again_lives_and_the_longest_idle_goes() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[collector]\nmax_connections = 3\n");
    let open = || {
        let stream = TcpStream::connect(collector.http).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        BufReader::new(stream)
    };
    let ask = |peer: &mut BufReader<TcpStream>| {
        let request = b"GET /v1/checkpoint HTTP/1.1\r\nhost: localhost\r\n\r\n";
        if peer.get_mut().write_all(request).is_err() {
            return false;
        }
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            if peer.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        peer.read_exact(&mut body).is_ok()
    };
    let [mut first, mut second, mut third] = [open(), open(), open()];
    assert!(ask(&mut first) && ask(&mut second) && ask(&mut third));
    assert!(ask(&mut first), "the second is the longest idle now");
    let mut fourth = open();
    assert!(ask(&mut fourth), "it finds a place");
    assert!(ask(&mut first) && ask(&mut third) && ask(&mut fourth));
    assert!(!ask(&mut second), "whose it is");
}

/// G6: what is not healthy takes a node out of a load balancer's rotation, so that
/// nobody without credentials may bring it about.
#[test]
fn nothing_that_strangers_do_decides_health() {
    let dir = open_dir();
    let token = bearer(&new_token(&dir, "probe", &["--role", "monitor"]));
    let revoked = bearer(&new_token(&dir, "old", &[]));
    assert_eq!(run(&dir, &["token", "revoke", "--token-file", "tokens", "old"]).0, 0);
    let settings = "[collector]\nsocket = \"s.sock\"\ntoken_file = \"tokens\"\n\
                    allow_plain_http = true\nmax_connections_per_uid = 4\nallowed_uids = [1]\n";
    let collector = Serving::start_with(&dir, settings, &["--http", "0.0.0.0:0"], &[]);
    let send = |request: &str| {
        let mut stream = TcpStream::connect(collector.http).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let wrong = format!("authorization: Bearer actl_{}\r\n", "x".repeat(49));
    let body = "y".repeat(200_000);
    for _ in 0..30 {
        for (method, path, headers) in [
            ("GET", "/metrics", ""),
            ("GET", "/v1/events", &*wrong),
            ("GET", "/v1/checkpoint", &*revoked),
            ("GET", "/v1/events", "origin: http://evil.example\r\n"),
        ] {
            send(&format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"
            ));
        }
        send("GET /health HTTP/1.0\r\n\r\n");
        send("rubbish\r\n\r\n");
        send(&format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/json\r\n\r\n{body}",
            body.len()
        ));
    }
    // More than there are places for, none of which is ever asked on.
    let held: Vec<_> = (0..60).map(|_| TcpStream::connect(collector.http)).collect();
    drop(held);
    if is_root() {
        for _ in 0..30 {
            let refused = Other::run(
                "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nprint(s.recv(999))",
                &[collector.socket.to_str().expect("utf-8")],
            );
            assert!(refused.contains("forbidden"), "{refused}");
        }
    }
    let check = |text: &str, name: &str| {
        let health: Value = serde_json::from_str(text).expect("JSON");
        let checks = health["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["component"] == name).expect(name).clone()
    };
    // Under so many questions `/health` is up to a second old.
    let mut text = String::new();
    eventually("they are counted", || {
        (_, _, text) = collector.get("/health", &token);
        let strangers = &check(&text, "security")["metrics"]["stranger_events_last_hour"];
        strangers.as_u64().is_some_and(|strangers| strangers >= 100)
    });
    assert_eq!(check(&text, "security")["status"], "healthy", "{text}");
    // What a load balancer goes by: with a token, and from the network without one.
    assert_eq!(collector.get("/health", &token).0, 200);
    assert_eq!(collector.get("/health", "").0, 200);
    assert_eq!(check(&text, "rate_limiting")["status"], "healthy", "{text}");
    eventually("and written, as what they are", || reported(&dir, "\"stranger\":true"));
}

/// Sends an event now and then in one request that does not end, until it is answered.
const GO_ON: &str = "
import select, socket, sys, time
host, port = sys.argv[1].rsplit(':', 1)
peer = socket.create_connection((host, int(port)))
line = b'{\"event_type\":\"x\"}\\n'
peer.sendall(b'POST /v1/events HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n'
             b'content-type: application/x-ndjson\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n')
for n in range(1500):
    try:
        peer.sendall(b'%x\\r\\n%s\\r\\n' % (len(line), line))
    except OSError:
        break
    if n == 0:
        print('begun', flush=True)
    if select.select([peer], [], [], .01)[0]:
        break
else:
    print('it was never answered')
answer = b''
while True:
    try:
        more = peer.recv(65536)
    except OSError:
        break
    if not more:
        break
    answer += more
print(answer.decode())
";

#[test]
fn a_user_who_may_send_no_longer_is_stopped_in_the_middle_of_a_request() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    let free = format!("{ALLOWED}[rate_limit]\nenabled = false\n");
    let collector = Serving::start_with(&dir, &free, &["--http", "127.0.0.1:0"], &[]);
    let sender = Other::start(GO_ON, &[&collector.http.to_string()]);
    let of_nobody = || crate::support::count(&dir.log(), "x");
    eventually("it sends", || of_nobody() > 3);
    let shut = format!("{FORBIDDEN}[rate_limit]\nenabled = false\n");
    std::fs::write(dir.path().join("auditctl.toml"), shut).expect("settings");
    collector.signal(Signal::HUP);
    let said = sender.end();
    assert!(
        said.contains("HTTP/1.1 403") && said.contains("may not send events any more"),
        "{said}"
    );
    let (_, body) = said.split_once("\r\n\r\n").expect("a body");
    let told: Value = serde_json::from_str(body.trim()).expect("JSON");
    assert_eq!(told["recorded"].as_u64(), Some(of_nobody() as u64), "what was taken is told");
}
