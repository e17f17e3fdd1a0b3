//! A server that lies: asked by a store's client, it says what the test wants, in
//! whatever bytes, or passes the question on to an honest server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// How many came before it.
    pub(crate) number: usize,
    pub(crate) method: String,
    /// Path and query, as they were sent.
    pub(crate) target: String,
    /// The head's lines, without the first.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// A status, further header lines, a body, all as it should be.
    Whole(u16, String, Vec<u8>),
    /// A status and header lines, and then these bytes again and again for ever, in
    /// chunks.
    Endless(u16, String, Vec<u8>),
    /// These bytes again and again for ever, instead of an answer.
    Babble(Vec<u8>, Vec<u8>),
    /// Header lines, and then a byte now and then, for ever.
    Trickle(String),
    /// Nothing, and the connection stays.
    Silence,
    /// These bytes, and the connection is cut.
    HangUp(Vec<u8>),
    /// What the honest server says.
    Truth,
}

impl Say {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(200, String::new(), body.into())
    }
}

type Script = dyn Fn(&Asked) -> Say + Send + Sync;

/// Its threads end with the process.
pub(crate) struct Liar {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Liar {
    pub(crate) fn start(
        honest: Option<SocketAddr>,
        script: impl Fn(&Asked) -> Say + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, script): (_, Arc<Script>) = (Arc::clone(&asked), Arc::new(script));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (noted, script) = (Arc::clone(&noted), Arc::clone(&script));
                // Whoever hangs up is what some tests are about.
                std::thread::spawn(move || drop(serve(client, honest, &noted, &*script)));
            }
        });
        Self { address, asked }
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(
    mut client: TcpStream,
    honest: Option<SocketAddr>,
    noted: &Mutex<Vec<Asked>>,
    script: &Script,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let first = head.remove(0);
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |name: &str| {
        let find = |line: &String| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        head.iter().find_map(find)
    };
    if header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = {
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = Asked { number: noted.len(), method, target, headers: head, body };
        noted.push(asked.clone());
        asked
    };
    match script(&asked) {
        Say::Whole(status, headers, body) => {
            let length = if headers.to_lowercase().contains("content-length") {
                String::new()
            } else {
                format!("content-length: {}\r\n", body.len())
            };
            let head = format!("HTTP/1.1 {status} X\r\n{headers}{length}connection: close\r\n\r\n");
            client.write_all(head.as_bytes())?;
            if asked.method != "HEAD" {
                client.write_all(&body)?;
            }
        }
        Say::Endless(status, headers, piece) => {
            let head =
                format!("HTTP/1.1 {status} X\r\n{headers}transfer-encoding: chunked\r\n\r\n");
            client.write_all(head.as_bytes())?;
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend(&piece);
            chunk.extend(b"\r\n");
            loop {
                client.write_all(&chunk)?;
            }
        }
        Say::Babble(begin, piece) => {
            client.write_all(&begin)?;
            loop {
                client.write_all(&piece)?;
            }
        }
        Say::Trickle(headers) => {
            client.write_all(format!("HTTP/1.1 200 X\r\n{headers}\r\n").as_bytes())?;
            loop {
                client.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Say::Silence => {
            // Until the client has had enough.
            let _ = client.read(&mut [0; 1]);
        }
        Say::HangUp(bytes) => client.write_all(&bytes)?,
        Say::Truth => pass_on(&mut client, honest, &first, &asked)?,
    }
    client.shutdown(Shutdown::Both)
}

fn pass_on(
    client: &mut TcpStream,
    honest: Option<SocketAddr>,
    first: &str,
    asked: &Asked,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(honest.expect("an honest server behind it"))?;
    let hop = |line: &&String| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("connection:") && !line.starts_with("expect:")
    };
    let mut head = format!("{first}\r\n");
    for line in asked.headers.iter().filter(hop) {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("connection: close\r\n\r\n");
    server.write_all(head.as_bytes())?;
    server.write_all(&asked.body)?;
    std::io::copy(&mut server, client).map(drop)
}
