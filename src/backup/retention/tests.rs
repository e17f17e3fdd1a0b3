use super::*;
use crate::audit::tree::merkle::{Hash, Range};
use crate::backup::digest::Digests;
use crate::backup::metadata::{Archive, Held, LogIdentity, Verified};

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    time("2026-03-31T12:00:00Z")
}

/// A good backup of a log, made then, of the records `held`.
fn made(id: &str, log: &str, epoch: u32, held: (u64, u64)) -> Listed {
    let id: BackupId = id.parse().expect("an id");
    let digest = Hash::from_bytes([7; 32]);
    let digests =
        Digests { bytes: 100, sha256: digest, crc64nvme: String::new(), crc32c: String::new() };
    let metadata = Metadata {
        id,
        tool: String::new(),
        host: "web-1".to_owned(),
        created_at: id.time(),
        clock_adjusted: false,
        log: LogIdentity {
            id: log.to_owned(),
            epoch,
            origin: String::new(),
            public_key: String::new(),
            key_chain: Vec::new(),
        },
        range: Held {
            first_seq: held.0,
            tree_size: held.1,
            records: held.1 - held.0,
            min_timestamp: id.time(),
            max_timestamp: id.time(),
            pruned: Range::empty(0),
        },
        root_hash: digest,
        checkpoint: String::new(),
        previous: None,
        bases: Vec::new(),
        archive: Archive {
            file: id.archive(false),
            digests,
            raw_bytes: 1_000,
            raw_sha256: digest,
            level: 6,
            compression_percent: 90.0,
        },
        segments: Vec::new(),
        holes: Vec::new(),
        encryption: None,
        verified: Verified { level: "content".to_owned(), records: 1, milliseconds: 1 },
        signature: None,
        cosigned: None,
        read_from: None,
    };
    Listed {
        metadata: Some(metadata),
        stored_bytes: Some(100),
        ..Listed::new(id, "backups".to_owned())
    }
}

/// As `inventory` orders them.
fn inventory(mut backups: Vec<Listed>) -> Inventory {
    backups.sort_by_key(|listed| {
        let metadata = listed.metadata.as_ref();
        let rank = metadata.map(|m| (m.log.epoch, m.range.tree_size));
        std::cmp::Reverse((rank, listed.id))
    });
    Inventory {
        backups,
        orphans: Vec::new(),
        leftovers: Vec::new(),
        foreign: Vec::new(),
        coverage: None,
        newer_catalog: None,
        unseen: None,
    }
}

/// One a day, each with more records than the one before.
fn daily(days: i64) -> Vec<Listed> {
    (0..days)
        .map(|day| {
            let at = Timestamp::from_micros(now().micros() - (days - 1 - day) * 86_400_000_000);
            made(&BackupId::at(at).to_string(), "log", 0, (0, 100 + day as u64))
        })
        .collect()
}

fn kept(plan: &Plan) -> Vec<String> {
    let kept = plan.decisions.iter().filter(|decision| !decision.keep.is_empty());
    kept.map(|decision| decision.id.to_string()[..8].to_owned()).collect()
}

fn planned(backups: Vec<Listed>, policy: &Policy) -> Plan {
    plan(&inventory(backups), policy, None, now()).expect("a plan")
}

#[test]
fn the_newest_so_many_are_kept() {
    let plan = planned(daily(10), &Policy { last: Some(3), ..Policy::default() });
    assert_eq!(kept(&plan), ["20260331", "20260330", "20260329"]);
    assert_eq!(plan.decisions[0].keep, ["the newest", "last 1"]);
    let oldest = plan.removals().next().map(|decision| decision.id.to_string());
    assert_eq!(oldest.as_deref(), Some("20260322_120000"), "the oldest goes first");
}

