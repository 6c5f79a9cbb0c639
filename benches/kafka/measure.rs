//! Measures one process from start to end, and collects several runs of it.

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::case::Case;
use crate::support::process;

/// The cost of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Elapsed time from start to end.
    pub(crate) wall_seconds: f64,
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Those of the broker meanwhile; `None` for a cluster that was already running.
    pub(crate) broker_cpu_seconds: Option<f64>,
    /// Peak resident memory.
    pub(crate) max_rss_bytes: f64,
    /// How soon blocks were written, where the metrics of a backup say so.
    pub(crate) blocks: Option<BlockLatency>,
}

/// How long after their first record came the blocks of a backup were in their segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockLatency {
    /// Half of them took at most this long.
    pub(crate) median_ms: f64,
    /// 99 of 100 did.
    pub(crate) p99_ms: f64,
}

impl BlockLatency {
    /// Reads the histogram `kbk_block_duration_seconds`; `None` of an older kbk, which has none, and of a run without blocks.
    ///
    /// Within a bucket, times are taken to be spread evenly, as PromQL's `histogram_quantile` does. 2 and 8 ms are bounds of buckets, so whether
    /// a quantile is at most one of them is exact.
    pub(crate) fn of(metrics: &str) -> Option<BlockLatency> {
        let buckets = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix("kbk_block_duration_seconds_bucket{")?;
            let (labels, count) = rest.rsplit_once("} ")?;
            let (_, bound) = labels.split_once("le=\"")?;
            let (bound, _) = bound.split_once('"')?;
            let seconds = match bound {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().ok()?,
            };
            Some((seconds, count.trim().parse().ok()?))
        });
        let buckets: Vec<(f64, f64)> = buckets.collect();
        Some(BlockLatency {
            median_ms: quantile(&buckets, 0.5)? * 1e3,
            p99_ms: quantile(&buckets, 0.99)? * 1e3,
        })
    }
}

/// Returns a quantile of a histogram: the upper bound of each bucket, and how many there are up to it.
fn quantile(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let (_, all) = buckets.last().filter(|(_, all)| *all > 0.0)?;
    let rank = quantile * all;
    let (mut from, mut before) = (0.0, 0.0);
    for &(to, up_to) in buckets {
        if up_to >= rank {
            let share = (rank - before) / (up_to - before);
            // Nothing is known of those beyond the last bound, but that they are.
            return Some(match to.is_finite() {
                true => from + (to - from) * share,
                false => to,
            });
        }
        (from, before) = (to, up_to);
    }
    None
}

/// A process that failed.
#[derive(Debug, thiserror::Error)]
#[error("{command} failed with {status}: {stderr}")]
pub(crate) struct Failed {
    command: String,
    status: std::process::ExitStatus,
    stderr: String,
}

/// Runs the command to its end and measures it, and the broker with this process id.
pub(crate) fn measure(
    command: &mut Command,
    broker: Option<libc::pid_t>,
) -> Result<Sample, Failed> {
    // Otherwise this process pays for write-back that an earlier one caused.
    let synced = Command::new("sync").status().expect("sync runs");
    assert!(synced.success(), "sync: {synced}");
    touch_free_memory();
    let broker_before = broker.map(cpu_seconds);
    let started = Instant::now();
    let finished = process::run(command);
    let wall_seconds = started.elapsed().as_secs_f64();
    let broker_after = broker.map(cpu_seconds);
    if !finished.status.success() {
        let (status, stderr) = (finished.status, finished.stderr);
        return Err(Failed {
            command: format!("{command:?}"),
            status,
            stderr,
        });
    }
    let max_rss_bytes = finished.max_rss_bytes as f64;
    Ok(Sample {
        wall_seconds,
        cpu_seconds: finished.cpu_seconds,
        broker_cpu_seconds: broker_after
            .zip(broker_before)
            .map(|(after, before)| after - before),
        max_rss_bytes,
        blocks: None,
    })
}

/// Writes to as much memory as a run needs for files and sockets, and frees it. A virtual machine may have given free memory back to its host, and then
/// the first write to each page costs ten microseconds: of a process that writes 1 GB, more than everything else, and of the next one nothing
/// (docs/decisions/0026). Each process gets the same memory this way.
fn touch_free_memory() {
    const PAGE: usize = 4096;
    const MOST_BYTES: usize = 5 << 29;
    let meminfo = fs::read_to_string("/proc/meminfo").expect("Linux");
    let free = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemFree:"));
    let kib: Option<usize> = free.and_then(|free| free.trim().strip_suffix(" kB")?.parse().ok());
    // What is not free is not touched: it would take the page cache from the others.
    let bytes = (kib.expect("MemFree in kB") / 2).saturating_mul(1024);
    let mut memory = vec![0_u8; bytes.min(MOST_BYTES)];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// Returns the user and system time of a running process so far.
fn cpu_seconds(id: libc::pid_t) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("the broker runs");
    // proc_pid_stat(5): the name ends at the last parenthesis; utime and stime are the fields 14 and 15, in ticks of 10 ms.
    let (_, after_name) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks = after_name.split(' ').skip(11).take(2);
    let ticks: f64 = ticks
        .map(|ticks| ticks.parse::<f64>().expect("a number"))
        .sum();
    ticks / 100.0
}

/// A figure of a run, where it has been measured.
pub(crate) type Of = fn(&Sample) -> Option<f64>;

pub(crate) const WALL: Of = |sample| Some(sample.wall_seconds);
pub(crate) const CPU: Of = |sample| Some(sample.cpu_seconds);
pub(crate) const BROKER_CPU: Of = |sample| sample.broker_cpu_seconds;
pub(crate) const BLOCK_MEDIAN_MS: Of = |sample| Some(sample.blocks?.median_ms);
pub(crate) const BLOCK_P99_MS: Of = |sample| Some(sample.blocks?.p99_ms);
pub(crate) const RSS_MB: Of = |sample| Some(sample.max_rss_bytes / 1e6);

/// Runs of the same process.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    pub(crate) case: Case,
    runs: Vec<Sample>,
}

impl Samples {
    /// Starts without a run.
    pub(crate) fn new(case: Case) -> Samples {
        Samples {
            case,
            runs: Vec::new(),
        }
    }

    /// Adds a run.
    pub(crate) fn push(&mut self, sample: Sample) {
        self.runs.push(sample);
    }

    /// Returns the smallest figure, that of the least disturbed run.
    pub(crate) fn least(&self, of: Of) -> Option<f64> {
        self.sorted(of).first().copied()
    }

    /// Returns the median figure.
    pub(crate) fn median(&self, of: Of) -> Option<f64> {
        let sorted = self.sorted(of);
        sorted.get(sorted.len() / 2).copied()
    }

    /// Returns the largest figure, that of the worst run.
    pub(crate) fn most(&self, of: Of) -> Option<f64> {
        self.sorted(of).last().copied()
    }

    fn sorted(&self, of: Of) -> Vec<f64> {
        let mut values: Vec<f64> = self.runs.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}
