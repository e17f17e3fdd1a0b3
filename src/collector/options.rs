//! How a collector is run: from the settings, or from the log's directory alone.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{
    BeforeClose, Current, HealthFormat, OnReady, Push, Ready, Reload, Reloaded, RenderHealth,
    TokenOptions, Warn,
};
use crate::access::tls::Pair;
use crate::clock::SystemClock;
use crate::config::{CollectorSettings, Listener, Mappings, Settings};
use crate::fsio::OsFs;
use crate::health::{self, Elsewhere, Status};

/// How to run a collector. What a method does not set is set as a field.
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct CollectorOptions {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Where who started this is told how it goes, as systemd has it: a path, or `@` and
    /// an abstract name.
    pub notify_socket: Option<OsString>,
    /// The address for HTTP; `None`: no HTTP.
    pub http: Option<SocketAddr>,
    /// The tokens for HTTP; required for any address but loopback.
    pub tokens: TokenOptions,
    /// The certificate for HTTPS and its key; required for any address but loopback,
    /// unless `allow_plain_http`.
    pub tls: Option<Pair>,
    /// Whether any address may do without TLS: a proxy on another machine has it.
    pub allow_plain_http: bool,
    /// Users who may write, besides root and the collector's own.
    pub allowed_uids: Vec<u32>,
    /// Groups that may write.
    pub allowed_gids: Vec<u32>,
    /// Users who may query, besides root and the collector's own.
    pub read_uids: Vec<u32>,
    /// Groups that may query.
    pub read_gids: Vec<u32>,
    /// Whether each query leaves a record before it is answered.
    pub audit_reads: bool,
    /// Connections at once, to the socket and to HTTP each.
    pub max_connections: usize,
    /// Connections at once of one user, to the socket and to HTTP on loopback each.
    pub max_connections_per_uid: usize,
    /// Connections to HTTP at once of one address but loopback.
    pub max_connections_per_address: usize,
    /// A line or request that was begun must end within this.
    pub read_timeout: Duration,
    /// A peer that does not take its answers for so long is closed.
    pub write_timeout: Duration,
    /// A peer that sends nothing for so long is closed.
    pub idle_timeout: Duration,
    /// A request body in bytes, at most.
    pub max_body: u64,
    /// What requests and answers may take over all connections, in bytes; at least 48 MiB.
    pub max_memory: u64,
    /// How foreign events are mapped; those that are built in are always there.
    pub mappings: Mappings,
    /// Where foreign events come in without an answer.
    pub listeners: Vec<Listener>,
    /// Where checkpoints are pushed to; `None`: nowhere.
    pub push: Option<Push>,
    /// Backups and the archive, for what `/v1/coverage` says of them.
    pub elsewhere: Elsewhere,
    /// Called when nothing more is taken, before the log is closed.
    pub before_close: Box<BeforeClose>,
    /// Called once the log is closed, before the collector ends.
    pub after_close: Box<BeforeClose>,
    /// Renders health and metrics.
    pub health: Arc<RenderHealth>,
    /// The settings as they are now, by which the page's views are made.
    pub(crate) settings: Arc<Current>,
    /// Reads the settings again, for SIGHUP.
    pub reload: Arc<Reload>,
    /// Told once events can be taken.
    pub ready: Box<OnReady>,
    /// Told what an operator should know.
    pub warn: Arc<Warn>,
}

