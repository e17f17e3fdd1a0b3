//! Whether the socket's name still leads to the socket. Who removes it, or binds
//! another in its place, shuts out every program that sends: it is made again.

use std::io;
use std::sync::{Arc, PoisonError};

use tokio::net::UnixListener;

use super::Hub;
use super::socket::{SocketGuard, is_live};
use crate::audit::write::own_files::{Incident, OwnFile, Patience};
use crate::fsio::OsFs;
use crate::fsio::aside::set_aside;
use crate::fsio::socket::SocketFile;

/// Looks after the socket.
#[derive(Debug)]
pub(super) struct Presence {
    guard: Arc<SocketGuard>,
    /// It is told that it is gone.
    gone: bool,
    patience: Patience,
}

impl Presence {
    pub(super) fn new(guard: Arc<SocketGuard>) -> Self {
        Self { guard, gone: false, patience: Patience::default() }
    }

    /// The new socket, when it had to be made again.
    pub(super) fn look(&mut self, hub: &Hub) -> Option<UnixListener> {
        let Some((what, found)) = self.guard.missed() else {
            if std::mem::take(&mut self.gone) {
                hub.log.own_file_is_back(OwnFile::Socket);
            }
            return None;
        };
        if !self.patience.is_over() || !hub.log.is_at_home() {
            return None;
        }
        self.patience.tries(self.gone);
        let stamp = hub.log.options().clock.now().file_stamp();
        match self.make_again(hub, found, &stamp) {
            Ok((listener, set_aside)) => {
                if std::mem::take(&mut self.gone) {
                    hub.log.own_file_is_back(OwnFile::Socket);
                } else {
                    let incident = Incident { what, set_aside, failed: None };
                    hub.log.record_own_file(OwnFile::Socket, &incident);
                }
                Some(listener)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.gone, true) {
                    let failed = Some(format!("{}: {error}", self.guard.path().display()));
                    let incident = Incident { what, set_aside: None, failed };
                    hub.log.record_own_file(OwnFile::Socket, &incident);
                }
                None
            }
        }
    }

    fn make_again(
        &self,
        hub: &Hub,
        found: Option<SocketFile>,
        stamp: &str,
    ) -> io::Result<(UnixListener, Option<String>)> {
        let path = self.guard.path();
        if found.is_some_and(|found| found.is_socket && is_ours(found.uid)) && is_live(path)? {
            // Another collector of the same user: two would take turns for ever.
            let text = "another program of this user, or of root, listens there";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        let set_aside = set_aside(&OsFs, path, stamp)?;
        let open = hub.access.read().unwrap_or_else(PoisonError::into_inner).open_to_others();
        Ok((self.guard.make_again(open)?, set_aside))
    }
}

fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
