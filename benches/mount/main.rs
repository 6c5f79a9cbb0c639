//! A mount next to the commands that it is compared with, taking turns in one run: `cargo bench -p kbk --bench mount` prints the
//! ratios that kbk must meet. It needs root, /dev/fuse, and fio for the random reads. No figure makes the bench fail.
//!
//! | | |
//! |---|---|
//! | `KBK_BENCH_BYTES` | bytes of keys, headers and values in the topic; 500 MB by default |
//! | `KBK_BENCH_QUICK` | 1: a tenth of that and one round, to check that everything runs |

#[path = "../../tests/support/one_partition.rs"]
mod one_partition;
mod repository;
#[path = "../samples.rs"]
#[expect(dead_code, reason = "only one payload is used here")]
mod samples;
#[path = "../../fuse/tests/view/support/mod.rs"]
#[expect(dead_code, reason = "the tests of the view use more of it")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kbk_fuse::kernel::{MountOptions, MountPoint, Mounted};
use kbk_fuse::{View, ViewOptions};
use object_store::local::LocalFileSystem;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::support::change;
use self::support::watched::watched;
use self::support::world::{Part, World};

/// The latency of an object store across a network.
const FAR: Duration = Duration::from_millis(30);
/// The number of MiB read from the far store.
const FAR_MIB: u64 = 96;

fn main() {
    let quick = std::env::var_os("KBK_BENCH_QUICK").is_some_and(|value| value != "0");
    let usual = if quick { 50_000_000 } else { 500_000_000 };
    let bytes = std::env::var("KBK_BENCH_BYTES").map_or(usual, |text| {
        parse_size::parse_size(&text).expect("KBK_BENCH_BYTES is a size")
    });
    let rounds = if quick { 1 } else { 3 };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let repository = folder.path().join("repository");
    repository::make(&repository, bytes);

    let mut least = Figures::default();
    for _ in 0..rounds {
        least.keep(&measure(&repository));
    }
    print(bytes, rounds, &least);
}

/// Named figures in seconds; the best of all rounds.
#[derive(Debug, Default)]
struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    fn keep(&mut self, round: &Figures) {
        if self.0.is_empty() {
            self.0.clone_from(&round.0);
        }
        for (kept, new) in self.0.iter_mut().zip(&round.0) {
            kept.1 = kept.1.min(new.1);
        }
    }

    fn of(&self, name: &str) -> f64 {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.expect("it was measured").1
    }
}

/// Runs one round. All figures are for the same bytes, except for the far store and the listing.
fn measure(repository: &Path) -> Figures {
    let mut figures = Vec::new();
    let mut cat = kbk();
    cat.args(["cat", repository::TOPIC, "-r"]).arg(repository);
    figures.push(("kbk cat", seconds(&mut cat)));
    let mount = ProcessMount::new(repository);
    let records = mount.records();
    figures.push(("first read", seconds(&mut dd(&records, 1, None))));
    figures.push(("second read", seconds(&mut dd(&records, 1, None))));
    drop(mount);
    let mount = ProcessMount::new(repository);
    let mut ls = Command::new("ls");
    ls.arg("-l").arg(mount.log_folder());
    figures.push(("ls -l of log/", seconds(&mut ls)));
    let log = mount.log();
    let bytes = fs::metadata(&log).expect("a log").len();
    let per_mb = |seconds: f64| seconds / (bytes as f64 / 1e6);
    let first = seconds(&mut dd(&log, 1, None));
    figures.push(("first read of a .log, per MB", per_mb(first)));
    figures.push(("random 4 KiB of a .log, median", random_median(&log)));
    let records = fs::metadata(mount.records()).expect("a file").len();
    let text = figures.iter().find(|(name, _)| *name == "first read");
    let text = text.map_or(0.0, |(_, seconds)| *seconds) / (records as f64 / 1e6);
    figures.push(("first read of records.jsonl, per MB", text));
    drop(mount);
    let mount = ProcessMount::new(repository);
    figures.push(("random 4 KiB, median", random_median(&mount.records())));
    drop(mount);
    for (name, prefetch_bytes) in [
        ("far, with prefetch", ViewOptions::default().prefetch_bytes),
        ("far, without", 0),
    ] {
        figures.push((name, far(repository, prefetch_bytes)));
    }
    figures.push(("ls -l of 10,000 partitions", listing()));
    Figures(figures)
}

/// Returns the seconds of the first `ls -l` of a topic's partitions, with the repository in memory.
fn listing() -> f64 {
    let runtime = Runtime::new().expect("a runtime");
    let view = runtime.block_on(async {
        let world = World::new().await;
        let partitions =
            (0..10_000).map(|partition| ("wide", 1, partition, vec![Part::plain(0, 3)]));
        world.backup(&partitions.collect::<Vec<_>>()).await;
        View::open(world.store(), ViewOptions::default()).await
    });
    let mounted = InMount::new(view.expect("a view"), runtime);
    let mut ls = Command::new("ls");
    ls.arg("-l")
        .arg(mounted.folder.path().join("latest/topics/wide"));
    seconds(&mut ls)
}

fn kbk() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbk"));
    command.env_remove("KBK_REPO");
    command
}

/// Reads a file in blocks of `mib` MiB: `count` of them, or all.
fn dd(file: &Path, mib: u64, count: Option<u64>) -> Command {
    let mut command = Command::new("dd");
    command.arg(format!("if={}", file.display()));
    command.args(["of=/dev/null", &format!("bs={mib}M"), "status=none"]);
    command.args(count.map(|count| format!("count={count}")));
    command
}

