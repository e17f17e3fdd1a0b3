//! Linux's own auditctl(8) has the same name. Its flags are met with a pointer
//! to it, never with something that could pass for success: boot scripts call it.

/// The flags of auditctl(8) that are none of ours.
const FLAGS: [&str; 17] = [
    "-s", "-l", "-D", "-R", "-w", "-W", "-a", "-A", "-d", "-e", "-f", "-r", "-b", "-k", "-t", "-m",
    "--signal",
];

/// The message, if the first argument is one of auditctl(8)'s.
#[must_use]
pub(super) fn notice(first: Option<&str>) -> Option<String> {
    let flag = first.filter(|flag| FLAGS.contains(flag))?;
    Some(format!(
        "auditctl: `{flag}` belongs to auditctl(8), the Linux kernel audit tool; this is another \
         program of that name, which keeps a service's audit trail.\n\
         Call /sbin/auditctl {flag} instead (Debian, Fedora: package audit or auditd). If a script \
         called this by mistake, install this program elsewhere or under another name: see \
         \"Name clash\" in its README."
    ))
}
