//! What columns say of a question: how many records match, block by block, without reading
//! them; or at least which blocks have a match.
//!
//! The sums are those that reading the blocks would give, put together in the same order: what
//! is dropped for want of room must not depend on whether there are columns.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::counts::{Counts, Rows};
use super::filter::{Filter, GroupBy, Unit, Want};
use super::sofar::Sofar;
use crate::audit::files::columns;
use crate::audit::files::columns::{Codes, Columns, Reader, Texts};
use crate::audit::record::head::Field;
use crate::clock::Timestamp;

/// What a question has to do with columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing.
    None,
    /// They tell in which blocks a record can match.
    Selects,
    /// They have all that is asked for.
    Answers,
}

impl Use {
    pub(super) fn of(filter: &Filter, want: &Want) -> Self {
        let rest = [filter.conditions.is_empty(), filter.texts.is_empty(), filter.ids.is_empty()];
        let known = |by: &GroupBy| !matches!(by, GroupBy::Path(_));
        let counts = match want {
            Want::Records { .. } => false,
            Want::Count => true,
            Want::Groups(by) => known(by),
            Want::Summary(overview) => overview.by.iter().all(known),
        };
        if counts && rest == [true; 3] {
            Self::Answers
        } else if filter.fields.iter().any(|patterns| !patterns.is_empty()) {
            Self::Selects
        } else {
            Self::None
        }
    }
}

/// Blocks that columns are asked about: of one stripe, in the order of the answer.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) columns: Arc<Columns>,
    pub(super) stripe: usize,
    /// The segment's place in the manifest.
    pub(super) segment: usize,
    pub(super) blocks: Vec<AskedBlock>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct AskedBlock {
    /// Its place in the segment.
    pub(super) nth: usize,
    /// Those of its records that are asked about.
    pub(super) seqs: Range<u64>,
    /// Its earliest and latest time.
    pub(super) times: (Timestamp, Timestamp),
}

/// What the filter says of a stripe's records.
struct Taken {
    /// Of each field that has patterns: its numbers, and whether they are of texts that fit.
    fields: Vec<(Codes, Vec<bool>)>,
    /// Where not all times of the blocks are within what is asked for.
    times: Option<(i64, i64, Arc<Vec<i64>>)>,
    /// There can be none.
    is_nothing: bool,
}

impl Taken {
    /// Calls with each record that matches.
    fn each(&self, rows: Range<usize>, mut each: impl FnMut(usize)) {
        if self.is_nothing {
            return;
        }
        let is_in_time = |row: usize| {
            self.times.as_ref().is_none_or(|(since, until, times)| {
                let time = times[row];
                *since <= time && time < *until
            })
        };
        match &self.fields[..] {
            [] => rows.filter(|row| is_in_time(*row)).for_each(each),
            [(codes, fits), more @ ..] => codes.each(rows, |row, code| {
                if fits[code]
                    && more.iter().all(|(codes, fits)| fits[codes.get(row)])
                    && is_in_time(row)
                {
                    each(row);
                }
            }),
        }
    }
}

/// A stripe's columns, read as they are needed. Nothing where one cannot be read.
struct Stripe<'a> {
    ask: &'a Ask,
    reader: Reader,
    fields: [Option<(Arc<Texts>, Codes)>; 5],
    times: Option<Arc<Vec<i64>>>,
}

impl<'a> Stripe<'a> {
    fn of(ask: &'a Ask) -> Self {
        Self { ask, reader: Reader::default(), fields: Default::default(), times: None }
    }

    fn field(&mut self, field: Field) -> Option<(Arc<Texts>, Codes)> {
        let slot = &mut self.fields[field as usize];
        if slot.is_none() {
            let (columns, nth) = (&self.ask.columns, self.ask.stripe);
            let texts = columns.texts(nth, field, &mut self.reader)?;
            let codes = columns.codes((nth, field), &texts, &mut self.reader)?;
            *slot = Some((Arc::new(texts), codes));
        }
        slot.clone()
    }

