//! The documents that repeat the table of keys are equal to it. When one
//! differs, the failing test prints the whole text to paste.

use std::path::PathBuf;

use super::{
    ALERT_KEYS, AlertKind, AlertSettings, KEYS, Key, Kind, LISTENER_KEYS, MAPPING_KEYS, Profile,
    Settings, Sources, load,
};

const PAGE: &str = include_str!("../../docs/configuration.md");
const EXAMPLE: &str = include_str!("../../docs/auditctl.example.toml");

/// What stands between `<!-- name: begin -->` and `<!-- name: end -->`.
fn marked(name: &str) -> &'static str {
    let begin = format!("<!-- {name}: begin -->\n");
    let after = PAGE.split_once(&begin).expect("the page has the marker").1;
    after.split_once(&format!("<!-- {name}: end -->")).expect("the page has the end marker").0
}

fn markdown_table<S>(keys: &[Key<S>], defaults: &S) -> String {
    let mut table = "| key | default | range | what |\n|---|---|---|---|\n".to_owned();
    for key in keys {
        let default = key.text(defaults);
        let default = if default.is_empty() { "–".to_owned() } else { format!("`{default}`") };
        let range = match (key.kind, key.range) {
            (Kind::Choice(names) | Kind::Choices(names), _) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                quoted.join(", ")
            }
            (_, Some(range)) => key.show_range(range),
            (Kind::Bool, None) => "true, false".to_owned(),
            _ => String::new(),
        };
        let recommended = key
            .recommended
            .filter(|recommended| Some(*recommended) != key.range)
            .map(|recommended| format!(" (recommended: {})", key.show_range(recommended)))
            .unwrap_or_default();
        table.push_str(&format!(
            "| `{}` | {default} | {range}{recommended} | {} |\n",
            key.name, key.doc
        ));
    }
    table
}

fn profile_table() -> String {
    let keys = Profile::Production.values().map(|(key, _)| format!("`{key}`"));
    let mut table = format!("| profile | {} |\n|---|---|---|---|---|\n", keys.join(" | "));
    for profile in Profile::ALL {
        let values = profile.values().map(|(_, value)| value.to_owned());
        table.push_str(&format!("| `{}` | {} |\n", profile.name(), values.join(" | ")));
    }
    table
}

