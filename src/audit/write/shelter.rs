//! No signal that a write can raise ends the process.
//!
//! A write beyond the limit on the size of files (`ulimit -f`, `LimitFSIZE=`)
//! fails with `EFBIG` and raises `SIGXFSZ` in the thread that writes, whose
//! default is to end the process; a write to a pipe that nobody reads does the
//! same with `SIGPIPE`. The program ignores both. A library may not change what
//! signals do in somebody's process, so the engine blocks them in its own threads,
//! and in a caller's while that does the engine's work.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const RAISED_BY_WRITES: [Signal; 2] = [Signal::SIGXFSZ, Signal::SIGPIPE];

/// As long as it lives, the signals are blocked in the thread that entered, and in
/// the threads that it starts for good.
#[derive(Debug)]
pub(crate) struct Shelter {
    /// What was not blocked before.
    blocked: SigSet,
}

impl Shelter {
    pub(crate) fn enter() -> Self {
        let mut before = SigSet::empty();
        let wanted = SigSet::from_iter(RAISED_BY_WRITES);
        // Cannot fail with a valid set; unblocked it would be as it is without us.
        let done = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&wanted), Some(&mut before));
        let ours = RAISED_BY_WRITES.into_iter().filter(|signal| !before.contains(*signal));
        let blocked = if done.is_ok() { ours.collect() } else { SigSet::empty() };
        Self { blocked }
    }

    /// Takes what was raised meanwhile: it would be delivered when it is unblocked.
    fn take_raised(&self) {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        if let Ok(raised) = SignalFd::with_flags(&self.blocked, flags) {
            while let Ok(Some(_)) = raised.read_signal() {}
        }
    }
}

impl Drop for Shelter {
    fn drop(&mut self) {
        self.take_raised();
        let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&self.blocked), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    #[test]
    fn a_signal_that_a_write_raises_inside_is_gone_outside_and_the_mask_is_as_it_was() {
        let before = SigSet::thread_get_mask().expect("mask");
        {
            let _shelter = Shelter::enter();
            {
                let _again = Shelter::enter();
                // To this thread: its default would end the whole test.
                raise(Signal::SIGXFSZ).expect("raised");
                raise(Signal::SIGPIPE).expect("raised");
            }
            let inherited = std::thread::spawn(SigSet::thread_get_mask).join().expect("joined");
            assert!(inherited.expect("mask").contains(Signal::SIGXFSZ));
        }
        assert_eq!(SigSet::thread_get_mask().expect("mask"), before);
    }
}
