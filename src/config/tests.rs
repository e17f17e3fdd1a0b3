//! What an operator gets for what was written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::units::ByteSize;

fn file(content: &str) -> Option<(PathBuf, String)> {
    Some((PathBuf::from("auditctl.toml"), content.to_owned()))
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn from_content(content: &str) -> Result<Settings, ConfigErrors> {
    load(&Sources { file: file(content), ..Sources::default() })
}

fn from_variables(list: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
    load(&Sources { env: &pairs(list), ..Sources::default() })
}

/// The only message of a file that is wrong in one way.
fn message(content: &str) -> String {
    let errors = from_content(content).expect_err(content);
    assert_eq!(errors.0.len(), 1, "{errors}");
    errors.to_string()
}

#[test]
fn without_any_source_everything_is_at_its_default() {
    let settings = load(&Sources::default()).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.entries().count(), KEYS.len());
    assert!(settings.entries().all(|(_, _, origin)| *origin == Origin::Default));
    assert_eq!(settings.key_file(), Path::new("logs/audit.key"));
    assert_eq!(settings.socket_path(), Path::new("logs/audit.sock"));
}

#[test]
fn each_layer_overrides_the_ones_below_and_is_remembered() {
    let content = "profile = \"production\"\nwrite_flush_interval = \"4s\"\n\
        query_cache_size = 64\nlog_dir = \"from-file\"\n";
    let env = pairs(&[("AUDITCTL_QUERY_CACHE_SIZE", "99"), ("AUDITCTL_LOG_DIR", "from-env")]);
    let flags = [("log_dir".to_owned(), "from-flag".to_owned(), "--log-dir".to_owned())];
    let settings = load(&Sources { file: file(content), env: &env, flags: &flags }).unwrap();
    let seen = |key: &str| {
        let (_, value, origin) = settings.entries().find(|(name, ..)| *name == key).unwrap();
        format!("{value} from {origin}")
    };
    assert_eq!(seen("compression_level"), "6 from profile production");
    assert_eq!(seen("write_buffer_size"), "200 from profile production");
    assert_eq!(seen("write_flush_interval"), "4s from auditctl.toml:2");
    assert_eq!(seen("query_cache_size"), "99 from AUDITCTL_QUERY_CACHE_SIZE");
    assert_eq!(seen("log_dir"), "from-flag from --log-dir");
    assert_eq!(seen("durability"), "commit from default");
    assert!(Layer::Default < Layer::Profile && Layer::Profile < Layer::File);
    assert!(Layer::File < Layer::Environment && Layer::Environment < Layer::Flag);
}

#[test]
fn every_profile_sets_its_four_values() {
    let expected = [(200, 3, 256, 6), (500, 10, 512, 3), (50, 1, 128, 1), (1000, 30, 64, 9)];
    for (profile, values) in Profile::ALL.into_iter().zip(expected) {
        let settings = from_variables(&[("AUDITCTL_PROFILE", profile.name())]).unwrap();
        assert_eq!(settings.profile, Some(profile));
        let set = (
            settings.write_buffer_size,
            settings.write_flush_interval.as_secs(),
            settings.query_cache_size,
            settings.compression_level,
        );
        assert_eq!(set, values, "{profile:?}");
    }
}

#[test]
fn the_profile_of_the_highest_layer_counts_and_an_empty_one_takes_it_back() {
    let content = "profile = \"low-latency\"";
    let with = |name: &str| {
        let env = pairs(&[("AUDITCTL_PROFILE", name)]);
        load(&Sources { file: file(content), env: &env, flags: &[] }).unwrap().compression_level
    };
    assert_eq!(with("storage-optimized"), 9);
    assert_eq!(with(""), 6);
}

#[test]
fn sections_dotted_keys_and_inline_tables_say_the_same() {
    for content in [
        "[collector]\nhttp = \"off\"\nallowed_uids = [1, 0x10, 1_000]",
        "collector.http = \"off\"\ncollector.allowed_uids = [1, 16, 1000]",
        "collector = { http = \"off\", allowed_uids = [1, 16, 1000] }",
    ] {
        let settings = from_content(content).unwrap();
        assert_eq!(settings.collector.http, None, "{content}");
        assert_eq!(settings.collector.allowed_uids, [1, 16, 1000], "{content}");
    }
}

