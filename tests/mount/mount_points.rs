//! Valid and invalid mount points, mount options, and the users that may mount and read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::mounted::{Mount, is_mounted, kbk, sh, until};
use crate::world::World;

/// Returns the error of a `kbk mount` that must fail.
fn refused(world: &World, place: &Path, args: &[&str]) -> String {
    let repository = world.path("");
    let places = [
        "mount",
        repository.to_str().unwrap(),
        place.to_str().unwrap(),
    ];
    let output = kbk(&[&places, args].concat()).output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn unsuitable_mount_points_are_rejected_with_the_reason() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let twice = refused(&world, &mount.path(), &[]);
    assert!(twice.contains("mounted already (fuse.kbk of"), "{twice}");
    let inside = world.path("").join("mnt");
    fs::create_dir(&inside).unwrap();
    let inside = refused(&world, &inside, &[]);
    assert!(inside.contains("inside the repository"), "{inside}");
    let folder = tempfile::tempdir().unwrap();
    let missing = refused(&world, &folder.path().join("none"), &[]);
    assert!(missing.contains("must be an empty folder"), "{missing}");
    fs::write(folder.path().join("precious"), "").unwrap();
    let full = refused(&world, folder.path(), &[]);
    assert!(full.contains("precious"), "{full}");
}

#[test]
fn invalid_arguments_are_rejected_before_mounting() {
    let world = World::sample();
    let folder = tempfile::tempdir().unwrap();
    for (args, says) in [
        (&["-o", "alow_other"][..], "--alow-other"),
        (&["-o", "uid=me"], "uid"),
        (&["-o", "remount"], "--remount"),
        (&["--umask", "99"], "octal"),
        (&["--topic", "oders"], "orders"),
        (
            &["--topic", "orders@06060607"],
            "orders@06060606060606060606060606060606",
        ),
        (
            &["--show", "records,recrods"],
            "`recrods` is not a part of a partition; the parts are records, values",
        ),
        (&["-o", "show=x"], "by-time, segments, log, by-key, and all"),
        (&["--snapshot", "7"], "snapshot 7"),
        (&["--memory", "1MiB"], "out of bounds"),
    ] {
        let message = refused(&world, folder.path(), args);
        assert!(message.contains(says), "{args:?}: {message}");
        assert!(!is_mounted(folder.path()));
    }
}

#[test]
fn mount_8_options_are_accepted() {
    let world = World::sample();
    let mount = Mount::with(
        &world,
        &[
            "-o",
            "rw,nofail,x-systemd.automount,user=joe,sync,lazytime,uid=1234,gid=55,no_xattr",
        ],
    );
    let stat = sh(&format!(
        "stat -c '%u %g %a' {}",
        mount.latest("topics/orders/0/values").display()
    ));
    assert_eq!(stat.trim(), "1234 55 440");
    let options = sh(&format!(
        "findmnt -n -o OPTIONS,FSTYPE {}",
        mount.path().display()
    ));
    for option in [
        "ro",
        "nosuid",
        "nodev",
        "noexec",
        "default_permissions",
        "fuse.kbk",
    ] {
        assert!(options.contains(option), "{options}");
    }
    let none = sh(&format!(
        "getfattr -d {} 2>&1 || true",
        mount.path().display()
    ));
    assert!(none.contains("Operation not supported"), "{none}");
}

#[test]
fn other_users_can_read_only_with_allow_other() {
    let world = World::sample();
    let mount = Mount::with(&world, &["--allow-other"]);
    // The temporary folder is closed to other users; the mount itself is not.
    sh(&format!(
        "chmod a+x {}",
        mount.path().parent().unwrap().display()
    ));
    let file = mount.latest("topics/orders/0/values");
    let nobody = "setpriv --reuid=nobody --clear-groups";
    let counted = sh(&format!("{nobody} wc -l {}", file.display()));
    assert!(counted.starts_with("600 "), "{counted}");
    let alone = Mount::of(&world);
    sh(&format!(
        "chmod a+x {}",
        alone.path().parent().unwrap().display()
    ));
    let refused = sh(&format!(
        "{nobody} ls {} 2>&1 || true",
        alone.path().display()
    ));
    assert!(refused.contains("Permission denied"), "{refused}");
}

