//! Backups that were altered, cut, swapped, put back or are somebody else's:
//! each is told for what it is.

use auditctl::backup::{BackupError, Level, Metadata, Relation, RestoreRequest, Target, Wish};

use crate::backups::{Home, names, read, wanted};

#[test]
fn p4_any_flipped_bit_of_the_metadata_is_found() {
    let home = Home::new();
    home.record(8);
    home.back_up();
    home.record(2);
    let made = home.back_up();
    let bytes = read(&made.metadata_file);
    let key = made.metadata.own_keys().expect("its key");
    let mut found = 0;
    for at in 0..bytes.len() {
        for bit in [0, 3, 5] {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let judged = Metadata::parse(&bad, made.metadata.id).and_then(|m| m.verify(&key));
            assert!(judged.is_err(), "byte {at}, bit {bit}");
            found += 1;
        }
    }
    assert!(found > 3_000);
    assert!(Metadata::parse(&bytes, made.metadata.id).and_then(|m| m.verify(&key)).is_ok());
}

#[test]
fn p4_any_flipped_byte_of_the_archive_is_found() {
    let home = Home::new();
    home.record(6);
    let made = home.back_up();
    let bytes = read(&made.archive);
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        std::fs::write(&made.archive, &bad).expect("written");
        let listed = home.list(Level::Content);
        assert!(!listed.backups[0].is_good(), "byte {at} of {}", bytes.len());
    }
    std::fs::write(&made.archive, &bytes).expect("written");
    assert!(home.list(Level::Content).backups[0].is_good(), "and it is good again");
}

#[test]
fn an_archive_cut_at_any_members_end_is_no_archive_even_without_metadata() {
    let home = Home::new();
    home.record(400);
    let made = home.back_up();
    let bytes = read(&made.archive);
    let alone = home.dir.path().join("copy.gz");
    let mut ends = vec![0];
    for segment in &made.metadata.segments {
        for member in &segment.members {
            ends.push(ends.last().copied().unwrap_or(0) + *member as usize);
        }
    }
    assert!(ends.len() > 4);
    for end in &ends {
        std::fs::write(&alone, &bytes[..*end]).expect("written");
        let error = home.plan(Wish::Path(alone.clone())).expect_err("cut");
        assert_eq!(error.kind(), "bad_archive", "{end}: {error}");
        // Beside its metadata, too.
        std::fs::write(&made.archive, &bytes[..*end]).expect("written");
        assert!(!home.list(Level::Listed).backups[0].is_good(), "{end}");
        assert!(home.plan(Wish::Id(made.metadata.id)).is_err(), "{end}");
    }
    // Members that are whole and in another order.
    let first = made.metadata.segments[0].stored_bytes as usize;
    let swapped =
        [&bytes[first..ends[ends.len() - 1]], &bytes[..first], &bytes[ends[ends.len() - 1]..]];
    std::fs::write(&alone, swapped.concat()).expect("written");
    assert!(home.plan(Wish::Path(alone.clone())).is_err());
    // And what is whole is restored though the metadata is lost.
    std::fs::write(&alone, &bytes).expect("written");
    let plan = home.plan(Wish::Path(alone)).expect("it speaks for itself").plan;
    assert_eq!(plan.root_hash, made.metadata.root_hash);
}

#[test]
fn swapped_metadata_is_found() {
    let home = Home::new();
    home.record(50);
    let one = home.back_up();
    home.record(50);
    let two = home.back_up();
    // Each under the other's name.
    let (first, second) = (read(&one.metadata_file), read(&two.metadata_file));
    std::fs::write(&one.metadata_file, &second).expect("written");
    std::fs::write(&two.metadata_file, &first).expect("written");
    let listed = home.list(Level::Listed);
    assert!(listed.backups.iter().all(|backup| !backup.is_good()));
    assert!(
        listed
            .backups
            .iter()
            .all(|b| b.damage.as_ref().is_some_and(|d| d.contains("is of backup")))
    );
    // The archives under the other's name.
    std::fs::write(&one.metadata_file, &first).expect("written");
    std::fs::write(&two.metadata_file, &second).expect("written");
    let spare = home.dir.path().join("spare");
    std::fs::rename(&one.archive, &spare).expect("renamed");
    std::fs::rename(&two.archive, &one.archive).expect("renamed");
    std::fs::rename(&spare, &two.archive).expect("renamed");
    assert!(home.list(Level::Listed).backups.iter().all(|backup| !backup.is_good()));
    for id in [one.metadata.id, two.metadata.id] {
        assert!(home.plan(Wish::Id(id)).is_err(), "{id}");
    }
}

