//! The table of limits is the documents', and what it says is so: one below, at, and one
//! above.

use std::path::Path;
use std::sync::Arc;

use auditctl::access::{MAX_NAME_CHARS, check_name};
use auditctl::audit::files::gzip::MAX_BLOCK_BYTES;
use auditctl::audit::keys::checkpoint::{
    MAX_LOG_ID_BYTES, MAX_NOTE_BYTES, MAX_SIGNATURES, Note, Origin,
};
use auditctl::audit::record::event::{
    EventLimits, MAX_DETAILS_BYTES, MAX_EVENT_TYPE_BYTES, MAX_ID_BYTES, MAX_IDENTIFIER_BYTES,
    MAX_LINE_BYTES,
};
use auditctl::audit::record::sanitize::MAX_DETAILS_DEPTH;
use auditctl::audit::{Event, EventError, ParseMode, member_lengths};
use auditctl::backup::{BackupDir, BackupId, Catalog, DrillReport, heads};
use auditctl::fsio::{Fs, OpenMode, OsFs};
use auditctl::limits::{Limit, TABLE, rows};
use auditctl::origin_prefix::OriginPrefix;

use crate::support::{Dir, run};

#[test]
fn the_format_document_has_the_table_of_limits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md");
    let document = std::fs::read_to_string(path).expect("the document");
    let (_, rest) = document.split_once("<!-- limits: begin -->\n").expect("where it begins");
    let (table, _) = rest.split_once("<!-- limits: end -->").expect("where it ends");
    let head = ["| limit | at most | of what | above it |", "|---|---|---|---|"];
    let wanted: Vec<String> = head.map(str::to_owned).into_iter().chain(rows()).collect();
    let written: Vec<&str> = table.lines().filter(|line| !line.is_empty()).collect();
    let missing: Vec<_> = wanted.iter().filter(|row| !written.contains(&row.as_str())).collect();
    let extra: Vec<_> =
        written.iter().filter(|row| !wanted.contains(&(**row).to_owned())).collect();
    assert!(missing.is_empty(), "not in docs/format.md:\n{missing:#?}");
    assert!(extra.is_empty(), "in docs/format.md and not in src/limits.rs:\n{extra:#?}");
    assert_eq!(written, wanted, "in the same order");
}

