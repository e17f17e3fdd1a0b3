//! The doors through which alerts go out: receivers and mail servers that send too
//! much, too slowly, without an end, lie, or hang up, at each step.
//!
//! One collector has an alert for each row of a table, so that all are tried at the
//! same time. Whatever the other end does: nothing counts as delivered that was not
//! taken, nothing is lost, memory and time are bounded, and once the other end is
//! honest each alert is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::alerts::counted;
use crate::mail_server::{Injector, Lie, MailServer, Protection, Step};
use crate::serving::Serving;
use crate::support::{Dir, eventually, measured, records, run};

/// More than a collector takes for everything else; an answer without an end has
/// filled this in a second.
const MOST_MEMORY_KIB: u64 = 160 << 10;

fn private(dir: &Dir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("mode");
    path.to_str().expect("UTF-8").to_owned()
}

/// The most memory that the collector has had.
fn most_memory_kib(collector: &Serving) -> u64 {
    let path = format!("/proc/{}/status", collector.pid());
    let status = std::fs::read_to_string(path).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

fn login(collector: &Serving) {
    let answer = collector.connect().ask(r#"{"event_type":"login","actor":"alice"}"#);
    assert!(answer["ok"]["seq"].is_u64(), "{answer}");
}

fn lost(dir: &Dir) -> Vec<(String, String)> {
    let of = |record: &Value, key: &str| record["details"][key].as_str().expect("text").to_owned();
    records(&dir.log())
        .into_iter()
        .filter(|(_, record)| record["event_type"] == "audit.alert_lost")
        .map(|(_, record)| (of(&record, "alert"), of(&record, "reason")))
        .collect()
}

fn alerts_check(dir: &Dir) -> Value {
    let (_, health, _) = run(dir, &["health", "--json"]);
    let health: Value = serde_json::from_str(&health).expect("JSON");
    let checks = health["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["component"] == "alerts").expect("the check").clone()
}

/// Waits until a count of one alert is at least so much.
fn becomes(dir: &Dir, name: &str, what: &str, least: u64) {
    let until = std::time::Instant::now() + Duration::from_secs(120);
    while counted(dir, name, what) < least {
        let status = || std::fs::read_to_string(dir.log().join("audit.alerts.json"));
        assert!(
            std::time::Instant::now() < until,
            "{name}: {what} is not {least}: {}",
            status().unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `[alerting]` for these ports of this machine.
fn permits(ports: impl Iterator<Item = u16>, timeout: &str) -> String {
    let allow: Vec<String> = ports
        .flat_map(|port| [format!("\"localhost:{port}\""), format!("\"127.0.0.1:{port}\"")])
        .collect();
    format!(
        "[alerting]\nallow = [{}]\nallow_http = true\nretry_pause_max = \"4s\"\ntimeout = \"{timeout}\"\n\
         [rate_limit]\nenabled = false\n[health]\nalert_delay_warn = \"1s\"\n",
        allow.join(", ")
    )
}

/// What becomes of an alert while the other end lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It waits, and is tried again and again.
    Waits,
    /// It was taken, whatever came then.
    Taken,
    /// It was refused for good by somebody who has shown who he is.
    GivenUp,
}

fn mail_alert(dir: &Dir, name: &str, server: (u16, &str), protection: Protection) -> String {
    let (port, ca_pem) = server;
    let ca = private(dir, &format!("{name}.pem"), ca_pem);
    let password = private(dir, &format!("{name}.password"), "correct horse battery\n");
    let tls = match protection {
        Protection::Starttls => "smtp_tls = \"starttls\"\n",
        // The default.
        Protection::FromTheStart => "",
    };
    format!(
        "[[alerts]]\nname = \"{name}\"\non = \"event\"\ntype = [\"login\"]\ncooldown = \"0s\"\nsend = \"email\"\n\
         smtp = \"localhost:{port}\"\n{tls}smtp_user = \"audit\"\nsmtp_password_file = \"{password}\"\n\
         from = \"auditctl <audit@example.com>\"\nto = [\"ops@example.com\"]\nca_file = \"{ca}\"\n"
    )
}

/// Each step with each lie, and what then becomes of the letter.
fn mail_lies(protection: Protection) -> Vec<(String, Step, Lie, Fate)> {
    use Step::{Auth, Data, Greeting, Handshake, Hello, Letter, Mail, PlainHello, Quit, Rcpt};
    let steps: &[Step] = match protection {
        Protection::Starttls => &[Greeting, PlainHello, Step::Starttls, Handshake, Hello],
        Protection::FromTheStart => &[Greeting, Hello, Auth, Mail, Rcpt, Data, Letter, Quit],
    };
    let lies = [
        ("hangs-up", Lie::HangUp),
        ("resets", Lie::Reset),
        ("silent", Lie::Silence),
        ("endless-lines", Lie::EndlessLines),
        ("endless-line", Lie::EndlessLine),
        ("slow", Lie::Dribble),
        ("garbage", Lie::Garbage),
    ];
    let mut rows = Vec::new();
    for step in steps {
        for (name, lie) in lies {
            let fate = if *step == Quit { Fate::Taken } else { Fate::Waits };
            rows.push((format!("{step:?}-{name}"), *step, lie, fate));
        }
    }
    // 4xx is for later everywhere. 5xx is for good only about this letter, and only
    // from a server that has shown its certificate.
    let said = match protection {
        Protection::Starttls => vec![
            (Greeting, "554 go away\r\n", Fate::Waits),
            (Greeting, "421 later\r\n", Fate::Waits),
            (PlainHello, "550 go away\r\n", Fate::Waits),
            (PlainHello, "250-mail\r\n250 SIZE\r\n", Fate::Waits),
            (Step::Starttls, "554 no TLS\r\n", Fate::Waits),
            (Step::Starttls, "454 no TLS now\r\n", Fate::Waits),
            (Step::Starttls, "220-go\r\n250 and this\r\n", Fate::Waits),
            (Step::Starttls, "220 go\n250 and this\r\n", Fate::Waits),
        ],
        Protection::FromTheStart => vec![
            (Auth, "535 wrong password\r\n", Fate::Waits),
            (Mail, "451 later\r\n", Fate::Waits),
            (Data, "451 later\r\n", Fate::Waits),
            (Letter, "452 no room\r\n", Fate::Waits),
            (Rcpt, "550 no such user\r\n", Fate::GivenUp),
            (Letter, "554 not such a letter\r\n", Fate::GivenUp),
        ],
    };
    for (nth, (step, text, fate)) in said.into_iter().enumerate() {
        rows.push((format!("{step:?}-says-{nth}"), step, Lie::Says(text), fate));
    }
    rows
}

fn mail_servers_at_each_step(protection: Protection) {
    let dir = Dir::new();
    let rows: Vec<_> = mail_lies(protection)
        .into_iter()
        .map(|(name, step, lie, fate)| {
            let server = MailServer::start("localhost", protection);
            server.lie(Some((step, lie)));
            (name, server, fate)
        })
        .collect();
    let mut settings = permits(rows.iter().map(|(_, server, _)| server.address.port()), "5s");
    for (name, server, _) in &rows {
        let server = (server.address.port(), server.ca_pem.as_str());
        settings += &mail_alert(&dir, name, server, protection);
    }
    let collector = Serving::start(&dir, &settings);
    login(&collector);
    for (name, server, fate) in &rows {
        match fate {
            Fate::Waits => {
                becomes(&dir, name, "retried", 2);
                assert_eq!(counted(&dir, name, "delivered"), 0, "{name}");
                assert_eq!(counted(&dir, name, "queued"), 1, "{name}");
            }
            Fate::Taken => {
                becomes(&dir, name, "delivered", 1);
                // A try that took too long may be made once more: no other is.
                let tries = 1 + counted(&dir, name, "retried");
                assert!(server.letters().len() as u64 <= tries, "{name}: {tries} tries");
            }
            Fate::GivenUp => becomes(&dir, name, "failed", 1),
        }
    }
    if protection == Protection::Starttls {
        for (name, server, _) in &rows {
            assert!(!server.was_told_anything(), "{name}: {:?}", server.said());
        }
    }
    eventually("health tells", || alerts_check(&dir)["status"] == "warning");
    let memory = most_memory_kib(&collector);
    measured(&format!("mail servers that lie, {}: peak {} MiB", rows.len(), memory >> 10));
    assert!(memory < MOST_MEMORY_KIB, "{memory} KiB");
    rows.iter().for_each(|(_, server, _)| server.lie(None));
    for (name, server, fate) in &rows {
        if *fate != Fate::GivenUp {
            becomes(&dir, name, "delivered", 1);
            assert!(!server.letters().is_empty(), "{name}");
        }
    }
    collector.terminate();
    let given_up: Vec<(String, String)> = rows
        .iter()
        .filter(|(.., fate)| *fate == Fate::GivenUp)
        .map(|(name, ..)| (name.clone(), "failed".to_owned()))
        .collect();
    let mut lost = lost(&dir);
    lost.sort();
    let mut expected = given_up;
    expected.sort();
    assert_eq!(lost, expected, "what is given up is recorded, and nothing else is lost");
}

#[test]
fn a_mail_server_that_lies_before_it_has_shown_who_it_is_gets_nothing_and_nothing_is_lost() {
    mail_servers_at_each_step(Protection::Starttls);
}

#[test]
fn a_mail_server_that_lies_at_any_step_takes_no_letter_that_it_did_not_take() {
    mail_servers_at_each_step(Protection::FromTheStart);
}

#[test]
fn answers_that_somebody_appends_before_tls_begins_deliver_nothing() {
    for apart in [false, true] {
        let dir = Dir::new();
        let server = MailServer::start("localhost", Protection::Starttls);
        let between = Injector::before(server.address, apart);
        let port = between.address.port();
        let settings = permits([port].into_iter(), "2s")
            + &mail_alert(&dir, "mail", (port, &server.ca_pem), Protection::Starttls);
        let collector = Serving::start(&dir, &settings);
        (0..3).for_each(|_| login(&collector));
        eventually("it has lied twice", || {
            assert_eq!(counted(&dir, "mail", "delivered"), 0, "apart: {apart}");
            between.lied_to() >= 2 && counted(&dir, "mail", "retried") >= 2
        });
        assert_eq!(counted(&dir, "mail", "queued"), 3, "apart: {apart}");
        assert!(!server.was_told_anything(), "{:?}", server.said());
        eventually("health tells", || alerts_check(&dir)["status"] == "warning");
        between.goes_away();
        eventually("all three arrive", || server.letters().len() == 3);
        collector.terminate();
        assert_eq!(lost(&dir), [], "apart: {apart}");
    }
}

#[test]
fn a_certificate_of_another_name_or_of_nobody_known_gets_nothing() {
    for protection in [Protection::Starttls, Protection::FromTheStart] {
        let dir = Dir::new();
        let other = MailServer::start("mail.example.org", protection);
        let unknown = MailServer::start("localhost", protection);
        let ports = [other.address.port(), unknown.address.port()];
        let settings = permits(ports.into_iter(), "2s")
            + &mail_alert(&dir, "other", (ports[0], &other.ca_pem), protection)
            + &mail_alert(&dir, "unknown", (ports[1], &other.ca_pem), protection);
        let collector = Serving::start(&dir, &settings);
        login(&collector);
        for (name, server) in [("other", &other), ("unknown", &unknown)] {
            becomes(&dir, name, "retried", 2);
            assert_eq!(counted(&dir, name, "queued"), 1, "{name}");
            assert!(!server.was_told_anything(), "{name}: {:?}", server.said());
        }
        collector.kill_nine();
    }
}

/// A web receiver that answers in its own way until it is made honest.
struct Web {
    address: SocketAddr,
    honest: Arc<Mutex<bool>>,
    taken: Arc<Mutex<usize>>,
}

type Answers = fn(&mut TcpStream) -> std::io::Result<()>;

impl Web {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let address = listener.local_addr().expect("bound");
        let (honest, taken) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(0)));
        let (now, count) = (Arc::clone(&honest), Arc::clone(&taken));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let is_honest = *now.lock().expect("not poisoned");
                let (mut stream, count) = (stream.expect("a connection"), Arc::clone(&count));
                std::thread::spawn(move || {
                    // Ends when the other side has gone.
                    let _ =
                        if is_honest { take(&mut stream, &count) } else { answers(&mut stream) };
                });
            }
        });
        Self { address, honest, taken }
    }
}