#[test]
fn an_older_set_that_was_put_back_is_told_by_what_it_lacks() {
    let home = Home::new();
    home.record(50);
    let older = home.back_up();
    home.record(50);
    let newer = home.back_up();
    std::fs::remove_file(&newer.archive).expect("removed");
    std::fs::remove_file(&newer.metadata_file).expect("removed");
    let listed = home.list(Level::Chain);
    assert!(listed.backups[0].is_good(), "valid in itself");
    let coverage = listed.coverage.expect("the log is known");
    let lacking = newer.metadata.range.tree_size - older.metadata.range.tree_size;
    assert_eq!(coverage.lag(), lacking);
    let plan = home.plan(Wish::Latest).expect("checked").plan;
    assert_eq!(plan.relation.set_aside(), lacking);
    assert!(matches!(plan.relation, Relation::BackupIsPrefix { .. }), "{:?}", plan.relation);
    assert!(plan.new_epoch, "signed records would be set aside");
}

#[test]
fn a_backup_of_another_log_does_not_take_this_ones_place() {
    let (one, other) = (Home::new(), Home::new());
    one.record(20);
    other.record(30);
    let foreign = other.back_up();
    let before = names(&one.log_dir());
    let error = one.restore(Wish::Path(foreign.metadata_file.clone())).expect_err("another log");
    assert!(matches!(error, BackupError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains(&foreign.metadata.log.id), "{error}");
    assert_eq!(names(&one.log_dir()), before);
    // Beside, it is welcome.
    let target = one.dir.path().join("theirs");
    let request = RestoreRequest {
        wish: Wish::Path(foreign.archive.clone()),
        target: Target::Beside(target.clone()),
        ..wanted()
    };
    let outcome = one.restore_as(&request).expect("restored");
    assert_eq!(outcome.plan.key_from, "the backup itself");
    crate::support::root_agrees(&target);
    // A key from elsewhere decides.
    let key = auditctl::audit::keys::checkpoint::VerifierKey::load(
        &auditctl::fsio::OsFs,
        &one.log_dir().join("audit.pub"),
    );
    let request = RestoreRequest {
        public_key: Some(key.expect("a key")),
        target: Target::Beside(one.dir.path().join("again")),
        ..request
    };
    assert!(one.restore_as(&request).is_err());
}

#[test]
fn a_forged_backup_with_a_key_of_its_own_is_not_this_logs() {
    let (home, forger) = (Home::new(), Home::new());
    home.record(20);
    // The forger has no key, but takes the log's id.
    forger.record(20);
    let forged = forger.back_up();
    let id = home.back_up().metadata.log.id;
    let text = String::from_utf8(read(&forged.metadata_file)).expect("text");
    let text = text.replace(&forged.metadata.log.id, &id);
    std::fs::write(&forged.metadata_file, text).expect("written");
    assert!(home.plan(Wish::Path(forged.metadata_file)).is_err());
}

#[test]
fn rubbish_in_the_directory_is_shown_as_such_and_stops_nothing() {
    let home = Home::new();
    home.record(20);
    let made = home.back_up();
    let dir = home.backups().path().to_path_buf();
    for (name, content) in [
        ("notes.txt", &b"mine"[..]),
        ("audit_backup_20200101_000000.json", b"{}"),
        ("audit_backup_20200101_000001.json", b"\xff\xfe"),
        ("audit_backup_20200101_000002.gz", b"no gzip"),
        ("audit_backup_99999999_999999.gz", b"no date"),
        ("audit_backup_20200101_000003.json.tmp-1-2", b"{"),
        ("audit_backup_20200101_000003.gz", b"half"),
    ] {
        std::fs::write(dir.join(name), content).expect("written");
    }
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    std::fs::write(dir.join("audit_backup_20200101_000004.json"), deep).expect("written");
    let listed = home.list(Level::Content);
    assert_eq!(listed.backups[0].id, made.metadata.id, "the good one first");
    assert!(listed.backups[0].is_good());
    assert_eq!(listed.backups.iter().filter(|backup| !backup.is_good()).count(), 3);
    assert_eq!(listed.orphans, ["audit_backup_20200101_000002.gz"]);
    assert_eq!(listed.leftovers.len(), 2);
    assert_eq!(listed.foreign, ["audit_backup_99999999_999999.gz", "notes.txt"]);
    home.back_up();
    let left = names(&dir);
    assert!(
        !left.iter().any(|name| name.contains("000003")),
        "what a crash left is gone: {left:?}"
    );
    assert!(left.iter().any(|name| name.contains("000002.gz")), "what may be all there is is not");
    assert!(left.iter().any(|name| name == "notes.txt"));
}

#[test]
fn p9_metadata_that_lies_about_sizes_is_refused_without_taking_memory() {
    let home = Home::new();
    home.record(20);
    let made = home.back_up();
    let text = String::from_utf8(read(&made.metadata_file)).expect("text");
    let value: serde_json::Value = serde_json::from_str(&text).expect("json");
    for (pointer, number) in [
        ("/segments/0/stored_bytes", u64::MAX),
        ("/segments/0/offset", u64::MAX),
        ("/segments/0/records", u64::MAX),
        ("/range/tree_size", 1 << 61),
        ("/range/first_seq", 7),
        ("/archive/digests/bytes", 1 << 60),
        ("/segments/0/members/0", u64::from(u32::MAX)),
    ] {
        let mut bad = value.clone();
        *bad.pointer_mut(pointer).expect(pointer) = number.into();
        // In canonical form, as a forger would write it.
        let Ok(parsed) = serde_json::from_value::<Metadata>(bad) else { continue };
        let bytes = parsed.to_bytes().expect("bytes");
        std::fs::write(&made.metadata_file, bytes).expect("written");
        assert!(!home.list(Level::Content).backups[0].is_good(), "{pointer}");
        assert!(home.plan(Wish::Id(made.metadata.id)).is_err(), "{pointer}");
    }
}

#[test]
fn a_forged_earlier_backup_is_not_extended() {
    let home = Home::new();
    home.record(30);
    let made = home.back_up();
    // A later one by its name, which nobody with the log's key signed.
    let mut forged = made.metadata.clone();
    forged.id = made.metadata.id.next();
    forged.archive.file = forged.id.archive(false);
    assert!(forged.signature.is_some());
    let path = home.backups().join(&forged.id.metadata());
    std::fs::write(&path, forged.to_bytes().expect("json")).expect("written");
    home.record(5);
    let next = home.back_up();
    let previous = next.metadata.previous.expect("it extends the one before");
    assert_eq!(previous.id, made.metadata.id, "and not the forged one");
    assert!(previous.consistency_proof.is_some());
}

#[test]
fn damage_is_listed_as_what_it_is_when_it_is_found_and_afterwards_as_found_before() {
    let home = Home::new();
    home.record(60);
    let made = home.back_up();
    assert!(home.list(Level::Stored).backups[0].verified_at.is_some());
    let mut bytes = read(&made.archive);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&made.archive, bytes).expect("damaged");
    let found = home.list(Level::Stored).backups.remove(0);
    assert!(found.damage.is_some() && found.damage_kind != Some("damaged_before"), "{found:?}");
    assert_eq!((found.level, found.verified_at), (None, None), "it holds at no level now");
    let later = home.list(Level::Listed).backups.remove(0);
    assert_eq!(later.damage, found.damage, "not looked into this time");
    assert_eq!(later.damage_kind, Some("damaged_before"));
}
