//! `serve`: the collector.

mod alerting;
mod archiving;
mod witnesses;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use clap::Args;

use crate::access::tls::Pair;
use crate::archive::ArchiveHolder;
use crate::audit::state::status::Mode;
use crate::audit::write::own::Change;
use crate::audit::{AuditLog, BackupsHold, Options, Tunables};
use crate::cli::archives::Archive;
use crate::cli::context::{Context, Override};
use crate::cli::exit::{CliError, Exit};
use crate::cli::{found, heads, open};
use crate::clock::SystemClock;
use crate::collector::{
    self, CollectorError, CollectorOptions, HealthFormat, Push, Reloaded, Stopped, TokenOptions,
    Warning,
};
use crate::config::{Origin, Settings};
use crate::fsio::OsFs;
use crate::health::{self, FoundBy, Status};
use crate::ui;

use alerting::Alerting;
use archiving::Archiving;
use witnesses::Witnesses;

/// Run the collector: take events over a Unix socket and HTTP.
///
/// Prints one line on stderr once it takes events. On SIGTERM or SIGINT it writes what it has
/// accepted and closes the log. A second signal ends it at once, unless it is the same signal
/// within half a second, as `timeout` sends it. On SIGHUP it reads the settings again.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address for HTTP, or `off` [default: 127.0.0.1:9750]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Path of the socket [default: audit.sock in the log directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Give up the damaged records, and no others, and continue the log. The damaged bytes are
    /// kept beside the log, and a record names what was given up. Try `auditctl repair` first: a
    /// backup may hold these records
    #[arg(long)]
    accept_corruption: bool,
    /// Continue a log that contradicts its backups or pushed checkpoints. This begins a new epoch
    /// and leaves a record of it
    #[arg(long)]
    accept_rollback: bool,
    /// How long to wait for a log that another program has open
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = super::record::duration)]
    wait: Duration,
}

impl ServeArgs {
    fn overrides(&self) -> Vec<Override> {
        let mut overrides = Vec::new();
        if let Some(http) = &self.http {
            overrides.push(("collector.http".to_owned(), http.clone(), "--http".to_owned()));
        }
        if let Some(socket) = &self.socket {
            let socket = socket.to_string_lossy().into_owned();
            overrides.push(("collector.socket".to_owned(), socket, "--socket".to_owned()));
        }
        overrides
    }
}

pub(crate) fn run(context: &Context, args: &ServeArgs) -> Result<u8, CliError> {
    keep_memory_private(context);
    let settings = context.settings(&args.overrides())?;
    // The log comes after the options were found good.
    let running =
        Arc::new(Running { log: OnceLock::new(), settings: Mutex::new(settings.clone()) });
    Alerting::check(&settings)?;
    Witnesses::check(&settings)?;
    let alerting = Arc::new(alerting(context, &running));
    let archiving = Arc::new(Archiving::new(context, &settings)?);
    let witnesses = Arc::new(Witnesses::default());
    let beside = (&running, &alerting, &archiving, &witnesses);
    let options = collector_options(context, args, &settings, beside)?;
    let prepared =
        collector::prepare(options).map_err(|error| collector_error(&error, &settings))?;
    let (log_options, unread) =
        heads::of_collector(open::options(&settings, Mode::Collector), &settings);
    for what in unread {
        let text = format!("auditctl: the log was not compared with {what}");
        context.printer.error(&Warning::NotCompared.says(&text));
    }
    let log_options = Options {
        backups: archive_too(log_options.backups, &running),
        accept_corruption: args.accept_corruption,
        accept_rollback: args.accept_rollback,
        ..log_options
    };
    let log = open::patiently(&log_options, args.wait, Some(context.printer))
        .inspect_err(|error| found::refused(&settings, error, FoundBy::Start))?;
    if args.accept_corruption {
        // All of it was read, what is damaged was given up, and health says so itself.
        found::ended(&settings, false);
    }
    running.log.get_or_init(|| log.clone());
    // Events are taken without alerts too; health says that they are missing.
    if let Err(reason) = alerting.go_on(&log, &settings) {
        context.printer.error(&format!("auditctl: no alerts: {reason}; SIGHUP tries again"));
    }
    archiving.go_on(&settings)?;
    let printer = context.printer;
    let warn = Arc::new(move |text: &str| printer.error(&format!("auditctl: {text}")));
    if let Err(reason) = witnesses.start(&log, &settings, warn) {
        context.printer.error(&format!("auditctl: no witness is asked: {reason}"));
    }
    let runtime = runtime()?;
    match runtime.block_on(collector::run(log.clone(), prepared)) {
        Ok(Stopped::Drained) => {
            context.printer.note("auditctl: stopped");
            // The log is closed; a query that nobody waits for any more may still read.
            runtime.shutdown_background();
            Ok(0)
        }
        Ok(Stopped::Forced) => {
            let text = "auditctl: ended at once; the log was not closed";
            context.printer.error(&Warning::Forced.says(text));
            // Neither waited for nor closed on the way out: that may be what hangs.
            runtime.shutdown_background();
            std::mem::forget(witnesses);
            std::mem::forget(log);
            Ok(Exit::Interrupted as u8)
        }
        Err(error) => {
            runtime.shutdown_background();
            alerting.stop();
            witnesses.stop();
            log.close()?;
            Err(collector_error(&error, &settings))
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // For what waits: queries, health, files. Each thread keeps memory of its own.
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|error| CliError::new("io", Exit::Failed, format!("cannot start: {error}")))
}

/// Runs another server to its end, as the collector is run.
pub(super) fn run_to_end<T>(server: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = runtime()?;
    let ended = runtime.block_on(server);
    runtime.shutdown_background();
    Ok(ended)
}

/// Retention asks the archive as well, whichever the settings name by then.
fn archive_too(
    backups: Option<Arc<dyn BackupsHold>>,
    running: &Arc<Running>,
) -> Option<Arc<dyn BackupsHold>> {
    let running = Arc::clone(running);
    let open = move || Archive::open_of(&running.settings());
    Some(Arc::new(ArchiveHolder::new(backups?, Box::new(open))))
}

/// More than may be busy at the same time by their own limits.
const BLOCKING_THREADS: usize = 32;

/// The signing key and everybody's events are in this process's memory: no core
/// dump is written, and nobody but root may attach to it or read its memory.
pub(super) fn keep_memory_private(context: &Context) {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        let text = format!("auditctl: a crash may write the signing key into a core dump: {error}");
        context.printer.error(&Warning::Dumpable.says(&text));
    }
}

