//! Linux's own auditctl(8) has the same name. Its flags are met with a pointer
//! to it, never with something that could pass for success: boot scripts call
//! it, and parse what it says.

use std::ffi::OsStr;

/// Its one-letter flags (audit 4.0), but for `-h`, which asks for help here, too.
const LETTERS: &str = "sldDRwWaAefrbckqtvmpiFCS";
/// Its long ones.
const LONG: [&str; 5] = [
    "--signal",
    "--backlog_wait_time",
    "--reset-lost",
    "--reset_backlog_wait_time_actual",
    "--loginuid-immutable",
];

/// The message, if the first argument is one of auditctl(8)'s flags, also with
/// its value attached (`-e0`).
#[must_use]
pub(super) fn notice(first: Option<&OsStr>) -> Option<String> {
    let given = first?.to_string_lossy();
    let letter = given.strip_prefix('-').and_then(|rest| rest.chars().next());
    let flag = match letter.filter(|letter| LETTERS.contains(*letter)) {
        Some(letter) => format!("-{letter}"),
        None => (*LONG.iter().find(|long| **long == given)?).to_owned(),
    };
    Some(format!(
        "auditctl: `{flag}` belongs to auditctl(8), the Linux kernel audit tool; this is another \
         program of that name, which keeps a service's audit trail.\n\
         Call /sbin/auditctl {flag} instead (package audit or auditd). If a script called this by \
         mistake, install this program elsewhere or under another name: see \"The other auditctl\" \
         in its README."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_flags_are_known_with_and_without_a_value() {
        for flag in ["-s", "-l", "-D", "-R", "-w", "-W", "-a", "-A", "-d", "-e", "-f", "-r", "-b"] {
            let notice = notice(Some(OsStr::new(flag))).expect(flag);
            assert!(notice.contains("/sbin/auditctl") && notice.contains(flag), "{notice}");
        }
        for flag in ["-k", "-q", "-t", "-v", "-e0", "-w/etc/passwd", "--reset-lost"] {
            assert!(notice(Some(OsStr::new(flag))).is_some(), "{flag}");
        }
    }

    #[test]
    fn what_is_ours_is_not_taken_for_its() {
        for ours in ["-h", "-V", "--help", "--json", "--quiet", "--log-dir", "health", "-", "--"] {
            assert_eq!(notice(Some(OsStr::new(ours))), None, "{ours}");
        }
        assert_eq!(notice(None), None);
    }
}
