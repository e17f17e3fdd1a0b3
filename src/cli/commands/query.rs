//! `query`: asks the log.

mod asker;
mod follow;
mod lacks;
mod output;
mod redacted;

use std::path::PathBuf;

use clap::Args;

use crate::audit::read::query::{
    Answer, Column, DEFAULT_LIMIT, Found, Question, Request, RequestError, Want,
};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::zone;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::health::wording::count;
use crate::ui;
use crate::units::human_bytes;
use asker::Asker;
use lacks::tell;
use output::{Format, Output};

/// Ask the log: which records, how many, how many of each, how many over time.
///
/// A record has to meet all options given. If an option is repeated, one of its values is enough.
/// The newest records come first. In a pipe or a file you get all of them, as they are stored; a
/// table, and anything on a terminal, ends after 100 and says so. If a collector runs, `query`
/// asks it, so that everybody shares one cache. Otherwise it reads the files, also beside a
/// writer. It does not verify the records: `auditctl verify` does.
///
/// Exit codes: 0, also if nothing matches; 1 if something could not be read.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Event types. `*` stands for any text, `\*` for an asterisk. May be repeated
    #[arg(long = "type", value_name = "PATTERN", help_heading = "Which records")]
    event_type: Vec<String>,
    /// Who did it; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "Which records")]
    actor: Vec<String>,
    /// Who reports it; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "Which records")]
    source: Vec<String>,
    /// What it was done to; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "Which records")]
    target: Vec<String>,
    /// How it ended; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "Which records")]
    outcome: Vec<String>,
    /// The id that the sender gave the event; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "Which records")]
    id: Vec<String>,
    /// Records from this `timestamp` on: RFC 3339, a date (00:00 UTC), or an age such as 24h or
    /// 7d
    #[arg(long, value_name = "TIME", help_heading = "Which records")]
    since: Option<String>,
    /// Records before this `timestamp`
    #[arg(long, value_name = "TIME", help_heading = "Which records")]
    until: Option<String>,
    /// Time zone of --since and --until: UTC, local (from TZ or /etc/localtime), a name such as
    /// Europe/Berlin, or an offset such as +02:00
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true, help_heading = "Which records")]
    timezone: Option<String>,
    /// Records by seq: A..B (without B), A..=B, A.., ..B, or A
    #[arg(long, value_name = "A..B", help_heading = "Which records")]
    seq: Option<String>,
    /// A condition inside details or origin, such as 'details.amount >= 100'. Operators: = != ~ <
    /// <= > >= and exists. Put a key with other signs in quotes: 'details."a=b" = 5'. May be
    /// repeated; all have to hold
    #[arg(long = "where", value_name = "CONDITION", help_heading = "Which records")]
    conditions: Vec<String>,
    /// A text that the record contains anywhere. May be repeated; all have to be there
    #[arg(long, value_name = "TEXT", help_heading = "Which records")]
    grep: Vec<String>,
    /// Records with the HMAC of a redacted value. The value is the content of FILE; without FILE,
    /// `query` asks for it or reads it from standard input. It is never an argument
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", help_heading = "Which records")]
    redacted_value: Option<PathBuf>,
    /// Where to look for that value: actor, source, target, outcome, id, or a path such as
    /// details.token
    #[arg(long, value_name = "FIELD", requires = "redacted_value", help_heading = "Which records")]
    redacted_in: Option<String>,
    /// Print at most N records; 0 prints all [default: all; 100 in a table and on a terminal; 10
    /// with --follow]
    #[arg(long, value_name = "N", help_heading = "What of them")]
    limit: Option<u64>,
    /// Newest records first (the default)
    #[arg(long, conflicts_with = "oldest", help_heading = "What of them")]
    newest: bool,
    /// Oldest records first
    #[arg(long, help_heading = "What of them")]
    oldest: bool,
    /// Print only the number of records
    #[arg(long, conflicts_with_all = ["group_by", "histogram", "follow", "limit"], help_heading = "What of them")]
    count: bool,
    /// Count the records by type, actor, source, target, outcome, a path such as details.ip, or
    /// by minute, hour, day or month
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["follow", "limit"], help_heading = "What of them")]
    group_by: Option<String>,
    /// Print only the N largest groups
    #[arg(long, value_name = "N", requires = "group_by", help_heading = "What of them")]
    top: Option<usize>,
    /// With --group-by: each group over time as well, of 100 groups at most. On a terminal that
    /// is the default, unless --top asks for more
    #[arg(long, requires = "group_by", help_heading = "What of them")]
    sparkline: bool,
    /// Print how many records there are over time, in UTC: in at most N steps, each of a length
    /// such as 1s, 5m, 1h, 1d or 1month [default: 32]
    #[arg(
        long, value_name = "N", num_args = 0..=1, require_equals = true,
        default_missing_value = "32",
        conflicts_with_all = ["group_by", "follow", "limit", "newest", "oldest", "fields"],
        help_heading = "What of them"
    )]
    histogram: Option<usize>,
    /// Continue with records as they arrive, until interrupted. With --seq A.. or --since, start
    /// there
    #[arg(long, conflicts_with_all = ["newest", "oldest", "until"], help_heading = "What of them")]
    follow: bool,
    /// Output format [default: table on a terminal, ndjson otherwise]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "How")]
    format: Option<Format>,
    /// Print only these fields, in this order: seq, timestamp, type, …, or paths such as
    /// details.ip
    #[arg(long, value_name = "FIELD,…", help_heading = "How")]
    fields: Vec<String>,
    /// Report on stderr what was read, what was skipped, and how long it took
    #[arg(long, help_heading = "How")]
    explain: bool,
    /// Read the files even if a collector runs
    #[arg(long, help_heading = "How")]
    direct: bool,
}