#[test]
fn sizes_may_be_numbers_of_bytes_and_variables_are_plain_text() {
    let settings = from_content("max_details_size = 2048\nmax_segment_size = \"1MiB\"").unwrap();
    assert_eq!(settings.max_details_size, ByteSize(2048));
    assert_eq!(settings.max_segment_size, ByteSize(1 << 20));
    let settings = from_variables(&[
        ("AUDITCTL_MAX_DETAILS_SIZE", "4096"),
        ("AUDITCTL_COLLECTOR_ALLOWED_GIDS", "4, 27"),
        ("AUDITCTL_RATE_LIMIT_ENABLED", "false"),
        ("AUDITCTL_OVERFLOW_TIMEOUT", "0s"),
        ("AUDITCTL_COLLECTOR_HTTP", "[::1]:80"),
        ("AUDITCTL_DURABILITY", "interval"),
    ])
    .unwrap();
    assert_eq!(settings.max_details_size, ByteSize(4096));
    assert_eq!(settings.collector.allowed_gids, [4, 27]);
    assert!(!settings.rate_limit.enabled);
    assert_eq!(settings.overflow_timeout, Duration::ZERO);
    assert_eq!(settings.collector.http, Some("[::1]:80".parse().unwrap()));
    assert_eq!(settings.durability, Durability::Interval);
}

#[test]
fn a_wrong_value_names_file_line_key_what_was_found_and_what_is_expected() {
    assert_eq!(
        message("\n# slow\nwrite_flush_interval = \"fast\"\n"),
        "auditctl.toml:3: write_flush_interval: found \"fast\", expected a duration such as \
         \"5s\" or \"1h30m\" (10ms to 1h); a unit must follow a whole number"
    );
    assert_eq!(
        message("[collector]\nhttp = \"localhost:80\""),
        "auditctl.toml:2: collector.http: found \"localhost:80\", expected \"off\" or an address \
         such as \"127.0.0.1:9750\"; a name is not looked up; write its IP address"
    );
    let variable = from_variables(&[("AUDITCTL_COMPRESSION_LEVEL", "12")]).unwrap_err();
    assert_eq!(
        variable.to_string(),
        "AUDITCTL_COMPRESSION_LEVEL: compression_level: found \"12\", expected a whole number \
         such as 100 (1 to 9); it is too large"
    );
    for (content, part) in [
        ("write_flush_interval = 5", "for seconds write \"5s\""),
        ("write_buffer_size = \"5\"", "without quotes"),
        ("write_buffer_size = -1", "found -1"),
        ("write_buffer_size = 1.5", "found 1.5"),
        ("retention_requires_backup = \"true\"", "without quotes"),
        ("durability = \"sometimes\"", "one of \"commit\", \"interval\""),
        ("profile = \"fast\"", "\"production\", \"high-traffic\""),
        ("log_dir = \"\"", "it is empty"),
        ("log_dir = 1979-05-27", "found the date 1979-05-27"),
        ("max_details_size = \"1MiB\"", "(1KiB to 512KiB); it is too large"),
        ("write_queue_bytes = \"1MiB\"", "at least 2MiB"),
        ("retention_days = 99999999999999999999999", "found 99999999999999999999999"),
        ("health = 3", "[health] on a line of its own"),
        ("log_dir = { a = 1 }", "found a table"),
        ("collector.allowed_uids = [\"root\"]", "found a list"),
    ] {
        let message = message(content);
        assert!(message.starts_with("auditctl.toml:1: ") && message.contains(part), "{message}");
    }
}

#[test]
fn both_ends_of_every_range_are_possible_and_one_beyond_is_not() {
    for key in KEYS {
        let Some(range) = key.range else { continue };
        let accepts = |at: u64| {
            let raw = Raw::Word(key.kind.show_magnitude(at));
            key.assign(&mut Settings::default(), &raw).is_ok()
        };
        assert!(accepts(range.min) && (range.max == u64::MAX || accepts(range.max)), "{key:?}");
        assert!(range.min == 0 || !accepts(range.min - 1), "{key:?}");
        assert!(range.max == u64::MAX || !accepts(range.max + 1), "{key:?}");
        let default = key.magnitude(&Settings::default()).expect("a range is of magnitudes");
        assert!(range.holds(default), "{key:?}");
        let within = |inner: Range| range.holds(inner.min) && range.holds(inner.max);
        assert!(key.recommended.is_none_or(within), "{key:?}");
    }
    assert!(Settings::default().unusual().is_empty(), "defaults are what is recommended");
}

