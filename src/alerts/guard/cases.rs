//! What the guard lets through and what not, case by case.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::address::{Class, classify};
use super::allow::AllowList;
use super::resolve::{Guard, Lookup, ResolveError};
use super::target::{Policy, Refusal};

fn policy(allow: &[&str], allow_http: bool) -> Policy {
    let allow: Vec<String> = allow.iter().map(|entry| (*entry).to_owned()).collect();
    Policy { allow: AllowList::parse(&allow).expect("targets"), allow_http }
}

/// `web` of the address, and of the addresses that its name has.
fn outcome(policy: &Policy, url: &str, answers: &[&str]) -> &'static str {
    let checked = policy.web(url).and_then(|target| {
        let addresses = answers.iter().map(|text| text.parse::<IpAddr>().expect(text));
        addresses.map(|address| policy.address(&target, address)).collect::<Result<Vec<()>, _>>()
    });
    match checked {
        Ok(_) => "goes",
        Err(Refusal::Malformed(_)) => "malformed",
        Err(Refusal::Scheme { .. }) => "scheme",
        Err(Refusal::Credentials) => "credentials",
        Err(Refusal::Port { .. }) => "port",
        Err(Refusal::OwnName { .. }) => "own name",
        Err(Refusal::Address { .. }) => "address",
        Err(Refusal::Plain { .. }) => "plain",
    }
}

