//! An asynchronous body as a blocking reader.

use std::io::{self, Read};
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::super::error::{StoreError, StoreErrorKind};
use super::super::limits::Limits;
use super::super::stop::Stop;
use super::{stalled, waited};

/// In the time in which nothing may move, more than nothing has to: less than this is
/// a store that lets nobody go.
const LEAST_BYTES: u64 = 64 << 10;

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// Reads what arrives; holds one piece at a time.
pub(crate) struct Download {
    url: String,
    stall: Duration,
    stop: Stop,
    pieces: Pieces,
    piece: Bytes,
    /// What is still to come, if the store said how much.
    left: Option<u64>,
    /// How long was waited, and for how much, since it was enough.
    waited: Duration,
    came: u64,
}

impl Download {
    pub(crate) fn new(
        url: String,
        limits: &Limits,
        left: Option<u64>,
        pieces: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
    ) -> Self {
        Self {
            url,
            stall: limits.stall_timeout,
            stop: limits.stop.clone(),
            pieces: Box::pin(pieces),
            piece: Bytes::new(),
            left,
            waited: Duration::ZERO,
            came: 0,
        }
    }

    fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let begun = Instant::now();
        let patience = self.stall.saturating_sub(self.waited);
        let next = waited(&self.url, patience, &self.stop, self.pieces.next())?;
        let Some(next) = next else { return Err(stalled(&self.url, self.stall)) };
        let piece = next.transpose()?;
        self.came += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.waited += begun.elapsed();
        if self.came >= LEAST_BYTES {
            (self.came, self.waited) = (0, Duration::ZERO);
        }
        Ok(piece)
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !buffer.is_empty() {
            match self.next()? {
                Some(piece) => self.piece = piece,
                None => match self.left {
                    Some(left) if left > 0 => {
                        let message = format!("ended {left} bytes early");
                        let error =
                            StoreError::new(StoreErrorKind::Unreachable, &self.url, message);
                        return Err(error.retryable().into());
                    }
                    _ => return Ok(0),
                },
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
        Ok(length)
    }
}
