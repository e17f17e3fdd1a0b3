//! The versions of a fleet's objects. Each is written once: a second version, or a marker that
//! one was removed, says that somebody did what no host does.

use std::collections::BTreeMap;

use super::finding::{Finding, FindingKind as Kind};
use super::inventory::MOST_SHOWN;
use crate::archive::{ArchiveError, Bucket, LogName, ObjectName};
use crate::audit::read::watch::Watch;
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
}

/// Objects with one thing wrong: how many, and the first ones.
#[derive(Debug, Default)]
struct Wrong {
    count: u64,
    first: Vec<String>,
}

/// Looks at all versions; `data_end` gives how many records of an epoch are in data objects, and
/// nothing of a log that is not looked at.
pub(crate) fn look(
    bucket: &Bucket,
    watch: &dyn Watch,
    findings: &mut Vec<Finding>,
    data_end: impl Fn(&LogName) -> Option<u64>,
) -> Result<Versions, ArchiveError> {
    let (mut seen, mut kept, mut denied) = (0_u64, false, None);
    let mut wrong: BTreeMap<(Option<String>, bool), Wrong> = BTreeMap::new();
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
                group.judge(bucket, &data_end, &mut wrong);
                group = Group { name: version.name.clone(), ..Group::default() };
            }
            group.versions += u64::from(!version.is_marker);
            group.markers += u64::from(version.is_marker);
            group.is_current |= version.is_current && !version.is_marker;
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
        group.judge(bucket, &data_end, &mut wrong);
    }
    for ((log, is_removed), Wrong { count, first }) in wrong {
        let (kind, what) = match is_removed {
            true => (Kind::Removed, "was removed: an earlier version of it is still there"),
            false => (Kind::Overwritten, "has several versions, or was removed and put again"),
        };
        let objects =
            if count == 1 { "1 object".to_owned() } else { format!("each of {count} objects") };
        let mut finding = Finding::new(kind, format!("{objects} {what}"));
        finding.objects = first;
        findings.push(match log {
            Some(log) => finding.of(&log),
            None => finding,
        });
    }
    if let Some(denied) = denied {
        return Ok(Versions::Denied(denied));
    }
    Ok(if kept { Versions::Seen(seen) } else { Versions::NotKept })
}

impl Group {
    fn judge(
        &self,
        bucket: &Bucket,
        data_end: &impl Fn(&LogName) -> Option<u64>,
        wrong: &mut BTreeMap<(Option<String>, bool), Wrong>,
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
        if is_wrong {
            let wrong = wrong.entry((log, is_removed && self.versions <= 1)).or_default();
            wrong.count += 1;
            if wrong.first.len() < MOST_SHOWN {
                wrong.first.push(bucket.0.url(&self.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::LocalStore;

    #[test]
    fn a_tail_that_was_removed_is_excused_only_when_its_records_are_in_data() {
        let bucket = Bucket(Arc::new(LocalStore::new("bucket")));
        let log = LogName::new("0123456789abcdef0123456789abcdef", 0).expect("a name");
        let wrong_with = |first: u64, end: Option<u64>| {
            let name = ObjectName::Tail(log.clone(), first, 0).to_string();
            let group = Group { name, versions: 1, markers: 1, is_current: false };
            let mut wrong = BTreeMap::new();
            group.judge(&bucket, &|_: &LogName| end, &mut wrong);
            wrong.into_keys().map(|(_, is_removed)| is_removed).collect::<Vec<_>>()
        };
        let none: [bool; 0] = [];
        assert_eq!(wrong_with(70, Some(71)), none);
        assert_eq!(wrong_with(70, Some(70)), [true], "the newest one");
        assert_eq!(wrong_with(70, Some(0)), [true], "a log with no data");
        assert_eq!(wrong_with(70, None), none, "a log that was not asked for");
    }
}
