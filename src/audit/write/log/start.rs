//! What opening puts together: the page, the queue, the threads' work, the first
//! records.

use std::sync::{Arc, PoisonError};

use crate::audit::files::ended::EndedEpoch;
use crate::audit::keys::checkpoint::Origin;
use crate::audit::paths::LogPaths;
use crate::audit::read::error::ReadError;
use crate::audit::read::query::{Bounds, Engine, Ledger, Listed};
use crate::audit::record::redact::{RedactKeyError, Redactor};
use crate::audit::state::progress::ProgressCell;
use crate::audit::state::security::{SecurityKind, SecurityLog};
use crate::audit::state::status::{
    Activity, RetentionMode, StatusError, StatusPage, Word, WriterState,
};
use crate::audit::state::trouble::Trouble;
use crate::audit::write::ids::{IdLimits, IdWindow};
use crate::audit::write::keeper::{Keeper, Work, newest_record};
use crate::audit::write::options::{Options, RetentionRule};
use crate::audit::write::own::{LeftBehind, OwnRecord, Recovered};
use crate::audit::write::own_files::RedactKeySlot;
use crate::audit::write::queue::{Queue, WakeRule};
use crate::audit::write::rate_limit::RateLimiter;
use crate::audit::write::recovery::{OpenError, Opened};
use crate::audit::write::writer::Shared;
use crate::clock::ClockWatch;
use crate::field_path::FieldPath;
use crate::fsio::lock::WriterLock;

/// A record names so many holes at most: what one has to say of each is never cut.
const HOLES_A_RECORD: usize = 400;

/// What the writer's own process knows of what there is to ask about.
#[derive(Debug)]
struct Live {
    keeper: Keeper,
    progress: Arc<ProgressCell>,
}

impl Ledger for Live {
    fn durable(&self) -> Option<u64> {
        Some(self.progress.durable())
    }

    fn manifest(&self) -> Result<Listed, ReadError> {
        Ok(Listed { manifest: self.keeper.manifest(), signature: None })
    }

    fn is_signed(&self, _listed: &Listed) -> bool {
        // The writer's own.
        true
    }
}

pub(super) fn queries(shared: &Shared) -> Engine {
    let options = &shared.options;
    let live = Live { keeper: shared.keeper.clone(), progress: Arc::clone(&shared.progress) };
    let bounds = Bounds { groups: options.max_memory_events, ..Bounds::default() };
    let entries = options.query_cache_size;
    Engine::new(&options.fs, &options.dir, Arc::new(live), (entries, bounds))
}

pub(super) fn redactor(
    options: &Options,
    paths: &LogPaths,
    redact: &[FieldPath],
) -> Result<Option<(Redactor, Option<String>)>, RedactKeyError> {
    let path = options.redact_key_path.clone().unwrap_or_else(|| paths.redact_key());
    Redactor::open(&*options.fs, &path, redact)
}

/// A key that was made for it is recorded.
pub(super) fn shared_redactor(
    shared: &Shared,
    (new, key_id): (Redactor, Option<String>),
) -> Arc<Redactor> {
    let key = Some(new.key().clone());
    *shared.redact_key.lock().unwrap_or_else(PoisonError::into_inner) = key;
    if let Some(key_id) = key_id {
        shared.push_own(&OwnRecord::RedactKeyCreated { key_id });
    }
    Arc::new(new)
}

fn page_error(options: &Options, error: StatusError) -> OpenError {
    match error {
        StatusError::Io { path, source } => OpenError::Io { action: "open", path, source },
        other => OpenError::Start { dir: options.dir.clone(), reason: other.to_string() },
    }
}

/// The page, with what the page before knew and no record says yet.
pub(super) fn make_page(
    options: &Options,
    paths: &LogPaths,
    opened: &Opened,
) -> Result<Arc<StatusPage>, OpenError> {
    let begin = opened.refused.as_ref().map_or_else(Vec::new, |refused| {
        vec![
            (Word::RefusalsToRecord, refused.count),
            (Word::RefusalsFirstAt, refused.first.micros() as u64),
            (Word::RefusalsLastAt, refused.last.micros() as u64),
            (Word::ActiveInode, opened.active.file.meta().map_or(0, |meta| meta.inode)),
        ]
    });
    StatusPage::create_with(&paths.status(), &begin)
        .map(Arc::new)
        .map_err(|error| page_error(options, error))
}

