//! The collector's HTTPS: real handshakes, with certificates of an authority that is
//! made for the test.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, auditctl, eventually, missing, records, run};

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;
const TLS: &str = "[collector]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Who signs the certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name.push(DnType::CommonName, "Test Authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(parameters, key).expect("an authority"))
    }

    /// A certificate for localhost with its key, PEM, and the certificate's bytes.
    fn issue(&self, days: u32) -> (String, String, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        parameters.distinguished_name.push(DnType::CommonName, "localhost");
        let end = SystemTime::now() + Duration::from_secs(u64::from(days) * 86_400);
        parameters.not_after = end.into();
        let certificate = parameters.signed_by(&key, &self.0).expect("signed");
        (certificate.pem(), key.serialize_pem(), certificate.der().to_vec())
    }

    /// Puts a new pair where the settings of these tests name it; gives the
    /// certificate's bytes.
    fn put(&self, dir: &Dir, days: u32) -> Vec<u8> {
        let (certificate, key, der) = self.issue(days);
        put(&dir.path().join("cert.pem"), &certificate, 0o644);
        put(&dir.path().join("key.pem"), &key, 0o600);
        der
    }

    fn connect_with(
        &self,
        collector: &Serving,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Stream {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(collector.http).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        StreamOwned::new(connection, stream)
    }

    fn connect(&self, collector: &Serving) -> Stream {
        self.connect_with(collector, rustls::ALL_VERSIONS)
    }
}

fn put(path: &Path, content: &str, mode: u32) {
    std::fs::write(path, content).expect("written");
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
}

/// Asks and reads one answer whose body is as long as it says.
fn ask(stream: &mut Stream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).expect(&head);
    let length = length.split("\r\n").next().expect("a line").parse().expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    let status = head.split(' ').nth(1).expect(&head).parse().expect("a status");
    (status, String::from_utf8(body).expect("text"))
}

fn get(stream: &mut Stream, path: &str) -> (u16, String) {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
}

fn reported(dir: &Dir, text: &str) -> bool {
    let path = dir.log().join("security_events.log");
    std::fs::read_to_string(path).unwrap_or_default().contains(text)
}

