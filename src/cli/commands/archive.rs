//! `archive`: ship to an archive what the log has recorded since the last time.

use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use crate::archive::{ArchiveError, Archiver, Cuts, HostName, NotMade};
use crate::backup::host;
use crate::cli::archives::{Archive, cuts};
use crate::cli::context::Context;
use crate::cli::exit::CliError;
use crate::cli::open::shared_fs;
use crate::cli::progress::Progress;
use crate::clock::SystemClock;
use crate::ui;

/// Ship what the log has recorded to an archive.
///
/// An archive is a bucket or a directory on another machine that holds the records and the proof
/// of them. One run ships everything that the log has signed and the archive lacks, and ends.
/// It works beside a running collector and never slows it. If it is interrupted, the next run goes
/// on. A collector with archive.destination in its settings ships by itself, and needs no such
/// runs. `auditctl restore DEST` restores from an archive.
///
/// This is a preview: the layout of an archive may change until a later version freezes it. Keep
/// making backups as well.
#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// Where to: s3://BUCKET[/PREFIX], az://CONTAINER[/PREFIX], gs://BUCKET[/PREFIX], or a
    /// directory that exists [default: archive.destination of the settings]
    #[arg(value_name = "DEST")]
    destination: Option<String>,

    /// Put no Parquet files beside the data objects, whatever archive.parquet is
    ///
    /// Engines can then read the records as JSON only. Tables of what is shipped meanwhile are
    /// not made later.
    #[arg(long)]
    no_parquet: bool,
}

pub(crate) fn run(context: &Context, args: &ArchiveArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let named = args.destination.as_deref().map(Archive::parse).transpose()?;
    let archive = match named {
        Some(named) => named,
        None => Archive::of_settings(&settings)?.ok_or_else(|| {
            CliError::usage("no archive is named").hint(
                "add DEST, such as s3://BUCKET/PREFIX, or set archive.destination in the settings, \
                 or AUDITCTL_ARCHIVE_DESTINATION",
            )
        })?,
    };
    let progress = Progress::new(context)?;
    let of_settings = cuts(&settings);
    let archiver = Archiver {
        fs: shared_fs(),
        clock: Arc::new(SystemClock),
        store: archive.connect(&progress)?,
        log_dir: settings.log_dir.clone(),
        host: HostName::of(&host()),
        cuts: Cuts { parquet: of_settings.parquet && !args.no_parquet, ..of_settings },
    };
    let shipped = archiver.pass_and_note(&progress);
    progress.finish();
    let (shipped, place) = (shipped?, archive.shown());
    if let Some(NotMade { object, why }) = shipped.not_made.first() {
        let object = archiver.store.url(&object.to_string());
        let mut told = CliError::from(ArchiveError::NoParquet { object, what: why.clone() });
        match ui::archived_json(&shipped, &place) {
            Value::Object(document) if context.json => *told.extra = document,
            _ => context.print(&ui::archived_text(&shipped, &place))?,
        }
        return Err(told);
    }
    context.print(&if context.json {
        format!("{}\n", ui::archived_json(&shipped, &place))
    } else {
        ui::archived_text(&shipped, &place)
    })?;
    Ok(0)
}
