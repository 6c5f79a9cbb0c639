//! What deploy/ and scripts/ say about the program: arguments, folders, and what a binary needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use kbk::commands::Cli;

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
