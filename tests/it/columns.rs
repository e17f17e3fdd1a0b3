//! Columns beside compressed segments: an answer is the same with them and without, whatever
//! somebody has made of them. Only how much is read differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditctl::audit::files::manifest::Manifest;
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::paths::LogPaths;
use auditctl::audit::read::query::{Answer, Bounds, Effort, Found, Reader, Request};
use auditctl::audit::read::verify::{Report, Request as Check, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::clock::Timestamp;
use auditctl::fsio::{OsFs, SharedFs};

use crate::support::{Dir, eventually, open, options};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len() as u64) as usize]
    }
}

const TYPES: &[&str] = &["login", "logout", "größe", "a\"b", "tab\\t", "file.read", "file.write"];
const ACTORS: &[&str] = &["alice", "bob", "mallory@example.com", "DOMAIN\\user", "日本", "*"];

/// A time on some days, now and then the same as before, and seldom far away.
fn time(dice: &mut Dice) -> Timestamp {
    let seconds = match dice.roll(200) {
        0 => -62_000_000_000,
        1 => 250_000_000_000,
        2..100 => 1_770_000_000 + dice.roll(40) as i64,
        _ => 1_770_000_000 + dice.roll(200_000) as i64,
    };
    Timestamp::from_micros(seconds * 1_000_000 + dice.roll(3) as i64)
}

