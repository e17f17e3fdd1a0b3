//! What an embedder can reach: every item, as rustdoc documents it for a build without the default
//! features, is listed in tests/fixtures/public-api.txt. A change there is a change of the
//! library, and has a line in CHANGELOG.md.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const LISTED: &str = "tests/fixtures/public-api.txt";
const HIDDEN: &str = "tests/fixtures/hidden-api.txt";

/// The text of a piece of HTML, on one line.
fn text(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        // What unfolds a long list is no part of it.
        let end = if tag.starts_with("summary") { "</summary>" } else { ">" };
        rest = tag.split_once(end).map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    let text = entities.iter().fold(text, |text, (entity, of)| text.replace(entity, of));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The texts between two marks, in order.
fn between<'a>(html: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    html.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

/// A page's declaration, methods and implemented traits; not those that every type has.
fn described(page: &str) -> Vec<String> {
    let page = page.split("id=\"synthetic-implementations\"").next().unwrap_or(page);
    let page = page.split("id=\"blanket-implementations\"").next().unwrap_or(page);
    let mut lines = Vec::new();
    for declaration in between(page, "<pre class=\"rust item-decl\"><code>", "</code></pre>") {
        lines.push(text(declaration));
    }
    let (own, traits) = page.split_once("id=\"trait-implementations\"").unwrap_or((page, ""));
    lines.extend(between(own, "<h4 class=\"code-header\">", "</h4>").into_iter().map(text));
    let mut implemented: Vec<String> =
        between(traits, "<h3 class=\"code-header\">", "</h3>").into_iter().map(text).collect();
    implemented.sort();
    lines.extend(implemented);
    lines
}

/// Where this test's own binary was built.
fn target() -> PathBuf {
    let own = std::env::current_exe().expect("this binary has a path");
    own.ancestors().nth(3).expect("target/PROFILE/deps/NAME").to_path_buf()
}

/// Documents the library as an embedder has it, in a directory that no other build uses.
fn documented() -> PathBuf {
    let target = target().join("public-api");
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["doc", "--lib", "--no-deps", "--no-default-features", "--quiet", "--target-dir"])
        .arg(&target)
        .env_remove("RUSTDOCFLAGS")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("doc/auditctl")
}

fn listing(documented: &Path) -> String {
    let all = std::fs::read_to_string(documented.join("all.html")).expect("the list of all items");
    let items: BTreeSet<&str> = between(&all, "<li><a href=\"", "\"")
        .into_iter()
        .filter(|item| !item.starts_with('#'))
        .collect();
    assert!(items.len() > 20, "rustdoc's list of items has another form: {items:?}");
    let mut listing = String::new();
    for item in items {
        let page = std::fs::read_to_string(documented.join(item))
            .unwrap_or_else(|error| panic!("{item}: {error}"));
        let (folder, file) = item.rsplit_once('/').unwrap_or(("", item));
        let name = file.trim_end_matches(".html").split_once('.').map_or(file, |(_, name)| name);
        let path = ["auditctl", folder, name].map(|part| part.replace('/', "::"));
        let path: Vec<String> = path.into_iter().filter(|part| !part.is_empty()).collect();
        let lines = described(&page);
        assert!(!lines.is_empty(), "{item}: rustdoc's page has another form");
        listing.push_str(&format!("{}\n", path.join("::")));
        lines.iter().for_each(|line| listing.push_str(&format!("    {line}\n")));
    }
    listing
}

/// Compares with a committed file, or writes it where `PUBLIC_API=renew` is set.
fn compare(file: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("PUBLIC_API").is_some_and(|wish| wish == "renew") {
        std::fs::write(&path, found).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    let of = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (was, is) = (of(&listed), of(found));
    let new: Vec<_> = is.difference(&was).collect();
    let gone: Vec<_> = was.difference(&is).collect();
    assert!(
        listed == found,
        "{file} lists something else.\nnew: {new:#?}\ngone: {gone:#?}\nIf this is meant, renew it \
         and say so in CHANGELOG.md: PUBLIC_API=renew cargo quick-test public_api"
    );
}

#[test]
fn what_an_embedder_can_reach_is_listed() {
    compare(LISTED, &listing(&documented()));
}

/// Public for the compiler, and in no documentation.
fn hidden() -> String {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("sources are UTF-8");
            let lines: Vec<&str> = source.lines().map(str::trim).collect();
            for (at, _) in lines.iter().enumerate().filter(|(_, line)| **line == "#[doc(hidden)]") {
                let item = lines[at..].iter().find(|line| !line.starts_with(['#', '/']));
                let item = item.expect("something is hidden");
                let words: Vec<&str> = item
                    .split(['(', '<', ':', ';', '{'])
                    .next()
                    .unwrap_or(item)
                    .split(' ')
                    .collect();
                found.push(words.join(" ").trim().to_owned());
            }
        }
    }
    found.sort();
    found.into_iter().map(|item| item + "\n").collect()
}

#[test]
fn what_is_hidden_from_an_embedder_and_not_closed_is_listed() {
    compare(HIDDEN, &hidden());
}

#[test]
fn a_page_is_reduced_to_what_can_be_used() {
    let page = "<pre class=\"rust item-decl\"><code>pub struct <a class=\"struct\">Log</a> {\n    pub \
                dir: <a>Vec</a>&lt;u8&gt;,\n}</code></pre><h2 id=\"implementations\"></h2>\
                <h4 class=\"code-header\">pub fn <a>open</a>() -&gt; Self</h4>\
                <h2 id=\"trait-implementations\"></h2><h3 class=\"code-header\">impl Clone for Log</h3>\
                <h4 class=\"code-header\">fn clone(&amp;self) -&gt; Log</h4>\
                <h2 id=\"synthetic-implementations\"></h2><h3 class=\"code-header\">impl Send for Log</h3>";
    assert_eq!(
        described(page),
        ["pub struct Log { pub dir: Vec<u8>, }", "pub fn open() -> Self", "impl Clone for Log"]
    );
    assert_eq!(text("{<summary><span>Show 9 fields</span></summary> a,<br> b }"), "{ a, b }");
}
