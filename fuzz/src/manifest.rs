//! A manifest: believed only where it contradicts itself nowhere.

use auditctl::audit::files::manifest::Manifest;
use auditctl::audit::keys::signed_document::Signature;

/// What is read is written the same, and can be computed with.
pub fn check(text: &[u8]) {
    let _ = Signature::read(text);
    let Ok(manifest) = Manifest::parse(text) else { return };
    let encoded = manifest.encode().expect("it encodes");
    let again = Manifest::parse(&encoded).expect("what was written reads back");
    assert_eq!(again, manifest);
    assert_eq!(again.encode().expect("it encodes"), encoded);
    let tree = manifest.tree().expect("its ranges are adjacent");
    assert_eq!(tree.end(), manifest.end_seq());
    tree.root().expect("it begins at 0");
    let mut stored = 0;
    for segment in &manifest.segments {
        let name = &segment.file;
        assert!(name.starts_with("audit.") && !name.contains(['/', '\0']), "{name:?} leaves");
        assert_eq!(segment.blocks.iter().map(|block| block.records).sum::<u64>(), segment.records);
        stored += segment.stored_bytes;
    }
    assert_eq!(manifest.stored_bytes(), stored);
}
