//! Making backups: what they hold, that they are proven, and that nothing half is
//! ever seen.

use std::os::unix::fs::PermissionsExt;
#[cfg(feature = "encryption")]
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auditctl::audit::files::restore::sha256_hex;
use auditctl::backup::Stage;
use auditctl::backup::{BackupError, Catalog, FileKind, Level, Watch, parse_name};
#[cfg(feature = "encryption")]
use auditctl::backup::{RestoreRequest, Unwatched, Wish};
use auditctl::fsio::OsFs;
use auditctl::fsio::Space;
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};
#[cfg(feature = "encryption")]
use auditctl::{backup::KeyFile, fsio::os::set_mode};

#[cfg(feature = "encryption")]
use crate::backups::wanted;
use crate::backups::{Home, names, read, record_into};
use crate::support::{all_lines, eventually};

#[test]
fn p7_a_backup_is_the_logs_lines_and_any_gzip_reads_it() {
    let home = Home::new();
    home.record(400);
    let made = home.back_up();
    let lines: String = all_lines(&home.log_dir()).iter().flat_map(|l| [l, "\n"]).collect();
    for program in [&["gzip", "-dc"][..], &["python3", "-c", PYTHON]] {
        let output = Command::new(program[0])
            .args(&program[1..])
            .arg(&made.archive)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{program:?}");
        assert!(output.stdout == lines.as_bytes(), "{program:?} gives the log's lines");
    }
    let metadata = &made.metadata;
    assert_eq!(metadata.archive.raw_sha256.to_string(), sha256_hex(lines.as_bytes()));
    let stored = read(&made.archive);
    assert_eq!(metadata.archive.digests.sha256.to_string(), sha256_hex(&stored));
    assert_eq!(metadata.archive.digests.bytes, stored.len() as u64);
    assert_eq!(metadata.range.records, metadata.range.tree_size);
    assert!(metadata.segments.len() > 2, "several segments and the tail");
    assert!(metadata.signature.is_some() && made.unsigned.is_none());
    for path in [&made.archive, &made.metadata_file] {
        let mode = path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    // The log itself is not touched, and what follows is in the next one.
    let listed = home.list(Level::Chain);
    assert!(listed.backups.iter().all(|backup| backup.is_good()));
    let coverage = listed.coverage.expect("the log is known");
    assert_eq!((coverage.lag(), coverage.gaps.len()), (0, 0));
}

const PYTHON: &str = "import gzip,shutil,sys; \
    shutil.copyfileobj(gzip.open(sys.argv[1]), sys.stdout.buffer)";

#[test]
fn p5_backups_beside_a_writer_at_full_speed_are_whole_and_extend_each_other() {
    let home = Home::new();
    let log = home.open();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (log, stop) = (log.clone(), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::Relaxed) {
                record_into(&log, 50);
            }
        }
    });
    let mut sizes: Vec<u64> = Vec::new();
    // More than eight only where the writer gets no turn meanwhile.
    while sizes.len() < 8 || sizes.first() == sizes.last() {
        sizes.push(home.back_up().metadata.range.tree_size);
        assert!(sizes.len() < 200, "the writer writes: {sizes:?}");
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer never failed");
    log.close().expect("closed");
    assert!(sizes.is_sorted() && sizes.first() < sizes.last(), "{sizes:?}");
    let listed = home.list(Level::Chain);
    assert_eq!(listed.backups.len(), sizes.len());
    for backup in &listed.backups {
        assert_eq!(backup.damage, None, "{}", backup.id);
        assert_eq!(backup.level, Some(Level::Chain));
    }
    let proven = |backup: &auditctl::backup::Listed| {
        let previous = backup.metadata.as_ref()?.previous.as_ref()?;
        previous.consistency_proof.as_ref().map(|_| previous.tree_size)
    };
    assert_eq!(
        listed.backups.iter().filter_map(proven).count(),
        sizes.len() - 1,
        "all but the first"
    );
}

#[test]
fn what_was_acknowledged_before_a_backup_began_is_in_it() {
    let home = Home::new();
    let log = auditctl::audit::AuditLog::open(auditctl::audit::Options {
        checkpoint_interval: Duration::from_millis(700),
        ..home.options()
    })
    .expect("open");
    for _ in 0..3 {
        record_into(&log, 20);
        let acknowledged = log.acked_seq();
        let held = home.back_up().metadata.range.tree_size;
        assert!(held >= acknowledged, "{held} of {acknowledged}");
    }
    log.close().expect("closed");
}

