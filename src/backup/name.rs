//! How backups are named: `audit_backup_YYYYMMDD_HHMMSS`, UTC.

use crate::clock::Timestamp;

const PREFIX: &str = "audit_backup_";
const METADATA: &str = ".json";

/// The metadata file's name of a backup made then.
#[must_use]
pub fn metadata_name(made: Timestamp) -> String {
    format!("{PREFIX}{}{METADATA}", made.file_stamp())
}

/// When the backup was made, to the second, if the name is one of its metadata.
#[must_use]
pub fn parse_metadata_name(name: &str) -> Option<Timestamp> {
    let stamp = name.strip_prefix(PREFIX)?.strip_suffix(METADATA)?;
    let (date, time) = stamp.split_once('_')?;
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(date, 8) || !digits(time, 6) {
        return None;
    }
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    );
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metadata_name_tells_when_the_backup_was_made() {
        let made: Timestamp = "2026-02-04T21:09:40Z".parse().expect("a time");
        assert_eq!(metadata_name(made), "audit_backup_20260204_210940.json");
        assert_eq!(parse_metadata_name("audit_backup_20260204_210940.json"), Some(made));
    }

    #[test]
    fn other_names_are_none_of_ours() {
        for name in [
            "audit_backup_20260204_210940.gz",
            "audit_backup_20260204_210940.json.tmp-1-2",
            "audit_backup_20261304_210940.json",
            "audit_backup_2026020_2109400.json",
            "audit_backup_.json",
            "backup.json",
        ] {
            assert_eq!(parse_metadata_name(name), None, "{name}");
        }
    }
}
