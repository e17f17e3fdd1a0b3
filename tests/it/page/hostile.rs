//! Records that somebody made for who looks at them.

use serde_json::json;

use super::{Site, until_command};
use crate::browser::Browser;
use crate::support::{eventually, ok, run};
use crate::tools::missing;

/// Would change the page, if it were more than text.
const MARKUP: &str = "<img src=x onerror=\"window.hit = 1\"><script>window.hit = 1</script>";
/// Would turn round what follows, hide a part, or act on a terminal.
const UNSEEN: &str = "a\u{202e}b\u{2066}c\u{200b}d\u{ad}e\u{feff}f";
const QUOTES: &str = "'; touch hit; echo '$(touch hit)`touch hit`\\' \"!\u{202e}\u{2028}x";

fn hostile() -> String {
    let long = "<b>&amp;\u{202e}".repeat(4_000);
    let deep = (0..100).fold(json!("end"), |inside, _| json!({ "deeper": inside }));
    let events = [
        json!({"event_type": "markup", "actor": MARKUP, "source": MARKUP, "target": MARKUP, "outcome": MARKUP, "id": MARKUP,
               "details": {MARKUP: MARKUP, "__proto__": {"hit": 1}, "constructor": [MARKUP, null, true]}}),
        json!({"event_type": "unseen", "actor": UNSEEN, "target": "\u{202e}gpj.exe", "outcome": "\u{1f600}\u{e0041}", "details": {"t": UNSEEN}}),
        json!({"event_type": "quotes", "actor": QUOTES, "details": {"t": QUOTES}}),
        json!({"event_type": "long", "actor": "x".repeat(256), "details": {"t": long}}),
        json!({"event_type": "many", "details": {"list": (0..5_000).collect::<Vec<_>>()}}),
        json!({"event_type": "deep", "details": deep}),
    ];
    let mut lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    // With digits that JavaScript would round.
    lines.push_str(
        "{\"event_type\":\"exact\",\"details\":{\"n\":18446744073709551617.10,\"e\":1.50e300}}\n",
    );
    lines
}

#[test]
fn a_hostile_record_is_text_in_every_view() {
    let Some(mut browser) = Browser::start() else { return };
    let site = Site::new();
    site.record(&hostile());
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    let first = site.get("/v1/events?type=markup");
    let begin = first["records"][0]["seq"].as_u64().expect("a seq");
    let open = |nth: u64| {
        browser.open(&site.view(&format!("explore?record={}", begin + nth)));
        browser.until_text(".record h2", &format!("Record {}", begin + nth));
        browser.until_text("[data-part=neighbours]", "Neighbours");
        browser.until("all was asked", "!document.querySelector('.asking')");
    };
    // Markup: in the table, the bars, the record, its details, its neighbours.
    open(0);
    for part in
        [".rows tbody", ".tops", ".record .fields", "[data-part=details]", "[data-part=neighbours]"]
    {
        assert!(browser.text(part).contains("<img src=x"), "{part}: {}", browser.text(part));
    }
    let details = browser.text("[data-part=details]");
    assert!(details.contains("__proto__") && details.contains("constructor"), "{details}");
    // As a filter: in its chip, its command, the address.
    browser.click("[data-top=actor] .bar[title*='<img']");
    browser.until_text(".chips", "<img src=x");
    until_command(&browser, "--actor='<img src=x onerror=");
    browser.until_text(".rows tbody", "markup");
    assert_eq!(browser.count(".rows tbody tr"), 1);
    // Unseen characters have their names, and turn nothing round.
    open(1);
    let row = browser.text(".rows tr.open");
    for name in ["U+202E", "U+2066", "U+200B", "U+00AD", "U+FEFF", "U+E0041"] {
        assert!(row.contains(name), "{name}: {row}");
    }
    assert_eq!(
        browser.value("/[\\u202a-\\u202e\\u2066-\\u2069\\u200b]/.test(document.body.innerText)"),
        false
    );
    let isolated = "[...document.querySelectorAll('.said')].every((one) => getComputedStyle(one).unicodeBidi.includes('isolate'))";
    assert_eq!(browser.value(isolated), true);
    // 50 KiB are folded, and there when they are wanted.
    open(3);
    assert!(browser.text(".record").len() < 5_000, "folded");
    browser.click_text("[data-part=details] button", "show all 36,000 characters");
    assert!(browser.text("[data-part=details]").len() > 36_000);
    open(4);
    browser.click("[data-part=details] summary");
    browser.until_text("[data-part=details]", "show 60 more of 4,940");
    assert!(browser.count("[data-part=details] li") < 200);
    open(5);
    browser.until_text("[data-part=details]", "deeper");
    // Digits are those that were stored.
    open(6);
    let details = browser.text("[data-part=details]");
    assert!(
        details.contains("18446744073709551617.10") && details.contains("1.50e300"),
        "{details}"
    );
    // In a proof.
    open(0);
    browser.click_text("[data-part=proof] button", "Check the proof in this browser");
    browser.until("a verdict", "document.querySelector('[data-part=result]').dataset.verdict");
    assert_eq!(
        browser.value("document.querySelector('[data-part=result]').dataset.verdict"),
        "consistent"
    );
    // Nothing of it has done anything.
    assert_eq!(browser.value("window.hit ?? ({}).hit ?? null"), serde_json::Value::Null);
    assert_eq!(browser.count("main img, main script, main b b"), 0);
    let console = browser.console();
    assert!(console.is_empty(), "{console:?}");
    assert!(browser.requests().iter().all(|to| !to.ends_with("/x")), "no picture was asked for");
}