    fn times(&mut self) -> Option<Arc<Vec<i64>>> {
        if self.times.is_none() {
            self.times = Some(Arc::new(self.ask.columns.times(self.ask.stripe, &mut self.reader)?));
        }
        self.times.clone()
    }

    /// Which of its records the filter takes.
    fn taken(&mut self, filter: &Filter) -> Option<Taken> {
        let mut taken = Taken { fields: Vec::new(), times: None, is_nothing: false };
        for field in Field::ALL {
            let patterns = &filter.fields[field as usize];
            if patterns.is_empty() {
                continue;
            }
            // Its texts alone may tell that there is none.
            let texts = match &self.fields[field as usize] {
                Some((texts, _)) => Arc::clone(texts),
                None => {
                    Arc::new(self.ask.columns.texts(self.ask.stripe, field, &mut self.reader)?)
                }
            };
            let fit = |code: usize| {
                let text = texts.get(code);
                text.is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(text)))
            };
            let fits: Vec<bool> = (0..=texts.len()).map(fit).collect();
            if !fits.contains(&true) {
                taken.is_nothing = true;
                return Some(taken);
            }
            if self.fields[field as usize].is_none() {
                let of = (self.ask.stripe, field);
                let codes = self.ask.columns.codes(of, &texts, &mut self.reader)?;
                self.fields[field as usize] = Some((texts, codes));
            }
            taken.fields.push((self.field(field)?.1, fits));
        }
        let since = filter.since.map_or(i64::MIN, Timestamp::micros);
        let until = filter.until.map_or(i64::MAX, Timestamp::micros);
        let is_within =
            |block: &AskedBlock| since <= block.times.0.micros() && block.times.1.micros() < until;
        if !self.ask.blocks.iter().all(is_within) {
            taken.times = Some((since, until, self.times()?));
        }
        Some(taken)
    }

    fn rows(&self, block: &AskedBlock) -> Range<usize> {
        let first = self.ask.columns.stripe(self.ask.stripe).first_seq;
        (block.seqs.start - first) as usize..(block.seqs.end - first) as usize
    }
}

/// The blocks that have a match; `None` when the columns cannot tell.
pub(super) fn select(ask: &Ask, filter: &Filter) -> Option<(Vec<usize>, u64)> {
    let mut stripe = Stripe::of(ask);
    let taken = stripe.taken(filter)?;
    let has_some = |block: &&AskedBlock| {
        let mut some = false;
        taken.each(stripe.rows(block), |_| some = true);
        some
    };
    let found = ask.blocks.iter().filter(has_some).map(|block| block.nth).collect();
    Some((found, stripe.reader.bytes_read))
}

/// Whether the columns have the fields that a question needs.
pub(super) fn has_needed(stripe: &columns::Stripe, filter: &Filter, want: &Want) -> bool {
    let has = |field: &Field| stripe.has(*field);
    let of_by = |by: &GroupBy| match by {
        GroupBy::Field(field) => has(field),
        GroupBy::Time(_) | GroupBy::Path(_) => true,
    };
    let filtered = |field: &Field| !filter.fields[*field as usize].is_empty();
    Field::ALL.iter().filter(|field| filtered(field)).all(has)
        && match want {
            Want::Groups(by) => of_by(by),
            Want::Summary(overview) => overview.by.iter().all(of_by),
            Want::Records { .. } | Want::Count => true,
        }
}

/// What the columns of some blocks say.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Block by block, without groups.
    pub(super) blocks: Vec<Sofar>,
    /// The groups, as they were asked for.
    pub(super) groups: Vec<Counts>,
    /// What was read for it.
    pub(super) bytes_read: u64,
}

