//! Over TLS: e-mail to a mail server on this machine that speaks STARTTLS, and a
//! webhook over https.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use auditctl::alerts::guard::SystemLookup;
use auditctl::alerts::{TestOutcome, send_test};
use auditctl::clock::SystemClock;
use auditctl::config::{Sources, load};
use auditctl::fsio::OsFs;

use crate::mail_server::{Lie, MailServer, Protection, Said, Step, certified, self_signed};
use crate::support::{Dir, eventually};

fn private(dir: &Dir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("mode");
    path.to_str().expect("UTF-8").to_owned()
}

fn settings_text(dir: &Dir, server: &MailServer) -> String {
    let port = server.address.port();
    let ca = private(dir, "ca.pem", &server.ca_pem);
    let password = private(dir, "password", "correct horse battery\n");
    format!(
        "[alerting]\nallow = [\"localhost:{port}\"]\nretry_pause_max = \"1s\"\n\
         [[alerts]]\nname = \"mail\"\non = \"event\"\ntype = [\"login\"]\ncooldown = \"0s\"\nsend = \"email\"\n\
         smtp = \"localhost:{port}\"\nsmtp_user = \"audit\"\nsmtp_password_file = \"{password}\"\n\
         smtp_tls = \"starttls\"\nfrom = \"auditctl <audit@example.com>\"\nto = [\"ops@example.com\", \"oncall@example.com\"]\n\
         ca_file = \"{ca}\"\n"
    )
}

fn test_alert(dir: &Dir, server: &MailServer) -> TestOutcome {
    let file = Some(("auditctl.toml".into(), settings_text(dir, server)));
    let settings = load(&Sources { file, ..Sources::default() }).expect("good settings");
    send_test(&settings, "mail", (&OsFs, &SystemClock), Arc::new(SystemLookup)).expect("tried")
}

#[test]
fn a_letter_goes_out_over_starttls_and_nothing_is_said_before_it() {
    let dir = Dir::new();
    let server = MailServer::start("localhost", Protection::Starttls);
    std::fs::write(dir.path().join("auditctl.toml"), "").expect("settings");
    let collector = crate::serving::Serving::start(&dir, &settings_text(&dir, &server));
    let event = r#"{"event_type":"login","actor":"x\r\nBcc: evil@example.org"}"#;
    assert!(collector.connect().ask(event)["ok"]["seq"].is_u64());
    let message = || {
        let said = server.said.lock().expect("not poisoned");
        said.iter().find(|line| line.contains("Subject:")).cloned()
    };
    eventually("the letter is there", || message().is_some());
    collector.terminate();
    let message = message().expect("the letter");
    assert!(message.contains("Subject: [auditctl] mail: login\r\n"), "{message}");
    assert!(message.contains("To: ops@example.com, oncall@example.com\r\n"), "{message}");
    assert!(message.contains("Message-ID: <"), "{message}");
    let head = message.split("\r\n\r\n").next().expect("a head");
    assert!(!head.contains("evil@example.org"), "{message}");
    let said = server.said.lock().expect("not poisoned").clone();
    let before: Vec<&str> =
        said.iter().take_while(|line| *line != "<TLS>").map(String::as_str).collect();
    assert!(
        before.len() == 2 && before[0].starts_with("EHLO ") && before[1] == "STARTTLS",
        "{said:?}"
    );
    let messages = said.iter().filter(|line| line.contains("Subject:")).count();
    assert_eq!(messages, 1, "once");
    for recipient in ["RCPT TO:<ops@example.com>", "RCPT TO:<oncall@example.com>"] {
        assert!(said.iter().any(|line| line.starts_with(recipient)), "{said:?}");
    }
    assert!(said.iter().any(|line| line.starts_with("AUTH PLAIN ")), "{said:?}");
}

#[test]
fn a_certificate_for_another_name_gets_nothing() {
    let dir = Dir::new();
    let server = MailServer::start("mail.example.org", Protection::Starttls);
    let outcome = test_alert(&dir, &server);
    assert!(!outcome.delivered && !outcome.refused, "{outcome:?}");
    let said = server.said.lock().expect("not poisoned").clone();
    assert!(
        !said.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")),
        "{said:?}"
    );
}

#[test]
fn a_test_letter_tells_where_it_went_and_a_refused_recipient_is_told() {
    let dir = Dir::new();
    let good = test_alert(&dir, &MailServer::start("localhost", Protection::Starttls));
    assert!(good.delivered, "{good:?}");
    assert_eq!(good.answer.as_deref(), Some("SMTP 250"));
    assert!(good.address.expect("an address").ip().is_loopback());
    let refuses = MailServer::start("localhost", Protection::Starttls);
    refuses.lie(Some((Step::Rcpt, Lie::Says("550 no such user\r\n"))));
    let bad = test_alert(&dir, &refuses);
    assert!(!bad.delivered, "{bad:?}");
    assert_eq!(bad.answer.as_deref(), Some("SMTP 550"));
    assert!(bad.problem.expect("a reason").contains("no such user"));
}