fn event(dice: &mut Dice, n: u64) -> Event {
    let mut event = Event::new(dice.one_of(TYPES));
    if dice.roll(8) > 0 {
        event = match dice.roll(30) {
            0 => event.actor(format!("{}-{}", "long".repeat(50), dice.roll(9))),
            1 => event.actor(format!("rare-{n}")),
            _ => event.actor(dice.one_of(ACTORS)),
        };
    }
    if dice.roll(3) > 0 {
        event = event.source(format!("service-{}", dice.roll(300)));
    }
    if dice.roll(2) > 0 {
        event = event.target(format!("acct-{}", dice.roll(5_000)));
    }
    if dice.roll(2) > 0 {
        event = event.outcome(dice.one_of(&["success", "failure"]));
    }
    if dice.roll(3) > 0 {
        event = event.timestamp(time(dice));
    }
    let (region, filler) = (dice.roll(4), "f".repeat(dice.roll(2_000) as usize));
    let details = match dice.roll(5) {
        0 => return event,
        1 => format!(r#"{{"actor":"alice","region":"eu-{region}","filler":"{filler}"}}"#),
        _ => format!(r#"{{"filler":"{filler}","region":"eu-{region}","list":[1,"a"]}}"#),
    };
    event.details_json(&details).expect("json")
}

/// Some segments of some blocks each.
fn some_options(dir: &Dir) -> Options {
    Options { max_segment_size: 3 << 19, ..options(dir) }
}

fn fill(log: &AuditLog, dice: &mut Dice, events: u64) {
    let receipts: Vec<_> =
        (0..events).map(|n| log.record(event(dice, n)).expect("taken")).collect();
    receipts.into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
}

/// All that is sealed is in the manifest, and has columns.
fn settled(log: &AuditLog, dir: &Path) {
    let sealed = || -> BTreeSet<String> {
        let names = std::fs::read_dir(dir).expect("a log");
        let names = names.map(|entry| entry.expect("an entry").file_name().into_string());
        let names = names.map(|name| name.expect("a name"));
        let of = |name: String| name.get(6..26).map(str::to_owned);
        names.filter(|name| name.starts_with("audit.0")).filter_map(of).collect()
    };
    eventually("every segment has its columns", || {
        let manifest = log.manifest();
        manifest.segments.len() == sealed().len()
            && manifest.segments.iter().all(|segment| segment.columns_sha256.is_some())
    });
}

fn filled(dir: &Dir, seed: u64, events: u64) {
    let log = open(some_options(dir));
    fill(&log, &mut Dice(seed), events);
    settled(&log, &dir.log());
    log.close().expect("closed");
}

fn request(dice: &mut Dice, seqs: u64) -> Request {
    let mut request = Request::default();
    if dice.roll(3) == 0 {
        request.event_type =
            vec![dice.one_of(&["login", "file.*", "a\"b", "nothing", "audit.*"]).to_owned()];
    }
    if dice.roll(3) == 0 {
        let of = ["alice", "bob", "rare-*", "rare-17", "*@example.com", "nobody", "\\*", "日*"];
        request.actor = (0..=dice.roll(2)).map(|_| dice.one_of(&of).to_owned()).collect();
    }
    if dice.roll(6) == 0 {
        request.source = vec![format!("service-{}", dice.roll(320))];
    }
    if dice.roll(6) == 0 {
        request.target = vec![format!("acct-{}*", dice.roll(600))];
    }
    if dice.roll(6) == 0 {
        request.outcome = vec!["success".to_owned()];
    }
    if dice.roll(4) == 0 {
        request.since = Some(time(dice).to_string());
    }
    if dice.roll(4) == 0 {
        request.until = Some(time(dice).to_string());
    }
    if dice.roll(5) == 0 {
        let from = dice.roll(seqs);
        request.seq = Some(format!("{from}..{}", from + dice.roll(seqs)));
    }
    if dice.roll(6) == 0 {
        request.conditions = vec![format!("details.region = eu-{}", dice.roll(5))];
    }
    if dice.roll(8) == 0 {
        request.grep = vec!["alice".to_owned()];
    }
    let by = ["type", "actor", "source", "target", "outcome", "minute", "hour", "day", "month"];
    match dice.roll(6) {
        0 => request.count = true,
        1 | 2 => request.group_by = Some(dice.one_of(&by).to_owned()),
        3 | 4 => {
            request.buckets = Some([1, 5, 60, 200][dice.roll(4) as usize]);
            request.by = (0..dice.roll(6)).map(|_| dice.one_of(&by).to_owned()).collect();
            request.by.sort();
            request.by.dedup();
            request.top = Some([1, 4, 100][dice.roll(3) as usize]);
            request.series = dice.roll(2) == 0;
            request.within = (dice.roll(3) == 0).then(|| "10m".to_owned());
        }
        _ => {
            request.limit = Some([0, 1, 10, 100][dice.roll(4) as usize]);
            request.order = Some(dice.one_of(&["newest", "oldest"]).to_owned());
        }
    }
    request
}

/// Room for all groups, and for few, so that most have to be dropped.
const BOUNDS: [Bounds; 2] =
    [Bounds { page_bytes: 1 << 20, groups: 10_000 }, Bounds { page_bytes: 64 << 10, groups: 40 }];

fn reader(dir: &Path, bounds: Bounds) -> Reader {
    let fs: SharedFs = Arc::new(OsFs);
    Reader::open(&fs, dir, bounds).expect("a log")
}

fn ask(reader: &mut Reader, request: &Request) -> Answer {
    let now = Timestamp::from_micros(1_780_000_000_000_000);
    reader.query(&request.resolve(now).expect("a query")).expect("an answer")
}

/// What an answer says, without what it took. Whether there is more behind the limit is said
/// where finding it out takes long: who reads less may know better.
fn said(answer: &Answer) -> Answer {
    Answer { effort: Effort::default(), more: false, ..answer.clone() }
}

/// Questions, and how they are answered without columns and filters.
fn asked(dir: &Path, dice: &mut Dice, many: usize) -> Vec<(Request, [Answer; 2])> {
    let bare = bare(dir);
    let end = reader(bare.path(), BOUNDS[0]).end();
    let mut readers = BOUNDS.map(|bounds| reader(bare.path(), bounds));
    let requests = (0..many).map(|_| request(dice, end));
    requests
        .map(|request| {
            let answers = readers.each_mut().map(|reader| ask(reader, &request));
            (request, answers)
        })
        .collect()
}

/// A copy of a log without columns and filters.
fn bare(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("temporary directory");
    for entry in std::fs::read_dir(dir).expect("a log") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_str().expect("utf-8");
        let is_file = path.metadata().expect("a file").is_file();
        if is_file && !name.ends_with(".columns") && !name.ends_with(".filter") {
            std::fs::copy(&path, copy.path().join(name)).expect("copied");
        }
    }
    copy
}

/// Asks them all; how many blocks were read for it.
fn answers_are_the_same(dir: &Path, asked: &[(Request, [Answer; 2])], what: &str) -> u64 {
    let mut readers = BOUNDS.map(|bounds| reader(dir, bounds));
    let mut blocks = 0;
    for (request, expected) in asked {
        for (reader, expected) in readers.iter_mut().zip(expected) {
            let answer = ask(reader, request);
            blocks += answer.effort.blocks_read;
            let named = format!("{what}: {}", serde_json::json!(request));
            assert_eq!(said(&answer), said(expected), "{named}");
            if let (true, Found::Records(lines)) = (answer.more != expected.more, &answer.found) {
                assert!(expected.more, "{named}: it does not say that there is more");
                let all = Request { limit: Some(0), ..request.clone() };
                let all = ask(&mut crate::columns::reader(dir, wide()), &all);
                assert_eq!(all.lines().map(|all| all.len()), Some(lines.len()), "{named}");
            }
        }
    }
    blocks
}

fn wide() -> Bounds {
    Bounds { page_bytes: 1 << 30, ..Bounds::default() }
}

fn column_files(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).expect("a log").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "columns")).collect();
    files.sort();
    files
}

