//! Where events go: the collector's socket, or the log itself.

use std::time::Duration;

use crate::audit::status::Mode;
use crate::audit::{AuditLog, Batch, Origin, ParseMode, RecordError, Session, Via};
use crate::cli::exit::CliError;
use crate::cli::{heads, open, reach};
use crate::collector::client::{Answer, Client, ClientError};
use crate::config::Settings;

/// Where events go.
pub(super) enum Sink {
    /// The collector, and whether it limits no rate.
    Socket(Client, bool),
    Direct(Box<Direct>),
}

/// The log, opened by this process.
pub(super) struct Direct {
    log: AuditLog,
    session: Session,
    mode: ParseMode,
}

impl Sink {
    /// The collector if one runs, else the log. An import is not rate-limited
    /// where that is granted.
    pub(super) fn open(settings: &Settings, import: bool, lenient: bool) -> Result<Self, CliError> {
        match reach::collector(settings) {
            Ok(mut client) => {
                let exempt = import && client.import(lenient)?;
                if !import && lenient {
                    client.lenient()?;
                }
                Ok(Self::Socket(client, exempt))
            }
            Err(ClientError::NotRunning { .. }) => Self::direct(settings, import, lenient),
            Err(error) => Err(error.into()),
        }
    }

    fn direct(settings: &Settings, import: bool, lenient: bool) -> Result<Self, CliError> {
        let log = AuditLog::open(heads::noted(open::options(settings, Mode::Record), settings))?;
        let origin = Origin { import, ..Origin::here(Via::Direct) };
        let session = log.session(&origin, import);
        let mode = if lenient { ParseMode::Lenient } else { ParseMode::Strict };
        Ok(Self::Direct(Box::new(Direct { log, session, mode })))
    }

    /// Whether nothing is refused for its rate.
    pub(super) fn is_exempt(&self) -> bool {
        !matches!(self, Self::Socket(_, false))
    }

    /// Sends events and returns what became of each, in order.
    pub(super) fn send(&mut self, lines: &[&[u8]]) -> Result<Vec<Answer>, CliError> {
        match self {
            Self::Socket(client, _) => Ok(client.send(lines)?),
            Self::Direct(direct) => direct.send(lines),
        }
    }

    /// Ends it; a log opened here is closed cleanly.
    pub(super) fn close(self) -> Result<(), CliError> {
        match self {
            Self::Socket(..) => Ok(()),
            Self::Direct(direct) => Ok(direct.log.close()?),
        }
    }
}

impl Direct {
    fn send(&mut self, lines: &[&[u8]]) -> Result<Vec<Answer>, CliError> {
        let mut batch = Batch::new();
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(lines.len());
        for line in lines {
            answers.push(self.session.prepare(line, self.mode, &mut batch).err().map(answer));
        }
        let mut open =
            (0..answers.len()).filter(|index| answers[*index].is_none()).collect::<Vec<_>>();
        let mut seqs = Vec::with_capacity(open.len());
        while !batch.is_empty() {
            match self.log.try_submit(&mut batch) {
                Ok(taken) => {
                    seqs.extend(taken.first_seq..taken.first_seq + taken.count as u64);
                    self.log.request_ack(taken.first_seq + taken.count as u64);
                    if taken.count == 0 {
                        let _ =
                            self.log.wait_progress(self.log.acked_seq(), Duration::from_millis(50));
                    }
                }
                Err(error) => {
                    for index in open.split_off(seqs.len()) {
                        answers[index] = Some(answer(error.clone()));
                    }
                    batch.clear();
                }
            }
        }
        let waited = self.wait_for(seqs.last().copied());
        for (index, seq) in open.into_iter().zip(seqs) {
            answers[index] = Some(match &waited {
                Err(error) if self.log.acked_seq() <= seq => answer(error.clone()),
                _ => Answer::Recorded(seq),
            });
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn wait_for(&self, last: Option<u64>) -> Result<(), RecordError> {
        let Some(last) = last else { return Ok(()) };
        while self.log.acked_seq() <= last {
            let progress = self.log.wait_progress(last, Duration::from_secs(1));
            if let Some(trouble) = progress.trouble.filter(|_| progress.acked_seq <= last) {
                return Err(trouble);
            }
        }
        Ok(())
    }
}

fn answer(error: RecordError) -> Answer {
    Answer::Refused {
        kind: error.kind().to_owned(),
        message: error.to_string(),
        retry_after: error.retry_after(),
    }
}
