//! Lines become a Parquet file: the same lines and the same version, the same bytes.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use super::ParquetError;
use super::columns::Columns;
use super::schema::{self, Column, ROW_GROUP_BYTES, ROW_GROUP_ROWS};
use crate::archive::layout::Place;

/// What a file says that it was made by.
pub const MADE_BY: &str = concat!("auditctl version ", env!("CARGO_PKG_VERSION"));
/// So many bytes are handed over at once; a page ends between two such.
const SLICE_BYTES: usize = 128 << 10;

/// Makes a Parquet file. What is kept in memory is one row group.
pub struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    place: Place,
    group: Group,
    scratch: Vec<u8>,
}

/// The rows of a row group, by column.
#[derive(Default)]
struct Group {
    rows: usize,
    bytes: usize,
    seq: Vec<i64>,
    timestamp: Cells<i64>,
    texts: [Cells<ByteArray>; Column::TEXTS.len()],
    details: Cells<ByteArray>,
    origin: Cells<ByteArray>,
    recorded_at: Cells<i64>,
    extra: Cells<ByteArray>,
}

/// What there is of a column, and for each row whether there is something.
struct Cells<T> {
    values: Vec<T>,
    levels: Vec<i16>,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

impl<T> Cells<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

impl<W: Write + Send> Writer<W> {
    /// Of the records of a place, which are added next.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(out: W, place: Place) -> Result<Self, ParquetError> {
        let properties = Arc::new(schema::properties(&place, MADE_BY)?);
        let file = SerializedFileWriter::new(out, schema::root()?, properties)?;
        Ok(Self { file, place, group: Group::default(), scratch: Vec::new() })
    }

    /// Adds lines, each with its LF.
    ///
    /// # Errors
    /// A line is no record's, or the file cannot be written.
    pub fn add(&mut self, lines: impl Into<Bytes>) -> Result<(), ParquetError> {
        let lines = lines.into();
        let mut at = 0;
        while at < lines.len() {
            let length = memchr::memchr(b'\n', &lines[at..]).unwrap_or(lines.len() - at);
            let line = lines.slice(at..at + length);
            at += length + 1;
            let wrong = || ParquetError::new("a line that does not begin with a record's seq");
            let columns = Columns::of(&line, &mut self.scratch).ok_or_else(wrong)?;
            self.group.push(&line, columns)?;
            if self.group.rows >= ROW_GROUP_ROWS || self.group.bytes >= ROW_GROUP_BYTES {
                self.write_group()?;
            }
        }
        Ok(())
    }

    /// Ends the file. A place whose records are all lost has a file without rows.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<W, ParquetError> {
        self.write_group()?;
        Ok(self.file.into_inner()?)
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let group = std::mem::take(&mut self.group);
        if group.rows == 0 {
            return Ok(());
        }
        let mut out = self.file.next_row_group()?;
        let all = |text: &str| vec![ByteArray::from(text); group.rows];
        let Place { host, log, .. } = &self.place;
        next::<ByteArrayType>(&mut out, &all(log.id()), None)?;
        next::<ByteArrayType>(&mut out, &all(host.as_str()), None)?;
        next::<Int64Type>(&mut out, &vec![i64::from(log.epoch()); group.rows], None)?;
        next::<Int64Type>(&mut out, &group.seq, None)?;
        optional::<Int64Type>(&mut out, &group.timestamp)?;
        for text in &group.texts {
            optional::<ByteArrayType>(&mut out, text)?;
        }
        optional::<ByteArrayType>(&mut out, &group.details)?;
        optional::<ByteArrayType>(&mut out, &group.origin)?;
        optional::<Int64Type>(&mut out, &group.recorded_at)?;
        optional::<ByteArrayType>(&mut out, &group.extra)?;
        out.close()?;
        Ok(())
    }
}

impl Group {
    fn push(&mut self, line: &Bytes, columns: Columns<'_>) -> Result<(), ParquetError> {
        let seq = i64::try_from(columns.seq);
        self.seq.push(seq.map_err(|_| ParquetError::new("a seq that no log reaches"))?);
        // Not copied: the lines stay in memory until the row group is written.
        let part = |text: &str| ByteArray::from(line.slice_ref(text.as_bytes()));
        self.timestamp.push(columns.timestamp);
        for (cells, text) in self.texts.iter_mut().zip(columns.texts) {
            cells.push(text.map(|text| match text {
                Cow::Borrowed(text) => part(text),
                Cow::Owned(text) => ByteArray::from(text.into_bytes()),
            }));
        }
        self.details.push(columns.details.map(part));
        self.origin.push(columns.origin.map(part));
        self.recorded_at.push(columns.recorded_at);
        self.extra.push(columns.extra.map(|_| ByteArray::from(line.clone())));
        self.rows += 1;
        self.bytes += line.len();
        Ok(())
    }
}

/// What a value takes.
trait Width {
    fn bytes(&self) -> usize;
}

impl Width for i64 {
    fn bytes(&self) -> usize {
        8
    }
}

impl Width for ByteArray {
    fn bytes(&self) -> usize {
        self.len() + 4
    }
}

fn optional<T: DataType>(
    out: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    cells: &Cells<T::T>,
) -> Result<(), ParquetError>
where
    T::T: Width,
{
    next::<T>(out, &cells.values, Some(&cells.levels))
}

/// Writes the next column, in slices after which a page may end.
fn next<T: DataType>(
    out: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    mut values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError>
where
    T::T: Width,
{
    let Some(mut column) = out.next_column()? else {
        return Err(ParquetError::new("there is no such column"));
    };
    let writer = column.typed::<T>();
    let mut left = levels;
    while left.map_or(values.len(), <[i16]>::len) > 0 {
        let (mut rows, mut taken, mut bytes) = (0, 0, 0);
        while bytes < SLICE_BYTES {
            let is_there = match left {
                None if rows == values.len() => break,
                None => true,
                Some(levels) => match levels.get(rows) {
                    None => break,
                    Some(level) => *level > 0,
                },
            };
            if is_there {
                bytes += values.get(taken).map_or(0, Width::bytes);
                taken += 1;
            }
            rows += 1;
        }
        let (now, later) = values.split_at(taken);
        let levels = left.map(|left| left.split_at(rows));
        writer.write_batch(now, levels.map(|(now, _)| now), None)?;
        values = later;
        left = levels.map(|(_, later)| later);
    }
    column.close()?;
    Ok(())
}
