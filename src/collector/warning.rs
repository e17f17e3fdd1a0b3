//! What the collector tells its operator on the way, named.

use crate::coded::{self, coded};

coded! {
    /// What a message of the running collector is about: the name in brackets behind it.
    enum Warning;

    /// The checkpoint cannot be written to `collector.checkpoint_push_to`.
    NotPushed = "checkpoint_not_pushed",
    /// A pushed checkpoint is there that does not fit the log.
    Contradicted = "checkpoint_contradicted",
    /// Backups or pushed checkpoints could not be looked at; the log is not compared with
    /// them.
    NotCompared = "not_compared",
    /// The log could not be shipped to the archive; the log itself is the buffer.
    ArchiveFailing = "archive_failing",
    /// Shipping to the archive works again.
    ArchiveRecovered = "archive_recovered",
    /// The settings could not be read again; the old ones stay.
    SettingsKept = "settings_kept",
    /// A setting was changed that only a restart changes.
    RestartNeeded = "restart_needed",
    /// The socket's mode could not be changed.
    SocketMode = "socket_mode",
    /// The socket could not be removed at the end.
    SocketKept = "socket_kept",
    /// A connection could not be accepted.
    NotAccepted = "not_accepted",
    /// Events that came in at a listener were read and not recorded.
    ListenerLost = "listener_lost",
    /// The tokens could not be read again; the old ones stay.
    TokensKept = "tokens_kept",
    /// Tokens were added, changed or revoked.
    TokensRead = "tokens_read",
    /// The certificate or its key could not be read again; the old ones stay.
    CertificateKept = "certificate_kept",
    /// The certificate has expired, or is not valid yet.
    CertificateInvalid = "certificate_not_valid",
    /// A peer did not agree on TLS; often it does not know the authority.
    NoHandshake = "tls_handshake_failed",
    /// The kernel does not tell whose HTTP connections on loopback are.
    UsersUnknown = "http_users_unknown",
    /// The system would not keep the process's memory private.
    Dumpable = "memory_not_private",
    /// A second signal, not a repetition of the first, ended it; the log was not closed.
    Forced = "forced",
}

impl Warning {
    /// The message with its name: `… [settings_kept]`.
    #[must_use]
    pub fn says(self, text: &str) -> String {
        coded::says(text, self.code())
    }

    /// The same, and what to do, where that is known.
    #[must_use]
    pub fn says_with(self, text: &str, hint: Option<&str>) -> String {
        let said = self.says(text);
        hint.map_or_else(|| said.clone(), |hint| format!("{said}\nhint: {hint}"))
    }
}