#[test]
fn ids_grow_when_the_clock_does_not() {
    let (home, clock) = Home::at("2026-02-04T21:09:40.500000Z");
    // The log's own clock is another one: it opens before the backups are made.
    home.record(5);
    let first: Vec<String> = (0..3).map(|_| home.back_up().metadata.id.to_string()).collect();
    assert_eq!(first, ["20260204_210940", "20260204_210941", "20260204_210942"]);
    clock.set_wall("2026-02-01T00:00:00Z".parse().expect("a time"));
    let made = home.back_up();
    assert_eq!(made.metadata.id.to_string(), "20260204_210943");
    assert!(made.metadata.clock_adjusted);
    clock.set_wall("2026-02-05T00:00:00Z".parse().expect("a time"));
    let made = home.back_up();
    assert_eq!(made.metadata.id.to_string(), "20260205_000000");
    assert!(!made.metadata.clock_adjusted);
    assert_eq!(home.list(Level::Chain).backups.iter().filter(|b| b.is_good()).count(), 5);
}

#[test]
fn a_backup_of_an_altered_record_is_made_without_it_and_names_it() {
    let home = Home::new();
    home.record(400);
    home.back_up();
    let sealed = names(&home.log_dir()).into_iter().find(|name| name.ends_with(".log.gz"));
    let path = home.log_dir().join(sealed.as_ref().expect("a sealed segment"));
    // Another segment's first member is whole gzip, and other records.
    let mut raw = Vec::new();
    auditctl::audit::files::gzip::Unpacker::new()
        .unpack(&read(&path), &mut raw)
        .expect("one block");
    let text = String::from_utf8(raw).expect("text").replacen("user-3", "user-4", 1);
    let records = text.lines().count() as u64;
    let forged =
        auditctl::audit::files::gzip::Packer::new(6).member(text.as_bytes()).expect("packed");
    std::fs::write(&path, &forged).expect("written");
    // As somebody would who also corrects the manifest's lengths and checksum.
    let manifest = home.log_dir().join("audit.manifest.json");
    let mut value: serde_json::Value = serde_json::from_slice(&read(&manifest)).expect("json");
    let segment = &mut value["segments"][0];
    segment["stored_bytes"] = forged.len().into();
    segment["sha256"] = sha256_hex(&forged).into();
    segment["blocks"][0]["stored_bytes"] = forged.len().into();
    std::fs::write(&manifest, value.to_string()).expect("written");

    // The manifest is signed by nobody now; the root proves the hashes that it has.
    let made = home.back_up();
    let lacking = made.metadata.lacking();
    assert_eq!(lacking.len(), 1, "{lacking:?}");
    assert!(lacking[0].end <= records, "{lacking:?}");
    let listed = home.list(Level::Content);
    assert!(listed.backups.iter().all(|backup| backup.is_good()), "{listed:#?}");
}

#[test]
fn a_log_that_was_rolled_back_is_a_finding_and_no_backup() {
    let home = Home::new();
    home.record(30);
    let older = home.dir.path().join("older");
    crate::backups::copy_dir(&home.log_dir(), &older);
    home.record(30);
    let newest = home.back_up();
    // Somebody puts the older files back, and the log goes on from there.
    std::fs::remove_dir_all(home.log_dir()).expect("removed");
    std::fs::rename(&older, home.log_dir()).expect("renamed");
    let error = home.try_back_up().expect_err("it has fewer records");
    assert_eq!(error.kind(), "rolled_back");
    home.record(60);
    let error = home.try_back_up().expect_err("it has other records");
    assert_eq!(error.kind(), "cloned");
    assert!(error.to_string().contains(&newest.metadata.id.to_string()), "{error}");
    assert_eq!(home.list(Level::Content).backups.len(), 1, "what was good is there still");
}

