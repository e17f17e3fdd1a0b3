//! The sealed segments, in order: old ones in pages, the newest one by one.
//!
//! A copy shares the pages, so whoever holds one never makes the keeper copy them all, and
//! a page that did not change is not written again.

use std::iter::FusedIterator;
use std::ops::{Index, Range as Places};
use std::sync::Arc;

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::Segment;
use super::page::PageEntry;

/// How much stands in the manifest itself, where earlier versions read it, before there are
/// pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InOneFile {
    /// So many segments at most; default 4,096.
    pub segments: usize,
    /// Of so many blocks together; default 16,384.
    pub blocks: usize,
}

impl Default for InOneFile {
    fn default() -> Self {
        Self { segments: 4_096, blocks: 16_384 }
    }
}

impl InOneFile {
    /// Whether segments are no more than a part of it.
    fn has_room_for(self, sums: Sums, part: usize) -> bool {
        sums.segments <= self.segments / part && sums.blocks <= self.blocks / part
    }

    /// So many segments are a page at most, or fewer of so many blocks: large enough that a
    /// list of pages is short, small enough that those in none are few.
    fn page(self) -> (usize, usize) {
        (self.segments.div_ceil(32).max(2), self.blocks.div_ceil(32).max(2))
    }
}

/// The sealed segments, in order, without gaps.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    pages: Vec<Page>,
    /// So many segments of the first page were removed.
    skipped: usize,
    newest: Vec<Segment>,
    /// Pages' files that are no longer listed.
    stale: Vec<String>,
}

/// A run of segments that is stored in a file of its own.
#[derive(Clone, Debug)]
struct Page {
    /// The place of its first segment, those that were removed counted.
    place: usize,
    segments: Arc<Vec<Segment>>,
    sums: Sums,
    /// As it is stored; `None` while it is not.
    entry: Option<PageEntry>,
}

/// What segments have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Their number.
    pub segments: usize,
    /// Their number of blocks.
    pub blocks: usize,
    /// Their length as lines.
    pub raw_bytes: u64,
    /// Their length as stored.
    pub stored_bytes: u64,
    /// How many are to be compressed.
    pub plain: usize,
}

impl Sums {
    fn of<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> Self {
        segments.into_iter().fold(Self::default(), |sums, segment| {
            sums.and(Self {
                segments: 1,
                blocks: segment.blocks.len(),
                raw_bytes: segment.raw_bytes,
                stored_bytes: segment.stored_bytes,
                plain: segment.wants_compression().into(),
            })
        })
    }

    fn and(self, more: Self) -> Self {
        Self {
            segments: self.segments + more.segments,
            blocks: self.blocks + more.blocks,
            // What nobody has checked yet may say anything.
            raw_bytes: self.raw_bytes.saturating_add(more.raw_bytes),
            stored_bytes: self.stored_bytes.saturating_add(more.stored_bytes),
            plain: self.plain + more.plain,
        }
    }

    fn without(self, less: Self) -> Self {
        Self {
            segments: self.segments - less.segments,
            blocks: self.blocks - less.blocks,
            raw_bytes: self.raw_bytes.saturating_sub(less.raw_bytes),
            stored_bytes: self.stored_bytes.saturating_sub(less.stored_bytes),
            plain: self.plain - less.plain,
        }
    }
}

impl Page {
    fn new(place: usize, segments: Arc<Vec<Segment>>, entry: Option<PageEntry>) -> Self {
        let sums = Sums::of(segments.iter());
        Self { place, segments, sums, entry }
    }
}

impl Segments {
    /// Their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_pages() - self.skipped + self.newest.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Segments in pages, those that were removed counted.
    fn in_pages(&self) -> usize {
        self.pages.last().map_or(0, |page| page.place + page.segments.len())
    }

