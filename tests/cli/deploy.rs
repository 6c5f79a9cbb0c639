//! What deploy/ and scripts/ say about the program: arguments, folders, and what a binary needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{CommandFactory, Parser};
use kbk::commands::Cli;
use kbk::metrics::{MetricKind, descriptions};
use saphyr::{LoadableYamlNode, Yaml};

fn file(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_units_start_valid_commands() {
    let unit = file("deploy/kbk-backup.service");
    let commands = unit.lines().filter_map(|line| {
        line.strip_prefix("ExecStart=/usr/local/bin/")
            .or(line.strip_prefix("#   runuser -u kbk -- "))
    });
    let commands: Vec<_> = commands.collect();
    assert_eq!(commands, ["kbk init", "kbk backup"]);
    for command in commands {
        Cli::try_parse_from(command.split(' ')).unwrap();
    }
    assert!(file("deploy/kbk-backup.timer").contains("[Timer]"));
}

#[test]
fn the_image_is_built_from_every_folder_that_cargo_names() {
    let ignored = file("deploy/Containerfile.dockerignore");
    let kept: Vec<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let manifest: toml::Table = file("Cargo.toml").parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members = members.iter().map(|member| member.as_str().unwrap());
    let targets = ["bench", "test"].into_iter().flat_map(|kind| {
        let targets = manifest[kind].as_array().unwrap().iter();
        targets.map(|target| target["path"].as_str().unwrap().split('/').next().unwrap())
    });
    for folder in members
        .chain(targets)
        .chain(["src", "Cargo.lock", ".cargo", "scripts"])
    {
        assert!(kept.contains(&folder), "{folder}");
    }
}

/// Runs `scripts/check-binary`; returns whether it succeeds, and what it says.
fn check_binary(args: &[&str]) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-binary");
    let mut command = Command::new(script);
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_check_of_a_binary_says_what_it_needs() {
    let (passed, text) = check_binary(&["/bin/true"]);
    assert!(passed && text.contains("needs glibc 2."), "{text}");
    let (passed, text) = check_binary(&["/bin/true", "2.1"]);
    assert!(!passed && text.contains("2.1 was asked for"), "{text}");
    // Builds for development link the system's OpenSSL.
    let (passed, text) = check_binary(&[env!("CARGO_BIN_EXE_kbk")]);
    assert!(!passed && text.contains("libssl.so"), "{text}");
}

/// Labels that Prometheus adds, and those of all metrics of kbk.
const COMMON_LABELS: &[&str] = &["command", "instance", "job", "repository"];
/// Functions and keywords that the queries use.
const WORDS: &[&str] = &[
    "absent",
    "and",
    "by",
    "group_left",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "on",
    "rate",
    "sum",
    "time",
    "topk",
];
/// Metrics of the process that the queries use.
const OF_PROCESS: &[&str] = &["process_resident_memory_bytes"];

/// What a query names.
#[derive(Debug, Default)]
struct Query {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// Returns what a query names, and fails the test where that does not exist.
#[track_caller]
fn checked(query: &str) -> Query {
    for [open, close] in [['(', ')'], ['{', '}'], ['[', ']']] {
        let count = |bracket| query.matches(bracket).count();
        assert_eq!(count(open), count(close), "{query}");
    }
    let strings = regex::Regex::new(r#""[^"]*"|\[[^\]]*\]"#).unwrap();
    let plain = strings.replace_all(query, " ");
    let labels_at = regex::Regex::new(r"\{([^}]*)\}|\b(?:by|on|group_left)\s*\(([^)]*)\)").unwrap();
    let word = regex::Regex::new(r"[a-zA-Z_][a-zA-Z0-9_]*").unwrap();
    let words = |text: &str| -> Vec<String> {
        word.find_iter(text)
            .map(|word| word.as_str().to_owned())
            .collect()
    };
    let mut found = Query::default();
    for at in labels_at.captures_iter(&plain) {
        let inside = at.get(1).or(at.get(2)).unwrap();
        found.labels.extend(words(inside.as_str()));
    }
    let metrics = descriptions();
    let mut allowed: BTreeSet<String> = COMMON_LABELS
        .iter()
        .map(|&label| label.to_owned())
        .collect();
    for name in words(&labels_at.replace_all(&plain, " ")) {
        if WORDS.contains(&&*name) || OF_PROCESS.contains(&&*name) {
            continue;
        }
        let base = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|end| name.strip_suffix(end));
        let metric = metrics.iter().find(|metric| match metric.kind {
            MetricKind::Histogram => base == Some(metric.name),
            _ => metric.name == name,
        });
        let metric = metric.unwrap_or_else(|| panic!("no metric {name}: {query}"));
        allowed.extend(metric.labels.iter().map(|&label| label.to_owned()));
        allowed.extend(name.ends_with("_bucket").then(|| "le".to_owned()));
        found.metrics.insert(metric.name.to_owned());
    }
    let unknown: Vec<_> = found.labels.difference(&allowed).collect();
    assert!(unknown.is_empty(), "no label {unknown:?}: {query}");
    assert!(!found.metrics.is_empty(), "{query}");
    found
}

#[test]
fn a_query_of_what_does_not_exist_is_found() {
    let query = checked(r#"sum by (topic) (rate(kbk_records_read_total{repository=~"a b"}[5m]))"#);
    assert_eq!(query.metrics, ["kbk_records_read_total".to_owned()].into());
    for query in [
        "kbk_records_raed_total",
        "kbk_records_read_total_sum",
        "kbk_stage_duration_seconds",
        "sum by (kind) (kbk_records_read_total)",
        r#"kbk_records_read_total{stage="x"}"#,
        "summ(kbk_records_read_total)",
        "sum(kbk_records_read_total",
        "sum by (le) (kbk_stage_duration_seconds_sum)",
    ] {
        assert!(
            std::panic::catch_unwind(|| checked(query)).is_err(),
            "{query}"
        );
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&file("deploy/kbk-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut shown = BTreeSet::new();
    let (mut ids, mut drawn) = (BTreeSet::new(), 0);
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let Query { metrics, labels } = checked(query);
            shown.extend(metrics);
            drawn += 1;
            assert!(
                labels.contains("repository"),
                "of which repository? {query}"
            );
        }
    }
    assert!(drawn > 20, "{drawn}");
    let not_shown: Vec<_> = descriptions()
        .into_iter()
        .map(|metric| metric.name)
        .collect();
    let not_shown: Vec<_> = not_shown
        .into_iter()
        .filter(|name| !shown.contains(*name))
        .collect();
    assert_eq!(
        not_shown,
        [
            "kbk_run_ready",
            "kbk_run_expected_bytes",
            "kbk_last_commit_snapshot"
        ]
    );
}

#[test]
fn alerts_are_on_metrics_that_exist() {
    let text = file("deploy/kbk-alerts.yml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let groups = documents[0].as_mapping_get("groups").unwrap();
    let rules = groups.as_sequence().unwrap().iter().flat_map(|group| {
        let rules = group.as_mapping_get("rules").unwrap();
        rules.as_sequence().unwrap()
    });
    let mut names = BTreeSet::new();
    let variable = regex::Regex::new(r"\$labels\.([a-z_]+)").unwrap();
    for rule in rules {
        let text = |rule: &Yaml<'_>, key: &str| {
            let found = rule.as_mapping_get(key).and_then(|found| found.as_str());
            found
                .unwrap_or_else(|| panic!("no {key}: {rule:?}"))
                .to_owned()
        };
        assert!(names.insert(text(rule, "alert")), "{rule:?}");
        let labels = checked(&text(rule, "expr")).labels;
        let severity = text(rule.as_mapping_get("labels").unwrap(), "severity");
        assert!(["critical", "warning"].contains(&&*severity), "{severity}");
        let annotations = rule.as_mapping_get("annotations").unwrap();
        for key in ["summary", "description"] {
            let shown = text(annotations, key);
            for label in variable.captures_iter(&shown) {
                assert!(
                    labels.contains(&label[1]),
                    "{}: {shown}",
                    text(rule, "alert")
                );
            }
        }
    }
    assert!(names.len() >= 8, "{names:?}");
}

#[test]
fn the_page_on_tuning_names_metrics_and_options_that_exist() {
    const PAGE: &str = "docs/tuning.md";
    for block in crate::blocks::blocks(PAGE) {
        checked(&block.lines.join("\n"));
    }
    let text = file(PAGE);
    let name = regex::Regex::new(r"\bkbk_[a-z_]+").unwrap();
    let mut named = 0;
    for name in name.find_iter(&text) {
        let name = name.as_str().trim_end_matches("_sum");
        let exists = descriptions().iter().any(|metric| metric.name == name);
        assert!(exists, "{name}");
        named += 1;
    }
    assert!(named > 8, "{named}");
    for stage in kbk::run::Stage::ALL {
        assert!(text.contains(&format!("`{}`", stage.word())), "{stage:?}");
    }
    let definitions = Cli::command();
    let options: BTreeSet<_> = definitions
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .collect();
    let option = regex::Regex::new(r"--([a-z][a-z-]+)").unwrap();
    for option in option.captures_iter(&text) {
        assert!(options.contains(&option[1]), "{}", &option[0]);
    }
}

#[test]
fn the_settings_that_the_unit_shows_are_keys() {
    let unit = file("deploy/kbk-backup.service");
    let shown = unit.lines().filter_map(|line| line.strip_prefix("#   "));
    let settings: Vec<_> = shown
        .filter(|line| line.contains(" = ") || line.starts_with('['))
        .collect();
    let settings: toml::Table = settings.join("\n").parse().unwrap();
    let backup = settings["backup"].as_table().unwrap();
    let keys = kbk::cli::keys(&Cli::command());
    for (table, key) in settings
        .keys()
        .filter(|key| *key != "backup")
        .map(|key| (vec![], key))
        .chain(backup.keys().map(|key| (vec!["backup".to_owned()], key)))
    {
        let is_key = keys
            .iter()
            .any(|it| it.table == table && it.option.get_long() == Some(key));
        assert!(is_key, "{table:?} {key}");
    }
}
