use std::sync::Arc;

use super::*;
use crate::audit::tree::merkle::Range;

#[test]
fn who_is_told_of_a_checkpoint_can_read_it() {
    let key = Arc::new(SigningKey::generate("auditctl/5f0c").expect("a key"));
    let manifest = Manifest::new("5f0c".to_owned());
    let (keeper, _start) = Keeper::new(manifest, "the first".to_owned(), key);
    let mut told = None;
    keeper.set_checkpoint("the second".to_owned(), || told = Some(keeper.checkpoint()));
    assert_eq!(told.as_deref(), Some("the second"));
}

#[test]
fn what_is_sealed_counts_as_stored_at_once() {
    let key = Arc::new(SigningKey::generate("auditctl/5f0c").expect("a key"));
    let mut manifest = Manifest::new("5f0c".to_owned());
    let mut sealed = Layout::new(Range::empty(0));
    sealed.raw_bytes = 700;
    manifest.segments.push(Segment::sealed(&sealed, None));
    let (keeper, _start) = Keeper::new(manifest, String::new(), key);
    assert_eq!(keeper.stored_bytes(), 700);
    sealed.raw_bytes = 40;
    keeper.sealed(&sealed, None);
    assert_eq!(keeper.stored_bytes(), 740, "before its thread has noted it");
}