fn example_file() -> String {
    let mut text = "# auditctl.toml: every setting with its default.\n\
        # Take the \"# \" away from what you want to change. docs/configuration.md explains.\n"
        .to_owned();
    let defaults = Settings::default();
    let mut section = "";
    for key in KEYS.iter().filter(|key| !matches!(key.kind, Kind::Tables(_))) {
        let (own_section, own) = key.name.split_once('.').unwrap_or(("", key.name));
        if own_section != section {
            section = own_section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        let value = key.text(&defaults);
        let value = if key.kind.quoted() { format!("{value:?}") } else { value };
        text.push_str(&format!("\n## {}.\n# {own} = {value}\n", key.doc));
    }
    text.push_str(
        "\n## An alert; any number of such tables. docs/alerts.md explains.\n## [[alerts]]\n",
    );
    let defaults = AlertSettings::default();
    for key in ALERT_KEYS {
        let own = super::alert_keys::own_name(key);
        let value = key.text(&defaults);
        let value = if key.kind.quoted() { format!("{value:?}") } else { value };
        text.push_str(&format!("## {own} = {value}   # {}\n", key.doc));
    }
    text
}

#[test]
fn the_page_holds_the_table_of_keys() {
    let expected = markdown_table(KEYS, &Settings::default());
    assert!(marked("keys") == expected, "docs/configuration.md, keys: paste\n{expected}");
    let mut expected = "| key | what |\n|---|---|\n".to_owned();
    expected.extend(MAPPING_KEYS.iter().map(|(key, what)| format!("| `{key}` | {what} |\n")));
    assert!(marked("mapping") == expected, "docs/configuration.md, mapping: paste\n{expected}");
    let mut expected = "| key | what |\n|---|---|\n".to_owned();
    expected.extend(LISTENER_KEYS.iter().map(|(key, what)| format!("| `{key}` | {what} |\n")));
    assert!(marked("listener") == expected, "docs/configuration.md, listener: paste\n{expected}");
    let expected = markdown_table(ALERT_KEYS, &AlertSettings::default());
    assert!(marked("alerts") == expected, "docs/configuration.md, alerts: paste\n{expected}");
}

#[test]
fn the_page_holds_the_profiles() {
    let expected = profile_table();
    assert!(marked("profiles") == expected, "docs/configuration.md, profiles: paste\n{expected}");
}

#[test]
fn the_example_file_holds_every_key_with_its_default() {
    let expected = example_file();
    assert!(EXAMPLE == expected, "docs/auditctl.example.toml: paste\n{expected}");
}

#[test]
fn the_example_file_as_it_is_sets_nothing() {
    let file = Some((PathBuf::from("auditctl.example.toml"), EXAMPLE.to_owned()));
    let settings = load(&Sources { file, ..Sources::default() }).expect("it is valid");
    assert_eq!(settings, Settings::default());
}

#[test]
fn the_example_file_without_its_comment_signs_sets_every_key_to_its_default() {
    let lines = EXAMPLE.lines().skip(2).map(|line| line.strip_prefix("# ").unwrap_or(line));
    let content: Vec<&str> = lines.collect();
    let file = Some((PathBuf::from("auditctl.example.toml"), content.join("\n")));
    let settings = load(&Sources { file, ..Sources::default() }).expect("it is valid");
    assert_eq!(settings.changes_from(&Settings::default()).len(), 0);
    for (key, _, origin) in
        settings.entries().filter(|(key, ..)| !["alerts", "mapping", "listener"].contains(key))
    {
        assert_eq!(origin.layer(), super::Layer::File, "{key} is in the file");
    }
}

#[test]
fn each_field_is_documented_as_its_key_is() {
    let source = include_str!("settings.rs");
    for key in KEYS {
        let field = key.name.rsplit('.').next().expect("a split has a last part");
        let expected = format!("    /// {}.\n    pub {field}: ", key.doc);
        assert!(source.contains(&expected), "src/config/settings.rs lacks\n{expected}");
    }
    let source = include_str!("alert.rs");
    for key in ALERT_KEYS {
        let expected = format!("    /// {}.\n    pub ", key.doc);
        assert!(source.contains(&expected), "src/config/alert.rs lacks\n{expected}");
    }
}

#[test]
fn the_examples_on_the_page_are_valid() {
    const ALERTS: &str = include_str!("../../docs/alerts.md");
    let examples = |page: &'static str| page.split("```toml\n").skip(1);
    assert!(examples(PAGE).count() > 0 && examples(ALERTS).count() > 0);
    const MAPPINGS: &str = include_str!("../../docs/mappings.md");
    let examples = examples(PAGE).chain(examples(ALERTS)).chain(examples(MAPPINGS));
    for example in examples {
        let content = example.split_once("```").expect("the block ends").0.to_owned();
        let file = Some((PathBuf::from("docs/configuration.md"), content));
        load(&Sources { file, ..Sources::default() }).expect("it is valid");
    }
}

#[test]
fn the_page_about_mappings_tells_of_each_that_is_built_in() {
    const MAPPINGS: &str = include_str!("../../docs/mappings.md");
    let settings = Settings::default();
    assert_eq!(settings.mapping.names().len(), 9);
    for name in settings.mapping.names() {
        assert!(MAPPINGS.contains(&format!("\n## {name}\n")), "docs/mappings.md lacks {name}");
    }
}

#[test]
fn the_page_about_alerts_tells_of_every_kind_of_target() {
    const ALERTS: &str = include_str!("../../docs/alerts.md");
    for name in AlertKind::NAMES {
        assert!(ALERTS.to_lowercase().contains(name), "docs/alerts.md says nothing of {name}");
    }
}