#[test]
fn an_unknown_key_or_variable_is_refused_with_what_was_meant() {
    for (content, meant) in [
        ("write_bufer_size = 1", "did you mean write_buffer_size?"),
        ("write-buffer-size = 1", "did you mean write_buffer_size?"),
        ("socket = \"x\"", "did you mean socket in [collector]?"),
        ("[disk]\nlog_dir = \"x\"", "did you mean log_dir at the top of the file"),
        ("[colector]\nhttp = \"off\"", "did you mean [collector]?"),
        ("zebra = 1", "docs/configuration.md lists all settings"),
    ] {
        let message = message(content);
        assert!(message.contains("unknown setting") && message.contains(meant), "{message}");
    }
    let env = [("AUDITCTL_LOGDIR", "x"), ("AUDITCTL_CONFIG", "y"), ("AUDITCTL_LOG", "debug")];
    let errors = from_variables(&env).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "AUDITCTL_LOGDIR: unknown setting; did you mean AUDITCTL_LOG_DIR?"
    );
    assert!(from_variables(&[("PATH", "/bin"), ("AUDIT", "x")]).is_ok());
}

#[test]
fn what_kubernetes_says_of_a_service_named_auditctl_is_no_setting() {
    let env = [
        ("AUDITCTL_SERVICE_HOST", "10.0.0.7"),
        ("AUDITCTL_SERVICE_PORT", "9750"),
        ("AUDITCTL_SERVICE_PORT_METRICS", "9750"),
        ("AUDITCTL_PORT", "tcp://10.0.0.7:9750"),
        ("AUDITCTL_PORT_9750_TCP", "tcp://10.0.0.7:9750"),
        ("AUDITCTL_PORT_9750_TCP_ADDR", "10.0.0.7"),
        ("AUDITCTL_HTTP_SERVICE_HOST", "10.0.0.8"),
        ("AUDITCTL_COLLECTOR_PORT", "tcp://10.0.0.7:9750"),
        ("AUDITCTL_COLLECTOR_SERVICE_PORT", "9750"),
    ];
    assert!(from_variables(&env).is_ok());
    for name in ["AUDITCTL_PORTS", "AUDITCTL_HOST", "AUDITCTL_SERVICE"] {
        assert!(from_variables(&[(name, "1")]).is_err(), "{name}");
    }
    for key in super::keys::KEYS {
        assert!(!super::is_kubernetes_own(&key.variable(), "9750"), "{} can be set", key.name);
    }
}

/// C14.
#[test]
fn a_variable_that_nobody_reads_is_an_error_and_so_are_quotes_that_a_file_kept() {
    for (name, value) in [("AUDITCTL_COLLECTOR_PORT", "9760"), ("AUDITCTL_PORT", "9760")] {
        let error = from_variables(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("unknown setting"), "{error}");
    }
    let error = from_variables(&[("AUDITCTL_COLLECTOR_PORT", "9760")]).unwrap_err().to_string();
    assert!(error.contains("AUDITCTL_COLLECTOR_HTTP"), "{error}");
    for (value, what) in [
        ("\"/var/lib/audit\"", "quotes"),
        ("'/var/lib/audit'", "quotes"),
        ("/var/lib/audit\r", "a carriage return"),
        ("\"/var/lib/audit\"\r", "quotes and a carriage return"),
    ] {
        let error = from_variables(&[("AUDITCTL_LOG_DIR", value)]).unwrap_err().to_string();
        assert!(error.contains(what), "{value:?}: {error}");
        assert!(error.contains("write AUDITCTL_LOG_DIR=/var/lib/audit "), "{value:?}: {error}");
    }
    for fine in ["/var/lib/audit", "a\"b\"", "\"a\" or \"b\"", "it's"] {
        assert_eq!(super::misquoted("AUDITCTL_LOG_DIR", fine), None, "{fine}");
    }
}

#[test]
fn all_problems_are_told_at_once_also_of_overridden_values() {
    let env = pairs(&[("AUDITCTL_WRITE_BUFFER_SIZE", "7"), ("AUDITCTL_NONSENSE", "1")]);
    let content = "write_buffer_size = 0\ncolour = 1\n[backup]\noutput_dir = 3\n";
    let errors = load(&Sources { file: file(content), env: &env, flags: &[] }).unwrap_err();
    assert_eq!(errors.0.len(), 4, "{errors}");
    let text = errors.to_string();
    assert!(text.starts_with("4 problems in the settings:\n"), "{text}");
    for place in ["auditctl.toml:1:", "auditctl.toml:2:", "auditctl.toml:4:", "AUDITCTL_NONSENSE:"]
    {
        assert!(text.contains(place), "{text}");
    }
}

#[test]
fn broken_toml_is_placed_to_line_and_column() {
    let message = message("log_dir = \"é\"\nöl = = 3\n");
    assert!(message.starts_with("auditctl.toml:2:6: not valid TOML"), "{message}");
    let twice = from_content("log_dir = \"a\"\nlog_dir = \"b\"\n").unwrap_err().to_string();
    assert!(twice.starts_with("auditctl.toml:2:"), "{twice}");
}