#[test]
fn events_come_in_over_tls_of_both_versions_and_http_1_1_is_agreed_on() {
    let (dir, authority) = (Dir::new(), Authority::new());
    authority.put(&dir, 90);
    let secret = bearer(&new_token(&dir, "web-1", &[]));
    let settings = format!("{TLS}token_file = \"tokens\"\n");
    let collector = Serving::start_with(&dir, &settings, &["--http", "0.0.0.0:0"], &[]);
    assert!(collector.stderr().contains("https://"), "{}", collector.stderr());
    for (version, name) in [
        (&rustls::version::TLS12, rustls::ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, rustls::ProtocolVersion::TLSv1_3),
    ] {
        let mut stream = authority.connect_with(&collector, &[version]);
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n{secret}\r\n{EVENT}",
            EVENT.len()
        );
        for _ in 0..2 {
            let (status, body) = ask(&mut stream, &request);
            assert_eq!(status, 201, "{body}");
            let seq = serde_json::from_str::<Value>(&body).expect("JSON")["seq"].as_u64();
            let (_, record) = records(&dir.log()).swap_remove(seq.expect("seq") as usize);
            assert_eq!(record["origin"]["token"], "web-1");
        }
        assert_eq!(stream.conn.protocol_version(), Some(name));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[test]
fn a_new_pair_is_for_new_connections_and_a_broken_one_changes_nothing() {
    let (dir, authority) = (Dir::new(), Authority::new());
    let first = authority.put(&dir, 90);
    let collector = Serving::start(&dir, TLS);
    let shown = || {
        let mut stream = authority.connect(&collector);
        get(&mut stream, "/v1/checkpoint");
        stream.conn.peer_certificates().expect("shown")[0].to_vec()
    };
    let mut open = authority.connect(&collector);
    assert_eq!(get(&mut open, "/v1/checkpoint").0, 200);
    assert_eq!(shown(), first);
    let second = authority.put(&dir, 60);
    assert_eq!(shown(), first, "not by itself");
    collector.signal(Signal::HUP);
    eventually("the new one is shown", || shown() == second);
    assert_eq!(get(&mut open, "/v1/checkpoint").0, 200, "what was open goes on");
    // A certificate whose key has not arrived yet.
    put(&dir.path().join("cert.pem"), &authority.issue(30).0, 0o644);
    collector.signal(Signal::HUP);
    eventually("it is said", || collector.stderr().contains("the old one stays"));
    let why = "is not that of the first certificate";
    eventually("and why", || collector.stderr().contains(why));
    assert_eq!(shown(), second);
    std::fs::remove_file(dir.path().join("key.pem")).expect("removed");
    collector.signal(Signal::HUP);
    eventually("again", || collector.stderr().matches("the old one stays").count() == 2);
    assert_eq!(shown(), second);
    let third = authority.put(&dir, 30);
    collector.signal(Signal::HUP);
    eventually("once it fits it is shown", || shown() == third);
    // Neither begins nor ends TLS.
    std::fs::write(dir.path().join("auditctl.toml"), "").expect("written");
    collector.signal(Signal::HUP);
    eventually("it is said", || collector.stderr().contains("takes a restart"));
    assert_eq!(shown(), third);
    assert_eq!(get(&mut open, "/v1/checkpoint").0, 200, "through all of it");
}

#[test]
fn a_pair_that_is_of_no_use_is_refused_before_the_log_is_touched() {
    let (dir, authority) = (Dir::new(), Authority::new());
    std::fs::write(dir.path().join("auditctl.toml"), TLS).expect("settings");
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let refused = |says: &[&str]| {
        let output = auditctl(&dir, &["serve"]).output().expect("runs");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(says.iter().all(|part| stderr.contains(part)), "{says:?}: {stderr}");
        assert!(!stderr.contains("PRIVATE KEY-----\n"), "{stderr}");
        assert!(!dir.log().exists(), "no log was made");
    };
    refused(&["cert.pem"]);
    authority.put(&dir, 90);
    put(&key, &authority.issue(90).1, 0o600);
    refused(&["key.pem", "cert.pem", "certificate first"]);
    authority.put(&dir, 90);
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o604)).expect("mode");
    refused(&["key.pem", "0604", "chmod 600"]);
    put(&certificate, "nothing", 0o644);
    refused(&["cert.pem", "no certificate"]);
    let far = ["serve", "--http", "0.0.0.0:0"];
    std::fs::write(dir.path().join("auditctl.toml"), "[collector]\ntoken_file = \"tokens\"\n")
        .expect("settings");
    new_token(&dir, "a", &[]);
    let (code, _, stderr) = run(&dir, &far);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("collector.tls_cert") && stderr.contains("allow_plain_http"));
}

#[test]
fn plain_http_is_answered_with_what_is_wanted() {
    let (dir, authority) = (Dir::new(), Authority::new());
    authority.put(&dir, 90);
    let collector = Serving::start(&dir, TLS);
    let (status, _, body) = collector.get("/health", "");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("https_required") && body.contains("https://"), "{body}");
    eventually("it is reported", || reported(&dir, "plain HTTP to HTTPS"));
    // Rubbish gets no answer, and does not hang.
    let mut stream = TcpStream::connect(collector.http).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    stream.write_all(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).expect("sent");
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_err() || answer.first() != Some(&b'H'), "{answer:?}");
    let mut stream = authority.connect(&collector);
    assert_eq!(get(&mut stream, "/v1/checkpoint").0, 200, "others are served");
}

#[test]
fn a_handshake_that_does_not_end_is_not_waited_for_and_takes_no_more_than_a_place() {
    let (dir, authority) = (Dir::new(), Authority::new());
    authority.put(&dir, 90);
    let settings = format!("{TLS}read_timeout = \"300ms\"\nmax_connections = 4\n");
    let collector = Serving::start(&dir, &settings);
    let mut held = Vec::new();
    // Nothing; a handshake's beginning; a whole record's head without the record.
    for begun in [&b""[..], &[22], &[22, 3, 1, 2, 0], &[22, 3, 1, 2, 0, 1, 0]] {
        let mut stream = TcpStream::connect(collector.http).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.write_all(begun).expect("sent");
        held.push(stream);
    }
    for stream in &mut held {
        let mut answer = Vec::new();
        // Closed, or reset where something was not read.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 64, "{answer:?}");
    }
    eventually("it is reported", || reported(&dir, "handshake took too long"));
    let mut peer = collector.connect();
    assert!(peer.ask(EVENT)["ok"]["seq"].is_u64(), "the socket is none the worse");
    let mut stream = authority.connect(&collector);
    let (_, metrics) = get(&mut stream, "/metrics");
    assert!(metrics.contains("\nauditctl_tls_handshakes_failed_total 4\n"), "{metrics}");
}

