//! Each promise has tests that are named after it, and is told where people look for it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Dir;

const PROMISES: usize = 10;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The numbers of the promises in the names of a file's tests.
fn promises_in(source: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
            is_test = false;
            let digits = name.strip_prefix('p').and_then(|rest| rest.split('_').next());
            found.extend(digits.and_then(|digits| digits.parse::<usize>().ok()));
        }
    }
    found
}

#[test]
fn each_promise_has_tests_that_are_named_after_it() {
    let mut sources = Vec::new();
    files_below(&root().join("tests/it"), &mut sources);
    files_below(&root().join("src"), &mut sources);
    let mut tests: BTreeMap<usize, usize> = BTreeMap::new();
    for path in sources.iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        for number in promises_in(&std::fs::read_to_string(path).expect("source")) {
            *tests.entry(number).or_default() += 1;
        }
    }
    let expected: Vec<usize> = (1..=PROMISES).collect();
    assert_eq!(tests.keys().copied().collect::<Vec<_>>(), expected, "{tests:?}");
}

#[test]
fn a_test_s_promise_is_read_from_its_name() {
    let source = "#[test]\nfn p7_a() {}\nfn p8_helper() {}\n#[test]\n#[cfg(x)]\nfn p10_b() {}\n#[test]\nfn plain() {}\n";
    assert_eq!(promises_in(source), [7, 10]);
}

#[test]
fn the_documents_tell_each_promise() {
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(root().join(document)).expect(document);
        for number in 1..=PROMISES {
            let row = format!("\n| P{number} | ");
            assert_eq!(text.matches(&row).count(), 1, "{document}: P{number}");
        }
        assert!(!text.contains(&format!("| P{} |", PROMISES + 1)), "{document}");
    }
}

#[test]
fn p10_each_file_of_a_log_and_of_its_backups_is_its_owners_alone_whatever_the_umask() {
    let dir = Dir::new();
    let program = env!("CARGO_BIN_EXE_auditctl");
    let script = "umask 0; \"$0\" record --type login && \"$0\" backup --local && \"$0\" verify";
    let output = Command::new("sh")
        .args(["-c", script, program])
        .env_clear()
        .env("HOME", dir.path())
        .current_dir(dir.path())
        .output()
        .expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files = Vec::new();
    files_below(dir.path(), &mut files);
    let of_log = files.iter().filter(|path| path.starts_with(dir.log())).count();
    assert!(of_log >= 8 && files.len() >= of_log + 2, "{files:?}");
    for path in &files {
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode(path), 0o600, "{}", path.display());
        assert_eq!(mode(path.parent().expect("a folder")), 0o700, "of {}", path.display());
    }
}

#[test]
fn p10_a_collector_beyond_loopback_does_not_start_without_tokens_and_tls() {
    let dir = Dir::new();
    let (code, _, err) = crate::support::run(&dir, &["serve", "--http", "0.0.0.0:0"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("collector.token_file") && err.contains("collector.tls_cert"), "{err}");
    assert!(!dir.log().exists(), "and makes no log");
}
