//! Files that somebody made or changed who can write to the bucket.

use std::sync::Arc;

use auditctl::archive::Place;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

use super::{checked, made, place, strange};

/// A column's values, row by row.
#[derive(Clone, Debug)]
enum Values {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<Vec<u8>>>),
}

impl Values {
    fn text(&mut self, row: usize) -> &mut Option<Vec<u8>> {
        match self {
            Self::Texts(texts) => &mut texts[row],
            Self::Numbers(_) => panic!("numbers"),
        }
    }

    fn number(&mut self, row: usize) -> &mut Option<i64> {
        match self {
            Self::Numbers(numbers) => &mut numbers[row],
            Self::Texts(_) => panic!("texts"),
        }
    }

    fn keep(&mut self, keep: impl Fn(usize) -> bool) {
        let mut row = 0;
        let mut kept = || {
            row += 1;
            keep(row - 1)
        };
        match self {
            Self::Numbers(all) => all.retain(|_| kept()),
            Self::Texts(all) => all.retain(|_| kept()),
        }
    }
}

const LOG: usize = 0;
const HOST: usize = 1;
const EPOCH: usize = 2;
const SEQ: usize = 3;
const TIMESTAMP: usize = 4;
const ACTOR: usize = 6;
const DETAILS: usize = 10;
const ORIGIN: usize = 11;
const EXTRA: usize = 13;

fn columns(file: &[u8]) -> Vec<Values> {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(file)).expect("a file");
    let group = reader.get_row_group(0).expect("a row group");
    let rows = group.metadata().num_rows() as usize;
    (0..group.num_columns())
        .map(|at| {
            let mut levels = Vec::new();
            let spread = |levels: &[i16], count: usize| -> Vec<bool> {
                if levels.is_empty() {
                    vec![true; count]
                } else {
                    levels.iter().map(|it| *it > 0).collect()
                }
            };
            match group.get_column_reader(at).expect("a column") {
                ColumnReader::Int64ColumnReader(mut reader) => {
                    let mut values = Vec::new();
                    reader.read_records(rows, Some(&mut levels), None, &mut values).expect("read");
                    let mut values = values.into_iter();
                    let there = spread(&levels, rows).into_iter();
                    Values::Numbers(
                        there.map(|there| there.then(|| values.next().expect("one"))).collect(),
                    )
                }
                ColumnReader::ByteArrayColumnReader(mut reader) => {
                    let mut values: Vec<ByteArray> = Vec::new();
                    reader.read_records(rows, Some(&mut levels), None, &mut values).expect("read");
                    let mut values = values.into_iter().map(|value| value.data().to_vec());
                    let there = spread(&levels, rows).into_iter();
                    Values::Texts(
                        there.map(|there| there.then(|| values.next().expect("one"))).collect(),
                    )
                }
                _ => panic!("another type"),
            }
        })
        .collect()
}

/// The honest file's description, for whoever wants to keep to it.
fn like(file: &[u8]) -> WriterPropertiesBuilder {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(file)).expect("a file");
    let about = reader.metadata().file_metadata();
    WriterProperties::builder()
        .set_created_by("auditctl version 99.0.0".to_owned())
        .set_key_value_metadata(about.key_value_metadata().cloned())
        .set_sorting_columns(reader.metadata().row_group(0).sorting_columns().cloned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(9).expect("a level")))
}

fn write(file: &[u8], columns: &[Values], properties: WriterPropertiesBuilder) -> Vec<u8> {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(file)).expect("a file");
    let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
    let properties = Arc::new(properties.build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    for values in columns {
        let mut column = group.next_column().expect("asked").expect("a column");
        match values {
            Values::Numbers(all) => {
                let levels: Vec<i16> = all.iter().map(|it| i16::from(it.is_some())).collect();
                let values: Vec<i64> = all.iter().flatten().copied().collect();
                column
                    .typed::<Int64Type>()
                    .write_batch(&values, Some(&levels), None)
                    .expect("written");
            }
            Values::Texts(all) => {
                let levels: Vec<i16> = all.iter().map(|it| i16::from(it.is_some())).collect();
                let values: Vec<ByteArray> =
                    all.iter().flatten().cloned().map(ByteArray::from).collect();
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&values, Some(&levels), None)
                    .expect("written");
            }
        }
        column.close().expect("closed");
    }
    group.close().expect("closed");
    writer.into_inner().expect("finished")
}

struct Case {
    place: Place,
    lines: Vec<Vec<u8>>,
    file: Vec<u8>,
}

