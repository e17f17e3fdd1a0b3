//! A proxy that stands before a real server and troubles the connections to it,
//! each as the test says.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Each new connection takes the next fate, and gives it back if it ends before
    /// that has come to pass; those after the last are left alone.
    pub(crate) fn before(server: SocketAddr, fates: &[Fate]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let fates = Arc::new(Mutex::new(fates.iter().copied().collect::<VecDeque<_>>()));
        let met = Arc::new(Mutex::new(Vec::new()));
        let (queue, noted) = (Arc::clone(&fates), Arc::clone(&met));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let fate = locked(&queue).pop_front();
                let (queue, noted) = (Arc::clone(&queue), Arc::clone(&noted));
                std::thread::spawn(move || {
                    let notes = Arc::new(Notes { met: noted, happened: AtomicBool::new(false) });
                    serve(client, server, address, fate, &notes);
                    if let Some(fate) = fate
                        && !notes.happened.load(Ordering::SeqCst)
                    {
                        locked(&queue).push_front(fate);
                    }
                });
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

/// What came to pass, on all connections and on this one.
struct Notes {
    met: Arc<Mutex<Vec<Fate>>>,
    happened: AtomicBool,
}

impl Notes {
    fn note(&self, fate: Fate) {
        self.happened.store(true, Ordering::SeqCst);
        locked(&self.met).push(fate);
    }
}

fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    proxy: SocketAddr,
    fate: Option<Fate>,
    notes: &Arc<Notes>,
) {
    if fate == Some(Fate::Busy) {
        let mut head = [0; 4_096];
        let _ = client.read(&mut head);
        notes.note(Fate::Busy);
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
        let (sent, notes) = (Arc::clone(&sent), Arc::clone(notes));
        std::thread::spawn(move || {
            if let (Ok(from), Ok(to)) = (from, to) {
                pump_down(from, to, (server, proxy), fate, &sent, &notes);
            }
        })
    };
    pump_up(client, upstream, fate, &sent, notes);
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
    notes: &Notes,
) {
    let mut buffer = vec![0; 32 << 10];
    let mut total = 0;
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let mut bytes = &mut buffer[..length];
        match fate {
            Some(Fate::CutUp(limit)) if total + length >= limit => {
                let _ = server.write_all(&bytes[..limit - total]);
                notes.note(Fate::CutUp(limit));
                break;
            }
            Some(Fate::StallUp(limit)) if total + length >= limit => {
                notes.note(Fate::StallUp(limit));
                // Until the client gives up.
                while let Ok(1..) = client.read(&mut buffer) {
                    std::thread::sleep(Duration::from_secs(1));
                }
                break;
            }
            Some(Fate::FlipUp(at)) if (total..total + length).contains(&at) => {
                bytes[at - total] ^= 1;
                notes.note(Fate::FlipUp(at));
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
    notes: &Notes,
) {
    let mut buffer = vec![0; 32 << 10];
    let mut total = 0;
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        match fate {
            Some(Fate::CutDown(limit)) if total + length >= limit => {
                let _ = client.write_all(&buffer[..limit - total]);
                notes.note(Fate::CutDown(limit));
                break;
            }
            Some(Fate::AnswerLostAfter(bytes)) if *locked(sent) >= bytes => {
                notes.note(Fate::AnswerLostAfter(bytes));
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
