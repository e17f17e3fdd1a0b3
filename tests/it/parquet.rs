//! The archive's Parquet objects: every line comes back from them to the byte, and nothing in
//! one can be changed so that an engine answers something else and nobody finds it.

mod forged;
mod shipped;

use std::panic::{AssertUnwindSafe, catch_unwind};

use auditctl::archive::parquet::{Lines, ParquetError, Writer, check};
use auditctl::archive::{Day, HostName, LogName, Place, RangeProof, Span};
use auditctl::audit::tree::merkle::{Range, leaf_hash};
use auditctl::clock::Timestamp;
use proptest::prelude::*;

use crate::support::{Dir, all_lines, run};

/// Where lines from `first` on are.
fn place(first: u64, records: usize) -> Place {
    Place {
        day: Day::of(Timestamp::default()),
        host: HostName::of("web-1"),
        log: LogName::new("0123456789abcdef0123456789abcdef", 3).expect("a log's id"),
        span: Span { first, end: first + records as u64 },
    }
}

/// What proves that these are the lines; nobody has to have signed it.
fn proof_of(place: &Place, lines: &[Vec<u8>]) -> RangeProof {
    let mut tree = Range::empty(place.span.first);
    lines.iter().for_each(|line| tree.append(leaf_hash(line)));
    RangeProof {
        log_id: place.log.id().to_owned(),
        epoch: place.log.epoch(),
        data: String::new(),
        before: Range::empty(0),
        tree,
        after: Range::empty(place.span.end),
        checkpoint: String::new(),
        holes: Vec::new(),
        first_accepted: Timestamp::default(),
        last_accepted: Timestamp::default(),
    }
}

fn made(place: &Place, lines: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), place.clone()).expect("a writer");
    for block in lines.chunks(700) {
        let mut raw = block.join(&b'\n');
        raw.push(b'\n');
        writer.add(raw).expect("added");
    }
    writer.finish().expect("finished")
}

fn read(file: &[u8], place: &Place) -> Result<Vec<Vec<u8>>, ParquetError> {
    let mut lines = Lines::of(file.to_vec(), place)?;
    let mut found = Vec::new();
    while let Some((_, line)) = lines.next_line()? {
        found.push(line.to_vec());
    }
    Ok(found)
}

fn checked(file: &[u8], place: &Place, lines: &[Vec<u8>]) -> Result<(), ParquetError> {
    let mut read = Lines::of(file.to_vec(), place)?;
    check(&mut read, &proof_of(place, lines))
}

/// They come back, and the same lines make the same bytes.
fn comes_back(first: u64, lines: &[Vec<u8>]) {
    let place = place(first, lines.len());
    let file = made(&place, lines);
    let found = read(&file, &place).unwrap_or_else(|error| panic!("{error}"));
    for (found, line) in found.iter().zip(lines) {
        assert_eq!(String::from_utf8_lossy(found), String::from_utf8_lossy(line));
    }
    assert!(found == lines, "all of them, to the byte");
    checked(&file, &place, lines).expect("the tree");
    assert!(made(&place, lines) == file, "the same bytes");
}

