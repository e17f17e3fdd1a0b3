//! Hostile input through every door: each gets its named error, nothing crashes
//! or grows, and the log stays as it was.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use auditctl::audit::record::event::{DEFAULT_MAX_DETAILS_BYTES, EventLimits, MAX_LINE_BYTES};
use auditctl::audit::{Batch, Event, EventError, Origin, ParseMode, Via};
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::support::{
    Dir, all_lines, auditctl, eventually, open, options, peak_kib, root_agrees, run, types,
};

/// What a process may have in memory, whatever it reads.
const MOST_KIB: u64 = 200 << 10;
const DEEP: usize = 100_000;

/// A line, and the kind of its error.
type Bad = (&'static str, Vec<u8>, &'static str);

fn in_details(value: &str) -> Vec<u8> {
    format!("{{\"event_type\":\"x\",\"details\":{{\"v\":{value}}}}}").into_bytes()
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

fn bad_lines() -> Vec<Bad> {
    let long = |bytes: usize| "a".repeat(bytes);
    vec![
        ("nested 100,000 deep", in_details(&nested(DEEP)), "invalid"),
        ("100,000 objects begun", "{\"a\":".repeat(DEEP).into_bytes(), "malformed"),
        ("100,000 arrays", nested(DEEP).into_bytes(), "malformed"),
        ("deeper than readers follow", in_details(&nested(101)), "invalid"),
        ("a number beyond f64", in_details("1e400"), "invalid"),
        ("a number of 400 digits", in_details(&"9".repeat(400)), "invalid"),
        ("a time beyond f64", b"{\"event_type\":\"x\",\"timestamp\":1e999}".to_vec(), "invalid"),
        ("half a surrogate pair", in_details("\"\\ud800\""), "invalid"),
        ("the other half", in_details("\"\\udc00 \\ud800\""), "invalid"),
        ("half a pair in a name", b"{\"event_type\":\"\\ud800\"}".to_vec(), "malformed"),
        ("a key twice", b"{\"event_type\":\"x\",\"event_type\":\"y\"}".to_vec(), "invalid"),
        ("an unknown key twice", b"{\"event_type\":\"x\",\"z\":1,\"z\":2}".to_vec(), "invalid"),
        (
            "a key in two spellings",
            b"{\"event_type\":\"x\",\"event\\u005ftype\":\"y\"}".to_vec(),
            "invalid",
        ),
        ("a key of details twice", in_details("{\"a\":1,\"b\":[{}],\"a\":2}"), "invalid"),
        ("the same, escaped", in_details("{\"a\":1,\"\\u0061\":2}"), "invalid"),
        ("no UTF-8", b"{\"event_type\":\"\xff\xfe\"}".to_vec(), "malformed"),
        ("a surrogate in UTF-8", b"{\"event_type\":\"\xed\xa0\x80\"}".to_vec(), "malformed"),
        ("NUL", b"{\"event_type\":\"a\0b\"}".to_vec(), "malformed"),
        ("only NULs", vec![0; 4_096], "malformed"),
        ("a raw escape", b"{\"event_type\":\"\x1b[2J\"}".to_vec(), "malformed"),
        ("no object", b"[1]".to_vec(), "malformed"),
        ("null", b"null".to_vec(), "malformed"),
        ("half a line", b"{\"event_type\":\"x\"".to_vec(), "malformed"),
        ("two objects", b"{\"event_type\":\"x\"}{\"event_type\":\"y\"}".to_vec(), "malformed"),
        ("no type", b"{}".to_vec(), "invalid"),
        ("an empty type", b"{\"event_type\":\"\"}".to_vec(), "invalid"),
        ("the log's own type", b"{\"event_type\":\"audit.closed\"}".to_vec(), "invalid"),
        ("a forged seq", b"{\"event_type\":\"x\",\"seq\":0}".to_vec(), "invalid"),
        ("a forged origin", b"{\"event_type\":\"x\",\"origin\":{\"uid\":0}}".to_vec(), "invalid"),
        (
            "a type too long",
            format!("{{\"event_type\":\"{}\"}}", long(129)).into_bytes(),
            "too_large",
        ),
        (
            "details too large",
            in_details(&format!("\"{}\"", long(DEFAULT_MAX_DETAILS_BYTES))),
            "too_large",
        ),
        ("a huge text instead", format!("{:?}", long(60_000)).into_bytes(), "malformed"),
    ]
}

/// Longer than a line may be: its own row, as the socket hangs up after it.
fn too_long() -> Vec<u8> {
    in_details(&format!("\"{}\"", "a".repeat(MAX_LINE_BYTES)))
}

const GOOD: &str = "{\"event_type\":\"good\",\"actor\":\"alice\"}";

/// Every file of a directory, byte for byte, but for what is written on purpose: the status
/// page, and what commands found, for health.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    const NOTED: [&str; 2] = ["audit.status", "audit.findings.json"];
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.is_file() && !NOTED.iter().any(|name| path.ends_with(name)) {
            found.insert(path.clone(), fs::read(&path).expect("readable"));
        }
    }
    found
}