#[test]
fn handshakes_that_fail_decide_nothing_about_health() {
    let (dir, authority) = (Dir::new(), Authority::new());
    authority.put(&dir, 90);
    let collector = Serving::start(&dir, &format!("{TLS}read_timeout = \"300ms\"\n"));
    for _ in 0..20 {
        // Plain HTTP, rubbish, and the beginning of a handshake that does not end.
        for begun in [&b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], &[1, 2, 3], &[22, 3]]
        {
            let mut stream = TcpStream::connect(collector.http).expect("connect");
            stream.write_all(begun).expect("sent");
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }
    eventually("they are reported", || reported(&dir, "plain HTTP to HTTPS"));
    let (_, stdout, stderr) = run(&dir, &["health", "--json"]);
    let document: Value = serde_json::from_str(&stdout).expect(&stderr);
    let checks = document["checks"].as_array().expect("checks");
    let security = checks.iter().find(|check| check["component"] == "security").expect("there");
    assert_eq!(security["status"], "healthy", "{security}");
}

#[test]
fn a_certificate_that_ends_soon_is_in_health_and_the_metrics() {
    let (dir, authority) = (Dir::new(), Authority::new());
    authority.put(&dir, 2);
    let collector = Serving::start(&dir, TLS);
    let health = || {
        let (_, stdout, stderr) = run(&dir, &["health", "--json"]);
        let document: Value = serde_json::from_str(&stdout).expect(&stderr);
        let checks = document["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["component"] == "certificate").expect("the check")
    };
    let check = health();
    assert_eq!(check["status"], "critical", "{check}");
    assert!(check["message"].to_string().contains("valid for"), "{check}");
    assert!(check.to_string().contains("reload"), "{check}");
    authority.put(&dir, 10);
    collector.signal(Signal::HUP);
    eventually("less so", || health()["status"] == "warning");
    authority.put(&dir, 90);
    collector.signal(Signal::HUP);
    eventually("all is well", || health()["status"] == "healthy");
    let mut stream = authority.connect(&collector);
    let (_, metrics) = get(&mut stream, "/metrics");
    let name = "\nauditctl_tls_certificate_expiry_timestamp_seconds ";
    let value: f64 = metrics
        .split(name)
        .nth(1)
        .expect(&metrics)
        .lines()
        .next()
        .expect("a value")
        .parse()
        .expect("a number");
    let left = value - SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    assert!((89.0..91.0).contains(&(left / 86_400.0)), "{left}");
}

#[test]
fn an_expired_certificate_is_warned_of_at_the_start_and_refused_by_clients() {
    let (dir, authority) = (Dir::new(), Authority::new());
    authority.put(&dir, 0);
    // Whole seconds: it has ended once the one that it was made in is over.
    eventually("it has ended", || {
        let collector = Serving::start(&dir, TLS);
        let warned = collector.stderr().contains("the certificate expired at");
        if warned {
            let mut stream = authority.connect(&collector);
            let error = stream.conn.complete_io(&mut stream.sock).expect_err("refused");
            assert!(error.to_string().to_lowercase().contains("expired"), "{error}");
        }
        collector.terminate();
        warned
    });
}

/// Another implementation than the one that serves.
#[test]
fn openssl_and_curl_agree() {
    if Command::new("openssl").arg("version").output().is_err() {
        return missing("openssl");
    }
    if Command::new("curl").arg("--version").output().is_err() {
        return missing("curl");
    }
    let (dir, authority) = (Dir::new(), Authority::new());
    authority.put(&dir, 90);
    put(&dir.path().join("ca.pem"), &authority.0.pem(), 0o644);
    let secret = new_token(&dir, "web-1", &[]);
    put(&dir.path().join("h"), &format!("Authorization: Bearer {secret}\n"), 0o600);
    let collector = Serving::start(&dir, &format!("{TLS}token_file = \"tokens\"\n"));
    let port = collector.http.port();
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--cacert", "ca.pem", "-H", "@h", "--json", EVENT])
        .arg(format!("https://localhost:{port}/v1/events"))
        .current_dir(dir.path())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\"seq\""), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for (version, works) in [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false)] {
        let output = Command::new("openssl")
            .args(["s_client", "-brief", "-CAfile", "ca.pem", "-verify_return_error", version])
            .args(["-cipher", "DEFAULT@SECLEVEL=0", "-connect", &format!("localhost:{port}")])
            .current_dir(dir.path())
            .stdin(std::process::Stdio::null())
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), works, "{version}: {said}");
    }
}
