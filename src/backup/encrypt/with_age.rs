//! Encrypting and decrypting with the age crate.

use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::stream::{StreamReader, StreamWriter};
use age::x25519;
use age::{Decryptor, Encryptor, Identity, IdentityFile, Recipient};

use super::super::digest::{Digests, FileSink};
use super::super::error::{ArchiveFault, BackupError, io_error};
use super::KeyFile;
use crate::audit::record::secret::Secret;
use crate::fsio::read_only::{ReadOnly, Readable};
use crate::fsio::{FileMeta, FsFile};

/// Private keys, read.
pub(in crate::backup) type Identities = Vec<Box<dyn Identity + Send + Sync>>;

/// Public keys, read.
pub(in crate::backup) struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// From `age1…` texts.
    ///
    /// # Errors
    /// [`BackupError::Usage`] with the first that is none.
    pub(in crate::backup) fn parse(texts: &[String]) -> Result<Self, BackupError> {
        let parse = |text: &String| {
            text.trim().parse::<x25519::Recipient>().map_err(|error| {
                // A private key must not be shown, wherever it was put by mistake.
                let shown = if text.starts_with("age1") { text.as_str() } else { "it" };
                BackupError::Usage(format!(
                    "{shown} is not an age public key (age1…, as `age-keygen -y` prints it): \
                     {error}"
                ))
            })
        };
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// What is written to it goes into a file, encrypted: the plain text is on no disk.
pub(in crate::backup) struct Sealing<'a> {
    writer: StreamWriter<FileSink<'a>>,
    throwaway: x25519::Identity,
}

impl<'a> Sealing<'a> {
    /// Begins a new file.
    ///
    /// # Errors
    /// A file operation's.
    pub(in crate::backup) fn begin(
        file: &'a dyn FsFile,
        path: &Path,
        recipients: &Recipients,
    ) -> Result<Self, BackupError> {
        let throwaway = x25519::Identity::generate();
        let proof = throwaway.to_public();
        let all = recipients.0.iter().chain([&proof]).map(|key| key as &dyn Recipient);
        let failed = |error: age::EncryptError| io_error("encrypt", path)(io::Error::other(error));
        let encryptor = Encryptor::with_recipients(all).map_err(failed)?;
        let writer = encryptor.wrap_output(FileSink::new(file)).map_err(io_error("write", path))?;
        Ok(Self { writer, throwaway })
    }

    /// Ends it: its digests as it is stored, and the key that opens it this once.
    ///
    /// # Errors
    /// A file operation's.
    pub(in crate::backup) fn finish(self) -> io::Result<(Digests, Identities)> {
        let digests = self.writer.finish()?.digests();
        Ok((digests, vec![Box::new(self.throwaway)]))
    }
}

impl Write for Sealing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Private keys, for restoring.
///
/// # Errors
/// A file that holds none. Never says what is in it.
pub(in crate::backup) fn identities(files: &[KeyFile]) -> Result<Identities, BackupError> {
    let mut all = Vec::new();
    for KeyFile { path, text } in files {
        let none = || {
            let what = "holds no age identity (AGE-SECRET-KEY-1…, as `age-keygen` makes it)";
            BackupError::Usage(format!("{} {what}", path.display()))
        };
        let file = IdentityFile::from_buffer(&text.0[..]).map_err(|_| none())?;
        all.extend(file.into_identities().map_err(|_| none())?);
    }
    Ok(all)
}

/// An encrypted file as a file of what is in it, which is decrypted in memory, piece by
/// piece, as it is read: on no disk is anything of it.
///
/// # Errors
/// No identity fits; the file was altered or cut at its end. What was altered within it
/// fails when it is read.
pub(in crate::backup) fn open_sealed(
    file: Box<dyn FsFile>,
    path: &Path,
    identities: &Identities,
) -> Result<Box<dyn FsFile>, BackupError> {
    let fault = |what: String| BackupError::Archive {
        path: path.to_path_buf(),
        what: ArchiveFault::Foreign(what),
    };
    let meta = file.meta().map_err(io_error("look at", path))?;
    let stored = Stored { len: meta.len, file, at: 0 };
    let decryptor = Decryptor::new_buffered(BufReader::new(stored))
        .map_err(|error| fault(error.to_string()))?;
    let keys = identities.iter().map(|identity| &**identity as &dyn Identity);
    let mut reader = decryptor.decrypt(keys).map_err(|error| fault(error.to_string()))?;
    // That proves the last piece, and so that none was cut off.
    let cut = |error| fault(format!("it was altered or cut: {error}"));
    let len = reader.seek(SeekFrom::End(0)).map_err(cut)?;
    reader.seek(SeekFrom::Start(0)).map_err(cut)?;
    let meta = FileMeta { len, ..meta };
    Ok(Box::new(ReadOnly(Sealed { open: Mutex::new((reader, 0)), meta })))
}

