//! A data object's records once more as a Parquet file, for engines.
//!
//! Nobody signs such a file. It is bound to the log by re-derivation: from its columns alone
//! every stored line is made again, byte for byte, and the lines give the tree that the log
//! signed. [`Lines`] does that, for bytes that may be anybody's, and also finds what an engine
//! would be misled by although the lines are right: columns that say something else than the line
//! beside them, and statistics, filters and indexes that would make an engine skip records.
//!
//! docs/archive.md has the schema.

mod cells;
mod claims;
mod columns;
mod pages;
mod read;
mod schema;
mod source;
mod write;

pub use read::{Lines, check};
pub use write::{MADE_BY, Writer};

/// Why a Parquet file is not what it should be, or could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParquetError(String);

impl ParquetError {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<parquet::errors::ParquetError> for ParquetError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        // What it quotes of the file may be of any length.
        Self(error.to_string().chars().take(300).collect())
    }
}
