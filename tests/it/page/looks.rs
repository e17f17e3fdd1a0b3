//! For everybody: assistive programs, the keyboard alone, small screens.

use serde_json::json;

use super::Site;
use crate::browser::{Browser, key};
use crate::fetched::axe;

/// Each view, with something in it.
const VIEWS: [(&str, &str); 3] = [
    ("now", "[data-tile=Writer] .figure"),
    ("explore?record=3", "[data-part=neighbours] table"),
    ("proof", "[data-part=coverage] table"),
];

#[test]
fn axe_finds_nothing_serious_in_light_and_dark() {
    let Some(axe) = axe() else { return };
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    for is_dark in [false, true] {
        browser.dark(is_dark);
        for (view, there) in VIEWS {
            browser.open(&site.view(view));
            browser.until(there, &format!("!!document.querySelector({})", json!(there)));
            browser.until("all was asked", "!document.querySelector('.asking')");
            let found = found_by(&browser, &axe);
            assert!(found.is_empty(), "{view}, dark {is_dark}: {found:#?}");
        }
        let out =
            "document.querySelector('#form').hidden = false; document.body.classList.add('old');";
        browser.script(out, Vec::new());
        let found = found_by(&browser, &axe);
        assert!(found.is_empty(), "old, dark {is_dark}: {found:#?}");
    }
    // It does find what is wrong.
    browser.script(
        "document.querySelector('main').append(document.createElement('button'))",
        Vec::new(),
    );
    assert!(!found_by(&browser, &axe).is_empty());
}

/// The serious and critical findings: rule, and where.
fn found_by(browser: &Browser, axe: &str) -> Vec<String> {
    let body = format!(
        "{axe}; const all = await axe.run(document, {{ resultTypes: ['violations'] }});\
         return all.violations.filter((one) => ['serious', 'critical'].includes(one.impact))\
         .flatMap((one) => one.nodes.map((node) => `${{one.id}}: ${{node.html.slice(0, 200)}} ${{node.failureSummary}}`));"
    );
    let found = browser.script(&body, Vec::new());
    found.as_array().expect("findings").iter().map(ToString::to_string).collect()
}

/// Presses Tab until the element with the focus fits.
fn tab_to(browser: &Browser, css: &str) {
    for _ in 0..150 {
        if browser.value(&format!("document.activeElement.matches({})", json!(css))) == true {
            return;
        }
        browser.press(key::TAB);
    }
    panic!("the Tab key does not come to {css}");
}

#[test]
fn everything_is_reached_with_the_keyboard_alone() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    // The first stop leads past the navigation.
    browser.script("document.activeElement.blur()", Vec::new());
    tab_to(&browser, "#skip");
    browser.press(key::ENTER);
    assert_eq!(browser.value("document.activeElement.id"), "main");
    browser.reload();
    browser.until_text("#session", "auditor");
    tab_to(&browser, "nav a[href='#/explore']");
    browser.press(key::ENTER);
    browser.until("records", "document.querySelectorAll('.rows tbody tr').length > 10");
    assert_eq!(browser.value("document.activeElement.textContent"), "Explore");
    // A filter, typed.
    tab_to(&browser, "#value");
    browser.press("s3:*");
    browser.press(key::ENTER);
    browser.until_text(".chips", "s3:*");
    // A filter of a bar.
    tab_to(&browser, "[data-top=outcome] button");
    browser.press(key::SPACE);
    browser.until("two filters", "document.querySelectorAll('.chips li').length === 2");
    browser.until("all was asked", "!document.querySelector('.asking')");
    // A part of the time.
    let whole = browser.text(".summary .said-of");
    tab_to(&browser, ".handle");
    browser.press(key::RIGHT);
    browser.press(key::RIGHT);
    let said = browser.value("document.activeElement.getAttribute('aria-valuetext')");
    assert!(said.as_str().expect("text").contains("Enter applies"), "{said}");
    browser.press(key::ENTER);
    browser.until("a period", "document.querySelector('#since').value !== ''");
    browser.until("all was asked", "!document.querySelector('.asking')");
    assert_ne!(browser.text(".summary .said-of"), whole);
    browser.back();
    browser.until("the whole time again", "document.querySelector('#since').value === ''");
    browser.until("records", "document.querySelectorAll('.rows tbody tr').length > 2");
    // From record to record, into one, and back to where one was.
    tab_to(&browser, ".rows tbody a");
    browser.press(key::DOWN);
    browser.press(key::DOWN);
    let seq = browser.value("document.activeElement.textContent");
    browser.press(key::ENTER);
    browser.until("it is open", "document.activeElement.textContent.startsWith('Record ')");
    let heading = browser.value("document.activeElement.textContent");
    assert_eq!(heading, format!("Record {}", seq.as_str().expect("text")));
    browser.until_text("[data-part=neighbours]", "Neighbours");
    browser.press(key::ESCAPE);
    browser.until("it is closed", "document.querySelector('.record').hidden");
    assert_eq!(browser.value("document.activeElement.textContent"), seq);
    // The focus is always seen.
    browser.press(key::DOWN);
    let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid");
}

