//! File systems by their numbers (linux/magic.h, and what others chose), and whether a
//! log is safe on them.

/// What a file system means for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suits {
    /// On a disk of this machine.
    Well,
    /// What locks and fdatasync promise is another machine's word.
    Network,
    /// Gone at the next boot.
    Memory,
    /// Gone with the container.
    Layer,
    /// What it does is a program's decision.
    Program,
    /// Knows no owners and modes.
    NoModes,
    /// Never heard of.
    Unknown,
}

const KNOWN: &[(u64, &str, Suits)] = &[
    (0xEF53, "ext4", Suits::Well),
    (0x5846_5342, "xfs", Suits::Well),
    (0x9123_683E, "btrfs", Suits::Well),
    (0x2FC1_2FC1, "zfs", Suits::Well),
    (0xF2F5_2010, "f2fs", Suits::Well),
    (0xCA45_1A4E, "bcachefs", Suits::Well),
    (0x3153_464A, "jfs", Suits::Well),
    (0x5265_4973, "reiserfs", Suits::Well),
    (0x3434, "nilfs2", Suits::Well),
    (0x2405_1905, "ubifs", Suits::Well),
    (0xF15F, "ecryptfs", Suits::Well),
    (0x6969, "nfs", Suits::Network),
    (0x517B, "smb", Suits::Network),
    (0xFF53_4D42, "cifs", Suits::Network),
    (0xFE53_4D42, "smb2", Suits::Network),
    (0x00C3_6400, "ceph", Suits::Network),
    (0x0102_1997, "9p", Suits::Network),
    (0x5346_414F, "afs", Suits::Network),
    (0x6B41_4653, "kafs", Suits::Network),
    (0x7375_7245, "coda", Suits::Network),
    (0x564C, "ncp", Suits::Network),
    (0x0BD0_0BD0, "lustre", Suits::Network),
    (0x4750_4653, "gpfs", Suits::Network),
    (0x0116_1970, "gfs2", Suits::Network),
    (0x7461_636F, "ocfs2", Suits::Network),
    (0x1983_0326, "beegfs", Suits::Network),
    (0x786F_4256, "vboxsf", Suits::Network),
    (0xBACB_ACBC, "vmhgfs", Suits::Network),
    (0x0102_1994, "tmpfs", Suits::Memory),
    (0x8584_58F6, "ramfs", Suits::Memory),
    (0x794C_7630, "overlayfs", Suits::Layer),
    (0x6573_5546, "fuse", Suits::Program),
    (0x4D44, "vfat", Suits::NoModes),
    (0x2011_BAB0, "exfat", Suits::NoModes),
    (0x5346_544E, "ntfs", Suits::NoModes),
];

/// Its name and what it means for a log.
pub(super) fn by_magic(magic: u64) -> (&'static str, Suits) {
    let found = KNOWN.iter().find(|(number, ..)| *number == magic);
    found.map_or(("unknown", Suits::Unknown), |(_, name, suits)| (name, *suits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_the_kernel_s_numbers() {
        for (magic, name) in [
            (0x6969, "nfs"),
            (0xff53_4d42, "cifs"),
            (0xfe53_4d42, "smb2"),
            (0x00c3_6400, "ceph"),
            (0x0102_1997, "9p"),
        ] {
            assert_eq!(by_magic(magic), (name, Suits::Network));
        }
        // The same numbers as nix has them, where it has them.
        for (ours, theirs) in [
            (0xEF53, nix::libc::EXT4_SUPER_MAGIC as u64),
            (0x6969, nix::libc::NFS_SUPER_MAGIC as u64),
            (0x0102_1994, nix::libc::TMPFS_MAGIC as u64),
            (0x794C_7630, nix::libc::OVERLAYFS_SUPER_MAGIC as u64),
            (0x9123_683E, nix::libc::BTRFS_SUPER_MAGIC as u64 & 0xffff_ffff),
            (0x6573_5546, nix::libc::FUSE_SUPER_MAGIC as u64),
            (0x5846_5342, nix::libc::XFS_SUPER_MAGIC as u64),
            (0x4D44, nix::libc::MSDOS_SUPER_MAGIC as u64),
        ] {
            assert_eq!(ours, theirs);
        }
        assert_eq!(by_magic(1), ("unknown", Suits::Unknown));
    }

    #[test]
    fn no_number_stands_twice() {
        let mut numbers: Vec<u64> = KNOWN.iter().map(|(number, ..)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), KNOWN.len());
    }
}
