//! What a bundle says of itself.

use std::fmt::Write as _;

use super::{LONG_DEADLINE, Outcome, PARTS};
use crate::clock::{Timestamp, display_seconds};

const NOT_IN_IT: &str = "\
Not in it:
- events: no record's actor, source, target, outcome, details or line, and no query
- secrets: no token, signing key, password, certificate key or credential; no value of an
  environment variable; of settings that hold texts (destinations, addresses of webhooks and
  mail, patterns) only that they are set
- URLs; paths of files are kept
- what security events say, and the journal: both can quote what others sent
Before it was written each file was compared with the secrets that could be known on the
machine (variables named like one, token and key files); one that held any was left out.
";

/// The files and what is in each, for `--list`.
pub(in crate::cli) fn list() -> String {
    let mut text = String::from("In it:\n");
    let own = [("README.txt", "this list"), ("bundle.json", "what became of each file, and when")];
    for (name, about) in PARTS.iter().map(|part| (part.name, part.about)).chain(own) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "- {name:<22} {about}");
    }
    text.push('\n');
    text.push_str(NOT_IN_IT);
    text
}

/// `README.txt`.
pub(in crate::cli) fn readme(at: Timestamp, outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "Diagnostics of an audit trail, made by auditctl {} at {}.\n\
         Look through it before you send it; it is plain text.\n\n{}",
        env!("CARGO_PKG_VERSION"),
        display_seconds(at),
        list()
    );
    let bad: Vec<_> = outcomes.iter().filter(|outcome| outcome.problem.is_some()).collect();
    if !bad.is_empty() {
        let longest = LONG_DEADLINE.as_secs();
        let _ = writeln!(text, "\nNot made, or not whole (a file may take {longest} s at most):");
        for outcome in bad {
            let why = outcome.problem.as_deref().unwrap_or_default();
            let _ = writeln!(text, "- {}: {why}", outcome.name);
        }
    }
    text
}
