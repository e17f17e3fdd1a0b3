//! What is hidden of an imported line is hidden everywhere: under its old name and its
//! new one, in the line's text, and in digests of it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::redact::{everything, holds};
use crate::serving::Serving;
use crate::support::{Dir, all_lines, records, root_agrees, run};

const KEY: &[u8] = b"the utilities' key";

/// Every value of the line that can be hidden, by what hides it.
const SECRETS: [(&str, &str); 9] = [
    ("actor", "GEHEIM-actor"),
    ("lead_id", "4711000815"),
    ("workflow", "GEHEIM-workflow"),
    ("pin", "8150047110"),
    ("card", "GEHEIM-card"),
    ("moved", "GEHEIM-moved"),
    ("ip", "GEHEIM-ip"),
    ("deep", "GEHEIM-deep"),
    ("token", "GEHEIM-token"),
];

fn secret(name: &str) -> &'static str {
    SECRETS.iter().find(|(found, _)| *found == name).expect("a secret").1
}

/// What hides which.
const PATHS: &[(&str, &[&str])] = &[
    ("actor", &["actor"]),
    ("source", &["workflow"]),
    ("workflow", &["workflow"]),
    ("target", &["lead_id"]),
    ("lead_id", &["lead_id"]),
    ("*_id", &["lead_id"]),
    // Theirs of that name may be meant as well: it is hidden rather too often.
    ("details.imported.fields.lead_id", &["lead_id", "moved"]),
    ("details.imported.fields.workflow", &["workflow", "moved"]),
    ("pin", &["pin"]),
    ("details.pin", &["pin"]),
    ("number", &["card"]),
    ("details.card.*", &["card"]),
    ("old", &["moved"]),
    ("details.imported.old", &["moved"]),
    ("ip", &["ip"]),
    ("details.imported.fields.ip", &["ip", "moved"]),
    ("details.imported.fields.extra.*", &["deep", "moved"]),
    ("tok*", &["token"]),
    ("details", &["pin", "card", "moved", "ip", "deep", "token"]),
    ("details.*", &["pin", "card", "moved", "ip", "deep", "token"]),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key").chain_update(text);
    hex(&mac.finalize().into_bytes())
}

/// The line, signed as the utilities do, and its signature.
fn line() -> (String, String) {
    // Sorted, with the blanks that Python's json.dumps makes.
    let text = format!(
        "{{\"actor\": \"{}\", \"details\": {{\"card\": {{\"number\": \"{}\"}}, \"imported\": {{\"old\": \"{}\"}}, \
         \"list\": [{{\"token\": \"{}\"}}], \"pin\": {}}}, \"event_type\": \"lead.updated\", \"extra\": {{\"a\": {{\"deep\": \"{}\"}}}}, \
         \"ip\": \"{}\", \"lead_id\": {}, \"timestamp\": \"2024-01-05T10:00:00Z\", \"workflow\": \"{}\"}}",
        secret("actor"),
        secret("card"),
        secret("moved"),
        secret("token"),
        secret("pin"),
        secret("deep"),
        secret("ip"),
        secret("lead_id"),
        secret("workflow"),
    );
    let signature = mac(KEY, text.as_bytes());
    let signed = text.strip_suffix('}').expect("an object");
    (format!("{signed}, \"signature\": \"{signature}\"}}\n"), signature)
}

/// The forms in which a secret could be found, or tried out by who has a known key.
fn forms(value: &str) -> Vec<String> {
    let bytes = value.as_bytes();
    let mut forms = vec![value.to_owned(), hex(bytes), hex(&Sha256::digest(bytes))];
    // Whatever stands before it in what is encoded.
    for shift in 0..3 {
        let padded = [&b"xxx"[..shift], bytes].concat();
        let text = STANDARD.encode(&padded);
        forms.push(text[shift.div_ceil(3) * 4..text.len() - 4].to_owned());
    }
    for key in [KEY, b"", b"audit.redact_key"] {
        forms.push(mac(key, bytes));
    }
    forms
}

fn found(files: &[u8], value: &str) -> Option<String> {
    forms(value).into_iter().find(|form| form.len() > 8 && holds(files, form))
}

