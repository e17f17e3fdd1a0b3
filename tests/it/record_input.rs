//! What `record --file` reads, and where it says that something is wrong.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, missing, records};

const TEXT: &str =
    "{\"event_type\":\"a\",\"actor\":\"J\u{fc}rgen \u{1f600}\"}\n{\"event_type\":\"b\"}\n";

fn record(dir: &Dir, file: &Path) -> Output {
    let file = file.to_str().expect("utf-8");
    auditctl(dir, &["record", "--file", file, "--json"]).output().expect("record")
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("packed");
    encoder.finish().expect("packed")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).expect("packed")
}

fn utf16(text: &str, is_big: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff_u16).chain(text.encode_utf16());
    units.flat_map(|u| if is_big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
}

/// Both events, as they are, in the order of the text.
fn both_are_there(dir: &Dir, what: &str) {
    let of_senders: Vec<Value> = records(&dir.log())
        .into_iter()
        .map(|(_, record)| record)
        .filter(|record| record["origin"]["import"] == true)
        .collect();
    let types: Vec<_> = of_senders.iter().map(|record| &record["event_type"]).collect();
    assert_eq!(types, ["a", "b"], "{what}");
    assert_eq!(of_senders[0]["actor"], "J\u{fc}rgen \u{1f600}", "{what}");
}

/// C12.
#[test]
fn files_and_standard_input_are_read_whatever_they_are_packed_in() {
    let marked = format!("\u{feff}{TEXT}");
    let (one, two) = TEXT.split_at(TEXT.find('\n').expect("two lines") + 1);
    for (what, bytes) in [
        ("plain", TEXT.as_bytes().to_vec()),
        ("with a byte order mark", marked.clone().into_bytes()),
        ("a mark in the middle", format!("{one}\u{feff}{two}").into_bytes()),
        ("UTF-16, little-endian", utf16(TEXT, false)),
        ("UTF-16, big-endian", utf16(TEXT, true)),
        ("gzip", gzip(TEXT.as_bytes())),
        ("gzip, two members", [gzip(one.as_bytes()), gzip(two.as_bytes())].concat()),
        ("zstd", zstd(TEXT.as_bytes())),
        ("zstd, two frames", [zstd(one.as_bytes()), zstd(two.as_bytes())].concat()),
        ("gzip of a marked text", gzip(marked.as_bytes())),
    ] {
        let dir = Dir::new();
        let file = dir.path().join("events.log");
        std::fs::write(&file, &bytes).expect("file");
        let output = record(&dir, &file);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        both_are_there(&dir, what);
        let piped = Dir::new();
        let mut child = auditctl(&piped, &["record", "--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("record");
        child.stdin.take().expect("piped").write_all(&bytes).expect("written");
        assert!(child.wait().expect("ended").success(), "{what}, from a pipe");
        both_are_there(&piped, what);
    }
}

/// C12.
#[test]
fn pipes_are_read_by_whatever_name_the_shell_gives_them() {
    let program = env!("CARGO_BIN_EXE_auditctl");
    for (what, script) in [
        ("a FIFO", "mkfifo p; cat events > p & \"$0\" record --file p; wait"),
        ("a substitution", "\"$0\" record --file <(cat events)"),
        ("standard input by its path", "cat events | \"$0\" record --file /dev/stdin"),
        ("standard input from a file", "\"$0\" record --file - < events"),
        ("a packed FIFO", "mkfifo p; gzip -c events > p & \"$0\" record --file p; wait"),
    ] {
        let dir = Dir::new();
        std::fs::write(dir.path().join("events"), TEXT).expect("file");
        let output = Command::new("bash")
            .args(["-euc", script, program])
            .current_dir(dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output();
        let Ok(output) = output else { return missing("script") };
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        both_are_there(&dir, what);
    }
}

/// What is said of an input, with exit 2.
fn said_of(bytes: &[u8]) -> (String, Value) {
    let dir = Dir::new();
    let file = dir.path().join("events");
    std::fs::write(&file, bytes).expect("file");
    let output = record(&dir, &file);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let text = format!("{} {}", told["error"]["message"], told["error"]["hint"]);
    (text, told)
}

/// C12.
#[test]
fn an_error_has_one_place_and_it_is_that_of_the_input() {
    let good = "{\"event_type\":\"a\"}\n".repeat(48);
    let (text, told) = said_of(format!("{good}{{\"a\":}}\n").as_bytes());
    assert!(text.contains("line 49, column 6: "), "{text}");
    assert!(!text.contains("line 1"), "{text}");
    assert_eq!(told["recorded"], 48);
    let rejected = &told["rejected"][0];
    assert_eq!((&rejected["line"], &rejected["column"]), (&49.into(), &6.into()));
    let latin = [good.as_bytes(), b"{\"event_type\":\"caf\xe9\"}\n"].concat();
    let (text, _) = said_of(&latin);
    assert!(text.contains("line 49, column 19: "), "{text}");
    assert!(text.contains("byte 0xe9 is not UTF-8") && text.contains("iconv"), "{text}");
}

/// C13.
#[test]
fn a_file_of_another_shape_is_told_what_to_do_and_not_to_keep_going() {
    for shape in [
        "{\"Records\":[{\"eventName\":\"ConsoleLogin\"}]}\n",
        "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\"}\n",
    ] {
        let (text, _) = said_of(shape.as_bytes());
        assert!(text.contains("event_type") && text.contains("jq"), "{text}");
        assert!(!text.contains("--keep-going"), "{text}");
    }
    let (text, _) = said_of(b"{\"event_type\":\"a\",\"shoe_size\":44}\n");
    assert!(text.contains("--lenient"), "{text}");
    let dir = Dir::new();
    std::fs::write(dir.path().join("events"), TEXT).expect("file");
    let args = ["record", "--type", "x", "--file", "events"];
    let output = auditctl(&dir, &args).output().expect("record");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--type x describes one event") && said.contains("jq"), "{said}");
    assert!(!dir.log().exists());
}

/// C12: the other places that speak of JSON.
#[test]
fn every_door_says_one_place() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    let marked = peer.ask("\u{feff}{\"event_type\":\"marked\"}");
    assert!(marked["ok"]["seq"].is_u64(), "{marked}");
    let mut said = vec![
        peer.ask("{\"event_type\":}").to_string(),
        peer.ask("{\"query\":{\"limt\":1}}").to_string(),
        peer.ask("{\"query\":{").to_string(),
    ];
    let (status, _, told) =
        collector.post("application/json", "", "\u{feff}{\"event_type\":\"m\"}");
    assert_eq!(status, 201, "{told}");
    for body in ["{\"event_type\":}", "{\n \"event_type\":\n}"] {
        said.push(collector.post("application/json", "", body).2.to_string());
    }
    said.push(collector.post("application/x-ndjson", "", "{}\n{\"event_type\":}\n").2.to_string());
    let details = ["record", "--type", "x", "--details", "{\"a\":"];
    let output = auditctl(&dir, &details).output().expect("record");
    said.push(String::from_utf8_lossy(&output.stderr).into_owned());
    for text in &said {
        assert!(!text.contains("at line 1 column"), "{text}");
    }
    assert!(said[0].contains("at column 15"), "{}", said[0]);
    assert!(said[4].contains("at line 3, column 1"), "{}", said[4]);
}
