//! The Unix socket: bound, accepted from, limited.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
};
use tokio::net::{UnixListener, UnixStream};

use super::places::Place;
use super::warning::Warning;
use super::{CollectorError, Hub, connection, protocol};
use crate::audit::state::security::SecurityKind;
use crate::fsio::os;
use crate::fsio::socket::{self, MAX_SOCKET_PATH_BYTES, SocketFile};

/// After an error of `accept` such as too many open files.
const BACK_OFF: Duration = Duration::from_millis(50);

/// The name of the socket is looked at as often as the log's writer looks at its files.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Thousands of peers must not run this process out of files.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused: the limit stays, and accepting backs off at it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The socket's file; removed when dropped, unless it is somebody else's by then.
#[derive(Debug)]
pub(super) struct SocketGuard {
    path: PathBuf,
    /// The one that is listened at; none when it could not be made again.
    file: Mutex<Option<SocketFile>>,
}

impl SocketGuard {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self) -> MutexGuard<'_, Option<SocketFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when the name still leads to the socket; else what happened to it,
    /// and what stands there.
    pub(super) fn missed(&self) -> Option<(&'static str, Option<SocketFile>)> {
        match socket::at(&self.path) {
            Ok(found) if found.is_some() && found == *self.file() => None,
            Ok(None) => Some(("deleted", None)),
            Ok(found) => Some(("replaced", found)),
            Err(_) => None,
        }
    }

    /// Makes the socket again, where nothing stands.
    pub(super) fn make_again(&self, open_to_others: bool) -> io::Result<UnixListener> {
        let listener = UnixListener::bind(&self.path)?;
        socket::give(&self.path)?;
        *self.file() = socket::at(&self.path)?;
        self.open_to_others(open_to_others)?;
        Ok(listener)
    }

    /// Who may write is decided by the peer's credentials; the mode only by who
    /// may ask. Nobody connects before it is set: the log directory is 0700.
    pub(super) fn open_to_others(&self, open: bool) -> io::Result<()> {
        os::set_mode(&self.path, if open { 0o666 } else { 0o600 })
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        // One that stays is replaced by the next collector.
        let Some(file) = self.file().take() else { return };
        if let Err(error) = socket::remove_if(&self.path, file) {
            tracing::warn!(code = Warning::SocketKept.code(), path = %self.path.display(), %error, "the socket was not removed");
        }
    }
}

/// Whether the path fits into a socket's address.
pub(super) fn check_path(path: &Path) -> Result<(), CollectorError> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes > MAX_SOCKET_PATH_BYTES {
        return Err(CollectorError::SocketPath { path: path.to_path_buf(), bytes });
    }
    Ok(())
}

/// Makes the socket. One that nobody listens at any more is replaced; a live one,
/// and a file that is no socket, are left alone.
pub(super) fn bind(
    path: &Path,
    open_to_others: bool,
) -> Result<(UnixListener, SocketGuard), CollectorError> {
    check_path(path)?;
    let refuse = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => CollectorError::SocketInUse { path: path.to_path_buf() },
        _ => CollectorError::Socket { path: path.to_path_buf(), reason: error.to_string() },
    };
    // Asked first: connecting to a plain file is "refused" too.
    if let Some(found) = socket::at(path).map_err(refuse)? {
        if !found.is_socket {
            return Err(CollectorError::NotASocket { path: path.to_path_buf() });
        }
        if is_live(path).map_err(refuse)? {
            return Err(CollectorError::SocketInUse { path: path.to_path_buf() });
        }
        socket::remove_if(path, found).map_err(refuse)?;
    }
    let listener = UnixListener::bind(path).map_err(refuse)?;
    socket::give(path).map_err(refuse)?;
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let file = socket::at(path).and_then(|file| file.ok_or_else(gone)).map_err(refuse)?;
    let guard = SocketGuard { path: path.to_path_buf(), file: Mutex::new(Some(file)) };
    guard.open_to_others(open_to_others).map_err(refuse)?;
    Ok((listener, guard))
}

/// Whether somebody listens; does not wait, as the queue of connections of one
/// that hangs may be full.
pub(super) fn is_live(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let asking = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&asking, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Accepts until told to stop.
///
/// `look` looks whether the socket has to be made again, and gives the new one.
pub(super) async fn serve(
    mut listener: UnixListener,
    mut look: impl FnMut(&Hub) -> Option<UnixListener>,
    hub: Arc<Hub>,
) {
    let mut stopping = hub.stopping.clone();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = looks.tick() => {
                if let Some(new) = look(&hub) {
                    listener = new;
                }
                continue;
            }
            () = super::stopped(&mut stopping) => return,
        };
        match accepted {
            Ok((stream, _)) => greet(stream, &hub),
            Err(error) => {
                tracing::warn!(code = Warning::NotAccepted.code(), %error, "accept failed");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Decides who it is and whether there is room, before anything is allocated.
fn greet(stream: UnixStream, hub: &Arc<Hub>) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    let peer = connection::Peer { uid, gid, pid };
    let (allowed, keeper) = {
        let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
        (peer.is_welcome(&access), access.may_import(uid))
    };
    let source = peer.source();
    if !allowed {
        hub.log.security().report_stranger(
            SecurityKind::Unauthorized,
            Some(&source),
            "may not use the socket",
        );
        let text = format!(
            "this user may not use the collector's socket: add it to collector.allowed_uids or \
             allowed_gids (user {uid}, group {gid}; only the group that the program runs with \
             counts)"
        );
        return refuse(&stream, "forbidden", &text);
    }
    match Place::take(hub, uid, keeper) {
        Some(place) => {
            let hub = Arc::clone(hub);
            tokio::spawn(connection::serve(stream, hub, place, peer));
        }
        None => {
            hub.log.security().report(
                SecurityKind::HostilePeer,
                Some(&source),
                "too many connections",
            );
            refuse(
                &stream,
                "too_many_connections",
                "the collector has no room for another connection",
            );
        }
    }
}

/// One line, if the peer takes it at once, and goodbye.
fn refuse(stream: &UnixStream, kind: &str, message: &str) {
    let line = protocol::line_of(&protocol::error_of(kind, message));
    // Not `try_write`: the runtime doesn't know yet that a new socket can be
    // written, and would write nothing.
    let _ = rustix::net::send(stream, &line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}
