//! Whatever happens in whatever order: each acknowledged record is in the log, in a kept
//! copy, or `verify` says that it is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::read::verify::{Report, Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::write::key_replace::{ReplaceRequest, put_key_back, replace_key};
use auditctl::audit::write::repair::{Copy, Needs, apply, look};
use auditctl::audit::{AuditLog, Event, LogPaths, Options};
use auditctl::backup::{
    BackupCopy, BackupId, KnownLog, Level, LogChoice, Metadata, Policy, Remote, RemoteWish,
    RestoreRequest, Wish, apply as clean_up, inventory, plan,
};
use auditctl::clock::SystemClock;
use auditctl::fsio::OsFs;
use auditctl::store::LocalStore;
use flate2::read::MultiGzDecoder;

use crate::backups::{Home, names, read, wanted};
use crate::disk::Random;

/// One log's life.
struct Life {
    home: Home,
    random: Random,
    /// What was acknowledged, as it was stored, by seq and epoch's turn.
    acknowledged: BTreeSet<String>,
    events: u64,
    /// What the host is called now.
    host: String,
    /// How many backups were sent, under whichever name.
    sent: BTreeSet<BackupId>,
    told: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let (random, told) = (Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), Vec::new());
        let (acknowledged, sent) = (BTreeSet::new(), BTreeSet::new());
        let (home, host) = (Home::new(), "db-1".to_owned());
        std::fs::create_dir(home.dir.path().join("elsewhere")).expect("made");
        let mut life = Self { home, random, acknowledged, events: 0, host, sent, told };
        life.record();
        life
    }

    fn options(&self) -> Options {
        Options { max_segment_size: 4 << 10, ..self.home.options() }
    }

    fn step(&mut self) {
        let step = self.random.below(25);
        match step {
            0..=3 => self.record(),
            4..=6 => self.back_up(),
            7..=9 => self.damage(),
            10 => self.repair(),
            11 => self.repair_from_one(),
            12 => self.restore(Wish::Latest),
            13 => self.restore_older(),
            14 => self.clean_up(),
            15 => self.rotate(),
            16 => self.lose_key(),
            17 => self.replace_key(),
            18 => self.put_key_back(),
            19 => self.lose_leaves(),
            20 => self.rename_host(),
            21 => self.send(),
            22 => self.repair_from_elsewhere(),
            _ => self.accept(),
        }
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    fn record(&mut self) {
        let Ok(log) = AuditLog::open(self.options()) else {
            return self.tell("record: does not open".to_owned());
        };
        let count = 1 + self.random.below(40);
        let acknowledged = self.fill(&log, count);
        log.close().expect("closed");
        self.note(&acknowledged);
        self.tell(format!("record {count}"));
    }

    /// The seqs that were acknowledged.
    fn fill(&mut self, log: &AuditLog, count: usize) -> BTreeSet<u64> {
        let mut receipts = Vec::new();
        for _ in 0..count {
            self.events += 1;
            let details = serde_json::json!({ "n": self.events });
            let event = Event::new("login").details(&details).expect("details");
            receipts.push(log.record(event).expect("recorded"));
        }
        receipts.into_iter().map(|receipt| receipt.wait_durable().expect("durable")).collect()
    }

    /// The lines of what was just acknowledged: nobody has damaged them yet.
    fn note(&mut self, seqs: &BTreeSet<u64>) {
        let here = lines_below(&self.home.log_dir(), false).into_iter();
        let is_one = |line: &String| {
            let value = serde_json::from_str::<serde_json::Value>(line).ok();
            let seq = value.as_ref().and_then(|value| value["seq"].as_u64());
            line.contains("\"login\"") && seq.is_some_and(|seq| seqs.contains(&seq))
        };
        self.acknowledged.extend(here.filter(is_one));
    }

    fn back_up(&mut self) {
        let made = self.home.try_back_up().map(|made| made.metadata.range.tree_size);
        self.tell(format!("backup: {:?}", made.map_err(|error| error.to_string())));
        if self.random.below(2) == 0 {
            self.send();
        }
    }

    fn damage(&mut self) {
        let dir = self.home.log_dir();
        let names: Vec<String> = names(&dir)
            .into_iter()
            .filter(|name| {
                let is_segment = name.ends_with(".log") || name.ends_with(".log.gz");
                name.starts_with("audit.") && is_segment || name == "audit.manifest.json"
            })
            .collect();
        if names.is_empty() {
            return;
        }
        let name = names[self.random.below(names.len())].clone();
        let path = dir.join(&name);
        let mut bytes = read(&path);
        let how = self.random.below(4);
        match how {
            _ if bytes.is_empty() => return,
            0 => {
                let at = self.random.below(bytes.len());
                bytes[at] ^= 1 << self.random.below(8);
            }
            1 => bytes.truncate(self.random.below(bytes.len())),
            2 => {
                let at = self.random.below(bytes.len());
                let end = (at + 40).min(bytes.len());
                bytes[at..end].fill(0);
            }
            _ => {
                std::fs::remove_file(&path).expect("removed");
                return self.tell(format!("removed {name}"));
            }
        }
        std::fs::write(&path, bytes).expect("written");
        self.tell(format!("damaged {name} ({how})"));
    }

    /// The backups whose metadata can be read.
    fn made(&self) -> Vec<BackupId> {
        let contents = self.home.backups().contents();
        let found = contents.map(|contents| contents.backups).unwrap_or_default();
        found.into_iter().filter_map(|entry| Some(entry.metadata.ok()?.id)).collect()
    }

    /// One of the backups.
    fn one(&mut self) -> Option<BackupId> {
        let made = self.made();
        let at = (!made.is_empty()).then(|| self.random.below(made.len()))?;
        made.get(at).copied()
    }

    fn repair(&mut self) {
        let made = self.made();
        self.repair_from(made);
    }

    /// A piece at a time: what this copy does not hold, a later one may.
    fn repair_from_one(&mut self) {
        let one = self.one();
        self.repair_from(one);
    }

    fn repair_from(&mut self, from: impl IntoIterator<Item = BackupId>) {
        let dir = self.home.backups();
        let copies: Vec<BackupCopy> = from
            .into_iter()
            .filter_map(|id| BackupCopy::open(&dir, &Wish::Id(id), None, &[], &Unwatched).ok())
            .collect();
        let copies: Vec<&dyn Copy> = copies.iter().map(|copy| copy as &dyn Copy).collect();
        self.repair_by(&copies);
    }

    fn repair_by(&mut self, copies: &[&dyn Copy]) {
        let key = SigningKey::load(&OsFs, &self.home.log_dir().join("audit.key")).ok();
        let needs = Needs {
            fs: self.home.fs.clone(),
            clock: Arc::new(SystemClock),
            dir: self.home.log_dir(),
            key: key.as_ref().map(|key| key.verifier().clone()),
            copies,
            report: None,
        };
        let repair = match look(&needs, &Unwatched) {
            Ok(repair) => repair,
            Err(error) => return self.tell(format!("repair: {error}")),
        };
        let done = apply(&needs, &repair, key.as_ref()).expect("applied");
        let what = if copies.len() == 1 { "repaired from one" } else { "repaired" };
        self.tell(format!("{what} {:?}, left {:?}", done.files.len(), repair.left));
        if let Ok(log) = AuditLog::open(self.options()) {
            log.record_repaired(done).wait_durable().expect("recorded");
            log.close().expect("closed");
        }
    }

    fn restore(&mut self, wish: Wish) {
        let what = if wish == Wish::Latest { "restore" } else { "restore-older" };
        let request = RestoreRequest { wish, ..wanted() };
        let outcome = self.home.restore_as(&request);
        self.tell(format!("{what}: {:?}", outcome.map(|outcome| outcome.plan.relation)));
    }

    fn restore_older(&mut self) {
        if let Some(one) = self.one() {
            self.restore(Wish::Id(one));
        }
    }

    fn rotate(&mut self) {
        let Ok(log) = AuditLog::open(self.options()) else {
            return self.tell("rotate: does not open".to_owned());
        };
        let rotated = log.rotate_key(&RotateRequest::default());
        log.close().expect("closed");
        self.tell(format!("rotated: {:?}", rotated.map(|rotated| rotated.epoch)));
    }

    /// It is gone from the host. Somebody may have kept it.
    fn lose_key(&mut self) {
        let (key, kept) = (self.home.log_dir().join("audit.key"), self.kept_key());
        if std::fs::rename(&key, kept).is_ok() {
            self.tell("lost the key".to_owned());
        }
    }

    fn kept_key(&self) -> PathBuf {
        self.home.dir.path().join("kept.key")
    }

    fn replace_key(&mut self) {
        self.lose_key();
        let request = ReplaceRequest { reason: "lost".to_owned(), uid: 0, user: None };
        let replaced = replace_key(&self.options(), &request);
        let replaced = replaced.map(|done| done.record.epoch).map_err(|error| error.to_string());
        let what = if replaced.is_ok() { "replaced" } else { "replace" };
        self.tell(format!("{what}: {replaced:?}"));
    }

    fn put_key_back(&mut self) {
        let Ok(key) = SigningKey::load(&OsFs, &self.kept_key()) else { return };
        let back = put_key_back(&OsFs, &LogPaths::new(&self.home.log_dir()), None, &key);
        self.tell(format!("put back: {:?}", back.map_err(|error| error.to_string())));
    }

    /// Removed, emptied, cut, or of another moment.
    fn lose_leaves(&mut self) {
        let path = self.home.log_dir().join("audit.leaves");
        let Ok(bytes) = std::fs::read(&path) else { return };
        let how = self.random.below(4);
        match how {
            0 => std::fs::remove_file(&path).expect("removed"),
            1 => std::fs::write(&path, b"").expect("emptied"),
            2 => std::fs::write(&path, &bytes[..self.random.below(bytes.len() + 1)]).expect("cut"),
            _ if bytes.is_empty() => return,
            _ => {
                let mut bytes = bytes;
                let at = self.random.below(bytes.len());
                bytes[at] ^= 1 << self.random.below(8);
                std::fs::write(&path, bytes).expect("written");
            }
        }
        self.tell(format!("leaves lost ({how})"));
    }

    fn rename_host(&mut self) {
        self.host = format!("db-{}", self.random.below(1000));
        self.tell(format!("renamed to {}", self.host));
    }

    /// The log's backups elsewhere, under whichever name the host had.
    fn elsewhere(&self, log_id: &str) -> Remote {
        let store = LocalStore::new(self.home.dir.path().join("elsewhere"));
        Remote::of_log(Arc::new(store), &self.host, log_id)
    }

    /// One of the backups goes elsewhere, where hosts have folders by their names.
    fn send(&mut self) {
        let Some(id) = self.one() else { return };
        let dir = self.home.backups();
        let Ok(metadata) = dir.metadata(id) else { return };
        let remote = self.elsewhere(&metadata.log.id);
        let sent = remote.upload(&dir, &metadata, None, &SystemClock, &Unwatched);
        if sent.is_ok() {
            self.sent.insert(id);
        }
        self.tell(format!("sent {id}: {:?}", sent.map(|sent| sent.url)));
        self.found_elsewhere(&metadata);
    }

    /// What was sent is found, whatever the host is called by now.
    fn found_elsewhere(&self, of: &Metadata) {
        let known = KnownLog { live: None, keys: None };
        let now = auditctl::clock::Clock::now(&SystemClock);
        let remote = self.elsewhere(&of.log.id);
        let listed = remote.inventory(&self.home.backups(), Level::Listed, &known, now, &Unwatched);
        let found: BTreeSet<BackupId> =
            listed.expect("a list").backups.iter().map(|listed| listed.id).collect();
        assert_eq!(found, self.sent, "{:#?}", self.told);
    }

    /// From the one that reaches furthest of those that were sent.
    fn repair_from_elsewhere(&mut self) {
        let Ok(report) = self.report() else { return };
        let (dir, remote) = (self.home.backups(), self.elsewhere(&report.log_id));
        let of = LogChoice { log: Some(report.log_id), keys: None };
        let fetched = remote.fetch(&RemoteWish::Latest, &of, &dir, &Unwatched);
        let Ok(fetched) = fetched else { return self.tell("elsewhere is nothing".to_owned()) };
        let wish = Wish::Path(fetched.archive().to_path_buf());
        match BackupCopy::open(&dir, &wish, None, &[], &Unwatched) {
            Ok(copy) => self.repair_by(&[&copy]),
            Err(error) => self.tell(format!("elsewhere: {error}")),
        }
        self.tell(format!("fetched {}", fetched.url));
    }

    fn clean_up(&mut self) {
        let (fs, dir) = (&self.home.fs, self.home.backups());
        let live = auditctl::audit::read::snapshot::Snapshot::take(fs, &self.home.log_dir()).ok();
        let known = KnownLog { keys: live.as_ref().map(|live| live.keys.clone()), live };
        let now = auditctl::clock::Clock::now(&SystemClock);
        let Ok(listed) = inventory(&dir, Level::Listed, &known, now, &Unwatched) else { return };
        let policy = Policy { last: Some(1), ..Policy::default() };
        let Ok(plan) = plan(&listed, &policy, known.live.as_ref(), now) else { return };
        let count = plan.removals().count();
        let done = clean_up(&dir, &plan, &mut |_| Ok(()), &mut |_, _| {});
        self.tell(format!("cleanup of {count}: {:?}", done.is_ok()));
    }

    fn accept(&mut self) {
        let options = Options { accept_corruption: true, ..self.options() };
        let opened = AuditLog::open(options);
        self.tell(format!(
            "accepted: {:?}",
            opened.as_ref().map(|_| ()).map_err(ToString::to_string)
        ));
        if let Ok(log) = opened {
            log.close().expect("closed");
        }
    }

    fn report(&self) -> Result<Report, String> {
        let request = Request::default();
        let report = verify(&self.home.fs, &self.home.log_dir(), &request, &Unwatched);
        report.map(|(report, _)| report).map_err(|error| error.to_string())
    }

    /// What was acknowledged and is nowhere, `verify` names; from then on it is known to
    /// be lost.
    fn check(&mut self) {
        let kept = lines_below(self.home.dir.path(), true);
        let lost: Vec<String> =
            self.acknowledged.iter().filter(|line| !kept.contains(*line)).cloned().collect();
        if lost.is_empty() {
            return;
        }
        let report = self.report().unwrap_or_else(|error| panic!("{error}\n{:#?}", self.told));
        // Where not even the log's name can be told any more, nothing at all is proven, and
        // that is said.
        let nothing_is_proven = report.tree_size == 0 && !report.passed();
        for line in lost {
            let seq = seq_of(&line);
            let found =
                report.findings.iter().filter_map(|found| found.first_seq.zip(found.end_seq));
            let given_up = report.holes.iter().map(|hole| (hole.first_seq, hole.end_seq));
            let mut named = found.chain(given_up);
            let is_named =
                nothing_is_proven || named.any(|(first, end)| (first..end).contains(&seq));
            assert!(
                is_named,
                "record {seq} is nowhere, and verify does not say so: {:#?}\n{line}\n{:#?}",
                report.findings, self.told
            );
            self.acknowledged.remove(&line);
        }
    }
}

