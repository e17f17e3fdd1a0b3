//! The one table of exit codes, and the one place that turns errors into them.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::catalogue::is_known;
use crate::audit::files::manifest::ManifestError;
use crate::audit::keys::KeysError;
use crate::audit::keys::histories::History;
use crate::audit::read::error::ReadError;
use crate::audit::tree::document::{DocumentError, newer_behind};
use crate::audit::{OpenError, RESTORE_ACTION, RecordError};
use crate::backup::BackupError;
use crate::config::ConfigErrors;
use crate::store::{StoreError, StoreErrorKind};

/// What the process ends with. `health` alone has Nagios's codes instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// It worked.
    Ok = 0,
    /// Looked, and found something bad.
    Found = 1,
    /// The command line or a setting is wrong.
    Usage = 2,
    /// An operation failed.
    Failed = 3,
    /// Busy, locked or refused.
    Busy = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) struct CliError {
    /// A stable name for scripts.
    pub kind: &'static str,
    /// The exit code.
    pub exit: Exit,
    /// What went wrong.
    pub message: String,
    /// The file or directory concerned.
    pub path: Option<PathBuf>,
    /// What to do.
    pub hint: Option<String>,
    /// More keys for the JSON document, such as how much was done before.
    pub extra: Box<Map<String, Value>>,
    /// Whether the same may work later, where that is known.
    pub retryable: Option<bool>,
    /// What caused it, outermost first, where the message does not say it.
    pub causes: Box<[String]>,
}

impl CliError {
    /// An error of a kind; a new one needs its place in a table of the catalogue and
    /// its row in docs/codes.md.
    pub(super) fn new(kind: &'static str, exit: Exit, message: impl Into<String>) -> Self {
        debug_assert!(is_known(kind), "{kind} is in no table of cli::catalogue");
        Self {
            kind,
            exit,
            message: message.into(),
            path: None,
            hint: None,
            extra: Box::default(),
            retryable: None,
            causes: Box::default(),
        }
    }

    /// A usage error.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", Exit::Usage, message)
    }

    /// An I/O error on a path.
    pub(super) fn io(action: &str, path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        let path = path.into();
        let mut new =
            Self::new("io", Exit::Failed, format!("cannot {action} {}: {error}", path.display()));
        new.path = Some(path);
        new
    }

    /// A file that a newer version made: nothing is wrong with it, and nothing is done.
    pub(super) fn newer(path: impl Into<PathBuf>, error: &DocumentError) -> Self {
        let path = path.into();
        let message = format!("{}: {error}", path.display());
        let mut new = Self::new("newer_version", Exit::Failed, message).hint(NEWER_HINT);
        new.path = Some(path);
        new
    }

    /// The same, where such a file is what is behind an error.
    pub(super) fn of_newer(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        newer_behind(error)?;
        Some(Self::new("newer_version", Exit::Failed, error.to_string()).hint(NEWER_HINT))
    }

    /// Adds what to do.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The reader of stdout has gone: no error.
    pub(super) fn broken_pipe() -> Self {
        Self::new("broken_pipe", Exit::Ok, "")
    }

    /// Whether it is one only in name: the reader has had enough.
    pub(super) fn is_broken_pipe(&self) -> bool {
        self.kind == "broken_pipe"
    }

    /// The document for `--json`.
    #[must_use]
    pub(super) fn document(&self) -> Value {
        let mut document = json!({ "error": {
            "kind": self.kind,
            "message": self.message,
            "path": self.path.as_ref().map(|path| path.to_string_lossy()),
            "causes": self.causes,
            "hint": self.hint,
        }});
        if let Some(retryable) = self.retryable {
            document["error"]["retryable"] = json!(retryable);
        }
        if let Value::Object(map) = &mut document {
            map.extend((*self.extra).clone());
        }
        document
    }
}

/// The messages of an error's sources that the message itself does not hold.
fn causes(error: &dyn std::error::Error, message: &str) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !message.contains(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    causes
}

