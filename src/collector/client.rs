//! The collector's socket, seen from a sender: plain blocking I/O, for
//! `auditctl record` and for services that send windows of events.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, Uid, User};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::server::{Judged, Trust};
use crate::audit::ImportId;
use crate::audit::read::query;
use crate::audit::read::query::Question;
use crate::audit::write::key_change::{RotateRequest, Rotated};
use crate::audit::write::own::{BackupMade, BackupRemoved};
use crate::fsio::inspect;
use crate::json_place::JsonError;

/// An answer takes at most: the collector's own timeouts come first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A query that reads much takes longer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3600);

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is recorded and durable under this seq.
    Recorded(u64),
    /// It was recorded before, and is durable, under this seq: the sender has used its id for
    /// the same event.
    Duplicate(u64),
    /// It is not, or that is not known.
    Refused {
        /// The kind, such as `rate_limited`.
        kind: String,
        /// Why.
        message: String,
        /// When sending it again makes sense.
        retry_after: Option<Duration>,
    },
}

/// Why the collector cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no collector listens at {path}")]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// Another user's program listens there. Nothing was sent to it.
    #[error("{}; auditctl sent nothing to it", foreign(path, *uid, *owner, whose))]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Whose it may be beside root's, when that can be told.
        owner: Option<u32>,
        /// The directory whose owner that is.
        whose: PathBuf,
    },
    /// This user may not reach the socket.
    #[error("no permission to connect to the collector's socket {path}: {why}")]
    Denied {
        /// The socket.
        path: PathBuf,
        /// Whose it is, or what is in the way.
        why: String,
        /// The system's word.
        source: io::Error,
    },
    /// The connection failed or ended.
    #[error("the collector at {path} went away: {source}")]
    Lost {
        /// The socket.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// It closed the connection with an error, or does not speak the protocol.
    #[error("the collector at {path} said {kind}: {message}")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// The kind, such as `too_many_connections`.
        kind: String,
        /// Why.
        message: String,
    },
}

/// What keeps this user from a socket: its mode, or a directory on the way to it.
fn in_the_way(path: &Path) -> String {
    let user = |uid: u32| match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("user {} ({uid})", user.name),
        _ => format!("user {uid}"),
    };
    let group = |gid: u32| match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => format!("group {} ({gid})", group.name),
        _ => format!("group {gid}"),
    };
    let told = |what: &str, entry: inspect::Entry| {
        format!(
            "{what} belongs to {} and {}, mode {:04o}, and this is {}",
            user(entry.uid),
            group(entry.gid),
            entry.mode,
            user(Uid::effective().as_raw()),
        )
    };
    let from_root: Vec<&Path> = path.ancestors().skip(1).collect();
    for directory in from_root.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
        let search = inspect::Wanted { read: false, write: false, search: true };
        if inspect::may(directory, search).is_err()
            && let Ok(Some(entry)) = inspect::behind(directory)
        {
            return told(&format!("the directory {}", directory.display()), entry);
        }
    }
    match inspect::behind(path) {
        Ok(Some(entry)) => told("it", entry),
        _ => "the system does not say why".to_owned(),
    }
}

fn foreign(path: &Path, uid: u32, owner: Option<u32>, whose: &Path) -> String {
    let (path, whose) = (path.display(), whose.display());
    match owner {
        Some(owner) => format!(
            "the program that listens at {path} belongs to user {uid}, not to root or to user \
             {owner}, who owns {whose}"
        ),
        None => format!(
            "the program that listens at {path} belongs to user {uid}, not to root, and auditctl \
             cannot tell who the collector's user is, because others can change {whose}"
        ),
    }
}

/// A connection to the collector.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
}