/// Counts; `None` when the columns cannot be read or are not those of the index.
pub(super) fn count(ask: &Ask, filter: &Filter, want: &Want, sofar: &Sofar) -> Option<Tally> {
    let mut stripe = Stripe::of(ask);
    let taken = stripe.taken(filter)?;
    let mut tally = Tally::default();
    match (want, sofar) {
        (Want::Groups(by), _) => {
            let (texts, codes) = names(&mut stripe, by)?;
            let blocks = ask.blocks.iter().map(|block| stripe.rows(block));
            let blocks = counted(blocks, &taken, &codes, texts.len());
            tally.groups.push(Counts { texts, blocks });
        }
        (Want::Summary(overview), Sofar::Summary(sofar)) => {
            let by: Vec<_> =
                overview.by.iter().map(|by| names(&mut stripe, by)).collect::<Option<_>>()?;
            let times = if taken.is_nothing { Arc::default() } else { stripe.times()? };
            for block in &ask.blocks {
                let mut sketch = sofar.empty();
                sketch.add_columns((&taken_rows(&taken, stripe.rows(block)), &times), &by);
                sketch.looked_from(block.seqs.start);
                tally.blocks.push(Sofar::Summary(Box::new(sketch)));
            }
            for (texts, codes) in by {
                let blocks = ask.blocks.iter().map(|block| stripe.rows(block));
                let blocks = counted(blocks, &taken, &codes, texts.len());
                tally.groups.push(Counts { texts, blocks });
            }
        }
        _ => {
            let mut count = 0;
            ask.blocks.iter().for_each(|block| taken.each(stripe.rows(block), |_| count += 1));
            tally.blocks.push(Sofar::Count(count));
        }
    }
    tally.bytes_read = stripe.reader.bytes_read;
    Some(tally)
}

fn taken_rows(taken: &Taken, rows: Range<usize>) -> Rows {
    if taken.fields.is_empty() && taken.times.is_none() && !taken.is_nothing {
        return Rows::All(rows);
    }
    let mut these = Vec::new();
    taken.each(rows, |row| these.push(row as u32));
    Rows::These(these)
}

/// How many of each number there are, block by block.
fn counted(
    blocks: impl Iterator<Item = Range<usize>>,
    taken: &Taken,
    codes: &Codes,
    texts: usize,
) -> Vec<Vec<(u16, u32)>> {
    let mut counts = vec![0_u32; texts + 1];
    let mut of_block = |rows: Range<usize>| {
        if taken.fields.is_empty() && taken.times.is_none() && !taken.is_nothing {
            codes.each(rows, |_, code| counts[code] += 1);
        } else {
            taken.each(rows, |row| counts[codes.get(row)] += 1);
        }
        let mut found = Vec::new();
        for (code, count) in counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            found.push((code as u16, std::mem::take(count)));
        }
        found
    };
    blocks.map(&mut of_block).collect()
}

/// What each record of a stripe is counted under: a name's number.
fn names(stripe: &mut Stripe<'_>, by: &GroupBy) -> Option<(Arc<Texts>, Codes)> {
    match by {
        GroupBy::Field(field) => stripe.field(*field),
        GroupBy::Time(unit) => Some(times_as_texts(&stripe.times()?, *unit)),
        GroupBy::Path(_) => None,
    }
}

/// The stretches of time that records are in, as texts.
fn times_as_texts(times: &[i64], unit: Unit) -> (Arc<Texts>, Codes) {
    // A stretch is of whole minutes.
    const MINUTE: i64 = 60_000_000;
    let (mut texts, mut known) = (Texts::default(), HashMap::new());
    let mut minutes: HashMap<i64, u16> = HashMap::new();
    let mut last = (i64::MIN, 0);
    let mut code_of = |time: i64| {
        let minute = time.div_euclid(MINUTE);
        if minute == last.0 {
            return last.1;
        }
        let code = *minutes.entry(minute).or_insert_with(|| {
            let mut text = Vec::with_capacity(27);
            Timestamp::from_micros(minute * MINUTE).write_to(&mut text);
            text.truncate(unit.bytes());
            *known.entry(text).or_insert_with_key(|text| {
                texts.push(text);
                texts.len() as u16
            })
        });
        last = (minute, code);
        code
    };
    let codes = times.iter().map(|time| code_of(*time)).collect();
    (Arc::new(texts), Codes::Words(codes))
}
