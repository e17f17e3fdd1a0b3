//! A column's values, one row after the other.

use parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use std::sync::Arc;

use super::ParquetError;
use super::source::Source;

/// Numbers are read so many at once. Texts are not: each keeps the page in memory that it is
/// from, and a row may be a page.
const NUMBERS: usize = 256;

/// A column of a row group.
pub(super) enum Cells {
    Numbers(Run<Int64Type>),
    Texts(Run<ByteArrayType>),
}

/// A value, as far as there is one.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Nothing,
    Number(i64),
    Text(ByteArray),
}

impl Cells {
    /// `chunk` and its pages have been looked at.
    pub(super) fn open(
        source: &Arc<Source>,
        chunk: &ColumnChunkMetaData,
        rows: usize,
        is_number: bool,
    ) -> Result<Self, ParquetError> {
        let pages = SerializedPageReader::new(source.clone(), chunk, rows, None)?;
        let reader = get_column_reader(chunk.column_descr_ptr(), Box::new(pages));
        Ok(match is_number {
            true => Self::Numbers(Run::new(get_typed_column_reader(reader), NUMBERS)),
            false => Self::Texts(Run::new(get_typed_column_reader(reader), 1)),
        })
    }

    pub(super) fn next(&mut self) -> Result<Cell, ParquetError> {
        Ok(match self {
            Self::Numbers(run) => run.next()?.map_or(Cell::Nothing, Cell::Number),
            Self::Texts(run) => run.next()?.map_or(Cell::Nothing, Cell::Text),
        })
    }
}

impl Cell {
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(bytes) => Some(bytes.data()),
            _ => None,
        }
    }
}

/// Rows that were read and not yet handed out.
pub(super) struct Run<T: DataType> {
    reader: ColumnReaderImpl<T>,
    at_once: usize,
    values: Vec<T::T>,
    levels: Vec<i16>,
    /// How many rows there are, how many of them and of their values were handed out.
    rows: usize,
    row: usize,
    value: usize,
}

impl<T: DataType> Run<T> {
    fn new(reader: ColumnReaderImpl<T>, at_once: usize) -> Self {
        let (values, levels) = (Vec::new(), Vec::new());
        Self { reader, at_once, values, levels, rows: 0, row: 0, value: 0 }
    }

    fn next(&mut self) -> Result<Option<T::T>, ParquetError> {
        if self.row == self.rows {
            self.values.clear();
            self.levels.clear();
            let Self { reader, values, levels, at_once, .. } = self;
            let (rows, ..) = reader.read_records(*at_once, Some(levels), None, values)?;
            if rows == 0 {
                return Err(ParquetError::new("a column ends before its row group does"));
            }
            (self.rows, self.row, self.value) = (rows, 0, 0);
        }
        // Where every row has a value, there are no levels.
        let is_there = self.levels.get(self.row).is_none_or(|level| *level > 0);
        self.row += 1;
        if !is_there {
            return Ok(None);
        }
        let value = self.values.get(self.value).cloned();
        self.value += 1;
        value.map(Some).ok_or_else(|| ParquetError::new("a column has fewer values than it says"))
    }
}
