//! What an opening, a verification and a backup rest on: the signed head, the signed
//! manifest, the log's own signed records.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditctl::audit::keys::checkpoint::SignedCheckpoint;
use auditctl::audit::read::verify::{Depth, Kind, Report, Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::{AuditLog, Event, LogPaths, OpenError, Options};
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};
use auditctl::fsio::{OsFs, SharedFs};
use serde_json::Value;

use crate::backups::{Home, all_compressed};
use crate::support::{Dir, count, failing, open, records, root_agrees, run};
use crate::verify_python::python;

fn checked(dir: &Path, request: &Request) -> Report {
    let fs: SharedFs = std::sync::Arc::new(OsFs);
    verify(&fs, dir, request, &Unwatched).expect("a report").0
}

/// What the newest `audit.recovered` record says.
fn recovered(dir: &Path) -> Value {
    let stored = records(dir);
    let told = stored.iter().rev().find(|(_, record)| record["event_type"] == "audit.recovered");
    told.expect("recorded").1["details"].clone()
}

fn manifest(dir: &Path) -> Value {
    let text = std::fs::read(LogPaths::new(dir).manifest()).expect("a manifest");
    serde_json::from_slice(&text).expect("json")
}

fn write_manifest(dir: &Path, manifest: &Value) {
    let text = format!("{manifest}\n");
    std::fs::write(LogPaths::new(dir).manifest(), text).expect("written");
}

fn first_sealed(dir: &Path) -> PathBuf {
    dir.join(manifest(dir)["segments"][0]["file"].as_str().expect("a name"))
}

#[test]
fn an_event_is_acknowledged_only_when_a_signed_head_covers_it() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(options);
    let head = LogPaths::new(&dir.log()).head();
    for _ in 0..20 {
        let seq = log.record(Event::new("e")).expect("accepted").wait().expect("durable");
        let text = std::fs::read(&head).expect("a head");
        let signed = SignedCheckpoint::parse(&text).expect("signed");
        assert!(signed.unverified().size > seq);
    }
    // While the head cannot be written, nobody is answered.
    fs.plan(Fault {
        op: Op::Write,
        name_contains: "audit.head".to_owned(),
        after: 0,
        times: 1,
        how: How::Hang,
    });
    let before = log.acked_seq();
    let receipt = log.record(Event::new("e")).expect("accepted");
    while fs.hits() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(log.wait_progress(before, Duration::from_millis(200)).acked_seq, before);
    fs.heal();
    receipt.wait().expect("durable");
    log.close().expect("closed");
}

#[test]
fn a_checkpoint_is_stored_once_in_its_interval_and_not_for_each_record() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let never = Duration::from_secs(3_600);
    let log =
        open(Options { checkpoint_interval: never, idle_checkpoint_interval: never, ..options });
    // The opening stores one over its own records.
    let _ = fs.take_log();
    for _ in 0..50 {
        log.record(Event::new("e")).expect("accepted").wait().expect("durable");
    }
    let stored = |fs: &FaultFs| {
        let done = fs.take_log().into_iter();
        done.filter(|(op, path)| *op == Op::Rename && path.ends_with("audit.checkpoint")).count()
    };
    assert_eq!(stored(&fs), 0);
    log.close().expect("closed");
    assert_eq!(stored(&fs), 1, "the close");
}

#[test]
fn a_quick_verification_of_what_retention_left_reads_the_record_that_says_so() {
    let (home, clock) = Home::at("2026-02-04T21:09:40Z");
    let options = || Options {
        clock: clock.clone(),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..home.options()
    };
    let log = open(Options { retention: None, ..options() });
    crate::backups::record_into(&log, 200);
    all_compressed(&log);
    log.close().expect("closed");
    clock.advance(Duration::from_secs(100 * 86_400));
    // A clock is believed once records were made by it.
    let log = open(Options { retention: None, ..options() });
    crate::backups::record_into(&log, 20);
    log.close().expect("closed");
    let log = open(options());
    crate::support::eventually("retention has removed", || log.manifest().pruned.end() > 0);
    // The record of it is sealed and followed by more.
    crate::backups::record_into(&log, 200);
    all_compressed(&log);
    log.close().expect("closed");
    let quick = Request { quick: true, ..Request::default() };
    let report = checked(&home.log_dir(), &quick);
    assert!(report.passed(), "{:?}", report.findings);
    assert_eq!(report.depth, Depth::Quick, "{:?}", report.depth_reason);
    assert!(report.ranges.removed.end_seq > 0);
}

#[test]
fn a_manifest_that_somebody_edited_is_made_anew_from_the_segments_and_that_is_recorded() {
    let home = Home::new();
    home.record(200);
    let dir = home.log_dir();
    let good = manifest(&dir);
    for edit in ["sealed_at", "max_timestamp", "abandoned", "epoch", "signature", "emptied", "none"]
    {
        let mut edited = good.clone();
        match edit {
            "sealed_at" | "max_timestamp" => {
                edited["segments"][0][edit] = "2020-01-01T00:00:00.000000Z".into();
            }
            "abandoned" => {
                let text = std::fs::read_to_string(LogPaths::new(&dir).checkpoint());
                edited["abandoned"] = vec![text.expect("a checkpoint")].into();
            }
            "epoch" => edited["epoch"] = 7.into(),
            "signature" => edited["signature"] = Value::Null,
            "emptied" => edited["segments"] = Value::Array(Vec::new()),
            _ => {}
        }
        write_manifest(&dir, &edited);
        if edit == "none" {
            std::fs::remove_file(LogPaths::new(&dir).manifest()).expect("removed");
        }
        open(home.options()).close().expect("closed");
        assert!(recovered(&dir)["manifest_rebuilt"].is_string(), "{edit}");
        let now = manifest(&dir);
        let known = |manifest: &Value| {
            let segments = manifest["segments"].as_array().expect("segments").clone();
            let only = |segment: &Value| (segment["blocks"].clone(), segment["sha256"].clone());
            segments.iter().take(2).map(only).collect::<Vec<_>>()
        };
        assert_eq!(known(&now), known(&good), "{edit}");
        assert_eq!(now["epoch"], 0, "{edit}");
        let told = count(&dir, "audit.recovered");
        open(home.options()).close().expect("closed");
        assert_eq!(count(&dir, "audit.recovered"), told, "{edit}: told once");
        let report = checked(&dir, &Request::default());
        assert!(report.passed(), "{edit}: {:?}", report.findings);
        root_agrees(&dir);
    }
}