fn seconds(command: &mut Command) -> f64 {
    let started = Instant::now();
    let status = command.stdout(Stdio::null()).status().expect("it runs");
    assert!(status.success(), "{command:?}: {status}");
    started.elapsed().as_secs_f64()
}

/// Returns the median seconds of a random 4 KiB read that bypasses the page cache.
fn random_median(file: &Path) -> f64 {
    let output = Command::new("fio")
        .args([
            "--name=random",
            "--readonly",
            "--rw=randread",
            "--bs=4k",
            "--ioengine=psync",
            "--direct=1",
            "--time_based",
            "--runtime=4",
            "--output-format=json",
        ])
        .arg(format!("--filename={}", file.display()))
        .output()
        .expect("fio runs (`scripts/setup mount` installs it)");
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let median = &report["jobs"][0]["read"]["clat_ns"]["percentile"]["50.000000"];
    median.as_f64().expect("a median") / 1e9
}

/// Returns the seconds per MiB at the start of a file in a store with a latency of [`FAR`].
fn far(repository: &Path, prefetch_bytes: u64) -> f64 {
    let runtime = Runtime::new().expect("a runtime");
    let view = runtime.block_on(async {
        let local = LocalFileSystem::new_with_prefix(repository).expect("the repository");
        let (store, watch) = watched(Arc::new(local));
        watch.delay(FAR);
        let options = ViewOptions {
            prefetch_bytes,
            ..ViewOptions::default()
        };
        View::open(store, options).await.expect("a view")
    });
    let mounted = InMount::new(view, runtime);
    let records = mounted.folder.path().join(repository::RECORDS);
    let length = fs::metadata(&records).expect("a file").len();
    let count = FAR_MIB.min(length >> 20);
    seconds(&mut dd(&records, 1, Some(count))) / count as f64
}

/// A mount in this process.
struct InMount {
    mounted: Mounted,
    folder: TempDir,
    _runtime: Runtime,
}

impl InMount {
    fn new(view: View, runtime: Runtime) -> InMount {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = MountPoint::check(folder.path(), None).expect("an empty folder");
        let options = MountOptions::new("measured".to_owned());
        let mounted = Mounted::new(view, &place, &options, runtime.handle().clone());
        InMount {
            mounted: mounted.expect("a mount"),
            folder,
            _runtime: runtime,
        }
    }
}

impl Drop for InMount {
    fn drop(&mut self) {
        self.mounted.unmount().expect("unmounted");
        let _ = self.mounted.wait(Duration::from_secs(10));
    }
}

/// A running `kbk mount` whose caches are cold.
struct ProcessMount {
    process: Child,
    folder: TempDir,
}

impl ProcessMount {
    fn new(repository: &Path) -> ProcessMount {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = kbk();
        command.arg("mount").arg(repository).arg(folder.path());
        let process = command.stdout(Stdio::null()).spawn().expect("kbk runs");
        let mount = ProcessMount { process, folder };
        while !mount.records().exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        mount
    }

    fn records(&self) -> PathBuf {
        self.folder.path().join(repository::RECORDS)
    }

    fn log_folder(&self) -> PathBuf {
        self.folder.path().join(repository::LOG_FOLDER)
    }

    /// The first segment of the log.
    fn log(&self) -> PathBuf {
        self.log_folder().join("00000000000000000000.log")
    }
}

impl Drop for ProcessMount {
    fn drop(&mut self) {
        let mut umount = kbk();
        umount.arg("umount").arg(self.folder.path());
        let _ = umount.stdout(Stdio::null()).status();
        let _ = self.process.wait();
    }
}

fn print(bytes: u64, rounds: usize, least: &Figures) {
    println!(
        "\n{} MB of keys, headers and values as JSON of 1 KB, zstd:3, blocks of 1 MiB; best of {rounds} rounds.",
        bytes / 1_000_000
    );
    println!("\n| process | seconds |\n|---|--:|");
    for (name, seconds) in &least.0 {
        let unit = if name.starts_with("far") {
            " per MiB"
        } else {
            ""
        };
        println!("| {name} | {seconds:.4}{unit} |");
    }
    println!("\n| figure | measured | target |\n|---|--:|--:|");
    let ratio = |of: &str, by: &str| least.of(of) / least.of(by);
    for (name, found, asked) in [
        (
            "first sequential read / kbk cat, speed",
            ratio("kbk cat", "first read"),
            0.8,
        ),
        (
            "second read / first, speed",
            ratio("first read", "second read"),
            5.0,
        ),
        (
            "with prefetch / without, 30 ms away, speed",
            ratio("far, without", "far, with prefetch"),
            4.0,
        ),
        (
            "first sequential read of a .log / of records.jsonl, bytes per second",
            ratio(
                "first read of records.jsonl, per MB",
                "first read of a .log, per MB",
            ),
            0.5,
        ),
    ] {
        println!("| {name} | {found:.2} | at least {asked} |");
    }
    let median = least.of("random 4 KiB, median") * 1e3;
    println!("| random 4 KiB, median, ms | {median:.2} | at most 5 |");
    let median = least.of("random 4 KiB of a .log, median") * 1e3;
    println!("| random 4 KiB of a .log, median, ms | {median:.2} | at most 5 |");
    let listing = least.of("ls -l of log/");
    println!("| ls -l of log/, s | {listing:.2} | at most 2 |");
    let listing = least.of("ls -l of 10,000 partitions");
    println!("| ls -l of 10,000 partitions, s | {listing:.2} | at most 2 |");
}