#[test]
fn a_webhook_over_https_goes_to_the_certificate_s_name_only_and_to_known_authorities_only() {
    let dir = Dir::new();
    for (name, knows_ca, expected) in
        [("localhost", true, true), ("localhost", false, false), ("hooks.example.com", true, false)]
    {
        let (config, ca_pem) = certified(name);
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("bound");
        let bodies: Said = Said::default();
        let hears = Arc::clone(&bodies);
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            let connection = rustls::ServerConnection::new(config).expect("a connection");
            let mut input = BufReader::new(rustls::StreamOwned::new(connection, stream));
            let mut head = String::new();
            // Ends where the handshake fails.
            while input.read_line(&mut head).is_ok_and(|read| read > 0) {
                if head.ends_with("\r\n\r\n") {
                    hears.lock().expect("not poisoned").push(head);
                    let _ = input.get_mut().write_all(b"HTTP/1.1 204 X\r\n\r\n");
                    return;
                }
            }
        });
        let port = address.port();
        let ca = private(&dir, "ca.pem", &ca_pem);
        let ca = if knows_ca { format!("ca_file = \"{ca}\"\n") } else { String::new() };
        let text = format!(
            "[alerting]\nallow = [\"localhost:{port}\"]\n\
             [[alerts]]\nname = \"mail\"\non = \"health\"\nurl = \"https://localhost:{port}/x\"\n{ca}"
        );
        let file = Some(("auditctl.toml".into(), text));
        let settings = load(&Sources { file, ..Sources::default() }).expect("good settings");
        let lookup = Arc::new(SystemLookup);
        let outcome = send_test(&settings, "mail", (&OsFs, &SystemClock), lookup).expect("tried");
        assert_eq!(outcome.delivered, expected, "{name}: {outcome:?}");
        assert_eq!(bodies.lock().expect("not poisoned").len(), usize::from(expected));
        if !expected {
            let problem = outcome.problem.expect("a reason");
            assert!(problem.contains("certificate"), "{problem}");
        }
    }
}

#[test]
fn a_certificate_that_a_server_signed_itself_is_trusted_as_ca_file_by_its_name_and_dates() {
    let dir = Dir::new();
    for (what, as_authority, name, valid, same, expected) in [
        ("as openssl req -x509 makes it", true, "localhost", (2020, 2090), true, true),
        ("not an authority's", false, "localhost", (2020, 2090), true, true),
        ("of another name", true, "hooks.example.com", (2020, 2090), true, false),
        ("that has ended", true, "localhost", (2020, 2021), true, false),
        ("that has not begun", true, "localhost", (2089, 2090), true, false),
        ("of somebody else of that name", true, "localhost", (2020, 2090), false, false),
    ] {
        let (config, own) = self_signed(name, as_authority, valid);
        let (_, other) = self_signed(name, as_authority, valid);
        let trusted = if same { own } else { other };
        let server = MailServer::with(config, trusted, Protection::FromTheStart);
        let text = settings_text(&dir, &server).replace("smtp_tls = \"starttls\"\n", "");
        let file = Some(("auditctl.toml".into(), text));
        let settings = load(&Sources { file, ..Sources::default() }).expect("good settings");
        let lookup = Arc::new(SystemLookup);
        let outcome = send_test(&settings, "mail", (&OsFs, &SystemClock), lookup).expect("tried");
        assert_eq!(outcome.delivered, expected, "{what}: {outcome:?}");
        assert_eq!(server.letters().len(), usize::from(expected), "{what}");
        if !expected {
            assert!(!server.was_told_anything(), "{what}");
            let problem = outcome.problem.expect("a reason");
            assert!(problem.contains("certificate"), "{what}: {problem}");
        }
    }
}

#[test]
fn a_ca_file_without_a_certificate_is_told_at_the_start() {
    let dir = Dir::new();
    let server = MailServer::start("localhost", Protection::FromTheStart);
    let text = settings_text(&dir, &server);
    private(&dir, "ca.pem", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n");
    let file = Some(("auditctl.toml".into(), text));
    let settings = load(&Sources { file, ..Sources::default() }).expect("good settings");
    let lookup = Arc::new(SystemLookup);
    let error = send_test(&settings, "mail", (&OsFs, &SystemClock), lookup).expect_err("useless");
    assert!(error.to_string().contains("ca_file"), "{error}");
    assert!(error.to_string().contains("no certificate"), "{error}");
    assert!(!error.to_string().contains("aGVsbG8"), "{error}");
}

#[test]
fn smtp_speaks_tls_from_the_first_byte_unless_told_otherwise() {
    let dir = Dir::new();
    let server = MailServer::start("localhost", Protection::FromTheStart);
    let text = settings_text(&dir, &server).replace("smtp_tls = \"starttls\"\n", "");
    let test = |text: String| {
        let file = Some(("auditctl.toml".into(), text));
        let settings = load(&Sources { file, ..Sources::default() }).expect("good settings");
        let lookup = Arc::new(SystemLookup);
        send_test(&settings, "mail", (&OsFs, &SystemClock), lookup).expect("tried")
    };
    let outcome = test(text);
    assert!(outcome.delivered, "{outcome:?}");
    let said = server.said();
    assert_eq!(said.first().map(String::as_str), Some("<TLS>"), "{said:?}");
    // A server that begins in the clear gets a hint, and nothing else.
    let clear = MailServer::start("localhost", Protection::Starttls);
    let outcome = test(settings_text(&dir, &clear).replace("smtp_tls = \"starttls\"\n", ""));
    let problem = outcome.problem.expect("a reason");
    assert!(problem.contains("smtp_tls = \"starttls\""), "{problem}");
    assert!(!clear.was_told_anything());
}