fn import(dir: &Dir, log: &Path, more: &[&str]) -> (i32, String) {
    let key = dir.path().join("key");
    std::fs::write(&key, KEY).expect("key");
    let (log, key) = (log.to_str().expect("utf-8"), key.to_str().expect("utf-8"));
    let mut args = vec!["record", "--json", "--format", "python-audit", "--hmac-key", key];
    args.extend(more);
    args.extend(["--file", log]);
    let (code, stdout, stderr) = run(dir, &args);
    (code, stdout + &stderr)
}

fn settings(path: &str) -> String {
    format!("redact = [{}]\n", json!(path))
}

fn imported(dir: &Dir) -> Vec<Value> {
    let all = records(&dir.log()).into_iter().map(|(_, record)| record);
    all.filter(|record| record["details"].to_string().contains("imported")).collect()
}

#[test]
fn whatever_is_named_is_in_no_file_under_any_name_in_any_form_and_can_be_tried_out_by_nobody() {
    let (text, signature) = line();
    for (path, hidden) in [("nothing", &[][..])].iter().chain(PATHS) {
        let dir = Dir::new();
        std::fs::write(dir.path().join("auditctl.toml"), settings(path)).expect("settings");
        let log = dir.path().join("audit.log");
        std::fs::write(&log, &text).expect("log");
        let (code, told) = import(&dir, &log, &[]);
        assert_eq!(code, 0, "{path}: {told}");
        let (_, bundle, _) = run(&dir, &["health", "--json"]);
        let mut files = everything(&dir.log());
        files.extend(told.bytes().chain(bundle.bytes()));
        for (name, value) in SECRETS {
            if hidden.contains(&name) {
                assert_eq!(found(&files, value), None, "{path} hides {name}");
            } else {
                assert!(holds(&files, value), "{path} leaves {name} as it is");
            }
        }
        let record = &imported(&dir)[0];
        // Whether it fitted is known, and nothing is left to try values on.
        let kept = &record["details"]["imported"];
        if *path != "details" && *path != "details.*" {
            assert_eq!(kept["signature"], "valid", "{path}: {record}");
        }
        assert_eq!(holds(&files, &signature), hidden.is_empty(), "{path}: {record}");
        if !hidden.is_empty() {
            assert!(kept["hmac"].as_str().is_some_and(|text| text.starts_with("hmac-sha256:")));
        }
        root_agrees(&dir.log());
    }
}

#[test]
fn old_name_and_new_one_have_the_same_hmac_so_that_either_finds_it() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), settings("target")).expect("settings");
    let log = dir.path().join("audit.log");
    std::fs::write(&log, line().0).expect("log");
    assert_eq!(import(&dir, &log, &[]).0, 0);
    let record = &imported(&dir)[0];
    assert!(record["target"].as_str().is_some_and(|text| text.starts_with("hmac-sha256:")));
    assert_eq!(record["target"], record["details"]["imported"]["fields"]["lead_id"]);
    // An import that was cut short goes on.
    std::fs::write(&log, line().0 + &line().0).expect("log");
    let (code, told) = import(&dir, &log, &["--resume"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(imported(&dir).len(), 2, "{told}");
}

#[test]
fn texts_that_the_sender_could_not_take_apart_are_hidden_by_the_collector_that_redacts() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "redact = [\"pin\"]\n");
    // The sender has other settings: it redacts nothing and knows of nothing.
    let client = "max_details_size = \"1KiB\"\n";
    std::fs::write(dir.path().join("client.toml"), client).expect("settings");
    let log = dir.path().join("audit.log");
    let (good, _) = line();
    let long =
        json!({ "event_type": "long", "details": { "pin": "GEHEIM-long", "x": "y".repeat(3_000) }});
    let twice = "{\"event_type\": \"twice\", \"pin\": \"GEHEIM-twice\", \"pin\": \"GEHEIM-again\"}";
    let text = json!({ "event_type": "text", "details": "{\"pin\": \"GEHEIM-text\"}" });
    let list = json!({ "event_type": "list", "details": ["{\"pin\": \"GEHEIM-list\"}"] });
    let lines = [
        good.trim_end().to_owned(),
        long.to_string(),
        twice.to_owned(),
        text.to_string(),
        list.to_string(),
        "{\"pin\": \"GEHEIM-cut".to_owned(),
    ];
    std::fs::write(&log, lines.join("\n") + "\n").expect("log");
    let key = dir.path().join("key");
    std::fs::write(&key, KEY).expect("key");
    let (code, told, stderr) = run(
        &dir,
        &[
            "--config",
            "client.toml",
            "record",
            "--json",
            "--format",
            "python-audit",
            "--file",
            "audit.log",
        ],
    );
    assert!(code == 0 || code == 1, "{told}{stderr}");
    let metrics = collector.get("/metrics", "").2;
    collector.terminate();
    let mut files = everything(&dir.log());
    files.extend(metrics.bytes());
    for value in [
        "GEHEIM-long",
        "GEHEIM-twice",
        "GEHEIM-again",
        "GEHEIM-text",
        "GEHEIM-list",
        "GEHEIM-cut",
        secret("pin"),
    ] {
        assert_eq!(found(&files, value), None, "{value}");
    }
    assert!(holds(&files, secret("actor")), "what is not named stays");
    let all = all_lines(&dir.log()).join("\n");
    for event_type in
        ["lead.updated", "long", "twice", "text", "list", "import.unreadable", "import.part"]
    {
        assert!(all.contains(&format!("\"event_type\":\"{event_type}\"")), "{event_type}");
    }
}

