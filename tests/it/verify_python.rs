//! The independent checker, tests/verify.py, agrees with ours: what is whole it
//! verifies, what was changed it names.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use auditctl::audit::read::verify::prove;
use auditctl::audit::{Event, Options};

use crate::backups::Home;
use crate::support::{eventually, open};

/// Exit code and all that it says.
pub(crate) fn python(args: &[&Path]) -> (i32, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
    let mut command = Command::new("python3");
    let output = command.arg(script).args(args).output().expect("this test needs python3");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_independent_checker_passes_its_own_tests() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/test_verify.py");
    let output = Command::new("python3").arg(script).output().expect("this test needs python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn sealed(log_dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(log_dir)
        .expect("log directory")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".log.gz"))
        .collect();
    paths.sort();
    paths
}

/// A log with several sealed segments, some removed by retention, restarted.
fn filled() -> Home {
    let home = Home::new();
    home.record(300);
    let log = open(Options {
        retention: Some(Duration::from_millis(1)),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..home.options()
    });
    eventually("old segments are removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    home.record(200);
    home
}

#[test]
fn a_program_that_shares_no_code_verifies_a_log_a_checkpoint_and_a_proof() {
    let home = filled();
    let dir = home.log_dir();
    let (code, text) = python(&[&dir]);
    assert_eq!(code, 0, "{text}");
    assert!(sealed(&dir).len() >= 2);
    let early = home.dir.path().join("early");
    std::fs::copy(dir.join("audit.checkpoint"), &early).expect("copied");
    let proof = home.dir.path().join("proof");
    let seq = open(home.options()).manifest().pruned.end() + 20;
    std::fs::write(&proof, prove(&home.fs, &dir, seq).expect("a proof").encode()).expect("written");
    home.record(50);
    let key = dir.join("audit.pub");
    let [against, public_key, checkpoint, of_proof] =
        ["--against", "--public-key", "--checkpoint", "--proof"].map(Path::new);
    for args in [
        &[&*dir, against, &early, public_key, &key][..],
        &[&*dir, against, &proof],
        &[checkpoint, &early, public_key, &key],
        &[of_proof, &proof, public_key, &key],
    ] {
        let (code, text) = python(args);
        assert_eq!(code, 0, "{args:?}: {text}");
    }
    assert_eq!(python(&[]).0, 2);

    // And beside a writer.
    let log = home.open();
    let _seq = log.record(Event::new("x")).expect("queued").wait().expect("durable");
    assert_eq!(python(&[&dir]).0, 0);
}

#[test]
fn what_was_changed_the_other_program_finds_as_well_and_says_where() {
    let home = filled();
    let dir = home.log_dir();
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>), part: &str, args: &[&Path]| {
        let path = dir.join(name);
        let whole = std::fs::read(&path).expect("read");
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&path, &bytes).expect("written");
        let (code, text) = python(args);
        assert_eq!(code, 1, "{name}: {text}");
        assert!(text.contains("wrong: ") && text.contains(part), "{name}: {text}");
        std::fs::write(&path, whole).expect("put back");
    };
    let gz = sealed(&dir)[0].file_name().expect("a name").to_string_lossy().into_owned();
    let middle = |bytes: &mut Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    };
    changed(&gz, &middle, &gz, &[&dir]);
    changed(&gz, &|bytes| bytes.truncate(bytes.len() - 9), &gz, &[&dir]);
    changed(&gz, &|bytes| bytes.extend_from_within(..), &gz, &[&dir]);
    let drop_line = |bytes: &mut Vec<u8>| {
        let lf = bytes.iter().position(|byte| *byte == b'\n').expect("a line");
        bytes.drain(..=lf);
    };
    changed("audit.log", &drop_line, "audit.log", &[&dir]);
    let rename = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(bytes).replacen("audit.closed", "audit.closex", 1);
        *bytes = text.into_bytes();
    };
    changed("audit.log", &rename, "not those that were signed", &[&dir]);
    let digit = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(bytes).replacen("\"records\":", "\"records\":1", 1);
        *bytes = text.into_bytes();
    };
    changed("audit.manifest.json", &digit, &gz, &[&dir]);
    changed("audit.checkpoint", &|bytes| bytes[20] ^= 1, "signature", &[&dir]);

    let other = Home::new();
    other.record(3);
    let key = other.log_dir().join("audit.pub");
    let (code, text) = python(&[&dir, "--public-key".as_ref(), &key]);
    assert!(code == 1 && text.contains("not signed by"), "{text}");
    std::fs::rename(dir.join(&gz), dir.join("elsewhere")).expect("moved");
    let (code, text) = python(&[&dir]);
    assert!(code == 1 && text.contains(&gz), "{text}");
    std::fs::rename(dir.join("elsewhere"), dir.join(&gz)).expect("moved back");

    let pruned = open(home.options()).manifest().pruned.end();
    let proof = home.dir.path().join("proof");
    let whole = prove(&home.fs, &dir, pruned + 7).expect("a proof").encode();
    for at in (0..whole.len()).step_by(97) {
        let mut bad = whole.clone().into_bytes();
        bad[at] ^= 2;
        std::fs::write(&proof, &bad).expect("written");
        let (code, text) = python(&["--proof".as_ref(), &proof]);
        assert!(code == 1 && text.contains("wrong: "), "byte {at}: {code} {text}");
    }
}
