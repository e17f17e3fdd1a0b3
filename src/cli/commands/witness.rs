//! `witness`: cosigns the checkpoints of other logs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::audit::keys::cosignature::CosigningKey;
use crate::audit::keys::signer::KeyError;
use crate::audit::state::status::Mode;
use crate::audit::{Durability, Options};
use crate::cli::commands::serve;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{heads, open};
use crate::collector::{self, Stopped, Warning, WitnessOptions};
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::witness::{AcceptError, Accepted, BookError, KeyOf, Notary};

/// Cosign the checkpoints of other logs, so that nobody can roll them back or show two histories.
///
/// Run a witness where those who can write the logs cannot: on another host, under another
/// account. It keeps a log of its own (--log-dir) that nothing else may use, and records each
/// cosigning there before it answers. It speaks C2SP's tlog-witness over HTTP, without TLS: put a
/// proxy before it where others would read or alter what it says. docs/witnesses.md tells how to
/// set it up. On SIGHUP it reads --accept again, on SIGTERM it ends.
#[derive(Debug, Args)]
pub(crate) struct WitnessArgs {
    /// A file with the verifier keys of the logs to cosign, one a line, as audit.pub has them. The
    /// name of a key is the origin of its log
    #[arg(long, value_name = "FILE", required_unless_present = "show_key")]
    accept: Option<PathBuf>,
    /// Address for HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9752")]
    http: SocketAddr,
    /// The witness's name, such as witness.example.com/w1. Needed for the first start, which makes
    /// the key
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The witness's private key [default: witness.key in the log directory]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print the witness's verifier key, and end. Makes the key if there is none
    #[arg(long)]
    show_key: bool,
    /// Start although the log was put back to an earlier state, or does not know the key. The
    /// witness forgets what the log does not say, and may cosign a history that contradicts it
    #[arg(long)]
    accept_rollback: bool,
    /// How long to wait for a log that another program has open
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = super::record::duration)]
    wait: Duration,
}

pub(crate) fn run(context: &Context, args: &WitnessArgs) -> Result<u8, CliError> {
    serve::keep_memory_private(context);
    let settings = context.settings(&[])?;
    let path = args.key.clone().unwrap_or_else(|| settings.log_dir.join("witness.key"));
    let key = key(&path, args.name.as_deref())?;
    if args.show_key
        && let KeyOf::Stored(key) = &key
    {
        context.print(&format!("{}\n", key.verifier()))?;
        return Ok(0);
    }
    let accepted = match args.accept.as_deref().filter(|_| !args.show_key) {
        Some(path) => Accepted::load(&OsFs, path).map_err(|error| accept_error(&error))?,
        None => Accepted::default(),
    };
    let listener = match args.show_key {
        true => None,
        false => Some(
            collector::listen_for_witness(args.http)
                .map_err(|error| serve::collector_error(&error, &settings))?,
        ),
    };
    let notary = Arc::new(start(context, args, (&settings, &path), (key, accepted))?);
    let Some(listener) = listener else {
        let verifier = notary.verifier().to_string();
        notary.log().close()?;
        context.print(&format!("{verifier}\n"))?;
        return Ok(0);
    };
    let server = collector::run_witness(notary, listener, options(context, args, &settings));
    match serve::run_to_end(server)? {
        Ok(Stopped::Drained) => {
            context.printer.note("auditctl: stopped");
            Ok(0)
        }
        Ok(Stopped::Forced) => {
            let text = "auditctl: ended at once; the log was not closed";
            context.printer.error(&Warning::Forced.says(text));
            Ok(Exit::Interrupted as u8)
        }
        Err(error) => Err(serve::collector_error(&error, &settings)),
    }
}

/// The key in its file, or a new one.
fn key(path: &Path, name: Option<&str>) -> Result<KeyOf, CliError> {
    match CosigningKey::load(&OsFs, path) {
        Ok(key) => {
            let is = key.verifier().name();
            match name.filter(|name| *name != is) {
                Some(name) => {
                    let text = format!("the key in {} is {is}'s, not {name}'s", path.display());
                    Err(CliError::usage(text).hint("leave out --name, or name another --key FILE"))
                }
                None => Ok(KeyOf::Stored(key)),
            }
        }
        Err(KeyError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let name = name.ok_or_else(|| {
                let text = format!("there is no witness key at {} yet", path.display());
                CliError::usage(text)
                    .hint("name the witness, and its key is made: --name witness.example.com/w1")
            })?;
            let key = CosigningKey::generate(name);
            key.map(KeyOf::New).map_err(|error| CliError::usage(format!("--name: {error}")))
        }
        Err(error) => Err(key_error(&error, path)),
    }
}

