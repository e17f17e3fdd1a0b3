//! Somebody who receives webhooks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// How it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A whole response.
    With(String),
    /// Not at all: the connection is kept, and nothing said.
    Silence,
    /// A good response whose body never ends.
    Endless,
    /// The connection is closed.
    HangUp,
}

impl Answer {
    pub(crate) fn status(status: u16, headers: &str) -> Self {
        Self::With(format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n"))
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value.trim().to_owned())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn id(&self) -> String {
        self.header("auditctl-id").expect("an id")
    }
}

/// Listens until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<Request>>>,
    closed: Arc<AtomicBool>,
}

/// An address at which nobody listens yet, nor will: no other test has its host.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let host = Ipv4Addr::new(127, 77, 0, NEXT.fetch_add(1, Ordering::SeqCst));
    let listener = TcpListener::bind((host, 0)).expect("an address");
    listener.local_addr().expect("bound")
}

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("listen");
        let receiver = Self {
            address: listener.local_addr().expect("bound"),
            answer: Arc::new(Mutex::new(Answer::status(200, ""))),
            requests: Arc::default(),
            closed: Arc::default(),
        };
        let (answer, requests) = (Arc::clone(&receiver.answer), Arc::clone(&receiver.requests));
        let closed = Arc::clone(&receiver.closed);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
                let stream = stream.expect("a connection");
                std::thread::spawn(move || serve(stream, &answer, &requests));
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?key=s3cret-part", self.address)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock().expect("not poisoned") = answer;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, answer: &Mutex<Answer>, requests: &Mutex<Vec<Request>>) {
    stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("timeout");
    let mut input = BufReader::new(stream);
    let mut head = String::new();
    loop {
        match input.read_line(&mut head) {
            Ok(0) | Err(_) => return,
            Ok(_) if head.ends_with("\r\n\r\n") => break,
            Ok(_) => {}
        }
    }
    let mut request = Request { head: head.to_ascii_lowercase(), body: Vec::new() };
    let length =
        request.header("content-length").map_or(0, |length| length.parse().expect("length"));
    request.body.resize(length, 0);
    if input.read_exact(&mut request.body).is_err() {
        return;
    }
    // Header values in their own spelling.
    request.head = head
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}\n", name.to_ascii_lowercase()),
            None => format!("{line}\n"),
        })
        .collect();
    let answer = answer.lock().expect("not poisoned").clone();
    let mut output = input.into_inner();
    match answer {
        Answer::HangUp => {}
        Answer::With(text) => {
            requests.lock().expect("not poisoned").push(request);
            let _ = output.write_all(text.as_bytes());
        }
        Answer::Silence => {
            requests.lock().expect("not poisoned").push(request);
            // Until the other side has had enough.
            let _ = output.read(&mut [0; 1]);
        }
        Answer::Endless => {
            requests.lock().expect("not poisoned").push(request);
            let _ = output.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            while output.write_all(chunk.as_bytes()).is_ok() {}
        }
    }
}
