//! Credentials that cannot be used: each is named by its variable, and no part of it is repeated.

use std::fs;

use crate::program::{Ended, kbk};

/// What must appear nowhere.
const SECRET: &str = "hunter2";

/// Runs a command on a bucket that nothing serves.
fn asked(location: &str, variables: &[(&str, &str)]) -> Ended {
    let mut command = kbk(&["snapshots", "-vv", "--json", "-r", location]);
    for option in [
        "endpoint=http://127.0.0.1:1",
        "allow-http=true",
        "retry-timeout=1s",
    ] {
        command.args(["--store-option", option]);
    }
    let ended = Ended::of(command.envs(variables.iter().copied()).output().unwrap());
    assert_eq!(ended.code, Some(1), "{variables:?}: {}", ended.stderr);
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains(SECRET), "{variables:?}: {text}");
    }
    ended.json();
    ended
}

#[track_caller]
fn says(ended: &Ended, expected: &str) {
    assert!(ended.stdout.contains(expected), "{}", ended.stdout);
}

#[test]
fn a_line_break_in_a_credential_is_named() {
    let azure = ("AZURE_STORAGE_ACCOUNT", "account");
    for (location, variable) in [
        ("s3://b/p", "AWS_ACCESS_KEY_ID"),
        ("s3://b/p", "AWS_SECRET_ACCESS_KEY"),
        ("s3://b/p", "AWS_SESSION_TOKEN"),
        ("s3://b/p", "AWS_REGION"),
        ("az://c/p", "AZURE_STORAGE_KEY"),
        ("az://c/p", "AZURE_STORAGE_SAS_TOKEN"),
        ("az://c/p", "AZURE_CLIENT_SECRET"),
        ("gs://b/p", "GOOGLE_BEARER_TOKEN"),
    ] {
        for value in ["hunter2\n", "\rhunter2", "hunter2ä"] {
            let ended = asked(location, &[azure, (variable, value)]);
            says(&ended, &format!("{variable} has a line break"));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let profile = "[default]\naws_access_key_id = hunter2ä\naws_secret_access_key = hunter2\n";
    fs::write(&file, profile).unwrap();
    let file = file.to_str().unwrap();
    let ended = asked("s3://b/p", &[("AWS_SHARED_CREDENTIALS_FILE", file)]);
    says(&ended, "a key of the profile `default` has a character");
}

#[test]
fn a_key_for_google_that_is_not_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.json");
    let path = file.to_str().unwrap();
    let key = r#"{"type":"service_account","private_key":"hunter2","private_key_id":"1","client_email":"a"}"#;
    for variable in ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"] {
        let given = format!("the key that {variable} gives");
        for (text, expected) in [
            ("\"hunter2\"", "is not one: expected the JSON"),
            ("{\"type\":\"hunter2\"}", "is not one: expected the JSON"),
            ("-----BEGIN hunter2", "is not one: expected the JSON"),
            (key, "has no private key that OpenSSL reads"),
        ] {
            fs::write(&file, text).unwrap();
            let ended = asked("gs://b/p", &[(variable, path)]);
            says(&ended, &format!("{given} {expected}"));
        }
        // The key itself, in place of the name of its file.
        for value in [key, "/nowhere/hunter2"] {
            let ended = asked("gs://b/p", &[(variable, value)]);
            says(&ended, &format!("{given} cannot be read"));
        }
    }
    let ended = asked("gs://b/p", &[("GOOGLE_SERVICE_ACCOUNT_KEY", "\"hunter2\"")]);
    says(
        &ended,
        "the key that GOOGLE_SERVICE_ACCOUNT_KEY gives is not one",
    );
}