/// What the collector's callbacks need.
struct Running {
    log: OnceLock<AuditLog>,
    settings: Mutex<Settings>,
}

impl Running {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn alerting(context: &Context, running: &Arc<Running>) -> Alerting {
    let printer = context.printer;
    let warn = Arc::new(move |text: &str| printer.error(&format!("auditctl: {text}")));
    let running = Arc::clone(running);
    Alerting::new(move || running.settings().clone(), warn)
}

pub(super) fn collector_error(error: &CollectorError, settings: &Settings) -> CliError {
    let (kind, exit) = match error {
        CollectorError::NeedsToken(_) | CollectorError::Tokens(_) => ("token", Exit::Usage),
        CollectorError::NeedsTls(_) | CollectorError::Tls(_) => ("tls", Exit::Usage),
        CollectorError::SocketPath { .. } | CollectorError::NotASocket { .. } => {
            ("socket_path", Exit::Usage)
        }
        CollectorError::SocketInUse { .. } => ("in_use", Exit::Busy),
        CollectorError::Http { source, .. } if source.kind() == ErrorKind::AddrInUse => {
            ("in_use", Exit::Busy)
        }
        _ => ("collector", Exit::Failed),
    };
    let mut new = CliError::new(kind, exit, error.to_string());
    match error {
        CollectorError::Tokens(error) => {
            new.path = error.path().map(Path::to_path_buf);
            new.hint = error.hint();
            new
        }
        CollectorError::Tls(error) => {
            new.path = Some(error.path().to_path_buf());
            new.hint = error.hint().map(str::to_owned);
            new
        }
        CollectorError::NotASocket { path } | CollectorError::SocketInUse { path } => {
            new.path = Some(path.clone());
            new.hint("choose another one with --socket PATH")
        }
        CollectorError::SocketPath { path, .. } => {
            new.path = Some(path.clone());
            new.hint("choose a shorter one, such as --socket /run/auditctl/audit.sock")
        }
        CollectorError::Http { address, .. } => {
            let asked = match settings.origin("collector.http") {
                Origin::Default => format!("{address} is the default"),
                origin => format!("{address} was asked for by {origin}"),
            };
            new.hint(format!("{asked}; choose another address with --http ADDR, or --http off"))
        }
        _ => new,
    }
}

/// What runs beside the collector.
type Beside<'a> = (&'a Arc<Running>, &'a Arc<Alerting>, &'a Arc<Archiving>, &'a Arc<Witnesses>);

fn collector_options(
    context: &Context,
    args: &ServeArgs,
    settings: &Settings,
    (running, alerting, archiving, witnesses): Beside<'_>,
) -> Result<CollectorOptions, CliError> {
    let printer = context.printer;
    let log_dir = settings.log_dir.clone();
    let (for_health, current) = (Arc::clone(running), Arc::clone(running));
    let before_close = Arc::clone(alerting);
    let after_close = (Arc::clone(archiving), Arc::clone(witnesses));
    let (to, url) = (settings.collector.checkpoint_push_to.clone(), Alerting::push_url(settings)?);
    let every = settings.collector.checkpoint_push_interval;
    let push = (to.is_some() || url.is_some()).then_some(Push { to, url, every });
    Ok(CollectorOptions {
        notify_socket: std::env::var_os("NOTIFY_SOCKET"),
        push,
        before_close: Box::new(move || before_close.stop()),
        // The last records, too, are to leave the host, and to be cosigned.
        after_close: Box::new(move || {
            after_close.1.stop();
            after_close.0.end();
        }),
        health: Arc::new(move |format| {
            let settings = for_health.settings().clone();
            // Who asks this very process is told of what it has done by now.
            if let Some(log) = for_health.log.get() {
                log.page().publish_changes();
            }
            render_health(&settings, format)
        }),
        settings: Arc::new(move || current.settings().clone()),
        reload: reloader(
            context,
            args,
            (Arc::clone(running), Arc::clone(alerting), Arc::clone(archiving)),
        ),
        ready: Box::new(move |ready| {
            let scheme = if ready.https { "https" } else { "http" };
            let http =
                ready.http.map_or("off".to_owned(), |address| format!("{scheme}://{address}"));
            printer.error(&format!(
                "auditctl: ready: log {}, socket {}, http {http} (pid {})",
                log_dir.display(),
                ready.socket.display(),
                std::process::id()
            ));
        }),
        warn: Arc::new(move |text| printer.error(&format!("auditctl: {text}"))),
        ..CollectorOptions::from(settings)
    })
}

/// SIGHUP: what may change while the log is open changes; the rest is named.
fn reloader(
    context: &Context,
    args: &ServeArgs,
    (running, alerting, archiving): (Arc<Running>, Arc<Alerting>, Arc<Archiving>),
) -> Arc<dyn Fn() -> Result<Reloaded, String> + Send + Sync> {
    let load = context.loader(args.overrides());
    let printer = context.printer;
    Arc::new(move || {
        let new = load().map_err(|error| error.message)?;
        Archiving::check(&new).map_err(|error| error.message)?;
        if let Some(log) = running.log.get() {
            alerting.go_on(log, &new)?;
        }
        archiving.go_on(&new).map_err(|error| error.message)?;
        let mut old = running.settings();
        let changed = new.changes_from(&old);
        let mut applied = Vec::new();
        for key in changed {
            if key.reloads {
                applied.push(Change {
                    key: key.name.to_owned(),
                    from: key.text(&old),
                    to: key.text(&new),
                });
            } else {
                let text =
                    format!("auditctl: a change of {} takes effect after a restart", key.name);
                printer.error(&Warning::RestartNeeded.says(&text));
            }
        }
        let count = applied.len();
        if let Some(log) = running.log.get() {
            log.reload(Tunables {
                rate_limit: Some(Options::from(&new).rate_limit),
                redact: Some(new.redact.clone()),
                changes: applied,
            })
            .map_err(|error| error.to_string())?;
        }
        printer.error(&format!("auditctl: settings reloaded, {count} changed"));
        let reloaded = Reloaded {
            allowed_uids: new.collector.allowed_uids.clone(),
            allowed_gids: new.collector.allowed_gids.clone(),
            read_uids: new.collector.read_uids.clone(),
            read_gids: new.collector.read_gids.clone(),
            tokens: token_options(&new),
            tls: tls_pair(&new),
        };
        *old = new;
        Ok(reloaded)
    })
}

fn token_options(settings: &Settings) -> TokenOptions {
    let collector = &settings.collector;
    TokenOptions {
        file: collector.token_file.clone(),
        rate: collector.token_rate,
        requests: collector.token_requests,
    }
}

/// The settings have both or none: see their check.
fn tls_pair(settings: &Settings) -> Option<Pair> {
    let certificate = settings.collector.tls_cert.clone()?;
    Some(Pair { certificate, key: settings.collector.tls_key.clone()? })
}

/// As `auditctl health` says it; HTTP status 503 when critical or unknown.
fn render_health(settings: &Settings, format: HealthFormat) -> (u16, String, String) {
    let health = health::check(settings, &OsFs, &SystemClock);
    let (snapshot, alerts) = (health.snapshot.as_ref(), health.alerts.as_ref());
    match format {
        HealthFormat::Json => {
            let well = matches!(health.report.status, Status::Healthy | Status::Warning);
            let status = if well { 200 } else { 503 };
            (status, "application/json".to_owned(), ui::health_json(&health.report))
        }
        HealthFormat::Prometheus => (
            200,
            "text/plain; version=0.0.4; charset=utf-8".to_owned(),
            ui::prometheus(&health.report, snapshot, alerts, false),
        ),
        HealthFormat::OpenMetrics => (
            200,
            "application/openmetrics-text; version=1.0.0; charset=utf-8".to_owned(),
            ui::prometheus(&health.report, snapshot, alerts, true),
        ),
    }
}