pub(super) fn publish_start(page: &StatusPage, options: &Options, opened: &Opened) {
    let now = options.clock.now();
    page.set(Word::Pid, std::process::id().into());
    page.set(Word::Mode, options.mode as u64);
    page.set(Word::StartedAt, now.micros() as u64);
    page.set(Word::StartedBootMs, options.clock.boot_ms());
    page.set(Word::BootId, crate::fsio::boot::boot_id(&*options.fs).unwrap_or(0));
    page.set(Word::HeartbeatBootMs, options.clock.boot_ms());
    page.set(Word::HeartbeatAt, now.micros() as u64);
    page.set(Word::Durability, options.durability as u64);
    page.set(Word::CacheCapacity, options.query_cache_size as u64);
    page.set(Word::DurableSeq, opened.active.layout.next_seq());
    page.set(Word::WrittenSeq, opened.active.layout.next_seq());
    page.set(Word::LostRecords, opened.lost.map_or(0, |lost| lost.count));
    page.set(Word::AdoptedEnd, opened.uncovered);
    let (fs, paths) = (&*options.fs, LogPaths::new(&options.dir));
    let left = opened.manifest.ended.iter().map(|one| one.seems_missing(fs, &paths)).sum();
    page.set(Word::LeftBehind, left);
    page.set(Word::RetentionMode, retention_mode(options) as u64);
    page.set(Word::KeyChanges, opened.keys.rotations.len() as u64);
    page.set(Word::LastEventAt, opened.last_event.map_or(0, |at| at.micros() as u64));
    if let Some(damage) = opened.damage {
        page.set(Word::Damage, damage as u64);
        page.set(Word::DamageAt, now.micros() as u64);
    }
    page.activity(Activity::Opening, options.clock.boot_ms());
    page.state(WriterState::Running, now);
}

fn retention_mode(options: &Options) -> RetentionMode {
    match (options.retention, options.retention_rule, &options.backups) {
        (None, ..) => RetentionMode::KeepsAll,
        (_, RetentionRule::RemovesWithoutBackup, _) => RetentionMode::WithoutBackup,
        (_, RetentionRule::OnlyWhatABackupHolds, Some(_)) => RetentionMode::HeldByBackup,
        (_, RetentionRule::OnlyWhatABackupHolds, None) => RetentionMode::NobodyToAsk,
    }
}

pub(super) fn build(
    options: &Arc<Options>,
    paths: &LogPaths,
    page: &Arc<StatusPage>,
    (opened, lock): (&mut Opened, &Arc<WriterLock>),
) -> (Shared, crate::audit::write::keeper::KeeperStart, Work) {
    let next_seq = opened.active.layout.next_seq();
    let clock = &options.clock;
    let watch = opened.watch.unwrap_or_else(|| ClockWatch::new(clock.now(), Some(clock.boot_ms())));
    let limits = IdLimits { count: options.dedupe_ids, age: options.dedupe_window };
    let ids = IdWindow::new(limits);
    page.set(Word::IdsCapacity, options.dedupe_ids as u64);
    let queue = Arc::new(Queue::new(
        next_seq,
        (options.write_queue_capacity, options.write_queue_bytes as usize),
        WakeRule { events: options.write_buffer_size, age: options.write_flush_interval },
        options.overflow_timeout,
        Arc::clone(page),
        (Arc::clone(&options.clock), watch),
        ids,
    ));
    let counted = Arc::clone(page);
    let (security, security_log) = SecurityLog::new(
        Arc::clone(&options.fs),
        paths.security(),
        Arc::clone(&options.clock),
        Arc::new(move |kind, by, at| counted.count_security(kind, by, at)),
    );
    let checkpoint = std::mem::take(&mut opened.checkpoint);
    let active_bytes = opened.active.layout.raw_bytes;
    let newest = newest_record(&*options.fs, paths, &opened.manifest, active_bytes);
    let (keeper, start) = Keeper::new(opened.manifest.clone(), checkpoint, opened.signer.key());
    let progress = Arc::new(ProgressCell::new(next_seq));
    let shared = Shared {
        options: Arc::clone(options),
        paths: paths.clone(),
        page: Arc::clone(page),
        queue: Arc::clone(&queue),
        progress: Arc::clone(&progress),
        limiter: Arc::new(RateLimiter::new(options.rate_limit)),
        callers: Arc::new(RateLimiter::new(None)),
        security: security.clone(),
        keeper,
        redact_key: RedactKeySlot::default(),
    };
    let work = Work {
        incidents: shared.incidents(),
        lock: Arc::clone(lock),
        options: Arc::clone(options),
        paths: paths.clone(),
        page: Arc::clone(page),
        queue,
        security,
        security_log,
        newest,
        opened: (options.clock.now(), options.clock.boot_ms()),
    };
    (shared, start, work)
}

/// A log keeps the origin that it was made with: its checkpoints are known by it.
pub(super) fn warn_of_another_origin(options: &Options, own: &Origin) {
    let Some(wanted) = options.origin.as_ref().filter(|wanted| *wanted != own.prefix()) else {
        return;
    };
    tracing::warn!(
        code = Trouble::OtherOrigin.code(),
        setting = %wanted,
        log = %own,
        "the setting origin is not what this log was made with, and changes nothing: a log keeps its origin"
    );
}

