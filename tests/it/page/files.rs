//! *Proof*: what is covered, verifications, and files that the browser checks alone.

use super::Site;
use crate::backups::copy_dir;
use crate::browser::Browser;
use crate::support::{Dir, eventually, ok, run};

/// The verdict of a file that was chosen.
fn verdict(browser: &Browser, name: &str) -> String {
    let at = format!("document.querySelector('[data-file=\"{name}\"]')?.dataset.verdict");
    browser.until("a verdict", &at).as_str().expect("text").to_owned()
}

#[test]
fn a_proof_is_checked_with_the_network_off_and_a_forged_one_is_refused() {
    let Some(mut browser) = Browser::start() else { return };
    let site = Site::with_sample();
    let path = |name: &str| site.dir.path().join(name);
    let mut proof = String::new();
    eventually("it is signed", || {
        let (code, out, _) = crate::support::run(&site.dir, &["prove", "7"]);
        proof = out;
        code == 0
    });
    std::fs::write(path("good.json"), &proof).expect("written");
    // One character of the record, and of the path.
    let forged = proof.replacen("arn:aws", "arn:awz", 1);
    assert_ne!(forged, proof);
    std::fs::write(path("forged.json"), forged).expect("written");
    let at = proof.find("inclusion_proof").expect("a path");
    let digit = at + proof[at..].find(|c: char| c.is_ascii_digit()).expect("a digit");
    let mut moved = proof.clone();
    moved.replace_range(digit..=digit, if &proof[digit..=digit] == "1" { "2" } else { "1" });
    std::fs::write(path("moved.json"), moved).expect("written");
    std::fs::write(path("nothing.json"), "{\"<img src=x>\":").expect("written");
    let key = std::fs::read_to_string(site.dir.log().join("audit.pub")).expect("a key");
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    browser.until_text("[data-part=coverage]", "records");
    browser.requests();
    browser.offline(true);
    browser.choose_file("#file", &path("good.json"));
    assert_eq!(verdict(&browser, "good.json"), "consistent");
    let said = browser.text("[data-file='good.json']");
    let fingerprint = ok(&site.dir, &["key", "show"]);
    let shown = browser.text("[data-file='good.json'] .fingerprint").replace(' ', "");
    assert!(fingerprint.replace([' ', ':'], "").contains(&shown), "{shown}: {fingerprint}");
    assert!(!said.contains("Proven"), "{said}");
    // With the key that somebody kept.
    browser.type_into("#keys", key.trim());
    browser.choose_file("#file", &path("good.json"));
    browser.until_text("[data-file='good.json']", "Proven");
    assert_eq!(verdict(&browser, "good.json"), "proven");
    for name in ["forged.json", "moved.json"] {
        browser.choose_file("#file", &path(name));
        assert_eq!(verdict(&browser, name), "refused", "{}", browser.text(".results"));
        assert!(browser.text(".results").contains("Refused"));
    }
    browser.choose_file("#file", &path("nothing.json"));
    browser.until_text(".results", "nothing.json");
    assert_ne!(verdict(&browser, "nothing.json"), "proven");
    // Dropped on the page.
    let drop = "const data = new DataTransfer(); data.items.add(new File([arguments[0]], 'dropped.json'));\
                document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }));";
    browser.script(drop, vec![proof.into()]);
    assert_eq!(verdict(&browser, "dropped.json"), "proven");
    // Nobody was asked about it: the state of the log is all that was tried.
    let requests = browser.requests();
    assert!(
        requests.iter().all(|to| to.ends_with("/v1/status") || to.ends_with("/v1/verify")),
        "{requests:?}"
    );
}

#[test]
fn a_checkpoint_is_checked_with_the_key_that_somebody_kept() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    let path = site.dir.path().join("checkpoint");
    std::fs::write(&path, ok(&site.dir, &["checkpoint"])).expect("written");
    let key = std::fs::read_to_string(site.dir.log().join("audit.pub")).expect("a key");
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    browser.choose_file("#file", &path);
    assert_eq!(verdict(&browser, "checkpoint"), "needs_key");
    browser.type_into("#keys", key.trim());
    browser.choose_file("#file", &path);
    browser.until_text("[data-file='checkpoint']", "Proven");
}

#[test]
fn what_is_covered_is_one_bar_and_the_same_in_words() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    ok(&site.dir, &["backup"]);
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    browser.until_text("[data-part=coverage]", "records");
    let coverage = site.get("/v1/coverage");
    let ranges = coverage["ranges"].as_array().expect("ranges").len();
    assert!(ranges > 0);
    browser.until(
        "the bar",
        &format!("document.querySelectorAll('[data-lane=Records] .range').length >= {ranges}"),
    );
    let said = browser
        .value("document.querySelector('[data-lane=Records] svg').getAttribute('aria-label')");
    assert!(said.as_str().expect("text").contains("anchored"), "{said}");
    assert_eq!(browser.count("[data-lane=Backups] .range"), 1);
    assert_eq!(browser.count("[data-lane=Keys] .range"), 1);
    let shown = browser.text("[data-part=coverage] td .fingerprint").replace(' ', "");
    assert_eq!(coverage["keys"][0]["fingerprint"], shown);
    assert!(browser.text("[data-part=coverage] .legend").contains("anchored"));
}

