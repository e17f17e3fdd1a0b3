//! Running a query: chunks are read, decompressed and matched in parallel, a wave
//! of them at a time, and their matches put together in order. What is in memory
//! is bounded by the wave and the page, whatever matches.

use std::sync::OnceLock;
use std::time::Instant;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::QueryError;
use super::answer::{Answer, Effort, Found, Groups, Lines, MAX_DAMAGED};
use super::filter::{GroupBy, Order, Query, Want};
use super::matcher::{Matcher, Seen};
use super::plan::{Chunk, Planner, Worker};
use super::view::View;
use crate::audit::head::Head;

/// How much an answer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A page of records ends with the record that reaches so many bytes.
    pub page_bytes: usize,
    /// Groups, at most (`max_memory_events`).
    pub groups: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { page_bytes: 1 << 20, groups: 10_000 }
    }
}

/// The threads that read and match, for the whole process: as many as there are
/// cores, of low priority, because the writer comes first.
fn pool() -> Option<&'static rayon::ThreadPool> {
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

/// What a chunk has for the answer.
#[derive(Debug)]
struct Part {
    found: Found,
    /// Its page was full before its end.
    cut: bool,
    seen: Seen,
    bytes_read: u64,
    bytes_scanned: u64,
    damage: Option<String>,
}

/// Answers a query from a view's records.
///
/// # Errors
/// [`QueryError::Pruned`] when retention removed what was to be read: with a new
/// view it can be asked again.
pub(super) fn run(view: &View, query: &Query, bounds: Bounds) -> Result<Answer, QueryError> {
    let begun = Instant::now();
    let filter = query.filter.within(view.begin, view.end);
    let matcher = Matcher::new(&filter);
    let order = match query.want {
        Want::Records { order, .. } => order,
        _ => Order::Oldest,
    };
    let count_only = query.want == Want::Count && matcher.takes_all();
    let mut planner = Planner::new(view, &filter, order, count_only);
    let mut sum = Sum::new(&query.want, bounds);
    // An answer that may end early begins with little.
    let threads = pool().map_or(1, rayon::ThreadPool::current_num_threads);
    let full = threads * 4;
    let mut wave = if matches!(query.want, Want::Records { .. }) { 1 } else { full };
    while !sum.is_full() {
        let mut chunks = Vec::with_capacity(wave);
        while chunks.len() < wave
            && let Some(chunk) = planner.next()?
        {
            chunks.push(chunk);
        }
        if chunks.is_empty() {
            break;
        }
        let scan = |worker: &mut Worker, chunk: &Chunk| {
            scan(worker, chunk, &matcher, (&query.want, sum.room(), bounds))
        };
        let parts: Vec<Part> = match pool() {
            Some(pool) if chunks.len() > 1 => {
                pool.install(|| chunks.par_iter().map_init(Worker::default, scan).collect())
            }
            _ => {
                let mut worker = Worker::default();
                chunks.iter().map(|chunk| scan(&mut worker, chunk)).collect()
            }
        };
        parts.into_iter().for_each(|part| sum.add(part));
        wave = (wave * 4).min(full);
    }
    let mut effort = planner.effort;
    effort.bytes_read = sum.bytes_read;
    effort.bytes_scanned = sum.bytes_scanned;
    effort.records_read = sum.seen.read;
    let given_up = planner.given_up();
    let mut answer = sum.answer(view, effort, begun);
    match given_up {
        Ok(holes) => answer.given_up = holes,
        Err(unsigned) => answer.damaged.extend(unsigned),
    }
    Ok(answer)
}

/// What has been put together.
#[derive(Debug)]
struct Sum {
    found: Found,
    limit: u64,
    bounds: Bounds,
    cut: bool,
    seen: Seen,
    bytes_read: u64,
    bytes_scanned: u64,
    damaged: Vec<String>,
}

