//! Embedding the log: the library's defaults are the program's, and every setting of the
//! engine reaches it.

use std::path::PathBuf;

use auditctl::audit::state::status::Mode;
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::clock::SystemClock;
use auditctl::config::{KEYS, Settings, Sources, load};
use auditctl::fsio::OsFs;
use auditctl::health::{self, Status};

use crate::support::{Dir, eventually};

/// The settings that are not the engine's, and whose they are.
const OTHERS: &[(&str, &str)] = &[
    ("profile", "sets other keys, which are here"),
    ("expect_running", "health's"),
    ("audit_reads", "the collector's"),
    ("alerts", "the alerts'"),
    ("mapping", "the collector's and the record command's"),
    ("listener", "the collector's"),
    ("alerting.", "the alerts'"),
    ("collector.", "the collector's"),
    ("health.", "health's"),
    ("backup.destination", "the backup command's"),
    ("backup.incremental", "the backup command's"),
    ("backup.full_every", "the backup command's"),
    ("backup.encrypt_to", "the backup command's"),
    ("archive.", "the collector's and the archive command's"),
    ("witness.", "the collector's"),
];

fn of_file(content: &str) -> Settings {
    let file = (PathBuf::from("auditctl.toml"), content.to_owned());
    load(&Sources { file: Some(file), env: &[], flags: &[] })
        .unwrap_or_else(|errors| panic!("{content}: {errors}"))
}

/// All of the options, as text.
fn shown(options: &Options) -> String {
    format!("{options:?}")
}

/// A value for the key that is not its default, as the file has it.
fn another(name: &str, now: &str) -> String {
    match name {
        "durability" => "\"interval\"".to_owned(),
        "redact" => "[\"password\"]".to_owned(),
        _ if now == "true" => "false".to_owned(),
        _ if now == "false" => "true".to_owned(),
        "compression_level" => "3".to_owned(),
        "disk.warn_percent" => "11".to_owned(),
        "disk.critical_percent" => "4".to_owned(),
        _ => match now.parse::<u64>() {
            Ok(number) => (number * 2).to_string(),
            Err(_) if now.ends_with('B') && now.starts_with(|c: char| c.is_ascii_digit()) => {
                let other = if name == "disk.critical_bytes" { "32MiB" } else { "3GiB" };
                let small = ["max_details_size", "disk_reserve"].contains(&name);
                format!("\"{}\"", if small { "60KiB" } else { other })
            }
            Err(_) if now.starts_with(|c: char| c.is_ascii_digit()) => "\"7m\"".to_owned(),
            Err(_) => "\"elsewhere\"".to_owned(),
        },
    }
}

#[test]
fn every_setting_of_the_engine_reaches_it_and_every_other_is_known_to_be_none() {
    let defaults = Settings::default();
    let before = shown(&Options::from(&defaults));
    let mut engines = 0;
    for key in KEYS {
        let other = |(name, _): &&(&str, &str)| {
            key.name == *name || name.ends_with('.') && key.name.starts_with(name)
        };
        if OTHERS.iter().any(|entry| other(&entry)) {
            continue;
        }
        let value = another(key.name, &key.text(&defaults));
        let content = match key.name.split_once('.') {
            Some((section, name)) => format!("[{section}]\n{name} = {value}\n"),
            None => format!("{} = {value}\n", key.name),
        };
        let settings = of_file(&content);
        assert_ne!(key.text(&settings), key.text(&defaults), "{content}");
        let after = shown(&Options::from(&settings));
        assert_ne!(after, before, "{}: nobody maps it, so that it does nothing", key.name);
        engines += 1;
    }
    assert!(engines >= 27, "{engines}");
    for (name, whose) in OTHERS {
        assert!(
            KEYS.iter().any(|key| key.name.starts_with(name)),
            "{name}, {whose}, is no setting"
        );
    }
}

#[test]
fn the_library_has_the_programs_defaults() {
    let by_settings = Options::from(&Settings::default());
    let by_hand = Options { backups: by_settings.backups.clone(), ..Options::new("logs") };
    assert_eq!(shown(&by_settings), shown(&by_hand));
    assert_eq!(shown(&Options::default()), shown(&Options::new("logs")));
    assert_eq!(by_settings.mode, Mode::Library);
    let limit = by_hand.rate_limit.expect("sources are limited by default");
    assert_eq!((limit.per_second, limit.burst), (100.0, 200));
}

#[test]
fn an_embedder_asks_health_with_the_settings_that_it_opens_the_log_with() {
    let dir = Dir::new();
    let mut settings = Settings::default();
    settings.log_dir = dir.log();
    settings.backup.output_dir = dir.path().join("backups");
    settings.rate_limit.enabled = false;
    let log = AuditLog::open(Options::from(&settings)).expect("open");
    for _ in 0..400 {
        log.record(Event::new("e").source("one")).expect("no limit").wait().expect("durable");
    }
    let of = |settings: &Settings| {
        let found = health::check(settings, &OsFs, &SystemClock);
        let backup = found.report.checks.into_iter().find(|check| check.component == "backup");
        backup.expect("a check")
    };
    eventually("health knows it", || of(&settings).message.contains("no backup was made yet"));
    let backup = of(&settings);
    assert_eq!(backup.status, Status::Healthy, "{backup:?}");
    assert!(!backup.message.contains("no backup holds"), "{backup:?}");
    assert_eq!(
        backup.metrics.get("retention").and_then(|value| value.as_str()),
        Some("removes only what a backup is proven to hold")
    );
    log.close().expect("closed");
    // What was said in so many words is told as well.
    settings.retention_requires_backup = false;
    let log = AuditLog::open(Options::from(&settings)).expect("open");
    eventually("health says it", || {
        of(&settings).message.contains("also removes records that no backup holds")
    });
    log.close().expect("closed");
}

#[test]
fn what_threads_share_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<auditctl::AuditLog>();
    shared::<auditctl::Options>();
    shared::<auditctl::Event>();
    shared::<auditctl::Receipt>();
    shared::<auditctl::RecordError>();
    shared::<auditctl::OpenError>();
    shared::<auditctl::Backups>();
    shared::<auditctl::BackupFailed>();
    shared::<auditctl::Settings>();
    shared::<auditctl::HealthReport>();
    shared::<auditctl::query::Reader>();
    shared::<auditctl::query::Answer>();
    shared::<auditctl::verify::Verifier>();
    shared::<auditctl::verify::Report>();
    shared::<auditctl::ReadError>();
    shared::<auditctl::serve::CollectorOptions>();
    shared::<auditctl::serve::CollectorError>();
}
