//! Who may use the socket, and HTTP on loopback without a token: by the kernel's word for
//! its peer.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// Who may write, and who may query.
#[derive(Debug)]
pub(super) struct Access {
    own_uid: u32,
    uids: Vec<u32>,
    gids: Vec<u32>,
    reader_uids: Vec<u32>,
    reader_gids: Vec<u32>,
}

impl Access {
    pub(super) fn new(
        (uids, gids): (&[u32], &[u32]),
        (reader_uids, reader_gids): (&[u32], &[u32]),
    ) -> Self {
        Self {
            own_uid: rustix::process::getuid().as_raw(),
            uids: uids.to_vec(),
            gids: gids.to_vec(),
            reader_uids: reader_uids.to_vec(),
            reader_gids: reader_gids.to_vec(),
        }
    }

    /// Whether a peer of these groups may write.
    pub(super) fn allows(&self, uid: u32, gids: &[u32]) -> bool {
        self.may_import(uid)
            || self.uids.contains(&uid)
            || gids.iter().any(|gid| self.gids.contains(gid))
    }

    /// Whether it may depend on a peer's groups whether it may write.
    pub(super) fn asks_for_groups(&self) -> bool {
        !self.gids.is_empty()
    }

    /// Whether a socket's peer may query: who may write need not.
    pub(super) fn may_read(&self, uid: u32, gid: u32) -> bool {
        self.may_import(uid) || self.reader_uids.contains(&uid) || self.reader_gids.contains(&gid)
    }

    /// Whether a peer's imports are free of the rate limit: root's and the
    /// collector's own user's.
    pub(super) fn may_import(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }

    /// Whether anybody but root and the collector's own user may connect.
    pub(super) fn open_to_others(&self) -> bool {
        [&self.uids, &self.gids, &self.reader_uids, &self.reader_gids]
            .iter()
            .any(|ids| !ids.is_empty())
    }
}

/// The groups that a user is in, by the system's user database; none when it does not
/// know the user. May take its time: the database can be on another machine.
pub(super) fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let Ok(name) = CString::new(user.name) else { return Vec::new() };
    let groups = getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    groups.into_iter().map(Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_may_always_others_only_when_allowed() {
        let access = Access::new((&[7], &[8]), (&[17], &[18]));
        let access = Access { own_uid: 1000, ..access };
        for (uid, gid, allowed) in
            [(0, 5, true), (1000, 5, true), (7, 5, true), (9, 8, true), (9, 9, false)]
        {
            assert_eq!(access.allows(uid, &[gid]), allowed, "{uid}/{gid}");
        }
        assert!(access.may_import(0) && access.may_import(1000) && !access.may_import(7));
        // To write is one thing, to read what all have written another.
        for (uid, gid, allowed) in [
            (0, 5, true),
            (1000, 5, true),
            (7, 8, false),
            (17, 9, true),
            (9, 18, true),
            (9, 9, false),
        ] {
            assert_eq!(access.may_read(uid, gid), allowed, "{uid}/{gid}");
        }
        assert!(!access.allows(17, &[18]));
    }

    #[test]
    fn a_user_s_groups_are_those_of_the_user_database() {
        assert!(groups_of(0).contains(&0), "root's own");
        assert!(groups_of(4_000_000_000).is_empty(), "nobody is in no group");
        let access = Access::new((&[], &[7, 8]), (&[], &[]));
        assert!(
            access.asks_for_groups() && !Access::new((&[1], &[]), (&[], &[3])).asks_for_groups()
        );
        let access = Access { own_uid: 1000, ..access };
        assert!(access.allows(9, &[6, 8]) && !access.allows(9, &[6]) && !access.allows(9, &[]));
    }
}
