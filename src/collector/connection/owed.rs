//! What a peer is owed: an answer to each line, in the order of the lines.

use std::collections::VecDeque;

use crate::audit::{RecordError, Submitted, Taken};
use crate::collector::protocol;

/// Answers to successive lines.
#[derive(Debug, PartialEq, Eq)]
enum Answers {
    /// To events that are not accepted yet, so many.
    Waiting(usize),
    /// To events that are accepted, once they are acknowledged.
    Accepted { first_seq: u64, count: u64 },
    /// To an event that is this record already, once that is acknowledged.
    Duplicate { seq: u64 },
    /// Known already.
    Known(Vec<u8>),
    /// To something that another thread does, or that waits for what was asked before.
    Asked,
}

/// All answers that are owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    answers: VecDeque<Answers>,
    /// How many: those that are known together count as one.
    count: usize,
    /// Bytes of those that are known.
    bytes: usize,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// How many answers are owed.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the answers that are known and wait for others before them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it takes in memory.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.answers.capacity() * size_of::<Answers>()
    }

    /// Gives back what is not needed any more.
    pub(super) fn shrink(&mut self) {
        if self.answers.is_empty() {
            self.answers.shrink_to(64);
        }
    }

    /// For an event that is not accepted yet.
    pub(super) fn event(&mut self) {
        self.count += 1;
        match self.answers.back_mut() {
            Some(Answers::Waiting(count)) => *count += 1,
            _ => self.answers.push_back(Answers::Waiting(1)),
        }
    }

    /// For a record that is accepted.
    pub(super) fn record(&mut self, seq: u64) {
        self.count += 1;
        self.answers.push_back(Answers::Accepted { first_seq: seq, count: 1 });
    }

    /// For something that is asked: [`answer_asked`](Self::answer_asked) gives the answer.
    pub(super) fn asked(&mut self) {
        self.count += 1;
        self.answers.push_back(Answers::Asked);
    }

    /// An answer that is known. It goes straight into `output` where nothing is owed
    /// before it.
    pub(super) fn known(&mut self, line: Vec<u8>, output: &mut Vec<u8>) {
        if self.answers.is_empty() {
            output.extend_from_slice(&line);
        } else {
            self.count += 1;
            self.bytes += line.len();
            self.answers.push_back(Answers::Known(line));
        }
    }

    /// The answer to what was asked first.
    pub(super) fn answer_asked(&mut self, line: Vec<u8>) {
        if let Some(first) = self.answers.iter_mut().find(|owed| **owed == Answers::Asked) {
            self.bytes += line.len();
            *first = Answers::Known(line);
        }
    }

    /// What became of the first events that wait.
    pub(super) fn taken(&mut self, submitted: &Submitted) {
        let mut from = 0;
        for taken in submitted.taken() {
            match taken {
                Taken::New { first_seq, count } => from = self.accept(from, first_seq, count),
                Taken::Duplicate { seq } => {
                    from = self.resolve(from, Answers::Duplicate { seq });
                }
                Taken::Conflict { seq } => {
                    let error = protocol::error_value(&RecordError::Conflict { seq });
                    let line = protocol::line_of(&error);
                    self.bytes += line.len();
                    from = self.resolve(from, Answers::Known(line));
                }
            }
        }
    }

    /// The first event that waits has this answer; none before `at` waits. Returns from
    /// where on others may.
    fn resolve(&mut self, mut at: usize, answer: Answers) -> usize {
        while let Some(owed) = self.answers.get_mut(at) {
            match owed {
                Answers::Waiting(1) => {
                    *owed = answer;
                    return at + 1;
                }
                Answers::Waiting(waiting) => {
                    *waiting -= 1;
                    self.answers.insert(at, answer);
                    return at + 1;
                }
                _ => at += 1,
            }
        }
        at
    }

    /// The first events that wait are accepted, with the seqs from `first_seq` on.
    fn accept(&mut self, mut at: usize, mut first_seq: u64, mut count: u64) -> usize {
        while count > 0 && at < self.answers.len() {
            if let Answers::Waiting(waiting) = &mut self.answers[at] {
                let part = (*waiting as u64).min(count);
                let accepted = Answers::Accepted { first_seq, count: part };
                if part == *waiting as u64 {
                    self.answers[at] = accepted;
                } else {
                    *waiting -= part as usize;
                    self.answers.insert(at, accepted);
                }
                first_seq += part;
                count -= part;
            }
            at += 1;
        }
        at
    }

    /// All events that wait have this answer.
    pub(super) fn refuse_waiting(&mut self, line: &[u8]) {
        for owed in &mut self.answers {
            if let Answers::Waiting(count) = owed {
                let lines = line.repeat(*count);
                self.count -= *count - 1;
                self.bytes += lines.len();
                *owed = Answers::Known(lines);
            }
        }
    }

    /// All events that are accepted and not answered have the answer that their seq gives.
    pub(super) fn fail_accepted(&mut self, mut line: impl FnMut(u64) -> Vec<u8>) {
        for owed in &mut self.answers {
            if let Answers::Duplicate { seq } = owed {
                let line = line(*seq);
                self.bytes += line.len();
                *owed = Answers::Known(line);
            } else if let Answers::Accepted { first_seq, count } = owed {
                let lines: Vec<u8> =
                    (*first_seq..*first_seq + *count).flat_map(&mut line).collect();
                self.count -= *count as usize - 1;
                self.bytes += lines.len();
                *owed = Answers::Known(lines);
            }
        }
    }

    /// Moves all answers into `output` that can be given when the records before `acked`
    /// are acknowledged.
    pub(super) fn answer(&mut self, acked: u64, output: &mut Vec<u8>) {
        while let Some(owed) = self.answers.front_mut() {
            match owed {
                Answers::Waiting(_) | Answers::Asked => return,
                Answers::Known(lines) => {
                    self.bytes -= lines.len();
                    if output.is_empty() {
                        *output = std::mem::take(lines);
                    } else {
                        output.append(lines);
                    }
                    self.count -= 1;
                }
                Answers::Duplicate { seq } => {
                    if *seq >= acked {
                        return;
                    }
                    protocol::push_duplicate(output, *seq);
                    self.count -= 1;
                }
                Answers::Accepted { first_seq, count } => {
                    let part = acked.saturating_sub(*first_seq).min(*count);
                    for seq in *first_seq..*first_seq + part {
                        protocol::push_ok(output, seq);
                    }
                    self.count -= part as usize;
                    *first_seq += part;
                    *count -= part;
                    if *count > 0 {
                        return;
                    }
                }
            }
            self.answers.pop_front();
        }
    }

    /// One after the last record that is accepted and not answered.
    pub(super) fn accepted_end(&self) -> Option<u64> {
        let ends = self.answers.iter().filter_map(|owed| match owed {
            Answers::Accepted { first_seq, count } => Some(first_seq + count),
            Answers::Duplicate { seq } => Some(seq + 1),
            _ => None,
        });
        ends.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Repeat;

    fn answered(owed: &mut Owed, acked: u64) -> String {
        let mut output = Vec::new();
        owed.answer(acked, &mut output);
        String::from_utf8(output).expect("text")
    }

    fn ok(seqs: std::ops::Range<u64>) -> String {
        seqs.map(|seq| format!("{{\"ok\":{{\"seq\":{seq}}}}}\n")).collect()
    }

    #[test]
    fn answers_leave_in_the_order_of_the_lines_whatever_is_known_first() {
        let mut owed = Owed::default();
        let mut output = Vec::new();
        owed.known(b"at once\n".to_vec(), &mut output);
        assert_eq!((&output[..], owed.is_empty()), (&b"at once\n"[..], true));
        output.clear();
        owed.event();
        owed.event();
        owed.known(b"bad\n".to_vec(), &mut output);
        owed.event();
        owed.asked();
        owed.record(90);
        assert_eq!((owed.count(), owed.bytes()), (6, 4));
        owed.answer_asked(b"asked\n".to_vec());
        assert!(output.is_empty() && answered(&mut owed, 100).is_empty(), "none is accepted");
        // In two parts, over what lies between.
        owed.accept(0, 7, 1);
        owed.accept(0, 8, 2);
        assert_eq!(answered(&mut owed, 8), ok(7..8));
        assert_eq!((owed.count(), owed.accepted_end()), (5, Some(91)));
        assert_eq!(answered(&mut owed, 9), ok(8..9) + "bad\n");
        assert_eq!(answered(&mut owed, 91), ok(9..10) + "asked\n" + &ok(90..91));
        assert_eq!((owed.count(), owed.bytes(), owed.accepted_end()), (0, 0, None));
        assert!(owed.is_empty());
    }

    #[test]
    fn a_refusal_answers_each_event_that_waits_and_no_other() {
        let mut owed = Owed::default();
        (0..3).for_each(|_| owed.event());
        owed.accept(0, 0, 1);
        owed.refuse_waiting(b"busy\n");
        assert_eq!((owed.count(), owed.bytes()), (2, 10));
        assert_eq!(answered(&mut owed, 0), "", "the first is not acknowledged");
        assert_eq!(answered(&mut owed, 1), ok(0..1) + "busy\nbusy\n");
        assert_eq!(owed.count(), 0);
    }

    #[test]
    fn a_duplicate_is_answered_in_its_place_once_its_record_is_acknowledged() {
        let mut owed = Owed::default();
        (0..5).for_each(|_| owed.event());
        owed.known(b"bad\n".to_vec(), &mut Vec::new());
        owed.event();
        let repeat = |at, seq, is_same| Repeat { at, seq, is_same };
        let repeats = vec![repeat(1, 9, true), repeat(2, 3, false), repeat(5, 3, true)];
        owed.taken(&Submitted { first_seq: 8, count: 6, repeats });
        assert_eq!((owed.count(), owed.accepted_end()), (7, Some(11)));
        assert_eq!(answered(&mut owed, 9), ok(8..9), "9 is not acknowledged, and 3 has its turn");
        let told = answered(&mut owed, 10);
        let mut lines = told.lines();
        assert_eq!(lines.next(), Some(r#"{"ok":{"seq":9,"duplicate":true}}"#));
        assert!(lines.next().is_some_and(|line| line.contains("conflict")), "{told}");
        assert_eq!(lines.next(), Some(r#"{"ok":{"seq":9}}"#));
        assert_eq!(lines.next(), None);
        let told = answered(&mut owed, 11);
        assert_eq!(told, ok(10..11) + "bad\n{\"ok\":{\"seq\":3,\"duplicate\":true}}\n");
        assert_eq!((owed.count(), owed.bytes(), owed.is_empty()), (0, 0, true));
        // When the log fails, whoever waits for another's record is told so as well.
        owed.event();
        let repeats = vec![repeat(0, 30, true)];
        owed.taken(&Submitted { first_seq: 40, count: 1, repeats });
        owed.fail_accepted(|seq| format!("failed {seq}\n").into_bytes());
        assert_eq!(answered(&mut owed, 0), "failed 30\n");
    }

    #[test]
    fn when_the_log_fails_each_accepted_event_is_told_by_its_seq() {
        let mut owed = Owed::default();
        (0..3).for_each(|_| owed.event());
        owed.accept(0, 5, 3);
        assert_eq!(answered(&mut owed, 6), ok(5..6));
        owed.fail_accepted(|seq| format!("failed {seq}\n").into_bytes());
        assert_eq!(answered(&mut owed, 0), "failed 6\nfailed 7\n");
        assert_eq!((owed.count(), owed.bytes()), (0, 0));
    }
}
