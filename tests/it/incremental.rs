//! Incremental backups: what they hold, what they need, and that nothing which is needed goes.

use std::sync::Arc;

use auditctl::backup::{
    BackupCopy, BackupError, BackupId, Catalog, DiffSide, FileKind, Holder, Level, Made, Policy,
    Remote, RemoteWish, RestoreRequest, Target, Unwatched, Wish, apply, compare, parse_name, plan,
};
use auditctl::clock::{Clock, SystemClock};
use auditctl::fsio::OsFs;
use auditctl::store::LocalStore;
use serde_json::Value;

use crate::backups::{Home, copy_dir, names, read, wanted};
use crate::support::{Dir, all_lines, run};

/// One that builds on the backup before, where it can; of at most so many archives.
fn step(home: &Home, most: usize) -> Made {
    let request = auditctl::backup::Request { chain: Some(most), ..home.request() };
    home.creator().create(&request, &Unwatched).expect("a backup")
}

fn id(made: &Made) -> BackupId {
    made.metadata.id
}

/// A log with a full backup and three that build on it.
fn chained() -> (Home, Vec<Made>) {
    let home = Home::new();
    home.record(300);
    let mut made = vec![step(&home, 8)];
    for count in [1, 120, 7] {
        home.record(count);
        made.push(step(&home, 8));
    }
    (home, made)
}

fn beside(home: &Home, wish: Wish) -> Result<Vec<String>, BackupError> {
    let target = tempfile::tempdir().expect("a directory");
    let logs = target.path().join("logs");
    let request = RestoreRequest { wish, target: Target::Beside(logs.clone()), ..wanted() };
    home.restore_as(&request).map(|_| all_lines(&logs))
}

#[test]
fn p7_an_incremental_backup_holds_what_is_new_and_is_restored_with_what_it_builds_on() {
    let (home, made) = chained();
    assert!(!made[0].metadata.is_incremental() && made[0].full_because.is_some());
    for (before, next) in made.iter().zip(&made[1..]) {
        let (before, next) = (&before.metadata, &next.metadata);
        assert_eq!(next.bases.last().map(|base| base.id), Some(before.id));
        assert_eq!(next.range.first_seq, before.range.tree_size, "it begins where that ends");
        assert_eq!(next.range.pruned.root(), Ok(before.root_hash));
        assert!(next.previous.as_ref().is_some_and(|link| link.consistency_proof.is_some()));
        assert_eq!(next.begin(), 0);
    }
    assert!(made[1].metadata.archive.raw_bytes * 10 < made[0].metadata.archive.raw_bytes);
    // The archives one after the other are the log's lines, with any gzip.
    let mut zcat = Vec::new();
    for backup in &made {
        let bytes = read(&backup.archive);
        let mut reader = flate2::read::MultiGzDecoder::new(&bytes[..]);
        std::io::Read::read_to_end(&mut reader, &mut zcat).expect("gzip");
    }
    let lines: String = all_lines(&home.log_dir()).iter().flat_map(|l| [l, "\n"]).collect();
    assert!(zcat == lines.as_bytes());
    for level in [Level::Listed, Level::Stored, Level::Content, Level::Chain] {
        let listed = home.list(level);
        assert!(listed.backups.iter().all(|backup| backup.is_good()), "{level:?}: {listed:#?}");
        assert_eq!(listed.coverage.map(|all| (all.lag(), all.gaps)), Some((0, Vec::new())));
    }
    // Each alone gives the log as it was then, by its id, its file, and without its metadata.
    let all = all_lines(&home.log_dir());
    for backup in &made {
        let size = backup.metadata.range.tree_size as usize;
        for wish in [Wish::Id(id(backup)), Wish::Path(backup.archive.clone())] {
            assert_eq!(beside(&home, wish).expect("restored"), all[..size]);
        }
    }
    std::fs::remove_file(&made[3].metadata_file).expect("removed");
    assert_eq!(beside(&home, Wish::Path(made[3].archive.clone())).expect("restored"), all);
    // In the log's place, and it goes on.
    std::fs::remove_dir_all(home.log_dir()).expect("lost");
    let key = made[2].metadata.range.tree_size as usize;
    let error = home.restore(Wish::Latest).map(|done| done.plan.tree_size);
    assert_eq!(error.expect("restored"), made[2].metadata.range.tree_size);
    assert_eq!(all_lines(&home.log_dir())[..key], all[..key]);
}

