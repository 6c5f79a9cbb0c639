//! Prints the figures as Markdown: the machine, every process, and the ratios that kbk must meet.

use std::fs;
use std::thread::available_parallelism;

use crate::cases::Case::{
    self, Backup, BackupOnePartition, CatOne, Checksum, Consume, Libzstd, Produce, Restore,
    RestoreUntransacted, Verify, VerifyOnOneCore, Zstd,
};
use crate::measure::{Sample, Samples};
use crate::workload::Settings;

use Bound::{AtLeast, AtMost};

const WALL: fn(&Sample) -> f64 = |sample| sample.wall_seconds;
const CPU: fn(&Sample) -> f64 = |sample| sample.cpu_seconds;
const RSS: fn(&Sample) -> f64 = |sample| sample.max_rss_bytes / 1e6;
/// The mean number of busy cores.
const CORES: fn(&Sample) -> f64 = |sample| sample.cpu_seconds / sample.wall_seconds;

/// Prints all tables. Ratios use the least disturbed runs, memory the worst one.
pub(crate) fn print(settings: Settings, all: &[Samples]) {
    let Settings { bytes, rounds, .. } = settings;
    println!("\n{}", machine());
    println!(
        "{} GB per topic, JSON of 1 KB with keys and headers; {rounds} runs of each process, taking turns.",
        bytes as f64 / 1e9
    );
    println!("\n| process | wall s, least | median | CPU s, least | median | peak MB |");
    println!("|---|--:|--:|--:|--:|--:|");
    for samples in all {
        let [wall, cpu] =
            [WALL, CPU].map(|of| [samples.least(of), samples.median(of)].map(seconds));
        let rss = number(samples.most(RSS), 0);
        println!(
            "| {} | {} | {} | {} | {} | {rss} |",
            samples.case, wall[0], wall[1], cpu[0], cpu[1]
        );
    }
    println!("\n| figure | measured | target | |");
    println!("|---|--:|--:|---|");
    for Figure { name, found, bound } in figures(&Measured(all)) {
        let (target, met) = match bound {
            AtMost(most) => (format!("at most {most}"), found.map(|found| found <= most)),
            AtLeast(least) => (
                format!("at least {least}"),
                found.map(|found| found >= least),
            ),
        };
        let met = met.map_or("not measured", |met| if met { "met" } else { "missed" });
        println!("| {name} | {} | {target} | {met} |", number(found, 2));
    }
}

/// A figure and its target.
struct Figure {
    name: String,
    found: Option<f64>,
    bound: Bound,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

fn figures(measured: &Measured<'_>) -> Vec<Figure> {
    let zstd_1 = Backup("zstd:1");
    let wall = |of, by| ratio(measured.least(of, WALL), measured.least(by, WALL));
    let cpu_over_floor = |zstd| {
        let floor = measured.least(Consume, CPU)? + measured.least(zstd, CPU)?;
        Some(measured.least(zstd_1, CPU)? / floor)
    };
    let one_record_ms = measured.least(CatOne, WALL).map(|seconds| seconds * 1e3);
    let mut figures = vec![
        (
            "backup, zstd:1: CPU / (consumer + `zstd -1`)",
            cpu_over_floor(Zstd),
            AtMost(1.25),
        ),
        (
            "backup, zstd:1: CPU / (consumer + libzstd)",
            cpu_over_floor(Libzstd),
            AtMost(1.25),
        ),
        (
            "backup, zstd:1: cores busy, CPU / wall",
            measured.most(zstd_1, CORES),
            AtLeast(1.6),
        ),
        (
            "backup, zstd:1: rate of one partition / of four",
            wall(zstd_1, BackupOnePartition),
            AtLeast(0.85),
        ),
        (
            "backup, none: wall / consumer",
            wall(Backup("none"), Consume),
            AtMost(1.3),
        ),
        (
            "restore --no-transactions: rate / producer",
            wall(Produce, RestoreUntransacted),
            AtLeast(0.8),
        ),
        (
            "restore, in transactions: rate / producer without",
            wall(Produce, Restore),
            AtLeast(0.6),
        ),
        (
            "verify: rate / read + CRC-32C",
            wall(Checksum, Verify),
            AtLeast(0.8),
        ),
        (
            "verify: rate on all cores / on one",
            wall(VerifyOnOneCore, Verify),
            AtLeast(1.5),
        ),
        (
            "one record by its offset: ms of the whole process",
            one_record_ms,
            AtMost(10.0),
        ),
    ]
    .into_iter()
    .map(|(name, found, bound)| Figure {
        name: name.to_owned(),
        found,
        bound,
    })
    .collect::<Vec<_>>();
    figures.extend(measured.kbk().map(|samples| Figure {
        name: format!("{}: peak MB", samples.case),
        found: samples.most(RSS),
        bound: AtMost(150.0),
    }));
    figures
}

/// The samples, looked up by case.
struct Measured<'a>(&'a [Samples]);

impl Measured<'_> {
    /// Returns the samples of kbk's commands that run once per round.
    fn kbk(&self) -> impl Iterator<Item = &Samples> {
        let others = [Consume, Zstd, Libzstd, Produce, Checksum, CatOne];
        self.0
            .iter()
            .filter(move |samples| !others.contains(&samples.case))
    }

    fn of(&self, case: Case) -> Option<&Samples> {
        self.0.iter().find(|samples| samples.case == case)
    }

    fn least(&self, case: Case, of: fn(&Sample) -> f64) -> Option<f64> {
        self.of(case)?.least(of)
    }

    fn most(&self, case: Case, of: fn(&Sample) -> f64) -> Option<f64> {
        self.of(case)?.most(of)
    }
}

fn ratio(of: Option<f64>, by: Option<f64>) -> Option<f64> {
    Some(of? / by?)
}

fn seconds(value: Option<f64>) -> String {
    number(value, 3)
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Describes the machine in one line.
fn machine() -> String {
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory, kernel) = (
        file("/proc/cpuinfo"),
        file("/proc/meminfo"),
        file("/proc/sys/kernel/osrelease"),
    );
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    format!(
        "{} cores of {}, {} of memory, Linux {}; broker and repositories in {}.",
        available_parallelism().map_or(1, usize::from),
        field(&cpus, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        field(&memory, "MemTotal").unwrap_or_else(|| "unknown".to_owned()),
        kernel.trim(),
        std::env::temp_dir().display(),
    )
}