/// Where there is no log.
pub(super) const NO_LOG_HINT: &str = "name the log directory with --log-dir; `auditctl record` \
                                      creates a log";

/// What to do about a restore that ended in the middle.
const RESTORE_PENDING_HINT: &str = "start the collector, or run `auditctl restore` again. If \
                                    nobody here ran a restore, move audit.restore.json away";

/// What to do about a log that cannot be read as it is.
pub(super) const DAMAGED_HINT: &str = "stop the collector and run `auditctl repair`, which puts \
                                       back what a backup holds; `auditctl verify` says all that \
                                       is wrong";

/// The way out of a lost chain of keys.
const KEY_CHAIN_HINT: &str = "set `backup.output_dir` to the directory of the backups and start \
                              the collector: it restores audit.keys from a backup. If no backup \
                              has it, run `auditctl serve --accept-corruption` once, which leaves \
                              a record, and then `auditctl backup`. If the key was never changed, \
                              the log needs no audit.keys: find out who wrote it, and move it away";

/// The ways on for a log of which nothing signed is left.
const NO_HEAD_HINT: &str = "stop the collector and run `auditctl repair`, which takes what is \
                            missing from a backup. If there is no backup, run `auditctl serve \
                            --accept-corruption` once: it goes on with the records that are here, \
                            and names them as unsigned";

/// The ways on for a log without its key.
const KEY_MISSING_HINT: &str = "put the key back: import your copy (`auditctl key import FILE \
                                --identity ID`), copy the file, or set key_path. If nobody has \
                                the key any more, run `auditctl key replace --reason TEXT`";

/// The way on for a log whose key's file holds none.
const KEY_UNUSABLE_HINT: &str = "put your copy of the key back over the file, or move the file \
                                 away and run `auditctl key import FILE --identity ID`. If nobody \
                                 has the key any more, run `auditctl key replace --reason TEXT`";

const KEY_REPLACED_HINT: &str = "if the key was replaced here (`auditctl key replace`), put the \
                                 new one back. If nobody did that, somebody else wrote \
                                 audit.keys: move it away and start again, which restores it from \
                                 a backup in backup.output_dir";

/// The way out of a restore that cannot be finished.
pub(super) const RESTORE_HINT: &str = "run `auditctl restore` again. If nobody here ran a \
                                       restore, move audit.restore.json away and find out who \
                                       wrote it";

const NEWER_HINT: &str = "if no newer version ever ran here, somebody put that file there. Keep a \
                          copy, move it away, and start again: the program recreates the file, or \
                          says what is missing";
const NOT_OURS_HINT: &str = "auditctl does not create such a file. Find out who did, move it \
                             away, and start again: the program recreates what belongs there, or \
                             says what is missing";

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Locked { .. } => Exit::Busy,
            OpenError::Foreign { .. } => Exit::Usage,
            _ => Exit::Failed,
        };
        let message = error.to_string();
        let mut new = Self::new(error.kind(), exit, message);
        new.causes = causes(&error, &new.message).into();
        if newer_behind(&error).is_some() {
            new.hint = Some(NEWER_HINT.to_owned());
        }
        if let OpenError::Io { source, .. } | OpenError::Manifest(ManifestError::Io { source, .. }) =
            &error
            && source.kind() == std::io::ErrorKind::InvalidInput
        {
            new.hint = Some(NOT_OURS_HINT.to_owned());
        }
        if let OpenError::Io { action: RESTORE_ACTION, .. } = &error {
            new.hint = Some(RESTORE_HINT.to_owned());
        }
        match error {
            OpenError::Locked { path } => {
                new.path = Some(path);
                new.hint = Some(
                    "send events through its socket, or wait until it ends; `auditctl health` \
                     shows which process it is"
                        .to_owned(),
                );
            }
            OpenError::Key { path, .. } => {
                new.path = Some(path);
                new.hint = Some(KEY_UNUSABLE_HINT.to_owned());
            }
            OpenError::Io { path, .. }
            | OpenError::KeyRetired { path, .. }
            | OpenError::Foreign { path, .. }
            | OpenError::Newer { path, .. } => new.path = Some(path),
            OpenError::KeyMissing { path, .. } => {
                new.path = Some(path);
                new.hint = Some(KEY_MISSING_HINT.to_owned());
            }
            OpenError::KeyReplaced { path, .. } => {
                new.path = Some(path);
                new.hint = Some(KEY_REPLACED_HINT.to_owned());
            }
            OpenError::OtherHistory { dir, found } => {
                new.path = Some(dir);
                new.hint = Some(history_hint(found.history).to_owned());
            }
            OpenError::Corrupt(what) if what.file == "audit.keys" => {
                new.hint = Some(KEY_CHAIN_HINT.to_owned());
            }
            OpenError::Corrupt(_) => {
                new.hint = Some(
                    "run `auditctl repair`: it restores what a backup holds and keeps newer \
                     records. If no copy holds the rest, run `auditctl serve --accept-corruption` \
                     once to give it up"
                        .to_owned(),
                );
            }
            OpenError::RedactKey(error) => new.path = error.path().map(PathBuf::from),
            _ => {}
        }
        new
    }
}

