//! Which boot of the machine this is.

use std::path::Path;

use super::Fs;

/// The first 8 bytes of the kernel's boot id, little-endian; `None` where the
/// kernel does not tell.
#[must_use]
pub fn boot_id(fs: &dyn Fs) -> Option<u64> {
    let text = fs.read(Path::new("/proc/sys/kernel/random/boot_id"), 64).ok()?;
    let digits: String =
        text.iter().filter(|byte| byte.is_ascii_hexdigit()).map(|byte| *byte as char).collect();
    u64::from_str_radix(digits.get(..16)?, 16).ok().map(u64::swap_bytes)
}
