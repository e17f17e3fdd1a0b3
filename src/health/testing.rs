//! Situations, made up.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::facts::{Facts, Found, Lock, Page, Process};
use super::report::{Check, Component, HealthReport};
use super::{Limits, judge};
use crate::audit::LogPaths;
use crate::audit::status::{Activity, Damage, Ring, StatusPage, StatusSnapshot, Word, WriterState};
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::fsio::{FileMeta, Space};

/// 2026-02-04T21:09:40Z.
pub(super) const NOW: i64 = 1_770_239_380_000_000;
const BOOT_MS: u64 = 100_000_000;
const INODE: u64 = 77;
pub(super) const BOOT_ID: u64 = 0xb007;

/// So long before now.
pub(super) fn ago(seconds: i64) -> u64 {
    (NOW - seconds * 1_000_000) as u64
}

/// A situation under construction: it begins with a writer that has been
/// running for an hour, and is idle, and well.
pub(super) struct Situation {
    pub(super) page: StatusPage,
    pub(super) facts: Facts,
    pub(super) limits: Limits,
    directory: tempfile::TempDir,
}

pub(super) fn file(inode: u64, len: u64) -> Found {
    Found::Yes(FileMeta {
        len,
        inode,
        device: 1,
        links: 1,
        modified: UNIX_EPOCH,
        mode: 0o600,
        uid: 0,
        is_file: true,
    })
}

impl Situation {
    pub(super) fn well() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let page = StatusPage::create(&directory.path().join("audit.status")).expect("page");
        for (word, value) in [
            (Word::Pid, 4242),
            (Word::Mode, 2),
            (Word::StartedAt, ago(3_600)),
            (Word::StartedBootMs, BOOT_MS - 3_600_000),
            (Word::BootId, BOOT_ID),
            (Word::HeartbeatBootMs, BOOT_MS - 100),
            (Word::HeartbeatAt, ago(0) - 100_000),
            (Word::ActivitySinceBootMs, BOOT_MS - 100),
            (Word::State, WriterState::Running as u64),
            (Word::StateSince, ago(3_600)),
            (Word::NextSeq, 1_000),
            (Word::DurableSeq, 1_000),
            (Word::WrittenSeq, 1_000),
            (Word::CheckpointSize, 1_000),
            (Word::CheckpointAt, ago(2)),
            (Word::CapacityEvents, 1_000),
            (Word::CapacityBytes, 16 << 20),
            (Word::Accepted, 900),
            (Word::Durable, 900),
            (Word::ActiveInode, INODE),
            (Word::ActiveBytes, 50_000),
            (Word::LogBytes, 3 << 20),
            (Word::Segments, 2),
            (Word::LastEventAt, ago(3)),
            (Word::CacheCapacity, 128),
        ] {
            page.set(word, value);
        }
        let facts = Facts {
            now: Timestamp::from_micros(NOW),
            boot_ms: BOOT_MS,
            boot_id: Some(BOOT_ID),
            paths: LogPaths::new(Path::new("logs")),
            dir: file(1, 4096),
            lock: Lock::Held,
            page: Page::Missing,
            active: file(INODE, 50_000),
            manifest: file(2, 300),
            checkpoint: file(3, 200),
            checkpoint_size: Some(1_000),
            space: Ok(Space { total: 100 << 30, available: 50 << 30 }),
            process: Some(Process { state: 'S' }),
        };
        Self { page, facts, limits: Limits::new(&Settings::default()), directory }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn set(self, word: Word, value: u64) -> Self {
        self.page.set(word, value);
        self
    }

    /// The writer gave its last sign of life so many seconds ago.
    pub(super) fn silent(self, seconds: u64) -> Self {
        self.page.set(Word::HeartbeatBootMs, BOOT_MS - seconds * 1_000);
        self.page.set(Word::HeartbeatAt, ago(seconds as i64));
        self
    }

    pub(super) fn busy(self, activity: Activity, seconds: u64) -> Self {
        self.page.activity(activity, BOOT_MS - seconds * 1_000);
        self
    }

    /// Killed so many seconds ago.
    pub(super) fn died(self, seconds: u64) -> Self {
        self.silent(seconds).with(|s| {
            s.facts.lock = Lock::Free;
            s.facts.process = None;
        })
    }

    /// Closed so many seconds ago.
    pub(super) fn stopped(self, seconds: u64) -> Self {
        self.died(seconds)
            .set(Word::State, WriterState::Closed as u64)
            .set(Word::ClosedAt, ago(seconds as i64))
    }

    pub(super) fn counted(self, ring: Ring, seconds_ago: i64, count: u64) -> Self {
        self.page.count(ring, Timestamp::from_micros(NOW - seconds_ago * 1_000_000), count);
        self
    }

    pub(super) fn damaged(self, damage: Damage, seconds_ago: i64) -> Self {
        self.set(Word::Damage, damage as u64).set(Word::DamageAt, ago(seconds_ago))
    }

    pub(super) fn nothing_there(mut self) -> Self {
        for found in [
            &mut self.facts.dir,
            &mut self.facts.active,
            &mut self.facts.manifest,
            &mut self.facts.checkpoint,
        ] {
            *found = Found::No;
        }
        self.facts.checkpoint_size = None;
        self.facts.process = None;
        self.facts.lock = Lock::Free;
        self
    }

    pub(super) fn snapshot(&self) -> StatusSnapshot {
        StatusSnapshot::read(&self.directory.path().join("audit.status")).expect("page")
    }

    /// The judgement, with the page as it is now.
    pub(super) fn report(mut self) -> HealthReport {
        self.facts.page = Page::Read(self.snapshot());
        judge(&self.facts, &self.limits)
    }

    /// The judgement when there is no page, or none that can be read.
    pub(super) fn report_without(mut self, page: Page) -> HealthReport {
        self.facts.page = page;
        judge(&self.facts, &self.limits)
    }
}

pub(super) fn hung_after() -> Duration {
    Settings::default().health.hung_after
}

pub(super) fn check_of(report: &HealthReport, component: Component) -> &Check {
    report.checks.iter().find(|check| check.component == component).expect("every component")
}