#[test]
fn whatever_operation_fails_no_half_backup_is_seen_and_the_next_run_clears_up() {
    let mut home = Home::new();
    home.record(60);
    let mut failures = 0;
    for op in [Op::Open, Op::Write, Op::Read, Op::SyncData, Op::Rename, Op::SyncDir, Op::Remove] {
        for after in (0..40).step_by(if op == Op::Read { 3 } else { 1 }) {
            let fs = FaultFs::new(Arc::new(OsFs));
            fs.plan(Fault {
                op,
                name_contains: "audit_backup_".to_owned(),
                after,
                times: u64::MAX,
                how: How::Errno(if op == Op::Write { 28 } else { 5 }),
            });
            home.fs = Arc::new(fs.clone());
            let made = home.try_back_up();
            home.fs = Arc::new(OsFs);
            if fs.hits() == 0 {
                break;
            }
            failures += 1;
            // A name that was given and not synced is there, or is not: if it is,
            // then as a whole.
            for backup in &home.list(Level::Content).backups {
                assert_eq!(backup.damage, None, "{op:?} {after}");
            }
            // Only once it is made may anything fail and it be said to be made.
            let listed = home.list(Level::Listed);
            assert!(listed.orphans.is_empty(), "{op:?} {after}: {:?}", listed.orphans);
            if let Ok(made) = made {
                let newest = listed.backups.iter().map(|backup| backup.id).max();
                assert_eq!(newest, Some(made.metadata.id), "{op:?} {after}");
            }
        }
    }
    assert!(failures > 20, "{failures}");
    home.back_up();
    let left = names(home.backups().path());
    let kinds: Vec<_> = left.iter().filter_map(|name| parse_name(name)).collect();
    let archives = kinds.iter().filter(|(_, kind)| *kind == FileKind::Archive(false)).count();
    let metadata = kinds.iter().filter(|(_, kind)| *kind == FileKind::Metadata).count();
    assert_eq!((archives, metadata), (kinds.len() / 2, kinds.len() / 2), "{left:?}");
}

#[test]
fn too_little_space_is_said_before_anything_is_written() {
    let mut home = Home::new();
    home.record(60);
    let fs = FaultFs::new(Arc::new(OsFs));
    fs.set_space(Space { total: 1 << 30, available: 1000, ..Space::default() });
    home.fs = Arc::new(fs);
    let error = home.try_back_up().expect_err("no space");
    assert_eq!(error.kind(), "no_space");
    let left = names(home.backups().path());
    assert!(left.iter().all(|name| parse_name(name).is_none()), "{left:?}");
}

#[test]
fn the_space_that_is_asked_for_is_that_of_the_copied_segments_and_a_third_of_what_is_packed() {
    let mut home = Home::new();
    home.record(60);
    let (mut copied, mut packed) = (0, 0);
    for name in names(&home.log_dir()) {
        let length = std::fs::metadata(home.log_dir().join(&name)).expect("there").len();
        if name.ends_with(".log.gz") {
            copied += length;
        } else if name == "audit.log" {
            packed += length;
        }
    }
    assert!(copied > 0 && packed > 0);
    let wanted = copied + packed / 3 + (1 << 20);
    let fs = FaultFs::new(Arc::new(OsFs));
    home.fs = Arc::new(fs.clone());
    fs.set_space(Space { total: 1 << 30, available: wanted - 1, ..Space::default() });
    match home.try_back_up() {
        Err(BackupError::NoSpace { needed, available, .. }) => {
            assert_eq!((needed, available), (wanted, wanted - 1));
        }
        other => panic!("{other:?}"),
    }
    fs.set_space(Space { total: 1 << 30, available: wanted, ..Space::default() });
    home.back_up();
}

#[test]
fn a_snapshots_tree_is_that_of_its_first_records_at_every_size() {
    use auditctl::audit::read::snapshot::Snapshot;
    use auditctl::audit::tree::merkle::Range;
    let home = Home::new();
    home.record(150);
    let snapshot = Snapshot::take(&home.fs, &home.log_dir()).expect("a snapshot");
    assert!(snapshot.parts.len() > 2, "several segments");
    let mut tree = Range::empty(0);
    assert_eq!(snapshot.tree_at(0).expect("read"), Some(tree.clone()));
    for line in all_lines(&home.log_dir()) {
        tree.append_line(line.as_bytes());
        assert_eq!(snapshot.tree_at(tree.end()).expect("read").as_ref(), Some(&tree));
    }
    assert_eq!(snapshot.checkpoint.size, tree.end());
    assert_eq!(snapshot.tree_at(tree.end() + 1).expect("nothing to read"), None);
}

/// Interrupts at the nth question.
struct StopAt(std::sync::atomic::AtomicU64);

