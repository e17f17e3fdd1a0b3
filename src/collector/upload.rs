//! A request's body as it comes: bounded in size and time, cut off when the collector
//! stops, never in memory as a whole.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::sync::watch;

/// What a refused sender still sends is read, so that it hears why: so much at most …
const DRAIN_BYTES: usize = 16 << 20;
/// … and for so long.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A body on its way in.
pub(super) struct Upload {
    body: Body,
    stopping: watch::Receiver<bool>,
    /// How much longer the peer may take to send, over all.
    left: Duration,
    taken: usize,
    max: usize,
    begun: bool,
}

/// Why a body is not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    TooLarge,
    Slow,
    /// The connection ended, or what came is no body.
    Broken,
    /// The collector stops.
    Stopping,
}

impl Upload {
    pub(super) fn new(
        body: Body,
        max: usize,
        time: Duration,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { body, stopping, left: time, taken: 0, max, begun: false }
    }

    /// The next part; `None` at the end. Time in which nobody asks for it, because the
    /// writer is behind, does not count as the peer's.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        self.begun = true;
        loop {
            let asked = Instant::now();
            let frame = tokio::select! {
                // What has come is taken, whatever the time.
                biased;
                frame = self.body.frame() => frame,
                () = super::stopped(&mut self.stopping) => return Err(Cut::Stopping),
                () = tokio::time::sleep(self.left) => return Err(Cut::Slow),
            };
            self.left = self.left.saturating_sub(asked.elapsed());
            let Some(frame) = frame else { return Ok(None) };
            // Trailers say nothing about events.
            let Ok(part) = frame.map_err(|_| Cut::Broken)?.into_data() else { continue };
            self.taken += part.len();
            return if self.taken > self.max { Err(Cut::TooLarge) } else { Ok(Some(part)) };
        }
    }

    /// Bytes that have come.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Reads on for a moment and keeps nothing: who is hung up on in the middle of
    /// sending may lose the answer. Not for one who waits to be told to send at all.
    pub(super) async fn drain(mut self, expects: bool) {
        if expects && !self.begun {
            return;
        }
        let drain = async {
            let mut drained = 0;
            while let Some(Ok(frame)) = self.body.frame().await {
                drained += frame.data_ref().map_or(0, Bytes::len);
                if drained > DRAIN_BYTES {
                    return;
                }
            }
        };
        tokio::select! {
            () = drain => {}
            () = tokio::time::sleep(DRAIN_TIME) => {}
            () = super::stopped(&mut self.stopping) => {}
        }
    }
}
