//! Proofs in a browser: the file that checks itself, and the checker of the collector's page.

use std::path::{Path, PathBuf};

use auditctl::audit::record::event::Event;
use auditctl::audit::{AuditLog, Options};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::backups::read;
use crate::browser::Browser;
use crate::support::{Dir, auditctl, run};
use crate::vectors::cases;

const BEGIN: &str = "<script type=\"text/plain\" id=\"proof\">";

/// A log of some records, the third of which wants to be HTML.
fn log_in(dir: &Dir) {
    let log = AuditLog::open(Options::new(dir.log())).expect("opened");
    for nth in 0..13 {
        let details = r#"{"a":"</script><script>window.caught = 1</script>","b":"<img src=x onerror='window.caught=2'>","c":"\u202egpj.exe"}"#;
        let event = Event::new("login").actor(format!("<b>user-{nth}</b>\u{200b}"));
        let event = event.details_json(details).expect("json");
        let _ = log.record(event).expect("taken");
    }
    log.close().expect("closed");
}

fn proof(dir: &Dir, seq: &str) -> PathBuf {
    let (code, _, error) = run(dir, &["prove", seq, "--format", "html", "-o", "proof.html"]);
    assert_eq!(code, 0, "{error}");
    dir.path().join("proof.html")
}

fn address(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn document(html: &str) -> Value {
    let (_, rest) = html.split_once(BEGIN).expect("the proof");
    let (base64, _) = rest.split_once("</script>").expect("its end");
    serde_json::from_slice(&STANDARD.decode(base64).expect("base64")).expect("json")
}

/// The same file about another document.
fn with_document(html: &str, document: &Value) -> String {
    let (before, rest) = html.split_once(BEGIN).expect("the proof");
    let (_, after) = rest.split_once("</script>").expect("its end");
    let base64 = STANDARD.encode(document.to_string());
    format!("{before}{BEGIN}{base64}</script>{after}")
}

fn fingerprint(dir: &Dir) -> String {
    let (_, shown, _) = run(dir, &["key", "show", "--json"]);
    let shown: Value = serde_json::from_str(&shown).expect("json");
    let digits = shown["fingerprint"].as_str().expect("a fingerprint");
    let groups: Vec<String> =
        digits.as_bytes().chunks(8).map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    groups.join(" ")
}

fn verdict(browser: &Browser) -> String {
    let found = browser
        .until("there is a verdict", "document.querySelector('#verdict')?.dataset.verdict ?? ''");
    found.as_str().expect("a word").to_owned()
}

#[test]
fn a_proof_from_a_file_checks_itself_without_a_network_and_is_proven_once_its_key_is_compared() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = Dir::new();
    log_in(&dir);
    let file = proof(&dir, "5");
    let print = fingerprint(&dir);
    browser.offline(true);
    browser.requests();
    browser.open(&address(&file));
    assert_eq!(verdict(&browser), "consistent");
    let said = browser.text("#verdict");
    assert!(said.contains(&print), "{said}");
    // Nobody has compared the key: whatever it says, it is not that.
    assert!(!said.to_lowercase().contains("proven:"), "{said}");
    assert_eq!(browser.text("#fingerprint").trim(), print);
    assert_eq!(browser.count("#drawing svg rect.on"), browser.count("#path-steps tr") + 1);
    assert!(browser.text("#record-state").starts_with("Checked:"));
    browser.type_into("#known", &print.to_uppercase().replace(' ', ":"));
    browser.click("#ask");
    browser.until_text("#word", "Proven");
    assert_eq!(verdict(&browser), "proven");
    // Another key's is refused, and so is what is no key at all.
    browser.type_into("#known", &"0".repeat(64));
    browser.click("#ask");
    browser.until_text("#word", "Refused");
    browser.type_into("#known", "my key");
    browser.click("#ask");
    browser.until_text("#compared", "cannot be read");
    let key = read(&dir.log().join("audit.pub"));
    browser.type_into("#known", String::from_utf8(key).expect("text").trim());
    browser.click("#ask");
    browser.until_text("#word", "Proven");
    let asked = browser.requests();
    assert!(asked.iter().all(|it| it == &address(&file)), "nobody is asked: {asked:?}");
    assert_eq!(browser.console(), Vec::<String>::new());
    // The program reads the file as well, with or without its name.
    let key = dir.log().join("audit.pub");
    let key = key.to_str().expect("text");
    for args in
        [&["verify", "--proof", "proof.html", "--public-key", key][..], &["verify", "proof.html"]]
    {
        let (code, out, error) = run(&dir, args);
        assert_eq!(code, 0, "{error}");
        assert!(out.contains("record 5: VERIFIED"), "{out}");
    }
}

