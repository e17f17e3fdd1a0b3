//! The one schema, `v1`, and how its columns are written.

use std::sync::Arc;

use parquet::basic::Type as Physical;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::ParquetError;
use crate::archive::layout::Place;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Log,
    Host,
    Epoch,
    Seq,
    Timestamp,
    EventType,
    Actor,
    Source,
    Target,
    Outcome,
    Details,
    Origin,
    RecordedAt,
    Extra,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Time,
    Text,
    /// Text that no column index and no filter is made of: nobody compares it as a whole.
    LongText,
    Bytes,
}

impl Column {
    pub(super) const ALL: [Self; 14] = [
        Self::Log,
        Self::Host,
        Self::Epoch,
        Self::Seq,
        Self::Timestamp,
        Self::EventType,
        Self::Actor,
        Self::Source,
        Self::Target,
        Self::Outcome,
        Self::Details,
        Self::Origin,
        Self::RecordedAt,
        Self::Extra,
    ];
    /// The texts that a record may name, in their stored order.
    pub(super) const TEXTS: [Self; 5] =
        [Self::EventType, Self::Actor, Self::Source, Self::Target, Self::Outcome];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Host => "host",
            Self::Epoch => "epoch",
            Self::Seq => "seq",
            Self::Timestamp => "timestamp",
            Self::EventType => "event_type",
            Self::Actor => "actor",
            Self::Source => "source",
            Self::Target => "target",
            Self::Outcome => "outcome",
            Self::Details => "details",
            Self::Origin => "origin",
            Self::RecordedAt => "recorded_at",
            Self::Extra => "extra",
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Epoch | Self::Seq => Kind::Number,
            Self::Timestamp | Self::RecordedAt => Kind::Time,
            Self::Details | Self::Origin => Kind::LongText,
            Self::Extra => Kind::Bytes,
            _ => Kind::Text,
        }
    }

    pub(super) fn is_required(self) -> bool {
        matches!(self, Self::Log | Self::Host | Self::Epoch | Self::Seq)
    }

    /// Whether a filter says which values a row group certainly does not have.
    fn is_filtered(self) -> bool {
        matches!(self, Self::EventType | Self::Actor | Self::Source | Self::Target)
    }

    fn path(self) -> ColumnPath {
        ColumnPath::from(self.name())
    }

    fn field(self) -> Result<TypePtr, ParquetError> {
        let (physical, logical) = match self.kind() {
            Kind::Number => (Physical::INT64, None),
            Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Kind::Text | Kind::LongText => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Bytes => (Physical::BYTE_ARRAY, None),
        };
        let repetition =
            if self.is_required() { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let built = Type::primitive_type_builder(self.name(), physical)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .build()?;
        Ok(Arc::new(built))
    }
}

/// The most rows of a row group: what an engine reads or passes over at once. A quarter of it
/// would cost 3% of the bytes, three times as many would save nothing.
pub(super) const ROW_GROUP_ROWS: usize = 20_000;
/// The most bytes of lines in a row group, but for the line that passes it: what is kept in
/// memory while one is made.
pub(super) const ROW_GROUP_BYTES: usize = 32 << 20;
/// Rows of a page: what an engine that reads the indexes unpacks at once.
const PAGE_ROWS: usize = 2_000;
/// Bytes of a page. Of a quarter of it, real events take 6% more.
const PAGE_BYTES: usize = 1 << 20;
/// Beyond it a column of a row group is stored as it is.
const DICTIONARY_BYTES: usize = 256 << 10;
/// What is stored is kept for years: level 3 is three times as fast and takes 8% more, level 9
/// takes 2% less and half as long again.
const ZSTD_LEVEL: i32 = 6;
/// How often a filter is wrong when it says "perhaps".
const FALSE_POSITIVES: f64 = 0.01;

/// The root of the schema.
pub(super) fn root() -> Result<TypePtr, ParquetError> {
    let fields = Column::ALL.into_iter().map(Column::field).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("record").with_fields(fields).build()?))
}

/// What a file says of itself, for those who have only the file.
pub(super) fn about(place: &Place) -> Vec<(&'static str, String)> {
    vec![
        ("auditctl.schema", "v1".to_owned()),
        ("auditctl.log", place.log.id().to_owned()),
        ("auditctl.epoch", place.log.epoch().to_string()),
        ("auditctl.first", place.span.first.to_string()),
        ("auditctl.end", place.span.end.to_string()),
        ("auditctl.host", place.host.as_str().to_owned()),
    ]
}

/// By what rows are sorted.
pub(super) fn sorted_by() -> SortingColumn {
    SortingColumn { column_idx: Column::Seq as i32, descending: false, nulls_first: false }
}

pub(super) fn properties(place: &Place, made_by: &str) -> Result<WriterProperties, ParquetError> {
    let about = about(place).into_iter();
    let about = about.map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
    let mut all = WriterProperties::builder()
        .set_created_by(made_by.to_owned())
        .set_key_value_metadata(Some(about))
        .set_sorting_columns(Some(vec![sorted_by()]))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_write_batch_size(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page);
    for column in Column::ALL {
        let path = column.path();
        match column.kind() {
            Kind::Number | Kind::Time => {
                all = all
                    .set_column_dictionary_enabled(path.clone(), column == Column::Epoch)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
            Kind::LongText | Kind::Bytes => {
                all = all
                    .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
                    .set_column_dictionary_enabled(path, column == Column::Origin);
            }
            Kind::Text => {}
        }
        if column.is_filtered() {
            all = all
                .set_column_bloom_filter_enabled(column.path(), true)
                .set_column_bloom_filter_fpp(column.path(), FALSE_POSITIVES)
                .set_column_bloom_filter_max_ndv(column.path(), ROW_GROUP_ROWS as u64);
        }
    }
    Ok(all.build())
}