fn manifest_of(dir: &Path) -> Manifest {
    Manifest::load(&OsFs, &LogPaths::new(dir).manifest()).expect("read").expect("a manifest")
}

fn checked(dir: &Path) -> Report {
    let fs: SharedFs = Arc::new(OsFs);
    verify(&fs, dir, &Check::default(), &Unwatched).expect("a report").0
}

#[test]
fn answers_are_the_same_with_columns_and_without() {
    let mut blocks = (0, 0);
    for seed in [7, 11] {
        let dir = Dir::new();
        filled(&dir, seed, 9_000);
        assert!(column_files(&dir.log()).len() > 2);
        let asked = asked(&dir.log(), &mut Dice(seed * 31), 60);
        blocks.0 += answers_are_the_same(&dir.log(), &asked, "all columns");
        let slow = asked.iter().flat_map(|(_, answers)| answers);
        blocks.1 += slow.map(|answer| answer.effort.blocks_read).sum::<u64>();
        assert!(checked(&dir.log()).passed());
    }
    assert!(blocks.0 * 2 < blocks.1, "{blocks:?}: columns save reading");
}

#[test]
fn what_columns_answer_reads_no_record() {
    let dir = Dir::new();
    filled(&dir, 3, 6_000);
    let mut reader = reader(&dir.log(), Bounds::default());
    let sealed = manifest_of(&dir.log()).end_seq();
    let of = |request: Request| Request { seq: Some(format!("0..{sealed}")), ..request };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for request in [
        Request { actor: names(&["alice"]), count: true, ..Request::default() },
        Request { group_by: Some("actor".to_owned()), ..Request::default() },
        Request { group_by: Some("hour".to_owned()), ..Request::default() },
        Request {
            buckets: Some(60),
            by: names(&["type", "actor", "source", "outcome", "target"]),
            ..Request::default()
        },
        Request { actor: names(&["nobody*"]), limit: Some(0), ..Request::default() },
    ] {
        let answer = ask(&mut reader, &of(request.clone()));
        assert_eq!(answer.effort.blocks_read, 0, "{}", serde_json::json!(request));
        assert_eq!(answer.effort.records_read, 0, "{}", serde_json::json!(request));
    }
}

