//! A proxy before a store that counts what the store is asked for, request by request.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::proxy::name_proxy;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    /// It stores an object, or a part of one.
    Put,
    /// It asks what is known of an object.
    Head,
    /// It reads an object.
    Get,
    /// It lists the bucket.
    List,
    Delete,
}

pub(crate) type Counts = BTreeMap<Asked, u64>;

/// A proxy; its threads end with the process.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<(Asked, String)>>>,
}

type Seen = Mutex<Vec<(Asked, String)>>;

fn locked(seen: &Seen) -> MutexGuard<'_, Vec<(Asked, String)>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counting {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(server) else { continue };
                let (Ok(from), Ok(to)) = (upstream.try_clone(), client.try_clone()) else {
                    continue;
                };
                std::thread::spawn(move || answers(from, to, (server, address)));
                let seen = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let end = (client.try_clone(), upstream.try_clone());
                    let _ = requests(client, upstream, &seen);
                    for stream in [end.0, end.1].into_iter().flatten() {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// How many requests there were.
    pub(crate) fn len(&self) -> usize {
        locked(&self.seen).len()
    }

    /// What was asked since there were so many.
    pub(crate) fn since(&self, before: usize) -> Counts {
        let mut counts = Counts::new();
        for (asked, _) in &locked(&self.seen)[before..] {
            *counts.entry(*asked).or_default() += 1;
        }
        counts
    }

    /// The requests since then, for people.
    pub(crate) fn said(&self, before: usize) -> String {
        let seen = locked(&self.seen);
        seen[before..].iter().map(|(asked, line)| format!("{asked:?}: {line}\n")).collect()
    }
}

fn answers(mut from: TcpStream, mut to: TcpStream, (server, proxy): (SocketAddr, SocketAddr)) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        // What the server says about where to go on is to come this way too.
        name_proxy(&mut buffer[..length], &server.to_string(), &proxy.to_string());
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Passes on what a client sends, request by request.
fn requests(client: TcpStream, mut server: TcpStream, seen: &Seen) -> io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let (mut head, mut length, mut is_chunked) = (Vec::new(), 0, false);
        loop {
            let from = head.len();
            if client.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&head[from..]).trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            is_chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
            if line.is_empty() && from > 0 {
                break;
            }
        }
        let line = String::from_utf8_lossy(&head);
        let line = line.lines().next().unwrap_or_default().to_owned();
        locked(seen).push((asked(&line), line));
        server.write_all(&head)?;
        if is_chunked {
            chunks(&mut client, &mut server)?;
        } else {
            io::copy(&mut (&mut client).take(length), &mut server)?;
        }
    }
}

fn chunks(client: &mut BufReader<TcpStream>, server: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        client.read_until(b'\n', &mut line)?;
        server.write_all(&line)?;
        let text = String::from_utf8_lossy(&line);
        let digits = text.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
        io::copy(&mut client.take(length + 2), server)?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// By the protocols of S3, of Azure, and of Google.
fn asked(line: &str) -> Asked {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let lists = ["list-type=", "comp=list", "uploads"].iter().any(|key| query.contains(key));
    match method {
        "PUT" | "POST" => Asked::Put,
        "HEAD" => Asked::Head,
        "DELETE" => Asked::Delete,
        _ if lists || path.starts_with("/storage/v1/b/") && path.ends_with("/o") => Asked::List,
        _ if path.starts_with("/storage/v1/b/") && !query.contains("alt=media") => Asked::Head,
        _ => Asked::Get,
    }
}