#[test]
fn the_restored_log_goes_on_and_the_drill_and_the_verification_read_the_whole_chain() {
    let (home, made) = chained();
    let (report, _) = home.restorer().drill(&wanted(), None, &Unwatched).expect("a report");
    assert!(report.passed, "{report:?}");
    let request = RestoreRequest { wish: Wish::Id(id(&made[3])), ..wanted() };
    let good = home.restorer().verify(&request, &[], &Unwatched).expect("verified");
    assert_eq!((good.first_seq, good.tree_size), (0, made[3].metadata.range.tree_size));
    // The log lost its last records: it gains them from the newest.
    let saved = home.dir.path().join("saved");
    std::fs::create_dir(&saved).expect("made");
    for name in ["audit.key", "audit.pub"] {
        std::fs::copy(home.log_dir().join(name), saved.join(name)).expect("kept");
    }
    let before = all_lines(&home.log_dir());
    std::fs::remove_dir_all(home.log_dir()).expect("lost");
    copy_dir(&saved, &home.log_dir());
    home.restore(Wish::Latest).expect("restored");
    let now = all_lines(&home.log_dir());
    assert_eq!(now[..before.len()], before);
    home.record(10);
    let next = step(&home, 8);
    assert_eq!(next.metadata.bases.len(), 4, "{:?}", next.full_because);
    assert!(home.list(Level::Chain).backups.iter().all(|backup| backup.is_good()));
    // To a record in the midst of a base, and at the end of one.
    for seq in [100, made[0].metadata.range.tree_size - 1, made[2].metadata.range.first_seq + 3] {
        let extent = auditctl::backup::Extent::ToSeq(seq);
        let target = tempfile::tempdir().expect("a directory");
        let logs = target.path().join("logs");
        let target = Target::Beside(logs.clone());
        home.restore_as(&RestoreRequest { extent, target, ..wanted() }).expect("restored");
        assert_eq!(all_lines(&logs), now[..=seq as usize]);
    }
}

#[test]
fn what_a_damaged_log_lacks_is_repaired_from_a_chain_and_diff_compares_all_of_it() {
    let (home, made) = chained();
    let log = DiffSide::Log(home.log_dir());
    let backup = DiffSide::Backup(Wish::Id(id(&made[3])));
    let fs: auditctl::fsio::SharedFs = Arc::new(OsFs);
    let compared =
        compare(&fs, &home.backups(), (&log, &backup), &[], &Unwatched, &mut |difference| {
            assert!(difference.seq >= made[3].metadata.range.tree_size, "{difference:?}");
        });
    assert_eq!(compared.expect("compared").same, made[3].metadata.range.tree_size);
    let copy = BackupCopy::open(&home.backups(), &Wish::Id(id(&made[3])), None, &[], &Unwatched);
    let copy = copy.expect("a copy");
    use auditctl::audit::write::repair::Copy;
    assert_eq!(copy.first_seq(), 0);
    for seq in [0, 250, made[1].metadata.range.first_seq, made[3].metadata.range.tree_size - 1] {
        let block = copy.block(seq).expect("read").expect("it holds it");
        let line = block.raw.split(|byte| *byte == b'\n').nth((seq - block.first_seq) as usize);
        let expected = &all_lines(&home.log_dir())[seq as usize];
        assert_eq!(line, Some(expected.as_bytes()), "record {seq}");
    }
}

#[test]
fn a_chain_has_an_end_and_a_full_backup_is_made_where_there_is_a_doubt() {
    let home = Home::new();
    home.record(50);
    let lengths: Vec<usize> = (0..7)
        .map(|_| {
            home.record(3);
            step(&home, 3).metadata.bases.len()
        })
        .collect();
    assert_eq!(lengths, [0, 1, 2, 0, 1, 2, 0]);
    home.record(3);
    let made = step(&home, 3);
    assert_eq!(made.metadata.bases.len(), 1);
    let why = |home: &Home| {
        home.record(3);
        let made = step(home, 9);
        assert!(made.metadata.bases.is_empty());
        made.full_because.expect("a reason")
    };
    // One byte of a base is another: whatever is built on it could not be restored.
    let base = home.backups().join(&made.metadata.bases[0].file);
    let mut bytes = read(&base);
    bytes[50] ^= 1;
    std::fs::write(&base, &bytes).expect("altered");
    let told = why(&home);
    assert!(told.contains("SHA-256") && told.contains("is not good"), "{told}");
    home.record(3);
    assert_eq!(step(&home, 9).metadata.bases.len(), 1, "the full one is good");
    // Its metadata is not signed, or not there.
    let newest = home.list(Level::Listed).backups[0].id;
    let path = home.backups().join(&home.list(Level::Listed).backups[0].id.metadata());
    let mut metadata: Value = serde_json::from_slice(&read(&path)).expect("JSON");
    metadata["signature"] = Value::Null;
    std::fs::write(&path, metadata.to_string()).expect("altered");
    let told = why(&home);
    assert!(told.contains(&format!("backup {newest} is not signed")), "{told}");
}

