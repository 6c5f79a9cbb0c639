//! The figures that kbk must meet, and their targets.

use crate::case::Client::{Librdkafka, Wire};
use crate::case::Encoding::{Batches, Records};
use crate::case::Process::{
    Backup, BackupSoonest, CatOne, Checksum, Consume, Libzstd, Produce, Restore, Verify,
    VerifyOnOneCore, Zstd,
};
use crate::case::Writes::{InTransactions, WithoutTransactions};
use crate::case::{Binary, Process};
use crate::matrix::{HARD, MAIN, SOURCES};
use crate::measure::{BLOCK_MEDIAN_MS, BLOCK_P99_MS, CPU, Of, RSS_MB, Samples, WALL};
use crate::settings::Settings;
use crate::source::{Source, orders};

use Bound::{AtLeast, AtMost};

/// A figure, and the target that it has, if any.
pub(crate) struct Figure {
    pub(crate) name: String,
    /// `None` where a process that it needs was not measured.
    pub(crate) found: Option<f64>,
    pub(crate) bound: Option<Bound>,
}

/// A target.
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const ZSTD_1: Process = Backup(Records("zstd:1"), Wire);

/// Returns all figures, of which those of cases that were not selected have no value.
pub(crate) fn figures(settings: &Settings, samples: &[Samples]) -> Vec<Figure> {
    let measured = Measured { settings, samples };
    let mut figures = Vec::new();
    for source in SOURCES {
        figures.extend(measured.of_batches(source));
        figures.extend(measured.latency(source));
    }
    figures.extend(measured.of_columns());
    figures.extend(measured.of_commands());
    for source in SOURCES {
        figures.extend(measured.memory(source));
    }
    figures
}

/// The samples, looked up by topic and process.
struct Measured<'a> {
    settings: &'a Settings,
    samples: &'a [Samples],
}

