//! The pages of a column, looked at before the library unpacks any of them: it takes the sizes
//! and counts in a page's header at their word, and a few bytes could ask for gigabytes.

use parquet::basic::Compression;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::ParquetError;
use super::schema::{Column, Kind};
use super::source::Source;

/// The most that a page may hold, unpacked: the writer ends one long before.
pub(super) const MAX_PAGE_BYTES: u64 = 4 << 20;
/// The most that a page's header may have.
const MAX_HEADER_BYTES: u64 = 4 << 10;
/// How deep what is described may nest: what the writer writes is eight deep.
const MAX_DEPTH: u32 = 16;

const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;
const PLAIN: i64 = 0;
const DELTA_BINARY_PACKED: i64 = 5;
const RLE_DICTIONARY: i64 = 8;

/// What a column's pages are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) has_dictionary: bool,
    /// Of each page with values: where it begins, and how many rows are before it.
    pub(super) begin: Vec<(u64, u64)>,
    /// The pages with values, by how these are encoded: in full, as differences, by the
    /// dictionary.
    pub(super) plain: u64,
    pub(super) delta: u64,
    pub(super) by_dictionary: u64,
}

/// Looks through the pages of a column of a row group, none of which is unpacked.
pub(super) fn look(
    source: &Source,
    column: Column,
    chunk: &ColumnChunkMetaData,
    rows: u64,
) -> Result<Pages, ParquetError> {
    let wrong = |what: &str| ParquetError::new(format!("column {}: {what}", column.name()));
    let number = |value: i64| u64::try_from(value).map_err(|_| wrong("an offset below zero"));
    if !matches!(chunk.compression(), Compression::ZSTD(_)) {
        return Err(wrong("it is not compressed as such files are"));
    }
    if chunk.file_path().is_some() {
        return Err(wrong("it is in another file"));
    }
    let data = number(chunk.data_page_offset())?;
    let mut at = chunk.dictionary_page_offset().map_or(Ok(data), number)?;
    let end = at.checked_add(number(chunk.compressed_size())?);
    let end =
        end.filter(|end| *end <= source.len()).ok_or_else(|| wrong("it ends behind the file"))?;
    let (mut pages, mut seen) = (Pages::default(), 0_u64);
    while at < end {
        let begin = at;
        let most = (end - at).min(MAX_HEADER_BYTES);
        let bytes = source.get_bytes(at, usize::try_from(most).unwrap_or(0))?;
        let mut thrift = Thrift { bytes: &bytes, at: 0 };
        let header = Header::read(&mut thrift).ok_or_else(|| wrong("a page without a header"))?;
        at += thrift.at as u64;
        let (packed, unpacked) = (number(header.packed)?, number(header.unpacked)?);
        if packed > end - at || unpacked > MAX_PAGE_BYTES {
            return Err(wrong("a page that is larger than one can be"));
        }
        at += packed;
        let values = number(header.values)?;
        match (header.kind, header.encoding) {
            (DICTIONARY_PAGE, PLAIN) if begin < data && !pages.has_dictionary && seen == 0 => {
                let width = if matches!(column.kind(), Kind::Number | Kind::Time) { 8 } else { 4 };
                if values.saturating_mul(width) > unpacked {
                    return Err(wrong("a dictionary with more values than it has room for"));
                }
                pages.has_dictionary = true;
                continue;
            }
            (DATA_PAGE, PLAIN) => pages.plain += 1,
            (DATA_PAGE, DELTA_BINARY_PACKED) => pages.delta += 1,
            (DATA_PAGE, RLE_DICTIONARY) if pages.has_dictionary => pages.by_dictionary += 1,
            _ => return Err(wrong("a page of a kind that such files have not")),
        }
        if seen == 0 && begin != data {
            return Err(wrong("its first page is not where it is said to be"));
        }
        if values == 0 {
            return Err(wrong("a page without rows"));
        }
        pages.begin.push((begin, seen));
        seen = seen.saturating_add(values);
        if seen > rows {
            return Err(wrong("more rows than the row group has"));
        }
    }
    if seen != rows {
        return Err(wrong("fewer rows than the row group has"));
    }
    Ok(pages)
}

/// How many elements the schema in a file's description has: the library builds the tree of
/// them by recursion, however deep it is. `None` where it is no description.
pub(super) fn schema_elements(description: &[u8]) -> Option<u64> {
    let mut thrift = Thrift { bytes: description, at: 0 };
    let (mut elements, mut last) = (None, 0);
    while let Some((id, of)) = thrift.field(&mut last)? {
        if (id, of) == (2, LIST) {
            let head = *thrift.bytes.get(thrift.at)?;
            let mut ahead = Thrift { bytes: description, at: thrift.at + 1 };
            elements = Some(if head >> 4 == 15 { ahead.varint()? } else { u64::from(head >> 4) });
        }
        thrift.skip(of, MAX_DEPTH)?;
    }
    elements
}

