//! `record --file` reads and checks NDJSON ahead, in several threads. Nobody can tell: the
//! order, the errors with their lines, what is recorded and what is not are those of one line
//! after the other.

use std::io::Write;
use std::process::{Child, ChildStdin, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, auditctl, count, eventually, records};

fn record(dir: &Dir, text: &str, more: &[&str]) -> Output {
    std::fs::write(dir.path().join("events.ndjson"), text).expect("file");
    let args = [&["record", "--file", "events.ndjson", "--json"], more].concat();
    auditctl(dir, &args).output().expect("record")
}

fn document(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no document: {said}"))
}

/// What was imported, by its numbers, in the order of the log.
fn numbers(dir: &Dir) -> Vec<u64> {
    let imported = records(&dir.log()).into_iter().filter(|(_, r)| r["origin"]["import"] == true);
    imported.map(|(_, record)| record["details"]["n"].as_u64().expect("n")).collect()
}

/// A pseudorandom number below `most`, another one each time.
fn random(state: &mut u64, most: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % most
}

/// A good line; some have much in them, so that windows end at their bytes as well.
fn good(n: usize, state: &mut u64) -> String {
    let pad = match random(state, 40) {
        0 => "x".repeat(random(state, 40_000) as usize),
        _ => String::new(),
    };
    format!(
        "{{\"event_type\":\"n\",\"actor\":\"a{n}\",\"details\":{{\"n\":{n},\"pad\":\"{pad}\"}}}}"
    )
}

/// A line that makes no event, and its kind.
fn bad(state: &mut u64) -> (String, &'static str) {
    match random(state, 5) {
        0 => ("nonsense".to_owned(), "malformed"),
        1 => ("{\"event\":\"typo\"}".to_owned(), "invalid"),
        2 => (format!("{{\"event_type\":\"x\",\"actor\":\"{}\"}}", "y".repeat(300)), "too_large"),
        3 => ("{\"event_type\":\"audit.closed\"}".to_owned(), "invalid"),
        _ => {
            (format!("{{\"event_type\":\"x\",\"actor\":\"{}\"}}", "y".repeat(2 << 20)), "too_large")
        }
    }
}

#[test]
fn every_bad_line_is_told_with_its_number_in_order_and_all_others_are_recorded_in_order() {
    for (seed, with_collector) in [(1, false), (2, false), (3, true)] {
        let dir = Dir::new();
        let collector = with_collector.then(|| Serving::start(&dir, ""));
        let mut state = seed;
        let (mut text, mut expected, mut kept) = (String::new(), Vec::new(), Vec::new());
        for n in 0..8_000_usize {
            match random(&mut state, 120) {
                0 => {
                    let (line, kind) = bad(&mut state);
                    text += &line;
                    expected.push((n as u64 + 1, kind));
                }
                1 => text += "   ",
                _ => {
                    text += &good(n, &mut state);
                    kept.push(n as u64);
                }
            }
            text += "\n";
        }
        let output = record(&dir, &text, &["--keep-going"]);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let told = document(&output);
        let rejected: Vec<(u64, &str)> = told["rejected"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|r| (r["line"].as_u64().expect("line"), r["kind"].as_str().expect("kind")))
            .collect();
        assert_eq!(rejected, expected, "seed {seed}");
        assert_eq!(told["recorded"], kept.len(), "seed {seed}");
        assert!(numbers(&dir) == kept, "seed {seed}: another order, or others");
        drop(collector);
    }
}