/// The records, and nothing around them that a checkpoint or a clock changes.
fn log_file(dir: &Dir) -> Vec<u8> {
    fs::read(dir.log().join("audit.log")).expect("audit.log")
}

#[test]
fn the_library_names_what_is_wrong_and_keeps_none_of_it() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let session = log.session(&Origin::here(Via::Library), false);
    let before = log_file(&dir);
    let mut batch = Batch::new();
    for (what, line, kind) in bad_lines().into_iter().chain([("too long", too_long(), "too_large")])
    {
        let parsed = Event::from_json(&line, ParseMode::Strict)
            .and_then(|mut event| event.check(&EventLimits::default()).map(|_| ()));
        let error: EventError = parsed.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().len() < 1_024, "{what} is repeated at length");
        let refused = session.prepare(&line, ParseMode::Strict, &mut batch).expect_err(what);
        assert_eq!(refused.kind(), kind, "{what}");
        assert!(batch.is_empty(), "{what}: nothing of it is kept");
    }
    assert_eq!(log_file(&dir), before);
    let next = log.acked_seq();
    let seq = log.record(Event::new("good")).expect("recorded").wait().expect("durable");
    assert_eq!(seq, next, "no seq was used up");
}

#[test]
fn what_is_merely_strange_is_recorded_and_shown_without_effect() {
    let dir = Dir::new();
    let strange = [
        r#"{"event_type":"a\u0000b","actor":"\u001b[2J\u001b]0;owned\u0007","source":"\u202e\u2028"}"#,
        r#"{"event_type":"x","target":"\u009b31m","details":{"t":"\u001b[31mred\u0000","\u001b":1}}"#,
        r#"{"event_type":"x","details":{"n":-0.0,"m":1e308,"e":1e-400,"k":123456789012345678901234567890}}"#,
    ];
    fs::write(dir.path().join("events"), strange.join("\n")).expect("written");
    let (code, _, err) = run(&dir, &["record", "--file", "events"]);
    assert_eq!(code, 0, "{err}");
    let collector = Serving::start(&dir, "");
    for args in [
        &["query"][..],
        &["query", "--format", "table"],
        &["query", "--format", "csv"],
        &["query", "--group-by", "actor"],
        &["query", "--group-by", "target", "--format", "table"],
        &["query", "--json"],
        &["monitor", "--once"],
        &["monitor", "--once", "--json"],
        &["health"],
        &["verify"],
        &["query", "--actor", "\u{1b}[2J"],
        &["query", "--where", "details.\u{1b}=1"],
        &["record", "--type", "\u{1b}[2J", "--details", "\u{1b}"],
        &["restore", "\u{1b}[2J"],
        &["\u{1b}[2J"],
    ] {
        let (_, out, err) = run(&dir, args);
        for (text, stream) in [(out, "stdout"), (err, "stderr")] {
            let obeyed = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2028}".contains(c);
            // JSON is for programs: what is not ASCII's controls may stand there.
            let data = args.contains(&"--json")
                || args == ["query"]
                || args.contains(&"csv")
                || text.starts_with('{');
            let bad = text.chars().find(|c| if data { *c < ' ' && *c != '\n' } else { obeyed(*c) });
            assert_eq!(bad, None, "{args:?} on {stream}: {text:?}");
        }
    }
    collector.terminate();
}

