//! Loss of power while a backup is made, removed or restored.

use std::sync::Arc;

use auditctl::backup::{Level, Unwatched};

use crate::backups::{Home, names, wanted};
use crate::disk::{Change, Disk, Random, RecordingFs};
use crate::support::{all_lines, root_agrees, types};

/// The home as it is found after the power went.
fn found(home: &Home, changes: &[Change], random: &mut Random) -> Home {
    let found = Home::new();
    Disk::after(changes, random).put_into(home.dir.path(), found.dir.path());
    found
}

#[test]
fn p1_a_restore_survives_the_loss_of_power() {
    let mut home = Home::new();
    home.record(60);
    let held = home.back_up().metadata.range.tree_size as usize;
    home.record(20);
    let old = all_lines(&home.log_dir());
    let fs = RecordingFs::on(home.dir.path());
    let begun = fs.changes().len();
    home.fs = Arc::new(fs.clone());
    let mut restorer = home.restorer();
    restorer.options.fs = home.fs.clone();
    let outcome = restorer.restore(&wanted(), &mut |_| Ok(()), &Unwatched).expect("restored");
    assert!(outcome.unrecorded.is_none());
    let all = fs.changes();
    let mut random = Random(0xe703_7ed1_a0b4_28db);
    let (mut stayed, mut changed) = (0, 0);
    for crash in begun..=all.len() {
        let context = format!("after {crash} of {}: {:?}", all.len(), all[..crash].last());
        let home = found(&home, &all[..crash], &mut random);
        // Whoever opens the log next finds one of the two, whole.
        home.record(1);
        let now = all_lines(&home.log_dir());
        let left = names(&home.log_dir());
        if types(&home.log_dir()).iter().any(|event_type| event_type == "audit.restored") {
            changed += 1;
            assert_eq!(now[..held], old[..held], "{context}");
            let kept = left.iter().find(|name| name.starts_with("before-restore-"));
            let kept = home.log_dir().join(kept.expect("what was there is kept"));
            assert_eq!(all_lines(&kept), old, "{context}");
        } else {
            stayed += 1;
            assert_eq!(now[..old.len()], old, "{context}");
            assert!(crash < all.len(), "what was said to be restored is");
        }
        assert!(!left.iter().any(|name| name.starts_with(".restore-")), "{context}: {left:?}");
        assert!(!left.iter().any(|name| name == "audit.restore.json"), "{context}: {left:?}");
        if crash % 15 == 0 {
            root_agrees(&home.log_dir());
        }
    }
    assert!(stayed > 20 && changed > 20, "{stayed} old, {changed} new");
}

#[test]
fn p1_a_committed_backup_survives_the_loss_of_power() {
    let mut home = Home::new();
    home.record(60);
    let fs = RecordingFs::on(home.dir.path());
    let begun = fs.changes().len();
    home.fs = Arc::new(fs.clone());
    let first = home.back_up().metadata.id;
    let first_made = fs.changes().len();
    let second = home.back_up().metadata.id;
    let second_made = fs.changes().len();
    home.backups().remove(first).expect("removed");
    let all = fs.changes();
    let mut random = Random(0x8ebc_6af0_9c88_c6e3);
    let mut lefts = std::collections::BTreeSet::new();
    for crash in begun..=all.len() {
        let context = format!("after {crash} of {}: {:?}", all.len(), all[..crash].last());
        let home = found(&home, &all[..crash], &mut random);
        let listed = home.list(Level::Content);
        for backup in &listed.backups {
            assert_eq!(backup.damage, None, "{context}");
        }
        assert!(listed.orphans.is_empty(), "{context}: {:?}", listed.orphans);
        let has = |id| listed.backups.iter().any(|backup| backup.id == id);
        if (first_made..=second_made).contains(&crash) {
            assert!(has(first), "{context}: it was made");
        }
        if crash >= second_made {
            assert!(has(second), "{context}: it was made");
        }
        assert!(crash < all.len() || !has(first), "it was removed");
        lefts.insert(listed.backups.len());
        // The next run clears up, and goes on from what is there.
        let next = home.back_up().metadata;
        assert_eq!(next.previous.is_some(), !listed.backups.is_empty(), "{context}");
        let listed = home.list(Level::Listed);
        assert!(listed.leftovers.is_empty(), "{context}: {:?}", listed.leftovers);
    }
    assert_eq!(lefts.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}
