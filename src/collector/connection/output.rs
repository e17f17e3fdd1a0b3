//! Answers on their way to a peer.

use std::io;
use std::time::Instant;

/// The bytes that the peer has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// Since when it has taken none of them.
    unsent_since: Option<Instant>,
    /// It takes no answers any more; what it sent still counts.
    deaf: bool,
}

impl Output {
    /// Where answers are added.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives back what is not needed any more, but for so many bytes.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if self.bytes.is_empty() {
            self.bytes.shrink_to(bytes);
        }
    }

    /// Since when the peer has taken nothing of what there is.
    pub(super) fn unsent_since(&self) -> Option<Instant> {
        self.unsent_since
    }

    /// Sends what the peer takes now.
    pub(super) fn send(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>, now: Instant) {
        let mut sent = 0;
        while sent < self.bytes.len() && !self.deaf {
            match write(&self.bytes[sent..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.deaf = true,
            }
        }
        if self.deaf {
            sent = self.bytes.len();
        }
        self.bytes.drain(..sent);
        if self.bytes.is_empty() {
            self.unsent_since = None;
        } else if sent > 0 || self.unsent_since.is_none() {
            self.unsent_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn blocked(_: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    #[test]
    fn a_peer_s_time_begins_anew_with_each_part_that_it_takes() {
        let (first, second) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut output = Output::default();
        output.bytes_mut().extend_from_slice(b"answers");
        output.send(blocked, first);
        output.send(blocked, second);
        assert_eq!(output.unsent_since(), Some(first));
        let mut room = 3;
        let some = |bytes: &[u8]| match std::mem::take(&mut room) {
            0 => blocked(bytes),
            most => Ok(bytes.len().min(most)),
        };
        output.send(some, second);
        assert_eq!((output.len(), output.unsent_since()), (4, Some(second)));
        output.send(|bytes| Ok(bytes.len()), second);
        assert_eq!((output.is_empty(), output.unsent_since()), (true, None));
    }

    #[test]
    fn what_a_peer_that_has_gone_is_owed_waits_for_nobody() {
        let mut output = Output::default();
        output.bytes_mut().extend_from_slice(b"answers");
        output.send(|_| Err(io::ErrorKind::BrokenPipe.into()), Instant::now());
        output.bytes_mut().extend_from_slice(b"more");
        output.send(|_| panic!("nothing is sent any more"), Instant::now());
        assert!(output.is_empty() && output.unsent_since().is_none());
    }
}
