//! The table of checks: everything that can be said has an id here.

use serde::{Serialize, Serializer};

use super::outcome::{Section, Status};

/// `Name = "id", section, the worst it can say, title, what it is about`
macro_rules! catalogue {
    ($($name:ident = $id:literal, $section:ident, $worst:ident, $title:literal, $about:literal;)*) => {
        /// What is checked; the same thing of several paths or keys has the same id.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Id {
            $(#[doc = $about] $name,)*
        }

        impl Id {
            /// All of them, in the order of the report.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As written in reports and documents; never changes.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// The section it stands in.
            #[must_use]
            pub fn section(self) -> Section {
                match self { $(Self::$name => Section::$section,)* }
            }

            /// The worst that it can say.
            #[must_use]
            pub fn worst(self) -> Status {
                match self { $(Self::$name => Status::$worst,)* }
            }

            /// What its lines begin with, in the words of the field.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it is about, for an operator.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => $about,)* }
            }
        }

        /// What can be found wrong: the checks that can warn or fail. The guide for
        /// deployment has a row for each.
        pub const PROBLEMS: &[Problem] = &[$(Problem {
            id: $id,
            worst: Status::$worst,
            about: $about,
        },)*];
    };
}

/// A check that can warn or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// As in the report.
    pub id: &'static str,
    /// The worst that it can say.
    pub worst: Status,
    /// What it is about.
    pub about: &'static str,
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

