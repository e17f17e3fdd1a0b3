//! Who may use the socket: by the kernel's word for its peer.

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

    /// Whether a socket's peer may write.
    pub(super) fn allows(&self, uid: u32, gid: u32) -> bool {
        self.may_import(uid) || self.uids.contains(&uid) || self.gids.contains(&gid)
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
            assert_eq!(access.allows(uid, gid), allowed, "{uid}/{gid}");
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
        assert!(!access.allows(17, 18));
    }
}
