//! The pictures in docs/page.md, of a real collector with real events.

use std::path::{Path, PathBuf};

use super::Site;
use crate::browser::Browser;
use crate::support::ok;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/screens");
/// Each picture: its name, the view, what is there when it can be taken, its size, and whether it is dark.
const SHOTS: [Shot; 7] = [
    Shot {
        name: "page-now",
        view: "now",
        there: "[data-tile=Writer] .figure",
        size: (1280, 800),
        is_dark: false,
    },
    Shot {
        name: "page-now-dark",
        view: "now",
        there: "[data-tile=Writer] .figure",
        size: (1280, 800),
        is_dark: true,
    },
    Shot {
        name: "page-explore",
        view: "explore",
        there: ".rows tbody tr",
        size: (1280, 960),
        is_dark: false,
    },
    Shot {
        name: "page-record",
        view: "explore?type=s3%3A*&record=60",
        there: "[data-part=neighbours] table",
        size: (1280, 960),
        is_dark: false,
    },
    Shot {
        name: "page-proof",
        view: "proof",
        there: "[data-part=verification] [data-verdict]",
        size: (1280, 900),
        is_dark: false,
    },
    Shot {
        name: "page-proof-file",
        view: "proof",
        there: "[data-part=coverage] table",
        size: (1280, 900),
        is_dark: true,
    },
    Shot {
        name: "page-phone",
        view: "explore?outcome=failure",
        there: ".rows tbody tr",
        size: (390, 844),
        is_dark: false,
    },
];

struct Shot {
    name: &'static str,
    view: &'static str,
    there: &'static str,
    size: (u32, u32),
    is_dark: bool,
}

impl Shot {
    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(format!("{}.png", self.name))
    }
}

#[test]
#[ignore = "draws the pictures in docs/screens: cargo quick-test -- --ignored page::shots"]
fn the_pictures_of_the_page_are_drawn() {
    let browser = Browser::start().expect("Chromium");
    let site = Site::with_sample();
    ok(&site.dir, &["backup"]);
    let proof = site.dir.path().join("record-60.proof.json");
    std::fs::write(&proof, ok(&site.dir, &["prove", "60"])).expect("written");
    browser.open(&site.address());
    browser.until_text("#session", "auditor");
    browser.open(&site.view("proof"));
    browser.click_text(".verification button", "Verify now");
    browser.until_text("[data-part=verification]", "Verified");
    for shot in &SHOTS {
        browser.dark(shot.is_dark);
        browser.size(shot.size.0, shot.size.1);
        browser.open(&site.view(shot.view));
        browser.until("it is there", &format!("!!document.querySelector({:?})", shot.there));
        browser.until("all was asked", "!document.querySelector('.asking')");
        if shot.name == "page-proof-file" {
            let key = std::fs::read_to_string(site.dir.log().join("audit.pub")).expect("a key");
            browser.type_into("#keys", key.trim());
            browser.choose_file("#file", &proof);
            browser.until_text(".results", "Proven");
            browser.script("document.querySelector('#files').scrollIntoView()", Vec::new());
        } else if shot.name == "page-record" {
            browser.script(
                "document.activeElement.blur(); document.querySelector('.tops').scrollIntoView()",
                Vec::new(),
            );
        } else {
            browser.script("document.activeElement.blur(); scrollTo(0, 0)", Vec::new());
        }
        std::fs::write(shot.path(), browser.picture()).expect("written");
    }
}

#[test]
fn the_document_shows_each_picture_and_they_are_small() {
    let page = include_str!("../../../docs/page.md");
    let mut all = 0;
    for shot in &SHOTS {
        assert!(page.contains(&format!("(screens/{}.png)", shot.name)), "{}", shot.name);
        let bytes = std::fs::read(shot.path()).expect(shot.name);
        assert!(bytes.starts_with(b"\x89PNG"), "{}", shot.name);
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"));
        assert_eq!((number(16), number(20)), shot.size, "{}", shot.name);
        all += bytes.len();
    }
    assert!(all < 1_000_000, "{all} bytes");
}
