//! Running a query: chunks are read, decompressed and matched in parallel, a wave
//! of them at a time, and their matches put together in order. What is in memory
//! is bounded by the wave and the page, whatever matches.

use std::sync::OnceLock;
use std::time::Instant;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::answer::{Answer, Bounds, Effort, Lines};
use super::chunk::{Chunk, Worker};
use super::columnar;
use super::filter::{Filter, Order, Overview, Query, Want};
use super::groups::{Groups, name_of};
use super::matcher::{Matcher, Seen};
use super::plan::Planner;
use super::sofar::Sofar;
use super::sum::{Part, Sum, is_full};
use super::unread::Whole;
use super::view::View;
use crate::audit::read::error::ReadError;
use crate::audit::read::watch::Watch;
use crate::audit::record::peek_seq;

/// The threads that read and match, for the whole process: as many as there are
/// cores, of low priority, because the writer comes first.
pub(super) fn pool() -> Option<&'static rayon::ThreadPool> {
    static POOL: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let lower = |_| {
            // Only a wish.
            let thread = rustix::thread::gettid();
            let _ = rustix::process::setpriority_process(Some(thread), 10);
        };
        rayon::ThreadPoolBuilder::new()
            .thread_name(|nth| format!("audit-query-{nth}"))
            .start_handler(lower)
            .build()
            .ok()
    });
    pool.as_ref()
}

/// Answers a query from a view's records.
///
/// # Errors
/// [`ReadError::Pruned`] when retention removed what was to be read: with a new
/// view it can be asked again. [`ReadError::Interrupted`] where nobody wants it any more.
pub(super) fn run(
    view: &View,
    query: &Query,
    bounds: Bounds,
    watch: &dyn Watch,
) -> Result<Answer, ReadError> {
    let begun = Instant::now();
    let filter = query.filter.within(view.begin, view.end);
    let mut sum = look((view, &filter), &query.want, None, (bounds, begun, watch))?;
    if !sum.is_cut
        && let Some(begin) = sum.found.again(query)
    {
        let second = Some((begin, &sum.found));
        let again = look((view, &filter), &query.want, second, (bounds, begun, watch))?;
        // Without the time for it the first one stands, which is about all of them.
        if again.is_cut {
            sum.effort.add(&again.effort);
        } else {
            let (effort, kept) = (sum.effort, sum.found);
            sum = again;
            sum.effort.add(&effort);
            sum.found.bounded_as(&kept);
        }
    }
    Ok(sum.answer(view, query, begun))
}

/// Looks through the records; a second time only those groups are counted that are `kept`.
fn look(
    (view, filter): (&View, &Filter),
    want: &Want,
    second: Option<(Sofar, &Sofar)>,
    (bounds, begun, watch): (Bounds, Instant, &dyn Watch),
) -> Result<Sum, ReadError> {
    let matcher = Matcher::new(filter);
    let order = match want {
        Want::Records { order, .. } => *order,
        // What there is no time for is the oldest.
        Want::Summary(Overview { within: Some(_), .. }) => Order::Newest,
        _ => Order::Oldest,
    };
    let whole = if matcher.takes_all_of_a_time() { Whole::of(want) } else { Whole::Never };
    let mut planner = Planner::new(view, (filter, want), order, whole);
    let (found, kept) = match second {
        Some((begin, kept)) => (begin, Some(kept)),
        None => (Sofar::none(want, planner.step()), None),
    };
    let mut sum = Sum::new(want, found, bounds);
    // An answer that may end early begins with little.
    let threads = pool().map_or(1, rayon::ThreadPool::current_num_threads);
    let full = threads * 4;
    let mut wave = if matches!(want, Want::Records { .. }) { 1 } else { full };
    while !sum.is_done() {
        if watch.interrupted() {
            return Err(ReadError::Interrupted);
        }
        if let Want::Summary(Overview { within: Some(within), .. }) = want
            && begun.elapsed() >= *within
        {
            sum.is_cut = !planner.is_at_the_end()?;
            break;
        }
        let mut chunks = Vec::with_capacity(wave);
        while chunks.len() < wave
            && let Some(chunk) = planner.next()?
        {
            chunks.push(chunk);
        }
        if chunks.is_empty() {
            sum.is_all = true;
            break;
        }
        let parts = scan_all(&chunks, &matcher, want, (&sum, kept));
        for (chunk, part) in chunks.iter().zip(parts) {
            match chunk {
                Chunk::Columns(ask) if part.is_unusable => {
                    let instead = planner.instead(ask)?;
                    let parts = scan_all(&instead, &matcher, want, (&sum, kept));
                    parts.into_iter().for_each(|part| sum.add(part, kept));
                }
                _ => sum.add(part, kept),
            }
        }
        wave = (wave * 4).min(full);
    }
    match planner.given_up() {
        Ok(holes) => sum.given_up = holes,
        Err(unsigned) => sum.damaged.extend(unsigned),
    }
    sum.effort = Effort {
        bytes_read: sum.bytes_read + planner.effort.bytes_read,
        bytes_scanned: sum.bytes_scanned,
        records_read: sum.seen.read,
        ..planner.effort
    };
    Ok(sum)
}

