//! A Parquet file becomes lines again.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
    RowGroupMetaData,
};
use parquet::file::reader::{ChunkReader, Length};

use super::ParquetError;
use super::cells::{Cell, Cells};
use super::claims::Claims;
use super::columns::Columns;
use super::pages::{MAX_PAGE_BYTES, look, schema_elements};
use super::schema::{self, Column, Kind, ROW_GROUP_ROWS};
use super::source::Source;
use crate::archive::documents::RangeProof;
use crate::archive::layout::Place;
use crate::archive::members::pass_holes;
use crate::audit::tree::merkle::{Range, leaf_hash};
use crate::fsio::FsFile;

/// The most that the description at a file's end may have: a file as large as one can be has
/// less than a fourth.
const MAX_FOOTER_BYTES: u64 = 4 << 20;
/// The most that all its indexes may have.
const MAX_INDEX_BYTES: u64 = 16 << 20;
/// The most row groups: a file as large as one can be has fewer than two hundred.
const MAX_ROW_GROUPS: usize = 1024;
const MAGIC: &[u8] = b"PAR1";

/// The lines of a Parquet file, in order. The file may be anybody's: what is kept in memory is
/// bounded, whatever it says of itself, and everything in it that an engine goes by is checked
/// against the lines.
pub struct Lines {
    source: Arc<Source>,
    place: Place,
    about: ParquetMetaData,
    next_group: usize,
    group: Option<Group>,
    /// Whether something was wrong: nothing is read any more.
    is_over: bool,
    /// The record that is expected next, or a later one.
    next_seq: u64,
    line: Vec<u8>,
    scratch: Vec<u8>,
}

/// A row group at work.
struct Group {
    rows_left: usize,
    cells: Vec<(Cells, Claims)>,
}

impl Lines {
    /// Of a file that is in memory. `place` is what its name says.
    ///
    /// # Errors
    /// It is no such file, or not of that place.
    pub fn of(bytes: impl Into<Bytes>, place: &Place) -> Result<Self, ParquetError> {
        Self::from(Source::Memory(bytes.into()), place)
    }

    /// Of a file on a disk. `place` is what the object's name says.
    ///
    /// # Errors
    /// As [`Self::of`], or it cannot be read.
    pub fn open(file: Arc<dyn FsFile>, place: &Place) -> Result<Self, ParquetError> {
        let source = Source::file(file).map_err(|error| ParquetError::new(error.to_string()))?;
        Self::from(source, place)
    }

