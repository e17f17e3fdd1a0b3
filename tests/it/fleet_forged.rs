//! The table of forgeries in docs/fleet.md: each is done to a bucket, found, and named.

use std::collections::BTreeSet;
use std::path::Path;

use auditctl::archive::{Cuts, ObjectName};
use auditctl::backup::Unwatched;
use auditctl::fleet::{Request, Severity, State};

use crate::backups::{Home, copy_dir, read};
use crate::fleet::{Hosts, codes, copy_tree, said};

/// What somebody does to the bucket, the codes that are found then, and a part of the names of
/// the objects that are named.
type Forgery = (&'static str, fn(&Hosts), &'static [&'static str], &'static str);

fn nth(hosts: &Hosts, at: usize, is: fn(&ObjectName) -> bool, nth: usize) -> ObjectName {
    hosts.of(at).into_iter().filter(is).nth(nth).expect("an object")
}

fn data(name: &ObjectName) -> bool {
    matches!(name, ObjectName::Data(_))
}

fn range(name: &ObjectName) -> bool {
    matches!(name, ObjectName::Range(..))
}

fn checkpoint(name: &ObjectName) -> bool {
    matches!(name, ObjectName::Checkpoint(..))
}

#[cfg(feature = "parquet")]
fn parquet(name: &ObjectName) -> bool {
    matches!(name, ObjectName::Parquet(_))
}

fn tail(name: &ObjectName) -> bool {
    matches!(name, ObjectName::Tail(..))
}

fn remove(hosts: &Hosts, name: &ObjectName) {
    std::fs::remove_file(hosts.path(name)).expect("removed");
}

fn edit_record(path: &Path) {
    use std::io::{Read as _, Write as _};
    let mut raw = Vec::new();
    flate2::read::MultiGzDecoder::new(&read(path)[..]).read_to_end(&mut raw).expect("gzip");
    let text = String::from_utf8(raw).expect("lines").replacen("user-1", "user-2", 1);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(text.as_bytes()).expect("packed");
    std::fs::write(path, packer.finish().expect("packed")).expect("written");
}

fn rewrite(hosts: &Hosts, name: &ObjectName, from: &str, to: &str) {
    let text = String::from_utf8(read(&hosts.path(name))).expect("text");
    assert!(text.contains(from), "{text}");
    std::fs::write(hosts.path(name), text.replace(from, to)).expect("written");
}

fn put(hosts: &Hosts, name: &str, bytes: &[u8]) {
    let path = hosts.bucket().join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("written");
}

/// A clone of the first host's log records something else, and ships it to a bucket of its own.
fn second_history(hosts: &Hosts, records: usize) -> Hosts {
    let home = Home::new();
    copy_dir(&hosts.homes[0].log_dir(), &home.log_dir());
    std::fs::remove_file(home.log_dir().join("audit.archive.json")).expect("removed");
    let dir = crate::support::Dir::new();
    std::fs::create_dir(dir.path().join("bucket")).expect("a directory");
    home.record(records);
    let other = Hosts { dir, homes: vec![home] };
    other.cut(0);
    // The true one goes on as well.
    hosts.homes[0].record(60);
    hosts.cut(0);
    other
}

const FORGERIES: &[Forgery] = &[
    (
        "edit: a record in a data object is altered",
        |hosts| edit_record(&hosts.path(&nth(hosts, 0, data, 0))),
        &["object_altered"],
        "data/",
    ),
    (
        "edit: a record in a tail is altered",
        |hosts| {
            let path = hosts.path(&nth(hosts, 0, tail, 0));
            let mut bytes = read(&path);
            bytes[40] ^= 1;
            std::fs::write(path, bytes).expect("written");
        },
        &["object_altered"],
        "tail/",
    ),
    (
        "delete: a data object is removed",
        |hosts| remove(hosts, &nth(hosts, 0, data, 0)),
        &["object_missing"],
        "data/",
    ),
    (
        "delete: the proof of a range is removed",
        |hosts| remove(hosts, &nth(hosts, 0, range, 0)),
        &["object_missing", "foreign_object"],
        "range.json",
    ),
    (
        "delete: the newest checkpoint is removed",
        |hosts| {
            remove(hosts, &nth(hosts, 0, checkpoint, 1));
        },
        &["truncated"],
        "tail/",
    ),
    (
        "delete and put: another object is put under the name of one that was removed",
        |hosts| {
            let (first, second) = (nth(hosts, 0, data, 0), nth(hosts, 0, data, 1));
            std::fs::copy(hosts.path(&second), hosts.path(&first)).expect("copied");
        },
        &["object_altered"],
        "data/",
    ),
    (
        "swap hosts: one host's records are put under another's name",
        |hosts| {
            let own = nth(hosts, 0, data, 0);
            let moved = own.to_string().replace("host=web-0", "host=web-1");
            put(hosts, &moved, &read(&hosts.path(&own)));
            rewrite(hosts, &nth(hosts, 0, range, 0), &own.to_string(), &moved);
            remove(hosts, &own);
        },
        &["other_host", "foreign_object"],
        "host=web-1",
    ),
    (
        "swap hosts: two hosts' objects change places",
        |hosts| {
            let (one, other) = (nth(hosts, 0, data, 0), nth(hosts, 1, data, 0));
            let bytes = read(&hosts.path(&one));
            std::fs::copy(hosts.path(&other), hosts.path(&one)).expect("copied");
            std::fs::write(hosts.path(&other), bytes).expect("written");
        },
        &["object_altered"],
        "data/",
    ),
    (
        "swap hosts: one host's records are copied under another's name",
        |hosts| {
            let own = nth(hosts, 0, data, 0);
            let copy = own.to_string().replace("host=web-0", "host=web-1");
            put(hosts, &copy, &read(&hosts.path(&own)));
        },
        &["foreign_object"],
        "host=web-1",
    ),
    (
        "truncate: the last range loses its data and its checkpoint",
        |hosts| {
            remove(hosts, &nth(hosts, 0, data, 1));
            remove(hosts, &nth(hosts, 0, checkpoint, 1));
            remove(hosts, &nth(hosts, 0, tail, 0));
        },
        &["truncated"],
        "range.json",
    ),
    (
        "second history: a smaller one of the same key, only its checkpoint",
        |hosts| {
            let other = second_history(hosts, 5);
            let name = nth(&other, 0, checkpoint, 0);
            put(hosts, &name.to_string(), &read(&other.path(&name)));
        },
        &["split_view"],
        "checkpoint",
    ),
    (
        "second history: a longer one of the same key, all of it",
        |hosts| {
            let other = second_history(hosts, 400);
            copy_tree(&other.bucket(), &hosts.bucket());
        },
        &["split_view", "foreign_object", "object_altered", "object_missing"],
        "proof/",
    ),
    (
        "missing host: everything of a host is removed",
        |hosts| hosts.of(0).iter().for_each(|name| remove(hosts, name)),
        &["log_missing"],
        "",
    ),
    (
        "junk: names that are none, where engines read",
        |hosts| put(hosts, "data/day=2026-01-01/host=web-0/extra.json.gz", b"junk"),
        &["foreign_object"],
        "extra.json.gz",
    ),
    (
        "junk: an object among the proofs that nobody signed",
        |hosts| {
            let name = format!("proof/log={}/e0.{:020}.checkpoint", hosts.id(0), 999_999);
            put(hosts, &name, b"junk\n");
        },
        &["foreign_object"],
        "999999.checkpoint",
    ),
    (
        "a foreign log: all of it",
        |hosts| {
            let other = Hosts::new(1);
            copy_tree(&other.bucket(), &hosts.bucket());
        },
        &["log_unknown", "other_host"],
        "",
    ),
    (
        "a foreign log: its records under the name of one of ours",
        |hosts| {
            let other = Hosts::new(1);
            let name = nth(&other, 0, data, 0);
            let ours = name.to_string().replace(&other.id(0), &hosts.id(0));
            let ours = ours.replace("-000000000000000000", "-000000000000000001");
            put(hosts, &ours, &read(&other.path(&name)));
        },
        &["foreign_object"],
        "data/",
    ),
    (
        "Parquet: an object of records that were never shipped",
        |hosts| {
            let name = nth(hosts, 0, data, 0).to_string();
            let name = name.replace("data/", "parquet/v1/").replace(".json.gz", ".parquet");
            put(hosts, &name.replace("00000000000000000000-", "00000000000000000001-"), b"PAR1");
        },
        &["foreign_object"],
        "parquet/",
    ),
    #[cfg(feature = "parquet")]
    (
        "Parquet: two objects are exchanged",
        |hosts| {
            let (one, other) = (nth(hosts, 0, parquet, 0), nth(hosts, 0, parquet, 1));
            std::fs::copy(hosts.path(&other), hosts.path(&one)).expect("copied");
        },
        &["table_differs"],
        ".parquet",
    ),
    #[cfg(feature = "parquet")]
    (
        "Parquet: a byte of an object is altered",
        |hosts| {
            let path = hosts.path(&nth(hosts, 0, parquet, 0));
            let mut bytes = read(&path);
            let at = bytes.len() / 3;
            bytes[at] ^= 1;
            std::fs::write(path, bytes).expect("written");
        },
        &["table_differs"],
        ".parquet",
    ),
    (
        "a lying range: its hashes",
        |hosts| {
            let name = nth(hosts, 0, range, 1);
            let text = String::from_utf8(read(&hosts.path(&name))).expect("text");
            let at = text.find("\"tree\"").expect("its hashes");
            let digit = at + text[at..].find("\"hashes\": [\n").expect("hashes") + 24;
            let new = if &text[digit..=digit] == "0" { "1" } else { "0" };
            let text = format!("{}{new}{}", &text[..digit], &text[digit + 1..]);
            std::fs::write(hosts.path(&name), text).expect("written");
        },
        &["object_altered", "foreign_object", "truncated", "object_missing"],
        "range.json",
    ),
    (
        "a lying range: when its records were accepted",
        |hosts| {
            let name = nth(hosts, 0, range, 0);
            let text = String::from_utf8(read(&hosts.path(&name))).expect("text");
            let at = text.find("\"first_accepted\": \"20").expect("a time") + 19;
            let text = format!("{}19{}", &text[..at], &text[at + 2..]);
            std::fs::write(hosts.path(&name), text).expect("written");
        },
        &["false_range"],
        "data/",
    ),
    (
        "keys: those of another log",
        |hosts| {
            let keys = |it: &ObjectName| matches!(it, ObjectName::Keys(..));
            let (ours, theirs) = (nth(hosts, 0, keys, 0), nth(hosts, 1, keys, 0));
            std::fs::copy(hosts.path(&theirs), hosts.path(&ours)).expect("copied");
        },
        &["keys_unproven"],
        "keys.json",
    ),
];

#[test]
fn each_forgery_in_the_bucket_is_found_and_named_and_the_other_host_is_well() {
    for (what, forge, expected, object) in FORGERIES {
        let hosts = Hosts::new(2);
        let before = hosts.verify();
        assert_eq!(before.worst(), None, "{what}: before: {}", said(&before));
        forge(&hosts);
        hosts.age();
        let fleet = hosts.verify();
        let (found, allowed) = (codes(&fleet), expected.iter().copied().collect::<BTreeSet<_>>());
        assert!(found.contains(expected[0]), "{what}: {}", said(&fleet));
        assert!(found.is_subset(&allowed), "{what}: {}", said(&fleet));
        let named = fleet.all_findings().filter(|it| it.kind.code() == expected[0]);
        let named: Vec<_> = named.collect();
        assert!(
            object.is_empty()
                || named.iter().any(|it| it.objects.iter().any(|url| url.contains(object))),
            "{what}: {}",
            said(&fleet)
        );
        // Junk where nobody reads it is a warning.
        let is_junk = what.contains("that nobody signed");
        let worst = if is_junk { Severity::Warning } else { Severity::Bad };
        assert_eq!(fleet.worst(), Some(worst), "{what}: {}", said(&fleet));
        if !what.starts_with("swap") {
            let other = fleet.logs.iter().find(|log| log.id == hosts.id(1)).expect("its log");
            assert!(other.findings.is_empty(), "{what}: {}", said(&fleet));
        }
        // A state that was made before makes none of it good.
        let state = State { place: String::new(), ..before.state };
        let request = Request { state, trusts_times: true, ..hosts.request() };
        let fleet = hosts.verify_as(request);
        assert!(codes(&fleet).contains(expected[0]), "{what}, with a state: {}", said(&fleet));
    }
}

#[test]
fn both_sides_of_a_split_view_are_kept_as_evidence() {
    let hosts = Hosts::new(1);
    let other = second_history(&hosts, 5);
    let name = nth(&other, 0, checkpoint, 0);
    put(&hosts, &name.to_string(), &read(&other.path(&name)));
    let fleet = hosts.verify();
    let split = fleet.all_findings().find(|it| it.kind.code() == "split_view").expect("found");
    assert_eq!(split.evidence.len(), 2, "{split:?}");
    let note = read(&other.path(&name));
    assert!(split.evidence.iter().any(|one| one.note.as_bytes() == note));
    assert!(split.evidence[0].note != split.evidence[1].note);
    // What was seen of a log with two histories is not taken for the truth.
    assert!(fleet.state.logs[&hosts.id(0)].verified.is_none());
}

#[test]
fn a_bucket_whose_tables_have_tails_that_a_rule_removed_is_healthy() {
    let hosts = Hosts::new(1);
    hosts.homes[0].record(5);
    let cuts = Cuts { data_age: std::time::Duration::ZERO, ..Cuts::default() };
    hosts.archiver(&hosts.homes[0], 0, cuts).pass(&Unwatched).expect("shipped");
    hosts.of(0).iter().filter(|name| tail(name)).for_each(|name| remove(&hosts, name));
    hosts.age();
    let fleet = hosts.verify();
    assert_eq!(fleet.worst(), None, "{}", said(&fleet));
}
