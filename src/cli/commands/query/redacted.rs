//! `--redacted-value`: what stands for a value that was redacted. The value itself
//! goes no further than this process.

use std::io::{IsTerminal, Read};
use std::path::Path;

use crate::audit::read::query::Request;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::{RedactKey, RedactKeyError};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::config::Settings;
use crate::fsio::{Fs, OsFs};
use crate::ui;

impl From<RedactKeyError> for CliError {
    fn from(error: RedactKeyError) -> Self {
        let mut new = Self::new("redact_key", Exit::Failed, error.to_string());
        new.path = error.path().map(Path::to_path_buf);
        match &error {
            RedactKeyError::Io { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                new.hint("only its owner can read the key: run this as the log's own user")
            }
            _ => new,
        }
    }
}

/// The same question about the records that hold the value's HMAC: anywhere, or in
/// one place.
pub(super) fn asked(
    context: &Context,
    settings: &Settings,
    mut request: Request,
    (source, place): (&Path, Option<&str>),
) -> Result<Request, CliError> {
    let path = settings.redact_key_file();
    let key = RedactKey::load(&OsFs, &path)?.ok_or_else(|| {
        let text = format!("there is no redaction key at {}", path.display());
        let mut new = CliError::new("no_redact_key", Exit::Failed, text).hint(
            "a log gets one when the setting `redact` names something; redact_key_path says where \
             it is",
        );
        new.path = Some(path);
        new
    })?;
    let redacted = key.redacted(value(context, source)?.as_bytes());
    let patterns = match place {
        None => &mut request.grep,
        Some("actor") => &mut request.actor,
        Some("source") => &mut request.source,
        Some("target") => &mut request.target,
        Some("outcome") => &mut request.outcome,
        Some("id") => &mut request.id,
        Some(path) => {
            request.conditions.push(format!("{path} = {redacted}"));
            return Ok(request);
        }
    };
    if let Some(place) = place.filter(|_| !patterns.is_empty()) {
        return Err(CliError::usage(format!(
            "--redacted-in {place} and --{place} exclude each other"
        )));
    }
    patterns.push(redacted);
    Ok(request)
}

/// The value, without the line end after it.
fn value(context: &Context, source: &Path) -> Result<String, CliError> {
    let bytes = if source != Path::new("-") {
        // What was given is not repeated: it may be the value itself.
        let given = OsFs.read_given(source, MAX_LINE_BYTES as u64);
        given.map(|(bytes, _)| bytes).map_err(|error| {
            CliError::new(
                "io",
                Exit::Usage,
                format!("the file that --redacted-value names cannot be read: {error}"),
            )
            .hint("give a file that holds the value; the value itself is never an argument")
        })?
    } else if std::io::stdin().is_terminal() {
        let failed = |error| CliError::io("ask on", "the terminal", &error);
        let interrupted = || CliError::new("interrupted", Exit::Interrupted, "interrupted");
        let typed = ui::ask_secret("Value (not shown)").map_err(failed)?;
        typed.ok_or_else(interrupted)?.into_bytes()
    } else {
        context.printer.note("auditctl: reading the value from standard input");
        let mut bytes = Vec::new();
        let limit = MAX_LINE_BYTES as u64 + 1;
        std::io::stdin().take(limit).read_to_end(&mut bytes).map_err(|error| {
            CliError::new("io", Exit::Failed, format!("standard input cannot be read: {error}"))
        })?;
        bytes
    };
    if bytes.is_empty() || bytes.len() > MAX_LINE_BYTES {
        let what = if bytes.is_empty() { "nothing" } else { "more than any value" };
        return Err(CliError::usage(format!("--redacted-value was given {what}")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| CliError::usage("the value for --redacted-value is not UTF-8"))?;
    let text =
        text.strip_suffix('\n').map_or(&*text, |rest| rest.strip_suffix('\r').unwrap_or(rest));
    Ok(text.to_owned())
}
