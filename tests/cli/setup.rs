//! `scripts/setup`, which installs what the tests need: it never waits without an end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Writes an executable file.
fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_fetch_that_hangs_or_fails_ends_and_says_what_to_do() {
    for (npm, expected) in [
        (
            "exec sleep 600",
            "cannot fetch Azurite with npm: it took more than 1 seconds; check that",
        ),
        (
            "exit 7",
            "cannot fetch Azurite with npm: see above; check that",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let script = root.join("scripts/setup");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup"));
        program(&script, &text.unwrap());
        // The step before it has nothing to do.
        let version = text_after(&script, "VERSITYGW_VERSION=");
        program(
            &root.join(format!(".cache/versitygw-{version}/versitygw")),
            "",
        );
        program(&root.join("bin/npm"), &format!("#!/bin/sh\n{npm}\n"));
        let path = format!(
            "{}:{}",
            root.join("bin").display(),
            std::env::var("PATH").unwrap()
        );
        let ended = Command::new(&script)
            .arg("stores")
            .env("PATH", path)
            .env("KBK_SETUP_TIMEOUT", "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        let azurite = text_after(&script, "AZURITE_VERSION=");
        assert!(!root.join(format!(".cache/azurite-{azurite}")).exists());
    }
}

/// Returns the rest of the line that has this text first.
fn text_after(script: &Path, text: &str) -> String {
    let script = fs::read_to_string(script).unwrap();
    let rest = script.split_once(text).unwrap().1;
    rest.lines().next().unwrap().to_owned()
}
