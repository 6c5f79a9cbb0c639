//! Every file of a repository has the mode that was asked for when it was created, whatever the umask of each run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::broker::Broker;
use crate::support::groups::commit;
use crate::support::process::run;
use crate::support::produce::produce;
use crate::support::repo::Repo;
use crate::support::{samples, topics};

/// Returns the same command under a umask.
fn under(umask: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Fails the test unless every file and folder has its mode; returns the paths of the files below `path`.
#[track_caller]
fn assert_modes(path: &Path, file: u32, folder: u32) -> Vec<String> {
    let metadata = fs::symlink_metadata(path).expect("metadata");
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_dir() {
        assert_eq!(mode, file, "{}: {mode:o}", path.display());
        return vec![path.display().to_string()];
    }
    assert_eq!(mode, folder, "{}: {mode:o}", path.display());
    let entries = fs::read_dir(path).expect("a folder can be listed");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| assert_modes(&path, file, folder))
        .collect()
}

#[test]
fn every_file_has_the_mode_of_its_repository() {
    let broker = Broker::shared();
    let topic = topics::unique("modes");
    topics::create(broker, &topic, 2, &[]);
    let records: Vec<_> = samples::mixed(1).take(40).collect();
    commit(broker, &topic, &[(&topic, 0, 7, "")]);
    for (case, args, file, folder) in [
        ("private", &["--init"][..], 0o600, 0o700),
        ("group", &["--init", "--repo-mode", "0660"], 0o660, 0o770),
    ] {
        let repo = Repo::missing();
        let mut umasks = ["000", "077"].iter().cycle();
        let mut checked = |command: &Command| {
            let umask = umasks.next().expect("endless");
            run(&mut under(umask, command)).expect_code(0);
            assert_modes(&repo.path(), file, folder)
        };
        produce(broker, "none", (&topic, 0), &records);
        checked(&repo.backup(broker, &[args, &["--topic", &topic]].concat()));
        produce(broker, "none", (&topic, 1), &records);
        // The second run is that of somebody else, who does not know how the repository was created.
        checked(&repo.backup(broker, &["--topic", &topic]));
        let map = format!("{topic}={topic}-{case}");
        checked(&repo.restore(broker, &["--topic", &topic, "--map", &map]));
        let groups = [
            "groups",
            "restore",
            "-b",
            broker.bootstrap(),
            "--group",
            &topic,
        ];
        let written = checked(&repo.kbk(&groups));
        for part in [
            "data/",
            "index/",
            "snapshots/",
            "begun.json",
            "done.json",
            "groups/",
        ] {
            assert!(
                written.iter().any(|path| path.contains(part)),
                "{part}: {written:#?}"
            );
        }
    }
}
