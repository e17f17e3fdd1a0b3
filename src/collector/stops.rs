//! SIGTERM and SIGINT: the first one ends the collector in order, another one at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// The same signal again within this time is the first one, told twice: `timeout` signals the
/// process and then its group, a service manager the process and then its control group.
const TOLD_TWICE: Duration = Duration::from_millis(500);

/// The signals that end the collector.
pub(super) struct Stops {
    terminate: Signal,
    interrupt: Signal,
    first: Option<(Kind, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Terminate,
    Interrupt,
}

impl Stops {
    /// Begins to listen.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            first: None,
        })
    }

    async fn next(&mut self) -> Kind {
        tokio::select! {
            _ = self.terminate.recv() => Kind::Terminate,
            _ = self.interrupt.recv() => Kind::Interrupt,
        }
    }

    /// The first one.
    pub(super) async fn first(&mut self) {
        let kind = self.next().await;
        self.first = Some((kind, Instant::now()));
    }

    /// One after it that is no repetition of it.
    pub(super) async fn another(&mut self) {
        loop {
            let kind = self.next().await;
            let repeats = |(first, at): (Kind, Instant)| kind == first && at.elapsed() < TOLD_TWICE;
            if !self.first.is_some_and(repeats) {
                return;
            }
        }
    }
}