#[test]
fn cleanup_never_removes_what_a_kept_backup_builds_on_and_says_so() {
    let (home, made) = chained();
    let policy = Policy { last: Some(1), ..Policy::default() };
    let look = || {
        let live = auditctl::audit::read::snapshot::Snapshot::take(&home.fs, &home.log_dir()).ok();
        plan(&home.list(Level::Listed), &policy, live.as_ref(), SystemClock.now()).expect("a plan")
    };
    let planned = look();
    assert_eq!(planned.removals().count(), 0, "{planned:?}");
    let newest = id(&made[3]);
    for decision in &planned.decisions[1..] {
        assert!(decision.keep.contains(&format!("backup {newest} builds on it")), "{decision:?}");
    }
    // A new full one frees the whole chain; what builds on one goes before it.
    home.record(10);
    let full = home.back_up();
    let planned = look();
    let order: Vec<BackupId> = planned.removals().map(|decision| decision.id).collect();
    assert_eq!(order, [id(&made[3]), id(&made[2]), id(&made[1]), id(&made[0])]);
    let mut left = Vec::new();
    apply(&home.backups(), &planned, &mut |_| Ok(()), &mut |_, _| {
        // At no moment there is one that lacks what it needs.
        let listed = home.list(Level::Listed);
        left.push(listed.backups.iter().filter(|backup| backup.is_good()).count());
        assert!(listed.backups.iter().all(|backup| backup.is_good()), "{listed:#?}");
    })
    .expect("removed");
    assert_eq!(left, [4, 3, 2, 1]);
    assert_eq!(home.list(Level::Content).backups[0].id, id(&full));
}

#[test]
fn cleanup_keeps_what_a_pinned_one_builds_on() {
    let (home, made) = chained();
    home.backups().pin(id(&made[2]), true).expect("pinned");
    home.record(10);
    home.back_up();
    let policy = Policy { last: Some(1), ..Policy::default() };
    let planned = plan(&home.list(Level::Listed), &policy, None, SystemClock.now()).expect("plan");
    let goes: Vec<BackupId> = planned.removals().map(|decision| decision.id).collect();
    assert_eq!(goes, [id(&made[3])], "{planned:?}");
}

#[test]
fn what_builds_on_a_lost_or_damaged_backup_is_told_and_counts_for_nothing() {
    for altered in [false, true] {
        let (home, made) = chained();
        let base = &made[1];
        let kept = read(&base.archive);
        if altered {
            let mut bytes = kept.clone();
            // In its first member: most of a small archive is its marker.
            bytes[40] ^= 1;
            std::fs::write(&base.archive, bytes).expect("altered");
        } else {
            std::fs::remove_file(&base.archive).expect("removed");
        }
        let listed = home.list(Level::Content);
        let good: Vec<BackupId> =
            listed.backups.iter().filter(|one| one.is_good()).map(|one| one.id).collect();
        assert_eq!(good, [id(&made[0])], "{listed:#?}");
        let newest = &listed.backups[0];
        assert_eq!(newest.damage_kind, Some("base_damaged"), "{newest:#?}");
        assert!(newest.damage.as_ref().is_some_and(|why| why.contains(&id(base).to_string())));
        // The catalog, from which `health` tells it, and retention.
        let catalog = Catalog::load(&home.backups()).expect("a catalog");
        assert_eq!(catalog.newest(None).map(|(id, _)| id), Some(id(&made[0])));
        let holder = Holder::new(home.backups());
        let live = auditctl::audit::read::snapshot::Snapshot::take(&home.fs, &home.log_dir());
        let live = live.expect("a log");
        use auditctl::audit::BackupsHold;
        let claims = holder.claims(&live.manifest.log_id, &live.keys).expect("claims");
        let held: Vec<bool> =
            claims.iter().map(|claim| holder.is_whole(&claim.id, &|| true)).collect();
        assert_eq!(held.iter().filter(|whole| **whole).count(), 1, "{claims:?} {held:?}");
        assert!(claims.iter().all(|claim| claim.first_seq == 0));
        // Nothing is restored from it; what is whole is the latest.
        let error = beside(&home, Wish::Id(id(&made[3]))).expect_err("a base is not good");
        assert!(error.to_string().contains(&id(base).to_string()), "{error}");
        if !altered {
            assert_eq!(error.kind(), "bad_base");
            let lines = beside(&home, Wish::Latest).expect("the full one");
            assert_eq!(lines.len() as u64, made[0].metadata.range.tree_size);
            // The next one does not build on it.
            home.record(3);
            let next = step(&home, 8);
            assert!(next.full_because.is_some_and(|why| why.contains("is missing")));
            continue;
        }
        std::fs::write(&base.archive, kept).expect("put back");
        assert!(home.list(Level::Content).backups.iter().all(|backup| backup.is_good()));
    }
}

