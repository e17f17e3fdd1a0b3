//! `token`: who may use HTTP, and for what.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::access::{
    FirstTokenFor, MAX_NAME_CHARS, NameError, Role, Secret, Token, TokenFileError, add_token,
    read_tokens, remove_token, revoke_token,
};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::collector::TOKENS_LOOKED_AT_EVERY;
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::ui;
use crate::units::{format_duration, parse_duration};

/// Make, list and revoke tokens for HTTP.
///
/// The tokens are in `collector.token_file`, hashed. A token is shown only once, when it is made.
/// A running collector notices by itself that the file changed. docs/access.md says who may do
/// what.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The token file [default: collector.token_file]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    New(NewArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// Make a token and print it on stdout. It is never shown again.
#[derive(Debug, Args)]
struct NewArgs {
    /// The name that records and messages use for it. No other token can ever have this name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What its holder may do
    #[arg(long, value_enum, value_name = "ROLE", default_value = "write")]
    role: RoleArg,
    /// Events a second, and twice as many at once. This then is its only limit [default:
    /// collector.token_rate]
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How long it is valid: `90d` from now, or until an RFC 3339 time [default: for ever]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    /// Send events; health and metrics
    Write,
    /// Query, read the checkpoint; health and metrics
    Read,
    /// Both
    ReadWrite,
    /// Health, metrics and the checkpoint: no record
    Monitor,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Write => Self::Write,
            RoleArg::Read => Self::Read,
            RoleArg::ReadWrite => Self::ReadWrite,
            RoleArg::Monitor => Self::Monitor,
        }
    }
}

/// List all tokens, also those that are no longer valid.
#[derive(Debug, Args)]
struct ListArgs {}

/// Revoke a token. It is refused from then on, and its name stays taken.
#[derive(Debug, Args)]
struct RevokeArgs {
    /// The token's name
    #[arg(value_name = "NAME")]
    name: String,
}

pub(crate) fn run(context: &Context, args: &TokenArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let file = args.token_file.clone().or_else(|| settings.collector.token_file.clone());
    let file = file.ok_or_else(|| {
        CliError::usage("no token file is set").hint(
            "set collector.token_file = \"/etc/auditctl/tokens\" (or another place that the \
             collector may read), or name one with --token-file FILE",
        )
    })?;
    match &args.action {
        Action::New(new) => make(context, &settings, file, new)?,
        Action::List(ListArgs {}) => {
            let tokens = read_tokens(&OsFs, &file)?;
            let now = SystemClock.now();
            context.print(&if context.json {
                ui::tokens_json(&tokens, now)
            } else {
                ui::tokens_text(&tokens, now)
            })?;
        }
        Action::Revoke(RevokeArgs { name }) => {
            let token = revoke_token(&file, name, SystemClock.now())?;
            if context.json {
                let document = json!({ "name": token.name, "revoked": token.revoked });
                context.print(&document.to_string())?;
            }
            context.printer.note(&format!("token \"{name}\" is revoked; {}", noticed("refuses")));
        }
    }
    Ok(0)
}

fn make(
    context: &Context,
    settings: &Settings,
    file: PathBuf,
    args: &NewArgs,
) -> Result<(), CliError> {
    let now = SystemClock.now();
    let expires = args.expires.as_ref().map(|text| until(text, now)).transpose()?;
    let secret = Secret::generate().map_err(|error| {
        CliError::new("io", Exit::Failed, format!("the system gives no random numbers: {error}"))
    })?;
    let token = Token {
        name: args.name.clone(),
        role: args.role.into(),
        created: now,
        expires,
        rate: args.rate,
        revoked: None,
        sha256: secret.digest(),
    };
    add_token(&file, token.clone(), FirstTokenFor::OwnerOf(&settings.log_dir))?;
    let shown = if context.json {
        let mut document = ui::token_value(&token, now);
        document["token"] = json!(secret.reveal());
        document["file"] = json!(file.to_string_lossy());
        context.stream(&document.to_string())
    } else {
        context.stream(secret.reveal())
    };
    if let Err(error) = shown {
        // Nobody has it: it must not be there either.
        remove_token(&file, &token.name)?;
        let said = if error.is_broken_pipe() { "nobody reads it" } else { &error.message };
        let text = format!(
            "the token could not be written to standard output, so it was not \
                            made: {said}"
        );
        return Err(CliError::new("stdout", Exit::Failed, text));
    }
    context.printer.note(&format!(
        "token \"{}\" ({}) added to {}; {}\nThis is the only time that it is shown.",
        token.name,
        token.role,
        file.display(),
        noticed("takes")
    ));
    Ok(())
}

fn noticed(does: &str) -> String {
    let within = format_duration(TOKENS_LOOKED_AT_EVERY);
    format!("a running collector {does} it within {within}")
}

/// A time to come: so long from now, or as RFC 3339.
fn until(text: &str, now: Timestamp) -> Result<Timestamp, CliError> {
    let refuse = |what: &str| {
        CliError::usage(format!("--expires \"{text}\": {what}"))
            .hint("say how long, such as 90d or 12h, or until when, such as 2027-01-31T00:00:00Z")
    };
    let at = match parse_duration(text) {
        Ok(duration) => {
            let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(now.micros().saturating_add(micros))
        }
        Err(_) => text.parse().map_err(|_| refuse("neither a duration nor a time"))?,
    };
    if at <= now {
        return Err(refuse("that is not in the future"));
    }
    Ok(at)
}

impl From<TokenFileError> for CliError {
    fn from(error: TokenFileError) -> Self {
        let exit = match &error {
            TokenFileError::Io { .. } => Exit::Failed,
            _ => Exit::Usage,
        };
        let mut new = Self::new("token", exit, error.to_string());
        new.path = error.path().map(std::path::Path::to_path_buf);
        new.hint = match &error {
            TokenFileError::Name(NameError) => {
                Some(format!("for example web-1; at most {MAX_NAME_CHARS} characters"))
            }
            error => error.hint(),
        };
        new
    }
}
