//! Signing a head while what it is over is synced.
//!
//! A sync leaves the processor idle, and a signature takes a part of that time. It is made
//! ahead on a thread of its own, of a tree that is not durable yet, and is told to nobody: the
//! writer takes it over once the sync has returned, and drops it if that failed.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::audit::keys::signer::{Draft, Signed};

/// The thread, once it has been started. It ends with the writer.
#[derive(Debug, Default)]
pub(super) struct SigningAhead {
    thread: Option<Running>,
    /// The thread has a draft, and its answer was not taken yet.
    is_asked: bool,
}

#[derive(Debug)]
struct Running {
    drafts: Sender<Draft>,
    signed: Receiver<Option<Signed>>,
    thread: JoinHandle<()>,
}

impl SigningAhead {
    /// Starts the thread. Without one, heads are signed when they are due: where there is one
    /// processor, nothing is gained.
    pub(super) fn start(&mut self) {
        if !std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            return;
        }
        let (drafts, asked) = bounded::<Draft>(1);
        let (tell, signed) = bounded(1);
        let body = move || {
            for draft in asked {
                if tell.send(draft.sign().ok()).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("audit-signer".to_owned()).spawn(body);
        self.thread = thread.ok().map(|thread| Running { drafts, signed, thread });
    }

    pub(super) fn is_running(&self) -> bool {
        self.thread.is_some()
    }

    /// Has a draft signed.
    pub(super) fn ask(&mut self, draft: Draft) {
        drop(self.take());
        if let Some(running) = &self.thread {
            self.is_asked = running.drafts.send(draft).is_ok();
        }
    }

    /// What was signed of the last draft, if there was one; waits until it is.
    pub(super) fn take(&mut self) -> Option<Signed> {
        let running = self.thread.as_ref().filter(|_| std::mem::take(&mut self.is_asked))?;
        running.signed.recv().ok().flatten()
    }
}

impl Drop for SigningAhead {
    fn drop(&mut self) {
        if let Some(Running { drafts, signed, thread }) = self.thread.take() {
            drop((drafts, signed));
            // A panic there has been printed, and cost the writer nothing.
            let _ = thread.join();
        }
    }
}
