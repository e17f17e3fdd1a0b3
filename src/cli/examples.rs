//! Two to four examples for each command, at the end of its long help and of its manual
//! page. A test parses each of them, and fails for a command without any.

use clap::Command;

/// A command by its words, and its examples: what for, and what to type.
type Examples = (&'static str, &'static [(&'static str, &'static str)]);

const EXAMPLES: &[Examples] = &[
    (
        "",
        &[
            ("A tour in a temporary directory", "auditctl demo"),
            ("Collect events into ./logs", "auditctl serve"),
            ("Describe a command, with examples", "auditctl query --help"),
        ],
    ),
    (
        "token",
        &[
            ("A token that may send events", "auditctl token new --name web-1"),
            ("Refuse it from now on", "auditctl token revoke web-1"),
        ],
    ),
    (
        "key",
        &[
            ("Show all keys of the log", "auditctl key show"),
            ("Change the key, once a year", "auditctl key rotate --reason 'yearly'"),
        ],
    ),
    (
        "record",
        &[
            (
                "Record one event, and print its seq",
                "auditctl record --type login --actor alice --outcome success",
            ),
            (
                "Record a file, one JSON object a line; run it again after an interruption",
                "auditctl record --file events.ndjson.gz",
            ),
            (
                "Record what another program prints",
                "auditctl record --keep-going --file - < events.ndjson",
            ),
        ],
    ),
    (
        "serve",
        &[
            ("Collect into ./logs", "auditctl serve"),
            (
                "Take events at the Unix socket only",
                "auditctl --log-dir /var/lib/auditctl/log serve --http off",
            ),
        ],
    ),
    (
        "witness",
        &[
            (
                "Make the key, and print what others need to check cosignatures",
                "auditctl --log-dir /var/lib/auditctl/witness witness --show-key --name witness.example.com/w1",
            ),
            (
                "Cosign for the logs whose keys are in a file",
                "auditctl --log-dir /var/lib/auditctl/witness witness --accept /etc/auditctl/witnessed-logs --http 10.0.0.7:9752",
            ),
        ],
    ),
    (
        "archive",
        &[
            ("Ship what is new to a bucket", "auditctl archive s3://acme-audit/trail"),
            ("To a directory on another machine", "auditctl archive /mnt/audit"),
            (
                "Get the newest committed point back",
                "auditctl restore s3://acme-audit/trail --target ./there",
            ),
        ],
    ),
    (
        "fleet",
        &[
            ("List the logs of a bucket", "auditctl fleet list s3://acme-audit/trail"),
            ("What each of them does", "auditctl fleet verify --help"),
        ],
    ),
    (
        "fleet list",
        &[
            ("Of a bucket", "auditctl fleet list s3://acme-audit/trail"),
            ("For a script", "auditctl --json fleet list /mnt/audit"),
        ],
    ),
    (
        "fleet verify",
        &[
            (
                "All logs, every day",
                "auditctl fleet verify s3://acme-audit/trail --roster roster.txt --roster-key \
                 roster.pub",
            ),
            (
                "One host, against a checkpoint that was kept elsewhere",
                "auditctl fleet verify /mnt/audit --host web-1 --public-key web-1.pub --against \
                 kept.checkpoint",
            ),
            (
                "Read everything again, once a month",
                "auditctl fleet verify s3://acme-audit/trail --full",
            ),
        ],
    ),
    (
        "fleet report",
        &[
            (
                "For an auditor",
                "auditctl fleet report s3://acme-audit/trail --roster roster.txt --roster-key \
                 roster.pub --output 2026-02.txt",
            ),
            ("As JSON", "auditctl --json fleet report /mnt/audit --output 2026-02.json"),
        ],
    ),
    (
        "fleet prove",
        &[
            (
                "The proof of a record that an engine found",
                "auditctl fleet prove s3://acme-audit/trail --log \
                 0123456789abcdef0123456789abcdef --seq 4821 --output proof.json",
            ),
            (
                "In the form of C2SP",
                "auditctl fleet prove /mnt/audit --log 0123456789abcdef0123456789abcdef --seq 7 \
                 --format tlog-proof",
            ),
        ],
    ),
    (
        "fleet roster",
        &[
            (
                "Draft one from what a bucket holds",
                "auditctl fleet roster draft s3://acme-audit/trail --output draft.txt",
            ),
            (
                "Show one, if that key signed it",
                "auditctl fleet roster show roster.txt --public-key roster.pub",
            ),
        ],
    ),
    (
        "fleet roster new-key",
        &[
            (
                "A key to sign rosters with",
                "auditctl fleet roster new-key --name acme.example/roster roster.key",
            ),
            (
                "With its public key in a file",
                "auditctl fleet roster new-key --name acme.example/roster roster.key > roster.pub",
            ),
        ],
    ),
    (
        "fleet roster draft",
        &[
            ("The first one", "auditctl fleet roster draft /mnt/audit --output draft.txt"),
            (
                "A later one",
                "auditctl fleet roster draft s3://acme-audit/trail --name acme --sequence 8",
            ),
        ],
    ),
    (
        "fleet roster sign",
        &[
            (
                "Into a file",
                "auditctl fleet roster sign --key roster.key draft.txt --output roster.txt",
            ),
            ("To stdout", "auditctl fleet roster sign --key roster.key draft.txt"),
        ],
    ),
    (
        "fleet roster show",
        &[
            (
                "If that key signed it",
                "auditctl fleet roster show roster.txt --public-key roster.pub",
            ),
            (
                "For a script",
                "auditctl --json fleet roster show roster.txt --public-key roster.pub",
            ),
        ],
    ),
    (
        "health",
        &[
            ("Show all checks, with what to do", "auditctl health"),
            ("For Nagios, NRPE and cron", "auditctl health --format nagios"),
            ("For node_exporter", "auditctl health --format prometheus > auditctl.prom"),
        ],
    ),
    (
        "monitor",
        &[
            ("Watch live; q leaves, ? shows the keys", "auditctl monitor"),
            ("Print one sample, for a script", "auditctl monitor --once --json"),
        ],
    ),
    (
        "validate",
        &[
            ("Check everything, as the service's user", "auditctl validate"),
            (
                "In a pipeline: no benchmarks, and warnings count",
                "auditctl validate --quick --strict",
            ),
            (
                "Try a bucket with a small object",
                "auditctl validate --cloud s3 --destination acme-audit --probe",
            ),
        ],
    ),
    (
        "backup",
        &[
            ("Back up to backups/audit", "auditctl backup"),
            (
                "Back up, send it to S3, and lock it there for 90 days",
                "auditctl backup --cloud s3 --destination acme-audit --retain-until 90d",
            ),
            ("Back up only what came after the backup before", "auditctl backup --incremental"),
        ],
    ),
    (
        "backup resume",
        &[
            ("Send a backup whose upload stopped", "auditctl backup resume 20260204_210940"),
            (
                "Send it to another bucket",
                "auditctl backup resume 20260204_210940 --destination s3://acme-second/audit",
            ),
        ],
    ),
    (
        "backup pin",
        &[
            ("Protect a backup from cleanup", "auditctl backup pin 20260204_210940"),
            (
                "Protect one in another directory",
                "auditctl backup pin 20260204_210940 --output-dir /mnt/backups",
            ),
        ],
    ),
    (
        "backup unpin",
        &[
            ("Let cleanup remove it again", "auditctl backup unpin 20260204_210940"),
            (
                "The same in another directory",
                "auditctl backup unpin 20260204_210940 --output-dir /mnt/backups",
            ),
        ],
    ),
    (
        "list",
        &[
            ("List the backups here", "auditctl list"),
            ("Read and check all of them", "auditctl list --verify=chain"),
            ("List those in a bucket", "auditctl list --cloud s3 --destination acme-audit"),
        ],
    ),
    (
        "restore",
        &[
            ("Check the newest backup, and change nothing", "auditctl restore latest --dry-run"),
            (
                "Restore it beside the log",
                "auditctl restore latest --target ./restored --public-key audit.pub",
            ),
            ("Try a restore, and keep a signed report of it", "auditctl restore --drill"),
        ],
    ),
    (
        "repair",
        &[
            ("Show what backups would put back", "auditctl repair --dry-run"),
            ("Repair from the log's own backups", "auditctl repair"),
            ("Repair from another copy of the log", "auditctl repair --from /mnt/old/logs"),
        ],
    ),
    (
        "diff",
        &[
            ("Compare the log with its newest backup", "auditctl diff log latest"),
            ("Compare it with another copy", "auditctl diff log /mnt/old/logs --limit 0"),
        ],
    ),
    (
        "cleanup",
        &[
            (
                "Show what would go, and remove nothing",
                "auditctl cleanup --keep 30 --keep-monthly 12 --dry-run",
            ),
            (
                "Keep a month of backups, but never remove more than five at once",
                "auditctl cleanup --keep-within 30d --max-delete 5",
            ),
        ],
    ),
    (
        "verify",
        &[
            ("Read and check every stored byte", "auditctl verify"),
            (
                "Also check that nothing was cut off, with a checkpoint kept elsewhere",
                "auditctl verify --against /mnt/kept/checkpoint.txt",
            ),
            ("Every night: what is new, and a part of the rest", "auditctl verify --since-last"),
            ("Write a report to file", "auditctl verify --report 2026-11.html"),
        ],
    ),
    (
        "query",
        &[
            (
                "Failed logins of the last day",
                "auditctl query --type 'login*' --outcome failure --since 24h",
            ),
            ("Who did most", "auditctl query --group-by actor --top 10"),
            ("When it happened", "auditctl query --type 'login*' --since 7d --histogram"),
            (
                "Large payments, as CSV",
                "auditctl query --type payment --where 'details.amount >= 1000' --format csv > large.csv",
            ),
        ],
    ),
    (
        "open",
        &[
            ("Open the page of the running collector", "auditctl open"),
            ("On a server without a display: print the address", "auditctl open --print"),
        ],
    ),
    (
        "token new",
        &[
            ("A token that may send events", "auditctl token new --name web-1"),
            (
                "A token that may query, for 90 days",
                "auditctl token new --name auditor --role read --expires 90d",
            ),
        ],
    ),
    (
        "token list",
        &[
            ("List all tokens", "auditctl token list"),
            ("The same for a script", "auditctl token list --json"),
        ],
    ),
    (
        "token revoke",
        &[
            ("Refuse a token from now on", "auditctl token revoke web-1"),
            (
                "The same, in a file that the settings do not name",
                "auditctl token --token-file /etc/auditctl/tokens revoke web-1",
            ),
        ],
    ),
    (
        "prove",
        &[
            ("Prove one record to somebody", "auditctl prove 4711 --output proof.json"),
            (
                "The same as a file that checks itself in a browser",
                "auditctl prove 4711 --format html -o proof.html",
            ),
            (
                "Prove that the log extends a checkpoint that somebody kept",
                "auditctl prove --from 4000 --output growth.json",
            ),
        ],
    ),
    (
        "checkpoint",
        &[
            ("Keep a checkpoint", "auditctl checkpoint > /mnt/kept/checkpoint.txt"),
            ("Print it as JSON", "auditctl checkpoint --json"),
        ],
    ),
    (
        "support-bundle",
        &[
            ("Show what would be in it", "auditctl support-bundle --list"),
            ("Write it to another disk", "auditctl support-bundle --output /mnt/support.tar.gz"),
        ],
    ),
    (
        "key show",
        &[
            ("Show all keys of the log", "auditctl key show"),
            ("The same for a script", "auditctl key show --json"),
        ],
    ),
    (
        "key rotate",
        &[
            ("Show whether it would work", "auditctl key rotate --dry-run"),
            ("Change the key", "auditctl key rotate --reason 'yearly'"),
        ],
    ),
    (
        "key new",
        &[
            ("Make a key, and print its public key", "auditctl key new next.key"),
            ("Change to it later", "auditctl key rotate --new-key next.key"),
        ],
    ),
    (
        "key replace",
        &[
            (
                "Show whether it would work",
                "auditctl key replace --reason 'the host burnt down' --dry-run",
            ),
            ("Replace the lost key", "auditctl key replace --reason 'the host burnt down'"),
        ],
    ),
    (
        "key export",
        &[
            (
                "Keep an encrypted copy of the key",
                "auditctl key export --encrypt-to age1… --output audit-key.age",
            ),
            (
                "A copy that either of two people can open",
                "auditctl key export --encrypt-to age1… --encrypt-to age1… > audit-key.age",
            ),
        ],
    ),
    (
        "key import",
        &[
            ("Put the key back", "auditctl key import audit-key.age --identity escrow.txt"),
            (
                "Put it back for a log that was restored elsewhere",
                "auditctl --log-dir ./restored key import audit-key.age --identity escrow.txt",
            ),
        ],
    ),
    (
        "demo",
        &[
            ("A tour in a temporary directory", "auditctl demo"),
            ("Keep the directory", "auditctl demo --keep"),
        ],
    ),
    (
        "completions",
        &[
            (
                "For bash",
                "auditctl completions bash > /usr/share/bash-completion/completions/auditlog",
            ),
            ("For fish", "auditctl completions fish > ~/.config/fish/completions/auditlog.fish"),
        ],
    ),
    (
        "man",
        &[
            ("Read the manual page", "auditctl man | man -l -"),
            ("Install all pages", "auditctl man --dir /usr/local/share/man/man1"),
        ],
    ),
];