impl Sum {
    fn new(want: &Want, bounds: Bounds) -> Self {
        let (found, limit) = match want {
            Want::Records { limit, .. } => (Found::Records(Lines::default()), *limit),
            Want::Count => (Found::Count(0), u64::MAX),
            Want::Groups(_) => (Found::Groups(Groups::default()), u64::MAX),
        };
        Self {
            found,
            limit,
            bounds,
            cut: false,
            seen: Seen::default(),
            bytes_read: 0,
            bytes_scanned: 0,
            damaged: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        match &self.found {
            Found::Records(lines) => self.cut || is_full(lines, self.limit, self.bounds.page_bytes),
            _ => false,
        }
    }

    /// How many records more it takes.
    fn room(&self) -> u64 {
        match &self.found {
            Found::Records(lines) => self.limit - lines.len() as u64,
            _ => u64::MAX,
        }
    }

    fn add(&mut self, part: Part) {
        if self.is_full() {
            return;
        }
        self.seen.read += part.seen.read;
        self.seen.unreadable += part.seen.unreadable;
        self.bytes_read += part.bytes_read;
        self.bytes_scanned += part.bytes_scanned;
        if let Some(damage) = part.damage
            && self.damaged.len() < MAX_DAMAGED
        {
            self.damaged.push(damage);
        }
        match (&mut self.found, part.found) {
            (Found::Records(lines), Found::Records(more)) => {
                for line in more.iter() {
                    if is_full(lines, self.limit, self.bounds.page_bytes) {
                        return;
                    }
                    lines.push(line);
                }
                self.cut = part.cut;
            }
            (Found::Count(count), Found::Count(more)) => *count += more,
            (Found::Groups(groups), Found::Groups(more)) => groups.merge(&more, self.bounds.groups),
            _ => {}
        }
    }

    fn answer(self, view: &View, mut effort: Effort, begun: Instant) -> Answer {
        let more = match &self.found {
            Found::Records(lines) => (lines.len() as u64) < self.limit && self.is_full(),
            _ => false,
        };
        effort.micros = begun.elapsed().as_micros() as u64;
        Answer {
            found: self.found,
            begin: view.begin,
            end: view.end,
            more,
            unreadable: self.seen.unreadable,
            damaged: self.damaged,
            given_up: Vec::new(),
            effort,
        }
    }
}

/// Whether a page takes no more.
pub(super) fn is_full(lines: &Lines, limit: u64, page_bytes: usize) -> bool {
    lines.len() as u64 >= limit || lines.bytes() >= page_bytes
}

fn scan(
    worker: &mut Worker,
    chunk: &Chunk,
    matcher: &Matcher<'_>,
    (want, room, bounds): (&Want, u64, Bounds),
) -> Part {
    let mut part = Part {
        found: Found::Count(0),
        cut: false,
        seen: Seen::default(),
        bytes_read: 0,
        bytes_scanned: 0,
        damage: None,
    };
    if let Chunk::Counted(records) = chunk {
        part.found = Found::Count(*records);
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
            part.found = Found::Count(count);
        }
        Want::Groups(by) => {
            let mut groups = Groups::default();
            part.seen = matcher.scan(lines, &mut |head, line| {
                group(&mut groups, by, head, line, bounds.groups);
                true
            });
            part.found = Found::Groups(groups);
        }
        Want::Records { order: Order::Oldest, .. } => {
            let mut found = Lines::default();
            part.seen = matcher.scan(lines, &mut |_, line| {
                found.push(line);
                !is_full(&found, room, bounds.page_bytes)
            });
            part.cut = is_full(&found, room, bounds.page_bytes);
            part.found = Found::Records(found);
        }
        Want::Records { order: Order::Newest, .. } => {
            // Where they are: the last ones are wanted, which come last.
            let mut spans = Vec::new();
            part.seen = matcher.scan(lines, &mut |_, line| {
                let begin = line.as_ptr() as usize - lines.as_ptr() as usize;
                spans.push(begin..begin + line.len());
                true
            });
            let mut found = Lines::default();
            for span in spans.into_iter().rev() {
                if is_full(&found, room, bounds.page_bytes) {
                    break;
                }
                found.push(&lines[span]);
            }
            part.cut = is_full(&found, room, bounds.page_bytes);
            part.found = Found::Records(found);
        }
    }
    part
}

fn group(groups: &mut Groups, by: &GroupBy, head: &Head<'_>, line: &[u8], room: usize) {
    match by {
        GroupBy::Field(field) => groups.add(head.text(*field), 1, room),
        GroupBy::Time(unit) => groups.add(Some(&head.timestamp[..unit.bytes()]), 1, room),
        GroupBy::Path(path) => {
            let mut value = None;
            path.look(line, &mut |found| {
                value = Some(match found {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                false
            });
            groups.add(value.as_deref().map(str::as_bytes), 1, room);
        }
    }
}
