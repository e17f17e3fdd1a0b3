//! `record --file` that is interrupted: killed, refused, without its collector, on a full
//! disk. The same command again goes on where it stopped, and each line is recorded once.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, Moments, auditctl, eventually, records, skipped};

/// Lines of which every fifth is the same, so that one more or less of them would count.
fn lines(count: usize) -> String {
    let line = |n: usize| match n % 5 {
        0 => "{\"event_type\":\"same\"}\n".to_owned(),
        _ => format!("{{\"event_type\":\"n\",\"details\":{{\"n\":{n}}}}}\n"),
    };
    (0..count).map(line).collect()
}

/// Each of the lines is there once, in their order.
fn all_are_there_once(dir: &Dir, count: usize) {
    let stored: Vec<Value> = records(&dir.log())
        .into_iter()
        .map(|(_, record)| record)
        .filter(|record| record["origin"]["import"] == true)
        .collect();
    let found: Vec<Option<u64>> =
        stored.iter().map(|record| record["details"]["n"].as_u64()).collect();
    let expected: Vec<Option<u64>> = (0..count as u64).map(|n| (n % 5 != 0).then_some(n)).collect();
    let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert_eq!((found.len(), differs), (expected.len(), None));
}

fn file(dir: &Dir, text: &str) -> PathBuf {
    let path = dir.path().join("events.ndjson");
    std::fs::write(&path, text).expect("file");
    path
}

fn begin(dir: &Dir, more: &[&str]) -> Child {
    let args = [&["record", "--file", "events.ndjson", "--json"], more].concat();
    auditctl(dir, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("record")
}

fn record(dir: &Dir, more: &[&str]) -> Output {
    begin(dir, more).wait_with_output().expect("record")
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("no document: {}", String::from_utf8_lossy(&output.stderr));
    })
}

/// What is kept of imports.
fn kept(dir: &Dir) -> Vec<PathBuf> {
    let place = dir.path().join(".local/state/auditctl/imports");
    let entries = std::fs::read_dir(place).into_iter().flatten();
    entries.map(|entry| entry.expect("entry").path()).collect()
}

/// C11.
#[test]
fn an_import_that_is_killed_again_and_again_records_each_line_once() {
    const COUNT: usize = 30_000;
    for with_collector in [true, false] {
        let dir = Dir::new();
        let collector = with_collector.then(|| Serving::start(&dir, ""));
        file(&dir, &lines(COUNT));
        let mut moments = Moments::up_to(Duration::from_millis(400), 11);
        let mut killed = 0;
        let told = loop {
            let mut child = begin(&dir, &[]);
            if killed < 12 {
                std::thread::sleep(moments.next());
                let _ = child.kill();
            }
            let output = child.wait_with_output().expect("record");
            if output.status.success() {
                break document(&output);
            }
            assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
            killed += 1;
            moments.happened(true);
        };
        assert!(killed > 0, "it was never interrupted");
        all_are_there_once(&dir, COUNT);
        let before = told["went_on_after"]["recorded"].as_u64().unwrap_or(0);
        assert_eq!(before + told["recorded"].as_u64().expect("a count"), COUNT as u64, "{told}");
        assert_eq!(kept(&dir), Vec::<PathBuf>::new(), "nothing is kept of what is done");
        drop(collector);
    }
}

