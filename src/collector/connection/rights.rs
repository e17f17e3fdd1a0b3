//! What the peer of the socket may do.

use crate::collector::auth::Access;
use crate::collector::sessions::role_of;

/// Who it is, by the kernel's word.
#[derive(Clone, Copy, Debug)]
pub(in crate::collector) struct Peer {
    pub(in crate::collector) uid: u32,
    pub(in crate::collector) gid: u32,
    pub(in crate::collector) pid: Option<u32>,
}

/// Something that not everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::collector) enum Act {
    Record,
    Query,
    Import,
    RecordBackup,
    RecordRemoval,
    ChangeKey,
    Open,
}

impl Act {
    /// Why somebody may not.
    pub(in crate::collector) fn denied(self) -> &'static str {
        match self {
            Self::Record => "this user may query, not record",
            Self::Query => "this user may record, not query",
            Self::Import => {
                "only root and the collector's own user may import without a rate limit"
            }
            Self::RecordBackup => "only root and the collector's own user may record a backup",
            Self::RecordRemoval => "only root and the collector's own user may record a removal",
            Self::ChangeKey => "only root and the collector's own user may change the signing key",
            Self::Open => "this user may neither query nor record",
        }
    }
}

impl Peer {
    /// Whether it may do that, as the settings are now.
    pub(in crate::collector) fn may(&self, act: Act, access: &Access) -> bool {
        match act {
            Act::Record => access.allows(self.uid, &[self.gid]),
            Act::Query => access.may_read(self.uid, self.gid),
            Act::Open => role_of(access, self.uid, self.gid).is_some(),
            Act::Import | Act::RecordBackup | Act::RecordRemoval | Act::ChangeKey => {
                access.may_import(self.uid)
            }
        }
    }

    /// Whether it may do anything at all.
    pub(in crate::collector) fn is_welcome(&self, access: &Access) -> bool {
        [Act::Record, Act::Query].iter().any(|act| self.may(*act, access))
    }

    /// Its name where security events are counted.
    pub(in crate::collector) fn source(&self) -> String {
        format!("uid:{}", self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Act; 7] = [
        Act::Record,
        Act::Query,
        Act::Import,
        Act::RecordBackup,
        Act::RecordRemoval,
        Act::ChangeKey,
        Act::Open,
    ];

    #[test]
    fn senders_record_readers_query_and_only_keepers_do_the_rest() {
        let access = Access::new((&[4_000_000_007], &[4_000_000_008]), (&[4_000_000_017], &[]));
        for (uid, gid, may) in [
            (0, 5, &ALL[..]),
            (4_000_000_007, 5, &[Act::Record, Act::Open]),
            (4_000_000_009, 4_000_000_008, &[Act::Record, Act::Open]),
            (4_000_000_017, 5, &[Act::Query, Act::Open]),
            (4_000_000_017, 4_000_000_008, &[Act::Record, Act::Query, Act::Open]),
            (4_000_000_009, 5, &[]),
        ] {
            let peer = Peer { uid, gid, pid: None };
            let allowed: Vec<Act> = ALL.into_iter().filter(|act| peer.may(*act, &access)).collect();
            assert_eq!(allowed, may, "{uid}/{gid}");
            assert_eq!(peer.is_welcome(&access), !may.is_empty(), "{uid}/{gid}");
        }
    }

    #[test]
    fn each_refusal_says_what_is_refused() {
        let texts = ALL.map(Act::denied);
        let mut different = texts.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), texts.len());
    }
}