/// Whatever bytes are in it: a file that is not the one that the log made costs only time.
#[test]
fn damaged_missing_and_foreign_columns_cost_only_speed() {
    let (dir, other) = (Dir::new(), Dir::new());
    filled(&dir, 5, 5_000);
    filled(&other, 6, 5_000);
    let (log, mut dice) = (dir.log(), Dice(99));
    let asked = asked(&log, &mut dice, 15);
    let files = column_files(&log);
    let good: BTreeMap<&PathBuf, Vec<u8>> =
        files.iter().map(|path| (path, std::fs::read(path).expect("read"))).collect();
    for round in 0..10 {
        for (nth, (path, good)) in good.iter().enumerate() {
            let mut bad = good.clone();
            match round {
                0 => bad.clear(),
                1 => bad.truncate(bad.len() / 2),
                2 => bad.clone_from(&good_of(&files, nth + 1)),
                3 => bad.clone_from(&std::fs::read(&column_files(&other.log())[0]).expect("read")),
                4 => bad[16..20].copy_from_slice(&u32::MAX.to_le_bytes()),
                _ => {
                    let at = dice.roll(bad.len() as u64) as usize;
                    bad[at] ^= 1 << dice.roll(8);
                }
            }
            std::fs::write(path, bad).expect("written");
        }
        answers_are_the_same(&log, &asked, &format!("round {round}"));
        for (path, good) in &good {
            std::fs::write(path, good).expect("written");
        }
    }
    files.iter().step_by(2).for_each(|path| std::fs::remove_file(path).expect("removed"));
    answers_are_the_same(&log, &asked, "every other one is missing");
    // One that nobody can open, and a directory and a pipe in the place of others.
    std::fs::create_dir(&files[0]).expect("made");
    let pipe = std::ffi::CString::new(files[1].to_str().expect("utf-8")).expect("a path");
    std::fs::remove_file(&files[1]).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(pipe.to_str().expect("utf-8")).status();
    assert!(made.expect("mkfifo").success());
    answers_are_the_same(&log, &asked, "a directory and a pipe");
    assert!(checked(&log).passed(), "nothing is said of what nobody believes");

    fn good_of(files: &[PathBuf], nth: usize) -> Vec<u8> {
        std::fs::read(&files[nth % files.len()]).expect("read")
    }
}

/// Whoever has no key can write a manifest, and columns that fit it.
#[test]
fn forged_columns_are_not_believed_without_a_signature() {
    let (dir, other) = (Dir::new(), Dir::new());
    filled(&dir, 5, 4_000);
    filled(&other, 6, 4_000);
    let log = dir.log();
    let asked = asked(&log, &mut Dice(17), 25);
    let path = LogPaths::new(&log).manifest();
    let mut manifest = manifest_of(&log);
    let foreign = manifest_of(&other.log());
    let of = foreign.segments[0].columns_sha256.clone();
    manifest.segments.update(0, |segment| segment.columns_sha256 = of);
    std::fs::copy(&column_files(&other.log())[0], &column_files(&log)[0]).expect("copied");
    manifest.store(&OsFs, &path).expect("stored");
    answers_are_the_same(&log, &asked, "a manifest whose signature is another's");
    manifest.signature = None;
    manifest.store(&OsFs, &path).expect("stored");
    answers_are_the_same(&log, &asked, "a manifest without a signature");
    let key = SigningKey::load(&OsFs, &log.join("audit.key")).expect("the key");
    let stranger = SigningKey::generate(key.name()).expect("a key");
    manifest.sign(&stranger).expect("signed");
    manifest.store(&OsFs, &path).expect("stored");
    answers_are_the_same(&log, &asked, "a manifest that a stranger signed");
}

/// An opening makes the manifest anew from the files where nobody signed it, and signs it. What
/// somebody wrote into it of filters and columns must not be signed with it, also of a segment
/// of which it needs what the manifest says.
#[test]
fn an_opening_does_not_sign_what_nobody_signed_of_columns_and_filters() {
    let dir = Dir::new();
    filled(&dir, 5, 4_000);
    let log = dir.log();
    let path = LogPaths::new(&log).manifest();
    let mut manifest = manifest_of(&log);
    let forged = Some("5f".repeat(32));
    for segment in manifest.segments.all_mut() {
        segment.columns_sha256.clone_from(&forged);
        segment.filters_sha256.clone_from(&forged);
    }
    manifest.signature = None;
    manifest.store(&OsFs, &path).expect("stored");
    // A byte in the middle of a block is another.
    let segment = log.join(&manifest.segments[1].file);
    let mut bytes = std::fs::read(&segment).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&segment, bytes).expect("written");
    let reopened = AuditLog::open(Options { accept_corruption: true, ..some_options(&dir) });
    let reopened = reopened.expect("opened");
    let manifest = reopened.manifest();
    assert!(
        manifest.segments.iter().all(|segment| {
            segment.columns_sha256 != forged && segment.filters_sha256 != forged
        })
    );
    reopened.close().expect("closed");
    let manifest = manifest_of(&log);
    assert!(
        manifest.segments.iter().all(|segment| {
            segment.columns_sha256 != forged && segment.filters_sha256 != forged
        })
    );
}

