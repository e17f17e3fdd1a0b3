//! `support-bundle`: diagnostics to hand on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::open::shared_fs;
use crate::cli::support::{self, File, Inputs, Outcome, Secrets};
use crate::clock::{Clock, SystemClock};
use crate::fsio::{Fs, OsFs, replace_file};

/// Collect diagnostics into one archive, without secrets and without events.
///
/// The archive describes the log, its writer, its backups and the machine in plain text. It
/// contains no event, token, key, credential or URL; --list shows what is in it. The command
/// works beside a hung writer, on a damaged log and without a log. If it cannot read something,
/// it notes that and continues. If the disk is full, name a file on another disk, or - for
/// standard output.
#[derive(Debug, Args)]
pub(crate) struct SupportBundleArgs {
    /// Path of the archive, or - for standard output [default: auditctl-support-<time>.tar.gz in
    /// the current directory]
    #[arg(long, value_name = "FILE.tar.gz", conflicts_with = "list")]
    output: Option<PathBuf>,
    /// List what would be in it, and write nothing
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(context: &Context, args: &SupportBundleArgs) -> Result<u8, CliError> {
    if args.list {
        return list(context);
    }
    let to_stdout = args.output.as_deref() == Some(Path::new("-"));
    if to_stdout && context.json {
        return Err(CliError::usage("--json and the archive cannot both go to standard output"));
    }
    let inputs = Arc::new(inputs(context));
    let dir = format!("auditctl-support-{}", inputs.now.file_stamp());
    let output = args.output.clone().unwrap_or_else(|| format!("{dir}.tar.gz").into());
    if !to_stdout && OsFs.meta(&output).is_ok() {
        let message = format!("{} is there already", output.display());
        return Err(CliError::usage(message).hint("name another file with --output"));
    }
    let secrets = Secrets::known(&inputs);
    let (parts, outcomes) = support::collect(support::PARTS, &inputs, &secrets);
    let files = complete(&inputs, parts, &outcomes)?;
    let bytes = support::pack(&dir, &files, inputs.now)
        .map_err(|error| CliError::io("pack", &output, &error))?;
    if to_stdout {
        context.print_bytes(&bytes)?;
    } else {
        replace_file(&OsFs, &output, &bytes).map_err(|error| {
            CliError::io("write", &output, &error).hint(
                "to write elsewhere, name a file with --output; --output - writes to \
                       standard output",
            )
        })?;
    }
    tell(context, &output, bytes.len(), &outcomes, to_stdout)?;
    Ok(0)
}

fn list(context: &Context) -> Result<u8, CliError> {
    if context.json {
        let parts: Vec<_> = support::PARTS
            .iter()
            .map(|part| {
                let seconds = part.deadline.as_secs();
                json!({ "name": part.name, "about": part.about, "deadline_seconds": seconds })
            })
            .collect();
        context.print(&json!({ "parts": parts }).to_string())?;
    } else {
        context.print(support::list().trim_end())?;
    }
    Ok(0)
}

fn inputs(context: &Context) -> Inputs {
    let (settings, settings_problems) = context.settings_or_defaults();
    let env = std::env::vars_os().collect();
    Inputs { settings, settings_problems, env, fs: shared_fs(), now: SystemClock.now() }
}

/// With what the bundle says of itself.
fn complete(
    inputs: &Inputs,
    parts: Vec<File>,
    outcomes: &[Outcome],
) -> Result<Vec<File>, CliError> {
    let about = json!({
        "version": env!("CARGO_PKG_VERSION"), "made_at": inputs.now, "parts": outcomes,
    });
    let about = serde_json::to_string_pretty(&about)
        .map_err(|error| CliError::new("internal", Exit::Failed, error.to_string()))?;
    let file = |name: &str, text| File { name: name.to_owned(), text };
    let mut files = vec![file("README.txt", support::readme(inputs.now, outcomes))];
    files.extend(parts);
    files.push(file("bundle.json", about + "\n"));
    Ok(files)
}

fn tell(
    context: &Context,
    output: &Path,
    bytes: usize,
    outcomes: &[Outcome],
    to_stdout: bool,
) -> Result<(), CliError> {
    if context.json {
        let document = json!({
            "file": output.to_string_lossy(), "bytes": bytes, "parts": outcomes,
        });
        return context.print(&document.to_string());
    }
    for outcome in outcomes {
        if let Some(problem) = &outcome.problem {
            context.printer.note(&format!("auditctl: {}: {problem}", outcome.name));
        }
    }
    let made = outcomes.iter().filter(|outcome| outcome.made).count();
    let told = format!(
        "{made} of {} parts, {bytes} bytes; look through it before you send it",
        outcomes.len()
    );
    if to_stdout {
        context.printer.note(&format!("auditctl: {told}"));
        return Ok(());
    }
    context.print(&format!("{}: {told}", output.display()))
}
