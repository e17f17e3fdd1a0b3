//! What may be removed: how old the oldest segments are, and what is proven to be in
//! a backup. Runs in a thread of its own, reads much, changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::files::manifest::{BackupsNoted, Manifest, Segment};
use crate::audit::files::roots::{lines, lines_of, open_segment, roots_at};
use crate::audit::keys::histories::{Contradiction, OwnHistory};
use crate::audit::keys::{Keyring, load_keyring};
use crate::audit::paths::LogPaths;
use crate::audit::record;
use crate::audit::record::Record;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::state::status::{RetentionWait, StatusPage, Word};
use crate::audit::state::trouble::Trouble;
use crate::audit::write::keeper::Keeper;
use crate::audit::write::options::{BackupClaim, BackupsHold, Options, RetentionRule};
use crate::audit::write::own::{BACKUP_MADE, BACKUP_REMOVED, PRUNED};
use crate::clock::Timestamp;
use crate::fsio::{FileReader, OpenMode};

/// By first seq: when the newest record of a segment was accepted.
pub(super) type Times = BTreeMap<u64, Timestamp>;

/// What the thread is asked.
pub(super) struct Question {
    pub(super) options: Arc<Options>,
    pub(super) paths: LogPaths,
    pub(super) page: Arc<StatusPage>,
    pub(super) keeper: Keeper,
    /// When it is asked.
    pub(super) now: Timestamp,
    /// What was accepted before this is old; `None`: nothing is to be removed.
    pub(super) limit: Option<Timestamp>,
    /// No checkpoint may end inside what is removed.
    pub(super) signed: u64,
    pub(super) times: Times,
    pub(super) ending: Arc<AtomicBool>,
}

/// What it found.
pub(super) struct Answer {
    pub(super) asked_at: Timestamp,
    /// Whether it was asked what may go.
    pub(super) asked: bool,
    pub(super) times: Times,
    pub(super) backups: BackupsNoted,
    /// A backup of another history of the log.
    pub(super) contradiction: Option<Contradiction>,
    /// `None` when it was not asked, or could not be told.
    pub(super) may_go: Option<MayGo>,
}

/// The oldest segments that may go.
#[derive(Default)]
pub(super) struct MayGo {
    pub(super) segments: usize,
    pub(super) held_by: Vec<String>,
    /// Why more that are old have to stay, and how many.
    pub(super) waits: Option<(RetentionWait, usize)>,
}

impl MayGo {
    fn none(why: RetentionWait, waiting: usize) -> Self {
        Self { waits: (waiting > 0).then_some((why, waiting)), ..Self::default() }
    }
}

impl Question {
    pub(super) fn answer(mut self) -> Answer {
        let manifest = self.keeper.manifest();
        let contradiction = self.contradiction();
        let mut backups = manifest.backups.clone();
        let may_go = self.limit.and_then(|limit| {
            let looked = self.may_go(&manifest, limit, &mut backups);
            looked.map_err(|error| tracing::warn!(code = Trouble::RetentionWaits.code(), %error, "what may be removed cannot be told")).ok()
        });
        let may_go = may_go.filter(|_| self.goes_on());
        let begin = manifest.pruned.end();
        self.times.retain(|first_seq, _| *first_seq >= begin);
        let (asked_at, asked) = (self.now, self.limit.is_some());
        Answer { asked_at, asked, times: self.times, backups, contradiction, may_go }
    }

    fn goes_on(&self) -> bool {
        !self.ending.load(Ordering::Relaxed)
    }

    fn may_go(
        &mut self,
        manifest: &Manifest,
        limit: Timestamp,
        backups: &mut BackupsNoted,
    ) -> io::Result<MayGo> {
        let mut old = 0;
        let mut damaged = false;
        let signed = self.signed;
        for segment in manifest.segments.iter().take_while(|s| s.end_seq() <= signed) {
            match self.newest(segment)? {
                Some(newest) if newest < limit => old += 1,
                Some(_) => break,
                None => {
                    damaged = true;
                    break;
                }
            }
        }
        let mut may_go = match old {
            0 => MayGo::default(),
            _ => {
                let old: Vec<&Segment> = manifest.segments.iter().take(old).collect();
                self.backed_up(manifest, &old, backups)?
            }
        };
        if damaged && may_go.waits.is_none() {
            may_go.waits = Some((RetentionWait::Damaged, 1));
        }
        Ok(may_go)
    }

