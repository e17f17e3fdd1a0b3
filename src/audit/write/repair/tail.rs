//! Files that no manifest lists: the active segment, and all of them where the
//! manifest is lost. Nothing but the signed root says what they hold, so they are
//! compared with the copies line by line.

use super::{Case, Left, Planned, RepairError, Trust, joined};
use crate::audit::files::leaves;
use crate::audit::files::lines::lines_of_file;
use crate::audit::files::salvage::active::leaves_of;
use crate::audit::paths::ACTIVE;
use crate::audit::paths::{parse_sealed_name, sealed_name};
use crate::audit::record::{peek_seq, peek_times};
use crate::audit::tree::merkle::{Hash, Range, leaf_hash};

/// Bytes of a file that become records of a copy.
#[derive(Debug)]
pub(super) struct Edit {
    /// Which bytes.
    pub(super) bytes: (usize, usize),
    /// The records: the first, and one after the last.
    pub(super) records: (u64, u64),
    /// Their lines.
    pub(super) lines: Vec<u8>,
    pub(super) from: String,
}

/// What becomes of such a file.
#[derive(Debug)]
pub(super) struct TailPlan {
    /// Its name.
    pub(super) file: String,
    /// The name that it has then: a compressed one becomes plain.
    pub(super) becomes: String,
    pub(super) is_there: bool,
    /// Its lines as they are.
    pub(super) own: Vec<u8>,
    pub(super) edits: Vec<Edit>,
}

impl TailPlan {
    /// Whether anything is written.
    pub(super) fn changes(&self) -> bool {
        !self.edits.is_empty()
    }

    /// The lines as they will be.
    pub(super) fn compose(&self) -> Vec<u8> {
        let (mut lines, mut at) = (Vec::with_capacity(self.own.len()), 0);
        for edit in &self.edits {
            lines.extend_from_slice(&self.own[at..edit.bytes.0]);
            lines.extend_from_slice(&edit.lines);
            at = edit.bytes.1;
        }
        lines.extend_from_slice(&self.own[at..]);
        lines
    }

    /// The ranges of records that are put back.
    pub(super) fn put_back(&self) -> Vec<(u64, u64)> {
        joined(self.edits.iter().map(|edit| edit.records).filter(|(first, end)| first < end))
    }
}

/// A line of the file that looks like the record with that seq.
struct Line {
    seq: u64,
    begin: usize,
    end: usize,
}

/// Which records a file should hold.
struct Span {
    name: String,
    first: u64,
    /// One after the last; of the active segment, the first that is not signed.
    end: u64,
    is_active: bool,
    lines: Vec<u8>,
    is_there: bool,
}

