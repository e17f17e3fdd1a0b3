//! A mail server on this machine: honest, or lying in any way that is asked for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;

/// What was said to it: commands, with a mark where TLS began, and messages.
pub(crate) type Said = Arc<Mutex<Vec<String>>>;

/// A place in the dialogue, before the server's answer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Greeting,
    /// The first EHLO of a connection that begins in the clear.
    PlainHello,
    Starttls,
    /// Before the server's part of the handshake.
    Handshake,
    Hello,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// After the message itself.
    Letter,
    Quit,
}

/// What it does there instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Closes the connection.
    HangUp,
    /// Resets it.
    Reset,
    /// Says nothing more, and keeps it open.
    Silence,
    /// Lines that go on and on, each announcing another.
    EndlessLines,
    /// One line without an end.
    EndlessLine,
    /// A good answer, a byte at a time, too slowly to ever end.
    Dribble,
    /// Bytes that are no answer.
    Garbage,
    /// Another answer.
    Says(&'static str),
}

/// How it protects its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    Starttls,
    FromTheStart,
}

pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    pub(crate) said: Said,
    pub(crate) ca_pem: String,
    lie: Arc<Mutex<Option<(Step, Lie)>>>,
}

impl MailServer {
    /// With a certificate for `name` of an authority of its own.
    pub(crate) fn start(name: &str, protection: Protection) -> Self {
        let (config, ca_pem) = certified(name);
        Self::with(config, ca_pem, protection)
    }

    pub(crate) fn with(
        config: Arc<rustls::ServerConfig>,
        ca_pem: String,
        protection: Protection,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("bound");
        let server = Self { address, said: Said::default(), ca_pem, lie: Arc::default() };
        let (said, lie) = (Arc::clone(&server.said), Arc::clone(&server.lie));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let talk = Talk {
                    said: Arc::clone(&said),
                    lie: *lie.lock().expect("not poisoned"),
                    config: Arc::clone(&config),
                };
                let stream = stream.expect("a connection");
                std::thread::spawn(move || {
                    // Ends when the other side has gone.
                    let _ = talk.serve(stream, protection);
                });
            }
        });
        server
    }

    /// Lies from the next connection on; `None` is honest.
    pub(crate) fn lie(&self, lie: Option<(Step, Lie)>) {
        *self.lie.lock().expect("not poisoned") = lie;
    }

    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().expect("not poisoned").clone()
    }

    /// The messages that it took.
    pub(crate) fn letters(&self) -> Vec<String> {
        self.said().into_iter().filter(|line| line.contains("Subject:")).collect()
    }

    /// Whether anything of a letter, or a password, was said to it.
    pub(crate) fn was_told_anything(&self) -> bool {
        self.said().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL"))
    }
}

/// A server's side of TLS with a certificate for `name`, and the certificate of the
/// authority that it is by, PEM.
pub(crate) fn certified(name: &str) -> (Arc<rustls::ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("key");
    let ca = params.self_signed(&ca_key).expect("certificate");
    let key = KeyPair::generate().expect("key");
    let issuer = Issuer::new(params, ca_key);
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("certificate");
    (tls_of(&leaf, &key), ca.pem())
}

/// A server's side of TLS with a certificate that it signed itself, as
/// `openssl req -x509` makes it (an authority's) or without that.
pub(crate) fn self_signed(
    name: &str,
    as_authority: bool,
    valid: (i32, i32),
) -> (Arc<rustls::ServerConfig>, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    if as_authority {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    params.not_before = rcgen::date_time_ymd(valid.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(valid.1, 1, 1);
    let key = KeyPair::generate().expect("key");
    let own = params.self_signed(&key).expect("certificate");
    (tls_of(&own, &key), own.pem())
}

fn tls_of(certificate: &rcgen::Certificate, key: &KeyPair) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("key"),
        )
        .expect("a certificate");
    Arc::new(config)
}

struct Talk {
    said: Said,
    lie: Option<(Step, Lie)>,
    config: Arc<rustls::ServerConfig>,
}

/// The connection is over.
type Over = std::io::Result<()>;