#[test]
fn what_a_hostile_record_says_does_nothing_and_is_shown_as_what_it_is() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = Dir::new();
    log_in(&dir);
    let file = proof(&dir, "3");
    browser.open(&address(&file));
    assert_eq!(verdict(&browser), "consistent");
    let text = browser.text("#fields");
    for wanted in [r"<b>user-", r"\u{200b}", r"\u{202e}", "</script><script>window.caught = 1"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert_eq!(browser.value("window.caught ?? null"), Value::Null);
    assert_eq!(browser.count("main img") + browser.count("main b"), 0);
    assert_eq!(browser.count("script"), 2);
    assert!(!browser.text("body").contains('\u{202e}'));
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn with_scripts_off_it_says_that_nothing_was_checked() {
    let Some(browser) = Browser::start() else { return };
    let dir = Dir::new();
    log_in(&dir);
    let file = proof(&dir, "3");
    browser.cdp("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    browser.open(&address(&file));
    browser.cdp("Emulation.setScriptExecutionDisabled", json!({"value": false}));
    let said = browser.text("#verdict");
    assert!(said.contains("Nothing was checked"), "{said}");
    assert!(browser.text("#record-state").contains("Nothing of it was checked"));
    assert!(browser.text("#fields").contains("<b>user-"), "the record is shown all the same");
}

#[test]
fn a_forged_proof_is_refused_by_the_browser_and_by_the_program() {
    let Some(browser) = Browser::start() else { return };
    let (dir, other) = (Dir::new(), Dir::new());
    log_in(&dir);
    log_in(&other);
    let html = String::from_utf8(read(&proof(&dir, "5"))).expect("text");
    let theirs = document(&String::from_utf8(read(&proof(&other, "5"))).expect("text"));
    let good = document(&html);
    let text = |name: &str| good[name].as_str().expect("text").to_owned();
    let forge = |change: &dyn Fn(&mut Value)| {
        let mut document = good.clone();
        change(&mut document);
        assert_ne!(document, good);
        document
    };
    let signature_at = text("checkpoint").rfind(' ').expect("a signature") + 20;
    let altered = |at: usize, text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).expect("text")
    };
    let forged = [
        ("the record", forge(&|it| it["record"] = json!(text("record").replace("login", "logon")))),
        ("its place", forge(&|it| it["seq"] = json!(6))),
        ("a hash", forge(&|it| it["inclusion_proof"][1] = json!("00".repeat(32)))),
        (
            "a hash left out",
            forge(&|it| drop(it["inclusion_proof"].as_array_mut().expect("a list").pop())),
        ),
        ("the size", forge(&|it| it["tree_size"] = json!(14))),
        (
            "the signature",
            forge(&|it| it["checkpoint"] = json!(altered(signature_at, &text("checkpoint")))),
        ),
        (
            "the root",
            forge(&|it| {
                let at = text("checkpoint").match_indices('\n').nth(1).expect("lines").0 + 3;
                it["checkpoint"] = json!(altered(at, &text("checkpoint")));
            }),
        ),
        ("the key", forge(&|it| it["public_key"] = theirs["public_key"].clone())),
        ("the checkpoint", forge(&|it| it["checkpoint"] = theirs["checkpoint"].clone())),
        (
            "checkpoint and key",
            forge(&|it| {
                it["checkpoint"] = theirs["checkpoint"].clone();
                it["public_key"] = theirs["public_key"].clone();
            }),
        ),
    ];
    for (what, document) in &forged {
        let file = dir.path().join("forged.html");
        std::fs::write(&file, with_document(&html, document)).expect("written");
        browser.open_anew(&address(&file));
        assert_eq!(verdict(&browser), "refused", "{what}");
        let state = browser.text("#record-state");
        assert!(state.starts_with("Not proven"), "{what}: {state}");
        let (code, ..) = run(&dir, &["verify", "--proof", "forged.html"]);
        assert_eq!(code, 1, "{what}");
        std::fs::remove_file(file).expect("removed");
    }
    // With the checker as it is, and something else in it than a record's proof.
    let (_, growth, _) = run(&dir, &["prove", "--from", "3"]);
    let growth: Value = serde_json::from_str(&growth).expect("json");
    let text = with_document(&html, &growth).replacen("login", "payment.approved", 1);
    let file = dir.path().join("growth.html");
    std::fs::write(&file, text).expect("written");
    browser.open_anew(&address(&file));
    assert_eq!(verdict(&browser), "refused");
    assert!(!browser.text("body").contains("payment.approved"), "nobody has checked that");
    assert_eq!(run(&dir, &["verify", "--proof", "growth.html"]).0, 1);
    // What stands around the proof is not what was proven.
    let text = html.replacen("not checked</h1>", "Proof of record 9 of example.com/audit</h1>", 1);
    std::fs::write(dir.path().join("title.html"), text).expect("written");
    browser.open_anew(&address(&dir.path().join("title.html")));
    assert_eq!(verdict(&browser), "consistent");
    let heading = browser.text("h1");
    assert!(heading.starts_with("Proof of record 5 of auditctl/"), "{heading}");
    let (code, _, error) = run(&dir, &["verify", "--proof", "title.html"]);
    assert_eq!(code, 0);
    assert!(error.contains("Only that proof was checked"), "{error}");
    // Whole, and by another key: only who compares the key can tell.
    let file = dir.path().join("other.html");
    std::fs::write(&file, with_document(&html, &theirs)).expect("written");
    browser.open_anew(&address(&file));
    assert_eq!(verdict(&browser), "consistent");
    browser.type_into("#known", &fingerprint(&dir));
    browser.click("#ask");
    browser.until_text("#word", "Refused");
}

