//! Real mounts of a faulty store: every read is answered with the right error, and the mount works afterwards.

#[path = "../view/support/mod.rs"]
#[expect(dead_code, reason = "the tests of the view use more of it")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use kbk_fuse::kernel::{MountOptions, MountPoint, Mounted};
use kbk_fuse::{View, ViewOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::support::watched::{Fault, Watch, watched};
use self::support::world::{Part, World};

/// Longer than any step here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const EIO: i32 = 5;
const EACCES: i32 = 13;
const ETIMEDOUT: i32 = 110;

/// A repository of four partitions in memory, under a mount point.
struct Fixture {
    watch: Watch,
    mounted: Mounted,
    folder: TempDir,
    _runtime: Runtime,
}

impl Fixture {
    fn new(deadline: Duration) -> Fixture {
        let runtime = Runtime::new().unwrap();
        let (view, watch) = runtime.block_on(async {
            let world = World::new().await;
            let parts = || vec![Part::plain(0, 200), Part::plain(200, 400)];
            let topic = |partition| ("orders", 1, partition, parts());
            world.backup(&[0, 1, 2, 3].map(topic)).await;
            let (store, watch) = watched(world.objects.clone());
            let options = ViewOptions {
                deadline,
                ..ViewOptions::default()
            };
            (View::open(store, options).await.unwrap(), watch)
        });
        let folder = tempfile::tempdir().unwrap();
        let place = MountPoint::check(folder.path(), None).unwrap();
        let options = MountOptions::new("memory".to_owned());
        let mounted = Mounted::new(view, &place, &options, runtime.handle().clone());
        Fixture {
            watch,
            mounted: mounted.expect("this machine has /dev/fuse, and the tests run as root"),
            folder,
            _runtime: runtime,
        }
    }

    fn records(&self, partition: i32) -> PathBuf {
        let path = format!("latest/topics/orders/{partition}/records.jsonl");
        self.folder.path().join(path)
    }
}

impl Fixture {
    /// Waits until segments of this number of partitions are to be read.
    fn until_read(&self, partitions: usize) {
        let (started, mut folders) = (Instant::now(), BTreeSet::new());
        while folders.len() < partitions {
            assert!(started.elapsed() < PATIENCE, "only {folders:?} are read");
            thread::sleep(Duration::from_millis(5));
            let keys = self.watch.take().into_iter().map(|(key, _)| key);
            let segments = keys.filter(|key| key.ends_with(".kseg"));
            folders.extend(segments.filter_map(|key| Some(key.rsplit_once('/')?.0.to_owned())));
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.mounted.unmount().unwrap();
        assert!(self.mounted.wait(PATIENCE), "the mount did not end");
    }
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

#[test]
fn each_fault_has_its_error_and_does_not_outlast_it() {
    let fixture = Fixture::new(Duration::from_secs(1));
    for (fault, expected) in [
        (Fault::Hangs, ETIMEDOUT),
        (Fault::Fails, EIO),
        (Fault::Forbids, EACCES),
        (Fault::Truncates, EIO),
        (Fault::Panics, EIO),
    ] {
        fixture.watch.set(fault);
        let found = errno(fs::read(fixture.records(0)));
        assert_eq!(found, Some(expected), "{fault:?}");
        fixture.watch.set(Fault::None);
        let well = fs::read(fixture.records(1)).unwrap();
        assert!(well.len() > 10_000, "{fault:?}");
    }
}

#[test]
fn listings_do_not_wait_for_reads_that_hang() {
    let fixture = Fixture::new(Duration::from_secs(4));
    fixture.watch.take();
    fixture.watch.set(Fault::Hangs);
    let readers: Vec<_> = (0..4)
        .map(|partition| {
            let path = fixture.records(partition);
            thread::spawn(move || errno(fs::read(path)))
        })
        .collect();
    fixture.until_read(4);
    let topic = fixture.folder.path().join("latest/topics/orders");
    let partitions: Vec<_> = fs::read_dir(topic).unwrap().collect();
    assert_eq!(partitions.len(), 5, "four partitions and config.json");
    for partition in 0..4 {
        assert!(fs::metadata(fixture.records(partition)).unwrap().len() > 10_000);
    }
    assert!(readers.iter().all(|reader| !reader.is_finished()));
    for reader in readers {
        assert_eq!(reader.join().unwrap(), Some(ETIMEDOUT));
    }
    fixture.watch.set(Fault::None);
    assert!(fs::read(fixture.records(3)).is_ok());
}

#[test]
fn unmount_does_not_wait_for_a_store_that_hangs() {
    let mut fixture = Fixture::new(Duration::from_secs(2));
    fixture.watch.take();
    fixture.watch.set(Fault::Hangs);
    let path = fixture.records(0);
    let reader = thread::spawn(move || errno(fs::read(path)));
    fixture.until_read(1);
    fixture.mounted.unmount().unwrap();
    assert!(
        fs::read_dir(fixture.folder.path())
            .unwrap()
            .next()
            .is_none()
    );
    assert!(reader.join().unwrap().is_some());
}