impl From<RecordError> for CliError {
    fn from(error: RecordError) -> Self {
        let exit = match &error {
            RecordError::Event(_) => Exit::Usage,
            RecordError::Conflict { .. }
            | RecordError::RateLimited { .. }
            | RecordError::Busy { .. } => Exit::Busy,
            _ => Exit::Failed,
        };
        Self::new(error.kind(), exit, error.to_string())
    }
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        if let Some(newer) = Self::of_newer(&error) {
            return newer;
        }
        let exit = match &error {
            BackupError::Open(_) => return Self::from_open(error),
            BackupError::Store(_) => return Self::from_store(error),
            BackupError::Locked { .. } | BackupError::LogLocked { .. } => Exit::Busy,
            BackupError::Refused(_) => Exit::Busy,
            BackupError::Log(
                ReadError::Short { .. }
                | ReadError::NoHead { .. }
                | ReadError::Checkpoint { .. }
                | ReadError::Keys(KeysError::Invalid { .. }),
            )
            | BackupError::LogDamaged(_)
            | BackupError::KeyChain { .. }
            | BackupError::NotAPrefix { .. }
            | BackupError::OtherHistory(_) => Exit::Found,
            BackupError::Usage(_) | BackupError::SeveralLogs { .. } => Exit::Usage,
            BackupError::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        };
        let message = error.to_string();
        let mut new = Self::new(error.kind(), exit, message);
        new.causes = causes(&error, &new.message).into();
        new.hint = hint(&error).map(str::to_owned);
        new.path = match error {
            BackupError::Io { path, .. }
            | BackupError::Locked { path }
            | BackupError::LogLocked { path }
            | BackupError::NoSpace { path, .. }
            | BackupError::Archive { path, .. }
            | BackupError::Metadata { path, .. }
            | BackupError::Newer { path, .. } => Some(path),
            _ => None,
        };
        new
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let exit = match error.kind {
            StoreErrorKind::Usage => Exit::Usage,
            StoreErrorKind::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        };
        let mut new = Self::new(error.kind.name(), exit, error.to_string());
        new.causes = causes(&error, &new.message).into();
        new.retryable = Some(error.retryable);
        new.hint = error.hint;
        new
    }
}

impl CliError {
    fn from_store(error: BackupError) -> Self {
        match error {
            BackupError::Store(error) => (*error).into(),
            other => Self::new(other.kind(), Exit::Failed, other.to_string()),
        }
    }

    fn from_open(error: BackupError) -> Self {
        match error {
            BackupError::Open(error) => error.into(),
            other => Self::new(other.kind(), Exit::Failed, other.to_string()),
        }
    }
}