/// A page that has nothing but the checker.
fn checker(browser: &Browser, dir: &Dir) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/collector/page/static/proof.js");
    let script = String::from_utf8(read(Path::new(script))).expect("text");
    let page = dir.path().join("checker.html");
    let text = format!(
        "<!doctype html><meta charset=\"utf-8\"><script type=\"module\">{script}\nwindow.check = check;</script>"
    );
    std::fs::write(&page, text).expect("written");
    browser.open(&address(&page));
    browser.until("the checker is there", "!!window.check");
}

fn checked(browser: &Browser, bytes: &[u8], options: Value) -> Value {
    let body = "const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));\
                return await window.check(bytes, arguments[1]);";
    browser.script(body, vec![json!(STANDARD.encode(bytes)), options])
}

#[test]
fn the_browser_finds_in_every_published_proof_and_checkpoint_what_the_program_finds() {
    let Some(browser) = Browser::start() else { return };
    let dir = Dir::new();
    checker(&browser, &dir);
    let mut seen = 0;
    for case in cases().iter().filter(|it| matches!(it.text("kind"), Some("proof" | "checkpoint")))
    {
        let file = |member: &str| {
            let path = case.text(member).map(|name| case.home.join(name));
            path.map(|path| String::from_utf8(read(&path)).expect("text"))
        };
        let options =
            json!({"keys": [file("public_key").expect("a key")], "history": file("keys")});
        let bytes = read(&case.home.join(case.text("path").expect("a path")));
        let found = checked(&browser, &bytes, options);
        let word = match found["verdict"].as_str() {
            Some("proven") => "ok",
            Some("refused") => "wrong",
            Some("newer") => "newer",
            other => panic!("{}: {other:?} {found}", case.name()),
        };
        assert_eq!(Some(word), case.text("expect"), "{}: {found}", case.name());
        assert_eq!(word, case.verdict(), "{}: the program", case.name());
        seen += 1;
    }
    assert!(seen > 30, "{seen} vectors");
}

#[test]
fn hostile_documents_end_in_a_verdict_and_never_in_a_proof() {
    let Some(browser) = Browser::start() else { return };
    let dir = Dir::new();
    checker(&browser, &dir);
    log_in(&dir);
    let (_, good, _) = run(&dir, &["prove", "5"]);
    let twice = good.replacen("\"seq\": 5", "\"seq\": 5, \"seq\": 5", 1);
    let spelled = good.replacen("\"seq\": 5", "\"seq\": 5.0", 1);
    let escaped = good.replacen("\"seq\": 5", "\"s\\u0065q\": 5, \"seq\": 5", 1);
    let large = good.replacen("\"seq\": 5", "\"seq\": 9007199254740993", 1);
    let marked = format!("\u{feff}{good}");
    let deep = format!("{}1{}", "{\"a\":".repeat(200_000), "}".repeat(200_000));
    let deep_inside =
        good.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(127), "]".repeat(127)), 1);
    let behind = format!("{good}{{}}");
    let half = good.replacen("\"record\": \"", "\"x\": \"\\ud800\", \"record\": \"", 1);
    for text in [
        "",
        "{}",
        "[]",
        "null",
        "\u{0}",
        &twice,
        &spelled,
        &escaped,
        &large,
        &marked,
        &deep,
        &deep_inside,
        &behind,
        &half,
        "c2sp.org/tlog-proof@v1\n\n",
        "a\n1\n\n\u{2014} b c\n",
    ] {
        let found = checked(&browser, text.as_bytes(), json!({}));
        let verdict = found["verdict"].as_str().expect("a verdict");
        assert!(matches!(verdict, "refused" | "needs_key"), "{:.80}: {found}", text);
        if text.contains("auditctl/proof") {
            std::fs::write(dir.path().join("hostile.json"), text).expect("written");
            let code = auditctl(&dir, &["verify", "--proof", "hostile.json"]).output();
            assert_eq!(code.expect("it runs").status.code(), Some(1), "{:.80}", text);
        }
    }
    let not_text = checked(&browser, &[0xff, 0xfe, b'{'], json!({}));
    assert_eq!(not_text["verdict"], "refused");
    assert_eq!(checked(&browser, good.as_bytes(), json!({}))["verdict"], "consistent");
    // What the reader gave wrongly says nothing of the document.
    let unread = checked(&browser, good.as_bytes(), json!({"keys": ["no key"]}));
    assert_eq!(unread["verdict"], "unable", "{unread}");
    // Without cryptography nothing is checked, and that is said.
    let body = "Object.defineProperty(globalThis, 'crypto', { value: undefined });\
                return await window.check('{}');";
    let found = browser.script(body, Vec::new());
    assert_eq!(found["verdict"], "unable", "{found}");
    assert!(found["sentence"].as_str().expect("text").contains("Nothing was checked"), "{found}");
}
