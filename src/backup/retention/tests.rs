use super::*;
use crate::audit::merkle::{Hash, Range};
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
        format: 1,
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
        archive: Archive {
            file: id.archive(false),
            digests,
            raw_bytes: 1_000,
            raw_sha256: digest,
            level: 6,
            compression_percent: 90.0,
        },
        segments: Vec::new(),
        encryption: None,
        verified: Verified { level: "content".to_owned(), records: 1, milliseconds: 1 },
        signature: None,
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
