//! Over TLS: e-mail to a mail server on this machine that speaks STARTTLS, and a
//! webhook over https.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use auditctl::alerts::guard::SystemLookup;
use auditctl::alerts::{TestOutcome, send_test};
use auditctl::clock::SystemClock;
use auditctl::config::{Sources, load};
use auditctl::fsio::OsFs;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use crate::support::{Dir, eventually};

/// What was said to it: commands, with a mark where TLS began, and messages.
type Said = Arc<Mutex<Vec<String>>>;

struct MailServer {
    address: SocketAddr,
    said: Said,
    ca_pem: String,
}

/// A server's side of TLS with a certificate for `name`, and the certificate of the
/// authority that it is by, PEM.
fn certified(name: &str) -> (Arc<rustls::ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("key");
    let ca = params.self_signed(&ca_key).expect("certificate");
    let key = KeyPair::generate().expect("key");
    let issuer = Issuer::new(params, ca_key);
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("key"),
        )
        .expect("a certificate");
    (Arc::new(config), ca.pem())
}

fn mail_server(name: &str, rcpt: &'static str) -> MailServer {
    let (config, ca_pem) = certified(name);
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("bound");
    let said = Said::default();
    let hears = Arc::clone(&said);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, said) = (Arc::clone(&config), Arc::clone(&hears));
            let stream = stream.expect("a connection");
            std::thread::spawn(move || {
                // Ends when the other side has gone.
                let _ = speak(stream, &config, (&said, rcpt));
            });
        }
    });
    MailServer { address, said, ca_pem }
}

fn speak(
    mut stream: TcpStream,
    config: &Arc<rustls::ServerConfig>,
    (said, rcpt): (&Said, &str),
) -> std::io::Result<()> {
    stream.write_all(b"220 mail ESMTP\r\n")?;
    if !session(&mut stream, true, (said, rcpt))? {
        return Ok(());
    }
    said.lock().expect("not poisoned").push("<TLS>".to_owned());
    let connection = rustls::ServerConnection::new(Arc::clone(config)).expect("a connection");
    let mut stream = rustls::StreamOwned::new(connection, stream);
    session(&mut stream, false, (said, rcpt)).map(drop)
}

/// Until the end, or `true` when TLS is wanted.
fn session(
    stream: &mut (impl Read + Write),
    plain: bool,
    (said, rcpt): (&Said, &str),
) -> std::io::Result<bool> {
    let mut input = BufReader::with_capacity(1, stream);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let line = line.trim_end().to_owned();
        said.lock().expect("not poisoned").push(line.clone());
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" if plain => "250-mail\r\n250 STARTTLS\r\n",
            "EHLO" => "250-mail\r\n250 AUTH PLAIN LOGIN\r\n",
            "STARTTLS" => "220 go ahead\r\n",
            "AUTH" => "235 welcome\r\n",
            "RCPT" => rcpt,
            "DATA" => "354 end with a dot\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        input.get_mut().write_all(answer.as_bytes())?;
        input.get_mut().flush()?;
        match verb.as_str() {
            "STARTTLS" => return Ok(true),
            "QUIT" => return Ok(false),
            "DATA" => {
                let mut message = String::new();
                while !message.ends_with("\r\n.\r\n") {
                    if input.read_line(&mut message)? == 0 {
                        return Ok(false);
                    }
                }
                said.lock().expect("not poisoned").push(message);
                input.get_mut().write_all(b"250 queued\r\n")?;
                input.get_mut().flush()?;
            }
            _ => {}
        }
    }
}

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
         from = \"auditctl <audit@example.com>\"\nto = [\"ops@example.com\", \"oncall@example.com\"]\n\
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
    let server = mail_server("localhost", "250 ok\r\n");
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
    let server = mail_server("mail.example.org", "250 ok\r\n");
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
    let good = test_alert(&dir, &mail_server("localhost", "250 ok\r\n"));
    assert!(good.delivered, "{good:?}");
    assert_eq!(good.answer.as_deref(), Some("SMTP 250"));
    assert!(good.address.expect("an address").ip().is_loopback());
    let bad = test_alert(&dir, &mail_server("localhost", "550 no such user\r\n"));
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
