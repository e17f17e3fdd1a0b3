//! Whose a collector has to be, for those who hand events to it: asked of the kernel
//! (`SO_PEERCRED`: who called `listen`) before anything is sent. A socket's path alone
//! says nothing where others may write the directory that it is in.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::fsio::inspect::{self, Kind};

/// Whose collector is sent to: root's, and that of the user whose the log is.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    log_dir: Option<PathBuf>,
    uids: Vec<u32>,
}

impl Trust {
    /// Root, and the owner of this log directory. Where there is no such directory
    /// here, as in a container that has nothing but the socket: the owner of the
    /// directory that the socket is in, if nobody else can put another in its place.
    #[must_use]
    pub fn owner_of(log_dir: &Path) -> Self {
        Self { log_dir: Some(log_dir.to_path_buf()), uids: Vec::new() }
    }

    /// Root, and the owner of the directory that the socket is in, if nobody else can put
    /// another in its place.
    #[must_use]
    pub fn owner_of_its_directory() -> Self {
        Self::default()
    }

    /// These users as well.
    #[must_use]
    pub fn and(self, uids: &[u32]) -> Self {
        Self { uids: uids.to_vec(), ..self }
    }

    /// Whether the server at the other end may be sent to; if not, who it is and who it
    /// should be.
    pub(super) fn judge(&self, server: &UnixStream, socket: &Path) -> io::Result<Judged> {
        let uid = getsockopt(server, PeerCredentials).map_err(io::Error::from)?.uid();
        if uid == 0 || self.uids.contains(&uid) {
            return Ok(Judged::Trusted);
        }
        let log = self.log_dir.as_ref().map(|dir| (dir, inspect::behind(dir)));
        let (owner, whose) = match log {
            Some((dir, Ok(Some(entry)))) => (Some(entry.uid), dir.clone()),
            // Not there, or not to be seen by this user.
            _ => {
                let directory = match socket.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                match safe_owner(directory) {
                    Ok(owner) => (Some(owner), directory.to_path_buf()),
                    Err(open) => (None, open),
                }
            }
        };
        Ok(match owner {
            Some(owner) if owner == uid => Judged::Trusted,
            owner => Judged::Foreign { uid, owner, whose },
        })
    }
}

/// What was found out about a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Trusted,
    Foreign {
        uid: u32,
        /// Whose it may be beside root's, when that can be told.
        owner: Option<u32>,
        /// The directory that says so, or that others may change.
        whose: PathBuf,
    },
}

/// Links on the way to a directory, as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// A directory's owner, if nobody but that user and root can change what is in it, and
/// nobody but root which directory that is; else the directory that others may change.
///
/// The way is gone as it is written: whoever can change a directory that a link stands in
/// decides where it leads.
fn safe_owner(directory: &Path) -> Result<u32, PathBuf> {
    let unknown = || directory.to_path_buf();
    let mut ahead: Vec<PathBuf> = vec![std::path::absolute(directory).map_err(|_| unknown())?];
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    while let Some(path) = ahead.pop() {
        let mut parts = path.components();
        let Some(part) = parts.next() else { continue };
        ahead.push(parts.as_path().to_path_buf());
        match part {
            Component::RootDir => here = PathBuf::from("/"),
            Component::ParentDir => drop(here.pop()),
            Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => {
                if fixed(&here)? != 0 {
                    return Err(here);
                }
                let next = here.join(name);
                match inspect::link_target(&next) {
                    Ok(target) if links < MOST_LINKS => {
                        links += 1;
                        ahead.push(target);
                    }
                    Ok(_) => return Err(unknown()),
                    Err(_) => here = next,
                }
            }
        }
    }
    fixed(&here)
}

/// The owner of a directory that nobody else may change.
fn fixed(path: &Path) -> Result<u32, PathBuf> {
    const OTHERS_WRITE: u32 = 0o022;
    let entry = inspect::at(path).ok().flatten();
    let is =
        |entry: &inspect::Entry| entry.kind == Kind::Directory && entry.mode & OTHERS_WRITE == 0;
    entry.filter(is).map(|entry| entry.uid).ok_or_else(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::net::UnixListener;

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
    }

    #[test]
    fn a_directory_speaks_for_its_owner_only_where_nobody_else_can_change_it() {
        let me = rustix::process::geteuid().as_raw();
        // Under /tmp anybody could have made it first.
        let home = tempfile::tempdir().expect("temporary directory");
        assert!(safe_owner(home.path()).is_err());
        assert_eq!(safe_owner(Path::new("/")), Ok(0));
        assert!(safe_owner(Path::new("/nowhere/at/all")).is_err());
        if me != 0 {
            return;
        }
        let Ok(home) = tempfile::tempdir_in("/var/lib") else { return };
        let inner = home.path().join("inner");
        std::fs::create_dir(&inner).expect("directory");
        mode(home.path(), 0o755);
        mode(&inner, 0o755);
        chown(&inner, Some(4_242), None).expect("chown");
        assert_eq!(safe_owner(&inner), Ok(4_242));
        for (path, bits) in [(inner.as_path(), 0o775), (&inner, 0o757), (home.path(), 0o1777)] {
            mode(path, bits);
            assert_eq!(safe_owner(&inner), Err(path.to_path_buf()), "{bits:o}");
            mode(path, 0o755);
        }
        chown(home.path(), Some(4_242), None).expect("chown");
        let above = Err(home.path().to_path_buf());
        assert_eq!(safe_owner(&inner), above, "its owner could put another there");
        // A link is as safe as the directory that it stands in, wherever it leads.
        chown(home.path(), Some(0), None).expect("chown");
        let (link, open) = (home.path().join("link"), home.path().join("open"));
        std::os::unix::fs::symlink("inner/../inner", &link).expect("link");
        assert_eq!(safe_owner(&link), Ok(4_242));
        std::fs::create_dir(&open).expect("directory");
        mode(&open, 0o1777);
        std::os::unix::fs::symlink(&inner, open.join("link")).expect("link");
        assert_eq!(safe_owner(&open.join("link")), Err(open.clone()), "others may put another");
        let round = home.path().join("round");
        std::os::unix::fs::symlink("round", &round).expect("link");
        assert_eq!(safe_owner(&round), Err(round.clone()));
    }

    #[test]
    fn the_log_s_owner_is_trusted_and_another_user_only_when_named() {
        let me = rustix::process::geteuid().as_raw();
        let home = tempfile::tempdir().expect("temporary directory");
        let socket = home.path().join("audit.sock");
        let _listener = UnixListener::bind(&socket).expect("bind");
        let stream = UnixStream::connect(&socket).expect("connect");
        let judged = |trust: &Trust| trust.judge(&stream, &socket).expect("asked");
        assert_eq!(judged(&Trust::owner_of(home.path())), Judged::Trusted);
        if me == 0 {
            assert_eq!(judged(&Trust::owner_of(Path::new("/nowhere"))), Judged::Trusted, "root");
            return;
        }
        let strange = Trust::owner_of(Path::new("/"));
        assert!(
            matches!(judged(&strange), Judged::Foreign { owner: Some(0), uid, .. } if uid == me)
        );
        assert_eq!(judged(&strange.and(&[me])), Judged::Trusted);
        let unknown = Trust::owner_of(Path::new("/nowhere"));
        assert!(matches!(judged(&unknown), Judged::Foreign { owner: None, .. }));
    }
}
