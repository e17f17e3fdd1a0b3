//! The signing key in escrow: encrypted to age public keys, so that it can be kept where
//! backups are and none who keeps it can use it.

use super::encrypt::{KeyFile, Recipients, identities, seal, unseal};
use super::error::BackupError;
use crate::audit::keys::signer::SigningKey;
use crate::audit::record::secret::Secret;
use crate::clock::Timestamp;

/// Encrypts a private key, with its public part beside it, as an armored age file. What is
/// in it is text: the lines that begin with `#` are for people.
///
/// # Errors
/// [`BackupError::Usage`] for what is no age public key, or none at all.
pub fn export_key(
    key: &SigningKey,
    recipients: &[String],
    now: Timestamp,
) -> Result<String, BackupError> {
    if recipients.is_empty() {
        let what = "name the age public key to encrypt it to: --encrypt-to age1…";
        return Err(BackupError::Usage(what.to_owned()));
    }
    let recipients = Recipients::parse(recipients)?;
    let head = format!(
        "# The signing key of the auditctl log {}, exported {now}\n# Public key: {}\n",
        key.name(),
        key.verifier()
    );
    let private = key.encode();
    let mut text = Secret(Vec::with_capacity(head.len() + private.0.len()));
    text.0.extend_from_slice(head.as_bytes());
    text.0.extend_from_slice(&private.0);
    seal(&text.0, &recipients)
}

/// The key that a file holds which [`export_key`] made.
///
/// # Errors
/// [`BackupError::Usage`] for an identity that is none; [`BackupError::Refused`] for a file
/// that none of them opens, or that holds no key. Never says what is in it.
pub fn import_key(
    name: &str,
    sealed: &[u8],
    identity_files: &[KeyFile],
) -> Result<SigningKey, BackupError> {
    let refused = |what: &str| BackupError::Refused(format!("{name}: {what}"));
    let text = unseal(sealed, &identities(identity_files)?).map_err(|what| refused(&what))?;
    let text = std::str::from_utf8(&text.0).map_err(|_| refused("it holds no key"))?;
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            SigningKey::parse(line).map_err(|error| refused(&format!("it holds no key: {error}")))
        }
        _ => Err(refused("it holds no key, or more than one")),
    }
}
