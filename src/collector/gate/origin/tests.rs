//! What a request is, by its headers alone.

use super::*;

fn naming(hosts: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for host in hosts {
        headers.append(header::HOST, HeaderValue::from_static(host));
    }
    headers
}

/// C7.
#[test]
fn a_request_is_for_this_machine_by_its_own_names_or_without_any() {
    for host in [
        "localhost",
        "LocalHost:9514",
        "127.0.0.1",
        "127.0.0.1:9514",
        "127.9.9.9:80",
        "[::1]",
        "[::1]:9514",
        // As HTTP/1.1 has it where there is no host: no browser sends that.
        "",
    ] {
        assert!(is_local_host(&naming(&[host]), false), "{host}");
    }
    assert!(is_local_host(&HeaderMap::new(), false), "HTTP/1.0");
    for host in [
        "example.com",
        "example.com:9514",
        "localhost.example.com:9514",
        "localhost:example.com",
        "127.0.0.1.example.com",
    ] {
        assert!(!is_local_host(&naming(&[host]), false), "{host}");
        assert!(!is_local_host(&naming(&[host]), true), "{host}: a name can be pointed here");
    }
    for host in ["192.0.2.1:9514", "192.0.2.1", "[2001:db8::1]:9514", "[2001:db8::1]", "0.0.0.0"] {
        assert!(!is_local_host(&naming(&[host]), false), "{host}");
        assert!(is_local_host(&naming(&[host]), true), "{host}: a health check");
    }
    assert!(!is_local_host(&naming(&["localhost", "example.com"]), true), "one of two");
}

#[test]
fn a_browser_says_for_which_site_it_asks() {
    for (name, value, is_page) in [
        ("origin", "http://example.com", true),
        ("origin", "null", true),
        ("sec-fetch-site", "cross-site", true),
        ("sec-fetch-site", "same-site", true),
        ("sec-fetch-site", "none", false),
        ("sec-fetch-site", "same-origin", false),
        ("user-agent", "curl", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(is_of_web_page(&headers), is_page, "{name}: {value}");
    }
}