#[test]
fn rules_are_ored_and_each_kept_one_says_why() {
    let policy = Policy {
        daily: Some(2),
        weekly: Some(3),
        monthly: Some(3),
        yearly: Some(2),
        ..Policy::default()
    };
    let plan = planned(daily(120), &policy);
    // 2026-03-31 is a Tuesday: weeks end on the 29th and 22nd, months on their last days.
    assert_eq!(
        kept(&plan),
        ["20260331", "20260330", "20260329", "20260322", "20260228", "20260131", "20251231"]
    );
    let reasons = |id: &str| {
        let found = plan.decisions.iter().find(|decision| decision.id.to_string().starts_with(id));
        found.map(|decision| decision.keep.join(", ")).unwrap_or_default()
    };
    assert_eq!(reasons("20260331"), "the newest, daily 1, weekly 1, monthly 1, yearly 1");
    assert_eq!(reasons("20260329"), "weekly 2");
    assert_eq!(reasons("20251231"), "yearly 2");
}

#[test]
fn several_of_a_day_count_once_and_the_newest_stands_for_it() {
    let backups = vec![
        made("20260330_010000", "log", 0, (0, 10)),
        made("20260330_230000", "log", 0, (0, 20)),
        made("20260331_010000", "log", 0, (0, 30)),
        made("20260331_100000", "log", 0, (0, 40)),
    ];
    let plan = planned(backups, &Policy { daily: Some(5), ..Policy::default() });
    let kept: Vec<String> =
        plan.decisions.iter().filter(|d| !d.keep.is_empty()).map(|d| d.id.to_string()).collect();
    assert_eq!(kept, ["20260331_100000", "20260330_230000"]);
}

#[test]
fn within_a_time_all_are_kept() {
    let policy = Policy { within: Some(Duration::from_secs(3 * 24 * 3_600)), ..Policy::default() };
    assert_eq!(
        kept(&planned(daily(10), &policy)),
        ["20260331", "20260330", "20260329", "20260328"]
    );
    // However old it is, the newest stays.
    let old = vec![made("20200101_000000", "log", 0, (0, 10))];
    assert_eq!(kept(&planned(old, &policy)), ["20200101"]);
}

#[test]
fn newest_is_what_reaches_furthest_not_what_a_name_says() {
    let backups = vec![
        made("20260331_000000", "log", 0, (0, 50)),
        made("20260301_000000", "log", 0, (0, 90)),
        made("20260201_000000", "log", 1, (0, 60)),
    ];
    let plan = planned(backups, &Policy { last: Some(1), ..Policy::default() });
    assert_eq!(plan.decisions[0].id.to_string(), "20260201_000000");
    assert_eq!(plan.decisions[0].keep, ["the newest", "last 1"]);
    // The records that another epoch set aside are in no other copy.
    let other = plan.decisions.iter().find(|d| d.id.to_string() == "20260301_000000");
    assert_eq!(other.map(|d| d.keep.clone()), Some(vec!["the only copy of some records".into()]));
    assert_eq!(plan.removals().count(), 1);
}

#[test]
fn only_good_ones_count_and_others_are_left_alone() {
    let mut backups = daily(5);
    backups[4].damage = Some("altered".to_owned());
    backups[3].metadata = None;
    backups.push(made("20990101_000000", "log", 0, (0, 9_999)));
    let plan = planned(backups, &Policy { last: Some(1), ..Policy::default() });
    assert_eq!(kept(&plan), ["20260329"], "the newest good one, whatever is broken or ahead");
    assert_eq!(plan.untouched.len(), 3);
    assert_eq!(plan.removals().count(), 2);
}

#[test]
fn pinned_ones_stay_and_logs_are_counted_apart() {
    let mut backups = daily(4);
    backups[0].pinned = true;
    backups.push(made("20260101_000000", "other", 0, (0, 10)));
    backups.push(made("20260102_000000", "other", 0, (0, 20)));
    let plan = planned(backups, &Policy { last: Some(1), ..Policy::default() });
    assert_eq!(kept(&plan), ["20260331", "20260328", "20260102"]);
}

