//! The page at `/`, in a real browser, of a real collector.

mod explore;
mod files;
mod hostile;
mod looks;
mod shots;

use std::path::Path;

use crate::browser::{Browser, key};
use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, ok};

const STATIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/collector/page/static");
/// Real events of AWS CloudTrail.
const SAMPLE: &str = include_str!("../fixtures/cloudtrail_sample.ndjson");
/// Far beyond what is asked, so that no limit is met.
const SETTINGS: &str = "[collector]\ntoken_file = \"tokens\"\ntoken_rate = 1000000\n\
                        token_requests = 1000000\n[rate_limit]\nenabled = false\n";
const LINES: &str = "application/x-ndjson";

/// A collector with a token, and what is on its disk.
struct Site {
    dir: Dir,
    collector: Option<Serving>,
    token: String,
}

impl Site {
    fn new() -> Self {
        Self::of(Dir::new())
    }

    /// Of a log that is there.
    fn of(dir: Dir) -> Self {
        Self::with_settings(dir, SETTINGS)
    }

    fn with_settings(dir: Dir, settings: &str) -> Self {
        let token = new_token(&dir, "auditor", &["--role", "read-write"]);
        let collector = Serving::start(&dir, settings);
        Self { dir, collector: Some(collector), token }
    }

    /// With real events in it.
    fn with_sample() -> Self {
        let site = Self::new();
        site.record(SAMPLE);
        site
    }

    fn collector(&self) -> &Serving {
        self.collector.as_ref().expect("it runs")
    }

    fn record(&self, lines: &str) {
        let (status, _, answer) = self.collector().post(LINES, &bearer(&self.token), lines);
        assert!(status == 200 && answer["rejected"] == 0, "{status} {answer}");
    }

    /// As `auditctl open` gives it.
    fn address(&self) -> String {
        format!("http://{}/#token={}", self.collector().http, self.token)
    }

    /// Another view, with nothing kept but the session.
    fn view(&self, name: &str) -> String {
        format!("http://{}/#/{name}", self.collector().http)
    }

    /// As the kernel's out-of-memory killer would.
    fn kill(&mut self) -> String {
        let collector = self.collector.take().expect("it runs");
        let http = collector.http.to_string();
        collector.kill_nine();
        http
    }

    /// At the same address.
    fn start_again(&mut self, http: &str) {
        self.collector = Some(Serving::start_with(&self.dir, SETTINGS, &["--http", http], &[]));
    }

    fn get(&self, path: &str) -> serde_json::Value {
        let (status, _, body) = self.collector().get(path, &bearer(&self.token));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect(&body)
    }
}

/// What stands in a tile of *Now*.
fn figure(browser: &Browser, tile: &str) -> String {
    browser.text(&format!("[data-tile='{tile}'] .figure"))
}

/// Waits until the command, which is folded, has something in it.
fn until_command(browser: &Browser, part: &str) {
    let part = serde_json::json!(part);
    let held =
        format!("document.querySelector('[data-part=command]').textContent.includes({part})");
    browser.until("the command says it", &held);
}

/// Each file of the page, with its bytes.
fn files() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(Path::new(STATIC)).expect("the page's files");
    let files = entries.map(|entry| {
        let entry = entry.expect("a file");
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, std::fs::read(entry.path()).expect("read"))
    });
    files.collect()
}

#[test]
fn the_page_names_no_other_address_and_has_no_script_or_style_in_its_markup() {
    for (name, bytes) in files() {
        let text = String::from_utf8(bytes).expect(&name).replace("http://www.w3.org/", "");
        for part in ["//cdn", "innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(part), "{name}: {part}");
        }
        if name.ends_with(".html") {
            for part in [" style=", "<style", " onclick", " onload", "<script>", "javascript:"] {
                assert!(!text.contains(part), "{name}: {part}");
            }
        }
        for (at, _) in text.match_indices("://") {
            let next = text[at + 3..].chars().next();
            let is_name = next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '[');
            assert!(!is_name, "{name} names an address: {}", &text[at.saturating_sub(20)..]);
        }
    }
}

