use super::*;
use crate::audit::files::segment::{Layout, Staged};
use crate::audit::paths::sealed_name;
use crate::fsio::{Fs, OpenMode, OsFs};

fn line(seq: u64) -> Vec<u8> {
    format!(
        "{{\"seq\":{seq},\"timestamp\":\"2026-01-01T00:00:{:02}.000000Z\",\"x\":\"{}\"}}",
        seq % 60,
        "y".repeat((seq * 7919 % 300) as usize)
    )
    .into_bytes()
}

/// A plain file of the records `0..end`, and the segment that it is.
fn plain(dir: &std::path::Path, end: u64) -> (Box<dyn FsFile>, Segment, Vec<u8>) {
    let mut layout = Layout::new(Range::empty(0));
    let mut staged = Staged::after(&layout, Vec::new());
    for seq in 0..end {
        staged.line(Timestamp::from_micros(5), |out| out.extend_from_slice(&line(seq)));
    }
    layout.absorb(&staged);
    let path = dir.join(sealed_name(0, false));
    std::fs::write(&path, &staged.bytes).expect("written");
    let file = OsFs.open(&path, OpenMode::Write).expect("opened");
    (file, Segment::sealed(&layout, None), staged.bytes.clone())
}

fn lost(pieces: &[Piece]) -> Vec<(u64, u64)> {
    let holes = pieces.iter().filter(|piece| matches!(piece, Piece::Hole(_)));
    holes.map(|piece| (piece.block().first_seq, piece.block().tree.end())).collect()
}

fn adds_up(pieces: &[Piece], segment: &Segment) {
    let (mut here, mut noted) = (Range::empty(0), Range::empty(0));
    pieces.iter().for_each(|piece| here.extend(&piece.block().tree).expect("in order"));
    segment.blocks.iter().for_each(|block| noted.extend(&block.tree).expect("in order"));
    assert_eq!(here, noted, "the pieces are all of it");
}

#[test]
fn of_a_damaged_block_the_subtrees_beside_the_damaged_record_are_left() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (file, segment, text) = plain(dir.path(), 300);
    assert!(is_whole(&pieces_of(Some(&*file), &segment, None).expect("read"), &segment));
    // 256 + 32 + 8 + 4 records: one is damaged in the second subtree.
    let at = memchr::memmem::find(&text, b"{\"seq\":260,").expect("there") + 12;
    file.write_all_at(b"#", at as u64).expect("damaged");
    let pieces = pieces_of(Some(&*file), &segment, None).expect("read");
    assert_eq!(lost(&pieces), [(256, 288)]);
    adds_up(&pieces, &segment);
    // All of it gone.
    let pieces = pieces_of(None, &segment, Some("its file is missing")).expect("nothing to read");
    assert_eq!(lost(&pieces), [(0, 300)]);
    assert_eq!(pieces[0].block().hole.as_deref(), Some("its file is missing"));
    adds_up(&pieces, &segment);
}

#[test]
fn lines_are_found_wherever_they_stand_and_forged_ones_beside_them_take_nothing_away() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (_, segment, text) = plain(dir.path(), 300);
    let path = dir.path().join("moved");
    for (before, behind) in [(true, false), (false, true)] {
        let mut moved = Vec::new();
        for whole in text.split_inclusive(|byte| *byte == b'\n') {
            let is_that = whole.starts_with(b"{\"seq\":7,");
            let forged = b"{\"seq\":7,\"timestamp\":\"2026-01-01T00:00:00.000000Z\",\"f\":1}\n";
            if is_that && before {
                moved.extend_from_slice(forged);
            }
            moved.extend_from_slice(whole);
            if is_that && behind {
                moved.extend_from_slice(forged);
            }
        }
        std::fs::write(&path, &moved).expect("written");
        let file = OsFs.open(&path, OpenMode::Read).expect("opened");
        let pieces = pieces_of(Some(&*file), &segment, None).expect("read");
        assert_eq!(lost(&pieces), []);
        adds_up(&pieces, &segment);
    }
}

#[test]
fn of_a_broken_gzip_member_what_comes_out_before_it_breaks_is_left() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (plain, segment, _) = plain(dir.path(), 9_000);
    assert!(segment.blocks.len() > 1);
    let path = dir.path().join(sealed_name(0, true));
    let out = OsFs.open(&path, OpenMode::CreateNew).expect("made");
    let pieces: Vec<Piece> = segment
        .blocks
        .iter()
        .map(|block| {
            let raw = lines_of(&*plain, &segment, block).expect("read").expect("whole");
            Piece::Lines(block.clone(), raw)
        })
        .collect();
    let (blocks, sha256) = store(&pieces, None, Some(6), &*out).expect("packed");
    let mut packed = segment.of_blocks(sealed_name(0, true), blocks);
    packed.sha256 = Some(sha256);
    assert!(is_whole(&pieces_of(Some(&*out), &packed, None).expect("read"), &packed));
    let second = &packed.blocks[1];
    let middle = second.offset + second.stored_bytes * 9 / 10;
    out.write_all_at(b"\x00\x00\x00\x00\x00\x00\x00\x00", middle).expect("damaged");
    let pieces = pieces_of(Some(&*out), &packed, None).expect("read");
    let lost = lost(&pieces);
    assert!(!lost.is_empty() && lost[0].0 > second.first_seq, "{lost:?}: the first part is left");
    assert!(lost.iter().all(|(_, end)| *end <= second.tree.end()), "{lost:?}");
    adds_up(&pieces, &packed);
    // Written anew, it is what is left, and nothing else.
    let anew = OsFs.open(&dir.path().join("anew"), OpenMode::CreateNew).expect("made");
    let (blocks, _) = store(&pieces, Some(&*out), Some(6), &*anew).expect("written");
    let anew_segment = packed.of_blocks(packed.file.clone(), blocks);
    assert!(is_whole(&pieces_of(Some(&*anew), &anew_segment, None).expect("read"), &anew_segment));
}

#[test]
fn where_each_records_hash_is_known_only_the_damaged_ones_are_lost() {
    let leaves: Vec<Hash> = (10..40).map(|seq| leaf_hash(&line(seq))).collect();
    let gone = [17, 18, 33];
    let mut read = |seq: u64, leaf: &Hash| {
        let line = line(seq);
        Ok((!gone.contains(&seq) && leaf_hash(&line) == *leaf).then_some(line))
    };
    let pieces = pieces_by_leaves(10, &leaves, &mut read, "altered").expect("pieces");
    assert_eq!(lost(&pieces), [(17, 19), (33, 34)]);
    let hole = pieces[1].block();
    assert!(hole.min_timestamp <= hole.max_timestamp, "it has times: {hole:?}");
}