impl Case<'_> {
    /// Plans the files behind the manifest's segments; `tree` is the tree over those.
    pub(super) fn plan_tails(
        &self,
        planned: &mut Planned,
        tree: Option<Range>,
    ) -> Result<(), RepairError> {
        let begin = self.view.manifest.end_seq();
        let mut root = Rooted {
            tree,
            signed: self.head.size,
            next: begin,
            truth: None,
            contradicting: Vec::new(),
        };
        if begin > root.signed {
            // Where a signature ends within a sealed segment, a verification tells.
            root.tree = None;
        }
        let spans = self.spans(begin)?;
        let truth = self.truth(&spans, root.tree.as_ref())?;
        root.truth = truth;
        for span in spans {
            let plan = self.plan_span(&span, planned, &mut root)?;
            planned.tails.push(plan);
        }
        planned.root = root.is_signed(&self.head.root);
        if planned.root == Some(false) && planned.left.is_empty() {
            // All lines are there, and some that no copy holds were altered.
            let reach = self.copies().filter(|copy| copy.is_proof);
            let known = reach.map(|copy| copy.copy.tree().end()).max().unwrap_or(0);
            let first_seq = if known < self.head.size { known.max(begin) } else { begin };
            planned.left.push(Left {
                file: ACTIVE.to_owned(),
                first_seq,
                end_seq: self.head.size,
                why: "they do not hash to the signed root, and no copy holds them".to_owned(),
            });
        }
        Ok(())
    }

    /// The hashes of the active segment's records, where those that were noted as it grew
    /// give the signed root.
    fn truth(
        &self,
        spans: &[Span],
        base: Option<&Range>,
    ) -> Result<Option<(u64, Vec<Hash>)>, RepairError> {
        let ([span], Some(base)) = (spans, base) else { return Ok(None) };
        if span.first != base.end() || base.end() >= self.head.size {
            return Ok(None);
        }
        let log_id = &self.view.manifest.log_id;
        let noted = leaves::load(&*self.view.log.fs, &self.view.log.paths, log_id, span.first);
        let noted = noted.unwrap_or_default();
        let active = self.view.tails.iter().find(|tail| tail.name == ACTIVE);
        let file = active.map(|tail| &*tail.file);
        let found = leaves_of(base, (self.head.size, self.head.root), &noted, file)
            .map_err(self.io("read", ACTIVE))?;
        Ok(found.map(|leaves| (span.first, leaves)))
    }

    /// How far from `first` on a copy has the records that should be there.
    fn reach(
        &self,
        copy: &super::Judged<'_>,
        (first, end): (u64, u64),
        root: &Rooted,
    ) -> std::io::Result<u64> {
        let reach = copy.reach(first, end)?;
        let mut seq = first;
        while root.truth.is_some() && seq < reach {
            let Some(lines) = copy.lines(seq, seq + 1)? else { break };
            if !root.is_true(seq, &lines).unwrap_or(true) {
                break;
            }
            seq += 1;
        }
        Ok(if root.truth.is_some() { seq } else { reach })
    }

    /// Whether a copy has no other line than a file where that one looks good.
    fn agrees(
        &self,
        copy: &super::Judged<'_>,
        span: &Span,
        lines: &[Line],
    ) -> std::io::Result<bool> {
        for line in lines.iter().filter(|line| line.seq < self.head.size) {
            let theirs = copy.lines(line.seq, line.seq + 1)?;
            if theirs.is_some_and(|theirs| theirs != span.lines[line.begin..line.end]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Which file should hold which records: a sealed one says it in its name.
    fn spans(&self, begin: u64) -> Result<Vec<Span>, RepairError> {
        let mut spans: Vec<Span> = Vec::new();
        for tail in &self.view.tails {
            let lines = lines_of_file(tail.is_compressed(), &*tail.file)
                .map_err(self.io("read", &tail.name))?;
            let sealed = parse_sealed_name(&tail.name).map(|(first, _)| first);
            let first = sealed.unwrap_or_else(|| {
                // It begins where its first line says, or else where the one before ends.
                let here = lines.split(|byte| *byte == b'\n').next().and_then(peek_seq);
                let after =
                    spans.last().map_or(begin, |before| before.first + count(&before.lines));
                match spans.last() {
                    None => begin,
                    Some(_) => here.unwrap_or(after),
                }
            });
            let (name, is_active) = (tail.name.clone(), sealed.is_none());
            spans.push(Span { name, first, end: first, is_active, lines, is_there: true });
        }
        if !spans.iter().any(|span| span.is_active) {
            let after = spans.last().map_or(begin, |last| last.first + count(&last.lines));
            let (name, lines) = (ACTIVE.to_owned(), Vec::new());
            spans.push(Span {
                name,
                first: after,
                end: after,
                is_active: true,
                lines,
                is_there: false,
            });
        }
        // A sealed file that is gone. Where the manifest is lost, what is missing before
        // the first file may have been removed by retention.
        let is_lost = self.view.no_manifest.is_some();
        let firsts: Vec<u64> = spans.iter().map(|span| span.first).collect();
        let mut whole: Vec<Span> = Vec::new();
        let mut next = begin;
        for (at, span) in spans.into_iter().enumerate() {
            let end = firsts.get(at + 1).copied().unwrap_or(self.head.size.max(span.first));
            if span.first > next && (at > 0 || !is_lost) {
                whole.push(Span {
                    name: sealed_name(next, false),
                    first: next,
                    end: span.first,
                    is_active: false,
                    lines: Vec::new(),
                    is_there: false,
                });
            }
            next = end;
            whole.push(Span { end, ..span });
        }
        Ok(whole)
    }

    fn plan_span(
        &self,
        span: &Span,
        planned: &mut Planned,
        root: &mut Rooted,
    ) -> Result<TailPlan, RepairError> {
        let becomes = span.name.strip_suffix(".gz").unwrap_or(&span.name).to_owned();
        let mut plan = TailPlan {
            file: span.name.clone(),
            becomes,
            is_there: span.is_there,
            own: Vec::new(),
            edits: Vec::new(),
        };
        let (mut next, mut at) = (span.first, 0);
        let lines = own_lines(&span.lines, span.first, (!span.is_active).then_some(span.end));
        root.contradicting.clear();
        if self.trust == Trust::Key && root.truth.is_none() {
            for (nth, copy) in self.copies.iter().enumerate() {
                let agrees = self.agrees(copy, span, &lines);
                if !agrees.map_err(self.io("read a copy for", &span.name))? {
                    root.contradicting.push(nth);
                }
            }
        }
        for line in &lines {
            self.fill(span, (next, line.seq), (at, line.begin), (&mut plan, planned, root))?;
            let text = &span.lines[line.begin..line.end];
            self.compare(span, line, text, (&mut plan, planned, root))?;
            (next, at) = (line.seq + 1, line.end);
        }
        let rest = (at, span.lines.len());
        if next < span.end || (!span.is_active && rest.0 < rest.1) {
            self.fill(span, (next, span.end.max(next)), rest, (&mut plan, planned, root))?;
        }
        plan.own.clone_from(&span.lines);
        Ok(plan)
    }

    /// The copies that may be used for a file.
    fn usable(&self, root: &Rooted) -> Vec<&super::Judged<'_>> {
        let all = self.copies.iter().enumerate();
        let usable = all.filter(|(nth, copy)| {
            let may = copy.is_proof || self.trust == Trust::Root || root.truth.is_some();
            may && !root.contradicting.contains(nth)
        });
        usable.map(|(_, copy)| copy).collect()
    }

    /// A line that looks good is compared with the copies.
    fn compare(
        &self,
        span: &Span,
        line: &Line,
        text: &[u8],
        (plan, planned, root): (&mut TailPlan, &mut Planned, &mut Rooted),
    ) -> Result<(), RepairError> {
        let seq = line.seq;
        let is_true = root.is_true(seq, text);
        if seq < self.head.size && is_true != Some(true) && self.may_override(root) {
            for copy in self.usable(root) {
                let found =
                    copy.lines(seq, seq + 1).map_err(self.io("read a copy for", &span.name))?;
                let Some(lines) = found else { continue };
                if root.is_true(seq, &lines) == Some(false) {
                    continue;
                }
                if lines != text {
                    let from = copy.copy.name().to_owned();
                    let now = text.strip_suffix(b"\n").unwrap_or(text);
                    planned.told.note((&span.name, &from), seq, &lines, |_| Some(now));
                    root.add(seq, &lines);
                    if is_true.is_none() && planned.overrides.is_none() {
                        planned.overrides = Some((from.clone(), seq));
                    }
                    let (bytes, records) = ((line.begin, line.end), (seq, seq + 1));
                    plan.edits.push(Edit { bytes, records, lines, from });
                    return Ok(());
                }
                break;
            }
        }
        if is_true == Some(false) {
            let why = "it differs from what was recorded, and no copy holds it".to_owned();
            let file = span.name.clone();
            planned.left.push(Left { file, first_seq: seq, end_seq: seq + 1, why });
        }
        root.add(seq, text);
        Ok(())
    }

    /// Whether a line that looks good may become another.
    fn may_override(&self, root: &Rooted) -> bool {
        root.truth.is_some() || self.trust != Trust::Key
    }

    /// Bytes that hold none of the records that should be there.
    fn fill(
        &self,
        span: &Span,
        (first, end): (u64, u64),
        bytes: (usize, usize),
        (plan, planned, root): (&mut TailPlan, &mut Planned, &mut Rooted),
    ) -> Result<(), RepairError> {
        if first == end && bytes.0 == bytes.1 {
            return Ok(());
        }
        if first == end {
            // Lines that were never recorded, between two that were.
            let (lines, from) = (Vec::new(), String::new());
            plan.edits.push(Edit { bytes, records: (first, end), lines, from });
            return Ok(());
        }
        let mut best: Option<(u64, &super::Judged<'_>)> = None;
        for copy in self.usable(root) {
            let reach = self.reach(copy, (first, end), root);
            let reach = reach.map_err(self.io("read a copy for", &span.name))?;
            if reach > best.as_ref().map_or(first, |(known, _)| *known) {
                best = Some((reach, copy));
            }
        }
        // In the middle of a file there is no room for half of them.
        let at_end = span.is_active && end == span.end && bytes.1 == span.lines.len();
        let taken = best.filter(|(reach, _)| *reach == end || at_end);
        let mut reached = first;
        if let Some((reach, copy)) = taken {
            let lines = copy.lines(first, reach).map_err(self.io("read a copy for", &span.name))?;
            if let Some(lines) = lines {
                let from = copy.copy.name().to_owned();
                planned.told.note((&span.name, &from), first, &lines, |_| None);
                for (seq, line) in (first..).zip(lines.split_inclusive(|byte| *byte == b'\n')) {
                    root.add(seq, line);
                }
                plan.edits.push(Edit { bytes, records: (first, reach), lines, from });
                reached = reach;
            }
        }
        if reached < end {
            root.tree = None;
            let why = "they cannot be read, and no copy holds them".to_owned();
            let file = span.name.clone();
            planned.left.push(Left { file, first_seq: reached, end_seq: end, why });
        }
        Ok(())
    }
}

/// The tree over the signed records as they will be.
struct Rooted {
    tree: Option<Range>,
    signed: u64,
    next: u64,
    /// The first record of which the hash is known, and the hashes from there on.
    truth: Option<(u64, Vec<Hash>)>,
    /// The copies that have another line where one looks good, by their number.
    contradicting: Vec<usize>,
}

impl Rooted {
    fn add(&mut self, seq: u64, line: &[u8]) {
        if seq >= self.signed {
            return;
        }
        if seq != self.next {
            self.tree = None;
        }
        self.next = seq + 1;
        if let Some(tree) = &mut self.tree {
            tree.append_line(line.strip_suffix(b"\n").unwrap_or(line));
        }
    }

    /// Whether a line is what was recorded; `None` where its hash is not known.
    fn is_true(&self, seq: u64, line: &[u8]) -> Option<bool> {
        let (first, leaves) = self.truth.as_ref()?;
        let leaf = leaves.get(usize::try_from(seq.checked_sub(*first)?).ok()?)?;
        Some(*leaf == leaf_hash(line.strip_suffix(b"\n").unwrap_or(line)))
    }

    fn is_signed(&self, root: &Hash) -> Option<bool> {
        let tree = self.tree.as_ref().filter(|tree| tree.end() == self.signed)?;
        Some(tree.root() == Ok(*root))
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// The lines that look like records, in the order of their seqs; what disturbs that
/// order is none.
fn own_lines(text: &[u8], first: u64, end: Option<u64>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut begin = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let stop = begin + line.len();
        let whole = line.strip_suffix(b"\n");
        let seq = whole.and_then(|line| peek_seq(line).filter(|_| peek_times(line).is_some()));
        if let Some(seq) = seq
            && seq >= first
            && end.is_none_or(|end| seq < end)
        {
            lines.push(Line { seq, begin, end: stop });
        }
        begin = stop;
    }
    in_order(lines)
}

/// The longest run of lines whose seqs ascend. A single wrong seq, however high, costs
/// itself and no other line.
fn in_order(lines: Vec<Line>) -> Vec<Line> {
    if lines.windows(2).all(|pair| pair[0].seq < pair[1].seq) {
        return lines;
    }
    // Patience sorting: the last line of the best run of each length.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; lines.len()];
    for (at, line) in lines.iter().enumerate() {
        let place = ends.partition_point(|end| lines[*end].seq < line.seq);
        before[at] = place.checked_sub(1).map(|place| ends[place]);
        match ends.get_mut(place) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut kept = vec![false; lines.len()];
    let mut at = ends.last().copied();
    while let Some(place) = at {
        kept[place] = true;
        at = before[place];
    }
    lines.into_iter().zip(kept).filter_map(|(line, kept)| kept.then_some(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> String {
        format!(
            "{{\"seq\":{seq},\"timestamp\":\"2026-01-01T00:00:00.000000Z\",\"event_type\":\"t\"}}\n"
        )
    }

    fn seqs(text: &str) -> Vec<u64> {
        own_lines(text.as_bytes(), 3, None).iter().map(|line| line.seq).collect()
    }

    #[test]
    fn a_line_with_a_wrong_seq_costs_itself_and_no_other_line() {
        let lines: Vec<String> = (3..9).map(line).collect();
        let whole = lines.concat();
        assert_eq!(seqs(&whole), [3, 4, 5, 6, 7, 8]);
        let high = whole.replace("\"seq\":5,", "\"seq\":5000,");
        assert_eq!(seqs(&high), [3, 4, 6, 7, 8]);
        let low = whole.replace("\"seq\":7,", "\"seq\":4,");
        assert_eq!(seqs(&low).len(), 5);
        let split = whole.replace("\"seq\":6,", "\"seq\"\n:6,");
        assert_eq!(seqs(&split), [3, 4, 5, 7, 8]);
        let joined = whole.replace(&line(4), line(4).trim_end());
        assert_eq!(seqs(&joined), [3, 4, 6, 7, 8], "two lines in one pass for the first");
    }
}
