//! The modes of files and folders of a repository.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `kbk` under a umask, and returns its exit code and stderr.
fn kbk(umask: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_kbk")).args(args);
    command.env_clear().env("TZ", "UTC").stdin(Stdio::null());
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), stderr)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Fails the test unless every file and folder has its mode; returns how many files there are.
#[track_caller]
fn assert_modes(path: &Path, file: u32, folder: u32) -> usize {
    if !path.is_dir() {
        assert_eq!(mode(path), file, "{}: {:o}", path.display(), mode(path));
        return 1;
    }
    assert_eq!(mode(path), folder, "{}: {:o}", path.display(), mode(path));
    let entries = fs::read_dir(path).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| assert_modes(&path, file, folder)).sum()
}

#[test]
fn a_new_repository_has_the_mode_that_was_asked_for_whatever_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    for umask in ["000", "022", "077"] {
        for (args, file, folder_mode) in [
            (&[][..], 0o600, 0o700),
            (&["--repo-mode", "0640"], 0o640, 0o750),
            (&["--repo-mode", "660"], 0o660, 0o770),
            (&["--repo-mode", "0644"], 0o644, 0o755),
        ] {
            let parent = folder.path().join(format!("{umask}-{file:o}"));
            let repo = parent.join("repo");
            let init = ["init", "-r", repo.to_str().unwrap()];
            let (code, stderr) = kbk(umask, &[&init, args].concat());
            assert_eq!((code, &*stderr), (Some(0), ""));
            assert_eq!(assert_modes(&parent, file, folder_mode), 1);
        }
    }
}

#[test]
fn a_folder_that_exists_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o2755)).unwrap();
    let (code, _) = kbk("000", &["init", "-r", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert_eq!(mode(folder.path()), 0o2755);
    assert_eq!(mode(&folder.path().join("kbk.json")), 0o600);
}

#[test]
fn every_file_of_the_demo_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo");
    let (code, stderr) = kbk("000", &["demo", demo.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    // Segments, pages, snapshots, and the objects of a restore.
    assert!(assert_modes(&demo, 0o600, 0o700) > 10);
}

#[test]
fn a_mode_that_nobody_can_mean_is_refused() {
    for text in ["0700", "0400", "0620", "rw-r-----"] {
        let (code, stderr) = kbk("022", &["init", "-r", "nowhere", "--repo-mode", text]);
        assert_eq!(code, Some(2), "{text}");
        assert!(stderr.contains("0600, 0640 or 0660"), "{stderr}");
    }
    let (code, stderr) = kbk("022", &["backup", "-r", "nowhere", "--repo-mode", "0640"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--init"), "{stderr}");
}