    /// The segment at a place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&Segment> {
        let at = at.checked_add(self.skipped)?;
        match at.checked_sub(self.in_pages()) {
            Some(at) => self.newest.get(at),
            None => {
                let page = &self.pages[self.page_of(at)];
                page.segments.get(at - page.place)
            }
        }
    }

    /// The page with the segment at a place, those that were removed counted.
    fn page_of(&self, at: usize) -> usize {
        self.pages.partition_point(|page| page.place <= at) - 1
    }

    /// The first.
    #[must_use]
    pub fn first(&self) -> Option<&Segment> {
        self.get(0)
    }

    /// The last.
    #[must_use]
    pub fn last(&self) -> Option<&Segment> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All of them.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// Those at these places, of which all that are there count.
    #[must_use]
    pub fn range(&self, places: Places<usize>) -> Iter<'_> {
        let end = places.end.min(self.len());
        Iter { segments: self, places: places.start.min(end)..end }
    }

    /// How many from the first on are so, where none is behind one that is not.
    #[must_use]
    pub fn partition_point(&self, is: impl Fn(&Segment) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            if is(&self[middle]) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// The place of the segment that begins with that record.
    #[must_use]
    pub fn position(&self, first_seq: u64) -> Option<usize> {
        let at = self.partition_point(|segment| segment.first_seq < first_seq);
        self.get(at).filter(|segment| segment.first_seq == first_seq).map(|_| at)
    }

    /// The segment that begins with that record.
    #[must_use]
    pub fn beginning_at(&self, first_seq: u64) -> Option<&Segment> {
        self.get(self.position(first_seq)?)
    }

    /// The segment that has that record.
    #[must_use]
    pub fn with_record(&self, seq: u64) -> Option<&Segment> {
        let at = self.partition_point(|segment| segment.end_seq() <= seq);
        self.get(at).filter(|segment| segment.first_seq <= seq)
    }

    /// What they have together.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let pages = self.pages.iter().fold(Sums::default(), |sums, page| sums.and(page.sums));
        let newest = Sums::of(&self.newest);
        let skipped = self.pages.first().map(|page| Sums::of(&page.segments[..self.skipped]));
        pages.and(newest).without(skipped.unwrap_or_default())
    }

    /// The first that is to be compressed.
    #[must_use]
    pub fn first_plain(&self) -> Option<&Segment> {
        let in_pages = self.pages.iter().enumerate().filter(|(_, page)| page.sums.plain > 0);
        let in_pages = in_pages
            .flat_map(|(nth, page)| &page.segments[if nth == 0 { self.skipped } else { 0 }..]);
        in_pages.chain(&self.newest).find(|segment| segment.wants_compression())
    }

    /// Adds one behind all others.
    pub fn push(&mut self, segment: Segment) {
        self.newest.push(segment);
    }

    /// Changes the one at a place.
    pub fn update(&mut self, at: usize, change: impl FnOnce(&mut Segment)) {
        let at = at + self.skipped;
        if let Some(at) = at.checked_sub(self.in_pages()) {
            if let Some(segment) = self.newest.get_mut(at) {
                change(segment);
            }
            return;
        }
        let nth = self.page_of(at);
        let page = &mut self.pages[nth];
        let segments = Arc::make_mut(&mut page.segments);
        change(&mut segments[at - page.place]);
        page.sums = Sums::of(segments.iter());
        self.stale.extend(page.entry.take().map(|entry| entry.file));
    }

    /// Puts another in the place of the one that begins with the same record.
    pub fn replace(&mut self, segment: Segment) {
        if let Some(at) = self.position(segment.first_seq) {
            self.update(at, |known| *known = segment);
        }
    }

    /// Takes out the first `count`.
    pub fn remove_first(&mut self, count: usize) -> Vec<Segment> {
        let count = count.min(self.len());
        let gone: Vec<Segment> = self.range(0..count).cloned().collect();
        let end = self.skipped + count;
        let in_pages = self.in_pages();
        if end >= in_pages {
            self.newest.drain(..end - in_pages);
        }
        let whole = self.pages.partition_point(|page| page.place + page.segments.len() <= end);
        let files = self.pages.drain(..whole).filter_map(|page| page.entry);
        self.stale.extend(files.map(|entry| entry.file));
        let begin = self.pages.first().map_or(0, |page| page.place);
        self.skipped = if self.pages.is_empty() { 0 } else { end - begin };
        self.pages.iter_mut().for_each(|page| page.place -= begin);
        gone
    }

    /// All of them, to be changed as one likes: none stands in a page then.
    pub fn all_mut(&mut self) -> &mut Vec<Segment> {
        if !self.pages.is_empty() {
            let all = self.iter().cloned().collect();
            let files = self.pages.drain(..).filter_map(|page| page.entry);
            self.stale.extend(files.map(|entry| entry.file));
            (self.skipped, self.newest) = (0, all);
        }
        &mut self.newest
    }

    /// Makes pages of old segments where there are too many for one file, and of pages
    /// one file where there are few.
    pub(super) fn arrange(&mut self, limits: InOneFile) {
        let sums = self.sums();
        if self.pages.is_empty() && limits.has_room_for(sums, 1) {
            return;
        }
        if limits.has_room_for(sums, 2) {
            self.all_mut();
            return;
        }
        let (segments, blocks) = limits.page();
        let mut left = Sums::of(&self.newest);
        let mut place = self.in_pages();
        let mut rest = std::mem::take(&mut self.newest).into_iter().peekable();
        while left.segments >= 2 * segments || left.blocks >= 2 * blocks && left.segments > 1 {
            let (mut page, mut sums) = (Vec::new(), Sums::default());
            let fits = |sums: Sums, next: &Segment| {
                sums.segments == 0
                    || sums.segments < segments && sums.blocks + next.blocks.len() <= blocks
            };
            while let Some(next) = rest.next_if(|next| fits(sums, next)) {
                sums = sums.and(Sums::of([&next]));
                page.push(next);
            }
            left = left.without(sums);
            let page = Page::new(place, Arc::new(page), None);
            place += page.segments.len();
            self.pages.push(page);
        }
        self.newest = rest.collect();
    }

    /// The pages that are not stored, and where they are.
    pub(super) fn unstored(&self) -> Vec<(usize, Arc<Vec<Segment>>)> {
        let pages = self.pages.iter().enumerate().filter(|(_, page)| page.entry.is_none());
        pages.map(|(nth, page)| (nth, Arc::clone(&page.segments))).collect()
    }

    /// That page is stored, if it is still the same.
    pub(super) fn stored(
        &mut self,
        (nth, segments): (usize, &Arc<Vec<Segment>>),
        entry: PageEntry,
    ) {
        let page = self.pages.get_mut(nth);
        if let Some(page) = page.filter(|page| Arc::ptr_eq(&page.segments, segments)) {
            page.entry = Some(entry);
        }
    }

    /// That page's file is not what was stored: it is to be stored again.
    pub(crate) fn page_lost(&mut self, file: &str) {
        let is = |page: &&mut Page| page.entry.as_ref().is_some_and(|entry| entry.file == file);
        if let Some(page) = self.pages.iter_mut().find(is) {
            page.entry = None;
        }
    }

    /// The pages as they are stored.
    pub fn entries(&self) -> impl Iterator<Item = &PageEntry> {
        self.pages.iter().filter_map(|page| page.entry.as_ref())
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// How a page is stored.
    #[must_use]
    pub fn entry(&self, nth: usize) -> Option<&PageEntry> {
        self.pages.get(nth)?.entry.as_ref()
    }

    /// Whether every page is stored.
    pub(super) fn are_stored(&self) -> bool {
        self.pages.iter().all(|page| page.entry.is_some())
    }

    /// Those that stand in no page.
    pub(super) fn newest(&self) -> &[Segment] {
        &self.newest
    }

    /// Files of pages that are listed no more. Once a manifest is stored that does not list
    /// them, they can go.
    pub(crate) fn take_stale(&mut self) -> Vec<String> {
        let mut stale = std::mem::take(&mut self.stale);
        stale.retain(|file| !self.entries().any(|entry| entry.file == *file));
        stale
    }

    /// Put together from pages and the newest; those that end before `begin` were removed.
    pub(super) fn of_pages(
        pages: Vec<(PageEntry, Arc<Vec<Segment>>)>,
        newest: Vec<Segment>,
        begin: u64,
    ) -> Self {
        let mut all = Self { newest, ..Self::default() };
        let mut place = 0;
        for (entry, segments) in pages {
            let page = Page::new(place, segments, Some(entry));
            place += page.segments.len();
            all.pages.push(page);
        }
        let end = |segment: &Segment| segment.first_seq.checked_add(segment.records);
        let is_gone = |segment: &&Segment| end(segment).is_some_and(|end| end <= begin);
        let gone = all.range(0..place).take_while(is_gone).count();
        all.remove_first(gone);
        all
    }
}

