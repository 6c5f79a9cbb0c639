//! Messages on stderr: nothing but errors with -q, details with -v, and no words of libraries.

use std::fs;

use crate::program::{kbk, run};
use crate::world::World;

/// What only the libraries within would say.
const RAW: [&str; 5] = [
    "Generic LocalFileSystem",
    "configuration property",
    "recompile",
    "system lib",
    "facility",
];

#[test]
fn quiet_commands_write_their_result_and_no_message() {
    let world = World::sample();
    for args in [
        &["snapshots"][..],
        &["ls"],
        &["cat", "orders"],
        &["verify"],
        &["status"],
    ] {
        let quiet = world.kbk(&[&["-q"], args].concat());
        assert_eq!(quiet.stderr, "", "{args:?}");
        let normal = world.kbk(args);
        assert_eq!(quiet.code, normal.code, "{args:?}");
        assert!(!quiet.stdout.is_empty(), "{args:?}");
    }
    let failed = world.kbk(&["-q", "cat", "no-such-topic"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.starts_with("error: "), "{}", failed.stderr);
    let failed = world.kbk(&["-q", "--log-format", "json", "cat", "no-such-topic"]);
    assert_eq!(failed.stderr.lines().count(), 1, "{}", failed.stderr);
    assert!(failed.stderr.contains("\"ERROR\""), "{}", failed.stderr);
}

#[test]
fn verbose_commands_say_what_they_read_and_where_settings_come_from() {
    let world = World::sample();
    let verified = world.kbk(&["-v", "verify"]);
    for part in [
        "--repo is ",
        "from the environment",
        "checked data/",
        ".kseg: intact",
    ] {
        assert!(
            verified.stderr.contains(part),
            "{part}: {}",
            verified.stderr
        );
    }
    let listed = world.kbk(&["-v", "ls"]);
    for part in ["opened the repository", "read snapshot "] {
        assert!(listed.stderr.contains(part), "{part}: {}", listed.stderr);
    }
    let config = world.path("kbk.toml");
    fs::write(&config, "log-format = \"json\"\n").unwrap();
    let config = config.to_str().unwrap();
    let listed = world.kbk(&["-v", "-c", config, "ls"]);
    for line in listed.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let target = line["target"].as_str().unwrap();
        assert!(target.starts_with("kbk"), "{line}");
    }
    for part in [config, "--log-format is json, from the configuration file"] {
        assert!(listed.stderr.contains(part), "{part}: {}", listed.stderr);
    }
}

#[test]
fn settings_that_cannot_work_are_explained_before_the_client_starts() {
    let world = World::sample();
    let sasl = "security.protocol=SASL_SSL";
    for (properties, parts) in [
        (
            &[sasl][..],
            ["`sasl.mechanism` is missing", "SCRAM-SHA-512"],
        ),
        (
            &[sasl, "sasl.mechanism=GSSAPI"],
            ["Kerberos (GSSAPI) is not compiled into this kbk", "-X"],
        ),
        (
            &[sasl, "sasl.mechanism=NOPE"],
            ["`sasl.mechanism`", "which has PLAIN"],
        ),
        (
            &[sasl, "sasl.mechanism=PLAIN"],
            ["`sasl.username` is missing", "sasl.jaas.config"],
        ),
        (
            &[sasl, "sasl.mechanism=OAUTHBEARER"],
            [
                "`sasl.oauthbearer.config` is missing",
                "set `sasl.oauthbearer.method=oidc`",
            ],
        ),
        (
            &[
                sasl,
                "sasl.mechanism=OAUTHBEARER",
                "sasl.oauthbearer.method=oidc",
            ],
            [
                "`sasl.oauthbearer.token.endpoint.url` is missing",
                "needs it",
            ],
        ),
        (
            &["sasl.oauthbearer.assertion.file=/run/assertion"],
            [
                "-X: `sasl.oauthbearer.assertion.file`",
                "`sasl.oauthbearer.client.secret`",
            ],
        ),
        (
            &["sasl.oauthbearer.token.endpoint.url=https://a:b@id.example/token"],
            [
                "-X: `sasl.oauthbearer.token.endpoint.url`",
                "no user or password",
            ],
        ),
        (
            &["security.protocol=SSL", "ssl.ca.location=/no/such/file"],
            ["-X: `ssl.ca.location`", "cannot read /no/such/file"],
        ),
        (
            &["socket.timeout.ms=soon"],
            [
                "-X: `socket.timeout.ms`: not a valid value",
                "CONFIGURATION.md",
            ],
        ),
        (
            &["bootstrap.servers=http://broker:9092"],
            ["`bootstrap.servers`", "give HOST:PORT"],
        ),
        (
            &["bootstrap.servers=broker:kafka"],
            ["`bootstrap.servers`", "give HOST:PORT"],
        ),
    ] {
        let options: Vec<_> = properties.iter().flat_map(|pair| ["-X", pair]).collect();
        let ended = world.kbk(&[&["status", "-b", "127.0.0.1:1"], &options[..]].concat());
        assert_eq!(ended.code, Some(2), "{properties:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        for part in parts {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
        for raw in RAW {
            assert!(!ended.stderr.contains(raw), "{}", ended.stderr);
        }
    }
}

#[test]
fn errors_of_the_system_are_told_without_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("repo");
    let mut created = kbk(&["init", "--repo"]);
    let created = created.arg(&below).output().unwrap();
    let created = String::from_utf8(created.stderr).unwrap();
    assert!(created.contains("Not a directory"), "{created}");

    for raw in RAW {
        assert!(!created.contains(raw), "{created}");
    }
    assert_eq!(run(&["ls", "-q", "-v"]).code, Some(2));
}

/// Patterns and times that cannot be read are refused in one line, which names the text and says what is wrong with it.
#[test]
fn what_libraries_refuse_is_said_in_the_words_of_kbk() {
    let world = World::sample();
    for (args, says) in [
        (
            &["ls", "/(orders/"][..],
            "`/(orders/` is not a regular expression: unclosed group",
        ),
        (&["ls", "orders-{a"], "`orders-{a` is not a glob: "),
        (
            &["cat", "orders", "--since", "2026-02-30"],
            "that month has no such day",
        ),
        (
            &[
                "cat",
                "orders",
                "--since",
                "2026-11-22T10:00[Europe/Berlni]",
            ],
            "`Europe/Berlni` is not a time zone of this machine",
        ),
        (
            &["status", "--max-age", "1y"],
            "`1y` is not a length of time; give weeks, days",
        ),
    ] {
        let ended = world.kbk(args);
        assert_ne!(ended.code, Some(0), "{args:?}");
        let error = ended.stderr.lines().next().unwrap();
        assert!(error.contains(says), "{args:?}: {}", ended.stderr);
    }
    let ended = world.kbk(&["status", "--max-age", "7d"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// An operand and an option that say the same thing, and perhaps another one, are not both taken.
#[test]
fn a_repository_that_is_given_twice_is_refused() {
    let world = World::sample();
    let (here, folder) = (world.path(""), world.folder.path().join("elsewhere"));
    let (here, folder) = (here.to_str().unwrap(), folder.to_str().unwrap());
    for args in [
        &["mount", here, folder, "-r", here][..],
        &["demo", folder, "-r", here],
    ] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("is given twice"), "{}", ended.stderr);
        assert!(!std::fs::exists(folder).unwrap(), "nothing was begun");
    }
}