/// Encrypts a short text, in age's form for mails and paper, and opens it once more
/// before it is handed out.
///
/// # Errors
/// What age says; what was opened is not what was encrypted.
pub(in crate::backup) fn seal(text: &[u8], recipients: &Recipients) -> Result<String, BackupError> {
    let failed = |what: &dyn std::fmt::Display| BackupError::Refused(format!("age: {what}"));
    let throwaway = x25519::Identity::generate();
    let proof = throwaway.to_public();
    let all = recipients.0.iter().chain([&proof]).map(|key| key as &dyn Recipient);
    let encryptor = Encryptor::with_recipients(all).map_err(|error| failed(&error))?;
    let write = || -> io::Result<Vec<u8>> {
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armor)?;
        writer.write_all(text)?;
        writer.finish()?.finish()
    };
    let sealed = write().map_err(|error| failed(&error))?;
    let back = unsealed(&sealed, &[Box::new(throwaway)]).map_err(|error| failed(&error))?;
    if back.0 != text {
        return Err(failed(&"the encrypted data cannot be decrypted again"));
    }
    String::from_utf8(sealed).map_err(|error| failed(&error))
}

/// Opens what [`seal`] made, or any age file that is short.
///
/// # Errors
/// In words; never what is in it.
pub(in crate::backup) fn unseal(
    sealed: &[u8],
    identities: &Identities,
) -> Result<Secret<Vec<u8>>, String> {
    unsealed(sealed, identities)
}

/// Far more than a key has.
const MAX_SEALED_TEXT: u64 = 64 * 1024;

fn unsealed(
    sealed: &[u8],
    identities: &[Box<dyn Identity + Send + Sync>],
) -> Result<Secret<Vec<u8>>, String> {
    let decryptor = Decryptor::new_buffered(BufReader::new(ArmoredReader::new(sealed)))
        .map_err(|error| error.to_string())?;
    let keys = identities.iter().map(|identity| &**identity as &dyn Identity);
    let reader = decryptor.decrypt(keys).map_err(|error| error.to_string())?;
    // All the room at once: growing would leave copies behind.
    let mut text = Secret(Vec::with_capacity(MAX_SEALED_TEXT as usize + 1));
    let read = reader.take(MAX_SEALED_TEXT + 1).read_to_end(&mut text.0);
    read.map_err(|error| format!("it was altered or cut: {error}"))?;
    match text.0.len() as u64 {
        ..=MAX_SEALED_TEXT => Ok(text),
        _ => Err(format!("it holds more than {MAX_SEALED_TEXT} bytes, and no key")),
    }
}

/// See [`open_sealed`]: the reader, and where it is.
struct Sealed {
    open: Mutex<(StreamReader<BufReader<Stored>>, u64)>,
    meta: FileMeta,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Readable for Sealed {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.meta.len {
            return Ok(0);
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, at) = &mut *open;
        if *at != offset {
            *at = reader.seek(SeekFrom::Start(offset))?;
        }
        let read = reader.read(bytes)?;
        *at += read as u64;
        Ok(read)
    }

    fn meta(&self) -> io::Result<FileMeta> {
        Ok(self.meta)
    }
}

/// The file as it is stored, to be read and gone about in.
struct Stored {
    file: Box<dyn FsFile>,
    len: u64,
    at: u64,
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Stored {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.len, by),
            SeekFrom::Current(by) => (self.at, by),
        };
        let at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        self.at = at;
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::{Fs, OpenMode, OsFs};

    #[test]
    fn what_is_sealed_is_read_from_any_place_and_every_change_is_found() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("sealed");
        let plain: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        // Whole pieces too: there the end is a case of its own.
        for length in [0, 1, 65_535, 65_536, 131_072, 131_073, plain.len()] {
            let _ = std::fs::remove_file(&path);
            let file = OsFs.open(&path, OpenMode::CreateNew).expect("made");
            let none = Recipients::parse(&[]).expect("none");
            let mut sealing = Sealing::begin(&*file, &path, &none).expect("begun");
            sealing.write_all(&plain[..length]).expect("written");
            let (digests, key) = sealing.finish().expect("finished");
            let stored = std::fs::read(&path).expect("read");
            assert_eq!(digests.bytes, stored.len() as u64);
            let open = || OsFs.open(&path, OpenMode::Read).expect("opened");
            let sealed = open_sealed(open(), &path, &key).expect("opened");
            assert_eq!(sealed.meta().expect("meta").len, length as u64);
            let mut bytes = vec![0; length];
            sealed.read_exact_at(&mut bytes, 0).expect("read");
            assert!(bytes == plain[..length]);
            for at in [length / 2, 0, length.saturating_sub(1), length / 3] {
                let rest = &plain[at.min(length)..length];
                let mut bytes = vec![0; rest.len().min(70_000)];
                sealed.read_exact_at(&mut bytes, at as u64).expect("read");
                assert!(bytes == rest[..bytes.len()], "{length} from {at}");
            }
            assert_eq!(sealed.read_at(&mut [0; 9], length as u64).expect("the end"), 0);
            // One byte less, and one that is another.
            std::fs::write(&path, &stored[..stored.len() - 1]).expect("written");
            assert!(open_sealed(open(), &path, &key).is_err(), "cut at {length}");
            let mut other = stored.clone();
            let at = stored.len() - 20;
            other[at] ^= 1;
            std::fs::write(&path, &other).expect("written");
            // At its end it is found at once, elsewhere when it is read.
            let found = open_sealed(open(), &path, &key);
            let read = found.map(|sealed| sealed.read_exact_at(&mut vec![0; length], 0));
            assert!(!matches!(read, Ok(Ok(()))), "altered at {length}");
        }
    }
}
