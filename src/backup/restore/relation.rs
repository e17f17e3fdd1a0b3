//! How the log that is there relates to what would take its place.

use std::path::Path;

use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, Origin};
use crate::audit::read::error::ReadError;
use crate::audit::read::survey::Survey;
use crate::audit::tree::merkle::Range;
use crate::backup::content::Content;
use crate::backup::error::BackupError;
use crate::clock::Timestamp;
use crate::fsio::SharedFs;

/// Looks that a writer may spoil.
const LOOKS: usize = 20;

/// How what is there relates to what is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// There is no log.
    Nothing,
    /// The same records.
    Identical,
    /// The log is the beginning of what is restored.
    LiveIsPrefix {
        /// Records that it gains.
        gained: u64,
    },
    /// What is restored is the beginning of the log.
    BackupIsPrefix {
        /// Records that are set aside.
        set_aside: u64,
        /// The earliest and latest `timestamp` of the blocks that hold them.
        times: Option<(Timestamp, Timestamp)>,
    },
    /// Neither is the beginning of the other, or it cannot be known.
    Diverged {
        /// Records that are set aside.
        set_aside: u64,
        /// What was found.
        why: String,
    },
}

impl Relation {
    /// A stable name.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Identical => "identical",
            Self::LiveIsPrefix { .. } => "live_is_prefix",
            Self::BackupIsPrefix { .. } => "backup_is_prefix",
            Self::Diverged { .. } => "diverged",
        }
    }

    /// Records that are set aside.
    #[must_use]
    pub fn set_aside(&self) -> u64 {
        match self {
            Self::Nothing | Self::Identical | Self::LiveIsPrefix { .. } => 0,
            Self::BackupIsPrefix { set_aside, .. } | Self::Diverged { set_aside, .. } => *set_aside,
        }
    }
}

/// The log that is there.
pub(super) struct Live {
    survey: Option<Survey>,
    /// Why there is no survey though there is something.
    unreadable: Option<String>,
}

impl Live {
    pub(super) fn none() -> Self {
        Self { survey: None, unreadable: None }
    }

    /// While somebody writes: a line half written, or a segment just sealed, looks like
    /// damage for a moment.
    pub(super) fn look_beside_a_writer(fs: &SharedFs, dir: &Path) -> Result<Self, BackupError> {
        let mut live = Self::look(fs, dir)?;
        for _ in 1..LOOKS {
            let damaged = live.survey.as_ref().is_some_and(|survey| !survey.damage.is_empty());
            if !damaged && live.unreadable.is_none() {
                break;
            }
            live = Self::look(fs, dir)?;
        }
        Ok(live)
    }

