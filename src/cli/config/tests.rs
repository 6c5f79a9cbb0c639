//! Files against a command line of the tests' own.

use std::io::Write;

use clap::{Arg, ArgAction, Command, value_parser};

use super::locations::Location;
use super::*;
use crate::cli::args::KAFKA;
use crate::cli::{BlockSize, LogFormat};
use crate::select::NamePattern;

fn option(name: &'static str) -> Arg {
    Arg::new(name).long(name)
}

fn definitions() -> Command {
    let server = option("bootstrap-server")
        .env("NEVER_SET")
        .help_heading(KAFKA);
    let properties = Arg::new("properties").short('X').action(ArgAction::Append);
    let backup = Command::new("backup")
        .arg(server.clone())
        .arg(properties.clone())
        .arg(option("block-size").value_parser(value_parser!(BlockSize)))
        .arg(
            option("topic")
                .action(ArgAction::Append)
                .value_parser(value_parser!(NamePattern)),
        )
        .arg(
            option("acls")
                .action(ArgAction::SetTrue)
                .conflicts_with("no-acls"),
        )
        .arg(option("no-acls").action(ArgAction::SetTrue));
    let restore = Command::new("restore").arg(server).arg(properties);
    let groups = Command::new("groups").subcommand(restore.arg(option("group").required(true)));
    Command::new("kbk")
        .arg(option("repo").global(true))
        .arg(option("config").global(true))
        .arg(option("verbose").action(ArgAction::Count))
        .arg(option("log-format").value_parser(value_parser!(LogFormat)))
        .subcommand(backup)
        .subcommand(groups)
        .subcommand_required(true)
}

fn load(texts: &[&str]) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    for text in texts {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let location = Location {
            path: file.path().to_owned(),
            required: true,
        };
        config.add(&location, &definitions())?;
    }
    Ok(config)
}

fn message(text: &str) -> String {
    load(&[text]).unwrap_err().to_string()
}

/// Parses arguments with these files, and returns the values of an option of the command.
fn values(texts: &[&str], arguments: &str, option: &str) -> Vec<String> {
    let arguments: Vec<_> = arguments.split(' ').collect();
    let first = definitions().ignore_errors(true);
    let given = Given::of(&first.try_get_matches_from(&arguments).unwrap());
    let definitions = load(texts).unwrap().defaults(definitions(), &given);
    let matches = definitions.try_get_matches_from(&arguments).unwrap();
    let mut level = &matches;
    while let Some((_, below)) = level.subcommand() {
        level = below;
    }
    let raw = level.get_raw(option).into_iter().flatten();
    raw.map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
    for (text, expected) in [
        (
            "repo = \"/x\"\n\nbootstrap_server = \"b\"\n",
            "line 3: unknown key `bootstrap_server`; did you mean `bootstrap-server`?",
        ),
        (
            "[backup]\nblok-size = \"1MiB\"\n",
            "line 2: unknown key `backup.blok-size`; did you mean `backup.block-size`?",
        ),
        (
            "[groups.restore]\ngroop = \"g\"\n",
            "line 2: unknown key `groups.restore.groop`; did you mean `groups.restore.group`?",
        ),
        ("block-size = \"1MiB\"\n", "it belongs under [backup]"),
        (
            "[backup]\nrepo = \"/x\"\n",
            "it belongs at the top of the file",
        ),
        ("zzz = 1\n", "the keys here are repo, verbose, "),
        ("config = \"x\"\n", "unknown key `config`"),
        (
            "bakup.topic = \"x\"\n",
            "unknown key `bakup`; did you mean `backup`?",
        ),
        (
            "backup = 3\n",
            "line 1: `backup` is a command; give its options in a table",
        ),
    ] {
        assert!(
            message(text).contains(expected),
            "{text}: {}",
            message(text)
        );
    }
}

