//! Questions, pages of a million records, following, downloads.

use auditctl::audit::{AuditLog, Durability, Event, Options};
use auditctl::clock::Timestamp;

use super::Site;
use crate::browser::{Browser, key};
use crate::serving::bearer;
use crate::support::{Dir, eventually, ok, options};

/// Seqs of the rows, as they are shown.
fn seqs(browser: &Browser) -> Vec<u64> {
    let all = browser.value(
        "[...document.querySelectorAll('.rows tbody tr')].map((row) => Number(row.dataset.seq))",
    );
    let all = all.as_array().expect("rows").clone();
    all.iter().map(|seq| seq.as_u64().expect("a seq")).collect()
}

fn asked(browser: &Browser) {
    browser.until("all was asked", "!document.querySelector('.asking')");
}

#[test]
fn a_question_is_made_of_filters_bars_and_a_part_of_the_time_and_the_address_holds_it() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.click_text("nav a", "Explore");
    browser.until("records", "document.querySelectorAll('.rows tbody tr').length === 100");
    let total = |of: &Browser| -> u64 {
        asked(of);
        let said = of.text(".summary .said-of");
        said.split(' ').next().expect("a word").replace(',', "").parse().unwrap_or(0)
    };
    let all = site.get("/v1/status")["log"]["next"].as_u64().expect("a seq");
    assert!(
        total(&browser) >= all,
        "the records of the queries are there as well, if they are recorded"
    );
    // A filter that is typed.
    browser.type_into("#value", "s3:*");
    browser.press(key::ENTER);
    browser.until_text(".chips", "s3:*");
    let of_s3 = total(&browser);
    let count = |args: &[&str]| -> u64 {
        ok(&site.dir, &[&["query", "--count"], args].concat()).trim().parse().expect("a number")
    };
    assert_eq!(of_s3, count(&["--type", "s3:*"]));
    assert!(browser.address().contains("type=s3"), "{}", browser.address());
    // One of a bar, which says how many there are.
    let label = browser.value("document.querySelector('[data-top=actor] button.bar').title");
    let label = label.as_str().expect("text").to_owned();
    let actor = label.rsplit_once(": ").expect(&label).0.to_owned();
    browser.click("[data-top=actor] button.bar");
    browser.until("two filters", "document.querySelectorAll('.chips li').length === 2");
    let of_actor = total(&browser);
    assert_eq!(of_actor, count(&["--type", "s3:*", "--actor", &actor]));
    assert!(label.contains(&format!(": {of_actor} of {of_s3} records")), "{label}");
    // A part of the time, with the mouse.
    let body = "const box = document.querySelector('.brush').getBoundingClientRect();\
                const at = (part, type) => document.querySelector('.brush').dispatchEvent(new PointerEvent(type, { bubbles: true, button: 0, pointerId: 1, clientX: box.left + box.width * part, clientY: box.top + 9 }));\
                HTMLElement.prototype.setPointerCapture = () => {}; at(0, 'pointerdown'); at(0.3, 'pointermove'); at(0.5, 'pointerup');";
    browser.script(body, Vec::new());
    browser.until("a period", "document.querySelector('#until').value !== ''");
    let of_half = total(&browser);
    let command = browser.value("document.querySelector('[data-part=command]').textContent");
    let words = shlex::split(command.as_str().expect("text")).expect("a command");
    let words: Vec<&str> = words.iter().skip(2).map(String::as_str).collect();
    assert!(words.iter().any(|word| word.starts_with("--until=")), "{words:?}");
    assert_eq!(of_half, count(&words));
    assert!(of_half <= of_actor);
    // Back, forward, and loaded again.
    browser.back();
    browser.until("no period", "document.querySelector('#until').value === ''");
    assert_eq!(total(&browser), of_actor);
    browser.back();
    browser.until("one filter", "document.querySelectorAll('.chips li').length === 1");
    assert_eq!(total(&browser), of_s3);
    browser.reload();
    browser.until_text(".chips", "s3:*");
    assert_eq!(total(&browser), of_s3);
    // A wrong question is answered with what is wrong, beside it.
    browser.type_into("#since", "yesterdayish");
    browser.press(key::ENTER);
    browser.until_text(".explore .alarm", "yesterdayish");
}

