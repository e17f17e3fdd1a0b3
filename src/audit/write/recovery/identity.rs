//! Which log this is.

use std::io;

use super::error::io_error;
use super::heads::Texts;
use super::{OpenError, Opening};
use crate::audit::files::manifest::Manifest;
use crate::audit::keys::checkpoint::{Origin, VerifierKey};
use crate::audit::keys::signer::{KeyError, SigningKey};
use crate::audit::paths::parse_sealed_name;
use crate::audit::record::peek_seq;
use crate::fsio::OpenMode;
use crate::units::hex;

impl Opening<'_> {
    /// Whether opening makes a new log.
    pub(super) fn begins_a_log(&self) -> Result<bool, OpenError> {
        self.is_empty(&self.texts()?)
    }

    /// Whether nothing was ever recorded here.
    pub(super) fn is_empty(&self, texts: &Texts) -> Result<bool, OpenError> {
        let sealed = self.names.iter().any(|name| parse_sealed_name(name).is_some());
        if sealed || texts.any() || self.names.iter().any(|name| name == "audit.manifest.json") {
            return Ok(false);
        }
        let path = self.paths.active();
        match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => Ok(file.meta().map_err(io_error("look at", &path))?.len == 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }

    /// Which log this is. The key's name says it: who has the key is the log.
    pub(super) fn identity(
        &self,
        stored: Option<&Manifest>,
        texts: &Texts,
        is_new: bool,
    ) -> Result<String, OpenError> {
        if is_new {
            return self.new_log_id();
        }
        let origin = texts.origin();
        let is_known = stored.is_some() || origin.is_some();
        if !is_known && let Some(log_id) = self.named_by_keys()? {
            return Ok(log_id);
        }
        if !is_known {
            return Err(OpenError::Foreign {
                path: self.paths.active(),
                reason: "it has records but neither a manifest nor a checkpoint".to_owned(),
            });
        }
        let by_key = self.key_names_log()?;
        let by_note = || origin.map(|origin| origin.log_id().to_owned());
        let by_manifest = || stored.map(|manifest| manifest.log_id.clone());
        by_key.or_else(by_note).or_else(by_manifest).ok_or_else(|| self.start_error("no log id"))
    }

    /// The log that the keys at hand name, where what is there looks like its records: its
    /// manifest and its signed heads are lost, and that is told as what it is.
    fn named_by_keys(&self) -> Result<Option<String>, OpenError> {
        let path = self.paths.active();
        let mut start = [0; 64];
        let read = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => file.read_at(&mut start, 0).map_err(io_error("read", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let is_sealed = self.names.iter().any(|name| parse_sealed_name(name).is_some());
        if peek_seq(&start[..read]).is_none() && !is_sealed {
            return Ok(None);
        }
        let public = VerifierKey::load(self.fs, &self.paths.public_key()).ok();
        let by_public = public.and_then(|key| key.log_id());
        Ok(self.key_names_log()?.or(by_public))
    }

    /// The log that the signing key is of, if there is a key.
    fn key_names_log(&self) -> Result<Option<String>, OpenError> {
        let path = self.key_files().key;
        if self.missing(&path) {
            return Ok(None);
        }
        let key = match SigningKey::load(self.fs, &path) {
            Ok(key) => key,
            Err(source @ KeyError::Io { .. }) => {
                return Err(OpenError::Key { path, source: Box::new(source) });
            }
            // A change of key may have overwritten it; `key` judges that.
            Err(_) => return Ok(None),
        };
        Ok(key.name().parse::<Origin>().ok().map(|origin| origin.log_id().to_owned()))
    }

    fn new_log_id(&self) -> Result<String, OpenError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| self.start_error(format!("no random numbers: {error}")))?;
        Ok(hex(&random))
    }
}
