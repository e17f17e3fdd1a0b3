//! What is computed of a file's bytes while they pass: what the providers check
//! uploads by, and what we check everything by.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::audit::tree::merkle::Hash;
use crate::fsio::FsFile;

/// Length and checksums of some bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// How many.
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: Hash,
    /// CRC-64/NVME, base64 of its 8 bytes, as S3 shows it.
    pub crc64nvme: String,
    /// CRC-32C, base64 of its 4 bytes, as Google Cloud Storage shows it.
    pub crc32c: String,
}

impl Digests {
    /// As the stores want them.
    ///
    /// # Errors
    /// A checksum that is none.
    pub(crate) fn for_store(&self) -> Result<crate::store::Digests, String> {
        fn read<const N: usize>(text: &str) -> Result<[u8; N], String> {
            let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
            bytes.try_into().map_err(|_| format!("{text:?} is not a checksum"))
        }
        Ok(crate::store::Digests {
            bytes: self.bytes,
            sha256: *self.sha256.as_bytes(),
            crc64nvme: u64::from_be_bytes(read(&self.crc64nvme)?),
            crc32c: u32::from_be_bytes(read(&self.crc32c)?),
        })
    }
}

/// Computes [`Digests`].
#[derive(Debug)]
pub(crate) struct Digester {
    bytes: u64,
    sha256: Sha256,
    crc64nvme: Crc,
    crc32c: Crc,
}

impl Default for Digester {
    fn default() -> Self {
        Self {
            bytes: 0,
            sha256: Sha256::new(),
            crc64nvme: Crc::new(CrcAlgorithm::Crc64Nvme),
            crc32c: Crc::new(CrcAlgorithm::Crc32Iscsi),
        }
    }
}

impl Digester {
    /// Takes more bytes in.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        self.crc64nvme.update(bytes);
        self.crc32c.update(bytes);
    }

    /// Of all bytes taken in.
    #[must_use]
    pub(crate) fn finish(self) -> Digests {
        Digests {
            bytes: self.bytes,
            sha256: Hash::from_bytes(self.sha256.finalize().into()),
            crc64nvme: STANDARD.encode(self.crc64nvme.finalize().to_be_bytes()),
            crc32c: STANDARD.encode((self.crc32c.finalize() as u32).to_be_bytes()),
        }
    }
}

/// Writes to a new file from its beginning on, and computes what was written.
#[derive(Debug)]
pub(crate) struct FileSink<'a> {
    file: &'a dyn FsFile,
    at: u64,
    digester: Digester,
}

impl<'a> FileSink<'a> {
    pub(crate) fn new(file: &'a dyn FsFile) -> Self {
        Self { file, at: 0, digester: Digester::default() }
    }

    /// Of all that was written.
    pub(crate) fn digests(self) -> Digests {
        self.digester.finish()
    }
}

impl io::Write for FileSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.digester.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_the_standard_ones() {
        let mut digester = Digester::default();
        digester.update(b"1234");
        digester.update(b"56789");
        let digests = digester.finish();
        assert_eq!(digests.bytes, 9);
        // The check values of the CRC catalogue, and SHA-256 of the same text.
        assert_eq!(STANDARD.decode(&digests.crc64nvme).expect("base64"), {
            0xae8b_1486_0a79_9888_u64.to_be_bytes()
        });
        assert_eq!(STANDARD.decode(&digests.crc32c).expect("base64"), {
            0xe306_9283_u32.to_be_bytes()
        });
        assert_eq!(
            digests.sha256.to_string(),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
    }
}
