//! What the records, heads and names of a log say against each other.

use std::collections::{BTreeMap, BTreeSet};

use super::exam::Exam;
use super::finding::{Finding, FindingKind as Kind, Severity};
use super::heads::{Head, evidence};
use super::inventory::{MOST_SHOWN, NameSum};
use super::look::Look;
use super::tables::{self, Compared};
use crate::archive::{ArchiveError, Day, HostName, Lacks, LogName, ObjectName, RangeProof};
use crate::audit::files::facts::Authority;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;

/// A range this old is no run at work any more, by the store's clock.
const AT_WORK_MICROS: i64 = 3_600_000_000;

impl Exam<'_> {
    /// What is proven to have been there.
    pub(super) fn lacks(&mut self, lacks: Lacks, authority: &Authority, keys: &Keyring) {
        let kind = match &lacks {
            Lacks::Newer { .. } => Kind::Truncated,
            Lacks::Hole { .. } => Kind::RecordsMissing,
            Lacks::Keys { .. } => Kind::KeysUnproven,
            Lacks::Epoch { epoch, size, .. } => {
                // The record of a restore holds the head that it sets aside.
                let set_aside = authority.abandoned.iter().any(|note| {
                    SignedCheckpoint::parse(note.as_bytes()).is_ok_and(|note| {
                        let signed = keys.verify(&note);
                        signed.is_ok_and(|(head, _)| {
                            let of = head.origin.parse::<Origin>();
                            of.is_ok_and(|of| of.epoch() == *epoch) && head.size >= *size
                        })
                    })
                });
                if set_aside { Kind::EpochLeft } else { Kind::EpochContradicts }
            }
        };
        let object = lacks.object().to_owned();
        let what = match ArchiveError::from(lacks) {
            ArchiveError::Incomplete { what, .. } | ArchiveError::Object { what, .. } => what,
            other => other.to_string(),
        };
        self.push(Finding::new(kind, what).at(object));
    }

    /// Whether a data object is where its records say.
    pub(super) fn placed(&mut self, proof: &RangeProof, until: u64, look: &Look) {
        self.names.insert(proof.data.clone());
        let Ok(ObjectName::Data(place)) = proof.object() else { return };
        let url = self.check.bucket.0.url(&proof.data);
        let first = look.first.filter(|_| look.first_seq == Some(proof.span().first));
        let last = look.last.filter(|_| until == proof.span().end);
        let day_is_wrong = first.is_some_and(|first| Day::of(first) != place.day);
        let is_wrong = first.is_some_and(|first| first != proof.first_accepted)
            || proof.holes.is_empty() && last.is_some_and(|last| last != proof.last_accepted);
        if day_is_wrong || is_wrong {
            let what = "the object in proof/ that names it says another day or time than its \
                        records";
            self.push(Finding::new(Kind::FalseRange, what).at(url.clone()));
        }
        let named = self.host.clone().or_else(|| look.host.clone());
        let named = named.map(|host| HostName::of(&host));
        let expected = self.check.subject.expected.map_or(&[][..], |it| &it.hosts);
        let known = expected.iter().chain(&named);
        if (!expected.is_empty() || named.is_some())
            && !known.into_iter().any(|host| *host == place.host)
        {
            let known: Vec<&str> = expected.iter().chain(&named).map(HostName::as_str).collect();
            let what = format!(
                "the records of log {} are under host={}, and its host is {}",
                self.check.subject.id,
                place.host.as_str(),
                known.join(", ")
            );
            let others = self.report.findings.iter_mut();
            let mut others = others.filter(|it| it.kind == Kind::OtherHost && it.what == what);
            match others.next() {
                Some(one) if one.objects.len() < MOST_SHOWN => one.objects.push(url),
                Some(_) => {}
                None => self.push(Finding::new(Kind::OtherHost, what).at(url)),
            }
        }
    }

    /// Compares the Parquet object beside a data object, where the log has any.
    pub(super) fn in_parquet(&mut self, proof: &RangeProof) -> Result<(), ArchiveError> {
        let lists_none = self.check.subject.listed.is_none_or(|listed| listed.tables.count == 0);
        let Ok(ObjectName::Data(place)) = proof.object() else { return Ok(()) };
        if lists_none || !self.tables.insert(proof.data.clone()) {
            return Ok(());
        }
        let Some(compared) = tables::compare(self.check.bucket, &place, proof)? else {
            return Ok(());
        };
        let name = ObjectName::Parquet(place);
        if compared != Compared::Absent {
            self.check.sums.add(&mut self.present, &name.to_string());
        }
        match compared {
            // Made by a host without Parquet, or before it had it.
            Compared::Absent => {}
            Compared::Same => self.report.parquet_same += 1,
            Compared::Differs(what) => {
                // Read again the next time, also where it is acknowledged: what is there may be
                // another one then.
                self.is_whole = false;
                let super::exam::Check { bucket, known, .. } = *self.check;
                match known.of_content(bucket, Kind::TableDiffers, &name.to_string()) {
                    Some(known) => self.report.acknowledged.push(known),
                    None => {
                        let url = bucket.url(&name);
                        self.push(Finding::new(Kind::TableDiffers, what).at(url));
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares the signed heads of an epoch with its records.
    pub(super) fn compare(
        &mut self,
        log: &LogName,
        heads: &[Head],
        roots: &BTreeMap<u64, Hash>,
        (size, note): (u64, &str),
    ) -> Result<(), ArchiveError> {
        for head in heads.iter().filter(|head| head.size <= size) {
            match roots.get(&head.size) {
                Some(root) if *root == head.root => self.report.heads += 1,
                Some(_) => {
                    let what = format!(
                        "a key of the log signed another tree of {} records than the one that the \
                         archive leads up to",
                        head.size
                    );
                    let finding = Finding::new(Kind::SplitView, what).at(&head.object);
                    // Of the same size, where there is one: two notes say all then.
                    let same = heads
                        .iter()
                        .find(|it| it.size == head.size && roots.get(&head.size) == Some(&it.root));
                    let other = same.map_or_else(
                        || evidence(log, size, note),
                        |it| evidence(log, it.size, &it.note),
                    );
                    let finding = Finding {
                        evidence: vec![evidence(log, head.size, &head.note), other],
                        ..finding.in_epoch(log.epoch())
                    };
                    self.push(finding);
                }
                None if head.name.is_none() => {
                    self.report.heads_unchecked += 1;
                    let what = format!(
                        "the log signed {} records, and those that are there do not lead up to \
                         that point: it cannot be compared",
                        head.size
                    );
                    let finding = Finding::new(Kind::RecordsMissing, what).at(&head.object);
                    self.push(finding.in_epoch(log.epoch()));
                }
                None => self.report.heads_unchecked += 1,
            }
        }
        let above: Vec<&Head> = heads.iter().filter(|head| head.size > size).collect();
        let Some(head) = above.last() else { return Ok(()) };
        let what = format!(
            "the log signed {} records, and the archive leads up to {size}: the last {} are not \
             in it",
            head.size,
            head.size - size
        );
        let kind = match self.is_at_work(log, size, &above)? {
            true => Kind::Unfinished,
            false => Kind::Truncated,
        };
        let mut finding = Finding::new(kind, what).at(&head.object).in_epoch(log.epoch());
        finding.evidence = vec![evidence(log, head.size, &head.note)];
        self.push(finding);
        Ok(())
    }

    /// Whether it looks as a run leaves it that is putting data objects, by the store's clock.
    pub(super) fn is_at_work(
        &mut self,
        log: &LogName,
        size: u64,
        above: &[&Head],
    ) -> Result<bool, ArchiveError> {
        let Some(now) = self.check.now else { return Ok(false) };
        // A run puts ranges from the last point on, and its checkpoint last.
        let mut lowest = u64::MAX;
        for head in above {
            let name = head.name.as_ref().filter(|_| head.data.is_some());
            match name.and_then(|name| name.parse().ok()) {
                Some(ObjectName::Range(_, first, _)) => lowest = lowest.min(first),
                _ => return Ok(false),
            }
        }
        let Some(name) = above.last().and_then(|head| head.name.as_ref()) else {
            return Ok(false);
        };
        let put = self.check.bucket.0.stat(name)?.and_then(|object| object.modified);
        let young = |then: Timestamp| {
            let age = now.micros().saturating_sub(then.micros());
            (0..AT_WORK_MICROS).contains(&age)
        };
        // Who puts the same again and again makes it no younger.
        let before = self.check.subject.saved.and_then(|it| it.unfinished.get(&log.epoch()));
        let since = before.filter(|it| it.0 == size).map_or(now, |it| it.1);
        self.report.saved.unfinished.insert(log.epoch(), (size, since));
        Ok(lowest == size && put.is_some_and(young) && young(since))
    }

    pub(super) fn is_new_epoch(&mut self) {
        let expected = self.check.subject.expected.and_then(|it| it.epoch);
        let Some((known, there)) = expected.zip(self.report.epoch) else { return };
        if there > known {
            let what = format!("the log is in epoch {there}, and the roster knows of {known}");
            self.push(Finding::new(Kind::NewEpoch, what).in_epoch(there));
        }
        if there < known {
            let what = format!(
                "the roster says that the log is in epoch {known}, and the archive leads up to \
                 epoch {there}"
            );
            self.push(Finding::new(Kind::Truncated, what).in_epoch(known));
        }
    }

    /// A log that has to be there has records.
    pub(super) fn has_records(&mut self) {
        let subject = self.check.subject;
        let is_expected = subject.expected.is_some() || subject.believed.is_some();
        if is_expected && self.report.records == 0 && !self.is_bad() {
            let what = format!("of log {} there is no record that anything proves", subject.id);
            self.push(Finding::new(Kind::LogMissing, what));
        }
    }

    pub(super) fn hosts(&mut self) {
        let expected = self.check.subject.expected.filter(|it| it.hosts.is_empty());
        if expected.is_some() && self.host.is_none() && self.report.records > 0 {
            let what = "whose records these are cannot be checked: the log's first record, which \
                        names its host, is not there, and the roster has no host= for it";
            let finding = Finding::new(Kind::OtherHost, what).as_bad_as(Severity::Warning);
            self.push(finding);
        }
        let listed = self.check.subject.listed.into_iter().flat_map(|it| &it.hosts);
        let mut hosts: Vec<String> = listed.map(|host| host.as_str().to_owned()).collect();
        if hosts.is_empty() {
            let places = self.names.iter().filter_map(|name| name.parse().ok());
            let named: BTreeSet<String> = places
                .filter_map(|name| match name {
                    ObjectName::Data(place) => Some(place.host.as_str().to_owned()),
                    _ => None,
                })
                .collect();
            hosts = named.into_iter().collect();
        }
        if hosts.is_empty() {
            let expected = self.check.subject.expected.into_iter().flat_map(|it| &it.hosts);
            hosts = expected.map(|host| host.as_str().to_owned()).collect();
        }
        self.report.hosts = hosts;
    }

    /// Whether the bucket lists the very objects of tables that were proven, and no others.
    pub(super) fn lists_what_was_proven(&self) -> bool {
        let Some(listed) = self.check.subject.listed else { return true };
        let mut sum = NameSum::default();
        self.names.iter().for_each(|name| self.check.sums.add(&mut sum, name));
        let skipped = self.report.records_known > 0;
        let (data, tables) = match skipped {
            true => (listed.data.names, listed.tables.names),
            false => (listed.data.all, listed.tables.all),
        };
        let tables_are = match cfg!(feature = "parquet") {
            true => tables == self.present,
            // Which there have to be is not known: none, or those of all data.
            false => listed.tables.count == 0 || listed.in_parquet == listed.data.all,
        };
        data == sum && tables_are
    }

    /// Objects that nothing proves, if there are any, are looked for by their names.
    pub(super) fn strays(&mut self) {
        let Some(listed) = self.check.subject.listed else { return };
        if !cfg!(feature = "parquet") {
            self.report.parquet_unchecked = listed.tables.count;
        }
        if !self.lists_what_was_proven() {
            self.report.proven = Some(std::mem::take(&mut self.names));
        }
    }
}