    /// When the segment's newest record was accepted; `None` when its lines are not
    /// those that were recorded.
    fn newest(&mut self, segment: &Segment) -> io::Result<Option<Timestamp>> {
        if let Some(known) = self.times.get(&segment.first_seq) {
            return Ok(Some(*known));
        }
        if !segment.is_stored() {
            // There is nothing of it that could be lost.
            return Ok(Some(segment.max_timestamp));
        }
        let file = match open_segment(&*self.options.fs, &self.paths, segment) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut newest: Option<Timestamp> = None;
        for block in segment.blocks.iter().filter(|block| !block.is_hole()) {
            if !self.goes_on() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let Some(raw) = lines_of(&*file, segment, block)? else { return Ok(None) };
            for line in lines(&raw) {
                let Some((_, accepted)) = record::peek_times(line) else { return Ok(None) };
                newest = newest.max(Some(accepted));
            }
        }
        if let Some(newest) = newest {
            self.times.insert(segment.first_seq, newest);
        }
        Ok(newest)
    }

    /// Of the old segments, those from the first on that backups hold.
    fn backed_up(
        &self,
        manifest: &Manifest,
        old: &[&Segment],
        backups: &mut BackupsNoted,
    ) -> io::Result<MayGo> {
        match self.options.retention_rule {
            RetentionRule::OnlyWhatABackupHolds => {}
            RetentionRule::RemovesWithoutBackup => {
                return Ok(MayGo { segments: old.len(), ..MayGo::default() });
            }
        }
        let Some(holder) = &self.options.backups else {
            return Ok(MayGo::none(RetentionWait::NobodyToAsk, old.len()));
        };
        let keys = self.keys();
        let wanted = match (old.first(), old.last()) {
            (Some(first), Some(last)) => first.first_seq..last.end_seq(),
            _ => 0..0,
        };
        let claims = match &keys {
            Some(keys) => holder.claims_on(&manifest.log_id, keys, wanted),
            None => Ok(Vec::new()),
        };
        let absent = claims.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let claims = match claims {
            Ok(claims) => claims,
            Err(error) if absent => {
                tracing::debug!(%error, "there is no directory of backups");
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(code = Trouble::RetentionWaits.code(), %error, "the backups cannot \
                                                                               be examined");
                return Ok(MayGo::none(RetentionWait::BackupsGone, old.len()));
            }
        };
        if claims.is_empty() {
            let was = keys.is_none() || self.was_backed_up(manifest, backups)?;
            let why = if was { RetentionWait::BackupsGone } else { RetentionWait::NeverBackedUp };
            return Ok(MayGo::none(why, old.len()));
        }
        self.held(&**holder, claims, old)
    }

    /// Goes from the first old segment on, from backup to backup.
    fn held(
        &self,
        holder: &dyn BackupsHold,
        mut claims: Vec<BackupClaim>,
        old: &[&Segment],
    ) -> io::Result<MayGo> {
        claims.sort_by_key(|claim| std::cmp::Reverse((claim.tree_size, claim.id.clone())));
        let mut may_go = MayGo::default();
        while let Some(next) = old.get(may_go.segments) {
            let mut candidates = claims.iter().filter(|claim| holds(claim, next));
            let more = &old[may_go.segments..];
            let found = loop {
                let Some(claim) = candidates.next() else { break None };
                let held = more.iter().take_while(|segment| holds(claim, segment)).count();
                let last = more.get(..held).and_then(<[_]>::last);
                let end = last.map_or(0, |segment| segment.end_seq());
                let wanted = next.first_seq..end;
                if self.is_ours(claim)? && holder.is_whole_on(&claim.id, wanted, &|| self.goes_on())
                {
                    break Some((claim, held));
                }
            };
            let Some((claim, held)) = found else { break };
            may_go.segments += held;
            may_go.held_by.push(claim.id.clone());
        }
        let waiting = old.len() - may_go.segments;
        may_go.waits = (waiting > 0).then_some((RetentionWait::NotHeld, waiting));
        Ok(may_go)
    }

    /// Whether the backup's signed root is the root that this log had at that size.
    fn is_ours(&self, claim: &BackupClaim) -> io::Result<bool> {
        let manifest = self.keeper.manifest();
        let sizes = BTreeSet::from([claim.tree_size]);
        let roots = roots_at(&*self.options.fs, &self.paths, &manifest, &sizes)?;
        Ok(roots.get(&claim.tree_size) == Some(&claim.root))
    }

    /// The log's keys, by the word of the one that this process signs with.
    fn keys(&self) -> Option<Keyring> {
        let signs = self.keeper.verifier().parse().ok()?;
        let keys = load_keyring(&*self.options.fs, &self.paths, Some(&signs));
        Some(keys.unwrap_or_else(|_| signs.into()))
    }

