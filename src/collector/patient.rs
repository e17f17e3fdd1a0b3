//! A connection at HTTP whose peer may be slow to take its answers: it is not idle then,
//! but a peer that takes nothing within the time is given up, and with it what the answer
//! holds.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::seats::{Busy, Seat};

/// A stream whose writes end in [`io::ErrorKind::TimedOut`] when the other side takes
/// nothing for so long, and whose seat is not given away until then.
pub(super) struct Patient<S> {
    stream: S,
    write: Duration,
    /// Set while the other side takes nothing.
    until: Option<Pin<Box<Sleep>>>,
    seat: Arc<Seat>,
    /// Set while something waits to be sent.
    unsent: Option<Busy>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, write: Duration, seat: Arc<Seat>) -> Self {
        Self { stream, write, until: None, seat, unsent: None }
    }

    /// What was done, or that the time for it is over.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.until = None;
            return done;
        }
        let write = self.write;
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(write)));
        match until.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The same of something that was sent: a slow reader is not idle.
    fn sent<T>(
        &mut self,
        context: &mut Context<'_>,
        sent: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let sent = self.in_time(context, sent);
        if sent.is_ready() {
            self.unsent = None;
        } else if self.unsent.is_none() {
            self.unsent = self.seat.busy();
        }
        sent
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.sent(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.sent(context, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(context, done)
    }
}

/// Whether a connection ended because its peer took nothing.
pub(super) fn is_stall(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::collector::seats::{Guest, Seats};

    /// For one connection, which can be told to go as soon as it is idle.
    fn seats() -> Arc<Seats> {
        Seats::new(1, 1, 1, Duration::ZERO)
    }

    fn patient<S>(stream: S, write: Duration, seats: &Arc<Seats>) -> Patient<S> {
        Patient::new(stream, write, Arc::new(seats.take(Guest::Here).expect("a seat")))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn writing_ends_once_the_other_side_takes_nothing_for_so_long() {
        let (ours, theirs) = tokio::io::duplex(10);
        let mut ours = patient(ours, Duration::from_millis(20), &seats());
        let failed = ours.write_all(&[1; 25]).await.expect_err("nobody reads");
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_slow_reader_is_written_to_as_long_as_it_takes_something() {
        let (ours, mut slow) = tokio::io::duplex(10);
        let mut ours = patient(ours, Duration::from_secs(600), &seats());
        let (sent, ()) = tokio::join!(ours.write_all(&[1; 40]), async {
            for _ in 0..4 {
                tokio::task::yield_now().await;
                slow.read_exact(&mut [0; 10]).await.expect("taken");
            }
        });
        sent.expect("all of it");
        assert!(ours.until.is_none(), "the time begins anew with each part that is taken");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_slow_reader_keeps_its_seat_and_gives_it_up_once_all_is_sent() {
        let seats = seats();
        let (ours, mut slow) = tokio::io::duplex(10);
        let mut ours = patient(ours, Duration::from_secs(600), &seats);
        let (sent, ()) = tokio::join!(ours.write_all(&[1; 20]), async {
            tokio::task::yield_now().await;
            assert!(seats.take(Guest::User(1)).is_none(), "it is not idle");
            slow.read_exact(&mut [0; 20]).await.expect("taken");
        });
        sent.expect("all of it");
        assert!(seats.take(Guest::User(1)).is_some());
    }
}