/// A million records, sealed and compressed but for the newest.
fn a_million(dir: &Dir) {
    const BEGIN: i64 = 1_780_000_000_000_000;
    let log = AuditLog::open(Options {
        durability: Durability::Interval,
        write_queue_capacity: 100_000,
        ..options(dir)
    });
    let log = log.expect("open");
    for nth in 0..1_000_000_i64 {
        let at = Timestamp::from_micros(BEGIN + nth * 1_000_000);
        let kind = if nth % 1_000 == 7 { "rare" } else { "seen" };
        let _ = log.record(Event::new(kind).timestamp(at)).expect("accepted");
    }
    log.close().expect("closed");
}

#[test]
fn a_million_records_are_paged_through_without_loading_them() {
    let Some(browser) = Browser::start() else { return };
    let dir = Dir::new();
    a_million(&dir);
    let site = Site::of(dir);
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("explore"));
    browser.until("records", "document.querySelectorAll('.rows tbody tr').length === 100");
    asked(&browser);
    let said = browser.text(".summary .said-of");
    // All of them, or where the machine is too slow for that, what was not counted.
    let is_said =
        said.starts_with("1,000,0") || said.contains("The time was up: only records from");
    assert!(is_said, "{said}");
    // Back and forth, each once, in order.
    let first = seqs(&browser);
    let mut last = *first.last().expect("rows");
    for _ in 0..20 {
        browser.click_text(".pager button", "Older ›");
        let next =
            format!("document.querySelector('.rows tbody tr')?.dataset.seq === '{}'", last - 1);
        browser.until("the next page", &next);
        let page = seqs(&browser);
        let wanted: Vec<u64> = (last - 100..last).rev().collect();
        assert_eq!(page, wanted);
        last = *page.last().expect("rows");
    }
    browser.click_text(".pager button", "‹ Newer");
    let back =
        format!("document.querySelector('.rows tbody tr')?.dataset.seq === '{}'", last + 199);
    browser.until("the page before", &back);
    // To any place.
    browser.type_into("#go-to", "500000");
    browser.press(key::ENTER);
    browser
        .until("the middle", "document.querySelector('.rows tbody tr')?.dataset.seq === '500000'");
    assert_eq!(seqs(&browser), (499_901..=500_000).rev().collect::<Vec<_>>());
    browser.click_text(".pager button", "Oldest");
    browser.until(
        "the oldest",
        "[...document.querySelectorAll('.rows tbody tr')].at(-1)?.dataset.seq === '0'",
    );
    let older = "[...document.querySelectorAll('.pager button')].filter((one) => /Old/.test(one.textContent)).every((one) => one.disabled)";
    browser.until("nothing is older", older);
    // The address holds the place, and back leads to where one was.
    browser.back();
    browser
        .until("the middle", "document.querySelector('.rows tbody tr')?.dataset.seq === '500000'");
    browser.reload();
    browser
        .until("the middle", "document.querySelector('.rows tbody tr')?.dataset.seq === '500000'");
    // Of the rare ones, of which there are a thousand, all pages.
    browser.open(&site.view("explore?type=rare&order=oldest"));
    browser.until(
        "the first",
        "document.querySelector('.rows tbody tr td:nth-child(3)')?.innerText === 'rare'",
    );
    let mut found = seqs(&browser);
    while found.len() < 1_000 {
        let begin = found.len();
        let last = *found.last().expect("rows");
        browser.click_text(".pager button", "‹ Newer");
        let next =
            format!("Number(document.querySelector('.rows tbody tr')?.dataset.seq) > {last}");
        browser.until("the next page", &next);
        found.extend(seqs(&browser));
        assert!(found.len() > begin);
    }
    assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1_000), "each once");
    // However much was shown, no more than a page is there.
    assert!(browser.count("*") < 6_000, "{} elements", browser.count("*"));
}