#[test]
fn nothing_that_stands_after_a_bad_line_is_recorded_wherever_it_stands() {
    for (nth, with_collector) in
        [(0, false), (1, false), (999, false), (1_000, false), (1_001, true), (4_321, false)]
    {
        let dir = Dir::new();
        let collector = with_collector.then(|| Serving::start(&dir, ""));
        let mut state = 5;
        let mut lines: Vec<String> = (0..9_000).map(|n| good(n, &mut state)).collect();
        lines.insert(nth, "{\"event\":\"typo\"}".to_owned());
        let text = lines.join("\n") + "\n";
        let output = record(&dir, &text, &[]);
        let told = document(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        let message = told["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with(&format!("line {}: ", nth + 1)), "{message}");
        assert_eq!(told["recorded"], nth, "{told}");
        assert!(numbers(&dir).into_iter().eq(0..nth as u64), "the bad line was line {}", nth + 1);
        // It is mended, and the same command goes on after what was recorded.
        lines.remove(nth);
        let output = record(&dir, &(lines.join("\n") + "\n"), &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(numbers(&dir).into_iter().eq(0..9_000), "each once, in order");
        drop(collector);
    }
}

fn from_stdin(dir: &Dir) -> (Child, ChildStdin) {
    let mut child = auditctl(dir, &["record", "--file", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("record");
    let stdin = child.stdin.take().expect("piped");
    (child, stdin)
}

#[test]
fn a_line_that_is_long_in_coming_holds_up_nothing_that_came_before_it() {
    let dir = Dir::new();
    let (child, mut stdin) = from_stdin(&dir);
    let mut state = 9;
    let text: String = (0..2_500).map(|n| good(n, &mut state) + "\n").collect();
    // Half of the last line is long in coming.
    let half = text.len() - 20;
    stdin.write_all(&text.as_bytes()[..half]).expect("written");
    eventually("all whole lines are recorded", || count(&dir.log(), "n") == 2_499);
    stdin.write_all(&text.as_bytes()[half..]).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(numbers(&dir).into_iter().eq(0..2_500));
}

#[test]
fn a_bad_line_ends_an_import_whose_input_stays_open() {
    let dir = Dir::new();
    let (mut child, mut stdin) = from_stdin(&dir);
    stdin.write_all(b"{\"event_type\":\"n\"}\n{\"event\":\"typo\"}\n").expect("written");
    eventually("it does not wait for more", || child.try_wait().expect("alive").is_some());
    assert_eq!(child.wait().expect("ended").code(), Some(2));
    assert_eq!(count(&dir.log(), "n"), 1);
    drop(stdin);
}

#[test]
fn an_import_that_is_interrupted_by_sigint_goes_on_where_it_stopped() {
    let dir = Dir::new();
    let text: String = (0..120_000)
        .map(|n| format!("{{\"event_type\":\"n\",\"details\":{{\"n\":{n}}}}}\n"))
        .collect();
    std::fs::write(dir.path().join("events.ndjson"), text).expect("file");
    let mut interrupted = 0;
    for round in 0..6 {
        let mut child = auditctl(&dir, &["record", "--file", "events.ndjson"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("record");
        let log = dir.log().join("audit.log");
        let grown = std::fs::metadata(&log).map_or(0, |meta| meta.len()) + 200_000 * round;
        eventually("some more is recorded", || {
            child.try_wait().expect("alive").is_some()
                || std::fs::metadata(&log).is_ok_and(|meta| meta.len() > grown)
        });
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        interrupted += u32::from(!child.wait().expect("ended").success());
    }
    assert!(interrupted > 0, "it was never interrupted");
    let output = auditctl(&dir, &["record", "--file", "events.ndjson"]).output().expect("record");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = numbers(&dir);
    // Had it ended before, it began anew.
    let expected = (0..120_000_u64).cycle().take(found.len());
    assert!(
        found.len().is_multiple_of(120_000) && found.iter().copied().eq(expected),
        "{}",
        found.len()
    );
}

#[test]
fn what_is_replaced_in_a_line_is_told_of_once_and_only_if_it_is_recorded() {
    let dir = Dir::new();
    let mut lines: Vec<String> =
        (0..3_000).map(|n| format!("{{\"event_type\":\"n\",\"details\":{{\"n\":{n}}}}}")).collect();
    let odd =
        |n| format!("{{\"event_type\":\"n\",\"actor\":\"a\\u0007b\",\"details\":{{\"n\":{n}}}}}");
    lines[1_500] = odd(1_500);
    lines.insert(2_100, "nonsense".to_owned());
    // Read ahead, and never recorded.
    lines[2_200] = odd(2_199);
    let output = record(&dir, &(lines.join("\n") + "\n"), &[]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(numbers(&dir).into_iter().eq(0..2_100));
    let stored = records(&dir.log());
    let replaced = stored.iter().find(|(_, r)| r["details"]["n"] == 1_500).expect("recorded");
    assert_eq!(replaced.1["actor"], "a\u{fffd}b");
    let security = std::fs::read_to_string(dir.log().join("security_events.log")).expect("told");
    assert_eq!(security.matches("sanitized").count(), 1, "{security}");
}