impl Measured<'_> {
    /// Backup and restore of batches as they are.
    fn of_batches(&self, source: Source) -> Vec<Figure> {
        let backup = Backup(Batches, Wire);
        let restore = Restore(Batches, Wire, InTransactions);
        let as_today = Backup(Records("zstd:1"), Librdkafka);
        let has_target = source != HARD;
        let (most_cpu, beside_consumer) = match source.is_compressed() {
            true => (0.6, Some(AtLeast(2.0))),
            false => (1.6, None),
        };
        let all = [
            (
                "backup as batches, CPU s per GB",
                self.cpu_per_gb(source, backup),
                Some(AtMost(most_cpu)),
            ),
            (
                "backup as batches, rate / consumer",
                self.times_as_fast(source, backup, Consume),
                beside_consumer,
            ),
            (
                "backup as batches, rate / zstd:1 over librdkafka",
                self.times_as_fast(source, backup, as_today),
                source.is_compressed().then_some(AtLeast(5.0)),
            ),
            (
                "restore of batches in transactions, CPU s per GB",
                self.cpu_per_gb(source, restore),
                Some(AtMost(0.9)),
            ),
            (
                "restore of batches in transactions, rate / producer without",
                self.times_as_fast(source, restore, Produce),
                Some(AtLeast(2.5)),
            ),
        ];
        all.into_iter()
            .map(|(what, found, bound)| Figure {
                name: format!("{source}: {what}"),
                found,
                bound: bound.filter(|_| has_target),
            })
            .filter(|figure| figure.bound.is_some() || figure.found.is_some())
            .collect()
    }

    /// How soon what comes is written with the smallest blocks, where that is measured.
    fn latency(&self, source: Source) -> Vec<Figure> {
        let least = |of| self.find(source, BackupSoonest)?.least(of);
        let figure = |what: &str, found: Option<f64>, most| {
            found.map(|ms| Figure {
                name: format!("{source}: blocks of 64 KiB, first record to segment, {what}, ms"),
                found: Some(ms),
                bound: Some(AtMost(most)),
            })
        };
        let quantiles = [
            figure("p50", least(BLOCK_MEDIAN_MS), 2.0),
            figure("p99", least(BLOCK_P99_MS), 8.0),
        ];
        quantiles.into_iter().flatten().collect()
    }

    /// Backup and restore of columns, of topics of four partitions that are not compressed.
    fn of_columns(&self) -> Vec<Figure> {
        let one = orders("none", 1);
        // What a consumer costs at best, per GB, besides the compression.
        let floor = |source, zstd| Some(0.4 + self.cpu_per_gb(source, zstd)?);
        let of_consumer = |zstd| {
            let floor = self.cpu_per_gb(MAIN, Consume)? + self.cpu_per_gb(MAIN, zstd)?;
            Some(self.cpu_per_gb(MAIN, ZSTD_1)? / floor)
        };
        let figure = |name: &str, found, bound| Figure {
            name: format!("{MAIN}: {name}"),
            found,
            bound: Some(bound),
        };
        let rate_of_one = || {
            let [one, four] = [one, MAIN].map(|source| self.least(source, ZSTD_1, WALL));
            Some(four? / one?)
        };
        vec![
            figure(
                "backup, zstd:1, CPU / (0.4 s per GB + `zstd -1`)",
                ratio(self.cpu_per_gb(MAIN, ZSTD_1), floor(MAIN, Zstd)),
                AtMost(1.15),
            ),
            Figure {
                name: format!("{HARD}: backup, zstd:1, CPU / (0.4 s per GB + `zstd -1`)"),
                found: ratio(self.cpu_per_gb(HARD, ZSTD_1), floor(HARD, Zstd)),
                bound: None,
            },
            figure(
                "backup, zstd:1, CPU / (consumer + `zstd -1`)",
                of_consumer(Zstd),
                AtMost(1.25),
            ),
            figure(
                "backup, zstd:1, CPU / (consumer + libzstd)",
                of_consumer(Libzstd),
                AtMost(1.25),
            ),
            figure(
                "backup, zstd:1, cores busy, CPU / wall",
                self.find(MAIN, ZSTD_1)
                    .and_then(|samples| samples.most(CORES)),
                AtLeast(1.6),
            ),
            figure(
                "backup, zstd:1, rate of one partition / of four",
                rate_of_one(),
                AtLeast(0.85),
            ),
            figure(
                "backup, none, wall / consumer",
                self.times_as_fast(MAIN, Consume, Backup(Records("none"), Wire)),
                AtMost(1.3),
            ),
            figure(
                "restore --no-transactions, rate / producer",
                self.times_as_fast(
                    MAIN,
                    Restore(Records("zstd:1"), Wire, WithoutTransactions),
                    Produce,
                ),
                AtLeast(0.8),
            ),
            figure(
                "restore in transactions, rate / producer without",
                self.times_as_fast(
                    MAIN,
                    Restore(Records("zstd:1"), Wire, InTransactions),
                    Produce,
                ),
                AtLeast(0.6),
            ),
        ]
    }

    /// Commands that need no cluster.
    fn of_commands(&self) -> Vec<Figure> {
        let figure = |name: &str, found, bound| Figure {
            name: name.to_owned(),
            found,
            bound: Some(bound),
        };
        let one_record = self.least(MAIN, CatOne, WALL);
        vec![
            figure(
                "verify, rate / read + CRC-32C",
                self.times_as_fast(MAIN, Verify, Checksum),
                AtLeast(0.8),
            ),
            figure(
                "verify, rate on all cores / on one",
                self.times_as_fast(MAIN, Verify, VerifyOnOneCore),
                AtLeast(1.5),
            ),
            figure(
                "one record by its offset, ms of the whole process",
                one_record.map(|seconds| seconds * 1e3),
                AtMost(10.0),
            ),
        ]
    }

    /// The memory of the process that takes most of it.
    fn memory(&self, source: Source) -> Vec<Figure> {
        let most = |of: fn(Process) -> bool| {
            let samples = self.samples.iter().filter(|samples| {
                let case = samples.case;
                case.source == source && case.binary == Binary::Built && of(case.process)
            });
            samples
                .filter_map(|samples| Some((samples.most(RSS_MB)?, samples.case.process)))
                .max_by(|(one, _), (other, _)| one.total_cmp(other))
        };
        let moves: fn(Process) -> bool =
            |process| moves_records(process) && !is_over_librdkafka(process);
        let others: fn(Process) -> bool = |process| {
            process.is_kbk()
                && process != CatOne
                && (!moves_records(process) || is_over_librdkafka(process))
        };
        [(moves, 80.0), (others, 150.0)]
            .into_iter()
            .filter_map(|(of, bound)| {
                let (found, process) = most(of)?;
                Some(Figure {
                    name: format!("{source}: most memory, that of {process}, MB"),
                    found: Some(found),
                    bound: Some(AtMost(bound)),
                })
            })
            .collect()
    }

    fn find(&self, source: Source, process: Process) -> Option<&Samples> {
        self.samples.iter().find(|samples| {
            let case = samples.case;
            (case.source, case.process, case.binary) == (source, process, Binary::Built)
        })
    }

    fn least(&self, source: Source, process: Process, of: Of) -> Option<f64> {
        self.find(source, process)?.least(of)
    }

    fn cpu_per_gb(&self, source: Source, process: Process) -> Option<f64> {
        let gb = source.bytes(self.settings.bytes) as f64 / 1e9;
        Some(self.least(source, process, CPU)? / gb)
    }

    /// Returns how many times as fast as `other` a process is.
    fn times_as_fast(&self, source: Source, process: Process, other: Process) -> Option<f64> {
        ratio(
            self.least(source, other, WALL),
            self.least(source, process, WALL),
        )
    }
}

/// The mean number of busy cores.
const CORES: Of = |sample| Some(sample.cpu_seconds / sample.wall_seconds);

fn moves_records(process: Process) -> bool {
    matches!(process, Backup(..) | BackupSoonest | Restore(..))
}

fn is_over_librdkafka(process: Process) -> bool {
    matches!(process, Backup(_, Librdkafka) | Restore(_, Librdkafka, _))
}

fn ratio(of: Option<f64>, by: Option<f64>) -> Option<f64> {
    Some(of? / by?)
}