fn case() -> Case {
    let lines = strange(100)[..24].to_vec();
    let place = place(100, lines.len());
    let file = made(&place, &lines);
    Case { place, lines, file }
}

#[test]
fn a_file_of_another_version_that_gives_the_same_lines_is_as_good() {
    let Case { place, lines, file } = case();
    let other = write(&file, &columns(&file), like(&file));
    assert_ne!(other, file);
    checked(&other, &place, &lines).expect("the same lines");
}

#[test]
fn columns_that_say_something_else_than_the_line_beside_them_are_found() {
    let Case { place, lines, file } = case();
    let has_extra = |columns: &mut Vec<Values>, row| columns[EXTRA].text(row).is_some();
    let mut honest = columns(&file);
    // A row whose line is kept, and one whose line is made of its columns.
    let kept = (0..lines.len())
        .find(|row| has_extra(&mut honest, *row) && honest[ACTOR].text(*row).is_some());
    let (kept, plain) = (kept.expect("one with its line"), 0);
    assert!(!has_extra(&mut honest, plain));
    type Edit = Box<dyn Fn(&mut Vec<Values>)>;
    let edits: Vec<(&str, Edit)> = vec![
        (
            "an actor beside its line",
            Box::new(move |it| *it[ACTOR].text(kept) = Some(b"eve".to_vec())),
        ),
        ("no actor beside its line", Box::new(move |it| *it[ACTOR].text(kept) = None)),
        ("a time beside its line", Box::new(move |it| *it[TIMESTAMP].number(kept) = Some(1))),
        ("an actor", Box::new(move |it| *it[ACTOR].text(plain) = Some(b"eve".to_vec()))),
        ("another log", Box::new(move |it| *it[LOG].text(plain) = Some(b"other".to_vec()))),
        ("another host", Box::new(move |it| *it[HOST].text(plain) = Some(b"web-2".to_vec()))),
        ("another epoch", Box::new(move |it| *it[EPOCH].number(plain) = Some(4))),
        ("another seq", Box::new(move |it| *it[SEQ].number(plain) = Some(99))),
        (
            "a time outside all years",
            Box::new(move |it| *it[TIMESTAMP].number(plain) = Some(i64::MAX)),
        ),
        (
            "an origin within the details, which make the same line",
            Box::new(move |it| {
                let origin = it[ORIGIN].text(plain).take().expect("an origin");
                *it[DETAILS].text(plain) = None;
                *it[ACTOR].text(plain) = Some(b"alice".to_vec());
                *it[ORIGIN].text(plain) =
                    Some([origin, b",\"recorded_at\":\"x\"".to_vec()].concat());
            }),
        ),
        (
            "a line that its columns make too",
            Box::new({
                let line = lines[plain].clone();
                move |it| *it[EXTRA].text(plain) = Some(line.clone())
            }),
        ),
        ("a row less", Box::new(|it| it.iter_mut().for_each(|column| column.keep(|row| row != 3)))),
        (
            "the last row less",
            Box::new(|it| it.iter_mut().for_each(|column| column.keep(|row| row != 23))),
        ),
    ];
    for (what, edit) in edits {
        let mut forged = columns(&file);
        edit(&mut forged);
        let forged = write(&file, &forged, like(&file));
        assert!(checked(&forged, &place, &lines).is_err(), "{what}");
    }
    let mut swapped = columns(&file);
    for column in &mut swapped {
        match column {
            Values::Numbers(all) => all.swap(1, 2),
            Values::Texts(all) => all.swap(1, 2),
        }
    }
    assert!(checked(&write(&file, &swapped, like(&file)), &place, &lines).is_err(), "the order");
}

#[test]
fn a_description_that_is_not_the_declared_one_is_refused() {
    let Case { place, lines, file } = case();
    let all = columns(&file);
    let hint = KeyValue::new("ARROW:schema".to_owned(), "another type".to_owned());
    let mut said = like(&file).build().key_value_metadata().expect("said").clone();
    said.push(hint);
    for (what, properties) in [
        ("a hint for engines", like(&file).set_key_value_metadata(Some(said))),
        ("no key-value pairs", like(&file).set_key_value_metadata(None)),
        ("not sorted", like(&file).set_sorting_columns(None)),
        ("not compressed", like(&file).set_compression(Compression::UNCOMPRESSED)),
        (
            "another encoding",
            like(&file)
                .set_dictionary_enabled(false)
                .set_column_encoding("details".into(), Encoding::DELTA_BYTE_ARRAY),
        ),
    ] {
        let forged = write(&file, &all, properties);
        assert!(checked(&forged, &place, &lines).is_err(), "{what}");
    }
    let mut elsewhere = place.clone();
    elsewhere.host = auditctl::archive::HostName::of("web-2");
    assert!(checked(&file, &elsewhere, &lines).is_err(), "under another host's name");
}