#[test]
fn the_only_copy_of_a_record_is_never_removed() {
    // Retention has removed the beginning: later backups do not hold it.
    let backups = vec![
        made("20260301_000000", "log", 0, (0, 100)),
        made("20260302_000000", "log", 0, (0, 120)),
        made("20260303_000000", "log", 0, (110, 200)),
        made("20260304_000000", "log", 0, (110, 300)),
    ];
    let plan = planned(backups, &Policy { last: Some(1), ..Policy::default() });
    assert_eq!(kept(&plan), ["20260304", "20260302"]);
    let guard = plan.decisions.iter().find(|d| d.id.to_string() == "20260302_000000");
    assert_eq!(guard.map(|d| d.keep.clone()), Some(vec!["the only copy of some records".into()]));
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    let refused = plan(&inventory(daily(3)), &Policy::default(), None, now());
    assert!(matches!(refused, Err(BackupError::Usage(_))));
}

/// A snapshot of a log that is there, of which the manifest then says something else.
fn live(change: impl FnOnce(&mut Snapshot)) -> (tempfile::TempDir, Snapshot) {
    use crate::audit::{AuditLog, Event, Options};
    let home = tempfile::tempdir().expect("temporary directory");
    let dir = home.path().join("logs");
    let log = AuditLog::open(Options::new(&dir)).expect("open");
    log.record(Event::new("e")).expect("accepted").wait().expect("durable");
    log.close().expect("closed");
    let fs: crate::fsio::SharedFs = std::sync::Arc::new(crate::fsio::OsFs);
    let mut live = Snapshot::take(&fs, &dir).expect("a snapshot");
    live.manifest.log_id = "log".to_owned();
    live.checkpoint.size = 300;
    change(&mut live);
    (home, live)
}

#[test]
fn cleanup_counts_only_what_the_live_log_still_has() {
    let kept_of = |live: &Snapshot| {
        let backups = vec![
            made("20260301_000000", "log", 0, (0, 100)),
            made("20260304_000000", "log", 0, (110, 300)),
        ];
        let policy = Policy { last: Some(1), ..Policy::default() };
        kept(&plan(&inventory(backups), &policy, Some(live), now()).expect("a plan"))
    };
    let (_home, all) = live(|_| {});
    assert_eq!(kept_of(&all), ["20260304"], "the log holds what it held");
    let mut pruned = Range::empty(0);
    for n in 0..50_u8 {
        pruned.append_line(&[n]);
    }
    let (_home, pruned) = live(|live| live.manifest.pruned = pruned);
    assert_eq!(kept_of(&pruned), ["20260304", "20260301"], "retention removed some of it");
    let (_home, other) = live(|live| live.manifest.epoch = 1);
    assert_eq!(kept_of(&other), ["20260304", "20260301"], "another epoch may hold other records");
    let (_home, other) = live(|live| live.manifest.log_id = "other".to_owned());
    assert_eq!(kept_of(&other), ["20260304", "20260301"], "so does another log");
    // Its end counts, exactly.
    let (_home, short) = live(|live| live.checkpoint.size = 99);
    assert_eq!(kept_of(&short), ["20260304", "20260301"]);
    let (_home, just) = live(|live| live.checkpoint.size = 100);
    assert_eq!(kept_of(&just), ["20260304"]);
}

/// A place in which each backup is the one that was planned for, but for one.
struct Exchanged {
    which: BackupId,
    removed: std::cell::RefCell<Vec<BackupId>>,
}

impl Place for Exchanged {
    fn stored_sha256(&self, which: &Decision) -> Result<String, BackupError> {
        let digest = if which.id == self.which { [8; 32] } else { [7; 32] };
        Ok(Hash::from_bytes(digest).to_string())
    }

    fn remove(&self, which: &Decision) -> Result<Removal, BackupError> {
        self.removed.borrow_mut().push(which.id);
        Ok(Removal::Gone)
    }
}