#[test]
fn bad_values_are_named_with_their_line() {
    for (text, line, reason) in [
        (
            "[backup]\n\nblock-size = \"1\"\n",
            3,
            "`backup.block-size`: ",
        ),
        ("[backup]\nblock-size = \"1\"\n", 2, "64KiB to 8MiB"),
        ("[backup]\ntopic = [\"ok\", \"\"]\n", 2, "empty pattern"),
        (
            "[backup]\ntopic = true\n",
            2,
            "give a text or a number, or a list",
        ),
        ("[backup]\nacls = \"yes\"\n", 2, "give true or false"),
        (
            "[backup]\nacls = true\nno-acls = true\n",
            2,
            "cannot be used together",
        ),
        ("log-format = \"xml\"\n", 1, "give one of text, json"),
        ("verbose = -1\n", 1, "small number"),
        ("properties = 1\n", 1, "a table of client properties"),
        ("repo = \n", 1, ""),
        ("repo = \"a\"\nrepo = \"b\"\n", 2, "duplicate"),
    ] {
        let error = message(text);
        assert!(error.contains(&format!("line {line}: ")), "{text}: {error}");
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn neither_errors_nor_debug_show_secrets() {
    for text in [
        "[properties]\nsasl.password = [\"hunter2\"]\n",
        "[properties]\nsasl.password = \"hunter2\n",
    ] {
        assert!(!message(text).contains("hunter2"), "{}", message(text));
    }
    let config = load(&["[properties]\nsasl.password = \"hunter2\"\n"]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_command_line_wins_over_the_users_file_and_that_over_the_systems() {
    let files = ["repo = \"/system\"\nverbose = 2\n", "repo = \"/user\"\n"];
    assert_eq!(values(&files, "kbk backup", "repo"), ["/user"]);
    assert_eq!(values(&files[..1], "kbk backup", "repo"), ["/system"]);
    for arguments in ["kbk --repo /mine backup", "kbk backup --repo /mine"] {
        assert_eq!(values(&files, arguments, "repo"), ["/mine"]);
    }
}

#[test]
fn the_cluster_of_a_command_wins_over_that_of_all() {
    let file =
        "bootstrap-server = \"all\"\n[groups.restore]\nbootstrap-server = \"own\"\ngroup = \"g\"\n";
    assert_eq!(values(&[file], "kbk backup", "bootstrap-server"), ["all"]);
    // The file also has what the command requires.
    assert_eq!(
        values(&[file], "kbk groups restore", "bootstrap-server"),
        ["own"]
    );
    let later = "bootstrap-server = \"later\"\n";
    assert_eq!(
        values(&[file, later], "kbk groups restore", "bootstrap-server"),
        ["own"]
    );
}

#[test]
fn an_option_of_the_command_line_excludes_the_files() {
    let file = "[backup]\nacls = true\n";
    assert_eq!(values(&[file], "kbk backup", "acls"), ["true"]);
    for arguments in ["kbk backup --no-acls", "kbk --repo x backup --no-acls"] {
        assert_eq!(values(&[file], arguments, "acls"), ["false"]);
        assert_eq!(values(&[file], arguments, "no-acls"), ["true"]);
    }
}

#[test]
fn lists_numbers_and_windows_files() {
    let file = "\u{feff}[backup]\r\ntopic = [\"a*\", \"b\"]\r\nblock-size = 1048576\r\n";
    assert_eq!(values(&[file], "kbk backup", "topic"), ["a*", "b"]);
    assert_eq!(values(&[file], "kbk backup --topic c", "topic"), ["c"]);
    assert_eq!(values(&[file], "kbk backup", "block-size"), ["1048576"]);
}

#[test]
fn properties_of_a_command_follow_those_of_all() {
    let config = load(&[
        "[properties]\nlinger.ms = 5\n[backup.properties]\n\"linger.ms\" = 7\n",
        "[properties]\nclient.id = \"me\"\n",
    ]);
    let properties = config.unwrap().properties(&["backup".to_owned()]);
    let pairs: Vec<_> = properties.iter().map(|p| (&*p.key, &*p.value)).collect();
    assert_eq!(
        pairs,
        [("linger.ms", "5"), ("client.id", "me"), ("linger.ms", "7")]
    );
}

#[test]
fn only_a_file_that_is_given_must_exist() {
    let place = |required| Location {
        path: "/nowhere/kbk.toml".into(),
        required,
    };
    let mut config = Config::default();
    config.add(&place(false), &definitions()).unwrap();
    let error = config.add(&place(true), &definitions()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/kbk.toml"));
}
