//! `record`: one event from flags, or NDJSON from a file or standard input.

mod arrived;
mod import;
mod input;
mod lines;
mod mapped;
mod position;
mod python;
mod shape;
mod sink;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::audit::record::sanitize::escape_for_terminal;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::collector::client::Answer;
use crate::json_place::JsonError;
use crate::units::parse_duration;
use sink::{Patience, Sink};

/// Record one event, or NDJSON from a file or standard input.
///
/// If a collector runs, `record` sends the events to its socket. Otherwise it opens the log
/// itself. Whatever it reports as recorded is durable. If the collector answers `rate_limited` or
/// `busy`, `record` waits as long as the answer says and sends again.
///
/// For one event it prints the seq: `recorded seq 42` on a terminal, otherwise the number alone.
/// Files may be plain, gzip or zstd, in UTF-8 or (with a byte order mark) UTF-16. Pipes work too.
/// To continue an import that was interrupted, run the same command again. While a collector
/// restarts, an import waits for it.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["event_type", "file"]))]
pub(crate) struct RecordArgs {
    /// What happened, such as `login`
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Who did it
    #[arg(long, conflicts_with = "file")]
    actor: Option<String>,
    /// Which service reports it
    #[arg(long, conflicts_with = "file")]
    source: Option<String>,
    /// What it was done to
    #[arg(long, conflicts_with = "file")]
    target: Option<String>,
    /// How it ended, such as `success`
    #[arg(long, conflicts_with = "file")]
    outcome: Option<String>,
    /// Anything else: a JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    details: Option<String>,
    /// Your own name for the event, up to 128 bytes. If the same event is sent with the same id
    /// again, it is not recorded again: `record` prints the seq of the first
    #[arg(long, conflicts_with = "file")]
    id: Option<String>,
    /// When it happened (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "file")]
    timestamp: Option<String>,
    /// Read events from files or pipes, one JSON object a line; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Format of the files: ndjson, an event a line; python-audit; cloudtrail, kubernetes, vault,
    /// github, okta, journald, laurel, cloudevents, otlp; or a [mapping.NAME] of the settings. With
    /// python-audit you can name a directory: its *.log* files are then read in the order in which
    /// they were written
    #[arg(long, value_parser = format, default_value = "ndjson", value_name = "FORMAT", requires = "file")]
    format: Format,
    /// Record nothing. Show what the first N records would become, from which path each field
    /// comes, and what does not fit [default: 10]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10", requires = "file")]
    explain: Option<u64>,
    /// python-audit: check each line's signature with the key in this file
    #[arg(long, value_name = "FILE", requires = "file")]
    hmac_key: Option<PathBuf>,
    /// python-audit: time zone of times that name none: UTC, local (from TZ or /etc/localtime), a
    /// name such as Europe/Berlin, or an offset such as +02:00. A time that the clock showed
    /// twice means the first; a time that it skipped is an error [default: UTC]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true, requires = "file")]
    assume_timezone: Option<String>,
    /// python-audit: continue after the last line of these files that the log already has
    #[arg(long, requires = "file")]
    resume: bool,
    /// Record all of the files from the start, even if an import of them was interrupted
    #[arg(long, requires = "file")]
    from_start: bool,
    /// How long to wait for a log that another program has open, or, during an import, for a
    /// collector that went away [default: 5s, 2m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// Report bad lines and continue. The exit code is 1 if there were any
    #[arg(long, requires = "file")]
    keep_going: bool,
    /// Move unknown keys into details instead of refusing the event
    #[arg(long, requires = "file")]
    lenient: bool,
}

/// A length of time, as in the settings.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// What a line of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Format {
    /// An event
    Ndjson,
    /// An entry of the Python utilities' logs
    PythonAudit,
    /// A foreign object, with the mapping of that name.
    Mapped(String),
}

fn format(text: &str) -> Result<Format, std::convert::Infallible> {
    Ok(match text {
        "ndjson" => Format::Ndjson,
        "python-audit" => Format::PythonAudit,
        // The settings know which there are.
        other => Format::Mapped(other.to_owned()),
    })
}

impl RecordArgs {
    /// How long a log is waited for, and a collector that went away: it may have to look
    /// through a long log before it takes events again.
    fn patience(&self) -> Patience {
        Patience {
            held: self.wait.unwrap_or(Duration::from_secs(5)),
            gone: self.wait.unwrap_or(Duration::from_secs(120)),
        }
    }
}