/// Segments in order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    segments: &'a Segments,
    places: Places<usize>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Segment;

    fn next(&mut self) -> Option<&'a Segment> {
        self.segments.get(self.places.next()?)
    }

    fn nth(&mut self, n: usize) -> Option<&'a Segment> {
        self.segments.get(self.places.nth(n)?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.segments.get(self.places.next_back()?)
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Segments {
    type Item = &'a Segment;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Index<usize> for Segments {
    type Output = Segment;

    fn index(&self, at: usize) -> &Segment {
        let there = self.len();
        self.get(at).unwrap_or_else(|| panic!("there are {there} segments, not one at {at}"))
    }
}

impl From<Vec<Segment>> for Segments {
    fn from(newest: Vec<Segment>) -> Self {
        Self { newest, ..Self::default() }
    }
}

impl FromIterator<Segment> for Segments {
    fn from_iter<I: IntoIterator<Item = Segment>>(segments: I) -> Self {
        segments.into_iter().collect::<Vec<_>>().into()
    }
}

/// The same segments, wherever they stand.
impl PartialEq for Segments {
    fn eq(&self, other: &Self) -> bool {
        let same_page = |(one, other): (&Page, &Page)| Arc::ptr_eq(&one.segments, &other.segments);
        let shared = self.pages.len() == other.pages.len()
            && self.skipped == other.skipped
            && self.pages.iter().zip(&other.pages).all(same_page);
        if shared { self.newest == other.newest } else { self.iter().eq(other) }
    }
}

impl Eq for Segments {}

impl Serialize for Segments {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for Segments {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests;
