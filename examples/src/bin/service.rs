//! A service with threads that keeps its own audit trail.

use std::error::Error;
use std::thread;

use auditctl::{AuditLog, Backups, Event, HealthStatus, Options, RateLimit, RecordError, Settings};
use serde_json::json;

/// Records an event and returns once it is on disk. Waits out temporary refusals. On any other
/// error the caller must not continue as if the event had been recorded.
fn audit(log: &AuditLog, event: &Event) -> Result<u64, RecordError> {
    loop {
        match log.record(event.clone()) {
            Ok(receipt) => return receipt.wait(),
            Err(refused) => match refused.retry_after() {
                Some(pause) => thread::sleep(pause),
                None => return Err(refused),
            },
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let (logs, backups) = (place.path().join("logs"), place.path().join("backups"));

    // A source may send 100 events a second by default; this service is the only one.
    // Retention removes only what a backup in `backups` holds.
    let options =
        Options::new(&logs).rate_limit(RateLimit::new(10_000.0, 20_000)).backups_in(&backups);
    let log = AuditLog::open(options)?;

    // Any number of threads: those that wait share each disk sync.
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let log = &log;
                scope.spawn(move || -> Result<(), RecordError> {
                    for invoice in 0..50 {
                        let event = Event::new("invoice.paid")
                            .source("billing")
                            .actor(format!("worker-{worker}"))
                            .target(format!("invoice-{invoice}"))
                            .outcome("success")
                            .details(&json!({ "amount": 4_710, "currency": "EUR" }))?;
                        audit(log, &event)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;

    // Sending an invalid event again cannot help.
    let refused = audit(&log, &Event::new("")).expect_err("an event needs a type");
    println!("refused as {}: {refused}", refused.kind());

    let backup = Backups::in_dir(&backups).make(&log)?;
    println!("backup {} holds the records {}..{}", backup.id, backup.first_seq, backup.end_seq);

    // What cron, Nagios or an endpoint of the service asks, in this or in any other process.
    let mut settings = Settings::default();
    settings.log_dir = logs;
    settings.backup.output_dir = backups;
    let health = auditctl::check_health(&settings);
    for check in health.checks.iter().filter(|check| check.status != HealthStatus::Healthy) {
        println!("{}: {}", check.component, check.message);
    }
    assert_ne!(health.status, HealthStatus::Critical, "{health:?}");

    log.close()?; // everything accepted is durable, and the end is signed
    println!("recorded {} records", log.acked_seq());
    Ok(())
}