#[test]
fn a_copied_command_asks_the_same_and_runs_nothing_else() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::new();
    site.record(&hostile());
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    let mut shells = vec!["bash", "dash"];
    for shell in ["fish", "zsh"] {
        match std::process::Command::new(shell).arg("--version").output() {
            Ok(_) => shells.push(shell),
            Err(_) => missing(shell),
        }
    }
    for text in [
        QUOTES,
        "\u{1b}[201~\n\r; touch hit\n",
        "*",
        "\\*",
        "-x",
        "--help",
        "~root",
        "a=b",
        "#x",
        "%s %n",
        "",
    ] {
        let question = format!("explore?type=quotes&type=markup&grep={}", encoded(text));
        browser.open(&site.view(&question));
        browser.until(
            "the question is shown",
            "document.querySelector('[data-part=command]').textContent.includes('--type=quotes')",
        );
        let command = browser.value("document.querySelector('[data-part=command]').textContent");
        let command = command.as_str().expect("text");
        // A terminal is given nothing but what can be seen.
        assert!(command.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{command:?}");
        let grep = if text.is_empty() { String::new() } else { format!("--grep={text}\n") };
        let wanted = format!("--type=quotes\n--type=markup\n{grep}");
        for shell in &shells {
            let shown = command.replacen("auditctl query", "printf '%s\\n'", 1);
            let output = std::process::Command::new(shell)
                .args(["-c", &shown])
                .current_dir(site.dir.path())
                .env("HOME", site.dir.path())
                .output();
            let output = output.expect(shell);
            assert!(!site.dir.path().join("hit").exists(), "{shell} ran something: {command}");
            let given = String::from_utf8(output.stdout).expect("UTF-8");
            match *shell {
                // It takes the octal form for other text, and for one argument.
                "dash" => assert_eq!(
                    given.lines().count(),
                    if text.is_empty() { 2 } else { 3 },
                    "{command}: {given}"
                ),
                // fish has no such form: it takes all of a command, or nothing.
                "fish" if command.contains("$'") => {
                    assert_eq!(given, "", "{command}");
                }
                _ => assert_eq!(given, wanted, "{shell}: {command}"),
            }
        }
    }
    // The same records as the page shows.
    browser.open(&site.view(&format!("explore?grep={}", encoded("touch hit"))));
    browser.until("the one record", "document.querySelectorAll('.rows tbody tr').length === 1");
    let command = browser.value("document.querySelector('[data-part=command]').textContent");
    let words = shlex::split(command.as_str().expect("text")).expect("a command");
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let (code, out, err) = run(&site.dir, &words);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}{err}");
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_hostile_record_is_text_in_its_proof_and_in_reports() {
    let Some(mut browser) = Browser::start() else { return };
    let site = Site::new();
    site.record(&hostile());
    let first = site.get("/v1/events?type=markup");
    let begin = first["records"][0]["seq"].as_u64().expect("a seq");
    eventually("it is signed", || run(&site.dir, &["prove", &(begin + 6).to_string()]).0 == 0);
    let mut files = Vec::new();
    for nth in [0, 1, 3, 4, 5] {
        let (seq, name) = ((begin + nth).to_string(), format!("proof-{nth}.html"));
        ok(&site.dir, &["prove", &seq, "--format", "html", "-o", &name]);
        files.push(name);
    }
    ok(&site.dir, &["verify", "--report", "log.html"]);
    ok(&site.dir, &["backup"]);
    ok(&site.dir, &["verify", "latest", "--report", "backup.html"]);
    files.extend(["log.html".to_owned(), "backup.html".to_owned()]);
    for name in &files {
        let path = site.dir.path().join(name);
        browser.size(360, 800);
        browser.open_anew(&format!("file://{}", path.display()));
        if name.starts_with("proof") {
            browser.until("a verdict", "document.querySelector('#verdict')?.dataset.verdict ?? ''");
            assert_eq!(
                browser.value("document.querySelector('#verdict').dataset.verdict"),
                "consistent",
                "{name}"
            );
        }
        if matches!(&**name, "proof-0.html" | "log.html" | "backup.html") {
            let text = browser.text("body");
            assert!(text.contains("<img src=x"), "{name}: {text}");
        }
        if name == "proof-3.html" {
            let length = browser.value("document.body.textContent.length");
            assert!(length.as_u64().is_some_and(|length| length > 36_000), "all of it: {length}");
        }
        let turned = "/[\\u202a-\\u202e\\u2066-\\u2069\\u200b]/.test(document.body.innerText)";
        assert_eq!(browser.value(turned), false, "{name}");
        assert_eq!(browser.value("window.hit ?? ({}).hit ?? null"), serde_json::Value::Null);
        assert_eq!(browser.count("body img, body b b"), 0, "{name}");
        assert_eq!(browser.value("document.documentElement.scrollWidth"), 360, "{name}");
    }
    let requests = browser.requests();
    let is_own =
        |to: &String| ["file://", "chrome://", "data:"].iter().any(|of| to.starts_with(of));
    assert!(requests.iter().all(is_own), "nobody is asked: {requests:?}");
    let console = browser.console();
    assert!(console.is_empty(), "{console:?}");
}
