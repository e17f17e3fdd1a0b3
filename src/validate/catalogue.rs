//! The table of checks: everything that can be said has an id here.

use serde::{Serialize, Serializer};

use super::outcome::{Section, Status};

/// `Name = "id", section, the worst it can say, what it is about`
macro_rules! catalogue {
    ($($name:ident = $id:literal, $section:ident, $worst:ident, $about:literal;)*) => {
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
    SettingsFile = "settings.file", Settings, Warning, "which settings file was read, and that others cannot change it";
    SettingsValid = "settings.valid", Settings, Failed, "a setting that cannot be had: unknown, of the wrong kind, out of range, contradicting another";
    SettingsValue = "settings.recommended", Settings, Warning, "a setting that works, outside the range that is recommended";
    SettingsOrigin = "settings.origin", Settings, Warning, "the origin that is set is the one that the log was made with: a log keeps its origin";
    SettingsRisk = "settings.risk", Settings, Warning, "a setting that gives up a protection";

    PermissionsUser = "permissions.user", Permissions, Failed, "the user that --user names exists";
    PermissionsKind = "permissions.kind", Permissions, Failed, "what should be a directory is one, what should be a file is one";
    PermissionsSymlink = "permissions.symlink", Permissions, Warning, "a path of ours that is a symbolic link: whoever can change it decides where records go";
    PermissionsOwner = "permissions.owner", Permissions, Warning, "our files and directories belong to the service's user";
    PermissionsMode = "permissions.mode", Permissions, Failed, "nobody else may read or write them: files 0600, directories 0700";
    PermissionsParents = "permissions.parents", Permissions, Warning, "a directory above that others may write: they could put another log in this one's place";
    PermissionsAccess = "permissions.access", Permissions, Failed, "the service's user may read, write and reach them";
    PermissionsVolume = "permissions.file_system", Permissions, Failed, "the file system below the log keeps what it is given, and is not read-only or on a network";
    PermissionsLock = "permissions.lock", Permissions, Failed, "locks work there";
    PermissionsSync = "permissions.sync", Permissions, Failed, "fdatasync and fsync of a directory work there";
    PermissionsStatus = "permissions.status_page", Permissions, Failed, "a status page can be kept there";

    Build = "environment.build", Environment, Warning, "this build has what the settings ask for";
    Collector = "environment.writer", Environment, Failed, "a writer that runs is well";
    Socket = "environment.socket", Environment, Failed, "the socket's path is short enough, and no other file's";
    Http = "environment.http", Environment, Failed, "HTTP is answered at an address of this machine; beyond loopback only with tokens, and with TLS or allow_plain_http";
    Tokens = "environment.tokens", Environment, Failed, "the token file can be used, a token in it is valid, and none that is ends soon";
    Certificate = "environment.certificate", Environment, Failed, "the certificate for HTTPS fits its key, is valid, and does not end soon";
    RedactionKey = "environment.redaction_key", Environment, Failed, "the key of what is redacted can be used, and is nobody else's";
    CloudDestination = "environment.cloud_destination", Environment, Failed, "backup.destination names a destination that this build can talk to";
    CloudCredentials = "environment.cloud_credentials", Environment, Failed, "credentials for it are there";
    CloudReachable = "environment.cloud_reachable", Environment, Failed, "the bucket answers, and may be listed";
    CloudWrite = "environment.cloud_write", Environment, Failed, "an object can be written, read and removed (only with --probe)";
    Alerts = "environment.alerts", Environment, Failed, "each alert is configured right, and its target may be reached";
    AlertTest = "environment.alert_test", Environment, Failed, "a test alert arrives (only with --send-test-alert)";
    DiskSpace = "environment.disk_space", Environment, Failed, "enough space is free, and enough inodes";
    DiskGrowth = "environment.disk_growth", Environment, Warning, "what the log grows to until retention removes it fits the disk";
    ClockSynchronised = "environment.clock_synchronised", Environment, Warning, "the clock is kept right by NTP or the like";
    TimeZone = "environment.time_zone", Environment, Warning, "the time zone that TZ names is known on this machine";
    ClockSane = "environment.clock_sane", Environment, Failed, "the clock is neither before this program was made nor before the newest record";
    FileLimit = "environment.file_limit", Environment, Warning, "as many files may be open as there may be connections";
    OtherAuditctl = "environment.other_auditctl", Environment, Warning, "no other program called auditctl is met on PATH instead of this one, or the other way round";

    Scratch = "performance.scratch", Performance, Warning, "a directory to try things in can be made on the log's file system; what an earlier run left is removed";
    SyncLatency = "performance.sync_latency", Performance, Warning, "how long fdatasync takes";
    WriteRate = "performance.write_rate", Performance, Warning, "events a second, each durable";
    QueryUncached = "performance.query_uncached", Performance, Warning, "how long a query takes that reads the records";
    QueryCached = "performance.query_cached", Performance, Warning, "how long a query takes that the cache answers";
    Memory = "performance.memory", Performance, Warning, "how much memory the writer takes for 1,000 and 10,000 events";
    Compression = "performance.compression", Performance, Warning, "how much smaller sealed segments are";

    PathTraversal = "security.path_traversal", Security, Failed, "names that lead out of a directory are refused";
    Sanitising = "security.sanitising", Security, Failed, "control characters reach neither the log's lines nor a terminal";
    SizeLimits = "security.size_limits", Security, Failed, "what is too large is refused";
    RateLimit = "security.rate_limit", Security, Failed, "a sender that sends too much is refused, and no other";
    Ssrf = "security.ssrf", Security, Failed, "alerts reach nothing that only this machine can reach";
    FileModes = "security.file_modes", Security, Failed, "a new log's files are 0600 and its directory 0700, even with a umask of 0";
    Tampering = "security.tampering", Security, Failed, "a changed byte is found";
    Checkpoint = "security.checkpoint", Security, Failed, "the newest checkpoint of the log is signed by the log's key";
    Opening = "security.opening", Security, Failed, "what opening the log would do: repair it, take records over, set something aside, or refuse";
}