#[test]
fn hostile_text_cannot_write_on_the_terminal() {
    let text = from_content("\"\\u001b[2J\" = 1\nlog_dir = \"\\u0000\"").unwrap_err().to_string();
    assert!(!text.contains('\u{1b}') && !text.contains('\0'), "{text:?}");
    let long = message(&format!("durability = \"{}\"", "x".repeat(10_000)));
    assert!(long.len() < 300, "{long}");
}

#[test]
fn the_queue_grows_with_the_buffer_unless_its_capacity_was_chosen() {
    assert_eq!(from_content("write_buffer_size = 1000").unwrap().write_queue_capacity, 2000);
    assert_eq!(from_content("write_buffer_size = 999").unwrap().write_queue_capacity, 1000);
    let chosen = from_content("write_buffer_size = 1000\nwrite_queue_capacity = 1000").unwrap();
    assert_eq!(chosen.write_queue_capacity, 1000);
    let error = message("dedupe_window = \"25h\"\nretention_days = 1");
    assert!(error.starts_with("dedupe_window = 25h (auditctl.toml:1) is longer"), "{error}");
    for fine in ["\"24h\"\nretention_days = 1", "\"30d\"\nretention_days = 0"] {
        assert!(from_content(&format!("dedupe_window = {fine}")).is_ok(), "{fine}");
    }
    let error = message("write_buffer_size = 1000\nwrite_queue_capacity = 50");
    assert!(error.starts_with("write_queue_capacity = 50 (auditctl.toml:2) is smaller"), "{error}");
    assert!(error.contains("write_buffer_size = 1000 (auditctl.toml:1)"), "{error}");
}

#[test]
fn a_warning_that_would_come_after_the_alarm_is_refused() {
    let health = message("[health]\nsecurity_warn = 11");
    assert!(health.starts_with("health.security_warn = 11 (auditctl.toml:2)"), "{health}");
    assert!(health.contains("health.security_critical = 10 (default)"), "{health}");
    let disk = message("[disk]\ncritical_percent = 20");
    assert!(disk.contains("disk.warn_percent = 10 (default)"), "{disk}");
}

#[test]
fn http_beyond_loopback_needs_tokens_and_tls_or_who_has_it() {
    let open = "[collector]\nhttp = \"0.0.0.0:9750\"\n";
    let both = from_content(open).expect_err("refused").to_string();
    assert!(both.contains("no collector.token_file") && both.contains("no collector.tls_cert"));
    let tokens = format!("{open}token_file = \"/etc/tokens\"\n");
    let plain = message(&tokens);
    assert!(plain.contains("no collector.tls_cert") && plain.contains("allow_plain_http"));
    assert!(from_content(&format!("{tokens}allow_plain_http = true")).is_ok());
    assert!(message(&format!("{open}allow_plain_http = true")).contains("no collector.token_file"));
    let certificate = format!("{tokens}tls_cert = \"/etc/cert.pem\"\n");
    assert!(message(&certificate).contains("no collector.tls_key"));
    assert!(from_content(&format!("{certificate}tls_key = \"/etc/key.pem\"")).is_ok());
    let loopback = "[collector]\ntls_key = \"/etc/key.pem\"";
    assert!(message(loopback).contains("no collector.tls_cert"), "on loopback, too");
}

#[test]
fn an_unusual_value_is_allowed_and_pointed_out() {
    let settings = from_content("write_buffer_size = 5\nwrite_flush_interval = \"30s\"").unwrap();
    let names: Vec<&str> = settings.unusual().iter().map(|key| key.name).collect();
    assert_eq!(names, ["write_buffer_size", "write_flush_interval"]);
}

#[test]
fn a_reload_sees_changed_values_and_not_moved_lines() {
    let before = from_content("retention_days = 30").unwrap();
    let after = from_content("\nretention_days = 30\n[health]\ndeadline = \"3s\"").unwrap();
    let names: Vec<&str> = after.changes_from(&before).iter().map(|key| key.name).collect();
    assert_eq!(names, ["health.deadline"]);
}

#[test]
fn names_and_variables_of_keys_are_unique() {
    let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
    assert_eq!((names.len(), variables.len()), (KEYS.len(), KEYS.len()));
    assert!(SPECIAL_VARIABLES.iter().all(|special| !variables.contains(*special)));
    assert_eq!(find("collector.http").unwrap().variable(), "AUDITCTL_COLLECTOR_HTTP");
    assert!(Profile::ALL.iter().flat_map(|p| p.values()).all(|(key, _)| find(key).is_some()));
}