#[test]
fn cleanup_stops_when_a_backup_was_exchanged_after_the_plan() {
    let plan = planned(daily(5), &Policy { last: Some(1), ..Policy::default() });
    let going: Vec<BackupId> = plan.removals().map(|decision| decision.id).collect();
    assert_eq!(going.len(), 4);
    let place = Exchanged { which: going[2], removed: std::cell::RefCell::default() };
    let (mut recorded, mut told) = (0, 0);
    let record = &mut |_: &BackupRemoved| {
        recorded += 1;
        Ok(())
    };
    let outcome = apply(&place, &plan, record, &mut |_, _| told += 1);
    assert!(matches!(outcome, Err(BackupError::Refused(_))), "{outcome:?}");
    assert_eq!(*place.removed.borrow(), going[..2]);
    assert_eq!((recorded, told), (2, 2), "what is not removed is not recorded either");
}

#[test]
fn what_cannot_be_recorded_is_not_removed() {
    let plan = planned(daily(3), &Policy { last: Some(1), ..Policy::default() });
    let which = BackupId::at(Timestamp::from_micros(0));
    let place = Exchanged { which, removed: std::cell::RefCell::default() };
    let record = &mut |_: &BackupRemoved| Err(BackupError::Interrupted);
    assert!(apply(&place, &plan, record, &mut |_, _| {}).is_err());
    assert!(place.removed.borrow().is_empty());
}

#[test]
fn a_backup_exactly_as_old_as_within_stays_and_one_a_second_older_goes() {
    let policy = Policy { within: Some(Duration::from_secs(100)), ..Policy::default() };
    let at = |seconds: i64| {
        let at = Timestamp::from_micros(now().micros() - seconds * 1_000_000);
        made(&BackupId::at(at).to_string(), "log", 0, (0, 200 - seconds as u64))
    };
    let plan = planned(vec![at(0), at(99), at(100), at(101)], &policy);
    let kept = plan.decisions.iter().filter(|decision| !decision.keep.is_empty());
    assert_eq!(kept.count(), 3, "{plan:?}");
}

#[test]
fn a_backup_from_exactly_a_day_ahead_counts_and_one_from_later_does_not() {
    let at = |ahead: i64| {
        let at = Timestamp::from_micros(now().micros() + AHEAD + ahead * 1_000_000);
        made(&BackupId::at(at).to_string(), "log", 0, (0, 900))
    };
    let policy = Policy { last: Some(1), ..Policy::default() };
    assert!(planned(vec![at(0)], &policy).untouched.is_empty());
    assert_eq!(planned(vec![at(1)], &policy).untouched.len(), 1);
}

/// B11
#[test]
fn a_log_that_moved_from_host_to_host_is_one_log_to_the_rules() {
    let pods = daily(12).into_iter().enumerate().map(|(number, mut listed)| {
        let metadata = listed.metadata.as_mut().expect("metadata");
        metadata.host = format!("pod-{number}");
        listed.place = format!("s3://acme/pod-{number}/log/");
        listed
    });
    let plan = planned(pods.collect(), &Policy { last: Some(3), ..Policy::default() });
    assert_eq!(kept(&plan).len(), 3, "{plan:?}");
    assert_eq!(plan.removals().count(), 9);
    assert_eq!(plan.decisions[0].host, "pod-11");
    assert!(plan.removals().all(|gone| gone.removed.place.contains(&gone.host)));
}

/// B11
#[test]
fn what_others_may_have_put_there_counts_only_when_it_is_signed() {
    let mut backups = daily(4);
    let planted = backups.last_mut().expect("one");
    planted.elsewhere = true;
    let planned_ = planned(backups, &Policy { last: Some(2), ..Policy::default() });
    assert_eq!(planned_.untouched.len(), 1, "{planned_:?}");
    assert_eq!(kept(&planned_).len(), 2, "it pushes no other out");
    let mut backups = daily(4);
    let signed = backups.last_mut().expect("one");
    signed.elsewhere = true;
    signed.metadata.as_mut().expect("metadata").signature = Some("a note".to_owned());
    let planned_ = planned(backups, &Policy { last: Some(2), ..Policy::default() });
    assert!(planned_.untouched.is_empty(), "{planned_:?}");
}