/// What to do about a log that cannot be read.
fn read_hint(error: &ReadError) -> Option<&'static str> {
    Some(match error {
        ReadError::NoLog { .. } => NO_LOG_HINT,
        ReadError::NoHead { .. } => NO_HEAD_HINT,
        ReadError::RestorePending { .. } => RESTORE_PENDING_HINT,
        ReadError::Short { .. }
        | ReadError::Checkpoint { .. }
        | ReadError::Manifest(_)
        | ReadError::Keys(KeysError::Key(_)) => DAMAGED_HINT,
        ReadError::Keys(_) => KEY_CHAIN_HINT,
        _ => return None,
    })
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        if let Some(newer) = Self::of_newer(&error) {
            return newer;
        }
        let exit = match &error {
            ReadError::Io { action, path, source } => return Self::io(action, path, source),
            ReadError::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        };
        let mut new = Self::new(error.kind(), exit, error.to_string());
        new.hint = read_hint(&error).map(str::to_owned);
        new.path = match error {
            ReadError::NoLog { dir, .. } | ReadError::RestorePending { dir } => Some(dir),
            _ => None,
        };
        new
    }
}

/// What to do about another history.
pub(super) fn history_hint(history: History) -> &'static str {
    match history {
        History::RolledBack => {
            "put the newer log back, or restore the newest backup (`auditctl restore latest`). To \
             continue from here, run `auditctl serve --accept-rollback`, which begins a new epoch \
             and leaves a record"
        }
        History::SnapshotRestored => {
            "if you rolled the machine back on purpose, run `auditctl serve --accept-rollback`, \
             which begins a new epoch and leaves a record. Otherwise put the newer log back"
        }
        History::Cloned => {
            "stop all copies but one, and keep the logs of the others as evidence. Continue the \
             one with `auditctl serve --accept-rollback`, which begins a new epoch"
        }
    }
}

fn hint(error: &BackupError) -> Option<&'static str> {
    Some(match error {
        BackupError::Locked { .. } => "wait until it ends; the lock ends with its process",
        BackupError::LogLocked { .. } => {
            "stop it first (`systemctl stop auditctl`); `auditctl health` shows which process it \
             is"
        }
        BackupError::NoSpace { .. } => {
            "free disk space, or name a directory on another disk with \
                                        --output-dir"
        }
        BackupError::LogDamaged(_) => {
            "run `auditctl repair` to restore what earlier backups hold, then back up again"
        }
        BackupError::KeyChain { .. } => KEY_CHAIN_HINT,
        BackupError::Log(error) => return read_hint(error),
        BackupError::NotAPrefix { .. } => {
            "keep both, and find out what happened before you restore or remove anything. To back \
             up the log as it is, name a new directory with --output-dir"
        }
        BackupError::Newer { .. } => {
            "nothing was changed. Use the version of auditctl that made it, or a later one"
        }
        BackupError::OtherHistory(found) => history_hint(found.history),
        BackupError::SeveralLogs { .. } => {
            "choose the log with --log ID, or name a backup by its id; `auditctl list` shows them"
        }
        BackupError::NotFound { .. } => "run `auditctl list` to see which backups there are",
        BackupError::Base { .. } => {
            "put that backup's two files back from a copy; or restore an earlier backup, which \
             `auditctl list` shows. `auditctl backup --full` makes one that needs no other"
        }
        _ => return None,
    })
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        let new = Self::new("config", Exit::Usage, errors.to_string());
        new.hint(
            "docs/configuration.md lists every setting; AUDITCTL_CONFIG or --config names the file",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_of_a_changed_log_is_a_finding_and_no_failure() {
        let forked = BackupError::NotAPrefix {
            previous: "20260101_000000".parse().expect("an id"),
            earlier: 9,
            root: String::new(),
            found: String::new(),
        };
        for (error, exit) in [
            (forked, Exit::Found),
            (BackupError::LogDamaged("block 1".to_owned()), Exit::Found),
            (BackupError::Refused("no".to_owned()), Exit::Busy),
            (BackupError::Usage("no".to_owned()), Exit::Usage),
            (BackupError::Interrupted, Exit::Interrupted),
        ] {
            let text = error.to_string();
            assert_eq!(CliError::from(error).exit, exit, "{text}");
        }
    }
}