#[derive(Deserialize)]
struct Wire {
    ok: Option<WireOk>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    ok: Option<WireAnswer<'a>>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireAnswer<'a> {
    #[serde(borrow)]
    query: &'a RawValue,
}

#[derive(Deserialize)]
struct RotateAnswer {
    ok: Option<WireRotated>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireRotated {
    key_rotate: Rotated,
}

#[derive(Deserialize)]
struct OpenAnswer {
    ok: Option<WireOpened>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireOpened {
    open: Opened,
}

/// A session for HTTP that was begun.
#[derive(Clone, Deserialize)]
pub struct Opened {
    /// What is to be shown; a secret.
    pub token: String,
    /// Until when.
    pub expires: String,
    /// What it may do.
    pub role: String,
    /// Where.
    pub url: String,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("role", &self.role).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct WireOk {
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Deserialize)]
struct Positions {
    ok: Option<Statuses>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct Statuses {
    status: WireStatus,
}

#[derive(Deserialize)]
struct WireStatus {
    next_seq: u64,
    durable_seq: u64,
}

#[derive(Deserialize)]
struct WireError {
    kind: String,
    message: String,
    retry_after_ms: Option<u64>,
}

impl Client {
    /// Connects, and makes sure whose the server is before anything is sent.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when there is no socket or nobody behind it,
    /// [`ClientError::Foreign`] when somebody is who is not trusted.
    pub fn connect(path: &Path, trust: &Trust) -> Result<Self, ClientError> {
        let lost = |source| ClientError::Lost { path: path.to_path_buf(), source };
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            // InvalidInput: the path is too long for any socket.
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::InvalidInput => ClientError::NotRunning { path: path.to_path_buf() },
            io::ErrorKind::PermissionDenied => {
                let why = in_the_way(path);
                ClientError::Denied { path: path.to_path_buf(), why, source: error }
            }
            _ => lost(error),
        })?;
        if let Judged::Foreign { uid, owner, whose } = trust.judge(&stream, path).map_err(lost)? {
            return Err(ClientError::Foreign { path: path.to_path_buf(), uid, owner, whose });
        }
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(lost)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(lost)?;
        Ok(Self { path: path.to_path_buf(), reader: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// Asks for an import: no rate limit, for root and the collector's own user
    /// only. Whether it was granted. Waits until another connection that has it is over.
    ///
    /// # Errors
    /// When the collector is gone or refuses the connection.
    pub fn import(&mut self, lenient: bool, id: &ImportId) -> Result<bool, ClientError> {
        let wish = serde_json::json!({
            "session": { "import": true, "import_id": id.as_str(), "lenient": lenient }
        });
        let until = Instant::now() + ANSWER_TIMEOUT;
        let denied = loop {
            self.write(format!("{wish}\n").as_bytes())?;
            match self.read()? {
                Wire { ok: Some(_), .. } => return Ok(true),
                Wire { error: Some(WireError { retry_after_ms: Some(wait), .. }), .. }
                    if Instant::now() < until =>
                {
                    std::thread::sleep(Duration::from_millis(wait));
                }
                Wire { error: Some(error), .. } if error.kind != "forbidden" => {
                    return Err(self.refused(error));
                }
                Wire { error, .. } => break error,
            }
        };
        let wish = serde_json::json!({ "session": { "import": false, "lenient": lenient } });
        match self.write(format!("{wish}\n").as_bytes()).and_then(|()| self.read()) {
            Ok(_) => Ok(false),
            // It may not send at all, and was told so before.
            Err(error) => Err(denied.map_or(error, |denied| self.refused(denied))),
        }
    }

    /// How far the log is: the seq that comes next, and up to which records are durable.
    ///
    /// # Errors
    /// When the connection ends before the answer, or the writer cannot tell.
    pub fn progress(&mut self) -> Result<(u64, u64), ClientError> {
        self.write(b"{\"status\":{}}\n")?;
        let line = self.read_line()?;
        let wire: Positions = serde_json::from_slice(&line).map_err(|e| self.unreadable(&e))?;
        match (wire.ok, wire.error) {
            (Some(Statuses { status }), _) => Ok((status.next_seq, status.durable_seq)),
            (None, Some(error)) => Err(self.refused(error)),
            (None, None) => Err(self.lost(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Sends events, a line each, and returns what became of each, in order.
    ///
    /// # Errors
    /// When the connection ends before the last answer; what was not answered
    /// may or may not have been recorded.
    pub fn send(&mut self, lines: &[&[u8]]) -> Result<Vec<Answer>, ClientError> {
        let mut text = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        self.write(&text)?;
        let mut answers = Vec::with_capacity(lines.len());
        for _ in lines {
            match self.read() {
                Ok(wire) => answers.push(self.answer(wire)?),
                // What was answered counts.
                Err(error) if answers.is_empty() => return Err(error),
                Err(error) => {
                    let message = error.to_string();
                    let lost =
                        Answer::Refused { kind: "lost".to_owned(), message, retry_after: None };
                    answers.resize(lines.len(), lost);
                    return Ok(answers);
                }
            }
        }
        Ok(answers)
    }

    /// Has a query answered. One page of it: [`query::Answer::rest`] asks for more.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it is not answered, such as to who may not read.
    pub fn query(&mut self, question: &Question) -> Result<query::Answer, ClientError> {
        let lost = |source| ClientError::Lost { path: self.path.clone(), source };
        let line = serde_json::json!({ "query": question }).to_string();
        self.reader.get_ref().set_read_timeout(Some(QUERY_TIMEOUT)).map_err(lost)?;
        self.write(format!("{line}\n").as_bytes())?;
        let answer = self.read_line()?;
        self.reader
            .get_ref()
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .map_err(|source| self.lost(source))?;
        let invalid = |error: serde_json::Error| self.unreadable(&error);
        let wire: Answered<'_> = serde_json::from_slice(&answer).map_err(invalid)?;
        match (wire.ok, wire.error) {
            (Some(WireAnswer { query }), _) => {
                query::Answer::from_json(query.get()).map_err(invalid)
            }
            (None, Some(error)) => Err(self.refused(error)),
            (None, None) => Err(self.lost(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Has it recorded that a backup was made; the answer comes once the record is
    /// durable.
    ///
    /// # Errors
    /// When the connection ends before the answer.
    pub fn backup_made(&mut self, made: &BackupMade) -> Result<Answer, ClientError> {
        let line = serde_json::json!({ "backup_made": made }).to_string();
        self.write(format!("{line}\n").as_bytes())?;
        let wire = self.read()?;
        self.answer(wire)
    }

    /// Has it recorded that a backup is removed; the answer comes once the record
    /// is durable.
    ///
    /// # Errors
    /// When the connection ends before the answer.
    pub fn backup_removed(&mut self, removed: &BackupRemoved) -> Result<Answer, ClientError> {
        let line = serde_json::json!({ "backup_removed": removed }).to_string();
        self.write(format!("{line}\n").as_bytes())?;
        let wire = self.read()?;
        self.answer(wire)
    }

    /// Has the signing key changed. Paths have to be absolute: the collector reads
    /// and writes them.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it is not changed, with the kind of a
    /// [`RotateError`](crate::audit::write::key_change::RotateError) or `forbidden`.
    pub fn rotate_key(&mut self, request: &RotateRequest) -> Result<Rotated, ClientError> {
        let line = serde_json::json!({ "key_rotate": request }).to_string();
        self.write(format!("{line}\n").as_bytes())?;
        let answer = self.read_line()?;
        let wire: RotateAnswer =
            serde_json::from_slice(&answer).map_err(|error| self.unreadable(&error))?;
        match (wire.ok, wire.error) {
            (Some(WireRotated { key_rotate }), _) => Ok(key_rotate),
            (None, Some(error)) => Err(self.refused(error)),
            (None, None) => Err(self.lost(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Begins a session for HTTP, of an hour.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is none: with the kind `no_http`, `forbidden`,
    /// `busy`, or `unknown_request` of an older collector.
    pub fn open(&mut self) -> Result<Opened, ClientError> {
        self.write(b"{\"open\":{}}\n")?;
        let answer = self.read_line()?;
        let wire: OpenAnswer =
            serde_json::from_slice(&answer).map_err(|error| self.unreadable(&error))?;
        match (wire.ok, wire.error) {
            (Some(WireOpened { open }), _) => Ok(open),
            (None, Some(error)) => Err(self.refused(error)),
            (None, None) => Err(self.lost(io::ErrorKind::InvalidData.into())),
        }
    }

    fn lost(&self, source: io::Error) -> ClientError {
        ClientError::Lost { path: self.path.clone(), source }
    }

    /// What answers there speaks another language.
    fn unreadable(&self, error: &serde_json::Error) -> ClientError {
        let message = format!("an answer that cannot be read: {}", JsonError::from(error));
        ClientError::Refused { path: self.path.clone(), kind: "protocol".to_owned(), message }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let written = self.reader.get_mut().write_all(bytes);
        written.map_err(|source| {
            // It may have said why before it hung up.
            match self.read() {
                Ok(Wire { error: Some(error), .. }) => self.refused(error),
                _ => ClientError::Lost { path: self.path.clone(), source },
            }
        })
    }

    fn read(&mut self) -> Result<Wire, ClientError> {
        let line = self.read_line()?;
        // An answer that was cut off is the connection's end.
        let cut = !line.ends_with(b"\n");
        serde_json::from_slice(&line).map_err(|error| {
            if cut {
                self.lost(io::ErrorKind::UnexpectedEof.into())
            } else {
                self.unreadable(&error)
            }
        })
    }

    fn read_line(&mut self) -> Result<Vec<u8>, ClientError> {
        let lost = |source| ClientError::Lost { path: self.path.clone(), source };
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line).map_err(lost)?;
        if read == 0 {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(line)
    }

    fn answer(&self, wire: Wire) -> Result<Answer, ClientError> {
        match wire {
            Wire { ok: Some(WireOk { seq: Some(seq), duplicate }), .. } => {
                Ok(if duplicate { Answer::Duplicate(seq) } else { Answer::Recorded(seq) })
            }
            Wire { error: Some(error), .. } if error.kind == "too_many_connections" => {
                Err(self.refused(error))
            }
            Wire { error: Some(error), .. } => Ok(Answer::Refused {
                kind: error.kind,
                message: error.message,
                retry_after: error.retry_after_ms.map(Duration::from_millis),
            }),
            _ => Err(ClientError::Refused {
                path: self.path.clone(),
                kind: "protocol".to_owned(),
                message: "an answer that is neither ok nor error".to_owned(),
            }),
        }
    }

    fn refused(&self, error: WireError) -> ClientError {
        ClientError::Refused { path: self.path.clone(), kind: error.kind, message: error.message }
    }
}
