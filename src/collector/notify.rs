//! systemd: READY, STATUS, WATCHDOG, STOPPING. Without systemd nothing happens.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::audit::AuditLog;
use crate::audit::state::status::Word;
use crate::units::count;

/// Who started this, if he wants to know: `$NOTIFY_SOCKET`.
#[derive(Clone, Debug)]
pub(super) struct Manager(Option<OsString>);

impl Manager {
    pub(super) fn at(socket: Option<OsString>) -> Self {
        Self(socket.filter(|socket| !socket.is_empty()))
    }

    pub(super) fn ready(&self) {
        self.tell(&[NotifyState::Ready, NotifyState::Status("taking events")]);
    }

    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        let Some(socket) = &self.0 else { return };
        // Whoever does not listen any more does not want to know.
        let _ = send(socket, state);
    }
}

/// The crate knows only sockets that are files; a manager in a container, or of a user,
/// may have an abstract one (`@name`).
fn send(socket: &OsStr, state: &[NotifyState<'_>]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let text: String = state.iter().map(|state| format!("{state}\n")).collect();
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(|_| ())
}

/// Pings the watchdog as long as the *writer thread* moves: a hung disk must
/// not look well because this task is.
pub(super) async fn watchdog(manager: Manager, log: AuditLog) {
    let mut micros = 0;
    let every = if sd_notify::watchdog_enabled(false, &mut micros) {
        Duration::from_micros(micros / 2)
    } else {
        Duration::from_secs(10)
    };
    let mut last = 0;
    loop {
        tokio::time::sleep(every).await;
        let beat = log.page().get(Word::HeartbeatBootMs);
        if beat != last {
            last = beat;
            let text = count(log.page().get(Word::DurableSeq), "record") + " durable";
            manager.tell(&[NotifyState::Watchdog, NotifyState::Status(&text)]);
        }
    }
}