#[test]
fn now_says_how_the_log_is_and_goes_on_saying_it() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    let status = site.get("/v1/status");
    let sentence = status["verdict"]["sentence"].as_str().expect("a sentence");
    browser.until_text("[data-part=verdict]", sentence);
    let records = status["log"]["next"].as_u64().expect("a seq");
    browser.until_text("[data-tile=Log] .figure", &format!("{records} records"));
    for tile in ["Events per second", "Sync latency", "Write buffer", "Query cache", "Refused"] {
        assert!(!figure(&browser, tile).is_empty(), "{tile}");
    }
    for tile in ["Security events", "Disk", "Checkpoint", "Backup", "Archive", "Writer"] {
        assert!(!figure(&browser, tile).is_empty(), "{tile}");
    }
    assert_eq!(figure(&browser, "Writer"), "Running");
    // Nobody loads it again.
    site.record("{\"event_type\":\"login\"}\n");
    browser.until_text("[data-tile=Log] .figure", &format!("{} records", records + 1));
    // Charts say in words what they show.
    let said =
        browser.value("document.querySelector('[data-tile=\"Sync latency\"] svg').ariaLabel");
    assert!(said.as_str().expect("text").starts_with("Sync latency"), "{said}");
}

#[test]
fn the_token_leaves_the_address_bar_at_once_and_stays_in_the_tab() {
    let Some(mut browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    assert!(browser.address().ends_with("/#/now"), "{}", browser.address());
    let stored = browser.value("JSON.stringify([Object.keys(sessionStorage), Object.entries(localStorage), document.cookie])");
    assert_eq!(stored, "[[\"auditctl.token\"],[],\"\"]");
    browser.reload();
    browser.until_text("#session", "auditor");
    // It is in no address that anybody was asked with.
    let requests = browser.requests();
    assert!(requests.iter().any(|address| address.contains("/v1/status")), "{requests:?}");
    let asked = requests.iter().filter(|address| !address.contains("#token="));
    assert!(asked.clone().count() > 3, "{requests:?}");
    assert!(asked.clone().all(|address| !address.contains(&site.token)), "{requests:?}");
    browser.click_text("#session button", "Sign out");
    browser.until_text("#form", "auditctl open");
    assert_eq!(browser.value("sessionStorage.length"), 0);
}

#[test]
fn without_a_token_the_page_asks_for_one() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.view("explore"));
    let said = browser.until_text("#form", "auditctl open");
    assert!(said.contains("A token is needed"), "{said}");
    assert_eq!(browser.value("document.activeElement.id"), "token");
    browser.type_into("#token", "actl_thisisnotoken");
    browser.press(key::ENTER);
    browser.until_text("#why", "not valid");
    browser.type_into("#token", &site.address());
    browser.press(key::ENTER);
    browser.until_text("#session", "auditor");
    browser.until("records are shown", "document.querySelectorAll('.rows tbody tr').length > 3");
    assert_eq!(browser.value("document.querySelector('#form').hidden"), true);
}

#[test]
fn when_the_session_is_gone_the_page_says_what_to_do_and_the_question_stays() {
    let Some(browser) = Browser::start() else { return };
    let mut site = Site::with_sample();
    let opened = ok(&site.dir, &["open", "--print"]);
    let address = opened.lines().next().expect(&opened);
    let (_, token) = address.split_once("#token=").expect(&opened);
    let view = format!("http://{}/#token={token}", site.collector().http);
    browser.open(&view);
    browser.until_text("#session", "until");
    browser.open(&site.view("explore?type=s3%3A*"));
    browser.until("records are shown", "document.querySelectorAll('.rows tbody tr').length > 0");
    // A session is in the collector's memory, and nowhere else.
    let http = site.kill();
    browser.until_text("#alarm", "cannot be reached");
    site.start_again(&http);
    let said = browser.until_text("#form", "auditctl open");
    assert!(said.contains("The session has ended"), "{said}");
    assert_eq!(browser.value("sessionStorage.length"), 0);
    browser.type_into("#token", &site.token);
    browser.press(key::ENTER);
    browser.until_text("#session", "auditor");
    assert!(browser.address().contains("type=s3"), "{}", browser.address());
    browser.until("what was asked is asked again", "!document.querySelector('.explore.asking')");
}

#[test]
fn when_the_collector_is_gone_the_page_says_since_when_and_comes_back_by_itself() {
    let Some(browser) = Browser::start() else { return };
    let mut site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#state", "live");
    let http = site.kill();
    let said = browser.until_text("#alarm", "cannot be reached");
    assert!(said.contains("Since 2") && said.contains("old"), "{said}");
    assert!(browser.text("#state").contains("no contact"));
    assert_eq!(browser.value("document.body.classList.contains('old')"), true);
    // What was shown still is, and is grey.
    assert!(!figure(&browser, "Log").is_empty());
    let filter = "getComputedStyle(document.querySelector('#view')).filter";
    assert_eq!(browser.value(filter), "grayscale(1)");
    site.start_again(&http);
    browser.until_text("#state", "live");
    assert_eq!(browser.value("document.querySelector('#alarm').hidden"), true);
    assert_eq!(browser.value("document.body.classList.contains('old')"), false);
}

