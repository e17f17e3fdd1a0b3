//! What opening the log would do, said without doing it: the same inspection and the same
//! decision, on a file system of which nothing is changed.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::decide::{Plan, Tail};
use super::{OpenError, Opening, start};
use crate::audit::files::restore;
use crate::audit::paths::LogPaths;
use crate::audit::write::options::Options;
use crate::fsio::looking::LookingFs;

/// What opening the log would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreseen {
    /// Step by step, in words; none where it would only go on.
    pub steps: Vec<String>,
    /// The details of the `audit.recovered` record that it would write, without the names
    /// of files that are made then.
    pub record: Option<Value>,
}

/// Says what opening the log would do. Changes nothing; a writer may have the log open,
/// and what it is in the middle of then looks like what a crash leaves.
///
/// # Errors
/// Why the log would not be opened, as [`AuditLog::open`](crate::audit::AuditLog::open).
pub fn foresee(options: &Options) -> Result<Foreseen, OpenError> {
    let paths = LogPaths::new(&options.dir);
    let fs = LookingFs(Arc::clone(&options.fs));
    let only = |step: &str| Ok(Foreseen { steps: vec![step.to_owned()], record: None });
    if restore::is_pending(&fs, &paths) {
        return only("finishes or undoes the restore that was interrupted, and goes on from there");
    }
    let names = match start::names(options) {
        Ok(names) => names,
        Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            BTreeSet::new()
        }
        Err(error) => return Err(error),
    };
    let opening = Opening::new(options, &fs, (&paths, &names), None);
    if opening.begins_a_log()? {
        return only("makes a new log");
    }
    let seen = opening.inspect()?;
    let plan = opening.decide(seen)?;
    plan.foreseen()
}

impl Plan {
    fn foreseen(&self) -> Result<Foreseen, OpenError> {
        let mut told = self.told();
        let mut steps = Vec::new();
        let mut step = |text: String| steps.push(text);
        if let Some(from) = &told.keys_put_back {
            step(format!("puts audit.keys back from {from}"));
        } else if self.evidence.keys.bad.is_some() {
            step("sets audit.keys aside: it leads to no key that signs".to_owned());
        }
        if let Some(reason) = &told.manifest_rebuilt {
            step(format!("makes audit.manifest.json anew from the segments: {reason}"));
        }
        if let Some(reason) = &told.checkpoint_lost {
            step(format!("makes audit.checkpoint anew from audit.head: {reason}"));
        }
        for file in &told.stored_anew {
            step(format!("notes that {file} holds its records in other bytes"));
        }
        if self.course.gives_up {
            step("gives up the damaged records, and names them".to_owned());
        }
        if let Some(reason) = &told.accepted_corruption {
            step(format!("begins a new epoch, because damage is accepted: {reason}"));
        }
        if self.course.rollback.is_some() {
            step("begins a new epoch, because another history of the log is accepted".to_owned());
        }
        if let Some((first, end)) = told.unsigned_first.zip(told.unsigned_end) {
            step(format!("takes over records {first} to {}, which nobody has signed", end - 1));
        }
        let behind = self.behind();
        match self.course.tail {
            Tail::Foreign { .. } => {
                told.foreign_bytes = Some(behind);
                step(format!("sets aside {behind} bytes behind the signed close of the log"));
            }
            _ if behind > 0 && !self.course.gives_up => {
                told.torn_bytes = behind;
                step(format!("sets aside {behind} bytes behind the last good record"));
            }
            _ => {}
        }
        let record = serde_json::to_value(&told).ok();
        let record = record.filter(|record| record.as_object().is_some_and(|all| !all.is_empty()));
        Ok(Foreseen { steps, record })
    }

    /// The bytes of the active segment's file behind what is gone on with.
    fn behind(&self) -> u64 {
        let Some(active) = &self.records.active else { return 0 };
        let good = active.scan.layout.raw_bytes;
        active.file.meta().map_or(0, |meta| meta.len.saturating_sub(good))
    }
}