impl std::fmt::Debug for CollectorOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CollectorOptions")
            .field("socket", &self.socket)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl CollectorOptions {
    /// The program's defaults, for the log in `log_dir`: the socket is `audit.sock` in it, and
    /// HTTP is at the port of the settings' default on loopback.
    #[must_use]
    pub fn new(log_dir: impl Into<PathBuf>) -> Self {
        Self::from(&Settings { log_dir: log_dir.into(), ..Settings::default() })
    }

    /// The Unix socket.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = path.into();
        self
    }

    /// The address for HTTP; `None` for no HTTP. Any but loopback needs
    /// [`tokens`](Self::tokens), and [`tls`](Self::tls) unless `allow_plain_http` is set.
    #[must_use]
    pub fn http(mut self, address: impl Into<Option<SocketAddr>>) -> Self {
        self.http = address.into();
        self
    }

    /// The file of tokens for HTTP, which `auditctl token new` makes.
    #[must_use]
    pub fn tokens(mut self, file: impl Into<PathBuf>) -> Self {
        self.tokens.file = Some(file.into());
        self
    }

    /// The certificate for HTTPS with its chain, and its private key; both are files in PEM.
    #[must_use]
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(Pair { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Called when nothing more is taken, before the log is closed.
    #[must_use]
    pub fn before_close(mut self, call: impl Fn() + Send + Sync + 'static) -> Self {
        self.before_close = Box::new(call);
        self
    }

    /// Called once the log is closed, before the collector ends: for what follows its end.
    #[must_use]
    pub fn after_close(mut self, call: impl Fn() + Send + Sync + 'static) -> Self {
        self.after_close = Box::new(call);
        self
    }

    /// Renders health and metrics: HTTP status, content type, body. By default the report is
    /// sent as JSON, and there are no metrics.
    #[must_use]
    pub fn health(
        mut self,
        render: impl Fn(HealthFormat) -> (u16, String, String) + Send + Sync + 'static,
    ) -> Self {
        self.health = Arc::new(render);
        self
    }

    /// Reads the settings again, on SIGHUP. By default all stays as it is.
    #[must_use]
    pub fn reload(
        mut self,
        read: impl Fn() -> Result<Reloaded, String> + Send + Sync + 'static,
    ) -> Self {
        self.reload = Arc::new(read);
        self
    }

    /// Told once events can be taken.
    #[must_use]
    pub fn ready(mut self, call: impl Fn(&Ready) + Send + Sync + 'static) -> Self {
        self.ready = Box::new(call);
        self
    }

    /// Told what an operator should know. By default `tracing` is told.
    #[must_use]
    pub fn warn(mut self, call: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.warn = Arc::new(call);
        self
    }
}

impl From<&Settings> for CollectorOptions {
    /// What the settings say of the collector. Each of its settings is named here: one that
    /// nobody maps does not compile.
    fn from(settings: &Settings) -> Self {
        let CollectorSettings {
            socket: _, // `socket_path` knows where it is when it is not set
            http,
            token_file,
            token_rate,
            token_requests,
            tls_cert,
            tls_key,
            allow_plain_http,
            allowed_uids,
            allowed_gids,
            read_uids,
            read_gids,
            trusted_uids: _, // the senders'
            checkpoint_push_to,
            checkpoint_push_url: _, // needs a client, which the caller has
            checkpoint_push_secret_file: _, // as well
            checkpoint_push_interval,
            max_connections,
            max_connections_per_uid,
            max_connections_per_address,
            read_timeout,
            write_timeout,
            idle_timeout,
            max_body,
            max_memory,
        } = settings.collector.clone();
        let judged = settings.clone();
        let current = settings.clone();
        Self {
            socket: settings.socket_path(),
            notify_socket: None,
            http,
            tokens: TokenOptions { file: token_file, rate: token_rate, requests: token_requests },
            // The settings have both or none: see their check.
            tls: tls_cert.zip(tls_key).map(|(certificate, key)| Pair { certificate, key }),
            allow_plain_http,
            allowed_uids,
            allowed_gids,
            read_uids,
            read_gids,
            audit_reads: settings.audit_reads,
            max_connections,
            max_connections_per_uid,
            max_connections_per_address,
            read_timeout,
            write_timeout,
            idle_timeout,
            mappings: settings.mapping.clone(),
            listeners: settings.listener.clone(),
            max_body: max_body.0,
            max_memory: max_memory.0,
            push: checkpoint_push_to.map(|to| Push {
                to: Some(to),
                url: None,
                every: checkpoint_push_interval,
            }),
            elsewhere: Elsewhere {
                backups: Some(settings.backup.output_dir.clone()),
                archive: settings.archive.destination.clone(),
            },
            before_close: Box::new(|| ()),
            after_close: Box::new(|| ()),
            health: Arc::new(move |format| report(&judged, format)),
            settings: Arc::new(move || current.clone()),
            reload: Arc::new(|| Err("nothing was set that reads the settings".to_owned())),
            ready: Box::new(|_| ()),
            warn: Arc::new(|text| tracing::warn!("{text}")),
        }
    }
}

/// Health without the program's texts, which are not in every build.
fn report(settings: &Settings, format: HealthFormat) -> (u16, String, String) {
    if format != HealthFormat::Json {
        return (501, "text/plain".to_owned(), "there are no metrics here\n".to_owned());
    }
    let report = health::check(settings, &OsFs, &SystemClock).report;
    let status = if matches!(report.status, Status::Healthy | Status::Warning) { 200 } else { 503 };
    match serde_json::to_string(&report) {
        Ok(json) => (status, "application/json".to_owned(), json),
        Err(error) => (500, "text/plain".to_owned(), format!("{error}\n")),
    }
}