#[test]
fn each_web_address_is_judged_as_it_is_written() {
    for (what, url, expected) in [
        ("a public name", "https://hooks.example.com/audit", "goes"),
        ("a public name with a high port", "https://hooks.example.com:8443/x?y=z#w", "goes"),
        ("a name in capitals", "https://HOOKS.Example.COM/", "goes"),
        ("a name of another script", "https://hööks.example/", "goes"),
        ("a public address", "https://93.184.216.34/", "goes"),
        ("a public IPv6 address", "https://[2606:2800:220:1:248:1893:25c8:1946]/", "goes"),
        ("plain http", "http://hooks.example.com/", "scheme"),
        ("a file", "file:///etc/passwd", "scheme"),
        ("gopher", "gopher://hooks.example.com:70/_x", "scheme"),
        ("ftp", "ftp://hooks.example.com/", "scheme"),
        ("javascript", "javascript:alert(1)", "scheme"),
        ("no scheme", "hooks.example.com/audit", "malformed"),
        ("nothing", "", "malformed"),
        ("no host", "https://", "malformed"),
        ("name and password", "https://user:pw@hooks.example.com/", "credentials"),
        ("a name only", "https://user@hooks.example.com/", "credentials"),
        ("an empty name", "https://@hooks.example.com/", "credentials"),
        ("an address that poses as a name", "https://hooks.example.com@127.0.0.1/", "credentials"),
        ("an address behind a fragment", "https://hooks.example.com#@127.0.0.1/", "goes"),
        ("a backslash for a slash", "https://hooks.example.com\\@127.0.0.1/", "malformed"),
        ("a space", "https://hooks.example.com /", "malformed"),
        ("a tab that readers drop", "https://127.0.\t0.1/", "malformed"),
        ("a line end that readers drop", "https://hooks.example.com/\r\nhost: x", "malformed"),
        ("a NUL", "https://hooks.example.com\0.evil.example/", "malformed"),
        ("a trailing dot", "https://hooks.example.com./", "malformed"),
        ("a percent-encoded address", "https://127.0.0.%31/", "malformed"),
        ("port 0", "https://hooks.example.com:0/", "port"),
        ("SSH's port", "https://hooks.example.com:22/", "port"),
        ("SMTP's port", "https://hooks.example.com:25/", "port"),
        ("a port that is none", "https://hooks.example.com:99999/", "malformed"),
        ("localhost", "https://localhost/", "own name"),
        ("below localhost", "https://a.localhost/", "own name"),
        ("a name without a dot", "https://intranet-host/", "own name"),
        ("Google's metadata by name", "https://metadata.google.internal/", "own name"),
        ("mDNS", "https://printer.local/", "own name"),
        ("a home network", "https://nas.home.arpa/", "own name"),
        ("the cluster's own", "https://kubernetes.default.svc.internal/", "own name"),
        ("loopback", "https://127.0.0.1/", "address"),
        ("all of loopback", "https://127.255.255.254/", "address"),
        ("loopback in hex", "https://0x7f.1/", "malformed"),
        ("loopback as one number", "https://2130706433/", "malformed"),
        ("loopback in hex as one number", "https://0x7f000001/", "malformed"),
        ("loopback in octal", "https://0177.0.0.1/", "malformed"),
        ("loopback, short", "https://127.1/", "malformed"),
        ("a public address in hex", "https://0x5db8d822/", "malformed"),
        ("full-width digits", "https://１２７.０.０.１/", "malformed"),
        ("circled digits", "https://①②⑦.⓪.⓪.①/", "malformed"),
        ("ideographic full stops", "https://127。0。0。1/", "malformed"),
        ("nobody's address", "https://0.0.0.0/", "address"),
        ("nothing but 0", "https://0/", "malformed"),
        ("IPv6 loopback", "https://[::1]/", "address"),
        ("IPv6 loopback in full", "https://[0:0:0:0:0:0:0:1]/", "address"),
        ("IPv6 unspecified", "https://[::]/", "address"),
        ("IPv4-mapped loopback", "https://[::ffff:127.0.0.1]/", "address"),
        ("IPv4-mapped loopback in hex", "https://[::ffff:7f00:1]/", "address"),
        ("IPv4-compatible loopback", "https://[::127.0.0.1]/", "address"),
        ("NAT64 of metadata", "https://[64:ff9b::a9fe:a9fe]/", "address"),
        ("NAT64 of a public address", "https://[64:ff9b::5db8:d822]/", "goes"),
        ("a zone", "https://[fe80::1%25eth0]/", "malformed"),
        ("the metadata service", "https://169.254.169.254/latest/meta-data/", "address"),
        ("the metadata service in hex", "https://0xa9fea9fe/", "malformed"),
        ("AWS's metadata by IPv6", "https://[fd00:ec2::254]/", "address"),
        ("ECS credentials", "https://169.254.170.2/v2/credentials", "address"),
        ("Alibaba's metadata", "https://100.100.100.200/", "address"),
        ("Oracle's metadata", "https://192.0.0.192/", "address"),
        ("Azure's wire server", "https://168.63.129.16/", "address"),
    ] {
        assert_eq!(outcome(&policy(&[], false), url, &[]), expected, "{what}: {url:?}");
    }
}

