//! What an auditor runs on a copy of the log: nothing is needed but a public key, and a
//! checkpoint that was kept where nobody who can write the log could change it.
//!
//! `verifier LOG_DIR AUDIT_PUB CHECKPOINT` verifies a log. Without arguments it makes one,
//! verifies it, changes a byte, and verifies it again.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use auditctl::verify::{Completeness, Integrity, Report, Verifier};
use auditctl::{AuditLog, Event, Options};

fn verify(dir: &Path, key: &str, checkpoint: &[u8]) -> Result<Report, Box<dyn Error>> {
    let report = Verifier::with_key(key)?.against("kept checkpoint", checkpoint)?.verify(dir)?;
    match report.integrity {
        Integrity::Intact => println!("the records are those that were recorded"),
        Integrity::Damaged => println!("records were altered or are missing"),
        Integrity::Unproven => println!("nothing proves the records"),
    }
    match report.completeness {
        Completeness::Anchored => println!("none is missing, as the kept checkpoint shows"),
        Completeness::Signed => println!("complete as far as this log can tell"),
        Completeness::Incomplete => {
            println!("the end is missing, or the log differs from the kept checkpoint")
        }
    }
    for finding in &report.findings {
        println!("  {finding}");
    }
    Ok(report)
}

fn main() -> Result<(), Box<dyn Error>> {
    if let [_, dir, key, checkpoint] = &env::args().collect::<Vec<_>>()[..] {
        let report = verify(Path::new(dir), &fs::read_to_string(key)?, &fs::read(checkpoint)?)?;
        return if report.passed() { Ok(()) } else { Err("the log did not pass".into()) };
    }

    let place = tempfile::tempdir()?;
    let dir = place.path().join("logs");
    let log = AuditLog::open(Options::new(&dir))?;
    for amount in [10, 20, 30] {
        let paid =
            Event::new("payment").actor("bob").details(&serde_json::json!({ "amount": amount }))?;
        log.record(paid)?.wait()?;
    }
    log.close()?;
    let (key, checkpoint) = (log.verifier_key(), log.checkpoint()); // to be kept elsewhere
    assert!(verify(&dir, &key, checkpoint.as_bytes())?.passed());

    let file = dir.join("audit.log");
    let changed = fs::read_to_string(&file)?.replace("\"amount\":20", "\"amount\":99");
    fs::write(&file, changed)?;
    println!("-- somebody changed an amount --");
    assert_eq!(verify(&dir, &key, checkpoint.as_bytes())?.integrity, Integrity::Damaged);
    Ok(())
}
