//! Where alerts may go, and what they leave alone.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use auditctl::alerts::guard::{Lookup, SystemLookup};
use auditctl::alerts::{TestOutcome, send_test};
use auditctl::clock::SystemClock;
use auditctl::config::{Settings, Sources, load};
use auditctl::fsio::OsFs;

use crate::alerts::alerting;
use crate::receiver::{Answer, Receiver};
use crate::serving::Serving;
use crate::support::{Dir, eventually, run};

fn settings(text: &str) -> Settings {
    let file = Some(("auditctl.toml".into(), text.to_owned()));
    load(&Sources { file, ..Sources::default() }).expect("good settings")
}

fn one_alert(address: SocketAddr, url: &str, more: &str) -> Settings {
    settings(&format!(
        "{}[[alerts]]\nname = \"ops\"\non = \"health\"\nurl = \"{url}\"\n{more}",
        alerting(address)
    ))
}

fn test_alert(settings: &Settings, lookup: Arc<dyn Lookup>) -> TestOutcome {
    send_test(settings, "ops", (&OsFs, &SystemClock), lookup).expect("it was tried")
}

/// Answers differently from time to time; counts how often it was asked.
#[derive(Debug)]
struct Fickle(Mutex<VecDeque<&'static str>>);

impl Lookup for Fickle {
    fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().expect("not poisoned");
        let answer = answers.pop_front().ok_or(io::ErrorKind::NotFound)?;
        Ok(vec![answer.parse().expect("an address")])
    }
}

#[test]
fn what_was_checked_is_connected_to_though_the_name_means_something_else_by_then() {
    let checked = Receiver::start();
    let port = checked.address.port();
    // Where a second look-up would lead.
    let inside = Receiver::at(SocketAddr::from(([127, 0, 0, 2], port)));
    let settings = one_alert(checked.address, &format!("http://hooks.example.com:{port}/"), "");
    let fickle = Arc::new(Fickle(Mutex::new(["127.0.0.1", "127.0.0.2"].into())));
    let first = test_alert(&settings, fickle.clone());
    assert!(first.delivered, "{first:?}");
    assert_eq!(first.address, Some(checked.address));
    assert_eq!(fickle.0.lock().expect("not poisoned").len(), 1, "asked once");
    let second = test_alert(&settings, fickle);
    assert!(second.refused && !second.delivered, "{second:?}");
    let problem = second.problem.expect("a reason");
    assert!(problem.contains("127.0.0.2") && problem.contains("loopback (RFC 1122)"), "{problem}");
    assert_eq!((checked.requests().len(), inside.requests().len()), (1, 0));
}