catalogue! {
    SettingsFile = "settings.file", Settings, Warning, "Settings file", "which settings file was read, and that others cannot change it";
    SettingsValid = "settings.valid", Settings, Failed, "Settings are valid", "an invalid setting: unknown, of the wrong kind, out of range, or contradicting another";
    SettingsValue = "settings.recommended", Settings, Warning, "Setting", "a setting that works, but is outside the recommended range";
    SettingsOrigin = "settings.origin", Settings, Warning, "Log's origin", "the setting origin is the one that the log was made with: a log keeps its origin";
    SettingsRisk = "settings.risk", Settings, Warning, "Protections in the settings", "a setting that gives up a protection";

    PermissionsUser = "permissions.user", Permissions, Failed, "Service's user", "the user that --user names exists";
    PermissionsKind = "permissions.kind", Permissions, Failed, "Files and directories", "directories are directories, and files are files";
    PermissionsSymlink = "permissions.symlink", Permissions, Warning, "Symbolic links", "a path of the log that is a symbolic link: anyone who can change it decides where records go";
    PermissionsOwner = "permissions.owner", Permissions, Warning, "Owner", "the log's files and directories belong to the service's user";
    PermissionsMode = "permissions.mode", Permissions, Failed, "Mode", "nobody else can read or write them: files 0600, directories 0700";
    PermissionsParents = "permissions.parents", Permissions, Warning, "Directories above", "a directory above that others can write: they could put another log in this one's place";
    PermissionsAccess = "permissions.access", Permissions, Failed, "Access", "the service's user can read, write and reach them";
    PermissionsVolume = "permissions.file_system", Permissions, Failed, "File system", "the file system below the log is durable, writable and not on a network";
    PermissionsLock = "permissions.lock", Permissions, Failed, "File locks", "file locks work there";
    PermissionsSync = "permissions.sync", Permissions, Failed, "Disk sync", "fdatasync and fsync of a directory work there";
    PermissionsStatus = "permissions.status_page", Permissions, Failed, "Status page", "a status page works there";

    Build = "environment.build", Environment, Warning, "Build", "this build has what the settings ask for";
    Collector = "environment.writer", Environment, Failed, "Running writer", "the running writer, if there is one, is healthy";
    Socket = "environment.socket", Environment, Failed, "Unix socket", "the socket's path is short enough and not taken by another file";
    Http = "environment.http", Environment, Failed, "HTTP", "HTTP listens on an address of this machine; beyond loopback only with tokens, and with TLS or allow_plain_http";
    Tokens = "environment.tokens", Environment, Failed, "HTTP tokens", "the token file is usable, holds a valid token, and no valid token expires soon";
    Certificate = "environment.certificate", Environment, Failed, "TLS certificate", "the certificate for HTTPS fits its key, is valid, and does not expire soon";
    RedactionKey = "environment.redaction_key", Environment, Failed, "Redaction key", "the redaction key is usable and private";
    CloudDestination = "environment.cloud_destination", Environment, Failed, "Cloud destination", "backup.destination names a destination that this build can talk to";
    CloudCredentials = "environment.cloud_credentials", Environment, Failed, "Cloud credentials", "there are credentials for it";
    CloudReachable = "environment.cloud_reachable", Environment, Failed, "Cloud reachable", "the bucket answers and can be listed";
    CloudWrite = "environment.cloud_write", Environment, Failed, "Cloud write access", "an object can be written, read and removed (only with --probe)";
    Archive = "environment.archive", Environment, Failed, "Archive", "archive.destination answers and takes what is shipped; nothing is left there";
    Alerts = "environment.alerts", Environment, Failed, "Alerts", "each alert is configured correctly, and its target is allowed";
    AlertTest = "environment.alert_test", Environment, Failed, "Test alert", "a test alert arrives (only with --send-test-alert)";
    DiskSpace = "environment.disk_space", Environment, Failed, "Disk space", "enough space is free, and enough inodes";
    DiskGrowth = "environment.disk_growth", Environment, Warning, "Disk growth", "the disk has room for what the log grows to before retention removes it";
    ClockSynchronised = "environment.clock_synchronised", Environment, Warning, "Clock synchronisation", "NTP or the like keeps the clock right";
    TimeZone = "environment.time_zone", Environment, Warning, "Time zone", "the time zone that TZ names is known on this machine";
    ClockSane = "environment.clock_sane", Environment, Failed, "Clock", "the clock is after the date of this program and after the newest record";
    FileLimit = "environment.file_limit", Environment, Warning, "Open files", "the process can open enough files for its connections";
    OtherAuditctl = "environment.other_auditctl", Environment, Warning, "Other auditctl", "PATH does not confuse this program with another auditctl";

    Scratch = "performance.scratch", Performance, Warning, "Scratch directory", "the tests can use a scratch directory on the log's file system; an earlier run's is removed";
    SyncLatency = "performance.sync_latency", Performance, Warning, "Sync latency", "how long fdatasync takes";
    WriteRate = "performance.write_rate", Performance, Warning, "Write throughput", "durable events a second";
    QueryUncached = "performance.query_uncached", Performance, Warning, "Query, uncached", "how long a query takes that reads the records";
    QueryCached = "performance.query_cached", Performance, Warning, "Query, cached", "how long a query takes that the cache answers";
    Memory = "performance.memory", Performance, Warning, "Memory", "how much memory the writer takes for 1,000 and 10,000 events";
    Compression = "performance.compression", Performance, Warning, "Compression", "how much smaller sealed segments are";

    PathTraversal = "security.path_traversal", Security, Failed, "Path traversal protection", "names that lead out of a directory are refused";
    Sanitising = "security.sanitising", Security, Failed, "Input sanitisation", "control characters reach neither the log's lines nor a terminal";
    SizeLimits = "security.size_limits", Security, Failed, "Size limits", "input that is too large is refused";
    RateLimit = "security.rate_limit", Security, Failed, "Rate limiting", "a sender that sends too much is refused, and other senders are not";
    Ssrf = "security.ssrf", Security, Failed, "SSRF protection", "alerts reach no internal target";
    FileModes = "security.file_modes", Security, Failed, "File permissions", "a new log's files are 0600 and its directory 0700, even with a umask of 0";
    Tampering = "security.tampering", Security, Failed, "Tamper detection", "verify finds a changed byte";
    Checkpoint = "security.checkpoint", Security, Failed, "Checkpoint signature", "the newest checkpoint of the log is signed by the log's key";
    Opening = "security.opening", Security, Failed, "The next start", "what opening the log would do: repair it, take records over, set something aside, or refuse";
}