/// With the record that names it now.
fn recorded(one: &EndedEpoch, seq: u64, shared: &Shared) -> EndedEpoch {
    EndedEpoch { record: Some(seq), at: Some(shared.options.clock.now()), ..one.clone() }
}

/// The records that say how the log was opened.
pub(super) fn push_opening(shared: &Shared, opened: &Opened, log_id: &str) {
    if shared.queue.next_seq() == 0 {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        shared.push_own(&OwnRecord::LogCreated {
            log_id: log_id.to_owned(),
            origin: opened.signer.origin().key_name(),
            format: crate::audit::tree::document::Kind::LOG.format(),
            host,
            public_key: opened.verifier_key.clone(),
        });
    }
    let mut ended = opened.ended.iter();
    let is_first = |recovered: &Recovered, one: &EndedEpoch| {
        recovered.abandoned_checkpoint.as_ref() == Some(&one.checkpoint)
    };
    if let Some(recovered) = &opened.recovered {
        let mut first = recovered.clone();
        // The one of this opening is named by the record of it.
        let own = opened.ended.last().filter(|one| is_first(recovered, one));
        first.left_behind = own.map(LeftBehind::of);
        if own.is_some() {
            ended.next_back();
        }
        let rest = first.holes.split_off(first.holes.len().min(HOLES_A_RECORD));
        let has_holes = !first.holes.is_empty();
        let seq = shared.push_own(&OwnRecord::Recovered(Box::new(first)));
        if let Some(own) = own {
            shared.keeper.epoch_ended(recorded(own, seq, shared));
        }
        for holes in rest.chunks(HOLES_A_RECORD) {
            let more = Recovered { holes: holes.to_vec(), ..Recovered::default() };
            shared.push_own(&OwnRecord::Recovered(Box::new(more)));
        }
        // Where one record does not name them all, all records are asked.
        if has_holes && rest.is_empty() {
            shared.keeper.holes_named(seq);
        }
    }
    for one in ended {
        // An opening ended before its record of it was written.
        let again = Recovered {
            accepted_corruption: Some(one.reason.clone()),
            abandoned_checkpoint: Some(one.checkpoint.clone()),
            left_behind: Some(LeftBehind::of(one)),
            ..Recovered::default()
        };
        let seq = shared.push_own(&OwnRecord::Recovered(Box::new(again)));
        shared.keeper.epoch_ended(recorded(one, seq, shared));
    }
    let lost = opened.recovered.as_ref().and_then(|recovered| recovered.checkpoint_lost.as_ref());
    if let Some(reason) = lost {
        let detail = format!("audit.checkpoint: {reason}");
        shared.security.report(SecurityKind::LogTampered, None, &detail);
    }
    let put_back = opened.recovered.as_ref().and_then(|recovered| recovered.keys_put_back.as_ref());
    if let Some(from) = put_back {
        let detail = format!("audit.keys was missing, short or damaged; put back from {from}");
        shared.security.report(SecurityKind::LogTampered, None, &detail);
    }
    if opened.foreign {
        let detail = "lines were appended to audit.log while it was closed";
        tracing::error!(code = Trouble::ForeignLines.code(), "{detail}; they are set aside");
        shared.security.report(SecurityKind::LogTampered, None, detail);
    }
    if let Some(rollback) = &opened.rollback {
        shared.push_own(&OwnRecord::RollbackAccepted(rollback.record.clone()));
    }
    if let Some(replaced) = &opened.replaced {
        shared.push_own(&OwnRecord::KeyReplaced(Box::new(replaced.clone())));
    }
    if let Some(lost) = opened.lost {
        shared.push_own(&OwnRecord::Gap {
            source: None,
            count: lost.count,
            first: lost.first,
            last: lost.last,
            reason: "the writer ended before its write buffer was written (interval durability)"
                .to_owned(),
        });
    }
    if let Some(refused) = &opened.refused {
        let seq = shared.push_own(&OwnRecord::RateLimited {
            source: refused.source.clone(),
            sender: refused.sender.clone(),
            refused: refused.count,
            first: refused.first,
            last: refused.last,
            from_status_page: true,
        });
        shared.page.refusals_recorded(refused.count, seq + 1, 0);
    }
    if let Some(restored) = &opened.restored {
        if restored.unproven {
            let detail = "the journal of a restore, which nobody with the log's key wrote";
            shared.security.report(SecurityKind::LogTampered, None, detail);
        }
        shared.push_own(&OwnRecord::Restored(restored.clone()));
    }
    shared.push_own(&OwnRecord::Opened {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        mode: shared.options.mode.as_str().to_owned(),
        clean: opened.clean,
    });
}
