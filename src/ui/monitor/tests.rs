//! The screen in every state and size, and the screens in the documents.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::history::History;
use super::layout::lines;
use super::live::{Live, View};
use super::monitor_text;
use super::pieces::{Line, columns};
use super::screen::Screen;
use crate::audit::state::security::{By, SecurityKind};
use crate::audit::state::status::{Activity, DiskStage, Ring, Word, WriterState};
use crate::clock::{Clock, Timestamp};
use crate::fsio::{Fs, OpenMode, Space};
use crate::health::Problem;
use crate::health::samples::{self, delivering, every_state};
use crate::health::tests::problems;
use crate::monitor::{Newest, Sample, sample};

fn of(page: &samples::Sample) -> Sample {
    page.publish();
    sample(&page.settings, &page.fs, &page.clock)
}

/// A busy hour.
fn busy() -> samples::Sample {
    let page = samples::Sample::running();
    let now = page.clock.now();
    for second in 1..=60_i64 {
        let at = Timestamp::from_micros(now.micros() - second * 1_000_000);
        let wave = ((second as f64 / 6.0).sin() + 1.2) * 900.0;
        page.page().count(Ring::Events, at, wave as u64);
    }
    for (word, value) in [
        (Word::Accepted, 4_812_345),
        (Word::NextSeq, 4_812_399),
        (Word::CheckpointSize, 4_812_399),
        (Word::BufferEvents, 118),
        (Word::CacheEntries, 97),
        (Word::CacheHits, 1_311),
        (Word::CacheMisses, 102),
        (Word::RateLimited, 5_120),
        (Word::ActiveSources, 37),
        (Word::LogBytes, 1_288_490_188),
        (Word::ActiveBytes, 31_457_280),
        (Word::SealedRawBytes, 10_737_418_240),
        (Word::BytesWritten, 447_392_426),
        (Word::Segments, 24),
        (Word::Syncs, 41_200),
        (Word::SyncMicrosSum, 32_960_000),
        (Word::SyncMicrosMax, 46_100),
        (Word::DiskAvailable, 59_055_800_320),
        (Word::DiskTotal, 107_374_182_400),
    ] {
        page.set(word, value);
    }
    let active = crate::fsio::OsFs.open(&page.paths().active(), OpenMode::Write).expect("there");
    active.set_len(31_457_280).expect("as long as the page says");
    page.set(Word::OldestWaitingAt, (now.micros() - 12_000) as u64);
    page.page().top_blocked(None, "billing", 4_001);
    page.page().count(Ring::Blocked, now, 620);
    for _ in 0..7 {
        page.page().count_security(SecurityKind::Validation, By::Known, now);
    }
    page.page().count_security(SecurityKind::Oversize, By::Known, now);
    page
}

/// One with a fixed place, as the directory of a test is another in every run.
fn at_home(mut sample: Sample) -> Sample {
    let home = sample.audit_file.parent().expect("a directory").display().to_string();
    for finding in &mut sample.findings {
        finding.hint = finding.hint.as_ref().map(|hint| hint.replace(&home, "logs"));
    }
    sample.audit_file = "logs/audit.log".into();
    sample
}

fn text(line: &Line) -> String {
    line.pieces.iter().map(|piece| piece.text.as_str()).collect()
}

fn every_sample() -> Vec<Sample> {
    let mut all: Vec<Sample> = every_state().iter().map(|(_, page)| of(page)).collect();
    all.push(of(&busy()));
    all.push(of(&delivering(|status, _| status.alerts[0].queued = u64::MAX)));
    let hostile = busy();
    hostile.page().top_blocked(None, "a\u{1b}[2J\u{202e}\n漢字漢字漢字漢字漢字漢字", u64::MAX);
    for word in [Word::Accepted, Word::NextSeq, Word::LogBytes, Word::SyncMicrosMax, Word::Syncs] {
        hostile.set(word, u64::MAX);
    }
    all.push(of(&hostile));
    all
}

