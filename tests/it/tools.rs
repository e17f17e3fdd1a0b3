//! Programs that some tests use, and tests that show nothing where they run. Elsewhere
//! a test without its program says so and passes; with `TEST_TOOLS=required`, as
//! `.ci/run` sets it, it fails and says what to install. What no machine can be asked
//! for stays allowed, by the list here.

/// The programs, and the Debian packages that bring them, as `.ci/run` installs them.
const TOOLS: &[(&str, &str)] = &[
    ("faketime", "faketime"),
    ("promtool", "prometheus"),
    ("prometheus", "prometheus"),
    ("nagios4", "nagios4-core"),
    ("tmux", "tmux"),
    ("systemd-analyze", "systemd"),
    ("jq", "jq"),
    ("c++", "g++"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("python3", "python3-minimal"),
    ("npm", "npm"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("setpriv", "util-linux"),
    ("script", "bsdutils"),
    ("haproxy", "haproxy"),
    ("java", "default-jre-headless"),
    ("ip", "iproute2"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("fish", "fish"),
    ("zsh", "zsh"),
];

/// What a skipped test may say wherever it runs, and why that is no hole.
const ALLOWED: &[(&str, &str)] = &[
    ("only root", "whoever is not root cannot become another user or give files away"),
    ("another user cannot run the program here", "the checkout may be closed to others"),
    ("this user may not mount", "a container's kernel may not let even root mount a tmpfs"),
    ("no network namespaces", "a container may not let even root make any"),
    ("no btrfs can be mounted", "the kernel may have no btrfs, or no loop devices"),
    ("no time zones", "a machine may be without tzdata; `.ci/run` installs it"),
    ("only loopback", "a machine without a network has no address to be asked at"),
    ("no IPv6", "a machine may be without it"),
    ("the package has no fuzz", "a packaged crate is tested without the fuzz targets"),
    ("cloud server", "CLOUD_TEST_SERVERS=required decides about these"),
    ("query engines", "CLOUD_TEST_SERVERS=required decides about these"),
    ("journalctl", "a container has no journal; what one says is in tests/fixtures"),
    ("this build", "the documents show commands and settings of features that are left out"),
];

fn is_required() -> bool {
    std::env::var("TEST_TOOLS").is_ok_and(|value| value == "required")
}

/// Says that a test shows nothing here, for want of a program; where all are required,
/// fails instead, and says what to install.
pub(crate) fn missing(program: &str) {
    let found = TOOLS.iter().find(|(name, _)| *name == program);
    let (_, package) = found.unwrap_or_else(|| panic!("{program} is not in the list of tools"));
    let advice = format!("{program} is not installed: apt-get install {package}");
    assert!(!is_required(), "required by TEST_TOOLS: {advice}");
    say(&advice);
}

/// Says why a test shows nothing here; where all tools are required, only what is
/// allowed.
pub(crate) fn skipped(why: &str) {
    let is_allowed = ALLOWED.iter().any(|(begin, _)| why.starts_with(begin));
    assert!(is_allowed, "no reason to skip a test, or none that the list of them has: {why}");
    say(why);
}

#[allow(clippy::print_stderr)]
fn say(why: &str) {
    eprintln!("skipped: {why}");
}

#[test]
fn what_the_checks_install_is_what_tests_may_require() {
    let ci = include_str!("../../.ci/run");
    let wanted = ci.lines().filter_map(|line| line.trim().strip_prefix("want "));
    let wanted: Vec<_> = wanted.filter_map(|line| line.split_once(' ')).collect();
    let mut known: Vec<_> = TOOLS.to_vec();
    // One package brings both; one look is enough.
    known.retain(|(program, _)| *program != "prometheus");
    assert_eq!(wanted, known);
    assert!(ci.contains("TEST_TOOLS=\"${TEST_TOOLS-required}\""), "and requires them");
}

/// Whether this very test, in a process of its own, fails.
fn fails(test: &str, tools: &str) -> bool {
    let this = std::env::current_exe().expect("a path");
    let mut command = std::process::Command::new(this);
    command.args(["--exact", "--ignored", test]).env("TEST_TOOLS", tools);
    !command.output().expect("it runs").status.success()
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn a_test_without_its_program() {
    missing("promtool");
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn a_test_that_no_machine_can_be_asked_for() {
    skipped("only root can be another user");
}

#[test]
fn a_test_without_its_program_fails_where_all_are_required_and_passes_elsewhere() {
    let (one, other) =
        ("tools::a_test_without_its_program", "tools::a_test_that_no_machine_can_be_asked_for");
    assert!(!fails(one, "") && fails(one, "required"));
    assert!(!fails(other, "") && !fails(other, "required"));
}
