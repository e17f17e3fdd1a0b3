//! Objects in a bucket that nothing proves.

use std::collections::{HashMap, HashSet};

use super::finding::{Finding, FindingKind as Kind, Severity};
use super::inventory::MOST_SHOWN;
use super::report::LogReport;
use super::verify::{Fleet, Run};
use crate::archive::{ArchiveError, ObjectName};
use crate::store::{StoreError, StoreErrorKind};

impl Run<'_> {
    /// Names that no object of an archive has.
    pub(super) fn foreign(&self, fleet: &mut Fleet) {
        let names = &self.inventory.foreign;
        if names.count == 0 || fleet.is_partial {
            return;
        }
        let what = format!(
            "{} with names that no object of an archive has, {} of them where engines read",
            if names.count == 1 {
                "1 object".to_owned()
            } else {
                format!("{} objects", names.count)
            },
            names.in_tables
        );
        let severity = if names.in_tables > 0 { Severity::Bad } else { Severity::Warning };
        let mut finding = Finding::new(Kind::ForeignObject, what).as_bad_as(severity);
        finding.objects = names.first.iter().map(|name| self.bucket.0.url(name)).collect();
        fleet.findings.push(finding);
    }

    /// Names among the tables that the roster acknowledges as foreign.
    pub(super) fn named(&self, fleet: &mut Fleet) {
        let proves = |report: &LogReport, name: &str| {
            report.proven.as_ref().is_some_and(|proven| proven.contains(name))
        };
        for name in &self.inventory.named {
            // What the log's own proofs name is none, whatever the roster says.
            let id = name.parse::<ObjectName>().ok().map(|name| name.log().id().to_owned());
            let of_data = match name.parse() {
                Ok(ObjectName::Parquet(place)) => ObjectName::Data(place).to_string(),
                _ => name.clone(),
            };
            if fleet.is_partial || fleet.logs.iter().any(|report| proves(report, &of_data)) {
                continue;
            }
            match self.known.of_content(self.bucket, Kind::ForeignObject, name) {
                Some(known) => fleet.acknowledged.push(known),
                None => {
                    let what = "nothing that the log signed names this object, and it is not the \
                                one that the roster acknowledges";
                    let finding = Finding::new(Kind::ForeignObject, what);
                    let finding = finding.at(self.bucket.0.url(name));
                    fleet.findings.push(match id {
                        Some(id) => finding.of(&id),
                        None => finding,
                    });
                }
            }
        }
    }

    /// The objects of tables that nothing proves, of logs that have some.
    pub(super) fn strays(&self, fleet: &mut Fleet) -> Result<(), ArchiveError> {
        let mut proven: HashMap<String, (&HashSet<String>, Vec<String>, u64)> = HashMap::new();
        for report in &fleet.logs {
            if let Some(names) = &report.proven {
                proven.insert(report.id.clone(), (names, Vec::new(), 0));
            }
        }
        if proven.is_empty() {
            return Ok(());
        }
        let end = self.bucket.0.now()?;
        for below in ["data/", "parquet/"] {
            self.bucket.0.visit(below, &mut |object| {
                if self.watch.interrupted() {
                    let url = self.bucket.place();
                    return Err(StoreError::new(StoreErrorKind::Interrupted, url, "interrupted"));
                }
                let Ok(name) = object.name.parse::<ObjectName>() else { return Ok(()) };
                let Some((names, strays, count)) = proven.get_mut(name.log().id()) else {
                    return Ok(());
                };
                let of_data = match &name {
                    ObjectName::Parquet(place) => ObjectName::Data(place.clone()).to_string(),
                    _ => object.name.clone(),
                };
                // What came while this ran is for the next time.
                let came = self.now.zip(end).zip(object.modified);
                let is_later = came.is_some_and(|((now, end), at)| now <= at && at <= end);
                let is_named = self.known.names(Kind::ForeignObject, &object.name);
                if !names.contains(&of_data) && !is_later && !is_named {
                    *count += 1;
                    if strays.len() < MOST_SHOWN {
                        strays.push(self.bucket.0.url(&object.name));
                    }
                }
                Ok(())
            })?;
        }
        let found = proven.into_iter().filter(|(_, (.., count))| *count > 0);
        let mut found: HashMap<_, _> =
            found.map(|(id, (_, strays, count))| (id, (strays, count))).collect();
        for report in &mut fleet.logs {
            let Some((strays, count)) = found.remove(&report.id) else { continue };
            let objects =
                if count == 1 { "1 object".to_owned() } else { format!("{count} objects") };
            let what = format!(
                "{objects} under this log's name where engines read, and nothing that the log \
                 signed names them"
            );
            let mut finding = Finding::new(Kind::ForeignObject, what).of(&report.id);
            finding.objects = strays;
            report.findings.push(finding);
        }
        Ok(())
    }
}
