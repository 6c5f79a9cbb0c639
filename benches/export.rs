//! `kbk export --format parquet` next to `kbk cat` of the same partition, taking turns in one run: `cargo bench -p kbk --bench export` prints the
//! ratio that kbk must meet. Whole processes, one partition, so one core of each; files are flushed to the disk. No figure makes the bench fail.
//!
//! | | |
//! |---|---|
//! | `KBK_BENCH_BYTES` | bytes of keys, headers and values in the topic; 500 MB by default |
//! | `KBK_BENCH_QUICK` | 1: a tenth of that and one round, to check that everything runs |

#[path = "../tests/support/change.rs"]
mod change;
#[path = "../tests/support/one_partition.rs"]
mod one_partition;
#[path = "mount/repository.rs"]
#[expect(dead_code, reason = "nothing is mounted here")]
mod repository;
#[expect(dead_code, reason = "only one payload is used here")]
mod samples;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What is compared, as arguments of kbk; `OUT` is a new folder.
const CASES: [(&str, &[&str]); 4] = [
    ("kbk cat", &["cat", repository::TOPIC]),
    (
        "parquet, zstd:1",
        &["export", "-f", "parquet", "OUT", "--compression", "zstd:1"],
    ),
    ("parquet, zstd:3", &["export", "-f", "parquet", "OUT"]),
    ("kafka-log, zstd", &["export", "-f", "kafka-log", "OUT"]),
];

fn main() {
    let quick = std::env::var_os("KBK_BENCH_QUICK").is_some_and(|value| value != "0");
    let usual = if quick { 50_000_000 } else { 500_000_000 };
    let bytes = std::env::var("KBK_BENCH_BYTES").map_or(usual, |text| {
        parse_size::parse_size(&text).expect("KBK_BENCH_BYTES is a size")
    });
    let rounds = if quick { 1 } else { 3 };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("repository");
    repository::make(&place, bytes);
    let mut least = [f64::MAX; CASES.len()];
    let mut sizes = [0; CASES.len()];
    for _ in 0..rounds {
        for (((_, args), least), size) in CASES.iter().zip(&mut least).zip(&mut sizes) {
            let out = folder.path().join("out");
            *least = least.min(seconds(&place, args, &out));
            *size = bytes_of(&out);
            if out.exists() {
                fs::remove_dir_all(&out).expect("it is ours");
            }
        }
    }
    let [cat, ..] = least;
    println!(
        "{:.0} MB of JSON records, best of {rounds}",
        bytes as f64 / 1e6
    );
    println!("{:<18} {:>8} {:>7} {:>9}", "", "MB/s", "ratio", "MB");
    for (((name, _), seconds), size) in CASES.iter().zip(least).zip(sizes) {
        println!(
            "{name:<18} {:>8.0} {:>7.2} {:>9.1}",
            bytes as f64 / 1e6 / seconds,
            cat / seconds,
            size as f64 / 1e6
        );
    }
    println!("ratio: at least 0.5 is wanted of parquet");
}

fn seconds(repository: &Path, args: &[&str], out: &Path) -> f64 {
    let mut kbk = Command::new(env!("CARGO_BIN_EXE_kbk"));
    kbk.arg("-r").arg(repository);
    for arg in args {
        match *arg {
            "OUT" => kbk.arg(out),
            arg => kbk.arg(arg),
        };
    }
    let began = Instant::now();
    let status = kbk.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let seconds = began.elapsed().as_secs_f64();
    assert!(status.expect("kbk runs").success(), "{args:?}");
    seconds
}

/// Returns the bytes of all files below a folder.
fn bytes_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.path().is_dir() {
        true => bytes_of(&entry.path()),
        false => entry.metadata().map_or(0, |metadata| metadata.len()),
    });
    sizes.sum()
}
