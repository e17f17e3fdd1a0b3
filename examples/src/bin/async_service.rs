//! A service on tokio. The log blocks the thread that waits for the disk, so it is called from
//! `spawn_blocking`; nothing else of it needs to be asynchronous.

use std::error::Error;
use std::io;

use auditctl::{AuditLog, Event, Options, RecordError};
use tokio::task::{JoinSet, spawn_blocking};

/// A log that can be awaited. Clones share it.
#[derive(Clone)]
struct AsyncLog(AuditLog);

impl AsyncLog {
    /// Opening reads the end of the log, and may repair what a crash left.
    async fn open(options: Options) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self(spawn_blocking(|| AuditLog::open(options)).await??))
    }

    /// Returns once the event is on disk, with its place in the log. A task that is cancelled
    /// while it waits takes nothing back: the event is recorded all the same.
    async fn record(&self, event: Event) -> Result<u64, Box<dyn Error + Send + Sync>> {
        loop {
            let (log, event) = (self.0.clone(), event.clone());
            let recorded = spawn_blocking(move || log.record(event)?.wait()).await?;
            match recorded {
                // It was accepted and will be tried again: sending it again could record it twice.
                Err(error @ RecordError::Unavailable { .. }) => return Err(error.into()),
                Err(refused) => match refused.retry_after() {
                    Some(pause) => spawn_blocking(move || std::thread::sleep(pause)).await?,
                    None => return Err(refused.into()),
                },
                Ok(seq) => return Ok(seq),
            }
        }
    }

    async fn close(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(spawn_blocking(move || self.0.close()).await??)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let place = tempfile::tempdir()?;
    let log = AsyncLog::open(Options::new(place.path().join("logs")).rate_limit(None)).await?;

    let mut tasks = JoinSet::new();
    for request in 0..300 {
        let log = log.clone();
        tasks.spawn(async move {
            let event = Event::new("request").source("api").target(format!("/orders/{request}"));
            log.record(event).await
        });
    }
    let mut seqs = Vec::new();
    while let Some(recorded) = tasks.join_next().await {
        seqs.push(recorded??);
    }
    seqs.sort_unstable();
    seqs.dedup();
    if seqs.len() != 300 {
        return Err(io::Error::other("each event has a place of its own").into());
    }
    log.close().await?;
    println!("300 tasks recorded {} events, and each is on disk", seqs.len());
    Ok(())
}
