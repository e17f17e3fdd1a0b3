//! The page beside the command: `cargo bench --bench page`.
//!
//! The log is the real events of the fixture, repeated to `BENCH_LOG_MB` (default 1000), sealed and compressed, in
//! `BENCH_DIR`. A collector serves it, and what it has kept of an answer is gone before each question; a headless Chromium looks. Medians of five rounds; the
//! page's times are those of the browser itself, from the click to the frame in which the answer stands.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

#[path = "../tests/it/browser.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod browser;
mod support;

use browser::Browser;
use support::{fill, median, number};

const ACTOR: &str = "arn:aws:iam::123837392027:user/benjamin";
/// Notes when what counts is first seen.
const WATCH: &str = "window.seen = {}; const look = () => { \
    const note = (name, there) => { if (there && !(name in seen)) seen[name] = performance.now(); }; \
    note('verdict', document.querySelector('.verdict .word')); requestAnimationFrame(look); }; requestAnimationFrame(look);";

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let megabytes = number("BENCH_LOG_MB", 1000);
    let home = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    };
    fill(&home.path().join("logs"), megabytes, 50 << 20);
    let settings = "[collector]\ntoken_file = \"tokens\"\ntoken_requests = 1000000\n";
    std::fs::write(home.path().join("auditctl.toml"), format!("query_cache_size = 1\n{settings}"))
        .unwrap();
    let token = run(home.path(), &["--quiet", "token", "new", "--name", "bench", "--role", "read"]);
    let collector = Collector::start(home.path());
    let browser = Browser::start().expect("Chromium");
    browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH }));
    println!("{megabytes} MB of W2 as lines, sealed and compressed\n");

    let address = format!("{}#token={}", collector.address, token.trim());
    let load = |expression: &str| {
        median(|| {
            browser.open_anew(&address);
            Some(milliseconds(&browser.until("it is drawn", expression)))
        })
    };
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
    println!("first paint                  {:>9.1?}", load(paint).unwrap());
    println!("the verdict is shown         {:>9.1?}", load("window.seen?.verdict").unwrap());

    let filter = format!("actor={}", ACTOR.replace(':', "%3A").replace('/', "%2F"));
    for (name, filter, args) in [
        ("all records", String::new(), Vec::new()),
        ("one actor, in one of eleven", filter, vec!["--actor", ACTOR]),
    ] {
        println!("\n{name}");
        let rows =
            ask((home.path(), &browser), &filter, "document.querySelector('.rows tbody tr')");
        let table = command(home.path(), &args);
        row("the newest 100", rows, table);
        let summary = ask(
            (home.path(), &browser),
            &filter,
            "/^[\\d,]+ record/.test(document.querySelector('.summary .said-of').textContent)",
        );
        let groups = command(home.path(), &[&args[..], &["--group-by", "actor"]].concat());
        row("counted over time and by 5 fields; --group-by actor", summary, groups);
    }
}

fn milliseconds(value: &serde_json::Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap() / 1000.0)
}

/// From the question to the frame in which its answer stands.
/// The cache has room for one answer, and this is it.
fn evict(home: &Path) {
    run(home, &["query", "--count", "--actor", "nobody"]);
}

fn ask((home, browser): (&Path, &Browser), filter: &str, there: &str) -> Duration {
    let body = format!(
        "location.hash = '#/now'; await new Promise((done) => setTimeout(done, 200));\
         document.querySelector('.rows tbody')?.replaceChildren(); const began = performance.now();\
         location.hash = '#/explore?{filter}';\
         await new Promise((done) => {{ const look = () => {{ try {{ if ({there}) {{ requestAnimationFrame(done); return; }} }} catch {{ }} requestAnimationFrame(look); }}; requestAnimationFrame(look); }});\
         return performance.now() - began;"
    );
    median(|| {
        evict(home);
        Some(milliseconds(&browser.script(&body, Vec::new())))
    })
    .unwrap()
}

/// The same asked with the command, of the same collector.
fn command(home: &Path, args: &[&str]) -> Duration {
    median(|| {
        evict(home);
        let begun = Instant::now();
        let all = [&["query", "--format", "table"], args].concat();
        run(home, &all);
        Some(begun.elapsed())
    })
    .unwrap()
}

fn row(name: &str, page: Duration, command: Duration) {
    let ratio = page.as_secs_f64() / command.as_secs_f64();
    println!("{name:52} page {page:>9.1?}   auditctl query {command:>9.1?}   {ratio:5.2}x");
}

fn auditctl(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditctl"));
    command.current_dir(home).args(args);
    command
}

fn run(home: &Path, args: &[&str]) -> String {
    let output = auditctl(home, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct Collector {
    child: Child,
    address: String,
}

impl Collector {
    fn start(home: &Path) -> Self {
        let mut command = auditctl(home, &["serve", "--http", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready =
            lines.find_map(|line| line.ok().filter(|line| line.contains("ready:"))).unwrap();
        std::thread::spawn(move || lines.count());
        let (_, rest) = ready.split_once("http://").unwrap();
        let address = format!("http://{}/", rest.split([',', ' ']).next().unwrap());
        Self { child, address }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