#[test]
fn every_limit_has_a_name_of_its_own_and_says_all() {
    let mut names: Vec<&str> = TABLE.iter().map(|limit| limit.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
    for Limit { name, value, unit, bounds, above } in TABLE {
        let said = [name, unit, bounds, above].iter().all(|text| text.len() > 2);
        assert!(said && *value > 0 && !bounds.contains('|') && !above.contains('|'), "{name}");
    }
}

/// Texts of that many bytes in UTF-8, the last character of one to four of them.
fn texts(bytes: usize) -> Vec<String> {
    ["a", "é", "€", "😀"].iter().map(|last| "a".repeat(bytes - last.len()) + last).collect()
}

#[test]
fn an_events_fields_are_taken_up_to_their_bytes_whatever_characters_they_are_of() {
    for (field, limit) in [
        ("event_type", MAX_EVENT_TYPE_BYTES),
        ("actor", MAX_IDENTIFIER_BYTES),
        ("source", MAX_IDENTIFIER_BYTES),
        ("target", MAX_IDENTIFIER_BYTES),
        ("outcome", MAX_IDENTIFIER_BYTES),
        ("id", MAX_ID_BYTES),
    ] {
        for bytes in [limit - 1, limit, limit + 1] {
            for text in texts(bytes) {
                let mut fields = serde_json::json!({ "event_type": "e" });
                fields[field] = text.clone().into();
                let line = fields.to_string();
                let event = Event::from_json(line.as_bytes(), ParseMode::Strict);
                let checked = event.and_then(|mut event| event.check(&EventLimits::default()));
                if bytes <= limit {
                    assert!(checked.is_ok(), "{field} of {bytes} bytes: {text}");
                    continue;
                }
                let error = checked.expect_err("above");
                let wanted = EventError::TooLong { field: "", limit, actual: bytes };
                assert_eq!(
                    error.to_string(),
                    wanted.to_string().replacen("``", &format!("`{field}`"), 1),
                    "{text}"
                );
            }
        }
    }
}

/// A JSON object of that many bytes.
fn object(bytes: usize) -> String {
    format!("{{\"x\":\"{}\"}}", "y".repeat(bytes - r#"{"x":""}"#.len()))
}

#[test]
fn details_and_lines_are_taken_up_to_their_bytes() {
    let check = |details: &str, limits: &EventLimits| {
        let line = format!("{{\"event_type\":\"e\",\"details\":{details}}}");
        Event::from_json(line.as_bytes(), ParseMode::Strict)
            .and_then(|mut event| event.check(limits))
    };
    for limits in [EventLimits::default(), EventLimits { max_details_bytes: MAX_DETAILS_BYTES }] {
        let limit = limits.max_details_bytes;
        for bytes in [limit - 1, limit] {
            assert!(check(&object(bytes), &limits).is_ok(), "{bytes}");
        }
        let error = check(&object(limit + 1), &limits).expect_err("above");
        assert_eq!(error.kind(), "too_large", "{error}");
    }
    let nested =
        |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    for depth in [MAX_DETAILS_DEPTH - 1, MAX_DETAILS_DEPTH] {
        assert!(check(&nested(depth), &EventLimits::default()).is_ok(), "{depth}");
    }
    assert!(check(&nested(MAX_DETAILS_DEPTH + 1), &EventLimits::default()).is_err());
    for bytes in [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1] {
        // Whitespace between its members is a line's, too.
        let line = r#"{"event_type":"e"}"#;
        let line = format!("{{{}{}", " ".repeat(bytes - line.len()), &line[1..]);
        assert_eq!(line.len(), bytes);
        let event = Event::from_json(line.as_bytes(), ParseMode::Strict);
        assert_eq!(event.is_ok(), bytes <= MAX_LINE_BYTES, "{bytes}");
    }
}

#[test]
fn an_archives_members_are_taken_up_to_two_mebibytes() {
    use std::io::Write;
    let dir = Dir::new();
    let path = dir.path().join("members.gz");
    for bytes in [MAX_BLOCK_BYTES - 1, MAX_BLOCK_BYTES, MAX_BLOCK_BYTES + 1] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![b'x'; bytes]).expect("in memory");
        let member = encoder.finish().expect("in memory");
        std::fs::write(&path, [&member[..], &member].concat()).expect("written");
        let file = OsFs.open(&path, OpenMode::Read).expect("open");
        let lengths = member_lengths(&*file);
        if bytes <= MAX_BLOCK_BYTES {
            assert_eq!(lengths.expect("two members"), [member.len() as u64; 2], "{bytes}");
        } else {
            assert!(lengths.expect_err("above").to_string().contains("more than 2097152 bytes"));
        }
    }
}

#[test]
fn log_ids_and_tokens_names_are_taken_up_to_their_length() {
    for (length, fits) in [(-1_isize, true), (0, true), (1, false)] {
        let id = "a".repeat(MAX_LOG_ID_BYTES.checked_add_signed(length).expect("positive"));
        assert_eq!(Origin::new(&OriginPrefix::default(), &id, 0).is_ok(), fits, "{id}");
        let name = "n".repeat(MAX_NAME_CHARS.checked_add_signed(length).expect("positive"));
        assert_eq!(check_name(&name).is_ok(), fits, "{name}");
    }
}

/// A note with that many signatures of nobody.
fn note(text: &str, signatures: usize) -> String {
    format!("{text}\n\n{}", "— nobody AAAAAAAA\n".repeat(signatures))
}

#[test]
fn notes_are_read_up_to_their_bytes_and_signatures() {
    for (more, fits) in [(-1_isize, true), (0, true), (1, false)] {
        let count = MAX_SIGNATURES.checked_add_signed(more).expect("positive");
        let parsed = Note::parse(note("x", count).as_bytes());
        assert_eq!(parsed.is_ok(), fits, "{count} signatures: {parsed:?}");
        let bytes = MAX_NOTE_BYTES.checked_add_signed(more).expect("positive");
        let text = "x".repeat(bytes - note("", 1).len());
        let whole = note(&text, 1);
        assert_eq!(whole.len(), bytes);
        assert_eq!(Note::parse(whole.as_bytes()).is_ok(), fits, "{bytes} bytes");
    }
}

/// Each JSON file of backups, filled up with whitespace.
#[test]
fn backups_files_are_read_up_to_their_bytes() {
    let limit = |name: &str| {
        let found = TABLE.iter().find(|limit| limit.name == name).expect("it is in the table");
        usize::try_from(found.value).expect("it fits")
    };
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "e"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    let (code, out, _) = run(&dir, &["restore", "latest", "--drill", "--json"]);
    assert_eq!(code, 0);
    let drilled: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let report = std::fs::read(dir.path().join(drilled["report"].as_str().expect("a path")));
    let report = report.expect("read");
    let id: BackupId = drilled["drill"]["backup"].as_str().expect("an id").parse().expect("an id");
    let backups = BackupDir::new(Arc::new(OsFs), &dir.path().join("backups/audit"));
    let filled = |text: &[u8], bytes: usize| {
        let mut text = text.to_vec();
        text.resize(bytes, b' ');
        text
    };
    let metadata = backups.join(&format!("audit_backup_{id}.json"));
    let catalog = backups.join(".catalog.json");
    let (metadata_text, catalog_text) =
        (std::fs::read(&metadata).expect("read"), std::fs::read(&catalog).expect("read"));
    for (more, fits) in [(-1_isize, true), (0, true), (1, false)] {
        let of = |name: &str| limit(name).checked_add_signed(more).expect("positive");
        assert_eq!(DrillReport::parse(&filled(&report, of("drill report"))).is_ok(), fits);
        std::fs::write(&metadata, filled(&metadata_text, of("backup metadata"))).expect("written");
        assert_eq!(backups.metadata(id).is_ok(), fits, "{more}");
        std::fs::write(&metadata, &metadata_text).expect("written");
        std::fs::write(&catalog, filled(&catalog_text, of(".catalog.json"))).expect("written");
        let read = Catalog::peek(&OsFs, backups.path()).expect("none is newer");
        assert_eq!(read.is_some(), fits, "{more}");
    }
}

/// What is behind a metadata file's head does not matter to those who look at the head.
#[test]
fn a_backups_head_is_found_within_its_bytes_and_not_behind() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "e"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    let backups = dir.path().join("backups/audit");
    let path = std::fs::read_dir(&backups)
        .expect("backups")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.to_string_lossy().ends_with(".json") && !path.ends_with(".catalog.json"))
        .expect("metadata");
    let mut value: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
    let checkpoint = value["checkpoint"].take().to_string();
    let object = value.as_object_mut().expect("an object");
    object.remove("checkpoint");
    let rest = value.to_string();
    let limit = TABLE.iter().find(|limit| limit.name == "backup metadata, its head");
    let limit = usize::try_from(limit.expect("it is in the table").value).expect("it fits");
    for (more, fits) in [(-1_isize, true), (0, true), (1, false)] {
        let end = limit.checked_add_signed(more).expect("positive");
        let head = format!("{},\"checkpoint\":", &rest[..rest.len() - 1]);
        let gap = " ".repeat(end - head.len() - checkpoint.len());
        let text = format!("{head}{gap}{checkpoint}}}\n");
        std::fs::write(&path, text).expect("written");
        let found = heads(&OsFs, &backups, None, 9).expect("listed");
        assert_eq!(found.heads.len() == 1, fits, "{more}: {:?}", found.skipped);
    }
}

/// A log whose largest records are beside each other: no block of it, and no member of its
/// backup, holds more than was promised.
#[test]
fn blocks_of_the_largest_records_keep_the_promise() {
    let dir = Dir::new();
    let details = object(MAX_DETAILS_BYTES);
    let line = format!("{{\"event_type\":\"e\",\"details\":{details}}}\n");
    std::fs::write(dir.path().join("m"), line.repeat(9)).expect("written");
    std::fs::write(dir.path().join("auditctl.toml"), "max_details_size = \"512KiB\"\n")
        .expect("written");
    let (code, _, err) = run(&dir, &["record", "--file", "m"]);
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = run(&dir, &["backup", "--json"]);
    assert_eq!(code, 0, "{err}");
    let made: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let archive = dir.path().join(made["backup"]["file"].as_str().expect("a file"));
    let file = OsFs.open(&archive, OpenMode::Read).expect("open");
    let lengths = member_lengths(&*file).expect("none is larger");
    assert!(lengths.len() > 3, "{lengths:?}");
    assert_eq!(run(&dir, &["verify", "latest"]).0, 0);
}