impl Talk {
    fn note(&self, text: &str) {
        self.said.lock().expect("not poisoned").push(text.to_owned());
    }

    fn serve(&self, mut stream: TcpStream, protection: Protection) -> Over {
        stream.set_nodelay(true)?;
        if protection == Protection::Starttls {
            self.answer(&mut stream, Step::Greeting, "220 mail ESMTP\r\n")?;
            if !self.session(&mut stream, true)? {
                return Ok(());
            }
        }
        if self.lie.is_some_and(|(step, _)| step == Step::Handshake) {
            self.answer(&mut stream, Step::Handshake, "")?;
        }
        self.note("<TLS>");
        let connection = rustls::ServerConnection::new(Arc::clone(&self.config));
        let mut tls = rustls::StreamOwned::new(connection.expect("a connection"), stream);
        if protection == Protection::FromTheStart {
            self.answer(&mut tls, Step::Greeting, "220 mail ESMTP\r\n")?;
        }
        self.session(&mut tls, false).map(drop)
    }

    /// Until the end, or `true` when TLS is wanted.
    fn session(&self, stream: &mut impl Line, plain: bool) -> std::io::Result<bool> {
        let mut input = BufReader::with_capacity(1, stream);
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(false);
            }
            let line = line.trim_end().to_owned();
            self.note(&line);
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let (step, answer) = match verb.as_str() {
                "EHLO" if plain => (Step::PlainHello, "250-mail\r\n250 STARTTLS\r\n"),
                "EHLO" => (Step::Hello, "250-mail\r\n250 AUTH PLAIN LOGIN\r\n"),
                "STARTTLS" => (Step::Starttls, "220 go ahead\r\n"),
                "AUTH" => (Step::Auth, "235 welcome\r\n"),
                "MAIL" => (Step::Mail, "250 ok\r\n"),
                "RCPT" => (Step::Rcpt, "250 ok\r\n"),
                "DATA" => (Step::Data, "354 end with a dot\r\n"),
                "QUIT" => (Step::Quit, "221 bye\r\n"),
                _ => (Step::Mail, "250 ok\r\n"),
            };
            self.answer(*input.get_mut(), step, answer)?;
            match step {
                Step::Starttls => return Ok(true),
                Step::Quit => return Ok(false),
                Step::Data => {
                    let mut message = String::new();
                    while !message.ends_with("\r\n.\r\n") {
                        if input.read_line(&mut message)? == 0 {
                            return Ok(false);
                        }
                    }
                    self.note(&message);
                    self.answer(*input.get_mut(), Step::Letter, "250 queued\r\n")?;
                }
                _ => {}
            }
        }
    }

    /// Answers, or lies; an error ends the connection.
    fn answer(&self, stream: &mut impl Line, step: Step, honest: &str) -> Over {
        let over = || Err(std::io::ErrorKind::ConnectionAborted.into());
        let Some((_, lie)) = self.lie.filter(|(at, _)| *at == step) else {
            stream.write_all(honest.as_bytes())?;
            return stream.flush();
        };
        match lie {
            Lie::HangUp => {
                let _ = stream.socket().shutdown(Shutdown::Both);
                over()
            }
            Lie::Reset => {
                // With bytes unread, or no lingering, a close is a reset.
                let off = Some(Duration::ZERO);
                let _ = rustix::net::sockopt::set_socket_linger(stream.socket(), off);
                over()
            }
            Lie::Silence => {
                // Until the other side has had enough.
                while stream.read(&mut [0; 512]).is_ok_and(|read| read > 0) {}
                over()
            }
            Lie::EndlessLines => loop {
                stream.write_all("250-more to come\r\n".repeat(500).as_bytes())?;
                stream.flush()?;
            },
            Lie::EndlessLine => {
                stream.write_all(b"250 ")?;
                loop {
                    stream.write_all(&[b'x'; 8_192])?;
                    stream.flush()?;
                }
            }
            Lie::Dribble => {
                for byte in b"250-".iter().chain(std::iter::repeat(&b'x')) {
                    stream.write_all(&[*byte])?;
                    stream.flush()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                over()
            }
            Lie::Garbage => {
                stream.write_all(b"\x00\xff\xfe\r\n\x1b[2J not smtp\r\n")?;
                stream.flush()?;
                while stream.read(&mut [0; 512]).is_ok_and(|read| read > 0) {}
                over()
            }
            Lie::Says(text) => {
                stream.write_all(text.as_bytes())?;
                stream.flush()
            }
        }
    }
}

