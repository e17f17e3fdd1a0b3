use proptest::prelude::*;

use super::*;
use crate::audit::files::segment::Block;
use crate::clock::Timestamp;
use crate::fsio::OsFs;

/// A compressed segment of some records behind those before.
fn segment(first_seq: u64, records: u64, blocks: u64) -> Segment {
    let mut offset = 0;
    let mut next = first_seq;
    let blocks = (0..blocks).map(|nth| {
        let mut block = Block::empty(next, offset);
        let of_block = if nth + 1 == blocks { first_seq + records - next } else { 1 };
        for seq in next..next + of_block {
            block.push(&seq.to_le_bytes(), Timestamp::from_micros(5));
        }
        (next, offset) = (next + of_block, offset + block.stored_bytes);
        block
    });
    let blocks = blocks.collect();
    let file = crate::audit::paths::sealed_name(first_seq, true);
    let sha256 = Some("00".repeat(32));
    Segment { sha256, ..Segment::empty(first_seq, records).of_blocks(file, blocks) }
}

fn segments(count: u64) -> Vec<Segment> {
    (0..count).map(|nth| segment(3 * nth, 3, 1 + nth % 3)).collect()
}

const LIMITS: InOneFile = InOneFile { segments: 300, blocks: 600 };
const SMALL: InOneFile = InOneFile { segments: 60, blocks: 120 };

/// As segments are where they are arranged by smaller limits, all pages stored.
fn arranged(count: u64) -> Segments {
    let mut arranged: Segments = segments(count).into();
    arranged.arrange(LIMITS);
    for (nth, page) in arranged.unstored() {
        arranged.stored((nth, &page), entry(&page));
    }
    arranged
}

fn entry(page: &Arc<Vec<Segment>>) -> PageEntry {
    let dir = tempfile::tempdir().expect("temporary directory");
    PageEntry::store(&OsFs, dir.path(), "5f0c", page).expect("stored")
}

#[test]
fn few_segments_stand_in_one_file_and_many_in_pages_and_the_newest_never() {
    assert_eq!(arranged(300).pages(), 0);
    let many = arranged(1_000);
    assert!(many.pages() > 4, "{}", many.pages());
    assert!(many.newest().len() < 2 * LIMITS.page().0);
    assert!(Sums::of(many.newest()).blocks < 2 * LIMITS.page().1);
    assert!(many.iter().eq(&segments(1_000)));
    // Where most were removed, none needs a page.
    let mut few = many;
    let listed: Vec<String> = few.entries().map(|page| page.file.clone()).collect();
    few.remove_first(900);
    few.arrange(LIMITS);
    assert_eq!((few.pages(), few.len()), (0, 100));
    assert_eq!(few.take_stale(), listed);
}

#[test]
fn segments_of_many_blocks_stand_in_pages_too() {
    let mut large: Segments = (0..40).map(|nth| segment(2_000 * nth, 2_000, 400)).collect();
    large.arrange(LIMITS);
    assert!(large.pages() > 30, "{}", large.pages());
    assert_eq!(large.len(), 40);
    assert_eq!(large.sums().blocks, 40 * 400);
    // One of more blocks than a page is a page of its own.
    let mut huge: Segments = (0..5).map(|nth| segment(9_000 * nth, 9_000, 1_500)).collect();
    huge.arrange(LIMITS);
    assert_eq!(huge.pages(), 4);
    assert_eq!(huge.len(), 5);
}

#[test]
fn adding_one_writes_no_page_again() {
    let mut many = arranged(1_000);
    let before = many.pages();
    for nth in 1_000..2_000 {
        many.push(segment(3 * nth, 3, 1));
        many.arrange(LIMITS);
        let new = many.unstored();
        assert!(new.len() <= 1, "one page at most is new");
        for (nth, page) in new {
            many.stored((nth, &page), entry(&page));
        }
    }
    assert!(many.pages() > before + 5);
    assert!(many.take_stale().is_empty());
}