#[test]
fn each_address_that_a_name_may_have_is_judged_by_what_it_is() {
    let cases = [
        ("a public one", "93.184.216.34", true),
        ("another", "1.1.1.1", true),
        ("below 10/8", "9.255.255.255", true),
        ("10/8", "10.0.0.1", false),
        ("above 10/8", "11.0.0.0", true),
        ("below a carrier's NAT", "100.63.255.255", true),
        ("a carrier's NAT", "100.64.0.1", false),
        ("its last", "100.127.255.255", false),
        ("above it", "100.128.0.0", true),
        ("loopback", "127.0.0.53", false),
        ("link-local", "169.254.1.1", false),
        ("below 172.16/12", "172.15.255.255", true),
        ("172.16/12", "172.16.0.1", false),
        ("its last", "172.31.255.255", false),
        ("above it", "172.32.0.0", true),
        ("for protocols", "192.0.0.8", false),
        ("for documentation", "192.0.2.1", false),
        ("6to4 relays", "192.88.99.1", false),
        ("192.168/16", "192.168.1.1", false),
        ("for benchmarks", "198.19.255.255", false),
        ("for documentation", "198.51.100.7", false),
        ("for documentation", "203.0.113.7", false),
        ("multicast", "224.0.0.1", false),
        ("its last", "239.255.255.250", false),
        ("reserved", "240.0.0.1", false),
        ("broadcast", "255.255.255.255", false),
        ("this network", "0.1.2.3", false),
        ("IPv4-mapped private", "::ffff:192.168.1.1", false),
        ("IPv4-mapped public", "::ffff:93.184.216.34", true),
        ("IPv4-compatible", "::93.184.216.34", false),
        ("IPv4-translated", "::ffff:0:93.184.216.34", false),
        ("NAT64 of private", "64:ff9b::10.0.0.1", false),
        ("NAT64 of loopback", "64:ff9b::7f00:1", false),
        ("NAT64 of public", "64:ff9b::93.184.216.34", true),
        ("a translator's own", "64:ff9b:1::93.184.216.34", false),
        ("6to4 of loopback", "2002:7f00:1::", false),
        ("6to4 of public", "2002:5db8:d822::1", false),
        ("Teredo", "2001:0:5db8:d822::1", false),
        ("ORCHIDv2", "2001:20::1", false),
        ("for documentation", "2001:db8::1", false),
        ("for documentation, newer", "3fff:fff::1", false),
        ("segment routing", "5f00::1", false),
        ("discarded", "100::1", false),
        ("ISATAP of private", "2606:4700::5efe:10.0.0.1", false),
        ("unique local", "fd12:3456::1", false),
        ("unique local, the other half", "fc00::1", false),
        ("link-local", "fe80::1", false),
        ("site-local", "fec0::1", false),
        ("multicast", "ff02::1", false),
        ("not assigned", "4000::1", false),
        ("public", "2606:4700:4700::1111", true),
        ("public", "2a00:1450:4001::200e", true),
    ];
    for (what, text, public) in cases {
        let class = classify(text.parse().expect(text));
        assert_eq!(class == Class::Public, public, "{what}: {text}: {class:?}");
        let expected = if public { "goes" } else { "address" };
        let url = "https://hooks.example.com/";
        assert_eq!(outcome(&policy(&[], false), url, &[text]), expected, "{what}: {text}");
    }
}

