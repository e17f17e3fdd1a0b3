//! A proxy that stands before a real server and troubles the connections to it,
//! each as the test says.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// that has come to pass; those after the last are left alone. A client may open
    /// one more connection than it needs, so a fate of what goes to the server is
    /// taken only by the connection on which so many bytes go.
    pub(crate) fn before(server: SocketAddr, fates: &[Fate]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let fates = Arc::new(Mutex::new(fates.iter().copied().collect::<VecDeque<_>>()));
        let met = Arc::new(Mutex::new(Vec::new()));
        let (queue, noted) = (Arc::clone(&fates), Arc::clone(&met));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let line = Arc::new(Line {
                    fate: Mutex::new(None),
                    sent: AtomicUsize::new(0),
                    happened: AtomicBool::new(false),
                    queue: Arc::clone(&queue),
                    met: Arc::clone(&noted),
                });
                line.take(|fate| matches!(fate, Fate::Busy | Fate::CutDown(_)));
                std::thread::spawn(move || {
                    serve(client, server, address, &line);
                    if let Some(fate) = line.fate()
                        && !line.happened.load(Ordering::SeqCst)
                    {
                        locked(&line.queue).push_front(fate);
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

/// One connection.
struct Line {
    fate: Mutex<Option<Fate>>,
    /// Bytes to the server.
    sent: AtomicUsize,
    /// Whether its fate came to pass.
    happened: AtomicBool,
    /// The fates to come, and those that came to pass, of all connections.
    queue: Arc<Mutex<VecDeque<Fate>>>,
    met: Arc<Mutex<Vec<Fate>>>,
}

impl Line {
    fn fate(&self) -> Option<Fate> {
        *locked(&self.fate)
    }

    /// Takes the next fate if it has none, and that one is wanted.
    fn take(&self, wanted: impl Fn(Fate) -> bool) {
        let mut fate = locked(&self.fate);
        let mut queue = locked(&self.queue);
        if fate.is_none() && queue.front().is_some_and(|next| wanted(*next)) {
            *fate = queue.pop_front();
        }
    }

    fn note(&self, fate: Fate) {
        self.happened.store(true, Ordering::SeqCst);
        locked(&self.met).push(fate);
    }
}

fn serve(mut client: TcpStream, server: SocketAddr, proxy: SocketAddr, line: &Arc<Line>) {
    if line.fate() == Some(Fate::Busy) {
        let mut head = [0; 4_096];
        let _ = client.read(&mut head);
        line.note(Fate::Busy);
        let _ = client.write_all(
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\
              connection: close\r\n\r\n",
        );
        return;
    }
    let Ok(upstream) = TcpStream::connect(server) else { return };
    let down = {
        let (from, to) = (upstream.try_clone(), client.try_clone());
        let line = Arc::clone(line);
        std::thread::spawn(move || {
            if let (Ok(from), Ok(to)) = (from, to) {
                pump_down(from, to, (server, proxy), &line);
            }
        })
    };
    pump_up(client, upstream, line);
    let _ = down.join();
}

fn cut(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

fn pump_up(mut client: TcpStream, mut server: TcpStream, line: &Line) {
    let mut buffer = vec![0; 32 << 10];
    let mut total = 0;
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let mut bytes = &mut buffer[..length];
        let reached = total..=total + length;
        line.take(|fate| match fate {
            Fate::CutUp(at) | Fate::StallUp(at) | Fate::AnswerLostAfter(at) => {
                reached.contains(&at)
            }
            Fate::FlipUp(at) => (total..total + length).contains(&at),
            Fate::Busy | Fate::CutDown(_) => false,
        });
        match line.fate() {
            Some(Fate::CutUp(limit)) if total + length >= limit => {
                let _ = server.write_all(&bytes[..limit - total]);
                line.note(Fate::CutUp(limit));
                break;
            }
            Some(Fate::StallUp(limit)) if total + length >= limit => {
                line.note(Fate::StallUp(limit));
                // Until the client gives up.
                while let Ok(1..) = client.read(&mut buffer) {
                    std::thread::sleep(Duration::from_secs(1));
                }
                break;
            }
            Some(Fate::FlipUp(at)) if (total..total + length).contains(&at) => {
                bytes[at - total] ^= 1;
                line.note(Fate::FlipUp(at));
            }
            _ => {}
        }
        bytes = &mut bytes[..length];
        total += length;
        // Before the server can answer, so that the other direction knows.
        line.sent.store(total, Ordering::SeqCst);
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
    line: &Line,
) {
    let mut buffer = vec![0; 32 << 10];
    let mut total = 0;
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        match line.fate() {
            Some(Fate::CutDown(limit)) if total + length >= limit => {
                let _ = client.write_all(&buffer[..limit - total]);
                line.note(Fate::CutDown(limit));
                break;
            }
            Some(Fate::AnswerLostAfter(bytes)) if line.sent.load(Ordering::SeqCst) >= bytes => {
                line.note(Fate::AnswerLostAfter(bytes));
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
pub(crate) fn name_proxy(bytes: &mut [u8], server: &str, proxy: &str) {
    if server.len() != proxy.len() || bytes.len() < server.len() {
        return;
    }
    for at in 0..=bytes.len() - server.len() {
        if bytes[at..].starts_with(server.as_bytes()) {
            bytes[at..at + proxy.len()].copy_from_slice(proxy.as_bytes());
        }
    }
}