/// What each chunk has, in their order.
fn scan_all(
    chunks: &[Chunk],
    matcher: &Matcher<'_>,
    want: &Want,
    (sum, kept): (&Sum, Option<&Sofar>),
) -> Vec<Part> {
    let scan = |worker: &mut Worker, chunk: &Chunk| {
        scan(worker, chunk, matcher, (want, sum.room(), sum.bounds), (&sum.found, kept))
    };
    match pool() {
        Some(pool) if chunks.len() > 1 => {
            pool.install(|| chunks.par_iter().map_init(Worker::default, scan).collect())
        }
        _ => {
            let mut worker = Worker::default();
            chunks.iter().map(|chunk| scan(&mut worker, chunk)).collect()
        }
    }
}

fn scan(
    worker: &mut Worker,
    chunk: &Chunk,
    matcher: &Matcher<'_>,
    (want, room, bounds): (&Want, u64, Bounds),
    (sofar, kept): (&Sofar, Option<&Sofar>),
) -> Part {
    let mut part = Part {
        found: sofar.empty(),
        over: false,
        seen: Seen::default(),
        bytes_read: 0,
        bytes_scanned: 0,
        damage: None,
        tally: None,
        is_unusable: false,
    };
    if let Chunk::Columns(ask) = chunk {
        part.tally = columnar::count(ask, matcher.filter(), want, sofar);
        part.bytes_read = part.tally.as_ref().map_or(0, |tally| tally.bytes_read);
        part.is_unusable = part.tally.is_none();
        return part;
    }
    if let Chunk::Counted { from, span, records } = chunk {
        match &mut part.found {
            Sofar::Count(count) => *count = *records,
            Sofar::Summary(sketch) => {
                sketch.add_all(*span, *records);
                sketch.looked_from(*from);
            }
            _ => {}
        }
        return part;
    }
    let lines = match chunk.read(worker) {
        Ok((lines, read)) => {
            part.bytes_read = read;
            part.bytes_scanned = lines.len() as u64;
            lines
        }
        Err(damage) => {
            part.damage = Some(damage);
            &[]
        }
    };
    match want {
        Want::Count => {
            let mut count = 0;
            part.seen = matcher.scan(lines, &mut |_, _| {
                count += 1;
                true
            });
            part.found = Sofar::Count(count);
        }
        Want::Groups(by) => {
            let mut groups = Groups::default();
            part.seen = matcher.scan(lines, &mut |head, line| {
                let name = name_of(by, head, line);
                match kept {
                    Some(Sofar::Groups(kept)) => groups.add_if_in(kept, name, 1),
                    _ => groups.add(name, 1),
                }
                true
            });
            part.found = Sofar::Groups(groups);
        }
        Want::Summary(overview) => {
            let kept = match kept {
                Some(Sofar::Summary(kept)) => Some(&**kept),
                _ => None,
            };
            if let Sofar::Summary(sketch) = &mut part.found {
                part.seen = matcher.scan(lines, &mut |head, line| {
                    sketch.add(overview, (head, line), kept);
                    true
                });
                peek_seq(lines).into_iter().for_each(|seq| sketch.looked_from(seq));
            }
        }
        Want::Records { order: Order::Oldest, .. } => {
            let mut found = Lines::default();
            part.seen = matcher.scan(lines, &mut |_, line| {
                if is_full(&found, room, bounds.page_bytes) {
                    part.over = true;
                    return false;
                }
                found.push(line);
                true
            });
            part.found = Sofar::Records(found);
        }
        Want::Records { order: Order::Newest, .. } => {
            // Where they are: the last ones are wanted, which come last.
            let mut spans = Vec::new();
            part.seen = matcher.scan(lines, &mut |_, line| {
                let begin = line.as_ptr() as usize - lines.as_ptr() as usize;
                spans.push(begin..begin + line.len());
                // Without room it is only asked whether there is one.
                room > 0
            });
            let mut found = Lines::default();
            for span in spans.into_iter().rev() {
                part.over = is_full(&found, room, bounds.page_bytes);
                if part.over {
                    break;
                }
                found.push(&lines[span]);
            }
            part.found = Sofar::Records(found);
        }
    }
    part
}
