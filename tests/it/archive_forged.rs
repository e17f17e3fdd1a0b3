//! What somebody does to an archive is found, and the object is named.

use std::path::{Path, PathBuf};

use auditctl::archive::{ObjectName, Wanted};
use auditctl::backup::Extent;

use crate::archive::{Fleet, is_tail};
use crate::backups::read;

/// What somebody does to the bucket, and what is then said of it.
type Forgery = (&'static str, fn(&Fleet), &'static str);

fn path_of(fleet: &Fleet, is: impl Fn(&ObjectName) -> bool) -> PathBuf {
    let mut found: Vec<_> = fleet.objects().into_iter().filter(|object| is(object)).collect();
    found.sort();
    fleet.bucket().join(found.first().expect("an object").to_string())
}

fn data(object: &ObjectName) -> bool {
    matches!(object, ObjectName::Data(_))
}

fn alter(path: &Path) {
    use std::io::Read as _;
    let mut raw = Vec::new();
    flate2::read::MultiGzDecoder::new(&read(path)[..]).read_to_end(&mut raw).expect("gzip");
    let text = String::from_utf8(raw).expect("lines").replacen("user-1", "user-2", 1);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packer, text.as_bytes()).expect("packed");
    std::fs::write(path, packer.finish().expect("packed")).expect("written");
}

const FORGERIES: &[Forgery] = &[
    (
        "a record of a data object is altered",
        |fleet| alter(&path_of(fleet, data)),
        "it does not hold the records that were proven to be there",
    ),
    (
        "a data object is removed",
        |fleet| std::fs::remove_file(path_of(fleet, data)).expect("removed"),
        "is missing",
    ),
    (
        "a data object is cut",
        |fleet| {
            let path = path_of(fleet, data);
            let bytes = read(&path);
            std::fs::write(path, &bytes[..bytes.len() - 20]).expect("written");
        },
        "gzip member at byte",
    ),
    (
        "a data object is replaced by that of another host",
        |fleet| {
            let other = Fleet::new();
            other.record(30);
            other.cut();
            std::fs::copy(path_of(&other, data), path_of(fleet, data)).expect("copied");
        },
        "it does not hold the records that were proven to be there",
    ),
    (
        "the proof of a range is removed",
        |fleet| {
            let path = path_of(fleet, |it| matches!(it, ObjectName::Range(..)));
            std::fs::remove_file(path).expect("removed");
        },
        "is missing",
    ),
    (
        "the proof of a range is altered",
        |fleet| {
            let path = path_of(fleet, |it| matches!(it, ObjectName::Range(..)));
            let text = String::from_utf8(read(&path)).expect("JSON");
            let at = text.find("\"tree\"").expect("its hashes");
            let digit = at + text[at..].find("\"hashes\": [\n").expect("hashes") + 24;
            let new = if &text[digit..=digit] == "0" { "1" } else { "0" };
            let text = format!("{}{new}{}", &text[..digit], &text[digit + 1..]);
            std::fs::write(path, text).expect("written");
        },
        "its hashes do not give the root that the log signed",
    ),
    (
        "the newest checkpoint is that of another log",
        |fleet| {
            let other = Fleet::new();
            other.record(30);
            other.cut();
            let is = |it: &ObjectName| matches!(it, ObjectName::Checkpoint(..));
            let mut ours: Vec<_> = fleet.objects().into_iter().filter(is).collect();
            ours.sort();
            let ours = fleet.bucket().join(ours.last().expect("one").to_string());
            std::fs::copy(path_of(&other, is), ours).expect("copied");
        },
        "the archive leads up to",
    ),
    (
        "a tail is removed from between two",
        |fleet| std::fs::remove_file(path_of(fleet, is_tail)).expect("removed"),
        "the archive leads up to",
    ),
    (
        "a tail is altered",
        |fleet| {
            let path = path_of(fleet, is_tail);
            let mut bytes = read(&path);
            bytes[40] ^= 1;
            std::fs::write(path, bytes).expect("written");
        },
        "ndjson.gz",
    ),
    (
        "the keys are those of another log",
        |fleet| {
            let other = Fleet::new();
            other.record(30);
            other.cut();
            let is = |it: &ObjectName| matches!(it, ObjectName::Keys(..));
            std::fs::copy(path_of(&other, is), path_of(fleet, is)).expect("copied");
        },
        "it holds the keys of another log",
    ),
];

#[test]
fn each_forgery_in_the_bucket_is_found_and_named() {
    for (what, forge, said) in FORGERIES {
        let fleet = Fleet::new();
        for _ in 0..3 {
            fleet.record(30);
            fleet.cut();
        }
        fleet.record(5);
        fleet.ship();
        fleet.record(5);
        fleet.ship();
        forge(&fleet);
        let target = fleet.home.dir.path().join("there");
        let restored = fleet.restore_as(&Wanted::default(), Extent::Whole, &target);
        let error = restored.expect_err(what);
        assert!(error.contains(said), "{what}: {error}");
        assert!(error.contains("bucket"), "{what}: the object is named: {error}");
    }
}