    fn from(source: Source, place: &Place) -> Result<Self, ParquetError> {
        let about = guarded(|| describe(&source, place))?;
        Ok(Self {
            source: Arc::new(source),
            place: place.clone(),
            about,
            next_group: 0,
            group: None,
            is_over: false,
            next_seq: place.span.first,
            line: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// The next record's seq and its line, without LF; `None` after the last one. Records that
    /// the log had lost when it was shipped have no rows.
    ///
    /// # Errors
    /// The first thing that is wrong with the file. What was handed out before is no better for
    /// it: only a whole file that gives the signed tree is proven, see [`check`].
    pub fn next_line(&mut self) -> Result<Option<(u64, &[u8])>, ParquetError> {
        if std::mem::replace(&mut self.is_over, true) {
            return Err(ParquetError::new("it was found to be wrong before, or it is at its end"));
        }
        let Some(seq) = guarded(|| self.next_row())? else { return Ok(None) };
        self.is_over = false;
        Ok(Some((seq, &self.line)))
    }

    fn next_row(&mut self) -> Result<Option<u64>, ParquetError> {
        while self.group.as_ref().is_none_or(|group| group.rows_left == 0) {
            if let Some(group) = self.group.take() {
                group.cells.iter().try_for_each(|(_, claims)| claims.end())?;
            }
            if self.next_group == self.about.num_row_groups() {
                return Ok(None);
            }
            self.open_group()?;
        }
        self.row().map(Some)
    }

    fn open_group(&mut self) -> Result<(), ParquetError> {
        let group = self.about.row_group(self.next_group);
        let indexes = self.about.page_index_for_row_group(self.next_group);
        let rows = rows_of(group)?;
        let mut cells = Vec::with_capacity(Column::ALL.len());
        for (at, column) in Column::ALL.into_iter().enumerate() {
            let chunk = group.column(at);
            let pages = look(&self.source, column, chunk, rows as u64)?;
            let index = (indexes.column_index(at), indexes.offset_index(at));
            let claims = Claims::read(&self.source, column, chunk, &pages, index, rows)?;
            let is_number = matches!(column.kind(), Kind::Number | Kind::Time);
            cells.push((Cells::open(&self.source, chunk, rows, is_number)?, claims));
        }
        self.group = Some(Group { rows_left: rows, cells });
        self.next_group += 1;
        Ok(())
    }

    /// Makes the next row's line.
    fn row(&mut self) -> Result<u64, ParquetError> {
        let Some(group) = &mut self.group else {
            return Err(ParquetError::new("there is no row group"));
        };
        group.rows_left -= 1;
        let mut row: [Cell; Column::ALL.len()] = [const { Cell::Nothing }; Column::ALL.len()];
        for (cell, (cells, claims)) in row.iter_mut().zip(&mut group.cells) {
            *cell = cells.next()?;
            claims.see(cell)?;
        }
        let cell = |column: Column| &row[column as usize];
        let size: usize = row.iter().filter_map(Cell::bytes).map(<[u8]>::len).sum();
        let seq = cell(Column::Seq).number().and_then(|seq| u64::try_from(seq).ok());
        let seq = seq.ok_or_else(|| ParquetError::new("a row without a seq"))?;
        let wrong = |what: &str| ParquetError::new(format!("record {seq}: {what}"));
        if seq < self.next_seq || seq >= self.place.span.end {
            return Err(wrong("it is not in its place"));
        }
        if size as u64 > MAX_PAGE_BYTES {
            return Err(wrong("it is longer than a record can be"));
        }
        self.next_seq = seq + 1;
        let Place { host, log, .. } = &self.place;
        let is_here = cell(Column::Log).bytes() == Some(log.id().as_bytes())
            && cell(Column::Host).bytes() == Some(host.as_str().as_bytes())
            && cell(Column::Epoch).number() == Some(i64::from(log.epoch()));
        if !is_here {
            return Err(wrong("log, host or epoch are not those in the object's name"));
        }
        let columns = columns(seq, &row).ok_or_else(|| wrong("a text that is not UTF-8"))?;
        self.line.clear();
        columns.write_line(&mut self.line);
        // What the line says, as a parser reads it: nothing else may be in the columns.
        if Columns::of(&self.line, &mut self.scratch).as_ref() != Some(&columns) {
            return Err(wrong("its columns are not what its line says"));
        }
        Ok(seq)
    }
}

/// The library reads what may be anybody's bytes: if it panics, the file is wrong, and nothing
/// else is.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let wrong = |_| Err(ParquetError::new("it cannot be read: something in it makes no sense"));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(wrong)
}

/// The columns that a row has; `None` where a text is none.
fn columns(seq: u64, row: &[Cell; Column::ALL.len()]) -> Option<Columns<'_>> {
    let text = |column: Column| match row[column as usize].bytes() {
        None => Some(None),
        Some(bytes) => std::str::from_utf8(bytes).ok().map(Some),
    };
    let mut texts = [const { None }; Column::TEXTS.len()];
    for (to, column) in texts.iter_mut().zip(Column::TEXTS) {
        *to = text(column)?.map(Cow::Borrowed);
    }
    Some(Columns {
        seq,
        timestamp: row[Column::Timestamp as usize].number(),
        texts,
        details: text(Column::Details)?,
        origin: text(Column::Origin)?,
        recorded_at: row[Column::RecordedAt as usize].number(),
        extra: row[Column::Extra as usize].bytes(),
    })
}

/// Checks that a file holds exactly the records of a range, and nothing that misleads an engine.
///
/// # Errors
/// What is wrong with it.
pub fn check(lines: &mut Lines, proof: &RangeProof) -> Result<(), ParquetError> {
    let mut tree = Range::empty(proof.span().first);
    let mut holes = proof.holes.iter().peekable();
    while let Some((seq, line)) = lines.next_line()? {
        pass_holes(&mut tree, &mut holes, seq).map_err(ParquetError::new)?;
        if tree.end() != seq {
            return Err(ParquetError::new(format!("record {} is missing", tree.end())));
        }
        tree.append(leaf_hash(line));
    }
    pass_holes(&mut tree, &mut holes, u64::MAX).map_err(ParquetError::new)?;
    if tree == proof.tree {
        return Ok(());
    }
    Err(ParquetError::new("it does not hold the records that were proven to be there"))
}

/// Reads what a file says of itself, and checks what can be checked before its rows are read.
fn describe(source: &Source, place: &Place) -> Result<ParquetMetaData, ParquetError> {
    let wrong = |what: &str| ParquetError::new(what);
    let size = source.len();
    let tail = size.checked_sub(8).ok_or_else(|| wrong("it is no Parquet file"))?;
    let (head, tail) = (source.get_bytes(0, 4)?, source.get_bytes(tail, 8)?);
    let (length, magic) = tail.split_at(4);
    if &*head != MAGIC || magic != MAGIC {
        return Err(wrong("it is no Parquet file, or cut"));
    }
    let length = length.try_into().map(u32::from_le_bytes).unwrap_or(u32::MAX);
    if u64::from(length) > MAX_FOOTER_BYTES {
        return Err(wrong("its description is larger than one can be"));
    }
    let begin = size.checked_sub(8 + u64::from(length));
    let begin = begin.ok_or_else(|| wrong("its description is larger than it is"))?;
    let description = source.get_bytes(begin, length as usize)?;
    // The root, and a leaf for each column.
    if schema_elements(&description) != Some(Column::ALL.len() as u64 + 1) {
        return Err(wrong("it has not the schema that such files have"));
    }
    let options = || Some(ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false));
    let about =
        ParquetMetaDataReader::new().with_metadata_options(options()).parse_and_finish(source)?;
    let file = about.file_metadata();
    if *file.schema() != *schema::root()? {
        return Err(wrong("it has not the schema that such files have"));
    }
    let mut said: Vec<_> = file.key_value_metadata().into_iter().flatten().collect();
    said.sort_by_key(|said| said.key.clone());
    let mut expected = schema::about(place);
    expected.sort_unstable();
    let is_same = said.len() == expected.len()
        && said
            .iter()
            .zip(&expected)
            .all(|(said, (key, value))| said.key == *key && said.value.as_deref() == Some(value));
    if !is_same {
        return Err(wrong("what it says of itself is not what the object's name says"));
    }
    if about.num_row_groups() > MAX_ROW_GROUPS {
        return Err(wrong("it has more row groups than such a file can have"));
    }
    let mut rows = 0;
    let mut indexes = 0_u64;
    for group in about.row_groups() {
        rows += rows_of(group)? as i64;
        if group.num_columns() != Column::ALL.len() {
            return Err(wrong("a row group has not the columns that it should have"));
        }
        if group.sorting_columns() != Some(&vec![schema::sorted_by()]) {
            return Err(wrong("a row group does not say that it is sorted by seq"));
        }
        for chunk in group.columns() {
            let lengths = [chunk.column_index_length(), chunk.offset_index_length()];
            for length in lengths.into_iter().flatten() {
                indexes +=
                    u64::try_from(length).map_err(|_| wrong("an index of less than nothing"))?;
            }
        }
    }
    if rows != file.num_rows() {
        return Err(wrong("it has not as many rows as it says"));
    }
    if indexes > MAX_INDEX_BYTES {
        return Err(wrong("its indexes are larger than they can be"));
    }
    Ok(ParquetMetaDataReader::new()
        .with_metadata_options(options())
        .with_page_index_policy(PageIndexPolicy::Optional)
        .parse_and_finish(source)?)
}

fn rows_of(group: &RowGroupMetaData) -> Result<usize, ParquetError> {
    let rows = usize::try_from(group.num_rows()).ok();
    rows.filter(|rows| (1..=ROW_GROUP_ROWS).contains(rows))
        .ok_or_else(|| ParquetError::new("a row group with more rows than one can have, or none"))
}