/// Lines that no writer of ours makes, or only once in a while.
fn strange(seq: u64) -> Vec<Vec<u8>> {
    let time = r#""timestamp":"2026-02-04T21:09:40.123456Z""#;
    let bodies: Vec<Vec<u8>> = [
        format!(r#"{time},"event_type":"login","actor":"alice","origin":{{"via":"socket"}}}}"#),
        format!(r#"{time},"event_type":"login","recorded_at":"2026-02-04T21:09:41.000000Z"}}"#),
        format!(r#"{time},"event_type":"","actor":"","details":{{}},"origin":{{}}}}"#),
        format!(r#"{time},"event_type":"x","details":[1,2.50,1e400,-0.0,"\ud83d\ude00"]}}"#),
        format!(r#"{time},"event_type":"x","details":null,"origin":null}}"#),
        format!(r#"{time},"event_type":"x","details": {{"a" : 1}} ,"origin":{{}}}}"#),
        format!(r#"{time},"event_type":"a\"b\\c\u0001d","actor":"\u0061l","target":"\/"}}"#),
        format!(r#"{time},"event_type":"ä€😀","actor":"é"}}"#),
        format!(r#"{time},"event_type":"x","actor":"\ud800"}}"#),
        format!(r#"{time},"event_type":"x","actor":null}}"#),
        format!(r#"{time},"event_type":"x","actor":"a","actor":"b"}}"#),
        format!(r#"{time},"event_type":"x","id":"of-a-later-version","actor":"a"}}"#),
        format!(r#"{time},"actor":"a","event_type":"x"}}"#),
        format!(r#"{time},"event_type":7}}"#),
        r#""event_type":"x","timestamp":"2026-02-04T21:09:40.123456Z"}"#.to_owned(),
        r#""timestamp":"2026-02-04T22:09:40.123456+01:00","event_type":"x"}"#.to_owned(),
        r#""timestamp":"2026-02-04T21:09:40Z","event_type":"x"}"#.to_owned(),
        r#""timestamp":"2026-02-04T21:09:40.1234567Z","event_type":"x"}"#.to_owned(),
        r#""timestamp":"0000-01-01T00:00:00.000000Z","event_type":"x"}"#.to_owned(),
        r#""timestamp":"9999-12-31T23:59:59.999999Z","event_type":"x"}"#.to_owned(),
        r#""timestamp":"2016-12-31T23:59:60.000000Z","event_type":"x"}"#.to_owned(),
        format!(r#"{time},"event_type":"x","seq":0}}"#),
        format!(r#"{time},"event_type":"x"}} "#),
        format!(r#"{time},"event_type":"x"}}{{}}"#),
        "nonsense".to_owned(),
        String::new(),
        format!(r#"{time},"event_type":"x","details":"{}"}}"#, "y".repeat(900_000)),
        format!(r#"{time},"event_type":"x","other":"{}"}}"#, "z".repeat(900_000)),
    ]
    .into_iter()
    .map(String::into_bytes)
    .chain([b"\xff\xfe\0".to_vec(), format!("{time},\"x\":\"").into_bytes()])
    .chain([[time.as_bytes(), b",\"event_type\":\"x\",\"unknown\":\"\xff\"}"].concat()])
    .collect();
    let line = |(at, body): (usize, Vec<u8>)| {
        [format!("{{\"seq\":{},", seq + at as u64).into_bytes(), body].concat()
    };
    bodies.into_iter().enumerate().map(line).collect()
}

#[test]
fn every_shape_of_line_comes_back_to_the_byte() {
    let lines = strange(41);
    comes_back(41, &lines);
    for (at, line) in lines.iter().enumerate() {
        comes_back(41 + at as u64, std::slice::from_ref(line));
    }
}

/// The records of a log into which events of a file were imported.
fn imported(file: &str) -> Vec<Vec<u8>> {
    let dir = Dir::new();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    let (code, _, err) = run(&dir, &["record", "--file", path.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{err}");
    all_lines(&dir.log()).into_iter().map(String::into_bytes).collect()
}

#[test]
fn real_events_come_back_in_several_row_groups() {
    let lines = imported("cloudtrail_sample.ndjson");
    assert!(lines.len() > 100, "{}", lines.len());
    comes_back(0, &lines);
    // As a long log has them: the same again and again under other seqs.
    let many: Vec<_> = (0..21_000_u64)
        .map(|seq| {
            let line = &lines[seq as usize % lines.len()];
            let comma = memchr::memchr(b',', line).expect("a comma");
            [format!("{{\"seq\":{}", 7 + seq).as_bytes(), &line[comma..]].concat()
        })
        .collect();
    comes_back(7, &many);
    let raw: usize = many.iter().map(Vec::len).sum();
    assert!(made(&place(7, many.len()), &many).len() * 5 < raw, "compressed");
}

#[test]
fn the_vectors_of_the_documentation_come_back() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vectors");
    let mut seen = 0;
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the vectors") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "audit.log") {
                let text = std::fs::read(&path).expect("read");
                let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let whole = lines.iter().filter_map(|line| {
                    auditctl::audit::record::peek_seq(line).map(|seq| (seq, line.clone()))
                });
                for (seq, line) in whole {
                    comes_back(seq, &[line]);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 5, "{seen} lines were seen");
}

#[test]
fn a_place_without_records_has_a_file_without_rows() {
    let place = place(5, 3);
    let file = made(&place, &[]);
    assert_eq!(read(&file, &place), Ok(Vec::new()));
    assert!(checked(&file, &place, &strange(5)[..3]).is_err());
}

/// A JSON value as somebody may have written it.
fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "\\PC{0,12}".prop_map(|text| serde_json::to_string(&text).expect("JSON")),
        "[ \t]{0,2}\\{\"[a-z]{1,3}\"[ ]?:[ ]?[0-9]{1,4}\\}[ ]?",
        "\\[[0-9]{1,3}(,\"[a-z\\\\\"]{0,3}\")?\\]",
    ]
}

fn member() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        "(timestamp|event_type|actor|source|target|outcome|details|origin|recorded_at|id|seq)",
        "[a-z]{1,4}",
    ];
    let time = Just("\"2026-02-04T21:09:40.123456Z\"".to_owned());
    (key, prop_oneof![json(), time]).prop_map(|(key, value)| format!("\"{key}\":{value}"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let as_written = (
        "\\PC{0,10}",
        proptest::option::of("\\PC{0,10}"),
        proptest::option::of(json()),
        any::<bool>(),
    )
        .prop_map(|(event_type, actor, details, has_time)| {
            let text = |text: &str| serde_json::to_string(text).expect("JSON");
            let mut line = format!(
                "\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\"event_type\":{}",
                text(&event_type)
            );
            line.extend(actor.map(|actor| format!(",\"actor\":{}", text(&actor))));
            line.extend(details.map(|details| format!(",\"details\":{details}")));
            line.push_str(",\"origin\":{\"via\":\"library\"}");
            if has_time {
                line.push_str(",\"recorded_at\":\"2026-02-05T21:09:40.000000Z\"");
            }
            line.push('}');
            line.into_bytes()
        });
    let members = proptest::collection::vec(member(), 0..6)
        .prop_map(|members| format!("{}}}", members.join(",")).into_bytes());
    let bytes = proptest::collection::vec(any::<u8>(), 0..40)
        .prop_map(|bytes| bytes.into_iter().filter(|byte| *byte != b'\n').collect());
    prop_oneof![4 => as_written, 3 => members, 1 => bytes]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_lines_they_come_back(
        first in 0_u64..1 << 40, bodies in proptest::collection::vec(body(), 1..12)
    ) {
        let lines: Vec<Vec<u8>> = bodies
            .into_iter()
            .enumerate()
            .map(|(at, body)| {
                [format!("{{\"seq\":{},", first + at as u64).into_bytes(), body].concat()
            })
            .collect();
        let place = place(first, lines.len());
        let file = made(&place, &lines);
        prop_assert_eq!(read(&file, &place), Ok(lines.clone()));
        prop_assert!(checked(&file, &place, &lines).is_ok());
    }
}

/// Damage never passes for other lines, and never ends the program.
#[test]
fn a_file_with_any_byte_changed_or_cut_anywhere_gives_an_error_or_the_same_lines() {
    let lines: Vec<_> = strange(9).into_iter().filter(|line| line.len() < 1000).collect();
    let lines: Vec<_> = (9_u64..)
        .zip(&lines)
        .map(|(seq, line)| {
            let comma = memchr::memchr(b',', line).expect("a comma");
            [format!("{{\"seq\":{seq}").as_bytes(), &line[comma..]].concat()
        })
        .collect();
    let place = place(9, lines.len());
    let file = made(&place, &lines);
    let mut found = 0;
    for at in 0..file.len() {
        for change in [1, 0xff] {
            let mut damaged = file.clone();
            damaged[at] ^= change;
            let read = catch_unwind(AssertUnwindSafe(|| checked(&damaged, &place, &lines)));
            match read {
                Ok(Ok(())) => {}
                Ok(Err(_)) => found += 1,
                Err(_) => panic!("byte {at} ^ {change:#x} ends the program"),
            }
        }
    }
    assert!(found * 10 > file.len() * 2 * 7, "{found} of {}", file.len() * 2);
    for cut in (0..file.len()).step_by(7) {
        assert!(checked(&file[..cut], &place, &lines).is_err(), "cut to {cut}");
    }
}

/// `PARQUET_SEEDS=fuzz/corpus/parquet cargo test … -- --ignored the_first_inputs`: seeds.py
/// cannot make files of the log that the fuzz target names.
#[test]
#[ignore = "makes the first inputs of the fuzz target in PARQUET_SEEDS"]
fn the_first_inputs_of_the_fuzz_target() {
    let folder = std::env::var_os("PARQUET_SEEDS").expect("PARQUET_SEEDS");
    let folder = std::path::Path::new(&folder);
    let name = format!(
        "parquet/v1/day=2026-02-04/host=web-1/0123456789abcdef.e0.{:020}-{:020}.parquet",
        0,
        1_u64 << 40
    );
    let place = match name.parse() {
        Ok(auditctl::archive::ObjectName::Parquet(place)) => place,
        other => panic!("{other:?}"),
    };
    let short = |lines: Vec<Vec<u8>>| lines.into_iter().filter(|line| line.len() < 1000);
    let strange: Vec<_> = short(strange(0)).collect();
    let real: Vec<_> = short(imported("cloudtrail_sample.ndjson")).take(12).collect();
    let seeds = [
        ("strange", made(&place, &strange)),
        ("one", made(&place, &strange[..1])),
        ("kept-line", made(&place, &strange[11..12])),
        ("real", made(&place, &real)),
        ("none", made(&place, &[])),
        ("lines", strange.join(&b'\n')),
        ("real-lines", real[..3].join(&b'\n')),
    ];
    for (name, bytes) in seeds {
        std::fs::write(folder.join(name), bytes).expect("written");
    }
}