    pub(super) fn look(fs: &SharedFs, dir: &Path) -> Result<Self, BackupError> {
        let (survey, unreadable) = match Survey::of(fs, dir) {
            Ok(survey) => (survey, None),
            // What cannot be used is what a restore is for; what cannot be read is not.
            Err(error @ (ReadError::NoHead { .. } | ReadError::Manifest(_))) => {
                (None, Some(error.to_string()))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { survey, unreadable })
    }

    pub(super) fn is_there(&self) -> bool {
        self.survey.is_some() || self.unreadable.is_some()
    }

    pub(super) fn keys(&self) -> Option<&Keyring> {
        self.survey.as_ref()?.keys.as_ref()
    }

    pub(super) fn log_id(&self) -> Option<&str> {
        Some(&self.survey.as_ref()?.manifest.log_id)
    }

    pub(super) fn epoch(&self) -> u32 {
        let Some(survey) = &self.survey else { return 0 };
        let of_head = survey.checkpoint.as_ref();
        let of_head = of_head.and_then(|head| head.origin.parse::<Origin>().ok());
        let of_head = of_head.map_or(0, |origin| origin.epoch());
        // A manifest that nobody signed may name any.
        if survey.is_signed { of_head.max(survey.manifest.epoch) } else { of_head }
    }

    pub(super) fn abandoned(&self) -> Vec<String> {
        self.survey.as_ref().map_or_else(Vec::new, |survey| survey.manifest.abandoned.clone())
    }

    pub(super) fn note(&self) -> Option<String> {
        self.survey.as_ref()?.note.clone()
    }

    fn checkpoint(&self) -> Option<&Checkpoint> {
        self.survey.as_ref()?.checkpoint.as_ref()
    }

    pub(super) fn damage(&self) -> Vec<String> {
        let survey = self.survey.iter().flat_map(|survey| survey.damage.iter().cloned());
        survey.chain(self.unreadable.clone()).collect()
    }

    /// The sizes at which trees are compared.
    pub(super) fn sizes(&self) -> Vec<u64> {
        let records = self.survey.as_ref().map(|survey| survey.records);
        let signed = self.checkpoint().map(|checkpoint| checkpoint.size);
        records.into_iter().chain(signed).collect()
    }

    pub(super) fn relation(
        &self,
        content: &Content,
        restored: &Range,
    ) -> Result<Relation, BackupError> {
        let Some(survey) = &self.survey else {
            return Ok(match &self.unreadable {
                None => Relation::Nothing,
                Some(why) => Relation::Diverged { set_aside: 0, why: why.clone() },
            });
        };
        let (there, size) = (survey.records, restored.end());
        let set_aside = there.saturating_sub(size);
        let diverged = |set_aside, why: String| Ok(Relation::Diverged { set_aside, why });
        if there <= size {
            return match content.trees.get(&there) {
                Some(tree) if same_root(tree, &survey.tree) => Ok(match size - there {
                    0 => Relation::Identical,
                    gained => Relation::LiveIsPrefix { gained },
                }),
                Some(_) => diverged(there, self.difference(content, there)),
                None => diverged(there, "retention removed what would be compared".to_owned()),
            };
        }
        match survey.tree_at(size)? {
            Some(tree) if same_root(&tree, restored) => {
                Ok(Relation::BackupIsPrefix { set_aside, times: survey.times_from(size) })
            }
            Some(_) => diverged(there, self.difference(content, size)),
            None => diverged(set_aside, "the log's records cannot be compared".to_owned()),
        }
    }

    /// Where the first `size` records of both differ first, to a block of the backup.
    fn difference(&self, content: &Content, size: u64) -> String {
        let among = |begin: u64, end: u64| match end - begin {
            1 => format!("record {begin} differs"),
            _ => format!("the first that differs is one of the records {begin} to {}", end - 1),
        };
        let mut trees = vec![content.pruned.clone()];
        for block in content.blocks.iter().flatten() {
            let mut tree = trees[trees.len() - 1].clone();
            if tree.end() >= size || tree.extend(&block.tree).is_err() {
                break;
            }
            trees.push(tree);
        }
        let begin = content.pruned.end();
        // What cannot be compared is taken for what differs: the range is then too wide.
        let same = |tree: &Range| {
            let here =
                self.survey.as_ref().and_then(|survey| survey.tree_at(tree.end()).ok().flatten());
            tree.end() <= size && here.is_some_and(|here| same_root(&here, tree))
        };
        // A tree holds all before it: where one is the same, all before it are.
        let differs = trees.partition_point(|tree| tree.end() == begin || same(tree));
        match (trees.get(differs.wrapping_sub(1)), trees.get(differs)) {
            (Some(before), after) => {
                among(before.end(), after.map_or(size, |tree| tree.end().min(size)))
            }
            (None, _) => among(begin, size),
        }
    }

    /// Whether going on from what is restored would contradict what this log has
    /// signed.
    pub(super) fn contradicts(&self, content: &Content, restored: &Range) -> bool {
        let Some(survey) = &self.survey else { return self.unreadable.is_some() };
        match self.checkpoint() {
            Some(signed) => {
                let tree = content.trees.get(&signed.size);
                let continued = signed.size <= restored.end()
                    && tree.is_some_and(|tree| tree.root() == Ok(signed.root));
                !continued || survey.records > restored.end()
            }
            // Signed, and unreadable: it may have said anything.
            None => survey.note.is_some() || survey.records > restored.end(),
        }
    }
}

fn same_root(one: &Range, other: &Range) -> bool {
    one.end() == other.end() && one.root() == other.root()
}
