//! The versions of a fleet's objects. Each is written once: a second version, or a marker that
//! one was removed, says that somebody did what no host does.

use std::collections::BTreeMap;

use super::acknowledged::{Acknowledged, Acknowledgements};
use super::finding::{Finding, FindingKind as Kind};
use super::inventory::MOST_SHOWN;
use super::roster::{Acknowledgement, What};
use crate::archive::{ArchiveError, Bucket, LogName, ObjectName};
use crate::audit::read::watch::Watch;
use crate::clock::Timestamp;
use crate::store::{StoreError, StoreErrorKind, Version};

/// What the versions of the objects say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// They were not asked for, or the store knows none.
    #[default]
    Unknown,
    /// The store knows versions, and this bucket keeps none.
    NotKept,
    /// These credentials may not list them.
    Denied(String),
    /// So many were looked at.
    Seen(u64),
}

/// The versions of one object, which follow each other in a listing.
#[derive(Debug, Default)]
struct Group {
    name: String,
    versions: u64,
    markers: u64,
    is_current: bool,
    /// The id of what a reader gets, or of the marker that keeps it from him; where there is
    /// neither, of what was written last. And when.
    newest: Option<(bool, Option<Timestamp>, Option<String>)>,
}

/// Objects with one thing wrong: how many, and the first ones.
#[derive(Debug, Default)]
struct Wrong {
    count: u64,
    first: Vec<String>,
    /// With what each of them could be acknowledged.
    lines: Vec<String>,
}

/// Looks at versions.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) watch: &'a dyn Watch,
    pub(crate) known: &'a Acknowledgements,
}

/// What is wrong, by log and kind; and what of it is acknowledged.
#[derive(Debug, Default)]
struct Judged {
    wrong: BTreeMap<(Option<String>, bool), Wrong>,
    acknowledged: Vec<Acknowledged>,
}

impl Look<'_> {
    /// Looks at all versions; `data_end` gives how many records of an epoch are in data objects,
    /// and nothing of a log that is not looked at.
    pub(crate) fn at_all(
        self,
        findings: &mut Vec<Finding>,
        data_end: impl Fn(&LogName) -> Option<u64>,
    ) -> Result<(Versions, Vec<Acknowledged>), ArchiveError> {
        let mut judged = Judged::default();
        let versions = self.visit(findings, &data_end, &mut judged)?;
        for ((log, is_removed), Wrong { count, first, lines }) in judged.wrong {
            let (kind, what) = match is_removed {
                true => (Kind::Removed, "was removed: an earlier version of it is still there"),
                false => (Kind::Overwritten, "has several versions, or was removed and put again"),
            };
            let objects =
                if count == 1 { "1 object".to_owned() } else { format!("each of {count} objects") };
            let mut finding = Finding::new(kind, format!("{objects} {what}"));
            (finding.objects, finding.acknowledge) = (first, lines);
            findings.push(match log {
                Some(log) => finding.of(&log),
                None => finding,
            });
        }
        Ok((versions, judged.acknowledged))
    }

    fn visit(
        self,
        findings: &mut Vec<Finding>,
        data_end: &impl Fn(&LogName) -> Option<u64>,
        judged: &mut Judged,
    ) -> Result<Versions, ArchiveError> {
        let Self { bucket, watch, .. } = self;
        let (mut seen, mut kept, mut denied) = (0_u64, false, None);
        for below in ["proof/", "tail/", "data/", "parquet/"] {
            let mut group = Group::default();
            let mut see = |version: Version| {
                if watch.interrupted() {
                    let url = bucket.place();
                    return Err(StoreError::new(StoreErrorKind::Interrupted, url, "interrupted"));
                }
                seen += 1;
                kept |= version.id.is_some();
                if group.name != version.name {
                    group.judge(self, data_end, judged);
                    group = Group { name: version.name.clone(), ..Group::default() };
                }
                group.versions += u64::from(!version.is_marker);
                group.markers += u64::from(version.is_marker);
                group.is_current |= version.is_current && !version.is_marker;
                let here = (version.is_current, version.modified, version.id);
                if group
                    .newest
                    .as_ref()
                    .is_none_or(|newest| (newest.0, newest.1) < (here.0, here.1))
                {
                    group.newest = Some(here);
                }
                Ok(())
            };
            match bucket.0.visit_versions(below, &mut see) {
                Ok(()) => {}
                Err(error) if error.kind == StoreErrorKind::Unsupported => {
                    return Ok(Versions::Unknown);
                }
                Err(error) if error.kind == StoreErrorKind::AccessDenied => {
                    denied = Some(error.to_string());
                    break;
                }
                Err(error) if error.kind == StoreErrorKind::Interrupted => return Err(error.into()),
                Err(error) => {
                    let what = format!("not all versions were listed: {error}");
                    findings.push(Finding::new(Kind::Unread, what).at(bucket.place()));
                    break;
                }
            }
            group.judge(self, data_end, judged);
        }
        if let Some(denied) = denied {
            return Ok(Versions::Denied(denied));
        }
        Ok(if kept { Versions::Seen(seen) } else { Versions::NotKept })
    }
}