/// What is needed of a page's header.
struct Header {
    kind: i64,
    unpacked: i64,
    packed: i64,
    values: i64,
    encoding: i64,
}

impl Header {
    fn read(thrift: &mut Thrift<'_>) -> Option<Self> {
        let (mut kind, mut unpacked, mut packed, mut inner) = (None, None, None, None);
        let mut last = 0;
        while let Some((id, of)) = thrift.field(&mut last)? {
            match (id, of) {
                (1, I32) => kind = Some(thrift.number()?),
                (2, I32) => unpacked = Some(thrift.number()?),
                (3, I32) => packed = Some(thrift.number()?),
                (5 | 7, STRUCT) if inner.is_none() => inner = Some((id, Self::inner(thrift)?)),
                // The header of another kind of page beside this one's.
                (5..=8, _) => return None,
                (_, of) => thrift.skip(of, MAX_DEPTH)?,
            }
        }
        let kind = kind?;
        let (id, (values, encoding)) = inner?;
        let fits = (kind, id) == (DATA_PAGE, 5) || (kind, id) == (DICTIONARY_PAGE, 7);
        fits.then_some(Self { kind, unpacked: unpacked?, packed: packed?, values, encoding })
    }

    /// How many values, and how they are encoded: the first two members of either header.
    fn inner(thrift: &mut Thrift<'_>) -> Option<(i64, i64)> {
        let (mut values, mut encoding, mut last) = (None, None, 0);
        while let Some((id, of)) = thrift.field(&mut last)? {
            match (id, of) {
                (1, I32) => values = Some(thrift.number()?),
                (2, I32) => encoding = Some(thrift.number()?),
                (_, of) => thrift.skip(of, MAX_DEPTH)?,
            }
        }
        Some((values?, encoding?))
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

/// Thrift's compact protocol, as far as a page's header needs it.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn number(&mut self) -> Option<i64> {
        let value = self.varint()?;
        i64::try_from(value >> 1).ok().map(|half| half ^ -i64::from(value & 1 == 1))
    }

    /// The next member's id and type; `Some(None)` at the end. Ids have to rise: of a member
    /// that is there twice, one reader would take the first and another one the last.
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        let delta = i64::from(head >> 4);
        let id = if delta == 0 { self.number()? } else { *last + delta };
        if id <= *last || id > 1000 {
            return None;
        }
        *last = id;
        Some(Some((id, head & 0x0f)))
    }

    fn skip(&mut self, of: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match of {
            TRUE | FALSE => {}
            I8 => self.at += 1,
            I16 | I32 | I64 => drop(self.varint()?),
            DOUBLE => self.at += 8,
            BINARY => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.at = self.at.checked_add(length)?;
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                for _ in 0..count {
                    // In a list, each of these is a byte.
                    let of = if matches!(head & 0x0f, TRUE | FALSE) { I8 } else { head & 0x0f };
                    self.skip(of, depth)?;
                    (self.at <= self.bytes.len()).then_some(())?;
                }
            }
            STRUCT => {
                let mut last = 0;
                while let Some((_, of)) = self.field(&mut last)? {
                    self.skip(of, depth)?;
                }
            }
            _ => return None,
        }
        (self.at <= self.bytes.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_one_that_two_readers_could_read_in_two_ways_is_refused() {
        // type 0, 100 unpacked, 50 packed, data page header: 7 values, plain, rle, rle.
        let good =
            [0x15, 0, 0x15, 200, 1, 0x15, 100, 0x2c, 0x15, 14, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];
        let mut thrift = Thrift { bytes: &good, at: 0 };
        let header = Header::read(&mut thrift).expect("a header");
        assert_eq!((header.kind, header.unpacked, header.packed), (DATA_PAGE, 100, 50));
        assert_eq!((header.values, header.encoding, thrift.at), (7, PLAIN, good.len()));
        for cut in 0..good.len() {
            assert!(Header::read(&mut Thrift { bytes: &good[..cut], at: 0 }).is_none(), "{cut}");
        }
        // Its size a second time, under its id written out.
        let twice = [0x15, 0, 0x15, 200, 1, 0x05, 4, 200, 0x15, 100, 0x2c, 0x15, 14, 0x15, 0, 0, 0];
        assert!(Header::read(&mut Thrift { bytes: &twice, at: 0 }).is_none());
    }

    #[test]
    fn a_list_of_nothing_ends_although_it_says_that_it_is_endless() {
        let endless = [0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(Header::read(&mut Thrift { bytes: &endless, at: 0 }).is_none());
        let deep = [0x1c; 4000];
        assert!(Header::read(&mut Thrift { bytes: &deep, at: 0 }).is_none());
    }
}