impl QueryArgs {
    fn request(&self) -> Request {
        Request {
            event_type: self.event_type.clone(),
            actor: self.actor.clone(),
            source: self.source.clone(),
            target: self.target.clone(),
            outcome: self.outcome.clone(),
            id: self.id.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            seq: self.seq.clone(),
            conditions: self.conditions.clone(),
            grep: self.grep.clone(),
            limit: self.limit,
            order: self.oldest.then(|| "oldest".to_owned()),
            count: self.count,
            group_by: self.group_by.clone(),
            top: self.top,
            follow: self.follow,
            buckets: self.histogram,
            ..Request::default()
        }
    }

    /// Whether each group is to have a line over time: if that is asked for, or a person
    /// looks at few enough groups.
    fn has_sparkline(&self, for_people: bool) -> bool {
        let is_time = ["minute", "hour", "day", "month"];
        let is_few = self.top.is_none_or(|top| top <= SPARKLINES);
        let Some(by) = &self.group_by else { return false };
        self.sparkline || for_people && is_few && !is_time.contains(&&**by)
    }
}

/// Groups that have a line over time, at most.
const SPARKLINES: usize = 100;
/// Columns of such a line, at most.
const SPARKLINE_COLUMNS: usize = 32;

/// The same groups, each over time as well.
fn over_time(request: &mut Request) {
    request.by = request.group_by.take().into_iter().collect();
    request.buckets = Some(SPARKLINE_COLUMNS);
    request.series = true;
    request.top = Some(request.top.unwrap_or(SPARKLINES));
}

impl From<RequestError> for CliError {
    fn from(error: RequestError) -> Self {
        let key = match error.key {
            "buckets" => "histogram",
            "by" => "group-by",
            key => key,
        };
        Self::usage(format!("--{}: {}", key.replace('_', "-"), error.reason))
    }
}

pub(crate) fn run(context: &Context, args: &QueryArgs) -> Result<u8, CliError> {
    let columns = args.fields.iter().map(|names| Column::parse_list(names));
    let columns = columns.collect::<Result<Vec<_>, _>>();
    let columns =
        columns.map_err(|reason| CliError::usage(format!("--fields: {reason}")))?.concat();
    let on_terminal = context.printer.is_terminal();
    let format = args.format.unwrap_or(if on_terminal { Format::Table } else { Format::Ndjson });
    let mut request = args.request();
    let is_counted = args.count || args.group_by.is_some() || args.histogram.is_some();
    if args.limit.is_none() && !is_counted {
        // What is read by a program is complete.
        let for_people = !context.json && (on_terminal || format == Format::Table);
        request.limit = Some(if for_people { DEFAULT_LIMIT } else { 0 });
    }
    if let Some(zone) = &args.timezone {
        let zone = zone::named("--timezone", zone)?;
        for (flag, time) in [("--since", &mut request.since), ("--until", &mut request.until)] {
            *time = time.as_deref().map(|text| zone::in_zone(flag, text, &zone)).transpose()?;
        }
    }
    let plain = request.clone();
    if args.has_sparkline(on_terminal && format == Format::Table && !context.json) {
        over_time(&mut request);
    }
    let mut question = request.question(SystemClock.now())?;
    if args.sparkline && !context.json && format == Format::Csv {
        return Err(CliError::usage(
            "--sparkline excludes --format csv, whose groups are one column",
        ));
    }
    if context.json && (args.follow || args.format.is_some() || !columns.is_empty()) {
        return Err(CliError::usage(
            "--json prints one document, so it excludes --format, --fields and --follow",
        ));
    }
    if format == Format::Ocsf && (is_counted || !columns.is_empty()) {
        return Err(CliError::usage(
            "--format ocsf prints records whole, so it excludes --count, --group-by, --histogram \
             and --fields",
        ));
    }
    let settings = context.settings(&[])?;
    if let Some(source) = &args.redacted_value {
        let place = (source.as_path(), args.redacted_in.as_deref());
        request = redacted::asked(context, &settings, request, place)?;
        question = request.question(SystemClock.now())?;
    }
    let mut asker = Asker::open(&settings, args.direct)?;
    let chosen = !columns.is_empty();
    let columns = if chosen { columns } else { Column::defaults() };
    let mut output = Output { context, format, columns, chosen, begun: false };
    if args.follow {
        return follow::run(&mut asker, &settings, args, &question, &mut output);
    }
    if context.json {
        return document(&mut asker, &settings, &question, context);
    }
    let begun = std::time::Instant::now();
    let mut total: Option<Answer> = None;
    let mut next = None;
    // Later pages mean the same times.
    let mut rest = Some(question.query.clone());
    while let Some(page) = rest.take() {
        let asked = question.about(page);
        let answer = match asker.ask(&asked) {
            // A collector of an older version; nobody has asked for lines over time.
            Err(error) if error.kind == "usage" && !args.sparkline && request != plain => {
                request.clone_from(&plain);
                question = request.question(SystemClock.now())?;
                rest = Some(question.query.clone());
                continue;
            }
            answer => answer?,
        };
        let page = &asked.query;
        output.print(&answer, page, args.top)?;
        next = answer.next(page);
        rest = answer.rest(page);
        total = Some(sum(total, answer));
    }
    let Some(total) = total else { return Ok(0) };
    output.end(&total)?;
    if args.explain {
        let taken = begun.elapsed();
        let text = ui::query_explained(&total, asker.way(), taken);
        context.printer.error(&text);
    }
    if let Some((from, to)) = next {
        let limit = match (&question.query.want, args.limit) {
            (Want::Records { limit, .. }, None) => format!(
                "{} shown, and there are more: --limit 0 shows all of them",
                count(*limit, "record")
            ),
            (_, limit) => format!("--limit {} reached, and there are more", limit.unwrap_or(0)),
        };
        context.printer.note(&format!("auditctl: {limit}; to continue, add --seq {from}..{to}"));
    }
    Ok(tell(context, &total, &settings))
}