/// Reads the request's head, and as much of its body as comes with it.
fn request(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut all, mut piece) = (Vec::new(), [0; 65_536]);
    while !all.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => all.extend_from_slice(&piece[..read]),
        }
    }
    Ok(())
}

fn take(stream: &mut TcpStream, count: &Mutex<usize>) -> std::io::Result<()> {
    request(stream)?;
    *count.lock().expect("not poisoned") += 1;
    stream.write_all(b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n")
}

fn until_gone(stream: &mut TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 512])? > 0 {}
    Ok(())
}

fn slowly(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    for byte in text.iter().chain(std::iter::repeat(&b'x')) {
        stream.write_all(&[*byte])?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn without_end(stream: &mut TcpStream, head: &[u8], piece: &[u8]) -> std::io::Result<()> {
    request(stream)?;
    stream.write_all(head)?;
    let pieces = piece.repeat(1 + 65_536 / piece.len());
    loop {
        stream.write_all(&pieces)?;
    }
}

fn says(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    request(stream)?;
    stream.write_all(text)?;
    stream.shutdown(Shutdown::Write)?;
    until_gone(stream)
}

/// What gzip makes of a gigabyte of zeros, in part: whoever unpacks it has 100 MB.
fn bomb() -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..100).for_each(|_| packed.write_all(&zeros).expect("memory"));
    packed.finish().expect("memory")
}

