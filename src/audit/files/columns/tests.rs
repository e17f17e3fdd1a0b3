use proptest::prelude::*;

use super::build::columns_of;
use super::*;
use crate::audit::files::segment::Block;
use crate::clock::Timestamp;
use crate::fsio::OsFs;

/// What a record of the tests has.
#[derive(Clone, Debug)]
struct Row {
    micros: i64,
    texts: [Option<String>; 5],
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = || prop::option::of("[ab\"\\\\ä\u{1}]{1,3}|[a-z]{200}");
    let time = prop_oneof![0..5_i64, 0..i64::pow(10, 15), Just(-62_167_219_200_000_000)];
    let row = (time, "[a-c]{1,2}", text(), text(), text(), text());
    let row = row.prop_map(|(micros, event_type, actor, source, target, outcome)| Row {
        micros,
        texts: [Some(event_type), actor, source, target, outcome],
    });
    prop::collection::vec(row, 1..200)
}

fn line(seq: u64, row: &Row) -> Vec<u8> {
    let time = Timestamp::from_micros(row.micros);
    let mut line = format!("{{\"seq\":{seq},\"timestamp\":\"{time}\"").into_bytes();
    for (field, text) in Field::ALL.into_iter().zip(&row.texts) {
        if let Some(text) = text {
            line.extend_from_slice(format!(",\"{}\":", field.as_str()).as_bytes());
            crate::audit::record::push_string(&mut line, text);
        }
    }
    line.extend_from_slice(b",\"origin\":{}}");
    line
}

/// A segment of these records in blocks of so many, and the blocks' lines.
fn segment(first_seq: u64, rows: &[Row], in_block: usize) -> (Segment, Vec<Vec<u8>>) {
    let mut segment = Segment::empty(first_seq, rows.len() as u64);
    let (mut all, mut seq) = (Vec::new(), first_seq);
    for rows in rows.chunks(in_block) {
        let (mut block, mut lines) = (Block::empty(seq, 0), Vec::new());
        for row in rows {
            let line = line(seq, row);
            block.push(&line, Timestamp::from_micros(row.micros));
            lines.extend_from_slice(&line);
            lines.push(b'\n');
            seq += 1;
        }
        segment.blocks.push(Block { stored_bytes: 1 << 20, ..block });
        all.push(lines);
    }
    (segment, all)
}

/// Made, written and opened.
fn opened(segment: &mut Segment, lines: &[Vec<u8>]) -> (tempfile::TempDir, Columns) {
    let lines: Vec<&[u8]> = lines.iter().map(|lines| &lines[..]).collect();
    let made = columns_of(segment, &lines).expect("columns");
    let dir = tempfile::tempdir().expect("temporary directory");
    let paths = LogPaths::new(dir.path());
    std::fs::write(paths.columns(segment.first_seq), &made.file).expect("written");
    segment.columns_sha256 = Some(made.sha256);
    let columns = Columns::open(&OsFs, &paths, segment).expect("its columns");
    (dir, columns)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn columns_have_what_the_records_have(rows in rows(), first_seq in 0..1_u64 << 40, in_block in 1_usize..90) {
        let (mut segment, lines) = segment(first_seq, &rows, in_block);
        let (_dir, columns) = opened(&mut segment, &lines);
        let mut reader = Reader::default();
        let mut seen = 0;
        for nth in 0..columns.stripes.len() {
            let first = (columns.stripe(nth).first_seq - first_seq) as usize;
            prop_assert_eq!(first, seen, "no block is left out");
            seen += columns.stripe(nth).records as usize;
            let times = columns.times(nth, &mut reader).expect("times");
            for field in Field::ALL {
                let texts = columns.texts(nth, field, &mut reader).expect("texts");
                let codes = columns.codes((nth, field), &texts, &mut reader).expect("codes");
                for (row, time) in times.iter().enumerate() {
                    let expected = &rows[first + row];
                    prop_assert_eq!(*time, expected.micros);
                    let text = expected.texts[field as usize].as_ref().map(String::as_bytes);
                    prop_assert_eq!(texts.get(codes.get(row)), text);
                }
            }
        }
        prop_assert_eq!(seen, rows.len());
        prop_assert!(columns.are_whole());
        let judge = Judge::new(columns);
        for (block, lines) in segment.blocks.iter().zip(&lines) {
            prop_assert!(judge.are_of(block, lines));
        }
    }
}