impl Watch for StopAt {
    fn stage(&self, _: Stage, _: u64) {}
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

#[test]
fn an_interrupted_backup_leaves_nothing_and_is_no_failure() {
    let home = Home::new();
    home.record(200);
    let mut interrupted = 0;
    for after in 0.. {
        match home.creator().create(&home.request(), &StopAt(after.into())) {
            Err(BackupError::Interrupted) => interrupted += 1,
            Ok(_) => break,
            Err(error) => panic!("{error}"),
        }
        let left = names(home.backups().path());
        assert!(left.iter().all(|name| parse_name(name).is_none()), "{after}: {left:?}");
    }
    assert!(interrupted > 3);
    assert_eq!(Catalog::load(&home.backups()).expect("catalog").last_failure, None);
}

#[test]
fn two_at_once_take_turns() {
    let home = Home::new();
    home.record(20);
    let held = home.backups().lock_alone().expect("free");
    let error = home.try_back_up().expect_err("somebody is at work");
    assert_eq!(error.kind(), "busy");
    drop(held);
    home.back_up();
}

#[test]
fn a_lost_catalog_is_made_anew() {
    let home = Home::new();
    home.record(20);
    home.back_up();
    let path = home.backups().join(".catalog.json");
    let before = Catalog::load(&home.backups()).expect("catalog");
    for content in [&b""[..], b"{}", b"{\"format\":9}"] {
        std::fs::write(&path, content).expect("written");
        assert_eq!(Catalog::load(&home.backups()).expect("catalog"), before);
    }
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(Catalog::load(&home.backups()).expect("catalog"), before);
}

#[cfg(feature = "encryption")]
#[test]
fn an_encrypted_backup_is_restored_with_its_private_key_and_with_no_other() {
    let home = Home::new();
    home.record(100);
    let keys: Vec<age::x25519::Identity> =
        (0..3).map(|_| age::x25519::Identity::generate()).collect();
    let mut request = home.request();
    request.encrypt_to = keys[..2].iter().map(|key| key.to_public().to_string()).collect();
    let made = home.creator().create(&request, &Unwatched).expect("made");
    assert!(made.archive.to_string_lossy().ends_with(".gz.age"));
    let encryption = made.metadata.encryption.as_ref().expect("encrypted");
    assert_eq!(encryption.digests.sha256.to_string(), sha256_hex(&read(&made.archive)));
    assert!(!names(home.backups().path()).iter().any(|name| name.ends_with(".gz")));
    assert!(home.list(Level::Stored).backups[0].is_good());

    let files: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(n, key)| {
            use age::secrecy::ExposeSecret;
            let path = home.dir.path().join(format!("key-{n}"));
            std::fs::write(&path, key.to_string().expose_secret()).expect("written");
            set_mode(&path, 0o600).expect("private");
            path
        })
        .collect();
    home.record(10);
    let restore = |files: Vec<PathBuf>| {
        let read = |path: &PathBuf| KeyFile::read(&OsFs, path).expect("a key file");
        let identities = files.iter().map(read).collect();
        home.restore_as(&RestoreRequest {
            identities,
            wish: Wish::Latest,
            dry_run: true,
            ..wanted()
        })
    };
    let error = restore(vec![]).expect_err("no key");
    assert_eq!(error.kind(), "usage");
    let error = restore(vec![files[2].clone()]).expect_err("another key");
    assert_eq!(error.kind(), "bad_archive");
    for file in &files[..2] {
        let plan = restore(vec![file.clone()]).expect("decrypted").plan;
        assert_eq!(plan.tree_size, made.metadata.range.tree_size);
    }
    // Nothing decrypted is left behind.
    assert!(names(&home.log_dir()).iter().all(|name| !name.starts_with(".restore")));
    // A cut or an altered byte of the ciphertext is found.
    let mut bytes = read(&made.archive);
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&made.archive, &bytes).expect("written");
    assert!(!home.list(Level::Stored).backups[0].is_good());
    assert!(restore(vec![files[0].clone()]).is_err());
}

#[cfg(feature = "encryption")]
#[test]
fn a_key_that_is_none_is_refused_before_anything_is_made_and_never_shown() {
    let home = Home::new();
    home.record(5);
    let secret = {
        use age::secrecy::ExposeSecret;
        age::x25519::Identity::generate().to_string().expose_secret().to_owned()
    };
    for text in ["nonsense", "age1nonsense", &secret] {
        let mut request = home.request();
        request.encrypt_to = vec![text.to_owned()];
        let error = home.creator().create(&request, &Unwatched).expect_err("no key");
        assert_eq!(error.kind(), "usage");
        assert!(!error.to_string().contains(&secret), "a private key is not shown");
    }
    let left = names(home.backups().path());
    assert!(left.iter().all(|name| parse_name(name).is_none()), "{left:?}");
}