/// C11.
#[test]
fn an_import_goes_on_after_a_line_that_was_mended_and_a_finished_one_begins_anew() {
    let dir = Dir::new();
    let (good, rest) = (lines(1_500), lines(2_000).split_off(lines(1_500).len()));
    file(&dir, &format!("{good}{{\"event\":\"typo\"}}\n{rest}"));
    let output = record(&dir, &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = document(&output);
    assert_eq!(told["recorded"], 1_500, "{told}");
    assert!(told["error"]["hint"].as_str().expect("a hint").contains("the same command"), "{told}");
    assert_eq!(kept(&dir).len(), 2, "the position and its lock");
    file(&dir, &format!("{good}{rest}"));
    let told = document(&record(&dir, &[]));
    assert_eq!((&told["recorded"], &told["went_on_after"]["line"]), (&500.into(), &1_500.into()));
    all_are_there_once(&dir, 2_000);
    // It was finished: who runs it again wants it again.
    let told = document(&record(&dir, &[]));
    assert_eq!((&told["recorded"], told.get("went_on_after")), (&2_000.into(), None));
}

/// C11.
#[test]
fn what_an_import_goes_on_with_is_compared_with_the_file_and_with_the_log() {
    let dir = Dir::new();
    let text = format!("{}{{}}\n", lines(100));
    file(&dir, &text);
    assert_eq!(record(&dir, &[]).status.code(), Some(2));
    // A line that was recorded is another one now.
    let changed = text.replace("\"n\":42}", "\"n\":43}");
    file(&dir, &changed);
    let output = record(&dir, &[]);
    let told = document(&output);
    assert_eq!(
        (output.status.code(), &told["error"]["kind"]),
        (Some(3), &"resume".into()),
        "{told}"
    );
    // The log was put back to before: what it has is not what was acknowledged.
    file(&dir, &text.replace("{}\n", ""));
    std::fs::rename(dir.log(), dir.path().join("aside")).expect("aside");
    let output = record(&dir, &[]);
    let told = document(&output);
    assert_eq!(
        (output.status.code(), &told["error"]["kind"]),
        (Some(3), &"resume".into()),
        "{told}"
    );
    let told = document(&record(&dir, &["--from-start"]));
    assert_eq!(told["recorded"], 100, "{told}");
    all_are_there_once(&dir, 100);
    assert_eq!(kept(&dir), Vec::<PathBuf>::new());
}

/// C11, G2: what the log hides is no reason to record it twice.
#[test]
fn an_import_goes_on_where_what_it_recorded_was_redacted() {
    let dir = Dir::new();
    let _collector = Serving::start(&dir, "redact = [\"actor\", \"details.pin\"]\n");
    const COUNT: usize = 20_000;
    let text: String = (0..COUNT)
        .map(|n| format!("{{\"event_type\":\"n\",\"actor\":\"a{n}\",\"details\":{{\"n\":{n},\"pin\":\"{n}\"}}}}\n"))
        .collect();
    file(&dir, &text);
    for round in 0..6 {
        let mut child = begin(&dir, &[]);
        std::thread::sleep(Duration::from_millis(40 + 30 * round));
        let _ = child.kill();
        let _ = child.wait();
    }
    let output = record(&dir, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stored = records(&dir.log());
    let of_import = stored.iter().filter(|(_, record)| record["origin"]["import"] == true);
    let found: Vec<u64> =
        of_import.map(|(_, record)| record["details"]["n"].as_u64().expect("n")).collect();
    assert!(found.iter().copied().eq(0..COUNT as u64), "{} records", found.len());
}

/// C11.
#[test]
fn a_collector_that_is_restarted_or_killed_does_not_end_an_import() {
    for from_stdin in [true, false] {
        for by_kill in [true, false] {
            const COUNT: usize = 60_000;
            let dir = Dir::new();
            let mut collector = Serving::start(&dir, "");
            let text = lines(COUNT);
            file(&dir, &text);
            let mut child = if from_stdin {
                let mut child = auditctl(&dir, &["record", "--file", "-", "--json"])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("record");
                let mut stdin = child.stdin.take().expect("piped");
                std::thread::spawn(move || stdin.write_all(text.as_bytes()));
                child
            } else {
                begin(&dir, &[])
            };
            for part in 1..=3 {
                let grown = part * 500_000;
                eventually("some are recorded", || {
                    std::fs::metadata(dir.log().join("audit.log")).is_ok_and(|m| m.len() > grown)
                        || child.try_wait().expect("alive").is_some()
                });
                if by_kill {
                    collector.kill_nine();
                } else {
                    collector.terminate();
                }
                collector = Serving::start(&dir, "");
            }
            let output = child.wait_with_output().expect("record");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{from_stdin} {by_kill}: {said}");
            assert!(said.contains("the collector is back"), "{said}");
            assert_eq!(document(&output)["recorded"], COUNT, "{said}");
            all_are_there_once(&dir, COUNT);
        }
    }
}

/// C11.
#[test]
fn an_import_that_filled_the_disk_goes_on_once_there_is_room() {
    let dir = Dir::new();
    let mount = dir.path().join("logs");
    std::fs::create_dir(&mount).expect("directory");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs"])
        .arg(&mount)
        .output();
    if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
        return skipped(&format!("this user may not mount a tmpfs: {mounted:?}"));
    }
    let _unmount = Unmount(mount.clone());
    std::fs::write(
        dir.path().join("auditctl.toml"),
        "disk_reserve = \"1MiB\"\noverflow_timeout = \"500ms\"\n",
    )
    .expect("settings");
    const COUNT: usize = 20_000;
    file(&dir, &lines(COUNT));
    let ballast = mount.join("ballast");
    std::fs::write(&ballast, vec![0; 4 << 20]).expect("ballast");
    let output = record(&dir, &[]);
    let told = document(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told["recorded"].as_u64().expect("a count") < COUNT as u64, "{told}");
    std::fs::remove_file(&ballast).expect("room");
    std::process::Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(&mount)
        .status()
        .expect("mount");
    let output = record(&dir, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    all_are_there_once(&dir, COUNT);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
