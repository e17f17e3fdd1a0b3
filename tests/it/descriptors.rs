//! A log of more segments than a process may have files open.

use std::process::Command;
use std::sync::Arc;

use auditctl::audit::read::snapshot::{Part, Snapshot};
use auditctl::audit::{AuditLog, Event};
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};
use auditctl::fsio::{OsFs, SharedFs};

use crate::backups::Home;
use crate::support::{open, options};

/// So many segments at least, none of which could be compressed.
const SEGMENTS: usize = 300;
/// So many files may be open: the runtime, threads and streams take a few dozen.
const DESCRIPTORS: &str = r#"ulimit -n 128; exec "$0" "$@""#;

fn plain_segments(home: &Home) {
    let fs = FaultFs::new(Arc::new(OsFs));
    fs.plan(Fault {
        op: Op::Open,
        name_contains: ".gz".to_owned(),
        after: 0,
        times: u64::MAX,
        how: How::Errno(5),
    });
    let log: AuditLog = open(auditctl::audit::Options {
        max_segment_size: 4 << 10,
        fs: Arc::new(fs),
        ..options(&home.dir)
    });
    let details = serde_json::json!({ "text": "x".repeat(1_500) });
    // One batch goes into one segment: each is waited for.
    for _ in 0..SEGMENTS + 1 {
        let record = |_| log.record(Event::new("e").details(&details).expect("details"));
        let last = (0..4).map(record).reduce(|_, last| last).expect("one").expect("recorded");
        last.wait_durable().expect("durable");
    }
    log.close().expect("closed");
}

#[test]
fn a_log_of_more_plain_segments_than_descriptors_is_backed_up_and_asked_like_any_other() {
    let home = Home::new();
    plain_segments(&home);
    let fs: SharedFs = Arc::new(OsFs);
    let taken = Snapshot::take(&fs, &home.log_dir()).expect("a log");
    let plain = taken.parts.iter().filter(|part| matches!(part, Part::Cut { .. })).count();
    assert!(plain >= SEGMENTS, "{plain} plain segments");
    drop(taken);
    for args in [
        &["backup"][..],
        &["list", "--verify=chain"],
        &["verify"],
        &["verify", "latest"],
        &["query", "--count"],
        &["query", "--where", "details.text = y"],
        &["diff", "latest", "latest"],
        &["repair"],
        &["restore", "latest", "--dry-run"],
        &["record", "--type", "later"],
        &["backup", "--incremental"],
        &["health"],
    ] {
        let output = Command::new("sh")
            .args(["-c", DESCRIPTORS, env!("CARGO_BIN_EXE_auditctl")])
            .args(args)
            .current_dir(home.dir.path())
            .env_clear()
            .env("HOME", home.dir.path())
            .env("PATH", "/usr/bin:/bin")
            .output()
            .expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("Too many open files"), "{args:?}: {said}");
        let code = output.status.code();
        // That nobody records is what health has to say.
        assert!(code == Some(0) || args[0] == "health", "{args:?}: {code:?} {said}");
    }
}
