//! What the program says of itself: help, manual pages, completions.

use std::fs;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use kbk::commands::Cli;

use crate::program::{kbk, run};

/// Returns the words of every command.
fn commands() -> Vec<Vec<String>> {
    fn add(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        for below in command.get_subcommands() {
            let words = [words, &[below.get_name().to_owned()]].concat();
            found.push(words.clone());
            add(below, &words, found);
        }
    }
    let mut found = vec![Vec::new()];
    add(&Cli::command(), &[], &mut found);
    found
}

fn help(words: &[String], flag: &str, columns: &str) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).chain([flag]).collect();
    let output = kbk(&words).env("COLUMNS", columns).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn examples_are_not_wrapped_at_any_width() {
    for words in commands() {
        let mut command = Cli::command();
        for word in &words {
            command = command.find_subcommand(word).unwrap().clone();
        }
        let Some(text) = command.get_after_help().map(ToString::to_string) else {
            continue;
        };
        for columns in ["40", "80", "200"] {
            let long = help(&words, "--help", columns);
            assert!(
                long.ends_with(&format!("\n\n{text}\n")),
                "{words:?}: {long}"
            );
        }
        assert!(!help(&words, "-h", "80").contains(&text), "{words:?}");
    }
}

#[test]
fn the_short_help_has_a_line_for_each_option() {
    let [short, long] = ["-h", "--help"].map(|flag| help(&["backup".to_owned()], flag, "100"));
    assert!(short.lines().count() * 2 < long.lines().count());
    assert!(short.contains("--ignore-damaged-snapshot <N>"), "{short}");
    assert!(short.contains("see more with '--help'"), "{short}");
    // What the first sentence does not say is in the long help only.
    assert!(!short.contains("mistyped"), "{short}");
    assert!(long.contains("mistyped"), "{long}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    let written = run(&["man", pages.to_str().unwrap()]);
    assert_eq!(
        (written.code, &*written.stdout),
        (Some(0), ""),
        "{}",
        written.stderr
    );
    for words in commands() {
        let name = [&["kbk".to_owned()], &words[..]].concat().join("-");
        let page = fs::read_to_string(pages.join(format!("{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let backup = fs::read_to_string(pages.join("kbk-backup.1")).unwrap();
    let example =
        ".SH EXAMPLES\n.nf\n  kbk backup \\-\\-init \\-r /backup/kafka \\-b broker:9092\n";
    assert!(backup.contains(example), "{backup}");
    let printed = run(&["man"]);
    let main = fs::read_to_string(pages.join("kbk.1")).unwrap();
    assert_eq!((printed.code, printed.stdout), (Some(0), main));
}

#[test]
fn bash_completes_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, Some(0), "{}", script.stderr);
        assert!(script.stdout.contains("ignore-damaged-snapshot"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("kbk.bash");
    fs::write(&script, run(&["completions", "bash"]).stdout).unwrap();
    let script = script.to_str().unwrap();
    let ask = |words: &str, index: usize| {
        let ask = format!(
            "source '{script}'\nCOMP_WORDS=({words}); COMP_CWORD={index}; _kbk kbk \"${{COMP_WORDS[$COMP_CWORD]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &ask]).stdin(Stdio::null());
        String::from_utf8(bash.output().unwrap().stdout).unwrap()
    };
    assert_eq!(ask("kbk back", 1).trim(), "backup");
    assert_eq!(ask("kbk backup --refr", 2).trim(), "--refresh");
    assert_eq!(ask("kbk groups roll", 2).trim(), "rollback");
}