#[test]
fn a_verification_runs_in_the_collector_and_its_verdict_is_shown() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    browser.until_text("[data-part=verification]", "No verification has been run");
    browser.click_text(".verification button", "Verify now");
    browser.until_text("[data-part=verification]", "Verified");
    assert_eq!(
        browser.value(
            "document.querySelector('[data-part=verification] [data-verdict]').dataset.verdict"
        ),
        "verified"
    );
    // Another look finds it again.
    browser.open_anew(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    let said = browser.until_text("[data-part=verification]", "Verified");
    assert!(said.contains("Ended 2") && said.contains("auditor"), "{said}");
}

#[test]
fn a_verification_that_finds_something_says_so() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    // A byte of a record that was acknowledged.
    let path = site.dir.log().join("audit.log");
    let text = std::fs::read_to_string(&path).expect("the log");
    let at = text.find("arn:aws").expect("an actor");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the log");
    std::os::unix::fs::FileExt::write_all_at(&file, b"z", at as u64).expect("changed");
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    browser.click_text(".verification button", "Verify now");
    browser.until_text("[data-part=verification]", "Something is wrong");
    assert_eq!(
        browser.value(
            "document.querySelector('[data-part=verification] [data-verdict]').dataset.verdict"
        ),
        "wrong"
    );
}

#[test]
fn a_log_that_was_rolled_back_is_called_that() {
    let Some(browser) = Browser::start() else { return };
    let dir = Dir::new();
    let away = dir.path().join("away");
    ok(&dir, &["record", "--type", "first"]);
    copy_dir(&dir.log(), &dir.path().join("old"));
    let lines = "{\"event_type\":\"later\"}\n".repeat(60);
    std::fs::write(dir.path().join("later.ndjson"), lines).expect("written");
    ok(&dir, &["record", "--file", "later.ndjson"]);
    ok(&dir, &["backup"]);
    // The old copy is put back, and started while the backups are not in reach.
    std::fs::rename(dir.path().join("backups"), &away).expect("moved");
    std::fs::remove_dir_all(dir.log()).expect("removed");
    copy_dir(&dir.path().join("old"), &dir.log());
    let site = Site::of(dir);
    std::fs::rename(&away, site.dir.path().join("backups")).expect("moved");
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    let said = browser.until_text("[data-part=coverage] .alarm", "put back");
    assert!(said.contains("do not fit this log"), "{said}");
    assert_eq!(browser.count("[data-lane=Records] .range.anchored"), 0);
    browser.click_text(".verification button", "Verify now");
    let said = browser.until_text("[data-part=verification]", "Something is wrong");
    assert!(said.contains("(1 backup)") && said.contains("has"), "{said}");
    browser.open(&site.view("now"));
    browser.until_text("[data-part=verdict]", "Critical");
    // A command says the same.
    assert_eq!(run(&site.dir, &["verify"]).0, 1);
}

#[test]
fn a_second_verification_waits_and_the_first_verdict_stands_meanwhile() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    browser.click_text(".verification button", "Verify now");
    let said = browser.until_text("[data-part=verification]", "Verified");
    assert!(said.contains("No signed head that is kept elsewhere was in reach"), "{said}");
    browser.click_text(".verification button", "Verify now");
    browser.until_text("[data-part=verification]", "Nothing was recorded since");
    site.record("{\"event_type\":\"login\"}\n");
    browser.click_text(".verification button", "Verify now");
    browser.until_text(".proof > .alarm", "the next one may begin in");
    browser.until_text("[data-part=verification]", "Verified");
}

#[test]
fn files_that_are_too_large_or_hostile_end_in_a_sentence() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    browser.until_text("[data-part=coverage]", "records");
    let drop = "const data = new DataTransfer();\
                data.items.add(new File([new Uint8Array(200 * 1024 * 1024)], 'large.json'));\
                data.items.add(new File(['{\"__proto__\":{\"hit\":1},\"constructor\":{\"prototype\":{\"hit\":1}},\"type\":\"auditctl/proof\",\"format\":1}'], 'keys.json'));\
                data.items.add(new File(['{}'], '<img src=x onerror=\"window.hit = 1\">\\u202egnp.json'));\
                document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }));";
    browser.script(drop, Vec::new());
    browser.until(
        "three results",
        "document.querySelectorAll('.results [data-verdict]').length === 3",
    );
    let said = browser.text(".results");
    assert!(said.contains("large.json has 200.0 MiB") && said.contains("<img src=x"), "{said}");
    assert!(said.contains("U+202E") && !said.contains('\u{202e}'), "{said}");
    let verdicts = browser.value("[...document.querySelectorAll('.results [data-verdict]')].map((one) => one.dataset.verdict)");
    let proven = verdicts.as_array().expect("verdicts").iter().any(|it| it == "proven");
    assert!(!proven, "{verdicts}");
    assert_eq!(browser.value("window.hit ?? ({}).hit ?? null"), serde_json::Value::Null);
    assert_eq!(browser.count(".results img"), 0);
}