/// A connection, protected or not.
trait Line: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Line for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Line for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// Somebody between: passes on what is said in the clear, appends answers of its own
/// to the one that begins TLS, lets the handshake through and swallows the rest.
pub(crate) struct Injector {
    pub(crate) address: SocketAddr,
    injects: Arc<Mutex<bool>>,
    swallowed: Arc<Mutex<usize>>,
}

/// One for each step that a client waits for after TLS has begun.
const INJECTED: &str = "250-mail\r\n250 AUTH PLAIN LOGIN\r\n235 welcome\r\n250 ok\r\n250 ok\r\n\
                        250 ok\r\n354 go on\r\n250 queued\r\n221 bye\r\n";

impl Injector {
    /// Before the server at that address. `apart`: the answers come in a packet of
    /// their own, behind the one that begins TLS.
    pub(crate) fn before(server: SocketAddr, apart: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("bound");
        let injects = Arc::new(Mutex::new(true));
        let swallowed = Arc::new(Mutex::new(0));
        let (now, count) = (Arc::clone(&injects), Arc::clone(&swallowed));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let injects = *now.lock().expect("not poisoned");
                let (client, count) = (client.expect("a connection"), Arc::clone(&count));
                std::thread::spawn(move || {
                    let server = TcpStream::connect(server).expect("the server");
                    let _ = between(client, server, injects.then_some(apart), &count);
                });
            }
        });
        Self { address, injects, swallowed }
    }

    /// From the next connection on it only passes on.
    pub(crate) fn goes_away(&self) {
        *self.injects.lock().expect("not poisoned") = false;
    }

    /// How many connections it has lied to.
    pub(crate) fn lied_to(&self) -> usize {
        *self.swallowed.lock().expect("not poisoned")
    }
}

fn between(
    client: TcpStream,
    server: TcpStream,
    injects: Option<bool>,
    lied_to: &Mutex<usize>,
) -> Over {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut to_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let (mut from_client, mut from_server) = (BufReader::new(client), BufReader::new(server));
    let mut line = String::new();
    // Greeting, then each command with its answer, until TLS begins.
    from_server.read_line(&mut line)?;
    to_client.write_all(line.as_bytes())?;
    loop {
        line.clear();
        if from_client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let begins_tls = line.to_ascii_uppercase().starts_with("STARTTLS");
        to_server.write_all(line.as_bytes())?;
        let mut answer = String::new();
        loop {
            let begun = answer.len();
            from_server.read_line(&mut answer)?;
            if answer.as_bytes().get(begun + 3) != Some(&b'-') {
                break;
            }
        }
        if begins_tls && let Some(apart) = injects {
            *lied_to.lock().expect("not poisoned") += 1;
            to_client.write_all(if apart { &answer } else { "" }.as_bytes())?;
            let text = if apart { INJECTED.to_owned() } else { format!("{answer}{INJECTED}") };
            to_client.write_all(text.as_bytes())?;
        } else {
            to_client.write_all(answer.as_bytes())?;
        }
        if begins_tls {
            break;
        }
    }
    std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
    if injects.is_none() {
        return std::io::copy(&mut from_client, &mut to_server).map(drop);
    }
    // Up to the client's first encrypted record, which ends its part of the handshake.
    loop {
        let mut head = [0; 5];
        from_client.read_exact(&mut head)?;
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        from_client.read_exact(&mut body)?;
        to_server.write_all(&head)?;
        to_server.write_all(&body)?;
        const APPLICATION_DATA: u8 = 23;
        if head[0] == APPLICATION_DATA {
            break;
        }
    }
    std::io::copy(&mut from_client, &mut std::io::sink()).map(drop)
}
