//! Asks a log that another process is writing. Nothing is locked, and the writer never waits.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use auditctl::query::{Found, Reader, Request};
use auditctl::{AuditLog, Event, Options, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    // The example starts itself as the writer.
    match env::args().nth(1) {
        Some(dir) => write(Path::new(&dir)),
        None => read(),
    }
}

/// The other process: records, says so, and keeps the log open until it is told to end.
fn write(dir: &Path) -> Result<(), Box<dyn Error>> {
    let log = AuditLog::open(Options::new(dir))?;
    for number in 0..20 {
        let actor = if number % 4 == 0 { "alice" } else { "bob" };
        log.record(Event::new("login").actor(actor).outcome("success"))?.wait()?;
    }
    println!("recorded");
    io::stdin().lock().read_line(&mut String::new())?;
    Ok(log.close()?)
}

fn read() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let dir = place.path().join("logs");
    let mut writer = Command::new(env::current_exe()?)
        .arg(&dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = writer.stdout.take().ok_or("the writer has an output")?;
    BufReader::new(said).read_line(&mut String::new())?;

    let mut reader = Reader::at(&dir)?;
    let mut request = Request::default();
    request.event_type = vec!["login".to_owned()];
    request.actor = vec!["alice".to_owned()];
    request.since = Some("1h".to_owned());
    let answer = reader.query(&request.resolve(Timestamp::now())?)?;
    for line in answer.lines().into_iter().flat_map(|lines| lines.iter()) {
        println!("{}", String::from_utf8_lossy(line)); // as it is stored, byte for byte
    }
    assert_eq!(answer.lines().map(|lines| lines.len()), Some(5));
    // An answer says what it lacks: a limit that it reached, what retention removed.
    assert!(!answer.more && answer.pruned.is_none() && answer.missing.is_none());

    request.count = true;
    request.actor.clear();
    reader.refresh()?; // looks again: later records are in the answer
    let answer = reader.query(&request.resolve(Timestamp::now())?)?;
    assert_eq!(answer.found, Found::Count(20));

    drop(writer.stdin.take()); // it ends
    assert!(writer.wait()?.success());
    println!("20 logins, 5 of them alice's, while the writer had the log open");
    Ok(())
}
