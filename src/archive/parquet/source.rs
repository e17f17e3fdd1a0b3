//! Where a file's bytes come from: memory, or a file of the spool.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError as Error, Result};
use parquet::file::reader::{ChunkReader, Length};

use crate::fsio::FsFile;

/// A file's bytes.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Memory(Bytes),
    File(Arc<dyn FsFile>, u64),
}

impl Source {
    pub(super) fn file(file: Arc<dyn FsFile>) -> io::Result<Self> {
        let length = file.meta()?.len;
        Ok(Self::File(file, length))
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

impl ChunkReader for Source {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let left = self.len().checked_sub(start).ok_or_else(|| past(start))?;
        Ok(match self {
            Self::Memory(bytes) => Box::new(bytes.slice(start as usize..).reader()),
            Self::File(file, _) => {
                let reading = FileReader { file: file.clone(), at: start, left };
                // Page headers are read byte by byte.
                Box::new(io::BufReader::with_capacity(512, reading))
            }
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.len());
        let end = end.ok_or_else(|| past(start.saturating_add(length as u64)))?;
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(start as usize..end as usize)),
            Self::File(file, _) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
        }
    }
}

fn past(at: u64) -> Error {
    Error::EOF(format!("it says that something is at byte {at}, behind its end"))
}

struct FileReader {
    file: Arc<dyn FsFile>,
    at: u64,
    left: u64,
}

impl Read for FileReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
