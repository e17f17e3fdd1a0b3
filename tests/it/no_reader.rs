//! Nobody reads standard output any more, or it is a full disk: what a command has to do it
//! does whole, and its exit code is the one that it has to tell.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::process::Stdio;

use crate::backups::{Home, names, read};
use crate::support::{auditctl, records, run};

/// Where standard output goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Out {
    /// A pipe that nobody reads.
    Closed,
    /// A disk without space.
    Full,
}

/// Exit code and stderr of a command whose output goes there.
fn into(home: &Home, out: Out, args: &[&str]) -> (i32, String) {
    let mut command = auditctl(&home.dir, args);
    command.stderr(Stdio::piped());
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    match out {
        Out::Full => command.stdout(full()),
        Out::Closed => {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            command.stdout(writer)
        }
    };
    let mut child = command.spawn().expect("runs");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("utf-8");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    (child.wait().expect("ended").code().expect("not killed"), said)
}

/// A log with a backup, and a segment that was damaged after it.
fn damaged() -> Home {
    let home = Home::new();
    home.record(240);
    let (code, out, err) = run(&home.dir, &["backup", "--output-dir", "backups"]);
    assert_eq!(code, 0, "{out}{err}");
    let dir = home.log_dir();
    let segment = names(&dir).into_iter().find(|name| name.ends_with(".log.gz"));
    let path = dir.join(segment.expect("a segment"));
    let mut bytes = read(&path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&path, bytes).expect("written");
    home
}

fn count(home: &Home, event_type: &str) -> usize {
    let all = records(&home.log_dir());
    all.iter().filter(|(_, record)| record["event_type"] == event_type).count()
}

#[test]
fn what_was_found_decides_the_exit_code_whether_anybody_reads_it_or_not() {
    let home = damaged();
    let looks: [(&[&str], i32); 8] = [
        (&["verify"], 1),
        (&["verify", "--json"], 1),
        (&["diff", "log", "latest", "--output-dir", "backups"], 1),
        (&["diff", "log", "latest", "--output-dir", "backups", "--json"], 1),
        (&["list", "--output-dir", "backups"], 0),
        (&["list", "--output-dir", "backups", "--verify", "--json"], 0),
        (&["repair", "--output-dir", "backups", "--dry-run"], 0),
        (&["repair", "--output-dir", "nowhere", "--dry-run"], 1),
    ];
    let dir = home.log_dir();
    // What was found is noted for `health`; nothing else changes.
    let files = || -> Vec<_> {
        let names = names(&dir).into_iter().filter(|name| name != "audit.findings.json");
        names.map(|name| (name.clone(), read(&dir.join(name)))).collect()
    };
    let before = files();
    for (args, code) in looks {
        assert_eq!(run(&home.dir, args).0, code, "{args:?}, read");
        let (closed, said) = into(&home, Out::Closed, args);
        assert_eq!(closed, code, "{args:?}, not read: {said}");
        let (full, said) = into(&home, Out::Full, args);
        assert_eq!(full, 3, "{args:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{args:?}: {said}");
    }
    assert!(before == files(), "looking changes nothing");
}

#[test]
fn a_repair_that_nobody_reads_of_is_whole_and_recorded() {
    for (out, json) in [(Out::Closed, false), (Out::Full, false), (Out::Full, true)] {
        let home = damaged();
        let mut args = vec!["repair", "--output-dir", "backups"];
        args.extend(json.then_some("--json"));
        let (code, said) = into(&home, out, &args);
        assert_eq!(code, if out == Out::Full { 3 } else { 0 }, "{out:?}: {said}");
        assert_eq!(out == Out::Full, said.contains("the repair is done all the same"), "{said}");
        let (code, found, _) = run(&home.dir, &["verify"]);
        assert_eq!(code, 0, "{out:?}: {found}");
        assert_eq!(count(&home, "audit.repaired"), 1, "{out:?}");
    }
}

#[test]
fn a_backup_that_nobody_reads_of_is_made_and_recorded() {
    for (out, json) in [(Out::Closed, false), (Out::Full, false), (Out::Full, true)] {
        let home = Home::new();
        home.record(20);
        let mut args = vec!["backup", "--output-dir", "backups"];
        args.extend(json.then_some("--json"));
        let (code, said) = into(&home, out, &args);
        assert_eq!(code, if out == Out::Full { 3 } else { 0 }, "{out:?}: {said}");
        assert_eq!(count(&home, "audit.backup_made"), 1, "{out:?}: {said}");
        let (code, listed, _) = run(&home.dir, &["list", "--output-dir", "backups", "--verify"]);
        assert_eq!(code, 0, "{listed}");
    }
}
