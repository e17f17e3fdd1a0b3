//! Continuing an import that was interrupted.

use super::send::send_all;
use super::tally::{Before, Tally};
use super::windows::Events;
use super::{Done, Run};
use crate::audit::ParseMode;
use crate::cli::commands::record::arrived::Arrived;
use crate::cli::commands::record::lines::{Lines, Translate};
use crate::cli::commands::record::sink::{self, Sink};
use crate::cli::exit::CliError;
use crate::health::wording::count;

/// Lines that are read to find those that a run before recorded, at most.
const LOOKED_THROUGH: usize = 20_000;

impl Run<'_> {
    /// Goes on where a run before stopped, if one did: passes over what was acknowledged,
    /// and over what the log has beyond it.
    pub(super) fn go_on(
        &mut self,
        lines: &mut Lines,
        translate: &mut dyn Translate,
        sink: &mut Sink,
        tally: &mut Tally,
    ) -> Result<(), CliError> {
        let Some(place) = self.position.mark() else {
            self.is_done(lines.mark(), sink, tally);
            return Ok(());
        };
        if !lines.go_on_after(place)? {
            return Err(self
                .position
                .wrong("the files no longer begin with the lines that were recorded"));
        }
        let Some(before) = self.position.before.clone() else { return Ok(()) };
        if (before.recorded > 0) != before.last_seq.is_some() {
            let text = "what was kept of it contradicts itself, so somebody else wrote it";
            return Err(self.position.wrong(text));
        }
        self.done = Some(Done {
            mark: lines.mark(),
            from_seq: before.from_seq,
            last_seq: before.last_seq,
            recorded: before.recorded,
        });
        sink.look_from(before.from_seq);
        let mut arrived = sink.arrived(before.last_seq.unwrap_or(before.from_seq))?;
        if let Some(seq) = before.last_seq
            && !arrived.forget(seq)
        {
            let text = format!(
                "the log lacks the import's last record, {seq}: it is another log, or an old copy \
                 was put back"
            );
            return Err(self.position.wrong(&text));
        }
        arrived.since(before.from_seq);
        let last_seq = before.last_seq.max(arrived.last_seq());
        let more = arrived.len() as u64;
        let missed = self.pass_over(lines, translate, &mut arrived)?;
        sink.look_from(last_seq.map_or(before.from_seq, |last| last + 1).max(before.from_seq));
        let place = lines.place().clone();
        self.context.printer.note(&format!(
            "auditctl: an import of these files was interrupted after {}; continuing after {place} \
             (to record everything again, add --from-start)",
            count(before.recorded + more, "event")
        ));
        tally.before = Some(Before { recorded: before.recorded + more, last_seq, place });
        send_all(self.context, self.args, missed, sink, tally)?;
        self.is_done(lines.mark(), sink, tally);
        Ok(())
    }

    /// Reads on until the line of each record has been found; the lines between them that
    /// have none.
    fn pass_over(
        &self,
        lines: &mut Lines,
        translate: &mut dyn Translate,
        arrived: &mut Arrived,
    ) -> Result<Events, CliError> {
        let limits = sink::limits(self.settings);
        let mode = if self.args.lenient { ParseMode::Lenient } else { ParseMode::Strict };
        let mut missed = Events::new();
        while !arrived.is_empty() {
            let next = if missed.len() < LOOKED_THROUGH { lines.next()? } else { None };
            let Some((place, line)) = next else {
                return Err(arrived.unknown("after those that were acknowledged"));
            };
            // One that is no event was passed over by the run before, and told of.
            let events = translate.line(&place, line).unwrap_or_default();
            drop(translate.refused());
            for event in events {
                if arrived.take(&event, mode, &limits).is_none() {
                    missed.push((place.clone(), event));
                }
            }
        }
        Ok(missed)
    }
}