fn seq_of(line: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(line).expect("a record");
    value["seq"].as_u64().expect("a seq")
}

/// Every line of every file of records; of damaged ones what can be read.
fn lines_below(dir: &Path, deep: bool) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let mut folders: Vec<PathBuf> = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                if deep {
                    folders.push(path);
                }
            } else if name.ends_with(".log")
                || name.ends_with(".gz")
                || deep && name.contains(".log")
            {
                lines.extend(readable(&read(&path)));
            }
        }
    }
    lines
}

fn readable(bytes: &[u8]) -> Vec<String> {
    let mut text = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut at = 0;
        // Behind a damaged member there may be good ones.
        while at < bytes.len() {
            let mut member = Vec::new();
            let _ = MultiGzDecoder::new(&bytes[at..]).read_to_end(&mut member);
            text.extend(member);
            let magic = [0x1f, 0x8b, 8, 0];
            match bytes[at + 1..].windows(4).position(|window| window == magic) {
                Some(next) => at += 1 + next,
                None => break,
            }
        }
    } else {
        text = bytes.to_vec();
    }
    let whole =
        text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    whole.filter_map(|line| String::from_utf8(line.to_vec()).ok()).collect()
}

/// B: 500 walks; `BAD_DAYS` makes it more or fewer, `BAD_DAYS_SEED` another one.
#[test]
fn whatever_happens_no_acknowledged_record_is_lost_without_a_word() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (walks, seed) = (number("BAD_DAYS", 500), number("BAD_DAYS_SEED", 1));
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for walk in 0..walks {
        let mut life = Life::new(seed * 1_000_003 + walk);
        let whole = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..10 {
                life.step();
                life.check();
            }
        }));
        // One does not hide the others.
        if whole.is_err() {
            failed.push((walk, life.told.clone()));
        }
        for told in &life.told {
            let word = told.split([' ', ':']).next().unwrap_or_default().to_owned();
            *seen.entry(word).or_default() += 1;
        }
    }
    let all = [
        "record",
        "backup",
        "damaged",
        "removed",
        "repaired",
        "restore",
        "restore-older",
        "cleanup",
        "accepted",
        "rotated",
        "lost",
        "replaced",
        "put",
        "leaves",
        "renamed",
        "sent",
        "fetched",
    ];
    assert!(failed.is_empty(), "{} of {walks}: {failed:#?}", failed.len());
    if walks >= 100 {
        let too_few = |word: &&&str| seen.get(**word).is_none_or(|count| *count < walks / 50);
        let missing: Vec<_> = all.iter().filter(too_few).collect();
        assert!(missing.is_empty(), "{missing:?} of {seen:?}");
    }
}
