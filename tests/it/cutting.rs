//! A proxy that cuts connections, one after the other, after so many bytes in one direction: in
//! the head of a request, in its body, or in the answer.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// In what a connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Head,
    Body,
    Answer,
}

#[derive(Debug, Default)]
struct Plan {
    /// The next one is cut after so many bytes that way, counted once something was answered
    /// after the last cut: a client that is cut again and again waits longer and longer.
    cuts: VecDeque<(Way, usize)>,
    passed: usize,
    is_quiet: bool,
    made: Vec<Part>,
}

/// A proxy; its threads end with the process.
#[derive(Debug)]
pub(crate) struct Cutting {
    pub(crate) address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

fn locked(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cutting {
    pub(crate) fn before(server: SocketAddr, cuts: impl IntoIterator<Item = (Way, usize)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let cuts = cuts.into_iter().collect();
        let plan = Arc::new(Mutex::new(Plan { cuts, ..Plan::default() }));
        let shared = Arc::clone(&plan);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(server) else { continue };
                let answered = Arc::new(AtomicBool::new(true));
                for way in [Way::Up, Way::Down] {
                    let (Ok(client), Ok(upstream)) = (client.try_clone(), upstream.try_clone())
                    else {
                        continue;
                    };
                    let (from, to) = match way {
                        Way::Up => (client, upstream),
                        Way::Down => (upstream, client),
                    };
                    let (plan, answered) = (Arc::clone(&shared), Arc::clone(&answered));
                    std::thread::spawn(move || pump(way, from, to, &plan, &answered));
                }
            }
        });
        Self { address, plan }
    }

    /// How many are still to come.
    pub(crate) fn left(&self) -> usize {
        locked(&self.plan).cuts.len()
    }

    /// In what each was cut.
    pub(crate) fn made(&self) -> Vec<Part> {
        locked(&self.plan).made.clone()
    }
}

/// What goes one way. `answered`: whether anything came back since the last request began.
fn pump(
    way: Way,
    mut from: TcpStream,
    mut to: TcpStream,
    plan: &Mutex<Plan>,
    answered: &AtomicBool,
) {
    let (mut buffer, mut in_head, mut head) = (vec![0; 16 << 10], false, Vec::new());
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..length];
        // Where the head ends in these bytes.
        let mut body_at = 0;
        match way {
            Way::Up => {
                if answered.swap(false, Ordering::SeqCst) {
                    (in_head, head) = (true, Vec::new());
                }
                if in_head {
                    let before = head.len();
                    head.extend_from_slice(bytes);
                    let end = head.windows(4).position(|four| four == b"\r\n\r\n");
                    in_head = end.is_none();
                    body_at = end.map_or(length, |end| (end + 4).saturating_sub(before));
                }
            }
            Way::Down => answered.store(true, Ordering::SeqCst),
        }
        let kept = {
            let mut plan = locked(plan);
            let is_quiet = plan.is_quiet;
            plan.is_quiet &= way == Way::Up;
            match plan.cuts.front().copied() {
                _ if is_quiet => None,
                Some((on, after)) if on == way && plan.passed + length >= after => {
                    let kept = after - plan.passed;
                    (plan.passed, plan.is_quiet, _) = (0, true, plan.cuts.pop_front());
                    plan.made.push(match way {
                        Way::Down => Part::Answer,
                        Way::Up if kept <= body_at => Part::Head,
                        Way::Up => Part::Body,
                    });
                    Some(kept)
                }
                Some((on, _)) if on == way => {
                    plan.passed += length;
                    None
                }
                _ => None,
            }
        };
        if to.write_all(&bytes[..kept.unwrap_or(length)]).is_err() || kept.is_some() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
