//! Many callers in one process that each wait for their own event.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use auditctl::audit::{AuditLog, Event, Options};

use crate::support::{Dir, Moments, open, options, records};

const CALLERS: u64 = 64;
/// Where the process that is killed has its log.
const LOG: &str = "AUDITCTL_TEST_CALLERS";

/// The process that is killed: says what is acknowledged as soon as it is.
#[test]
#[ignore = "another test runs it in a process of its own"]
fn the_process_of_64_callers() {
    let Ok(dir) = std::env::var(LOG) else { return };
    let options = Options { max_segment_size: 256 << 10, ..Options::new(Path::new(&dir)) };
    let log = AuditLog::open(Options { rate_limit: None, ..options }).expect("opened");
    let told = Mutex::new(std::io::stderr());
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (log, told) = (&log, &told);
            scope.spawn(move || {
                for n in 0.. {
                    let name = format!("{caller}-{n}-{}", std::process::id());
                    let event = Event::new("called").actor(name.as_str());
                    let seq = log.record(event).expect("accepted").wait().expect("durable");
                    let line = format!("acknowledged {name} {seq}\n");
                    told.lock().expect("lock").write_all(line.as_bytes()).expect("told");
                }
            });
        }
    });
}

#[test]
fn p1_what_64_waiting_callers_were_told_survives_kill_nine_at_any_moment() {
    let dir = Dir::new();
    let mut moments = Moments::up_to(Duration::from_millis(300), 19);
    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    for _ in 0..12 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["callers::the_process_of_64_callers", "--exact", "--ignored", "--nocapture"])
            .env(LOG, dir.log())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        let (tell, told) = crossbeam_channel::bounded(1);
        let reader = std::thread::spawn(move || {
            let mut found = Vec::new();
            for line in lines.lines().map_while(Result::ok) {
                let _ = tell.try_send(());
                found.push(line);
            }
            found
        });
        // It has begun.
        told.recv_timeout(Duration::from_secs(60)).expect("something is acknowledged");
        std::thread::sleep(moments.next());
        child.kill().expect("killed");
        child.wait().expect("ended");
        moments.happened(true);
        for line in reader.join().expect("read") {
            // The last line may be cut off, with all of its words or not.
            let words: Vec<&str> = line.split(' ').collect();
            if let ["acknowledged", name, seq] = words[..]
                && let Ok(seq) = seq.parse::<u64>()
            {
                acknowledged.insert(name.to_owned(), seq);
            }
        }
    }
    open(options(&dir)).close().expect("closed");
    let mut stored: HashMap<String, Vec<u64>> = HashMap::new();
    for (seq, record) in records(&dir.log()) {
        if record["event_type"] == "called" {
            let name = record["actor"].as_str().expect("a name").to_owned();
            stored.entry(name).or_default().push(seq);
        }
    }
    assert!(acknowledged.len() > 500, "{} were acknowledged", acknowledged.len());
    let lost = acknowledged.iter().find(|(name, _)| !stored.contains_key(*name));
    assert_eq!(lost, None);
    assert!(stored.values().all(|seqs| seqs.len() == 1), "one is there twice");
    // A line that was cut off in its number is a smaller one.
    let wrong = acknowledged
        .iter()
        .filter(|(name, seq)| !stored[*name][0].to_string().starts_with(&seq.to_string()))
        .count();
    assert_eq!(wrong, 0, "each caller was told its own record");
}
