//! What somebody who can write to the bucket, to its times or to the verifier's files tries so
//! that nothing is found.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::time::{Duration, SystemTime};

use auditctl::archive::ObjectName;
use auditctl::audit::keys::checkpoint::SignedCheckpoint;
use auditctl::audit::tree::merkle::Range;
use auditctl::backup::Wish;
use auditctl::fleet::{Fleet, Request, Severity, Silence, State};

use crate::backups::read;
use crate::fleet::{Hosts, codes, said};

fn remove(hosts: &Hosts, is: impl Fn(&ObjectName) -> bool) {
    for name in hosts.of(0).into_iter().filter(|name| is(name)) {
        std::fs::remove_file(hosts.path(&name)).expect("removed");
    }
}

fn put(hosts: &Hosts, name: &str, bytes: &[u8]) {
    std::fs::write(hosts.bucket().join(name), bytes).expect("written");
}

fn with_state(hosts: &Hosts, state: &State) -> Fleet {
    hosts.verify_as(Request { state: state.clone(), ..hosts.request() })
}

#[track_caller]
fn assert_bad(fleet: &Fleet, code: &str) {
    let named = fleet.all_findings().any(|it| it.kind.code() == code);
    assert!(named && fleet.worst() == Some(Severity::Bad), "not {code}: {}", said(fleet));
}

#[test]
fn a_log_of_the_roster_of_which_only_the_keys_are_left_is_missing() {
    let hosts = Hosts::new(1);
    remove(&hosts, |it| !matches!(it, ObjectName::Keys(..)));
    assert_bad(&hosts.verify(), "log_missing");
}

#[test]
fn ranges_that_no_checkpoint_commits_any_more_are_a_truncation() {
    let hosts = Hosts::new(1);
    remove(&hosts, |it| matches!(it, ObjectName::Checkpoint(..) | ObjectName::Tail(..)));
    assert_bad(&hosts.verify(), "truncated");
    remove(&hosts, |it| matches!(it, ObjectName::Data(..)));
    assert_bad(&hosts.verify(), "truncated");
}

#[test]
fn a_beginning_that_was_there_before_is_missed() {
    let hosts = Hosts::new(1);
    let state = hosts.verify().state;
    let second = hosts.of(0).into_iter().find_map(|name| match name {
        ObjectName::Range(_, first, _) if first > 0 => Some(first),
        _ => None,
    });
    let second = second.expect("a second range");
    remove(&hosts, |it| match it {
        ObjectName::Range(_, first, _) | ObjectName::Tail(_, first, _) => *first < second,
        ObjectName::Checkpoint(_, size) => *size <= second,
        _ => false,
    });
    let first_data = hosts.of(0).into_iter().find(|it| matches!(it, ObjectName::Data(..)));
    std::fs::remove_file(hosts.path(&first_data.expect("data"))).expect("removed");
    let fleet = hosts.verify();
    assert_eq!(fleet.worst(), Some(Severity::Bad), "{}", said(&fleet));
    // Whose records they are nobody can tell now but the roster.
    let mut roster = hosts.roster();
    roster.logs.values_mut().for_each(|log| log.hosts.clear());
    let fleet = hosts.verify_as(Request { roster: Some(roster), ..hosts.request() });
    assert!(codes(&fleet).contains("other_host"), "{}", said(&fleet));
    let fleet = with_state(&hosts, &state);
    assert_bad(&fleet, "records_missing");
    // And again: nothing is learned from it.
    assert_bad(&with_state(&hosts, &fleet.state), "records_missing");
}

#[test]
fn a_junk_name_of_a_newer_epoch_hides_nothing() {
    let hosts = Hosts::new(1);
    let home = &hosts.homes[0];
    let made = home.back_up();
    home.record(30);
    hosts.cut(0);
    home.restore(Wish::Id(made.metadata.id)).expect("restored");
    home.record(10);
    hosts.cut(0);
    hosts.age();
    put(&hosts, &format!("proof/log={}/e9.{:020}.keys.json", hosts.id(0), 0), b"junk");
    hosts.age();
    let fleet = hosts.verify();
    assert!(codes(&fleet).is_superset(&BTreeSet::from(["new_epoch", "epoch_left"])));
}

#[test]
fn a_saved_checkpoint_that_no_key_signed_is_bad_and_stays() {
    let hosts = Hosts::new(2);
    let mut state = hosts.verify().state;
    // As if the keys in the bucket were replaced: the state knows what another key signed.
    let other = state.logs[&hosts.id(1)].heads[&0].clone();
    state.logs.get_mut(&hosts.id(0)).expect("its log").heads.insert(0, other.clone());
    let fleet = with_state(&hosts, &state);
    assert_bad(&fleet, "keys_unproven");
    assert_eq!(fleet.state.logs[&hosts.id(0)].heads[&0], other);
}

