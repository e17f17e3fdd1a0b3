//! When the last event was accepted, of a log that is opened: `health` tells it until
//! the next one comes.

use super::Opening;
use crate::audit::files::manifest::Manifest;
use crate::audit::files::segment::Active;
use crate::audit::record::event::RESERVED_PREFIX;
use crate::audit::record::{Record, peek_times};
use crate::audit::state::status::Word;
use crate::clock::Timestamp;

/// So much of the active segment's end is looked at: opening has just read all of it.
const TAIL_BYTES: u64 = 4 << 20;
/// So many sealed blocks before it.
const BLOCKS: usize = 4;

impl Opening<'_> {
    /// From the newest record that is no record of the engine's own. Where there is
    /// none near the end, what the status page of the writer before said. Nothing rests
    /// on it.
    pub(super) fn last_event(&self, manifest: &Manifest, active: &Active) -> Option<Timestamp> {
        let blocks = manifest.segments.iter().rev();
        let blocks =
            blocks.flat_map(|segment| segment.blocks.iter().rev().map(move |b| (segment, b)));
        in_active(active)
            .or_else(|| {
                let lines =
                    blocks.take(BLOCKS).filter_map(|(segment, b)| self.lines_of(segment, b));
                lines.into_iter().find_map(|lines| newest_event(&lines))
            })
            .or_else(|| {
                let told = self.earlier.as_ref()?.time(Word::LastEventAt)?;
                (told <= self.options.clock.now()).then_some(told)
            })
    }
}

fn in_active(active: &Active) -> Option<Timestamp> {
    let end = active.layout.raw_bytes;
    let from = end.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; usize::try_from(end - from).ok()?];
    active.file.read_exact_at(&mut tail, from).ok()?;
    // What it begins in the middle of is no record.
    newest_event(&tail)
}

fn newest_event(lines: &[u8]) -> Option<Timestamp> {
    lines.rsplit(|byte| *byte == b'\n').find_map(|line| {
        let record: Record<'_> = serde_json::from_slice(line).ok()?;
        let is_own = record.event_type.starts_with(RESERVED_PREFIX);
        if is_own { None } else { Some(peek_times(line)?.1) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_event_is_found_behind_the_engines_own_records() {
        let line = |seq: u64, second: u64, kind: &str, rest: &str| {
            format!(
                r#"{{"seq":{seq},"timestamp":"2026-02-03T00:00:{second:02}.000000Z","event_type":"{kind}","origin":{{"via":"socket"}}{rest}}}"#
            ) + "\n"
        };
        let of = |lines: &[String]| newest_event(lines.concat().as_bytes()).map(|t| t.to_string());
        let own = [line(0, 1, "audit.log_created", ""), line(1, 2, "audit.opened", "")];
        assert_eq!(of(&own), None);
        let [created, opened] = own;
        let torn = "timestamp\":\"2026".to_owned() + "\n";
        let event = line(2, 3, "login", "");
        let all = [torn, created, opened, event.clone(), line(3, 9, "audit.closed", "")];
        assert_eq!(of(&all).as_deref(), Some("2026-02-03T00:00:03.000000Z"));
        // One that came with a time of its own counts when it was accepted.
        let late = line(4, 5, "login", r#","recorded_at":"2026-02-03T00:00:40.000000Z""#);
        assert_eq!(of(&[event, late]).as_deref(), Some("2026-02-03T00:00:40.000000Z"));
    }
}
