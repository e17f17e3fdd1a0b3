//! A request body that reads from a file while it is sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::super::put::Content;
use super::throttle::Throttle;

/// How much of an upload is on its way, over all its parts.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    events: AtomicU64,
    finishing: AtomicBool,
}

impl Meter {
    /// So much is there already.
    pub(crate) fn starting_at(bytes: u64) -> Self {
        Self { bytes: AtomicU64::new(bytes), ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.alive();
    }

    /// An answer came, or something else that shows that it goes on.
    pub(crate) fn alive(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn signs_of_life(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// All is sent; the provider puts it together.
    pub(crate) fn finishing(&self) {
        self.finishing.store(true, Ordering::Relaxed);
        self.alive();
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }
}

/// A stretch of a file, read piece by piece as the connection takes it.
#[derive(Debug)]
pub(crate) struct PartBody {
    content: Content,
    at: u64,
    end: u64,
    meter: Arc<Meter>,
    throttle: Option<Arc<Throttle>>,
    /// The length of the next piece, once the throttle has been asked.
    allowed: Option<u64>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl PartBody {
    const PIECE: u64 = 64 << 10;

    pub(crate) fn new(
        content: Content,
        from: u64,
        length: u64,
        meter: Arc<Meter>,
        throttle: Option<Arc<Throttle>>,
    ) -> Self {
        let end = from + length;
        Self { content, at: from, end, meter, throttle, allowed: None, pause: None }
    }

    /// The next piece; none at the end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let length = match self.allowed {
            Some(length) => length,
            None => {
                let wanted = (self.end - self.at).min(Self::PIECE);
                let throttle = self.throttle.as_ref();
                let length = throttle.map_or(wanted, |throttle| throttle.piece(wanted));
                let wait = throttle.map_or_else(Default::default, |throttle| throttle.take(length));
                if !wait.is_zero() {
                    self.pause = Some(Box::pin(tokio::time::sleep(wait)));
                }
                *self.allowed.insert(length)
            }
        };
        if let Some(pause) = self.pause.as_mut() {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        self.allowed = None;
        let piece = self.content.read(self.at, length as usize);
        if piece.is_ok() {
            self.at += length;
            self.meter.add(length);
        }
        Poll::Ready(Some(piece))
    }
}

impl http_body::Body for PartBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