/// They would hide the true records once these are back.
#[test]
fn nothing_is_made_of_records_that_the_tree_does_not_prove() {
    let dir = Dir::new();
    filled(&dir, 5, 4_000);
    let log = dir.log();
    let manifest = manifest_of(&log);
    let file = log.join(&manifest.segments[0].file);
    let good = std::fs::read(&file).expect("read");
    let forged = with_another_actor(&good, &manifest.segments[0].blocks[0]);
    let paths = LogPaths::new(&log);
    column_files(&log).iter().for_each(|path| std::fs::remove_file(path).expect("removed"));
    std::fs::write(&file, &forged).expect("written");
    let reopened = open(some_options(&dir));
    eventually("the others are made again", || {
        let there = |seq: u64| paths.columns(seq).is_file();
        manifest.segments.iter().skip(1).all(|segment| there(segment.first_seq))
    });
    reopened.close().expect("closed");
    assert_eq!(manifest_of(&log).segments[0].columns_sha256, None);
    assert_eq!(manifest_of(&log).segments[0].filters_sha256, None);
    std::fs::write(&file, &good).expect("written");
    let asked = asked(&log, &mut Dice(21), 60);
    answers_are_the_same(&log, &asked, "the true records are back");
}

/// A segment whose first block has another name in one record, and as many bytes as before.
fn with_another_actor(segment: &[u8], block: &auditctl::audit::files::segment::Block) -> Vec<u8> {
    use auditctl::audit::files::gzip::{Packer, Unpacker};
    let stored = block.stored_bytes as usize;
    let mut lines = Vec::new();
    Unpacker::new().unpack(&segment[..stored], &mut lines).expect("unpacked");
    let places: Vec<usize> =
        memchr::memmem::find_iter(&lines, b"\"actor\":\"alice\"").map(|at| at + 9).collect();
    let (mut packer, mut forged) = (Packer::new(6), segment.to_vec());
    for (place, letter) in places.into_iter().flat_map(|at| (b'b'..=b'z').map(move |to| (at, to))) {
        let mut other = lines.clone();
        other[place] = letter;
        let member = packer.member(&other).expect("packed");
        if member.len() == stored {
            forged[..stored].copy_from_slice(&member);
            return forged;
        }
    }
    panic!("no name takes as many bytes");
}

#[test]
fn verify_finds_columns_that_contradict_the_records_under_the_logs_own_signature() {
    let (dir, other) = (Dir::new(), Dir::new());
    filled(&dir, 5, 4_000);
    filled(&other, 6, 4_000);
    let log = dir.log();
    let mut manifest = manifest_of(&log);
    let foreign = manifest_of(&other.log());
    let of = foreign.segments[0].columns_sha256.clone();
    manifest.segments.update(0, |segment| segment.columns_sha256 = of);
    std::fs::copy(&column_files(&other.log())[0], &column_files(&log)[0]).expect("copied");
    let key = SigningKey::load(&OsFs, &log.join("audit.key")).expect("the key");
    manifest.sign(&key).expect("signed");
    manifest.store(&OsFs, &LogPaths::new(&log).manifest()).expect("stored");
    let report = checked(&log);
    let text = format!("{report:?}");
    assert!(!report.passed() && text.contains(".columns"), "{text}");
    assert!(text.contains("columns do not match its records"), "{text}");
    // As it says: without the file all is well, and the writer makes another.
    std::fs::remove_file(&column_files(&log)[0]).expect("removed");
    assert!(checked(&log).passed());
    let reopened = open(some_options(&dir));
    eventually("it is made again", || column_files(&log).len() == manifest.segments.len());
    reopened.close().expect("closed");
    assert!(checked(&log).passed());
    let asked = asked(&log, &mut Dice(23), 40);
    answers_are_the_same(&log, &asked, "made again");
}