/// The command with the examples of each of its commands at the end of their help.
pub(super) fn with_examples(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (words, examples)| {
        let words: Vec<&str> = words.split_whitespace().collect();
        add(command, &words, &text(examples))
    })
}

fn add(command: Command, words: &[&str], text: &str) -> Command {
    match words {
        [] => command.after_long_help(text.to_owned()),
        [first, rest @ ..] if command.find_subcommand(first).is_some() => {
            command.mut_subcommand(first, |command| add(command, rest, text))
        }
        // A build without a feature lacks the commands that need it.
        _ => command,
    }
}

fn text(examples: &[(&str, &str)]) -> String {
    let lines = examples.iter().map(|(what, typed)| format!("\n  {what}:\n    {typed}"));
    format!("Examples:{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a shell does, as far as the examples need it.
    fn words(typed: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut is_quoted = false;
        for sign in typed.chars() {
            match sign {
                '\'' => is_quoted = !is_quoted,
                '|' | '<' | '>' if !is_quoted => break,
                ' ' if !is_quoted => words.push(std::mem::take(&mut word)),
                _ => word.push(sign),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        words
    }

    /// Every command, by its words.
    fn commands(command: &Command, path: &str, found: &mut Vec<String>) {
        found.push(path.trim().to_owned());
        for inner in command.get_subcommands() {
            if inner.get_name() != "help" && !inner.is_hide_set() {
                commands(inner, &format!("{path} {}", inner.get_name()), found);
            }
        }
    }

    #[test]
    fn each_command_has_two_or_three_examples_and_each_can_be_typed() {
        let mut all = Vec::new();
        commands(&crate::cli::command(), "", &mut all);
        let named: Vec<&str> = EXAMPLES.iter().map(|(words, _)| *words).collect();
        for command in &all {
            assert!(named.contains(&command.as_str()), "no examples: auditctl {command}");
        }
        for (command, examples) in EXAMPLES {
            let is_known = all.iter().any(|known| known == command);
            // A build without a feature lacks the commands that need it.
            if !is_known && !cfg!(feature = "encryption") {
                continue;
            }
            assert!(is_known, "examples of no command: {command}");
            assert!((2..=4).contains(&examples.len()), "{command}");
            for (_, typed) in *examples {
                if typed.ends_with("--help") {
                    continue;
                }
                let parsed = crate::cli::command().try_get_matches_from(words(typed));
                assert!(parsed.is_ok(), "{typed}: {}", parsed.expect_err("just seen"));
            }
        }
    }

    #[test]
    fn an_example_is_at_the_end_of_the_long_help_only() {
        let help = |flag: &str| {
            let asked = crate::cli::command().try_get_matches_from(["auditctl", "query", flag]);
            asked.expect_err("help").to_string()
        };
        let (typed, long) = (EXAMPLES.iter().find(|(name, _)| *name == "query"), help("--help"));
        let (_, typed) = typed.expect("query has examples").1[0];
        assert!(long.trim_end().contains(typed), "{long}");
        assert!(long.find("Examples:") > long.find("Global options:"), "{long}");
        assert!(!help("-h").contains("Examples:"));
    }
}
