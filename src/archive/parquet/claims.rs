//! What a file claims of a column, so that engines can pass over rows: statistics, filters,
//! indexes. If one of these lies, an engine does not find what is there. So each is held against
//! the values themselves.

use parquet::basic::{BoundaryOrder, Encoding, PageType};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::statistics::Statistics;

use super::ParquetError;
use super::cells::Cell;
use super::pages::Pages;
use super::schema::Column;
use super::source::Source;

/// The most that a filter may have: one for as many values as a row group has rows takes less.
const MAX_FILTER_BYTES: i32 = 128 << 10;

/// The bounds of a run of rows, as something that values are held against.
#[derive(Clone, Debug, PartialEq)]
enum Bounds {
    None,
    Numbers(i64, i64),
    Texts(Vec<u8>, Vec<u8>),
}

/// How many rows of a page or a row group have no value, and between what the others lie.
#[derive(Clone, Debug)]
struct Claim {
    bounds: Bounds,
    nothing: Option<u64>,
    /// The rows of the run that were seen without a value.
    seen_nothing: u64,
}

/// What is claimed of a column of a row group.
pub(super) struct Claims {
    column: Column,
    whole: Claim,
    /// Of each page, where the file has an index of them: and before which row it begins.
    pages: Vec<(u64, Claim)>,
    page: usize,
    filter: Option<Sbbf>,
    /// The text that was held against the filter last: it often comes again.
    last: Vec<u8>,
    row: u64,
}

type Index<'a> = (Option<&'a ColumnIndexMetaData>, Option<&'a OffsetIndexMetaData>);

impl Claims {
    pub(super) fn read(
        source: &Source,
        column: Column,
        chunk: &ColumnChunkMetaData,
        pages: &Pages,
        (index, offsets): Index<'_>,
        rows: usize,
    ) -> Result<Self, ParquetError> {
        let wrong = |what: &str| wrong(column, what);
        if chunk.num_values() != rows as i64 {
            return Err(wrong("it has not as many rows as it says"));
        }
        encodings(chunk, pages).map_err(wrong)?;
        if let Some(offsets) = offsets {
            let begin =
                offsets.page_locations().iter().map(|page| (page.offset, page.first_row_index));
            let found = pages.begin.iter().map(|(at, row)| (*at as i64, *row as i64));
            if !begin.eq(found) {
                return Err(wrong("its index names other pages than it has"));
            }
        }
        let whole = whole(chunk.statistics()).map_err(wrong)?;
        let pages = match index {
            None => Vec::new(),
            Some(index) => by_page(index, pages).map_err(wrong)?,
        };
        Ok(Self {
            column,
            whole,
            pages,
            page: 0,
            filter: filter(source, chunk).map_err(|what| wrong(&what))?,
            last: Vec::new(),
            row: 0,
        })
    }

    /// Holds the next row's value against everything.
    pub(super) fn see(&mut self, cell: &Cell) -> Result<(), ParquetError> {
        while self.pages.get(self.page + 1).is_some_and(|(first, _)| *first <= self.row) {
            self.page += 1;
        }
        self.row += 1;
        let page = self.pages.get_mut(self.page).map(|(_, claim)| claim);
        if !self.whole.holds(cell) || page.is_some_and(|page| !page.holds(cell)) {
            return Err(wrong(self.column, "its statistics hide a value that it has"));
        }
        if let (Some(filter), Some(text)) = (&self.filter, cell.bytes())
            && (self.last != text || self.row == 1)
        {
            if !filter.check(text) {
                return Err(wrong(self.column, "its filter hides a value that it has"));
            }
            self.last.clear();
            self.last.extend_from_slice(text);
        }
        Ok(())
    }

    /// After the last row: whether there are as many rows without a value as was claimed.
    pub(super) fn end(&self) -> Result<(), ParquetError> {
        let mut all = self.pages.iter().map(|(_, claim)| claim).chain([&self.whole]);
        if all.all(|claim| claim.nothing.is_none_or(|nothing| nothing == claim.seen_nothing)) {
            return Ok(());
        }
        Err(wrong(self.column, "it has not as many rows without a value as it says"))
    }
}

impl Claim {
    fn holds(&mut self, cell: &Cell) -> bool {
        match (cell, &self.bounds) {
            (Cell::Nothing, _) => {
                self.seen_nothing += 1;
                true
            }
            (_, Bounds::None) => true,
            (Cell::Number(number), Bounds::Numbers(min, max)) => (min..=max).contains(&number),
            (Cell::Text(text), Bounds::Texts(min, max)) => {
                text.data() >= &**min && text.data() <= &**max
            }
            _ => false,
        }
    }
}

fn wrong(column: Column, what: &str) -> ParquetError {
    ParquetError::new(format!("column {}: {what}", column.name()))
}

/// What the statistics of a row group claim.
fn whole(said: Option<&Statistics>) -> Result<Claim, &'static str> {
    let nothing = said.and_then(Statistics::null_count_opt);
    let bounds = match said {
        None => Bounds::None,
        Some(Statistics::Int64(said)) => match (said.min_opt(), said.max_opt()) {
            (Some(min), Some(max)) => Bounds::Numbers(*min, *max),
            (None, None) => Bounds::None,
            _ => return Err(HALF),
        },
        Some(Statistics::ByteArray(said)) => match (said.min_bytes_opt(), said.max_bytes_opt()) {
            (Some(min), Some(max)) => Bounds::Texts(min.to_vec(), max.to_vec()),
            (None, None) => Bounds::None,
            _ => return Err(HALF),
        },
        Some(_) => return Err("its statistics are of another type"),
    };
    if said.is_some_and(|said| said.distinct_count_opt().is_some()) {
        return Err("its statistics count what is different, which such files do not");
    }
    Ok(Claim { bounds, nothing, seen_nothing: 0 })
}