#[test]
fn questions_about_an_imported_value_are_hidden_under_either_name() {
    let dir = Dir::new();
    let collector =
        Serving::start(&dir, "redact = [\"target\", \"workflow\"]\naudit_reads = true\n");
    let (lead, flow) = (secret("lead_id"), secret("workflow"));
    for args in [
        &["query", "--target", lead][..],
        &["query", "--source", flow],
        &["query", "--where", &format!("details.imported.fields.lead_id = {lead}")],
        &["query", "--where", &format!("details.imported.text ~ {lead}")],
        &["query", "--where", &format!("details.imported.hmac = {lead}")],
        &["query", "--grep", lead],
    ] {
        let (code, _, stderr) = run(&dir, args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
    }
    collector.terminate();
    let files = everything(&dir.log());
    assert_eq!(found(&files, lead), None);
    assert_eq!(found(&files, flow), None);
    let asked = all_lines(&dir.log()).join("\n");
    assert!(asked.matches("\"event_type\":\"audit.query\"").count() >= 6, "{asked}");
}

#[test]
fn an_event_that_is_no_import_keeps_what_only_an_import_hides() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), "redact = [\"lead_id\", \"target\"]\n")
        .expect("settings");
    let details = json!({ "imported": { "format": "csv", "text": "kept", "hmac": "kept-too" }});
    let details = details.to_string();
    let args =
        ["record", "--type", "a", "--source", "s", "--target", "hidden", "--details", &details];
    assert_eq!(run(&dir, &args).0, 0);
    let record =
        records(&dir.log()).into_iter().find(|(_, r)| r["event_type"] == "a").expect("it").1;
    assert_eq!(record["details"]["imported"]["text"], "kept");
    assert_eq!(record["details"]["imported"]["hmac"], "kept-too");
    assert!(!record.to_string().contains("hidden"), "{record}");
}

#[cfg(feature = "alerts")]
#[test]
fn alerts_about_an_imported_line_send_nothing_of_what_is_hidden() {
    let dir = Dir::new();
    let receiver = crate::receiver::Receiver::start();
    let settings = format!(
        "redact = [\"actor\", \"source\", \"target\", \"pin\"]\n{}[[alerts]]\nname = \"all\"\non = \"event\"\n\
         url = \"{}\"\ncooldown = \"0s\"\ntype = [\"lead.updated\"]\n",
        crate::alerts::alerting(receiver.address),
        receiver.url(),
    );
    let collector = Serving::start(&dir, &settings);
    let log = dir.path().join("audit.log");
    std::fs::write(&log, line().0).expect("log");
    let (code, told) = import(&dir, &log, &[]);
    assert_eq!(code, 0, "{told}");
    crate::support::eventually("it is told", || !receiver.requests().is_empty());
    let (_, bundle, stderr) = run(&dir, &["support-bundle", "--output", "bundle"]);
    collector.terminate();
    let mut sent = receiver.requests().iter().flat_map(|r| r.body.clone()).collect::<Vec<u8>>();
    assert!(holds(&sent, "lead.updated"), "it is about the line");
    sent.extend(bundle.bytes().chain(stderr.bytes()));
    sent.extend(std::fs::read(dir.path().join("bundle")).expect("the bundle"));
    sent.extend(everything(&dir.log()));
    for name in ["actor", "workflow", "lead_id", "pin"] {
        assert_eq!(found(&sent, secret(name)), None, "{name}");
    }
    assert!(holds(&sent, secret("ip")), "what is not named is told");
}
