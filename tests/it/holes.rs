//! Damaged records that are given up: nothing else is lost, the tree stays whole, and
//! everything that reads the log says what is not there.

use std::path::{Path, PathBuf};

use auditctl::audit::read::query::{Bounds, Found, Order, Query, Reader, Want};
use auditctl::audit::read::verify::{Kind, ProveError, Report, Request, prove, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::{AuditLog, Event, LogPaths, OpenError, Options};
use serde_json::Value;

use crate::backups::{Home, copy_dir, names, read, record_into};
use crate::disk::{Change, Disk, Random, RecordingFs};
use crate::support::{open, records, run};
use crate::verify_python::python;

pub(crate) fn accepting(home: &Home) -> Options {
    Options { accept_corruption: true, ..home.options() }
}

/// Opens it so that corruption is accepted, and closes it.
pub(crate) fn accept(home: &Home) {
    let log = open(accepting(home));
    log.close().expect("closed");
}

pub(crate) fn report(home: &Home, request: &Request) -> Report {
    verify(&home.fs, &home.log_dir(), request, &Unwatched).expect("a report").0
}

/// The runs of records that are told as given up.
fn told(report: &Report) -> Vec<(u64, u64)> {
    report.holes.iter().map(|hole| (hole.first_seq, hole.end_seq)).collect()
}

/// Everybody who checks the log says the same: verified, but for these.
pub(crate) fn verified_but_for(home: &Home, holes: &[(u64, u64)]) {
    for request in [Request::default(), Request { quick: true, ..Request::default() }] {
        let report = report(home, &request);
        assert!(report.passed(), "{report:#?}");
        assert_eq!(told(&report), holes);
        assert!(report.holes.iter().all(|hole| hole.record.is_some()), "{:?}", report.holes);
    }
    let (code, text) = python(&[&home.log_dir()]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("were given up, by record").count(), holes.len(), "{text}");
}

/// Alters a record where it stands.
pub(crate) fn alter(path: &Path, seq: u64) {
    let mut text = read(path);
    let wanted = format!("{{\"seq\":{seq},");
    let at = memchr::memmem::find(&text, wanted.as_bytes()).expect("the record");
    let at = at + memchr::memmem::find(&text[at..], b"login").expect("its type");
    text[at] = b'L';
    std::fs::write(path, text).expect("written");
}

/// The log's lines by their seq.
pub(crate) fn lines(home: &Home) -> Vec<(u64, String)> {
    let lines = crate::support::all_lines(&home.log_dir());
    let seq = |line: &String| {
        serde_json::from_str::<Value>(line).ok().and_then(|record| record["seq"].as_u64())
    };
    lines.into_iter().filter_map(|line| Some((seq(&line)?, line))).collect()
}

/// All that was there is there, but for the holes.
pub(crate) fn only_lost(home: &Home, before: &[(u64, String)], holes: &[(u64, u64)]) {
    let now = lines(home);
    for (seq, line) in before {
        let is_lost = holes.iter().any(|(first, end)| (*first..*end).contains(seq));
        let there = now.iter().any(|(at, found)| at == seq && found == line);
        assert_eq!(there, !is_lost, "record {seq}");
    }
}

fn sealed(home: &Home) -> Vec<PathBuf> {
    let dir = home.log_dir();
    let packed = |name: &String| name.starts_with("audit.0") && name.ends_with(".log.gz");
    names(&dir).into_iter().filter(packed).map(|name| dir.join(name)).collect()
}

fn asks(home: &Home) -> auditctl::audit::read::query::Answer {
    let mut reader = Reader::open(&home.fs, &home.log_dir(), Bounds::default()).expect("a reader");
    let want = Want::Records { order: Order::Oldest, limit: 10_000 };
    reader.query(&Query { filter: Default::default(), want }).expect("an answer")
}

/// B1: one bad byte in the active segment costs one record.
#[test]
fn of_a_damaged_active_segment_only_the_damaged_record_is_given_up() {
    let home = Home::new();
    let log = open(home.options());
    record_into(&log, 30);
    log.close().expect("closed");
    let before = lines(&home);
    let active = LogPaths::new(&home.log_dir()).active();
    alter(&active, 9);
    let damaged = read(&active);
    let refused = AuditLog::open(home.options()).expect_err("not opened");
    assert!(matches!(refused, OpenError::Corrupt(_)), "{refused}");
    assert_eq!(read(&active), damaged, "nothing was changed");

    let log = open(accepting(&home));
    assert!(!log.checkpoint().contains("/e1\n"), "the epoch stays: {}", log.checkpoint());
    record_into(&log, 3);
    log.close().expect("closed");
    only_lost(&home, &before, &[(9, 10)]);
    verified_but_for(&home, &[(9, 10)]);
    // What was damaged is kept, and the record says so.
    let all = records(&home.log_dir());
    let recovered = all.iter().find(|(_, record)| record["event_type"] == "audit.recovered");
    let details = &recovered.expect("recorded").1["details"];
    assert_eq!(details["holes"][0]["first_seq"], 9);
    assert_eq!(details["holes"][0]["end_seq"], 10);
    let kept = details["damaged_file"].as_str().expect("named");
    assert!(kept.starts_with("audit.log.damaged-"), "{kept}");
    assert_eq!(read(&home.log_dir().join(kept)), damaged);
    // It opens as usual again, for ever.
    home.record(40);
    home.record(1);
    verified_but_for(&home, &[(9, 10)]);
}

/// B1: a truncated active segment of which the hashes are known has a hole at its end.
#[test]
fn a_truncated_active_segment_gets_a_hole_at_its_end() {
    let home = Home::new();
    let log = open(home.options());
    record_into(&log, 30);
    log.close().expect("closed");
    let before = lines(&home);
    let end = before.len() as u64;
    let active = LogPaths::new(&home.log_dir()).active();
    let text = read(&active);
    std::fs::write(&active, &text[..text.len() / 2]).expect("cut");
    let whole = text[..text.len() / 2].iter().filter(|byte| **byte == b'\n').count() as u64;
    accept(&home);
    only_lost(&home, &before, &[(whole, end)]);
    verified_but_for(&home, &[(whole, end)]);
    let report = report(&home, &Request::default());
    assert!(report.holes[0].reason.contains("ends"), "{:?}", report.holes);
    assert_eq!(report.epoch, 0);
}

/// Emptied, removed, a line taken out, lines swapped, a line put in, a line doubled.
#[test]
fn whatever_was_done_to_the_active_segment_what_is_left_of_it_stays() {
    /// What it is, how it is done, and the records that are lost by it.
    type Damage = (&'static str, fn(&mut Vec<String>), Option<(u64, u64)>);
    let damages: [Damage; 5] = [
        ("a removed line", |lines| drop(lines.remove(5)), Some((5, 6))),
        ("swapped lines", |lines| lines.swap(4, 9), None),
        ("a doubled line", |lines| lines.insert(3, lines[3].clone()), None),
        (
            "a forged line put in",
            |lines| lines.insert(3, lines[3].replace("login", "forged")),
            None,
        ),
        ("a line without sense", |lines| lines[7] = "{".to_owned(), Some((7, 8))),
    ];
    for (what, damage, hole) in damages {
        let home = Home::new();
        let log = open(home.options());
        record_into(&log, 20);
        log.close().expect("closed");
        let before = lines(&home);
        let active = LogPaths::new(&home.log_dir()).active();
        let text = String::from_utf8(read(&active)).expect("text");
        let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
        damage(&mut all);
        std::fs::write(&active, all.join("\n") + "\n").expect("written");
        assert!(AuditLog::open(home.options()).is_err(), "{what}");
        accept(&home);
        let holes: Vec<(u64, u64)> = hole.into_iter().collect();
        only_lost(&home, &before, &holes);
        verified_but_for(&home, &holes);
    }
    // Nothing left at all.
    for remove in [true, false] {
        let home = Home::new();
        let log = open(home.options());
        record_into(&log, 20);
        log.close().expect("closed");
        let end = lines(&home).len() as u64;
        let active = LogPaths::new(&home.log_dir()).active();
        if remove {
            std::fs::remove_file(&active).expect("removed");
        } else {
            std::fs::write(&active, "").expect("emptied");
        }
        accept(&home);
        verified_but_for(&home, &[(0, end)]);
        home.record(30);
        verified_but_for(&home, &[(0, end)]);
    }
}

/// B1: of a sealed segment the blocks that are good, and what is proven of the others, stay.
#[test]
fn of_damaged_sealed_segments_what_is_proven_stays_and_the_damaged_files_are_kept() {
    let home = Home::new();
    home.record(400);
    let before = lines(&home);
    let files = sealed(&home);
    assert!(files.len() >= 3);
    // One is gone, one is cut, of one a byte is flipped: its length is as it was.
    let span = |path: &PathBuf| {
        let manifest: Value =
            serde_json::from_slice(&read(&home.log_dir().join("audit.manifest.json")))
                .expect("json");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let segment = manifest["segments"]
            .as_array()
            .expect("segments")
            .iter()
            .find(|segment| segment["file"] == *name)
            .expect("listed")
            .clone();
        let first = segment["first_seq"].as_u64().expect("a seq");
        (first, first + segment["records"].as_u64().expect("a count"))
    };
    let spans: Vec<(u64, u64)> = files.iter().map(span).collect();
    std::fs::remove_file(&files[0]).expect("removed");
    let cut = read(&files[1]);
    std::fs::write(&files[1], &cut[..cut.len() * 2 / 3]).expect("cut");
    let mut flipped = read(&files[2]);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    std::fs::write(&files[2], &flipped).expect("written");

    accept(&home);
    let report = report(&home, &Request::default());
    let holes = told(&report);
    assert!(report.passed(), "{report:#?}");
    assert_eq!(holes[0], spans[0], "all of what is gone: {holes:?}");
    for (nth, span) in spans.iter().enumerate().skip(1).take(2) {
        let lost: u64 = holes
            .iter()
            .map(|(first, end)| end.min(&span.1).saturating_sub(*first.max(&span.0)))
            .sum();
        assert!(lost > 0 && lost < span.1 - span.0, "{nth}: {lost} of {span:?}, {holes:?}");
    }
    only_lost(&home, &before, &holes);
    verified_but_for(&home, &holes);
    let kept = names(&home.log_dir());
    let kept: Vec<&String> = kept.iter().filter(|name| name.contains(".damaged-")).collect();
    assert_eq!(kept.len(), 2, "of what is gone nothing can be kept: {kept:?}");
    assert!(kept.iter().any(|name| read(&home.log_dir().join(name)) == flipped));
    // It goes on, is compressed, checked again, asked.
    home.record(300);
    verified_but_for(&home, &holes);
    let answer = asks(&home);
    assert!(answer.damaged.is_empty(), "{:?}", answer.damaged);
    let told: Vec<(u64, u64)> =
        answer.given_up.iter().map(|hole| (hole.first_seq, hole.end_seq)).collect();
    assert_eq!(told, holes);
    let lost: u64 = holes.iter().map(|(first, end)| end - first).sum();
    let Found::Records(found) = &answer.found else { panic!("records") };
    assert_eq!(found.len() as u64 + lost, answer.end, "all others");
}

#[test]
fn a_record_in_a_hole_has_no_proof_and_all_others_have_theirs() {
    let home = Home::new();
    let log = open(home.options());
    record_into(&log, 25);
    log.close().expect("closed");
    let active = LogPaths::new(&home.log_dir()).active();
    for seq in [8, 9, 10, 19] {
        alter(&active, seq);
    }
    accept(&home);
    verified_but_for(&home, &[(8, 11), (19, 20)]);
    let end = report(&home, &Request::default()).tree_size;
    for seq in 0..end {
        let proof = prove(&home.fs, &home.log_dir(), seq);
        if [8, 9, 10, 19].contains(&seq) {
            let error = proof.expect_err("no proof");
            assert!(matches!(error, ProveError::GivenUp { .. }), "{error}");
        } else {
            proof.expect("a proof").check(None).expect("proven");
        }
    }
    let (code, _, stderr) = run(&home.dir, &["prove", "9"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("records 8 to 10") && stderr.contains("repair"), "{stderr}");
    let (code, stdout, _) = run(&home.dir, &["verify"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("VERIFIED, but for 4 records that were given up"), "{stdout}");
    let (code, stdout, stderr) = run(&home.dir, &["query", "--count"]);
    assert_eq!((code, stdout.trim()), (0, (end - 4).to_string().as_str()), "{stderr}");
    assert!(stderr.contains("records 8 to 10 are missing"), "{stderr}");
    assert!(stderr.contains("record 19 is missing"), "{stderr}");
    let (_, stdout, _) = run(&home.dir, &["query", "--json", "--seq", "5..12"]);
    let document: Value = serde_json::from_str(&stdout).expect("json");
    assert_eq!(document["given_up"][0]["first_seq"], 8, "{document}");
    assert_eq!(document["records"].as_array().map(Vec::len), Some(4), "{document}");
}

/// The manifest is an index: what it says of holes the records say, too.
#[test]
fn a_lost_manifest_of_a_log_with_holes_is_made_anew_with_them() {
    let home = Home::new();
    home.record(200);
    let log = open(home.options());
    record_into(&log, 10);
    log.close().expect("closed");
    std::fs::remove_file(&sealed(&home)[0]).expect("removed");
    let end = lines(&home).last().expect("a record").0;
    alter(&LogPaths::new(&home.log_dir()).active(), end - 4);
    accept(&home);
    let holes = told(&report(&home, &Request::default()));
    assert_eq!(holes.len(), 2);
    home.record(50);
    verified_but_for(&home, &holes);
    let path = home.log_dir().join("audit.manifest.json");
    for forged in [None, Some("{}")] {
        match forged {
            None => std::fs::remove_file(&path).expect("removed"),
            Some(text) => std::fs::write(&path, text).expect("written"),
        }
        home.record(1);
        verified_but_for(&home, &holes);
    }
}

/// A forger without the key plants a manifest that excuses what is missing.
#[test]
fn a_manifest_with_holes_that_nobody_signed_excuses_nothing() {
    let home = Home::new();
    home.record(200);
    let path = home.log_dir().join("audit.manifest.json");
    let mut manifest: Value = serde_json::from_slice(&read(&path)).expect("json");
    let segment = &mut manifest["segments"][0];
    for block in segment["blocks"].as_array_mut().expect("blocks") {
        block["hole"] = "lost in a fire".into();
        block["stored_bytes"] = 0.into();
        block["raw_bytes"] = 0.into();
        block["offset"] = 0.into();
    }
    segment["stored_bytes"] = 0.into();
    segment["raw_bytes"] = 0.into();
    manifest["signature"] = Value::Null;
    manifest["holes_by"] = 3.into();
    let end = segment_end(&manifest, 0);
    std::fs::remove_file(&sealed(&home)[0]).expect("removed");
    std::fs::write(&path, format!("{manifest}\n")).expect("written");
    let report = report(&home, &Request::default());
    assert!(!report.passed());
    let missing = |kind| {
        report
            .findings
            .iter()
            .any(|f| f.kind == kind && (f.first_seq, f.end_seq) == (Some(0), Some(end)))
    };
    assert!(missing(Kind::Missing), "{:?}", report.findings);
    assert_eq!(python(&[&home.log_dir()]).0, 1);
    let refused = AuditLog::open(home.options()).expect_err("not opened");
    assert!(matches!(refused, OpenError::Corrupt(_)), "{refused}");
    let answer = asks(&home);
    assert!(answer.given_up.is_empty() && !answer.damaged.is_empty(), "{answer:?}");
}

fn segment_end(manifest: &Value, nth: usize) -> u64 {
    let segment = &manifest["segments"][nth];
    segment["first_seq"].as_u64().expect("a seq") + segment["records"].as_u64().expect("a count")
}

/// `audit.leaves` proves nothing: forged, lost or old, it makes no good record be given up
/// and no damaged one pass.
#[test]
fn a_forged_or_missing_leaves_file_gives_no_good_record_up_and_makes_no_damaged_one_pass() {
    let image = Home::new();
    let log = open(image.options());
    record_into(&log, 30);
    log.close().expect("closed");
    let before = lines(&image);
    let with = |forge: &dyn Fn(&mut Vec<u8>), altered: &[u64]| {
        let home = Home::new();
        copy_dir(&image.log_dir(), &home.log_dir());
        let path = home.log_dir().join("audit.leaves");
        let mut leaves = read(&path);
        assert_eq!(leaves.len(), 64 + 32 * before.len(), "one for each record");
        forge(&mut leaves);
        std::fs::write(&path, leaves).expect("written");
        for seq in altered {
            alter(&LogPaths::new(&home.log_dir()).active(), *seq);
        }
        home
    };
    let at = |seq: usize| 64 + 32 * seq;
    // Forged alone: nothing is damaged, nothing given up.
    let home = with(&|leaves| leaves[at(5)] ^= 1, &[]);
    accept(&home);
    only_lost(&home, &before, &[]);
    // Of a good record, beside a damaged one: the root tells them apart.
    let home = with(&|leaves| leaves[at(5)] ^= 1, &[9]);
    accept(&home);
    only_lost(&home, &before, &[(9, 10)]);
    verified_but_for(&home, &[(9, 10)]);
    // Of the damaged record itself: the forger's line does not pass for the recorded one.
    let home = with(&|leaves| leaves.truncate(at(5)), &[9]);
    accept(&home);
    let now = lines(&home);
    assert!(!now.iter().any(|(_, line)| line.contains("\"Login\"")), "no damaged record passes");
    assert!(report(&home, &Request::default()).passed());
    // Without any: as much as an older signature proves, and a new epoch.
    let home = with(&|leaves| leaves.clear(), &[9]);
    accept(&home);
    let report = report(&home, &Request::default());
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.epoch, 1);
    assert!(!lines(&home).iter().any(|(_, line)| line.contains("\"Login\"")));
    assert_eq!(python(&[&home.log_dir()]).0, 0);
}

/// What nobody can be sure of is set aside, but no more than that.
#[test]
fn without_leaves_what_an_older_signed_head_proves_is_kept() {
    let home = Home::new();
    let log = open(home.options());
    record_into(&log, 10);
    log.close().expect("closed");
    let head = read(&home.log_dir().join("audit.checkpoint"));
    let note = auditctl::audit::keys::checkpoint::SignedCheckpoint::parse(&head).expect("signed");
    let proven = note.unverified().size;
    let log = open(home.options());
    record_into(&log, 10);
    log.close().expect("closed");
    let before = lines(&home);
    alter(&LogPaths::new(&home.log_dir()).active(), proven + 5);
    std::fs::remove_file(home.log_dir().join("audit.leaves")).expect("removed");
    let known = auditctl::audit::keys::histories::KnownHead {
        name: "a backup".to_owned(),
        kept: auditctl::audit::keys::histories::Kept::Backup,
        note,
        rotations: Vec::new(),
    };
    let log = open(Options { heads: vec![known], ..accepting(&home) });
    log.close().expect("closed");
    let now = lines(&home);
    for (seq, line) in before.iter().filter(|(seq, _)| *seq < proven) {
        assert!(now.contains(&(*seq, line.clone())), "record {seq} was proven");
    }
    let report = report(&home, &Request::default());
    assert!(report.passed() && report.epoch == 1, "{report:#?}");
    assert!(report.adopted.is_empty(), "all that is kept was signed: {:?}", report.adopted);
}

/// A crash, or a loss of power, at any step of giving records up leaves a log that opens
/// again in the same way, and to the same end.
#[test]
fn a_crash_at_any_step_of_giving_up_loses_no_more() {
    let image = Home::new();
    image.record(250);
    let log = open(image.options());
    record_into(&log, 12);
    log.close().expect("closed");
    let before = lines(&image);
    let last = before.last().expect("a record").0;
    alter(&LogPaths::new(&image.log_dir()).active(), last - 4);
    let path = &sealed(&image)[1];
    let mut bytes = read(path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(path, bytes).expect("written");
    // Where nothing is interrupted.
    let whole = Home::new();
    copy_dir(&image.log_dir(), &whole.log_dir());
    accept(&whole);
    let holes = told(&report(&whole, &Request::default()));
    only_lost(&whole, &before, &holes);

    let fs = RecordingFs::on(image.dir.path());
    let begun = fs.changes().len();
    let log = open(Options { fs: std::sync::Arc::new(fs.clone()), ..accepting(&image) });
    log.close().expect("closed");
    let changes = fs.changes();
    let names_done = changes[begun..].iter().filter(|change| change.is_name()).count();
    assert!(names_done > 5, "{names_done}");
    let mut random = Random(0x5eed);
    for to in begun..=changes.len() {
        if !matches!(
            changes.get(to),
            None | Some(
                Change::SyncDir(_) | Change::Rename(..) | Change::SetLen(..) | Change::Remove(_)
            )
        ) {
            continue;
        }
        let home = Home::new();
        std::fs::create_dir_all(home.log_dir()).expect("made");
        Disk::after(&changes[..to], &mut random).put_into(image.dir.path(), home.dir.path());
        accept(&home);
        let report = report(&home, &Request::default());
        assert!(report.passed(), "after {to} steps: {report:#?}");
        let lost: Vec<u64> =
            told(&report).into_iter().flat_map(|(first, end)| first..end).collect();
        let expected: Vec<u64> = holes.iter().flat_map(|(first, end)| *first..*end).collect();
        assert_eq!(lost, expected, "after {to} steps: {:?}", names(&home.log_dir()));
        only_lost(&home, &before, &told(&report));
        open(home.options()).close().expect("opens as usual again");
    }
}

/// B8: what was noted as damaged, and has been mended by hand, is not damaged.
#[test]
fn a_note_of_damage_is_judged_again_by_the_bytes() {
    let home = Home::new();
    let log = open(home.options());
    record_into(&log, 20);
    let path = LogPaths::new(&home.log_dir()).active();
    let good = read(&path);
    std::fs::OpenOptions::new().write(true).open(&path).expect("open").set_len(500).expect("cut");
    crate::support::eventually("it is noticed", || {
        log.manifest().segments.iter().any(|segment| segment.damage.is_some())
    });
    log.close().expect("closed");
    assert!(!report(&home, &Request::default()).passed());
    // The sealed file gets its bytes back.
    let file = names(&home.log_dir()).into_iter().find(|name| name.starts_with("audit.0"));
    let file = home.log_dir().join(file.expect("sealed"));
    std::fs::write(&file, &good).expect("mended");
    let noted = report(&home, &Request::default());
    assert!(noted.passed(), "{noted:#?}");
    assert!(noted.notes.iter().any(|note| note.contains("repaired since")), "{:?}", noted.notes);
    home.record(2);
    let log = home.open();
    assert!(log.manifest().segments.iter().all(|segment| segment.damage.is_none()));
    log.close().expect("closed");
    assert!(report(&home, &Request::default()).passed());
    assert_eq!(python(&[&home.log_dir()]).0, 0);
}

/// B8: the same lines in other gzip bytes can be asked at once, and are packed again.
#[test]
fn a_segment_that_somebody_packed_anew_can_be_asked() {
    use std::io::{Read, Write};
    let home = Home::new();
    home.record(200);
    let path = &sealed(&home)[0];
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(&read(path)[..]).read_to_end(&mut text).expect("gzip");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&text).expect("packed");
    std::fs::write(path, packed.finish().expect("packed")).expect("written");
    let all = asks(&home);
    assert!(all.damaged.is_empty(), "{:?}", all.damaged);
    let (code, stdout, stderr) = run(&home.dir, &["query", "--count"]);
    assert_eq!((code, stdout.trim()), (0, all.end.to_string().as_str()), "{stderr}");
    home.record(1);
    assert!(asks(&home).damaged.is_empty());
    assert!(report(&home, &Request::default()).passed());
}

/// B13: what is missing, or cut off, is not called altered.
#[test]
fn what_is_missing_or_cut_off_is_called_so() {
    let home = Home::new();
    home.record(200);
    let log = open(home.options());
    record_into(&log, 10);
    log.close().expect("closed");
    let files = sealed(&home);
    let active = LogPaths::new(&home.log_dir()).active();
    type Damage = fn(&Path, &[u8]);
    let cut: Damage = |path, bytes| {
        std::fs::write(path, &bytes[..bytes.len() * 2 / 3]).expect("cut");
    };
    let gone: Damage = |path, _| std::fs::remove_file(path).expect("removed");
    for (path, damage, wanted) in [
        (&files[1], cut, Kind::Truncated),
        (&files[1], gone, Kind::Missing),
        (&active, cut, Kind::Truncated),
        (&active, gone, Kind::Truncated),
    ] {
        let bytes = read(path);
        damage(path, &bytes);
        for quick in [false, true] {
            let report = report(&home, &Request { quick, ..Request::default() });
            let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
            assert!(kinds.contains(&wanted), "{}: {:?}", path.display(), report.findings);
            assert!(!kinds.contains(&Kind::Altered), "{}: {:?}", path.display(), report.findings);
        }
        std::fs::write(path, bytes).expect("put back");
    }
    assert!(report(&home, &Request::default()).passed());
}

/// What is recorded while a hole is being dug is recorded.
#[test]
fn the_leaves_file_is_no_condition_of_recording() {
    let home = Home::new();
    let log = open(home.options());
    let path = home.log_dir().join("audit.leaves");
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a directory in its place");
    record_into(&log, 200);
    log.record(Event::new("e")).expect("accepted").wait().expect("durable");
    log.close().expect("closed");
    assert!(report(&home, &Request::default()).passed());
    home.record(3);
    assert!(report(&home, &Request::default()).passed());
}

fn flipped(home: &Home, nth: usize) {
    let path = &sealed(home)[nth];
    let mut bytes = read(path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(path, bytes).expect("written");
}

/// B1: a damaged log is backed up as far as it is good; what is not is named, and the
/// earlier backup that holds it.
#[test]
fn a_damaged_log_is_backed_up_as_far_as_it_is_good() {
    let home = settled();
    home.record(250);
    let earlier = home.back_up();
    home.record(100);
    let before = lines(&home);
    flipped(&home, 1);
    let damaged = read(&sealed(&home)[1]);
    let (code, stdout, stderr) = run(&home.dir, &["backup", "--json"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains(&format!("auditctl repair --from {}", earlier.metadata.id)),
        "{stderr}"
    );
    let document: Value = serde_json::from_str(&stdout).expect("one document");
    let holes = document["backup"]["holes"].as_array().expect("holes");
    assert!(!holes.is_empty() && holes[0]["given_up_by"].is_null(), "{holes:?}");
    assert_eq!(holes[0]["held_by"], earlier.metadata.id.to_string());
    assert!(read(&sealed(&home)[1]) == damaged, "the log's records are as they were");
    let lost: Vec<(u64, u64)> = holes
        .iter()
        .map(|hole| (hole["first_seq"].as_u64().expect("a"), hole["end_seq"].as_u64().expect("b")))
        .collect();
    let gone: u64 = lost.iter().map(|(first, end)| end - first).sum();
    assert!(gone < 130, "not all of the segment: {lost:?}");
    // It is a good backup of what it holds, at every level.
    let listed = home.list(auditctl::backup::Level::Content);
    assert!(listed.backups.iter().all(|backup| backup.is_good()), "{listed:#?}");
    // Restored elsewhere, with the key: what was not given up then is given up by restoring.
    let id = document["backup"]["id"].as_str().expect("an id").parse().expect("an id");
    let outcome = home.restore(auditctl::backup::Wish::Id(id)).expect("restored");
    assert!(outcome.unrecorded.is_none(), "{:?}", outcome.unrecorded);
    assert_eq!(outcome.plan.lacking().count(), lost.len());
    verified_but_for(&home, &lost);
    only_lost(&home, &before, &lost);
    // What is damaged where no backup holds it is in the state of health.
    let home = settled();
    home.record(250);
    flipped(&home, 0);
    let made = home.back_up();
    assert!(!made.uncovered().is_empty());
    let text = auditctl_lacks(&made);
    assert!(text.contains("repair") && text.contains("--accept-corruption"), "{text}");
    let (_, stdout, _) = run(&home.dir, &["health", "--json"]);
    assert!(stdout.contains("backup.lacking"), "{stdout}");
    // Once it is given up, the next backup is whole in its own way.
    accept(&home);
    let made = home.back_up();
    assert!(made.uncovered().is_empty());
    assert_eq!(made.metadata.holes.len(), told(&report(&home, &Request::default())).len());
    let (_, stdout, _) = run(&home.dir, &["health", "--json"]);
    assert!(!stdout.contains("backup.lacking"), "{stdout}");
}

fn auditctl_lacks(made: &auditctl::backup::Made) -> String {
    auditctl::ui::backup_lacks_text(made).expect("it lacks records")
}

/// One whose backups the program finds.
fn settled() -> Home {
    let home = Home::new();
    let settings = "[backup]\noutput_dir = \"backups\"\n";
    std::fs::write(home.dir.path().join("auditctl.toml"), settings).expect("written");
    home
}

/// Each state through backup, list, drill, restore, verify, query, with its metadata and
/// without.
#[test]
fn a_log_with_holes_is_backed_up_and_restored_with_them() {
    let home = settled();
    home.record(250);
    std::fs::remove_file(&sealed(&home)[0]).expect("removed");
    flipped(&home, 1);
    let log = open(accepting(&home));
    record_into(&log, 12);
    let next = log.acked_seq();
    log.close().expect("closed");
    alter(&LogPaths::new(&home.log_dir()).active(), next - 4);
    accept(&home);
    let holes = told(&report(&home, &Request::default()));
    assert!(holes.len() >= 3, "{holes:?}");
    let before = lines(&home);
    let made = home.back_up();
    let named: Vec<(u64, u64)> =
        made.metadata.holes.iter().map(|hole| (hole.span().begin, hole.span().end)).collect();
    assert!(made.metadata.holes.iter().all(|hole| hole.given_up_by.is_some()));
    let all = |spans: &[(u64, u64)]| -> Vec<u64> {
        spans.iter().flat_map(|(first, end)| *first..*end).collect()
    };
    assert_eq!(all(&named), all(&holes));
    let (code, _, stderr) = run(&home.dir, &["backup"]);
    assert_eq!(code, 0, "{stderr}");
    let listed = home.list(auditctl::backup::Level::Chain);
    assert!(listed.backups.iter().all(|backup| backup.is_good()), "{listed:#?}");
    let restored = |wish: auditctl::backup::Wish, name: &str| {
        let target = home.dir.path().join(name);
        let request = auditctl::backup::RestoreRequest {
            wish,
            target: auditctl::backup::Target::Beside(target.clone()),
            ..crate::backups::wanted()
        };
        home.restore_as(&request).expect("restored");
        let report =
            verify(&home.fs, &target, &Request::default(), &Unwatched).expect("a report").0;
        assert!(report.passed(), "{name}: {report:#?}");
        assert_eq!(all(&told(&report)), all(&holes), "{name}");
        assert_eq!(python(&[&target]).0, 0, "{name}");
        let found = crate::support::all_lines(&target);
        assert!(
            before.iter().take(found.len() - 2).all(|(_, line)| found.contains(line)),
            "{name}"
        );
    };
    restored(auditctl::backup::Wish::Id(made.metadata.id), "by-metadata");
    let alone = home.dir.path().join("copy.gz");
    std::fs::copy(&made.archive, &alone).expect("copied");
    restored(auditctl::backup::Wish::Path(alone), "by-marker");
    // In place, and on.
    let outcome = home.restore(auditctl::backup::Wish::Id(made.metadata.id)).expect("restored");
    assert!(outcome.unrecorded.is_none(), "{:?}", outcome.unrecorded);
    home.record(5);
    let report = report(&home, &Request::default());
    assert!(report.passed() && all(&told(&report)) == all(&holes), "{report:#?}");
    let (code, stdout, stderr) = run(&home.dir, &["restore", "--drill"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

/// Retention and cleanup never remove the only copy of what is a hole elsewhere.
#[test]
fn the_only_copy_of_what_is_a_hole_elsewhere_stays() {
    let home = Home::new();
    home.record(250);
    let whole = home.back_up();
    home.record(20);
    flipped(&home, 1);
    accept(&home);
    let lacking = home.back_up();
    home.record(20);
    let newest = home.back_up();
    let policy = auditctl::backup::Policy { last: Some(1), ..Default::default() };
    let inventory = home.list(auditctl::backup::Level::Listed);
    let live =
        auditctl::audit::read::snapshot::Snapshot::take(&home.fs, &home.log_dir()).expect("taken");
    let plan =
        auditctl::backup::plan(&inventory, &policy, Some(&live), home.clock.now()).expect("a plan");
    let keeps = |id| {
        let decision = plan.decisions.iter().find(|decision| decision.id == id).expect("decided");
        !decision.keep.is_empty()
    };
    assert!(keeps(whole.metadata.id), "it alone holds what was given up: {plan:?}");
    assert!(!keeps(lacking.metadata.id), "{plan:?}");
    assert!(keeps(newest.metadata.id));
}

/// B1: what was given up comes back from a copy that holds it, and the hole is gone.
#[test]
fn repair_fills_a_hole_that_an_earlier_backup_holds() {
    let home = settled();
    home.record(250);
    let whole = home.back_up();
    home.record(20);
    let before = lines(&home);
    flipped(&home, 1);
    std::fs::remove_file(&sealed(&home)[0]).expect("removed");
    accept(&home);
    assert!(!told(&report(&home, &Request::default())).is_empty());
    let (code, stdout, stderr) =
        run(&home.dir, &["repair", "--from", &whole.metadata.id.to_string()]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let report = report(&home, &Request::default());
    assert!(report.passed() && report.holes.is_empty(), "{report:#?}");
    only_lost(&home, &before, &[]);
    assert_eq!(python(&[&home.log_dir()]).0, 0);
    home.record(3);
    assert!(asks(&home).given_up.is_empty());
}