/// One JSON document, whatever was asked. Records only up to `max_memory_events`.
fn document(
    asker: &mut Asker,
    settings: &Settings,
    question: &Question,
    context: &Context,
) -> Result<u8, CliError> {
    let most = settings.max_memory_events;
    let mut records: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    let mut total: Option<Answer> = None;
    let mut rest = Some(question.query.clone());
    let mut cut = false;
    while let Some(page) = rest.take() {
        let asked = question.about(page);
        let answer = asker.ask(&asked)?;
        rest = answer.rest(&asked.query);
        for line in answer.lines().into_iter().flat_map(|lines| lines.iter()) {
            cut = records.len() == most || bytes >= DOCUMENT_BYTES;
            if cut {
                break;
            }
            bytes += line.len();
            records.push(line.to_vec());
        }
        cut |= rest.is_some() && (records.len() == most || bytes >= DOCUMENT_BYTES);
        if cut {
            rest = None;
        }
        total = Some(sum(total, answer));
    }
    let Some(mut total) = total else { return Ok(0) };
    if total.lines().is_some() {
        total.found = Found::Records(records.iter().map(|line| &line[..]).collect());
    }
    total.more |= cut;
    let text = total
        .to_json(question)
        .map_err(|error| CliError::new("internal", Exit::Failed, error.to_string()))?;
    context.print(&text)?;
    if let (true, Some((from, to))) = (cut, total.next(&question.query)) {
        context.printer.error(&format!(
            "auditctl: partial: one document holds at most {most} records (max_memory_events) of \
             {}, and there are more. To continue, add --seq {from}..{to}; or use --format ndjson, \
             which has no such limit",
            human_bytes(DOCUMENT_BYTES as u64)
        ));
    }
    Ok(tell(context, &total, settings))
}

/// What all pages together took; the records themselves are not kept.
fn sum(total: Option<Answer>, page: Answer) -> Answer {
    let Some(mut total) = total else { return page };
    total.more = page.more;
    total.pruned = total.pruned.or(page.pruned);
    total.missing = total.missing.or(page.missing);
    total.unreadable += page.unreadable;
    total.damaged.extend(page.damaged);
    for hole in page.given_up {
        if !total.given_up.contains(&hole) {
            total.given_up.push(hole);
        }
    }
    total.effort.add(&page.effort);
    total
}

/// The records of one document take at most so many bytes, and the last one.
const DOCUMENT_BYTES: usize = 64 << 20;

/// The records that `--follow` begins with, unless said otherwise.
const FOLLOW_BEGINS_WITH: u64 = 10;

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_page_about_queries_names_every_format() {
        const PAGE: &str = include_str!("../../../docs/queries.md");
        let names: Vec<_> = Format::value_variants()
            .iter()
            .filter_map(|format| Some(format.to_possible_value()?.get_name().to_owned()))
            .collect();
        let named = format!("`--format {}`", names.join("|"));
        assert!(PAGE.contains(&named), "docs/queries.md does not say {named}");
    }
}
