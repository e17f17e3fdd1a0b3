//! What was counted by the numbers of names, as columns have them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::groups::{Groups, Name};
use crate::audit::files::columns::Texts;

/// Some of a block's records.
#[derive(Debug)]
pub(super) enum Rows {
    All(Range<usize>),
    These(Vec<u32>),
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(rows) => rows.len(),
            Self::These(rows) => rows.len(),
        }
    }

    pub(super) fn each(&self, mut each: impl FnMut(usize)) {
        match self {
            Self::All(rows) => rows.clone().for_each(each),
            Self::These(rows) => rows.iter().for_each(|row| each(*row as usize)),
        }
    }
}

/// How many records of some blocks there are of each name: of the whole, and block by block.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) texts: Arc<Texts>,
    /// Block by block, by the number of the name.
    pub(super) blocks: Vec<Vec<(u16, u32)>>,
}

impl Counts {
    /// Adds them to groups, as adding each block's would. Of a second look those count that
    /// the first has `kept`.
    pub(super) fn add_to(&self, groups: &mut Groups, kept: Option<&Groups>, room: usize) {
        let mut all: HashMap<u16, u64> = HashMap::new();
        for (code, records) in self.blocks.iter().flatten() {
            *all.entry(*code).or_default() += u64::from(*records);
        }
        let mut all: Vec<(u16, u64)> = all.into_iter().collect();
        all.sort_unstable();
        let all = self.groups(all.into_iter(), kept);
        if groups.has_room_for(&all, room) {
            groups.merge(&all, room);
            return;
        }
        for block in &self.blocks {
            let of = block.iter().map(|(code, records)| (*code, u64::from(*records)));
            groups.merge(&self.groups(of, kept), room);
        }
    }

    fn groups(&self, of: impl Iterator<Item = (u16, u64)>, kept: Option<&Groups>) -> Groups {
        let mut groups = Groups::default();
        for (code, records) in of {
            let name = self.texts.get(code.into()).map(Name::text);
            match kept {
                Some(kept) => groups.add_if_in(kept, name, records),
                None => groups.add(name, records),
            }
        }
        groups
    }
}
