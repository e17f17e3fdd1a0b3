//! Exact answers: values come out of every door as they are stored, and are compared as
//! Python compares its decimals and texts; what is copied from a record finds it.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use auditctl::audit::read::query::{Bounds, Column, Lines, Reader, Request, reads_as_itself};
use auditctl::audit::{AuditLog, Event};
use auditctl::clock::Timestamp;
use auditctl::ui::{Table, records_table};
use serde_json::{Value, json};

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, all_lines, open, options, run};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    /// A number as somebody might write it; few of them, so that equal ones meet.
    fn number(&mut self) -> String {
        const KNOWN: &[&str] = &[
            "0",
            "-0",
            "0.0",
            "5",
            "5.0",
            "5e0",
            "0.5E1",
            "1.1",
            "1.10",
            "11e-1",
            "-1.5",
            "18446744073709551616",
            "18446744073709551617",
            "18446744073709551618",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.0",
            "9007199254740992.0",
            "0.1",
            "0.1000000000000000055511151231257827",
            "1e-999999999",
            "2e-999999999",
            "1e308",
            "10e307",
            "123456789012345678901234567890.123456789",
            "123456789012345678901234567890.1234567890",
            "-1e-400",
            "3.141592653589793238462643",
        ];
        if self.roll(3) > 0 {
            return self.one_of(KNOWN).to_owned();
        }
        let digits = |dice: &mut Self, most| -> String {
            (0..=dice.roll(most)).map(|_| char::from(b'0' + dice.roll(10) as u8)).collect()
        };
        let whole = digits(self, 25);
        let whole = whole.trim_start_matches('0');
        let mut number = if whole.is_empty() { "0".to_owned() } else { whole.to_owned() };
        if self.roll(2) == 0 {
            number = format!("-{number}");
        }
        if self.roll(2) == 0 {
            number = format!("{number}.{}", digits(self, 25));
        }
        if self.roll(3) == 0 {
            number = format!("{number}e{}{}", self.one_of(&["", "+", "-"]), self.roll(60));
        }
        number
    }

    fn text(&mut self) -> String {
        const KNOWN: &[&str] = &[
            "5",
            "5.0",
            "1.10",
            "true",
            "null",
            "",
            " x",
            r"\\fs1\finance",
            r"DOMAIN\user",
            r"C:\new\table",
            "\"quoted\"",
            "a*b",
            r"a\*b",
            "new\nline",
            "\u{202e}turned",
            "tab\t.",
            "größe",
            "😀",
            "=1+1",
            "a,b",
            "{\"a\":1}",
            "-",
            "\\u0041",
            "\\",
            "x=y !~<>",
            "\u{1b}[31m",
            "\u{85}",
            "é",
            "e\u{301}",
        ];
        if self.roll(2) == 0 {
            return self.one_of(KNOWN).to_owned();
        }
        let some = ["\\", "\"", "*", " ", "a", "ü", "n", "u00", "/", "\n", "'", "€", ".", "="];
        (0..self.roll(7)).map(|_| self.one_of(&some)).collect()
    }
}

/// What Python says.
fn python(asked: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exact.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut input = child.stdin.take().expect("piped");
    let text = asked.to_string();
    std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("json")
}

