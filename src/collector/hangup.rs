//! Whether a peer has hung up while its request is answered.
//!
//! Who has sent all may close its side and still gets the answer: programs do that. A browser
//! does not, and what takes long is given up with it. So only those answers are watched that
//! cost much and that are soon left alone: see [`HangUp`].

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose end can be seen while nobody reads from it.
pub(super) struct Watched<S>(Arc<Mutex<Inner<S>>>);

struct Inner<S> {
    stream: S,
    /// What came while its end was looked for: of the next request.
    ahead: Option<u8>,
    has_ended: bool,
}

/// The end of a connection's stream.
#[derive(Clone)]
pub(super) struct HangUp(Arc<Mutex<dyn Ends + Send>>);

trait Ends {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

impl<S: AsyncRead + Unpin + Send + 'static> Watched<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Inner { stream, ahead: None, has_ended: false })))
    }

    pub(super) fn hang_up(&self) -> HangUp {
        let same: Arc<Mutex<Inner<S>>> = Arc::clone(&self.0);
        HangUp(same)
    }
}

impl<S> Watched<S> {
    /// One task has both ends of it: nobody waits here.
    fn inner(&self) -> MutexGuard<'_, Inner<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HangUp {
    /// Comes back once the peer has closed its side. Not for two at once, and not while
    /// somebody reads.
    pub(super) async fn seen(&self) {
        let look = |context: &mut Context<'_>| {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).poll_end(context)
        };
        poll_fn(look).await;
    }
}

impl<S: AsyncRead + Unpin> Ends for Inner<S> {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_ended {
            return Poll::Ready(());
        }
        // The next request is there: it asks for this one's answer first.
        if self.ahead.is_some() {
            return Poll::Pending;
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.ahead = buffer.filled().first().copied();
                Poll::Pending
            }
            Poll::Ready(_) => {
                self.has_ended = true;
                Poll::Ready(())
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        if buffer.remaining() > 0
            && let Some(byte) = inner.ahead.take()
        {
            buffer.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        if inner.has_ended {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut inner.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner().stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_a_stream_is_seen_while_nobody_reads_it() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let ours = Watched::new(ours);
        let end = ours.hang_up();
        let seen = tokio::join!(end.seen(), async {
            tokio::task::yield_now().await;
            theirs.shutdown().await.expect("closed");
        });
        assert_eq!(seen, ((), ()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_comes_meanwhile_is_no_end_and_is_not_lost() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Watched::new(ours);
        let end = ours.hang_up();
        theirs.write_all(b"GET / HTTP/1.1").await.expect("sent");
        theirs.shutdown().await.expect("closed");
        for _ in 0..3 {
            let seen = tokio::time::timeout(Duration::from_millis(5), end.seen()).await;
            assert!(seen.is_err(), "there is more to answer");
        }
        let mut text = String::new();
        ours.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "GET / HTTP/1.1");
        end.seen().await;
        assert_eq!(ours.read(&mut [0; 8]).await.expect("the end"), 0);
    }
}