/// Imports lines one below the other; (kinds by line, the seq of the last).
fn imported(dir: &Dir, lines: &[Bad]) -> (Vec<Value>, u64) {
    let mut text: Vec<u8> =
        lines.iter().flat_map(|(_, line, _)| [&line[..], b"\n"].concat()).collect();
    text.extend_from_slice(&[&too_long()[..], b"\n", GOOD.as_bytes()].concat());
    fs::write(dir.path().join("bad.ndjson"), text).expect("written");
    let (code, out, err) = run(dir, &["record", "--file", "bad.ndjson", "--keep-going", "--json"]);
    assert_eq!(code, 1, "{err}");
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(document["recorded"], 1, "{document}");
    let rejected = document["rejected"].as_array().expect("a list").clone();
    (rejected, document["first_seq"].as_u64().expect("a seq"))
}

#[test]
fn record_names_what_is_wrong_with_and_without_a_collector() {
    let lines = bad_lines();
    for with_collector in [false, true] {
        let dir = Dir::new();
        let collector = with_collector.then(|| Serving::start(&dir, ""));
        assert_eq!(run(&dir, &["record", "--type", "first"]).0, 0);
        let before = log_file(&dir);
        let (rejected, seq) = imported(&dir, &lines);
        assert_eq!(rejected.len(), lines.len() + 1, "with a collector: {with_collector}");
        for (number, (told, (what, _, kind))) in rejected.iter().zip(&lines).enumerate() {
            assert_eq!(
                (&told["line"], &told["kind"]),
                (&json!(number + 1), &json!(kind)),
                "{what}"
            );
        }
        assert_eq!(rejected[lines.len()]["kind"], "too_large");
        let after = log_file(&dir);
        assert!(after.starts_with(&before), "what was there stays as it was");
        let stored = all_lines(&dir.log());
        let good: Value = serde_json::from_str(&stored[seq as usize]).expect("a record");
        assert_eq!((&good["event_type"], &good["seq"]), (&json!("good"), &json!(seq)));
        let kinds = types(&dir.log());
        let events = kinds.iter().filter(|kind| !kind.starts_with("audit."));
        assert_eq!(events.collect::<Vec<_>>(), ["first", "good"]);
        if let Some(collector) = collector {
            collector.terminate();
        }
        root_agrees(&dir.log());
    }
}

#[test]
fn one_bad_event_on_the_command_line_is_a_usage_error_by_its_kind() {
    let dir = Dir::new();
    for (details, kind) in [
        (nested(DEEP / 10), "invalid"),
        ("{".to_owned(), "malformed"),
        (format!("{{\"a\":{}}}", nested(101)), "invalid"),
        ("{\"a\":1e400}".to_owned(), "invalid"),
        ("{\"a\":\"\\ud800\"}".to_owned(), "invalid"),
        ("{\"a\":1,\"a\":2}".to_owned(), "invalid"),
        (format!("{{\"a\":{:?}}}", "a".repeat(60_000)), "too_large"),
    ] {
        let (code, out, err) =
            run(&dir, &["record", "--type", "x", "--details", &details, "--json"]);
        let document: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((code, &document["error"]["kind"]), (2, &json!(kind)), "{err:.300}");
    }
    assert!(!dir.log().exists(), "no log is made for what cannot be recorded");
}

