//! The Unix socket: bound, accepted from, limited.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use super::places::Place;
use super::{CollectorError, Hub, connection, protocol};
use crate::audit::security::SecurityKind;
use crate::fsio::{Fs, OsFs, os};

/// `sun_path` holds 108 bytes with its NUL.
const MAX_PATH_BYTES: usize = 107;
/// After an error of `accept` such as too many open files.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Thousands of peers must not run this process out of files.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused: the limit stays, and accepting backs off at it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Makes the socket; one that nobody listens at any more is replaced.
pub(super) fn bind(path: &Path, open_to_others: bool) -> Result<UnixListener, CollectorError> {
    let refuse = |reason: String| CollectorError::Socket { path: path.to_path_buf(), reason };
    let length = path.as_os_str().len();
    if length > MAX_PATH_BYTES {
        return Err(refuse(format!(
            "the path has {length} bytes, a socket's may have {MAX_PATH_BYTES}; set collector.socket to a shorter one"
        )));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => return Err(refuse("another collector listens there".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            OsFs.remove(path).map_err(|error| refuse(error.to_string()))?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| refuse(error.to_string()))?;
    // Who may write is decided by the peer's credentials; the mode only by who
    // may ask. Nobody connects in between: the log directory is 0700.
    let mode = if open_to_others { 0o666 } else { 0o600 };
    os::set_mode(path, mode).map_err(|error| refuse(error.to_string()))?;
    Ok(listener)
}

pub(super) fn remove(path: &Path) {
    // Replaced by the next collector otherwise.
    let _ = OsFs.remove(path);
}

/// Accepts until told to stop.
pub(super) async fn serve(listener: UnixListener, hub: Arc<Hub>) {
    let mut stopping = hub.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = super::stopped(&mut stopping) => return,
        };
        match accepted {
            Ok((stream, _)) => greet(stream, &hub),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Decides who it is and whether there is room, before anything is allocated.
fn greet(stream: UnixStream, hub: &Arc<Hub>) {
    let Ok(peer) = stream.peer_cred() else { return };
    let (uid, pid) = (peer.uid(), peer.pid().and_then(|pid| u32::try_from(pid).ok()));
    let allowed = {
        let access = hub.access.read().unwrap_or_else(PoisonError::into_inner);
        access.allows(uid, peer.gid())
    };
    let source = format!("uid:{uid}");
    if !allowed {
        hub.log.security().report(
            SecurityKind::Unauthorized,
            Some(&source),
            "may not use the socket",
        );
        return refuse(stream, "forbidden", "this user may not use the collector's socket");
    }
    match Place::take(hub, Some(uid)) {
        Some(place) => {
            let hub = Arc::clone(hub);
            tokio::spawn(connection::serve(stream, hub, place, connection::Peer { uid, pid }));
        }
        None => {
            hub.log.security().report(
                SecurityKind::HostilePeer,
                Some(&source),
                "too many connections",
            );
            refuse(
                stream,
                "too_many_connections",
                "the collector has no room for another connection",
            );
        }
    }
}

/// One line, if the peer takes it at once, and goodbye.
fn refuse(stream: UnixStream, kind: &str, message: &str) {
    let line = protocol::line_of(&protocol::error_of(kind, message));
    let _ = stream.try_write(&line);
    tokio::spawn(async move {
        let mut stream = stream;
        let _ = stream.shutdown().await;
    });
}
