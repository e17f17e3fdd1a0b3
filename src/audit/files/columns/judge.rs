//! Whether columns are those of the records.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::build::rows;
use super::{Codes, Columns, Reader, Texts};
use crate::audit::files::segment::Block;
use crate::audit::record::head::Field;

/// So many stripes are kept unpacked: as many as the blocks are of that are looked at at once.
const KEPT: usize = 8;

/// Compares a segment's columns with its records, block by block, in about their order.
#[derive(Debug)]
pub(crate) struct Judge {
    columns: Columns,
    unpacked: Mutex<VecDeque<(usize, Arc<Stripe>)>>,
}

/// A stripe. What cannot be read of it nobody believes.
#[derive(Debug)]
struct Stripe {
    times: Option<Vec<i64>>,
    fields: [Option<(Texts, Codes)>; Field::ALL.len()],
}

impl Judge {
    pub(crate) fn new(columns: Columns) -> Self {
        Self { columns, unpacked: Mutex::default() }
    }

    /// Whether a block has no columns, or those that its lines make.
    pub(crate) fn are_of(&self, block: &Block, lines: &[u8]) -> bool {
        let Some(nth) = self.columns.stripe_of(block.first_seq, block.tree.end()) else {
            return true;
        };
        let stripe = self.unpacked(nth);
        let Some(rows) = rows(block, lines) else { return false };
        let first = (block.first_seq - self.columns.stripe(nth).first_seq) as usize;
        rows.iter().zip(first..).all(|((head, time), row)| {
            let is_same = |field: Field| {
                let column = stripe.fields[field as usize].as_ref();
                column.is_none_or(|(texts, codes)| texts.get(codes.get(row)) == head.text(field))
            };
            stripe.times.as_ref().is_none_or(|times| times[row] == time.micros())
                && Field::ALL.into_iter().all(is_same)
        })
    }

    fn unpacked(&self, nth: usize) -> Arc<Stripe> {
        let mut kept = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stripe)) = kept.iter().find(|(known, _)| *known == nth) {
            return Arc::clone(stripe);
        }
        let stripe = Arc::new(self.unpack(nth));
        kept.truncate(KEPT - 1);
        kept.push_front((nth, Arc::clone(&stripe)));
        stripe
    }

    fn unpack(&self, nth: usize) -> Stripe {
        let mut reader = Reader::default();
        let times = self.columns.times(nth, &mut reader);
        let fields = Field::ALL.map(|field| {
            let texts = self.columns.texts(nth, field, &mut reader)?;
            let codes = self.columns.codes((nth, field), &texts, &mut reader)?;
            Some((texts, codes))
        });
        Stripe { times, fields }
    }
}