#[test]
fn a_block_with_a_line_that_is_spelled_otherwise_has_no_columns() {
    let rows: Vec<Row> = (0..40)
        .map(|nth| Row { micros: nth, texts: [Some("x".to_owned()), None, None, None, None] })
        .collect();
    for spelled in [
        &br#"{"seq":20,"timestamp":"1970-01-01T00:00:00.000020Z","event_type":"\u0078","origin":{}}"#[..],
        br#"{"seq":20,"timestamp":"1970-02-30T00:00:00.000020Z","event_type":"x","origin":{}}"#,
        br#"{"seq":20,"event_type":"x","timestamp":"1970-01-01T00:00:00.000020Z","origin":{}}"#,
        br#"{"seq":21,"timestamp":"1970-01-01T00:00:00.000020Z","event_type":"x","origin":{}}"#,
        b"no record",
    ] {
        let (mut segment, mut lines) = segment(0, &rows, 10);
        let mut changed = Vec::new();
        for (nth, line) in lines[2].split_inclusive(|byte| *byte == b'\n').enumerate() {
            match nth {
                0 => changed.extend_from_slice(&[spelled, b"\n"].concat()),
                _ => changed.extend_from_slice(line),
            }
        }
        lines[2] = changed;
        let (_dir, columns) = opened(&mut segment, &lines);
        let covered: Vec<bool> =
            (0..4).map(|nth| columns.stripe_of(nth * 10, nth * 10 + 10).is_some()).collect();
        assert_eq!(covered, [true, true, false, true], "{}", String::from_utf8_lossy(spelled));
    }
}

#[test]
fn a_stripe_has_no_more_records_and_blocks_than_it_may() {
    let row = |nth: i64| Row {
        micros: nth,
        texts: [Some("x".to_owned()), Some(format!("{nth:x}")), None, None, None],
    };
    let rows: Vec<Row> = (0..140_000).map(row).collect();
    let (mut many, lines) = segment(0, &rows, 9_000);
    let (_dir, columns) = opened(&mut many, &lines);
    let records: Vec<u64> = columns.stripes.iter().map(|stripe| stripe.records).collect();
    assert_eq!(records, [63_000, 63_000, 14_000]);
    assert!(columns.are_whole());
    let (mut small, lines) = segment(0, &rows[..200], 1);
    let (_dir, columns) = opened(&mut small, &lines);
    let records: Vec<u64> = columns.stripes.iter().map(|stripe| stripe.records).collect();
    assert_eq!(records, [64, 64, 64, 8]);
}

#[test]
fn a_field_that_takes_too_much_is_left_out() {
    let row = |nth: u64| Row {
        micros: nth as i64,
        texts: [
            Some("x".to_owned()),
            Some(crate::units::hex(&Sha256::digest(nth.to_le_bytes()))),
            None,
            None,
            None,
        ],
    };
    let rows: Vec<Row> = (0..2_000).map(row).collect();
    let (mut segment, lines) = segment(0, &rows, 1_000);
    segment.blocks.iter_mut().for_each(|block| block.stored_bytes = 20_000);
    let (_dir, columns) = opened(&mut segment, &lines);
    let stripe = columns.stripe(0);
    assert!(stripe.has(Field::EventType) && stripe.has(Field::Target));
    assert!(!stripe.has(Field::Actor));
    assert!(columns.are_whole());
}

/// Whoever has the key, or a version with a mistake: nothing falls over it, and nothing takes
/// more memory than a stripe may.
#[test]
fn an_index_that_says_what_cannot_be_is_not_taken() {
    let rows: Vec<Row> = (0..50)
        .map(|nth| Row { micros: nth, texts: [Some("x".to_owned()), None, None, None, None] })
        .collect();
    let (mut segment, lines) = segment(7, &rows, 10);
    let (dir, _) = opened(&mut segment, &lines);
    let paths = LogPaths::new(dir.path());
    let good = std::fs::read(paths.columns(7)).expect("read");
    let index = HEADER_BYTES + STRIPE_BYTES;
    let mut taken = 0;
    for at in 0..index {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            std::fs::write(paths.columns(7), &bad).expect("written");
            // As if it were signed.
            let signed =
                Segment { columns_sha256: Some(sha256_hex(&bad[..index])), ..segment.clone() };
            if let Some(columns) = Columns::open(&OsFs, &paths, &signed) {
                taken += 1;
                columns.are_whole();
            }
        }
    }
    assert!(taken > 0, "what only the parts contradict is found there");
    for length in 0..good.len() {
        std::fs::write(paths.columns(7), &good[..length]).expect("written");
        let columns = Columns::open(&OsFs, &paths, &segment);
        assert!(columns.is_none_or(|columns| !columns.are_whole()), "cut at {length}");
    }
}
