//! Encrypting and decrypting with the age crate.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::x25519;
use age::{Decryptor, Encryptor, Identity, IdentityFile, Recipient};

use super::super::digest::{Digester, Digests};
use super::super::error::{ArchiveFault, BackupError, io_error};
use super::KeyFile;
use crate::audit::secret::Secret;
use crate::audit::watch::Watch;
use crate::fsio::{FileReader, Fs, FsFile, OpenMode};

const BUFFER: usize = 256 * 1024;

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
                    "{shown} is no age public key (age1…, as `age-keygen -y` prints it): {error}"
                ))
            })
        };
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Encrypts a file into a new one, durably, and reads that back from the disk.
///
/// # Errors
/// A file operation's; what was read back is not what was encrypted.
pub(in crate::backup) fn encrypt(
    fs: &dyn Fs,
    plain: &Path,
    expected: &Digests,
    out: &Path,
    recipients: &Recipients,
    watch: &dyn Watch,
) -> Result<Digests, BackupError> {
    let throwaway = x25519::Identity::generate();
    let proof = throwaway.to_public();
    let all = recipients.0.iter().chain([&proof]).map(|key| key as &dyn Recipient);
    let failed = |error: age::EncryptError| io_error("encrypt", plain)(io::Error::other(error));
    let encryptor = Encryptor::with_recipients(all).map_err(failed)?;
    let source = fs.open(plain, OpenMode::ReadOwn).map_err(io_error("open", plain))?;
    let file = fs.open(out, OpenMode::CreateNew).map_err(io_error("make", out))?;
    let sink = Sink { file: &*file, at: 0, digester: Digester::default() };
    let mut writer = encryptor.wrap_output(sink).map_err(io_error("write", out))?;
    let reader = FileReader { file: &*source, offset: 0 };
    pour(reader, &mut writer, watch, plain, out)?;
    let written = writer.finish().map_err(io_error("write", out))?.digester.finish();
    file.sync_data().map_err(io_error("sync", out))?;
    file.drop_cache().map_err(io_error("drop from the cache", out))?;
    let mut back = Digester::default();
    let found = open(&*file, out, &[Box::new(throwaway)], watch, &mut |bytes| {
        back.update(bytes);
        Ok(())
    })?;
    let back = back.finish();
    if found == written && back == *expected {
        return Ok(written);
    }
    let what = ArchiveFault::Checksum {
        expected: expected.sha256.to_string(),
        found: back.sha256.to_string(),
    };
    Err(BackupError::Archive { path: out.to_path_buf(), what })
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

/// Decrypts a file into a new one; the digests of what was encrypted.
///
/// # Errors
/// No identity fits; the file was altered or cut; a file operation's.
pub(in crate::backup) fn decrypt(
    fs: &dyn Fs,
    path: &Path,
    out: &Path,
    identities: &Identities,
    watch: &dyn Watch,
) -> Result<Digests, BackupError> {
    let source = fs.open(path, OpenMode::Read).map_err(io_error("open", path))?;
    let file = fs.open(out, OpenMode::CreateNew).map_err(io_error("make", out))?;
    let mut at = 0;
    open(&*source, path, identities, watch, &mut |bytes| {
        file.write_all_at(bytes, at).map_err(io_error("write", out))?;
        at += bytes.len() as u64;
        Ok(())
    })
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
        return Err(failed(&"what was encrypted does not open again"));
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

type Take<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), BackupError>;

fn open(
    file: &dyn FsFile,
    path: &Path,
    identities: &[Box<dyn Identity + Send + Sync>],
    watch: &dyn Watch,
    take: Take<'_>,
) -> Result<Digests, BackupError> {
    let fault = |what: String| BackupError::Archive {
        path: path.to_path_buf(),
        what: ArchiveFault::Foreign(what),
    };
    let mut counted =
        Counted { inner: FileReader { file, offset: 0 }, digester: Digester::default() };
    let decryptor = Decryptor::new_buffered(BufReader::with_capacity(BUFFER, &mut counted))
        .map_err(|error| fault(error.to_string()))?;
    let keys = identities.iter().map(|identity| &**identity as &dyn Identity);
    let mut reader = decryptor.decrypt(keys).map_err(|error| fault(error.to_string()))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        if watch.interrupted() {
            return Err(BackupError::Interrupted);
        }
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                take(&buffer[..read])?;
                watch.advance(read as u64);
            }
            Err(error) => return Err(fault(format!("it was altered or cut: {error}"))),
        }
    }
    drop(reader);
    Ok(counted.digester.finish())
}

fn pour(
    mut from: impl Read,
    to: &mut impl Write,
    watch: &dyn Watch,
    source: &Path,
    target: &Path,
) -> Result<(), BackupError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        if watch.interrupted() {
            return Err(BackupError::Interrupted);
        }
        match from.read(&mut buffer).map_err(io_error("read", source))? {
            0 => return Ok(()),
            read => {
                to.write_all(&buffer[..read]).map_err(io_error("write", target))?;
                watch.advance(read as u64);
            }
        }
    }
}

struct Sink<'a> {
    file: &'a dyn FsFile,
    at: u64,
    digester: Digester,
}

impl Write for Sink<'_> {
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

struct Counted<R> {
    inner: R,
    digester: Digester,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digester.update(&buffer[..read]);
        Ok(read)
    }
}