#[test]
fn another_archive_in_a_bases_place_is_refused() {
    let (home, made) = chained();
    let (other, _) = chained();
    // The other log's full backup, under the base's name.
    let theirs = other.list(Level::Listed).backups.last().expect("one").id;
    let text = String::from_utf8(read(&other.backups().join(&theirs.metadata()))).expect("UTF-8");
    let text = text.replace(&theirs.to_string(), &id(&made[0]).to_string());
    std::fs::write(&made[0].metadata_file, text).expect("written");
    std::fs::copy(other.backups().join(&theirs.archive(false)), &made[0].archive).expect("copied");
    let error = beside(&home, Wish::Id(id(&made[3]))).expect_err("another log's");
    assert!(error.to_string().contains("another backup"), "{error}");
    assert!(
        home.list(Level::Listed)
            .backups
            .iter()
            .all(|backup| backup.id != id(&made[3]) || !backup.is_good())
    );
}

#[test]
fn a_store_elsewhere_gets_what_a_backup_builds_on_and_gives_it_back() {
    let (home, made) = chained();
    let place = Dir::new();
    let store = Arc::new(LocalStore::new(place.path()));
    let log_id = &made[0].metadata.log.id;
    let remote = Remote::new(store.clone(), "web-1", log_id);
    let newest = &made[3].metadata;
    remote.upload(&home.backups(), newest, None, &SystemClock, &Unwatched).expect("sent");
    let folder = std::fs::read_dir(place.path().join("web-1")).expect("a folder").next();
    let folder = folder.expect("one").expect("readable").path();
    let there = || {
        let all = names(&folder);
        all.iter().filter(|n| matches!(parse_name(n), Some((_, FileKind::Archive(_))))).count()
    };
    assert_eq!(there(), 4, "{:?}", names(&folder));
    assert!(remote.holds(newest).expect("asked").is_some());
    let into = auditctl::backup::BackupDir::new(home.fs.clone(), &home.dir.path().join("fetched"));
    let of = auditctl::backup::LogChoice::default();
    for wish in [RemoteWish::Latest, RemoteWish::Id(newest.id)] {
        let fetched = remote.fetch(&wish, &of, &into, &Unwatched).expect("fetched");
        let archive = fetched.archive().to_path_buf();
        let lines = beside(&home, Wish::Path(archive)).expect("restored");
        assert_eq!(lines.len() as u64, newest.range.tree_size);
    }
    let known = auditctl::backup::KnownLog::default();
    let list = || {
        let now = SystemClock.now();
        remote.inventory(&into, Level::Content, &known, now, &Unwatched).expect("a list")
    };
    assert!(list().backups.iter().all(|backup| backup.is_good()));
    // One of them goes: what needs it is told, and the latest is what is whole.
    std::fs::remove_file(folder.join(&made[1].metadata.archive.file)).expect("removed");
    assert_eq!(list().backups.iter().filter(|backup| backup.is_good()).count(), 1);
    assert!(remote.holds(newest).expect("asked").is_none());
    let fetched = remote.fetch(&RemoteWish::Latest, &of, &into, &Unwatched).expect("fetched");
    assert_eq!(fetched.id(), id(&made[0]));
    let error = remote.fetch(&RemoteWish::Id(newest.id), &of, &into, &Unwatched);
    assert_eq!(error.expect_err("a base is missing").kind(), "bad_base");
    // Sent again, it is there again.
    remote.resume(&home.backups(), newest, None, &SystemClock, &Unwatched).expect("sent");
    assert_eq!(there(), 4);
}

