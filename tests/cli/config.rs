//! The configuration file as users meet it: its places, the environment, and what takes precedence.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use kbk::cli::keys;
use kbk::commands::Cli;

use crate::blocks::{Block, blocks};
use crate::program::{kbk, run};

/// Runs `kbk snapshots` with variables, and returns the repository that stderr names: none of these exists.
fn repository(args: &[&str], variables: &[(&str, &Path)]) -> String {
    let mut command = kbk(&[args, &["snapshots"]].concat());
    command.envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn options_win_over_the_environment_and_that_over_files() {
    let folder = tempfile::tempdir().unwrap();
    let (home, xdg) = (folder.path().join("home"), folder.path().join("xdg"));
    write(
        &home.join(".config/kbk/kbk.toml"),
        "repo = \"/of-the-home\"\n",
    );
    let [home, xdg] = [("HOME", &*home), ("XDG_CONFIG_HOME", &*xdg)];
    assert!(repository(&[], &[home]).contains("/of-the-home"));
    // A folder that is given but has no file.
    assert!(run(&["snapshots"]).stderr.contains("--repo"));

    write(&xdg.1.join("kbk/kbk.toml"), "repo = \"/of-xdg\"\n");
    assert!(repository(&[], &[home, xdg]).contains("/of-xdg"));

    let mine = folder.path().join("mine.toml");
    write(&mine, "repo = \"/of-mine\"\n");
    let named = ("KBK_CONFIG", &*mine);
    assert!(repository(&[], &[home, xdg, named]).contains("/of-mine"));
    let other = folder.path().join("other.toml");
    write(&other, "repo = \"/of-other\"\n");
    let config = ["-c", other.to_str().unwrap()];
    assert!(repository(&config, &[home, named]).contains("/of-other"));

    let variable = ("KBK_REPO", Path::new("/of-the-environment"));
    let all = [home, xdg, named, variable];
    assert!(repository(&[], &all).contains("/of-the-environment"));
    assert!(repository(&["-r", "/of-the-option"], &all).contains("/of-the-option"));
}

#[test]
fn a_mistake_in_any_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kbk/kbk.toml");
    let stderr = |text: &str| {
        write(&path, text);
        let mut command = kbk(&["snapshots", "-r", "/nowhere"]);
        command.env("XDG_CONFIG_HOME", folder.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    // The tables of other commands are checked, too.
    let error = stderr("[restore]\nresumee = \"x\"\n");
    assert!(
        error.contains("kbk.toml, line 2: unknown key `restore.resumee`"),
        "{error}"
    );
    assert!(error.contains("did you mean `restore.resume`?"), "{error}");
    let error = stderr("[backup]\nsegment-size = \"1\"\n");
    assert!(error.contains("line 2: `backup.segment-size`: "), "{error}");
    // Help is shown all the same.
    let mut help = kbk(&["snapshots", "--help"]);
    let help = help.env("XDG_CONFIG_HOME", folder.path()).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
}

#[test]
fn a_file_that_is_missing_is_an_invalid_argument() {
    for args in [
        [
            "backup",
            "-b",
            "127.0.0.1:1",
            "-r",
            "/x",
            "-c",
            "/nowhere/file",
        ],
        [
            "backup",
            "-b",
            "127.0.0.1:1",
            "-r",
            "/x",
            "--command-config",
            "/nowhere/file",
        ],
    ] {
        let ended = run(&args);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("/nowhere/file"), "{}", ended.stderr);
    }
    let mut command = kbk(&["backup", "-r", "/x"]);
    command.env("KBK_COMMAND_CONFIG", "/nowhere/of-the-environment");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("/nowhere/of-the-environment"), "{stderr}");
}

#[test]
fn the_example_of_the_reference_is_valid() {
    let blocks = blocks("docs/reference/config.md");
    let [example] = blocks.as_slice() else {
        panic!("{blocks:#?}")
    };
    is_valid(example);
}

#[test]
fn the_example_of_a_store_is_valid() {
    let blocks = blocks("docs/stores.md");
    let example = blocks
        .iter()
        .find(|block| block.lines[0].starts_with("repo = "));
    is_valid(example.expect("a file"));
}

fn is_valid(example: &Block) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), example.lines.join("\n")).unwrap();
    // Whatever the command, the whole file is checked.
    let args = [
        "completions",
        "bash",
        "--config",
        file.path().to_str().unwrap(),
    ];
    let ended = run(&args);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// What is wrong with a store option is said before anything is requested.
#[test]
fn store_options_are_checked_and_never_hold_a_secret() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (table, args, code, expected) in [
        (
            "endpont = \"x\"",
            &["-r", "s3://b"][..],
            2,
            "did you mean `endpoint`?",
        ),
        (
            "secret-key = \"hunter2\"",
            &["-r", "s3://b"],
            2,
            "credentials are no options",
        ),
        (
            "region = { a = 1 }",
            &["-r", "s3://b"],
            2,
            "give a text, a number",
        ),
        (
            "region = \"x\"",
            &["-r", "gs://b"],
            2,
            "does not apply to gs://",
        ),
        (
            "region = \"x\"",
            &["-r", "/nowhere"],
            1,
            "there is no such folder",
        ),
        (
            "endpoint = \"http://127.0.0.1:1\"",
            &["-r", "s3://b"],
            1,
            "set allow-http=true",
        ),
        (
            "endpoint = \"https://u:hunter2@h\"",
            &["-r", "s3://b"],
            1,
            "neither credentials nor a query",
        ),
        ("", &["-r", "az://c"], 1, "no storage account is named"),
        (
            "",
            &["-r", "/x", "--store-option", "region=x"],
            2,
            "--store-option is for buckets",
        ),
        (
            "",
            &["-r", "s3://k:hunter2@b"],
            2,
            "a location holds neither credentials",
        ),
        (
            "",
            &["-r", "s3://b", "--store-option=token=hunter2"],
            2,
            "credentials are no options",
        ),
        (
            "profile = \"nobody\"",
            &["-r", "s3://b"],
            1,
            "have no profile `nobody`",
        ),
        (
            "ca-file = \"/nowhere\"",
            &["-r", "s3://b"],
            1,
            "cannot use the certificates in /nowhere",
        ),
    ] {
        fs::write(path, format!("[store]\n{table}\n")).unwrap();
        let mut command = kbk(&[&["--config", path], args, &["snapshots"]].concat());
        command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("AWS_CONFIG_FILE", "/dev/null");
        command
            .env_remove("AZURE_STORAGE_ACCOUNT")
            .env_remove("AZURE_STORAGE_ACCOUNT_NAME");
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{table}: {stderr}");
        assert!(stderr.contains(expected), "{table}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{table}: {stderr}");
    }
}

/// What an option excludes or requires may be an option of another command, or of all.
#[test]
fn every_option_is_checked_in_the_table_of_its_command() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let mut checked = 0;
    for key in keys(&Cli::command()) {
        let name = key.option.get_long().unwrap();
        let table = match key.table.as_slice() {
            [] => String::new(),
            names => format!("[{}]\n", names.join(".")),
        };
        for value in ["\"1\"", "true"] {
            fs::write(path, format!("{table}{name} = {value}\n")).unwrap();
            let ended = run(&["completions", "bash", "--config", path]);
            match ended.code {
                Some(0) => checked += 1,
                code => {
                    assert_eq!(code, Some(2), "{table}{name}: {}", ended.stderr);
                    assert!(
                        ended.stderr.contains(name),
                        "{table}{name}: {}",
                        ended.stderr
                    );
                }
            }
        }
    }
    assert!(checked > 100, "{checked}");
}