#[test]
fn no_line_is_wider_and_no_screen_higher_than_the_terminal() {
    for sample in every_sample() {
        for (width, rows) in [(200, 50), (80, 24), (60, 20), (59, 15), (40, 9), (40, 3), (23, 5)] {
            for ascii in [false, true] {
                let found = lines(&sample, &Screen { columns: width, rows: Some(rows), ascii });
                assert!(found.len() <= rows, "{rows}");
                for line in &found {
                    let text = text(line);
                    assert!(columns(&text) <= width, "{width}: {text:?}");
                    assert!(!text.contains(char::is_control), "{text:?}");
                    assert!(!ascii || text.is_ascii() || text.contains('漢'), "{text:?}");
                }
            }
        }
    }
}

#[test]
fn a_small_screen_keeps_the_state_the_worst_and_the_rate() {
    let page = busy();
    page.state(WriterState::DiskFull);
    page.set(Word::DiskStage, DiskStage::Full as u64);
    let found = lines(&of(&page), &Screen { columns: 40, rows: Some(9), ascii: false });
    let all: Vec<String> = found.iter().map(text).collect();
    assert!(all[0].ends_with("CRITICAL"), "{all:?}");
    assert!(all[1].starts_with("worker_thread.disk_full: disk full"), "{all:?}");
    assert!(all.iter().any(|line| line.starts_with("events ")), "{all:?}");
    assert!(all.iter().any(|line| line.starts_with("buffer ")), "{all:?}");
}

#[test]
fn what_is_printed_has_no_control_codes_and_says_states_in_words() {
    for sample in every_sample() {
        let printed = monitor_text(&sample, false, false);
        assert!(!printed.contains('\u{1b}'), "{printed}");
        assert!(printed.contains(&sample.status.as_str().to_uppercase()), "{printed}");
        assert!(printed.lines().all(|line| line == line.trim_end()), "{printed}");
    }
    assert!(monitor_text(&of(&busy()), false, true).contains("\u{1b}["), "coloured when asked for");
}

/// C17: what is shown leads out.
#[test]
fn whatever_the_problem_is_the_screen_has_its_code_and_what_to_do() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for problem in Problem::ALL {
        if problems::cannot_be_had(*problem) {
            continue;
        }
        let sample = of(&problems::with(*problem));
        let found = sample.findings.iter().find(|found| found.code == Some(problem.code()));
        let found = found.unwrap_or_else(|| panic!("{problem:?}: {:?}", sample.findings));
        let hint = found.hint.clone().unwrap_or_else(|| panic!("{problem:?} has no hint"));
        let printed = monitor_text(&sample, false, false);
        let screen = Screen { columns: 160, rows: Some(50), ascii: false };
        let large: Vec<String> = lines(&sample, &screen).iter().map(text).collect();
        for shown in [printed, large.join("\n")] {
            assert!(shown.contains(&format!("{}: ", problem.code())), "{problem:?}\n{shown}");
            // A path is longer than a line and may be broken anywhere.
            let broken = |text: &str| words(text).replace(' ', "");
            assert!(broken(&shown).contains(&broken(&hint)), "{problem:?}: {hint}\n{shown}");
        }
        // On 80 columns and 24 lines at least the worst of them has both.
        let worst = &sample.findings[0];
        let screen = Screen { columns: 80, rows: Some(23), ascii: false };
        let small: Vec<String> = lines(&sample, &screen).iter().map(text).collect();
        let small = small.join("\n");
        assert!(small.contains(worst.code.expect("a code")), "{problem:?}\n{small}");
        assert!(small.contains("\n    -> "), "{problem:?}\n{small}");
    }
}

/// C17: there is more to show than fits 80 by 24, and a large terminal shows it.
#[test]
fn a_large_terminal_is_not_left_half_empty() {
    for (columns, rows) in [(120, 40), (200, 50), (160, 60), (132, 43)] {
        for sample in [of(&busy()), of(&samples::Sample::running())] {
            let screen = Screen { columns, rows: Some(rows), ascii: false };
            let all: Vec<String> = lines(&sample, &screen).iter().map(text).collect();
            assert_eq!(all.len(), rows, "{all:#?}");
            let widest = all.iter().map(|line| super::pieces::columns(line)).max();
            assert!(widest.is_some_and(|widest| widest * 10 >= columns * 7), "{all:#?}");
            assert!(all.iter().any(|line| line.starts_with("healthy  integrity ")), "{all:#?}");
        }
    }
}