fn key_error(error: &KeyError, path: &Path) -> CliError {
    let mut new = CliError::new("key", Exit::Failed, error.to_string());
    new.path = Some(path.to_path_buf());
    new
}

fn start(
    context: &Context,
    args: &WitnessArgs,
    (settings, path): (&Settings, &Path),
    (key, accepted): (KeyOf, Accepted),
) -> Result<Notary, CliError> {
    let (log_options, unread) =
        heads::of_collector(open::options(settings, Mode::Collector), settings);
    for what in unread {
        let text = format!("auditctl: the log was not compared with {what}");
        context.printer.error(&Warning::NotCompared.says(&text));
    }
    let log_options = Options {
        accept_rollback: args.accept_rollback,
        // What it says about other logs is never forgotten, refused or put off.
        retention: None,
        rate_limit: None,
        redact: Vec::new(),
        durability: Durability::Commit,
        ..log_options
    };
    let is_new = matches!(key, KeyOf::New(_));
    let log = open::patiently(&log_options, args.wait, Some(context.printer))?;
    let notary = Notary::new(log.clone(), key, accepted, args.accept_rollback);
    let notary = notary.map_err(|error| book_error(&error, settings)).and_then(|notary| {
        if is_new {
            notary.store_key(&OsFs, path).map_err(|error| key_error(&error, path))?;
        }
        Ok(notary)
    });
    notary.inspect_err(|_| {
        // The operator needs the first error, not what closing says after it.
        let _ = log.close();
    })
}

fn options(context: &Context, args: &WitnessArgs, settings: &Settings) -> WitnessOptions {
    let printer = context.printer;
    let log_dir = settings.log_dir.clone();
    let accept = args.accept.clone();
    WitnessOptions {
        notify_socket: std::env::var_os("NOTIFY_SOCKET"),
        reload: Arc::new(move || {
            let Some(path) = &accept else { return Ok(Accepted::default()) };
            let accepted = Accepted::load(&OsFs, path).map_err(|error| error.to_string())?;
            let logs = accepted.len();
            printer.error(&format!("auditctl: the logs were read again: {logs} accepted"));
            Ok(accepted)
        }),
        ready: Box::new(move |address| {
            printer.error(&format!(
                "auditctl: ready: witness at http://{address}, log {} (pid {})",
                log_dir.display(),
                std::process::id()
            ));
        }),
        warn: Arc::new(move |text| printer.error(&format!("auditctl: {text}"))),
    }
}

fn accept_error(error: &AcceptError) -> CliError {
    let text = format!("--accept: {error}");
    let mut new = CliError::new("witness_accept", Exit::Usage, text)
        .hint("give each log's audit.pub, from its owner; lines that begin with # are comments");
    let (AcceptError::Io { path, .. } | AcceptError::Line { path, .. }) = error;
    new.path = Some(path.clone());
    new
}

fn book_error(error: &BookError, settings: &Settings) -> CliError {
    let text = error.to_string();
    let mut new = match error {
        BookError::UnknownKey { .. } | BookError::PutBack { .. } | BookError::Restored { .. } => {
            CliError::new("witness_put_back", Exit::Found, text).hint(
                "make a new witness: another --log-dir, --key and --name, and give its verifier key \
                 to those who rely on it. If you are certain that the log here says everything that \
                 this key has cosigned, start once with --accept-rollback",
            )
        }
        BookError::NotAWitness => {
            CliError::usage(text).hint("give the witness a directory of its own: --log-dir DIR")
        }
        BookError::Unreadable(_) => CliError::new("witness", Exit::Found, text).hint(
            "run `auditctl verify`: the witness cosigns nothing before it knows what it cosigned",
        ),
        BookError::Unrecorded(_) => CliError::new("witness", Exit::Failed, text)
            .hint("`auditctl health` tells whether the disk is full or fails"),
    };
    new.path = Some(settings.log_dir.clone());
    new
}