const WEB: &[(&str, Answers, Fate)] = &[
    ("hangs-up-at-once", |stream| stream.shutdown(Shutdown::Both), Fate::Waits),
    (
        "resets-at-once",
        |stream| Ok(rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?),
        Fate::Waits,
    ),
    ("hangs-up-on-the-request", request, Fate::Waits),
    (
        "resets-on-the-request",
        |stream| {
            request(stream)?;
            Ok(rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?)
        },
        Fate::Waits,
    ),
    ("hangs-up-in-the-status", |stream| says(stream, b"HTTP/1.1 20"), Fate::Waits),
    ("hangs-up-in-the-head", |stream| says(stream, b"HTTP/1.1 200 OK\r\nx: "), Fate::Waits),
    ("silent", until_gone, Fate::Waits),
    ("slow-head", |stream| slowly(stream, b"HTTP/1.1 200 OK\r\nx: "), Fate::Waits),
    (
        "endless-heads",
        |stream| without_end(stream, b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        Fate::Waits,
    ),
    ("endless-head", |stream| without_end(stream, b"HTTP/1.1 200 OK\r\nx: ", b"y"), Fate::Waits),
    (
        "endless-continue",
        |stream| without_end(stream, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        Fate::Waits,
    ),
    (
        "endless-early-hints",
        |stream| without_end(stream, b"", b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"),
        Fate::Waits,
    ),
    ("endless-status", |stream| without_end(stream, b"HTTP/1.1 200 ", b"OK"), Fate::Waits),
    ("garbage", |stream| says(stream, b"\x00\xff\xfe not http\r\n\r\n"), Fate::Waits),
    ("another-protocol", |stream| says(stream, b"220 mail ESMTP\r\n"), Fate::Waits),
    (
        "two-lengths",
        |stream| {
            says(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx")
        },
        Fate::Waits,
    ),
    (
        "all-the-length-there-is",
        |stream| says(stream, b"HTTP/1.1 200 X\r\ncontent-length: 18446744073709551615\r\n\r\nx"),
        Fate::Waits,
    ),
    (
        "redirects",
        |stream| {
            says(
                stream,
                b"HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            )
        },
        Fate::Waits,
    ),
    (
        "switches",
        |stream| says(stream, b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        Fate::Waits,
    ),
    (
        "revoked-401",
        |stream| says(stream, b"HTTP/1.1 401 X\r\ncontent-length: 0\r\n\r\n"),
        Fate::Waits,
    ),
    (
        "revoked-403",
        |stream| says(stream, b"HTTP/1.1 403 X\r\ncontent-length: 0\r\n\r\n"),
        Fate::Waits,
    ),
    (
        "busy-503",
        |stream| says(stream, b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"),
        Fate::Waits,
    ),
    (
        "endless-500",
        |stream| {
            let head = b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n";
            without_end(stream, head, format!("1000\r\n{}\r\n", "x".repeat(0x1000)).as_bytes())
        },
        Fate::Waits,
    ),
    (
        "gone-404",
        |stream| says(stream, b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n"),
        Fate::GivenUp,
    ),
    (
        "taken-then-endless",
        |stream| {
            let head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n";
            without_end(stream, head, format!("1000\r\n{}\r\n", "x".repeat(0x1000)).as_bytes())
        },
        Fate::Taken,
    ),
    (
        "taken-then-slow",
        |stream| {
            request(stream)?;
            stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n")?;
            slowly(stream, b"")
        },
        Fate::Taken,
    ),
    (
        "taken-then-less-than-said",
        |stream| says(stream, b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\nx"),
        Fate::Taken,
    ),
    (
        "taken-then-a-lying-chunk",
        |stream| {
            let head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFF\r\n";
            without_end(stream, head, b"x")
        },
        Fate::Taken,
    ),
    (
        "taken-then-a-bomb",
        |stream| {
            request(stream)?;
            let body = bomb();
            let head = format!(
                "HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            until_gone(stream)
        },
        Fate::Taken,
    ),
];

fn web_alert(name: &str, address: SocketAddr) -> String {
    format!(
        "[[alerts]]\nname = \"{name}\"\non = \"event\"\ntype = [\"login\"]\ncooldown = \"0s\"\n\
         url = \"http://{address}/hook\"\n"
    )
}

#[test]
fn a_web_receiver_that_lies_is_bounded_and_what_it_did_not_take_is_told_later() {
    let dir = Dir::new();
    let rows: Vec<(&str, Web, Fate)> =
        WEB.iter().map(|(name, answers, fate)| (*name, Web::start(*answers), *fate)).collect();
    let mut settings = permits(rows.iter().map(|(_, web, _)| web.address.port()), "5s");
    for (name, web, _) in &rows {
        settings += &web_alert(name, web.address);
    }
    let collector = Serving::start(&dir, &settings);
    login(&collector);
    for (name, _, fate) in &rows {
        match fate {
            Fate::Waits => {
                becomes(&dir, name, "retried", 1);
                assert_eq!(counted(&dir, name, "delivered"), 0, "{name}");
                assert_eq!(counted(&dir, name, "queued"), 1, "{name}");
            }
            Fate::Taken => becomes(&dir, name, "delivered", 1),
            Fate::GivenUp => becomes(&dir, name, "failed", 1),
        }
    }
    eventually("health tells", || alerts_check(&dir)["status"] == "warning");
    let memory = most_memory_kib(&collector);
    measured(&format!("web receivers that lie, {}: peak {} MiB", rows.len(), memory >> 10));
    assert!(memory < MOST_MEMORY_KIB, "{memory} KiB");
    rows.iter().for_each(|(_, web, _)| *web.honest.lock().expect("not poisoned") = true);
    for (name, web, fate) in &rows {
        if *fate == Fate::Waits {
            becomes(&dir, name, "delivered", 1);
            assert!(*web.taken.lock().expect("not poisoned") >= 1, "{name}");
        }
    }
    collector.terminate();
    assert_eq!(lost(&dir), [("gone-404".to_owned(), "failed".to_owned())]);
}

#[test]
fn a_collector_ends_in_time_though_nobody_answers_and_tells_it_after_the_next_start() {
    let dir = Dir::new();
    let web = Web::start(until_gone);
    let mail = MailServer::start("localhost", Protection::FromTheStart);
    mail.lie(Some((Step::Data, Lie::Silence)));
    let greeting = MailServer::start("localhost", Protection::Starttls);
    greeting.lie(Some((Step::Greeting, Lie::Dribble)));
    let ports = [web.address.port(), mail.address.port(), greeting.address.port()];
    let settings = permits(ports.into_iter(), "5m")
        + &web_alert("web", web.address)
        + &mail_alert(&dir, "mail", (ports[1], &mail.ca_pem), Protection::FromTheStart)
        + &mail_alert(&dir, "greeting", (ports[2], &greeting.ca_pem), Protection::Starttls);
    let collector = Serving::start(&dir, &settings);
    login(&collector);
    eventually("the mail server is at it", || mail.said().iter().any(|line| line == "DATA"));
    let begun = std::time::Instant::now();
    collector.terminate();
    measured(&format!("SIGTERM while receivers are silent: ended after {:?}", begun.elapsed()));
    *web.honest.lock().expect("not poisoned") = true;
    mail.lie(None);
    greeting.lie(None);
    let collector = Serving::start(&dir, &settings);
    for name in ["web", "mail", "greeting"] {
        becomes(&dir, name, "delivered", 1);
    }
    collector.terminate();
}

#[test]
fn a_password_that_was_changed_in_the_middle_loses_nothing() {
    let dir = Dir::new();
    let server = MailServer::start("localhost", Protection::FromTheStart);
    let port = server.address.port();
    let settings = permits([port].into_iter(), "2s")
        + &mail_alert(&dir, "mail", (port, &server.ca_pem), Protection::FromTheStart);
    let collector = Serving::start(&dir, &settings);
    login(&collector);
    eventually("the first", || server.letters().len() == 1);
    server.lie(Some((Step::Auth, Lie::Says("535 5.7.8 authentication failed\r\n"))));
    login(&collector);
    eventually("trying again", || counted(&dir, "mail", "retried") >= 2);
    eventually("health says why", || {
        alerts_check(&dir)["message"].as_str().is_some_and(|text| text.contains("535"))
    });
    // The operator corrects it.
    private(&dir, "mail.password", "another one\n");
    server.lie(None);
    collector.signal(rustix::process::Signal::HUP);
    eventually("the second", || server.letters().len() == 2);
    collector.terminate();
    assert_eq!(lost(&dir), []);
}
