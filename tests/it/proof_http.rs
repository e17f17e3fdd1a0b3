//! `/v1/proof`, `/v1/coverage` and `/v1/verify`.

use serde_json::Value;

use crate::backups::copy_dir;
use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, eventually, ok, run};

const SETTINGS: &str = "[collector]\ntoken_file = \"tokens\"\n[rate_limit]\nenabled = false\n";

/// What is there some time.
fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut there = None;
    eventually(what, || {
        there = look();
        there.is_some()
    });
    there.expect("it is there")
}

fn ask(collector: &Serving, path: &str, token: &str) -> (u16, Value) {
    let (status, _, body) = collector.get(path, &bearer(token));
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn begin(collector: &Serving, token: &str) -> (u16, Value) {
    let (status, _, body) = collector.http(&format!(
        "POST /v1/verify HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n{}\r\n",
        bearer(token)
    ));
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn filled(dir: &Dir, more: &str) -> (Serving, String, String) {
    let reader = new_token(dir, "auditor", &["--role", "read"]);
    let writer = new_token(dir, "web-1", &["--role", "write"]);
    let collector = Serving::start(dir, &format!("{more}{SETTINGS}"));
    for nth in 0..30 {
        let event = format!(r#"{{"event_type":"login","actor":"a{nth}"}}"#);
        assert_eq!(collector.post("application/json", &bearer(&writer), &event).0, 201);
    }
    (collector, reader, writer)
}

#[test]
fn a_proof_over_http_is_the_one_that_prove_writes_and_is_recorded_as_a_query() {
    let dir = Dir::new();
    let (collector, reader, writer) = filled(&dir, "audit_reads = true\n");
    let path = "/v1/proof/7";
    let document = found("an answer", || {
        let (status, _, body) = collector.get(path, &bearer(&reader));
        (status == 200).then_some(body)
    });
    std::fs::write(dir.path().join("proof.json"), &document).expect("written");
    let key = dir.log().join("audit.pub");
    let key = key.to_str().expect("text");
    let (code, out, error) =
        run(&dir, &["verify", "--proof", "proof.json", "--public-key", key, "--json"]);
    assert_eq!(code, 0, "{error}");
    let said: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((&said["seq"], &said["key_source"]), (&7.into(), &"given".into()));
    let (_, queries, _) = run(&dir, &["query", "--type", "audit.query", "--format", "ndjson"]);
    assert!(queries.contains("\"token\":\"auditor\"") && queries.contains("\"seq\""), "{queries}");
    let (status, _, text) = collector.get("/v1/proof/7?format=tlog-proof", &bearer(&reader));
    assert_eq!(status, 200);
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\n"), "{text}");
    for (path, status, kind) in [
        ("/v1/proof/4711", 404, "no_record"),
        ("/v1/proof/x", 400, "usage"),
        ("/v1/proof/%37", 400, "usage"),
        ("/v1/proof/7?format=html", 400, "usage"),
    ] {
        let (found, body) = ask(&collector, path, &reader);
        assert_eq!((found, body["error"]["kind"].as_str()), (status, Some(kind)), "{path} {body}");
    }
    // It reveals the record: who may only write gets none, nor does anybody without a token.
    assert_eq!(collector.get(path, &bearer(&writer)).0, 403);
    assert_eq!(collector.get(path, "").0, 401);
}

#[test]
fn coverage_says_which_records_are_signed_and_which_a_copy_elsewhere_has() {
    let dir = Dir::new();
    let push = "[collector]\ncheckpoint_push_to = \"pushed\"\ncheckpoint_push_interval = \"1s\"\n";
    std::fs::create_dir(dir.path().join("pushed")).expect("a directory");
    let reader = new_token(&dir, "auditor", &["--role", "read"]);
    let collector = Serving::start(
        &dir,
        &format!("{push}token_file = \"tokens\"\n[rate_limit]\nenabled = false\n"),
    );
    let covered = found("an answer", || {
        let (status, found) = ask(&collector, "/v1/coverage", &reader);
        assert_eq!(status, 200, "{found}");
        found["anchors"].as_array().is_some_and(|all| !all.is_empty()).then_some(found)
    });
    assert_eq!(covered["ranges"][0]["state"], "anchored", "{covered}");
    assert_eq!(covered["contradictions"], Value::Array(Vec::new()));
    assert_eq!(covered["ranges"][0]["first_seq"], 0);
    assert_eq!(covered["keys"][0]["signs_now"], true);
    assert_eq!(covered["keys"][0]["fingerprint"].as_str().map(str::len), Some(64));
    let next = covered["records"]["next"].as_u64().expect("a number");
    let last = covered["ranges"].as_array().and_then(|all| all.last()).expect("a range");
    assert_eq!(last["end_seq"].as_u64(), Some(next));
}

#[test]
fn a_verification_runs_beside_the_writer_and_says_when_over_what_and_by_which_key() {
    let dir = Dir::new();
    let (collector, reader, writer) = filled(&dir, "");
    assert_eq!(ask(&collector, "/v1/verify", &reader).1["state"], "idle");
    assert_eq!(begin(&collector, &writer).0, 403, "who may only write may not start one");
    let (status, begun) = begin(&collector, &reader);
    assert_eq!((status, begun["by"].as_str()), (202, Some("auditor")), "{begun}");
    let done = found("an answer", || {
        let (_, state) = ask(&collector, "/v1/verify", &reader);
        (state["state"] == "done").then_some(state)
    });
    let result = &done["result"];
    assert_eq!(result["verdict"], "verified", "{done}");
    assert_eq!(result["report"]["key_source"], "collector");
    assert!(result["tree_size"].as_u64() >= Some(30), "{done}");
    assert_eq!(result["fingerprint"].as_str().map(str::len), Some(64));
    assert!(done["ended"].as_str() >= done["started"].as_str());
    // The coverage has it too.
    let (_, covered) = ask(&collector, "/v1/coverage", &reader);
    assert_eq!(covered["verified"]["verdict"], "verified", "{covered}");
}

#[test]
fn what_a_verification_in_the_collector_finds_health_tells_as_well() {
    let dir = Dir::new();
    let (collector, reader, writer) = filled(&dir, "max_segment_size = \"64KiB\"\n");
    let text = "x".repeat(4_000);
    for nth in 0..40 {
        let event = format!(r#"{{"event_type":"login","details":{{"n":{nth},"t":"{text}"}}}}"#);
        assert_eq!(collector.post("application/json", &bearer(&writer), &event).0, 201);
    }
    let sealed = found("a sealed segment", || {
        let names = std::fs::read_dir(dir.log()).expect("the log").filter_map(Result::ok);
        let name = names.map(|entry| entry.path()).filter(|path| {
            path.to_string_lossy().contains("/audit.0") && path.to_string_lossy().ends_with(".gz")
        });
        name.min()
    });
    let mut bytes = std::fs::read(&sealed).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&sealed, bytes).expect("altered");
    assert_eq!(begin(&collector, &reader).0, 202);
    let done = found("a verdict", || {
        let (_, state) = ask(&collector, "/v1/verify", &reader);
        (state["state"] == "done").then_some(state)
    });
    assert_eq!(done["result"]["verdict"], "wrong", "{done}");
    let sentence = done["result"]["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains("altered") && sentence.contains(".gz"), "{sentence}");
    assert!(!done["result"]["report"]["next"].as_array().expect("steps").is_empty(), "{done}");
    let (_, health, _) = run(&dir, &["health", "--json"]);
    // The writer may have seen by itself that the file is another one: that comes first then.
    assert!(health.contains("integrity.") && health.contains("verify found"), "{health}");
    // A file that is gone is missing records, whatever is noted of it.
    std::fs::remove_file(&sealed).expect("removed");
    found("what is missing", || {
        let (_, covered) = ask(&collector, "/v1/coverage", &reader);
        let mut ranges = covered["ranges"].as_array()?.iter();
        ranges.any(|range| range["state"] == "missing").then_some(())
    });
}

fn verified(collector: &Serving, reader: &str) -> Value {
    found("an end", || {
        let (_, state) = ask(collector, "/v1/verify", reader);
        (state["state"] == "done").then_some(state)
    })
}

#[test]
fn a_verdict_stands_for_a_while_and_nobody_begins_one_after_the_other_without_end() {
    let dir = Dir::new();
    let (collector, reader, writer) = filled(&dir, "");
    assert_eq!(ask(&collector, "/v1/verify", &reader).1["age_seconds"], Value::Null);
    assert_eq!(begin(&collector, &reader).0, 202);
    let first = verified(&collector, &reader);
    assert!(first["age_seconds"].as_u64().is_some(), "{first}");
    assert!(first["retry_after_seconds"].as_u64() > Some(0), "{first}");
    // Nothing was recorded since: none begins.
    let (status, again) = begin(&collector, &reader);
    assert_eq!((status, &again["started"]), (200, &first["started"]), "{again}");
    assert_eq!(again["result"]["sentence"], first["result"]["sentence"]);
    // Something was: one begins, but not yet.
    let event = r#"{"event_type":"login"}"#;
    assert_eq!(collector.post("application/json", &bearer(&writer), event).0, 201);
    let request = format!(
        "POST /v1/verify HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n{}\r\n",
        bearer(&reader)
    );
    for _ in 0..5 {
        let (status, head, body) = collector.http(&request);
        assert_eq!(status, 429, "{body}");
        assert!(head.to_ascii_lowercase().contains("retry-after: "), "{head}");
        assert!(body.contains("\"busy\""), "{body}");
    }
    let after = verified(&collector, &reader);
    assert_eq!(after["started"], first["started"], "none has begun");
}

#[test]
fn a_verification_compares_the_log_with_every_backup_and_so_does_the_command() {
    let dir = Dir::new();
    let backups = dir.path().join("backups/audit");
    for nth in 0..6 {
        ok(&dir, &["record", "--type", "login", "--actor", &format!("a{nth}")]);
    }
    // A copy goes its own way, and is backed up.
    let clone = Dir::new();
    copy_dir(&dir.log(), &clone.log());
    ok(&clone, &["record", "--type", "logout", "--actor", "mallory"]);
    ok(&clone, &["backup"]);
    for nth in 6..12 {
        ok(&dir, &["record", "--type", "login", "--actor", &format!("a{nth}")]);
    }
    ok(&dir, &["backup"]);
    let metadata = |folder: &std::path::Path| {
        let names =
            std::fs::read_dir(folder).expect("backups").map(|it| it.expect("a file").path());
        let mut all = names.filter(|path| path.extension().is_some_and(|it| it == "json"));
        all.find(|path| path.to_string_lossy().contains("audit_backup_")).expect("metadata")
    };
    let own = std::fs::read(metadata(&backups)).expect("read");
    let other = std::fs::read(metadata(&clone.path().join("backups/audit"))).expect("read");
    // It is older by its name than seventy others.
    std::fs::write(backups.join("audit_backup_20200101_000000.json"), other).expect("written");
    for nth in 0..70 {
        let name = format!("audit_backup_20210101_00{:02}{:02}.json", nth / 60, nth % 60);
        std::fs::write(backups.join(name), &own).expect("written");
    }
    std::fs::write(backups.join("audit_backup_20210102_000000.json"), "{").expect("written");
    let reader = new_token(&dir, "auditor", &["--role", "read"]);
    let collector = Serving::start(&dir, SETTINGS);
    assert_eq!(begin(&collector, &reader).0, 202);
    let done = verified(&collector, &reader);
    let result = &done["result"];
    assert_eq!(result["verdict"], "wrong", "{done}");
    assert_eq!(result["compared"]["backups"], 72, "{done}");
    let unread = result["compared"]["not_read"].as_array().expect("a list");
    assert!(unread.len() == 1 && unread[0].to_string().contains("20210102"), "{done}");
    let sentence = result["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains("20200101_000000"), "{sentence}");
    assert!(sentence.contains("NOT compared with: audit_backup_20210102"), "{sentence}");
    let (code, out, _) = run(&dir, &["verify", "--json"]);
    assert!(code == 1 && out.contains("20200101_000000"), "{out}");
}
