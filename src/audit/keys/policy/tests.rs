use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::audit::keys::checkpoint::note::key_id;
use crate::audit::keys::cosignature::CosigningKey;
use crate::audit::keys::signer::SigningKey;

const LOG: &str = "example.com/audit/0123456789abcdef0123456789abcdef";

/// Witnesses a, b, c, … with their lines in a policy.
fn witnesses(count: u8) -> (Vec<CosigningKey>, String) {
    let keys: Vec<CosigningKey> = (0..count)
        .map(|at| {
            let name = format!("witness.example/{}", char::from(b'a' + at));
            CosigningKey::generate(&name).expect("a key")
        })
        .collect();
    let lines = keys
        .iter()
        .zip(b'a'..)
        .map(|(key, name)| format!("witness {} {}\n", char::from(name), key.verifier()));
    let lines = lines.collect();
    (keys, lines)
}

fn checkpoint(log: &SigningKey) -> Note {
    let root = STANDARD.encode([7; 32]);
    log.sign_checkpoint(format!("{LOG}\n7\n{root}\n")).expect("signed")
}

fn cosigned(note: &Note, by: &[&CosigningKey]) -> Note {
    let more = by.iter().map(|key| key.cosign(note.text(), 1_000)).collect();
    let all = [note.signatures().to_vec(), more].concat();
    Note::new(note.text().to_owned(), all).expect("a note")
}

#[test]
fn a_quorum_is_met_by_those_whom_the_policy_asks_for_and_by_no_others() {
    let log = SigningKey::generate(LOG).expect("a key");
    let note = checkpoint(&log);
    let (keys, lines) = witnesses(6);
    let nested = "group x 2 a b c\ngroup y any d e f\ngroup both all x y\nquorum both\n";
    let cases: &[(&str, &str, bool)] = &[
        ("quorum none\n", "", true),
        ("quorum a\n", "a", true),
        ("quorum a\n", "bcdef", false),
        ("group g any a b\nquorum g\n", "b", true),
        ("group g any a b\nquorum g\n", "c", false),
        ("group g all a b\nquorum g\n", "a", false),
        ("group g all a b\nquorum g\n", "ab", true),
        ("group g 2 a b c\nquorum g\n", "ac", true),
        ("group g 2 a b c\nquorum g\n", "c", false),
        ("group g 1 a\nquorum g\n", "a", true),
        (nested, "abd", true),
        (nested, "abc", false),
        (nested, "adef", false),
        (nested, "abcdef", true),
        // A group that the quorum does not name matters to nobody.
        ("group g all a b\nquorum c\n", "c", true),
    ];
    for (rest, who, expected) in cases {
        let policy = Policy::parse(format!("{lines}{rest}").as_bytes()).expect(rest);
        let by: Vec<&CosigningKey> = who.bytes().map(|at| &keys[usize::from(at - b'a')]).collect();
        let found = policy.evaluate(&cosigned(&note, &by));
        assert_eq!(found.quorum_met, *expected, "{rest}: {who}");
        let signed = found.standings.iter().filter(|s| **s == Standing::Cosigned(1_000)).count();
        assert_eq!(signed, who.len(), "{rest}: {who}");
    }
}

#[test]
fn a_quorum_is_as_old_as_the_oldest_cosignature_that_it_needs() {
    let log = SigningKey::generate(LOG).expect("a key");
    let note = checkpoint(&log);
    let (keys, lines) = witnesses(3);
    let at = |times: &[u64]| {
        let more = keys.iter().zip(times).map(|(key, time)| key.cosign(note.text(), *time));
        let all = note.signatures().iter().cloned().chain(more).collect();
        Note::new(note.text().to_owned(), all).expect("a note")
    };
    for (quorum, times, expected) in [
        ("group g 2 a b c\nquorum g\n", &[100, 300, 200][..], Some(200)),
        ("group g any a b c\nquorum g\n", &[100, 300, 200], Some(300)),
        ("group g all a b c\nquorum g\n", &[100, 300, 200], Some(100)),
        ("group g 2 a b c\nquorum g\n", &[100], None),
        ("quorum none\n", &[100], None),
    ] {
        let policy = Policy::parse(format!("{lines}{quorum}").as_bytes()).expect(quorum);
        assert_eq!(policy.evaluate(&at(times)).quorum_at, expected, "{quorum}");
    }
}

#[test]
fn one_witness_that_signs_twice_counts_once_and_a_wrong_cosignature_spoils_all() {
    let log = SigningKey::generate(LOG).expect("a key");
    let note = checkpoint(&log);
    let (keys, lines) = witnesses(2);
    let policy = Policy::parse(format!("{lines}group g 2 a b\nquorum g\n").as_bytes());
    let policy = policy.expect("a policy");
    assert!(!policy.evaluate(&cosigned(&note, &[&keys[0], &keys[0]])).quorum_met);
    let good = cosigned(&note, &[&keys[0], &keys[1]]);
    assert!(policy.evaluate(&good).quorum_met);
    let mut all = good.signatures().to_vec();
    let mut wrong = all[1].clone();
    wrong.signature[20] ^= 1;
    all.push(wrong);
    let spoiled = Note::new(good.text().to_owned(), all).expect("a note");
    let found = policy.evaluate(&spoiled);
    assert_eq!(found.standings, [Standing::Wrong, Standing::Cosigned(1_000)]);
    assert!(!found.quorum_met);
}