#[test]
fn a_daemon_logs_to_its_file() {
    let world = World::sample();
    let key = world.entries("orders", 0)[1].key.clone();
    fs::remove_file(world.path(&key)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (place, log) = (folder.path().join("mnt"), folder.path().join("log"));
    fs::create_dir(&place).unwrap();
    let repository = world.path("");
    let args = [
        "mount",
        repository.to_str().unwrap(),
        place.to_str().unwrap(),
    ];
    // As fstab has it; the option --log-file is the same.
    let option = format!("log_file={}", log.display());
    let log_args = ["--daemon", "-o", option.as_str()];
    let output = kbk(&[&args[..], &log_args[..]].concat()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(place.join("latest/topics/orders/0/values")).is_err());
    let logged = fs::read_to_string(&log).unwrap();
    assert!(logged.contains(&key), "{logged}");
    sh(&format!(
        "{} umount {}",
        env!("CARGO_BIN_EXE_kbk"),
        place.display()
    ));
    assert!(!is_mounted(&place));
}

/// The paths are relative to the folder where the program was started, which the daemon leaves.
#[test]
fn cache_dir_keeps_blocks_across_mounts() {
    let world = World::sample();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("mnt");
    fs::create_dir(&place).unwrap();
    let repository = world.path("");
    let mut mount = kbk(&["mount", repository.to_str().unwrap(), "mnt", "--daemon"]);
    mount.args(["--cache-dir", "cache", "--readahead-kb", "512"]);
    mount.current_dir(folder.path());
    let records = place.join("latest/topics/orders/0/records.jsonl");
    let mut read = || {
        let output = mount.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let device = sh(&format!("findmnt -n -o MAJ:MIN {}", place.display()));
        let setting = format!("/sys/class/bdi/{}/read_ahead_kb", device.trim());
        assert_eq!(fs::read_to_string(setting).unwrap().trim(), "512");
        let records = fs::read(&records);
        // A separate task writes them to the cache, after the read has returned.
        let found = format!("find {}/cache -type f | wc -l", folder.path().display());
        until("blocks in the cache", || {
            (sh(&found).trim() != "0").then_some(())
        });
        let umount = format!("{} umount {}", env!("CARGO_BIN_EXE_kbk"), place.display());
        sh(&umount);
        records.unwrap()
    };
    let first = read();
    assert!(read() == first);
}

#[test]
fn the_mount_8_helper_returns_when_the_mount_is_ready() {
    let world = World::sample();
    let folder = tempfile::tempdir().unwrap();
    let (helper, place) = (folder.path().join("mount.kbk"), folder.path().join("mnt"));
    symlink(env!("CARGO_BIN_EXE_kbk"), &helper).unwrap();
    fs::create_dir(&place).unwrap();
    let (repository, place) = (world.path(""), place.display());
    sh(&format!(
        "{} {} {place} -f -o rw",
        helper.display(),
        repository.display()
    ));
    assert!(!is_mounted(&folder.path().join("mnt")));
    sh(&format!(
        "{} {} {place} -n -o rw,nofail",
        helper.display(),
        repository.display()
    ));
    let listed = sh(&format!("ls {place}/latest/topics"));
    assert_eq!(listed, "orders\npayments\n");
    let output = kbk(&["umount", &place.to_string()]).output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("is unmounted")
    );
    assert!(!is_mounted(&folder.path().join("mnt")));
}

/// Opens /dev/fuse to all users until dropped, as it permanently is on most machines.
struct OpenDevice(fs::Permissions);

impl OpenDevice {
    const PATH: &str = "/dev/fuse";

    fn new() -> OpenDevice {
        let before = fs::metadata(OpenDevice::PATH).unwrap().permissions();
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(OpenDevice::PATH, open).unwrap();
        OpenDevice(before)
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        fs::set_permissions(OpenDevice::PATH, self.0.clone()).unwrap();
    }
}

/// `fusermount3` mounts for users who are not root.
#[test]
fn a_plain_user_can_mount() {
    let world = World::sample();
    let folder = tempfile::tempdir().unwrap();
    let (place, program) = (folder.path().join("mnt"), folder.path().join("kbk"));
    fs::create_dir(&place).unwrap();
    // The target directory may be closed to other users.
    fs::copy(env!("CARGO_BIN_EXE_kbk"), &program).unwrap();
    let own = |path: &Path| {
        sh(&format!(
            "chmod -R a+rX {0}; chown -R nobody {0}",
            path.display()
        ))
    };
    own(folder.path());
    own(world.folder.path());
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=nobody", "--clear-groups"]);
    command.arg(program).arg("mount");
    command.arg(world.path("")).arg(&place);
    let device = OpenDevice::new();
    let mount = Mount::start(command, folder);
    drop(device);
    let ls = format!(
        "setpriv --reuid=nobody --clear-groups ls {}",
        mount.latest("topics").display()
    );
    assert_eq!(sh(&ls), "orders\npayments\n");
}

#[test]
fn a_user_namespace_can_mount() {
    let world = World::sample();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("mnt");
    fs::create_dir(&place).unwrap();
    let (repository, place) = (world.path(""), place.display());
    let kbk = env!("CARGO_BIN_EXE_kbk");
    let listed = sh(&format!(
        "unshare -Urm sh -ec '{kbk} mount -q {} {place} --daemon >/dev/null; ls {place}/latest/topics; {kbk} umount {place} >/dev/null'",
        repository.display()
    ));
    assert_eq!(listed, "orders\npayments\n");
}

#[test]
fn permissions_can_be_set() {
    let world = World::sample();
    for (args, expected) in [
        (&["--file-mode", "0644", "--dir-mode", "700"][..], "644 700"),
        (&["--allow-other", "--umask", "0007"], "440 550"),
        (
            &["--allow-other", "-o", "file_mode=0400,umask=0"],
            "400 555",
        ),
    ] {
        let mount = Mount::with(&world, args);
        let file = mount.latest("topics/orders/0/values");
        let stat = format!("stat -c %a {0} $(dirname {0}) | xargs", file.display());
        assert_eq!(sh(&stat).trim(), expected, "{args:?}");
    }
}
