//! A backup's metadata and its archive's marker, both from whoever stores backups.

use auditctl::backup::{BackupId, Marker, Metadata, parse_name};

/// As both, and as a file's name.
pub fn check(data: &[u8]) {
    if let Ok(marker) = Marker::parse(data) {
        let member = marker.member().expect("it was one");
        assert_eq!(Marker::parse(&member), Ok(marker));
    }
    if let Some(id) = id_in(data)
        && let Ok(metadata) = Metadata::parse(data, id)
    {
        // However it was laid out: what is written of it says the same.
        let written = metadata.to_bytes().expect("it encodes");
        let again = Metadata::parse(&written, id).expect("it is metadata");
        assert_eq!(again.to_bytes().expect("it encodes"), written);
        assert_eq!(metadata.id, id);
        let encrypted = metadata.encryption.is_some();
        assert_eq!(metadata.archive.file, id.archive(encrypted), "a name of its own choosing");
        let (first, records) = (metadata.range.first_seq, metadata.range.records);
        assert_eq!(first.checked_add(records), Some(metadata.range.tree_size));
        if let Ok(keys) = metadata.own_keys() {
            let _ = metadata.verify(&keys);
        }
    }
    if let Ok(name) = std::str::from_utf8(data)
        && let Some((id, _)) = parse_name(name)
    {
        assert!(name.starts_with(&id.stem()) && !name.contains('/'), "{name:?}");
    }
}

/// The id that the text gives itself.
fn id_in(data: &[u8]) -> Option<BackupId> {
    let text: serde_json::Value = serde_json::from_slice(data).ok()?;
    text.get("id")?.as_str()?.parse().ok()
}
