//! Which log a checkpoint is of, and which epoch of it.

use std::fmt;
use std::str::FromStr;

use crate::origin_prefix::OriginPrefix;

/// The longest log id, in bytes.
pub const MAX_LOG_ID_BYTES: usize = 64;

/// Why a text names no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no log: \"<prefix>/<log id>\" or \"<prefix>/<log id>/e<epoch>\" is expected, \
     the prefix being a name such as \"example.com/audit\" and the log id 1 to \
     {MAX_LOG_ID_BYTES} of a-z A-Z 0-9 . _ -"
)]
pub struct OriginError {
    text: String,
}

/// Which log, and which epoch of it: `<prefix>/<log id>`, and from epoch 1 on
/// `<prefix>/<log id>/e<epoch>`. Within one origin the tree only grows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    prefix: OriginPrefix,
    log_id: String,
    epoch: u32,
}

impl Origin {
    /// The origin of a log's epoch; the first epoch is 0.
    ///
    /// # Errors
    /// [`OriginError`] for a log id that is empty, longer than
    /// [`MAX_LOG_ID_BYTES`], has other characters than `a-z A-Z 0-9 . _ -`, or reads
    /// like the number of an epoch.
    pub fn new(prefix: &OriginPrefix, log_id: &str, epoch: u32) -> Result<Self, OriginError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let is_one = !log_id.is_empty()
            && log_id.len() <= MAX_LOG_ID_BYTES
            && log_id.bytes().all(allowed)
            && !is_epoch_like(log_id);
        if !is_one {
            return Err(refused(log_id));
        }
        Ok(Self { prefix: prefix.clone(), log_id: log_id.to_owned(), epoch })
    }

    /// An epoch of the log whose keys have that name, which has to be this log's.
    ///
    /// # Errors
    /// [`OriginError`] for a name that is not of the log.
    pub fn of_key(key_name: &str, log_id: &str, epoch: u32) -> Result<Self, OriginError> {
        let origin: Self = key_name.parse()?;
        if origin.epoch != 0 || origin.log_id != log_id {
            return Err(refused(key_name));
        }
        Ok(Self { epoch, ..origin })
    }

    /// The same log in another epoch.
    #[must_use]
    pub fn in_epoch(self, epoch: u32) -> Self {
        Self { epoch, ..self }
    }

    /// Whose log it is.
    #[must_use]
    pub fn prefix(&self) -> &OriginPrefix {
        &self.prefix
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> &str {
        &self.log_id
    }

    /// The epoch, 0 until a restore begins another.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The name of the keys that sign for this log: `<prefix>/<log id>`, whatever
    /// the epoch.
    #[must_use]
    pub fn key_name(&self) -> String {
        format!("{}/{}", self.prefix, self.log_id)
    }
}

fn refused(text: &str) -> OriginError {
    OriginError { text: text.chars().take(80).collect() }
}

/// `e` and what could be a number of an epoch: no log is called that.
fn is_epoch_like(text: &str) -> bool {
    text.strip_prefix('e').is_some_and(|digits| {
        (1..=10).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.prefix, self.log_id)?;
        if self.epoch > 0 {
            write!(f, "/e{}", self.epoch)?;
        }
        Ok(())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let refuse = || refused(text);
        let (log, last) = text.rsplit_once('/').ok_or_else(refuse)?;
        let (prefix, log_id, epoch) = if is_epoch_like(last) {
            let epoch = super::parse_decimal(&last[1..]).filter(|epoch| *epoch > 0);
            let epoch = epoch.and_then(|epoch| u32::try_from(epoch).ok()).ok_or_else(refuse)?;
            let (prefix, log_id) = log.rsplit_once('/').ok_or_else(refuse)?;
            (prefix, log_id, epoch)
        } else {
            (log, last, 0)
        };
        let prefix: OriginPrefix = prefix.parse().map_err(|_| refuse())?;
        Self::new(&prefix, log_id, epoch).map_err(|_| refuse())
    }
}
