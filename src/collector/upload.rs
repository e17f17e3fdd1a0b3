//! A request's body as it comes: unpacked, bounded in size and time, cut off when the
//! collector stops, never in memory as a whole.

use std::io;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::sync::watch;

use super::decode::{Coding, Decoder};

/// What a refused sender still sends is read, so that it hears why: so much at most …
const DRAIN_BYTES: usize = 16 << 20;
/// … and for so long.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// A body may unpack to so much …
const UNPACKED_BYTES: usize = 1 << 20;
/// … and beyond it to so many times what was sent. Logs come to a tenth of it.
pub(super) const MAX_RATIO: usize = 200;

/// A body on its way in.
pub(super) struct Upload {
    body: Body,
    decoder: Option<Decoder>,
    stopping: watch::Receiver<bool>,
    /// How much longer the peer may take to send, over all.
    left: Duration,
    /// As it was sent, and unpacked.
    sent: usize,
    taken: usize,
    max: usize,
    begun: bool,
    /// Looked at, and to be given again.
    ahead: Option<Bytes>,
}

/// Why a body is not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    TooLarge,
    /// It unpacks to far more than was sent.
    Bomb,
    Slow,
    /// The connection ended, or what came is no body.
    Broken,
    /// It is not what `Content-Encoding` says.
    Packed(String),
    /// The collector stops.
    Stopping,
}

fn unpackable(error: &io::Error) -> Cut {
    Cut::Packed(match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends early".to_owned(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => "it is damaged".to_owned(),
        _ => error.to_string(),
    })
}

impl Upload {
    pub(super) fn new(
        body: Body,
        max: usize,
        time: Duration,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (decoder, ahead, begun) = (None, None, false);
        Self { body, decoder, stopping, left: time, sent: 0, taken: 0, max, begun, ahead }
    }

    /// Unpacks what comes. Before anything is read.
    pub(super) fn unpack(&mut self, coding: Coding) -> Result<(), Cut> {
        self.decoder = coding.decoder().map_err(|error| unpackable(&error))?;
        Ok(())
    }

    /// Whether the first byte that is no blank is this one. Blanks before it are given to
    /// nobody, however they come.
    pub(super) async fn begins_with(&mut self, byte: u8) -> Result<bool, Cut> {
        while let Some(part) = self.next().await? {
            let blanks = part.len() - part.trim_ascii_start().len();
            if let Some(first) = part.get(blanks).copied() {
                self.ahead = Some(part.slice(blanks..));
                return Ok(first == byte);
            }
        }
        Ok(false)
    }

    /// The next part, unpacked; `None` at the end. Time in which nobody asks for it,
    /// because the writer is behind, does not count as the peer's.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        loop {
            if let Some(decoder) = &mut self.decoder
                && let Some(piece) = decoder.piece().map_err(|error| unpackable(&error))?
            {
                if !piece.is_empty() {
                    return self.unpacked(piece).map(Some);
                }
                // Whoever sends nothing in much must not keep others from their turn.
                tokio::task::yield_now().await;
                if *self.stopping.borrow() {
                    return Err(Cut::Stopping);
                }
                continue;
            }
            let part = self.part().await?;
            match (part, &mut self.decoder) {
                (Some(part), None) => {
                    self.taken += part.len();
                    return Ok(Some(part));
                }
                (Some(part), Some(decoder)) => decoder.feed(part),
                (None, _) => {
                    let Some(decoder) = self.decoder.take() else { return Ok(None) };
                    // Nothing at all is the empty body that it looks like.
                    if self.sent == 0 {
                        return Ok(None);
                    }
                    let last = decoder.end().map_err(|error| unpackable(&error))?;
                    if last.is_empty() {
                        return Ok(None);
                    }
                    return self.unpacked(last).map(Some);
                }
            }
        }
    }

    fn unpacked(&mut self, piece: Vec<u8>) -> Result<Bytes, Cut> {
        self.taken += piece.len();
        if self.taken > self.max {
            return Err(Cut::TooLarge);
        }
        if self.taken > UNPACKED_BYTES && self.taken / MAX_RATIO > self.sent {
            return Err(Cut::Bomb);
        }
        Ok(Bytes::from(piece))
    }

    /// The next part as it was sent.
    async fn part(&mut self) -> Result<Option<Bytes>, Cut> {
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
            self.sent += part.len();
            return if self.sent > self.max { Err(Cut::TooLarge) } else { Ok(Some(part)) };
        }
    }

    /// Bytes that have come, unpacked.
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