#[test]
fn the_socket_answers_each_by_its_kind_and_stays_open_until_a_line_is_too_long() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 100000\nburst = 100000\n");
    let mut peer = collector.connect();
    let first = peer.ask(GOOD)["ok"]["seq"].as_u64().expect("a seq");
    let before = log_file(&dir);
    for (what, line, kind) in bad_lines() {
        let mut sent = line.clone();
        sent.push(b'\n');
        peer.stream().write_all(&sent).expect("sent");
        let answer = peer.answer().expect(what);
        assert_eq!(answer["error"]["kind"], kind, "{what}: {answer}");
        assert!(answer.to_string().len() < 2_048, "{what} is repeated at length");
    }
    assert_eq!(log_file(&dir), before, "not a byte of it was written");
    assert_eq!(peer.ask(GOOD)["ok"]["seq"].as_u64(), Some(first + 1));
    // However its end comes: in one piece with the rest, or after it.
    for in_pieces in [false, true] {
        let mut peer = collector.connect();
        let mut line = too_long();
        line.extend_from_slice(format!("\n{GOOD}\n").as_bytes());
        let size = if in_pieces { 3_001 } else { line.len() };
        for piece in line.chunks(size) {
            if peer.stream().write_all(piece).is_err() {
                break;
            }
        }
        let answers = peer.rest();
        assert_eq!(answers.len(), 1, "it is hung up on: {answers:?}");
        assert_eq!(answers[0]["error"]["kind"], "too_large");
    }
    // The longest line that there may be is no reason to hang up.
    for end in ["\n", "\r\n"] {
        let mut line = in_details("1");
        line.resize(MAX_LINE_BYTES, b' ');
        line.extend_from_slice(end.as_bytes());
        let mut peer = collector.connect();
        peer.stream().write_all(&line).expect("sent");
        assert!(peer.answer().expect("an answer")["ok"].is_object());
    }
    // More queries at once than are answered at once.
    let mut peer = collector.connect();
    peer.send(&"{\"query\":{\"limit\":1}}\n".repeat(50));
    for _ in 0..50 {
        assert!(peer.answer().expect("an answer")["ok"].is_object());
    }
    collector.terminate();
    root_agrees(&dir.log());
}

/// Sends bytes as a body; the status and the error's kind.
fn posted(collector: &Serving, content_type: &str, more: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = std::net::TcpStream::connect(collector.http).expect("connect");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n{more}\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, serde_json::from_str(body).expect("JSON"))
}

#[test]
fn http_answers_each_by_its_kind_alone_and_among_others() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 100000\nburst = 100000\n");
    let statuses = BTreeMap::from([("malformed", 400), ("invalid", 422), ("too_large", 413)]);
    let (_, _, first) = collector.post("application/json", "", GOOD);
    let before = log_file(&dir);
    let lines = bad_lines();
    for (what, line, kind) in &lines {
        let (status, answer) = posted(&collector, "application/json", "", line);
        // An array has events, each of which is answered.
        let of_an_event = &answer["results"][0]["error"]["kind"];
        let told = if line.starts_with(b"[") { of_an_event } else { &answer["error"]["kind"] };
        assert_eq!((status, told), (statuses[kind], &json!(kind)), "{what}: {answer}");
    }
    let (status, answer) = posted(&collector, "application/json", "", &too_long());
    assert_eq!((status, &answer["error"]["kind"]), (413, &json!("too_large")));
    // A compressed body is unpacked as far as its bounds, and only where it says what it is.
    let packed = &bomb()[..1 << 20];
    let (status, answer) =
        posted(&collector, "application/json", "content-encoding: gzip\r\n", packed);
    assert_eq!((status, &answer["error"]["kind"]), (413, &json!("too_large")));
    let (status, answer) = posted(&collector, "application/json", "", packed);
    assert_eq!((status, &answer["error"]["kind"]), (400, &json!("malformed")));
    assert_eq!(log_file(&dir), before, "not a byte of it was written");
    let body: Vec<u8> = lines.iter().flat_map(|(_, line, _)| [&line[..], b"\n"].concat()).collect();
    let body = [&body[..], GOOD.as_bytes()].concat();
    let (status, answer) = posted(&collector, "application/x-ndjson", "", &body);
    assert_eq!((status, &answer["recorded"]), (207, &json!(1)));
    let results = answer["results"].as_array().expect("results");
    for (told, (what, _, kind)) in results.iter().zip(&lines) {
        assert_eq!(told["error"]["kind"], *kind, "{what}");
    }
    let seq = first["seq"].as_u64().expect("a seq") + 1;
    assert_eq!(results.last().expect("the good one")["seq"].as_u64(), Some(seq));
    collector.terminate();
}