fn said(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[test]
fn an_operator_says_it_once_in_the_settings_and_sees_it_in_the_list_and_in_health() {
    let dir = Dir::new();
    let record = |n: usize| {
        let name = format!("t{n}");
        let (code, _, err) = run(&dir, &["record", "--type", &name]);
        assert_eq!(code, 0, "{err}");
    };
    record(0);
    std::fs::write(
        dir.path().join("auditctl.toml"),
        "[backup]\nincremental = true\nfull_every = 3\n",
    )
    .expect("written");
    let back_up = |more: &[&str]| {
        let (code, out, err) = run(&dir, &[&["backup", "--json"], more].concat());
        assert_eq!(code, 0, "{out}{err}");
        said(&out)["backup"].clone()
    };
    let first = back_up(&[]);
    assert_eq!(first["incremental"], false);
    assert!(first["full_because"].as_str().is_some_and(|why| why.contains("no backup")), "{first}");
    let mut lengths = Vec::new();
    for n in 1..4 {
        record(n);
        lengths.push(back_up(&[])["bases"].as_array().map_or(0, Vec::len));
    }
    assert_eq!(lengths, [1, 2, 0]);
    record(5);
    let next = back_up(&[]);
    assert_eq!(next["incremental"], true);
    record(6);
    assert_eq!(back_up(&["--full"])["incremental"], false);
    let (_, out, _) = run(&dir, &["list"]);
    assert!(out.contains(&format!("on {}", next["bases"][0].as_str().expect("an id"))), "{out}");
    let (code, _, err) = run(&dir, &["backup", "--incremental", "--full"]);
    assert_eq!(code, 2, "{err}");
    // A base that is gone is told by health, at once.
    record(7);
    let last = back_up(&[]);
    let base = last["bases"][0].as_str().expect("an id");
    let archive = dir.path().join(format!("backups/audit/audit_backup_{base}.gz"));
    let kept = std::fs::read(&archive).expect("read");
    let health = || {
        let (_, out, _) = run(&dir, &["health", "--json"]);
        let checks = said(&out)["checks"].as_array().expect("checks").clone();
        let check = checks.into_iter().find(|check| check["component"] == "backup");
        check.expect("the check")["message"].as_str().expect("a message").to_owned()
    };
    assert!(!health().contains("builds on"), "{}", health());
    std::fs::remove_file(&archive).expect("removed");
    assert!(health().contains(&format!("builds on {base}")), "{}", health());
    let (code, out, _) = run(&dir, &["list", "--verify", "--json"]);
    assert_eq!(code, 1, "{out}");
    assert_eq!(said(&out)["backups"][0]["damage_kind"], "base_damaged");
    let id = last["id"].as_str().expect("an id");
    let (code, _, err) = run(&dir, &["restore", id, "--dry-run"]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("builds on backup") && err.contains("put that backup"), "{err}");
    std::fs::write(&archive, kept).expect("put back");
    assert_eq!(run(&dir, &["list", "--verify"]).0, 0);
    assert_eq!(run(&dir, &["restore", id, "--dry-run"]).0, 0);
}

#[test]
fn a_reader_of_full_backups_only_is_told_that_it_is_another_format() {
    let (home, made) = chained();
    let head = |made: &Made| {
        let text = String::from_utf8(read(&made.metadata_file)).expect("UTF-8");
        text.lines().skip(1).take(2).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(head(&made[0]), ["\"type\": \"auditctl/backup\",", "\"format\": 1,"]);
    assert_eq!(head(&made[1]), ["\"type\": \"auditctl/backup\",", "\"format\": 2,"]);
    let archive = String::from_utf8_lossy(&read(&made[1].archive)).into_owned();
    assert!(archive.contains("{\"type\":\"auditctl/marker\",\"format\":2,"));
    drop(home);
}

/// A log that a short `record` holds is waited for; one that stays held is named.
#[test]
fn repair_waits_for_a_log_that_is_held_for_a_moment() {
    let home = Home::new();
    home.record(20);
    let log = home.open();
    let (code, _, err) = run(&home.dir, &["repair", "--wait", "0s"]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("is locked"), "{err}");
    let held = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        log.close().expect("closed");
    });
    let (code, out, err) = run(&home.dir, &["repair", "--wait", "60s"]);
    assert_eq!(code, 0, "{out}{err}");
    held.join().expect("it ends");
}