#[test]
fn witnesses_whose_algorithm_is_not_known_here_are_read_and_do_not_count() {
    let log = SigningKey::generate(LOG).expect("a key");
    let (keys, lines) = witnesses(1);
    let ml_dsa = [&[6][..], &[9; 1_312]].concat();
    let id = key_id("w/ml", 6, &ml_dsa[1..]);
    let other = format!("witness q w/ml+{id:08x}+{}\n", STANDARD.encode(ml_dsa));
    let text = format!("{lines}{other}group g any a q\nquorum g\n");
    let policy = Policy::parse(text.as_bytes()).expect("a policy");
    let note = checkpoint(&log);
    let found = policy.evaluate(&note);
    assert_eq!(found.standings, [Standing::Absent, Standing::Unsupported]);
    assert!(!found.quorum_met);
    assert!(policy.evaluate(&cosigned(&note, &[&keys[0]])).quorum_met);
}

#[test]
fn a_policy_with_logs_takes_only_what_one_of_them_signed() {
    let log = SigningKey::generate(LOG).expect("a key");
    let other = SigningKey::generate(LOG).expect("a key");
    let signed = SignedCheckpoint::from_note(checkpoint(&log)).expect("a checkpoint");
    let of = |key: &SigningKey| format!("log {} https://log.example/\nquorum none", key.verifier());
    let knows = |text: &str| Policy::parse(text.as_bytes()).expect(text).knows_log_of(&signed);
    assert!(knows(&of(&log)) && !knows(&of(&other)) && knows("quorum none"));
    // Under the name of its epoch's origin as well.
    let epoch = format!("{LOG}/e1");
    let text = checkpoint(&log).text().replace(LOG, &epoch);
    let signed = SignedCheckpoint::from_note(log.sign_checkpoint(text).expect("signed"));
    let signed = signed.expect("a checkpoint");
    let key = log.verifier().in_epoch(&epoch).expect("a key");
    let policy = Policy::parse(format!("log {key}\nquorum none\n").as_bytes()).expect("a policy");
    assert!(policy.knows_log_of(&signed));
}

#[test]
fn comments_blanks_and_any_bytes_in_names_are_taken_as_they_are() {
    let (_, lines) = witnesses(1);
    let key = lines.split(' ').nth(2).expect("a key").trim();
    let text = [
        b"# a comment \xff\n\n \t \n  # another\n\twitness \t K\xe2\x84\xaa\xff ".as_slice(),
        key.as_bytes(),
        b" https://w.example/prefix \nquorum K\xe2\x84\xaa\xff",
    ]
    .concat();
    let policy = Policy::parse(&text).expect("a policy");
    assert_eq!(policy.witnesses[0].url.as_deref(), Some("https://w.example/prefix"));
    assert!(policy.asks());
    assert!(!Policy::parse(b"quorum none").expect("a policy").asks());
}

#[test]
fn what_is_no_policy_is_refused_with_its_line() {
    let (keys, lines) = witnesses(3);
    let log = SigningKey::generate(LOG).expect("a key");
    let key = keys[0].verifier();
    // The same public key under another name. Base64 has a plus of its own.
    let other_name = {
        let bytes = STANDARD.decode(key.to_string().splitn(3, '+').nth(2).expect("base64"));
        let bytes = bytes.expect("bytes");
        format!("w/z+{:08x}+{}", key_id("w/z", 4, &bytes[1..]), STANDARD.encode(&bytes))
    };
    let cases: Vec<(String, usize, &str)> = vec![
        (String::new(), 4, "no quorum line"),
        ("quorum none\nquorum a\n".to_owned(), 5, "quorum line above"),
        ("quorum z\n".to_owned(), 4, "no line above defines z"),
        ("quorum\n".to_owned(), 4, "other items"),
        ("quorum g\ngroup g any a\n".to_owned(), 4, "no line above"),
        ("group g any\nquorum g\n".to_owned(), 4, "other items"),
        ("group g 0 a b\n".to_owned(), 4, "from 1 to 2"),
        ("group g 3 a b\n".to_owned(), 4, "from 1 to 2"),
        ("group g -1 a b\n".to_owned(), 4, "from 1 to 2"),
        ("group g some a b\n".to_owned(), 4, "neither all"),
        ("group g all a a\n".to_owned(), 4, "already"),
        ("group g any a\ngroup h any a b\n".to_owned(), 5, "already"),
        ("group g any none\n".to_owned(), 4, "no line above"),
        ("group a any b\n".to_owned(), 4, "defined above"),
        ("group none any b\n".to_owned(), 4, "none"),
        (format!("witness a {key}\n"), 4, "defined above"),
        (format!("witness z {key}\n"), 4, "another witness line"),
        (format!("witness z {other_name}\n"), 4, "another witness line"),
        (format!("witness z {}\n", log.verifier()), 4, "a log's"),
        (format!("log {key}\n"), 4, "a witness's"),
        (format!("log {0}\nlog {0}\n", log.verifier()), 5, "another log line"),
        ("witness z nonsense\n".to_owned(), 4, "not a verifier key"),
        ("wittness z\n".to_owned(), 4, "neither log"),
        ("quorum \u{7}none\n".to_owned(), 4, "control character"),
        ("quorum none\r\n".to_owned(), 4, "control character"),
    ];
    for (rest, line, says) in cases {
        let error = Policy::parse(format!("{lines}{rest}").as_bytes()).expect_err(&rest);
        assert_eq!(error.line, line, "{rest}: {error}");
        assert!(error.reason.contains(says), "{rest}: {error}");
    }
    assert!(Policy::parse(&vec![b'\n'; MAX_POLICY_BYTES + 1]).is_err());
}