/// 1 GiB of zeros as one gzip member.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        let zeros = vec![0; 1 << 20];
        for _ in 0..1_024 {
            packed.write_all(&zeros).expect("packed");
        }
        packed.finish().expect("packed")
    })
}

/// Runs it to its end and looks at its memory on the way: exit code, stdout,
/// stderr. It must end by itself, and have said no word of a panic.
fn bounded(mut command: Command, what: &str) -> (i32, String, String) {
    let take = |stream: Option<Box<dyn Read + Send>>| {
        let mut stream = stream.expect("piped");
        std::thread::spawn(move || {
            let mut text = Vec::new();
            stream.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
        })
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("auditctl runs");
    let out = take(child.stdout.take().map(|stream| Box::new(stream) as _));
    let err = take(child.stderr.take().map(|stream| Box::new(stream) as _));
    let (mut peak, mut ended) = (0, None);
    eventually(&format!("{what} ends"), || {
        peak = peak.max(peak_kib(child.id()).unwrap_or(0));
        ended = child.try_wait().expect("wait");
        ended.is_some()
    });
    let join = |thread: std::thread::JoinHandle<std::io::Result<String>>| {
        thread.join().expect("no panic").expect("output")
    };
    let (out, err) = (join(out), join(err));
    assert!(peak < MOST_KIB, "{what}: {peak} KiB");
    assert!(!err.contains("panicked"), "{what}: {err}");
    let code = ended.and_then(|status| status.code());
    (code.unwrap_or_else(|| panic!("{what}: ended by a signal: {err}")), out, err)
}

/// The kind in the one document that `--json` promises.
fn kind(out: &str) -> String {
    let document: Value =
        serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out:.300}"));
    document["error"]["kind"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn a_gibibyte_of_zeros_as_gzip_fills_no_memory_and_is_named_at_every_door() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "login"]).0, 0);
    let path = dir.path().join("bomb.gz");
    fs::write(&path, bomb()).expect("written");
    let before = contents(&dir.log());
    for (args, code, wanted) in [
        (&["restore", "bomb.gz", "--target", "beside", "--json"][..], 3, "bad_archive"),
        (&["restore", "bomb.gz", "--force", "--json"], 3, "bad_archive"),
    ] {
        let (found, out, err) = bounded(auditctl(&dir, args), &format!("{args:?}"));
        assert_eq!((found, &*kind(&out)), (code, wanted), "{args:?}: {err:.500}");
    }
    let (code, out, _) = bounded(auditctl(&dir, &["verify", "bomb.gz", "--json"]), "verify");
    assert!(code != 0 && out.contains("bomb.gz"), "{out:.500}");
    assert!(!dir.path().join("beside").exists());
    assert!(contents(&dir.log()) == before, "the log is as it was");
    let args = ["record", "--file", "bomb.gz", "--json"];
    let (code, out, err) = bounded(auditctl(&dir, &args), "record");
    // Unpacked as it is read, as other tools do.
    assert_eq!((code, &*kind(&out)), (2, "too_large"), "{err:.500}");
    let kinds = types(&dir.log());
    assert_eq!(kinds.iter().filter(|kind| !kind.starts_with("audit.")).count(), 1);
}

#[test]
fn a_bomb_in_a_sealed_segments_place_is_found_and_fills_no_memory() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "login"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    assert_eq!(run(&dir, &["record", "--type", "later"]).0, 0);
    assert_eq!(run(&dir, &["restore", "latest", "--force"]).0, 0);
    let segment = dir.log().join("audit.00000000000000000000.log.gz");
    let good = fs::read(&segment).expect("a sealed segment");
    fs::write(&segment, bomb()).expect("written");
    let before = contents(&dir.log());
    let (code, out, _) = bounded(auditctl(&dir, &["verify", "--json"]), "verify");
    assert_eq!(code, 1, "{out:.500}");
    let (_, out, _) = bounded(auditctl(&dir, &["query", "--json"]), "query");
    serde_json::from_str::<Value>(&out).expect("one document");
    let (code, out, _) = bounded(auditctl(&dir, &["backup", "--json"]), "backup");
    assert!(code != 0, "no backup of what is not there: {out:.300}");
    bounded(auditctl(&dir, &["health", "--json"]), "health");
    let mut after = contents(&dir.log());
    after.retain(|path, _| before.contains_key(path));
    assert!(after == before, "nobody mends it silently");
    fs::write(&segment, good).expect("put back");
    assert_eq!(run(&dir, &["verify"]).0, 0);
}

