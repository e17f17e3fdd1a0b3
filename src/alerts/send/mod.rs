//! One try to deliver something, bounded in time and bytes, behind the guard.

pub(super) mod http;
pub(super) mod smtp;
mod starttls;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

/// Of an answer so many bytes are read; the rest is nobody's business.
pub(super) const MAX_ANSWER_BYTES: usize = 4 << 10;
/// Of an answer so many characters are told.
const SHOWN_CHARS: usize = 160;

/// How a try ended.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// What was connected to, if anything.
    pub address: Option<SocketAddr>,
    /// What the other end said: `HTTP 204`, `SMTP 250`.
    pub answer: Option<String>,
    /// Whether it is delivered.
    pub result: Result<(), Trouble>,
}

/// Why it is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The guard refused the target.
    #[error("refused: {0}")]
    Refused(String),
    /// Will not work however often it is tried.
    #[error("{0}")]
    Permanent(String),
    /// May work later.
    #[error("{reason}")]
    Temporary {
        /// What happened.
        reason: String,
        /// The other end asked to wait so long.
        retry_after: Option<Duration>,
    },
}

impl Attempt {
    fn delivered() -> Self {
        Self { address: None, answer: None, result: Ok(()) }
    }

    fn failed(result: Trouble) -> Self {
        Self { address: None, answer: None, result: Err(result) }
    }
}

impl Trouble {
    fn later(reason: impl Into<String>) -> Self {
        Self::Temporary { reason: reason.into(), retry_after: None }
    }
}
