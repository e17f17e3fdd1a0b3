//! SHA-256 of whole files.

use std::io;

use sha2::{Digest, Sha256};

use crate::audit::tree::merkle::Hash;
use crate::fsio::FsFile;

/// How much is read at a time.
const PIECE: usize = 256 * 1024;

/// The file's SHA-256, from its beginning to its end.
pub(crate) fn digest(file: &dyn FsFile) -> io::Result<Hash> {
    let whole = digest_while(file, |_| true)?;
    Ok(whole.expect("nobody stops it"))
}

/// The same, for who looks on: after each piece `go_on` is told how many bytes have been read
/// until then. None once it says no.
pub(crate) fn digest_while(
    file: &dyn FsFile,
    mut go_on: impl FnMut(u64) -> bool,
) -> io::Result<Option<Hash>> {
    let (mut hasher, mut piece, mut at) = (Sha256::new(), vec![0; PIECE], 0);
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) => return Ok(Some(Hash::from_bytes(hasher.finalize().into()))),
            Ok(read) => {
                hasher.update(&piece[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !go_on(at) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::{Fs, OpenMode, OsFs};

    fn file(content: &[u8]) -> (tempfile::TempDir, Box<dyn FsFile>) {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("file");
        std::fs::write(&path, content).expect("written");
        let file = OsFs.open(&path, OpenMode::ReadOwn).expect("opened");
        (place, file)
    }

    #[test]
    fn a_file_of_several_pieces_has_the_digest_of_its_bytes() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let content: Vec<u8> = (0..length).map(|nth| (nth % 251) as u8).collect();
            let (_place, file) = file(&content);
            let wanted = Hash::from_bytes(Sha256::digest(&content).into());
            assert_eq!(digest(&*file).expect("read"), wanted, "{length} bytes");
        }
    }

    #[test]
    fn who_looks_on_is_told_how_far_it_is_and_can_stop_it() {
        let (_place, file) = file(&vec![7; 3 * PIECE]);
        let mut told = Vec::new();
        let found = digest_while(&*file, |at| {
            told.push(at);
            told.len() < 2
        });
        assert_eq!(found.expect("read"), None);
        assert_eq!(told, [PIECE as u64, 2 * PIECE as u64]);
    }
}
