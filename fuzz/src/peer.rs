//! Peers of a collector on a real log, which lives in memory where there is a
//! file system of that kind.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use auditctl::audit::{AuditLog, Options};
use auditctl::collector::harness::Harness;

/// A log larger than this is left behind for a new one.
const MOST_BYTES: usize = 64 << 20;

pub(crate) struct Place {
    pub(crate) log: AuditLog,
    pub(crate) open: Harness,
    pub(crate) with_token: Harness,
    taken: usize,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.expect("a temporary directory");
        let token = dir.path().join("token");
        let mut file = tempfile::NamedTempFile::new_in(dir.path()).expect("a private file");
        // Of the token 0123456789abcdef, which the seeds show.
        let line = "{\"name\":\"fuzz\",\"role\":\"read-write\",\"created\":\"2026-01-01T00:00:00Z\",\
                    \"sha256\":\"9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f\"}\n";
        file.write_all(line.as_bytes()).expect("written");
        file.persist(&token).expect("named");
        let options = Options {
            rate_limit: None,
            overflow_timeout: Duration::from_secs(60),
            disk_reserve: 0,
            ..Options::new(dir.path().join("logs"))
        };
        let log = AuditLog::open(options).expect("a log");
        let open = Harness::new(log.clone(), None).expect("a collector");
        let with_token = Harness::new(log.clone(), Some(token)).expect("a collector");
        Self { log, open, with_token, taken: 0, _dir: dir }
    }
}

/// One at a time: what one sends must not be counted as another's.
pub(crate) fn with_place(bytes: usize, run: impl FnOnce(&Place)) {
    static PLACE: Mutex<Option<Place>> = Mutex::new(None);
    let mut place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    let there = place.get_or_insert_with(Place::new);
    there.taken += bytes;
    run(there);
    if there.taken > MOST_BYTES {
        *place = None;
    }
}

/// The same bytes in pieces, at places that a number decides.
pub(crate) fn pieces(data: &[u8], pattern: u8) -> Vec<&[u8]> {
    let (mut rest, mut state) = (data, u32::from(pattern) + 1);
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Short ones mostly, so that every border is cut at some time.
        let most = if state & 0x3000 == 0 { 4_096 } else { 24 };
        let length = (1 + (state >> 16) as usize % most).min(rest.len());
        let (piece, more) = rest.split_at(length);
        pieces.push(piece);
        rest = more;
    }
    pieces
}