#[test]
fn when_the_writer_hangs_the_page_says_so_and_since_when() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("[data-tile=Writer] .figure", "Running");
    let held = Held::writer_of(site.collector().pid());
    let said = browser.until_text("#alarm", "The writer does not answer");
    assert!(said.contains("last sign of life: 2"), "{said}");
    assert_eq!(figure(&browser, "Writer"), "Hung");
    browser.until_text("[data-part=verdict]", "Critical");
    held.let_go();
    browser.until_text("[data-tile=Writer] .figure", "Running");
    browser.until("no alarm", "document.querySelector('#alarm').hidden");
}

/// One thread of another process, stopped, while the others run.
struct Held(nix::unistd::Pid);

impl Held {
    fn writer_of(pid: u32) -> Self {
        use nix::sys::{ptrace, wait};
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
        let writer = tasks.map(|task| task.expect("a thread").path()).find(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "audit-writer\n")
        });
        let writer = writer.expect("a writer");
        let id = writer.file_name().expect("a name").to_string_lossy().parse().expect("a number");
        let id = nix::unistd::Pid::from_raw(id);
        ptrace::seize(id, ptrace::Options::empty()).expect("seized");
        ptrace::interrupt(id).expect("stopped");
        wait::waitpid(id, Some(wait::WaitPidFlag::__WALL)).expect("it stands still");
        Self(id)
    }

    fn let_go(self) {
        nix::sys::ptrace::detach(self.0, None).expect("let go");
    }
}

#[test]
fn no_view_asks_anybody_else_or_breaks_the_policy() {
    let Some(mut browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("explore?record=3"));
    browser.until_text("[data-part=neighbours]", "Neighbours");
    browser.click_text("[data-part=proof] button", "Check the proof in this browser");
    browser.until("a verdict", "document.querySelector('[data-part=result]').dataset.verdict");
    browser.click_text("nav a", "Proof");
    browser.until_text("[data-part=coverage]", "records");
    browser.click("#zone");
    browser.until("the page has been drawn", "document.fonts.status === 'loaded'");
    let own = format!("http://{}/", site.collector().http);
    let requests = browser.requests();
    assert!(requests.iter().any(|address| address.contains("/v1/proof/3")), "{requests:?}");
    let others: Vec<_> = requests.iter().filter(|to| !to.starts_with(&own)).collect();
    let others: Vec<_> = others
        .iter()
        .filter(|to| !to.starts_with("chrome://") && !to.starts_with("data:"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let console = browser.console();
    assert!(console.is_empty(), "{console:?}");
    // The look itself would have shown it: what the policy forbids is in the console.
    browser.script("const style = document.createElement('style'); document.head.append(style); style.textContent = 'b {}'; \
                    fetch('http://127.0.0.2:1/').catch(() => null);", Vec::new());
    browser.script("await new Promise((done) => setTimeout(done, 100));", Vec::new());
    let console = browser.console().join("\n");
    assert!(console.contains("style-src") && console.contains("connect-src"), "{console}");
}

#[test]
fn times_are_in_utc_or_local_and_say_which() {
    let Some(browser) = Browser::start_in("Asia/Kathmandu") else { return };
    let site = Site::new();
    site.record("{\"event_type\":\"login\",\"timestamp\":\"2026-03-01T20:15:30.123456Z\"}\n");
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("explore?type=login"));
    browser.until_text(".rows thead", "Time (UTC)");
    browser.click(".rows tbody a");
    browser.until_text(".record .fields", "2026-03-01 20:15:30.123456 UTC");
    browser.click("#zone");
    browser.until_text("#zone", "local");
    let head = browser.text(".rows thead");
    assert!(head.contains("local time") && head.contains("Kat"), "{head}");
    browser.until_text(".record .fields", "2026-03-02 02:00:30.123456 +05:45");
    assert!(browser.text(".rows tbody").contains("2026-03-02 02:00:30.123"));
    // What is typed without a zone is of the zone that is shown.
    browser.type_into("#since", "2026-03-02 02:00");
    browser.press(key::ENTER);
    until_command(&browser, "--since=2026-03-01T20:15:00Z");
    browser.until_text(".rows tbody", "login");
    browser.reload();
    browser.until_text("#zone", "local");
}