pub(crate) fn run(context: &Context, args: &RecordArgs) -> Result<u8, CliError> {
    let only_python = args.hmac_key.is_some() || args.assume_timezone.is_some() || args.resume;
    if args.format != Format::PythonAudit && only_python {
        return Err(CliError::usage(
            "--hmac-key, --assume-timezone and --resume are for --format python-audit",
        ));
    }
    if args.format != Format::Ndjson && args.lenient {
        return Err(CliError::usage("--lenient is for ndjson; other formats keep all keys anyway"));
    }
    if args.explain.is_some() && !matches!(args.format, Format::Mapped(_)) {
        return Err(CliError::usage(
            "--explain needs a --format that is mapped, such as cloudtrail",
        ));
    }
    if args.format == Format::PythonAudit && args.from_start {
        return Err(CliError::usage(
            "--from-start is for ndjson; python-audit starts at the beginning unless you add \
             --resume",
        ));
    }
    if let (Some(event_type), false) = (&args.event_type, args.file.is_empty()) {
        let event_type = escape_for_terminal(event_type);
        return Err(CliError::usage(format!(
            "--type {event_type} describes one event, and --file reads many, each with its own event_type"
        ))
        .hint(
            "to give lines an event_type: jq -c '. + {event_type: \"…\"}' FILE | auditctl record --file -",
        ));
    }
    let settings = context.settings(&[])?;
    if args.file.is_empty() {
        one(context, &settings, args)
    } else if let Some(first) = args.explain {
        mapped::explain(context, &settings, args, first)
    } else {
        import::run(context, &settings, args)
    }
}

/// The event that the flags describe, as a line.
fn line_of(args: &RecordArgs) -> Result<String, CliError> {
    let mut object = serde_json::Map::new();
    for (key, value) in [
        ("event_type", &args.event_type),
        ("actor", &args.actor),
        ("source", &args.source),
        ("target", &args.target),
        ("outcome", &args.outcome),
        ("timestamp", &args.timestamp),
        ("id", &args.id),
    ] {
        if let Some(value) = value {
            object.insert(key.to_owned(), json!(value));
        }
    }
    // The same kinds as at every other door.
    let wrong = |kind, message: String| CliError::new(kind, Exit::Usage, message);
    let mut line = serde_json::Value::Object(object).to_string();
    if let Some(details) = &args.details {
        let raw: &serde_json::value::RawValue = serde_json::from_str(details).map_err(|error| {
            let error = JsonError::of(&error, details.as_bytes());
            wrong("malformed", format!("--details is not JSON: {error}"))
        })?;
        let compact = crate::audit::record::sanitize::compact_object(raw.get())
            .map_err(|error| wrong("invalid", format!("--details: {error}")))?;
        line.truncate(line.len() - 1);
        line.push_str(",\"details\":");
        line.push_str(&compact);
        line.push('}');
    }
    Ok(line)
}

fn one(
    context: &Context,
    settings: &crate::config::Settings,
    args: &RecordArgs,
) -> Result<u8, CliError> {
    let line = line_of(args)?;
    lines::check(line.as_bytes(), crate::audit::ParseMode::Strict, settings)
        .map_err(|error| CliError::new(error.kind(), Exit::Usage, error.to_string()))?;
    let mut sink = Sink::open(settings, None, args.patience(), context.printer)?;
    loop {
        let answer = sink.send(&[line.as_bytes()])?.pop();
        match answer {
            Some(answer @ (Answer::Recorded(seq) | Answer::Duplicate(seq))) => {
                sink.close()?;
                let is_duplicate = matches!(answer, Answer::Duplicate(_));
                let text = if context.json && is_duplicate {
                    json!({ "seq": seq, "duplicate": true }).to_string()
                } else if context.json {
                    json!({ "seq": seq }).to_string()
                } else if context.prints_to_terminal() && is_duplicate {
                    format!("recorded before, seq {seq}")
                } else if context.prints_to_terminal() {
                    format!("recorded seq {seq}")
                } else {
                    seq.to_string()
                };
                context.print(&text)?;
                return Ok(0);
            }
            Some(Answer::Refused { kind, retry_after: Some(wait), .. }) if may_resend(&kind) => {
                context.printer.note(&format!("{kind}: trying again in {} ms", wait.as_millis()));
                std::thread::sleep(wait.max(Duration::from_millis(1)));
            }
            Some(Answer::Refused { kind, message, .. }) => return Err(refused(&kind, &message)),
            None => return Err(CliError::new("io", Exit::Failed, "no answer")),
        }
    }
}

/// Only what was certainly not recorded may be sent again.
fn may_resend(kind: &str) -> bool {
    matches!(kind, "rate_limited" | "busy")
}

fn refused(kind: &str, message: &str) -> CliError {
    let (kind, exit) = match kind {
        "malformed" => ("malformed", Exit::Usage),
        "invalid" => ("invalid", Exit::Usage),
        "too_large" => ("too_large", Exit::Usage),
        "conflict" => ("conflict", Exit::Busy),
        "forbidden" => ("forbidden", Exit::Busy),
        "disk_full" => ("disk_full", Exit::Failed),
        "unavailable" => ("unavailable", Exit::Failed),
        "lost" => ("lost", Exit::Failed),
        _ => ("refused", Exit::Failed),
    };
    CliError::new(kind, exit, escape_for_terminal(message))
}