/// A log with these as `details.v` of its events of the type `e`.
fn with_values(dir: &Dir, values: &[String]) {
    let events: String = values
        .iter()
        .map(|value| format!("{{\"event_type\":\"e\",\"details\":{{\"v\":{value}}}}}\n"))
        .collect();
    std::fs::write(dir.path().join("events"), events).expect("events");
    std::fs::write(dir.path().join("auditctl.toml"), "[rate_limit]\nenabled = false\n")
        .expect("settings");
    let (code, _, stderr) = run(dir, &["record", "--file", "events"]);
    assert_eq!(code, 0, "{stderr}");
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// C4: numbers and texts through every door, as Python's decimal and str have them.
#[test]
fn every_door_compares_groups_and_prints_values_as_python_s_decimal_and_str_do() {
    if Command::new("python3").arg("--version").output().is_err() {
        return crate::tools::missing("python3");
    }
    let dir = Dir::new();
    let mut dice = Dice(0x0dd0_51de_5eed_0001);
    let values: Vec<String> = (0..160)
        .map(|nth| match nth % 8 {
            0..5 => dice.number(),
            5 | 6 => json!(dice.text()).to_string(),
            _ => dice.one_of(&["true", "false", "null"]).to_owned(),
        })
        .collect();
    with_values(&dir, &values);
    let lines: Vec<String> = all_lines(&dir.log())
        .into_iter()
        .filter(|line| line.contains("\"event_type\":\"e\""))
        .collect();
    assert_eq!(lines.len(), values.len());
    for (line, value) in lines.iter().zip(&values) {
        assert!(line.contains(&format!("{{\"v\":{value}}}")), "stored as it came: {line}");
    }
    let mut questions = Vec::new();
    for _ in 0..90 {
        let value = match dice.roll(8) {
            0..4 => dice.number(),
            4 => dice.one_of(&["1e999999999", "-1e999999999", "1e-1000000000"]).to_owned(),
            5 | 6 => json!(dice.text()).to_string(),
            _ => "true".to_owned(),
        };
        let ordered = value != "true";
        let operators: &[&str] = &["=", "!=", "<", "<=", ">", ">="];
        let operator = dice.one_of(if ordered { operators } else { &operators[..2] });
        questions.push((operator, value));
    }
    let (code, csv, stderr) =
        run(&dir, &["query", "--type", "e", "--format", "csv", "--fields", "seq,details.v"]);
    assert_eq!(code, 0, "{stderr}");
    let said = python(&json!({ "lines": lines, "questions": questions, "csv": csv }));
    assert_eq!(said["cells"], json!([]), "CSV");

    // What alerts go by is a filter on lines; the files are asked from this process.
    let stored: Lines = lines.iter().map(String::as_bytes).collect();
    let asked = |(operator, value): &(&str, String)| Request {
        event_type: vec!["e".to_owned()],
        conditions: vec![format!("details.v {operator} {value}")],
        count: true,
        ..Request::default()
    };
    let token = new_token(&dir, "auditor", &["--role", "read"]);
    let settings = "[rate_limit]\nenabled = false\n[collector]\ntoken_file = \"tokens\"\n";
    let collector = Serving::start(&dir, settings);
    let mut peer = collector.connect();
    for (nth, question) in questions.iter().enumerate() {
        let expected = said["counts"][nth].as_u64().expect("a count");
        let request = asked(question);
        let query = request.resolve(Timestamp::default()).expect("a query");
        let alerts = stored.matching(&query.filter).len() as u64;
        assert_eq!(alerts, expected, "alerts: {question:?}");
        let socket = peer.ask(&json!({ "query": request }).to_string());
        assert_eq!(socket["ok"]["query"]["count"], expected, "socket: {question:?}");
        if nth % 3 == 0 {
            let condition = percent(&request.conditions[0]);
            let url = format!("/v1/events?type=e&count&where={condition}");
            let (status, _, body) = collector.get(&url, &bearer(&token));
            let document: Value = serde_json::from_str(&body).expect("json");
            assert_eq!((status, &document["count"]), (200, &json!(expected)), "HTTP: {question:?}");
        }
        if nth % 9 == 0 {
            let args = ["query", "--type", "e", "--count", "--where", &request.conditions[0]];
            let (code, counted, stderr) = run(&dir, &args);
            assert_eq!(
                (code, counted.trim()),
                (0, &*expected.to_string()),
                "{question:?} {stderr}"
            );
            let direct = run(&dir, &[&args[..], &["--direct"]].concat()).1;
            assert_eq!(direct, counted, "{question:?}");
        }
    }
    // Groups: by value and type, over the socket, as JSON and as NDJSON.
    let by_value = ["query", "--type", "e", "--group-by", "details.v"];
    let expected: BTreeSet<String> = said["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|group| {
            let json: Value =
                serde_json::from_str(group[0].as_str().expect("text")).unwrap_or_default();
            let name = if group[1] == "text" {
                json.to_string()
            } else {
                group[0].as_str().expect("text").to_owned()
            };
            format!("{name} {} {}", group[1].as_str().expect("a type"), group[2])
        })
        .collect();
    let rows = run(&dir, &[&by_value[..], &["--format", "csv"]].concat()).1;
    let mut reader = csv::Reader::from_reader(rows.as_bytes());
    let found: BTreeSet<String> = reader
        .records()
        .map(|row| {
            let row = row.expect("a row");
            let name =
                if &row[2] == "text" { json!(row[0]).to_string() } else { row[0].to_owned() };
            format!("{name} {} {}", &row[2], &row[1])
        })
        .collect();
    assert_eq!(found, expected);
    let listed = run(&dir, &by_value).1;
    assert_eq!(listed.lines().count(), expected.len());
    for line in listed.lines() {
        let (value, records) = line
            .strip_prefix("{\"group\":")
            .and_then(|line| line.strip_suffix('}'))
            .and_then(|line| line.rsplit_once(",\"records\":"))
            .expect(line);
        assert!(
            expected.iter().any(|group| {
                group.starts_with(&format!("{value} ")) && group.ends_with(&format!(" {records}"))
            }),
            "{line}"
        );
    }
    // NDJSON of chosen fields and of whole records: the very bytes.
    let chosen = run(&dir, &["query", "--type", "e", "--oldest", "--fields", "details.v"]).1;
    let expected: Vec<String> =
        values.iter().map(|value| format!("{{\"details.v\":{value}}}")).collect();
    assert_eq!(chosen.lines().collect::<Vec<_>>(), expected);
    assert_eq!(
        run(&dir, &["query", "--type", "e", "--oldest"]).1.lines().collect::<Vec<_>>(),
        lines
    );
    let document = run(&dir, &["query", "--type", "e", "--json"]).1;
    assert!(lines.iter().all(|line| document.contains(line)), "JSON has the stored bytes");
    let table = run(
        &dir,
        &["query", "--type", "e", "--format", "table", "--fields", "details.v", "--limit", "0"],
    )
    .1;
    for number in
        values.iter().filter(|value| value.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
    {
        assert!(table.lines().any(|line| line.trim() == number), "{number}");
    }
}

/// C4: objects keep the order of their keys.
#[test]
fn objects_are_shown_with_their_keys_in_the_order_in_which_they_are_stored() {
    let dir = Dir::new();
    let object = r#"{"z":1.10,"a":{"y":9007199254740993.0,"b":[2,1]}}"#;
    with_values(&dir, &[object.to_owned()]);
    let of = |args: &[&str]| run(&dir, &[&["query", "--type", "e"], args].concat()).1;
    assert_eq!(of(&["--fields", "details.v"]), format!("{{\"details.v\":{object}}}\n"));
    let csv = of(&["--fields", "details.v", "--format", "csv"]);
    assert_eq!(csv, format!("details.v\n\"{}\"\n", object.replace('"', "\"\"")));
    assert!(of(&["--fields", "details.v", "--format", "table"]).contains(object));
    assert_eq!(of(&["--group-by", "details.v"]), format!("{{\"group\":{object},\"records\":1}}\n"));
    assert_eq!(
        of(&[
            "--count",
            "--where",
            r#"details.v = {"a":{"b":[2,1.0],"y":9007199254740993},"z":1.1}"#
        ]),
        "1\n"
    );
}

/// C5: any text of a record, as JSON or a table shows it or as it is, finds the record.
#[test]
fn whatever_is_copied_from_a_record_finds_that_record() {
    let dir = Dir::new();
    let log: AuditLog = open(options(&dir));
    let mut dice = Dice(0x0c0f_fee0_5eed_0002);
    let mut seqs = Vec::new();
    for _ in 0..250 {
        let (actor, text, key) = (dice.text(), dice.text(), dice.text());
        let details = format!("{{{}:{{\"t\":{}}}}}", json!(key), json!(text));
        let mut event = Event::new("e").details_json(&details).expect("details");
        if !actor.is_empty() {
            event = event.actor(actor);
        }
        let seq = log.record(event).expect("queued").wait().expect("durable");
        seqs.push((seq, key, text));
    }
    log.close().expect("closed");
    let fs: auditctl::fsio::SharedFs = std::sync::Arc::new(auditctl::fsio::OsFs);
    let mut reader = Reader::open(&fs, &dir.log(), Bounds::default()).expect("a reader");
    let mut finds = |request: Request, seq: u64, how: &str| {
        let asked = Request { count: true, seq: Some(seq.to_string()), ..request };
        let query =
            asked.resolve(Timestamp::default()).unwrap_or_else(|error| panic!("{how}: {error}"));
        let answer = reader.query(&query).expect("an answer");
        assert_eq!(
            answer.found,
            auditctl::audit::read::query::Found::Count(1),
            "{how}: {}",
            json!(asked)
        );
    };
    let lines = all_lines(&dir.log());
    let table = Table { width: None, color: false, ascii: false };
    for (seq, key, text) in &seqs {
        let line = &lines[*seq as usize];
        let record: Value = serde_json::from_str(line).expect("json");
        let copy_of_table = |field: &str| {
            let columns = Column::parse_list(field).expect("a column");
            let shown = records_table(&[line.as_bytes()], &columns, false, &table);
            shown.trim_matches([' ', '\n']).to_owned()
        };
        if let Some(actor) = record["actor"].as_str() {
            let json = json!(actor).to_string();
            let inner = &json[1..json.len() - 1];
            for copy in [actor, &json, inner, &copy_of_table("actor")] {
                let request = Request { actor: vec![copy.to_owned()], ..Request::default() };
                finds(request, *seq, "--actor");
            }
            for copy in [actor, &json, inner] {
                let request = Request { grep: vec![copy.to_owned()], ..Request::default() };
                finds(request, *seq, "--grep");
            }
        }
        // The key as JSON has it.
        let path = format!("details.{}.t", json!(key));
        let json = json!(text).to_string();
        let inner = &json[1..json.len() - 1];
        let mut copies = vec![json.clone(), copy_of_table(&path)];
        if reads_as_itself(text) {
            copies.extend([text.clone(), inner.to_owned()]);
        }
        for copy in copies {
            let conditions = vec![format!("{path} = {copy}")];
            finds(Request { conditions, ..Request::default() }, *seq, "--where");
        }
        for grep in [text, &json, inner, &copy_of_table(&path)] {
            finds(Request { grep: vec![grep.to_owned()], ..Request::default() }, *seq, "--grep");
        }
    }
}

/// C5: on the command line, with quotes around what is special.
#[test]
fn keys_with_signs_spaces_and_commas_are_asked_for_in_quotes() {
    let dir = Dir::new();
    std::fs::write(
        dir.path().join("events"),
        "{\"event_type\":\"e\",\"actor\":\"DOMAIN\\\\user\",\"target\":\"\\\\\\\\fs1\\\\finance\",\
         \"details\":{\"a=b !<c>~,d.e\":5}}\n",
    )
    .expect("events");
    assert_eq!(run(&dir, &["record", "--file", "events"]).0, 0);
    let of = |args: &[&str]| {
        let (code, stdout, stderr) = run(&dir, &[&["query", "--type", "e"], args].concat());
        assert_eq!(code, 0, "{args:?}: {stderr}");
        stdout
    };
    let key = r#"details."a=b !<c>~,d.e""#;
    assert_eq!(of(&["--count", "--where", &format!("{key} >= 5.0")]), "1\n");
    assert_eq!(of(&["--count", "--where", &format!("{key} exists")]), "1\n");
    assert_eq!(of(&["--group-by", key]), "{\"group\":5,\"records\":1}\n");
    let fields = format!("seq,{key},type");
    assert_eq!(of(&["--fields", &fields, "--format", "csv"]).lines().nth(1), Some("2,5,e"));
    for actor in [r"DOMAIN\user", r"DOMAIN\\user", r#""DOMAIN\\user""#, r"DOMAIN\\*"] {
        assert_eq!(of(&["--count", "--actor", actor]), "1\n", "{actor}");
    }
    for target in [r"\\fs1\finance", r"\\\\fs1\\finance", r"\\fs1\\*"] {
        assert_eq!(of(&["--count", "--target", target]), "1\n", "{target}");
    }
}