#[test]
fn what_is_allowed_goes_and_nothing_beside_it() {
    for (what, allow, http, url, answer, expected) in [
        ("a name", "hooks.internal", false, "https://hooks.internal/", "10.1.2.3", "goes"),
        (
            "its port",
            "hooks.internal:8443",
            false,
            "https://hooks.internal:8443/",
            "10.1.2.3",
            "goes",
        ),
        (
            "another port",
            "hooks.internal:8443",
            false,
            "https://hooks.internal/",
            "10.1.2.3",
            "own name",
        ),
        ("localhost", "localhost", false, "https://localhost:8443/", "127.0.0.1", "goes"),
        ("another name", "hooks.internal", false, "https://x.internal/", "10.1.2.3", "own name"),
        (
            "metadata behind an allowed name",
            "hooks.internal",
            false,
            "https://hooks.internal/",
            "169.254.169.254",
            "address",
        ),
        (
            "AWS's IPv6 metadata behind it",
            "hooks.internal",
            false,
            "https://hooks.internal/",
            "fd00:ec2::254",
            "address",
        ),
        (
            "multicast behind it",
            "hooks.internal",
            false,
            "https://hooks.internal/",
            "224.0.0.1",
            "address",
        ),
        (
            "a mapped address behind it",
            "hooks.internal",
            false,
            "https://hooks.internal/",
            "::ffff:10.0.0.1",
            "goes",
        ),
        ("a network", "10.1.2.0/24", false, "https://hooks.example.com/", "10.1.2.3", "goes"),
        (
            "beside the network",
            "10.1.2.0/24",
            false,
            "https://hooks.example.com/",
            "10.1.3.3",
            "address",
        ),
        ("an address", "127.0.0.1:8080", false, "https://127.0.0.1:8080/", "127.0.0.1", "goes"),
        (
            "its other port",
            "127.0.0.1:8080",
            false,
            "https://127.0.0.1:8081/",
            "127.0.0.1",
            "address",
        ),
        (
            "an odd notation of it",
            "127.0.0.1:8080",
            false,
            "https://127.1:8080/",
            "127.0.0.1",
            "malformed",
        ),
        (
            "http without leave",
            "127.0.0.1:8080",
            false,
            "http://127.0.0.1:8080/",
            "127.0.0.1",
            "scheme",
        ),
        ("http with leave", "127.0.0.1:8080", true, "http://127.0.0.1:8080/", "127.0.0.1", "goes"),
        (
            "http to a public address",
            "127.0.0.1:8080",
            true,
            "http://93.184.216.34/",
            "93.184.216.34",
            "plain",
        ),
        (
            "http to a public name",
            "127.0.0.1",
            true,
            "http://hooks.example.com/",
            "93.184.216.34",
            "plain",
        ),
        (
            "http to a public name that is allowed",
            "hooks.example.com",
            true,
            "http://hooks.example.com/",
            "93.184.216.34",
            "goes",
        ),
        (
            "metadata by its address",
            "169.254.169.254",
            true,
            "http://169.254.169.254/",
            "169.254.169.254",
            "goes",
        ),
        (
            "a low port",
            "hooks.example.com:22",
            false,
            "https://hooks.example.com:22/",
            "93.184.216.34",
            "goes",
        ),
        ("IPv6", "[fd00::1]:8443", false, "https://[fd00::1]:8443/", "fd00::1", "goes"),
    ] {
        let policy = policy(&[allow], http);
        assert_eq!(outcome(&policy, url, &[answer]), expected, "{what}: {allow} {url} {answer}");
    }
}

#[test]
fn mail_servers_are_judged_alike() {
    let open = policy(&["127.0.0.1:2525"], true);
    for (server, plain, goes) in [
        ("mail.example.com:587", false, true),
        ("mail.example.com:465", false, true),
        ("mail.example.com:22", false, false),
        ("mail.example.com", false, false),
        ("localhost:25", false, false),
        ("127.0.0.1:25", false, false),
        ("127.0.0.1:2525", true, true),
        ("[::1]:25", false, false),
        ("169.254.169.254:25", false, false),
        ("user@mail.example.com:25", false, false),
    ] {
        assert_eq!(open.mail(server, plain).is_ok(), goes, "{server}");
    }
    assert!(policy(&["127.0.0.1:2525"], false).mail("127.0.0.1:2525", true).is_err(), "no TLS");
}

/// Answers differently from time to time.
#[derive(Debug)]
struct Fickle(Mutex<VecDeque<Vec<&'static str>>>);

impl Lookup for Fickle {
    fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().expect("not poisoned");
        let answer = answers.pop_front().ok_or(io::ErrorKind::NotFound)?;
        Ok(answer.into_iter().map(|text| text.parse().expect(text)).collect())
    }
}

#[test]
fn one_bad_address_among_good_ones_refuses_the_target() {
    let answers = [vec!["93.184.216.34", "10.0.0.1"], vec!["93.184.216.34"], vec![]];
    let lookup = Arc::new(Fickle(Mutex::new(answers.into())));
    let guard = Guard { policy: policy(&[], false), lookup };
    let target = guard.policy.web("https://hooks.example.com/").expect("good as it is written");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let resolve = || runtime.block_on(guard.resolve(&target, Duration::from_secs(20)));
    assert!(matches!(resolve(), Err(ResolveError::Refused(Refusal::Address { .. }))));
    let good = resolve().expect("a public address");
    assert_eq!(good, ["93.184.216.34:443".parse().expect("address")]);
    assert!(matches!(resolve(), Err(ResolveError::Failed { .. })), "no address at all");
}
