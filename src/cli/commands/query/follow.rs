//! `--follow`: what is recorded from now on, through rotation and restarts.

use std::time::Duration;

use super::asker::Asker;
use super::{FOLLOW_BEGINS_WITH, Output, QueryArgs};
use crate::audit::query::{Order, Query, Request, Want};
use crate::cli::exit::CliError;
use crate::config::Settings;

/// How often it is looked for something new.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// When nobody answers.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Ends when it is interrupted, or stdout is closed.
pub(super) fn run(
    asker: &mut Asker,
    settings: &Settings,
    args: &QueryArgs,
    (request, query): (&Request, &Query),
    output: &mut Output<'_>,
) -> Result<u8, CliError> {
    let oldest = |query: &Query| Query {
        filter: query.filter.clone(),
        want: Want::Records { order: Order::Oldest, limit: u64::MAX },
    };
    let from_there = args.seq.is_some() || args.since.is_some();
    let mut next = if from_there {
        query.filter.first_seq()
    } else {
        begin(asker, args, (request, query), output)?
    };
    let mut silent = false;
    loop {
        let mut rest = Some(oldest(query).within(next, u64::MAX));
        while let Some(page) = rest.take() {
            let asked = request.pinned(&page);
            let asked = Request { order: Some("oldest".to_owned()), ..asked };
            match asker.ask(&asked, &page) {
                Ok(answer) => {
                    if answer.begin > next && next > 0 {
                        output.context.printer.error(&format!(
                            "auditctl: records {next} to {} were removed by retention before they were read",
                            answer.begin - 1
                        ));
                    }
                    output.print(&answer, &page, None)?;
                    rest = answer.rest(&page);
                    next = match &rest {
                        Some(rest) => rest.filter.first_seq(),
                        None => answer.end.max(next),
                    };
                    silent = false;
                }
                Err(error) if error.kind == "usage" || error.kind == "forbidden" => {
                    return Err(error);
                }
                Err(error) => {
                    // Restarted, perhaps; what was printed is not printed again.
                    if !std::mem::replace(&mut silent, true) {
                        output.context.printer.error(&format!(
                            "auditctl: {}; trying again, from record {next}",
                            error.message
                        ));
                    }
                    std::thread::sleep(TRY_AGAIN);
                    if let Ok(again) = Asker::open(settings, args.direct) {
                        *asker = again;
                    }
                }
            }
        }
        if next >= query.filter.end_seq() {
            return Ok(0);
        }
        std::thread::sleep(LOOK_AGAIN);
        if let Err(error) = asker.refresh()
            && !std::mem::replace(&mut silent, true)
        {
            output.context.printer.error(&format!("auditctl: {}; trying again", error.message));
        }
    }
}

/// The last few of what is there already, in their order; where to go on.
fn begin(
    asker: &mut Asker,
    args: &QueryArgs,
    (request, query): (&Request, &Query),
    output: &mut Output<'_>,
) -> Result<u64, CliError> {
    let limit = match args.limit {
        None => FOLLOW_BEGINS_WITH,
        Some(0) => return Ok(0),
        Some(limit) => limit,
    };
    let newest =
        Query { filter: query.filter.clone(), want: Want::Records { order: Order::Newest, limit } };
    let answer = asker.ask(&request.pinned(&newest), &newest)?;
    if let Some(lines) = answer.lines() {
        let in_order: Vec<&[u8]> = lines.iter().rev().collect();
        output.records(&in_order)?;
    }
    Ok(answer.end)
}