#[test]
fn a_bucket_without_the_epoch_that_the_roster_has_is_cut() {
    let hosts = Hosts::new(1);
    let mut roster = hosts.roster();
    roster.logs.values_mut().for_each(|log| log.epoch = Some(1));
    assert_bad(&hosts.verify_as(Request { roster: Some(roster), ..hosts.request() }), "truncated");
}

#[test]
fn a_range_is_no_run_at_work_for_ever_nor_in_the_future_nor_against_what_was_seen() {
    let hosts = Hosts::new(1);
    let seen = hosts.verify().state;
    let last = hosts.of(0).into_iter().rfind(|it| matches!(it, ObjectName::Range(..)));
    let last = last.expect("a range");
    let ObjectName::Range(_, first, _) = last else { panic!("{last}") };
    remove(&hosts, |it| match it {
        ObjectName::Checkpoint(_, size) => *size > first,
        ObjectName::Tail(..) => true,
        _ => false,
    });
    let date = |at: SystemTime| {
        let file = std::fs::File::options().write(true).open(hosts.path(&last)).expect("a file");
        file.set_modified(at).expect("dated");
    };
    date(SystemTime::now());
    let fleet = hosts.verify();
    assert!(codes(&fleet).contains("unfinished"), "{}", said(&fleet));
    assert!(!codes(&fleet).contains("truncated"), "{}", said(&fleet));
    // It was put again and again for two hours.
    let mut state = fleet.state.clone();
    let since = &mut state.logs.get_mut(&hosts.id(0)).expect("its log").unfinished;
    let then = fleet.at.expect("a time").micros() - 7_200_000_000;
    since.get_mut(&0).expect("epoch 0").1 = auditctl::clock::Timestamp::from_micros(then);
    state.logs.get_mut(&hosts.id(0)).expect("its log").heads.clear();
    assert_bad(&with_state(&hosts, &state), "truncated");
    assert_bad(&with_state(&hosts, &seen), "truncated");
    date(SystemTime::now() + Duration::from_secs(86_400));
    assert_bad(&hosts.verify(), "truncated");
}

#[test]
fn an_object_that_is_put_again_is_no_sign_of_life() {
    let hosts = Hosts::new(1);
    let mut roster = hosts.roster();
    let after = Silence::After(Duration::from_millis(1));
    roster.logs.values_mut().for_each(|log| log.silent_after = after);
    for name in hosts.names() {
        let file = std::fs::File::options().write(true).open(hosts.bucket().join(name));
        let later = SystemTime::now() + Duration::from_secs(86_400);
        file.expect("a file").set_modified(later).expect("dated");
    }
    assert_bad(&hosts.verify_as(Request { roster: Some(roster), ..hosts.request() }), "silent");
}

#[test]
fn junk_in_the_place_of_the_newest_tail_is_bad() {
    let hosts = Hosts::new(1);
    let tail = hosts.of(0).into_iter().rfind(|it| matches!(it, ObjectName::Tail(..)));
    std::fs::write(hosts.path(&tail.expect("a tail")), b"junk").expect("written");
    hosts.age();
    assert_bad(&hosts.verify(), "object_altered");
}

#[test]
fn a_bucket_with_no_log_is_never_well_and_logs_that_were_there_are_missed() {
    let hosts = Hosts::new(1);
    let without = |state: &State| {
        let keys = vec![hosts.key(0)];
        hosts.verify_as(Request { keys, state: state.clone(), jobs: 1, ..Request::default() })
    };
    let state = without(&State::default()).state;
    std::fs::remove_dir_all(hosts.bucket()).expect("removed");
    std::fs::create_dir(hosts.bucket()).expect("a directory");
    let request = || Request { jobs: 1, ..Request::default() };
    let fleet = hosts.verify_as(Request { state, ..request() });
    assert_bad(&fleet, "log_missing");
    assert_eq!(fleet.logs.len(), 1);
    assert_bad(&hosts.verify_as(request()), "log_missing");
}