#[test]
fn what_is_followed_goes_on_through_a_restart_of_the_collector() {
    let Some(browser) = Browser::start() else { return };
    let mut site = Site::new();
    let event = |nth: u32| {
        format!("{{\"event_type\":\"beat\",\"actor\":\"n{nth}\"}}\n{{\"event_type\":\"other\"}}\n")
    };
    site.record(&event(0));
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("explore?type=beat"));
    browser.until_text(".rows tbody", "n0");
    browser.click_text(".tools button", "Follow live");
    browser.until_text("[data-part=follow]", "Live");
    site.record(&event(1));
    browser.until_text(".rows tbody", "n1");
    let http = site.kill();
    browser.until_text("[data-part=follow]", "Continues from record");
    site.start_again(&http);
    for nth in 2..5 {
        site.record(&event(nth));
    }
    browser.until_text("[data-part=follow]", "Live");
    browser.until_text(".rows tbody", "n4");
    // Each once, the newest first, and nothing else.
    let shown = "[...document.querySelectorAll('.rows tbody tr')].map((row) => row.cells[3].innerText).join()";
    assert_eq!(browser.value(shown), "n4,n3,n2,n1,n0");
    browser.click_text(".tools button", "Follow live");
    browser
        .until("it has ended", "document.querySelector('[data-part=follow]').textContent === ''");
}

/// What a link of the page would have saved: its name and its bytes.
fn downloaded(browser: &Browser, form: &str) -> (String, String) {
    let kept = "window.saved = []; window.blobs = new Map(); const make = URL.createObjectURL;\
                URL.createObjectURL = (blob) => { const address = make.call(URL, blob); blobs.set(address, blob); return address; };\
                HTMLAnchorElement.prototype.click = function () { saved.push([this.download, blobs.get(this.href)]); };";
    browser.script(kept, Vec::new());
    browser.click_text(".download button", &format!("Download {form}"));
    browser.until("it is saved", "saved.length > 0");
    let found = browser.script("return [saved[0][0], await saved[0][1].text()];", Vec::new());
    let text = |at: usize| found[at].as_str().expect("text").to_owned();
    (text(0), text(1))
}

#[test]
fn a_download_is_what_the_command_gives() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::new();
    // More than a page of the collector, which is 1 MiB.
    let large = "x".repeat(20_000);
    for nth in 0..150 {
        site.record(&format!("{{\"event_type\":\"large\",\"actor\":\"=1+{nth}\",\"details\":{{\"t\":\"{large}\"}}}}\n"));
    }
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("explore?type=large&order=oldest"));
    browser.until("records", "document.querySelectorAll('.rows tbody tr').length > 10");
    let (name, text) = downloaded(&browser, "NDJSON");
    assert!(name.ends_with(".ndjson") && !name.contains("cut"), "{name}");
    assert_eq!(text, ok(&site.dir, &["query", "--type=large", "--oldest", "--format", "ndjson"]));
    browser.until_text("[data-part=download]", "Saved");
    let (name, text) = downloaded(&browser, "CSV");
    assert!(name.ends_with(".csv"), "{name}");
    let wanted = ok(&site.dir, &["query", "--type=large", "--oldest", "--format", "csv"]);
    assert_eq!(text.replace("\r\n", "\n"), wanted.replace("\r\n", "\n"));
    browser.until_text("[data-part=download]", "formula");
}

#[test]
fn each_question_through_the_page_is_recorded_with_the_person_and_following_only_once() {
    let Some(browser) = Browser::start() else { return };
    let dir = Dir::new();
    let site = Site::with_settings(dir, &format!("audit_reads = true\n{}", super::SETTINGS));
    site.record("{\"event_type\":\"beat\",\"actor\":\"n0\"}\n");
    let opened = ok(&site.dir, &["open", "--print"]);
    browser.open(opened.lines().next().expect("an address"));
    browser.until_text("#session", "until");
    browser.open(&site.view("explore"));
    browser.until_text(".rows tbody", "n0");
    browser.click_text(".tools button", "Follow live");
    browser.until_text("[data-part=follow]", "Live");
    let queries = || ok(&site.dir, &["query", "--direct", "--type", "audit.query"]);
    // What is followed shows the queries of others, and none of its own for ever.
    site.record("{\"event_type\":\"beat\",\"actor\":\"n1\"}\n");
    browser.until_text(".rows tbody", "n1");
    let mut before = 0;
    eventually("no more of them", || {
        std::thread::sleep(std::time::Duration::from_secs(3));
        let now = queries().lines().count();
        std::mem::replace(&mut before, now) == now
    });
    let recorded = queries();
    let uid = format!("\"uid\":{}", rustix::process::getuid().as_raw());
    assert!(recorded.lines().count() >= 2 && recorded.contains(&uid), "{recorded}");
}

