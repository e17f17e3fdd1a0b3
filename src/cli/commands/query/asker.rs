//! Who answers: the collector, or this process from the files.

use crate::audit::read::query::{Answer, Bounds, Question, Reader};
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::shared_fs;
use crate::cli::reach;
use crate::collector::client::{Client, ClientError};
use crate::config::Settings;

/// A page of a direct answer: large enough that looking for its beginning costs little.
const PAGE_BYTES: usize = 8 << 20;

/// Who answers.
pub(super) enum Asker {
    /// The collector.
    Socket(Client),
    /// This process.
    Direct(Box<Reader>),
}

impl Asker {
    /// The collector if one runs and lets this user ask, else the files.
    pub(super) fn open(settings: &Settings, direct: bool) -> Result<Self, CliError> {
        if !direct {
            match reach::collector(settings) {
                Ok(client) => return Ok(Self::Socket(client)),
                Err(ClientError::NotRunning { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let bounds = Bounds { page_bytes: PAGE_BYTES, groups: settings.max_memory_events };
        Ok(Self::Direct(Box::new(Reader::open(&shared_fs(), &settings.log_dir, bounds)?)))
    }

    /// One page.
    pub(super) fn ask(&mut self, question: &Question) -> Result<Answer, CliError> {
        match self {
            Self::Direct(reader) => Ok(reader.query(&question.query)?),
            // What is cut off is cut off where it is shown.
            Self::Socket(client) => {
                client.query(&Question { top: None, ..question.clone() }).map_err(refused)
            }
        }
    }

    /// Looks at what is there by now.
    pub(super) fn refresh(&mut self) -> Result<(), CliError> {
        match self {
            Self::Direct(reader) => Ok(reader.refresh()?),
            // The collector looks each time.
            Self::Socket(_) => Ok(()),
        }
    }

    /// How it was answered, for `--explain`.
    pub(super) fn way(&self) -> &'static str {
        match self {
            Self::Direct(_) => "from the files",
            Self::Socket(_) => "by the collector",
        }
    }
}

fn refused(error: ClientError) -> CliError {
    let ClientError::Refused { kind, .. } = &error else { return error.into() };
    let (kind, exit) = match kind.as_str() {
        "forbidden" => ("forbidden", Exit::Busy),
        "busy" | "too_many_connections" => ("busy", Exit::Busy),
        "usage" | "malformed" => ("usage", Exit::Usage),
        _ => ("query", Exit::Failed),
    };
    let new = CliError::new(kind, exit, error.to_string());
    match kind {
        "forbidden" => new.hint(
            "add this user to collector.read_uids; a user who can read the log's files can add \
             --direct",
        ),
        _ => new,
    }
}