#[test]
fn a_redirect_is_refused_and_not_followed_to_the_metadata_service() {
    let dir = Dir::new();
    let (receiver, other) = (Receiver::start(), Receiver::start());
    let location = format!("location: http://{}/\r\n", other.address);
    for (status, location) in
        [(302, location.as_str()), (307, "location: http://169.254.169.254/latest/\r\n")]
    {
        receiver.answer(Answer::status(status, location));
        let settings = one_alert(receiver.address, &receiver.url(), "");
        let outcome = test_alert(&settings, Arc::new(SystemLookup));
        assert!(outcome.refused && !outcome.delivered, "{outcome:?}");
        assert_eq!(outcome.answer, Some(format!("HTTP {status}")));
    }
    assert!(other.requests().is_empty());
    // Beside a collector it is a security event.
    let settings = alerting(receiver.address)
        + &format!(
            "[[alerts]]\nname = \"ops\"\non = \"event\"\ntype = [\"login\"]\nurl = \"{}\"\n",
            receiver.url()
        );
    let collector = Serving::start(&dir, &settings);
    assert!(collector.connect().ask(r#"{"event_type":"login"}"#)["ok"]["seq"].is_u64());
    let log = dir.log().join("security_events.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("it is a security event", || said().contains("target_refused"));
    assert!(said().contains("redirects are not followed") && said().contains("\"source\":\"ops\""));
    let (_, _, metrics) = collector.get("/metrics", "");
    assert!(
        metrics.contains("auditctl_security_events_total{kind=\"target_refused\"}"),
        "{metrics}"
    );
    collector.terminate();
}

#[test]
fn answers_are_bounded_in_bytes_and_time() {
    let receiver = Receiver::start();
    receiver.answer(Answer::Endless);
    let settings = one_alert(receiver.address, &receiver.url(), "");
    let endless = test_alert(&settings, Arc::new(SystemLookup));
    assert!(endless.delivered, "it said 200: {endless:?}");
    receiver.answer(Answer::Silence);
    let silent = test_alert(&settings, Arc::new(SystemLookup));
    assert!(!silent.delivered && !silent.refused, "{silent:?}");
    assert!(silent.problem.expect("a reason").contains("did not answer in time"));
    receiver.answer(Answer::With(format!(
        "HTTP/1.1 500 X\r\ncontent-length: 100000\r\n\r\n\x1b[31m{}",
        "x".repeat(100_000)
    )));
    let loud = test_alert(&settings, Arc::new(SystemLookup)).problem.expect("a reason");
    assert!(loud.len() < 300 && !loud.contains('\x1b'), "{loud:?}");
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let dir = Dir::new();
    let (receiver, proxy) = (Receiver::start(), Receiver::start());
    let settings = alerting(receiver.address)
        + &format!(
            "[[alerts]]\nname = \"ops\"\non = \"event\"\ntype = [\"login\"]\nurl = \"{}\"\n",
            receiver.url()
        );
    let through = format!("http://{}", proxy.address);
    let env = [("http_proxy", &*through), ("HTTP_PROXY", &*through), ("ALL_PROXY", &*through)];
    let collector = Serving::start_with(&dir, &settings, &[], &env);
    assert!(collector.connect().ask(r#"{"event_type":"login"}"#)["ok"]["seq"].is_u64());
    eventually("it is told", || !receiver.requests().is_empty());
    assert!(proxy.requests().is_empty());
    collector.terminate();
}

#[test]
fn p10_settings_that_lead_inside_are_refused_at_the_start_each_with_its_line() {
    let dir = Dir::new();
    let text = "[[alerts]]\nname = \"one\"\non = \"health\"\nurl = \"https://0x7f.1/?token=s3cret\"\n\
        [[alerts]]\nname = \"two\"\non = \"health\"\nurl = \"https://u:s3cret@hooks.example.com/\"\n\
        [[alerts]]\nname = \"three\"\non = \"event\"\nwhere = [\"details.x >\"]\nurl = \"https://10.0.0.1/s3cret\"\n";
    std::fs::write(dir.path().join("auditctl.toml"), text).expect("settings");
    let (code, _, said) = run(&dir, &["serve", "--http", "off"]);
    assert_eq!(code, 2, "{said}");
    for expected in [
        "auditctl.toml:4: [[alerts]] \"one\": url: ",
        "odd notation",
        "auditctl.toml:8: [[alerts]] \"two\": url: a name or password",
        "auditctl.toml:12: [[alerts]] \"three\": where: ",
        "auditctl.toml:13: [[alerts]] \"three\": url: 10.0.0.1 is refused: its address 10.0.0.1 is private",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert!(!said.contains("s3cret"), "{said}");
    assert!(!dir.log().exists(), "nothing was begun");
}

#[test]
fn a_checkpoint_is_not_pushed_inside_either() {
    let dir = Dir::new();
    for (url, expected) in [
        ("https://169.254.169.254/s3cret", "its address 169.254.169.254 is the metadata service"),
        ("http://hooks.example.com/s3cret", "only https is allowed"),
    ] {
        let text = format!("[collector]\ncheckpoint_push_url = \"{url}\"\n");
        std::fs::write(dir.path().join("auditctl.toml"), text).expect("settings");
        let (code, _, said) = run(&dir, &["serve", "--http", "off"]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("auditctl.toml:2: collector.checkpoint_push_url: "), "{said}");
        assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn tables_that_make_no_sense_are_told_all_at_once() {
    let dir = Dir::new();
    let text = "[[alerts]]\nname = \"a b\"\non = \"event\"\nsend = \"email\"\n\
        [[alerts]]\nname = \"x\"\non = \"sometimes\"\nurll = \"https://hooks.example.com/\"\n\
        [[alerts]]\nname = \"y\"\non = \"health\"\ncount = 3\ntype = [\"login\"]\nurl = \"https://a.example/\"\nurl_file = \"f\"\n\
        [[alerts]]\nname = \"y\"\non = \"errors\"\ncooldown = 5\n";
    std::fs::write(dir.path().join("auditctl.toml"), text).expect("settings");
    let (code, _, said) = run(&dir, &["serve", "--http", "off"]);
    assert_eq!(code, 2, "{said}");
    for expected in [
        "auditctl.toml:2: [[alerts]] \"a b\": name has 1 to 64",
        "auditctl.toml:3: [[alerts]] \"a b\": on = \"event\" needs a filter",
        "smtp is missing",
        "auditctl.toml:7: alerts.on: found \"sometimes\", expected one of \"event\", \"errors\", \"health\"",
        "auditctl.toml:8: alerts.urll: unknown setting; did you mean url?",
        "auditctl.toml:13: [[alerts]] \"y\": type means nothing with on = \"health\"",
        "auditctl.toml:12: [[alerts]] \"y\": count means nothing",
        "url and url_file: leave one of them out",
        "auditctl.toml:19: alerts.cooldown: found 5",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn a_name_that_comes_from_a_list_and_is_not_in_it_is_told_with_what_was_meant() {
    let dir = Dir::new();
    let table = |name: &str, rest: &str| {
        let url = "url = \"https://hooks.example.com/\"\n";
        format!("[[alerts]]\nname = \"{name}\"\n{url}{rest}\n")
    };
    // Each is a start of its own: settings that cannot be read are told before alerts.
    let read = "durability = \"comit\"\nprofile = \"high_trafic\"\n".to_owned()
        + &table("a", "on = \"health\"\nchecks = [\"integrity\", \"disk_spce\"]")
        + &table("b", "on = \"helth\"")
        + &table("c", "on = \"health\"\nsend = \"webhok\"")
        + &table("d", "on = \"health\"\nsmtp_tls = \"start-tls\"")
        + &table("e", "on = \"health\"\nchecks = [\"nothing\"]");
    let fits = table("f", "on = \"health\"\nchecks = [\"certificate\"]");
    let alerts = table("g", "on = \"event\"\ntype = [\"login\", \"audit.file_replacd\"]")
        + &table("h", "on = \"event\"\ntype = [\"audit.alert_lost\"]")
        + &table("i", "on = \"event\"\ntype = [\"audit.prunned*\"]");
    for (text, expected) in [
        (
            read,
            vec![
                "auditctl.toml:1: durability: found \"comit\", expected one of \"commit\", \"interval\"; did you mean \"commit\"?",
                "did you mean \"high-traffic\"?",
                "auditctl.toml:7: alerts.checks: ",
                "\"disk_spce\" is none of them; did you mean \"disk_space\"?",
                "did you mean \"health\"?",
                "did you mean \"webhook\"?",
                "did you mean \"starttls\"?",
                "\"nothing\" is none of them",
            ],
        ),
        (fits, vec!["[[alerts]] \"f\": there is no check certificate without collector.tls_cert"]),
        (
            alerts,
            vec![
                "[[alerts]] \"g\": type: \"audit.file_replacd\": the log writes no record of that type; did you mean \"audit.file_replaced\"?",
                "[[alerts]] \"h\": type: \"audit.alert_lost\": it cannot trigger an alert",
                "[[alerts]] \"i\": type: \"audit.prunned*\": the log writes no record of that type; did you mean \"audit.pruned\"?",
            ],
        ),
    ] {
        std::fs::write(dir.path().join("auditctl.toml"), text).expect("settings");
        let (code, _, said) = run(&dir, &["serve", "--http", "off"]);
        assert_eq!(code, 2, "{said}");
        for expected in expected {
            assert!(said.contains(expected), "{expected}\n{said}");
        }
    }
    let good = table("j", "on = \"health\"\nchecks = [\"disk_space\", \"integrity\"]")
        + &table("k", "on = \"event\"\ntype = [\"*\", \"audit.*\", \"audit.opened\", \"auditor\"]");
    assert_eq!(settings(&good).alerts.len(), 2);
    let plan = auditctl::alerts::Plan::new(&settings(&good), &OsFs, Arc::new(SystemLookup));
    assert!(plan.is_ok(), "{plan:?}");
}

#[test]
fn the_receiver_in_the_documents_accepts_what_is_sent_and_nothing_else() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").expect("written");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).expect("mode");
    let more = format!("secret_file = {secret:?}\n");
    let settings = one_alert(receiver.address, &receiver.url(), &more);
    let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup);
    let open = send_test(&settings, "ops", (&OsFs, &SystemClock), Arc::clone(&lookup));
    assert!(open.expect_err("others may read it").to_string().contains("chmod 600"));
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("mode");
    assert!(test_alert(&settings, lookup).delivered);
    let request = receiver.requests().pop().expect("a request");
    assert_eq!(request.json()["test"], true);
    let page = include_str!("../../docs/alerts.md");
    let code = page.split_once("```python\n").expect("the example").1;
    let code = code.split_once("```").expect("it ends").0;
    let verify = |body: &[u8], header: &str, id: &str| {
        let path = dir.path().join("body");
        std::fs::write(&path, body).expect("written");
        let script = format!(
            "{code}\nimport sys\nsys.exit(0 if verify(open(sys.argv[1], 'rb').read(), sys.argv[3], sys.argv[2], b'0123456789abcdef') else 1)\n"
        );
        let output =
            Command::new("python3").args(["-c", &script]).arg(&path).args([header, id]).output();
        let output = output.expect("python3");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        output.status.success()
    };
    let header = request.header("auditctl-signature").expect("signed");
    let id = request.id();
    assert!(verify(&request.body, &header, &id));
    assert!(!verify(&request.body[1..], &header, &id), "another body");
    // By the id repeats are dropped: another one would make a new delivery of an old,
    // and an old one of a new.
    assert!(!verify(&request.body, &header, &format!("{id}0")), "another id");
    assert!(!verify(&request.body, &header, ""), "no id");
    let time = header.strip_prefix("t=").expect("a time").split(',').next().expect("digits");
    let moved = format!("{id}\n{time}");
    assert!(!verify(&request.body, &header, &moved), "the same bytes, cut elsewhere");
    let (_, signature) = header.split_once(",v1=").expect("a signature");
    assert!(!verify(&request.body, &format!("t=1000000000,v1={signature}"), &id), "another time");
}

#[test]
fn an_alert_that_is_not_there_is_named_with_those_that_are() {
    let settings = one_alert(SocketAddr::from(([127, 0, 0, 1], 9)), "https://a.example/", "");
    let error = send_test(&settings, "opps", (&OsFs, &SystemClock), Arc::new(SystemLookup));
    assert_eq!(
        error.expect_err("no such alert").to_string(),
        "there is no [[alerts]] table with the name \"opps\"; there is \"ops\""
    );
}

#[test]
fn a_target_at_which_nobody_listens_is_told_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let settings = one_alert(address, &format!("http://{address}/s3cret"), "");
    let outcome = test_alert(&settings, Arc::new(SystemLookup));
    let problem = outcome.problem.expect("a reason");
    assert!(problem.contains("onnection refused") && !problem.contains("s3cret"), "{problem}");
    assert_eq!(outcome.target, address.to_string());
}
