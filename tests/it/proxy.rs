//! A proxy that stands before a real server and troubles the connections to it,
//! each as the test says.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is cut after so many bytes to the server.
    CutUp(usize),
    /// It is cut after so many bytes from the server.
    CutDown(usize),
    /// The server gets everything; what it says once it has so many bytes is lost,
    /// and the connection with it.
    AnswerLostAfter(usize),
    /// After so many bytes to the server nothing moves any more.
    StallUp(usize),
    /// The server is not asked: 503, and to be asked again at once.
    Busy,
    /// One bit of that byte to the server is another.
    FlipUp(usize),
}

/// A proxy; its threads end with the process.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    met: Arc<Mutex<Vec<Fate>>>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Each new connection takes the next fate; those after the last are left alone.
    pub(crate) fn before(server: SocketAddr, fates: &[Fate]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let fates = Arc::new(Mutex::new(fates.iter().copied().collect::<VecDeque<_>>()));
        let met = Arc::new(Mutex::new(Vec::new()));
        let (queue, noted) = (Arc::clone(&fates), Arc::clone(&met));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let fate = locked(&queue).pop_front();
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || serve(client, server, address, fate, &noted));
            }
        });
        Self { address, fates, met }
    }

    /// The troubles that came to pass.
    pub(crate) fn met(&self) -> Vec<Fate> {
        locked(&self.met).clone()
    }

    /// The fates that no connection has taken.
    pub(crate) fn left(&self) -> usize {
        locked(&self.fates).len()
    }

    /// From now on every connection has this fate, for a long time.
    pub(crate) fn always(&self, fate: Fate) {
        locked(&self.fates).extend(std::iter::repeat_n(fate, 10_000));
    }
}

fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    proxy: SocketAddr,
    fate: Option<Fate>,
    met: &Arc<Mutex<Vec<Fate>>>,
) {
    if fate == Some(Fate::Busy) {
        let mut head = [0; 4_096];
        let _ = client.read(&mut head);
        locked(met).push(Fate::Busy);
        let _ = client.write_all(
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\
              connection: close\r\n\r\n",
        );
        return;
    }
    let Ok(upstream) = TcpStream::connect(server) else { return };
    let sent = Arc::new(Mutex::new(0));
    let down = {
        let (from, to) = (upstream.try_clone(), client.try_clone());
        let (sent, met) = (Arc::clone(&sent), Arc::clone(met));
        std::thread::spawn(move || {
            if let (Ok(from), Ok(to)) = (from, to) {
                pump_down(from, to, (server, proxy), fate, &sent, &met);
            }
        })
    };
    pump_up(client, upstream, fate, &sent, met);
    let _ = down.join();
}

fn cut(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

fn pump_up(
    mut client: TcpStream,
    mut server: TcpStream,
    fate: Option<Fate>,
    sent: &Mutex<usize>,
    met: &Mutex<Vec<Fate>>,
) {
    let mut buffer = vec![0; 32 << 10];
    let mut total = 0;
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let mut bytes = &mut buffer[..length];
        match fate {
            Some(Fate::CutUp(limit)) if total + length >= limit => {
                let _ = server.write_all(&bytes[..limit - total]);
                locked(met).push(Fate::CutUp(limit));
                break;
            }
            Some(Fate::StallUp(limit)) if total + length >= limit => {
                locked(met).push(Fate::StallUp(limit));
                std::thread::sleep(Duration::from_secs(600));
                break;
            }
            Some(Fate::FlipUp(at)) if (total..total + length).contains(&at) => {
                bytes[at - total] ^= 1;
                locked(met).push(Fate::FlipUp(at));
            }
            _ => {}
        }
        bytes = &mut bytes[..length];
        total += length;
        // Before the server can answer, so that the other direction knows.
        *locked(sent) = total;
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    cut(&client, &server);
}

fn pump_down(
    mut server: TcpStream,
    mut client: TcpStream,
    (from, to): (SocketAddr, SocketAddr),
    fate: Option<Fate>,
    sent: &Mutex<usize>,
    met: &Mutex<Vec<Fate>>,
) {
    let mut buffer = vec![0; 32 << 10];
    let mut total = 0;
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        match fate {
            Some(Fate::CutDown(limit)) if total + length >= limit => {
                let _ = client.write_all(&buffer[..limit - total]);
                locked(met).push(Fate::CutDown(limit));
                break;
            }
            Some(Fate::AnswerLostAfter(bytes)) if *locked(sent) >= bytes => {
                locked(met).push(Fate::AnswerLostAfter(bytes));
                break;
            }
            _ => {}
        }
        // What the server says about where to go on is to come this way too.
        name_proxy(&mut buffer[..length], &from.to_string(), &to.to_string());
        total += length;
        if client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    cut(&client, &server);
}

/// Writes one address over the other, where both have the same length.
fn name_proxy(bytes: &mut [u8], server: &str, proxy: &str) {
    if server.len() != proxy.len() || bytes.len() < server.len() {
        return;
    }
    for at in 0..=bytes.len() - server.len() {
        if bytes[at..].starts_with(server.as_bytes()) {
            bytes[at..at + proxy.len()].copy_from_slice(proxy.as_bytes());
        }
    }
}
