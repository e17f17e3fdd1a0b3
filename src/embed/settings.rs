//! The program's settings, for a service that shares a settings file with `auditctl`.
//!
//! ```
//! use auditctl::Options;
//! use auditctl::settings::{Sources, load};
//!
//! let mut sources = Sources::default();
//! sources.file = Some(("auditctl.toml".into(), "log_dir = \"/var/log/shop/audit\"".to_owned()));
//! let settings = load(&sources)?;
//! let options = Options::from(&settings);
//! assert_eq!(options.dir.to_string_lossy(), "/var/log/shop/audit");
//! # Ok::<(), auditctl::settings::ConfigErrors>(())
//! ```

pub use crate::config::{
    AlertKind, AlertSettings, AlertTrigger, AlertingSettings, ArchiveSettings, BackupSettings,
    CollectorSettings, ConfigError, ConfigErrors, DiskSettings, Durability, HealthCheckName,
    HealthSettings, Layer, Origin, Profile, RateLimitSettings, SecretUrl, SmtpTls, Sources, load,
};
pub use crate::units::{ByteSize, UnitError};
