//! What a peer sends, in lines.

use std::time::Instant;

use crate::audit::record::event::MAX_LINE_BYTES;

/// The bytes that were read and make up no line yet, or wait to be taken.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins in them.
    start: usize,
    /// There is no line's end before this.
    searched: usize,
    /// Whole lines wait until there is room for their answers.
    held: bool,
    /// Since when a line has been half there.
    half_since: Option<Instant>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line that is not blank, without its end.
    Whole(&'a [u8]),
    /// More bytes than a line may have.
    TooLong,
}

/// Whether a line is longer than any may be; the CR of a line's end is no part of it.
fn is_too_long(line: &[u8]) -> bool {
    line.len() > MAX_LINE_BYTES + usize::from(line.ends_with(b"\r"))
}

impl Lines {
    /// Adds what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the end of a line is there.
    pub(super) fn has_whole(&mut self) -> bool {
        self.next_end().is_some()
    }

    fn next_end(&mut self) -> Option<usize> {
        let end = memchr::memchr(b'\n', &self.bytes[self.searched..]);
        self.searched = end.map_or(self.bytes.len(), |end| self.searched + end);
        end.map(|_| self.searched)
    }

    /// The next line that is not blank; `None` when its end is not there yet.
    pub(super) fn next(&mut self) -> Option<Line<'_>> {
        self.held = false;
        let (start, end) = loop {
            let Some(end) = self.next_end() else { break (self.start, None) };
            let start = self.start;
            (self.start, self.searched) = (end + 1, end + 1);
            if !self.bytes[start..end].trim_ascii().is_empty()
                || is_too_long(&self.bytes[start..end])
            {
                break (start, Some(end));
            }
        };
        let line = &self.bytes[start..end.unwrap_or(self.bytes.len())];
        // What is read at a time makes no difference: a line is as long with its end as
        // without.
        if is_too_long(line) {
            return Some(Line::TooLong);
        }
        end.map(|_| Line::Whole(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// The peer sends no more: what is left, if it is a line without its end.
    pub(super) fn end(&mut self) -> Option<Vec<u8>> {
        let rest = self.bytes.split_off(self.start);
        self.clear();
        Some(rest).filter(|rest| !rest.trim_ascii().is_empty())
    }

    /// Keeps what is whole until it can be answered. The peer's time stands still: that it
    /// waits is not its doing.
    pub(super) fn hold(&mut self) {
        self.held = true;
        self.drop_taken();
        self.half_since = None;
    }

    pub(super) fn are_held(&self) -> bool {
        self.held
    }

    /// After the whole lines were taken: the time begins for what is half there. Whether
    /// the peer got on with its lines since the last time.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let has_taken = self.drop_taken();
        if self.bytes.is_empty() {
            self.half_since = None;
            // Who is silent, or has sent whole lines, keeps nothing.
            self.bytes = Vec::new();
            return true;
        }
        if has_taken || self.half_since.is_none() {
            self.half_since = Some(now);
        }
        has_taken
    }

    fn drop_taken(&mut self) -> bool {
        let taken = std::mem::take(&mut self.start);
        self.bytes.drain(..taken);
        self.searched -= taken;
        taken > 0
    }

    /// Forgets what is there.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Since when a line has been half there.
    pub(super) fn half_since(&self) -> Option<Instant> {
        self.half_since
    }

    /// The peer's time stands still: nothing is read from it.
    pub(super) fn pause(&mut self) {
        self.half_since = None;
    }

    /// The peer's time goes on, also when it has nothing more to say.
    pub(super) fn resume(&mut self, now: Instant) {
        if !self.bytes.is_empty() {
            self.half_since.get_or_insert(now);
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &mut Lines) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(line) = lines.next() {
            match line {
                Line::Whole(line) => all.push(line.to_vec()),
                Line::TooLong => panic!("none is"),
            }
        }
        lines.settle(Instant::now());
        all
    }

    #[test]
    fn what_is_read_at_a_time_makes_no_difference() {
        let text = b"{\"a\":1}\r\n\n  \n{\"b\":2}\nhalf";
        for at_a_time in 1..=text.len() {
            let mut lines = Lines::default();
            let mut all = Vec::new();
            for part in text.chunks(at_a_time) {
                lines.push(part);
                all.extend(taken(&mut lines));
            }
            assert_eq!(all, [b"{\"a\":1}", b"{\"b\":2}"], "{at_a_time} bytes at a time");
            assert_eq!(lines.end().as_deref(), Some(&b"half"[..]));
            assert_eq!(lines.end(), None);
        }
    }

    #[test]
    fn a_line_may_have_its_longest_length_with_either_end_and_no_byte_more() {
        let longest = vec![b'x'; MAX_LINE_BYTES];
        for (more, end, fits) in
            [("", "\n", true), ("", "\r\n", true), ("x", "\n", false), ("x", "\r\n", false)]
        {
            let mut lines = Lines::default();
            lines.push(&longest);
            assert_eq!(lines.next(), None, "it may end here");
            lines.push(more.as_bytes());
            let is_known = !more.is_empty();
            assert_eq!(lines.next().is_some(), is_known, "without its end");
            lines.push(end.as_bytes());
            let found = lines.next();
            assert_eq!(found, Some(if fits { Line::Whole(&longest) } else { Line::TooLong }));
        }
    }

    #[test]
    fn lines_that_are_held_come_later_and_cost_the_peer_no_time() {
        let mut lines = Lines::default();
        let begin = Instant::now();
        lines.push(b"one\ntwo\nhal");
        assert_eq!(lines.next(), Some(Line::Whole(b"one")));
        assert!(lines.has_whole());
        lines.hold();
        assert!(lines.are_held() && lines.half_since().is_none());
        assert_eq!(taken(&mut lines), [b"two"]);
        assert!(!lines.are_held() && lines.half_since() >= Some(begin));
    }

    #[test]
    fn the_time_for_a_line_begins_with_its_first_byte_and_anew_with_the_next_line() {
        let mut lines = Lines::default();
        let times: Vec<Instant> =
            (0..4).map(|n| Instant::now() + std::time::Duration::from_secs(n)).collect();
        lines.push(b"half");
        assert!(!lines.settle(times[0]), "nothing was finished");
        lines.push(b" of it");
        assert!(!lines.settle(times[1]));
        assert_eq!(lines.half_since(), Some(times[0]));
        lines.pause();
        lines.resume(times[2]);
        assert_eq!(lines.half_since(), Some(times[2]));
        lines.push(b"\nnext");
        assert!(lines.next().is_some());
        assert!(lines.settle(times[3]), "a line was finished");
        assert_eq!(lines.half_since(), Some(times[3]));
        lines.push(b"\n");
        assert!(lines.next().is_some() && lines.settle(times[3]));
        lines.resume(times[3]);
        assert_eq!((lines.half_since(), lines.capacity()), (None, 0), "nothing is kept");
    }
}