/// What somebody writes into our own files.
fn planted() -> Vec<(&'static str, Vec<u8>)> {
    let deep = format!("{{\"format\":{}", "[".repeat(DEEP));
    let absurd = format!(
        "{{\"format\":1,\"log_id\":\"\\u001b[2J\",\"epoch\":0,\"pruned\":{{\"begin\":0,\"end\":0,\"hashes\":[]}},\
         \"segments\":[{{\"file\":\"../../etc/passwd\",\"first_seq\":0,\"records\":{0},\"raw_bytes\":{0},\
         \"stored_bytes\":{0},\"sealed_at\":\"2026-01-01T00:00:00Z\",\"min_timestamp\":\"2026-01-01T00:00:00Z\",\
         \"max_timestamp\":\"2026-01-01T00:00:00Z\",\"blocks\":[]}}]}}",
        u64::MAX
    );
    vec![
        ("nothing", Vec::new()),
        ("NULs", vec![0; 8_192]),
        ("noise", (0..8_192_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("JSON 100,000 deep", deep.into_bytes()),
        ("absurd sizes", absurd.into_bytes()),
        ("escapes", b"\x1b[2J\x1b]0;owned\x07".to_vec()),
        ("numbers beyond f64", b"{\"format\":1e999,\"backups\":1e999}".to_vec()),
        ("no UTF-8", vec![0xff; 100]),
    ]
}

/// Runs every reader; none may crash, grow, obey or change anything in `below`.
fn readers_survive(dir: &Dir, what: &str) {
    let before = contents(&dir.log());
    for args in [
        &["health", "--json"][..],
        &["health"],
        &["health", "--format", "nagios"],
        &["health", "--format", "prometheus"],
        &["monitor", "--once", "--json"],
        &["monitor", "--once"],
        &["query", "--json"],
        &["query", "--format", "table", "--actor", "alice"],
        &["verify", "--json"],
        &["verify", "--quick"],
        &["verify", "--since-last"],
        &["checkpoint"],
        &["prove", "1"],
        &["list", "--json"],
        &["list"],
        &["validate", "--quick", "--json"],
        &["validate", "--quick"],
    ] {
        let case = format!("{args:?} with {what}");
        let (_, out, err) = bounded(auditctl(dir, args), &case);
        for text in [&out, &err] {
            let bad = text.chars().find(|c| c.is_control() && !"\n\t".contains(*c));
            assert_eq!(bad, None, "{case}: {text:?}");
        }
        if args.contains(&"--json") {
            serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
    }
    // What the last verification had proven is kept beside the log.
    let log = |mut files: BTreeMap<PathBuf, Vec<u8>>| {
        files.retain(|path, _| !path.to_string_lossy().contains("verif"));
        files
    };
    assert!(log(contents(&dir.log())) == log(before), "{what}: readers change nothing");
}

#[test]
fn hostile_files_in_the_log_directory_are_named_and_change_nothing() {
    // How `record`, which opens the log for writing, names each; none: it carries on.
    let files: [(&str, Option<&str>); 5] = [
        // Made anew from the segments; `audit.head` stands in for the checkpoint.
        ("audit.manifest.json", None),
        ("audit.checkpoint", None),
        ("audit.restore.json", Some("corrupt")),
        ("audit.status", None),
        ("audit.pub", None),
    ];
    for (name, wanted) in files {
        let dir = Dir::new();
        assert_eq!(run(&dir, &["record", "--type", "login", "--actor", "alice"]).0, 0);
        assert_eq!(run(&dir, &["verify", "--since-last"]).0, 0);
        let path = dir.log().join(name);
        let good = fs::read(&path).ok();
        for (what, content) in planted() {
            let case = format!("{what} in {name}");
            fs::write(&path, &content).expect("planted");
            readers_survive(&dir, &case);
            let before = contents(&dir.log());
            let args = ["record", "--type", "next", "--json"];
            let (code, out, err) = bounded(auditctl(&dir, &args), &case);
            if let Some(wanted) = wanted {
                assert_eq!((code, &*kind(&out)), (3, wanted), "{case}: {out:.500}");
                assert!(out.contains(name) && !err.contains('\u{1b}'), "{case}: {out:.500}");
                assert!(contents(&dir.log()) == before, "{case}: the log is as it was");
            } else {
                assert_eq!(code, 0, "{case}: {out:.500}");
            }
            match &good {
                Some(good) if wanted.is_some() => fs::write(&path, good).expect("put back"),
                None => fs::remove_file(&path).expect("removed"),
                // The program has put its own in place.
                Some(_) => {}
            }
            assert_eq!(run(&dir, &["verify", "--quick"]).0, 0, "{case}");
        }
        assert_eq!(run(&dir, &["record", "--type", "last"]).0, 0);
        root_agrees(&dir.log());
    }
}

/// A file of this length that takes no room.
fn sparse(path: &Path, bytes: u64) {
    fs::File::create(path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
}

#[test]
fn files_of_absurd_length_fill_no_memory() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "login", "--actor", "alice"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    let backups = dir.path().join("backups/audit");
    let metadata = fs::read_dir(&backups)
        .expect("backups")
        .map(|entry| entry.expect("entry").path())
        .find(|path| {
            path.extension().is_some_and(|kind| kind == "json") && !path.ends_with(".catalog.json")
        })
        .expect("metadata");
    let files = [
        "audit.manifest.json",
        "audit.checkpoint",
        "audit.status",
        "audit.pub",
        "audit.restore.json",
    ];
    let paths = files.iter().map(|name| dir.log().join(name));
    for path in paths.chain([metadata, backups.join(".catalog.json")]) {
        let good = fs::read(&path).ok();
        for bytes in [250 << 20, 3 << 30, 1 << 40] {
            sparse(&path, bytes);
            for args in [
                &["health", "--json"][..],
                &["monitor", "--once", "--json"],
                &["query", "--json"],
                &["verify", "--json"],
                &["list", "--json"],
                &["restore", "latest", "--target", "beside", "--dry-run", "--json"],
            ] {
                let case = format!("{args:?} with {bytes} bytes in {}", path.display());
                let (_, out, _) = bounded(auditctl(&dir, args), &case);
                serde_json::from_str::<Value>(&out)
                    .unwrap_or_else(|error| panic!("{case}: {error}"));
            }
        }
        match good {
            Some(good) => fs::write(&path, good).expect("put back"),
            None => fs::remove_file(&path).expect("removed"),
        }
        assert_eq!(run(&dir, &["verify"]).0, 0, "the log is as it was");
    }
}

#[test]
fn hostile_metadata_and_catalogs_are_named_and_no_backup_is_taken_for_good() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "login", "--actor", "alice"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    let backups = dir.path().join("backups/audit");
    let made: Vec<PathBuf> = fs::read_dir(&backups)
        .expect("backups")
        .map(|entry| entry.expect("entry").path())
        .collect();
    let metadata = made
        .iter()
        .find(|path| {
            path.extension().is_some_and(|kind| kind == "json") && !path.ends_with(".catalog.json")
        })
        .expect("metadata");
    let text = fs::read_to_string(metadata).expect("text");
    let mut contents_of = planted();
    for (what, from, to) in [
        ("a name elsewhere", "\"file\": \"", "\"file\": \"../../../etc/"),
        ("another id", "\"id\": \"2", "\"id\": \"../2"),
        ("more records than there can be", "\"tree_size\": ", "\"tree_size\": 99999999999999"),
        ("an absurd member", "\"members\": [\n", "\"members\": [\n        4294967295,\n"),
        ("an absurd length", "\"stored_bytes\": ", "\"stored_bytes\": 9999999999999999"),
        ("an escape", "\"host\": \"", "\"host\": \"\\u001b[2J"),
        ("a key twice", "\"format\": 1,", "\"format\": 1,\n  \"format\": 1,"),
    ] {
        let altered = text.replacen(from, to, 1);
        assert_ne!(altered, text, "{what}");
        contents_of.push((what, altered.into_bytes()));
    }
    for (what, content) in contents_of {
        fs::write(metadata, &content).expect("planted");
        readers_survive(&dir, what);
        let before = contents(&dir.log());
        let args = ["restore", metadata.to_str().expect("UTF-8"), "--target", "beside", "--json"];
        let (code, out, err) = bounded(auditctl(&dir, &args), what);
        // Well-formed, and not what was signed.
        let wanted = if what == "an escape" { "bad_signature" } else { "bad_metadata" };
        assert_eq!((code, &*kind(&out)), (3, wanted), "{what}: {out:.500}");
        assert!(!err.contains('\u{1b}') && !dir.path().join("beside").exists(), "{what}");
        let (code, out, _) = bounded(auditctl(&dir, &["cleanup", "--keep", "1", "--json"]), what);
        assert!(
            metadata.exists(),
            "{what}: what is not understood is not removed: {code} {out:.300}"
        );
        assert!(contents(&dir.log()) == before, "{what}");
    }
    fs::write(metadata, &text).expect("put back");
    let catalog = backups.join(".catalog.json");
    for (what, content) in planted() {
        fs::write(&catalog, &content).expect("planted");
        readers_survive(&dir, what);
        assert_eq!(run(&dir, &["list", "--verify"]).0, 0, "{what}: it can be lost");
    }
}

#[test]
fn hostile_settings_and_token_files_are_usage_errors() {
    let dir = Dir::new();
    let settings: [(&str, Vec<u8>); 8] = [
        ("arrays 100,000 deep", format!("a = {}", nested(DEEP)).into_bytes()),
        (
            "tables 100,000 deep",
            format!("a = {}1{}", "{a=".repeat(DEEP), "}".repeat(DEEP)).into_bytes(),
        ),
        ("a key of 100,000 parts", format!("{}a = 1", "a.".repeat(DEEP)).into_bytes()),
        ("no UTF-8", b"\xff\xfe".to_vec()),
        ("NUL", b"log_dir = \"a\0b\"".to_vec()),
        ("a number beyond all", format!("write_buffer_size = {}", "9".repeat(500)).into_bytes()),
        ("a key twice", b"log_dir = \"a\"\nlog_dir = \"b\"".to_vec()),
        ("escapes", b"\"\\u001b[2J\" = 1\nprofile = \"\\u001b]0;x\\u0007\"".to_vec()),
    ];
    for (what, content) in settings {
        fs::write(dir.path().join("auditctl.toml"), content).expect("written");
        let (code, out, err) = bounded(auditctl(&dir, &["record", "--type", "x", "--json"]), what);
        assert_eq!((code, &*kind(&out)), (2, "config"), "{what}: {err:.300}");
        assert!(!err.contains('\u{1b}'), "{what}: {err:?}");
    }
    sparse(&dir.path().join("auditctl.toml"), 5 << 30);
    let (code, out, _) = bounded(auditctl(&dir, &["record", "--type", "x", "--json"]), "5 GiB");
    assert_eq!((code, &*kind(&out)), (2, "config"), "{out:.300}");
    assert!(!dir.log().exists(), "no log was made");

    let token = dir.path().join("token");
    fs::write(dir.path().join("auditctl.toml"), "[collector]\ntoken_file = \"token\"\n")
        .expect("written");
    for (what, content) in planted().into_iter().filter(|(_, content)| content.len() < 16) {
        fs::write(&token, content).expect("written");
        let args = ["serve", "--http", "127.0.0.1:0", "--json"];
        let (code, out, err) = bounded(auditctl(&dir, &args), what);
        assert_eq!(code, 2, "{what}: {out} {err}");
        assert!(err.contains("token"), "{what}: {err}");
    }
}