#[test]
fn alerts_have_a_line_where_they_are_set() {
    let line = |sample: &Sample| {
        let text = monitor_text(sample, false, false);
        text.lines().find(|line| line.starts_with("alerts ")).map(str::to_owned)
    };
    assert_eq!(line(&of(&busy())), None);
    let page = delivering(|status, _| {
        let alert = &mut status.alerts[0];
        (alert.queued, alert.delivered, alert.failed) = (2, 1_234, 1);
    });
    let all = "alerts      2 queued  1,234 delivered  1 failed";
    assert_eq!(line(&of(&page)).as_deref(), Some(all));
    let nobody = delivering(|status, _| status.pid = 1);
    let none = "alerts      no collector is delivering them";
    assert_eq!(line(&of(&nobody)).as_deref(), Some(none));
    let narrow = lines(&of(&page), &Screen { columns: 40, rows: Some(50), ascii: true });
    assert!(narrow.iter().map(text).any(|line| line.starts_with("alerts 2 queued  1,234")));
}

fn view_of(sample: &Sample, ascii: bool, color: bool) -> View {
    let seconds = std::time::Duration::from_secs;
    let mut view = View::new(Live { refresh: seconds(2), deadline: seconds(8), ascii, color });
    view.take(sample.clone());
    view
}