    fn contradiction(&self) -> Option<Contradiction> {
        let holder = self.options.backups.as_ref()?;
        let manifest = self.keeper.manifest();
        let heads = holder.heads(&manifest.log_id);
        let keys = self.keys()?;
        // After the heads were read: whatever they are over was durable before.
        let size = self.page.get(Word::DurableSeq);
        let manifest = self.keeper.manifest();
        let log_id = &*manifest.log_id;
        let own = OwnHistory {
            log_id,
            epoch: manifest.epoch,
            size,
            keys: &keys,
            abandoned: Some(&manifest.abandoned),
        };
        let roots = roots_at(&*self.options.fs, &self.paths, &manifest, &own.sizes(&heads)).ok()?;
        own.contradictions(&heads, &roots).into_iter().next()
    }

    /// Whether the log's records say that it was ever backed up.
    fn was_backed_up(&self, manifest: &Manifest, noted: &mut BackupsNoted) -> io::Result<bool> {
        let now = self.keeper.manifest();
        if noted.newest.or(now.backups.newest).is_some() || now.backed_up.is_some() {
            return Ok(true);
        }
        for segment in &manifest.segments {
            if segment.end_seq() <= noted.looked_to {
                continue;
            }
            if segment.holes().next().is_some() {
                // What was there nobody knows.
                return Ok(true);
            }
            let file = open_segment(&*self.options.fs, &self.paths, segment)?;
            for block in &segment.blocks {
                if !self.goes_on() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                // Where the lines are not those that were recorded, nobody knows.
                let Some(raw) = lines_of(&*file, segment, block)? else { return Ok(true) };
                if let Some(seq) = lines(&raw).find_map(tells_of_backup) {
                    noted.newest = Some(seq);
                    return Ok(true);
                }
            }
            noted.looked_to = segment.end_seq();
        }
        noted.newest = self.in_active()?;
        Ok(noted.newest.is_some())
    }

    fn in_active(&self) -> io::Result<Option<u64>> {
        let file = match self.options.fs.open(&self.paths.active(), OpenMode::ReadOwn) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut reader =
            BufReader::with_capacity(256 * 1024, FileReader { file: &*file, offset: 0 });
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = MAX_LINE_BYTES as u64 + 1;
            (&mut reader).take(limit).read_until(b'\n', &mut line)?;
            let Some(text) = line.strip_suffix(b"\n") else { return Ok(None) };
            if let Some(seq) = tells_of_backup(text) {
                return Ok(Some(seq));
            }
        }
    }
}

/// The seq of a record that says that the log was backed up.
fn tells_of_backup(line: &[u8]) -> Option<u64> {
    // Most lines need no parsing.
    memchr::memmem::find(line, b"\"event_type\":\"audit.")?;
    let record: Record<'_> = serde_json::from_slice(line).ok()?;
    let tells = match &*record.event_type {
        // What was restored came from a backup.
        BACKUP_MADE | BACKUP_REMOVED | "audit.restored" => true,
        PRUNED => names_a_backup(record.details?.get()),
        _ => false,
    };
    tells.then_some(record.seq)
}

/// Whether an `audit.pruned` record names a backup.
fn names_a_backup(details: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Details {
        held_by: Vec<String>,
    }
    let details = serde_json::from_str::<Details>(details);
    details.is_ok_and(|details| !details.held_by.is_empty())
}