impl Group {
    fn judge(
        &self,
        look: Look<'_>,
        data_end: &impl Fn(&LogName) -> Option<u64>,
        judged: &mut Judged,
    ) {
        let name = self.name.parse::<ObjectName>().ok();
        let log = name.as_ref().map(|name| name.log().id().to_owned());
        let end = name.as_ref().map(|name| data_end(name.log()));
        if self.name.is_empty() || end == Some(None) {
            return;
        }
        // A lifecycle rule removes tails whose records are in data by then.
        let expires = matches!(
            name, Some(ObjectName::Tail(_, first, _)) if end.flatten().is_some_and(|end| first < end)
        );
        let is_removed = !self.is_current;
        let is_wrong = self.versions > 1 || self.markers > 0 && !(expires && is_removed);
        let is_wrong = is_wrong || is_removed && !expires;
        if !is_wrong {
            return;
        }
        // Who removes what was acknowledged as overwritten did something new.
        let kind = if is_removed { Kind::Removed } else { Kind::Overwritten };
        let newest = self.newest.as_ref().and_then(|newest| newest.2.as_deref());
        if let Some(known) = look.known.of_version(look.bucket, kind, &self.name, newest) {
            judged.acknowledged.push(known);
            return;
        }
        let wrong = judged.wrong.entry((log, is_removed)).or_default();
        wrong.count += 1;
        if wrong.first.len() < MOST_SHOWN {
            wrong.first.push(look.bucket.0.url(&self.name));
            let (object, reason) = (self.name.clone(), "WHY".to_owned());
            wrong.lines.extend(newest.map(|newest| {
                let what = What::Version(newest.to_owned());
                Acknowledgement { kind, object, what, reason }.line()
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::audit::read::watch::Unwatched;
    use crate::store::LocalStore;

    #[test]
    fn a_tail_that_was_removed_is_excused_only_when_its_records_are_in_data() {
        let bucket = Bucket(Arc::new(LocalStore::new("bucket")));
        let log = LogName::new("0123456789abcdef0123456789abcdef", 0).expect("a name");
        let wrong_with = |first: u64, end: Option<u64>| {
            let name = ObjectName::Tail(log.clone(), first, 0).to_string();
            let group = Group { name, versions: 1, markers: 1, ..Group::default() };
            let mut judged = Judged::default();
            let known = Acknowledgements::default();
            let look = Look { bucket: &bucket, watch: &Unwatched, known: &known };
            group.judge(look, &|_: &LogName| end, &mut judged);
            judged.wrong.into_keys().map(|(_, is_removed)| is_removed).collect::<Vec<_>>()
        };
        let none: [bool; 0] = [];
        assert_eq!(wrong_with(70, Some(71)), none);
        assert_eq!(wrong_with(70, Some(70)), [true], "the newest one");
        assert_eq!(wrong_with(70, Some(0)), [true], "a log with no data");
        assert_eq!(wrong_with(70, None), none, "a log that was not asked for");
    }
}