#[test]
fn a_log_of_a_version_without_columns_gets_them_and_retention_takes_them_along() {
    let dir = Dir::new();
    filled(&dir, 5, 6_000);
    let log = dir.log();
    let mut manifest = manifest_of(&log);
    manifest.segments.all_mut().iter_mut().for_each(|segment| segment.columns_sha256 = None);
    let key = SigningKey::load(&OsFs, &log.join("audit.key")).expect("the key");
    manifest.sign(&key).expect("signed");
    manifest.store(&OsFs, &LogPaths::new(&log).manifest()).expect("stored");
    column_files(&log).iter().for_each(|path| std::fs::remove_file(path).expect("removed"));
    // A crash between a removal's manifest and its files leaves some of no segment.
    let orphan = LogPaths::new(&log).columns(77);
    std::fs::write(&orphan, b"of no segment").expect("written");
    let reopened = open(some_options(&dir));
    assert!(!orphan.exists());
    settled(&reopened, &log);
    reopened.close().expect("closed");
    assert_eq!(column_files(&log).len(), manifest.segments.len());
    let asked = asked(&log, &mut Dice(29), 40);
    answers_are_the_same(&log, &asked, "made afterwards");
    assert!(checked(&log).passed());
    // All of it is older than an hour by the clock of the next start.
    let clock = Arc::new(auditctl::clock::ManualClock::new(Timestamp::from_micros(
        auditctl::clock::Clock::now(&auditctl::clock::SystemClock).micros() + 7_200_000_000,
    )));
    let reopened = open(Options {
        retention: Some(std::time::Duration::from_secs(3_600)),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        clock,
        ..some_options(&dir)
    });
    eventually("the old segments are removed with their columns", || {
        reopened.manifest().pruned.end() > 0
            && column_files(&log).len() == reopened.manifest().segments.len()
    });
    reopened.close().expect("closed");
}

#[test]
fn a_backup_carries_no_columns_and_a_restored_log_gets_its_own() {
    let home = crate::backups::Home::new();
    home.record(900);
    let log = open(home.options());
    settled(&log, &home.log_dir());
    log.close().expect("closed");
    let made = home.back_up();
    let names = |dir: &Path| -> Vec<String> {
        crate::backups::names(dir).into_iter().filter(|name| name.contains(".columns")).collect()
    };
    assert!(!names(&home.log_dir()).is_empty());
    home.record(300);
    // Those that are there when the restore begins are of other segments by then.
    home.restore_as(&crate::backups::wanted()).expect("restored");
    let log = open(home.options());
    settled(&log, &home.log_dir());
    log.close().expect("closed");
    let asked = asked(&home.log_dir(), &mut Dice(53), 40);
    answers_are_the_same(&home.log_dir(), &asked, "restored");
    assert!(checked(&home.log_dir()).passed());
    let packed = std::fs::read(&made.archive).expect("read");
    assert!(memchr::memmem::find(&packed, b"AUDCOLS1").is_none());
}

#[test]
fn answers_are_right_while_segments_are_sealed_and_get_their_columns() {
    let dir = Dir::new();
    let log = open(Options { max_segment_size: 256 << 10, ..options(&dir) });
    let request = Request { actor: vec!["alice".to_owned()], count: true, ..Request::default() };
    let query = request.resolve(Timestamp::default()).expect("a query");
    let filler = serde_json::json!({ "filler": "f".repeat(700) });
    let mut reader: Option<Reader> = None;
    let mut alice = 0;
    for round in 0..40 {
        let actors = (0..100).map(|n| if (n + round) % 3 == 0 { "alice" } else { "bob" });
        let receipts: Vec<_> = actors
            .map(|actor| {
                alice += u64::from(actor == "alice");
                let event = Event::new("login").actor(actor).details(&filler).expect("details");
                log.record(event).expect("taken")
            })
            .collect();
        receipts.into_iter().for_each(|receipt| assert!(receipt.wait_durable().is_ok()));
        let reader = match &mut reader {
            Some(reader) => {
                reader.refresh().expect("a look");
                reader
            }
            None => reader.insert(crate::columns::reader(&dir.log(), Bounds::default())),
        };
        assert_eq!(ask(reader, &request).found, Found::Count(alice), "round {round}");
        // Through the cache, which completes what it has.
        assert_eq!(log.query(&query).expect("cached").found, Found::Count(alice));
    }
    settled(&log, &dir.log());
    assert!(column_files(&dir.log()).len() > 5);
    assert_eq!(log.query(&query).expect("cached").found, Found::Count(alice));
    log.close().expect("closed");
}