#[test]
fn on_a_phone_nothing_scrolls_sideways() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    let long = "x".repeat(3_000);
    site.record(&format!(
        "{{\"event_type\":\"login\",\"actor\":\"{}\",\"target\":\"{}\",\"details\":{{\"{}\":\"{long}\"}}}}\n",
        &long[..250], &long[..250], &long[..200]
    ));
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    let last = site.get("/v1/status")["log"]["next"].as_u64().expect("a seq") - 1;
    let record = format!("explore?record={last}");
    for width in [360, 768, 1280, 1920, 2560] {
        browser.size(width, 800);
        for (view, there) in VIEWS {
            let view = if view.contains("record") { &record } else { view };
            browser.open(&site.view(view));
            browser.until(there, &format!("!!document.querySelector({})", json!(there)));
            browser.until("all was asked", "!document.querySelector('.asking')");
            let wide = browser.value("document.documentElement.scrollWidth");
            assert_eq!(wide, width, "{view} at {width}");
        }
        // The table of records fits too, also beside a record.
        for view in ["explore", &record] {
            browser.open(&site.view(view));
            browser.until("records", "document.querySelectorAll('.rows tbody tr').length > 3");
            browser.until("all was asked", "!document.querySelector('.asking')");
            let fits = "(() => { const of = document.querySelector('.records .scroll'); return of.scrollWidth <= of.clientWidth; })()";
            assert_eq!(browser.value(fits), true, "the table in {view} at {width}");
        }
        // What its columns have no room for stands in them all the same.
        let actor = format!(
            "[...document.querySelectorAll('.rows tr[data-seq=\"{last}\"] td[data-label=Actor]')].map((cell) => [cell.textContent, cell.title])"
        );
        assert_eq!(browser.value(&actor), json!([[&long[..250], &long[..250]]]), "at {width}");
    }
    // Fingers need room.
    browser.size(360, 800);
    browser.open(&site.view("explore"));
    let low = "[...document.querySelectorAll('.question button, .pager button, .tools button')].every((one) => one.offsetParent === null || one.closest('.chips') || one.getBoundingClientRect().height >= 24)";
    assert_eq!(browser.value(low), true);
}

#[test]
fn the_page_stands_still_for_who_wants_it() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::with_sample();
    browser.open(&site.address());
    let features = json!([{"name": "prefers-reduced-motion", "value": "reduce"}]);
    browser.cdp("Emulation.setEmulatedMedia", json!({"features": features}));
    browser.open(&site.view("explore"));
    browser.until("records", "document.querySelectorAll('.rows tbody tr').length > 3");
    browser.click_text(".tools button", "Follow live");
    browser.until_text("[data-part=follow]", "Live");
    site.record("{\"event_type\":\"login\"}\n");
    browser.until("a new row", "!!document.querySelector('.rows .fresh')");
    assert_eq!(browser.value("document.getAnimations().length"), 0);
}