/// From here on what is asked with this in its address is answered once `held` is let go, also
/// where the page has given it up.
fn hold(browser: &Browser, part: &str) {
    let body = "window.held = []; const real = window.fetch;\
                window.fetch = async (path, { signal, ...rest } = {}) => {\
                  const found = await real(path, rest);\
                  if (!String(path).includes(arguments[0])) return found;\
                  const kept = new Response(await found.text(), { status: found.status, headers: found.headers });\
                  return new Promise((done) => held.push(() => done(kept)));\
                };";
    // A script's arguments are its own: those of the function in it would be others.
    let body = body.replace("arguments[0]", &serde_json::json!(part).to_string());
    browser.script(&body, Vec::new());
}

fn let_go(browser: &Browser) {
    let body = "for (const go of held) go();\
                for (let turn = 0; turn < 20; turn += 1) await new Promise((done) => setTimeout(done));";
    browser.script(body, Vec::new());
}

#[test]
fn an_older_answer_never_stands_under_a_newer_question() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("explore"));
    browser.until("records", "document.querySelectorAll('.rows tbody tr').length > 10");
    asked(&browser);
    hold(&browser, "type=s3");
    browser.open(&site.view("explore?type=s3%3A*"));
    browser.until("both were asked", "held.length === 2");
    browser.open(&site.view("explore?type=kms%3A*"));
    let newer = "(() => { const all = [...document.querySelectorAll('.rows td[data-label=Type]')]; return all.length > 0 && all.every((one) => one.textContent.startsWith('kms:')); })()";
    browser.until("the newer answer", newer);
    asked(&browser);
    let (said, rows) = (browser.text(".summary .said-of"), browser.text(".rows tbody"));
    assert!(!rows.contains("s3:"), "{rows}");
    let_go(&browser);
    assert_eq!(browser.text(".rows tbody"), rows);
    assert_eq!(browser.text(".summary .said-of"), said);
    assert!(!browser.text(".tops").contains("s3:"));
    // Nor does an older record stand under a newer one's number.
    hold(&browser, "/v1/records/3?");
    browser.open(&site.view("explore?type=kms%3A*&record=3"));
    browser.until("it was asked", "held.length === 1");
    browser.open(&site.view("explore?type=kms%3A*&record=5"));
    browser.until_text("[data-part=neighbours]", "Neighbours");
    let fields = browser.text(".record .fields");
    let_go(&browser);
    assert_eq!(browser.text(".record h2"), "Record 5");
    assert_eq!(browser.text(".record .fields"), fields);
}

#[test]
fn a_download_that_was_cut_is_called_incomplete() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::new();
    let large = "x".repeat(20_000);
    for nth in 0..150 {
        site.record(&format!(
            "{{\"event_type\":\"large\",\"actor\":\"n{nth}\",\"details\":{{\"t\":\"{large}\"}}}}\n"
        ));
    }
    // A part says that it is one, whatever its form, and how long it is.
    for form in ["ndjson", "csv"] {
        let path = format!("/v1/events?type=large&order=oldest&limit=0&format={form}");
        let (status, head, body) = site.collector().get(&path, &bearer(&site.token));
        assert_eq!(status, 200);
        assert!(head.contains("auditctl-next-seq: "), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let path = format!("/v1/events?type=none&limit=0&format={form}");
        let (_, head, _) = site.collector().get(&path, &bearer(&site.token));
        assert!(!head.contains("auditctl-next-seq"), "{head}");
    }
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("explore?type=large&order=oldest"));
    browser.until("records", "document.querySelectorAll('.rows tbody tr').length > 10");
    asked(&browser);
    // The network goes after the first part.
    let cut = "window.parts = 0; const real = window.fetch;\
               window.fetch = (path, options) => String(path).includes('format=') && parts++ > 0\
                 ? Promise.reject(new TypeError('Failed to fetch')) : real(path, options);";
    browser.script(cut, Vec::new());
    for form in ["NDJSON", "CSV"] {
        browser.script("window.parts = 0;", Vec::new());
        let (name, text) = downloaded(&browser, form);
        assert!(name.contains("-incomplete."), "{name}");
        assert!(text.ends_with('\n') && text.contains("n0") && !text.contains("n149"), "{form}");
        let said = browser.until_text("[data-part=download]", "Cut");
        assert!(said.contains("cannot be reached") && said.contains(&name), "{said}");
    }
}