#[test]
fn the_file_is_looked_for_where_the_documents_say() {
    let named = |path: &str, named_by| CandidatePaths::Required { path: path.into(), named_by };
    let env = pairs(&[("AUDITCTL_CONFIG", "env.toml"), ("HOME", "/home/a")]);
    let flag = Origin::Flag("--config".to_owned());
    assert_eq!(candidate_paths(Some(Path::new("f.toml")), &env), named("f.toml", flag));
    let variable = Origin::Env("AUDITCTL_CONFIG".to_owned());
    assert_eq!(candidate_paths(None, &env), named("env.toml", variable));
    let searched = |list: &[(&str, &str)]| match candidate_paths(None, &pairs(list)) {
        CandidatePaths::FirstOf(paths) => paths,
        required => panic!("{required:?}"),
    };
    let etc = Path::new("/etc/auditctl/auditctl.toml");
    let own = Path::new("auditctl.toml");
    assert_eq!(searched(&[("AUDITCTL_CONFIG", ""), ("HOME", "")]), [own, etc]);
    let home = Path::new("/home/a/.config/auditctl/auditctl.toml");
    assert_eq!(searched(&[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "x")]), [own, home, etc]);
    let xdg = Path::new("/x/auditctl/auditctl.toml");
    assert_eq!(searched(&[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "/x")]), [own, xdg, etc]);
}

const TWO_ALERTS: &str = "[[alerts]]\nname = \"one\"\non = \"event\"\ntype = [\"login\"]\n\
    url = \"https://hooks.example.com/s3cret\"\n\n[[alerts]]\nname = \"two\"\non = \"health\"\n\
    send = \"slack\"\nurl_file = \"slack.url\"\ncooldown = \"1h\"\n";

#[test]
fn alerts_are_tables_whose_values_remember_their_lines() {
    let settings = from_content(TWO_ALERTS).expect("good settings");
    let [one, two] = &settings.alerts[..] else { panic!("two alerts") };
    assert_eq!(
        (one.name.as_str(), one.on, one.send),
        ("one", AlertTrigger::Event, AlertKind::Webhook)
    );
    assert_eq!((two.on, two.send), (AlertTrigger::Health, AlertKind::Slack));
    assert_eq!(
        (one.cooldown, two.cooldown),
        (Duration::from_secs(300), Duration::from_secs(3_600))
    );
    assert_eq!(one.origin("url").to_string(), "auditctl.toml:5");
    assert_eq!(two.origin("cooldown").to_string(), "auditctl.toml:12");
    assert_eq!(two.origin("count").to_string(), "auditctl.toml:7", "the table");
    assert_eq!(settings.origin("alerts").layer(), Layer::File);
}

#[test]
fn what_may_be_a_secret_in_an_alert_is_neither_shown_nor_mistaken_for_another() {
    let settings = from_content(TWO_ALERTS).expect("good settings");
    let text = settings.entries().find(|(key, ..)| *key == "alerts").expect("the key").1;
    for shown in [text.clone(), format!("{settings:?}")] {
        assert!(shown.contains("https://hooks.example.com/…"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    assert!(text.contains("name = \"one\", type = [\"login\"], url = "), "{text}");
    let other = from_content(&TWO_ALERTS.replace("s3cret", "0ther")).expect("good settings");
    let changed: Vec<&str> = other.changes_from(&settings).iter().map(|key| key.name).collect();
    assert_eq!(changed, ["alerts"]);
    let moved = from_content(&format!("\n\n{TWO_ALERTS}")).expect("good settings");
    assert!(moved.changes_from(&settings).is_empty(), "only other lines");
}

#[test]
fn alerts_are_set_in_the_file_only_and_as_tables_only() {
    let errors = from_variables(&[("AUDITCTL_ALERTS", "x")]).expect_err("not by a variable");
    assert!(errors.to_string().contains("each below a line [[alerts]] of its own"), "{errors}");
    for content in ["alerts = 5\n", "[alerts]\nname = \"x\"\n", "alerts = [\"x\"]\n"] {
        assert!(message(content).contains("[[alerts]]"), "{content}");
    }
    let many: String = (0..=MAX_ALERTS)
        .map(|n| {
            format!("[[alerts]]\nname = \"a{n}\"\non = \"health\"\nurl = \"https://a.example/\"\n")
        })
        .collect();
    assert!(message(&many).contains("65 [[alerts]] tables; at most 64"));
}