#[test]
fn retention_keeps_what_no_backup_holds_and_names_the_backup_that_does() {
    let home = Home::new();
    let retention = |home: &Home| auditctl::audit::Options {
        retention: Some(Duration::ZERO),
        backups: Some(Arc::new(auditctl::backup::Holder::new(home.backups()))),
        ..home.options()
    };
    home.record(200);
    home.back_up();
    home.record(200);
    let log = crate::support::open(retention(&home));
    let pruned = || log.manifest().pruned.end();
    eventually("what the backup holds was removed", || pruned() > 0);
    let held = home.list(Level::Listed).backups[0].metadata.as_ref().map(|m| m.range.tree_size);
    eventually("all of it", || {
        let manifest = log.manifest();
        manifest.segments.first().is_none_or(|segment| Some(segment.end_seq()) > held)
    });
    assert!(Some(pruned()) <= held, "nothing that no backup holds");
    assert!(!log.manifest().segments.is_empty(), "what is newer is kept");
    log.close().expect("closed");
    let id = home.list(Level::Listed).backups[0].id.to_string();
    let records: String = all_lines(&home.log_dir()).join("\n");
    assert!(
        records.contains("audit.pruned") && records.contains(&format!("\"held_by\":[\"{id}\"]"))
    );
    // Backups go on after it, and are restorable with what they hold.
    let made = home.back_up();
    assert!(made.metadata.range.first_seq > 0);
    assert!(home.list(Level::Chain).backups.iter().all(|backup| backup.is_good()));
}

/// What somebody else who may write there has put there is named, and does nothing else.
#[test]
fn what_is_planted_in_the_backup_directory_stops_no_backup_and_is_never_the_latest() {
    let home = Home::new();
    home.record(20);
    let first = home.back_up();
    let place = home.backups();
    let plant = |name: &str| place.join(name);
    std::fs::write(plant("audit_backup_99991231_235959.json"), "{}").expect("planted");
    std::fs::write(plant("audit_backup_99991231_235959.gz"), "x").expect("planted");
    // A real backup's files, under the name of one to come.
    for (from, to) in [(&first.metadata_file, "json"), (&first.archive, "gz")] {
        std::fs::copy(from, plant(&format!("audit_backup_99991231_235958.{to}"))).expect("copied");
    }
    // The same, and its metadata says so itself, signed by nobody.
    let id = first.metadata.id.to_string();
    let text = String::from_utf8(read(&first.metadata_file)).expect("UTF-8");
    let mut forged: serde_json::Value =
        serde_json::from_str(&text.replace(&id, "99991231_235957")).expect("JSON");
    forged["signature"] = serde_json::Value::Null;
    std::fs::write(plant("audit_backup_99991231_235957.json"), forged.to_string()).expect("made");
    std::fs::copy(&first.archive, plant("audit_backup_99991231_235957.gz")).expect("copied");
    // No regular files, under names of ours.
    for name in [
        "audit_backup_20010101_000000.json",
        "audit_backup_20010101_000001.gz",
        "audit_backup_20010101_000002.pin",
        "audit_backup_20010101_000003.json.tmp-1-1",
        "audit_backup_20010101_000003.gz.tmp-1-1",
        ".catalog.json.tmp-1-1",
    ] {
        std::fs::create_dir(plant(name)).expect("planted");
        std::fs::write(plant(name).join("x"), "x").expect("planted");
    }
    std::os::unix::fs::symlink("/etc/passwd", plant("audit_backup_20010102_000000.json"))
        .expect("planted");
    let _socket =
        std::os::unix::net::UnixListener::bind(plant("audit_backup_20010102_000001.json"))
            .expect("planted");
    let fifo = Command::new("mkfifo").arg(plant("audit_backup_20010102_000002.json")).status();
    assert!(fifo.expect("it runs").success());
    for _ in 0..2 {
        home.record(10);
        let made = home.back_up();
        assert!(*made.metadata.id.to_string() < *"9999", "{}", made.metadata.id);
        let previous = made.metadata.previous.as_ref().expect("a link");
        assert!(*previous.id.to_string() < *"9999", "{previous:?}");
        assert!(made.catalog_error.is_none(), "{:?}", made.catalog_error);
        let latest = home.plan(auditctl::backup::Wish::Latest).expect("a plan").plan.backup;
        assert_eq!(latest, made.metadata.id.to_string());
        let listed = home.list(Level::Content);
        assert_eq!(listed.backups[0].id, made.metadata.id);
        assert!(listed.backups.iter().filter(|one| one.is_good()).count() >= 2);
    }
    assert!(plant("audit_backup_99991231_235959.json").exists());
}