#[test]
fn a_quick_verification_believes_no_manifest_that_the_log_did_not_sign() {
    let home = Home::new();
    home.record(200);
    let dir = home.log_dir();
    let quick = Request { quick: true, ..Request::default() };
    assert_eq!(checked(&dir, &quick).depth, Depth::Quick);
    // A record altered, and all that is unsigned with it.
    let path = first_sealed(&dir);
    let mut raw = String::new();
    let stored = std::fs::read(&path).expect("a segment");
    flate2::read::MultiGzDecoder::new(&stored[..]).read_to_string(&mut raw).expect("gzip");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(raw.replacen("user-3", "user-4", 1).as_bytes()).expect("written");
    let forged = encoder.finish().expect("gzip");
    std::fs::write(&path, &forged).expect("written");
    let mut edited = manifest(&dir);
    edited["segments"][0]["sha256"] = auditctl::audit::files::restore::sha256_hex(&forged).into();
    edited["segments"][0]["stored_bytes"] = forged.len().into();
    edited["segments"][0]["blocks"][0]["stored_bytes"] = forged.len().into();
    edited["signature"] = Value::Null;
    write_manifest(&dir, &edited);
    let report = checked(&dir, &quick);
    assert_eq!(report.depth, Depth::Full, "{:?}", report.depth_reason);
    assert!(!report.passed());
}

#[test]
fn a_segment_that_somebody_packed_anew_is_the_same_segment() {
    let home = Home::new();
    home.record(200);
    let dir = home.log_dir();
    let before = checked(&dir, &Request::default());
    let path = first_sealed(&dir);
    let mut raw = Vec::new();
    let stored = std::fs::read(&path).expect("a segment");
    flate2::read::MultiGzDecoder::new(&stored[..]).read_to_end(&mut raw).expect("gzip");
    let middle = memchr_after(&raw, raw.len() / 2);
    let mut anew = Vec::new();
    for part in [&raw[..middle], &raw[middle..]] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).expect("written");
        anew.extend(encoder.finish().expect("gzip"));
    }
    std::fs::write(&path, &anew).expect("written");

    let report = checked(&dir, &Request::default());
    assert!(report.passed(), "{:?}", report.findings);
    assert_eq!(report.findings[0].kind, Kind::StoredBytes);
    assert_eq!(report.tree_size, before.tree_size);
    let (code, text) = python(&[&dir]);
    assert!(code == 0 && text.contains("packed it anew"), "{text}");
    // Queries and backups go on beside it.
    let (code, out, _) = run(&home.dir, &["query", "--count", "--type", "login"]);
    assert_eq!((code, out.trim()), (0, "200"));
    home.back_up();
    // The next start packs it in its own way, and says so.
    home.record(1);
    assert_eq!(recovered(&dir)["stored_anew"].as_array().map(Vec::len), Some(1));
    let report = checked(&dir, &Request::default());
    assert!(report.passed() && report.findings.is_empty(), "{:?}", report.findings);
    home.back_up();
}

fn memchr_after(raw: &[u8], from: usize) -> usize {
    from + raw[from..].iter().position(|byte| *byte == b'\n').expect("a line") + 1
}

#[test]
fn a_manifest_lost_after_retention_comes_back_with_what_was_removed() {
    let (home, clock) = Home::at("2026-02-04T21:09:40Z");
    let options = || Options {
        clock: clock.clone(),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..home.options()
    };
    let log = open(Options { retention: None, ..options() });
    crate::backups::record_into(&log, 200);
    all_compressed(&log);
    log.close().expect("closed");
    clock.advance(Duration::from_secs(100 * 86_400));
    let log = open(Options { retention: None, ..options() });
    crate::backups::record_into(&log, 200);
    all_compressed(&log);
    log.close().expect("closed");
    let dir = home.log_dir();
    let log = open(options());
    crate::support::eventually("retention has removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    let good = manifest(&dir);
    assert!(checked(&dir, &Request::default()).passed());
    std::fs::remove_file(LogPaths::new(&dir).manifest()).expect("removed");
    open(Options { retention: None, ..options() }).close().expect("closed");
    let now = manifest(&dir);
    assert_eq!(now["pruned"], good["pruned"]);
    assert_eq!(now["pruned_by"], good["pruned_by"]);
    assert!(checked(&dir, &Request::default()).passed());
    // Without the record that says so nothing excuses what is missing.
    let mut forged = now.clone();
    forged["signature"] = Value::Null;
    forged["pruned_by"] = Value::Null;
    let sealed = first_sealed(&dir);
    let cut = forged["segments"].as_array().expect("segments").len() > 1;
    assert!(cut, "a segment more to take away");
    std::fs::remove_file(&sealed).expect("removed");
    forged["segments"].as_array_mut().expect("segments").remove(0);
    write_manifest(&dir, &forged);
    assert!(!checked(&dir, &Request::default()).passed());
    let error = AuditLog::open(Options { retention: None, ..options() }).expect_err("refused");
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
}