fn drawn(view: &mut View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
    terminal.draw(|frame| view.draw(frame)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn press(view: &mut View, code: KeyCode) {
    let key = KeyEvent::new(code, KeyModifiers::NONE);
    if view.keys.press(key) == super::keys::Deed::Pause {
        view.pause();
    }
}

/// Records and refusals that try to break a screen.
fn hostile_newest(now: Timestamp) -> Newest {
    let record = |nth: u64| {
        let text = "漢\u{1b}[2J\u{202e}e\u{301}".repeat(nth as usize % 700);
        serde_json::json!({
            "seq": u64::MAX - nth, "timestamp": now.to_string(), "event_type": text, "actor": text,
            "source": text, "target": text, "outcome": text, "details": { "x": text }, "origin": {},
        })
    };
    let mut newest = Newest { at: now, about: (0, u64::MAX), ..Newest::default() };
    newest.records = (0..20).map(|nth| record(33 * nth).to_string().into_bytes()).collect();
    newest.records.push(b"no record \xff\x1b".to_vec());
    let refusal = serde_json::json!({
        "timestamp": now.to_string(), "kind": "hostile_peer\u{1b}[2J", "source": "a\u{202e}漢",
        "detail": "漢\u{1b}".repeat(300), "count": u64::MAX,
    });
    newest.refusals = vec![serde_json::from_value(refusal).expect("a refusal"); 9];
    newest
}

#[test]
fn the_live_view_fills_the_screen_and_ends_in_the_help_line() {
    for (width, height) in [(80, 24), (40, 10), (20, 4), (5, 1)] {
        let all = drawn(&mut view_of(&of(&busy()), false, true), width, height);
        let last = all.last().expect("a line");
        let help = if width < 60 { "q quit   every 2 s" } else { last };
        assert!(help.starts_with(last.trim_end_matches('…')), "{last:?}");
        assert!(width < 60 || last.starts_with("q quit   ? keys"), "{last:?}");
        assert!(width < 80 || last.ends_with("every 2 s"), "{last:?}");
    }
}

#[test]
fn a_screen_of_the_usual_size_shows_what_is_printed_and_its_tabs() {
    let sample = of(&busy());
    let all = drawn(&mut view_of(&sample, false, false), 80, 24);
    for line in monitor_text(&sample, false, false).lines().take(3) {
        assert!(all.iter().any(|shown| shown == line), "{line}\n{all:#?}");
    }
    let tabs = "[1 now]  2 records   3 findings   4 storage";
    assert!(all[23].contains(tabs), "{:?}", all[23]);
}

#[test]
fn a_large_screen_has_charts_numbers_and_the_newest_records() {
    let page = busy();
    let mut view = view_of(&of(&page), false, false);
    // Another sample, with syncs in between.
    page.clock.advance(std::time::Duration::from_secs(2));
    page.set(Word::Syncs, 41_300);
    page.set(Word::SyncMicrosSum, 32_960_000 + 100 * 2_500);
    view.take(of(&page));
    let mut newest = Newest { about: (0, 40), ..Newest::default() };
    let record = |seq: u64| {
        let event_type = if seq == 39 { "logout" } else { "login" };
        format!(
            r#"{{"seq":{seq},"timestamp":"2026-02-04T21:09:{seq:02}.000000Z","event_type":"{event_type}","actor":"alice","origin":{{}}}}"#
        )
    };
    newest.records = (0..40).rev().map(|seq| record(seq).into_bytes()).collect();
    view.take_newest(newest);
    for (width, height) in [(120, 40), (200, 60)] {
        let all = drawn(&mut view, width, height);
        let shown = all.join("\n");
        for part in [
            "events a second: ",
            "sync, on average: 2.5 ms, at most 2.5 ms",
            "newest records, of 40 in the log",
            "buffer      [",
            "healthy  integrity",
            "now",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        let at = |part: &str| all.iter().position(|line| line.contains(part));
        assert!(at("logout") < at("login"), "{shown}");
        let braille = |char: char| ('\u{2801}'..='\u{28ff}').contains(&char);
        assert!(shown.chars().filter(|char| braille(*char)).count() > 60, "{shown}");
        let used = all.iter().filter(|line| !line.is_empty()).count();
        assert!(used * 10 >= usize::from(height) * 8, "{used} of {height}\n{shown}");
    }
    let all = drawn(&mut view_of(&of(&page), true, false), 120, 40).join("\n");
    assert!(all.is_ascii(), "{all}");
    assert!(all.contains("now") && all.contains('#'), "{all}");
}

/// Every tab, of every state, with hostile records, on screens of every size.
#[test]
fn no_screen_breaks_whatever_its_size_and_whatever_is_in_it() {
    let sizes =
        [(1, 1), (7, 2), (40, 12), (59, 9), (80, 24), (100, 31), (120, 40), (200, 60), (319, 90)];
    for (nth, sample) in every_sample().iter().enumerate() {
        // Each state on some sizes, each size with some states.
        for (width, height) in sizes.into_iter().skip(nth % 4).step_by(4) {
            let ascii = nth % 2 == 0;
            let mut view = view_of(sample, ascii, true);
            view.take_newest(hostile_newest(sample.timestamp));
            for code in ['1', '2', '3', '4', '?', 'p'].map(KeyCode::Char) {
                press(&mut view, code);
                press(&mut view, KeyCode::End);
                let all = drawn(&mut view, width, height).join("\n");
                assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{all:?}");
                assert!(!all.contains('\u{202e}'), "{all:?}");
            }
        }
    }
}

#[test]
fn each_tab_shows_what_it_is_for_and_the_keys_are_one_key_away() {
    let page = busy();
    page.state(WriterState::DiskFull);
    page.set(Word::DiskStage, DiskStage::Full as u64);
    let sample = of(&page);
    let mut view = view_of(&sample, false, false);
    view.take_newest(hostile_newest(sample.timestamp));
    let mut shows = |key: char, parts: &[&str]| {
        press(&mut view, KeyCode::Char(key));
        let all = drawn(&mut view, 80, 24).join("\n");
        parts.iter().for_each(|part| assert!(all.contains(part), "{key} {part}\n{all}"));
    };
    shows('2', &["newest records", "SEQ", "refusals and security events", "rate_limited 5,120"]);
    shows('3', &["worker_thread.disk_full", "    -> ", "[3 findings]"]);
    shows('4', &["log ", "disk ", "no backups are known here", "ids: "]);
    shows('?', &["keys", "pause", "filter"]);
    shows('1', &["events ", "[1 now]"]);
}

#[test]
fn what_is_paused_stays_as_it_was_and_then_goes_on_with_the_newest() {
    let page = busy();
    let mut view = view_of(&of(&page), false, false);
    press(&mut view, KeyCode::Char('p'));
    page.set(Word::Accepted, 9_999_999);
    view.take(of(&page));
    view.paused_for = Some(3);
    let all = drawn(&mut view, 80, 24).join("\n");
    assert!(all.starts_with("PAUSED for 3 s: p goes on"), "{all}");
    assert!(all.contains("4,812,345") && !all.contains("9,999,999"), "{all}");
    press(&mut view, KeyCode::Char(' '));
    view.paused_for = None;
    let all = drawn(&mut view, 80, 24).join("\n");
    assert!(all.contains("9,999,999") && !all.contains("PAUSED"), "{all}");
}

/// What a chart shows is what was counted, and nothing is made up where nobody looked.
#[test]
fn the_history_has_each_second_once_and_the_syncs_between_two_looks() {
    let page = samples::Sample::running();
    let now = page.clock.now();
    let second = |ago: i64| Timestamp::from_micros(now.micros() - ago * 1_000_000);
    page.page().count(Ring::Events, second(60), 7);
    page.page().count(Ring::Events, second(1), 9);
    page.set(Word::Syncs, 10);
    page.set(Word::SyncMicrosSum, 10_000);
    let mut history = History::default();
    history.add(&of(&page));
    history.add(&of(&page));
    let until = now.unix_seconds();
    let events = |history: &History, until: i64| {
        history.points((until, 3_600), |second| second.events.map(|events| events as f64))
    };
    let all = events(&history, until);
    assert_eq!((all.len(), all[0], all[59]), (60, (-60.0, 7.0), (-1.0, 9.0)));
    let syncs = |history: &History, until| history.points((until, 3_600), |it| it.sync_ms);
    assert_eq!(syncs(&history, until), [], "none since the first look");
    page.clock.advance(std::time::Duration::from_secs(2));
    page.set(Word::Syncs, 14);
    page.set(Word::SyncMicrosSum, 10_000 + 4 * 2_500);
    history.add(&of(&page));
    let found = syncs(&history, until + 2);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|(_, ms)| (ms - 2.5).abs() < 1e-6), "{found:?}");
    // Nobody looked for three minutes: two of them nobody knows.
    page.clock.advance(std::time::Duration::from_secs(180));
    history.add(&of(&page));
    assert_eq!(events(&history, until + 182).len(), 60 + 2 + 60);
    // A clock that was set back begins anew.
    let (mut back, far) = (of(&page), 3_600 * 1_000_000);
    back.timestamp = Timestamp::from_micros(back.timestamp.micros() - far);
    history.add(&back);
    assert_eq!(events(&history, back.timestamp.unix_seconds()).len(), 60);
}

#[test]
fn a_filter_is_shown_while_it_is_typed_and_while_it_holds() {
    let mut view = view_of(&of(&busy()), false, false);
    press(&mut view, KeyCode::Char('/'));
    "actor=alice".chars().for_each(|char| press(&mut view, KeyCode::Char(char)));
    let all = drawn(&mut view, 80, 24);
    assert_eq!(all[23], "filter: actor=alice_");
    press(&mut view, KeyCode::Enter);
    let all = drawn(&mut view, 80, 24);
    assert!(all[0].starts_with("newest records with \"actor=alice\""), "{:?}", all[0]);
    assert!(all[1].starts_with("none; only the newest 20,000 are looked through"), "{:?}", all[1]);
}

/// The screens in the documents are what the program shows.
#[test]
fn the_screens_in_the_documents_are_the_programs() {
    let mut full = busy();
    full.fs.space = Some(Space { total: 107_374_182_400, available: 0, ..Space::default() });
    full.state(WriterState::DiskFull);
    full.set(Word::DiskStage, DiskStage::Full as u64);
    full.set(Word::DiskAvailable, 0);
    full.set(Word::Unavailable, 8_211);
    let died = busy().unlocked();
    died.clock.advance(std::time::Duration::from_secs(190));
    let hung = busy().silent_in(Activity::Syncing, 7);
    let screens = [
        ("monitor.txt", at_home(of(&busy())), false),
        ("monitor-ascii.txt", at_home(of(&busy())), true),
        ("monitor-disk-full.txt", at_home(of(&full)), false),
        ("monitor-hung.txt", at_home(of(&hung)), false),
        ("monitor-died.txt", at_home(of(&died)), false),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screens");
    for (name, sample, ascii) in screens {
        let path = folder.join(name);
        let shown = monitor_text(&sample, ascii, false);
        if std::env::var_os("UPDATE_SCREENS").is_some() {
            std::fs::create_dir_all(&folder).expect("directory");
            std::fs::write(&path, &shown).expect("written");
        }
        let documented = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(documented, shown, "{name}: run again with UPDATE_SCREENS=1 if this is meant");
    }
}
