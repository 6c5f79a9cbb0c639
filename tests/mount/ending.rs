//! However a mount ends, it leaves no dead mount behind, and no reader hangs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::mounted::{Mount, PATIENCE, is_mounted, kbk, until};
use crate::world::{Row, World};

/// Returns a repository whose one file takes a while to read.
fn world() -> World {
    let rows: Vec<Row> = (0..20_000).map(|offset| (offset, offset)).collect();
    let world = World::with_blocks(16 * 1024);
    world.backup(&[("load", 0, vec![rows])]);
    world
}

/// Threads that open, read and close a file in a loop until a read fails.
struct Load {
    readers: Vec<JoinHandle<()>>,
    reads: Arc<AtomicU64>,
}

impl Load {
    fn on(mount: &Mount) -> Load {
        let file = mount.latest("topics/load/0/records.jsonl");
        let reads = Arc::<AtomicU64>::default();
        let readers = (0..4).map(|_| {
            let (file, reads) = (file.clone(), Arc::clone(&reads));
            thread::spawn(move || {
                while fs::read(&file).is_ok() {
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let readers = readers.collect();
        let load = Load { readers, reads };
        until("some reads", || {
            let failed = load.readers.iter().all(JoinHandle::is_finished);
            assert!(!failed, "{}", mount.stderr());
            (load.reads.load(Ordering::Relaxed) > 8).then_some(())
        });
        load
    }

    /// Waits for every reader to return on its own.
    fn end(self) {
        for reader in self.readers {
            until("a reader", || reader.is_finished().then_some(()));
            reader.join().unwrap();
        }
    }
}

#[test]
fn a_signal_under_load_unmounts_and_every_reader_returns() {
    for signal in ["TERM", "INT", "HUP"] {
        let world = world();
        let mut mount = Mount::of(&world);
        let load = Load::on(&mount);
        mount.signal(signal);
        assert!(mount.end().success(), "{signal}: {}", mount.stderr());
        load.end();
        assert!(!is_mounted(&mount.path()));
    }
}

#[test]
fn a_second_signal_does_not_wait_for_programs() {
    let world = world();
    let mut mount = Mount::of(&world);
    let mut open = File::open(mount.latest("topics/load/0/records.jsonl")).unwrap();
    mount.signal("TERM");
    until("it has left the tree", || {
        (!is_mounted(&mount.path())).then_some(())
    });
    // Open files can still be read to the end.
    open.read_exact(&mut [0; 4096]).unwrap();
    mount.signal("TERM");
    assert_eq!(mount.end().code(), Some(143), "{}", mount.stderr());
    let mut rest = Vec::new();
    let error = open.read_to_end(&mut rest).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::NotConnected | io::ErrorKind::ConnectionAborted
        ),
        "{error}"
    );
}

#[test]
fn a_dead_mount_after_a_kill_is_cleared_by_umount_and_by_the_next_mount() {
    for first_unmounted in [true, false] {
        let world = world();
        let mut mount = Mount::of(&world);
        let load = Load::on(&mount);
        mount.signal("KILL");
        assert!(!mount.end().success());
        load.end();
        let place = mount.path();
        assert!(is_mounted(&place));
        let (repository, place) = (world.path(""), place.to_str().unwrap());
        let works = |args: &[&str]| {
            let output = kbk(args).output().unwrap();
            let said =
                String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            said.into_owned()
        };
        if first_unmounted {
            works(&["umount", place]);
        }
        let said = works(&["mount", repository.to_str().unwrap(), place, "--daemon"]);
        assert_eq!(said.contains("dead mount"), !first_unmounted, "{said}");
        assert!(fs::read(mount.latest("topics/load/0/values")).is_ok());
        works(&["umount", place]);
    }
}

#[test]
fn a_mount_that_hangs_keeps_neither_mount_nor_umount_waiting() {
    let world = world();
    let mut mount = Mount::of(&world);
    mount.signal("STOP");
    until("it is stopped", || mount.is_stopped().then_some(()));
    let (repository, place) = (world.path(""), mount.path());
    let place = place.to_str().unwrap();
    let output = kbk(&["mount", repository.to_str().unwrap(), place])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("does not answer"), "{said}");
    let output = kbk(&["umount", place]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    mount.signal("CONT");
    assert!(mount.end().success(), "{}", mount.stderr());
}

#[test]
fn an_unmount_from_outside_ends_the_program() {
    for lazy in [false, true] {
        let world = world();
        let mut mount = Mount::of(&world);
        let load = lazy.then(|| Load::on(&mount));
        let mut umount = Command::new("umount");
        umount.args(lazy.then_some("-l")).arg(mount.path());
        assert!(umount.status().unwrap().success());
        assert!(mount.end().success(), "{}", mount.stderr());
        load.into_iter().for_each(Load::end);
    }
}

#[test]
fn kbk_umount_works_under_load_and_leaves_other_mounts_alone() {
    let world = world();
    let mut mount = Mount::of(&world);
    let load = Load::on(&mount);
    let place = mount.path();
    let umount = |place: &str| kbk(&["umount", place]).output().unwrap();
    let output = umount(place.to_str().unwrap());
    assert!(output.status.success(), "{output:?}");
    load.end();
    assert!(mount.end().success());
    for (other, says) in [
        ("/proc", "not of kbk"),
        ("/", "not of kbk"),
        ("/usr", "nothing is mounted"),
    ] {
        let output = umount(other);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(says), "{other}: {said}");
    }
}

#[test]
fn the_service_manager_is_notified_when_the_mount_is_ready_and_when_it_stops() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    let (place, socket) = (folder.path().join("mnt"), folder.path().join("notify"));
    fs::create_dir(&place).unwrap();
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let notification = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let repository = world.path("");
    let args = [
        "mount",
        repository.to_str().unwrap(),
        place.to_str().unwrap(),
    ];
    let mut command = kbk(&args);
    command.env("NOTIFY_SOCKET", &socket);
    let mut mount = Mount::start(command, folder);
    assert_eq!(notification().trim_end(), "READY=1");
    mount.signal("TERM");
    assert_eq!(notification().trim_end(), "STOPPING=1");
    assert!(mount.end().success());
}