#[test]
fn a_page_that_changed_meanwhile_is_not_noted_as_stored() {
    let mut many: Segments = segments(1_000).into();
    many.arrange(LIMITS);
    let unstored = many.unstored();
    many.update(5, |segment| segment.damage = Some("bad".to_owned()));
    for (nth, page) in &unstored {
        many.stored((*nth, page), entry(page));
    }
    assert!(!many.are_stored());
    assert_eq!(many.unstored().len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Change(prop::sample::Index),
    Remove(prop::sample::Index),
    Arrange,
    Store,
    Take,
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1_u64..120).prop_map(Step::Push),
        4 => any::<prop::sample::Index>().prop_map(Step::Change),
        2 => any::<prop::sample::Index>().prop_map(Step::Remove),
        4 => Just(Step::Arrange),
        4 => Just(Step::Store),
        1 => Just(Step::Take),
        2 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_done_they_are_the_same_as_in_a_plain_list(steps in steps()) {
        let (mut all, mut plain) = (Segments::default(), Vec::new());
        let mut begin = 0;
        for step in steps {
            match step {
                Step::Push(count) => for _ in 0..count {
                    let next = plain.last().map_or(begin, Segment::end_seq);
                    let new = segment(next, 3, 1 + next % 2);
                    all.push(new.clone());
                    plain.push(new);
                },
                Step::Change(which) => if !plain.is_empty() {
                    let at = which.index(plain.len());
                    let other = Segment {
                        filters_sha256: Some(format!("{at}")),
                        ..plain[at].clone()
                    };
                    plain[at] = other.clone();
                    all.replace(other);
                },
                Step::Remove(which) => if !plain.is_empty() {
                    let count = which.index(plain.len());
                    begin = plain[count].first_seq;
                    let gone: Vec<_> = plain.drain(..count).collect();
                    prop_assert_eq!(all.remove_first(count), gone);
                },
                Step::Arrange => all.arrange(SMALL),
                Step::Store => for (nth, page) in all.unstored() {
                    all.stored((nth, &page), entry(&page));
                },
                Step::Take => {
                    let listed: Vec<String> = all.entries().map(|p| p.file.clone()).collect();
                    prop_assert!(all.take_stale().iter().all(|file| !listed.contains(file)));
                }
                Step::Reload => if all.are_stored() {
                    let pages = all.pages.iter();
                    let pages = pages.map(|p| (p.entry.clone().expect("stored"), Arc::clone(&p.segments)));
                    all = Segments::of_pages(pages.collect(), all.newest.clone(), begin);
                },
            }
            prop_assert!(all.iter().eq(&plain));
            prop_assert!(all.iter().rev().eq(plain.iter().rev()));
            prop_assert_eq!(all.len(), plain.len());
            prop_assert_eq!(all.sums(), Sums::of(&plain));
            prop_assert_eq!(all.last(), plain.last());
            prop_assert_eq!(&all, &Segments::from(plain.clone()));
            for (at, segment) in plain.iter().enumerate().step_by(7) {
                prop_assert_eq!(all.position(segment.first_seq), Some(at));
                prop_assert_eq!(all.position(segment.first_seq + 1), None);
                prop_assert_eq!(all.with_record(segment.first_seq + 2), Some(segment));
            }
            prop_assert_eq!(all.get(plain.len()), None);
        }
    }
}

/// A log's directory with a manifest in pages, signed, and its key.
fn stored() -> (tempfile::TempDir, super::super::Manifest, crate::audit::keys::signer::SigningKey) {
    use super::super::Manifest;
    use crate::audit::keys::signer::SigningKey;
    let dir = tempfile::tempdir().expect("temporary directory");
    let key = SigningKey::generate("auditctl/5f0c").expect("a key");
    let mut manifest = Manifest::new("5f0c".to_owned());
    manifest.segments = segments(5_000).into();
    manifest
        .store_signed(&OsFs, &dir.path().join(NAME), Some(&key), InOneFile::default())
        .expect("stored");
    assert!(manifest.segments.pages() > 20);
    (dir, manifest, key)
}

const NAME: &str = "audit.manifest.json";

