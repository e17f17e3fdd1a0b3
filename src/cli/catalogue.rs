//! The stable names of all that can go wrong, in one place: docs/codes.md has a row
//! for each of them. A test compares both.

use crate::alerts::Notice;
use crate::archive::ArchiveError;
use crate::audit::read::verify::Kind;
use crate::audit::state::trouble::Trouble;
use crate::audit::write::own::OWN_TYPES;
use crate::audit::{OpenError, RecordError};
use crate::backup::BackupError;
use crate::collector::{REFUSALS, Warning};
use crate::fleet::FindingKind;
use crate::health::Problem;
use crate::store::StoreErrorKind;
use crate::validate::PROBLEMS;
use crate::witness::WitnessNotice;

/// The kinds that commands have beside those of what they call.
const KINDS: &[&str] = &[
    "usage",
    "config",
    "io",
    "stdout",
    "broken_pipe",
    "timeout",
    "terminal",
    "interrupted",
    "internal",
    "no_log",
    "restore_pending",
    "damaged",
    "bad_signature",
    "proof",
    "against",
    "not_earlier",
    "not_signed",
    "no_record",
    "removed",
    "given_up",
    "not_running",
    "lost",
    "refused",
    "forbidden",
    "unrecorded",
    "max_delete",
    "token",
    "tls",
    "socket_path",
    "in_use",
    "collector",
    "resume",
    "no_redact_key",
    "alerts",
    "key",
    "keys",
    "redact_key",
    "demo",
    "man",
    "query",
    "busy",
    "foreign_collector",
    "no_head",
    "evidence",
    "no_quorum",
    "quorum_old",
    "not_cosigned",
    "witness",
    "witness_accept",
    "witness_put_back",
    "roster",
    "fleet_state",
];

/// Names that belong together: a table of the guide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As the guide's table is marked.
    pub name: &'static str,
    /// Its names.
    pub codes: Vec<&'static str>,
}

/// Every group; the names are unique within each.
#[must_use]
pub fn catalogue() -> Vec<Group> {
    let group = |name, codes: &[&'static str]| Group { name, codes: codes.to_vec() };
    let health: Vec<_> = Problem::ALL.iter().map(|problem| problem.code()).collect();
    let writer: Vec<_> = Trouble::ALL.iter().map(|trouble| trouble.code()).collect();
    let serve: Vec<_> = Warning::ALL.iter().map(|warning| warning.code()).collect();
    let alerts: Vec<_> = Notice::ALL.iter().map(|notice| notice.code()).collect();
    let witness: Vec<_> = WitnessNotice::ALL.iter().map(|notice| notice.code()).collect();
    let verify: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let fleet: Vec<_> = FindingKind::ALL.iter().map(|kind| kind.code()).collect();
    let validate: Vec<_> = PROBLEMS.iter().map(|problem| problem.id).collect();
    vec![
        group("health", &health),
        group("validate", &validate),
        group("record", RecordError::KINDS),
        group("open", OpenError::KINDS),
        group("writer", &writer),
        group("own", OWN_TYPES),
        group("serve", &serve),
        group("alerts", &alerts),
        group("witness", &witness),
        group("refusal", REFUSALS),
        group("verify", &verify),
        group("backup", BackupError::KINDS),
        group("archive", ArchiveError::KINDS),
        group("fleet", &fleet),
        group("store", StoreErrorKind::NAMES),
        group("command", KINDS),
    ]
}

/// Whether an error of a command may be called that.
pub(super) fn is_known(kind: &str) -> bool {
    let groups = ["record", "open", "refusal", "backup", "archive", "store", "command"];
    catalogue().iter().any(|group| groups.contains(&group.name) && group.codes.contains(&kind))
}