/// Whether a backup holds all records of a segment that are here.
fn holds(claim: &BackupClaim, segment: &Segment) -> bool {
    let stored = || segment.blocks.iter().filter(|block| !block.is_hole());
    claim.first_seq <= segment.first_seq
        && segment.end_seq() <= claim.tree_size
        && !stored().any(|block| {
            claim.holes.iter().any(|h| h.begin < block.tree.end() && block.first_seq < h.end)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::files::segment::Block;
    use crate::audit::keys::signer::SigningKey;
    use crate::audit::paths::sealed_name;
    use crate::audit::tree::document::Unknown;
    use crate::audit::tree::merkle::Range;
    use crate::fsio::{OsFs, SharedFs};

    fn line(event_type: &str, details: &str) -> Vec<u8> {
        format!(
            r#"{{"seq":7,"timestamp":"2026-01-01T00:00:00.000000Z","event_type":"{event_type}","details":{details}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn records_that_tell_of_a_backup_are_known() {
        for (event_type, details, tells) in [
            ("audit.backup_made", "{}", true),
            ("audit.pruned", r#"{"pruned_to":9,"held_by":["20260101_000000"]}"#, true),
            ("audit.pruned", r#"{"pruned_to":9,"held_by":[]}"#, false),
            ("audit.pruned", r#"{"pruned_to":9}"#, false),
            ("audit.restored", r#"{"backup":"20260101_000000"}"#, true),
            ("audit.backup_removed", r#"{"backup":"20260101_000000"}"#, true),
            ("login", r#"{"event_type":"audit.backup_made"}"#, false),
            ("login", r#"{"x":"\"event_type\":\"audit.backup_made\""}"#, false),
        ] {
            let seq = tells_of_backup(&line(event_type, details));
            assert_eq!(seq, tells.then_some(7), "{event_type} {details}");
        }
    }

    fn segment(first_seq: u64, blocks: Vec<Block>) -> Segment {
        let at = Timestamp::from_micros(0);
        Segment {
            file: sealed_name(first_seq, false),
            first_seq,
            records: 10,
            raw_bytes: 0,
            stored_bytes: 0,
            sha256: None,
            filters_sha256: None,
            columns_sha256: None,
            min_timestamp: at,
            max_timestamp: at,
            damage: None,
            blocks,
            unknown: Unknown::default(),
        }
    }

    #[test]
    fn nothing_may_go_by_the_word_of_a_look_that_the_end_of_the_log_cut_short() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let options = Options {
            retention_rule: RetentionRule::RemovesWithoutBackup,
            ..Options::new(directory.path().to_path_buf())
        };
        let key = Arc::new(SigningKey::generate("auditctl/5f0c").expect("a key"));
        let mut manifest = Manifest::new("5f0c".to_owned());
        manifest.segments = vec![segment(0, Vec::new()), segment(10, Vec::new())].into();
        let (keeper, _start) = Keeper::new(manifest, String::new(), key);
        let page = StatusPage::create(&directory.path().join("audit.status")).expect("a page");
        let (options, page) = (Arc::new(options), Arc::new(page));
        let asked = |ending: bool| {
            let question = Question {
                options: Arc::clone(&options),
                paths: LogPaths::new(directory.path()),
                page: Arc::clone(&page),
                keeper: keeper.clone(),
                now: Timestamp::from_micros(9),
                limit: Some(Timestamp::from_micros(5)),
                signed: 20,
                times: [0, 10].map(|seq| (seq, Timestamp::from_micros(1))).into(),
                ending: Arc::new(AtomicBool::new(ending)),
            };
            question.answer().may_go.map(|may_go| may_go.segments)
        };
        assert_eq!(asked(false), Some(2));
        assert_eq!(asked(true), None);
    }

    #[test]
    fn a_segment_is_read_for_its_times_only_while_the_log_is_open() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let dir = directory.path();
        let line =
            "{\"seq\":0,\"timestamp\":\"2026-02-04T21:09:40.000000Z\",\"event_type\":\"e\"}\n";
        let raw_bytes = line.len() as u64;
        let mut tree = Range::empty(0);
        tree.append_line(line.trim_end().as_bytes());
        let block =
            Block { records: 1, raw_bytes, stored_bytes: raw_bytes, tree, ..Block::empty(0, 0) };
        let sealed =
            Segment { records: 1, raw_bytes, stored_bytes: raw_bytes, ..segment(0, vec![block]) };
        let fs: SharedFs = Arc::new(OsFs);
        let file = fs.open(&dir.join(&sealed.file), OpenMode::CreateNew).expect("made");
        file.write_all_at(line.as_bytes(), 0).expect("written");
        let key = Arc::new(SigningKey::generate("auditctl/5f0c").expect("a key"));
        let (keeper, _start) = Keeper::new(Manifest::new("5f0c".to_owned()), String::new(), key);
        let page = StatusPage::create(&dir.join("audit.status")).expect("a page");
        let ending = Arc::new(AtomicBool::new(false));
        let mut question = Question {
            options: Arc::new(Options::new(dir.to_path_buf())),
            paths: LogPaths::new(dir),
            page: Arc::new(page),
            keeper,
            now: Timestamp::from_micros(9),
            limit: None,
            signed: 1,
            times: Times::new(),
            ending: Arc::clone(&ending),
        };
        let at = "2026-02-04T21:09:40Z".parse().expect("a time");
        assert_eq!(question.newest(&sealed).expect("read"), Some(at));
        // What is known is not read again.
        ending.store(true, Ordering::Relaxed);
        assert_eq!(question.newest(&sealed).expect("known"), Some(at));
        question.times.clear();
        let error = question.newest(&sealed).expect_err("not read");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
