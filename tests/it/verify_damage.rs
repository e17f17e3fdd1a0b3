//! P4: whatever is changed in a log is found, and placed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use auditctl::audit::files::gzip::Packer;
use auditctl::audit::files::manifest::ManifestError;
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::read::error::ReadError;
use auditctl::audit::read::verify::{
    Anchor, Completeness, Finding, Integrity, Kind, Report, Request, verify,
};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::{Event, Options};

use crate::backups::{Home, all_compressed};
use crate::disk::Random;
use crate::support::open;

/// The log's files as they were.
type Files = BTreeMap<PathBuf, Vec<u8>>;

struct Log {
    home: Home,
    files: Files,
    /// A checkpoint from earlier in its life.
    earlier: Vec<u8>,
}

impl Log {
    /// Several compressed segments and an active one with events in it, closed.
    fn new() -> Self {
        let home = Home::new();
        home.record(110);
        let earlier = read(&home.log_dir().join("audit.checkpoint"));
        home.record(110);
        Self::of(home, earlier)
    }

    fn of(home: Home, earlier: Vec<u8>) -> Self {
        let dir = home.log_dir();
        let mut files = Files::new();
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let name = entry.expect("an entry").file_name().into_string().expect("utf-8");
            let kept =
                ["audit.manifest.json", "audit.checkpoint", "audit.head", "audit.pub", "audit.log"];
            if kept.contains(&name.as_str()) || name.ends_with(".log.gz") {
                files.insert(dir.join(&name), read(&dir.join(&name)));
            }
        }
        Self { home, files, earlier }
    }

    fn verify(&self, request: &Request) -> Report {
        self.judge(request).expect("a report")
    }

    /// `None`: a changed digit makes the manifest one of a newer version, which is refused.
    fn judge(&self, request: &Request) -> Option<Report> {
        match verify(&self.home.fs, &self.home.log_dir(), request, &Unwatched) {
            Ok((report, _)) => Some(report),
            Err(ReadError::Manifest(ManifestError::Newer { .. })) => None,
            Err(error) => panic!("a report: {error}"),
        }
    }

    fn put_back(&self) {
        for (path, bytes) in &self.files {
            if std::fs::read(path).ok().as_ref() != Some(bytes) {
                std::fs::write(path, bytes).expect("put back");
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.log_dir().join(name)
    }

    fn sealed(&self) -> Vec<PathBuf> {
        let is_sealed = |path: &&PathBuf| path.extension().is_some_and(|end| end == "gz");
        self.files.keys().filter(is_sealed).cloned().collect()
    }

    /// Everything that a finding has to touch: the records of a sealed file.
    fn records_of(&self, path: &Path) -> (u64, u64) {
        let lines = unzip(&self.files[path]);
        let first: u64 = file_name(path)[6..26].parse().expect("a seq");
        (first, first + lines.lines().count() as u64)
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn unzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text).expect("gzip");
    text
}

fn touches(report: &Report, first: u64, end: u64) -> bool {
    report.findings.iter().any(|finding| match (finding.first_seq, finding.end_seq) {
        (Some(from), Some(to)) => from < end && to.max(from + 1) > first,
        _ => false,
    })
}

/// Changes lines, as somebody would who edits the text.
fn edit(lines: &mut Vec<String>, random: &mut Random) -> &'static str {
    let at = random.below(lines.len() - 1);
    match random.below(5) {
        0 => {
            lines.remove(at);
            "deleted line"
        }
        1 => {
            lines.insert(at, lines[at].clone());
            "duplicated line"
        }
        2 => {
            lines.swap(at, at + 1);
            "swapped lines"
        }
        3 => {
            lines.insert(at, r#"{"seq":9,"event_type":"forged"}"#.to_owned());
            "inserted line"
        }
        _ => {
            lines[at] = lines[at].replace("2026", "2025").replace("user", "fool");
            "altered line"
        }
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Changes one thing; what it was, and the records that a finding has to touch.
fn mutate(log: &Log, random: &mut Random) -> (String, Option<(u64, u64)>) {
    let names: Vec<PathBuf> = log.files.keys().cloned().collect();
    let sealed = log.sealed();
    let one = sealed[random.below(sealed.len())].clone();
    let within = log.records_of(&one);
    match random.below(12) {
        0..=2 => {
            let path = &names[random.below(names.len())];
            let mut bytes = log.files[path].clone();
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            std::fs::write(path, bytes).expect("written");
            let place = sealed.contains(path).then(|| log.records_of(path));
            (format!("flipped bit at byte {at} of {}", file_name(path)), place)
        }
        3 | 4 => {
            let path = &names[random.below(names.len())];
            let to = random.below(log.files[path].len());
            std::fs::write(path, &log.files[path][..to]).expect("written");
            let place = sealed.contains(path).then(|| log.records_of(path));
            (format!("{} cut to {to} bytes", file_name(path)), place)
        }
        5 => {
            let path = log.path("audit.log");
            let text = String::from_utf8(log.files[&path].clone()).expect("utf-8");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let what = edit(&mut lines, random);
            std::fs::write(&path, joined(&lines)).expect("written");
            (format!("{what} in audit.log"), None)
        }
        6 | 7 => {
            let mut lines: Vec<String> =
                unzip(&log.files[&one]).lines().map(str::to_owned).collect();
            let what = edit(&mut lines, random);
            let member = Packer::new(6).member(joined(&lines).as_bytes()).expect("packed");
            std::fs::write(&one, member).expect("written");
            (format!("{what} in {}", file_name(&one)), Some(within))
        }
        8 => {
            let other = sealed[random.below(sealed.len())].clone();
            if other == one {
                return mutate(log, random);
            }
            std::fs::write(&one, &log.files[&other]).expect("written");
            std::fs::write(&other, &log.files[&one]).expect("written");
            (format!("{} and {} swapped", file_name(&one), file_name(&other)), Some(within))
        }
        9 => {
            let path = log.path("audit.manifest.json");
            let mut manifest: serde_json::Value =
                serde_json::from_slice(&log.files[&path]).expect("json");
            let segments = manifest["segments"].as_array_mut().expect("segments");
            let at = random.below(segments.len());
            let key = ["records", "first_seq", "raw_bytes", "stored_bytes"][random.below(4)];
            let what = if random.below(2) == 0 {
                segments.remove(at);
                "a segment removed from"
            } else {
                let value = segments[at][key].as_u64().expect("a number");
                segments[at][key] = (value + 1).into();
                "a number changed in"
            };
            let text = format!("{}\n", serde_json::to_string(&manifest).expect("json"));
            std::fs::write(&path, text).expect("written");
            (format!("{what} the manifest"), None)
        }
        10 => {
            std::fs::write(log.path("audit.checkpoint"), &log.earlier).expect("written");
            ("an older checkpoint".to_owned(), None)
        }
        _ => {
            let at = random.below(sealed.len() - 1);
            for path in &sealed[at..at + 2] {
                std::fs::remove_file(path).expect("removed");
            }
            (format!("two segments removed from {at} on"), Some(log.records_of(&sealed[at + 1])))
        }
    }
}

#[test]
fn p4_any_single_change_is_found_and_placed() {
    std::thread::scope(|scope| {
        for seed in [0x9e37_79b9_7f4a_7c15, 0x1234_5678_9abc_def1] {
            scope.spawn(move || changes_are_found(seed, 5_000));
        }
    });
}

fn changes_are_found(seed: u64, rounds: usize) {
    let log = Log::new();
    assert!(log.sealed().len() >= 3, "{:?}", log.sealed());
    let untouched = log.verify(&Request::default());
    assert!(untouched.passed(), "{:?}", untouched.findings);
    let mut random = Random(seed);
    for round in 0..rounds {
        let (what, place) = mutate(&log, &mut random);
        let Some(report) = log.judge(&Request::default()) else {
            log.put_back();
            continue;
        };
        assert!(!report.findings.is_empty(), "seed {seed}, round {round}: {what}");
        // Bytes of a gzip header hold no record: with all records proven they are told.
        let of_header = |finding: &Finding| finding.kind == Kind::StoredBytes;
        let only_header = report.findings.iter().all(of_header);
        assert_eq!(report.passed(), only_header, "seed {seed}, round {round}: {what}");
        if let Some((first, end)) = place {
            assert!(
                touches(&report, first, end),
                "seed {seed}, round {round}: {what}: {:?} touch no record of {first}..{end}",
                report.findings
            );
        }
        log.put_back();
    }
    let mended = log.verify(&Request::default());
    assert!(mended.passed(), "{:?}", mended.findings);
}

#[test]
fn p4_quick_finds_what_is_missing_cut_or_has_another_checksum() {
    let log = Log::new();
    let quick = Request { quick: true, ..Request::default() };
    assert!(log.verify(&quick).passed());
    let mut random = Random(77);
    for round in 0..300 {
        let (what, _) = mutate(&log, &mut random);
        let report = log.judge(&quick);
        assert!(report.is_none_or(|it| !it.findings.is_empty()), "round {round}: {what}");
        log.put_back();
    }
}

/// One segment of several blocks, compressed.
fn of_blocks() -> Log {
    let home = Home::new();
    let options = Options { max_segment_size: 5 << 20, ..home.options() };
    let log = open(options);
    let filler = "x".repeat(4_000);
    let mut last = None;
    for n in 0..1_400 {
        let event = Event::new("bulk").actor(format!("user{n}")).target(format!("t{n}"));
        let details = format!(r#"{{"n":{n},"filler":"{filler}"}}"#);
        last = Some(log.record(event.details_json(&details).expect("json")).expect("queued"));
    }
    last.expect("many").wait_durable().expect("durable");
    all_compressed(&log);
    assert_eq!(log.manifest().segments.len(), 1);
    log.close().expect("closed");
    Log::of(home, Vec::new())
}

#[test]
fn p4_damage_is_placed_to_its_block_and_all_of_it_is_told() {
    let log = of_blocks();
    let untouched = log.verify(&Request::default());
    assert!(untouched.passed(), "{:?}", untouched.findings);
    let path = log.sealed()[0].clone();
    let bytes = log.files[&path].clone();
    let manifest: serde_json::Value =
        serde_json::from_slice(&log.files[&log.path("audit.manifest.json")]).expect("json");
    let blocks = manifest["segments"][0]["blocks"].as_array().expect("blocks").clone();
    assert!(blocks.len() >= 4, "{}", blocks.len());
    let number = |block: usize, key: &str| blocks[block][key].as_u64().expect("a number");
    let range = |block: usize| {
        let first = number(block, "first_seq");
        (first, first + number(block, "records"))
    };
    let member = |block: usize| {
        let from = number(block, "offset") as usize;
        bytes[from..from + number(block, "stored_bytes") as usize].to_vec()
    };

    // Two blocks with a flipped byte: both are named, no other.
    let mut bad = bytes.clone();
    for block in [1, 3] {
        let at = (number(block, "offset") + number(block, "stored_bytes") / 2) as usize;
        bad[at] ^= 4;
    }
    std::fs::write(&path, &bad).expect("written");
    let report = log.verify(&Request::default());
    assert_eq!(report.integrity, Integrity::Damaged);
    let named: Vec<Option<u64>> = report.findings.iter().map(|finding| finding.block).collect();
    assert_eq!(named, [Some(1), Some(3)], "{:?}", report.findings);
    assert!(report.findings.iter().all(|finding| finding.kind == Kind::Altered));
    let places: Vec<_> = report.findings.iter().map(|f| (f.first_seq, f.end_seq)).collect();
    let expected = [range(1), range(3)].map(|(first, end)| (Some(first), Some(end)));
    assert_eq!(places, expected);

    // One line of a block altered, and packed again with the same length.
    let text = unzip(&member(2)).replacen("user7", "fool7", 1);
    let forged = Packer::new(6).member(text.as_bytes()).expect("packed");
    let mut parts: Vec<Vec<u8>> = (0..blocks.len()).map(member).collect();
    parts[2] = forged;
    std::fs::write(&path, parts.concat()).expect("written");
    let report = log.verify(&Request::default());
    assert_eq!(report.integrity, Integrity::Damaged);
    let (first, end) = range(2);
    let narrow = report.findings.iter().find(|f| f.block == Some(2)).expect("block 2");
    assert_eq!(narrow.kind, Kind::Altered, "{:?}", report.findings);
    assert!(narrow.first_seq >= Some(first) && narrow.end_seq <= Some(end));

    // Two members swapped: the records are all there, in another order.
    let swapped = [vec![member(0), member(2), member(1)], (3..blocks.len()).map(member).collect()];
    std::fs::write(&path, swapped.concat().concat()).expect("written");
    let report = log.verify(&Request::default());
    let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
    assert!(kinds.contains(&Kind::Reordered), "{:?}", report.findings);

    // One left out: missing; one twice: extra; the file cut: truncated.
    let without: Vec<Vec<u8>> = (0..blocks.len()).filter(|b| *b != 1).map(member).collect();
    std::fs::write(&path, without.concat()).expect("written");
    let report = log.verify(&Request::default());
    let missing = report.findings.iter().find(|f| f.kind == Kind::Missing).expect("missing");
    assert_eq!((missing.first_seq, missing.end_seq), (Some(range(1).0), Some(range(1).1)));
    let twice = [bytes.clone(), member(blocks.len() - 1)].concat();
    std::fs::write(&path, twice).expect("written");
    let report = log.verify(&Request::default());
    assert!(report.findings.iter().any(|f| f.kind == Kind::Extra), "{:?}", report.findings);
    let last = blocks.len() - 1;
    std::fs::write(&path, &bytes[..number(last, "offset") as usize]).expect("written");
    let report = log.verify(&Request::default());
    let cut = report.findings.iter().find(|f| f.kind == Kind::Truncated).expect("truncated");
    assert_eq!((cut.first_seq, cut.end_seq), (Some(range(last).0), Some(range(last).1)));
    log.put_back();
}

#[test]
fn a_manifest_that_lies_about_good_records_is_what_is_blamed() {
    let log = of_blocks();
    let path = log.path("audit.manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&log.files[&path]).expect("json");
    let hash = &mut manifest["segments"][0]["blocks"][1]["tree"]["hashes"][0];
    *hash = "00".repeat(32).into();
    let text = format!("{}\n", serde_json::to_string(&manifest).expect("json"));
    std::fs::write(&path, text).expect("written");
    let report = log.verify(&Request::default());
    assert!(!report.passed());
    assert!(
        report.findings.iter().all(|finding| finding.file == "audit.manifest.json"),
        "{:?}",
        report.findings
    );
    assert!(report.findings.iter().any(|finding| finding.block == Some(1)));

    // Without any manifest the records prove themselves, and it is said that it is gone.
    std::fs::remove_file(&path).expect("removed");
    let report = log.verify(&Request::default());
    assert_eq!(report.counts.records, report.tree_size, "{:?}", report.findings);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].file, "audit.manifest.json");
}

#[test]
fn a_log_signed_again_with_a_newer_key_is_told_by_its_first_record_and_by_the_key() {
    let log = Log::new();
    let own = auditctl::audit::keys::checkpoint::VerifierKey::load(
        &auditctl::fsio::OsFs,
        &log.path("audit.pub"),
    )
    .expect("the key");
    let newer = SigningKey::generate(own.name()).expect("a key");
    let note = String::from_utf8(log.files[&log.path("audit.checkpoint")].clone()).expect("utf-8");
    let text = format!("{}\n", note.split("\n\n").next().expect("a text"));
    let signed = newer.sign_note(text).expect("signed").to_string();
    std::fs::write(log.path("audit.checkpoint"), &signed).expect("written");
    let wrong = log.verify(&Request::default());
    assert_eq!(wrong.integrity, Integrity::Unproven);
    assert!(wrong.findings.iter().any(|f| f.kind == Kind::WrongKey), "{:?}", wrong.findings);

    std::fs::write(log.path("audit.pub"), format!("{}\n", newer.verifier())).expect("written");
    let beside = log.verify(&Request::default());
    assert!(!beside.passed());
    assert!(beside.findings.iter().any(|f| f.kind == Kind::WrongKey && f.first_seq == Some(0)));
    let given = log.verify(&Request { key: Some(own), ..Request::default() });
    assert!(!given.passed());
    assert_eq!(given.integrity, Integrity::Unproven);
}

#[test]
fn only_a_copy_elsewhere_tells_of_a_log_that_was_put_back_to_an_earlier_state() {
    let home = Home::new();
    home.record(40);
    let then = Log::of(home, Vec::new());
    let Log { home, files: earlier, .. } = then;
    home.record(40);
    let kept = read(&home.log_dir().join("audit.checkpoint"));
    let now = Log::of(home, Vec::new());
    let anchor = Anchor::parse("kept", &kept).expect("a checkpoint");
    let with = Request { anchors: vec![anchor.clone()], ..Request::default() };
    let good = now.verify(&with);
    assert_eq!(good.completeness, Completeness::Anchored, "{:?}", good.findings);
    assert_eq!(good.ranges.anchored.end_seq, anchor.size);

    // Put back whole: every file as it was.
    for path in now.files.keys() {
        std::fs::remove_file(path).expect("removed");
    }
    for (path, bytes) in &earlier {
        std::fs::write(path, bytes).expect("written");
    }
    let alone = now.verify(&Request::default());
    assert!(alone.passed(), "nothing here can tell: {:?}", alone.findings);
    assert_eq!(alone.completeness, Completeness::Signed);
    let told = now.verify(&with);
    assert!(!told.passed());
    assert_eq!(told.integrity, Integrity::Intact);
    assert_eq!(told.findings[0].kind, Kind::Truncated, "{:?}", told.findings);
    assert_eq!(told.findings[0].end_seq, Some(anchor.size));

    // And written on from there: another history.
    now.home.record(80);
    let told = now.verify(&with);
    assert_eq!(told.findings[0].kind, Kind::Diverged, "{:?}", told.findings);

    // Another log's checkpoint, and one whose signature was altered.
    let other = Home::new();
    other.record(1);
    let foreign = read(&other.log_dir().join("audit.checkpoint"));
    let foreign = Anchor::parse("other", &foreign).expect("a checkpoint");
    let told = now.verify(&Request { anchors: vec![foreign], ..Request::default() });
    assert_eq!(told.findings[0].kind, Kind::Diverged);
    let text = String::from_utf8(kept).expect("utf-8");
    let size = format!("\n{}\n", anchor.size);
    let forged = text.replacen(&size, &format!("\n{}\n", anchor.size - 1), 1);
    let forged = Anchor::parse("forged", forged.as_bytes()).expect("a checkpoint");
    let told = now.verify(&Request { anchors: vec![forged], ..Request::default() });
    assert_eq!(told.findings[0].kind, Kind::BadSignature);
}

#[test]
fn an_unclean_stop_and_a_missing_checkpoint_are_no_pass() {
    let log = Log::new();
    let path = log.path("audit.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("a file");
    file.write_all(br#"{"seq":"#).expect("written");
    let report = log.verify(&Request::default());
    assert_eq!(report.integrity, Integrity::Intact, "{:?}", report.findings);
    assert_eq!(report.completeness, Completeness::Incomplete);
    assert_eq!(report.findings[0].kind, Kind::Extra, "behind a signed close");
    log.put_back();

    std::fs::remove_file(log.path("audit.checkpoint")).expect("removed");
    let report = log.verify(&Request::default());
    assert!(!report.passed());
    assert_eq!(report.integrity, Integrity::Unproven);
    assert_eq!(report.findings[0].kind, Kind::BadSignature);
}