const HALF: &str = "its statistics have one bound";

/// What the index claims of each page.
fn by_page(index: &ColumnIndexMetaData, pages: &Pages) -> Result<Vec<(u64, Claim)>, &'static str> {
    let count = pages.begin.len();
    if index.num_pages() != count as u64 {
        return Err("its index names other pages than it has");
    }
    let mut claims = Vec::with_capacity(count);
    for (at, (_, first)) in pages.begin.iter().enumerate() {
        let bounds = match index {
            _ if index.is_null_page(at) => Bounds::Numbers(1, 0),
            ColumnIndexMetaData::INT64(index) => match (index.min_value(at), index.max_value(at)) {
                (Some(min), Some(max)) => Bounds::Numbers(*min, *max),
                _ => return Err(HALF),
            },
            ColumnIndexMetaData::BYTE_ARRAY(index) => {
                match (index.min_value(at), index.max_value(at)) {
                    (Some(min), Some(max)) => Bounds::Texts(min.to_vec(), max.to_vec()),
                    _ => return Err(HALF),
                }
            }
            _ => return Err("its index is of another type"),
        };
        let nothing = index.null_count(at).map(|count| u64::try_from(count).unwrap_or(u64::MAX));
        claims.push((*first, Claim { bounds, nothing, seen_nothing: 0 }));
    }
    if is_in_order(index.get_boundary_order(), &claims) {
        return Ok(claims);
    }
    Err("its index does not have the order that it says")
}

/// Engines search an index that says that it is ordered.
fn is_in_order(order: Option<BoundaryOrder>, claims: &[(u64, Claim)]) -> bool {
    let bounds = claims.iter().map(|(_, claim)| &claim.bounds);
    let there: Vec<_> = bounds.filter(|bounds| !matches!(bounds, Bounds::Numbers(1, 0))).collect();
    let mut pairs = there.windows(2).map(|pair| match pair {
        [Bounds::Numbers(a, b), Bounds::Numbers(c, d)] => (a.cmp(c), b.cmp(d)),
        [Bounds::Texts(a, b), Bounds::Texts(c, d)] => (a.cmp(c), b.cmp(d)),
        _ => (std::cmp::Ordering::Less, std::cmp::Ordering::Greater),
    });
    match order {
        Some(BoundaryOrder::ASCENDING) => pairs.all(|(min, max)| min.is_le() && max.is_le()),
        Some(BoundaryOrder::DESCENDING) => pairs.all(|(min, max)| min.is_ge() && max.is_ge()),
        _ => true,
    }
}

/// Some engines look a value up in the dictionary where it is claimed that every page has its
/// values from there.
fn encodings(chunk: &ColumnChunkMetaData, pages: &Pages) -> Result<(), &'static str> {
    let lies = "it says that its pages are encoded in another way than they are";
    if pages.has_dictionary != chunk.dictionary_page_offset().is_some() {
        return Err(lies);
    }
    let said: Vec<_> = chunk.encodings().collect();
    let (plain, by_dictionary) =
        (said.contains(&Encoding::PLAIN), said.contains(&Encoding::RLE_DICTIONARY));
    if pages.plain > 0 && !plain
        || pages.delta > 0 && !said.contains(&Encoding::DELTA_BINARY_PACKED)
        || (pages.by_dictionary > 0) != by_dictionary
        || said.contains(&Encoding::PLAIN_DICTIONARY)
    {
        return Err(lies);
    }
    let Some(counts) = chunk.page_encoding_stats() else { return Ok(()) };
    let count = |of: Encoding| -> i64 {
        let of =
            counts.iter().filter(|it| it.page_type == PageType::DATA_PAGE && it.encoding == of);
        of.map(|it| i64::from(it.count)).sum()
    };
    let is_so = count(Encoding::PLAIN) == pages.plain as i64
        && count(Encoding::DELTA_BINARY_PACKED) == pages.delta as i64
        && count(Encoding::RLE_DICTIONARY) == pages.by_dictionary as i64;
    if is_so { Ok(()) } else { Err(lies) }
}

fn filter(source: &Source, chunk: &ColumnChunkMetaData) -> Result<Option<Sbbf>, String> {
    if chunk.bloom_filter_offset().is_none() {
        return Ok(None);
    }
    // Without its length, the library would believe the filter's own header.
    let length = chunk.bloom_filter_length().unwrap_or(-1);
    if !(1..=MAX_FILTER_BYTES).contains(&length) {
        return Err("its filter is larger than one can be".to_owned());
    }
    let filter = Sbbf::read_from_column_chunk(chunk, source).map_err(|error| error.to_string())?;
    match filter {
        // An empty one is asked modulo nothing.
        Some(filter) if filter.num_blocks() == 0 => Err("its filter is empty".to_owned()),
        filter => Ok(filter),
    }
}