#[test]
fn a_manifest_in_pages_is_read_as_it_was_stored_and_its_signature_covers_the_pages() {
    use super::super::Manifest;
    let (dir, manifest, key) = stored();
    let path = dir.path().join(NAME);
    let (read, signature) = Manifest::load_signed(&OsFs, &path).expect("read").expect("there");
    assert_eq!(read, manifest);
    assert_eq!(read.encode_as_stored().ok(), std::fs::read(&path).ok());
    let keys = key.verifier().clone().into();
    assert_eq!(read.check_signature(&signature, &keys), Ok(()));
    // One byte of one page.
    let page = dir.path().join(&manifest.segments.entry(7).expect("a page").file);
    let text = std::fs::read_to_string(&page).expect("read");
    std::fs::write(&page, text.replacen("\"records\":3", "\"records\":4", 1)).expect("written");
    let error = Manifest::load(&OsFs, &path).expect_err("altered").to_string();
    assert!(error.contains("it is not the page that the manifest lists"), "{error}");
    std::fs::remove_file(&page).expect("removed");
    let error = Manifest::load(&OsFs, &path).expect_err("missing").to_string();
    assert!(error.contains("is missing"), "{error}");
}

#[test]
fn who_reads_a_manifest_beside_a_writer_that_stores_another_reads_that_one() {
    use super::super::Manifest;
    let (dir, mut manifest, key) = stored();
    let path = dir.path().join(NAME);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..40 {
                let at = (round * 131) % manifest.segments.len();
                manifest.segments.update(at, |segment| {
                    segment.filters_sha256 = Some(format!("{round:064x}"));
                });
                manifest
                    .store_signed(&OsFs, &path, Some(&key), InOneFile::default())
                    .expect("stored");
                for page in manifest.segments.take_stale() {
                    std::fs::remove_file(dir.path().join(page)).expect("removed");
                }
            }
        });
        let mut reads = 0;
        while !writer.is_finished() {
            let read = Manifest::load(&OsFs, &path).expect("read").expect("there");
            assert_eq!(read.segments.len(), 5_000);
            reads += 1;
        }
        assert!(reads > 1);
    });
    // Nothing is left of what is not listed.
    let listed: Vec<String> = manifest.segments.entries().map(|page| page.file.clone()).collect();
    for entry in std::fs::read_dir(dir.path()).expect("listed") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        assert!(name == NAME || listed.contains(&name), "{name}");
    }
}

#[test]
fn a_manifest_without_pages_says_nothing_of_a_new_format() {
    use super::super::Manifest;
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join(NAME);
    let mut manifest = Manifest::new("5f0c".to_owned());
    manifest.segments = segments(4_000).into();
    manifest.store_signed(&OsFs, &path, None, InOneFile::default()).expect("stored");
    let text = std::fs::read_to_string(&path).expect("read");
    assert!(text.starts_with(r#"{"type":"auditctl/manifest","format":1,"#));
    assert!(!text.contains("\"pages\""));
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
}

#[test]
fn a_list_of_pages_that_lies_is_refused() {
    use super::super::Manifest;
    use serde_json::{Value, json};
    let (dir, _, _) = stored();
    let path = dir.path().join(NAME);
    let good: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("json");
    type Lie = (&'static str, fn(&mut Value));
    let lies: [Lie; 7] = [
        ("a page twice", |it| {
            let first = it["pages"][0].clone();
            it["pages"].as_array_mut().expect("pages").insert(1, first);
        }),
        ("a page less", |it| drop(it["pages"].as_array_mut().expect("pages").remove(3))),
        ("the last page less", |it| drop(it["pages"].as_array_mut().expect("pages").pop())),
        ("another file", |it| it["pages"][2]["file"] = json!("audit.log")),
        ("a way out", |it| it["pages"][2]["file"] = json!("../audit.page")),
        ("other records", |it| it["pages"][0]["first_seq"] = json!(1)),
        ("format 1", |it| it["format"] = json!(1)),
    ];
    for (what, lie) in lies {
        let mut told = good.clone();
        lie(&mut told);
        std::fs::write(&path, told.to_string()).expect("written");
        let error = Manifest::load(&OsFs, &path).expect_err(what);
        assert!(matches!(error, super::super::ManifestError::Invalid { .. }), "{what}: {error}");
    }
    let mut newer = good.clone();
    newer["format"] = json!(3);
    std::fs::write(&path, newer.to_string()).expect("written");
    let error = Manifest::load(&OsFs, &path).expect_err("newer");
    assert!(matches!(error, super::super::ManifestError::Newer { .. }), "{error}");
}
