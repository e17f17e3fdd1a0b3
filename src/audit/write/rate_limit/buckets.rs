//! The buckets, by who sends and by source: bounded over all, and so that a sender
//! that invents sources pushes out its own buckets before anybody else's.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::RandomState;
use std::sync::Arc;

use lru::LruCache;

/// Whose bucket it is. Without a name for who sends, the sender is the empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) sender: Arc<str>,
    pub(super) source: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Bucket {
    /// When it is full again.
    pub(super) full_at_ps: u128,
    /// Refused since the bucket is remembered.
    pub(super) refused: u64,
    /// The place of its open burst.
    pub(super) burst: Option<usize>,
    /// The second it was last seen in.
    pub(super) seen_second: u64,
}

/// The buckets of one sender.
#[derive(Debug)]
struct Sources {
    sender: Arc<str>,
    /// Unbounded as far as `LruCache` knows (it would allocate its bound at once).
    /// SipHash, since names may be chosen by an attacker.
    buckets: LruCache<Arc<str>, Bucket, RandomState>,
    /// When its number of buckets last changed.
    changed: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    senders: HashMap<Arc<str>, Sources>,
    /// The senders by how many buckets they have; of as many, the one whose number has
    /// not changed for longest comes last.
    by_size: BTreeSet<(usize, Reverse<u64>, Arc<str>)>,
    len: usize,
    changes: u64,
}

impl Buckets {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bucket, which counts as seen, and whose it is.
    pub(super) fn get_mut(
        &mut self,
        sender: &str,
        source: &str,
    ) -> Option<(&Arc<str>, &Arc<str>, &mut Bucket)> {
        let Sources { sender, buckets, .. } = self.senders.get_mut(sender)?;
        let (source, bucket) = buckets.get_key_value_mut(source)?;
        Some((sender, source, bucket))
    }

    /// The bucket, which does not count as seen.
    pub(super) fn peek_mut(&mut self, key: &Key) -> Option<&mut Bucket> {
        self.senders.get_mut(&key.sender)?.buckets.peek_mut(&key.source)
    }

    pub(super) fn put(&mut self, sender: &str, source: &str, bucket: Bucket) {
        if !self.senders.contains_key(sender) {
            let sender: Arc<str> = sender.into();
            let buckets = LruCache::unbounded_with_hasher(RandomState::new());
            let sources = Sources { sender: Arc::clone(&sender), buckets, changed: 0 };
            self.senders.insert(sender, sources);
        }
        self.change(sender, |sources| sources.buckets.put(source.into(), bucket));
        self.len += 1;
    }

    /// Takes the least recently seen bucket of the sender that has the most.
    pub(super) fn pop(&mut self) -> Option<(Key, Bucket)> {
        let (_, _, sender) = self.by_size.last().cloned()?;
        let (source, bucket) = self.change(&sender, |sources| sources.buckets.pop_lru())??;
        self.len -= 1;
        Some((Key { sender, source }, bucket))
    }

    /// Changes a sender's buckets, and its place among the senders.
    fn change<T>(&mut self, sender: &str, change: impl FnOnce(&mut Sources) -> T) -> Option<T> {
        let sources = self.senders.get_mut(sender)?;
        let place = |sources: &Sources| {
            (sources.buckets.len(), Reverse(sources.changed), Arc::clone(&sources.sender))
        };
        let before = place(sources);
        let outcome = change(sources);
        self.changes += 1;
        sources.changed = self.changes;
        let after = place(sources);
        self.by_size.remove(&before);
        if after.0 == 0 {
            self.senders.remove(sender);
        } else {
            self.by_size.insert(after);
        }
        Some(outcome)
    }

    /// The sources of a sender, the most recently seen first.
    #[cfg(test)]
    pub(super) fn sources_of(&self, sender: &str) -> Vec<String> {
        let sources = self.senders.get(sender).into_iter().flat_map(|sources| &sources.buckets);
        sources.map(|(source, _)| source.to_string()).collect()
    }

    /// What has to be true of the two tables and the number together.
    #[cfg(test)]
    pub(super) fn assert_whole(&self) {
        assert_eq!(self.by_size.len(), self.senders.len());
        for (len, changed, sender) in &self.by_size {
            let sources = &self.senders[sender];
            assert_eq!((*len, changed.0), (sources.buckets.len(), sources.changed));
            assert!(*len > 0, "nothing is kept for who has no bucket");
        }
        assert_eq!(self.len, self.by_size.iter().map(|(len, ..)| len).sum::<usize>());
    }
}
