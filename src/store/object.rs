//! What a store holds.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::units::hex;

/// An object in a store.
///
/// From [`super::BackupStore::stat`] and `put_new` everything the store knows;
/// from `list` the name and the size, and of the rest what the listing holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Its name below the destination's prefix.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, by the store's clock.
    pub modified: Option<Timestamp>,
    /// Which version of it: S3's and Azure's version id, Google's generation.
    /// None where the bucket keeps no versions.
    pub version: Option<String>,
    /// A checksum over all of it that the store itself computed or compared.
    pub checksum: Option<Checksum>,
    /// Until when it can be neither removed nor replaced.
    pub locked_until: Option<Timestamp>,
    /// Who may shorten that.
    pub lock_mode: Option<LockMode>,
    /// Whether somebody holds it without a date: a legal hold.
    pub held: bool,
    /// The metadata it was put with.
    pub metadata: BTreeMap<String, String>,
}

/// A checksum over a whole object, of a kind that a provider knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256: S3's of objects that were put in one request; the local store's.
    Sha256([u8; 32]),
    /// CRC-64/NVME: S3's of objects that were put in parts.
    Crc64Nvme(u64),
    /// CRC-32C: Google Cloud Storage's.
    Crc32c(u32),
    /// MD5: Azure's.
    Md5([u8; 16]),
}

impl fmt::Display for Checksum {
    /// As the providers show it: the kind, and base64 of the big-endian bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(bytes) => write!(f, "sha256:{}", STANDARD.encode(bytes)),
            Self::Crc64Nvme(crc) => write!(f, "crc64nvme:{}", STANDARD.encode(crc.to_be_bytes())),
            Self::Crc32c(crc) => write!(f, "crc32c:{}", STANDARD.encode(crc.to_be_bytes())),
            Self::Md5(bytes) => write!(f, "md5:{}", STANDARD.encode(bytes)),
        }
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// For how long an object is to be kept unchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Until when.
    pub until: Timestamp,
    /// Who may shorten that.
    pub mode: LockMode,
}

/// Who may shorten a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Identities with a special permission. Azure and Google call it unlocked.
    Governance,
    /// Nobody, the provider included, before the time has come.
    Compliance,
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        })
    }
}

impl FromStr for LockMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "governance" => Ok(Self::Governance),
            "compliance" => Ok(Self::Compliance),
            _ => Err(format!("\"{}\" is neither governance nor compliance", text.escape_debug())),
        }
    }
}

/// What became of a removed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is not there any more, or never was.
    Gone,
    /// The bucket keeps versions: a marker hides it, and its bytes stay (and cost)
    /// until that version is removed.
    HiddenByMarker,
}

/// Length and checksums of a file, computed while it was written: not from the
/// way that is used to upload it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Its length.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: [u8; 32],
    /// CRC-64/NVME.
    pub crc64nvme: u64,
    /// CRC-32C.
    pub crc32c: u32,
}

impl Digests {
    /// Of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use crc_fast::{CrcAlgorithm, checksum};
        use sha2::{Digest, Sha256};
        Self {
            bytes: bytes.len() as u64,
            sha256: Sha256::digest(bytes).into(),
            crc64nvme: checksum(CrcAlgorithm::Crc64Nvme, bytes),
            // Of 32 bits, whatever the function's type says.
            crc32c: checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32,
        }
    }

    /// Whether a store's checksum is of the same bytes; none where it is of a kind that is
    /// not computed here.
    #[must_use]
    pub fn agree(&self, sum: &Checksum) -> Option<bool> {
        match *sum {
            Checksum::Sha256(found) => Some(found == self.sha256),
            Checksum::Crc64Nvme(found) => Some(found == self.crc64nvme),
            Checksum::Crc32c(found) => Some(found == self.crc32c),
            Checksum::Md5(_) => None,
        }
    }

    /// SHA-256 in hexadecimal, as `sha256sum` shows it.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_the_standard_ones() {
        let digests = Digests::of(b"123456789");
        // The check values of the CRC catalogue, and SHA-256 of the same text.
        assert_eq!(digests.crc64nvme, 0xae8b_1486_0a79_9888);
        assert_eq!(digests.crc32c, 0xe306_9283);
        assert_eq!(
            digests.sha256_hex(),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
    }
}
