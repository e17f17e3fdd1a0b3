//! The program and a reader that shares no code with it, on the same damaged files: they
//! have to come to the same verdict. What they may differ in is listed here, with why.
//!
//! `DIFFERENTIAL_ROUNDS=5000 cargo test --test it differential` looks further, and
//! `DIFFERENTIAL_SEED` begins elsewhere.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::backups::{names, read};
use crate::disk::Random;
use crate::vectors::{Case, cases};

/// Kinds of vectors that both judge whole.
const KINDS: &[&str] = &["log", "checkpoint", "proof", "backup", "archive", "drill"];

/// What is not judged by both.
fn is_judged(name: &str) -> bool {
    // The private key is nobody's to check. Filters are an index that only `verify` in full
    // compares; the other reader's `filter` vectors have their layout.
    !name.ends_with(".filter") && !name.ends_with("audit.key") && !name.ends_with("identity")
}

struct Reader {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_vectors.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg("--ask")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let questions = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, questions, answers }
    }

    /// The verdict, and why.
    fn ask(&mut self, case: &Case) -> (String, String) {
        let mut question = case.about.clone();
        question["directory"] = case.home.to_str().expect("text").into();
        writeln!(self.questions, "{question}").expect("asked");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        assert!(line.ends_with('\n'), "{}: it ended", case.name());
        let (verdict, why) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        (verdict.to_owned(), why.to_owned())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy of the vector's files in a directory of its own.
fn copied(case: &Case, to: &Path) -> Case {
    for member in ["path", "public_key", "keys"] {
        let Some(name) = case.text(member) else { continue };
        let from = case.home.join(name);
        let whole = if from.is_dir() {
            from.clone()
        } else {
            from.parent().expect("a directory").to_path_buf()
        };
        let inner = whole.strip_prefix(&case.home).expect("below");
        std::fs::create_dir_all(to.join(inner)).expect("directory");
        for file in names(&whole).iter().filter(|file| whole.join(file).is_file()) {
            std::fs::copy(whole.join(file), to.join(inner).join(file)).expect("copied");
        }
    }
    let mut about = case.about.clone();
    // Nothing is known of what it says now.
    for told in ["expect", "tree_size", "root_hash", "unsigned", "signed_text"] {
        about.as_object_mut().expect("an object").remove(told);
    }
    Case { about, home: to.to_path_buf() }
}

/// The files that a vector is of.
fn files(case: &Case) -> Vec<PathBuf> {
    let path = case.home.join(case.text("path").expect("a path"));
    if path.is_dir() {
        let judged = names(&path).into_iter().filter(|name| is_judged(name));
        return judged.map(|name| path.join(name)).collect();
    }
    let mut all = vec![path.clone()];
    if case.text("kind") == Some("backup") {
        let name = path.to_str().expect("text");
        let stem = name.trim_end_matches(".age").trim_end_matches(".gz");
        all.push(PathBuf::from(format!("{stem}.json")));
    }
    all.extend(case.text("keys").map(|keys| case.home.join(keys)));
    all
}

/// What was done, for the message.
fn mutate(rng: &mut Random, file: &Path, others: &[PathBuf]) -> String {
    let mut bytes = read(file);
    let what = match rng.below(9) {
        _ if bytes.is_empty() => {
            bytes.push(b'x');
            "a byte in an empty file".to_owned()
        }
        0 | 1 => {
            let (at, bit) = (rng.below(bytes.len()), rng.below(8));
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        }
        2 => {
            let at = rng.below(bytes.len());
            bytes.truncate(at);
            format!("cut at {at}")
        }
        3 => {
            let begin = rng.below(bytes.len());
            let end = begin + 1 + rng.below((bytes.len() - begin).min(200));
            let at = rng.below(bytes.len() + 1);
            let piece = bytes[begin..end].to_vec();
            bytes.splice(at..at, piece);
            format!("bytes {begin} to {end} once more at {at}")
        }
        4 => {
            let begin = rng.below(bytes.len());
            let end = begin + 1 + rng.below((bytes.len() - begin).min(200));
            bytes.drain(begin..end);
            format!("bytes {begin} to {end} left out")
        }
        5 => match lines(rng, &mut bytes) {
            Some(what) => what,
            None => return "nothing".to_owned(),
        },
        6 | 7 => match json(rng, &bytes) {
            Some((changed, what)) => {
                bytes = changed;
                what
            }
            None => return "nothing".to_owned(),
        },
        _ => {
            let Some(other) = one_of(rng, others) else { return "nothing".to_owned() };
            bytes = read(other);
            format!("in its place {}", other.display())
        }
    };
    std::fs::write(file, bytes).expect("written");
    what
}

/// A line is left out, stands twice, or changes its place with another one.
fn lines(rng: &mut Random, bytes: &mut Vec<u8>) -> Option<String> {
    let mut lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.len() < 3 {
        return None;
    }
    let (one, other) = (rng.below(lines.len()), rng.below(lines.len()));
    let what = match rng.below(3) {
        0 => {
            lines.remove(one);
            format!("without line {one}")
        }
        1 => {
            lines.insert(other, lines[one].clone());
            format!("line {one} once more before line {other}")
        }
        _ => {
            lines.swap(one, other);
            format!("lines {one} and {other} exchanged")
        }
    };
    *bytes = lines.concat();
    Some(what)
}

/// A value somewhere in a JSON file is another one, or is gone.
fn json(rng: &mut Random, bytes: &[u8]) -> Option<(Vec<u8>, String)> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    let mut places = Vec::new();
    pointers(&value, String::new(), &mut places);
    let place = one_of(rng, &places)?.clone();
    let what = if rng.below(6) == 0 {
        let (parent, last) = place.rsplit_once('/')?;
        match value.pointer_mut(parent)? {
            Value::Object(members) => drop(members.remove(&last.replace("~1", "/"))),
            Value::Array(items) => drop(items.remove(last.parse().ok()?)),
            _ => return None,
        }
        format!("without {place}")
    } else {
        let at = value.pointer_mut(&place)?;
        *at = other_than(rng, at);
        format!("{place} is {at}").chars().take(200).collect()
    };
    Some((value.to_string().into_bytes(), what))
}

