//! For whom permissions are judged, and what the mode bits allow him.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::fsio::inspect::{self, Entry, Wanted};

/// Begins the reason where no mode bits are one.
pub(super) const KERNEL: &str = "the kernel refuses it";

/// A user with his groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gids: Vec<u32>,
    /// Whether it is who runs this process: the kernel can then be asked.
    pub(super) is_process: bool,
}

impl Principal {
    /// Who runs this process.
    pub(super) fn of_process() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let mut gids = vec![rustix::process::getegid().as_raw()];
        gids.extend(rustix::process::getgroups().unwrap_or_default().iter().map(|g| g.as_raw()));
        Self { name: user_name(uid), uid, gids, is_process: true }
    }

    /// By name or number, as the system's user database has it.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let found = match name.parse::<u32>() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(name),
        };
        let user = found
            .map_err(|error| format!("the user database does not answer: {error}"))?
            .ok_or_else(|| format!("there is no user {name:?} here"))?;
        let groups = std::ffi::CString::new(user.name.as_bytes())
            .map_err(|_| format!("{name:?} is no user's name"))
            .and_then(|name| getgrouplist(&name, user.gid).map_err(|error| error.to_string()))?;
        let (uid, own) = (user.uid.as_raw(), rustix::process::geteuid().as_raw());
        Ok(Self {
            name: user.name,
            uid,
            gids: groups.into_iter().map(Gid::as_raw).collect(),
            is_process: uid == own,
        })
    }

    /// Whether the mode bits let him: the owner's if he is it, else the group's, else
    /// everybody's, as the kernel does it. Root may all.
    pub(super) fn may(&self, entry: &Entry, wanted: Wanted) -> bool {
        let shift = if self.uid == 0 {
            return true;
        } else if entry.uid == self.uid {
            6
        } else if self.gids.contains(&entry.gid) {
            3
        } else {
            0
        };
        let bits = entry.mode >> shift;
        (!wanted.read || bits & 4 != 0)
            && (!wanted.write || bits & 2 != 0)
            && (!wanted.search || bits & 1 != 0)
    }

    /// Why he may not do that with an existing path, if he may not. Who runs this is
    /// judged by the kernel; anybody else by the mode bits of it and of every directory
    /// above.
    pub(super) fn refused(&self, path: &Path, wanted: Wanted) -> Option<String> {
        let resolved = match inspect::resolved(path) {
            Ok(resolved) => resolved,
            Err(error) => return Some(format!("it cannot be reached: {error}")),
        };
        if !self.is_process {
            return self.refused_by_modes(&resolved, wanted);
        }
        let error = inspect::may(&resolved, wanted).err()?;
        // The modes tell more than the kernel does, where they are the reason.
        let why = self.refused_by_modes(&resolved, wanted);
        Some(why.unwrap_or_else(|| format!("{KERNEL}: {error}")))
    }

    fn refused_by_modes(&self, resolved: &Path, wanted: Wanted) -> Option<String> {
        const ENTER: Wanted = Wanted { read: false, write: false, search: true };
        let mut above: Vec<PathBuf> = resolved.ancestors().skip(1).map(Path::to_owned).collect();
        above.reverse();
        let steps = above.iter().map(|path| (path.as_path(), ENTER));
        for (step, wanted) in steps.chain([(resolved, wanted)]) {
            match inspect::at(step) {
                Ok(Some(entry)) if self.may(&entry, wanted) => {}
                Ok(Some(entry)) if step == resolved => {
                    return Some(format!("{} may not: {}", self.name, described(&entry)));
                }
                Ok(Some(entry)) => {
                    let (name, at) = (&self.name, step.display());
                    return Some(format!("{name} may not enter {at}: {}", described(&entry)));
                }
                Ok(None) => return Some(format!("{} has just gone", step.display())),
                Err(error) => return Some(format!("{}: {error}", step.display())),
            }
        }
        None
    }
}

/// `mode 0750, owner root, group adm`
pub(super) fn described(entry: &Entry) -> String {
    let group = Group::from_gid(Gid::from_raw(entry.gid)).ok().flatten();
    let group = group.map_or_else(|| entry.gid.to_string(), |group| group.name);
    format!("mode {:04o}, owner {}, group {group}", entry.mode, user_name(entry.uid))
}

/// A user's name; its number where it has none.
pub(super) fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::inspect::Kind;
    use std::os::unix::fs::PermissionsExt;

    fn principal(uid: u32, gids: &[u32]) -> Principal {
        Principal { name: "tester".into(), uid, gids: gids.to_vec(), is_process: false }
    }

    fn entry(mode: u32, uid: u32, gid: u32) -> Entry {
        Entry { kind: Kind::File, mode, uid, gid, len: 0, inode: 1, device: 1 }
    }

    #[test]
    fn the_first_class_that_fits_decides_as_in_the_kernel() {
        let write = Wanted { read: true, write: true, search: false };
        for (mode, uid, gids, allowed) in [
            (0o600, 7, &[1][..], true),
            (0o600, 8, &[1], false),
            (0o660, 8, &[5], true),
            (0o666, 8, &[1], true),
            // The owner's bits, though everybody's would do.
            (0o066, 7, &[1], false),
            (0o606, 8, &[5], false),
            (0o000, 0, &[0], true),
        ] {
            let found = principal(uid, gids).may(&entry(mode, 7, 5), write);
            assert_eq!(found, allowed, "{mode:o} {uid} {gids:?}");
        }
    }

    #[test]
    fn a_directory_above_that_may_not_be_entered_is_named() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let inner = directory.path().join("inner");
        std::fs::create_dir(&inner).expect("directory");
        std::fs::set_permissions(&inner, PermissionsExt::from_mode(0o777)).expect("mode");
        let list = Wanted { read: true, write: true, search: true };
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700)).expect("mode");
        let other = principal(rustix::process::geteuid().as_raw() + 1, &[]);
        let why = other.refused(&inner, list).expect("refused");
        assert!(why.contains("may not enter") && why.contains("mode 0700"), "{why}");
        assert_eq!(Principal::of_process().refused(&inner, list), None);
    }

    #[test]
    fn users_are_found_by_name_and_number_and_nobody_invents_one() {
        let root = Principal::named("root").expect("everywhere");
        assert_eq!((root.uid, root.gids.contains(&0)), (0, true));
        assert_eq!(Principal::named("0").expect("the same").name, root.name);
        let why = Principal::named("no-such-user-here").expect_err("none");
        assert!(why.contains("no-such-user-here"), "{why}");
    }
}
