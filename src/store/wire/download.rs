//! An asynchronous body as a blocking reader.

use std::io::{self, Read};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::super::error::{StoreError, StoreErrorKind};
use super::{runtime, stalled};

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// Reads what arrives; holds one piece at a time.
pub(crate) struct Download {
    url: String,
    stall: Duration,
    pieces: Pieces,
    piece: Bytes,
    /// What is still to come, if the store said how much.
    left: Option<u64>,
}

impl Download {
    pub(crate) fn new(
        url: String,
        stall: Duration,
        left: Option<u64>,
        pieces: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
    ) -> Self {
        Self { url, stall, pieces: Box::pin(pieces), piece: Bytes::new(), left }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !buffer.is_empty() {
            let next = runtime()?
                .block_on(async { tokio::time::timeout(self.stall, self.pieces.next()).await });
            match next {
                Err(_) => return Err(stalled(&self.url, self.stall).into()),
                Ok(Some(piece)) => self.piece = piece?,
                Ok(None) => match self.left {
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