#[test]
fn a_checkpoint_that_was_kept_elsewhere_is_never_passed_over() {
    let hosts = Hosts::new(2);
    let note = read(&hosts.homes[0].log_dir().join("audit.checkpoint"));
    let note = SignedCheckpoint::parse(&note).expect("a checkpoint");
    let against = vec![("kept".to_owned(), note)];
    let logs = vec![hosts.id(1)];
    let fleet = hosts.verify_as(Request { against: against.clone(), logs, ..hosts.request() });
    assert_bad(&fleet, "unread");
    // What was verified before spares no reading then.
    let state = hosts.verify().state;
    let fleet = hosts.verify_as(Request { against, state, trusts_times: true, ..hosts.request() });
    let log = fleet.logs.iter().find(|log| log.id == hosts.id(0)).expect("its log");
    assert_eq!((fleet.worst(), log.records_known), (None, 0), "{}", said(&fleet));
}

#[test]
fn a_roster_with_another_name_is_named_once_and_the_first_one_stays_known() {
    let hosts = Hosts::new(1);
    let mut renamed = hosts.roster();
    let state = hosts.verify().state;
    "other".clone_into(&mut renamed.name);
    let fleet = hosts.verify_as(Request { roster: Some(renamed), state, ..hosts.request() });
    assert_bad(&fleet, "roster_contradicts");
    let mut older = hosts.roster();
    older.sequence = 0;
    let state = fleet.state;
    let fleet = hosts.verify_as(Request { roster: Some(older), state, ..hosts.request() });
    assert_bad(&fleet, "roster_old");
}

#[test]
fn of_two_checks_at_once_the_larger_head_stays() {
    let hosts = Hosts::new(1);
    let old = hosts.verify().state;
    hosts.homes[0].record(5);
    hosts.cut(0);
    let new = hosts.verify().state;
    let id = hosts.id(0);
    assert_ne!(old.logs[&id].heads, new.logs[&id].heads);
    let mut merged = old.clone();
    merged.merge(new.clone());
    assert_eq!(
        (&merged.logs[&id].heads, &merged.logs[&id].verified),
        (&new.logs[&id].heads, &None)
    );
    let mut merged = new.clone();
    merged.merge(old);
    assert_eq!(merged, new);
}

/// Replaces the first record of a range by its hash.
fn cut_out(hosts: &Hosts, range: &ObjectName) {
    let mut proof: serde_json::Value =
        serde_json::from_slice(&read(&hosts.path(range))).expect("JSON");
    let data = hosts.bucket().join(proof["data"].as_str().expect("a name"));
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&read(&data)[..]).read_to_string(&mut text).expect("lines");
    let mut lines = text.lines();
    let ObjectName::Range(_, first, _) = range else { panic!("{range}") };
    let mut tree = Range::empty(*first);
    tree.append_line(lines.next().expect("a line").as_bytes());
    proof["holes"] = serde_json::json!([{
        "tree": tree,
        "reason": "it was damaged",
        "min_timestamp": proof["first_accepted"],
        "max_timestamp": proof["last_accepted"],
    }]);
    std::fs::write(hosts.path(range), proof.to_string()).expect("written");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    for line in lines {
        packer.write_all(format!("{line}\n").as_bytes()).expect("packed");
    }
    std::fs::write(data, packer.finish().expect("packed")).expect("written");
}

fn ranges(hosts: &Hosts, epoch: u32) -> Vec<ObjectName> {
    let is = |it: &ObjectName| matches!(it, ObjectName::Range(log, ..) if log.epoch() == epoch);
    hosts.of(0).into_iter().filter(is).collect()
}

#[test]
fn records_that_are_only_hashes_are_missed_beside_a_junk_name() {
    let hosts = Hosts::new(1);
    put(&hosts, &format!("proof/log={}/e9.{:020}.keys.json", hosts.id(0), 0), b"junk");
    cut_out(&hosts, &ranges(&hosts, 0)[1]);
    assert_bad(&hosts.verify(), "records_missing");
}

#[test]
fn records_of_an_older_epoch_that_are_only_hashes_are_missed() {
    let hosts = Hosts::new(1);
    let home = &hosts.homes[0];
    let made = home.back_up();
    home.record(30);
    hosts.cut(0);
    home.restore(Wish::Id(made.metadata.id)).expect("restored");
    home.record(10);
    hosts.cut(0);
    // Not in what the new epoch goes on from.
    cut_out(&hosts, ranges(&hosts, 0).last().expect("a range"));
    assert_bad(&hosts.verify(), "records_missing");
}

#[test]
fn records_that_are_only_hashes_are_missed_in_what_came_since_the_last_check() {
    let hosts = Hosts::new(1);
    let state = hosts.verify().state;
    hosts.homes[0].record(20);
    hosts.cut(0);
    cut_out(&hosts, ranges(&hosts, 0).last().expect("a range"));
    hosts.age();
    let request = Request { state, trusts_times: true, ..hosts.request() };
    assert_bad(&hosts.verify_as(request), "records_missing");
}