#[test]
fn statistics_filters_and_indexes_that_hide_a_value_are_found() {
    let lines: Vec<Vec<u8>> = (0..3_000_u64)
        .map(|seq| {
            let actor = if seq == 1_234 { "mallory".to_owned() } else { format!("user-{:03}", seq % 90) };
            format!(
                "{{\"seq\":{seq},\"timestamp\":\"2026-02-04T21:{:02}:{:02}.000000Z\",\"event_type\":\"login\",\
                 \"actor\":\"{actor}\",\"origin\":{{\"via\":\"library\"}}}}",
                seq / 60, seq % 60
            )
            .into_bytes()
        })
        .collect();
    let place = place(0, lines.len());
    let file = made(&place, &lines);
    checked(&file, &place, &lines).expect("an honest file");
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(&file)).expect("a file");
    let actor = reader.metadata().row_group(0).column(ACTOR);
    let (from, length) = actor.byte_range();
    let pages = from as usize..(from + length) as usize;

    // The filter: nobody is in it.
    let at = actor.bloom_filter_offset().expect("a filter") as usize;
    let end = at + actor.bloom_filter_length().expect("a length") as usize;
    let mut forged = file.clone();
    forged[end - 32 * ((end - at) / 32)..end].fill(0);
    let error = checked(&forged, &place, &lines).expect_err("a filter that hides all");
    assert!(error.to_string().contains("actor: its filter"), "{error}");

    // Bounds, in the description at the end and in the index: each place where one stands.
    let mut bounds = 0;
    for (value, instead) in [(&b"mallory"[..], &b"nobody!"[..]), (b"user-089", b"user-001")] {
        for at in memchr::memmem::find_iter(&file, value).filter(|at| !pages.contains(at)) {
            let mut forged = file.clone();
            forged[at..at + value.len()].copy_from_slice(instead);
            let error = checked(&forged, &place, &lines).expect_err("a bound that hides some");
            assert!(error.to_string().contains("actor: its "), "{error}");
            bounds += 1;
        }
    }
    assert!(bounds >= 4, "the row group's and the pages': {bounds}");
}

#[test]
fn what_would_take_much_memory_is_refused_before_it_does() {
    let lines = vec![strange(0)[0].clone()];
    let place = place(0, 1);
    let file = made(&place, &lines);
    let mut all = columns(&file);
    // 64 MiB in a page of a few kilobytes.
    *all[DETAILS].text(0) = Some(vec![b' '; 64 << 20]);
    let bomb = write(&file, &all, like(&file).set_dictionary_enabled(false));
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    let error = checked(&bomb, &place, &lines).expect_err("a bomb");
    assert!(error.to_string().contains("larger than one can be"), "{error}");
    // More rows than a row group can have.
    for column in &mut all {
        match column {
            Values::Numbers(rows) => rows.resize(50_000, rows[0]),
            Values::Texts(rows) => rows.resize(50_000, Some(b"{}".to_vec())),
        }
    }
    *all[DETAILS].text(0) = None;
    let error = checked(&write(&file, &all, like(&file)), &place, &lines).expect_err("rows");
    assert!(error.to_string().contains("more rows"), "{error}");
    // A description as long as the file says.
    let mut long = file.clone();
    let at = long.len() - 8;
    long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(checked(&long, &place, &lines).is_err());
}

/// The library builds the schema's tree by recursion.
#[test]
fn a_schema_that_is_as_deep_as_a_file_is_long_is_refused() {
    let place = place(0, 1);
    for depth in [1_usize, 15, 16, 300_000] {
        // A version; then so many groups, each the only child of the one before.
        let mut about = vec![0x15, 2, 0x19, 0xfc];
        let mut count = depth;
        while count >= 0x80 {
            about.push((count & 0x7f) as u8 | 0x80);
            count >>= 7;
        }
        about.push(count as u8);
        for _ in 0..depth {
            about.extend_from_slice(&[0x35, 0, 0x18, 1, b'a', 0x15, 2, 0]);
        }
        about.extend_from_slice(&[0x16, 2, 0x19, 0x0c, 0]);
        let length = (about.len() as u32).to_le_bytes();
        let file = [b"PAR1", &about[..], &length, b"PAR1"].concat();
        assert!(checked(&file, &place, &strange(0)[..1]).is_err(), "{depth} deep");
    }
}
