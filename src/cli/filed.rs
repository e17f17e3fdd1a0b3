//! A report that is filed: a new HTML file, and what it says of who asked for it.

use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::exit::{CliError, Exit};
use super::open::shared_fs;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::fsio::{self, Fs as _, OsFs};
use crate::ui::Asked;

/// The program, as reports and proofs name it.
pub(super) fn made_by() -> String {
    format!("auditctl {}", env!("CARGO_PKG_VERSION"))
}

/// Where a report is to be.
#[derive(Debug)]
pub(super) struct Filed {
    path: PathBuf,
    begun: Timestamp,
}

impl Filed {
    /// Looks before anything is done, since a verification may take hours.
    ///
    /// # Errors
    /// The name is taken, or nothing can be written there.
    pub(super) fn at(path: &Path) -> Result<Self, CliError> {
        if OsFs.entry(path).is_ok() {
            return Err(taken(path));
        }
        let dir = fsio::parent(path);
        fsio::os::may_write(&dir).map_err(|error| CliError::io("write to", &dir, &error))?;
        Ok(Self { path: path.to_path_buf(), begun: SystemClock.now() })
    }

    /// Who asked, of what, with which copies.
    pub(super) fn asked(&self, place: String, copies: Vec<(String, String)>) -> Asked {
        let words: Vec<String> =
            std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        let command = shlex::try_join(words.iter().map(String::as_str));
        let uid = rustix::process::getuid().as_raw();
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Asked {
            command: command.unwrap_or_else(|_| words.join(" ")),
            user: match user {
                Some(user) => format!("{} (uid {uid})", user.name),
                None => format!("uid {uid}"),
            },
            host,
            made_by: made_by(),
            at: self.begun,
            ended: SystemClock.now(),
            place,
            copies,
        }
    }

    /// Writes it whole, or nothing.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, html: Result<String, askama::Error>) -> Result<(), CliError> {
        write(&self.path, html.map_err(|error| cannot_be(&error))?.as_bytes())
    }
}

/// A new file with this content: whole, or not at all.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), CliError> {
    fsio::new_file(&*shared_fs(), path, content).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(path),
        _ => CliError::io("write", path, &error),
    })
}

pub(super) fn cannot_be(error: &askama::Error) -> CliError {
    CliError::new("internal", Exit::Failed, format!("the HTML file cannot be made: {error}"))
}

fn taken(path: &Path) -> CliError {
    let error = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
    CliError::io("write", path, &error).hint("name a file that is not there yet")
}
