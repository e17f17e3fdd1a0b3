//! kill -9 at any moment of backup, restore and cleanup: the old state or the new
//! one, and the list tells the truth about it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auditctl::backup::{FileKind, Level, Policy, parse_name, plan};

use crate::backups::{Home, names};
use crate::support::{all_lines, auditctl, root_agrees, types};

const ROUNDS: u64 = 100;

/// Starts it, and kills it after so many microseconds, wherever it is then.
fn kill_after(mut command: Command, micros: u64) -> bool {
    let mut child: Child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    std::thread::sleep(Duration::from_micros(micros));
    let ended = child.try_wait().expect("asked").is_some();
    if !ended {
        child.kill().expect("killed");
    }
    child.wait().expect("ended");
    ended
}

/// When to kill: spread over the time that the command takes. How long that is
/// changes with what else the machine does; what happened to the last one tells,
/// so that about half of them come to their end.
struct Moments {
    round: u64,
    whole: u64,
}

impl Moments {
    fn of(mut command: Command) -> Self {
        let begun = std::time::Instant::now();
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { round: 0, whole: (begun.elapsed().as_micros() as u64).max(1_000) * 2 }
    }

    /// Runs and kills it; whether it had ended by then.
    fn kill(&mut self, command: Command) -> bool {
        let ended = kill_after(command, self.round * 61 % ROUNDS * self.whole / ROUNDS);
        self.round += 1;
        self.whole = if ended { self.whole * 19 / 20 } else { self.whole * 21 / 20 };
        ended
    }
}

fn program(home: &Home, args: &[&str]) -> Command {
    let mut command = auditctl(&home.dir, args);
    command.env("AUDITCTL_BACKUP_OUTPUT_DIR", home.backups().path());
    command.env("AUDITCTL_RATE_LIMIT_ENABLED", "false");
    command
}

#[test]
fn p7_a_killed_backup_is_whole_or_not_there() {
    let home = Home::new();
    home.record(200);
    let mut moments = Moments::of(program(&home, &["backup", "--full"]));
    let (mut made, mut killed) = (0, 0);
    for round in 0..ROUNDS {
        let before = home.list(Level::Listed).backups.len();
        let ended = moments.kill(program(&home, &["backup", "--full"]));
        killed += u64::from(!ended);
        let listed = home.list(Level::Content);
        for backup in &listed.backups {
            assert_eq!(backup.damage, None, "round {round}: {}", backup.id);
        }
        made += listed.backups.len() - before;
        assert!(listed.orphans.is_empty(), "round {round}: {:?}", listed.orphans);
        // Few are kept, so that looking at all of them stays quick.
        for backup in listed.backups.iter().skip(2) {
            home.backups().remove(backup.id).expect("removed");
        }
    }
    assert!(killed > ROUNDS / 5 && made > 0, "{killed} killed, {made} made");
    home.back_up();
    let left = names(home.backups().path());
    let temporary = |name: &&String| {
        matches!(parse_name(name), Some((_, FileKind::Temporary | FileKind::Uncommitted)))
    };
    assert_eq!(left.iter().find(temporary), None, "the next run clears up: {left:?}");
}

#[test]
fn p7_a_killed_restore_leaves_the_old_log_or_the_new_one() {
    let home = Home::new();
    home.record(150);
    let made = home.back_up();
    home.record(40);
    let old = all_lines(&home.log_dir());
    let held = made.metadata.range.tree_size as usize;
    let pristine = home.dir.path().join("pristine");
    crate::backups::copy_dir(&home.log_dir(), &pristine);
    let reset = || {
        std::fs::remove_dir_all(home.log_dir()).expect("removed");
        crate::backups::copy_dir(&pristine, &home.log_dir());
    };
    let restore = || program(&home, &["restore", "latest", "--force"]);
    let mut moments = Moments::of(restore());
    let (mut stayed, mut changed) = (0, 0);
    for round in 0..ROUNDS {
        reset();
        moments.kill(restore());
        // Whoever opens the log next finds one of the two, whole.
        home.record(1);
        let now = all_lines(&home.log_dir());
        let types = types(&home.log_dir());
        if types.iter().any(|event_type| event_type == "audit.restored") {
            changed += 1;
            assert_eq!(now[..held], old[..held], "round {round}");
            let kept =
                names(&home.log_dir()).into_iter().find(|n| n.starts_with("before-restore-"));
            let kept = home.log_dir().join(kept.expect("what was there is kept"));
            assert_eq!(all_lines(&kept), old, "round {round}");
        } else {
            stayed += 1;
            assert_eq!(now[..old.len()], old, "round {round}");
        }
        if round % 10 == 0 {
            root_agrees(&home.log_dir());
        }
        let left = names(&home.log_dir());
        assert!(!left.iter().any(|name| name.starts_with(".restore-")), "round {round}: {left:?}");
    }
    assert!(stayed > 0 && changed > 0, "{stayed} old, {changed} new");
}

#[test]
fn p7_a_killed_cleanup_leaves_whole_backups_and_a_record_of_what_went() {
    let home = Home::new();
    home.record(20);
    home.back_up();
    let pristine = home.dir.path().join("pristine");
    for _ in 0..4 {
        home.back_up();
    }
    crate::backups::copy_dir(home.backups().path(), &pristine);
    let newest = home.list(Level::Listed).backups[0].id;
    let cleanup = || program(&home, &["cleanup", "--keep", "1"]);
    let mut moments = Moments::of(cleanup());
    assert_eq!(home.list(Level::Listed).backups.len(), 1);
    let mut lefts = std::collections::BTreeSet::new();
    for round in 0..ROUNDS {
        std::fs::remove_dir_all(home.backups().path()).expect("removed");
        crate::backups::copy_dir(&pristine, home.backups().path());
        moments.kill(cleanup());
        let listed = home.list(Level::Content);
        lefts.insert(listed.backups.len());
        assert_eq!(listed.backups[0].id, newest, "round {round}");
        assert!(listed.orphans.is_empty(), "round {round}: {:?}", listed.orphans);
        for backup in &listed.backups {
            assert_eq!(backup.damage, None, "round {round}");
        }
    }
    assert!(lefts.len() > 1, "{lefts:?} were left");
    // Every backup that is gone has its record: they were removed in each round.
    let removed = types(&home.log_dir());
    assert!(removed.iter().filter(|t| *t == "audit.backup_removed").count() >= 4);
    let live = auditctl::audit::read::snapshot::Snapshot::take(&home.fs, &home.log_dir());
    home.record(1);
    let policy = Policy { last: Some(1), ..Policy::default() };
    let inventory = home.list(Level::Listed);
    let now = auditctl::clock::Clock::now(&auditctl::clock::SystemClock);
    let plan = plan(&inventory, &policy, live.ok().as_ref(), now).expect("a plan");
    assert_eq!(plan.removals().count(), inventory.backups.len() - 1);
}