/// Where there is a value within, as JSON pointers.
fn pointers(value: &Value, place: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                pointers(member, place, found);
            }
        }
        Value::Array(items) => {
            for (nth, item) in items.iter().enumerate() {
                pointers(item, format!("{place}/{nth}"), found);
            }
        }
        _ => {}
    }
    if !place.is_empty() {
        found.push(place);
    }
}

fn other_than(rng: &mut Random, value: &Value) -> Value {
    match (value, rng.below(6)) {
        (Value::Number(number), 0..4) => {
            let number = number.as_i64().unwrap_or(7);
            let others = [number.wrapping_add(1), number.wrapping_sub(1), 0, 2, -1, i64::MAX];
            others[rng.below(others.len())].into()
        }
        (Value::String(text), 0..4) => {
            let mut letters: Vec<char> = text.chars().collect();
            match (!letters.is_empty())
                .then(|| rng.below(letters.len()))
                .and_then(|at| letters.get_mut(at))
            {
                Some(letter) => *letter = ['0', 'a', 'F', ' ', 'é', '\n'][rng.below(6)],
                None => letters.push('x'),
            }
            letters.into_iter().collect::<String>().into()
        }
        (_, 4) => Value::Null,
        _ => {
            let others =
                [1.into(), true.into(), "x".into(), Value::Array(vec![]), serde_json::json!({})];
            one_of(rng, &others).cloned().unwrap_or_default()
        }
    }
}

fn one_of<'a, T>(rng: &mut Random, all: &'a [T]) -> Option<&'a T> {
    if all.is_empty() { None } else { all.get(rng.below(all.len())) }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn both_readers_come_to_the_same_verdict_on_damaged_files() {
    let all = cases();
    let judged: Vec<&Case> = all
        .iter()
        .filter(|case| case.text("kind").is_some_and(|kind| KINDS.contains(&kind)))
        // Only one of them can decrypt.
        .filter(|case| case.text("identity").is_none())
        .collect();
    let mut reader = Reader::start();
    let (rounds, seed) = (number("DIFFERENTIAL_ROUNDS", 250), number("DIFFERENTIAL_SEED", 13));
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    let mut differing = Vec::new();
    for round in 0..rounds {
        let mut rng = Random(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(round.wrapping_mul(0xbf58_476d_1ce4_e5b9))
                | 1,
        );
        let case = one_of(&mut rng, &judged).expect("a case");
        let dir = tempfile::tempdir().expect("directory");
        let copy = copied(case, dir.path());
        let mut done = Vec::new();
        for _ in 0..1 + rng.below(2) {
            let files = files(&copy);
            let file = one_of(&mut rng, &files).expect("a file");
            let name = file.file_name().expect("a name").to_str().expect("text").to_owned();
            let others: Vec<PathBuf> = judged
                .iter()
                .flat_map(|other| self::files(other))
                .filter(|other| other.file_name() == file.file_name())
                .collect();
            done.push(format!("{name}: {}", mutate(&mut rng, file, &others)));
        }
        let ours = copy.verdict();
        let (theirs, why) = reader.ask(&copy);
        *counts.entry(format!("{ours} {theirs}")).or_default() += 1;
        // Of what is damaged and of a newer format, the one may be seen first or the other.
        let either = ours != "ok" && theirs != "ok";
        if ours != theirs && !either {
            differing.push(format!(
                "round {round}, {}: {}\n    the program: {ours}, the reader: {theirs} ({why})",
                case.name(),
                done.join("; ")
            ));
        }
    }
    crate::support::measured(&format!("{rounds} rounds: {counts:?}"));
    assert!(differing.is_empty(), "{} of {rounds}:\n{}", differing.len(), differing.join("\n"));
    // Damage that nobody notices is not what is to be compared.
    assert!(counts.get("wrong wrong").is_some_and(|count| *count > rounds / 3), "{counts:?}");
}
